//! The bot's way to the node: connecting, looking, hearing, and losing the connection.
//!
//! What `chain::link` does with sockets and timers is here a few events. It refuses to know what was read.

use super::process::{Process, Wish};
use super::world::{Event, World};
use counterfill_core::engine::Input;

/// A node without an answer for so long is given up, as after three pulses in `chain::live`.
const SILENCE_MS: i64 = 9_000;

impl World {
    pub(super) fn connect(&mut self) {
        let Some(process) = &mut self.process else { return };
        if !process.is_down() {
            return;
        }
        let life = process.number;
        self.node.slow(false);
        match self.node.connect(&self.market.addresses()) {
            Some(wire) => {
                process.connect(wire);
                self.silent_since = None;
                self.drive();
            }
            None => {
                self.struck.note("node: refuses a connection");
                let pause_ms = self.dice.between(250, 3_000);
                self.soon(pause_ms, Event::Connect(life));
            }
        }
    }

    pub(super) fn drive(&mut self) {
        let Some(process) = &mut self.process else { return };
        let wish = process.drive();
        let half_open = self.node.with(|world| world.faults.half_open);
        for number in self.node.fresh_calls() {
            if half_open {
                self.struck.note("node: answers are late");
                self.soon(10_000, Event::CallLate(number));
            } else {
                let ms = self.dice.between(20, 900);
                self.soon(ms, Event::CallDue(number));
            }
        }
        self.grant(wish);
    }

    pub(super) fn grant(&mut self, wish: Wish) {
        let Wish { inputs, look_in_ms, rests, lost, stop, fork, said } = wish;
        if let Some(said) = said {
            self.trace.say(self.now, 50, || format!("bot: the chain: {said}"));
        }
        let life = self.life();
        if fork {
            self.reorgs += 1;
        }
        for input in inputs {
            if matches!(input, Input::Connected { .. }) {
                self.reconnects += 1;
                if let Some(process) = &mut self.process {
                    (process.look_due, process.rests_until) = (None, 0);
                }
            }
            self.input(input);
        }
        if let Some(stop) = stop {
            return self.ended(stop.exit_code(), &stop.to_string());
        }
        if lost {
            let wish = self.process.as_mut().map(Process::cut).unwrap_or_default();
            wish.inputs.into_iter().for_each(|input| self.input(input));
            let pause_ms = self.dice.between(125, 375);
            self.soon(pause_ms, Event::Connect(life));
            return;
        }
        if let Some(ms) = look_in_ms {
            if let Some(process) = self.process.as_mut().filter(|_| rests) {
                process.rests_until = self.now + ms;
            }
            self.look_in(ms);
        }
        // Rung during a look, it is answered when that is over, as `chain::sweep` does.
        if self.process.as_ref().is_some_and(|process| process.bell && process.may_look()) {
            self.look_in(5);
        }
    }

    /// A look begins in so long, or when one was to begin before that.
    pub(super) fn look_in(&mut self, ms: i64) {
        let Some(process) = &mut self.process else { return };
        let moment = (self.now + ms).max(process.rests_until);
        if process.look_due.is_none_or(|due| moment < due) {
            process.look_due = Some(moment);
            let life = process.number;
            self.at(moment, Event::Look(life));
        }
    }

    /// Whether a look is due now: of one that was put forward, the later moment comes to nothing.
    pub(super) fn look_is_due(&mut self) -> bool {
        let now = self.now;
        let due = self.process.as_mut().and_then(|process| process.look_due.take_if(|due| *due <= now));
        due.is_some()
    }

    /// Hands on what the node pushed.
    pub(super) fn pump(&mut self) {
        let frames = self.node.pushed();
        let Some(process) = self.process.as_mut().filter(|process| process.is_up()) else {
            return self.node.forget_pushes();
        };
        if frames.is_empty() {
            return;
        }
        for frame in &frames {
            match frame {
                Some(log) => process.hear(&log["params"]["result"]),
                None => process.bell = true,
            }
        }
        self.drive();
    }

    pub(super) fn cut(&mut self) {
        let life = self.life();
        let Some(process) = &mut self.process else { return };
        if process.is_down() {
            return;
        }
        self.struck.note("node: the connection is cut");
        let wish = process.cut();
        wish.inputs.into_iter().for_each(|input| self.input(input));
        self.soon(250, Event::Connect(life));
    }

    pub(super) fn pulse(&mut self) {
        let (head, silent) = self.node.with(|world| {
            (world.chain.tip().number.saturating_sub(world.faults.lagging_blocks), world.faults.half_open)
        });
        if silent {
            let since = *self.silent_since.get_or_insert(self.now);
            if self.now - since >= SILENCE_MS && self.process.as_ref().is_some_and(Process::is_up) {
                self.silent_since = None;
                self.cut();
            }
        } else if self.process.as_ref().is_some_and(Process::is_up) && head != self.seen_head {
            self.seen_head = head;
            self.look_in(0);
        }
        if self.calm_since.is_some() {
            self.look_for_rest();
        }
    }
}
