//! An intent that only a person can settle, and what there is to judge it by (`bot reconcile`; `protocol.md` 3.5, 3.6).
//!
//! Its fields are JSON names that are promised to scripts. It judges nothing: what may be said of an intent, the engine
//! decides when it is said.

use serde::{Deserialize, Serialize};

use super::{Intent, IntentState};
use crate::units::{IntentId, Millis, OrderId, Shares, Side, Symbol};

/// An intent that only a person can settle, with the evidence: what `bot reconcile` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    /// The intent.
    pub intent_id: IntentId,
    /// Ticker.
    pub symbol: Symbol,
    /// Side.
    pub side: Side,
    /// Ordered quantity.
    pub quantity: Shares,
    /// `Unknown` or `Stuck`.
    pub state: IntentState,
    /// Why.
    pub reason: String,
    /// When it was sent; of an adopted one, when the broker entered it.
    pub sent_at: Option<Millis>,
    /// The order it is bound to, or claimed.
    pub broker_order_id: Option<OrderId>,
    /// What is booked of it.
    pub executed: Shares,
    /// Found in the broker's book without an intent of ours.
    pub adopted: bool,
    /// The ticker's position before it was sent, where it was known.
    pub position_before: Option<Shares>,
    /// The ticker's position as last read.
    pub position_now: Option<Shares>,
    /// Orders that were there before it and are not it.
    pub known: Vec<OrderId>,
    /// When the last list of the broker's was read; none where none was read since the start.
    pub list_read_at: Option<Millis>,
    /// Orders in that list that may be it.
    pub similar: Vec<Similar>,
    /// What a person can type; `ORDER` and the reason are the person's.
    pub choices: Vec<String>,
}

/// An order that may be the one whose answer was lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Similar {
    /// The broker's id.
    pub order_id: OrderId,
    /// When the broker entered it.
    pub entered_at: Millis,
    /// Which program entered it, where the broker says.
    pub tag: Option<String>,
    /// The broker's word for where it stands.
    pub status: String,
    /// What it has executed.
    pub executed: Shares,
}

impl Unsettled {
    /// What the ledger alone knows of it.
    #[must_use]
    pub fn of(intent: &Intent) -> Self {
        let word = |what: &str| format!("bot reconcile {} {what} --reason …", intent.id);
        let choices = match (intent.adopted, intent.state) {
            (true, _) => vec![word("book"), word("ignore")],
            (false, IntentState::Stuck) if intent.order_id.is_some() => {
                vec![word("book"), word("adopt ORDER"), word("absent")]
            }
            (false, _) => vec![word("adopt ORDER"), word("absent")],
        };
        Self {
            intent_id: intent.id.clone(),
            symbol: intent.symbol.clone(),
            side: intent.side,
            quantity: intent.quantity,
            state: intent.state,
            reason: intent.reason.clone(),
            sent_at: intent.sent_at,
            broker_order_id: intent.order_id.clone(),
            executed: intent.executed,
            adopted: intent.adopted,
            position_before: intent.snapshot.as_ref().and_then(|s| s.position).map(|(shares, _)| shares),
            position_now: None,
            known: intent.snapshot.as_ref().map_or_else(Vec::new, |snapshot| snapshot.known.clone()),
            list_read_at: None,
            similar: Vec::new(),
            choices,
        }
    }
}
