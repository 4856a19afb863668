//! A small book of fills and intents that the ledger's tests write.

use std::path::PathBuf;

use alloy::primitives::{Address, B256};
use counterfill::fills::{DeadEvent, Fill, SkipReason, Skipped, TokenFact, TokenKind, Unit};
use counterfill::hedges::{Intent, IntentState};
use counterfill::ledger::{Ledger, Source, Stamp, Write};
use counterfill::units::{BlockRef, FillId, Millis, Price, Side, Symbol};

pub(crate) const BORN: Millis = Millis(1_795_000_000_000);

pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join("bot.db")
    }

    pub(crate) fn open(&self) -> Ledger {
        Ledger::open(&self.path(), &stamp(), BORN).unwrap()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Past every check of ours, as `sqlite3` on the operator's desk would be.
    pub(crate) fn raw(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

pub(crate) fn stamp() -> Stamp {
    Stamp {
        chain_id: 8453,
        orderbooks: vec![Address::repeat_byte(0xb2), Address::repeat_byte(0xb1)],
        owners: vec![Address::repeat_byte(0xaa)],
        broker: "paper".into(),
        account: "paper".into(),
        hedge_from_block: None,
        deployment_block: 100,
    }
}

pub(crate) fn at(seconds: i64) -> Millis {
    BORN.plus(seconds * 1000)
}

pub(crate) fn symbol(text: &str) -> Symbol {
    text.parse().unwrap()
}

pub(crate) fn hash(byte: u8) -> B256 {
    B256::repeat_byte(byte)
}

pub(crate) fn block(number: u64, byte: u8) -> BlockRef {
    BlockRef { number, hash: hash(byte) }
}

/// Fill number `index` of `ticker`: its block is `100 + index`.
pub(crate) fn fill(index: u8, ticker: &str, side: Side, shares: &str, cash: &str) -> Fill {
    let (shares, cash) = (shares.parse().unwrap(), cash.parse().unwrap());
    Fill {
        id: FillId {
            chain_id: 8453,
            block_hash: hash(index),
            tx_hash: hash(0x80 | index),
            log_index: u64::from(index),
            side,
        },
        block_number: 100 + u64::from(index),
        block_time: Some(1_795_000_000 + u64::from(index)),
        orderbook: Address::repeat_byte(0xb1),
        owner: Address::repeat_byte(0xaa),
        symbol: symbol(ticker),
        shares,
        cash,
        price: Price::of(cash, shares),
        unit: None,
    }
}

pub(crate) fn entry(fill: &Fill, n: u32) -> Write {
    Write::Entry { id: fill.id, n, standing: n.is_multiple_of(2), source: Source::Sweep }
}

pub(crate) fn count(fill: &Fill, n: u32) -> Write {
    Write::Count { id: fill.id, n }
}

/// A fill that counts at once.
pub(crate) fn counting(fill: &Fill) -> Vec<Write> {
    vec![Write::Fill(fill.clone()), entry(fill, 0), count(fill, 0)]
}

pub(crate) fn skipped() -> Skipped {
    let taken = fill(9, "TSLA", Side::Sell, "1", "1");
    Skipped {
        id: taken.id,
        block_number: taken.block_number,
        orderbook: taken.orderbook,
        owner: taken.owner,
        input_token: Address::repeat_byte(1),
        output_token: Address::repeat_byte(2),
        symbol: None,
        shares: "0".parse().unwrap(),
        reason: SkipReason::ForeignPair,
    }
}

pub(crate) fn dead() -> DeadEvent {
    DeadEvent {
        chain_id: 8453,
        block_number: 107,
        block_hash: hash(7),
        tx_hash: hash(0x87),
        log_index: 3,
        address: Address::repeat_byte(0xb1),
        topics: vec![hash(1), hash(2)],
        data: vec![0xde, 0xad].into(),
        reason: "no such topic".into(),
    }
}

pub(crate) fn token() -> TokenFact {
    TokenFact {
        address: Address::repeat_byte(0xcd),
        symbol: "tTSLA".into(),
        decimals: 18,
        kind: TokenKind::Share(symbol("TSLA"), Unit::One),
    }
}

pub(crate) fn intent(id: &str, ticker: &str, state: IntentState, seconds: i64) -> Intent {
    Intent {
        id: id.parse().unwrap(),
        symbol: symbol(ticker),
        side: Side::Sell,
        quantity: "2".parse().unwrap(),
        state,
        transitions: 0,
        created_at: at(seconds),
        sent_at: (state == IntentState::Sent).then(|| at(seconds)),
        changed_at: at(seconds),
        order_id: None,
        executed: "0".parse().unwrap(),
        executions: 0,
        adopted: false,
        reference: Some("200".parse().unwrap()),
        snapshot: None,
        ignored: false,
        counted: true,
        reason: "exposure 2".into(),
    }
}

/// Moves `intent` to `state` and says so.
pub(crate) fn step(intent: &mut Intent, state: IntentState, seconds: i64, reason: &str) -> Write {
    let from = intent.state;
    intent.state = state;
    intent.transitions += 1;
    intent.changed_at = at(seconds);
    intent.reason = reason.into();
    Write::Transition { from, intent: intent.clone() }
}

/// Books an execution of the intent's order.
pub(crate) fn execute(intent: &mut Intent, quantity: &str, price: &str) -> Write {
    let write = Write::Execution {
        order_id: intent.order_id.clone().unwrap(),
        n: intent.executions,
        intent: intent.id.clone(),
        quantity: quantity.parse().unwrap(),
        average_price: Some(price.parse().unwrap()),
    };
    intent.executed = intent.executed.checked_add(quantity.parse().unwrap()).unwrap();
    intent.executions += 1;
    write
}
