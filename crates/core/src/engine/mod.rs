//! The engine: one pure function, `step(inputs) → writes and effects`.
//!
//! No IO, no clock, no randomness: time and the start's nonce arrive from outside. The caller commits the writes of a
//! step in one transaction, and only then performs the effects; before the commit nothing happened, after it
//! everything will. `ingest` answers the chain, `order_lifecycle` the broker, `decide` looks at the whole once per step.
//!
//! Invariant: at most one intent is `Sent` with its bytes not yet out, and its row is durable before they are.

mod account;
mod agenda;
mod attempts;
mod backlog;
mod book_check;
mod broker_book;
mod broker_link;
mod chain_state;
mod decide;
mod evidence;
mod exposure;
mod fill_book;
mod halts;
mod ingest;
mod limits;
mod market;
mod operator;
mod order_book;
mod order_lifecycle;
mod order_watch;
mod pending;
mod poller;
mod position_check;
mod questions;
mod reconcile;
mod refusals;
mod snapshot;
mod sums;
mod types;
mod unhedged;
mod wait;

pub use broker_link::CLOCKS_MS_MAX;
pub use snapshot::{HeldTicker, MovedTicker, RestartState};
pub use types::{
    Command, Effect, EngineSnapshot, Input, LiveIntent, Question, StepOutput, Stop, TickerSnapshot,
};

pub use crate::hedges::{Choice, Decision, Similar, Unsettled};

use crate::hedges::{Intent, IntentState, Limits};
use crate::ports::broker::{Profile, Ticket};
use crate::ports::records::{Loaded, Write};
use crate::units::Millis;
use account::Account;
use agenda::Agenda;
use attempts::Attempts;
use backlog::Backlog;
use broker_book::BrokerBook;
use broker_link::BrokerLink;
use chain_state::ChainState;
use evidence::Evidence;
use exposure::Exposure;
use fill_book::FillBook;
use halts::Halts;
use market::Market;
use order_book::OrderBook;
use order_watch::{OrderWatch, Resend};
use pending::Pending;
use reconcile::LostOrders;
use unhedged::Unhedged;
use wait::Waits;

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

/// The state. Everything in it follows from the ledger and from inputs since the start. Each part keeps its own fields and
/// the rules about them; what concerns more than one is told by the files that say `impl Engine`.
#[derive(Debug)]
pub struct Engine {
    policy: Policy,
    now: Millis,
    stopping: bool,
    /// Inputs that may have changed what the chain side is told.
    chain_inputs: u64,
    /// Orders were decided on real money before.
    begun: bool,

    chain: ChainState,
    fills: FillBook,
    evidence: Evidence,
    pending: Pending,
    backlog: Backlog,

    exposure: Exposure,
    orders: OrderBook,
    watch: OrderWatch,
    attempts: Attempts,
    lost: LostOrders,

    link: BrokerLink,
    book: BrokerBook,
    account: Account,
    market: Market,

    halts: Halts,
    agenda: Agenda,
    waits: Waits,
    unhedged: Unhedged,
}

impl Engine {
    /// From what the ledger holds. Nothing is decided yet.
    #[must_use]
    pub fn new(policy: Policy, mut loaded: Loaded) -> Self {
        let intents = &loaded.intents;
        // Claimed before the last stop, and not read yet.
        let claimed = intents
            .iter()
            .filter(|i| i.state == IntentState::Sent && i.order_id.is_some() && !i.adopted)
            .map(|i| i.id.clone())
            .collect();
        let open = intents.iter().filter(|i| matches!(i.state, IntentState::Sent | IntentState::Unknown));
        let watch = OrderWatch::new(open.map(|i| i.id.clone()).collect());
        let exposure = Exposure::new(policy.profile.lot, &mut loaded);
        let fills = FillBook::new(&loaded.chain, loaded.fills, loaded.fills_total, loaded.reversals_total);
        let evidence = Evidence::new(std::mem::take(&mut loaded.chain.evidence));
        let chain = ChainState::new(loaded.chain, loaded.dead_total, fills.something_stands_twice());
        let book = BrokerBook::new(
            policy.profile.tag.clone(),
            loaded.tag,
            claimed,
            loaded.compared_at,
            loaded.first_compared_at,
        );
        Self {
            now: Millis::default(),
            stopping: false,
            chain_inputs: 0,
            begun: loaded.begun,
            chain,
            fills,
            evidence,
            pending: Pending::new(loaded.pending),
            backlog: Backlog::new(loaded.passed_over),
            exposure,
            orders: OrderBook::new(policy.nonce.clone(), loaded.intents),
            watch,
            attempts: Attempts::new(loaded.failures),
            lost: LostOrders::default(),
            link: BrokerLink::default(),
            book,
            account: Account::new(loaded.account_sums, loaded.baselines),
            market: Market::new(loaded.recent),
            halts: Halts::new(loaded.halts),
            agenda: Agenda::default(),
            waits: Waits::default(),
            unhedged: Unhedged::default(),
            policy,
        }
    }

    /// Folds a batch, then decides once. On an error nothing of the batch may be committed and the process must end:
    /// the state is then not the ledger's any more.
    ///
    /// # Errors
    /// [`Stop`], with its exit code.
    pub fn step(&mut self, now: Millis, inputs: impl IntoIterator<Item = Input>) -> Result<StepOutput, Stop> {
        self.now = now;
        self.orders.move_to(now);
        let mut out = StepOutput::default();
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

    fn take(&mut self, input: Input, out: &mut StepOutput) -> Result<(), Stop> {
        self.chain_inputs += u64::from(input.is_of_the_chain());
        match input {
            Input::Connected { head } => self.chain.connected(head.number),
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
            Input::Clock { ahead_ms } => self.link.set_clock(ahead_ms),
            Input::Tick => {
                self.prune();
                self.market.prune(self.now);
                self.agenda.look_at_all();
            }
            Input::Stop => self.stopping = true,
            Input::Command(command, reply) => self.command(command, reply, out)?,
        }
        Ok(())
    }

    /// What must hold on the way out, in production too: a wrong ledger is worse than a stopped bot.
    fn check(&self, out: &StepOutput) -> Result<(), Stop> {
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
            if !durable || self.orders.in_flight() != Some(&ticket.intent) {
                return Err(Stop::Bug(format!("intent {} would leave without its row", ticket.intent)));
            }
        }
        Ok(())
    }

    /// What the parts say has changed goes on the agenda.
    fn note_changes(&mut self) {
        self.agenda.add(self.exposure.take_changed());
        self.agenda.add(self.orders.take_changed_tickers());
        // Each of them is asked: what one says must not be left for the next time.
        let changed = [self.halts.take_changed(), self.book.take_changed(), self.orders.take_unbound()];
        if changed.contains(&true) {
            self.agenda.look_at_all();
        }
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
        self.orders.in_flight().is_some()
    }
}
