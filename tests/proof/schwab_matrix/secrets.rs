//! Keys, tokens, codes and account numbers are for the broker alone: a person who reads all that the bot says finds none
//! of them, whatever goes wrong, and a panic of a thread that has them in its hands prints none either.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker_doubles::http::{Handler, Reply, Request, Server};
use broker_doubles::schwab::{Fault, Kind};
use counterfill::crash::Point;

use super::bench::Bench;
use super::{World, play, world};
use crate::crash_matrix::watch::{Aim, Watch};
use crate::truth::{buy, sell};

/// Where each thread that holds any of it can be asked to panic, and what it holds there.
#[cfg(debug_assertions)]
const MISTAKES: [(Point, &str); 5] = [
    // Where a start asks whose account it is: the client, with a token.
    (Point::AccountAfter, "tokio-rt-worker"),
    // An order about to leave, and one that left.
    (Point::PlaceBefore, "orders"),
    (Point::PlaceAfter, "orders"),
    // The client, just back with a token.
    (Point::ListAfter, "reads"),
    // The ledger, and the order that leaves next.
    (Point::EffectPlace, "line"),
];

/// Takes alerts.
#[derive(Default)]
struct Receiver(Mutex<Vec<Request>>);

impl Handler for Receiver {
    fn handle(&self, request: &Request) -> Reply {
        self.0.lock().unwrap().push(request.clone());
        Reply::json(200, &serde_json::json!("ok"))
    }
}

/// Says what of it is a secret.
fn keeps(bench: &Bench, what: &str, said: &str) {
    for secret in bench.secrets() {
        assert!(!said.contains(&secret), "{what}: {secret} in\n{said}");
    }
}

/// All that a person can read of a bot: pages, verbs, and the log so far.
fn all_that_is_said(bench: &Bench) {
    for page in ["/livez", "/readyz", "/metrics", "/"] {
        let (_, body) = bench.get(page).unwrap_or_default();
        keeps(bench, page, &body);
    }
    let verbs: [&[&str]; 10] = [
        &["status"],
        &["status", "--json"],
        &["hedges", "--json"],
        &["positions"],
        &["fills"],
        &["reconcile"],
        &["doctor"],
        &["doctor", "--json"],
        &["config", "show"],
        &["auth", "status"],
    ];
    for verb in verbs {
        let out = bench.configured(verb).output().unwrap();
        let said =
            [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(!said.is_empty(), "{verb:?} says nothing");
        keeps(bench, &verb.join(" "), &said);
    }
    keeps(bench, "the log", &bench.log());
}

/// Everything that makes a broker be talked about, one after the other, with an ear at every door.
fn nothing_is_said() {
    let mut bench = Bench::new();
    let receiver = Arc::new(Receiver::default());
    let server = Server::start(0, None, Arc::clone(&receiver) as Arc<dyn Handler>).unwrap();
    bench.set("ALERT_WEBHOOK_URL", &format!("{}/services/CANARY", server.url()));
    bench.set("REDIRECT_URI", "https://127.0.0.1");
    bench.set("RUST_LOG", "trace");
    bench.start();
    bench.becomes_ready();
    let kinds = [
        Kind::AccessRevokedEarly,
        Kind::ServerErrorAfter,
        Kind::AcceptHalfHeaders,
        Kind::AsyncReject { text: "Your order can not be taken.".into() },
        Kind::RateLimit { retry_after: Some(1) },
        Kind::BadJson,
    ];
    for (n, kind) in kinds.into_iter().enumerate() {
        let shares = 2_000 + 1_000 * i64::try_from(n).unwrap();
        for route in ["numbers", "account", "list", "order", "place"] {
            bench.fault(route, kind.clone());
        }
        bench.mine(&[if n.is_multiple_of(2) { sell(0, shares) } else { buy(0, shares) }]);
        bench.settles();
        bench.double.heal();
        all_that_is_said(&bench);
    }
    // The login ends, is told of, and a person logs in anew with a code.
    bench.double.fault(Fault::always("token", Kind::RefreshExpired));
    bench.fault("any", Kind::AccessRevokedEarly);
    bench.until("the login is dead", || bench.is_unready("auth login"));
    bench.until("a person is told", || !receiver.0.lock().unwrap().is_empty());
    all_that_is_said(&bench);
    bench.double.heal();
    bench.auth_login();
    bench.ends_clean();
    let heard = receiver.0.lock().unwrap();
    let alerts: Vec<String> =
        heard.iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect();
    assert!(alerts.iter().any(|text| text.contains("auth login")), "{alerts:?}");
    keeps(&bench, "the alerts", &alerts.join("\n"));
}

/// A thread panics there: the process ends with 70, has said where and by which frames, and nothing of what was held. The
/// next start finds out what became of the order.
#[cfg(debug_assertions)]
fn panics_at(point: Point, thread: &'static str) -> World {
    world(format!("a panic at {}, {thread}", point.name()), move || {
        let mut bench = Bench::new();
        bench.set("RUST_BACKTRACE", "full");
        // Whose account it is, is asked before there is a ledger, and of its first backfill a person would be asked.
        let at_birth = point == Point::AccountAfter;
        if !at_birth {
            bench.start();
            bench.becomes_ready();
            bench.stop();
        }
        let socket = bench.data().join("crash.sock");
        let watch = Watch::at(&socket, Aim::At(point, 1));
        bench.start_told(Some(&socket));
        if !at_birth {
            bench.mine(&[sell(0, 3_000)]);
        }
        assert_eq!(watch.held(Duration::from_secs(120)), Some(point));
        watch.let_panic();
        assert_eq!(bench.ends(), 70, "{}", bench.logged);
        watch.close(&socket);
        let said = bench.logged.clone();
        assert!(said.contains(&format!("a mistake was asked for at {}", point.name())), "{said}");
        assert!(said.contains(&format!("thread '{thread}'")), "{said}");
        assert!(said.contains("counterfill::"), "a backtrace: {said}");
        keeps(&bench, "the panic", &said);
        bench.start();
        if at_birth {
            bench.becomes_ready();
            bench.mine(&[sell(0, 3_000)]);
        }
        if point == Point::PlaceBefore || point == Point::EffectPlace {
            // It never left, and nobody but a person can say so.
            let row = bench.waits_for_a_person("Unknown");
            bench.reconcile(&row, &["absent"]);
        }
        bench.ends_clean();
        assert_eq!(bench.double.orders().len(), 1);
    })
}

#[test]
fn nothing_that_is_said_holds_a_secret() {
    play("WHAT A PERSON CAN READ", &[world("all of it", nothing_is_said)]);
}

#[test]
#[cfg(debug_assertions)]
fn a_panic_prints_nothing_of_what_a_thread_holds() {
    let worlds: Vec<World> = MISTAKES.into_iter().map(|(point, thread)| panics_at(point, thread)).collect();
    play("PANICS", &worlds);
}
