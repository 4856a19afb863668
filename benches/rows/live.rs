//! A bot that runs: a burst of fills, and nothing at all.

use std::thread;
use std::time::{Duration, Instant};

use super::Size;
use crate::bot::{TICKERS, World, sale};
use crate::measure::{Row, Samples, Unit};

/// Blocks of a burst.
const BLOCKS: u64 = 4;
/// Rows of a commit, as the bot batches them.
const BATCH: u64 = 256;
/// How long nothing is watched.
const IDLE: Duration = Duration::from_secs(10);

/// 10,000 fills in 4 blocks → all of them in the ledger; the floor writes as many rows in commits of 256.
pub(crate) fn burst(size: Size) -> Vec<Row> {
    let fills = 10_000 / size.divisor;
    let (mut ours, mut floor, mut memory, mut before) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.runs.min(3) {
        let world = World::new();
        let bot = world.start();
        before.push(bot.figure("VmRSS", false));
        let reader = rusqlite::Connection::open(world.ledger()).unwrap();
        let count = || reader.query_row("SELECT count(*) FROM fills", [], |r| r.get::<_, u32>(0)).unwrap();
        let begun = Instant::now();
        for block in 0..BLOCKS {
            let each = fills / BLOCKS;
            let trades =
                (block * each..(block + 1) * each).map(|n| sale(usize::try_from(n).unwrap() % TICKERS));
            world.node.mine_logs(trades.collect());
        }
        while u64::from(count()) < fills / BLOCKS * BLOCKS {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} of {fills} fills", count());
            thread::sleep(Duration::from_millis(2));
        }
        ours.push(begun.elapsed());
        memory.push(bot.figure("VmHWM", false));
        bot.stop();
        floor.push(least(&world, fills));
    }
    vec![
        Row {
            what: format!("burst of {fills} fills in {BLOCKS} blocks → durable"),
            unit: Unit::Micros,
            ours: Samples::of(ours),
            floor: (Samples::of(floor), "rows in commits of 256"),
        },
        Row {
            what: format!("burst of {fills} fills, peak memory"),
            unit: Unit::Kib,
            ours: Samples::of_counts(memory),
            floor: (Samples::of_counts(before), "before it"),
        },
    ]
}

fn least(world: &World, fills: u64) -> Duration {
    let mut conn = rusqlite::Connection::open(world.ledger().with_file_name("least.db")).unwrap();
    let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; DROP TABLE IF EXISTS t; \
                 CREATE TABLE t (n INTEGER PRIMARY KEY, x TEXT)";
    conn.execute_batch(setup).unwrap();
    let row = "x".repeat(500);
    let begun = Instant::now();
    for _ in 0..fills.div_ceil(BATCH) {
        let tx = conn.transaction().unwrap();
        for _ in 0..BATCH {
            tx.prepare_cached("INSERT INTO t (x) VALUES (?1)").unwrap().execute([&row]).unwrap();
        }
        tx.commit().unwrap();
    }
    begun.elapsed()
}

/// Memory and wakeups of a bot before a chain that stands still; the floor is a sleeping process of no size.
pub(crate) fn idle(_: Size) -> Vec<Row> {
    let world = World::new();
    let bot = world.start();
    thread::sleep(IDLE / 5);
    let woken = bot.figure("voluntary_ctxt_switches", true);
    thread::sleep(IDLE);
    let woken = bot.figure("voluntary_ctxt_switches", true) - woken;
    let memory = bot.figure("VmRSS", false);
    bot.stop();
    let nothing = || (Samples::of_counts([1]), "nothing");
    vec![
        Row {
            what: "idle, wakeups of all threads".into(),
            unit: Unit::PerSecond,
            ours: Samples::of_counts([woken / IDLE.as_secs()]),
            floor: nothing(),
        },
        Row {
            what: "idle, memory".into(),
            unit: Unit::Kib,
            ours: Samples::of_counts([memory]),
            floor: nothing(),
        },
    ]
}
