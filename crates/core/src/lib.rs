//! What must hold of money, and nothing else: from logs to fills, from fills to exposure, from exposure to one order.
//!
//! No IO, no clock, no randomness: what the chain, the broker, a person and the clock say arrives as data ([`ports`]),
//! and what is to be done leaves as data ([`engine::StepOutput`]). Neither tokio nor SQL nor a file system is within reach: the
//! dependencies have none, and clippy refuses what the standard library offers of it (clippy.toml of this crate).
//!
//! One direction: [`units`] ← [`fills`] ← [`positions`] and [`hedges`] ← [`ports`] ← [`engine`]. A module uses what
//! stands to its left. Comments that say `protocol.md 1.4` mean that section of docs/protocol.md, the rules about money.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod engine;
pub mod fills;
pub mod hedges;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod ports;
pub mod positions;
pub mod units;
