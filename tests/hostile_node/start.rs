//! Starts that are not plain: the node is away, half there, or far ahead.

use crate::bench::Bench;
use crate::truth::{buy, sell};

#[test]
fn a_node_that_is_away_at_start() {
    for half_open in [false, true] {
        let mut bench = Bench::new();
        bench.mine(&[sell(0, 3_000)]);
        if half_open {
            bench.node.half_open(true)
        } else {
            bench.node.refuse(true)
        }
        bench.start();
        bench.until("it listens", || bench.address().is_some());
        bench.becomes_unready("chain_connected");
        bench.mine(&[buy(1, 2_000)]);
        bench.node.heal();
        bench.becomes_ready();
        assert_eq!(bench.ends_clean(), 2);
    }
}

/// The ledger is known, the node is not there yet.
#[test]
fn a_node_that_is_away_at_the_second_start() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(0, 3_000)]);
    bench.settles();
    bench.stop();
    bench.node.refuse(true);
    bench.start();
    bench.until("it listens", || bench.address().is_some());
    bench.becomes_unready("chain_connected");
    bench.mine(&[buy(1, 2_000)]);
    bench.node.heal();
    bench.becomes_ready();
    assert_eq!(bench.ends_clean(), 2);
}

/// SIGTERM is answered whatever the node does.
#[test]
fn a_stop_while_the_node_is_away() {
    for known in [false, true] {
        let mut bench = Bench::new();
        bench.node.mine_empty(2);
        if known {
            bench.start();
            bench.becomes_ready();
            bench.stop();
        }
        bench.node.half_open(true);
        bench.start();
        bench.until("it listens", || bench.address().is_some());
        bench.stop();
    }
}
