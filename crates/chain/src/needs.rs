//! How many calls a second a chain's pace needs, and whether a node's limit is below that.
//!
//! It does not know what is asked. Invariant: nothing is said of a chain that is followed.

use super::wire::Header;
use crate::units::{BlockRef, Millis};

/// Calls that a block needs at least, read one by one: head, logs, and the logs once more.
const CALLS_A_BLOCK: u64 = 3;
/// Calls a second beside them: the watchdog's, and what is pushed.
const CALLS_BESIDE: u64 = 1;
/// The chain's pace is taken over so many of its seconds.
const PACE_S: u64 = 30;
/// Farther behind than this for so long is not followed.
const BEHIND_BLOCKS: u64 = 16;
const BEHIND_MS: i64 = 15_000;

/// What was seen of the chain's pace, and since when it is not followed.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Height and time of an earlier head.
    earlier: Option<(u64, u64)>,
    needed_per_s: Option<u64>,
    behind_since: Option<Millis>,
    said: bool,
}

impl Needs {
    /// The node's head, and how far was read when it told it.
    pub(super) fn see(&mut self, head: &Header, cursor: Option<BlockRef>, now: Millis) {
        let (number, time) = *self.earlier.get_or_insert((head.number, head.timestamp));
        let seconds = head.timestamp.saturating_sub(time);
        if head.number < number || seconds >= PACE_S {
            let blocks = head.number.saturating_sub(number);
            self.needed_per_s = Some((blocks * CALLS_A_BLOCK).div_ceil(seconds.max(1)) + CALLS_BESIDE);
            self.earlier = Some((head.number, head.timestamp));
        }
        let behind = cursor.map_or(0, |cursor| head.number.saturating_sub(cursor.number));
        if behind <= BEHIND_BLOCKS {
            (self.behind_since, self.said) = (None, false);
        } else if self.behind_since.is_none_or(|since| now < since) {
            self.behind_since = Some(now);
        }
    }

    /// What is needed, where the chain is not followed and the node's limit is why.
    pub(super) fn more_than(&mut self, calls_per_s: Option<u64>, now: Millis) -> Option<u64> {
        let (borne, needed, since) = (calls_per_s?, self.needed_per_s?, self.behind_since?);
        if borne >= needed || now.since(since) < BEHIND_MS {
            return None;
        }
        if !self.said {
            self.said = true;
            log::warn!(
                "the node takes about {borne} calls a second, and this chain needs about {needed}: the plan is too small"
            );
        }
        Some(needed)
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, Bloom};

    use super::*;

    fn head(number: u64, timestamp: u64) -> Header {
        let hash = B256::ZERO;
        Header { number, hash, parent_hash: hash, timestamp, logs_bloom: Bloom::ZERO, transactions: None }
    }

    #[test]
    fn a_plan_is_too_small_where_the_chain_runs_away_from_it() {
        let at = |number| Some(BlockRef { number, hash: B256::ZERO });
        let mut needs = Needs::default();
        // Four blocks a second, and the sweep is 1 block behind, then 100.
        needs.see(&head(1_000, 0), at(999), Millis(0));
        needs.see(&head(1_120, 30), at(1_119), Millis(30_000));
        assert_eq!(needs.more_than(Some(5), Millis(30_000)), None);
        needs.see(&head(1_160, 40), at(1_060), Millis(40_000));
        assert_eq!(needs.more_than(Some(5), Millis(54_999)), None);
        assert_eq!(needs.more_than(Some(5), Millis(55_000)), Some(13));
        assert_eq!(needs.more_than(Some(13), Millis(55_000)), None);
        assert_eq!(needs.more_than(None, Millis(55_000)), None);
        needs.see(&head(1_200, 50), at(1_199), Millis(56_000));
        assert_eq!(needs.more_than(Some(5), Millis(90_000)), None);
    }
}
