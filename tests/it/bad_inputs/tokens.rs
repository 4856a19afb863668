//! What contracts answer of themselves: a contract's nonsense is an answer, and makes a dead event, a stranger's token or a
//! fill that waits; a node's trouble is none of these.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::{SolCall, SolValue};
use counterfill::chain::ChainConfig;
use counterfill::chain::abi::token::IToken;
use counterfill::chain::abi::{Amount, Leg, RawLog, Trade};
use counterfill::chain::rpc::Rpc;
use counterfill::chain::tokens::{self, Tokens};
use counterfill::fills::{Event, TokenFact, TokenKind, Unit};
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
const SUPPLY: [u8; 4] = IToken::totalSupplyCall::SELECTOR;
const UNDERLYING: [u8; 4] = IToken::underlyingCall::SELECTOR;
const UI_MULTIPLIER: [u8; 4] = IToken::uiMultiplierCall::SELECTOR;
const MULTIPLIER: [u8; 4] = IToken::multiplierCall::SELECTOR;

const E18: u64 = 1_000_000_000_000_000_000;

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
/// A vault that does not answer.
const UNANSWERED: &str = "waits: convertToAssets of 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 is not answered in the state of the fill's block; 2 facts";
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
        (WRAPPED, SUPPLY) => bytes(U256::MAX.abi_encode()),
        _ => REVERTS,
    }
}

/// Block 100, in which the trades are.
fn block(hash: u8) -> Reply {
    Says(json!({
        "number": "0x64", "hash": B256::repeat_byte(hash), "parentHash": B256::repeat_byte(0x99), "timestamp": "0x1",
        "logsBloom": format!("0x{}", "0".repeat(512)),
    }))
}

/// Whether a call is of the state before block 100.
fn before(params: &Value) -> bool {
    params[1]["blockHash"] == json!(B256::repeat_byte(0x99))
}

/// What is listed by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    All,
    Nothing,
    /// All, with ten shares a token.
    Ratio,
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
        ratios: match listed {
            Listed::Ratio => equities.keys().map(|token| (*token, "10".parse().unwrap())).collect(),
            Listed::All | Listed::Nothing => BTreeMap::new(),
        },
        equities: if listed == Listed::Nothing { BTreeMap::new() } else { equities },
        unit_jump_max_percent: tokens::UNIT_JUMP_MAX_PERCENT,
        cash: (listed != Listed::Nothing).then_some(USDC),
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
        if method == "eth_getBlockByNumber" {
            return block(0xaa);
        }
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
            "a token that is called a wrapped share and names no asset",
            All,
            WRAPPED,
            vec![(WRAPPED, ASSET, REVERTS)],
            "waits: 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 calls itself wtTSLA, a wrapped share, and does not say what it holds; 1 facts",
        ),
        (
            "a vault of an asset without decimals",
            All,
            WRAPPED,
            vec![(SHARE, DECIMALS, REVERTS)],
            "waits: decimals() of 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 is not answered in the state of the fill's block; 2 facts",
        ),
        ("a vault without a ratio", All, WRAPPED, vec![(WRAPPED, CONVERT, REVERTS)], UNANSWERED),
        ("a ratio of half a word", All, WRAPPED, vec![(WRAPPED, CONVERT, bytes(vec![0; 16]))], UNANSWERED),
        (
            "a ratio of nothing",
            All,
            WRAPPED,
            vec![(WRAPPED, CONVERT, number(0))],
            "waits: 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 says that 1000000000000000000 base units of it are worth nothing; 2 facts",
        ),
        (
            "a ratio beyond counting",
            All,
            WRAPPED,
            vec![(WRAPPED, CONVERT, word(0xff))],
            "waits: 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 says that 1000000000000000000 base units of it are 115792089237316195423570985008687907853269984665640564039457584007913129639935 base units of a share with 18 decimals, which cannot be; 2 facts",
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

/// What a listed token is worth, by what its contract says of itself (`protocol.md` 1.8). The fill is of one token.
#[tokio::test]
async fn a_tokens_worth_is_what_its_contract_says_whatever_it_is_called() {
    use Listed::{All, Nothing, Ratio};
    const LAST: Address = Address::repeat_byte(0x22);
    let holds = |asset: Address| bytes(asset.abi_encode());
    let vault = |asset| vec![(SHARE, ASSET, holds(asset)), (SHARE, CONVERT, number(10 * E18))];
    let word = || bytes(vec![0xff; 32]);
    type Row = (&'static str, Listed, Vec<(Address, [u8; 4], Reply)>, &'static str);
    let rows: Vec<Row> = vec![
        ("a vault that is not called wt", All, vault(LAST), "SELL 10 TSLA for 100; 2 facts"),
        ("and one that is known by its name", Nothing, vault(LAST), "SELL 10 TSLA for 100; 2 facts"),
        ("a plain wrapper", All, vec![(SHARE, UNDERLYING, holds(LAST))], "SELL 1 TSLA for 100; 2 facts"),
        ("ERC-8056", All, vec![(SHARE, UI_MULTIPLIER, number(4 * E18))], "SELL 4 TSLA for 100; 2 facts"),
        ("Base's B20", All, vec![(SHARE, MULTIPLIER, number(4 * E18))], "SELL 4 TSLA for 100; 2 facts"),
        (
            "a vault over a multiplied token",
            All,
            [vault(LAST), vec![(LAST, UI_MULTIPLIER, number(E18 / 2))]].concat(),
            "SELL 5 TSLA for 100; 2 facts",
        ),
        (
            "a wrapper over a vault over a token with 6 decimals",
            All,
            vec![
                (SHARE, UNDERLYING, holds(WRAPPED)),
                (WRAPPED, ASSET, holds(LAST)),
                (WRAPPED, CONVERT, number(3_000_000)),
                (LAST, DECIMALS, number(6)),
            ],
            "SELL 3 TSLA for 100; 2 facts",
        ),
        (
            "a vault with 24 decimals of its own",
            All,
            [vec![(SHARE, DECIMALS, number(24)), (SHARE, CONVERT, number(E18 / 1_000_000))], vault(LAST)]
                .concat(),
            "SELL 0.000001 TSLA for 100; 2 facts",
        ),
        ("a ratio that a person lists", Ratio, vec![], "SELL 10 TSLA for 100; 2 facts"),
        (
            "a fallback that answers everything with nothing",
            All,
            vec![(SHARE, ASSET, bytes(vec![])), (SHARE, UI_MULTIPLIER, bytes(vec![]))],
            "SELL 1 TSLA for 100; 2 facts",
        ),
        (
            "a bridged token that holds none",
            All,
            vec![(SHARE, UNDERLYING, holds(Address::ZERO))],
            "SELL 1 TSLA for 100; 2 facts",
        ),
        (
            "a ratio beside a contract that says its own",
            Ratio,
            vault(LAST),
            "waits: 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 says itself what it is worth (vault:0x2222222222222222222222222222222222222222), and EQUITIES gives it a ratio too: leave that out; 1 facts",
        ),
        (
            "an asset that is no address",
            All,
            vec![(SHARE, ASSET, word())],
            "waits: 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 answers asset() with something that is no address; 1 facts",
        ),
        (
            "a multiplier of half a word",
            All,
            vec![(SHARE, UI_MULTIPLIER, bytes(vec![0; 16]))],
            "waits: 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 answers uiMultiplier() or multiplier() with something that is no number; 1 facts",
        ),
        (
            "a multiplier of nothing",
            All,
            vec![(SHARE, UI_MULTIPLIER, number(0))],
            "waits: 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 says that 1000000000000000000 base units of it are worth nothing; 2 facts",
        ),
        (
            "a vault with a multiplier of its own",
            All,
            [vault(LAST), vec![(SHARE, UI_MULTIPLIER, number(2 * E18))]].concat(),
            "waits: 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 holds 0x2222222222222222222222222222222222222222 and has a multiplier too, and nothing says which counts; 1 facts",
        ),
        (
            "a token that holds itself",
            All,
            vec![(SHARE, UNDERLYING, holds(SHARE))],
            "waits: what 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 holds never ends: 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0 holds 0xe0E0e0e0e0E0E0e0E0e0e0e0e0e0E0e0e0e0e0e0; 1 facts",
        ),
    ];
    let mut found = Vec::new();
    for (name, listed, odd, expected) in rows {
        found.push((name, weighed(listed, SHARE, odd).await, expected));
    }
    assert_rows(found);
}

/// The state of a block is the one after its last transaction: a vault may be emptied or get a gift after the trade.
#[tokio::test]
async fn what_a_vault_says_is_held_against_the_state_before_the_block() {
    let config = config(Listed::All);
    let rows: [(&str, u64, u64, Reply, &str); 6] = [
        ("quiet", 10, 100, number(10 * E18), "SELL 10 TSLA for 100, no jump"),
        ("emptied later", 1, 0, number(10 * E18), "SELL 10 TSLA for 100, no jump"),
        ("a gift later", 15, 100, number(10 * E18), "SELL 15 TSLA for 100, jump"),
        ("a vault of this block", 10, 100, REVERTS, "SELL 10 TSLA for 100, no jump"),
        (
            "a node that dropped that state",
            10,
            100,
            Refuses(-32000, "missing trie node"),
            "SELL 10 TSLA for 100, no jump",
        ),
        (
            "emptied, and no state before",
            1,
            0,
            REVERTS,
            "waits: vault 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 holds less at the end of the fill's block than the fill moved, and says nothing of the state before",
        ),
    ];
    let mut found = Vec::new();
    for (name, at_block, supply, earlier, expected) in rows {
        let answers = move |method: &str, params: &Value| {
            if method == "eth_getBlockByNumber" {
                return block(0xaa);
            }
            let (to, selector) = called(params);
            match (to, alloy::hex::decode(selector).unwrap().try_into().unwrap()) {
                (WRAPPED, CONVERT) if before(params) => earlier.clone(),
                (WRAPPED, CONVERT) => number(at_block * E18),
                (WRAPPED, SUPPLY) => number(supply * (E18 / 10)),
                (to, selector) => truth(to, selector),
            }
        };
        let rpc = Rpc::connect(&node(answers).await, None).await.unwrap();
        let weighed =
            Tokens::new(&config).weigh(&rpc, &config.book(CHAIN_ID), &[trade(WRAPPED)], 0).await.unwrap();
        let event = &weighed.events[0];
        let text = match event {
            Event::Fill(fill) if fill.unit.as_ref().unwrap().worth.jump.is_some() => {
                format!("{}, jump", line(event))
            }
            Event::Fill(_) => format!("{}, no jump", line(event)),
            _ => line(event),
        };
        found.push((name, text, expected));
    }
    assert_rows(found);
}

/// At the start of a process the ledger's tokens are asked again.
#[tokio::test]
async fn a_token_that_is_no_longer_what_the_ledger_says_is_told() {
    let fact = |address, decimals, kind| TokenFact { address, symbol: "tTSLA".into(), decimals, kind };
    let share = TokenKind::Share("TSLA".parse().unwrap(), Unit::One);
    let unrecorded = |wrapped| TokenKind::Share("TSLA".parse().unwrap(), Unit::Unrecorded { wrapped });
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
            "token 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 is the share TSLA with 18 decimals in the ledger, but the chain, read with EQUITIES and CASH as they are set, says a share of TSLA by vault:0xe0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0 with 18 decimals; set EQUITIES and CASH as they were, or begin a new ledger (another DATABASE_URL)",
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
            "of an earlier version, one to one",
            fact(SHARE, 18, unrecorded(false)),
            vec![],
            "learnt: Share(TSLA, One)",
        ),
        (
            "of an earlier version, wrapped",
            fact(WRAPPED, 18, unrecorded(true)),
            vec![],
            "learnt: Share(TSLA, Asked { holds: [Vault(0xe0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0)], multiplied: false })",
        ),
        (
            "of an earlier version, a vault that was counted one to one",
            fact(WRAPPED, 18, unrecorded(false)),
            vec![],
            "token 0xE1E1E1e1E1E1e1e1E1E1E1e1e1e1E1E1E1E1e1e1 is the share TSLA with 18 decimals in the ledger, but the chain, read with EQUITIES and CASH as they are set, says a share of TSLA by vault:0xe0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0e0 with 18 decimals; set EQUITIES and CASH as they were, or begin a new ledger (another DATABASE_URL)",
        ),
        (
            "that has a multiplier since",
            fact(SHARE, 18, share.clone()),
            vec![(SHARE, UI_MULTIPLIER, number(E18))],
            "learnt: Share(TSLA, Asked { holds: [], multiplied: true })",
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
        let url = node(move |method, params| {
            if method == "eth_getBlockByNumber" {
                return block(0xaa);
            }
            let (to, selector) = called(params);
            let selector: [u8; 4] = alloy::hex::decode(selector).unwrap().try_into().unwrap();
            let told = odd.iter().find(|(token, what, _)| (*token, *what) == (to, selector));
            told.map_or_else(|| truth(to, selector), |(_, _, reply)| reply.clone())
        })
        .await;
        let rpc = Rpc::connect(&url, None).await.unwrap();
        let mut tokens = Tokens::new(&config(Listed::All));
        tokens.learn(&[fact]);
        let text = match tokens.changed(&rpc, Some(B256::repeat_byte(0xaa))).await {
            Ok(Ok(learnt)) if learnt.is_empty() => "nothing".to_owned(),
            Ok(Ok(learnt)) => format!("learnt: {:?}", learnt[0].kind),
            Ok(Err(words)) => words,
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
        _ => block(0xaa),
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
            _ => block(if stands { 0xaa } else { 0xab }),
        };
        let config = config(Listed::All);
        let rpc = Rpc::connect(&node(by_height).await, None).await.unwrap();
        let trades = [trade(WRAPPED)];
        let weighed = Tokens::new(&config).weigh(&rpc, &config.book(CHAIN_ID), &trades, 100).await.unwrap();
        assert!(line(&weighed.events[0]).starts_with(expected), "{}", line(&weighed.events[0]));
    }
}
