//! What a node does wrong, as data: one field for each fault, all of them combinable.
//!
//! A fault that counts down is used up only by an answer that it changed: `empty_logs(1)` lies about the next range
//! that has logs, not about whatever is asked next. That keeps tests exact without a word about timing.

use alloy::primitives::{Address, B256};

/// How often a fault strikes: `false`, a number, or `true` for until cleared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Times {
    /// Not at all.
    #[default]
    Never,
    /// So many times more.
    Count(u64),
    /// Until it is cleared.
    Always,
}

impl Times {
    /// Whether it strikes now; counts down.
    pub fn strike(&mut self) -> bool {
        match self {
            Self::Never | Self::Count(0) => false,
            Self::Always => true,
            Self::Count(left) => {
                *left -= 1;
                true
            }
        }
    }

    /// Whether it would strike; does not count.
    #[must_use]
    pub const fn is_due(self) -> bool {
        !matches!(self, Self::Never | Self::Count(0))
    }
}

impl From<bool> for Times {
    fn from(on: bool) -> Self {
        if on { Self::Always } else { Self::Never }
    }
}

impl From<u64> for Times {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

/// Which pushed logs get lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DropPushes {
    /// None.
    #[default]
    None,
    /// Every log; heads still arrive.
    Logs,
    /// Heads and logs.
    All,
    /// Only the second half of a clear.
    AfterClear,
}

/// The error of [`Faults::rpc_errors`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RpcFault {
    /// −32000 "header not found", as a node behind a balancer says of a block it has not seen.
    #[default]
    HeaderNotFound,
    /// −32603 "internal error".
    Internal,
    /// −32005 "rate limit exceeded".
    RateLimited,
}

/// Every fault. All at rest by default.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Connects answered with 503.
    pub refuse: Times,
    /// The socket stays up; nothing is read, answered or pushed, pings included. Pushes of the time are lost.
    pub half_open: bool,
    /// Each pushed head and log is sent twice.
    pub duplicate_pushes: bool,
    /// The pushes of one change of the chain arrive in the opposite order.
    pub reorder_pushes: bool,
    /// Which pushes are lost.
    pub drop_pushes: DropPushes,
    /// On a reorg the logs that left the chain are pushed with `removed: true`.
    pub removed_pushes: bool,
    /// Pushed logs say no block hash, number or index, as of a pending block.
    pub push_without_block_hash: bool,
    /// A pushed log's data differs from the chain's.
    pub mutate_pushed_log: Times,
    /// Everything is answered as of so many blocks ago. Pushes are not held back.
    pub lagging_blocks: u64,
    /// `eth_getLogs` answers nothing although there is something.
    pub empty_logs: Times,
    /// `eth_getLogs` leaves out the last log.
    pub partial_logs: Times,
    /// These two strike only where something else could tell: in one block asked for by its hash, whose bloom is not full
    /// or whose logs were all pushed, and at a log whose topic no other one in the answer shows.
    pub only_tellable_gaps: bool,
    /// Calls are answered in turn by the canonical chain and by the branch that ends in this block; the canonical
    /// one first.
    pub two_forks: Option<(B256, Times)>,
    /// Whose turn it is in `two_forks`.
    pub other_fork_next: bool,
    /// Asked for this block's height, the node tells this block, whichever is canonical.
    pub other_block: Option<(B256, Times)>,
    /// Orphaned blocks are unknown by hash too, as at anvil.
    pub forget_orphans: bool,
    /// Longest range of `eth_getLogs`; longer ones get −32005.
    pub range_blocks_max: Option<u64>,
    /// Most logs of one `eth_getLogs`; more get −32005.
    pub range_logs_max: Option<usize>,
    /// Each answer waits so long, in milliseconds.
    pub slow_ms: u64,
    /// Answers that are errors: how many, which, and of which method (any, where none is named).
    pub rpc_errors: (Times, RpcFault, Option<String>),
    /// The chain id told instead of the chain's.
    pub wrong_chain_id: Option<u64>,
    /// An address that has no code.
    pub no_code: Option<Address>,
    /// Logs of blocks below this one are gone: `eth_getLogs` answers nothing, as if there had never been any.
    pub logs_pruned_below: Option<u64>,
    /// State of blocks below this one is gone: `eth_call` there is −32000.
    pub state_pruned_below: Option<u64>,
    /// A method that this node does not have (−32601).
    pub missing_methods: Vec<String>,
}
