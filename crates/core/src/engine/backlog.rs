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

use super::{Effect, Engine, Out, Stop};
use crate::fills::{Event, Fill, Skipped};
use crate::hedges::HaltKind;
use crate::ports::chain::Push;
use crate::ports::records::{FillState, PassedOver, Source, Write};
use crate::units::{BlockRef, FillId, Symbol};

/// By ticker and transaction: the trades, and whether a person said that they stay passed over.
pub(super) type Trades = BTreeMap<(Symbol, B256), Vec<(Skipped, bool)>>;

pub(super) fn by_transaction(found: Vec<PassedOver>) -> Trades {
    let mut trades = Trades::new();
    for PassedOver { trade, symbol, ignored } in found {
        trades.entry((symbol, trade.id.tx_hash)).or_default().push((trade, ignored));
    }
    trades
}

impl Engine {
    /// The trades of a ticker that wait for a person's word, by name.
    pub(super) fn unanswered(&self, symbol: &Symbol) -> BTreeSet<FillId> {
        let of_it = self.passed_over.iter().filter(|((of, _), _)| of == symbol);
        let open = of_it.flat_map(|(_, trades)| trades).filter(|(_, ignored)| !ignored);
        open.map(|(trade, _)| trade.id).collect()
    }

    /// Halts each ticker that has such trades, before anything is decided.
    pub(super) fn ask_about_skipped(&mut self, out: &mut Out) {
        let open = self.passed_over.iter().filter(|(_, trades)| trades.iter().any(|(_, ignored)| !ignored));
        let mut tickers: Vec<Symbol> = open.map(|((symbol, _), _)| symbol.clone()).collect();
        tickers.dedup();
        for symbol in tickers {
            if self.halts.contains_key(&(Some(symbol.clone()), HaltKind::Skipped)) {
                continue;
            }
            let count = self.unanswered(&symbol).len();
            let why = format!(
                "it is listed now, and {count} trades in it were passed over while it was not (`bot fills` shows them \
                 as skipped). Count them if nobody else has hedged them, ignore them otherwise: `{}`",
                HaltKind::Skipped.lifted_by(Some(&symbol))
            );
            self.halt(Some(symbol), HaltKind::Skipped, why, "engine".into(), out);
        }
    }

    /// Whether the fill is a trade that was passed over: then it is noted where the chain has it now, and no fill.
    pub(super) fn stays_passed_over(&mut self, fill: &Fill, out: &mut Out) -> bool {
        let Some(trades) = self.passed_over.get_mut(&(fill.symbol.clone(), fill.id.tx_hash)) else {
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
            out.writes.push(Write::Answered {
                id,
                counted: false,
                reason: "a fork moved a trade that was ignored".into(),
                who: "engine".into(),
            });
        }
        trades.push((moved, ignored));
        true
    }

    /// A person says that they stay passed over; how many.
    pub(super) fn ignore_skipped(
        &mut self,
        symbol: &Symbol,
        reason: &str,
        who: &str,
        out: &mut Out,
    ) -> usize {
        let ids = self.unanswered(symbol);
        self.answer(&ids, false, reason, who, out);
        for ((of, _), trades) in &mut self.passed_over {
            if of == symbol {
                trades.iter_mut().for_each(|(_, ignored)| *ignored = true);
            }
        }
        ids.len()
    }

    /// A person says that they count: `push` is what the chain has of their transactions now, `known` what the ledger
    /// has of those fills. On `Err` in the inner result nothing has changed.
    pub(super) fn count_skipped(
        &mut self,
        symbol: &Symbol,
        asked: &BTreeSet<FillId>,
        (push, known): (Push, Vec<FillState>),
        (reason, who): (String, String),
        out: &mut Out,
    ) -> Result<Result<String, String>, Stop> {
        if let Err(why) = self.may_resume(Some(symbol), HaltKind::Skipped) {
            return Ok(Err(why));
        }
        let ids = self.unanswered(symbol);
        if ids != *asked {
            // A fork moved one while the chain was read: it would have its answer, and never be a fill.
            return Ok(Err("the chain moved meanwhile; nothing has changed, try again in a minute".into()));
        }
        let mut fills = Vec::new();
        for event in push.events {
            match event {
                Event::Fill(fill) if fill.symbol == *symbol => fills.push(fill),
                Event::Dead(dead)
                    if ids.iter().any(|id| (id.tx_hash, id.log_index) == (dead.tx_hash, dead.log_index)) =>
                {
                    return Ok(Err(format!(
                        "the node's answer about {} can not be understood ({}); nothing has changed",
                        dead.tx_hash, dead.reason
                    )));
                }
                Event::Pending(pending)
                    if ids.iter().any(|id| id.log_at(pending.block_number) == pending.log()) =>
                {
                    return Ok(Err(format!(
                        "the amount of {} is not to be had now: {} (this needs an archive node); nothing has changed",
                        pending.id.tx_hash, pending.reason
                    )));
                }
                Event::Fill(_) | Event::Pending(_) | Event::Skipped(_) | Event::Dead(_) => {}
            }
        }
        let hidden = self.hidden(symbol, &fills);
        let moved = fills
            .iter()
            .any(|fill| self.is_orphan(fill.block_number, fill.id) || self.stands_elsewhere(fill.id, &known));
        if hidden || moved {
            out.effects.push(Effect::Sweep);
            return Ok(
                Err("the chain is about to settle; nothing has changed, try again in a minute".into()),
            );
        }
        self.learn(push.tokens, out)?;
        for state in known {
            self.fills.entry(state.fill.id).or_insert(state);
        }
        let mut added = 0_usize;
        for fill in fills {
            if ids.contains(&fill.id) && !self.fills.contains_key(&fill.id) {
                added += 1;
                self.enter(fill, Source::Replay, out)?;
            }
        }
        self.answer(&ids, true, &reason, &who, out);
        self.passed_over.retain(|(of, _), _| of != symbol);
        self.lift(Some(symbol.clone()), HaltKind::Skipped, reason, who, out);
        out.effects.push(Effect::Sweep);
        let rest = match ids.len().saturating_sub(added) {
            0 => String::new(),
            rest => format!(", {rest} are fills already or not on the chain any more"),
        };
        Ok(Ok(format!("{symbol} resumed; {added} trades count from now on{rest}")))
    }

    /// Whether a trade that waits is in a block of the window, and yet the node did not show it.
    fn hidden(&self, symbol: &Symbol, shown: &[Fill]) -> bool {
        let of_it = self.passed_over.iter().filter(|((of, _), _)| of == symbol);
        let waiting = of_it.flat_map(|(_, trades)| trades).filter(|(_, ignored)| !ignored);
        let mut in_window = waiting.filter(|(trade, _)| {
            let at =
                |block: &BlockRef| (block.number, block.hash) == (trade.block_number, trade.id.block_hash);
            self.window.iter().any(at)
        });
        in_window.any(|(trade, _)| !shown.iter().any(|fill| fill.id == trade.id))
    }

    fn answer(&self, ids: &BTreeSet<FillId>, counted: bool, reason: &str, who: &str, out: &mut Out) {
        out.writes.extend(ids.iter().map(|id| Write::Answered {
            id: *id,
            counted,
            reason: reason.to_owned(),
            who: who.to_owned(),
        }));
    }
}
