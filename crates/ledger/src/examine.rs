//! Looking a ledger over without opening it for work: no lock, no migration, not a byte written.
//!
//! SQLite makes files beside a database even to read it, when its log is in use. So one that nobody has open is read as
//! if it could not change; one with a log beside it is read as the reading verbs do, and then the files are there already.

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{Connection, OpenFlags};

use super::error::LedgerError;
use super::{Stamp, beside, check, connect, file, held, load, place, stamp, unused};
use crate::units::BlockRef;

/// What a path may hold in SQLite's URIs as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// A ledger as it lies there.
#[derive(Debug)]
pub struct Examined {
    conn: Connection,
    path: PathBuf,
    /// Version of its schema, which is the newest.
    pub schema: i64,
    /// Whose it is.
    pub stamp: Stamp,
}

impl Examined {
    /// Reads schema and stamp of the ledger at `path`; none where there is none yet.
    ///
    /// # Errors
    /// As [`super::Reader::open`].
    pub fn at(path: &Path) -> Result<Option<Self>, LedgerError> {
        let path = place::resolve(path)?;
        if !path.exists() {
            return Ok(None);
        }
        file::must_not_be_empty(&path)?;
        let conn = connect(&path)?;
        let schema = file::must_be_readable(&conn, &path)?;
        let stamp = stamp::read(&conn, &path)?;
        Ok(Some(Self { conn, path, schema, stamp }))
    }

    /// The last block whose fills are all in it; none before the first sweep.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub fn cursor(&self) -> Result<Option<BlockRef>, LedgerError> {
        load::cursor(&self.conn).map_err(|error| LedgerError::sql(&self.path, "was read", error))
    }

    /// Whether it holds nothing that matters, so that `bot run` stamps it anew for another configuration.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub fn is_unused(&self) -> Result<bool, LedgerError> {
        unused::is_unused(&self.conn).map_err(|error| LedgerError::sql(&self.path, "was read", error))
    }

    /// Whether it has fills.
    ///
    /// # Errors
    /// [`LedgerError::Sql`].
    pub fn has_fills(&self) -> Result<bool, LedgerError> {
        let fills = held::count(&self.conn, "SELECT EXISTS (SELECT 1 FROM fills)");
        fills.map(|fills| fills > 0).map_err(|error| LedgerError::sql(&self.path, "was read", error))
    }

    /// Checks every page, every row, and the sums that follow from the rows; takes seconds for a large ledger.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`].
    pub fn must_be_whole(&self) -> Result<(), LedgerError> {
        check::must_be_whole(&self.conn, &self.path)
    }

    /// Compares its stamp with who asks; what comes back is worth a warning.
    ///
    /// # Errors
    /// [`LedgerError::ForeignStamp`].
    pub fn must_be_ours(&self, ours: &Stamp) -> Result<Vec<String>, LedgerError> {
        stamp::must_be_ours(&self.conn, &self.path, ours)
    }
}

fn connect(path: &Path) -> Result<Connection, LedgerError> {
    let in_use = beside::beside(path, "-wal").exists();
    let Some(text) = path.to_str().filter(|_| !in_use) else { return connect::connect_reading(path) };
    let uri = format!("file:{}?immutable=1", utf8_percent_encode(text, PLAIN));
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    connect::reading(path, Connection::open_with_flags(uri, flags))
}

/// The directory of a ledger that may lie there: it exists, on this machine's own disk.
///
/// # Errors
/// [`LedgerError::NoPlace`] and its like, with the remedy.
pub fn suits(ledger: &Path) -> Result<PathBuf, LedgerError> {
    let path = place::resolve(ledger)?;
    let directory = beside::directory(&path);
    place::must_be_local(directory)?;
    Ok(directory.to_owned())
}

/// What is said of a directory that the system does not let us write.
#[must_use]
pub fn not_writable(directory: &Path, error: &std::io::Error) -> LedgerError {
    place::refused(directory, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ledger;
    use crate::units::Millis;

    #[test]
    fn a_ledger_is_looked_over_and_nothing_is_left_beside_it() {
        // Every character that means something in a URI.
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("a b%20?c#d");
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("bot.db");
        assert!(Examined::at(&path).unwrap().is_none());
        let stamp = Stamp {
            chain_id: 1,
            orderbooks: vec![],
            owners: vec![],
            broker: "paper".into(),
            account: "paper".into(),
            hedge_from_block: None,
            deployment_block: 1,
        };
        Ledger::open(&path, &stamp, Millis(1)).unwrap().close().unwrap();
        let names = || {
            let mut names: Vec<_> =
                std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names();
        let examined = Examined::at(&path).unwrap().unwrap();
        examined.must_be_whole().unwrap();
        assert_eq!(examined.stamp, stamp);
        assert_eq!(examined.must_be_ours(&stamp).unwrap(), Vec::<String>::new());
        assert!(examined.must_be_ours(&Stamp { chain_id: 2, ..stamp.clone() }).is_err());
        drop(examined);
        assert_eq!(names(), before);

        // Beside a bot that has it open, what the bot committed a moment ago is seen.
        let open = Ledger::open(&path, &stamp, Millis(2)).unwrap();
        Examined::at(&path).unwrap().unwrap().must_be_whole().unwrap();
        drop(open);
    }
}
