//! How fast the broker may be read.
//!
//! An account has so many requests a minute for everything. Reads keep to a part of it, so that an order never finds it
//! used up; the broker's own figure is believed once it was heard. A read that comes too early waits its turn, a fraction
//! of a second at the usual limit. After a refusal for rate or keys nothing is read for a while: a storm of questions
//! that all get a no is how an account gets closed.

use std::time::{Duration, Instant};

use super::http::Answer;
use crate::units::Millis;

/// Requests a minute that an account has where the broker does not say.
const LIMIT_USUAL: u32 = 200;
/// Percent of them that reads may use.
const READS_PERCENT: u32 = 60;
/// Reads that may come at once after a quiet time, in parts of a minute's.
const BURST_PARTS: u32 = 2;
/// A figure above this is not believed.
const LIMIT_MAX: u32 = 1_000_000;
/// After keys were refused.
pub(super) const KEYS_REST_MS: i64 = 15_000;
const MINUTE: Duration = Duration::from_secs(60);

/// When the next read may go out.
#[derive(Debug)]
pub(super) struct Pace {
    reads_a_minute: u32,
    /// When everything that was read so far would be paid for at an even pace.
    paid_at: Option<Instant>,
    rest: Option<(Millis, i64, &'static str)>,
}

impl Default for Pace {
    fn default() -> Self {
        Self::of(LIMIT_USUAL)
    }
}

fn reads_of(limit: u32) -> u32 {
    (limit.min(LIMIT_MAX) * READS_PERCENT / 100).max(1)
}

impl Pace {
    /// For an account or application with so many requests a minute, until the broker says otherwise.
    pub(super) fn of(requests_a_minute: u32) -> Self {
        Self { reads_a_minute: reads_of(requests_a_minute), paid_at: None, rest: None }
    }

    /// Whether a read may go out at all, by the bot's clock.
    pub(super) fn may_read(&mut self, now: Millis) -> Result<(), String> {
        match self.rest {
            // A clock that went back ends it: asking once too often is harmless.
            Some((since, ms, why)) if (0..ms).contains(&now.since(since)) => {
                Err(format!("the broker is not asked until {}: {why}", since.plus(ms)))
            }
            _ => {
                self.rest = None;
                Ok(())
            }
        }
    }

    /// Counts a read that goes out; how long it must wait before it does.
    pub(super) fn turn(&mut self, at: Instant) -> Duration {
        let each = MINUTE / self.reads_a_minute;
        let paid_at = self.paid_at.map_or(at, |paid| paid.max(at)) + each;
        self.paid_at = Some(paid_at);
        paid_at.saturating_duration_since(at).saturating_sub(MINUTE / BURST_PARTS)
    }

    /// Learns the account's limit.
    pub(super) fn heard(&mut self, answer: &Answer) {
        let told = answer.header("x-ratelimit-limit").and_then(|text| text.trim().parse().ok());
        if let Some(limit) = told.filter(|limit| *limit > 0) {
            self.reads_a_minute = reads_of(limit);
        }
    }

    /// Nothing is read for so long.
    pub(super) const fn rest(&mut self, now: Millis, ms: i64, why: &'static str) {
        self.rest = Some((now, ms, why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_leave_room_for_orders() {
        let mut pace = Pace::default();
        let begun = Instant::now();
        let at_once = (0..200).filter(|_| pace.turn(begun).is_zero()).count();
        assert_eq!(at_once, 60);
        let mut pace = Pace::default();
        (0..60).for_each(|_| assert!(pace.turn(begun).is_zero()));
        assert_eq!(pace.turn(begun), Duration::from_millis(500));
        assert!(pace.turn(begun + Duration::from_secs(1)).is_zero());
    }

    #[test]
    fn a_rest_ends_by_the_clock_that_began_it() {
        let mut pace = Pace::default();
        let now = Millis(1_000_000);
        pace.rest(now, 5_000, "tested");
        assert!(pace.may_read(now.plus(4_999)).unwrap_err().contains("tested"));
        assert!(pace.may_read(now.plus(5_000)).is_ok());
        pace.rest(now, 3_600_000, "tested");
        assert!(pace.may_read(now.plus(-1)).is_ok(), "a clock that went back does not keep it resting");
    }
}
