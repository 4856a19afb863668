//! Conservation of shares: whatever order the world's events come in, how often they are repeated, and which of them
//! are taken back, what is hedged at rest is what stands on the canonical chain, to less than a lot.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod world;

use counterfill::engine::Input;
use counterfill::units::Side;
use proptest::prelude::*;
use world::{Deal, Mood, World, verdict};

#[derive(Debug, Clone)]
enum Op {
    Mine(Vec<(usize, bool, i128)>),
    /// Takes blocks off; their deals come back in other blocks, except every third, or not at all.
    Reorg {
        depth: usize,
        again: bool,
        longer: usize,
    },
    /// The same blocks leave and come back while the sweep looks in between (A → B → A).
    ThereAndBack {
        depth: usize,
    },
    /// Pushes a block that was ever mined, canonical or not, `times` over.
    Push {
        back: usize,
        times: usize,
    },
    Sweep {
        blocks: usize,
    },
    Perform {
        crash: Option<usize>,
    },
    Mood(Mood),
    Away(bool),
    Trade,
    Tick(i64),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let deal = (
        0_usize..3,
        any::<bool>(),
        prop_oneof![
            1_i128..10,
            Just(400_000_000_000_000_000),
            Just(1_700_000_000_000_000_000),
            Just(5_000_000_000_000_000_000)
        ],
    );
    let mood = prop_oneof![
        Just(Mood::AcceptsAndLosesTheAnswer),
        Just(Mood::AcceptsAndHides),
        Just(Mood::LosesTheRequest),
        Just(Mood::NeverReached),
        Just(Mood::Refuses),
        Just(Mood::RejectsLater),
        Just(Mood::CancelsHalfway),
    ];
    prop_oneof![
        6 => prop::collection::vec(deal, 0..5).prop_map(Op::Mine),
        2 => (1_usize..8, any::<bool>(), 0_usize..3).prop_map(|(depth, again, longer)| Op::Reorg { depth, again, longer }),
        1 => (1_usize..6).prop_map(|depth| Op::ThereAndBack { depth }),
        4 => (0_usize..12, 1_usize..4).prop_map(|(back, times)| Op::Push { back, times }),
        5 => (1_usize..20).prop_map(|blocks| Op::Sweep { blocks }),
        6 => prop::option::weighted(0.2, 0_usize..4).prop_map(|crash| Op::Perform { crash }),
        2 => mood.prop_map(Op::Mood),
        1 => any::<bool>().prop_map(Op::Away),
        4 => Just(Op::Trade),
        3 => (0_i64..30_000).prop_map(Op::Tick),
        1 => Just(Op::Restart),
    ]
}

fn apply(world: &mut World, op: Op, tx: &mut u64) {
    match op {
        Op::Mine(deals) => {
            let deals = deals
                .into_iter()
                .map(|(ticker, buy, atoms)| {
                    *tx += 1;
                    Deal { ticker, side: if buy { Side::Buy } else { Side::Sell }, atoms, tx: *tx }
                })
                .collect();
            world.chain.mine(deals);
        }
        Op::Reorg { depth, again, longer } => {
            let gone = world.chain.unwind(depth);
            let mut deals: Vec<Deal> = gone.iter().flat_map(|block| block.deals.clone()).collect();
            if again {
                let mut n = 0;
                deals.retain(|_| {
                    n += 1;
                    n % 3 != 0
                });
                deals.reverse();
            } else {
                deals.clear();
            }
            let mut deals = deals.into_iter();
            for _ in 0..(gone.len() + longer).saturating_sub(1) {
                world.chain.mine(deals.by_ref().take(1).collect());
            }
            world.chain.mine(deals.collect());
        }
        Op::ThereAndBack { depth } => {
            let gone = world.chain.unwind(depth);
            for _ in &gone {
                world.chain.mine(vec![]);
            }
            world.sweep(64);
            world.chain.unwind(gone.len());
            world.chain.put_back(gone);
        }
        Op::Push { back, times } => {
            let index = world.chain.ever.len().saturating_sub(1 + back);
            let block = world.chain.ever[index].clone();
            for _ in 0..times {
                world.push(&block);
            }
        }
        Op::Sweep { blocks } => {
            world.sweep(blocks);
        }
        Op::Perform { crash } => world.perform(crash),
        Op::Mood(mood) => world.desk.mood = Some(mood),
        Op::Away(away) => world.desk.away = away,
        Op::Trade => world.desk.trade(),
        Op::Tick(ms) => {
            world.now = world.now.plus(ms);
            world.input(Input::Tick);
        }
        Op::Restart => world.restart(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn shares_are_conserved(ops in prop::collection::vec(op(), 1..60), confirmations in prop_oneof![3 => Just(0_u64), 1 => 1_u64..4]) {
        let mut world = World::new(confirmations);
        let mut tx = 0;
        for op in ops {
            apply(&mut world, op, &mut tx);
            prop_assert!(world.stop.is_none(), "{:?}", world.stop);
        }
        // Orphans that were only pushed above the last head are judged when the chain has grown past them.
        for _ in 0..12 {
            world.chain.mine(vec![]);
        }
        // A ticker that five attempts in a row failed is halted until a person says otherwise: that person.
        world.settle();
        let halted: Vec<_> = world.engine.facts().halts;
        for (symbol, kind, _) in halted {
            let (reason, who) = ("tested".to_owned(), "operator".to_owned());
            world.input(Input::Command(counterfill::engine::Command::Resume { symbol, kind, reason, who }, 0));
        }
        world.settle();
        verdict(&world);
    }
}
