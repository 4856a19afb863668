//! The bot broken on purpose, one promise at a time, to see that a trial finds it out. In test builds only.
//!
//! What is broken is asked for by the thread that lives the trial; the places in the real code that ask are compiled
//! into no program.

use std::cell::Cell;

use rusqlite::Connection;

use super::disk::TrialDisk;
use crate::broker::{BrokerOrder, OrderStatus, Session};
use crate::engine::Input;
use crate::hedges::Limits;
use crate::units::Shares;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
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
    static TAMPERED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Changes the copy of the ledger that this thread's judges see, by this SQL.
pub(crate) fn tamper(sql: Option<&'static str>) {
    TAMPERED.set(sql);
}

/// What the judge is to see instead of the ledger.
pub(crate) fn tampered(disk: &TrialDisk) -> Option<rusqlite::Result<Connection>> {
    TAMPERED.get().map(|sql| disk.tampered(sql))
}

/// Breaks this thread's bots from now on, or mends them.
pub(crate) fn set(sabotage: Option<Sabotage>) {
    NOW.set(sabotage);
}

/// Whether this is broken.
pub(crate) fn is(sabotage: Sabotage) -> bool {
    NOW.get() == Some(sabotage)
}

/// The limits as a bot knows them that does not keep one.
pub(crate) fn limits(limits: Limits) -> Limits {
    match NOW.get() {
        Some(Sabotage::IgnoreOrderLimit) => Limits { max_order_shares: Shares::whole(1_000), ..limits },
        Some(Sabotage::IgnoreMinuteLimit) => Limits { max_orders_per_minute: 1_000_000, ..limits },
        _ => limits,
    }
}

/// What the broker answered, as a bot hears it for which the market never closes.
pub(crate) fn heard(inputs: Vec<Input>) -> Vec<Input> {
    let open = |input| match input {
        Input::Session(Ok(_)) if is(Sabotage::IgnoreSession) => {
            Input::Session(Ok(Session::Open { until: None }))
        }
        other => other,
    };
    inputs.into_iter().map(open).collect()
}

/// An order as a bot that forgets partial fills reads it.
pub(crate) fn partial_forgotten(order: &BrokerOrder) -> BrokerOrder {
    let mut read = order.clone();
    let early = matches!(order.status, OrderStatus::Canceled | OrderStatus::Expired);
    if is(Sabotage::ForgetPartial)
        && (early || (order.status == OrderStatus::Live && !order.executed.is_zero()))
    {
        (read.executed, read.filled) = (Shares::ZERO, Shares::ZERO);
    }
    read
}
