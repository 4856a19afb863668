//! The Schwab client against its double over real HTTP: what each answer, and each answer that never came, is taken for.
//! The last word is always the double's own log.

use std::time::{Duration, Instant};

use broker_doubles::decimal::Decimal;
use broker_doubles::schwab::{
    ACCOUNT, APP_KEY, APP_SECRET, Damage, Fault, Instruction, Kind, SchwabDouble, Step, TAG,
};
use counterfill::broker::schwab::vault::{KEY_BYTES, Login, Vault};
use counterfill::broker::schwab::{Options, Schwab};
use counterfill::broker::session::Word;
use counterfill::broker::{AccountError, Broker, Mend, OrderStatus, Placed, Session, Ticket};
use counterfill::units::{Millis, Shares, Side, Symbol};
use tempfile::TempDir;

/// After a login endpoint that was away the client asks it nothing for so long.
const PAUSE: Duration = Duration::from_secs(2);
/// So often is tried what only a machine that is too slow just then prevents.
const ATTEMPTS: usize = 30;

struct Desk {
    double: SchwabDouble,
    client: Schwab,
    dir: TempDir,
}

fn options(double: &SchwabDouble) -> Options {
    Options {
        base_url: Some(double.url()),
        key: APP_KEY.to_owned().into(),
        secret: APP_SECRET.to_owned().into(),
        live_account: ACCOUNT[ACCOUNT.len() - 4..].to_owned(),
        allow_short: false,
        tag: None,
        word: Word::Broker,
        cert_file: None,
    }
}

fn vault(dir: &TempDir) -> Vault {
    Vault::open(&dir.path().join("login.db"), &[3; KEY_BYTES]).unwrap()
}

/// What `auth login` leaves behind.
fn log_in(double: &SchwabDouble, dir: &TempDir) {
    let (access, refresh) = double.log_in();
    let now = Millis::now();
    let mut vault = vault(dir);
    let login = Login {
        access: access.into(),
        refresh: refresh.into(),
        logged_in_at: now,
        issued_at: now,
        access_until: now.plus(1_800_000),
        generation: vault.generation().unwrap(),
    };
    vault.store(&login).unwrap().expect("nobody else writes");
}

impl Desk {
    /// Logged in, and not asked for anything yet.
    fn new() -> Self {
        let (double, dir) = (SchwabDouble::start().unwrap(), tempfile::tempdir().unwrap());
        log_in(&double, &dir);
        let client = Schwab::new(options(&double), vault(&dir)).unwrap();
        Self { double, client, dir }
    }

    /// With the account confirmed.
    fn ready() -> Self {
        let desk = Self::new();
        desk.client.account(Millis::now()).unwrap();
        desk
    }

    fn place(&self, ticket: &Ticket) -> Placed {
        self.client.place(ticket, Millis::now())
    }

    fn calls(&self, route: &str) -> usize {
        self.double.log().iter().filter(|entry| entry.route == route).count()
    }
}

fn ticket(side: Side, quantity: &str, short: bool) -> Ticket {
    Ticket {
        intent: "cf-0123456789ab-000001".parse().unwrap(),
        symbol: "TSLA".parse().unwrap(),
        side,
        quantity: quantity.parse().unwrap(),
        reference: None,
        short,
    }
}

fn word(placed: &Placed) -> String {
    match placed {
        Placed::Accepted(_) => "accepted".to_owned(),
        Placed::Refused { gate_ms: Some(ms), .. } => format!("gate {ms}"),
        Placed::Refused { gate_ms: None, .. } => "refused".into(),
        Placed::Barred(_) => "barred".into(),
        Placed::Duplicate => "duplicate".into(),
        Placed::NotSent(_) => "not sent".into(),
        Placed::Unknown(_) => "unknown".into(),
    }
}

/// The Date header is of whole seconds, and the answer may have been on its way for as long as the calls took, in ms.
fn apart_at_most(begun: Instant) -> i64 {
    2_000 + i64::try_from(begun.elapsed().as_millis()).unwrap()
}

#[test]
fn an_order_lives_from_its_call_to_its_end() {
    let desk = Desk::ready();
    let (now, begun) = (Millis::now(), Instant::now());
    let Placed::Accepted(id) = desk.place(&ticket(Side::Buy, "3", false)) else { panic!("accepted") };
    let first = desk.client.order(&id, now).unwrap().unwrap();
    assert!(first.ordinary);
    assert_eq!(
        (first.status, first.filled, first.tag.as_deref()),
        (OrderStatus::Live, Shares::ZERO, Some(TAG))
    );
    let second = desk.client.order(&id, now).unwrap().unwrap();
    assert_eq!(
        (second.status, second.filled, second.executed),
        (OrderStatus::Filled, Shares::whole(3), Shares::whole(3))
    );
    assert_eq!(second.average_price.unwrap().to_string(), "100.01");
    assert_eq!((second.id, second.symbol.as_str(), second.side), (id, "TSLA", Side::Buy));
    let tsla: Symbol = "TSLA".parse().unwrap();
    assert_eq!(desk.client.positions(now).unwrap(), [(tsla, Shares::whole(3))]);
    assert_eq!(desk.client.list(now.plus(-60_000), now).unwrap().len(), 1);
    assert_eq!(desk.client.list(now.plus(60_000), now).unwrap(), []);
    assert_eq!(desk.client.order(&"12".parse().unwrap(), now).unwrap(), None);
    let most = apart_at_most(begun);
    assert!((-most..=most).contains(&desk.client.clock_ahead_ms().unwrap()));
    let log = desk.double.log();
    let body = &log.iter().find(|entry| entry.route == "place").unwrap().body;
    let sent: serde_json::Value = serde_json::from_str(body).unwrap();
    let wanted = serde_json::json!({
        "orderType": "MARKET", "session": "NORMAL", "duration": "DAY", "orderStrategyType": "SINGLE",
        "orderLegCollection": [{
            "instruction": "BUY", "quantity": 3, "instrument": { "symbol": "TSLA", "assetType": "EQUITY" },
        }],
    });
    assert_eq!(sent, wanted);
}

#[test]
fn each_side_has_the_brokers_own_word() {
    let rows =
        [(Side::Sell, false, "5"), (Side::Buy, true, "-5"), (Side::Sell, true, "0"), (Side::Buy, false, "0")];
    let words: Vec<&str> = rows
        .iter()
        .map(|(side, short, held)| {
            let desk = Desk::ready();
            desk.double.hold("TSLA", held);
            let Placed::Accepted(id) = desk.place(&ticket(*side, "5", *short)) else { panic!("accepted") };
            (0..2).for_each(|_| drop(desk.client.order(&id, Millis::now())));
            assert_eq!(desk.double.orders()[0].status, "FILLED", "{side:?} {short}");
            desk.double.orders()[0].instruction.as_str()
        })
        .collect();
    assert_eq!(words, ["SELL", "BUY_TO_COVER", "SELL_SHORT", "BUY"]);
}

/// A class of shares has one name inside (`BRK.B`) and the broker's own (`BRK/B`) on every road out; on the roads in none of
/// its spellings is passed over as another instrument.
#[test]
fn a_class_share_goes_out_in_the_brokers_spelling_and_comes_in_under_our_name() {
    let desk = Desk::ready();
    let now = Millis::now();
    desk.double.hold("BRK/B", "50");
    let brk: Symbol = "BRK.B".parse().unwrap();
    let ticket = Ticket { symbol: brk.clone(), ..ticket(Side::Sell, "2", false) };
    let quotes = desk.client.quotes(&[brk.clone(), "TSLA".parse().unwrap()], now).unwrap();
    assert_eq!(quotes.iter().map(|quote| quote.symbol.as_str()).collect::<Vec<_>>(), ["BRK.B", "TSLA"]);
    let Placed::Accepted(id) = desk.place(&ticket) else { panic!("accepted") };
    let read = (0..2).map(|_| desk.client.order(&id, now).unwrap().unwrap()).last().unwrap();
    assert_eq!((&read.symbol, read.status), (&brk, OrderStatus::Filled), "{}", read.status_text);
    assert_eq!(desk.client.list(now.plus(-60_000), now).unwrap()[0].symbol, brk);
    assert_eq!(desk.client.positions(now).unwrap(), [(brk.clone(), Shares::whole(48))]);
    assert_eq!(desk.double.orders()[0].symbol, "BRK/B");
    // Another spelling in an answer is the same share too: an order or a position of it must not be overlooked.
    for spelling in ["BRK.B", "BRK-B"] {
        desk.double.book(|book| book.orders[0].symbol = spelling.into());
        assert_eq!(desk.client.list(now.plus(-60_000), now).unwrap()[0].symbol, brk, "{spelling}");
    }
}

/// What an order call is taken for, by what the double does to it; and whether an order came of it.
#[test]
fn each_answer_is_taken_for_what_it_proves() {
    let refuse = |status| Kind::Refuse { status, message: "words".into() };
    let rows: Vec<(Kind, &str, usize)> = vec![
        (Kind::AcceptThenClose, "unknown", 1),
        (Kind::AcceptThenReset, "unknown", 1),
        (Kind::AcceptHalfHeaders, "unknown", 1),
        (Kind::AcceptNoLocation, "unknown", 1),
        (Kind::LocationGarbage, "unknown", 1),
        (Kind::StallThenDrop { ms: 10 }, "unknown", 0),
        (Kind::ServerErrorBefore, "unknown", 0),
        (Kind::ServerErrorAfter, "unknown", 1),
        (Kind::Unavailable { html: false }, "unknown", 0),
        (Kind::Unavailable { html: true }, "unknown", 0),
        (Kind::GatewayFault, "unknown", 0),
        (Kind::RequestTimeout { accepted: true }, "unknown", 1),
        (Kind::RequestTimeout { accepted: false }, "unknown", 0),
        (refuse(302), "unknown", 0),
        (refuse(504), "unknown", 0),
        (Kind::AccessRevokedEarly, "gate 2000", 0),
        (Kind::RefreshHtml, "barred", 0),
        (Kind::RateLimit { retry_after: None }, "gate 60000", 0),
        (Kind::RateLimit { retry_after: Some(7) }, "gate 7000", 0),
        (refuse(400), "refused", 0),
        (refuse(403), "refused", 0),
        (refuse(404), "refused", 0),
        (Kind::LocationRelative, "accepted", 1),
        (Kind::AsyncReject { text: "no".into() }, "accepted", 1),
        (Kind::ExtraFields, "accepted", 1),
        (Kind::GzipBody, "accepted", 1),
        // A yes names its order in a header: what comes of its body is nothing to it.
        (Kind::GzipDamaged { damage: Damage::Cut }, "accepted", 1),
        (Kind::GzipDamaged { damage: Damage::Bomb }, "accepted", 1),
    ];
    for (kind, taken, orders) in rows {
        let desk = Desk::ready();
        desk.double.fault(Fault::next("place", kind.clone()));
        let placed = desk.place(&ticket(Side::Buy, "1", false));
        assert_eq!(word(&placed), taken, "{kind:?}: {placed:?}");
        assert_eq!((desk.calls("place"), desk.double.orders().len()), (1, orders), "{kind:?}: once");
    }
}

#[test]
fn what_never_left_is_said_to_have_not() {
    let desk = Desk::new();
    assert_eq!(word(&desk.place(&ticket(Side::Buy, "1", false))), "not sent", "no account yet");
    let desk = Desk::ready();
    for quantity in ["1.5", "-1", "0"] {
        assert_eq!(word(&desk.place(&ticket(Side::Buy, quantity, false))), "refused", "{quantity}");
    }
    assert_eq!(desk.calls("place"), 0);
    let Desk { double, client, dir: _dir } = desk;
    drop(double);
    assert_eq!(
        word(&client.place(&ticket(Side::Buy, "1", false), Millis::now())),
        "not sent",
        "nobody listens"
    );
}

#[test]
fn a_read_is_asked_again_once_with_another_token() {
    let desk = Desk::ready();
    desk.double.fault(Fault::next("list", Kind::AccessRevokedEarly));
    let now = Millis::now();
    assert_eq!(desk.client.list(now, now).unwrap(), []);
    assert_eq!((desk.calls("list"), desk.calls("token")), (2, 1));
    // An order call is not: the gate closes, and the next attempt has another token.
    desk.double.fault(Fault::next("place", Kind::AccessRevokedEarly));
    assert_eq!(word(&desk.place(&ticket(Side::Buy, "1", false))), "gate 2000");
    assert_eq!(word(&desk.place(&ticket(Side::Buy, "1", false))), "accepted");
    assert_eq!((desk.calls("place"), desk.calls("token"), desk.double.orders().len()), (2, 2, 1));
}

/// Market data alone is refused to a token that trades: that road rests, with its words, and nothing else does.
#[test]
fn a_401_belongs_to_its_road() {
    let desk = Desk::ready();
    let tsla: [Symbol; 1] = ["TSLA".parse().unwrap()];
    let now = Millis::now();
    desk.double.fault(Fault::always("quotes", Kind::NotAuthorized));
    let quotes = |at: Millis| desk.client.quotes(&tsla, at);
    assert!(quotes(now).unwrap_err().0.contains("Client not authorized"));
    assert_eq!((desk.calls("quotes"), desk.calls("token")), (2, 1), "another token is tried once");
    for at in [now, now.plus(10_000), now.plus(59_000)] {
        let no = quotes(at).unwrap_err().0;
        assert!(no.contains("Client not authorized") && no.contains("Market Data Production"), "{no}");
        assert!(desk.client.positions(at).is_ok() && desk.client.list(at, at).is_ok());
    }
    assert_eq!((desk.calls("quotes"), desk.calls("token")), (2, 1), "it rests");
    // Asked once a minute, with the token that is taken elsewhere.
    for minute in 1..=5 {
        assert!(quotes(now.plus(minute * 60_000)).is_err());
        assert!(desk.client.positions(now.plus(minute * 60_000)).is_ok());
    }
    assert_eq!((desk.calls("quotes"), desk.calls("token")), (7, 1));
    let denied =
        |desk: &Desk| desk.client.login_facts().denied.into_iter().map(|it| it.what).collect::<Vec<_>>();
    assert_eq!(denied(&desk), ["quotes"]);
    assert_eq!(desk.client.login_facts().mend, None);
    desk.double.heal();
    assert_eq!(quotes(now.plus(360_000)).unwrap().len(), 1);
    assert_eq!(denied(&desk), [""; 0]);
}

#[test]
fn a_road_that_refuses_a_token_does_not_take_it_from_the_others() {
    let desk = Desk::ready();
    let now = Millis::now();
    desk.double.fault(Fault::always("quotes", Kind::NotAuthorized));
    desk.double.fault(Fault::always("token", Kind::Unavailable { html: false }));
    for _ in 0..3 {
        assert!(desk.client.quotes(&["TSLA".parse().unwrap()], now).is_err());
        assert!(desk.client.positions(now).is_ok(), "its token is good");
    }
    assert_eq!(word(&desk.place(&ticket(Side::Buy, "1", false))), "accepted");
}

#[test]
fn orders_that_are_refused_to_every_token_rest_while_the_account_is_read() {
    let desk = Desk::ready();
    let now = Millis::now();
    desk.double.fault(Fault::always("place", Kind::NotAuthorized));
    let buy = || desk.place(&ticket(Side::Buy, "1", false));
    assert_eq!(word(&buy()), "gate 2000");
    assert_eq!(word(&buy()), "gate 60000", "the second token was fresh");
    assert!(desk.client.positions(now).is_ok());
    let Placed::NotSent(why) = buy() else { panic!("it rests") };
    assert!(why.contains("Client not authorized") && why.contains("Accounts and Trading"), "{why}");
    assert_eq!((desk.calls("place"), desk.calls("token")), (2, 1));
    assert_eq!(desk.client.login_facts().denied[0].what, "orders");
}

#[test]
fn the_list_reaches_the_brokers_present_where_our_clock_is_behind() {
    let desk = Desk::ready();
    assert_eq!(word(&desk.place(&ticket(Side::Buy, "1", false))), "accepted");
    let behind = Millis::now().plus(-12 * 3_600_000);
    assert_eq!(desk.client.list(behind, behind).unwrap().len(), 1);
    // The longest list that the engine asks for is one that the broker takes.
    let longest = behind.plus(-58 * 86_400_000);
    assert_eq!(desk.client.list(longest, behind).unwrap().len(), 1);
}

#[test]
fn an_account_that_has_another_hash_now_is_looked_for_again() {
    let desk = Desk::ready();
    let Placed::Accepted(id) = desk.place(&ticket(Side::Buy, "1", false)) else { panic!("accepted") };
    desk.double
        .book(|book| book.accounts.iter_mut().for_each(|account| account.hash.replace_range(..4, "dead")));
    let now = Millis::now();
    let reason = desk.client.order(&id, now).unwrap_err().0;
    assert!(reason.contains("Invalid account number"), "said to be no order: {reason}");
    assert_eq!(desk.client.order(&id, now).unwrap().unwrap().id, id);
}

#[test]
fn every_answer_tells_how_far_the_clocks_are_apart() {
    let desk = Desk::ready();
    let reads: [(&str, &dyn Fn(Millis)); 4] = [
        ("an order", &|now| drop(desk.client.order(&"12".parse().unwrap(), now).unwrap())),
        ("the list", &|now| drop(desk.client.list(now.plus(-60_000), now).unwrap())),
        ("positions", &|now| drop(desk.client.positions(now).unwrap())),
        ("quotes", &|now| drop(desk.client.quotes(&["TSLA".parse().unwrap()], now).unwrap())),
    ];
    for (n, (what, read)) in (1..).zip(reads) {
        desk.double.book(|book| book.shift_clock(n * 42_000));
        let begun = Instant::now();
        read(Millis::now());
        let apart = desk.client.clock_ahead_ms().unwrap() - n * 42_000;
        let most = apart_at_most(begun);
        assert!((-most..=most).contains(&apart), "{what}: {apart} ms of {most}");
    }
}

#[test]
fn ten_calls_with_an_expired_token_cause_one_refresh() {
    for rotate in [false, true] {
        let desk = Desk::ready();
        desk.double.rules(|rules| rules.rotate_refresh = rotate);
        desk.double.book(|book| book.shift_clock(1_800_000));
        let now = Millis::now();
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| desk.client.positions(now).unwrap());
            }
        });
        assert_eq!(desk.calls("token"), 1, "rotation {rotate}");
        // And it was kept: another process goes on with it.
        let other = Schwab::new(options(&desk.double), vault(&desk.dir)).unwrap();
        assert!(other.account(now).is_ok());
        assert_eq!(desk.calls("token"), 1);
    }
}

#[test]
fn a_dead_login_causes_no_storm_and_a_new_one_is_enough() {
    for escaped in [false, true] {
        let desk = Desk::ready();
        desk.double.rules(|rules| rules.escaped_errors = escaped);
        desk.double.book(|book| book.shift_clock(7 * 86_400_000));
        let now = Millis::now();
        for _ in 0..20 {
            assert!(desk.client.positions(now).unwrap_err().0.contains("auth login"));
            assert_eq!(word(&desk.place(&ticket(Side::Buy, "1", false))), "not sent");
        }
        assert_eq!(desk.calls("token"), 1);
        assert_eq!(desk.client.login_facts().mend, Some(Mend::LogIn));
        log_in(&desk.double, &desk.dir);
        assert!(desk.client.positions(now).is_ok());
        assert_eq!(desk.client.login_facts().mend, None);
    }
}

#[test]
fn the_login_endpoint_may_be_away_or_wrong_for_a_while() {
    for kind in
        [Kind::RefreshHtml, Kind::RefreshFlaky, Kind::ServerErrorBefore, Kind::BadJson, Kind::AcceptThenClose]
    {
        let at_once = (0..ATTEMPTS).any(|_| {
            let desk = Desk::ready();
            desk.double.fault(Fault::next("token", kind.clone()));
            desk.double.fault(Fault::next("list", Kind::AccessRevokedEarly));
            let now = Millis::now();
            let begun = Instant::now();
            let no = desk.client.list(now, now).unwrap_err();
            assert_eq!(desk.client.login_facts().mend, None, "{kind:?}: {no}");
            let again = desk.client.list(now, now);
            // Too slow, and the pause was over: that shows nothing, and a new desk has another try.
            if begun.elapsed() >= PAUSE {
                return false;
            }
            assert!(again.is_err(), "{kind:?}: not at once again");
            assert_eq!(desk.calls("token"), 1, "{kind:?}");
            true
        });
        assert!(at_once, "{kind:?}: two calls never came within {PAUSE:?}");
    }
    let desk = Desk::ready();
    desk.double.fault(Fault::next("token", Kind::RefreshNoRefreshToken));
    desk.double.fault(Fault::next("list", Kind::AccessRevokedEarly));
    let now = Millis::now();
    assert!(desk.client.list(now, now).is_ok());
    desk.double.fault(Fault::next("list", Kind::AccessRevokedEarly));
    assert!(desk.client.list(now, now).is_ok(), "the refresh token it had is still good");
}

/// A yes that is odd is a yes: the refresh token that it answers may be dead already.
#[test]
fn an_odd_yes_of_the_login_endpoint_loses_no_login() {
    for rotate in [false, true] {
        let desk = Desk::ready();
        desk.double.rules(|rules| rules.rotate_refresh = rotate);
        let now = Millis::now();
        for _ in 0..2 {
            desk.double.fault(Fault::next("token", Kind::OddYes));
            desk.double.fault(Fault::next("list", Kind::AccessRevokedEarly));
            assert_eq!(desk.client.list(now, now).unwrap(), []);
        }
        assert_eq!(desk.calls("token"), 2);
    }
}

/// What the broker says is shown, with the call and its status, and without what was sent.
#[test]
fn a_refusal_is_told_in_the_brokers_words() {
    let desk = Desk::new();
    let now = Millis::now();
    desk.double.fault(Fault::next("numbers", Kind::Refuse { status: 503, message: "maintenance".into() }));
    let why = desk.client.account(now).unwrap_err().to_string();
    assert!(why.starts_with("the list of accounts: HTTP 503: maintenance"), "{why}");
    desk.double.fault(Fault::always("numbers", Kind::AccessRevokedEarly));
    desk.double
        .fault(Fault::next("token", Kind::Refuse { status: 500, message: "the vault is closed".into() }));
    let why = desk.client.account(now).unwrap_err().to_string();
    assert!(
        why.starts_with("the token endpoint: HTTP 500: ") && why.contains("the vault is closed"),
        "{why}"
    );
    let desk = Desk::ready();
    desk.double.book(|book| book.shift_clock(7 * 86_400_000));
    let why = desk.client.positions(now).unwrap_err().0;
    assert!(
        why.contains("HTTP 400: ") && why.contains("Refresh token is invalid, expired or revoked"),
        "{why}"
    );
    assert!(why.contains("auth login") && !why.contains("CANARY"), "{why}");
}

#[test]
fn a_login_that_is_answered_packed_is_a_login() {
    let now = Millis::now();
    let desk = Desk::ready();
    desk.double.fault(Fault::next("token", Kind::GzipBody));
    desk.double.fault(Fault::next("list", Kind::AccessRevokedEarly));
    assert_eq!(desk.client.list(now, now).unwrap(), []);
    // And a packed no is one: it ends the login, where an answer that can not be read would be asked for for ever.
    let desk = Desk::ready();
    desk.double.fault(Fault::next("token", Kind::GzipBody));
    desk.double.book(|book| book.shift_clock(7 * 86_400_000));
    assert!(desk.client.positions(now).is_err());
    assert_eq!(desk.client.login_facts().mend, Some(Mend::LogIn));
    // The broker's "there is none" is no failed read.
    let desk = Desk::ready();
    desk.double.fault(Fault::next("order", Kind::GzipBody));
    assert_eq!(desk.client.order(&"12".parse().unwrap(), now).unwrap(), None);
    for damage in [Damage::Cut, Damage::Sum, Damage::Bomb] {
        let desk = Desk::ready();
        desk.double.fault(Fault::next("token", Kind::GzipDamaged { damage }));
        desk.double.fault(Fault::next("list", Kind::AccessRevokedEarly));
        assert!(desk.client.list(now, now).is_err(), "{damage:?}");
        assert_eq!(desk.client.login_facts().mend, None, "{damage:?}: not a word about the login");
    }
}

#[test]
fn the_account_is_found_by_its_number_and_never_by_its_place() {
    let desk = Desk::new();
    let now = Millis::now();
    let name = desk.client.account(now).unwrap();
    assert!(!name.contains(ACCOUNT) && name.len() == 12);
    desk.double.book(|book| book.switches.accounts_swapped = true);
    let other = Schwab::new(options(&desk.double), vault(&desk.dir)).unwrap();
    assert_eq!(other.account(now).unwrap(), name);
    let wrong = Options { live_account: "0000".into(), ..options(&desk.double) };
    let wrong = Schwab::new(wrong, vault(&desk.dir)).unwrap();
    assert!(matches!(wrong.account(now), Err(AccountError::Wrong(why)) if why.contains("LIVE_ACCOUNT")));
    assert_eq!(word(&wrong.place(&ticket(Side::Buy, "1", false), now)), "not sent");
    let stamped = Schwab::new(options(&desk.double), vault(&desk.dir)).unwrap();
    stamped.expect_account("another");
    assert!(matches!(stamped.account(now), Err(AccountError::Wrong(_))));
}

#[test]
fn what_an_order_traded_is_its_fill_legs_and_nothing_else() {
    let price = |text: &str| Some(text.parse().unwrap());
    let partial = |then: &str| Kind::Partial {
        fills: vec![(Decimal::whole(1), price("22.7299")), (Decimal::whole(2), price("22.73"))],
        then: then.into(),
    };
    let rows = [
        (partial("cancel"), OrderStatus::Canceled, 3, "22.729966666666666666"),
        (partial("expire"), OrderStatus::Expired, 3, "22.729966666666666666"),
        (partial("working"), OrderStatus::Live, 3, "22.729966666666666666"),
        (
            Kind::SlowStatus { steps: vec!["AWAITING_MANUAL_REVIEW".into(); 2] },
            OrderStatus::Filled,
            5,
            "100.01",
        ),
        (Kind::UnknownStatus { status: "SOMETHING_NEW".into() }, OrderStatus::Filled, 5, "100.01"),
        (Kind::AsyncReject { text: "You can not.".into() }, OrderStatus::Rejected, 0, ""),
    ];
    for (kind, status, executed, average) in rows {
        let desk = Desk::ready();
        desk.double.fault(Fault::next("place", kind.clone()));
        let Placed::Accepted(id) = desk.place(&ticket(Side::Buy, "5", false)) else { panic!("accepted") };
        let last = (0..6).map(|_| desk.client.order(&id, Millis::now()).unwrap().unwrap()).last().unwrap();
        assert_eq!(
            (last.status, last.executed, last.filled),
            (status, Shares::whole(executed), Shares::whole(executed)),
            "{kind:?}"
        );
        assert_eq!(
            last.average_price.map(|price| price.to_string()).unwrap_or_default(),
            average,
            "{kind:?}"
        );
        if status == OrderStatus::Rejected {
            assert_eq!(last.status_text, "REJECTED: You can not.");
        }
    }
}

#[test]
fn answers_that_drift_are_read_and_answers_that_break_are_none() {
    let desk = Desk::ready();
    let now = Millis::now();
    desk.double.book(|book| book.life = Some(vec![Step::called("WORKING")]));
    let Placed::Accepted(id) = desk.place(&ticket(Side::Buy, "5", false)) else { panic!("accepted") };
    for kind in [Kind::ExtraFields, Kind::NullFields, Kind::StringNumbers, Kind::GzipBody] {
        for route in ["order", "list", "account", "quotes", "markets"] {
            desk.double.fault(Fault::next(route, kind.clone()));
        }
        let read = desk.client.order(&id, now).unwrap().unwrap();
        assert_eq!((read.quantity, read.side), (Shares::whole(5), Side::Buy), "{kind:?}");
        assert_eq!(desk.client.list(now.plus(-60_000), now).unwrap().len(), 1, "{kind:?}");
        assert!(desk.client.positions(now).is_ok(), "{kind:?}");
        let quotes = desk.client.quotes(&["TSLA".parse().unwrap()], now).unwrap();
        // A quote of no moment is none.
        assert_eq!(quotes.len(), usize::from(kind != Kind::NullFields), "{kind:?}");
    }
    let damaged = [Damage::Cut, Damage::Sum, Damage::Bomb].map(|damage| Kind::GzipDamaged { damage });
    let broken = [Kind::BadJson, Kind::TruncatedBody, Kind::GatewayFault, Kind::Unavailable { html: true }];
    for kind in broken.into_iter().chain(damaged) {
        desk.double.fault(Fault::next("order", kind.clone()));
        assert!(desk.client.order(&id, now).is_err(), "{kind:?}");
        desk.double.fault(Fault::next("list", kind.clone()));
        assert!(desk.client.list(now, now).is_err(), "{kind:?}");
    }
}

#[test]
fn quotes_are_good_only_of_this_moment_and_while_a_share_trades() {
    let desk = Desk::ready();
    let now = Millis::now();
    let symbols: Vec<Symbol> =
        ["AAPL", "TSLA", "NVDA", "ZZZZ"].iter().map(|name| name.parse().unwrap()).collect();
    desk.double.book(|book| {
        let mut halted = book.price("TSLA");
        halted.security_status = "Halted".into();
        book.prices.insert("TSLA".into(), halted);
        let mut delayed = book.price("NVDA");
        delayed.realtime = false;
        book.prices.insert("NVDA".into(), delayed);
    });
    let told: Vec<(String, bool)> = desk
        .client
        .quotes(&symbols, now)
        .unwrap()
        .into_iter()
        .map(|quote| (quote.symbol.to_string(), quote.tradable))
        .collect();
    assert_eq!(told, [("AAPL".into(), true), ("NVDA".into(), false), ("TSLA".into(), false)]);
}

#[test]
fn hours_come_from_the_broker_and_else_from_the_table() {
    let desk = Desk::ready();
    let now = Millis::now();
    assert!(matches!(desk.client.session(now).unwrap(), Session::Open { until: Some(_) }));
    let desk = Desk::ready();
    let closed = serde_json::json!({ "kind": "closed" });
    desk.double.book(|book| book.market = serde_json::from_value(closed).unwrap());
    assert!(matches!(desk.client.session(now).unwrap(), Session::Closed { .. }));
    // It answers, but not about its hours: with its word alone to go by, closed.
    let desk = Desk::ready();
    desk.double.fault(Fault::always("markets", Kind::Unavailable { html: false }));
    let Session::Disputed { reason } = desk.client.session(now).unwrap() else { panic!("not known") };
    assert!(reason.contains("does not tell its hours: the market's hours: HTTP 503"), "{reason}");
    // It answers nothing at all: that is no session, and no table stands in.
    desk.double.fault(Fault::always("any", Kind::Unavailable { html: false }));
    assert!(desk.client.session(now).is_err());
}

/// The hours of a day that were told hold while the next answers fail, but not for long: a closing may come unplanned.
#[test]
fn hours_that_were_told_outlast_a_failure() {
    let desk = Desk::ready();
    let now = Millis::now();
    // Their day is New York's, so that all of this is one day.
    let noon = counterfill::broker::hours::date_of(now)
        .and_then(|day| counterfill::broker::hours::moment_of(day, jiff::civil::time(12, 0, 0, 0)));
    let noon = noon.unwrap();
    let client = Schwab::new(options(&desk.double), vault(&desk.dir)).unwrap();
    let open = |at: Millis| matches!(client.session(at).unwrap(), Session::Open { .. });
    assert!(open(noon));
    desk.double.fault(Fault::always("markets", Kind::Unavailable { html: false }));
    assert!(open(noon.plus(299_000)) && open(noon.plus(1_799_000)));
    assert!(matches!(client.session(noon.plus(1_800_000)).unwrap(), Session::Disputed { .. }));
}

#[test]
fn no_text_of_the_clients_holds_a_secret_or_the_account() {
    let desk = Desk::ready();
    let now = Millis::now();
    let mut said = vec![format!("{:?}", desk.client)];
    for kind in [
        Kind::RateLimit { retry_after: None },
        Kind::AcceptThenClose,
        Kind::ServerErrorBefore,
        Kind::Refuse { status: 400, message: "no".into() },
    ] {
        desk.double.fault(Fault::next("place", kind.clone()));
        said.push(format!("{:?}", desk.place(&ticket(Side::Buy, "1", false))));
        desk.double.fault(Fault::next("list", kind));
        said.push(format!("{:?}", desk.client.list(now, now)));
    }
    desk.double.book(|book| book.shift_clock(7 * 86_400_000));
    said.push(format!("{:?} {:?}", desk.client.positions(now), desk.client.login_facts()));
    let hash = desk.double.book(|book| book.accounts[1].hash.clone());
    let said = said.join("\n");
    for secret in ["CANARY", "Q0FOQVJZ", ACCOUNT, APP_KEY, APP_SECRET, &hash] {
        assert!(!said.contains(secret), "{secret}: {said}");
    }
}

#[test]
fn an_order_typed_by_hand_is_told_from_ours() {
    let desk = Desk::ready();
    let now = Millis::now();
    desk.double.type_by_hand("TSLA", Instruction::Buy, 2);
    desk.double.fault(Fault::next("place", Kind::TwinManualOrder));
    desk.place(&ticket(Side::Buy, "1", false));
    let mut tags: Vec<Option<String>> =
        desk.client.list(now.plus(-60_000), now).unwrap().into_iter().map(|order| order.tag).collect();
    tags.sort();
    assert_eq!(tags, [Some("API_TOS:website".to_owned()), Some(TAG.to_owned()), Some(TAG.to_owned())]);
}
