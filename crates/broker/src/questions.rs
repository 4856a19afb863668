//! The engine's questions, put to whichever broker it is. Both the running bot and the trials ask through here, so that
//! what comes back comes in one order.

use counterfill_core::engine::{Input, Question};

use crate::Broker;
use crate::units::Millis;

/// Asks the broker one question, which begins at `now`. The answer is the last of what comes back; before it comes what
/// it tells of the broker's clock, for times in the answer are that clock's.
#[must_use]
pub fn answers(broker: &dyn Broker, question: Question, now: Millis) -> Vec<Input> {
    let answer = match question {
        Question::Order { intent, id } => {
            let answer = broker.order(&id, now);
            Input::Order { intent, id, answer }
        }
        Question::Find { intent } => {
            let answer = broker.find(&intent, now);
            Input::Found { intent, answer }
        }
        Question::List { since } => Input::List { begun_at: now, answer: broker.list(since, now) },
        Question::Session => Input::Session(broker.session(now)),
        Question::Positions => Input::Positions { begun_at: now, answer: broker.positions(now) },
        Question::Quotes { symbols } => Input::Quotes { begun_at: now, answer: broker.quotes(&symbols, now) },
    };
    let clock = broker.clock_ahead_ms().map(|ahead_ms| Input::Clock { ahead_ms });
    clock.into_iter().chain([answer]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{IntentId, OrderId, Shares, Symbol};
    use crate::{BrokerOrder, Placed, Profile, Quote, ReadError, Session, Ticket};

    /// Its clock goes on by a second at each read, and so does nobody else's.
    struct Hasty(std::sync::atomic::AtomicI64);

    impl Hasty {
        fn read<T>(&self, answer: T) -> Result<T, ReadError> {
            self.0.fetch_add(1_000, std::sync::atomic::Ordering::SeqCst);
            Ok(answer)
        }
    }

    impl Broker for Hasty {
        fn profile(&self) -> &Profile {
            unreachable!("no question of its profile")
        }
        fn place(&self, _: &Ticket, _: Millis) -> Placed {
            unreachable!("nothing is placed")
        }
        fn order(&self, _: &OrderId, _: Millis) -> Result<Option<BrokerOrder>, ReadError> {
            self.read(None)
        }
        fn find(&self, _: &IntentId, _: Millis) -> Result<Option<BrokerOrder>, ReadError> {
            self.read(None)
        }
        fn list(&self, _: Millis, _: Millis) -> Result<Vec<BrokerOrder>, ReadError> {
            self.read(Vec::new())
        }
        fn positions(&self, _: Millis) -> Result<Vec<(Symbol, Shares)>, ReadError> {
            self.read(Vec::new())
        }
        fn session(&self, _: Millis) -> Result<Session, ReadError> {
            self.read(Session::Open { until: None })
        }
        fn quotes(&self, _: &[Symbol], _: Millis) -> Result<Vec<Quote>, ReadError> {
            self.read(Vec::new())
        }
        fn clock_ahead_ms(&self) -> Option<i64> {
            Some(self.0.load(std::sync::atomic::Ordering::SeqCst))
        }
    }

    #[test]
    fn an_answer_comes_behind_the_clock_it_was_given_by() {
        let broker = Hasty(0.into());
        let intent: IntentId = "cf-0".parse().unwrap();
        let questions = [
            Question::Order { intent: intent.clone(), id: "1".parse().unwrap() },
            Question::Find { intent },
            Question::List { since: Millis(0) },
            Question::Session,
            Question::Positions,
            Question::Quotes { symbols: Vec::new() },
        ];
        for (n, question) in (1..).zip(questions) {
            let inputs = answers(&broker, question, Millis(0));
            let [Input::Clock { ahead_ms }, answer] = inputs.as_slice() else { panic!("{inputs:?}") };
            assert_eq!(*ahead_ms, n * 1_000);
            assert!(!matches!(answer, Input::Clock { .. }), "{answer:?}");
        }
    }
}
