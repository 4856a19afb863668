//! What is to be asked about each live intent, and when: its order, or whether the broker has it.
//!
//! Invariant: an intent is looked at in the step in which it changed, in which its answer came, and from the moment on at
//! which its next question or the word to a person is due; after the clock went back, every intent is.

use std::collections::{BTreeMap, BTreeSet};

use super::poller::{Pause, Poller};
use crate::hedges::IntentState;
use crate::units::{IntentId, Millis};

/// An `Unknown` intent at a broker with client order ids (`protocol.md` 3.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Resend {
    /// The broker does not have it: the same order may go out again under the same name.
    pub(super) ready: bool,
    /// How often it went out again. From then on a clear no is only about the last send, not about the first.
    pub(super) count: u32,
    /// How many of those were clearly refused.
    pub(super) refused: u32,
    /// Not during it.
    pub(super) pause: Pause,
}

/// An order that is done and whose figures do not add up yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Untold {
    since: Millis,
    /// In how many readings.
    reads: u32,
}

/// The questions about intents, and what came of them so far.
#[derive(Debug, Default)]
pub(super) struct OrderWatch {
    polls: BTreeMap<IntentId, Poller>,
    /// Intents whose fate must be asked for before anything is decided.
    unasked: BTreeSet<IntentId>,
    /// Intents that were `Unknown` since this start, and how often they went out again.
    resends: BTreeMap<IntentId, Resend>,
    untold: BTreeMap<IntentId, Untold>,
    /// Intents that a person was told are old.
    told_old: BTreeSet<IntentId>,
    /// When each is to be looked at again, and the same by name.
    due: BTreeSet<(Millis, IntentId)>,
    due_of: BTreeMap<IntentId, Millis>,
    /// Those that are to be looked at now.
    now: BTreeSet<IntentId>,
    looked_at: Millis,
}

impl OrderWatch {
    pub(super) fn new(unasked: BTreeSet<IntentId>) -> Self {
        Self { unasked, looked_at: Millis(i64::MIN), ..Self::default() }
    }

    /// The intents to look at in this step, ascending; `changed` are among them.
    pub(super) fn take_due(
        &mut self,
        now: Millis,
        changed: BTreeSet<IntentId>,
        live: &BTreeSet<IntentId>,
    ) -> Vec<IntentId> {
        let went_back = now < self.looked_at;
        self.looked_at = now;
        let mut look = std::mem::take(&mut self.now);
        look.extend(changed);
        if went_back {
            look.extend(live.iter().cloned());
        }
        while let Some((at, id)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, id));
                break;
            }
            self.due_of.remove(&id);
            look.insert(id);
        }
        look.into_iter().filter(|id| live.contains(id)).collect()
    }

    /// The intent is to be looked at again from that moment on; without one, when something happens to it.
    pub(super) fn look_at(&mut self, id: &IntentId, at: Option<Millis>) {
        if let Some(before) = self.due_of.remove(id) {
            self.due.remove(&(before, id.clone()));
        }
        if let Some(at) = at {
            self.due_of.insert(id.clone(), at);
            self.due.insert((at, id.clone()));
        }
    }

    pub(super) fn poll(&self, id: &IntentId) -> Poller {
        self.polls.get(id).copied().unwrap_or_default()
    }

    /// Its question is out now, under this number.
    pub(super) fn ask(&mut self, id: &IntentId, number: u64, now: Millis) {
        self.polls.entry(id.clone()).or_default().ask(number, now);
    }

    /// An answer about it is here; the number of its question, 0 if it was not asked for.
    pub(super) fn answered(&mut self, id: &IntentId) -> u64 {
        self.now.insert(id.clone());
        self.polls.get_mut(id).map_or(0, Poller::answered)
    }

    /// An intent went from one state to another.
    pub(super) fn became(&mut self, id: &IntentId, from: IntentState, to: IntentState) {
        if !to.is_live() {
            self.untold.remove(id);
        }
        if !matches!(to, IntentState::Sent | IntentState::Unknown) {
            self.resends.remove(id);
            // Whoever told what became of it: it need not be asked for any more.
            self.unasked.remove(id);
        }
        if to != from || !to.is_live() {
            // A new state is asked for at once.
            self.polls.remove(id);
            self.look_at(id, None);
        }
    }

    /// Intents whose fate must be told before anything is decided.
    pub(super) fn unasked(&self) -> &BTreeSet<IntentId> {
        &self.unasked
    }

    /// The broker said what it knows of the intent.
    pub(super) fn is_asked(&mut self, id: &IntentId) {
        self.unasked.remove(id);
    }

    /// The intents that may go out again, or did.
    pub(super) fn resends(&self) -> impl Iterator<Item = (&IntentId, &Resend)> {
        self.resends.iter()
    }

    pub(super) fn resend(&self, id: &IntentId) -> Option<&Resend> {
        self.resends.get(id)
    }

    /// Whether the broker does not have it: the same order may go out again.
    pub(super) fn may_resend(&self, id: &IntentId) -> bool {
        self.resends.get(id).is_some_and(|resend| resend.ready)
    }

    /// The broker does not have it.
    pub(super) fn is_not_there(&mut self, id: &IntentId) {
        self.now.insert(id.clone());
        self.resends.entry(id.clone()).or_default().ready = true;
    }

    /// It goes out again now.
    pub(super) fn send_again(&mut self, id: &IntentId, now: Millis, pause_ms: impl Fn(u32) -> i64) {
        let resend = self.resends.entry(id.clone()).or_default();
        resend.ready = false;
        resend.count += 1;
        resend.pause = Pause { since: now, ms: pause_ms(resend.count) };
    }

    /// A clear no to the same order again; how many there were.
    pub(super) fn refused_again(&mut self, id: &IntentId) -> u32 {
        let resend = self.resends.entry(id.clone()).or_default();
        resend.refused += 1;
        resend.refused
    }

    /// Whether an order that is done has told figures that do not add up for longer than `ms` and in `reads` readings or
    /// more. Counts this reading.
    pub(super) fn will_never_tell(&mut self, id: &IntentId, now: Millis, ms: i64, reads: u32) -> bool {
        let untold = self.untold.entry(id.clone()).or_insert(Untold { since: now, reads: 0 });
        untold.reads = untold.reads.saturating_add(1);
        // A clock that was set back must not make it last for the hours it was wrong.
        untold.since = now.min(untold.since);
        now.since(untold.since) > ms && untold.reads >= reads
    }

    /// Its figures add up.
    pub(super) fn told(&mut self, id: &IntentId) {
        self.untold.remove(id);
    }

    /// Whether a person was told that its order is old.
    pub(super) fn was_told_old(&self, id: &IntentId) -> bool {
        self.told_old.contains(id)
    }

    pub(super) fn note_told_old(&mut self, id: &IntentId) {
        self.told_old.insert(id.clone());
    }

    /// An ended intent is not needed any more.
    pub(super) fn forget(&mut self, id: &IntentId) {
        self.told_old.remove(id);
        self.look_at(id, None);
    }
}
