//! The trial: a deterministic world that tries to make the bot lose money, and a checker that says whether it did.
//!
//! `bot sim` lives through thousands of them. Each is decided by one seed: the real engine on the real ledger over a
//! disk that fails, before a chain that forks and a node that lies, a broker with every fault that brokers have above
//! the wire, clocks that jump, a process that dies anywhere, and a person who looks now and then. Nothing waits: time is
//! a number, the next event is taken from a queue.
//!
//! | file | job |
//! |---|---|
//! | `schedule` | draws from the seed what will happen |
//! | `world` | the queue of events, and what each leads to |
//! | `acts` | how a step of the schedule is carried out |
//! | `process`, `life` | the bot without threads and sockets; how it starts, takes turns and ends |
//! | `desk`, `link` | its ways to the broker and to the node |
//! | `provider` | what the node is like without being wrong |
//! | `node`, `market` | the node's end of the wire; deals as logs, and what they mean |
//! | `broker`, `order` | the broker's book and moods; what an order in it does |
//! | `venue`, `calendar` | the broker's rules; when its exchange is open |
//! | `disk` | where the ledger lies |
//! | `operator` | the person |
//! | `checker` | the verdict: the world's truth against the ledger's rows |
//! | `coverage`, `trace` | which faults struck; what happened |
//! | `runner`, `shrink` | many seeds on all cores; a failing schedule made short |
//!
//! What is real and what is not, what the checker can see, and what was measured: docs/proof.md.
//!
//! Invariant: one seed, one run, bit for bit. Nothing in here reads a clock, and nothing depends on a thread.

mod acts;
mod broker;
mod calendar;
#[cfg(test)]
mod catch_up;
mod checker;
mod coverage;
mod desk;
mod dice;
mod disk;
mod life;
mod link;
mod market;
mod node;
mod operator;
mod order;
mod process;
mod provider;
mod runner;
#[cfg(test)]
pub(crate) mod sabotage;
mod schedule;
mod shrink;
#[cfg(test)]
mod tests;
mod trace;
mod venue;
mod world;

pub use checker::{Fault, Finding};
pub use coverage::{ALL, Struck};
pub use runner::{Tally, Told, run, shortest, tell};
