//! One writer per ledger: an OS lock on a file beside it.
//!
//! The kernel gives the lock back when its holder dies, however it dies, so there is no lease and nothing to clean up.
//! The file itself stays: removing it would let two processes lock two files of one name. What is written into it is
//! only for the person who meets the second instance. Across machines this lock proves nothing (`protocol.md` 5.5).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::LedgerError;
use super::{beside, place};
use crate::units::Millis;

/// More than this is not read of a lock file: it is ours, but anybody could have written it.
const HOLDER_BYTES_MAX: u64 = 512;

/// The right to write a ledger, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lock {
    // Open for as long as the lock is held; closing it releases the lock.
    file: File,
}

impl Lock {
    /// Takes the lock of the ledger at `path` and writes into it who holds it since `now`.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] where another holds it; else why the lock file can not be written.
    pub fn take(path: &Path, now: Millis) -> Result<Self, LedgerError> {
        let lock_path = path_of(path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(place::FILE_MODE)
            .open(&lock_path)
            .map_err(|error| place::refused(&lock_path, &error))?;
        let mut lock = Self { file };
        match lock.file.try_lock() {
            Ok(()) => {
                lock.sign(now).map_err(|error| place::refused(&lock_path, &error))?;
                Ok(lock)
            }
            Err(TryLockError::WouldBlock) => {
                Err(LedgerError::Locked { path: path.to_owned(), holder: lock.holder() })
            }
            Err(TryLockError::Error(error)) => Err(place::refused(&lock_path, &error)),
        }
    }

    fn sign(&mut self, now: Millis) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        write!(self.file, "process {} on {} since {now}", std::process::id(), host())?;
        self.file.flush()
    }

    fn holder(&mut self) -> String {
        let mut text = String::new();
        let read = (&mut self.file).take(HOLDER_BYTES_MAX).read_to_string(&mut text);
        match (read, text.trim()) {
            (Ok(_), named) if !named.is_empty() => named.to_owned(),
            _ => "a process that has not said its name yet".to_owned(),
        }
    }
}

fn path_of(ledger: &Path) -> PathBuf {
    beside::beside(ledger, ".lock")
}

/// The machine's name; in a container the container's.
fn host() -> String {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "an unnamed host".to_owned())
}
