//! The engine: one pure function, `step(inputs) → writes and effects`.
//!
//! No IO, no clock, no randomness: time and the start's nonce arrive from outside. The caller commits the writes of a
//! step in one transaction, and only then performs the effects; before the commit nothing happened, after it
//! everything will. `fold` answers the chain, `orders` answers the broker, `decide` looks at the whole once per step.
//!
//! Invariant: at most one intent is `Sent` with its bytes not yet out, and its row is durable before they are.

mod decide;
mod fold;
mod orders;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};

pub use types::{Command, Effect, Facts, Input, Out, Question, Stop, TickerFacts};

use crate::broker::{Profile, Session, Ticket};
use crate::chain::ChainView;
use crate::fills::TokenFact;
use crate::hedges::{HaltKind, Intent, IntentState, Limits};
use crate::ledger::{FillState, Loaded, Write};
use crate::positions::Position;
use crate::units::{BlockRef, FillId, IntentId, Millis, OrderId, Shares, Symbol};

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
    tokens: BTreeMap<Address, TokenFact>,
    fills_total: u64,
    reversals_total: u64,
    dead_total: u64,
    /// Logs not understood above the window's first block, so that a fork does not tell of them again.
    dead: BTreeSet<(u64, B256, u64)>,
    /// The highest head told since the start.
    head: u64,
    /// Deciding waits until the cursor is here; none before the first connection.
    reach: Option<u64>,

    positions: BTreeMap<Symbol, Position>,
    waiting: BTreeMap<Symbol, String>,
    /// Since when a lot or more is wanted without a live intent.
    unhedged: BTreeMap<Symbol, Millis>,

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
    /// Orders with our tag that nobody here knows, and when the list that first showed them began.
    strangers: BTreeMap<OrderId, Millis>,

    session: Option<Session>,
    /// After a failed or unclear order call nothing leaves until one read has succeeded.
    /// It must be one that was asked after the call went wrong: this is the last question before.
    must_read: Option<u64>,
    /// Questions asked since the start.
    questions: u64,
    /// Order calls in a row that provably never left.
    not_sent: u32,
    gate: Option<(Pause, String)>,
    broker_answers: Option<bool>,
    asked_orders: BTreeMap<IntentId, Asked>,
    asked_list: Option<Asked>,
    asked_session: Option<Asked>,
    alerted: BTreeSet<IntentId>,
    stopping: bool,
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
        for (symbol, cash, shares) in loaded.traded {
            positions.entry(symbol).or_default().traded(cash, shares);
        }
        let intents: BTreeMap<IntentId, Intent> =
            loaded.intents.into_iter().map(|intent| (intent.id.clone(), intent)).collect();
        let is_open = |state| matches!(state, IntentState::Sent | IntentState::Unknown);
        Self {
            policy,
            now: Millis::default(),
            cursor: loaded.chain.cursor,
            window: loaded.chain.window,
            fills: loaded.fills.into_iter().map(|state| (state.fill.id, state)).collect(),
            late: BTreeSet::new(),
            tokens: loaded.chain.tokens.into_iter().map(|fact| (fact.address, fact)).collect(),
            fills_total: loaded.fills_total,
            reversals_total: loaded.reversals_total,
            dead_total: loaded.dead_total,
            dead: BTreeSet::new(),
            head: 0,
            reach: None,
            positions,
            waiting: BTreeMap::new(),
            unhedged: BTreeMap::new(),
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
                    (symbol, Failures { count, pause: Pause { since: ended, ms: orders::pause_ms(count) } })
                })
                .collect(),
            halts: loaded.halts.into_iter().map(|(symbol, kind, why)| ((symbol, kind), why)).collect(),
            rests: BTreeMap::new(),
            compared: false,
            compared_at: loaded.compared_at,
            first_compared_at: loaded.first_compared_at,
            entered: BTreeMap::new(),
            forgotten: loaded.compared_at.map(|compared| compared.plus(-orders::ENDED_KEPT_MS)),
            strangers: BTreeMap::new(),
            session: None,
            must_read: None,
            questions: 0,
            not_sent: 0,
            gate: None,
            broker_answers: None,
            asked_orders: BTreeMap::new(),
            asked_list: None,
            asked_session: None,
            alerted: BTreeSet::new(),
            stopping: false,
        }
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
            self.ask(&mut out)?;
            self.decide(&mut out)?;
        }
        self.watch_unhedged();
        self.check(&out)?;
        Ok(out)
    }

    fn take(&mut self, input: Input, out: &mut Out) -> Result<(), Stop> {
        match input {
            Input::Connected { head } => self.connected(head),
            Input::Push(push) => self.push(push, out)?,
            Input::Sweep(sweep) => self.sweep(sweep, out)?,
            Input::Replay { push, known, reply } => self.replay(push, known, reply, out)?,
            Input::Placed { intent, outcome } => self.placed(&intent, outcome, out)?,
            Input::Order { intent, id, answer } => self.order(&intent, &id, answer, out)?,
            Input::Found { intent, answer } => self.found(&intent, answer, out)?,
            Input::List { begun_at, answer } => self.list(begun_at, answer, out)?,
            Input::Session(answer) => self.session(answer),
            Input::Tick => self.prune(),
            Input::Stop => self.stopping = true,
            Input::Command(command, reply) => self.command(command, reply, out),
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

    fn command(&mut self, command: Command, reply: u64, out: &mut Out) {
        let scope =
            |symbol: &Option<Symbol>| symbol.as_ref().map_or("all tickers".into(), ToString::to_string);
        let answer = match command {
            Command::Halt { symbol, reason, who } => {
                let told = format!("{} halted", scope(&symbol));
                self.halt(symbol, HaltKind::Operator, reason, who, out);
                Ok(told)
            }
            Command::Resume { symbol, kind, reason, who } => {
                let unsettled = symbol.as_ref().and_then(|symbol| self.unsettled(symbol));
                if let Some(intent) = unsettled {
                    Err(format!(
                        "{} has intent {} in {}; settle it first",
                        intent.symbol, intent.id, intent.state
                    ))
                } else if self.halts.remove(&(symbol.clone(), kind)).is_none() {
                    Err(format!(
                        "no `{}` halt of {} is in force; `bot status` lists halts",
                        kind.as_str(),
                        scope(&symbol)
                    ))
                } else {
                    let told = format!("{} resumed", scope(&symbol));
                    if let (HaltKind::Rejects, Some(symbol)) = (kind, &symbol) {
                        self.failures.remove(symbol);
                    }
                    out.writes.push(Write::Lift { symbol, kind, reason, who });
                    Ok(told)
                }
            }
        };
        out.effects.push(Effect::Reply(reply, answer));
    }

    /// The intent that keeps a ticker from being resumed. It holds its ticker whatever halts there are, so that lifting
    /// the global one resumes the others only. An `Unknown` one that the broker said it does not have holds nothing:
    /// it goes out again under its name, and only a resumed ticker lets it.
    fn unsettled<'a>(&'a self, symbol: &'a Symbol) -> Option<&'a Intent> {
        let ready = move |id: &IntentId| self.resends.get(id).is_some_and(|resend| resend.ready);
        self.live_of(symbol).find(move |intent| match intent.state {
            IntentState::Stuck => true,
            IntentState::Unknown => !(self.policy.profile.client_ids && ready(&intent.id)),
            _ => false,
        })
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

    fn ticket(intent: &Intent) -> Ticket {
        Ticket {
            intent: intent.id.clone(),
            symbol: intent.symbol.clone(),
            side: intent.side,
            quantity: intent.quantity,
            reference: intent.reference,
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
            late_from: self.late.first().map(|(number, _)| *number),
            tokens: self.tokens.values().cloned().collect(),
        }
    }

    /// What a restart must find again.
    #[must_use]
    pub fn durable(&self) -> Durable {
        let moved = |(_, position): &(&Symbol, &Position)| {
            !position.fills.is_zero() || !position.executions.is_zero()
        };
        Durable {
            view: self.view(),
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
        }
    }

    /// What health, metrics and `bot status` may know.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let tickers = self
            .positions
            .iter()
            .map(|(symbol, position)| TickerFacts {
                symbol: symbol.clone(),
                exposure: position.exposure().unwrap_or_default(),
                live: self
                    .live
                    .iter()
                    .filter_map(|id| self.intents.get(id))
                    .find(|intent| intent.symbol == *symbol)
                    .map(|intent| (intent.id.clone(), intent.state, intent.changed_at)),
                unhedged_since: self.unhedged.get(symbol).copied(),
                waiting: self.waiting.get(symbol).cloned(),
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
            gate: self.gate_closed(),
            broker_answers: self.broker_answers,
            session: self.session.clone(),
        }
    }
}
