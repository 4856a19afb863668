//! The shapes of the answers: every number a text, nulls where there is nothing.

use serde_json::{Value, json};

use super::book::{Book, Order};
use crate::decimal::Decimal;
use crate::market::{self, Day};

/// An order.
pub(super) fn order(order: &Order) -> Value {
    let ended = |status: &str| (order.status == status).then(|| market::utc(order.updated_ms));
    let price = (order.filled > Decimal::ZERO).then(|| order.cost.over(order.filled).to_string());
    json!({
        "id": order.id,
        "client_order_id": order.client_order_id,
        "created_at": market::utc(order.created_ms),
        "updated_at": market::utc(order.updated_ms),
        "submitted_at": market::utc(order.submitted_ms),
        "filled_at": ended("filled"),
        "expired_at": ended("expired"),
        "canceled_at": ended("canceled"),
        "failed_at": ended("rejected"),
        "replaced_at": ended("replaced"),
        "replaced_by": order.replaced_by,
        "replaces": order.replaces,
        "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
        "symbol": order.symbol,
        "asset_class": order.asset_class,
        "notional": null,
        "qty": order.quantity.to_string(),
        "filled_qty": order.filled.to_string(),
        "filled_avg_price": price,
        "order_class": "",
        "order_type": "market",
        "type": "market",
        "side": if order.buys { "buy" } else { "sell" },
        "position_intent": if order.buys { "buy_to_open" } else { "sell_to_close" },
        "time_in_force": "day",
        "limit_price": null,
        "stop_price": null,
        "status": order.status,
        "extended_hours": false,
        "legs": null,
        "trail_percent": null,
        "trail_price": null,
        "hwm": null,
        "subtag": null,
        "source": null,
    })
}

/// The account; what Alpaca took out on 2026-07-06 is not in it.
pub(super) fn account(book: &Book) -> Value {
    let account = &book.account;
    json!({
        "id": account.id,
        "account_number": account.account_number,
        "status": account.status,
        "crypto_status": "ACTIVE",
        "currency": "USD",
        "cash": account.buying_power.to_string(),
        "buying_power": account.buying_power.to_string(),
        "equity": account.buying_power.to_string(),
        "trading_blocked": account.trading_blocked,
        "account_blocked": false,
        "transfers_blocked": false,
        "trade_suspended_by_user": account.trade_suspended_by_user,
        "shorting_enabled": account.shorting_enabled,
        "multiplier": "2",
        "created_at": "2024-03-01T15:04:05.678901Z",
    })
}

/// One position.
pub(super) fn position(book: &Book, symbol: &str, shares: Decimal) -> Value {
    let (bid, ask) = book.price(symbol);
    let price = if shares < Decimal::ZERO { ask } else { bid };
    json!({
        "asset_id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
        "symbol": symbol,
        "exchange": "NASDAQ",
        "asset_class": "us_equity",
        "asset_marginable": true,
        "qty": shares.to_string(),
        "qty_available": book.available(symbol).to_string(),
        "side": if shares < Decimal::ZERO { "short" } else { "long" },
        "avg_entry_price": price.to_string(),
        "market_value": shares.times(price).to_string(),
        "cost_basis": shares.times(price).to_string(),
        "current_price": price.to_string(),
    })
}

/// An asset.
pub(super) fn asset(book: &Book, symbol: &str) -> Value {
    let asset = book.asset(symbol);
    json!({
        "id": "b0b6dd9d-8b9b-48a9-ba46-b9d54906e415",
        "class": "us_equity",
        "exchange": "NASDAQ",
        "symbol": symbol,
        "name": format!("{symbol} Inc. Common Stock"),
        "status": if asset.tradable { "active" } else { "inactive" },
        "tradable": asset.tradable,
        "marginable": true,
        "shortable": asset.shortable,
        "borrow_status": if asset.shortable { "easy_to_borrow" } else { "not_available" },
        "fractionable": asset.fractionable,
    })
}

/// The clock.
pub(super) fn clock(book: &Book) -> Value {
    let now = book.now_ms();
    json!({
        "timestamp": market::local(now),
        "is_open": book.market.is_open(now),
        "next_open": market::local(book.market.next_open(now)),
        "next_close": market::local(book.market.next_close(now)),
    })
}

/// The calendar: `HH:MM` and `HHMM`, as the real one mixes them.
pub(super) fn days(days: &[Day]) -> Value {
    days.iter()
        .map(|day| {
            json!({
                "date": day.date,
                "open": day.open,
                "close": day.close,
                "session_open": "0400",
                "session_close": "2000",
                "settlement_date": day.date,
            })
        })
        .collect()
}

/// The newest quotes; here prices are numbers, as the data service has them.
pub(super) fn quotes(book: &Book, symbols: &str) -> Value {
    let number = |price: Decimal| serde_json::from_str::<Value>(&price.to_string()).unwrap_or_default();
    let quotes: serde_json::Map<String, Value> = symbols
        .split(',')
        .filter(|symbol| book.asset(symbol).exists)
        .map(|symbol| {
            let (bid, ask) = book.price(symbol);
            let quote = json!({
                "t": market::utc(book.now_ms()),
                "ax": "V", "ap": number(ask), "as": 2,
                "bx": "V", "bp": number(bid), "bs": 3,
                "c": ["R"], "z": "C",
            });
            (symbol.to_owned(), quote)
        })
        .collect();
    json!({ "quotes": quotes })
}

/// The last trades, of those that traded.
pub(super) fn trades(book: &Book, symbols: &str) -> Value {
    let trade = |symbol: &str| {
        let (price, at) = book.trades.get(symbol)?;
        let price = serde_json::from_str::<Value>(&price.to_string()).unwrap_or_default();
        Some((
            symbol.to_owned(),
            json!({ "t": market::utc(*at), "x": "V", "p": price, "s": 100, "c": ["@"] }),
        ))
    };
    let trades: serde_json::Map<String, Value> = symbols.split(',').filter_map(trade).collect();
    json!({ "trades": trades })
}

/// An error.
pub(super) fn error(code: u32, words: &str) -> Value {
    json!({ "code": code, "message": words })
}

/// Schema drift: a field that nobody knows, in every object.
pub(super) fn with_extra_fields(value: &mut Value) {
    each_object(value, &mut |fields| {
        fields.insert("field_of_tomorrow".into(), json!({ "nested": [1, null, "x"] }));
    });
}

/// Schema drift: null wherever a bot can do without.
pub(super) fn with_null_fields(value: &mut Value) {
    const NEEDED: [&str; 16] = [
        "id",
        "client_order_id",
        "symbol",
        "qty",
        "filled_qty",
        "side",
        "status",
        "created_at",
        "timestamp",
        "is_open",
        "next_open",
        "next_close",
        "account_number",
        "date",
        "open",
        "close",
    ];
    each_object(value, &mut |fields| {
        for (name, value) in fields.iter_mut().filter(|(name, _)| !NEEDED.contains(&name.as_str())) {
            if !value.is_object() && !value.is_array() && name != "quotes" {
                *value = Value::Null;
            }
        }
    });
}

/// Schema drift: what was a text with a number in it becomes the number.
pub(super) fn with_numbers(value: &mut Value) {
    each_object(value, &mut |fields| {
        for value in fields.values_mut() {
            let number =
                value.as_str().filter(|text| text.parse::<Decimal>().is_ok()).map(serde_json::from_str);
            if let Some(Ok(number)) = number {
                *value = number;
            }
        }
    });
}

fn each_object(value: &mut Value, change: &mut dyn FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            for inner in fields.values_mut() {
                each_object(inner, change);
            }
            change(fields);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_object(item, change)),
        _ => {}
    }
}
