//! The last blocks of the chain as pure values: do they link, which are still canonical, what is kept.
//!
//! It refuses to know a node. Invariant: a window is ascending, ends with the cursor, and holds at most
//! [`WINDOW_BLOCKS_MAX`] blocks above its base.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

use super::WINDOW_BLOCKS_MAX;
use crate::units::{BlockRef, FillId};

/// [`WINDOW_BLOCKS_MAX`] as a distance between heights.
pub const WINDOW_DEPTH_BLOCKS: u64 = WINDOW_BLOCKS_MAX as u64;

/// What to read next, from `base` to a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The node is not past the base.
    Nothing,
    /// The head is near: read `base + 1 ..= target` block by block, by hash.
    Blocks {
        /// The last block.
        target: u64,
    },
    /// The head is far: read `base + 1 ..= target` as a range, by height.
    Range {
        /// The last block; at least 64 below the head.
        target: u64,
    },
}

/// Plans one read. `range_blocks` is the largest range the node is asked for (at least one is asked).
#[must_use]
pub fn reach(base: u64, head: u64, range_blocks: u64) -> Reach {
    let behind = head.saturating_sub(base);
    if behind == 0 {
        Reach::Nothing
    } else if behind <= WINDOW_DEPTH_BLOCKS {
        Reach::Blocks { target: head }
    } else {
        let oldest_near = head - WINDOW_DEPTH_BLOCKS;
        Reach::Range { target: base.saturating_add(range_blocks.max(1)).min(oldest_near) }
    }
}

/// The first of `blocks` (each with its parent's hash, ascending without a gap from `base.number + 1`) whose parent is
/// not the block before it; none where all link.
#[must_use]
pub fn first_unlinked(base: BlockRef, blocks: &[(BlockRef, B256)]) -> Option<BlockRef> {
    let mut before = base;
    for (block, parent) in blocks {
        if *parent != before.hash || Some(block.number) != before.number.checked_add(1) {
            return Some(*block);
        }
        before = *block;
    }
    None
}

/// The heights in `above + 1 ..= target` at which a fill stands: a range must know their canonical hashes.
#[must_use]
pub fn heights_with_fills(standing: &[(u64, FillId)], above: u64, target: u64) -> BTreeSet<u64> {
    standing.iter().map(|(number, _)| *number).filter(|n| (above + 1..=target).contains(n)).collect()
}

/// The window after a range from `base` with these canonical hashes was committed: what was at or below the base, then
/// what was read; at most 64 blocks and the highest one below them.
#[must_use]
pub fn after(
    window: &[BlockRef],
    base: BlockRef,
    target: BlockRef,
    canonical: &BTreeMap<u64, B256>,
) -> Vec<BlockRef> {
    let mut kept: BTreeMap<u64, B256> = BTreeMap::new();
    kept.extend(window.iter().filter(|block| block.number < base.number).map(|b| (b.number, b.hash)));
    kept.insert(base.number, base.hash);
    kept.extend(canonical.range(..=target.number).filter(|(n, _)| **n > base.number));
    kept.insert(target.number, target.hash);
    let oldest = target.number.saturating_sub(WINDOW_DEPTH_BLOCKS);
    let new_base = kept.range(..=oldest).next_back().map_or(0, |(number, _)| *number);
    kept.range(new_base..).map(|(&number, &hash)| BlockRef { number, hash }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(number: u64, fork: u8) -> BlockRef {
        let mut hash = B256::repeat_byte(fork);
        hash[..8].copy_from_slice(&number.to_be_bytes());
        BlockRef { number, hash }
    }

    #[test]
    fn near_heads_are_read_block_by_block_and_far_ones_in_ranges() {
        assert_eq!(reach(10, 10, 1000), Reach::Nothing);
        assert_eq!(reach(10, 9, 1000), Reach::Nothing);
        assert_eq!(reach(10, 11, 1000), Reach::Blocks { target: 11 });
        assert_eq!(reach(10, 74, 1000), Reach::Blocks { target: 74 });
        assert_eq!(reach(10, 75, 1000), Reach::Range { target: 11 });
        assert_eq!(reach(10, 5000, 1000), Reach::Range { target: 1010 });
        assert_eq!(reach(10, 5000, 0), Reach::Range { target: 11 });
        assert_eq!(reach(u64::MAX - 1, u64::MAX, 1000), Reach::Blocks { target: u64::MAX });
    }

    #[test]
    fn a_chain_links_or_names_its_first_break() {
        let base = block(5, 1);
        let good = vec![(block(6, 1), block(5, 1).hash), (block(7, 1), block(6, 1).hash)];
        assert_eq!(first_unlinked(base, &good), None);
        assert_eq!(first_unlinked(base, &[]), None);
        let broken = vec![(block(6, 1), block(5, 1).hash), (block(7, 2), block(6, 2).hash)];
        assert_eq!(first_unlinked(base, &broken), Some(block(7, 2)));
        assert_eq!(first_unlinked(block(5, 2), &good), Some(block(6, 1)));
        let gap = vec![(block(7, 1), block(5, 1).hash)];
        assert_eq!(first_unlinked(base, &gap), Some(block(7, 1)));
    }

    proptest! {
        #[test]
        fn a_window_is_ascending_bounded_and_ends_with_the_cursor(
            steps in proptest::collection::vec((0u64..70, 1u64..200, 1u8..4), 1..30)
        ) {
            let mut window = vec![block(100, 1)];
            for (back, forward, fork) in steps {
                let cursor = *window.last().unwrap();
                let base = *window.iter().rev().find(|b| b.number + back <= cursor.number).unwrap_or(&window[0]);
                let target = block(base.number + forward, fork);
                let canonical: BTreeMap<u64, B256> = if forward <= WINDOW_DEPTH_BLOCKS {
                    (base.number + 1..=target.number).map(|n| (n, block(n, fork).hash)).collect()
                } else {
                    BTreeMap::from([(target.number, target.hash)])
                };
                let old = std::mem::take(&mut window);
                window = after(&old, base, target, &canonical);
                prop_assert_eq!(window.last(), Some(&target));
                prop_assert!(window.is_sorted_by(|a, b| a.number < b.number));
                prop_assert!(window.len() <= WINDOW_BLOCKS_MAX + 1);
                // Every block that is kept was canonical: read now, or at or below the base and kept before.
                for kept in &window {
                    let read_now = canonical.get(&kept.number) == Some(&kept.hash);
                    prop_assert!(read_now || (kept.number <= base.number && old.contains(kept)));
                }
                // What a reorg of 64 may reach back to is there: no block at or below 64 back but one.
                let deep = window.iter().filter(|b| b.number + WINDOW_DEPTH_BLOCKS <= target.number).count();
                prop_assert!(deep <= 1);
            }
        }

        #[test]
        fn a_plan_never_passes_the_head_and_always_moves(base in 0u64..10_000, head in 0u64..10_000, range in 0u64..3000) {
            match reach(base, head, range) {
                Reach::Nothing => prop_assert!(head <= base),
                Reach::Blocks { target } => {
                    prop_assert!(target == head && target > base && target - base <= WINDOW_DEPTH_BLOCKS);
                }
                Reach::Range { target } => {
                    prop_assert!(target > base && target + WINDOW_DEPTH_BLOCKS <= head);
                    prop_assert!(target - base <= range.max(1));
                }
            }
        }
    }
}
