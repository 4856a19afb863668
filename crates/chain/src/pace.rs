//! How often a node may be asked, learnt from what it refuses.
//!
//! Providers take so many calls, or compute units, a second, and refuse the rest for ever. Nobody tells the figure
//! reliably, so it is found as TCP finds a line's: the rate falls at once with a refusal, to what was taken in the last
//! second, and rises slowly while nothing is refused. Until the first refusal there is no limit. A refused call is sent
//! again when its turn comes; the attempt that made it goes on. Calls in flight follow from the rate and are bounded by
//! who asks (`CALLS_IN_FLIGHT_MAX`). What cannot wait (a pushed take's tokens, the watchdog) goes out at once and is
//! taken from what the sweep may ask.
//!
//! Time is an argument of [`State`]; only [`Pace`] sleeps. Invariant: calls that wait for their turn go out no faster than
//! the rate, but for [`BURST_CALLS`] after a quiet time, and none of them before a pause that the node asked for is over.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::RpcError;

/// Thousandths of a call a second.
type MilliRate = u64;

const SECOND: Duration = Duration::from_secs(1);
/// How often one call is sent at most. With pauses that double it waits about 10 s, then its refusal is told.
const SENT_MAX: u32 = 8;
/// The same for a call that cannot wait.
const SENT_FIRST_MAX: u32 = 3;
/// A longer pause is not waited for inside of a call: its reason must be seen.
const PAUSE_INSIDE_S_MAX: Duration = Duration::from_secs(10);
/// Pauses where the node names none: two turns, and at least so long; doubled while nothing is taken.
const PAUSE_MS_MIN: Duration = Duration::from_millis(50);
/// Longest pause that is not the node's own.
const PAUSE_S_MAX: Duration = Duration::from_secs(5);
/// The slowest pace: below it no chain can be followed.
const RATE_MIN: MilliRate = 500;
/// What is tried after the first refusal at least: it may speak of calls of another program with the same key.
const RATE_FIRST_MIN: MilliRate = 5_000;
/// A rate above this is no limit: eight calls in flight do not reach it.
const RATE_MAX: MilliRate = 1_000_000;
/// Added for each answer near the rate that was refused last: 5 % a second.
const RISE: MilliRate = 50;
/// Turns that may be made up for after a quiet time.
const BURST_CALLS: u32 = 4;
/// Answers of the last second that are remembered.
const TAKEN_MAX: usize = 2_048;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Waits for its turn.
    Sweep,
    /// Goes out at once.
    First,
}

/// The learnt rate and what it was learnt from.
#[derive(Debug, Default)]
struct State {
    /// None until a call was refused.
    rate: Option<MilliRate>,
    /// The rate at which it was refused last: below most of it the rate rises fast.
    refused_at: Option<MilliRate>,
    /// When the next turn is.
    next: Option<Instant>,
    /// Nothing that can wait goes out before.
    rest_until: Option<Instant>,
    /// When calls were taken, oldest first, of the last second.
    taken: VecDeque<Instant>,
    /// When the rate fell last: what was sent before says nothing new.
    fell: Option<Instant>,
    /// Falls since a call was last taken.
    falls: u32,
}

impl State {
    fn interval(&self) -> Option<Duration> {
        let rate = self.rate?.max(1);
        Some(Duration::from_nanos(1_000_000_000_000 / rate))
    }

    /// Takes a turn; how long to wait for it.
    fn turn(&mut self, now: Instant, urgency: Urgency) -> Duration {
        let rest = self.rest_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let Some(interval) = self.interval() else {
            return if urgency == Urgency::First { Duration::ZERO } else { rest };
        };
        let made_up = now.checked_sub(interval * BURST_CALLS).unwrap_or(now);
        let mut slot = self.next.map_or(made_up, |next| next.max(made_up));
        if urgency == Urgency::Sweep {
            slot = slot.max(now + rest);
        }
        self.next = Some(slot + interval);
        if urgency == Urgency::First { Duration::ZERO } else { slot.saturating_duration_since(now) }
    }

    /// Whether a turn that was waited for still counts.
    fn may_go(&self, now: Instant) -> bool {
        self.rest_until.is_none_or(|until| now >= until)
    }

    /// A call was answered, with whatever but a refusal of this kind. `waited`: it had waited for its turn.
    fn took(&mut self, now: Instant, waited: bool) {
        self.taken.push_back(now);
        self.forget(now);
        self.falls = 0;
        let Some(rate) = &mut self.rate else { return };
        // A rate that is not used up proves nothing.
        if waited {
            let near = self.refused_at.is_some_and(|refused| *rate >= refused - refused / 8);
            *rate += if near { RISE } else { *rate / 16 };
        }
        if *rate > RATE_MAX {
            (self.rate, self.refused_at, self.rest_until) = (None, None, None);
        }
    }

    /// A call that left at `sent` was refused for being too many; the pause that follows.
    fn refused(&mut self, now: Instant, sent: Instant, told: Option<Duration>) -> Duration {
        self.forget(now);
        if self.fell.is_none_or(|fell| sent > fell) {
            let taken = u64::try_from(self.taken.len()).unwrap_or(u64::MAX).saturating_mul(1_000);
            let tried = taken - taken / 10;
            let rate = match self.rate {
                None => tried.max(RATE_FIRST_MIN),
                Some(rate) => {
                    self.refused_at = Some(taken.clamp(rate / 2, rate));
                    tried.clamp(rate / 2, rate - rate / 7)
                }
            };
            self.rate = Some(rate.clamp(RATE_MIN, RATE_MAX));
            self.fell = Some(now);
            self.falls = self.falls.saturating_add(1);
        }
        let turns = self.interval().unwrap_or_default() * 2;
        let doubled = 1_u32 << self.falls.saturating_sub(1).min(10);
        let pause = told.unwrap_or_else(|| (turns.max(PAUSE_MS_MIN) * doubled).min(PAUSE_S_MAX));
        let until = now + pause;
        self.rest_until = Some(self.rest_until.map_or(until, |known| known.max(until)));
        self.next = Some(self.next.map_or(until, |next| next.max(until)));
        pause
    }

    fn forget(&mut self, now: Instant) {
        while self.taken.len() > TAKEN_MAX
            || self.taken.front().is_some_and(|at| now.saturating_duration_since(*at) > SECOND)
        {
            self.taken.pop_front();
        }
    }
}

/// A node's pace, shared by all who ask over one connection. It outlives the connection.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<State>);

impl Pace {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a second that the node bears, as far as is known; none where it never refused one.
    pub(super) fn calls_per_s(&self) -> Option<u64> {
        self.state().rate.map(|rate| rate.div_ceil(1_000))
    }

    /// Makes `call` when its turn comes, and again while it is refused for being one too many.
    ///
    /// # Errors
    /// Whatever the call comes to; [`RpcError::Limited`] only after it was sent several times, or where the node wants
    /// a long pause.
    pub(super) async fn run<T, F: Future<Output = Result<T, RpcError>>>(
        &self,
        urgency: Urgency,
        call: impl Fn() -> F,
    ) -> Result<T, RpcError> {
        let most = if urgency == Urgency::First { SENT_FIRST_MAX } else { SENT_MAX };
        let mut times = 0;
        loop {
            let waited = self.turn_comes(urgency).await;
            let sent = Instant::now();
            let answer = call().await;
            times += 1;
            let Err(RpcError::Limited { pause: told, .. }) = &answer else {
                // No answer says nothing of the rate.
                if !matches!(answer, Err(RpcError::Gone(_) | RpcError::Timeout(_))) {
                    self.state().took(Instant::now(), waited);
                }
                return answer;
            };
            let pause = self.state().refused(Instant::now(), sent, *told);
            if times >= most || pause > PAUSE_INSIDE_S_MAX {
                return answer;
            }
            if urgency == Urgency::First {
                sleep(pause.min(SECOND)).await;
            }
        }
    }

    /// Waits for a turn; whether there was anything to wait for.
    async fn turn_comes(&self, urgency: Urgency) -> bool {
        let mut waited = false;
        loop {
            let wait = self.state().turn(Instant::now(), urgency);
            if wait.is_zero() {
                return waited;
            }
            waited = true;
            sleep(wait).await;
            if self.state().may_go(Instant::now()) {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A provider's bucket, in virtual time: so many thousandths of a call in it, so many calls a second.
    struct Bucket {
        per_second: u64,
        burst: u64,
        have: u64,
        at: Instant,
    }

    impl Bucket {
        fn new(per_second: u64, burst: u64, at: Instant) -> Self {
            Self { per_second, burst, have: burst * 1_000, at }
        }

        fn take(&mut self, now: Instant) -> bool {
            let back = u64::try_from((now - self.at).as_millis()).unwrap() * self.per_second;
            (self.have, self.at) = ((self.have + back).min(self.burst * 1_000), now);
            let taken = self.have >= 1_000;
            self.have -= if taken { 1_000 } else { 0 };
            taken
        }
    }

    /// Makes `calls` calls, eight at once, each of 30 ms: milliseconds until all were taken, and how many were refused.
    fn play(state: &mut State, bucket: &mut Bucket, begun: Instant, calls: u32) -> (u128, u32) {
        let latency = Duration::from_millis(30);
        // Who is free when, in milliseconds; each takes its turn, sends, and is answered.
        let mut free = [begun; 8];
        let (mut taken, mut refused, mut end) = (0, 0, begun);
        while taken < calls {
            free.sort();
            let mut now = free[0];
            loop {
                let wait = state.turn(now, Urgency::Sweep);
                now += wait;
                if wait.is_zero() || state.may_go(now) {
                    break;
                }
            }
            let waited = now > free[0];
            let answered = now + latency;
            if bucket.take(now) {
                state.took(answered, waited);
                taken += 1;
            } else {
                state.refused(answered, now, None);
                refused += 1;
            }
            (free[0], end) = (answered, end.max(answered));
        }
        ((end - begun).as_millis(), refused)
    }

    #[test]
    fn a_rate_is_found_and_used() {
        for (per_second, burst) in
            [(5, 5), (10, 1), (15, 15), (25, 25), (25, 250), (33, 330), (50, 10), (100, 100), (200, 20)]
        {
            let begun = Instant::now();
            let (mut state, mut bucket) = (State::default(), Bucket::new(per_second, burst, begun));
            let calls = 400;
            let (took_ms, refused) = play(&mut state, &mut bucket, begun, calls);
            let needed_ms = u128::from((u64::from(calls)).saturating_sub(burst) * 1_000 / per_second);
            assert!(
                took_ms <= needed_ms * 3 / 2 + 1_500,
                "{per_second}/s, {burst} at once: {took_ms} ms for {needed_ms}"
            );
            assert!(refused <= calls / 6, "{per_second}/s, {burst} at once: {refused} refused");
        }
    }

    #[test]
    fn without_a_refusal_there_is_no_limit_and_one_alone_is_soon_forgotten() {
        let begun = Instant::now();
        let mut state = State::default();
        let mut bucket = Bucket::new(10_000, 10_000, begun);
        let (took_ms, refused) = play(&mut state, &mut bucket, begun, 192);
        assert_eq!((took_ms, refused, state.rate), (192 / 8 * 30, 0, None));
        let later = begun + Duration::from_secs(60);
        state.refused(later, later, None);
        let (took_ms, _) = play(&mut state, &mut bucket, later, 192);
        assert!(took_ms < 6_000, "{took_ms}");
    }

    #[test]
    fn a_pause_that_is_told_is_kept_and_what_cannot_wait_goes_out_in_it() {
        let now = Instant::now();
        let mut state = State::default();
        (0..20).for_each(|_| state.took(now, false));
        state.refused(now, now, Some(Duration::from_secs(4)));
        assert_eq!(state.turn(now, Urgency::First), Duration::ZERO);
        assert!(state.turn(now, Urgency::Sweep) >= Duration::from_secs(4));
        assert!(!state.may_go(now + Duration::from_secs(3)) && state.may_go(now + Duration::from_secs(4)));
        // And what went out first is taken from the others' turns: 18 a second are left.
        let at = now + Duration::from_secs(10);
        let before = state.turn(at, Urgency::Sweep);
        (0..18).for_each(|_| _ = state.turn(at, Urgency::First));
        assert!(state.turn(at, Urgency::Sweep) >= before + Duration::from_millis(700));
    }

    #[test]
    fn what_was_sent_before_the_rate_fell_lowers_it_no_further() {
        let now = Instant::now();
        let mut state = State::default();
        (0..100).for_each(|_| state.took(now, false));
        (0..8).for_each(|_| _ = state.refused(now, now, None));
        assert_eq!(state.rate, Some(90_000));
    }
}
