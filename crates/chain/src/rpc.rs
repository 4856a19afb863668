//! One WebSocket connection to a node: typed calls and two subscriptions, over alloy's JSON-RPC client.
//!
//! It refuses to know what an answer means and it never reconnects: alloy's own reconnect resubscribes without a word
//! and loses what was sent meanwhile, so here a lost socket ends every subscription and every pending call, and the
//! caller begins anew. Nothing of the URL but scheme and host is ever printed: the rest may be a key.
//!
//! Invariant: every wait has a limit, every answer is parsed before it is believed (lenient to unknown fields, strict
//! to missing ones), and a lagging subscription says so.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes};
use alloy::pubsub::RawSubscription;
use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::RpcError as AlloyError;
use alloy::transports::{TransportError, TransportErrorKind};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::timeout;

use super::abi::RawLog;
use super::backend::Peer;
pub use super::error::{Lost, RpcError};
use super::pace::{Pace, Urgency};
use super::refusal;
use super::secrets::{Secrets, shown};
use super::socket::Socket;
use super::wire::{Header, Quantity, Receipt, WireLog, WireReceipt};

/// Longest wait for a socket with its handshakes.
const CONNECT_S_MAX: Duration = Duration::from_secs(10);
/// Longest wait for one answer.
const CALL_S_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the answer to such a question (`live::pulse`); an ordinary call may take longer.
const PULSE_S_MAX: Duration = Duration::from_secs(3);
/// Logs that may wait unread. alloy's own 16 lost 24 of 40 logs of one block.
const LOGS_QUEUED_MAX: usize = 4096;
/// Heads that may wait unread; each only rings the bell, so that few are enough.
const HEADS_QUEUED_MAX: usize = 64;

/// One notification.
#[derive(Debug)]
pub enum Notice {
    /// Its `result`, unparsed.
    Item(Box<RawValue>),
    /// So many were lost unread.
    Lagged(u64),
}

/// What the block of an `eth_call` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The node's newest.
    Latest,
    /// This one and no other.
    Hash(B256),
    /// Whichever the node has at this height.
    Number(u64),
}

/// What a transport raises that keeps its own time, instead of an answer that is late beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer within its limit")]
pub struct TooLate;

/// An open connection. Dropping it closes the socket.
#[derive(Debug, Clone)]
pub struct Rpc {
    client: RpcClient,
    peer: Arc<Peer>,
    /// Whose turn it is; none: every call goes out once, at once.
    pace: Option<(Arc<Pace>, Urgency)>,
}

impl Rpc {
    /// Connects, within 10 s.
    ///
    /// # Errors
    /// [`RpcError::Gone`] with a reason in words.
    pub async fn connect(url: &str, cert_file: Option<&Path>) -> Result<Self, RpcError> {
        let peer = Arc::new(Peer { secrets: Secrets::of(url), ..Peer::default() });
        let gone = |lost: Lost| {
            let why = format!("no connection to {}: {}", shown(url), peer.cut(&lost.why));
            RpcError::Gone(Lost { why, ..lost })
        };
        let socket = Socket::new(url, cert_file, Arc::clone(&peer)).map_err(|why| gone(why.into()))?;
        match timeout(CONNECT_S_MAX, RpcClient::connect_pubsub(socket)).await {
            Ok(Ok(client)) => Ok(Self { client, peer, pace: None }),
            Ok(Err(AlloyError::Transport(TransportErrorKind::Custom(why)))) => {
                let told = why.downcast_ref::<Lost>().cloned();
                Err(gone(told.unwrap_or_else(|| why.to_string().into())))
            }
            Ok(Err(error)) => Err(gone(error.to_string().into())),
            Err(_) => Err(gone(format!("nothing within {} s", CONNECT_S_MAX.as_secs()).into())),
        }
    }

    /// Over another line than a socket: for who speaks as the node (`fuzz::frames`, the simulator).
    #[cfg(any(test, feature = "by-hand"))]
    pub fn over(client: RpcClient) -> Self {
        Self { client, peer: Arc::default(), pace: None }
    }

    /// The same connection for calls that keep to this pace.
    pub(super) fn paced(&self, pace: &Arc<Pace>, urgency: Urgency) -> Self {
        Self { pace: Some((Arc::clone(pace), urgency)), ..self.clone() }
    }

    async fn raw(
        &self,
        method: &'static str,
        params: Value,
        limit: Duration,
    ) -> Result<Box<RawValue>, RpcError> {
        match &self.pace {
            Some((pace, urgency)) => pace.run(*urgency, || self.once(method, params.clone(), limit)).await,
            None => self.once(method, params, limit).await,
        }
    }

    async fn once(
        &self,
        method: &'static str,
        params: Value,
        limit: Duration,
    ) -> Result<Box<RawValue>, RpcError> {
        let call = self.client.request::<Value, Box<RawValue>>(method, params);
        match timeout(limit, call).await {
            Err(_) => Err(RpcError::Timeout(method)),
            Ok(Ok(raw)) => Ok(raw),
            Ok(Err(error)) => Err(self.trouble(method, error)),
        }
    }

    async fn call<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, RpcError> {
        self.parse(method, &self.raw(method, params, CALL_S_MAX).await?)
    }

    fn parse<T: DeserializeOwned>(&self, method: &'static str, raw: &RawValue) -> Result<T, RpcError> {
        serde_json::from_str(raw.get())
            .map_err(|error| RpcError::Malformed { method, detail: self.peer.cut(&error.to_string()) })
    }

    /// What alloy's error means to us.
    fn trouble(&self, method: &'static str, error: TransportError) -> RpcError {
        match error {
            AlloyError::ErrorResp(payload) => {
                let hide = |text: &str| self.peer.secrets.hide(text);
                let data =
                    payload.data.as_ref().and_then(|data| serde_json::from_str(&hide(data.get())).ok());
                refusal::sorted(method, payload.code, &hide(&payload.message), data.as_ref())
            }
            AlloyError::Transport(TransportErrorKind::Custom(why)) if why.is::<TooLate>() => {
                RpcError::Timeout(method)
            }
            AlloyError::NullResp => RpcError::Malformed { method, detail: "null".into() },
            AlloyError::DeserError { err, .. } => {
                RpcError::Malformed { method, detail: self.peer.cut(&err.to_string()) }
            }
            _ => RpcError::Gone(self.peer.lost()),
        }
    }

    /// `eth_chainId`.
    ///
    /// # Errors
    /// Any [`RpcError`].
    pub async fn chain_id(&self) -> Result<u64, RpcError> {
        self.call::<Quantity>("eth_chainId", json!([])).await.map(|q| q.0)
    }

    /// `eth_blockNumber`, within 3 s: the watchdog's question.
    ///
    /// # Errors
    /// Any [`RpcError`].
    pub async fn block_number(&self) -> Result<u64, RpcError> {
        let method = "eth_blockNumber";
        self.parse::<Quantity>(method, &self.raw(method, json!([]), PULSE_S_MAX).await?).map(|q| q.0)
    }

    /// The node's newest header.
    ///
    /// # Errors
    /// Any [`RpcError`]; a node without a block is malformed.
    pub async fn head(&self) -> Result<Header, RpcError> {
        let method = "eth_getBlockByNumber";
        self.call::<Option<Header>>(method, json!(["latest", false]))
            .await?
            .ok_or(RpcError::Malformed { method, detail: "the node has no latest block".into() })
    }

    /// The header at a height; none where the node has no such block.
    ///
    /// # Errors
    /// Any [`RpcError`]; a header of another height is malformed.
    pub async fn header(&self, number: u64) -> Result<Option<Header>, RpcError> {
        let method = "eth_getBlockByNumber";
        let header = self.call::<Option<Header>>(method, json!([hex(number), false])).await?;
        match header {
            Some(header) if header.number != number => Err(RpcError::Malformed {
                method,
                detail: format!("asked for block {number}, got {}", header.number),
            }),
            other => Ok(other),
        }
    }

    /// Logs of one block, by its hash.
    ///
    /// # Errors
    /// Any [`RpcError`].
    pub async fn logs_at(
        &self,
        hash: B256,
        books: &[Address],
        topics: &[B256],
    ) -> Result<Vec<RawLog>, RpcError> {
        self.logs(json!([{ "blockHash": hash, "address": books, "topics": [topics] }])).await
    }

    /// How many logs one block shows, by its hash and without any filter.
    ///
    /// # Errors
    /// Any [`RpcError`].
    pub async fn logs_of_block(&self, hash: B256) -> Result<usize, RpcError> {
        let logs =
            self.call::<Option<Vec<IgnoredAny>>>("eth_getLogs", json!([{ "blockHash": hash }])).await?;
        Ok(logs.map_or(0, |logs| logs.len()))
    }

    /// Logs of the blocks `from ..= to`.
    ///
    /// # Errors
    /// Any [`RpcError`]; [`RpcError::RangeTooLarge`] where less should be asked for.
    pub async fn logs_between(
        &self,
        from: u64,
        to: u64,
        books: &[Address],
        topics: &[B256],
    ) -> Result<Vec<RawLog>, RpcError> {
        let filter =
            json!([{ "fromBlock": hex(from), "toBlock": hex(to), "address": books, "topics": [topics] }]);
        self.logs(filter).await
    }

    async fn logs(&self, params: Value) -> Result<Vec<RawLog>, RpcError> {
        let method = "eth_getLogs";
        // Some nodes say null where there is none.
        let logs = self.call::<Option<Vec<WireLog>>>(method, params).await?;
        logs.unwrap_or_default().into_iter().map(|log| log.settled(method)).collect()
    }

    /// A transaction's receipt; none where the node has none.
    ///
    /// # Errors
    /// Any [`RpcError`]; a receipt of another transaction is malformed.
    pub async fn receipt(&self, tx_hash: B256) -> Result<Option<Receipt>, RpcError> {
        let method = "eth_getTransactionReceipt";
        let receipt = self.call::<Option<WireReceipt>>(method, json!([tx_hash])).await?;
        let receipt = receipt.map(|receipt| receipt.settled(method)).transpose()?;
        match receipt {
            Some(receipt) if receipt.tx_hash != tx_hash => {
                Err(RpcError::Malformed { method, detail: "another transaction's receipt".into() })
            }
            other => Ok(other),
        }
    }

    /// Every receipt of a block, by its hash; none where the node does not have the block.
    ///
    /// # Errors
    /// Any [`RpcError`]; see [`RpcError::is_method_missing`].
    pub async fn block_receipts(&self, hash: B256) -> Result<Option<Vec<Receipt>>, RpcError> {
        self.receipts(json!([hash])).await
    }

    /// Every receipt of the block at a height, for nodes that take no hash; which block it was, the receipts say.
    ///
    /// # Errors
    /// As [`Rpc::block_receipts`].
    pub async fn block_receipts_at(&self, number: u64) -> Result<Option<Vec<Receipt>>, RpcError> {
        self.receipts(json!([hex(number)])).await
    }

    async fn receipts(&self, params: Value) -> Result<Option<Vec<Receipt>>, RpcError> {
        let method = "eth_getBlockReceipts";
        let receipts = self.call::<Option<Vec<WireReceipt>>>(method, params).await?;
        receipts.map(|all| all.into_iter().map(|one| one.settled(method)).collect()).transpose()
    }

    /// A contract's code at the newest block; empty where there is none.
    ///
    /// # Errors
    /// Any [`RpcError`].
    pub async fn code(&self, address: Address) -> Result<Bytes, RpcError> {
        self.call("eth_getCode", json!([address, "latest"])).await
    }

    /// `eth_call` without a sender.
    ///
    /// # Errors
    /// Any [`RpcError`]; a revert is [`RpcError::Refused`], see [`is_revert`].
    pub async fn eth_call(&self, to: Address, data: &[u8], at: At) -> Result<Bytes, RpcError> {
        let block = match at {
            At::Latest => json!("latest"),
            At::Hash(hash) => json!({ "blockHash": hash }),
            At::Number(number) => json!(hex(number)),
        };
        let input = Bytes::copy_from_slice(data);
        self.call("eth_call", json!([{ "to": to, "data": input }, block])).await
    }

    /// Subscribes to new heads.
    ///
    /// # Errors
    /// Any [`RpcError`].
    pub async fn subscribe_heads(&self) -> Result<Feed, RpcError> {
        self.subscribe(json!(["newHeads"]), HEADS_QUEUED_MAX).await
    }

    /// Subscribes to the logs of the order books with one of these topics.
    ///
    /// # Errors
    /// Any [`RpcError`].
    pub async fn subscribe_logs(&self, books: &[Address], topics: &[B256]) -> Result<Feed, RpcError> {
        let filter = json!(["logs", { "address": books, "topics": [topics] }]);
        self.subscribe(filter, LOGS_QUEUED_MAX).await
    }

    async fn subscribe(&self, params: Value, queued_max: usize) -> Result<Feed, RpcError> {
        let method = "eth_subscribe";
        let ended = || RpcError::Gone(self.peer.lost());
        let frontend = self.client.pubsub_frontend().ok_or_else(ended)?;
        frontend.set_channel_size(queued_max);
        // The id is alloy's own, the same as long as this connection lives.
        let id: B256 = self.call(method, params).await?;
        match timeout(CALL_S_MAX, frontend.get_subscription(id)).await {
            Ok(Ok(inner)) => Ok(Feed { inner, peer: Arc::clone(&self.peer) }),
            Ok(Err(error)) => Err(self.trouble(method, error)),
            Err(_) => Err(RpcError::Timeout(method)),
        }
    }
}

/// A subscription. It ends with its connection.
#[derive(Debug)]
pub struct Feed {
    inner: RawSubscription,
    peer: Arc<Peer>,
}

impl Feed {
    /// Waits for the next notification.
    ///
    /// # Errors
    /// [`RpcError::Gone`] when the connection has ended: never a silent end.
    pub async fn next(&mut self) -> Result<Notice, RpcError> {
        match self.inner.recv().await {
            Ok(item) => Ok(Notice::Item(item)),
            Err(RecvError::Lagged(lost)) => Ok(Notice::Lagged(lost)),
            Err(RecvError::Closed) => Err(RpcError::Gone(self.peer.lost())),
        }
    }

    /// The next notification if one is already here. An ended connection shows in [`Feed::next`].
    pub fn ready(&mut self) -> Option<Notice> {
        match self.inner.try_recv() {
            Ok(item) => Some(Notice::Item(item)),
            Err(TryRecvError::Lagged(lost)) => Some(Notice::Lagged(lost)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

/// Whether a refused `eth_call` is the contract's answer (a revert), not the node's trouble.
#[must_use]
pub fn is_revert(error: &RpcError) -> bool {
    match error {
        RpcError::Refused { code, message, .. } => refusal::is_revert_told(*code, &message.to_lowercase()),
        _ => false,
    }
}

fn hex(number: u64) -> String {
    format!("{number:#x}")
}
