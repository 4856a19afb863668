//! A chain in memory: blocks, forks, tokens. Pure; it refuses to know that anybody asks.
//!
//! A block once mined stays for ever and is found by its hash; which blocks are canonical is one list of hashes that
//! forks rewrite. So a fork A → B → A brings back the very same blocks, as a real one does.
//!
//! Invariant: the canonical list is gapless and every block's parent hash is the hash before it.

use std::collections::{BTreeMap, HashMap, HashSet};

use alloy::primitives::{Address, B256, Bloom, Log, U256, keccak256};

use counterfill_core::units::BlockRef;

/// Seconds between two blocks, as on Base.
const BLOCK_TIME_S: u64 = 2;
/// Time of a chain's first block where nobody says otherwise: 2025-10-09.
const FIRST_TIME_S: u64 = 1_760_000_000;
/// Depth of the `safe` tag, as anvil answers it.
pub const SAFE_DEPTH_BLOCKS: u64 = 32;
/// Depth of the `finalized` tag, as anvil answers it.
pub const FINALIZED_DEPTH_BLOCKS: u64 = 64;

/// What can not be done to a simulated chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The first block can not be replaced.
    #[error("a reorg of {depth} blocks would replace the chain's first block ({blocks} blocks are above it)")]
    TooDeep {
        /// Blocks asked to be replaced.
        depth: u64,
        /// Blocks above the first.
        blocks: u64,
    },
    /// No block with this hash was ever mined.
    #[error("no block {0} was ever mined")]
    UnknownBlock(B256),
}

/// What the headers' blooms say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Blooms {
    /// What its logs set: a handful of bits, as in a block in which nobody else did anything.
    #[default]
    OfItsLogs,
    /// Every bit is set, as in a busy block of Base: it says "perhaps" about everything.
    Full,
    /// One or the other, by the block's hash.
    Mixed,
}

/// A transaction: a list of logs under a hash that stays the same wherever it is included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tx {
    /// Its hash.
    pub hash: B256,
    /// Who sent it.
    pub from: Address,
    /// What it emits, in order.
    pub logs: Vec<Log>,
}

impl Tx {
    /// A transaction with these logs; `nonce` tells apart two with the same logs.
    #[must_use]
    pub fn new(nonce: u64, logs: Vec<Log>) -> Self {
        let mut bytes = nonce.to_be_bytes().to_vec();
        for log in &logs {
            bytes.extend_from_slice(log.address.as_slice());
            log.topics().iter().for_each(|topic| bytes.extend_from_slice(topic.as_slice()));
            bytes.extend_from_slice(&log.data.data);
        }
        Self { hash: keccak256(&bytes), from: Address::repeat_byte(0x7a), logs }
    }
}

/// A block with its transactions, as mined; never changed afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimBlock {
    /// Height.
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Hash of the block before it.
    pub parent: B256,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// The bloom of all its logs.
    pub bloom: Bloom,
    /// Its transactions, in order.
    pub txs: Vec<Tx>,
}

/// One log in its place within a block.
#[derive(Debug, Clone, Copy)]
pub struct PlacedLog<'a> {
    /// The block.
    pub block: &'a SimBlock,
    /// The transaction.
    pub tx: &'a Tx,
    /// The transaction's index in the block.
    pub tx_index: usize,
    /// The log's index in the block.
    pub log_index: usize,
    /// Address, topics, data.
    pub log: &'a Log,
}

impl SimBlock {
    /// Every log in order; the index counts through the whole block.
    pub fn logs(&self) -> impl Iterator<Item = PlacedLog<'_>> {
        let all = self
            .txs
            .iter()
            .enumerate()
            .flat_map(|(tx_index, tx)| tx.logs.iter().map(move |log| (tx_index, tx, log)));
        all.enumerate().map(|(log_index, (tx_index, tx, log))| PlacedLog {
            block: self,
            tx,
            tx_index,
            log_index,
            log,
        })
    }

    /// Whether its bloom says "perhaps" about everything.
    #[must_use]
    pub fn has_full_bloom(&self) -> bool {
        self.bloom == Bloom::repeat_byte(0xff)
    }

    /// Number and hash.
    #[must_use]
    pub fn reference(&self) -> BlockRef {
        BlockRef { number: self.number, hash: self.hash }
    }
}

/// What a token's contract answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// `symbol()`.
    pub symbol: String,
    /// `decimals()`.
    pub decimals: u8,
    /// `asset()`, for a wrapped share; without it `asset()` and `convertToAssets()` revert.
    pub asset: Option<Address>,
    /// Assets per 1e18 of the token, from each block on.
    pub assets_per_1e18: BTreeMap<u64, U256>,
    /// `underlying()`, of a plain wrapper; reverts without it.
    pub underlying: Option<Address>,
    /// `uiMultiplier()` from each block on, 1e18 for one; reverts before the first.
    pub multipliers: BTreeMap<u64, U256>,
    /// `totalSupply()` from each block on; before the first more than any trade moves.
    pub supplies: BTreeMap<u64, U256>,
}

impl Token {
    /// A plain token.
    #[must_use]
    pub fn plain(symbol: &str, decimals: u8) -> Self {
        Self {
            symbol: symbol.to_owned(),
            decimals,
            asset: None,
            assets_per_1e18: BTreeMap::new(),
            underlying: None,
            multipliers: BTreeMap::new(),
            supplies: BTreeMap::new(),
        }
    }

    /// A vault over `asset` at this ratio from the first block on.
    #[must_use]
    pub fn wrapped(symbol: &str, decimals: u8, asset: Address, assets_per_1e18: U256) -> Self {
        let assets_per_1e18 = BTreeMap::from([(0, assets_per_1e18)]);
        Self { asset: Some(asset), assets_per_1e18, ..Self::plain(symbol, decimals) }
    }
}

/// The chain. See the module.
#[derive(Debug, Clone)]
pub struct SimChain {
    chain_id: u64,
    /// Goes into every block's hash; a new one for every fork, so that equal content gives another block.
    salt: u64,
    seed: u64,
    first_number: u64,
    first_time_s: u64,
    blocks: HashMap<B256, SimBlock>,
    canonical: Vec<B256>,
    /// Every block that ever held the transaction.
    included_in: HashMap<B256, Vec<B256>>,
    next_nonce: u64,
    /// What the headers of blocks mined from now on say.
    pub blooms: Blooms,
    /// Tokens by address.
    pub tokens: BTreeMap<Address, Token>,
    /// Addresses with code that are no tokens: order books.
    pub contracts: HashSet<Address>,
}

impl SimChain {
    /// A chain of one empty block, `first_number`. The same arguments give the same chain.
    #[must_use]
    pub fn new(chain_id: u64, first_number: u64, seed: u64) -> Self {
        Self::starting_at(chain_id, first_number, seed, FIRST_TIME_S)
    }

    /// The same, its first block at `first_time_s` seconds since 1970.
    #[must_use]
    pub fn starting_at(chain_id: u64, first_number: u64, seed: u64, first_time_s: u64) -> Self {
        let mut chain = Self {
            chain_id,
            salt: 0,
            seed,
            first_number,
            first_time_s,
            blocks: HashMap::new(),
            canonical: Vec::new(),
            included_in: HashMap::new(),
            next_nonce: 0,
            blooms: Blooms::default(),
            tokens: BTreeMap::new(),
            contracts: HashSet::new(),
        };
        chain.mine(Vec::new());
        chain
    }

    /// EIP-155 chain id.
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// A transaction that was never there before, not yet mined.
    pub fn tx(&mut self, logs: Vec<Log>) -> Tx {
        self.next_nonce += 1;
        Tx::new(self.seed.wrapping_mul(1_000_003).wrapping_add(self.next_nonce), logs)
    }

    /// One block on top of the canonical tip.
    pub fn mine(&mut self, txs: Vec<Tx>) -> BlockRef {
        let parent = self.canonical.last().copied().unwrap_or(B256::ZERO);
        let height = u64::try_from(self.canonical.len()).unwrap_or(u64::MAX);
        let number = self.first_number.saturating_add(height);
        let timestamp = self.first_time_s.saturating_add(height.saturating_mul(BLOCK_TIME_S));
        let mut content = Vec::new();
        for word in [self.chain_id, self.seed, self.salt, number, timestamp] {
            content.extend_from_slice(&word.to_be_bytes());
        }
        content.extend_from_slice(parent.as_slice());
        let mut bloom = Bloom::ZERO;
        for tx in &txs {
            content.extend_from_slice(tx.hash.as_slice());
            tx.logs.iter().for_each(|log| bloom.accrue_log(log));
        }
        let hash = keccak256(&content);
        if self.blooms == Blooms::Full || (self.blooms == Blooms::Mixed && hash[31] % 2 == 0) {
            bloom = Bloom::repeat_byte(0xff);
        }
        for tx in &txs {
            self.included_in.entry(tx.hash).or_default().push(hash);
        }
        let block = SimBlock { number, hash, parent, timestamp, bloom, txs };
        let reference = block.reference();
        self.blocks.insert(hash, block);
        self.canonical.push(hash);
        reference
    }

    /// Replaces the top `depth` blocks by these (they may be fewer or more). Returns the new canonical blocks.
    ///
    /// # Errors
    /// [`SimError::TooDeep`] where the first block would go.
    pub fn reorg(&mut self, depth: u64, blocks: Vec<Vec<Tx>>) -> Result<Vec<BlockRef>, SimError> {
        let above = self.canonical.len().saturating_sub(1);
        let depth_blocks = usize::try_from(depth).unwrap_or(usize::MAX);
        if depth_blocks > above {
            return Err(SimError::TooDeep { depth, blocks: u64::try_from(above).unwrap_or(u64::MAX) });
        }
        self.canonical.truncate(self.canonical.len() - depth_blocks);
        self.salt += 1;
        Ok(blocks.into_iter().map(|txs| self.mine(txs)).collect())
    }

    /// Makes `tip` the canonical tip again, with all its ancestors. Returns the blocks that became canonical.
    ///
    /// # Errors
    /// [`SimError::UnknownBlock`].
    pub fn return_to(&mut self, tip: B256) -> Result<Vec<BlockRef>, SimError> {
        let next = self.branch(tip)?;
        let shared = next.iter().zip(&self.canonical).take_while(|(a, b)| a == b).count();
        let fresh =
            next[shared..].iter().filter_map(|hash| self.blocks.get(hash)).map(SimBlock::reference).collect();
        self.canonical = next;
        self.salt += 1;
        Ok(fresh)
    }

    /// The hashes from the first block to `tip`.
    ///
    /// # Errors
    /// [`SimError::UnknownBlock`].
    pub fn branch(&self, tip: B256) -> Result<Vec<B256>, SimError> {
        let mut hashes = Vec::new();
        let mut next = tip;
        while next != B256::ZERO {
            let block = self.blocks.get(&next).ok_or(SimError::UnknownBlock(next))?;
            hashes.push(next);
            next = block.parent;
        }
        hashes.reverse();
        if hashes.is_empty() { Err(SimError::UnknownBlock(tip)) } else { Ok(hashes) }
    }

    /// The canonical hashes, the first block first.
    #[must_use]
    pub fn canonical(&self) -> &[B256] {
        &self.canonical
    }

    /// The canonical tip.
    #[must_use]
    pub fn tip(&self) -> BlockRef {
        let hash = self.canonical.last().copied().unwrap_or(B256::ZERO);
        let number = self.blocks.get(&hash).map_or(self.first_number, |block| block.number);
        BlockRef { number, hash }
    }

    /// Number of the first block.
    #[must_use]
    pub const fn first_number(&self) -> u64 {
        self.first_number
    }

    /// Any block ever mined.
    #[must_use]
    pub fn block(&self, hash: B256) -> Option<&SimBlock> {
        self.blocks.get(&hash)
    }

    /// The canonical block at a height.
    #[must_use]
    pub fn block_at(&self, number: u64) -> Option<&SimBlock> {
        let index = usize::try_from(number.checked_sub(self.first_number)?).ok()?;
        self.blocks.get(self.canonical.get(index)?)
    }

    /// Whether the block with this hash is canonical.
    #[must_use]
    pub fn is_canonical(&self, hash: B256) -> bool {
        self.blocks.get(&hash).and_then(|block| self.block_at(block.number)).is_some_and(|at| at.hash == hash)
    }

    /// Every block that ever held this transaction, in the order they were mined.
    #[must_use]
    pub fn included_in(&self, tx: B256) -> &[B256] {
        self.included_in.get(&tx).map_or(&[], Vec::as_slice)
    }

    /// Whether an address has code.
    #[must_use]
    pub fn has_code(&self, address: Address) -> bool {
        self.contracts.contains(&address) || self.tokens.contains_key(&address)
    }
}
