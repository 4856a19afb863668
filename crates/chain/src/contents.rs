//! What logs say, held against what other answers say of the same places.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};

use super::abi::RawLog;
use super::trouble::{Trouble, disagree};

/// A log without its block's time, which not every call tells.
type Content<'a> = (B256, u64, B256, Address, &'a [B256], &'a [u8]);

fn content(log: &RawLog) -> Content<'_> {
    (log.block_hash, log.log_index, log.tx_hash, log.address, &log.topics, &log.data)
}

/// As a set, in which logs can be looked for.
pub(super) fn contents(logs: &[RawLog]) -> BTreeSet<Content<'_>> {
    logs.iter().map(content).collect()
}

/// What at least one of two answers for one block shows.
pub(super) fn either(logs: Vec<RawLog>, again: Vec<RawLog>) -> Vec<RawLog> {
    let known = contents(&logs);
    let new: Vec<RawLog> = again.into_iter().filter(|log| !known.contains(&content(log))).collect();
    [logs, new].concat()
}

/// No place holds two logs.
pub(super) fn one_log_a_place(logs: &[RawLog]) -> Result<(), Trouble> {
    let mut places: BTreeMap<(u64, u64), &RawLog> = BTreeMap::new();
    for log in logs {
        let content = |log: &RawLog| (log.block_hash, log.tx_hash, log.address, log.topics.clone());
        match places.insert((log.block_number, log.log_index), log) {
            Some(other) if content(other) != content(log) || other.data != log.data => {
                return Err(disagree("two different logs in one place"));
            }
            _ => {}
        }
    }
    Ok(())
}
