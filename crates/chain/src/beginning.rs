//! Where reading is to begin: whether the node has that block and still has its logs, and whether the listed tokens are
//! what they are listed as.
//!
//! A node that pruned its logs answers `[]` for old blocks, and every fill there would be lost without a word. What tells
//! is a block whose bloom holds something: without any filter it must show a log. So does a refusal in words of pruning.
//! The doctor asks the same, by the same functions; it refuses to know what is done about an answer.
//!
//! Invariant: `Pruned` is said on proof only. Where blooms mean nothing (a chain that fills them always) it is not said.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::primitives::Address;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::end::{PAUSE_MS_MIN, wait};
use super::rpc::{Rpc, RpcError};
use super::tokens;
use super::wire::Header;
use super::{ChainConfig, ChainFacts, ChainStop, WINDOW_BLOCKS_MAX};
use crate::units::Symbol;

/// Blocks from the beginning on that are looked at for logs. A busy chain has some in each.
const BLOCKS_MAX: u64 = 8;
/// Blocks at the head that say whether blooms mean anything here.
const RECENT_BLOCKS: u64 = 4;
/// So many old blocks must show nothing before it is believed.
const PROOFS: usize = 2;
/// How long all of it may take at a start; an answer that is late is no proof.
const LIMIT: Duration = Duration::from_secs(20);
/// Before a first backfill is given up, the node is asked again after this pause.
const PAUSE_AGAIN: Duration = Duration::from_secs(1);
/// A node that answers with trouble is asked so often before a first backfill begins without an answer.
const TRIES_MAX: u32 = 3;

/// What the node has of where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// Block and head; the chain is not there yet.
    Ahead {
        /// Where reading would begin.
        from: u64,
        /// The node's newest block.
        head: u64,
    },
    /// This old block shows its logs.
    Shown(u64),
    /// This old block's logs are gone, in words.
    Pruned {
        /// The block.
        block: u64,
        /// What shows it.
        words: String,
    },
    /// The node refuses an old block's logs and gives a new one's; its words do not say why.
    Refused {
        /// The block.
        block: u64,
        /// The node's words.
        words: String,
    },
    /// Nothing there proves anything, in words.
    Unproved(String),
}

/// Looks at the blocks from `from` on.
///
/// # Errors
/// Trouble of the node that says nothing about old blocks: it was asked too often, or is away.
pub async fn look(rpc: &Rpc, from: u64, head: &Header) -> Result<Beginning, RpcError> {
    // A block that comes next is waited for.
    if from > head.number.saturating_add(1) {
        return Ok(Beginning::Ahead { from, head: head.number });
    }
    let window = u64::try_from(WINDOW_BLOCKS_MAX).unwrap_or(u64::MAX);
    if head.number.saturating_sub(from) <= window {
        return Ok(Beginning::Unproved("it is among the newest blocks, which every node has".into()));
    }
    let mut silent = Vec::new();
    for number in from..from.saturating_add(BLOCKS_MAX).min(head.number) {
        let header = match rpc.header(number).await {
            Ok(Some(header)) => header,
            Ok(None) => {
                let words = format!("it has no block {number}, though its head is {}", head.number);
                return Ok(Beginning::Pruned { block: number, words });
            }
            Err(error) => return refused(rpc, number, head, error).await,
        };
        if !may_have_logs(&header) {
            continue;
        }
        match rpc.logs_of_block(header.hash).await {
            Ok(0) => silent.push(number),
            // Too many to be told are there.
            Ok(_) | Err(RpcError::RangeTooLarge(_)) => return Ok(Beginning::Shown(number)),
            Err(error) => return refused(rpc, number, head, error).await,
        }
        if silent.len() == PROOFS {
            break;
        }
    }
    let Some(block) = silent.first().copied() else {
        let words = format!("the {BLOCKS_MAX} blocks from {from} on hold no logs by their blooms");
        return Ok(Beginning::Unproved(words));
    };
    if blooms_mean_nothing(rpc, head).await? {
        return Ok(Beginning::Unproved("this chain's blooms are full whatever a block holds".into()));
    }
    let words = format!("it shows no log of block {block}, whose bloom says that there are some");
    Ok(Beginning::Pruned { block, words })
}

/// A block without transactions has no logs, whatever its bloom.
fn may_have_logs(header: &Header) -> bool {
    !header.logs_bloom.is_zero() && header.transactions.as_ref().is_none_or(|all| !all.is_empty())
}

/// Whether one of the newest blocks shows nothing either, for all that its bloom holds.
async fn blooms_mean_nothing(rpc: &Rpc, head: &Header) -> Result<bool, RpcError> {
    // The newest one's logs may lag its head.
    let newest = head.number.saturating_sub(1);
    for number in newest.saturating_sub(RECENT_BLOCKS).saturating_add(1)..=newest {
        let Some(header) = rpc.header(number).await? else { continue };
        if may_have_logs(&header) && rpc.logs_of_block(header.hash).await? == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a refusal of an old block means: nothing, if it is about something else or a new block is refused as well.
async fn refused(rpc: &Rpc, block: u64, head: &Header, error: RpcError) -> Result<Beginning, RpcError> {
    let RpcError::Refused { code, message, .. } = &error else { return Err(error) };
    let words = error.to_string();
    if is_pruning(*code, message) {
        return Ok(Beginning::Pruned { block, words });
    }
    match rpc.logs_of_block(head.hash).await {
        Ok(_) => Ok(Beginning::Refused { block, words }),
        Err(_) => Err(error),
    }
}

/// Whether a refusal says that old data is gone for good. 4444 is "pruned history unavailable" (EIP-4444); the words are
/// reth's, erigon's, geth's and providers'.
fn is_pruning(code: i64, message: &str) -> bool {
    let words = message.to_lowercase();
    let any = [
        "prun",
        "history",
        "historical",
        "unavailable for block",
        "archive",
        "ancient",
        "no longer available",
    ];
    code == 4444 || any.iter().any(|word| words.contains(word))
}

/// Listed tokens whose `symbol()` is the name of another share, a sentence each.
///
/// # Errors
/// The node's trouble.
pub async fn misnamed(rpc: &Rpc, equities: &BTreeMap<Address, Symbol>) -> Result<Vec<String>, RpcError> {
    let mut told = Vec::new();
    for (token, listed) in equities {
        if let Some((symbol, named)) = tokens::named(rpc, *token).await?
            && named != *listed
        {
            told.push(format!(
                "EQUITIES lists {token} as {listed}, but it calls itself {symbol}, which is {named}"
            ));
        }
    }
    Ok(told)
}

/// What a start finds where it is to begin, in sentences for a person; `from` is the first block that is read. A `first`
/// backfill waits for a node that can be asked; trouble of another kind is no finding, for the bot meets it by itself.
///
/// # Errors
/// The node has pruned what a first backfill must read.
pub async fn at_start(
    config: &ChainConfig,
    from: u64,
    first: bool,
    facts: &watch::Sender<ChainFacts>,
) -> Result<Vec<String>, ChainStop> {
    let mut pause = PAUSE_MS_MIN;
    let (mut tries, mut pruned_before) = (0, false);
    loop {
        let asked = timeout(LIMIT, looked(config, from)).await;
        let lost = match asked.unwrap_or(Err(RpcError::Timeout("where reading begins"))) {
            // One answer may be a node's bad moment; a stop is for a person.
            Ok((Beginning::Pruned { .. }, _)) if first && !pruned_before => {
                pruned_before = true;
                sleep(PAUSE_AGAIN).await;
                continue;
            }
            Ok((Beginning::Pruned { block, words }, _)) if first => {
                return Err(ChainStop::Pruned { block, words });
            }
            Ok((beginning, misnamed)) => return Ok(told(beginning).into_iter().chain(misnamed).collect()),
            Err(RpcError::Gone(lost)) if first => lost,
            Err(error) => {
                tries += 1;
                if !first || tries == TRIES_MAX {
                    log::debug!("where reading begins could not be looked at: {error}");
                    return Ok(Vec::new());
                }
                error.to_string().into()
            }
        };
        wait(facts, lost, &mut pause).await;
    }
}

async fn looked(config: &ChainConfig, from: u64) -> Result<(Beginning, Vec<String>), RpcError> {
    let rpc = Rpc::connect(&config.ws_url, config.cert_file.as_deref()).await?;
    let head = rpc.head().await?;
    let beginning = look(&rpc, from, &head).await?;
    // A name that can not be read is no wrong one.
    Ok((beginning, misnamed(&rpc, &config.equities).await.unwrap_or_default()))
}

fn told(beginning: Beginning) -> Option<String> {
    match beginning {
        Beginning::Pruned { block, words } | Beginning::Refused { block, words } => Some(format!(
            "the node has pruned its old logs or refuses them ({words}): fills from block {block} on may not be found; \
             take a node that keeps all logs (an archive node) for WS_RPC_URL"
        )),
        Beginning::Ahead { from, head } => Some(format!(
            "reading is to begin at block {from}, and the node's head is {head}: nothing is read before the chain is \
             there; look at DEPLOYMENT_BLOCK, and whether the node is behind"
        )),
        Beginning::Shown(_) | Beginning::Unproved(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{B256, Bloom};

    use super::*;

    #[test]
    fn words_of_pruning_are_told_from_others() {
        for (code, message) in [
            (4444, "whatever"),
            (-32000, "pruned history unavailable"),
            (-32602, "receipts unavailable for block 19995000"),
            (-32000, "history has been pruned for this block"),
            (-32000, "historical state is not available"),
            (-32000, "This request needs an Archive node"),
        ] {
            assert!(is_pruning(code, message), "{message}");
        }
        for (code, message) in [(-32603, "internal error"), (-32601, "the method eth_getLogs does not exist")]
        {
            assert!(!is_pruning(code, message), "{message}");
        }
    }

    #[test]
    fn a_block_without_transactions_has_no_logs() {
        let header = |bloom, transactions| Header {
            number: 1,
            hash: B256::ZERO,
            parent_hash: B256::ZERO,
            timestamp: 0,
            logs_bloom: bloom,
            transactions,
        };
        let full = Bloom::repeat_byte(0xff);
        assert!(may_have_logs(&header(full, None)));
        assert!(may_have_logs(&header(full, Some(vec![B256::ZERO]))));
        assert!(!may_have_logs(&header(full, Some(vec![]))));
        assert!(!may_have_logs(&header(Bloom::ZERO, Some(vec![B256::ZERO]))));
    }
}
