//! What goes into the engine and what comes out of it.

use std::collections::BTreeSet;

use crate::hedges::{Choice, Decision, Halt, HaltKind, IntentState, Unsettled};
use crate::ports::broker::{BrokerOrder, Placed, Quote, ReadError, Session, Ticket};
use crate::ports::chain::{Push, Sweep};
use crate::ports::records::{FillState, Write};
use crate::units::{BlockRef, FillId, IntentId, Millis, OrderId, Shares, Symbol};

/// Everything that can happen to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A connection is up and subscribed; `head` was read on it. Deciding waits until the sweep has committed it,
    /// at start and after a gap of more than 64 blocks.
    Connected {
        /// The node's head.
        head: BlockRef,
    },
    /// Pushed logs.
    Push(Push),
    /// A range, read and checked.
    Sweep(Sweep),
    /// The logs of a transaction with a fill that waits for its amount; its block was read and is canonical.
    AskedAgain(Push),
    /// The logs of one transaction, asked for by `bot replay`; its block was read and is canonical.
    Replay {
        /// Events of that transaction.
        push: Push,
        /// What the ledger already holds of those fills.
        known: Vec<FillState>,
        /// Which command to answer.
        reply: u64,
    },
    /// What became of a [`Effect::Place`].
    Placed {
        /// The intent.
        intent: IntentId,
        /// The outcome.
        outcome: Placed,
    },
    /// Answer to [`Question::Order`].
    Order {
        /// The intent it was asked for.
        intent: IntentId,
        /// The order asked for.
        id: OrderId,
        /// The answer.
        answer: Result<Option<BrokerOrder>, ReadError>,
    },
    /// Answer to [`Question::Find`].
    Found {
        /// The intent it was asked for.
        intent: IntentId,
        /// The answer.
        answer: Result<Option<BrokerOrder>, ReadError>,
    },
    /// Answer to [`Question::List`].
    List {
        /// When the read began.
        begun_at: Millis,
        /// The answer.
        answer: Result<Vec<BrokerOrder>, ReadError>,
    },
    /// Answer to [`Question::Session`].
    Session(Result<Session, ReadError>),
    /// Answer to [`Question::Positions`]: signed, a ticker without one is flat.
    Positions {
        /// When the read began.
        begun_at: Millis,
        /// The answer.
        answer: Result<Vec<(Symbol, Shares)>, ReadError>,
    },
    /// Answer to [`Question::Quotes`].
    Quotes {
        /// When the read began.
        begun_at: Millis,
        /// The answer.
        answer: Result<Vec<Quote>, ReadError>,
    },
    /// By how much the broker's clock was ahead of ours in its last answer; comes before an answer to
    /// [`Question::Session`] where the broker says it.
    Clock {
        /// Milliseconds; negative: behind.
        ahead_ms: i64,
    },
    /// Time passes; at least five times a second.
    Tick,
    /// The process is to end: nothing is decided or asked any more, answers are still booked.
    Stop,
    /// An operator's command, with the number of the reply it waits for.
    Command(Command, u64),
}

impl Input {
    /// Whether it may change what the chain side is told; no other input does.
    pub(super) const fn is_of_the_chain(&self) -> bool {
        match self {
            Self::Connected { .. }
            | Self::Push(_)
            | Self::Sweep(_)
            | Self::AskedAgain(_)
            | Self::Replay { .. }
            | Self::Command(..) => true,
            Self::Placed { .. }
            | Self::Order { .. }
            | Self::Found { .. }
            | Self::List { .. }
            | Self::Session(_)
            | Self::Positions { .. }
            | Self::Quotes { .. }
            | Self::Clock { .. }
            | Self::Tick
            | Self::Stop => false,
        }
    }
}

/// What an operator can say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Stop sending orders, for one ticker or all.
    Halt {
        /// The ticker; all where none.
        symbol: Option<Symbol>,
        /// Why.
        reason: String,
        /// Who.
        who: String,
    },
    /// Settle an intent that only a person can settle: `Unknown` or `Stuck` (`protocol.md` 3.5, 3.6).
    Reconcile {
        /// The intent.
        target: IntentId,
        /// What became of it, by the broker's own book.
        decision: Decision,
        /// How the operator knows.
        reason: String,
        /// Who.
        who: String,
    },
    /// Count the trades of a ticker that were passed over before it was listed, and lift that halt (`protocol.md` 5.4).
    CountSkipped {
        /// The ticker.
        symbol: Symbol,
        /// Which trades the chain was asked about.
        asked: BTreeSet<FillId>,
        /// What the chain has of their transactions; each block was read and is canonical.
        push: Push,
        /// What the ledger already holds of those fills.
        known: Vec<FillState>,
        /// Why.
        reason: String,
        /// Who.
        who: String,
    },
    /// Lift one kind of halt. A ticker with an `Unknown` or `Stuck` intent stays as it is.
    Resume {
        /// The ticker; the global halt where none.
        symbol: Option<Symbol>,
        /// Which halt: each is lifted only by its own name.
        kind: HaltKind,
        /// The answer to the question that this kind of halt asks, where it asks one.
        choice: Option<Choice>,
        /// Why.
        reason: String,
        /// Who.
        who: String,
    },
}

/// What the step wants done after the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this order, once. Its intent is durable.
    Place(Ticket),
    /// Ask the broker.
    Ask(Question),
    /// Ring the sweep's bell.
    Sweep,
    /// Answer a command.
    Reply(u64, Result<String, String>),
    /// Tell a person.
    Alert(String),
    /// End the process.
    Stop(Stop),
}

/// A read of the broker's book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// One order by its id.
    Order {
        /// For this intent.
        intent: IntentId,
        /// The order.
        id: OrderId,
    },
    /// One order by its client order id.
    Find {
        /// The intent.
        intent: IntentId,
    },
    /// Every order since.
    List {
        /// Entered at or after.
        since: Millis,
    },
    /// The session.
    Session,
    /// The account's positions.
    Positions,
    /// What these tickers cost now.
    Quotes {
        /// Ascending, at least one.
        symbols: Vec<Symbol>,
    },
}

/// Why the process must end. Each reason has an exit code of its own: a new one must not compile before it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Exit 65: a reorg deeper than the window.
    #[error("{0}")]
    DeepReorg(String),
    /// Exit 70: an assertion.
    #[error("{0}")]
    Bug(String),
    /// Exit 78: the chain says something else of a token than the ledger.
    #[error("{0}")]
    Config(String),
}

impl Stop {
    /// The process' exit code for it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::DeepReorg(_) => 65,
            Self::Bug(_) => 70,
            Self::Config(_) => 78,
        }
    }
}

/// What a step, or a batch of steps, leads to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct StepOutput {
    /// To be committed, in this order, in one transaction.
    pub writes: Vec<Write>,
    /// To be performed after the commit, in this order.
    pub effects: Vec<Effect>,
}

/// What the engine knows, for health, metrics and `bot status`; published after every commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSnapshot {
    /// When this was true.
    pub at: Millis,
    /// Whether orders may be decided; if not, `waiting` says what for.
    pub deciding: bool,
    /// What deciding waits for, in words.
    pub waiting: Vec<String>,
    /// The last block whose fills are all in the ledger.
    pub cursor: Option<BlockRef>,
    /// Fills ever stored.
    pub fills_total: u64,
    /// Reversals ever stored.
    pub reversals_total: u64,
    /// Dead events ever stored.
    pub dead_total: u64,
    /// One row per ticker, ascending.
    pub tickers: Vec<TickerSnapshot>,
    /// Halts in force.
    pub halts: Vec<Halt>,
    /// Why no order may go to the broker now, for all tickers (unreachable, session, rate); none when it may.
    pub gate: Option<String>,
    /// Whether the last broker read succeeded; none before the first.
    pub broker_answers: Option<bool>,
    /// The session as last read; none before the first reading. With it, health tells a gate that is shut because the
    /// market is (fine) from one that is shut for any other reason (not fine).
    pub session: Option<Session>,
    /// Fills that wait for their amount (`protocol.md` 1.10): of which token or ticker, and why.
    pub pending: Vec<(String, String)>,
    /// Intents that only a person can settle.
    pub unsettled: Vec<Unsettled>,
}

/// A live intent, as far as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveIntent {
    /// Its name.
    pub id: IntentId,
    /// Where it stands.
    pub state: IntentState,
    /// Since when.
    pub changed_at: Millis,
}

/// One ticker's row of [`EngineSnapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TickerSnapshot {
    /// Ticker.
    pub symbol: Symbol,
    /// Signed; positive is long.
    pub exposure: Shares,
    /// The live intent, if any.
    pub live: Option<LiveIntent>,
    /// Since when a lot or more has been wanted without an order at work; none where that is not so.
    pub unhedged_since: Option<Millis>,
    /// Whether that has lasted for `UNHEDGED_ALERT_AFTER` in which orders could have gone.
    pub overdue: bool,
    /// Why an order that is wanted does not go out.
    pub waiting: Option<String>,
    /// What a person can do about it; none if it ends by itself.
    pub remedy: Option<String>,
}
