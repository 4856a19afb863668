//! A restart folds what the running process knew: after every step of a random world the real ledger is read again,
//! and an engine made of it must know the same fills, positions, live intents, halts and failures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod world;

use proptest::prelude::*;
use world::World;
use world::ops::{Op, apply, confirmations, op};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn a_restart_knows_what_the_process_knew(
        ops in prop::collection::vec(prop_oneof![12 => op(), 2 => Just(Op::Resume), 1 => Just(Op::OperateAlone), 1 => (0_i64..200_000_000).prop_map(Op::Tick)], 1..50),
        confirmations in confirmations(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::with(confirmations, Some(folder.path().join("bot.db")));
        let mut tx = 0;
        for op in ops {
            // The world compares after every step.
            apply(&mut world, op, &mut tx);
            prop_assert!(world.stop.is_none(), "{:?}", world.stop);
        }
    }
}
