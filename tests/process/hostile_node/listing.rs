//! A ticker or a token is listed after trades in it were passed over: a person is asked, and each answer holds for good.

use counterfill::sim::{RpcFault, SimChain, Times, Tx};
use counterfill::units::{ONE, Side};

use super::operator::{halts, refused};
use crate::bench::Bench;
use crate::truth::{self, Form, SHARES, buy, sell};

const AAPL: usize = 1;
const NVDA: usize = 2;

/// A bot that hedges TSLA only, and four trades in AAPL that it passed over, a clear and a sale at the old order book
/// among them: 5.5 shares sold in sum. They are old when `blocks` of them are beyond the window.
fn a_shard(blocks: u64) -> (Bench, Vec<Tx>) {
    let mut bench = Bench::ready_with(&[("SYMBOLS", "TSLA")]);
    let mut txs = Vec::new();
    for deal in [sell(AAPL, 3_000), buy(AAPL, 1_500).by(Form::Clear), sell(AAPL, 2_500).by(Form::OldTake)] {
        txs.push(bench.tx(&[sell(0, 1_000), deal]));
        bench.node.mine(vec![txs[txs.len() - 1].clone()]);
    }
    txs.push(bench.tx(&[sell(AAPL, 1_500)]));
    bench.node.mine(vec![txs[3].clone()]);
    bench.node.mine_empty(blocks);
    bench.until("three fills and four trades passed over", || {
        states(&bench, "skipped") == 4 && bench.orders() > 0
    });
    bench.catches_up();
    bench.until("TSLA is hedged", || bought(&bench, "TSLA") == 3 * ONE);
    bench.stop();
    (bench, txs)
}

fn states(bench: &Bench, state: &str) -> usize {
    bench.fill_states().iter().filter(|found| *found == state).count()
}

/// Shares bought less shares sold at the broker, in atoms.
fn bought(bench: &Bench, ticker: &str) -> i128 {
    let book = truth::book(&bench.data());
    let of = book.iter().filter(|order| order.order.symbol.as_str() == ticker);
    of.flat_map(|order| {
        let sign = if order.order.side == Side::Buy { 1 } else { -1 };
        order.executions.iter().map(move |done| sign * done.quantity.atoms())
    })
    .sum()
}

/// Started with AAPL listed: it is halted and asks, and a new trade in it is a fill that waits.
fn listed(bench: &mut Bench) {
    bench.set(&[("SYMBOLS", "TSLA,AAPL")]);
    bench.start();
    bench.becomes_unready("halts");
    assert_eq!(halts(bench), [("AAPL".to_owned(), "skipped".to_owned())]);
    let screen = bench.says(&["status"]);
    for word in ["4 trades", "bot resume AAPL --count-skipped|--ignore-skipped --reason"] {
        assert!(screen.contains(word), "{word}: {screen}");
    }
    let fills = bench.fills().len();
    bench.mine(&[sell(AAPL, 1_000), sell(0, 1_000)]);
    bench.until("both are fills", || bench.fills().len() == fills + 2);
    bench.until("TSLA is hedged as ever", || bought(bench, "TSLA") == 4 * ONE);
    assert_eq!(bought(bench, "AAPL"), 0);
}

const COUNT: [&str; 5] = ["resume", "AAPL", "--count-skipped", "--reason", "nobody hedged them"];
const IGNORE: [&str; 5] = ["resume", "AAPL", "--ignore-skipped", "--reason", "the other shard did"];

#[test]
fn trades_of_a_newly_listed_ticker_are_counted_when_a_person_says_so() {
    // Within the window, and far behind it.
    for blocks in [1, 80] {
        let (mut bench, _) = a_shard(blocks);
        listed(&mut bench);
        for args in [
            &["resume", "AAPL", "--reason", "x"][..],
            &["resume", "AAPL", "--accept-backfill", "--reason", "x"],
        ] {
            assert!(refused(&bench, args, 69).contains("`bot status` lists halts"));
        }
        let answer = refused(&bench, &["resume", "AAPL", "--kind", "skipped", "--reason", "x"], 69);
        assert!(answer.contains("--count-skipped|--ignore-skipped"), "{answer}");
        // A kill before the answer changes nothing.
        bench.kill();
        bench.start();
        bench.becomes_unready("halts");
        assert_eq!(bench.says(&COUNT), "AAPL resumed; 4 trades count from now on\n");
        bench.settles();
        assert_eq!((bought(&bench, "AAPL"), states(&bench, "skipped")), (6 * ONE, 0));
        assert!(refused(&bench, &COUNT, 69).contains("no `skipped` halt of AAPL"));
        bench.ends_clean();
        // Asked once.
        bench.start();
        bench.becomes_ready();
        bench.ends_clean();
    }
}

#[test]
fn trades_of_a_newly_listed_ticker_are_passed_over_for_good_when_a_person_says_so() {
    let (mut bench, txs) = a_shard(1);
    listed(&mut bench);
    assert_eq!(bench.says(&IGNORE), "AAPL resumed; 4 trades stay passed over\n");
    // They are nothing that must be hedged any more.
    let ours: Vec<_> = txs.iter().map(|tx| tx.hash).collect();
    for (hash, meant) in &mut bench.truth.meant {
        meant.retain(|(_, deal)| !ours.contains(hash) || deal.ticker != AAPL);
    }
    bench.settles();
    assert_eq!(bought(&bench, "AAPL"), ONE);
    // A fork moves one of them, and a restart comes in between: it is as ignored as before.
    bench.kill();
    let depth = 1 + bench.node.chain(|chain| chain.tip().number - place(chain, &txs[3]));
    let mut blocks = vec![vec![]; usize::try_from(depth).unwrap() + 1];
    blocks[1] = vec![txs[3].clone()];
    bench.truth.meant.retain(|_, meant| !meant.is_empty());
    bench.start();
    bench.becomes_ready();
    bench.node.reorg(depth, blocks).unwrap();
    bench.catches_up();
    bench.until("it is passed over in its new block too", || states(&bench, "skipped") == 5);
    bench.settles();
    bench.ends_clean();
    bench.start();
    bench.becomes_ready();
    assert_eq!(halts(&bench), []);
    bench.ends_clean();
}

fn place(chain: &SimChain, tx: &Tx) -> u64 {
    let blocks = chain.included_in(tx.hash).iter().filter(|hash| chain.is_canonical(**hash));
    blocks.filter_map(|hash| chain.block(*hash)).map(|block| block.number).max().unwrap()
}

#[test]
fn a_fork_before_the_answer_moves_what_is_counted() {
    let (mut bench, txs) = a_shard(1);
    listed(&mut bench);
    let depth = 1 + bench.node.chain(|chain| chain.tip().number - place(chain, &txs[2]));
    // The third moves, the fourth leaves the chain; so do the trades since.
    let mut blocks = vec![vec![]; usize::try_from(depth).unwrap() + 1];
    blocks[2] = vec![txs[2].clone()];
    bench.node.reorg(depth, blocks).unwrap();
    bench.catches_up();
    assert_eq!(
        bench.says(&COUNT),
        "AAPL resumed; 3 trades count from now on, 2 are fills already or not on the chain any more\n"
    );
    bench.settles();
    assert_eq!(bought(&bench, "AAPL"), 4 * ONE);
    bench.ends_clean();
}

/// A token that was a stranger's is listed: the one way in which what a token is may change.
#[test]
fn trades_of_a_newly_listed_token_are_asked_about_too() {
    let mut bench = Bench::new();
    let equities = |listed: &[usize]| {
        let named = listed.iter().map(|n| format!("{}={}", SHARES[*n].0, SHARES[*n].2.address));
        named.collect::<Vec<_>>().join(",")
    };
    bench.set(&[("EQUITIES", &equities(&[0, 1]))]);
    bench.node.mine_empty(3);
    bench.start();
    bench.becomes_ready();
    bench.mine(&[sell(NVDA, 4_000), sell(0, 1_000)]);
    bench.mine(&[buy(NVDA, 1_200).by(Form::Clear)]);
    bench.until("both were passed over", || states(&bench, "skipped") == 2);
    bench.until("TSLA is hedged", || bought(&bench, "TSLA") == ONE);
    bench.stop();
    bench.set(&[("EQUITIES", &equities(&[0, 1, 2]))]);
    bench.start();
    bench.becomes_unready("halts");
    assert_eq!(halts(&bench), [("NVDA".to_owned(), "skipped".to_owned())]);
    bench.mine(&[sell(NVDA, 1_500)]);
    bench.until("a new one is a fill", || states(&bench, "counting") == 2);
    assert_eq!(bought(&bench, "NVDA"), 0);
    let told = bench.says(&["resume", "NVDA", "--count-skipped", "--reason", "forgotten in the list"]);
    assert_eq!(told, "NVDA resumed; 2 trades count from now on\n");
    bench.settles();
    assert_eq!(bought(&bench, "NVDA"), 4 * ONE);
    bench.ends_clean();
    // Not the other way round, and not to another ticker.
    for list in [equities(&[0, 1]), equities(&[0, 1]) + ",MSFT=" + &SHARES[NVDA].2.address.to_string()] {
        bench.set(&[("EQUITIES", &list)]);
        bench.start();
        let ended = bench.ends();
        assert_eq!(ended.code, 78, "{}", ended.log);
    }
}

#[test]
fn a_node_that_does_not_answer_changes_nothing() {
    let (mut bench, _) = a_shard(1);
    // Which trades they are and what they are worth, only a bot that runs can say.
    assert!(refused(&bench, &COUNT, 69).contains("start it with `bot run`"));
    assert!(refused(&bench, &IGNORE, 69).contains("start it with `bot run`"));
    listed(&mut bench);
    let receipts = Some("eth_getTransactionReceipt".to_owned());
    bench.node.set_faults(|faults| faults.rpc_errors = (Times::Always, RpcFault::Internal, receipts));
    let answer = refused(&bench, &COUNT, 69);
    assert!(answer.contains("nothing has changed"), "{answer}");
    assert_eq!(halts(&bench), [("AAPL".to_owned(), "skipped".to_owned())]);
    // A halt does not wait for the node.
    assert_eq!(bench.says(&["halt", "TSLA", "--reason", "x"]), "TSLA halted\n");
    assert_eq!(bench.says(&["resume", "TSLA", "--reason", "x"]), "TSLA resumed\n");
    bench.node.heal();
    assert_eq!(bench.says(&COUNT), "AAPL resumed; 4 trades count from now on\n");
    bench.settles();
    bench.ends_clean();
}
