//! A small Schwab: login, trader API and market data as far as a bot that hedges needs them.
//!
//! The real one's paths, shapes and words where they were captured or specified. Where the contract is open (does a
//! refresh token change, is an unknown account 404 or 400, are fractions taken) both are one switch away.
//! [`SchwabDouble`] is the handle a test holds; everything it can do can also be done over `POST /__fake/…` (see
//! `control`), so that it may as well be a process of its own (`cargo run -p broker-doubles -- schwab`).
//!
//! What is right by default: the market is always open, every ticker but `ZZZZ` exists and costs 100 dollars, there are
//! two accounts and ours is the second; an order is `PENDING_ACKNOWLEDGEMENT`, then `WORKING` at its first look, then
//! `FILLED`. Whole shares only, a SELL only of what is held.

mod book;
mod control;
mod faults;
mod oauth;
mod orders;
mod routes;
mod wire;

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use crate::body::Damage;
pub use book::{ACCOUNT, Account, Activity, Book, Fill, Instruction, Order, Price, Step, Switches, TAG};
pub use faults::{Fault, Kind};
pub use oauth::{APP_KEY, APP_SECRET, CALLBACK, OAuth};
pub use routes::Entry;

use crate::decimal::Decimal;
use crate::http::{Server, Server as Http};
use crate::tls::Authority;
use routes::Routes;

/// A running double.
#[derive(Debug)]
pub struct SchwabDouble {
    server: Server,
    routes: Arc<Routes>,
}

impl SchwabDouble {
    /// Starts on any free port, over plain HTTP.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start() -> io::Result<Self> {
        Self::start_on(0, None)
    }

    /// Starts on this port (0: any), over TLS where there is an authority.
    ///
    /// # Errors
    /// When the port can not be had.
    pub fn start_on(port: u16, authority: Option<&Authority>) -> io::Result<Self> {
        let routes = Arc::new(Routes { state: Mutex::new(routes::State::default()), base: OnceLock::new() });
        let server = Http::start(port, authority, Arc::<Routes>::clone(&routes))?;
        routes.base.get_or_init(|| server.url());
        Ok(Self { server, routes })
    }

    /// What `BASE_URL` is to be.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The next requests of that route meet this fault; faults of a route are used up in the order they came.
    pub fn fault(&self, fault: Fault) {
        self.with(|state| state.add_fault(fault));
    }

    /// Forgets every fault that was not used up.
    pub fn heal(&self) {
        self.with(|state| state.faults.clear());
    }

    /// Every request so far, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.with(|state| state.log.clone())
    }

    /// Every order there is, oldest first, with nothing hidden.
    #[must_use]
    pub fn orders(&self) -> Vec<Order> {
        self.with(|state| state.book.orders.clone())
    }

    /// Whatever else a test wants to see or change.
    pub fn book<T>(&self, work: impl FnOnce(&mut Book) -> T) -> T {
        self.with(|state| work(&mut state.book))
    }

    /// How the login behaves.
    pub fn rules<T>(&self, work: impl FnOnce(&mut OAuth) -> T) -> T {
        self.with(|state| work(&mut state.desk.rules))
    }

    /// Logs in without a browser: an access and a refresh token.
    #[must_use]
    pub fn log_in(&self) -> (String, String) {
        self.with(|state| state.desk.log_in(state.book.now_ms()))
    }

    /// Holds this many shares from now on; negative is short.
    ///
    /// # Panics
    /// Where `shares` is no decimal.
    pub fn hold(&self, symbol: &str, shares: &str) {
        let shares: Decimal = shares.parse().expect("a decimal");
        self.book(|book| {
            for account in book.accounts.iter_mut().filter(|account| account.number == ACCOUNT) {
                account.positions.insert(symbol.to_owned(), shares);
            }
        });
    }

    /// An order typed by a person on the broker's own pages; its number.
    pub fn type_by_hand(&self, symbol: &str, instruction: Instruction, shares: i64) -> u64 {
        self.type_with_tag(symbol, instruction, shares, "API_TOS:website")
    }

    /// An order of another program; with our tag, of one that is registered as the same application.
    pub fn type_with_tag(&self, symbol: &str, instruction: Instruction, shares: i64, tag: &str) -> u64 {
        self.with(|state| state.type_by_hand(symbol, instruction, Decimal::whole(shares), tag))
    }

    fn with<T>(&self, work: impl FnOnce(&mut routes::State) -> T) -> T {
        // A test that panicked while it held the state has failed already.
        work(&mut self.routes.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
