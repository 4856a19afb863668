//! The program broken on purpose, one promise at a time, so that tests can see that they would find it out.
//!
//! What is broken is asked for by the thread that lives a trial; the places in the real code that ask are compiled for
//! tests alone, and without a word from one they change nothing.

use std::cell::Cell;

use crate::ports::broker::{BrokerOrder, OrderStatus};
use crate::units::Shares;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// An order call without an answer is made once more.
    RetryPost,
    /// What an order traded before it ended early is forgotten.
    ForgetPartial,
    /// A fill that left the chain stands on.
    DropReversal,
    /// Effects are performed before the commit.
    CountBeforeCommit,
    /// Of several orders that may be ours the first is taken.
    AdoptFirst,
    /// An answer without logs is believed, whatever the bloom says.
    TrustEmptyLogs,
    /// The market is open whenever the broker answers.
    IgnoreSession,
    /// `MAX_ORDER_SHARES` does not bind.
    IgnoreOrderLimit,
    /// `MAX_ORDERS_PER_MINUTE` does not bind.
    IgnoreMinuteLimit,
}

thread_local! {
    static NOW: Cell<Option<Sabotage>> = const { Cell::new(None) };
}

/// Breaks this thread's bots from now on, or mends them.
pub fn set(sabotage: Option<Sabotage>) {
    NOW.set(sabotage);
}

/// What is broken now.
#[must_use]
pub fn now() -> Option<Sabotage> {
    NOW.get()
}

/// Whether this is broken.
#[must_use]
pub fn is(sabotage: Sabotage) -> bool {
    NOW.get() == Some(sabotage)
}

/// An order as a bot that forgets partial fills reads it.
#[must_use]
pub fn partial_forgotten(order: &BrokerOrder) -> BrokerOrder {
    let mut read = order.clone();
    let early = matches!(order.status, OrderStatus::Canceled | OrderStatus::Expired);
    if is(Sabotage::ForgetPartial)
        && (early || (order.status == OrderStatus::Live && !order.executed.is_zero()))
    {
        (read.executed, read.filled) = (Shares::ZERO, Shares::ZERO);
    }
    read
}
