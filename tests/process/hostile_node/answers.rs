//! Faults of what the node answers: too little, too late, of another fork, or that it is too much.

use counterfill::sim::{DropPushes, Times};

use crate::bench::{Bench, UNHURRIED};
use crate::truth::{Form, buy, sell};

/// Only the sweep can find them: the header's bloom says that there is something to find, and the receipts what. One
/// log of several alike that is left out shows in no bloom; for that there are the pushes, see below.
#[test]
fn logs_that_are_not_told() {
    for empty in [true, false] {
        let mut bench = Bench::quiet().made_ready(&[]);
        bench.node.drop_pushes(DropPushes::Logs);
        if empty {
            bench.node.empty_logs(true);
            bench.mine(&[sell(0, 1_200), buy(1, 2_000)]);
        } else {
            bench.node.partial_logs(true);
        }
        bench.mine(&[sell(0, 1_800)]);
        bench.mine(&[sell(2, 1_500).by(Form::Clear)]);
        bench.settles();
        assert!(bench.node.counters().calls_of("eth_getBlockReceipts") > 0);
        bench.node.heal();
        bench.mine(&[sell(2, 1_000)]);
        assert!(bench.ends_clean() >= 2);
    }
}

/// What is pushed and left out of the answer is looked up in its receipt.
#[test]
fn logs_that_are_pushed_but_not_told() {
    for empty in [true, false] {
        let mut bench = Bench::ready();
        if empty {
            bench.node.empty_logs(true)
        } else {
            bench.node.partial_logs(true)
        }
        bench.mine(&[sell(0, 1_200)]);
        bench.mine(&[sell(0, 1_800)]);
        bench.settles();
        bench.catches_up();
        bench.node.heal();
        bench.mine(&[sell(2, 1_000)]);
        assert!(bench.ends_clean() >= 2);
    }
}

#[test]
fn a_head_that_lags() {
    let mut bench = Bench::ready_with(UNHURRIED);
    bench.node.mine_empty(10);
    bench.mine(&[sell(0, 2_000)]);
    bench.settles();
    // The push comes, and every answer is as of five blocks before it.
    bench.node.lagging_head(5);
    bench.mine(&[sell(0, 3_000)]);
    bench.until("hedged on the push alone", || bench.orders() == 2);
    bench.mine(&[buy(1, 1_400)]);
    bench.settles();
    bench.node.cut();
    bench.until("connected again", || bench.reconnects() >= 1);
    bench.settles();
    bench.node.heal();
    bench.catches_up();
    assert_eq!(bench.ends_clean(), 3);
}

#[test]
fn a_lagging_head_and_no_pushes() {
    let mut bench = Bench::ready();
    bench.node.mine_empty(10);
    bench.node.set_faults(|faults| {
        faults.lagging_blocks = 5;
        faults.drop_pushes = DropPushes::All;
    });
    bench.mine(&[sell(0, 3_000)]);
    bench.node.mine_empty(5);
    bench.settles_while_the_chain_lives();
    bench.node.heal();
    assert_eq!(bench.ends_clean(), 1);
}

#[test]
fn two_forks_answered_in_turn() {
    let mut bench = Bench::ready();
    bench.node.mine_empty(5);
    let (orphan, _) = bench.mine(&[sell(0, 3_000)]);
    bench.settles();
    bench.node.reorg(1, vec![vec![]]).unwrap();
    bench.node.two_forks(orphan.hash, 60);
    bench.mine(&[sell(1, 4_000)]);
    let used_up = |times: &Times| !times.is_due();
    bench.until("the turns are used up", || {
        bench.node.mine_empty(1);
        bench.node.faults().two_forks.is_none_or(|(_, times)| used_up(&times))
    });
    bench.mine(&[buy(2, 1_000)]);
    bench.settles();
    assert!(bench.forks() <= 1 || bench.fill_states().contains(&"reversed".to_owned()));
    // Hedged, unhedged, and the two that stayed.
    assert!(bench.ends_clean() >= 4);
}

/// Empty blocks that nobody is told of.
fn silently(bench: &Bench, blocks: u64) {
    bench.node.chain_mut(|chain| {
        for _ in 0..blocks {
            chain.mine(vec![]);
        }
    });
}

#[test]
fn a_long_backfill_in_ranges_that_are_too_large() {
    let mut bench = Bench::new();
    for n in 0..30 {
        silently(&bench, 100);
        bench.mine(&[sell(n % 3, 700), buy((n + 1) % 3, 100)]);
    }
    bench.node.range_max_blocks(Some(90));
    bench.start();
    bench.becomes_ready();
    bench.settles();
    bench.logs("now asking for");
    assert_eq!(bench.fills().len(), 60);
    assert!(bench.ends_clean() >= 3);
}

#[test]
fn answers_with_too_many_logs() {
    let mut bench = Bench::new();
    for n in 0..30 {
        silently(&bench, 20);
        bench.mine(&[sell(n % 3, 700), buy((n + 1) % 3, 100)]);
    }
    bench.node.range_max_logs(Some(7));
    bench.start();
    bench.becomes_ready();
    bench.settles();
    assert!(bench.ends_clean() >= 3);
}
