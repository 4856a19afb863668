//! What the chain says, folded: entries of fills, their counting, cursor and window (`protocol.md` 1).

use std::collections::BTreeSet;

use super::fill_book::Reversed;
use super::{Effect, Engine, StepOutput, Stop};
use crate::fills::{Event, Fill};
use crate::hedges::HaltKind;
use crate::ports::chain::{Push, Sweep};
use crate::ports::records::{FillState, Source, Write};
use crate::units::{FillId, LogId};

impl Engine {
    /// A push is folded above the cursor, or at a height whose hash the window knows; everything else rings the bell.
    pub(super) fn push(&mut self, push: Push, out: &mut StepOutput) -> Result<(), Stop> {
        self.chain.learn(push.tokens, out)?;
        out.effects.extend(push.notices.into_iter().map(Effect::Alert));
        for log in push.evidence {
            self.evidence.keep(log, &self.chain, out);
        }
        for event in push.events {
            match event {
                Event::Fill(fill) => match self.fills.get(fill.id).map(|known| known.standing) {
                    Some(true) => {}
                    // Only the sweep brings one back; that it is pushed again is evidence.
                    Some(_) => self.evidence.keep(fill.log(), &self.chain, out),
                    None if self.backlog.holds(&fill, out) => {}
                    None if self.chain.may_stand(fill.block_number, fill.id)
                        && !self.fills.stands_elsewhere(fill.id, &[]) =>
                    {
                        if self.chain.has_passed(fill.block_number) {
                            self.fills.note_late(fill.block_number, fill.id);
                            out.effects.push(Effect::Sweep);
                        }
                        self.enter(fill, Source::Push, out)?;
                    }
                    None => self.evidence.keep(fill.log(), &self.chain, out),
                },
                Event::Skipped(skipped) => out.writes.push(Write::Skipped(skipped)),
                // The sweep meets the same log and decides with the whole transaction in hand.
                Event::Pending(_) | Event::Dead(_) => out.effects.push(Effect::Sweep),
            }
        }
        Ok(())
    }

    pub(super) fn replay(
        &mut self,
        push: Push,
        known: Vec<FillState>,
        reply: u64,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let orphan = |event: &Event| match event {
            Event::Fill(fill) => self.chain.is_orphan(fill.block_number, fill.id),
            Event::Pending(_) | Event::Skipped(_) | Event::Dead(_) => false,
        };
        if push.events.iter().any(orphan) {
            // Nothing would ever reverse it: the sweep has passed that height on another block.
            let told = "the node has this transaction in a block that is not the one read here at that height; try \
                        again when the chain has settled";
            out.effects.extend([Effect::Sweep, Effect::Reply(reply, Err(told.into()))]);
            return Ok(());
        }
        let elsewhere = |event: &Event| match event {
            Event::Fill(fill) => self.fills.stands_elsewhere(fill.id, &known),
            Event::Pending(_) | Event::Skipped(_) | Event::Dead(_) => false,
        };
        if push.events.iter().any(elsewhere) {
            let told = "the ledger has this transaction in another block than the node says now; try again when the \
                        chain has settled, or with another node";
            out.effects.extend([Effect::Sweep, Effect::Reply(reply, Err(told.into()))]);
            return Ok(());
        }
        self.chain.learn(push.tokens, out)?;
        self.fills.remember(known);
        let (mut added, mut standing, mut reversed, mut other) = (0_u32, 0_u32, 0_u32, 0_u32);
        let mut waits = None;
        let logs: BTreeSet<LogId> = push.events.iter().map(Event::log).collect();
        self.pending.end(&push.events, |pending| logs.contains(&pending.log()), out);
        let mut passed_over = 0_u32;
        for event in push.events {
            match event {
                Event::Fill(fill) => match self.fills.get(fill.id).map(|state| state.standing) {
                    Some(true) => standing += 1,
                    Some(false) => reversed += 1,
                    None if self.backlog.holds(&fill, out) => passed_over += 1,
                    None => {
                        added += 1;
                        self.enter(fill, Source::Replay, out)?;
                    }
                },
                Event::Skipped(skipped) => {
                    other += 1;
                    out.writes.push(Write::Skipped(skipped));
                }
                Event::Dead(dead) => {
                    other += 1;
                    out.writes.push(Write::Dead(dead));
                }
                // Its content is known where it has an entry; else it waits already, or the sweep finds that it does.
                Event::Pending(pending) => waits = Some(pending.reason),
            }
        }
        out.effects.push(Effect::Sweep);
        let mut told = format!(
            "fills: {added} added, {standing} known already, {reversed} reversed (only the sweep reinstates); logs \
             skipped or not understood: {other}"
        );
        if passed_over > 0 {
            told += &format!(
                "; passed over before their ticker was listed, and counted by nothing but `bot resume TICKER \
                 --count-skipped`: {passed_over}"
            );
        }
        if let Some(reason) = waits {
            told += &format!(
                "; the amount of others is not to be had now: {reason} (this needs an archive node)"
            );
        }
        out.effects.push(Effect::Reply(reply, Ok(told)));
        Ok(())
    }

    /// The only thing that moves the cursor. A sweep that does not fit what is known now (a push came in between, or
    /// it was planned on an older view) is dropped whole and read again; the view says that one was.
    pub(super) fn sweep(&mut self, sweep: Sweep, out: &mut StepOutput) -> Result<(), Stop> {
        if !self.fits(&sweep)? {
            self.chain.drop_sweep();
            out.effects.push(Effect::Sweep);
            return Ok(());
        }
        let Sweep { base, target, canonical, events, refuted, settled, tokens, head } = sweep;
        self.chain.saw_head(head);
        self.chain.learn(tokens, out)?;
        let first = self.chain.cursor().is_none();
        let range = base.number + 1..=target.number;
        self.pending.end(&events, |pending| range.contains(&pending.block_number), out);
        for event in events {
            self.evidence.tell(event.log());
            match event {
                Event::Fill(fill) => self.swept(fill, out)?,
                Event::Pending(pending) => self.swept_pending(pending, out)?,
                Event::Skipped(skipped) => out.writes.push(Write::Skipped(skipped)),
                Event::Dead(dead) => {
                    if !self.chain.note_dead(&dead) {
                        continue;
                    }
                    out.effects.push(Effect::Alert(format!(
                        "log {} in {} was not understood: {}",
                        dead.log_index, dead.tx_hash, dead.reason
                    )));
                    out.writes.push(Write::Dead(dead));
                }
            }
        }
        let mut gone: Vec<FillId> = self
            .fills
            .standing_in(base.number, target.number)
            .filter(|state| {
                canonical.get(&state.fill.block_number) != Some(&state.fill.id.block_hash)
                    || refuted.contains(&state.fill.id)
            })
            .map(|state| state.fill.id)
            .collect();
        gone.sort_unstable();
        let took_back = !gone.is_empty();
        for id in gone {
            self.reverse(id, out)?;
        }
        self.chain.left(target.number, head, took_back, self.fills.something_stands_twice());
        let floor = self.chain.advance(base, target, canonical, out);
        self.fills.looked_above(base.number, floor);
        // Below the first cursor's base nothing is ever read.
        let out_of_reach = if first { base.number } else { floor };
        self.evidence.let_go(&settled, out_of_reach, &self.chain, out);
        self.count_confirmed(out)?;
        self.fills.forget_below(floor);
        Ok(())
    }

    fn fits(&self, sweep: &Sweep) -> Result<bool, Stop> {
        let Sweep { base, target, canonical, events, refuted, .. } = sweep;
        if self.fills.late_from().is_some_and(|number| number <= base.number) {
            // Pushed since it was planned, at or below its base: it must be looked at before it is out of reach.
            return Ok(false);
        }
        if !self.evidence.is_settled_by(sweep, &self.chain, &self.pending.logs()) {
            return Ok(false);
        }
        if !self.chain.begins_at(base) {
            return Ok(false);
        }
        let whole = (target.number > base.number && canonical.get(&target.number) == Some(&target.hash))
            || target == base;
        if !whole {
            return Err(Stop::Bug(format!("a sweep from {base} to {target} does not hold its own target")));
        }
        let mut seen: BTreeSet<FillId> = refuted.iter().copied().collect();
        for event in events {
            let (number, id) = match event {
                Event::Fill(fill) => (fill.block_number, fill.id),
                Event::Pending(pending) => (pending.block_number, pending.id),
                Event::Skipped(_) | Event::Dead(_) => continue,
            };
            let inside = number > base.number && number <= target.number;
            let hash = canonical.get(&number);
            if !inside || hash.is_some_and(|hash| *hash != id.block_hash) {
                return Err(Stop::Bug(format!("a sweep from {base} to {target} holds {id}")));
            }
            seen.insert(id);
        }
        // Every fill that stands in the range must be answered for: by another hash, by its log, or by its receipt.
        Ok(self.fills.standing_in(base.number, target.number).all(|state| {
            match canonical.get(&state.fill.block_number) {
                None => false,
                Some(hash) => *hash != state.fill.id.block_hash || seen.contains(&state.fill.id),
            }
        }))
    }

    pub(super) fn swept(&mut self, fill: Fill, out: &mut StepOutput) -> Result<(), Stop> {
        let Some(known) = self.fills.get(fill.id) else {
            if self.backlog.holds(&fill, out) {
                return Ok(());
            }
            return self.enter(fill, Source::Sweep, out);
        };
        if !same_content(&known.fill, &fill) {
            return Err(Stop::Bug(format!(
                "{} is {} {} in the ledger and {} {} on the chain; keep both for a report and restore the ledger",
                fill.id, known.fill.shares, known.fill.symbol, fill.shares, fill.symbol
            )));
        }
        if !known.standing
            && let Some(n) = self.fills.reinstate(fill.id)
        {
            let id = fill.id;
            out.writes.push(Write::Entry { id, n, standing: true, source: Source::Sweep });
            self.note_traded(&fill);
            if self.policy.confirmations == 0 {
                self.count(id, out)?;
            }
        }
        Ok(())
    }

    pub(super) fn enter(&mut self, fill: Fill, source: Source, out: &mut StepOutput) -> Result<(), Stop> {
        let id = fill.id;
        if let Some(jump) = fill.unit.as_ref().and_then(|unit| unit.worth.jump) {
            let (symbol, why) = (Some(fill.symbol.clone()), jump.to_string());
            self.halts.raise(symbol, HaltKind::Unit, why, "engine".into(), out);
        }
        self.exposure.traded(&fill);
        self.note_traded(&fill);
        out.writes.push(Write::Fill(fill.clone()));
        out.writes.push(Write::Entry { id, n: 0, standing: true, source });
        self.fills.enter(fill);
        if self.policy.confirmations == 0 { self.count(id, out) } else { self.count_confirmed(out) }
    }

    fn count(&mut self, id: FillId, out: &mut StepOutput) -> Result<(), Stop> {
        let Some((n, moved)) = self.fills.count(id) else { return Ok(()) };
        out.writes.push(Write::Count { id, n });
        self.exposure.move_fills(&moved)
    }

    /// With `CONFIRMATIONS` an entry counts once it was swept (it is at or below the cursor, and stands) deep enough.
    fn count_confirmed(&mut self, out: &mut StepOutput) -> Result<(), Stop> {
        let deep =
            self.chain.cursor().and_then(|cursor| cursor.number.checked_sub(self.policy.confirmations));
        let Some(deep) = deep else { return Ok(()) };
        self.fills.ripe(deep).into_iter().try_for_each(|id| self.count(id, out))
    }

    /// A fill that left the chain is followed by its opposite; one that had not counted moves nothing.
    fn reverse(&mut self, id: FillId, out: &mut StepOutput) -> Result<(), Stop> {
        #[cfg(feature = "mutants")]
        if crate::mutants::is(crate::mutants::Sabotage::DropReversal) {
            return Ok(());
        }
        let Some(Reversed { n, moved }) = self.fills.reverse(id) else { return Ok(()) };
        self.market.forget_traded(id);
        out.writes.push(Write::Entry { id, n, standing: false, source: Source::Sweep });
        let Some(moved) = moved else { return Ok(()) };
        out.writes.push(Write::Count { id, n });
        self.exposure.move_fills(&moved)
    }
}

/// The block's time is told by some nodes and not by others, and only by some calls: it is not part of the content. Nor
/// is how the shares came of the token: a ledger of before that was kept has none.
fn same_content(known: &Fill, fill: &Fill) -> bool {
    let content = |fill: &Fill| Fill { block_time: None, unit: None, ..fill.clone() };
    content(known) == content(fill)
}
