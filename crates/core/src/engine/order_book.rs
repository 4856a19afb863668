//! Our own book: every live intent, and every one that ended within a day, with the orders that they are bound to.
//!
//! What a step asks of it (the intents of a ticker, the plan that has waited longest, the orders of a minute, those that
//! may be taken for one another) is an index or a running sum.
//!
//! Invariant: only [`OrderBook::change`] changes an intent, and every index is what a walk over all intents would find
//! (the test compares them after random changes).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Stop;
use super::sums::{Entry, Within};
use crate::hedges::{Intent, IntentState};
use crate::units::{Cash, IntentId, Millis, OrderId, Side, Symbol};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 3_600_000;

/// Where an intent stands in the indexes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Keys {
    live: bool,
    ended: Option<Millis>,
    planned: Option<Millis>,
    sent: Option<(Millis, Entry)>,
    last_sent: Option<Millis>,
}

fn take_out<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    let Some(values) = index.get_mut(key) else { return };
    values.remove(value);
    if values.is_empty() {
        index.remove(key);
    }
}

/// The intents, by everything that is asked for.
#[derive(Debug)]
pub(super) struct OrderBook {
    /// Part of every intent's name.
    nonce: String,
    sequence: u32,
    intents: BTreeMap<IntentId, Intent>,
    live: BTreeSet<IntentId>,
    live_of: BTreeMap<Symbol, BTreeSet<IntentId>>,
    /// Plans, those first that have waited longest.
    planned: BTreeSet<(Millis, Symbol)>,
    /// Which intent has which order.
    orders: BTreeMap<OrderId, IntentId>,
    /// When the broker says it entered an intent's order; its clock is not ours.
    entered: BTreeMap<IntentId, Millis>,
    /// The one intent whose bytes may be on their way.
    in_flight: Option<IntentId>,
    minute: Within<IntentId>,
    day: Within<IntentId>,
    /// By ticker and side, when an order of it was last sent or entered.
    recent: BTreeMap<(Symbol, Side), BTreeSet<(Millis, IntentId)>>,
    /// Intents that ended, by the last that was heard of them.
    ended: BTreeSet<(Millis, IntentId)>,
    /// Intents and tickers that have changed since that was last asked.
    changed: BTreeSet<IntentId>,
    changed_tickers: BTreeSet<Symbol>,
    /// An order is nobody's any more.
    unbound: bool,
}

impl OrderBook {
    /// From what the ledger holds.
    pub(super) fn new(nonce: String, loaded: Vec<Intent>) -> Self {
        let mut book = Self {
            nonce,
            sequence: 0,
            intents: BTreeMap::new(),
            live: BTreeSet::new(),
            live_of: BTreeMap::new(),
            planned: BTreeSet::new(),
            orders: BTreeMap::new(),
            entered: BTreeMap::new(),
            in_flight: None,
            minute: Within::new(MINUTE_MS),
            day: Within::new(DAY_MS),
            recent: BTreeMap::new(),
            ended: BTreeSet::new(),
            changed: BTreeSet::new(),
            changed_tickers: BTreeSet::new(),
            unbound: false,
        };
        for intent in loaded {
            if let Some(order) = &intent.order_id {
                book.orders.insert(order.clone(), intent.id.clone());
            }
            book.insert(intent);
        }
        book
    }

    pub(super) fn get(&self, id: &IntentId) -> Option<&Intent> {
        self.intents.get(id)
    }

    /// Every intent, by name.
    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = &Intent> {
        self.intents.values()
    }

    /// The names of the live ones, ascending.
    pub(super) fn live_ids(&self) -> &BTreeSet<IntentId> {
        &self.live
    }

    /// The live ones, by name.
    pub(super) fn live(&self) -> impl Iterator<Item = &Intent> {
        self.live.iter().filter_map(|id| self.intents.get(id))
    }

    /// The live ones of a ticker, by name.
    pub(super) fn live_of(&self, symbol: &Symbol) -> impl Iterator<Item = &Intent> {
        self.live_of.get(symbol).into_iter().flatten().filter_map(|id| self.intents.get(id))
    }

    /// Whether only a plan lives in the ticker.
    pub(super) fn is_planned(&self, symbol: &Symbol) -> bool {
        self.live_of(symbol).next().is_some_and(|intent| intent.state == IntentState::Planned)
    }

    /// When the ticker's plan was made, and the ticker: those first that have waited longest.
    pub(super) fn planned(&self) -> impl Iterator<Item = &(Millis, Symbol)> {
        self.planned.iter()
    }

    /// The plans that have waited less long than that one, or are later in the alphabet.
    pub(super) fn planned_after(
        &self,
        last: Option<&(Millis, Symbol)>,
    ) -> impl Iterator<Item = &(Millis, Symbol)> {
        let from = last.map_or(Bound::Unbounded, |last| Bound::Excluded(last.clone()));
        self.planned.range((from, Bound::Unbounded))
    }

    /// The intent that has this order.
    pub(super) fn owner(&self, order: &OrderId) -> Option<&IntentId> {
        self.orders.get(order)
    }

    pub(super) const fn in_flight(&self) -> Option<&IntentId> {
        self.in_flight.as_ref()
    }

    /// When the order of that intent was last sent by our clock or entered by the broker's; none if neither.
    pub(super) fn last_sent(&self, intent: &Intent) -> Option<Millis> {
        self.entered.get(&intent.id).copied().max(intent.sent_at)
    }

    /// The intents of a ticker and side that were sent or entered since.
    pub(super) fn sent_since<'a>(
        &'a self,
        symbol: &Symbol,
        side: Side,
        since: Millis,
    ) -> impl Iterator<Item = &'a Intent> {
        let of_it = self.recent.get(&(symbol.clone(), side));
        let newest = of_it.into_iter().flat_map(|sent| sent.iter().rev());
        newest.take_while(move |(at, _)| *at >= since).filter_map(|(_, id)| self.intents.get(id))
    }

    /// Orders sent within a minute of now, on either side of it.
    pub(super) const fn sent_this_minute(&self) -> u64 {
        self.minute.all()
    }

    /// Orders sent within a day of now that were not refused.
    pub(super) const fn sent_today(&self) -> u64 {
        self.day.counting()
    }

    /// The dollars of those at the fills' prices; none where they leave the range.
    pub(super) fn spent_today(&self) -> Option<Cash> {
        self.day.first().map(Cash::from_atoms)
    }

    /// Ended intents of which nothing was heard since.
    pub(super) fn ended_before(&self, since: Millis) -> impl Iterator<Item = (Millis, &Intent)> {
        let old = self.ended.iter().take_while(move |(last, _)| *last < since);
        old.filter_map(|(last, id)| Some((*last, self.intents.get(id)?)))
    }

    /// Time goes on.
    pub(super) fn move_to(&mut self, now: Millis) {
        self.minute.move_to(now);
        self.day.move_to(now);
    }

    pub(super) fn next_id(&mut self) -> Result<IntentId, Stop> {
        self.sequence += 1;
        let name = format!("cf-{}-{:06}", self.nonce, self.sequence);
        name.parse().map_err(|error| Stop::Bug(format!("intent name: {error}")))
    }

    /// A new intent.
    pub(super) fn insert(&mut self, intent: Intent) {
        let keys = self.keys(&intent);
        self.note_changed(&intent.id, &intent.symbol);
        self.move_keys(&intent, Keys::default(), keys);
        self.intents.insert(intent.id.clone(), intent);
    }

    /// The one place where an intent changes; none where there is no such intent.
    pub(super) fn change<T>(&mut self, id: &IntentId, change: impl FnOnce(&mut Intent) -> T) -> Option<T> {
        let (name, mut intent) = self.intents.remove_entry(id)?;
        let before = self.keys(&intent);
        let changed = change(&mut intent);
        let after = self.keys(&intent);
        self.note_changed(id, &intent.symbol);
        self.move_keys(&intent, before, after);
        self.intents.insert(name, intent);
        Some(changed)
    }

    /// The order is that intent's.
    pub(super) fn bind(&mut self, order: OrderId, id: &IntentId) {
        self.orders.insert(order, id.clone());
    }

    /// The order is nobody's.
    pub(super) fn release(&mut self, order: &OrderId) {
        self.unbound |= self.orders.remove(order).is_some();
    }

    /// When the broker says that it entered the intent's order.
    pub(super) fn note_entered(&mut self, id: &IntentId, at: Millis) {
        if self.entered.get(id) == Some(&at) {
            return;
        }
        let Some((name, intent)) = self.intents.remove_entry(id) else { return };
        let before = self.keys(&intent);
        self.entered.insert(id.clone(), at);
        let after = self.keys(&intent);
        self.move_keys(&intent, before, after);
        self.intents.insert(name, intent);
    }

    /// Its bytes are about to leave.
    pub(super) fn launch(&mut self, id: &IntentId) {
        self.in_flight = Some(id.clone());
    }

    /// The answer of its order call is here. Whether it was on its way.
    pub(super) fn land(&mut self, id: &IntentId) -> bool {
        let was = self.in_flight.as_ref() == Some(id);
        if was {
            self.in_flight = None;
            if let Some(symbol) = self.intents.get(id).map(|intent| intent.symbol.clone()) {
                self.note_changed(id, &symbol);
            }
        }
        was
    }

    /// An ended intent is not needed any more.
    pub(super) fn forget(&mut self, id: &IntentId) {
        let Some(intent) = self.intents.remove(id) else { return };
        let keys = self.keys(&intent);
        self.move_keys(&intent, keys, Keys::default());
        self.entered.remove(id);
        if let Some(order) = &intent.order_id {
            self.release(order);
        }
    }

    /// The intents that have changed since this was last asked.
    pub(super) fn take_changed(&mut self) -> BTreeSet<IntentId> {
        std::mem::take(&mut self.changed)
    }

    /// The tickers of which an intent has changed since this was last asked.
    pub(super) fn take_changed_tickers(&mut self) -> BTreeSet<Symbol> {
        std::mem::take(&mut self.changed_tickers)
    }

    /// Whether an order became nobody's since this was last asked.
    pub(super) const fn take_unbound(&mut self) -> bool {
        std::mem::replace(&mut self.unbound, false)
    }

    fn note_changed(&mut self, id: &IntentId, symbol: &Symbol) {
        self.changed.insert(id.clone());
        self.changed_tickers.insert(symbol.clone());
    }

    fn keys(&self, intent: &Intent) -> Keys {
        let live = intent.state.is_live();
        let notional = intent.reference.and_then(|reference| reference.times(intent.quantity));
        let counts = intent.state != IntentState::Refused;
        let entry = Entry { amounts: [notional.map_or(0, Cash::atoms), 0], counts };
        Keys {
            live,
            ended: (!live).then(|| self.last_heard(intent)),
            planned: (intent.state == IntentState::Planned).then_some(intent.created_at),
            sent: intent.sent_at.filter(|_| !intent.adopted).map(|at| (at, entry)),
            last_sent: self.last_sent(intent),
        }
    }

    /// Moves an intent in the indexes, as far as its keys differ.
    fn move_keys(&mut self, intent: &Intent, before: Keys, after: Keys) {
        let (id, symbol) = (&intent.id, &intent.symbol);
        if before.live != after.live {
            if after.live {
                self.live.insert(id.clone());
                self.live_of.entry(symbol.clone()).or_default().insert(id.clone());
            } else {
                self.live.remove(id);
                take_out(&mut self.live_of, symbol, id);
            }
        }
        if before.ended != after.ended {
            before.ended.map(|at| self.ended.remove(&(at, id.clone())));
            after.ended.map(|at| self.ended.insert((at, id.clone())));
        }
        if before.planned != after.planned {
            before.planned.map(|at| self.planned.remove(&(at, symbol.clone())));
            after.planned.map(|at| self.planned.insert((at, symbol.clone())));
        }
        if before.sent != after.sent {
            for sums in [&mut self.minute, &mut self.day] {
                if let Some((at, _)) = before.sent {
                    sums.remove(at, id);
                }
                if let Some((at, entry)) = after.sent {
                    sums.insert(at, id.clone(), entry);
                }
            }
        }
        if before.last_sent != after.last_sent {
            let key = (symbol.clone(), intent.side);
            if let Some(at) = before.last_sent {
                take_out(&mut self.recent, &key, &(at, id.clone()));
            }
            if let Some(at) = after.last_sent {
                self.recent.entry(key).or_default().insert((at, id.clone()));
            }
        }
    }

    /// By the later of both clocks: the broker lists an order by when it was entered, and our clock may be set back since.
    fn last_heard(&self, intent: &Intent) -> Millis {
        self.last_sent(intent).map_or(intent.changed_at, |sent| sent.max(intent.changed_at))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::{Price, Shares};

    fn intent(n: u32, ticker: u8, state: IntentState, at: i64, adopted: bool) -> Intent {
        Intent {
            id: format!("cf-{n:02}").parse().unwrap(),
            symbol: format!("T{ticker}").parse().unwrap(),
            side: if n.is_multiple_of(2) { Side::Buy } else { Side::Sell },
            quantity: Shares::whole(i64::from(n) + 1),
            state,
            transitions: 0,
            created_at: Millis(at),
            sent_at: (state != IntentState::Planned).then_some(Millis(at)),
            changed_at: Millis(at),
            order_id: None,
            executed: Shares::ZERO,
            executions: 0,
            adopted,
            reference: (!n.is_multiple_of(3)).then(|| Price::from_atoms(crate::units::ONE)),
            snapshot: None,
            ignored: false,
            counted: true,
            reason: String::new(),
        }
    }

    fn must_be_what_a_walk_finds(book: &OrderBook, now: Millis) {
        let names = |intents: Vec<&Intent>| intents.iter().map(|i| i.id.to_string()).collect::<Vec<_>>();
        let live = |i: &&Intent| i.state.is_live();
        assert_eq!(names(book.live().collect()), names(book.iter().filter(live).collect()));
        for ticker in 0..4 {
            let symbol: Symbol = format!("T{ticker}").parse().unwrap();
            let walked = book.iter().filter(live).filter(|i| i.symbol == symbol).collect();
            assert_eq!(names(book.live_of(&symbol).collect()), names(walked));
            for side in [Side::Buy, Side::Sell] {
                for since in [0, 50_000, 100_000] {
                    let walked = book
                        .iter()
                        .filter(|i| i.symbol == symbol && i.side == side)
                        .filter(|i| book.last_sent(i).is_some_and(|sent| sent >= Millis(since)));
                    let mut found = names(book.sent_since(&symbol, side, Millis(since)).collect());
                    found.sort();
                    assert_eq!(found, names(walked.collect()));
                }
            }
        }
        let walked: BTreeSet<(Millis, Symbol)> = book
            .iter()
            .filter(|i| i.state == IntentState::Planned)
            .map(|i| (i.created_at, i.symbol.clone()))
            .collect();
        assert_eq!(book.planned().cloned().collect::<BTreeSet<_>>(), walked);
        let sent_within = |ms: i64| {
            book.iter().filter(move |i| !i.adopted && i.sent_at.is_some_and(|at| now.since(at).abs() < ms))
        };
        let today = || sent_within(DAY_MS).filter(|i| i.state != IntentState::Refused);
        let spent: i128 = today().filter_map(|i| Some(i.reference?.times(i.quantity)?.atoms())).sum();
        assert_eq!(book.sent_this_minute(), sent_within(MINUTE_MS).count() as u64);
        assert_eq!(book.sent_today(), today().count() as u64);
        assert_eq!(book.spent_today(), Some(Cash::from_atoms(spent)));
        for since in [0, 60_000, 200_000] {
            let last = |i: &Intent| book.last_sent(i).unwrap_or_default().max(i.changed_at);
            let walked = book.iter().filter(|i| !i.state.is_live() && last(i) < Millis(since));
            let mut found = names(book.ended_before(Millis(since)).map(|(_, intent)| intent).collect());
            found.sort();
            assert_eq!(found, names(walked.collect()));
        }
    }

    proptest! {
        #[test]
        fn every_index_and_sum_is_what_a_walk_over_all_intents_finds(
            changes in prop::collection::vec((0_u8..6, 0_u32..14, 0_u8..4, 0_usize..12, 0_i64..200_000), 1..80)
        ) {
            let mut book = OrderBook::new("n".into(), Vec::new());
            let mut now = Millis(0);
            for (what, n, ticker, state, at) in changes {
                let state = IntentState::ALL[state];
                let new = intent(n, ticker, state, at, n == 7);
                let id = new.id.clone();
                match what {
                    0 | 1 if book.get(&id).is_none() => book.insert(new),
                    0..=2 => drop(book.change(&id, |intent| {
                        intent.state = state;
                        intent.sent_at = new.sent_at.or(intent.sent_at);
                        intent.quantity = Shares::whole(at % 9 + 1);
                        intent.changed_at = Millis(at);
                    })),
                    3 => book.note_entered(&id, Millis(at)),
                    4 => book.forget(&id),
                    _ => {
                        now = Millis(at);
                        book.move_to(now);
                    }
                }
                if matches!(what, 0..=2) && book.get(&id).is_some() {
                    prop_assert!(book.take_changed().contains(&id));
                }
                must_be_what_a_walk_finds(&book, now);
            }
        }
    }
}
