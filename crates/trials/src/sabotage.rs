//! The bot broken on purpose, one promise at a time, to see that a trial finds it out. In test builds only.
//!
//! What the lower layers break is in [`counterfill_core::mutants`]; here is what the trial's own parts do.

use std::cell::Cell;

use rusqlite::Connection;

use super::disk::TrialDisk;
use counterfill_broker::Session;
use counterfill_core::engine::Input;
use counterfill_core::hedges::Limits;
use counterfill_core::mutants;
use counterfill_core::units::Shares;

pub(crate) use counterfill_core::mutants::{Sabotage, is, set};

thread_local! {
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

/// The limits as a bot knows them that does not keep one.
pub(crate) fn limits(limits: Limits) -> Limits {
    match mutants::now() {
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
