//! A text that is for the broker alone: a key, a token, a code, and the headers and forms that carry them.
//!
//! Invariant: whatever prints one, a panic that holds it in its hands included, prints its name and nothing of it; and
//! its memory is cleared when it is dropped.

use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use zeroize::Zeroizing;

/// A text that is never printed. It has no `Display`; whoever writes it into a request takes it out by its `*`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(Zeroizing<String>);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl Deref for Secret {
    type Target = String;
    fn deref(&self) -> &String {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn no_form_of_printing_shows_it() {
        let secret = Secret::from("CANARY");
        let within = Some((&secret, 1));
        for shown in [format!("{secret:?}"), format!("{secret:#?}"), format!("{within:?}")] {
            assert!(!shown.contains("CANARY"), "{shown}");
        }
        // What a mistake makes of it: the macros print both sides, and so does whoever expected an error.
        let (one, other) = (secret.clone(), Secret::from("CANARY too"));
        let wrong = catch_unwind(|| assert_eq!(one, other, "different")).unwrap_err();
        let answers: [Result<Secret, ()>; 1] = [Ok(secret)];
        let expected = catch_unwind(|| answers.map(Result::unwrap_err)).unwrap_err();
        for panic in [wrong, expected] {
            let words = panic.downcast_ref::<String>().unwrap();
            assert!(words.contains("Secret") && !words.contains("CANARY"), "{words}");
        }
    }
}
