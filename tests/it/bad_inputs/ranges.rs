//! Answers that are each well formed and do not belong together: thrown away, with the reason that health shows. No
//! row may end in a sweep that is handed on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use counterfill::chain::tokens::UNIT_JUMP_MAX_PERCENT;
use counterfill::chain::{self, ChainConfig, ChainFacts, ChainView, WINDOW_BLOCKS_MAX};
use counterfill::engine::Input;
use counterfill::sim::logs::{Asset, BookKind, Leg, OrderBook};
use counterfill::sim::{SimChain, Token};
use counterfill::units::{BlockRef, FillId, ONE, Side};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, watch};

use super::assert_rows;
use super::node::{PATIENCE, Reply, honest, node};
use Reply::{Refuses, Says};

pub(crate) const CHAIN_ID: u64 = 8453;
const FIRST: u64 = 1_000;
const OWNER: Address = Address::repeat_byte(0x01);
const STRANGER: Address = Address::repeat_byte(0x02);
const SHARE: Asset = Asset::new(Address::repeat_byte(0x11), 18);
const USDC: Asset = Asset::new(Address::repeat_byte(0x12), 6);
const BOOK: OrderBook = OrderBook { address: Address::repeat_byte(0x21), kind: BookKind::V5 };
/// Where no transaction and no block is.
const NOWHERE: B256 = B256::repeat_byte(0x77);

fn sale(owner: Address) -> Leg {
    Leg { owner, input: USDC, input_atoms: ONE * 100, output: SHARE, output_atoms: ONE }
}

/// Empty blocks before those that matter, where these are to be read as a range: none begins right at the start.
const STRIDE: u64 = WINDOW_BLOCKS_MAX as u64;

/// Block 1002 has a take of ours, block 1003 a clear, the others nothing; `more` empty ones follow. With many of them it
/// begins so much earlier that 1001 and up are read as a range.
pub(crate) fn a_chain(more: u64) -> SimChain {
    let before = if more > STRIDE { STRIDE } else { 0 };
    let mut chain = SimChain::new(CHAIN_ID, FIRST - before, 7);
    chain.contracts.insert(BOOK.address);
    chain.tokens.insert(SHARE.address, Token::plain("tTSLA", 18));
    chain.tokens.insert(USDC.address, Token::plain("USDC", 6));
    (0..before).for_each(|_| _ = chain.mine(vec![]));
    chain.mine(vec![]);
    let take = chain.tx(vec![BOOK.take_only(&sale(OWNER))]);
    chain.mine(vec![take]);
    let alice = sale(OWNER);
    let bob = Leg {
        owner: STRANGER,
        input: alice.output,
        input_atoms: alice.output_atoms,
        output: alice.input,
        output_atoms: alice.input_atoms,
    };
    let clear = chain.tx(BOOK.clear(&alice, &bob));
    chain.mine(vec![clear]);
    for _ in 0..more {
        chain.mine(vec![]);
    }
    chain
}

fn config(url: String, deployment_block: u64) -> ChainConfig {
    ChainConfig {
        ws_url: url,
        cert_file: None,
        chain_id: None,
        stamped_chain_id: None,
        orderbooks: vec![BOOK.address],
        owners: vec![OWNER],
        deployment_block,
        hedge_from_block: None,
        symbols: None,
        equities: BTreeMap::from([(SHARE.address, "TSLA".parse().unwrap())]),
        ratios: BTreeMap::new(),
        unit_jump_max_percent: UNIT_JUMP_MAX_PERCENT,
        cash: Some(USDC.address),
        log_range_blocks: 1_000,
        head_age_max: PATIENCE,
    }
}

/// What a node says instead of the truth, or the truth.
pub(crate) type Lie = Box<dyn FnMut(&str, &Value, Value) -> Reply + Send>;

/// What becomes of a read before a node with this lie: the reason why it is thrown away, or the sweep handed on.
pub(crate) async fn becomes(
    chain: SimChain,
    planned_on: ChainView,
    mut lie: Lie,
    deployment: u64,
    expected: &str,
) -> String {
    let first = chain.first_number();
    let deployment = if first < FIRST { first + 1 } else { deployment };
    let url = node(move |method, params| match honest(&chain, method, params) {
        Says(truth) => lie(method, params, truth),
        other => other,
    })
    .await;
    let (inputs, mut queue) = mpsc::channel(16);
    let (publish, view) = watch::channel(planned_on);
    let (facts, seen) = watch::channel(ChainFacts::default());
    let config = config(url, deployment);
    let reading = tokio::spawn(chain::run(config, CHAIN_ID, inputs, view, facts, Arc::new(Notify::new())));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let end = loop {
        match queue.try_recv() {
            Ok(Input::Sweep(sweep)) if first < FIRST && sweep.target.number == FIRST => {
                publish.send_modify(|view| {
                    view.cursor = Some(sweep.target);
                    let block = |(&number, &hash): (&u64, &B256)| BlockRef { number, hash };
                    view.window = sweep.canonical.iter().map(block).collect();
                });
            }
            Ok(Input::Sweep(sweep)) if sweep.base != sweep.target => {
                break format!("a sweep of {} events", sweep.events.len());
            }
            _ => {}
        }
        let error = seen.borrow().error.clone();
        let late = tokio::time::Instant::now() > deadline;
        if late || error.as_deref() == Some(expected) || (expected.is_empty() && error.is_some()) {
            break error.unwrap_or_else(|| "nothing".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    reading.abort();
    end
}

fn height(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

/// Changes the header at a height.
pub(crate) fn header(number: u64, field: &'static str, to: Value) -> Lie {
    Box::new(move |method, params, mut truth| {
        if method == "eth_getBlockByNumber"
            && truth["number"] == height(number)
            && params[0] != json!("latest")
        {
            truth[field] = to.clone();
        }
        Says(truth)
    })
}

/// Changes the answer to `eth_getLogs` where there are logs of that height in it.
pub(crate) fn logs(number: u64, change: impl Fn(&mut Vec<Value>) + Send + 'static) -> Lie {
    Box::new(move |method, _, mut truth| {
        if method == "eth_getLogs" {
            let list = truth.as_array_mut().unwrap();
            if list.iter().any(|log| log["blockNumber"] == height(number)) {
                change(list);
            }
        }
        Says(truth)
    })
}

/// One lie after the other.
pub(crate) fn both(mut one: Lie, mut other: Lie) -> Lie {
    Box::new(move |method, params, truth| match one(method, params, truth) {
        Says(said) => other(method, params, said),
        refused => refused,
    })
}

/// Another answer to this method, whatever is asked.
pub(crate) fn always(what: &'static str, reply: Reply) -> Lie {
    Box::new(move |method, _, truth| if method == what { reply.clone() } else { Says(truth) })
}

/// No receipt yet, by any of the ways to ask for one.
pub(crate) fn no_receipts() -> Lie {
    let none = || Says(Value::Null);
    both(always("eth_getTransactionReceipt", none()), always("eth_getBlockReceipts", none()))
}

/// The clear's amounts are left out, and no bloom betrays it.
fn without_amounts() -> Lie {
    let silent = header(1_003, "logsBloom", json!(format!("0x{}", "0".repeat(512))));
    both(logs(1_003, |list| list.truncate(1)), silent)
}

fn twice_with_other_data(list: &mut Vec<Value>) {
    let mut other = list[0].clone();
    other["data"] = json!("0x01");
    list.push(other);
}

#[tokio::test]
async fn what_does_not_belong_together_is_thrown_away_with_its_reason() {
    let chain = || a_chain(1);
    let far = || a_chain(100);
    let sample = chain();
    let at = |number: u64| sample.block_at(number).unwrap().reference();
    let [base, taken, cleared] = [1_000, 1_002, 1_003].map(at);
    let clear_tx = sample.block_at(1_003).unwrap().txs[0].hash;
    let nowhere = json!(NOWHERE);
    let standing = FillId {
        chain_id: CHAIN_ID,
        block_hash: taken.hash,
        tx_hash: NOWHERE,
        log_index: 0,
        side: Side::Sell,
    };
    let mut ends = 0;
    let moving_end: Lie = Box::new(move |method, params, mut truth| {
        if method == "eth_getBlockByNumber" && params[0] == height(1_039) {
            ends += 1;
            truth["hash"] = json!(B256::repeat_byte(if ends % 2 == 0 { 1 } else { 2 }));
        }
        Says(truth)
    });
    type Row = (&'static str, SimChain, Vec<(u64, FillId)>, Lie, String);
    let rows: Vec<Row> = vec![
        (
            "the first block has another parent",
            chain(),
            vec![],
            header(1_001, "parentHash", nowhere.clone()),
            format!("the block after {base} has another parent"),
        ),
        (
            "a later block has another parent",
            chain(),
            vec![],
            header(1_003, "parentHash", nowhere.clone()),
            format!("block {cleared} does not follow the block before it"),
        ),
        (
            "a block between is not there",
            chain(),
            vec![],
            Box::new(|method, params, truth| {
                let gone = method == "eth_getBlockByNumber" && params[0] == height(1_002);
                Says(if gone { Value::Null } else { truth })
            }),
            "the node told of a higher head but has no block 1002".into(),
        ),
        (
            "a block's logs are another block's",
            chain(),
            vec![],
            logs(1_002, |list| list[0]["blockHash"] = json!(NOWHERE)),
            format!("asked for logs of block {taken}, got another's"),
        ),
        (
            "two logs in one place",
            chain(),
            vec![],
            logs(1_002, twice_with_other_data),
            "two different logs in one place".into(),
        ),
        (
            "a log taken back",
            chain(),
            vec![],
            logs(1_002, |list| list[0]["removed"] = json!(true)),
            "the answer to eth_getLogs makes no sense: a log that was removed".into(),
        ),
        (
            "a clear without its amounts, in a transaction that is not in its block",
            chain(),
            vec![],
            both(
                both(without_amounts(), header(1_003, "transactions", json!([]))),
                always("eth_getTransactionReceipt", Says(Value::Null)),
            ),
            "a log of a transaction that is not in its block".into(),
        ),
        (
            "a clear without its amounts, in a transaction without a receipt",
            chain(),
            vec![],
            both(without_amounts(), no_receipts()),
            format!("block {cleared} has transaction {clear_tx}, but no receipt of it"),
        ),
        (
            "a fill that was pushed, and nobody knows whether its transaction is there",
            chain(),
            vec![(1_002, standing)],
            both(header(1_002, "transactions", Value::Null), no_receipts()),
            format!("block {taken} has transaction {NOWHERE}, but no receipt of it"),
        ),
        (
            "a range that leaves out what its halves have",
            far(),
            vec![],
            Box::new(|method, params, truth| {
                let whole = params[0]["fromBlock"] == height(1_001) && params[0]["toBlock"] == height(1_039);
                Says(if method == "eth_getLogs" && whole { json!([]) } else { truth })
            }),
            "a range and its halves hold different logs".into(),
        ),
        (
            "the end of a range changes while it is read",
            far(),
            vec![],
            moving_end,
            "the end of the range changed its hash while it was read".into(),
        ),
        (
            "the head is below the range that was answered",
            far(),
            vec![],
            always("eth_blockNumber", Says(json!("0x3e9"))),
            "the node's head is below the end of the range it answered".into(),
        ),
        (
            "a log beyond the range",
            far(),
            vec![],
            logs(1_002, |list| list[0]["blockNumber"] = height(9_999)),
            "a log lies outside of the range asked for".into(),
        ),
        (
            "a log of another fork in a range",
            far(),
            vec![],
            logs(1_002, |list| list[0]["blockHash"] = json!(NOWHERE)),
            "a log carries the hash of a block that is not canonical".into(),
        ),
        (
            "two logs in one place of a range",
            far(),
            vec![],
            logs(1_002, twice_with_other_data),
            "two different logs in one place".into(),
        ),
        (
            "a single block that is too large",
            far(),
            vec![],
            Box::new(|method, params, truth| match method {
                "eth_getLogs" if !params[0]["fromBlock"].is_null() => {
                    Refuses(-32005, "query returned more than 10000 results")
                }
                _ => Says(truth),
            }),
            "the node refuses eth_getLogs: even one block is too large: query returned more than 10000 results"
                .into(),
        ),
        (
            "a pruned node",
            chain(),
            vec![],
            always("eth_getLogs", Refuses(-32000, "header not found")),
            "the node does not have that block (eth_getLogs): header not found".into(),
        ),
    ];
    let names: Vec<_> = rows.iter().map(|row| (row.0, row.4.clone())).collect();
    let found = rows.into_iter().map(|(_, chain, standing, lie, expected)| async move {
        becomes(chain, ChainView { standing, ..ChainView::default() }, lie, 1_001, &expected).await
    });
    let found = futures_util::future::join_all(found).await;
    assert_rows(
        names.into_iter().zip(found).map(|((name, expected), found)| (name, found, expected)).collect(),
    );
}

/// The harness itself: without a lie every chain above ends in a sweep.
#[tokio::test]
async fn the_truth_is_handed_on() {
    let truth = |_: &str, _: &Value, truth| Says(truth);
    let near = becomes(a_chain(1), ChainView::default(), Box::new(truth), 1_001, "-").await;
    let far = becomes(a_chain(100), ChainView::default(), Box::new(truth), 1_001, "-").await;
    assert_eq!((near.as_str(), far.as_str()), ("a sweep of 2 events", "a sweep of 2 events"));
    let early = becomes(a_chain(1), ChainView::default(), Box::new(truth), 5_000, "").await;
    assert_eq!(
        early,
        "the node's head 1004 is below DEPLOYMENT_BLOCK 5000; waiting (is the node still syncing?)"
    );
}

/// `bot replay` asks for one transaction.
#[tokio::test]
async fn a_replayed_transaction_must_be_on_the_chain() {
    let chain = a_chain(1);
    let tx = chain.block_at(1_002).unwrap().txs[0].hash;
    let at = chain.block_at(1_002).unwrap().reference();
    let rows: Vec<(&str, B256, u64, Lie, String)> = vec![
        ("as it should be", tx, CHAIN_ID, Box::new(|_, _, truth| Says(truth)), "1 events".into()),
        (
            "no such transaction",
            NOWHERE,
            CHAIN_ID,
            Box::new(|_, _, truth| Says(truth)),
            format!("the node has no transaction {NOWHERE}; check the hash and WS_RPC_URL"),
        ),
        (
            "its block has left the chain",
            tx,
            CHAIN_ID,
            header(1_002, "hash", json!(NOWHERE)),
            format!(
                "transaction {tx} is in block {at}, which is not on the chain; try again when the chain has settled"
            ),
        ),
        (
            "its block is not there",
            tx,
            CHAIN_ID,
            Box::new(|method, _, truth| {
                Says(if method == "eth_getBlockByNumber" { Value::Null } else { truth })
            }),
            format!(
                "transaction {tx} is in block {at}, which is not on the chain; try again when the chain has settled"
            ),
        ),
        (
            "another chain",
            tx,
            1,
            Box::new(|_, _, truth| Says(truth)),
            "NODE is on chain 8453, but this run began on chain 1; set WS_RPC_URL to a node of chain 1"
                .into(),
        ),
    ];
    let mut found = Vec::new();
    for (name, tx, chain_id, mut lie, expected) in rows {
        let chain = chain.clone();
        let url = node(move |method, params| match honest(&chain, method, params) {
            Says(truth) => lie(method, params, truth),
            other => other,
        })
        .await;
        let answer = chain::transaction(&config(url.clone(), 1_001), chain_id, &[], tx).await;
        let text =
            answer.map_or_else(|error| error.to_string(), |push| format!("{} events", push.events.len()));
        found.push((name, text.replace(&url, "NODE"), expected));
    }
    assert_rows(found);
}

/// Before anything is read: the wrong chain, and an order book that is no contract.
#[tokio::test]
async fn a_node_of_another_chain_or_without_the_order_book_ends_the_process() {
    type Change = fn(&mut ChainConfig);
    let rows: Vec<(&str, Lie, Change, &str)> = vec![
        ("as it should be", Box::new(|_, _, truth| Says(truth)), |_| {}, "chain 8453"),
        (
            "CHAIN_ID says another",
            Box::new(|_, _, truth| Says(truth)),
            |config| config.chain_id = Some(1),
            "78: NODE is on chain 8453, but CHAIN_ID says chain 1; set WS_RPC_URL to a node of chain 1",
        ),
        (
            "the ledger is of another",
            Box::new(|_, _, truth| Says(truth)),
            |config| config.stamped_chain_id = Some(1),
            "78: NODE is on chain 8453, but the ledger is of chain 1; set WS_RPC_URL to a node of chain 1",
        ),
        (
            "no code at the order book",
            always("eth_getCode", Says(json!("0x"))),
            |_| {},
            "78: there is no contract at order book 0x2121212121212121212121212121212121212121 on chain 8453 at block 1004; \
             check ORDERBOOK and WS_RPC_URL",
        ),
    ];
    let mut found = Vec::new();
    for (name, mut lie, change, expected) in rows {
        let chain = a_chain(1);
        let url = node(move |method, params| match honest(&chain, method, params) {
            Says(truth) => lie(method, params, truth),
            other => other,
        })
        .await;
        let mut config = config(url.clone(), 1_001);
        change(&mut config);
        let (facts, _) = watch::channel(ChainFacts::default());
        let answer = chain::identify(&config, &facts).await;
        let text =
            answer.map_or_else(|stop| format!("{}: {stop}", stop.exit_code()), |id| format!("chain {id}"));
        found.push((name, text.replace(&url, "NODE"), expected));
    }
    assert_rows(found);
}
