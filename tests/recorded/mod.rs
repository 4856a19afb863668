//! Logs that the real V4 and V6 order books emitted, with what was seen beside them: the data under
//! `tests/data/raindex`.

#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, U256};
use counterfill::chain::abi::{Amount, RawLog};
use counterfill::fills::{self, Book, Hold, TokenFact, TokenFacts, Unit, Worth};
use serde_json::Value;

/// One file of recordings.
pub struct Recording {
    pub book: Book,
    pub facts: TokenFacts,
    pub scenarios: Vec<Scenario>,
}

/// One transaction.
pub struct Scenario {
    pub name: String,
    /// What was expected when it was recorded, in words of the recorder.
    pub expect: Value,
    /// All logs of its receipt.
    pub logs: Vec<RawLog>,
    /// The raw integers, as another decoder read them.
    pub decoded: Vec<Value>,
}

pub fn v4() -> Recording {
    recording(include_str!("../data/raindex/v4.json"))
}

pub fn v6() -> Recording {
    recording(include_str!("../data/raindex/v6.json"))
}

pub fn recording(text: &str) -> Recording {
    let file: Value = serde_json::from_str(text).unwrap();
    let book = Book {
        chain_id: file["chainId"].as_u64().unwrap(),
        orderbooks: BTreeSet::from([address(&file["orderbook"])]),
        owners: BTreeSet::from([address(&file["owner"])]),
        hedge_from_block: 0,
        symbols: None,
    };
    let mut facts = TokenFacts::default();
    for (key, token) in file["tokens"].as_object().unwrap() {
        let symbol = token["symbol"].as_str().unwrap().to_owned();
        let fact = TokenFact {
            address: key.parse().unwrap(),
            kind: fills::kind_of(&symbol, unit(&symbol)),
            symbol,
            decimals: u8::try_from(token["decimals"].as_u64().unwrap()).unwrap(),
        };
        facts.tokens.insert(fact.address, fact);
    }
    let scenarios = file["scenarios"].as_array().unwrap().iter().map(scenario).collect();
    Recording { book, facts, scenarios }
}

fn scenario(value: &Value) -> Scenario {
    Scenario {
        name: value["name"].as_str().unwrap().to_owned(),
        expect: value["expect"].clone(),
        logs: value["logs"].as_array().unwrap().iter().map(log).collect(),
        decoded: value["decoded"].as_array().unwrap().clone(),
    }
}

pub fn log(value: &Value) -> RawLog {
    let text = |key: &str| value[key].as_str().unwrap();
    let number = |key: &str| u64::from_str_radix(text(key).trim_start_matches("0x"), 16).unwrap();
    RawLog {
        address: address(&value["address"]),
        topics: value["topics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t.as_str().unwrap().parse().unwrap())
            .collect(),
        data: text("data").parse().unwrap(),
        block_number: number("blockNumber"),
        block_hash: text("blockHash").parse().unwrap(),
        block_time: value["blockTimestamp"].is_string().then(|| number("blockTimestamp")),
        tx_hash: text("transactionHash").parse().unwrap(),
        log_index: number("logIndex"),
    }
}

pub fn address(value: &Value) -> Address {
    value.as_str().unwrap().parse().unwrap()
}

impl Recording {
    /// Every log of every scenario.
    pub fn logs(&self) -> Vec<RawLog> {
        self.scenarios.iter().flat_map(|scenario| scenario.logs.clone()).collect()
    }

    /// Answers every question about wrapped tokens with "one for one", as an explicit fact.
    pub fn wrapped_one_for_one(&mut self) {
        let found = fills::trades(&self.book, &self.logs());
        for conversion in fills::questions(&self.book, &found.trades, &self.facts).conversions {
            let worth = Worth { assets: conversion.amount, decimals: 18, multiplier: None, jump: None };
            self.facts.worths.insert(conversion, worth);
        }
    }
}

/// The amount of an event as its own integers.
pub fn amount(value: &Value) -> Amount {
    match value {
        Value::String(units) => Amount::Units(units.parse().unwrap()),
        pair => {
            let coefficient: U256 = pair[0].as_str().unwrap().parse().unwrap();
            let exponent: i32 = pair[1].as_str().unwrap().parse().unwrap();
            let mut word = coefficient.to_be_bytes::<32>();
            word[..4].copy_from_slice(&exponent.to_be_bytes());
            Amount::Float(B256::from(word))
        }
    }
}

/// What a recorded token is worth: `wt` was a vault, and its asset was not recorded.
pub fn unit(symbol: &str) -> Unit {
    match symbol.strip_prefix("wt") {
        Some(_) => Unit::Asked { holds: vec![Hold::Vault(Address::repeat_byte(0xa5))], multiplied: false },
        None => Unit::One,
    }
}
