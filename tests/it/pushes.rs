//! What a push may do to the exposure (`protocol.md` 1.1), and what opens the gate after an unclear order call (3.3).

use crate::world;

use alloy::primitives::B256;
use counterfill::broker::{Placed, Session};
use counterfill::engine::{Effect, Input, Question};
use counterfill::units::{BlockRef, ONE, Side};
use world::{Block, Deal, World, symbol, verdict};

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
    world.chain.mine(vec![]);
    world.sweep(64);
    world.perform(None);
    assert!(world.engine.facts().deciding);
    world
}

fn counted(world: &World) -> i128 {
    world.shelf.sums.get(&symbol(0)).copied().unwrap_or(0)
}

fn orders(world: &World) -> usize {
    world.desk.orders.len()
}

#[test]
fn a_fill_pushed_far_above_the_head_is_no_fill() {
    let mut world = ready();
    let head = world.chain.head().clone();
    for (ahead, counts) in [(1_000_000_000_000, false), (65, false), (64, true)] {
        let hash = B256::repeat_byte(0x77);
        let block = Block { number: head.number + ahead, hash, parent: head.hash, deals: vec![sold(1, 9)] };
        world.push(&block);
        assert_eq!(counted(&world) != 0, counts, "{ahead} blocks above the head");
    }
}

#[test]
fn a_transaction_that_a_reorg_moved_is_not_counted_twice_in_between() {
    let mut world = ready();
    // 0.6 twice is more than a share; once is less.
    let deal = Deal { atoms: 6 * ONE / 10, ..sold(1, 5) };
    world.chain.mine(vec![deal]);
    world.sweep(64);
    world.perform(None);
    world.chain.unwind(1);
    world.chain.mine(vec![]);
    world.chain.mine(vec![deal]);
    let moved = world.chain.head().clone();
    world.push(&moved);
    world.perform(None);
    assert_eq!((counted(&world), orders(&world)), (-deal.atoms, 0), "the bell rings, nothing is ordered");
    world.settle();
    assert_eq!((counted(&world), orders(&world)), (-deal.atoms, 0));
    verdict(&world);
}

#[test]
fn a_transaction_that_comes_back_below_its_old_copy_is_not_counted_twice_in_between() {
    let mut world = ready();
    // 0.6 twice is more than a share; once is less.
    let deal = Deal { atoms: 6 * ONE / 10, ..sold(1, 5) };
    world.chain.mine(vec![]);
    world.chain.mine(vec![deal]);
    world.sweep(64);
    world.perform(None);
    // A branch that is one block long so far: the sweep can not say anything of the old copy's height yet.
    world.chain.unwind(2);
    world.chain.mine(vec![deal]);
    world.sweep(64);
    world.perform(None);
    assert_eq!((counted(&world), orders(&world)), (-2 * deal.atoms, 0), "both stand, nothing is decided");
    assert!(!world.engine.facts().deciding);
    world.restart();
    world.perform(None);
    world.settle();
    assert_eq!(orders(&world), 0, "nor after a restart");
    world.chain.mine(vec![]);
    world.settle();
    assert_eq!((counted(&world), orders(&world)), (-deal.atoms, 0));
    assert!(world.engine.facts().deciding);
    verdict(&world);
}

#[test]
fn a_push_below_the_base_of_a_sweep_that_is_under_way_is_looked_at() {
    let mut world = ready();
    for _ in 0..3 {
        world.chain.mine(vec![]);
    }
    world.sweep(64);
    let below = world.chain.canonical[world.chain.canonical.len() - 2].clone();
    for _ in 0..130 {
        world.chain.mine(vec![]);
    }
    let planned = world.chain.sweep(&world.engine.view(), 64).unwrap();
    // What is pushed meanwhile has the hash of a block that was read, and is on no chain.
    let phantom = Block { deals: vec![sold(1, 9)], ..below };
    world.push(&phantom);
    let before = world.engine.view().dropped_sweeps;
    world.input(Input::Sweep(planned));
    assert_eq!(world.engine.view().dropped_sweeps, before + 1, "and whoever handed it over is told");
    let mut back = world.chain.sweep(&world.engine.view(), 64).unwrap();
    assert!(back.base.number < phantom.number, "it is read again from below");
    back.refuted = vec![phantom.fills()[0].id];
    world.input(Input::Sweep(back));
    while world.sweep(64) {}
    world.perform(None);
    assert_eq!(counted(&world), 0, "the chain has no such fill");
}

#[test]
fn a_head_that_was_not_there_does_not_keep_the_bot_from_deciding() {
    let mut world = ready();
    world.input(Input::Connected { head: BlockRef { number: 9_000_000, hash: B256::repeat_byte(9) } });
    assert!(!world.engine.facts().deciding, "a gap of that size is swept first");
    world.connect();
    assert!(world.engine.facts().deciding);
}

#[test]
fn only_a_read_asked_for_after_the_unclear_call_opens_the_gate() {
    let mut world = ready();
    // A question is out while the order call goes wrong.
    world.now = world.now.plus(3_600_000);
    world.input(Input::Tick);
    let asked = |effect: &Effect| matches!(effect, Effect::Ask(Question::Session));
    assert!(world.effects.iter().any(asked));
    world.effects.clear();
    world.chain.mine(vec![sold(1, 7)]);
    world.sweep(64);
    let placed = world.effects.iter().find_map(|effect| match effect {
        Effect::Place(ticket) => Some(ticket.intent.clone()),
        _ => None,
    });
    world.effects.clear();
    world.input(Input::Placed { intent: placed.unwrap(), outcome: Placed::Unknown("reset".into()) });
    world.input(Input::Session(Ok(Session::Open { until: None })));
    assert!(world.engine.facts().gate.is_some(), "that answer may be older than the failure");
    world.settle();
    assert_eq!(world.engine.facts().gate, None);
    verdict(&world);
}
