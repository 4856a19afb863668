//! The turn: a batch of inputs is folded and committed, and only then its effects are given away.
//!
//! The line (`line`) takes one turn after the other on its own thread; the simulator takes them at its own pace. Both
//! get the effects of a batch only from [`Turn::take`], which has committed by then. It refuses to know where inputs
//! come from and how an effect is performed.
//!
//! Invariant: no effect leaves before the transaction that caused it is durable.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Exit;
use crate::engine::{Command, Effect, Engine, Input};
use crate::fills::Event;
use crate::ledger::{Ledger, Write};
use crate::serve::metrics;
use crate::units::Millis;

/// Engine and ledger, which belong together: the engine's memory is never ahead of the ledger but within a turn.
pub(crate) struct Turn {
    pub(crate) engine: Engine,
    pub(crate) ledger: Ledger,
}

impl Turn {
    /// Folds a batch at `now`, commits what it led to, tells of every write, and returns what is to be done.
    ///
    /// # Errors
    /// Why the process must end. Nothing of the batch is committed then, or it is not known whether it is; the engine's
    /// memory is not the ledger's any more.
    pub(crate) fn take(
        &mut self,
        now: Millis,
        mut batch: Vec<Input>,
        tell: impl FnMut(&Write),
    ) -> Result<Vec<Effect>, Exit> {
        for input in &mut batch {
            self.remember(input)?;
        }
        let out = self.engine.step(now, batch).map_err(|stop| Exit::from_stop(&stop))?;
        if !out.writes.is_empty() {
            let begun = Instant::now();
            self.ledger.commit(now, &out.writes)?;
            metrics::record_commit(begun.elapsed());
            out.writes.iter().for_each(tell);
        }
        Ok(out.effects)
    }

    /// A transaction that is read again may be older than the engine's memory: the ledger says what it holds of it.
    fn remember(&self, input: &mut Input) -> Result<(), Exit> {
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
