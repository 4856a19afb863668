//! Looks at what the tokens are worth while nothing trades: a multiplier may be announced, or come to a token that had none.
//! Neither emits anything when it comes into force.
//!
//! Invariant: one announcement is told once a process.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::end::End;
use super::rpc::Rpc;
use super::tokens::Tokens;
use super::worth::announced;
use super::{ChainConfig, ChainStop, ChainView, Push};
use crate::engine::Input;
use crate::fills::TokenKind;

/// The first look is after the sweep's first.
const FIRST_LOOK_S: Duration = Duration::from_secs(10);
const LOOK_PAUSE_S: Duration = Duration::from_secs(3_600);
/// After one that failed.
const RETRY_PAUSE_S: Duration = Duration::from_secs(60);

/// Looks once an hour over one connection.
pub(super) struct UnitWatch<'a> {
    pub(super) rpc: &'a Rpc,
    pub(super) config: &'a ChainConfig,
    pub(super) inputs: &'a mpsc::Sender<Input>,
    pub(super) view: watch::Receiver<ChainView>,
    pub(super) announced: &'a Mutex<BTreeSet<String>>,
}

impl UnitWatch<'_> {
    /// Until the connection or the process must end.
    pub(super) async fn run(self) -> End {
        sleep(FIRST_LOOK_S).await;
        loop {
            match self.look().await {
                Ok(()) => sleep(LOOK_PAUSE_S).await,
                Err(End::Stop(stop)) => return End::Stop(stop),
                // The connection's own watch says whether it is lost; until then this can wait.
                Err(End::Lost(why)) => {
                    log::debug!("what the tokens are worth could not be looked at: {why:?}");
                    sleep(RETRY_PAUSE_S).await;
                }
            }
        }
    }

    async fn look(&self) -> Result<(), End> {
        let known = self.view.borrow().tokens.clone();
        let mut tokens = Tokens::new(self.config);
        tokens.learn(&known);
        let head = self.rpc.head().await?;
        let learnt = tokens.changed(self.rpc, Some(head.hash)).await?;
        let learnt = learnt.map_err(|words| End::Stop(ChainStop::TokenChanged(words)))?;
        let mut notices = Vec::new();
        for fact in known {
            let TokenKind::Share(_, unit) = &fact.kind else { continue };
            let Some(last) = unit.multiplied(fact.address) else { continue };
            if let Some(words) = announced(self.rpc, last).await?
                && self.announced.lock().is_ok_and(|mut told| told.insert(words.clone()))
            {
                notices.push(words);
            }
        }
        tell(self.inputs, Push { tokens: learnt, notices, ..Push::default() }).await
    }
}

/// Hands a push to the engine, where it says anything.
pub(super) async fn tell(inputs: &mpsc::Sender<Input>, push: Push) -> Result<(), End> {
    if push == Push::default() {
        return Ok(());
    }
    inputs.send(Input::Push(push)).await.map_err(|_| End::Stop(ChainStop::EngineGone))
}
