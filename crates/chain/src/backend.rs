//! What is said over one WebSocket: questions out, frames in, until one end has had enough.
//!
//! alloy's own backend does the same, and keeps for itself why it ended: a close frame's code and reason, a text that is
//! no JSON-RPC, an error that it can not read. Here the reason stays (`Peer::lost`) before the connection is gone, so
//! that whoever finds it gone can say why. It refuses to know what is asked and answered.
//!
//! Invariant: every end leaves its reason, without a part of the URL; an error that names no question answers all that
//! wait, for it is true of one of them and asking again is right for the others.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alloy::pubsub::ConnectionInterface;
use alloy::rpc::json_rpc::{ErrorPayload, Id, PubSubItem, Response, ResponsePayload};
use alloy::transports::TransportErrorKind;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::error::Lost;
use super::frame::{Frame, read, words_of};
use super::refusal::{self, LIMITED_PAUSE_S};
use super::secrets::Secrets;

/// A ping goes out so long after the last word of ours; a pong that is missing by the next one ends the connection.
const KEEPALIVE_S: Duration = Duration::from_secs(10);
/// Questions whose answers are waited for, at most: whoever asks gives up long before and asks few at once.
const WAITING_MAX: usize = 4_096;
/// Of a text that is no JSON-RPC, so much is looked at.
const WORDS_CHARS_MAX: usize = 2_000;

/// What is known of the other end of one connection.
#[derive(Debug, Default)]
pub(super) struct Peer {
    /// What must not be shown.
    pub(super) secrets: Secrets,
    /// Why the connection has ended; nothing while it has not.
    pub(super) lost: OnceLock<Lost>,
}

impl Peer {
    /// Why the connection has ended.
    pub(super) fn lost(&self) -> Lost {
        self.lost.get().cloned().unwrap_or_else(|| "the connection to the node was lost".into())
    }

    /// The node's words, fit to be shown.
    pub(super) fn cut(&self, words: &str) -> String {
        refusal::cut(&self.secrets.hide(words))
    }
}

/// One open socket.
pub(super) struct Backend {
    pub(super) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(super) interface: ConnectionInterface,
    pub(super) peer: Arc<Peer>,
}

impl Backend {
    /// Carries frames until the connection ends.
    pub(super) async fn run(mut self) {
        if let Some(lost) = self.carry().await {
            // First the reason, then the end: whoever sees the end looks for the reason.
            let _ = self.peer.lost.set(lost);
            let ended = TransportErrorKind::non_retryable_str("the connection ended");
            self.interface.close_with_transport_error(ended);
        }
    }

    /// Why it ended; none where nobody of us listens any more.
    async fn carry(&mut self) -> Option<Lost> {
        let mut waiting = Waiting::default();
        let mut pinged = false;
        let mut quiet_until = Instant::now() + KEEPALIVE_S;
        loop {
            let frame = tokio::select! {
                biased;
                question = self.interface.recv_from_frontend() => {
                    let question = question?;
                    waiting.asked(&question);
                    Message::text(question.get().to_owned())
                }
                () = sleep_until(quiet_until) => {
                    if pinged {
                        return Some("the node answered no ping".into());
                    }
                    pinged = true;
                    Message::Ping(Vec::new().into())
                }
                heard = self.socket.next() => {
                    match heard {
                        Some(Ok(Message::Pong(_))) => pinged = false,
                        Some(Ok(frame)) => {
                            if let Err(ended) = self.hear(&frame, &mut waiting) {
                                return ended;
                            }
                        }
                        Some(Err(error)) => return Some(self.failed(&error)),
                        None => return Some(self.peer.lost()),
                    }
                    continue;
                }
            };
            quiet_until = Instant::now() + KEEPALIVE_S;
            if let Err(error) = self.socket.send(frame).await {
                return Some(self.failed(&error));
            }
        }
    }

    /// Hands on what a frame holds, or says why it is the last one.
    fn hear(&self, frame: &Message, waiting: &mut Waiting) -> Result<(), Option<Lost>> {
        let text = match frame {
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
            Message::Close(frame) => return Err(Some(self.closed(frame.as_ref()))),
            Message::Text(_) | Message::Binary(_) => frame.to_text(),
        };
        let text = text.map_err(|_| Some("the node sent bytes that are no text".into()))?;
        let items = match read(text) {
            Frame::Item(item) => waiting.answered(item),
            Frame::Refusal(error) => waiting.all_refused(&error),
            Frame::Words(words) => return Err(Some(self.spoke(&words))),
        };
        // Nobody listens any more where one can not be handed on.
        items.into_iter().try_for_each(|item| self.interface.send_to_frontend(item)).map_err(|_| None)
    }

    /// A close frame. 1008 and 1013 are what providers close with where a quota is used up or they have too much to do
    /// (RFC 6455, 7.4.1, and the registry of close codes).
    fn closed(&self, frame: Option<&CloseFrame>) -> Lost {
        let Some(CloseFrame { code, reason }) = frame else {
            return "the node closed the connection".into();
        };
        let code = u16::from(*code);
        let mut why = format!("the node closed the connection with {code}");
        if !reason.is_empty() {
            why += &format!(": {}", self.peer.cut(reason));
        }
        Lost { why, pause: pause_of(matches!(code, 1008 | 1013), reason) }
    }

    /// A text that is no JSON-RPC: of something that stands before the node, and has enough of us.
    fn spoke(&self, words: &str) -> Lost {
        let words: String = words.chars().take(WORDS_CHARS_MAX).collect();
        let told = words_of(&words);
        let told = if told.is_empty() { words } else { told };
        Lost {
            why: format!("the node says no JSON-RPC, but: {}", self.peer.cut(&told)),
            pause: pause_of(false, &told),
        }
    }

    fn failed(&self, error: &SocketError) -> Lost {
        match error {
            SocketError::Io(error) => format!("the connection to the node was lost: {error}").into(),
            SocketError::Capacity(_) => "the node sent a message that is too long to be taken".into(),
            _ => self.peer.lost(),
        }
    }
}

fn pause_of(limited: bool, words: &str) -> Option<Duration> {
    let words = words.to_lowercase();
    let limited = limited || refusal::is_rate(&words);
    refusal::pause_told(&words, None).or(limited.then_some(LIMITED_PAUSE_S))
}

/// The questions that have no answer yet.
#[derive(Debug, Default)]
pub struct Waiting(BTreeSet<u64>);

impl Waiting {
    /// A question goes out.
    pub fn asked(&mut self, question: &RawValue) {
        #[derive(Deserialize)]
        struct Asked {
            id: u64,
        }
        // alloy counts its questions, so that the lowest is the oldest.
        if let Ok(Asked { id }) = serde_json::from_str(question.get()) {
            self.0.insert(id);
        }
        if self.0.len() > WAITING_MAX {
            self.0.pop_first();
        }
    }

    /// An item came.
    pub fn answered(&mut self, item: PubSubItem) -> Vec<PubSubItem> {
        if let PubSubItem::Response(Response { id: Id::Number(id), .. }) = &item {
            self.0.remove(id);
        }
        vec![item]
    }

    /// A refusal came that does not say of what.
    pub fn all_refused(&mut self, error: &ErrorPayload) -> Vec<PubSubItem> {
        let refused = |id| {
            let payload = ResponsePayload::Failure(error.clone());
            PubSubItem::Response(Response { id: Id::Number(id), payload })
        };
        std::mem::take(&mut self.0).into_iter().map(refused).collect()
    }
}
