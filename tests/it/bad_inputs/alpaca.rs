//! What Alpaca can write that is not what it should: an answer without what money depends on is no answer, and a list
//! with a hole is no list. Rows about what this program never trades are passed over, ours never.

use counterfill::broker::alpaca::{Feed, wire};
use counterfill::units::Millis;
use jiff::civil::date;
use serde_json::{Value, json};

use super::assert_rows;

fn order() -> Value {
    json!({
        "id": "904837e3-3b76-47ec-b432-046db621571b", "client_order_id": "cf-1-1", "symbol": "TSLA",
        "asset_class": "us_equity", "qty": "5", "filled_qty": "2", "filled_avg_price": "150.25", "side": "buy",
        "status": "partially_filled", "created_at": "2026-11-23T17:00:00.123456Z", "unknown": {},
    })
}

fn position() -> Value {
    json!({ "symbol": "TSLA", "asset_class": "us_equity", "qty": "-5", "side": "short", "unknown": {} })
}

fn with(mut value: Value, field: &str, to: Value) -> Value {
    value[field] = to;
    value
}

fn without(mut value: Value, field: &str) -> Value {
    value.as_object_mut().unwrap().remove(field);
    value
}

/// The outcome in words; where in the text it was, is of no account.
fn told<T>(read: Result<T, String>, show: impl FnOnce(T) -> String) -> String {
    read.map_or_else(|error| error.split(" at line ").next().unwrap_or_default().to_owned(), show)
}

#[test]
fn an_order_without_what_money_depends_on_is_no_order() {
    let rows: Vec<(&str, Value, &str)> = vec![
        ("as it should be", order(), "BUY 2 of 5 TSLA, Live"),
        ("without a price", without(order(), "filled_avg_price"), "BUY 2 of 5 TSLA, Live"),
        (
            "a price that is none",
            with(order(), "filled_avg_price", json!("many")),
            "an order: `many` is not a number",
        ),
        ("ordered by dollars", without(order(), "qty"), "BUY 2 of 2 TSLA, Live"),
        (
            "entered, by its other name",
            with(without(order(), "created_at"), "submitted_at", order()["created_at"].clone()),
            "BUY 2 of 5 TSLA, Live",
        ),
        ("a status that is new", with(order(), "status", json!("on_fire")), "BUY 2 of 5 TSLA, Live"),
        ("sold short", with(order(), "side", json!("sell_short")), "SELL 2 of 5 TSLA, Live"),
        ("no object", json!([order()]), "an order: invalid type: map, expected a string"),
        ("without an id", without(order(), "id"), "an order: missing field `id`"),
        ("an id that is no name", with(order(), "id", json!("a b")), "an order's id is no name"),
        ("without a traded quantity", without(order(), "filled_qty"), "an order: missing field `filled_qty`"),
        (
            "a traded quantity of nothing",
            with(order(), "filled_qty", Value::Null),
            "an order: `null` is not a number",
        ),
        (
            "a traded quantity in words",
            with(order(), "filled_qty", json!("two")),
            "an order: `two` is not a number",
        ),
        (
            "a traded quantity too fine",
            with(order(), "filled_qty", json!("0.0000000000000000001")),
            "order 904837e3-3b76-47ec-b432-046db621571b: filled_qty: `0.0000000000000000001` has more than 18 decimal places",
        ),
        (
            "a quantity of two points",
            with(order(), "qty", json!("1.2.3")),
            "order 904837e3-3b76-47ec-b432-046db621571b: qty: `1.2.3` is not a plain decimal number",
        ),
        (
            "a quantity beyond range",
            with(order(), "qty", json!("1e30")),
            "order 904837e3-3b76-47ec-b432-046db621571b: qty: `1000000000000000000000000000000` is too large",
        ),
        (
            "a quantity of a great power",
            with(order(), "qty", json!("1e99")),
            "order 904837e3-3b76-47ec-b432-046db621571b: qty: `1e99` is not a plain decimal number",
        ),
        ("without a ticker", without(order(), "symbol"), "an order: missing field `symbol`"),
        (
            "a ticker that is none",
            with(order(), "symbol", json!("tsla")),
            "order 904837e3-3b76-47ec-b432-046db621571b: symbol: `tsla` is not a ticker (1 to 12 capital letters, digits, '.', '-' or '/', beginning with a letter)",
        ),
        ("without a side", without(order(), "side"), "an order: missing field `side`"),
        (
            "a third side",
            with(order(), "side", json!("hold")),
            "order 904837e3-3b76-47ec-b432-046db621571b: side: hold",
        ),
        ("without a status", without(order(), "status"), "an order: missing field `status`"),
        (
            "without a time",
            without(order(), "created_at"),
            "order 904837e3-3b76-47ec-b432-046db621571b: submitted_at: is missing",
        ),
        (
            "a time that is none",
            with(order(), "created_at", json!("noon")),
            "order 904837e3-3b76-47ec-b432-046db621571b: submitted_at: noon",
        ),
    ];
    let found = rows.into_iter().map(|(name, json, expected)| {
        let read = wire::order(json.to_string().as_bytes());
        let show = |o: counterfill::broker::BrokerOrder| {
            format!("{} {} of {} {}, {:?}", o.side, o.filled, o.quantity, o.symbol, o.status)
        };
        (name, told(read, show), expected)
    });
    assert_rows(found.collect());
}

#[test]
fn a_list_with_a_hole_is_no_list() {
    let coin = || json!({ "symbol": "BTC/USD", "asset_class": "crypto" });
    let rows: Vec<(&str, Value, &str)> = vec![
        ("an order and a coin", json!([order(), coin()]), "1 of 2"),
        ("nothing", json!([]), "0 of 0"),
        (
            "an order of several legs",
            json!([{ "symbol": "", "asset_class": "" }, { "symbol": null }]),
            "0 of 2",
        ),
        (
            "a share's order by hand, without its ticker",
            json!([with(without(order(), "symbol"), "client_order_id", json!("x"))]),
            "an order: missing field `symbol`",
        ),
        ("no list", order(), "the orders: invalid type: map, expected a sequence"),
        (
            "a number among them",
            json!([order(), 7]),
            "an order: invalid type: integer `7`, expected struct Kind",
        ),
        (
            "one of ours that can not be read",
            json!([without(order(), "filled_qty")]),
            "an order: missing field `filled_qty`",
        ),
        (
            "one of ours that calls itself a coin",
            json!([with(coin(), "client_order_id", json!("cf-1-2"))]),
            "an order: missing field `id`",
        ),
        (
            "one by hand that can not be read",
            json!([with(without(order(), "side"), "client_order_id", json!("x"))]),
            "an order: missing field `side`",
        ),
    ];
    let found = rows.into_iter().map(|(name, json, expected)| {
        let read = wire::orders(json.to_string().as_bytes());
        (name, told(read, |page| format!("{} of {}", page.orders.len(), page.rows)), expected)
    });
    assert_rows(found.collect());
}

#[test]
fn positions_are_whole_or_none() {
    let rows: Vec<(&str, Value, &str)> = vec![
        ("a short one", json!([position()]), "TSLA -5"),
        ("a short one as a magnitude", json!([with(position(), "qty", json!("5"))]), "TSLA -5"),
        ("a coin", json!([{ "symbol": "BTCUSD", "asset_class": "crypto", "qty": "1" }]), ""),
        ("no list", position(), "the positions: invalid type: map, expected a sequence"),
        (
            "a text among them",
            json!([position(), "x"]),
            "a position: invalid type: string \"x\", expected struct Kind",
        ),
        ("without a quantity", json!([without(position(), "qty")]), "a position: missing field `qty`"),
        (
            "a quantity in words",
            json!([with(position(), "qty", json!("five"))]),
            "a position: `five` is not a number",
        ),
        (
            "a quantity too fine",
            json!([with(position(), "qty", json!("1e-19"))]),
            "the position in TSLA: `0.0000000000000000001` has more than 18 decimal places",
        ),
        ("without a ticker", json!([without(position(), "symbol")]), "a position: missing field `symbol`"),
        ("a share under a name that is no ticker", json!([with(position(), "symbol", json!("tsla"))]), ""),
    ];
    let found = rows.into_iter().map(|(name, json, expected)| {
        let read = wire::positions(json.to_string().as_bytes());
        let show = |all: Vec<_>| {
            all.iter().map(|(symbol, shares)| format!("{symbol} {shares}")).collect::<Vec<_>>().join(", ")
        };
        (name, told(read, show), expected)
    });
    assert_rows(found.collect());
}

#[test]
fn account_clock_calendar_and_errors() {
    let clock = || json!({ "timestamp": "2026-11-23T12:00:00-05:00", "is_open": true, "next_open": "x", "next_close": "2026-11-23T16:00:00-05:00" });
    let day = date(2026, 11, 23);
    let session = |open: &str, close: &str| json!([{ "date": "2026-11-23", "open": open, "close": close }]);
    let text = |json: Value| json.to_string().into_bytes();
    let account = |json: Value| told(wire::account(&text(json)), |account| account.id);
    let clocks = |json: Value| {
        told(wire::clock(&text(json)), |clock| {
            format!("{} {:?} {:?}", clock.at, clock.next_open, clock.next_close)
        })
    };
    let sessions = |json: Value| told(wire::session_on(&text(json), day), |session| format!("{session:?}"));
    let quotes = |row: Value| {
        told(wire::quotes(&text(row), Feed::Iex, Millis(1_795_453_200_000)), |quotes| {
            quotes
                .iter()
                .map(|quote| format!("{} {:?} {}", quote.symbol, quote.bid, quote.tradable))
                .collect()
        })
    };
    let quote = || json!({ "t": "2026-11-23T17:00:00Z", "bp": 150.25, "ap": 150.27 });
    let errors = |json: &[u8]| format!("{:?}", wire::error(json));
    assert_rows(vec![
        ("an account", account(json!({ "id": "a", "account_number": "1" })), "a"),
        (
            "an account without its number",
            account(json!({ "id": "a" })),
            "the account can not be read: it lacks its id or its number",
        ),
        (
            "an account that is a list",
            account(json!([])),
            "the account can not be read: it lacks its id or its number",
        ),
        (
            "a clock, its next opening unreadable",
            clocks(clock()),
            "2026-11-23T17:00:00.000Z None Some(Millis(1795467600000))",
        ),
        (
            "a clock without its time",
            clocks(without(clock(), "timestamp")),
            "the clock: missing field `timestamp`",
        ),
        (
            "a clock that says neither",
            clocks(without(clock(), "is_open")),
            "the clock: missing field `is_open`",
        ),
        ("a clock at noon", clocks(with(clock(), "timestamp", json!("noon"))), "the clock: noon"),
        ("a session", sessions(session("09:30", "16:00")), "Some((09:30:00, 16:00:00))"),
        (
            "a session that ends before it begins",
            sessions(session("16:00", "09:30")),
            "the calendar: 2026-11-23 opens 16:00 and closes 09:30",
        ),
        (
            "a session at no time",
            sessions(session("morning", "16:00")),
            "the calendar: 2026-11-23 opens morning and closes 16:00",
        ),
        (
            "a calendar that is an object",
            sessions(json!({})),
            "the calendar: invalid type: map, expected a sequence",
        ),
        (
            "a calendar of another day",
            sessions(json!([{ "date": "2026-11-24", "open": "09:30", "close": "16:00" }])),
            "None",
        ),
        ("a quote", quotes(json!({ "quotes": { "TSLA": quote() } })), "TSLA Some(Price(150.25)) true"),
        (
            "a quote of one side",
            quotes(json!({ "quotes": { "TSLA": with(quote(), "bp", json!(0)) } })),
            "TSLA None true",
        ),
        (
            "quotes that are text",
            quotes(json!("none")),
            "the quotes: invalid type: string \"none\", expected struct Wires",
        ),
        (
            "a quote without its time",
            quotes(json!({ "quotes": { "TSLA": without(quote(), "t") } })),
            "the quote of TSLA: missing field `t`",
        ),
        (
            "a quote at noon",
            quotes(json!({ "quotes": { "TSLA": with(quote(), "t", json!("noon")) } })),
            "the quote of TSLA: its time",
        ),
        (
            "a quote in words",
            quotes(json!({ "quotes": { "TSLA": with(quote(), "ap", json!("much")) } })),
            "the quote of TSLA: `much` is not a number",
        ),
        (
            "a field beside the quotes",
            quotes(json!({ "quotes": { "field_of_tomorrow": [1], "TSLA": quote() } })),
            "TSLA Some(Price(150.25)) true",
        ),
        (
            "an error",
            errors(br#"{"code":40010001,"message":"client_order_id must be unique"}"#),
            "Some((40010001, \"client_order_id must be unique\"))",
        ),
        ("a page for people", errors(b"<html>Access Denied</html>"), "None"),
        ("an error without a code", errors(br#"{"message":"no"}"#), "None"),
    ]);
}
