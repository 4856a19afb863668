//! Sets the clock of one process: `clock.c`, compiled by the compiler that the build needs anyway, goes before the C
//! library. A clock of the bot that did not move is a failure of the test, never a cell that was passed over.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use counterfill::units::Millis;
use tempfile::TempDir;

use crate::bench::Bench;

/// How exactly the bot's clock must follow, in milliseconds; the jumps are an hour.
const FOLLOWS_MS_MAX: i64 = 60_000;

/// Compiled once for all cells.
fn library() -> PathBuf {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proof/fault_matrix/clock.c");
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let mut command = Command::new(compiler);
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&library).arg(source);
        assert!(command.status().unwrap().success(), "{command:?}");
        (folder, library)
    });
    built.1.clone()
}

fn jump_file(bench: &Bench) -> PathBuf {
    bench.data().join("jump")
}

/// The bot that is started next has a clock that can be set.
pub fn make_settable(bench: &mut Bench) {
    let file = jump_file(bench);
    fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
    bench.set(&[("LD_PRELOAD", library().to_str().unwrap()), ("CLOCK_JUMP_FILE", file.to_str().unwrap())]);
}

/// Whether this bot's clock may have been set, so that its moments are in no order.
pub fn is_settable(bench: &Bench) -> bool {
    jump_file(bench).exists()
}

/// Sets it this far from the true time, and waits until the bot itself tells the new time.
pub fn set(bench: &Bench, jump_s: i64) {
    // In place: the bot has the file's page mapped.
    let file = fs::OpenOptions::new().write(true).open(jump_file(bench)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &jump_s.to_ne_bytes(), 0).unwrap();
    bench.until("the bot's clock is set", || {
        let told = bench.readyz().and_then(|(_, body)| body["engine"]["at"].as_i64());
        told.is_some_and(|at| (at - Millis::now().0 - jump_s * 1_000).abs() < FOLLOWS_MS_MAX)
    });
}
