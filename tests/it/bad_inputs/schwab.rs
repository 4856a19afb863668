//! What Schwab can write that is not what it should: orders, lists, accounts, positions, hours, and the token endpoint's
//! answers, whose every no means something else. What this program never trades is passed over, ours never.

use counterfill::broker::http::Answer;
use counterfill::broker::schwab::grant::{self, Meaning, Secret};
use counterfill::broker::schwab::wire;
use counterfill::broker::{BrokerOrder, Quote};
use serde_json::{Value, json};

use super::assert_rows;

fn order() -> Value {
    json!({
        "orderId": 1_004_055_538_153_u64, "status": "FILLED", "enteredTime": "2026-11-23T17:15:17+0000", "tag": "TA_x",
        "quantity": 5.0, "filledQuantity": 2.0, "orderType": "MARKET", "session": "NORMAL", "duration": "DAY",
        "orderStrategyType": "SINGLE", "accountNumber": 12_345_678,
        "orderLegCollection": [{ "instruction": "SELL", "instrument": { "symbol": "TSLA", "assetType": "EQUITY" } }],
        "orderActivityCollection": [
            { "activityType": "EXECUTION", "executionType": "FILL", "executionLegs": [{ "quantity": 2.0, "price": 22.7299 }] },
        ],
    })
}

fn with(mut value: Value, pointer: &str, to: Value) -> Value {
    *value.pointer_mut(pointer).unwrap() = to;
    value
}

fn without(mut value: Value, pointer: &str) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
    value
}

/// The outcome in words; where in the text it was, is of no account.
fn told<T>(read: Result<T, String>, show: impl FnOnce(T) -> String) -> String {
    read.map_or_else(|error| error.split(" at line ").next().unwrap_or_default().to_owned(), show)
}

fn bytes(json: &Value) -> Vec<u8> {
    json.to_string().into_bytes()
}

fn shown(o: &BrokerOrder) -> String {
    let ordinary = if o.ordinary { "" } else { ", not ours to know" };
    let price = o.average_price.map_or_else(|| "no price".to_owned(), |price| price.to_string());
    format!(
        "{} {} of {} {} at {price}, {}{ordinary}",
        o.side, o.executed, o.quantity, o.symbol, o.status_text
    )
}

#[test]
fn an_order_without_what_money_depends_on_is_no_order() {
    const LEG: &str = "/orderLegCollection/0";
    const FILL: &str = "/orderActivityCollection/0/executionLegs/0";
    let leg = |field: &str| format!("{LEG}/{field}");
    let fill = |field: &str| format!("{FILL}/{field}");
    let set = |pointer: &str, to: Value| with(order(), pointer, to);
    let two =
        json!([{ "quantity": 2.0, "price": 1.0 }, { "quantity": "170141183460469231731", "price": 1.0 }]);
    let rows: Vec<(&str, Value, &str)> = vec![
        ("as it should be", order(), "SELL 2 of 5 TSLA at 22.7299, FILLED"),
        ("without a status", without(order(), "/status"), "SELL 2 of 5 TSLA at 22.7299, without a status"),
        ("a status that is new", set("/status", json!("ON_FIRE")), "SELL 2 of 5 TSLA at 22.7299, ON_FIRE"),
        (
            "another type",
            set("/orderType", json!("LIMIT")),
            "SELL 2 of 5 TSLA at 22.7299, FILLED, not ours to know",
        ),
        (
            "without a type",
            without(order(), "/orderType"),
            "SELL 2 of 5 TSLA at 22.7299, FILLED, not ours to know",
        ),
        ("no object", json!([order()]), "an order: a list or an object is not a number"),
        ("without an id", without(order(), "/orderId"), "an order: missing field `orderId`"),
        ("an id of a fraction", set("/orderId", json!(1.5)), "an order's id is no whole number"),
        ("an id in words", set("/orderId", json!("abc")), "an order: `abc` is not a number"),
        ("an id below zero", set("/orderId", json!(-5)), "an order's id is no whole number"),
        (
            "an id beyond any name",
            set("/orderId", json!(format!("{}e40", "1".repeat(60)))),
            "an order's id is no name",
        ),
        (
            "without legs",
            without(order(), "/orderLegCollection"),
            "order 1004055538153: orderLegCollection: is empty",
        ),
        (
            "without a leg",
            set("/orderLegCollection", json!([])),
            "order 1004055538153: orderLegCollection: is empty",
        ),
        (
            "a leg without an instrument",
            without(order(), &leg("instrument")),
            "an order: missing field `instrument`",
        ),
        (
            "without a ticker",
            without(order(), &leg("instrument/symbol")),
            "order 1004055538153: symbol: `` is not a ticker (1 to 12 capital letters, digits, '.', '-' or '/', beginning with a letter)",
        ),
        (
            "a ticker that is none",
            set(&leg("instrument/symbol"), json!("tsla")),
            "order 1004055538153: symbol: `tsla` is not a ticker (1 to 12 capital letters, digits, '.', '-' or '/', beginning with a letter)",
        ),
        (
            "without an instruction",
            without(order(), &leg("instruction")),
            "order 1004055538153: instruction: ",
        ),
        (
            "an instruction of options",
            set(&leg("instruction"), json!("BUY_TO_OPEN")),
            "order 1004055538153: instruction: BUY_TO_OPEN",
        ),
        ("without a quantity", without(order(), "/quantity"), "an order: missing field `quantity`"),
        ("a quantity of nothing", set("/quantity", Value::Null), "an order: `null` is not a number"),
        (
            "a quantity too fine",
            set("/quantity", json!("0.0000000000000000001")),
            "order 1004055538153: quantity: `0.0000000000000000001` has more than 18 decimal places",
        ),
        (
            "without a traded quantity",
            without(order(), "/filledQuantity"),
            "an order: missing field `filledQuantity`",
        ),
        (
            "a traded quantity beyond range",
            set("/filledQuantity", json!("1e30")),
            "order 1004055538153: filledQuantity: `1000000000000000000000000000000` is too large",
        ),
        ("without a time", without(order(), "/enteredTime"), "order 1004055538153: enteredTime: "),
        ("a time that is none", set("/enteredTime", json!("noon")), "order 1004055538153: enteredTime: noon"),
        (
            "a fill without a quantity",
            without(order(), &fill("quantity")),
            "an order: missing field `quantity`",
        ),
        (
            "a fill too fine",
            set(&fill("quantity"), json!("1e-19")),
            "order 1004055538153: executions: `0.0000000000000000001` has more than 18 decimal places",
        ),
        ("a fill without a price", without(order(), &fill("price")), "an order: missing field `price`"),
        ("a fill's price in words", set(&fill("price"), json!("many")), "an order: `many` is not a number"),
        (
            "a fill's price too fine",
            set(&fill("price"), json!("1e-19")),
            "order 1004055538153: executions: `0.0000000000000000001` has more than 18 decimal places",
        ),
        (
            "a fill's price beyond range",
            set(&fill("price"), json!("170000000000000000000")),
            "SELL 2 of 5 TSLA at no price, FILLED",
        ),
        (
            "fills beyond range",
            set("/orderActivityCollection/0/executionLegs", two),
            "order 1004055538153: executions: their sum leaves the range",
        ),
        (
            "a cancel's record",
            set("/orderActivityCollection/0/executionType", json!("CANCELED")),
            "SELL 0 of 5 TSLA at no price, FILLED",
        ),
    ];
    let found = rows.into_iter().map(|(name, json, expected)| {
        (name, told(wire::order(&bytes(&json)), |order| shown(&order)), expected)
    });
    assert_rows(found.collect());
}

#[test]
fn a_list_with_a_hole_is_no_list() {
    let option = || with(order(), "/orderLegCollection/0/instrument/assetType", json!("OPTION"));
    let holding = |child: Value| {
        let mut parent = order();
        parent["childOrderStrategies"] = json!([child]);
        parent
    };
    // Strategies within strategies, one deeper than is looked into: a list that deep is nobody's.
    let deep = (0..10).fold(order(), |inner, _| holding(inner));
    let rows: Vec<(&str, Value, &str)> = vec![
        ("an order, an option, and a child", json!([holding(order()), option()]), "2"),
        ("nothing", json!([]), "0"),
        ("as deep as is looked", json!([deep]), "9"),
        ("no list", order(), "the orders: invalid type: map, expected a sequence"),
        (
            "a number among them",
            json!([order(), 7]),
            "an order: invalid type: integer `7`, expected struct Kind",
        ),
        (
            "one that can not be read",
            json!([without(order(), "/filledQuantity")]),
            "an order: missing field `filledQuantity`",
        ),
        (
            "a child that can not be read",
            json!([holding(without(order(), "/quantity"))]),
            "an order: missing field `quantity`",
        ),
        (
            "a child that is none",
            json!([holding(json!("x"))]),
            r#"an order: invalid type: string "x", expected struct Kind"#,
        ),
        ("an option that can not be read", json!([without(option(), "/filledQuantity")]), "0"),
        (
            "legs that are none",
            json!([with(order(), "/orderLegCollection", json!(7))]),
            "an order: invalid type: integer `7`, expected a sequence",
        ),
    ];
    let found = rows.into_iter().map(|(name, json, expected)| {
        (name, told(wire::orders(&bytes(&json)), |orders| orders.len().to_string()), expected)
    });
    assert_rows(found.collect());
}

#[test]
fn accounts_and_positions_are_whole_or_none() {
    let position = || json!({ "longQuantity": 10.0, "shortQuantity": 0.0, "instrument": { "assetType": "EQUITY", "symbol": "TSLA" } });
    let account = |rows: Value| json!({ "securitiesAccount": { "positions": rows } });
    let numbers = |json: Value| {
        let end = |all: Vec<wire::AccountNumber>| {
            all.iter().map(wire::AccountNumber::end).collect::<Vec<_>>().join(" ")
        };
        told(wire::account_numbers(&bytes(&json)), end)
    };
    let positions = |json: Value| {
        let show = |all: Vec<_>| all.iter().map(|(symbol, shares)| format!("{symbol} {shares}")).collect();
        told(wire::positions(&bytes(&json)), show)
    };
    let of = |change: &str, to: Value| positions(account(json!([with(position(), change, to)])));
    assert_rows(vec![
        ("accounts", numbers(json!([{ "accountNumber": "12345678", "hashValue": "x" }])), "5678"),
        (
            "accounts that are no list",
            numbers(json!({ "accountNumber": "12345678" })),
            "the account numbers: Data error",
        ),
        (
            "an account without its hash",
            numbers(json!([{ "accountNumber": "12345678" }])),
            "the account numbers: Data error",
        ),
        (
            "an account whose number is one",
            numbers(json!([{ "accountNumber": 12_345_678, "hashValue": "x" }])),
            "the account numbers: Data error",
        ),
        (
            "accounts cut off",
            told(wire::account_numbers(b"[{"), |_| String::new()),
            "the account numbers: Eof error",
        ),
        ("a position", positions(account(json!([position()]))), "TSLA 10"),
        ("flat", positions(json!({ "securitiesAccount": {} })), ""),
        ("an option", of("/instrument/assetType", json!("OPTION")), ""),
        ("a name that is no ticker", of("/instrument/symbol", json!("tsla")), ""),
        ("no account", positions(json!({})), "the positions: missing field `securitiesAccount`"),
        (
            "positions that are no list",
            positions(account(json!(7))),
            "the positions: invalid type: integer `7`, expected a sequence",
        ),
        (
            "without a quantity",
            positions(account(json!([without(position(), "/longQuantity")]))),
            "the positions: missing field `longQuantity`",
        ),
        ("a quantity in words", of("/longQuantity", json!("ten")), "the positions: `ten` is not a number"),
        (
            "a quantity too fine",
            of("/longQuantity", json!("1e-19")),
            "the position in TSLA: `0.0000000000000000001` has more than 18 decimal places",
        ),
        (
            "a short one too fine",
            of("/shortQuantity", json!("1e-19")),
            "the position in TSLA: `0.0000000000000000001` has more than 18 decimal places",
        ),
        (
            "long and short beyond range",
            {
                let far = "170000000000000000000";
                let row = with(position(), "/longQuantity", json!(format!("-{far}")));
                positions(account(json!([with(row, "/shortQuantity", json!(far))])))
            },
            "the position in TSLA: out of range",
        ),
        (
            "a sum beyond range",
            {
                let row = || with(position(), "/longQuantity", json!("170000000000000000000"));
                positions(account(json!([row(), row()])))
            },
            "the positions leave the range",
        ),
    ]);
}

#[test]
fn hours_quotes_and_refusals() {
    let day =
        |open: bool, hours: Value| json!({ "equity": { "EQ": { "isOpen": open, "sessionHours": hours } } });
    let regular =
        |start: &str, end: &str| day(true, json!({ "regularMarket": [{ "start": start, "end": end }] }));
    let hours = |json: Value| {
        told(wire::hours(&bytes(&json)), |all| {
            all.iter().map(|(from, to)| format!("{from} to {to}")).collect()
        })
    };
    let (start, end) = ("2026-11-23T09:30:00-05:00", "2026-11-23T16:00:00-05:00");
    let quote = || json!({ "realtime": true, "quote": { "bidPrice": 9.5, "quoteTime": 1_715_990_363_904_i64, "securityStatus": "Normal" } });
    let quotes = |name: &str, row: Value| {
        let show = |q: &Quote| {
            format!("{} {:?} {} {}", q.symbol, q.bid.map(|bid| bid.to_string()), q.at.0, q.tradable)
        };
        told(wire::quotes(&bytes(&json!({ name: row }))), |all| all.iter().map(show).collect())
    };
    let of = |change: &str, to: Value| quotes("TSLA", with(quote(), change, to));
    let refusal = |status, body: &str| wire::refusal(&Answer::of(status, body));
    let ordered =
        |location: &str| wire::order_in(location).map_or_else(|| "none".into(), |id| id.to_string());
    assert_rows(vec![
        ("a session", hours(regular(start, end)), "2026-11-23T14:30:00.000Z to 2026-11-23T21:00:00.000Z"),
        ("closed", hours(json!({ "equity": { "equity": { "isOpen": false } } })), ""),
        ("hours that are no object", hours(json!([])), "the hours: invalid type: sequence, expected a map"),
        (
            "without whether it is open",
            hours(json!({ "equity": { "EQ": {} } })),
            "the hours: missing field `isOpen`",
        ),
        ("another market", hours(json!({ "bond": {} })), "the hours: no equity market"),
        (
            "a market without a day",
            hours(json!({ "equity": {} })),
            "the hours: an equity market without a day",
        ),
        (
            "open without hours",
            hours(json!({ "equity": { "EQ": { "isOpen": true } } })),
            "the hours: an open day without its regular session",
        ),
        (
            "open without the regular ones",
            hours(day(true, json!({ "preMarket": [] }))),
            "the hours: an open day without its regular session",
        ),
        (
            "a start that is none",
            hours(regular("morning", end)),
            "the hours: from morning to 2026-11-23T16:00:00-05:00",
        ),
        (
            "an end that is none",
            hours(regular(start, "evening")),
            "the hours: from 2026-11-23T09:30:00-05:00 to evening",
        ),
        (
            "an end before its start",
            hours(regular(end, start)),
            "the hours: from 2026-11-23T16:00:00-05:00 to 2026-11-23T09:30:00-05:00",
        ),
        (
            "a session of no time",
            hours(regular(start, start)),
            "the hours: from 2026-11-23T09:30:00-05:00 to 2026-11-23T09:30:00-05:00",
        ),
        ("a quote", quotes("TSLA", quote()), r#"TSLA Some("9.5") 1715990363904 true"#),
        (
            "quotes that are no object",
            told(wire::quotes(b"[]"), |_| String::new()),
            "the quotes: invalid type: sequence, expected a map",
        ),
        ("a quote of a name that is no ticker", quotes("errors", quote()), ""),
        ("a quote that is none", quotes("TSLA", json!(7)), ""),
        ("without a quote", quotes("TSLA", json!({ "realtime": true })), ""),
        ("without a time", quotes("TSLA", without(quote(), "/quote/quoteTime")), ""),
        ("a time of a fraction", of("/quote/quoteTime", json!(1.5)), ""),
        ("a time beyond range", of("/quote/quoteTime", json!("9".repeat(30))), ""),
        ("a price in words", of("/quote/bidPrice", json!("many")), ""),
        ("a price of zero", of("/quote/bidPrice", json!(0.0)), "TSLA None 1715990363904 true"),
        ("a price too fine", of("/quote/bidPrice", json!("1e-19")), "TSLA None 1715990363904 true"),
        ("delayed", of("/realtime", json!(false)), r#"TSLA Some("9.5") 1715990363904 false"#),
        ("halted", of("/quote/securityStatus", json!("Halted")), r#"TSLA Some("9.5") 1715990363904 false"#),
        (
            "a no with words",
            refusal(400, r#"{"message":"Validation problem","errors":["a",{"detail":"b"},7]}"#),
            "HTTP 400: Validation problem; a; b",
        ),
        ("a no of the gateway", refusal(500, r#"{"fault":{"faultstring":"too big"}}"#), "HTTP 500: too big"),
        ("a no of no known shape", refusal(400, r#"{"reason":"x"}"#), r#"HTTP 400: {"reason":"x"}"#),
        ("a page", refusal(503, "<html>\n<b>Access</b> Denied"), "HTTP 503: <html> <b>Access</b> Denied"),
        ("nothing", refusal(502, ""), "HTTP 502: without a word"),
        ("the order in an address", ordered("https://x/trader/v1/accounts/H/orders/12?a=b"), "12"),
        ("an address without one", ordered("/trader/v1/accounts/H/orders/"), "none"),
        ("an address of another thing", ordered("/trader/v1/accounts/H/orders/12x"), "none"),
        ("an address of nothing", ordered("///"), "none"),
        ("a number beyond any name", ordered(&"1".repeat(200)), "none"),
    ]);
}

/// Meaning and words; of a yes only that it is one.
fn meant(status: u16, body: &str) -> String {
    match grant::meaning(&Answer::of(status, body)) {
        Meaning::Granted(granted) => {
            let refresh = if granted.refresh.is_some() { "and a refresh token" } else { "alone" };
            format!("a token for {} s, {refresh}", granted.expires_in_s)
        }
        Meaning::Dead(end, said) => format!("dead: {}", end.of_refresh(&said)),
        Meaning::Doubtful(words) => format!("doubtful: {words}"),
        Meaning::Away(words) => format!("away: {words}"),
    }
}

#[test]
fn what_the_token_endpoint_answers_is_tokens_or_a_reason() {
    let yes = |field: &str, to: Value| {
        let all = json!({ "access_token": "CANARY", "refresh_token": "CANARY", "expires_in": 1_800 });
        meant(200, &with(all, field, to).to_string())
    };
    let nested = |inner: &str| {
        format!(
            r#"{{"error":"unsupported_token_type","error_description":"400 Bad Request: \"{{"error":"{inner}"}}\""}}"#
        )
    };
    assert_rows(vec![
        ("tokens", yes("/expires_in", json!(1_800)), "a token for 1800 s, and a refresh token"),
        ("without another refresh token", yes("/refresh_token", Value::Null), "a token for 1800 s, alone"),
        ("an empty refresh token", yes("/refresh_token", json!("")), "a token for 1800 s, alone"),
        ("a life below zero", yes("/expires_in", json!(-5)), "a token for 0 s, and a refresh token"),
        (
            "a life beyond a day",
            yes("/expires_in", json!(1_000_000)),
            "a token for 86400 s, and a refresh token",
        ),
        (
            "an empty token",
            yes("/access_token", json!("")),
            "away: HTTP 200: a yes whose answer can not be read",
        ),
        ("no token", yes("/access_token", Value::Null), "away: HTTP 200: a yes whose answer can not be read"),
        ("a life in words", yes("/expires_in", json!("CANARY")), "a token for 1800 s, and a refresh token"),
        (
            "a yes that is a page",
            meant(200, "<html>CANARY</html>"),
            "away: HTTP 200: a yes whose answer can not be read",
        ),
        ("nothing", meant(200, ""), "away: HTTP 200: a yes whose answer can not be read"),
        ("another yes", meant(204, "{}"), "away: HTTP 204: a yes whose answer can not be read"),
        (
            "a wrong key",
            meant(401, r#"{"error":"invalid_client"}"#),
            "dead: the broker does not know this APP_KEY with this APP_SECRET (HTTP 401: error: invalid_client); set the right ones and start the bot again",
        ),
        (
            "a key without this right",
            meant(400, r#"{"error":"unauthorized_client"}"#),
            "dead: the broker does not know this APP_KEY with this APP_SECRET (HTTP 400: error: unauthorized_client); set the right ones and start the bot again",
        ),
        (
            "a dead login",
            meant(400, r#"{"error":"invalid_grant"}"#),
            "dead: the login has ended: seven days are over, or there was another login or a new password (HTTP 400: error: invalid_grant); type `auth login`",
        ),
        (
            "a dead login, told within",
            meant(400, &nested("invalid_grant")),
            "dead: the login has ended: seven days are over, or there was another login or a new password (HTTP 400: error: unsupported_token_type, error_description: 400 Bad Request: error: invalid_grant); type `auth login`",
        ),
        (
            "a refusal that may pass",
            meant(400, &nested("refresh_token_authentication_error")),
            "doubtful: HTTP 400: error: unsupported_token_type, error_description: 400 Bad Request: error: refresh_token_authentication_error",
        ),
        (
            "a refusal of an unknown kind",
            meant(400, r#"{"error":"unsupported_token_type"}"#),
            "doubtful: HTTP 400: error: unsupported_token_type",
        ),
        (
            "another address",
            meant(400, r#"{"error":"invalid_request"}"#),
            "dead: the broker does not accept the login's address: REDIRECT_URI must be the registered one (HTTP 400: error: invalid_request); type `auth login`",
        ),
        ("a no without a reason", meant(400, "{}"), "away: HTTP 400, without a word"),
        (
            "a page that names a reason",
            meant(400, "<html>invalid_grant</html>"),
            "away: HTTP 400: <html>invalid_grant</html>",
        ),
        ("an edge", meant(403, r#"{"error":"invalid_grant"}"#), "away: HTTP 403: error: invalid_grant"),
        ("a rate limit", meant(429, r#"{"error":"invalid_grant"}"#), "away: HTTP 429: error: invalid_grant"),
        (
            "the endpoint's own trouble",
            meant(503, r#"{"error":"invalid_grant"}"#),
            "away: HTTP 503: error: invalid_grant",
        ),
    ]);
}

#[test]
fn what_comes_back_from_a_browser_is_a_code_or_a_reason() {
    let code = |read: Result<Secret, grant::PasteError>| {
        read.map_or_else(|error| error.to_string(), |code| format!("a code of {} bytes", code.len()))
    };
    let pasted = |text: &str| code(grant::code_in(text, "s1"));
    let asked = |query: &str| code(grant::code_in_answer(query, "s1"));
    assert_rows(vec![
        ("an address", pasted("https://127.0.0.1/?code=C0.b.c%40&session=x&state=s1"), "a code of 7 bytes"),
        ("a code alone", pasted(" C0.b.c%40 \n"), "a code of 7 bytes"),
        (
            "nothing",
            pasted(" "),
            "there is no code in it: paste the whole address that the browser ended on, beginning with https://",
        ),
        (
            "a word",
            pasted("yes"),
            "there is no code in it: paste the whole address that the browser ended on, beginning with https://",
        ),
        (
            "an address without a query",
            pasted("https://127.0.0.1/"),
            "there is no code in it: paste the whole address that the browser ended on, beginning with https://",
        ),
        (
            "without a code",
            pasted("https://127.0.0.1/?session=x"),
            "there is no code in it: paste the whole address that the browser ended on, beginning with https://",
        ),
        (
            "an empty code",
            pasted("https://127.0.0.1/?code=&state=s1"),
            "there is no code in it: paste the whole address that the browser ended on, beginning with https://",
        ),
        (
            "of another login",
            pasted("https://127.0.0.1/?code=C0.b.c%40&state=s2"),
            "it belongs to another login: open the address of this one once more",
        ),
        (
            "the page's no",
            pasted("https://127.0.0.1/?error=access_denied"),
            "the broker's page said no: log in and allow access",
        ),
        ("a request", asked("code=C0.b.c%40&state=s1"), "a code of 7 bytes"),
        (
            "a request of another login",
            asked("code=C0.b.c%40&state=s2"),
            "it belongs to another login: open the address of this one once more",
        ),
        (
            "a request of nobody's",
            asked("code=C0.b.c%40"),
            "it does not say which login it belongs to: log in without --listen and paste this page's address",
        ),
        (
            "a request with the page's no",
            asked("error=access_denied&state=s1"),
            "the broker's page said no: log in and allow access",
        ),
        (
            "a request without a code",
            asked("state=s1"),
            "there is no code in it: paste the whole address that the browser ended on, beginning with https://",
        ),
    ]);
}
