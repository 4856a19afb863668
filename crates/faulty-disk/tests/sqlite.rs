//! SQLite on this disk behaves as on a real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use faulty_disk::{Crash, Disk, Fault, Operation, Role, Rule};
use rusqlite::{Connection, ErrorCode, OpenFlags};

const NEW: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_CREATE)
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn wal(disk: &Disk) -> Connection {
    let conn = disk.connect("bot.db", NEW).unwrap();
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    conn.execute_batch("PRAGMA synchronous = FULL; CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY, b)")
        .unwrap();
    conn
}

/// SQLite gives up who met another's lock a hundred times, sleeping in between. On this disk sleep takes no time, so one
/// that is not run for a moment is met as often at once. Who finds the log's index being made is told "busy".
fn patiently<T>(ask: impl Fn() -> rusqlite::Result<T>) -> T {
    loop {
        match ask() {
            Err(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::FileLockingProtocolFailed | ErrorCode::DatabaseBusy)
                ) =>
            {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            answer => return answer.unwrap(),
        }
    }
}

fn rows(conn: &Connection) -> i64 {
    patiently(|| conn.query_row("SELECT count(*) FROM t", [], |row| row.get(0)))
}

fn check(conn: &Connection) -> String {
    patiently(|| conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)))
}

#[test]
fn a_write_ahead_log_is_really_one() {
    let disk = Disk::new(1);
    let conn = wal(&disk);
    conn.execute("INSERT INTO t (b) VALUES (zeroblob(10000))", []).unwrap();
    let names: Vec<String> = disk.files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["bot.db", "bot.db-wal"]);
    let log = disk.export("bot.db-wal").unwrap();
    assert_eq!(&log[..4], 0x377f_0682_u32.to_be_bytes(), "the log's magic number");
    assert_eq!((log.len() - 32) % 4120, 0, "frames");
    assert!(disk.counts().of(Operation::ShmMap) > 0 && disk.counts().of(Operation::ShmLock) > 0);
    let moved: (i64, i64, i64) = conn
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .unwrap();
    assert_eq!(moved, (0, 0, 0));
    assert_eq!(disk.export("bot.db-wal").unwrap().len(), 0);
    assert_eq!((check(&conn).as_str(), rows(&conn)), ("ok", 1));
    conn.close().unwrap();
    assert!(!disk.exists("bot.db-wal"), "the last one out takes the log away");
    assert_eq!(rows(&disk.connect("bot.db", OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()), 1);
}

#[test]
fn what_it_writes_a_real_disk_can_read() {
    let disk = Disk::new(2);
    let conn = wal(&disk);
    for _ in 0..500 {
        conn.execute("INSERT INTO t (b) VALUES (randomblob(700))", []).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    for (name, _) in disk.files() {
        std::fs::write(dir.path().join(&name), disk.export(&name).unwrap()).unwrap();
    }
    let real = Connection::open(dir.path().join("bot.db")).unwrap();
    assert_eq!((check(&real).as_str(), rows(&real)), ("ok", 500));
    real.execute("INSERT INTO t (b) VALUES (1)", []).unwrap();
    real.close().unwrap();

    let back = Disk::new(3);
    back.import("bot.db", &std::fs::read(dir.path().join("bot.db")).unwrap());
    let conn = wal(&back);
    assert_eq!((check(&conn).as_str(), rows(&conn)), ("ok", 501));
}

#[test]
fn a_reader_keeps_its_moment_while_another_writes_and_two_never_write_at_once() {
    let disk = Disk::new(4);
    let writer = wal(&disk);
    let reader = disk.connect("bot.db", OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(rows(&reader), 0);
    writer.execute("INSERT INTO t (b) VALUES (1)", []).unwrap();
    assert_eq!((rows(&reader), rows(&writer)), (0, 1));
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(rows(&reader), 1);

    let second = disk.connect("bot.db", NEW).unwrap();
    second.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = second.execute("INSERT INTO t (b) VALUES (2)", []).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    assert!(disk.slept_us() >= 5_000_000, "it waited, in no time: {}", disk.slept_us());
    writer.execute_batch("COMMIT").unwrap();
    second.execute("INSERT INTO t (b) VALUES (2)", []).unwrap();
}

#[test]
fn threads_read_whole_transactions_while_one_writes() {
    let disk = Disk::new(5);
    let writer = wal(&disk);
    writer.execute_batch("PRAGMA wal_autocheckpoint = 20").unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let conn = disk.connect("bot.db", OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
                    let mut seen = 0;
                    while !done.load(std::sync::atomic::Ordering::Acquire) {
                        let count = rows(&conn);
                        assert!(count % 3 == 0 && count >= seen, "{seen} then {count}");
                        seen = count;
                    }
                    assert_eq!(check(&conn), "ok");
                })
            })
            .collect();
        // Also where the writer fails: a test that waits for its readers for ever tells nobody why.
        let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let row = "INSERT INTO t (b) VALUES (zeroblob(900))";
            for _ in 0..300 {
                for statement in ["BEGIN", row, row, row, "COMMIT"] {
                    patiently(|| writer.execute_batch(statement));
                }
            }
        }));
        done.store(true, std::sync::atomic::Ordering::Release);
        if let Err(failed) = written {
            std::panic::resume_unwind(failed);
        }
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!((check(&writer).as_str(), rows(&writer)), ("ok", 900));
}

#[test]
fn a_rollback_journal_works_too() {
    let disk = Disk::new(6);
    let conn = disk.connect("bot.db", NEW).unwrap();
    conn.execute_batch("CREATE TABLE t (a INTEGER PRIMARY KEY, b); BEGIN; INSERT INTO t (b) VALUES (1)")
        .unwrap();
    let error = disk.connect("bot.db", NEW).unwrap().execute("INSERT INTO t (b) VALUES (2)", []).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    conn.execute_batch("ROLLBACK").unwrap();
    assert_eq!(rows(&conn), 0);
    conn.execute("INSERT INTO t (b) VALUES (3)", []).unwrap();
    conn.execute_batch("VACUUM").unwrap();
    assert_eq!((check(&conn).as_str(), rows(&conn)), ("ok", 1));
}

#[test]
fn it_opens_only_what_is_there_and_knows_its_clock() {
    let disk = Disk::new(7);
    let error = disk.connect("bot.db", OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen));
    let conn = wal(&disk);
    disk.set_now_ms(1_764_039_600_123);
    let now: String =
        conn.query_row("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')", [], |row| row.get(0)).unwrap();
    assert_eq!(now, "2025-11-25 03:00:00.123");
}

#[test]
fn disks_know_nothing_of_each_other() {
    let disks: Vec<Disk> = (0..50).map(Disk::new).collect();
    for (number, disk) in disks.iter().enumerate() {
        let conn = wal(disk);
        for _ in 0..number {
            conn.execute("INSERT INTO t (b) VALUES (1)", []).unwrap();
        }
    }
    for (number, disk) in disks.iter().enumerate() {
        assert_eq!(rows(&wal(disk)), i64::try_from(number).unwrap());
    }
}

#[test]
fn a_connection_may_outlive_its_disk_and_never_meets_another_one() {
    let (first, second);
    {
        let disk = Disk::new(8);
        first = wal(&disk);
        first.execute("INSERT INTO t (b) VALUES (1)", []).unwrap();
    }
    let disk = Disk::new(9);
    second = wal(&disk);
    first.execute("INSERT INTO t (b) VALUES (2)", []).unwrap();
    assert_eq!((rows(&first), rows(&second)), (2, 0));
    first.close().unwrap();
    assert!(disk.exists("bot.db-wal"), "closing the one takes nothing of the other");
    second.execute("INSERT INTO t (b) VALUES (3)", []).unwrap();
    assert_eq!(rows(&second), 1);
}

#[test]
fn the_same_seed_and_the_same_calls_give_the_same_disk() {
    let run = |seed| {
        let disk = Disk::new(seed);
        let conn = wal(&disk);
        disk.inject(Rule::once(Operation::Sync, Fault::Lost).of(Role::Wal).after(3));
        for number in 0..20 {
            let _ = conn.execute("INSERT INTO t (b) VALUES (?1)", [number]);
        }
        conn.execute_batch("BEGIN; INSERT INTO t (b) VALUES (zeroblob(20000))").unwrap();
        disk.power_off_after(2);
        assert!(conn.execute_batch("COMMIT").is_err() && disk.is_off());
        disk.crash(Crash::PowerLoss);
        drop(conn);
        let conn = wal(&disk);
        (disk.counts(), disk.changes(), disk.struck(), disk.files(), rows(&conn), disk.export("bot.db"))
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
