//! The ledger's file: how it is born, migrated and copied, and whether this program knows its schema.
//!
//! Invariant: no file gets a ledger's name, or a backup's, before it is complete and synced.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refinery::{Migration, Runner};
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::connect::connect;
use super::error::LedgerError;
use super::{Stamp, beside, check, place, stamp};
use crate::crash::{self, Point};
use crate::units::Millis;

/// Starts that begin a migration within one second and die in it, at most: more than any supervisor makes.
const STARTS_PER_SECOND_MAX: u32 = 100;
/// Pages copied per step of a backup: 4 MiB.
const BACKUP_PAGES: i32 = 1024;

/// The migrations this program holds, oldest first.
///
/// # Errors
/// [`LedgerError::Contradiction`] where a name in the list is malformed.
pub fn migrations() -> Result<Vec<Migration>, LedgerError> {
    let list = [
        ("V1__ledger", include_str!("../../../migrations/V1__ledger.sql")),
        ("V2__accounts", include_str!("../../../migrations/V2__accounts.sql")),
        ("V3__passed_over", include_str!("../../../migrations/V3__passed_over.sql")),
        ("V4__unsettled", include_str!("../../../migrations/V4__unsettled.sql")),
        ("V5__counted", include_str!("../../../migrations/V5__counted.sql")),
        ("V6__sums", include_str!("../../../migrations/V6__sums.sql")),
        ("V7__units", include_str!("../../../migrations/V7__units.sql")),
    ];
    list.into_iter()
        .map(|(name, sql)| Migration::unapplied(name, sql))
        .collect::<Result<_, _>>()
        .map_err(|error| LedgerError::Contradiction(error.to_string()))
}

/// Whether the schema is the one this program reads.
pub(super) fn must_be_readable(conn: &Connection, path: &Path) -> Result<i64, LedgerError> {
    let migrations = migrations()?;
    let found = must_be_known(conn, path, &migrations)?;
    let known = newest(&migrations);
    if found < known {
        return Err(LedgerError::OlderSchema { path: path.to_owned(), found, known });
    }
    Ok(found)
}

/// An empty file is a ledger that lost its content: SQLite would take it for a new one.
pub(super) fn must_not_be_empty(path: &Path) -> Result<(), LedgerError> {
    let empty = fs::metadata(path).is_ok_and(|found| found.len() == 0);
    if empty { Err(LedgerError::damaged(path, "it is empty".to_owned())) } else { Ok(()) }
}

pub(super) fn newest(migrations: &[Migration]) -> i64 {
    migrations.iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0)
}

/// The ledger's schema version, if every migration it has seen is one of ours. refinery checks the same, but stops on
/// a history it can not read, and can not tell a newer ledger from a strange one.
pub(super) fn must_be_known(
    conn: &Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<i64, LedgerError> {
    let mut statement = conn
        .prepare("SELECT version, name, checksum FROM refinery_schema_history ORDER BY version")
        .map_err(|error| stamp::missing(path, error))?;
    let applied: Vec<(i64, String, String)> = statement
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .and_then(Iterator::collect)
        .map_err(|error| LedgerError::sql(path, "read its schema", error))?;
    let Some(found) = applied.last().map(|last| last.0) else {
        // A birth writes tables and history in one transaction: whoever emptied the history did not do only that.
        return Err(LedgerError::damaged(path, "the history of its migrations is empty".to_owned()));
    };
    let known = newest(migrations);
    if found > known {
        let backup = beside::newest_backup(path).map(|file| format!(": {}", file.display()));
        let backup = backup.unwrap_or_default();
        return Err(LedgerError::NewerSchema { path: path.to_owned(), found, known, backup });
    }
    for (version, name, checksum) in &applied {
        let ours = migrations.iter().find(|ours| i64::from(ours.version()) == *version);
        let same = ours.is_some_and(|ours| ours.name() == name && ours.checksum().to_string() == *checksum);
        if !same {
            let found = format!("V{version}__{name} with checksum {checksum} was applied, ours differs");
            return Err(LedgerError::ChangedMigration { path: path.to_owned(), found });
        }
    }
    Ok(found)
}

pub(super) fn migrate(
    conn: &mut Connection,
    path: &Path,
    migrations: &[Migration],
) -> Result<(), LedgerError> {
    let failed = |error| LedgerError::sql(path, "was migrated", error);
    watch_statements(conn, true).map_err(failed)?;
    // Grouped: a migration and its line in the history are one transaction. refinery's default is two.
    let run = Runner::new(migrations).set_grouped(true).run(conn);
    watch_statements(conn, false).map_err(failed)?;
    run.map(|_| ()).map_err(|error| {
        use refinery::error::Kind;
        match error.kind() {
            Kind::DivergentVersion(..) | Kind::MissingVersion(_) | Kind::RepeatedVersion(_) => {
                LedgerError::ChangedMigration { path: path.to_owned(), found: error.to_string() }
            }
            Kind::Connection(_, source) => match source.downcast_ref() {
                Some(rusqlite::Error::SqliteFailure(code, text)) => {
                    let source = rusqlite::Error::SqliteFailure(*code, text.clone());
                    LedgerError::sql(path, "was migrated", source)
                }
                // Without the statement: it is a whole schema.
                Some(rusqlite::Error::SqlInputError { error, msg, .. }) => {
                    let source = rusqlite::Error::SqliteFailure(*error, Some(msg.clone()));
                    LedgerError::sql(path, "was migrated", source)
                }
                _ => LedgerError::Contradiction(format!("a migration failed: {error}: {source}")),
            },
            _ => LedgerError::Contradiction(format!("a migration failed: {error}")),
        }
    })
}

/// Makes each statement a place to die at.
#[cfg(debug_assertions)]
fn watch_statements(conn: &mut Connection, on: bool) -> rusqlite::Result<()> {
    use rusqlite::trace::{TraceEvent, TraceEventCodes};
    let watch = |_: TraceEvent<'_>| crash::point(Point::MigrationStatement);
    conn.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, on.then_some(watch))
}

#[cfg(not(debug_assertions))]
fn watch_statements(_: &mut Connection, _: bool) -> rusqlite::Result<()> {
    Ok(())
}

/// Makes a complete new ledger under another name, then gives it its own.
pub(super) fn give_birth(
    path: &Path,
    stamp: &Stamp,
    now: Millis,
    migrations: &[Migration],
) -> Result<(), LedgerError> {
    for suffix in ["-wal", "-journal"] {
        let orphan = beside::beside(path, suffix);
        if fs::metadata(&orphan).is_ok_and(|found| found.len() > 0) {
            // SQLite would replay it into the new file.
            let found = format!("it is gone, but its log {} is still there", orphan.display());
            return Err(LedgerError::damaged(path, found));
        }
    }
    crash::point(Point::BirthBegins);
    let unborn = beside::beside(path, ".birth");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let leftover = beside::beside(&unborn, suffix);
        if leftover.exists() {
            fs::remove_file(&leftover).map_err(|error| place::refused(&leftover, &error))?;
            crash::point(Point::BirthLeftover);
        }
    }
    create(&unborn)?;
    crash::point(Point::BirthCreated);
    let conn = connect(&unborn)?;
    crash::point(Point::BirthOpened);
    be_born(conn, &unborn, stamp, now, migrations)?;
    settle(&unborn, path, [Point::BirthSynced, Point::BirthRenamed, Point::BirthDone])
}

/// Gives an empty database its tables and its stamp, and closes it.
pub(super) fn be_born(
    mut conn: Connection,
    path: &Path,
    stamp: &Stamp,
    now: Millis,
    migrations: &[Migration],
) -> Result<(), LedgerError> {
    migrate(&mut conn, path, migrations)?;
    crash::point(Point::BirthMigrated);
    stamp::write(&conn, stamp, now).map_err(|error| LedgerError::sql(path, "was stamped", error))?;
    crash::point(Point::BirthStamped);
    conn.close().map_err(|(_, error)| LedgerError::sql(path, "was born", error))?;
    crash::point(Point::BirthClosed);
    Ok(())
}

pub(super) fn create(path: &Path) -> Result<(), LedgerError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(place::FILE_MODE).open(path);
    file.map(drop).map_err(|error| place::refused(path, &error))
}

/// Syncs a complete file and gives it its name, past these three points.
fn settle(from: &Path, to: &Path, points: [Point; 3]) -> Result<(), LedgerError> {
    let [synced, renamed, done] = points;
    File::open(from)
        .and_then(|file| file.sync_all())
        .inspect(|()| crash::point(synced))
        .and_then(|()| fs::rename(from, to))
        .inspect(|()| crash::point(renamed))
        .and_then(|()| place::sync_directory(beside::directory(to)))
        .inspect(|()| crash::point(done))
        .map_err(|error| place::refused(to, &error))
}

pub(super) fn back_up(conn: &Connection, path: &Path, target: &Path) -> Result<(), LedgerError> {
    let failed = |error| LedgerError::sql(target, "was written as a backup", error);
    if target.exists() {
        return Err(LedgerError::NoPlace {
            path: target.to_owned(),
            found: format!("the backup of {} would replace a file", path.display()),
            remedy: "Move that file away, or name another one".to_owned(),
        });
    }
    place::must_be_directory(beside::directory(target))?;
    let partial = beside::beside(target, beside::PARTIAL);
    for leftover in beside::half_backups(path) {
        // Each start has another name for its backup: what an earlier one left is nobody's but ours to remove.
        fs::remove_file(&leftover).map_err(|error| place::refused(&leftover, &error))?;
        crash::point(Point::BackupLeftover);
    }
    if partial.exists() {
        fs::remove_file(&partial).map_err(|error| place::refused(&partial, &error))?;
    }
    create(&partial)?;
    crash::point(Point::BackupCreated);
    let mut copy =
        Connection::open_with_flags(&partial, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    Backup::new(conn, &mut copy)
        .and_then(|backup| backup.run_to_completion(BACKUP_PAGES, Duration::ZERO, None))
        .map_err(failed)?;
    crash::point(Point::BackupCopied);
    check::quick_check(&copy, target)?;
    copy.close().map_err(|(_, error)| failed(error))?;
    crash::point(Point::BackupClosed);
    settle(&partial, target, [Point::BackupSynced, Point::BackupRenamed, Point::BackupDone])
}

/// A name that no backup has yet: a start that died in its migration may be followed by another in the same second.
pub(super) fn name_of_backup(path: &Path, schema: i64, now: Millis) -> PathBuf {
    let first = beside::beside(path, &format!(".backup-{schema}-{}", compact_utc(now)));
    let more = (2..=STARTS_PER_SECOND_MAX).map(|n| beside::beside(&first, &format!("-{n}")));
    std::iter::once(first.clone()).chain(more).find(|name| !name.exists()).unwrap_or(first)
}

/// `20261123T124502Z`, a moment as part of a file name.
fn compact_utc(now: Millis) -> String {
    match jiff::Timestamp::from_millisecond(now.0) {
        Ok(moment) => moment.strftime("%Y%m%dT%H%M%SZ").to_string(),
        Err(_) => now.0.to_string(),
    }
}
