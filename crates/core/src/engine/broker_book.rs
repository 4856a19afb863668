//! The broker's own book, as far as it was read: its list, how far back it reaches, what our orders carry there, and
//! since when the ledger and it agree (`protocol.md` 5.2).

use std::collections::{BTreeMap, BTreeSet};

use super::StepOutput;
use crate::ports::broker::BrokerOrder;
use crate::ports::records::{ENDED_KEPT_MS, Write};
use crate::units::{IntentId, Millis, OrderId, Symbol};

const DAY_MS: i64 = 24 * 3_600_000;
/// The furthest any list looks back: with the day that Schwab's reaches ahead it is a day below the brokers' own limit.
pub(super) const LIST_BACK_MS_MAX: i64 = 58 * DAY_MS;

/// The broker's book.
#[derive(Debug, Default)]
pub(super) struct BrokerBook {
    /// What our orders carry, by the configuration.
    tag: Option<String>,
    /// The same, where it was learnt.
    learnt_tag: Option<String>,
    /// Intents that the broker gave an order id for, until that order was read with a tag.
    claimed: BTreeSet<IntentId>,
    /// Intents that a person settled since the start.
    settled_by_hand: BTreeSet<IntentId>,
    /// Whether it was compared with the ledger since the start.
    compared: bool,
    /// Up to when the ledger knew the broker's orders, before this start. Not when it was last written: a process that
    /// was stopped before it had compared the book wrote too, and so does an operator's verb.
    compared_at: Option<Millis>,
    /// When the book was first compared: orders of ours entered before it are an earlier ledger's, and a person has
    /// been asked about them.
    first_compared_at: Option<Millis>,
    /// Up to when intents that have ended may be forgotten here.
    forgotten: Option<Millis>,
    /// Orders with our tag that nobody here knows, and the number of the list that first showed them.
    strangers: BTreeMap<OrderId, u64>,
    /// The list as last read.
    listed: Vec<BrokerOrder>,
    /// Where in it the orders of a ticker are.
    listed_of: BTreeMap<Symbol, Vec<usize>>,
    /// When that reading began.
    listed_at: Option<Millis>,
    /// Whether it reached as far back as any list does.
    listed_whole: bool,
    /// How far back the last list that was asked for reaches.
    list_since: Millis,
    /// A list was read, or what may be ours has changed, since that was last asked.
    changed: bool,
}

impl BrokerBook {
    /// From what the ledger holds; `claimed` before the last stop, and not read yet.
    pub(super) fn new(
        tag: Option<String>,
        learnt_tag: Option<String>,
        claimed: BTreeSet<IntentId>,
        compared_at: Option<Millis>,
        first_compared_at: Option<Millis>,
    ) -> Self {
        let forgotten = compared_at.map(|compared| compared.plus(-ENDED_KEPT_MS));
        Self { tag, learnt_tag, claimed, compared_at, first_compared_at, forgotten, ..Self::default() }
    }

    /// What our orders carry, as far as it is known.
    pub(super) fn tag(&self) -> Option<&String> {
        self.tag.as_ref().or(self.learnt_tag.as_ref())
    }

    pub(super) const fn learnt_tag(&self) -> Option<&String> {
        self.learnt_tag.as_ref()
    }

    pub(super) fn has_our_tag(&self, order: &BrokerOrder) -> bool {
        self.tag().is_some() && order.tag.as_ref() == self.tag()
    }

    /// The broker's yes gave this intent an order id.
    pub(super) fn claim(&mut self, id: &IntentId) {
        self.claimed.insert(id.clone());
    }

    /// The intent's order is not read for our tag any more. Whether it was to be.
    pub(super) fn unclaim(&mut self, id: &IntentId) -> bool {
        self.claimed.remove(id)
    }

    pub(super) fn is_claimed(&self, id: &IntentId) -> bool {
        self.claimed.contains(id)
    }

    /// The first order of ours that was read carries this.
    pub(super) fn learn_tag(&mut self, found: String, out: &mut StepOutput) {
        out.writes.push(Write::Tag(found.clone()));
        self.learnt_tag = Some(found);
        self.changed = true;
    }

    /// A person said what became of the intent.
    pub(super) fn settle_by_hand(&mut self, id: &IntentId) {
        self.settled_by_hand.insert(id.clone());
    }

    pub(super) fn is_settled_by_hand(&self, id: &IntentId) -> bool {
        self.settled_by_hand.contains(id)
    }

    pub(super) const fn compared(&self) -> bool {
        self.compared
    }

    pub(super) const fn compared_at(&self) -> Option<Millis> {
        self.compared_at
    }

    pub(super) const fn first_compared_at(&self) -> Option<Millis> {
        self.first_compared_at
    }

    /// The book is compared as it was at that moment; at a start that is a row.
    pub(super) fn note_compared(&mut self, at: Millis, out: &mut StepOutput) {
        if !self.compared {
            self.first_compared_at.get_or_insert(at);
            out.writes.push(Write::Compared(at));
        }
        self.compared = true;
        self.changed = true;
    }

    /// The list that is asked for now reaches so far back.
    pub(super) const fn ask_since(&mut self, since: Millis) {
        self.list_since = since;
    }

    /// How far back the last list that was asked for reaches.
    pub(super) const fn list_since(&self) -> Millis {
        self.list_since
    }

    /// The list that was asked for last is here.
    pub(super) fn read(&mut self, orders: &[BrokerOrder], begun_at: Millis, now: Millis) {
        self.listed_at = Some(begun_at);
        self.listed_whole = self.list_since <= now.plus(-LIST_BACK_MS_MAX).plus(DAY_MS);
        self.listed = orders.to_vec();
        self.listed_of.clear();
        for (at, order) in orders.iter().enumerate() {
            self.listed_of.entry(order.symbol.clone()).or_default().push(at);
        }
        self.changed = true;
    }

    /// The list as last read.
    pub(super) fn listed(&self) -> &[BrokerOrder] {
        &self.listed
    }

    /// The orders of a ticker in it.
    pub(super) fn listed_of(&self, symbol: &Symbol) -> impl Iterator<Item = &BrokerOrder> {
        let places = self.listed_of.get(symbol).into_iter().flatten();
        places.filter_map(|at| self.listed.get(*at))
    }

    /// When that reading began.
    pub(super) const fn listed_at(&self) -> Option<Millis> {
        self.listed_at
    }

    /// Whether it reached as far back as any list does.
    pub(super) const fn is_listed_whole(&self) -> bool {
        self.listed_whole
    }

    /// The number of the list that first showed an order of nobody's.
    pub(super) fn stranger(&self, order: &OrderId) -> Option<u64> {
        self.strangers.get(order).copied()
    }

    pub(super) fn note_stranger(&mut self, order: &OrderId, number: u64) {
        self.strangers.insert(order.clone(), number);
    }

    /// It is adopted.
    pub(super) fn knows_stranger(&mut self, order: &OrderId) {
        self.strangers.remove(order);
    }

    /// Up to when intents that have ended may be forgotten here.
    pub(super) const fn forgotten(&self) -> Option<Millis> {
        self.forgotten
    }

    /// An intent that ended is not needed any more; the last that was heard of it.
    pub(super) fn forget(&mut self, id: &IntentId, last: Millis) {
        self.forgotten = self.forgotten.max(Some(last));
        self.claimed.remove(id);
        self.settled_by_hand.remove(id);
        self.changed = true;
    }

    /// Whether something has changed since this was last asked that says whose an order is.
    pub(super) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }
}
