//! The real bot before a chain and an Alpaca that do everything wrong, over real sockets. Each test ends with the
//! double's own log: no intent has two orders, every order is an intent's, nothing is lost and nothing doubled.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod answers;
mod bench;
#[allow(dead_code)]
#[path = "../floor/mod.rs"]
mod floor;
mod kills;
mod rules;
mod start;
mod tls;
#[allow(dead_code)]
#[path = "../hostile_node/truth.rs"]
mod truth;
