//! Pushed logs that no answer has shown or denied yet (`protocol.md` 1.1).
//!
//! A node that pushes a log may leave it out of its answers for a while, and a full bloom does not tell. So the place of
//! each pushed log that is ours, or may be, is kept, in the ledger too, and no sweep is taken that passes it unsettled.
//!
//! Invariant: the cursor is never at or past the block of a log that is kept here, unless it was there when the log was
//! pushed; then the sweep looks back.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

use super::chain_state::ChainState;
use super::{Effect, StepOutput};
use crate::ports::chain::Sweep;
use crate::ports::records::Write;
use crate::units::{BlockRef, LogId};

/// How far above the newest head told a pushed log may be: that head may be old, but one that is higher still is nowhere.
const HEIGHTS_AHEAD_MAX: u64 = 4_096;
/// Pushed logs kept at once. An honest node is thousands below; what a lying one pushes beyond it only rings the bell.
const EVIDENCE_MAX: usize = 65_536;

/// The first place in a block above `number`, for ranges.
const fn above(number: u64) -> LogId {
    let block = BlockRef { number: number.saturating_add(1), hash: B256::ZERO };
    LogId { block, tx_hash: B256::ZERO, log_index: 0 }
}

/// What was pushed, and what sweeps told.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Pushed logs that no answer has shown or denied.
    pushed: BTreeSet<LogId>,
    /// Logs pushed beyond what is kept of them, since the start.
    lost: u64,
    /// Logs above the window's first block that a sweep told of or denied, and the block that was canonical at their height.
    told: BTreeMap<LogId, B256>,
}

impl Evidence {
    pub(super) fn new(pushed: Vec<LogId>) -> Self {
        Self { pushed: pushed.into_iter().collect(), ..Self::default() }
    }

    /// Keeps the place of a pushed log, unless the sweep has told of it or will never come to it.
    pub(super) fn keep(&mut self, log: LogId, chain: &ChainState, out: &mut StepOutput) {
        out.effects.push(Effect::Sweep);
        if self.pushed.contains(&log) || self.was_told(log, chain) || !is_in_reach(log, chain) {
            return;
        }
        if self.pushed.len() >= EVIDENCE_MAX {
            self.lost = self.lost.saturating_add(1);
            if self.lost == 1 {
                out.effects.push(Effect::Alert(format!(
                    "more than {EVIDENCE_MAX} pushed logs wait for an answer of the node; further ones are left to the \
                     sweep alone"
                )));
            }
            return;
        }
        self.pushed.insert(log);
        out.writes.push(Write::Pushed(log));
    }

    /// A sweep tells of a log.
    pub(super) fn tell(&mut self, log: LogId) {
        self.told.insert(log, log.block.hash);
    }

    /// Whether a sweep has told of the log or denied it, and its height is still on that block.
    fn was_told(&self, log: LogId, chain: &ChainState) -> bool {
        let hash_now = chain.hash_at(log.block.number);
        hash_now.is_some() && self.told.get(&log).copied() == hash_now
    }

    /// Whether this sweep settles what was pushed in its range, and begins below what was pushed late. `waiting` are the
    /// fills without an amount.
    pub(super) fn is_settled_by(&self, sweep: &Sweep, chain: &ChainState, waiting: &[LogId]) -> bool {
        let (base, target) = (sweep.base.number, sweep.target.number);
        // What is below the base of a first sweep is read by nobody.
        if chain.cursor().is_some() && self.first().is_some_and(|number| number <= base) {
            return false;
        }
        let in_range = |log: &&LogId| log.block.number > base && log.block.number <= target;
        let mut open = self.pushed.iter().chain(waiting).filter(in_range).peekable();
        if open.peek().is_none() {
            return true;
        }
        let settled: BTreeSet<LogId> = sweep.settled.iter().copied().collect();
        open.all(|log| settled.contains(log))
    }

    fn first(&self) -> Option<u64> {
        self.pushed.first().map(|log| log.block.number)
    }

    /// Every log that is kept, ascending.
    pub(super) fn pushed(&self) -> impl Iterator<Item = LogId> {
        self.pushed.iter().copied()
    }

    /// Logs that were told of in another block than their own: they left the chain, or are of another branch.
    pub(super) fn left(&self) -> impl Iterator<Item = LogId> {
        self.told.iter().filter(|(log, hash)| log.block.hash != **hash).map(|(log, _)| *log)
    }

    /// The lowest block at or below the cursor with a log that is kept.
    pub(super) fn late_from(&self, chain: &ChainState) -> Option<u64> {
        self.first().filter(|number| chain.has_passed(*number))
    }

    /// Lets go of what a sweep settled, and of what is out of any sweep's reach, at or below `floor`. The window is the one
    /// after that sweep.
    pub(super) fn let_go(&mut self, settled: &[LogId], floor: u64, chain: &ChainState, out: &mut StepOutput) {
        let heights: BTreeMap<u64, B256> =
            chain.window().iter().map(|block| (block.number, block.hash)).collect();
        self.told.extend(settled.iter().filter_map(|log| Some((*log, *heights.get(&log.block.number)?))));
        for log in settled {
            if self.pushed.remove(log) {
                out.writes.push(Write::Settled(*log));
            }
        }
        let kept = self.pushed.split_off(&above(floor));
        let gone = std::mem::replace(&mut self.pushed, kept);
        out.writes.extend(gone.into_iter().map(Write::Settled));
        self.told = self.told.split_off(&above(floor));
    }
}

/// Above the window's base, where a sweep may still come by. Whether its block is canonical does not matter: after a fork
/// the new branch's logs are pushed before the sweep has noticed.
fn is_in_reach(log: LogId, chain: &ChainState) -> bool {
    let above_base = match chain.cursor() {
        Some(_) => chain.base().is_some_and(|base| log.block.number > base.number),
        None => true,
    };
    above_base && log.block.number <= chain.head().saturating_add(HEIGHTS_AHEAD_MAX)
}
