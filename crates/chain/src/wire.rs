//! What a node says, as values: headers, receipts, logs and quantities out of its JSON.
//!
//! Lenient to unknown fields, strict to missing ones; a log counts only if it says where it stands. It refuses to know
//! who asked. Invariant: every log of a receipt carries the receipt's own transaction and block.

use alloy::primitives::{Address, B256, Bloom, Bytes};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::abi::RawLog;
use super::error::RpcError;

/// A block's header, as far as this program reads it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// Height.
    #[serde(deserialize_with = "quantity")]
    pub number: u64,
    /// Hash.
    pub hash: B256,
    /// Hash of the block before it.
    pub parent_hash: B256,
    /// Seconds since 1970.
    #[serde(deserialize_with = "quantity")]
    pub timestamp: u64,
    /// Which addresses and topics may be among its logs.
    pub logs_bloom: Bloom,
    /// The hashes of its transactions, where the node lists them; some list them whole although that was not asked for.
    #[serde(default, deserialize_with = "hashes")]
    pub transactions: Option<Vec<B256>>,
}

/// A transaction's receipt, as far as this program reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The transaction.
    pub tx_hash: B256,
    /// Height of its block.
    pub block_number: u64,
    /// Hash of its block.
    pub block_hash: B256,
    /// Its logs, in order.
    pub logs: Vec<RawLog>,
}

/// What a pushed log is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushedLog {
    /// A log in a block.
    Log(RawLog),
    /// One that was taken back, has no block yet, or is not a log: only a reason to look.
    Bell,
}

/// Reads a pushed log.
#[must_use]
pub fn pushed_log(raw: &RawValue) -> PushedLog {
    let Ok(log) = serde_json::from_str::<WireLog>(raw.get()) else { return PushedLog::Bell };
    log.settled("eth_subscription").map_or(PushedLog::Bell, PushedLog::Log)
}

/// Reads a pushed head: its height; none where it makes no sense.
#[must_use]
pub fn pushed_head(raw: &RawValue) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(deserialize_with = "quantity")]
        number: u64,
    }
    serde_json::from_str::<Head>(raw.get()).ok().map(|head| head.number)
}

/// A JSON-RPC quantity that fits 64 bits: `0x` and hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantity(pub(super) u64);

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        quantity_of(&text).map(Self).ok_or_else(|| serde::de::Error::custom("not a quantity of 64 bits"))
    }
}

fn quantity_of(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    // What the ledger can not hold (a signed 64-bit integer) no chain has said yet.
    u64::from_str_radix(digits, 16).ok().filter(|number| i64::try_from(*number).is_ok())
}

fn quantity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Quantity::deserialize(deserializer).map(|q| q.0)
}

fn hashes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<B256>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Transaction {
        Hash(B256),
        Whole { hash: B256 },
    }
    let listed = Option::<Vec<Transaction>>::deserialize(deserializer)?;
    let hash = |transaction| match transaction {
        Transaction::Hash(hash) | Transaction::Whole { hash } => hash,
    };
    Ok(listed.map(|listed| listed.into_iter().map(hash).collect()))
}

/// A log on the wire, where anything that names its place may be missing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_number: Option<Quantity>,
    block_hash: Option<B256>,
    /// Newer nodes say it, in a form that differs; it is only for display.
    #[serde(default)]
    block_timestamp: Value,
    transaction_hash: Option<B256>,
    log_index: Option<Quantity>,
    removed: Option<bool>,
}

impl WireLog {
    /// The log, if it says where it stands and was not taken back.
    pub(super) fn settled(self, method: &'static str) -> Result<RawLog, RpcError> {
        let missing = |what: &str| RpcError::Malformed { method, detail: format!("a log {what}") };
        if self.removed == Some(true) {
            return Err(missing("that was removed"));
        }
        Ok(RawLog {
            address: self.address,
            topics: self.topics,
            data: self.data,
            block_number: self.block_number.ok_or_else(|| missing("without a block number"))?.0,
            block_hash: self.block_hash.ok_or_else(|| missing("without a block hash"))?,
            block_time: self.block_timestamp.as_str().and_then(quantity_of),
            tx_hash: self.transaction_hash.ok_or_else(|| missing("without a transaction hash"))?,
            log_index: self.log_index.ok_or_else(|| missing("without an index"))?.0,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireReceipt {
    transaction_hash: B256,
    #[serde(deserialize_with = "quantity")]
    block_number: u64,
    block_hash: B256,
    logs: Vec<WireLog>,
}

impl WireReceipt {
    /// The receipt, if every log in it stands in its transaction and block.
    pub(super) fn settled(self, method: &'static str) -> Result<Receipt, RpcError> {
        let logs = self.logs.into_iter().map(|log| log.settled(method)).collect::<Result<Vec<_>, _>>()?;
        let (tx_hash, block_hash) = (self.transaction_hash, self.block_hash);
        if logs.iter().any(|log| log.tx_hash != tx_hash || log.block_hash != block_hash) {
            let detail = "a receipt with a log of another transaction or block".into();
            return Err(RpcError::Malformed { method, detail });
        }
        Ok(Receipt { tx_hash, block_number: self.block_number, block_hash, logs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_log_without_its_place_or_taken_back_only_rings() {
        let whole = json!({
            "address": "0x0000000000000000000000000000000000000001", "topics": [], "data": "0x",
            "blockNumber": "0x10", "blockHash": B256::ZERO, "transactionHash": B256::ZERO, "logIndex": "0x2",
            "blockTimestamp": "0x64", "unknown": { "field": 1 }, "removed": false,
        });
        let read = |value: &Value| pushed_log(&serde_json::value::to_raw_value(value).unwrap());
        let PushedLog::Log(log) = read(&whole) else { panic!("a whole log") };
        assert_eq!((log.block_number, log.log_index, log.block_time), (16, 2, Some(100)));
        for (field, value) in [
            ("removed", json!(true)),
            ("blockHash", Value::Null),
            ("blockNumber", json!("16")),
            ("logIndex", Value::Null),
            ("address", json!("0x01")),
        ] {
            let mut broken = whole.clone();
            broken[field] = value;
            assert_eq!(read(&broken), PushedLog::Bell, "{field}");
        }
    }

    #[test]
    fn quantities_are_hexadecimal_and_fit() {
        assert_eq!(quantity_of("0x0"), Some(0));
        assert_eq!(quantity_of("0x7fffffffffffffff"), Some(u64::MAX / 2));
        assert_eq!(quantity_of("0x8000000000000000"), None);
        for bad in ["", "0x", "10", "0x10000000000000000", "0x-1", "0x+1", "0x 1"] {
            assert_eq!(quantity_of(bad), None, "{bad}");
        }
    }
}
