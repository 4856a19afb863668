//! The chain's end of the program: where fills come from.
//!
//! A push is for speed ([`Push`]), the sweep is for truth ([`Sweep`]): only a sweep moves the cursor. This side reads,
//! checks that what it read belongs together, and hands it to the engine; it decides nothing about money. It learns
//! cursor and window only from the engine ([`ChainView`]), after they are committed.

pub mod abi;
mod answers;
pub(crate) mod backend;
pub(crate) mod beginning;
pub mod bloom;
pub(crate) mod by_hand;
pub(crate) mod frame;
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
mod sweep;
#[cfg(test)]
mod sweep_tests;
pub mod tokens;
mod upgrade;
pub mod window;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use serde::{Deserialize, Serialize};

pub(crate) use self::beginning::at_start;
pub use self::link::{TransactionError, identify, passed_over, run, transaction};
pub use self::socket::shown;
use crate::fills::{Book, Event, Listing, TokenFact};
use crate::units::{BlockRef, FillId, LogId, Millis, Symbol};

/// Blocks a reorg may reach back; deeper ones stop the bot (exit 65). `protocol.md` 1.5.
pub const WINDOW_BLOCKS_MAX: usize = 64;

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
    /// The process' exit code for it; all of them are in [`crate::exit`].
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::DeepReorg(_) => 65,
            Self::EngineGone => 70,
            Self::WrongChain { .. } | Self::NoCode { .. } | Self::TokenChanged(_) | Self::Pruned { .. } => 78,
        }
    }
}

/// What the engine has committed, published after every commit; all that the chain side may know of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainView {
    /// The last block whose fills are all in the ledger; its number is `DEPLOYMENT_BLOCK - 1` at birth.
    pub cursor: Option<BlockRef>,
    /// The canonical blocks known up to the cursor, ascending, the cursor last; at most [`WINDOW_BLOCKS_MAX`] + 1.
    pub window: Vec<BlockRef>,
    /// Fills that stand (their last entry is +1) above the window's first block, swept or only pushed.
    pub standing: Vec<(u64, FillId)>,
    /// The lowest block at or below the cursor for which a fill was pushed that the sweep had not seen there: the next
    /// range begins before it.
    pub late_from: Option<u64>,
    /// Logs that were pushed and that no answer has shown or denied yet (`protocol.md` 1.1): no range may pass them.
    pub evidence: Vec<LogId>,
    /// Fills whose amount the node could not tell (`protocol.md` 1.10), ascending: to be asked for again.
    pub pending: Vec<LogId>,
    /// Every token known so far.
    pub tokens: Vec<TokenFact>,
    /// Sweeps since the start that did not fit what the engine knew by then, so that it dropped them: who handed one
    /// over must not wait for it any longer.
    pub dropped_sweeps: u64,
}

/// Logs that the node pushed. May be late, doubled, of an orphan, or lies: the engine folds only what
/// `protocol.md` 1.1 allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Push {
    /// Fills of takes only.
    pub events: Vec<Event>,
    /// Logs that are ours, or may be, and of which no event could be made at once.
    pub evidence: Vec<LogId>,
    /// Facts of tokens first seen here.
    pub tokens: Vec<TokenFact>,
}

/// A range read and checked as a whole: `base.number + 1 ..= target.number`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    /// The block before the range: the cursor, or after a fork the highest window block still canonical.
    pub base: BlockRef,
    /// The last block of the range: the new cursor.
    pub target: BlockRef,
    /// The canonical hash of every block read one by one, of `target`, and of every number in the range at which a
    /// fill stands.
    pub canonical: BTreeMap<u64, B256>,
    /// All events of the range, ascending by (block, log index).
    pub events: Vec<Event>,
    /// Standing fills in a canonical block of the range whose receipt says that there is no such log.
    pub refuted: Vec<FillId>,
    /// Pushed logs of the range that an answer showed or a receipt denied, or whose block left the chain.
    pub settled: Vec<LogId>,
    /// Facts of tokens first seen here.
    pub tokens: Vec<TokenFact>,
    /// The node's head when the range was read.
    pub head: u64,
}

impl Sweep {
    /// The range that holds no block: it only says where the cursor is born.
    #[must_use]
    pub const fn empty_at(base: BlockRef) -> Self {
        Self {
            base,
            target: base,
            canonical: BTreeMap::new(),
            events: Vec::new(),
            refuted: Vec::new(),
            settled: Vec::new(),
            tokens: Vec::new(),
            head: base.number,
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
