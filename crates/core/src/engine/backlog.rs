//! Trades that were passed over while their ticker was not listed, and that would be fills today (`protocol.md` 5.4).
//!
//! Nobody but a person can say whether they are to be hedged: another shard may have done so long ago. Until one does,
//! the ticker is halted and none of these trades counts, however often the chain shows it; a trade that was ignored
//! stays so when a fork moves it into another block.
//!
//! It refuses to know how a trade is read again: what is to be counted comes from the chain, weighed as any other.
//!
//! Invariant: each trade has one answer, and counts only by an answer.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

use super::operator::Declined;
use super::{Effect, Engine, StepOutput};
use crate::fills::{Event, Fill, Skipped};
use crate::hedges::HaltKind;
use crate::ports::chain::Push;
use crate::ports::records::{FillState, PassedOver, Source, Write};
use crate::units::{FillId, Symbol};

/// Trades that were passed over before their ticker was listed, by ticker and transaction, and whether a person said
/// that they stay so.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    trades: BTreeMap<(Symbol, B256), Vec<(Skipped, bool)>>,
    /// Tickers with a trade that waits for a person's word.
    open: BTreeSet<Symbol>,
}

impl Backlog {
    pub(super) fn new(found: Vec<PassedOver>) -> Self {
        let mut backlog = Self::default();
        for PassedOver { trade, symbol, ignored } in found {
            if !ignored {
                backlog.open.insert(symbol.clone());
            }
            backlog.trades.entry((symbol, trade.id.tx_hash)).or_default().push((trade, ignored));
        }
        backlog
    }

    /// Every trade, and whether a person said that it stays passed over.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Skipped, bool)> {
        self.trades.values().flatten()
    }

    fn of<'a>(&'a self, symbol: &'a Symbol) -> impl Iterator<Item = &'a (Skipped, bool)> {
        let from = (symbol.clone(), B256::ZERO);
        self.trades.range(from..).take_while(move |((of, _), _)| of == symbol).flat_map(|(_, trades)| trades)
    }

    /// The trades of a ticker that wait for a person's word.
    fn open<'a>(&'a self, symbol: &'a Symbol) -> impl Iterator<Item = &'a Skipped> {
        self.of(symbol).filter(|(_, ignored)| !ignored).map(|(trade, _)| trade)
    }

    /// The same, by name.
    fn unanswered(&self, symbol: &Symbol) -> BTreeSet<FillId> {
        self.open(symbol).map(|trade| trade.id).collect()
    }

    /// Whether the fill is a trade that was passed over: then it is noted where the chain has it now, and no fill.
    pub(super) fn holds(&mut self, fill: &Fill, out: &mut StepOutput) -> bool {
        if self.trades.is_empty() {
            return false;
        }
        let Some(trades) = self.trades.get_mut(&(fill.symbol.clone(), fill.id.tx_hash)) else {
            return false;
        };
        if trades.iter().any(|(trade, _)| trade.id == fill.id) {
            return true;
        }
        // Not by its amount: run again in another block, a transaction may trade another one.
        let same = |(trade, _): &&(Skipped, bool)| {
            (trade.orderbook, trade.owner, trade.id.side) == (fill.orderbook, fill.owner, fill.id.side)
        };
        let Some((known, ignored)) = trades.iter().find(same).cloned() else { return false };
        let (id, block_number, shares) = (fill.id, fill.block_number, fill.shares);
        let moved = Skipped { id, block_number, shares, ..known };
        out.writes.push(Write::Skipped(moved.clone()));
        if ignored {
            let (reason, who) = ("a fork moved a trade that was ignored".into(), "engine".into());
            out.writes.push(Write::Answered { id, counted: false, reason, who });
        }
        trades.push((moved, ignored));
        true
    }

    /// The ticker's trades stay passed over.
    fn ignore(&mut self, symbol: &Symbol) {
        for ((of, _), trades) in &mut self.trades {
            if of == symbol {
                trades.iter_mut().for_each(|(_, ignored)| *ignored = true);
            }
        }
        self.open.remove(symbol);
    }

    /// The ticker's trades are fills now, or not on the chain any more.
    fn forget(&mut self, symbol: &Symbol) {
        self.trades.retain(|(of, _), _| of != symbol);
        self.open.remove(symbol);
    }
}

impl Engine {
    /// Halts each ticker that has such trades, before anything is decided.
    pub(super) fn ask_about_skipped(&mut self, out: &mut StepOutput) {
        let halts = &self.halts;
        let unasked = self.backlog.open.iter().filter(|symbol| !halts.has(Some(symbol), HaltKind::Skipped));
        for symbol in unasked.cloned().collect::<Vec<_>>() {
            let count = self.backlog.unanswered(&symbol).len();
            let why = format!(
                "it is listed now, and {count} trades in it were passed over while it was not (`bot fills` shows them \
                 as skipped). Count them if nobody else has hedged them, ignore them otherwise: `{}`",
                HaltKind::Skipped.lifted_by(Some(&symbol))
            );
            self.halts.raise(Some(symbol), HaltKind::Skipped, why, "engine".into(), out);
        }
    }

    /// A person says that they stay passed over; how many.
    pub(super) fn ignore_skipped(
        &mut self,
        symbol: &Symbol,
        reason: &str,
        who: &str,
        out: &mut StepOutput,
    ) -> usize {
        let ids = self.backlog.unanswered(symbol);
        answer(&ids, false, reason, who, out);
        self.backlog.ignore(symbol);
        ids.len()
    }

    /// A person says that they count: `push` is what the chain has of their transactions now, `known` what the ledger
    /// has of those fills. On [`Declined::No`] nothing has changed.
    pub(super) fn count_skipped(
        &mut self,
        symbol: &Symbol,
        asked: &BTreeSet<FillId>,
        (push, known): (Push, Vec<FillState>),
        (reason, who): (String, String),
        out: &mut StepOutput,
    ) -> Result<String, Declined> {
        self.may_resume(Some(symbol), HaltKind::Skipped)?;
        let ids = self.backlog.unanswered(symbol);
        if ids != *asked {
            // A fork moved one while the chain was read: it would have its answer, and never be a fill.
            return Err("the chain moved meanwhile; nothing has changed, try again in a minute".into());
        }
        let mut fills = Vec::new();
        for event in push.events {
            match event {
                Event::Fill(fill) if fill.symbol == *symbol => fills.push(fill),
                Event::Dead(dead)
                    if ids.iter().any(|id| (id.tx_hash, id.log_index) == (dead.tx_hash, dead.log_index)) =>
                {
                    return Err(format!(
                        "the node's answer about {} can not be understood ({}); nothing has changed",
                        dead.tx_hash, dead.reason
                    )
                    .into());
                }
                Event::Pending(pending)
                    if ids.iter().any(|id| id.log_at(pending.block_number) == pending.log()) =>
                {
                    return Err(format!(
                        "the amount of {} is not to be had now: {} (this needs an archive node); nothing has changed",
                        pending.id.tx_hash, pending.reason
                    )
                    .into());
                }
                Event::Fill(_) | Event::Pending(_) | Event::Skipped(_) | Event::Dead(_) => {}
            }
        }
        let hidden = self.hidden(symbol, &fills);
        let moved = fills.iter().any(|fill| {
            self.chain.is_orphan(fill.block_number, fill.id) || self.fills.stands_elsewhere(fill.id, &known)
        });
        if hidden || moved {
            out.effects.push(Effect::Sweep);
            return Err("the chain is about to settle; nothing has changed, try again in a minute".into());
        }
        self.chain.learn(push.tokens, out)?;
        self.fills.remember(known);
        let mut added = 0_usize;
        for fill in fills {
            if ids.contains(&fill.id) && self.fills.get(fill.id).is_none() {
                added += 1;
                self.enter(fill, Source::Replay, out)?;
            }
        }
        answer(&ids, true, &reason, &who, out);
        self.backlog.forget(symbol);
        self.halts.lift(Some(symbol.clone()), HaltKind::Skipped, reason, who, out);
        out.effects.push(Effect::Sweep);
        let rest = match ids.len().saturating_sub(added) {
            0 => String::new(),
            rest => format!(", {rest} are fills already or not on the chain any more"),
        };
        Ok(format!("{symbol} resumed; {added} trades count from now on{rest}"))
    }

    /// Whether a trade that waits is in a block of the window, and yet the node did not show it.
    fn hidden(&self, symbol: &Symbol, shown: &[Fill]) -> bool {
        let in_window = |trade: &&Skipped| self.chain.has_block(trade.block_number, trade.id.block_hash);
        let mut open = self.backlog.open(symbol).filter(in_window);
        open.any(|trade| !shown.iter().any(|fill| fill.id == trade.id))
    }
}

fn answer(ids: &BTreeSet<FillId>, counted: bool, reason: &str, who: &str, out: &mut StepOutput) {
    out.writes.extend(ids.iter().map(|id| Write::Answered {
        id: *id,
        counted,
        reason: reason.to_owned(),
        who: who.to_owned(),
    }));
}
