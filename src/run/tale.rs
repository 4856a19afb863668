//! What a committed write means, in one sentence for a person: the bot's log (the demo's screen has words of its own).
//!
//! It knows no reader and no level but how much a sentence matters.

use log::Level;

use crate::hedges::{Intent, IntentState};
use crate::ledger::Write;

/// The sentence and how much it matters; none for bookkeeping nobody needs to read.
#[must_use]
pub fn said(write: &Write) -> Option<(Level, String)> {
    let told = match write {
        Write::Fill(fill) => {
            let price = fill.price.map_or_else(|| "for nothing".to_owned(), |price| format!("at {price}"));
            let text = format!(
                "fill {} {} {} {price} (block {}, {}, log {})",
                fill.id.side, fill.shares, fill.symbol, fill.block_number, fill.id.tx_hash, fill.id.log_index
            );
            (Level::Info, text)
        }
        Write::Entry { id, standing: false, .. } => {
            (Level::Warn, format!("reversed: the {id} left the chain"))
        }
        Write::Entry { id, n, standing: true, .. } if *n > 0 => {
            (Level::Warn, format!("reinstated: the {id} is back on the chain"))
        }
        Write::Skipped(skipped) => {
            (Level::Info, format!("skipped ({}): {}", skipped.reason.as_str(), skipped.id))
        }
        Write::Answered { id, counted, reason, who } => {
            let what = if *counted { "counts after all" } else { "stays passed over" };
            (Level::Info, format!("{what}: {}, by {who}: {reason}", id))
        }
        Write::Pending(fill) => {
            let whom = fill.symbol.as_ref().map_or_else(|| fill.token.to_string(), ToString::to_string);
            (
                Level::Warn,
                format!("a fill of {whom} waits, its amount is not known ({}): {}", fill.log(), fill.reason),
            )
        }
        Write::PendingOver(id) => (Level::Info, format!("waits no more: {id}")),
        Write::Pushed(log) => (Level::Debug, format!("pushed, and not in an answer yet: {log}")),
        Write::Settled(log) => (Level::Debug, format!("accounted for: {log}")),
        Write::Token(fact) => {
            (Level::Info, format!("token {} is `{}`: {:?}", fact.address, fact.symbol, fact.kind))
        }
        Write::Intent(intent) => (Level::Info, order(intent)),
        Write::Transition { from, intent } if *from != intent.state => (level(intent.state), order(intent)),
        Write::Execution { order_id, quantity, average_price, intent, .. } => {
            let price = average_price.map_or_else(String::new, |price| format!(", average price {price}"));
            (Level::Info, format!("executed {quantity} of order {order_id} for {intent}{price}"))
        }
        Write::Tag(tag) => (Level::Info, format!("our orders carry the tag {tag} at the broker")),
        Write::Decision { intent, decision, reason, who } => {
            (Level::Warn, format!("{intent}: {} by {who}: {reason}", decision.as_str()))
        }
        Write::Baseline { symbol, change, reason, who } => {
            (Level::Info, format!("{symbol}: {change} in the account that is no order's, by {who}: {reason}"))
        }
        Write::Begun => (Level::Info, "the first backfill is over".to_owned()),
        // The engine's alert has said halts, their ends and dead events already; the rest is bookkeeping.
        Write::Halt { .. }
        | Write::Lift { .. }
        | Write::Dead(_)
        | Write::Count { .. }
        | Write::Cursor { .. } => return None,
        Write::Entry { .. } | Write::Transition { .. } | Write::Compared(_) => return None,
    };
    Some(told)
}

const fn level(state: IntentState) -> Level {
    match state {
        IntentState::Unknown | IntentState::Stuck | IntentState::Refused | IntentState::Rejected => {
            Level::Warn
        }
        _ => Level::Info,
    }
}

fn order(intent: &Intent) -> String {
    format!(
        "{}: {} {} {} ({}; {})",
        intent.state.as_str().to_lowercase(),
        intent.side,
        intent.quantity,
        intent.symbol,
        intent.id,
        intent.reason
    )
}
