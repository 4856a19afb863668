//! The bot's two ways to the broker: one order call and one question at a time, each a while under way.
//!
//! What the desk's threads do in the program's `run::desk` is here an event on the way there and one on the way back. Before an order
//! leaves, the checker looks at it.

use super::calendar;
use super::checker::{self, Fault, Given};
use super::order::ticker_of;
use super::world::{Event, World};
use counterfill_broker::{Broker, Placed, Ticket, answers};
use counterfill_core::units::{Millis, Side};

/// An answer that is later than the client's limit.
const LATE_ANSWER_MS: i64 = 8_000;

/// `MAX_ORDERS_PER_MINUTE` is of so long.
const MINUTE_MS: i64 = 60_000;

impl World {
    /// An order leaves: the checker looks at it first.
    pub(super) fn place(&mut self, ticket: Ticket) {
        self.trace.say(self.now, 43, || {
            format!("bot: order {} {} {} ({})", ticket.side, ticket.quantity, ticket.symbol, ticket.intent)
        });
        self.trace.mix_text(ticket.intent.as_str());
        let given = Given {
            intent: ticket.intent.to_string(),
            ticker: ticker_of(&ticket.symbol).unwrap_or(usize::MAX),
            buy: ticket.side == Side::Buy,
            atoms: ticket.quantity.atoms(),
        };
        self.must_be_open();
        self.must_be_within_limits(&ticket);
        let looked = match &self.reader {
            Some(reader) => {
                let mut book = self.broker.book();
                book.work();
                let look = || checker::may_leave(reader, &given, &book, &self.terms.venue);
                self.disk.aside(look).map_err(|error| error.to_string())
            }
            None => Err("the ledger is not open to it".to_owned()),
        };
        match looked {
            Ok(None) => {}
            Ok(Some(finding)) => self.find(finding.fault, finding.what),
            Err(why) => self.find(Fault::Unchecked, format!("{}: {why}", given.intent)),
        }
        let life = self.life();
        if let Some(process) = &mut self.process {
            process.placing = Some(ticket.clone());
        }
        let way_ms = self.way();
        self.soon(way_ms, Event::PostArrives(life, ticket));
    }

    pub(super) fn must_be_open(&mut self) {
        let skew_ms = self.broker.book().skew().abs();
        let tolerated_ms = skew_ms + self.bot_offset_ms.abs().min(32_000) + 3_000;
        let open = |moment: i64| calendar::session_at(moment).is_some();
        if !open(self.now) && !open(self.now - tolerated_ms) && !open(self.now + tolerated_ms) {
            self.find(Fault::OutsideSession, format!("an order leaves at {}", Millis(self.now)));
        }
    }

    /// An order counts for a minute from when it last left. The same order again is held back by no limit, and a ledger that
    /// was put back has forgotten some.
    fn must_be_within_limits(&mut self, ticket: &Ticket) {
        let now = self.bot_now().0;
        let again = self.left_at.insert(ticket.intent.clone(), now).is_some();
        let of_minute = self.left_at.values().filter(|at| (now - **at).abs() < MINUTE_MS).count();
        let too_many = |max: u32| u32::try_from(of_minute).map_or(true, |count| count > max);
        if self.terms.orders_per_minute_max.is_some_and(too_many) && !again && !self.restored {
            self.find(Fault::BeyondLimit, format!("{of_minute} orders in a minute"));
        }
        if self.terms.order_shares_max.is_some_and(|max| ticket.quantity > max) {
            self.find(Fault::BeyondLimit, format!("{} shares in an order", ticket.quantity));
        }
    }

    pub(super) fn way(&mut self) -> i64 {
        self.dice.between(1, self.terms.broker_way_ms)
    }

    pub(super) fn post_arrives(&mut self, life: u32, ticket: Ticket) {
        if life != self.life() {
            return;
        }
        let bot_now = self.bot_now();
        let outcome = self.broker.place(&ticket, bot_now);
        #[cfg(test)]
        let outcome = match outcome {
            Placed::Unknown(_) if super::sabotage::is(super::sabotage::Sabotage::RetryPost) => {
                self.broker.place(&ticket, bot_now)
            }
            outcome => outcome,
        };
        let late = matches!(&outcome, Placed::Unknown(why) if why == "no answer in time");
        let back_ms = if late { LATE_ANSWER_MS } else { self.way() };
        self.soon(back_ms, Event::PostAnswered(life, ticket, outcome));
    }

    pub(super) fn next_question(&mut self) {
        let begun_at = self.bot_now();
        let way_ms = self.way();
        let Some(process) = &mut self.process else { return };
        if process.asking || process.questions.is_empty() {
            return;
        }
        process.asking = true;
        let life = process.number;
        self.soon(way_ms, Event::ReadArrives(life, begun_at));
    }

    pub(super) fn read_arrives(&mut self, begun_at: Millis) {
        let way_ms = self.way();
        let Some(process) = &mut self.process else { return };
        let Some(question) = process.questions.pop_front() else { return };
        self.broker.book().work();
        let inputs = answers(&self.broker, question, begun_at);
        #[cfg(test)]
        let inputs = super::sabotage::heard(inputs);
        let life = process.number;
        self.trace.say(self.now, 45, || format!("broker: {inputs:?}"));
        self.soon(way_ms, Event::ReadAnswered(life, inputs));
    }
}
