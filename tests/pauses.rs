//! What waits, and for how long: after an order call that never left, after an order that ended early, and what is told
//! only once (`protocol.md` 3.3, 3.7, 1.9).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod world;

use alloy::primitives::{Address, B256, Bytes};
use counterfill::engine::{Effect, Input};
use counterfill::fills::{DeadEvent, Event};
use counterfill::units::{ONE, Side};
use world::{CHAIN_ID, Deal, Mood, World, verdict};

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
