//! The halts in force: each is a row, written with its cause, and stops a ticker, or all of them, until it is lifted
//! (`protocol.md` 4).

use std::collections::BTreeMap;

use super::{Effect, StepOutput};
use crate::hedges::{Halt, HaltKind};
use crate::ports::records::Write;
use crate::units::Symbol;

/// Every halt in force, by its ticker (none: all tickers) and kind, with its reason.
#[derive(Debug, Default)]
pub(super) struct Halts {
    in_force: BTreeMap<(Option<Symbol>, HaltKind), String>,
    /// One was raised or lifted since that was last asked.
    changed: bool,
}

/// Whom a halt stops, in words.
pub(super) fn scope(symbol: Option<&Symbol>) -> String {
    symbol.map_or_else(|| "all tickers".into(), ToString::to_string)
}

impl Halts {
    pub(super) fn new(loaded: Vec<Halt>) -> Self {
        let in_force = loaded.into_iter().map(|halt| ((halt.symbol, halt.kind), halt.reason)).collect();
        Self { in_force, changed: true }
    }

    /// Whether that halt of exactly that ticker is in force.
    pub(super) fn has(&self, symbol: Option<&Symbol>, kind: HaltKind) -> bool {
        self.in_force.contains_key(&(symbol.cloned(), kind))
    }

    /// Whether a halt of that kind is in force, whoever it stops.
    pub(super) fn has_kind(&self, kind: HaltKind) -> bool {
        self.in_force.keys().any(|(_, of)| *of == kind)
    }

    /// Every halt: whom it stops, its kind, its reason. Those of all tickers come first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Option<&Symbol>, HaltKind, &str)> {
        self.in_force.iter().map(|((symbol, kind), why)| (symbol.as_ref(), *kind, why.as_str()))
    }

    /// The same, to be told.
    pub(super) fn told(&self) -> Vec<Halt> {
        let told = self.iter().map(|(symbol, kind, reason)| Halt {
            symbol: symbol.cloned(),
            kind,
            reason: reason.to_owned(),
        });
        told.collect()
    }

    /// The halt that stops a ticker, one of all tickers before its own.
    pub(super) fn of(&self, symbol: &Symbol) -> Option<(Option<&Symbol>, HaltKind, &str)> {
        let first = |scope: Option<&Symbol>| {
            let from = (scope.cloned(), HaltKind::ALL[0]);
            self.in_force.range(from..).next().filter(|((of, _), _)| of.as_ref() == scope)
        };
        let ((scope, kind), why) = first(None).or_else(|| first(Some(symbol)))?;
        Some((scope.as_ref(), *kind, why))
    }

    /// Whether all tickers are stopped.
    pub(super) fn all_stopped(&self) -> bool {
        self.in_force.first_key_value().is_some_and(|((symbol, _), _)| symbol.is_none())
    }

    pub(super) fn raise(
        &mut self,
        symbol: Option<Symbol>,
        kind: HaltKind,
        reason: String,
        who: String,
        out: &mut StepOutput,
    ) {
        if self.has(symbol.as_ref(), kind) {
            return;
        }
        let whom = scope(symbol.as_ref());
        out.effects.push(Effect::Alert(format!("{whom} halted ({}): {reason}", kind.as_str())));
        self.in_force.insert((symbol.clone(), kind), reason.clone());
        self.changed = true;
        out.writes.push(Write::Halt { symbol, kind, reason, who });
    }

    pub(super) fn lift(
        &mut self,
        symbol: Option<Symbol>,
        kind: HaltKind,
        reason: String,
        who: String,
        out: &mut StepOutput,
    ) {
        if self.in_force.remove(&(symbol.clone(), kind)).is_some() {
            let whom = scope(symbol.as_ref());
            let text = format!("{whom}: the {} halt is lifted by {who}: {reason}", kind.as_str());
            out.effects.push(Effect::Alert(text));
            self.changed = true;
            out.writes.push(Write::Lift { symbol, kind, reason, who });
        }
    }

    /// Whether a halt was raised or lifted since this was last asked.
    pub(super) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halt_of_a_ticker_is_the_first_that_a_walk_finds() {
        let [aapl, tsla, zm]: [Symbol; 3] = ["AAPL", "TSLA", "ZM"].map(|text| text.parse().unwrap());
        let row = |symbol: Option<&Symbol>, kind: HaltKind| Halt {
            symbol: symbol.cloned(),
            kind,
            reason: kind.as_str().to_owned(),
        };
        let own = [
            row(Some(&tsla), HaltKind::Price),
            row(Some(&tsla), HaltKind::Stuck),
            row(Some(&aapl), HaltKind::Operator),
        ];
        let all = [row(None, HaltKind::Backfill)];
        for loaded in [Vec::new(), own.to_vec(), all.to_vec(), [&own[..], &all[..]].concat()] {
            let halts = Halts::new(loaded);
            for symbol in [&aapl, &tsla, &zm] {
                let walked = halts.iter().find(|(scope, ..)| scope.is_none_or(|scope| scope == symbol));
                assert_eq!(halts.of(symbol), walked, "{symbol}");
            }
        }
    }
}
