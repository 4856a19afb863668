//! How it stands with the broker: which questions are out, whether its answers can be relied on, and why no order may
//! leave now (`protocol.md` 3.3, 3.7, 4).

use std::collections::BTreeMap;

use super::poller::{Pause, Poller};
use super::refusals::Refusals;
use crate::ports::broker::{ReadError, Session};
use crate::units::Millis;

/// No order leaves in the last 15 s of a session.
pub(super) const CLOSING_MS: i64 = 15_000;
/// Our clock and the broker's may differ by so much.
pub const CLOCKS_MS_MAX: i64 = 2_000;

/// What is read of the broker, by the kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Read {
    Order,
    List,
    Session,
    Positions,
    Quotes,
}

/// The broker, as far as it was heard.
#[derive(Debug, Default)]
pub(super) struct BrokerLink {
    /// Questions asked since the start.
    questions: u64,
    pub(super) list: Poller,
    pub(super) session_poll: Poller,
    pub(super) positions: Poller,
    pub(super) quotes: Poller,
    session: Option<Session>,
    /// The broker's clock, as far as it is known.
    clock_ahead_ms: Option<i64>,
    /// Whether the last read succeeded; none before the first.
    answers: Option<bool>,
    /// Which reads failed when they were last asked for, and why.
    failing: BTreeMap<Read, String>,
    /// After a failed or unclear order call nothing leaves until one read has succeeded.
    /// It must be one that was asked after the call went wrong: this is the last question before.
    must_read: Option<u64>,
    /// Order calls in a row that provably never left.
    not_sent: u32,
    /// Nothing leaves during it, and why.
    gate: Option<(Pause, String)>,
    pub(super) refusals: Refusals,
}

impl BrokerLink {
    /// The last question that was asked; what is answered under a higher number was asked after now.
    pub(super) const fn questions(&self) -> u64 {
        self.questions
    }

    /// The number of the next question.
    pub(super) const fn next_question(&mut self) -> u64 {
        self.questions += 1;
        self.questions
    }

    pub(super) const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    pub(super) fn set_session(&mut self, told: Option<Session>) {
        self.session = told;
    }

    pub(super) const fn clock_ahead_ms(&self) -> Option<i64> {
        self.clock_ahead_ms
    }

    pub(super) const fn set_clock(&mut self, ahead_ms: i64) {
        self.clock_ahead_ms = Some(ahead_ms);
    }

    pub(super) const fn answers(&self) -> Option<bool> {
        self.answers
    }

    /// Takes the measure of a read: a success opens the gate that an unclear order call closed, if it was asked for
    /// after that call went wrong.
    pub(super) fn heard<T>(&mut self, read: Read, number: u64, answer: Result<T, ReadError>) -> Option<T> {
        self.answers = Some(answer.is_ok());
        let value = self.told(read, answer)?;
        if self.must_read.is_some_and(|last_before| number > last_before) {
            self.must_read = None;
        }
        Some(value)
    }

    /// Keeps why a read failed until the next one of its kind succeeds.
    pub(super) fn told<T>(&mut self, read: Read, answer: Result<T, ReadError>) -> Option<T> {
        match answer {
            Ok(value) => {
                self.failing.remove(&read);
                Some(value)
            }
            Err(ReadError(why)) => {
                self.failing.insert(read, why);
                None
            }
        }
    }

    /// Whether the last read of that kind failed.
    pub(super) fn fails(&self, read: Read) -> bool {
        self.failing.contains_key(&read)
    }

    /// Why a read failed, as it follows what that means; nothing where it did not.
    pub(super) fn because(&self, read: Read) -> String {
        self.failing.get(&read).map_or_else(String::new, |why| format!(": {why}"))
    }

    /// Whether an order call went wrong, and no read has succeeded since.
    pub(super) const fn must_read(&self) -> bool {
        self.must_read.is_some()
    }

    /// An order call went wrong: a read that is asked from now on must succeed.
    pub(super) const fn note_unclear(&mut self) {
        self.must_read = Some(self.questions);
    }

    /// Nothing leaves for a while.
    pub(super) fn close_gate(&mut self, now: Millis, ms: i64, why: String) {
        self.gate = Some((Pause { since: now, ms }, why));
    }

    /// An order call provably never left; how many in a row.
    pub(super) const fn note_not_sent(&mut self) -> u32 {
        self.not_sent = self.not_sent.saturating_add(1);
        self.not_sent
    }

    /// An order call left.
    pub(super) const fn note_left(&mut self) {
        self.not_sent = 0;
    }

    /// Why no order may leave for any ticker; none when one may.
    pub(super) fn gate_closed(&self, now: Millis) -> Option<String> {
        if let Some((pause, why)) = &self.gate
            && !pause.over(now)
        {
            return Some(format!("until {}: {why}", pause.until()));
        }
        if self.must_read.is_some() {
            return Some("an order call went wrong; one read of the broker must succeed first".into());
        }
        if self.refusals.needs_list() {
            return Some(format!(
                "an order was refused; the broker's list must be read first{}",
                self.because(Read::List)
            ));
        }
        if self.answers == Some(false) {
            let why = self.failing.values().next().map_or_else(String::new, |why| format!(": {why}"));
            return Some(format!("the broker does not answer{why}"));
        }
        if let Some(ahead_ms) = self.clock_ahead_ms.filter(|ms| ms.saturating_abs() > CLOCKS_MS_MAX) {
            return Some(format!(
                "the broker's clock and ours are {ahead_ms} ms apart; set this machine's clock (NTP)"
            ));
        }
        match &self.session {
            None => Some(format!("the session is not known{}", self.because(Read::Session))),
            Some(Session::Closed { reason }) => Some(format!("session closed: {reason}")),
            Some(Session::Disputed { reason }) => Some(reason.clone()),
            Some(Session::Open { until: Some(until) }) if until.since(now) <= CLOSING_MS => {
                Some(format!("the session ends at {until}"))
            }
            Some(Session::Open { .. }) => None,
        }
    }
}
