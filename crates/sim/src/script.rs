//! The told part of the demo's story, as data: who trades what, and what goes wrong, scene by scene.
//!
//! It refuses to know how a scene is played; that is `story`'s.

use Form::{Alice, Bob, Take};
use Scene::{Cut, Fork, Heal, Leave, Mine, Noise, Pause, Return, Together};

use counterfill_core::units::Side::{self, Buy, Sell};

/// How a trade of ours happens: one order taken, or ours cleared first or second.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form {
    Take,
    Alice,
    Bob,
}

/// A trade of our owner in thousandths of a share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deal {
    pub(super) ticker: usize,
    pub(super) side: Side,
    pub(super) milli_shares: i128,
    pub(super) form: Form,
}

pub(super) const fn deal(ticker: usize, side: Side, milli_shares: i128, form: Form) -> Deal {
    Deal { ticker, side, milli_shares, form }
}

/// One beat of the script.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scene {
    /// One block, a transaction for each deal.
    Mine(&'static [Deal]),
    /// One block, one transaction with all deals: what a router does.
    Together(&'static [Deal]),
    /// One block of strangers' trades and a pair of two shares.
    Noise,
    /// One empty block.
    Pause,
    Cut,
    Heal,
    /// Replaces the top blocks; the oldest transaction of ours is lost, the others move by one block.
    Fork(u64),
    /// A → B: the top blocks are replaced by empty ones.
    Leave(u64),
    /// B → A, and two blocks on top of it.
    Return,
}

/// The told part. Afterwards the steady flow goes on for as long as anybody listens.
pub(super) const SCRIPT: [Scene; 27] = [
    Mine(&[deal(0, Sell, 400, Take)]),
    Mine(&[deal(0, Sell, 350, Take)]),
    Noise,
    Mine(&[deal(0, Sell, 300, Take)]),
    Pause,
    Mine(&[deal(1, Buy, 1_500, Alice), deal(2, Sell, 700, Bob)]),
    Mine(&[deal(0, Buy, 2_600, Take)]),
    Pause,
    Together(&[deal(2, Sell, 333, Take), deal(1, Sell, 900, Take), deal(2, Sell, 1_250, Alice)]),
    Pause,
    Cut,
    Mine(&[deal(1, Sell, 1_100, Take)]),
    Mine(&[deal(0, Sell, 800, Bob), deal(2, Buy, 450, Take)]),
    Noise,
    Heal,
    Pause,
    Mine(&[deal(2, Sell, 1_200, Take), deal(0, Sell, 1_800, Take)]),
    Pause,
    Pause,
    Fork(3),
    Pause,
    Mine(&[deal(1, Buy, 2_000, Take)]),
    Pause,
    Leave(2),
    Pause,
    Return,
    Pause,
];
