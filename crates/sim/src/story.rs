//! The demo's world and what happens in it, beat by beat: fractions that build up, a flip, a cut connection, forks.
//!
//! A [`Story`] drives a [`SimNode`] and keeps its own truth: which transaction means which fill, written down when the
//! transaction is made. What stands at the end is that list read along the canonical chain. It shares no code with
//! the decoder, so the two can be held against each other.
//!
//! Invariant: the same seed tells the same story, block for block, whatever the pace.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use alloy::primitives::{Address, B256, Log, keccak256};

use super::chain::{SimChain, SimError, Token, Tx};
use super::logs::{Asset, BookKind, Leg, OrderBook};
use super::script::Form::{Alice, Bob, Take};
use super::script::Scene::{Cut, Fork, Heal, Leave, Mine, Noise, Pause, Return, Together};
use super::script::{Deal, SCRIPT, Scene, deal};
use super::server::SimNode;
use Side::{Buy, Sell};
use counterfill_core::units::{BlockRef, Cash, ONE, ParseError, Price, Shares, Side, Symbol};

/// The chain id of the demo's chain: none that exists, so that its ledger fits no other chain.
pub const STORY_CHAIN_ID: u64 = 31_337_001;
/// The demo's first block.
const FIRST_BLOCK: u64 = 20_000_000;
/// Share tokens and their first prices in cents: one of each way to spell a ticker.
const SHARES: [(&str, &str, i128); 3] =
    [("TSLA", "tTSLA", 25_000), ("AAPL", "AAPLs1", 19_000), ("NVDA", "tNVDA", 14_000)];
/// Beats between two forks of the steady flow; prime, as below, so that fork and cut meet in every way.
const FORK_EVERY_BEATS: u64 = 29;
/// Beats between two cuts of the steady flow.
const CUT_EVERY_BEATS: u64 = 47;
/// Beats that a cut lasts in the steady flow.
const CUT_BEATS: u64 = 3;

/// What can end a story.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoryError {
    /// The node could not be started.
    #[error("the simulated node could not listen on 127.0.0.1: {0}")]
    Listen(#[from] std::io::Error),
    /// A bug of this file: the chain refused a fork.
    #[error("the story asked for an impossible fork: {0}")]
    Fork(#[from] SimError),
    /// A bug of this file: a ticker is none.
    #[error("the story names a ticker badly: {0}")]
    Ticker(#[from] ParseError),
}

/// Which part of the story a beat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Fills are mined.
    Fills,
    /// A block without a fill of ours: nothing, strangers, or a pair that is not hedged.
    Quiet,
    /// The connection is cut and refused.
    Cut,
    /// The connection may come back.
    Healed,
    /// Blocks were replaced.
    Fork,
    /// The blocks of before a fork came back.
    Return,
}

/// One beat of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Counts from 1.
    pub number: u64,
    /// What kind of thing happened.
    pub act: Act,
    /// What happened, for people.
    pub said: String,
    /// The canonical tip afterwards.
    pub tip: BlockRef,
}

/// A fill of our owner, as the story knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryFill {
    /// The share.
    pub symbol: Symbol,
    /// The owner's onchain side.
    pub side: Side,
    /// How many; more than zero.
    pub shares: Shares,
    /// The block that holds it.
    pub block: BlockRef,
    /// The transaction that holds it.
    pub tx_hash: B256,
}

#[derive(Debug, Clone)]
struct Ticker {
    symbol: Symbol,
    asset: Asset,
    price_cents: i128,
}

/// The demo's chain and what happens on it. See the module.
#[derive(Debug)]
pub struct Story {
    node: SimNode,
    tickers: Vec<Ticker>,
    cash: Asset,
    book: OrderBook,
    owner: Address,
    beats: u64,
    random: u64,
    /// What each of our transactions means.
    meant: HashMap<B256, Vec<(Symbol, Side, Shares)>>,
    /// The tip to return to.
    left: Option<B256>,
    /// When the steady flow's cut ends.
    heal_at_beat: Option<u64>,
    forks: u64,
    cuts: u64,
}

impl Story {
    /// Starts the node with the story's chain, its first block at `first_time_s` seconds since 1970.
    ///
    /// # Errors
    /// [`StoryError::Listen`].
    pub async fn start(seed: u64, first_time_s: u64) -> Result<Self, StoryError> {
        let address =
            |tag: u8| Address::from_word(keccak256([b"counterfill demo ".as_slice(), &[tag]].concat()));
        let cash = Asset::new(address(1), 6);
        let book = OrderBook { address: address(2), kind: BookKind::V5 };
        let mut chain = SimChain::starting_at(STORY_CHAIN_ID, FIRST_BLOCK, seed, first_time_s);
        chain.contracts.insert(book.address);
        chain.tokens.insert(cash.address, Token::plain("USDC", 6));
        let mut tickers = Vec::new();
        for (tag, (ticker, token, price_cents)) in (10_u8..).zip(SHARES) {
            let asset = Asset::new(address(tag), 18);
            chain.tokens.insert(asset.address, Token::plain(token, 18));
            tickers.push(Ticker { symbol: ticker.parse()?, asset, price_cents });
        }
        Ok(Self {
            node: SimNode::start(chain).await?,
            tickers,
            cash,
            book,
            owner: address(3),
            beats: 0,
            random: seed,
            meant: HashMap::new(),
            left: None,
            heal_at_beat: None,
            forks: 0,
            cuts: 0,
        })
    }

    /// The node.
    #[must_use]
    pub const fn node(&self) -> &SimNode {
        &self.node
    }

    /// `ORDERBOOK`.
    #[must_use]
    pub const fn orderbook(&self) -> Address {
        self.book.address
    }

    /// `ORDER_OWNER`.
    #[must_use]
    pub const fn owner(&self) -> Address {
        self.owner
    }

    /// `DEPLOYMENT_BLOCK`: the block after the chain's first.
    #[must_use]
    pub const fn deployment_block(&self) -> u64 {
        FIRST_BLOCK + 1
    }

    /// `CASH`.
    #[must_use]
    pub const fn cash(&self) -> Address {
        self.cash.address
    }

    /// `EQUITIES`.
    #[must_use]
    pub fn equities(&self) -> Vec<(Symbol, Address)> {
        self.tickers.iter().map(|ticker| (ticker.symbol.clone(), ticker.asset.address)).collect()
    }

    /// Beats of the told part; the steady flow begins after them.
    #[must_use]
    pub fn told_beats(&self) -> u64 {
        u64::try_from(SCRIPT.len()).unwrap_or(u64::MAX)
    }

    /// Forks so far, the return to an older one included.
    #[must_use]
    pub const fn forks(&self) -> u64 {
        self.forks
    }

    /// Cuts of the connection so far.
    #[must_use]
    pub const fn cuts(&self) -> u64 {
        self.cuts
    }

    /// Plays so many beats, a pause before each, and tells each one.
    ///
    /// # Errors
    /// A bug of this file.
    pub async fn play(
        &mut self,
        beats: u64,
        pace: Duration,
        mut tell: impl FnMut(&Beat),
    ) -> Result<(), StoryError> {
        for _ in 0..beats {
            tokio::time::sleep(pace).await;
            tell(&self.step()?);
        }
        Ok(())
    }

    /// One beat.
    ///
    /// # Errors
    /// A bug of this file.
    pub fn step(&mut self) -> Result<Beat, StoryError> {
        let told = usize::try_from(self.beats).ok().and_then(|beat| SCRIPT.get(beat));
        self.beats += 1;
        let (act, said) = match told {
            Some(scene) => self.show(*scene)?,
            None => self.flow()?,
        };
        Ok(Beat { number: self.beats, act, said, tip: self.node.chain(SimChain::tip) })
    }

    /// Ends every fault and mines a last block, so that whoever follows the chain can come to its end.
    pub fn finish(&mut self) -> BlockRef {
        self.node.heal();
        self.heal_at_beat = None;
        self.node.mine(Vec::new())
    }

    /// Every fill of our owner that stands, in the chain's order.
    #[must_use]
    pub fn canonical_fills(&self) -> Vec<StoryFill> {
        self.node.chain(|chain| {
            let blocks = chain.canonical().iter().filter_map(|hash| chain.block(*hash));
            let txs = blocks.flat_map(|block| block.txs.iter().map(|tx| (block.reference(), tx.hash)));
            txs.flat_map(|(block, tx_hash)| {
                let fills = self.meant.get(&tx_hash).into_iter().flatten().cloned();
                fills.map(move |(symbol, side, shares)| StoryFill { symbol, side, shares, block, tx_hash })
            })
            .collect()
        })
    }

    /// The owner's change of position by ticker since the first block, from the fills that stand.
    #[must_use]
    pub fn exposure_on_chain(&self) -> BTreeMap<Symbol, Shares> {
        let mut exposure: BTreeMap<Symbol, Shares> =
            self.tickers.iter().map(|ticker| (ticker.symbol.clone(), Shares::ZERO)).collect();
        for fill in self.canonical_fills() {
            let sum = exposure.entry(fill.symbol).or_default();
            // Three shares a beat take longer than the world lasts to leave an i128.
            *sum = sum.checked_add(fill.side.signed(fill.shares)).unwrap_or(*sum);
        }
        exposure
    }

    fn show(&mut self, scene: Scene) -> Result<(Act, String), StoryError> {
        Ok(match scene {
            Mine(deals) => self.mine(deals),
            Together(deals) => {
                let logs = deals.iter().flat_map(|deal| self.logs(deal)).collect();
                let tx = self.node.tx(logs);
                self.meant.insert(tx.hash, deals.iter().filter_map(|deal| self.meaning(deal)).collect());
                self.node.mine(vec![tx]);
                (Act::Fills, format!("in one transaction: {}", self.tell(deals)))
            }
            Noise => {
                self.noise();
                (Act::Quiet, "strangers trade, and the owner swaps one share for another".to_owned())
            }
            Pause => {
                self.node.mine(Vec::new());
                (Act::Quiet, "an empty block".to_owned())
            }
            Cut => {
                self.node.refuse(true);
                self.node.cut();
                self.cuts += 1;
                (Act::Cut, "the connection is cut, and refused from now on".to_owned())
            }
            Heal => {
                self.node.refuse(false);
                self.node.mine(Vec::new());
                (Act::Healed, "the node takes connections again".to_owned())
            }
            Fork(depth) => (Act::Fork, self.fork(depth, true)?),
            Leave(depth) => {
                self.left = Some(self.node.chain(SimChain::tip).hash);
                self.forks += 1;
                self.node.reorg(depth, (0..=depth).map(|_| Vec::new()).collect())?;
                (Act::Fork, format!("a reorg of {depth} blocks: their fills are gone"))
            }
            Return => {
                if let Some(tip) = self.left.take() {
                    self.node.return_to(tip)?;
                    self.forks += 1;
                }
                self.node.mine_empty(2);
                (Act::Return, "the chain returns to the blocks of before: the fills are back".to_owned())
            }
        })
    }

    /// The steady flow: zero to two fills a beat, a fork and a cut now and then.
    fn flow(&mut self) -> Result<(Act, String), StoryError> {
        if self.heal_at_beat.is_some_and(|beat| beat <= self.beats) {
            self.heal_at_beat = None;
            return self.show(Heal);
        }
        if self.beats.is_multiple_of(CUT_EVERY_BEATS) {
            self.heal_at_beat = Some(self.beats + CUT_BEATS);
            return self.show(Cut);
        }
        if self.beats.is_multiple_of(FORK_EVERY_BEATS) {
            let depth = 1 + self.below(3);
            let loses = self.below(2) == 0;
            return Ok((Act::Fork, self.fork(depth, loses)?));
        }
        let count = self.below(3);
        let deals: Vec<Deal> = (0..count).map(|_| self.any_deal()).collect();
        Ok(if deals.is_empty() { self.show(Pause)? } else { self.mine(&deals) })
    }

    fn any_deal(&mut self) -> Deal {
        let ticker = usize::try_from(self.below(3)).unwrap_or(0);
        let side = if self.below(2) == 0 { Buy } else { Sell };
        let milli_shares = 50 + i128::from(self.below(1_450));
        let form = match self.below(4) {
            0 => Alice,
            1 => Bob,
            _ => Take,
        };
        Deal { ticker, side, milli_shares, form }
    }

    fn mine(&mut self, deals: &[Deal]) -> (Act, String) {
        let txs = deals.iter().map(|deal| self.deal_tx(deal)).collect();
        self.node.mine(txs);
        (Act::Fills, self.tell(deals))
    }

    fn deal_tx(&mut self, deal: &Deal) -> Tx {
        let tx = self.node.tx(self.logs(deal));
        self.meant.insert(tx.hash, self.meaning(deal).into_iter().collect());
        self.walk(deal.ticker);
        tx
    }

    /// Moves a price by up to half a percent.
    fn walk(&mut self, ticker: usize) {
        let per_mille = i128::from(self.below(11)) - 5;
        if let Some(ticker) = self.tickers.get_mut(ticker) {
            ticker.price_cents += ticker.price_cents * per_mille / 1_000;
        }
    }

    fn meaning(&self, deal: &Deal) -> Option<(Symbol, Side, Shares)> {
        let ticker = self.tickers.get(deal.ticker)?;
        Some((ticker.symbol.clone(), deal.side, shares(deal)))
    }

    fn leg(&self, owner: Address, side: Side, deal: &Deal) -> Option<Leg> {
        let ticker = self.tickers.get(deal.ticker)?;
        let paid =
            Price::from_atoms(ticker.price_cents * (ONE / 100)).times(shares(deal)).unwrap_or(Cash::ZERO);
        Some(Leg::trade(owner, side, ticker.asset, shares(deal), self.cash, paid))
    }

    fn logs(&self, deal: &Deal) -> Vec<Log> {
        let ours = self.leg(self.owner, deal.side, deal);
        let theirs = self.leg(stranger(), deal.side.opposite(), deal);
        let (Some(ours), Some(theirs)) = (ours, theirs) else { return Vec::new() };
        match deal.form {
            Take => self.book.take(&ours),
            Alice => self.book.clear(&ours, &theirs),
            Bob => self.book.clear(&theirs, &ours),
        }
    }

    fn tell(&self, deals: &[Deal]) -> String {
        let told = deals.iter().filter_map(|deal| self.meaning(deal));
        let told: Vec<String> =
            told.map(|(symbol, side, shares)| format!("{side} {shares} {symbol} onchain")).collect();
        told.join(", ")
    }

    fn noise(&mut self) {
        let other = deal(1, Sell, 5_000, Take);
        let mut logs = Vec::new();
        if let Some(leg) = self.leg(stranger(), Sell, &other) {
            logs.extend(self.book.take(&leg));
        }
        if let [first, .., last] = self.tickers.as_slice() {
            let (input, output) = (first.asset, last.asset);
            let swap = Leg { owner: self.owner, input, input_atoms: ONE, output, output_atoms: ONE };
            logs.extend(self.book.take(&swap));
        }
        self.node.mine_logs(logs);
    }

    /// Replaces the top `depth` blocks by one more. Their transactions come one block later, all in one block; the
    /// oldest is lost where `loses`.
    fn fork(&mut self, depth: u64, loses: bool) -> Result<String, StoryError> {
        let mut txs: VecDeque<Tx> = self.node.chain(|chain| {
            let from = chain.tip().number.saturating_sub(depth.saturating_sub(1));
            let blocks = (from..=chain.tip().number).filter_map(|number| chain.block_at(number));
            blocks.flat_map(|block| block.txs.clone()).collect()
        });
        let lost = if loses { txs.pop_front() } else { None };
        let moved = txs.len();
        let mut blocks: Vec<Vec<Tx>> = (0..=depth).map(|_| Vec::new()).collect();
        if let Some(second) = blocks.get_mut(1) {
            second.extend(txs);
        }
        self.forks += 1;
        self.node.reorg(depth, blocks)?;
        let lost = usize::from(lost.is_some());
        Ok(format!("a reorg of {depth} blocks: transactions lost {lost}, moved {moved}"))
    }

    /// A number below `bound` (which must not be zero; otherwise zero), by splitmix64.
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(bound).unwrap_or(0)
    }
}

fn shares(deal: &Deal) -> Shares {
    Shares::from_atoms(deal.milli_shares * (ONE / 1_000))
}

/// Everybody who is not our owner.
fn stranger() -> Address {
    Address::repeat_byte(0x5a)
}
