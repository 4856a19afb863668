//! From a path to a ledger that may be trusted, or a refusal that says what to type.
//!
//! The order is the safety: directory, lock, whole file, schema, stamp, and only then a backup and a migration. A new
//! ledger is made under another name and renamed when it is complete, so that a file without a stamp, an empty one
//! included, is never ours: an emptied ledger must not be born again, it would hedge its whole history twice.

use std::ffi::c_int;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use refinery::Migration;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::beside::{beside, directory};
use super::check::{self, WholeCheck};
use super::connect::{connect, connect_reading, keep_pages, prepared};
use super::error::LedgerError;
use super::file::{
    back_up, be_born, give_birth, migrate, migrations, must_be_known, must_be_readable, must_not_be_empty,
    name_of_backup, newest,
};
use super::lock::Lock;
use super::{Stamp, place, row, stamp, sums, unused};
use crate::crash::{self, Point};
use crate::units::Millis;

/// Pages in the write-ahead log from which on it is moved into the file: 4 MiB, SQLite's own figure.
const WAL_PAGES_MAX: c_int = if cfg!(debug_assertions) { 100 } else { 1_000 };
/// The same while inputs wait.
const WAL_PAGES_BUSY_MAX: c_int = 2 * WAL_PAGES_MAX;
/// How long a stop waits for those who read the ledger: longer than any verb here, shorter than a stop may take.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

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
        place::must_be_local(directory(&path))?;
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
            let unborn = beside(path, ".birth");
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
        let log = beside(&path, "-wal");
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

    /// The stamp that a start must keep to; none where there is no ledger, or an unused one that this configuration will
    /// stamp anew. `ours` holds what the configuration knows; its chain id is 0 where that is not known, and its account
    /// is not compared. With it, whether the ledger is unused. Takes no lock.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] or [`LedgerError::Sql`].
    pub fn stamp_to_keep(path: &Path, ours: &Stamp) -> Result<Option<(Stamp, bool)>, LedgerError> {
        if !path.exists() {
            return Ok(None);
        }
        must_not_be_empty(path)?;
        let conn = connect_reading(path)?;
        let born = stamp::read(&conn, path)?;
        // A ledger of another schema is never stamped anew; opening it says what is to be done.
        let newest = must_be_readable(&conn, path).is_ok();
        let unused =
            newest && unused::is_unused(&conn).map_err(|error| LedgerError::sql(path, "was read", error))?;
        let chain_id = if ours.chain_id == 0 { born.chain_id } else { ours.chain_id };
        let ours = Stamp { chain_id, account: born.account.clone(), ..ours.clone() };
        let other = unused && unused::differs(&conn, path, &ours, newest)?.is_some();
        Ok((!other).then_some((born, unused)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
