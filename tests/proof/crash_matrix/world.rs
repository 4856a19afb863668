//! The chain: a scripted node, what was mined on it, and how far each ticker was ever moved.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;

use alloy::primitives::{Address, B256};
use counterfill::sim::logs::{Asset, BookKind, Leg, OrderBook};
use counterfill::sim::{Blooms, Provider, SimChain, SimNode, Token, Tx};
use counterfill::units::{Cash, ONE, Shares, Side};

pub const CHAIN_ID: u64 = 8453;
pub const FIRST: u64 = 1_000;
pub const OWNER: Address = Address::repeat_byte(0x01);
pub const USDC: Asset = Asset::new(Address::repeat_byte(0x12), 6);
pub const BOOK: OrderBook = OrderBook { address: Address::repeat_byte(0x21), kind: BookKind::V5 };
/// Ticker, the token's symbol, its contract, thousandths of a dollar per share.
pub const SHARES: [(&str, &str, Asset, i64); 4] = [
    ("TSLA", "tTSLA", Asset::new(Address::repeat_byte(0x31), 18), 100_000),
    ("AAPL", "tAAPL", Asset::new(Address::repeat_byte(0x32), 18), 50_000),
    // A single share of it is above MAX_ORDER_NOTIONAL: wanted, and planned, and never sent.
    ("BRK", "tBRK", Asset::new(Address::repeat_byte(0x33), 18), 1_000_000_000),
    // So cheap that more of it can be wanted than the broker takes in one order.
    ("NVDA", "tNVDA", Asset::new(Address::repeat_byte(0x34), 18), 1),
];
pub const TSLA: usize = 0;
pub const AAPL: usize = 1;
pub const BRK: usize = 2;
pub const NVDA: usize = 3;

/// So many worlds were made.
static WORLDS: AtomicU64 = AtomicU64::new(0);
const QUIET_EVERY: u64 = 4;

/// A trade of our owner, in thousandths of a share: positive where the owner buys.
pub type Deal = (usize, i64);

pub const fn atoms(milli_shares: i64) -> i128 {
    milli_shares as i128 * ONE / 1_000
}

/// Bought and sold, in atoms, both positive.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Moves {
    pub up: i128,
    pub down: i128,
}

impl Moves {
    pub fn add(&mut self, signed: i128) {
        if signed > 0 { self.up += signed } else { self.down -= signed }
    }
}

/// A fill by all that tells it from another: block, transaction, log, ticker, signed atoms.
pub type Fill = (String, String, u64, String, i128);

pub struct World {
    pub node: SimNode,
    /// What each transaction means: its deals, each a take whose log is the second of four.
    meant: BTreeMap<B256, Vec<Deal>>,
    /// Every movement there ever was, reversals and returns included: no honest hedging trades more than this.
    pub moves: BTreeMap<&'static str, Moves>,
    /// The tip before the last reorg.
    before_reorg: Option<B256>,
}

/// All nodes live on one thread, so that the tests may block as they like.
fn runtime() -> &'static tokio::runtime::Handle {
    static RUNTIME: OnceLock<tokio::runtime::Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let (handle, handed) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            handle.send(runtime.handle().clone()).unwrap();
            runtime.block_on(std::future::pending::<()>());
        });
        handed.recv().unwrap()
    })
}

impl World {
    /// A node behind a provider of Base, or every fourth time by itself beside a quiet chain; the chain is empty.
    pub fn new() -> Self {
        let mut chain = SimChain::new(CHAIN_ID, FIRST, 7);
        chain.contracts.insert(BOOK.address);
        chain.tokens.insert(USDC.address, Token::plain("USDC", 6));
        for (_, symbol, asset, _) in SHARES {
            chain.tokens.insert(asset.address, Token::plain(symbol, 18));
        }
        let (started, start) = mpsc::channel();
        runtime().spawn(async move { started.send(SimNode::start(chain).await.unwrap()) });
        let node = start.recv().unwrap();
        if !WORLDS.fetch_add(1, Ordering::Relaxed).is_multiple_of(QUIET_EVERY) {
            node.chain_mut(|chain| chain.blooms = Blooms::Full);
            // Its index is not behind: a world is judged as soon as its orders rest, and no head follows that would have
            // the last block asked about again. The other matrices and the trials have that.
            node.become_provider(Provider { logs: None, ..Provider::BASE });
        }
        Self { node, meant: BTreeMap::new(), moves: BTreeMap::new(), before_reorg: None }
    }

    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let equities: Vec<String> =
            SHARES.iter().map(|(ticker, _, asset, _)| format!("{ticker}={}", asset.address)).collect();
        vec![
            ("WS_RPC_URL", self.node.ws_url()),
            ("ORDERBOOK", BOOK.address.to_string()),
            ("ORDER_OWNER", OWNER.to_string()),
            ("DEPLOYMENT_BLOCK", (FIRST + 1).to_string()),
            ("EQUITIES", equities.join(",")),
            ("CASH", USDC.address.to_string()),
        ]
    }

    fn tx(&mut self, deals: &[Deal]) -> Tx {
        let logs = deals.iter().flat_map(|(share, milli)| {
            let (_, _, asset, milli_dollars) = SHARES[*share];
            let shares = atoms(milli.abs());
            let paid = Cash::from_atoms(shares * i128::from(milli_dollars) / 1_000);
            let side = if *milli > 0 { Side::Buy } else { Side::Sell };
            BOOK.take(&Leg::trade(OWNER, side, asset, Shares::from_atoms(shares), USDC, paid))
        });
        let logs = logs.collect();
        let tx = self.node.tx(logs);
        self.meant.insert(tx.hash, deals.to_vec());
        tx
    }

    fn moved(&mut self, deals: &[Deal], sign: i128) {
        for (share, milli) in deals {
            self.moves.entry(SHARES[*share].0).or_default().add(sign * atoms(*milli));
        }
    }

    /// A block of one transaction with these trades.
    pub fn mine(&mut self, deals: &[Deal]) {
        let txs = if deals.is_empty() { Vec::new() } else { vec![self.tx(deals)] };
        self.moved(deals, 1);
        self.node.mine(txs);
    }

    fn deals_of(&self, tip: B256) -> Vec<(B256, Vec<Deal>)> {
        self.node.chain(|chain| {
            let txs = chain.branch(tip).unwrap().into_iter().filter_map(|hash| chain.block(hash));
            let txs = txs.flat_map(|block| block.txs.iter().map(|tx| (block.hash, tx.hash)));
            txs.filter_map(|(block, tx)| Some((block, self.meant.get(&tx)?.clone()))).collect()
        })
    }

    /// What left the chain between two tips and what came, as movements.
    fn moved_between(&mut self, before: B256, after: B256) {
        let (gone, come) = (self.deals_of(before), self.deals_of(after));
        for (block, deals) in &gone {
            if !come.iter().any(|(other, _)| other == block) {
                self.moved(deals, -1);
            }
        }
        for (block, deals) in &come {
            if !gone.iter().any(|(other, _)| other == block) {
                self.moved(deals, 1);
            }
        }
    }

    /// Replaces the top `depth` blocks by one empty block more.
    pub fn reorg(&mut self, depth: u64) {
        let before = self.node.chain(SimChain::tip).hash;
        let blocks = vec![Vec::new(); usize::try_from(depth).unwrap() + 1];
        self.node.reorg(depth, blocks).unwrap();
        let after = self.node.chain(SimChain::tip).hash;
        self.before_reorg = Some(before);
        self.moved_between(before, after);
    }

    /// The branch before the last reorg is the chain again, three blocks longer.
    pub fn return_to_first(&mut self) {
        let before = self.node.chain(SimChain::tip).hash;
        self.node.return_to(self.before_reorg.unwrap()).unwrap();
        self.node.mine_empty(3);
        let after = self.node.chain(SimChain::tip).hash;
        self.moved_between(before, after);
    }

    pub fn tip(&self) -> (u64, String) {
        let tip = self.node.chain(SimChain::tip);
        (tip.number, tip.hash.to_string())
    }

    /// Every fill on the chain.
    pub fn fills(&self) -> Vec<Fill> {
        let mut fills = Vec::new();
        self.node.chain(|chain| {
            for block in chain.canonical().iter().filter_map(|hash| chain.block(*hash)) {
                let mut first_log = 0;
                for tx in &block.txs {
                    for (index, (share, milli)) in self.meant.get(&tx.hash).into_iter().flatten().enumerate()
                    {
                        let log = u64::try_from(first_log + 4 * index + 1).unwrap();
                        let (block, tx) = (block.hash.to_string(), tx.hash.to_string());
                        fills.push((block, tx, log, SHARES[*share].0.to_owned(), atoms(*milli)));
                    }
                    first_log += tx.logs.len();
                }
            }
        });
        fills.sort();
        fills
    }
}
