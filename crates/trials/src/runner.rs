//! Many trials, on all cores, and what came of them.
//!
//! Each thread lives one trial through after the other; which thread a seed falls to changes nothing about it. Results
//! are counted in the order of the seeds. It refuses to know what a trial is made of.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::checker::{self, Finding};
use super::coverage::Struck;
use super::schedule::{self, TICKERS};
use super::shrink::{chosen, shrink};
use super::world::{Outcome, live};
use counterfill_core::units::Shares;

/// What a run of many seeds added up to.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Seeds tried.
    pub seeds: u64,
    /// Fills on the chains at rest.
    pub fills: u64,
    /// Orders of ours at the brokers.
    pub hedges: u64,
    /// Ranges that began below the cursor.
    pub reorgs: u64,
    /// Connections after a life's first.
    pub reconnects: u64,
    /// Processes begun.
    pub lives: u64,
    /// Findings that mean a lost fill or share.
    pub lost: u64,
    /// Findings that mean a doubled fill or order.
    pub doubled: u64,
    /// Findings of any kind.
    pub findings: u64,
    /// The most that was left of a ticker at rest.
    pub exposure: BTreeMap<&'static str, Shares>,
    /// Milliseconds that the worlds lived through.
    pub lived_ms: i64,
    /// Which faults struck.
    pub struck: Struck,
    /// Seeds with findings, ascending, and the first finding of each.
    pub failed: BTreeMap<u64, Finding>,
}

/// One trial, told.
#[derive(Debug, Clone)]
pub struct Told {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What happened, line by line.
    pub lines: Vec<String>,
    /// The same for the same seed and program.
    pub figure: u64,
    /// The steps that were taken, by their places in the schedule.
    pub places: Vec<usize>,
    /// Those steps, in words.
    pub steps: Vec<String>,
}

impl Tally {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        let Outcome { findings, rest, struck, lived_ms, reorgs, reconnects, lives, .. } = outcome;
        let (lost, doubled) = checker::figures(&findings);
        self.seeds += 1;
        self.fills += rest.fills;
        self.hedges += rest.hedges;
        self.reorgs += reorgs;
        self.reconnects += reconnects;
        self.lives += lives;
        self.lost += lost;
        self.doubled += doubled;
        self.findings += u64::try_from(findings.len()).unwrap_or(u64::MAX);
        self.lived_ms += lived_ms;
        self.struck.add(&struck);
        for (ticker, left) in rest.exposure {
            let Some(name) = TICKERS.get(ticker) else { continue };
            let most = self.exposure.entry(name).or_default();
            let left = Shares::from_atoms(left).magnitude();
            *most = left.max(*most);
        }
        if let Some(finding) = findings.into_iter().next() {
            self.failed.insert(seed, finding);
        }
    }

    /// Whether nothing at all was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings == 0
    }
}

/// Lives the trials of `count` seeds from `first` on through, `jobs` at a time. `tell` hears after each how many are
/// done; a false from it ends the run early.
pub fn run(first: u64, count: u64, jobs: usize, mut tell: impl FnMut(&Tally, Duration) -> bool) -> Tally {
    let begun = Instant::now();
    let next = AtomicU64::new(first);
    let enough = AtomicBool::new(false);
    let end = first.saturating_add(count);
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let (done, outcomes) = mpsc::channel();
        for _ in 0..jobs.max(1) {
            let (done, next, enough) = (done.clone(), &next, &enough);
            scope.spawn(move || {
                // alloy's client wants tokio's timers to be there; nothing here ever waits for one.
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                let _entered = runtime.as_ref().map(tokio::runtime::Runtime::enter);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || enough.load(Ordering::Relaxed) {
                        return;
                    }
                    let (terms, steps) = schedule::draw(seed);
                    if done.send((seed, live(terms, steps, false))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for (seed, outcome) in outcomes {
            tally.add(seed, outcome);
            if !tell(&tally, begun.elapsed()) {
                enough.store(true, Ordering::Relaxed);
            }
        }
    });
    tally
}

/// One trial with every line, of all steps of the seed's schedule or of some.
#[must_use]
pub fn tell(seed: u64, places: Option<Vec<usize>>) -> Told {
    within_time(|| {
        let (terms, all) = schedule::draw(seed);
        let places = places.unwrap_or_else(|| (0..all.len()).collect());
        let steps = chosen(&all, &places);
        let words = steps.iter().map(|step| format!("+{} ms {}", step.at_ms, step.act)).collect();
        let mut lines = vec![format!("terms: {terms:?}")];
        let outcome = live(terms, steps, true);
        lines.extend(outcome.lines);
        Told { findings: outcome.findings, lines, figure: outcome.figure, places, steps: words }
    })
}

/// The shortest schedule found in which a failing seed's first finding happens again, told.
#[must_use]
pub fn shortest(seed: u64) -> Told {
    let found = tell(seed, None);
    let Some(fault) = found.findings.first().map(|finding| finding.fault) else { return found };
    let (places, _) = within_time(|| shrink(seed, found.places, fault));
    tell(seed, Some(places))
}

/// In the reach of tokio's timers.
pub(super) fn within_time<T>(act: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let _entered = runtime.as_ref().map(tokio::runtime::Runtime::enter);
    act()
}
