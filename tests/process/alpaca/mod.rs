//! The real bot before a chain and an Alpaca that do everything wrong, over real sockets. Each test ends with the
//! double's own log: no intent has two orders, every order is an intent's, nothing is lost and nothing doubled.

mod answers;
mod bench;
mod kills;
mod rules;
mod start;
mod tls;
