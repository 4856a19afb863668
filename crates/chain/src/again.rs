//! Transactions that are read again: for a person, for trades that were passed over, for fills without an amount.
//!
//! Invariant: nothing is read of a transaction whose block is not on the chain.

use std::collections::BTreeSet;

use alloy::primitives::B256;

use super::end::End;
use super::error::RpcError;
use super::identity::check_chain;
use super::rpc::Rpc;
use super::tokens::Tokens;
use super::{ChainConfig, ChainStop, Push};
use crate::fills::{self, Book, Event, TokenFact};
use crate::units::BlockRef;

/// Of so many transactions that are read again, the log says how far it is.
const TRADES_TOLD: usize = 100;

/// Why a transaction can not be read again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// The node.
    #[error("{0}")]
    Rpc(#[from] RpcError),
    /// The node has no such transaction.
    #[error("the node has no transaction {0}; check the hash and WS_RPC_URL")]
    NotFound(B256),
    /// Its block has left the chain, or the node contradicts itself.
    #[error(
        "transaction {tx_hash} is in block {block}, which is not on the chain; try again when the chain has settled"
    )]
    NotCanonical {
        /// The transaction.
        tx_hash: B256,
        /// Its block.
        block: BlockRef,
    },
    /// Another chain.
    #[error("{0}")]
    Stop(ChainStop),
}

impl From<End> for TransactionError {
    fn from(end: End) -> Self {
        match end {
            End::Stop(stop) => Self::Stop(stop),
            End::Lost(why) => Self::Rpc(RpcError::Gone(why)),
        }
    }
}

/// One transaction's events, for `bot replay`: from its receipt, if its block is on the chain.
///
/// # Errors
/// See [`TransactionError`]. It asks once; the caller may ask again.
pub async fn transaction(
    config: &ChainConfig,
    chain_id: u64,
    known: &[TokenFact],
    tx_hash: B256,
) -> Result<Push, TransactionError> {
    let rpc = Rpc::connect(&config.ws_url, config.cert_file.as_deref()).await?;
    check_chain(&rpc, config, Some(chain_id)).await?;
    let mut tokens = Tokens::new(config);
    tokens.learn(known);
    events_of(&rpc, &config.book(chain_id), &mut tokens, tx_hash).await
}

/// The events of transactions that were passed over, each named with the block it was in. One whose block the chain does
/// not have any more has none; one that the node does not know although its block stands is an error, for a node that
/// forgets old receipts must not make a trade vanish.
///
/// # Errors
/// See [`TransactionError`]; the first one met.
pub async fn passed_over(
    config: &ChainConfig,
    chain_id: u64,
    known: &[TokenFact],
    trades: &BTreeSet<(BlockRef, B256)>,
) -> Result<Push, TransactionError> {
    let rpc = Rpc::connect(&config.ws_url, config.cert_file.as_deref()).await?;
    check_chain(&rpc, config, Some(chain_id)).await?;
    let (book, mut tokens) = (config.book(chain_id), Tokens::new(config));
    tokens.learn(known);
    let mut all = Push::default();
    for (n, (block, tx_hash)) in trades.iter().enumerate() {
        if n > 0 && n.is_multiple_of(TRADES_TOLD) {
            log::info!("{n} of {} transactions that were passed over are read again", trades.len());
        }
        if rpc.header(block.number).await?.is_some_and(|header| header.hash != block.hash) {
            // Two answers must say that it left: of a trade that is taken for gone nobody asks again.
            if rpc.receipt(*tx_hash).await?.is_some_and(|receipt| receipt.block_hash == block.hash) {
                return Err(TransactionError::NotCanonical { tx_hash: *tx_hash, block: *block });
            }
            continue;
        }
        let push = events_of(&rpc, &book, &mut tokens, *tx_hash).await?;
        all.events.extend(push.events);
        for fact in push.tokens {
            if !all.tokens.contains(&fact) {
                all.tokens.push(fact);
            }
        }
    }
    Ok(all)
}

/// What one transaction holds, from its receipt, if its block is on the chain.
pub(super) async fn events_of(
    rpc: &Rpc,
    book: &Book,
    tokens: &mut Tokens,
    tx_hash: B256,
) -> Result<Push, TransactionError> {
    let receipt = rpc.receipt(tx_hash).await?.ok_or(TransactionError::NotFound(tx_hash))?;
    let block = BlockRef { number: receipt.block_number, hash: receipt.block_hash };
    if rpc.header(block.number).await?.is_none_or(|header| header.hash != block.hash) {
        return Err(TransactionError::NotCanonical { tx_hash, block });
    }
    let found = fills::trades(book, &receipt.logs);
    let weighed = tokens.weigh(rpc, book, &found.trades, u64::MAX).await?;
    let mut events = weighed.events;
    events.extend(found.dead.into_iter().map(Event::Dead));
    events.extend(found.unpaired.iter().map(|clear| Event::Dead(fills::give_up(book, clear))));
    Ok(Push { events, tokens: weighed.tokens, ..Push::default() })
}
