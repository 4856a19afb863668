//! Ways in which this bot would have lost money, each walked once. Every test here was red before its defect was
//! mended; the worlds of `conservation.rs` walk the same ground at random.

use crate::world;

use alloy::primitives::{Address, B256};
use counterfill::broker::OrderStatus;
use counterfill::chain::Push;
use counterfill::engine::{Command, Effect, Engine, Input};
use counterfill::fills::{Event, Fill, SkipReason, Skipped};
use counterfill::hedges::{HaltKind, IntentState};
use counterfill::ledger::{FillState, PassedOver};
use counterfill::units::{FillId, ONE, Shares, Side};
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
    let command = Command::Resume { symbol: ticker.map(symbol), kind, choice: None, reason, who };
    world.input(Input::Command(command, 7));
    reply(world)
}

fn reply(world: &mut World) -> Result<String, String> {
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
        Err("no `stuck` halt of AAPL is in force (in force: none); `bot status` lists halts".into())
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
    let halts: Vec<_> = world.engine.facts().halts.into_iter().map(|halt| (halt.symbol, halt.kind)).collect();
    assert_eq!(halts, [(Some(symbol(0)), HaltKind::Operator), (Some(symbol(0)), HaltKind::Stuck)]);
    let executed = world.desk.executed(&symbol(0));
    assert_eq!(world.shelf.executions.get(&symbol(0)).copied(), Some(executed), "what it traded is booked");
}

#[test]
fn an_order_called_filled_before_its_quantity_is_there_is_not_over() {
    let mut world = ready();
    sold(&mut world, 0, 3);
    world.perform(None);
    // The broker's status is ahead of its figures.
    world.desk.orders[0].status = OrderStatus::Filled;
    for _ in 0..20 {
        world.now = world.now.plus(1_000);
        world.input(Input::Tick);
        world.perform(None);
    }
    assert_eq!(world.desk.orders.len(), 1, "no second order while the first may have traded");
    world.desk.orders[0].executed = Shares::whole(3);
    world.desk.orders[0].filled = Shares::whole(3);
    world.settle();
    verdict(&world);
}

#[test]
fn a_scarce_limit_is_shared_by_all_tickers() {
    let mut world = ready();
    let mut scarce = world::policy(0, 7);
    scarce.limits.max_orders_per_minute = 1;
    world.engine = Engine::new(scarce, world.shelf.load());
    world.connect();
    for _ in 0..30 {
        for ticker in 0..3 {
            sold(&mut world, ticker, 1);
        }
        world.now = world.now.plus(20_000);
        world.input(Input::Tick);
        for _ in 0..6 {
            world.perform(None);
            (0..20).for_each(|_| world.desk.trade(world.now));
            world.now = world.now.plus(100);
            world.input(Input::Tick);
        }
    }
    for ticker in 0..3 {
        let orders = world.desk.orders.iter().filter(|order| order.symbol == symbol(ticker)).count();
        assert!(orders >= 2, "{}: {orders} of {}", symbol(ticker), world.desk.orders.len());
    }
}

#[test]
fn orders_that_never_were_use_up_no_day() {
    let mut world = ready();
    let mut scarce = world::policy(0, 7);
    scarce.limits.max_orders_per_day = 3;
    world.engine = Engine::new(scarce, world.shelf.load());
    world.connect();
    sold(&mut world, 0, 2);
    for _ in 0..12 {
        world.desk.mood = Some(Mood::NeverReached);
        world.now = world.now.plus(10_000);
        world.input(Input::Tick);
        world.perform(None);
    }
    assert!(world.desk.posts.len() > 3, "more attempts than orders a day: {}", world.desk.posts.len());
    world.settle();
    verdict(&world);
}

#[test]
fn a_ledger_older_than_any_list_of_the_broker_stays_halted() {
    let mut world = ready();
    world.now = world.now.plus(60 * 86_400_000);
    world.restart();
    world.settle();
    let halts: Vec<_> = world.engine.facts().halts.into_iter().map(|halt| (halt.symbol, halt.kind)).collect();
    assert_eq!(halts, [(None, HaltKind::ForeignOrder)]);
    sold(&mut world, 0, 2);
    world.settle();
    assert!(world.desk.orders.is_empty());
    lift(&mut world, None, HaltKind::ForeignOrder).unwrap();
    world.settle();
    verdict(&world);
}

#[test]
fn a_replayed_fill_of_a_block_that_the_window_has_otherwise_is_not_counted() {
    let mut world = ready();
    sold(&mut world, 0, 2);
    let orphan = world.chain.unwind(1).remove(0);
    world.chain.mine(vec![]);
    world.chain.mine(vec![]);
    // The sweep has seen both forks; the replay's own connection was to a node on the old one.
    world.sweep(64);
    sold(&mut world, 1, 1);
    let mut late = orphan.clone();
    late.deals[0].tx += 7_000;
    let events = late.fills().into_iter().map(Event::Fill).collect();
    let push = Push { events, ..Push::default() };
    world.input(Input::Replay { push, known: vec![], reply: 9 });
    let told = world.effects.iter().any(|effect| matches!(effect, Effect::Reply(9, Err(_))));
    assert!(told, "{:?}", world.effects);
    world.settle();
    verdict(&world);
}

#[test]
fn a_transaction_that_stands_elsewhere_is_not_replayed_into_another_block() {
    let mut world = ready();
    sold(&mut world, 0, 2);
    world.settle();
    let fill = world.chain.head().fills()[0].clone();
    // So far below the head that the window knows nothing of those heights any more.
    for _ in 0..200 {
        world.chain.mine(vec![]);
    }
    world.settle();
    let elsewhere = FillId { block_hash: B256::repeat_byte(0x77), ..fill.id };
    let moved = Fill { id: elsewhere, block_number: fill.block_number - 1, ..fill.clone() };
    let push = Push { events: vec![Event::Fill(moved)], ..Push::default() };
    let known = vec![FillState { fill, n: 0, standing: true, counted: true }];
    world.input(Input::Replay { push, known, reply: 7 });
    let refused = reply(&mut world).unwrap_err();
    assert!(refused.contains("in another block than the node says now"), "{refused}");
    world.settle();
    assert_eq!(world.desk.executed(&symbol(0)), Shares::whole(2).atoms(), "hedged once");
}

#[test]
fn a_stuck_order_told_of_under_another_id_stays_stuck_and_stops_nothing() {
    let mut world = ready();
    sold(&mut world, 0, 2);
    world.perform(None);
    world.perform(None);
    let (intent, id) = {
        let intent = world.shelf.intents.values().find(|intent| intent.order_id.is_some()).unwrap();
        (intent.id.clone(), intent.order_id.clone().unwrap())
    };
    let mut other = world.desk.orders[0].clone();
    other.id = "9999".parse().unwrap();
    for _ in 0..2 {
        let answer = Ok(Some(other.clone()));
        world.input(Input::Order { intent: intent.clone(), id: id.clone(), answer });
        assert_eq!(world.stop, None);
    }
    assert_eq!(world.shelf.intents[intent.as_str()].state, IntentState::Stuck);
}

#[test]
fn an_order_that_ended_under_a_wrong_clock_is_not_a_strangers_once_the_clock_is_right() {
    let mut world = ready();
    sold(&mut world, 0, 1);
    world.perform(None);
    // Entered by the right clock, ended by one that is half a day behind.
    let day = 86_400_000;
    world.now = world.now.plus(-day / 2);
    world.settle();
    assert_eq!(world.desk.executed(&symbol(0)), Shares::whole(1).atoms());
    world.now = world.now.plus(day + day / 24);
    world.settle();
    verdict(&world);
}

#[test]
fn a_bot_that_rested_over_the_weekend_knows_its_last_order() {
    let mut world = ready();
    sold(&mut world, 0, 1);
    world.perform(None);
    world.desk.trade(world.now);
    for _ in 0..20 {
        world.input(Input::Tick);
        world.perform(None);
    }
    assert_eq!(world.desk.executed(&symbol(0)), Shares::whole(1).atoms());
    // Stopped within minutes of an order that ended, started again two days later: the list at start shows it.
    world.now = world.now.plus(2 * 86_400_000);
    world.restart();
    world.input(Input::Tick);
    world.settle();
    assert!(!world.shelf.intents.values().any(|intent| intent.adopted), "it is our own");
    verdict(&world);
}

/// A sale of five shares that was passed over while its ticker was not listed.
const PASSED_OVER: Deal = Deal { ticker: 0, side: Side::Sell, atoms: 5 * ONE, tx: 77 };

/// It is listed now; the trade.
fn listed_later(ignored: bool) -> (World, Fill) {
    let mut world = World::new(0);
    world.chain.mine(vec![PASSED_OVER]);
    let before = world.chain.canonical[1].fills()[0].clone();
    let trade = Skipped {
        id: before.id,
        block_number: before.block_number,
        orderbook: before.orderbook,
        owner: before.owner,
        input_token: Address::repeat_byte(0xc0),
        output_token: Address::repeat_byte(0xc1),
        symbol: Some(symbol(0)),
        shares: before.shares,
        reason: SkipReason::OtherShard,
    };
    world.shelf.passed_over = vec![PassedOver { trade, symbol: symbol(0), ignored }];
    world.restart();
    world.settle();
    (world, before)
}

#[test]
fn a_replay_counts_no_trade_that_a_person_ignored_or_has_yet_to_answer() {
    for ignored in [true, false] {
        let (mut world, trade) = listed_later(ignored);
        let push = Push { events: vec![Event::Fill(trade)], ..Push::default() };
        world.input(Input::Replay { push, known: vec![], reply: 7 });
        let told = reply(&mut world).unwrap();
        assert!(told.contains("0 added") && told.contains("--count-skipped`: 1"), "{told}");
        world.resume_all();
        world.settle();
        assert_eq!(world.desk.posts.len(), 0, "ignored before: {ignored}");
    }
}

#[test]
fn a_trade_that_a_fork_moves_while_it_is_counted_counts_where_it_stands() {
    let (mut world, before) = listed_later(false);
    let deal = PASSED_OVER;
    let kinds =
        |world: &World| world.engine.facts().halts.into_iter().map(|halt| halt.kind).collect::<Vec<_>>();
    assert_eq!((kinds(&world), world.desk.posts.len()), (vec![HaltKind::Skipped], 0));
    // While the chain is read for it, it moves.
    world.chain.unwind(1);
    world.chain.mine(vec![]);
    world.chain.mine(vec![deal]);
    world.settle();
    let after = world.chain.canonical[2].fills()[0].clone();
    let count = |world: &mut World, asked: &[&Fill], found: Option<&Fill>| {
        let command = Command::CountSkipped {
            symbol: symbol(0),
            asked: asked.iter().map(|fill| fill.id).collect(),
            push: Push { events: found.cloned().map(Event::Fill).into_iter().collect(), ..Push::default() },
            known: vec![],
            reason: "tested".into(),
            who: "operator".into(),
        };
        world.input(Input::Command(command, 7));
        reply(world)
    };
    // Where it was it is no more, and where it is now it was not asked for.
    for found in [None, Some(&before), Some(&after)] {
        let refused = count(&mut world, &[&before], found).unwrap_err();
        assert!(refused.contains("the chain moved meanwhile; nothing has changed"), "{refused}");
    }
    world.settle();
    assert_eq!((kinds(&world), world.desk.posts.len()), (vec![HaltKind::Skipped], 0));
    count(&mut world, &[&before, &after], Some(&after)).unwrap();
    world.settle();
    assert_eq!(kinds(&world), []);
    assert_eq!(world.desk.executed(&symbol(0)), Shares::whole(5).atoms(), "hedged once");
}
