//! The chain side one call at a time, for a caller that owns time: the simulator (`counterfill_trials`).
//!
//! `link` ties survey and listener to sockets, timers and channels; here the same survey and the same listener's ear
//! are handed out as futures that wait for nothing but answers. Each takes its kit and gives it back, so that the
//! caller may keep a future as long as it likes. It refuses to know what time it is and what is done with what was read.
//!
//! Invariant: nothing is decided here that `link`, `sweep` and `live` do not decide; this file only carries.

use std::sync::Arc;

use alloy::rpc::client::RpcClient;
use alloy::transports::IntoBoxTransport;
use serde_json::value::RawValue;
use tokio::sync::watch;

use super::abi::{RawLog, Trade};
use super::end::End;
use super::identity::check_chain;
use super::link::{Greeting, greet};
use super::live::{self, Heard, settled_log};
use super::pending;
use super::rpc::{Rpc, RpcError};
use super::sweep::{Found, Memory, Survey, accounts_for};
use super::tokens::Tokens;
use super::trouble::Trouble;
use super::{ChainConfig, ChainFacts, ChainStop, ChainView, Push, Sweep};
use crate::fills::{Book, TokenFact};
use crate::units::{BlockRef, LogId, Millis};

/// What a process knows of the chain before it reads it.
#[derive(Debug)]
pub struct Ground {
    config: ChainConfig,
    chain_id: u64,
    book: Book,
}

impl Ground {
    /// What every connection of one bot has in common.
    pub fn new(config: ChainConfig, chain_id: u64) -> Arc<Self> {
        let book = config.book(chain_id);
        Arc::new(Self { config, chain_id, book })
    }
}

/// What outlives a connection, and ends with the process.
#[derive(Debug)]
pub struct Remembered {
    memory: Memory,
    facts: watch::Sender<ChainFacts>,
    /// Which fill that waits was asked for last.
    asked: Option<LogId>,
}

impl Remembered {
    /// Nothing yet.
    #[must_use]
    pub fn new(ground: &Ground) -> Self {
        Self {
            memory: Memory::new(&ground.config),
            facts: watch::Sender::new(ChainFacts::default()),
            asked: None,
        }
    }
}

/// What reads the chain over one connection.
#[derive(Debug)]
pub struct Eye {
    ground: Arc<Ground>,
    rpc: Rpc,
    remembered: Remembered,
    tokens: Tokens,
    code_seen: bool,
}

/// What hears pushed logs over one connection.
#[derive(Debug)]
pub struct Ear {
    ground: Arc<Ground>,
    rpc: Rpc,
    tokens: Tokens,
}

/// What a look at the chain came to.
#[derive(Debug)]
pub enum Looked {
    /// A range, read and checked.
    Range(Sweep),
    /// The cursor is the head.
    Idle {
        /// Whether a block waits to be asked about again.
        waiting: bool,
    },
    /// The cursor is the head, and the amount of a fill that waited is told.
    Told(Push),
    /// Nothing to read yet.
    Behind(String),
    /// Answers that do not belong together, or none: read again after a pause.
    Again(String),
    /// A range was refused as too large: read again at once, less.
    TooLarge,
    /// The connection is over.
    Lost(String),
    /// The process must end.
    Stop(ChainStop),
}

/// What became of takes that the chain was asked about.
#[derive(Debug)]
pub enum Told {
    /// Their fills.
    Push(Push),
    /// No answer: the sweep asks again.
    Bell,
    /// The connection is over.
    Lost,
}

/// A connection's opening: the right chain, its head, the order books' code, the tokens. Gives back what outlives a
/// connection where there is none.
pub async fn connect(
    ground: Arc<Ground>,
    transports: [impl IntoBoxTransport; 2],
    mut remembered: Remembered,
    known: Vec<TokenFact>,
) -> Result<(Eye, Ear, BlockRef), (Remembered, Option<ChainStop>)> {
    let [for_eye, for_ear] = transports;
    let rpc = Rpc::over(RpcClient::new(for_eye, false));
    let opened = async {
        check_chain(&rpc, &ground.config, Some(ground.chain_id)).await?;
        greet(&rpc, &ground.config, &mut remembered.memory, &known).await
    };
    match opened.await {
        Ok(Greeting { head, code_seen, .. }) => {
            let tokens = || Tokens::new(&ground.config);
            let ear = Ear {
                ground: Arc::clone(&ground),
                rpc: Rpc::over(RpcClient::new(for_ear, false)),
                tokens: tokens(),
            };
            let tokens = tokens();
            Ok((Eye { ground, rpc, remembered, tokens, code_seen }, ear, head))
        }
        Err(End::Lost(_)) => Err((remembered, None)),
        Err(End::Stop(stop)) => Err((remembered, Some(stop))),
    }
}

impl Eye {
    /// Looks once; `now` is the bot's clock. Calls go out as they come, at no pace: what a limit refuses ends the look, and
    /// the next one goes on from there.
    pub async fn look(mut self, view: ChainView, now: Millis) -> (Self, Looked) {
        let Remembered { memory, facts, asked } = &mut self.remembered;
        let (pending, known) = (view.pending.clone(), view.tokens.clone());
        let mut survey = Survey {
            rpc: &self.rpc,
            config: &self.ground.config,
            book: &self.ground.book,
            facts,
            memory,
            tokens: self.tokens,
            code_seen: self.code_seen,
        };
        let found = survey.attempt(&view, now).await;
        let Survey { tokens, code_seen, .. } = survey;
        (self.tokens, self.code_seen) = (tokens, code_seen);
        let looked = match found {
            Ok(Found::Range(sweep)) => Looked::Range(sweep),
            Ok(Found::Idle) if !pending.is_empty() => {
                *asked = pending::after(&pending, *asked);
                let Ground { config, book, .. } = &*self.ground;
                let told = match *asked {
                    Some(log) => pending::told(&self.rpc, config, book, &known, log).await.ok().flatten(),
                    None => None,
                };
                let waiting = self.remembered.memory.is_waiting();
                told.map_or(Looked::Idle { waiting }, Looked::Told)
            }
            Ok(Found::Idle) => Looked::Idle { waiting: self.remembered.memory.is_waiting() },
            Ok(Found::Behind(why)) => Looked::Behind(why),
            Err(Trouble::Stop(stop)) => Looked::Stop(stop),
            Err(Trouble::Rpc(error @ RpcError::Gone(_))) => Looked::Lost(error.to_string()),
            Err(Trouble::Rpc(RpcError::RangeTooLarge(_))) => Looked::TooLarge,
            Err(trouble) => Looked::Again(trouble.to_string()),
        };
        (self, looked)
    }

    /// What the next connection starts with.
    pub fn close(self) -> Remembered {
        self.remembered
    }
}

/// Whether a range that was planned on one view may be handed over now that the engine has committed another.
pub fn may_be_handed_over(sweep: &Sweep, planned_on: &ChainView, now: &ChainView) -> bool {
    accounts_for(sweep, planned_on, now)
}

impl Ear {
    /// Hears pushed logs, as they came: what is to be handed over at once, the takes that [`Ear::ask`] must be called
    /// with, and whether the bell rang.
    pub fn hear(&mut self, known: &[TokenFact], pushed: &[Box<RawValue>]) -> (Push, Vec<Trade>, bool) {
        let logs: Vec<RawLog> = pushed.iter().filter_map(|raw| settled_log(raw)).collect();
        self.tokens.learn(known);
        let Heard { push, asking } = live::heard(&self.ground.book, &self.tokens, &logs);
        (push, asking, logs.len() < pushed.len())
    }

    /// Asks the chain what these takes need.
    pub async fn ask(self, takes: Vec<Trade>) -> (Self, Told) {
        let Self { ground, rpc, tokens } = self;
        let (tokens, answer) = live::weighed(&rpc, &ground.book, tokens, takes).await;
        let told = match answer {
            Ok(push) => Told::Push(push),
            Err(RpcError::Gone(_)) => Told::Lost,
            Err(_) => Told::Bell,
        };
        (Self { ground, rpc, tokens }, told)
    }
}
