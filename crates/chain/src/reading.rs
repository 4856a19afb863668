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
use super::answers::{Answer, Answers};
use super::contents::{contents, either, one_log_a_place};
use super::receipts::Ways;
use super::rpc::{Rpc, RpcError};
use super::trouble::{Trouble, disagree};
use super::wire::Header;
use super::{CALLS_IN_FLIGHT_MAX, bloom, window};
use crate::fills::{self, Book, Trades};
use crate::units::{BlockRef, FillId, LogId};

/// A range as the node told it, checked.
#[derive(Debug)]
pub(super) struct Reading {
    /// The last block.
    pub(super) target: BlockRef,
    /// Hashes of the headers read, see [`super::Sweep::canonical`].
    pub(super) canonical: BTreeMap<u64, B256>,
    /// Logs with our filter.
    pub(super) logs: Vec<RawLog>,
    /// Headers of the blocks that were asked what they hold.
    pub(super) headers: BTreeMap<B256, Header>,
}

/// Reads over one connection.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rpc: &'a Rpc,
    book: &'a Book,
    books: Vec<Address>,
    ways: &'a Ways,
    answers: &'a Answers,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rpc: &'a Rpc, book: &'a Book, ways: &'a Ways, answers: &'a Answers) -> Self {
        Self { rpc, book, books: book.orderbooks.iter().copied().collect(), ways, answers }
    }

    /// Reads `base + 1 ..= target` one by one, by hash; the parents must link. Where the node refuses in the middle, what
    /// was read before is the reading, with a lower target. Every answer goes into `told`, whatever becomes of the rest.
    pub(super) async fn blocks(
        &self,
        base: BlockRef,
        target: u64,
        head: &Header,
        told: &mut Vec<Answer>,
    ) -> Result<Reading, Trouble> {
        let heights = base.number.saturating_add(1)..=target;
        // The calls are made first, then streamed: a closure inside of the stream would keep the whole future from `Send`.
        let calls: Vec<_> = heights.map(|height| self.block(height, head)).collect();
        let mut calls = stream::iter(calls).buffered(CALLS_IN_FLIGHT_MAX);
        let mut links: Vec<(BlockRef, B256)> = Vec::new();
        while let Some(read) = calls.next().await {
            match read {
                Ok((answer, parent)) => {
                    links.push((answer.block, parent));
                    told.push(answer);
                }
                Err(trouble) if links.is_empty() || !trouble.is_of_one_question() => return Err(trouble),
                Err(trouble) => {
                    log::debug!("{} blocks are read, and then: {trouble}", links.len());
                    break;
                }
            }
        }
        drop(calls);
        match window::first_unlinked(base, &links) {
            Some(block) if block.number == base.number.saturating_add(1) => {
                return Err(Trouble::Unlinked(base));
            }
            Some(block) => {
                return Err(Trouble::Disagree(format!("block {block} does not follow the block before it")));
            }
            None => {}
        }
        self.ask_the_ripe_again(head, told).await?;
        let (target, _) = links.last().copied().ok_or_else(|| disagree("an empty range"))?;
        let canonical = links.iter().map(|(block, _)| (block.number, block.hash)).collect();
        let logs = told.iter().flat_map(|answer| answer.logs.iter().cloned()).collect();
        Ok(Reading { target, canonical, logs, headers: BTreeMap::new() })
    }

    /// One block, and its parent's hash. What is known of its hash is not asked for again.
    async fn block(&self, height: u64, head: &Header) -> Result<(Answer, B256), Trouble> {
        let header = if height == head.number { head.clone() } else { self.header(height).await? };
        let block = place(&header);
        if let Some(known) = self.answers.of(block) {
            return Ok((known.clone(), header.parent_hash));
        }
        let first = self.rpc.logs_at(header.hash, &self.books, &abi::TOPICS).await?;
        let (logs, proven) = self.completed(&header, first).await?;
        Ok((Answer { block, timestamp: header.timestamp, logs, proven }, header.parent_hash))
    }

    /// The second question for those that nothing proves whole, if the node has had the time. One that is refused is left
    /// to [`super::answers::Answers::due`].
    async fn ask_the_ripe_again(&self, head: &Header, told: &mut [Answer]) -> Result<(), Trouble> {
        let ripe = |answer: &&mut Answer| !answer.proven && answer.is_ripe(head);
        let blocks: Vec<BlockRef> = told.iter_mut().filter(ripe).map(|answer| answer.block).collect();
        match self.again(&blocks).await {
            Ok(all) => told.iter_mut().filter(ripe).zip(all).try_for_each(|(answer, logs)| {
                answer.add(logs)?;
                Ok(())
            }),
            Err(gone @ Trouble::Rpc(RpcError::Gone(_))) => Err(gone),
            Err(trouble) => {
                log::debug!("{} blocks are asked about again later: {trouble}", blocks.len());
                Ok(())
            }
        }
    }

    /// The logs of these blocks once more, in their order: of one by its hash, of several by one range, in which every log
    /// must carry the hash that we know at its height.
    pub(super) async fn again(&self, blocks: &[BlockRef]) -> Result<Vec<Vec<RawLog>>, Trouble> {
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(vec![]) };
        if blocks.len() > 1 {
            match self.logs_between(first.number, last.number).await {
                Ok(logs) => return apart(blocks, logs),
                // Where even so short a range is refused, each block is asked for.
                Err(Trouble::Rpc(RpcError::RangeTooLarge(_) | RpcError::Refused { .. })) => {}
                Err(other) => return Err(other),
            }
        }
        let calls: Vec<_> = blocks.iter().map(|block| self.logs_of(*block)).collect();
        stream::iter(calls).buffered(CALLS_IN_FLIGHT_MAX).try_collect().await
    }

    async fn logs_of(&self, block: BlockRef) -> Result<Vec<RawLog>, Trouble> {
        let logs = self.rpc.logs_at(block.hash, &self.books, &abi::TOPICS).await?;
        all_in(block, &logs)?;
        Ok(logs)
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
        let (at_the_end, proven) = self.completed(&after, at_the_end).await?;
        logs.extend(at_the_end);
        if !proven {
            logs = either(logs, self.logs_of(place(&after)).await?);
        }
        one_log_a_place(&logs)?;
        let canonical = BTreeMap::from([(target, after.hash)]);
        Ok(Reading { target: place(&after), canonical, logs, headers: BTreeMap::new() })
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
            if let Some(logs) = self.logs_of_tx(reading, tx_hash, block).await? {
                reading.add(logs)?;
                let refutes = |reading: &Reading| {
                    fills.iter().any(|(_, id)| !reading.logs.iter().any(|log| names(id, log)))
                };
                // One receipt that was cut must not take back a fill that somebody saw.
                if refutes(reading)
                    && let Some(again) = self.logs_of_tx(reading, tx_hash, block).await?
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
                let Some(logs) = self.logs_of_tx(reading, log.tx_hash, block).await? else { break };
                reading.add(logs)?;
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
            let logs = self.logs_of_tx(reading, *tx_hash, *block).await?;
            let logs = logs.ok_or_else(|| disagree("a log of a transaction that is not in its block"))?;
            reading.add(logs)?;
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

    /// `logs`, the answer for one block, or a better one where the bloom says that something may be missing; and whether
    /// it is known to be whole. One of several logs of a kind that is left out shows in no bloom, so a block that may hold
    /// any of ours is asked twice: here where the bloom is worth the receipts, else when the chain has moved on.
    async fn completed(&self, header: &Header, logs: Vec<RawLog>) -> Result<(Vec<RawLog>, bool), Trouble> {
        all_in(place(header), &logs)?;
        #[cfg(feature = "mutants")]
        if counterfill_core::mutants::is(counterfill_core::mutants::Sabotage::TrustEmptyLogs) {
            return Ok((logs, true));
        }
        let misses = |logs: &[RawLog]| bloom::misses(&header.logs_bloom, &self.books, &abi::TOPICS, logs);
        if logs.is_empty() && !misses(&logs) {
            return Ok((logs, true));
        }
        if !bloom::is_informative(&header.logs_bloom) {
            return Ok((logs, false));
        }
        let again = self.logs_of(place(header)).await?;
        let better = either(logs, again);
        // Of one block, by its hash: what two answers say of one place must be the same.
        one_log_a_place(&better)?;
        if !misses(&better) {
            return Ok((better, true));
        }
        let Some(receipts) = self.ways.receipts(self.rpc, header).await? else {
            log::debug!("block {}: two answers without proof are believed", place(header));
            return Ok((better, false));
        };
        let ours = |log: &RawLog| self.book.orderbooks.contains(&log.address) && log.kind().is_some();
        let logs: Vec<RawLog> = receipts.into_iter().flat_map(|r| r.logs).filter(ours).collect();
        all_in(place(header), &logs)?;
        let all = either(better, logs);
        one_log_a_place(&all)?;
        Ok((all, true))
    }

    /// The logs of a transaction in this canonical block, by its receipt, or all of ours in that block where the node has
    /// no way to tell receipts; none if the block is proved not to hold it.
    async fn logs_of_tx(
        &self,
        reading: &mut Reading,
        tx_hash: B256,
        block: BlockRef,
    ) -> Result<Option<Vec<RawLog>>, Trouble> {
        let refusal = match self.rpc.receipt(tx_hash).await {
            Ok(Some(receipt)) if receipt.block_hash == block.hash => return Ok(Some(receipt.logs)),
            Ok(_) => None,
            Err(error @ (RpcError::Refused { .. } | RpcError::Malformed { .. } | RpcError::Timeout(_))) => {
                Some(error)
            }
            Err(error) => return Err(error.into()),
        };
        let header = self.header_of(reading, block).await?;
        if header.transactions.as_ref().is_some_and(|inside| !inside.contains(&tx_hash)) {
            return Ok(None);
        }
        let contradiction =
            || disagree(&format!("block {block} has transaction {tx_hash}, but no receipt of it"));
        match (self.ways.receipts(self.rpc, &header).await?, refusal) {
            (Some(receipts), _) => {
                let receipt = receipts.into_iter().find(|receipt| receipt.tx_hash == tx_hash);
                if receipt.is_none() && header.transactions.is_some() {
                    return Err(contradiction());
                }
                Ok(receipt.map(|receipt| receipt.logs))
            }
            (None, Some(refusal)) => {
                let logs = self.logs_of(block).await?;
                // A push is better evidence than two answers of an index that may be behind: it is given a minute.
                if !self.answers.is_old(&header) && !logs.iter().any(|log| log.tx_hash == tx_hash) {
                    return Err(refusal.into());
                }
                log::debug!("block {block} was asked once more, and is believed: {refusal}");
                Ok(Some(logs))
            }
            // It answers, and is behind: the receipt comes.
            (None, None) => Err(contradiction()),
        }
    }

    /// The header of a canonical block. Each is asked for once: a branch that was left may have pushed a whole block's logs.
    async fn header_of(&self, reading: &mut Reading, block: BlockRef) -> Result<Header, Trouble> {
        if let Some(known) = reading.headers.get(&block.hash) {
            return Ok(known.clone());
        }
        let header = self.header(block.number).await?;
        if header.hash != block.hash {
            return Err(disagree(&format!("block {block} is not canonical any more")));
        }
        reading.headers.insert(block.hash, header.clone());
        Ok(header)
    }
}

impl Reading {
    /// With what a receipt shows beside it. Of one block, by its hash: what two answers say of one place must be the same.
    fn add(&mut self, logs: Vec<RawLog>) -> Result<(), Trouble> {
        self.logs = either(std::mem::take(&mut self.logs), logs);
        one_log_a_place(&self.logs)
    }
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
fn all_in(block: BlockRef, logs: &[RawLog]) -> Result<(), Trouble> {
    if logs.iter().any(|log| place_of(log) != block) {
        return Err(Trouble::Disagree(format!("asked for logs of block {block}, got another's")));
    }
    one_log_a_place(logs)
}

/// The logs of a range, by block. Others between them are of blocks that are known already.
fn apart(blocks: &[BlockRef], logs: Vec<RawLog>) -> Result<Vec<Vec<RawLog>>, Trouble> {
    let mut apart: Vec<Vec<RawLog>> = vec![Vec::new(); blocks.len()];
    for log in logs {
        let Ok(at) = blocks.binary_search_by_key(&log.block_number, |block| block.number) else { continue };
        match (blocks.get(at), apart.get_mut(at)) {
            (Some(block), Some(logs)) if block.hash == log.block_hash => logs.push(log),
            _ => return Err(disagree("a range holds logs of blocks that are not canonical")),
        }
    }
    Ok(apart)
}
