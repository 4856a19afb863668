//! Fills whose amount the node did not tell are asked for again, one at a time (`protocol.md` 1.10).
//!
//! A node that has the state of their blocks may be behind the next connection, or a person sets another one. It refuses
//! to know amounts. Invariant: a node that still does not answer is asked once in [`PAUSE_S_MIN`] at most.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

use super::again::{TransactionError, events_of};
use super::end::{End, jittered};
use super::rpc::{Rpc, RpcError};
use super::tokens::Tokens;
use super::{ChainConfig, ChainStop, ChainView, Push};
use crate::engine::Input;
use crate::fills::{Book, Event, TokenFact};
use crate::units::LogId;

/// First pause after a fill that still has no amount; doubles.
const PAUSE_S_MIN: Duration = Duration::from_secs(30);
/// Longest such pause.
const PAUSE_S_MAX: Duration = Duration::from_secs(600);
/// On a new connection the sweep goes first.
const FIRST_S: Duration = Duration::from_secs(2);

/// Asks over one connection.
pub(super) struct PendingFills<'a> {
    pub(super) rpc: &'a Rpc,
    pub(super) config: &'a ChainConfig,
    pub(super) book: &'a Book,
    pub(super) inputs: &'a mpsc::Sender<Input>,
    pub(super) view: watch::Receiver<ChainView>,
}

impl PendingFills<'_> {
    /// Until the connection or the process must end.
    pub(super) async fn run(mut self) -> End {
        sleep(FIRST_S).await;
        let (mut last, mut pause) = (None, PAUSE_S_MIN);
        loop {
            let next = match self.view.wait_for(|view| !view.pending.is_empty()).await {
                Ok(view) => after(&view.pending, last),
                Err(_) => return End::Stop(ChainStop::EngineGone),
            };
            let Some(log) = next else { continue };
            last = Some(log);
            match self.ask(log).await {
                Ok(true) => pause = PAUSE_S_MIN,
                Ok(false) => {
                    sleep(jittered(pause)).await;
                    pause = (pause * 2).min(PAUSE_S_MAX);
                }
                Err(end) => return end,
            }
        }
    }

    /// Asks for one transaction; whether what waited at `log` was told.
    async fn ask(&mut self, log: LogId) -> Result<bool, End> {
        let known = self.view.borrow().tokens.clone();
        let push = match told(self.rpc, self.config, self.book, &known, log).await {
            Ok(Some(push)) => push,
            Ok(None) => return Ok(false),
            Err(TransactionError::Rpc(error @ RpcError::Gone(_))) => return Err(error.into()),
            Err(error) => {
                log::debug!("{log} still waits: {error}");
                return Ok(false);
            }
        };
        self.inputs.send(Input::AskedAgain(push)).await.map_err(|_| End::Stop(ChainStop::EngineGone))?;
        // The view with it is published after the commit.
        let over = self.view.wait_for(|view| !view.pending.contains(&log));
        match tokio::time::timeout(PAUSE_S_MIN, over).await {
            Ok(Err(_)) => Err(End::Stop(ChainStop::EngineGone)),
            Ok(Ok(_)) => Ok(true),
            Err(_) => Ok(false),
        }
    }
}

/// The transaction of a fill that waits, if the node tells its amount now.
pub(super) async fn told(
    rpc: &Rpc,
    config: &ChainConfig,
    book: &Book,
    known: &[TokenFact],
    log: LogId,
) -> Result<Option<Push>, TransactionError> {
    let mut tokens = Tokens::new(config);
    tokens.learn(known);
    let push = events_of(rpc, book, &mut tokens, log.tx_hash).await?;
    let mut events = push.events.iter().filter(|event| event.log() == log).peekable();
    let is_there = events.peek().is_some();
    let told = is_there && events.all(|event| !matches!(event, Event::Pending(_)));
    Ok(told.then_some(push))
}

/// The next one after `last`, from the first one on again.
pub(super) fn after(pending: &[LogId], last: Option<LogId>) -> Option<LogId> {
    pending.iter().find(|log| last.is_none_or(|last| **log > last)).or_else(|| pending.first()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::BlockRef;
    use alloy::primitives::B256;

    #[test]
    fn each_that_waits_has_its_turn() {
        let log = |number| LogId {
            block: BlockRef { number, hash: B256::ZERO },
            tx_hash: B256::ZERO,
            log_index: 0,
        };
        let pending = [log(1), log(2), log(5)];
        for (last, next) in [(None, 1), (Some(1), 2), (Some(2), 5), (Some(3), 5), (Some(5), 1), (Some(9), 1)]
        {
            assert_eq!(after(&pending, last.map(log)), Some(log(next)), "{last:?}");
        }
        assert_eq!(after(&[], None), None);
    }
}
