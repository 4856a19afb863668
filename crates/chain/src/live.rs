//! The subscription: what the node pushes, and the watch over whether it still does.
//!
//! A pushed take of which everything is known goes to the engine as a fill at once. Any other pushed log that is ours,
//! or may be, is evidence: the engine keeps its place until an answer shows it or denies it (`protocol.md` 1.1), so that
//! an `eth_getLogs` that lags the push loses nothing. This file refuses to know cursor and window.
//!
//! Invariant: every way a subscription can fail (an end, a lag, silence) ends the connection or rings the bell.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use alloy::primitives::B256;
use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::abi::{Leg, LogKind, RawLog, Trade};
use super::end::{End, note};
use super::rpc::{Feed, Notice, Rpc, RpcError};
use super::tokens::Tokens;
use super::wire::{PushedLog, pushed_head, pushed_log};
use super::{ChainFacts, ChainStop, ChainView, Push};
use crate::engine::Input;
use crate::fills::{self, Book, Event};
use crate::units::{LogId, Millis};

/// Logs handed over at once.
const PUSH_LOGS_MAX: usize = 256;
/// Takes that may wait for what the chain says of their tokens. The sweep reads what does not fit.
const ASKING_TAKES_MAX: usize = 4096;
/// Pause between two questions for the block number: a subscription that died in silence is noticed within seconds.
const PULSE_S: Duration = Duration::from_secs(2);
/// This many of them in a row without an answer, and the connection is taken for dead.
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

/// Takes whose tokens are being asked about, and the knowledge of tokens that this adds to.
type Asking<'a> = Pin<Box<dyn Future<Output = (Tokens, Result<Push, RpcError>)> + Send + 'a>>;

impl<'a> Listener<'a> {
    /// `asker` knows the same listing as [`Listener::tokens`].
    pub(super) async fn run(mut self, mut feed: Feed, asker: Tokens) -> End {
        let mut asker = Some(asker);
        let mut asking: Option<Asking<'a>> = None;
        let mut queued: Vec<Trade> = Vec::new();
        loop {
            if !queued.is_empty()
                && let Some(mut tokens) = asker.take()
            {
                tokens.learn(&self.view.borrow().tokens);
                let takes = std::mem::take(&mut queued);
                asking = Some(Box::pin(weighed(self.rpc, self.book, tokens, takes)));
            }
            // A take of a known share must not wait for the answers that another one needs.
            let done = tokio::select! {
                notice = feed.next() => match notice {
                    Ok(notice) => self.hear(notice, &mut feed, &mut queued).await,
                    Err(error) => Err(error.into()),
                },
                (tokens, answer) = async {
                    match &mut asking {
                        Some(asking) => asking.await,
                        None => pending().await,
                    }
                } => {
                    (asker, asking) = (Some(tokens), None);
                    self.answered(answer).await
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Hands over what a burst of notices holds, and queues the takes that the chain must be asked about.
    async fn hear(&mut self, first: Notice, feed: &mut Feed, queued: &mut Vec<Trade>) -> Result<(), End> {
        let (mut next, mut logs) = (Some(first), Vec::new());
        while let Some(notice) = next {
            match log_of(notice) {
                Some(log) => logs.push(log),
                None => self.bell.notify_one(),
            }
            next = if logs.len() < PUSH_LOGS_MAX { feed.ready() } else { None };
        }
        self.tokens.learn(&self.view.borrow().tokens);
        let Heard { push, asking } = heard(self.book, &self.tokens, &logs);
        queued.extend(asking.into_iter().take(ASKING_TAKES_MAX.saturating_sub(queued.len())));
        self.hand_over(push).await
    }

    async fn answered(&self, answer: Result<Push, RpcError>) -> Result<(), End> {
        match answer {
            Ok(push) => self.hand_over(push).await,
            Err(error @ RpcError::Gone(_)) => Err(error.into()),
            Err(error) => {
                log::debug!("pushed takes wait for the sweep: {error}");
                self.bell.notify_one();
                Ok(())
            }
        }
    }

    async fn hand_over(&self, push: Push) -> Result<(), End> {
        if push == Push::default() {
            return Ok(());
        }
        self.inputs.send(Input::Push(push)).await.map_err(|_| End::Stop(ChainStop::EngineGone))
    }
}

/// The log in a notice; none where it is only a reason to look.
fn log_of(notice: Notice) -> Option<RawLog> {
    match notice {
        Notice::Item(raw) => settled_log(&raw),
        Notice::Lagged(lost) => {
            log::warn!("{lost} pushed logs were lost unread; the sweep reads them");
            None
        }
    }
}

/// A pushed log that says where it stands; none where it is only a reason to look.
pub(super) fn settled_log(raw: &RawValue) -> Option<RawLog> {
    match pushed_log(raw) {
        PushedLog::Log(log) => Some(log),
        PushedLog::Bell => None,
    }
}

/// What pushed logs come to without asking anybody.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Fills of takes whose tokens are known, and the places of all else that is ours or may be.
    pub(super) push: Push,
    /// Takes of ours that the chain must be asked about. Their places are in `push` as well: what becomes of the
    /// question is not certain.
    pub(super) asking: Vec<Trade>,
}

/// Sorts pushed logs. Only takes become fills here: a clear whose amounts were not pushed must not be paired with those
/// of another. What is skipped or dead is for the sweep to tell, for it may be of an orphan.
pub(super) fn heard(book: &Book, tokens: &Tokens, logs: &[RawLog]) -> Heard {
    let found = fills::trades(book, logs);
    let mut heard = Heard::default();
    let mut evidence: BTreeSet<LogId> = found.dead.iter().map(fills::DeadEvent::log).collect();
    evidence.extend(found.unpaired.iter().map(|unpaired| unpaired.clear.id()));
    evidence.extend(amounts_alone(book, logs));
    for trade in found.trades {
        let event = (trade.leg == Leg::Take).then(|| tokens.weigh_known(book, &trade)).flatten();
        match event {
            Some(event @ Event::Fill(_)) => heard.push.events.push(event),
            _ => {
                evidence.insert(trade.log.id());
                heard.asking.extend((trade.leg == Leg::Take && event.is_none()).then_some(trade));
            }
        }
    }
    heard.push.evidence = evidence.into_iter().collect();
    heard
}

/// The places of amounts without their clear: whose they are is not known.
fn amounts_alone(book: &Book, logs: &[RawLog]) -> Vec<LogId> {
    let cleared: BTreeSet<B256> = logs
        .iter()
        .filter(|log| matches!(log.kind(), Some(LogKind::Clear(_))))
        .map(|log| log.tx_hash)
        .collect();
    logs.iter()
        .filter(|log| {
            matches!(log.kind(), Some(LogKind::AfterClear(_))) && book.orderbooks.contains(&log.address)
        })
        .filter(|log| !cleared.contains(&log.tx_hash))
        .map(RawLog::id)
        .collect()
}

/// The fills among takes, after asking what they need; and the knowledge of tokens, with what was learnt. The state of a
/// block just pushed may not be there to be asked: then the sweep asks again, for the places are known as evidence.
pub(super) async fn weighed(
    rpc: &Rpc,
    book: &Book,
    mut tokens: Tokens,
    takes: Vec<Trade>,
) -> (Tokens, Result<Push, RpcError>) {
    let weighed = tokens.weigh(rpc, book, &takes, 0).await;
    let push = weighed.map(|weighed| {
        let is_fill = |event: &Event| matches!(event, Event::Fill(_));
        let events: Vec<Event> = weighed.events.into_iter().filter(is_fill).collect();
        // A token that no fill comes with is for the sweep to tell of as well.
        let tokens = if events.is_empty() { Vec::new() } else { weighed.tokens };
        Push { events, tokens, ..Push::default() }
    });
    (tokens, push)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fills::{Hold, TokenFact, TokenKind, Unit};
    use crate::units::ONE;
    use alloy::primitives::Address;
    use counterfill_sim::logs::{Asset, BookKind, Leg as SimLeg, OrderBook};
    use std::collections::BTreeMap;

    const OWNER: Address = Address::repeat_byte(1);
    const STRANGER: Address = Address::repeat_byte(2);
    const SHARE: Asset = Asset::new(Address::repeat_byte(0x11), 18);
    const USDC: Asset = Asset::new(Address::repeat_byte(0x12), 6);
    const BOOK: OrderBook = OrderBook { address: Address::repeat_byte(0x21), kind: BookKind::V5 };

    fn leg(owner: Address) -> SimLeg {
        SimLeg { owner, input: USDC, input_atoms: ONE * 100, output: SHARE, output_atoms: ONE }
    }

    fn against(owner: Address) -> SimLeg {
        SimLeg { owner, input: SHARE, input_atoms: ONE, output: USDC, output_atoms: ONE * 100 }
    }

    /// The logs of one transaction, as a subscription pushes them.
    fn pushed(tx: u8, logs: &[alloy::primitives::Log]) -> Vec<RawLog> {
        let placed = logs.iter().zip(0_u64..).map(|(log, log_index)| RawLog {
            address: log.address,
            topics: log.data.topics().to_vec(),
            data: log.data.data.clone(),
            block_number: 7,
            block_hash: B256::repeat_byte(7),
            block_time: None,
            tx_hash: B256::repeat_byte(tx),
            log_index: u64::from(tx) * 10 + log_index,
        });
        placed.collect()
    }

    #[test]
    fn what_is_no_fill_at_once_and_may_be_ours_is_evidence() {
        let book = Book {
            chain_id: 1,
            orderbooks: [BOOK.address].into(),
            owners: [OWNER].into(),
            hedge_from_block: 0,
            symbols: None,
        };
        let fact = |asset: Asset, kind| TokenFact {
            address: asset.address,
            symbol: "?".into(),
            decimals: asset.decimals,
            kind,
        };
        let share = fact(SHARE, TokenKind::Share("TSLA".parse().unwrap(), Unit::One));
        let wrapped = fact(
            SHARE,
            TokenKind::Share(
                "TSLA".parse().unwrap(),
                Unit::Asked { holds: vec![Hold::Vault(USDC.address)], multiplied: false },
            ),
        );
        let cash = fact(USDC, TokenKind::Cash);
        let known = |facts: &[TokenFact]| {
            let mut tokens = Tokens::listing(BTreeMap::new(), None);
            tokens.learn(facts);
            tokens
        };
        let listed = known(&[share, cash.clone()]);
        let vault = known(&[wrapped, cash]);
        let strange = known(&[]);
        let take = pushed(1, &[BOOK.take_only(&leg(OWNER))]);
        let strangers_take = pushed(2, &[BOOK.take_only(&leg(STRANGER))]);
        let clear = pushed(3, &BOOK.clear(&leg(OWNER), &against(STRANGER)));
        let strangers_clear = pushed(4, &BOOK.clear(&leg(STRANGER), &against(STRANGER)));
        let broken: Vec<RawLog> = pushed(5, &[BOOK.take_only(&leg(OWNER))])
            .into_iter()
            .map(|log| RawLog { data: b"?"[..].into(), ..log })
            .collect();
        let last = |logs: &[RawLog]| logs.last().unwrap().clone();
        // What is pushed: fills, places kept, takes to ask about.
        type Row<'a> = (&'a str, &'a Tokens, Vec<RawLog>, (usize, &'a [u64], usize));
        let rows: [Row<'_>; 10] = [
            ("a take of a known share", &listed, take.clone(), (1, &[], 0)),
            ("one of a wrapped share", &vault, take.clone(), (0, &[10], 1)),
            ("one of a token nothing is known of", &strange, take.clone(), (0, &[10], 1)),
            ("a stranger's", &listed, strangers_take, (0, &[], 0)),
            ("a clear with its amounts", &listed, clear.clone(), (0, &[30], 0)),
            ("a clear alone", &listed, clear[..1].to_vec(), (0, &[30], 0)),
            ("amounts alone", &listed, vec![last(&clear)], (0, &[last(&clear).log_index], 0)),
            ("a stranger's clear", &listed, strangers_clear.clone(), (0, &[], 0)),
            ("a log that makes no sense", &listed, broken, (0, &[50], 0)),
            ("a take beside a clear", &listed, [take, clear].concat(), (1, &[30], 0)),
        ];
        for (what, tokens, logs, expected) in rows {
            let heard = heard(&book, tokens, &logs);
            let kept: Vec<u64> = heard.push.evidence.iter().map(|log| log.log_index).collect();
            assert_eq!((heard.push.events.len(), &kept[..], heard.asking.len()), expected, "{what}");
        }
    }
}
