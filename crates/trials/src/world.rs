//! A trial: one bot's life in a world that a seed decides, event by event.
//!
//! Everything that takes time is an event with its moment; between two of them nothing happens. The world carries bytes
//! and orders, lets clocks run, kills and starts the bot, and at the end brings everything to rest and calls the checker.
//! It refuses to judge what the bot decides.
//!
//! Invariant: the next event depends on the terms, the steps and the dice alone, never on the machine.

use std::collections::BTreeMap;
use std::sync::Arc;

use alloy::primitives::B256;
use faulty_disk::Snapshot;
use refinery::Migration;
use rusqlite::Connection;

use super::broker::TrialBroker;
use super::calendar;
use super::checker::{Fault, Finding, Judge, Rest};
use super::coverage::Struck;
use super::dice::Dice;
use super::disk::TrialDisk;
use super::market::{CHAIN_ID, Market};
use super::node::Node;
use super::order::ticker_of;
use super::process::Process;
use super::schedule::{Death, NodeFault, Step, TICKERS, Terms};
use super::trace::Trace;
use counterfill_broker::{Placed, Ticket};
use counterfill_chain::by_hand::Ground;
use counterfill_core::engine::Input;
use counterfill_core::hedges::{Halt, HaltKind, IntentState};
use counterfill_core::units::{BlockRef, IntentId, Millis, Symbol};
use counterfill_ledger::migrations;

/// The chain goes on by itself.
const HEARTBEAT_MS: i64 = 12_000;
/// And more slowly when nothing else happens.
const CALM_HEARTBEAT_MS: i64 = 30_000;
/// How often the bot asks for the head.
const PULSE_MS: i64 = 2_000;
/// The engine's clock when nothing goes wrong any more.
const CALM_TICK_MS: i64 = 2_000;
/// How deep below its highest block the chain forks at most: the bot's window is 64.
const FORK_BLOCKS_MAX: u64 = 60;
/// Rest that lasts so long is rest: another list of the broker's was read and changed nothing.
const REST_MS: i64 = 70_000;
/// A world that is calm for so long may leap: two lists of the broker's were read, ended orders among them.
const BEFORE_A_LEAP_MS: i64 = 130_000;
/// Rest must come within this time of a calm world.
const CALM_MS_MAX: i64 = 5_400_000;
/// More events than this are a storm.
const EVENTS_MAX: u64 = 400_000;

/// What is due at a moment.
#[derive(Debug)]
pub(super) enum Event {
    Step(usize),
    Start,
    Tick(u32),
    Turn(u32),
    Look(u32),
    Connect(u32),
    CallDue(u64),
    CallLate(u64),
    PostArrives(u32, Ticket),
    PostAnswered(u32, Ticket, Placed),
    ReadArrives(u32, Millis),
    ReadAnswered(u32, Vec<Input>),
    BrokerWorks,
    Heals(NodeFault),
    Operator,
    Pulse,
    Block,
}

impl Event {
    const fn figure(&self) -> u64 {
        match self {
            Self::Step(_) => 1,
            Self::Start => 2,
            Self::Tick(_) => 3,
            Self::Turn(_) => 4,
            Self::Look(_) => 5,
            Self::Connect(_) => 6,
            Self::CallDue(_) => 7,
            Self::CallLate(_) => 8,
            Self::PostArrives(..) => 9,
            Self::PostAnswered(..) => 10,
            Self::ReadArrives(..) => 11,
            Self::ReadAnswered(..) => 12,
            Self::BrokerWorks => 13,
            Self::Heals(_) => 14,
            Self::Operator => 15,
            Self::Pulse => 16,
            Self::Block => 17,
        }
    }
}

/// How a trial ended.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) findings: Vec<Finding>,
    pub(crate) rest: Rest,
    pub(crate) struck: Struck,
    /// Simulated milliseconds that somebody lived through; leaps over nights are not counted.
    pub(crate) lived_ms: i64,
    pub(crate) reorgs: u64,
    pub(crate) reconnects: u64,
    pub(crate) lives: u64,
    /// The same for the same seed and the same program.
    pub(crate) figure: u64,
    pub(crate) lines: Vec<String>,
}

/// The world.
pub(super) struct World {
    pub(super) terms: Terms,
    pub(super) steps: Vec<Step>,
    pub(super) now: i64,
    pub(super) leapt_ms: i64,
    pub(super) sequence: u64,
    pub(super) queue: BTreeMap<(i64, u64), Event>,
    pub(super) dice: Dice,
    pub(super) node: Node,
    pub(super) market: Market,
    pub(super) broker: TrialBroker,
    pub(super) disk: TrialDisk,
    pub(super) ground: Arc<Ground>,
    pub(super) migrations: Vec<Migration>,
    pub(super) process: Option<Process>,
    pub(super) lives: u32,
    pub(super) reader: Option<Connection>,
    pub(super) bot_offset_ms: i64,
    pub(super) bot_offset_ms_max: i64,
    pub(super) kill: Option<(Death, bool, i64)>,
    pub(super) backups: Vec<Snapshot>,
    pub(super) restored: bool,
    pub(super) left: Vec<B256>,
    pub(super) dropped: Vec<counterfill_sim::chain::Tx>,
    pub(super) highest: u64,
    pub(super) seen_head: u64,
    pub(super) silent_since: Option<i64>,
    pub(super) halts_seen: BTreeMap<(Option<Symbol>, HaltKind), i64>,
    pub(super) unsettled_seen: BTreeMap<String, i64>,
    pub(super) commands: u64,
    pub(super) calm_since: Option<i64>,
    pub(super) rest_since: Option<i64>,
    pub(super) work_due: Option<i64>,
    pub(super) left_at: BTreeMap<IntentId, i64>,
    pub(super) disk_struck: u64,
    pub(super) disk_full: bool,
    pub(super) disk_fault: Option<&'static str>,
    pub(super) disk_noted: u64,
    pub(super) findings: Vec<Finding>,
    pub(super) struck: Struck,
    pub(super) trace: Trace,
    pub(super) reorgs: u64,
    pub(super) reconnects: u64,
}

/// Lives a trial through.
pub(crate) fn live(terms: Terms, steps: Vec<Step>, keep_lines: bool) -> Outcome {
    World::new(terms, steps, keep_lines).run()
}

impl World {
    pub(super) fn new(terms: Terms, steps: Vec<Step>, keep_lines: bool) -> Self {
        let market = Market::new();
        let node = Node::new(market.chain(terms.seed, terms.begins_ms));
        let ground = Ground::new(market.config(), CHAIN_ID);
        let trace = Trace::new(keep_lines, terms.begins_ms);
        Self {
            now: terms.begins_ms,
            leapt_ms: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            dice: Dice::new(terms.seed, 3),
            node,
            market,
            broker: TrialBroker::new(&terms),
            disk: TrialDisk::new(terms.seed),
            ground,
            migrations: migrations().unwrap_or_default(),
            process: None,
            lives: 0,
            reader: None,
            bot_offset_ms: 0,
            bot_offset_ms_max: 0,
            kill: None,
            backups: Vec::new(),
            restored: false,
            left: Vec::new(),
            dropped: Vec::new(),
            highest: 0,
            seen_head: 0,
            silent_since: None,
            halts_seen: BTreeMap::new(),
            unsettled_seen: BTreeMap::new(),
            commands: 0,
            calm_since: None,
            rest_since: None,
            work_due: None,
            left_at: BTreeMap::new(),
            disk_struck: 0,
            disk_full: false,
            disk_fault: None,
            disk_noted: 0,
            findings: Vec::new(),
            struck: Struck::default(),
            trace,
            reorgs: 0,
            reconnects: 0,
            terms,
            steps,
        }
    }

    /// Lays everything out; nothing has happened yet.
    pub(super) fn begin(&mut self) {
        let begins = self.now;
        let season = self.terms.season;
        self.trace.say(begins, 1, || format!("it is {season}"));
        self.node.set_now(begins);
        self.node.with(|world| {
            world.chain.blooms = self.terms.blooms;
            world.gateway.become_provider(self.terms.provider);
        });
        self.mine(Vec::new());
        self.lay_ledger();
        for index in 0..self.steps.len() {
            let at_ms = self.steps.get(index).map_or(0, |step| step.at_ms);
            self.at(begins + at_ms, Event::Step(index));
        }
        self.at(begins, Event::Start);
        self.at(begins + self.terms.look_ms, Event::Operator);
        self.at(begins + PULSE_MS, Event::Pulse);
        self.at(begins + HEARTBEAT_MS, Event::Block);
    }

    /// Lets the next event happen; false where there is none.
    pub(super) fn go_on(&mut self) -> bool {
        let Some(((at, _), event)) = self.queue.pop_first() else { return false };
        self.now = self.now.max(at);
        self.broker.book().set_now(self.now);
        self.node.set_now(self.now);
        if self.calm_since.is_none() && self.now >= self.terms.begins_ms + self.terms.busy_ms {
            self.calm_down();
        }
        self.trace.mix(event.figure());
        self.trace.mix(self.now.unsigned_abs());
        self.happen(event);
        self.watch_broker();
        true
    }

    fn run(mut self) -> Outcome {
        self.begin();
        let mut events = 0_u64;
        while self.findings.is_empty() && self.go_on() {
            events += 1;
            let late = self.calm_since.is_some_and(|since| self.now - since > CALM_MS_MAX + self.leapt_ms);
            if self.rest_since.is_some_and(|since| self.now - since >= self.rest_ms()) && self.rests() {
                break;
            }
            if late || events > EVENTS_MAX {
                let what = self.unrest();
                self.find(Fault::NoRest, what);
            }
        }
        self.end()
    }

    /// Schedules an event.
    pub(super) fn at(&mut self, moment: i64, event: Event) {
        self.sequence += 1;
        self.queue.insert((moment, self.sequence), event);
    }

    pub(super) fn soon(&mut self, in_ms: i64, event: Event) {
        self.at(self.now + in_ms, event);
    }

    pub(super) fn find(&mut self, fault: Fault, what: impl Into<String>) {
        let finding = Finding::new(fault, what);
        self.trace.say(self.now, 99, || format!("FINDING {}: {}", finding.fault, finding.what));
        self.findings.push(finding);
    }

    /// What the bot's machine takes for now.
    pub(super) fn bot_now(&self) -> Millis {
        Millis(self.now + self.bot_offset_ms)
    }

    pub(super) fn life(&self) -> u32 {
        self.process.as_ref().map_or(0, |process| process.number)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Step(index) => self.step(index),
            Event::Start => self.start(),
            Event::Tick(life) if life == self.life() => {
                self.input(Input::Tick);
                let ms = if self.calm_since.is_some() { CALM_TICK_MS } else { self.terms.tick_ms };
                self.soon(ms, Event::Tick(life));
            }
            Event::Turn(life) if life == self.life() => self.turn(),
            Event::Look(life) if life == self.life() && self.look_is_due() => {
                let now = self.bot_now();
                if let Some(process) = &mut self.process {
                    let slow = self.node.with(|world| world.faults.slow_ms > 0);
                    self.node.slow(slow);
                    process.look(now);
                }
                self.drive();
            }
            Event::Connect(life) if life == self.life() => self.connect(),
            // A node that fell silent in the meantime answers nothing until the limit.
            Event::CallDue(number) if self.node.with(|world| world.faults.half_open) => {
                self.soon(10_000, Event::CallLate(number));
            }
            Event::CallDue(number) => {
                self.node.answer(number);
                self.drive();
            }
            Event::CallLate(number) => {
                self.node.too_late(number);
                self.drive();
            }
            Event::PostArrives(life, ticket) => self.post_arrives(life, ticket),
            Event::PostAnswered(life, ticket, outcome) if life == self.life() => {
                self.trace.say(self.now, 20, || format!("broker: {} → {outcome:?}", ticket.intent));
                if let Some(process) = &mut self.process {
                    process.placing = None;
                }
                self.input(Input::Placed { intent: ticket.intent, outcome });
            }
            Event::ReadArrives(life, begun_at) if life == self.life() => self.read_arrives(begun_at),
            Event::ReadAnswered(life, inputs) if life == self.life() => {
                if let Some(process) = &mut self.process {
                    process.asking = false;
                }
                inputs.into_iter().for_each(|input| self.input(input));
                self.next_question();
            }
            Event::BrokerWorks => {
                self.broker.book().work();
                self.work_due = None;
            }
            Event::Heals(fault) => self.heal(fault),
            Event::Operator => {
                self.operate();
                let ms = self.terms.look_ms;
                let jitter = self.dice.between(0, ms / 4);
                self.soon(ms + jitter, Event::Operator);
            }
            Event::Pulse => {
                self.pulse();
                self.soon(PULSE_MS, Event::Pulse);
            }
            Event::Block => {
                self.mine(Vec::new());
                let ms = if self.calm_since.is_some() { CALM_HEARTBEAT_MS } else { HEARTBEAT_MS };
                self.soon(ms, Event::Block);
            }
            _ => {}
        }
    }

    /// Mines and announces.
    pub(super) fn mine(&mut self, txs: Vec<counterfill_sim::chain::Tx>) -> BlockRef {
        let block = self.node.with(|world| {
            let block = world.chain.mine(txs);
            world.announce(&[], &[block]);
            block
        });
        self.highest = self.highest.max(block.number);
        self.pump();
        block
    }

    /// How deep the chain may fork now.
    pub(super) fn fork_room(&self) -> u64 {
        let tip = self.node.with(|world| world.chain.tip().number);
        FORK_BLOCKS_MAX.saturating_sub(self.highest.saturating_sub(tip))
    }

    // ---- to rest

    fn calm_down(&mut self) {
        self.trace.say(self.now, 60, || "the world calms down".into());
        self.calm_since = Some(self.now);
        self.kill = None;
        self.node.with(|world| world.faults = counterfill_sim::faults::Faults::default());
        self.node.slow(false);
        self.broker.book().calm_down();
        self.mend_disk();
        self.bot_offset_ms = 0;
        // A branch that came back shorter leaves fills standing above it until the chain has grown past their blocks.
        let enough = self.highest + self.terms.confirmations + 2;
        while self.mine(Vec::new()).number < enough {}
    }

    /// Whether nothing is left to do; over a night the world leaps.
    pub(super) fn look_for_rest(&mut self) {
        if self.rests() {
            self.rest_since.get_or_insert(self.now);
        } else {
            self.rest_since = None;
            if calendar::session_at(self.now).is_none()
                && let Some((opens, _)) = calendar::next_session(self.now)
                && self.calm_since.is_some_and(|since| self.now - since > BEFORE_A_LEAP_MS)
            {
                self.leapt_ms += opens + 1_000 - self.now;
                self.now = opens + 1_000;
                self.trace.say(self.now, 61, || "the world leaps to the next session".into());
            }
        }
    }

    fn rests(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let tip = self.node.with(|world| world.chain.tip());
        let facts = process.turn.engine.facts();
        let idle = facts.tickers.iter().all(|ticker| {
            let (left, venue) = (ticker.exposure.atoms(), &self.terms.venue);
            let held = || ticker_of(&ticker.symbol).map_or(0, |ticker| self.broker.book().held(ticker));
            match &ticker.live {
                None => left.abs() < venue.left_max() || venue.lacks_shares(left, held()),
                Some(live) => live.state == IntentState::Planned && venue.lacks_shares(left, held()),
            }
        });
        let swept = facts.cursor.is_some_and(|cursor| cursor.number + 1 >= tip.number);
        idle && swept
            && facts.deciding
            && facts.halts.is_empty()
            && process.placing.is_none()
            && self.broker.book().is_idle()
    }

    /// An order with our tag that nobody knows is somebody's after two lists more.
    fn rest_ms(&self) -> i64 {
        let strange = self.restored || self.broker.book().has_tagged_by_hand();
        if strange { 3 * REST_MS } else { REST_MS }
    }

    fn unrest(&self) -> String {
        let Some(process) = &self.process else { return "no bot runs".into() };
        let facts = process.turn.engine.facts();
        format!(
            "waiting {:?}, gate {:?}, halts {:?}, tickers {:?}",
            facts.waiting, facts.gate, facts.halts, facts.tickers
        )
    }

    /// Halts in force and since when the operator knows of them.
    pub(super) fn halts_seen(&mut self) -> Vec<(Option<Symbol>, HaltKind, i64)> {
        let Some(process) = &self.process else { return Vec::new() };
        let now = self.now;
        let halts = process.turn.engine.facts().halts;
        let mut seen = BTreeMap::new();
        for Halt { symbol, kind, .. } in halts {
            let since = self.halts_seen.get(&(symbol.clone(), kind)).copied().unwrap_or(now);
            seen.insert((symbol, kind), since);
        }
        self.halts_seen = seen;
        self.halts_seen.iter().map(|((symbol, kind), since)| (symbol.clone(), *kind, *since)).collect()
    }

    fn watch_broker(&mut self) {
        let due = self.broker.book().next_due();
        if due != self.work_due
            && let Some(at) = due
        {
            self.work_due = due;
            self.at(at.max(self.now), Event::BrokerWorks);
        }
    }

    fn end(mut self) -> Outcome {
        let mut rest = Rest::default();
        if self.findings.is_empty() {
            self.stop(0);
            match self.judge() {
                Ok((found, findings)) => {
                    rest = found;
                    for finding in findings {
                        self.find(finding.fault, finding.what);
                    }
                }
                Err(error) => self.find(Fault::Ended, format!("the ledger can not be read: {error}")),
            }
        }
        self.struck.add(self.broker.book().struck());
        self.note_provider();
        self.trace.mix(self.node.calls());
        self.trace.mix(self.broker.book().dice());
        self.trace.mix(self.dice.throw());
        Outcome {
            findings: self.findings,
            rest,
            struck: self.struck,
            lived_ms: self.now - self.terms.begins_ms - self.leapt_ms,
            reorgs: self.reorgs,
            reconnects: self.reconnects.saturating_sub(u64::from(self.lives)),
            lives: u64::from(self.lives),
            figure: self.trace.figure(),
            lines: self.trace.lines,
        }
    }

    /// What the node's provider did of itself is no step of the schedule.
    fn note_provider(&mut self) {
        let counters = self.node.with(|world| world.counters());
        for (times, name) in [
            (counters.beyond_the_plan, "node: a call beyond the plan"),
            (counters.logs_left_out, "node: its index is behind"),
            (counters.without_state, "node: its state is behind"),
        ] {
            if times > 0 {
                self.struck.note(name);
            }
        }
    }

    fn judge(&self) -> rusqlite::Result<(Rest, Vec<Finding>)> {
        let ledger = self.disk.reader()?;
        #[cfg(test)]
        let ledger = super::sabotage::tampered(&self.disk).unwrap_or(Ok(ledger))?;
        let book = self.broker.book();
        self.disk.aside(|| {
            self.node.with(|world| {
                let judge = Judge {
                    chain: &world.chain,
                    market: &self.market,
                    book: &book,
                    ledger: &ledger,
                    venue: &self.terms.venue,
                    restored: self.restored,
                };
                judge.verdict()
            })
        })
    }
}

/// A ticker by its index.
pub(super) fn symbol(ticker: usize) -> Option<Symbol> {
    TICKERS.get(ticker)?.parse().ok()
}
