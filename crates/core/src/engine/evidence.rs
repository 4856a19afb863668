//! Pushed logs that no answer has shown or denied yet (`protocol.md` 1.1).
//!
//! A node that pushes a log may leave it out of its answers for a while, and a full bloom does not tell. So the place of
//! each pushed log that is ours, or may be, is kept, in the ledger too, and no sweep is taken that passes it unsettled.
//!
//! Invariant: the cursor is never at or past the block of a log that is kept here, unless it was there when the log was
//! pushed; then the sweep looks back.

use std::collections::BTreeSet;

use super::{Effect, Engine, Out};
use crate::ports::chain::Sweep;
use crate::ports::records::Write;
use crate::units::LogId;

/// How far above the newest head told a pushed log may be: that head may be old, but one that is higher still is nowhere.
const HEIGHTS_AHEAD_MAX: u64 = 4_096;
/// Pushed logs kept at once. An honest node is thousands below; what a lying one pushes beyond it only rings the bell.
const EVIDENCE_MAX: usize = 65_536;

impl Engine {
    /// Keeps the place of a pushed log, unless the sweep has told of it or will never come to it.
    pub(super) fn keep_evidence(&mut self, log: LogId, out: &mut Out) {
        out.effects.push(Effect::Sweep);
        if self.evidence.contains(&log) || self.told_of(log) || !self.is_in_reach(log) {
            return;
        }
        if self.evidence.len() >= EVIDENCE_MAX {
            self.evidence_lost = self.evidence_lost.saturating_add(1);
            if self.evidence_lost == 1 {
                out.effects.push(Effect::Alert(format!(
                    "more than {EVIDENCE_MAX} pushed logs wait for an answer of the node; further ones are left to the \
                     sweep alone"
                )));
            }
            return;
        }
        self.evidence.insert(log);
        out.writes.push(Write::Pushed(log));
    }

    /// Above the window's base, where a sweep may still come by. Whether its block is canonical does not matter: after a fork
    /// the new branch's logs are pushed before the sweep has noticed.
    fn is_in_reach(&self, log: LogId) -> bool {
        let above_base = match self.cursor {
            Some(_) => self.window.first().is_some_and(|base| log.block.number > base.number),
            None => true,
        };
        above_base && log.block.number <= self.head.saturating_add(HEIGHTS_AHEAD_MAX)
    }

    /// Whether a sweep has told of the log or denied it, and its height is still on that block.
    fn told_of(&self, log: LogId) -> bool {
        let hash_now =
            self.window.iter().find(|block| block.number == log.block.number).map(|block| block.hash);
        hash_now.is_some() && self.told.get(&log).copied() == hash_now
    }

    /// Whether this sweep settles what was pushed in its range, and begins below what was pushed late.
    pub(super) fn settles(&self, sweep: &Sweep) -> bool {
        let (base, target) = (sweep.base.number, sweep.target.number);
        let range = base + 1..=target;
        let settled = |log: &LogId| !range.contains(&log.block.number) || sweep.settled.contains(log);
        // What is below the base of a first sweep is read by nobody.
        let late = self.cursor.is_some() && self.evidence.first().is_some_and(|log| log.block.number <= base);
        !late && self.evidence.iter().all(settled) && self.pending.values().all(|fill| settled(&fill.log()))
    }

    /// What the sweep must settle where it comes by: pushed logs, the fills that wait, and what left the chain: if its block is
    /// back, so is it, for a hash names one content.
    pub(super) fn to_settle(&self, floor: u64) -> Vec<LogId> {
        let reversed = self.fills.values().filter(|state| !state.standing).map(|state| state.fill.log());
        let left = self.told.iter().filter(|(log, hash)| log.block.hash != **hash).map(|(log, _)| *log);
        let known = self.pending_logs().into_iter().chain(reversed).chain(left);
        let known = known.filter(|log| log.block.number > floor);
        self.evidence.iter().copied().chain(known).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The lowest block at or below the cursor with a log that is kept.
    pub(super) fn late_evidence(&self) -> Option<u64> {
        let cursor = self.cursor?;
        self.evidence.first().map(|log| log.block.number).filter(|number| *number <= cursor.number)
    }

    /// Lets go of what the sweep settled, and of what is out of any sweep's reach.
    pub(super) fn let_go(&mut self, settled: &[LogId], floor: u64, out: &mut Out) {
        for log in settled {
            if self.evidence.remove(log) {
                out.writes.push(Write::Settled(*log));
            }
        }
        let gone: Vec<LogId> =
            self.evidence.iter().take_while(|log| log.block.number <= floor).copied().collect();
        for log in gone {
            self.evidence.remove(&log);
            out.writes.push(Write::Settled(log));
        }
        self.told.retain(|log, _| log.block.number > floor);
    }
}
