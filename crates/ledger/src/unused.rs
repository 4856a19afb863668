//! A ledger that holds nothing yet: it may be stamped anew for another configuration (`protocol.md` 5.1).
//!
//! Whoever corrects a wrong owner or broker before the first fill has nothing that could be hedged in another book's
//! name. The old content is kept as a backup, and a newborn ledger is copied over it within one transaction of SQLite's:
//! whoever dies in between leaves the one or the other, and a reader or a replicator keeps the file that it has open.
//!
//! Invariant: a ledger with a fill, an intent, a person's word or a halt in force is never stamped anew.

use std::fs;
use std::path::Path;
use std::time::Duration;

use refinery::Migration;
use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::error::LedgerError;
use super::{Stamp, beside, connect, file, held, place, stamp};
use crate::units::Millis;

/// Pages of a step that copies everything: a newborn ledger has some dozens.
const ALL_PAGES: i32 = i32::MAX;

/// What must be empty. Trades that were skipped and logs that were not understood are read again from DEPLOYMENT_BLOCK;
/// cursor, window and tokens follow from the chain; positions at birth and comparisons with the broker's book are of
/// the account that is left.
const MATTERS: [&str; 4] = ["fills", "intents", "decisions", "skipped_answers"];

/// Whether nothing in it matters to anybody. Its schema must be the newest.
pub(super) fn is_unused(conn: &Connection) -> rusqlite::Result<bool> {
    for table in MATTERS {
        if held::count(conn, &format!("SELECT EXISTS (SELECT 1 FROM {table})"))? > 0 {
            return Ok(false);
        }
    }
    Ok(held::halts(conn)?.is_empty())
}

/// Whether an unused ledger's stamp is not this one, in words; none where it is, or the ledger is used.
pub(super) fn differs(
    conn: &Connection,
    path: &Path,
    ours: &Stamp,
    schema_is_newest: bool,
) -> Result<Option<String>, LedgerError> {
    let error = match stamp::must_be_ours(conn, path, ours) {
        Err(error @ LedgerError::ForeignStamp { .. }) => error,
        other => return other.map(|_| None),
    };
    let unused =
        schema_is_newest && is_unused(conn).map_err(|error| LedgerError::sql(path, "was read", error))?;
    let LedgerError::ForeignStamp { differences, .. } = error else { return Ok(None) };
    let words: Vec<String> =
        differences.iter().map(|found| format!("{} was {}", found.field, found.ledger)).collect();
    Ok(unused.then(|| words.join(", ")))
}

/// Copies a newborn ledger with this stamp over the one that `conn` has open.
pub(super) fn stamp_anew(
    conn: &mut Connection,
    path: &Path,
    stamp: &Stamp,
    now: Millis,
    migrations: &[Migration],
) -> Result<(), LedgerError> {
    let failed = |error| LedgerError::sql(path, "was stamped anew", error);
    let newborn = beside::beside(path, ".anew");
    let clear = || {
        ["", "-wal", "-shm", "-journal"].map(|suffix| beside::beside(&newborn, suffix)).iter().try_for_each(
            |file| {
                if file.exists() {
                    fs::remove_file(file).map_err(|error| place::refused(file, &error))
                } else {
                    Ok(())
                }
            },
        )
    };
    clear()?;
    file::give_birth(&newborn, stamp, now, migrations)?;
    let source = connect::connect_reading(&newborn)?;
    Backup::new(&source, conn)
        .and_then(|copy| copy.run_to_completion(ALL_PAGES, Duration::ZERO, None))
        .map_err(failed)?;
    drop(source);
    clear()
}
