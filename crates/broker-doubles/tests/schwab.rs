//! The Schwab double over real HTTP, held against the written contract: what a client would see.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use broker_doubles::decimal::Decimal;
use broker_doubles::schwab::{ACCOUNT, Fault, Instruction, Kind, SchwabDouble, Step};
use broker_doubles::tls::Authority;
use serde_json::{Value, json};

struct Client {
    agent: ureq::Agent,
    double: SchwabDouble,
    token: String,
    hash: String,
}

struct Answer {
    status: u16,
    location: Option<String>,
    json: Value,
}

impl Client {
    fn new() -> Self {
        let double = SchwabDouble::start().unwrap();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(20)))
            .build();
        let (token, _) = double.log_in();
        let mut client = Self { agent: config.into(), double, token, hash: String::new() };
        let numbers = client.get("/trader/v1/accounts/accountNumbers").json;
        assert_eq!(numbers[1]["accountNumber"], ACCOUNT, "ours is the second");
        client.hash = numbers[1]["hashValue"].as_str().unwrap().to_owned();
        client
    }

    fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, ureq::Error> {
        let url = format!("{}{path}", self.double.url());
        let bearer = format!("Bearer {}", self.token);
        let mut response = match (method, body) {
            ("GET", _) => self.agent.get(&url).header("Authorization", &bearer).call()?,
            ("DELETE", _) => self.agent.delete(&url).header("Authorization", &bearer).call()?,
            (_, body) => self
                .agent
                .post(&url)
                .header("Authorization", &bearer)
                .content_type("application/json")
                .send(body.unwrap_or_default())?,
        };
        let location = response.headers().get("Location").map(|value| value.to_str().unwrap().to_owned());
        assert!(response.headers().contains_key("Schwab-Client-CorrelId"));
        let text = response.body_mut().read_to_string()?;
        let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Answer { status: response.status().as_u16(), location, json })
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).unwrap()
    }

    fn orders(&self) -> String {
        format!("/trader/v1/accounts/{}/orders", self.hash)
    }

    fn place(&self, instruction: &str, quantity: i64, symbol: &str) -> Result<Answer, ureq::Error> {
        self.ask("POST", &self.orders(), Some(&order(instruction, quantity, symbol)))
    }

    fn list(&self) -> Value {
        let window =
            "fromEnteredTime=2026-01-01T00%3A00%3A00.000Z&toEnteredTime=2026-02-01T00%3A00%3A00.000Z";
        self.get(&format!("{}?{window}", self.orders())).json
    }

    fn read(&self, id: u64) -> Answer {
        self.get(&format!("{}/{id}", self.orders()))
    }

    fn only(&self) -> u64 {
        let orders = self.double.orders();
        assert_eq!(orders.len(), 1);
        orders[0].id
    }
}

fn order(instruction: &str, quantity: i64, symbol: &str) -> String {
    json!({
        "orderType": "MARKET", "session": "NORMAL", "duration": "DAY", "orderStrategyType": "SINGLE",
        "orderLegCollection": [{
            "instruction": instruction, "quantity": quantity,
            "instrument": { "symbol": symbol, "assetType": "EQUITY" },
        }],
    })
    .to_string()
}

/// 2026-01-15, a Thursday, at noon in New York.
const NOON_MS: i64 = 1_768_496_400_000;

fn at_noon() -> Client {
    let client = Client::new();
    client.double.book(|book| book.stop_clock(NOON_MS));
    // The token was given at the machine's time.
    let (token, _) = client.double.log_in();
    Client { token, ..client }
}

#[test]
fn an_order_lives_as_the_captures_say() {
    let client = at_noon();
    let placed = client.place("BUY", 3, "SPY").unwrap();
    assert_eq!((placed.status, &placed.json), (201, &json!("")));
    let id = client.only();
    let location = placed.location.unwrap();
    assert_eq!(location, format!("{}{}/{id}", client.double.url(), client.orders()));
    let working = client.read(id).json;
    assert_eq!((&working["status"], &working["remainingQuantity"]), (&json!("WORKING"), &json!(3.0)));
    assert!(working["closeTime"].is_null() && working["orderActivityCollection"].is_null());
    let filled = client.read(id).json;
    assert_eq!(filled["status"], "FILLED");
    assert_eq!(filled["orderId"], json!(id));
    assert!(filled["accountNumber"].is_number(), "a number here, a text in accounts");
    assert_eq!(filled["enteredTime"], "2026-01-15T17:00:00+0000");
    assert_eq!(filled["tag"], "TA_traderexamplecom1700000000");
    assert_eq!(filled["remainingQuantity"], json!(0.0));
    assert_eq!(filled["orderLegCollection"][0]["instrument"]["assetType"], "COLLECTIVE_INVESTMENT");
    let leg = &filled["orderActivityCollection"][0]["executionLegs"][0];
    assert_eq!((&leg["price"], &leg["quantity"]), (&json!(100.01), &json!(3.0)));
    let account = client.get(&format!("/trader/v1/accounts/{}?fields=positions", client.hash)).json;
    assert_eq!(account["securitiesAccount"]["positions"][0]["longQuantity"], json!(3.0));
    assert_eq!(account["securitiesAccount"]["accountNumber"], json!(ACCOUNT));
    let flat = client.get(&format!("/trader/v1/accounts/{}", client.hash)).json;
    assert!(flat["securitiesAccount"]["positions"].is_null(), "left out where nobody asks");
    let log = client.double.log();
    assert_eq!(log.iter().filter(|entry| entry.created == Some(id)).count(), 1);
}

#[test]
fn what_is_not_known_is_told_in_the_real_ones_words() {
    let mut client = at_noon();
    let rows = [
        ("GET", format!("{}/1", client.orders()), 404, "Order not found"),
        ("DELETE", format!("{}/1", client.orders()), 404, "Order not found"),
        ("GET", format!("/trader/v1/accounts/{}/orders/1", "c".repeat(64)), 404, "Invalid account number"),
        ("GET", client.orders(), 400, "fromEnteredTime"),
        (
            "GET",
            format!(
                "{}?fromEnteredTime=2026-01-01T00:00:00.000Z&toEnteredTime=2026-03-03T00:00:00.000Z",
                client.orders()
            ),
            400,
            "60 days",
        ),
        (
            "GET",
            format!("{}?fromEnteredTime=2026-01-01&toEnteredTime=2026-01-02", client.orders()),
            400,
            "fromEnteredTime",
        ),
        ("POST", client.orders(), 400, "Validation problem"),
    ];
    for (method, path, status, words) in rows {
        let answer = client.ask(method, &path, None).unwrap();
        let message = answer.json["message"].as_str().unwrap_or_default().to_owned();
        assert!(
            answer.status == status && message.contains(words),
            "{method} {path}: {} {message}",
            answer.status
        );
    }
    client.double.book(|book| book.switches.unknown_account_400 = true);
    let path = format!("/trader/v1/accounts/{}/orders/1", "c".repeat(64));
    assert_eq!(client.get(&path).status, 400);
    client.token = "wrong".into();
    let refused = client.get(&client.orders());
    assert_eq!(
        (refused.status, &refused.json["errors"][0]["detail"]),
        (401, &json!("Client not authorized"))
    );
    assert!(client.double.orders().is_empty());
}

#[test]
fn every_fault_of_an_order_call_leaves_an_order_or_none_as_it_says() {
    let stall = 300;
    let rows: Vec<(Kind, bool, Option<u16>)> = vec![
        (Kind::ServerErrorBefore, false, Some(500)),
        (Kind::ServerErrorAfter, true, Some(500)),
        (Kind::Unavailable { html: false }, false, Some(503)),
        (Kind::Unavailable { html: true }, false, Some(500)),
        (Kind::GatewayFault, false, Some(500)),
        (Kind::RequestTimeout { accepted: true }, true, Some(408)),
        (Kind::RequestTimeout { accepted: false }, false, Some(408)),
        (Kind::RateLimit { retry_after: Some(3) }, false, Some(429)),
        (Kind::RateLimit { retry_after: None }, false, Some(429)),
        (Kind::Refuse { status: 403, message: "no".into() }, false, Some(403)),
        (Kind::AccessRevokedEarly, false, Some(401)),
        (Kind::AcceptThenClose, true, None),
        (Kind::AcceptThenReset, true, None),
        (Kind::AcceptThenStall { ms: stall }, true, Some(201)),
        (Kind::StallThenDrop { ms: stall }, false, None),
        (Kind::AcceptHalfHeaders, true, None),
        (Kind::AcceptNoLocation, true, Some(201)),
        (Kind::LocationRelative, true, Some(201)),
        (Kind::LocationGarbage, true, Some(201)),
        (Kind::Invisible { reads: 1, ms: 0 }, true, Some(201)),
        (Kind::AsyncReject { text: "no".into() }, true, Some(201)),
    ];
    for (kind, created, status) in rows {
        let client = at_noon();
        client.double.fault(Fault::next("place", kind.clone()));
        let answer = client.place("BUY", 1, "TSLA");
        assert_eq!(answer.as_ref().ok().map(|answer| answer.status), status, "{kind:?}");
        assert_eq!(client.double.orders().len(), usize::from(created), "{kind:?}");
        let log = client.double.log();
        let entry = log.iter().rfind(|entry| entry.route == "place").unwrap();
        assert_eq!((entry.created.is_some(), entry.fault.is_some()), (created, true), "{kind:?}");
        if let Ok(answer) = answer {
            match kind {
                Kind::AcceptNoLocation => assert_eq!(answer.location, None),
                Kind::LocationGarbage => assert!(answer.location.unwrap().ends_with("/orders/")),
                Kind::LocationRelative => assert!(answer.location.unwrap().starts_with("/trader/v1/")),
                _ => {}
            }
        }
        // Used up: the next call is as usual, with a token that lives.
        let client = Client { token: client.double.log_in().0, ..client };
        assert_eq!(client.place("BUY", 1, "TSLA").unwrap().status, 201, "{kind:?}");
    }
}

#[test]
fn an_order_may_be_invisible_for_reads_or_for_a_time() {
    let client = at_noon();
    client.double.fault(Fault::next("place", Kind::Invisible { reads: 2, ms: 0 }));
    client.place("BUY", 1, "TSLA").unwrap();
    let id = client.only();
    assert_eq!(client.read(id).status, 404);
    assert_eq!(client.list(), json!([]));
    assert_eq!(client.read(id).status, 200);
    let client = at_noon();
    client.double.fault(Fault::next("place", Kind::Invisible { reads: 0, ms: 30_000 }));
    client.place("BUY", 1, "TSLA").unwrap();
    let id = client.only();
    assert_eq!(client.read(id).status, 404);
    client.double.book(|book| book.stop_clock(NOON_MS + 30_000));
    assert_eq!(client.read(id).status, 200);
}

#[test]
fn orders_end_in_every_way() {
    let partial = |then: &str| Kind::Partial {
        fills: vec![(Decimal::whole(1), Some("22.7299".parse().unwrap())), (Decimal::whole(1), None)],
        then: then.to_owned(),
    };
    let rows = [
        (partial("cancel"), "CANCELED", 2.0, 0.0),
        (partial("expire"), "EXPIRED", 2.0, 0.0),
        (partial("fill"), "FILLED", 5.0, 0.0),
        (partial("working"), "WORKING", 2.0, 3.0),
        (Kind::AsyncReject { text: "You can not.".into() }, "REJECTED", 0.0, 0.0),
        (Kind::SlowStatus { steps: vec!["AWAITING_MANUAL_REVIEW".into(); 4] }, "FILLED", 5.0, 0.0),
        (Kind::UnknownStatus { status: "SOMETHING_NEW".into() }, "FILLED", 5.0, 0.0),
    ];
    for (kind, status, filled, remaining) in rows {
        let client = at_noon();
        client.double.fault(Fault::next("place", kind.clone()));
        client.place("BUY", 5, "TSLA").unwrap();
        let id = client.only();
        let last = (0..8).fold(Value::Null, |_, _| client.read(id).json);
        assert_eq!(last["status"], status, "{kind:?}");
        assert_eq!(last["filledQuantity"], json!(filled), "{kind:?}");
        assert_eq!(last["remainingQuantity"], json!(remaining), "{kind:?}");
        let held = client.double.book(|book| book.position("TSLA"));
        assert_eq!(held.to_string(), format!("{filled}"), "{kind:?}");
        if status == "CANCELED" {
            let activities = last["orderActivityCollection"].as_array().unwrap();
            let record = activities.last().unwrap();
            assert_eq!(record["executionType"], "CANCELED", "it looks like an execution");
            assert_eq!(record["executionLegs"][0]["price"], json!(0.0));
        }
        if status == "REJECTED" {
            assert_eq!(last["statusDescription"], "You can not.");
            assert_eq!(last["closeTime"], last["enteredTime"]);
        }
    }
    let client = at_noon();
    client.double.fault(Fault::next("place", Kind::FillBust));
    client.place("BUY", 5, "TSLA").unwrap();
    let id = client.only();
    let told: Vec<Value> = (0..4).map(|_| client.read(id).json["filledQuantity"].clone()).collect();
    assert_eq!(told, [json!(5.0), json!(5.0), json!(0.0), json!(0.0)]);
}

#[test]
fn a_cancel_is_taken_and_may_come_too_late() {
    for (fault, ends) in [(None, "CANCELED"), (Some(Kind::FillDuringCancel), "FILLED")] {
        let client = at_noon();
        client.double.book(|book| book.life = Some(vec![Step::called("WORKING")]));
        client.place("BUY", 1, "TSLA").unwrap();
        let id = client.only();
        client.read(id);
        if let Some(kind) = fault {
            client.double.fault(Fault::next("cancel", kind));
        }
        let path = format!("{}/{id}", client.orders());
        assert_eq!(client.ask("DELETE", &path, None).unwrap().status, 200);
        assert_eq!(client.double.orders()[0].status, "PENDING_CANCEL");
        assert_eq!(client.read(id).json["status"], ends);
        assert_eq!(client.ask("DELETE", &path, None).unwrap().status, 400);
    }
}

#[test]
fn the_list_has_no_order_of_its_own_and_may_be_old() {
    let client = at_noon();
    client.place("BUY", 1, "AAPL").unwrap();
    client.double.fault(Fault::next("list", Kind::ListStale));
    client.double.fault(Fault::next("place", Kind::TwinManualOrder));
    client.place("BUY", 1, "TSLA").unwrap();
    assert_eq!(client.list().as_array().unwrap().len(), 1, "as it was");
    let list = client.list();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 3, "and the twin, equal in everything but its number");
    let same = |order: &&Value| order["orderLegCollection"][0]["instrument"]["symbol"] == "TSLA";
    let twins: Vec<&Value> = list.iter().filter(same).collect();
    assert_eq!(twins.len(), 2);
    assert_eq!(twins[0]["tag"], twins[1]["tag"]);
    let many: Vec<u64> = (0..20).map(|_| client.double.type_by_hand("NVDA", Instruction::Buy, 1)).collect();
    let told: Vec<u64> =
        client.list().as_array().unwrap().iter().map(|order| order["orderId"].as_u64().unwrap()).collect();
    assert_eq!(told.len(), 23);
    assert!(!told.is_sorted() && !told.iter().rev().is_sorted());
    assert!(many.iter().all(|id| told.contains(id)));
}

#[test]
fn a_session_ends_what_was_meant_for_the_day_and_activates_what_waits() {
    use broker_doubles::schwab::Step;
    let client = at_noon();
    let days = json!({ "kind": "days", "days": [
        { "date": "2026-01-15", "open": "09:30", "close": "16:00" },
        { "date": "2026-01-16", "open": "09:30", "close": "13:00" },
    ] });
    client.double.book(|book| {
        book.market = serde_json::from_value(days).unwrap();
        book.life = Some(vec![Step::called("WORKING")]);
    });
    let hour = 3_600_000;
    client.place("BUY", 1, "TSLA").unwrap();
    client.double.book(|book| book.stop_clock(NOON_MS + 4 * hour));
    let client = Client { token: client.double.log_in().0, ..client };
    let id = client.only();
    assert_eq!(client.read(id).json["status"], "EXPIRED", "at 16:00, to the millisecond");
    client.place("BUY", 1, "AAPL").unwrap();
    let waiting = client.double.orders()[1].id;
    let read = client.read(waiting).json;
    assert_eq!(read["status"], "PENDING_ACTIVATION");
    assert!(read["tag"].is_null(), "not yet");
    client.double.book(|book| book.stop_clock(NOON_MS + 22 * hour));
    let client = Client { token: client.double.log_in().0, ..client };
    assert_eq!(client.read(waiting).json["status"], "WORKING");
    client.double.book(|book| book.switches.rest_is_canceled = true);
    client.double.book(|book| book.stop_clock(NOON_MS + 25 * hour));
    let client = Client { token: client.double.log_in().0, ..client };
    assert_eq!(client.read(waiting).json["status"], "CANCELED");
    let markets = client.get("/marketdata/v1/markets?markets=equity&date=2026-01-17").json;
    assert_eq!(markets["equity"]["equity"]["isOpen"], false);
    let markets = client.get("/marketdata/v1/markets/equity?date=2026-01-16").json;
    assert_eq!(
        markets["equity"]["EQ"]["sessionHours"]["regularMarket"][0]["end"],
        "2026-01-16T13:00:00-05:00"
    );
}

#[test]
fn answers_drift_break_off_or_come_packed() {
    let client = at_noon();
    client.double.book(|book| book.switches.gzip = false);
    client.place("BUY", 1, "TSLA").unwrap();
    let id = client.only();
    client.double.fault(Fault::next("order", Kind::ExtraFields));
    assert_eq!(client.read(id).json["fieldOfTomorrow"]["nested"][2], "x");
    client.double.fault(Fault::next("order", Kind::NullFields));
    let nulls = client.read(id).json;
    assert!(nulls["cancelable"].is_null() && nulls["orderId"].is_number());
    client.double.fault(Fault::next("order", Kind::StringNumbers));
    assert_eq!(client.read(id).json["filledQuantity"], "1.0");
    client.double.fault(Fault::next("order", Kind::BadJson));
    assert!(client.read(id).json.is_string());
    client.double.fault(Fault::next("order", Kind::TruncatedBody));
    assert!(client.ask("GET", &format!("{}/{id}", client.orders()), None).is_err());
    let quotes = client.get("/marketdata/v1/quotes?symbols=TSLA,ZZZZ&fields=quote").json;
    assert_eq!(quotes["TSLA"]["quote"]["bidPrice"], json!(99.99));
    assert_eq!(quotes["errors"]["invalidSymbols"], json!(["ZZZZ"]));
    // A class of shares stands after a slash, and nothing else is known.
    let quotes = client.get("/marketdata/v1/quotes?symbols=BRK%2FB,BRK.B,BRK-B&fields=quote").json;
    assert!(quotes["BRK/B"].is_object() && quotes["BRK.B"].is_null());
    assert_eq!(quotes["errors"]["invalidSymbols"], json!(["BRK.B", "BRK-B"]));
    let path = format!("/trader/v1/accounts/{}/previewOrder", client.hash);
    let preview = client.ask("POST", &path, Some(&order("BUY", 2, "TSLA"))).unwrap().json;
    assert_eq!(preview["orderStrategy"]["orderBalance"]["orderValue"], json!(200.02));
    assert_eq!(client.double.orders().len(), 1, "a preview creates nothing");
}

#[test]
fn the_control_plane_does_what_the_handle_does() {
    let client = at_noon();
    let tell = |what: &str, body: Value| {
        let url = format!("{}/__fake/{what}", client.double.url());
        let mut response = client.agent.post(&url).send_json(&body).unwrap();
        (response.status().as_u16(), response.body_mut().read_json::<Value>().unwrap())
    };
    assert_eq!(tell("fault", json!({ "route": "place", "kind": "rate_limit", "retry_after": 7 })).0, 200);
    let refused = client.place("BUY", 1, "TSLA").unwrap();
    assert_eq!(refused.status, 429);
    assert_eq!(tell("account", json!({ "positions": { "TSLA": "5" } })).0, 200);
    assert_eq!(client.place("SELL", 5, "TSLA").unwrap().status, 201);
    assert_eq!(tell("price", json!({ "symbol": "TSLA", "bid": "71.96188", "ask": "72" })).0, 200);
    let id = client.only();
    client.read(id);
    let filled = client.read(id).json;
    assert_eq!(filled["orderActivityCollection"][0]["executionLegs"][0]["price"], json!(71.96188));
    let (_, tokens) = tell("login", json!({}));
    assert!(tokens["access_token"].as_str().unwrap().ends_with('@'));
    assert_eq!(tell("oauth", json!({ "rotate_refresh": true })).0, 200);
    assert_eq!(tell("oauth", json!({ "rotate": true })).0, 400, "a word that is none");
    assert_eq!(tell("manual_order", json!({ "symbol": "TSLA", "instruction": "BUY", "quantity": 2 })).0, 200);
    let log: Value = {
        let url = format!("{}/__fake/log", client.double.url());
        client.agent.get(&url).call().unwrap().body_mut().read_json().unwrap()
    };
    let text = log.to_string();
    assert!(!text.contains(&client.token) && text.contains("\"created\":1004055538153"));
    assert_eq!(tell("reset", json!({ "seed": 9 })).0, 200);
    assert!(client.double.orders().is_empty() && client.double.log().is_empty());
}

#[test]
fn over_tls_only_who_trusts_the_authority_gets_in() {
    let authority = Authority::new();
    let double = SchwabDouble::start_on(0, Some(&authority)).unwrap();
    let with = |roots| {
        let tls = ureq::tls::TlsConfig::builder().root_certs(roots).build();
        let config = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build();
        ureq::Agent::from(config).get(format!("{}/trader/v1/orders", double.url())).call()
    };
    let ours = ureq::tls::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    assert_eq!(with(ureq::tls::RootCerts::Specific(vec![ours].into())).unwrap().status().as_u16(), 401);
    assert!(with(ureq::tls::RootCerts::Specific(vec![].into())).is_err());
}
