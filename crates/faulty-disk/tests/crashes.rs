//! The power goes at every single change of a small workload, and what SQLite promises is what is there afterwards:
//! whole transactions only, every acknowledged one among them. And a disk that lies is found out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::collections::BTreeSet;

use faulty_disk::{Crash, Disk, Fault, Operation, Role, Rule};
use rusqlite::{Connection, OpenFlags};

const NEW: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_CREATE)
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
/// Transactions in the workload.
const TRANSACTIONS: i64 = 14;
/// Rows in each: enough that it takes several pages.
const PARTS: i64 = 4;

fn open(disk: &Disk, journal: &str, synchronous: &str) -> rusqlite::Result<Connection> {
    let conn = disk.connect("bot.db", NEW)?;
    conn.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |_| Ok(()))?;
    // Checkpoints often enough that the power goes in many of them.
    conn.execute_batch(&format!("PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 16"))?;
    Ok(conn)
}

fn transact(conn: &Connection, n: i64) -> rusqlite::Result<()> {
    let tx = conn.unchecked_transaction()?;
    for part in 0..PARTS {
        tx.execute("INSERT INTO t VALUES (?1, ?2, printf('%0700d', ?1))", [n, part])?;
    }
    tx.execute("UPDATE last SET n = ?1", [n])?;
    tx.commit()
}

/// Runs the workload on a new database; which transactions were acknowledged, 0 being the schema. Errors are gone past,
/// as long as the power is on.
fn work(disk: &Disk, journal: &str, synchronous: &str) -> BTreeSet<i64> {
    let mut acknowledged = BTreeSet::new();
    let mut conn = None;
    for n in 0..TRANSACTIONS {
        if n == TRANSACTIONS / 2 {
            conn = None; // closing moves the log into the file and takes it away
        }
        let done = match &conn {
            Some(conn) => transact(conn, n),
            None => open(disk, journal, synchronous).and_then(|new| {
                new.execute_batch(
                    "BEGIN; CREATE TABLE IF NOT EXISTS t (n, part, text, PRIMARY KEY (n, part)); \
                     CREATE TABLE IF NOT EXISTS last (n); \
                     INSERT INTO last SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM last); COMMIT",
                )?;
                let done = if n == 0 { Ok(()) } else { transact(&new, n) };
                conn = Some(new);
                done
            }),
        };
        match done {
            Ok(()) => drop(acknowledged.insert(n)),
            Err(_) if disk.is_off() => break,
            Err(_) => {}
        }
    }
    acknowledged
}

/// What is wrong with what is there, if anything is.
fn verdict(disk: &Disk, journal: &str, acknowledged: &BTreeSet<i64>) -> Result<BTreeSet<i64>, String> {
    type Found = (String, Vec<(i64, i64, bool)>, i64);
    let read = || -> rusqlite::Result<Found> {
        let conn = open(disk, journal, "FULL")?;
        let check = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        let is_born: bool =
            conn.query_row("SELECT count(*) = 2 FROM sqlite_schema WHERE type = 'table'", [], |r| r.get(0))?;
        if !is_born {
            return Ok((check, Vec::new(), -1));
        }
        let found = conn
            .prepare("SELECT n, count(*), min(text = printf('%0700d', n)) FROM t GROUP BY n ORDER BY n")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        Ok((check, found, conn.query_row("SELECT n FROM last", [], |row| row.get(0))?))
    };
    let (check, found, last) = read().map_err(|error| format!("damaged: {error}"))?;
    if check != "ok" {
        return Err(format!("damaged: {check}"));
    }
    if let Some((n, parts, _)) = found.iter().find(|(_, parts, same)| *parts != PARTS || !same) {
        return Err(format!("half: {parts} parts of {n}"));
    }
    let mut present: BTreeSet<i64> = found.iter().map(|(n, ..)| *n).collect();
    if last >= 0 {
        present.insert(0);
    }
    if present.last().copied().unwrap_or(-1) != last {
        return Err(format!("half: the last one is {last}, there are {present:?}"));
    }
    match acknowledged.difference(&present).next() {
        Some(n) => Err(format!("lost: {n} was acknowledged")),
        None => Ok(present),
    }
}

/// Cuts the power at every change, `seeds` times each; the power-cuts and what was wrong after them.
fn cut_everywhere(journal: &str, synchronous: &str, lie: bool, seeds: u64) -> (u64, Vec<String>) {
    let whole = Disk::new(0);
    let all = work(&whole, journal, synchronous);
    assert_eq!(all, (0..TRANSACTIONS).collect(), "without a fault all of it is done");
    let (mut cuts, mut wrong) = (0, Vec::new());
    for change in 0..whole.changes() {
        for seed in 0..seeds {
            let disk = Disk::new(change * 1_000 + seed);
            disk.ignore_syncs(lie);
            disk.power_off_after(change);
            let acknowledged = work(&disk, journal, synchronous);
            // The last connection closes as its scope ends, whose failures nobody hears.
            assert!(disk.is_off(), "change {change} of {} was reached", whole.changes());
            disk.crash(Crash::PowerLoss);
            // Every other time the power goes again in the middle of the recovery.
            if seed % 2 == 1 {
                disk.power_off_after(seed / 2);
                drop(open(&disk, journal, synchronous).map(|conn| transact(&conn, 1_000)));
                disk.crash(Crash::PowerLoss);
            }
            cuts += 1;
            match verdict(&disk, journal, &acknowledged) {
                Err(error) => wrong.push(format!("change {change} seed {seed}: {error}")),
                Ok(present) => {
                    let more: Vec<_> = present.difference(&acknowledged).filter(|n| **n != 1_000).collect();
                    // Of what was not acknowledged only the very next one may be there.
                    let next = acknowledged.last().map_or(0, |last| last + 1);
                    if more.iter().any(|n| **n != next) {
                        wrong.push(format!("change {change} seed {seed}: {more:?} were not acknowledged"));
                    }
                }
            }
        }
    }
    println!(
        "{journal} {synchronous} lie {lie}: {cuts} cuts, {} wrong, e.g. {:?}",
        wrong.len(),
        wrong.first()
    );
    (cuts, wrong)
}

#[test]
fn a_write_ahead_log_with_full_syncs_keeps_every_acknowledged_transaction() {
    let (cuts, wrong) = cut_everywhere("WAL", "FULL", false, 8);
    assert!(cuts > 1_000, "{cuts}");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_rollback_journal_with_extra_syncs_keeps_every_acknowledged_transaction() {
    let (cuts, wrong) = cut_everywhere("DELETE", "EXTRA", false, 4);
    assert!(cuts > 1_000, "{cuts}");
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn a_disk_whose_syncs_do_nothing_is_found_out() {
    let (_, wrong) = cut_everywhere("WAL", "FULL", true, 2);
    assert!(wrong.iter().any(|error| error.contains("lost")), "{wrong:?}");
    assert!(wrong.iter().any(|error| error.contains("damaged")), "{wrong:?}");
}

#[test]
fn fewer_syncs_lose_what_sqlite_says_they_lose() {
    // NORMAL: acknowledged transactions may go, the database stays whole.
    let (_, wrong) = cut_everywhere("WAL", "NORMAL", false, 4);
    assert!(wrong.iter().any(|error| error.contains("lost")), "{wrong:?}");
    assert!(wrong.iter().all(|error| error.contains("lost")), "{wrong:?}");
    let (_, wrong) = cut_everywhere("WAL", "OFF", false, 4);
    assert!(wrong.iter().any(|error| error.contains("damaged")), "{wrong:?}");
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged_even_without_syncs() {
    let whole = Disk::new(0);
    work(&whole, "WAL", "OFF");
    for change in 0..whole.changes() {
        let disk = Disk::new(change);
        disk.power_off_after(change);
        let acknowledged = work(&disk, "WAL", "OFF");
        disk.crash(Crash::ProcessKilled);
        verdict(&disk, "WAL", &acknowledged).unwrap();
    }
}

#[test]
fn what_a_killed_process_left_unsynced_is_still_unsynced() {
    let disk = Disk::new(1);
    disk.import("a", b"old");
    let conn = disk.connect("bot.db", NEW).unwrap();
    conn.execute_batch("PRAGMA synchronous = OFF; CREATE TABLE t (a)").unwrap();
    assert!(disk.unsynced() > 0);
    disk.crash(Crash::ProcessKilled);
    assert!(disk.unsynced() > 0 && disk.exists("bot.db"));
    let left: BTreeSet<bool> = (0..20)
        .map(|seed| {
            let disk = Disk::from_snapshot(&disk.snapshot(), seed);
            disk.crash(Crash::PowerLoss);
            assert_eq!((disk.unsynced(), disk.export("a")), (0, Some(b"old".to_vec())));
            disk.exists("bot.db")
        })
        .collect();
    assert_eq!(left, BTreeSet::from([false, true]), "by the dice");
}

/// Every operation fails once at every place, in every way; the program goes on after it, and then the power goes.
#[test]
fn a_failed_operation_harms_no_acknowledged_transaction() {
    let whole = Disk::new(0);
    work(&whole, "WAL", "FULL");
    let (mut struck, mut refused) = (0, 0_u32);
    for operation in Operation::ALL {
        for after in 0..whole.counts().of(operation) {
            for fault in [Fault::Io, Fault::Full, Fault::Busy, Fault::Torn, Fault::Lost] {
                let twin = match fault {
                    Fault::Torn => operation != Operation::Write,
                    Fault::Lost => operation != Operation::Sync,
                    Fault::Busy => !matches!(operation, Operation::Lock | Operation::ShmLock),
                    Fault::Io | Fault::Full => after % 3 != 0,
                };
                if twin {
                    continue; // the same as Io there, or thinned out
                }
                let disk = Disk::new(after);
                disk.inject(Rule::once(operation, fault).after(after));
                let acknowledged = work(&disk, "WAL", "FULL");
                struck += disk.struck();
                refused += u32::from(i64::try_from(acknowledged.len()).unwrap() < TRANSACTIONS);
                disk.clear_faults();
                // A crash of the process, then one of the machine: a start in between reads what the system still has.
                let mut found = Ok(BTreeSet::new());
                if after % 2 == 0 {
                    disk.crash(Crash::ProcessKilled);
                    found = verdict(&disk, "WAL", &acknowledged);
                }
                disk.crash(Crash::PowerLoss);
                if let Err(error) = found.and_then(|_| verdict(&disk, "WAL", &acknowledged)) {
                    panic!("{operation:?} {fault:?} after {after}: {error}");
                }
            }
        }
    }
    println!("{struck} faults struck, {refused} runs in which a transaction was refused");
    assert!(struck > 500 && refused > 200, "{struck} {refused}");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = Disk::new(1);
    let conn = open(&disk, "WAL", "FULL").unwrap();
    conn.execute_batch("CREATE TABLE t (n, part, text, PRIMARY KEY (n, part)); CREATE TABLE last (n)")
        .unwrap();
    conn.execute_batch("INSERT INTO last VALUES (0)").unwrap();
    let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
    disk.set_bytes_max(Some(used + 20_000));
    let mut acknowledged = BTreeSet::from([0]);
    let mut refused = 0;
    for n in 1..20 {
        match transact(&conn, n) {
            Ok(()) => drop(acknowledged.insert(n)),
            Err(error) => {
                assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull), "{error}");
                refused += 1;
            }
        }
        if n == 10 {
            assert!(refused > 0);
            disk.set_bytes_max(None);
        }
    }
    assert!(acknowledged.contains(&11) && acknowledged.contains(&19));
    disk.crash(Crash::PowerLoss);
    drop(conn);
    assert_eq!(verdict(&disk, "WAL", &acknowledged).unwrap(), acknowledged);
}

#[test]
fn a_connection_from_before_a_crash_is_dead_and_harms_nobody() {
    let disk = Disk::new(1);
    let old = open(&disk, "WAL", "FULL").unwrap();
    old.execute_batch("CREATE TABLE t (n, part, text, PRIMARY KEY (n, part)); CREATE TABLE last (n)")
        .unwrap();
    old.execute_batch("INSERT INTO last VALUES (0); BEGIN IMMEDIATE; INSERT INTO last VALUES (1)").unwrap();
    let snapshot = disk.snapshot();
    disk.crash(Crash::PowerLoss);
    let new = open(&disk, "WAL", "FULL").unwrap();
    transact(&new, 1).unwrap();
    assert!(old.execute_batch("COMMIT").is_err());
    drop(old);
    transact(&new, 2).unwrap();
    drop(new);
    assert_eq!(verdict(&disk, "WAL", &BTreeSet::from([0, 1, 2])), Ok(BTreeSet::from([0, 1, 2])));

    disk.restore(&snapshot);
    assert_eq!(verdict(&disk, "WAL", &BTreeSet::from([0])), Ok(BTreeSet::from([0])));
}

#[test]
fn an_owner_renames_durably_only_with_the_directory() {
    let outcomes: BTreeSet<(bool, bool)> = (0..40)
        .map(|seed| {
            let disk = Disk::new(seed);
            disk.import("old", b"1");
            disk.create("new").unwrap();
            disk.rename("old", "new").unwrap();
            disk.crash(Crash::PowerLoss);
            (disk.export("old").is_some(), disk.export("new") == Some(b"1".to_vec()))
        })
        .collect();
    assert_eq!(outcomes, BTreeSet::from([(true, false), (false, true)]), "one or the other, never neither");
    let disk = Disk::new(1);
    disk.import("old", b"1");
    disk.rename("old", "new").unwrap();
    disk.sync_directory().unwrap();
    disk.crash(Crash::PowerLoss);
    assert_eq!(disk.files(), [("new".to_owned(), 1)]);
    assert_eq!(disk.rename("old", "x").unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(disk.create("new").unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    disk.inject(Rule::once(Operation::Sync, Fault::Full).of(Role::Owner));
    assert_eq!(disk.sync("new").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    disk.sync("new").unwrap();
    disk.remove("new").unwrap();
    assert_eq!(disk.remove("new").unwrap_err().kind(), std::io::ErrorKind::NotFound);
}
