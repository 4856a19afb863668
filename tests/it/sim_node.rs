//! The simulated node does what a real one does, and each fault does what its name says.

use std::collections::VecDeque;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bloom, Log, U256};
use alloy::sol_types::SolCall;
use counterfill::chain::abi::token::IToken;
use counterfill::chain::abi::{self, LogKind, RawLog, Said};
use counterfill::sim::logs::{Asset, BookKind, Leg, OrderBook, float};
use counterfill::sim::{
    Blooms, DropPushes, Lag, Plan, RpcFault, SimChain, SimError, SimNode, Token, Tx, Weights, Words,
};
use counterfill::units::{ONE, Side};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const CHAIN_ID: u64 = 8453;
const FIRST: u64 = 1_000;
const OWNER: Address = Address::repeat_byte(0x01);
const STRANGER: Address = Address::repeat_byte(0x02);
const SHARE: Asset = Asset::new(Address::repeat_byte(0x11), 18);
const USDC: Asset = Asset::new(Address::repeat_byte(0x12), 6);
const WRAPPED: Address = Address::repeat_byte(0x13);
const BOOK: OrderBook = OrderBook { address: Address::repeat_byte(0x21), kind: BookKind::V5 };
/// Far longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long to look for what must not come. Too short can only hide a failure, never make one.
const GLANCE: Duration = Duration::from_millis(60);

fn chain() -> SimChain {
    let mut chain = SimChain::new(CHAIN_ID, FIRST, 7);
    chain.contracts.insert(BOOK.address);
    chain.tokens.insert(SHARE.address, Token::plain("tTSLA", 18));
    chain.tokens.insert(USDC.address, Token::plain("USDC", 6));
    let mut wrapped = Token::wrapped("wtTSLA", 18, SHARE.address, U256::from(1_100_000_000_000_000_000_u64));
    wrapped.assets_per_1e18.insert(FIRST + 2, U256::from(1_200_000_000_000_000_000_u64));
    chain.tokens.insert(WRAPPED, wrapped);
    chain
}

fn sale(milli_shares: i64) -> Leg {
    let atoms = i128::from(milli_shares) * ONE / 1_000;
    Leg { owner: OWNER, input: USDC, input_atoms: atoms * 100, output: SHARE, output_atoms: atoms }
}

fn take(milli_shares: i64) -> Log {
    BOOK.take_only(&sale(milli_shares))
}

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
    pushes: VecDeque<Value>,
}

impl Client {
    async fn connect(node: &SimNode) -> Self {
        let (socket, _) = connect_async(node.ws_url()).await.unwrap();
        let mut client = Self { socket, next_id: 0, pushes: VecDeque::new() };
        client.call("net_version", json!([])).await.unwrap();
        client
    }

    async fn subscribed(node: &SimNode) -> Self {
        let mut client = Self::connect(node).await;
        client.call("eth_subscribe", json!(["newHeads"])).await.unwrap();
        client.call("eth_subscribe", json!(["logs", { "address": BOOK.address }])).await.unwrap();
        client
    }

    async fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.unwrap();
    }

    async fn frame(&mut self) -> Option<Message> {
        tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("the node hangs")?.ok()
    }

    /// The next frame that is no push.
    async fn answer(&mut self) -> Value {
        loop {
            let frame = self.frame().await.expect("the node hung up");
            let value: Value = serde_json::from_str(frame.to_text().unwrap()).unwrap();
            if value["method"] != "eth_subscription" {
                return value;
            }
            self.pushes.push_back(value["params"]["result"].clone());
        }
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string())
            .await;
        let answer = self.answer().await;
        assert_eq!((&answer["id"], &answer["jsonrpc"]), (&json!(id), &json!("2.0")));
        answer
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<Value, i64> {
        let answer = self.ask(method, params).await;
        match answer["error"]["code"].as_i64() {
            Some(code) => Err(code),
            None => Ok(answer["result"].clone()),
        }
    }

    async fn range(&mut self, from: u64, to: u64) -> Result<Vec<Value>, i64> {
        let filter = json!([{ "address": BOOK.address, "fromBlock": hex(from), "toBlock": hex(to) }]);
        self.call("eth_getLogs", filter).await.map(|logs| logs.as_array().unwrap().clone())
    }

    async fn head(&mut self) -> u64 {
        number(&self.call("eth_blockNumber", json!([])).await.unwrap())
    }

    /// Everything pushed so far: answers and pushes keep their order, so one call flushes them.
    async fn pushed(&mut self) -> Vec<Value> {
        self.call("net_version", json!([])).await.unwrap();
        self.pushes.drain(..).collect()
    }
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().strip_prefix("0x").unwrap(), 16).unwrap()
}

fn is_log(push: &Value) -> bool {
    !push["topics"].is_null()
}

async fn node() -> SimNode {
    SimNode::start(chain()).await.unwrap()
}

#[tokio::test]
async fn it_says_who_it_is_and_refuses_what_it_does_not_know() {
    let node = node().await;
    let mut client = Client::connect(&node).await;
    assert_eq!(client.call("eth_chainId", json!([])).await, Ok(json!("0x2105")));
    assert_eq!(client.call("net_version", json!([])).await, Ok(json!("8453")));
    let version = client.call("web3_clientVersion", json!([])).await.unwrap();
    assert!(version.as_str().unwrap().starts_with("counterfill-sim/"));
    assert_eq!(client.call("eth_sendTransaction", json!([])).await, Err(-32601));
    assert_eq!(client.call("eth_getBlockByNumber", json!(["nonsense", false])).await, Err(-32602));
    assert_eq!(client.call("eth_subscribe", json!(["syncing"])).await, Err(-32601));

    for (text, code) in [("{", -32700), ("[]", -32600), ("7", -32600), ("{\"id\":1}", -32600)] {
        client.send(text).await;
        assert_eq!(client.answer().await["error"]["code"], json!(code), "{text}");
    }
    client.send("{\"jsonrpc\":\"2.0\",\"method\":\"eth_chainId\"}").await;
    client.send("[{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"eth_blockNumber\"},{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"no\"}]").await;
    let batch = client.answer().await;
    assert_eq!((&batch[0]["id"], &batch[0]["result"]), (&json!("a"), &json!(hex(FIRST))));
    assert_eq!((&batch[1]["id"], &batch[1]["error"]["code"]), (&json!(2), &json!(-32601)));
    assert_eq!(node.counters().calls_of("eth_chainId"), 2, "the notification is counted and not answered");
}

#[tokio::test]
async fn plain_http_is_answered_too() {
    let node = node().await;
    node.mine_empty(3);
    let url = node.http_url();
    let ask = move || -> Result<Value, ureq::Error> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": [] });
        ureq::post(&url).send_json(&body)?.body_mut().read_json()
    };
    let answer = tokio::task::spawn_blocking(ask).await.unwrap().unwrap();
    assert_eq!(answer["result"], json!(hex(FIRST + 3)));
}

#[tokio::test]
async fn blocks_link_and_their_blooms_hold_their_logs() {
    let node = node().await;
    let block = {
        let txs = vec![node.tx(BOOK.take(&sale(500))), node.tx(vec![take(250)])];
        node.mine(txs)
    };
    let empty = node.mine(Vec::new());
    let mut client = Client::connect(&node).await;
    let by_number = client.call("eth_getBlockByNumber", json!([hex(block.number), true])).await.unwrap();
    let by_hash = client.call("eth_getBlockByHash", json!([block.hash, true])).await.unwrap();
    assert_eq!(by_number, by_hash);
    assert_eq!(by_number["transactions"][1]["transactionIndex"], json!("0x1"));
    let latest = client.call("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
    assert_eq!((&latest["hash"], &latest["parentHash"]), (&json!(empty.hash), &json!(block.hash)));
    assert_eq!(number(&latest["timestamp"]), number(&by_number["timestamp"]) + 2);
    assert_eq!(latest["logsBloom"], json!(Bloom::ZERO));

    let bloom: Bloom = serde_json::from_value(by_number["logsBloom"].clone()).unwrap();
    for log in BOOK.take(&sale(500)) {
        assert!(bloom.contains_log(&log));
    }
    assert!(!bloom.contains_raw_log(STRANGER, &[]));
    for missing in [json!([hex(FIRST - 1), false]), json!([hex(FIRST + 9), false])] {
        assert_eq!(client.call("eth_getBlockByNumber", missing).await, Ok(Value::Null));
    }
    assert_eq!(client.call("eth_getBlockByHash", json!([B256::ZERO, false])).await, Ok(Value::Null));

    node.mine_empty(98);
    for (tag, height) in [("safe", FIRST + 68), ("finalized", FIRST + 36), ("earliest", FIRST)] {
        let block = client.call("eth_getBlockByNumber", json!([tag, false])).await.unwrap();
        assert_eq!(number(&block["number"]), height, "{tag}");
    }
}

#[tokio::test]
async fn logs_are_found_by_range_hash_and_topic_with_their_place() {
    let node = node().await;
    let txs = vec![node.tx(BOOK.take(&sale(500))), node.tx(BOOK.take(&sale(250)))];
    let (first, second) = (txs[0].hash, txs[1].hash);
    let block = node.mine(txs);
    node.mine_logs(BOOK.clear(&sale(100), &sale(100)));
    let mut client = Client::connect(&node).await;

    let takes = json!([{ "address": [BOOK.address, STRANGER], "blockHash": block.hash,
        "topics": [[abi::TAKE_V5, abi::CLEAR_V5]] }]);
    let found = client.call("eth_getLogs", takes).await.unwrap();
    let places: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|log| (number(&log["logIndex"]), number(&log["transactionIndex"])))
        .collect();
    assert_eq!(places, [(1, 0), (5, 1)]);
    assert_eq!((&found[0]["transactionHash"], &found[1]["transactionHash"]), (&json!(first), &json!(second)));
    assert_eq!((&found[0]["blockHash"], &found[0]["removed"]), (&json!(block.hash), &json!(false)));
    assert_eq!(number(&found[0]["blockTimestamp"]), 1_760_000_002);

    let all =
        client.call("eth_getLogs", json!([{ "fromBlock": hex(FIRST), "toBlock": "latest" }])).await.unwrap();
    assert_eq!(all.as_array().unwrap().len(), 12, "transfers and contexts included");
    assert_eq!(client.range(FIRST, FIRST + 50).await.unwrap().len(), 8, "beyond the head is no error");
    let clear = json!([{ "topics": [abi::CLEAR_V5], "fromBlock": "earliest" }]);
    assert_eq!(client.call("eth_getLogs", clear).await.unwrap().as_array().unwrap().len(), 1);
    assert_eq!(client.call("eth_getLogs", json!([{ "blockHash": B256::repeat_byte(9) }])).await, Err(-32000));
    let both = json!([{ "blockHash": block.hash, "fromBlock": "0x1" }]);
    assert_eq!(client.call("eth_getLogs", both).await, Err(-32602));
    assert_eq!(client.range(FIRST + 2, FIRST + 1).await, Err(-32602));

    let receipts = client.call("eth_getBlockReceipts", json!([block.hash])).await.unwrap();
    assert_eq!(receipts, client.call("eth_getBlockReceipts", json!([hex(block.number)])).await.unwrap());
    let receipt = client.call("eth_getTransactionReceipt", json!([second])).await.unwrap();
    assert_eq!(receipt, receipts[1]);
    assert_eq!(receipt["logs"][1], found[1]);
    let tx = client.call("eth_getTransactionByHash", json!([first])).await.unwrap();
    assert_eq!((&tx["blockHash"], &tx["to"]), (&json!(block.hash), &json!(BOOK.address)));
    assert_eq!(client.call("eth_getTransactionReceipt", json!([B256::ZERO])).await, Ok(Value::Null));
}

#[tokio::test]
async fn tokens_answer_their_calls_at_a_block() {
    let node = node().await;
    node.mine_empty(4);
    let mut client = Client::connect(&node).await;
    async fn call<C: SolCall>(
        client: &mut Client,
        to: Address,
        call: C,
        at: Value,
    ) -> Result<C::Return, i64> {
        let input = format!("0x{}", alloy::hex::encode(call.abi_encode()));
        let returned = client.call("eth_call", json!([{ "to": to, "input": input }, at])).await?;
        Ok(C::abi_decode_returns(&alloy::hex::decode(returned.as_str().unwrap()).unwrap()).unwrap())
    }
    let latest = json!("latest");
    assert_eq!(
        call(&mut client, SHARE.address, IToken::symbolCall {}, latest.clone()).await,
        Ok("tTSLA".into())
    );
    assert_eq!(call(&mut client, USDC.address, IToken::decimalsCall {}, latest.clone()).await, Ok(6));
    assert_eq!(call(&mut client, WRAPPED, IToken::assetCall {}, latest.clone()).await, Ok(SHARE.address));
    assert_eq!(call(&mut client, SHARE.address, IToken::assetCall {}, latest.clone()).await, Err(3));

    let ten = || IToken::convertToAssetsCall { shares: U256::from(10) };
    let early = node.chain(|chain| chain.block_at(FIRST + 1).unwrap().hash);
    assert_eq!(call(&mut client, WRAPPED, ten(), json!({ "blockHash": early })).await, Ok(U256::from(11)));
    assert_eq!(call(&mut client, WRAPPED, ten(), json!(hex(FIRST + 2))).await, Ok(U256::from(12)));
    assert_eq!(call(&mut client, WRAPPED, ten(), json!({ "blockHash": B256::ZERO })).await, Err(-32000));
    assert_eq!(client.call("eth_call", json!([{ "to": STRANGER }, "latest"])).await, Ok(json!("0x")));

    for (address, bare) in [(BOOK.address, false), (USDC.address, false), (STRANGER, true)] {
        let code = client.call("eth_getCode", json!([address, "latest"])).await.unwrap();
        assert_eq!(code == json!("0x"), bare, "{address}");
    }
    node.no_code(Some(BOOK.address));
    assert_eq!(client.call("eth_getCode", json!([BOOK.address, "latest"])).await, Ok(json!("0x")));
}

#[tokio::test]
async fn subscribers_hear_heads_and_their_logs() {
    let node = node().await;
    let mut client = Client::connect(&node).await;
    client.call("eth_subscribe", json!(["newHeads"])).await.unwrap();
    let filter = json!(["logs", { "address": BOOK.address, "topics": [[abi::TAKE_V5]] }]);
    let logs = client.call("eth_subscribe", filter).await.unwrap();
    let block = node.mine_logs(BOOK.take(&sale(500)));
    let pushed = client.pushed().await;
    assert_eq!(pushed.len(), 2);
    assert_eq!((&pushed[0]["hash"], &pushed[0]["number"]), (&json!(block.hash), &json!(hex(block.number))));
    assert_eq!((&pushed[1]["blockHash"], &pushed[1]["logIndex"]), (&json!(block.hash), &json!("0x1")));
    let asked = client.range(block.number, block.number).await.unwrap();
    assert!(asked.contains(&pushed[1]), "a push is the very log of the chain");

    assert_eq!(client.call("eth_unsubscribe", json!([logs])).await, Ok(json!(true)));
    assert_eq!(client.call("eth_unsubscribe", json!([logs])).await, Ok(json!(false)));
    node.mine_logs(vec![take(1)]);
    assert!(!client.pushed().await.iter().any(is_log));
    let counters = node.counters();
    assert_eq!((counters.heads_pushed, counters.logs_pushed, counters.connections), (2, 1, 1));
}

#[tokio::test]
async fn a_burst_of_logs_arrives_whole() {
    let node = node().await;
    let mut client = Client::subscribed(&node).await;
    let txs: Vec<Tx> = (1..=40).map(|milli| node.tx(vec![take(milli)])).collect();
    node.mine(txs);
    assert_eq!(client.pushed().await.iter().filter(|push| is_log(push)).count(), 40);
}

#[tokio::test]
async fn a_reorg_gives_other_hashes_and_may_move_or_lose_transactions() {
    let node = node().await;
    let (moved, lost, new) = (node.tx(vec![take(1)]), node.tx(vec![take(2)]), node.tx(vec![take(3)]));
    let base = node.mine_empty(2);
    let old = [node.mine(vec![lost.clone(), moved.clone()]), node.mine(Vec::new())];
    let mut client = Client::subscribed(&node).await;
    let fresh = node.reorg(2, vec![vec![new.clone()], vec![moved.clone()], Vec::new()]).unwrap();
    assert_eq!(fresh[0].number, old[0].number);
    assert!(fresh.iter().all(|block| !old.contains(block)));
    let mut parent = base.hash;
    for block in &fresh {
        let header = client.call("eth_getBlockByNumber", json!([hex(block.number), false])).await.unwrap();
        assert_eq!((&header["hash"], &header["parentHash"]), (&json!(block.hash), &json!(parent)));
        parent = block.hash;
    }
    let heads: Vec<_> =
        client.pushed().await.iter().filter(|push| !is_log(push)).map(|head| head["hash"].clone()).collect();
    assert_eq!(heads, fresh.iter().map(|block| json!(block.hash)).collect::<Vec<_>>());

    let receipt = client.call("eth_getTransactionReceipt", json!([moved.hash])).await.unwrap();
    assert_eq!(
        (&receipt["blockHash"], &receipt["logs"][0]["logIndex"]),
        (&json!(fresh[1].hash), &json!("0x0"))
    );
    assert_eq!(client.call("eth_getTransactionReceipt", json!([lost.hash])).await, Ok(Value::Null));
    let orphan = client.call("eth_getLogs", json!([{ "blockHash": old[0].hash }])).await.unwrap();
    assert_eq!(orphan.as_array().unwrap().len(), 2, "an orphan is still found by hash");
    assert_eq!(client.range(FIRST, FIRST + 9).await.unwrap().len(), 2);

    node.forget_orphans(true);
    assert_eq!(client.call("eth_getLogs", json!([{ "blockHash": old[0].hash }])).await, Err(-32000));
    assert!(matches!(node.reorg(99, Vec::new()), Err(SimError::TooDeep { depth: 99, blocks: 5 })));
}

#[tokio::test]
async fn going_back_to_the_first_fork_gives_the_very_same_blocks() {
    let node = node().await;
    let tx = node.tx(vec![take(1)]);
    let (first, second) = (node.mine(vec![tx.clone()]), node.mine_empty(1));
    let mut client = Client::subscribed(&node).await;
    let before = client.call("eth_getBlockByNumber", json!(["latest", true])).await.unwrap();
    node.reorg(2, vec![vec![tx.clone()], Vec::new()]).unwrap();
    assert_ne!(client.call("eth_getBlockByNumber", json!(["latest", true])).await.unwrap(), before);
    client.pushed().await;

    assert_eq!(node.return_to(second.hash).unwrap(), [first, second]);
    assert_eq!(client.call("eth_getBlockByNumber", json!(["latest", true])).await.unwrap(), before);
    let pushed = client.pushed().await;
    assert_eq!(pushed.len(), 3, "two heads and the log again: {pushed:?}");
    assert!(node.return_to(first.hash).unwrap().is_empty());
    assert_eq!(client.head().await, first.number);
    assert!(client.pushed().await.is_empty(), "a rollback says nothing");
    let third = node.mine_empty(1);
    node.return_to(first.hash).unwrap();
    let fourth = node.mine_empty(1);
    assert_ne!(third.hash, second.hash, "the same content mined again is another block");
    assert_ne!(third.hash, fourth.hash, "every time");
    assert_eq!(node.return_to(B256::ZERO), Err(SimError::UnknownBlock(B256::ZERO)));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_chain() {
    let build = |seed| {
        let mut chain = SimChain::new(CHAIN_ID, FIRST, seed);
        let tx = chain.tx(vec![take(1)]);
        chain.mine(vec![tx.clone()]);
        chain.reorg(1, vec![vec![tx]]).unwrap();
        chain.canonical().to_vec()
    };
    assert_eq!(build(1), build(1));
    assert_ne!(build(1), build(2));
}

#[tokio::test]
async fn a_removed_log_is_pushed_where_asked() {
    let node = node().await;
    let old = node.mine_logs(vec![take(1)]);
    let mut client = Client::subscribed(&node).await;
    node.removed_pushes(true);
    node.reorg(1, vec![Vec::new()]).unwrap();
    let pushed = client.pushed().await;
    assert_eq!((&pushed[0]["removed"], &pushed[0]["blockHash"]), (&json!(true), &json!(old.hash)));
    assert_eq!(pushed.len(), 2);
}

#[tokio::test]
async fn pushes_can_be_doubled_turned_round_and_lost() {
    let node = node().await;
    let mut client = Client::subscribed(&node).await;
    let clear = || BOOK.clear(&sale(1), &sale(1));
    let topics =
        |pushes: &[Value]| -> Vec<Value> { pushes.iter().map(|push| push["topics"][0].clone()).collect() };
    let head = Value::Null;
    let context = json!(BOOK.context().topics()[0]);
    let (first, after) = (json!(abi::CLEAR_V5), json!(abi::AFTER_CLEAR_V5));

    node.duplicate_pushes(true);
    node.mine_logs(vec![clear()[0].clone()]);
    assert_eq!(topics(&client.pushed().await), [head.clone(), head.clone(), first.clone(), first.clone()]);
    node.heal();
    node.reorder_pushes(true);
    node.mine_logs(clear());
    assert_eq!(
        topics(&client.pushed().await),
        [after, context.clone(), context.clone(), first.clone(), head.clone()]
    );
    node.heal();
    node.drop_pushes(DropPushes::AfterClear);
    node.mine_logs(clear());
    assert_eq!(topics(&client.pushed().await), [head.clone(), first, context.clone(), context]);
    node.drop_pushes(DropPushes::Logs);
    node.mine_logs(clear());
    assert_eq!(topics(&client.pushed().await), [head]);
    node.drop_pushes(DropPushes::All);
    let block = node.mine_logs(clear());
    assert!(client.pushed().await.is_empty());
    assert_eq!(client.head().await, block.number, "the chain itself loses nothing");
}

#[tokio::test]
async fn pushes_can_lie() {
    let node = node().await;
    let mut client = Client::subscribed(&node).await;
    node.mutate_pushed_log(1);
    let block = node.mine_logs(vec![take(1), take(2)]);
    let pushed = client.pushed().await;
    let truth = client.range(block.number, block.number).await.unwrap();
    assert_ne!(pushed[1]["data"], truth[0]["data"]);
    assert_eq!(pushed[1]["logIndex"], truth[0]["logIndex"]);
    assert_eq!(pushed[2], truth[1]);

    node.push_without_block_hash(true);
    node.mine_logs(vec![take(3)]);
    let pushed = client.pushed().await;
    assert_eq!((&pushed[1]["blockHash"], &pushed[1]["blockNumber"]), (&Value::Null, &Value::Null));
    assert!(!pushed[1]["transactionHash"].is_null());

    node.heal();
    node.push_phantom(take(4));
    let pushed = client.pushed().await;
    assert_eq!(pushed[0]["blockHash"], json!(node.chain(SimChain::tip).hash));
    let nobody = client.call("eth_getTransactionReceipt", json!([pushed[0]["transactionHash"]])).await;
    assert_eq!(nobody, Ok(Value::Null));
    node.push_again(block.hash).unwrap();
    assert_eq!(client.pushed().await[1..], truth);
}

#[tokio::test]
async fn a_cut_closes_every_socket_and_a_refusal_keeps_it_closed() {
    let node = node().await;
    let mut clients = [Client::connect(&node).await, Client::connect(&node).await];
    node.refuse(2);
    node.cut();
    for client in &mut clients {
        assert!(client.frame().await.is_none_or(|frame| frame.is_close()));
    }
    assert_eq!(node.open_sockets(), 0);
    for _ in 0..2 {
        assert!(connect_async(node.ws_url()).await.is_err());
    }
    let mut client = Client::connect(&node).await;
    assert_eq!(client.head().await, FIRST);
    let counters = node.counters();
    assert_eq!((counters.connections, counters.refused), (3, 2));
    node.refuse(true);
    assert!(connect_async(node.ws_url()).await.is_err());
    node.refuse(false);
    assert_eq!(Client::connect(&node).await.head().await, FIRST);
}

#[tokio::test]
async fn a_half_open_socket_says_nothing_and_loses_its_pushes() {
    let node = node().await;
    let mut client = Client::subscribed(&node).await;
    node.half_open(true);
    node.mine_logs(vec![take(1)]);
    client.send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_blockNumber\"}").await;
    client.socket.send(Message::Ping(vec![1, 2].into())).await.unwrap();
    assert!(tokio::time::timeout(GLANCE, client.socket.next()).await.is_err(), "it must not answer");
    assert!(tokio::time::timeout(GLANCE, connect_async(node.ws_url())).await.is_err(), "connects must hang");
    node.half_open(false);
    let answer = client.frame().await.unwrap();
    let value: Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
    assert_eq!(value["result"], json!(hex(FIRST + 1)));
    assert_eq!(client.frame().await.unwrap(), Message::Pong(vec![1, 2].into()));
    assert!(client.pushed().await.is_empty());
}

#[tokio::test]
async fn a_lagging_node_answers_as_of_then() {
    let node = node().await;
    node.mine_empty(4);
    let tip = node.mine_logs(vec![take(1)]);
    let mut client = Client::subscribed(&node).await;
    node.lagging_head(2);
    assert_eq!(client.head().await, tip.number - 2);
    let latest = client.call("eth_getBlockByNumber", json!(["latest", false])).await.unwrap();
    assert_eq!(number(&latest["number"]), tip.number - 2);
    assert_eq!(client.call("eth_getBlockByNumber", json!([hex(tip.number), false])).await, Ok(Value::Null));
    assert_eq!(client.call("eth_getBlockByHash", json!([tip.hash, false])).await, Ok(Value::Null));
    assert_eq!(client.range(FIRST, tip.number).await, Ok(Vec::new()));
    assert_eq!(client.call("eth_getLogs", json!([{ "blockHash": tip.hash }])).await, Err(-32000));
    node.mine_empty(1);
    assert_eq!(client.pushed().await.len(), 1, "pushes are not held back");
    node.lagging_head(0);
    assert_eq!(client.range(FIRST, tip.number).await.unwrap().len(), 1);
}

#[tokio::test]
async fn ranges_can_be_empty_partial_and_too_long() {
    let node = node().await;
    node.mine_logs(vec![take(1), take(2), take(3)]);
    let mut client = Client::connect(&node).await;
    let sizes = async |client: &mut Client| {
        let mut sizes = Vec::new();
        for _ in 0..3 {
            sizes.push(client.range(FIRST, FIRST + 1).await.unwrap().len());
        }
        sizes
    };
    node.empty_logs(1);
    node.partial_logs(1);
    assert_eq!(client.range(FIRST, FIRST).await, Ok(Vec::new()), "an honest nothing uses up no fault");
    assert_eq!(sizes(&mut client).await, [0, 2, 3]);
    node.partial_logs(true);
    assert_eq!(sizes(&mut client).await, [2, 2, 2]);
    node.heal();
    node.range_max_blocks(Some(2));
    assert_eq!(client.range(FIRST, FIRST + 2).await, Err(-32005));
    assert_eq!(client.range(FIRST, FIRST + 1).await.unwrap().len(), 3);
    node.range_max_logs(Some(2));
    assert_eq!(client.range(FIRST, FIRST + 1).await, Err(-32005));
}

#[tokio::test]
async fn a_balancer_alternates_between_two_forks() {
    let node = node().await;
    let other = node.mine_logs(vec![take(1)]);
    let fresh = node.reorg(1, vec![Vec::new()]).unwrap();
    let mut client = Client::connect(&node).await;
    node.two_forks(other.hash, 3);
    let mut seen = Vec::new();
    for _ in 0..4 {
        client.call("eth_chainId", json!([])).await.unwrap();
        let block = client.call("eth_getBlockByNumber", json!([hex(other.number), false])).await.unwrap();
        seen.push(block["hash"].clone());
    }
    let (here, there) = (json!(fresh[0].hash), json!(other.hash));
    assert_eq!(seen, [here.clone(), there, here.clone(), here]);
}

#[tokio::test]
async fn errors_garbage_slowness_and_lies_about_the_chain() {
    let node = node().await;
    let mut client = Client::connect(&node).await;
    node.rpc_errors(RpcFault::HeaderNotFound, 1);
    assert_eq!(client.call("eth_blockNumber", json!([])).await, Err(-32000));
    node.rpc_errors_of("eth_getLogs", RpcFault::Internal, true);
    assert_eq!(client.head().await, FIRST);
    assert_eq!(client.range(FIRST, FIRST).await, Err(-32603));
    node.heal();
    node.rpc_errors(RpcFault::RateLimited, 1);
    assert_eq!(client.call("eth_subscribe", json!(["newHeads"])).await, Err(-32005));
    node.without_method("eth_getBlockReceipts");
    assert_eq!(client.call("eth_getBlockReceipts", json!(["latest"])).await, Err(-32601));
    node.wrong_chain_id(Some(1));
    assert_eq!(client.call("eth_chainId", json!([])).await, Ok(json!("0x1")));
    node.heal();
    assert_eq!(client.call("eth_chainId", json!([])).await, Ok(json!("0x2105")));

    node.garbage_frames(2);
    let text = client.frame().await.unwrap();
    assert!(serde_json::from_str::<Value>(text.to_text().unwrap()).is_err());
    assert!(client.frame().await.unwrap().is_binary());
    node.slow(1);
    assert_eq!(client.head().await, FIRST);
    node.slow(600_000);
    client.send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_blockNumber\"}").await;
    assert!(tokio::time::timeout(GLANCE, client.socket.next()).await.is_err());
}

/// Behind a provider: what its plan refuses and its index leaves out is no fault, so healing does not end it.
#[tokio::test]
async fn a_provider_takes_so_many_calls_and_indexes_late() {
    let node = node().await;
    node.chain_mut(|chain| chain.blooms = Blooms::Full);
    let mut client = Client::connect(&node).await;
    // No machine is so busy that two hours pass.
    node.provide(|provider| {
        provider.logs = Some(Lag::between(7_200_000, 7_200_000));
    });
    let block = node.mine_logs(vec![take(500)]);
    node.heal();
    assert_eq!(client.range(block.number, block.number).await, Ok(vec![]));
    let header = client.call("eth_getBlockByNumber", json!([hex(block.number), false])).await.unwrap();
    assert_eq!(header["logsBloom"], json!(Bloom::repeat_byte(0xff)));
    assert_eq!(node.counters().logs_left_out, 1);
    node.catch_up();
    assert_eq!(client.range(block.number, block.number).await.unwrap().len(), 1);
    let plan = Plan { per_second: 0, burst: 25, weights: Weights::Calls, words: Words::QuickNode };
    node.provide(|provider| provider.plan = Some(plan));
    node.heal();
    for call in 1..=25 {
        assert!(client.call("eth_blockNumber", json!([])).await.is_ok(), "{call}");
    }
    assert_eq!(client.call("eth_blockNumber", json!([])).await, Err(-32007));
    assert_eq!(node.counters().beyond_the_plan, 1);
}

#[tokio::test]
async fn the_client_that_the_bot_uses_understands_it() {
    use alloy::rpc::client::{ClientBuilder, WsConnect};
    let node = node().await;
    let client = ClientBuilder::default().ws(WsConnect::new(node.ws_url())).await.unwrap();
    let head: String = client.request_noparams("eth_blockNumber").await.unwrap();
    assert_eq!(head, hex(FIRST));
    let frontend = client.pubsub_frontend().unwrap();
    let id: B256 = client.request("eth_subscribe", json!(["newHeads"])).await.unwrap();
    let mut heads = frontend.get_subscription(id).await.unwrap();
    let block = node.mine_empty(1);
    let pushed = tokio::time::timeout(PATIENCE, heads.recv()).await.unwrap().unwrap();
    let pushed: Value = serde_json::from_str(pushed.get()).unwrap();
    assert_eq!(pushed["hash"], json!(block.hash));
    node.rpc_errors(RpcFault::HeaderNotFound, 1);
    let error = client.request_noparams::<String>("eth_blockNumber").await.unwrap_err();
    assert_eq!(error.as_error_resp().unwrap().code, -32000);
}

/// The decimal value of a Float word in 1e-18, by arithmetic that knows nothing of the encoder.
fn atoms(word: B256) -> i128 {
    let exponent = i32::from_be_bytes(word[..4].try_into().unwrap());
    let digits = U256::from_be_slice(&word[4..]).to_string();
    let cut = usize::try_from(-(exponent + 18)).unwrap();
    if digits == "0" { 0 } else { digits[..digits.len() - cut].parse().unwrap() }
}

#[test]
fn the_books_events_say_what_the_order_moved() {
    for kind in [BookKind::V4, BookKind::V4Bytes32, BookKind::V5] {
        let book = OrderBook { kind, ..BOOK };
        let (paid, shares) = ("150.25".parse().unwrap(), "0.333333333333333333".parse().unwrap());
        let sell = Leg::trade(OWNER, Side::Sell, SHARE, shares, USDC, paid);
        let buy = Leg::trade(STRANGER, Side::Buy, SHARE, shares, USDC, paid);
        let read = |log: &Log| {
            let (topics, data) = (log.topics().to_vec(), log.data.data.clone());
            let zero = B256::ZERO;
            let address = log.address;
            let raw = RawLog {
                address,
                topics,
                data,
                block_number: 1,
                block_hash: zero,
                block_time: None,
                tx_hash: zero,
                log_index: 0,
            };
            (raw.kind(), abi::read(&raw).unwrap())
        };
        let value = |amount, decimals: u32| match amount {
            abi::Amount::Units(units) => i128::try_from(units).unwrap() * 10_i128.pow(18 - decimals),
            abi::Amount::Float(word) => atoms(word),
        };
        let logs = book.take(&sell);
        assert_eq!(logs.len(), 4);
        let (found, Said::Take { order, moved }) = read(&logs[1]) else { panic!("{kind:?}") };
        assert!(matches!(found, Some(LogKind::Take(_))));
        assert_eq!((order.owner, order.tokens), (OWNER, Some((USDC.address, SHARE.address))));
        assert_eq!(value(moved.input, 6), sell.input_atoms);
        assert_eq!(value(moved.output, 18), sell.output_atoms);

        let logs = book.clear(&sell, &buy);
        let (_, Said::Clear { alice, bob }) = read(&logs[0]) else { panic!("{kind:?}") };
        assert_eq!((alice.owner, bob.owner), (OWNER, STRANGER));
        assert_eq!(bob.tokens, Some((SHARE.address, USDC.address)));
        let (_, Said::AfterClear { alice, bob }) = read(&logs[3]) else { panic!("{kind:?}") };
        assert_eq!((value(alice.input, 6), value(bob.input, 18)), (sell.input_atoms, buy.input_atoms));
        assert_eq!((value(alice.output, 18), value(bob.output, 6)), (sell.output_atoms, buy.output_atoms));
        assert!(matches!(read(&logs[1]), (None, Said::Other)));
    }
}

#[test]
fn a_float_has_many_spellings() {
    let one = float(ONE, 0);
    assert_eq!(one.to_string(), "0xffffffee00000000000000000000000000000000000000000de0b6b3a7640000");
    for zeros in 0..=28 {
        assert_eq!(atoms(float(ONE / 3, zeros)), ONE / 3);
        assert_eq!(atoms(float(i128::MAX, zeros)), i128::MAX);
    }
    assert_ne!(float(ONE, 1), one);
    assert_eq!(float(0, 5), B256::ZERO);
    assert_eq!(float(-1, 0)[4..], [0xff; 28]);
}
