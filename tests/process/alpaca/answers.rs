//! Every way in which an order call, or a read, can go wrong, one after the other before the same bot.

use broker_doubles::alpaca::{Damage, Fault, Kind};

use super::bench::Bench;
use crate::sample;
use crate::truth::{buy, sell};

/// So many faults of the reads are met where not all are: the bot's pauses after each take some 12 s.
const FEW: usize = 2;

/// After each fault two tickers are traded, one of them in a fraction; then all must be hedged before the next.
fn walk(bench: &mut Bench, kinds: &[Kind]) {
    for (n, kind) in kinds.iter().enumerate() {
        bench.fault("place", kind.clone());
        let milli = 1_000 + 7 * i64::try_from(n).unwrap();
        if n % 2 == 0 {
            bench.mine(&[sell(0, milli), buy(1, milli + 500)]);
        } else {
            bench.mine(&[buy(0, milli), sell(1, milli + 500)]);
        }
        bench.settles();
        let met = bench.double.log().iter().filter(|entry| entry.fault.is_some()).count();
        assert!(met > n, "the fault was met: {kind:?}");
    }
}

#[test]
fn answers_that_are_lost() {
    let mut bench = Bench::ready();
    let kinds = [
        Kind::AcceptThenClose,
        Kind::AcceptThenReset,
        Kind::AcceptHalfHeaders,
        Kind::StallThenDrop { ms: 200 },
        Kind::ServerErrorBefore,
        Kind::ServerErrorAfter,
        Kind::AcceptNoId,
        Kind::TruncatedBody,
    ];
    walk(&mut bench, &kinds);
    bench.ends_clean();
    let log = bench.double.log();
    let posts = log.iter().filter(|entry| entry.route == "place").count();
    // The two whose order was never created went out again under their name.
    assert_eq!(posts, bench.double.orders().len() + 2);
}

#[test]
fn answers_that_are_no_answers() {
    let mut bench = Bench::ready();
    let kinds = [
        Kind::BadJson,
        Kind::GzipDamaged { damage: Damage::Sum },
        Kind::GzipBody,
        Kind::Html,
        Kind::Unavailable { html: false },
        Kind::Unavailable { html: true },
        Kind::RateLimit { reset_s: Some(3), retry_after_s: None },
        Kind::RateLimit { reset_s: None, retry_after_s: Some(2) },
        Kind::RefuseButAccept { status: 422, code: 42_210_000 },
        Kind::ExtraFields,
        Kind::NullFields,
        Kind::Numbers,
    ];
    walk(&mut bench, &kinds);
    bench.ends_clean();
}

#[test]
fn an_answer_that_comes_after_all_patience() {
    let mut bench = Bench::ready();
    walk(&mut bench, &[Kind::AcceptThenStall { ms: 60_000 }]);
    bench.ends_clean();
}

#[test]
fn orders_with_a_long_life() {
    let mut bench = Bench::ready();
    let fills =
        || vec![("0.3".parse().unwrap(), Some("22.7299".parse().unwrap())), ("0.2".parse().unwrap(), None)];
    let partial = |then: &str| Kind::Partial { fills: fills(), then: then.into() };
    let statuses = ["pending_new", "held", "calculated", "done_for_day", "SOMETHING_NEW", "stopped"];
    let kinds = [
        partial("fill"),
        partial("cancel"),
        Kind::AsyncReject,
        Kind::SlowStatus { statuses: statuses.map(str::to_owned).to_vec() },
        Kind::Invisible { reads: 6 },
        Kind::Refuse { status: 403, code: 40_310_000, message: "insufficient buying power".into() },
    ];
    walk(&mut bench, &kinds);
    bench.ends_clean();
}

#[test]
fn reads_that_go_wrong() {
    let mut bench = Bench::ready();
    let kinds = vec![
        Kind::AcceptThenClose,
        Kind::AcceptThenReset,
        Kind::AcceptHalfHeaders,
        Kind::TruncatedBody,
        Kind::BadJson,
        Kind::Html,
        Kind::GzipDamaged { damage: Damage::Cut },
        Kind::ServerErrorBefore,
        Kind::Unavailable { html: true },
        Kind::AccessDenied,
        Kind::Refuse { status: 404, code: 0, message: "no such page".into() },
    ];
    for kind in sample::of("alpaca, reads that go wrong", "faults", "alpaca", FEW, kinds) {
        for route in ["order", "find", "positions", "quotes", "clock"] {
            bench.double.fault(Fault::times(route, 2, kind.clone()));
        }
        // The answer is lost too, so that the order must be found by its name.
        bench.fault("place", Kind::AcceptThenClose);
        bench.mine(&[sell(0, 1_250), buy(2, 2_000)]);
        bench.settles();
        bench.double.heal();
    }
    for kind in [Kind::ExtraFields, Kind::NullFields, Kind::Numbers, Kind::GzipBody] {
        bench.double.fault(Fault::always("any", kind));
        bench.mine(&[buy(0, 1_250), sell(2, 2_000)]);
        bench.settles();
        bench.double.heal();
    }
    bench.double.fault(Fault::times("list", 2, Kind::ListStale));
    bench.mine(&[buy(0, 1_250)]);
    bench.settles();
    bench.ends_clean();
}

#[test]
fn nobody_home() {
    let mut bench = Bench::ready();
    bench.double.fault(Fault::always("any", Kind::Unavailable { html: true }));
    bench.mine(&[sell(0, 3_000), buy(1, 2_000)]);
    bench.until("unready", || bench.get("/readyz").is_some_and(|(code, _)| code == 503));
    assert_eq!(bench.double.orders().len(), 0);
    bench.double.heal();
    bench.ends_clean();
}
