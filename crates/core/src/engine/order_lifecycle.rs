//! What the broker says, folded: transitions, executions, adoptions (`protocol.md` 3 and 5.2). `reconcile` asks where an
//! order went, `position_check` what is held.

use std::collections::BTreeSet;

use super::decide::LIST_BACK_MS_MAX;
use super::reconcile::Search;
use super::{Asked, Engine, Out, Pause, Read, Stop};
use crate::hedges::{HaltKind, Intent, IntentState};
use crate::ports::broker::{BrokerOrder, OrderStatus, Placed, ReadError, Session};
use crate::ports::records::Write;
use crate::units::{IntentId, Millis, OrderId, Shares, Symbol};

/// A 404 within this time of the POST means "not visible yet" (`protocol.md` 3.3).
const INVISIBLE_MS_MAX: i64 = 60_000;
/// A done order whose figures do not add up is waited for so long.
const UNTOLD_MS_MAX: i64 = 60_000;
/// And it must have been looked for so often: a clock that jumps a minute ahead makes no order disappear.
const INVISIBLE_READS_MIN: u32 = 10;
/// First pause after an attempt without an execution, doubling to [`PAUSE_MS_MAX`] (`protocol.md` 3.7).
const PAUSE_MS_FIRST: i64 = 5_000;
/// Longest pause between attempts.
const PAUSE_MS_MAX: i64 = 300_000;
/// Attempts in a row without an execution that halt a ticker.
const FAILURES_MAX: u32 = 5;
const DAY_MS: i64 = 24 * 3_600_000;
/// The broker's times are cut to seconds and its clock is not ours.
const FORGOTTEN_MARGIN_MS: i64 = 60_000;
/// The same, as narrow as it can be: an order may be entered within a second of this ledger's birth.
const ENTERED_MARGIN_MS: i64 = super::decide::CLOCKS_MS_MAX + 999;
/// Ended intents are kept in memory this long, because a broker may change an execution within a day.
pub(super) const ENDED_KEPT_MS: i64 = 25 * 3_600_000;

/// The pause after `count` attempts in a row without an execution.
pub(super) fn pause_ms(count: u32) -> i64 {
    let doublings = count.saturating_sub(1).min(16);
    PAUSE_MS_FIRST.saturating_mul(1 << doublings).min(PAUSE_MS_MAX)
}

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
    pub(super) fn placed(&mut self, id: &IntentId, outcome: Placed, out: &mut Out) -> Result<(), Stop> {
        if self.in_flight.as_ref() != Some(id) {
            return Err(Stop::Bug(format!("an answer for {id}, which was not on its way")));
        }
        self.in_flight = None;
        let again = self.resends.get(id).is_some_and(|resend| resend.count > 0);
        if let Placed::Refused { reason, gate_ms: Some(ms) } = &outcome {
            self.gate = Some((Pause { since: self.now, ms: *ms }, reason.clone()));
        }
        if let Placed::NotSent(reason) = &outcome {
            self.not_sent = self.not_sent.saturating_add(1);
            // Reads may work where order calls do not: without a pause that would be an intent a second, for ever.
            self.gate = Some((Pause { since: self.now, ms: pause_ms(self.not_sent) }, reason.clone()));
        } else {
            self.not_sent = 0;
        }
        let outcome = self.whose_refusal(id, outcome, out);
        match outcome {
            Placed::Refused { reason, gate_ms: None } if again && self.refused_again(id) => {
                let why = format!(
                    "the broker does not have it and refused it {FAILURES_MAX} times since; the last: {reason}"
                );
                self.stuck(id, why, out)
            }
            Placed::Refused { reason, .. } | Placed::Barred(reason) | Placed::NotSent(reason) if again => {
                self.must_read = Some(self.questions);
                let why = format!("the send before this one may have arrived; this one: {reason}");
                self.become_state(id, IntentState::Unknown, why, out)
            }
            Placed::Accepted(order) => {
                if let Some(symbol) = self.intents.get(id).map(|intent| intent.symbol.clone()) {
                    self.taken(&symbol, out);
                }
                if let Some(owner) = self.orders.get(&order).filter(|owner| *owner != id) {
                    let why = format!("order {order} is bound to {owner} already");
                    return self.misnamed(id, why, out);
                }
                self.orders.insert(order.clone(), id.clone());
                self.claimed.insert(id.clone());
                let reason = format!("claimed order {order}");
                self.become_with(id, IntentState::Sent, reason, out, |intent| intent.order_id = Some(order))
            }
            Placed::Refused { reason, gate_ms: Some(_) } | Placed::Barred(reason) => {
                self.uncounted(id, format!("gate: {reason}"), out)
            }
            Placed::Refused { reason, gate_ms: None } => {
                self.become_state(id, IntentState::Refused, reason, out)?;
                self.failed(id, out);
                Ok(())
            }
            Placed::NotSent(reason) => {
                self.must_read = Some(self.questions);
                self.uncounted(id, format!("not sent: {reason}"), out)
            }
            Placed::Duplicate => {
                self.become_state(id, IntentState::Unknown, "an earlier send did arrive".into(), out)
            }
            Placed::Unknown(reason) => {
                self.must_read = Some(self.questions);
                self.become_state(id, IntentState::Unknown, reason, out)
            }
        }
    }

    /// Refused for what is not the order's: the attempt does not count against the ticker (`protocol.md` 3.7).
    fn uncounted(&mut self, id: &IntentId, reason: String, out: &mut Out) -> Result<(), Stop> {
        self.become_with(id, IntentState::Refused, reason, out, |intent| intent.counted = false)
    }

    /// A refusal that is the account's, by what the client says of it or by what other tickers were told, is
    /// [`Placed::Barred`] from here on.
    fn whose_refusal(&mut self, id: &IntentId, outcome: Placed, out: &mut Out) -> Placed {
        let (words, told) = match &outcome {
            Placed::Refused { reason, gate_ms: None } => (reason.clone(), false),
            Placed::Barred(reason) => (reason.clone(), true),
            _ => return outcome,
        };
        let Some(symbol) = self.intents.get(id).map(|intent| intent.symbol.clone()) else { return outcome };
        if self.is_the_accounts(&symbol, &words, told) {
            self.bar(&words, out);
            Placed::Barred(words)
        } else {
            Placed::Refused { reason: words, gate_ms: None }
        }
    }

    /// Counts a clear no to the same order again. Whether that is enough of them: then only a person can say that the first
    /// send never arrives (`protocol.md` 3.5).
    fn refused_again(&mut self, id: &IntentId) -> bool {
        let resend = self.resends.entry(id.clone()).or_default();
        resend.refused += 1;
        resend.refused >= FAILURES_MAX
    }

    /// Takes the measure of a read: a success opens the gate that an unclear order call closed, if it was asked for
    /// after that call went wrong.
    pub(super) fn heard<T>(&mut self, read: Read, number: u64, answer: Result<T, ReadError>) -> Option<T> {
        self.broker_answers = Some(answer.is_ok());
        let value = self.told(read, answer)?;
        if self.must_read.is_some_and(|last_before| number > last_before) {
            self.must_read = None;
        }
        Some(value)
    }

    /// Keeps why a read failed until the next one of its kind succeeds.
    pub(super) fn told<T>(&mut self, read: Read, answer: Result<T, ReadError>) -> Option<T> {
        match answer {
            Ok(value) => {
                self.failing.remove(&read);
                Some(value)
            }
            Err(ReadError(why)) => {
                self.failing.insert(read, why);
                None
            }
        }
    }

    /// Why a read failed, as it follows what that means; nothing where it did not.
    pub(super) fn because(&self, read: Read) -> String {
        self.failing.get(&read).map_or_else(String::new, |why| format!(": {why}"))
    }

    fn returned(&mut self, id: &IntentId) -> u64 {
        self.asked_orders.get_mut(id).map_or(0, Asked::returned)
    }

    pub(super) fn order(
        &mut self,
        id: &IntentId,
        order: &OrderId,
        answer: Result<Option<BrokerOrder>, ReadError>,
        out: &mut Out,
    ) -> Result<(), Stop> {
        let number = self.returned(id);
        let Some(answer) = self.heard(Read::Order, number, answer) else { return Ok(()) };
        self.unasked.remove(id);
        let Some(intent) = self.intents.get(id) else { return Ok(()) };
        match answer {
            Some(found) if found.id == *order => self.settle(id, &found, out),
            Some(found) => self.stuck(id, format!("asked for {order}, was told of {}", found.id), out),
            None if intent.state == IntentState::Sent
                && intent.sent_at.is_some_and(|sent| self.now.since(sent) > INVISIBLE_MS_MAX)
                && self.asked_orders.get(id).is_some_and(|asked| asked.times >= INVISIBLE_READS_MIN) =>
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
        out: &mut Out,
    ) -> Result<(), Stop> {
        let number = self.returned(id);
        let Some(answer) = self.heard(Read::Order, number, answer) else { return Ok(()) };
        self.unasked.remove(id);
        if self.intents.get(id).is_none_or(|intent| intent.state != IntentState::Unknown) {
            return Ok(());
        }
        match answer {
            Some(found) => self.settle(id, &found, out),
            None => {
                self.resends.entry(id.clone()).or_default().ready = true;
                Ok(())
            }
        }
    }

    /// An order of ours as the broker has it: verify, book, end.
    pub(super) fn settle(&mut self, id: &IntentId, order: &BrokerOrder, out: &mut Out) -> Result<(), Stop> {
        #[cfg(feature = "mutants")]
        let order = &crate::mutants::partial_forgotten(order);
        let Some(intent) = self.intents.get(id) else { return Ok(()) };
        if self.is_misnamed(intent, order) {
            // Nothing of it is ours: it is not booked, and our own is sought.
            return self.misnamed(id, another(intent, order), out);
        }
        self.entered.insert(id.clone(), order.entered_at);
        if matches!(intent.state, IntentState::Sent | IntentState::Unknown) {
            let bound = self.orders.get(&order.id).is_none_or(|owner| owner == id);
            if !is_same(intent, order) || !bound {
                return self.stuck(id, another(intent, order), out);
            }
            self.orders.insert(order.id.clone(), id.clone());
            self.resends.remove(id);
            let reason = format!("read as {}", order.status_text);
            let order_id = order.id.clone();
            self.become_with(id, IntentState::Working, reason, out, |i| i.order_id = Some(order_id))?;
        }
        self.learn_tag(id, order, out);
        let Some(intent) = self.intents.get(id) else { return Ok(()) };
        if (&intent.symbol, intent.side) != (&order.symbol, order.side) {
            // Booked under this intent its executions would count for another ticker, or with the wrong sign.
            let why = format!("order {} is {} {}", order.id, order.side, order.symbol);
            return self.stuck(id, why, out);
        }
        self.book(id, order, out)?;
        // `Filled` means whole: a broker whose status is ahead of its figures has still to tell what it traded.
        let told = order.executed == order.filled
            && (order.status != OrderStatus::Filled || order.filled >= order.quantity);
        let over = order.status.is_terminal() && (told || self.will_never_tell(id));
        if told {
            self.untold.remove(id);
        }
        if over && self.intents.get(id).is_some_and(|intent| intent.state == IntentState::Working) {
            let end = match order.status {
                OrderStatus::Live => return Ok(()),
                OrderStatus::Filled => IntentState::Filled,
                OrderStatus::Canceled => IntentState::Canceled,
                OrderStatus::Rejected => IntentState::Rejected,
                OrderStatus::Expired => IntentState::Expired,
                OrderStatus::Replaced if self.settled_by_hand.contains(id) => IntentState::Canceled,
                OrderStatus::Replaced => {
                    return self.stuck(id, "replaced by another hand than ours".into(), out);
                }
            };
            self.become_state(id, end, order.status_text.clone(), out)?;
            if !told {
                let why = format!(
                    "order {} is {} for good, of {}, but tells {} filled and {} executed",
                    order.id, order.status_text, order.quantity, order.filled, order.executed
                );
                self.halt(Some(order.symbol.clone()), HaltKind::ExecutionChanged, why, "engine".into(), out);
            }
            if matches!(end, IntentState::Canceled | IntentState::Rejected) {
                if order.executed.is_zero() {
                    self.failed(id, out);
                } else {
                    self.rests.insert(order.symbol.clone(), Pause { since: self.now, ms: PAUSE_MS_FIRST });
                }
            }
        }
        Ok(())
    }

    /// The number in the broker's yes is another order's: our own is there, and the list may show it. Until then the intent
    /// is `Stuck`, from where nothing sends it again and no time makes it absent.
    fn misnamed(&mut self, id: &IntentId, why: String, out: &mut Out) -> Result<(), Stop> {
        let named_by_id = self.policy.profile.client_ids;
        if !named_by_id && self.searches.contains_key(id) {
            return Ok(());
        }
        self.stuck(id, why, out)?;
        if !named_by_id {
            self.searches.insert(id.clone(), Search::after(self.questions));
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
            && !self.settled_by_hand.contains(&intent.id)
            && (!is_same(intent, order) || known())
    }

    /// Whether an order that is done has told figures that do not add up for so long, and so often, that they are not
    /// late any more: a trade may have been taken back before it was read. Counts this reading.
    fn will_never_tell(&mut self, id: &IntentId) -> bool {
        let (since, reads) = self.untold.entry(id.clone()).or_insert((self.now, 0));
        *reads = reads.saturating_add(1);
        // A clock that was set back must not make it last for the hours it was wrong.
        *since = self.now.min(*since);
        self.now.since(*since) > UNTOLD_MS_MAX && *reads >= INVISIBLE_READS_MIN
    }

    /// Books what the order's cumulative says beyond what is booked, in every state of the intent.
    fn book(&mut self, id: &IntentId, order: &BrokerOrder, out: &mut Out) -> Result<(), Stop> {
        let out_of_range = || Stop::Bug(format!("the executions of {id} leave the range"));
        let Some(intent) = self.intents.get_mut(id) else { return Ok(()) };
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
        intent.executions += 1;
        intent.executed = order.executed;
        let (symbol, side, live) = (intent.symbol.clone(), intent.side, intent.state.is_live());
        let ignored = intent.ignored;
        let account = self.account.entry(symbol.clone()).or_default();
        *account = account.checked_add(side.signed(change)).ok_or_else(out_of_range)?;
        self.note_booked(&symbol, side, change);
        if ignored {
            // It moved the account, and is nobody's here.
            return Ok(());
        }
        let position = self.positions.entry(symbol.clone()).or_default();
        position.executions =
            position.executions.checked_add(side.signed(change)).ok_or_else(out_of_range)?;
        if change.is_positive() {
            self.failures.remove(&symbol);
        }
        if change.is_negative() || !live {
            let why = format!("the broker changed what order {} had executed by {change}", order.id);
            self.halt(Some(symbol), HaltKind::ExecutionChanged, why, "engine".into(), out);
        }
        Ok(())
    }

    /// The broker's list: the book is compared at start, and ended orders are read again for a day.
    pub(super) fn list(
        &mut self,
        begun_at: Millis,
        answer: Result<Vec<BrokerOrder>, ReadError>,
        out: &mut Out,
    ) -> Result<(), Stop> {
        let number = self.asked_list.as_mut().map_or(0, Asked::returned);
        let Some(orders) = self.heard(Read::List, number, answer) else { return Ok(()) };
        self.listed_number = number;
        self.listed_at = Some(begun_at);
        self.listed_whole = self.list_since <= self.now.plus(-LIST_BACK_MS_MAX).plus(DAY_MS);
        self.listed.clone_from(&orders);
        if !self.policy.profile.client_ids {
            self.search(number, begun_at, &orders, out)?;
            if self.unasked.iter().any(|id| self.needs_list(id)) {
                return Ok(());
            }
        }
        let at_start = !self.compared;
        if at_start {
            self.halt_if_too_old(out);
        }
        let mut ours_without_intent: u32 = 0;
        for order in &orders {
            let by_name = self.named(order).map(|intent| (intent.id.clone(), intent.state));
            if let Some((id, IntentState::Planned)) = &by_name {
                // A later ledger than this one sent it: the name is taken, and nobody asks for a planned intent.
                let why = format!("order {} at the broker has this name already", order.id);
                self.become_state(id, IntentState::Withdrawn, why, out)?;
            }
            let blocks = |state: IntentState| state.is_live() && state != IntentState::Planned;
            if let Some(id) = self.orders.get(&order.id).cloned() {
                self.settle(&id, order, out)?;
            } else if by_name.is_some_and(|(_, state)| blocks(state)) || self.is_awaited(order) {
                // Its intent waits for it, or for a person: its own question binds it.
            } else if self.is_an_earlier_ledgers(order) {
                // A person was asked about it when this ledger was born.
            } else if self.is_forgotten(order) {
                // Older than our memory, which a clock that was set back reaches behind: it may well be ours.
            } else if at_start && self.compared_at.is_none() && self.may_be_an_earlier_ledgers(order) {
                ours_without_intent += 1;
            } else if self.has_our_tag(order) {
                let near_birth = self.named(order).is_none()
                    && self.first_compared_at.is_some_and(|compared| order.entered_at < compared);
                if at_start && !near_birth {
                    self.adopt(order, IntentState::Working, "found in the broker's book at start", out)?;
                } else {
                    // Also where nobody can tell whether this ledger or the one before it sent the order.
                    self.stranger(order, number, out)?;
                }
            } else if at_start && self.compared_at.is_some() && self.concerns_us(order) {
                let why = match &order.tag {
                    None => {
                        format!("order {} in {} has no tag and may be this bot's own", order.id, order.symbol)
                    }
                    Some(tag) if self.tag().is_none() => format!(
                        "order {} in {} has the tag {tag}, and which tag is this bot's is not known yet: if it is that \
                         one, set APP_TAG={tag} and start again within a day, and the order is adopted",
                        order.id, order.symbol
                    ),
                    Some(_) => format!("order {} in {} was not entered by this bot", order.id, order.symbol),
                };
                self.halt(Some(order.symbol.clone()), HaltKind::ForeignOrder, why, "engine".into(), out);
            }
        }
        if ours_without_intent > 0 {
            self.ask_about_earlier(ours_without_intent, out);
        }
        if at_start {
            // By the slower of both clocks: what this ledger sends must not look older than the ledger.
            let compared = begun_at.plus(self.clock_ahead_ms.unwrap_or_default().min(0));
            self.first_compared_at.get_or_insert(compared);
            out.writes.push(Write::Compared(compared));
        }
        self.compared = true;
        Ok(())
    }

    /// A new ledger before a book that is not: whose are those orders?
    fn ask_about_earlier(&mut self, orders: u32, out: &mut Out) {
        let whose = match self.tag() {
            Some(_) => "of an earlier one",
            None => "that may be an earlier one's (APP_TAG is not known yet)",
        };
        let why = format!(
            "this ledger is new, but the account holds {orders} orders {whose}; put the old ledger back, or say \
             whether they are this one's: `{}`",
            HaltKind::EarlierOrders.lifted_by(None)
        );
        self.halt(None, HaltKind::EarlierOrders, why, "engine".into(), out);
    }

    /// A ledger that knows the broker's orders only up to a moment that no list reaches back to.
    fn halt_if_too_old(&mut self, out: &mut Out) {
        let oldest = self.now.plus(-LIST_BACK_MS_MAX);
        let Some(known) = self.compared_at.filter(|known| *known < oldest) else { return };
        let why = format!(
            "this ledger knows the broker's orders up to {known}, and the broker lists them from {oldest} on; look at \
             the account's history, then type `bot resume --kind foreign_order --reason …`"
        );
        self.halt(None, HaltKind::ForeignOrder, why, "engine".into(), out);
    }

    /// The intent whose name the order carries.
    pub(super) fn named(&self, order: &BrokerOrder) -> Option<&Intent> {
        let name: IntentId = order.client_id.as_deref()?.parse().ok()?;
        self.intents.get(&name)
    }

    pub(super) fn has_our_tag(&self, order: &BrokerOrder) -> bool {
        self.tag().is_some() && order.tag.as_ref() == self.tag()
    }

    /// Whether an order that is not ours, as far as it shows, must stop its ticker at start. One without a tag may get
    /// ours yet, one with any tag may be ours where we know none (a ledger that is put back may have learnt it later), and
    /// its ticker's fills may not be read yet.
    fn concerns_us(&self, order: &BrokerOrder) -> bool {
        let untold = order.tag.is_none() || self.tag().is_none();
        (untold && !self.policy.profile.client_ids && order.ordinary)
            || self.positions.contains_key(&order.symbol)
    }

    /// On a new ledger: whether a person must be asked about the order. While our tag is not known, any that we could
    /// have sent.
    fn may_be_an_earlier_ledgers(&self, order: &BrokerOrder) -> bool {
        match self.tag() {
            Some(_) => self.has_our_tag(order),
            None => order.ordinary,
        }
    }

    /// Whether it carries our tag, has traded or still may, and is nobody's here.
    pub(super) fn is_unexplained(&self, order: &BrokerOrder) -> bool {
        let matters =
            order.status == OrderStatus::Live || !order.executed.is_zero() || !order.filled.is_zero();
        matters
            && self.has_our_tag(order)
            && !self.orders.contains_key(&order.id)
            && self.named(order).is_none()
            && !self.is_an_earlier_ledgers(order)
            && !self.is_forgotten(order)
    }

    /// Entered before this ledger was born, by a margin for the two clocks; and whatever there is while a person has not
    /// said yet whose the orders are, for until then this ledger sends nothing.
    pub(super) fn is_an_earlier_ledgers(&self, order: &BrokerOrder) -> bool {
        let before = |born: Millis| order.entered_at < born.plus(-ENTERED_MARGIN_MS);
        self.named(order).is_none()
            && (self.halts.contains_key(&(None, HaltKind::EarlierOrders))
                || self.first_compared_at.is_some_and(before))
    }

    /// Older than our memory, which a clock that was set back reaches behind: an intent of ours may have had it.
    pub(super) fn is_forgotten(&self, order: &BrokerOrder) -> bool {
        self.forgotten.is_some_and(|last| order.entered_at <= last.plus(FORGOTTEN_MARGIN_MS))
    }

    /// A person says that the orders of an earlier ledger are this one's (`protocol.md` 5.2). What they executed before
    /// this ledger's birth is in the position it was born with, and is taken off it.
    pub(super) fn adopt_earlier(&mut self, who: &str, out: &mut Out) -> Result<Result<u32, String>, Stop> {
        if self.tag().is_none() {
            return Ok(Err("nobody can tell which orders are ours before APP_TAG is set".into()));
        }
        if !self.listed_whole {
            return Ok(Err(
                "the broker's list was not read yet; type it again in a moment, while the bot runs".into(),
            ));
        }
        let earlier: Vec<BrokerOrder> = self
            .listed
            .iter()
            .filter(|order| self.has_our_tag(order) && !self.orders.contains_key(&order.id))
            .filter(|order| self.is_an_earlier_ledgers(order))
            .cloned()
            .collect();
        let mut adopted: u32 = 0;
        for order in earlier {
            self.adopt(&order, IntentState::Working, &format!("an earlier ledger's, by {who}"), out)?;
            adopted += 1;
            if self.baselines.contains_key(&order.symbol) && !order.executed.is_zero() {
                let change = order.side.signed(order.executed).negated();
                let why = format!("order {} was executed before this ledger's birth", order.id);
                self.rebase(&order.symbol, Some(change), &why, who, out)?;
            }
        }
        Ok(Ok(adopted))
    }

    /// Outside the start, an order of ours that nobody knows must be seen by two lists asked for after its ticker's last
    /// transition before it counts as another instance's (`protocol.md` 3.6). By their numbers: a clock may be set.
    fn stranger(&mut self, order: &BrokerOrder, number: u64, out: &mut Out) -> Result<(), Stop> {
        let moved = self.moved.get(&order.symbol).copied();
        let since_then = |number: u64| moved.is_none_or(|moved| number > moved);
        if !since_then(number) {
            return Ok(());
        }
        match self.strangers.get(&order.id).copied() {
            Some(first) if first < number && since_then(first) => {
                self.strangers.remove(&order.id);
                self.adopt(
                    order,
                    IntentState::Stuck,
                    "an order with our tag that no intent here knows",
                    out,
                )?;
                let why = format!("order {} was sent by another instance of this bot", order.id);
                self.halt(Some(order.symbol.clone()), HaltKind::Stuck, why, "engine".into(), out);
                Ok(())
            }
            _ => {
                self.strangers.insert(order.id.clone(), number);
                Ok(())
            }
        }
    }

    fn adopt(
        &mut self,
        order: &BrokerOrder,
        state: IntentState,
        why: &str,
        out: &mut Out,
    ) -> Result<(), Stop> {
        let intent = Intent {
            snapshot: None,
            ignored: false,
            counted: true,
            id: self.next_id()?,
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
        out.effects.push(super::Effect::Alert(format!(
            "adopted order {} ({} {} {}): {why}",
            order.id, order.side, order.quantity, order.symbol
        )));
        out.writes.push(Write::Intent(intent.clone()));
        self.orders.insert(order.id.clone(), id.clone());
        self.live.insert(id.clone());
        self.intents.insert(id.clone(), intent);
        self.positions.entry(order.symbol.clone()).or_default();
        self.settle(&id, order, out)
    }

    pub(super) fn session(&mut self, answer: Result<Session, ReadError>, out: &mut Out) {
        let number = self.asked_session.as_mut().map_or(0, Asked::returned);
        // A broker that can not say is closed; the broker's own implementation falls back to its table.
        let told = self.heard(Read::Session, number, answer);
        if let Some(Session::Disputed { reason }) = &told
            && !matches!(self.session, Some(Session::Disputed { .. }))
        {
            out.effects.push(super::Effect::Alert(format!("no order leaves: {reason}")));
        }
        self.session = told;
    }

    pub(super) fn next_id(&mut self) -> Result<IntentId, Stop> {
        self.sequence += 1;
        let name = format!("cf-{}-{:06}", self.policy.nonce, self.sequence);
        name.parse().map_err(|error| Stop::Bug(format!("intent name: {error}")))
    }

    pub(super) fn become_state(
        &mut self,
        id: &IntentId,
        to: IntentState,
        reason: String,
        out: &mut Out,
    ) -> Result<(), Stop> {
        self.become_with(id, to, reason, out, |_| {})
    }

    /// One arrow of the drawing, with what changes along it.
    pub(super) fn become_with(
        &mut self,
        id: &IntentId,
        to: IntentState,
        reason: String,
        out: &mut Out,
        change: impl FnOnce(&mut Intent),
    ) -> Result<(), Stop> {
        let now = self.now;
        let Some(intent) = self.intents.get_mut(id) else {
            return Err(Stop::Bug(format!("no intent {id}")));
        };
        let from = intent.state;
        if !from.may_become(to) {
            return Err(Stop::Bug(format!("intent {id} can not go from {from} to {to}")));
        }
        change(intent);
        intent.state = to;
        intent.transitions += 1;
        intent.changed_at = now;
        intent.reason = reason;
        if !matches!(to, IntentState::Planned | IntentState::Withdrawn) {
            self.moved.insert(intent.symbol.clone(), self.questions);
        }
        if to == IntentState::Unknown && from != to {
            self.searches.insert(id.clone(), Search::after(self.questions));
        } else if to != IntentState::Unknown {
            self.searches.remove(id);
            self.told_of_similar.remove(id);
        }
        if !to.is_live() {
            self.live.remove(id);
            self.asked_orders.remove(id);
            self.untold.remove(id);
        }
        if !matches!(to, IntentState::Sent | IntentState::Unknown) {
            self.resends.remove(id);
            // Whoever told what became of it: it need not be asked for any more.
            self.unasked.remove(id);
        }
        if to != from {
            // A new state is asked for at once.
            self.asked_orders.remove(id);
        }
        out.writes.push(Write::Transition { from, intent: intent.clone() });
        Ok(())
    }

    pub(super) fn stuck(&mut self, id: &IntentId, why: String, out: &mut Out) -> Result<(), Stop> {
        // An answer may come after the intent ended, or find it stuck already: the ticker halts all the same.
        if self.intents.get(id).is_some_and(|intent| intent.state.may_become(IntentState::Stuck)) {
            self.become_state(id, IntentState::Stuck, why.clone(), out)?;
        }
        let symbol = self.intents.get(id).map(|intent| intent.symbol.clone());
        self.halt(symbol, HaltKind::Stuck, format!("intent {id}: {why}"), "engine".into(), out);
        Ok(())
    }

    fn failed(&mut self, id: &IntentId, out: &mut Out) {
        let Some((symbol, reason)) = self.intents.get(id).map(|i| (i.symbol.clone(), i.reason.clone()))
        else {
            return;
        };
        let failures = self.failures.entry(symbol.clone()).or_default();
        failures.count += 1;
        failures.pause = Pause { since: self.now, ms: pause_ms(failures.count) };
        if failures.count >= FAILURES_MAX {
            let why =
                format!("{} attempts in a row without an execution; the last: {reason}", failures.count);
            self.halt(Some(symbol), HaltKind::Rejects, why, "engine".into(), out);
        }
    }

    pub(super) fn prune(&mut self) {
        if !self.compared {
            // The list at start reaches back to the last run, however long ago that was.
            return;
        }
        let now = self.now;
        // By the later of both: the broker lists an order by when it was entered, and our clock may be set back since.
        let last = |intent: &Intent| {
            let told = [intent.sent_at, self.entered.get(&intent.id).copied()];
            told.into_iter().flatten().fold(intent.changed_at, Millis::max)
        };
        // The order of an intent that is being searched for must not be taken for one that another intent had.
        let searched: BTreeSet<&Symbol> = self
            .live
            .iter()
            .filter(|id| self.needs_list(id))
            .filter_map(|id| Some(&self.intents.get(id)?.symbol))
            .collect();
        let old = |intent: &Intent| {
            !intent.state.is_live()
                && now.since(last(intent)) > ENDED_KEPT_MS
                && !searched.contains(&intent.symbol)
        };
        let gone: Vec<(IntentId, Option<OrderId>, Millis)> = self
            .intents
            .values()
            .filter(|i| old(i))
            .map(|i| (i.id.clone(), i.order_id.clone(), last(i)))
            .collect();
        if gone.is_empty() || self.listed.iter().any(|order| self.is_unexplained(order)) {
            // An order of ours that is nobody's yet must not get as old as what is forgotten.
            return;
        }
        for (id, order, last) in gone {
            self.forgotten = self.forgotten.max(Some(last));
            self.intents.remove(&id);
            self.entered.remove(&id);
            self.alerted.remove(&id);
            self.claimed.remove(&id);
            self.settled_by_hand.remove(&id);
            if let Some(order) = order {
                self.orders.remove(&order);
            }
        }
    }

    pub(super) fn live_of<'a>(&'a self, symbol: &'a Symbol) -> impl Iterator<Item = &'a Intent> {
        self.live.iter().filter_map(|id| self.intents.get(id)).filter(move |intent| intent.symbol == *symbol)
    }

    pub(super) fn question(&mut self, times: u32) -> Asked {
        self.questions += 1;
        Asked { number: self.questions, at: self.now, out: true, times }
    }

    pub(super) fn ask_again(&mut self, id: &IntentId) -> Asked {
        let times = self.asked_orders.get(id).map_or(0, |asked| asked.times);
        let asked = self.question(times.saturating_add(1));
        self.asked_orders.insert(id.clone(), asked);
        asked
    }
}
