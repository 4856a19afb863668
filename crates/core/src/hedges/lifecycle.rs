//! The life of an order: one table of what may happen to an intent, where that leads, and what the ledger says of it
//! (`protocol.md` 3; printed in docs/reference/order-lifecycle.md).
//!
//! Invariant: an intent changes its state only by a row of [`transition`].

use super::{Decision, IntentState};
use crate::units::OrderId;

/// What may happen to an intent after its birth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderEvent {
    /// The exposure does not want it any more.
    NoLongerWanted,
    /// The broker has an order of its name, which a later ledger than this one sent.
    NameTaken(OrderId),
    /// Nothing holds it back any more: its order is about to leave.
    Sent,
    /// The broker was asked by its name and does not have it: the same order is about to leave again (3.5).
    SentAgain,
    /// The broker said yes, under this id.
    Accepted(OrderId),
    /// A clear no to the order, in the broker's words.
    Refused(String),
    /// A clear no for what is not the order's: login, rate, the account.
    Barred(String),
    /// The call provably never left.
    NotSent(String),
    /// Any other answer to the call, or none.
    Unclear(String),
    /// The broker has an order of that name: an earlier send did arrive.
    Duplicate,
    /// No clear yes to a second send, which says nothing of the first.
    ResendUnclear(String),
    /// The process ended before the answer was known.
    AnswerLost,
    /// The order was read in the broker's book, with this status, and is what was wanted.
    Read(String),
    /// The order is over, with this status, and its figures add up or never will.
    Ended(End, String),
    /// What the broker says does not fit the intent.
    Contradicted(String),
    /// The broker's list shows its order under this id, where the broker's yes had named another one's.
    Shown(OrderId),
    /// Lists and position prove that there is no order of it (`ABSENT_AFTER`).
    ProvedAbsent,
    /// A person says what became of it.
    Settled {
        /// What.
        decision: Decision,
        /// Who says so.
        who: String,
        /// How that person knows.
        reason: String,
    },
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Whole.
    Filled,
    /// By a cancel; may carry executions.
    Canceled,
    /// Refused after it was received.
    Rejected,
    /// By the end of its day.
    Expired,
}

/// Where an event leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The state after it; may be the same.
    pub to: IntentState,
    /// What the ledger says of it.
    pub reason: String,
}

/// The table: where `event` leads an intent in `state`, and why; none where it can not happen there.
#[must_use]
pub fn transition(state: IntentState, event: &OrderEvent) -> Option<Transition> {
    use IntentState::{
        Absent, Canceled, Expired, Filled, Planned, Refused, Rejected, Sent, Stuck, Unknown, Withdrawn,
        Working,
    };
    let (to, reason) = match (state, event) {
        (Planned, OrderEvent::NoLongerWanted) => (Withdrawn, "no longer wanted".to_owned()),
        (Planned, OrderEvent::NameTaken(order)) => {
            (Withdrawn, format!("order {order} at the broker has this name already"))
        }
        (Planned, OrderEvent::Sent) => (Sent, "planned before".to_owned()),
        (Unknown, OrderEvent::SentAgain) => {
            (Sent, "the broker did not have it; the same order again under the same name".to_owned())
        }
        (Sent, OrderEvent::Accepted(order)) => (Sent, format!("claimed order {order}")),
        (Sent, OrderEvent::Refused(words)) => (Refused, words.clone()),
        (Sent, OrderEvent::Barred(words)) => (Refused, format!("gate: {words}")),
        (Sent, OrderEvent::NotSent(words)) => (Refused, format!("not sent: {words}")),
        (Sent, OrderEvent::Unclear(words)) => (Unknown, words.clone()),
        (Sent, OrderEvent::Duplicate) => (Unknown, "an earlier send did arrive".to_owned()),
        (Sent, OrderEvent::ResendUnclear(words)) => {
            (Unknown, format!("the send before this one may have arrived; this one: {words}"))
        }
        (Sent, OrderEvent::AnswerLost) => (Unknown, "the bot stopped before the broker's answer".to_owned()),
        (Sent | Unknown, OrderEvent::Read(status)) => (Working, format!("read as {status}")),
        (Working, OrderEvent::Ended(End::Filled, status)) => (Filled, status.clone()),
        (Working, OrderEvent::Ended(End::Canceled, status)) => (Canceled, status.clone()),
        (Working, OrderEvent::Ended(End::Rejected, status)) => (Rejected, status.clone()),
        (Working, OrderEvent::Ended(End::Expired, status)) => (Expired, status.clone()),
        (Sent | Unknown | Working, OrderEvent::Contradicted(why)) => (Stuck, why.clone()),
        (Stuck, OrderEvent::Shown(order)) => {
            (Working, format!("the list shows it as order {order}; the broker's yes named another"))
        }
        (Unknown, OrderEvent::ProvedAbsent) => {
            (Absent, "no list showed it for ABSENT_AFTER, and the position did not move".to_owned())
        }
        (Unknown | Stuck, OrderEvent::Settled { decision: Decision::Adopt(_), who, reason }) => {
            (Working, format!("adopt by {who}: {reason}"))
        }
        (Unknown | Stuck, OrderEvent::Settled { decision: Decision::Absent, who, reason }) => {
            (Absent, format!("absent by {who}: {reason}"))
        }
        (Stuck, OrderEvent::Settled { decision: Decision::Book, who, reason }) => {
            (Working, format!("book by {who}: {reason}"))
        }
        (Stuck, OrderEvent::Settled { decision: Decision::Ignore, who, reason }) => {
            (Absent, format!("ignore by {who}: {reason}"))
        }
        _ => return None,
    };
    Some(Transition { to, reason })
}
