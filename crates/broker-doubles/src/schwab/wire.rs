//! The shapes of the answers, as they were captured: doubles with a point, times cut to seconds, an account number that
//! is a number here and a text there.

use serde_json::{Map, Value, json};

use super::book::{Account, Activity, Book, Order};
use crate::decimal::Decimal;
use crate::market::{self, Market};

/// Tickers that come back as funds, although they are ordered as equity.
const FUNDS: [&str; 4] = ["BND", "QQQ", "SPY", "VTI"];

/// A number as the real one writes it: always with a point.
pub(super) fn double(value: Decimal) -> Value {
    let text = value.to_string();
    let text = if text.contains('.') { text } else { format!("{text}.0") };
    serde_json::from_str(&text).unwrap_or_default()
}

fn instrument(symbol: &str) -> Value {
    let mut instrument =
        json!({ "assetType": "EQUITY", "cusip": "037833100", "symbol": symbol, "instrumentId": 1_234 });
    if FUNDS.contains(&symbol) {
        instrument["assetType"] = json!("COLLECTIVE_INVESTMENT");
        instrument["type"] = json!("EXCHANGE_TRADED_FUND");
    }
    instrument
}

/// An order, with the fields that its status has.
pub(super) fn order(book: &Book, order: &Order) -> Value {
    let ended = !order.is_open();
    let number = book.accounts.get(order.account).and_then(|account| account.number.parse::<u64>().ok());
    let waits = order.status == "PENDING_ACTIVATION";
    let mut value = json!({
        "session": order.session,
        "duration": order.duration,
        "orderType": order.order_type,
        "complexOrderStrategyType": "NONE",
        "quantity": double(order.quantity),
        "filledQuantity": double(order.filled()),
        // Nothing is left of an order that ended, however it ended.
        "remainingQuantity": double(if ended { Decimal::ZERO } else { order.left() }),
        "requestedDestination": "AUTO",
        "destinationLinkName": "AutoRoute",
        "orderLegCollection": [{
            "orderLegType": "EQUITY",
            "legId": 1,
            "instrument": instrument(&order.symbol),
            "instruction": order.instruction.as_str(),
            "positionEffect": "OPENING",
            "quantity": double(order.quantity),
        }],
        "orderStrategyType": "SINGLE",
        "orderId": order.id,
        "cancelable": order.is_open(),
        "editable": waits,
        "status": order.status,
        "enteredTime": market::seconds(order.entered_ms),
        "accountNumber": number,
    });
    if let Some(price) = order.price {
        value["price"] = double(price);
    }
    if !waits {
        value["tag"] = json!(order.tag);
    }
    if let Some(closed) = order.closed_ms {
        value["closeTime"] = json!(market::seconds(closed));
    }
    if let Some(words) = &order.description {
        value["statusDescription"] = json!(words);
    }
    if !order.activities.is_empty() {
        value["orderActivityCollection"] = order.activities.iter().map(activity).collect();
    }
    value
}

fn activity(activity: &Activity) -> Value {
    let mut value = json!({
        "activityType": "EXECUTION",
        "executionType": activity.execution_type,
        "quantity": double(activity.quantity),
        "orderRemainingQuantity": double(activity.remaining),
        "executionLegs": [{
            "legId": 1,
            "quantity": double(activity.quantity),
            "mismarkedQuantity": 0.0,
            "price": double(activity.price),
            "time": market::seconds(activity.at_ms),
            "instrumentId": 1_234,
        }],
    });
    if let Some(id) = activity.id {
        value["activityId"] = json!(id);
    }
    value
}

/// An account; positions are left out where they were not asked for, and where there are none.
pub(super) fn account(book: &Book, account: &Account, with_positions: bool) -> Value {
    let mut inner = json!({
        "type": account.kind,
        "accountNumber": account.number,
        "roundTrips": 0,
        "isDayTrader": false,
        "isClosingOnlyRestricted": false,
        "pfcbFlag": false,
        "initialBalances": { "cashBalance": double(account.cash), "isInCall": false },
        "currentBalances": { "cashBalance": double(account.cash), "buyingPower": double(account.cash) },
        "projectedBalances": { "buyingPower": double(account.cash), "isInCall": false },
    });
    let held: Vec<Value> = account
        .positions
        .iter()
        .filter(|(_, shares)| **shares != Decimal::ZERO)
        .map(|(symbol, shares)| position(book, symbol, *shares))
        .collect();
    if with_positions && !held.is_empty() {
        inner["positions"] = json!(held);
    }
    json!({
        "securitiesAccount": inner,
        "aggregatedBalance": { "currentLiquidationValue": double(account.cash), "liquidationValue": double(account.cash) },
    })
}

fn position(book: &Book, symbol: &str, shares: Decimal) -> Value {
    let price = book.price(symbol).last;
    let (long, short) =
        if shares > Decimal::ZERO { (shares, Decimal::ZERO) } else { (Decimal::ZERO, shares.negated()) };
    json!({
        "shortQuantity": double(short),
        "averagePrice": double(price),
        "currentDayProfitLoss": 0.0,
        "longQuantity": double(long),
        "settledLongQuantity": double(long),
        "settledShortQuantity": double(short),
        "instrument": instrument(symbol),
        "marketValue": double(shares.times(price)),
        "maintenanceRequirement": 0.0,
        "previousSessionLongQuantity": 0.0,
        "currentDayCost": 0.0,
    })
}

/// The hours of one day: another inner key, and no hours, where nothing trades.
pub(super) fn hours(market: &Market, date: &str) -> Value {
    let span = |start: &str, end: &str| json!([{ "start": market::at_time(date, start), "end": market::at_time(date, end) }]);
    let regular = match market {
        // Until the day after tomorrow: a market that never closes does not end at midnight either.
        Market::Open => Some(json!([{
            "start": market::at_time(date, "00:00"),
            "end": market::at_time(&market::days_later(date, 2), "00:00"),
        }])),
        Market::Closed => None,
        Market::Days { days } => {
            days.iter().find(|day| day.date == date).map(|day| span(&day.open, &day.close))
        }
    };
    let Some(regular) = regular else {
        return json!({ "equity": { "equity": {
            "date": date, "marketType": "EQUITY", "product": "equity", "isOpen": false,
        } } });
    };
    json!({ "equity": { "EQ": {
        "date": date, "marketType": "EQUITY", "product": "EQ", "productName": "equity", "isOpen": true,
        "sessionHours": {
            "preMarket": span("07:00", "09:30"),
            "regularMarket": regular,
            "postMarket": span("16:00", "20:00"),
        },
    } } })
}

/// Whether there is such a ticker: a class of shares stands after a slash here (`BRK/B`), and no other broker's spelling
/// of it is known.
pub(super) fn is_known(symbol: &str) -> bool {
    symbol != "ZZZZ" && !symbol.contains(['.', '-'])
}

/// Quotes by ticker; those that are not known are named beside them.
pub(super) fn quotes(book: &Book, symbols: &str) -> Value {
    let now = book.now_ms();
    let mut all = Map::new();
    let (unknown, known): (Vec<&str>, Vec<&str>) =
        symbols.split(',').filter(|symbol| !symbol.is_empty()).partition(|symbol| !is_known(symbol));
    for symbol in known {
        let price = book.price(symbol);
        let quote = json!({
            "assetMainType": "EQUITY",
            "assetSubType": "COE",
            "quoteType": "NBBO",
            "realtime": price.realtime,
            "ssid": 1_973_757_747,
            "symbol": symbol,
            "quote": {
                "askMICId": "ARCX", "askPrice": double(price.ask), "askSize": 1, "askTime": now,
                "bidMICId": "ARCX", "bidPrice": double(price.bid), "bidSize": 6, "bidTime": now,
                "closePrice": double(price.last), "lastPrice": double(price.last), "lastSize": 2,
                "mark": double(price.last), "quoteTime": now, "securityStatus": price.security_status,
                "totalVolume": 41_282_925, "tradeTime": now,
            },
            "reference": {
                "cusip": "037833100", "description": format!("{symbol} Inc"), "exchange": "Q",
                "exchangeName": "NASDAQ", "isHardToBorrow": false, "isShortable": true, "htbRate": 0.0,
            },
        });
        all.insert(symbol.to_owned(), quote);
    }
    if !unknown.is_empty() {
        all.insert("errors".into(), json!({ "invalidSymbols": unknown }));
    }
    Value::Object(all)
}

/// What an order would cost; nothing is created.
pub(super) fn preview(book: &Book, symbol: &str, quantity: Decimal) -> Value {
    let price = book.price(symbol);
    let leg = json!({
        "askPrice": double(price.ask), "bidPrice": double(price.bid), "lastPrice": double(price.last),
        "markPrice": double(price.last), "finalSymbol": symbol, "quantity": double(quantity), "assetType": "EQUITY",
    });
    let fee = |value: &str, kind: &str| json!({ "feeValues": [{ "value": double(value.parse().unwrap_or_default()), "type": kind }] });
    json!({
        "orderId": 0,
        "orderStrategy": {
            "status": "ACCEPTED",
            "orderBalance": {
                "orderValue": double(quantity.times(price.ask)),
                "projectedBuyingPower": 0.0,
                "projectedCommission": 0.0,
            },
            "orderLegs": [leg],
        },
        "orderValidationResult": { "rejects": [], "warns": [] },
        "commissionAndFee": {
            "commission": { "commissionLegs": [] },
            "fee": { "feeLegs": [fee("0.01", "SEC_FEE"), fee("0.01", "TAF_FEE")] },
            "trueCommission": { "commissionLegs": [] },
        },
    })
}

/// What the trader API says to a token it does not know.
pub(super) fn unauthorized(number: usize) -> Value {
    json!({ "errors": [{
        "id": format!("0a1b2c3d-0000-4000-8000-{number:012x}"),
        "status": 401,
        "title": "Unauthorized",
        "detail": "Client not authorized",
    }] })
}

/// Schema drift: a field that nobody knows, in every object.
pub(super) fn with_extra_fields(value: &mut Value) {
    each_object(value, &mut |fields| {
        fields.insert("fieldOfTomorrow".into(), json!({ "nested": [1, null, "x"] }));
    });
}

/// Schema drift: null wherever a bot can do without.
pub(super) fn with_null_fields(value: &mut Value) {
    const SPARED: [&str; 24] = [
        "orderId",
        "status",
        "quantity",
        "filledQuantity",
        "instruction",
        "symbol",
        "enteredTime",
        "accountNumber",
        "hashValue",
        "executionType",
        "activityType",
        "price",
        "longQuantity",
        "shortQuantity",
        "isOpen",
        "start",
        "end",
        "bidPrice",
        "askPrice",
        "securityStatus",
        "realtime",
        "session",
        "orderType",
        "duration",
    ];
    each_object(value, &mut |fields| {
        for (name, value) in fields.iter_mut() {
            if !SPARED.contains(&name.as_str()) && name != "tag" && !value.is_object() && !value.is_array() {
                *value = Value::Null;
            }
        }
    });
}

/// Schema drift: what was a number becomes a text, but for the big whole ones.
pub(super) fn with_string_numbers(value: &mut Value) {
    each_object(value, &mut |fields| {
        for value in fields.values_mut().filter(|value| value.is_number()) {
            *value = json!(value.to_string());
        }
    });
}

fn each_object(value: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(|inner| each_object(inner, change));
            change(fields);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each_object(item, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::Day;

    #[test]
    fn numbers_keep_their_point_and_their_digits() {
        for (text, json) in [("1", "1.0"), ("22.7299", "22.7299"), ("71.96188", "71.96188"), ("-0.5", "-0.5")]
        {
            assert_eq!(double(text.parse().unwrap()).to_string(), json);
        }
    }

    #[test]
    fn a_closed_day_has_another_shape_and_a_half_day_another_end() {
        let day = Day { date: "2026-11-27".into(), open: "09:30".into(), close: "13:00".into() };
        let market = Market::Days { days: vec![day] };
        let open = hours(&market, "2026-11-27");
        let regular = &open["equity"]["EQ"]["sessionHours"]["regularMarket"][0];
        assert_eq!(regular["start"], "2026-11-27T09:30:00-05:00");
        assert_eq!(regular["end"], "2026-11-27T13:00:00-05:00");
        let closed = hours(&market, "2026-11-26");
        assert_eq!(closed["equity"]["equity"]["isOpen"], false);
        assert!(closed["equity"]["EQ"].is_null() && closed["equity"]["equity"]["sessionHours"].is_null());
    }
}
