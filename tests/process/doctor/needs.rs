//! What the sweep will need of the node: each thing that a node may not give, by itself; and settings that look right.

use std::collections::BTreeSet;

use alloy::primitives::{Address, U256};
use counterfill::sim::logs::{Asset, BookKind, Leg, OrderBook};
use counterfill::sim::{SimChain, Token};
use counterfill::units::Side;

use super::ward::{BOOK, CHAIN_ID, OWNER, Ward, now_s};
use crate::node::serve;

const CASH: Asset = Asset::new(Address::repeat_byte(0xc0), 6);
const TSLA: Asset = Asset::new(Address::repeat_byte(0x51), 18);
const WRAPPED: Asset = Asset::new(Address::repeat_byte(0x52), 18);
const STRANGER: Address = Address::repeat_byte(0x99);

/// A chain of 400 blocks with an order book and three tokens; in the first ten blocks `early`'s orders trade, in the
/// last ten `late`'s.
fn traded(early: Address, late: Address) -> SimChain {
    let mut chain = SimChain::starting_at(CHAIN_ID, 1_000, 7, now_s() - 900);
    chain.contracts.insert(BOOK);
    chain.tokens.insert(CASH.address, Token::plain("USDC", 6));
    chain.tokens.insert(TSLA.address, Token::plain("tTSLA", 18));
    let one = U256::from(1_000_000_000_000_000_000_u64);
    chain.tokens.insert(WRAPPED.address, Token::wrapped("wtTSLA", 18, TSLA.address, one));
    let book = OrderBook { address: BOOK, kind: BookKind::V5 };
    for n in 0..400 {
        let owner = match n {
            0..10 => Some(early),
            390..400 => Some(late),
            _ => None,
        };
        let txs = owner.map(|owner| {
            let (shares, paid) = ("1".parse().unwrap(), "250".parse().unwrap());
            chain.tx(book.take(&Leg::trade(owner, Side::Sell, TSLA, shares, CASH, paid)))
        });
        chain.mine(txs.into_iter().collect());
    }
    chain
}

/// A ward at that chain, its settings complete.
fn at(chain: SimChain) -> (Ward, impl Sized) {
    let mut ward = Ward::paper();
    let (node, keep) = serve(chain);
    ward.set("WS_RPC_URL", node.ws_url());
    ward.set("EQUITIES", format!("TSLA={}", TSLA.address));
    ward.set("CASH", CASH.address.to_string());
    ward.node = node;
    (ward, keep)
}

#[test]
fn a_node_that_has_all_of_it() {
    let (mut ward, _keep) = at(traded(OWNER, OWNER));
    ward.set("EQUITIES", format!("TSLA={},TSLA={}", TSLA.address, WRAPPED.address));
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::new(), "{}", told.text);
    assert_eq!(told.row("history"), ("ok", "block 1001, where reading begins, shows its logs", ""));
    assert_eq!(told.row("receipts").1, "eth_getBlockReceipts answers for a block's hash");
    assert_eq!(told.row("trades").1, "20 of the last 20 trades are of ORDER_OWNER");
    assert_eq!(told.row("tokens").1, "none of the 2 listed tokens calls itself another share");
    assert_eq!(told.row("old state").1, "the node knows the state of block 1144");
    let calls = told.row("calls").1;
    assert!(
        calls.contains(" calls a second met no limit; a block every 2.0 s needs about 2.0 calls"),
        "{calls}"
    );
    assert!(calls.ends_with("5.1 million calls or 194 million compute units a month"), "{calls}");
}

#[test]
fn an_owner_who_is_nobody_and_trades_that_are_all_skipped() {
    let (mut ward, _keep) = at(traded(STRANGER, STRANGER));
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["trades"]), "{}", told.text);
    let (_, found, next) = told.row("trades");
    assert!(found.contains("none of the last 20 trades (blocks 1 to 1400) is of ORDER_OWNER"), "{found}");
    assert!(found.ends_with(&format!("the owners are {STRANGER} (20)")), "{found}");
    assert!(next.starts_with("Look at ORDER_OWNER"), "{next}");

    // The right owner, and a token that is not the one that trades.
    ward.set("ORDER_OWNER", STRANGER.to_string());
    assert_eq!(ward.examine(&[]).ill(), BTreeSet::new());
    ward.set("EQUITIES", format!("TSLA={}", WRAPPED.address));
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["trades"]), "{}", told.text);
    assert!(
        told.row("trades").1.ends_with("the newest 20 are all skipped: foreign_pair (20)"),
        "{}",
        told.text
    );
}

#[test]
fn a_listed_token_that_calls_itself_another_share() {
    let (mut ward, _keep) = at(traded(OWNER, OWNER));
    ward.set("EQUITIES", format!("AAPL={}", TSLA.address));
    let told = ward.examine(&[]);
    let (verdict, found, next) = told.row("tokens");
    assert_eq!((told.code, verdict), (0, "warning"), "{}", told.text);
    let wanted = format!("EQUITIES lists {} as AAPL, but it calls itself tTSLA, which is TSLA", TSLA.address);
    assert_eq!(found, wanted);
    assert!(next.starts_with("Look at EQUITIES"), "{next}");
}

#[test]
fn pruned_logs_are_found_and_a_beginning_that_is_not_there_yet() {
    let (mut ward, _keep) = at(traded(OWNER, OWNER));
    ward.node.set_faults(|faults| faults.logs_pruned_below = Some(1_300));
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["history"]), "{}", told.text);
    let (_, found, next) = told.row("history");
    assert!(
        found.ends_with("it shows no log of block 1001, whose bloom says that there are some"),
        "{found}"
    );
    assert!(next.starts_with("Take a node that keeps all logs"), "{next}");
    // What is not to be read again need not be there.
    ward.set("DEPLOYMENT_BLOCK", "1390");
    assert_eq!(ward.examine(&[]).ill(), BTreeSet::new());

    ward.set("DEPLOYMENT_BLOCK", "41686926");
    let told = ward.examine(&[]);
    assert_eq!(told.ill(), BTreeSet::from(["history"]), "{}", told.text);
    assert!(told.row("history").1.contains("begin at block 41686926, and the head is 1400"), "{}", told.text);
}

/// A chain that fills its blooms whatever a block holds proves nothing by them.
#[test]
fn blooms_that_mean_nothing_prove_nothing() {
    let mut chain = SimChain::starting_at(CHAIN_ID, 1_000, 7, now_s() - 900);
    chain.contracts.insert(BOOK);
    for _ in 0..400 {
        let tx = chain.tx(OrderBook { address: BOOK, kind: BookKind::V5 }.take(&Leg::trade(
            STRANGER,
            Side::Sell,
            TSLA,
            "1".parse().unwrap(),
            CASH,
            "250".parse().unwrap(),
        )));
        chain.mine(vec![tx]);
    }
    let (ward, _keep) = at(chain);
    // No log of any block is told, so a bloom is no proof.
    ward.node.set_faults(|faults| faults.logs_pruned_below = Some(1_000_000));
    let told = ward.examine(&[]);
    assert_eq!(told.row("history").0, "ok", "{}", told.text);
    assert!(told.row("history").1.contains("blooms are full whatever a block holds"), "{}", told.text);
}

#[test]
fn receipts_by_another_way_and_by_none() {
    let (ward, _keep) = at(traded(OWNER, OWNER));
    ward.node.without_method("eth_getBlockReceipts");
    let told = ward.examine(&[]);
    let (verdict, found, _) = told.row("receipts");
    assert_eq!((told.code, verdict), (0, "warning"), "{}", told.text);
    assert!(found.ends_with("; they are asked for one by one"), "{found}");
    ward.node.without_method("eth_getTransactionReceipt");
    assert_eq!(ward.examine(&[]).ill(), BTreeSet::from(["receipts"]));
}

#[test]
fn state_that_only_an_archive_node_has() {
    let (mut ward, _keep) = at(traded(OWNER, OWNER));
    ward.node.set_faults(|faults| faults.state_pruned_below = Some(1_300));
    assert_eq!(ward.examine(&[]).row("old state").1, "no wrapped share is listed: none is needed");
    ward.set("EQUITIES", format!("TSLA={},TSLA={}", TSLA.address, WRAPPED.address));
    let told = ward.examine(&[]);
    let (verdict, found, next) = told.row("old state");
    assert_eq!((told.code, verdict), (0, "warning"), "{}", told.text);
    assert!(
        found.contains("what the wrapped TSLA was worth in block 1144")
            && found.contains("missing trie node"),
        "{found}"
    );
    assert!(next.starts_with("This needs an archive node"), "{next}");
}
