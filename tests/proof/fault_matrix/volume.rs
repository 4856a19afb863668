//! A volume that a test may fill and make read-only: a small tmpfs over the bench's folder, in a mount namespace of its
//! own, so that no root is needed and nobody else sees it.
//!
//! The test program starts itself again within such a namespace, and everything of those cells (node, bot, verbs, the
//! look into the broker's book) happens there. Where the system refuses namespaces the cells say so on the table, and
//! in CI that is a failure.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::Bench;

/// Room for a ledger, its log and the broker's book; little enough to be filled at once.
const VOLUME_MIB: u32 = 12;
/// The ways to a namespace: as anybody, and as root where that is forbidden.
const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user", "--mount"], &["--mount"]];

/// The command that runs a program within a namespace of its own; why not, where there is none.
pub fn namespace() -> Result<Command, String> {
    let mut why = String::new();
    for way in WAYS {
        let tried = Command::new("unshare").args(way).args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
        match tried {
            Ok(out) if out.status.success() => {
                let mut command = Command::new("unshare");
                command.args(way);
                return Ok(command);
            }
            Ok(out) => why.push_str(String::from_utf8_lossy(&out.stderr).trim()),
            Err(error) => why.push_str(&format!("unshare: {error}")),
        }
        why.push_str("; ");
    }
    Err(why)
}

fn typed(args: &[&str]) {
    let mut command = Command::new(args[0]);
    command.args(&args[1..]).process_group(0);
    let out = command.output().unwrap();
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn place(bench: &Bench) -> String {
    bench.data().to_str().unwrap().to_owned()
}

/// Lays the volume over the bench's folder.
pub fn mount(bench: &mut Bench) {
    typed(&["mount", "-t", "tmpfs", "-o", &format!("size={VOLUME_MIB}m,mode=0700"), "none", &place(bench)]);
}

/// `ro` or `rw`.
pub fn remount(bench: &Bench, how: &str) {
    typed(&["mount", "-o", &format!("remount,{how}"), &place(bench)]);
}

fn ballast(data: &Path) -> PathBuf {
    data.join("ballast")
}

/// Until not a byte more fits.
pub fn fill(bench: &Bench) {
    let mut file = OpenOptions::new().create(true).append(true).open(ballast(&bench.data())).unwrap();
    for bytes in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; bytes]).is_ok() {}
    }
}

pub fn make_room(bench: &Bench) {
    fs::remove_file(ballast(&bench.data())).unwrap();
}
