//! The start (`protocol.md` 2 and 5.2): what must be asked and compared before anything is decided.

use crate::world;

use alloy::primitives::{Address, B256};
use counterfill::broker::{BrokerOrder, OrderStatus};
use counterfill::chain::{Push, Sweep};
use counterfill::engine::{Choice, Command, Effect, Input};
use counterfill::fills::{Event, PendingFill};
use counterfill::hedges::{Halt, HaltKind};
use counterfill::units::{ONE, Shares, Side};
use world::{Block, Deal, Mood, World, symbol, verdict};

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
    assert!(matches!(&halts[..], [Halt { symbol: None, kind: HaltKind::EarlierOrders, .. }]), "{halts:?}");
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

#[test]
fn a_pushed_log_holds_the_cursor_until_it_is_settled_and_outlives_a_restart() {
    let mut world = World::new(0);
    world.settle();
    world.chain.mine(vec![sold(3)]);
    let block = world.chain.head().clone();
    world.push_evidence(&block);
    let before = world.engine.view().cursor;
    let pushed = world.engine.view().evidence;
    assert_eq!(pushed.len(), 1);
    // Answers that leave it out, as under a full bloom: such a sweep is not taken.
    let silent = |world: &World| {
        let sweep = world.chain.sweep(&world.engine.view(), 64).unwrap();
        Input::Sweep(Sweep { events: vec![], settled: vec![], ..sweep })
    };
    let sweep = silent(&world);
    world.input(sweep);
    assert_eq!(world.engine.view().cursor, before, "the cursor passed what was pushed");
    world.restart();
    assert_eq!(world.engine.view().evidence, pushed, "a restart forgets nothing");
    let sweep = silent(&world);
    world.input(sweep);
    assert_eq!(world.engine.view().cursor, before);
    world.settle();
    assert_eq!((world.engine.view().evidence.len(), posts(&world)), (0, 1));
    verdict(&world);
}

#[test]
fn a_log_pushed_after_its_block_was_read_is_looked_back_for() {
    let mut world = World::new(0);
    world.settle();
    world.chain.mine(vec![]);
    let mut block = world.chain.head().clone();
    while world.sweep(64) {}
    // The answers did not hold it: the cursor is there already.
    block.deals = vec![sold(3)];
    world.push_evidence(&block);
    assert_eq!(world.engine.view().late_from, Some(block.number));
    world.restart();
    assert_eq!(world.engine.view().late_from, Some(block.number));
    while world.sweep(64) {}
    assert_eq!((world.engine.view().late_from, world.engine.view().evidence.len()), (None, 0));
    // What the sweep has told of is not looked for again, whoever pushes it, and how often.
    world.chain.mine(vec![sold(3)]);
    while world.sweep(64) {}
    let block = world.chain.head().clone();
    world.push_evidence(&block);
    assert_eq!((world.engine.view().late_from, world.engine.view().evidence.len()), (None, 0));
    world.settle();
    verdict(&world);
}

#[test]
fn a_pushed_log_of_a_block_that_is_nowhere_is_looked_for_once() {
    let mut world = World::new(0);
    world.settle();
    let evidence = |world: &World| world.shelf.pushed.len();
    world.chain.mine(vec![]);
    world.settle();
    let mut block = world.chain.head().clone();
    block.deals = vec![sold(3)];
    // Far above any head, and below all that a sweep comes by.
    for number in [block.number + 10_000, 0] {
        world.push_evidence(&Block { number, ..block.clone() });
        assert_eq!(evidence(&world), 0);
    }
    // Another block at a height that was read: it may be a new branch's. The sweep looks, and once is enough.
    block.hash = B256::repeat_byte(0x66);
    world.push_evidence(&block);
    assert_eq!((evidence(&world), world.engine.view().late_from), (1, Some(block.number)));
    while world.sweep(64) {}
    assert_eq!((evidence(&world), world.engine.view().late_from), (0, None));
    world.push_evidence(&block);
    assert_eq!(evidence(&world), 0);
    // One above the cursor waits for its height, and goes with it.
    let mut ahead = world.chain.head().clone();
    ahead.deals = vec![sold(3)];
    (ahead.number, ahead.hash) = (ahead.number + 1, B256::repeat_byte(0x67));
    world.push_evidence(&ahead);
    assert_eq!(evidence(&world), 1);
    world.chain.mine(vec![]);
    world.settle();
    assert_eq!((evidence(&world), posts(&world)), (0, 0));
}

#[test]
fn a_branch_that_comes_back_is_evidence_again() {
    let mut world = World::new(0);
    world.settle();
    world.chain.mine(vec![sold(3)]);
    let block = world.chain.head().clone();
    world.push_evidence(&block);
    while world.sweep(64) {}
    let gone = world.chain.unwind(1);
    world.chain.mine(vec![]);
    while world.sweep(64) {}
    // The first branch is back and pushed, as evidence and as a fill; the sweep has not seen that it is.
    world.chain.unwind(1);
    world.chain.put_back(gone);
    for as_fill in [false, true] {
        if as_fill {
            world.push(&block)
        } else {
            world.push_evidence(&block)
        }
        assert_eq!(world.engine.view().evidence.len(), 1, "as a fill {as_fill}");
    }
    assert_eq!(world.engine.view().late_from, Some(block.number));
    world.settle();
    assert_eq!(world.engine.view().evidence.len(), 0);
    verdict(&world);
}

/// A sweep in which the node could not tell the amounts of one ticker's fills.
fn stateless(world: &World, ticker: usize) -> Option<Sweep> {
    let sweep = world.chain.sweep(&world.engine.view(), 64)?;
    let waits = |event: Event| match event {
        Event::Fill(fill) if fill.symbol == symbol(ticker) => Event::Pending(PendingFill {
            id: fill.id,
            block_number: fill.block_number,
            token: Address::repeat_byte(0x77),
            symbol: Some(fill.symbol),
            reason: "missing trie node".into(),
        }),
        event => event,
    };
    let events = sweep.events.into_iter().map(waits).collect();
    Some(Sweep { events, ..sweep })
}

#[test]
fn a_fill_whose_amount_is_not_to_be_had_waits_alone_and_is_counted_once_it_is() {
    let mut world = World::new(0);
    world.settle();
    let other = Deal { ticker: 1, side: Side::Sell, atoms: 2 * ONE, tx: 2 };
    world.chain.mine(vec![sold(3), other]);
    let block = world.chain.head().clone();
    let sweep = stateless(&world, 0).unwrap();
    world.input(Input::Sweep(sweep));
    world.settle();
    // The other ticker is hedged, this one waits in the ledger and says why.
    assert_eq!((posts(&world), world.shelf.pending.len()), (1, 1));
    assert_eq!(world.shelf.executions.get(&symbol(1)), Some(&(2 * ONE)));
    assert_eq!(world.engine.view().cursor, Some(block.at()));
    let says = |world: &World| {
        let facts = world.engine.facts();
        let row = facts.tickers.into_iter().find(|row| row.symbol == symbol(0)).unwrap();
        row.waiting.map(|why| format!("{why}: {}", row.remedy.unwrap_or_default())).unwrap_or_default()
    };
    assert!(says(&world).contains("archive"), "{}", says(&world));
    world.restart();
    assert!(says(&world).contains("archive"), "a restart forgets nothing");
    assert_eq!((posts(&world), world.shelf.pending.len()), (1, 1));
    // Told at last, twice over.
    let push = || Push { events: block.fills().into_iter().map(Event::Fill).collect(), ..Push::default() };
    world.input(Input::AskedAgain(push()));
    world.input(Input::AskedAgain(push()));
    world.settle();
    assert_eq!((posts(&world), world.shelf.pending.len()), (2, 0));
    assert_eq!(says(&world), "");
    verdict(&world);
}

#[test]
fn a_fill_that_waits_leaves_with_its_block() {
    let mut world = World::new(0);
    world.settle();
    world.chain.mine(vec![sold(3)]);
    let block = world.chain.head().clone();
    let sweep = stateless(&world, 0).unwrap();
    world.input(Input::Sweep(sweep));
    assert_eq!(world.shelf.pending.len(), 1);
    // A range that leaves it out without a word is not taken.
    world.chain.mine(vec![]);
    world.push_evidence(&block);
    world.chain.unwind(2);
    world.chain.mine(vec![]);
    world.chain.mine(vec![]);
    world.chain.mine(vec![]);
    world.settle();
    assert_eq!((posts(&world), world.shelf.pending.len()), (0, 0));
    // And what comes too late for it is not booked.
    let push = Push { events: block.fills().into_iter().map(Event::Fill).collect(), ..Push::default() };
    world.input(Input::AskedAgain(push));
    world.settle();
    assert_eq!(posts(&world), 0);
    verdict(&world);
}

#[test]
fn what_is_known_of_a_fill_needs_no_answer() {
    let mut world = World::new(0);
    world.settle();
    world.chain.mine(vec![sold(3)]);
    let block = world.chain.head().clone();
    world.push(&block);
    // It stands; the sweep that comes by can not be told its amount.
    let sweep = stateless(&world, 0).unwrap();
    world.input(Input::Sweep(sweep));
    assert_eq!((world.engine.view().cursor, world.shelf.pending.len()), (Some(block.at()), 0));
    // It leaves the chain and comes back, and the node knows no more than before.
    let gone = world.chain.unwind(1);
    world.chain.mine(vec![]);
    while world.sweep(64) {}
    world.chain.unwind(1);
    world.chain.put_back(gone);
    world.chain.mine(vec![]);
    while let Some(sweep) = stateless(&world, 0) {
        world.input(Input::Sweep(sweep));
    }
    assert_eq!(world.shelf.pending.len(), 0);
    world.settle();
    verdict(&world);
}
