//! Conservation of shares: whatever order the world's events come in, how often they are repeated, and which of them
//! are taken back, what is hedged at rest is what stands on the canonical chain, to less than a lot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod world;

use proptest::prelude::*;
use world::ops::{Op, apply, cases, confirmations, op};
use world::{World, verdict};

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
    fn a_wrong_clock_loses_nothing(ops in prop::collection::vec(wrong_clock(), 1..60), confirmations in confirmations()) {
        conserve(ops, confirmations);
    }
}
