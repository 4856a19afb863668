//! How it starts: a new ledger waits for the broker, a known one does not, and neither takes another's account.

use broker_doubles::alpaca::{Fault, Kind};

use super::bench::Bench;
use crate::truth::sell;

#[test]
fn a_new_ledger_waits_for_the_account_and_a_known_one_does_not() {
    let mut bench = Bench::new();
    bench.double.fault(Fault::always("any", Kind::ServerErrorBefore));
    bench.start();
    bench.until("told", || bench.log().contains("waits for the broker to name the account"));
    bench.until("health answers", || bench.get("/readyz").is_some_and(|(code, _)| code == 503));
    bench.double.heal();
    bench.becomes_ready();
    // One that holds nothing may have been born with other keys, and would wait too.
    bench.mine(&[sell(1, 1_000)]);
    bench.settles();
    bench.stop();
    bench.double.fault(Fault::always("any", Kind::ServerErrorBefore));
    bench.start();
    bench.mine(&[sell(0, 1_000)]);
    bench.until("the fill is booked all the same", || {
        String::from_utf8_lossy(&bench.verb(&["fills"]).stdout).contains("TSLA")
    });
    bench.double.heal();
    bench.ends_clean();
}

#[test]
fn keys_of_another_account_do_nothing() {
    let mut bench = Bench::ready();
    bench.stop();
    bench.double.book(|book| book.account.id = "11111111-2222-4333-8444-555555555555".into());
    bench.start();
    bench.mine(&[sell(0, 1_000)]);
    bench.until("unready", || bench.get("/readyz").is_some_and(|(code, _)| code == 503));
    let asked = bench.asked("account");
    bench.until("asked again", || bench.asked("account") > asked);
    assert_eq!(bench.asked("place"), 0);
    bench.stop();
}

#[test]
fn a_live_account_must_be_the_one_that_is_named() {
    let mut bench = Bench::new();
    bench.set("ALPACA_TRADING_MODE", "live");
    bench.set("LIVE_ACCOUNT", "9999");
    bench.start();
    assert_eq!(bench.ends(), 78, "{}", bench.logged);
    assert!(bench.logged.contains("LIVE_ACCOUNT"), "{}", bench.logged);
    bench.set("LIVE_ACCOUNT", "4321");
    bench.start();
    bench.becomes_ready();
    bench.mine(&[sell(0, 1_000)]);
    bench.ends_clean();
}

#[test]
fn a_ledger_that_is_put_back_takes_the_orders_it_forgot() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(0, 1_500)]);
    bench.settles();
    bench.stop();
    let copy = bench.copy_ledger();
    bench.start();
    bench.mine(&[sell(0, 2_250), sell(1, 3_000)]);
    bench.ends_clean();
    let orders = bench.double.orders().len();
    bench.put_back(&copy);
    bench.start();
    bench.becomes_ready();
    bench.until("all of it is known again", || {
        let adopted = bench.hedges().iter().filter(|row| row["state"] == "Filled").count();
        adopted == orders && bench.exposures().iter().all(|exposure| exposure == "0")
    });
    bench.stop();
    assert_eq!(bench.double.orders().len(), orders, "nothing was hedged again");
}

/// The account's list is read in pages of 500, by submission. Five hundred strangers' orders are one page, the order that
/// the ledger forgot is the next row, and `created_at` is 31 ms late.
#[test]
fn an_order_at_the_edge_of_a_page_is_not_sent_again_after_a_restore() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(0, 1_000)]);
    bench.settles();
    bench.stop();
    let copy = bench.copy_ledger();
    bench.start();
    bench.mine(&[sell(0, 2_000)]);
    bench.ends_clean();
    let ours = bench.double.orders();
    let last = ours.last().unwrap().submitted_ms;
    bench.double.book(|book| {
        for order in &mut book.orders {
            order.created_ms = order.submitted_ms + 31;
        }
        book.created_late_ms = 31;
        // The rest of the page: what was listed before it is ours too.
        for n in 1..=501 - i64::try_from(ours.len()).unwrap() {
            book.add_strangers_order("F", "us_equity", last - 9 - n);
        }
    });
    bench.put_back(&copy);
    bench.start();
    bench.becomes_ready();
    bench.until("it is known again", || {
        bench.hedges().iter().filter(|row| row["state"] == "Filled").count() == ours.len()
            && bench.exposures().iter().all(|exposure| exposure == "0")
    });
    bench.stop();
    let sent = bench.double.orders().iter().filter(|order| !order.by_hand).count();
    assert_eq!(sent, ours.len(), "nothing was hedged again");
}
