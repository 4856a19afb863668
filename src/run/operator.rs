//! The operator's commands, from `control.sock` to the line and back.
//!
//! It carries words and decides nothing: what may be resumed is the engine's business. A command to the engine has a
//! number; the line answers by it. What must be read from the chain first is read beside, so that a halt never waits
//! for a node.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use alloy::primitives::B256;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::line::Answer;
use super::tickers;
use crate::chain::{self, ChainConfig, ChainView, Push};
use crate::engine::{Command, Input};
use crate::hedges::Choice;
use crate::ledger::{PassedOver, Reader};
use crate::serve::Site;
use crate::serve::control::{ControlCommand, ControlRequest};
use crate::units::{BlockRef, FillId, Symbol};

const STOPPING: &str = "the bot is stopping";

type Reply = oneshot::Sender<Result<Value, String>>;

/// What a command may need.
pub(super) struct Operator {
    pub(super) site: Site,
    pub(super) inputs: mpsc::Sender<Input>,
    /// Where the line answers too.
    pub(super) answers: mpsc::UnboundedSender<Answer>,
    pub(super) again: Again,
}

/// Reads old transactions once more.
#[derive(Clone)]
pub(super) struct Again {
    pub(super) database: PathBuf,
    pub(super) chain: ChainConfig,
    pub(super) chain_id: u64,
    pub(super) view: watch::Receiver<ChainView>,
}

impl Operator {
    /// Serves commands until the control socket is gone.
    pub(super) async fn serve(
        self,
        mut requests: mpsc::Receiver<ControlRequest>,
        mut answers: mpsc::UnboundedReceiver<Answer>,
        stop: mpsc::Sender<()>,
    ) {
        let mut waiting: BTreeMap<u64, Reply> = BTreeMap::new();
        let mut number: u64 = 0;
        // Ends with this future.
        let mut reading = JoinSet::new();
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(ControlRequest { command, reply }) = request else { return };
                    number += 1;
                    waiting.retain(|_, reply| !reply.is_closed());
                    match self.begin(command, number, &stop, &mut reading).await {
                        None => drop(waiting.insert(number, reply)),
                        // The client may have gone away; nobody is left to tell.
                        Some(answer) => drop(reply.send(answer)),
                    }
                }
                Some((number, answer)) = answers.recv() => {
                    if let Some(reply) = waiting.remove(&number) {
                        let _ = reply.send(answer.map(Value::String));
                    }
                }
                Some(_) = reading.join_next() => {}
            }
        }
    }

    /// Answers at once, or hands the command to the line, which answers by its number.
    async fn begin(
        &self,
        command: ControlCommand,
        number: u64,
        stop: &mpsc::Sender<()>,
        reading: &mut JoinSet<()>,
    ) -> Option<Result<Value, String>> {
        let command = match command {
            ControlCommand::Status {} => {
                return Some(serde_json::to_value(self.site.status()).map_err(|error| error.to_string()));
            }
            ControlCommand::Unsettled {} => {
                let waiting = self.site.facts.borrow().as_ref().map(|facts| facts.unsettled.clone());
                let told = serde_json::to_value(waiting.unwrap_or_default());
                return Some(told.map_err(|error| error.to_string()));
            }
            ControlCommand::Stop {} => {
                // A full channel holds the same wish already.
                let _ = stop.try_send(());
                return Some(Ok(json!("stopping")));
            }
            ControlCommand::Halt { symbol, reason, who } => {
                if let Some(Err(why)) = symbol.as_ref().map(|symbol| self.must_be_known(symbol)) {
                    return Some(Err(why));
                }
                Command::Halt { symbol, reason, who }
            }
            ControlCommand::Resume {
                symbol: Some(symbol),
                choice: Some(Choice::CountSkipped),
                reason,
                who,
                ..
            } => {
                let again = self.again.clone();
                self.read(reading, number, async move {
                    let (asked, push) = again.passed_over(&symbol).await?;
                    let known = Vec::new();
                    Ok(Input::Command(
                        Command::CountSkipped { symbol, asked, push, known, reason, who },
                        number,
                    ))
                });
                return None;
            }
            ControlCommand::Resume { symbol, kind, choice, reason, who } => {
                Command::Resume { symbol, kind, choice, reason, who }
            }
            ControlCommand::Reconcile { target, decision, reason, who } => {
                Command::Reconcile { target, decision, reason, who }
            }
            ControlCommand::Replay { tx } => {
                let again = self.again.clone();
                self.read(reading, number, async move {
                    let push = again.transaction(tx).await?;
                    Ok(Input::Replay { push, known: Vec::new(), reply: number })
                });
                return None;
            }
        };
        match self.inputs.send(Input::Command(command, number)).await {
            Ok(()) => None,
            Err(_) => Some(Err(STOPPING.to_owned())),
        }
    }

    fn must_be_known(&self, symbol: &Symbol) -> Result<(), String> {
        let (facts, view) = (self.site.facts.borrow(), self.again.view.borrow());
        tickers::must_be_known(
            symbol,
            &tickers::known(facts.as_ref(), &view.tokens, &self.again.chain.listing()),
        )
    }

    /// Hands what comes of `read` to the line, or the words in which it failed to whoever asked.
    fn read(
        &self,
        reading: &mut JoinSet<()>,
        number: u64,
        read: impl Future<Output = Result<Input, String>> + Send + 'static,
    ) {
        let (inputs, answers) = (self.inputs.clone(), self.answers.clone());
        reading.spawn(async move {
            let handed = match read.await {
                Ok(input) => inputs.send(input).await.map_err(|_| STOPPING.to_owned()),
                Err(why) => Err(why),
            };
            if let Err(why) = handed {
                // Nobody listens any more only where the process ends.
                let _ = answers.send((number, Err(why)));
            }
        });
    }
}

impl Again {
    async fn transaction(&self, tx: B256) -> Result<Push, String> {
        let tokens = self.view.borrow().tokens.clone();
        let read = chain::transaction(&self.chain, self.chain_id, &tokens, tx).await;
        read.map_err(|error| error.to_string())
    }

    /// What the chain has now of the trades of a ticker that were passed over.
    async fn passed_over(&self, symbol: &Symbol) -> Result<(BTreeSet<FillId>, Push), String> {
        let (database, listing) = (self.database.clone(), self.chain.listing());
        let found = tokio::task::spawn_blocking(move || Reader::open(&database)?.passed_over(&listing)).await;
        let found = found.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let (asked, trades): (BTreeSet<FillId>, BTreeSet<(BlockRef, B256)>) = found
            .into_iter()
            .filter(|found| found.symbol == *symbol && !found.ignored)
            .map(|PassedOver { trade, .. }| {
                let block = BlockRef { number: trade.block_number, hash: trade.id.block_hash };
                (trade.id, (block, trade.id.tx_hash))
            })
            .unzip();
        let tokens = self.view.borrow().tokens.clone();
        let read = chain::passed_over(&self.chain, self.chain_id, &tokens, &trades).await;
        read.map(|push| (asked, push)).map_err(|error| format!("{error}; nothing has changed"))
    }
}
