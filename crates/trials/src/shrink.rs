//! Makes a failing schedule short: steps are left out as long as the same thing goes wrong.
//!
//! Delta debugging over the list of steps: halves first, then ever smaller parts. It refuses to know what a step does.

use super::checker::Fault;
use super::schedule::{self, Step};
use super::world::{Outcome, live};

/// Trials lived through for one schedule at most.
const TRIALS_MAX: usize = 400;

/// The steps, by their places in the seed's schedule, that are enough to make `fault` happen again; and that outcome.
pub(crate) fn shrink(seed: u64, from: Vec<usize>, fault: Fault) -> (Vec<usize>, Option<Outcome>) {
    let (_, all) = schedule::draw(seed);
    let mut kept = from;
    let mut outcome = None;
    let mut trials = 0;
    let mut part = kept.len().div_ceil(2);
    while part > 0 && trials < TRIALS_MAX {
        let mut shorter = false;
        let mut at = 0;
        while at < kept.len() && trials < TRIALS_MAX {
            let until = (at + part).min(kept.len());
            let mut rest = kept.clone();
            rest.drain(at..until);
            trials += 1;
            let (terms, _) = schedule::draw(seed);
            let tried = live(terms, chosen(&all, &rest), false);
            if tried.findings.first().is_some_and(|finding| finding.fault == fault) {
                kept = rest;
                outcome = Some(tried);
                shorter = true;
            } else {
                at = until;
            }
        }
        if part == 1 && !shorter {
            break;
        }
        part = if part == 1 { 1 } else { part.div_ceil(2) };
    }
    (kept, outcome)
}

/// The steps at these places.
pub(crate) fn chosen(all: &[Step], places: &[usize]) -> Vec<Step> {
    places.iter().filter_map(|place| all.get(*place)).cloned().collect()
}
