//! A small Alpaca: Trading API v2 as far as a bot that hedges needs it.
//!
//! Keys, account, assets, orders, positions, clock, calendar and quotes, with the real one's paths, shapes and error
//! codes. [`AlpacaDouble`] is the handle a test holds; everything it can do can also be done over `POST /__fake/…`
//! (see `control`), so that it may as well be a process of its own (`cargo run -p broker-doubles -- alpaca`).
//!
//! What is right by default: the market is always open, every ticker but `ZZZZ` exists, may be traded in fractions and
//! sold short, and costs 100 dollars; an order is `accepted`, then `new` at its first look, then `filled`.

mod book;
mod control;
mod faults;
mod orders;
mod routes;
mod wire;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

pub use crate::body::Damage;
pub use crate::market::Market;
pub use book::{Account, Asset, Book, Fill, Order, Step};
pub use faults::{Fault, Kind};
pub use routes::Entry;

use crate::decimal::Decimal;
use crate::http::{Server, Server as Http};
use crate::tls::Authority;
use routes::Routes;

/// The key that is right unless `account` says otherwise.
pub const KEY: &str = "TESTDOUBLE0000000000";
/// The secret that is right unless `account` says otherwise.
pub const SECRET: &str = "double-secret-CANARY-000000000000000000";

/// A running double.
#[derive(Debug)]
pub struct AlpacaDouble {
    server: Server,
    routes: Arc<Routes>,
}

impl AlpacaDouble {
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
        let routes = Arc::new(Routes { state: Mutex::new(routes::State::default()) });
        let server = Http::start(port, authority, Arc::<Routes>::clone(&routes))?;
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

    /// Holds this many shares from now on; negative is short.
    pub fn hold(&self, symbol: &str, shares: &str) {
        let shares: Decimal = shares.parse().expect("a decimal");
        self.book(|book| book.positions.insert(symbol.to_owned(), shares));
    }

    fn with<T>(&self, work: impl FnOnce(&mut routes::State) -> T) -> T {
        // A test that panicked while it held the state has failed already.
        work(&mut self.routes.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
