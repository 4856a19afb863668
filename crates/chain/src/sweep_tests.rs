//! The sweep before a node that refuses: what is asked for next, and when a range that was handed over is done with.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, B256};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::rpc::RpcError;
use super::scripted::{Said, node};
use super::sweep::{Found, Memory, Survey, is_done_with};
use super::tokens::Tokens;
use super::trouble::Trouble;
use super::{ChainConfig, ChainFacts, ChainView};
use crate::units::{BlockRef, Millis};

const HEAD: u64 = 1_300;
const FIRST: u64 = 1;
const RANGE: u64 = 400;
/// Below it everything is read by height.
const FAR: u64 = HEAD - 100;

fn hash(number: u64) -> B256 {
    B256::left_padding_from(&(number + 1).to_be_bytes())
}

fn header(number: u64) -> Value {
    json!({
        "number": format!("{number:#x}"), "hash": hash(number), "parentHash": hash(number.saturating_sub(1)),
        "timestamp": "0x64", "logsBloom": format!("0x{}", "0".repeat(512)), "transactions": [],
    })
}

fn height(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn config() -> ChainConfig {
    ChainConfig {
        ws_url: "ws://node.example".into(),
        cert_file: None,
        chain_id: None,
        stamped_chain_id: None,
        orderbooks: vec![Address::repeat_byte(0x21)],
        owners: vec![],
        deployment_block: FIRST,
        hedge_from_block: None,
        symbols: None,
        equities: [].into(),
        ratios: std::collections::BTreeMap::new(),
        unit_jump_max_percent: crate::tokens::UNIT_JUMP_MAX_PERCENT,
        cash: None,
        log_range_blocks: RANGE,
        head_age_max: Duration::from_secs(60),
    }
}

/// What reading comes to, before a node that says to a question for so many blocks, which is so many-th, what `refuses`
/// says: the ranges that it was asked for, where the cursor is, and the last trouble.
async fn read(
    attempts: usize,
    mut refuses: impl FnMut(usize, u64) -> Option<(i64, &'static str)> + Send + 'static,
) -> (Vec<u64>, u64, Option<RpcError>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&asked);
    let rpc = node(move |method, params| -> Said {
        match method {
            "eth_getBlockByNumber" if params[0] == "latest" => Ok(header(HEAD)),
            "eth_getBlockByNumber" => Ok(header(height(&params[0]))),
            "eth_blockNumber" => Ok(json!(format!("{HEAD:#x}"))),
            "eth_getLogs" if params[0]["blockHash"].is_null() => {
                let blocks = height(&params[0]["toBlock"]) - height(&params[0]["fromBlock"]) + 1;
                let mut asked = kept.lock().unwrap();
                asked.push(blocks);
                refuses(asked.len(), blocks).map_or(Ok(json!([])), Err)
            }
            "eth_getLogs" => Ok(json!([])),
            other => Err((-32_601, if other.is_empty() { "" } else { "no such method" })),
        }
    });
    let config = config();
    let (facts, _) = watch::channel(ChainFacts::default());
    let mut memory = Memory::new(&config);
    let mut view = ChainView { cursor: Some(BlockRef { number: 0, hash: hash(0) }), ..ChainView::default() };
    let mut trouble = None;
    // The first attempt reads block by block: nothing below the first base is known to be out of a fork's reach.
    for _ in 0..attempts {
        let book = config.book(1);
        let tokens = Tokens::new(&config);
        let mut survey = Survey {
            rpc: &rpc,
            config: &config,
            book: &book,
            facts: &facts,
            memory: &mut memory,
            tokens,
            code_seen: true,
        };
        match survey.attempt(&view, Millis(0)).await {
            Ok(Found::Range(sweep)) => {
                view.cursor = Some(sweep.target);
                view.window = vec![sweep.base, sweep.target];
            }
            Err(Trouble::Rpc(error)) => trouble = Some(error),
            other => panic!("{other:?}"),
        }
        if view.cursor.is_some_and(|cursor| cursor.number >= FAR) {
            break;
        }
    }
    let asked = asked.lock().unwrap().clone();
    (asked, view.cursor.unwrap().number, trouble)
}

#[tokio::test]
async fn a_range_that_is_too_much_is_made_smaller_whatever_the_words() {
    for (code, words) in [
        (30, "Request timeout on the free tier, please upgrade your tier to the paid one"),
        (-32_002, "request timed out"),
        (-32_000, "not on a Tuesday"),
        (-32_005, ""),
        (-32_614, "eth_getLogs is limited to a 50 range"),
    ] {
        let (asked, cursor, _) = read(200, move |_, blocks| (blocks > 50).then_some((code, words))).await;
        assert!(cursor >= FAR, "{words}: {cursor} after {asked:?}");
        let refused = asked.iter().filter(|blocks| **blocks > 50).count();
        assert!(refused < 20, "{words}: {refused} refused of {asked:?}");
    }
}

#[tokio::test]
async fn a_range_is_kept_where_the_node_is_asked_too_often_or_too_early() {
    for (code, words) in [
        (-32_005, "You've exceeded the RPS limit available on the current plan."),
        (-32_005, "Requests per second limit exceeded"),
        (429, "slow down"),
        (-32_016, "over rate limit"),
        (-32_602, "BlockOutOfRangeError: block height is 101 but requested was 4096"),
        (-32_602, "block range extends beyond current head block"),
    ] {
        let (asked, cursor, trouble) = read(80, move |n, _| (n % 8 < 5).then_some((code, words))).await;
        assert!(cursor >= FAR, "{words}: {cursor} after {asked:?}, {trouble:?}");
        // Whole ranges and their halves; the last one is what is left of the chain.
        let last = asked.iter().rposition(|blocks| *blocks == RANGE / 2).unwrap();
        assert!(
            asked[..=last].iter().all(|blocks| [RANGE, RANGE / 2].contains(blocks)),
            "{words}: {asked:?}"
        );
        let (left, halves) = (asked[last + 1], asked[last + 1..].iter());
        assert!(halves.clone().all(|blocks| [left, left / 2].contains(blocks)), "{words}: {asked:?}");
    }
}

#[tokio::test]
async fn a_refusal_for_ever_is_waited_for_with_the_whole_range() {
    let (asked, cursor, trouble) = read(13, |_, _| Some((-32_000, "not on a Tuesday"))).await;
    assert_eq!(asked, [400, 400, 200, 1, 400, 400, 400, 400, 400, 400, 400, 400]);
    assert!(cursor < FIRST + RANGE, "{cursor}");
    let words = "the node refuses eth_getLogs: not on a Tuesday (code -32000)";
    assert_eq!(trouble.unwrap().to_string(), words);
}

#[tokio::test]
async fn a_pause_that_the_node_asks_for_comes_with_the_trouble() {
    let (_, _, trouble) = read(2, |_, _| Some((-32_090, "Too many requests, retry in 10s"))).await;
    let Some(RpcError::Limited { pause, .. }) = trouble else { panic!("{trouble:?}") };
    assert_eq!(pause, Some(Duration::from_secs(10)));
}

#[test]
fn a_range_is_done_with_when_it_is_the_cursor_or_was_dropped() {
    let block = |number| BlockRef { number, hash: hash(number) };
    let planned = ChainView { cursor: Some(block(5)), dropped_sweeps: 3, ..ChainView::default() };
    let late = ChainView { late_from: Some(4), ..planned.clone() };
    for (planned, view, done) in [
        (&planned, planned.clone(), false),
        // A push was booked meanwhile; the range is still on its way.
        (&planned, ChainView { standing: vec![], late_from: Some(4), ..planned.clone() }, false),
        (&planned, ChainView { cursor: Some(block(9)), ..planned.clone() }, true),
        (&planned, ChainView { dropped_sweeps: 4, ..planned.clone() }, true),
        // Looked back, up to where the cursor is.
        (&late, ChainView { cursor: Some(block(9)), ..late.clone() }, true),
        (&late, ChainView { late_from: None, ..late.clone() }, false),
    ] {
        assert_eq!(is_done_with(&view, planned, block(9)), done, "{view:?}");
    }
    assert!(!is_done_with(&late, &late, block(5)), "the cursor was there before");
    assert!(is_done_with(&ChainView { late_from: None, ..late.clone() }, &late, block(5)));
}
