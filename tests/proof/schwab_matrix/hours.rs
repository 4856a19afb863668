//! When orders may leave. The client's word at the edges of days that the calendar knows, to the millisecond, for a
//! clock that the double and the client are told; and a session that ends under the real bot.

use std::time::{Duration, Instant};

use broker_doubles::schwab::{ACCOUNT, APP_KEY, APP_SECRET, SchwabDouble};
use broker_doubles::tls::Authority;
use counterfill::broker::schwab::vault::{Login, Vault};
use counterfill::broker::schwab::{Options, Schwab};
use counterfill::broker::session::Word;
use counterfill::broker::{Broker, Session};
use counterfill::units::Millis;
use jiff::tz::TimeZone;

use super::bench::Bench;
use super::{World, world};
use crate::truth::sell;
use crate::until::until;

/// An answer that took longer is not of the moment of the question.
const AT_ONCE: Duration = Duration::from_millis(900);

static NEW_YORK: TimeZone = jiff::tz::get!("America/New_York");

fn at(moment: &str) -> i64 {
    moment.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// What the client says at that moment, asked over https, of a broker with these days. A call that takes long moves the
/// moment that it is about, so it is repeated until it did not.
fn said(moment: &str, days: &serde_json::Value, word: Word) -> String {
    let mut told = String::new();
    until("an answer at once", String::new, || {
        let took;
        (told, took) = said_after(moment, days, word);
        took < AT_ONCE
    });
    told
}

/// What it says once, and how long it took to.
fn said_after(moment: &str, days: &serde_json::Value, word: Word) -> (String, Duration) {
    let now = at(moment);
    let authority = Authority::new();
    let double = SchwabDouble::start_on(0, Some(&authority)).unwrap();
    double.book(|book| {
        book.stop_clock(now);
        book.market = serde_json::from_value(days.clone()).unwrap();
    });
    let dir = tempfile::tempdir().unwrap();
    let pem = dir.path().join("authority.pem");
    std::fs::write(&pem, &authority.pem).unwrap();
    let (access, refresh) = double.log_in();
    let mut vault = Vault::open(&dir.path().join("login.db"), &[3; 32]).unwrap();
    let login = Login {
        access: access.into(),
        refresh: refresh.into(),
        logged_in_at: Millis(now),
        issued_at: Millis(now),
        access_until: Millis(now + 1_800_000),
        generation: 0,
    };
    vault.store(&login).unwrap().unwrap();
    let options = Options {
        base_url: Some(double.url()),
        key: APP_KEY.to_owned().into(),
        secret: APP_SECRET.to_owned().into(),
        live_account: ACCOUNT[ACCOUNT.len() - 4..].to_owned(),
        allow_short: false,
        tag: None,
        word,
        cert_file: Some(pem),
    };
    let begun = Instant::now();
    let session = Schwab::new(options, vault).unwrap().session(Millis(now)).unwrap();
    let took = begun.elapsed();
    let told = match session {
        Session::Open { until: Some(until) } => format!("open until {until}"),
        Session::Open { until: None } => "open".into(),
        Session::Closed { .. } => "closed".into(),
        Session::Disputed { .. } => "disputed".into(),
    };
    (told, took)
}

#[test]
fn a_session_is_half_open_on_half_days_and_when_the_clocks_change() {
    let day = |date: &str, close: &str| serde_json::json!({ "kind": "days", "days": [{ "date": date, "open": "09:30", "close": close }] });
    let closed = || serde_json::json!({ "kind": "days", "days": [] });
    let half = || day("2026-11-27", "13:00");
    let rows = [
        // The day after Thanksgiving ends at 13:00:00.000 in New York.
        ("2026-11-27T14:29:59.999Z", half(), "closed"),
        ("2026-11-27T14:30:00.000Z", half(), "open until 2026-11-27T18:00:00.000Z"),
        ("2026-11-27T17:59:59.999Z", half(), "open until 2026-11-27T18:00:00.000Z"),
        ("2026-11-27T18:00:00.000Z", half(), "closed"),
        // The Mondays after the clocks changed: an hour earlier by ours in spring, an hour later in autumn.
        ("2026-03-06T14:29:59.999Z", day("2026-03-06", "16:00"), "closed"),
        ("2026-03-06T14:30:00.000Z", day("2026-03-06", "16:00"), "open until 2026-03-06T21:00:00.000Z"),
        ("2026-03-09T13:29:59.999Z", day("2026-03-09", "16:00"), "closed"),
        ("2026-03-09T13:30:00.000Z", day("2026-03-09", "16:00"), "open until 2026-03-09T20:00:00.000Z"),
        ("2026-03-09T20:00:00.000Z", day("2026-03-09", "16:00"), "closed"),
        ("2026-11-02T14:29:59.999Z", day("2026-11-02", "16:00"), "closed"),
        ("2026-11-02T14:30:00.000Z", day("2026-11-02", "16:00"), "open until 2026-11-02T21:00:00.000Z"),
        ("2026-11-02T21:00:00.000Z", day("2026-11-02", "16:00"), "closed"),
        // Thanksgiving itself, in the shape of a closed day.
        ("2026-11-26T15:00:00.000Z", closed(), "closed"),
    ];
    for (moment, days, expected) in &rows {
        for word in [Word::Broker, Word::Agreed] {
            assert_eq!(said(moment, days, word), *expected, "{moment} {word:?}");
        }
    }
    // An unplanned closing, and a day on which the broker does not know of one.
    assert_eq!(said("2026-11-25T15:00:00.000Z", &closed(), Word::Agreed), "disputed");
    assert_eq!(said("2026-11-26T15:00:00.000Z", &day("2026-11-26", "16:00"), Word::Agreed), "disputed");
    assert_eq!(said("2026-11-27T19:00:00.000Z", &day("2026-11-27", "16:00"), Word::Agreed), "disputed");
}

/// Today, in New York, from the minute before last until the end of a minute that is at least so far away.
fn session_of(least_s: i64) -> (serde_json::Value, i64) {
    let now = Millis::now().0;
    let end = (now + least_s * 1_000).div_euclid(60_000) * 60_000 + 60_000;
    let told = |ms: i64, form: &str| {
        let zoned = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(NEW_YORK.clone());
        zoned.strftime(form).to_string()
    };
    let (date, open) = (told(end, "%Y-%m-%d"), told(now - 120_000, "%H:%M"));
    // Around midnight there the session of today can not have begun yesterday.
    let open = if told(now - 120_000, "%Y-%m-%d") == date { open } else { "00:00".to_owned() };
    let day = serde_json::json!({ "date": date, "open": open, "close": told(end, "%H:%M") });
    (serde_json::json!({ "kind": "days", "days": [day] }), end)
}

/// What is left of a session when the bot comes up in it, at least.
const LENGTHS_S: [i64; 4] = [50, 100, 200, 400];

/// A session that ends, from a start in it until a while after; whether an order left in it.
fn lives_through(bench: &mut Bench, least_s: i64, mined: &mut usize) -> bool {
    bench.stop();
    let (market, end) = session_of(least_s);
    bench.double.book(|book| book.market = serde_json::from_value(market).unwrap());
    let before = (bench.double.log().len(), Millis::now().0);
    bench.start();
    bench.until("it answers", || bench.get("/livez").is_some_and(|(code, _)| code == 200));
    let mut mine = |bench: &mut Bench| {
        bench.mine(&[sell(0, 1_000)]);
        *mined += 1;
    };
    // Fills go on coming, before the end and after it: the chain knows no hours.
    while Millis::now().0 < end + 3_000 {
        mine(bench);
        std::thread::sleep(Duration::from_millis(1_500));
    }
    mine(bench);
    bench.books(*mined);
    bench.until("the rest is planned, and why", || {
        let status = bench.verb(&["status", "--json"]);
        bench.hedges().iter().any(|row| row["state"] == "Planned")
            && String::from_utf8_lossy(&status.stdout).contains("session closed")
    });
    let calls = bench.double.log().split_off(before.0);
    let calls: Vec<i64> = calls.iter().filter(|e| e.route == "place").map(|e| e.at_ms).collect();
    assert!(calls.iter().all(|at| *at < end), "{calls:?}, the end is {end}");
    // Decided before the last 15 s, by the bot's own clock; the call itself may take a while.
    for row in bench.hedges().iter().filter(|row| !row["sent_at"].is_null()) {
        let sent = at(row["sent_at"].as_str().unwrap());
        assert!(sent < before.1 || sent < end - 15_000, "{row}, the end is {end}");
    }
    !calls.is_empty()
}

/// Scenario 9 with the real bot: its session ends like the one of a half day.
pub fn worlds() -> Vec<World> {
    vec![
        world("9 a session that ends: no order leaves in its last 15 s, nor behind it", || {
            let mut bench = Bench::ready();
            let mut mined = 0;
            // A bot that a busy machine brings up too late for one session has twice as long in the next.
            let sent = LENGTHS_S.iter().any(|least_s| lives_through(&mut bench, *least_s, &mut mined));
            assert!(sent, "no order left in any session");
            bench.double.book(|book| book.market = open());
            bench.stop();
            bench.start();
            bench.ends_clean();
        }),
        world("9 a closed day: everything is planned, nothing leaves", || {
            let mut bench = Bench::ready();
            bench.stop();
            let closed = serde_json::json!({ "kind": "closed" });
            bench.double.book(|book| book.market = serde_json::from_value(closed).unwrap());
            bench.start();
            bench.becomes_ready();
            bench.mine(&[sell(0, 3_000)]);
            bench.until("planned", || bench.hedges().iter().any(|row| row["state"] == "Planned"));
            bench.becomes_ready();
            assert_eq!(bench.asked("place"), 0);
            bench.double.book(|book| book.market = open());
            // The hours of a day are asked for again after five minutes; a start asks at once.
            bench.stop();
            bench.start();
            bench.ends_clean();
        }),
    ]
}

fn open<T: serde::de::DeserializeOwned>() -> T {
    serde_json::from_value(serde_json::json!({ "kind": "open" })).unwrap()
}
