//! The ledger: the one durable truth of this program, a SQLite file with a single writer.
//!
//! The engine's step says what is to be written ([`Write`]); [`Ledger::commit`] writes a batch of them in one
//! transaction, or nothing. A database error is an infrastructure error and nothing else: it is never read as "already
//! seen", and it ends the process, because the engine's memory is then ahead of the disk.

mod beside;
mod check;
mod connect;
pub mod crash;
mod error;
mod examine;
mod file;
mod held;
mod load;
mod lock;
mod open;
mod place;
mod read;
mod row;
mod stamp;
mod sums;
mod trace;
mod turn;
mod unused;
mod write;

use alloy::primitives::Address;
use counterfill_core::{fills, hedges, ports, positions, units};

pub use check::WholeCheck;
pub use counterfill_core::ports::records::{
    FailedAttempts, FillState, Loaded, PassedOver, RecentFill, Source, Traded, Write,
};
pub use error::{Difference, LedgerError};
pub use examine::{Examined, not_writable, suits};
pub use file::migrations;
pub use lock::Lock;
pub use open::{Claim, Closed, Ledger, Volume};
pub use read::{FillRow, Filter, HaltRow, HedgeRow, PositionRow, Reader, Summary, TokenRow};
pub use trace::{
    DeadRow, EntryRow, ExecutionRow, Story, TracedFill, TracedHedge, TracedTicker, TransitionRow, UnitRow,
};
pub use turn::{Taken, Turn, TurnError};

/// Whose ledger it is (`protocol.md` 5.1). Written at birth; a ledger with another stamp is not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The order books watched; compared as a set.
    pub orderbooks: Vec<Address>,
    /// The owners whose orders are ours; compared as a set.
    pub owners: Vec<Address>,
    /// `paper`, `schwab` or `alpaca`.
    pub broker: String,
    /// The account, as the broker names it.
    pub account: String,
    /// Fills below this block are stored as skipped.
    pub hedge_from_block: Option<u64>,
    /// Where the first sweep began. A lower one is refused, a higher one has no effect.
    pub deployment_block: u64,
}
