//! The broker's own book: account, assets, positions and orders, and how an order lives.
//!
//! An order moves when it is looked at: each look takes one step of its plan. What it trades changes the positions at
//! once. Invariant: a position is what it began with and the executions that stand.

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
    /// One part of the whole quantity in so many, cut to the ninth place.
    Part(u32),
    /// Takes back everything it had traded.
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
}

/// `new` at the first look, `filled` at the second.
#[must_use]
pub(super) fn usual_life() -> Vec<Step> {
    vec![Step::called("new"), Step::trades(Fill::Rest, "filled")]
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Order {
    /// The broker's id, in the form of a UUID.
    pub id: String,
    /// The client's.
    pub client_order_id: String,
    /// Ticker.
    pub symbol: String,
    /// Whether it buys.
    pub buys: bool,
    /// Shares.
    pub quantity: Decimal,
    /// Traded so far.
    pub filled: Decimal,
    /// Dollars of that.
    pub cost: Decimal,
    /// The word for where it stands.
    pub status: String,
    /// `us_equity`, or what else the account trades.
    pub asset_class: String,
    /// When it came in: what a list sorts and filters by.
    pub submitted_ms: i64,
    /// When it was written down, a little later.
    pub created_ms: i64,
    /// When it last changed.
    pub updated_ms: i64,
    /// Typed by a person.
    pub by_hand: bool,
    /// Reads that do not see it yet.
    pub hidden_reads: u32,
    /// What is still to happen.
    pub plan: VecDeque<Step>,
    /// The order that took its place.
    pub replaced_by: Option<String>,
    /// The order whose place it took.
    pub replaces: Option<String>,
}

impl Order {
    /// Whether it may still trade.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.status.as_str(), "filled" | "canceled" | "expired" | "rejected" | "replaced")
    }

    /// The signed change of a position that it made.
    #[must_use]
    pub const fn signed(&self) -> Decimal {
        if self.buys { self.filled } else { self.filled.negated() }
    }

    /// Not traded yet.
    #[must_use]
    pub const fn left(&self) -> Decimal {
        self.quantity.minus(self.filled)
    }
}

/// What may be traded, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asset {
    /// Whether at all.
    pub tradable: bool,
    /// Whether in fractions.
    pub fractionable: bool,
    /// Whether short.
    pub shortable: bool,
    /// Whether trading is halted.
    pub halted: bool,
    /// Whether it exists.
    pub exists: bool,
}

impl Default for Asset {
    fn default() -> Self {
        Self { tradable: true, fractionable: true, shortable: true, halted: false, exists: true }
    }
}

/// The account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// A UUID.
    pub id: String,
    /// What a person knows it by.
    pub account_number: String,
    /// `ACTIVE`, or why not.
    pub status: String,
    /// Dollars that may be spent.
    pub buying_power: Decimal,
    /// Whether orders are refused.
    pub trading_blocked: bool,
    /// Whether the owner's own setting refuses them.
    pub trade_suspended_by_user: bool,
    /// Whether a sell may go below zero.
    pub shorting_enabled: bool,
    /// The key that is let in.
    pub key: String,
    /// Its secret.
    pub secret: String,
    /// Requests in a minute, as the headers say; none is ever refused for it.
    pub rate_limit: u32,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            id: "904837e3-3b76-47ec-b432-046db621571b".into(),
            account_number: "PA3717SIMCANARY4321".into(),
            status: "ACTIVE".into(),
            buying_power: Decimal::whole(1_000_000_000),
            trading_blocked: false,
            trade_suspended_by_user: false,
            shorting_enabled: true,
            key: super::KEY.into(),
            secret: super::SECRET.into(),
            rate_limit: 100_000,
        }
    }
}

/// How much later than `submitted_at` the `created_at` of published orders is; up to 31 ms were seen.
const CREATED_LATE_MS: i64 = 8;

/// Everything the broker knows.
#[derive(Debug, Clone)]
pub struct Book {
    /// Oldest first.
    pub orders: Vec<Order>,
    /// What each ticker began with and has traded since.
    pub positions: BTreeMap<String, Decimal>,
    /// Dollars a share, bid and ask; 99.99 and 100.01 where none.
    pub prices: BTreeMap<String, (Decimal, Decimal)>,
    /// What is not as usual.
    pub assets: BTreeMap<String, Asset>,
    /// The account.
    pub account: Account,
    /// When it trades.
    pub market: Market,
    /// How long after its submission an order is written down.
    pub created_late_ms: i64,
    /// The last trade of each ticker, dollars a share and when; it did not trade where none.
    pub trades: BTreeMap<String, (Decimal, i64)>,
    /// Names that the data server does not take: it refuses a whole list for one of them.
    pub unquoted: Vec<String>,
    /// Whether it says which one.
    pub names_unquoted: bool,
    /// How orders live where no fault says otherwise; the usual life where none.
    pub life: Option<Vec<Step>>,
    pub(super) clock: Clock,
    pub(super) ids: u64,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            orders: Vec::new(),
            positions: BTreeMap::new(),
            prices: BTreeMap::new(),
            assets: BTreeMap::new(),
            account: Account::default(),
            market: Market::default(),
            created_late_ms: CREATED_LATE_MS,
            trades: BTreeMap::new(),
            unquoted: Vec::new(),
            names_unquoted: true,
            life: None,
            clock: Clock::default(),
            ids: 0,
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

    /// The asset of that ticker.
    #[must_use]
    pub fn asset(&self, symbol: &str) -> Asset {
        // A class of shares stands after a point here (`BRK.B`); other brokers' spellings are no names.
        let exists = symbol != "ZZZZ" && !symbol.contains(['/', '-']);
        let missing = Asset { exists, ..Asset::default() };
        self.assets.get(symbol).cloned().unwrap_or(missing)
    }

    /// Bid and ask.
    #[must_use]
    pub fn price(&self, symbol: &str) -> (Decimal, Decimal) {
        let usual = (Decimal::from_nanos(99_990_000_000), Decimal::from_nanos(100_010_000_000));
        self.prices.get(symbol).copied().unwrap_or(usual)
    }

    /// The position of a ticker.
    #[must_use]
    pub fn position(&self, symbol: &str) -> Decimal {
        self.positions.get(symbol).copied().unwrap_or_default()
    }

    /// Of a position, what open orders of the other side have not taken yet.
    pub(super) fn available(&self, symbol: &str) -> Decimal {
        let position = self.position(symbol);
        let long = position >= Decimal::ZERO;
        let promised = self
            .orders
            .iter()
            .filter(|order| order.symbol == symbol && order.is_open() && order.buys != long)
            .fold(Decimal::ZERO, |sum, order| sum.plus(order.left()));
        if long { position.minus(promised) } else { position.plus(promised) }
    }

    /// A person replaces an open order on the broker's page by one of so many shares, which lives as usual; its id.
    pub fn replace_by_hand(&mut self, id: &str, quantity: Decimal) -> Option<String> {
        let (successor, client_order_id) = (self.next_id(), self.next_id());
        let now = self.now_ms();
        let life = self.life.clone().unwrap_or_else(usual_life);
        let order = self.orders.iter_mut().find(|order| order.id == id && order.is_open())?;
        order.plan.clear();
        order.status = "replaced".into();
        order.updated_ms = now;
        order.replaced_by = Some(successor.clone());
        let next = Order {
            id: successor.clone(),
            client_order_id,
            quantity,
            filled: Decimal::ZERO,
            cost: Decimal::ZERO,
            status: "accepted".into(),
            submitted_ms: now,
            created_ms: now + self.created_late_ms,
            by_hand: true,
            plan: life.into(),
            replaced_by: None,
            replaces: Some(order.id.clone()),
            ..order.clone()
        };
        self.orders.push(next);
        Some(successor)
    }

    /// Somebody else's order, long done: of this kind, submitted then.
    pub fn add_strangers_order(&mut self, symbol: &str, asset_class: &str, submitted_ms: i64) {
        let (id, client_order_id) = (self.next_id(), self.next_id());
        let quantity = Decimal::whole(1);
        self.orders.push(Order {
            id,
            client_order_id,
            symbol: symbol.to_owned(),
            asset_class: asset_class.to_owned(),
            buys: true,
            quantity,
            filled: quantity,
            cost: Decimal::whole(10),
            status: "filled".into(),
            submitted_ms,
            created_ms: submitted_ms + self.created_late_ms,
            updated_ms: submitted_ms,
            by_hand: true,
            hidden_reads: 0,
            plan: VecDeque::new(),
            replaced_by: None,
            replaces: None,
        });
    }

    /// An id in the form of a UUID; none twice.
    pub(super) fn next_id(&mut self) -> String {
        self.ids += 1;
        format!("61e69015-8549-4bfd-b9c3-{:012x}", self.ids)
    }

    /// Everything that happens without being looked at: the day's orders end with the session.
    pub(super) fn let_time_pass(&mut self) {
        let now = self.now_ms();
        let market = self.market.clone();
        for order in self.orders.iter_mut().filter(|order| order.is_open()) {
            // Entered outside a session it waits for the next one.
            if market.end_of_session(order.submitted_ms).is_some_and(|end| now >= end) {
                order.status = "expired".into();
                order.updated_ms = now;
                order.plan.clear();
            }
        }
    }

    /// Somebody looks at this order: one step of its plan. False where it is not visible yet.
    pub(super) fn look(&mut self, at: usize) -> bool {
        let now = self.now_ms();
        let (bid, ask) = self.price(&self.orders[at].symbol.clone());
        let trades = self.market.is_open(now) && !self.asset(&self.orders[at].symbol.clone()).halted;
        let order = &mut self.orders[at];
        if order.hidden_reads > 0 {
            order.hidden_reads -= 1;
            return false;
        }
        let Some(step) = order.plan.front_mut() else { return true };
        if !trades && step.fill.is_some() {
            return true;
        }
        if step.after_looks > 0 {
            step.after_looks -= 1;
            return true;
        }
        let Some(step) = order.plan.pop_front() else { return true };
        let before = order.signed();
        if let Some(fill) = step.fill {
            let price = step.price.unwrap_or(if order.buys { ask } else { bid });
            let quantity = match fill {
                Fill::Rest => order.left(),
                Fill::Shares(shares) => shares.min(order.left()),
                Fill::Part(parts) => order.quantity.over(Decimal::whole(i64::from(parts))).min(order.left()),
                Fill::Bust => {
                    order.cost = Decimal::ZERO;
                    order.filled.negated()
                }
            };
            order.filled = order.filled.plus(quantity);
            if fill != Fill::Bust {
                order.cost = order.cost.plus(quantity.times(price));
            }
        }
        if let Some(status) = step.status {
            order.status = status;
        }
        order.updated_ms = now;
        let (symbol, change) = (order.symbol.clone(), order.signed().minus(before));
        let position = self.position(&symbol).plus(change);
        self.positions.insert(symbol, position);
        true
    }
}
