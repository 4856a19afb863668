//! The order books' newest trades: whether any is of ORDER_OWNER, and whether such a one is a fill.
//!
//! A wrong owner looks like a quiet day: the books trade, and nothing is ever ours. So the owners seen are named.

use std::collections::BTreeMap;

use alloy::primitives::Address;

use super::Finding;
use super::node::{refused, within};
use crate::chain::ChainConfig;
use crate::chain::abi::{self, RawLog, Said, TOPICS};
use crate::chain::rpc::{Rpc, RpcError};
use crate::chain::tokens::Tokens;
use crate::fills::{self, Event};

/// Trades that are looked at, the newest.
const TRADES_MAX: usize = 1_000;
/// Ranges that are asked for to find them.
const RANGES_MAX: usize = 5;
/// Owners that are named.
const NAMED_MAX: usize = 5;
/// Trades of ours that are weighed as the bot weighs them.
const WEIGHED_MAX: usize = 20;

/// Looks at the newest trades up to `head`, in ranges of so many blocks. `known`: the ledger has fills of this owner.
pub(super) async fn look(
    rpc: &Rpc,
    chain: &ChainConfig,
    chain_id: u64,
    (head, blocks): (u64, u64),
    known: bool,
) -> Finding {
    let (from, logs) = match newest(rpc, chain, head, blocks).await {
        Ok(found) => found,
        Err(error) => return refused(&error),
    };
    let seen = owners(&logs);
    let trades: usize = seen.values().sum();
    if trades == 0 {
        return Finding::ok(format!("no trade of the order book in blocks {from} to {head}"));
    }
    let ours: usize = chain.owners.iter().filter_map(|owner| seen.get(owner)).sum();
    if ours > 0 {
        return weighed(
            rpc,
            chain,
            chain_id,
            &logs,
            format!("{ours} of the last {trades} trades are of ORDER_OWNER"),
        )
        .await;
    }
    let found = format!("none of the last {trades} trades (blocks {from} to {head}) is of ORDER_OWNER");
    if known {
        return Finding::ok(format!("{found}; the ledger has fills of it"));
    }
    Finding::failed(
        format!("{found}: the owners are {}", named(&seen)),
        "Look at ORDER_OWNER: it is the address whose orders they are. If yours have not traded yet, let one trade, and \
         look again",
    )
}

/// Logs of the books, newest ranges first, until enough trades are among them; and the first block that was read.
async fn newest(
    rpc: &Rpc,
    chain: &ChainConfig,
    head: u64,
    blocks: u64,
) -> Result<(u64, Vec<RawLog>), RpcError> {
    let (mut logs, mut to, mut from) = (Vec::new(), head, head);
    for _ in 0..RANGES_MAX {
        let range = (to.saturating_add(1).saturating_sub(blocks).max(1), to);
        match within(|| rpc.logs_between(range.0, range.1, &chain.orderbooks, &TOPICS)).await {
            Ok(found) => logs.extend(found),
            Err(error) if to == head => return Err(error),
            // What is older is gone, or too much: the newest ones are enough.
            Err(_) => break,
        }
        from = range.0;
        if from == 1 || owners(&logs).values().sum::<usize>() >= TRADES_MAX {
            break;
        }
        to = from - 1;
    }
    Ok((from, logs))
}

/// How many legs of trades each owner has.
fn owners(logs: &[RawLog]) -> BTreeMap<Address, usize> {
    let mut seen = BTreeMap::new();
    for said in logs.iter().filter_map(|log| abi::read(log).ok()) {
        let orders = match said {
            Said::Take { order, .. } => vec![order],
            Said::Clear { alice, bob } => vec![alice, bob],
            Said::AfterClear { .. } | Said::Other => vec![],
        };
        for order in orders {
            *seen.entry(order.owner).or_default() += 1;
        }
    }
    seen
}

fn named(seen: &BTreeMap<Address, usize>) -> String {
    let mut owners: Vec<(&Address, &usize)> = seen.iter().collect();
    owners.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let more = owners.len().saturating_sub(NAMED_MAX);
    let mut words: Vec<String> =
        owners.iter().take(NAMED_MAX).map(|(owner, count)| format!("{owner} ({count})")).collect();
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words.join(", ")
}

/// Whether the newest trades of ours are fills, as the bot would see them.
async fn weighed(rpc: &Rpc, chain: &ChainConfig, chain_id: u64, logs: &[RawLog], found: String) -> Finding {
    let book = chain.book(chain_id);
    let ours = fills::trades(&book, logs).trades;
    let newest = ours.get(ours.len().saturating_sub(WEIGHED_MAX)..).unwrap_or_default();
    let events = match within(|| async { Tokens::new(chain).weigh(rpc, &book, newest, u64::MAX).await }).await
    {
        Ok(weighed) => weighed.events,
        Err(error) => {
            return Finding::warning(
                format!("{found}; what they are worth can not be asked: {error}"),
                "Ask the node's provider, or take another node for WS_RPC_URL",
            );
        }
    };
    let mut skipped: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &events {
        match event {
            Event::Fill(_) => return Finding::ok(found),
            Event::Skipped(trade) => *skipped.entry(trade.reason.as_str()).or_default() += 1,
            Event::Pending(_) => *skipped.entry("amount not known").or_default() += 1,
            Event::Dead(_) => *skipped.entry("not understood").or_default() += 1,
        }
    }
    if events.is_empty() {
        return Finding::ok(found);
    }
    let words: Vec<String> = skipped.iter().map(|(reason, count)| format!("{reason} ({count})")).collect();
    Finding::failed(
        format!("{found}, and the newest {} are all skipped: {}", events.len(), words.join(", ")),
        "Look at EQUITIES, CASH, SYMBOLS and HEDGE_FROM_BLOCK: only a listed share against the cash token is hedged",
    )
}
