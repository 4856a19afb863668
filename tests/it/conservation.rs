//! Conservation of shares: whatever order the world's events come in, how often they are repeated, and which of them
//! are taken back, what is hedged at rest is what stands on the canonical chain, to less than a lot.

use crate::world;

use proptest::prelude::*;
use world::ops::{Op, apply, cases, confirmations, op};
use world::{Terms, World, verdict};

/// A ledger that is put back, with operators at work.
fn restoring() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => op(),
        1 => Just(Op::Backup),
        1 => (0_usize..8).prop_map(Op::Restore),
        1 => Just(Op::OperateAlone),
        1 => (0_i64..4_000_000).prop_map(Op::Tick),
    ]
}

/// A clock that is wrong by up to a day, either way, and set right.
fn wrong_clock() -> impl Strategy<Value = Op> {
    prop_oneof![10 => op(), 1 => (-86_400_000_i64..86_400_000).prop_map(Op::Clock)]
}

/// A broker without client order ids, and a person who looks at its book now and then.
fn by_list() -> impl Strategy<Value = Op> {
    prop_oneof![
        14 => op(),
        2 => Just(Op::ByPerson),
        1 => Just(Op::Twin),
        1 => (1_u32..6).prop_map(Op::TagLater),
        1 => Just(Op::Backup),
        1 => (0_usize..8).prop_map(Op::Restore),
        1 => (0_i64..400_000).prop_map(Op::Tick),
    ]
}

/// The same under a clock that is set. Not with a ledger that is put back: what was entered before its first comparison
/// is known by the time alone (decision 0011).
fn by_list_and_clock() -> impl Strategy<Value = Op> {
    prop_oneof![
        14 => op(),
        2 => Just(Op::ByPerson),
        1 => Just(Op::Twin),
        1 => (1_u32..6).prop_map(Op::TagLater),
        1 => (0_i64..400_000).prop_map(Op::Tick),
        1 => (-86_400_000_i64..86_400_000).prop_map(Op::Clock),
    ]
}

fn terms() -> impl Strategy<Value = Terms> {
    (any::<bool>(), prop::option::of(60_000_i64..600_000)).prop_map(|(tag_known, absent_after_ms)| Terms {
        tag_known,
        absent_after_ms,
        ..Terms::by_list()
    })
}

/// Plays a world in which only the broker's list, time, or a person can tell what became of a lost order.
fn conserve_by_list(ops: Vec<Op>, terms: Terms) {
    let mut world = World::on(terms, 0, None);
    let mut tx = 0;
    for op in ops {
        apply(&mut world, op, &mut tx);
        assert!(world.stop.is_none(), "{:?}", world.stop);
    }
    for _ in 0..12 {
        world.chain.mine(vec![]);
    }
    for _ in 0..6 {
        world.settle();
        world.settle_by_hand();
        world.resume_all();
    }
    world.settle();
    verdict(&world);
}

/// Plays a world, lets it come to rest, and judges.
fn conserve(ops: Vec<Op>, confirmations: u64) {
    let mut world = World::new(confirmations);
    let mut tx = 0;
    for op in ops {
        apply(&mut world, op, &mut tx);
        assert!(world.stop.is_none(), "{:?}", world.stop);
    }
    // Orphans that were only pushed above the last head are judged when the chain has grown past them.
    for _ in 0..12 {
        world.chain.mine(vec![]);
    }
    world.settle();
    // What only a person may lift, a person lifts: five attempts in a row that failed, an order that is not ours.
    world.resume_all();
    world.settle();
    verdict(&world);
}

proptest! {
    #![proptest_config(cases(900))]

    #[test]
    fn shares_are_conserved(ops in prop::collection::vec(op(), 1..60), confirmations in confirmations()) {
        conserve(ops, confirmations);
    }

    #[test]
    fn a_ledger_put_back_doubles_nothing(ops in prop::collection::vec(restoring(), 1..60), confirmations in confirmations()) {
        conserve(ops, confirmations);
    }

    #[test]
    fn a_broker_without_names_doubles_nothing(ops in prop::collection::vec(by_list(), 1..60), terms in terms()) {
        conserve_by_list(ops, terms);
    }

    #[test]
    fn a_broker_without_names_and_a_wrong_clock_double_nothing(ops in prop::collection::vec(by_list_and_clock(), 1..60), terms in terms()) {
        conserve_by_list(ops, terms);
    }

    #[test]
    fn a_wrong_clock_loses_nothing(ops in prop::collection::vec(wrong_clock(), 1..60), confirmations in confirmations()) {
        conserve(ops, confirmations);
    }
}
