//! A small world around the engine for tests: a chain that forks, a broker that loses answers, and a ledger made of
//! the writes alone. It shares no code with the engine.

pub mod ops;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use alloy::primitives::{Address, B256, keccak256};
use counterfill::broker::{BrokerOrder, OrderStatus, Placed, Profile, Quote, ReadError, Session, Ticket};
use counterfill::chain::{ChainView, Push, Sweep};
use counterfill::engine::{Command, Decision, Effect, Engine, Input, Policy, Question, Stop};
use counterfill::fills::{Event, Fill, PendingFill};
use counterfill::hedges::{Halt, HaltKind, Intent, IntentState, Limits};
use counterfill::ledger::{FillState, Ledger, Loaded, PassedOver, RecentFill, Stamp, Traded, Write};
use counterfill::units::{BlockRef, Cash, FillId, LogId, Millis, ONE, Price, Shares, Side, Symbol};

pub const CHAIN_ID: u64 = 8453;

pub fn symbol(index: usize) -> Symbol {
    ["TSLA", "AAPL", "NVDA"][index % 3].parse().unwrap()
}

/// What a fill is, apart from the block it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deal {
    pub ticker: usize,
    pub side: Side,
    pub atoms: i128,
    pub tx: u64,
}

#[derive(Debug, Clone)]
pub struct Block {
    pub number: u64,
    pub hash: B256,
    pub parent: B256,
    pub deals: Vec<Deal>,
}

impl Block {
    pub fn fills(&self) -> Vec<Fill> {
        (0_u64..)
            .zip(&self.deals)
            .map(|(log_index, deal)| {
                let shares = Shares::from_atoms(deal.atoms);
                // Dust pays for dust.
                let cash = Cash::whole(100).min(Cash::from_atoms(deal.atoms.saturating_mul(900)));
                Fill {
                    id: FillId {
                        chain_id: CHAIN_ID,
                        block_hash: self.hash,
                        tx_hash: keccak256(deal.tx.to_be_bytes()),
                        log_index,
                        side: deal.side,
                    },
                    block_number: self.number,
                    block_time: None,
                    orderbook: Address::repeat_byte(0xb0),
                    owner: Address::repeat_byte(0x01),
                    symbol: symbol(deal.ticker),
                    shares,
                    cash,
                    price: Price::of(cash, shares),
                    unit: None,
                }
            })
            .collect()
    }

    pub fn at(&self) -> BlockRef {
        BlockRef { number: self.number, hash: self.hash }
    }
}

/// Every block ever mined, and which are canonical.
#[derive(Debug)]
pub struct Chain {
    pub ever: Vec<Block>,
    pub canonical: Vec<Block>,
    salt: u64,
}

impl Default for Chain {
    fn default() -> Self {
        let genesis = Block { number: 100, hash: B256::repeat_byte(0xaa), parent: B256::ZERO, deals: vec![] };
        Self { ever: vec![genesis.clone()], canonical: vec![genesis], salt: 0 }
    }
}

impl Chain {
    pub fn head(&self) -> &Block {
        self.canonical.last().unwrap()
    }

    pub fn mine(&mut self, deals: Vec<Deal>) {
        self.salt += 1;
        let parent = self.head();
        let hash = keccak256([parent.hash.as_slice(), &self.salt.to_be_bytes()].concat());
        let block = Block { number: parent.number + 1, hash, parent: parent.hash, deals };
        self.ever.push(block.clone());
        self.canonical.push(block);
    }

    /// Takes the top `depth` blocks off (never the first) and returns them.
    pub fn unwind(&mut self, depth: usize) -> Vec<Block> {
        let keep = self.canonical.len().saturating_sub(depth).max(1);
        self.canonical.split_off(keep)
    }

    pub fn put_back(&mut self, blocks: Vec<Block>) {
        for block in blocks {
            assert_eq!(block.parent, self.head().hash);
            self.canonical.push(block);
        }
    }

    /// The truth: signed shares per ticker on the canonical chain.
    pub fn truth(&self) -> BTreeMap<Symbol, i128> {
        let mut sums = BTreeMap::new();
        for deal in self.canonical.iter().flat_map(|block| &block.deals) {
            let signed = if deal.side == Side::Buy { deal.atoms } else { -deal.atoms };
            *sums.entry(symbol(deal.ticker)).or_insert(0) += signed;
        }
        sums
    }

    /// What an honest node and an honest sweep make of it, from what the view knows.
    pub fn sweep(&self, view: &ChainView, blocks_max: usize) -> Option<Sweep> {
        let base = match view.cursor {
            None => self.canonical.first().unwrap().at(),
            Some(_) => *view
                .window
                .iter()
                .rev()
                .filter(|known| view.late_from.is_none_or(|late| known.number < late))
                .find(|known| self.canonical.iter().any(|block| block.at() == **known))
                .expect("no reorg of this world reaches below the window"),
        };
        let range: Vec<&Block> =
            self.canonical.iter().filter(|block| block.number > base.number).take(blocks_max).collect();
        let target = range.last().map_or(base, |block| block.at());
        if view.cursor == Some(target) && view.late_from.is_none() {
            return None;
        }
        Some(Sweep {
            base,
            target,
            canonical: range.iter().map(|block| (block.number, block.hash)).collect(),
            events: range.iter().flat_map(|block| block.fills()).map(Event::Fill).collect(),
            refuted: vec![],
            settled: view
                .evidence
                .iter()
                .filter(|log| (base.number + 1..=target.number).contains(&log.block.number))
                .copied()
                .collect(),
            tokens: vec![],
            head: self.head().number,
        })
    }
}

/// How the broker treats the next order calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Accepts,
    AcceptsAndLosesTheAnswer,
    /// The answer is lost and the next reads do not show the order yet.
    AcceptsAndHides,
    LosesTheRequest,
    NeverReached,
    Refuses,
    RejectsLater,
    CancelsHalfway,
    /// A no about us, not about the order.
    RateLimits,
    /// Says no, and has it all the same: a broken gateway.
    RefusesAndAccepts,
    /// Trades one share more than was ordered.
    Overfills,
}

/// What kind of broker it is, and what the bot is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// No client order ids: only the list tells of an order whose answer was lost, and no order crosses zero.
    pub by_list: bool,
    /// `APP_TAG` is set; else it is learnt.
    pub tag_known: bool,
    pub absent_after_ms: Option<i64>,
    pub allow_short: bool,
    pub quotes: bool,
    /// It takes a billionth of a share, and no fraction that is worth less than a dollar.
    pub fractions: bool,
    pub live: bool,
    pub orders_per_day_max: u32,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            by_list: false,
            tag_known: true,
            absent_after_ms: None,
            allow_short: true,
            quotes: false,
            fractions: false,
            live: false,
            orders_per_day_max: 1_000_000,
        }
    }
}

impl Terms {
    pub fn by_list() -> Self {
        Self { by_list: true, ..Self::default() }
    }

    pub fn policy(self, confirmations: u64, start: u32) -> Policy {
        let mut policy = policy(confirmations, start);
        policy.profile.client_ids = !self.by_list;
        policy.profile.crosses_zero = !self.by_list;
        policy.profile.allow_short = self.allow_short;
        policy.profile.quotes = self.quotes;
        if self.fractions {
            policy.profile.lot = Shares::from_atoms(ONE / 1_000_000_000);
            policy.profile.fraction_notional_min = Some(Cash::whole(1));
        }
        policy.profile.tag = self.tag_known.then(|| "ours".to_owned());
        policy.absent_after_ms = self.absent_after_ms;
        policy.live = self.live;
        policy.limits.max_orders_per_day = policy.limits.max_orders_per_day.min(self.orders_per_day_max);
        policy
    }
}

/// The broker. It keeps the names of intents also where it does not tell them: a test may look.
#[derive(Debug, Default)]
pub struct Desk {
    pub by_list: bool,
    /// The next reads show the newest order without its tag.
    pub tagless_reads: u32,
    /// What it quotes.
    pub quotes: BTreeMap<Symbol, Price>,
    /// How often it was asked for quotes.
    pub asked_quotes: u32,
    /// Of which part of the market.
    pub partial_feed: Option<&'static str>,
    /// What the account held before anybody traded.
    pub birth: BTreeMap<Symbol, Shares>,
    pub orders: Vec<BrokerOrder>,
    pub posts: BTreeMap<String, u32>,
    pub mood: Option<Mood>,
    /// As long as it stands here, order calls of this ticker (any, where none is named) are answered so.
    pub refusals: Vec<(Option<Symbol>, Placed)>,
    /// The next yes names this order in place of the one that it is to.
    pub misnames: Option<counterfill::units::OrderId>,
    pub away: bool,
    pub hidden_reads: u32,
    /// When the session ends; none: never.
    pub closes: Option<Millis>,
    /// What the engine was last told of the session.
    pub told: Option<Session>,
    /// When the running process was last told to slow down.
    pub slowed: Option<Millis>,
}

/// For how long the broker wants to be left alone after a rate limit.
const SLOWED_MS: i64 = 30_000;

impl Desk {
    pub fn place(&mut self, ticket: &Ticket, now: Millis) -> Placed {
        *self.posts.entry(ticket.intent.to_string()).or_default() += 1;
        let mood = if self.away { Mood::LosesTheRequest } else { self.mood.take().unwrap_or(Mood::Accepts) };
        match mood {
            Mood::LosesTheRequest => return Placed::Unknown("reset".into()),
            Mood::NeverReached => return Placed::NotSent("refused connection".into()),
            _ => {}
        }
        let refusal = self.refusals.iter().find(|(of, _)| of.as_ref().is_none_or(|of| *of == ticket.symbol));
        if let Some((_, refusal)) = refusal {
            return refusal.clone();
        }
        let named =
            self.orders.iter().any(|order| order.client_id.as_deref() == Some(ticket.intent.as_str()));
        if named {
            assert!(!self.by_list, "{ticket:?} goes out twice, and nothing could tell");
            return Placed::Duplicate;
        }
        let crosses = self.by_list && self.crosses_zero(ticket);
        match mood {
            Mood::Refuses => return Placed::Refused { reason: "validation".into(), gate_ms: None },
            Mood::RateLimits => {
                self.slowed = Some(now);
                return Placed::Refused { reason: "slower".into(), gate_ms: Some(SLOWED_MS) };
            }
            _ => {}
        }
        let id: counterfill::units::OrderId = format!("{}", 1000 + self.orders.len()).parse().unwrap();
        let (status, executed) = match mood {
            _ if crosses => (OrderStatus::Rejected, Shares::ZERO),
            Mood::RejectsLater => (OrderStatus::Rejected, Shares::ZERO),
            Mood::CancelsHalfway => {
                let half = Shares::from_atoms(ticket.quantity.atoms() / 2).truncate_to(Shares::whole(1));
                (OrderStatus::Canceled, half)
            }
            Mood::Overfills => (OrderStatus::Filled, ticket.quantity.checked_add(Shares::whole(1)).unwrap()),
            _ => (OrderStatus::Live, Shares::ZERO),
        };
        self.orders.push(BrokerOrder {
            id: id.clone(),
            client_id: Some(ticket.intent.to_string()),
            tag: Some("ours".into()),
            symbol: ticket.symbol.clone(),
            side: ticket.side,
            quantity: ticket.quantity,
            filled: executed,
            executed,
            average_price: None,
            status,
            status_text: format!("{status:?}"),
            entered_at: now,
            ordinary: true,
        });
        match mood {
            Mood::AcceptsAndHides => {
                self.hidden_reads = 3;
                Placed::Unknown("timeout".into())
            }
            Mood::AcceptsAndLosesTheAnswer => Placed::Unknown("timeout".into()),
            Mood::RefusesAndAccepts => Placed::Refused { reason: "error".into(), gate_ms: None },
            _ => Placed::Accepted(self.misnames.take().unwrap_or(id)),
        }
    }

    /// An order in our ticker that was typed by hand, or entered by another program.
    pub fn type_by_hand(&mut self, ticker: usize, now: Millis) {
        let quantity = Shares::whole(3);
        self.orders.push(BrokerOrder {
            id: format!("{}", 1000 + self.orders.len()).parse().unwrap(),
            client_id: None,
            tag: Some("theirs".into()),
            symbol: symbol(ticker),
            side: Side::Buy,
            quantity,
            filled: quantity,
            executed: quantity,
            average_price: None,
            status: OrderStatus::Filled,
            status_text: "Filled".into(),
            entered_at: now,
            ordinary: true,
        });
    }

    /// What the account really holds.
    pub fn position(&self, symbol: &Symbol) -> Shares {
        let birth = self.birth.get(symbol).copied().unwrap_or_default();
        self.orders
            .iter()
            .filter(|order| order.symbol == *symbol)
            .fold(birth, |sum, order| sum.checked_add(order.side.signed(order.executed)).unwrap())
    }

    /// A broker takes no order that goes through zero, nor one under the wrong word.
    fn crosses_zero(&self, ticket: &Ticket) -> bool {
        let held = self.position(&ticket.symbol);
        let (against, along) = match ticket.side {
            Side::Sell => (held.is_positive(), !held.is_positive()),
            Side::Buy => (held.is_negative(), false),
        };
        let short = if ticket.side == Side::Sell { along } else { held.is_negative() };
        ticket.short != short || (against && ticket.quantity > held.magnitude())
    }

    /// Somebody else's order, equal in everything to the newest one but, perhaps, its tag.
    pub fn twin(&mut self, tag: &str, now: Millis) {
        let Some(last) = self.orders.last().cloned() else { return };
        self.orders.push(BrokerOrder {
            id: format!("{}", 1000 + self.orders.len()).parse().unwrap(),
            client_id: None,
            tag: Some(tag.into()),
            entered_at: now,
            ..last
        });
    }

    /// As a read shows it.
    fn shown(&self, order: &BrokerOrder, tagless: bool) -> BrokerOrder {
        let mut shown = order.clone();
        if self.by_list {
            shown.client_id = None;
        }
        if tagless && self.orders.last().is_some_and(|last| last.id == order.id) {
            shown.tag = None;
        }
        shown
    }

    fn ours(&self) -> impl Iterator<Item = &BrokerOrder> {
        self.orders.iter().filter(|order| order.tag.as_deref() == Some("ours"))
    }

    /// What our orders of a ticker have traded, and what its live ones may still trade.
    pub fn committed(&self, symbol: &Symbol) -> i128 {
        let whole = |order: &BrokerOrder| match order.status {
            OrderStatus::Live => order.quantity,
            _ => order.executed,
        };
        self.ours().filter(|o| o.symbol == *symbol).map(|o| o.side.signed(whole(o)).atoms()).sum()
    }

    /// Every live order trades one share, and ends when it is full or its session is over.
    pub fn trade(&mut self, now: Millis) {
        let over = self.closes.is_some_and(|closes| now >= closes);
        for order in self.orders.iter_mut().filter(|order| over && order.status == OrderStatus::Live) {
            order.status = OrderStatus::Expired;
        }
        for order in self.orders.iter_mut().filter(|order| order.status == OrderStatus::Live) {
            let left = order.quantity.checked_sub(order.executed).unwrap();
            order.executed = order.executed.checked_add(left.min(Shares::whole(1))).unwrap();
            order.filled = order.executed;
            if order.executed == order.quantity {
                order.status = OrderStatus::Filled;
            }
        }
    }

    pub fn executed(&self, symbol: &Symbol) -> i128 {
        self.ours().filter(|o| o.symbol == *symbol).map(|o| o.side.signed(o.executed).atoms()).sum()
    }

    pub fn answer(&mut self, question: Question, now: Millis) -> Input {
        let hidden = self.hidden_reads > 0;
        if !matches!(question, Question::Session | Question::Positions | Question::Quotes { .. }) {
            self.hidden_reads = self.hidden_reads.saturating_sub(1);
        }
        let tagless = self.tagless_reads > 0;
        if matches!(question, Question::Order { .. } | Question::List { .. }) {
            self.tagless_reads = self.tagless_reads.saturating_sub(1);
        }
        let shown = self.orders.len() - usize::from(hidden && !self.orders.is_empty());
        let visible: Vec<BrokerOrder> =
            self.orders[..shown].iter().map(|order| self.shown(order, tagless)).collect();
        let read =
            |found: Option<BrokerOrder>| if self.away { Err(ReadError("away".into())) } else { Ok(found) };
        match question {
            Question::Order { intent, id } => {
                let answer = read(visible.iter().find(|order| order.id == id).cloned());
                Input::Order { intent, id, answer }
            }
            Question::Find { intent } => {
                assert!(!self.by_list, "this broker can not be asked by name");
                let by_name = |order: &&BrokerOrder| order.client_id.as_deref() == Some(intent.as_str());
                let answer = read(visible.iter().find(by_name).cloned());
                Input::Found { intent, answer }
            }
            Question::List { since } => {
                let orders = visible.iter().filter(|o| o.entered_at >= since).cloned().collect();
                let answer = if self.away { Err(ReadError("away".into())) } else { Ok(orders) };
                Input::List { begun_at: now, answer }
            }
            Question::Positions => {
                let held = (0..3).map(|n| (symbol(n), self.position(&symbol(n))));
                let held: Vec<_> = held.filter(|(_, held)| !held.is_zero()).collect();
                let answer = if self.away { Err(ReadError("away".into())) } else { Ok(held) };
                Input::Positions { begun_at: now, answer }
            }
            Question::Quotes { symbols } => {
                self.asked_quotes += 1;
                let quote = |symbol: Symbol| {
                    let price = self.quotes.get(&symbol).copied()?;
                    Some(Quote {
                        symbol,
                        bid: Some(price),
                        ask: Some(price),
                        last: Some(price),
                        at: now,
                        tradable: true,
                        partial_feed: self.partial_feed,
                        missing: None,
                    })
                };
                Input::Quotes { begun_at: now, answer: Ok(symbols.into_iter().filter_map(quote).collect()) }
            }
            Question::Session if self.away => Input::Session(Err(ReadError("away".into()))),
            Question::Session => {
                let session = match self.closes {
                    Some(closes) if now >= closes => Session::Closed { reason: "night".into() },
                    until => Session::Open { until },
                };
                self.told = Some(session.clone());
                Input::Session(Ok(session))
            }
        }
    }
}

/// The ledger as its writes alone say it.
#[derive(Debug, Default, Clone)]
pub struct Shelf {
    pub fills: BTreeMap<FillId, FillState>,
    pub sums: BTreeMap<Symbol, i128>,
    pub executions: BTreeMap<Symbol, i128>,
    pub intents: BTreeMap<String, Intent>,
    pub cursor: Option<BlockRef>,
    pub window: Vec<BlockRef>,
    pub last_commit: Option<Millis>,
    pub compared_at: Option<Millis>,
    pub first_compared_at: Option<Millis>,
    /// Whether the process that writes has compared the broker's book with this ledger.
    pub compared: bool,
    pub halts: BTreeMap<(Option<Symbol>, HaltKind), String>,
    /// What all executions did to the account, and what it holds beyond them.
    pub account: BTreeMap<Symbol, i128>,
    pub baselines: BTreeMap<Symbol, i128>,
    pub tag: Option<String>,
    pub begun: bool,
    /// When each fill was first seen.
    pub seen: BTreeMap<FillId, Millis>,
    /// As a test puts them there; nothing that is written changes them.
    pub passed_over: Vec<PassedOver>,
    pub pushed: BTreeSet<LogId>,
    pub pending: BTreeMap<FillId, PendingFill>,
}

impl Shelf {
    pub fn commit(&mut self, now: Millis, writes: &[Write]) {
        for write in writes {
            self.last_commit = Some(now);
            match write.clone() {
                Write::Fill(fill) => {
                    let state = FillState { fill: fill.clone(), n: 0, standing: false, counted: false };
                    self.seen.insert(fill.id, now);
                    assert!(self.fills.insert(fill.id, state).is_none(), "a fill is stored once");
                }
                Write::Entry { id, n, standing, .. } => {
                    let state = self.fills.get_mut(&id).unwrap();
                    assert!(n == 0 || n == state.n + 1, "entries have no gap");
                    assert_ne!(state.standing, standing, "entries alternate");
                    (state.n, state.standing, state.counted) = (n, standing, false);
                }
                Write::Count { id, n } => {
                    let state = self.fills.get_mut(&id).unwrap();
                    assert_eq!((n, state.counted), (state.n, false));
                    state.counted = true;
                    let signed = state.fill.signed_shares().atoms();
                    *self.sums.entry(state.fill.symbol.clone()).or_default() +=
                        if state.standing { signed } else { -signed };
                }
                Write::Cursor { cursor, window } => {
                    assert_eq!(window.last(), Some(&cursor));
                    assert!(window.is_sorted());
                    (self.cursor, self.window) = (Some(cursor), window);
                }
                Write::Intent(intent) => {
                    self.one_live(&intent);
                    assert!(self.intents.insert(intent.id.to_string(), intent).is_none());
                }
                Write::Transition { from, intent } => {
                    assert_eq!(self.intents[intent.id.as_str()].state, from);
                    self.one_live(&intent);
                    let before = self.intents.insert(intent.id.to_string(), intent.clone()).unwrap();
                    if intent.ignored && !before.ignored {
                        *self.executions.entry(intent.symbol.clone()).or_default() -=
                            intent.side.signed(intent.executed).atoms();
                    }
                }
                Write::Execution { intent, n, quantity, .. } => {
                    let intent = self.intents.get_mut(intent.as_str()).unwrap();
                    assert_eq!(intent.executions, n);
                    intent.executions += 1;
                    intent.executed = intent.executed.checked_add(quantity).unwrap();
                    let change = intent.side.signed(quantity).atoms();
                    *self.account.entry(intent.symbol.clone()).or_default() += change;
                    if !intent.ignored {
                        *self.executions.entry(intent.symbol.clone()).or_default() += change;
                    }
                }
                Write::Halt { symbol, kind, reason, .. } => {
                    assert_eq!(self.halts.insert((symbol, kind), reason), None);
                }
                Write::Lift { symbol, kind, .. } => {
                    self.halts.remove(&(symbol, kind)).unwrap();
                }
                Write::Compared(then) => {
                    self.compared = true;
                    self.first_compared_at.get_or_insert(then);
                }
                Write::Tag(tag) => {
                    assert!(self.tag.as_ref().is_none_or(|known| *known == tag), "learnt once");
                    self.tag = Some(tag);
                }
                Write::Decision { intent, .. } => {
                    let state = self.intents[intent.as_str()].state;
                    assert!(matches!(state, IntentState::Unknown | IntentState::Stuck), "{state}");
                }
                Write::Baseline { symbol, change, .. } => {
                    *self.baselines.entry(symbol).or_default() += change.atoms();
                }
                Write::Begun => self.begun = true,
                Write::Pending(fill) => {
                    assert!(!self.fills.contains_key(&fill.id), "what is known does not wait");
                    assert_eq!(self.pending.insert(fill.id, fill), None);
                }
                Write::PendingOver(id) => drop(self.pending.remove(&id).unwrap()),
                Write::Pushed(log) => assert!(self.pushed.insert(log), "kept once"),
                Write::Settled(log) => assert!(self.pushed.remove(&log), "settled once"),
                Write::Token(_) | Write::Skipped(_) | Write::Answered { .. } | Write::Dead(_) => {}
            }
        }
        if self.compared && !writes.is_empty() {
            self.compared_at = Some(now);
        }
    }

    fn one_live(&self, intent: &Intent) {
        let others = self.intents.values().filter(|other| {
            other.id != intent.id && other.symbol == intent.symbol && other.state.is_live() && !other.adopted
        });
        assert!(
            !intent.state.is_live() || intent.adopted || others.count() == 0,
            "one live intent per ticker"
        );
    }

    pub fn load(&self) -> Loaded {
        let floor = self.window.first().map_or(0, |block| block.number);
        let sums = |map: &BTreeMap<Symbol, i128>| {
            map.iter().map(|(symbol, sum)| (symbol.clone(), Shares::from_atoms(*sum))).collect()
        };
        Loaded {
            passed_over: self.passed_over.clone(),
            chain: ChainView {
                cursor: self.cursor,
                window: self.window.clone(),
                evidence: self.pushed.iter().copied().collect(),
                ..ChainView::default()
            },
            pending: self.pending.values().cloned().collect(),
            fills: self.fills.values().filter(|state| state.fill.block_number > floor).cloned().collect(),
            fill_sums: sums(&self.sums),
            fill_slack: vec![],
            execution_sums: sums(&self.executions),
            account_sums: sums(&self.account),
            baselines: sums(&self.baselines),
            tag: self.tag.clone(),
            begun: self.begun,
            recent: self
                .fills
                .values()
                .filter(|state| state.standing)
                .map(|FillState { fill, .. }| RecentFill {
                    id: fill.id,
                    symbol: fill.symbol.clone(),
                    at: self.seen[&fill.id],
                    cash: fill.cash,
                    shares: fill.shares,
                })
                .collect(),
            traded: self
                .fills
                .values()
                .map(|FillState { fill, .. }| Traded {
                    symbol: fill.symbol.clone(),
                    cash: fill.cash,
                    shares: fill.shares,
                })
                .collect(),
            intents: self.intents.values().cloned().collect(),
            failures: vec![],
            halts: self
                .halts
                .iter()
                .map(|((symbol, kind), why)| Halt {
                    symbol: symbol.clone(),
                    kind: *kind,
                    reason: why.clone(),
                })
                .collect(),
            fills_total: 0,
            reversals_total: 0,
            dead_total: 0,
            first_compared_at: self.first_compared_at,
            last_commit: self.last_commit,
            compared_at: self.compared_at,
        }
    }
}

pub struct World {
    pub chain: Chain,
    pub desk: Desk,
    pub shelf: Shelf,
    pub engine: Engine,
    pub now: Millis,
    pub starts: u32,
    pub effects: Vec<Effect>,
    /// What a person was told, and when.
    pub alerts: Vec<(Millis, String)>,
    pub confirmations: u64,
    pub terms: Terms,
    pub stop: Option<Stop>,
    /// Earlier copies of the ledger.
    pub backups: Vec<Shelf>,
    /// The real ledger, where a test gives it a place: written beside the shelf, and what a restart reads.
    pub ledger: Option<Ledger>,
    place: Option<PathBuf>,
}

impl World {
    pub fn new(confirmations: u64) -> Self {
        Self::with(confirmations, None)
    }

    pub fn with(confirmations: u64, place: Option<PathBuf>) -> Self {
        Self::on(Terms::default(), confirmations, place)
    }

    pub fn on(terms: Terms, confirmations: u64, place: Option<PathBuf>) -> Self {
        let shelf = Shelf::default();
        let engine = Engine::new(terms.policy(confirmations, 0), shelf.load());
        let mut world = Self {
            chain: Chain::default(),
            desk: Desk { by_list: terms.by_list, ..Desk::default() },
            shelf,
            engine,
            now: Millis(1_700_000_000_000),
            starts: 0,
            effects: vec![],
            alerts: vec![],
            confirmations,
            terms,
            stop: None,
            backups: vec![],
            ledger: None,
            place,
        };
        world.reopen();
        world.connect();
        world
    }

    pub fn connect(&mut self) {
        let head = self.chain.head().at();
        self.input(Input::Connected { head });
    }

    pub fn input(&mut self, input: Input) {
        self.now = self.now.plus(50);
        let shown = (self.engine.chain_revision(), self.engine.view());
        match self.engine.step(self.now, [input]) {
            Ok(out) => {
                if self.engine.chain_revision() == shown.0 {
                    assert_eq!(self.engine.view(), shown.1, "the chain side is told of every change");
                }
                self.shelf.commit(self.now, &out.writes);
                if let Some(ledger) = &mut self.ledger {
                    ledger.commit(self.now, &out.writes).unwrap();
                    let again = Engine::new(
                        self.terms.policy(self.confirmations, self.starts),
                        ledger.load().unwrap(),
                    );
                    assert_eq!(
                        again.restart_state(),
                        self.engine.restart_state(),
                        "a restart knows what the process knew"
                    );
                }
                for effect in &out.effects {
                    let Effect::Place(ticket) = effect else { continue };
                    let again = out.writes.iter().any(|write| {
                        matches!(write, Write::Transition { from: IntentState::Unknown, intent } if intent.id == ticket.intent)
                    });
                    self.may_leave(ticket, again);
                }
                let told = out.effects.iter().filter_map(|effect| match effect {
                    Effect::Alert(text) => Some((self.now, text.clone())),
                    _ => None,
                });
                self.alerts.extend(told);
                self.effects.extend(out.effects);
            }
            Err(stop) => self.stop = Some(stop),
        }
    }

    /// What must hold of every order at the moment it becomes durable, by what the broker really has: it brings the
    /// exposure nearer to zero and not past it. The same order again may be out of date, but never a second one.
    fn may_leave(&self, ticket: &Ticket, again: bool) {
        let open = match &self.desk.told {
            Some(Session::Open { until: None }) => true,
            Some(Session::Open { until: Some(until) }) => until.since(self.now) > 15_000,
            Some(Session::Closed { .. } | Session::Disputed { .. }) | None => false,
        };
        assert!(open, "{ticket:?} leaves while the session is {:?}", self.desk.told);
        let slowed = self.desk.slowed.is_some_and(|at| (50..SLOWED_MS).contains(&self.now.since(at)));
        assert!(!slowed, "{ticket:?} leaves in a rate pause");
        let symbol = &ticket.symbol;
        let halted = self.shelf.halts.keys().any(|(s, _)| s.as_ref().is_none_or(|s| s == symbol));
        assert!(!halted, "{ticket:?} leaves while its ticker is halted");
        let named = |o: &&BrokerOrder| o.client_id.as_deref() == Some(ticket.intent.as_str());
        if again || self.desk.orders.iter().any(|order| named(&order)) {
            assert!(again, "{ticket:?} leaves under a name that the broker has");
            return;
        }
        let before = self.shelf.sums.get(symbol).copied().unwrap_or(0) + self.desk.committed(symbol);
        let after = before + ticket.side.signed(ticket.quantity).atoms();
        assert!(
            after.abs() < before.abs() && (after == 0 || (after > 0) == (before > 0)),
            "{ticket:?} moves {symbol} from {before} to {after}: doubled"
        );
    }

    /// Performs what the engine wanted; with `crash` the process dies before the n-th effect.
    pub fn perform(&mut self, crash: Option<usize>) {
        for (n, effect) in std::mem::take(&mut self.effects).into_iter().enumerate() {
            if crash == Some(n) {
                return self.restart();
            }
            match effect {
                Effect::Place(ticket) => {
                    let outcome = self.desk.place(&ticket, self.now);
                    if crash == Some(n + 1) {
                        return self.restart();
                    }
                    self.input(Input::Placed { intent: ticket.intent, outcome });
                }
                Effect::Ask(question) => {
                    let answer = self.desk.answer(question, self.now);
                    self.input(answer);
                }
                Effect::Sweep | Effect::Reply(..) | Effect::Alert(_) => {}
                Effect::Stop(stop) => self.stop = Some(stop),
            }
        }
    }

    pub fn restart(&mut self) {
        self.starts += 1;
        self.effects.clear();
        self.reopen();
        (self.desk.told, self.desk.slowed) = (None, None);
        let loaded = match &self.ledger {
            Some(ledger) => ledger.load().unwrap(),
            None => self.shelf.load(),
        };
        self.engine = Engine::new(self.terms.policy(self.confirmations, self.starts), loaded);
        self.connect();
    }

    /// Another process takes the ledger.
    fn reopen(&mut self) {
        self.shelf.compared = false;
        drop(self.ledger.take());
        self.ledger = self.place.as_deref().map(|place| {
            let stamp = Stamp {
                chain_id: CHAIN_ID,
                orderbooks: vec![],
                owners: vec![],
                broker: "paper".into(),
                account: "TEST".into(),
                hedge_from_block: None,
                deployment_block: 100,
            };
            Ledger::open(place, &stamp, Millis(1)).unwrap()
        });
    }

    /// The ledger becomes an earlier copy of itself; the broker's book stays.
    pub fn restore(&mut self, backup: usize) {
        let Some(backup) = self.backups.get(backup % self.backups.len().max(1)) else { return };
        if backup.compared_at.is_none() {
            // Born and never compared: a person decides what becomes of the orders of an earlier ledger.
            return;
        }
        self.shelf = backup.clone();
        // A broker that does not show an order at once can hide it from the one comparison there is.
        self.desk.hidden_reads = 0;
        self.restart();
    }

    /// What only a person may lift, a person lifts. Who is told that an order may be ours by its tag sets `APP_TAG` first.
    pub fn resume_all(&mut self) {
        let asked = self.engine.facts().halts.iter().any(|halt| halt.reason.contains("set APP_TAG=ours"));
        if asked && !self.terms.tag_known {
            self.terms.tag_known = true;
            self.restart();
            self.settle();
        }
        for Halt { symbol, kind, .. } in self.engine.facts().halts {
            let (reason, who) = ("tested".to_owned(), "operator".to_owned());
            let choice = kind.choices().last().copied();
            self.input(Input::Command(Command::Resume { symbol, kind, choice, reason, who }, 0));
        }
    }

    /// A person looks at the broker's own book and says the truth of every intent that waits for one.
    pub fn settle_by_hand(&mut self) {
        for waiting in self.engine.facts().unsettled {
            let id = &waiting.intent_id;
            let its_own = |order: &&BrokerOrder| order.client_id.as_deref() == Some(id.as_str());
            let decision = match self.desk.orders.iter().find(its_own) {
                _ if waiting.adopted => {
                    let order = self
                        .desk
                        .orders
                        .iter()
                        .find(|order| Some(&order.id) == waiting.broker_order_id.as_ref());
                    let ours = order.is_some_and(|order| order.tag.as_deref() == Some("ours"));
                    if ours { Decision::Book } else { Decision::Ignore }
                }
                Some(order) if waiting.broker_order_id.as_ref() == Some(&order.id) => Decision::Book,
                Some(order) => Decision::Adopt(order.id.clone()),
                None if waiting.executed.is_zero() => Decision::Absent,
                None => Decision::Book,
            };
            let (reason, who) = ("the broker's own book".to_owned(), "operator".to_owned());
            let target = id.clone();
            self.input(Input::Command(Command::Reconcile { target, decision, reason, who }, 0));
        }
    }

    /// `bot halt` and `bot resume` while no bot runs; then it starts.
    pub fn operate_alone(&mut self) {
        let mut engine = Engine::new(self.terms.policy(0, 0), self.shelf.load());
        let (reason, who) = ("a look".to_owned(), "operator".to_owned());
        let (symbol, kind) = (None, HaltKind::Operator);
        let halt = Command::Halt { symbol: symbol.clone(), reason: reason.clone(), who: who.clone() };
        let lift = Command::Resume { symbol, kind, choice: None, reason, who };
        self.reopen();
        for command in [halt, lift] {
            let out = engine.step(self.now, [Input::Stop, Input::Command(command, 0)]).unwrap();
            self.shelf.commit(self.now, &out.writes);
            if let Some(ledger) = &mut self.ledger {
                ledger.commit(self.now, &out.writes).unwrap();
            }
        }
        self.restart();
    }

    pub fn push(&mut self, block: &Block) {
        let events = block.fills().into_iter().map(Event::Fill).collect();
        self.input(Input::Push(Push { events, ..Push::default() }));
    }

    /// Pushes a block's logs as those of which no fill can be made at once.
    pub fn push_evidence(&mut self, block: &Block) {
        let evidence = block.fills().iter().map(Fill::log).collect();
        self.input(Input::Push(Push { evidence, ..Push::default() }));
    }

    pub fn sweep(&mut self, blocks_max: usize) -> bool {
        let view = self.engine.view();
        let Some(sweep) = self.chain.sweep(&view, blocks_max) else { return false };
        self.input(Input::Sweep(sweep));
        true
    }

    /// Lets time pass in a world without trouble until nothing is written any more.
    pub fn settle(&mut self) {
        (self.desk.away, self.desk.mood, self.desk.closes) = (false, None, None);
        let mut quiet = 0;
        for _ in 0..400 {
            let before = self.shelf.last_commit;
            self.now = self.now.plus(10_000);
            while self.sweep(64) {
                assert!(self.stop.is_none(), "{:?}", self.stop);
            }
            self.input(Input::Tick);
            self.perform(None);
            self.desk.trade(self.now);
            quiet = if self.shelf.last_commit == before { quiet + 1 } else { 0 };
            // The longest pause there is has passed.
            if quiet > 40 {
                break;
            }
        }
    }
}

pub fn policy(confirmations: u64, start: u32) -> Policy {
    Policy {
        confirmations,
        profile: Profile {
            name: "paper",
            account: "TEST".into(),
            lot: Shares::whole(1),
            fraction_notional_min: None,
            client_ids: true,
            allow_short: true,
            crosses_zero: true,
            quotes: false,
            tag: Some("ours".into()),
            poll_ms: 100,
        },
        limits: Limits { max_orders_per_minute: 100_000, max_orders_per_day: 1_000_000, ..Limits::default() },
        nonce: format!("{start:08x}"),
        absent_after_ms: None,
        max_price_deviation_bps: 500,
        unhedged_alert_ms: 60_000,
        live: false,
    }
}

/// Nothing lost, nothing doubled, at rest.
pub fn verdict(world: &World) {
    assert!(world.stop.is_none(), "{:?}", world.stop);
    let lot = Shares::whole(1).atoms();
    let truth = world.chain.truth();
    for index in 0..3 {
        let symbol = symbol(index);
        let onchain = truth.get(&symbol).copied().unwrap_or(0);
        let ripe = if world.confirmations == 0 {
            assert_eq!(world.shelf.sums.get(&symbol).copied().unwrap_or(0), onchain, "{symbol}: fills");
            onchain
        } else {
            world.shelf.sums.get(&symbol).copied().unwrap_or(0)
        };
        let executed = world.desk.executed(&symbol);
        assert_eq!(
            world.shelf.executions.get(&symbol).copied().unwrap_or(0),
            executed,
            "{symbol}: executions"
        );
        assert!(
            (ripe + executed).abs() < lot,
            "{symbol}: {ripe} onchain, {executed} at the broker; {:?}",
            world.engine.facts()
        );
    }
    let mut bound: BTreeMap<String, u32> = BTreeMap::new();
    for order in world.desk.ours() {
        let intent = world.shelf.intents.values().find(|intent| intent.order_id.as_ref() == Some(&order.id));
        let intent = intent.unwrap_or_else(|| panic!("every order is bound to an intent: {order:?}"));
        let named = order.client_id.as_deref() == Some(intent.id.as_str());
        assert!(world.terms.by_list || intent.adopted || named);
        assert_eq!((intent.quantity, intent.side), (order.quantity, order.side));
        *bound.entry(intent.id.to_string()).or_default() += 1;
    }
    assert!(bound.values().all(|count| *count == 1), "one order per intent");
    let open = |state| matches!(state, IntentState::Sent | IntentState::Unknown | IntentState::Working);
    assert!(!world.shelf.intents.values().any(|intent| open(intent.state)), "nothing is open at rest");
}
