//! A disk in memory for SQLite, that loses, tears and refuses what it is given, as a seed decides.
//!
//! A program that keeps money in SQLite believes three things: what was committed is there after a power cut, what was
//! not committed is not, and every failure of the disk is told. A real disk breaks down too seldom to try that, and
//! never twice in the same way. This one does at will: a [`Disk`] is a virtual file system of its own, under a name
//! that `Connection::open_with_flags_and_vfs` takes ([`Disk::connect`] does that). Many live at once, on any threads,
//! and know nothing of each other.
//!
//! # What is durable
//!
//! A file has two contents: what a reader sees, and what would be there after a power cut. A write, a change of length
//! changes the first at once and the second at the file's next sync. Names are the same: a created, removed or
//! renamed file is only safe once the directory was synced, which SQLite does where it depends on it (at the first
//! sync of a new journal or write-ahead log, and when it deletes one durably). [`Disk::crash`] then takes one of the
//! two: after [`Crash::ProcessKilled`] the visible content is there (and still not durable), after
//! [`Crash::PowerLoss`] the durable one, and on top of it, per unsynced write, all, nothing or some sectors, by the
//! dice. The directory's changes are kept up to one of them, in order, as a journaling file system does.
//! Connections from before a crash or a [`Disk::restore`] go on to exist, but every operation of theirs fails.
//!
//! # What fails
//!
//! Faults are data: a [`Rule`] says which operation, on which file, after how many good ones, how often and how.
//! [`Disk::power_off_after`] makes the disk deaf in the middle of whatever is going on; [`Disk::set_bytes_max`] makes it
//! small. [`Disk::counts`] and [`Disk::changes`] count, so that a test can first count and then break each one.
//!
//! # What it refuses to know
//!
//! Whose database it holds. Nothing here decides what is right after a crash. And it is not quite a real file system:
//! there is one flat directory, names are taken literally, and no memory mapping. In all that SQLite asks about a disk
//! (sector size, powersafe overwrite, locks, shared memory for the write-ahead log) it answers as SQLite's own for Unix.
//!
//! # Determinism
//!
//! The same seed and the same calls give the same disk: dice, sleep (none, it is only counted) and the time of day are
//! the disk's own. One thing is not in its hands: SQLite draws the salts of a write-ahead log from one generator for the
//! whole process, so the bytes of a `-wal` file differ between runs; sizes, order and outcomes do not.
//!
//! ```
//! use faulty_disk::{Crash, Disk, Fault, Operation, Rule};
//! use rusqlite::OpenFlags;
//!
//! # fn main() -> rusqlite::Result<()> {
//! let disk = Disk::new(1);
//! let conn = disk.connect("bot.db", OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
//! conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (a)")?;
//! disk.inject(Rule::once(Operation::Sync, Fault::Io));
//! assert!(conn.execute_batch("INSERT INTO t VALUES (1)").is_err());
//! conn.execute_batch("INSERT INTO t VALUES (2)")?;
//! disk.crash(Crash::PowerLoss);
//! drop(conn);
//!
//! let conn = disk.connect("bot.db", OpenFlags::SQLITE_OPEN_READ_WRITE)?;
//! assert_eq!(conn.query_row("SELECT a FROM t", [], |row| row.get::<_, i64>(0))?, 2);
//! # Ok(())
//! # }
//! ```

mod content;
mod dice;
mod disk;
mod faults;
mod file;
mod image;
mod locks;
mod shm;
mod state;
mod vfs;

pub use disk::Disk;
pub use faults::{Counts, Fault, Operation, Role, Rule};
pub use image::{Crash, Snapshot};
