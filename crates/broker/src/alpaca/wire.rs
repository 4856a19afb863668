//! What Alpaca writes, read: orders, positions, account, clock, calendar, errors.
//!
//! Only what is used is read, and nothing that the broker may take out is required; what money depends on (a traded
//! quantity, a side) is, and an answer without it is no answer. Numbers come as texts or as numbers and are read by
//! their digits. Prose is kept for people and decides nothing.
//!
//! Invariant: a status that is not known is live, because it may still trade.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::quotes::Feed;
use crate::digits::Digits;
use crate::http::words;
use crate::session::Clock;
use crate::units::{IntentId, Millis, OrderId, Price, Shares, Side, Symbol};
use crate::{BrokerOrder, OrderStatus, Quote};

/// Written on our orders: the beginning of every client order id of this program. Those typed by hand have a UUID.
pub const TAG: &str = "cf-";

/// The free feed is one exchange's, on which a share that trades may go without a new quote for minutes.
const QUOTE_MS_MAX: i64 = 15 * 60_000;
/// A trade that is older says nothing of now.
const TRADE_MS_MAX: i64 = 60_000;

/// An order as it comes.
#[derive(Debug, Deserialize)]
struct OrderWire {
    id: String,
    client_order_id: Option<String>,
    created_at: Option<String>,
    submitted_at: Option<String>,
    symbol: String,
    qty: Option<Digits>,
    filled_qty: Digits,
    filled_avg_price: Option<Digits>,
    side: String,
    status: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    time_in_force: Option<String>,
    extended_hours: Option<bool>,
    order_class: Option<String>,
    replaced_by: Option<String>,
}

/// Whether a row of a list is about something this program never trades: an option, a coin, a name that is no ticker.
/// And where it stands in the list.
#[derive(Debug, Deserialize)]
struct Kind {
    symbol: Option<String>,
    asset_class: Option<String>,
    client_order_id: Option<String>,
    submitted_at: Option<String>,
    created_at: Option<String>,
}

impl Kind {
    fn is_foreign(&self) -> bool {
        let ours = self.client_order_id.as_deref().is_some_and(|id| id.starts_with(TAG));
        let equity = self.asset_class.as_deref().is_none_or(|class| class == "us_equity");
        // What says that it is a share and not which one is broken, not foreign.
        let ticker = match &self.symbol {
            // Without a class a name with a slash is a pair of coins, not a class of shares.
            Some(symbol) => {
                (self.asset_class.is_some() || !symbol.contains('/')) && symbol.parse::<Symbol>().is_ok()
            }
            None => self.asset_class.is_some(),
        };
        !(ours || equity && ticker)
    }

    /// What the list is sorted and filtered by; `created_at` is up to 31 ms later, and all there is where the first is
    /// missing.
    fn submitted_at(&self) -> Option<Timestamp> {
        [&self.submitted_at, &self.created_at].into_iter().flatten().find_map(|text| text.parse().ok())
    }
}

/// An order, and which one took its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The order alone.
    pub order: BrokerOrder,
    /// The order that replaced it.
    pub replaced_by: Option<OrderId>,
}

/// A page of the list of orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Those that are ours to look at.
    pub orders: Vec<Linked>,
    /// How many rows there were with all others.
    pub rows: usize,
    /// When the first and the last of all rows were submitted, to the nanosecond; none where no row says.
    pub span: Option<(Timestamp, Timestamp)>,
}

/// One order.
///
/// # Errors
/// In words, when something that money depends on can not be read.
pub fn order(json: &[u8]) -> Result<BrokerOrder, String> {
    linked(json).map(|linked| linked.order)
}

/// One order with its link.
///
/// # Errors
/// As [`order`].
pub fn linked(json: &[u8]) -> Result<Linked, String> {
    let wire: OrderWire = serde_json::from_slice(json).map_err(|error| format!("an order: {error}"))?;
    // A link that can not be read leads nowhere; then the order is replaced, and a person looks.
    let replaced_by = wire.replaced_by.as_deref().and_then(|id| id.parse().ok());
    read_order(wire).map(|order| Linked { order, replaced_by })
}

/// A page of the list of orders.
///
/// # Errors
/// In words, when one that may matter can not be read: a list with a hole is no list.
pub fn orders(json: &[u8]) -> Result<Page, String> {
    let rows: Vec<&RawValue> =
        serde_json::from_slice(json).map_err(|error| format!("the orders: {error}"))?;
    let mut page = Page { orders: Vec::with_capacity(rows.len()), rows: rows.len(), span: None };
    for row in &rows {
        let kind: Kind = serde_json::from_str(row.get()).map_err(|error| format!("an order: {error}"))?;
        if let Some(at) = kind.submitted_at() {
            page.span = page.span.map_or(Some((at, at)), |(first, last)| Some((first.min(at), last.max(at))));
        }
        if !kind.is_foreign() {
            page.orders.push(linked(row.get().as_bytes())?);
        }
    }
    Ok(page)
}

fn read_order(wire: OrderWire) -> Result<BrokerOrder, String> {
    let id: OrderId = wire.id.parse().map_err(|_| "an order's id is no name".to_owned())?;
    let wrong = |what: &str, why: &dyn std::fmt::Display| format!("order {id}: {what}: {why}");
    let filled = wire.filled_qty.shares().map_err(|error| wrong("filled_qty", &error))?;
    let quantity = match &wire.qty {
        Some(digits) => digits.shares().map_err(|error| wrong("qty", &error))?,
        // Ordered by dollars, which we never do: what it has traded is all that can be said.
        None => filled,
    };
    // The list goes by submission; `created_at` is some milliseconds later.
    let entered =
        wire.submitted_at.or(wire.created_at).ok_or_else(|| wrong("submitted_at", &"is missing"))?;
    let tag = wire.client_order_id.as_deref().filter(|name| is_ours(name)).map(|_| TAG.to_owned());
    Ok(BrokerOrder {
        tag,
        symbol: wire.symbol.parse().map_err(|error| wrong("symbol", &error))?,
        side: side(&wire.side).ok_or_else(|| wrong("side", &words(&wire.side)))?,
        quantity,
        filled,
        // Alpaca shows no legs: the cumulative figure is all there is, and it is what is booked.
        executed: filled,
        average_price: wire.filled_avg_price.and_then(|price| price.price().ok()),
        status: status(&wire.status),
        status_text: words(&wire.status),
        entered_at: moment(&entered).ok_or_else(|| wrong("submitted_at", &words(&entered)))?,
        ordinary: wire.kind.as_deref() == Some("market")
            && wire.time_in_force.as_deref() == Some("day")
            && wire.extended_hours != Some(true)
            && matches!(wire.order_class.as_deref(), None | Some("" | "simple")),
        client_id: wire.client_order_id,
        id,
    })
}

/// Whether a client order id is one that this program gave.
fn is_ours(name: &str) -> bool {
    name.starts_with(TAG) && name.parse::<IntentId>().is_ok()
}

fn side(word: &str) -> Option<Side> {
    match word {
        "buy" => Some(Side::Buy),
        "sell" | "sell_short" => Some(Side::Sell),
        _ => None,
    }
}

/// `done_for_day`, `calculated`, `stopped`, `suspended` and `held` look like ends and are none.
fn status(word: &str) -> OrderStatus {
    match word {
        "filled" => OrderStatus::Filled,
        "canceled" => OrderStatus::Canceled,
        "rejected" => OrderStatus::Rejected,
        "expired" => OrderStatus::Expired,
        "replaced" => OrderStatus::Replaced,
        _ => OrderStatus::Live,
    }
}

fn moment(text: &str) -> Option<Millis> {
    text.parse::<Timestamp>().ok().map(|moment| Millis(moment.as_millisecond()))
}

/// The yes to an order call: the broker's id and the client's.
#[derive(Debug, Deserialize)]
pub struct Yes {
    /// The broker's id.
    pub id: OrderId,
    /// What we called it.
    pub client_order_id: String,
}

/// Signed positions in shares.
///
/// # Errors
/// In words.
pub fn positions(json: &[u8]) -> Result<Vec<(Symbol, Shares)>, String> {
    #[derive(Deserialize)]
    struct Wire {
        symbol: String,
        qty: Digits,
        side: Option<String>,
    }
    let rows: Vec<&RawValue> =
        serde_json::from_slice(json).map_err(|error| format!("the positions: {error}"))?;
    let mut positions = Vec::with_capacity(rows.len());
    for row in rows {
        let read = |error: serde_json::Error| format!("a position: {error}");
        if serde_json::from_str::<Kind>(row.get()).map_err(read)?.is_foreign() {
            continue;
        }
        let wire: Wire = serde_json::from_str(row.get()).map_err(read)?;
        let symbol: Symbol = wire.symbol.parse().map_err(|error| format!("a position: {error}"))?;
        let shares = wire.qty.shares().map_err(|error| format!("the position in {symbol}: {error}"))?;
        // A short one is negative already; a drift to magnitudes would be told by its side.
        let short = wire.side.as_deref() == Some("short");
        positions.push((symbol, if short { shares.magnitude().negated() } else { shares }));
    }
    Ok(positions)
}

/// What is used of the account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Account {
    /// The broker's name of it, which never changes.
    pub id: String,
    /// What a person knows it by. Shown nowhere.
    pub account_number: String,
    /// `ACTIVE`, or why not.
    pub status: Option<String>,
    /// Whether orders are refused.
    #[serde(default)]
    pub trading_blocked: Option<bool>,
    /// Whether everything is.
    #[serde(default)]
    pub account_blocked: Option<bool>,
    /// Whether orders are refused by a setting of the account's owner.
    #[serde(default)]
    pub trade_suspended_by_user: Option<bool>,
}

/// The account.
///
/// # Errors
/// In words that hold nothing of it.
pub fn account(json: &[u8]) -> Result<Account, String> {
    serde_json::from_slice(json)
        .map_err(|_| "the account can not be read: it lacks its id or its number".into())
}

/// The clock.
///
/// # Errors
/// In words.
pub fn clock(json: &[u8]) -> Result<Clock, String> {
    #[derive(Deserialize)]
    struct Wire {
        timestamp: String,
        is_open: bool,
        next_open: Option<String>,
        next_close: Option<String>,
    }
    let wire: Wire = serde_json::from_slice(json).map_err(|error| format!("the clock: {error}"))?;
    Ok(Clock {
        at: moment(&wire.timestamp).ok_or_else(|| format!("the clock: {}", words(&wire.timestamp)))?,
        is_open: wire.is_open,
        next_close: wire.next_close.as_deref().and_then(moment),
        next_open: wire.next_open.as_deref().and_then(moment),
    })
}

/// The regular session of `day` as the calendar has it; none where it has none. Asked for a day without trading, Alpaca
/// may answer with the next one that has, so the date is compared.
///
/// # Errors
/// In words.
pub fn session_on(json: &[u8], day: Date) -> Result<Option<(Time, Time)>, String> {
    #[derive(Deserialize)]
    struct Wire {
        date: String,
        open: String,
        close: String,
    }
    let rows: Vec<Wire> = serde_json::from_slice(json).map_err(|error| format!("the calendar: {error}"))?;
    let Some(row) = rows.iter().find(|row| row.date.parse::<Date>().is_ok_and(|date| date == day)) else {
        return Ok(None);
    };
    match (local_time(&row.open), local_time(&row.close)) {
        (Some(open), Some(close)) if open < close => Ok(Some((open, close))),
        _ => {
            Err(format!("the calendar: {} opens {} and closes {}", day, words(&row.open), words(&row.close)))
        }
    }
}

/// `09:30` or `0930`.
fn local_time(text: &str) -> Option<Time> {
    let digits: String = text.chars().filter(|c| *c != ':').collect();
    // Four bytes need not be four digits: they may be half a letter, or a sign.
    if digits.len() != 4 || text.len() > 5 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hour, minute) = digits.split_at(2);
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// The newest quotes, of names that are tickers. A quote that is the newest there is holds until the next one, so it is of
/// the moment it was read; but one of a quarter of an hour ago is of a share that does not trade, and keeps its own time.
/// A feed that is late is that much younger.
///
/// # Errors
/// In words.
pub fn quotes(json: &[u8], feed: Feed, now: Millis) -> Result<Vec<Quote>, String> {
    #[derive(Deserialize)]
    struct Wire {
        t: String,
        ap: Option<Digits>,
        bp: Option<Digits>,
    }
    #[derive(Deserialize)]
    struct Wires<'a> {
        #[serde(borrow)]
        quotes: BTreeMap<String, &'a RawValue>,
    }
    let wires: Wires<'_> = serde_json::from_slice(json).map_err(|error| format!("the quotes: {error}"))?;
    let mut quotes = Vec::with_capacity(wires.quotes.len());
    for (name, row) in wires.quotes {
        // What is no ticker is no quote, but a field that was added since; it must not cost the others.
        let Ok(symbol) = name.parse::<Symbol>() else { continue };
        let wrong = |why: &dyn std::fmt::Display| format!("the quote of {symbol}: {why}");
        let wire: Wire = serde_json::from_str(row.get()).map_err(|error| wrong(&error))?;
        let own = moment(&wire.t).ok_or_else(|| wrong(&"its time"))?.plus(feed.late_ms());
        // A side on which nobody quotes is zero.
        let price = |digits: Option<Digits>| digits.and_then(|d| d.price().ok()).filter(|p| p.is_positive());
        let at = if now.since(own) <= QUOTE_MS_MAX { own.max(now) } else { own };
        quotes.push(Quote {
            symbol,
            bid: price(wire.bp),
            ask: price(wire.ap),
            last: None,
            at,
            tradable: true,
            partial_feed: feed.partial(),
            missing: None,
        });
    }
    Ok(quotes)
}

/// The last trades that are young enough to say what a share costs now. A trade does not hold until the next, as a quote
/// does.
///
/// # Errors
/// In words.
pub fn trades(json: &[u8], feed: Feed, now: Millis) -> Result<Vec<(Symbol, Price)>, String> {
    #[derive(Deserialize)]
    struct Wire {
        t: String,
        p: Digits,
    }
    #[derive(Deserialize)]
    struct Wires<'a> {
        #[serde(borrow)]
        trades: BTreeMap<String, &'a RawValue>,
    }
    let wires: Wires<'_> = serde_json::from_slice(json).map_err(|error| format!("the trades: {error}"))?;
    let mut trades = Vec::with_capacity(wires.trades.len());
    for (name, row) in wires.trades {
        let Ok(symbol) = name.parse::<Symbol>() else { continue };
        let wrong = |why: &dyn std::fmt::Display| format!("the last trade of {symbol}: {why}");
        let wire: Wire = serde_json::from_str(row.get()).map_err(|error| wrong(&error))?;
        let own = moment(&wire.t).ok_or_else(|| wrong(&"its time"))?.plus(feed.late_ms());
        let price = wire.p.price().map_err(|error| wrong(&error))?;
        if now.since(own) <= TRADE_MS_MAX && price.is_positive() {
            trades.push((symbol, price));
        }
    }
    Ok(trades)
}

/// The broker's own error: its code, and what it says. None where the answer is no such error.
#[must_use]
pub fn error(json: &[u8]) -> Option<(u32, String)> {
    #[derive(Deserialize)]
    struct Wire {
        code: u32,
        #[serde(default)]
        message: String,
    }
    serde_json::from_slice::<Wire>(json).ok().map(|wire| (wire.code, words(&wire.message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_five_statuses_are_ends() {
        let ends = ["filled", "canceled", "expired", "rejected", "replaced"];
        let not = [
            "new",
            "partially_filled",
            "done_for_day",
            "pending_cancel",
            "pending_replace",
            "pending_review",
            "accepted",
            "pending_new",
            "accepted_for_bidding",
            "stopped",
            "suspended",
            "calculated",
            "held",
            "",
            "FILLED",
            "something_new",
        ];
        assert!(ends.iter().all(|word| status(word).is_terminal()));
        assert!(not.iter().all(|word| status(word) == OrderStatus::Live));
    }

    #[test]
    fn times_of_the_calendar() {
        assert_eq!(local_time("09:30"), local_time("0930"));
        assert_eq!(local_time("13:00").unwrap().to_string(), "13:00:00");
        for wrong in ["", "9:30", "24:00", "09:30:00", "ab:cd", "+930", "0é2", "093", "0:930"] {
            assert!(wrong == "0:930" || local_time(wrong).is_none(), "{wrong}");
        }
        let day = jiff::civil::date(2026, 11, 26);
        let next = br#"[{"date":"2026-11-27","open":"09:30","close":"13:00","session_open":"0400"}]"#;
        assert_eq!(session_on(next, day).unwrap(), None, "the next day that trades is not this one");
        assert!(session_on(next, jiff::civil::date(2026, 11, 27)).unwrap().is_some());
        assert!(session_on(br#"[{"date":"2026-11-26","open":"16:00","close":"09:30"}]"#, day).is_err());
    }

    #[test]
    fn an_error_is_known_by_its_code() {
        let told = error(br#"{"code":40310000,"message":"insufficient buying power","extra":1}"#);
        assert_eq!(told, Some((40_310_000, "insufficient buying power".into())));
        assert_eq!(error(b"<html>Access Denied</html>"), None);
        assert_eq!(error(b"{}"), None);
    }
}
