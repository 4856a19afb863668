//! What can go wrong with the ledger, sorted by what a person can do about it.
//!
//! Every variant that an operator meets names the file, what was found and what to type next. A database error stays a
//! database error: nothing here ever reads as "already seen" (a program that takes
//! `SQLITE_BUSY` for a duplicate drops a fill and says nothing).

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::hedges::IntentState;

/// Exit code where something needed is not there yet.
const EXIT_AWAY: u8 = 69;
/// Exit code of a bug: an assertion that did not hold.
const EXIT_BUG: u8 = 70;
/// Exit code where another holds what we need, for now.
const EXIT_TRY_LATER: u8 = 75;
/// Exit code of a configuration that can not work.
const EXIT_CONFIG: u8 = 78;

/// One field in which the ledger and the configuration disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The variable's name.
    pub field: &'static str,
    /// What the ledger was born with.
    pub ledger: String,
    /// What the configuration says now.
    pub configuration: String,
}

/// Why the ledger did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// Another process is the writer.
    #[error(
        "the ledger {path} is in use by {holder}. One ledger has one writer: stop that one first, or give this one \
         another DATABASE_URL",
        path = path.display()
    )]
    Locked {
        /// The ledger.
        path: PathBuf,
        /// Process id, host and start of the holder, as it wrote them into the lock file.
        holder: String,
    },
    /// No ledger there; for those who only read.
    #[error(
        "there is no ledger at {path} yet. Type `bot run` to start one, or set DATABASE_URL to where it is, e.g. \
         DATABASE_URL=sqlite:///data/bot.db",
        path = path.display()
    )]
    NotThere {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The directory, or a file in it, may not be written by us.
    #[error("{path} can not be written: {found}. {remedy}", path = path.display())]
    NotWritable {
        /// The directory or file.
        path: PathBuf,
        /// Owner, mode and who we are.
        found: String,
        /// What to type.
        remedy: String,
    },
    /// The file system is mounted read-only.
    #[error("{path} is on a read-only file system: {found}. {remedy}", path = path.display())]
    ReadOnly {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        found: String,
        /// What to type.
        remedy: String,
    },
    /// No space is left.
    #[error("no space is left for {path}: {found}. {remedy}", path = path.display())]
    Full {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        found: String,
        /// What to type.
        remedy: String,
    },
    /// There is no such directory, or something else is in its place.
    #[error("{path} can not hold a ledger: {found}. {remedy}", path = path.display())]
    NoPlace {
        /// What was looked at.
        path: PathBuf,
        /// What is there.
        found: String,
        /// What to type.
        remedy: String,
    },
    /// Born with another configuration.
    #[error("the ledger {path} belongs to another configuration{}. {remedy}", listed(differences), path = path.display())]
    ForeignStamp {
        /// The ledger.
        path: PathBuf,
        /// Every field that differs.
        differences: Vec<Difference>,
        /// What to type.
        remedy: String,
    },
    /// Written by a newer program.
    #[error(
        "the ledger {path} has schema {found}, this program knows {known} at most. Start the newer program again, or \
         put back the backup that it made before migrating{backup}",
        path = path.display()
    )]
    NewerSchema {
        /// The ledger.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
        /// Where the backup is, if there is one; begins with `: `.
        backup: String,
    },
    /// Written by an older program; only for those who read, as a writer migrates it.
    #[error(
        "the ledger {path} has schema {found}, this program reads {known}. Type `bot run` once: it makes a backup and \
         migrates it",
        path = path.display()
    )]
    OlderSchema {
        /// The ledger.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// A migration that was applied is not the one this program holds.
    #[error(
        "the ledger {path} was made by other migrations: {found}. This is not a release of the program that made it: \
         start the release that did",
        path = path.display()
    )]
    ChangedMigration {
        /// The ledger.
        path: PathBuf,
        /// Which migration, and how it differs.
        found: String,
    },
    /// Not a database, or one that contradicts itself.
    #[error("the ledger {path} is damaged: {found}. {remedy}", path = path.display())]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// What was found.
        found: String,
        /// What to type; names the newest backup.
        remedy: String,
    },
    /// The writes of a batch contradict the ledger: a bug of ours. Nothing was written.
    #[error("a write contradicts the ledger, nothing was written: {0}")]
    Contradiction(String),
    /// An intent is not in the state its transition leaves. Nothing was written.
    #[error(
        "intent {id} is not in state {from} with {transitions} transitions before it, nothing was written"
    )]
    WrongState {
        /// The intent.
        id: String,
        /// The state it should have been in.
        from: IntentState,
        /// How many transitions it should have had, its birth not counted.
        transitions: u32,
    },
    /// The database failed.
    #[error("the ledger {path} failed while it {doing}: {source}{}", hint(path, source), path = path.display())]
    Sql {
        /// The ledger.
        path: PathBuf,
        /// What it was doing.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl LedgerError {
    /// The process's exit code for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } => EXIT_TRY_LATER,
            Self::NotThere { .. } => EXIT_AWAY,
            Self::Contradiction(_) | Self::WrongState { .. } => EXIT_BUG,
            Self::Sql { source, .. } => match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => EXIT_TRY_LATER,
                Some(
                    ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::SystemIoFailure
                    | ErrorCode::CannotOpen
                    | ErrorCode::PermissionDenied,
                ) => EXIT_CONFIG,
                _ => EXIT_BUG,
            },
            _ => EXIT_CONFIG,
        }
    }

    /// A database error, told apart from damage.
    pub(super) fn sql(path: &Path, doing: &'static str, source: rusqlite::Error) -> Self {
        let damaged =
            matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
                || matches!(
                    source,
                    rusqlite::Error::FromSqlConversionFailure(..)
                        | rusqlite::Error::InvalidColumnType(..)
                        | rusqlite::Error::Utf8Error(..)
                        | rusqlite::Error::IntegralValueOutOfRange(..)
                        // Our statements are right for our schema: one that can not be prepared met another one, for
                        // the schema is text in the file, and damage there leaves every page in order.
                        | rusqlite::Error::SqlInputError { .. }
                );
        if damaged {
            Self::damaged(path, format!("{source} (while it {doing})"))
        } else {
            Self::Sql { path: path.to_owned(), doing, source }
        }
    }

    /// Damage, with the newest backup in the remedy. SQLite quotes what it stumbled over, so that `found` may hold anything.
    pub(super) fn damaged(path: &Path, found: String) -> Self {
        let printable = |c: char| match c {
            '\n' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        };
        let found = found.chars().map(printable).collect();
        let remedy = match super::beside::newest_backup(path) {
            Some(backup) => format!(
                "Stop the bot, move {0}, {0}-wal and {0}-shm aside, and copy {1} to {0}; what the chain and the broker \
                 did since is read again from them",
                path.display(),
                backup.display()
            ),
            None => {
                format!(
                    "There is no backup beside it. Move {0}, {0}-wal and {0}-shm aside and copy your own backup to {0}; what \
                 the chain and the broker did since is read again from them",
                    path.display()
                )
            }
        };
        Self::Damaged { path: path.to_owned(), found, remedy }
    }
}

/// What to do about a database error that a person can do something about.
fn hint(path: &Path, source: &rusqlite::Error) -> String {
    let words = match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            let place = super::beside::directory(path).display();
            return format!(
                ". Make room there (`df -h {place}`, `du -sh {place}/*`) and start again: nothing of this batch was written"
            );
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            ". Give the file and its directory to the user that runs the bot and start again"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            ". Another program holds it open for writing (sqlite3?): end that one and start again"
        }
        Some(ErrorCode::CannotOpen) => {
            ". SQLite needs the right to write beside it, even to read: run this as the user that runs the bot"
        }
        _ => "",
    };
    words.to_owned()
}

/// The differing fields, one a line.
fn listed(differences: &[Difference]) -> String {
    differences
        .iter()
        .map(|d| {
            format!(
                "\n  {}: the ledger says {}, the configuration says {}",
                d.field, d.ledger, d.configuration
            )
        })
        .collect()
}
