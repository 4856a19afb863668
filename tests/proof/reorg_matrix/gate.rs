//! The broker of the reorg matrix: the paper broker, whose clock can stand still and whose answer can be kept back.
//!
//! It decides nothing and invents nothing: what is in the book is the paper broker's doing. While its clock stands
//! still no order trades, so that one stays `Working` for as long as a cell needs it; while an answer is kept back the
//! order is `Sent`. The book's file is the truth that the verdict reads.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard};

use counterfill::broker::paper::{PaperBroker, PaperOptions};
use counterfill::broker::{Broker, BrokerOrder, Placed, Profile, Quote, ReadError, Session, Ticket};
use counterfill::units::{IntentId, Millis, OrderId, Shares, Symbol};

/// Where an order call is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// On its way there: the broker does not have the order yet.
    BeforeArrival,
    /// On its way back: the broker has it, and the bot does not know.
    BeforeAnswer,
}

#[derive(Debug, Default)]
struct State {
    /// The clock stands here.
    frozen: Option<Millis>,
    hold: Option<Hold>,
    /// An order call is being kept.
    holds: bool,
    /// What is kept never arrives: the process that sent it is gone.
    lost: bool,
}

pub struct Gate {
    paper: PaperBroker,
    state: Mutex<State>,
    changed: Condvar,
}

impl Gate {
    pub fn open(book: &Path) -> Self {
        let paper = PaperBroker::open(book, PaperOptions::default(), Millis::now()).unwrap();
        Self { paper, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on nothing trades.
    pub fn freeze(&self) {
        self.state().frozen = Some(Millis::now());
    }

    /// The next order calls are kept.
    pub fn hold(&self, hold: Hold) {
        self.state().hold = Some(hold);
    }

    /// Whether one is.
    pub fn holds(&self) -> bool {
        self.state().holds
    }

    /// The clock goes on, and what was kept goes on its way; lost where its sender has ended meanwhile.
    pub fn release(&self, sender_lives: bool) {
        let mut state = self.state();
        (state.frozen, state.hold, state.lost) = (None, None, !sender_lives);
        self.changed.notify_all();
        while state.holds {
            state = self.changed.wait(state).unwrap();
        }
        state.lost = false;
    }

    fn clock(&self, now: Millis) -> Millis {
        self.state().frozen.unwrap_or(now)
    }

    /// Waits for the release; whether the sender still lives.
    fn keep(&self) -> bool {
        let mut state = self.state();
        state.holds = true;
        while state.hold.is_some() {
            state = self.changed.wait(state).unwrap();
        }
        state.holds = false;
        self.changed.notify_all();
        !state.lost
    }
}

impl Broker for Gate {
    fn profile(&self) -> &Profile {
        self.paper.profile()
    }

    fn place(&self, ticket: &Ticket, now: Millis) -> Placed {
        let hold = self.state().hold;
        if hold == Some(Hold::BeforeArrival) && !self.keep() {
            return Placed::Unknown("nobody is left to be told".into());
        }
        let placed = self.paper.place(ticket, self.clock(now));
        if hold == Some(Hold::BeforeAnswer) {
            self.keep();
        }
        placed
    }

    fn order(&self, id: &OrderId, now: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        self.paper.order(id, self.clock(now))
    }

    fn find(&self, intent: &IntentId, now: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        self.paper.find(intent, self.clock(now))
    }

    fn list(&self, since: Millis, now: Millis) -> Result<Vec<BrokerOrder>, ReadError> {
        self.paper.list(since, self.clock(now))
    }

    fn positions(&self, now: Millis) -> Result<Vec<(Symbol, Shares)>, ReadError> {
        self.paper.positions(self.clock(now))
    }

    fn quotes(&self, symbols: &[Symbol], now: Millis) -> Result<Vec<Quote>, ReadError> {
        self.paper.quotes(symbols, self.clock(now))
    }

    fn session(&self, now: Millis) -> Result<Session, ReadError> {
        self.paper.session(self.clock(now))
    }
}
