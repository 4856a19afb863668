//! The broker's list against the ledger: whose is each order there (`protocol.md` 3.6, 5.2)?
//!
//! Orders of ours without an intent are adopted with their executions, once it is sure that they are ours and nobody
//! else's; what is not sure halts, and a person says.

use super::broker_book::LIST_BACK_MS_MAX;
use super::broker_link::{CLOCKS_MS_MAX, Read};
use super::operator::Declined;
use super::{Effect, Engine, StepOutput, Stop};
use crate::hedges::{HaltKind, Intent, IntentState, OrderEvent};
use crate::ports::broker::{BrokerOrder, OrderStatus, ReadError};
use crate::ports::records::Write;
use crate::units::{IntentId, Millis, Shares};

/// The broker's times are cut to seconds and its clock is not ours.
const FORGOTTEN_MARGIN_MS: i64 = 60_000;
/// The same, as narrow as it can be: an order may be entered within a second of this ledger's birth.
const ENTERED_MARGIN_MS: i64 = CLOCKS_MS_MAX + 999;

impl Engine {
    /// The broker's list: the book is compared at start, and ended orders are read again for a day.
    pub(super) fn list(
        &mut self,
        begun_at: Millis,
        answer: Result<Vec<BrokerOrder>, ReadError>,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let number = self.link.list.answered();
        let Some(orders) = self.link.heard(Read::List, number, answer) else { return Ok(()) };
        self.link.refusals.note_listed(number);
        self.book.read(&orders, begun_at, self.now);
        if !self.policy.profile.client_ids {
            self.search(number, begun_at, &orders, out)?;
            if self.watch.unasked().iter().any(|id| self.needs_list(id)) {
                return Ok(());
            }
        }
        let at_start = !self.book.compared();
        if at_start {
            self.halt_if_too_old(out);
        }
        let mut ours_without_intent: u32 = 0;
        for order in &orders {
            let by_name = self.named(order).map(|intent| (intent.id.clone(), intent.state));
            if let Some((id, IntentState::Planned)) = &by_name {
                // A later ledger than this one sent it: the name is taken, and nobody asks for a planned intent.
                self.happen(id, &OrderEvent::NameTaken(order.id.clone()), out)?;
            }
            let blocks = |state: IntentState| state.is_live() && state != IntentState::Planned;
            if let Some(id) = self.orders.owner(&order.id).cloned() {
                self.settle(&id, order, out)?;
            } else if by_name.is_some_and(|(_, state)| blocks(state)) || self.is_awaited(order) {
                // Its intent waits for it, or for a person: its own question binds it.
            } else if self.is_an_earlier_ledgers(order) {
                // A person was asked about it when this ledger was born.
            } else if self.is_forgotten(order) {
                // Older than our memory, which a clock that was set back reaches behind: it may well be ours.
            } else if at_start && self.book.compared_at().is_none() && self.may_be_an_earlier_ledgers(order) {
                ours_without_intent += 1;
            } else if self.book.has_our_tag(order) {
                let near_birth = self.named(order).is_none()
                    && self.book.first_compared_at().is_some_and(|compared| order.entered_at < compared);
                if at_start && !near_birth {
                    self.adopt(order, IntentState::Working, "found in the broker's book at start", out)?;
                } else {
                    // Also where nobody can tell whether this ledger or the one before it sent the order.
                    self.stranger(order, number, out)?;
                }
            } else if at_start && self.book.compared_at().is_some() && self.concerns_us(order) {
                let why = match &order.tag {
                    None => {
                        format!("order {} in {} has no tag and may be this bot's own", order.id, order.symbol)
                    }
                    Some(tag) if self.book.tag().is_none() => format!(
                        "order {} in {} has the tag {tag}, and which tag is this bot's is not known yet: if it is that \
                         one, set APP_TAG={tag} and start again within a day, and the order is adopted",
                        order.id, order.symbol
                    ),
                    Some(_) => format!("order {} in {} was not entered by this bot", order.id, order.symbol),
                };
                self.halts.raise(
                    Some(order.symbol.clone()),
                    HaltKind::ForeignOrder,
                    why,
                    "engine".into(),
                    out,
                );
            }
        }
        if ours_without_intent > 0 {
            self.ask_about_earlier(ours_without_intent, out);
        }
        // By the slower of both clocks: what this ledger sends must not look older than the ledger.
        let compared = begun_at.plus(self.link.clock_ahead_ms().unwrap_or_default().min(0));
        self.book.note_compared(compared, out);
        Ok(())
    }

    /// A new ledger before a book that is not: whose are those orders?
    fn ask_about_earlier(&mut self, orders: u32, out: &mut StepOutput) {
        let whose = match self.book.tag() {
            Some(_) => "of an earlier one",
            None => "that may be an earlier one's (APP_TAG is not known yet)",
        };
        let why = format!(
            "this ledger is new, but the account holds {orders} orders {whose}; put the old ledger back, or say \
             whether they are this one's: `{}`",
            HaltKind::EarlierOrders.lifted_by(None)
        );
        self.halts.raise(None, HaltKind::EarlierOrders, why, "engine".into(), out);
    }

    /// A ledger that knows the broker's orders only up to a moment that no list reaches back to.
    fn halt_if_too_old(&mut self, out: &mut StepOutput) {
        let oldest = self.now.plus(-LIST_BACK_MS_MAX);
        let Some(known) = self.book.compared_at().filter(|known| *known < oldest) else { return };
        let why = format!(
            "this ledger knows the broker's orders up to {known}, and the broker lists them from {oldest} on; look at \
             the account's history, then type `bot resume --kind foreign_order --reason …`"
        );
        self.halts.raise(None, HaltKind::ForeignOrder, why, "engine".into(), out);
    }

    /// The intent whose name the order carries.
    pub(super) fn named(&self, order: &BrokerOrder) -> Option<&Intent> {
        let name: IntentId = order.client_id.as_deref()?.parse().ok()?;
        self.orders.get(&name)
    }

    /// Whether an order that is not ours, as far as it shows, must stop its ticker at start. One without a tag may get
    /// ours yet, one with any tag may be ours where we know none (a ledger that is put back may have learnt it later), and
    /// its ticker's fills may not be read yet.
    fn concerns_us(&self, order: &BrokerOrder) -> bool {
        let untold = order.tag.is_none() || self.book.tag().is_none();
        (untold && !self.policy.profile.client_ids && order.ordinary) || self.exposure.knows(&order.symbol)
    }

    /// On a new ledger: whether a person must be asked about the order. While our tag is not known, any that we could
    /// have sent.
    fn may_be_an_earlier_ledgers(&self, order: &BrokerOrder) -> bool {
        match self.book.tag() {
            Some(_) => self.book.has_our_tag(order),
            None => order.ordinary,
        }
    }

    /// Whether it carries our tag, has traded or still may, and is nobody's here.
    pub(super) fn is_unexplained(&self, order: &BrokerOrder) -> bool {
        let matters =
            order.status == OrderStatus::Live || !order.executed.is_zero() || !order.filled.is_zero();
        matters
            && self.book.has_our_tag(order)
            && self.orders.owner(&order.id).is_none()
            && self.named(order).is_none()
            && !self.is_an_earlier_ledgers(order)
            && !self.is_forgotten(order)
    }

    /// Entered before this ledger was born, by a margin for the two clocks; and whatever there is while a person has not
    /// said yet whose the orders are, for until then this ledger sends nothing.
    pub(super) fn is_an_earlier_ledgers(&self, order: &BrokerOrder) -> bool {
        let before = |born: Millis| order.entered_at < born.plus(-ENTERED_MARGIN_MS);
        self.named(order).is_none()
            && (self.halts.has(None, HaltKind::EarlierOrders)
                || self.book.first_compared_at().is_some_and(before))
    }

    /// Older than our memory, which a clock that was set back reaches behind: an intent of ours may have had it.
    pub(super) fn is_forgotten(&self, order: &BrokerOrder) -> bool {
        self.book.forgotten().is_some_and(|last| order.entered_at <= last.plus(FORGOTTEN_MARGIN_MS))
    }

    /// A person says that the orders of an earlier ledger are this one's (`protocol.md` 5.2). What they executed before
    /// this ledger's birth is in the position it was born with, and is taken off it.
    pub(super) fn adopt_earlier(&mut self, who: &str, out: &mut StepOutput) -> Result<u32, Declined> {
        if self.book.tag().is_none() {
            return Err("nobody can tell which orders are ours before APP_TAG is set".into());
        }
        if !self.book.is_listed_whole() {
            return Err(
                "the broker's list was not read yet; type it again in a moment, while the bot runs".into()
            );
        }
        let earlier: Vec<BrokerOrder> = self
            .book
            .listed()
            .iter()
            .filter(|order| self.book.has_our_tag(order) && self.orders.owner(&order.id).is_none())
            .filter(|order| self.is_an_earlier_ledgers(order))
            .cloned()
            .collect();
        let mut adopted: u32 = 0;
        for order in earlier {
            self.adopt(&order, IntentState::Working, &format!("an earlier ledger's, by {who}"), out)?;
            adopted += 1;
            if self.account.baseline(&order.symbol).is_some() && !order.executed.is_zero() {
                let change = order.side.signed(order.executed).negated();
                let why = format!("order {} was executed before this ledger's birth", order.id);
                self.rebase(&order.symbol, Some(change), &why, who, out)?;
            }
        }
        Ok(adopted)
    }

    /// Outside the start, an order of ours that nobody knows must be seen by two lists asked for after its ticker's last
    /// transition before it counts as another instance's (`protocol.md` 3.6). By their numbers: a clock may be set.
    fn stranger(&mut self, order: &BrokerOrder, number: u64, out: &mut StepOutput) -> Result<(), Stop> {
        let moved = self.account.moved_after(&order.symbol);
        let since_then = |number: u64| moved.is_none_or(|moved| number > moved);
        if !since_then(number) {
            return Ok(());
        }
        match self.book.stranger(&order.id) {
            Some(first) if first < number && since_then(first) => {
                self.book.knows_stranger(&order.id);
                self.adopt(
                    order,
                    IntentState::Stuck,
                    "an order with our tag that no intent here knows",
                    out,
                )?;
                let why = format!("order {} was sent by another instance of this bot", order.id);
                self.halts.raise(Some(order.symbol.clone()), HaltKind::Stuck, why, "engine".into(), out);
                Ok(())
            }
            _ => {
                self.book.note_stranger(&order.id, number);
                Ok(())
            }
        }
    }

    fn adopt(
        &mut self,
        order: &BrokerOrder,
        state: IntentState,
        why: &str,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let intent = Intent {
            snapshot: None,
            ignored: false,
            counted: true,
            id: self.orders.next_id()?,
            symbol: order.symbol.clone(),
            side: order.side,
            quantity: order.quantity,
            state,
            transitions: 0,
            created_at: self.now,
            sent_at: Some(order.entered_at),
            changed_at: self.now,
            order_id: Some(order.id.clone()),
            executed: Shares::ZERO,
            executions: 0,
            adopted: true,
            reference: None,
            reason: why.to_owned(),
        };
        let id = intent.id.clone();
        out.effects.push(Effect::Alert(format!(
            "adopted order {} ({} {} {}): {why}",
            order.id, order.side, order.quantity, order.symbol
        )));
        out.writes.push(Write::Intent(intent.clone()));
        self.orders.bind(order.id.clone(), &id);
        self.orders.insert(intent);
        self.exposure.meet(&order.symbol);
        self.settle(&id, order, out)
    }
}
