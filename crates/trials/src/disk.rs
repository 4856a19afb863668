//! The trial's disk: `faulty_disk` as a place for the real ledger.
//!
//! The ledger is born, opened, checked, migrated and written by its own code; here is only what a directory would be.
//! It refuses to know what is written.

use std::io;
use std::path::Path;

use faulty_disk::{Crash, Disk, Fault, Operation, Role, Rule, Snapshot};
use rusqlite::{Connection, OpenFlags};

use super::schedule::DiskFault;
use counterfill_ledger::Volume;

/// The ledger's name.
pub(crate) const LEDGER: &str = "bot.db";

/// The disk.
pub(crate) struct TrialDisk(Disk);

impl std::fmt::Debug for TrialDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrialDisk").finish_non_exhaustive()
    }
}

impl TrialDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Disk::new(seed))
    }

    /// Somebody reads the ledger beside the bot, on a disk that does nothing wrong meanwhile.
    pub(crate) fn reader(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        self.aside(|| self.0.connect(LEDGER, flags))
    }

    /// The same, for reading on.
    pub(crate) fn aside<T>(&self, look: impl FnOnce() -> T) -> T {
        self.0.aside(look)
    }

    /// A copy of the ledger with something wrong in it.
    #[cfg(test)]
    pub(crate) fn tampered(&self, sql: &str) -> rusqlite::Result<Connection> {
        let copy = Disk::from_snapshot(&self.copy(), 0);
        let ledger = copy.connect(LEDGER, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut triggers = ledger.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")?;
        let names: Vec<String> = triggers.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        drop(triggers);
        ledger.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")?;
        for name in names {
            ledger.execute_batch(&format!("DROP TRIGGER {name}"))?;
        }
        ledger.execute_batch(sql)?;
        Ok(ledger)
    }

    pub(crate) fn misbehave(&self, fault: DiskFault) {
        // The log alone, or whatever is written next: a checkpoint writes the ledger itself.
        let writes = |fault, after: u64| {
            let rule = Rule::once(Operation::Write, fault).after(after);
            if after.is_multiple_of(2) { rule } else { rule.of(Role::Wal) }
        };
        let rule = match fault {
            DiskFault::Write(after) => writes(Fault::Io, after),
            DiskFault::Torn(after) => writes(Fault::Torn, after),
            DiskFault::Sync(after) => Rule::once(Operation::Sync, Fault::Io).after(after),
            DiskFault::LostSync(after) => Rule::once(Operation::Sync, Fault::Lost).after(after),
            DiskFault::Read(after) => Rule::once(Operation::Read, Fault::Io).after(after),
            DiskFault::Full => {
                let bytes: u64 = self.0.files().iter().map(|(_, bytes)| bytes).sum();
                self.0.set_bytes_max(Some(bytes));
                return;
            }
            DiskFault::Busy(times) => Rule::once(Operation::ShmLock, Fault::Busy).times(times),
        };
        self.0.inject(rule);
    }

    /// Whether a rule has struck since the last [`TrialDisk::mend`].
    pub(crate) fn struck(&self) -> u64 {
        self.0.struck()
    }

    pub(crate) fn mend(&self) {
        self.0.clear_faults();
        self.0.set_bytes_max(None);
    }

    /// The power goes after so many changes more.
    pub(crate) fn power_off_after(&self, changes: u64) {
        self.0.power_off_after(changes);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.0.is_off()
    }

    /// The process is gone, and with it the machine where the power is too.
    pub(crate) fn crash(&self, power: bool) {
        self.0.crash(if power { Crash::PowerLoss } else { Crash::ProcessKilled });
    }

    pub(crate) fn copy(&self) -> Snapshot {
        self.0.snapshot()
    }

    pub(crate) fn put_back(&self, copy: &Snapshot) {
        self.0.restore(copy);
    }
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap_or(LEDGER)
}

impl Volume for TrialDisk {
    fn exists(&self, path: &Path) -> bool {
        self.0.exists(name(path))
    }

    fn connect(&self, path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
        self.0.connect(name(path), flags)
    }

    fn clear(&self, path: &Path) -> io::Result<()> {
        for (file, _) in self.0.files() {
            if file.starts_with(name(path)) {
                self.0.remove(&file)?;
            }
        }
        Ok(())
    }

    fn settle(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.sync(name(from))?;
        self.0.rename(name(from), name(to))?;
        self.0.sync_directory()
    }
}
