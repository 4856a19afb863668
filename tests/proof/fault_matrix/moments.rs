//! The columns: what the bot is doing when a fault strikes it; and how every cell ends.
//!
//! A moment is reached by looking, never by waiting for a time, and a cell whose bot is not at its moment fails.

use std::collections::BTreeSet;

use super::clock;
use crate::bench::{Bench, FIRST};
use crate::gross;
use crate::market::{go_on, put_off};
use crate::truth::{self, Form, Verdict, buy, sell};

/// Each ticker is traded one way only, so that a share that is ever traded back was hedged twice.
pub const SOLD: [usize; 3] = [0, 2, 3];
pub const BOUGHT: [usize; 2] = [1, 4];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Backfill,
    Idle,
    Pending,
    Working,
}

impl Moment {
    pub const ALL: [Self; 4] = [Self::Backfill, Self::Idle, Self::Pending, Self::Working];

    pub const fn words(self) -> &'static str {
        match self {
            Self::Backfill => "during backfill",
            Self::Idle => "idle at head",
            Self::Pending => "fill pending",
            Self::Working => "order working",
        }
    }
}

/// Blocks after which a pending fill counts.
const CONFIRMATIONS: u64 = 3;
/// So slow is the node during a backfill, that there is time to strike; twice as slow each time that was not enough.
const SLOW_MS: [u64; 4] = [40, 80, 160, 320];

/// A bot at its moment.
pub struct Scene {
    pub bench: Bench,
    pub moment: Moment,
}

impl Scene {
    /// Brings a bot there. `prepare` is done before its first start.
    pub fn arrive(moment: Moment, prepare: impl Fn(&mut Bench)) -> Self {
        let prepared = || {
            let mut bench = Bench::new();
            prepare(&mut bench);
            bench
        };
        let bench = match moment {
            Moment::Backfill => SLOW_MS
                .iter()
                .find_map(|slow_ms| backfilling(prepared(), *slow_ms))
                .expect("every backfill was over before the fault could strike"),
            Moment::Idle => idle(prepared()),
            Moment::Pending => pending(prepared()),
            Moment::Working => working(prepared()),
        };
        Self { bench, moment }
    }

    /// Trades while the fault lasts: two takes and a clear.
    pub fn trade(&mut self) {
        self.bench.mine(&[sell(0, 1_200), buy(1, 2_000)]);
        self.bench.mine(&[sell(2, 1_500).by(Form::Clear)]);
    }

    /// Waits until every fill of the canonical chain stands in the ledger, whatever else does; the chain lives on.
    pub fn books_every_trade(&self) {
        self.bench.until_while_the_chain_lives("every trade is booked", || {
            let meant = self.bench.node.chain(|chain| self.bench.truth.canonical(chain, 0));
            let stands = |row: &&serde_json::Value| row["state"] == "seen" || row["state"] == "counting";
            let rows = self.bench.fills();
            let booked: BTreeSet<(&str, u64)> = rows
                .iter()
                .filter(stands)
                .map(|row| (row["block_hash"].as_str().unwrap(), row["log_index"].as_u64().unwrap()))
                .collect();
            meant.keys().all(|name| booked.contains(&(name.0.as_str(), name.2)))
        });
    }

    /// The fault is over and a bot runs: everything comes to rest, and is judged, net and gross.
    pub fn ends_judged(mut self) -> Verdict {
        // Also for orders that were entered while the clock was ahead.
        go_on(&self.bench.data());
        self.bench.mine(&[sell(0, 1_000)]);
        self.bench.node.mine_empty(self.bench.confirmations);
        self.books_every_trade();
        let mut verdict = self.bench.ends_judged();
        let (data, truth) = (self.bench.data(), &self.bench.truth);
        let book = truth::book(&data);
        self.bench.node.chain(|chain| {
            gross::by_the_chain(truth, chain, &book, &mut verdict);
            if !clock::is_settable(&self.bench) {
                gross::by_the_ledger(truth, chain, &data, &book, &mut verdict);
            }
        });
        verdict
    }
}

fn begin(bench: &mut Bench) {
    bench.node.mine_empty(3);
    bench.start();
    bench.becomes_ready();
}

fn idle(mut bench: Bench) -> Bench {
    begin(&mut bench);
    bench.mine(&[sell(0, 2_000), buy(1, 400)]);
    bench.settles();
    bench.catches_up();
    bench
}

fn pending(mut bench: Bench) -> Bench {
    bench.set(&[("CONFIRMATIONS", &CONFIRMATIONS.to_string())]);
    bench.confirmations = CONFIRMATIONS;
    begin(&mut bench);
    // No block may come in between: it would count them.
    bench.catches_up();
    bench.mine(&[sell(0, 3_000), buy(1, 1_200)]);
    bench.catches_up();
    assert_eq!(bench.fill_states(), ["seen", "seen"]);
    assert_eq!(bench.orders(), 0);
    bench
}

fn working(mut bench: Bench) -> Bench {
    begin(&mut bench);
    put_off(&bench.data());
    bench.mine(&[sell(0, 3_000)]);
    bench.until("the order works", || bench.hedges().iter().any(|row| row["state"] == "Working"));
    bench.catches_up();
    bench
}

/// 360 blocks with 80 fills, ten blocks at a time, from a slow node; the bot is somewhere between. None where it came
/// through before we, who may be slower than it, had a look.
fn backfilling(mut bench: Bench, slow_ms: u64) -> Option<Bench> {
    bench.set(&[("LOG_RANGE_BLOCKS", "10")]);
    for n in 0..40 {
        bench.node.chain_mut(|chain| (0..8).for_each(|_| _ = chain.mine(vec![])));
        bench.mine(&[sell(SOLD[n % 3], 700), buy(BOUGHT[n % 2], 100)]);
    }
    bench.node.slow(slow_ms);
    bench.start();
    let mut at = 0;
    bench.until("the backfill is under way", || {
        let cursor = bench.readyz().and_then(|(_, body)| body["engine"]["cursor"]["number"].as_u64());
        at = cursor.unwrap_or(0);
        at > FIRST + 20
    });
    (at < FIRST + 250).then_some(bench)
}
