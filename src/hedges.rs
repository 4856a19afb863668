//! Intents: what we want of the broker, the states an order goes through, and what stops us (`protocol.md` 3, 4).
//!
//! Pure. It refuses to know how an order is sent and what the chain is. Invariant: a state changes only along an arrow
//! of [`IntentState::may_become`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::units::{Cash, IntentId, Millis, OrderId, ParseError, Price, Shares, Side, Symbol};

/// Where an intent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum IntentState {
    /// Wanted, but something holds it back. Has no force: every batch recomputes it.
    Planned,
    /// No longer wanted before it was sent.
    Withdrawn,
    /// Durable; the bytes may be out. A crash here asks the broker.
    Sent,
    /// The broker did not have it: a clear no, or provably not sent.
    Refused,
    /// Nobody knows whether the broker has it.
    Unknown,
    /// In the broker's book, read and verified.
    Working,
    /// Done, whole.
    Filled,
    /// Done by a cancel; may carry executions.
    Canceled,
    /// Refused by the broker after it was received.
    Rejected,
    /// Done by the end of its day.
    Expired,
    /// Proved not to exist at the broker.
    Absent,
    /// Contradictory; waits for a person, and so does its ticker.
    Stuck,
}

impl IntentState {
    /// Every state, in the order of the drawing.
    pub const ALL: [Self; 12] = [
        Self::Planned,
        Self::Withdrawn,
        Self::Sent,
        Self::Refused,
        Self::Unknown,
        Self::Working,
        Self::Filled,
        Self::Canceled,
        Self::Rejected,
        Self::Expired,
        Self::Absent,
        Self::Stuck,
    ];

    /// Whether it blocks its ticker: no other intent may live beside it.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Planned | Self::Sent | Self::Unknown | Self::Working | Self::Stuck)
    }

    /// Whether the drawing in `protocol.md` 3 has an arrow from here to `to`. `Sent → Sent` is the claim
    /// of the order id in the broker's yes (3.3; Schwab answers 201); `Unknown → Sent` is the same POST with the same
    /// client order id (3.5).
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        use IntentState::{
            Absent, Canceled, Expired, Filled, Planned, Refused, Rejected, Sent, Stuck, Unknown, Withdrawn,
            Working,
        };
        match self {
            Planned => matches!(to, Withdrawn | Sent),
            Sent => matches!(to, Sent | Working | Refused | Unknown | Stuck),
            Unknown => matches!(to, Working | Absent | Stuck | Sent),
            Working => matches!(to, Filled | Canceled | Rejected | Expired | Stuck),
            Stuck => matches!(to, Working | Absent | Filled | Canceled | Rejected | Expired),
            Withdrawn | Refused | Filled | Canceled | Rejected | Expired | Absent => false,
        }
    }

    /// The stable text in ledger and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "Planned",
            Self::Withdrawn => "Withdrawn",
            Self::Sent => "Sent",
            Self::Refused => "Refused",
            Self::Unknown => "Unknown",
            Self::Working => "Working",
            Self::Filled => "Filled",
            Self::Canceled => "Canceled",
            Self::Rejected => "Rejected",
            Self::Expired => "Expired",
            Self::Absent => "Absent",
            Self::Stuck => "Stuck",
        }
    }
}

impl fmt::Display for IntentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for IntentState {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| ParseError::NotName(text.chars().take(32).collect(), "intent state"))
    }
}

/// One decision to trade, from birth to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Its name.
    pub id: IntentId,
    /// Ticker.
    pub symbol: Symbol,
    /// The broker's side.
    pub side: Side,
    /// Positive multiple of the lot. Of a `Planned` intent: what was wanted when it was planned.
    pub quantity: Shares,
    /// Where it stands.
    pub state: IntentState,
    /// How many transitions it has had; its birth is number 0.
    pub transitions: u32,
    /// When it was born.
    pub created_at: Millis,
    /// When it last became `Sent`; committed before the bytes go out.
    pub sent_at: Option<Millis>,
    /// When it last changed its state.
    pub changed_at: Millis,
    /// The broker's order: claimed when the broker said yes, verified when `Working`.
    pub order_id: Option<OrderId>,
    /// Sum of its executions so far (a magnitude).
    pub executed: Shares,
    /// How many execution rows it has.
    pub executions: u32,
    /// Found in the broker's book without an intent of ours (`protocol.md` 3.6, 5.2).
    pub adopted: bool,
    /// Price of the last fill at birth, for the paper walk.
    pub reference: Option<Price>,
    /// The last transition's reason.
    pub reason: String,
}

/// The most that may leave; beyond a cap an order is cut to it and the rest follows (`protocol.md` 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Shares in one order.
    pub max_order_shares: Shares,
    /// Dollars in one order, at the last fill's price.
    pub max_order_notional: Cash,
    /// Orders in any 60 s.
    pub max_orders_per_minute: u32,
    /// Orders in any 24 h.
    pub max_orders_per_day: u32,
    /// Dollars in any 24 h, at the last fills' prices.
    pub max_daily_notional: Cash,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_order_shares: Shares::whole(1_000),
            max_order_notional: Cash::whole(250_000),
            max_orders_per_minute: 60,
            max_orders_per_day: 4_000,
            max_daily_notional: Cash::whole(5_000_000),
        }
    }
}

/// What stops trading until it is lifted. Each is lifted only by its own command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HaltKind {
    /// A person said so.
    Operator,
    /// An intent is `Stuck`.
    Stuck,
    /// Five attempts in a row without an execution.
    Rejects,
    /// The broker changed an execution it had reported.
    ExecutionChanged,
    /// The broker's book holds an order in our tickers that we did not send.
    ForeignOrder,
}

impl HaltKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Operator, Self::Stuck, Self::Rejects, Self::ExecutionChanged, Self::ForeignOrder];

    /// The stable text in ledger and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Stuck => "stuck",
            Self::Rejects => "rejects",
            Self::ExecutionChanged => "execution_changed",
            Self::ForeignOrder => "foreign_order",
        }
    }
}

impl HaltKind {
    /// What to type to lift a halt of this kind; the reason is the operator's.
    #[must_use]
    pub fn lifted_by(self, symbol: Option<&Symbol>) -> String {
        let ticker = symbol.map_or_else(String::new, |symbol| format!(" {symbol}"));
        match self {
            Self::Operator => format!("bot resume{ticker} --reason …"),
            kind => format!("bot resume{ticker} --kind {} --reason …", kind.as_str()),
        }
    }
}

impl std::str::FromStr for HaltKind {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| ParseError::NotName(text.chars().take(32).collect(), "halt kind"))
    }
}
