//! The chain's end of the program: where fills come from.
//!
//! A push is for speed ([`Push`]), the sweep is for truth ([`Sweep`]): only a sweep moves the cursor. This side reads,
//! checks that what it read belongs together, and hands it to the engine; it decides nothing about money. It learns
//! cursor and window only from the engine ([`ChainView`]), after they are committed.

pub mod abi;
pub mod rpc;
pub mod window;

use std::collections::BTreeMap;

use alloy::primitives::B256;

use crate::fills::{Event, TokenFact};
use crate::units::{BlockRef, FillId};

/// Blocks a reorg may reach back; deeper ones stop the bot (exit 65). `protocol.md` 1.5.
pub const WINDOW_BLOCKS_MAX: usize = 64;

/// What the engine has committed, published after every commit; all that the chain side may know of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainView {
    /// The last block whose fills are all in the ledger; its number is `DEPLOYMENT_BLOCK - 1` at birth.
    pub cursor: Option<BlockRef>,
    /// The canonical blocks known up to the cursor, ascending, the cursor last; at most [`WINDOW_BLOCKS_MAX`] + 1.
    pub window: Vec<BlockRef>,
    /// Fills that stand (their last entry is +1) above the window's first block, swept or only pushed.
    pub standing: Vec<(u64, FillId)>,
    /// Every token known so far.
    pub tokens: Vec<TokenFact>,
}

/// Logs that the node pushed. May be late, doubled, of an orphan, or lies: the engine folds only what
/// `protocol.md` 1.1 allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Takes only; clears and `removed` logs ring the bell instead.
    pub events: Vec<Event>,
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
    /// Facts of tokens first seen here.
    pub tokens: Vec<TokenFact>,
    /// The node's head when the range was read.
    pub head: u64,
}

/// What is known of the connection, for health and metrics; published whenever it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainFacts {
    /// Whether a socket is up and subscribed.
    pub connected: bool,
    /// Connections made after the first one.
    pub reconnects: u64,
    /// The newest head the node told, pushed or asked.
    pub head: Option<u64>,
    /// When the head last moved.
    pub head_moved_at: Option<crate::units::Millis>,
    /// When the node last answered `eth_blockNumber` (asked every 2 s, 3 s limit).
    pub answered_at: Option<crate::units::Millis>,
    /// Forks found so far (each led to a range that starts below the cursor).
    pub forks: u64,
    /// Answers thrown away because they did not belong together.
    pub discarded: u64,
    /// Why the chain is away, in words a person can act on; no key of the URL in it.
    pub error: Option<String>,
    /// A long backfill under way.
    pub backfill: Option<Backfill>,
}

/// Progress of a backfill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
