//! What Schwab writes, read: orders, accounts, positions, hours, quotes, errors.
//!
//! Only what is used is read, and nothing else is required; what money depends on (a traded quantity, a side) is, and an
//! answer without it is no answer. Numbers come as numbers or as texts and are read by their digits.
//!
//! Invariant: a status that is not known is live, because it may still trade; only legs of `FILL` executions are trades,
//! because the record of a cancel looks like one at price zero.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::LIVE_ACCOUNT_DIGITS;
use crate::digits::Digits;
use crate::http::{Answer, words};
use crate::units::{Cash, Millis, OrderId, Price, Shares, Side, Symbol};
use crate::{BrokerOrder, OrderStatus, Quote};

/// Strategies within strategies deeper than this are not looked into.
const NESTED_MAX: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderWire {
    order_id: Digits,
    status: Option<String>,
    status_description: Option<String>,
    entered_time: Option<String>,
    tag: Option<String>,
    quantity: Digits,
    filled_quantity: Digits,
    order_type: Option<String>,
    session: Option<String>,
    duration: Option<String>,
    order_strategy_type: Option<String>,
    #[serde(default)]
    order_leg_collection: Vec<LegWire>,
    order_activity_collection: Option<Vec<ActivityWire>>,
}

#[derive(Debug, Deserialize)]
struct LegWire {
    instruction: Option<String>,
    instrument: InstrumentWire,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstrumentWire {
    symbol: Option<String>,
    asset_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ActivityWire {
    activity_type: Option<String>,
    execution_type: Option<String>,
    execution_legs: Option<Vec<ExecutionWire>>,
}

#[derive(Debug, Deserialize)]
struct ExecutionWire {
    quantity: Digits,
    price: Digits,
}

/// What decides whether a row of a list is about something this program never trades.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    order_leg_collection: Vec<LegWire>,
    #[serde(default)]
    child_order_strategies: Vec<Box<RawValue>>,
}

impl Kind {
    /// An order of no share at all: an option, a fund by its name, a strategy that only holds others.
    fn is_foreign(&self) -> bool {
        let share = |leg: &LegWire| {
            let kind = leg.instrument.asset_type.as_deref().unwrap_or("EQUITY");
            let ticker =
                leg.instrument.symbol.as_deref().is_some_and(|symbol| symbol.parse::<Symbol>().is_ok());
            ticker && matches!(kind, "EQUITY" | "COLLECTIVE_INVESTMENT")
        };
        !self.order_leg_collection.iter().any(share)
    }
}

/// A ticker as Schwab spells it: a class of shares stands after a slash (`BRK/B`), as public clients report. What it answers
/// is read in any spelling ([`Symbol`]).
#[must_use]
pub fn spelled(symbol: &Symbol) -> String {
    symbol.as_str().replace('.', "/")
}

/// One order.
///
/// # Errors
/// In words, when something that money depends on can not be read.
pub fn order(json: &[u8]) -> Result<BrokerOrder, String> {
    let wire: OrderWire = serde_json::from_slice(json).map_err(|error| format!("an order: {error}"))?;
    let id = order_number(&wire.order_id)?;
    let wrong = |what: &str, why: &dyn std::fmt::Display| format!("order {id}: {what}: {why}");
    let leg = wire.order_leg_collection.first().ok_or_else(|| wrong("orderLegCollection", &"is empty"))?;
    let symbol = leg.instrument.symbol.as_deref().unwrap_or_default();
    let instruction = leg.instruction.as_deref().unwrap_or_default();
    let entered = wire.entered_time.as_deref().unwrap_or_default();
    let (executed, average_price) = trades(&wire).map_err(|why| wrong("executions", &why))?;
    let is = |value: &Option<String>, expected: &str| value.as_deref() == Some(expected);
    // A field that is missing contradicts nothing.
    let may_be = |value: &Option<String>, expected: &str| value.is_none() || is(value, expected);
    let ordinary = wire.order_leg_collection.len() == 1
        && is(&wire.order_type, "MARKET")
        && may_be(&wire.session, "NORMAL")
        && may_be(&wire.duration, "DAY")
        && may_be(&wire.order_strategy_type, "SINGLE");
    let status = wire.status.as_deref().unwrap_or("without a status");
    let status_text = match &wire.status_description {
        Some(why) => words(&format!("{status}: {why}")),
        None => words(status),
    };
    Ok(BrokerOrder {
        client_id: None,
        tag: wire.tag.as_deref().map(words),
        symbol: symbol.parse().map_err(|error| wrong("symbol", &error))?,
        side: side(instruction).ok_or_else(|| wrong("instruction", &words(instruction)))?,
        quantity: wire.quantity.shares().map_err(|error| wrong("quantity", &error))?,
        filled: wire.filled_quantity.shares().map_err(|error| wrong("filledQuantity", &error))?,
        executed,
        average_price,
        status: status_of(status),
        status_text,
        entered_at: moment(entered).ok_or_else(|| wrong("enteredTime", &words(entered)))?,
        ordinary,
        id,
    })
}

/// A list of orders with those within them, in no order; those of no share are left out.
///
/// # Errors
/// In words, when one that may matter can not be read: a list with a hole is no list.
pub fn orders(json: &[u8]) -> Result<Vec<BrokerOrder>, String> {
    let rows: Vec<&RawValue> =
        serde_json::from_slice(json).map_err(|error| format!("the orders: {error}"))?;
    let mut orders = Vec::with_capacity(rows.len());
    rows.iter().try_for_each(|row| collect(row, NESTED_MAX, &mut orders))?;
    Ok(orders)
}

fn collect(row: &RawValue, deeper: usize, orders: &mut Vec<BrokerOrder>) -> Result<(), String> {
    let kind: Kind = serde_json::from_str(row.get()).map_err(|error| format!("an order: {error}"))?;
    if !kind.is_foreign() {
        orders.push(order(row.get().as_bytes())?);
    }
    if deeper > 0 {
        kind.child_order_strategies.iter().try_for_each(|child| collect(child, deeper - 1, orders))?;
    }
    Ok(())
}

/// An order's number as a name; it is 13 digits, and never a fraction.
fn order_number(digits: &Digits) -> Result<OrderId, String> {
    let name = digits.whole().ok_or("an order's id is no whole number")?;
    name.parse().map_err(|_| "an order's id is no name".to_owned())
}

/// Shares traded, and what one of them cost on average.
fn trades(wire: &OrderWire) -> Result<(Shares, Option<Price>), String> {
    let legs = wire
        .order_activity_collection
        .iter()
        .flatten()
        .filter(|it| {
            it.activity_type.as_deref() == Some("EXECUTION") && it.execution_type.as_deref() == Some("FILL")
        })
        .flat_map(|it| it.execution_legs.iter().flatten());
    let (mut shares, mut cash) = (Shares::ZERO, Some(Cash::ZERO));
    for leg in legs {
        let quantity = leg.quantity.shares().map_err(|error| error.to_string())?;
        let price = leg.price.price().map_err(|error| error.to_string())?;
        shares = shares.checked_add(quantity).ok_or("their sum leaves the range")?;
        // The price is for people: one beyond the range costs the average, never the quantity.
        cash = cash.and_then(|cash| cash.checked_add(price.times(quantity)?));
    }
    Ok((shares, cash.filter(|_| shares.is_positive()).and_then(|cash| Price::of(cash, shares))))
}

fn side(instruction: &str) -> Option<Side> {
    match instruction {
        "BUY" | "BUY_TO_COVER" => Some(Side::Buy),
        "SELL" | "SELL_SHORT" => Some(Side::Sell),
        _ => None,
    }
}

/// Five words are ends. Everything else may still trade, also what nobody has heard of.
fn status_of(word: &str) -> OrderStatus {
    match word {
        "FILLED" => OrderStatus::Filled,
        "CANCELED" => OrderStatus::Canceled,
        "REJECTED" => OrderStatus::Rejected,
        "EXPIRED" => OrderStatus::Expired,
        "REPLACED" => OrderStatus::Replaced,
        _ => OrderStatus::Live,
    }
}

/// `+0000` and `Z` alike.
fn moment(text: &str) -> Option<Millis> {
    text.parse::<Timestamp>().ok().map(|moment| Millis(moment.as_millisecond()))
}

/// The number of the order in a 201's `Location`, which may be absolute or relative and carry a query.
#[must_use]
pub fn order_in(location: &str) -> Option<OrderId> {
    let path = location.split(['?', '#']).next()?;
    let last = path.rsplit('/').find(|segment| !segment.is_empty())?;
    last.bytes().all(|byte| byte.is_ascii_digit()).then(|| last.parse().ok()).flatten()
}

/// An account, and what every path takes in its place.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountNumber {
    /// As the customer knows it. Never printed.
    pub account_number: String,
    /// 64 characters.
    pub hash_value: String,
}

impl AccountNumber {
    /// The end of the number: enough for its owner to know it by, and never more than half of it.
    #[must_use]
    pub fn end(&self) -> String {
        let digits: Vec<char> = self.account_number.chars().collect();
        let shown = LIVE_ACCOUNT_DIGITS.min(digits.len() / 2);
        digits[digits.len() - shown..].iter().collect()
    }
}

/// The accounts that the login opens.
///
/// # Errors
/// In words, without a number in them.
pub fn account_numbers(json: &[u8]) -> Result<Vec<AccountNumber>, String> {
    serde_json::from_slice(json).map_err(|error| format!("the account numbers: {:?} error", error.classify()))
}

/// Signed positions in shares; an account that is flat has no such field.
///
/// # Errors
/// In words.
pub fn positions(json: &[u8]) -> Result<Vec<(Symbol, Shares)>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        securities_account: AccountWire,
    }
    #[derive(Deserialize)]
    struct AccountWire {
        positions: Option<Vec<PositionWire>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct PositionWire {
        instrument: InstrumentWire,
        long_quantity: Digits,
        short_quantity: Digits,
    }
    let wire: Wire = serde_json::from_slice(json).map_err(|error| format!("the positions: {error}"))?;
    let mut sums: BTreeMap<Symbol, Shares> = BTreeMap::new();
    for row in wire.securities_account.positions.into_iter().flatten() {
        let kind = row.instrument.asset_type.as_deref().unwrap_or("EQUITY");
        let symbol = row.instrument.symbol.as_deref().and_then(|symbol| symbol.parse::<Symbol>().ok());
        let Some(symbol) = symbol.filter(|_| matches!(kind, "EQUITY" | "COLLECTIVE_INVESTMENT")) else {
            continue;
        };
        let wrong = |why: &dyn std::fmt::Display| format!("the position in {symbol}: {why}");
        let long = row.long_quantity.shares().map_err(|error| wrong(&error))?;
        let short = row.short_quantity.shares().map_err(|error| wrong(&error))?;
        let net = long.checked_sub(short).ok_or_else(|| wrong(&"out of range"))?;
        let sum = sums.entry(symbol).or_insert(Shares::ZERO);
        *sum = sum.checked_add(net).ok_or("the positions leave the range")?;
    }
    Ok(sums.into_iter().collect())
}

/// The regular sessions of a day, each half-open, ascending; none where nothing trades that day.
///
/// # Errors
/// In words.
pub fn hours(json: &[u8]) -> Result<Vec<(Millis, Millis)>, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Day {
        is_open: bool,
        session_hours: Option<Hours>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Hours {
        regular_market: Option<Vec<Span>>,
    }
    #[derive(Deserialize)]
    struct Span {
        start: String,
        end: String,
    }
    // The inner key is `EQ` on an open day and `equity` on a closed one: its values are what counts.
    let markets: BTreeMap<String, BTreeMap<String, Day>> =
        serde_json::from_slice(json).map_err(|error| format!("the hours: {error}"))?;
    let days = markets.get("equity").ok_or("the hours: no equity market")?;
    if days.is_empty() {
        return Err("the hours: an equity market without a day".into());
    }
    let mut sessions = Vec::new();
    for day in days.values().filter(|day| day.is_open) {
        let spans = day.session_hours.as_ref().and_then(|hours| hours.regular_market.as_ref());
        for span in spans.ok_or("the hours: an open day without its regular session")? {
            let (start, end) = (moment(&span.start), moment(&span.end));
            match start.zip(end) {
                Some((start, end)) if start < end => sessions.push((start, end)),
                _ => return Err(format!("the hours: from {} to {}", words(&span.start), words(&span.end))),
            }
        }
    }
    sessions.sort_unstable();
    Ok(sessions)
}

/// Quotes; what can not be read, or is not known to the broker, is left out.
///
/// # Errors
/// In words, when the answer is none.
pub fn quotes(json: &[u8]) -> Result<Vec<Quote>, String> {
    #[derive(Deserialize)]
    struct Wire {
        realtime: Option<bool>,
        quote: Option<QuoteWire>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct QuoteWire {
        bid_price: Option<Digits>,
        ask_price: Option<Digits>,
        last_price: Option<Digits>,
        quote_time: Option<Digits>,
        security_status: Option<String>,
    }
    let rows: BTreeMap<String, &RawValue> =
        serde_json::from_slice(json).map_err(|error| format!("the quotes: {error}"))?;
    let price =
        |digits: Option<Digits>| digits.and_then(|digits| digits.price().ok()).filter(|it| it.is_positive());
    let read = |(symbol, row): (String, &RawValue)| {
        let symbol: Symbol = symbol.parse().ok()?;
        let wire: Wire = serde_json::from_str(row.get()).ok()?;
        let quote = wire.quote?;
        let tradable = wire.realtime == Some(true) && quote.security_status.as_deref() == Some("Normal");
        Some(Quote {
            symbol,
            bid: price(quote.bid_price),
            ask: price(quote.ask_price),
            last: price(quote.last_price),
            at: Millis(quote.quote_time?.whole()?.parse().ok()?),
            tradable,
            partial_feed: None,
            missing: None,
        })
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// What an answer that is no yes says, with its status and the number that the broker's support asks for.
#[must_use]
pub fn refusal(answer: &Answer) -> String {
    let number = answer.header("schwab-client-correlid");
    let number = number.map_or_else(String::new, |number| format!(" (correlation {})", words(number)));
    format!("{}{number}", said(answer))
}

/// The same without the number, which is another each time: the same words are the same refusal.
#[must_use]
pub fn said(answer: &Answer) -> String {
    let said = error_words(&answer.body).unwrap_or_else(|| answer.words());
    let said = if said.is_empty() { "without a word" } else { &said };
    format!("HTTP {}: {said}", answer.status)
}

/// The four shapes that an error comes in.
fn error_words(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Wire {
        message: Option<String>,
        errors: Option<Vec<ErrorWire>>,
        error: Option<String>,
        fault: Option<FaultWire>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum ErrorWire {
        Words(String),
        Object { title: Option<String>, detail: Option<String> },
        Other(serde::de::IgnoredAny),
    }
    #[derive(Deserialize)]
    struct FaultWire {
        faultstring: Option<String>,
    }
    let wire: Wire = serde_json::from_slice(json).ok()?;
    let mut said: Vec<String> = wire.message.into_iter().chain(wire.error).collect();
    said.extend(wire.fault.and_then(|fault| fault.faultstring));
    for error in wire.errors.into_iter().flatten() {
        match error {
            ErrorWire::Words(words) => said.push(words),
            ErrorWire::Object { title, detail } => said.extend([title, detail].into_iter().flatten()),
            ErrorWire::Other(_) => {}
        }
    }
    (!said.is_empty()).then(|| words(&said.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_five_words_are_ends() {
        let ends = ["FILLED", "CANCELED", "REJECTED", "EXPIRED", "REPLACED"];
        let not = [
            "WORKING",
            "ACCEPTED",
            "NEW",
            "QUEUED",
            "PENDING_ACKNOWLEDGEMENT",
            "PENDING_ACTIVATION",
            "PENDING_CANCEL",
            "PENDING_REPLACE",
            "AWAITING_UR_OUT",
            "PENDING_RECALL",
            "AWAITING_PARENT_ORDER",
            "AWAITING_CONDITION",
            "AWAITING_STOP_CONDITION",
            "AWAITING_MANUAL_REVIEW",
            "AWAITING_RELEASE_TIME",
            "UNKNOWN",
            "filled",
            "",
            "SOMETHING_NEW",
        ];
        assert!(ends.iter().all(|word| status_of(word).is_terminal()));
        assert!(not.iter().all(|word| status_of(word) == OrderStatus::Live));
    }

    #[test]
    fn the_order_in_a_location() {
        let rows = [
            ("https://api.schwabapi.com/trader/v1/accounts/ABC/orders/1004055538153", Some("1004055538153")),
            ("/trader/v1/accounts/ABC/orders/1004055538153", Some("1004055538153")),
            ("/trader/v1/accounts/ABC/orders/1004055538153/?a=b", Some("1004055538153")),
            ("1004055538153", Some("1004055538153")),
            ("/trader/v1/accounts/ABC/orders/", None),
            ("/trader/v1/accounts/ABC/orders/12x", None),
            ("/orders/-5", None),
            ("", None),
        ];
        for (location, id) in rows {
            assert_eq!(order_in(location).map(|id| id.to_string()).as_deref(), id, "{location}");
        }
    }

    #[test]
    fn an_error_is_read_in_each_of_its_shapes() {
        let rows = [
            (r#"{"message":"Order not found"}"#, Some("Order not found")),
            (r#"{"message":"Validation problem","errors":["a","b"]}"#, Some("Validation problem; a; b")),
            (
                r#"{"errors":[{"id":"x","status":"401","title":"Unauthorized","detail":"Client not authorized"}]}"#,
                Some("Unauthorized; Client not authorized"),
            ),
            (
                r#"{"fault":{"faultstring":"Body buffer overflow","detail":{"errorcode":"x"}}}"#,
                Some("Body buffer overflow"),
            ),
            (r#"{"error":"invalid_client"}"#, Some("invalid_client")),
            (r#"{"errors":[1]}"#, None),
            ("<html>Access Denied</html>", None),
            ("", None),
        ];
        for (json, said) in rows {
            assert_eq!(error_words(json.as_bytes()).as_deref(), said, "{json}");
        }
    }
}
