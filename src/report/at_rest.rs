//! `bot status --json` has one shape, whether a bot runs or not: what the ledger knows stands where a running bot would say
//! it, what only a process knows is null.

use serde_json::{Value, json};

use super::ReportError;
use crate::chain::ChainFacts;
use crate::ledger::{PositionRow, Reader, Summary};
use crate::serve::identity::{Identity, Mode, SessionStatus};
use crate::serve::status::{EngineStatus, HaltStatus, LiveIntent, StatusReport, TickerStatus};
use crate::units::Millis;

/// The report of a bot that does not run, as its ledger has it.
///
/// # Errors
/// [`ReportError::Ledger`].
pub(super) fn report(reader: &Reader, summary: &Summary, now: Millis) -> Result<StatusReport, ReportError> {
    let tickers = reader.positions()?.iter().map(ticker).collect();
    let halt = |row: &crate::ledger::HaltRow| HaltStatus {
        symbol: row.symbol.clone(),
        kind: row.kind,
        reason: Some(row.reason.clone()),
    };
    let engine = EngineStatus {
        at: summary.last_commit,
        deciding: false,
        waiting: Vec::new(),
        cursor: summary.cursor,
        fills: summary.fills,
        reversals: summary.reversals,
        dead_events: summary.dead,
        gate: None,
        broker_answers: None,
        tickers,
        halts: summary.halts.iter().map(halt).collect(),
    };
    // Whether paper keeps hours is a setting, which the ledger does not know.
    let keeps_hours = summary.broker != "paper";
    Ok(StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: now,
        running: false,
        identity: identity(summary),
        started_at: None,
        uptime_s: None,
        session: SessionStatus::of(None, keeps_hours, now),
        ready: false,
        live: false,
        checks: Vec::new(),
        login: None,
        engine: Some(engine),
        chain: ChainFacts::default(),
    })
}

fn identity(summary: &Summary) -> Identity {
    Identity {
        broker: Some(summary.broker.clone()),
        mode: Some(Mode::of_stamp(&summary.broker, &summary.account)),
        account: Some(summary.account.clone()),
        account_last4: None,
        chain_id: Some(summary.chain_id),
        owners: summary.owners.clone(),
        orderbooks: summary.orderbooks.clone(),
        ledger: Some(summary.ledger.clone()),
        pid: None,
    }
}

fn ticker(row: &PositionRow) -> TickerStatus {
    let live_intent = row.live_intent.clone().zip(row.live_state);
    TickerStatus {
        symbol: row.symbol.clone(),
        exposure: Some(row.exposure),
        live_intent: live_intent.map(|(id, state)| LiveIntent {
            intent_id: Some(id),
            state,
            changed_at: None,
        }),
        unhedged_since: None,
        overdue: false,
        waiting: None,
        remedy: None,
    }
}

/// A report with what the ledger beside it says of itself; null where it can not be read.
#[must_use]
pub fn with_ledger(mut report: Value, summary: Option<&Summary>) -> Value {
    if let Value::Object(keys) = &mut report {
        keys.insert("ledger".to_owned(), json!(summary));
    }
    report
}
