//! counterfill answers every onchain fill of your Raindex orders with one opposite order at your broker.
//!
//! One direction: chain → fills → positions → hedges → broker, with the ledger beneath. A module may use types to its
//! left, never to its right. See ARCHITECTURE.md for the drawing and the invariants. Comments that say
//! `protocol.md 1.4` mean that section of docs/protocol.md, the rules about money.

pub mod alerts;
pub mod broker;
pub mod chain;
pub mod cli;
pub mod config;
pub mod crash;
pub mod doctor;
pub mod engine;
pub mod exit;
pub mod fills;
pub mod fuzz;
pub mod hedges;
pub mod ledger;
pub mod logs;
#[cfg(test)]
pub mod mutants;
mod nearest;
pub mod ports;
pub mod positions;
pub mod report;
pub mod run;
pub mod serve;
pub mod sim;
pub mod trust;
pub mod units;
pub mod verbs;
pub mod version;
