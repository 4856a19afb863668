//! How an order call is judged: what is a plain no, what is taken and rejected later.
//!
//! A 201 means received. Funds, holdings and the side of zero are looked at afterwards, and come as a status.
//! Invariant: what is answered with a no leaves no order behind.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::book::{Book, Instruction, Order, Step, usual_life};
use super::wire;
use crate::decimal::Decimal;
use crate::http::Reply;

const SHORT_OF_CASH: &str = "You do not have enough available cash/buying power for this order.";
const UNKNOWN_TICKER: &str = "Symbol is not recognized.";
const OVERSOLD: &str =
    "Position_Sys_0001: This order may result in an oversold/overbought position in your account.";
const WRONG_SIDE: &str = "Position_Sys_0001: This order would open a position opposite to the one you hold.";

/// What a good order call says.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) symbol: String,
    pub(super) instruction: Instruction,
    pub(super) quantity: Decimal,
    order_type: String,
    session: String,
    duration: String,
    price: Option<Decimal>,
}

/// `{"message", "errors"}`, as the trader API says no.
pub(super) fn refuse(status: u16, message: &str, errors: &[String]) -> Reply {
    let mut body = json!({ "message": message });
    if !errors.is_empty() {
        body["errors"] = json!(errors);
    }
    Reply::json(status, &body)
}

fn invalid(words: String) -> Reply {
    refuse(400, "Validation problem", &[words])
}

/// A word out of a list, or the real one's refusal.
fn word(order: &Value, name: &str, good: &[&str]) -> Result<String, Reply> {
    match order[name].as_str() {
        Some(value) if good.contains(&value) => Ok(value.to_owned()),
        Some(value) => Err(invalid(format!("Invalid value '{value}'"))),
        None => Err(invalid(format!("{name} is required"))),
    }
}

fn decimal(value: &Value) -> Option<Decimal> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

/// Reads an order call; a no where it is not good. The body's own faults come first.
pub(super) fn read(body: &[u8], fractions: bool) -> Result<Asked, Reply> {
    let text = String::from_utf8_lossy(body);
    let order: Value =
        serde_json::from_str(&text).map_err(|error| invalid(format!("not readable: {error}")))?;
    if has_duplicate_keys(&text) {
        return Err(refuse(500, "Internal Server Error", &[]));
    }
    if !order["requestedDestination"].is_null() {
        return Err(invalid("requestedDestination is not supported".into()));
    }
    let order_type = word(&order, "orderType", &["MARKET", "LIMIT"])?;
    let session = word(&order, "session", &["NORMAL", "AM", "PM", "SEAMLESS"])?;
    let duration = word(&order, "duration", &["DAY", "GOOD_TILL_CANCEL", "FILL_OR_KILL"])?;
    word(&order, "orderStrategyType", &["SINGLE"])?;
    let [leg] = order["orderLegCollection"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err(invalid("orderLegCollection must hold one leg".into()));
    };
    let instruction = word(leg, "instruction", &["BUY", "SELL", "BUY_TO_COVER", "SELL_SHORT"])?;
    let instruction: Instruction =
        serde_json::from_value(json!(instruction)).map_err(|error| invalid(error.to_string()))?;
    word(&leg["instrument"], "assetType", &["EQUITY"])?;
    let symbol = leg["instrument"]["symbol"].as_str().filter(|symbol| !symbol.is_empty());
    let symbol = symbol.ok_or_else(|| invalid("symbol is required".into()))?.to_owned();
    let quantity = decimal(&leg["quantity"]).filter(|quantity| *quantity > Decimal::ZERO);
    let quantity = quantity.ok_or_else(|| invalid("quantity must be greater than zero".into()))?;
    if !fractions && !quantity.is_whole() {
        return Err(invalid("quantity must be a whole number".into()));
    }
    let price = decimal(&order["price"]);
    match (order_type.as_str(), session.as_str(), price) {
        ("MARKET", "NORMAL", None) | ("LIMIT", _, Some(_)) => {}
        ("MARKET", "NORMAL", Some(_)) => return Err(invalid("a market order has no price".into())),
        ("MARKET", session, _) => {
            return Err(invalid(format!("a market order is not valid in session {session}")));
        }
        _ => return Err(invalid("a limit order needs a price".into())),
    }
    Ok(Asked { symbol, instruction, quantity, order_type, session, duration, price })
}

/// Whether an object anywhere in a readable text names a key twice; serde_json keeps the last and says nothing.
fn has_duplicate_keys(text: &str) -> bool {
    struct Checked;
    impl<'de> serde::Deserialize<'de> for Checked {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(Once)
        }
    }
    struct Once;
    impl<'de> serde::de::Visitor<'de> for Once {
        type Value = Checked;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON without a key named twice")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Checked, A::Error> {
            let mut seen = std::collections::BTreeSet::new();
            while let Some((key, Checked)) = map.next_entry::<String, Checked>()? {
                if !seen.insert(key) {
                    return Err(serde::de::Error::custom("a key twice"));
                }
            }
            Ok(Checked)
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Checked, A::Error> {
            while let Some(Checked) = seq.next_element()? {}
            Ok(Checked)
        }
        fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
            Ok(Checked)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
            Ok(Checked)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
            Ok(Checked)
        }
        #[allow(clippy::disallowed_types)] // serde's own name for a number with a point; nothing is computed with it
        fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
            Ok(Checked)
        }
        fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
            Ok(Checked)
        }
        fn visit_unit<E>(self) -> Result<Checked, E> {
            Ok(Checked)
        }
    }
    serde_json::from_str::<Checked>(text).is_err()
}

/// Enters an order and looks at what it would do; its place in the book.
pub(super) fn enter(book: &mut Book, account: usize, asked: &Asked, tag: &str) -> usize {
    let now = book.now_ms();
    let open = book.market.is_open(now);
    let rejected = objection(book, account, asked);
    let life = match rejected {
        Some(words) => vec![Step::rejected(words)],
        None => book.life.clone().unwrap_or_else(usual_life),
    };
    let status = if open || rejected.is_some() { "PENDING_ACKNOWLEDGEMENT" } else { "PENDING_ACTIVATION" };
    let order = Order {
        id: book.next_order_id(),
        account,
        symbol: asked.symbol.clone(),
        instruction: asked.instruction,
        quantity: asked.quantity,
        order_type: asked.order_type.clone(),
        session: asked.session.clone(),
        duration: asked.duration.clone(),
        price: asked.price,
        status: status.to_owned(),
        description: None,
        entered_ms: now,
        closed_ms: None,
        tag: tag.to_owned(),
        activities: Vec::new(),
        hidden_reads: 0,
        hidden_until_ms: None,
        plan: VecDeque::from(life),
    };
    book.orders.push(order);
    book.orders.len() - 1
}

/// An order as somebody types it by hand: good, and with another tag.
pub(super) fn by_hand(symbol: &str, instruction: Instruction, quantity: Decimal) -> Asked {
    Asked {
        symbol: symbol.to_owned(),
        instruction,
        quantity,
        order_type: "MARKET".into(),
        session: "NORMAL".into(),
        duration: "DAY".into(),
        price: None,
    }
}

/// Why the broker will reject it, once it has looked.
fn objection(book: &Book, account: usize, asked: &Asked) -> Option<&'static str> {
    if !wire::is_known(&asked.symbol) {
        return Some(UNKNOWN_TICKER);
    }
    let held = book.accounts[account].positions.get(&asked.symbol).copied().unwrap_or_default();
    // What open orders of the same way will take is not there for a second one.
    let promised = book
        .orders
        .iter()
        .filter(|order| order.account == account && order.symbol == asked.symbol && order.is_open())
        .filter(|order| order.instruction.buys() == asked.instruction.buys())
        .fold(Decimal::ZERO, |sum, order| sum.plus(order.left()));
    let wanted = asked.quantity.plus(promised);
    match asked.instruction {
        Instruction::Sell if wanted > held => Some(OVERSOLD),
        Instruction::BuyToCover if wanted > held.negated() => Some(OVERSOLD),
        Instruction::Buy if held < Decimal::ZERO && wanted > held.negated() => Some(OVERSOLD),
        Instruction::SellShort if held > Decimal::ZERO => Some(WRONG_SIDE),
        Instruction::Buy
            if asked.quantity.times(book.price(&asked.symbol).ask) > book.accounts[account].cash =>
        {
            Some(SHORT_OF_CASH)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"orderType":"MARKET","session":"NORMAL","duration":"DAY","orderStrategyType":"SINGLE",
        "orderLegCollection":[{"instruction":"BUY","quantity":15,"instrument":{"symbol":"XYZ","assetType":"EQUITY"}}]}"#;

    #[test]
    fn the_contracts_own_example_is_good() {
        let asked = read(GOOD.as_bytes(), false).expect("good");
        assert_eq!((asked.symbol.as_str(), asked.instruction.as_str()), ("XYZ", "BUY"));
        assert_eq!(asked.quantity, Decimal::whole(15));
    }

    #[test]
    fn every_wrong_order_call_has_its_answer() {
        let rows = [
            ("{", "", 400),
            (r#""duration":"DAY""#, r#""duration":"IMMEDIATE_OR_CANCEL""#, 400),
            (r#""orderType":"MARKET","#, "", 400),
            (r#""instruction":"BUY""#, r#""instruction":"BUY_TO_OPEN""#, 400),
            (r#""quantity":15"#, r#""quantity":0"#, 400),
            (r#""quantity":15"#, r#""quantity":-1"#, 400),
            (r#""quantity":15"#, r#""quantity":1.5"#, 400),
            (r#""session":"NORMAL""#, r#""session":"PM""#, 400),
            (r#""session":"NORMAL""#, r#""session":"NORMAL","price":"10""#, 400),
            (r#""session":"NORMAL""#, r#""session":"NORMAL","requestedDestination":"AUTO""#, 400),
            (r#""session":"NORMAL""#, r#""session":"NORMAL","session":"NORMAL""#, 500),
            (r#"[{"instruction""#, r#"[{"quantity":1,"instruction""#, 500),
            (r#""symbol":"XYZ","#, "", 400),
        ];
        for (from, to, status) in rows {
            let body = GOOD.replacen(from, to, 1);
            assert_ne!(body, GOOD);
            let reply = read(body.as_bytes(), false).expect_err(&body);
            assert_eq!(reply.status, status, "{body}");
        }
        let body = GOOD.replace("15", "45.0498");
        assert!(read(body.as_bytes(), true).is_ok(), "fractions, where the switch allows them");
        let no = read(GOOD.replace("DAY", "IMMEDIATE_OR_CANCEL").as_bytes(), false).expect_err("no");
        assert_eq!(
            String::from_utf8_lossy(&no.body),
            r#"{"errors":["Invalid value 'IMMEDIATE_OR_CANCEL'"],"message":"Validation problem"}"#
        );
    }

    #[test]
    fn zero_is_crossed_in_two_orders_or_not_at_all() {
        let mut book = Book::default();
        book.accounts[1].positions.insert("XYZ".into(), Decimal::whole(2));
        let ask = |instruction, quantity| {
            let asked = by_hand("XYZ", instruction, Decimal::whole(quantity));
            objection(&book, 1, &asked).is_none()
        };
        assert!(ask(Instruction::Sell, 2) && !ask(Instruction::Sell, 3));
        assert!(!ask(Instruction::SellShort, 1) && !ask(Instruction::BuyToCover, 1));
        assert!(ask(Instruction::Buy, 1));
        book.accounts[1].positions.insert("XYZ".into(), Decimal::whole(-2));
        let ask = |instruction, quantity| {
            let asked = by_hand("XYZ", instruction, Decimal::whole(quantity));
            objection(&book, 1, &asked).is_none()
        };
        assert!(ask(Instruction::BuyToCover, 2) && ask(Instruction::Buy, 2) && !ask(Instruction::Buy, 3));
        assert!(ask(Instruction::SellShort, 5) && !ask(Instruction::Sell, 1));
    }
}
