//! The dice of a trial: one seed, one sequence, on every machine.
//!
//! Not for secrets and not for statistics; only the same throws for the same seed. (`SplitMix64`.)

/// A sequence of throws.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The sequence of this seed for this purpose: two purposes throw without disturbing each other.
    pub(crate) const fn new(seed: u64, purpose: u64) -> Self {
        let mut dice = Self(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        dice.throw();
        dice
    }

    /// The next 64 bits.
    pub(crate) const fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// `0 .. bound`; 0 where the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.throw().checked_rem(bound).unwrap_or(0)
    }

    /// `from ..= to`.
    pub(crate) fn between(&mut self, from: i64, to: i64) -> i64 {
        let span = u64::try_from(to.saturating_sub(from).saturating_add(1)).unwrap_or(1);
        from.saturating_add(i64::try_from(self.below(span)).unwrap_or(0))
    }

    /// True so many times in a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// `0 .. len`, as an index.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        let bound = u64::try_from(len).unwrap_or(u64::MAX);
        usize::try_from(self.below(bound)).unwrap_or(0)
    }

    /// One of them, where there is one.
    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let index = self.index(choices.len());
        choices.get(index).copied()
    }

    /// One of the choices, each as likely as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> Option<T> {
        let total = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(total);
        for (weight, choice) in choices {
            if left < *weight {
                return Some(*choice);
            }
            left -= weight;
        }
        None
    }
}
