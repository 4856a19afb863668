//! The Alpaca client against its double over real HTTP: what each answer, and each answer that never came, is taken for.
//! The last word is always the double's own log.

use std::time::Instant;

use broker_doubles::alpaca::{AlpacaDouble, Damage, Fault, KEY, Kind, Market, SECRET, Step};
use counterfill::broker::alpaca::{Alpaca, Feed, LOT, Mode, Options, Word};
use counterfill::broker::{AccountError, Broker, OrderStatus, Placed, Session, Ticket};
use counterfill::units::{Millis, Shares, Side, Symbol};

use crate::until::until;

fn options(double: &AlpacaDouble) -> Options {
    Options {
        mode: Mode::Paper,
        base_url: Some(double.url()),
        key: KEY.to_owned().into(),
        secret: SECRET.to_owned().into(),
        live_account: None,
        lot: LOT,
        allow_short: false,
        word: Word::Broker,
        feed: Feed::Iex,
        cert_file: None,
    }
}

/// A client whose account is confirmed.
fn client(double: &AlpacaDouble) -> Alpaca {
    let client = Alpaca::new(options(double)).unwrap();
    client.account(Millis::now()).unwrap();
    client
}

fn ticket(n: u32, quantity: &str) -> Ticket {
    Ticket {
        intent: format!("cf-0123456789ab-{n:06}").parse().unwrap(),
        symbol: "TSLA".parse().unwrap(),
        side: Side::Buy,
        quantity: quantity.parse().unwrap(),
        reference: None,
        short: false,
    }
}

/// How often an order call for this intent arrived, and how many orders came of it.
fn calls_and_orders(double: &AlpacaDouble, ticket: &Ticket) -> (usize, usize) {
    let log = double.log();
    let mine = log.iter().filter(|entry| {
        entry.route == "place" && entry.client_order_id.as_deref() == Some(ticket.intent.as_str())
    });
    (mine.clone().count(), mine.filter(|entry| entry.created.is_some()).count())
}

#[test]
fn an_order_lives_from_its_call_to_its_end() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let (now, begun) = (Millis::now(), Instant::now());
    let ticket = ticket(1, "1.5");
    let Placed::Accepted(id) = client.place(&ticket, now) else { panic!("accepted") };
    let first = client.order(&id, now).unwrap().unwrap();
    assert!(first.ordinary);
    assert_eq!((first.status, first.filled), (OrderStatus::Live, Shares::ZERO));
    assert_eq!(first.tag, client.profile().tag);
    let second = client.find(&ticket.intent, now).unwrap().unwrap();
    assert_eq!(
        (second.status, second.filled, second.executed),
        (OrderStatus::Filled, ticket.quantity, ticket.quantity)
    );
    assert_eq!(second.average_price.unwrap().to_string(), "100.01");
    assert_eq!((second.id, second.symbol, second.side), (id, ticket.symbol.clone(), Side::Buy));
    let took = i64::try_from(begun.elapsed().as_millis()).unwrap();
    assert!((0..=2_000 + took).contains(&Millis::now().since(second.entered_at)));
    assert_eq!(client.positions(now).unwrap(), [(ticket.symbol.clone(), ticket.quantity)]);
    assert_eq!(client.list(now.plus(-60_000), now).unwrap().len(), 1);
    assert_eq!(client.list(now.plus(60_000), now).unwrap(), []);
    assert_eq!(client.order(&"none-such".parse().unwrap(), now).unwrap(), None);
    let body = double.log().iter().find(|entry| entry.route == "place").unwrap().body.clone();
    let sent: serde_json::Value = serde_json::from_str(&body).unwrap();
    let wanted = serde_json::json!({
        "symbol": "TSLA", "qty": "1.5", "side": "buy", "type": "market", "time_in_force": "day",
        "extended_hours": false, "client_order_id": "cf-0123456789ab-000001",
    });
    assert_eq!(sent, wanted);
}

/// What an order call is taken for, by what the double does to it; and whether an order came of it.
#[test]
fn each_answer_is_taken_for_what_it_proves() {
    let says = |status, code, words: &str| Kind::Refuse { status, code, message: words.into() };
    let refuse = |status, code| says(status, code, "words");
    let rows: Vec<(Kind, &str, usize)> = vec![
        (Kind::AcceptThenClose, "unknown", 1),
        (Kind::AcceptThenReset, "unknown", 1),
        (Kind::AcceptHalfHeaders, "unknown", 1),
        (Kind::AcceptNoId, "unknown", 1),
        (Kind::StallThenDrop { ms: 10 }, "unknown", 0),
        (Kind::ServerErrorBefore, "unknown", 0),
        (Kind::ServerErrorAfter, "unknown", 1),
        (Kind::Unavailable { html: false }, "unknown", 0),
        (Kind::Unavailable { html: true }, "unknown", 0),
        (Kind::BadJson, "unknown", 1),
        (Kind::TruncatedBody, "unknown", 1),
        (Kind::GzipDamaged { damage: Damage::Cut }, "unknown", 1),
        (Kind::GzipDamaged { damage: Damage::Sum }, "unknown", 1),
        (Kind::GzipDamaged { damage: Damage::Bomb }, "unknown", 1),
        (Kind::Html, "unknown", 1),
        (refuse(408, 40_810_000), "unknown", 0),
        (refuse(504, 50_410_000), "unknown", 0),
        (refuse(302, 0), "unknown", 0),
        (Kind::Keys { status: 401 }, "gate 60000", 0),
        (Kind::Keys { status: 403 }, "gate 60000", 0),
        // Pages that are not the broker's own, after a look by name found nothing.
        (Kind::AccessDenied, "barred", 0),
        (Kind::NoRoute, "barred", 0),
        (says(403, 40_310_000, "new orders are rejected by user request"), "barred", 0),
        (says(422, 40_010_001, "us_equity orders not allowed for account"), "barred", 0),
        (says(403, 40_310_000, "account is not authorized to trade"), "barred", 0),
        (says(403, 40_310_000, "insufficient buying power"), "refused", 0),
        (says(422, 42_210_000, "potential wash trade detected"), "refused", 0),
        (says(403, 40_310_000, "account is not allowed to short"), "refused", 0),
        (Kind::RateLimit { reset_s: None, retry_after_s: None }, "gate 60000", 0),
        (Kind::RateLimit { reset_s: None, retry_after_s: Some(7) }, "gate 7000", 0),
        (refuse(403, 40_310_000), "refused", 0),
        (refuse(422, 42_210_000), "refused", 0),
        (refuse(422, 40_010_001), "refused", 0),
        (refuse(400, 40_010_000), "refused", 0),
        (refuse(404, 40_410_000), "refused", 0),
        (Kind::RefuseButAccept { status: 422, code: 42_210_000 }, "duplicate", 1),
        (Kind::RefuseButAccept { status: 403, code: 40_310_000 }, "duplicate", 1),
        (Kind::ExtraFields, "accepted", 1),
        (Kind::GzipBody, "accepted", 1),
        (Kind::NullFields, "accepted", 1),
        (Kind::Numbers, "accepted", 1),
        (Kind::AsyncReject, "accepted", 1),
    ];
    let double = AlpacaDouble::start().unwrap();
    for (n, (kind, taken, orders)) in (0..).zip(rows) {
        // A rest after a refusal is another test's matter.
        let client = client(&double);
        let ticket = ticket(n, "1");
        double.fault(Fault::next("place", kind.clone()));
        let placed = client.place(&ticket, Millis::now());
        let said = match &placed {
            Placed::Accepted(_) => "accepted".to_owned(),
            Placed::Refused { gate_ms: Some(ms), .. } => format!("gate {ms}"),
            Placed::Refused { gate_ms: None, .. } => "refused".into(),
            Placed::Barred(_) => "barred".into(),
            Placed::Duplicate => "duplicate".into(),
            Placed::NotSent(_) => "not sent".into(),
            Placed::Unknown(_) => "unknown".into(),
        };
        assert_eq!(said, taken, "{kind:?}: {placed:?}");
        assert_eq!(calls_and_orders(&double, &ticket), (1, orders), "{kind:?}");
        double.heal();
    }
}

/// What the account says of itself decides where the words do not; and a page is believed only after a look by name.
#[test]
fn a_refusal_is_the_accounts_where_the_account_says_so() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let now = Millis::now();
    let refuse = || Kind::Refuse { status: 403, code: 40_310_000, message: "words".into() };
    let account = |change: fn(&mut broker_doubles::alpaca::Account)| {
        double.book(|book| {
            book.account = broker_doubles::alpaca::Account::default();
            change(&mut book.account);
        });
    };
    type Change = fn(&mut broker_doubles::alpaca::Account);
    let rows: [(Change, &str); 4] = [
        (|account| account.trading_blocked = true, "blocked from trading"),
        (|account| account.trade_suspended_by_user = true, "trade_suspended_by_user"),
        (|account| account.status = "ACCOUNT_CLOSED".into(), "ACCOUNT_CLOSED"),
        (|_| {}, ""),
    ];
    for (n, (change, words)) in (0..).zip(rows) {
        account(change);
        double.fault(Fault::next("place", refuse()));
        let placed = client.place(&ticket(n, "1"), now);
        match &placed {
            Placed::Barred(reason) => assert!(!words.is_empty() && reason.contains(words), "{placed:?}"),
            Placed::Refused { .. } => assert_eq!(words, "", "{placed:?}"),
            _ => panic!("{placed:?}"),
        }
        // It is noticed without any order too, and passes by itself.
        match client.session(now).unwrap() {
            Session::Disputed { reason } => assert!(!words.is_empty() && reason.contains(words), "{reason}"),
            _ => assert_eq!(words, ""),
        }
        assert_eq!(client.troubles(now).unwrap().is_empty(), words.is_empty());
    }
    // Nothing answers but the gateway: nobody knows.
    double.fault(Fault::always("any", Kind::NoRoute));
    assert!(matches!(client.place(&ticket(90, "1"), now), Placed::Unknown(_)));
    assert!(client.order(&"none-such".parse().unwrap(), now).is_err(), "a page is not the broker's own 404");
    assert!(double.orders().is_empty());
}

/// Two tickers are refused in the same words, whatever the broker calls the requests.
#[test]
fn the_same_refusal_has_the_same_words() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    double.fault(Fault::always("place", Kind::Refuse { status: 422, code: 1, message: "words".into() }));
    let said = [1, 2].map(|n| client.place(&ticket(n, "1"), Millis::now()));
    assert_eq!(said[0], said[1]);
}

#[test]
fn an_order_that_a_person_replaced_is_one_with_what_followed() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let now = Millis::now();
    // What the first had traded, what the second is of, and what becomes of both as one.
    let rows = [
        ("0", "3", OrderStatus::Filled, "3"),
        ("1", "2", OrderStatus::Filled, "3"),
        ("1", "1", OrderStatus::Canceled, "2"),
        ("1", "5", OrderStatus::Filled, "6"),
    ];
    for (n, (traded, next, status, executed)) in (0..).zip(rows) {
        let life = vec![Step::trades(broker_doubles::alpaca::Fill::Shares(traded.parse().unwrap()), "new")];
        double.book(|book| book.life = Some(life));
        let ticket = ticket(n, "3");
        let Placed::Accepted(id) = client.place(&ticket, now) else { panic!("accepted") };
        assert_eq!(client.order(&id, now).unwrap().unwrap().status, OrderStatus::Live);
        double.book(|book| {
            book.life = None;
            book.replace_by_hand(id.as_str(), next.parse().unwrap()).unwrap();
        });
        assert_eq!(client.order(&id, now).unwrap().unwrap().status, OrderStatus::Live, "the second lives");
        let by_id = client.order(&id, now).unwrap().unwrap();
        let by_name = client.find(&ticket.intent, now).unwrap().unwrap();
        let listed = client.list(now.plus(-60_000), now).unwrap();
        let of_ours: Vec<_> = listed.iter().filter(|order| order.id == id).collect();
        assert_eq!(of_ours, [&by_name], "{n}");
        assert_eq!(listed.len(), usize::try_from(n).unwrap() + 1, "the second is no order of its own");
        for order in [by_id, by_name] {
            assert_eq!((order.status, order.executed.to_string().as_str()), (status, executed), "{order:?}");
            assert_eq!((order.executed, order.quantity), (order.filled, Shares::whole(3)));
            assert_eq!(order.average_price.unwrap().to_string(), "100.01");
            assert!(order.tag.is_some() && order.status_text.contains("replaced"), "{order:?}");
        }
    }
}

/// A replaced order whose successor can not be read, is of another ticker, or leads in a circle, stays replaced.
#[test]
fn a_replaced_order_that_leads_nowhere_is_a_persons() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let now = Millis::now();
    let cases: [fn(&mut broker_doubles::alpaca::Book, usize, usize); 3] = [
        |book, old, _| book.orders[old].replaced_by = Some("nowhere".into()),
        |book, _, new| book.orders[new].symbol = "AAPL".into(),
        |book, old, new| {
            book.orders[new].status = "replaced".into();
            book.orders[new].plan.clear();
            book.orders[new].replaced_by = Some(book.orders[old].id.clone());
        },
    ];
    for (n, spoil) in (0..).zip(cases) {
        let Placed::Accepted(id) = client.place(&ticket(n, "3"), now) else { panic!("accepted") };
        double.book(|book| {
            book.replace_by_hand(id.as_str(), "3".parse().unwrap()).unwrap();
            let new = book.orders.len() - 1;
            spoil(book, new - 1, new);
        });
        for order in [client.order(&id, now), client.find(&ticket(n, "3").intent, now)] {
            assert_eq!(order.unwrap().unwrap().status, OrderStatus::Replaced, "{n}");
        }
        assert!(client.list(now.plus(-60_000), now).unwrap().iter().any(|order| order.id == id));
    }
}

#[test]
fn a_name_is_taken_once_for_ever() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let (now, ticket) = (Millis::now(), ticket(1, "2"));
    assert!(matches!(client.place(&ticket, now), Placed::Accepted(_)));
    assert_eq!(client.place(&ticket, now), Placed::Duplicate);
    assert_eq!(calls_and_orders(&double, &ticket), (2, 1));
}

#[test]
fn what_never_left_is_known() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    drop(double);
    // The port is free again once the double's thread has ended.
    let mut placed = Placed::Unknown("not called yet".into());
    until("the call does not leave", String::new, || {
        placed = client.place(&ticket(1, "1"), Millis::now());
        matches!(placed, Placed::NotSent(_))
    });
    assert!(matches!(&placed, Placed::NotSent(why) if why.to_lowercase().contains("refused")), "{placed:?}");
    assert!(client.order(&"x".parse().unwrap(), Millis::now()).is_err());
}

#[test]
fn nothing_leaves_before_the_account_is_confirmed() {
    let double = AlpacaDouble::start().unwrap();
    let client = Alpaca::new(options(&double)).unwrap();
    assert!(matches!(client.place(&ticket(1, "1"), Millis::now()), Placed::NotSent(_)));
    let name = client.account(Millis::now()).unwrap();
    let number = double.book(|book| book.account.account_number.clone());
    let id = double.book(|book| book.account.id.clone());
    assert!(name.starts_with("paper-") && !name.contains(&number) && !name.contains(&id), "{name}");

    let of_another_ledger = Alpaca::new(options(&double)).unwrap();
    of_another_ledger.expect_account("paper-000000000000");
    assert!(of_another_ledger.list(Millis(0), Millis::now()).is_err());
    assert!(matches!(of_another_ledger.place(&ticket(1, "1"), Millis::now()), Placed::NotSent(_)));
    assert!(matches!(of_another_ledger.account(Millis::now().plus(60_000)), Err(AccountError::Wrong(_))));

    for (digits, right) in [("4321", true), ("4322", false)] {
        let live = Options { mode: Mode::Live, live_account: Some(digits.into()), ..options(&double) };
        let told = Alpaca::new(live).unwrap().account(Millis::now());
        assert_eq!(told.is_ok(), right, "{told:?}");
        assert!(right || matches!(told, Err(AccountError::Wrong(_))));
        assert!(!format!("{told:?}").contains(&number));
    }
    assert!(double.orders().is_empty());
}

#[test]
fn statuses_are_ends_or_they_are_not() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let now = Millis::now();
    let partial = |then: &str| Kind::Partial {
        fills: vec![
            ("0.5".parse().unwrap(), Some("22.7299".parse().unwrap())),
            ("0.5".parse().unwrap(), None),
        ],
        then: then.into(),
    };
    let rows: Vec<(Kind, OrderStatus, &str)> = vec![
        (partial("working"), OrderStatus::Live, "1"),
        (partial("cancel"), OrderStatus::Canceled, "1"),
        (partial("expire"), OrderStatus::Expired, "1"),
        (partial("fill"), OrderStatus::Filled, "2"),
        (Kind::AsyncReject, OrderStatus::Rejected, "0"),
        (Kind::SlowStatus { statuses: vec!["held".into(), "calculated".into()] }, OrderStatus::Filled, "2"),
    ];
    for (n, (kind, end, filled)) in (0..).zip(rows) {
        double.fault(Fault::next("place", kind.clone()));
        let Placed::Accepted(id) = client.place(&ticket(n, "2"), now) else { panic!("{kind:?}") };
        let seen: Vec<_> = (0..6).map(|_| client.order(&id, now).unwrap().unwrap()).collect();
        let last = seen.last().unwrap();
        assert_eq!((last.status, last.filled.to_string().as_str()), (end, filled), "{kind:?}");
        assert!(seen.windows(2).all(|pair| pair[0].filled <= pair[1].filled));
        assert!(!seen[0].status.is_terminal(), "{kind:?}");
    }
    let words = ["done_for_day", "stopped", "suspended", "SOMETHING_NEW"];
    let life = words.iter().map(|word| Step::called(word)).collect();
    double.book(|book| book.life = Some(life));
    let Placed::Accepted(id) = client.place(&ticket(90, "2"), now) else { panic!() };
    for word in words {
        let order = client.order(&id, now).unwrap().unwrap();
        assert_eq!((order.status, order.status_text.as_str()), (OrderStatus::Live, word));
    }
}

#[test]
fn reads_that_fail_say_nothing_of_the_order() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let now = Millis::now();
    let Placed::Accepted(id) = client.place(&ticket(1, "1"), now) else { panic!() };
    let kinds = [
        Kind::AcceptThenClose,
        Kind::AcceptThenReset,
        Kind::AcceptHalfHeaders,
        Kind::TruncatedBody,
        Kind::BadJson,
        Kind::GzipDamaged { damage: Damage::Cut },
        Kind::GzipDamaged { damage: Damage::Sum },
        Kind::GzipDamaged { damage: Damage::Bomb },
        Kind::Html,
        Kind::ServerErrorBefore,
        Kind::Unavailable { html: true },
        Kind::AccessDenied,
        // A page that is not found is not the broker's "order not found".
        Kind::Refuse { status: 404, code: 0, message: "no such page".into() },
    ];
    for kind in kinds {
        double.fault(Fault::next("order", kind.clone()));
        let read = client.order(&id, now);
        assert!(read.is_err(), "{kind:?}: {read:?}");
    }
    for kind in [Kind::ExtraFields, Kind::NullFields, Kind::Numbers, Kind::GzipBody] {
        for route in ["order", "list", "positions", "find"] {
            double.fault(Fault::next(route, kind.clone()));
        }
        assert_eq!(client.order(&id, now).unwrap().unwrap().quantity, Shares::whole(1), "{kind:?}");
        assert_eq!(client.list(Millis(0), now).unwrap().len(), 1, "{kind:?}");
        assert!(client.find(&ticket(1, "1").intent, now).unwrap().is_some(), "{kind:?}");
        assert_eq!(client.positions(now).unwrap().len(), 1, "{kind:?}");
    }
}

#[test]
fn refused_keys_and_rates_are_not_asked_again_at_once() {
    for (kind, rest_ms) in [
        (Kind::Keys { status: 401 }, 15_000),
        (Kind::Keys { status: 403 }, 15_000),
        (Kind::RateLimit { reset_s: None, retry_after_s: Some(30) }, 30_000),
        (Kind::RateLimit { reset_s: None, retry_after_s: None }, 60_000),
    ] {
        let double = AlpacaDouble::start().unwrap();
        let client = client(&double);
        let now = Millis::now();
        double.fault(Fault::next("positions", kind.clone()));
        assert!(client.positions(now).is_err());
        let asked = double.log().len();
        for _ in 0..50 {
            assert!(client.positions(now.plus(rest_ms - 1)).is_err(), "{kind:?}");
        }
        assert_eq!(double.log().len(), asked, "{kind:?}");
        assert!(client.positions(now.plus(rest_ms)).is_ok(), "{kind:?}");
    }
}

#[test]
fn a_rate_limit_lasts_as_long_as_its_header_says() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    double.fault(Fault::next("place", Kind::RateLimit { reset_s: Some(20), retry_after_s: None }));
    let asked = Millis::now();
    let Placed::Refused { gate_ms: Some(ms), .. } = client.place(&ticket(1, "1"), asked) else { panic!() };
    // It counts from when the double heard it, in seconds that were begun.
    let late = Millis::now().since(asked);
    assert!((15_000..=20_000 + late).contains(&ms), "{ms}");
}

#[test]
fn a_list_of_many_pages_is_read_whole() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let begun = Millis::now();
    for n in 0..1_203 {
        // Three hundred share a millisecond, so that every page ends in the middle of one.
        double.book(|book| book.stop_clock(begun.plus(n / 300).0));
        let body = serde_json::json!({
            "symbol": "TSLA", "side": "buy", "qty": "1", "client_order_id": format!("m-{n}"),
        });
        ureq::post(format!("{}/__fake/manual_order", double.url())).send_json(&body).unwrap();
    }
    let orders = client.list(begun.plus(-5_000), Millis::now()).unwrap();
    assert_eq!(orders.len(), 1_203);
    assert!(orders.iter().all(|order| order.tag.is_none()));
}

/// Pages of the list that were asked for.
fn pages(double: &AlpacaDouble) -> usize {
    double.log().iter().filter(|entry| entry.route == "list").count()
}

/// The list goes by submission, `created_at` is later by so many milliseconds, and a page is of all that the account
/// trades. Whatever fills a page, ours is the next row.
#[test]
fn an_order_behind_a_full_page_is_seen() {
    for class in ["us_equity", "crypto", "us_option"] {
        for late_ms in [0, 8, 31, 400] {
            let double = AlpacaDouble::start().unwrap();
            let client = client(&double);
            let now = Millis::now();
            double.book(|book| {
                book.created_late_ms = late_ms;
                let symbol = if class == "us_equity" { "F" } else { "BTC/USD" };
                for n in 0..500 {
                    book.add_strangers_order(symbol, class, now.0 - 10 - (499 - n) * 50);
                }
                book.stop_clock(now.0);
            });
            let ticket = ticket(1, "1");
            assert!(matches!(client.place(&ticket, now), Placed::Accepted(_)));
            let orders = client.list(now.plus(-300_000), now).unwrap();
            let ours = orders.iter().filter(|order| order.tag.is_some()).count();
            assert_eq!(ours, 1, "{class}, {late_ms} ms late");
            assert_eq!(orders.len(), if class == "us_equity" { 501 } else { 1 }, "each once");
            assert_eq!(pages(&double), 2, "{class}, {late_ms} ms late");
        }
    }
}

/// A moment with more rows than a page holds can not be gone past, because no page tells which of them it lacks: an
/// error, at once. One row fewer can.
#[test]
fn a_moment_that_fills_a_page_is_an_error_and_no_loop() {
    for (rows, whole) in [(499, true), (500, false), (900, false)] {
        let double = AlpacaDouble::start().unwrap();
        let client = client(&double);
        let now = Millis::now();
        double.book(|book| {
            (0..5).for_each(|n| book.add_strangers_order("F", "us_equity", now.0 - 5_000 + n));
            (0..rows).for_each(|_| book.add_strangers_order("F", "us_equity", now.0));
            (0..5).for_each(|n| book.add_strangers_order("F", "us_equity", now.0 + 5_000 + n));
        });
        match client.list(now.plus(-60_000), now) {
            Ok(orders) => assert!(whole && orders.len() == rows + 10, "{rows}: {}", orders.len()),
            Err(error) => assert!(!whole && error.0.contains("of one moment"), "{rows}: {error}"),
        }
        assert!(pages(&double) <= 4, "{rows}: {} pages", pages(&double));
    }
}

#[test]
fn an_old_list_is_older_and_whole() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let now = Millis::now();
    let _ = client.place(&ticket(1, "1"), now);
    double.fault(Fault::next("list", Kind::ListStale));
    let _ = client.place(&ticket(2, "1"), now);
    assert_eq!(client.list(now.plus(-60_000), now).unwrap().len(), 1);
    assert_eq!(client.list(now.plus(-60_000), now).unwrap().len(), 2);
}

#[test]
fn a_busted_fill_goes_down_and_a_twin_is_nobodys() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let now = Millis::now();
    double.fault(Fault::next("place", Kind::FillBust));
    let Placed::Accepted(id) = client.place(&ticket(1, "2"), now) else { panic!() };
    let filled: Vec<String> =
        (0..4).map(|_| client.order(&id, now).unwrap().unwrap().executed.to_string()).collect();
    assert_eq!(filled, ["2", "2", "0", "0"]);
    double.fault(Fault::next("place", Kind::TwinManualOrder));
    let _ = client.place(&ticket(2, "3"), now);
    let twins: Vec<_> = client.list(now.plus(-60_000), now).unwrap();
    let threes: Vec<_> = twins.iter().filter(|order| order.quantity == Shares::whole(3)).collect();
    assert_eq!(threes.len(), 2);
    assert_eq!(threes.iter().filter(|order| order.tag.is_some()).count(), 1, "only one is ours");
}

#[test]
fn sessions_come_from_clock_calendar_and_table() {
    let double = AlpacaDouble::start().unwrap();
    let at = |text: &str| Millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    let day = |date: &str, close: &str| {
        serde_json::from_value(serde_json::json!({ "date": date, "open": "09:30", "close": close })).unwrap()
    };
    let market = Market::Days { days: vec![day("2026-11-27", "13:00"), day("2026-11-30", "16:00")] };
    double.book(|book| book.market = market);
    let say = |now: &str, word: Word| {
        double.book(|book| book.stop_clock(at(now).0));
        let client = Alpaca::new(Options { word, ..options(&double) }).unwrap();
        match client.session(at(now)) {
            Ok(Session::Open { until: Some(until) }) => format!("open until {until}"),
            Ok(Session::Open { until: None }) => "open".into(),
            Ok(Session::Closed { .. }) => "closed".into(),
            Ok(Session::Disputed { .. }) => "disputed".into(),
            Err(error) => error.to_string(),
        }
    };
    let half = "open until 2026-11-27T18:00:00.000Z";
    assert_eq!(say("2026-11-27T17:59:59.999Z", Word::Agreed), half);
    assert_eq!(say("2026-11-27T18:00:00Z", Word::Agreed), "closed");
    assert_eq!(say("2026-11-26T16:00:00Z", Word::Agreed), "closed");
    assert_eq!(say("2026-11-30T14:29:59Z", Word::Agreed), "closed");
    assert_eq!(say("2026-11-30T14:30:00Z", Word::Agreed), "open until 2026-11-30T21:00:00.000Z");
    // The clock alone fails: the account still answers, so the table may stand in.
    double.fault(Fault::always("clock", Kind::ServerErrorBefore));
    assert_eq!(say("2026-11-27T15:00:00Z", Word::Agreed), half);
    assert_eq!(say("2026-11-27T15:00:00Z", Word::Broker), "disputed");
    double.fault(Fault::always("any", Kind::ServerErrorBefore));
    assert!(say("2026-11-27T15:00:00Z", Word::Agreed).contains("500"));
    double.heal();
    double.fault(Fault::always("calendar", Kind::BadJson));
    assert_eq!(say("2026-11-27T15:00:00Z", Word::Agreed), half);
    double.heal();
    // A market of its own hours: the table knows better than to believe it.
    double.book(|book| book.market = Market::Open);
    assert_eq!(say("2026-11-26T16:00:00Z", Word::Agreed), "disputed");
    assert!(say("2026-11-26T16:00:00Z", Word::Broker).starts_with("open until"));
}

#[test]
fn a_clock_that_is_off_is_noticed() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    for shift in [0, 10_000, -10_000] {
        double.book(|book| book.shift_clock(shift));
        let begun = Instant::now();
        client.session(Millis::now()).unwrap();
        let ahead = client.clock_ahead_ms().unwrap();
        // The answer may have been on its way for as long as the call took.
        let off = 2_000 + i64::try_from(begun.elapsed().as_millis()).unwrap();
        assert!((ahead - shift).abs() <= off, "{shift}: {ahead}");
    }
}

#[test]
fn quotes_are_of_the_moment_unless_they_are_old() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let now = Millis::now();
    double.book(|book| book.prices.insert("AAPL".into(), ("0".parse().unwrap(), "9.5".parse().unwrap())));
    let symbols = ["TSLA", "AAPL", "ZZZZ"].map(|name| name.parse().unwrap());
    let quotes = client.quotes(&symbols, now).unwrap();
    let shown: Vec<String> =
        quotes.iter().map(|q| format!("{} {:?} {:?} {}", q.symbol, q.bid, q.ask, q.tradable)).collect();
    let wanted = ["AAPL None Some(Price(9.5)) true", "TSLA Some(Price(99.99)) Some(Price(100.01)) true"];
    assert_eq!(shown, wanted);
    assert!(quotes.iter().all(|quote| quote.at >= now));
    double.book(|book| book.stop_clock(now.plus(-20 * 60_000).0));
    assert!(client.quotes(&symbols[..1], now).unwrap()[0].at < now.plus(-19 * 60_000));
}

/// One name that the data server does not take costs its own ticker's quote and no other's, named in the refusal or not.
#[test]
fn one_name_is_refused_alone() {
    let names = ["TSLA", "AAPL", "QQX", "NVDA", "F", "GM", "T", "XY"].map(|name| name.parse().unwrap());
    for named in [true, false] {
        let double = AlpacaDouble::start().unwrap();
        let client = client(&double);
        let now = Millis::now();
        double.book(|book| {
            book.unquoted = vec!["QQX".into(), "XY".into()];
            book.names_unquoted = named;
        });
        let asked = || double.log().iter().filter(|entry| entry.route == "quotes").count();
        let quotes = client.quotes(&names, now).unwrap();
        let missing: Vec<String> = quotes
            .iter()
            .filter_map(|quote| Some(format!("{} {}", quote.symbol, quote.missing.as_ref()?)))
            .collect();
        assert_eq!((quotes.len(), missing.len()), (8, 2), "{missing:?}");
        assert!(missing.iter().all(|told| told.contains("HTTP 400") && told.contains("invalid symbol")));
        let first = asked();
        assert!(first <= if named { 3 } else { 13 }, "{first} questions");
        // It is not asked for with each list, but now and then.
        assert_eq!(client.quotes(&names, now.plus(10_000)).unwrap().len(), 8);
        assert_eq!(asked(), first + 1);
        double.book(|book| book.unquoted.clear());
        let later = client.quotes(&names, now.plus(300_000)).unwrap();
        assert_eq!((later.len(), later.iter().filter(|quote| quote.missing.is_some()).count()), (8, 0));
    }
}

/// More wrong names than one reading asks for: each reading leads on, and none of them asks without end.
#[test]
fn many_wrong_names_are_found_in_several_readings() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let now = Millis::now();
    let names: Vec<Symbol> = (0..150).map(|n| format!("T{n}").parse().unwrap()).collect();
    double.book(|book| {
        book.unquoted = names.iter().step_by(2).map(|name| name.to_string()).collect();
        book.names_unquoted = false;
    });
    let mut quoted = 0;
    for n in 1..=40 {
        let before = double.log().len();
        let quotes = client.quotes(&names, now.plus(n * 5_000)).unwrap();
        assert!(double.log().len() - before <= 26);
        quoted = quotes.iter().filter(|quote| quote.missing.is_none()).count();
        if quoted == 75 {
            return;
        }
    }
    panic!("{quoted} of 75 quoted");
}

#[test]
fn a_feed_is_named_and_its_thin_quotes_have_the_last_trade() {
    let double = AlpacaDouble::start().unwrap();
    let now = Millis::now();
    double.book(|book| {
        let price = |text: &str| text.parse::<broker_doubles::decimal::Decimal>().unwrap();
        book.stop_clock(now.0);
        for (name, bid, ask) in
            [("TSLA", "99.9", "100.1"), ("AAPL", "96", "110"), ("F", "0", "10"), ("GM", "9", "0")]
        {
            book.prices.insert(name.into(), (price(bid), price(ask)));
        }
        book.trades.insert("TSLA".into(), (price("100"), now.0));
        book.trades.insert("AAPL".into(), (price("100.02"), now.0 - 30_000));
        book.trades.insert("F".into(), (price("9.9"), now.0 - 120_000));
    });
    let symbols = ["TSLA", "AAPL", "F", "GM"].map(|name| name.parse().unwrap());
    let told = |feed: Feed| {
        let client = Alpaca::new(Options { feed, ..options(&double) }).unwrap();
        client.account(now).unwrap();
        let quotes = client.quotes(&symbols, now).unwrap();
        let last =
            |price: Option<counterfill::units::Price>| price.map_or_else(|| "-".into(), |p| p.to_string());
        quotes
            .iter()
            .map(|q| format!("{} {} {:?} {}", q.symbol, last(q.last), q.partial_feed, q.tradable))
            .collect::<Vec<_>>()
    };
    let of = |last: &str, feed: &str| {
        ["AAPL", "F", "GM", "TSLA"].map(|name| {
            let last = if name == "AAPL" { last } else { "-" };
            format!("{name} {last} {feed} true")
        })
    };
    assert_eq!(
        told(Feed::Iex),
        of("100.02", "Some(\"iex\")"),
        "a trade of two minutes ago says nothing of now"
    );
    assert_eq!(told(Feed::Sip), of("-", "None"));
    double.fault(Fault::always("trades", Kind::ServerErrorBefore));
    assert_eq!(told(Feed::Iex), of("-", "Some(\"iex\")"), "the quotes stand alone");
    let feeds: std::collections::BTreeSet<String> = double
        .log()
        .iter()
        .filter(|entry| entry.route == "quotes")
        .flat_map(|entry| entry.query.clone())
        .filter_map(|(name, value)| (name == "feed").then_some(value))
        .collect();
    assert_eq!(feeds, ["iex", "sip"].map(str::to_owned).into());
    // A quarter of an hour late is what this feed is.
    double.heal();
    double.book(|book| book.stop_clock(now.0 - 15 * 60_000));
    let client = Alpaca::new(Options { feed: Feed::DelayedSip, ..options(&double) }).unwrap();
    client.account(now).unwrap();
    let quotes = client.quotes(&symbols, now).unwrap();
    assert!(quotes.iter().all(|quote| quote.at >= now && quote.partial_feed == Some("delayed_sip")));
}

#[test]
fn the_rules_of_fractions_are_the_brokers() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let now = Millis::now();
    double.hold("TSLA", "2.5");
    let sell = |n, quantity| Ticket { side: Side::Sell, ..ticket(n, quantity) };
    let refused = |placed: Placed, words: &str| {
        assert!(
            matches!(&placed, Placed::Refused { reason, gate_ms: None } if reason.contains(words)),
            "{placed:?}"
        );
    };
    refused(client.place(&sell(1, "3.5"), now), "fractional orders cannot be sold short");
    refused(client.place(&sell(2, "3"), now), "insufficient qty available");
    refused(client.place(&ticket(3, "0.001"), now), "minimal amount");
    refused(client.place(&ticket(4, "0.0000000001"), now), "is no order that Alpaca takes");
    double.book(|book| book.assets.entry("TSLA".into()).or_default().fractionable = false);
    refused(client.place(&ticket(5, "1.5"), now), "not fractionable");
    let missing = Ticket { symbol: "ZZZZ".parse().unwrap(), ..ticket(6, "1") };
    refused(client.place(&missing, now), "not found");
    assert!(matches!(client.place(&sell(7, "2"), now), Placed::Accepted(_)));
    assert!(double.orders().len() == 1 && !double.orders()[0].buys);
    double.book(|book| book.positions.insert("AAPL".into(), "-3".parse().unwrap()));
    let positions = client.positions(now).unwrap();
    assert!(positions.contains(&("AAPL".parse().unwrap(), Shares::whole(-3))), "{positions:?}");
}

#[test]
fn the_double_is_driven_from_outside_too() {
    let double = AlpacaDouble::start().unwrap();
    let client = client(&double);
    let tell = |what: &str, body: serde_json::Value| {
        ureq::post(format!("{}/__fake/{what}", double.url())).send_json(&body).unwrap();
    };
    tell("fault", serde_json::json!({ "route": "place", "kind": "accept_then_close" }));
    tell("price", serde_json::json!({ "symbol": "TSLA", "bid": "9", "ask": 10.5 }));
    tell(
        "order_script",
        serde_json::json!({ "steps": [{ "fill": { "part": 2 }, "status": "partially_filled" }, { "fill": "rest", "status": "filled" }] }),
    );
    let (now, ticket) = (Millis::now(), ticket(1, "3"));
    assert!(matches!(client.place(&ticket, now), Placed::Unknown(_)));
    assert_eq!(client.find(&ticket.intent, now).unwrap().unwrap().filled.to_string(), "1.5");
    let order = client.find(&ticket.intent, now).unwrap().unwrap();
    assert_eq!(
        (order.filled.to_string(), order.average_price.unwrap().to_string()),
        ("3".into(), "10.5".into())
    );
    let mut log = ureq::get(format!("{}/__fake/log", double.url())).call().unwrap();
    let log: serde_json::Value = log.body_mut().read_json().unwrap();
    let place = log.as_array().unwrap().iter().find(|entry| entry["route"] == "place").unwrap();
    assert_eq!(
        (place["fault"].as_str(), place["answer"].as_str()),
        (Some("accept_then_close"), Some("Close after 0 ms"))
    );
    assert!(place["created"].is_string());
    assert!(!log.to_string().contains("CANARY"), "the log keeps no secret");
}
