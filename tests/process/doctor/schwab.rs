//! The doctor at Schwab: what a login, its token, the account and each answer that is none are told as.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use broker_doubles::schwab::{ACCOUNT, APP_KEY, APP_SECRET, CALLBACK, Fault, Kind, SchwabDouble};
use broker_doubles::tls::Authority;
use counterfill::broker::schwab::vault::{Login, Vault};
use counterfill::units::Millis;

use super::ward::Ward;

const ALL: [&str; 7] = ["login", "account", "positions", "orders", "quotes", "market hours", "clock"];
const AGAIN: &str = "Type `auth login`; a running bot takes the new login by itself";

/// What a login leaves in the ledger's folder.
fn log_in(ward: &Ward, double: &SchwabDouble, age_ms: i64, access_ms: i64) {
    let (access, refresh) = double.log_in();
    let now = Millis::now();
    let key = std::array::from_fn(|n| u8::from_str_radix(&SEALING[2 * n..2 * n + 2], 16).unwrap());
    let mut vault = Vault::open(&ward.data().join("login.db"), &key).unwrap();
    let login = Login {
        access: access.into(),
        refresh: refresh.into(),
        logged_in_at: now.plus(-age_ms),
        issued_at: now,
        access_until: now.plus(access_ms),
        generation: vault.generation().unwrap(),
    };
    vault.store(&login).unwrap().unwrap();
}

const HALF_AN_HOUR_MS: i64 = 1_800_000;

/// A ward whose broker is Schwab, where nobody has logged in yet.
fn schwab() -> (Ward, SchwabDouble) {
    let authority = Authority::new();
    let double = SchwabDouble::start_on(0, Some(&authority)).unwrap();
    let mut ward = Ward::new();
    let pem = ward.folder.path().join("schwab.pem");
    std::fs::write(&pem, &authority.pem).unwrap();
    for (name, value) in [
        ("BROKER", "schwab"),
        ("APP_KEY", APP_KEY),
        ("APP_SECRET", APP_SECRET),
        ("REDIRECT_URI", CALLBACK),
        ("ENCRYPTION_KEY", SEALING),
        ("LIVE_ACCOUNT", &ACCOUNT[ACCOUNT.len() - 4..]),
        ("BASE_URL", &double.url()),
        ("SSL_CERT_FILE", &pem.display().to_string()),
    ] {
        ward.set(name, value);
    }
    (ward, double)
}

/// As [`schwab`], and somebody has.
fn logged_in() -> (Ward, SchwabDouble) {
    let (ward, double) = schwab();
    log_in(&ward, &double, 0, HALF_AN_HOUR_MS);
    (ward, double)
}

fn asked(double: &SchwabDouble, route: &str) -> usize {
    double.log().iter().filter(|entry| entry.route == route).count()
}

const SEALING: &str = "5eca4a95eca4a95eca4a95eca4a95eca4a95eca4a95eca4a95eca4a95eca4a95";

#[test]
fn at_schwab_the_login_decides() {
    let (mut ward, double) = schwab();
    // Nobody has logged in: said, and no file is made.
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(ALL), "{}", told.text);
    let found = format!("nobody has logged in: there is no {}", ward.data().join("login.db").display());
    assert_eq!(told.row("login"), ("failed", found.as_str(), "Type `bot auth login`"));

    log_in(&ward, &double, 0, HALF_AN_HOUR_MS);
    let told = ward.examine(&[]);
    assert_eq!((told.code, told.ill()), (0, BTreeSet::new()), "{}", told.text);
    assert!(told.row("login").1.starts_with("0 h old, ends "), "{}", told.text);
    assert!(!told.text.contains(ACCOUNT), "{}", told.text);

    log_in(&ward, &double, (7 * 24 - 5) * 3_600_000, HALF_AN_HOUR_MS);
    let told = ward.examine(&[]);
    assert_eq!((told.row("login").0, told.row("login").2), ("warning", AGAIN), "{}", told.text);

    // Another key than the login was sealed with.
    ward.set("ENCRYPTION_KEY", SEALING.replace('5', "6"));
    let told = ward.examine(&[]);
    let (verdict, found, next) = told.row("login");
    assert_eq!((told.code, verdict), (1, "failed"), "{}", told.text);
    assert!(found.contains("does not open with this ENCRYPTION_KEY"), "{found}");
    let remedy = "Set ENCRYPTION_KEY to the key that the login was sealed with, the new one after `auth rekey`, and start \
                  the bot again; where that key is lost, `auth login --overwrite` seals a new login with this one";
    assert_eq!(next, remedy);
    assert_eq!(told.row("account").2, "Mend `login` first");
    let methods: BTreeSet<String> = double.log().into_iter().map(|entry| entry.method).collect();
    assert_eq!(methods, BTreeSet::from(["GET".to_owned()]), "no order, and no token either");
    assert!(double.orders().is_empty());
}

#[test]
fn a_dead_login_is_asked_about_once_and_its_remedy_is_a_person() {
    let (ward, double) = logged_in();
    double.fault(Fault::next("any", Kind::AccessRevokedEarly));
    double.fault(Fault::always("token", Kind::RefreshExpired));
    let found = "the login has ended: seven days are over, or there was another login or a new password (HTTP 400: \
                 error: unsupported_token_type, error_description: 400 Bad Request: error_description: Refresh token is \
                 invalid, expired or revoked, error: invalid_grant); type `auth login`";
    for _ in 0..2 {
        let told = ward.examine_and_renew(&[]);
        let ill: BTreeSet<&str> = ALL.into_iter().filter(|name| *name != "clock").collect();
        // The broker's no has a date: the clock is held against it. The second doctor does not ask.
        assert!(told.ill() == ill || told.ill() == BTreeSet::from(ALL), "{}", told.text);
        assert_eq!(told.row("login"), ("failed", found, AGAIN));
        assert_eq!(told.row("account"), ("failed", found, "Mend `login` first"));
        let after = ("not_done", "not looked at, because `account` failed", "Mend `account` first");
        for name in ["positions", "orders", "quotes", "market hours"] {
            assert_eq!(told.row(name), after);
        }
        assert_eq!(told.code, 1);
    }
    assert_eq!(asked(&double, "token"), 1, "no storm of doctors either");
}

#[test]
fn keys_of_another_application_are_not_mended_by_a_login() {
    let (mut ward, double) = logged_in();
    double.fault(Fault::next("any", Kind::AccessRevokedEarly));
    ward.set("APP_SECRET", "another00000secret");
    let told = ward.examine_and_renew(&[]);
    let (verdict, found, next) = told.row("login");
    assert_eq!((told.code, verdict), (1, "failed"), "{}", told.text);
    assert!(found.starts_with("the broker does not know this APP_KEY with this APP_SECRET"), "{found}");
    assert_eq!(
        next,
        "Set APP_KEY and APP_SECRET to those on the application's own page, and start the bot again"
    );
    // What a refusal was about is still known to the next one, which asks nothing.
    assert_eq!(ward.examine_and_renew(&[]).row("login").2, next);
    assert_eq!(asked(&double, "token"), 1);
}

const TROUBLE: &str = "It is the broker's own trouble: look at its status page, and try again later";
const WAIT: &str = "Wait as long as it says, else a minute, and look what else asks under the same key: a bot, another program";
const PLAN: &str =
    "The broker answers and does not give this: look whether the account, its plan or its keys include it";
const UNTIL: &str = "Wait until then: it was asked too often a moment ago";

/// Where it strikes and what; the row that tells it and all that are ill; what is found, and what to do.
type Row<'a> = (&'a str, Kind, &'a str, &'a [&'a str], &'a str, &'a str);

#[test]
fn each_answer_that_is_none_has_its_own_remedy() {
    const OF_ACCOUNT: [&str; 5] = ["account", "positions", "orders", "quotes", "market hours"];
    let limit = || Kind::RateLimit { retry_after: Some(30) };
    let no = |status| Kind::Refuse { status, message: "words".into() };
    let rows: Vec<Row<'_>> = vec![
        ("numbers", limit(), "account", &OF_ACCOUNT, "HTTP 429: Rate Limit Exceeded", WAIT),
        (
            "numbers",
            Kind::ServerErrorBefore,
            "account",
            &OF_ACCOUNT,
            "HTTP 500: Internal Server Error",
            TROUBLE,
        ),
        ("numbers", Kind::Unavailable { html: true }, "account", &OF_ACCOUNT, "HTTP 500: <html>", TROUBLE),
        ("numbers", no(403), "account", &OF_ACCOUNT, "HTTP 403: words", PLAN),
        ("account", limit(), "positions", &OF_ACCOUNT[1..], "HTTP 429: Rate Limit Exceeded", WAIT),
        ("account", no(403), "positions", &["positions"], "HTTP 403: words", PLAN),
        ("list", Kind::GatewayFault, "orders", &["orders"], "HTTP 500: Body buffer overflow", TROUBLE),
        (
            "quotes",
            Kind::Unavailable { html: false },
            "quotes",
            &["quotes"],
            "HTTP 503: Service Unavailable",
            TROUBLE,
        ),
    ];
    for (route, kind, name, ill, found, next) in rows {
        let (ward, double) = logged_in();
        double.fault(Fault::always(route, kind.clone()));
        let told = ward.examine(&[]);
        assert_eq!(told.ill(), ill.iter().copied().collect(), "{route} {kind:?}: {}", told.text);
        assert_eq!(told.row("login").0, "ok", "{kind:?}: it is not the login that is in the way");
        let row = told.row(name);
        assert!(row.0 == "failed" && row.1.contains(found) && row.2 == next, "{kind:?}: {row:?}");
        if kind == limit() && name == "positions" {
            // The pause is honoured by the doctor, too.
            for name in ["orders", "quotes", "market hours"] {
                let row = told.row(name);
                assert!(row.1.starts_with("the broker is not asked until ") && row.2 == UNTIL, "{row:?}");
            }
            assert_eq!(
                (asked(&double, "list"), asked(&double, "quotes"), asked(&double, "markets")),
                (0, 0, 0)
            );
        }
    }
}

#[test]
fn a_broker_that_does_not_tell_its_hours_is_no_closed_market() {
    let (ward, double) = logged_in();
    double.fault(Fault::always("markets", Kind::Unavailable { html: false }));
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["market hours"]), "{}", told.text);
    let found = "the broker does not tell its hours: the market's hours: HTTP 503: Service Unavailable; and MARKET_HOURS=broker takes nobody \
                 else's word: no order leaves";
    let next = "Try again; where it stays so, take MARKET_HOURS away: then the built-in calendar stands in";
    let (verdict, said, then) = told.row("market hours");
    // The number that the broker's support asks for is another each time.
    let (before, after) = (said.find(" (correlation"), said.find(')').map(|at| at + 1));
    let said =
        before.zip(after).map(|(from, to)| [&said[..from], &said[to..]].concat()).unwrap_or(said.into());
    assert_eq!((verdict, said.as_str(), then), ("failed", found, next));
}

#[test]
fn an_answer_that_comes_too_late_is_none() {
    let (ward, double) = logged_in();
    double.fault(Fault::always("quotes", Kind::AcceptThenStall { ms: 12_000 }));
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["quotes"]), "{}", told.text);
    let (verdict, found, next) = told.row("quotes");
    assert!(verdict == "failed" && found.contains("timeout"), "{found}");
    assert_eq!(next, "Try again; where it stays so, look at the network, and at the broker's status page");
}

#[test]
fn an_account_that_the_login_does_not_open() {
    let (mut ward, _double) = logged_in();
    ward.set("LIVE_ACCOUNT", "0000");
    let told = ward.examine(&[]);
    let found = "LIVE_ACCOUNT must be the end of exactly one account number that this login opens";
    let next = "Look at LIVE_ACCOUNT, and at whose keys or login these are";
    assert_eq!((told.code, told.row("account")), (1, ("failed", found, next)), "{}", told.text);
    assert_eq!(told.row("login").0, "ok", "{}", told.text);
    assert_eq!(told.row("quotes").0, "not_done", "{}", told.text);
}

#[test]
fn a_token_that_is_over_is_renewed_once_and_kept() {
    let (ward, double) = schwab();
    double.rules(|rules| rules.rotate_refresh = true);
    log_in(&ward, &double, 0, 0);
    for _ in 0..2 {
        let told = ward.examine_and_renew(&[]);
        assert_eq!((told.code, told.ill()), (0, BTreeSet::new()), "{}", told.text);
        assert_eq!(asked(&double, "token"), 1, "the second doctor finds what the first one kept");
    }
}

#[test]
fn beside_a_running_bot_the_bot_renews() {
    let (mut ward, double) = logged_in();
    ward.set("LISTEN", "127.0.0.1:0");
    let _bot = ward.bot();
    let runs = |ward: &Ward| ward.examine_and_renew(&[]).row("ledger").1.ends_with("a bot runs on it");
    let begun = Instant::now();
    while !runs(&ward) {
        assert!(begun.elapsed() < Duration::from_secs(120), "no bot");
    }
    // From here on no token is good, and no other is to be had: whoever asks, asks in vain.
    double.rules(|rules| rules.rotate_refresh = true);
    double.fault(Fault::always("token", Kind::ServerErrorBefore));
    double.fault(Fault::always("any", Kind::AccessRevokedEarly));
    let told = ward.examine_and_renew(&[]);
    let found = "the access token is over, and the bot that runs here renews it";
    let next = "Try again in a minute: it is not your login that is in the way";
    assert_eq!((told.code, told.row("login")), (1, ("failed", found, next)), "{}", told.text);
}
