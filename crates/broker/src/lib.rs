//! The broker's end of the program: one trait ([`counterfill_core::ports::broker`]), three brokers.
//!
//! The outcome of placing an order is an enum in which "I do not know" is a value of its own; nothing in this program
//! may turn it into a yes or a no without reading the broker's own book (`protocol.md` 3.3 to 3.5). Calls block: they
//! run on the two broker threads, never on tokio. No implementation repeats an order call by itself.

mod addresses;
pub mod alpaca;
pub mod digits;
pub mod http;
mod pace;
pub mod paper;
mod questions;
pub mod schwab;
pub mod secret;

use counterfill_core::{ports, units};

pub use crate::ports::broker::{
    AccountError, Broker, BrokerOrder, Denied, LIVE_ACCOUNT_DIGITS, LoginFacts, Mend, OrderStatus, Placed,
    Profile, Quote, ReadError, Session, Ticket,
};
pub use crate::ports::market_hours as hours;
pub use crate::ports::market_state as session;
pub use questions::answers;
