//! Every fault of the double, each in a world of its own: the next order or read meets it, and then all must be hedged
//! once, by the bot itself where the broker tells enough, else with a person.

use broker_doubles::decimal::Decimal;
use broker_doubles::schwab::{Damage, Fault, Kind, Step};

use super::bench::Bench;
use super::{World, play, world};
use crate::truth::{SHARES, buy, sell};

/// After so many starts every order of the day was read often enough.
const STARTS_MAX: usize = 10;

/// The next order call meets it, and the bot finds out by itself.
fn by_itself(name: &str, kind: Kind) -> World {
    let what = kind.clone();
    world(format!("place: {name}"), move || {
        let mut bench = Bench::ready();
        bench.fault("place", what.clone());
        bench.mine(&[sell(0, 3_000), buy(1, 2_000)]);
        bench.settles();
        // Once more in the other direction, and nothing is left of it.
        bench.mine(&[buy(0, 4_000)]);
        bench.ends_clean();
        assert!(bench.has_met("place"), "no order call met it");
    })
}

/// The order call left no order, and nobody can tell: it waits, says so, and sends nothing until a person has spoken.
fn with_a_person(name: &str, kind: Kind) -> World {
    let what = kind.clone();
    world(format!("place: {name}"), move || {
        let mut bench = Bench::ready();
        bench.fault("place", what.clone());
        bench.mine(&[sell(0, 3_000)]);
        let row = bench.waits_for_a_person("Unknown");
        let lists = bench.asked("list");
        bench.until("it is looked for again and again", || bench.asked("list") > lists + 3);
        assert_eq!((bench.asked("place"), bench.double.orders().len()), (1, 0), "and never sent again");
        bench.reconcile(&row, &["absent"]);
        bench.ends_clean();
        assert_eq!((bench.asked("place"), bench.double.orders().len()), (2, 1));
    })
}

/// Reads of every kind meet it while the answer to an order is lost, and are well again later.
fn on_reads(name: &str, times: Option<u32>, kind: Kind) -> World {
    let what = kind.clone();
    world(format!("reads: {name}"), move || {
        let mut bench = Bench::ready();
        for route in ["numbers", "account", "order", "list", "quotes", "markets"] {
            bench.double.fault(Fault { count: times, ..Fault::next(route, what.clone()) });
        }
        bench.fault("place", Kind::AcceptThenClose);
        bench.mine(&[sell(0, 3_000), buy(2, 5_000)]);
        bench.settles();
        // Whatever else was read meanwhile: without a list nobody finds the order.
        assert!(bench.has_met("list"), "no list met it");
        bench.double.heal();
        bench.mine(&[buy(0, 4_000)]);
        bench.ends_clean();
    })
}

/// The token is refused, and the refresh meets this.
fn on_the_login(name: &str, times: u32, kind: Kind) -> World {
    let what = kind.clone();
    world(format!("login: {name}"), move || {
        let mut bench = Bench::ready();
        bench.double.fault(Fault::times("token", times, what.clone()));
        bench.fault("any", Kind::AccessRevokedEarly);
        bench.mine(&[sell(0, 3_000)]);
        bench.ends_clean();
        assert!(bench.has_met("token"), "no question for a token met it");
    })
}

/// While it lasts no order leaves and a person is told this; then it is hedged.
fn nothing_leaves(
    name: &str,
    because: &'static str,
    begin: impl Fn(&mut Bench) + Send + Sync + 'static,
    end: impl Fn(&mut Bench) + Send + Sync + 'static,
) -> World {
    world(name, move || {
        // Not before its first backfill, which would wait for a person; and with a start, for some things are asked once.
        let mut bench = Bench::ready();
        bench.stop();
        begin(&mut bench);
        bench.start();
        bench.mine(&[sell(0, 3_000)]);
        bench.until("planned, and why", || {
            let status = bench.verb(&["status", "--json"]);
            let planned = bench.verb(&["hedges"]);
            String::from_utf8_lossy(&planned.stdout).contains("Planned")
                && String::from_utf8_lossy(&status.stdout).contains(because)
        });
        assert_eq!(bench.asked("place"), 0);
        end(&mut bench);
        // The hours of a day and the clock are not asked for all the time.
        bench.stop();
        bench.start();
        bench.ends_clean();
    })
}

fn quote(bench: &Bench, change: fn(&mut broker_doubles::schwab::Price)) {
    bench.double.book(|book| {
        let mut price = book.price(SHARES[0].0);
        change(&mut price);
        book.prices.insert(SHARES[0].0.to_owned(), price);
    });
}

fn partial(fills: &[(i64, &str)], then: &str) -> Kind {
    let fills = fills.iter().map(|(shares, price)| (Decimal::whole(*shares), price.parse().ok())).collect();
    Kind::Partial { fills, then: then.to_owned() }
}

fn of_order_calls() -> Vec<World> {
    let refuse = |status| Kind::Refuse { status, message: "words".into() };
    vec![
        by_itself("accept_then_close", Kind::AcceptThenClose),
        by_itself("accept_then_reset", Kind::AcceptThenReset),
        by_itself("accept_then_stall, longer than its patience", Kind::AcceptThenStall { ms: 60_000 }),
        by_itself("accept_half_headers", Kind::AcceptHalfHeaders),
        by_itself("accept_no_location", Kind::AcceptNoLocation),
        by_itself("location_relative", Kind::LocationRelative),
        by_itself("location_garbage", Kind::LocationGarbage),
        by_itself("server_error_after", Kind::ServerErrorAfter),
        by_itself("request_timeout, accepted", Kind::RequestTimeout { accepted: true }),
        with_a_person("stall_then_drop", Kind::StallThenDrop { ms: 300 }),
        with_a_person("server_error_before", Kind::ServerErrorBefore),
        with_a_person("unavailable", Kind::Unavailable { html: false }),
        with_a_person("unavailable, a page", Kind::Unavailable { html: true }),
        with_a_person("gateway_fault", Kind::GatewayFault),
        with_a_person("request_timeout, not accepted", Kind::RequestTimeout { accepted: false }),
        by_itself("refuse 400", refuse(400)),
        by_itself("refuse 403", refuse(403)),
        by_itself("rate_limit, Retry-After 3", Kind::RateLimit { retry_after: Some(3) }),
        by_itself("access_revoked_early", Kind::AccessRevokedEarly),
        by_itself("invisible for 5 reads", Kind::Invisible { reads: 5, ms: 0 }),
        by_itself("async_reject", Kind::AsyncReject { text: "Your order can not be taken.".into() }),
        by_itself("partial, then filled", partial(&[(1, "22.7299"), (1, "")], "fill")),
        by_itself("partial, then canceled", partial(&[(1, "22.7299"), (1, "")], "cancel")),
        by_itself("partial, then expired", partial(&[(2, "99.5")], "expire")),
        by_itself(
            "slow_status",
            Kind::SlowStatus {
                steps: [vec!["AWAITING_MANUAL_REVIEW"; 10], vec!["PENDING_CANCEL", "PENDING_RECALL"]]
                    .concat()
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
            },
        ),
        by_itself("unknown_status", Kind::UnknownStatus { status: "SOMETHING_NEW".into() }),
        by_itself("extra_fields", Kind::ExtraFields),
        by_itself("gzip_body", Kind::GzipBody),
        by_itself("gzip_damaged, cut", Kind::GzipDamaged { damage: Damage::Cut }),
    ]
}

fn of_reads_and_login() -> Vec<World> {
    vec![
        on_reads("accept_then_close", Some(2), Kind::AcceptThenClose),
        on_reads("accept_then_reset", Some(2), Kind::AcceptThenReset),
        on_reads("accept_half_headers", Some(2), Kind::AcceptHalfHeaders),
        on_reads("server_error_before", Some(2), Kind::ServerErrorBefore),
        on_reads("unavailable, a page", Some(2), Kind::Unavailable { html: true }),
        on_reads("gateway_fault", Some(2), Kind::GatewayFault),
        on_reads("rate_limit, Retry-After 2", Some(1), Kind::RateLimit { retry_after: Some(2) }),
        on_reads("access_revoked_early", Some(1), Kind::AccessRevokedEarly),
        on_reads("bad_json", Some(2), Kind::BadJson),
        on_reads("truncated_body", Some(2), Kind::TruncatedBody),
        on_reads("gzip_body", None, Kind::GzipBody),
        on_reads("gzip_damaged, cut", Some(2), Kind::GzipDamaged { damage: Damage::Cut }),
        on_reads("gzip_damaged, sum", Some(2), Kind::GzipDamaged { damage: Damage::Sum }),
        on_reads("gzip_damaged, bomb", Some(2), Kind::GzipDamaged { damage: Damage::Bomb }),
        on_reads("extra_fields", None, Kind::ExtraFields),
        on_reads("string_numbers", None, Kind::StringNumbers),
        on_reads("null_fields", Some(3), Kind::NullFields),
        on_the_login("refresh_flaky", 2, Kind::RefreshFlaky),
        on_the_login("refresh_html", 2, Kind::RefreshHtml),
        on_the_login("refresh_no_refresh_token", 1, Kind::RefreshNoRefreshToken),
        on_the_login("bad_json", 1, Kind::BadJson),
        on_the_login("gzip_body", 1, Kind::GzipBody),
        on_the_login("gzip_damaged, sum", 1, Kind::GzipDamaged { damage: Damage::Sum }),
        on_the_login("server_error_before", 1, Kind::ServerErrorBefore),
    ]
}

fn of_the_market() -> Vec<World> {
    vec![
        nothing_leaves(
            "clock_skew +7 s",
            "ms apart",
            |bench| bench.double.book(|book| book.shift_clock(7_000)),
            |bench| bench.double.book(|book| book.shift_clock(0)),
        ),
        nothing_leaves(
            "clock_skew -7 s",
            "ms apart",
            |bench| bench.double.book(|book| book.shift_clock(-7_000)),
            |bench| bench.double.book(|book| book.shift_clock(0)),
        ),
        nothing_leaves(
            "market_unavailable, with the broker's word alone",
            "does not tell its hours",
            |bench| bench.double.fault(Fault::always("markets", Kind::Unavailable { html: false })),
            |bench| bench.double.heal(),
        ),
        nothing_leaves(
            "delayed_quote",
            "does not trade now",
            |bench| quote(bench, |price| price.realtime = false),
            |bench| quote(bench, |price| price.realtime = true),
        ),
        nothing_leaves(
            "halted",
            "does not trade now",
            |bench| quote(bench, |price| price.security_status = "Halted".into()),
            |bench| quote(bench, |price| price.security_status = "Normal".into()),
        ),
    ]
}

fn with_an_afterlife() -> Vec<World> {
    vec![
        world("list_stale after a lost answer", || {
            let mut bench = Bench::ready();
            bench.double.fault(Fault::times("list", 4, Kind::ListStale));
            bench.fault("place", Kind::AcceptThenReset);
            bench.mine(&[sell(0, 3_000)]);
            bench.ends_clean();
            assert_eq!(bench.asked("place"), 1);
            assert!(bench.has_met("list"), "no list met it");
        }),
        world("gzip_body: every answer, from the first to the last", || {
            let mut bench = Bench::ready();
            bench.stop();
            for route in ["any", "token"] {
                bench.double.fault(Fault::always(route, Kind::GzipBody));
            }
            // So that one of them is the login's.
            bench.log_in(0);
            bench.start();
            bench.mine(&[sell(0, 3_000), buy(1, 2_000)]);
            bench.settles();
            bench.mine(&[buy(0, 4_000)]);
            bench.ends_clean();
            let log = bench.double.log();
            for route in ["token", "place", "order", "account", "quotes", "markets"] {
                assert!(log.iter().any(|e| e.route == route && e.fault.is_some()), "no {route} met it");
            }
        }),
        world("order_throttle_zero", || {
            let mut bench = Bench::ready();
            bench.double.fault(Fault::always("place", Kind::RateLimit { retry_after: Some(5) }));
            bench.mine(&[sell(0, 3_000)]);
            bench.until("refused twice", || bench.asked("place") >= 2);
            let times: Vec<i64> =
                bench.double.log().iter().filter(|e| e.route == "place").map(|e| e.at_ms).collect();
            assert!(times[1] - times[0] >= 5_000, "{times:?}");
            assert!(!bench.is_halted("rejects"), "a closed gate is no failure of the ticker");
            bench.double.heal();
            bench.ends_clean();
        }),
        world("partial, then nothing: a person cancels, over the API, and it fills all the same", || {
            canceled_by_a_person(Some(Kind::FillDuringCancel), "FILLED");
        }),
        world("partial, then nothing: a person cancels", || canceled_by_a_person(None, "CANCELED")),
        world("fill_bust", || {
            let mut bench = Bench::ready();
            bench.fault("place", Kind::FillBust);
            bench.mine(&[sell(0, 3_000)]);
            bench.until("filled", || bench.hedges().iter().any(|row| row["state"] == "Filled"));
            // Every start reads the list, and with it the orders of the day; what it says is known before it is ready. The
            // order has to be read some times before it is taken back.
            let is_halted = |bench: &Bench| bench.is_halted("execution_changed");
            for _ in 0..STARTS_MAX {
                if is_halted(&bench) {
                    break;
                }
                bench.stop();
                bench.start();
                bench.until_while_the_chain_lives("ready, or halted", || {
                    is_halted(&bench) || bench.get("/readyz").is_some_and(|(code, _)| code == 200)
                });
            }
            bench.until("halted", || is_halted(&bench));
            assert_eq!(bench.double.orders().len(), 1, "no second order by itself");
            bench.resume(&["TSLA", "--kind", "execution_changed"]);
            bench.ends_clean();
            assert_eq!(bench.double.orders().len(), 2);
        }),
        world("twin_manual_order beside a claimed order", || {
            let mut bench = Bench::ready();
            bench.fault("place", Kind::TwinManualOrder);
            bench.mine(&[sell(0, 3_000)]);
            // It carries our tag and is nobody's: to us it looks like a second instance.
            let row = bench.waits_for_a_person_about_a_stranger();
            assert_eq!(row["adopted"], true, "{row}");
            bench.until("halted", || bench.is_halted("stuck"));
            bench.reconcile(&row, &["ignore"]);
            bench.becomes_ready_but_for_drift();
            bench.ends_clean();
            assert_eq!((bench.asked("place"), bench.double.orders().len()), (1, 2));
        }),
    ]
}

/// An order that has traded in part is cancelled by another program of the same person.
fn canceled_by_a_person(fault: Option<Kind>, ends: &str) {
    let mut bench = Bench::ready();
    bench.double.book(|book| book.life = Some(vec![Step::called("WORKING")]));
    bench.fault("place", partial(&[(1, "22.7299")], "working"));
    bench.mine(&[sell(0, 3_000)]);
    bench.until("a part is booked", || bench.hedges().iter().any(|row| row["executed"] == "1"));
    bench.double.book(|book| book.life = None);
    if let Some(kind) = fault {
        bench.fault("cancel", kind);
    }
    let order = bench.double.orders()[0].clone();
    let hash = bench.double.book(|book| book.accounts[order.account].hash.clone());
    let url = format!("{}/trader/v1/accounts/{hash}/orders/{}", bench.double.url(), order.id);
    let answer =
        bench.browser().delete(url).header("Authorization", format!("Bearer {}", bench.access)).call();
    assert_eq!(answer.unwrap().status(), 200);
    bench.ends_clean();
    let orders = bench.double.orders();
    assert_eq!(orders[0].status, ends);
    assert_eq!(orders.len(), if ends == "FILLED" { 1 } else { 2 }, "what is left is hedged anew");
}

#[test]
fn every_fault_of_an_order_call() {
    play("FAULTS OF ORDER CALLS", &of_order_calls());
}

#[test]
fn every_fault_of_reads_and_of_the_login() {
    play("FAULTS OF READS AND OF THE LOGIN", &of_reads_and_login());
}

#[test]
fn every_fault_of_the_market_and_those_with_an_afterlife() {
    play(
        "FAULTS OF THE MARKET, AND WITH AN AFTERLIFE",
        &of_the_market().into_iter().chain(with_an_afterlife()).collect::<Vec<_>>(),
    );
}
