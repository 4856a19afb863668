//! Once per step: what to ask the broker, what to send it, and why not (`protocol.md` 2 to 4).

use std::collections::BTreeMap;

use super::order_lifecycle::pause_ms;
use super::unhedged::Wait;
use super::{Asked, Effect, Engine, Out, Pause, Question, Read, Resend, Stop};
use crate::hedges::{HaltKind, Intent, IntentState};
use crate::ports::broker::Session;
use crate::ports::records::Write;
use crate::positions::Position;
use crate::units::{Cash, IntentId, Millis, Price, Shares, Side, Symbol};

/// No order leaves in the last 15 s of a session.
pub(super) const CLOSING_MS: i64 = 15_000;
/// How often the session is asked for.
const SESSION_MS: i64 = 30_000;
/// How often the broker's list is read while nothing is unclear.
const LIST_MS: i64 = 60_000;
/// How often it is read while it is needed: at start, and after an unclear order call.
const LIST_NEEDED_MS: i64 = 1_000;
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
/// Our clock and the broker's may differ by so much.
pub const CLOCKS_MS_MAX: i64 = 2_000;
/// The furthest any list looks back: with the day that Schwab's reaches ahead it is a day below the brokers' own limit.
pub(super) const LIST_BACK_MS_MAX: i64 = 58 * 24 * 3_600_000;
/// First pause between questions about an `Unknown` intent, doubling to [`UNKNOWN_MS_MAX`].
const UNKNOWN_MS_FIRST: i64 = 500;
/// Longest pause between questions about an `Unknown` intent.
const UNKNOWN_MS_MAX: i64 = 60_000;
/// How often the order of a `Stuck` intent is read, so that its executions are booked.
const STUCK_MS: i64 = 30_000;
/// A live order older than this, in session, is worth a person's look.
const OLD_ORDER_MS: i64 = 5 * 60_000;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 3_600_000;

impl Engine {
    /// Why nothing may be decided yet; empty when it may (`protocol.md` 2).
    pub(super) fn not_deciding(&self) -> Vec<String> {
        let mut waits = Vec::new();
        if self.stopping {
            waits.push("nothing: the bot is stopping".into());
        }
        if !self.unasked.is_empty() {
            let why = self.because(Read::Order);
            waits.push(format!("{} intents whose fate the broker must tell first{why}", self.unasked.len()));
        }
        if !self.compared {
            waits.push(format!(
                "the broker's book to be compared with the ledger{}",
                self.because(Read::List)
            ));
        }
        if self.half_read {
            waits.push("the rest of a fork to be read".into());
        }
        if self.stands_twice {
            waits.push("a transaction that a fork moved to stand in one block only".into());
        }
        match (self.reach, self.cursor) {
            (None, _) => waits.push("a connection to the chain".into()),
            (Some(reach), cursor) => {
                let at = cursor.map_or(0, |cursor| cursor.number);
                if cursor.is_none() || at < reach {
                    waits.push(format!("the sweep to reach block {reach} (it is at {at})"));
                }
            }
        }
        waits
    }

    /// Why no order may leave for any ticker; none when one may.
    pub(super) fn gate_closed(&self) -> Option<String> {
        if let Some((pause, why)) = &self.gate
            && !pause.over(self.now)
        {
            return Some(format!("until {}: {why}", pause.until()));
        }
        if self.must_read.is_some() {
            return Some("an order call went wrong; one read of the broker must succeed first".into());
        }
        if self.bar_needs_list() {
            return Some(format!(
                "an order was refused; the broker's list must be read first{}",
                self.because(Read::List)
            ));
        }
        if self.broker_answers == Some(false) {
            let why = self.failing.values().next().map_or_else(String::new, |why| format!(": {why}"));
            return Some(format!("the broker does not answer{why}"));
        }
        if let Some(ahead_ms) = self.clock_ahead_ms.filter(|ms| ms.saturating_abs() > CLOCKS_MS_MAX) {
            return Some(format!(
                "the broker's clock and ours are {ahead_ms} ms apart; set this machine's clock (NTP)"
            ));
        }
        match &self.session {
            None => Some(format!("the session is not known{}", self.because(Read::Session))),
            Some(Session::Closed { reason }) => Some(format!("session closed: {reason}")),
            Some(Session::Disputed { reason }) => Some(reason.clone()),
            Some(Session::Open { until: Some(until) }) if until.since(self.now) <= CLOSING_MS => {
                Some(format!("the session ends at {until}"))
            }
            Some(Session::Open { .. }) => None,
        }
    }

    /// The questions that are due. Each is out at most once at a time.
    pub(super) fn ask(&mut self, out: &mut Out) -> Result<(), Stop> {
        let free = |asked: &Option<Asked>| asked.is_none_or(|asked| !asked.out);
        let session_over =
            matches!(&self.session, Some(Session::Open { until: Some(until) }) if self.now >= *until);
        let session_due = self.asked_session.is_none_or(|asked| {
            let every = if session_over || self.session.is_none() { LIST_NEEDED_MS } else { SESSION_MS };
            self.due(asked.at, every)
        });
        if free(&self.asked_session) && session_due {
            self.asked_session = Some(self.question(0));
            out.effects.push(Effect::Ask(Question::Session));
        }
        self.ask_orders(out)?;
        let needed = !self.compared
            || self.must_read.is_some()
            || self.bar_needs_list()
            || self.broker_answers == Some(false);
        let list_every = if needed { LIST_NEEDED_MS } else { self.search_every() };
        let list_due = self.asked_list.is_none_or(|asked| self.due(asked.at, list_every));
        // At start the list is read after every open intent was asked for (`protocol.md` 5.2).
        let by_name = self.unasked.iter().any(|id| !self.needs_list(id));
        if free(&self.asked_list) && list_due && (self.compared || !by_name) {
            self.asked_list = Some(self.question(0));
            let oldest = self.now.plus(-LIST_BACK_MS_MAX);
            // Whoever was asked whose an order is may have set the tag since: it must be seen once more.
            let asked_whose = !self.policy.profile.client_ids
                && self.halts.keys().any(|(_, kind)| *kind == HaltKind::ForeignOrder);
            let since = match (self.compared, self.compared_at) {
                (true, _) => self.now.plus(-LIST_BACK_MS),
                (false, Some(known)) if asked_whose => {
                    known.plus(-START_BACK_MS).min(self.now.plus(-LIST_BACK_MS)).max(oldest)
                }
                // A clock that was set back since must not make the list begin in the future.
                (false, Some(known)) => known.min(self.now).plus(-START_BACK_MS).max(oldest),
                (false, None) => oldest,
            };
            let since = since.min(self.searched_since()).max(oldest);
            self.list_since = since;
            out.effects.push(Effect::Ask(Question::List { since }));
        }
        self.ask_account(out);
        Ok(())
    }

    /// How soon the list is read again while it must say what became of an order: at growing pauses.
    fn search_every(&self) -> i64 {
        let pause = |lists: u32| UNKNOWN_MS_FIRST.saturating_mul(1 << lists.min(10)).min(UNKNOWN_MS_MAX);
        let soonest =
            self.searches.iter().filter(|(id, _)| self.needs_list(id)).map(|(_, s)| pause(s.lists)).min();
        soonest.unwrap_or(LIST_MS)
    }

    /// How far the list must reach back for those whose order is sought, for orders that are nobody's yet, and for a
    /// person's choice.
    fn searched_since(&self) -> Millis {
        if self.halts.contains_key(&(None, HaltKind::EarlierOrders)) {
            return Millis(i64::MIN / 2);
        }
        let sent =
            self.live.iter().filter_map(|id| self.intents.get(id)).filter_map(|intent| match intent.state {
                IntentState::Sent | IntentState::Unknown | IntentState::Stuck => intent.sent_at,
                _ => None,
            });
        let unknown =
            self.listed.iter().filter(|order| self.is_unexplained(order)).map(|order| order.entered_at);
        sent.chain(unknown).min().map_or(Millis(i64::MAX / 2), |sent| sent.plus(-START_BACK_MS))
    }

    /// Positions and quotes are read in the background, so that no order waits for them: of a new ticker at once, and then
    /// as time goes by.
    fn ask_account(&mut self, out: &mut Out) {
        let due =
            |asked: Option<Asked>, every| asked.is_none_or(|asked| !asked.out && self.due(asked.at, every));
        let every = if self.policy.profile.crosses_zero {
            POSITIONS_MS
        } else if self.booked_since.iter().any(|(_, symbol, _)| self.waiting.contains_key(symbol)) {
            POSITIONS_WANTED_MS
        } else {
            POSITIONS_NEEDED_MS
        };
        let is_new = self.positions.keys().any(|symbol| !self.quoted_of.contains(symbol));
        let quotes_every = if is_new { 0 } else { QUOTES_MS };
        let (positions, quotes) = (due(self.asked_positions, every), due(self.asked_quotes, quotes_every));
        if positions {
            self.asked_positions = Some(self.question(0));
            out.effects.push(Effect::Ask(Question::Positions));
        }
        if quotes && self.policy.profile.quotes && !self.positions.is_empty() {
            self.asked_quotes = Some(self.question(0));
            self.quoted_of = self.positions.keys().cloned().collect();
            let symbols = self.quoted_of.iter().cloned().collect();
            out.effects.push(Effect::Ask(Question::Quotes { symbols }));
        }
    }

    fn ask_orders(&mut self, out: &mut Out) -> Result<(), Stop> {
        let live: Vec<IntentId> = self.live.iter().cloned().collect();
        for id in live {
            if self.in_flight.as_ref() == Some(&id) {
                continue;
            }
            let Some(intent) = self.intents.get(&id) else { continue };
            if intent.state == IntentState::Sent && intent.order_id.is_none() {
                // Only a restart leaves a sent intent without an answer: ask, never assume.
                let why = "the bot stopped before the broker's answer".to_owned();
                self.become_state(&id, IntentState::Unknown, why, out)?;
            }
            let Some(intent) = self.intents.get(&id) else { continue };
            let asked = self.asked_orders.get(&id).copied();
            let times = asked.map_or(0, |asked| asked.times);
            let (every, question) = match (intent.state, &intent.order_id) {
                (IntentState::Sent | IntentState::Working, Some(order)) => {
                    (self.policy.profile.poll_ms, Question::Order { intent: id.clone(), id: order.clone() })
                }
                (IntentState::Stuck, Some(order)) => {
                    (STUCK_MS, Question::Order { intent: id.clone(), id: order.clone() })
                }
                (IntentState::Unknown, _) if !self.policy.profile.client_ids => continue,
                (IntentState::Unknown, _) if !self.resends.get(&id).is_some_and(|resend| resend.ready) => (
                    UNKNOWN_MS_FIRST.saturating_mul(1 << times.min(10)).min(UNKNOWN_MS_MAX),
                    Question::Find { intent: id.clone() },
                ),
                _ => continue,
            };
            if asked.is_none_or(|asked| !asked.out && self.due(asked.at, every)) {
                self.ask_again(&id);
                out.effects.push(Effect::Ask(question));
            }
            self.alert_if_old(&id, out);
        }
        Ok(())
    }

    fn alert_if_old(&mut self, id: &IntentId, out: &mut Out) {
        let Some(intent) = self.intents.get(id) else { return };
        let open = matches!(self.session, Some(Session::Open { .. }));
        let old = intent.sent_at.is_some_and(|sent| self.now.since(sent) > OLD_ORDER_MS);
        if open && old && self.alerted.insert(id.clone()) {
            let text = format!("{} {} is {} since {}", intent.symbol, id, intent.state, intent.changed_at);
            out.effects.push(Effect::Alert(text));
        }
    }

    /// Level-triggered: looks at every ticker as it is now, whatever led there.
    pub(super) fn decide(&mut self, out: &mut Out) -> Result<(), Stop> {
        self.waiting.clear();
        if !self.not_deciding().is_empty() {
            return Ok(());
        }
        self.prove_absence(out)?;
        self.begin(out);
        self.send_again(out)?;
        for symbol in self.queue() {
            self.decide_ticker(&symbol, out)?;
        }
        Ok(())
    }

    /// The first backfill on real money is a person's to look at before it is hedged (`protocol.md` 5.3).
    fn begin(&mut self, out: &mut Out) {
        if self.begun || !self.policy.live {
            return;
        }
        let wanted: Vec<String> = self
            .positions
            .iter()
            .filter_map(|(symbol, position)| {
                self.wanted(symbol, position).map(|(side, shares)| format!("{symbol} {side} {shares}"))
            })
            .collect();
        if wanted.is_empty() {
            self.begun = true;
            out.writes.push(Write::Begun);
            return;
        }
        let why = format!(
            "the first backfill would order at once: {}; type `{}`, or start a new ledger with HEDGE_FROM_BLOCK",
            wanted.join(", "),
            HaltKind::Backfill.lifted_by(None)
        );
        self.halt(None, HaltKind::Backfill, why, "engine".into(), out);
    }

    /// All tickers, those first whose plan has waited longest: what is scarce (the one call on its way, the orders of a
    /// minute) must not always go to the first of the alphabet.
    fn queue(&self) -> Vec<Symbol> {
        let mut waiting: BTreeMap<&Symbol, Millis> = BTreeMap::new();
        for intent in self.live.iter().filter_map(|id| self.intents.get(id)) {
            if intent.state == IntentState::Planned {
                waiting.insert(&intent.symbol, intent.created_at);
            }
        }
        let mut queue: Vec<&Symbol> = self.positions.keys().collect();
        queue.sort_by_key(|symbol| waiting.get(symbol).copied().unwrap_or(self.now));
        queue.into_iter().cloned().collect()
    }

    /// `protocol.md` 3.5: at a broker with client order ids, an intent it does not have goes out again
    /// under the same name, unchanged; if the first send arrives after all, one of the two is refused as a duplicate.
    fn send_again(&mut self, out: &mut Out) -> Result<(), Stop> {
        if !self.policy.profile.client_ids || self.in_flight.is_some() || self.gate_closed().is_some() {
            return Ok(());
        }
        let may_go = |(id, resend): &(&IntentId, &Resend)| {
            let halted = self.intents.get(*id).is_none_or(|intent| self.halted(&intent.symbol).is_some());
            resend.ready && resend.pause.over(self.now) && !halted
        };
        let ready: Vec<IntentId> = self.resends.iter().filter(may_go).map(|(id, _)| id.clone()).collect();
        let mut next = None;
        for id in ready {
            let Some(intent) = self.intents.get(&id) else { continue };
            let (symbol, side) = (intent.symbol.clone(), intent.side);
            match self.priced(&symbol, side, out) {
                Ok(()) => {
                    next = Some(id);
                    break;
                }
                Err(reason) => drop(self.waiting.insert(symbol.clone(), Wait::of_market(&symbol, reason))),
            }
        }
        let Some(id) = next else { return Ok(()) };
        let now = self.now;
        let resend = self.resends.entry(id.clone()).or_default();
        resend.ready = false;
        resend.count += 1;
        resend.pause = Pause { since: now, ms: pause_ms(resend.count) };
        self.send(
            &id,
            "the broker did not have it; the same order again under the same name".into(),
            None,
            false,
            out,
        )
    }

    fn decide_ticker(&mut self, symbol: &Symbol, out: &mut Out) -> Result<(), Stop> {
        let Some(position) = self.positions.get(symbol).copied() else { return Ok(()) };
        let want = self.wanted(symbol, &position);
        let reference = position.reference();
        let mut planned = None;
        let bound = self.live_of(symbol).find(|intent| intent.state != IntentState::Planned);
        if let Some(intent) = bound {
            let doubt = Wait::of_doubt(intent, self.policy.profile.client_ids);
            if let Some(wait) = doubt.filter(|_| want.is_some()) {
                self.waiting.entry(symbol.clone()).or_insert(wait);
            }
            return Ok(());
        }
        if let Some(intent) = self.live_of(symbol).next() {
            planned = Some((intent.id.clone(), intent.side));
        }
        if let Some((id, side)) = &planned
            && want.is_none_or(|(wanted, _)| wanted != *side)
        {
            self.become_state(id, IntentState::Withdrawn, "no longer wanted".into(), out)?;
            planned = None;
        }
        let Some((side, shares)) = want else { return Ok(()) };
        let held = self.halted(symbol).or_else(|| self.pausing(symbol)).or_else(|| self.unexplained(symbol));
        if let Some(reason) = held {
            self.waiting.insert(symbol.clone(), reason);
            return Ok(());
        }
        let allowed: Result<_, Wait> = match self.gate_closed() {
            Some(reason) => Err(reason.into()),
            None if self.in_flight.is_some() => Err("another order is on its way".into()),
            None => self.cap(shares, reference).and_then(|capped| self.within_holdings(symbol, side, capped)),
        };
        let allowed = allowed.and_then(|(quantity, short)| {
            let taken = self.takes(symbol, quantity, reference);
            taken.map(|quantity| (quantity, short)).ok_or_else(|| {
                format!("{quantity} are left, a fraction that is worth less than the broker takes").into()
            })
        });
        let allowed = match allowed {
            Ok(allowed) => {
                let priced = self.priced(symbol, side, out);
                priced.map(|()| allowed).map_err(|why| Wait::of_market(symbol, why))
            }
            closed => closed,
        };
        match (allowed, planned) {
            (Ok((quantity, short)), Some((id, _))) => {
                self.send(&id, "planned before".into(), Some(quantity), short, out)
            }
            (Ok((quantity, short)), None) => {
                let id = self.create(symbol, side, quantity, reference, IntentState::Sent, out)?;
                self.launch(&id, short, out)
            }
            (Err(reason), planned) => {
                if planned.is_none() {
                    self.create(symbol, side, shares, reference, IntentState::Planned, out)?;
                }
                self.waiting.insert(symbol.clone(), reason);
                Ok(())
            }
        }
    }

    /// The order that a position wants and the broker would take.
    pub(super) fn wanted(&self, symbol: &Symbol, position: &Position) -> Option<(Side, Shares)> {
        let (side, shares) = position.want(self.policy.profile.lot)?;
        self.takes(symbol, shares, position.reference()).map(|shares| (side, shares))
    }

    /// Where fills were so small that they say nothing of the price, the market does.
    fn takes(&self, symbol: &Symbol, quantity: Shares, paid: Option<Price>) -> Option<Shares> {
        let price = paid.or_else(|| self.market_price(symbol));
        taken(quantity, price, self.policy.profile.fraction_notional_min)
    }

    /// An order with our tag in the last list that no intent knows: until it is somebody's (3.6), what it traded is in no
    /// exposure, and an order for the difference could be the same one again.
    fn unexplained(&self, symbol: &Symbol) -> Option<Wait> {
        let unknown =
            self.listed.iter().find(|order| order.symbol == *symbol && self.is_unexplained(order))?;
        let why =
            format!("order {} carries our tag and belongs to no intent; it is looked at again", unknown.id);
        Some(why.into())
    }

    fn halted(&self, symbol: &Symbol) -> Option<Wait> {
        let ((scope, kind), why) =
            self.halts.iter().find(|((scope, _), _)| scope.as_ref().is_none_or(|s| s == symbol))?;
        Some(Wait::of_halt(scope.as_ref(), *kind, why))
    }

    fn pausing(&self, symbol: &Symbol) -> Option<Wait> {
        if let Some(rest) = self.rests.get(symbol).filter(|rest| !rest.over(self.now)) {
            return Some(format!("until {} after an order that ended early", rest.until()).into());
        }
        let failures = self.failures.get(symbol)?;
        (!failures.pause.over(self.now)).then(|| {
            format!("until {} after {} failed attempts", failures.pause.until(), failures.count).into()
        })
    }

    /// Cuts to the caps, or says which one is used up.
    fn cap(&self, shares: Shares, price: Option<Price>) -> Result<Shares, Wait> {
        let limits = &self.policy.limits;
        let lot = self.policy.profile.lot;
        let sent_within = |ms: i64| {
            self.intents
                .values()
                // Of both sides of now: after the clock was set back, a minute is not as long as it was wrong.
                .filter(move |i| {
                    !i.adopted && i.sent_at.is_some_and(|sent| self.now.since(sent).saturating_abs() < ms)
                })
        };
        // Every attempt is one of the minute's; of the day's orders and dollars only what the broker may have.
        let orders_today = || sent_within(DAY_MS).filter(|i| i.state != IntentState::Refused);
        let fits = |count: usize, max: u32| u32::try_from(count).is_ok_and(|count| count < max);
        if !fits(sent_within(MINUTE_MS).count(), limits.max_orders_per_minute) {
            return Err(format!("MAX_ORDERS_PER_MINUTE={} is used up", limits.max_orders_per_minute).into());
        }
        if !fits(orders_today().count(), limits.max_orders_per_day) {
            let why = format!("MAX_ORDERS_PER_DAY={} is used up", limits.max_orders_per_day);
            return Err(Wait::for_person(why, "set MAX_ORDERS_PER_DAY higher and start the bot again"));
        }
        let mut quantity = shares.min(limits.max_order_shares);
        if let Some(price) = price {
            let spent = orders_today()
                .filter_map(|i| i.reference.and_then(|reference| reference.times(i.quantity)))
                .try_fold(Cash::ZERO, Cash::checked_add)
                .ok_or_else(|| Wait::from("the day's notional leaves the range"))?;
            let left = limits.max_daily_notional.checked_sub(spent).unwrap_or(Cash::ZERO);
            quantity = quantity.min(affordable(limits.max_order_notional.min(left), price));
        }
        let quantity = quantity.truncate_to(lot);
        if quantity.is_positive() {
            Ok(quantity)
        } else {
            let why =
                "one lot is beyond MAX_ORDER_SHARES, MAX_ORDER_NOTIONAL or what MAX_DAILY_NOTIONAL leaves";
            Err(Wait::for_person(why, "set the limit that is used up higher and start the bot again"))
        }
    }

    fn create(
        &mut self,
        symbol: &Symbol,
        side: Side,
        quantity: Shares,
        reference: Option<Price>,
        state: IntentState,
        out: &mut Out,
    ) -> Result<IntentId, Stop> {
        let id = self.next_id()?;
        let snapshot = (state == IntentState::Sent).then(|| self.snapshot(symbol, side));
        let intent = Intent {
            snapshot,
            ignored: false,
            counted: true,
            id: id.clone(),
            symbol: symbol.clone(),
            side,
            quantity,
            state,
            transitions: 0,
            created_at: self.now,
            sent_at: (state == IntentState::Sent).then_some(self.now),
            changed_at: self.now,
            order_id: None,
            executed: Shares::ZERO,
            executions: 0,
            adopted: false,
            reference,
            reason: "exposure reached a lot".into(),
        };
        out.writes.push(Write::Intent(intent.clone()));
        self.live.insert(id.clone());
        self.intents.insert(id.clone(), intent);
        Ok(id)
    }

    /// Planned or Unknown → Sent, with a new quantity where it was only planned.
    fn send(
        &mut self,
        id: &IntentId,
        reason: String,
        quantity: Option<Shares>,
        short: bool,
        out: &mut Out,
    ) -> Result<(), Stop> {
        let now = self.now;
        let snapshot = self.intents.get(id).map(|intent| self.snapshot(&intent.symbol, intent.side));
        self.become_with(id, IntentState::Sent, reason, out, |intent| {
            intent.sent_at = Some(now);
            intent.snapshot = snapshot;
            intent.quantity = quantity.unwrap_or(intent.quantity);
        })?;
        self.launch(id, short, out)
    }

    fn launch(&mut self, id: &IntentId, short: bool, out: &mut Out) -> Result<(), Stop> {
        let Some(intent) = self.intents.get(id) else {
            return Err(Stop::Bug(format!("no intent {id} to send")));
        };
        out.effects.push(Effect::Place(Self::ticket(intent, short)));
        self.in_flight = Some(id.clone());
        Ok(())
    }
}

/// What of a quantity a broker takes in one order: a fraction that is worth less than `least` waits, and the whole
/// shares of it go. Without a price nobody knows what a fraction is worth, and it waits for one.
fn taken(quantity: Shares, price: Option<Price>, least: Option<Cash>) -> Option<Shares> {
    let whole = quantity.truncate_to(Shares::whole(1));
    let worth = price.and_then(|price| price.times(quantity));
    match (least, worth) {
        (Some(least), worth) if whole != quantity && worth.is_none_or(|worth| worth < least) => {
            Some(whole).filter(|whole| whole.is_positive())
        }
        _ => Some(quantity),
    }
}

/// How many shares `cash` buys at `price`; more than fit are as many as fit.
fn affordable(cash: Cash, price: Price) -> Shares {
    if !cash.is_positive() {
        return Shares::ZERO;
    }
    let most = Shares::from_atoms(i128::MAX);
    Price::of(cash, Shares::from_atoms(price.atoms())).map_or(most, |n| Shares::from_atoms(n.atoms()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_that_is_worth_too_little_waits() {
        let rows = [
            ("0.01", "100", Some("1.1"), None),
            ("0.011", "100", Some("1.1"), Some("0.011")),
            ("0.000000001", "100", Some("1.1"), None),
            ("3.004", "0.2", Some("1.1"), Some("3")),
            ("3", "0.2", Some("1.1"), Some("3")),
            ("0.01", "100", None, Some("0.01")),
        ];
        for (quantity, price, least, takes) in rows {
            let least = least.map(|least| least.parse().unwrap());
            let told = taken(quantity.parse().unwrap(), Some(price.parse().unwrap()), least);
            assert_eq!(told.map(|shares| shares.to_string()).as_deref(), takes, "{quantity} at {price}");
        }
        let unpriced = |quantity: &str| taken(quantity.parse().unwrap(), None, Some(Cash::whole(1)));
        assert_eq!(unpriced("0.01"), None, "nobody knows what it is worth");
        assert_eq!(unpriced("2.01"), Some(Shares::whole(2)));
    }

    #[test]
    fn cash_buys_whole_and_broken_shares() {
        let shares = affordable("250".parse().unwrap(), "100".parse().unwrap());
        assert_eq!(shares.to_string(), "2.5");
        assert_eq!(affordable(Cash::ZERO, "1".parse().unwrap()), Shares::ZERO);
        let nearly_free = affordable(Cash::whole(250_000), Price::from_atoms(1));
        assert!(nearly_free > Shares::whole(1_000_000), "a price of next to nothing is no cap");
    }
}
