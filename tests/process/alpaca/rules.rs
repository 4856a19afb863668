//! What is peculiar to this broker: fractions, dust, holdings, hours, strangers' orders, refused keys.

use broker_doubles::alpaca::{Fault, Kind, Market, Step};
use counterfill::broker::hours::{Hours, session_at};
use counterfill::units::Millis;

use super::bench::Bench;
use crate::truth::{buy, sell};

/// After so many starts every order of the day was read often enough.
const STARTS_MAX: usize = 10;
/// So often is tried what only an edge of a trading day prevents, of which there are two a day.
const ATTEMPTS: usize = 3;

#[test]
fn fractions_are_hedged_to_the_ninth_place_and_dust_waits() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(0, 1), sell(1, 333), sell(2, 1)]);
    let nvda = |bench: &Bench| bench.double.orders().iter().filter(|o| o.symbol == "NVDA").count();
    // A thousandth of TSLA is ten cents, one of NVDA a cent.
    let dust = 1_000_000_000_000_000;
    bench.until("AAPL is hedged", || {
        let orders = bench.double.orders();
        orders.len() == 1 && orders[0].symbol == "AAPL" && orders[0].filled.to_string() == "0.333"
    });
    bench.until("at rest", || bench.wrongs(dust).is_empty());
    bench.becomes_ready();
    assert_eq!(nvda(&bench), 0);
    // Enough of it is an order.
    for _ in 0..10 {
        bench.mine(&[sell(2, 23), sell(0, 2)]);
    }
    bench.until("dust is swept", || bench.wrongs(110 * dust).is_empty() && nvda(&bench) > 0);
    bench.mine(&[sell(2, 5_000), sell(0, 5_000)]);
    bench.ends_clean();
    assert!(
        bench.double.log().iter().all(|entry| entry.route != "place" || entry.created.is_some()),
        "none refused"
    );
}

#[test]
fn whole_shares_where_they_are_asked_for() {
    let mut bench = Bench::new();
    bench.set("LOT", "1");
    bench.start();
    bench.becomes_ready();
    bench.mine(&[sell(0, 2_700), buy(1, 1_900)]);
    bench.until("hedged", || {
        bench.wrongs(999_000_000_000_000_000).is_empty() && bench.double.orders().len() == 2
    });
    assert!(bench.double.orders().iter().all(|order| order.quantity.is_whole()));
    bench.stop();
}

#[test]
fn a_sell_is_cut_to_what_is_held() {
    let mut bench = Bench::new();
    bench.double.hold("TSLA", "1.5");
    bench.start();
    bench.becomes_ready();
    bench.mine(&[buy(0, 4_000)]);
    bench.until("what is held is sold", || {
        let orders = bench.double.orders();
        orders.len() == 1 && orders[0].filled.to_string() == "1.5" && !orders[0].buys
    });
    bench.until("and the rest says why it waits", || {
        bench.get("/readyz").is_some() && {
            let status = bench.verb(&["status", "--json"]);
            String::from_utf8_lossy(&status.stdout).contains("ALLOW_SHORT")
        }
    });
    assert_eq!(bench.double.orders().len(), 1);
    bench.stop();
}

#[test]
fn nothing_leaves_while_the_market_is_closed() {
    let mut bench = Bench::new();
    bench.double.book(|book| book.market = Market::Closed);
    bench.start();
    bench.becomes_ready();
    bench.mine(&[sell(0, 2_000)]);
    bench.until("it is planned", || bench.hedges().iter().any(|row| row["state"] == "Planned"));
    bench.until("asked for the session", || bench.asked("clock") > 0);
    bench.becomes_ready();
    assert_eq!(bench.asked("place"), 0);
    bench.double.book(|book| book.market = Market::Open);
    bench.ends_clean();
}

/// Whether the built-in table says open at that moment.
fn is_open(at: Millis) -> bool {
    matches!(session_at(at), Hours::Open(_))
}

/// A broker that says the opposite of the table, whatever the hour at which this runs. False where the table itself
/// changed meanwhile: what was seen then shows nothing.
fn is_kept_closed_by_a_calendar_that_disagrees() -> bool {
    let mut bench = Bench::new();
    bench.set("MARKET_HOURS", "agreed");
    bench
        .double
        .fault(Fault::always("calendar", Kind::Refuse { status: 200, code: 0, message: String::new() }));
    let table_open = is_open(Millis::now());
    // The last seconds of a session have words of their own.
    let has_changed =
        || is_open(Millis::now().plus(30_000)) != table_open || is_open(Millis::now()) != table_open;
    bench.double.book(|book| book.market = if table_open { Market::Closed } else { Market::Open });
    bench.start();
    bench.mine(&[sell(0, 2_000)]);
    let told = if table_open { "the broker says closed" } else { "the broker says open" };
    let words = format!("no order leaves: {told}, the calendar of this program");
    bench.until(&words, || bench.log().contains(&words) || has_changed());
    bench.until("unready", || bench.get("/readyz").is_some_and(|(code, _)| code == 503) || has_changed());
    let asked = bench.asked("place");
    let shows = !has_changed();
    assert!(asked == 0 || !shows, "{asked} orders left");
    bench.stop();
    shows
}

#[test]
fn a_calendar_that_disagrees_keeps_it_closed() {
    let shown = (0..ATTEMPTS).any(|_| {
        // Not right before an edge.
        let (now, far) = (Millis::now, 60_000);
        crate::until::until("no edge near", String::new, || is_open(now()) == is_open(now().plus(far)));
        is_kept_closed_by_a_calendar_that_disagrees()
    });
    assert!(shown, "the table changed every time");
}

#[test]
fn an_order_typed_by_hand_is_not_ours() {
    let mut bench = Bench::ready();
    bench.fault("place", Kind::TwinManualOrder);
    bench.mine(&[sell(0, 2_000)]);
    bench.until("hedged once by us", || {
        let orders = bench.double.orders();
        orders.iter().filter(|o| !o.by_hand && o.filled.to_string() == "2").count() == 1
            && orders.iter().filter(|o| o.by_hand).count() == 1
    });
    bench.settles();
    bench.stop();
    assert_eq!(bench.wrongs(0), Vec::<String>::new());
}

#[test]
fn a_busted_fill_halts_its_ticker() {
    let mut bench = Bench::ready();
    bench.fault("place", Kind::FillBust);
    bench.mine(&[sell(0, 2_000)]);
    bench.until("filled", || bench.hedges().iter().any(|row| row["state"] == "Filled"));
    // Ended orders are read again with the list, which comes once a minute, and with every start.
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
    bench.stop();
}

#[test]
fn refused_keys_close_the_gate_and_cause_no_storm() {
    let mut bench = Bench::ready();
    bench.double.fault(Fault::always("any", Kind::Keys { status: 401 }));
    bench.mine(&[sell(0, 2_000)]);
    bench.until("unready", || bench.get("/readyz").is_some_and(|(code, _)| code == 503));
    let (before, begun) = (bench.double.log().len(), std::time::Instant::now());
    std::thread::sleep(std::time::Duration::from_secs(5));
    let asked = bench.double.log().len() - before;
    // On a busy machine it was longer.
    let ms = usize::try_from(begun.elapsed().as_millis()).unwrap();
    assert!(asked <= 3 * ms / 5_000, "{asked} questions in {ms} ms");
    bench.double.heal();
    bench.ends_clean();
}

#[test]
fn clocks_that_differ_let_nothing_leave() {
    let mut bench = Bench::new();
    bench.double.book(|book| book.shift_clock(-7_000));
    bench.start();
    bench.until("told", || {
        bench.get("/readyz").is_some_and(|(code, body)| code == 503 && body.contains("ms apart"))
    });
    bench.mine(&[sell(0, 2_000)]);
    bench.until("planned", || bench.hedges().iter().any(|row| row["state"] == "Planned"));
    assert_eq!(bench.asked("place"), 0);
    bench.double.book(|book| book.shift_clock(0));
    bench.ends_clean();
}

/// A refusal that is the account's halts no ticker, makes it unready, alarms once, and passes by itself.
#[test]
fn an_account_that_may_not_trade_halts_nothing_and_goes_on() {
    let mut bench = Bench::ready();
    let message = "us_equity orders not allowed for account".to_owned();
    bench.fault("place", Kind::Refuse { status: 422, code: 40_010_001, message });
    bench.mine(&[sell(0, 2_000), sell(1, 2_000)]);
    bench.until("told", || bench.log().contains("the broker takes none of this account"));
    bench.until("unready", || bench.get("/readyz").is_some_and(|(code, _)| code == 503));
    bench.ends_clean();
    assert!(bench.logged.contains("takes orders of this account again"), "{}", bench.logged);
    assert_eq!(bench.logged.matches("the broker takes none of this account").count(), 1);
    assert!(!bench.logged.contains("halted ("), "{}", bench.logged);
}

/// A person replaces our order on the broker's page: what took its place is ours, once.
#[test]
fn an_order_that_a_person_replaces_is_followed() {
    let mut bench = Bench::ready();
    bench.double.book(|book| book.life = Some(vec![Step::called("new")]));
    bench.mine(&[sell(0, 2_000)]);
    bench.until("it works", || bench.hedges().iter().any(|row| row["state"] == "Working"));
    bench.double.book(|book| {
        book.life = None;
        let ours = book.orders[0].id.clone();
        book.replace_by_hand(&ours, "2".parse().unwrap()).unwrap();
    });
    bench.until("followed", || {
        bench.hedges().iter().any(|row| row["state"] == "Filled")
            && bench.exposures().iter().all(|exposure| exposure == "0")
    });
    bench.becomes_ready();
    // The list of the next start shows both.
    bench.stop();
    bench.start();
    bench.becomes_ready();
    bench.stop();
    assert_eq!(bench.asked("place"), 1);
}
