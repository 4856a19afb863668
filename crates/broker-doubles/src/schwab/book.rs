//! The broker's own book: accounts, positions, orders, and how an order lives.
//!
//! An order moves when it is looked at: each look takes one step of its plan. What it trades changes positions and cash
//! at once. Schwab has no word for "filled in part": an order that trades keeps its status until it ends.
//!
//! Invariant: a position is what it began with and the executions that stand.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::decimal::Decimal;
use crate::market::{Clock, Market};

/// What an order trades in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// All that is left.
    Rest,
    /// This many shares, at most what is left.
    Shares(Decimal),
    /// The newest execution is taken back.
    Bust,
}

/// One step of an order's life.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Looks that see nothing new before it.
    pub after_looks: u32,
    /// What it trades.
    pub fill: Option<Fill>,
    /// At this price; the market's where none.
    pub price: Option<Decimal>,
    /// What it is called from then on; unchanged where none.
    pub status: Option<String>,
    /// The words that come with a reject.
    pub description: Option<String>,
}

impl Step {
    /// A step that only changes the word.
    #[must_use]
    pub fn called(status: &str) -> Self {
        Self { status: Some(status.to_owned()), ..Self::default() }
    }

    /// A step that trades.
    #[must_use]
    pub fn trades(fill: Fill, status: &str) -> Self {
        Self { fill: Some(fill), status: Some(status.to_owned()), ..Self::default() }
    }

    /// Rejected, with these words.
    #[must_use]
    pub fn rejected(words: &str) -> Self {
        Self { description: Some(words.to_owned()), ..Self::called("REJECTED") }
    }
}

/// `WORKING` at the first look, `FILLED` at the second.
#[must_use]
pub(super) fn usual_life() -> Vec<Step> {
    vec![Step::called("WORKING"), Step::trades(Fill::Rest, "FILLED")]
}

/// One execution, or the record of a cancel, which looks like one at price zero.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// `FILL` or `CANCELED`.
    pub execution_type: &'static str,
    /// Its number; the real one leaves it out now and then.
    pub id: Option<u64>,
    /// Shares.
    pub quantity: Decimal,
    /// Dollars a share.
    pub price: Decimal,
    /// What was left of the order after it.
    pub remaining: Decimal,
    /// When.
    pub at_ms: i64,
}

/// Which way an order goes, in the broker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Instruction {
    /// Opens or adds to a long position, or covers.
    Buy,
    /// Sells what is held.
    Sell,
    /// Covers a short position.
    BuyToCover,
    /// Opens or adds to a short position.
    SellShort,
}

impl Instruction {
    /// Whether shares come in.
    #[must_use]
    pub const fn buys(self) -> bool {
        matches!(self, Self::Buy | Self::BuyToCover)
    }

    /// As the JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "BUY",
            Self::Sell => "SELL",
            Self::BuyToCover => "BUY_TO_COVER",
            Self::SellShort => "SELL_SHORT",
        }
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    /// The broker's id: a number of 13 digits.
    pub id: u64,
    /// Index of its account.
    pub account: usize,
    /// Ticker.
    pub symbol: String,
    /// Which way.
    pub instruction: Instruction,
    /// Shares.
    pub quantity: Decimal,
    /// `MARKET` or `LIMIT`.
    pub order_type: String,
    /// `NORMAL` …
    pub session: String,
    /// `DAY` …
    pub duration: String,
    /// Of a limit order.
    pub price: Option<Decimal>,
    /// The word for where it stands.
    pub status: String,
    /// Why it was rejected.
    pub description: Option<String>,
    /// When it came in.
    pub entered_ms: i64,
    /// When it ended.
    pub closed_ms: Option<i64>,
    /// Which application entered it; absent until it is activated.
    pub tag: String,
    /// What happened to it, oldest first.
    pub activities: Vec<Activity>,
    /// Reads that do not see it yet.
    pub hidden_reads: u32,
    /// Not seen before this moment of the double's clock.
    pub hidden_until_ms: Option<i64>,
    /// What is still to happen.
    pub plan: VecDeque<Step>,
}

/// The words after which nothing happens any more.
const TERMINAL: [&str; 5] = ["FILLED", "CANCELED", "REJECTED", "EXPIRED", "REPLACED"];

impl Order {
    /// Whether it may still trade.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !TERMINAL.contains(&self.status.as_str())
    }

    /// Traded so far: its executions, not the records of cancels.
    #[must_use]
    pub fn filled(&self) -> Decimal {
        self.activities
            .iter()
            .filter(|activity| activity.execution_type == "FILL")
            .fold(Decimal::ZERO, |sum, activity| sum.plus(activity.quantity))
    }

    /// The signed change of a position that it made.
    #[must_use]
    pub fn signed(&self) -> Decimal {
        if self.instruction.buys() { self.filled() } else { self.filled().negated() }
    }

    /// Not traded yet.
    #[must_use]
    pub fn left(&self) -> Decimal {
        self.quantity.minus(self.filled())
    }

    /// Ends it with this word; the record of a cancel is written like an execution at price zero.
    pub(super) fn end(&mut self, status: &str, now: i64, activity: Option<u64>) {
        if status == "CANCELED" {
            let quantity = self.left();
            self.activities.push(Activity {
                execution_type: "CANCELED",
                id: activity,
                quantity,
                price: Decimal::ZERO,
                remaining: Decimal::ZERO,
                at_ms: now,
            });
        }
        self.status = status.to_owned();
        self.closed_ms = Some(if status == "REJECTED" { self.entered_ms } else { now });
        self.plan.clear();
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Eight digits.
    pub number: String,
    /// What every path but one takes in its place.
    pub hash: String,
    /// `MARGIN` or `CASH`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Dollars.
    pub cash: Decimal,
    /// What each ticker began with and has traded since; negative is short.
    pub positions: BTreeMap<String, Decimal>,
}

impl Account {
    fn new(number: &str, hash: char) -> Self {
        Self {
            number: number.to_owned(),
            hash: hash.to_string().repeat(64),
            kind: "MARGIN".into(),
            cash: Decimal::whole(1_000_000_000),
            positions: BTreeMap::new(),
        }
    }
}

/// What a quote says beside bid and ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Price {
    /// Dollars.
    pub bid: Decimal,
    /// Dollars.
    pub ask: Decimal,
    /// Dollars.
    pub last: Decimal,
    /// `Normal`, `Halted` …
    pub security_status: String,
    /// False: delayed.
    pub realtime: bool,
}

impl Default for Price {
    fn default() -> Self {
        Self {
            bid: Decimal::from_nanos(99_990_000_000),
            ask: Decimal::from_nanos(100_010_000_000),
            last: Decimal::whole(100),
            security_status: "Normal".into(),
            realtime: true,
        }
    }
}

/// What the written contract leaves open; either must be good enough for a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Switches {
    /// An unknown account is 400 in place of 404.
    pub unknown_account_400: bool,
    /// A day's rest ends as `CANCELED` in place of `EXPIRED`.
    pub rest_is_canceled: bool,
    /// Fractions of a share are taken.
    pub fractions: bool,
    /// Bodies come gzipped where the client says it takes that.
    pub gzip: bool,
    /// The two accounts change places in the list.
    pub accounts_swapped: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            unknown_account_400: false,
            rest_is_canceled: false,
            fractions: false,
            gzip: true,
            accounts_swapped: false,
        }
    }
}

/// Everything the broker knows but the login.
#[derive(Debug, Clone)]
pub struct Book {
    /// Two by default; ours is the second.
    pub accounts: Vec<Account>,
    /// Oldest first.
    pub orders: Vec<Order>,
    /// What is not as usual.
    pub prices: BTreeMap<String, Price>,
    /// When it trades.
    pub market: Market,
    /// How orders live where no fault says otherwise; the usual life where none.
    pub life: Option<Vec<Step>>,
    /// The tag of orders that came in over the API.
    pub tag: String,
    /// What the contract leaves open.
    pub switches: Switches,
    pub(super) clock: Clock,
    pub(super) seed: u64,
    activities: u64,
}

/// The account that the tests trade in.
pub const ACCOUNT: &str = "49359741";
/// The tag of orders that came in over the API: TA_, the letters of an e-mail address, ten digits, as Schwab writes it.
pub const TAG: &str = "TA_traderexamplecom1700000000";
/// The order number before the first.
const ORDER_ID_BEFORE: u64 = 1_004_055_538_146;

impl Default for Book {
    fn default() -> Self {
        Self {
            accounts: vec![Account::new("12345678", 'a'), Account::new(ACCOUNT, 'b')],
            orders: Vec::new(),
            prices: BTreeMap::new(),
            market: Market::default(),
            life: None,
            tag: TAG.into(),
            switches: Switches::default(),
            clock: Clock::default(),
            seed: 1,
            activities: 100_000,
        }
    }
}

impl Book {
    /// The double's time.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Stops the double's clock there.
    pub const fn stop_clock(&mut self, ms: i64) {
        self.clock.stopped_at = Some(ms);
    }

    /// Lets the double's clock run that far from the machine's.
    pub const fn shift_clock(&mut self, ms: i64) {
        self.clock = Clock { stopped_at: None, offset_ms: ms };
    }

    /// What a ticker costs.
    #[must_use]
    pub fn price(&self, symbol: &str) -> Price {
        self.prices.get(symbol).cloned().unwrap_or_default()
    }

    /// The position of a ticker in the account that the tests trade in.
    #[must_use]
    pub fn position(&self, symbol: &str) -> Decimal {
        let ours = self.accounts.iter().find(|account| account.number == ACCOUNT);
        ours.and_then(|account| account.positions.get(symbol).copied()).unwrap_or_default()
    }

    /// Steps of 1 to 7 from the first, as the real numbers have gaps; the same at every run.
    pub(super) fn next_order_id(&self) -> u64 {
        let before = self.orders.last().map_or(ORDER_ID_BEFORE, |order| order.id);
        let n = u64::try_from(self.orders.len()).unwrap_or(0);
        let gap = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if self.orders.is_empty() { ORDER_ID_BEFORE + 7 } else { before + 1 + (gap >> 33) % 7 }
    }

    /// Of every seventh execution the number is missing, as it is from the real one's now and then.
    pub(super) fn next_activity_id(&mut self) -> Option<u64> {
        self.activities += 1;
        (!self.activities.is_multiple_of(7)).then_some(self.activities)
    }

    /// What happens without being looked at: the day's orders end with the session, those that wait are activated.
    pub(super) fn let_time_pass(&mut self) {
        let now = self.now_ms();
        let market = self.market.clone();
        let ended = if self.switches.rest_is_canceled { "CANCELED" } else { "EXPIRED" };
        let mut cancels = Vec::new();
        for (at, order) in self.orders.iter_mut().enumerate().filter(|(_, order)| order.is_open()) {
            if order.status == "PENDING_ACTIVATION" && market.opened_between(order.entered_ms, now) {
                order.status = "WORKING".into();
            }
            if order.duration == "DAY" && market.ends_after(order.entered_ms).is_some_and(|end| now >= end) {
                cancels.push(at);
            }
        }
        for at in cancels {
            let activity = self.next_activity_id();
            self.orders[at].end(ended, now, activity);
        }
    }

    /// Whether a read sees this order yet; counts down.
    pub(super) fn sees(&mut self, at: usize) -> bool {
        let now = self.now_ms();
        let order = &mut self.orders[at];
        if order.hidden_until_ms.is_some_and(|until| now < until) {
            return false;
        }
        if order.hidden_reads > 0 {
            order.hidden_reads -= 1;
            return false;
        }
        true
    }

    /// Somebody looks at this order: one step of its plan. False where it is not visible yet.
    pub(super) fn look(&mut self, at: usize) -> bool {
        if !self.sees(at) {
            return false;
        }
        let now = self.now_ms();
        let price = self.price(&self.orders[at].symbol.clone());
        let trades = self.market.is_open(now) && price.security_status == "Normal";
        let order = &mut self.orders[at];
        let waits = order.status == "PENDING_ACTIVATION";
        let Some(step) = order.plan.front_mut() else { return true };
        if waits || (!trades && step.fill.is_some()) {
            return true;
        }
        if step.after_looks > 0 {
            step.after_looks -= 1;
            return true;
        }
        if let Some(step) = order.plan.pop_front() {
            self.take(at, step, &price);
        }
        true
    }

    fn take(&mut self, at: usize, step: Step, price: &Price) {
        let now = self.now_ms();
        let activity = self.next_activity_id();
        let order = &mut self.orders[at];
        let before = order.signed();
        let cost = |order: &Order| {
            let fills = order.activities.iter().filter(|activity| activity.execution_type == "FILL");
            fills.fold(Decimal::ZERO, |sum, fill| sum.plus(fill.quantity.times(fill.price)))
        };
        let paid = cost(order);
        match step.fill {
            Some(Fill::Bust) => {
                if let Some(last) = order.activities.iter().rposition(|it| it.execution_type == "FILL") {
                    order.activities.remove(last);
                }
            }
            Some(Fill::Rest | Fill::Shares(_)) => {
                let wanted = match step.fill {
                    Some(Fill::Shares(shares)) => shares,
                    _ => order.left(),
                };
                let quantity = wanted.min(order.left());
                let at_price =
                    step.price.unwrap_or(if order.instruction.buys() { price.ask } else { price.bid });
                let remaining = order.left().minus(quantity);
                if quantity > Decimal::ZERO {
                    order.activities.push(Activity {
                        execution_type: "FILL",
                        id: activity,
                        quantity,
                        price: at_price,
                        remaining,
                        at_ms: now,
                    });
                }
            }
            None => {}
        }
        if let Some(words) = step.description {
            order.description = Some(words);
        }
        match step.status {
            Some(status) if TERMINAL.contains(&status.as_str()) => {
                let rest: VecDeque<Step> = order.plan.drain(..).collect();
                order.end(&status, now, activity);
                // A bust follows the end.
                order.plan = rest;
            }
            Some(status) => order.status = status,
            None => {}
        }
        let change = order.signed().minus(before);
        let spent = cost(order).minus(paid);
        let (account, symbol, buys) = (order.account, order.symbol.clone(), order.instruction.buys());
        let account = &mut self.accounts[account];
        let position = account.positions.entry(symbol).or_default();
        *position = position.plus(change);
        account.cash = if buys { account.cash.minus(spent) } else { account.cash.plus(spent) };
    }
}
