//! What to ask the broker, and when: each question is out at most once at a time (`protocol.md` 2, 3).

use super::broker_book::LIST_BACK_MS_MAX;
use super::poller::doubled;
use super::{Effect, Engine, Question, StepOutput, Stop};
use crate::hedges::{HaltKind, Intent, IntentState, OrderEvent};
use crate::ports::broker::Session;
use crate::units::{IntentId, Millis};

/// How often the session is asked for.
const SESSION_MS: i64 = 30_000;
/// How often the broker's list is read while nothing is unclear.
const LIST_MS: i64 = 60_000;
/// How often it, or the session, is read while it is needed: at start, and after an unclear order call.
const NEEDED_MS: i64 = 1_000;
/// How far the periodic list looks back: executions may change for a day.
const LIST_BACK_MS: i64 = 24 * 3_600_000;
/// How far the list at start looks back before the ledger last knew the broker's orders.
const START_BACK_MS: i64 = 5 * 60_000;
/// How often the positions are read, and where one order may not cross zero: sooner, for they bound the orders.
const POSITIONS_MS: i64 = 30_000;
const POSITIONS_NEEDED_MS: i64 = 10_000;
/// The same while a ticker waits whose position has moved since.
const POSITIONS_WANTED_MS: i64 = 1_000;
/// How often the quotes are read; one older than 30 s lets no order go.
const QUOTES_MS: i64 = 10_000;
/// First pause between questions about an `Unknown` intent, doubling to [`UNKNOWN_MS_MAX`].
const UNKNOWN_MS_FIRST: i64 = 500;
/// Longest pause between questions about an `Unknown` intent.
const UNKNOWN_MS_MAX: i64 = 60_000;
/// How often the order of a `Stuck` intent is read, so that its executions are booked.
const STUCK_MS: i64 = 30_000;
/// A live order older than this, in session, is worth a person's look.
const OLD_ORDER_MS: i64 = 5 * 60_000;

impl Engine {
    /// The questions that are due.
    pub(super) fn ask(&mut self, out: &mut StepOutput) -> Result<(), Stop> {
        let session = self.link.session();
        let over = matches!(session, Some(Session::Open { until: Some(until) }) if self.now >= *until);
        let every = if over || session.is_none() { NEEDED_MS } else { SESSION_MS };
        if self.link.session_poll.is_due(self.now, every) {
            let number = self.link.next_question();
            self.link.session_poll.ask(number, self.now);
            out.effects.push(Effect::Ask(Question::Session));
        }
        self.ask_orders(out)?;
        self.ask_list(out);
        self.ask_account(out);
        Ok(())
    }

    fn ask_list(&mut self, out: &mut StepOutput) {
        let compared = self.book.compared();
        let needed = !compared
            || self.link.must_read()
            || self.link.refusals.needs_list()
            || self.link.answers() == Some(false);
        let every = if needed { NEEDED_MS } else { self.search_every() };
        if !self.link.list.is_due(self.now, every) {
            return;
        }
        // At start the list is read after every open intent was asked for (`protocol.md` 5.2).
        if !compared && self.watch.unasked().iter().any(|id| !self.needs_list(id)) {
            return;
        }
        let number = self.link.next_question();
        self.link.list.ask(number, self.now);
        let oldest = self.now.plus(-LIST_BACK_MS_MAX);
        // Whoever was asked whose an order is may have set the tag since: it must be seen once more.
        let asked_whose = !self.policy.profile.client_ids && self.halts.has_kind(HaltKind::ForeignOrder);
        let since = match (compared, self.book.compared_at()) {
            (true, _) => self.now.plus(-LIST_BACK_MS),
            (false, Some(known)) if asked_whose => {
                known.plus(-START_BACK_MS).min(self.now.plus(-LIST_BACK_MS)).max(oldest)
            }
            // A clock that was set back since must not make the list begin in the future.
            (false, Some(known)) => known.min(self.now).plus(-START_BACK_MS).max(oldest),
            (false, None) => oldest,
        };
        let since = since.min(self.searched_since()).max(oldest);
        self.book.ask_since(since);
        out.effects.push(Effect::Ask(Question::List { since }));
    }

    /// How soon the list is read again while it must say what became of an order: at growing pauses.
    fn search_every(&self) -> i64 {
        let searched = self.lost.lists().filter(|(id, _)| self.needs_list(id));
        let pauses = searched.map(|(_, lists)| doubled(UNKNOWN_MS_FIRST, lists, UNKNOWN_MS_MAX));
        pauses.min().unwrap_or(LIST_MS)
    }

    /// How far the list must reach back for those whose order is sought, for orders that are nobody's yet, and for a
    /// person's choice.
    fn searched_since(&self) -> Millis {
        if self.halts.has(None, HaltKind::EarlierOrders) {
            return Millis(i64::MIN / 2);
        }
        let sent = self.orders.live().filter_map(|intent| match intent.state {
            IntentState::Sent | IntentState::Unknown | IntentState::Stuck => intent.sent_at,
            _ => None,
        });
        let listed = self.book.listed().iter();
        let unknown = listed.filter(|order| self.is_unexplained(order)).map(|order| order.entered_at);
        sent.chain(unknown).min().map_or(Millis(i64::MAX / 2), |sent| sent.plus(-START_BACK_MS))
    }

    /// Positions and quotes are read in the background, so that no order waits for them: of a new ticker at once, and then
    /// as time goes by.
    fn ask_account(&mut self, out: &mut StepOutput) {
        let tickers = self.exposure.len();
        let quotes_every = if self.market.lacks(tickers) { 0 } else { QUOTES_MS };
        let quotes = self.link.quotes.is_due(self.now, quotes_every);
        if self.are_positions_due() {
            let number = self.link.next_question();
            self.link.positions.ask(number, self.now);
            out.effects.push(Effect::Ask(Question::Positions));
        }
        if quotes && self.policy.profile.quotes && tickers > 0 {
            let number = self.link.next_question();
            self.link.quotes.ask(number, self.now);
            self.market.ask_of(tickers);
            let symbols = self.exposure.iter().map(|(symbol, _)| symbol.clone()).collect();
            out.effects.push(Effect::Ask(Question::Quotes { symbols }));
        }
    }

    fn are_positions_due(&self) -> bool {
        let due = |every| self.link.positions.is_due(self.now, every);
        if self.policy.profile.crosses_zero {
            return due(POSITIONS_MS);
        }
        let wanted = || self.account.booked().any(|symbol| self.waiting(symbol).is_some());
        due(POSITIONS_NEEDED_MS) || (due(POSITIONS_WANTED_MS) && wanted())
    }

    fn ask_orders(&mut self, out: &mut StepOutput) -> Result<(), Stop> {
        let changed = self.orders.take_changed();
        for id in self.watch.take_due(self.now, changed, self.orders.live_ids()) {
            if self.orders.in_flight() == Some(&id) {
                continue;
            }
            let Some(intent) = self.orders.get(&id) else { continue };
            if intent.state == IntentState::Sent && intent.order_id.is_none() {
                // Only a restart leaves a sent intent without an answer: ask, never assume.
                self.happen(&id, &OrderEvent::AnswerLost, out)?;
            }
            self.ask_order(&id, out);
        }
        Ok(())
    }

    /// Asks what is to be asked of an intent now, and notes when it is to be looked at again.
    fn ask_order(&mut self, id: &IntentId, out: &mut StepOutput) {
        let Some(intent) = self.orders.get(id) else { return };
        let Some((every, question)) = self.question(intent) else { return };
        if self.watch.poll(id).is_due(self.now, every) {
            let number = self.link.next_question();
            self.watch.ask(id, number, self.now);
            out.effects.push(Effect::Ask(question));
        }
        let old_at = self.alert_if_old(id, out);
        let next = self.watch.poll(id).due_at(every).into_iter().chain(old_at).min();
        self.watch.look_at(id, next);
    }

    /// What is asked of an intent, and how often; none of one that waits for something else.
    fn question(&self, intent: &Intent) -> Option<(i64, Question)> {
        let id = intent.id.clone();
        match (intent.state, intent.order_id.clone()) {
            (IntentState::Sent | IntentState::Working, Some(order)) => {
                Some((self.policy.profile.poll_ms, Question::Order { intent: id, id: order }))
            }
            (IntentState::Stuck, Some(order)) => Some((STUCK_MS, Question::Order { intent: id, id: order })),
            (IntentState::Unknown, _) if self.policy.profile.client_ids && !self.watch.may_resend(&id) => {
                let times = self.watch.poll(&id).times();
                Some((doubled(UNKNOWN_MS_FIRST, times, UNKNOWN_MS_MAX), Question::Find { intent: id }))
            }
            _ => None,
        }
    }

    /// Tells a person of an order that is old in an open session; from when on that is to be looked at, if it is to be.
    fn alert_if_old(&mut self, id: &IntentId, out: &mut StepOutput) -> Option<Millis> {
        let intent = self.orders.get(id).filter(|_| !self.watch.was_told_old(id))?;
        let sent = intent.sent_at?;
        let open = matches!(self.link.session(), Some(Session::Open { .. }));
        if !open || self.now.since(sent) <= OLD_ORDER_MS {
            return Some(sent.plus(OLD_ORDER_MS + 1));
        }
        let text = format!("{} {} is {} since {}", intent.symbol, id, intent.state, intent.changed_at);
        out.effects.push(Effect::Alert(text));
        self.watch.note_told_old(id);
        None
    }
}
