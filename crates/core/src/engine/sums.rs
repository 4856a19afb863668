//! Sums over a time around now, kept as time goes on: what the limits of a minute and of a day ask for, and the price of
//! the last hour.
//!
//! Invariant: a sum is that of the entries less than `ms` away from now, before it or after it, exactly as a walk over
//! all of them would find. After now because our clock may have been set back: then a minute is not as long as it was
//! wrong.

use std::collections::BTreeMap;

use crate::units::Millis;

/// A sum of amounts that are not negative and that may leave the range of one: in halves, so that nothing overflows and
/// what was added can be taken off again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Total {
    high: i128,
    low: i128,
}

impl Total {
    const HALF: u32 = 64;
    const LOW: i128 = (1 << Self::HALF) - 1;

    pub(super) const fn add(&mut self, atoms: i128) {
        self.high += atoms >> Self::HALF;
        self.low += atoms & Self::LOW;
    }

    pub(super) const fn take_off(&mut self, atoms: i128) {
        self.high -= atoms >> Self::HALF;
        self.low -= atoms & Self::LOW;
    }

    /// The sum; none where it leaves the range.
    pub(super) fn atoms(self) -> Option<i128> {
        let high = self.high.checked_add(self.low >> Self::HALF)?;
        let shifted = high.checked_mul(1 << (Self::HALF / 2))?.checked_mul(1 << (Self::HALF / 2))?;
        shifted.checked_add(self.low & Self::LOW)
    }
}

/// One of the things that are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its amounts, not negative, as atoms.
    pub(super) amounts: [i128; 2],
    /// Whether the amounts count, and it among those that do.
    pub(super) counts: bool,
}

/// Entries by when they were, and the sums over those less than `ms` away from now.
#[derive(Debug)]
pub(super) struct Within<K> {
    ms: i64,
    entries: BTreeMap<Millis, BTreeMap<K, Entry>>,
    now: Millis,
    all: u64,
    counting: u64,
    totals: [Total; 2],
}

impl<K: Ord + Clone> Within<K> {
    pub(super) fn new(ms: i64) -> Self {
        let (now, totals) = (Millis(0), [Total::default(); 2]);
        Self { ms, entries: BTreeMap::new(), now, all: 0, counting: 0, totals }
    }

    /// How many entries are within the time.
    pub(super) const fn all(&self) -> u64 {
        self.all
    }

    /// How many of them count.
    pub(super) const fn counting(&self) -> u64 {
        self.counting
    }

    /// The sum of those's first amounts; none where it leaves the range.
    pub(super) fn first(&self) -> Option<i128> {
        self.totals[0].atoms()
    }

    /// The sum of those's second amounts; none where it leaves the range.
    pub(super) fn second(&self) -> Option<i128> {
        self.totals[1].atoms()
    }

    /// Whether there is no entry at all, however long ago.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn insert(&mut self, at: Millis, id: K, entry: Entry) {
        if self.is_within(at) {
            self.count(entry, true);
        }
        self.entries.entry(at).or_default().insert(id, entry);
    }

    pub(super) fn remove(&mut self, at: Millis, id: &K) {
        let Some(of_then) = self.entries.get_mut(&at) else { return };
        let Some(entry) = of_then.remove(id) else { return };
        if of_then.is_empty() {
            self.entries.remove(&at);
        }
        if self.is_within(at) {
            self.count(entry, false);
        }
    }

    const fn is_within(&self, at: Millis) -> bool {
        self.now.since(at).saturating_abs() < self.ms
    }

    /// Time goes on, or back: what leaves the window is taken off, and what comes into it is added.
    pub(super) fn move_to(&mut self, now: Millis) {
        let before = self.now;
        if now == before {
            return;
        }
        self.now = now;
        let (low, high) = (before.min(now), before.max(now));
        // Only what is about `ms` away from one of the two moments can have come or gone.
        let (gone_from, gone_to) = (low.plus(-self.ms), high.plus(-self.ms));
        let (come_from, come_to) = (low.plus(self.ms), high.plus(self.ms));
        let mut changed = Vec::new();
        if gone_to >= come_from {
            self.changes(before, gone_from, come_to, &mut changed);
        } else {
            self.changes(before, gone_from, gone_to, &mut changed);
            self.changes(before, come_from, come_to, &mut changed);
        }
        for (entry, is) in changed {
            self.count(entry, is);
        }
    }

    /// Of the entries from `from` to `to` those that came into the window or left it since `before`.
    fn changes(&self, before: Millis, from: Millis, to: Millis, changed: &mut Vec<(Entry, bool)>) {
        for (at, of_then) in self.entries.range(from..=to) {
            let was = before.since(*at).saturating_abs() < self.ms;
            let is = self.is_within(*at);
            if was != is {
                changed.extend(of_then.values().map(|entry| (*entry, is)));
            }
        }
    }

    fn count(&mut self, entry: Entry, is: bool) {
        let counting = u64::from(entry.counts);
        if is {
            self.all += 1;
            self.counting += counting;
        } else {
            self.all -= 1;
            self.counting -= counting;
        }
        if !entry.counts {
            return;
        }
        for (total, atoms) in self.totals.iter_mut().zip(entry.amounts) {
            if is {
                total.add(atoms);
            } else {
                total.take_off(atoms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_total_beyond_the_range_is_none_and_comes_back() {
        let mut total = Total::default();
        for _ in 0..3 {
            total.add(i128::MAX);
        }
        assert_eq!(total.atoms(), None);
        total.take_off(i128::MAX);
        total.take_off(i128::MAX);
        assert_eq!(total.atoms(), Some(i128::MAX));
        total.add(1);
        assert_eq!(total.atoms(), None);
        total.take_off(i128::MAX);
        assert_eq!(total.atoms(), Some(1));
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_a_walk_whatever_the_clock_does(
            changes in prop::collection::vec((0_u8..4, 0_i64..600, 0_u32..12, 0_i128..i128::MAX), 1..60)
        ) {
            let mut within = Within::new(100);
            let mut all: BTreeMap<u32, (Millis, Entry)> = BTreeMap::new();
            let mut now = Millis(0);
            for (what, at, n, atoms) in changes {
                match what {
                    0 | 1 => {
                        let entry = Entry { amounts: [atoms, i128::from(n)], counts: n % 4 > 0 };
                        if let Some((before, _)) = all.insert(n, (Millis(at), entry)) {
                            within.remove(before, &n);
                        }
                        within.insert(Millis(at), n, entry);
                    }
                    2 => {
                        if let Some((before, _)) = all.remove(&n) {
                            within.remove(before, &n);
                        }
                    }
                    _ => {
                        now = Millis(at);
                        within.move_to(now);
                    }
                }
                let walked = all.values().filter(|(at, _)| now.since(*at).abs() < 100).map(|(_, entry)| *entry);
                let walked: Vec<Entry> = walked.collect();
                let counting: Vec<Entry> = walked.iter().copied().filter(|entry| entry.counts).collect();
                let sum = |of: usize| counting.iter().map(|entry| entry.amounts[of]).try_fold(0, i128::checked_add);
                prop_assert_eq!((within.all(), within.counting()), (walked.len() as u64, counting.len() as u64));
                prop_assert_eq!((within.first(), within.second()), (sum(0), sum(1)));
                prop_assert_eq!(within.is_empty(), all.is_empty());
            }
        }
    }
}
