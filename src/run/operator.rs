//! The operator's commands, from `control.sock` to the line and back.
//!
//! It carries words and decides nothing: what may be resumed is the engine's business. A command to the engine has a
//! number; the line answers by it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use super::line::Answer;
use crate::chain::{self, ChainConfig, ChainView};
use crate::engine::{Command, Input};
use crate::serve::Site;
use crate::serve::control::{ControlCommand, ControlRequest};

type Reply = oneshot::Sender<Result<Value, String>>;

/// What a command may need.
pub(super) struct Operator {
    pub(super) site: Site,
    pub(super) inputs: mpsc::Sender<Input>,
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
        loop {
            tokio::select! {
                request = requests.recv() => {
                    let Some(ControlRequest { command, reply }) = request else { return };
                    number += 1;
                    waiting.retain(|_, reply| !reply.is_closed());
                    match self.begin(command, number, &stop).await {
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
            }
        }
    }

    /// Answers at once, or hands the command to the line, which answers by its number.
    async fn begin(
        &self,
        command: ControlCommand,
        number: u64,
        stop: &mpsc::Sender<()>,
    ) -> Option<Result<Value, String>> {
        let input = match command {
            ControlCommand::Status {} => {
                return Some(serde_json::to_value(self.site.status()).map_err(|error| error.to_string()));
            }
            ControlCommand::Stop {} => {
                // A full channel holds the same wish already.
                let _ = stop.try_send(());
                return Some(Ok(json!("stopping")));
            }
            ControlCommand::Halt { symbol, reason, who } => {
                Input::Command(Command::Halt { symbol, reason, who }, number)
            }
            ControlCommand::Resume { symbol, kind, reason, who } => {
                Input::Command(Command::Resume { symbol, kind, reason, who }, number)
            }
            ControlCommand::Replay { tx } => {
                let tokens = self.view.borrow().tokens.clone();
                match chain::transaction(&self.chain, self.chain_id, &tokens, tx).await {
                    Ok(push) => Input::Replay { push, known: Vec::new(), reply: number },
                    Err(error) => return Some(Err(error.to_string())),
                }
            }
        };
        match self.inputs.send(input).await {
            Ok(()) => None,
            Err(_) => Some(Err("the bot is stopping".to_owned())),
        }
    }
}
