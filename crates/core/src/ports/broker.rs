//! What a broker is asked, and what it answers: one trait, and the orders, quotes and sessions it speaks of.
//!
//! The outcome of placing an order is an enum in which "I do not know" is a value of its own; nothing in this program
//! may turn it into a yes or a no without reading the broker's own book (`protocol.md` 3.3 to 3.5). Calls block: they
//! run on the two broker threads, never on tokio. No implementation repeats an order call by itself.

use serde::{Deserialize, Serialize};

use crate::units::{Cash, IntentId, Millis, OrderId, Price, Shares, Side, Symbol};

/// Digits of the account's number by which a configuration names a live account.
pub const LIVE_ACCOUNT_DIGITS: usize = 4;

/// What the engine must know of a broker to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// `paper`, `schwab` or `alpaca`.
    pub name: &'static str,
    /// The account the ledger is stamped with; empty where only the broker can tell (see [`Broker::account`]).
    pub account: String,
    /// Smallest quantity: orders are multiples of it.
    pub lot: Shares,
    /// Dollars below which the broker takes no order for a fraction of a share; none where it trades whole shares or has
    /// no such rule. Reckoned at the fills' price, so it holds a margin for the difference to the broker's.
    pub fraction_notional_min: Option<Cash>,
    /// Whether the intent's id is the broker's client order id: then a lost answer is found by name, and a 404 allows
    /// the same order to go out again (`protocol.md` 3.5).
    pub client_ids: bool,
    /// Whether a SELL may go below zero (`ALLOW_SHORT`; always at paper).
    pub allow_short: bool,
    /// Whether one order may take a position from long to short or back (only at paper); elsewhere that takes two
    /// orders in sequence, and a SELL of shares that are held needs to know how many are (`protocol.md` 3.9).
    pub crosses_zero: bool,
    /// Whether [`Broker::quotes`] tells the market's own prices. Paper makes its prices of the fills themselves, so
    /// there is nothing to hold against them (`protocol.md` 4).
    pub quotes: bool,
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
    /// Whether it opens a short position (SELL) or covers one (BUY), as far as the last reading of the positions says;
    /// some brokers have words of their own for these. Always false where [`Profile::crosses_zero`].
    pub short: bool,
}

/// What became of an order call. Exactly one of six; a caller must treat each.
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
    /// A clear no that is about the account: the broker has no such order, and takes none of this account. In the
    /// broker's words.
    Barred(String),
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

/// Why it is not known whose account it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// The broker could not be asked; it may be asked again.
    #[error("{0}")]
    Away(String),
    /// It is not the account it must be: a person must change the configuration.
    #[error("{0}")]
    Wrong(String),
}

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
    /// Whether it is of the kind that this program sends: a single leg, MARKET, NORMAL session, DAY. An order of any
    /// other kind is never taken for one whose answer was lost (`protocol.md` 3.5).
    pub ordinary: bool,
}

/// What one share costs now, as the broker tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// Ticker.
    pub symbol: Symbol,
    /// Highest price somebody pays, in dollars a share.
    pub bid: Option<Price>,
    /// Lowest price somebody asks, in dollars a share.
    pub ask: Option<Price>,
    /// The last trade's price, in dollars a share.
    pub last: Option<Price>,
    /// The moment it is of, by the broker's clock.
    pub at: Millis,
    /// False where the share is halted or suspended, or the quote is not of this moment (delayed).
    pub tradable: bool,
    /// The feed it is from, where that is less than the whole market: then a side that is missing or far may be one
    /// exchange's alone.
    pub partial_feed: Option<&'static str>,
    /// Why there are no prices, in the broker's words; none where there are.
    pub missing: Option<String>,
}

impl Quote {
    /// What a broker says that does not quote a ticker.
    #[must_use]
    pub const fn missing(symbol: Symbol, at: Millis, why: String) -> Self {
        Self {
            symbol,
            bid: None,
            ask: None,
            last: None,
            at,
            tradable: true,
            partial_feed: None,
            missing: Some(why),
        }
    }
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
    /// Closed by caution, and worth a person's look: the broker and the table differ, or the clocks do.
    Disputed {
        /// In words.
        reason: String,
    },
}

/// How it stands with a login that ends; for health, metrics and words to a person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoginFacts {
    /// When a person logged in; none where nobody has.
    pub logged_in_at: Option<Millis>,
    /// When only a new login will do.
    pub ends_at: Option<Millis>,
    /// Why no token is to be had now, in words that hold no secret.
    pub trouble: Option<String>,
    /// What a person must do about that; none where it may pass by itself.
    pub mend: Option<Mend>,
    /// What the broker does not open to this login although it is good.
    pub denied: Vec<Denied>,
}

/// Something that a good login does not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What, such as `quotes`; a name that does not change.
    pub what: &'static str,
    /// The broker's words and what a person may look at; no secret.
    pub words: String,
}

/// What only a person can do about a login that is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// Log in.
    LogIn,
    /// Give the key that the login was sealed with.
    SealingKey,
    /// Let the login's file be read.
    File,
    /// Give the application's own key and secret.
    Application,
}

impl Mend {
    /// What to do, as it follows a colon.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::LogIn => "type `auth login`; a running bot takes the new login by itself",
            Self::SealingKey => {
                "set ENCRYPTION_KEY to the key that the login was sealed with, the new one after `auth rekey`, and start \
                 the bot again; where that key is lost, `auth login --overwrite` seals a new login with this one"
            }
            Self::File => {
                "look at the owner and the mode of the login's file, or move it away and type `auth login`"
            }
            Self::Application => {
                "set APP_KEY and APP_SECRET to those on the application's own page, and start the bot again"
            }
        }
    }
}

/// A place where orders go. Time is an argument, so that a broker double is deterministic.
pub trait Broker: Send + Sync {
    /// Fixed facts.
    fn profile(&self) -> &Profile;

    /// The account that a ledger is stamped with. Only a broker that can not know it beforehand needs to be asked.
    ///
    /// # Errors
    /// When the broker does not answer, or answers with an account that it must not be.
    fn account(&self, now: Millis) -> Result<String, AccountError> {
        let _ = now;
        Ok(self.profile().account.clone())
    }

    /// Which account the ledger is stamped with, where the broker was not asked: with another it must do nothing.
    fn expect_account(&self, account: &str) {
        let _ = account;
    }

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

    /// Quotes of these tickers, in any order; one that the broker does not know is left out. Asked only where
    /// [`Profile::quotes`].
    ///
    /// # Errors
    /// When the broker could not be read.
    fn quotes(&self, symbols: &[Symbol], now: Millis) -> Result<Vec<Quote>, ReadError>;

    /// When the calendar of this program ends, where no session opens without its word; none where it needs none.
    fn calendar_ends(&self) -> Option<Millis> {
        None
    }

    /// By how many milliseconds the broker's clock was ahead of ours (negative: behind) in its last answer that told;
    /// none where it does not say. It is asked after every read.
    fn clock_ahead_ms(&self) -> Option<i64> {
        None
    }

    /// What keeps the account from trading, in the broker's words; nothing where all is well, or where it does not tell.
    ///
    /// # Errors
    /// When the broker could not be read.
    fn troubles(&self, now: Millis) -> Result<Vec<String>, ReadError> {
        let _ = now;
        Ok(Vec::new())
    }

    /// How it stands with the login, as far as it was needed so far; none where the broker knows no login that ends.
    /// Answers at once: it may be called on tokio.
    fn login(&self) -> Option<LoginFacts> {
        None
    }
}
