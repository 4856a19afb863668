//! `bot config show`: every setting with its value and where it came from, right or wrong.
//!
//! Invariant: a value that may carry a key is shown as scheme and host, or not at all.

use serde::Serialize;

use super::problems::shown;
use super::secret::SecretUrl;
use super::settings::{self, Carries, Form, Need, Setting};
use super::sources::{self, Sources};
use super::webhook::WebhookUrl;

/// One setting as `bot config show` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The variable.
    pub name: &'static str,
    /// The text as it was given, redacted; none where nothing is given.
    pub value: Option<String>,
    /// Where it came from, or why there is none.
    pub source: String,
}

/// Every setting, in the table's order.
#[must_use]
pub fn rows(sources: &dyn Sources) -> Vec<Row> {
    settings::all().map(|setting| row(setting, sources)).collect()
}

fn row(setting: &'static Setting, sources: &dyn Sources) -> Row {
    let (value, source) = match sources::find(setting, sources) {
        Ok(Some(found)) => (Some(redacted(setting, &found.text)), found.origin.to_string()),
        Ok(None) if setting.need == Need::Required => (None, "missing".to_owned()),
        Ok(None) => (None, "not set".to_owned()),
        Err(lost) => (None, lost.wrong.without_value().to_owned()),
    };
    Row { name: setting.name, value, source }
}

fn redacted(setting: &Setting, text: &str) -> String {
    match setting.carries {
        Carries::Nothing => shown(text),
        Carries::Key => address(setting, text).unwrap_or_else(|| "(hidden)".to_owned()),
        Carries::Secret => "(hidden)".to_owned(),
    }
}

/// Scheme and host; none where it is no address of the setting's kind, for then nobody knows where its key begins.
fn address(setting: &Setting, text: &str) -> Option<String> {
    match setting.form {
        Form::Webhook => WebhookUrl::new(text).ok().map(|url| url.to_string()),
        _ => SecretUrl::new(text).ok().map(|url| url.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io;
    use std::path::Path;

    use super::*;

    /// No secret is in the table yet; the rules for one hold already.
    static SECRET: Setting = Setting {
        name: "SOME_SECRET",
        need: Need::Optional,
        form: Form::File,
        example: "64 hex digits",
        help: "A secret",
        carries: Carries::Secret,
    };

    /// Has everything, in every place.
    struct Everywhere;

    impl Sources for Everywhere {
        fn flag(&self, _name: &str) -> Option<String> {
            Some("CANARY".to_owned())
        }

        fn variable(&self, name: &str) -> Option<OsString> {
            (name == "SOME_SECRET").then(|| "CANARY".into())
        }

        fn variable_names(&self) -> Vec<String> {
            vec!["SOME_SECRET".to_owned()]
        }

        fn read_file(&self, _path: &Path, _bytes_max: u64) -> io::Result<Vec<u8>> {
            Ok(b"CANARY".to_vec())
        }
    }

    #[test]
    fn a_secret_has_no_flag_and_is_never_shown() {
        let row = row(&SECRET, &Everywhere);
        assert_eq!(row.value.as_deref(), Some("(hidden)"));
        assert_eq!(row.source, "environment", "not the flag");
        assert_eq!(SECRET.file_variable().as_deref(), Some("SOME_SECRET_FILE"));
    }

    #[test]
    fn a_url_that_cannot_be_read_is_hidden_whole() {
        let url = settings::named("WS_RPC_URL").unwrap();
        assert_eq!(redacted(url, "wss//CANARY"), "(hidden)");
        assert_eq!(redacted(url, "wss://CANARY@rpc.example.com/CANARY"), "wss://rpc.example.com");
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let log = settings::named("RUST_LOG").unwrap();
        assert_eq!(redacted(log, "in\u{1b}[2Jfo\n"), "in\\u{1b}[2Jfo\\n");
        assert_eq!(redacted(log, &"x".repeat(100)).chars().count(), 81);
    }
}
