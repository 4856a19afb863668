//! Ways in which this bot would have lost money, each walked once. Every test here was red before its defect was
//! mended; the worlds of `conservation.rs` walk the same ground at random.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod world;

use counterfill::engine::{Command, Effect, Input};
use counterfill::hedges::{HaltKind, IntentState};
use counterfill::units::{Shares, Side};
use world::{Deal, Mood, World, symbol, verdict};

/// The owner's order sold `whole` shares in one new block, and the sweep saw it.
fn sold(world: &mut World, ticker: usize, whole: i64) {
    let tx = 1_000 + u64::try_from(world.chain.ever.len()).unwrap();
    world.chain.mine(vec![Deal { ticker, side: Side::Sell, atoms: Shares::whole(whole).atoms(), tx }]);
    world.sweep(64);
}

/// Started, compared with the broker's book, at the head.
fn ready() -> World {
    let mut world = World::new(0);
    world.settle();
    assert!(world.engine.facts().deciding);
    world
}

fn lift(world: &mut World, ticker: Option<usize>, kind: HaltKind) -> Result<String, String> {
    let (reason, who) = ("tested".to_owned(), "operator".to_owned());
    let command = Command::Resume { symbol: ticker.map(symbol), kind, reason, who };
    world.input(Input::Command(command, 7));
    let reply = world.effects.iter().find_map(|effect| match effect {
        Effect::Reply(7, answer) => Some(answer.clone()),
        _ => None,
    });
    world.effects.retain(|effect| !matches!(effect, Effect::Reply(..)));
    reply.unwrap()
}

#[test]
fn a_restored_ledger_that_is_written_before_it_was_compared_still_knows_how_old_it_is() {
    let mut world = ready();
    world.backups.push(world.shelf.clone());
    sold(&mut world, 0, 5);
    world.settle();
    assert_eq!(world.desk.executed(&symbol(0)), Shares::whole(5).atoms());
    // The ledger is put back. The chain is swept again, but the broker is away, and a person restarts the bot later.
    world.desk.away = true;
    world.restore(0);
    world.perform(None);
    while world.sweep(64) {}
    world.perform(None);
    world.now = world.now.plus(3_600_000);
    world.operate_alone();
    world.settle();
    verdict(&world);
    assert_eq!(world.desk.executed(&symbol(0)), Shares::whole(5).atoms(), "hedged once");
}

#[test]
fn an_unclear_order_does_not_keep_a_halt_from_being_lifted_for_ever() {
    for ticker in [None, Some(0)] {
        let mut world = ready();
        sold(&mut world, 0, 2);
        world.desk.mood = Some(Mood::LosesTheRequest);
        world.perform(None);
        let (reason, who) = ("an outage".to_owned(), "operator".to_owned());
        world.input(Input::Command(Command::Halt { symbol: ticker.map(symbol), reason, who }, 1));
        world.settle();
        assert_eq!(world.desk.executed(&symbol(0)), 0, "nothing leaves while it is halted");
        lift(&mut world, ticker, HaltKind::Operator).unwrap();
        world.settle();
        verdict(&world);
    }
}

#[test]
fn an_order_sent_by_a_later_ledger_under_a_planned_name_is_adopted() {
    let mut world = ready();
    sold(&mut world, 0, 2);
    sold(&mut world, 1, 5);
    // One is on its way, the other planned; then the ledger is copied, and the planned one leaves and trades.
    assert!(world.shelf.intents.values().any(|intent| intent.state == IntentState::Planned));
    world.backups.push(world.shelf.clone());
    world.settle();
    world.restore(0);
    // What is wanted now is less than what was sent under that name.
    world.chain.unwind(1);
    world.chain.mine(vec![]);
    world.chain.mine(vec![]);
    world.settle();
    assert_eq!(
        lift(&mut world, Some(1), HaltKind::Stuck),
        Err("AAPL has no `stuck` halt; `bot status` lists halts".into())
    );
    verdict(&world);
}

#[test]
fn an_order_that_came_into_being_though_it_was_refused_is_not_passed_over() {
    let mut world = ready();
    sold(&mut world, 0, 2);
    world.desk.mood = Some(Mood::RefusesAndAccepts);
    world.perform(None);
    // Before the next attempt a person stops the ticker.
    let (reason, who) = ("odd".to_owned(), "operator".to_owned());
    world.input(Input::Command(Command::Halt { symbol: Some(symbol(0)), reason, who }, 1));
    for _ in 0..20 {
        world.now = world.now.plus(10_000);
        world.input(Input::Tick);
        world.perform(None);
        world.desk.trade(world.now);
    }
    let halts: Vec<_> =
        world.engine.facts().halts.into_iter().map(|(symbol, kind, _)| (symbol, kind)).collect();
    assert_eq!(halts, [(Some(symbol(0)), HaltKind::Operator), (Some(symbol(0)), HaltKind::Stuck)]);
    let executed = world.desk.executed(&symbol(0));
    assert_eq!(world.shelf.executions.get(&symbol(0)).copied(), Some(executed), "what it traded is booked");
}
