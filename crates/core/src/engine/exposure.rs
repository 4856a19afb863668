//! Every ticker's sums, and which of them want an order.
//!
//! Invariant: `open` holds exactly the tickers whose exposure is a lot or more (the test compares it with a walk).

use std::collections::{BTreeMap, BTreeSet};

use super::Stop;
use super::fill_book::Moved;
use crate::fills::Fill;
use crate::ports::records::{Loaded, Traded};
use crate::positions::Position;
use crate::units::{Shares, Symbol};

/// The sums of every ticker that was ever met.
#[derive(Debug, Default)]
pub(super) struct Exposure {
    lot: Shares,
    positions: BTreeMap<Symbol, Position>,
    /// Tickers that want a lot or more.
    open: BTreeSet<Symbol>,
    /// Tickers whose sums have changed since that was last asked.
    changed: BTreeSet<Symbol>,
}

impl Exposure {
    /// From what the ledger holds.
    pub(super) fn new(lot: Shares, loaded: &mut Loaded) -> Self {
        let mut exposure = Self { lot, ..Self::default() };
        let positions = &mut exposure.positions;
        for (symbol, sum) in std::mem::take(&mut loaded.fill_sums) {
            positions.entry(symbol).or_default().fills = sum;
        }
        for (symbol, slack) in std::mem::take(&mut loaded.fill_slack) {
            positions.entry(symbol).or_default().slack = slack;
        }
        for (symbol, sum) in std::mem::take(&mut loaded.execution_sums) {
            positions.entry(symbol).or_default().executions = sum;
        }
        for symbol in loaded.pending.iter().filter_map(|pending| pending.symbol.clone()) {
            positions.entry(symbol).or_default();
        }
        for Traded { symbol, cash, shares } in std::mem::take(&mut loaded.traded) {
            positions.entry(symbol).or_default().traded(cash, shares);
        }
        for symbol in exposure.positions.keys().cloned().collect::<Vec<_>>() {
            exposure.look(&symbol);
        }
        exposure
    }

    pub(super) fn get(&self, symbol: &Symbol) -> Option<&Position> {
        self.positions.get(symbol)
    }

    /// Whether the ticker was ever met.
    pub(super) fn knows(&self, symbol: &Symbol) -> bool {
        self.positions.contains_key(symbol)
    }

    /// How many tickers were ever met; none is ever forgotten.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// Every ticker, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Symbol, &Position)> {
        self.positions.iter()
    }

    /// The tickers that want a lot or more, ascending.
    pub(super) fn open(&self) -> &BTreeSet<Symbol> {
        &self.open
    }

    /// The tickers whose sums have changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> BTreeSet<Symbol> {
        std::mem::take(&mut self.changed)
    }

    /// A ticker comes up.
    pub(super) fn meet(&mut self, symbol: &Symbol) {
        self.change(symbol, |_| Some(()));
    }

    /// A fill is seen for the first time: what it paid.
    pub(super) fn traded(&mut self, fill: &Fill) {
        self.change(&fill.symbol, |position| {
            position.traded(fill.cash, fill.shares);
            Some(())
        });
    }

    /// Fills count for so much more, and may be short of the truth by so much more.
    pub(super) fn move_fills(&mut self, moved: &Moved) -> Result<(), Stop> {
        let Moved { symbol, shares, slack } = moved;
        self.change(symbol, |position| {
            // A sum that does not fit is more than any lot forgives.
            position.slack = position.slack.checked_add(*slack).unwrap_or(position.slack).max(Shares::ZERO);
            position.fills = position.fills.checked_add(*shares)?;
            Some(())
        })
        .ok_or_else(|| Stop::Bug(format!("the sum of {symbol}'s fills leaves the range")))?;
        let exposure = self.get(symbol).and_then(Position::exposure);
        exposure.map(drop).ok_or_else(|| Stop::Bug(format!("{symbol}'s exposure leaves the range")))
    }

    /// Executions count for so much more; none where their sum leaves the range.
    pub(super) fn move_executions(&mut self, symbol: &Symbol, shares: Shares) -> Option<()> {
        self.change(symbol, |position| {
            position.executions = position.executions.checked_add(shares)?;
            Some(())
        })
    }

    /// The one place where a position changes.
    fn change(&mut self, symbol: &Symbol, change: impl FnOnce(&mut Position) -> Option<()>) -> Option<()> {
        let changed = change(self.positions.entry(symbol.clone()).or_default());
        self.look(symbol);
        changed
    }

    fn look(&mut self, symbol: &Symbol) {
        let wants = self.positions.get(symbol).is_some_and(|position| position.want(self.lot).is_some());
        if wants {
            self.open.insert(symbol.clone());
        } else {
            self.open.remove(symbol);
        }
        self.changed.insert(symbol.clone());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_open_is_what_a_walk_over_all_tickers_finds(
            changes in prop::collection::vec((0_u8..4, 0_u8..2, -30_i64..30), 1..60)
        ) {
            let lot = Shares::whole(10);
            let mut exposure = Exposure { lot, ..Exposure::default() };
            for (ticker, what, shares) in changes {
                let symbol: Symbol = format!("T{ticker}").parse().unwrap();
                match what {
                    0 => exposure
                        .move_fills(&Moved {
                            symbol: symbol.clone(),
                            shares: Shares::whole(shares),
                            slack: Shares::from_atoms(i128::from(shares)),
                        })
                        .unwrap(),
                    _ => exposure.move_executions(&symbol, Shares::whole(shares)).unwrap(),
                }
                prop_assert!(exposure.take_changed().contains(&symbol));
                let walked: BTreeSet<Symbol> = exposure
                    .iter()
                    .filter(|(_, position)| position.want(lot).is_some())
                    .map(|(symbol, _)| symbol.clone())
                    .collect();
                prop_assert_eq!(exposure.open(), &walked);
            }
        }
    }
}
