//! What the chain side hands to the engine, and what it is told in return: plain data.
//!
//! A push is for speed ([`Push`]), the sweep is for truth ([`Sweep`]): only a sweep moves the cursor. The chain side
//! learns cursor and window only from [`ChainView`], after they are committed.

use std::collections::BTreeMap;

use alloy::primitives::B256;

use crate::fills::{Event, TokenFact};
use crate::units::{BlockRef, FillId, LogId};

/// Blocks a reorg may reach back; deeper ones stop the bot (exit 65). `protocol.md` 1.5.
pub const WINDOW_BLOCKS_MAX: usize = 64;

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
    /// What a person must hear of tokens: a multiplier that is announced.
    pub notices: Vec<String>,
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
