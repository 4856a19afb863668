//! The chain side against a scripted node: whatever the node does, the fills that stand are those of its chain.
//!
//! The engine here is thirty lines: it folds what it is given by `protocol.md` 1.1, 1.2 and 1.4 and publishes the view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::{Address, B256, Log, U256};
use counterfill::chain::abi::{self, LogKind};
use counterfill::chain::tokens::UNIT_JUMP_MAX_PERCENT;
use counterfill::chain::{
    self, ChainConfig, ChainFacts, ChainStop, ChainView, Sweep, TransactionError, WINDOW_BLOCKS_MAX, window,
};
use counterfill::engine::Input;
use counterfill::fills::{DeadEvent, Event, Fill, TokenFact};
use counterfill::sim::logs::{Asset, BookKind, Leg, OrderBook};
use counterfill::sim::{self, Blooms, DropPushes, Faults, Plan, RpcFault, SimChain, SimNode, Token, Words};
use counterfill::units::{BlockRef, FillId, LogId, ONE};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

const CHAIN_ID: u64 = 8453;
const FIRST: u64 = 1_000;
const DEPLOYMENT: u64 = 1_001;
const OWNER: Address = Address::repeat_byte(0x01);
const STRANGER: Address = Address::repeat_byte(0x02);
const SHARE: Asset = Asset::new(Address::repeat_byte(0x11), 18);
const USDC: Asset = Asset::new(Address::repeat_byte(0x12), 6);
const WRAPPED: Asset = Asset::new(Address::repeat_byte(0x13), 18);
const BOOK: OrderBook = OrderBook { address: Address::repeat_byte(0x21), kind: BookKind::V5 };
/// Far longer than anything here takes; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(120);

fn a_chain() -> SimChain {
    let mut chain = SimChain::new(CHAIN_ID, FIRST, 7);
    chain.contracts.insert(BOOK.address);
    chain.tokens.insert(SHARE.address, Token::plain("tTSLA", 18));
    chain.tokens.insert(USDC.address, Token::plain("USDC", 6));
    let ratio = U256::from(1_500_000_000_000_000_000_u64);
    chain.tokens.insert(WRAPPED.address, Token::wrapped("wtTSLA", 18, SHARE.address, ratio));
    chain
}

fn sale_of(owner: Address, share: Asset, milli_shares: i64) -> Leg {
    let atoms = i128::from(milli_shares) * ONE / 1_000;
    Leg { owner, input: USDC, input_atoms: atoms * 100, output: share, output_atoms: atoms }
}

fn take(milli_shares: i64) -> Log {
    BOOK.take_only(&sale_of(OWNER, SHARE, milli_shares))
}

fn clear(milli_shares: i64) -> Vec<Log> {
    let alice = sale_of(OWNER, SHARE, milli_shares);
    let bob = Leg {
        owner: STRANGER,
        input: alice.output,
        input_atoms: alice.output_atoms,
        output: alice.input,
        output_atoms: alice.input_atoms,
    };
    BOOK.clear(&alice, &bob)
}

fn config(node: &SimNode) -> ChainConfig {
    ChainConfig {
        ws_url: node.ws_url(),
        cert_file: None,
        chain_id: Some(CHAIN_ID),
        stamped_chain_id: None,
        orderbooks: vec![BOOK.address],
        owners: vec![OWNER],
        deployment_block: DEPLOYMENT,
        hedge_from_block: None,
        symbols: None,
        equities: BTreeMap::from([
            (SHARE.address, "TSLA".parse().unwrap()),
            (WRAPPED.address, "TSLA".parse().unwrap()),
        ]),
        ratios: BTreeMap::new(),
        unit_jump_max_percent: UNIT_JUMP_MAX_PERCENT,
        cash: Some(USDC.address),
        log_range_blocks: 1_000,
        head_age_max: PATIENCE,
    }
}

/// What a ledger would hold.
#[derive(Default)]
struct Book {
    cursor: Option<BlockRef>,
    window: Vec<BlockRef>,
    fills: BTreeMap<FillId, (Fill, bool)>,
    dead: Vec<DeadEvent>,
    tokens: BTreeMap<Address, TokenFact>,
    connected: Vec<BlockRef>,
    pushed: BTreeSet<FillId>,
    evidence: BTreeSet<LogId>,
    sweeps: u64,
    refuted: u64,
    refused: u64,
}

impl Book {
    fn view(&self) -> ChainView {
        let above = self.window.first().map_or(0, |block| block.number);
        let standing = self.fills.values().filter(|(fill, up)| *up && fill.block_number > above);
        ChainView {
            cursor: self.cursor,
            window: self.window.clone(),
            standing: standing.map(|(fill, _)| (fill.block_number, fill.id)).collect(),
            late_from: None,
            evidence: self.evidence.iter().copied().collect(),
            tokens: self.tokens.values().cloned().collect(),
            pending: vec![],
            dropped_sweeps: self.refused,
        }
    }

    fn fold(&mut self, input: Input) {
        match input {
            Input::Connected { head } => self.connected.push(head),
            Input::Push(push) => {
                self.learn(push.tokens);
                let above = |block: BlockRef| self.cursor.is_none_or(|cursor| block.number > cursor.number);
                let reached =
                    push.evidence.iter().filter(|log| above(log.block) || self.window.contains(&log.block));
                self.evidence.extend(reached.copied().collect::<Vec<_>>());
                for event in push.events {
                    let Event::Fill(fill) = event else { panic!("only fills are pushed: {event:?}") };
                    let above = self.cursor.is_none_or(|cursor| fill.block_number > cursor.number);
                    let block = BlockRef { number: fill.block_number, hash: fill.id.block_hash };
                    if (above || self.window.contains(&block)) && !self.fills.contains_key(&fill.id) {
                        self.pushed.insert(fill.id);
                        self.fills.insert(fill.id, (fill, true));
                    }
                }
            }
            Input::Sweep(sweep) => self.sweep(sweep),
            other => panic!("not of the chain: {other:?}"),
        }
    }

    fn learn(&mut self, tokens: Vec<TokenFact>) {
        for token in tokens {
            let known = self.tokens.entry(token.address).or_insert_with(|| token.clone());
            assert_eq!(*known, token, "a token's fact never changes");
        }
    }

    fn sweep(&mut self, sweep: Sweep) {
        if self.cursor.is_some() && !self.window.contains(&sweep.base) {
            self.refused += 1;
            return;
        }
        self.sweeps += 1;
        self.learn(sweep.tokens);
        let range = sweep.base.number + 1..=sweep.target.number;
        let birth = self.cursor.is_none() && sweep.base == sweep.target;
        assert!(range.clone().count() <= 1_000 && (birth || !range.is_empty()));
        let told: BTreeSet<FillId> = sweep
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Fill(fill) => Some(fill.id),
                _ => None,
            })
            .collect();
        for (id, (fill, up)) in &mut self.fills {
            if *up && range.contains(&fill.block_number) {
                let canonical =
                    sweep.canonical.get(&fill.block_number).expect("the hash where a fill stands");
                let refuted = sweep.refuted.contains(id);
                assert!(*canonical != id.block_hash || refuted || told.contains(id), "unaccounted: {id}");
                self.refuted += u64::from(refuted);
                *up = *canonical == id.block_hash && !refuted;
            }
        }
        for log in self.evidence.iter().filter(|log| range.contains(&log.block.number)) {
            assert!(sweep.settled.contains(log), "passed unsettled: {log}");
        }
        self.evidence.retain(|log| !sweep.settled.contains(log));
        let mut last = (0, 0);
        for event in sweep.events {
            let place = match event {
                Event::Fill(fill) => {
                    let place = (fill.block_number, fill.id.log_index);
                    let known = self.fills.entry(fill.id).or_insert_with(|| (fill.clone(), true));
                    assert_eq!(known.0, fill, "the same name, the same content");
                    known.1 = true;
                    place
                }
                Event::Dead(dead) => {
                    let place = (dead.block_number, dead.log_index);
                    self.dead.push(dead);
                    place
                }
                Event::Pending(pending) => (pending.block_number, pending.id.log_index),
                Event::Skipped(skipped) => (skipped.block_number, skipped.id.log_index),
            };
            assert!(range.contains(&place.0) && place >= last);
            last = place;
        }
        self.window = window::after(&self.window, sweep.base, sweep.target, &sweep.canonical);
        self.cursor = Some(sweep.target);
    }

    fn standing(&self) -> BTreeSet<(B256, B256, u64)> {
        let up = self.fills.values().filter(|(_, up)| *up);
        up.map(|(fill, _)| (fill.id.block_hash, fill.id.tx_hash, fill.id.log_index)).collect()
    }
}

struct Bot {
    book: Arc<Mutex<Book>>,
    facts: watch::Receiver<ChainFacts>,
    chain: JoinHandle<ChainStop>,
    engine: JoinHandle<()>,
}

impl Drop for Bot {
    fn drop(&mut self) {
        self.chain.abort();
        self.engine.abort();
    }
}

impl Bot {
    fn start(config: ChainConfig) -> Self {
        Self::with(config, Book::default())
    }

    fn with(config: ChainConfig, book: Book) -> Self {
        let (inputs, mut queue) = mpsc::channel(16);
        let (publish, view) = watch::channel(book.view());
        let (facts, facts_seen) = watch::channel(ChainFacts::default());
        let book = Arc::new(Mutex::new(book));
        let kept = Arc::clone(&book);
        let engine = tokio::spawn(async move {
            while let Some(input) = queue.recv().await {
                let mut book = kept.lock().unwrap();
                book.fold(input);
                publish.send_replace(book.view());
            }
        });
        let bell = Arc::new(Notify::new());
        let chain = tokio::spawn(chain::run(config, CHAIN_ID, inputs, view, facts, bell));
        Self { book, facts: facts_seen, chain, engine }
    }

    fn read<T>(&self, read: impl FnOnce(&Book) -> T) -> T {
        read(&self.book.lock().unwrap())
    }

    fn facts(&self) -> ChainFacts {
        self.facts.borrow().clone()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(!self.engine.is_finished(), "the engine has ended while waiting for: {what}");
            let (cursor, facts) = (self.read(|book| book.cursor), self.facts());
            assert!(tokio::time::Instant::now() < deadline, "never: {what}; cursor {cursor:?}, {facts:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until the cursor is the node's tip; then exactly the chain's fills stand.
    async fn agrees_with(&self, node: &SimNode) {
        self.until("the cursor at the tip", |bot| bot.read(|b| b.cursor) == Some(node.chain(SimChain::tip)))
            .await;
        assert_eq!(self.read(Book::standing), truth(node));
    }

    async fn stop(mut self) -> ChainStop {
        tokio::time::timeout(PATIENCE, &mut self.chain).await.expect("it never stopped").unwrap()
    }
}

/// Our fills on the node's chain, found without the decoder: every take and clear here is ours unless it says STRANGER.
fn truth(node: &SimNode) -> BTreeSet<(B256, B256, u64)> {
    let kind = |log: &Log| abi::RawLog {
        address: log.address,
        topics: log.topics().to_vec(),
        data: log.data.data.clone(),
        block_number: 0,
        block_hash: B256::ZERO,
        block_time: None,
        tx_hash: B256::ZERO,
        log_index: 0,
    };
    let owner = OWNER.into_word();
    node.chain(|chain| {
        let blocks = chain.canonical().iter().filter_map(|hash| chain.block(*hash));
        let named = blocks.flat_map(|block| {
            block
                .logs()
                .filter(|placed| {
                    matches!(kind(placed.log).kind(), Some(LogKind::Take(_) | LogKind::Clear(_)))
                        && placed.log.data.data.windows(32).any(|bytes| bytes == owner.as_slice())
                })
                .map(|placed| (block.hash, placed.tx.hash, placed.log_index as u64))
        });
        named.collect()
    })
}

async fn node() -> SimNode {
    SimNode::start(a_chain()).await.unwrap()
}

#[tokio::test]
async fn it_catches_up_from_the_deployment_block_inclusive_and_follows() {
    let node = node().await;
    node.mine_logs(vec![take(300)]);
    assert_eq!(node.chain(SimChain::tip).number, DEPLOYMENT);
    for _ in 0..3 {
        node.mine_empty(100);
        node.mine_logs(clear(500));
    }
    node.mine_logs(vec![BOOK.take_only(&sale_of(STRANGER, SHARE, 900)), take(200), take(100)]);
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.fills.len()), 6);
    node.mine_logs(vec![take(700)]);
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.fills.len()), 7);
    assert!(bot.read(|b| b.window.len()) <= WINDOW_BLOCKS_MAX + 1);
    let facts = bot.facts();
    assert!(facts.connected && facts.head == Some(node.chain(SimChain::tip).number));
    assert_eq!((facts.forks, facts.reconnects), (0, 0));
    assert_eq!(bot.read(|b| b.connected.len()), 1);
}

#[tokio::test]
async fn a_pushed_take_is_there_before_the_sweep_and_counts_once() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    // Without a push nothing would be in `pushed`; a sweep that comes first makes another block necessary.
    bot.until("connected", |bot| bot.facts().connected).await;
    node.rpc_errors_of("eth_getLogs", RpcFault::Internal, true);
    node.mine_logs(vec![take(300), take(400)]);
    bot.until("both pushes folded", |bot| bot.read(|b| b.pushed.len()) == 2).await;
    node.heal();
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.fills.len()), 2);
}

#[tokio::test]
async fn heads_that_no_sweep_comes_to_are_counted_from_the_first_of_them() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    bot.until("swept to the head", |bot| bot.facts().unswept_since.is_none()).await;
    let swept_at = bot.facts().swept_at;
    assert!(swept_at.is_some());
    node.rpc_errors_of("eth_getBlockByNumber", RpcFault::Internal, true);
    let mut since = None;
    for _ in 0..3 {
        let head = node.mine_empty(1).number;
        bot.until("the head is told", |bot| bot.facts().head == Some(head)).await;
        let unswept = bot.facts().unswept_since;
        assert!(
            unswept.is_some() && since.is_none_or(|since| since == unswept),
            "{unswept:?} after {since:?}"
        );
        since = Some(unswept);
    }
    assert_eq!(bot.facts().swept_at, swept_at, "an answer that is none is no sweep");
    node.heal();
    bot.until("swept again", |bot| bot.facts().unswept_since.is_none()).await;
    assert!(bot.facts().swept_at >= swept_at);
    bot.agrees_with(&node).await;
}

#[tokio::test]
async fn a_burst_of_pushed_logs_is_not_lost() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    node.rpc_errors_of("eth_getLogs", RpcFault::Internal, true);
    node.mine_logs((1..=500).map(take).collect());
    bot.until("every push folded", |bot| bot.read(|b| b.pushed.len()) == 500).await;
    node.heal();
    bot.agrees_with(&node).await;
}

#[tokio::test]
async fn a_fork_far_behind_the_head_is_found_after_a_restart() {
    let node = node().await;
    node.mine_empty(80);
    node.mine_logs(vec![take(300)]);
    node.mine_empty(10);
    let stays = node.tx(vec![take(400)]);
    node.mine(vec![stays.clone()]);
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    let book = std::mem::take(&mut *bot.book.lock().unwrap());
    drop(bot);
    node.reorg(20, vec![vec![], vec![stays]]).unwrap();
    node.mine_empty(300);
    let mut config = config(&node);
    config.log_range_blocks = 30;
    let bot = Bot::with(config, book);
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| (b.fills.len(), b.standing().len())), (3, 1));
    assert_eq!(bot.facts().forks, 1);
}

/// A bot's first start, a whole window behind on a chain with full blooms: calls that the node took, but for the watch
/// over it, and calls that it refused.
async fn a_start_far_behind(plan: Option<Plan>) -> (u64, u64) {
    let node = node().await;
    node.chain_mut(|chain| chain.blooms = Blooms::Full);
    node.mine_empty(31);
    node.mine_logs(clear(500));
    node.mine_empty(32);
    node.provide(|provider| provider.plan = plan);
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.fills.len()), 1);
    let counters = node.counters();
    let calls: u64 = counters.calls.values().sum();
    (calls - counters.calls_of("eth_blockNumber") - counters.beyond_the_plan, counters.beyond_the_plan)
}

/// Four times as fast as a plan of 15 calls a second, so that nobody waits for it long. What is read is kept, and few calls
/// are made in vain: then it takes the time that its calls take.
#[tokio::test]
async fn a_start_far_behind_keeps_what_it_reads_and_finds_the_pace_that_the_node_bears() {
    let (needed, _) = a_start_far_behind(None).await;
    let plan = Plan::calls(60, Words::QuickNode).with_burst(15);
    let (taken, refused) = a_start_far_behind(Some(plan)).await;
    println!("{needed} calls are needed; {taken} were taken, {refused} refused");
    assert!(refused > 0, "it was beyond the plan");
    assert!(taken <= needed * 5 / 4, "{taken} of {needed}");
    assert!(refused <= needed / 2, "{refused} of {needed}");
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_the_gap_is_read() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    node.refuse(2);
    node.cut();
    node.mine_logs(vec![take(300)]);
    node.mine_empty(100);
    node.mine_logs(vec![take(400)]);
    bot.agrees_with(&node).await;
    // On a busy machine a second connection may be cut for being late.
    assert!(bot.facts().reconnects >= 1);
    assert!(bot.read(|b| b.connected.len()) >= 2);
    assert_eq!(node.counters().refused, 2);
}

#[tokio::test]
async fn garbage_frames_end_the_connection_not_the_bot() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    node.garbage_frames(2);
    bot.until("connected again", |bot| bot.facts().reconnects >= 1).await;
    node.mine_logs(vec![take(300)]);
    bot.agrees_with(&node).await;
}

#[tokio::test]
async fn without_new_heads_the_connection_is_dead() {
    let node = node().await;
    let mut config = config(&node);
    config.head_age_max = Duration::from_millis(200);
    node.drop_pushes(DropPushes::All);
    let bot = Bot::start(config);
    bot.until("connected again", |bot| bot.facts().reconnects >= 1).await;
    node.mine_logs(vec![take(300)]);
    bot.agrees_with(&node).await;
}

#[tokio::test]
async fn losing_every_push_costs_no_fill() {
    let node = node().await;
    node.drop_pushes(DropPushes::All);
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    node.mine_logs(vec![take(300)]);
    node.mine_logs(clear(300));
    bot.agrees_with(&node).await;
    assert!(bot.read(|b| b.pushed.is_empty()));
}

#[tokio::test]
async fn doubled_reordered_removed_and_placeless_pushes_change_nothing() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    node.set_faults(|faults| {
        faults.duplicate_pushes = true;
        faults.reorder_pushes = true;
        faults.removed_pushes = true;
    });
    node.mine_logs(vec![take(300), take(400)]);
    let left = node.mine_logs(vec![take(500)]);
    bot.agrees_with(&node).await;
    node.reorg(1, vec![vec![], vec![]]).unwrap();
    node.push_again(left.hash).unwrap();
    bot.agrees_with(&node).await;
    node.push_without_block_hash(true);
    node.mine_logs(vec![take(600)]);
    bot.agrees_with(&node).await;
    assert!(bot.facts().forks >= 1);
}

#[tokio::test]
async fn a_fork_reverses_and_the_way_back_reinstates() {
    let node = node().await;
    node.mine_empty(10);
    let bot = Bot::start(config(&node));
    let tx = node.tx(vec![take(300)]);
    node.mine(vec![tx.clone()]);
    let first = node.mine_logs(vec![take(400)]);
    bot.agrees_with(&node).await;
    // The first transaction comes back in another block, the second does not.
    node.reorg(2, vec![vec![], vec![tx], vec![]]).unwrap();
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(Book::standing).len(), 1);
    node.return_to(first.hash).unwrap();
    node.mine_empty(3);
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(Book::standing).len(), 2);
    assert!(bot.facts().forks >= 2);
}

#[tokio::test]
async fn a_node_that_lost_its_top_is_a_fork_or_only_behind() {
    let node = node().await;
    node.mine_empty(10);
    node.mine_logs(vec![take(300)]);
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    // Behind on the same chain: wait, and say so; the cursor stays.
    let cursor = node.chain(SimChain::tip);
    node.lagging_head(5);
    node.mine_empty(1);
    bot.until("it says so", |bot| bot.facts().error.is_some_and(|why| why.contains("is below our block")))
        .await;
    assert_eq!(bot.read(|b| b.cursor), Some(cursor));
    assert_eq!(bot.facts().forks, 0);
    node.heal();
    node.mine_logs(vec![take(400)]);
    bot.agrees_with(&node).await;
    bot.until("all well", |bot| bot.facts().error.is_none()).await;
    // A shorter chain with other blocks: a fork, whose cursor is lower.
    node.reorg(4, vec![vec![]]).unwrap();
    bot.until("the lower tip", |bot| bot.read(|b| b.cursor) == Some(node.chain(SimChain::tip))).await;
    assert_eq!(bot.facts().forks, 1);
    node.mine_empty(6);
    bot.agrees_with(&node).await;
}

#[tokio::test]
async fn a_lagging_node_after_a_push_loses_nothing() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    node.lagging_head(3);
    node.mine_logs(vec![take(300)]);
    bot.until("pushed", |bot| bot.read(|b| b.pushed.len()) == 1).await;
    node.mine_logs(clear(300));
    node.lagging_head(0);
    bot.agrees_with(&node).await;
}

#[tokio::test]
async fn an_empty_answer_is_not_believed_against_the_bloom() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    node.drop_pushes(DropPushes::Logs);
    // Once: the second question finds it.
    node.empty_logs(1);
    node.mine_logs(vec![take(300)]);
    bot.agrees_with(&node).await;
    assert_eq!(node.counters().calls_of("eth_getBlockReceipts"), 0);
    // Always: the receipts tell.
    node.empty_logs(true);
    node.mine_logs(vec![take(400)]);
    node.mine_logs(clear(500));
    bot.agrees_with(&node).await;
    assert!(node.counters().calls_of("eth_getBlockReceipts") >= 2);
    assert_eq!(bot.read(|b| b.fills.len()), 3);
}

#[tokio::test]
async fn an_answer_without_a_pushed_log_is_mended_by_the_receipt() {
    let node = node().await;
    node.without_method("eth_getBlockReceipts");
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    node.rpc_errors_of("eth_getBlockByNumber", RpcFault::Internal, true);
    node.mine_logs(vec![take(300), take(400)]);
    bot.until("both pushed", |bot| bot.read(|b| b.pushed.len()) == 2).await;
    node.set_faults(|faults| {
        faults.rpc_errors.0 = false.into();
        faults.partial_logs = true.into();
    });
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.refuted), 0);
}

#[tokio::test]
async fn a_phantom_is_refuted_by_its_block() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    node.rpc_errors_of("eth_getBlockByNumber", RpcFault::Internal, true);
    node.mine_empty(1);
    node.push_phantom(take(900));
    bot.until("the phantom stands", |bot| bot.read(|b| b.pushed.len()) == 1).await;
    node.heal();
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.refuted), 1);
}

#[tokio::test]
async fn a_clear_without_its_amounts_is_read_from_the_receipt() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    node.set_faults(|faults| {
        faults.partial_logs = true.into();
        faults.missing_methods.push("eth_getBlockReceipts".into());
    });
    node.mine_logs(clear(300));
    bot.agrees_with(&node).await;
    assert!(bot.read(|b| b.dead.is_empty()) && node.counters().calls_of("eth_getTransactionReceipt") >= 1);
    // A clear that truly has none is dead, and the line moves on.
    let alice = sale_of(OWNER, SHARE, 100);
    let [orphan, _] = BOOK.clear_only(&alice, &alice);
    node.heal();
    node.mine_logs(vec![orphan]);
    let tip = node.mine_logs(vec![take(100)]);
    bot.until("the line moves on", |bot| bot.read(|b| b.cursor) == Some(tip)).await;
    assert_eq!(bot.read(|b| b.dead.len()), 1);
}

#[tokio::test]
async fn two_forks_answered_in_turn_settle_on_the_chain() {
    let node = node().await;
    node.mine_empty(8);
    let bot = Bot::start(config(&node));
    let orphan = node.mine_logs(vec![take(300)]);
    bot.agrees_with(&node).await;
    node.reorg(1, vec![vec![]]).unwrap();
    let tip = node.mine_logs(vec![take(400)]);
    node.two_forks(orphan.hash, 20);
    bot.until("the turns are used up", |_| node.faults().two_forks.is_none_or(|(_, left)| !left.is_due()))
        .await;
    node.mine_logs(vec![take(500)]);
    bot.agrees_with(&node).await;
    assert!(bot.read(Book::standing).iter().any(|(block, _, _)| *block == tip.hash));
}

#[tokio::test]
async fn one_header_of_another_fork_keeps_no_fill_alive_far_below_the_head() {
    let node = node().await;
    node.mine_empty(10);
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    // Pushed, and not swept: what is answered is of three blocks ago.
    node.lagging_head(3);
    let left = node.mine_logs(vec![take(300)]);
    bot.until("pushed", |bot| bot.read(|b| b.pushed.len()) == 1).await;
    // The chain leaves it far behind before the bot looks again, and one backend still has it at its height.
    node.other_block(left.hash, 1);
    node.chain_mut(|chain| {
        chain.reorg(1, vec![vec![]]).unwrap();
        (0..3 * WINDOW_BLOCKS_MAX).for_each(|_| _ = chain.mine(vec![]));
    });
    node.mine_logs(vec![take(400)]);
    bot.until("the lie was told", |_| node.faults().other_block.is_some_and(|(_, times)| !times.is_due()))
        .await;
    node.lagging_head(0);
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.fills.values().filter(|(_, standing)| *standing).count()), 1);
}

#[tokio::test]
async fn one_header_of_another_fork_is_no_base_to_go_on_from_far_below_the_head() {
    let node = node().await;
    node.mine_empty(10);
    let bot = Bot::start(config(&node));
    node.mine_logs(vec![take(300)]);
    let cursor = node.mine_logs(vec![take(400)]);
    bot.agrees_with(&node).await;
    // The chain leaves it, and is far away before the bot looks again; one backend still has the cursor at its height.
    node.refuse(true);
    node.cut();
    bot.until("away", |bot| !bot.facts().connected).await;
    node.other_block(cursor.hash, 1);
    node.chain_mut(|chain| {
        chain.reorg(2, vec![vec![], vec![]]).unwrap();
        let tx = chain.tx(vec![take(500)]);
        chain.mine(vec![tx]);
        (0..3 * WINDOW_BLOCKS_MAX).for_each(|_| _ = chain.mine(vec![]));
    });
    node.refuse(false);
    bot.agrees_with(&node).await;
    assert!(node.faults().other_block.is_some_and(|(_, times)| !times.is_due()), "the lie was told");
    assert_eq!(bot.read(|b| b.fills.values().filter(|(_, standing)| *standing).count()), 1);
}

#[tokio::test]
async fn a_block_that_is_refused_as_too_large_is_not_asked_for_without_a_pause() {
    let node = node().await;
    node.range_max_logs(Some(0));
    node.mine_logs(vec![take(300)]);
    let bot = Bot::start(config(&node));
    bot.until("it says so", |bot| bot.facts().error.is_some_and(|why| why.contains("even one block"))).await;
    node.heal();
    bot.agrees_with(&node).await;
}

/// A node of two backends: right after a question for the head, the block at `height` comes from the old one, which
/// has not heard of the fork; everything else comes from the new one. No pushes.
async fn two_backends(old: SimChain, new: Arc<Mutex<SimChain>>, height: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
            let mut after_head = false;
            while let Some(Ok(frame)) = socket.next().await {
                let Ok(call) = serde_json::from_slice::<Value>(&frame.into_data()) else { continue };
                let (method, params) = (call["method"].as_str().unwrap(), &call["params"]);
                let stale = after_head && params[0] == json!(format!("{height:#x}"));
                after_head = params[0] == json!("latest") && method == "eth_getBlockByNumber";
                let answer = match method {
                    "eth_subscribe" => Ok(json!(if params[0] == "logs" { "0x1" } else { "0x2" })),
                    _ if stale => sim::rpc::answer(&old, &mut Faults::default(), method, params),
                    _ => sim::rpc::answer(&new.lock().unwrap(), &mut Faults::default(), method, params),
                };
                let id = &call["id"];
                let reply = match answer {
                    Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
                    Err(error) => {
                        let error = json!({ "code": error.code, "message": error.message });
                        json!({ "jsonrpc": "2.0", "id": id, "error": error })
                    }
                };
                if socket.send(Message::text(reply.to_string())).await.is_err() {
                    break;
                }
            }
        }
    });
    url
}

#[tokio::test]
async fn a_cursor_that_looks_canonical_but_has_no_child_is_a_fork() {
    let mut old = a_chain();
    let fill = |chain: &mut SimChain| {
        let tx = chain.tx(vec![take(300)]);
        chain.mine(vec![tx])
    };
    old.mine(vec![]);
    let ancestor = old.mine(vec![]);
    let mut new = old.clone();
    let left = fill(&mut old);
    let node = Arc::new(Mutex::new(old.clone()));
    let url = two_backends(old, Arc::clone(&node), left.number).await;
    let mut config = config(&self::node().await);
    config.ws_url = url;
    let bot = Bot::start(config);
    bot.until("the old tip", |bot| bot.read(|b| b.cursor) == Some(left)).await;
    new.mine(vec![]);
    new.reorg(1, vec![vec![]]).unwrap();
    let joined = fill(&mut new);
    *node.lock().unwrap() = new;
    bot.until("the new tip", |bot| bot.read(|b| b.cursor) == Some(joined)).await;
    let standing: Vec<B256> = bot.read(Book::standing).iter().map(|(block, _, _)| *block).collect();
    assert_eq!(standing, [joined.hash]);
    assert!(bot.facts().discarded >= 2 && bot.facts().forks == 1, "{:?}", bot.facts());
    assert!(bot.read(|b| b.window.contains(&ancestor)));
}

#[tokio::test]
async fn a_refused_range_is_halved_until_it_is_taken() {
    let node = node().await;
    for _ in 0..5 {
        node.mine_empty(90);
        node.mine_logs(vec![take(300)]);
    }
    node.mine_empty(70);
    node.range_max_blocks(Some(40));
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.fills.len()), 5);
    assert_eq!(bot.facts().discarded, 0, "a refusal is no disagreement");
    bot.until("the backfill is over", |bot| bot.facts().backfill.is_none()).await;
}

#[tokio::test]
async fn old_ranges_are_read_around_errors_and_a_changing_end() {
    let node = node().await;
    for _ in 0..4 {
        node.mine_empty(60);
        node.mine_logs(vec![take(300)]);
        node.mine_logs(clear(200));
    }
    node.mine_empty(100);
    let mut config = config(&node);
    config.log_range_blocks = 50;
    node.rpc_errors_of("eth_getLogs", RpcFault::HeaderNotFound, 5);
    let bot = Bot::start(config);
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.fills.len()), 8);
    assert!(bot.read(|b| b.sweeps) >= 5);
}

#[tokio::test]
async fn an_order_book_without_code_is_noticed_when_the_node_has_come_so_far() {
    let node = node().await;
    let mut config = config(&node);
    config.deployment_block = FIRST + 20;
    node.no_code(Some(BOOK.address));
    let bot = Bot::start(config);
    bot.until("it says so", |bot| bot.facts().error.is_some_and(|why| why.contains("DEPLOYMENT_BLOCK")))
        .await;
    node.mine_empty(25);
    let stop = bot.stop().await;
    assert!(matches!(stop, ChainStop::NoCode { address, .. } if address == BOOK.address), "{stop}");
}

#[tokio::test]
async fn a_node_below_the_deployment_block_is_waited_for() {
    let node = node().await;
    let mut config = config(&node);
    config.deployment_block = FIRST + 20;
    node.no_code(Some(BOOK.address));
    let bot = Bot::start(config);
    bot.until("it says so", |bot| bot.facts().error.is_some_and(|why| why.contains("DEPLOYMENT_BLOCK")))
        .await;
    assert_eq!(bot.read(|b| b.cursor), None);
    node.mine_empty(19);
    node.heal();
    node.mine_logs(vec![take(300)]);
    bot.agrees_with(&node).await;
}

#[tokio::test]
async fn on_a_chain_that_has_not_moved_yet_the_cursor_is_the_block_before_the_first() {
    let node = node().await;
    assert_eq!(node.chain(SimChain::tip).number, FIRST);
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.cursor.map(|cursor| cursor.number)), Some(DEPLOYMENT - 1));
    node.mine_logs(vec![take(300)]);
    bot.agrees_with(&node).await;
    assert_eq!(bot.read(|b| b.fills.len()), 1);
}

#[tokio::test]
async fn a_token_that_can_not_be_named_for_a_moment_is_not_foreign_for_ever() {
    let node = node().await;
    // Its calls revert, as those of a node that is behind do.
    let token = node.chain_mut(|chain| chain.tokens.remove(&SHARE.address)).unwrap();
    node.chain_mut(|chain| chain.contracts.insert(SHARE.address));
    node.mine_logs(vec![take(300)]);
    let mut config = config(&node);
    (config.equities, config.cash) = (BTreeMap::new(), None);
    let bot = Bot::start(config);
    bot.until("the trade is told as not understood", |bot| bot.read(|b| b.dead.len()) == 1).await;
    assert!(!bot.read(|b| b.tokens.contains_key(&SHARE.address)), "nothing is stored of it");
    node.chain_mut(|chain| chain.tokens.insert(SHARE.address, token));
    node.mine_logs(vec![take(400)]);
    bot.until("the next trade counts", |bot| bot.read(|b| b.fills.len()) == 1).await;
}

#[tokio::test]
async fn a_fork_beyond_the_window_stops() {
    let node = node().await;
    node.mine_empty(100);
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    node.reorg(70, vec![vec![]; 71]).unwrap();
    let stop = bot.stop().await;
    assert_eq!(stop.exit_code(), 65);
    let ChainStop::DeepReorg(words) = stop else { panic!("{stop}") };
    assert!(
        words.contains("cursor is block 1100")
            && words.contains("backup of the ledger made before block 1036"),
        "{words}"
    );
}

#[tokio::test]
async fn a_fork_as_deep_as_the_window_does_not() {
    let node = node().await;
    node.mine_empty(100);
    node.mine_logs(vec![take(300)]);
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    node.reorg(64, vec![vec![]; 65]).unwrap();
    bot.agrees_with(&node).await;
    assert!(bot.read(Book::standing).is_empty());
}

#[tokio::test]
async fn the_wrong_chain_and_a_book_without_code_are_configuration() {
    let node = node().await;
    let (facts, _) = watch::channel(ChainFacts::default());
    assert_eq!(chain::identify(&config(&node), &facts).await, Ok(CHAIN_ID));
    node.wrong_chain_id(Some(1));
    let stop = chain::identify(&config(&node), &facts).await.unwrap_err();
    assert!(matches!(stop, ChainStop::WrongChain { found: 1, expected: CHAIN_ID, .. }), "{stop}");
    assert_eq!(stop.exit_code(), 78);
    assert_eq!(Bot::start(config(&node)).stop().await.exit_code(), 78);
    node.heal();
    node.mine_empty(1);
    node.no_code(Some(BOOK.address));
    let stop = chain::identify(&config(&node), &facts).await.unwrap_err();
    assert!(matches!(stop, ChainStop::NoCode { address, .. } if address == BOOK.address), "{stop}");
    // A key in the URL stays where it is.
    let mut keyed = config(&node);
    keyed.ws_url = format!("{}v3/SECRET", node.ws_url());
    node.heal();
    node.wrong_chain_id(Some(1));
    let stop = chain::identify(&keyed, &facts).await.unwrap_err();
    assert!(!stop.to_string().contains("SECRET") && !format!("{keyed:?}").contains("SECRET"));
}

#[tokio::test]
async fn a_token_that_changed_stops_and_a_wrapped_one_converts_at_its_block() {
    let node = node().await;
    let wrapped = node.mine_logs(vec![BOOK.take_only(&sale_of(OWNER, WRAPPED, 2_000))]);
    node.chain_mut(|chain| {
        let token = chain.tokens.get_mut(&WRAPPED.address).unwrap();
        token.assets_per_1e18.insert(wrapped.number + 1, U256::from(ONE.unsigned_abs() * 2));
    });
    node.mine_empty(2);
    node.mine_logs(vec![BOOK.take_only(&sale_of(OWNER, WRAPPED, 2_000))]);
    let bot = Bot::start(config(&node));
    bot.agrees_with(&node).await;
    let shares: Vec<String> = bot.read(|b| {
        let mut fills: Vec<&Fill> = b.fills.values().map(|(fill, _)| fill).collect();
        fills.sort_by_key(|fill| fill.block_number);
        fills.iter().map(|fill| fill.shares.to_string()).collect()
    });
    assert_eq!(shares, ["3", "4"]);
    let book = std::mem::take(&mut *bot.book.lock().unwrap());
    drop(bot);
    node.chain_mut(|chain| chain.tokens.get_mut(&USDC.address).unwrap().decimals = 18);
    let stop = Bot::with(config(&node), book).stop().await;
    assert_eq!(stop.exit_code(), 78);
    assert!(matches!(&stop, ChainStop::TokenChanged(words) if words.contains("CASH")), "{stop}");
}

#[tokio::test]
async fn one_transaction_is_read_for_replay() {
    let node = node().await;
    let block = node.mine_logs(vec![take(300), BOOK.context(), take(400)]);
    node.mine_logs(clear(100));
    let tx = node.chain(|chain| chain.block(block.hash).unwrap().txs[0].hash);
    let push = chain::transaction(&config(&node), CHAIN_ID, &[], tx).await.unwrap();
    assert_eq!((push.events.len(), push.tokens.len()), (2, 2));
    assert!(push.events.iter().all(|event| matches!(event, Event::Fill(fill) if fill.id.tx_hash == tx)));
    let missing = chain::transaction(&config(&node), CHAIN_ID, &[], B256::repeat_byte(9)).await;
    assert_eq!(missing, Err(TransactionError::NotFound(B256::repeat_byte(9))));
}

#[tokio::test]
async fn it_waits_for_a_node_that_is_away() {
    let node = node().await;
    node.refuse(true);
    let bot = Bot::start(config(&node));
    bot.until("it says so", |bot| bot.facts().error.is_some_and(|why| why.contains("127.0.0.1"))).await;
    assert!(!bot.chain.is_finished() && !bot.facts().connected);
    node.heal();
    node.mine_logs(vec![take(300)]);
    bot.agrees_with(&node).await;
}

#[tokio::test]
async fn the_end_of_the_engine_ends_it() {
    let node = node().await;
    let bot = Bot::start(config(&node));
    bot.until("connected", |bot| bot.facts().connected).await;
    bot.engine.abort();
    node.mine_logs(vec![take(300)]);
    assert_eq!(bot.stop().await, ChainStop::EngineGone);
}
