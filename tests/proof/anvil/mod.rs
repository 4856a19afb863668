//! The real bot against a real EVM node: `bot run` as a process of its own, anvil behind a wire that can be cut, and a
//! verdict that knows only what was emitted, what the chain holds now, and the broker's own book.
//!
//! anvil and the compiled contracts are put in place by `scripts/tools`; without them every test here fails and says so.

mod bot;
mod draws;
mod fills;
mod node;
mod refusals;
mod reorgs;
mod restarts;
mod stopping;
mod storm;
mod units;
mod verdict;
mod wire;
mod world;

use testkit::tell;
use testkit::until::{PATIENCE, found as until};
