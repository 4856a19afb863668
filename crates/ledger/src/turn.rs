//! The turn: a batch of inputs is folded and committed, and only then its effects are given away.
//!
//! A running bot takes one turn after the other on a thread of its own; the trials take them at their own pace. Both
//! get the effects of a batch only from [`Turn::take`], which has committed by then. It refuses to know where inputs
//! come from and how an effect is performed.
//!
//! Invariant: no effect leaves before the transaction that caused it is durable.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use counterfill_core::engine::{Command, Effect, Engine, Input, Stop};

use super::Write;
use super::error::LedgerError;
use super::open::Ledger;
use crate::fills::Event;
use crate::units::Millis;

/// Why a turn was not taken. The process must end.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    /// The engine says so.
    #[error(transparent)]
    Stop(#[from] Stop),
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl TurnError {
    /// The process' exit code for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Stop(stop) => stop.exit_code(),
            Self::Ledger(error) => error.exit_code(),
        }
    }
}

/// What a turn led to; all of it is durable.
#[derive(Debug)]
pub struct Taken {
    /// What is to be done now.
    pub effects: Vec<Effect>,
    /// How long the commit took; none where there was nothing to write.
    pub committed_in: Option<Duration>,
}

/// Engine and ledger, which belong together: the engine's memory is never ahead of the ledger but within a turn.
#[derive(Debug)]
pub struct Turn {
    /// What decides.
    pub engine: Engine,
    /// What remembers.
    pub ledger: Ledger,
}

impl Turn {
    /// Folds a batch at `now`, commits what it led to, tells of every write, and returns what is to be done.
    ///
    /// # Errors
    /// Why the process must end. Nothing of the batch is committed then, or it is not known whether it is; the engine's
    /// memory is not the ledger's any more.
    pub fn take(
        &mut self,
        now: Millis,
        mut batch: Vec<Input>,
        tell: impl FnMut(&Write),
    ) -> Result<Taken, TurnError> {
        for input in &mut batch {
            self.remember(input)?;
        }
        let out = self.engine.step(now, batch)?;
        let mut committed_in = None;
        if !out.writes.is_empty() {
            let begun = Instant::now();
            self.ledger.commit(now, &out.writes)?;
            committed_in = Some(begun.elapsed());
            out.writes.iter().for_each(tell);
        }
        Ok(Taken { effects: out.effects, committed_in })
    }

    /// A transaction that is read again may be older than the engine's memory: the ledger says what it holds of it.
    fn remember(&self, input: &mut Input) -> Result<(), LedgerError> {
        let (Input::Replay { push, known, .. }
        | Input::Command(Command::CountSkipped { push, known, .. }, _)) = input
        else {
            return Ok(());
        };
        let fill = |event: &Event| match event {
            Event::Fill(fill) => Some(fill.id.tx_hash),
            _ => None,
        };
        for tx_hash in push.events.iter().filter_map(fill).collect::<BTreeSet<_>>() {
            known.extend(self.ledger.fill_states(tx_hash)?);
        }
        Ok(())
    }
}
