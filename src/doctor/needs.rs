//! What the sweep will ask of this node, asked once: logs and receipts of a block, the logs where reading begins, old
//! state where a wrapped share is listed, and how many calls a second it bears.
//!
//! Invariant: at most [`BURST_CALLS_MAX`] calls and [`STEADY_CALLS`] more are made to find a limit, within a few seconds.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, U256};
use alloy::sol_types::SolCall;
use futures_util::{StreamExt, stream};
use tokio::time::{MissedTickBehavior, interval};

use super::Finding;
use super::node::{refused, within};
use crate::chain::ChainConfig;
use crate::chain::abi::TOPICS;
use crate::chain::abi::token::IToken::{assetCall, convertToAssetsCall};
use crate::chain::beginning::{self, Beginning};
use crate::chain::rpc::{At, Rpc, RpcError, is_revert};
use crate::chain::tokens::Tokens;
use crate::chain::wire::Header;
use crate::units::{Shares, Symbol};

const ARCHIVE: &str = "Take a node that keeps all logs (an archive node) for WS_RPC_URL; a higher DEPLOYMENT_BLOCK, if no \
                       fill below it is to be hedged";
/// State that every full node keeps reaches back so many blocks (geth).
const STATE_BLOCKS: u64 = 128;
/// Tokens of which old state is asked.
const WRAPPED_MAX: usize = 3;

/// Calls of the burst. Eight in flight is what the bot itself has.
const BURST_CALLS_MAX: u32 = 100;
const BURST_IN_FLIGHT: usize = 8;
const BURST_TIME_MAX: Duration = Duration::from_secs(2);
/// Calls after the first refusal, one each 20 ms: what of them is answered is the rate.
const STEADY_CALLS: u32 = 100;
const STEADY_PAUSE: Duration = Duration::from_millis(20);
const STEADY_IN_FLIGHT: usize = 32;
/// Blocks whose times give the chain's pace; fewer on a chain that has no more.
const PACE_BLOCKS: [u64; 3] = [1_000, 100, 10];
/// Calls that one block costs under a full bloom (its header, its logs, its logs once more), and calls per second whatever
/// the chain does (the watchdog's).
const CALLS_PER_100_BLOCKS: u64 = 300;
const CALLS_PER_100_SECONDS: u64 = 50;
/// Compute units of such a call by Alchemy's price list, on average: 75 a second for 2 calls.
const UNITS_PER_10_CALLS: u64 = 375;
const MONTH_S: u64 = 30 * 24 * 3600;

/// Logs of the newest block by its hash: how the last 64 blocks are read.
pub(super) async fn block_logs(rpc: &Rpc, chain: &ChainConfig, head: &Header) -> Finding {
    match within(|| rpc.logs_at(head.hash, &chain.orderbooks, &TOPICS)).await {
        Ok(_) => Finding::ok("eth_getLogs answers for a block's hash"),
        Err(error) => Finding::failed(
            format!("not for a block's hash, which is how the newest blocks are read: {error}"),
            "Take another node for WS_RPC_URL",
        ),
    }
}

/// Receipts of one block: by its hash, else by its number, else one by one.
pub(super) async fn receipts(rpc: &Rpc, head: &Header) -> Finding {
    let by_hash = match within(|| rpc.block_receipts(head.hash)).await {
        Ok(Some(_)) => return Finding::ok("eth_getBlockReceipts answers for a block's hash"),
        Ok(None) => "eth_getBlockReceipts does not know the newest block".to_owned(),
        Err(error) => error.to_string(),
    };
    if matches!(within(|| rpc.block_receipts_at(head.number)).await, Ok(Some(_))) {
        return Finding::warning(
            format!("eth_getBlockReceipts answers for a number only ({by_hash})"),
            "Nothing must be done: a bot asks by number then, and checks the hash",
        );
    }
    let known = head.transactions.as_ref().and_then(|all| all.first());
    let one = match known {
        Some(tx) => within(|| rpc.receipt(*tx)).await.map(|receipt| receipt.is_some()),
        None => Ok(true),
    };
    match one {
        Ok(true) => Finding::warning(
            format!("no receipts of a whole block: {by_hash}; they are asked for one by one"),
            "A block that needs them costs a call for each transaction of ours: look whether the plan includes \
             eth_getBlockReceipts, or take another node",
        ),
        Ok(false) | Err(_) => Finding::failed(
            format!("no receipts of a whole block: {by_hash}; and none of one transaction"),
            "Take another node for WS_RPC_URL: what a node leaves out of its logs is found by receipts",
        ),
    }
}

/// Whether the node has what must be read first.
pub(super) async fn history(rpc: &Rpc, from: u64, head: &Header) -> Finding {
    match within(|| beginning::look(rpc, from, head)).await {
        Ok(Beginning::Shown(block)) => {
            Finding::ok(format!("block {block}, where reading begins, shows its logs"))
        }
        Ok(Beginning::Unproved(words)) => Finding::ok(format!("reading begins at block {from}: {words}")),
        Ok(Beginning::Ahead { from, head }) => Finding::failed(
            format!(
                "reading is to begin at block {from}, and the head is {head}: nothing is read before it is there"
            ),
            "Look at DEPLOYMENT_BLOCK, and whether the node is behind",
        ),
        Ok(Beginning::Pruned { words, .. }) => Finding::failed(
            format!("the node has pruned the logs where reading begins, fills there would be lost: {words}"),
            ARCHIVE,
        ),
        Ok(Beginning::Refused { block, words }) => Finding::failed(
            format!(
                "the node gives new logs and refuses those of block {block}, where reading begins: {words}"
            ),
            ARCHIVE,
        ),
        Err(error) => refused(&error),
    }
}

/// Whether the listed tokens call themselves what they are listed as.
pub(super) async fn tokens(rpc: &Rpc, equities: &BTreeMap<Address, Symbol>) -> Finding {
    if equities.is_empty() {
        return Finding::ok("EQUITIES lists none: each token's own symbol() decides");
    }
    match within(|| beginning::misnamed(rpc, equities)).await {
        Ok(misnamed) if misnamed.is_empty() => {
            Finding::ok(format!("none of the {} listed tokens calls itself another share", equities.len()))
        }
        Ok(misnamed) => Finding::warning(
            misnamed.join("; "),
            "Look at EQUITIES: with the wrong address one share's fills are hedged with another share",
        ),
        Err(error) => refused(&error),
    }
}

/// What each listed token is worth in shares, by its own contract.
pub(super) async fn units(rpc: &Rpc, chain: &ChainConfig) -> Finding {
    let tokens = Tokens::new(chain);
    let (mut worths, mut ahead, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (token, symbol) in &chain.equities {
        let surveyed = match within(|| tokens.survey(rpc, *token)).await {
            Ok(surveyed) => surveyed,
            Err(error) => return refused(&error),
        };
        ahead.extend(surveyed.announced);
        match surveyed.worth {
            Ok(shares) if shares == Shares::whole(1) => {}
            Ok(shares) => worths.push(format!("{symbol} {token} is {shares} shares a token")),
            Err(why) => unknown.push(format!("{symbol}: {why}")),
        }
    }
    if !unknown.is_empty() {
        return Finding::failed(
            format!("what a token is worth in shares is not known: {}", unknown.join("; ")),
            "Look at EQUITIES and at the contract; `bot tokens` shows all of them. Fills of it wait, and are not hedged",
        );
    }
    if !ahead.is_empty() {
        return Finding::warning(
            ahead.join("; "),
            "Nothing must be done: fills from then on count with the new one; what is left of before stays as it is",
        );
    }
    if worths.is_empty() {
        return Finding::ok(format!("each of the {} listed tokens is one share", chain.equities.len()));
    }
    Finding::ok(format!("{}; the others are one share", worths.join("; ")))
}

/// Whether the node can say what a wrapped share was worth in an old block.
pub(super) async fn old_state(
    rpc: &Rpc,
    equities: &BTreeMap<Address, Symbol>,
    from: u64,
    head: &Header,
) -> Finding {
    let (mut wrapped, asset) = (Vec::new(), assetCall {}.abi_encode());
    for (token, symbol) in equities {
        match within(|| rpc.eth_call(*token, &asset, At::Latest)).await {
            Ok(bytes) if assetCall::abi_decode_returns_validate(&bytes).is_ok() => {
                wrapped.push((*token, symbol))
            }
            Ok(_) => {}
            Err(error) if is_revert(&error) => {}
            Err(error) => return refused(&error),
        }
    }
    if wrapped.is_empty() {
        return Finding::ok("no wrapped share is listed: none is needed");
    }
    let old = head.number.saturating_sub(STATE_BLOCKS * 2).max(from);
    if head.number.saturating_sub(old) <= STATE_BLOCKS {
        return Finding::ok("reading begins within the newest 128 blocks, whose state every node keeps");
    }
    let at = match within(|| rpc.header(old)).await {
        Ok(Some(header)) => At::Hash(header.hash),
        Ok(None) => return Finding::failed(format!("the node has no block {old}"), ARCHIVE),
        Err(error) => return refused(&error),
    };
    let question = convertToAssetsCall { shares: U256::from(1_000_000_000_000_000_000_u64) }.abi_encode();
    for (token, symbol) in wrapped.iter().take(WRAPPED_MAX) {
        match within(|| rpc.eth_call(*token, &question, at)).await {
            Ok(_) => {}
            // A vault that is younger than that block.
            Err(error) if is_revert(&error) => {}
            Err(error) => {
                return Finding::warning(
                    format!(
                        "the node can not say what the wrapped {symbol} was worth in block {old}: {error}"
                    ),
                    "This needs an archive node: without one a fill of it that is read more than 128 blocks late waits",
                );
            }
        }
    }
    Finding::ok(format!("the node knows the state of block {old}"))
}

/// What the burst came to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Borne {
    /// Answers in so many milliseconds before the first refusal.
    answered: u32,
    took_ms: u64,
    /// The node's words, and what it answered a second from then on.
    limit: Option<(String, u32)>,
}

/// How many calls a second the node bears, and how many the bot will make.
pub(super) async fn calls(rpc: &Rpc, chain: &ChainConfig, head: &Header) -> Finding {
    let block_ms = block_ms(rpc, head).await;
    let borne = match burst(rpc, chain, head).await {
        Ok(borne) => borne,
        Err(error) => return refused(&error),
    };
    judged(&borne, block_ms)
}

/// Milliseconds between two blocks, over as many as the node has; none where it does not say.
async fn block_ms(rpc: &Rpc, head: &Header) -> Option<u64> {
    for blocks in PACE_BLOCKS {
        let Some(number) = head.number.checked_sub(blocks) else { continue };
        if let Ok(Some(earlier)) = within(|| rpc.header(number)).await {
            let passed = head.timestamp.checked_sub(earlier.timestamp)?;
            return passed.checked_mul(1_000)?.checked_div(blocks).filter(|ms| *ms > 0);
        }
    }
    None
}

fn judged(borne: &Borne, block_ms: Option<u64>) -> Finding {
    // Hundredths of a call a second.
    let needed = block_ms.map(|ms| CALLS_PER_100_SECONDS + CALLS_PER_100_BLOCKS * 1_000 / ms);
    let need = needed.zip(block_ms).map_or_else(
        || "the chain's pace could not be read".to_owned(),
        |(needed, ms)| {
            let month = needed * MONTH_S / 100;
            format!(
                "a block every {}.{} s needs about {}.{} calls a second, {} million calls or {} million compute units a month",
                ms / 1_000,
                ms % 1_000 / 100,
                needed / 100,
                needed % 100 / 10,
                tenths(month),
                month * UNITS_PER_10_CALLS / 10 / 1_000_000,
            )
        },
    );
    let Some((words, rate)) = &borne.limit else {
        let rate = u64::from(borne.answered) * 1_000 / borne.took_ms.max(1);
        return Finding::ok(format!("{rate} calls a second met no limit; {need}"));
    };
    let found = format!("the node bears about {rate} calls a second ({words}); {need}");
    match needed {
        Some(needed) if u64::from(*rate) * 100 < needed => Finding::failed(
            found,
            "Take a larger plan, or another node: the bot would not keep up with the chain",
        ),
        _ => Finding::warning(
            found,
            "It is enough for the chain's pace where nothing else uses the key; catching up after an outage takes as long \
             as that rate allows",
        ),
    }
}

/// Millions with one digit behind the point.
fn tenths(number: u64) -> String {
    format!("{}.{}", number / 1_000_000, number % 1_000_000 / 100_000)
}

/// The calls of a sweep, as fast as the bot makes them, until the node refuses one for its rate.
async fn burst(rpc: &Rpc, chain: &ChainConfig, head: &Header) -> Result<Borne, RpcError> {
    let begun = Instant::now();
    let mut answered = 0;
    let mut answers = stream::iter(0..BURST_CALLS_MAX)
        .map(|n| one_call(rpc, chain, head, n))
        .buffer_unordered(BURST_IN_FLIGHT);
    let mut refusal = None;
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(()) => answered += 1,
            Err(RpcError::Limited { message, .. }) => {
                refusal = Some(message);
                break;
            }
            Err(error) => return Err(error),
        }
        if begun.elapsed() > BURST_TIME_MAX {
            break;
        }
    }
    drop(answers);
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let limit = match refusal {
        Some(words) => Some((words, steady(rpc, chain, head).await)),
        None => None,
    };
    Ok(Borne { answered, took_ms, limit })
}

/// Answers a second at a steady pace, when what the node let pass at once is used up.
async fn steady(rpc: &Rpc, chain: &ChainConfig, head: &Header) -> u32 {
    let begun = Instant::now();
    let mut pace = interval(STEADY_PAUSE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let begins = stream::unfold((pace, 0), |(mut pace, n)| async move {
        pace.tick().await;
        (n < STEADY_CALLS).then_some((n, (pace, n + 1)))
    });
    let mut answers = pin!(begins.map(|n| one_call(rpc, chain, head, n)).buffer_unordered(STEADY_IN_FLIGHT));
    let mut answered: u64 = 0;
    while let Some(answer) = answers.next().await {
        answered += u64::from(answer.is_ok());
    }
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    u32::try_from(answered * 1_000 / took_ms).unwrap_or(u32::MAX)
}

async fn one_call(rpc: &Rpc, chain: &ChainConfig, head: &Header, n: u32) -> Result<(), RpcError> {
    if n.is_multiple_of(2) {
        rpc.header(head.number).await.map(drop)
    } else {
        rpc.logs_at(head.hash, &chain.orderbooks, &TOPICS).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_limit_is_held_against_the_chains_pace() {
        let borne = |rate: Option<u32>| Borne {
            answered: 100,
            took_ms: 400,
            limit: rate.map(|rate| ("15/second request limit reached".into(), rate)),
        };
        let rows = [
            (
                None,
                Some(2_000),
                Verdict::Ok,
                "250 calls a second met no limit; a block every 2.0 s needs about 2.0",
            ),
            (
                Some(15),
                Some(2_000),
                Verdict::Warning,
                "bears about 15 calls a second (15/second request limit reached)",
            ),
            (Some(1), Some(2_000), Verdict::Failed, "needs about 2.0 calls a second"),
            (
                Some(12),
                Some(250),
                Verdict::Failed,
                "a block every 0.2 s needs about 12.5 calls a second, 32.4 million",
            ),
            (Some(15), None, Verdict::Warning, "the chain's pace could not be read"),
        ];
        for (rate, block_ms, verdict, words) in rows {
            let found = judged(&borne(rate), block_ms);
            assert_eq!(found.verdict, verdict, "{rate:?} {block_ms:?}: {}", found.found);
            assert!(found.found.contains(words), "{}", found.found);
        }
    }
}
