//! What the engine costs: `cargo bench -p counterfill-core`. One block brings a fill in each of N tickers; a broker that
//! answers at once takes one order after the other, until all are hedged. Each answer is a step of its own, as in the
//! program where it is slowest. The floor of a run is its row of 10 tickers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, U256};
use counterfill_core::engine::{Effect, Engine, Input, Policy, Question};
use counterfill_core::fills::{Event, Fill};
use counterfill_core::hedges::Limits;
use counterfill_core::ports::broker::{BrokerOrder, OrderStatus, Placed, Profile, Session, Ticket};
use counterfill_core::ports::chain::Sweep;
use counterfill_core::ports::records::Loaded;
use counterfill_core::units::{BlockRef, Cash, FillId, Millis, OrderId, Price, Shares, Side, Symbol};

const BORN: Millis = Millis(1_700_000_000_000);
/// Every this many steps time goes on by a tick.
const STEPS_A_TICK: u64 = 200;

fn policy(client_ids: bool) -> Policy {
    Policy {
        confirmations: 0,
        profile: Profile {
            name: "bench",
            account: "BENCH".into(),
            lot: Shares::whole(1),
            fraction_notional_min: None,
            client_ids,
            allow_short: true,
            crosses_zero: true,
            quotes: false,
            tag: Some("ours".into()),
            poll_ms: 500,
        },
        limits: Limits {
            max_orders_per_minute: u32::MAX,
            max_orders_per_day: u32::MAX,
            max_daily_notional: Cash::whole(1_000_000_000_000),
            ..Limits::default()
        },
        nonce: "00000001".into(),
        absent_after_ms: None,
        max_price_deviation_bps: 500,
        unhedged_alert_ms: 60_000,
        live: false,
    }
}

fn block(number: u64) -> BlockRef {
    BlockRef { number, hash: B256::from(U256::from(number)) }
}

fn symbol(n: usize) -> Symbol {
    let letters: String = [26 * 26, 26, 1].map(|place| letter(n / place % 26)).into_iter().collect();
    format!("T{letters}").parse().unwrap()
}

fn letter(n: usize) -> char {
    char::from(b'A' + u8::try_from(n).unwrap())
}

fn fill(number: u64, log_index: usize, symbol: Symbol) -> Event {
    let hash = block(number).hash;
    Event::Fill(Fill {
        id: FillId {
            chain_id: 1,
            block_hash: hash,
            tx_hash: B256::from(U256::from(number * 10_000 + log_index as u64)),
            log_index: log_index as u64,
            side: Side::Buy,
        },
        block_number: number,
        block_time: None,
        orderbook: Address::ZERO,
        owner: Address::ZERO,
        symbol,
        shares: Shares::whole(1),
        cash: Cash::whole(100),
        price: Price::of(Cash::whole(100), Shares::whole(1)),
        unit: None,
    })
}

/// A broker that takes every order and fills it whole.
#[derive(Default)]
struct Broker {
    orders: BTreeMap<OrderId, BrokerOrder>,
}

impl Broker {
    fn place(&mut self, ticket: &Ticket, now: Millis) -> Placed {
        let id: OrderId = format!("{}", self.orders.len() + 1).parse().unwrap();
        let order = BrokerOrder {
            id: id.clone(),
            client_id: Some(ticket.intent.to_string()),
            tag: Some("ours".into()),
            symbol: ticket.symbol.clone(),
            side: ticket.side,
            quantity: ticket.quantity,
            filled: ticket.quantity,
            executed: ticket.quantity,
            average_price: ticket.reference,
            status: OrderStatus::Filled,
            status_text: "filled".into(),
            entered_at: now,
            ordinary: true,
        };
        self.orders.insert(id.clone(), order);
        Placed::Accepted(id)
    }

    fn answer(&self, question: Question, now: Millis) -> Input {
        match question {
            Question::Order { intent, id } => {
                let answer = Ok(self.orders.get(&id).cloned());
                Input::Order { intent, id, answer }
            }
            Question::Find { intent } => Input::Found { intent, answer: Ok(None) },
            Question::List { since } => {
                let listed = self.orders.values().filter(|order| order.entered_at >= since).cloned();
                Input::List { begun_at: now, answer: Ok(listed.collect()) }
            }
            Question::Session => Input::Session(Ok(Session::Open { until: None })),
            Question::Positions => {
                let mut held: BTreeMap<Symbol, Shares> = BTreeMap::new();
                for order in self.orders.values() {
                    let sum = held.entry(order.symbol.clone()).or_default();
                    *sum = sum.checked_add(order.side.signed(order.executed)).unwrap();
                }
                Input::Positions { begun_at: now, answer: Ok(held.into_iter().collect()) }
            }
            Question::Quotes { .. } => Input::Quotes { begun_at: now, answer: Ok(Vec::new()) },
        }
    }
}

/// An engine, its broker, and what was measured.
struct Run {
    engine: Engine,
    broker: Broker,
    now: Millis,
    steps: u64,
    orders: u64,
    in_engine: Duration,
}

impl Run {
    fn new(client_ids: bool) -> Self {
        let engine = Engine::new(policy(client_ids), Loaded::default());
        let broker = Broker::default();
        Self { engine, broker, now: BORN, steps: 0, orders: 0, in_engine: Duration::ZERO }
    }

    /// Steps until nothing is to be answered any more.
    fn take(&mut self, inputs: impl IntoIterator<Item = Input>) {
        let mut queue: VecDeque<Input> = inputs.into_iter().collect();
        while let Some(input) = queue.pop_front() {
            self.now = self.now.plus(1);
            self.steps += 1;
            let begun = Instant::now();
            let out = self.engine.step(self.now, [input]).unwrap();
            self.in_engine += begun.elapsed();
            for effect in out.effects {
                match effect {
                    Effect::Place(ticket) => {
                        self.orders += 1;
                        let outcome = self.broker.place(&ticket, self.now);
                        queue.push_back(Input::Placed { intent: ticket.intent, outcome });
                    }
                    Effect::Ask(question) => queue.push_back(self.broker.answer(question, self.now)),
                    Effect::Stop(stop) => panic!("{stop}"),
                    _ => {}
                }
            }
            if self.steps.is_multiple_of(STEPS_A_TICK) {
                queue.push_back(Input::Tick);
            }
        }
    }

    /// One block with a fill in each ticker, and what follows.
    fn burst(&mut self, number: u64, tickers: usize) {
        let events = (0..tickers).map(|n| fill(number, n, symbol(n))).collect();
        let (base, target) = (block(number - 1), block(number));
        let canonical = BTreeMap::from([(number, target.hash)]);
        self.take([Input::Sweep(Sweep {
            base,
            target,
            canonical,
            events,
            refuted: Vec::new(),
            settled: Vec::new(),
            tokens: Vec::new(),
            head: number,
        })]);
    }
}

struct Row {
    orders_a_second: u128,
    steps_a_second: u128,
}

/// `blocks` bursts of N tickers.
fn measure(tickers: usize, blocks: u64, client_ids: bool) -> Row {
    let mut run = Run::new(client_ids);
    run.take([Input::Connected { head: block(1) }, Input::Sweep(Sweep::empty_at(block(1))), Input::Tick]);
    (run.steps, run.in_engine) = (0, Duration::ZERO);
    for number in 2..2 + blocks {
        run.burst(number, tickers);
    }
    let expected = blocks * tickers as u64;
    assert_eq!(run.orders, expected, "every fill is hedged once");
    let facts = run.engine.facts();
    let open: BTreeSet<&Symbol> =
        facts.tickers.iter().filter(|row| !row.exposure.is_zero()).map(|row| &row.symbol).collect();
    assert!(open.is_empty(), "{open:?}");
    let micros = run.in_engine.as_micros().max(1);
    Row {
        orders_a_second: u128::from(expected) * 1_000_000 / micros,
        steps_a_second: u128::from(run.steps) * 1_000_000 / micros,
    }
}

fn main() {
    println!("{:>8} {:>7} {:>12} {:>12} {:>9}", "tickers", "names", "orders/s", "steps/s", "of 10");
    for client_ids in [true, false] {
        let mut floor = 1;
        for (tickers, blocks) in [(10, 100), (100, 10), (300, 3), (1_000, 1)] {
            let row = measure(tickers, blocks, client_ids);
            if tickers == 10 {
                floor = row.orders_a_second.max(1);
            }
            println!(
                "{tickers:>8} {:>7} {:>12} {:>12} {:>7} %",
                if client_ids { "ours" } else { "none" },
                row.orders_a_second,
                row.steps_a_second,
                row.orders_a_second * 100 / floor
            );
        }
    }
}
