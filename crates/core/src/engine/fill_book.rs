//! The fills in memory: their entries, and where each stands.
//!
//! A step asks for the fills of a transaction, of a range of blocks, or of those that have not counted yet; each of
//! these is an index, so that the answer costs what it holds and not what is in memory.
//!
//! Invariant: the indexes say what a walk over all fills would (the test compares them after random changes).

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

use crate::fills::Fill;
use crate::ports::chain::ChainView;
use crate::ports::records::FillState;
use crate::units::{FillId, Shares, Symbol};

/// Names of fills by the height of their block.
type ByHeight = BTreeMap<u64, BTreeSet<FillId>>;

/// What an entry changes of the exposure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) symbol: Symbol,
    /// Signed.
    pub(super) shares: Shares,
    /// What those may be short of the truth (`Fill::slack`); less than zero where they are taken back.
    pub(super) slack: Shares,
}

/// What a reversal leaves to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reversed {
    /// The entry's number.
    pub(super) n: u32,
    /// What it moves; none if the fill had not counted.
    pub(super) moved: Option<Moved>,
}

/// Fills above the window's first block, and older ones that stand and have not counted.
#[derive(Debug, Default)]
pub(super) struct FillBook {
    states: BTreeMap<FillId, FillState>,
    by_height: ByHeight,
    /// Standing fills that have not counted.
    uncounted: ByHeight,
    /// Of each transaction the blocks in which fills of it stand, and how many.
    standing: BTreeMap<B256, BTreeMap<B256, u32>>,
    /// Transactions with fills that stand in more than one block.
    moved_transactions: BTreeSet<B256>,
    /// Pushed after the cursor had passed their block: the sweep, which did not see them, must look again.
    late: BTreeSet<(u64, FillId)>,
    fills_total: u64,
    reversals_total: u64,
}

impl FillBook {
    /// From what the ledger holds. Fills that stand at or below the cursor and above the window's base are late: one of
    /// them may have been pushed when the cursor had passed its block, and the process that knew so is gone.
    pub(super) fn new(
        chain: &ChainView,
        states: Vec<FillState>,
        fills_total: u64,
        reversals_total: u64,
    ) -> Self {
        let mut book = Self { fills_total, reversals_total, ..Self::default() };
        if let (Some(cursor), Some(base)) = (chain.cursor, chain.window.first()) {
            let in_window = |state: &&FillState| {
                state.standing
                    && state.fill.block_number > base.number
                    && state.fill.block_number <= cursor.number
            };
            let late = states.iter().filter(in_window);
            book.late = late.map(|state| (state.fill.block_number, state.fill.id)).collect();
        }
        states.into_iter().for_each(|state| book.insert(state));
        book
    }

    pub(super) fn get(&self, id: FillId) -> Option<&FillState> {
        self.states.get(&id)
    }

    /// Every fill, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &FillState> {
        self.states.values()
    }

    pub(super) const fn fills_total(&self) -> u64 {
        self.fills_total
    }

    pub(super) const fn reversals_total(&self) -> u64 {
        self.reversals_total
    }

    /// A fill at first sight.
    pub(super) fn enter(&mut self, fill: Fill) {
        self.insert(FillState { fill, n: 0, standing: true, counted: false });
        self.fills_total += 1;
    }

    /// What the ledger holds of a fill that is not in memory any more.
    pub(super) fn remember(&mut self, known: Vec<FillState>) {
        for state in known {
            if !self.states.contains_key(&state.fill.id) {
                self.insert(state);
            }
        }
    }

    /// A reversed fill stands again; the number of that entry.
    pub(super) fn reinstate(&mut self, id: FillId) -> Option<u32> {
        self.change(id, |state| {
            state.n += 1;
            (state.standing, state.counted) = (true, false);
            state.n
        })
    }

    /// The fill's last entry counts from now on; its number, and what it moves.
    pub(super) fn count(&mut self, id: FillId) -> Option<(u32, Moved)> {
        self.change(id, |state| {
            state.counted = true;
            let Fill { symbol, .. } = &state.fill;
            let (shares, slack) = (state.fill.signed_shares(), state.fill.slack());
            (state.n, Moved { symbol: symbol.clone(), shares, slack })
        })
    }

    /// A fill left the chain.
    pub(super) fn reverse(&mut self, id: FillId) -> Option<Reversed> {
        let reversed = self.change(id, |state| {
            state.n += 1;
            state.standing = false;
            let (shares, slack) = (state.fill.signed_shares().negated(), state.fill.slack().negated());
            let moved = state.counted.then(|| Moved { symbol: state.fill.symbol.clone(), shares, slack });
            Reversed { n: state.n, moved }
        })?;
        self.reversals_total += 1;
        Some(reversed)
    }

    /// The fills that stand in blocks above `base` up to `target`, by height.
    pub(super) fn standing_in(&self, base: u64, target: u64) -> impl Iterator<Item = &FillState> {
        let above = base.saturating_add(1).min(target);
        let heights = self.by_height.range(above..=target).filter(move |_| target > base);
        heights.flat_map(|(_, ids)| ids).filter_map(|id| self.states.get(id)).filter(|state| state.standing)
    }

    /// Standing fills of blocks up to `height` that have not counted and that the sweep has passed, by name.
    pub(super) fn ripe(&self, height: u64) -> Vec<FillId> {
        let ripe = self.uncounted.range(..=height).flat_map(|(at, ids)| ids.iter().map(|id| (*at, *id)));
        let mut ripe: Vec<FillId> = ripe.filter(|at| !self.late.contains(at)).map(|(_, id)| id).collect();
        ripe.sort_unstable();
        ripe
    }

    /// Whether a fill of the same transaction stands in another block: a reorg moved it, and until the sweep has taken
    /// the old copy back the exposure would hold both, and an order would go out for the difference.
    /// `known` is what the ledger holds beyond those in memory.
    pub(super) fn stands_elsewhere(&self, id: FillId, known: &[FillState]) -> bool {
        let elsewhere = |blocks: &BTreeMap<B256, u32>| blocks.keys().any(|hash| *hash != id.block_hash);
        self.standing.get(&id.tx_hash).is_some_and(elsewhere)
            || known.iter().any(|state| {
                state.standing
                    && state.fill.id.tx_hash == id.tx_hash
                    && state.fill.id.block_hash != id.block_hash
            })
    }

    /// Whether two fills of one transaction stand in different blocks: a sweep that ended below the old copy has brought
    /// the new one. Only for as long as the old one is out of its reach.
    pub(super) fn something_stands_twice(&self) -> bool {
        !self.moved_transactions.is_empty()
    }

    /// A fill was pushed whose block the cursor has passed.
    pub(super) fn note_late(&mut self, height: u64, id: FillId) {
        self.late.insert((height, id));
    }

    /// The lowest block of a fill that was pushed late.
    pub(super) fn late_from(&self) -> Option<u64> {
        self.late.first().map(|(height, _)| *height)
    }

    /// A sweep has looked at everything above `base`: above the new cursor nothing is late, for the sweep comes there
    /// anyway. (A branch may come back shorter.)
    pub(super) fn looked_above(&mut self, base: u64, floor: u64) {
        self.late.retain(|(height, _)| *height > floor && *height <= base);
    }

    /// Forgets what is at or below `floor`, but for what stands and has not counted.
    pub(super) fn forget_below(&mut self, floor: u64) {
        let old = self.by_height.range(..=floor).flat_map(|(_, ids)| ids);
        let gone: Vec<FillId> = old
            .filter(|id| self.states.get(*id).is_some_and(|state| !state.standing || state.counted))
            .copied()
            .collect();
        for id in gone {
            if let Some(state) = self.states.remove(&id) {
                self.leave_indexes(&state);
                take_out(&mut self.by_height, state.fill.block_number, id);
            }
        }
    }

    fn insert(&mut self, state: FillState) {
        let id = state.fill.id;
        self.by_height.entry(state.fill.block_number).or_default().insert(id);
        self.enter_indexes(&state);
        self.states.insert(id, state);
    }

    /// The one place where a state changes.
    fn change<T>(&mut self, id: FillId, change: impl FnOnce(&mut FillState) -> T) -> Option<T> {
        let mut state = self.states.remove(&id)?;
        self.leave_indexes(&state);
        let changed = change(&mut state);
        self.enter_indexes(&state);
        self.states.insert(id, state);
        Some(changed)
    }

    fn enter_indexes(&mut self, state: &FillState) {
        if !state.standing {
            return;
        }
        let id = state.fill.id;
        if !state.counted {
            self.uncounted.entry(state.fill.block_number).or_default().insert(id);
        }
        let blocks = self.standing.entry(id.tx_hash).or_default();
        *blocks.entry(id.block_hash).or_default() += 1;
        if blocks.len() > 1 {
            self.moved_transactions.insert(id.tx_hash);
        }
    }

    fn leave_indexes(&mut self, state: &FillState) {
        if !state.standing {
            return;
        }
        let id = state.fill.id;
        take_out(&mut self.uncounted, state.fill.block_number, id);
        let Some(blocks) = self.standing.get_mut(&id.tx_hash) else { return };
        if let Some(count) = blocks.get_mut(&id.block_hash) {
            *count -= 1;
            if *count == 0 {
                blocks.remove(&id.block_hash);
            }
        }
        if blocks.len() < 2 {
            self.moved_transactions.remove(&id.tx_hash);
        }
        if blocks.is_empty() {
            self.standing.remove(&id.tx_hash);
        }
    }
}

fn take_out(heights: &mut ByHeight, height: u64, id: FillId) {
    let Some(ids) = heights.get_mut(&height) else { return };
    ids.remove(&id);
    if ids.is_empty() {
        heights.remove(&height);
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, U256};
    use proptest::prelude::*;

    use super::*;
    use crate::units::{BlockRef, Cash, Side};

    /// A fill of one of four transactions, in one of two blocks at one of six heights.
    fn fill(height: u64, branch: u64, tx: u64, log_index: u64) -> Fill {
        let id = FillId {
            chain_id: 1,
            block_hash: B256::from(U256::from(height * 2 + branch)),
            tx_hash: B256::from(U256::from(1_000 + tx)),
            log_index,
            side: Side::Buy,
        };
        Fill {
            id,
            block_number: height,
            block_time: None,
            orderbook: Address::ZERO,
            owner: Address::ZERO,
            symbol: "TSLA".parse().unwrap(),
            shares: Shares::whole(1),
            cash: Cash::whole(1),
            price: None,
            unit: None,
        }
    }

    fn must_be_what_a_walk_says(book: &FillBook) {
        let mut blocks: BTreeMap<B256, BTreeSet<B256>> = BTreeMap::new();
        for state in book.iter().filter(|state| state.standing) {
            blocks.entry(state.fill.id.tx_hash).or_default().insert(state.fill.id.block_hash);
        }
        assert_eq!(book.something_stands_twice(), blocks.values().any(|blocks| blocks.len() > 1));
        for state in book.iter() {
            let elsewhere = book.iter().any(|other| {
                other.standing
                    && other.fill.id.tx_hash == state.fill.id.tx_hash
                    && other.fill.id.block_hash != state.fill.id.block_hash
            });
            assert_eq!(book.stands_elsewhere(state.fill.id, &[]), elsewhere);
        }
        for (base, target) in [(0, 9), (2, 4), (3, 3), (5, 2)] {
            let walked: BTreeSet<FillId> = book
                .iter()
                .filter(|state| state.standing)
                .filter(|state| state.fill.block_number > base && state.fill.block_number <= target)
                .map(|state| state.fill.id)
                .collect();
            assert_eq!(
                book.standing_in(base, target).map(|state| state.fill.id).collect::<BTreeSet<_>>(),
                walked
            );
        }
        for height in 0..8 {
            let walked: Vec<FillId> = book
                .iter()
                .filter(|state| state.standing && !state.counted && state.fill.block_number <= height)
                .filter(|state| !book.late.contains(&(state.fill.block_number, state.fill.id)))
                .map(|state| state.fill.id)
                .collect();
            assert_eq!(book.ripe(height), walked);
        }
    }

    proptest! {
        #[test]
        fn the_indexes_say_what_a_walk_over_all_fills_would(
            changes in prop::collection::vec((0_u8..7, 1_u64..7, 0_u64..2, 0_u64..4, 0_u64..2), 1..80)
        ) {
            let mut book = FillBook::default();
            for (what, height, branch, tx, log_index) in changes {
                let fill = fill(height, branch, tx, log_index);
                let id = fill.id;
                let known = book.get(id).map(|state| state.standing);
                match (what, known) {
                    (0 | 1, None) => book.enter(fill),
                    (0..=2, Some(true)) => drop(book.reverse(id)),
                    (0..=2, Some(false)) => drop(book.reinstate(id)),
                    (3, Some(true)) => drop(book.count(id)),
                    (4, _) => book.forget_below(height),
                    (5, Some(true)) => book.note_late(height, id),
                    (6, _) => book.looked_above(height, height / 2),
                    _ => {}
                }
                must_be_what_a_walk_says(&book);
            }
        }
    }

    #[test]
    fn what_stands_between_base_and_cursor_at_a_start_is_late() {
        let state =
            |height| FillState { fill: fill(height, 0, 0, height), n: 0, standing: true, counted: true };
        let at = |number| BlockRef { number, hash: B256::ZERO };
        let chain =
            ChainView { cursor: Some(at(4)), window: vec![at(2), at(3), at(4)], ..ChainView::default() };
        let book = FillBook::new(&chain, (1..7).map(state).collect(), 6, 0);
        assert_eq!(book.late.iter().map(|(height, _)| *height).collect::<Vec<_>>(), [3, 4]);
        assert_eq!((book.late_from(), book.fills_total(), book.reversals_total()), (Some(3), 6, 0));
    }
}
