//! Exposure of a lot or more without an order at work: not ready after a minute, told once with what to type, and told
//! again when it is over, whatever the reason (`protocol.md` 4.1).

use counterfill::broker::Session;
use counterfill::chain::ChainFacts;
use counterfill::engine::{Command, Input};
use counterfill::hedges::HaltKind;
use counterfill::serve::health::{Limits, ProcessFacts, health};
use counterfill::units::{Millis, Price, Shares, Side};

use super::{deal, pass, ready, resume};
use crate::world::{Deal, Mood, Terms, World, symbol};

/// Why a ticker waits: how that comes about, how it ends, and what must be said.
struct Reason {
    name: &'static str,
    terms: Terms,
    begin: fn(&mut World),
    /// Every half second while it lasts.
    go_on: fn(&mut World),
    end: fn(&mut World),
    /// Of the alert and of the ticker's row.
    words: &'static str,
    remedy: &'static str,
}

fn halt(world: &mut World) {
    let (reason, who) = ("lunch".to_owned(), "ann".to_owned());
    world.input(Input::Command(Command::Halt { symbol: Some(symbol(0)), reason, who }, 1));
}

fn hold(world: &mut World, shares: i64) {
    world.desk.birth.insert(symbol(0), Shares::whole(shares));
}

fn quote(world: &mut World) {
    let price: Price = "50".parse().unwrap();
    world.desk.quotes.insert(symbol(0), price);
}

fn reasons() -> Vec<Reason> {
    let nothing: fn(&mut World) = |_| {};
    let terms = Terms::by_list();
    vec![
        Reason {
            name: "nothing held",
            terms: Terms { allow_short: false, ..terms },
            begin: nothing,
            go_on: nothing,
            end: |world| hold(world, 2),
            words: "the account holds 0, and ALLOW_SHORT is not set",
            remedy: "set ALLOW_SHORT=true",
        },
        Reason {
            name: "no quote",
            terms: Terms { quotes: true, ..terms },
            begin: nothing,
            go_on: nothing,
            end: quote,
            words: "there is no quote that is younger than 30 s",
            remedy: "type `bot doctor` to see what the broker says of TSLA",
        },
        Reason {
            name: "halted",
            terms,
            begin: halt,
            go_on: nothing,
            end: |world| assert!(resume(world, Some(0), HaltKind::Operator, None).is_ok()),
            words: "halted (operator): lunch",
            remedy: "type `bot resume TSLA --reason …`",
        },
        Reason {
            name: "limit reached",
            terms: Terms { orders_per_day_max: 0, ..terms },
            begin: nothing,
            go_on: nothing,
            // Another fill takes it back.
            end: |world| deal(world, Side::Sell, 2),
            words: "MAX_ORDERS_PER_DAY=0 is used up",
            remedy: "set MAX_ORDERS_PER_DAY higher",
        },
        Reason {
            name: "refused each time",
            terms,
            begin: nothing,
            go_on: |world| world.desk.mood = Some(Mood::Refuses),
            end: |world| world.desk.mood = None,
            words: "failed attempts",
            remedy: "nothing is to be typed",
        },
        Reason {
            name: "answer lost",
            terms,
            begin: |world| world.desk.mood = Some(Mood::AcceptsAndLosesTheAnswer),
            go_on: |world| world.desk.hidden_reads = 1,
            end: |world| world.desk.hidden_reads = 0,
            words: "is Unknown",
            remedy: "type `bot reconcile`",
        },
        Reason {
            name: "broker away",
            terms,
            begin: |world| {
                world.desk.away = true;
                pass(world, 35_000);
            },
            go_on: nothing,
            end: |world| world.desk.away = false,
            words: "the broker does not answer",
            remedy: "nothing is to be typed",
        },
    ]
}

fn alerts(world: &World, words: &str) -> Vec<(Millis, String)> {
    world.alerts.iter().filter(|(_, text)| text.contains(words)).cloned().collect()
}

/// Whether the row of health holds; the rest of the table is not looked at.
fn green(world: &World) -> bool {
    let (chain, process) = (ChainFacts::default(), ProcessFacts::default());
    let facts = world.engine.facts();
    let health = health(Some(&facts), &chain, &process, world.now, &Limits::default());
    health.checks.iter().find(|check| check.name == "exposure_hedged").unwrap().ok
}

fn pass_with(world: &mut World, ms: i64, go_on: fn(&mut World)) {
    let end = world.now.plus(ms);
    while world.now < end {
        go_on(world);
        pass(world, 1);
    }
}

#[test]
fn whatever_holds_a_lot_back_is_told_after_a_minute_and_when_it_is_over() {
    for Reason { name, terms, begin, go_on, end, words, remedy } in reasons() {
        let mut world = ready(terms);
        begin(&mut world);
        go_on(&mut world);
        let opened = world.now;
        deal(&mut world, Side::Buy, 2);
        pass_with(&mut world, 58_000, go_on);
        assert!(green(&world), "{name}: an order may take its time");
        assert_eq!(alerts(&world, "hedged"), [], "{name}");
        pass_with(&mut world, 5_000, go_on);
        assert!(!green(&world), "{name}");
        let told = alerts(&world, "TSLA is not hedged");
        let [(at, text)] = &told[..] else { panic!("{name}: {told:?}") };
        assert!((60_000..=62_500).contains(&at.since(opened)), "{name}: after {} ms", at.since(opened));
        for part in ["2, about $100, and no order at work for 60 s", words, remedy] {
            assert!(text.contains(part), "{name}: {text:?} holds no {part:?}");
        }
        let row = world.engine.facts().tickers[0].clone();
        assert!(row.overdue, "{name}");
        pass_with(&mut world, 5_000, go_on);
        assert_eq!(alerts(&world, "is not hedged").len(), 1, "{name}: once");
        end(&mut world);
        pass(&mut world, 130_000);
        assert!(green(&world), "{name}: {:?}", world.engine.facts().tickers);
        let over = alerts(&world, "TSLA is hedged again, after ");
        assert_eq!(over.len(), 1, "{name}: {over:?}");
        assert_eq!(world.engine.facts().tickers[0].unhedged_since, None, "{name}");
    }
}

#[test]
fn what_goes_out_at_once_and_dust_are_told_of_by_nobody() {
    let mut world = ready(Terms::by_list());
    deal(&mut world, Side::Buy, 2);
    world.chain.mine(vec![Deal { ticker: 1, side: Side::Sell, atoms: 999_999_999_999_999_999, tx: 7 }]);
    pass(&mut world, 180_000);
    assert!(green(&world));
    assert_eq!(world.alerts, []);
}

#[test]
fn a_closed_session_is_one_line_and_its_time_does_not_count() {
    let mut world = ready(Terms { allow_short: false, ..Terms::by_list() });
    let closes = world.now.plus(45_000);
    world.desk.closes = Some(closes);
    deal(&mut world, Side::Buy, 2);
    world.chain.mine(vec![Deal { ticker: 1, side: Side::Buy, atoms: 3_200_000_000_000_000_000, tx: 8 }]);
    world.chain.mine(vec![Deal { ticker: 2, side: Side::Buy, atoms: 1_000_000_000_000_000, tx: 9 }]);
    pass(&mut world, 600_000);
    assert!(green(&world), "waiting is the job now");
    let told: Vec<String> = world.alerts.iter().map(|(_, text)| text.clone()).collect();
    assert_eq!(told, ["overnight: AAPL 3.2, about $100; TSLA 2, about $100"], "less than a lot is no lot");
    assert!((0..=31_000).contains(&world.alerts[0].0.since(closes)), "at the close");
    // The next morning it has a minute again.
    world.desk.closes = None;
    let mut opened = world.now;
    while !matches!(world.desk.told, Some(Session::Open { .. })) {
        pass(&mut world, 400);
        opened = world.now;
    }
    pass(&mut world, 55_000);
    assert!(green(&world));
    pass(&mut world, 8_000);
    assert!(!green(&world));
    let told = alerts(&world, "2 tickers are not hedged: AAPL 3.2, about $100; TSLA 2, about $100");
    assert_eq!(told.len(), 1, "{:?}", world.alerts);
    assert!(told[0].0.since(opened) >= 59_000, "{}", told[0].0.since(opened));
    // Over the next night too: told again in the morning, and once when it is over.
    world.desk.closes = Some(world.now.plus(20_000));
    pass(&mut world, 100_000);
    assert_eq!(alerts(&world, "overnight: ").len(), 2);
    assert!(green(&world));
    world.desk.closes = None;
    pass(&mut world, 120_000);
    assert_eq!(alerts(&world, "not hedged: ").len(), 2);
    hold(&mut world, 2);
    pass(&mut world, 60_000);
    assert_eq!(alerts(&world, "TSLA is hedged again").len(), 1);
    assert_eq!(alerts(&world, "AAPL is hedged again").len(), 0);
}

#[test]
fn before_the_sweep_has_come_to_the_head_nobody_knows_what_is_open() {
    let mut world = World::on(Terms { allow_short: false, ..Terms::by_list() }, 0, None);
    pass(&mut world, 3_000);
    deal(&mut world, Side::Buy, 2);
    pass(&mut world, 30_000);
    // The node is back after an outage, far above the cursor.
    for tx in 0..80 {
        world.chain.mine(vec![Deal { ticker: 1, side: Side::Buy, atoms: 1, tx: 5_000 + tx }]);
    }
    world.connect();
    for _ in 0..400 {
        world.input(Input::Tick);
        world.now = world.now.plus(400);
    }
    assert!(!world.engine.facts().deciding);
    assert!(green(&world), "`deciding` and the chain's rows are red");
    assert_eq!(alerts(&world, "hedged"), []);
    pass(&mut world, 57_000);
    assert!(green(&world));
    pass(&mut world, 5_000);
    assert_eq!(alerts(&world, "TSLA is not hedged").len(), 1);
}

#[test]
fn what_one_reason_holds_back_at_once_is_one_line() {
    let mut world = ready(Terms::by_list());
    let (reason, who) = ("lunch".to_owned(), "ann".to_owned());
    world.input(Input::Command(Command::Halt { symbol: None, reason, who }, 1));
    let deal = |ticker, tx| Deal { ticker, side: Side::Sell, atoms: 2_000_000_000_000_000_000, tx };
    world.chain.mine(vec![deal(0, 1), deal(1, 2), deal(2, 3)]);
    pass(&mut world, 70_000);
    let told = alerts(&world, "not hedged");
    let words = "3 tickers are not hedged: AAPL -2, about $100; NVDA -2, about $100; TSLA -2, about $100, and no order at \
                 work for 60 s: halted (operator): lunch; to do: type `bot resume --reason …`";
    assert_eq!(told.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), [words]);
}
