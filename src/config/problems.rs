//! What is wrong with a configuration, in words for the person who must mend it.
//!
//! Each problem says four things: the variable, what is wrong, where the value came from, and an example of what to type. The value is
//! shown unless it may carry a key.

use std::fmt;

use super::settings::{Carries, Setting};
use super::sources::{Lost, Origin};

/// Longest piece of a value that is shown.
const SHOWN_CHARS_MAX: usize = 80;

/// One thing wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The part of the value that is wrong, where it is not the whole. Shown only where the value may be.
    part: Option<String>,
    /// Completes the sentence "the value …"; holds nothing of a value that may be secret.
    why: String,
}

impl Wrong {
    /// The whole value is wrong.
    pub(super) fn whole(why: impl Into<String>) -> Self {
        Self { part: None, why: why.into() }
    }

    /// A part of the value is wrong.
    pub(super) fn part(part: &str, why: impl Into<String>) -> Self {
        Self { part: Some(part.to_owned()), why: why.into() }
    }

    /// The sentence, for a value that may be shown.
    pub(super) fn of(&self, text: &str) -> String {
        format!("`{}` {}", shown(self.part.as_deref().unwrap_or(text)), self.why)
    }

    /// The sentence without the value.
    pub(super) fn without_value(&self) -> &str {
        &self.why
    }
}

/// One problem of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The variable.
    pub name: &'static str,
    /// What is wrong, the value included where it may be shown.
    pub wrong: String,
    /// Where the value came from; none where it is missing, or came from two places.
    pub origin: Option<Origin>,
    /// What to type instead, as an example.
    pub hint: String,
}

impl Problem {
    /// The setting is required and given nowhere.
    #[must_use]
    pub fn missing(setting: &Setting) -> Self {
        Self { name: setting.name, wrong: "is missing".to_owned(), origin: None, hint: hint(setting, None) }
    }

    /// The environment has a name that is no setting, and looks as if this one was meant; `right` is how it is spelt.
    pub(super) fn misspelt(setting: &Setting, name: &str, right: &str) -> Self {
        let name = shown(name);
        Self {
            name: setting.name,
            wrong: format!("is perhaps meant by {name}, which the environment holds and nothing reads"),
            origin: None,
            hint: format!("{right}=… in place of {name}=…  (or `unset {name}`, if it is another program's)"),
        }
    }

    /// The setting was not found in one piece.
    pub(super) fn lost(setting: &Setting, lost: Lost) -> Self {
        let hint = hint(setting, lost.origin.as_ref());
        Self { name: setting.name, wrong: lost.wrong.why, origin: lost.origin, hint }
    }

    /// The setting's text was found and is wrong.
    pub(super) fn malformed(setting: &Setting, text: &str, origin: &Origin, wrong: Wrong) -> Self {
        let quoted = ['"', '\''].iter().any(|quote| text.starts_with(*quote) && text.ends_with(*quote));
        let about_quotes =
            if quoted { "; the quotes are read as part of the value: leave them out" } else { "" };
        let wrong = match setting.carries {
            Carries::Nothing => format!("{}{about_quotes}", wrong.of(text)),
            Carries::Key | Carries::Secret => format!("its value {}{about_quotes}", wrong.why),
        };
        let hint = hint(setting, Some(origin));
        Self { name: setting.name, wrong, origin: Some(origin.clone()), hint }
    }
}

/// What could stand there, for the place where the wrong value stands.
fn hint(setting: &Setting, origin: Option<&Origin>) -> String {
    let (name, example) = (setting.name, setting.example);
    match (origin, setting.file_variable()) {
        (Some(Origin::Flag(flag)), _) => format!("--{flag}={example}"),
        (Some(Origin::File(_) | Origin::Credential(_)), _) => format!("{example}  (as the file's only line)"),
        (None, Some(file)) => format!("{name}={example}  (or {file}=/path/of/a/file/that/holds/it)"),
        (_, _) => format!("{name}={example}"),
    }
}

/// A piece of a value as it can be printed on a terminal.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).flat_map(printable).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

/// A text as it can be printed on a terminal, whole: for paths.
pub(super) fn escaped(text: &str) -> String {
    text.chars().flat_map(printable).collect()
}

fn printable(c: char) -> Vec<char> {
    if c.is_control() { c.escape_default().collect() } else { vec![c] }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => writeln!(f, "  {} ({origin}): {}", self.name, self.wrong)?,
            None => writeln!(f, "  {} {}", self.name, self.wrong)?,
        }
        write!(f, "      for example: {}", self.hint)
    }
}

/// Everything that is wrong, in the order of the table of settings; never empty. Exit 78.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<Problem>);

impl ConfigErrors {
    /// `problems` must not be empty.
    pub(super) const fn new(problems: Vec<Problem>) -> Self {
        Self(problems)
    }

    /// The problems.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "the configuration has {count} error{}", if count == 1 { "" } else { "s" })?;
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        write!(f, "`bot config template` explains every setting, `bot config show` says what is set.")
    }
}
