//! The real `bot` is killed at every numbered point of its life, and again while it recovers.
//!
//! Chain and broker are truth of their own: a scripted node in this process, and the broker's book in a file that no
//! kill touches. A debug build of the bot tells over a socket which point it is about to pass (`counterfill::crash`) and
//! waits; `watch` lets it, or the process gets SIGKILL or SIGTERM there. `tale` is what happens on the chain meanwhile,
//! `stage` one world with its processes, `verdict` decides from the chain, the broker's book and the ledger's tables,
//! with no code of the engine and no word of the bot. `matrix` is the schedule, `restore` puts old ledgers back.
// An optimised build has no points to die at; cargo then shows these tests as ignored.
#![cfg_attr(not(debug_assertions), allow(dead_code))]

mod bot;
mod house;
mod matrix;
mod points;
mod restore;
mod stage;
mod tale;
mod verdict;
pub(crate) mod watch;
mod world;

use testkit::tell;
use testkit::until::{LOOK_AGAIN as LOOK, PATIENCE};

/// Worlds side by side per processor: they mostly wait, for the broker's fills and for the disk.
const WORLDS_PER_CPU: usize = 3;

/// Does `work` for each number below `count`, many side by side; the results in order.
pub fn side_by_side<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    crate::side_by_side::side_by_side(count, WORLDS_PER_CPU, work)
}
