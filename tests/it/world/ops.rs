//! What can happen to a world, one thing at a time.

use counterfill::engine::Input;
use counterfill::units::Side;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::{Deal, Mood, World};

#[derive(Debug, Clone)]
pub enum Op {
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
    /// The session ends so many ms from now, or never.
    Closes(Option<i64>),
    /// Somebody else trades in one of our tickers.
    ByHand(usize),
    /// Keeps a copy of the ledger.
    Backup,
    /// Puts a copy of the ledger back under a broker that remembers.
    Restore(usize),
    /// The operator's verbs while no bot runs.
    OperateAlone,
    /// The wall clock is set.
    Clock(i64),
    /// A person lifts every halt.
    Resume,
    /// Somebody else's order, equal to the newest one but for its tag.
    Twin,
    /// The next reads show the newest order without its tag.
    TagLater(u32),
    /// A person settles what waits for one, by the broker's true book.
    ByPerson,
}

pub fn op() -> impl Strategy<Value = Op> {
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
        Just(Mood::RateLimits),
        Just(Mood::Overfills),
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
        1 => prop::option::of(0_i64..60_000).prop_map(Op::Closes),
        1 => (0_usize..3).prop_map(Op::ByHand),
    ]
}

pub fn apply(world: &mut World, op: Op, tx: &mut u64) {
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
                // The middle of three: as evidence alone, as a clear comes.
                if times == 2 { world.push_evidence(&block) } else { world.push(&block) }
            }
        }
        Op::Sweep { blocks } => {
            world.sweep(blocks);
        }
        Op::Perform { crash } => world.perform(crash),
        Op::Mood(mood) => world.desk.mood = Some(mood),
        Op::Away(away) => world.desk.away = away,
        Op::Trade => world.desk.trade(world.now),
        Op::Tick(ms) => {
            world.now = world.now.plus(ms);
            world.input(Input::Tick);
        }
        Op::Restart => world.restart(),
        Op::Closes(ms) => world.desk.closes = ms.map(|ms| world.now.plus(ms)),
        Op::ByHand(ticker) => world.desk.type_by_hand(ticker, world.now),
        Op::Backup => world.backups.push(world.shelf.clone()),
        Op::Restore(backup) => world.restore(backup),
        Op::OperateAlone => world.operate_alone(),
        Op::Resume => world.resume_all(),
        Op::Twin => world.desk.twin("theirs", world.now),
        Op::TagLater(reads) => world.desk.tagless_reads = reads,
        Op::ByPerson => world.settle_by_hand(),
        Op::Clock(ms) => world.now = world.now.plus(ms),
    }
}

pub fn confirmations() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0_u64), 1 => 1_u64..4]
}

/// The same worlds at every run, so that a change is judged by itself; PROPTEST_RNG_SEED=N looks at others.
pub fn cases(number: u32) -> ProptestConfig {
    let usual = ProptestConfig::with_cases(number);
    let rng_seed = match usual.rng_seed {
        RngSeed::Random => RngSeed::Fixed(20_261_123),
        given => given,
    };
    ProptestConfig { failure_persistence: None, rng_seed, ..usual }
}
