//! Reads settings one after the other and keeps every problem, so that all of them are told at once.
//!
//! Invariant: whoever got a [`Reported`] finds the reason among the problems.

use super::problems::{ConfigErrors, Problem, Wrong};
use super::settings;
use super::sources::{self, Sources};
use super::strangers;
use super::values::Value;

/// A problem was written down; nothing is left to say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reported;

/// Reads settings one after the other and keeps every problem.
pub(super) struct Reader<'a> {
    pub(super) sources: &'a dyn Sources,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Reads with `read`, which names settings of the table only.
    pub(super) fn of<T>(
        sources: &'a dyn Sources,
        read: impl FnOnce(&mut Self) -> Result<T, Reported>,
    ) -> Result<T, ConfigErrors> {
        let mut reader = Self { sources, problems: Vec::new() };
        match read(&mut reader) {
            Ok(value) if reader.problems.is_empty() => Ok(value),
            _ => {
                let place = |name| settings::all().position(|setting| setting.name == name);
                reader.problems.sort_by_key(|problem| place(problem.name));
                Err(ConfigErrors::new(reader.problems))
            }
        }
    }

    /// A setting that is required or has a default.
    pub(super) fn value<T: Value>(&mut self, name: &'static str) -> Result<T, Reported> {
        let value = self.optional(name);
        self.needed(name, value)
    }

    /// A setting that may be absent.
    pub(super) fn optional<T: Value>(&mut self, name: &'static str) -> Result<Option<T>, Reported> {
        let Some(setting) = settings::named(name) else { return Err(Reported) };
        match sources::find(setting, self.sources) {
            Ok(None) => Ok(None),
            Ok(Some(found)) => T::read(&found.text, setting.form).map(Some).map_err(|wrongs| {
                let problem = |wrong| Problem::malformed(setting, &found.text, &found.origin, wrong);
                self.report(wrongs.into_iter().map(problem))
            }),
            Err(lost) => Err(self.report([Problem::lost(setting, lost)])),
        }
    }

    /// A setting that the others make necessary.
    pub(super) fn needed<T>(
        &mut self,
        name: &'static str,
        value: Result<Option<T>, Reported>,
    ) -> Result<T, Reported> {
        match value? {
            Some(value) => Ok(value),
            None => Err(self.report(settings::named(name).map(Problem::missing))),
        }
    }

    /// A value that could be read but does not fit what lies around it.
    pub(super) fn refuse(&mut self, name: &'static str, why: &str) -> Reported {
        let problem = settings::named(name).and_then(|setting| {
            let found = sources::find(setting, self.sources).ok().flatten()?;
            Some(Problem::malformed(setting, &found.text, &found.origin, Wrong::whole(why)))
        });
        self.report(problem)
    }

    /// Names in the environment that were probably meant as settings.
    pub(super) fn strangers(&mut self) {
        self.report(strangers::problems(self.sources));
    }

    /// A setting without which another one makes no sense.
    pub(super) fn missing_beside(&mut self, name: &'static str, why: String) {
        let problem =
            settings::named(name).map(|setting| Problem { wrong: why, ..Problem::missing(setting) });
        self.report(problem);
    }

    fn report(&mut self, problems: impl IntoIterator<Item = Problem>) -> Reported {
        self.problems.extend(problems);
        Reported
    }
}
