//! Whether a whole ledger is in order: every page, every row's checks, and the sums that follow from the rows.
//!
//! It takes seconds for a large ledger. Whoever opens one for a verb waits for it; a bot that starts has it done beside
//! ([`WholeCheck`]), on a connection of its own, and lets no order leave before its first half is over
//! (`protocol.md` 6).

use std::path::{Path, PathBuf};

use rusqlite::{Connection, InterruptHandle, OpenFlags};

use super::error::LedgerError;
use super::{connect, sums};

/// The check of a ledger that was opened without it.
#[must_use = "a ledger that nobody checks may be damaged"]
#[derive(Debug)]
pub struct WholeCheck {
    conn: Connection,
    path: PathBuf,
}

impl WholeCheck {
    pub(super) fn of(path: &Path) -> Result<Self, LedgerError> {
        // It only reads, but SQLite forgets a schema's checks where a connection could not write.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = connect::reading(path, Connection::open_with_flags(path, flags))?;
        Ok(Self { conn, path: path.to_owned() })
    }

    /// Breaks off whatever it is doing, from another thread; that then fails.
    #[must_use]
    pub fn interrupt_handle(&self) -> InterruptHandle {
        self.conn.get_interrupt_handle()
    }

    /// The half that is over soon: every page is where it belongs, and the sums and lists that a start reads are those of
    /// the rows.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`], [`LedgerError::Sql`].
    pub fn of_structure(&self) -> Result<(), LedgerError> {
        self.heed_the_schemas_checks(false)?;
        quick_check(&self.conn, &self.path)?;
        sums::must_agree(&self.conn, &self.path)
    }

    /// The other half: every row fulfils the schema's checks.
    ///
    /// # Errors
    /// As [`WholeCheck::of_structure`].
    pub fn of_rows(&self) -> Result<(), LedgerError> {
        self.heed_the_schemas_checks(true)?;
        quick_check(&self.conn, &self.path)
    }

    /// They take nearly all of the time.
    fn heed_the_schemas_checks(&self, on: bool) -> Result<(), LedgerError> {
        let set = self.conn.pragma_update(None, "ignore_check_constraints", !on);
        set.map_err(|error| LedgerError::sql(&self.path, "was checked", error))
    }
}

/// Both halves, of a ledger of the newest schema.
pub(super) fn must_be_whole(conn: &Connection, path: &Path) -> Result<(), LedgerError> {
    quick_check(conn, path)?;
    sums::must_agree(conn, path)
}

/// SQLite's own check of every page and every row; of a ledger of any schema.
pub(super) fn quick_check(conn: &Connection, path: &Path) -> Result<(), LedgerError> {
    let verdict: String = conn
        .query_row("PRAGMA quick_check(1)", [], |r| r.get(0))
        .map_err(|error| LedgerError::sql(path, "was checked", error))?;
    if verdict == "ok" { Ok(()) } else { Err(LedgerError::damaged(path, verdict)) }
}
