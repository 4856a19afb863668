//! From a path to a ledger that may be trusted, or a refusal that says what to type.
//!
//! The order is the safety: directory, lock, whole file, schema, stamp, and only then a backup and a migration. A new
//! ledger is made under another name and renamed when it is complete, so that a file without a stamp, an empty one
//! included, is never ours: an emptied ledger must not be born again, it would hedge its whole history twice.

use std::ffi::c_int;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use refinery::{Migration, Runner};
use rusqlite::backup::Backup;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::check::{self, WholeCheck};
use super::error::LedgerError;
use super::lock::Lock;
use super::{Stamp, place, row, stamp, sums, unused};
use crate::crash::{self, Point};
use crate::units::Millis;

/// How long a statement waits for another program's lock (a backup tool, `sqlite3`) before it is an error.
const BUSY_MS: u64 = 5_000;
/// The write-ahead log is cut back to this after a checkpoint, so that one long reader does not fill the volume.
const WAL_BYTES_MAX: i64 = 64 * 1024 * 1024;
/// Pages in the write-ahead log from which on it is moved into the file: 4 MiB, SQLite's own figure.
const WAL_PAGES_MAX: c_int = if cfg!(debug_assertions) { 100 } else { 1_000 };
/// The same while inputs wait.
const WAL_PAGES_BUSY_MAX: c_int = 2 * WAL_PAGES_MAX;
/// Statements kept prepared: more than the ledger has.
const STATEMENTS_MAX: usize = 64;
/// Starts that begin a migration within one second and die in it, at most: more than any supervisor makes.
const STARTS_PER_SECOND_MAX: u32 = 100;
/// How long a stop waits for those who read the ledger: longer than any verb here, shorter than a stop may take.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
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
    ];
    list.into_iter()
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
    /// Pages of the write-ahead log after the last commit.
    log_pages: Arc<AtomicI32>,
    // Last, so that the lock outlives the connection. None where no other process can reach the ledger.
    _lock: Option<Lock>,
}

/// When the whole file is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    /// Before it is used.
    Now,
    /// By whoever opened it, meanwhile.
    Beside,
}

/// Where a ledger lies that is not a file of this machine: the simulator's disk. It has no directory that could be
/// locked, tried or full of old backups; all that SQLite does there is the same.
pub trait Volume {
    /// Whether the name is there.
    fn exists(&self, name: &Path) -> bool;
    /// A connection to the database of that name.
    fn connect(&self, name: &Path, flags: OpenFlags) -> rusqlite::Result<Connection>;
    /// Takes away what an unfinished birth left under this name.
    fn clear(&self, name: &Path) -> std::io::Result<()>;
    /// Makes a complete file durable and gives it its name, durably.
    fn settle(&self, from: &Path, to: &Path) -> std::io::Result<()>;
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
        crash::point(Point::Locked);
        place::must_be_writable(&path)?;
        crash::point(Point::Tried);
        Ok(Self { path, lock })
    }
}

/// What a ledger that was closed is made of: what a copy of it must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// The file alone.
    Whole,
    /// The file and its log: another program reads the ledger, and SQLite can not move the log under it.
    LogBeside {
        /// The ledger.
        path: PathBuf,
        /// Its log.
        log: PathBuf,
    },
}

impl Closed {
    /// What a person must know who copies it; none where the file alone will do.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        let Self::LogBeside { path, log } = self else { return None };
        let (path, log) = (path.display(), log.display());
        Some(format!(
            "another program has the ledger open, so a part of it is still in {log}: a copy of {path} alone is not whole; \
             end that program, then copy both"
        ))
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
        Self::open_in(Claim::on(path, now)?, stamp, now, migrations, Whole::Now)
    }

    /// [`Ledger::open`] on a claim that is held already, and the check of the whole file, which is not done yet: it can be
    /// done beside.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_claimed(claim: Claim, stamp: &Stamp, now: Millis) -> Result<(Self, WholeCheck), LedgerError> {
        let ledger = Self::open_in(claim, stamp, now, &migrations()?, Whole::Beside)?;
        let check = WholeCheck::of(&ledger.path)?;
        Ok((ledger, check))
    }

    fn open_in(
        claim: Claim,
        stamp: &Stamp,
        now: Millis,
        migrations: &[Migration],
        whole: Whole,
    ) -> Result<Self, LedgerError> {
        let Claim { path: resolved, lock } = claim;
        let path = resolved.as_path();
        if !path.exists() {
            give_birth(path, stamp, now, migrations)?;
        }
        must_not_be_empty(path)?;
        let mut conn = connect(path)?;
        crash::point(Point::OpenConnected);
        let back_up_first =
            |conn: &Connection, schema: i64| back_up(conn, path, &name_of_backup(path, schema, now));
        let schema = must_be_known(&conn, path, migrations)?;
        let differs = unused::differs(&conn, path, stamp, schema == newest(migrations))?;
        if differs.is_some() {
            check::must_be_whole(&conn, path)?;
            back_up_first(&conn, schema)?;
            unused::stamp_anew(&mut conn, path, stamp, now, migrations)?;
        }
        let mut ledger = Self::trusted(conn, path, stamp, migrations, back_up_first, Some(lock), whole)?;
        ledger.warnings.extend(differs.map(|words| {
            format!(
                "the ledger held no fill and no hedge and was stamped anew ({words}); a backup is beside it"
            )
        }));
        Ok(ledger)
    }

    /// A ledger that was connected and prepared, if it is whole, known and ours; migrated where it is old, and backed up
    /// before that. One that is migrated is checked at once, whoever checks it else.
    fn trusted(
        mut conn: Connection,
        path: &Path,
        stamp: &Stamp,
        migrations: &[Migration],
        back_up_first: impl FnOnce(&Connection, i64) -> Result<(), LedgerError>,
        lock: Option<Lock>,
        whole: Whole,
    ) -> Result<Self, LedgerError> {
        let schema = must_be_known(&conn, path, migrations)?;
        let is_old = schema < newest(migrations);
        if is_old || whole == Whole::Now {
            check::quick_check(&conn, path)?;
        }
        crash::point(Point::OpenChecked);
        let warnings = stamp::must_be_ours(&conn, path, stamp)?;
        crash::point(Point::OpenStamped);
        if is_old {
            back_up_first(&conn, schema)?;
            migrate(&mut conn, path, migrations)?;
            crash::point(Point::MigrationDone);
            check::quick_check(&conn, path)?;
        }
        if newest(migrations) >= sums::SCHEMA {
            sums::reckon(&mut conn, path)?;
            if is_old || whole == Whole::Now {
                sums::must_agree(&conn, path)?;
            }
        }
        let log_pages = keep_pages(&mut conn).map_err(|error| LedgerError::sql(path, "was opened", error))?;
        let mut ledger =
            Self { conn, path: path.to_owned(), warnings, compared: false, log_pages, _lock: lock };
        // What a failed sync of an earlier process left in the log may be seen and yet not be safe, and no later sync
        // makes it so: it is written anew, into the file.
        ledger.checkpoint()?;
        crash::point(Point::Opened);
        Ok(ledger)
    }

    /// [`Ledger::open`] on a volume that only this process can reach.
    ///
    /// # Errors
    /// As [`Ledger::open`], but for what is said of directories and locks.
    pub fn open_on(
        volume: &dyn Volume,
        path: &Path,
        stamp: &Stamp,
        now: Millis,
        migrations: &[Migration],
    ) -> Result<Self, LedgerError> {
        let connect = |path: &Path, flags| {
            let conn =
                volume.connect(path, flags).map_err(|error| LedgerError::sql(path, "was opened", error))?;
            prepared(conn, path)
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if !volume.exists(path) {
            let unborn = place::beside(path, ".birth");
            volume.clear(&unborn).map_err(|error| place::refused(&unborn, &error))?;
            let conn = connect(&unborn, flags | OpenFlags::SQLITE_OPEN_CREATE)?;
            be_born(conn, &unborn, stamp, now, migrations)?;
            volume.settle(&unborn, path).map_err(|error| place::refused(path, &error))?;
        }
        let no_backup = |_: &Connection, _| Ok(());
        Self::trusted(connect(path, flags)?, path, stamp, migrations, no_backup, None, Whole::Now)
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

    /// The broker that the ledger is stamped with.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] or [`LedgerError::Sql`].
    pub fn broker(&self) -> Result<String, LedgerError> {
        stamp::read(&self.conn, &self.path).map(|stamp| stamp.broker)
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

    /// Moves a log that has grown long into the file; for whoever has nothing more urgent to do. While something `waits`
    /// it is left alone until it is twice as long.
    pub fn move_long_log(&mut self, waits: bool) {
        let enough = if waits { WAL_PAGES_BUSY_MAX } else { WAL_PAGES_MAX };
        if self.log_pages.load(Ordering::Relaxed) < enough {
            return;
        }
        crash::point(Point::CheckpointBegins);
        // What was committed stands whatever comes of this; the next one tries again, and the close.
        let _ = self.checkpoint();
        self.log_pages.store(0, Ordering::Relaxed);
        crash::point(Point::CheckpointDone);
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

    /// Moves the whole log into the ledger file if nobody reads an older state of it, and closes; the lock is free
    /// afterwards. Says whether the file alone holds everything (`protocol.md` 6).
    ///
    /// # Errors
    /// [`LedgerError::Sql`]; nothing committed is lost.
    pub fn close(self) -> Result<Closed, LedgerError> {
        crash::point(Point::StopCloses);
        let moved = self.move_log()?;
        crash::point(Point::StopMoved);
        let Self { conn, path, .. } = self;
        conn.close().map_err(|(_, error)| LedgerError::sql(&path, "closed", error))?;
        crash::point(Point::StopClosed);
        // The last connection to close moves the log itself and removes it: a reader may have gone meanwhile.
        let log = place::beside(&path, "-wal");
        let left = fs::metadata(&log).is_ok_and(|log| log.len() > 0);
        Ok(if moved || !left { Closed::Whole } else { Closed::LogBeside { path, log } })
    }

    /// Waits for readers, bounded; then SQLite says how many pages the log has and how many of them are in the file.
    fn move_log(&self) -> Result<bool, LedgerError> {
        let moved = self.conn.busy_timeout(CLOSE_WAIT).and_then(|()| {
            self.conn.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
                let [busy, pages, moved]: [i64; 3] = [row.get(0)?, row.get(1)?, row.get(2)?];
                Ok(busy == 0 && pages == moved)
            })
        });
        moved.map_err(|error| LedgerError::sql(&self.path, "moved its log into the file", error))
    }
}

/// A reading connection beside a running bot; it can not write.
pub(super) fn connect_reading(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    reading(path, Connection::open_with_flags(path, flags))
}

/// A connection that was opened to read, set up for that and nothing else.
pub(super) fn reading(path: &Path, opened: rusqlite::Result<Connection>) -> Result<Connection, LedgerError> {
    let prepared = opened.and_then(|conn| {
        set_pragmas(&conn, &[("query_only", &"ON"), ("trusted_schema", &"OFF"), ("temp_store", &"MEMORY")])?;
        Ok(conn)
    });
    prepared.map_err(|error| LedgerError::sql(path, "was opened for reading", error))
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
    prepared(Connection::open_with_flags(path, flags).map_err(opened)?, path)
}

/// A writing connection with everything set on it that this program's promises stand on.
fn prepared(conn: Connection, path: &Path) -> Result<Connection, LedgerError> {
    let opened = |error| LedgerError::sql(path, "was opened", error);
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

/// Has SQLite tell after each commit how many pages the log has, instead of moving it into the file there and then: a
/// commit is what an order waits for.
fn keep_pages(conn: &mut Connection) -> rusqlite::Result<Arc<AtomicI32>> {
    let kept = Arc::new(AtomicI32::new(0));
    let told = Arc::clone(&kept);
    conn.wal_hook(Some(move |_: &mut Wal, pages: c_int| {
        told.store(pages, Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(kept)
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
    let Some(found) = applied.last().map(|last| last.0) else {
        // A birth writes tables and history in one transaction: whoever emptied the history did not do only that.
        return Err(LedgerError::damaged(path, "the history of its migrations is empty".to_owned()));
    };
    let known = newest(migrations);
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

fn migrate(conn: &mut Connection, path: &Path, migrations: &[Migration]) -> Result<(), LedgerError> {
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
        let orphan = place::beside(path, suffix);
        if fs::metadata(&orphan).is_ok_and(|found| found.len() > 0) {
            // SQLite would replay it into the new file.
            let found = format!("it is gone, but its log {} is still there", orphan.display());
            return Err(LedgerError::damaged(path, found));
        }
    }
    crash::point(Point::BirthBegins);
    let unborn = place::beside(path, ".birth");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let leftover = place::beside(&unborn, suffix);
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
fn be_born(
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

fn create(path: &Path) -> Result<(), LedgerError> {
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
        .and_then(|()| place::sync_directory(place::directory(to)))
        .inspect(|()| crash::point(done))
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
    place::must_be_directory(place::directory(target))?;
    let partial = place::beside(target, place::PARTIAL);
    for leftover in place::half_backups(path) {
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
fn name_of_backup(path: &Path, schema: i64, now: Millis) -> PathBuf {
    let first = place::beside(path, &format!(".backup-{schema}-{}", compact_utc(now)));
    let more = (2..=STARTS_PER_SECOND_MAX).map(|n| place::beside(&first, &format!("-{n}")));
    std::iter::once(first.clone()).chain(more).find(|name| !name.exists()).unwrap_or(first)
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

    #[test]
    fn a_long_log_is_moved_after_the_commit_and_not_while_something_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bot.db");
        let stamp = Stamp {
            chain_id: 1,
            orderbooks: vec![],
            owners: vec![],
            broker: "paper".into(),
            account: "paper".into(),
            hedge_from_block: None,
            deployment_block: 0,
        };
        let mut ledger = Ledger::open(&path, &stamp, Millis(0)).unwrap();
        let length = || fs::metadata(&path).unwrap().len();
        let born = length();
        let pages = usize::try_from(WAL_PAGES_MAX).unwrap() * 3 / 2;
        let halt = crate::Write::Halt {
            symbol: None,
            kind: crate::hedges::HaltKind::Operator,
            reason: "x".repeat(pages * 4096),
            who: "ann".into(),
        };
        ledger.commit(Millis(1), &[halt]).unwrap();
        ledger.move_long_log(true);
        assert_eq!(length(), born);
        ledger.move_long_log(false);
        assert!(length() > born);
    }
}
