//! The fills: drawn from a seed, both sides, all tickers, takes and clears; now and then the last blocks are replaced.

use counterfill::sim::Tx;
use counterfill::units::Side;

use crate::bench::Bench;
use crate::truth::{Deal, Form, SHARES};

/// Fills in one transaction.
const FILLS_A_TX: usize = 5;
/// Blocks that a fork replaces.
const FORK_BLOCKS: usize = 2;

pub struct Traffic {
    state: u64,
    /// The transactions of the newest blocks.
    newest: Vec<Vec<Tx>>,
    pub fills: usize,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { state: 0x5eed, newest: Vec::new(), fills: 0 }
    }
}

impl Traffic {
    /// A number below `below`.
    fn draw(&mut self, below: u64) -> u64 {
        // Marsaglia's xorshift: it need not be good, it must be the same every time.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % below
    }

    fn deal(&mut self) -> Deal {
        let ticker = usize::try_from(self.draw(SHARES.len() as u64)).unwrap();
        let side = if self.draw(2) == 0 { Side::Buy } else { Side::Sell };
        let milli_shares = i64::try_from(100 + self.draw(1_400)).unwrap();
        let form = match self.draw(10) {
            0 => Form::OldTake,
            1 => Form::Clear,
            _ => Form::Take,
        };
        Deal { ticker, side, milli_shares, form }
    }

    pub fn mine(&mut self, bench: &mut Bench, fills: usize) {
        let mut txs = Vec::new();
        for _ in 0..fills / FILLS_A_TX {
            let deals: Vec<Deal> = (0..FILLS_A_TX).map(|_| self.deal()).collect();
            txs.push(bench.tx(&deals));
        }
        bench.node.mine(txs.clone());
        self.newest.push(txs);
        if self.newest.len() > FORK_BLOCKS {
            self.newest.remove(0);
        }
        self.fills += fills;
    }

    /// The newest blocks again, in other blocks, the transactions in another order, and one block more.
    pub fn fork(&mut self, bench: &Bench) {
        let depth = self.newest.len();
        let mut blocks: Vec<Vec<Tx>> = self.newest.drain(..).rev().collect();
        blocks.push(Vec::new());
        bench.node.reorg(u64::try_from(depth).unwrap(), blocks).unwrap();
    }
}
