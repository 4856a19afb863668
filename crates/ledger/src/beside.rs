//! The names of what lies beside a ledger: its directory, its backups, and what is not whole yet.

use std::fs;
use std::path::{Path, PathBuf};

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

/// The newest of the backups that were made beside the ledger before migrations.
pub(super) fn newest_backup(ledger: &Path) -> Option<PathBuf> {
    let whole = backups(ledger).into_iter().filter(|path| !is_half(path));
    whole
        .filter_map(|path| Some((fs::metadata(&path).ok()?.modified().ok()?, path)))
        .max()
        .map(|(_, path)| path)
}

/// Backups that a start began beside the ledger and did not end.
pub(super) fn half_backups(ledger: &Path) -> Vec<PathBuf> {
    backups(ledger).into_iter().filter(|path| is_half(path)).collect()
}

fn is_half(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(PARTIAL) || path.ends_with(PARTIAL_JOURNAL))
}

fn backups(ledger: &Path) -> Vec<PathBuf> {
    let Some(name) = ledger.file_name().and_then(|name| name.to_str()) else { return Vec::new() };
    let prefix = format!("{name}.backup-");
    let entries = fs::read_dir(directory(ledger)).into_iter().flatten().filter_map(Result::ok);
    let ours =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix)));
    ours.map(|entry| entry.path()).collect()
}

/// Ends the name of a file that is not whole yet.
pub(super) const PARTIAL: &str = ".partial";
/// And of the journal that SQLite keeps beside it while it is written.
const PARTIAL_JOURNAL: &str = ".partial-journal";
