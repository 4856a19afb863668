//! The broker's end of the program: one trait, three brokers.
//!
//! The outcome of placing an order is an enum in which "I do not know" is a value of its own; nothing in this program
//! may turn it into a yes or a no without reading the broker's own book (`protocol.md` 3.3 to 3.5). Calls block: they
//! run on the two broker threads, never on tokio. No implementation repeats an order call by itself.

pub mod hours;
pub mod paper;

use serde::{Deserialize, Serialize};

use crate::units::{IntentId, Millis, OrderId, Price, Shares, Side, Symbol};

/// What the engine must know of a broker to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// `paper`, `schwab` or `alpaca`.
    pub name: &'static str,
    /// The account the ledger is stamped with, as the broker names it.
    pub account: String,
    /// Smallest quantity: orders are multiples of it.
    pub lot: Shares,
    /// Whether the intent's id is the broker's client order id: then a lost answer is found by name, and a 404 allows
    /// the same order to go out again (`protocol.md` 3.5).
    pub client_ids: bool,
    /// Whether a SELL may go below zero (always at paper).
    pub allow_short: bool,
    /// What the broker writes on our orders, so that they are told from those typed by hand.
    pub tag: Option<String>,
    /// How often a live order is read, in milliseconds.
    pub poll_ms: i64,
}

/// One MARKET, NORMAL session, DAY order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The intent it comes from; the client order id where the broker takes one.
    pub intent: IntentId,
    /// Ticker.
    pub symbol: Symbol,
    /// The broker's side: the opposite of the exposure.
    pub side: Side,
    /// A positive multiple of the lot.
    pub quantity: Shares,
    /// Price of the last fill, for the paper walk; real brokers ignore it.
    pub reference: Option<Price>,
}

/// What became of an order call. Exactly one of five; a caller must treat each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// A clear yes: the broker's id of the order.
    Accepted(OrderId),
    /// A clear no: the broker has no such order.
    Refused {
        /// The broker's words.
        reason: String,
        /// Whether it is about us (login, rate) and not about the order: then it is not counted against the ticker,
        /// it closes the gate, for this many milliseconds.
        gate_ms: Option<i64>,
    },
    /// The client order id is taken: an earlier send of this intent did arrive. It must be looked up.
    Duplicate,
    /// Provably never left: the client failed before the request was written.
    NotSent(String),
    /// Everything else: a timeout, a reset, a 5xx, a yes without an order id (a 201 at Schwab). The order may exist.
    Unknown(String),
}

/// Why a read gave nothing. A read may be repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);

/// Where an order stands, as far as money is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// May still trade; also everything the broker says that we do not know.
    Live,
    /// Done, whole.
    Filled,
    /// Done by a cancel; may carry executions.
    Canceled,
    /// Refused after it was received.
    Rejected,
    /// Done by the end of its day.
    Expired,
    /// Replaced by a person's hand.
    Replaced,
}

impl OrderStatus {
    /// Whether the broker will not trade it any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Live)
    }
}

/// An order as the broker's own book has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerOrder {
    /// The broker's id.
    pub id: OrderId,
    /// The client order id, where the broker keeps one.
    pub client_id: Option<String>,
    /// Which program entered it, where the broker says.
    pub tag: Option<String>,
    /// Ticker.
    pub symbol: Symbol,
    /// Side.
    pub side: Side,
    /// Ordered quantity.
    pub quantity: Shares,
    /// The broker's own cumulative figure (`filledQuantity`, `filled_qty`).
    pub filled: Shares,
    /// Sum of the execution legs; an order is terminal only when this equals `filled` (`protocol.md` 3.8).
    pub executed: Shares,
    /// Share-weighted average of the legs.
    pub average_price: Option<Price>,
    /// Where it stands.
    pub status: OrderStatus,
    /// The broker's word for it, and its reason where it gives one.
    pub status_text: String,
    /// When the broker entered it.
    pub entered_at: Millis,
}

/// Whether orders may leave now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Session {
    /// Open; no order leaves in the last 15 s before `until`.
    Open {
        /// End of the session; none where it never ends.
        until: Option<Millis>,
    },
    /// Closed.
    Closed {
        /// In words, with the next opening where known.
        reason: String,
    },
}

/// A place where orders go. Time is an argument, so that a broker double is deterministic.
pub trait Broker: Send + Sync {
    /// Fixed facts.
    fn profile(&self) -> &Profile;

    /// Sends one order, once.
    fn place(&self, ticket: &Ticket, now: Millis) -> Placed;

    /// Reads one order; `None` where the broker has none by that id (yet).
    ///
    /// # Errors
    /// When the broker could not be read; says nothing about the order.
    fn order(&self, id: &OrderId, now: Millis) -> Result<Option<BrokerOrder>, ReadError>;

    /// Finds an order by client order id; only where [`Profile::client_ids`].
    ///
    /// # Errors
    /// When the broker could not be read; says nothing about the order.
    fn find(&self, intent: &IntentId, now: Millis) -> Result<Option<BrokerOrder>, ReadError>;

    /// Every order entered at or after `since`, in any order.
    ///
    /// # Errors
    /// When the list could not be read whole.
    fn list(&self, since: Millis, now: Millis) -> Result<Vec<BrokerOrder>, ReadError>;

    /// Signed positions; a ticker without one is flat.
    ///
    /// # Errors
    /// When the broker could not be read.
    fn positions(&self, now: Millis) -> Result<Vec<(Symbol, Shares)>, ReadError>;

    /// Whether the regular session is open at `now`.
    ///
    /// # Errors
    /// When the broker could not be read; the caller then falls back to the table, then to closed.
    fn session(&self, now: Millis) -> Result<Session, ReadError>;
}
