//! A chain and a broker out of bytes: mostly honest, so that histories get somewhere, and at any moment not.
//!
//! Invariant: what it answers is about what the engine asked or sent; whether it is true is for the bytes to say.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, keccak256};

use crate::forms::Bytes;
use counterfill::broker::{BrokerOrder, OrderStatus, Placed, ReadError, Session, Ticket};
use counterfill::chain::{ChainView, Push, Sweep};
use counterfill::engine::{Command, Effect, Input, Question};
use counterfill::fills::{DeadEvent, Event, Fill, SkipReason, Skipped, TokenFact, TokenKind, Unit};
use counterfill::hedges::{Choice, Decision, HaltKind};
use counterfill::units::{
    BlockRef, Cash, FillId, IntentId, Millis, ONE, OrderId, Price, Shares, Side, Symbol,
};

pub(super) const CHAIN_ID: u64 = 8453;
pub(super) const FIRST_BLOCK: u64 = 100;
/// Quantities worth meeting, in atoms: dust, parts of a share, a whole one, several, more than fits when added up.
const ATOMS: [i128; 8] =
    [1, ONE / 3, ONE / 2, ONE, ONE + 1, 3 * ONE, 1_700 * ONE, 85_000_000_000_000_000_000 * ONE];

#[derive(Debug, Clone)]
struct Block {
    at: BlockRef,
    events: Vec<Event>,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Millis,
    canonical: Vec<Block>,
    ever: Vec<Block>,
    salt: u64,
    /// Orders that went out and whose call has not been answered yet.
    tickets: Vec<Ticket>,
    questions: Vec<Question>,
    book: BTreeMap<OrderId, BrokerOrder>,
}

impl Default for World {
    fn default() -> Self {
        let at = BlockRef { number: FIRST_BLOCK, hash: B256::repeat_byte(0xaa) };
        let first = Block { at, events: vec![] };
        Self {
            now: Millis(1_700_000_000_000),
            canonical: vec![first.clone()],
            ever: vec![first],
            salt: 0,
            tickets: vec![],
            questions: vec![],
            book: BTreeMap::new(),
        }
    }
}

fn symbol(choice: u8) -> Option<Symbol> {
    ["TSLA", "AAPL", "BRK.B"].get(usize::from(choice % 3))?.parse().ok()
}

impl World {
    /// What the engine wanted done waits until the bytes come to it.
    pub(super) fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Place(ticket) => self.tickets.push(ticket),
                Effect::Ask(question) => self.questions.push(question),
                Effect::Sweep | Effect::Reply(..) | Effect::Alert(_) | Effect::Stop(_) => {}
            }
        }
    }

    /// Another process begins: answers to the last one are nobody's.
    pub(super) fn forget(&mut self) {
        self.tickets.clear();
        self.questions.clear();
    }

    /// The next input; none where there is nothing to say.
    pub(super) fn input(&mut self, op: u8, bytes: &mut Bytes<'_>, view: &ChainView) -> Option<Input> {
        self.now = self.now.plus(50);
        match op {
            5 | 6 => {
                self.mine(bytes);
                Some(Input::Sweep(self.sweep(view, usize::from(bytes.byte()))?))
            }
            7 => {
                let keep = self.canonical.len().saturating_sub(usize::from(bytes.below(8))).max(1);
                self.canonical.truncate(keep);
                self.mine(bytes);
                Some(Input::Sweep(self.sweep(view, 255)?))
            }
            8 => {
                let back = usize::from(bytes.byte()).checked_rem(self.ever.len())?;
                let events = self.ever.iter().rev().nth(back)?.events.clone();
                let (takes, others): (Vec<_>, Vec<_>) =
                    events.into_iter().partition(|event| matches!(event, Event::Fill(_)));
                let evidence = others.iter().map(Event::log).collect();
                Some(Input::Push(Push { events: takes, evidence, ..Push::default() }))
            }
            9 => Some(Input::Connected { head: self.canonical.last()?.at }),
            10 | 11 => self.placed(bytes),
            12..=14 => self.answer(bytes),
            15 => Some(Input::Session(Ok(match bytes.below(3) {
                0 => Session::Closed { reason: "night".into() },
                1 => Session::Open { until: Some(self.now.plus(60_000)) },
                _ => Session::Open { until: None },
            }))),
            16 | 17 => {
                self.now = self.now.plus(i64::from(bytes.word()) * 20 - 100_000);
                Some(Input::Tick)
            }
            18 => Some(Input::Command(self.command(bytes)?, 0)),
            // A sweep that lies about one thing.
            _ => {
                let mut sweep = self.sweep(view, 255)?;
                match bytes.below(4) {
                    0 => sweep.base.hash = B256::repeat_byte(bytes.byte()),
                    1 => sweep.events.reverse(),
                    2 => sweep.refuted = view.standing.iter().map(|(_, id)| *id).collect(),
                    _ => sweep.tokens = vec![token(bytes)?],
                }
                Some(Input::Sweep(sweep))
            }
        }
    }

    fn mine(&mut self, bytes: &mut Bytes<'_>) {
        self.salt += 1;
        let Some(parent) = self.canonical.last().map(|block| block.at) else { return };
        let hash = keccak256([parent.hash.as_slice(), &self.salt.to_be_bytes()].concat());
        let at = BlockRef { number: parent.number + 1, hash };
        let count = u64::from(bytes.below(5));
        let events = (0..count).filter_map(|log_index| event(at, log_index, bytes)).collect();
        let block = Block { at, events };
        self.ever.push(block.clone());
        self.canonical.push(block);
    }

    /// What an honest node and an honest sweep make of it, up to so many blocks.
    fn sweep(&self, view: &ChainView, blocks_max: usize) -> Option<Sweep> {
        let is_canonical = |known: &&BlockRef| self.canonical.iter().any(|block| block.at == **known);
        let base = match view.cursor {
            None => self.canonical.first()?.at,
            Some(_) => *view.window.iter().rev().find(is_canonical)?,
        };
        let range: Vec<&Block> =
            self.canonical.iter().filter(|block| block.at.number > base.number).take(blocks_max).collect();
        let target = range.last().map_or(base, |block| block.at);
        (view.cursor != Some(target)).then(|| Sweep {
            base,
            target,
            canonical: range.iter().map(|block| (block.at.number, block.at.hash)).collect(),
            events: range.iter().flat_map(|block| block.events.clone()).collect(),
            refuted: vec![],
            settled: view
                .evidence
                .iter()
                .filter(|log| range.iter().any(|b| b.at.number == log.block.number))
                .copied()
                .collect(),
            tokens: vec![],
            head: self.canonical.last().map_or(base.number, |block| block.at.number),
        })
    }

    /// What becomes of the order call that waits longest.
    fn placed(&mut self, bytes: &mut Bytes<'_>) -> Option<Input> {
        let ticket = if self.tickets.is_empty() { None } else { Some(self.tickets.remove(0)) }?;
        let choice = bytes.below(8);
        if matches!(choice, 0..=2 | 7) {
            self.enter(&ticket, bytes);
        }
        let id = self.book.values().find(|order| order.client_id.as_deref() == Some(ticket.intent.as_str()));
        let outcome = match (choice, id) {
            (0..=2, Some(order)) => Placed::Accepted(order.id.clone()),
            (3, _) => Placed::Refused { reason: "no".into(), gate_ms: None },
            (4, _) => {
                Placed::Refused { reason: "slower".into(), gate_ms: Some(i64::from(bytes.byte()) * 100) }
            }
            (5, _) => Placed::Duplicate,
            (6, _) => Placed::NotSent("no route".into()),
            _ => Placed::Unknown("timeout".into()),
        };
        Some(Input::Placed { intent: ticket.intent, outcome })
    }

    fn enter(&mut self, ticket: &Ticket, bytes: &mut Bytes<'_>) {
        let Ok(id) = format!("{}", 1000 + self.book.len()).parse::<OrderId>() else { return };
        let order = BrokerOrder {
            id: id.clone(),
            client_id: Some(ticket.intent.to_string()),
            tag: Some(if bytes.byte() > 240 { "theirs" } else { "ours" }.to_owned()),
            symbol: ticket.symbol.clone(),
            side: ticket.side,
            quantity: ticket.quantity,
            filled: Shares::ZERO,
            executed: Shares::ZERO,
            average_price: None,
            status: OrderStatus::Live,
            status_text: "new".into(),
            entered_at: self.now,
            ordinary: true,
        };
        self.book.insert(id, order);
    }

    /// The answer to one of the questions that wait. The order it is about may have moved, or lie.
    fn answer(&mut self, bytes: &mut Bytes<'_>) -> Option<Input> {
        let place = usize::from(bytes.byte()).checked_rem(self.questions.len())?;
        let question = self.questions.remove(place);
        let away = bytes.byte() > 230;
        let named = |id: &IntentId| {
            self.book
                .values()
                .find(|o| o.client_id.as_deref() == Some(id.as_str()))
                .map(|order| order.id.clone())
        };
        let about = match &question {
            Question::Order { id, .. } => Some(id.clone()),
            Question::Find { intent } => named(intent),
            _ => None,
        };
        if let Some(order) = about.as_ref().and_then(|id| self.book.get_mut(id)) {
            move_on(order, bytes);
        }
        let found = || about.as_ref().and_then(|id| self.book.get(id)).cloned();
        let failed = || ReadError("away".into());
        Some(match question {
            Question::Order { intent, id } => {
                Input::Order { intent, id, answer: if away { Err(failed()) } else { Ok(found()) } }
            }
            Question::Find { intent } => {
                Input::Found { intent, answer: if away { Err(failed()) } else { Ok(found()) } }
            }
            Question::List { since } => {
                let orders = self.book.values().filter(|order| order.entered_at >= since).cloned().collect();
                Input::List { begun_at: self.now, answer: if away { Err(failed()) } else { Ok(orders) } }
            }
            Question::Session => {
                Input::Session(if away { Err(failed()) } else { Ok(Session::Open { until: None }) })
            }
            Question::Positions => {
                let holds = |choice: u8| symbol(choice).zip(self.held(choice, bytes.byte()));
                let answer = if away { Err(failed()) } else { Ok((0..3).filter_map(holds).collect()) };
                Input::Positions { begun_at: self.now, answer }
            }
            Question::Quotes { .. } => Input::Quotes { begun_at: self.now, answer: Err(failed()) },
        })
    }

    /// What the account holds of a ticker: what its orders did, or something else.
    fn held(&self, choice: u8, lie: u8) -> Option<Shares> {
        let ticker = symbol(choice)?;
        let ours = self.book.values().filter(|order| order.symbol == ticker);
        let traded = ours
            .map(|order| order.side.signed(order.executed))
            .try_fold(Shares::ZERO, Shares::checked_add)?;
        traded.checked_add(Shares::whole(i64::from(lie.saturating_sub(230))))
    }

    fn command(&self, bytes: &mut Bytes<'_>) -> Option<Command> {
        let symbol = if bytes.flag() { symbol(bytes.byte()) } else { None };
        let (reason, who) = ("tested".to_owned(), "operator".to_owned());
        if bytes.byte() >= 128 {
            let target =
                self.book.values().nth(usize::from(bytes.below(8)))?.client_id.as_ref()?.parse().ok()?;
            let decision = match bytes.below(4) {
                0 => Decision::Adopt(self.book.keys().nth(usize::from(bytes.below(8)))?.clone()),
                1 => Decision::Absent,
                2 => Decision::Book,
                _ => Decision::Ignore,
            };
            return Some(Command::Reconcile { target, decision, reason, who });
        }
        Some(if bytes.flag() {
            Command::Halt { symbol, reason, who }
        } else {
            let kind = *HaltKind::ALL.get(usize::from(bytes.byte()) % HaltKind::ALL.len())?;
            let choice = match bytes.below(4) {
                0 => Some(Choice::AcceptPosition),
                1 => Some(Choice::AdoptOrders),
                2 => Some(Choice::IgnoreOrders),
                _ => None,
            };
            Command::Resume { symbol, kind, choice, reason, who }
        })
    }
}

/// Trades a part, ends, takes back, or says something that can not be.
fn move_on(order: &mut BrokerOrder, bytes: &mut Bytes<'_>) {
    let left = order.quantity.checked_sub(order.executed).unwrap_or_default();
    match bytes.below(10) {
        0..=2 => order.executed = order.quantity,
        3 | 4 => order.executed = order.executed.checked_add(left.min(Shares::whole(1))).unwrap_or_default(),
        5 => order.executed = Shares::ZERO,
        6 => order.executed = Shares::from_atoms(atoms(bytes)),
        7 => order.quantity = Shares::from_atoms(atoms(bytes)),
        _ => {}
    }
    order.filled = if bytes.byte() > 250 { Shares::ZERO } else { order.executed };
    order.average_price = Some(Price::from_atoms(atoms(bytes)));
    order.status = match bytes.below(8) {
        0 => OrderStatus::Canceled,
        1 => OrderStatus::Rejected,
        2 => OrderStatus::Expired,
        3 => OrderStatus::Replaced,
        _ if order.executed == order.quantity => OrderStatus::Filled,
        _ => OrderStatus::Live,
    };
}

fn atoms(bytes: &mut Bytes<'_>) -> i128 {
    ATOMS.get(usize::from(bytes.below(8))).copied().unwrap_or(1)
}

fn event(at: BlockRef, log_index: u64, bytes: &mut Bytes<'_>) -> Option<Event> {
    let kind = bytes.byte();
    let id = FillId {
        chain_id: CHAIN_ID,
        block_hash: at.hash,
        tx_hash: keccak256([kind % 16]),
        log_index,
        side: if bytes.flag() { Side::Buy } else { Side::Sell },
    };
    let symbol = symbol(kind)?;
    let shares = Shares::from_atoms(atoms(bytes));
    let (orderbook, owner) = (Address::repeat_byte(0xb0), Address::repeat_byte(0x01));
    Some(match kind {
        240.. => Event::Dead(DeadEvent {
            chain_id: CHAIN_ID,
            block_number: at.number,
            block_hash: at.hash,
            tx_hash: id.tx_hash,
            log_index,
            address: orderbook,
            topics: vec![B256::repeat_byte(kind)],
            data: vec![kind; 3].into(),
            reason: "not understood".into(),
        }),
        224.. => Event::Skipped(Skipped {
            id,
            block_number: at.number,
            orderbook,
            owner,
            input_token: owner,
            output_token: orderbook,
            symbol: Some(symbol),
            shares,
            reason: SkipReason::ForeignPair,
        }),
        _ => {
            let cash = Cash::from_atoms(atoms(bytes));
            let (block_number, price) = (at.number, Price::of(cash, shares));
            Event::Fill(Fill {
                id,
                block_number,
                block_time: None,
                orderbook,
                owner,
                symbol,
                shares,
                cash,
                price,
                unit: None,
            })
        }
    })
}

/// What a token may be worth, as the ledger writes it.
const UNITS: [&str; 3] = ["vault:0xa5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5", "multiplier", "*3/2"];

fn token(bytes: &mut Bytes<'_>) -> Option<TokenFact> {
    let choice = bytes.byte();
    let kind = match choice % 4 {
        0 => TokenKind::Cash,
        1 => TokenKind::Share(symbol(choice)?, Unit::One),
        2 => {
            TokenKind::Share(symbol(choice)?, UNITS.get(usize::from(choice / 4) % UNITS.len())?.parse().ok()?)
        }
        _ => TokenKind::Foreign,
    };
    let address = Address::repeat_byte(1 + choice % 3);
    Some(TokenFact { address, symbol: format!("t{choice}"), decimals: bytes.below(20), kind })
}
