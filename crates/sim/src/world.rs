//! What the node is at one moment: chain, faults, sockets with their subscriptions, and counters.
//!
//! Calls come in as text and leave as text (`World::reply`); a change of the chain becomes pushes
//! ([`World::announce`]). It refuses to know how bytes travel: each socket is a queue here.
//!
//! Invariant: a socket's answers and pushes are queued in the order in which the chain changed.

use std::collections::BTreeMap;

use alloy::primitives::{B256, Bytes, Log};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::chain::{PlacedLog, SimBlock, SimChain};
use super::faults::{DropPushes, Faults};
use super::provider::Gateway;
use super::rpc::{self, LogFilter, RpcError};
use super::wire;
use counterfill_core::fills::abi::{AFTER_CLEAR_V4, AFTER_CLEAR_V5};
use counterfill_core::units::BlockRef;

/// Where a take's and an after-clear's first amount ends within the data: the third word's last byte.
const AMOUNT_BYTE: usize = 95;

/// What one socket has yet to be sent.
#[derive(Debug)]
pub enum Frame {
    /// A message in text.
    Text(String),
    /// One in bytes.
    Binary(Vec<u8>),
}

/// What a subscription is for.
#[derive(Debug)]
enum Interest {
    Heads,
    Logs(LogFilter),
}

/// One connected client. Dropping it closes the connection at once, without a word.
#[derive(Debug)]
pub struct Socket {
    /// What it has yet to be sent.
    pub queue: mpsc::Sender<Frame>,
    /// What serves it; none where nothing does and the queue is read by hand.
    pub task: Option<AbortHandle>,
    subscriptions: BTreeMap<String, Interest>,
}

impl Socket {
    /// One without subscriptions.
    #[must_use]
    pub fn new(queue: mpsc::Sender<Frame>, task: Option<AbortHandle>) -> Self {
        Self { queue, task, subscriptions: BTreeMap::new() }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.iter().for_each(AbortHandle::abort);
    }
}

/// What happened so far, for tests to assert on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// WebSockets accepted.
    pub connections: u64,
    /// Connects refused.
    pub refused: u64,
    /// Calls by method, answered or not.
    pub calls: BTreeMap<String, u64>,
    /// Heads pushed, summed over subscriptions.
    pub heads_pushed: u64,
    /// Logs pushed, summed over subscriptions.
    pub logs_pushed: u64,
    /// Calls refused because they were beyond the provider's plan.
    pub beyond_the_plan: u64,
    /// Logs that answers of `eth_getLogs` left out because the provider's index was behind, each time it did.
    pub logs_left_out: u64,
    /// `eth_call`s refused because the block's state was not there yet.
    pub without_state: u64,
}

impl Counters {
    /// Calls of one method.
    #[must_use]
    pub fn calls_of(&self, method: &str) -> u64 {
        self.calls.get(method).copied().unwrap_or(0)
    }
}

/// Everything behind the lock.
#[derive(Debug)]
pub struct World {
    /// The chain.
    pub chain: SimChain,
    /// What goes wrong next.
    pub faults: Faults,
    /// The provider before it.
    pub gateway: Gateway,
    counters: Counters,
    /// Who is connected, by number.
    pub sockets: BTreeMap<u64, Socket>,
    next_subscription: u64,
}

/// One thing to be pushed.
#[derive(Debug)]
pub enum Push {
    /// A head, as JSON.
    Head(Value),
    /// A log: itself, and as JSON.
    Log {
        /// For the filters.
        log: Log,
        /// For the wire.
        value: Value,
    },
}

impl World {
    /// The chain, nobody connected, no fault.
    pub fn new(chain: SimChain) -> Self {
        let (faults, counters) = (Faults::default(), Counters::default());
        let gateway = Gateway::default();
        Self { chain, faults, gateway, counters, sockets: BTreeMap::new(), next_subscription: 0 }
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let Gateway { refused, left_out, stateless, .. } = self.gateway;
        Counters {
            beyond_the_plan: refused,
            logs_left_out: left_out,
            without_state: stateless,
            ..self.counters.clone()
        }
    }

    /// One more connection, by its number.
    pub const fn connected(&mut self) -> u64 {
        self.counters.connections += 1;
        self.counters.connections
    }

    /// One more connect that was refused.
    pub(super) const fn refused(&mut self) {
        self.counters.refused += 1;
    }

    /// Subscriptions that are up, over all sockets.
    pub(super) fn subscriptions(&self) -> usize {
        self.sockets.values().map(|socket| socket.subscriptions.len()).sum()
    }

    /// The answer to one frame: a call or a batch; nothing to a notification.
    pub(super) fn reply(&mut self, socket: Option<u64>, text: &str) -> Option<String> {
        let failed =
            |code, words: &str| Some(response(&Value::Null, Err(RpcError::new(code, words))).to_string());
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            return failed(-32700, "parse error");
        };
        match request {
            Value::Array(batch) if batch.is_empty() => failed(-32600, "empty batch"),
            Value::Array(batch) => {
                let replies: Vec<Value> =
                    batch.iter().filter_map(|call| self.reply_one(socket, call)).collect();
                (!replies.is_empty()).then(|| Value::Array(replies).to_string())
            }
            single => self.reply_one(socket, &single).map(|reply| reply.to_string()),
        }
    }

    fn reply_one(&mut self, socket: Option<u64>, request: &Value) -> Option<Value> {
        let Some(method) = request["method"].as_str() else {
            return Some(response(&request["id"], Err(RpcError::new(-32600, "invalid request"))));
        };
        let answer = self.answer(socket, method, &request["params"]);
        request.get("id").map(|id| response(id, answer))
    }

    /// The answer to one call.
    pub fn answer(&mut self, socket: Option<u64>, method: &str, params: &Value) -> Result<Value, RpcError> {
        self.take(method)?;
        match (method, socket) {
            ("eth_subscribe", Some(socket)) => self.subscribe(socket, params),
            ("eth_unsubscribe", Some(socket)) => Ok(json!(self.unsubscribe(socket, params))),
            _ => rpc::answer_behind(&self.chain, &mut self.faults, &mut self.gateway, method, params),
        }
    }

    /// Counts a call; refuses it where the plan or a fault does.
    fn take(&mut self, method: &str) -> Result<(), RpcError> {
        match self.counters.calls.get_mut(method) {
            Some(calls) => *calls += 1,
            None => drop(self.counters.calls.insert(method.to_owned(), 1)),
        }
        self.gateway.admit(method)?;
        rpc::refusal(&mut self.faults, method).map_or(Ok(()), Err)
    }

    /// The block that such a question names, as this node sees it, counted and refused as [`World::answer`] does: for an
    /// answer that was made before. None where the whole transactions are asked for.
    #[cfg(feature = "by-hand")]
    pub fn block_named(&mut self, params: &Value) -> Option<Result<Option<B256>, RpcError>> {
        if params[1].as_bool() == Some(true) {
            return None;
        }
        if let Err(error) = self.take("eth_getBlockByNumber") {
            return Some(Err(error));
        }
        Some(rpc::block_named(&self.chain, &mut self.faults, &params[0]))
    }

    /// A block with its transactions' hashes.
    #[cfg(feature = "by-hand")]
    pub fn block_value(&self, hash: B256) -> Value {
        self.chain.block(hash).map_or(Value::Null, |block| wire::block(block, false, self.chain.chain_id()))
    }

    fn subscribe(&mut self, socket: u64, params: &Value) -> Result<Value, RpcError> {
        let interest = match params[0].as_str() {
            Some("newHeads") => Interest::Heads,
            Some("logs") => Interest::Logs(LogFilter::read(&params[1])?),
            _ => return Err(RpcError::new(-32601, "no such subscription in eth namespace")),
        };
        self.next_subscription += 1;
        let name = format!("0xcf{:030x}", self.next_subscription);
        if let Some(socket) = self.sockets.get_mut(&socket) {
            socket.subscriptions.insert(name.clone(), interest);
        }
        Ok(json!(name))
    }

    fn unsubscribe(&mut self, socket: u64, params: &Value) -> bool {
        let name = params[0].as_str().unwrap_or_default();
        self.sockets.get_mut(&socket).is_some_and(|socket| socket.subscriptions.remove(name).is_some())
    }

    /// Whether anybody subscribed to such a log.
    fn is_wanted(&self, log: &Log) -> bool {
        let interests = self.sockets.values().flat_map(|socket| socket.subscriptions.values());
        interests
            .into_iter()
            .any(|interest| matches!(interest, Interest::Logs(filter) if filter.matches(log)))
    }

    /// A log's push as the faults would have it; none where nobody wants it or it gets lost.
    pub(super) fn log_push(&mut self, placed: &PlacedLog<'_>, removed: bool) -> Option<Push> {
        let mut log = placed.log.clone();
        let after_clear = matches!(log.topics().first(), Some(&(AFTER_CLEAR_V4 | AFTER_CLEAR_V5)));
        let lost = match self.faults.drop_pushes {
            DropPushes::None => false,
            DropPushes::Logs | DropPushes::All => true,
            DropPushes::AfterClear => after_clear,
        };
        if lost || !self.is_wanted(&log) {
            return None;
        }
        let mut value = wire::log(placed, removed);
        if log.data.data.len() > AMOUNT_BYTE && self.faults.mutate_pushed_log.strike() {
            let mut data = log.data.data.to_vec();
            data[AMOUNT_BYTE] ^= 1;
            log.data.data = Bytes::from(data);
            value["data"] = json!(log.data.data);
        }
        if self.faults.push_without_block_hash {
            for field in ["blockHash", "blockNumber", "blockTimestamp", "transactionIndex", "logIndex"] {
                value[field] = Value::Null;
            }
        }
        Some(Push::Log { log, value })
    }

    /// Whether somebody is connected who hears of every log of this block that was subscribed to, and of its place.
    fn tells_all(&self, block: &SimBlock, pushes: &[Push]) -> bool {
        let wanted = block.logs().filter(|placed| self.is_wanted(placed.log)).count();
        let told = pushes.iter().filter(|push| matches!(push, Push::Log { .. })).count();
        let Faults { half_open, push_without_block_hash, .. } = self.faults;
        self.subscriptions() > 0 && told == wanted && !half_open && !push_without_block_hash
    }

    /// A block's pushes: its head, and each log that somebody wants.
    pub fn block_pushes(&mut self, block: &SimBlock) -> Vec<Push> {
        let mut pushes = Vec::new();
        if self.faults.drop_pushes != DropPushes::All {
            pushes.push(Push::Head(wire::header(block)));
        }
        pushes.extend(block.logs().filter_map(|placed| self.log_push(&placed, false)));
        pushes
    }

    /// Tells every subscriber that `gone` left the chain (newest first) and `fresh` joined it.
    pub fn announce(&mut self, gone: &[B256], fresh: &[BlockRef]) {
        let block = |chain: &SimChain, hash| chain.block(hash).cloned();
        let mut pushes = Vec::new();
        if self.faults.removed_pushes {
            for block in gone.iter().filter_map(|hash| block(&self.chain, *hash)).collect::<Vec<_>>() {
                pushes.extend(block.logs().filter_map(|placed| self.log_push(&placed, true)));
            }
        }
        for block in fresh.iter().filter_map(|fresh| block(&self.chain, fresh.hash)).collect::<Vec<_>>() {
            let block_pushes = self.block_pushes(&block);
            self.gateway.tell(block.hash, self.tells_all(&block, &block_pushes));
            pushes.extend(block_pushes);
        }
        self.push(pushes);
    }

    /// Pushes a log that never was on any chain, as if it were the first of the newest block.
    pub fn push_phantom(&mut self, log: Log) {
        let tx = self.chain.tx(vec![log]);
        let tip = self.chain.tip();
        let Some(mut block) = self.chain.block(tip.hash).cloned() else { return };
        block.txs = vec![tx];
        let pushes = block.logs().filter_map(|placed| self.log_push(&placed, false)).collect();
        self.push(pushes);
    }

    /// Queues pushes for whoever subscribed, as the faults would have them.
    pub fn push(&mut self, mut pushes: Vec<Push>) {
        if self.faults.half_open {
            return;
        }
        if self.faults.reorder_pushes {
            pushes.reverse();
        }
        let copies = if self.faults.duplicate_pushes { 2 } else { 1 };
        let mut overrun = Vec::new();
        for push in pushes.iter().flat_map(|push| std::iter::repeat_n(push, copies)) {
            for (id, socket) in &self.sockets {
                for (name, interest) in &socket.subscriptions {
                    let result = match (interest, push) {
                        (Interest::Heads, Push::Head(value)) => value,
                        (Interest::Logs(filter), Push::Log { log, value }) if filter.matches(log) => value,
                        _ => continue,
                    };
                    let params = json!({ "subscription": name, "result": result });
                    let text = json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": params });
                    if socket.queue.try_send(Frame::Text(text.to_string())).is_err() {
                        overrun.push(*id);
                    }
                    match push {
                        Push::Head(_) => self.counters.heads_pushed += 1,
                        Push::Log { .. } => self.counters.logs_pushed += 1,
                    }
                }
            }
        }
        // A client that does not read is cut off, as real nodes do.
        overrun.iter().for_each(|id| drop(self.sockets.remove(id)));
    }
}

fn response(id: &Value, answer: Result<Value, RpcError>) -> Value {
    match answer {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(RpcError { code, message, data }) => {
            let mut error = json!({ "code": code, "message": message });
            if let Some(data) = data {
                error["data"] = data;
            }
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        }
    }
}
