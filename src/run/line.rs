//! The line: the one thread that owns engine and ledger.
//!
//! Inputs queue in one bounded channel; the line takes a batch, steps the engine, commits its writes in one
//! transaction, publishes what may be known, and only then performs the effects. It decides nothing.
//!
//! Invariant: no effect is performed before the transaction that caused it is durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};

use super::Exit;
use super::desk::Desk;
use crate::chain::ChainView;
use crate::engine::{Effect, Engine, Facts, Input};
use crate::fills::Event;
use crate::ledger::{Ledger, Write};
use crate::serve::metrics;
use crate::units::Millis;

/// Inputs folded into one transaction at most; a burst of 5,000 fills costs about 20 fsyncs.
const BATCH_INPUTS_MAX: usize = 256;
/// How long a stop waits for the order call in flight (`protocol.md` 5.7).
const STOP_WAIT: Duration = Duration::from_secs(5);

/// An answer to an operator's command, by its number.
pub(super) type Answer = (u64, Result<String, String>);

/// Everything the line owns or speaks to.
pub(super) struct Line {
    pub(super) engine: Engine,
    pub(super) ledger: Ledger,
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) desk: Desk,
    pub(super) view: watch::Sender<ChainView>,
    pub(super) facts: watch::Sender<Option<Facts>>,
    pub(super) bell: Arc<Notify>,
    pub(super) answers: mpsc::UnboundedSender<Answer>,
    pub(super) tell: Arc<dyn Fn(&Write) + Send + Sync>,
}

impl Line {
    /// Runs until it is told to stop, or must.
    pub(super) fn run(mut self) -> Exit {
        let mut stopping: Option<Instant> = None;
        loop {
            let Some(first) = self.inputs.blocking_recv() else {
                return Exit::bug("every source of inputs is gone");
            };
            let mut batch = vec![first];
            while batch.len() < BATCH_INPUTS_MAX
                && let Ok(input) = self.inputs.try_recv()
            {
                batch.push(input);
            }
            if stopping.is_none() && batch.contains(&Input::Stop) {
                stopping = Some(Instant::now());
            }
            if let Err(exit) = self.batch(batch) {
                return exit;
            }
            if let Some(since) = stopping
                && (!self.engine.awaits_answer() || since.elapsed() >= STOP_WAIT)
            {
                return self.close();
            }
        }
    }

    fn batch(&mut self, mut batch: Vec<Input>) -> Result<(), Exit> {
        self.desk.must_be_whole()?;
        for input in &mut batch {
            self.remember(input)?;
        }
        let now = Millis::now();
        let out = self.engine.step(now, batch).map_err(|stop| Exit::from_stop(&stop))?;
        if !out.writes.is_empty() {
            let begun = Instant::now();
            self.ledger.commit(now, &out.writes)?;
            metrics::record_commit(begun.elapsed());
            out.writes.iter().for_each(|write| (self.tell)(write));
        }
        let view = self.engine.view();
        self.view.send_if_modified(|old| {
            let changed = *old != view;
            *old = view;
            changed
        });
        self.facts.send_replace(Some(self.engine.facts()));
        out.effects.into_iter().try_for_each(|effect| self.perform(effect))
    }

    /// A replayed transaction may be older than the engine's memory: the ledger says what it holds of it.
    fn remember(&self, input: &mut Input) -> Result<(), Exit> {
        let Input::Replay { push, known, .. } = input else { return Ok(()) };
        let fill = push.events.iter().find_map(|event| match event {
            Event::Fill(fill) => Some(fill.id.tx_hash),
            _ => None,
        });
        if let Some(tx_hash) = fill {
            *known = self.ledger.fill_states(tx_hash)?;
        }
        Ok(())
    }

    fn perform(&self, effect: Effect) -> Result<(), Exit> {
        match effect {
            Effect::Place(ticket) => self.desk.place(ticket)?,
            Effect::Ask(question) => self.desk.ask(question)?,
            Effect::Sweep => self.bell.notify_one(),
            Effect::Reply(number, answer) => {
                // Nobody waits any more: the operator's socket was closed.
                let _ = self.answers.send((number, answer));
            }
            Effect::Alert(text) => log::warn!("ALERT {text}"),
            Effect::Stop(stop) => return Err(Exit::from_stop(&stop)),
        }
        Ok(())
    }

    fn close(self) -> Exit {
        if self.engine.awaits_answer() {
            log::warn!(
                "an order call has no answer yet; its intent stays Sent and the next start asks the broker"
            );
        }
        match self.ledger.close() {
            Ok(()) => Exit::done(),
            Err(error) => error.into(),
        }
    }
}
