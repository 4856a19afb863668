//! Which tickers a step looks at: those of which something has changed since the last one.
//!
//! Each tick looks at all that are open, so that what is missed here waits for a fifth of a second and no longer.

use std::collections::BTreeSet;

use crate::units::Symbol;

/// The tickers that one reader of the agenda has still to look at.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) tickers: BTreeSet<Symbol>,
    /// Every one that is open.
    pub(super) all: bool,
}

impl Look {
    const fn at_all() -> Self {
        Self { tickers: BTreeSet::new(), all: true }
    }

    const fn at_none() -> Self {
        Self { tickers: BTreeSet::new(), all: false }
    }
}

/// What has changed, for the two that look at tickers in a step.
#[derive(Debug)]
pub(super) struct Agenda {
    to_decide: Look,
    to_watch: Look,
}

impl Default for Agenda {
    fn default() -> Self {
        Self { to_decide: Look::at_all(), to_watch: Look::at_all() }
    }
}

impl Agenda {
    pub(super) fn add(&mut self, mut tickers: BTreeSet<Symbol>) {
        self.to_decide.tickers.extend(tickers.iter().cloned());
        self.to_watch.tickers.append(&mut tickers);
    }

    pub(super) const fn look_at_all(&mut self) {
        (self.to_decide.all, self.to_watch.all) = (true, true);
    }

    /// Nothing is decided now: whoever decides next looks at all.
    pub(super) fn put_off(&mut self) {
        self.to_decide = Look::at_all();
    }

    pub(super) fn take_to_decide(&mut self) -> Look {
        std::mem::replace(&mut self.to_decide, Look::at_none())
    }

    pub(super) fn take_to_watch(&mut self) -> Look {
        std::mem::replace(&mut self.to_watch, Look::at_none())
    }
}
