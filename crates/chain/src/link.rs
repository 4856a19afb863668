//! The line to the node: connects, checks that it is the right chain, works until the socket is lost, connects again.
//!
//! It refuses to know what is read. On every connection it subscribes first and reads the head after, so that no block
//! falls between the two. Invariant: [`run`] ends only by a [`ChainStop`]; a node that is away is waited for, with
//! pauses that grow.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::B256;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use super::live::{self, Listener};
use super::pace::Urgency;
use super::pending::PendingFills;
use super::refusal::LIMITED_PAUSE_S;
use super::rpc::{Lost, Rpc, RpcError};
use super::socket::shown;
use super::sweep::{Memory, Survey, Sweeper};
use super::tokens::Tokens;
use super::{ChainConfig, ChainFacts, ChainStop, ChainView, Push, abi};
use crate::engine::Input;
use crate::fills::{self, Book, Event, TokenFact};
use crate::units::{BlockRef, Millis};

/// First pause before connecting again; doubles.
pub(super) const PAUSE_MS_MIN: Duration = Duration::from_millis(250);
/// Of so many transactions that are read again, the log says how far it is.
const TRADES_TOLD: usize = 100;
/// Longest such pause.
const PAUSE_S_MAX: Duration = Duration::from_secs(15);

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum End {
    /// The node is away: connect again.
    Lost(Lost),
    /// The process must end.
    Stop(ChainStop),
}

impl From<RpcError> for End {
    fn from(error: RpcError) -> Self {
        Self::Lost(match error {
            RpcError::Gone(lost) => lost,
            // The next connection would only be refused the same.
            RpcError::Limited { pause, .. } => {
                Lost { why: error.to_string(), pause: pause.or(Some(LIMITED_PAUSE_S)) }
            }
            other => other.to_string().into(),
        })
    }
}

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

/// Asked once before the engine is built: the chain id, from a node that has code at every order book. Waits for the
/// node as long as it takes; drop the future to stop.
///
/// # Errors
/// The wrong chain, or no code at an order book.
pub async fn identify(config: &ChainConfig, facts: &watch::Sender<ChainFacts>) -> Result<u64, ChainStop> {
    let mut pause = PAUSE_MS_MIN;
    loop {
        let why = match identified(config).await {
            Ok(chain_id) => {
                note(facts, |facts| facts.error = None);
                return Ok(chain_id);
            }
            Err(End::Stop(stop)) => return Err(stop),
            Err(End::Lost(why)) => why,
        };
        wait(facts, why, &mut pause).await;
    }
}

async fn identified(config: &ChainConfig) -> Result<u64, End> {
    let rpc = Rpc::connect(&config.ws_url, config.cert_file.as_deref()).await?;
    let chain_id = check_chain(&rpc, config, None).await?;
    if rpc.head().await?.number >= config.deployment_block {
        check_code(&rpc, config).await?.map_or(Ok(()), |stop| Err(End::Stop(stop)))?;
    }
    Ok(chain_id)
}

/// Reads the chain until the process must end: pushes and sweeps go into `inputs`, what they are planned on comes from
/// `view`, `bell` wakes the sweep.
pub async fn run(
    config: ChainConfig,
    chain_id: u64,
    inputs: mpsc::Sender<Input>,
    view: watch::Receiver<ChainView>,
    facts: watch::Sender<ChainFacts>,
    bell: Arc<Notify>,
) -> ChainStop {
    let link = Link { config: &config, chain_id, inputs: &inputs, view: &view, facts: &facts, bell: &bell };
    let mut memory = Memory::new(&config);
    let mut connections: u64 = 0;
    let mut pause = PAUSE_MS_MIN;
    loop {
        memory.healthy = false;
        let why = match link.connection(&mut memory, &mut connections).await {
            End::Stop(stop) => return stop,
            End::Lost(why) => why,
        };
        if memory.healthy {
            pause = PAUSE_MS_MIN;
        }
        note(&facts, |facts| {
            facts.connected = false;
            facts.backfill = None;
        });
        wait(&facts, why, &mut pause).await;
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

struct Link<'a> {
    config: &'a ChainConfig,
    chain_id: u64,
    inputs: &'a mpsc::Sender<Input>,
    view: &'a watch::Receiver<ChainView>,
    facts: &'a watch::Sender<ChainFacts>,
    bell: &'a Notify,
}

impl Link<'_> {
    async fn connection(&self, memory: &mut Memory, connections: &mut u64) -> End {
        match self.work(memory, connections).await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn work(&self, memory: &mut Memory, connections: &mut u64) -> Result<End, End> {
        let Self { config, inputs, facts, bell, .. } = *self;
        let rpc = Rpc::connect(&config.ws_url, config.cert_file.as_deref()).await?;
        let pace = Arc::clone(&memory.pace);
        let (rpc, in_turn) = (rpc.paced(&pace, Urgency::First), rpc.paced(&pace, Urgency::Sweep));
        check_chain(&rpc, config, Some(self.chain_id)).await?;
        // Subscribed first, the head read after: no block falls between the two.
        let heads = rpc.subscribe_heads().await?;
        let logs = rpc.subscribe_logs(&config.orderbooks, &abi::TOPICS).await?;
        let tokens = self.view.borrow().tokens.clone();
        let Greeting { head, code_seen } = greet(&rpc, config, memory, &tokens).await?;
        note(facts, |facts| {
            facts.connected = true;
            facts.error = None;
            facts.reconnects = *connections;
            facts.see_head(head.number, Millis::now());
        });
        *connections = connections.saturating_add(1);
        log::info!("connected to {}, head {}", shown(&config.ws_url), head.number);
        inputs.send(Input::Connected { head }).await.map_err(|_| End::Stop(ChainStop::EngineGone))?;
        let book = config.book(self.chain_id);
        let listener = Listener {
            rpc: &rpc,
            book: &book,
            tokens: Tokens::new(config),
            inputs,
            view: self.view.clone(),
            bell,
        };
        let asker = Tokens::new(config);
        let tokens = Tokens::new(config);
        let survey = Survey { rpc: &in_turn, config, book: &book, facts, memory, tokens, code_seen };
        let sweeper = Sweeper { survey, inputs, view: self.view.clone(), bell };
        let pending = PendingFills { rpc: &in_turn, config, book: &book, inputs, view: self.view.clone() };
        Ok(tokio::select! {
            end = listener.run(logs, asker) => end,
            end = live::heads(heads, facts, bell, config.head_age_max) => end,
            end = live::pulse(&rpc, facts, bell) => end,
            end = sweeper.run() => end,
            end = pending.run() => end,
        })
    }
}

/// What a new connection is told first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Greeting {
    pub(super) head: BlockRef,
    /// Whether every order book was seen to have code.
    pub(super) code_seen: bool,
}

/// The node's head, its code at the order books, and, once a process, whether the ledger's tokens are still what it
/// says.
pub(super) async fn greet(
    rpc: &Rpc,
    config: &ChainConfig,
    memory: &mut Memory,
    known: &[TokenFact],
) -> Result<Greeting, End> {
    memory.ways.another_connection();
    let head = rpc.head().await?;
    let code_seen = head.number >= config.deployment_block;
    if code_seen {
        check_code(rpc, config).await?.map_or(Ok(()), |stop| Err(End::Stop(stop)))?;
    }
    if !memory.tokens_checked {
        let mut tokens = Tokens::new(config);
        tokens.learn(known);
        if let Some(words) = tokens.changed(rpc).await? {
            return Err(End::Stop(ChainStop::TokenChanged(words)));
        }
        memory.tokens_checked = true;
    }
    Ok(Greeting { head: BlockRef { number: head.number, hash: head.hash }, code_seen })
}

/// The node's chain id, if it is the one that everybody expects.
pub(super) async fn check_chain(
    rpc: &Rpc,
    config: &ChainConfig,
    identified: Option<u64>,
) -> Result<u64, End> {
    let found = rpc.chain_id().await?;
    let expectations = [
        (config.chain_id, "CHAIN_ID says"),
        (config.stamped_chain_id, "the ledger is of"),
        (identified, "this run began on"),
    ];
    for (expected, says) in expectations {
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let node = shown(&config.ws_url);
            return Err(End::Stop(ChainStop::WrongChain { node, found, says, expected }));
        }
    }
    Ok(found)
}

/// The order book that has no code, if one has none. A node behind its peers may not know it yet, so "no" is asked twice.
pub(super) async fn check_code(rpc: &Rpc, config: &ChainConfig) -> Result<Option<ChainStop>, RpcError> {
    for address in config.orderbooks.iter().copied() {
        if rpc.code(address).await?.is_empty() && rpc.code(address).await?.is_empty() {
            let (chain_id, head) = (rpc.chain_id().await?, rpc.block_number().await?);
            return Ok(Some(ChainStop::NoCode { address, chain_id, head }));
        }
    }
    Ok(None)
}

/// Publishes a change of the facts, if it is one.
pub(super) fn note(facts: &watch::Sender<ChainFacts>, change: impl FnOnce(&mut ChainFacts)) {
    facts.send_if_modified(|facts| {
        let before = facts.clone();
        change(facts);
        *facts != before
    });
}

/// Says why, waits at least as long as the node asks for, and makes the next pause longer.
pub(super) async fn wait(facts: &watch::Sender<ChainFacts>, lost: Lost, pause: &mut Duration) {
    let Lost { why, pause: told } = lost;
    let now = next_pause(*pause, told);
    log::warn!("the chain is away: {why}; connecting again in {} ms", now.as_millis());
    note(facts, |facts| facts.error = Some(why));
    sleep(now).await;
    *pause = (*pause * 2).min(PAUSE_S_MAX);
}

/// How long to wait before connecting again: never less than the node asked for.
fn next_pause(ours: Duration, told: Option<Duration>) -> Duration {
    let ours = jittered(ours);
    told.map_or(ours, |told| (told + ours / 4).max(ours))
}

/// Half to one and a half of `pause`, so that many bots do not come back at once.
pub(super) fn jittered(pause: Duration) -> Duration {
    let spread = RandomState::new().build_hasher().finish() % 1001;
    let spread = u32::try_from(spread).unwrap_or(500);
    pause / 2 + pause * spread / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_has_enough_of_us_is_left_alone_for_as_long_as_it_says() {
        let (ours, told) = (Duration::from_millis(250), Duration::from_secs(30));
        assert!(
            (0..50).map(|_| next_pause(ours, Some(told))).all(|pause| pause >= told && pause < told + ours)
        );
        assert!(
            (0..50)
                .map(|_| next_pause(PAUSE_S_MAX, Some(Duration::ZERO)))
                .all(|pause| pause >= PAUSE_S_MAX / 2)
        );
        assert!((0..50).map(|_| next_pause(ours, None)).all(|pause| pause <= ours * 2));
        let End::Lost(lost) = End::from(RpcError::Limited {
            method: "eth_chainId",
            code: 429,
            message: "no".into(),
            pause: None,
        }) else {
            panic!("lost")
        };
        assert_eq!(lost.pause, Some(LIMITED_PAUSE_S));
    }

    #[test]
    fn jitter_stays_between_half_and_one_and_a_half() {
        let pause = Duration::from_millis(1000);
        let many: Vec<Duration> = (0..200).map(|_| jittered(pause)).collect();
        assert!(many.iter().all(|p| *p >= pause / 2 && *p <= pause * 3 / 2));
        assert!(many.iter().any(|p| *p != many[0]));
    }
}
