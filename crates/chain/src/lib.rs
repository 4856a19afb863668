//! The chain's end of the program: where fills come from.
//!
//! A push is for speed ([`Push`]), the sweep is for truth ([`Sweep`]): only a sweep moves the cursor. This side reads,
//! checks that what it read belongs together, and hands it to the engine; it decides nothing about money. It learns
//! cursor and window only from the engine ([`ChainView`]), after they are committed.

mod again;
mod answers;
pub mod backend;
pub mod beginning;
pub mod bloom;
#[cfg(feature = "by-hand")]
pub mod by_hand;
mod contents;
mod end;
mod error;
pub mod frame;
mod identity;
mod link;
mod live;
#[cfg(test)]
mod looks;
mod needs;
mod pace;
mod pending;
mod progress;
mod range_size;
mod reading;
mod receipts;
mod refusal;
#[cfg(test)]
mod refusal_table;
pub mod rpc;
#[cfg(test)]
mod scripted;
mod secrets;
mod socket;
pub mod survey;
mod sweep;
#[cfg(test)]
mod sweep_tests;
pub mod tokens;
mod trouble;
mod unit_watch;
mod upgrade;
mod views;
pub mod window;
pub mod wire;
mod worth;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::Address;
use counterfill_core::{engine, fills, ports, units};
use serde::{Deserialize, Serialize};

pub use self::again::{TransactionError, passed_over, transaction};
pub use self::beginning::at_start;
pub use self::link::{identify, run};
pub use self::secrets::shown;
pub use crate::fills::abi;
use crate::fills::{Book, Listing, Ratio};
pub use crate::ports::chain::{ChainView, Push, Sweep, WINDOW_BLOCKS_MAX};
use crate::units::{Millis, Symbol};

/// Questions that may be under way at once. Nodes count calls per second; eight hide the way there and back.
const CALLS_IN_FLIGHT_MAX: usize = 8;

/// What the chain side is told of the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct ChainConfig {
    /// `WS_RPC_URL`. May hold a key: only scheme and host are ever shown.
    pub ws_url: String,
    /// `SSL_CERT_FILE`: the only trusted certificates for `wss://`; the system's where none.
    pub cert_file: Option<PathBuf>,
    /// `CHAIN_ID`, checked where given.
    pub chain_id: Option<u64>,
    /// The chain id in the ledger's stamp, where there is a ledger.
    pub stamped_chain_id: Option<u64>,
    /// `ORDERBOOK`.
    pub orderbooks: Vec<Address>,
    /// `ORDER_OWNER`.
    pub owners: Vec<Address>,
    /// `DEPLOYMENT_BLOCK`: the first block that is read, inclusive.
    pub deployment_block: u64,
    /// `HEDGE_FROM_BLOCK`: trades below it are skipped.
    pub hedge_from_block: Option<u64>,
    /// `SYMBOLS`: the tickers of this shard; all of them where none.
    pub symbols: Option<BTreeSet<Symbol>>,
    /// `EQUITIES`: which address is which share. Empty: shares are known by their symbols.
    pub equities: BTreeMap<Address, Symbol>,
    /// `EQUITIES`: how many shares a token is, where a person says so.
    pub ratios: BTreeMap<Address, Ratio>,
    /// `UNIT_JUMP_MAX`: how far a vault's answers before and after a fill's block may lie apart, in percent.
    pub unit_jump_max_percent: u32,
    /// `CASH`. None: cash is known by its symbol.
    pub cash: Option<Address>,
    /// `LOG_RANGE_BLOCKS`: the largest range asked for at once, in blocks.
    pub log_range_blocks: u64,
    /// `HEAD_AGE_MAX`: without a new head for so long, the connection is taken for dead.
    pub head_age_max: Duration,
}

impl ChainConfig {
    /// What it lists.
    #[must_use]
    pub fn listing(&self) -> Listing {
        Listing {
            symbols: self.symbols.clone(),
            equities: self.equities.clone(),
            cash: self.cash.into_iter().collect(),
        }
    }

    /// What the decoder needs of it.
    #[must_use]
    pub fn book(&self, chain_id: u64) -> Book {
        Book {
            chain_id,
            orderbooks: self.orderbooks.iter().copied().collect(),
            owners: self.owners.iter().copied().collect(),
            hedge_from_block: self.hedge_from_block.unwrap_or(0),
            symbols: self.symbols.clone(),
        }
    }
}

impl std::fmt::Debug for ChainConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChainConfig").field("ws_url", &shown(&self.ws_url)).finish_non_exhaustive()
    }
}

/// Why the chain side ends. Never because the chain is away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainStop {
    /// The node is on another chain.
    #[error(
        "{node} is on chain {found}, but {says} chain {expected}; set WS_RPC_URL to a node of chain {expected}"
    )]
    WrongChain {
        /// Scheme and host of the node.
        node: String,
        /// The node's chain id.
        found: u64,
        /// Who expects another: `CHAIN_ID says`, `the ledger is of`.
        says: &'static str,
        /// The chain id expected.
        expected: u64,
    },
    /// An order book that is no contract.
    #[error(
        "there is no contract at order book {address} on chain {chain_id} at block {head}; check ORDERBOOK and WS_RPC_URL"
    )]
    NoCode {
        /// The address.
        address: Address,
        /// The node's chain id.
        chain_id: u64,
        /// The node's head.
        head: u64,
    },
    /// A reorg beyond the window.
    #[error("{0}")]
    DeepReorg(String),
    /// The chain says something else of a token than the ledger.
    #[error("{0}")]
    TokenChanged(String),
    /// The node no longer has the logs where a first backfill begins.
    #[error(
        "the node has pruned the logs of block {block}, where reading is to begin ({words}): fills there would never be \
         found. Take a node that keeps all logs (an archive node) for WS_RPC_URL, or, if there are none to hedge, a higher \
         DEPLOYMENT_BLOCK"
    )]
    Pruned {
        /// The first block that shows it.
        block: u64,
        /// How it shows.
        words: String,
    },
    /// The engine has ended; its reason counts.
    #[error("the engine has ended")]
    EngineGone,
}

impl ChainStop {
    /// The process' exit code for it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::DeepReorg(_) => 65,
            Self::EngineGone => 70,
            Self::WrongChain { .. } | Self::NoCode { .. } | Self::TokenChanged(_) | Self::Pruned { .. } => 78,
        }
    }
}

/// What is known of the connection, for health and metrics; published whenever it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainFacts {
    /// Whether a socket is up and subscribed.
    pub connected: bool,
    /// Connections made after the first one.
    pub reconnects: u64,
    /// The newest head the node told, pushed or asked.
    pub head: Option<u64>,
    /// When the head last moved.
    pub head_moved_at: Option<Millis>,
    /// When the node last answered `eth_blockNumber` (asked every 2 s, 3 s limit).
    pub answered_at: Option<Millis>,
    /// When a sweep last came to its end: blocks read and committed, or none left to read.
    pub swept_at: Option<Millis>,
    /// Since when heads are told and no sweep has come to its end; none if the last one came to the head.
    pub unswept_since: Option<Millis>,
    /// Forks found so far (each led to a range that starts below the cursor).
    pub forks: u64,
    /// Answers thrown away because they did not belong together.
    pub discarded: u64,
    /// Blocks whose bloom says that an answer may lack something of ours and whose receipts the node does not tell: two
    /// answers without proof were believed.
    #[serde(default)]
    pub unproven: u64,
    /// Calls a second that the node bears; none where it never refused one for being too many.
    #[serde(default)]
    pub calls_per_s: Option<u64>,
    /// Calls a second that this chain's pace needs; none where they are not known to be too many.
    #[serde(default)]
    pub needs_per_s: Option<u64>,
    /// Why the chain is away, in words a person can act on; no key of the URL in it.
    pub error: Option<String>,
    /// A long backfill under way.
    pub backfill: Option<Backfill>,
}

impl ChainFacts {
    /// A head was told; the highest counts.
    fn see_head(&mut self, number: u64, now: Millis) {
        if self.head.is_none_or(|head| number > head) {
            self.head = Some(number);
            self.head_moved_at = Some(now);
            self.unswept_since.get_or_insert(now);
        }
    }

    /// A sweep was committed up to this block. That there is more to read counts from here on.
    fn swept_to(&mut self, number: u64, now: Millis) {
        self.swept_at = Some(now);
        self.unswept_since = (self.head > Some(number)).then_some(now);
    }

    /// The node's head is the cursor.
    const fn swept_all(&mut self, now: Millis) {
        self.swept_at = Some(now);
        self.unswept_since = None;
    }
}

/// Progress of a backfill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// Blocks done.
    pub done_blocks: u64,
    /// Blocks in all.
    pub total_blocks: u64,
    /// Blocks per second since it began.
    pub rate_blocks_per_s: u64,
    /// Seconds left at that rate.
    pub eta_s: u64,
}
