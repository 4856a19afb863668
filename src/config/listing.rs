//! `bot config show`: every setting with its value and where it came from, right or wrong.
//!
//! Invariant: a value that may carry a key is shown as scheme and host, or not at all.

use serde::Serialize;

use super::problems::shown;
use super::secret::SecretUrl;
use super::settings::{self, Carries, Need, Setting};
use super::sources::{self, Sources};

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
        Carries::Key => SecretUrl::new(text).map_or_else(|_| "(hidden)".to_owned(), |url| url.to_string()),
        Carries::Secret => "(hidden)".to_owned(),
    }
}
