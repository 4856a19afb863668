//! A restart folds what the running process knew: after every step of a random world the real ledger is read again,
//! and an engine made of it must know the same fills, positions, live intents, halts and failures.

use crate::world;

use counterfill::engine::Input;
use counterfill::units::{Shares, Side};
use proptest::prelude::*;
use world::ops::{Op, apply, cases, confirmations, op};
use world::{Terms, World};

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..cases(40) })]

    #[test]
    fn a_restart_knows_what_the_process_knew(
        ops in prop::collection::vec(prop_oneof![12 => op(), 2 => Just(Op::Resume), 2 => Just(Op::ByPerson), 1 => (1_u32..6).prop_map(Op::TagLater), 1 => Just(Op::Twin), 1 => Just(Op::OperateAlone), 1 => (0_i64..200_000_000).prop_map(Op::Tick)], 1..50),
        confirmations in confirmations(),
        named in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let terms = if named { Terms::default() } else { Terms { tag_known: false, absent_after_ms: Some(60_000), ..Terms::by_list() } };
        let mut world = World::on(terms, confirmations, Some(folder.path().join("bot.db")));
        let mut tx = 0;
        for op in ops {
            // The world compares after every step.
            apply(&mut world, op, &mut tx);
            prop_assert!(world.stop.is_none(), "{:?}", world.stop);
        }
    }
}

#[test]
fn a_lifted_halt_begins_a_new_count_for_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::with(0, Some(folder.path().join("bot.db")));
    let deal = world::Deal { ticker: 0, side: Side::Sell, atoms: Shares::whole(2).atoms(), tx: 1 };
    world.chain.mine(vec![deal]);
    for _ in 0..200 {
        world.desk.mood = Some(world::Mood::Refuses);
        world.now = world.now.plus(5_000);
        world.sweep(64);
        world.input(Input::Tick);
        world.perform(None);
    }
    assert_eq!(world.engine.restart_state().halts.len(), 1, "five refusals halt");
    assert_eq!(world.engine.restart_state().failures, vec![(world::symbol(0), 5)]);
    world.resume_all();
    assert_eq!(world.engine.restart_state().failures, vec![]);
    world.settle();
    world::verdict(&world);
}
