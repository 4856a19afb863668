//! Any words of a node: answers to every question that is asked of one, and what it pushes.
//!
//! The real [`Rpc`] asks over alloy's own pubsub client; only the socket is missing. An input's first byte says where in
//! the round of questions to begin, the rest is text frames, one a line. A frame that is a response answers the question
//! that waits (its id is put right, a fuzzer would not guess it), an error without an id all that wait, any other valid one is delivered as it is, and one that
//! is neither ends the connection, as it does on a socket. So does the last line.
//!
//! What must hold: every question ends; an answer that is believed is about what was asked; an error is short, and holds
//! no character that a terminal would obey; numbers fit the ledger's 64 signed bits.

use std::time::Duration;

use alloy::primitives::{Address, B256};
use alloy::pubsub::{ConnectionHandle, ConnectionInterface, PubSubConnect};
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{Id, PubSubItem};
use alloy::transports::{TransportErrorKind, TransportResult};
use serde::Deserialize;
use tokio::time::timeout;

use super::Bytes;
use super::logs::BOOK;
use counterfill::chain::abi::{self, RawLog, TOPICS};
use counterfill::chain::backend::Waiting;
use counterfill::chain::frame::{Frame, read};
use counterfill::chain::rpc::{At, Feed, Notice, Rpc, RpcError, is_revert};
use counterfill::chain::wire::{PushedLog, Receipt, pushed_head, pushed_log};

/// Frames of one input.
const FRAMES_MAX: usize = 64;
/// Questions in a round, the two subscriptions included.
const QUESTIONS: u8 = 13;
/// Longest text of an error: a method's name, a code, and 200 characters of the node's own.
const ERROR_CHARS_MAX: usize = 400;
/// No question waits for a clock here; one that does is a question that never ends.
const ROUND_S_MAX: Duration = Duration::from_secs(9);
/// What is asked for.
const HASH: B256 = B256::repeat_byte(0x11);
/// The height that is asked for.
const HEIGHT: u64 = 16;

/// # Panics
/// Where something that must hold does not.
pub fn check(input: &[u8]) {
    let mut bytes = Bytes::of(input);
    let first = bytes.below(QUESTIONS);
    let frames = bytes.rest().split(|byte| *byte == b'\n').take(FRAMES_MAX);
    let node = Node { frames: frames.map(<[u8]>::to_vec).collect() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let round = async {
        let Ok(client) = RpcClient::connect_pubsub(node).await else { return };
        ask_all(&Rpc::over(client), first).await;
    };
    // A runtime without a driver for IO needs nothing of the system that could be refused.
    let ended = runtime.map(|runtime| runtime.block_on(async { timeout(ROUND_S_MAX, round).await }).is_ok());
    assert!(ended.is_ok_and(|ended| ended), "every question ends");
}

#[derive(Deserialize)]
struct Asked {
    id: Id,
}

#[derive(Clone)]
struct Node {
    frames: Vec<Vec<u8>>,
}

impl PubSubConnect for Node {
    fn is_local(&self) -> bool {
        false
    }

    async fn connect(&self) -> TransportResult<ConnectionHandle> {
        let (handle, interface) = ConnectionHandle::new();
        tokio::spawn(speak(self.frames.clone(), interface));
        Ok(handle.with_max_retries(0))
    }

    async fn try_reconnect(&self) -> TransportResult<ConnectionHandle> {
        Err(TransportErrorKind::non_retryable_str("once is enough"))
    }
}

async fn speak(frames: Vec<Vec<u8>>, mut interface: ConnectionInterface) {
    let mut waiting = Waiting::default();
    let mut asked = None;
    for frame in frames {
        let Ok(text) = std::str::from_utf8(&frame) else { break };
        let said = read(text);
        let answers = !matches!(said, Frame::Item(PubSubItem::Notification(_)) | Frame::Words(_));
        if answers && asked.is_none() {
            let Some(question) = interface.recv_from_frontend().await else { return };
            waiting.asked(&question);
            asked = serde_json::from_str::<Asked>(question.get()).ok();
        }
        let items = match said {
            Frame::Words(_) => break,
            Frame::Refusal(error) => waiting.all_refused(&error),
            Frame::Item(PubSubItem::Response(mut response)) => {
                let Some(Asked { id }) = asked.take() else { break };
                response.id = id;
                waiting.answered(PubSubItem::Response(response))
            }
            Frame::Item(pushed) => waiting.answered(pushed),
        };
        if answers {
            asked = None;
        }
        if items.into_iter().any(|item| interface.send_to_frontend(item).is_err()) {
            return;
        }
        tokio::task::yield_now().await;
    }
    interface.close_with_error();
}

/// Asks until the connection has ended.
async fn ask_all(rpc: &Rpc, first: u8) {
    for question in (0..QUESTIONS).cycle().skip(usize::from(first)).take(FRAMES_MAX + usize::from(QUESTIONS))
    {
        if let Err(error) = ask(rpc, question).await {
            must_be_fit_to_print(&error);
            if matches!(error, RpcError::Gone(_)) {
                return;
            }
        }
    }
}

async fn ask(rpc: &Rpc, question: u8) -> Result<(), RpcError> {
    let believed = |number: u64| assert!(i64::try_from(number).is_ok(), "{number}");
    match question {
        0 => believed(rpc.chain_id().await?),
        1 => believed(rpc.block_number().await?),
        2 => believed(rpc.head().await?.number),
        3 => assert!(rpc.header(HEIGHT).await?.is_none_or(|header| header.number == HEIGHT)),
        4 => must_be_settled(&rpc.logs_at(HASH, &[BOOK], &TOPICS).await?),
        5 => must_be_settled(&rpc.logs_between(1, HEIGHT, &[BOOK], &TOPICS).await?),
        6 => {
            let receipt = rpc.receipt(HASH).await?;
            assert!(receipt.as_ref().is_none_or(|receipt| receipt.tx_hash == HASH));
            receipt.iter().for_each(must_be_one);
        }
        7 => rpc.block_receipts(HASH).await?.iter().flatten().for_each(must_be_one),
        8 => drop(rpc.code(Address::ZERO).await?),
        9 => drop(rpc.eth_call(Address::ZERO, &[1, 2, 3, 4], At::Latest).await?),
        10 => drop(rpc.eth_call(Address::ZERO, &[1, 2, 3, 4], At::Hash(HASH)).await?),
        11 => listen(rpc.subscribe_heads().await?),
        _ => listen(rpc.subscribe_logs(&[BOOK], &TOPICS).await?),
    }
    Ok(())
}

/// What has been pushed by now, read as a log and as a head.
fn listen(mut feed: Feed) {
    while let Some(notice) = feed.ready() {
        let Notice::Item(raw) = notice else { continue };
        assert!(pushed_head(&raw).is_none_or(|head| i64::try_from(head).is_ok()));
        if let PushedLog::Log(log) = pushed_log(&raw) {
            must_be_settled(&[log]);
        }
    }
}

fn must_be_settled(logs: &[RawLog]) {
    for log in logs {
        assert!(i64::try_from(log.block_number).is_ok() && i64::try_from(log.log_index).is_ok());
        assert!(log.block_time.is_none_or(|time| i64::try_from(time).is_ok()));
        // Its bytes are the decoder's affair, which must take any.
        assert!(
            abi::read(log).is_err()
                || log.kind().is_some()
                || !TOPICS.iter().any(|t| log.topics.first() == Some(t))
        );
    }
}

fn must_be_one(receipt: &Receipt) {
    assert!(
        receipt.logs.iter().all(|log| log.tx_hash == receipt.tx_hash && log.block_hash == receipt.block_hash)
    );
    must_be_settled(&receipt.logs);
}

fn must_be_fit_to_print(error: &RpcError) {
    let text = error.to_string();
    assert!(text.chars().count() <= ERROR_CHARS_MAX && !text.chars().any(char::is_control), "{text:?}");
    assert!(!(is_revert(error) && matches!(error, RpcError::Gone(_))));
    let _ = error.is_method_missing();
}
