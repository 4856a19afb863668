//! The twelve scenarios that every build must pass, with the real bot; some of them in more than one world.

use std::time::{Duration, Instant};

use broker_doubles::decimal::Decimal;
use broker_doubles::schwab::{Fault, Instruction, Kind, Step};
use counterfill::units::Millis;

use super::bench::Bench;
use super::{World, hours, play, world};
use crate::truth::{SHARES, buy, sell};

/// Two processes, each with a clock of whole milliseconds, do not begin one at the same moment.
const ROUNDING_MS: i64 = 1;

fn times_of(bench: &Bench, route: &str) -> Vec<i64> {
    bench.double.log().iter().filter(|entry| entry.route == route).map(|entry| entry.at_ms).collect()
}

/// 1: ten fills and all reads at once, with a token that the broker does not take any more.
fn token_expires(rotate: bool) -> World {
    world(format!("1 token expires mid-run: one refresh (rotation {rotate})"), move || {
        let mut bench = Bench::ready();
        bench.double.rules(|rules| rules.rotate_refresh = rotate);
        // All access tokens are over, half an hour later by the broker's clock; the bot thinks they are good.
        bench.double.book(|book| book.shift_clock(1_800_000));
        bench.until("a call met the end of it", || bench.asked("token") > 0);
        bench.double.book(|book| book.shift_clock(0));
        let deals: Vec<_> =
            (0..SHARES.len()).flat_map(|ticker| [sell(ticker, 3_000), sell(ticker, 1_000)]).collect();
        bench.mine(&deals);
        bench.settles();
        assert_eq!(bench.asked("token"), 1, "of {} calls", bench.double.log().len());
        // Each ticker's order was placed and read twice at least; how many orders there are depends on what a batch held.
        let log = bench.double.log();
        let after = log.iter().skip_while(|entry| entry.route != "token").skip(1).count();
        assert!(after >= 3 * SHARES.len(), "that was no test of many calls");
        // The refresh token that came of it is the one that is kept: the next process goes on with it.
        bench.kill();
        bench.fault("any", Kind::AccessRevokedEarly);
        bench.start();
        bench.mine(&[buy(0, 2_000)]);
        bench.ends_clean();
        assert_eq!(bench.asked("token"), 2);
    })
}

/// 2: nobody storms, health says it, fills are booked, and a login makes it go on.
fn refresh_is_dead(name: &str, kind: Kind, escaped: bool, log_in: fn(&mut Bench)) -> World {
    let what = kind.clone();
    world(format!("2 refresh dead, {name}: waits, says so, no storm, goes on after a login"), move || {
        let mut bench = Bench::ready();
        bench.double.rules(|rules| rules.escaped_errors = escaped);
        bench.fault("token", what.clone());
        bench.fault("any", Kind::AccessRevokedEarly);
        bench.until("unready", || bench.is_unready(""));
        bench.mine(&[sell(0, 3_000)]);
        bench.until("health tells what to type", || bench.is_unready("auth login"));
        bench.until("the fill is booked and planned", || {
            bench.hedges().iter().any(|row| row["state"] == "Planned")
        });
        let begun = Instant::now();
        let before = bench.double.log().len();
        let tokens = bench.asked("token");
        std::thread::sleep(Duration::from_secs(20));
        // Counted first, then timed: what a busy machine does in between is on the safe side.
        let (calls, tried) = (bench.double.log().len() - before, bench.asked("token") - tokens);
        let minutes = usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
        assert!(calls <= 1 + minutes, "a storm of questions: {calls}");
        assert!(tried <= 1 + minutes, "{tried}");
        assert_eq!(bench.asked("place"), 0);
        log_in(&mut bench);
        bench.ends_clean();
    })
}

/// 4: an order that may or may not be there.
fn nobody_can_tell() -> Vec<World> {
    vec![
        world("4 stall_then_drop: waits as unknown, says so, over a restart too", || {
            let mut bench = Bench::ready();
            bench.fault("place", Kind::StallThenDrop { ms: 200 });
            bench.mine(&[sell(0, 3_000)]);
            let row = bench.waits_for_a_person("Unknown");
            assert_eq!(row["position_before"], "1000", "the evidence is there: {row}");
            assert_eq!(row["similar"], serde_json::json!([]));
            bench.kill();
            bench.start();
            let again = bench.waits_for_a_person("Unknown");
            assert_eq!(row["intent_id"], again["intent_id"]);
            // Other tickers go on.
            bench.mine(&[sell(1, 2_000), sell(0, 1_000)]);
            bench.until("AAPL is hedged", || bench.orders().len() == 1);
            bench.books(3);
            assert_eq!(bench.asked("place"), 2);
            bench.reconcile(&again, &["absent"]);
            bench.ends_clean();
            assert_eq!(bench.asked("place"), 3, "what is wanted now, in one order");
        }),
        world("4 stall_then_drop, ABSENT_AFTER=60s: it is proved absent, and goes out anew", || {
            let mut bench = Bench::new();
            bench.set("ABSENT_AFTER", "60s");
            bench.start();
            bench.becomes_ready();
            bench.fault("place", Kind::StallThenDrop { ms: 200 });
            bench.mine(&[sell(0, 3_000)]);
            bench.ends_clean();
            let calls = times_of(&bench, "place");
            assert_eq!(calls.len(), 2);
            assert!(calls[1] - calls[0] + ROUNDING_MS >= 60_000, "{calls:?}");
            assert!(bench.hedges().iter().any(|row| row["state"] == "Absent"));
        }),
    ]
}

/// 5: an order typed by hand that is like ours in every field.
fn twins() -> Vec<World> {
    let lost_beside_a_twin = |tag: &'static str| {
        let mut bench = Bench::ready();
        // No list is read before both are there.
        bench.double.fault(Fault::always("list", Kind::Unavailable { html: false }));
        bench.fault("place", Kind::AcceptThenClose);
        bench.mine(&[sell(0, 3_000)]);
        bench.until("the call arrived", || bench.asked("place") == 1);
        bench.double.type_with_tag("TSLA", Instruction::Buy, 3, tag);
        bench.until("lists fail", || {
            bench.double.log().iter().any(|e| e.route == "list" && e.answer == "503")
        });
        bench.double.heal();
        bench
    };
    vec![
        world("5 a twin with our tag beside a lost answer: no adoption, a person picks", move || {
            let mut bench = lost_beside_a_twin(broker_doubles::schwab::TAG);
            let row = bench.waits_for_a_person("Stuck");
            assert_eq!(row["similar"].as_array().unwrap().len(), 2, "{row}");
            bench.until("halted", || bench.is_halted("stuck"));
            bench.logs("could all be it");
            let ours = bench.orders()[0].id.clone();
            bench.reconcile(&row, &["adopt", &ours]);
            // The other one carries our tag and belongs to nobody.
            let twin = bench.waits_for_a_person_about_a_stranger();
            assert_eq!(twin["adopted"], true, "{twin}");
            bench.reconcile(&twin, &["ignore"]);
            bench.becomes_ready_but_for_drift();
            bench.ends_clean();
            assert_eq!((bench.asked("place"), bench.double.orders().len()), (1, 2));
        }),
        world("5 a twin with a person's tag beside a lost answer: ours is told by its tag", move || {
            let mut bench = lost_beside_a_twin("API_TOS:website");
            bench.settles();
            assert_eq!((bench.asked("place"), bench.double.orders().len()), (1, 2));
            bench.ends_as_it_is();
        }),
    ]
}

fn partial(fills: &[(i64, &str)], then: &str) -> Kind {
    let fills = fills.iter().map(|(shares, price)| (Decimal::whole(*shares), price.parse().ok())).collect();
    Kind::Partial { fills, then: then.to_owned() }
}

/// 6 to 8 and 10 to 12.
fn lives() -> Vec<World> {
    vec![
        world("6 partial and cancel: the FILL legs are booked, the rest is hedged anew", || {
            let mut bench = Bench::ready();
            bench.fault("place", partial(&[(1, "22.7299"), (2, "22.73")], "cancel"));
            bench.mine(&[sell(0, 7_000)]);
            bench.settles();
            let rows = bench.hedges();
            let canceled = rows.iter().find(|row| row["state"] == "Canceled").unwrap();
            assert_eq!(canceled["executed"], "3", "{canceled}");
            let rest = rows.iter().find(|row| row["state"] == "Filled").unwrap();
            assert_eq!(rest["quantity"], "4", "{rest}");
            bench.ends_clean();
        }),
        world("7 async reject: the exposure is back, growing pauses, a halt after five", || {
            let mut bench = Bench::ready();
            let text = "You do not have enough available cash/buying power for this order.".to_owned();
            bench.double.fault(Fault::always("place", Kind::AsyncReject { text }));
            bench.mine(&[sell(0, 3_000)]);
            bench.until("halted", || bench.is_halted("rejects"));
            let calls = times_of(&bench, "place");
            let pauses: Vec<i64> = calls.windows(2).map(|two| (two[1] - two[0]) / 1_000).collect();
            assert_eq!(calls.len(), 5);
            assert!(pauses.iter().zip([5, 10, 20, 40]).all(|(pause, least)| *pause >= least), "{pauses:?}");
            assert!(bench.exposures().contains(&"-3".to_owned()), "{:?}", bench.exposures());
            // A person is told the broker's words.
            bench.logs("buying power");
            bench.double.heal();
            bench.resume(&["TSLA", "--kind", "rejects"]);
            bench.ends_clean();
        }),
        world("8 429 with Retry-After on orders: the pause is kept, reads go on", || {
            let mut bench = Bench::ready();
            bench.fault("place", Kind::RateLimit { retry_after: Some(12) });
            bench.mine(&[sell(0, 3_000)]);
            bench.until("refused", || bench.asked("place") >= 1);
            let account = bench.asked("account");
            bench.until("reads go on", || bench.asked("account") > account);
            bench.ends_clean();
            let calls = times_of(&bench, "place");
            assert!(calls[1] - calls[0] + ROUNDING_MS >= 12_000, "{calls:?}");
        }),
        world("8 429 without Retry-After on orders: a minute", || {
            let mut bench = Bench::ready();
            bench.fault("place", Kind::RateLimit { retry_after: None });
            bench.mine(&[sell(0, 3_000)]);
            bench.ends_clean();
            let calls = times_of(&bench, "place");
            assert!(calls[1] - calls[0] >= 60_000, "{calls:?}");
        }),
        world("8 429 on reads: no read before its end", || {
            let mut bench = Bench::ready();
            bench.fault("account", Kind::RateLimit { retry_after: Some(10) });
            bench.until("refused", || bench.double.log().iter().any(|entry| entry.answer == "429"));
            bench.mine(&[sell(0, 3_000)]);
            bench.ends_clean();
            let log = bench.double.log();
            let at = log.iter().position(|entry| entry.answer == "429").unwrap();
            let next = log[at + 1..].iter().find(|entry| !matches!(entry.route.as_str(), "place" | "token"));
            let pause = next.unwrap().at_ms - log[at].at_ms;
            assert!(pause + ROUNDING_MS >= 10_000, "{pause} ms");
        }),
        world("10 schema drift and an unknown status: no panic, the order stays live", || {
            let mut bench = Bench::ready();
            bench.double.fault(Fault::always("any", Kind::ExtraFields));
            bench.double.book(|book| {
                book.life = Some(vec![Step::called("SOMETHING_NEW")]);
            });
            bench.mine(&[sell(0, 3_000)]);
            let reads = |bench: &Bench| bench.asked("order");
            bench.until("read", || reads(&bench) > 0);
            let before = reads(&bench);
            bench.until("read again and again", || reads(&bench) >= before + 4);
            assert!(bench.hedges().iter().all(|row| row["state"] == "Working"), "{:?}", bench.hedges());
            bench.mine(&[sell(0, 1_000)]);
            bench.until("read again", || reads(&bench) >= before + 6);
            assert_eq!(bench.asked("place"), 1, "one live order a ticker");
            bench.double.heal();
            bench.double.fault(Fault::always("any", Kind::StringNumbers));
            bench.double.book(|book| {
                book.life = None;
                book.orders[0].plan = [Step::trades(broker_doubles::schwab::Fill::Rest, "FILLED")].into();
            });
            bench.ends_clean();
        }),
        world("11 three legs at 22.7299: the average is exact", || {
            let mut bench = Bench::ready();
            bench.fault("place", partial(&[(1, "22.7299"), (1, "22.7299"), (1, "22.7299")], "fill"));
            bench.mine(&[sell(0, 3_000)]);
            bench.settles();
            let rows = bench.hedges();
            assert_eq!((rows.len(), &rows[0]["average_price"]), (1, &"22.7299".into()), "{rows:?}");
            bench.ends_clean();
        }),
        world("12 invisible for 30 s: it is not lost", || {
            let mut bench = Bench::ready();
            bench.fault("place", Kind::Invisible { reads: 0, ms: 30_000 });
            let begun = Millis::now().0;
            bench.mine(&[sell(0, 3_000)]);
            bench.until("claimed", || bench.hedges().iter().any(|row| row["state"] == "Sent"));
            bench.ends_clean();
            assert!(Millis::now().0 - begun >= 30_000);
            assert_eq!(bench.asked("place"), 1);
        }),
        world("12 invisible for 30 s, and its answer is lost too", || {
            let mut bench = Bench::ready();
            bench.double.book(|book| {
                book.life = Some(vec![Step::trades(broker_doubles::schwab::Fill::Rest, "FILLED")])
            });
            // No list is read before it is hidden.
            bench.double.fault(Fault::always("list", Kind::Unavailable { html: false }));
            bench.fault("place", Kind::AcceptThenClose);
            bench.mine(&[sell(0, 3_000)]);
            bench.until("the call arrived", || bench.asked("place") == 1);
            let until = bench.double.book(|book| {
                book.orders[0].hidden_until_ms = Some(book.now_ms() + 30_000);
                book.orders[0].hidden_until_ms.unwrap()
            });
            bench.double.heal();
            bench.ends_clean();
            assert!(bench.double.book(|book| book.now_ms()) >= until);
            assert_eq!(bench.asked("place"), 1);
        }),
    ]
}

#[test]
fn the_twelve_scenarios() {
    let mut worlds = vec![
        token_expires(false),
        token_expires(true),
        refresh_is_dead("seven days over", Kind::RefreshExpired, false, |bench| bench.auth_login()),
        refresh_is_dead("another login elsewhere", Kind::OtherLogin, true, |bench| {
            bench.log_in(1_800_000);
        }),
    ];
    worlds.extend(nobody_can_tell());
    worlds.extend(twins());
    worlds.extend(lives());
    worlds.extend(hours::worlds());
    play("SCENARIOS", &worlds);
}
