//! Tickers that rest: after attempts that brought no execution, and after an order that ended early (`protocol.md` 3.7).

use std::collections::BTreeMap;

use super::poller::{Pause, doubled};
use crate::ports::records::FailedAttempts;
use crate::units::{Millis, Symbol};

/// First pause after an attempt without an execution, doubling to [`PAUSE_MS_MAX`].
const PAUSE_MS_FIRST: i64 = 5_000;
/// Longest pause between attempts.
const PAUSE_MS_MAX: i64 = 300_000;
/// Attempts in a row without an execution that halt a ticker.
pub(super) const FAILURES_MAX: u32 = 5;

/// The pause after `count` attempts in a row without an execution.
pub(super) fn pause_ms(count: u32) -> i64 {
    doubled(PAUSE_MS_FIRST, count.saturating_sub(1), PAUSE_MS_MAX)
}

/// A ticker's attempts in a row that brought no execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Failures {
    count: u32,
    pause: Pause,
}

/// The tickers that rest.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failures: BTreeMap<Symbol, Failures>,
    /// After an order that ended early with executions; not a failure, but not at once again either.
    rests: BTreeMap<Symbol, Pause>,
}

impl Attempts {
    /// From what the ledger holds.
    pub(super) fn new(loaded: Vec<FailedAttempts>) -> Self {
        let failures = loaded.into_iter().map(|FailedAttempts { symbol, count, ended_at }| {
            (symbol, Failures { count, pause: Pause { since: ended_at, ms: pause_ms(count) } })
        });
        Self { failures: failures.collect(), rests: BTreeMap::new() }
    }

    /// How many attempts in a row failed, by ticker.
    pub(super) fn failures(&self) -> impl Iterator<Item = (&Symbol, u32)> {
        self.failures.iter().map(|(symbol, failures)| (symbol, failures.count))
    }

    /// An attempt brought no execution; how many did in a row.
    pub(super) fn failed(&mut self, symbol: &Symbol, now: Millis) -> u32 {
        let failures = self.failures.entry(symbol.clone()).or_default();
        failures.count += 1;
        failures.pause = Pause { since: now, ms: pause_ms(failures.count) };
        failures.count
    }

    /// An execution came, or a person said to try again.
    pub(super) fn forget(&mut self, symbol: &Symbol) {
        self.failures.remove(symbol);
    }

    /// An order ended early with executions.
    pub(super) fn rest(&mut self, symbol: &Symbol, now: Millis) {
        self.rests.insert(symbol.clone(), Pause { since: now, ms: PAUSE_MS_FIRST });
    }

    /// Why the ticker rests now, if it does.
    pub(super) fn pausing(&self, symbol: &Symbol, now: Millis) -> Option<String> {
        if let Some(rest) = self.rests.get(symbol).filter(|rest| !rest.over(now)) {
            return Some(format!("until {} after an order that ended early", rest.until()));
        }
        let failures = self.failures.get(symbol).filter(|failures| !failures.pause.over(now))?;
        Some(format!("until {} after {} failed attempts", failures.pause.until(), failures.count))
    }
}
