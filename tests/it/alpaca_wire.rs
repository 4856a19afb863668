//! Alpaca's shapes as documents and other clients have them, read by the parser; and the double's, held against them: a
//! double that drifts from the real one proves nothing.

use std::collections::BTreeSet;

use broker_doubles::alpaca::{AlpacaDouble, KEY, SECRET};
use counterfill::broker::alpaca::{Feed, wire};
use counterfill::broker::{BrokerOrder, OrderStatus};
use counterfill::units::{Millis, Shares, Side};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Every field that the contract lists for an order.
fn an_order() -> Value {
    json!({
        "id": "7f3c1c52-1d4e-4a3a-8d0a-5c5b5f0a9e11", "client_order_id": "cf-0123456789ab-000007",
        "created_at": "2026-11-23T15:04:05.942282117Z", "updated_at": "2026-11-23T15:04:06.1Z",
        "submitted_at": "2026-11-23T15:04:05.937734Z", "filled_at": "2026-11-23T15:04:06.1Z", "expired_at": null,
        "canceled_at": null, "failed_at": null, "replaced_at": null, "replaced_by": null, "replaces": null,
        "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415", "symbol": "BRK.B", "asset_class": "us_equity",
        "notional": null, "qty": "1.500000001", "filled_qty": "1.25", "filled_avg_price": "71.96188",
        "order_class": "", "type": "market", "side": "sell", "time_in_force": "day", "limit_price": null,
        "stop_price": null, "status": "partially_filled", "extended_hours": false, "legs": null,
    })
}

fn with(changes: Value) -> Value {
    let mut order = an_order();
    for (name, value) in changes.as_object().unwrap() {
        order[name] = value.clone();
    }
    order
}

fn read(order: &Value) -> Result<BrokerOrder, String> {
    wire::order(order.to_string().as_bytes())
}

#[test]
fn an_order_is_read_to_the_last_digit() {
    let order = read(&an_order()).unwrap();
    assert_eq!(order.id.as_str(), "7f3c1c52-1d4e-4a3a-8d0a-5c5b5f0a9e11");
    assert_eq!((order.symbol.as_str(), order.side, order.status), ("BRK.B", Side::Sell, OrderStatus::Live));
    assert_eq!(
        (order.quantity.to_string(), order.executed.to_string()),
        ("1.500000001".into(), "1.25".into())
    );
    assert_eq!(order.average_price.unwrap().to_string(), "71.96188");
    assert_eq!(order.entered_at.to_string(), "2026-11-23T15:04:05.937Z");
    assert!(order.ordinary && order.tag.is_some());
}

/// How an order with these changes is read: status, executed, ours, ordinary; or what it can not be read for.
#[test]
fn changes_of_an_order() {
    let rows = [
        (json!({}), "Live 1.25 ours ordinary"),
        (json!({ "status": "filled" }), "Filled 1.25 ours ordinary"),
        (json!({ "status": "canceled" }), "Canceled 1.25 ours ordinary"),
        (json!({ "status": "done_for_day" }), "Live 1.25 ours ordinary"),
        (json!({ "status": "A NEW ONE" }), "Live 1.25 ours ordinary"),
        (json!({ "filled_qty": 1.25, "qty": 1.5, "filled_avg_price": 22.7299 }), "Live 1.25 ours ordinary"),
        (json!({ "filled_avg_price": null, "legs": [], "subtag": {} }), "Live 1.25 ours ordinary"),
        (json!({ "client_order_id": "0f0c7f0e-55a2-4d07-9d2f-a1b2c3d4e5f6" }), "Live 1.25 theirs ordinary"),
        (json!({ "client_order_id": null }), "Live 1.25 theirs ordinary"),
        (json!({ "client_order_id": "cf-with a space" }), "Live 1.25 theirs ordinary"),
        (json!({ "qty": null, "notional": "500" }), "Live 1.25 ours ordinary"),
        (json!({ "type": "limit" }), "Live 1.25 ours"),
        (json!({ "time_in_force": "gtc" }), "Live 1.25 ours"),
        (json!({ "extended_hours": true }), "Live 1.25 ours"),
        (json!({ "order_class": "bracket" }), "Live 1.25 ours"),
        (json!({ "order_class": "simple" }), "Live 1.25 ours ordinary"),
        (json!({ "created_at": null }), "Live 1.25 ours ordinary"),
        (json!({ "created_at": "2026-11-23T10:04:05-05:00" }), "Live 1.25 ours ordinary"),
        (json!({ "submitted_at": null }), "Live 1.25 ours ordinary"),
        (json!({ "created_at": null, "submitted_at": null }), "submitted_at"),
        (json!({ "filled_qty": null }), "is not a number"),
        (json!({ "filled_qty": "many" }), "not a number"),
        (json!({ "side": "hold" }), "side"),
        (json!({ "symbol": "aapl" }), "symbol"),
        (json!({ "id": "with / a slash" }), "id"),
        (json!({ "status": null }), "an order"),
    ];
    for (changes, said) in rows {
        let told = match read(&with(changes.clone())) {
            Ok(order) => {
                let ours = if order.tag.is_some() { "ours" } else { "theirs" };
                let ordinary = if order.ordinary { " ordinary" } else { "" };
                format!("{:?} {} {ours}{ordinary}", order.status, order.executed)
            }
            Err(words) => words,
        };
        let whole = said.contains("ours") || said.contains("theirs");
        assert!(if whole { told == said } else { told.contains(said) }, "{changes}: {told}");
    }
}

#[test]
fn a_list_leaves_out_what_is_never_ours_and_has_no_holes() {
    let option =
        with(json!({ "symbol": "AAPL261218C00250000", "asset_class": "us_option", "client_order_id": "x" }));
    let coin =
        with(json!({ "symbol": "BTC/USD", "asset_class": "crypto", "client_order_id": "x", "qty": "x" }));
    let list = |rows: Value| wire::orders(rows.to_string().as_bytes());
    let page = list(json!([an_order(), option, coin])).unwrap();
    assert_eq!((page.orders.len(), page.rows), (1, 3));
    assert!(list(json!([an_order(), with(json!({ "filled_qty": null }))])).is_err(), "a hole");
    assert!(list(json!([with(json!({ "asset_class": "crypto" }))])).is_ok(), "our name on it: read");
    assert!(list(json!({ "orders": [] })).is_err());
}

#[test]
fn positions_have_a_sign() {
    let row = |symbol: &str, qty: Value, side: &str, class: &str| {
        json!({ "symbol": symbol, "qty": qty, "side": side, "asset_class": class, "avg_entry_price": "1",
                "qty_available": "0", "market_value": "1", "asset_id": "x" })
    };
    let rows = json!([
        row("AAPL", json!("2.5"), "long", "us_equity"),
        row("TSLA", json!("-3"), "short", "us_equity"),
        row("NVDA", json!(4), "short", "us_equity"),
        row("BTCUSD", json!("0.1"), "long", "crypto"),
    ]);
    let told: Vec<String> = wire::positions(rows.to_string().as_bytes())
        .unwrap()
        .into_iter()
        .map(|(symbol, shares): (_, Shares)| format!("{symbol} {shares}"))
        .collect();
    assert_eq!(told, ["AAPL 2.5", "TSLA -3", "NVDA -4"]);
    assert!(wire::positions(br#"[{"symbol":"AAPL","side":"long"}]"#).is_err());
}

#[test]
fn an_account_needs_nothing_that_was_taken_away() {
    let before = json!({
        "id": "a", "account_number": "PA1", "status": "ACTIVE", "currency": "USD", "cash": "1", "buying_power": "1",
        "equity": "1", "trading_blocked": false, "account_blocked": false, "trade_suspended_by_user": false,
        "shorting_enabled": true, "multiplier": "4", "pattern_day_trader": false, "daytrade_count": 0,
        "daytrading_buying_power": "0", "pdt_check": "entry", "dtbp_check": "both",
    });
    let after = json!({ "id": "a", "account_number": "PA1" });
    for (account, status) in [(before, Some("ACTIVE")), (after, None)] {
        let read = wire::account(account.to_string().as_bytes()).unwrap();
        assert_eq!(
            (read.id.as_str(), read.account_number.as_str(), read.status.as_deref()),
            ("a", "PA1", status)
        );
    }
    let error = wire::account(br#"{"account_number":"PACANARY"}"#).unwrap_err();
    assert!(!error.contains("CANARY"), "{error}");
}

#[test]
fn clocks_and_quotes() {
    let clock = wire::clock(
        br#"{"timestamp":"2026-11-27T10:00:00.123456789-05:00","is_open":true,
             "next_open":"2026-11-30T09:30:00-05:00","next_close":"2026-11-27T13:00:00-05:00"}"#,
    )
    .unwrap();
    assert_eq!(clock.at.to_string(), "2026-11-27T15:00:00.123Z");
    assert_eq!(clock.next_close.unwrap().to_string(), "2026-11-27T18:00:00.000Z");
    assert!(clock.is_open && clock.next_close < clock.next_open);
    assert!(wire::clock(br#"{"timestamp":"2026-11-27T10:00:00Z"}"#).is_err(), "open or closed, it must say");
    let now = Millis(clock.at.0);
    let quotes = br#"{"quotes":{"AAPL":{"t":"2026-11-27T14:59:59Z","ap":189.92,"bp":189.9,"as":1,"z":"C"},
                                "TSLA":{"t":"2026-11-27T09:00:00Z","ap":0,"bp":0}}}"#;
    let told: Vec<String> = wire::quotes(quotes, Feed::Iex, now)
        .unwrap()
        .into_iter()
        .map(|quote| {
            format!("{} {:?} {} {}", quote.symbol, quote.ask.map(|p| p.to_string()), quote.tradable, quote.at)
        })
        .collect();
    assert_eq!(
        told,
        ["AAPL Some(\"189.92\") true 2026-11-27T15:00:00.123Z", "TSLA None true 2026-11-27T09:00:00.000Z"]
    );
}

/// What the double answers to a plain GET.
fn asked(double: &AlpacaDouble, path: &str) -> Value {
    let mut answer = ureq::get(format!("{}{path}", double.url()))
        .header("APCA-API-KEY-ID", KEY)
        .header("APCA-API-SECRET-KEY", SECRET)
        .call()
        .unwrap();
    answer.body_mut().read_json().unwrap()
}

#[test]
fn the_double_has_the_same_shapes() {
    let double = AlpacaDouble::start().unwrap();
    double.hold("TSLA", "1.5");
    let body = json!({ "symbol": "TSLA", "qty": "0.5", "side": "sell", "type": "market", "time_in_force": "day",
                       "extended_hours": false, "client_order_id": "cf-0123456789ab-000001" });
    ureq::post(format!("{}/v2/orders", double.url()))
        .header("APCA-API-KEY-ID", KEY)
        .header("APCA-API-SECRET-KEY", SECRET)
        .send_json(&body)
        .unwrap();
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
    let listed = |names: &str| names.split(", ").map(str::to_owned).collect::<BTreeSet<String>>();
    let orders = asked(&double, "/v2/orders?status=all");
    assert!(fields(&orders[0]).is_superset(&fields(&an_order())));
    // Every number in it is a text, as the contract says.
    let numbers = |value: &Value| value.as_object().unwrap().values().any(Value::is_number);
    assert!(!numbers(&orders[0]));
    let page = wire::orders(orders.to_string().as_bytes()).unwrap();
    let read = page.orders;
    assert_eq!((read.len(), page.rows, read[0].order.ordinary), (1, 1, true));
    assert_eq!(read[0].order.client_id.as_deref(), Some("cf-0123456789ab-000001"));

    let account = asked(&double, "/v2/account");
    let named = "status, currency, cash, buying_power, equity, trading_blocked, account_blocked, \
                 trade_suspended_by_user, shorting_enabled, multiplier";
    assert!(fields(&account).is_superset(&listed(named)) && !numbers(&account));
    let gone =
        "pattern_day_trader, daytrade_count, daytrading_buying_power, pdt_check, dtbp_check, easy_to_borrow";
    assert!(fields(&account).is_disjoint(&listed(gone)));
    wire::account(account.to_string().as_bytes()).unwrap();

    let positions = asked(&double, "/v2/positions");
    let named = "symbol, qty, qty_available, side, avg_entry_price, market_value";
    assert!(fields(&positions[0]).is_superset(&listed(named)) && !numbers(&positions[0]));
    assert_eq!((&positions[0]["qty"], &positions[0]["qty_available"]), (&json!("1.5"), &json!("1")));
    let asset = asked(&double, "/v2/assets/TSLA");
    assert!(fields(&asset).is_superset(&listed("fractionable, tradable, shortable, status, borrow_status")));
    let clock = asked(&double, "/v2/clock");
    assert_eq!(fields(&clock), listed("timestamp, is_open, next_open, next_close"));
    wire::clock(clock.to_string().as_bytes()).unwrap();
    let calendar = asked(&double, "/v2/calendar?start=2026-11-27&end=2026-11-27");
    assert!(fields(&calendar[0]).is_superset(&listed("date, open, close, session_open, session_close")));
    let quotes = asked(&double, "/v2/stocks/quotes/latest?symbols=TSLA,ZZZZ");
    assert_eq!(wire::quotes(quotes.to_string().as_bytes(), Feed::Iex, Millis::now()).unwrap().len(), 1);
}

fn read_as_everything(bytes: &[u8]) {
    let day = jiff::civil::date(2026, 11, 27);
    let _ = (wire::order(bytes), wire::orders(bytes), wire::positions(bytes), wire::account(bytes));
    let _ = (
        wire::clock(bytes),
        wire::session_on(bytes, day),
        wire::quotes(bytes, Feed::Iex, Millis(0)),
        wire::trades(bytes, Feed::Iex, Millis(0)),
        wire::error(bytes),
    );
}

proptest! {
    #[test]
    fn no_answer_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        read_as_everything(&bytes);
    }

    /// A good answer with one field replaced by anything.
    #[test]
    fn no_field_panics(at in 0..64_usize, text in "\\PC{0,40}", number in any::<i64>(), kind in 0..5) {
        let mut order = an_order();
        let name = order.as_object().unwrap().keys().nth(at % 26).cloned().unwrap();
        order[&name] = match kind {
            0 => json!(text),
            1 => json!(number),
            2 => json!(format!("{number}e{}", number % 50)),
            3 => json!([text]),
            _ => Value::Null,
        };
        read_as_everything(order.to_string().as_bytes());
        read_as_everything(json!([order]).to_string().as_bytes());
    }
}
