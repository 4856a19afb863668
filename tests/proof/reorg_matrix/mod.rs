//! The reorg matrix: how deep × where each hedge is at that moment × how the transactions come back, if they do.
//!
//! One world per row: a node, a bot before it, and five tickers whose fills lie in one block, each with its hedge at
//! another point. Then that block and everything above it leaves the chain. What was lost or doubled is decided from
//! the node's canonical chain and the broker's own book, by code that the engine does not know (`truth`).
//!
//! Half of the rows are reorgs of blocks that the sweep had read, the other half of blocks that were only pushed. The
//! bot runs within this process, all of it but `main`, because a hedge must be kept at its point for as long as a fork
//! takes; the same with the real process, its hedges all filled, is `hostile_node`'s.

mod bot;
mod gate;
mod world;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use world::{Case, Cell, Fate, POINTS, Seen};

/// Blocks that leave the chain. The window is 64.
const DEPTHS: [u64; 6] = [1, 2, 7, 12, 64, 65];
/// Worlds at once: most of their time they wait for a broker that takes its time.
const AT_ONCE: usize = 12;

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for seen in [Seen::Swept, Seen::PushedOnly] {
        for depth in DEPTHS {
            cases.extend(Fate::ALL.map(|fate| Case { depth, fate, seen }));
        }
    }
    cases
}

type Row = Result<[Cell; POINTS.len()], String>;

/// A world of its own thread, so that one that fails is a row of the table and not its end.
fn played(case: Case) -> Row {
    thread::spawn(move || world::play(case)).join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

fn all_played(cases: &[Case]) -> Vec<Row> {
    let queue: Mutex<VecDeque<usize>> = Mutex::new((0..cases.len()).collect());
    let rows: Mutex<Vec<Option<Row>>> = Mutex::new(vec![None; cases.len()]);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(index) = queue.lock().unwrap().pop_front() else { return };
                    let row = played(cases[index]);
                    rows.lock().unwrap()[index] = Some(row);
                }
            });
        }
    });
    rows.into_inner().unwrap().into_iter().map(Option::unwrap).collect()
}

fn table(cases: &[Case], rows: &[Row]) -> String {
    let mut text =
        format!("{:<11} {:>5}  {:<19} {:<8}", "blocks were", "depth", "the transactions", "the bot");
    POINTS.iter().for_each(|(name, _)| write!(text, " {name:>15}").unwrap());
    text.push('\n');
    for (case, row) in cases.iter().zip(rows) {
        let end = if case.ends_the_bot() { "exit 65" } else { "runs on" };
        write!(text, "{:<11} {:>5}  {:<19} {end:<8}", case.seen.words(), case.depth, case.fate.words())
            .unwrap();
        match row {
            Ok(cells) => cells.iter().for_each(|cell| write!(text, " {:>15}", cell.words()).unwrap()),
            Err(_) => text.push_str(" FAILED, see below"),
        }
        text.push('\n');
    }
    text
}

#[test]
fn every_depth_with_every_hedge_and_every_return() {
    let begun = Instant::now();
    let cases = cases();
    let rows = all_played(&cases);
    let cells = cases.len() * POINTS.len();
    let told = format!(
        "\nReorg matrix: {cells} cells in {} s; a cell is lost/doubled and the orders at the broker; the columns are \
         the hedge's state when the chain left its fill\n{}",
        begun.elapsed().as_secs(),
        table(&cases, &rows)
    );
    // Past the harness, which would keep the table of a test that passes to itself.
    std::io::stdout().write_all(told.as_bytes()).unwrap();
    let mut wrong = Vec::new();
    for (case, row) in cases.iter().zip(&rows) {
        match row {
            Ok(cells) => wrong.extend(cells.iter().filter_map(|cell| cell.wrong(*case))),
            Err(text) => wrong.push(format!("{case:?}: {text}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
