//! The survey before a chain whose every bloom is full, one look after the other, without a socket, a pace or a clock.
//!
//! The node takes as many calls a look as a test says and refuses the rest; its `eth_getLogs` may lag its head. The
//! engine here folds a range into a view and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, Bloom};
use alloy::sol_types::{SolCall, SolValue};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use super::abi::token::IToken::{decimalsCall, symbolCall};
use super::pace::Urgency;
use super::rpc::{Rpc, RpcError};
use super::scripted::{Said, node};
use super::sweep::{Found, Memory, Survey};
use super::tokens::Tokens;
use super::trouble::Trouble;
use super::{ChainConfig, ChainFacts, ChainView, window};
use crate::fills::Event;
use crate::units::{BlockRef, LogId, Millis, ONE};
use counterfill_sim::logs::{Asset, BookKind, Leg, OrderBook};
use counterfill_sim::{SimBlock, SimChain};

const FIRST: u64 = 1_000;
const OWNER: Address = Address::repeat_byte(0x01);
const SHARE: Asset = Asset::new(Address::repeat_byte(0x11), 18);
const USDC: Asset = Asset::new(Address::repeat_byte(0x12), 6);
const BOOK: OrderBook = OrderBook { address: Address::repeat_byte(0x21), kind: BookKind::V5 };
/// Far more looks than anything here needs.
const LOOKS_MAX: usize = 200;

/// What the node does.
struct Node {
    chain: SimChain,
    /// Calls that are left before it refuses them.
    calls_left: u64,
    /// Calls a second that come back, by the real clock, up to ten.
    back: Option<(u32, Instant)>,
    refused: u64,
    /// Methods answered, in order.
    answered: Vec<String>,
    /// `eth_getLogs` says nothing of these blocks.
    unindexed: BTreeSet<u64>,
    /// `eth_call` is refused, until it is not.
    stateless: bool,
}

impl Node {
    fn answer(&mut self, method: &str, params: &Value) -> Said {
        if let Some((per_second, since)) = &mut self.back {
            let back = since.elapsed() * *per_second;
            self.calls_left = self.calls_left.saturating_add(back.as_secs()).min(10);
            *since += Duration::from_secs(back.as_secs()) / *per_second;
        }
        if self.calls_left == 0 {
            self.refused += 1;
            return Err((-32_007, "25/second request limit reached"));
        }
        self.calls_left -= 1;
        self.answered.push(method.to_owned());
        match method {
            "eth_getBlockByNumber" => Ok(self.at(&params[0]).map_or(Value::Null, header)),
            "eth_blockNumber" => Ok(hex(self.chain.tip().number)),
            "eth_getCode" => Ok(json!("0x60")),
            "eth_getLogs" => Ok(self.logs(&params[0])),
            "eth_call" if self.stateless => Err((-32_000, "not on a Tuesday")),
            "eth_call" => {
                let data = params[0]["input"].as_str().or(params[0]["data"].as_str()).unwrap();
                let asked = |selector: [u8; 4]| data.starts_with(&alloy::hex::encode_prefixed(selector));
                let decimals = if params[0]["to"] == json!(SHARE.address) { 18 } else { 6 };
                let bytes = if asked(symbolCall::SELECTOR) {
                    "tTSLA".to_owned().abi_encode()
                } else if asked(decimalsCall::SELECTOR) {
                    alloy::primitives::U256::from(decimals).abi_encode()
                } else {
                    return Err((3, "execution reverted"));
                };
                Ok(json!(alloy::hex::encode_prefixed(bytes)))
            }
            "eth_getTransactionReceipt" => Err((-32_603, "internal error")),
            _ => Err((-32_601, "the method does not exist/is not available")),
        }
    }

    fn at(&self, tag: &Value) -> Option<&SimBlock> {
        match tag.as_str().unwrap().strip_prefix("0x") {
            Some(digits) => self.chain.block_at(u64::from_str_radix(digits, 16).unwrap()),
            None => self.chain.block_at(self.chain.tip().number),
        }
    }

    fn logs(&self, filter: &Value) -> Value {
        let blocks: Vec<&SimBlock> = match filter["blockHash"].as_str() {
            Some(hash) => self.chain.block(hash.parse().unwrap()).into_iter().collect(),
            None => {
                let [from, to] = ["fromBlock", "toBlock"].map(|end| self.at(&filter[end]).unwrap().number);
                (from..=to).map(|number| self.chain.block_at(number).unwrap()).collect()
            }
        };
        let told = blocks.into_iter().filter(|block| !self.unindexed.contains(&block.number));
        told.flat_map(|block| {
            block.logs().map(|placed| {
                json!({
                    "address": placed.log.address, "topics": placed.log.topics(), "data": placed.log.data.data,
                    "blockNumber": hex(block.number), "blockHash": block.hash, "removed": false,
                    "transactionHash": placed.tx.hash, "logIndex": hex(placed.log_index as u64),
                })
            })
        })
        .collect()
    }
}

fn hex(number: u64) -> Value {
    json!(format!("{number:#x}"))
}

fn header(block: &SimBlock) -> Value {
    json!({
        "number": hex(block.number), "hash": block.hash, "parentHash": block.parent,
        "timestamp": hex(block.timestamp), "logsBloom": Bloom::repeat_byte(0xff),
        "transactions": block.txs.iter().map(|tx| tx.hash).collect::<Vec<_>>(),
    })
}

/// A process that reads the chain, and what its ledger holds.
struct World {
    node: Arc<Mutex<Node>>,
    config: ChainConfig,
    memory: Memory,
    tokens: Tokens,
    view: ChainView,
    now: Millis,
}

impl World {
    /// A chain of so many blocks, with a take of ours at each of these heights above [`FIRST`].
    fn new(blocks: u64, takes: &[u64]) -> Self {
        let mut chain = SimChain::new(8_453, FIRST, 7);
        chain.contracts.insert(BOOK.address);
        let node = Node {
            chain,
            calls_left: u64::MAX,
            back: None,
            refused: 0,
            answered: vec![],
            unindexed: BTreeSet::new(),
            stateless: false,
        };
        let config = ChainConfig {
            ws_url: String::new(),
            cert_file: None,
            chain_id: None,
            stamped_chain_id: None,
            orderbooks: vec![BOOK.address],
            owners: vec![OWNER],
            deployment_block: FIRST + 1,
            hedge_from_block: None,
            symbols: None,
            equities: BTreeMap::from([(SHARE.address, "TSLA".parse().unwrap())]),
            ratios: BTreeMap::new(),
            unit_jump_max_percent: crate::tokens::UNIT_JUMP_MAX_PERCENT,
            cash: Some(USDC.address),
            log_range_blocks: 1_000,
            head_age_max: Duration::from_secs(60),
        };
        let memory = Memory::new(&config);
        let world = Self {
            node: Arc::new(Mutex::new(node)),
            tokens: Tokens::new(&config),
            config,
            memory,
            view: ChainView::default(),
            now: Millis(1_800_000_000_000),
        };
        (1..=blocks).for_each(|above| _ = world.mine(takes.contains(&above)));
        world
    }

    fn mine(&self, with_a_take: bool) -> u64 {
        let chain = &mut self.node.lock().unwrap().chain;
        let txs = if with_a_take {
            let sale =
                Leg { owner: OWNER, input: USDC, input_atoms: ONE * 100, output: SHARE, output_atoms: ONE };
            vec![chain.tx(vec![BOOK.take_only(&sale)])]
        } else {
            vec![]
        };
        chain.mine(txs).number
    }

    /// The process ends; its ledger stays.
    fn restart(&mut self) {
        self.memory = Memory::new(&self.config);
        self.tokens = Tokens::new(&self.config);
    }

    /// One look on a new connection, which may take so many calls.
    async fn look_with(&mut self, calls: u64) -> Result<Found, Trouble> {
        self.node.lock().unwrap().calls_left = calls;
        let rpc = self.connection();
        self.look_over(&rpc).await
    }

    fn connection(&self) -> Rpc {
        let shared = Arc::clone(&self.node);
        node(move |method, params| shared.lock().unwrap().answer(method, params))
    }

    async fn look_over(&mut self, rpc: &Rpc) -> Result<Found, Trouble> {
        let (book, facts) = (self.config.book(8_453), watch::Sender::new(ChainFacts::default()));
        let mut survey = Survey {
            rpc,
            config: &self.config,
            book: &book,
            facts: &facts,
            memory: &mut self.memory,
            tokens: std::mem::replace(&mut self.tokens, Tokens::new(&self.config)),
            code_seen: true,
        };
        let found = survey.attempt(&self.view, self.now).await;
        let Survey { tokens, .. } = survey;
        self.tokens = tokens;
        self.now = self.now.plus(10);
        if let Ok(Found::Range(sweep)) = &found {
            let (base, target) = (sweep.base, sweep.target);
            self.view.window = window::after(&self.view.window, base, target, &sweep.canonical);
            self.view.cursor = Some(target);
            self.view.tokens.extend(sweep.tokens.clone());
            for event in &sweep.events {
                let Event::Fill(fill) = event else { panic!("{event:?}") };
                let standing = (fill.block_number, fill.id);
                if !self.view.standing.contains(&standing) {
                    self.view.standing.push(standing);
                }
            }
        }
        found
    }

    /// Looks without a limit until there is nothing to read.
    async fn settles(&mut self) {
        for _ in 0..LOOKS_MAX {
            match self.look_with(u64::MAX).await.unwrap() {
                Found::Idle if self.view.cursor == Some(self.tip()) => return,
                _ => {}
            }
        }
        panic!("never");
    }

    fn tip(&self) -> BlockRef {
        self.node.lock().unwrap().chain.tip()
    }

    fn fills_at(&self) -> Vec<u64> {
        self.view.standing.iter().map(|(number, _)| *number).collect()
    }

    /// Methods answered since the last time.
    fn answered(&self) -> Vec<String> {
        std::mem::take(&mut self.node.lock().unwrap().answered)
    }
}

#[tokio::test]
async fn a_limit_keeps_what_was_read_before_it() {
    // What a token is takes nine questions: what was answered before the limit is not asked again.
    for calls in [6, 15, 25, 100] {
        let mut world = World::new(64, &[3, 40]);
        let (mut looks, mut answered) = (0, 0);
        while world.view.cursor != Some(world.tip()) {
            looks += 1;
            assert!(looks < LOOKS_MAX, "{calls} calls a look: the cursor is {:?}", world.view.cursor);
            // What is refused is refused, and what was read stays.
            let _ = world.look_with(calls).await;
            answered += world.answered().len();
        }
        assert_eq!(world.fills_at(), [FIRST + 3, FIRST + 40], "{calls} calls a look");
        // Two calls a block, a header twice where the look failed after it; head, base and tokens in each look, and eight
        // blocks under way when the limit comes.
        let needed = 3 * 64 + looks * (2 + 8 + 9);
        assert!(answered <= needed, "{calls} calls a look: {answered} calls in {looks} looks");
    }
}

/// Four hundred calls a second are as many as a busy machine makes; a slower one is refused less.
#[tokio::test]
async fn a_limited_node_is_read_to_the_head_in_one_look() {
    let mut world = World::new(64, &[3, 40]);
    {
        let mut node = world.node.lock().unwrap();
        (node.calls_left, node.back) = (10, Some((400, Instant::now())));
    }
    let in_turn = world.connection().paced(&world.memory.pace.clone(), Urgency::Sweep);
    assert!(matches!(world.look_over(&in_turn).await, Ok(Found::Range(_))));
    assert_eq!((world.view.cursor, world.fills_at()), (Some(world.tip()), vec![FIRST + 3, FIRST + 40]));
    assert!(world.node.lock().unwrap().refused > 0 && world.memory.pace.calls_per_s().is_some());
}

#[tokio::test]
async fn a_refusal_that_names_a_long_pause_is_told_at_once() {
    let rpc =
        node(|_, _| Err((-32_090, "Too many requests, reason: call rate limit exhausted, retry in 30s")));
    let pace = Arc::default();
    for urgency in [Urgency::Sweep, Urgency::First] {
        let in_turn = rpc.paced(&pace, urgency);
        let error = in_turn.block_number().await.unwrap_err();
        assert!(matches!(error, RpcError::Limited { .. }), "{error}");
        // The next one would wait for its turn.
        if urgency == Urgency::Sweep {
            let next = timeout(Duration::from_millis(20), in_turn.block_number());
            assert!(next.await.is_err());
        }
    }
}

#[tokio::test]
async fn sixty_four_blocks_take_two_calls_each() {
    let mut world = World::new(64, &[]);
    world.look_with(u64::MAX).await.unwrap();
    assert_eq!(world.view.cursor, Some(world.tip()));
    // The head is one of the headers; one range asks about all but the newest again.
    assert_eq!(world.answered().len(), 1 + 1 + 63 + 64 + 1);
}

#[tokio::test]
async fn what_was_said_of_a_block_outlives_a_failure_after_it() {
    let mut world = World::new(30, &[20]);
    world.node.lock().unwrap().stateless = true;
    let mut looks = 0;
    while world.view.cursor.is_none_or(|cursor| cursor.number < FIRST + 19) {
        looks += 1;
        assert!(looks < 20, "the cursor is {:?}", world.view.cursor);
        let _ = world.look_with(u64::MAX).await;
    }
    // It stands before the block whose tokens cannot be asked about, and each block was read once.
    for _ in 0..5 {
        assert!(world.look_with(u64::MAX).await.is_err());
    }
    assert_eq!(world.view.cursor.unwrap().number, FIRST + 19);
    let logs = world.answered().iter().filter(|method| *method == "eth_getLogs").count();
    assert!(logs <= 30 + looks + 5, "{logs}");
    world.node.lock().unwrap().stateless = false;
    world.settles().await;
    assert_eq!(world.fills_at(), [FIRST + 20]);
}

#[tokio::test]
async fn an_index_that_lags_a_block_behind_the_head_loses_nothing() {
    for restarts in [false, true] {
        let mut world = World::new(3, &[]);
        world.settles().await;
        let number = world.mine(true);
        world.node.lock().unwrap().unindexed.insert(number);
        world.settles().await;
        assert_eq!((world.view.cursor.unwrap().number, world.fills_at()), (number, vec![]));
        world.node.lock().unwrap().unindexed.clear();
        if restarts {
            world.restart();
        }
        world.mine(false);
        world.settles().await;
        assert_eq!(world.fills_at(), [number], "restarts {restarts}");
        assert_eq!(world.view.cursor, Some(world.tip()));
    }
}

#[tokio::test]
async fn a_chain_that_stands_still_is_asked_again_after_a_while() {
    let mut world = World::new(3, &[]);
    let number = world.mine(true);
    world.node.lock().unwrap().unindexed.insert(number);
    world.settles().await;
    world.node.lock().unwrap().unindexed.clear();
    world.settles().await;
    assert_eq!(world.fills_at(), Vec::<u64>::new());
    world.now = world.now.plus(super::answers::AGAIN_MS);
    world.settles().await;
    world.settles().await;
    assert_eq!(world.fills_at(), [number]);
}

#[tokio::test]
async fn a_block_costs_four_calls_and_is_asked_about_twice() {
    let mut world = World::new(3, &[]);
    world.settles().await;
    world.answered();
    for _ in 0..10 {
        world.mine(false);
        world.look_with(u64::MAX).await.unwrap();
        // The sweeper does this without asking for the head again.
        world.look_with(u64::MAX).await.unwrap();
    }
    let answered = world.answered();
    let logs = answered.iter().filter(|method| *method == "eth_getLogs").count();
    assert_eq!((answered.len(), logs), (40, 20));
}

#[tokio::test]
async fn a_fork_takes_what_waits_to_be_asked_about_with_it() {
    let mut world = World::new(3, &[]);
    world.settles().await;
    let number = world.mine(true);
    world.node.lock().unwrap().unindexed.insert(number);
    world.settles().await;
    world.node.lock().unwrap().chain.reorg(1, vec![vec![]]).unwrap();
    world.node.lock().unwrap().unindexed.clear();
    for _ in 0..3 {
        world.mine(false);
        world.settles().await;
    }
    assert_eq!(world.fills_at(), Vec::<u64>::new());
    world.mine(true);
    world.settles().await;
    assert_eq!(world.fills_at().len(), 1);
}

/// Receipts are refused for ever, in whatever words, and the log that was pushed shows in no answer: after some tries two
/// answers are believed, and the line goes on.
#[tokio::test]
async fn pushed_evidence_of_a_node_without_receipts_does_not_stop_the_line() {
    let mut world = World::new(5, &[3]);
    world.settles().await;
    let number = world.mine(true);
    world.mine(false);
    let (tx_hash, block) = {
        let mut node = world.node.lock().unwrap();
        node.unindexed.insert(number);
        let block = node.chain.block_at(number).unwrap();
        (block.txs[0].hash, block.reference())
    };
    let pushed = LogId { block, tx_hash, log_index: 0 };
    world.view.evidence.push(pushed);
    // Not within the first minute, however often it is asked: the index may be behind.
    for _ in 0..20 {
        assert!(matches!(world.look_with(u64::MAX).await, Err(Trouble::Rpc(RpcError::Refused { .. }))));
        assert!(world.view.cursor.is_some_and(|cursor| cursor.number < number));
    }
    (0..64).for_each(|_| _ = world.mine(false));
    let mut put_off = 0;
    let sweep = loop {
        match world.look_with(u64::MAX).await {
            Ok(Found::Range(sweep)) if sweep.settled.contains(&pushed) => break sweep,
            Ok(other) => assert!(!matches!(other, Found::Idle), "the cursor passed what was pushed"),
            Err(Trouble::Rpc(RpcError::Refused { .. })) => put_off += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(put_off < 20, "the line stands");
    };
    assert_eq!(world.memory.ways.unproven(), 1);
    assert!(sweep.target.number >= number);
    // One that shows it after all books it.
    let mut world = World::new(5, &[]);
    world.settles().await;
    let number = world.mine(true);
    world.mine(false);
    let block = world.node.lock().unwrap().chain.block_at(number).unwrap().reference();
    let tx_hash = world.node.lock().unwrap().chain.block_at(number).unwrap().txs[0].hash;
    world.view.evidence.push(LogId { block, tx_hash, log_index: 0 });
    world.node.lock().unwrap().unindexed.insert(number);
    for _ in 0..10 {
        assert!(world.look_with(u64::MAX).await.is_err());
    }
    world.node.lock().unwrap().unindexed.clear();
    world.settles().await;
    assert_eq!(world.fills_at(), [number]);
}
