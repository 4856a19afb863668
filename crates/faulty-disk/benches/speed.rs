//! What a disk costs: `cargo bench -p faulty-disk -- WORLDS THREADS`. A world is a disk with the program's own schema,
//! opened as the program does, with twenty commits, a power cut, and a second start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::time::{Duration, Instant};

use faulty_disk::{Crash, Disk, Snapshot};
use rusqlite::{Connection, OpenFlags};

const COMMITS: u32 = 20;

fn connect(disk: &Disk) -> Connection {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = disk.connect("bot.db", flags).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY",
    )
    .unwrap();
    conn
}

#[derive(Default, Clone, Copy)]
struct Costs {
    birth: Duration,
    open: Duration,
    commits: Duration,
    again: Duration,
}

fn world(template: &Snapshot, seed: u64) -> Costs {
    let mut costs = Costs::default();
    let start = Instant::now();
    let disk = Disk::from_snapshot(template, seed);
    costs.birth = start.elapsed();
    let conn = connect(&disk);
    conn.query_row("SELECT count(*) FROM intents", [], |_| Ok(())).unwrap();
    costs.open = start.elapsed() - costs.birth;
    let start = Instant::now();
    for at in 0..COMMITS {
        let tx = conn.unchecked_transaction().unwrap();
        tx.prepare_cached(
            "INSERT INTO halts (kind, raised, reason, who, at) VALUES ('operator', 1, 'r', 'w', ?1)",
        )
        .unwrap()
        .execute([at])
        .unwrap();
        tx.prepare_cached(
            "INSERT INTO last_commit (one, at, commits) VALUES (1, ?1, 1) \
             ON CONFLICT (one) DO UPDATE SET at = excluded.at, commits = commits + 1",
        )
        .unwrap()
        .execute([at])
        .unwrap();
        tx.commit().unwrap();
    }
    costs.commits = start.elapsed();
    let start = Instant::now();
    disk.crash(Crash::PowerLoss);
    drop(conn);
    let conn = connect(&disk);
    let commits: u32 = conn.query_row("SELECT commits FROM last_commit", [], |row| row.get(0)).unwrap();
    assert_eq!(commits, COMMITS);
    costs.again = start.elapsed();
    costs
}

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let worlds = numbers.first().copied().unwrap_or(2_000);
    let threads = numbers.get(1).copied().unwrap_or(1).max(1);
    let template = Disk::new(0);
    connect(&template).execute_batch(include_str!("../../../migrations/V1__ledger.sql")).unwrap();
    let template = template.snapshot();
    let start = Instant::now();
    let sums: Vec<Costs> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| {
                let template = &template;
                scope.spawn(move || {
                    (thread..worlds).step_by(usize::try_from(threads).unwrap()).fold(
                        Costs::default(),
                        |sum, seed| {
                            let costs = world(template, seed);
                            Costs {
                                birth: sum.birth + costs.birth,
                                open: sum.open + costs.open,
                                commits: sum.commits + costs.commits,
                                again: sum.again + costs.again,
                            }
                        },
                    )
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let elapsed = start.elapsed();
    let mean = |of: fn(&Costs) -> Duration, each: u64| {
        sums.iter().map(of).sum::<Duration>().as_nanos() / u128::from(worlds * each) / 1_000
    };
    println!("{worlds} worlds on {threads} threads in {} ms", elapsed.as_millis());
    println!("disk from a snapshot   {:>6} us", mean(|costs| costs.birth, 1));
    println!("open, pragmas, schema  {:>6} us", mean(|costs| costs.open, 1));
    println!("commit                 {:>6} us", mean(|costs| costs.commits, u64::from(COMMITS)));
    println!("crash and open again   {:>6} us", mean(|costs| costs.again, 1));
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        status
            .lines()
            .filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS"))
            .for_each(|line| println!("{line}"));
    }
}
