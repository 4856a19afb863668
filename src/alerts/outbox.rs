//! What is posted next, and when: repetitions are counted, failures wait, what is too much or too old is given up.
//!
//! Pure: time is an argument, counted from any beginning. It refuses to know how a text is posted.
//!
//! Invariant: of one text at most one is posted within [`Pace::period`], and none is forgotten: each text that was
//! raised is posted, counted into a later post, or returned as lost.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Texts that wait to be posted.
const LETTERS_MAX: usize = 64;
/// Different texts whose repetitions are counted at a time; beyond it the one that was posted first is let go.
const TOLD_MAX: usize = 256;

/// Pauses and bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Within this time a text is posted once.
    pub period: Duration,
    /// Between two posts that are taken; receivers count a post a second.
    pub between: Duration,
    /// After the first failure; doubled after each further one.
    pub pause: Duration,
    /// The longest pause, also where the receiver asks for a longer one.
    pub pause_max: Duration,
    /// A text that could not be posted for so long is given up.
    pub age_max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(600),
            between: Duration::from_secs(1),
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(300),
            age_max: Duration::from_secs(6 * 3_600),
        }
    }
}

/// What became of a text that was raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raised {
    /// It will be posted.
    Queued,
    /// It is the same as one that was; its count is posted when the period is over.
    Repeated,
    /// There is no room. The oldest stay: what came first is most likely the cause of the rest.
    Lost,
}

#[derive(Debug)]
struct Letter {
    text: String,
    raised_at: Duration,
}

#[derive(Debug)]
struct Told {
    since: Duration,
    more: u64,
}

/// The texts that wait, and those that were posted a short while ago.
#[derive(Debug)]
pub(super) struct Outbox {
    pace: Pace,
    letters: VecDeque<Letter>,
    told: BTreeMap<String, Told>,
    not_before: Duration,
    failures: u32,
}

impl Outbox {
    pub(super) const fn new(pace: Pace) -> Self {
        Self {
            pace,
            letters: VecDeque::new(),
            told: BTreeMap::new(),
            not_before: Duration::ZERO,
            failures: 0,
        }
    }

    /// A text comes in.
    pub(super) fn raise(&mut self, text: &str, now: Duration) -> Raised {
        if let Some(told) = self.told.get_mut(text) {
            told.more += 1;
            return Raised::Repeated;
        }
        if !self.push(text.to_owned(), now) {
            return Raised::Lost;
        }
        if self.told.len() >= TOLD_MAX {
            let oldest = self.told.iter().min_by_key(|(_, told)| (told.more, told.since));
            let oldest = oldest.map(|(text, _)| text.clone());
            oldest.and_then(|text| self.told.remove(&text));
        }
        self.told.insert(text.to_owned(), Told { since: now, more: 0 });
        Raised::Queued
    }

    /// Ends the periods that are over: how many summaries of repetitions begin to wait. One that finds no room stays
    /// what it is, a count, for another period.
    pub(super) fn turn(&mut self, now: Duration) -> usize {
        let over = |told: &Told| now.saturating_sub(told.since) >= self.pace.period;
        let ended: Vec<String> =
            self.told.iter().filter(|(_, told)| over(told)).map(|(text, _)| text.clone()).collect();
        let mut summaries = 0;
        for text in ended {
            let more = self.told.get(&text).map_or(0, |told| told.more);
            if more == 0 {
                self.told.remove(&text);
                continue;
            }
            let queued = self.push(summary(&text, more), now);
            summaries += usize::from(queued);
            let more = if queued { 0 } else { more };
            self.told.insert(text, Told { since: now, more });
        }
        summaries
    }

    fn push(&mut self, text: String, now: Duration) -> bool {
        let room = self.letters.len() < LETTERS_MAX;
        if room {
            self.letters.push_back(Letter { text, raised_at: now });
        }
        room
    }

    /// When there may be something to do; none where nothing is known to come.
    pub(super) fn next_at(&self) -> Option<Duration> {
        let letter = self.letters.front().map(|_| self.not_before);
        let period = self.told.values().map(|told| told.since.saturating_add(self.pace.period)).min();
        letter.into_iter().chain(period).min()
    }

    /// The text to be posted now.
    pub(super) fn due(&self, now: Duration) -> Option<&str> {
        if now < self.not_before { None } else { self.first() }
    }

    /// The text that is next, due or not.
    pub(super) fn first(&self) -> Option<&str> {
        self.letters.front().map(|letter| letter.text.as_str())
    }

    /// The first one was taken.
    pub(super) fn taken(&mut self, now: Duration) {
        self.letters.pop_front();
        self.failures = 0;
        self.not_before = now.saturating_add(self.pace.between);
    }

    /// The first one will never be taken.
    pub(super) fn drop_first(&mut self, now: Duration) {
        self.taken(now);
    }

    /// The first one was not taken, and the receiver asks for this pause: how many are given up, for they are too old.
    pub(super) fn failed(&mut self, now: Duration, asked: Option<Duration>) -> usize {
        let grown =
            self.pace.pause.saturating_mul(1_u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX));
        let pause = grown.max(asked.unwrap_or_default()).min(self.pace.pause_max);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now.saturating_add(pause);
        let before = self.letters.len();
        self.letters.retain(|letter| now.saturating_sub(letter.raised_at) < self.pace.age_max);
        before - self.letters.len()
    }
}

fn summary(text: &str, more: u64) -> String {
    let times = if more == 1 { "once more" } else { "times more" };
    let count = if more == 1 { String::new() } else { format!("{more} ") };
    format!("{count}{times} since it was posted: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn outbox() -> Outbox {
        Outbox::new(Pace::default())
    }

    fn post_all(outbox: &mut Outbox, now: Duration) -> Vec<String> {
        let mut posted = Vec::new();
        while let Some(text) = outbox.first().map(str::to_owned) {
            outbox.taken(now);
            posted.push(text);
        }
        posted
    }

    #[test]
    fn a_repetition_is_counted_and_the_count_posted_when_the_period_is_over() {
        let mut outbox = outbox();
        assert_eq!(outbox.raise("a", s(0)), Raised::Queued);
        assert_eq!(outbox.raise("b", s(1)), Raised::Queued);
        for at in 1..=5 {
            assert_eq!(outbox.raise("a", s(at)), Raised::Repeated);
        }
        assert_eq!(outbox.raise("b", s(2)), Raised::Repeated);
        assert_eq!(post_all(&mut outbox, s(5)), ["a", "b"]);
        assert_eq!((outbox.turn(s(599)), outbox.next_at()), (0, Some(s(600))));
        assert_eq!(outbox.turn(s(601)), 2);
        let posted = post_all(&mut outbox, s(601));
        assert_eq!(posted, ["5 times more since it was posted: a", "once more since it was posted: b"]);
        // The period begins anew with the summary; a quiet one ends the memory.
        assert_eq!(outbox.raise("a", s(700)), Raised::Repeated);
        assert_eq!((outbox.turn(s(1_300)), post_all(&mut outbox, s(1_300)).len()), (1, 1));
        assert_eq!(outbox.turn(s(2_000)), 0);
        assert_eq!(outbox.next_at(), None);
        assert_eq!(outbox.raise("a", s(2_000)), Raised::Queued);
    }

    #[test]
    fn pauses_grow_to_a_bound_keep_the_receivers_wish_and_end_with_a_success() {
        let mut outbox = outbox();
        outbox.raise("a", s(0));
        let mut now = s(0);
        let mut pauses = Vec::new();
        for _ in 0..11 {
            assert_eq!(outbox.due(now), Some("a"));
            outbox.failed(now, None);
            let next = outbox.next_at().unwrap().min(outbox.not_before.max(now));
            pauses.push((outbox.not_before - now).as_secs());
            assert_eq!(outbox.due(next.min(outbox.not_before - Duration::from_millis(1))), None);
            now = outbox.not_before;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        outbox.failed(now, Some(s(100_000)));
        assert_eq!(outbox.not_before - now, s(300), "no receiver silences the bot for a day");
        outbox.taken(now);
        outbox.raise("b", now);
        outbox.failed(now, Some(s(30)));
        assert_eq!(outbox.not_before - now, s(30), "longer than the pause of a first failure");
    }

    #[test]
    fn the_queue_is_bounded_and_what_is_too_old_is_given_up() {
        let mut outbox = outbox();
        for n in 0..LETTERS_MAX {
            assert_eq!(outbox.raise(&n.to_string(), s(0)), Raised::Queued);
        }
        assert_eq!(outbox.raise("one too many", s(0)), Raised::Lost);
        assert_eq!(outbox.raise("0", s(0)), Raised::Repeated, "known, and costs no room");
        assert_eq!(outbox.failed(s(21_599), None), 0);
        assert_eq!(outbox.failed(s(21_600), None), LETTERS_MAX);
        assert_eq!(outbox.first(), None);
        assert_eq!(outbox.turn(s(21_600)), 1, "the count outlives the text");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut outbox = outbox();
        for n in 0..2 * TOLD_MAX {
            outbox.raise(&n.to_string(), s(0));
            post_all(&mut outbox, s(0));
        }
        assert_eq!(outbox.told.len(), TOLD_MAX);
    }
}
