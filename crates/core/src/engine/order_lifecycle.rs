//! What the broker says, folded: transitions, executions, adoptions (`protocol.md` 3 and 5.2). `reconcile` asks where an
//! order went, `position_check` what is held.

use std::collections::BTreeSet;

use super::attempts::{FAILURES_MAX, pause_ms};
use super::broker_link::Read;
use super::{Engine, StepOutput, Stop};
use crate::hedges::{End, HaltKind, Intent, IntentState, OrderEvent, Transition, transition};
use crate::ports::broker::{BrokerOrder, OrderStatus, Placed, ReadError, Session};
use crate::ports::records::{ENDED_KEPT_MS, Write};
use crate::units::{IntentId, Millis, OrderId, Symbol};

/// A 404 within this time of the POST means "not visible yet" (`protocol.md` 3.3).
const INVISIBLE_MS_MAX: i64 = 60_000;
/// A done order whose figures do not add up is waited for so long.
const UNTOLD_MS_MAX: i64 = 60_000;
/// And it must have been looked for so often: a clock that jumps a minute ahead makes no order disappear.
const INVISIBLE_READS_MIN: u32 = 10;
/// Whether the order is for what the intent wanted.
fn is_same(intent: &Intent, order: &BrokerOrder) -> bool {
    (&intent.symbol, intent.side, intent.quantity) == (&order.symbol, order.side, order.quantity)
}

/// That the order is not the intent's, in words.
fn another(intent: &Intent, order: &BrokerOrder) -> String {
    let Intent { symbol, side, quantity, .. } = intent;
    let before = if is_same(intent, order) { " from before it was sent" } else { "" };
    format!(
        "order {} is {} {} {}{before}, the intent is {side} {quantity} {symbol}",
        order.id, order.side, order.quantity, order.symbol
    )
}

impl Engine {
    pub(super) fn placed(
        &mut self,
        id: &IntentId,
        outcome: Placed,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        if !self.orders.land(id) {
            return Err(Stop::Bug(format!("an answer for {id}, which was not on its way")));
        }
        let again = self.watch.resend(id).is_some_and(|resend| resend.count > 0);
        if let Placed::Refused { reason, gate_ms: Some(ms) } = &outcome {
            self.link.close_gate(self.now, *ms, reason.clone());
        }
        if let Placed::NotSent(reason) = &outcome {
            let times = self.link.note_not_sent();
            // Reads may work where order calls do not: without a pause that would be an intent a second, for ever.
            self.link.close_gate(self.now, pause_ms(times), reason.clone());
        } else {
            self.link.note_left();
        }
        let outcome = self.whose_refusal(id, outcome, out);
        match outcome {
            Placed::Refused { reason, gate_ms: None }
                if again && self.watch.refused_again(id) >= FAILURES_MAX =>
            {
                let why = format!(
                    "the broker does not have it and refused it {FAILURES_MAX} times since; the last: {reason}"
                );
                self.stuck(id, why, out)
            }
            Placed::Refused { reason, .. } | Placed::Barred(reason) | Placed::NotSent(reason) if again => {
                self.link.note_unclear();
                self.happen(id, &OrderEvent::ResendUnclear(reason), out)
            }
            Placed::Accepted(order) => {
                if let Some(symbol) = self.orders.get(id).map(|intent| intent.symbol.clone()) {
                    self.taken(&symbol, out);
                }
                if let Some(owner) = self.orders.owner(&order).filter(|owner| *owner != id) {
                    let why = format!("order {order} is bound to {owner} already");
                    return self.misnamed(id, why, out);
                }
                self.orders.bind(order.clone(), id);
                self.book.claim(id);
                let accepted = OrderEvent::Accepted(order.clone());
                self.happen_with(id, &accepted, out, |intent| intent.order_id = Some(order))
            }
            Placed::Refused { reason, gate_ms: Some(_) } | Placed::Barred(reason) => {
                self.uncounted(id, &OrderEvent::Barred(reason), out)
            }
            Placed::Refused { reason, gate_ms: None } => {
                self.happen(id, &OrderEvent::Refused(reason), out)?;
                self.failed(id, out);
                Ok(())
            }
            Placed::NotSent(reason) => {
                self.link.note_unclear();
                self.uncounted(id, &OrderEvent::NotSent(reason), out)
            }
            Placed::Duplicate => self.happen(id, &OrderEvent::Duplicate, out),
            Placed::Unknown(reason) => {
                self.link.note_unclear();
                self.happen(id, &OrderEvent::Unclear(reason), out)
            }
        }
    }

    /// Refused for what is not the order's: the attempt does not count against the ticker (`protocol.md` 3.7).
    fn uncounted(&mut self, id: &IntentId, event: &OrderEvent, out: &mut StepOutput) -> Result<(), Stop> {
        self.happen_with(id, event, out, |intent| intent.counted = false)
    }

    /// A refusal that is the account's, by what the client says of it or by what other tickers were told, is
    /// [`Placed::Barred`] from here on.
    fn whose_refusal(&mut self, id: &IntentId, outcome: Placed, out: &mut StepOutput) -> Placed {
        let (words, told) = match &outcome {
            Placed::Refused { reason, gate_ms: None } => (reason.clone(), false),
            Placed::Barred(reason) => (reason.clone(), true),
            _ => return outcome,
        };
        let Some(symbol) = self.orders.get(id).map(|intent| intent.symbol.clone()) else { return outcome };
        if self.link.refusals.is_the_accounts(&symbol, &words, told) {
            self.bar(&words, out);
            Placed::Barred(words)
        } else {
            Placed::Refused { reason: words, gate_ms: None }
        }
    }

    pub(super) fn order(
        &mut self,
        id: &IntentId,
        order: &OrderId,
        answer: Result<Option<BrokerOrder>, ReadError>,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let number = self.watch.answered(id);
        let Some(answer) = self.link.heard(Read::Order, number, answer) else { return Ok(()) };
        self.watch.is_asked(id);
        let Some(intent) = self.orders.get(id) else { return Ok(()) };
        match answer {
            Some(found) if found.id == *order => self.settle(id, &found, out),
            Some(found) => self.stuck(id, format!("asked for {order}, was told of {}", found.id), out),
            None if intent.state == IntentState::Sent
                && intent.sent_at.is_some_and(|sent| self.now.since(sent) > INVISIBLE_MS_MAX)
                && self.watch.poll(id).times() >= INVISIBLE_READS_MIN =>
            {
                self.stuck(id, format!("order {order} was accepted and is not to be found"), out)
            }
            None => Ok(()),
        }
    }

    pub(super) fn found(
        &mut self,
        id: &IntentId,
        answer: Result<Option<BrokerOrder>, ReadError>,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let number = self.watch.answered(id);
        let Some(answer) = self.link.heard(Read::Order, number, answer) else { return Ok(()) };
        self.watch.is_asked(id);
        if self.orders.get(id).is_none_or(|intent| intent.state != IntentState::Unknown) {
            return Ok(());
        }
        match answer {
            Some(found) => self.settle(id, &found, out),
            None => {
                self.watch.is_not_there(id);
                Ok(())
            }
        }
    }

    /// An order of ours as the broker has it: verify, book, end.
    pub(super) fn settle(
        &mut self,
        id: &IntentId,
        order: &BrokerOrder,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        #[cfg(feature = "mutants")]
        let order = &crate::mutants::partial_forgotten(order);
        let Some(intent) = self.orders.get(id) else { return Ok(()) };
        if self.is_misnamed(intent, order) {
            // Nothing of it is ours: it is not booked, and our own is sought.
            return self.misnamed(id, another(intent, order), out);
        }
        self.orders.note_entered(id, order.entered_at);
        let Some(intent) = self.orders.get(id) else { return Ok(()) };
        if matches!(intent.state, IntentState::Sent | IntentState::Unknown) {
            let bound = self.orders.owner(&order.id).is_none_or(|owner| owner == id);
            if !is_same(intent, order) || !bound {
                return self.stuck(id, another(intent, order), out);
            }
            self.orders.bind(order.id.clone(), id);
            let order_id = order.id.clone();
            let read = OrderEvent::Read(order.status_text.clone());
            self.happen_with(id, &read, out, |intent| intent.order_id = Some(order_id))?;
        }
        self.learn_tag(id, order, out);
        let Some(intent) = self.orders.get(id) else { return Ok(()) };
        if (&intent.symbol, intent.side) != (&order.symbol, order.side) {
            // Booked under this intent its executions would count for another ticker, or with the wrong sign.
            let why = format!("order {} is {} {}", order.id, order.side, order.symbol);
            return self.stuck(id, why, out);
        }
        self.book(id, order, out)?;
        // `Filled` means whole: a broker whose status is ahead of its figures has still to tell what it traded.
        let told = order.executed == order.filled
            && (order.status != OrderStatus::Filled || order.filled >= order.quantity);
        let over = order.status.is_terminal()
            && (told || self.watch.will_never_tell(id, self.now, UNTOLD_MS_MAX, INVISIBLE_READS_MIN));
        if told {
            self.watch.told(id);
        }
        if over && self.orders.get(id).is_some_and(|intent| intent.state == IntentState::Working) {
            let end = match order.status {
                OrderStatus::Live => return Ok(()),
                OrderStatus::Filled => End::Filled,
                OrderStatus::Canceled => End::Canceled,
                OrderStatus::Rejected => End::Rejected,
                OrderStatus::Expired => End::Expired,
                OrderStatus::Replaced if self.book.is_settled_by_hand(id) => End::Canceled,
                OrderStatus::Replaced => {
                    return self.stuck(id, "replaced by another hand than ours".into(), out);
                }
            };
            self.happen(id, &OrderEvent::Ended(end, order.status_text.clone()), out)?;
            if !told {
                let why = format!(
                    "order {} is {} for good, of {}, but tells {} filled and {} executed",
                    order.id, order.status_text, order.quantity, order.filled, order.executed
                );
                self.halts.raise(
                    Some(order.symbol.clone()),
                    HaltKind::ExecutionChanged,
                    why,
                    "engine".into(),
                    out,
                );
            }
            if matches!(end, End::Canceled | End::Rejected) {
                if order.executed.is_zero() {
                    self.failed(id, out);
                } else {
                    self.attempts.rest(&order.symbol, self.now);
                }
            }
        }
        Ok(())
    }

    /// The number in the broker's yes is another order's: our own is there, and the list may show it. Until then the intent
    /// is `Stuck`, from where nothing sends it again and no time makes it absent.
    fn misnamed(&mut self, id: &IntentId, why: String, out: &mut StepOutput) -> Result<(), Stop> {
        let named_by_id = self.policy.profile.client_ids;
        if !named_by_id && self.lost.is_sought(id) {
            return Ok(());
        }
        self.stuck(id, why, out)?;
        if !named_by_id {
            self.lost.seek(id, self.link.questions());
        }
        Ok(())
    }

    /// Whether `order` is what a number in a yes led to, and another one than the intent's: it differs in what was ordered,
    /// or the broker had it before ours was sent.
    fn is_misnamed(&self, intent: &Intent, order: &BrokerOrder) -> bool {
        let known = || intent.snapshot.as_ref().is_some_and(|snapshot| snapshot.known.contains(&order.id));
        matches!(intent.state, IntentState::Sent | IntentState::Stuck)
            && !self.policy.profile.client_ids
            && !intent.adopted
            && intent.executions == 0
            && intent.order_id.as_ref() == Some(&order.id)
            && !self.book.is_settled_by_hand(&intent.id)
            && (!is_same(intent, order) || known())
    }

    /// Books what the order's cumulative says beyond what is booked, in every state of the intent.
    fn book(&mut self, id: &IntentId, order: &BrokerOrder, out: &mut StepOutput) -> Result<(), Stop> {
        let out_of_range = || Stop::Bug(format!("the executions of {id} leave the range"));
        let Some(intent) = self.orders.get(id) else { return Ok(()) };
        let change = order.executed.checked_sub(intent.executed).ok_or_else(out_of_range)?;
        if change.is_zero() {
            return Ok(());
        }
        out.writes.push(Write::Execution {
            order_id: order.id.clone(),
            n: intent.executions,
            intent: id.clone(),
            quantity: change,
            average_price: order.average_price,
        });
        let (symbol, side, live) = (intent.symbol.clone(), intent.side, intent.state.is_live());
        let ignored = intent.ignored;
        self.orders.change(id, |intent| {
            intent.executions += 1;
            intent.executed = order.executed;
        });
        self.account.note_executed(&symbol, side.signed(change)).ok_or_else(out_of_range)?;
        self.note_booked(&symbol, side, change);
        if ignored {
            // It moved the account, and is nobody's here.
            return Ok(());
        }
        self.exposure.move_executions(&symbol, side.signed(change)).ok_or_else(out_of_range)?;
        if change.is_positive() {
            self.attempts.forget(&symbol);
        }
        if change.is_negative() || !live {
            let why = format!("the broker changed what order {} had executed by {change}", order.id);
            self.halts.raise(Some(symbol), HaltKind::ExecutionChanged, why, "engine".into(), out);
        }
        Ok(())
    }

    pub(super) fn session(&mut self, answer: Result<Session, ReadError>, out: &mut StepOutput) {
        let number = self.link.session_poll.answered();
        // A broker that can not say is closed; the broker's own implementation falls back to its table.
        let told = self.link.heard(Read::Session, number, answer);
        if let Some(Session::Disputed { reason }) = &told
            && !matches!(self.link.session(), Some(Session::Disputed { .. }))
        {
            out.effects.push(super::Effect::Alert(format!("no order leaves: {reason}")));
        }
        self.link.set_session(told);
    }

    /// Something happens to an intent.
    pub(super) fn happen(
        &mut self,
        id: &IntentId,
        event: &OrderEvent,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        self.happen_with(id, event, out, |_| {})
    }

    /// The same, with what else changes in the intent. The one way for it to another state.
    pub(super) fn happen_with(
        &mut self,
        id: &IntentId,
        event: &OrderEvent,
        out: &mut StepOutput,
        change: impl FnOnce(&mut Intent),
    ) -> Result<(), Stop> {
        let now = self.now;
        let Some(from) = self.orders.get(id).map(|intent| intent.state) else {
            return Err(Stop::Bug(format!("no intent {id}")));
        };
        let Some(Transition { to, reason }) = transition(from, event) else {
            return Err(Stop::Bug(format!("intent {id} is {from}, where this can not happen: {event:?}")));
        };
        let changed = self.orders.change(id, |intent| {
            change(intent);
            intent.state = to;
            intent.transitions += 1;
            intent.changed_at = now;
            intent.reason = reason;
            intent.clone()
        });
        let Some(intent) = changed else { return Err(Stop::Bug(format!("no intent {id}"))) };
        let asked = self.link.questions();
        if !matches!(to, IntentState::Planned | IntentState::Withdrawn) {
            self.account.note_moved(&intent.symbol, asked);
        }
        self.lost.became(id, from, to, asked);
        self.watch.became(id, from, to);
        out.writes.push(Write::Transition { from, intent });
        Ok(())
    }

    pub(super) fn stuck(&mut self, id: &IntentId, why: String, out: &mut StepOutput) -> Result<(), Stop> {
        // An answer may come after the intent ended, or find it stuck already: the ticker halts all the same.
        let event = OrderEvent::Contradicted(why.clone());
        if self.orders.get(id).is_some_and(|intent| transition(intent.state, &event).is_some()) {
            self.happen(id, &event, out)?;
        }
        let symbol = self.orders.get(id).map(|intent| intent.symbol.clone());
        self.halts.raise(symbol, HaltKind::Stuck, format!("intent {id}: {why}"), "engine".into(), out);
        Ok(())
    }

    fn failed(&mut self, id: &IntentId, out: &mut StepOutput) {
        let Some((symbol, reason)) = self.orders.get(id).map(|i| (i.symbol.clone(), i.reason.clone())) else {
            return;
        };
        let count = self.attempts.failed(&symbol, self.now);
        if count >= FAILURES_MAX {
            let why = format!("{count} attempts in a row without an execution; the last: {reason}");
            self.halts.raise(Some(symbol), HaltKind::Rejects, why, "engine".into(), out);
        }
    }

    /// Forgets intents that ended more than a day ago.
    pub(super) fn prune(&mut self) {
        if !self.book.compared() {
            // The list at start reaches back to the last run, however long ago that was.
            return;
        }
        let since = self.now.plus(-ENDED_KEPT_MS);
        if self.orders.ended_before(since).next().is_none() {
            return;
        }
        // The order of an intent that is being searched for must not be taken for one that another intent had.
        let searched = self.orders.live().filter(|intent| self.needs_list(&intent.id));
        let searched: BTreeSet<&Symbol> = searched.map(|intent| &intent.symbol).collect();
        let old = self.orders.ended_before(since).filter(|(_, intent)| !searched.contains(&intent.symbol));
        let gone: Vec<(IntentId, Millis)> = old.map(|(last, intent)| (intent.id.clone(), last)).collect();
        if gone.is_empty() || self.book.listed().iter().any(|order| self.is_unexplained(order)) {
            // An order of ours that is nobody's yet must not get as old as what is forgotten.
            return;
        }
        for (id, last) in gone {
            self.book.forget(&id, last);
            self.watch.forget(&id);
            self.orders.forget(&id);
        }
    }
}
