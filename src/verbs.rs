//! What each verb does: one function per verb, called with what it needs, checked.
//!
//! A verb writes its answer to `out` and returns its exit code, or says in a [`Failure`] why it could not.

mod auth;
mod bot;
#[cfg(feature = "node")]
mod demo;
mod doctor;
mod operate;
mod reading;
#[cfg(feature = "trials")]
mod sim;
pub mod terms;
mod tokens;

use std::io::{self, Write};
use std::path::Path;

use crate::config::listing::{self, Row};
use crate::config::{self, Config, ConfigErrors, Sources, documents, shards};
use crate::run::Exit;
use crate::{exit, serve, version};
use terms::{ConfigVerb, Verb};

/// Why a verb could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Exit 78.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// Any other reason, in words, with its exit code.
    #[error("{words}")]
    Because {
        /// One of [`crate::exit`].
        code: u8,
        /// What happened, and what to type next.
        words: String,
    },
    /// Standard output is gone or full. A reader that has had enough (`bot fills | head`) is no failure of ours.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Config(_) => exit::CONFIGURATION,
            Self::Because { code, .. } => *code,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => exit::DONE,
            Self::Output(_) => exit::AWAY,
        }
    }

    /// Whether a person must be told.
    #[must_use]
    pub fn is_worth_saying(&self) -> bool {
        self.code() != exit::DONE
    }
}

impl Failure {
    /// What can not be.
    fn bug(what: &str) -> Self {
        Self::Because { code: exit::BUG, words: format!("this is a bug in counterfill: {what}") }
    }
}

/// How a verb ends: an exit code or a failure.
pub type Ended = Result<u8, Failure>;

/// A bot's end as a verb's end.
fn end(exit: Exit) -> Ended {
    match exit.message {
        None => Ok(exit.code),
        Some(words) => Err(Failure::Because { code: exit.code, words }),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| Failure::bug(&format!("no runtime: {error}")))
}

/// Reads what the verb needs from `sources`, then does it.
///
/// # Errors
/// When the configuration is wrong, something the verb needs is away, or `out` is closed.
pub fn perform(verb: &Verb, sources: &dyn Sources, out: &mut dyn Write) -> Ended {
    match verb {
        Verb::Run => {
            let config = Config::from_sources(sources)?;
            let warnings = config.warnings(sources);
            bot::watch_and_hedge(&config, &warnings)
        }
        #[cfg(feature = "node")]
        Verb::Demo(terms) => {
            let (database, listen) = (config::database(sources)?, config::listen(sources)?);
            demo::show(terms, &database, listen, &config::Logs::from_sources(sources)?, out)
        }
        #[cfg(not(feature = "node"))]
        Verb::Demo(_) => Err(Failure::Because {
            code: exit::USAGE,
            words: "this program was built without its simulated chain; in a checkout of the sources type \
                    `cargo run -- demo`"
                .into(),
        }),
        #[cfg(feature = "trials")]
        Verb::Sim(terms) => sim::try_everything(terms, out),
        #[cfg(not(feature = "trials"))]
        Verb::Sim(_) => Err(Failure::Because {
            code: exit::USAGE,
            words: "this program was built without its trials, as every image is; in a checkout of the sources type \
                    `cargo run --profile proof -- sim`"
                .into(),
        }),
        Verb::Health { json } => Ok(serve::ask_health(config::listen(sources)?, *json, out)),
        Verb::Status { json } => reading::status(&config::database(sources)?, *json, out),
        Verb::Fills(reading) => reading::fills(&config::database(sources)?, reading, out),
        Verb::Positions(reading) => reading::positions(&config::database(sources)?, reading, out),
        Verb::Hedges(reading) => reading::hedges(&config::database(sources)?, reading, out),
        Verb::Tokens { json } => tokens::list(&config::token_settings(sources)?, *json, out),
        Verb::Trace { tx, json } => reading::trace(&config::database(sources)?, *tx, *json, out),
        Verb::Replay { tx } => operate::replay(&config::database(sources)?, *tx, out),
        Verb::Halt(halting) => {
            operate::halt(&config::database(sources)?, halting, &config::listed(sources), out)
        }
        Verb::Resume(halting, kind, choice) => {
            operate::resume(&config::database(sources)?, halting, *kind, *choice, out)
        }
        Verb::Reconcile(asked) => operate::reconcile(&config::database(sources)?, asked, out),
        Verb::Doctor { json, test_alert } => {
            doctor::examine(&Config::from_sources(sources)?, *json, *test_alert, out)
        }
        Verb::Config(ConfigVerb::Check { shards: Some(file) }) => check_shards(file, sources, out),
        Verb::Config(ConfigVerb::Check { shards: None }) => check(sources, out),
        Verb::Config(ConfigVerb::Show { json }) => show(sources, *json, out),
        Verb::Config(ConfigVerb::Template { markdown }) => template(*markdown, out),
        Verb::Version { json } => show_version(*json, out),
        Verb::Completions(script) => {
            out.write_all(script)?;
            Ok(exit::DONE)
        }
        Verb::Auth(verb) => auth::perform(*verb, sources, out),
    }
}

// ---- configuration, version ----------------------------------------------------------------------------------------

fn check(sources: &dyn Sources, out: &mut dyn Write) -> Ended {
    let config = Config::from_sources(sources)?;
    writeln!(out, "configuration is complete")?;
    for warning in config.warnings(sources) {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(exit::DONE)
}

/// Longest file of shards; a line holds some hundred bytes.
const SHARDS_BYTES_MAX: u64 = 1024 * 1024;

fn check_shards(file: &Path, sources: &dyn Sources, out: &mut dyn Write) -> Ended {
    let name = file.display();
    let refused = |words| Failure::Because { code: exit::CONFIGURATION, words };
    let bytes = sources
        .read_file(file, SHARDS_BYTES_MAX)
        .map_err(|error| refused(format!("{name} cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| refused(format!("{name} is not UTF-8 text")))?;
    let shards = shards::disjoint(&text).map_err(|wrongs| {
        let lines: Vec<String> = wrongs.iter().map(|wrong| format!("  {name}, {wrong}")).collect();
        refused(format!("the shards are not disjoint lists of tickers\n{}", lines.join("\n")))
    })?;
    writeln!(out, "{} shards with {} tickers, each in one shard only", shards.shards, shards.tickers)?;
    Ok(exit::DONE)
}

fn show(sources: &dyn Sources, json: bool, out: &mut dyn Write) -> Ended {
    let rows = listing::rows(sources);
    let widest = |length: fn(&Row) -> usize| rows.iter().map(length).max().unwrap_or(0);
    let name_chars = widest(|row| row.name.chars().count());
    let value_chars = widest(|row| row.value.as_deref().unwrap_or("").chars().count()).min(48);
    for row in &rows {
        if json {
            serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            let value = row.value.as_deref().unwrap_or("-");
            writeln!(out, "{:name_chars$}  {value:value_chars$}  {}", row.name, row.source)?;
        }
    }
    Ok(exit::DONE)
}

fn template(markdown: bool, out: &mut dyn Write) -> Ended {
    let text = if markdown { documents::markdown() } else { documents::env_example() };
    out.write_all(text.as_bytes())?;
    Ok(exit::DONE)
}

fn show_version(json: bool, out: &mut dyn Write) -> Ended {
    let version = version::version();
    if json {
        serde_json::to_writer(&mut *out, &version).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        writeln!(out, "counterfill {}", version.version)?;
        writeln!(out, "revision {}", version.revision)?;
        writeln!(out, "{}", version.rustc)?;
        writeln!(out, "SQLite {}", version.sqlite)?;
    }
    Ok(exit::DONE)
}
