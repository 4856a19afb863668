//! The line to the node: connects, checks that it is the right chain, works until the socket is lost, connects again.
//!
//! It refuses to know what is read. On every connection it subscribes first and reads the head after, so that no block
//! falls between the two. Invariant: [`run`] ends only by a [`ChainStop`]; a node that is away is waited for, with
//! pauses that grow.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, mpsc, watch};

use super::end::{End, PAUSE_MS_MIN, note, wait};
use super::identity::{check_chain, check_code};
use super::live::{self, Listener};
use super::pace::Urgency;
use super::pending::PendingFills;
use super::rpc::Rpc;
use super::secrets::shown;
use super::sweep::{Memory, Survey, Sweeper};
use super::tokens::Tokens;
use super::unit_watch::{UnitWatch, tell};
use super::{ChainConfig, ChainFacts, ChainStop, ChainView, Push, abi};
use crate::engine::Input;
use crate::fills::TokenFact;
use crate::units::{BlockRef, Millis};

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
    let announced = Mutex::default();
    let link = Link {
        config: &config,
        chain_id,
        inputs: &inputs,
        view: &view,
        facts: &facts,
        bell: &bell,
        announced: &announced,
    };
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

struct Link<'a> {
    config: &'a ChainConfig,
    chain_id: u64,
    inputs: &'a mpsc::Sender<Input>,
    view: &'a watch::Receiver<ChainView>,
    facts: &'a watch::Sender<ChainFacts>,
    bell: &'a Notify,
    /// Announcements of tokens that a person has heard.
    announced: &'a Mutex<BTreeSet<String>>,
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
        let Greeting { head, code_seen, learnt } = greet(&rpc, config, memory, &tokens).await?;
        note(facts, |facts| {
            facts.connected = true;
            facts.error = None;
            facts.reconnects = *connections;
            facts.see_head(head.number, Millis::now());
        });
        *connections = connections.saturating_add(1);
        log::info!("connected to {}, head {}", shown(&config.ws_url), head.number);
        inputs.send(Input::Connected { head }).await.map_err(|_| End::Stop(ChainStop::EngineGone))?;
        tell(inputs, Push { tokens: learnt, ..Push::default() }).await?;
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
        let watch =
            UnitWatch { rpc: &in_turn, config, inputs, view: self.view.clone(), announced: self.announced };
        let pending = PendingFills { rpc: &in_turn, config, book: &book, inputs, view: self.view.clone() };
        Ok(tokio::select! {
            end = listener.run(logs, asker) => end,
            end = live::heads(heads, facts, bell, config.head_age_max) => end,
            end = live::pulse(&rpc, facts, bell) => end,
            end = sweeper.run() => end,
            end = pending.run() => end,
            end = watch.run() => end,
        })
    }
}

/// What a new connection is told first.
#[derive(Debug, Clone)]
pub(super) struct Greeting {
    pub(super) head: BlockRef,
    /// Whether every order book was seen to have code.
    pub(super) code_seen: bool,
    /// What is new about tokens that the ledger knows.
    pub(super) learnt: Vec<TokenFact>,
}

/// The node's head, its code at the order books, and, once a process, whether the ledger's tokens are still what it
/// says.
pub(super) async fn greet(
    rpc: &Rpc,
    config: &ChainConfig,
    memory: &mut Memory,
    known: &[TokenFact],
) -> Result<Greeting, End> {
    let mut learnt = Vec::new();
    memory.ways.another_connection();
    let head = rpc.head().await?;
    let code_seen = head.number >= config.deployment_block;
    if code_seen {
        check_code(rpc, config).await?.map_or(Ok(()), |stop| Err(End::Stop(stop)))?;
    }
    if !memory.tokens_checked {
        let mut tokens = Tokens::new(config);
        tokens.learn(known);
        learnt =
            tokens.changed(rpc, None).await?.map_err(|words| End::Stop(ChainStop::TokenChanged(words)))?;
        memory.tokens_checked = true;
    }
    Ok(Greeting { head: BlockRef { number: head.number, hash: head.hash }, code_seen, learnt })
}
