//! What a node answers, call by call: every form that makes no sense, and every kind of refusal.

use std::path::Path;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use counterfill::chain::rpc::{At, Notice, Rpc, RpcError, is_revert};
use counterfill::chain::wire::{PushedLog, pushed_head, pushed_log};
use serde_json::{Value, json};

use super::assert_rows;
use super::node::{PATIENCE, Reply, listener, node};
use Reply::{Bytes, Closes, Frame, HangsUp, Heads, Refuses, Says, Silence};

const TX: B256 = B256::repeat_byte(0xbb);
const BLOCK: B256 = B256::repeat_byte(0xaa);

/// A call of ours.
#[derive(Debug, Clone, Copy)]
enum Ask {
    ChainId,
    BlockNumber,
    Head,
    /// The header at height 5.
    Header,
    LogsOfBlock,
    LogsOfRange,
    Receipt,
    BlockReceipts,
    Code,
    Call,
    Subscribe,
}

async fn ask(rpc: &Rpc, ask: Ask) -> Result<String, RpcError> {
    let book = [Address::repeat_byte(0xb0)];
    let logs = |logs: Vec<_>| format!("{} logs", logs.len());
    Ok(match ask {
        Ask::ChainId => rpc.chain_id().await?.to_string(),
        Ask::BlockNumber => rpc.block_number().await?.to_string(),
        Ask::Head => rpc.head().await?.number.to_string(),
        Ask::Header => format!("{:?}", rpc.header(5).await?.map(|header| header.number)),
        Ask::LogsOfBlock => logs(rpc.logs_at(BLOCK, &book, &[TX]).await?),
        Ask::LogsOfRange => logs(rpc.logs_between(5, 9, &book, &[TX]).await?),
        Ask::Receipt => format!("{:?}", rpc.receipt(TX).await?.map(|receipt| receipt.logs.len())),
        Ask::BlockReceipts => format!("{:?}", rpc.block_receipts(BLOCK).await?.map(|all| all.len())),
        Ask::Code => rpc.code(book[0]).await?.to_string(),
        Ask::Call => rpc.eth_call(book[0], &[1], At::Latest).await?.to_string(),
        Ask::Subscribe => rpc.subscribe_heads().await.map(|_| "a feed".to_owned())?,
    })
}

fn header() -> Value {
    json!({
        "number": "0x5", "hash": BLOCK, "parentHash": TX, "timestamp": "0x64",
        "logsBloom": format!("0x{}", "0".repeat(512)), "transactions": [TX], "unknown": {},
    })
}

fn log() -> Value {
    json!({
        "address": Address::repeat_byte(0xb0), "topics": [TX], "data": "0x01", "blockNumber": "0x5", "blockHash": BLOCK,
        "transactionHash": TX, "logIndex": "0x0", "removed": false,
    })
}

fn receipt() -> Value {
    json!({ "transactionHash": TX, "blockNumber": "0x5", "blockHash": BLOCK, "logs": [log()], "status": "0x1" })
}

/// `value` with one field another.
fn with(mut value: Value, field: &str, to: Value) -> Value {
    value[field] = to;
    value
}

fn without(mut value: Value, field: &str) -> Value {
    value.as_object_mut().unwrap().remove(field);
    value
}

/// Name, call, what comes back, and what becomes of it.
type Row = (&'static str, Ask, Reply, &'static str);

fn good() -> Vec<Row> {
    vec![
        ("a chain id", Ask::ChainId, Says(json!("0x2105")), "8453"),
        ("a header", Ask::Head, Says(header()), "5"),
        ("a header without transactions", Ask::Header, Says(without(header(), "transactions")), "Some(5)"),
        (
            "whole transactions",
            Ask::Header,
            Says(with(header(), "transactions", json!([{ "hash": TX, "from": TX }]))),
            "Some(5)",
        ),
        ("no such block", Ask::Header, Says(Value::Null), "None"),
        ("a log", Ask::LogsOfBlock, Says(json!([log()])), "1 logs"),
        ("no logs, said as null", Ask::LogsOfBlock, Says(Value::Null), "0 logs"),
        ("no logs of a range, said as null", Ask::LogsOfRange, Says(Value::Null), "0 logs"),
        ("a receipt", Ask::Receipt, Says(receipt()), "Some(1)"),
        ("no receipt", Ask::Receipt, Says(Value::Null), "None"),
        ("receipts", Ask::BlockReceipts, Says(json!([receipt(), receipt()])), "Some(2)"),
        ("receipts of a block it has not", Ask::BlockReceipts, Says(Value::Null), "None"),
        ("no code", Ask::Code, Says(json!("0x")), "0x"),
    ]
}

/// What has another form than the method's answer.
fn misshapen() -> Vec<Row> {
    let log_with = |field: &str, to: Value| Says(json!([with(log(), field, to)]));
    let receipt_with = |field: &str, to: Value| Says(with(receipt(), field, to));
    vec![
        (
            "no quantity",
            Ask::ChainId,
            Says(Value::Null),
            "the answer to eth_chainId makes no sense: invalid type: null, expected a string",
        ),
        (
            "a number",
            Ask::ChainId,
            Says(json!(8453)),
            "the answer to eth_chainId makes no sense: invalid type: integer `8453`, expected a string",
        ),
        (
            "a decimal",
            Ask::ChainId,
            Says(json!("8453")),
            "the answer to eth_chainId makes no sense: not a quantity of 64 bits",
        ),
        (
            "no digits",
            Ask::ChainId,
            Says(json!("0x")),
            "the answer to eth_chainId makes no sense: not a quantity of 64 bits",
        ),
        (
            "beyond 64 bits",
            Ask::BlockNumber,
            Says(json!("0x10000000000000000")),
            "the answer to eth_blockNumber makes no sense: not a quantity of 64 bits",
        ),
        (
            "beyond what the ledger holds",
            Ask::BlockNumber,
            Says(json!("0x8000000000000000")),
            "the answer to eth_blockNumber makes no sense: not a quantity of 64 bits",
        ),
        (
            "no latest block",
            Ask::Head,
            Says(Value::Null),
            "the answer to eth_getBlockByNumber makes no sense: the node has no latest block",
        ),
        (
            "a header without its hash",
            Ask::Head,
            Says(without(header(), "hash")),
            "the answer to eth_getBlockByNumber makes no sense: missing field `hash`",
        ),
        (
            "a header without its parent",
            Ask::Head,
            Says(without(header(), "parentHash")),
            "the answer to eth_getBlockByNumber makes no sense: missing field `parentHash`",
        ),
        (
            "a header without its number",
            Ask::Head,
            Says(with(header(), "number", Value::Null)),
            "the answer to eth_getBlockByNumber makes no sense: invalid type: null, expected a string",
        ),
        (
            "a bloom of another length",
            Ask::Head,
            Says(with(header(), "logsBloom", json!("0x00"))),
            "the answer to eth_getBlockByNumber makes no sense: invalid string length",
        ),
        (
            "another height",
            Ask::Header,
            Says(with(header(), "number", json!("0x6"))),
            "the answer to eth_getBlockByNumber makes no sense: asked for block 5, got 6",
        ),
        (
            "no list of logs",
            Ask::LogsOfBlock,
            Says(json!({ "logs": [] })),
            "the answer to eth_getLogs makes no sense: invalid type: map, expected a sequence",
        ),
        (
            "a log taken back",
            Ask::LogsOfBlock,
            log_with("removed", json!(true)),
            "the answer to eth_getLogs makes no sense: a log that was removed",
        ),
        (
            "a log without its height",
            Ask::LogsOfBlock,
            log_with("blockNumber", Value::Null),
            "the answer to eth_getLogs makes no sense: a log without a block number",
        ),
        (
            "a log without its block",
            Ask::LogsOfBlock,
            log_with("blockHash", Value::Null),
            "the answer to eth_getLogs makes no sense: a log without a block hash",
        ),
        (
            "a log without its transaction",
            Ask::LogsOfBlock,
            log_with("transactionHash", Value::Null),
            "the answer to eth_getLogs makes no sense: a log without a transaction hash",
        ),
        (
            "a log without its index",
            Ask::LogsOfBlock,
            log_with("logIndex", Value::Null),
            "the answer to eth_getLogs makes no sense: a log without an index",
        ),
        (
            "a log with a short address",
            Ask::LogsOfBlock,
            log_with("address", json!("0xb0")),
            "the answer to eth_getLogs makes no sense: invalid string length",
        ),
        (
            "a log with a short topic",
            Ask::LogsOfBlock,
            log_with("topics", json!(["0xb0"])),
            "the answer to eth_getLogs makes no sense: invalid string length",
        ),
        (
            "a log with half a byte",
            Ask::LogsOfBlock,
            log_with("data", json!("0x1")),
            "the answer to eth_getLogs makes no sense: invalid value: string \"0x1\", expected a valid hex string",
        ),
        (
            "a log with no data at all",
            Ask::LogsOfBlock,
            log_with("data", Value::Null),
            "the answer to eth_getLogs makes no sense: invalid type: null, expected a variable number of bytes represented as a hex string, an array of u8, or raw bytes",
        ),
        (
            "another transaction's receipt",
            Ask::Receipt,
            Says(with(with(receipt(), "transactionHash", json!(BLOCK)), "logs", json!([]))),
            "the answer to eth_getTransactionReceipt makes no sense: another transaction's receipt",
        ),
        (
            "a receipt without its block",
            Ask::Receipt,
            receipt_with("blockHash", Value::Null),
            "the answer to eth_getTransactionReceipt makes no sense: invalid type: null, expected 32 bytes, represented as a hex string of length 64, an array of u8, or raw bytes",
        ),
        (
            "a receipt without logs",
            Ask::Receipt,
            Says(without(receipt(), "logs")),
            "the answer to eth_getTransactionReceipt makes no sense: missing field `logs`",
        ),
        (
            "a receipt with another transaction's log",
            Ask::Receipt,
            receipt_with("logs", json!([with(log(), "transactionHash", json!(BLOCK))])),
            "the answer to eth_getTransactionReceipt makes no sense: a receipt with a log of another transaction or block",
        ),
        (
            "a receipt with another block's log",
            Ask::Receipt,
            receipt_with("logs", json!([with(log(), "blockHash", json!(TX))])),
            "the answer to eth_getTransactionReceipt makes no sense: a receipt with a log of another transaction or block",
        ),
        (
            "a receipt with a log that has no place",
            Ask::BlockReceipts,
            Says(json!([receipt(), with(receipt(), "logs", json!([without(log(), "logIndex")]))])),
            "the answer to eth_getBlockReceipts makes no sense: a log without an index",
        ),
        (
            "code that is no code",
            Ask::Code,
            Says(json!("0xzz")),
            "the answer to eth_getCode makes no sense: invalid value: string \"0xzz\", expected a valid hex string",
        ),
        (
            "a call's answer that is no bytes",
            Ask::Call,
            Says(json!(1)),
            "the answer to eth_call makes no sense: invalid type: integer `1`, expected a variable number of bytes represented as a hex string, an array of u8, or raw bytes",
        ),
        (
            "a subscription without an id",
            Ask::Subscribe,
            Says(Value::Null),
            "the answer to eth_subscribe makes no sense: data did not match any variant of untagged enum SubId",
        ),
    ]
}

/// What the node says it will not do, or does not say at all.
fn refused() -> Vec<Row> {
    vec![
        (
            "an unknown method",
            Ask::BlockReceipts,
            Refuses(-32601, "the method does not exist"),
            "the node refuses eth_getBlockReceipts: the method does not exist (code -32601)",
        ),
        (
            "a revert",
            Ask::Call,
            Refuses(3, "execution reverted"),
            "the node refuses eth_call: execution reverted (code 3)",
        ),
        (
            "a range too large",
            Ask::LogsOfRange,
            Refuses(-32005, "query returned more than 10000 results"),
            "the node refuses so large a range: query returned more than 10000 results",
        ),
        (
            "too many calls",
            Ask::LogsOfRange,
            Refuses(-32005, "daily request count exceeded"),
            "the node limits eth_getLogs: daily request count exceeded (code -32005)",
        ),
        (
            "a large answer of another method",
            Ask::Receipt,
            Refuses(-32005, "response size exceeded"),
            "the node refuses eth_getTransactionReceipt: response size exceeded (code -32005)",
        ),
        (
            "words of many lines",
            Ask::Code,
            Refuses(-32000, "no\n\u{1b}[2Jsuch\tcontract"),
            "the node refuses eth_getCode: no[2Jsuchcontract (code -32000)",
        ),
        (
            "no subscriptions",
            Ask::Subscribe,
            Refuses(-32601, "notifications not supported"),
            "the node refuses eth_subscribe: notifications not supported (code -32601)",
        ),
        ("silence", Ask::BlockNumber, Silence, "no answer to eth_blockNumber within its limit"),
        ("the end of the connection", Ask::BlockNumber, HangsUp, "the connection to the node was lost"),
        (
            "a frame that is no JSON",
            Ask::BlockNumber,
            Frame("<html>"),
            "the node says no JSON-RPC, but: <html>",
        ),
        (
            "a frame that is another's",
            Ask::BlockNumber,
            Frame("{\"jsonrpc\":\"2.0\",\"id\":\"x\"}"),
            "the node says no JSON-RPC, but: {\"jsonrpc\":\"2.0\",\"id\":\"x\"}",
        ),
    ]
}

#[tokio::test]
async fn every_answer_that_makes_no_sense_is_told_from_the_others() {
    let rows = [good(), misshapen(), refused()].concat();
    let found = rows.iter().map(|(_, what, reply, _)| async move {
        let reply = reply.clone();
        let url = node(move |_, _| reply.clone()).await;
        let rpc = Rpc::connect(&url, None).await.unwrap();
        match tokio::time::timeout(PATIENCE, ask(&rpc, *what)).await.expect("an answer, or an error") {
            Ok(value) => value,
            // Where in the text it was, is of no account.
            Err(error) => error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        }
    });
    let found = futures_util::future::join_all(found).await;
    assert_rows(
        rows.into_iter().zip(found).map(|((name, _, _, expected), found)| (name, found, expected)).collect(),
    );
}

#[tokio::test]
async fn a_node_that_can_not_be_reached_is_told_by_scheme_and_host() {
    let no_pem = tempfile::NamedTempFile::new().unwrap();
    let silent = listener("").await;
    let proxy = listener("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").await;
    let web = listener("<html>\r\n\r\n").await;
    let keyless = listener(
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 31\r\n\r\n{\"error\":\"no project SECRETKEY\"}",
    )
    .await;
    let moved =
        listener("HTTP/1.1 301 Moved\r\nLocation: wss://other.example/KEY\r\nContent-Length: 0\r\n\r\n")
            .await;
    let rows: Vec<(&str, String, Option<&Path>, &str)> = vec![
        (
            "nobody listens",
            "ws://127.0.0.1:1/KEY".into(),
            None,
            "no connection to NODE: Connection refused (os error 111)",
        ),
        (
            "it takes the connection and is silent",
            format!("{silent}/KEY"),
            None,
            "no connection to NODE: nothing within 10 s",
        ),
        (
            "a proxy without its node",
            format!("{proxy}/KEY"),
            None,
            "no connection to NODE: the server answered HTTP 503 Service Unavailable",
        ),
        (
            "a key that it does not know",
            format!("{keyless}/SECRETKEY"),
            None,
            "no connection to NODE: the server answered HTTP 401 Unauthorized: no project …; check the key in WS_RPC_URL, and what it is allowed",
        ),
        (
            "it has moved",
            format!("{moved}/SECRETKEY"),
            None,
            "no connection to NODE: the server answered HTTP 301 Moved Permanently; it sends to wss://other.example: set WS_RPC_URL to the address there",
        ),
        (
            "no WebSocket",
            format!("{web}/KEY"),
            None,
            "no connection to NODE: httparse error: invalid HTTP version",
        ),
        (
            "no URL",
            "ws://[::1/KEY".into(),
            None,
            "no connection to NODE: the URL is not a usable ws:// or wss:// URL",
        ),
        (
            "a file without certificates",
            "wss://127.0.0.1:1/KEY".into(),
            Some(no_pem.path()),
            "no connection to NODE: no trusted certificate was found; set SSL_CERT_FILE to a PEM file of them",
        ),
        (
            "no file",
            "wss://127.0.0.1:1/KEY".into(),
            Some(Path::new("/nowhere/ca.pem")),
            "no connection to NODE: SSL_CERT_FILE /nowhere/ca.pem can not be read: I/O error: No such file or directory (os error 2)",
        ),
    ];
    let found = rows.iter().map(|(_, url, file, _)| async move {
        let error = Rpc::connect(url, *file).await.expect_err("no connection").to_string();
        assert!(!error.contains("KEY"), "{error}");
        // The port is another one at every run.
        error.replace(url.rsplit_once('/').map_or(url.as_str(), |(node, _)| node), "NODE")
    });
    let found = futures_util::future::join_all(found).await;
    let rows = rows.iter().zip(found).map(|((name, _, _, expected), found)| (*name, found, *expected));
    assert_rows(rows.collect());
}

/// What a node, or what stands before it, says in its own words: the error of the call, and how long it asks to be left
/// alone if the connection is over. The first question of a connection has the id 0.
#[tokio::test]
async fn a_nodes_own_words_reach_whoever_asks_and_its_address_does_not() {
    const KEY: &str = "KEY0123456789";
    let rows: Vec<(&str, Reply, &str, Option<u64>)> = vec![
        (
            "a quota",
            Closes(1008, "quota exceeded for this key"),
            "the node closed the connection with 1008: quota exceeded for this key",
            Some(5),
        ),
        (
            "try later",
            Closes(1013, "try again in 20 s"),
            "the node closed the connection with 1013: try again in 20 s",
            Some(20),
        ),
        ("an end", Closes(1001, ""), "the node closed the connection with 1001", None),
        (
            "a key that is repeated",
            Closes(1008, "KEY0123456789 is over"),
            "the node closed the connection with 1008: … is over",
            Some(5),
        ),
        (
            "a text",
            Frame("Too many connections. Please try again later."),
            "the node says no JSON-RPC, but: Too many connections. Please try again later.",
            Some(5),
        ),
        ("bytes", Bytes(&[0xff, 0xfe]), "the node sent bytes that are no text", None),
        ("text as bytes", Bytes(br#"{"jsonrpc":"2.0","id":0,"result":"0x2105"}"#), "8453", None),
        (
            "a gateway's message",
            Frame(r#"{"message":"API rate limit exceeded","code":429}"#),
            "the node limits eth_chainId: API rate limit exceeded (code 429)",
            None,
        ),
        (
            "no code",
            Frame(r#"{"jsonrpc":"2.0","id":0,"error":{"message":"plan is used up"}}"#),
            "the node limits eth_chainId: plan is used up",
            None,
        ),
        (
            "a code in quotes",
            Frame(r#"{"jsonrpc":"2.0","id":0,"error":{"code":"-32005","message":"plan is used up"}}"#),
            "the node limits eth_chainId: plan is used up (code -32005)",
            None,
        ),
        (
            "no id",
            Frame(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no\nmore"}}"#),
            "the node refuses eth_chainId: nomore (code -32000)",
            None,
        ),
        (
            "a bare text for an error",
            Frame(r#"{"jsonrpc":"2.0","id":0,"error":"not today"}"#),
            "the node refuses eth_chainId: not today",
            None,
        ),
        (
            "an error that repeats the address",
            Frame(
                r#"{"jsonrpc":"2.0","id":0,"error":{"code":1,"message":"bad key key0123456789","data":{"at":"no ws://x/v3/KEY0123456789?x=1"}}}"#,
            ),
            "the node refuses eth_chainId: bad key …: no ws://x… (code 1)",
            None,
        ),
        ("an empty error", Frame(r#"{"jsonrpc":"2.0","id":0,"result":"0x2105","error":null}"#), "8453", None),
    ];
    let found = rows.iter().map(|(_, reply, ..)| async move {
        let reply = reply.clone();
        let url = node(move |_, _| reply.clone()).await;
        let rpc = Rpc::connect(&format!("{url}/v3/{KEY}?x=1"), None).await.unwrap();
        match tokio::time::timeout(PATIENCE, rpc.chain_id()).await.expect("an answer, or an error") {
            Ok(chain_id) => (chain_id.to_string(), None),
            Err(error) => {
                let text = error.to_string();
                let RpcError::Gone(lost) = error else { return (text, None) };
                // A call that comes later is told the same.
                assert_eq!(rpc.block_number().await.unwrap_err().to_string(), text);
                (text, lost.pause)
            }
        }
    });
    let found = futures_util::future::join_all(found).await;
    for ((name, _, expected, pause), (text, told)) in rows.iter().zip(&found) {
        assert_eq!((text.as_str(), *told), (*expected, pause.map(Duration::from_secs)), "{name}");
    }
}

/// An error that names no question answers all that wait: none of them hangs until its limit.
#[tokio::test]
async fn an_error_of_nobody_is_everybodys() {
    let mut calls = 0;
    let url = node(move |_, _| {
        calls += 1;
        if calls % 3 == 0 {
            Frame(r#"{"id":null,"error":{"code":-32016,"message":"over rate limit"}}"#)
        } else {
            Silence
        }
    })
    .await;
    let rpc = Rpc::connect(&url, None).await.unwrap();
    let (one, two, three) = tokio::join!(rpc.chain_id(), rpc.block_number(), rpc.head());
    for error in [one.unwrap_err(), two.unwrap_err(), three.unwrap_err()] {
        assert!(matches!(error, RpcError::Limited { code: -32016, .. }), "{error}");
    }
}

#[tokio::test]
async fn which_refusals_are_the_contracts_answer_and_which_the_nodes_trouble() {
    let rows = [
        (3, "execution reverted", true),
        (3, "", true),
        (-32000, "execution reverted: no vault", true),
        (-32015, "VM execution error.", true),
        (-32000, "invalid opcode: INVALID", true),
        (-32000, "out of gas", true),
        (-32000, "stack underflow (0 <=> 2)", true),
        (-32000, "invalid jump destination", true),
        (-32000, "header not found", false),
        (-32000, "missing trie node", false),
        (-32601, "method not found", false),
        (-32005, "rate limit", false),
    ];
    for (code, message, revert) in rows {
        let error = RpcError::Refused { method: "eth_call", code, message: message.into() };
        assert_eq!(is_revert(&error), revert, "{code} {message}");
    }
    assert!(!is_revert(&RpcError::Timeout("eth_call")), "silence is not a contract's answer");
    for (code, message, missing) in [
        (-32601, "whatever", true),
        (-32000, "Method not found", true),
        (-32000, "eth_getBlockReceipts is not supported", true),
        (-32000, "unsupported method", true),
        (-32600, "the method eth_getBlockReceipts does not exist/is not available", true),
        (-32000, "header not found", false),
    ] {
        let error = RpcError::Refused { method: "eth_getBlockReceipts", code, message: message.into() };
        assert_eq!(error.is_method_missing(), missing, "{code} {message}");
    }
    assert!(!RpcError::Gone("method not found".into()).is_method_missing());
}

/// A pushed log that does not say where it stands is a bell, whatever else is wrong with it.
#[test]
fn a_pushed_thing_that_makes_no_sense_only_rings() {
    let pushed = |value: &Value| match pushed_log(&serde_json::value::to_raw_value(value).unwrap()) {
        PushedLog::Log(log) => {
            format!("log {} of block {} at {:?}", log.log_index, log.block_number, log.block_time)
        }
        PushedLog::Bell => "rings".to_owned(),
    };
    let rows = vec![
        ("as it should be", log(), "log 0 of block 5 at None"),
        ("with its time", with(log(), "blockTimestamp", json!("0x64")), "log 0 of block 5 at Some(100)"),
        ("a time in another form", with(log(), "blockTimestamp", json!(100)), "log 0 of block 5 at None"),
        ("without the word about removal", without(log(), "removed"), "log 0 of block 5 at None"),
        ("taken back", with(log(), "removed", json!(true)), "rings"),
        ("of no block yet", with(log(), "blockHash", Value::Null), "rings"),
        ("without a height", without(log(), "blockNumber"), "rings"),
        ("without a transaction", without(log(), "transactionHash"), "rings"),
        ("without an index", without(log(), "logIndex"), "rings"),
        ("a decimal height", with(log(), "blockNumber", json!("5")), "rings"),
        ("a short address", with(log(), "address", json!("0x01")), "rings"),
        ("a list", json!([log()]), "rings"),
        ("nothing", Value::Null, "rings"),
    ];
    assert_rows(rows.into_iter().map(|(name, value, expected)| (name, pushed(&value), expected)).collect());
    let head = |value: Value| pushed_head(&serde_json::value::to_raw_value(&value).unwrap());
    assert_eq!(head(json!({ "number": "0x5" })), Some(5));
    for nonsense in [json!({ "number": 5 }), json!({ "number": "0x" }), json!({}), json!("0x5"), Value::Null]
    {
        assert_eq!(head(nonsense.clone()), None, "{nonsense}");
    }
}

/// A feed ends with its connection and says so.
#[tokio::test]
async fn the_end_of_a_feed_is_an_error_and_never_silence() {
    let mut calls = 0;
    let url = node(move |method, _| {
        calls += 1;
        match (calls, method) {
            (1, "eth_subscribe") => Says(json!("0x1")),
            _ => HangsUp,
        }
    })
    .await;
    let rpc = Rpc::connect(&url, None).await.unwrap();
    let mut feed = rpc.subscribe_heads().await.unwrap();
    assert!(feed.ready().is_none());
    rpc.chain_id().await.unwrap_err();
    let end = tokio::time::timeout(Duration::from_secs(60), feed.next()).await.expect("an end").unwrap_err();
    assert_eq!(end.to_string(), "the connection to the node was lost");
    // And a connection that has ended takes no further subscription.
    let late = rpc.subscribe_heads().await.unwrap_err();
    assert_eq!(late.to_string(), "the connection to the node was lost");
}

/// Whoever reads too slowly is told how many heads were lost, by either way to read.
#[tokio::test]
async fn a_feed_that_was_not_read_in_time_says_how_much_is_lost() {
    let url = node(|method, _| if method == "eth_subscribe" { Heads(500) } else { Says(json!("0x1")) }).await;
    for waits in [true, false] {
        let rpc = Rpc::connect(&url, None).await.unwrap();
        let mut feed = rpc.subscribe_heads().await.unwrap();
        // The answer to a later call comes behind all heads.
        rpc.chain_id().await.unwrap();
        let first = if waits { feed.next().await.unwrap() } else { feed.ready().unwrap() };
        let Notice::Lagged(lost) = first else { panic!("{first:?}") };
        let Some(Notice::Item(next)) = feed.ready() else { panic!("a head that is still there") };
        assert_eq!(pushed_head(&next), Some(lost), "the first that was not lost");
    }
}
