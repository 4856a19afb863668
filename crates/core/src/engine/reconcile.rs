//! Where an order went whose answer was lost, at a broker that knows no client order ids (`protocol.md` 3.5).
//!
//! There only the broker's list can say. An order there may be ours if it looks like the intent and belongs to nobody
//! else: one such order is adopted, several wait for a person. That there is none proves nothing by itself: an order
//! may become visible late. Only `ABSENT_AFTER` lets time and the account's position prove it, and a person may say it.
//!
//! Invariant: an order is bound to an `Unknown` intent by a list that was asked for after its call had ended, that
//! reaches back before it was sent, and that shows it as the only one that may be meant.

use std::collections::{BTreeMap, BTreeSet};

use super::{Engine, StepOutput, Stop};
use crate::hedges::{HaltKind, Intent, IntentState, OrderEvent, Snapshot};
use crate::ports::broker::BrokerOrder;
use crate::units::{IntentId, Millis, OrderId, Side, Symbol};

/// The broker cuts its times to seconds, and its clock is not ours: an order entered this long before it was sent may
/// still be it.
const ENTERED_EARLY_MS: i64 = 60_000;
/// Complete lists without an order that are needed before time may prove that there is none.
const LISTS_WITHOUT_MIN: u32 = 3;
/// The most that the time between two lists adds to the proof: a clock that jumps, or a night without an answer, makes
/// no order disappear.
const GAP_MS_MAX: i64 = 120_000;
/// Orders kept in a snapshot at most. A ticker has one live order of ours, so that a minute holds a few; with more than
/// this the broker's list is not what we think it is, and a person looks.
pub(super) const KNOWN_MAX: usize = 256;

/// What is known of the whereabouts of one `Unknown` intent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct LostOrder {
    /// The last question asked before its call had ended: lists of up to that one do not count.
    after: u64,
    /// Lists that were read for it, for the pause before the next.
    lists: u32,
    /// Complete lists in a row that showed nothing like it.
    without: u32,
    /// How much time those lists cover.
    covered_ms: i64,
    /// When the last of them began.
    last: Option<Millis>,
    /// The number of the question whose list made the proof long enough.
    proved_by: Option<u64>,
}

impl LostOrder {
    /// Another complete list without anything like it.
    fn missed(&mut self, number: u64, begun_at: Millis, enough_ms: Option<i64>) {
        if let Some(last) = self.last {
            self.covered_ms = self.covered_ms.saturating_add(begun_at.since(last).clamp(0, GAP_MS_MAX));
        }
        self.last = Some(begun_at);
        self.without = self.without.saturating_add(1);
        let enough = enough_ms.is_some_and(|ms| self.covered_ms >= ms) && self.without >= LISTS_WITHOUT_MIN;
        if enough {
            self.proved_by.get_or_insert(number);
        }
    }

    /// Something like it is there: what was counted is no proof of anything.
    fn seen(&mut self) {
        (self.without, self.covered_ms, self.last, self.proved_by) = (0, 0, None, None);
    }
}

/// The intents whose order only the broker's list can show.
#[derive(Debug, Default)]
pub(super) struct LostOrders {
    searches: BTreeMap<IntentId, LostOrder>,
    /// Those of which a person was told that an order looks like theirs.
    told_of_similar: BTreeSet<IntentId>,
}

impl LostOrders {
    /// How many lists were read for each.
    pub(super) fn lists(&self) -> impl Iterator<Item = (&IntentId, u32)> {
        self.searches.iter().map(|(id, lost)| (id, lost.lists))
    }

    pub(super) fn is_sought(&self, id: &IntentId) -> bool {
        self.searches.contains_key(id)
    }

    /// The intent's order is sought from now on: in lists of later questions than this one.
    pub(super) fn seek(&mut self, id: &IntentId, after: u64) {
        self.searches.insert(id.clone(), LostOrder { after, ..LostOrder::default() });
    }

    /// An intent went from one state to another, when the question of this number had been asked.
    pub(super) fn became(&mut self, id: &IntentId, from: IntentState, to: IntentState, asked: u64) {
        if to == IntentState::Unknown && from != to {
            self.seek(id, asked);
        } else if to != IntentState::Unknown {
            self.searches.remove(id);
            self.told_of_similar.remove(id);
        }
    }

    fn of(&mut self, id: &IntentId) -> &mut LostOrder {
        self.searches.entry(id.clone()).or_default()
    }
}

impl Engine {
    /// Whether the list, and no question by name, must say what became of it.
    pub(super) fn needs_list(&self, id: &IntentId) -> bool {
        !self.policy.profile.client_ids
            && self.orders.get(id).is_some_and(|intent| match intent.state {
                IntentState::Sent | IntentState::Unknown => intent.order_id.is_none(),
                // The broker's yes named another order (`Engine::misnamed`).
                IntentState::Stuck => self.lost.is_sought(id),
                _ => false,
            })
    }

    /// What is known of the account as an order leaves (`protocol.md` 3.1). From memory: nothing is read on the way.
    pub(super) fn snapshot(&self, symbol: &Symbol, side: Side) -> Snapshot {
        let since = self.now.plus(-2 * ENTERED_EARLY_MS);
        let bound = self.orders.sent_since(symbol, side, since);
        let listed =
            self.book.listed_of(symbol).filter(|order| order.side == side && order.entered_at >= since);
        let mut known: Vec<OrderId> = bound
            .filter_map(|intent| intent.order_id.clone())
            .chain(listed.map(|order| order.id.clone()))
            .collect();
        known.sort_unstable();
        known.dedup();
        known.truncate(KNOWN_MAX);
        Snapshot { position: self.account.clean_position(symbol), known }
    }

    /// Whether `order` looks like what `intent` sent, is not known to be another's, and was entered when it may have
    /// been, if our clock was right. Its tag is not looked at.
    pub(super) fn resembles(&self, intent: &Intent, order: &BrokerOrder) -> bool {
        let in_time = |sent: Millis| order.entered_at >= sent.plus(-ENTERED_EARLY_MS);
        intent.sent_at.is_some_and(in_time) && self.looks_like(intent, order)
    }

    /// Whether `order` may be what `intent` sent even if our clock was set just before: then one of this ledger's with our
    /// tag may have been entered at any time.
    pub(super) fn may_be(&self, intent: &Intent, order: &BrokerOrder) -> bool {
        let is_this_ledgers = self.book.has_our_tag(order) && !self.is_an_earlier_ledgers(order);
        self.resembles(intent, order) || (is_this_ledgers && self.looks_like(intent, order))
    }

    fn looks_like(&self, intent: &Intent, order: &BrokerOrder) -> bool {
        let known = intent.snapshot.as_ref().is_some_and(|snapshot| snapshot.known.contains(&order.id));
        order.ordinary
            && order.symbol == intent.symbol
            && order.side == intent.side
            && order.quantity == intent.quantity
            && !known
            && self.orders.owner(&order.id).is_none()
    }

    /// Whether an intent that has no order yet may be waiting for this one: then it is nobody else's (3.6, 5.2).
    pub(super) fn is_awaited(&self, order: &BrokerOrder) -> bool {
        if self.policy.profile.client_ids {
            return false;
        }
        // An order that may be an intent's is of its ticker.
        self.orders
            .live_of(&order.symbol)
            .filter(|intent| !intent.adopted && intent.order_id.is_none())
            .filter(|intent| {
                matches!(intent.state, IntentState::Sent | IntentState::Unknown | IntentState::Stuck)
            })
            .any(|intent| self.may_be(intent, order))
    }

    /// The broker's list, held against every intent whose answer was lost.
    pub(super) fn search(
        &mut self,
        number: u64,
        begun_at: Millis,
        orders: &[BrokerOrder],
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let searched: Vec<IntentId> =
            self.orders.live_ids().iter().filter(|id| self.needs_list(id)).cloned().collect();
        for id in searched {
            let sought = |intent: &&Intent| matches!(intent.state, IntentState::Unknown | IntentState::Stuck);
            let Some(intent) = self.orders.get(&id).filter(sought) else { continue };
            let since = self.book.list_since();
            let reaches_back = intent.sent_at.is_some_and(|sent| since < sent.plus(-ENTERED_EARLY_MS));
            let lost = self.lost.of(&id);
            if number <= lost.after || !reaches_back {
                // A list that is too old, or too short, says nothing of it, and asking was all that could be done.
                self.watch.is_asked(&id);
                continue;
            }
            lost.lists = lost.lists.saturating_add(1);
            self.search_for(&id, number, begun_at, orders, out)?;
            self.watch.is_asked(&id);
        }
        Ok(())
    }

    fn search_for(
        &mut self,
        id: &IntentId,
        number: u64,
        begun_at: Millis,
        orders: &[BrokerOrder],
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let Some(intent) = self.orders.get(id).cloned() else { return Ok(()) };
        let similar: Vec<&BrokerOrder> =
            orders.iter().filter(|order| self.resembles(&intent, order)).collect();
        let full = intent.snapshot.as_ref().is_some_and(|snapshot| snapshot.known.len() >= KNOWN_MAX);
        let enough_ms = self.policy.absent_after_ms;
        let tag = self.book.tag().cloned();
        let lost = self.lost.of(id);
        if similar.is_empty() {
            lost.missed(number, begun_at, enough_ms);
            return Ok(());
        }
        lost.seen();
        // Until our tag is known, and while an order has none yet, nobody can say whose it is.
        let Some(tag) = tag.filter(|_| !full) else { return self.tell_of_similar(id, &similar, out) };
        if similar.iter().any(|order| order.tag.is_none()) {
            return Ok(());
        }
        let ours: Vec<&BrokerOrder> =
            similar.iter().copied().filter(|order| order.tag.as_ref() == Some(&tag)).collect();
        match ours.as_slice() {
            [] => self.tell_of_similar(id, &similar, out),
            [one] if intent.state == IntentState::Stuck => self.adopt_misnamed(&intent, one, out),
            [one] => self.settle(id, one, out),
            #[cfg(feature = "mutants")]
            [first, ..] if crate::mutants::is(crate::mutants::Sabotage::AdoptFirst) => {
                self.settle(id, first, out)
            }
            // A person is asked already.
            _ if intent.state == IntentState::Stuck => Ok(()),
            several => {
                let ids: Vec<&str> = several.iter().map(|order| order.id.as_str()).collect();
                let why = format!("orders {} could all be it; see `bot reconcile`", ids.join(", "));
                self.stuck(id, why, out)
            }
        }
    }

    /// Our own order, where the broker's yes had named another one.
    fn adopt_misnamed(
        &mut self,
        intent: &Intent,
        order: &BrokerOrder,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let id = &intent.id;
        if let Some(named) = &intent.order_id {
            self.orders.release(named);
        }
        self.book.unclaim(id);
        self.orders.bind(order.id.clone(), id);
        let bound = order.id.clone();
        let shown = OrderEvent::Shown(order.id.clone());
        self.happen_with(id, &shown, out, |intent| intent.order_id = Some(bound))?;
        let why = self.reason(id);
        out.effects.push(super::Effect::Alert(format!("{} {id}: {why}", intent.symbol)));
        let symbol = intent.symbol.clone();
        if !self.orders.live_of(&symbol).any(|other| other.state == IntentState::Stuck) {
            self.halts.lift(Some(symbol), HaltKind::Stuck, why, "engine".into(), out);
        }
        self.settle(id, order, out)
    }

    /// What the ledger says of what last happened to the intent.
    fn reason(&self, id: &IntentId) -> String {
        self.orders.get(id).map_or_else(String::new, |intent| intent.reason.clone())
    }

    fn tell_of_similar(
        &mut self,
        id: &IntentId,
        similar: &[&BrokerOrder],
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        if self.lost.told_of_similar.insert(id.clone()) {
            let ids: Vec<&str> = similar.iter().map(|order| order.id.as_str()).collect();
            let text =
                format!("{id} may be order {}, and only a person can say: `bot reconcile`", ids.join(", "));
            out.effects.push(super::Effect::Alert(text));
        }
        Ok(())
    }

    /// `ABSENT_AFTER`: an order that no complete list showed for that long, while the ticker's position did not move,
    /// nothing of ours is on its way and no order of ours is without an intent.
    pub(super) fn prove_absence(&mut self, out: &mut StepOutput) -> Result<(), Stop> {
        if self.policy.absent_after_ms.is_none() || self.orders.in_flight().is_some() || !self.book.compared()
        {
            return Ok(());
        }
        let Some(tag) = self.book.tag().cloned() else { return Ok(()) };
        let missing: Vec<(IntentId, u64)> = self
            .lost
            .searches
            .iter()
            .filter(|(id, _)| self.needs_list(id))
            // Of one that the broker said yes to no time proves that it is not there.
            .filter(|(id, _)| self.orders.get(id).is_some_and(|i| i.state != IntentState::Stuck))
            .filter_map(|(id, search)| Some((id.clone(), search.proved_by?)))
            .collect();
        let strange = |intent: &Intent| intent.adopted && intent.state == IntentState::Stuck;
        if missing.is_empty()
            || self.orders.live().any(strange)
            || self.book.listed().iter().any(|order| self.is_unbound_and_ours(order, &tag))
        {
            return Ok(());
        }
        for (id, proved_by) in missing {
            let Some(intent) = self.orders.get(&id) else { continue };
            let before = intent.snapshot.as_ref().and_then(|snapshot| snapshot.position);
            let now = self.account.reading().filter(|reading| reading.number > proved_by);
            let (Some((before, _)), Some(now)) = (before, now) else { continue };
            if now.of(&intent.symbol) != before {
                continue;
            }
            self.happen(&id, &OrderEvent::ProvedAbsent, out)?;
            let why = self.reason(&id);
            out.effects.push(super::Effect::Alert(format!("{id} counts as never placed: {why}")));
        }
        Ok(())
    }

    /// An order of ours, or one that may turn out to be, that no intent knows: as long as there is one, nobody can say
    /// that an order is missing. Those of an earlier ledger do not count; a person was asked about them.
    fn is_unbound_and_ours(&self, order: &BrokerOrder, tag: &String) -> bool {
        self.orders.owner(&order.id).is_none()
            && order.tag.as_ref().is_none_or(|found| found == tag)
            && !self.is_an_earlier_ledgers(order)
            && !self.is_forgotten(order)
    }

    /// An order that was read under an id the broker gave us for it carries our tag.
    pub(super) fn learn_tag(&mut self, id: &IntentId, order: &BrokerOrder, out: &mut StepOutput) {
        let stuck = self.orders.get(id).is_none_or(|intent| intent.state == IntentState::Stuck);
        if stuck || !self.book.is_claimed(id) {
            return;
        }
        let Some(found) = order.tag.clone() else { return };
        self.book.unclaim(id);
        match self.book.tag() {
            None => self.book.learn_tag(found, out),
            Some(ours) if *ours == found => {}
            Some(ours) => {
                let text = format!(
                    "our order {} carries the tag {found}, and APP_TAG says {ours}: correct APP_TAG, or lost orders \
                     can not be told from strangers'",
                    order.id
                );
                out.effects.push(super::Effect::Alert(text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_clock_proves_no_absence() {
        let mut search = LostOrder::default();
        let hour = 3_600_000;
        for (number, at) in (1..).zip([0, 1_000, hour, 2 * hour]) {
            search.missed(number, Millis(at), Some(600_000));
            assert_eq!(search.proved_by, None, "{number}: {} ms are covered", search.covered_ms);
        }
        for number in 5_u64..8 {
            let at = 2 * hour + i64::try_from(number - 4).unwrap() * 120_000;
            search.missed(number, Millis(at), Some(600_000));
        }
        assert_eq!(search.proved_by, Some(7));
        search.seen();
        assert_eq!((search.proved_by, search.without), (None, 0));
    }

    #[test]
    fn two_lists_prove_nothing_however_far_apart() {
        let mut search = LostOrder::default();
        search.missed(1, Millis(0), Some(60_000));
        search.missed(2, Millis(100_000), Some(60_000));
        assert_eq!(search.proved_by, None);
        search.missed(3, Millis(100_001), Some(60_000));
        assert_eq!(search.proved_by, Some(3));
    }
}
