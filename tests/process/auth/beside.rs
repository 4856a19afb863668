//! `auth` beside a running bot, on the same folder: the bot begins without a login, loses it, gets another, follows a
//! change of keys, and is one process all the time. What it hedges is counted in the double's book.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use broker_doubles::decimal::Decimal;
use broker_doubles::schwab::{Fault, Kind, Price};
use counterfill::broker::schwab::vault::{Login, Vault};
use counterfill::units::Millis;
use serde_json::Value;

use super::desk::{Desk, KEY, NEXT_KEY, key_bytes};
use crate::floor::Floor;
use crate::truth::{SHARES, sell};

struct Bench {
    desk: Desk,
    floor: Floor,
}

impl Deref for Bench {
    type Target = Floor;
    fn deref(&self) -> &Floor {
        &self.floor
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Floor {
        &mut self.floor
    }
}

impl Bench {
    /// A bot that runs, and nobody who is logged in.
    fn new(more: &[(&'static str, &str)]) -> Self {
        let mut desk = Desk::new();
        for (ticker, _, _, dollars) in SHARES {
            desk.double.hold(ticker, "1000");
            let of = |text: String| text.parse().unwrap();
            let (bid, ask) = (of(format!("{}.99", dollars - 1)), of(format!("{dollars}.01")));
            let price = Price { bid, ask, last: Decimal::whole(dollars), ..Price::default() };
            desk.double.book(|book| book.prices.insert(ticker.into(), price));
        }
        for (name, value) in more {
            desk.set(name, value);
        }
        let asked = Arc::clone(&desk.double);
        let told = move || format!("{:#?}", asked.log().iter().rev().take(9).collect::<Vec<_>>());
        let settings = desk.settings.iter().filter(|(name, _)| *name != "DATABASE_URL").cloned();
        let mut floor = Floor::within(desk.data.path(), settings, Box::new(told));
        floor.set("MARKET_HOURS", "broker");
        floor.start();
        Self { desk, floor }
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        let answer = self.floor.get(path)?;
        self.desk.note(&answer.1);
        Some(answer)
    }

    /// Whether this check of `/readyz` holds; none where nobody answers yet.
    fn check(&self, name: &str) -> Option<bool> {
        let (_, body) = self.get("/readyz")?;
        let report: Value = serde_json::from_str(&body).ok()?;
        report["checks"].as_array()?.iter().find(|check| check["name"] == name)?["ok"].as_bool()
    }

    fn verb(&self, args: &[&str]) -> String {
        let out = self.configured(args).output().unwrap();
        let said = String::from_utf8(out.stdout).unwrap() + &String::from_utf8(out.stderr).unwrap();
        self.desk.note(&said);
        said
    }

    /// Orders at the broker, and how many of them traded.
    fn orders(&self) -> (usize, usize) {
        let orders = self.desk.double.orders();
        (orders.len(), orders.iter().filter(|order| order.status == "FILLED").count())
    }

    /// Somebody else logs in with the same application, and the access token dies with it.
    fn lose_the_login(&self) {
        let _ = self.desk.double.log_in();
        self.desk.double.fault(Fault::next("any", Kind::AccessRevokedEarly));
    }

    /// SIGTERM, exit 0, and a look through all that was said.
    fn stops(self) {
        self.terminate();
        self.ends_with(0);
    }

    fn ends_with(mut self, expected: i32) {
        assert_eq!(self.ends(), expected, "{}", self.logged);
        self.desk.note(&self.logged);
        for verb in [&["status"][..], &["hedges", "--json"], &["config", "show"]] {
            self.verb(verb);
        }
        self.desk.nothing_leaked();
    }
}

#[test]
fn a_bot_takes_a_login_loses_it_and_takes_the_next_without_a_restart() {
    let mut bench = Bench::new(&[]);
    bench.logs("nobody is logged in to the broker; type `auth login`");
    bench.until("unready for that reason", || bench.check("broker_login") == Some(false));
    bench.until("alive, for a restart would not help", || {
        let waits =
            |(code, body): (u16, String)| code == 200 && body.contains("a new ledger waits for the broker");
        bench.get("/livez").is_some_and(waits)
    });
    assert_eq!(bench.desk.log_in().code, 0);
    bench.becomes_ready();
    bench.mine(&[sell(0, 1_500)]);
    bench.until("hedged", || bench.orders() == (1, 1));
    let (_, metrics) = bench.get("/metrics").unwrap();
    assert!(metrics.contains("counterfill_login_good 1\n"), "{metrics}");
    assert!(metrics.contains("counterfill_login_left_seconds 604"), "{metrics}");

    bench.lose_the_login();
    bench.until("unready for that reason", || bench.check("broker_login") == Some(false));
    let (lost, asked) = (Instant::now(), bench.desk.asked("token"));
    bench.mine(&[sell(1, 2_000)]);
    bench.until("the fill is booked", || bench.verb(&["fills"]).contains("AAPL"));
    // A dozen questions later nothing has left, and nobody has stormed the endpoint. Counted first, then timed: what a
    // busy machine does in between is on the safe side.
    bench.until("time passes", || lost.elapsed().as_secs() >= 10);
    let tried = bench.desk.asked("token") - asked;
    let minutes = usize::try_from(lost.elapsed().as_secs() / 60).unwrap() + 1;
    assert!(tried <= minutes, "{tried} in {minutes} minutes");
    assert_eq!(bench.orders(), (1, 1));
    let (_, metrics) = bench.get("/metrics").unwrap();
    assert!(metrics.contains("counterfill_login_good 0\n"), "{metrics}");
    let alerts = || bench.log().matches("ALERT no order leaves and none is read until a person acts").count();
    bench.until("told once more", || alerts() >= 2);
    assert_eq!(alerts(), 2);
    let said = bench.desk.auth(&["status"]);
    assert_eq!((said.code, said.out.contains("refused by the broker")), (1, true), "{said:?}");
    assert!(bench.verb(&["status"]).contains("✗ broker_login:"));

    assert_eq!(bench.desk.log_in().code, 0);
    bench.until("the queue is hedged", || bench.orders() == (2, 2));
    bench.becomes_ready();
    assert_eq!(bench.desk.auth(&["status"]).code, 0);
    bench.stops();
}

#[test]
fn a_login_to_another_account_ends_the_birth_of_a_ledger() {
    let bench = Bench::new(&[("LIVE_ACCOUNT", "0000")]);
    bench.logs("type `auth login`");
    assert_eq!(bench.desk.log_in().code, 78);
    bench.ends_with(78);
}

#[test]
fn a_bot_that_knows_both_keys_follows_a_change_of_them() {
    let mut bench = Bench::new(&[("NEW_ENCRYPTION_KEY", NEXT_KEY)]);
    bench.desk.double.rules(|rules| rules.rotate_refresh = true);
    assert_eq!(bench.desk.log_in().code, 0);
    assert!(bench.desk.stored(KEY).is_some());
    bench.becomes_ready();
    assert_eq!(bench.desk.auth(&["rekey"]).code, 0);
    bench.desk.double.fault(Fault::next("any", Kind::AccessRevokedEarly));
    bench.until("refreshed", || bench.desk.asked("token") == 2);
    bench.mine(&[sell(0, 1_000)]);
    bench.until("hedged", || bench.orders() == (1, 1));
    assert!(bench.desk.stored(NEXT_KEY).is_some(), "what was refreshed is sealed with the new key");
    bench.stops();
}

#[test]
fn a_login_that_ends_soon_is_told_in_time() {
    let bench = Bench::new(&[]);
    let (access, refresh) = bench.desk.double.log_in();
    let path = bench.desk.data.path().join("login.db");
    let mut vault = Vault::open(&path, &key_bytes(KEY)).unwrap();
    let now = Millis::now();
    let login = Login {
        access: access.into(),
        refresh: refresh.into(),
        logged_in_at: now.plus(-(7 * 24 - 23) * 3_600_000),
        issued_at: now,
        access_until: now.plus(1_800_000),
        generation: 0,
    };
    vault.store(&login).unwrap().unwrap();
    bench.becomes_ready();
    bench.logs("ALERT the broker's login ends in 22 h");
    bench.until("it does not last", || bench.check("broker_login_lasts") == Some(false));
    assert_eq!(bench.check("broker_login"), Some(true), "and the bot is ready all the same");
    assert_eq!(bench.log().matches("ALERT the broker's login").count(), 1);
    assert!(bench.verb(&["status"]).contains("! broker_login_lasts: the broker's login ends in 22 h"));
    bench.stops();
}
