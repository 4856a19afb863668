//! Scripted brokers for tests, behind real HTTP and, where asked for, real TLS.
//!
//! A double is a small broker that keeps every rule of the real one that the program relies on, and breaks any of them
//! when a script says so: it takes an order and closes the connection, answers with an old list, knows a status that
//! nobody has heard of. It shares no code with the program under test and knows nothing of intents, fills or ledgers.
//! What it is asked, what it made of it and what it answered, it remembers; a test ends with that log.
//!
//! Nothing in it waits unless a fault says so, and nothing is random: an order moves on when it is looked at.
//!
//! Invariant: an order exists exactly if the log has one entry that says it was created.

pub mod alpaca;
mod body;
pub mod decimal;
pub mod http;
mod market;
mod queue;
pub mod schwab;
pub mod tls;
