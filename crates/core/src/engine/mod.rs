//! The engine: one pure function, `step(inputs) → writes and effects`.
//!
//! No IO, no clock, no randomness: time and the start's nonce arrive from outside. The caller commits the writes of a
//! step in one transaction, and only then performs the effects; before the commit nothing happened, after it
//! everything will. `ingest` answers the chain, `order_lifecycle` the broker, `decide` looks at the whole once per step.
//!
//! Invariant: at most one intent is `Sent` with its bytes not yet out, and its row is durable before they are.

mod backlog;
mod decide;
mod evidence;
mod ingest;
mod operator;
mod order_lifecycle;
mod pending;
mod position_check;
mod market;
mod refusals;
mod reconcile;
mod types;
mod unhedged;

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};

pub use decide::CLOCKS_MS_MAX;
pub use types::{Command, Effect, Facts, Input, Out, Question, Stop, TickerFacts};

pub use crate::hedges::{Choice, Decision, Similar, Unsettled};

use crate::fills::{PendingFill, TokenFact};
use crate::hedges::{HaltKind, Intent, IntentState, Limits};
use crate::ports::broker::{BrokerOrder, Profile, Quote, Session, Ticket};
use crate::ports::chain::ChainView;
use crate::ports::records::{FillState, Loaded, Write};
use crate::positions::Position;
use crate::units::{BlockRef, Cash, FillId, IntentId, LogId, Millis, OrderId, Shares, Symbol};
use unhedged::{Unhedged, Wait};

/// What the engine is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// A fill counts when the cursor is this many blocks past it; 0: when it is folded (`protocol.md` 1.6).
    pub confirmations: u64,
    /// The broker.
    pub profile: Profile,
    /// The caps.
    pub limits: Limits,
    /// New at every start; part of every intent's name.
    pub nonce: String,
    /// At a broker without client order ids: after so many milliseconds of complete lists without it, an `Unknown`
    /// intent counts as never placed (`ABSENT_AFTER`, `protocol.md` 3.5). None: only a person says so.
    pub absent_after_ms: Option<i64>,
    /// The furthest a quote may lie from the price of the last hour's fills, in basis points of that price
    /// (`MAX_PRICE_DEVIATION_BPS`).
    pub max_price_deviation_bps: u32,
    /// Whether orders move real money: then a first backfill that leaves a lot or more starts halted (5.3).
    pub live: bool,
    /// A lot or more without an order at work is told, and is not ready, after so many milliseconds in which orders
    /// could have gone (`UNHEDGED_ALERT_AFTER`, `protocol.md` 4.1).
    pub unhedged_alert_ms: i64,
}

/// A time in which something rests. Kept as a beginning and a length: a clock that was set back must not make it last for
/// the hours it was wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Pause {
    since: Millis,
    ms: i64,
}

impl Pause {
    const fn over(self, now: Millis) -> bool {
        let passed = now.since(self.since);
        passed < 0 || passed >= self.ms
    }

    const fn until(self) -> Millis {
        self.since.plus(self.ms)
    }
}

/// What is read of the broker, by the kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Read {
    Order,
    List,
    Session,
    Positions,
    Quotes,
}

/// A question to the broker: when it was last asked, and whether it is still out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    number: u64,
    at: Millis,
    out: bool,
    times: u32,
}

impl Asked {
    /// The answer is here; the number of its question.
    const fn returned(&mut self) -> u64 {
        self.out = false;
        self.number
    }
}

/// An `Unknown` intent at a broker with client order ids (`protocol.md` 3.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Resend {
    /// The broker does not have it: the same order may go out again under the same name.
    ready: bool,
    /// How often it went out again. From then on a clear no is only about the last send, not about the first.
    count: u32,
    /// How many of those were clearly refused.
    refused: u32,
    /// Not during it.
    pause: Pause,
}

/// A ticker's attempts in a row that brought no execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Failures {
    count: u32,
    pause: Pause,
}

/// What the ledger alone decides of an engine: a restart must find again exactly what the process knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// What the chain side is told.
    pub view: ChainView,
    /// Every fill in memory.
    pub fills: Vec<FillState>,
    /// Fills, reversals and dead events ever stored.
    pub totals: (u64, u64, u64),
    /// Per ticker that ever moved: counting fills and executions.
    pub positions: Vec<(Symbol, Shares, Shares)>,
    /// Every live intent.
    pub live: Vec<Intent>,
    /// Halts in force.
    pub halts: Vec<(Option<Symbol>, HaltKind, String)>,
    /// Per ticker: attempts in a row without an execution.
    pub failures: Vec<(Symbol, u32)>,
    /// Per ticker: what the account holds beyond our orders, and what they did to it.
    pub account: Vec<(Symbol, Option<Shares>, Shares)>,
    /// What our orders carry, as learnt.
    pub tag: Option<String>,
    /// Whether the first backfill on real money is over.
    pub begun: bool,
    /// Trades that were passed over before their ticker was listed, and whether a person said that they stay so.
    pub passed_over: Vec<(FillId, bool)>,
}

/// The state. Everything in it follows from the ledger and from inputs since the start.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    now: Millis,

    cursor: Option<BlockRef>,
    window: Vec<BlockRef>,
    fills: BTreeMap<FillId, FillState>,
    /// Fills pushed after the cursor had passed their block: the sweep, which did not see them, must look again.
    late: BTreeSet<(u64, FillId)>,
    /// Fills whose amount the node does not tell.
    pending: BTreeMap<FillId, PendingFill>,
    /// Pushed logs that no answer has shown or denied, see [`evidence`].
    evidence: BTreeSet<LogId>,
    /// Logs pushed beyond what is kept of them, since the start.
    evidence_lost: u64,
    /// Logs above the window's first block that a sweep told of or denied, and the block that was canonical at their height.
    told: BTreeMap<LogId, B256>,
    tokens: BTreeMap<Address, TokenFact>,
    /// Trades that were passed over before their ticker was listed.
    passed_over: backlog::Trades,
    fills_total: u64,
    reversals_total: u64,
    dead_total: u64,
    /// Sweeps that did not fit, since the start.
    dropped_sweeps: u64,
    /// Logs not understood above the window's first block, so that a fork does not tell of them again.
    dead: BTreeSet<(u64, B256, u64)>,
    /// The highest head told since the start.
    head: u64,
    /// Deciding waits until the cursor is here; none before the first connection.
    reach: Option<u64>,
    /// A sweep took fills back and did not come to the head: nothing is decided before one does.
    half_read: bool,
    /// Fills of one transaction stand in two blocks, see [`Engine::something_stands_twice`].
    stands_twice: bool,

    positions: BTreeMap<Symbol, Position>,
    /// Why the order that a ticker wants does not go out, as the last step decided.
    waiting: BTreeMap<Symbol, Wait>,
    unhedged: Unhedged,

    /// Every live intent and every one that ended within a day.
    intents: BTreeMap<IntentId, Intent>,
    live: BTreeSet<IntentId>,
    orders: BTreeMap<OrderId, IntentId>,
    sequence: u32,
    /// The one intent whose bytes may be on their way.
    in_flight: Option<IntentId>,
    /// Intents that were `Unknown` since this start, and how often they went out again.
    resends: BTreeMap<IntentId, Resend>,
    failures: BTreeMap<Symbol, Failures>,
    /// After an order that ended early with executions; not a failure, but not at once again either.
    rests: BTreeMap<Symbol, Pause>,
    halts: BTreeMap<(Option<Symbol>, HaltKind), String>,

    /// Intents whose fate must be asked for before anything is decided.
    unasked: BTreeSet<IntentId>,
    /// Whether the broker's book was compared with the ledger since the start.
    compared: bool,
    /// Up to when the ledger knew the broker's orders, before this start. Not when it was last written: a process that
    /// was stopped before it had compared the book wrote too, and so does an operator's verb.
    compared_at: Option<Millis>,
    /// When the book was first compared: orders of ours entered before it are an earlier ledger's, and a person has
    /// been asked about them.
    first_compared_at: Option<Millis>,
    /// Up to when intents that have ended may be forgotten here.
    forgotten: Option<Millis>,
    /// When the broker says it entered an intent's order; its clock is not ours.
    entered: BTreeMap<IntentId, Millis>,
    /// Orders with our tag that nobody here knows, and the number of the list that first showed them.
    strangers: BTreeMap<OrderId, u64>,

    /// What became of those whose answer was lost, as far as the broker's list says (`reconcile`).
    searches: BTreeMap<IntentId, reconcile::Search>,
    /// Those of which a person was told that an order looks like theirs.
    told_of_similar: BTreeSet<IntentId>,
    /// Intents that the broker gave an order id for, until that order was read with a tag.
    claimed: BTreeSet<IntentId>,
    /// Intents that a person settled since the start.
    settled_by_hand: BTreeSet<IntentId>,
    /// What our orders carry at the broker, where it was learnt.
    learnt_tag: Option<String>,
    /// The broker's list as last read, where it must answer for us: at a broker without client order ids.
    listed: Vec<BrokerOrder>,
    /// When that reading began.
    listed_at: Option<Millis>,
    /// Whether it reached as far back as any list does.
    listed_whole: bool,
    /// How far back the last list that was asked for reaches.
    list_since: Millis,

    reading: Option<position_check::Reading>,
    /// Executions booked since that reading's question was asked, signed, with the last question before each.
    booked_since: Vec<(u64, Symbol, Shares)>,
    /// The last question that was asked before an order of ours last changed anything in the ticker.
    moved: BTreeMap<Symbol, u64>,
    /// What all executions did to the account, those of ignored orders too.
    account: BTreeMap<Symbol, Shares>,
    /// What the account holds beyond them.
    baselines: BTreeMap<Symbol, Shares>,
    /// Positions that were read otherwise than expected, and since when.
    drifting: BTreeMap<Symbol, (Millis, Shares)>,
    /// Orders were decided on real money before.
    begun: bool,

    /// The newest quotes, and when their reading began.
    quotes: BTreeMap<Symbol, (Millis, Quote)>,
    /// When the last reading of them that was answered began.
    quoted_at: Option<Millis>,
    /// Standing fills of the last hour.
    recent: BTreeMap<FillId, market::Traded>,
    /// Since when the market is too far from the fills.
    far_since: BTreeMap<Symbol, Millis>,
    /// The broker's clock, as far as it is known.
    clock_ahead_ms: Option<i64>,

    session: Option<Session>,
    /// After a failed or unclear order call nothing leaves until one read has succeeded.
    /// It must be one that was asked after the call went wrong: this is the last question before.
    must_read: Option<u64>,
    /// Questions asked since the start.
    questions: u64,
    /// Order calls in a row that provably never left.
    not_sent: u32,
    gate: Option<(Pause, String)>,
    /// What each ticker was last refused for.
    refused: BTreeMap<Symbol, refusals::Refusal>,
    /// The account takes no orders.
    bar: Option<refusals::Bar>,
    /// The number of the last list that was read.
    listed_number: u64,
    /// Which reads failed when they were last asked for, and why.
    failing: BTreeMap<Read, String>,
    broker_answers: Option<bool>,
    asked_orders: BTreeMap<IntentId, Asked>,
    asked_list: Option<Asked>,
    asked_session: Option<Asked>,
    asked_positions: Option<Asked>,
    asked_quotes: Option<Asked>,
    /// The tickers that were asked for then.
    quoted_of: BTreeSet<Symbol>,
    alerted: BTreeSet<IntentId>,
    /// Orders that are done and whose figures do not add up yet: since when, and in how many readings.
    untold: BTreeMap<IntentId, (Millis, u32)>,
    stopping: bool,
}

/// The fills that a start must look for again: those that stand at or below the cursor and above the window's base. One
/// of them may have been pushed when the cursor had passed its block, and the process that knew so is gone.
fn unswept(chain: &ChainView, fills: &[FillState]) -> BTreeSet<(u64, FillId)> {
    let (Some(cursor), Some(base)) = (chain.cursor, chain.window.first()) else { return BTreeSet::new() };
    let in_window = |state: &&FillState| {
        state.standing && state.fill.block_number > base.number && state.fill.block_number <= cursor.number
    };
    fills.iter().filter(in_window).map(|state| (state.fill.block_number, state.fill.id)).collect()
}

impl Engine {
    /// From what the ledger holds. Nothing is decided yet.
    #[must_use]
    pub fn new(policy: Policy, loaded: Loaded) -> Self {
        let mut positions: BTreeMap<Symbol, Position> = BTreeMap::new();
        for (symbol, sum) in loaded.fill_sums {
            positions.entry(symbol).or_default().fills = sum;
        }
        for (symbol, sum) in loaded.execution_sums {
            positions.entry(symbol).or_default().executions = sum;
        }
        for symbol in loaded.pending.iter().filter_map(|pending| pending.symbol.clone()) {
            positions.entry(symbol).or_default();
        }
        for (symbol, cash, shares) in loaded.traded {
            positions.entry(symbol).or_default().traded(cash, shares);
        }
        let intents: BTreeMap<IntentId, Intent> =
            loaded.intents.into_iter().map(|intent| (intent.id.clone(), intent)).collect();
        // Claimed before the last stop, and not read yet.
        let claimed = intents
            .values()
            .filter(|i| i.state == IntentState::Sent && i.order_id.is_some() && !i.adopted)
            .map(|i| i.id.clone())
            .collect();
        let is_open = |state| matches!(state, IntentState::Sent | IntentState::Unknown);
        let mut engine = Self {
            policy,
            now: Millis::default(),
            late: unswept(&loaded.chain, &loaded.fills),
            pending: loaded.pending.into_iter().map(|pending| (pending.id, pending)).collect(),
            evidence: loaded.chain.evidence.into_iter().collect(),
            evidence_lost: 0,
            told: BTreeMap::new(),
            cursor: loaded.chain.cursor,
            window: loaded.chain.window,
            fills: loaded.fills.into_iter().map(|state| (state.fill.id, state)).collect(),
            passed_over: backlog::by_transaction(loaded.passed_over),
            tokens: loaded.chain.tokens.into_iter().map(|fact| (fact.address, fact)).collect(),
            fills_total: loaded.fills_total,
            reversals_total: loaded.reversals_total,
            dead_total: loaded.dead_total,
            dropped_sweeps: 0,
            dead: BTreeSet::new(),
            head: 0,
            reach: None,
            half_read: false,
            stands_twice: false,
            positions,
            waiting: BTreeMap::new(),
            unhedged: Unhedged::default(),
            live: intents.values().filter(|i| i.state.is_live()).map(|i| i.id.clone()).collect(),
            orders: intents
                .values()
                .filter_map(|i| i.order_id.clone().map(|order| (order, i.id.clone())))
                .collect(),
            unasked: intents.values().filter(|i| is_open(i.state)).map(|i| i.id.clone()).collect(),
            intents,
            sequence: 0,
            in_flight: None,
            resends: BTreeMap::new(),
            failures: loaded
                .failures
                .into_iter()
                .map(|(symbol, count, ended)| {
                    (symbol, Failures { count, pause: Pause { since: ended, ms: order_lifecycle::pause_ms(count) } })
                })
                .collect(),
            halts: loaded.halts.into_iter().map(|(symbol, kind, why)| ((symbol, kind), why)).collect(),
            rests: BTreeMap::new(),
            compared: false,
            compared_at: loaded.compared_at,
            first_compared_at: loaded.first_compared_at,
            entered: BTreeMap::new(),
            forgotten: loaded.compared_at.map(|compared| compared.plus(-order_lifecycle::ENDED_KEPT_MS)),
            strangers: BTreeMap::new(),
            searches: BTreeMap::new(),
            told_of_similar: BTreeSet::new(),
            claimed,
            settled_by_hand: BTreeSet::new(),
            learnt_tag: loaded.tag,
            listed: Vec::new(),
            listed_at: None,
            listed_whole: false,
            list_since: Millis::default(),
            reading: None,
            booked_since: Vec::new(),
            moved: BTreeMap::new(),
            account: loaded.account_sums.into_iter().collect(),
            baselines: loaded.baselines.into_iter().collect(),
            drifting: BTreeMap::new(),
            begun: loaded.begun,
            quotes: BTreeMap::new(),
            quoted_at: None,
            recent: loaded
                .recent
                .into_iter()
                .filter(|(.., cash, _)| *cash >= Cash::whole(1))
                .map(|(id, symbol, at, cash, shares)| (id, market::Traded { symbol, at, cash, shares }))
                .collect(),
            far_since: BTreeMap::new(),
            clock_ahead_ms: None,
            session: None,
            must_read: None,
            questions: 0,
            not_sent: 0,
            gate: None,
            refused: BTreeMap::new(),
            bar: None,
            listed_number: 0,
            failing: BTreeMap::new(),
            broker_answers: None,
            asked_orders: BTreeMap::new(),
            asked_list: None,
            asked_session: None,
            asked_positions: None,
            asked_quotes: None,
            quoted_of: BTreeSet::new(),
            alerted: BTreeSet::new(),
            untold: BTreeMap::new(),
            stopping: false,
        };
        engine.stands_twice = engine.something_stands_twice();
        engine
    }

    /// Folds a batch, then decides once. On an error nothing of the batch may be committed and the process must end:
    /// the state is then not the ledger's any more.
    ///
    /// # Errors
    /// [`Stop`], with its exit code.
    pub fn step(&mut self, now: Millis, inputs: impl IntoIterator<Item = Input>) -> Result<Out, Stop> {
        self.now = now;
        let mut out = Out::default();
        for input in inputs {
            self.take(input, &mut out)?;
        }
        if !self.stopping {
            self.ask_about_skipped(&mut out);
            self.ask(&mut out)?;
            self.decide(&mut out)?;
        }
        self.watch_unhedged(&mut out);
        self.check(&out)?;
        Ok(out)
    }

    fn take(&mut self, input: Input, out: &mut Out) -> Result<(), Stop> {
        match input {
            Input::Connected { head } => self.connected(head),
            Input::Push(push) => self.push(push, out)?,
            Input::Sweep(sweep) => self.sweep(sweep, out)?,
            Input::AskedAgain(push) => self.asked_again(push, out)?,
            Input::Replay { push, known, reply } => self.replay(push, known, reply, out)?,
            Input::Placed { intent, outcome } => self.placed(&intent, outcome, out)?,
            Input::Order { intent, id, answer } => self.order(&intent, &id, answer, out)?,
            Input::Found { intent, answer } => self.found(&intent, answer, out)?,
            Input::List { begun_at, answer } => self.list(begun_at, answer, out)?,
            Input::Session(answer) => self.session(answer, out),
            Input::Positions { begun_at, answer } => self.read_positions(begun_at, answer, out)?,
            Input::Quotes { begun_at, answer } => self.read_quotes(begun_at, answer),
            Input::Clock { ahead_ms } => self.clock_ahead_ms = Some(ahead_ms),
            Input::Tick => {
                self.prune();
                self.prune_traded();
            }
            Input::Stop => self.stopping = true,
            Input::Command(command, reply) => self.command(command, reply, out)?,
        }
        Ok(())
    }

    /// What must hold on the way out, in production too: a wrong ledger is worse than a stopped bot.
    fn check(&self, out: &Out) -> Result<(), Stop> {
        let places = out.effects.iter().filter(|effect| matches!(effect, Effect::Place(_))).count();
        if places > 1 {
            return Err(Stop::Bug(format!("{places} orders in one step; at most one may be on its way")));
        }
        for effect in &out.effects {
            let Effect::Place(ticket) = effect else { continue };
            let durable = out.writes.iter().any(|write| match write {
                Write::Intent(intent) | Write::Transition { intent, .. } => {
                    intent.id == ticket.intent
                        && intent.state == IntentState::Sent
                        && intent.quantity == ticket.quantity
                        && intent.side == ticket.side
                }
                _ => false,
            });
            if !durable || self.in_flight.as_ref() != Some(&ticket.intent) {
                return Err(Stop::Bug(format!("intent {} would leave without its row", ticket.intent)));
            }
        }
        Ok(())
    }

    fn halt(&mut self, symbol: Option<Symbol>, kind: HaltKind, reason: String, who: String, out: &mut Out) {
        let scope = (symbol.clone(), kind);
        if self.halts.contains_key(&scope) {
            return;
        }
        let whom = symbol.as_ref().map_or("all tickers".to_owned(), ToString::to_string);
        out.effects.push(Effect::Alert(format!("{whom} halted ({}): {reason}", kind.as_str())));
        self.halts.insert(scope, reason.clone());
        out.writes.push(Write::Halt { symbol, kind, reason, who });
    }

    /// Whether `interval_ms` have passed since `earlier`. A clock that went back makes everything due: asking once too
    /// often is harmless, never asking again is not.
    const fn due(&self, earlier: Millis, interval_ms: i64) -> bool {
        Pause { since: earlier, ms: interval_ms }.over(self.now)
    }

    fn ticket(intent: &Intent, short: bool) -> Ticket {
        Ticket {
            intent: intent.id.clone(),
            symbol: intent.symbol.clone(),
            side: intent.side,
            quantity: intent.quantity,
            reference: intent.reference,
            short,
        }
    }

    /// Whether an order call is still without its answer; a stop waits for it, bounded.
    #[must_use]
    pub const fn awaits_answer(&self) -> bool {
        self.in_flight.is_some()
    }

    /// What the chain side may know of the ledger; valid once the step that led to it is committed.
    #[must_use]
    pub fn view(&self) -> ChainView {
        let floor = self.window.first().map_or(0, |block| block.number);
        ChainView {
            cursor: self.cursor,
            window: self.window.clone(),
            standing: self
                .fills
                .values()
                .filter(|state| state.standing && state.fill.block_number > floor)
                .map(|state| (state.fill.block_number, state.fill.id))
                .collect(),
            late_from: self
                .late
                .first()
                .map(|(number, _)| *number)
                .into_iter()
                .chain(self.late_evidence())
                .min(),
            evidence: self.to_settle(floor),
            pending: self.pending_logs(),
            tokens: self.tokens.values().cloned().collect(),
            dropped_sweeps: self.dropped_sweeps,
        }
    }

    /// What a restart must find again.
    #[must_use]
    pub fn durable(&self) -> Durable {
        let moved = |(_, position): &(&Symbol, &Position)| {
            !position.fills.is_zero() || !position.executions.is_zero()
        };
        Durable {
            // Which fills the sweep must look for again: after a start, all that it could still find.
            view: ChainView {
                late_from: None,
                dropped_sweeps: 0,
                evidence: self.evidence.iter().copied().collect(),
                ..self.view()
            },
            fills: self.fills.values().cloned().collect(),
            totals: (self.fills_total, self.reversals_total, self.dead_total),
            positions: self
                .positions
                .iter()
                .filter(moved)
                .map(|(symbol, position)| (symbol.clone(), position.fills, position.executions))
                .collect(),
            live: self.live.iter().filter_map(|id| self.intents.get(id)).cloned().collect(),
            halts: self
                .halts
                .iter()
                .map(|((symbol, kind), why)| (symbol.clone(), *kind, why.clone()))
                .collect(),
            failures: self.failures.iter().map(|(symbol, failed)| (symbol.clone(), failed.count)).collect(),
            account: self
                .account
                .keys()
                .chain(self.baselines.keys())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .map(|symbol| {
                    let moved = self.account.get(symbol).copied().unwrap_or_default();
                    (symbol.clone(), self.baselines.get(symbol).copied(), moved)
                })
                .collect(),
            tag: self.learnt_tag.clone(),
            begun: self.begun,
            passed_over: self
                .passed_over
                .values()
                .flatten()
                .map(|(trade, ignored)| (trade.id, *ignored))
                .collect(),
        }
    }

    /// What health, metrics and `bot status` may know.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let tickers = self
            .positions
            .iter()
            .map(|(symbol, position)| (symbol, position, self.shown_wait(symbol)))
            .map(|(symbol, position, wait)| TickerFacts {
                symbol: symbol.clone(),
                exposure: position.exposure().unwrap_or_default(),
                live: self
                    .live
                    .iter()
                    .filter_map(|id| self.intents.get(id))
                    .find(|intent| intent.symbol == *symbol)
                    .map(|intent| (intent.id.clone(), intent.state, intent.changed_at)),
                unhedged_since: self.unhedged.since(symbol),
                overdue: self.unhedged.overdue(symbol, self.now, self.policy.unhedged_alert_ms),
                waiting: wait.as_ref().map(|wait| wait.why.clone()),
                remedy: wait.and_then(|wait| wait.remedy),
            })
            .collect();
        let waiting = self.not_deciding();
        Facts {
            at: self.now,
            deciding: waiting.is_empty(),
            waiting,
            cursor: self.cursor,
            fills_total: self.fills_total,
            reversals_total: self.reversals_total,
            dead_total: self.dead_total,
            tickers,
            halts: self
                .halts
                .iter()
                .map(|((symbol, kind), why)| (symbol.clone(), *kind, why.clone()))
                .collect(),
            gate: self.gate_closed().or_else(|| self.bar_words()),
            broker_answers: self.broker_answers,
            session: self.session.clone(),
            pending: self.pending_told(),
            unsettled: self.unsettled_intents(),
        }
    }
}
