//! The built-in broker: no account, no network, and the manners of a real one.
//!
//! An order is received first and traded later: acknowledged, filled in one to four pieces, rejected, canceled or
//! expired, at times and prices that are drawn from a seed. There is no thread: whoever reads the book first lets
//! everything happen that is due by then. It knows nothing of intents, ledgers or the chain; its file is the broker's
//! own book and is in no backup of ours (`protocol.md` 5.6), so that a restored ledger meets a broker that remembers.
//!
//! # Why a crash can not hurt
//!
//! An order, its client id and its whole plan are one transaction with `synchronous=FULL`, committed before the answer
//! is given. A kill before that commit is a call that never arrived; a kill after it is an accepted order whose answer
//! was lost, found again by its client id, which is unique for ever. What happens later depends only on the stored
//! plan and the time: each read moves the due steps from the plan to the executions in one transaction and commits
//! before it answers, so nobody is ever told of an execution that a crash could undo, and a read that dies half-way is
//! done again from the same plan. Nothing is kept in memory but faults. A clock that goes back delays what is still to
//! come and takes back nothing.
//!
//! Invariant: at most one order per client id, and positions are the sum of the executions that stand.

mod book;
mod faults;
mod options;
mod plan;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Transaction};

use self::faults::OrderFaults;
pub use self::faults::{Outage, PaperFaults, PlaceFault};
pub use self::options::{PaperOptions, PaperSessions, Span};
use self::plan::{Draws, Entry, Fate};
use super::hours::{self, Hours};
use super::{Broker, BrokerOrder, Placed, Profile, Quote, ReadError, Session, Ticket};
use crate::units::{IntentId, Millis, OrderId, Price, Shares, Side, Symbol};

/// The book's file name beside the ledger.
pub const BOOK_FILE: &str = "paper.db";
/// What this broker writes on the orders of this program.
pub const TAG: &str = "TA_counterfill-paper";

/// First order number; 13 digits, like those of the real broker.
const ORDER_NUMBER_FIRST: i64 = 1_004_055_538_153;
/// Order numbers go up by one to this many: other people trade there too.
const ORDER_NUMBER_STEP_MAX: i64 = 7;
/// No order is larger: keeps every product with a price exact in 64 bits.
const ORDER_SHARES_MAX: i64 = 1_000_000;
/// Orders are done within a second; a fifth of it is soon enough to look.
const POLL_MS: i64 = 200;
/// How long the gate stays closed when the calendar has ended; a person must update the program.
const CALENDAR_GATE_MS: i64 = 60_000;
/// The real broker's words (`statusDescription`).
const NO_BUYING_POWER: &str = "You do not have enough available cash/buying power for this order.";

/// Why the paper broker can not be opened, or its book not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PaperError {
    /// The file can not be opened or created.
    #[error("the paper broker's book {path} can not be opened: {source}; its folder must exist and be writable, and no other program may hold it", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        source: rusqlite::Error,
    },
    /// The file is something else.
    #[error("{path} is not a paper broker's book; move it away or name another file", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The book was written by a program with another schema.
    #[error("the paper broker's book {path} has schema {found}, this program knows {known}; use the program that wrote it, or move the file away to begin a new book", path = path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// The book belongs to another account.
    #[error("the paper broker's book {path} belongs to account {found}, not {wanted}; name the right file or account", path = path.display())]
    OtherAccount {
        /// The file.
        path: PathBuf,
        /// Its account.
        found: String,
        /// The account asked for.
        wanted: String,
    },
    /// An option is out of its range.
    #[error("paper broker: {0}")]
    Options(String),
    /// The book says what this program could not have written.
    #[error("the paper broker's book is damaged: {0}; move the file away to begin a new book")]
    Damaged(String),
    /// The book could not be read or written.
    #[error("the paper broker's book: {0}")]
    Sql(#[from] rusqlite::Error),
}

/// One order with everything the book has on it, for a verdict from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookOrder {
    /// The order, with nothing hidden or late.
    pub order: BrokerOrder,
    /// Every execution, oldest first, busted ones too.
    pub executions: Vec<BookExecution>,
    /// How many order calls carried its client id, this one and those refused as duplicates or lost included; zero
    /// for an order typed by hand.
    pub place_calls: u64,
}

/// One execution of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookExecution {
    /// Shares, more than zero.
    pub quantity: Shares,
    /// Dollars per share.
    pub price: Price,
    /// When it happened.
    pub at: Millis,
    /// Whether it was taken back.
    pub busted: bool,
}

/// The paper broker over its book.
#[derive(Debug)]
pub struct PaperBroker {
    profile: Profile,
    options: PaperOptions,
    faults: PaperFaults,
    conn: Mutex<Connection>,
}

impl PaperBroker {
    /// Opens the book at `path`, or creates it at `now` for `options.account`.
    ///
    /// # Errors
    /// When an option is out of range, or the file can not be opened, is not a paper book, has another schema or
    /// belongs to another account.
    pub fn open(path: &Path, options: PaperOptions, now: Millis) -> Result<Self, PaperError> {
        options.check()?;
        let conn = book::open(path, &options.account, now)?;
        let profile = Profile {
            name: "paper",
            account: options.account.clone(),
            lot: Shares::whole(1),
            fraction_notional_min: None,
            client_ids: true,
            allow_short: true,
            crosses_zero: true,
            quotes: false,
            tag: Some(TAG.to_owned()),
            poll_ms: POLL_MS,
        };
        Ok(Self { profile, options, faults: PaperFaults::default(), conn: Mutex::new(conn) })
    }

    /// The switches that make things go wrong; all off at first.
    pub const fn faults(&self) -> &PaperFaults {
        &self.faults
    }

    /// Every order with its executions as of `now`, oldest first, whatever the faults say.
    ///
    /// # Errors
    /// When the book can not be read.
    pub fn book(&self, now: Millis) -> Result<Vec<BookOrder>, PaperError> {
        self.at(now, |tx| whole_book(tx))
    }

    /// How often [`Broker::place`] was called with this client id, whatever came of it.
    ///
    /// # Errors
    /// When the book can not be read.
    pub fn place_calls(&self, intent: &IntentId) -> Result<u64, PaperError> {
        let conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        book::calls(&conn, intent.as_str())
    }

    /// Enters an order that this program did not send: typed by hand, or by another application (`tag`). It is judged
    /// and trades like any other, but meets no fault.
    ///
    /// # Errors
    /// When the book can not be written.
    pub fn manual_order(
        &self,
        symbol: &Symbol,
        side: Side,
        quantity: Shares,
        tag: Option<&str>,
        now: Millis,
    ) -> Result<Placed, PaperError> {
        let order = Received { client_id: None, tag, symbol, side, quantity, reference: None };
        self.at(now, |tx| self.receive(tx, &order, now))
    }

    /// A person cancels what is left of an order. False where nothing is left or there is no such order.
    ///
    /// # Errors
    /// When the book can not be written.
    pub fn cancel_by_hand(&self, id: &OrderId, now: Millis) -> Result<bool, PaperError> {
        self.at(now, |tx| number(id).map_or(Ok(false), |number| book::cancel(tx, number)))
    }

    /// The exchange takes back the last standing execution of an order: the figures of later reads go down. False
    /// where it has none.
    ///
    /// # Errors
    /// When the book can not be written.
    pub fn bust(&self, id: &OrderId, now: Millis) -> Result<bool, PaperError> {
        self.at(now, |tx| number(id).map_or(Ok(false), |number| book::bust(tx, number)))
    }

    /// Lets happen what is due at `now`, does `work` in the same transaction, and commits both before it returns.
    fn at<T>(
        &self,
        now: Millis,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, PaperError>,
    ) -> Result<T, PaperError> {
        // A panic while the lock was held has rolled its transaction back.
        let mut conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let tx = book::immediate(&mut conn)?;
        book::advance(&tx, now)?;
        let done = work(&tx)?;
        tx.commit()?;
        Ok(done)
    }

    fn read<T>(
        &self,
        now: Millis,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, PaperError>,
    ) -> Result<T, ReadError> {
        if self.faults.current_outage().is_some() {
            return Err(ReadError("the paper broker is away (an outage was asked for)".to_owned()));
        }
        self.at(now, work).map_err(|error| ReadError(error.to_string()))
    }

    /// Judges an order and, where it is good, writes it with its whole plan.
    fn receive(&self, tx: &Transaction<'_>, order: &Received<'_>, now: Millis) -> Result<Placed, PaperError> {
        // First of all: a refusal says that there is no such order.
        if let Some(id) = order.client_id
            && book::number_of(tx, id)?.is_some()
        {
            return Ok(Placed::Duplicate);
        }
        let Some(quantity) = plan::whole_shares(order.quantity).filter(|q| *q <= ORDER_SHARES_MAX) else {
            let reason = format!(
                "Validation problem: quantity {} is not a whole number from 1 to {ORDER_SHARES_MAX}",
                order.quantity
            );
            return Ok(Placed::Refused { reason, gate_ms: None });
        };
        let Some((opens, closes)) = self.day(now) else {
            let reason = "the market calendar ends before the next session; update the program".to_owned();
            return Ok(Placed::Refused { reason, gate_ms: Some(CALENDAR_GATE_MS) });
        };
        let mid_e4 = match order.reference.filter(|price| price.is_positive()) {
            Some(reference) => plan::mid_of_e4(reference),
            None => book::mid_e4(tx, order.symbol)?.unwrap_or(plan::PRICE_START_E4),
        };
        // Faults are meant for our orders; one typed by hand does not use them up.
        let faults =
            if order.client_id.is_some() { self.faults.take_order() } else { OrderFaults::default() };
        let price = plan::price_of_e4(plan::quote_e4(order.side, mid_e4));
        let affordable = price.times(order.quantity).is_some_and(|cash| cash <= self.options.buying_power);
        let fate = match faults.reject {
            Some(reason) => Fate::Reject(reason),
            None if !affordable => Fate::Reject(NO_BUYING_POWER.to_owned()),
            None if faults.partial_then_cancel => Fate::PartialThenCancel,
            None => Fate::Fill,
        };
        let number = self.next_number(tx)?;
        let entry = Entry { side: order.side, quantity, mid_e4, entered_at: now, opens, closes, fate };
        let plan = plan::plan(self.options.seed, number, &entry, self.options.acknowledge, self.options.fill);
        let new = book::NewOrder {
            number,
            client_id: order.client_id,
            tag: order.tag,
            symbol: order.symbol,
            side: order.side,
            quantity,
            entered_at: now,
            hidden_reads: faults.hidden_reads,
            late_leg_reads: faults.late_leg_reads,
        };
        book::enter(tx, &new, &plan.steps, plan.mid_e4)?;
        Ok(Placed::Accepted(book::order_id(number)?))
    }

    /// The opening an order entered `now` waits for, if any, and the end of its day, if any; `None` where the calendar
    /// knows no session for it.
    fn day(&self, now: Millis) -> Option<(Option<Millis>, Option<Millis>)> {
        match self.options.sessions {
            PaperSessions::Always => Some((None, None)),
            PaperSessions::Nyse => match hours::session_at(now) {
                Hours::Open(regular) => Some((None, Some(regular.closes))),
                Hours::Closed { next, .. } => next.map(|next| (Some(next.opens), Some(next.closes))),
                Hours::BeyondTable => None,
            },
        }
    }

    fn next_number(&self, tx: &Transaction<'_>) -> Result<i64, PaperError> {
        Ok(match book::last_number(tx)? {
            None => ORDER_NUMBER_FIRST,
            Some(last) => last + Draws::of(self.options.seed, last).within(1, ORDER_NUMBER_STEP_MAX),
        })
    }
}

impl Broker for PaperBroker {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn place(&self, ticket: &Ticket, now: Millis) -> Placed {
        let outage = self.faults.current_outage();
        let fault = if outage.is_none() { self.faults.take_place() } else { None };
        let order = Received {
            client_id: Some(ticket.intent.as_str()),
            tag: Some(TAG),
            symbol: &ticket.symbol,
            side: ticket.side,
            quantity: ticket.quantity,
            reference: ticket.reference,
        };
        let refused = |reason: &str, gate_ms| Placed::Refused { reason: reason.to_owned(), gate_ms };
        let lost = || Placed::Unknown("no answer (a lost one was asked for)".to_owned());
        let done = self.at(now, |tx| {
            book::count_call(tx, ticket.intent.as_str())?;
            Ok(match (outage, &fault) {
                (Some(Outage::NotSent), _) => {
                    Placed::NotSent("connection refused (an outage was asked for)".to_owned())
                }
                (Some(Outage::Unknown), _) | (None, Some(PlaceFault::LoseBefore)) => lost(),
                (None, Some(PlaceFault::Refuse(reason))) => {
                    match book::number_of(tx, ticket.intent.as_str())? {
                        Some(_) => Placed::Duplicate,
                        None => refused(reason, None),
                    }
                }
                (None, Some(PlaceFault::RateLimit(ms))) => refused("Rate Limit Exceeded", Some(*ms)),
                (None, Some(PlaceFault::AcceptThenLose)) => {
                    self.receive(tx, &order, now)?;
                    lost()
                }
                (None, None) => self.receive(tx, &order, now)?,
            })
        });
        // Whether a commit that failed is on the disk after all, only the book can say.
        done.unwrap_or_else(|error| Placed::Unknown(error.to_string()))
    }

    fn order(&self, id: &OrderId, now: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        self.read(now, |tx| number(id).map_or(Ok(None), |number| shown(tx, number)))
    }

    fn find(&self, intent: &IntentId, now: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        self.read(now, |tx| {
            book::number_of(tx, intent.as_str())?.map_or(Ok(None), |number| shown(tx, number))
        })
    }

    fn list(&self, since: Millis, now: Millis) -> Result<Vec<BrokerOrder>, ReadError> {
        self.read(now, |tx| {
            let mut numbers = book::numbers(tx, since)?;
            // No broker promises an order of its list; a caller that relies on one is to fail here first.
            numbers.sort_by_key(|number| Draws::of(self.options.seed, *number).draw());
            numbers.into_iter().filter_map(|number| shown(tx, number).transpose()).collect()
        })
    }

    fn positions(&self, now: Millis) -> Result<Vec<(Symbol, Shares)>, ReadError> {
        self.read(now, |tx| book::positions(tx))
    }

    fn session(&self, now: Millis) -> Result<Session, ReadError> {
        self.read(now, |_| {
            Ok(match self.options.sessions {
                PaperSessions::Always => Session::Open { until: None },
                PaperSessions::Nyse => hours::session_at(now).into(),
            })
        })
    }

    fn calendar_ends(&self) -> Option<Millis> {
        hours::table_ends().filter(|_| self.options.sessions == PaperSessions::Nyse)
    }

    /// What the next order of each ticker would trade at; a ticker that never traded here has no price yet.
    fn quotes(&self, symbols: &[Symbol], now: Millis) -> Result<Vec<Quote>, ReadError> {
        self.read(now, |tx| {
            let mut quotes = Vec::new();
            for symbol in symbols {
                let Some(mid_e4) = book::mid_e4(tx, symbol)? else { continue };
                let price = |side| Some(plan::price_of_e4(plan::quote_e4(side, mid_e4)));
                quotes.push(Quote {
                    symbol: symbol.clone(),
                    bid: price(Side::Sell),
                    ask: price(Side::Buy),
                    last: Some(plan::price_of_e4(mid_e4)),
                    at: now,
                    tradable: true,
                    partial_feed: None,
                    missing: None,
                });
            }
            Ok(quotes)
        })
    }
}

/// Reads the broker's own truth from its file, also beside a running broker or after it was killed: what had happened
/// at the last read or call the broker answered. What is due since then is not in it.
///
/// # Errors
/// When the file can not be opened, is not a paper book, or can not be read.
pub fn read_book(path: &Path) -> Result<Vec<BookOrder>, PaperError> {
    let mut conn = book::open_read_only(path)?;
    // One transaction, so that every order is seen at the same moment.
    let tx = conn.transaction()?;
    whole_book(&tx)
}

/// An order as it comes in, from us or from somebody else.
struct Received<'a> {
    client_id: Option<&'a str>,
    tag: Option<&'a str>,
    symbol: &'a Symbol,
    side: Side,
    quantity: Shares,
    reference: Option<Price>,
}

fn whole_book(conn: &Connection) -> Result<Vec<BookOrder>, PaperError> {
    let numbers = book::numbers(conn, Millis(i64::MIN))?;
    numbers.into_iter().filter_map(|number| book::order(conn, number).transpose()).collect()
}

/// The order as a read shows it, faults applied.
fn shown(tx: &Transaction<'_>, number: i64) -> Result<Option<BrokerOrder>, PaperError> {
    let Some(BookOrder { mut order, executions, .. }) = book::order(tx, number)? else {
        return Ok(None);
    };
    if book::use_up_hidden_read(tx, number)? {
        return Ok(None);
    }
    if order.executed.is_positive() && book::use_up_late_leg_read(tx, number)? {
        let standing: Vec<_> = executions.into_iter().filter(|leg| !leg.busted).collect();
        let earlier = standing.iter().take(standing.len().saturating_sub(1));
        if let Some((executed, average_price)) = book::sum(earlier) {
            order.executed = executed;
            order.average_price = average_price;
        }
    }
    Ok(Some(order))
}

/// The number in an order id; none where it is not one of ours.
fn number(id: &OrderId) -> Option<i64> {
    id.as_str().parse().ok().filter(|number: &i64| number.to_string() == id.as_str())
}
