//! The soak: the real process under 100 fills a second, with its socket cut every 20 s, its broker away every 60 s and
//! SIGKILL every 90 s, for as long as it is asked to (`scripts/prove soak SECONDS`).
//!
//! What a short test can not see is looked at here: memory, descriptors, threads and the ledger's log must stay within
//! bounds, a start must stay quick when the ledger has grown, and at the end every fill of the canonical chain is
//! hedged once by the broker's own book, at rest (`truth`) and all the way (`gross`). The node is the scripted one, the
//! broker the scripted Alpaca over HTTP; the bench is the floor's.

mod broker;
mod measure;
mod traffic;

use std::io::Write as _;
use std::time::{Duration, Instant};

use broker::Broker;
use counterfill::sim::SimChain;
use measure::Measures;
use traffic::Traffic;

use crate::bench::{Bench, FIRST};
use crate::{gross, truth};

/// One block each; half a second, as on the fastest of the chains in question.
const BLOCK: Duration = Duration::from_millis(500);
/// 100 fills a second.
const FILLS_A_BLOCK: usize = 50;
const CUT_EVERY_S: u64 = 20;
const FORK_EVERY_S: u64 = 45;
const AWAY_EVERY_S: u64 = 60;
const AWAY_FOR_S: u64 = 8;
const KILL_EVERY_S: u64 = 90;
const MEASURE_EVERY_S: u64 = 5;
/// Longest time to rest after the last fill: the broker allows 200 requests a minute, and what waits for them is added up.
const REST_S_MAX: u64 = 300;
/// Longest time from a start to the first decision, with the whole ledger to be read.
const START_S_MAX: u64 = 60;

/// How long it runs where nobody says.
const SECONDS: u64 = 120;

fn seconds() -> u64 {
    std::env::var("SOAK_SECONDS")
        .map_or(SECONDS, |text| text.parse().expect("SOAK_SECONDS is a number of seconds"))
}

fn tell(words: &str) {
    let mut out = std::io::stdout();
    out.write_all(format!("{words}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Whether `every` seconds have passed once more between two moments.
fn strikes(every_s: u64, before: Duration, now: Duration) -> bool {
    now.as_secs() / every_s > before.as_secs() / every_s
}

/// A start under way: the chain does not wait for it, and the broker may be away.
struct Start(Option<Instant>);

impl Start {
    fn begin(bench: &mut Bench) -> Self {
        bench.start();
        Self(Some(Instant::now()))
    }

    /// How long it took, once, when it decides.
    fn is_over(&mut self, bench: &Bench) -> Option<Duration> {
        let begun = self.0?;
        let decides = bench.readyz().is_some_and(|(_, body)| body["engine"]["deciding"] == true);
        decides.then(|| self.0 = None);
        decides.then(|| begun.elapsed())
    }
}

/// The cursor is the tip, nothing is under way, and no ticker has a whole share unhedged.
fn rests(bench: &Bench) -> bool {
    let tip = bench.node.chain(SimChain::tip);
    let Some((_, body)) = bench.readyz() else { return false };
    let engine = &body["engine"];
    let below_a_share = |ticker: &serde_json::Value| {
        let exposure = ticker["exposure"].as_str().unwrap_or("1");
        exposure.trim_start_matches('-').split('.').next() == Some("0")
    };
    let tickers = engine["tickers"].as_array().cloned().unwrap_or_default();
    engine["cursor"]["hash"].as_str() == Some(tip.hash.to_string().as_str())
        && tickers.iter().all(|ticker| ticker["live_intent"].is_null() && below_a_share(ticker))
}

#[test]
#[ignore = "runs for SOAK_SECONDS: `scripts/prove soak SECONDS`"]
fn nothing_is_lost_doubled_or_grows_without_bound() {
    let length = Duration::from_secs(seconds());
    let broker = Broker::start();
    let mut bench = Bench::new();
    bench.set(&broker.settings());
    bench.set(&[("MAX_DAILY_NOTIONAL", "1000000000"), ("MAX_ORDER_SHARES", "100000")]);
    bench.node.mine_empty(3);
    let mut traffic = Traffic::default();
    let mut measures = Measures::default();
    let mut started = Start::begin(&mut bench);
    bench.until("it decides", || started.is_over(&bench).map(|took| measures.started(took)).is_some());
    tell(&format!("soak for {} s: pid {}, first block {FIRST}", length.as_secs(), bench.pid()));
    tell(Measures::HEAD);

    let begun = Instant::now();
    let (mut before, mut blocks) = (Duration::ZERO, 0_u32);
    while begun.elapsed() < length {
        // At the pace of the clock, so that a bot that is slow gets no fewer fills.
        std::thread::sleep((BLOCK * blocks).saturating_sub(begun.elapsed()));
        blocks += 1;
        let now = begun.elapsed();
        traffic.mine(&mut bench, FILLS_A_BLOCK);
        if strikes(FORK_EVERY_S, before, now) {
            traffic.fork(&bench);
        }
        if strikes(CUT_EVERY_S, before, now) {
            bench.node.cut();
        }
        if strikes(AWAY_EVERY_S, before, now) {
            broker.away();
        } else if now.as_secs() % AWAY_EVERY_S >= AWAY_FOR_S {
            broker.back();
        }
        // Before a kill, so that the peak of what is killed is seen.
        if strikes(MEASURE_EVERY_S, before, now) {
            tell(&measures.take(&bench, &traffic, &broker, now));
        }
        if strikes(KILL_EVERY_S, before, now) {
            bench.kill();
            started = Start::begin(&mut bench);
        }
        started.is_over(&bench).into_iter().for_each(|took| measures.started(took));
        before = now;
    }
    broker.back();
    let last = Instant::now();
    while !rests(&bench) {
        assert!(last.elapsed().as_secs() < REST_S_MAX, "no rest: {:#?}", bench.readyz());
        started.is_over(&bench).into_iter().for_each(|took| measures.started(took));
        bench.node.mine_empty(1);
        std::thread::sleep(BLOCK);
    }
    tell(&measures.take(&bench, &traffic, &broker, begun.elapsed()));
    tell(&format!("at rest {} s after the last fill", last.elapsed().as_secs()));
    bench.stop();
    let (rows, book) = (bench.rows(), broker.book());
    let verdict = bench.node.chain(|chain| {
        let mut verdict = truth::verdict(&bench.truth, chain, 0, &rows, &book);
        gross::by_the_chain(&bench.truth, chain, &book, &mut verdict);
        gross::by_the_ledger(&bench.truth, chain, &bench.data(), &book, &mut verdict);
        verdict
    });
    tell(&measures.summary());
    tell(&format!(
        "{} fills on the chain, {} in the ledger with those of orphans, {} orders; lost {}, doubled {}",
        bench.node.chain(|chain| bench.truth.canonical(chain, 0).len()),
        rows.fills.len(),
        verdict.orders,
        verdict.lost,
        verdict.doubled
    ));
    assert!(verdict.is_clean(), "lost {}, doubled {}: {:?}", verdict.lost, verdict.doubled, verdict.wrongs);
    measures.must_be_bounded();
}
