//! What waits, and for how long: after an order call that never left, after an order that ended early, and what is told
//! only once (`protocol.md` 3.3, 3.7, 1.9).

use crate::world;

use alloy::primitives::{Address, B256, Bytes};
use counterfill::broker::{Placed, Quote, ReadError};
use counterfill::engine::{Effect, Input};
use counterfill::fills::{DeadEvent, Event};
use counterfill::units::{ONE, Side};
use world::{CHAIN_ID, Deal, Mood, Terms, World, symbol, verdict};

fn sold(shares: i128, tx: u64) -> Deal {
    Deal { ticker: 0, side: Side::Sell, atoms: shares * ONE, tx }
}

/// A bot that decides, on a chain of its own.
fn ready() -> World {
    let mut world = World::new(0);
    for _ in 0..3 {
        world.perform(None);
        world.sweep(64);
    }
    assert!(world.engine.facts().deciding);
    world
}

fn posts(world: &World) -> u32 {
    world.desk.posts.values().sum()
}

/// Lets `ms` pass in steps of a second, with every question answered.
fn pass(world: &mut World, ms: i64) {
    let end = world.now.plus(ms);
    while world.now < end {
        world.input(Input::Tick);
        world.perform(None);
        world.now = world.now.plus(900);
    }
}

#[test]
fn order_calls_that_never_leave_are_tried_at_growing_pauses_though_reads_work() {
    let mut world = ready();
    world.chain.mine(vec![sold(2, 1)]);
    world.desk.mood = Some(Mood::NeverReached);
    world.sweep(64);
    world.perform(None);
    assert_eq!(posts(&world), 1);
    pass(&mut world, 3_000);
    assert_eq!(posts(&world), 1, "five seconds are not over");
    world.desk.mood = Some(Mood::NeverReached);
    pass(&mut world, 4_000);
    assert_eq!(posts(&world), 2);
    pass(&mut world, 7_000);
    assert_eq!(posts(&world), 2, "now it is ten");
    pass(&mut world, 5_000);
    assert_eq!(posts(&world), 3);
    world.settle();
    verdict(&world);
}

#[test]
fn after_an_order_that_was_canceled_halfway_the_rest_waits_five_seconds() {
    let mut world = ready();
    world.chain.mine(vec![sold(4, 1)]);
    world.desk.mood = Some(Mood::CancelsHalfway);
    world.sweep(64);
    pass(&mut world, 3_000);
    assert_eq!((posts(&world), world.engine.facts().tickers[0].live.is_none()), (1, true));
    let waiting = world.engine.facts().tickers[0].waiting.clone().unwrap();
    assert!(waiting.contains("ended early"), "{waiting}");
    pass(&mut world, 4_000);
    assert_eq!(posts(&world), 2);
    world.settle();
    verdict(&world);
}

#[test]
fn an_order_that_was_forgotten_is_not_a_strangers_when_the_clock_goes_back() {
    let mut world = ready();
    world.chain.mine(vec![sold(1, 1)]);
    world.sweep(64);
    world.settle();
    assert_eq!(posts(&world), 1);
    // 34 hours on: the ended intent is forgotten. Then the clock is set back, and the day's list shows its order again.
    for (hours, lists) in [(34, 1), (-12, 4)] {
        world.now = world.now.plus(hours * 3_600_000);
        for _ in 0..lists {
            pass(&mut world, 2_000);
            world.now = world.now.plus(61_000);
        }
    }
    assert!(world.engine.facts().halts.is_empty(), "{:?}", world.engine.facts().halts);
    assert!(!world.shelf.intents.values().any(|intent| intent.adopted));
    // The same after a restart, which remembers a day before the ledger's last write.
    world.restart();
    world.now = world.now.plus(-6 * 3_600_000);
    for _ in 0..4 {
        pass(&mut world, 2_000);
        world.now = world.now.plus(61_000);
    }
    assert!(!world.shelf.intents.values().any(|intent| intent.adopted));
    verdict(&world);
}

#[test]
fn a_log_that_is_read_again_after_a_fork_is_told_once() {
    let mut world = ready();
    world.chain.mine(vec![]);
    let block = world.chain.head().clone();
    let dead = Event::Dead(DeadEvent {
        chain_id: CHAIN_ID,
        block_number: block.number,
        block_hash: block.hash,
        tx_hash: B256::repeat_byte(5),
        log_index: 0,
        address: Address::repeat_byte(0xb0),
        topics: vec![B256::repeat_byte(6)],
        data: Bytes::new(),
        reason: "no sense".into(),
    });
    let mut told = 0;
    for _ in 0..2 {
        let mut sweep = world.chain.sweep(&world.engine.view(), 64).unwrap();
        sweep.events.push(dead.clone());
        world.input(Input::Sweep(sweep));
        let alerts = |effect: &&Effect| matches!(effect, Effect::Alert(text) if text.contains("no sense"));
        told += world.effects.iter().filter(alerts).count();
        world.effects.clear();
        // Away, and back again.
        let gone = world.chain.unwind(1);
        world.chain.mine(vec![]);
        world.sweep(64);
        world.chain.unwind(1);
        world.chain.put_back(gone);
    }
    assert_eq!((told, world.engine.facts().dead_total), (1, 1));
}

#[test]
fn an_order_that_is_not_visible_yet_when_the_clock_jumps_is_not_given_up() {
    let mut world = ready();
    world.chain.mine(vec![sold(2, 1)]);
    world.sweep(64);
    world.desk.hidden_reads = 4;
    let place = |effect: &Effect| matches!(effect, Effect::Place(_));
    assert!(world.effects.iter().any(place));
    world.perform(None);
    world.now = world.now.plus(90_000);
    for _ in 0..6 {
        world.input(Input::Tick);
        world.perform(None);
        world.now = world.now.plus(200);
    }
    assert!(world.engine.facts().halts.is_empty(), "{:?}", world.engine.facts().halts);
    world.settle();
    verdict(&world);
}

/// Lets `ms` pass, and gives that time's alerts of whether the broker takes orders.
fn alerts(world: &mut World, ms: i64) -> Vec<String> {
    let before = world.alerts.len();
    pass(world, ms);
    let told = world.alerts[before..].iter().map(|(_, text)| text.clone());
    told.filter(|text| text.contains("the broker takes")).collect()
}

fn refused(words: &str) -> Placed {
    Placed::Refused { reason: words.to_owned(), gate_ms: None }
}

fn of_ticker(ticker: usize, tx: u64) -> Deal {
    Deal { ticker, side: Side::Sell, atoms: 2 * ONE, tx }
}

fn gate(world: &World) -> String {
    world.engine.facts().gate.unwrap_or_default()
}

/// The same refusal of two tickers, or one that is known to be the account's, is nobody's fault here: nothing is halted,
/// one order a minute tries, a person is told once, and all of it goes on by itself.
#[test]
fn a_refusal_of_the_account_halts_no_ticker_and_is_tried_again() {
    for by_list in [false, true] {
        for (said, first) in [(refused("not now"), 2), (Placed::Barred("not now".into()), 1)] {
            let terms = Terms { by_list, ..Terms::default() };
            let mut world = World::on(terms, 0, None);
            for _ in 0..3 {
                world.perform(None);
                world.sweep(64);
            }
            world.desk.refusals = vec![(None, said.clone())];
            world.chain.mine((0..3).map(|n| of_ticker(n, n as u64 + 1)).collect());
            world.sweep(64);
            let told = alerts(&mut world, 5_000);
            assert_eq!(posts(&world), first, "{said:?}");
            assert!(gate(&world).contains("not now") && told.len() == 1, "{told:?}");
            let told = alerts(&mut world, 600_000);
            assert_eq!((told, world.engine.facts().halts), (vec![], vec![]), "{said:?}");
            let tried = posts(&world);
            assert!((8..=14).contains(&tried), "{tried} orders in ten minutes");
            assert!(gate(&world).contains("not now"), "it is not ready between two attempts either");
            world.desk.refusals.clear();
            let told = alerts(&mut world, 90_000);
            assert!(told.len() == 1 && told[0].contains("again"), "{told:?}");
            assert_eq!(gate(&world), "");
            world.settle();
            verdict(&world);
        }
    }
}

/// While others are taken it is the ticker's own, whatever the client makes of it, and a person looks after five.
#[test]
fn a_ticker_that_alone_is_refused_is_halted_after_all() {
    for said in [refused("not for this account"), Placed::Barred("not for this account".into())] {
        let mut world = ready();
        world.desk.refusals = vec![(Some(symbol(0)), said.clone())];
        for tx in 1..40 {
            world.chain.mine(vec![of_ticker(0, 2 * tx), of_ticker(1, 2 * tx + 1)]);
            world.sweep(64);
            for _ in 0..5 {
                pass(&mut world, 4_000);
                world.desk.trade(world.now);
            }
        }
        let facts = world.engine.facts();
        assert_eq!(facts.halts.len(), 1, "{said:?}: {:?}", facts.halts);
        assert_eq!(facts.halts[0].symbol, Some(symbol(0)));
        assert_eq!(gate(&world), "");
        assert!(world.desk.committed(&symbol(1)) != 0);
        // Another ticker that is refused in the same words shows that it was the account's.
        world.desk.refusals = vec![(None, said.clone())];
        world.chain.mine(vec![of_ticker(1, 1_000), of_ticker(2, 1_001)]);
        world.sweep(64);
        for _ in 0..30 {
            pass(&mut world, 4_000);
            world.desk.trade(world.now);
        }
        assert_eq!(world.engine.facts().halts.len(), 1);
        assert!(gate(&world).contains("not for this account"));
    }
}

/// Where the broker keeps no name of ours, its list is read before the next order leaves.
#[test]
fn after_a_refusal_of_the_account_the_list_is_read_where_there_are_no_names() {
    let mut world = World::on(Terms::by_list(), 0, None);
    for _ in 0..3 {
        world.perform(None);
        world.sweep(64);
    }
    world.desk.refusals = vec![(None, Placed::Barred("404 no such route".into()))];
    world.chain.mine(vec![of_ticker(0, 1)]);
    world.sweep(64);
    world.perform(None);
    assert_eq!(posts(&world), 1);
    world.desk.refusals.clear();
    // The reads hang, longer than any pause: nothing leaves.
    for _ in 0..200 {
        world.now = world.now.plus(1_000);
        world.input(Input::Tick);
    }
    assert_eq!(posts(&world), 1);
    assert!(gate(&world).contains("list"), "{}", gate(&world));
    world.settle();
    verdict(&world);
}

/// Why a read failed is shown as long as it fails, for each kind of read.
#[test]
fn the_reason_of_a_failed_read_is_kept_and_shown() {
    let mut world = World::on(Terms { quotes: true, by_list: true, ..Terms::default() }, 0, None);
    let fails = |what: &str| ReadError(format!("HTTP 502: {what}"));
    let begun_at = world.now;
    world.input(Input::List { begun_at, answer: Err(fails("list")) });
    let waiting = world.engine.facts().waiting.join("; ");
    assert!(waiting.contains("compared") && waiting.contains("HTTP 502: list"), "{waiting}");
    for _ in 0..3 {
        world.perform(None);
        world.sweep(64);
    }
    assert!(world.engine.facts().deciding);
    world.chain.mine(vec![of_ticker(0, 1)]);
    world.sweep(64);
    let ticker = |world: &World| world.engine.facts().tickers[0].waiting.clone().unwrap_or_default();
    world.input(Input::Quotes { begun_at, answer: Err(fails("quotes")) });
    assert!(ticker(&world).contains("HTTP 502: quotes"), "{}", ticker(&world));
    let quote = Quote::missing(symbol(0), world.now, "HTTP 400: invalid symbol".into());
    world.input(Input::Quotes { begun_at: world.now, answer: Ok(vec![quote]) });
    assert!(ticker(&world).contains("HTTP 400: invalid symbol"), "{}", ticker(&world));
    world.now = world.now.plus(60_000);
    world.input(Input::Session(Ok(counterfill::broker::Session::Open { until: None })));
    let elsewhere = world.now;
    world.input(Input::Quotes { begun_at: elsewhere, answer: Ok(vec![]) });
    world.input(Input::Positions { begun_at, answer: Err(fails("positions")) });
    assert!(gate(&world).contains("HTTP 502: positions"), "{}", gate(&world));
    world.input(Input::Quotes { begun_at: world.now, answer: Ok(vec![]) });
    world.input(Input::Session(Ok(counterfill::broker::Session::Open { until: None })));
    assert!(ticker(&world).contains("HTTP 502: positions"), "{}", ticker(&world));
    world.input(Input::Session(Err(fails("clock"))));
    assert!(gate(&world).contains("HTTP 502"), "{}", gate(&world));
}
