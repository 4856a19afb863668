//! Rests and questions that are asked again: everything that says "not before so much time has passed".
//!
//! Invariant: a clock that was set back makes everything due. To ask once too often is harmless, never to ask again is
//! not.

use crate::units::Millis;

/// A time in which something rests. Kept as a beginning and a length: a clock that was set back must not make it last for
/// the hours it was wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pause {
    pub(super) since: Millis,
    pub(super) ms: i64,
}

impl Pause {
    pub(super) const fn over(self, now: Millis) -> bool {
        let passed = now.since(self.since);
        passed < 0 || passed >= self.ms
    }

    pub(super) const fn until(self) -> Millis {
        self.since.plus(self.ms)
    }
}

/// `first_ms` doubled so often, and not more than `max_ms`.
pub(super) fn doubled(first_ms: i64, times: u32, max_ms: i64) -> i64 {
    first_ms.saturating_mul(1 << times.min(16)).min(max_ms)
}

/// One question to the broker that is asked again and again, and is out at most once at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Poller {
    last: Option<Asked>,
    times: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    number: u64,
    at: Millis,
    out: bool,
}

impl Poller {
    /// Whether it is to be asked now: it never was, or it is not out and `every_ms` have passed since.
    pub(super) fn is_due(&self, now: Millis, every_ms: i64) -> bool {
        self.last.is_none_or(|asked| !asked.out && Pause { since: asked.at, ms: every_ms }.over(now))
    }

    /// From when on it is due, as long as the clock goes forward; none while it is out.
    pub(super) fn due_at(&self, every_ms: i64) -> Option<Millis> {
        match self.last {
            None => Some(Millis(i64::MIN)),
            Some(asked) => (!asked.out).then(|| asked.at.plus(every_ms)),
        }
    }

    /// It is out now, under this number.
    pub(super) const fn ask(&mut self, number: u64, now: Millis) {
        self.last = Some(Asked { number, at: now, out: true });
        self.times = self.times.saturating_add(1);
    }

    /// The answer is here; the number of its question, 0 if it was never asked.
    pub(super) fn answered(&mut self) -> u64 {
        self.last.as_mut().map_or(0, |asked| {
            asked.out = false;
            asked.number
        })
    }

    /// How often it was asked.
    pub(super) const fn times(&self) -> u32 {
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_out_once_and_due_again_after_its_pause_or_when_the_clock_went_back() {
        let mut poller = Poller::default();
        assert!(poller.is_due(Millis(0), 100) && poller.answered() == 0);
        poller.ask(7, Millis(1_000));
        assert!(!poller.is_due(Millis(9_000), 100), "it is out");
        assert_eq!((poller.due_at(100), poller.answered(), poller.times()), (None, 7, 1));
        for (now, due) in [(1_000, false), (1_099, false), (1_100, true), (999, true)] {
            assert_eq!(poller.is_due(Millis(now), 100), due, "{now}");
        }
        assert_eq!(poller.due_at(100), Some(Millis(1_100)));
    }

    #[test]
    fn doubling_ends_at_the_longest() {
        let pauses = [0, 1, 2, 6, 7, 60, u32::MAX].map(|times| doubled(500, times, 60_000));
        assert_eq!(pauses, [500, 1_000, 2_000, 32_000, 60_000, 60_000, 60_000]);
    }
}
