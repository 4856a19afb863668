//! What the chain says, folded: entries of fills, their counting, cursor and window (`protocol.md` 1).

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

use super::{Effect, Engine, Out, Stop};
use crate::fills::{Event, Fill, TokenFact};
use crate::ports::chain::{Push, Sweep, WINDOW_BLOCKS_MAX};
use crate::ports::records::{FillState, Source, Write};
use crate::units::{BlockRef, FillId, LogId, Shares, Symbol};

/// A gap after a reconnect that makes deciding wait until it is swept, in blocks.
const GAP_BLOCKS_MAX: u64 = 64;
/// A pushed fill so far above the newest head told is no fill: nothing would ever sweep, and so reverse, its height.
const AHEAD_BLOCKS_MAX: u64 = 64;

impl Engine {
    pub(super) fn connected(&mut self, head: BlockRef) {
        self.head = self.head.max(head.number);
        let behind = self.cursor.map_or(u64::MAX, |cursor| head.number.saturating_sub(cursor.number));
        // A lower head than the one waited for: the higher one was a fork's, or never was.
        if self.reach.is_none_or(|reach| head.number < reach) || behind > GAP_BLOCKS_MAX {
            self.reach = Some(head.number);
        }
    }

    /// A push is folded above the cursor, or at a height whose hash the window knows; everything else rings the bell.
    pub(super) fn push(&mut self, push: Push, out: &mut Out) -> Result<(), Stop> {
        self.learn(push.tokens, out)?;
        for log in push.evidence {
            self.keep_evidence(log, out);
        }
        for event in push.events {
            match event {
                Event::Fill(fill) => match self.fills.get(&fill.id).map(|known| known.standing) {
                    Some(true) => {}
                    // Only the sweep brings one back; that it is pushed again is evidence.
                    Some(_) => self.keep_evidence(fill.log(), out),
                    None if self.stays_passed_over(&fill, out) => {}
                    None if self.may_stand(fill.block_number, fill.id)
                        && !self.stands_elsewhere(fill.id, &[]) =>
                    {
                        if self.cursor.is_some_and(|cursor| fill.block_number <= cursor.number) {
                            self.late.insert((fill.block_number, fill.id));
                            out.effects.push(Effect::Sweep);
                        }
                        self.enter(fill, Source::Push, out)?;
                    }
                    None => self.keep_evidence(fill.log(), out),
                },
                Event::Skipped(skipped) => out.writes.push(Write::Skipped(skipped)),
                // The sweep meets the same log and decides with the whole transaction in hand.
                Event::Pending(_) | Event::Dead(_) => out.effects.push(Effect::Sweep),
            }
        }
        Ok(())
    }

    fn may_stand(&self, number: u64, id: FillId) -> bool {
        let Some(cursor) = self.cursor else { return false };
        let in_window = |block: &BlockRef| block.number == number && block.hash == id.block_hash;
        let ahead = number > cursor.number && number <= self.head.saturating_add(AHEAD_BLOCKS_MAX);
        // The window's first block is only its base: fills at that height may be forgotten already.
        ahead || self.window.iter().skip(1).any(in_window)
    }

    /// Whether a fill of the same transaction stands in another block: a reorg moved it, and until the sweep has taken
    /// the old copy back the exposure would hold both, and an order would go out for the difference.
    /// `known` is what the ledger holds beyond those in memory.
    pub(super) fn stands_elsewhere(&self, id: FillId, known: &[FillState]) -> bool {
        self.fills.values().chain(known).any(|state| {
            state.standing && state.fill.id.tx_hash == id.tx_hash && state.fill.id.block_hash != id.block_hash
        })
    }

    /// Whether two fills of one transaction stand in different blocks: a sweep that ended below the old copy has brought
    /// the new one. Only for as long as the old one is out of its reach.
    pub(super) fn something_stands_twice(&self) -> bool {
        let mut blocks: BTreeMap<B256, B256> = BTreeMap::new();
        self.fills.values().filter(|state| state.standing).any(|state| {
            let FillId { tx_hash, block_hash, .. } = state.fill.id;
            *blocks.entry(tx_hash).or_insert(block_hash) != block_hash
        })
    }

    /// Whether the window, which has read that height, has another block there.
    pub(super) fn is_orphan(&self, number: u64, id: FillId) -> bool {
        self.window.iter().any(|block| block.number == number && block.hash != id.block_hash)
    }

    pub(super) fn replay(
        &mut self,
        push: Push,
        known: Vec<FillState>,
        reply: u64,
        out: &mut Out,
    ) -> Result<(), Stop> {
        let orphan = |event: &Event| match event {
            Event::Fill(fill) => self.is_orphan(fill.block_number, fill.id),
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
            Event::Fill(fill) => self.stands_elsewhere(fill.id, &known),
            Event::Pending(_) | Event::Skipped(_) | Event::Dead(_) => false,
        };
        if push.events.iter().any(elsewhere) {
            let told = "the ledger has this transaction in another block than the node says now; try again when the \
                        chain has settled, or with another node";
            out.effects.extend([Effect::Sweep, Effect::Reply(reply, Err(told.into()))]);
            return Ok(());
        }
        self.learn(push.tokens, out)?;
        for state in known {
            self.fills.entry(state.fill.id).or_insert(state);
        }
        let (mut added, mut standing, mut reversed, mut other) = (0_u32, 0_u32, 0_u32, 0_u32);
        let mut waits = None;
        let logs: BTreeSet<LogId> = push.events.iter().map(Event::log).collect();
        self.pending_over(&push.events, |pending| logs.contains(&pending.log()), out);
        let mut passed_over = 0_u32;
        for event in push.events {
            match event {
                Event::Fill(fill) => match self.fills.get(&fill.id).map(|state| state.standing) {
                    Some(true) => standing += 1,
                    Some(false) => reversed += 1,
                    None if self.stays_passed_over(&fill, out) => passed_over += 1,
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
    pub(super) fn sweep(&mut self, sweep: Sweep, out: &mut Out) -> Result<(), Stop> {
        if !self.fits(&sweep)? {
            self.dropped_sweeps += 1;
            out.effects.push(Effect::Sweep);
            return Ok(());
        }
        let Sweep { base, target, canonical, events, refuted, settled, tokens, head } = sweep;
        self.head = self.head.max(head);
        self.learn(tokens, out)?;
        let first = self.cursor.is_none();
        let range = base.number + 1..=target.number;
        self.pending_over(&events, |pending| range.contains(&pending.block_number), out);
        for event in events {
            self.told.insert(event.log(), event.log().block.hash);
            match event {
                Event::Fill(fill) => self.swept(fill, out)?,
                Event::Pending(pending) => self.swept_pending(pending, out)?,
                Event::Skipped(skipped) => out.writes.push(Write::Skipped(skipped)),
                Event::Dead(dead) => {
                    if !self.dead.insert((dead.block_number, dead.block_hash, dead.log_index)) {
                        continue;
                    }
                    self.dead_total += 1;
                    out.effects.push(Effect::Alert(format!(
                        "log {} in {} was not understood: {}",
                        dead.log_index, dead.tx_hash, dead.reason
                    )));
                    out.writes.push(Write::Dead(dead));
                }
            }
        }
        let gone: Vec<FillId> = self
            .standing_in(base.number, target.number)
            .filter(|state| {
                canonical.get(&state.fill.block_number) != Some(&state.fill.id.block_hash)
                    || refuted.contains(&state.fill.id)
            })
            .map(|state| state.fill.id)
            .collect();
        // A fork that is read in more than one piece: what left with the first may be back in the last.
        self.half_read = target.number < head && (self.half_read || !gone.is_empty());
        for id in gone {
            self.reverse(id, out)?;
        }
        // And what is back with the first may leave with the last.
        self.stands_twice = self.something_stands_twice();
        self.window.retain(|block| block.number < base.number);
        self.window.push(base);
        self.window.extend(
            canonical
                .into_iter()
                .filter(|(number, _)| *number > base.number)
                .map(|(number, hash)| BlockRef { number, hash }),
        );
        let floor = target.number.saturating_sub(WINDOW_BLOCKS_MAX as u64);
        self.window.retain(|block| block.number >= floor);
        self.cursor = Some(target);
        out.writes.push(Write::Cursor { cursor: target, window: self.window.clone() });
        // Above the new cursor nothing is late: the sweep comes there anyway. (A branch may come back shorter.)
        self.late.retain(|(number, _)| *number > floor && *number <= base.number);
        self.dead.retain(|(number, _, _)| *number > floor);
        let heights: BTreeMap<u64, B256> =
            self.window.iter().map(|block| (block.number, block.hash)).collect();
        self.told.extend(settled.iter().filter_map(|log| Some((*log, *heights.get(&log.block.number)?))));
        // Below the first cursor's base nothing is ever read.
        self.let_go(&settled, if first { base.number } else { floor }, out);
        self.count_confirmed(out)?;
        self.fills.retain(|_, state| state.fill.block_number > floor || (state.standing && !state.counted));
        Ok(())
    }

    fn standing_in(&self, base: u64, target: u64) -> impl Iterator<Item = &FillState> {
        self.fills.values().filter(move |state| {
            state.standing && state.fill.block_number > base && state.fill.block_number <= target
        })
    }

    fn fits(&self, sweep: &Sweep) -> Result<bool, Stop> {
        let Sweep { base, target, canonical, events, refuted, .. } = sweep;
        if self.late.first().is_some_and(|(number, _)| *number <= base.number) {
            // Pushed since it was planned, at or below its base: it must be looked at before it is out of reach.
            return Ok(false);
        }
        if !self.settles(sweep) {
            return Ok(false);
        }
        let starts_here = match self.cursor {
            None => true,
            Some(cursor) => cursor == *base || self.window.contains(base),
        };
        if !starts_here {
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
        Ok(self.standing_in(base.number, target.number).all(|state| {
            match canonical.get(&state.fill.block_number) {
                None => false,
                Some(hash) => *hash != state.fill.id.block_hash || seen.contains(&state.fill.id),
            }
        }))
    }

    pub(super) fn swept(&mut self, fill: Fill, out: &mut Out) -> Result<(), Stop> {
        let Some(known) = self.fills.get_mut(&fill.id) else {
            if self.stays_passed_over(&fill, out) {
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
        if !known.standing {
            known.n += 1;
            known.standing = true;
            known.counted = false;
            let (id, n) = (fill.id, known.n);
            out.writes.push(Write::Entry { id, n, standing: true, source: Source::Sweep });
            self.note_traded(&fill);
            if self.policy.confirmations == 0 {
                self.count(id, out)?;
            }
        }
        Ok(())
    }

    pub(super) fn enter(&mut self, fill: Fill, source: Source, out: &mut Out) -> Result<(), Stop> {
        let id = fill.id;
        let position = self.positions.entry(fill.symbol.clone()).or_default();
        position.traded(fill.cash, fill.shares);
        self.note_traded(&fill);
        out.writes.push(Write::Fill(fill.clone()));
        out.writes.push(Write::Entry { id, n: 0, standing: true, source });
        self.fills.insert(id, FillState { fill, n: 0, standing: true, counted: false });
        self.fills_total += 1;
        if self.policy.confirmations == 0 { self.count(id, out) } else { self.count_confirmed(out) }
    }

    fn count(&mut self, id: FillId, out: &mut Out) -> Result<(), Stop> {
        let Some(state) = self.fills.get_mut(&id) else { return Ok(()) };
        state.counted = true;
        out.writes.push(Write::Count { id, n: state.n });
        let (symbol, shares) = (state.fill.symbol.clone(), state.fill.signed_shares());
        self.move_fills(&symbol, shares)
    }

    /// With `CONFIRMATIONS` an entry counts once it was swept (it is at or below the cursor, and stands) deep enough.
    fn count_confirmed(&mut self, out: &mut Out) -> Result<(), Stop> {
        let (Some(cursor), confirmations) = (self.cursor, self.policy.confirmations) else { return Ok(()) };
        let ripe: Vec<FillId> = self
            .fills
            .values()
            .filter(|state| state.standing && !state.counted)
            .filter(|state| !self.late.contains(&(state.fill.block_number, state.fill.id)))
            .filter(|state| state.fill.block_number.saturating_add(confirmations) <= cursor.number)
            .map(|state| state.fill.id)
            .collect();
        ripe.into_iter().try_for_each(|id| self.count(id, out))
    }

    /// A fill that left the chain is followed by its opposite; one that had not counted moves nothing.
    fn reverse(&mut self, id: FillId, out: &mut Out) -> Result<(), Stop> {
        #[cfg(feature = "mutants")]
        if crate::mutants::is(crate::mutants::Sabotage::DropReversal) {
            return Ok(());
        }
        let Some(state) = self.fills.get_mut(&id) else { return Ok(()) };
        state.n += 1;
        state.standing = false;
        self.recent.remove(&id);
        self.reversals_total += 1;
        out.writes.push(Write::Entry { id, n: state.n, standing: false, source: Source::Sweep });
        if !state.counted {
            return Ok(());
        }
        out.writes.push(Write::Count { id, n: state.n });
        let (symbol, shares) = (state.fill.symbol.clone(), state.fill.signed_shares().negated());
        self.move_fills(&symbol, shares)
    }

    fn move_fills(&mut self, symbol: &Symbol, shares: Shares) -> Result<(), Stop> {
        let position = self.positions.entry(symbol.clone()).or_default();
        let moved = position.fills.checked_add(shares);
        position.fills =
            moved.ok_or_else(|| Stop::Bug(format!("the sum of {symbol}'s fills leaves the range")))?;
        position
            .exposure()
            .map(|_| ())
            .ok_or_else(|| Stop::Bug(format!("{symbol}'s exposure leaves the range")))
    }

    pub(super) fn learn(&mut self, tokens: Vec<TokenFact>, out: &mut Out) -> Result<(), Stop> {
        for fact in tokens {
            match self.tokens.get(&fact.address) {
                Some(known) if *known == fact => {}
                Some(known) if fact.lists(&known.kind, known.decimals) => {
                    out.writes.push(Write::Token(fact.clone()));
                    self.tokens.insert(fact.address, fact);
                }
                Some(known) => {
                    return Err(Stop::Config(format!(
                        "token {} was {:?} with {} decimals and is now {:?} with {}; a token's meaning never changes \
                         in one ledger: correct EQUITIES or CASH, or start a new ledger",
                        fact.address, known.kind, known.decimals, fact.kind, fact.decimals
                    )));
                }
                None => {
                    out.writes.push(Write::Token(fact.clone()));
                    self.tokens.insert(fact.address, fact);
                }
            }
        }
        Ok(())
    }
}

/// The block's time is told by some nodes and not by others, and only by some calls: it is not part of the content.
fn same_content(known: &Fill, fill: &Fill) -> bool {
    Fill { block_time: None, ..known.clone() } == Fill { block_time: None, ..fill.clone() }
}
