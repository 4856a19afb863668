//! How far the chain is read, and what is known of it: cursor, window, heads, tokens.
//!
//! Invariant: [`ChainState::advance`] is the one that moves the cursor, and only a sweep calls it.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};

use super::{StepOutput, Stop};
use crate::fills::{DeadEvent, TokenFact};
use crate::ports::chain::{ChainView, WINDOW_BLOCKS_MAX};
use crate::ports::records::Write;
use crate::units::{BlockRef, FillId};

/// A gap after a reconnect that makes deciding wait until it is swept, in blocks.
const GAP_BLOCKS_MAX: u64 = WINDOW_BLOCKS_MAX as u64;
/// A pushed fill so far above the newest head told is no fill: nothing would ever sweep, and so reverse, its height.
const AHEAD_BLOCKS_MAX: u64 = WINDOW_BLOCKS_MAX as u64;

/// What is known of the chain.
#[derive(Debug, Default)]
pub(super) struct ChainState {
    cursor: Option<BlockRef>,
    window: Vec<BlockRef>,
    tokens: BTreeMap<Address, TokenFact>,
    /// The highest head told since the start.
    head: u64,
    /// Deciding waits until the cursor is here; none before the first connection.
    reach: Option<u64>,
    /// A sweep took fills back and did not come to the head: nothing is decided before one does.
    half_read: bool,
    /// Fills of one transaction stand in two blocks, as the last sweep left them.
    stands_twice: bool,
    /// Sweeps that did not fit, since the start.
    dropped_sweeps: u64,
    /// Logs not understood above the window's first block, so that a fork does not tell of them again.
    dead: BTreeSet<(u64, B256, u64)>,
    dead_total: u64,
}

impl ChainState {
    /// From what the ledger holds.
    pub(super) fn new(chain: ChainView, dead_total: u64, stands_twice: bool) -> Self {
        let tokens = chain.tokens.into_iter().map(|fact| (fact.address, fact)).collect();
        let ChainView { cursor, window, .. } = chain;
        Self { cursor, window, tokens, dead_total, stands_twice, ..Self::default() }
    }

    pub(super) const fn cursor(&self) -> Option<BlockRef> {
        self.cursor
    }

    pub(super) fn window(&self) -> &[BlockRef] {
        &self.window
    }

    /// The window's first block, which is only its base.
    pub(super) fn base(&self) -> Option<BlockRef> {
        self.window.first().copied()
    }

    pub(super) const fn head(&self) -> u64 {
        self.head
    }

    pub(super) const fn dead_total(&self) -> u64 {
        self.dead_total
    }

    pub(super) const fn dropped_sweeps(&self) -> u64 {
        self.dropped_sweeps
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = &TokenFact> {
        self.tokens.values()
    }

    /// A connection is up, and its node is there.
    pub(super) fn connected(&mut self, head: u64) {
        self.head = self.head.max(head);
        let behind = self.cursor.map_or(u64::MAX, |cursor| head.saturating_sub(cursor.number));
        // A lower head than the one waited for: the higher one was a fork's, or never was.
        if self.reach.is_none_or(|reach| head < reach) || behind > GAP_BLOCKS_MAX {
            self.reach = Some(head);
        }
    }

    /// A sweep was read before this head.
    pub(super) fn saw_head(&mut self, head: u64) {
        self.head = self.head.max(head);
    }

    pub(super) const fn drop_sweep(&mut self) {
        self.dropped_sweeps += 1;
    }

    /// The canonical block known at a height of the window.
    pub(super) fn hash_at(&self, number: u64) -> Option<B256> {
        self.window.iter().find(|block| block.number == number).map(|block| block.hash)
    }

    /// Whether the window, which has read that height, has another block there.
    pub(super) fn is_orphan(&self, number: u64, id: FillId) -> bool {
        self.hash_at(number).is_some_and(|hash| hash != id.block_hash)
    }

    /// Whether the window has that block.
    pub(super) fn has_block(&self, number: u64, hash: B256) -> bool {
        self.window.contains(&BlockRef { number, hash })
    }

    /// Whether a pushed fill of that block may be booked before a sweep comes by.
    pub(super) fn may_stand(&self, number: u64, id: FillId) -> bool {
        let Some(cursor) = self.cursor else { return false };
        let in_window = |block: &BlockRef| block.number == number && block.hash == id.block_hash;
        let ahead = number > cursor.number && number <= self.head.saturating_add(AHEAD_BLOCKS_MAX);
        // The window's first block is only its base: fills at that height may be forgotten already.
        ahead || self.window.iter().skip(1).any(in_window)
    }

    /// Whether the cursor has passed that height.
    pub(super) fn has_passed(&self, number: u64) -> bool {
        self.cursor.is_some_and(|cursor| number <= cursor.number)
    }

    /// Whether a sweep may begin after that block.
    pub(super) fn begins_at(&self, base: &BlockRef) -> bool {
        self.cursor.is_none_or(|cursor| cursor == *base || self.window.contains(base))
    }

    /// A sweep from `base` to `target` was folded: the cursor and the window after it. The height at and below which
    /// nothing is in anybody's reach.
    pub(super) fn advance(
        &mut self,
        base: BlockRef,
        target: BlockRef,
        canonical: BTreeMap<u64, B256>,
        out: &mut StepOutput,
    ) -> u64 {
        self.window.retain(|block| block.number < base.number);
        self.window.push(base);
        let read = canonical.into_iter().filter(|(number, _)| *number > base.number);
        self.window.extend(read.map(|(number, hash)| BlockRef { number, hash }));
        let floor = target.number.saturating_sub(WINDOW_BLOCKS_MAX as u64);
        self.window.retain(|block| block.number >= floor);
        self.cursor = Some(target);
        out.writes.push(Write::Cursor { cursor: target, window: self.window.clone() });
        self.dead.retain(|(number, _, _)| *number > floor);
        floor
    }

    /// How a sweep up to `target` left the fills: `took_back` some, and `stands_twice` those of one transaction.
    pub(super) const fn left(&mut self, target: u64, head: u64, took_back: bool, stands_twice: bool) {
        // A fork that is read in more than one piece: what left with the first may be back in the last.
        self.half_read = target < head && (self.half_read || took_back);
        // And what is back with the first may leave with the last.
        self.stands_twice = stands_twice;
    }

    /// Whether this log was not met before; then it is counted.
    pub(super) fn note_dead(&mut self, dead: &DeadEvent) -> bool {
        let is_new = self.dead.insert((dead.block_number, dead.block_hash, dead.log_index));
        self.dead_total += u64::from(is_new);
        is_new
    }

    /// Keeps what tokens are. What one means never changes in a ledger, but as [`TokenFact::may_follow`] says.
    pub(super) fn learn(&mut self, tokens: Vec<TokenFact>, out: &mut StepOutput) -> Result<(), Stop> {
        for fact in tokens {
            match self.tokens.get(&fact.address) {
                Some(known) if *known == fact => continue,
                Some(known) if !fact.may_follow(known) => {
                    return Err(Stop::Config(format!(
                        "token {} was {:?} with {} decimals and is now {:?} with {}; a token's meaning never changes \
                         in one ledger: correct EQUITIES or CASH, or start a new ledger",
                        fact.address, known.kind, known.decimals, fact.kind, fact.decimals
                    )));
                }
                Some(_) | None => {}
            }
            out.writes.push(Write::Token(fact.clone()));
            self.tokens.insert(fact.address, fact);
        }
        Ok(())
    }

    /// What must be read before anything may be decided, in words; empty when nothing must (`protocol.md` 2).
    pub(super) fn awaited(&self) -> Vec<String> {
        let mut waits = Vec::new();
        if self.half_read {
            waits.push("the rest of a fork to be read".into());
        }
        if self.stands_twice {
            waits.push("a transaction that a fork moved to stand in one block only".into());
        }
        match (self.reach, self.cursor) {
            (None, _) => waits.push("a connection to the chain".into()),
            (Some(reach), cursor) => {
                let at = cursor.map_or(0, |cursor| cursor.number);
                if cursor.is_none() || at < reach {
                    waits.push(format!("the sweep to reach block {reach} (it is at {at})"));
                }
            }
        }
        waits
    }

    /// Whether what the ledger holds is what is open: the sweep has come to the head.
    pub(super) fn is_caught_up(&self) -> bool {
        let reached =
            matches!((self.reach, self.cursor), (Some(reach), Some(cursor)) if cursor.number >= reach);
        reached && !self.half_read
    }
}
