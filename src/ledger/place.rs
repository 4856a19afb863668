//! The place where a ledger lives: a directory we can write durably, and the files beside it.
//!
//! A data directory with the wrong owner sent an earlier bot into 2,400 restarts with a message about a "readonly
//! database". So the directory is tried before SQLite sees it, by writing and syncing a file, and the refusal says
//! owner, mode, who we are and what to type.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::LedgerError;

/// Only the owner reads and writes: a ledger holds accounts and positions.
pub(super) const FILE_MODE: u32 = 0o600;
/// Bytes of the file that is written to try the directory: one page.
const PROBE_BYTES: usize = 4096;

/// The file `<ledger><suffix>` in the ledger's directory.
pub(super) fn beside(ledger: &Path, suffix: &str) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The directory of the ledger.
pub(super) fn directory(ledger: &Path) -> &Path {
    match ledger.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where the ledger really is, links resolved, so that two names of one ledger have one lock; refused where no
/// ledger can be.
pub(super) fn resolve(ledger: &Path) -> Result<PathBuf, LedgerError> {
    let directory = directory(ledger);
    let found = fs::metadata(directory).map_err(|error| refused(directory, &error))?;
    if !found.is_dir() {
        return Err(LedgerError::NoPlace {
            path: directory.to_owned(),
            found: "it is not a directory".to_owned(),
            remedy: "Set DATABASE_URL to a file in a directory, e.g. sqlite:///data/bot.db".to_owned(),
        });
    }
    if ledger.is_dir() {
        return Err(LedgerError::NoPlace {
            path: ledger.to_owned(),
            found: "it is a directory".to_owned(),
            remedy: format!("Set DATABASE_URL to a file in it, e.g. sqlite://{}/bot.db", ledger.display()),
        });
    }
    if fs::symlink_metadata(ledger).is_ok_and(|found| found.is_symlink()) && !ledger.exists() {
        return Err(LedgerError::NoPlace {
            path: ledger.to_owned(),
            found: "it is a link that leads nowhere".to_owned(),
            remedy: "Mount what it leads to, or remove the link to start a new ledger here".to_owned(),
        });
    }
    let real = if ledger.exists() {
        fs::canonicalize(ledger)
    } else {
        fs::canonicalize(directory).map(|real| real.join(ledger.file_name().unwrap_or_default()))
    };
    real.map_err(|error| refused(ledger, &error))
}

/// Proves that the directory takes a new file durably, and that the ledger, where it exists, may be written. Only the
/// holder of the lock calls it.
pub(super) fn must_be_writable(ledger: &Path) -> Result<(), LedgerError> {
    let directory = directory(ledger);
    let probe = beside(ledger, ".probe");
    let tried = try_directory(&probe, directory);
    let _ = fs::remove_file(&probe);
    tried.map_err(|error| refused(directory, &error))?;
    for file in [ledger.to_owned(), beside(ledger, "-wal"), beside(ledger, "-shm")] {
        match OpenOptions::new().read(true).write(true).open(&file) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(refused(&file, &error)),
        }
    }
    Ok(())
}

fn try_directory(probe: &Path, directory: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(probe)?;
    file.write_all(&[0; PROBE_BYTES])?;
    file.sync_all()?;
    drop(file);
    fs::remove_file(probe)?;
    sync_directory(directory)
}

/// Makes names in a directory durable: a file is only safe when its name is.
pub(super) fn sync_directory(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

/// An IO error at `path`, told as a person needs it.
pub(super) fn refused(path: &Path, error: &std::io::Error) -> LedgerError {
    let path = path.to_owned();
    let who = fs::metadata("/proc/self").map(|me| (me.uid(), me.gid())).ok();
    let owner = fs::metadata(&path).or_else(|_| fs::metadata(directory(&path)));
    let found = match (&owner, who) {
        (Ok(owner), Some((uid, _))) => format!(
            "{error}; it belongs to user {}:{} with mode {:04o}, this process is user {uid}",
            owner.uid(),
            owner.gid(),
            owner.mode() & 0o7777
        ),
        _ => error.to_string(),
    };
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => LedgerError::ReadOnly {
            remedy:
                "Mount the volume writable (docker: no `:ro` and `--read-only` needs `-v …:/data`), or set \
                     DATABASE_URL to a place that is"
                    .to_owned(),
            path,
            found,
        },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => LedgerError::Full {
            remedy: format!("Make room there: `df -h {0}`, `du -sh {0}/*`", directory(&path).display()),
            path,
            found,
        },
        ErrorKind::NotFound => LedgerError::NoPlace {
            remedy: format!("Type `mkdir -p {}`, or set DATABASE_URL to another place", path.display()),
            found: "there is no such directory".to_owned(),
            path,
        },
        ErrorKind::NotADirectory | ErrorKind::IsADirectory => LedgerError::NoPlace {
            remedy: "Set DATABASE_URL to a file in a directory, e.g. sqlite:///data/bot.db".to_owned(),
            path,
            found,
        },
        ErrorKind::PermissionDenied => {
            let (uid, gid) = who.unwrap_or((65_532, 65_532));
            let remedy = format!(
                "Type `chown -R {uid}:{gid} {}` as root, or set DATABASE_URL to a place that this user may write",
                directory_or_self(&path).display()
            );
            LedgerError::NotWritable { path, found, remedy }
        }
        _ => LedgerError::NotWritable {
            remedy: "Look after the volume (`dmesg`, `df -h`) and start again".to_owned(),
            path,
            found,
        },
    }
}

fn directory_or_self(path: &Path) -> &Path {
    if path.is_dir() { path } else { directory(path) }
}

/// The newest of the backups that were made beside the ledger before migrations.
pub(super) fn newest_backup(ledger: &Path) -> Option<PathBuf> {
    let prefix = format!("{}.backup-", ledger.file_name()?.to_str()?);
    fs::read_dir(directory(ledger))
        .ok()?
        .filter_map(Result::ok)
        .filter(|entry| {
            entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with(&prefix) && !name.ends_with(PARTIAL))
        })
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .max()
        .map(|(_, path)| path)
}

/// Ends the name of a file that is not whole yet.
pub(super) const PARTIAL: &str = ".partial";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_refusal_says_what_to_type() {
        let rows = [
            (ErrorKind::ReadOnlyFilesystem, "read-only file system", "Mount the volume writable"),
            (ErrorKind::StorageFull, "no space is left", "df -h"),
            (ErrorKind::QuotaExceeded, "no space is left", "df -h"),
            (ErrorKind::NotFound, "there is no such directory", "mkdir -p"),
            (ErrorKind::NotADirectory, "can not hold a ledger", "DATABASE_URL"),
            (ErrorKind::PermissionDenied, "can not be written", "chown -R"),
            (ErrorKind::Other, "can not be written", "dmesg"),
        ];
        for (kind, what, remedy) in rows {
            let error = refused(Path::new("/tmp/bot.db"), &kind.into());
            let text = error.to_string();
            assert!(text.contains(what) && text.contains(remedy), "{kind:?}: {text}");
            assert_eq!(error.exit_code(), 78);
        }
    }

    #[test]
    fn the_newest_backup_is_the_youngest_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = dir.path().join("bot.db");
        assert_eq!(newest_backup(&ledger), None);
        for (age_s, name) in
            [(20, "bot.db.backup-1-b"), (10, "bot.db.backup-1-a"), (0, "bot.db.backup-2-c.partial")]
        {
            let file = File::create(dir.path().join(name)).unwrap();
            let moment = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 - age_s);
            file.set_modified(moment).unwrap();
        }
        assert_eq!(newest_backup(&ledger), Some(dir.path().join("bot.db.backup-1-a")));
    }
}
