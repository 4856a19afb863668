//! The desk: two threads that speak to the broker.
//!
//! One sends orders, one POST at a time; the other reads, so that a slow POST stops neither status nor session. Every
//! order and every question is answered exactly once, with an input. Calls block here, never on tokio.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use super::Exit;
use crate::broker::{Broker, ReadError, Ticket, answers};
use crate::crash::{self, Point};
use crate::engine::{Input, Question};
use crate::serve::metrics;
use crate::units::Millis;

/// The engine lets one order be on its way.
const TICKETS_MAX: usize = 1;
/// The engine asks each question once at a time: one per live intent, one list, one session, positions and quotes.
const QUESTIONS_MAX: usize = 4_096;

/// The line's end of both threads.
pub(super) struct Desk {
    tickets: SyncSender<Ticket>,
    questions: SyncSender<Question>,
    threads: [JoinHandle<()>; 2],
}

impl Desk {
    /// Starts both threads; they end when the desk or the inputs' receiver is dropped. The first order waits for the
    /// clearance.
    pub(super) fn open(
        broker: &Arc<dyn Broker>,
        inputs: &mpsc::Sender<Input>,
        clearance: Receiver<()>,
    ) -> std::io::Result<Self> {
        let (tickets, ordered) = sync_channel(TICKETS_MAX);
        let (questions, asked) = sync_channel(QUESTIONS_MAX);
        let (orders, reads) = (Arc::clone(broker), Arc::clone(broker));
        let (placed, answered) = (inputs.clone(), inputs.clone());
        let named = |name: &str| thread::Builder::new().name(name.into());
        let threads = [
            named("orders").spawn(move || place_all(&*orders, &ordered, &clearance, &placed))?,
            named("reads").spawn(move || answer_all(&*reads, &asked, &answered))?,
        ];
        Ok(Self { tickets, questions, threads })
    }

    /// A thread that died holds an order or a question that nobody will ever answer: the process must end, so that the
    /// next one asks.
    pub(super) fn must_be_whole(&self) -> Result<(), Exit> {
        match self.threads.iter().find(|thread| thread.is_finished()) {
            Some(dead) => {
                Err(Exit::bug(&format!("the {} thread ended", dead.thread().name().unwrap_or("broker"))))
            }
            None => Ok(()),
        }
    }

    pub(super) fn place(&self, ticket: Ticket) -> Result<(), Exit> {
        self.tickets.try_send(ticket).map_err(|error| gone("orders", &error))
    }

    pub(super) fn ask(&self, question: Question) -> Result<(), Exit> {
        self.questions.try_send(question).map_err(|error| gone("reads", &error))
    }
}

fn gone<T>(thread: &str, error: &TrySendError<T>) -> Exit {
    match error {
        TrySendError::Full(_) => Exit::bug(&format!("the {thread} thread has more to do than can exist")),
        TrySendError::Disconnected(_) => Exit::bug(&format!("the {thread} thread ended")),
    }
}

fn place_all(
    broker: &dyn Broker,
    tickets: &Receiver<Ticket>,
    clearance: &Receiver<()>,
    inputs: &mpsc::Sender<Input>,
) {
    let mut cleared = false;
    for ticket in tickets {
        cleared = cleared || clearance.recv().is_ok();
        if !cleared {
            // The ledger is damaged, and the bot about to end: the intent stays `Sent`, and no byte of it left.
            continue;
        }
        crash::point(Point::PlaceBefore);
        let outcome = broker.place(&ticket, Millis::now());
        crash::point(Point::PlaceAfter);
        metrics::record_placed(&outcome);
        if inputs.blocking_send(Input::Placed { intent: ticket.intent, outcome }).is_err() {
            return;
        }
    }
}

fn answer_all(broker: &dyn Broker, questions: &Receiver<Question>, inputs: &mpsc::Sender<Input>) {
    let mut failing: BTreeMap<&'static str, String> = BTreeMap::new();
    for question in questions {
        crash::point(before(&question));
        let past = after(&question);
        let inputs_of_it = answers(broker, question, Millis::now());
        crash::point(past);
        for input in inputs_of_it {
            if let Some((what, why)) = answered(&input) {
                metrics::record_read(why.is_none());
                say_once(&mut failing, what, why);
            }
            if inputs.blocking_send(input).is_err() {
                return;
            }
        }
    }
}

const fn before(question: &Question) -> Point {
    match question {
        Question::Order { .. } => Point::OrderBefore,
        Question::Find { .. } => Point::FindBefore,
        Question::List { .. } => Point::ListBefore,
        Question::Session => Point::SessionBefore,
        Question::Positions => Point::PositionsBefore,
        Question::Quotes { .. } => Point::QuotesBefore,
    }
}

const fn after(question: &Question) -> Point {
    match question {
        Question::Order { .. } => Point::OrderAfter,
        Question::Find { .. } => Point::FindAfter,
        Question::List { .. } => Point::ListAfter,
        Question::Session => Point::SessionAfter,
        Question::Positions => Point::PositionsAfter,
        Question::Quotes { .. } => Point::QuotesAfter,
    }
}

/// What was asked for, and why it was not answered, if so; none for what is no answer of the broker's.
fn answered(input: &Input) -> Option<(&'static str, Option<&str>)> {
    fn why<T>(answer: &Result<T, ReadError>) -> Option<&str> {
        answer.as_ref().err().map(|error| error.0.as_str())
    }
    Some(match input {
        Input::Order { answer, .. } | Input::Found { answer, .. } => ("an order", why(answer)),
        Input::List { answer, .. } => ("the list of orders", why(answer)),
        Input::Session(answer) => ("the session", why(answer)),
        Input::Positions { answer, .. } => ("the positions", why(answer)),
        Input::Quotes { answer, .. } => ("the quotes", why(answer)),
        _ => return None,
    })
}

/// Logs why a read failed, once as long as the words stay, and that it works again.
fn say_once(failing: &mut BTreeMap<&'static str, String>, what: &'static str, why: Option<&str>) {
    match why {
        Some(why) if failing.get(what).is_some_and(|told| told == why) => {}
        Some(why) => {
            log::warn!("the broker does not tell {what}: {why}");
            failing.insert(what, why.to_owned());
        }
        None if failing.remove(what).is_some() => log::info!("the broker tells {what} again"),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{BrokerOrder, Placed, Profile, Quote, Session};
    use crate::units::{IntentId, OrderId, Shares, Side, Symbol};

    /// Takes orders, and is asked nothing.
    struct Yes;

    impl Broker for Yes {
        fn profile(&self) -> &Profile {
            unreachable!()
        }
        fn place(&self, _: &Ticket, _: Millis) -> Placed {
            Placed::Accepted("1".parse().unwrap())
        }
        fn order(&self, _: &OrderId, _: Millis) -> Result<Option<BrokerOrder>, ReadError> {
            unreachable!()
        }
        fn find(&self, _: &IntentId, _: Millis) -> Result<Option<BrokerOrder>, ReadError> {
            unreachable!()
        }
        fn list(&self, _: Millis, _: Millis) -> Result<Vec<BrokerOrder>, ReadError> {
            unreachable!()
        }
        fn positions(&self, _: Millis) -> Result<Vec<(Symbol, Shares)>, ReadError> {
            unreachable!()
        }
        fn session(&self, _: Millis) -> Result<Session, ReadError> {
            unreachable!()
        }
        fn quotes(&self, _: &[Symbol], _: Millis) -> Result<Vec<Quote>, ReadError> {
            unreachable!()
        }
    }

    #[test]
    fn no_order_leaves_a_ledger_that_was_not_checked() {
        for checked in [true, false] {
            let (clear, clearance) = std::sync::mpsc::channel();
            if checked {
                clear.send(()).unwrap();
            }
            drop(clear);
            let (tickets, ordered) = sync_channel(TICKETS_MAX);
            let (inputs, mut answers) = mpsc::channel(8);
            let ticket = Ticket {
                intent: "cf-0".parse().unwrap(),
                symbol: "TSLA".parse().unwrap(),
                side: Side::Buy,
                quantity: Shares::whole(1),
                reference: None,
                short: false,
            };
            tickets.send(ticket).unwrap();
            drop(tickets);
            place_all(&Yes, &ordered, &clearance, &inputs);
            assert_eq!(answers.try_recv().is_ok(), checked);
        }
    }
}
