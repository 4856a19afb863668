//! The ledger's directory: there, on this machine, ours to write, with room. Looked at without writing a byte.

use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::Finding;
use super::ledger::told;
use crate::ledger;

/// Below this a bot is about to stop with exit code 78.
const FREE_BYTES_MIN: u64 = 100 << 20;
/// A year of a busy desk's ledger, and its backup.
const FREE_BYTES_GOOD: u64 = 1 << 30;
const ELSEWHERE: &str = "Set DATABASE_URL to a file that can be written";

pub(super) fn look(database: &Path) -> Finding {
    let directory = match ledger::suits(database) {
        Ok(directory) => directory,
        Err(error) => return told(&error, ELSEWHERE),
    };
    let shown = directory.display();
    if let Err(error) = access(&directory, Access::WRITE_OK | Access::READ_OK | Access::EXEC_OK) {
        return told(&ledger::not_writable(&directory, &error.into()), ELSEWHERE);
    }
    let found = match statvfs(&directory) {
        Ok(found) => found,
        Err(error) => {
            return Finding {
                verdict: super::Verdict::NotDone,
                found: format!("{shown} does not tell how much room is left ({error})"),
                next: Some(format!("Look yourself: `df -h {shown}`")),
            };
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let room = format!("{} MiB free for {shown}", free >> 20);
    let next = format!("Make room there: `df -h {shown}`, `du -sh {shown}/*`");
    match free {
        _ if free < FREE_BYTES_MIN => Finding::failed(room, next),
        _ if free < FREE_BYTES_GOOD => Finding::warning(room, next),
        _ => Finding::ok(format!("{room}, which may be written and is this machine's own")),
    }
}
