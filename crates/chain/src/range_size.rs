//! How many blocks are asked for at once: learnt from what the node takes and from what it does not.
//!
//! Where a node says outright that a range is too large, less is asked for at once. Words that are not known decide
//! nothing: the same range is asked for once more, then its half, then a single block. Where the single block is
//! answered the size was the reason, where it is refused as well it was not: the range is as large as before, and the
//! node is waited for. It refuses to know words, time and heights.
//!
//! Invariant: from 1 to `LOG_RANGE_BLOCKS`; whatever is refused, a single block is asked for again and again, so that
//! no node that answers any range at all is asked in vain for ever.

/// Answers in a row after which a larger range is tried again although it was refused: limits change, and one on the
/// number of logs is another one in every stretch of the chain.
const TAKEN_MIN: u32 = 32;
/// Refusals that are waited out after it showed that the size is not their reason, before it is looked into again.
const WAITED_MAX: u32 = 8;

/// How far the doubt about a refused range has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    /// Refused once.
    Once,
    /// Refused twice, and now half of it is asked for.
    Half {
        from: u64,
    },
    /// The half was refused too, and now a single block is asked for.
    Single {
        from: u64,
    },
    /// The single block was refused too: so many refusals are waited out.
    NotTheSize(u32),
}

/// What the next range may be.
#[derive(Debug)]
pub(super) struct RangeSize {
    /// `LOG_RANGE_BLOCKS`.
    max: u64,
    blocks: u64,
    /// The largest range that was answered since one of its size was refused; 0 where none was.
    good: u64,
    /// The smallest range that was refused for its size.
    bad: Option<u64>,
    /// Ranges answered since then that could not grow for it.
    taken: u32,
    doubt: Doubt,
}

impl RangeSize {
    pub(super) const fn new(max: u64) -> Self {
        let max = if max == 0 { 1 } else { max };
        Self { max, blocks: max, good: 0, bad: None, taken: 0, doubt: Doubt::None }
    }

    /// Blocks to ask for at once.
    pub(super) const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// A range of so many blocks was answered.
    pub(super) fn answered(&mut self, blocks: u64) {
        let doubt = std::mem::replace(&mut self.doubt, Doubt::None);
        if let Doubt::Single { from } = doubt {
            // One block is answered where half of `from` is not: a search between the two begins.
            self.good = 1;
            self.refuse(from / 2);
            self.blocks = (from / 4).max(1);
            return;
        }
        self.good = self.good.max(blocks);
        if blocks < self.blocks {
            // The end of what there is to read says nothing about a larger range.
            return;
        }
        // An eighth: doubling would be refused every other time.
        let mut larger = self.blocks.saturating_add(self.blocks / 8).saturating_add(1).min(self.max);
        if let Some(bad) = self.bad.filter(|bad| larger >= *bad) {
            self.taken += 1;
            if self.taken < TAKEN_MIN {
                // Half of the way, so that the limit is met after few refusals.
                larger = self.blocks + bad.saturating_sub(self.blocks) / 2;
            } else {
                self.bad = None;
            }
        }
        self.blocks = larger;
    }

    /// A range of so many blocks is too large: the node says so, or it was too much for the connection.
    pub(super) fn too_large(&mut self, blocks: u64) {
        self.doubt = Doubt::None;
        self.refuse(blocks);
        self.shrink(blocks);
    }

    /// A range of so many blocks was refused in words that are not known.
    pub(super) fn refused(&mut self, blocks: u64) {
        self.doubt = match self.doubt {
            // It grew since one was answered: then the growth is the likeliest reason.
            Doubt::None if self.good > 0 && blocks > self.good => {
                self.refuse(blocks);
                self.shrink(blocks);
                Doubt::None
            }
            Doubt::None => Doubt::Once,
            Doubt::Once if blocks <= 1 => Doubt::NotTheSize(WAITED_MAX),
            Doubt::Once => {
                self.blocks = (blocks / 2).max(1);
                Doubt::Half { from: blocks }
            }
            Doubt::Half { from } if blocks > 1 => {
                self.blocks = 1;
                Doubt::Single { from }
            }
            Doubt::Half { from } | Doubt::Single { from } => {
                self.blocks = from;
                Doubt::NotTheSize(WAITED_MAX)
            }
            Doubt::NotTheSize(left) => left.checked_sub(1).map_or(Doubt::Once, Doubt::NotTheSize),
        };
    }

    fn refuse(&mut self, blocks: u64) {
        self.bad = Some(blocks.max(2));
        self.taken = 0;
        if self.good >= blocks {
            // What was answered then is not any more.
            self.good = 0;
        }
    }

    /// To what was answered last, or to the half, whichever is more.
    fn shrink(&mut self, blocks: u64) {
        self.blocks = (blocks / 2).max(self.good).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks `times` times before a node that refuses what `refuses` says, in unknown words; what was asked for.
    fn asked(size: &mut RangeSize, times: usize, mut refuses: impl FnMut(usize, u64) -> bool) -> Vec<u64> {
        let one = |n| {
            let blocks = size.blocks();
            if refuses(n, blocks) {
                size.refused(blocks)
            } else {
                size.answered(blocks)
            }
            blocks
        };
        (0..times).map(one).collect()
    }

    #[test]
    fn a_limit_that_no_word_tells_of_is_found_and_kept_to() {
        for limit in [1, 2, 3, 50, 499, 500, 999] {
            let mut size = RangeSize::new(1_000);
            let found = asked(&mut size, 200, |_, blocks| blocks > limit);
            assert_eq!(found[..4], [1_000, 1_000, 500, if limit >= 500 { 563 } else { 1 }], "limit {limit}");
            let late = &found[40..];
            let refused = late.iter().filter(|blocks| **blocks > limit).count();
            assert!(refused * 5 < late.len(), "limit {limit}: {refused} of {} refused: {late:?}", late.len());
            let read: u64 = late.iter().filter(|blocks| **blocks <= limit).sum();
            assert!(read >= limit * 120 / 2, "limit {limit}: {read} blocks, {late:?}");
        }
    }

    #[test]
    fn a_refusal_that_is_not_about_the_size_leaves_the_range_as_it_was() {
        let mut size = RangeSize::new(1_000);
        let found = asked(&mut size, 12, |_, _| true);
        assert_eq!(found, [1_000, 1_000, 500, 1, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000, 1_000]);
        assert_eq!(asked(&mut size, 1, |_, _| false), [1_000]);
        assert_eq!(size.blocks(), 1_000);
        // And it is looked into again: a node may have had two reasons.
        let mut size = RangeSize::new(1_000);
        let found = asked(&mut size, 60, |n, blocks| n < 10 || blocks > 100);
        assert!(found[59] <= 112, "{found:?}");
    }

    #[test]
    fn one_refusal_costs_nothing_and_two_are_half() {
        let mut size = RangeSize::new(800);
        assert_eq!(asked(&mut size, 4, |n, _| n == 0), [800, 800, 800, 800]);
        assert_eq!(asked(&mut size, 3, |n, _| n < 2), [800, 800, 400]);
        assert_eq!(size.blocks(), 451);
    }

    #[test]
    fn a_range_that_grew_and_is_refused_goes_back_to_what_was_answered() {
        let mut size = RangeSize::new(1_000);
        size.too_large(1_000);
        assert_eq!(size.blocks(), 500);
        assert_eq!(asked(&mut size, 3, |_, blocks| blocks > 560), [500, 563, 500]);
    }

    #[test]
    fn what_is_told_outright_halves_at_once_and_is_tried_again_later() {
        let mut size = RangeSize::new(1_000);
        for expected in [500, 250, 125, 62, 31, 15, 7, 3, 1, 1] {
            size.too_large(size.blocks());
            assert_eq!(size.blocks(), expected);
        }
        // A stretch with many logs is over.
        let found = asked(&mut size, 400, |_, _| false);
        assert_eq!(found.last(), Some(&1_000));
        assert!(found.windows(2).all(|pair| pair[0] <= pair[1]), "{found:?}");
    }

    #[test]
    fn a_short_range_at_the_end_makes_none_larger() {
        let mut size = RangeSize::new(1_000);
        size.too_large(1_000);
        size.answered(3);
        assert_eq!(size.blocks(), 500);
        assert_eq!(RangeSize::new(0).blocks(), 1);
    }
}
