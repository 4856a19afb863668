//! How a bot of a trial lives: it starts, takes its turns, and ends, by itself or not.
//!
//! A death takes the memory and leaves the disk; bytes of an order that had left may still arrive. It refuses to know
//! what a turn decides.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use faulty_disk::Snapshot;

use super::checker::Fault;
use super::disk::{LEDGER, TrialDisk};
use super::market::CHAIN_ID;
use super::process::Process;
use super::schedule::{Death, DiskFault};
use super::world::{Event, World};
use counterfill_broker::Broker;
use counterfill_core::engine::{Effect, Engine, Input, Policy};
use counterfill_core::hedges::Limits;
use counterfill_core::units::Millis;
use counterfill_ledger::{Ledger, Stamp, Taken, Turn, Write};

/// One trial in so many gives birth to its ledger; the others find one that was born, which saves a tenth of the time.
const BIRTH_EVERY: u64 = 16;
/// So many orders are no limit.
const ORDERS_MAX: u32 = 1_000_000;
/// When that ledger was born: long ago.
const BORN: Millis = Millis(1_750_000_000_000);

thread_local! {
    /// A ledger without a row, by its broker's name.
    static NEWBORN: RefCell<BTreeMap<String, Snapshot>> = const { RefCell::new(BTreeMap::new()) };
}

impl World {
    /// Lays a ledger without a row on the disk, in most trials.
    pub(super) fn lay_ledger(&mut self) {
        if self.terms.seed.is_multiple_of(BIRTH_EVERY) {
            return;
        }
        let stamp = self.stamp();
        NEWBORN.with_borrow_mut(|newborn| {
            if let Some(copy) = newborn.get(&stamp.broker) {
                return self.disk.put_back(copy);
            }
            let disk = TrialDisk::new(0);
            let born = Ledger::open_on(&disk, Path::new(LEDGER), &stamp, BORN, &self.migrations);
            if born.and_then(Ledger::close).is_ok() {
                let copy = disk.copy();
                self.disk.put_back(&copy);
                newborn.insert(stamp.broker.clone(), copy);
            }
        });
    }

    fn stamp(&self) -> Stamp {
        let config = self.market.config();
        let profile = self.broker.profile();
        Stamp {
            chain_id: CHAIN_ID,
            orderbooks: config.orderbooks,
            owners: config.owners,
            broker: profile.name.to_owned(),
            account: profile.account.clone(),
            hedge_from_block: None,
            deployment_block: config.deployment_block,
        }
    }

    pub(super) fn policy(&mut self) -> Policy {
        let limits = Limits::default();
        let limits = Limits {
            max_order_shares: self.terms.order_shares_max.unwrap_or(limits.max_order_shares),
            max_orders_per_minute: self.terms.orders_per_minute_max.unwrap_or(ORDERS_MAX),
            max_orders_per_day: ORDERS_MAX,
            ..limits
        };
        #[cfg(test)]
        let limits = super::sabotage::limits(limits);
        Policy {
            confirmations: self.terms.confirmations,
            profile: self.broker.profile().clone(),
            limits,
            nonce: format!("{:012x}", self.dice.throw() & 0xffff_ffff_ffff),
            absent_after_ms: self.terms.absent_after_ms,
            max_price_deviation_bps: 500,
            unhedged_alert_ms: 60_000,
            live: false,
        }
    }

    pub(super) fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let now = self.bot_now();
        let opened = Ledger::open_on(&self.disk, Path::new(LEDGER), &self.stamp(), now, &self.migrations)
            .and_then(|ledger| ledger.load().map(|loaded| (ledger, loaded)));
        let (ledger, loaded) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.trace.say(self.now, 30, || format!("bot: can not start: {error}"));
                self.note_disk();
                if self.disk_has_struck() {
                    self.crash_disk(self.disk.is_off());
                    self.mend_disk();
                    self.soon(2_000, Event::Start);
                } else {
                    self.find(Fault::Ended, format!("the ledger can not be opened: {error}"));
                }
                return;
            }
        };
        self.lives += 1;
        let life = self.lives;
        let engine = Engine::new(self.policy(), loaded);
        self.trace.say(self.now, 31, || format!("bot: life {life} begins at {now}"));
        self.process = Some(Process::new(Turn { engine, ledger }, life, &self.ground));
        self.reader = self.disk.reader().ok();
        self.halts_seen.clear();
        self.unsettled_seen.clear();
        self.at(self.now, Event::Tick(life));
        self.at(self.now, Event::Connect(life));
    }

    /// Hands an input to the line.
    pub(super) fn input(&mut self, input: Input) {
        let batch_ms = self.dice.between(0, self.terms.batch_ms);
        let Some(process) = &mut self.process else { return };
        process.inbox.push(input);
        if !process.turn_due {
            process.turn_due = true;
            let life = process.number;
            self.soon(batch_ms, Event::Turn(life));
        }
    }

    pub(super) fn turn(&mut self) {
        let now = self.bot_now();
        let Some(process) = &mut self.process else { return };
        process.turn_due = false;
        let batch = std::mem::take(&mut process.inbox);
        let swept = batch.iter().any(|input| matches!(input, Input::Sweep(_)));
        if let Some((Death::InCommit(changes), true, _)) = self.kill {
            self.disk.power_off_after(changes);
        }
        #[cfg(test)]
        if super::sabotage::is(super::sabotage::Sabotage::CountBeforeCommit) {
            return self.turn_the_wrong_way_round(now, batch);
        }
        let mut writes: Vec<Write> = Vec::new();
        let taken = process.turn.take(now, batch, |write| writes.push(write.clone()));
        self.note_disk();
        for write in &writes {
            self.trace.say(self.now, 40, || format!("ledger: {write:?}"));
        }
        self.trace.mix(u64::try_from(writes.len()).unwrap_or(u64::MAX));
        match taken {
            Ok(Taken { effects, .. }) => {
                self.disk_struck = self.disk.struck();
                if swept {
                    if let Some(process) = &mut self.process {
                        process.swept();
                    }
                    self.look_in(0);
                }
                self.perform(effects);
                if let Some(process) = &mut self.process {
                    process.turn.ledger.move_long_log(false);
                }
            }
            Err(error) => self.ended(error.exit_code(), &error.to_string()),
        }
    }

    /// A bot that acts before it has written down that it will.
    #[cfg(test)]
    pub(super) fn turn_the_wrong_way_round(&mut self, now: Millis, batch: Vec<Input>) {
        let Some(process) = &mut self.process else { return };
        let swept = batch.iter().any(|input| matches!(input, Input::Sweep(_)));
        let out = process.turn.engine.step(now, batch).unwrap();
        self.perform(out.effects);
        let Some(process) = &mut self.process else { return };
        match process.turn.ledger.commit(now, &out.writes) {
            Ok(()) if swept => {
                process.swept();
                self.look_in(0);
            }
            Ok(()) => {}
            Err(error) => self.ended(error.exit_code(), &error.to_string()),
        }
    }

    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        let places = effects.iter().any(|effect| matches!(effect, Effect::Place(_)));
        match self.kill {
            Some((Death::CommittedNotSent, power, down_ms)) if places => {
                self.struck.note("process: dies after a commit");
                return self.die(power, down_ms);
            }
            Some((Death::InCommit(_), power, down_ms)) if self.disk.is_off() => {
                // The power went after the last change of a commit that had all it needed.
                return self.die(power, down_ms);
            }
            _ => {}
        }
        for effect in effects {
            match effect {
                Effect::Place(ticket) => {
                    self.place(ticket);
                    if let Some((Death::SentNotAnswered, power, down_ms)) = self.kill {
                        self.struck.note("process: dies with an order on its way");
                        return self.die(power, down_ms);
                    }
                }
                Effect::Ask(question) => {
                    if let Some(process) = &mut self.process {
                        process.questions.push_back(question);
                    }
                    self.next_question();
                }
                Effect::Sweep => {
                    if let Some(process) = &mut self.process {
                        process.bell = true;
                    }
                    self.look_in(0);
                }
                Effect::Reply(number, answer) => {
                    self.trace.say(self.now, 41, || format!("operator: answer {number}: {answer:?}"));
                }
                Effect::Alert(text) => self.trace.say(self.now, 42, || format!("ALERT {text}")),
                Effect::Stop(stop) => return self.ended(stop.exit_code(), &stop.to_string()),
            }
        }
    }

    /// The process ended by itself.
    pub(super) fn ended(&mut self, code: u8, message: &str) {
        self.trace.say(self.now, 46, || format!("bot: ends with {code}: {message}"));
        self.note_disk();
        if self.disk_full {
            self.struck.note("disk: full");
        }
        if self.disk_has_struck() {
            let power = self.disk.is_off() || self.dice.chance(30);
            if self.disk.is_off() {
                self.struck.note("process: dies in a commit");
            }
            let down_ms = self.kill.map_or(500, |(_, _, down_ms)| down_ms);
            self.die(power, down_ms);
            self.mend_disk();
        } else {
            self.find(Fault::Ended, format!("exit {code}: {message}"));
        }
    }

    pub(super) fn disk_has_struck(&mut self) -> bool {
        let struck = self.disk.struck();
        let new = struck > self.disk_struck;
        self.disk_struck = struck;
        new || self.disk_full || self.disk.is_off()
    }

    /// Notes a fault of the disk when it has struck.
    pub(super) fn note_disk(&mut self) {
        let struck = self.disk.struck();
        if struck > self.disk_noted
            && let Some(name) = self.disk_fault
        {
            self.struck.note(name);
        }
        self.disk_noted = struck;
    }

    pub(super) fn mend_disk(&mut self) {
        self.disk.mend();
        self.disk_full = false;
    }

    pub(super) fn misbehave(&mut self, fault: DiskFault) {
        self.disk_full |= fault == DiskFault::Full;
        self.disk.misbehave(fault);
        self.disk_fault = Some(match fault {
            DiskFault::Write(_) => "disk: a write fails",
            DiskFault::Torn(_) => "disk: a write is torn",
            DiskFault::Sync(_) => "disk: a sync fails",
            DiskFault::LostSync(_) => "disk: a sync fails and loses",
            DiskFault::Read(_) => "disk: a read fails",
            DiskFault::Full => "disk: full",
            DiskFault::Busy(_) => "disk: a lock is busy",
        });
    }

    pub(super) fn crash_disk(&mut self, power: bool) {
        self.reader = None;
        self.disk.crash(power);
    }

    /// The process is gone. Bytes of an order that had left may still arrive.
    pub(super) fn die(&mut self, power: bool, down_ms: i64) {
        self.kill = None;
        let Some(process) = self.process.take() else { return };
        self.struck.note("process: dies");
        if power {
            self.struck.note("process: the power goes");
        }
        self.trace.say(self.now, 47, || format!("bot: life {} ends, power {power}", process.number));
        self.leave_behind(process.number);
        self.node.forget_pushes();
        drop(process);
        self.crash_disk(power);
        self.soon(down_ms, Event::Start);
    }

    /// An order that a process had on its way may arrive without it.
    fn leave_behind(&mut self, number: u32) {
        if let Some(key) = self.queue.iter().find_map(|(key, event)| {
            matches!(event, Event::PostArrives(life, _) if *life == number).then_some(*key)
        }) && let Some(Event::PostArrives(_, ticket)) = self.queue.remove(&key)
            && self.dice.chance(70)
        {
            self.broker.book().arrives_later(key.0, ticket);
        }
    }

    /// A person stops the process in order.
    pub(super) fn stop(&mut self, down_ms: i64) {
        let now = self.bot_now();
        let Some(process) = &mut self.process else { return };
        self.struck.note("process: stops and starts");
        let mut batch = std::mem::take(&mut process.inbox);
        batch.push(Input::Stop);
        let stopped = process.turn.take(now, batch, |_| {});
        if stopped.is_ok()
            && let Some(process) = self.process.take()
        {
            self.leave_behind(process.number);
            self.node.forget_pushes();
            self.reader = None;
            // A ledger that can not be closed is found as it lies.
            let _ = process.turn.ledger.close();
            self.soon(down_ms, Event::Start);
        } else {
            self.die(false, down_ms);
        }
    }
}
