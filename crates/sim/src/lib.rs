//! A simulated chain, served as a real node would serve it.
//!
//! [`chain`] is the chain itself: blocks, forks, tokens; pure and in memory. [`logs`] writes the order book's events
//! into it. [`rpc`] answers calls about it, and [`server`] does so over a real local WebSocket, with every fault of
//! [`faults`] at hand. [`story`] is what happens in the demo. `bot demo` and the tests stand the bot before it, so that
//! nothing of the bot's own path is simulated.
//!
//! It refuses to know the bot: the shapes of the events and the topics (`fills::abi` of the core) are shared, nothing that reads
//! them, no ledger, no engine. Nothing here is random: the same calls with the same seed give the same hashes.

pub mod chain;
mod error;
pub mod faults;
pub mod logs;
pub mod provider;
pub mod rpc;
mod script;
pub mod server;
mod socket;
pub mod story;
mod wire;
pub mod world;

pub use chain::{Blooms, SimBlock, SimChain, SimError, Token, Tx};
pub use faults::{DropPushes, Faults, RpcFault, Times};
pub use provider::{Lag, Plan, Provider, Until, Weights, Words};
pub use server::SimNode;
pub use story::Story;
pub use world::Counters;
