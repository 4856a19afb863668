//! From a path to a ledger that may be trusted, or a refusal that says what to type.
//!
//! The order is the safety: directory, lock, whole file, schema, stamp, and only then a backup and a migration. A new
//! ledger is made under another name and renamed when it is complete, so that a file without a stamp, an empty one
//! included, is never ours: an emptied ledger must not be born again, it would hedge its whole history twice.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use refinery::{Migration, Runner};
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::error::LedgerError;
use super::lock::Lock;
use super::{Stamp, place, row, stamp};
use crate::units::Millis;

/// How long a statement waits for another program's lock (a backup tool, `sqlite3`) before it is an error.
const BUSY_MS: u64 = 5_000;
/// The write-ahead log is cut back to this after a checkpoint, so that one long reader does not fill the volume.
const WAL_BYTES_MAX: i64 = 64 * 1024 * 1024;
/// Statements kept prepared: more than the ledger has.
const STATEMENTS_MAX: usize = 64;
/// Pages copied per step of a backup: 4 MiB.
const BACKUP_PAGES: i32 = 1024;

/// The migrations this program holds, oldest first.
///
/// # Errors
/// [`LedgerError::Contradiction`] where a name in the list is malformed.
pub fn migrations() -> Result<Vec<Migration>, LedgerError> {
    [("V1__ledger", include_str!("../../migrations/V1__ledger.sql"))]
        .into_iter()
        .map(|(name, sql)| Migration::unapplied(name, sql))
        .collect::<Result<_, _>>()
        .map_err(|error| LedgerError::Contradiction(error.to_string()))
}

/// The single writer of a ledger. Holds the lock for as long as it lives.
#[derive(Debug)]
pub struct Ledger {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    warnings: Vec<String>,
    /// Whether this process has compared the broker's book with the ledger ([`super::Write::Compared`]).
    pub(super) compared: bool,
    // Last, so that the lock outlives the connection.
    _lock: Lock,
}

/// The right to write the ledger at a place that can be written, held before anything else is taken: a second instance
/// must hear of the first one and not of its port, and the first may wait for its chain before it opens anything.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    lock: Lock,
}

impl Claim {
    /// Claims the ledger at `path`, which need not exist.
    ///
    /// # Errors
    /// [`LedgerError::Locked`], [`LedgerError::NotWritable`] and their like, with the remedy.
    pub fn on(path: &Path, now: Millis) -> Result<Self, LedgerError> {
        let path = place::resolve(path)?;
        place::must_be_local(place::directory(&path))?;
        // Two that tried the directory at once would take each other's file away.
        let lock = Lock::take(&path, now)?;
        place::must_be_writable(&path)?;
        Ok(Self { path, lock })
    }
}

impl Ledger {
    /// Opens the ledger at `path`, or gives birth to it, stamped with `stamp`.
    ///
    /// # Errors
    /// Every variant of [`LedgerError`] but `NotThere`, `OlderSchema`, `WrongState`.
    pub fn open(path: &Path, stamp: &Stamp, now: Millis) -> Result<Self, LedgerError> {
        Self::open_with(path, stamp, now, &migrations()?)
    }

    /// [`Ledger::open`] with another list of migrations: how a test meets the program of next year.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_with(
        path: &Path,
        stamp: &Stamp,
        now: Millis,
        migrations: &[Migration],
    ) -> Result<Self, LedgerError> {
        Self::open_claimed(Claim::on(path, now)?, stamp, now, migrations)
    }

    /// [`Ledger::open_with`] on a claim that is held already.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_claimed(
        claim: Claim,
        stamp: &Stamp,
        now: Millis,
        migrations: &[Migration],
    ) -> Result<Self, LedgerError> {
        let Claim { path: resolved, lock } = claim;
        let path = resolved.as_path();
        if !path.exists() {
            give_birth(path, stamp, now, migrations)?;
        }
        must_not_be_empty(path)?;
        let mut conn = connect(path)?;
        let schema = must_be_known(&conn, path, migrations)?;
        must_be_whole(&conn, path)?;
        let warnings = stamp::must_be_ours(&conn, path, stamp)?;
        if schema < newest(migrations) {
            let name = format!(".backup-{schema}-{}", compact_utc(now));
            back_up(&conn, path, &place::beside(path, &name))?;
            migrate(&mut conn, path, migrations)?;
            must_be_whole(&conn, path)?;
        }
        Ok(Self { conn, path: path.to_owned(), warnings, compared: false, _lock: lock })
    }

    /// The chain a ledger was born on; `None` where there is no ledger yet. Takes no lock.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] or [`LedgerError::Sql`].
    pub fn stamped_chain_id(path: &Path) -> Result<Option<u64>, LedgerError> {
        if !path.exists() {
            return Ok(None);
        }
        must_not_be_empty(path)?;
        let conn = connect_reading(path)?;
        let chain_id = conn.query_row("SELECT chain_id FROM stamp", [], |r| row::number(r, 0)).optional();
        chain_id.map_err(|error| stamp::missing(path, error))
    }

    /// Opens the ledger at `path` under its own stamp, whoever's it is: for an operator's verb while no bot runs.
    ///
    /// # Errors
    /// As [`Ledger::open`], and [`LedgerError::NotThere`].
    pub fn open_as_stamped(path: &Path, now: Millis) -> Result<Self, LedgerError> {
        if !path.exists() {
            return Err(LedgerError::NotThere { path: path.to_owned() });
        }
        must_not_be_empty(path)?;
        let stamp = stamp::read(&connect_reading(path)?, path)?;
        Self::open(path, &stamp, now)
    }

    /// What was odd but allowed when it was opened, in words.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Copies the ledger as it is now to `target`, a new file, durably.
    ///
    /// # Errors
    /// Where the target exists or can not be written.
    pub fn back_up(&self, target: &Path) -> Result<(), LedgerError> {
        back_up(&self.conn, &self.path, target)
    }

    /// Moves what it can of the write-ahead log into the ledger file, without waiting for those who read.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub fn checkpoint(&mut self) -> Result<(), LedgerError> {
        self.conn
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(|error| LedgerError::sql(&self.path, "moved its log into the file", error))
    }

    /// Checkpoints and closes; the lock is free afterwards.
    ///
    /// # Errors
    /// [`LedgerError::Sql`]; nothing committed is lost.
    pub fn close(mut self) -> Result<(), LedgerError> {
        self.checkpoint()?;
        let Self { conn, path, .. } = self;
        conn.close().map_err(|(_, error)| LedgerError::sql(&path, "closed", error))
    }
}

/// A reading connection beside a running bot; it can not write.
pub(super) fn connect_reading(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)
        .map_err(|error| LedgerError::sql(path, "was opened for reading", error))?;
    set_pragmas(&conn, &[("query_only", &"ON"), ("trusted_schema", &"OFF"), ("temp_store", &"MEMORY")])
        .map_err(|error| LedgerError::sql(path, "was opened for reading", error))?;
    Ok(conn)
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

fn connect(path: &Path) -> Result<Connection, LedgerError> {
    let opened = |error| LedgerError::sql(path, "was opened", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(opened)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0)).map_err(opened)?;
    if mode != "wal" {
        return Err(LedgerError::NoPlace {
            path: path.to_owned(),
            found: format!("SQLite can not keep a write-ahead log there (it said `{mode}`)"),
            remedy: "Put the ledger on a local volume, not on a network file system".to_owned(),
        });
    }
    set_pragmas(
        &conn,
        &[
            ("synchronous", &"FULL"),
            ("foreign_keys", &"ON"),
            // Makes REPLACE fire the triggers that keep rows for ever.
            ("recursive_triggers", &"ON"),
            ("trusted_schema", &"OFF"),
            // An image without /tmp has nowhere else to sort.
            ("temp_store", &"MEMORY"),
            ("journal_size_limit", &WAL_BYTES_MAX),
        ],
    )
    .map_err(opened)?;
    Ok(conn)
}

fn set_pragmas(conn: &Connection, pragmas: &[(&str, &dyn rusqlite::ToSql)]) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
    // Some pragmas answer with their new value and some do not.
    pragmas.iter().try_for_each(|(name, value)| {
        conn.pragma_update_and_check(None, name, value, |_| Ok(())).optional().map(|_| ())
    })
}

fn newest(migrations: &[Migration]) -> i64 {
    migrations.iter().map(|migration| i64::from(migration.version())).max().unwrap_or(0)
}

/// The ledger's schema version, if every migration it has seen is one of ours. refinery checks the same, but stops on
/// a history it can not read, and can not tell a newer ledger from a strange one.
fn must_be_known(conn: &Connection, path: &Path, migrations: &[Migration]) -> Result<i64, LedgerError> {
    let mut statement = conn
        .prepare("SELECT version, name, checksum FROM refinery_schema_history ORDER BY version")
        .map_err(|error| stamp::missing(path, error))?;
    let applied: Vec<(i64, String, String)> = statement
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .and_then(Iterator::collect)
        .map_err(|error| LedgerError::sql(path, "read its schema", error))?;
    let (found, known) = (applied.last().map_or(0, |last| last.0), newest(migrations));
    if found > known {
        let backup = place::newest_backup(path).map(|file| format!(": {}", file.display()));
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

fn must_be_whole(conn: &Connection, path: &Path) -> Result<(), LedgerError> {
    let verdict: String = conn
        .query_row("PRAGMA quick_check(1)", [], |r| r.get(0))
        .map_err(|error| LedgerError::sql(path, "was checked", error))?;
    if verdict == "ok" { Ok(()) } else { Err(LedgerError::damaged(path, verdict)) }
}

fn migrate(conn: &mut Connection, path: &Path, migrations: &[Migration]) -> Result<(), LedgerError> {
    // Grouped: a migration and its line in the history are one transaction. refinery's default is two.
    let run = Runner::new(migrations).set_grouped(true).run(conn);
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
                _ => LedgerError::Contradiction(format!("a migration failed: {error}: {source}")),
            },
            _ => LedgerError::Contradiction(format!("a migration failed: {error}")),
        }
    })
}

/// Makes a complete new ledger under another name, then gives it its own.
fn give_birth(path: &Path, stamp: &Stamp, now: Millis, migrations: &[Migration]) -> Result<(), LedgerError> {
    for suffix in ["-wal", "-journal"] {
        let orphan = place::beside(path, suffix);
        if fs::metadata(&orphan).is_ok_and(|found| found.len() > 0) {
            // SQLite would replay it into the new file.
            let found = format!("it is gone, but its log {} is still there", orphan.display());
            return Err(LedgerError::damaged(path, found));
        }
    }
    let unborn = place::beside(path, ".birth");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let leftover = place::beside(&unborn, suffix);
        if leftover.exists() {
            fs::remove_file(&leftover).map_err(|error| place::refused(&leftover, &error))?;
        }
    }
    create(&unborn)?;
    let mut conn = connect(&unborn)?;
    migrate(&mut conn, &unborn, migrations)?;
    stamp::write(&conn, stamp, now).map_err(|error| LedgerError::sql(&unborn, "was stamped", error))?;
    conn.close().map_err(|(_, error)| LedgerError::sql(&unborn, "was born", error))?;
    settle(&unborn, path)
}

fn create(path: &Path) -> Result<(), LedgerError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(place::FILE_MODE).open(path);
    file.map(drop).map_err(|error| place::refused(path, &error))
}

/// Syncs a complete file and gives it its name.
fn settle(from: &Path, to: &Path) -> Result<(), LedgerError> {
    File::open(from)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(from, to))
        .and_then(|()| place::sync_directory(place::directory(to)))
        .map_err(|error| place::refused(to, &error))
}

fn back_up(conn: &Connection, path: &Path, target: &Path) -> Result<(), LedgerError> {
    let failed = |error| LedgerError::sql(target, "was written as a backup", error);
    if target.exists() {
        return Err(LedgerError::NoPlace {
            path: target.to_owned(),
            found: format!("the backup of {} would replace a file", path.display()),
            remedy: "Move that file away, or name another one".to_owned(),
        });
    }
    let partial = place::beside(target, place::PARTIAL);
    if partial.exists() {
        fs::remove_file(&partial).map_err(|error| place::refused(&partial, &error))?;
    }
    create(&partial)?;
    let mut copy =
        Connection::open_with_flags(&partial, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    Backup::new(conn, &mut copy)
        .and_then(|backup| backup.run_to_completion(BACKUP_PAGES, Duration::ZERO, None))
        .map_err(failed)?;
    must_be_whole(&copy, target)?;
    copy.close().map_err(|(_, error)| failed(error))?;
    settle(&partial, target)
}

/// `20261123T124502Z`, a moment as part of a file name.
fn compact_utc(now: Millis) -> String {
    match jiff::Timestamp::from_millisecond(now.0) {
        Ok(moment) => moment.strftime("%Y%m%dT%H%M%SZ").to_string(),
        Err(_) => now.0.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_is_as_safe_as_it_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bot.db");
        create(&path).unwrap();
        let conn = connect(&path).unwrap();
        let pragmas = [
            ("synchronous", 2), // FULL
            ("foreign_keys", 1),
            ("recursive_triggers", 1),
            ("trusted_schema", 0),
            ("temp_store", 2), // MEMORY
            ("busy_timeout", 5_000),
        ];
        for (name, value) in pragmas {
            assert_eq!(conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0)), Ok(value), "{name}");
        }
        conn.execute_batch("CREATE TABLE t (x)").unwrap();
        let reading = connect_reading(&path).unwrap();
        assert_eq!(reading.pragma_query_value(None, "query_only", |r| r.get::<_, i64>(0)), Ok(1));
        assert!(reading.execute("INSERT INTO t VALUES (1)", []).is_err());
    }
}
