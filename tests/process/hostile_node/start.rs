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

/// What a start no longer reads, the check beside it does, and nothing is ordered before that.
#[test]
fn a_ledger_that_is_damaged_where_a_start_does_not_read_ends_the_bot_before_an_order() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(0, 3_000)]);
    bench.settles();
    bench.stop();
    let ordered = bench.orders();
    let raw = rusqlite::Connection::open(bench.data().join("bot.db")).unwrap();
    raw.execute_batch("DROP TRIGGER fills_are_final; UPDATE fills SET shares = '2'").unwrap();
    raw.close().unwrap();
    bench.mine(&[sell(1, 2_000)]);
    bench.start();
    let ended = bench.ends();
    assert_eq!(ended.code, 78, "{}", ended.log);
    assert!(ended.log.contains("bot.db is damaged: the sums are not those of its rows"), "{}", ended.log);
    assert_eq!(bench.orders(), ordered, "{}", ended.log);
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

/// A node that keeps no old logs answers nothing for them, without an error: every fill there would be passed over.
#[test]
fn pruned_logs_end_a_first_backfill_and_are_told_of_later() {
    let mut bench = Bench::new();
    bench.mine(&[sell(0, 3_000)]);
    bench.mine(&[sell(1, 3_000)]);
    let kept = bench.node.mine_empty(300).number - 100;
    bench.node.set_faults(|faults| faults.logs_pruned_below = Some(kept));
    bench.start();
    let ended = bench.ends();
    assert_eq!(ended.code, 78, "{}", ended.log);
    assert!(ended.log.contains("the node has pruned the logs of block"), "{}", ended.log);
    assert!(ended.log.contains("(an archive node) for WS_RPC_URL"), "{}", ended.log);
    // Another node, and the same ledger.
    bench.node.heal();
    bench.start();
    bench.becomes_ready();
    bench.settles();
    bench.stop();
    // What is missed later is a person's: the bot goes on with what the node has.
    bench.mine(&[sell(2, 1_000)]);
    bench.mine(&[sell(2, 1_000)]);
    let kept = bench.node.mine_empty(300).number;
    bench.node.set_faults(|faults| faults.logs_pruned_below = Some(kept));
    bench.start();
    bench.until("a person is told", || bench.log().contains("ALERT the node has pruned its old logs"));
    bench.stop();
}

#[test]
fn a_beginning_that_is_not_there_yet_is_said_at_once() {
    let mut bench = Bench::new();
    bench.set(&[("DEPLOYMENT_BLOCK", "41686926")]);
    bench.start();
    bench.until("a person is told", || bench.log().contains("ALERT reading is to begin at block 41686926"));
    bench.stop();
}
