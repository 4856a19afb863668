//! What contracts answer of themselves: a contract's nonsense is an answer and makes a dead event or a stranger's token,
//! a node's trouble is neither.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::{SolCall, SolValue};
use counterfill::chain::ChainConfig;
use counterfill::chain::abi::token::IToken;
use counterfill::chain::abi::{Amount, Leg, RawLog, Trade};
use counterfill::chain::rpc::Rpc;
use counterfill::chain::tokens::Tokens;
use counterfill::fills::{Event, TokenFact, TokenKind};
use serde_json::{Value, json};

use super::assert_rows;
use super::node::{PATIENCE, Reply, called, node};
use super::ranges::CHAIN_ID;
use Reply::{Refuses, Says};

const USDC: Address = Address::repeat_byte(0xc0);
const SHARE: Address = Address::repeat_byte(0xe0);
const WRAPPED: Address = Address::repeat_byte(0xe1);
const STRANGER: Address = Address::repeat_byte(0xf0);

const SYMBOL: [u8; 4] = IToken::symbolCall::SELECTOR;
const DECIMALS: [u8; 4] = IToken::decimalsCall::SELECTOR;
const ASSET: [u8; 4] = IToken::assetCall::SELECTOR;
const CONVERT: [u8; 4] = IToken::convertToAssetsCall::SELECTOR;

fn bytes(encoded: Vec<u8>) -> Reply {
    Says(json!(Bytes::from(encoded)))
}

fn text(symbol: &str) -> Reply {
    bytes(symbol.abi_encode())
}

fn number(value: u64) -> Reply {
    bytes(U256::from(value).abi_encode())
}

/// What becomes of a trade of a share that says nothing of itself; it is asked again at its next trade.
const UNKNOWN_SHARE: &str =
    "dead: nothing is known of token 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0; 1 facts";
const REVERTS: Reply = Refuses(3, "execution reverted");

/// What honest contracts answer.
fn truth(token: Address, what: [u8; 4]) -> Reply {
    match (token, what) {
        (USDC, SYMBOL) => text("USDC"),
        (SHARE, SYMBOL) => text("tTSLA"),
        (WRAPPED, SYMBOL) => text("wtTSLA"),
        (STRANGER, SYMBOL) => text("PEPE"),
        (USDC, DECIMALS) => number(6),
        (_, DECIMALS) => number(18),
        (WRAPPED, ASSET) => bytes(SHARE.abi_encode()),
        (WRAPPED, CONVERT) => number(1_500_000_000_000_000_000),
        _ => REVERTS,
    }
}

/// What is listed by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    All,
    Nothing,
}

fn config(listed: Listed) -> ChainConfig {
    let tsla = "TSLA".parse().unwrap();
    let equities = BTreeMap::from([(SHARE, tsla), (WRAPPED, "TSLA".parse().unwrap())]);
    ChainConfig {
        ws_url: String::new(),
        cert_file: None,
        chain_id: None,
        stamped_chain_id: None,
        orderbooks: vec![],
        owners: vec![],
        deployment_block: 1,
        hedge_from_block: None,
        symbols: None,
        equities: if listed == Listed::All { equities } else { BTreeMap::new() },
        cash: (listed == Listed::All).then_some(USDC),
        log_range_blocks: 1,
        head_age_max: PATIENCE,
    }
}

/// One token left for a hundred dollars.
fn trade(token: Address) -> Trade {
    let log = RawLog {
        address: Address::ZERO,
        topics: vec![],
        data: Bytes::new(),
        block_number: 100,
        block_hash: B256::repeat_byte(0xaa),
        block_time: None,
        tx_hash: B256::repeat_byte(0xbb),
        log_index: 0,
    };
    Trade {
        log,
        leg: Leg::Take,
        owner: Address::repeat_byte(0x01),
        input_token: USDC,
        input: Amount::Units(U256::from(100_000_000)),
        output_token: token,
        output: Amount::Units(U256::from(1_000_000_000_000_000_000_u64)),
    }
}

fn line(event: &Event) -> String {
    match event {
        Event::Fill(fill) => format!("{} {} {} for {}", fill.id.side, fill.shares, fill.symbol, fill.cash),
        Event::Skipped(skipped) => {
            let symbol = skipped.symbol.as_ref().map_or("-", |symbol| symbol.as_str());
            format!("{} {} {symbol} skipped: {}", skipped.id.side, skipped.shares, skipped.reason.as_str())
        }
        Event::Pending(pending) => format!("waits: {}", pending.reason),
        Event::Dead(dead) => format!("dead: {}", dead.reason),
    }
}

/// What a trade of `token` becomes, and how many facts are kept of it, where the contracts answer `odd`.
async fn weighed(listed: Listed, token: Address, odd: Vec<(Address, [u8; 4], Reply)>) -> String {
    let url = node(move |method, params| {
        assert_eq!(method, "eth_call");
        let (to, selector) = called(params);
        let selector: [u8; 4] = alloy::hex::decode(selector).unwrap().try_into().unwrap();
        let told = odd.iter().find(|(token, what, _)| (*token, *what) == (to, selector));
        told.map_or_else(|| truth(to, selector), |(_, _, reply)| reply.clone())
    })
    .await;
    let rpc = Rpc::connect(&url, None).await.unwrap();
    let config = config(listed);
    let mut tokens = Tokens::new(&config);
    match tokens.weigh(&rpc, &config.book(CHAIN_ID), &[trade(token)], 0).await {
        Ok(weighed) => format!("{}; {} facts", line(&weighed.events[0]), weighed.tokens.len()),
        Err(error) => {
            format!("asked again: {}", error.to_string().split(" at line ").next().unwrap_or_default())
        }
    }
}

#[tokio::test]
async fn a_contracts_nonsense_is_an_answer_and_a_nodes_trouble_is_not() {
    use Listed::{All, Nothing};
    let word = |byte: u8| bytes(vec![byte; 32]);
    type Row = (&'static str, Listed, Address, Vec<(Address, [u8; 4], Reply)>, &'static str);
    let rows: Vec<Row> = vec![
        ("a listed share", All, SHARE, vec![], "SELL 1 TSLA for 100; 2 facts"),
        ("a named share", Nothing, SHARE, vec![], "SELL 1 TSLA for 100; 2 facts"),
        ("a wrapped share", All, WRAPPED, vec![], "SELL 1.5 TSLA for 100; 2 facts"),
        ("a stranger's token", All, STRANGER, vec![], "SELL 1 - skipped: foreign_pair; 2 facts"),
        ("a listed share without decimals", All, SHARE, vec![(SHARE, DECIMALS, REVERTS)], UNKNOWN_SHARE),
        ("with an empty answer", All, SHARE, vec![(SHARE, DECIMALS, bytes(vec![]))], UNKNOWN_SHARE),
        ("with decimals beyond a byte", All, SHARE, vec![(SHARE, DECIMALS, number(300))], UNKNOWN_SHARE),
        (
            "with 18 in the last byte only",
            All,
            SHARE,
            vec![(SHARE, DECIMALS, number(256 + 18))],
            UNKNOWN_SHARE,
        ),
        (
            "with more than can be counted",
            All,
            SHARE,
            vec![(SHARE, DECIMALS, number(19))],
            "dead: token 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 has 19 decimals, more than the 18 that can be counted exactly; 2 facts",
        ),
        ("without a symbol", All, SHARE, vec![(SHARE, SYMBOL, REVERTS)], "SELL 1 TSLA for 100; 2 facts"),
        (
            "with a symbol of control characters",
            All,
            SHARE,
            vec![(SHARE, SYMBOL, text("a\u{7}"))],
            "SELL 1 TSLA for 100; 2 facts",
        ),
        (
            "without a symbol, and a vault",
            All,
            WRAPPED,
            vec![(WRAPPED, SYMBOL, REVERTS)],
            "SELL 1.5 TSLA for 100; 2 facts",
        ),
        (
            "cash without decimals",
            All,
            SHARE,
            vec![(USDC, DECIMALS, REVERTS)],
            "dead: nothing is known of token 0xC0C0c0c0C0C0c0c0c0C0c0C0C0C0C0C0C0C0c0c0; 1 facts",
        ),
        ("a named share without decimals", Nothing, SHARE, vec![(SHARE, DECIMALS, REVERTS)], UNKNOWN_SHARE),
        ("a named share without a name", Nothing, SHARE, vec![(SHARE, SYMBOL, REVERTS)], UNKNOWN_SHARE),
        ("a name that is no text", Nothing, SHARE, vec![(SHARE, SYMBOL, word(0xff))], UNKNOWN_SHARE),
        (
            "a name of control characters",
            Nothing,
            SHARE,
            vec![(SHARE, SYMBOL, text("t\u{7}TSLA"))],
            UNKNOWN_SHARE,
        ),
        (
            "a stranger's without decimals",
            All,
            STRANGER,
            vec![(STRANGER, DECIMALS, REVERTS)],
            "SELL 1000000000000000000 - skipped: foreign_pair; 2 facts",
        ),
        (
            "a stranger's without a name",
            All,
            STRANGER,
            vec![(STRANGER, SYMBOL, REVERTS)],
            "SELL 1 - skipped: foreign_pair; 2 facts",
        ),
        (
            "a stranger's that calls itself a share",
            All,
            STRANGER,
            vec![(STRANGER, SYMBOL, text("tTSLA"))],
            "SELL 1 - skipped: foreign_pair; 2 facts",
        ),
        (
            "a stranger's that calls itself cash",
            All,
            STRANGER,
            vec![(STRANGER, SYMBOL, text("USDC"))],
            "SELL 1 - skipped: foreign_pair; 2 facts",
        ),
        (
            "a vault that names no asset",
            All,
            WRAPPED,
            vec![(WRAPPED, ASSET, REVERTS)],
            "dead: no convertToAssets(1000000000000000000) of wrapped token 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 is known at block 0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; 2 facts",
        ),
        (
            "a vault of an asset without decimals",
            All,
            WRAPPED,
            vec![(SHARE, DECIMALS, REVERTS)],
            "dead: no convertToAssets(1000000000000000000) of wrapped token 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 is known at block 0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; 2 facts",
        ),
        (
            "a vault without a ratio",
            All,
            WRAPPED,
            vec![(WRAPPED, CONVERT, REVERTS)],
            "dead: no convertToAssets(1000000000000000000) of wrapped token 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 is known at block 0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; 2 facts",
        ),
        (
            "a ratio of half a word",
            All,
            WRAPPED,
            vec![(WRAPPED, CONVERT, bytes(vec![0; 16]))],
            "dead: no convertToAssets(1000000000000000000) of wrapped token 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 is known at block 0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; 2 facts",
        ),
        (
            "a ratio of nothing",
            All,
            WRAPPED,
            vec![(WRAPPED, CONVERT, number(0))],
            "SELL 0 TSLA skipped: zero_shares; 2 facts",
        ),
        (
            "a ratio beyond counting",
            All,
            WRAPPED,
            vec![(WRAPPED, CONVERT, word(0xff))],
            "dead: 115792089237316195423570985008687907853269984665640564039457584007913129639935 base units of token 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 are more than can be counted; 2 facts",
        ),
        (
            "a node without the state",
            All,
            WRAPPED,
            vec![(WRAPPED, CONVERT, Refuses(-32000, "missing trie node"))],
            "asked again: the node refuses eth_call: missing trie node (code -32000)",
        ),
        (
            "a node that is busy",
            All,
            SHARE,
            vec![(SHARE, SYMBOL, Refuses(-32005, "rate limit"))],
            "asked again: the node limits eth_call: rate limit (code -32005)",
        ),
        (
            "an answer that is no bytes",
            All,
            SHARE,
            vec![(SHARE, SYMBOL, Says(json!(7)))],
            "asked again: the answer to eth_call makes no sense: invalid type: integer `7`, expected a variable number of bytes represented as a hex string, an array of u8, or raw bytes",
        ),
    ];
    let names: Vec<_> = rows.iter().map(|row| (row.0, row.4)).collect();
    let found = rows.into_iter().map(|(_, listed, token, odd, _)| weighed(listed, token, odd));
    let found = futures_util::future::join_all(found).await;
    assert_rows(
        names.into_iter().zip(found).map(|((name, expected), found)| (name, found, expected)).collect(),
    );
}

/// At the start of a process the ledger's tokens are asked again.
#[tokio::test]
async fn a_token_that_is_no_longer_what_the_ledger_says_is_told() {
    let fact = |address, decimals, kind| TokenFact { address, symbol: "tTSLA".into(), decimals, kind };
    let share = TokenKind::Share("TSLA".parse().unwrap());
    type Row = (&'static str, TokenFact, Vec<(Address, [u8; 4], Reply)>, &'static str);
    let rows: Vec<Row> = vec![
        ("as it was", fact(SHARE, 18, share.clone()), vec![], "nothing"),
        ("a stranger's that has changed", fact(STRANGER, 3, TokenKind::Foreign), vec![], "nothing"),
        (
            "other decimals",
            fact(SHARE, 6, share.clone()),
            vec![],
            "token 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 is the share TSLA with 6 decimals in the ledger, but the chain, read with EQUITIES and CASH as they are set, says the share TSLA with 18 decimals; set EQUITIES and CASH as they were, or begin a new ledger (another DATABASE_URL)",
        ),
        (
            "another kind",
            fact(WRAPPED, 18, share.clone()),
            vec![],
            "token 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 is the share TSLA with 18 decimals in the ledger, but the chain, read with EQUITIES and CASH as they are set, says a wrapped share TSLA with 18 decimals; set EQUITIES and CASH as they were, or begin a new ledger (another DATABASE_URL)",
        ),
        ("listed since, with the decimals it had", fact(SHARE, 18, TokenKind::Foreign), vec![], "nothing"),
        (
            "listed since, with others",
            fact(SHARE, 6, TokenKind::Foreign),
            vec![],
            "token 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 is neither a share nor cash (6 decimals) in the ledger, but the chain, read with EQUITIES and CASH as they are set, says the share TSLA with 18 decimals; set EQUITIES and CASH as they were, or begin a new ledger (another DATABASE_URL)",
        ),
        (
            "unreadable now",
            fact(SHARE, 18, share.clone()),
            vec![(SHARE, DECIMALS, REVERTS)],
            "token 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 is the share TSLA with 18 decimals in the ledger, but the chain, read with EQUITIES and CASH as they are set, says something that can not be read; set EQUITIES and CASH as they were, or begin a new ledger (another DATABASE_URL)",
        ),
        (
            "one that the node refuses to say anything of: the others go on",
            fact(SHARE, 18, share),
            vec![(SHARE, SYMBOL, Refuses(-32603, "internal error"))],
            "nothing",
        ),
    ];
    let mut found = Vec::new();
    for (name, fact, odd, expected) in rows {
        let url = node(move |_, params| {
            let (to, selector) = called(params);
            let selector: [u8; 4] = alloy::hex::decode(selector).unwrap().try_into().unwrap();
            let told = odd.iter().find(|(token, what, _)| (*token, *what) == (to, selector));
            told.map_or_else(|| truth(to, selector), |(_, _, reply)| reply.clone())
        })
        .await;
        let rpc = Rpc::connect(&url, None).await.unwrap();
        let mut tokens = Tokens::new(&config(Listed::All));
        tokens.learn(&[fact]);
        let text = match tokens.changed(&rpc).await {
            Ok(changed) => changed.unwrap_or_else(|| "nothing".to_owned()),
            Err(error) => format!("asked again: {error}"),
        };
        found.push((name, text, expected));
    }
    assert_rows(found);
}

/// The state of a block that the node does not have any more is one fill's trouble; that it is not there yet is nobody's.
#[tokio::test]
async fn a_state_that_is_gone_makes_its_own_trade_wait() {
    let gone = |method: &str, params: &Value| match (method, &params[1]) {
        ("eth_call", Value::String(at)) if at == "latest" => {
            let (to, selector) = called(params);
            truth(to, alloy::hex::decode(selector).unwrap().try_into().unwrap())
        }
        ("eth_call", _) => Refuses(-32000, "missing trie node 8b1604e0 (path )"),
        _ => Says(Value::Null),
    };
    let config = config(Listed::All);
    let book = config.book(CHAIN_ID);
    let rpc = Rpc::connect(&node(gone).await, None).await.unwrap();
    let both = [trade(WRAPPED), trade(SHARE)];
    let lines = |events: &[Event]| events.iter().map(line).collect::<Vec<_>>().join(" / ");
    let waits = "waits: the node refuses eth_call: missing trie node 8b1604e0 (path ) (code -32000) / SELL 1 TSLA for 100";
    // At or below the height whose state a node may drop: at once, and the other trade goes on.
    let mut tokens = Tokens::new(&config);
    assert_eq!(lines(&tokens.weigh(&rpc, &book, &both, 100).await.unwrap().events), waits);
    // Above it the state may only be late: asked again, some times.
    let mut tokens = Tokens::new(&config);
    let mut attempts = 0;
    let weighed = loop {
        attempts += 1;
        match tokens.weigh(&rpc, &book, &both, 99).await {
            Ok(weighed) => break weighed,
            Err(_) => assert!(attempts < 20, "for ever"),
        }
    };
    assert_eq!((attempts, lines(&weighed.events).as_str()), (8, waits));
    // A limit is about all calls, whatever is asked, and nothing waits alone for it.
    let limited = |_: &str, _: &Value| Refuses(429, "Too Many Requests");
    let rpc = Rpc::connect(&node(limited).await, None).await.unwrap();
    let mut tokens = Tokens::new(&config);
    for _ in 0..20 {
        assert!(tokens.weigh(&rpc, &book, &both, 100).await.is_err());
    }
}

/// A node that takes no hash for a state is asked by height, as long as the block stands there.
#[tokio::test]
async fn a_node_that_takes_heights_only_is_asked_by_height() {
    for (stands, expected) in [(true, "SELL 1.5 TSLA for 100"), (false, "waits: ")] {
        let by_height = move |method: &str, params: &Value| match method {
            "eth_call" if params[1].is_object() => Refuses(-32602, "invalid argument 1: hex string expected"),
            "eth_call" => {
                let (to, selector) = called(params);
                truth(to, alloy::hex::decode(selector).unwrap().try_into().unwrap())
            }
            _ => Says(json!({
                "number": "0x64", "hash": B256::repeat_byte(if stands { 0xaa } else { 0xab }),
                "parentHash": B256::ZERO, "timestamp": "0x1", "logsBloom": format!("0x{}", "0".repeat(512)),
            })),
        };
        let config = config(Listed::All);
        let rpc = Rpc::connect(&node(by_height).await, None).await.unwrap();
        let trades = [trade(WRAPPED)];
        let weighed = Tokens::new(&config).weigh(&rpc, &config.book(CHAIN_ID), &trades, 100).await.unwrap();
        assert!(line(&weighed.events[0]).starts_with(expected), "{}", line(&weighed.events[0]));
    }
}
