//! Reorgs: at every depth that matters, back and forth, and beyond the window.

use counterfill::sim::Tx;
use counterfill::units::BlockRef;

use crate::bench::Bench;
use crate::truth::{buy, sell};

/// A bot with a full window, and `depth` blocks on top of it: the lowest holds a sale of 3 TSLA, the highest a sale of
/// 2 AAPL, in between an empty chain. Hedged and caught up.
fn hedged(bench: &mut Bench, depth: u64) -> (Tx, Tx) {
    bench.mine(&[buy(2, 1_000)]);
    bench.node.mine_empty(66);
    let (low, high) = (bench.tx(&[sell(0, 3_000)]), bench.tx(&[sell(1, 2_000)]));
    if depth == 1 {
        bench.node.mine(vec![low.clone(), high.clone()]);
    } else {
        bench.node.mine(vec![low.clone()]);
        bench.node.mine_empty(depth - 2);
        bench.node.mine(vec![high.clone()]);
    }
    bench.settles();
    bench.catches_up();
    (low, high)
}

/// The low one leaves the chain, the high one moves; one block more than before.
fn replaced(high: Tx, depth: u64) -> Vec<Vec<Tx>> {
    let mut blocks = vec![vec![]; usize::try_from(depth).unwrap() + 1];
    *blocks.last_mut().unwrap() = vec![high];
    blocks
}

fn a_reorg_of(depth: u64) {
    let mut bench = Bench::ready();
    let (_, high) = hedged(&mut bench, depth);
    let forks = bench.forks();
    bench.node.reorg(depth, replaced(high, depth)).unwrap();
    bench.settles();
    bench.catches_up();
    assert_eq!(bench.forks(), forks + 1);
    assert_eq!(bench.metric("counterfill_reversals_total"), Some(2));
    // NVDA, TSLA, AAPL, TSLA back. AAPL's sale left and came back in one sweep: nothing to trade.
    assert!((4..=6).contains(&bench.ends_clean()));
}

#[test]
fn reorgs_of_1_2_and_7() {
    [1, 2, 7].into_iter().for_each(a_reorg_of);
}

#[test]
fn a_reorg_of_12() {
    a_reorg_of(12);
}

#[test]
fn a_reorg_of_63() {
    a_reorg_of(63);
}

#[test]
fn a_reorg_of_64() {
    a_reorg_of(64);
}

/// `protocol.md` 1.5: deeper than the window of 64 stops, with the command to type, and nothing of the fork is folded.
#[test]
fn a_reorg_of_65_ends_the_bot() {
    let mut bench = Bench::ready();
    let (_, high) = hedged(&mut bench, 65);
    let tip: BlockRef = bench.node.chain(counterfill::sim::SimChain::tip);
    let before = bench.rows();
    bench.node.reorg(65, replaced(high, 65)).unwrap();
    let ended = bench.ends();
    assert_eq!(ended.code, 65, "{}", ended.log);
    let said = ended.log.lines().last().unwrap();
    let lowest = format!("block {}", tip.number - 64);
    for word in ["at least 65 blocks deep", "window is 64", &lowest, "put back a backup"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    // What was pushed of the new chain may be in the ledger; what was there before stands as it was.
    let after = bench.rows();
    assert!(before.fills.iter().all(|row| after.fills.contains(row)), "{before:?}\n{after:?}");
    // It does not come up again on that chain, and does on the old one.
    bench.start();
    assert_eq!(bench.ends().code, 65);
    bench.node.return_to(tip.hash).unwrap();
    bench.node.mine_empty(2);
    bench.start();
    bench.ends_clean();
}

/// The reorg happens while the bot is not there; the window is the ledger's.
#[test]
fn a_reorg_behind_a_stopped_bot() {
    for depth in [12, 64] {
        let mut bench = Bench::ready();
        let (_, high) = hedged(&mut bench, depth);
        bench.kill();
        bench.node.reorg(depth, replaced(high, depth)).unwrap();
        bench.start();
        bench.settles();
        assert!(bench.ends_clean() >= 4);
    }
}

#[test]
fn away_and_back_with_a_hedge_in_between() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(1, 1_000)]);
    let (first, _) = bench.mine(&[sell(0, 3_000)]);
    bench.settles();
    // B: other trades, hedged there.
    let other = bench.tx(&[sell(2, 2_000)]);
    let b = bench.node.reorg(1, vec![vec![other], vec![]]).unwrap();
    bench.settles();
    assert_eq!(bench.orders(), 4);
    // A again, one block longer than B.
    bench.node.return_to(first.hash).unwrap();
    bench.node.mine_empty(2);
    bench.settles();
    assert_eq!(bench.orders(), 6);
    // And B once more.
    bench.node.return_to(b.last().unwrap().hash).unwrap();
    bench.node.mine_empty(3);
    bench.settles();
    assert!(bench.forks() >= 3);
    assert_eq!(bench.ends_clean(), 8);
}

#[test]
fn many_reorgs_under_a_running_flow() {
    let mut bench = Bench::ready();
    bench.node.removed_pushes(true);
    let mut lost: Option<Tx> = None;
    for round in 0..12_usize {
        let (a, b) = (bench.tx(&[sell(round % 3, 1_300)]), bench.tx(&[buy((round + 1) % 3, 900)]));
        bench.node.mine(vec![a.clone()]);
        bench.node.mine(vec![b.clone()]);
        if round % 2 == 1 {
            let depth = u64::try_from(1 + round % 4).unwrap();
            let mut blocks = vec![vec![]; usize::try_from(depth).unwrap() + 1];
            blocks[0] = lost.take().into_iter().collect();
            blocks[1] = vec![b];
            lost = Some(a);
            bench.node.reorg(depth, blocks).unwrap();
        }
    }
    bench.settles();
    bench.ends_clean();
}

/// `protocol.md` 1.6: a fill reversed before it counted moves nothing; one reversed after it is unhedged.
#[test]
fn three_confirmations() {
    let mut bench = Bench::new();
    bench.set(&[("CONFIRMATIONS", "3")]);
    bench.confirmations = 3;
    bench.node.mine_empty(10);
    bench.start();
    bench.becomes_ready();
    let tx = bench.tx(&[sell(0, 3_000)]);
    bench.node.mine(vec![tx.clone()]);
    bench.node.mine_empty(1);
    bench.catches_up();
    assert_eq!(bench.fill_states(), ["seen"]);
    bench.node.reorg(2, vec![vec![], vec![], vec![]]).unwrap();
    bench.catches_up();
    assert_eq!((bench.fill_states(), bench.orders()), (vec!["reversed".to_owned()], 0));
    // It comes back, gets deep, is hedged; then five blocks go.
    bench.node.mine(vec![tx]);
    bench.node.mine_empty(2);
    bench.catches_up();
    assert_eq!(bench.orders(), 0);
    bench.node.mine_empty(1);
    bench.settles();
    assert_eq!(bench.orders(), 1);
    bench.node.mine_empty(1);
    bench.catches_up();
    bench.node.reorg(5, vec![vec![]; 6]).unwrap();
    bench.settles();
    assert_eq!(bench.ends_clean(), 2);
}
