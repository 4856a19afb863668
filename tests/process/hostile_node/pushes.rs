//! Faults of what the node pushes. A push is for speed; whatever is wrong with it, the sweep makes good.

use counterfill::sim::{DropPushes, Faults};
use counterfill::units::Side;

use crate::bench::{Bench, UNHURRIED};
use crate::truth::{Deal, Form, buy, sell};

/// A little of everything, block by block: takes of both books, clears, both sides, three tickers.
const BLOCKS: [&[Deal]; 6] = [
    &[sell(0, 700)],
    &[sell(0, 1_600), buy(1, 2_400)],
    &[Deal { ticker: 2, side: Side::Sell, milli_shares: 3_300, form: Form::Clear }],
    &[buy(0, 900), Deal { ticker: 1, side: Side::Buy, milli_shares: 1_250, form: Form::OldTake }],
    &[sell(1, 5_000), sell(1, 1_000), buy(2, 400)],
    &[Deal { ticker: 0, side: Side::Buy, milli_shares: 2_000, form: Form::Clear }, sell(2, 1_100)],
];

/// The flow under a fault, healed at its end.
fn under(fault: impl FnOnce(&mut Faults)) {
    let mut bench = Bench::ready();
    bench.node.set_faults(fault);
    for deals in BLOCKS {
        bench.mine(deals);
    }
    bench.settles_while_the_chain_lives();
    bench.node.heal();
    bench.mine(&[sell(0, 1_000)]);
    assert!(bench.ends_clean() >= 2);
}

#[test]
fn an_honest_node() {
    under(|_| {});
}

#[test]
fn every_push_comes_twice() {
    under(|faults| faults.duplicate_pushes = true);
}

#[test]
fn pushes_come_out_of_order() {
    under(|faults| faults.reorder_pushes = true);
}

#[test]
fn pushes_come_out_of_order_and_twice() {
    under(|faults| (faults.reorder_pushes, faults.duplicate_pushes) = (true, true));
}

#[test]
fn the_second_half_of_a_clear_is_not_pushed() {
    under(|faults| faults.drop_pushes = DropPushes::AfterClear);
}

#[test]
fn no_log_is_pushed() {
    under(|faults| faults.drop_pushes = DropPushes::Logs);
}

#[test]
fn nothing_is_pushed() {
    under(|faults| faults.drop_pushes = DropPushes::All);
}

#[test]
fn logs_are_pushed_without_their_block() {
    under(|faults| faults.push_without_block_hash = true);
}

#[test]
fn old_and_orphaned_blocks_are_pushed_again() {
    let mut bench = Bench::ready();
    let (kept, _) = bench.mine(&[sell(0, 2_000)]);
    let (orphan, _) = bench.mine(&[sell(1, 2_000)]);
    bench.settles();
    bench.node.reorg(1, vec![vec![], vec![]]).unwrap();
    bench.settles();
    for _ in 0..3 {
        bench.node.push_again(kept.hash).unwrap();
        bench.node.push_again(orphan.hash).unwrap();
    }
    bench.mine(&[buy(2, 1_000)]);
    // The orphan was hedged and unhedged, and no more.
    assert_eq!(bench.ends_clean(), 4);
}

#[test]
fn removed_logs_are_pushed_on_a_reorg() {
    let mut bench = Bench::ready();
    bench.node.removed_pushes(true);
    bench.mine(&[sell(0, 1_500), buy(1, 3_000)]);
    let moved = bench.tx(&[sell(2, 4_000)]);
    bench.node.mine(vec![moved.clone()]);
    bench.settles();
    bench.node.reorg(2, vec![vec![], vec![moved], vec![]]).unwrap();
    bench.settles();
    assert!(bench.fill_states().iter().any(|state| state == "reversed"));
    assert!(bench.forks() >= 1);
    bench.ends_clean();
}

#[test]
fn forty_logs_at_once() {
    let mut bench = Bench::ready();
    let deals: Vec<Deal> =
        (0..40).map(|n| if n % 3 == 0 { buy(n % 3, 300) } else { sell(n % 3, 700) }).collect();
    bench.mine(&deals);
    assert!(bench.ends_clean() >= 3);
}

#[test]
fn five_hundred_logs_at_once() {
    let mut bench = Bench::ready();
    let txs = (0..10)
        .map(|tx| {
            let deals: Vec<Deal> = (0..50).map(|n| sell((tx + n) % 3, 250)).collect();
            bench.tx(&deals)
        })
        .collect();
    bench.node.mine(txs);
    bench.settles();
    assert_eq!(bench.fills().len(), 500);
    assert!(bench.ends_clean() >= 3);
}

/// `protocol.md` 1.1: when the sweep meets a known key the content must be equal; a difference is a bug.
#[test]
fn a_pushed_log_with_another_amount_ends_the_bot() {
    let mut bench = Bench::ready_with(UNHURRIED);
    // Its token is known from here on, so that the push waits for no answer and is in the ledger before the sweep reads.
    bench.mine(&[sell(0, 1_000)]);
    bench.settles();
    bench.node.mutate_pushed_log(1);
    bench.mine(&[sell(0, 2_000).by(Form::OldTake)]);
    let ended = bench.ends();
    assert_eq!(ended.code, 70, "{}", ended.log);
    let said = ended.log.lines().last().unwrap();
    for word in ["in the ledger", "on the chain", "TSLA", "restore the ledger"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // The ledger can be read, holds what was hedged, and stops the bot again rather than go on.
    assert_eq!(bench.fill_states(), ["counting", "counting"]);
    let orders = bench.orders();
    bench.node.heal();
    bench.start();
    assert_eq!(bench.ends().code, 70);
    assert_eq!(bench.orders(), orders);
}

#[test]
fn a_phantom_above_the_cursor_is_refuted() {
    let mut bench = Bench::ready_with(UNHURRIED);
    bench.mine(&[sell(1, 1_000)]);
    bench.settles();
    bench.node.set_faults(|faults| {
        // The sweep can not read while the phantom stands.
        faults.rpc_errors =
            (true.into(), counterfill::sim::RpcFault::Internal, Some("eth_getBlockByNumber".to_owned()));
    });
    bench.node.mine_empty(1);
    bench.node.push_phantom(sell(0, 3_000).logs().0[1].clone());
    bench.until("the phantom is hedged", || bench.orders() == 2);
    bench.node.heal();
    // Bought and sold again.
    assert_eq!(bench.ends_clean(), 3);
}

#[test]
fn a_phantom_at_the_cursor_is_refuted() {
    let mut bench = Bench::ready_with(UNHURRIED);
    bench.mine(&[sell(1, 1_000)]);
    bench.settles();
    bench.catches_up();
    bench.node.push_phantom(sell(0, 3_000).logs().0[1].clone());
    bench.node.mine_empty(1);
    bench.catches_up();
    bench.mine(&[sell(1, 1_000)]);
    bench.ends_clean();
}

/// The window's base is remembered as a block; the fills in it are forgotten by then.
#[test]
fn blocks_at_the_end_of_the_window_are_pushed_again() {
    let mut bench = Bench::ready();
    let (older, _) = bench.mine(&[sell(1, 1_000)]);
    let (old, _) = bench.mine(&[sell(0, 1_000)]);
    let (newer, _) = bench.mine(&[sell(2, 1_000)]);
    bench.settles();
    bench.node.mine_empty(63);
    bench.catches_up();
    for block in [older, old, newer] {
        bench.node.push_again(block.hash).unwrap();
    }
    bench.mine(&[buy(1, 1_000)]);
    assert_eq!(bench.ends_clean(), 4);
}
