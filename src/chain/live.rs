//! The doorbell: what the node pushes, and the watch over whether it still does.
//!
//! A pushed take goes to the engine at once; everything else only wakes the sweep. Losing every push costs latency, never
//! a fill, so nothing here is kept for later. It refuses to know cursor and window.
//!
//! Invariant: every way a subscription can fail (an end, a lag, silence) ends the connection or rings the bell.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::abi::{LogKind, RawLog};
use super::link::{End, note};
use super::rpc::{Feed, Notice, Rpc, RpcError};
use super::tokens::Tokens;
use super::wire::{PushedLog, pushed_head, pushed_log};
use super::{ChainFacts, ChainStop, ChainView, Push};
use crate::engine::Input;
use crate::fills::{self, Book, Event};
use crate::units::Millis;

/// Logs handed over at once.
const PUSH_LOGS_MAX: usize = 256;
/// Pause between two questions for the block number: a subscription that died in silence is noticed within seconds.
const PULSE_S: Duration = Duration::from_secs(2);
/// So many of them running without an answer, and the connection is taken for dead.
const PULSES_MISSED_MAX: u32 = 3;

/// Reads pushed logs until the connection or the process must end.
pub(super) struct Listener<'a> {
    pub(super) rpc: &'a Rpc,
    pub(super) book: &'a Book,
    pub(super) tokens: Tokens,
    pub(super) inputs: &'a mpsc::Sender<Input>,
    pub(super) view: watch::Receiver<ChainView>,
    pub(super) bell: &'a Notify,
}

impl Listener<'_> {
    pub(super) async fn run(mut self, mut feed: Feed) -> End {
        loop {
            let mut next = match feed.next().await {
                Ok(notice) => Some(notice),
                Err(error) => return error.into(),
            };
            let mut takes = Vec::new();
            while let Some(notice) = next {
                takes.extend(self.take(notice));
                next = if takes.len() < PUSH_LOGS_MAX { feed.ready() } else { None };
            }
            if let Err(end) = self.push(takes).await {
                return end;
            }
        }
    }

    /// The take in a notice; anything else rings the bell.
    fn take(&self, notice: Notice) -> Option<RawLog> {
        let log = match notice {
            Notice::Item(raw) => pushed_log(&raw),
            Notice::Lagged(lost) => {
                log::warn!("{lost} pushed logs were lost unread; the sweep reads them");
                PushedLog::Bell
            }
        };
        let take = take_of(log);
        if take.is_none() {
            self.bell.notify_one();
        }
        take
    }

    async fn push(&mut self, takes: Vec<RawLog>) -> Result<(), End> {
        self.tokens.learn(&self.view.borrow().tokens);
        match heard(self.rpc, self.book, &mut self.tokens, &takes).await {
            Ok(Heard::Push(push)) => {
                self.inputs.send(Input::Push(push)).await.map_err(|_| End::Stop(ChainStop::EngineGone))
            }
            Ok(Heard::Bell) => {
                self.bell.notify_one();
                Ok(())
            }
            Ok(Heard::Nothing) => Ok(()),
            Err(error @ RpcError::Gone(_)) => Err(error.into()),
            Err(error) => {
                log::debug!("pushed logs wait for the sweep: {error}");
                self.bell.notify_one();
                Ok(())
            }
        }
    }
}

/// What pushed takes come to.
#[derive(Debug)]
pub(super) enum Heard {
    /// Fills of ours.
    Push(Push),
    /// Only a reason to look.
    Bell,
    /// None of them is ours.
    Nothing,
}

/// The fills among the takes. What is skipped or dead is for the sweep to tell: it may be of an orphan, and the state of
/// a block just pushed may not be there to be asked.
pub(super) async fn heard(
    rpc: &Rpc,
    book: &Book,
    tokens: &mut Tokens,
    takes: &[RawLog],
) -> Result<Heard, RpcError> {
    let found = fills::trades(book, takes);
    if found.trades.is_empty() {
        return Ok(Heard::Nothing);
    }
    let weighed = tokens.weigh(rpc, book, &found.trades).await?;
    let is_fill = |event: &Event| matches!(event, Event::Fill(_));
    let events: Vec<Event> = weighed.events.into_iter().filter(is_fill).collect();
    if events.is_empty() {
        return Ok(Heard::Bell);
    }
    Ok(Heard::Push(Push { events, tokens: weighed.tokens }))
}

/// The take in a pushed log; none where it is only a reason to look.
pub(super) fn take_of(log: PushedLog) -> Option<RawLog> {
    match log {
        PushedLog::Log(log) if matches!(log.kind(), Some(LogKind::Take(_))) => Some(log),
        PushedLog::Log(_) | PushedLog::Bell => None,
    }
}

/// Reads pushed heads; ends when there is none for `head_age_max`.
pub(super) async fn heads(
    mut feed: Feed,
    facts: &watch::Sender<ChainFacts>,
    bell: &Notify,
    head_age_max: Duration,
) -> End {
    let mut deadline = Instant::now() + head_age_max;
    loop {
        match timeout_at(deadline, feed.next()).await {
            Err(_) => {
                let age = head_age_max.as_secs();
                return End::Lost(format!("the node pushed no new head for {age} s").into());
            }
            Ok(Err(error)) => return error.into(),
            Ok(Ok(notice)) => {
                if let Some(number) = number_of(&notice) {
                    deadline = Instant::now() + head_age_max;
                    note(facts, |facts| facts.see_head(number, Millis::now()));
                }
                bell.notify_one();
            }
        }
    }
}

fn number_of(notice: &Notice) -> Option<u64> {
    match notice {
        Notice::Item(raw) => pushed_head(raw as &RawValue),
        Notice::Lagged(_) => None,
    }
}

/// Asks for the block number every 2 s: whether the chain answers, and whether heads come that are not pushed.
pub(super) async fn pulse(rpc: &Rpc, facts: &watch::Sender<ChainFacts>, bell: &Notify) -> End {
    let mut beat = interval(PULSE_S);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed = 0;
    loop {
        beat.tick().await;
        match rpc.block_number().await {
            Ok(number) => {
                missed = 0;
                if facts.borrow().head.is_none_or(|head| number > head) {
                    bell.notify_one();
                }
                note(facts, |facts| {
                    let now = Millis::now();
                    facts.answered_at = Some(now);
                    facts.see_head(number, now);
                });
            }
            Err(error @ RpcError::Gone(_)) => return error.into(),
            // A node that answers with an error is there, and another socket would not change its mind.
            Err(RpcError::Timeout(_)) => missed += 1,
            Err(error) => log::debug!("eth_blockNumber: {error}"),
        }
        if missed >= PULSES_MISSED_MAX {
            let why = format!("the node did not answer eth_blockNumber {missed} times running");
            return End::Lost(why.into());
        }
    }
}
