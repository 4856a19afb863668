//! What the engine and the world around it say to each other, as plain data and one trait.
//!
//! The chain side hands over [`chain::Push`] and [`chain::Sweep`], the ledger keeps [`records::Write`] and gives back
//! [`records::Loaded`], a broker is [`broker::Broker`]. Whoever does IO implements or carries these; nothing here does.

pub mod broker;
pub mod chain;
pub mod market_hours;
pub mod market_state;
pub mod records;
