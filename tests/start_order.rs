//! The start (`protocol.md` 2 and 5.2): what must be asked and compared before anything is decided.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod world;

use counterfill::broker::{BrokerOrder, OrderStatus};
use counterfill::engine::{Choice, Command, Effect, Input};
use counterfill::hedges::HaltKind;
use counterfill::units::{ONE, Shares, Side};
use world::{Deal, Mood, World, symbol, verdict};

fn sold(shares: i64) -> Deal {
    Deal { ticker: 0, side: Side::Sell, atoms: i128::from(shares) * ONE, tx: 1 }
}

fn order_in_the_book(world: &World, client: &str, tag: Option<&str>) -> BrokerOrder {
    BrokerOrder {
        id: "900".parse().unwrap(),
        client_id: Some(client.into()),
        tag: tag.map(Into::into),
        symbol: symbol(0),
        side: Side::Buy,
        quantity: Shares::whole(1),
        filled: Shares::ZERO,
        executed: Shares::ZERO,
        average_price: None,
        status: OrderStatus::Canceled,
        status_text: "CANCELED".into(),
        entered_at: world.now,
        ordinary: true,
    }
}

fn posts(world: &World) -> u32 {
    world.desk.posts.values().sum()
}

#[test]
fn nothing_is_decided_before_the_sweep_has_reached_the_head_of_the_start() {
    let mut world = World::new(0);
    world.perform(None);
    world.chain.mine(vec![sold(3)]);
    world.chain.mine(vec![]);
    world.restart();
    let block = world.chain.canonical[1].clone();
    world.sweep(1);
    world.push(&block);
    world.perform(None);
    assert!(!world.engine.facts().deciding);
    assert_eq!(posts(&world), 0, "the cursor is one block short of the head");
    world.sweep(64);
    world.perform(None);
    assert!(world.engine.facts().deciding);
    assert_eq!(posts(&world), 1);
    world.settle();
    verdict(&world);
}

#[test]
fn a_new_ledger_over_an_old_book_starts_halted_also_after_a_crash_before_the_comparison() {
    let mut world = World::new(0);
    let mut order = order_in_the_book(&world, "cf-old-000001", Some("ours"));
    // Within seconds of this ledger's birth nobody could tell whose it is, and a person would be asked again.
    order.entered_at = world.now.plus(-60_000);
    world.desk.orders.push(order);
    world.chain.mine(vec![sold(2)]);
    world.sweep(64);
    assert!(world.shelf.last_commit.is_some(), "the ledger was written before the book was read");
    world.restart();
    world.perform(None);
    assert_eq!(posts(&world), 0);
    let halts = world.engine.facts().halts;
    assert!(matches!(&halts[..], [(None, HaltKind::EarlierOrders, _)]), "{halts:?}");
    world.restart();
    world.perform(None);
    assert!(
        !world.shelf.intents.values().any(|intent| intent.adopted),
        "a person decides, not the next start"
    );
    let (reason, who) = ("seen".to_owned(), "ann".to_owned());
    world.input(Input::Command(
        Command::Resume {
            symbol: None,
            kind: HaltKind::EarlierOrders,
            choice: Some(Choice::IgnoreOrders),
            reason,
            who,
        },
        1,
    ));
    world.settle();
    assert_eq!(posts(&world), 1, "the fills of this ledger are hedged, the old orders are nobody's");
    world.restart();
    world.settle();
    assert_eq!(posts(&world), 1);
    assert!(world.engine.facts().halts.is_empty());
}

#[test]
fn a_sent_intent_is_asked_for_before_anything_else_is_sent() {
    let mut world = World::new(0);
    world.perform(None);
    world.chain.mine(vec![sold(1)]);
    world.desk.mood = Some(Mood::AcceptsAndLosesTheAnswer);
    world.sweep(64);
    let place = world.effects.iter().position(|effect| matches!(effect, Effect::Place(_))).unwrap();
    // The process dies after the bytes are out and before the answer is booked.
    world.perform(Some(place + 1));
    assert_eq!((posts(&world), world.starts), (1, 1));
    world.desk.away = true;
    world.chain.mine(vec![Deal { ticker: 1, tx: 99, ..sold(1) }]);
    for _ in 0..5 {
        world.now = world.now.plus(10_000);
        world.input(Input::Tick);
        world.perform(None);
        world.sweep(64);
    }
    assert_eq!(posts(&world), 1, "the broker does not answer, so nothing is known and nothing is sent");
    world.settle();
    assert_eq!(posts(&world), 2);
    verdict(&world);
}

#[test]
fn orders_of_a_restored_ledger_are_adopted_and_not_sent_again() {
    let mut world = World::new(0);
    world.perform(None);
    world.sweep(64);
    world.perform(None);
    world.chain.mine(vec![]);
    world.sweep(64);
    let backup = world.shelf.clone();
    world.chain.mine(vec![sold(3)]);
    world.settle();
    assert_eq!(posts(&world), 1);
    // Put back within the five minutes that the start looks back.
    world.shelf = backup;
    world.restart();
    world.settle();
    assert_eq!(posts(&world), 1, "the order in the book hedges the fills that are read again");
    assert!(world.shelf.intents.values().any(|intent| intent.adopted));
    assert_eq!(world.shelf.executions[&symbol(0)], 3 * ONE);
}

#[test]
fn a_start_looks_again_for_what_it_can_not_know_to_be_swept() {
    let mut world = World::new(0);
    world.settle();
    world.chain.mine(vec![]);
    let mut block = world.chain.head().clone();
    while world.sweep(64) {}
    // A log that the sweep's answer did not hold, pushed for the cursor's block; the process dies before the sweep has
    // looked there again.
    block.deals = vec![sold(3)];
    world.push(&block);
    let late = Some(block.number);
    assert_eq!(world.engine.view().late_from, late);
    world.restart();
    assert_eq!(world.engine.view().late_from, late, "whoever pushed it may have lied");
    // A fill that the sweep has seen is no less looked for, once.
    let mut world = World::new(0);
    world.chain.mine(vec![sold(3)]);
    while world.sweep(64) {}
    assert_eq!(world.engine.view().late_from, None);
    world.restart();
    assert_eq!(world.engine.view().late_from, Some(world.chain.head().number));
    while world.sweep(64) {}
    assert_eq!(world.engine.view().late_from, None);
    world.settle();
    verdict(&world);
}

#[test]
fn a_late_fill_above_a_shorter_branch_is_not_looked_for() {
    let mut world = World::new(0);
    world.chain.mine(vec![]);
    world.chain.mine(vec![]);
    world.chain.mine(vec![sold(3)]);
    while world.sweep(64) {}
    world.restart();
    assert_eq!(world.engine.view().late_from, Some(world.chain.head().number));
    world.chain.unwind(2);
    world.chain.mine(vec![]);
    world.sweep(64);
    let view = world.engine.view();
    assert_eq!(
        (view.cursor, view.late_from),
        (Some(world.chain.head().at()), None),
        "nothing to look back for"
    );
    world.chain.mine(vec![]);
    world.chain.mine(vec![]);
    world.settle();
    verdict(&world);
}
