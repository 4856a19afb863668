//! What the ledger is to write, and what the engine starts from when it was read.
//!
//! The engine's step says what is to be written ([`Write`]); a batch of them is one transaction, or nothing. How and
//! where they are kept is the ledger's business alone.

use super::chain::ChainView;
use crate::fills::{DeadEvent, Fill, PendingFill, Skipped, TokenFact};
use crate::hedges::{Decision, Halt, HaltKind, Intent, IntentState};
use crate::units::{BlockRef, Cash, FillId, IntentId, LogId, Millis, OrderId, Price, Shares, Symbol};

/// How we came to know of a fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A pushed log.
    Push,
    /// The sweep.
    Sweep,
    /// `bot replay TX`.
    Replay,
}

impl Source {
    /// The stable text in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Sweep => "sweep",
            Self::Replay => "replay",
        }
    }
}

/// One row, or one change of a projection. A batch of them is one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A token at first sight. Writing an equal one again is nothing; a different one is an error.
    Token(TokenFact),
    /// A fill's content at first sight; its entries follow.
    Fill(Fill),
    /// A trade of ours that moves nothing. Writing it again is nothing.
    Skipped(Skipped),
    /// What a person said of a trade that was passed over before its ticker was listed; once a trade.
    Answered {
        /// The trade, as it was skipped.
        id: FillId,
        /// Whether it is a fill after all.
        counted: bool,
        /// In words.
        reason: String,
        /// Who: `engine` or the operator's name.
        who: String,
    },
    /// A log not understood. Writing it again is nothing.
    Dead(DeadEvent),
    /// Entry `n` of a fill: `standing` is +1 (seen, reinstated), else −1 (reversed). `n` counts from 0 without a gap.
    Entry {
        /// The fill.
        id: FillId,
        /// Its number among the fill's entries.
        n: u32,
        /// +1 or −1.
        standing: bool,
        /// How we came to know.
        source: Source,
    },
    /// Entry `n` of the fill counts toward exposure from now on.
    Count {
        /// The fill.
        id: FillId,
        /// The entry.
        n: u32,
    },
    /// A fill whose amount the node does not tell; once.
    Pending(PendingFill),
    /// It waits no more: it was told, or its block left the chain.
    PendingOver(FillId),
    /// A pushed log that no answer has shown or denied yet; once.
    Pushed(LogId),
    /// It is settled.
    Settled(LogId),
    /// The cursor and the window after it; replaces both.
    Cursor {
        /// New cursor.
        cursor: BlockRef,
        /// New window, ascending, the cursor last.
        window: Vec<BlockRef>,
    },
    /// A new intent with its transition number 0.
    Intent(Intent),
    /// A transition; `intent` is the intent as it is after it (its projection is replaced).
    Transition {
        /// The state it left.
        from: IntentState,
        /// The intent after the transition.
        intent: Intent,
    },
    /// Execution row `n` of an order.
    Execution {
        /// The order.
        order_id: OrderId,
        /// Row number within the order, from 0 without a gap.
        n: u32,
        /// The intent it belongs to, whose `executed` and `executions` projections follow.
        intent: IntentId,
        /// Change of the cumulative filled quantity, signed (negative only when the broker took one back).
        quantity: Shares,
        /// The order's average price at that reading.
        average_price: Option<Price>,
    },
    /// The broker's book, as it was then, was compared with the ledger: from here on this process' commits say up to
    /// when they agree.
    Compared(Millis),
    /// What our orders carry at the broker, learnt from the first one that was read; once.
    Tag(String),
    /// What a person said of an intent; its transition follows.
    Decision {
        /// The intent.
        intent: IntentId,
        /// What became of it.
        decision: Decision,
        /// How the person knows.
        reason: String,
        /// Who.
        who: String,
    },
    /// The account holds so much more (or less) of a ticker than all executions here explain.
    Baseline {
        /// The ticker.
        symbol: Symbol,
        /// Signed change.
        change: Shares,
        /// Why.
        reason: String,
        /// Who: `engine` or the operator's name.
        who: String,
    },
    /// Orders are decided on real money from here on: the first backfill is over.
    Begun,
    /// A halt raised.
    Halt {
        /// The ticker; all tickers where none.
        symbol: Option<Symbol>,
        /// Why.
        kind: HaltKind,
        /// In words.
        reason: String,
        /// Who: `engine` or the operator's name.
        who: String,
    },
    /// A halt lifted.
    Lift {
        /// The ticker; the global one where none.
        symbol: Option<Symbol>,
        /// Which.
        kind: HaltKind,
        /// In words.
        reason: String,
        /// Who.
        who: String,
    },
}

/// One fill as the engine keeps it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillState {
    /// Content.
    pub fill: Fill,
    /// Number of its last entry.
    pub n: u32,
    /// Whether the last entry is +1.
    pub standing: bool,
    /// Whether that last entry counts (of a standing entry) or counted (of a reversal: whether it undid one).
    pub counted: bool,
}

/// A trade that an earlier configuration passed over, in a ticker that is listed now (`protocol.md` 5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The trade, as it was skipped.
    pub trade: Skipped,
    /// Its ticker, as it is listed now.
    pub symbol: Symbol,
    /// Whether a person said that it stays so; if not, nobody was asked yet.
    pub ignored: bool,
}

/// Ended intents are kept in memory this long, and younger ones are loaded at a start: the broker may change an execution
/// for a day, the list at a start begins when the ledger last knew its orders, and an hour is for clocks that differ.
pub const ENDED_KEPT_MS: i64 = 25 * 3_600_000;
/// Fills older than this say nothing of a price, and are not loaded for it.
pub const RECENT_MS: i64 = 3_600_000;

/// A standing fill as far as its price matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentFill {
    /// Its name.
    pub id: FillId,
    /// Ticker.
    pub symbol: Symbol,
    /// When it was traded.
    pub at: Millis,
    /// Dollars.
    pub cash: Cash,
    /// Shares.
    pub shares: Shares,
}

/// What a fill paid, for the reference price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traded {
    /// Ticker.
    pub symbol: Symbol,
    /// Dollars.
    pub cash: Cash,
    /// Shares.
    pub shares: Shares,
}

/// A ticker's attempts that ended without an execution since the last one that had one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempts {
    /// Ticker.
    pub symbol: Symbol,
    /// How many.
    pub count: u32,
    /// When the last ended.
    pub ended_at: Millis,
}

/// Everything the engine starts from, read in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Cursor, window, standing fills, tokens.
    pub chain: ChainView,
    /// Trades that were passed over before their ticker was listed; empty unless the ledger was asked for them.
    pub passed_over: Vec<PassedOver>,
    /// Fills whose amount the node could not tell.
    pub pending: Vec<PendingFill>,
    /// Every fill above the window's first block, and every older standing one that has not counted yet.
    pub fills: Vec<FillState>,
    /// Σ over counting entries of ± shares, per ticker.
    pub fill_sums: Vec<(Symbol, Shares)>,
    /// Σ over counting fills of `Fill::slack`, per ticker that has any.
    pub fill_slack: Vec<(Symbol, Shares)>,
    /// Σ over executions, BUY positive, per ticker.
    pub execution_sums: Vec<(Symbol, Shares)>,
    /// Σ over all executions, those of ignored orders too, BUY positive, per ticker: what they did to the account.
    pub account_sums: Vec<(Symbol, Shares)>,
    /// Per ticker: what the account holds beyond that; none where it was never read.
    pub baselines: Vec<(Symbol, Shares)>,
    /// What our orders carry at the broker, where it was learnt.
    pub tag: Option<String>,
    /// Whether orders were decided on real money before.
    pub begun: bool,
    /// Standing fills that were seen in the last hour before the last write, ascending by birth, and when: for the
    /// price that a quote is held against.
    pub recent: Vec<RecentFill>,
    /// Per ticker the newest fills that make up 100 shares (or all there are), ascending, for the reference price.
    pub traded: Vec<Traded>,
    /// Every live intent, and every terminal one that was sent or changed in the last 25 h before `compared_at`.
    pub intents: Vec<Intent>,
    /// The tickers whose last attempts brought no execution.
    pub failures: Vec<FailedAttempts>,
    /// Halts in force.
    pub halts: Vec<Halt>,
    /// Fills ever stored (skipped ones not counted).
    pub fills_total: u64,
    /// Reversals ever stored.
    pub reversals_total: u64,
    /// Dead events ever stored.
    pub dead_total: u64,
    /// When the broker's book was first compared with this ledger: older orders of ours are an earlier ledger's.
    pub first_compared_at: Option<Millis>,
    /// When the ledger was last written; none at birth.
    pub last_commit: Option<Millis>,
    /// When it was last written by a process that had compared the broker's book with it. An order that is older is
    /// known here; none where there was no such process.
    pub compared_at: Option<Millis>,
}
