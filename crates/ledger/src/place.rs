//! The place where a ledger lives: a directory we can write durably, and the files beside it.
//!
//! A data directory with the wrong owner sent an earlier bot into 2,400 restarts with a message about a "readonly
//! database". So the directory is tried before SQLite sees it, by writing and syncing a file, and the refusal says
//! owner, mode, who we are and what to type.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::beside::{beside, directory};
use super::error::LedgerError;
use crate::crash::{self, Point};

/// Only the owner reads and writes: a ledger holds accounts and positions.
pub(super) const FILE_MODE: u32 = 0o600;
/// Bytes of the file that is written to try the directory: one page.
const PROBE_BYTES: usize = 4096;

/// File systems that other machines write too, or that keep no promise about locks and synced bytes: a lock taken there
/// proves nothing and SQLite's write-ahead log needs memory that both sides share. By the names in
/// `/proc/self/mountinfo`, not by number: to `statfs` every FUSE file system is one and the same.
const NETWORK_FILE_SYSTEMS: [&str; 26] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ncpfs",
    "afs",
    "coda",
    "ceph",
    "9p",
    "lustre",
    "beegfs",
    "gpfs",
    "davfs",
    "fuse.sshfs",
    "fuse.s3fs",
    "fuse.mount-s3",
    "fuse.gcsfuse",
    "fuse.rclone",
    "fuse.goofys",
    "fuse.blobfuse",
    "fuse.blobfuse2",
    "fuse.juicefs",
    "fuse.glusterfs",
    "fuse.ceph-fuse",
    "fuse.davfs",
];
/// A table of mounts that is longer is not looked at; a container's has some dozens of lines.
const MOUNTS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Refuses a directory on a network file system. Where there is no table of mounts (not Linux) nothing is refused.
pub(super) fn must_be_local(directory: &Path) -> Result<(), LedgerError> {
    let mut table = String::new();
    let read = File::open("/proc/self/mountinfo")
        .and_then(|file| file.take(MOUNTS_BYTES_MAX).read_to_string(&mut table));
    match (read, file_system(&table, directory)) {
        (Ok(_), Some(kind)) if NETWORK_FILE_SYSTEMS.contains(&kind.as_str()) => Err(LedgerError::NoPlace {
            path: directory.to_owned(),
            found: format!("it is on a network file system ({kind}); {}", owners(directory)),
            remedy: format!(
                "A ledger needs a disk of its own machine: a named volume (`docker run -v counterfill:/data`), or in \
                 Kubernetes a ReadWriteOnce block volume. {}",
                for_another_place()
            ),
        }),
        _ => Ok(()),
    }
}

/// What `directory` (links resolved) is mounted as: of the mounts on the way to it the deepest, of those at one place
/// the last.
fn file_system(mountinfo: &str, directory: &Path) -> Option<String> {
    // ID PARENT DEVICE ROOT MOUNT_POINT OPTIONS [TAG...] - TYPE SOURCE SUPER_OPTIONS
    let mounts = mountinfo.lines().filter_map(|line| {
        let point = unescaped(line.split(' ').nth(4)?);
        let kind = line.split_once(" - ")?.1.split(' ').next()?;
        directory.starts_with(&point).then(|| (point.len(), kind.to_owned()))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

/// The kernel writes a blank in a path as `\040`, and likewise tab, newline and backslash.
fn unescaped(text: &str) -> String {
    let pairs = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    pairs.iter().fold(text.to_owned(), |text, (code, character)| text.replace(code, character))
}

/// Refuses a directory that is not there, or that is something else.
pub(super) fn must_be_directory(directory: &Path) -> Result<(), LedgerError> {
    let found = fs::metadata(directory).map_err(|error| refused(directory, &error))?;
    if found.is_dir() {
        return Ok(());
    }
    Err(LedgerError::NoPlace {
        path: directory.to_owned(),
        found: "it is not a directory".to_owned(),
        remedy: "Set DATABASE_URL to a file in a directory, e.g. sqlite:///data/bot.db".to_owned(),
    })
}

/// Where the ledger really is, links resolved, so that two names of one ledger have one lock; refused where no
/// ledger can be.
pub(super) fn resolve(ledger: &Path) -> Result<PathBuf, LedgerError> {
    let directory = directory(ledger);
    must_be_directory(directory)?;
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
    crash::point(Point::ProbeWritten);
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
    let who = whoami();
    let owner = owner_of(&path);
    let found = match owner {
        Ok(_) => format!("{error}; {}", owners(&path)),
        Err(_) => error.to_string(),
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
            remedy: format!(
                "Make room there: `df -h {0}`, `du -sh {0}/*`. {1}",
                directory_or_self(&path).display(),
                for_another_place()
            ),
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
            let (uid, gid) = who;
            let place = directory_or_self(&path).display();
            let as_owner = match &owner {
                Ok(owner) if owner.uid() != 0 && owner.uid() != uid => {
                    format!(", start the container with `--user {}:{}`", owner.uid(), owner.gid())
                }
                _ => String::new(),
            };
            let remedy = format!(
                "As root, where the folder really lies, type `chown -R {uid}:{gid} {place}` (mode 0750){as_owner}, or in \
                 Kubernetes set `securityContext: {{ fsGroup: {gid} }}`"
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

/// Who we are. Where nothing tells: as in the image.
fn whoami() -> (u32, u32) {
    fs::metadata("/proc/self").map_or((65_532, 65_532), |me| (me.uid(), me.gid()))
}

/// Of the file, or where there is none yet, of the directory it would be in.
fn owner_of(path: &Path) -> std::io::Result<fs::Metadata> {
    fs::metadata(path).or_else(|_| fs::metadata(directory(path)))
}

/// Owner and mode, as found and as wanted.
fn owners(path: &Path) -> String {
    let (uid, gid) = whoami();
    owner_of(path).map_or_else(
        |error| format!("its owner can not be read ({error}), wanted is {uid}:{gid}"),
        |owner| {
            format!(
                "it belongs to {}:{} with mode {:04o}, wanted is {uid}:{gid} with {}",
                owner.uid(),
                owner.gid(),
                owner.mode() & 0o7777,
                if owner.is_dir() { "0750" } else { "0600" }
            )
        },
    )
}

/// What another place needs, so that nobody moves the data twice.
fn for_another_place() -> String {
    let (uid, gid) = whoami();
    format!(
        "Another place must be ours: `chown -R {uid}:{gid} FOLDER`, or `--user UID:GID` of its owner, or in Kubernetes \
         `securityContext: {{ fsGroup: {gid} }}`"
    )
}

fn directory_or_self(path: &Path) -> &Path {
    if path.is_dir() { path } else { directory(path) }
}

#[cfg(test)]
mod tests {
    use super::super::beside::newest_backup;
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
    fn a_network_file_system_is_told_by_the_deepest_mount() {
        let table = "\
            21 1 0:20 / / rw - overlay overlay rw\n\
            30 21 0:31 /x /data rw,relatime shared:1 master:2 - nfs4 server:/x rw\n\
            31 30 8:1 / /data/local rw - ext4 /dev/sda1 rw\n\
            32 21 0:40 / /with\\040blank rw - fuse.sshfs host: rw\n\
            33 21 8:2 / /twice rw - nfs4 server:/y rw\n\
            34 33 8:2 / /twice rw - ext4 /dev/sdb1 rw\n";
        let rows = [
            ("/", Some("overlay")),
            ("/database", Some("overlay")),
            ("/data", Some("nfs4")),
            ("/data/bot", Some("nfs4")),
            ("/data/local/bot", Some("ext4")),
            ("/with blank", Some("fuse.sshfs")),
            ("/twice", Some("ext4")),
        ];
        for (path, kind) in rows {
            assert_eq!(file_system(table, Path::new(path)).as_deref(), kind, "{path}");
        }
        assert_eq!(file_system("", Path::new("/")), None);
        assert_eq!(file_system("half a line\n - \n", Path::new("/")), None);
    }

    #[test]
    fn a_local_directory_is_no_network_file_system() {
        let dir = tempfile::tempdir().unwrap();
        must_be_local(dir.path()).unwrap();
    }

    #[test]
    fn a_foreign_directory_names_both_owners_and_every_way_out() {
        // Another user's file, whoever runs the tests; what is refused about it is made up.
        let denied = std::io::Error::from(ErrorKind::PermissionDenied);
        let text = refused(Path::new("/proc/self/status"), &denied).to_string();
        for part in ["it belongs to ", "with mode 0444", "wanted is ", "chown -R ", "fsGroup: "] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_full_directory_is_the_one_to_look_at() {
        let dir = tempfile::tempdir().unwrap();
        let text = refused(dir.path(), &ErrorKind::StorageFull.into()).to_string();
        assert!(text.contains(&format!("`df -h {}`", dir.path().display())), "{text}");
        for part in ["it belongs to ", "wanted is ", "chown -R ", "--user ", "fsGroup: "] {
            assert!(text.contains(part), "{part}: {text}");
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
