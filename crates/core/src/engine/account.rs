//! What the account holds, as last read, and what our own executions make of it (`protocol.md` 3.9, 3.10).
//!
//! What came before what is told by the numbers of questions, not by clocks, which may be set.

use std::collections::{BTreeMap, BTreeSet};

use super::StepOutput;
use crate::ports::records::Write;
use crate::units::{Millis, Shares, Symbol};

/// The positions as last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// When the reading began.
    pub(super) begun_at: Millis,
    /// The number of its question.
    pub(super) number: u64,
    held: BTreeMap<Symbol, Shares>,
}

impl Reading {
    pub(super) fn new(begun_at: Millis, number: u64, held: Vec<(Symbol, Shares)>) -> Self {
        Self { begun_at, number, held: held.into_iter().collect() }
    }

    /// Signed; a ticker that the broker does not list is flat.
    pub(super) fn of(&self, symbol: &Symbol) -> Shares {
        self.held.get(symbol).copied().unwrap_or_default()
    }
}

/// A position that was read otherwise than expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Drift {
    /// When the first such reading began.
    since: Millis,
    held: Shares,
}

/// An execution that a reading may not hold yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Booked {
    /// The last question before it.
    after: u64,
    /// Signed.
    change: Shares,
}

/// The account.
#[derive(Debug, Default)]
pub(super) struct Account {
    reading: Option<Reading>,
    /// Executions booked since that reading's question was asked, by ticker.
    booked: BTreeMap<Symbol, Vec<Booked>>,
    /// The last question that was asked before an order of ours last changed anything in the ticker.
    moved: BTreeMap<Symbol, u64>,
    /// What all executions did, those of ignored orders too.
    executed: BTreeMap<Symbol, Shares>,
    /// What the account holds beyond them.
    baselines: BTreeMap<Symbol, Shares>,
    drifting: BTreeMap<Symbol, Drift>,
}

impl Account {
    /// From what the ledger holds.
    pub(super) fn new(executed: Vec<(Symbol, Shares)>, baselines: Vec<(Symbol, Shares)>) -> Self {
        Self {
            executed: executed.into_iter().collect(),
            baselines: baselines.into_iter().collect(),
            ..Self::default()
        }
    }

    pub(super) const fn reading(&self) -> Option<&Reading> {
        self.reading.as_ref()
    }

    /// The positions were read.
    pub(super) fn read(&mut self, reading: Reading) {
        let number = reading.number;
        self.booked.retain(|_, booked| {
            booked.retain(|booked| booked.after >= number);
            !booked.is_empty()
        });
        self.reading = Some(reading);
    }

    /// The ticker's position, if nothing of ours has moved since its reading began.
    pub(super) fn clean_position(&self, symbol: &Symbol) -> Option<(Shares, Millis)> {
        let reading = self.reading.as_ref()?;
        let clean = self.moved.get(symbol).is_none_or(|moved| *moved < reading.number);
        clean.then(|| (reading.of(symbol), reading.begun_at))
    }

    /// What all executions did to the ticker.
    pub(super) fn executed(&self, symbol: &Symbol) -> Shares {
        self.executed.get(symbol).copied().unwrap_or_default()
    }

    /// What the account holds beyond that; none where it was never read.
    pub(super) fn baseline(&self, symbol: &Symbol) -> Option<Shares> {
        self.baselines.get(symbol).copied()
    }

    /// The tickers that our orders moved or that were read, ascending.
    pub(super) fn tickers(&self) -> BTreeSet<&Symbol> {
        self.executed.keys().chain(self.baselines.keys()).collect()
    }

    /// The position as it should be: what the account held beyond our orders, and what they did.
    pub(super) fn expected(&self, symbol: &Symbol) -> Option<Shares> {
        self.baseline(symbol)?.checked_add(self.executed(symbol))
    }

    /// The last question before an order of ours last changed anything in the ticker.
    pub(super) fn moved_after(&self, symbol: &Symbol) -> Option<u64> {
        self.moved.get(symbol).copied()
    }

    /// An order of ours changes something in the ticker; the last question that was asked before.
    pub(super) fn note_moved(&mut self, symbol: &Symbol, questions: u64) {
        self.moved.insert(symbol.clone(), questions);
    }

    /// An execution did that to the account; none where the sum leaves the range.
    pub(super) fn note_executed(&mut self, symbol: &Symbol, change: Shares) -> Option<()> {
        let executed = self.executed.entry(symbol.clone()).or_default();
        *executed = executed.checked_add(change)?;
        Some(())
    }

    /// A reading that was asked for before may not have that execution yet.
    pub(super) fn note_booked(&mut self, symbol: &Symbol, after: u64, change: Shares) {
        self.booked.entry(symbol.clone()).or_default().push(Booked { after, change });
    }

    /// The tickers of which an execution may not be in the reading.
    pub(super) fn booked(&self) -> impl Iterator<Item = &Symbol> {
        self.booked.keys()
    }

    /// What the ticker's position is if only the sales (`bought` false), or only the purchases, are not in the reading yet;
    /// none where that leaves the range.
    pub(super) fn with_booked(&self, symbol: &Symbol, held: Shares, bought: bool) -> Option<Shares> {
        let booked = self.booked.get(symbol).into_iter().flatten();
        booked
            .filter(|booked| booked.change.is_positive() == bought)
            .try_fold(held, |sum, booked| sum.checked_add(booked.change))
    }

    /// Since when the ticker is read as this, if it was before too.
    pub(super) fn drifts_since(&self, symbol: &Symbol, held: Shares, begun_at: Millis) -> Option<Millis> {
        let drift = self.drifting.get(symbol)?;
        (drift.held == held && begun_at >= drift.since).then_some(drift.since)
    }

    pub(super) fn note_drift(&mut self, symbol: &Symbol, held: Shares, since: Millis) {
        self.drifting.insert(symbol.clone(), Drift { since, held });
    }

    pub(super) fn no_drift(&mut self, symbol: &Symbol) {
        self.drifting.remove(symbol);
    }

    /// Moves what the account holds beyond our orders; none where that leaves the range.
    pub(super) fn rebase(
        &mut self,
        symbol: &Symbol,
        change: Shares,
        reason: &str,
        who: &str,
        out: &mut StepOutput,
    ) -> Option<()> {
        let after = self.baseline(symbol).unwrap_or_default().checked_add(change)?;
        self.baselines.insert(symbol.clone(), after);
        self.drifting.remove(symbol);
        let (reason, who) = (reason.to_owned(), who.to_owned());
        out.writes.push(Write::Baseline { symbol: symbol.clone(), change, reason, who });
        Some(())
    }
}
