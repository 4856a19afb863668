//! From logs to trades: whose order it was, and which amounts belong to which clear.
//!
//! A take says everything in one log. A clear says who in one log and how much in a second one, the AfterClear, with
//! other logs between. The order book lets no clear begin before the last one ended, so the amounts of a clear are the
//! next AfterClear of its version, order book and transaction, provided no other clear comes first: where a node left
//! an AfterClear out, the next clear's amounts must not be taken for it. This file refuses to know what a token is.
//!
//! Invariant: each log is used at most once, and neither the order nor the repetition of the logs matters.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::B256;

use super::abi::{self, Leg, LogKind, Moved, Order, RawLog, Said, Trade};
use super::{Book, DeadEvent};

/// What the logs say about us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trades {
    /// Trades of our orders, ascending by (block, log index), alice before bob.
    pub trades: Vec<Trade>,
    /// Logs that are ours, or may be ours, and can not be understood.
    pub dead: Vec<DeadEvent>,
    /// Clears of ours whose amounts are not among the logs. Read the receipt of the transaction, call [`trades`] again
    /// with its logs added (logs given twice count once), and [`give_up`] on what is still unpaired then.
    pub unpaired: Vec<Unpaired>,
}

/// A clear of ours without its AfterClear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpaired {
    /// The transaction whose receipt has the amounts.
    pub tx_hash: B256,
    /// The clear.
    pub clear: RawLog,
}

/// Reads `logs`: in any order, of any address, with repetitions.
#[must_use]
pub fn trades(book: &Book, logs: &[RawLog]) -> Trades {
    let mut found = Trades::default();
    let logs = in_order(book, logs, &mut found.dead);
    let mut strangers_amounts = BTreeSet::new();
    for (position, log) in logs.iter().enumerate() {
        let said = match abi::read(log) {
            Ok(said) => said,
            // A stranger's amounts are a stranger's, readable or not.
            Err(_) if strangers_amounts.contains(&position) => continue,
            Err(error) => {
                found.dead.push(dead(book, log, error.to_string()));
                continue;
            }
        };
        match said {
            Said::Take { order, moved } => found.leg(book, log, Leg::Take, order, moved),
            Said::Clear { alice, bob } => {
                let amounts = amounts_of(&logs, position);
                if ![alice, bob].iter().any(|order| book.owners.contains(&order.owner)) {
                    strangers_amounts.extend(amounts);
                } else if let Some(after) = amounts.and_then(|position| logs.get(position)) {
                    found.clear(book, log, after, alice, bob);
                } else {
                    found.unpaired.push(Unpaired { tx_hash: log.tx_hash, clear: log.clone() });
                }
            }
            // Amounts are read with their clear; without one they are nobody's.
            Said::AfterClear { .. } | Said::Other => {}
        }
    }
    // One log is dead once, whatever number of its parts could not be read.
    found.dead.sort_by_key(|dead| (dead.block_number, dead.block_hash, dead.log_index));
    found.dead.dedup();
    found
}

/// The end of a clear whose receipt has no amounts either.
#[must_use]
pub fn give_up(book: &Book, unpaired: &Unpaired) -> DeadEvent {
    let reason = "a clear of our order, but its transaction has no AfterClear that belongs to it".to_owned();
    dead(book, &unpaired.clear, reason)
}

impl Trades {
    fn clear(&mut self, book: &Book, log: &RawLog, after: &RawLog, alice: Order, bob: Order) {
        let (of_alice, of_bob) = match abi::read(after) {
            Ok(Said::AfterClear { alice, bob }) => (alice, bob),
            Ok(_) | Err(_) => {
                let reason = format!(
                    "a clear of our order, but its AfterClear (log {}) can not be read",
                    after.log_index
                );
                return self.dead.push(dead(book, log, reason));
            }
        };
        let mirrored = alice.tokens == bob.tokens.map(|(input, output)| (output, input));
        if !mirrored && [alice, bob].iter().all(|order| book.owners.contains(&order.owner)) {
            // Two trades of one log are told apart by their sides, which are opposite only if the tokens are.
            let reason =
                "both orders of the clear are ours, but their tokens do not mirror each other".to_owned();
            return self.dead.push(dead(book, log, reason));
        }
        self.leg(book, log, Leg::Alice, alice, of_alice);
        self.leg(book, log, Leg::Bob, bob, of_bob);
    }

    fn leg(&mut self, book: &Book, log: &RawLog, leg: Leg, order: Order, moved: Moved) {
        if !book.owners.contains(&order.owner) {
            return;
        }
        let Some((input_token, output_token)) = order.tokens else {
            let reason = "an input or output index of the event points beyond our order's lists".to_owned();
            return self.dead.push(dead(book, log, reason));
        };
        self.trades.push(Trade {
            log: log.clone(),
            leg,
            owner: order.owner,
            input_token,
            input: moved.input,
            output_token,
            output: moved.output,
        });
    }
}

/// Where the amounts of the clear at `position` are, if they are there.
fn amounts_of(logs: &[RawLog], position: usize) -> Option<usize> {
    let clear = logs.get(position)?;
    let Some(LogKind::Clear(version)) = clear.kind() else { return None };
    let next = logs
        .iter()
        .enumerate()
        .skip(position.saturating_add(1))
        .take_while(|(_, log)| log.block_hash == clear.block_hash)
        .filter(|(_, log)| log.tx_hash == clear.tx_hash && log.address == clear.address)
        .find(|(_, log)| {
            [Some(LogKind::Clear(version)), Some(LogKind::AfterClear(version))].contains(&log.kind())
        });
    next.filter(|(_, log)| log.kind() == Some(LogKind::AfterClear(version))).map(|(position, _)| position)
}

/// The logs of our order books with topics of ours, each once, ascending. Where a node gave two different logs for one
/// place, nobody can say which is true: both are left out, and one dead event remains.
fn in_order(book: &Book, logs: &[RawLog], dead_events: &mut Vec<DeadEvent>) -> Vec<RawLog> {
    let mut places: BTreeMap<(u64, B256, u64), Vec<RawLog>> = BTreeMap::new();
    for log in logs.iter().filter(|log| book.orderbooks.contains(&log.address) && log.kind().is_some()) {
        let place = places.entry((log.block_number, log.block_hash, log.log_index)).or_default();
        match place.iter_mut().find(|known| content(known) == content(log)) {
            // A receipt may not know the block's time that the range's answer told.
            Some(known) => known.block_time = known.block_time.max(log.block_time),
            None => place.push(log.clone()),
        }
    }
    let mut ordered = Vec::with_capacity(places.len());
    for mut place in places.into_values() {
        if place.len() > 1 {
            place.sort_by(|a, b| content(a).cmp(&content(b)));
            let reason = format!("the node gave {} different logs for this place", place.len());
            dead_events.extend(place.first().map(|log| dead(book, log, reason)));
        } else {
            ordered.append(&mut place);
        }
    }
    ordered
}

/// What makes two logs at one place the same log.
fn content(log: &RawLog) -> (&B256, &[u8], &[B256], &[u8]) {
    (&log.tx_hash, log.address.as_slice(), &log.topics, &log.data)
}

/// `log`, kept raw with the reason why it is not understood.
pub(super) fn dead(book: &Book, log: &RawLog, reason: String) -> DeadEvent {
    DeadEvent {
        chain_id: book.chain_id,
        block_number: log.block_number,
        block_hash: log.block_hash,
        tx_hash: log.tx_hash,
        log_index: log.log_index,
        address: log.address,
        topics: log.topics.clone(),
        data: log.data.clone(),
        reason,
    }
}
