//! Blocks, logs, receipts and transactions as JSON, field for field as geth and anvil write them.
//!
//! What the simulation does not have (state, gas, signatures) carries plausible constants: no reader of ours may
//! depend on them, but a strict client wants the fields to be there.

use alloy::primitives::{Address, B256, Bloom, U256, b256, keccak256};
use serde_json::{Value, json};

use super::chain::{PlacedLog, SimBlock, Tx};

/// Keccak of an empty RLP list: the uncles of every block since the merge.
const NO_UNCLES: B256 = b256!("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");
/// Root of an empty trie.
const EMPTY_ROOT: B256 = b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421");
/// Gas that each transaction is said to have used.
const TX_GAS: u64 = 236_384;

/// A quantity: hexadecimal without leading zeros.
pub(crate) fn quantity(number: impl TryInto<u64>) -> String {
    format!("{:#x}", number.try_into().unwrap_or(u64::MAX))
}

/// A log as `eth_getLogs`, receipts and pushes carry it.
pub(crate) fn log(placed: &PlacedLog<'_>, removed: bool) -> Value {
    json!({
        "address": placed.log.address,
        "topics": placed.log.topics(),
        "data": placed.log.data.data,
        "blockHash": placed.block.hash,
        "blockNumber": quantity(placed.block.number),
        "blockTimestamp": quantity(placed.block.timestamp),
        "transactionHash": placed.tx.hash,
        "transactionIndex": quantity(placed.tx_index),
        "logIndex": quantity(placed.log_index),
        "removed": removed,
    })
}

/// A header, as `newHeads` pushes it.
pub(crate) fn header(block: &SimBlock) -> Value {
    // The roots are not real roots; they only have to differ where the content does.
    let root = |tag: u8| keccak256([block.hash.as_slice(), &[tag]].concat());
    let tx_root = if block.txs.is_empty() { EMPTY_ROOT } else { root(1) };
    let receipts_root = if block.txs.is_empty() { EMPTY_ROOT } else { root(2) };
    let gas_used = TX_GAS.saturating_mul(block.txs.len().try_into().unwrap_or(u64::MAX));
    json!({
        "number": quantity(block.number),
        "hash": block.hash,
        "parentHash": block.parent,
        "sha3Uncles": NO_UNCLES,
        "miner": Address::ZERO,
        "stateRoot": root(3),
        "transactionsRoot": tx_root,
        "receiptsRoot": receipts_root,
        "logsBloom": block.bloom,
        "difficulty": "0x0",
        "gasLimit": "0x1c9c380",
        "gasUsed": quantity(gas_used),
        "timestamp": quantity(block.timestamp),
        "extraData": "0x",
        "mixHash": root(4),
        "nonce": "0x0000000000000000",
        "baseFeePerGas": "0x14d710b",
        "withdrawalsRoot": EMPTY_ROOT,
        "blobGasUsed": "0x0",
        "excessBlobGas": "0x0",
        "parentBeaconBlockRoot": B256::ZERO,
    })
}

/// A block, with transaction hashes or with whole transactions.
pub(crate) fn block(block: &SimBlock, full: bool, chain_id: u64) -> Value {
    let mut value = header(block);
    let txs: Vec<Value> = (0..block.txs.len())
        .map(|index| if full { transaction(block, index, chain_id) } else { json!(block.txs[index].hash) })
        .collect();
    value["totalDifficulty"] = json!("0x0");
    value["size"] = json!("0x368");
    value["uncles"] = json!([]);
    value["withdrawals"] = json!([]);
    value["transactions"] = json!(txs);
    value
}

/// The contract a transaction was sent to: the one that logged first.
fn recipient(tx: &Tx) -> Option<Address> {
    tx.logs.first().map(|log| log.address)
}

/// The transaction at `index`, which must be one of the block's; otherwise null.
pub(crate) fn transaction(block: &SimBlock, index: usize, chain_id: u64) -> Value {
    let Some(tx) = block.txs.get(index) else { return Value::Null };
    json!({
        "type": "0x2",
        "chainId": quantity(chain_id),
        "nonce": "0x3",
        "gas": "0x1c9c380",
        "maxFeePerGas": "0x3ce83b0b",
        "maxPriorityFeePerGas": "0x3b9aca00",
        "gasPrice": "0x3ce83b0b",
        "to": recipient(tx),
        "value": "0x0",
        "accessList": [],
        "input": "0x",
        "r": U256::from(1),
        "s": U256::from(1),
        "yParity": "0x0",
        "v": "0x0",
        "hash": tx.hash,
        "blockHash": block.hash,
        "blockNumber": quantity(block.number),
        "blockTimestamp": quantity(block.timestamp),
        "transactionIndex": quantity(index),
        "from": tx.from,
    })
}

/// The receipt of the transaction at `index`, which must be one of the block's; otherwise null.
pub(crate) fn receipt(block: &SimBlock, index: usize) -> Value {
    let Some(tx) = block.txs.get(index) else { return Value::Null };
    let mut bloom = Bloom::ZERO;
    tx.logs.iter().for_each(|log| bloom.accrue_log(log));
    let logs: Vec<Value> =
        block.logs().filter(|placed| placed.tx_index == index).map(|placed| log(&placed, false)).collect();
    let position = u64::try_from(index).unwrap_or(u64::MAX);
    json!({
        "type": "0x2",
        "status": "0x1",
        "cumulativeGasUsed": quantity(TX_GAS.saturating_mul(position.saturating_add(1))),
        "gasUsed": quantity(TX_GAS),
        "effectiveGasPrice": "0x3ce83b0b",
        "logs": logs,
        "logsBloom": bloom,
        "transactionHash": tx.hash,
        "transactionIndex": quantity(index),
        "blockHash": block.hash,
        "blockNumber": quantity(block.number),
        "from": tx.from,
        "to": recipient(tx),
        "contractAddress": null,
    })
}
