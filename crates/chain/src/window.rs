//! The last blocks of the chain as pure values: do they link, which are still canonical, what is kept.
//!
//! It refuses to know a node. Invariant: a window is ascending, ends with the cursor, and holds at most
//! [`WINDOW_BLOCKS_MAX`] blocks above its base.

use std::collections::BTreeMap;

use alloy::primitives::B256;

use super::WINDOW_BLOCKS_MAX;
use crate::units::BlockRef;

/// [`WINDOW_BLOCKS_MAX`] as a distance between heights.
pub const WINDOW_DEPTH_BLOCKS: u64 = WINDOW_BLOCKS_MAX as u64;

/// What to read next, from `base` to a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The node is not past the base.
    Nothing,
    /// The head is near, or a fill stands right above the base: read `base + 1 ..= target` block by block, by hash.
    Blocks {
        /// The last block.
        target: u64,
    },
    /// The head is far: read `base + 1 ..= target` as a range, by height. None of the stops is in it.
    Range {
        /// The last block; at least 64 below the head.
        target: u64,
    },
}

/// Plans one read. `range_blocks` is the largest range the node is asked for (at least one is asked).
///
/// A range is linked to nothing. So it begins only after a base that was far below the head when it was read (`settled`),
/// and ends below the lowest of `stops`, the heights at which a fill stands already or a log was pushed: whether that base
/// and that block are canonical, only parents that link can say. There blocks are read one by one, as they are near the head.
#[must_use]
pub fn reach(base: u64, head: u64, range_blocks: u64, stops: &[u64], settled: bool) -> Reach {
    let behind = head.saturating_sub(base);
    if behind == 0 {
        Reach::Nothing
    } else if behind <= WINDOW_DEPTH_BLOCKS {
        Reach::Blocks { target: head }
    } else {
        let oldest_near = head - WINDOW_DEPTH_BLOCKS;
        let lowest_stop = stops.iter().copied().filter(|number| *number > base).min();
        let below_stop = lowest_stop.map_or(oldest_near, |stop| oldest_near.min(stop - 1));
        if settled && below_stop > base {
            Reach::Range { target: base.saturating_add(range_blocks.max(1)).min(below_stop) }
        } else {
            Reach::Blocks { target: base.saturating_add(WINDOW_DEPTH_BLOCKS) }
        }
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
        assert_eq!(reach(10, 10, 1000, &[], true), Reach::Nothing);
        assert_eq!(reach(10, 9, 1000, &[], true), Reach::Nothing);
        assert_eq!(reach(10, 11, 1000, &[], true), Reach::Blocks { target: 11 });
        assert_eq!(reach(10, 74, 1000, &[], true), Reach::Blocks { target: 74 });
        assert_eq!(reach(10, 75, 1000, &[], true), Reach::Range { target: 11 });
        assert_eq!(reach(10, 5000, 1000, &[], true), Reach::Range { target: 1010 });
        assert_eq!(reach(10, 5000, 0, &[], true), Reach::Range { target: 11 });
        assert_eq!(reach(u64::MAX - 1, u64::MAX, 1000, &[], true), Reach::Blocks { target: u64::MAX });
    }

    #[test]
    fn no_range_holds_a_stop() {
        let standing = [300, 250, 10];
        assert_eq!(reach(10, 5000, 1000, &standing, true), Reach::Range { target: 249 });
        assert_eq!(reach(10, 5000, 100, &standing, true), Reach::Range { target: 110 });
        assert_eq!(reach(249, 5000, 1000, &standing, true), Reach::Blocks { target: 313 });
        assert_eq!(reach(249, 260, 1000, &standing, true), Reach::Blocks { target: 260 });
        assert_eq!(reach(313, 5000, 1000, &standing, true), Reach::Range { target: 1313 });
        assert_eq!(reach(10, 320, 1000, &standing, true), Reach::Range { target: 249 });
        assert_eq!(reach(10, 300, 1000, &standing, true), Reach::Range { target: 236 });
        // Nor does one begin after a block that may have left the chain since.
        assert_eq!(reach(10, 5000, 1000, &[], false), Reach::Blocks { target: 74 });
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
        fn a_plan_never_passes_the_head_and_always_moves(
            base in 0u64..10_000,
            head in 0u64..10_000,
            range in 0u64..3000,
            fills in proptest::collection::vec(0u64..10_000, 0..4),
            settled: bool
        ) {
            match reach(base, head, range, &fills, settled) {
                Reach::Nothing => prop_assert!(head <= base),
                Reach::Blocks { target } => {
                    prop_assert!(target <= head && target > base && target - base <= WINDOW_DEPTH_BLOCKS);
                    prop_assert!(target == head || !settled || fills.contains(&(base + 1)));
                }
                Reach::Range { target } => {
                    prop_assert!(target > base && target + WINDOW_DEPTH_BLOCKS <= head);
                    prop_assert!(settled && target - base <= range.max(1));
                    prop_assert!(!fills.iter().any(|fill| (base + 1..=target).contains(fill)));
                }
            }
        }
    }
}
