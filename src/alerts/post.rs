//! One POST of one alert, in the body that Slack-compatible receivers take: `{"text": …}`.
//!
//! Texts hold words of others: a broker's refusal, a token's symbol. They are shown as plain text, so that nobody who
//! deploys a token can page a whole channel. It refuses to know what was posted before and what comes after.
//!
//! Invariant: no text that leaves this file, to the log or the receiver, holds the path of the address.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::broker::http::{Answer, Http, Orders, one_line};
use crate::config::WebhookUrl;

/// Longest text posted; receivers cut or refuse somewhere above it.
const TEXT_CHARS_MAX: usize = 1_500;

/// What became of a POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A 2xx.
    Taken,
    /// A no that another attempt will not change.
    Refused(String),
    /// Anything else; with the pause that the receiver asks for.
    Later(String, Option<Duration>),
}

/// The receiver. Shows itself as scheme and host.
pub(super) struct Post {
    http: Http,
    url: WebhookUrl,
    label: String,
}

impl fmt::Display for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

impl Post {
    pub(super) fn new(url: &WebhookUrl, cert_file: Option<&Path>, label: String) -> Result<Self, String> {
        Ok(Self { http: Http::new(url.base(), cert_file, Orders::Alone)?, url: url.clone(), label })
    }

    /// Posts once, within the limits of [`Http`]: redirects are not followed, nothing is repeated.
    pub(super) fn send(&self, text: &str) -> Outcome {
        let body = json!({ "text": format!("{}: {}", marked(&self.label), marked(text)) }).to_string();
        match self.http.send_message(self.url.expose_path(), &body) {
            Ok(answer) => self.outcome(&answer),
            Err(trouble) => Outcome::Later(self.url.without_key(trouble.into_words()), None),
        }
    }

    fn outcome(&self, answer: &Answer) -> Outcome {
        let status = answer.status;
        let said = self.url.without_key(answer.words());
        let why = if said.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {said}") };
        match status {
            200..=299 => Outcome::Taken,
            300..=399 => Outcome::Refused(format!("HTTP {status}: redirects are not followed")),
            408 | 425 | 429 => Outcome::Later(why, retry_after(answer)),
            400..=499 => Outcome::Refused(why),
            _ => Outcome::Later(why, retry_after(answer)),
        }
    }
}

fn retry_after(answer: &Answer) -> Option<Duration> {
    answer.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs)
}

/// A text on one line, printable and bounded.
#[must_use]
pub(super) fn plain(text: &str) -> String {
    let line = one_line(text, usize::MAX);
    match line.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// As a receiver that knows markup takes it for plain text: Slack's links and mentions are in angle brackets, others
/// have a bare `@`.
fn marked(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('@', "＠")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post() -> Post {
        let url = WebhookUrl::new("http://127.0.0.1:1/services/CANARY/x?key=CANARIES").unwrap();
        Post::new(&url, None, "counterfill".into()).unwrap()
    }

    #[test]
    fn only_what_may_change_is_tried_again() {
        let post = post();
        let outcome = |status| post.outcome(&Answer::of(status, "no"));
        for taken in [200, 201, 204] {
            assert_eq!(outcome(taken), Outcome::Taken);
        }
        for refused in [301, 302, 307, 308, 400, 401, 403, 404, 410, 413] {
            assert!(matches!(outcome(refused), Outcome::Refused(_)), "{refused}");
        }
        for later in [408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(outcome(later), Outcome::Later(..)), "{later}");
        }
    }

    #[test]
    fn words_of_others_page_nobody_and_break_no_line() {
        assert_eq!(plain("a\r\n b\t\u{1b}[2J  c"), "a b [2J c");
        assert_eq!(marked("<!channel> & @here"), "&lt;!channel&gt; &amp; ＠here");
        let long = plain(&"é".repeat(3_000));
        assert_eq!(long.chars().count(), TEXT_CHARS_MAX + 1);
    }

    #[test]
    fn an_echoed_address_is_taken_out() {
        let post = post();
        for body in ["no /services/CANARY/x?key=CANARIES here", "key CANARIES", "CANARY is unknown"] {
            let Outcome::Refused(why) = post.outcome(&Answer::of(404, body)) else { panic!("{body}") };
            assert!(!why.contains("CANAR"), "{why}");
        }
        assert!(!format!("{post}").contains("CANARY"));
    }
}
