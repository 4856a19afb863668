//! A simulator makes hundreds of thousands of disks in one process: what one held is free when it is gone. (Alone in its
//! process, because it looks at the whole of it. `cargo bench -p faulty-disk -- 200000` does it at length.)
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use faulty_disk::{Crash, Disk};
use rusqlite::OpenFlags;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn live(seed: u64) {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let disk = Disk::new(seed);
    let conn = disk.connect("bot.db", flags).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(100000))",
    )
    .unwrap();
    let snapshot = disk.snapshot();
    disk.crash(Crash::PowerLoss);
    let again = disk.connect("bot.db", flags).unwrap();
    let _ = again.execute_batch("CREATE TABLE u (a)");
    let other = Disk::from_snapshot(&snapshot, seed);
    let kept = other.connect("bot.db", flags).unwrap();
    drop(other);
    kept.execute_batch("CREATE TABLE u (a)").unwrap();
    if seed.is_multiple_of(2) {
        drop(disk);
        drop(conn);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_gone_holds_nothing() {
    (0..300).for_each(live);
    let before = resident_kib();
    (0..1_500).for_each(live);
    let grown = resident_kib().saturating_sub(before);
    // One disk here has some 300 KiB; 1,500 of them would be 450 MiB.
    assert!(grown < 4 * 1024, "{grown} KiB more after 1,500 disks");
}
