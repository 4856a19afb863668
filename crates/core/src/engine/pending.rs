//! Fills whose amount the node does not tell (`protocol.md` 1.10): each waits by itself, and every other fill goes on.
//!
//! Invariant: a fill that waits has no entry, and one that has entries does not wait: its content is known for good.

use std::collections::{BTreeMap, BTreeSet};

use super::wait::Wait;
use super::{Effect, Engine, StepOutput, Stop};
use crate::fills::{Event, PendingFill};
use crate::ports::chain::Push;
use crate::ports::records::{Source, Write};
use crate::units::{FillId, LogId, Symbol};

/// The fills that wait for their amount.
#[derive(Debug, Default)]
pub(super) struct Pending {
    fills: BTreeMap<FillId, PendingFill>,
}

impl Pending {
    pub(super) fn new(fills: Vec<PendingFill>) -> Self {
        Self { fills: fills.into_iter().map(|pending| (pending.id, pending)).collect() }
    }

    /// The fills that wait among `in_reach` and that `events` do not name as waiting any more: they were told, or are gone.
    pub(super) fn end(
        &mut self,
        events: &[Event],
        in_reach: impl Fn(&PendingFill) -> bool,
        out: &mut StepOutput,
    ) {
        if self.fills.is_empty() {
            return;
        }
        let waits: BTreeSet<FillId> = events
            .iter()
            .filter_map(|event| match event {
                Event::Pending(pending) => Some(pending.id),
                Event::Fill(_) | Event::Skipped(_) | Event::Dead(_) => None,
            })
            .collect();
        let over: Vec<FillId> = self
            .fills
            .values()
            .filter(|pending| in_reach(pending) && !waits.contains(&pending.id))
            .map(|pending| pending.id)
            .collect();
        for id in over {
            self.end_one(id, out);
        }
    }

    fn end_one(&mut self, id: FillId, out: &mut StepOutput) {
        let Some(pending) = self.fills.remove(&id) else { return };
        out.writes.push(Write::PendingOver(id));
        if !self.waits_with(&pending) {
            let whom = pending.whom();
            out.effects.push(Effect::Alert(format!("no fill of {whom} waits for its amount any more")));
        }
    }

    /// Whether another fill waits of the same token.
    fn waits_with(&self, pending: &PendingFill) -> bool {
        self.fills.values().any(|other| other.token == pending.token)
    }

    /// What waits, a row for each token, with the first fill's reason.
    pub(super) fn told(&self) -> Vec<(String, String)> {
        let mut rows: BTreeMap<String, (u32, &PendingFill)> = BTreeMap::new();
        for pending in self.fills.values() {
            let row = rows.entry(pending.whom()).or_insert((0, pending));
            row.0 += 1;
            if pending.log() < row.1.log() {
                row.1 = pending;
            }
        }
        let told = rows.into_iter().map(|(whom, (count, first))| {
            (format!("{whom} ({count})"), format!("block {}: {}", first.block_number, first.reason))
        });
        told.collect()
    }

    /// What a person is told of a ticker with fills that wait.
    pub(super) fn wait(&self, symbol: &Symbol) -> Option<Wait> {
        let of_it = || self.fills.values().filter(|pending| pending.symbol.as_ref() == Some(symbol));
        let first = of_it().min_by_key(|pending| pending.log())?;
        let (count, block, reason) = (of_it().count(), first.block_number, &first.reason);
        Some(Wait::for_person(
            format!("{count} fills wait for their amount, the first in block {block}: {reason}"),
            format!(
                "this needs an archive node: set WS_RPC_URL to one; `bot replay {}` asks at once",
                first.id.tx_hash
            ),
        ))
    }

    fn waits_at(&self, log: LogId) -> bool {
        self.fills.values().any(|pending| pending.log() == log)
    }

    /// The places of the fills that wait, ascending.
    pub(super) fn logs(&self) -> Vec<LogId> {
        let logs: BTreeSet<LogId> = self.fills.values().map(PendingFill::log).collect();
        logs.into_iter().collect()
    }
}

impl Engine {
    /// A sweep met a trade whose amount is not to be had now. What is known of it already needs no answer: the same name
    /// is the same content.
    pub(super) fn swept_pending(&mut self, pending: PendingFill, out: &mut StepOutput) -> Result<(), Stop> {
        if let Some(known) = self.fills.get(pending.id) {
            let fill = known.fill.clone();
            return self.swept(fill, out);
        }
        if self.pending.fills.contains_key(&pending.id) {
            return Ok(());
        }
        let whom = pending.whom();
        if !self.pending.waits_with(&pending) {
            out.effects.push(Effect::Alert(format!(
                "a fill of {whom} waits and is not hedged: {} ({}); this needs an archive node: set WS_RPC_URL to one. \
                 The bot asks again by itself, `bot replay {}` asks at once. Other fills go on",
                pending.reason, pending.log(), pending.id.tx_hash
            )));
        }
        if let Some(symbol) = &pending.symbol {
            self.exposure.meet(symbol);
        }
        out.writes.push(Write::Pending(pending.clone()));
        self.pending.fills.insert(pending.id, pending);
        Ok(())
    }

    /// Fills that wait were asked for again; everything else in `push` is known.
    pub(super) fn asked_again(&mut self, push: Push, out: &mut StepOutput) -> Result<(), Stop> {
        let told: Vec<Event> =
            push.events.into_iter().filter(|event| self.pending.waits_at(event.log())).collect();
        if told.iter().any(|event| match event {
            Event::Fill(fill) => {
                self.chain.is_orphan(fill.block_number, fill.id) || self.fills.stands_elsewhere(fill.id, &[])
            }
            Event::Pending(_) | Event::Skipped(_) | Event::Dead(_) => false,
        }) {
            // The sweep decides about a block that is leaving the chain.
            out.effects.push(Effect::Sweep);
            return Ok(());
        }
        self.chain.learn(push.tokens, out)?;
        let logs: BTreeSet<LogId> = told.iter().map(Event::log).collect();
        self.pending.end(&told, |pending| logs.contains(&pending.log()), out);
        for event in told {
            match event {
                Event::Fill(fill) if self.fills.get(fill.id).is_none() => {
                    self.enter(fill, Source::Replay, out)?;
                }
                Event::Skipped(skipped) => out.writes.push(Write::Skipped(skipped)),
                Event::Dead(dead) => out.writes.push(Write::Dead(dead)),
                Event::Fill(_) | Event::Pending(_) => {}
            }
        }
        Ok(())
    }
}
