//! That trials are clean, the same twice, broad enough, and that a broken bot does not get through them.

use super::broker::TrialBroker;
use super::checker::{self, Fault, Given};
use super::coverage::{ALL, Struck};
use super::order::ticker_of;
use super::runner::within_time;
use super::sabotage::{self, Sabotage};
use super::schedule::{self, Act};
use super::shrink::{chosen, shrink};
use super::venue::Venue;
use super::world::{Outcome, live};
use counterfill_broker::Ticket;
use counterfill_core::units::{Shares, Side, Symbol};

/// Within so many seeds a broken bot must be caught, and every fault must have struck.
const SEEDS_MAX: u64 = 2_000;

fn trial(seed: u64) -> Outcome {
    let (terms, steps) = schedule::draw(seed);
    within_time(|| live(terms, steps, false))
}

#[test]
fn the_same_seed_lives_the_same_life_and_loses_nothing() {
    for seed in 0..50 {
        let (first, again) = (trial(seed), trial(seed));
        assert_eq!(first.findings, [], "seed {seed}");
        assert_eq!(first.figure, again.figure, "seed {seed}");
        assert_eq!((first.rest, first.lived_ms), (again.rest, again.lived_ms), "seed {seed}");
    }
}

#[test]
fn every_fault_strikes() {
    let mut struck = Struck::default();
    for seed in 100..SEEDS_MAX {
        let outcome = trial(seed);
        assert_eq!(outcome.findings, [], "seed {seed}");
        struck.add(&outcome.struck);
        if ALL.iter().all(|fault| struck.times(fault) > 0) {
            return;
        }
    }
    let missing: Vec<_> = ALL.iter().filter(|fault| struck.times(fault) == 0).collect();
    panic!("never struck in {SEEDS_MAX} seeds: {missing:?}");
}

/// The first seed that catches it by this name: a bot that is broken may be found out by others first, as one that never
/// comes to rest.
fn caught(by: Sabotage, name: Fault) -> u64 {
    caught_among(by, name, |_| true)
}

/// The same, of the trials that are worth the time.
fn caught_among(by: Sabotage, name: Fault, worth: impl Fn(&Act) -> bool) -> u64 {
    sabotage::set(Some(by));
    for seed in (0..SEEDS_MAX).filter(|seed| schedule::draw(*seed).1.iter().any(|step| worth(&step.act))) {
        if let Some(finding) = trial(seed).findings.first() {
            println!("{by:?} is caught in seed {seed}: {}: {}", finding.fault, finding.what);
            if finding.fault == name {
                return seed;
            }
        }
    }
    panic!("{by:?} was not caught as {name} in {SEEDS_MAX} seeds");
}

#[test]
fn a_bot_that_retries_an_order_call_is_caught() {
    caught(Sabotage::RetryPost, Fault::OrderWithoutIntent);
}

#[test]
fn a_bot_that_forgets_a_partial_fill_is_caught() {
    caught(Sabotage::ForgetPartial, Fault::Doubled);
}

#[test]
fn a_bot_that_drops_reversals_is_caught() {
    caught(Sabotage::DropReversal, Fault::Doubled);
}

#[test]
fn a_bot_that_acts_before_the_commit_is_caught() {
    caught(Sabotage::CountBeforeCommit, Fault::OrderWithoutIntent);
}

#[test]
fn a_bot_that_adopts_the_first_match_is_caught() {
    // Only where a person types an order that is equal to ours is there more than one to take.
    let twins = |act: &Act| matches!(act, Act::ManualOrder { twin: true, .. });
    caught_among(Sabotage::AdoptFirst, Fault::OrderWithoutIntent, twins);
}

#[test]
fn a_bot_that_trusts_empty_answers_is_caught() {
    caught(Sabotage::TrustEmptyLogs, Fault::Lost);
}

#[test]
fn a_bot_for_which_the_market_never_closes_is_caught() {
    caught(Sabotage::IgnoreSession, Fault::OutsideSession);
}

#[test]
fn a_bot_that_keeps_no_limit_is_caught() {
    caught(Sabotage::IgnoreOrderLimit, Fault::BeyondLimit);
    caught(Sabotage::IgnoreMinuteLimit, Fault::BeyondLimit);
}

#[test]
fn a_schedule_that_fails_is_made_as_short_as_it_can_be() {
    let fault = Fault::Doubled;
    let seed = caught(Sabotage::DropReversal, fault);
    let all = schedule::draw(seed).1;
    let fails = |places: &[usize]| {
        let outcome = within_time(|| live(schedule::draw(seed).0, chosen(&all, places), false));
        outcome.findings.first().is_some_and(|finding| finding.fault == fault)
    };
    let (kept, outcome) = within_time(|| shrink(seed, (0..all.len()).collect(), fault));
    assert_eq!(outcome.unwrap().findings.first().map(|finding| finding.fault), Some(fault));
    assert!(kept.len() < all.len() / 2, "{} of {}", kept.len(), all.len());
    assert!(fails(&kept), "{kept:?}");
    for left_out in 0..kept.len() {
        let mut rest = kept.clone();
        rest.remove(left_out);
        assert!(!fails(&rest), "{kept:?} without {}", kept[left_out]);
    }
}

/// A ledger that says something else than the world, and what the judge must call it.
const LIES: [(&str, Fault); 9] = [
    ("DELETE FROM fill_counts WHERE fill = (SELECT max(fill) FROM fill_counts)", Fault::Lost),
    ("UPDATE fills SET side = CASE side WHEN 'BUY' THEN 'SELL' ELSE 'BUY' END", Fault::WrongSide),
    ("UPDATE fills SET shares = '0.5'", Fault::WrongQuantity),
    ("UPDATE fills SET tx_hash = block_hash", Fault::Doubled),
    ("DELETE FROM dead_events", Fault::DeadEventDropped),
    ("UPDATE intents SET order_id = NULL", Fault::OrderWithoutIntent),
    ("UPDATE intents SET symbol = 'NONE'", Fault::WrongSide),
    ("UPDATE executions SET quantity = '7000'", Fault::ExecutionUnbooked),
    ("UPDATE intents SET state = 'Unknown' WHERE intent = 1", Fault::NoRest),
];

#[test]
fn a_ledger_that_lies_is_found_out_by_the_right_name() {
    for (sql, fault) in LIES {
        sabotage::tamper(Some(sql));
        // A trial may have no fill that counts, or no log that nobody can read.
        let found = (0..20).flat_map(|seed| trial(seed).findings).find(|finding| finding.fault == fault);
        assert!(found.is_some(), "{sql} is not called {fault}");
    }
}

/// The tables that the checker looks at when an order leaves: five shares were sold, and an intent to buy them.
const LEAVING: &str = "
    CREATE TABLE halts (halt INTEGER PRIMARY KEY, symbol TEXT, kind TEXT, raised INTEGER);
    CREATE TABLE intents (intent INTEGER PRIMARY KEY, id TEXT, state TEXT, side TEXT, quantity TEXT, order_id TEXT);
    CREATE TABLE intent_transitions (intent INTEGER, to_state TEXT, order_id TEXT);
    CREATE TABLE fills (fill INTEGER PRIMARY KEY, symbol TEXT, side TEXT, shares TEXT);
    CREATE TABLE fill_entries (fill INTEGER, n INTEGER, sign INTEGER);
    CREATE TABLE fill_counts (fill INTEGER, n INTEGER);
    CREATE TABLE executions (order_id TEXT, quantity TEXT);
    INSERT INTO fills VALUES (1, 'TSLA', 'SELL', '5');
    INSERT INTO fill_entries VALUES (1, 0, 1);
    INSERT INTO fill_counts VALUES (1, 0);
    INSERT INTO intents VALUES (1, 'one', 'Sent', 'BUY', '5', NULL);
    INSERT INTO intent_transitions VALUES (1, 'Sent', NULL);";

#[test]
fn an_order_that_may_not_leave_is_stopped_by_the_right_name() {
    let (paper, schwab, alpaca) = (&Venue::PAPER, &Venue::SCHWAB, &Venue::ALPACA);
    let again = "INSERT INTO intent_transitions VALUES (1, 'Sent', NULL)";
    let rows: [(&str, &str, &str, &Venue, Option<Fault>); 14] = [
        ("", "BUY", "5", paper, None),
        ("", "BUY", "3", paper, Some(Fault::OrderWithoutIntent)),
        ("UPDATE intents SET state = 'Planned'", "BUY", "5", paper, Some(Fault::OrderWithoutIntent)),
        ("DELETE FROM intents", "BUY", "5", paper, Some(Fault::OrderWithoutIntent)),
        (
            "INSERT INTO halts VALUES (1, NULL, 'operator', 1)",
            "BUY",
            "5",
            paper,
            Some(Fault::MovedWhileHalted),
        ),
        ("UPDATE intents SET quantity = '4.5'", "BUY", "4.5", paper, Some(Fault::WrongQuantity)),
        ("UPDATE intents SET quantity = '6'", "BUY", "6", paper, Some(Fault::Doubled)),
        ("UPDATE intents SET side = 'SELL'", "SELL", "5", paper, Some(Fault::Doubled)),
        (again, "BUY", "5", schwab, Some(Fault::Repeated)),
        (again, "BUY", "5", paper, None),
        ("UPDATE intents SET quantity = '4.5'", "BUY", "4.5", alpaca, None),
        ("UPDATE intents SET quantity = '0.01'", "BUY", "0.01", alpaca, None),
        ("UPDATE intents SET quantity = '0.009'", "BUY", "0.009", alpaca, Some(Fault::WrongQuantity)),
        (
            "UPDATE intents SET quantity = '0.0100000001'",
            "BUY",
            "0.0100000001",
            alpaca,
            Some(Fault::WrongQuantity),
        ),
    ];
    let terms = schedule::draw(0).0;
    for (sql, side, quantity, venue, fault) in rows {
        let ledger = rusqlite::Connection::open_in_memory().unwrap();
        ledger.execute_batch(LEAVING).unwrap();
        ledger.execute_batch(sql).unwrap();
        let atoms = quantity.parse::<Shares>().unwrap().atoms();
        let given =
            Given { intent: "one".into(), ticker: ticker_of(&tsla()).unwrap(), buy: side == "BUY", atoms };
        let broker = TrialBroker::new(&terms);
        let found = checker::may_leave(&ledger, &given, &broker.book(), venue).unwrap();
        assert_eq!(found.map(|finding| finding.fault), fault, "{sql} {side} {quantity}");
    }
}

#[test]
fn no_order_may_leave_beside_another_that_is_on_its_way() {
    let ledger = rusqlite::Connection::open_in_memory().unwrap();
    ledger.execute_batch(LEAVING).unwrap();
    let broker = TrialBroker::new(&schedule::draw(0).0);
    let (intent, symbol) = ("two".parse().unwrap(), tsla());
    let other =
        Ticket { intent, symbol, side: Side::Buy, quantity: Shares::whole(1), reference: None, short: false };
    broker.book().arrives_later(0, other);
    let atoms = Shares::whole(5).atoms();
    let given = Given { intent: "one".into(), ticker: ticker_of(&tsla()).unwrap(), buy: true, atoms };
    let found = checker::may_leave(&ledger, &given, &broker.book(), &Venue::PAPER).unwrap();
    assert_eq!(found.map(|finding| finding.fault), Some(Fault::TwoLiveIntents));
}

fn tsla() -> Symbol {
    "TSLA".parse().unwrap()
}
