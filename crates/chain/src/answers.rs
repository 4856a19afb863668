//! What a node said of single blocks, by their hashes, for as long as it is not settled.
//!
//! A hash names one content for ever, so an answer for it outlives the attempt and the connection: what was read before
//! a refusal is not asked for again. And where nothing proves an answer whole (a busy chain's blooms prove nothing), it is
//! not believed by being asked for once: an index that is behind answers "nothing" without an error. Such a block is asked
//! about again when the chain has moved on (decision 0052); what that adds makes the sweep look back to it.
//!
//! It does not know who asks. Invariant: at most [`BLOCKS_MAX`] blocks, and none more than the window below the cursor.

use std::collections::BTreeMap;

use alloy::primitives::B256;

use super::abi::RawLog;
use super::contents::{either, one_log_a_place};
use super::trouble::Trouble;
use super::window::WINDOW_DEPTH_BLOCKS;
use super::wire::Header;
use super::{ChainView, WINDOW_BLOCKS_MAX};
use crate::units::{BlockRef, FillId, Millis};

/// Two windows: what an attempt reads, and what is passed and may be asked again.
const BLOCKS_MAX: usize = 2 * WINDOW_BLOCKS_MAX;
/// Seconds by the chain's own clock after which an index has caught up: a lag of up to a second is seen, and blocks of
/// the same second may be a second apart.
const RIPE_S: u64 = 2;
/// The same in blocks, for a chain whose clock stands still.
const RIPE_BLOCKS: u64 = 8;
/// The same by our clock, where the chain itself stands still.
pub(super) const AGAIN_MS: i64 = 3_000;
/// Seconds by the chain's own clock after which an answer that lacks a pushed log is believed, where nothing can prove it.
const OLD_S: u64 = 60;
/// Blocks below the cursor that a start asks about once more: the end of the last process may have come first.
const ADOPTED_MAX: usize = 8;
/// How often the sweep looks back for one finding; a range is dropped when a push comes in between.
const LOOKS_BACK_MAX: u32 = 5;

/// An answer for one block.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) block: BlockRef,
    /// The block's own time, in seconds since 1970.
    pub(super) timestamp: u64,
    pub(super) logs: Vec<RawLog>,
    /// Whether it needs to be asked no more: the bloom, the receipts or a second answer in its time say that it is whole.
    pub(super) proven: bool,
}

impl Answer {
    /// Whether the node has had the time to say all of it: the second question is worth asking.
    pub(super) const fn is_ripe(&self, head: &Header) -> bool {
        head.number > self.block.number
            && (head.timestamp >= self.timestamp.saturating_add(RIPE_S)
                || head.number >= self.block.number.saturating_add(RIPE_BLOCKS))
    }

    /// With what another answer shows beside it; whether that was anything.
    pub(super) fn add(&mut self, logs: Vec<RawLog>) -> Result<bool, Trouble> {
        let known = self.logs.len();
        let all = either(self.logs.clone(), logs);
        one_log_a_place(&all)?;
        (self.logs, self.proven) = (all, true);
        Ok(self.logs.len() > known)
    }
}

#[derive(Debug)]
struct Kept {
    answer: Answer,
    asked_at: Millis,
    /// Asked again before the chain had moved on.
    asked_early: bool,
    /// Of an earlier process: what it was told is not known.
    adopted: bool,
}

/// A block at or below the cursor of which a later answer showed more.
#[derive(Debug)]
struct Finding {
    number: u64,
    /// The fills of the range that looked back for it, once there was one.
    handed: Option<Vec<FillId>>,
    times: u32,
}

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Answers {
    blocks: BTreeMap<(u64, B256), Kept>,
    head: Option<Header>,
    finding: Option<Finding>,
    begun: bool,
}

impl Answers {
    /// What was said of this block.
    pub(super) fn of(&self, block: BlockRef) -> Option<&Answer> {
        let kept = self.blocks.get(&(block.number, block.hash)).filter(|kept| !kept.adopted)?;
        Some(&kept.answer)
    }

    /// Whether the chain has gone on for so long since this block that no index is still behind it.
    pub(super) fn is_old(&self, header: &Header) -> bool {
        self.head.as_ref().is_some_and(|head| {
            head.timestamp >= header.timestamp.saturating_add(OLD_S)
                || head.number >= header.number.saturating_add(WINDOW_DEPTH_BLOCKS)
        })
    }

    /// Keeps an answer, if there is room.
    pub(super) fn keep(&mut self, answer: Answer, now: Millis) {
        let place = (answer.block.number, answer.block.hash);
        let asked_at = self.blocks.get(&place).map_or(now, |kept| kept.asked_at);
        if self.blocks.len() < BLOCKS_MAX || self.blocks.contains_key(&place) {
            self.blocks.insert(place, Kept { answer, asked_at, asked_early: false, adopted: false });
        }
    }

    /// A look begins: forgets what the cursor has passed and what has left the chain, and, the first time, takes over
    /// the last blocks of an earlier process.
    pub(super) fn begin(&mut self, view: &ChainView, head: &Header) {
        self.head = Some(head.clone());
        let begins = !std::mem::replace(&mut self.begun, true);
        let Some(cursor) = view.cursor else { return };
        if begins {
            let last = view.window.iter().rev().take(ADOPTED_MAX).map(|block| Kept {
                answer: Answer { block: *block, timestamp: 0, logs: vec![], proven: false },
                asked_at: Millis::default(),
                asked_early: false,
                adopted: true,
            });
            self.blocks.extend(last.map(|kept| ((kept.answer.block.number, kept.answer.block.hash), kept)));
        }
        if let Some(finding) = &self.finding {
            let booked = |id: &FillId| view.standing.iter().any(|(_, standing)| standing == id);
            let done = finding.handed.as_ref().is_some_and(|handed| handed.iter().all(booked));
            if done || finding.times >= LOOKS_BACK_MAX {
                self.finding = None;
            }
        }
        // A pushed fill that no answer showed: they are all asked for anew.
        let late = view.late_from.unwrap_or(u64::MAX);
        let needed = self.finding.as_ref().map_or(u64::MAX, |finding| finding.number);
        let floor = cursor.number.saturating_sub(WINDOW_DEPTH_BLOCKS);
        let in_window = |number: u64, hash: B256| view.window.contains(&BlockRef { number, hash });
        self.blocks.retain(|(number, hash), kept| {
            let passed = *number <= cursor.number;
            let wanted = !kept.answer.proven || *number >= needed;
            *number < late && (!passed || (*number > floor && wanted && in_window(*number, *hash)))
        });
    }

    /// Blocks to be asked about again now, ascending.
    pub(super) fn due(&self, cursor: Option<BlockRef>, now: Millis) -> Vec<BlockRef> {
        let (Some(head), Some(cursor)) = (&self.head, cursor) else { return vec![] };
        let passed = self.blocks.values().filter(|kept| kept.answer.block.number <= cursor.number);
        let due = passed.filter(|kept| {
            // A clock that was set back makes it due: asking once too often is harmless.
            let waited = !(0..AGAIN_MS).contains(&now.since(kept.asked_at));
            !kept.answer.proven && ((waited && !kept.asked_early) || kept.answer.is_ripe(head))
        });
        due.map(|kept| kept.answer.block).collect()
    }

    /// Whether something waits to be asked about again.
    pub(super) fn is_waiting(&self) -> bool {
        self.blocks.values().any(|kept| !kept.answer.proven)
    }

    /// Another answer for a block, in its time.
    pub(super) fn told_again(&mut self, block: BlockRef, logs: Vec<RawLog>) -> Result<(), Trouble> {
        let Some(kept) = self.blocks.get_mut(&(block.number, block.hash)) else { return Ok(()) };
        kept.adopted = false;
        // Only an answer after the next head is a proof: an index may be a whole block behind.
        let ripe = self.head.as_ref().is_some_and(|head| kept.answer.is_ripe(head));
        kept.asked_early = true;
        let more = kept.answer.add(logs)?;
        kept.answer.proven = ripe;
        if more {
            let number = self.finding.as_ref().map_or(block.number, |known| known.number.min(block.number));
            self.finding = Some(Finding { number, handed: None, times: 0 });
            log::info!("block {block}: eth_getLogs shows more than at first; looking back");
        }
        Ok(())
    }

    /// The lowest block at or below the cursor that the sweep must look back to.
    pub(super) fn look_back(&self) -> Option<u64> {
        self.finding.as_ref().map(|finding| finding.number)
    }

    /// A range from `base` was read, with these fills.
    pub(super) fn handed(&mut self, base: u64, fills: impl Iterator<Item = (u64, FillId)>) {
        if let Some(finding) = self.finding.as_mut().filter(|finding| base < finding.number) {
            finding.times += 1;
            let above = fills.filter(|(number, _)| *number >= finding.number);
            finding.handed = Some(above.map(|(_, id)| id).collect());
        }
    }
}
