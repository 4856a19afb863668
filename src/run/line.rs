//! The line: the one thread that owns engine and ledger.
//!
//! Inputs queue in one bounded channel; the line takes a batch, takes its [`Turn`] with it, publishes what may be known,
//! and performs the effects that the turn gave away. It decides nothing.
//!
//! Invariant: every effect performed here came out of a turn that was committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc, watch};

use super::Exit;
use super::desk::Desk;
use crate::alerts::Alerts;
use crate::chain::ChainView;
use crate::crash::{self, Point};
use crate::engine::{Effect, EngineSnapshot, Input};
use crate::ledger::{Taken, Turn, Write};
use crate::serve::metrics;
use crate::units::Millis;

/// Inputs folded into one transaction at most; a burst of 5,000 fills costs about 20 fsyncs.
const BATCH_INPUTS_MAX: usize = 256;
/// How often at most what people may know is built anew: it is as large as there are tickers. A tick shows it at once.
const FACTS_PAUSE: Duration = Duration::from_millis(50);
/// How long a stop waits for the order call in flight (`protocol.md` 5.7).
const STOP_WAIT: Duration = Duration::from_secs(5);

/// An answer to an operator's command, by its number.
pub(super) type Answer = (u64, Result<String, String>);

/// Everything the line owns or speaks to.
pub(super) struct Line {
    pub(super) turn: Turn,
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) desk: Desk,
    pub(super) view: watch::Sender<ChainView>,
    pub(super) facts: watch::Sender<Option<EngineSnapshot>>,
    pub(super) bell: Arc<Notify>,
    pub(super) answers: mpsc::UnboundedSender<Answer>,
    pub(super) tell: Arc<dyn Fn(&Write) + Send + Sync>,
    pub(super) alerts: Alerts,
    /// The chain's part that was last shown.
    pub(super) shown_revision: Option<u64>,
    /// When what people may know was last shown.
    pub(super) shown_at: Option<Instant>,
}

/// Whether somebody waits for what this leads to, or a fifth of a second has passed.
const fn must_be_shown(input: &Input) -> bool {
    matches!(
        input,
        Input::Tick | Input::Command(..) | Input::Replay { .. } | Input::Stop | Input::Connected { .. }
    )
}

/// Whether whoever hears of it looks at what is shown next: the sweep, and an operator.
const fn is_answered_by_what_is_shown(effect: &Effect) -> bool {
    matches!(effect, Effect::Sweep | Effect::Reply(..))
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
                crash::point(Point::StopTaken);
                stopping = Some(Instant::now());
            }
            if let Err(exit) = self.batch(batch) {
                return exit;
            }
            if let Some(since) = stopping
                && (!self.turn.engine.awaits_answer() || since.elapsed() >= STOP_WAIT)
            {
                return self.close();
            }
        }
    }

    fn batch(&mut self, batch: Vec<Input>) -> Result<(), Exit> {
        crash::point(Point::BatchTaken);
        let asked = batch.iter().any(must_be_shown);
        self.desk.must_be_whole()?;
        let Taken { effects, committed_in } =
            self.turn.take(Millis::now(), batch, |write| (self.tell)(write))?;
        if let Some(time) = committed_in {
            metrics::record_commit(time);
        }
        // An order waits for nobody who only looks on.
        let (orders, others): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::Place(_)));
        orders.into_iter().try_for_each(|effect| self.perform(effect))?;
        let (shown, now): (Vec<_>, Vec<_>) = others.into_iter().partition(is_answered_by_what_is_shown);
        now.into_iter().try_for_each(|effect| self.perform(effect))?;
        self.publish(asked);
        shown.into_iter().try_for_each(|effect| self.perform(effect))?;
        self.turn.ledger.move_long_log(!self.inputs.is_empty());
        Ok(())
    }

    /// Shows what may be known: to the chain side when its part has changed, to people as often as they can see it.
    fn publish(&mut self, asked: bool) {
        let revision = self.turn.engine.chain_revision();
        if self.shown_revision != Some(revision) {
            self.shown_revision = Some(revision);
            let view = self.turn.engine.view();
            self.view.send_if_modified(|old| {
                let changed = *old != view;
                *old = view;
                changed
            });
        }
        if asked || self.shown_at.is_none_or(|at| at.elapsed() >= FACTS_PAUSE) {
            self.shown_at = Some(Instant::now());
            self.facts.send_replace(Some(self.turn.engine.facts()));
        }
    }

    fn perform(&self, effect: Effect) -> Result<(), Exit> {
        match effect {
            Effect::Place(ticket) => {
                crash::point(Point::EffectPlace);
                self.desk.place(ticket)?;
            }
            Effect::Ask(question) => {
                crash::point(Point::EffectAsk);
                self.desk.ask(question)?;
            }
            Effect::Sweep => self.bell.notify_one(),
            Effect::Reply(number, answer) => {
                crash::point(Point::EffectReply);
                // Nobody waits any more: the operator's socket was closed.
                let _ = self.answers.send((number, answer));
            }
            Effect::Alert(text) => {
                log::warn!("ALERT {text}");
                self.alerts.raise(&text);
            }
            Effect::Stop(stop) => return Err(stop.into()),
        }
        Ok(())
    }

    fn close(self) -> Exit {
        if self.turn.engine.awaits_answer() {
            log::warn!(
                "an order call has no answer yet; its intent stays Sent and the next start asks the broker"
            );
        }
        match self.turn.ledger.close() {
            Ok(closed) => {
                if let Some(words) = closed.words() {
                    log::warn!("{words}");
                }
                Exit::done()
            }
            Err(error) => error.into(),
        }
    }
}
