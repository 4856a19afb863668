//! That trials are clean, the same twice, broad enough, and that a broken bot does not get through them.

use super::checker::Fault;
use super::coverage::{ALL, Struck};
use super::sabotage::{self, Sabotage};
use super::schedule::{self, Act};
use super::world::{Outcome, live};

/// Within so many seeds a broken bot must be caught, and every fault must have struck.
const SEEDS_MAX: u64 = 2_000;

fn trial(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let (terms, steps) = schedule::draw(seed);
    live(terms, steps, false)
}

#[test]
fn the_same_seed_lives_the_same_life_and_loses_nothing() {
    for seed in 0..50 {
        let (first, again) = (trial(seed), trial(seed));
        assert_eq!(first.findings, [], "seed {seed}");
        assert_eq!(first.figure, again.figure, "seed {seed}");
        assert_eq!((first.rest, first.lived_ms), (again.rest, again.lived_ms), "seed {seed}");
    }
}

#[test]
fn every_fault_strikes() {
    let mut struck = Struck::default();
    for seed in 100..SEEDS_MAX {
        let outcome = trial(seed);
        assert_eq!(outcome.findings, [], "seed {seed}");
        struck.add(&outcome.struck);
        if ALL.iter().all(|fault| struck.times(fault) > 0) {
            return;
        }
    }
    let missing: Vec<_> = ALL.iter().filter(|fault| struck.times(fault) == 0).collect();
    panic!("never struck in {SEEDS_MAX} seeds: {missing:?}");
}

/// The first seed that catches it, and how.
fn caught(by: Sabotage) -> (u64, Fault) {
    caught_among(by, |_| true)
}

/// The same, of the trials that are worth the time.
fn caught_among(by: Sabotage, worth: impl Fn(&Act) -> bool) -> (u64, Fault) {
    sabotage::set(Some(by));
    for seed in (0..SEEDS_MAX).filter(|seed| schedule::draw(*seed).1.iter().any(|step| worth(&step.act))) {
        if let Some(finding) = trial(seed).findings.first() {
            println!("{by:?} is caught in seed {seed}: {}: {}", finding.fault, finding.what);
            return (seed, finding.fault);
        }
    }
    panic!("{by:?} was not caught in {SEEDS_MAX} seeds");
}

#[test]
fn a_bot_that_retries_an_order_call_is_caught() {
    caught(Sabotage::RetryPost);
}

#[test]
fn a_bot_that_forgets_a_partial_fill_is_caught() {
    caught(Sabotage::ForgetPartial);
}

#[test]
fn a_bot_that_drops_reversals_is_caught() {
    caught(Sabotage::DropReversal);
}

#[test]
fn a_bot_that_acts_before_the_commit_is_caught() {
    assert_eq!(caught(Sabotage::CountBeforeCommit).1, Fault::OrderWithoutIntent);
}

#[test]
fn a_bot_that_adopts_the_first_match_is_caught() {
    // Only where a person types an order that is equal to ours is there more than one to take.
    caught_among(Sabotage::AdoptFirst, |act| matches!(act, Act::ManualOrder { twin: true, .. }));
}

#[test]
fn a_bot_that_trusts_empty_answers_is_caught() {
    assert_eq!(caught(Sabotage::TrustEmptyLogs).1, Fault::Lost);
}
