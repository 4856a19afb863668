//! counterfill answers every onchain fill of your Raindex orders with one opposite order at your broker.
//!
//! One direction: chain → fills → positions → hedges → broker, with the ledger beneath. A module may use types to its
//! left, never to its right. See ARCHITECTURE.md for the drawing and the invariants.

pub mod broker;
pub mod chain;
pub mod engine;
pub mod fills;
pub mod hedges;
pub mod ledger;
pub mod sim;
pub mod units;
