//! Which faults struck: a clean run of a world in which nothing went wrong proves nothing.
//!
//! A fault is noted where it strikes, not where it is armed; one that only lasts, where it begins. [`ALL`] names every one of them, so that one that
//! is never reached shows as a zero.

use std::collections::BTreeMap;

/// How often each fault struck.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Struck(BTreeMap<&'static str, u64>);

impl Struck {
    /// One more.
    pub(crate) fn note(&mut self, fault: &'static str) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// Adds another world's.
    pub(crate) fn add(&mut self, other: &Self) {
        for (fault, times) in &other.0 {
            *self.0.entry(fault).or_default() += times;
        }
    }

    /// How often one struck.
    #[must_use]
    pub fn times(&self, fault: &str) -> u64 {
        self.0.get(fault).copied().unwrap_or(0)
    }

    /// Every fault of [`ALL`] and how often it struck, and whatever else was noted.
    #[must_use]
    pub fn table(&self) -> Vec<(&'static str, u64)> {
        let mut table: BTreeMap<&'static str, u64> = ALL.iter().map(|fault| (*fault, 0)).collect();
        table.extend(self.0.iter().map(|(fault, times)| (*fault, *times)));
        table.into_iter().collect()
    }
}

/// Every fault that a world can have.
pub const ALL: &[&str] = &[
    "broker: a read fails",
    "broker: away for order calls",
    "broker: canceled by a hand",
    "broker: equal order by a hand",
    "broker: foreign order",
    "broker: login dead",
    "broker: market unavailable",
    "broker: order not visible yet",
    "broker: stale list",
    "broker: the day ends on a live order",
    "broker: trade taken back",
    "chain: a branch comes back",
    "chain: a fork",
    "chain: a fork in the middle of a look",
    "chain: a gap beyond the window",
    "chain: a phantom is pushed",
    "chain: an old block is pushed again",
    "clock: the bot's jumps",
    "clock: the broker's is off",
    "disk: a lock is busy",
    "disk: a read fails",
    "disk: a sync fails",
    "disk: a sync fails and loses",
    "disk: a write fails",
    "disk: a write is torn",
    "disk: full",
    "fate: canceled by a hand",
    "fate: filled",
    "fate: filled at once",
    "fate: filled during a cancel",
    "fate: filled, then taken back",
    "fate: invisible for some reads",
    "fate: invisible for some time",
    "fate: partly filled, then canceled",
    "fate: partly filled, then rests",
    "fate: rejected later",
    "fate: share by share",
    "fate: slow, with a status nobody knows",
    "fate: status ahead of executions",
    "node: a call beyond the plan",
    "node: a header is not found",
    "node: a range is too long",
    "node: an internal error",
    "node: answers are late",
    "node: answers are slow",
    "node: empty logs",
    "node: half open",
    "node: its index is behind",
    "node: its state is behind",
    "node: lags",
    "node: logs are lost",
    "node: no receipts of a block",
    "node: orphans are forgotten",
    "node: partial logs",
    "node: pushes are lost",
    "node: pushes backwards",
    "node: pushes twice",
    "node: pushes without a block",
    "node: rate limit",
    "node: refuses a connection",
    "node: removed logs",
    "node: the connection is cut",
    "node: the second half of a clear is lost",
    "node: two forks",
    "operator: halts",
    "operator: resumes",
    "operator: says absent",
    "operator: says adopt",
    "operator: says book",
    "operator: says ignore",
    "post: 429",
    "post: 429 with Retry-After",
    "post: 500 and no order",
    "post: accepted, answer lost",
    "post: accepted, answer too late",
    "post: accepted, no order id",
    "post: arrives late",
    "post: duplicate refused",
    "post: lost",
    "post: not sent",
    "post: refused",
    "post: refused, for the account",
    "post: shares that are not there",
    "process: dies",
    "process: dies after a commit",
    "process: dies in a commit",
    "process: dies with an order on its way",
    "process: stops and starts",
    "process: the power goes",
    "quote: a tenth off",
    "quote: can not be read",
    "quote: no price",
    "quote: not tradable",
    "quote: old",
    "restore: an older ledger",
];
