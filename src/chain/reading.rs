//! Reads a range of blocks so that what is handed on belongs together, or hands on nothing.
//!
//! Near the head block by block, by hash; farther down by height, between two looks at the range's end. What an answer
//! leaves out is looked for where there is a sign of it: the bloom, a fill we know of, a clear without its amounts. It
//! refuses to know the cursor and the engine.
//!
//! Invariant: every log of a [`Reading`] carries the hash that the reading calls canonical at its height.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::abi::{self, RawLog};
use super::receipts::Ways;
use super::rpc::{Rpc, RpcError};
use super::wire::{Header, Receipt};
use super::{CALLS_IN_FLIGHT_MAX, ChainStop, bloom, window};
use crate::fills::{self, Book, Trades};
use crate::units::{BlockRef, FillId, LogId};

/// Why an attempt has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The node.
    #[error("{0}")]
    Rpc(RpcError),
    /// Answers that do not belong together: throw away, read again.
    #[error("{0}")]
    Disagree(String),
    /// The first block above the base has another parent: twice running, this is a fork.
    #[error("the block after {0} has another parent")]
    Unlinked(BlockRef),
    /// The process must end.
    #[error("{0}")]
    Stop(ChainStop),
}

impl From<RpcError> for Trouble {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::Malformed { .. } => Self::Disagree(error.to_string()),
            other => Self::Rpc(other),
        }
    }
}

/// A range as the node told it, checked.
#[derive(Debug)]
pub(super) struct Reading {
    /// The last block.
    pub(super) target: BlockRef,
    /// Hashes of the headers read, see [`super::Sweep::canonical`].
    pub(super) canonical: BTreeMap<u64, B256>,
    /// Logs with our filter.
    pub(super) logs: Vec<RawLog>,
}

/// Reads over one connection.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rpc: &'a Rpc,
    book: &'a Book,
    books: Vec<Address>,
    ways: &'a Ways,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rpc: &'a Rpc, book: &'a Book, ways: &'a Ways) -> Self {
        Self { rpc, book, books: book.orderbooks.iter().copied().collect(), ways }
    }

    /// Reads `base + 1 ..= target` one by one, by hash; the parents must link.
    pub(super) async fn blocks(&self, base: BlockRef, target: u64) -> Result<Reading, Trouble> {
        let headers = self.headers(base.number.saturating_add(1)..=target).await?;
        let links: Vec<(BlockRef, B256)> = headers.iter().map(|h| (place(h), h.parent_hash)).collect();
        match window::first_unlinked(base, &links) {
            Some(block) if block.number == base.number.saturating_add(1) => {
                return Err(Trouble::Unlinked(base));
            }
            Some(block) => {
                return Err(Trouble::Disagree(format!("block {block} does not follow the block before it")));
            }
            None => {}
        }
        // The calls are made first, then streamed: a closure inside of the stream would keep the whole future from `Send`.
        let calls: Vec<_> = headers.iter().map(|header| self.logs_at(header)).collect();
        let logs: Vec<Vec<RawLog>> = stream::iter(calls).buffered(CALLS_IN_FLIGHT_MAX).try_collect().await?;
        let target = headers.last().map(place).ok_or_else(|| disagree("an empty range"))?;
        let canonical = headers.iter().map(|header| (header.number, header.hash)).collect();
        Ok(Reading { target, canonical, logs: logs.concat() })
    }

    /// Reads `base + 1 ..= target` by height. Counts only if the node's head is at or past the end, the end has the same
    /// hash before and after, and the node says the same when it is asked for the two halves: no bloom of the range is
    /// read, and an answer that was cut short would be believed for good.
    pub(super) async fn range(&self, base: BlockRef, target: u64) -> Result<Reading, Trouble> {
        let from = base.number.saturating_add(1);
        let before = self.header(target).await?;
        let logs = self.logs_between(from, target).await?;
        let mid = from + (target - from) / 2;
        let mut again = self.logs_between(from, mid).await?;
        // Between the halves, so that of two backends that take turns neither answers for the same blocks twice.
        if self.rpc.block_number().await? < target {
            return Err(disagree("the node's head is below the end of the range it answered"));
        }
        if mid < target {
            again.extend(self.logs_between(mid + 1, target).await?);
        }
        let after = self.header(target).await?;
        if contents(&logs) != contents(&again) {
            return Err(disagree("a range and its halves hold different logs"));
        }
        if before.hash != after.hash {
            return Err(disagree("the end of the range changed its hash while it was read"));
        }
        if logs.iter().any(|log| !(from..=target).contains(&log.block_number)) {
            return Err(disagree("a log lies outside of the range asked for"));
        }
        let (at_the_end, mut logs): (Vec<_>, Vec<_>) =
            logs.into_iter().partition(|log| log.block_number == target);
        logs.extend(self.completed(&after, at_the_end).await?);
        one_log_a_place(&logs)?;
        Ok(Reading { target: place(&after), canonical: BTreeMap::from([(target, after.hash)]), logs })
    }

    async fn logs_between(&self, from: u64, to: u64) -> Result<Vec<RawLog>, Trouble> {
        Ok(self.rpc.logs_between(from, to, &self.books, &abi::TOPICS).await?)
    }

    /// Looks for the standing fills that the answer leaves out: a receipt adds the logs of its transaction, or refutes
    /// the fill. Returns the refuted ones.
    pub(super) async fn account_for(
        &self,
        reading: &mut Reading,
        standing: &[(u64, FillId)],
    ) -> Result<Vec<FillId>, Trouble> {
        let mut missing: BTreeMap<B256, Vec<(u64, FillId)>> = BTreeMap::new();
        for (number, id) in standing {
            let canonical = reading.canonical.get(number) == Some(&id.block_hash);
            if canonical && !reading.logs.iter().any(|log| names(id, log)) {
                missing.entry(id.tx_hash).or_default().push((*number, *id));
            }
        }
        let mut refuted = Vec::new();
        for (tx_hash, fills) in missing {
            // All in the same block: their hashes are canonical, and one transaction is in one canonical block.
            let Some((number, id)) = fills.first().copied() else { continue };
            let block = BlockRef { number, hash: id.block_hash };
            if let Some(receipt) = self.receipt(tx_hash, block).await? {
                reading.add(receipt)?;
                let refutes = |reading: &Reading| {
                    fills.iter().any(|(_, id)| !reading.logs.iter().any(|log| names(id, log)))
                };
                // One receipt that was cut must not take back a fill that somebody saw.
                if refutes(reading)
                    && let Some(again) = self.receipt(tx_hash, block).await?
                {
                    reading.add(again)?;
                }
            }
            refuted.extend(
                fills.into_iter().map(|(_, id)| id).filter(|id| !reading.logs.iter().any(|l| names(id, l))),
            );
        }
        Ok(refuted)
    }

    /// Settles the pushed logs of the range: each is among the answers, or its transaction's receipt adds it or denies it.
    /// Where another block stands at its height, the transaction is looked for in that one: nodes push logs of a block
    /// before it is sealed, under a hash that never was. Returns the settled ones: all of those in the range.
    pub(super) async fn settle(
        &self,
        reading: &mut Reading,
        evidence: &[LogId],
    ) -> Result<Vec<LogId>, Trouble> {
        let mut settled = Vec::new();
        for log in evidence {
            let Some(hash) = reading.canonical.get(&log.block.number).copied() else { continue };
            let block = BlockRef { number: log.block.number, hash };
            let shown = |reading: &Reading| {
                reading.logs.iter().any(|shown| {
                    place_of(shown) == block
                        && shown.tx_hash == log.tx_hash
                        && (shown.log_index == log.log_index || log.block != block)
                })
            };
            // Twice, for one receipt that was cut must not deny what was pushed.
            for _ in 0..2 {
                if shown(reading) {
                    break;
                }
                let Some(receipt) = self.receipt(log.tx_hash, block).await? else { break };
                reading.add(receipt)?;
            }
            settled.push(*log);
        }
        Ok(settled)
    }

    /// The trades of a reading. A clear without amounts takes its transaction's receipt; without them there too, it is
    /// a dead event. Every trade's block is one whose header was read.
    pub(super) async fn trades(&self, reading: &mut Reading) -> Result<Trades, Trouble> {
        let mut found = fills::trades(self.book, &reading.logs);
        let unpaired: BTreeMap<B256, BlockRef> =
            found.unpaired.iter().map(|clear| (clear.tx_hash, place_of(&clear.clear))).collect();
        for (tx_hash, block) in &unpaired {
            let receipt = self.receipt(*tx_hash, *block).await?;
            let receipt =
                receipt.ok_or_else(|| disagree("a log of a transaction that is not in its block"))?;
            reading.add(receipt)?;
        }
        if !unpaired.is_empty() {
            found = fills::trades(self.book, &reading.logs);
        }
        let given_up = found.unpaired.iter().map(|clear| fills::give_up(self.book, clear));
        found.dead.extend(given_up);
        let logs = found.trades.iter().map(|trade| place_of(&trade.log));
        let dead = found.dead.iter().map(|d| BlockRef { number: d.block_number, hash: d.block_hash });
        let blocks: BTreeSet<BlockRef> = logs.chain(dead).collect();
        let unread: BTreeSet<u64> =
            blocks.iter().map(|b| b.number).filter(|n| !reading.canonical.contains_key(n)).collect();
        let headers = self.headers(unread).await?;
        reading.canonical.extend(headers.iter().map(|header| (header.number, header.hash)));
        if blocks.iter().any(|block| reading.canonical.get(&block.number) != Some(&block.hash)) {
            return Err(disagree("a log carries the hash of a block that is not canonical"));
        }
        Ok(found)
    }

    /// The header at a height that the node must have.
    pub(super) async fn header(&self, number: u64) -> Result<Header, Trouble> {
        let header = self.rpc.header(number).await?;
        header.ok_or_else(|| disagree(&format!("the node told of a higher head but has no block {number}")))
    }

    async fn headers(&self, heights: impl IntoIterator<Item = u64>) -> Result<Vec<Header>, Trouble> {
        let calls: Vec<_> = heights.into_iter().map(|height| self.header(height)).collect();
        stream::iter(calls).buffered(CALLS_IN_FLIGHT_MAX).try_collect().await
    }

    /// The logs of one block.
    async fn logs_at(&self, header: &Header) -> Result<Vec<RawLog>, Trouble> {
        let first = self.rpc.logs_at(header.hash, &self.books, &abi::TOPICS).await?;
        self.completed(header, first).await
    }

    /// `logs`, the answer for one block, or a better one where the bloom says that something may be missing. One of
    /// several logs of a kind that is left out shows in no bloom, so a block that may hold any of ours is asked twice.
    async fn completed(&self, header: &Header, logs: Vec<RawLog>) -> Result<Vec<RawLog>, Trouble> {
        all_in(header, &logs)?;
        #[cfg(test)]
        if crate::sim::trial::sabotage::is(crate::sim::trial::sabotage::Sabotage::TrustEmptyLogs) {
            return Ok(logs);
        }
        let misses = |logs: &[RawLog]| bloom::misses(&header.logs_bloom, &self.books, &abi::TOPICS, logs);
        if logs.is_empty() && !misses(&logs) {
            return Ok(logs);
        }
        let again = self.rpc.logs_at(header.hash, &self.books, &abi::TOPICS).await?;
        all_in(header, &again)?;
        let better = either(logs, again);
        // Of one block, by its hash: what two answers say of one place must be the same.
        one_log_a_place(&better)?;
        if !misses(&better) || !bloom::is_informative(&header.logs_bloom) {
            return Ok(better);
        }
        let Some(receipts) = self.ways.receipts(self.rpc, header).await? else {
            log::debug!("block {}: two answers without proof are believed", place(header));
            return Ok(better);
        };
        let ours = |log: &RawLog| self.book.orderbooks.contains(&log.address) && log.kind().is_some();
        let logs: Vec<RawLog> = receipts.into_iter().flat_map(|r| r.logs).filter(ours).collect();
        all_in(header, &logs)?;
        let all = either(better, logs);
        one_log_a_place(&all)?;
        Ok(all)
    }

    /// The receipt of a transaction in this canonical block; none if the block is proved not to hold it.
    async fn receipt(&self, tx_hash: B256, block: BlockRef) -> Result<Option<Receipt>, Trouble> {
        let receipt = self.rpc.receipt(tx_hash).await?;
        if let Some(receipt) = receipt.filter(|receipt| receipt.block_hash == block.hash) {
            return Ok(Some(receipt));
        }
        let header = self.header(block.number).await?;
        match header.transactions {
            Some(inside) if header.hash == block.hash && !inside.contains(&tx_hash) => Ok(None),
            _ => Err(disagree(&format!("block {block} has transaction {tx_hash}, but no receipt of it"))),
        }
    }
}

impl Reading {
    /// With what a receipt shows beside it. Of one block, by its hash: what two answers say of one place must be the same.
    fn add(&mut self, receipt: Receipt) -> Result<(), Trouble> {
        self.logs = either(std::mem::take(&mut self.logs), receipt.logs);
        one_log_a_place(&self.logs)
    }
}

/// A log without its block's time, which not every call tells.
type Content<'a> = (B256, u64, B256, Address, &'a [B256], &'a [u8]);

fn content(log: &RawLog) -> Content<'_> {
    (log.block_hash, log.log_index, log.tx_hash, log.address, &log.topics, &log.data)
}

fn contents(logs: &[RawLog]) -> BTreeSet<Content<'_>> {
    logs.iter().map(content).collect()
}

/// What at least one of two answers for one block shows.
fn either(logs: Vec<RawLog>, again: Vec<RawLog>) -> Vec<RawLog> {
    let known = contents(&logs);
    let new: Vec<RawLog> = again.into_iter().filter(|log| !known.contains(&content(log))).collect();
    [logs, new].concat()
}

pub(super) fn disagree(why: &str) -> Trouble {
    Trouble::Disagree(why.to_owned())
}

fn place(header: &Header) -> BlockRef {
    BlockRef { number: header.number, hash: header.hash }
}

fn place_of(log: &RawLog) -> BlockRef {
    BlockRef { number: log.block_number, hash: log.block_hash }
}

fn names(id: &FillId, log: &RawLog) -> bool {
    log.block_hash == id.block_hash && log.tx_hash == id.tx_hash && log.log_index == id.log_index
}

/// Every log carries the hash that was asked for, and no place holds two logs.
fn all_in(header: &Header, logs: &[RawLog]) -> Result<(), Trouble> {
    if logs.iter().any(|log| place_of(log) != place(header)) {
        return Err(Trouble::Disagree(format!("asked for logs of block {}, got another's", place(header))));
    }
    one_log_a_place(logs)
}

fn one_log_a_place(logs: &[RawLog]) -> Result<(), Trouble> {
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
