//! The broker of a trial: an order book of its own, with everything that brokers do wrong above the wire.
//!
//! It is what the bot's broker client would tell the engine: yes, no, or nothing; a reading, or none. Its book is the
//! truth that the checker counts by. It has a clock of its own, writes down entered times cut to seconds, and trades by
//! itself as time passes ([`Book::work`]). It refuses to know intents, the ledger, and why an order came.
//!
//! Invariant: an order is in the book exactly if it was accepted, whatever the bot was told.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::calendar;
use super::coverage::Struck;
use super::dice::Dice;
use super::order::{MARKET, Move, Order, ticker_of};
use super::schedule::{Fate, PostFault, QuoteFault, TICKERS, Terms};
use super::venue::{House, Venue};
use counterfill_broker::{
    Broker, BrokerOrder, OrderStatus, Placed, Profile, Quote, ReadError, Session, Ticket,
};
use counterfill_core::units::{IntentId, Millis, ONE, OrderId, Price, Shares, Side, Symbol};

/// For how long a client waits after a rate limit that does not say.
const RATE_LIMIT_MS: i64 = 60_000;
/// For how long the client keeps orders back after a 401.
const LOGIN_MS: i64 = 10_000;
/// The smallest part of a share that trades by itself.
const NANO: i128 = ONE / 1_000_000_000;
/// A quote that is so old says nothing any more.
const OLD_QUOTE_MS: i64 = 60_000;
/// Two orders this far apart could both be the one that is looked for, on clocks that differ.
const EQUAL_MS: i64 = 70_000;

/// Bytes that will arrive later.
#[derive(Debug, Clone)]
struct Late {
    at_ms: i64,
    ticket: Ticket,
}

/// The broker's state.
#[derive(Debug)]
pub(crate) struct Book {
    now_ms: i64,
    skew_ms: i64,
    venue: Venue,
    orders: Vec<Order>,
    late: Vec<Late>,
    next_post: VecDeque<PostFault>,
    next_fate: VecDeque<Fate>,
    away_until_ms: i64,
    reads_fail_until_ms: i64,
    token_dead_until_ms: i64,
    market_away_until_ms: i64,
    quotes: Option<(i64, QuoteFault)>,
    stale: Option<(i64, Vec<Order>)>,
    twin_due: bool,
    /// A person sells what is there just before our next sale arrives.
    sold_due: bool,
    ahead_ms: Option<i64>,
    calm: bool,
    dice: Dice,
    struck: Struck,
}

/// The broker: the book behind the bot's own trait.
#[derive(Debug)]
pub(crate) struct TrialBroker {
    profile: Profile,
    book: Mutex<Book>,
}

impl TrialBroker {
    pub(crate) fn new(terms: &Terms) -> Self {
        let book = Book {
            now_ms: terms.begins_ms,
            skew_ms: 0,
            venue: terms.venue.clone(),
            orders: Vec::new(),
            late: Vec::new(),
            next_post: VecDeque::new(),
            next_fate: VecDeque::new(),
            away_until_ms: 0,
            reads_fail_until_ms: 0,
            token_dead_until_ms: 0,
            market_away_until_ms: 0,
            quotes: None,
            stale: None,
            twin_due: false,
            sold_due: false,
            ahead_ms: None,
            calm: false,
            dice: Dice::new(terms.seed, 2),
            struck: Struck::default(),
        };
        Self { profile: terms.venue.profile(terms.poll_ms), book: Mutex::new(book) }
    }

    /// The book, for the world and the checker.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// True time; the world sets it before anything else is called.
    pub(crate) fn set_now(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    pub(crate) fn set_skew(&mut self, skew_ms: i64) {
        self.skew_ms = skew_ms;
    }

    pub(crate) const fn skew(&self) -> i64 {
        self.skew_ms
    }

    pub(crate) fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// Whether the bytes of this intent are still on their way.
    pub(crate) fn is_on_its_way(&self, intent: &str) -> bool {
        self.late.iter().any(|late| late.ticket.intent.as_str() == intent)
    }

    /// Another order that the bot sent, live or on its way, of one ticker.
    pub(crate) fn live_beside(&self, ticker: usize, but: &str) -> Option<&str> {
        let live = self.orders.iter().filter(|order| order.live && order.ticker == ticker);
        let coming = self.late.iter().filter(|late| ticker_of(&late.ticket.symbol) == Some(ticker));
        let coming = coming.map(|late| late.ticket.intent.as_str()).filter(|name| !self.refuses(name));
        live.filter_map(|order| order.intent.as_deref()).chain(coming).find(|name| *name != but)
    }

    /// Whether an order of this name, when it arrives, is one too many.
    fn refuses(&self, name: &str) -> bool {
        self.venue.client_ids() && self.orders.iter().any(|order| order.client_id.as_deref() == Some(name))
    }

    /// What is on its way and will be accepted when it arrives, BUY positive, of one ticker.
    pub(crate) fn on_the_way(&self, ticker: usize, but: &str) -> i128 {
        let mut seen = Vec::new();
        let mut sum = 0;
        for late in &self.late {
            let name = late.ticket.intent.as_str();
            let known = self.refuses(name) || (self.venue.client_ids() && seen.contains(&name));
            if ticker_of(&late.ticket.symbol) == Some(ticker) && name != but && !known {
                seen.push(name);
                sum += late.ticket.side.signed(late.ticket.quantity).atoms();
            }
        }
        sum
    }

    /// Bytes of a process that is gone arrive later.
    pub(crate) fn arrives_later(&mut self, at_ms: i64, ticket: Ticket) {
        self.late.push(Late { at_ms, ticket });
    }

    /// Whether a person typed an order that carries our tag.
    pub(crate) fn has_tagged_by_hand(&self) -> bool {
        self.orders.iter().any(|order| order.tagged && order.intent.is_none())
    }

    /// Time passes in which no order stays hidden: longer than any list is late.
    pub(crate) fn show_all(&mut self) {
        self.orders.iter_mut().for_each(Order::show);
    }

    /// Whether a hand entered an order with our tag that `ticket` could be taken for: only both in one list show that
    /// there are two.
    fn has_equal_by_hand(&self, ticket: &Ticket) -> bool {
        let since = self.now_ms - EQUAL_MS;
        self.orders.iter().any(|order| {
            order.tagged
                && order.intent.is_none()
                && order.side == ticket.side
                && order.quantity == ticket.quantity.atoms()
                && order.accepted_ms >= since
                && ticker_of(&ticket.symbol) == Some(order.ticker)
        })
    }

    /// Whether nothing will happen here by itself any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.late.is_empty() && self.orders.iter().all(|order| order.moves.is_empty())
    }

    pub(crate) fn struck(&self) -> &Struck {
        &self.struck
    }

    pub(crate) fn dice(&self) -> u64 {
        self.dice.clone().throw()
    }

    pub(crate) fn next_post(&mut self, fault: PostFault) {
        self.next_post.push_back(fault);
    }

    pub(crate) fn next_fate(&mut self, fate: Fate) {
        self.next_fate.push_back(fate);
    }

    pub(crate) fn away(&mut self, ms: i64) {
        self.away_until_ms = self.now_ms + ms;
    }

    pub(crate) fn reads_fail(&mut self, ms: i64) {
        self.reads_fail_until_ms = self.now_ms + ms;
    }

    pub(crate) fn token_dead(&mut self, ms: i64) {
        self.token_dead_until_ms = self.now_ms + ms;
    }

    pub(crate) fn market_away(&mut self, ms: i64) {
        self.market_away_until_ms = self.now_ms + ms;
    }

    pub(crate) fn quotes_go_wrong(&mut self, fault: QuoteFault, ms: i64) {
        self.quotes = Some((self.now_ms + ms, fault));
    }

    pub(crate) fn stale(&mut self, ms: i64) {
        self.stale = Some((self.now_ms + ms, self.orders.clone()));
    }

    /// Nothing goes wrong any more; what is on its way still arrives.
    pub(crate) fn calm_down(&mut self) {
        self.next_post.clear();
        self.next_fate.clear();
        (self.away_until_ms, self.reads_fail_until_ms) = (0, 0);
        (self.token_dead_until_ms, self.market_away_until_ms) = (0, 0);
        (self.stale, self.quotes, self.calm, self.skew_ms) = (None, None, true, 0);
        (self.twin_due, self.sold_due) = (false, false);
        for order in &mut self.orders {
            order.hidden_reads = 0;
        }
    }

    fn clock(&self) -> i64 {
        self.now_ms + self.skew_ms
    }

    /// What the account holds of a ticker, whoever ordered it, in 1e-18.
    pub(crate) fn held(&self, ticker: usize) -> i128 {
        self.orders.iter().filter(|order| order.ticker == ticker).map(Order::signed).sum()
    }

    fn is_open(&self) -> bool {
        calendar::session_at(self.clock()).is_some()
    }

    // ---- by hand

    /// A person types an order; an equal one comes with our next.
    pub(crate) fn type_by_hand(&mut self, twin: bool, ticker: usize) {
        if twin {
            self.twin_due = true;
            if !self.venue.client_ids() && self.dice.chance(80) {
                // The worst moment for it: our own answer is lost, and the list shows two.
                self.next_post.push_front(PostFault::AnswerLost);
            }
            return;
        }
        if !self.venue.crosses_zero() && self.dice.chance(60) {
            self.sold_due = true;
            return;
        }
        self.struck.note("broker: foreign order");
        let held = self.held(ticker);
        // A few shares, or all that are there.
        let all = held / ONE * ONE;
        let few = i128::from(self.dice.between(1, 4)) * ONE;
        let quantity = if all > 0 && self.dice.chance(40) { all } else { few };
        let sells = self.dice.chance(50) && (self.venue.allow_short || held >= quantity);
        let side = if sells { Side::Sell } else { Side::Buy };
        let ordinary = self.dice.chance(50);
        let at = self.now_ms;
        self.enter(ticker, side, quantity, None, ordinary);
        if let Some(order) = self.orders.last_mut() {
            order.moves.push_back((at + 1_000, Move::Trade(quantity)));
        }
    }

    /// A person cancels our newest live order.
    pub(crate) fn cancel_by_hand(&mut self) {
        if let Some(order) = self.orders.iter_mut().rev().find(|order| order.live && order.intent.is_some()) {
            order.moves.clear();
            order.end(OrderStatus::Canceled, "CANCELED");
            self.struck.note("broker: canceled by a hand");
        }
    }

    /// A trade of our newest done order is taken back.
    pub(crate) fn bust(&mut self) {
        let done = |order: &&mut Order| !order.live && order.executed >= ONE && order.intent.is_some();
        if let Some(order) = self.orders.iter_mut().rev().find(done) {
            order.take_back();
            self.struck.note("broker: trade taken back");
        }
    }

    fn enter(
        &mut self,
        ticker: usize,
        side: Side,
        quantity: i128,
        ticket: Option<&Ticket>,
        ordinary: bool,
    ) -> String {
        let number = self.orders.len();
        let id = format!("{}", 1_004_055_538_153_u64 + 3 * u64::try_from(number).unwrap_or(0));
        let name = ticket.map(|ticket| ticket.intent.to_string());
        self.orders.push(Order {
            id: id.clone(),
            client_id: name.clone().filter(|_| self.venue.client_ids()),
            intent: name,
            ticker,
            side,
            quantity,
            executed: 0,
            live: true,
            busted: false,
            status: OrderStatus::Live,
            words: "WORKING",
            filled: 0,
            entered_ms: self.clock().div_euclid(1_000) * 1_000,
            accepted_ms: self.now_ms,
            shown_from_ms: self.now_ms,
            hidden_reads: 0,
            moves: VecDeque::new(),
            ordinary,
            tagged: ticket.is_some(),
        });
        id
    }

    // ---- order calls

    fn post(&mut self, ticket: &Ticket) -> Placed {
        if self.now_ms < self.away_until_ms {
            self.struck.note("broker: away for order calls");
            return if self.dice.chance(30) {
                Placed::NotSent("no route to the broker".into())
            } else {
                Placed::Unknown("nothing came back".into())
            };
        }
        if self.now_ms < self.token_dead_until_ms {
            self.struck.note("broker: login dead");
            return Placed::Refused { reason: "401".into(), gate_ms: Some(LOGIN_MS) };
        }
        let fault = match self.next_post.pop_front() {
            Some(PostFault::Late(_)) if self.has_equal_by_hand(ticket) => Some(PostFault::AnswerLost),
            fault => fault,
        };
        match fault {
            Some(PostFault::NotSent) => {
                self.struck.note("post: not sent");
                return Placed::NotSent("connection refused".into());
            }
            Some(PostFault::Lost) => {
                self.struck.note("post: lost");
                return Placed::Unknown("closed without an answer".into());
            }
            Some(PostFault::ServerError) => {
                self.struck.note("post: 500 and no order");
                return Placed::Unknown("500".into());
            }
            Some(PostFault::RateLimited(after)) => {
                self.struck.note(if after.is_some() { "post: 429 with Retry-After" } else { "post: 429" });
                return Placed::Refused {
                    reason: "429".into(),
                    gate_ms: Some(after.unwrap_or(RATE_LIMIT_MS)),
                };
            }
            Some(PostFault::Refused) if self.dice.chance(50) => {
                self.struck.note("post: refused, for the account");
                return Placed::Barred("orders are not allowed for this account".into());
            }
            Some(PostFault::Refused) => {
                self.struck.note("post: refused");
                return Placed::Refused { reason: "validation".into(), gate_ms: None };
            }
            Some(PostFault::Late(ms)) => {
                self.struck.note("post: arrives late");
                self.late.push(Late { at_ms: self.now_ms + ms, ticket: ticket.clone() });
                return Placed::Unknown("no answer in time".into());
            }
            Some(PostFault::AnswerLost | PostFault::AnswerLate | PostFault::NoId) | None => {}
        }
        let id = match self.accept(ticket) {
            Ok(id) => id,
            Err(placed) => return placed,
        };
        match fault {
            Some(PostFault::AnswerLost) => {
                self.struck.note("post: accepted, answer lost");
                Placed::Unknown("reset".into())
            }
            Some(PostFault::AnswerLate) => {
                self.struck.note("post: accepted, answer too late");
                Placed::Unknown("no answer in time".into())
            }
            Some(PostFault::NoId) => {
                self.struck.note("post: accepted, no order id");
                Placed::Unknown("201 without an order id".into())
            }
            _ => id.parse().map_or_else(|_| Placed::Unknown("an id that is none".into()), Placed::Accepted),
        }
    }

    fn accept(&mut self, ticket: &Ticket) -> Result<String, Placed> {
        let name = ticket.intent.as_str();
        if self.refuses(name) {
            self.struck.note("post: duplicate refused");
            return Err(Placed::Duplicate);
        }
        if !self.is_open() {
            self.struck.note("post: market closed");
            return Err(Placed::Refused { reason: "the market is closed".into(), gate_ms: None });
        }
        let Some(ticker) = ticker_of(&ticket.symbol) else {
            return Err(Placed::Refused { reason: "no such symbol".into(), gate_ms: None });
        };
        let quantity = ticket.quantity.atoms();
        self.sell_first(ticker, ticket.side);
        let allowed = self.is_within_holding(ticker, ticket);
        if !allowed && self.venue.house == House::Alpaca {
            self.struck.note("post: shares that are not there");
            return Err(Placed::Refused { reason: "insufficient qty available".into(), gate_ms: None });
        }
        let alike = self.has_equal_by_hand(ticket);
        let id = self.enter(ticker, ticket.side, quantity, Some(ticket), true);
        if allowed {
            self.destine(quantity);
            if alike && let Some(order) = self.orders.last_mut() {
                order.show();
            }
        } else if let Some(order) = self.orders.last_mut() {
            self.struck.note("broker: beyond the holding");
            order.moves.push_back((self.now_ms + 300, Move::End(OrderStatus::Rejected)));
        }
        // What is not there nobody sells twice.
        let two_fit = ticket.side == Side::Buy || self.venue.allow_short || self.held(ticker) >= 2 * quantity;
        if std::mem::take(&mut self.twin_due) && two_fit {
            self.struck.note("broker: equal order by a hand");
            let shown = |order: &Order| order.shown_from_ms <= self.now_ms && order.hidden_reads == 0;
            let ours_is_shown = self.orders.last().is_some_and(shown);
            self.enter(ticker, ticket.side, quantity, None, true);
            let at = self.now_ms;
            // Typed in another window, or through the same registration: then it carries our tag. If that one is shown and
            // ours is not, nobody could tell them apart.
            let tagged = ours_is_shown && self.dice.chance(80);
            if let Some(twin) = self.orders.last_mut() {
                twin.tagged = tagged;
                twin.moves.push_back((at + 2_000, Move::Trade(quantity)));
            }
        }
        Ok(id)
    }

    /// A person was quicker with what our sale was to sell.
    fn sell_first(&mut self, ticker: usize, side: Side) {
        let there = self.held(ticker) / ONE * ONE;
        if side == Side::Sell && there > 0 && std::mem::take(&mut self.sold_due) {
            self.struck.note("broker: foreign order");
            self.enter(ticker, Side::Sell, there, None, false);
            if let Some(order) = self.orders.last_mut() {
                order.carry_out(Move::Trade(there));
            }
        }
    }

    /// Whether the account may trade so: an order does not cross zero, and at Schwab it says whether it is of a short
    /// position.
    fn is_within_holding(&self, ticker: usize, ticket: &Ticket) -> bool {
        if self.venue.crosses_zero() {
            return true;
        }
        let (held, quantity) = (self.held(ticker), ticket.quantity.atoms());
        let (fits, short) = match ticket.side {
            Side::Sell if held > 0 => (quantity <= held, false),
            Side::Sell => (self.venue.allow_short, true),
            Side::Buy if held < 0 => (quantity <= -held, true),
            Side::Buy => (true, false),
        };
        fits && (self.venue.house != House::Schwab || ticket.short == short)
    }

    /// Decides what the newest order will do.
    fn destine(&mut self, quantity: i128) {
        let fate = self.next_fate.pop_front().unwrap_or(Fate::Fills);
        let soon = self.now_ms + self.dice.between(50, 2_500);
        let part = if quantity > ONE {
            i128::from(self.dice.below(u64::try_from((quantity / ONE - 1).max(1)).unwrap_or(1))) * ONE + ONE
        } else if quantity < ONE {
            quantity / (2 * NANO) * NANO
        } else {
            0
        };
        let later = soon + self.dice.between(500, 20_000);
        if let Some(order) = self.orders.last_mut() {
            let name = order.destine(fate, (soon, later), part);
            self.struck.note(name);
        }
    }

    // ---- time

    /// When something will happen here by itself.
    pub(crate) fn next_due(&self) -> Option<i64> {
        let moves = self.orders.iter().filter_map(|order| order.moves.front().map(|(at, _)| *at));
        let late = self.late.iter().map(|late| late.at_ms);
        let close = calendar::session_at(self.clock())
            .filter(|_| self.orders.iter().any(|order| order.live))
            .map(|(_, closes)| closes - self.skew_ms);
        moves.chain(late).chain(close).min()
    }

    /// Lets the exchange trade up to now.
    pub(crate) fn work(&mut self) {
        let now = self.now_ms;
        let (due, later) = std::mem::take(&mut self.late).into_iter().partition(|late| late.at_ms <= now);
        self.late = later;
        for late in due {
            // Nobody hears the answer.
            let _ = self.accept(&late.ticket);
        }
        for order in &mut self.orders {
            while let Some((at, step)) = order.moves.front().copied()
                && at <= now
            {
                order.moves.pop_front();
                order.carry_out(step);
            }
        }
        if !self.is_open() {
            for order in self.orders.iter_mut().filter(|order| order.live) {
                order.moves.clear();
                order.end(OrderStatus::Expired, "EXPIRED");
                self.struck.note("broker: the day ends on a live order");
            }
        }
    }

    // ---- reads

    /// A read that was asked for at `asked`, by the bot's clock. An answer carries the broker's.
    fn may_read(&mut self, asked: Millis) -> Result<(), ReadError> {
        self.ahead_ms = None;
        let now = self.now_ms;
        if now < self.away_until_ms || now < self.reads_fail_until_ms {
            self.struck.note("broker: a read fails");
            return Err(ReadError("the broker does not answer".into()));
        }
        if now < self.token_dead_until_ms {
            self.struck.note("broker: login dead");
            return Err(ReadError("401".into()));
        }
        self.ahead_ms = Some(self.clock() - asked.0);
        Ok(())
    }

    fn read(&mut self, wanted: impl Fn(&Order) -> bool) -> Option<BrokerOrder> {
        let now = self.now_ms;
        let order = self.orders.iter_mut().find(|order| wanted(order))?;
        if now < order.shown_from_ms || order.hidden_reads > 0 {
            order.hidden_reads = order.hidden_reads.saturating_sub(1);
            self.struck.note("broker: order not visible yet");
            return None;
        }
        Some(order.told())
    }

    fn list(&mut self, since: Millis) -> Vec<BrokerOrder> {
        let now = self.now_ms;
        let stale = self.stale.take().filter(|(until, _)| now < *until);
        let orders = match &stale {
            Some((_, orders)) => {
                self.struck.note("broker: stale list");
                orders.clone()
            }
            None => {
                for order in &mut self.orders {
                    order.hidden_reads = order.hidden_reads.saturating_sub(1);
                }
                self.orders.clone()
            }
        };
        self.stale = stale;
        let shown = |order: &&Order| {
            now >= order.shown_from_ms && order.hidden_reads == 0 && order.entered_ms >= since.0
        };
        let mut list: Vec<BrokerOrder> = orders.iter().filter(shown).map(Order::told).collect();
        // In no order that means anything, so that neither of two equal orders is the first for sure.
        let turn = self.dice.index(list.len());
        list.rotate_left(turn);
        if turn % 2 == 1 {
            list.reverse();
        }
        list
    }
}

impl Broker for TrialBroker {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn place(&self, ticket: &Ticket, _now: Millis) -> Placed {
        self.book().post(ticket)
    }

    fn order(&self, id: &OrderId, now: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        let mut book = self.book();
        book.may_read(now)?;
        Ok(book.read(|order| order.id == id.as_str()))
    }

    fn find(&self, intent: &IntentId, now: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        let mut book = self.book();
        book.may_read(now)?;
        Ok(book.read(|order| order.client_id.as_deref() == Some(intent.as_str())))
    }

    fn list(&self, since: Millis, now: Millis) -> Result<Vec<BrokerOrder>, ReadError> {
        let mut book = self.book();
        book.may_read(now)?;
        Ok(book.list(since))
    }

    fn positions(&self, now: Millis) -> Result<Vec<(Symbol, Shares)>, ReadError> {
        let mut book = self.book();
        book.may_read(now)?;
        let traded: BTreeSet<usize> = book.orders.iter().map(|order| order.ticker).collect();
        let named =
            |ticker: usize| Some((TICKERS.get(ticker)?.parse().ok()?, Shares::from_atoms(book.held(ticker))));
        Ok(traded.into_iter().filter_map(named).collect())
    }

    fn session(&self, now: Millis) -> Result<Session, ReadError> {
        let mut book = self.book();
        book.may_read(now)?;
        if book.now_ms < book.market_away_until_ms {
            book.struck.note("broker: market unavailable");
            return Err(ReadError("the market's hours are unavailable".into()));
        }
        Ok(match calendar::session_at(book.clock()) {
            Some((_, closes)) => Session::Open { until: Some(Millis(closes)) },
            None => Session::Closed { reason: "the market is closed".into() },
        })
    }

    fn quotes(&self, symbols: &[Symbol], now: Millis) -> Result<Vec<Quote>, ReadError> {
        let mut book = self.book();
        book.may_read(now)?;
        let fault = book.quotes.filter(|(until, _)| book.now_ms < *until).map(|(_, fault)| fault);
        let (mut price, mut at, mut tradable) = (Some(MARKET), book.clock(), true);
        let name = match fault {
            Some(QuoteFault::Away) => {
                book.struck.note("quote: can not be read");
                return Err(ReadError("no market data".into()));
            }
            Some(QuoteFault::Old) => {
                at -= OLD_QUOTE_MS;
                Some("quote: old")
            }
            Some(QuoteFault::NoPrice) => {
                price = None;
                Some("quote: no price")
            }
            Some(QuoteFault::NotTradable) => {
                tradable = false;
                Some("quote: not tradable")
            }
            Some(QuoteFault::Far) => {
                price = Some(MARKET + MARKET / 10);
                Some("quote: a tenth off")
            }
            None => None,
        };
        if let Some(name) = name {
            book.struck.note(name);
        }
        let price = price.map(Price::from_atoms);
        let quote = |symbol: &Symbol| Quote {
            symbol: symbol.clone(),
            bid: price,
            ask: price,
            last: price,
            at: Millis(at),
            tradable,
            partial_feed: None,
            missing: None,
        };
        Ok(symbols.iter().map(quote).collect())
    }

    fn clock_ahead_ms(&self) -> Option<i64> {
        self.book().ahead_ms
    }
}
