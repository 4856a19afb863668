//! counterfill answers every onchain fill of your Raindex orders with one opposite order at your broker.
//!
//! One direction: chain → fills → positions → hedges → broker, with the ledger beneath; no module uses one that uses it.
//! What does no IO is a crate of its own, `counterfill-core`, and so is the ledger; both stand here under their own
//! names. See ARCHITECTURE.md for the drawing and the invariants. Comments that say `protocol.md 1.4` mean that section
//! of docs/protocol.md, the rules about money.

pub mod alerts;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod exit;
pub mod logs;
mod nearest;
pub mod report;
pub mod run;
pub mod serve;
pub mod verbs;
pub mod version;

pub use counterfill_broker as broker;
pub use counterfill_chain as chain;
pub use counterfill_core::{engine, fills, hedges, ports, positions, units};
pub use counterfill_ledger as ledger;
pub use counterfill_ledger::crash;
#[cfg(feature = "node")]
pub use counterfill_sim as sim;
pub use counterfill_trust as trust;
