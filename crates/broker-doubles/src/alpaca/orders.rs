//! How an order call is judged: the real broker's rules, codes and words.
//!
//! Invariant: what is refused leaves no order behind.

use serde::Deserialize;
use serde_json::Value;

use super::book::{Book, Order, usual_life};
use crate::decimal::Decimal;

/// Longest client order id; older documents say 48, newer ones 128.
const CLIENT_ID_CHARS_MAX: usize = 128;
/// Smallest order in dollars.
const NOTIONAL_MIN: i64 = 1;

/// A no: status, code, words.
pub(super) type No = (u16, u32, String);

/// What an order call says.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Asked {
    symbol: Option<String>,
    qty: Option<Value>,
    notional: Option<Value>,
    side: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    time_in_force: Option<String>,
    extended_hours: Option<bool>,
    pub(super) client_order_id: Option<String>,
}

const fn unprocessable(words: String) -> No {
    (422, 42_210_000, words)
}

const fn forbidden(words: String) -> No {
    (403, 40_310_000, words)
}

fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Reads an order call.
pub(super) fn read(body: &[u8]) -> Result<Asked, No> {
    serde_json::from_slice(body)
        .map_err(|error| (400, 40_010_000, format!("request body format is invalid: {error}")))
}

/// Judges an order call and, where it is good, enters the order; its place in the book.
pub(super) fn receive(book: &mut Book, asked: &Asked) -> Result<usize, No> {
    let symbol = asked.symbol.clone().ok_or_else(|| unprocessable("symbol is required".into()))?;
    let buys = match asked.side.as_deref() {
        Some("buy") => true,
        Some("sell") => false,
        other => return Err(unprocessable(format!("invalid side: {}", other.unwrap_or("none")))),
    };
    if asked.kind.as_deref() != Some("market") {
        return Err(unprocessable(format!("invalid order type: {:?}", asked.kind)));
    }
    if asked.qty.is_some() && asked.notional.is_some() {
        return Err((400, 40_010_001, "only one of qty or notional is accepted".into()));
    }
    let quantity = asked.qty.as_ref().and_then(decimal).filter(|quantity| *quantity > Decimal::ZERO);
    let quantity = quantity.ok_or_else(|| (422, 40_010_001, "qty must be a positive number".into()))?;
    if asked.extended_hours == Some(true) {
        return Err(unprocessable("extended hours order must be DAY limit orders".into()));
    }
    let client_order_id = name(book, asked)?;
    let day = asked.time_in_force.as_deref() == Some("day");
    judge(book, &symbol, buys, quantity, day)?;
    Ok(enter(book, &symbol, buys, quantity, client_order_id, false))
}

/// Enters an order that nobody judges.
pub(super) fn enter(
    book: &mut Book,
    symbol: &str,
    buys: bool,
    quantity: Decimal,
    client_order_id: Option<String>,
    by_hand: bool,
) -> usize {
    let (id, now) = (book.next_id(), book.now_ms());
    let life = book.life.clone().unwrap_or_else(usual_life);
    let client_order_id = client_order_id.unwrap_or_else(|| book.next_id());
    book.orders.push(Order {
        id,
        client_order_id,
        symbol: symbol.to_owned(),
        asset_class: "us_equity".into(),
        buys,
        quantity,
        filled: Decimal::ZERO,
        cost: Decimal::ZERO,
        status: "accepted".into(),
        submitted_ms: now,
        created_ms: now + book.created_late_ms,
        updated_ms: now,
        by_hand,
        hidden_reads: 0,
        plan: life.into(),
        replaced_by: None,
        replaces: None,
    });
    book.orders.len() - 1
}

fn name(book: &Book, asked: &Asked) -> Result<Option<String>, No> {
    let Some(name) = &asked.client_order_id else { return Ok(None) };
    if name.is_empty() || name.len() > CLIENT_ID_CHARS_MAX {
        let words = format!("client_order_id must be no more than {CLIENT_ID_CHARS_MAX} characters");
        return Err((422, 40_010_001, words));
    }
    // For ever, also after a cancel.
    if book.orders.iter().any(|order| order.client_order_id == *name) {
        return Err((422, 40_010_001, "client_order_id must be unique".into()));
    }
    Ok(Some(name.clone()))
}

fn judge(book: &Book, symbol: &str, buys: bool, quantity: Decimal, day: bool) -> Result<(), No> {
    let asset = book.asset(symbol);
    if !asset.exists {
        return Err(unprocessable(format!("asset \"{symbol}\" not found")));
    }
    if book.account.trade_suspended_by_user {
        return Err(forbidden("new orders are rejected by user request".into()));
    }
    if book.account.trading_blocked || book.account.status != "ACTIVE" {
        return Err(forbidden("account is not allowed to trade".into()));
    }
    if !asset.tradable {
        return Err(unprocessable(format!("asset \"{symbol}\" is not tradable")));
    }
    let (bid, ask) = book.price(symbol);
    let notional = quantity.times(if buys { ask } else { bid });
    if !quantity.is_whole() {
        if !asset.fractionable {
            return Err(forbidden(format!("asset \"{symbol}\" is not fractionable")));
        }
        if !day {
            return Err(unprocessable("fractional orders must be DAY orders".into()));
        }
        if notional < Decimal::whole(NOTIONAL_MIN) {
            return Err(forbidden("cost basis must be >= minimal amount of order 1".into()));
        }
    }
    let (position, available) = (book.position(symbol), book.available(symbol));
    if !buys {
        sells(book, symbol, quantity, position, available)
    } else if position < Decimal::ZERO {
        if quantity > available.negated() {
            let words = format!(
                "insufficient qty available for order (requested: {quantity}, available: {})",
                available.negated()
            );
            return Err(forbidden(words));
        }
        Ok(())
    } else if notional > book.account.buying_power {
        Err(forbidden("insufficient buying power".into()))
    } else {
        opposite(book, symbol, buys)
    }
}

fn sells(
    book: &Book,
    symbol: &str,
    quantity: Decimal,
    position: Decimal,
    available: Decimal,
) -> Result<(), No> {
    if quantity <= available {
        return Ok(());
    }
    if !quantity.is_whole() {
        return Err(unprocessable("fractional orders cannot be sold short".into()));
    }
    if position > Decimal::ZERO {
        let words =
            format!("insufficient qty available for order (requested: {quantity}, available: {available})");
        return Err(forbidden(words));
    }
    if !book.account.shorting_enabled {
        return Err(forbidden("account is not allowed to short".into()));
    }
    if !book.asset(symbol).shortable {
        return Err(unprocessable(format!("asset \"{symbol}\" cannot be sold short")));
    }
    opposite(book, symbol, false)
}

/// Two orders that would open both ways at once are refused.
fn opposite(book: &Book, symbol: &str, buys: bool) -> Result<(), No> {
    let other =
        book.orders.iter().any(|order| order.symbol == symbol && order.is_open() && order.buys != buys);
    if other {
        Err(forbidden("potential wash trade detected; opposite side market order exists".into()))
    } else {
        Ok(())
    }
}
