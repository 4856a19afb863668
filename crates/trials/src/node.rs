//! The trial's node: the same simulated node that `bot demo` serves over a socket, here without one.
//!
//! A call of the bot is answered at once, or, at a slow node, when the world says so: between two answers of one look
//! at the chain the chain may fork. What is pushed waits in a queue until the world hands it on. It refuses to know who
//! asks and what the time is.
//!
//! Invariant: a call is answered from the chain as it is when the world answers it, and a dead connection answers
//! nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use alloy::primitives::{Address, B256};
use alloy::rpc::json_rpc::{ErrorPayload, Id, RequestPacket, Response, ResponsePacket, ResponsePayload};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;
use tower_service::Service;

use counterfill_chain::abi::TOPICS;
use counterfill_chain::rpc::TooLate;
use counterfill_sim::chain::SimChain;
use counterfill_sim::rpc::RpcError;
use counterfill_sim::world::{Frame, Socket, World};

/// Pushed frames that may wait; a trial never has so many.
const QUEUED_FRAMES_MAX: usize = 16_384;

/// The one client's place among the node's sockets.
const SOCKET: u64 = 1;

type Answer = Result<ResponsePacket, TransportError>;

/// Where a delayed answer will lie.
#[derive(Debug, Default)]
struct Slot {
    answer: Option<Answer>,
    waker: Option<Waker>,
}

/// A call that waits for its answer.
#[derive(Debug)]
struct Waiting {
    number: u64,
    id: Id,
    method: String,
    params: Value,
    slot: Arc<Mutex<Slot>>,
}

#[derive(Debug)]
struct State {
    world: World,
    pushed: Option<mpsc::Receiver<Frame>>,
    /// Answers come when the world says so.
    slow: bool,
    waiting: VecDeque<Waiting>,
    calls: u64,
    /// Calls the world has not been told of.
    fresh: Vec<u64>,
    /// Blocks as they were answered before; a block never changes.
    blocks: BTreeMap<B256, Box<RawValue>>,
}

/// The node. Clones are handles of the same one.
#[derive(Debug, Clone)]
pub(crate) struct Node(Arc<Mutex<State>>);

/// A connection's way to the node.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    node: Node,
    alive: Arc<AtomicBool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // One thread has a world to itself; nothing else could have panicked in there.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub(crate) fn new(chain: SimChain) -> Self {
        Self(Arc::new(Mutex::new(State {
            world: World::new(chain),
            pushed: None,
            slow: false,
            waiting: VecDeque::new(),
            calls: 0,
            fresh: Vec::new(),
            blocks: BTreeMap::new(),
        })))
    }

    /// Looks at or changes chain and faults.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        act(&mut lock(&self.0).world)
    }

    /// It is this time, in milliseconds since 1970.
    pub(crate) fn set_now(&self, now: i64) {
        lock(&self.0).world.gateway.set_now_ms(now.unsigned_abs());
    }

    /// Whatever was pushed so far, nobody has it any more.
    pub(crate) fn forget_pushes(&self) {
        lock(&self.0).world.gateway.forget_pushes();
    }

    /// Whether answers come when the world says so.
    pub(crate) fn slow(&self, slow: bool) {
        lock(&self.0).slow = slow;
    }

    /// A new connection with its two subscriptions; none where the node refuses it.
    pub(crate) fn connect(&self, books: &[Address]) -> Option<Wire> {
        let mut state = lock(&self.0);
        if state.world.faults.half_open || state.world.faults.refuse.strike() {
            return None;
        }
        let (queue, pushed) = mpsc::channel(QUEUED_FRAMES_MAX);
        state.world.sockets.insert(SOCKET, Socket::new(queue, None));
        state.world.connected();
        state.pushed = Some(pushed);
        let heads = serde_json::json!(["newHeads"]);
        let logs = serde_json::json!(["logs", { "address": books, "topics": [TOPICS] }]);
        for params in [heads, logs] {
            // The filter is ours: only a fault or the provider's plan can object.
            if state.world.answer(Some(SOCKET), "eth_subscribe", &params).is_err() {
                state.world.sockets.clear();
                state.pushed = None;
                return None;
            }
        }
        Some(Wire { node: self.clone(), alive: Arc::new(AtomicBool::new(true)) })
    }

    /// What was pushed since the last time: logs, and nothing of a head but that it came.
    pub(crate) fn pushed(&self) -> Vec<Option<Value>> {
        let mut state = lock(&self.0);
        let mut frames = Vec::new();
        if let Some(queue) = &mut state.pushed {
            while let Ok(frame) = queue.try_recv() {
                let Frame::Text(text) = frame else { continue };
                if text.contains("\"topics\":") {
                    frames.push(serde_json::from_str(&text).ok());
                } else {
                    frames.push(None);
                }
            }
        }
        frames
    }

    /// The numbers of the calls that came since the last time and wait for an answer.
    pub(crate) fn fresh_calls(&self) -> Vec<u64> {
        std::mem::take(&mut lock(&self.0).fresh)
    }

    /// Answers a waiting call from the chain as it is now.
    pub(crate) fn answer(&self, number: u64) {
        let mut state = lock(&self.0);
        let Some(at) = state.waiting.iter().position(|call| call.number == number) else { return };
        if state.world.faults.half_open {
            return;
        }
        let Some(call) = state.waiting.remove(at) else { return };
        let answer = Ok(respond(&mut state, call.id, &call.method, &call.params));
        drop(state);
        fill(&call.slot, answer);
    }

    /// A waiting call's limit is over.
    pub(crate) fn too_late(&self, number: u64) {
        let mut state = lock(&self.0);
        let Some(at) = state.waiting.iter().position(|call| call.number == number) else { return };
        let Some(call) = state.waiting.remove(at) else { return };
        drop(state);
        fill(&call.slot, Err(TransportErrorKind::custom(TooLate)));
    }

    /// Calls answered or waiting so far.
    pub(crate) fn calls(&self) -> u64 {
        lock(&self.0).calls
    }
}

fn fill(slot: &Mutex<Slot>, answer: Answer) {
    let mut slot = lock(slot);
    slot.answer = Some(answer);
    if let Some(waker) = slot.waker.take() {
        waker.wake();
    }
}

fn respond(state: &mut State, id: Id, method: &str, params: &Value) -> ResponsePacket {
    let State { world, blocks, .. } = state;
    if method == "eth_getBlockByNumber"
        && let Some(found) = world.block_named(params)
    {
        let payload = match found {
            Ok(Some(hash)) => {
                let known = blocks.entry(hash).or_insert_with(|| {
                    to_raw_value(&world.block_value(hash)).unwrap_or_else(|_| RawValue::NULL.to_owned())
                });
                ResponsePayload::Success(known.clone())
            }
            Ok(None) => ResponsePayload::Success(RawValue::NULL.to_owned()),
            Err(error) => refused(error),
        };
        return ResponsePacket::Single(Response { id, payload });
    }
    let payload: ResponsePayload<Box<RawValue>, Box<RawValue>> =
        match world.answer(Some(SOCKET), method, params) {
            Ok(value) => match to_raw_value(&value) {
                Ok(raw) => ResponsePayload::Success(raw),
                Err(error) => refused(RpcError::new(-32603, error.to_string())),
            },
            Err(error) => refused(error),
        };
    ResponsePacket::Single(Response { id, payload })
}

fn refused(error: RpcError) -> ResponsePayload<Box<RawValue>, Box<RawValue>> {
    let RpcError { code, message, data } = error;
    let data = data.and_then(|data| to_raw_value(&data).ok());
    ResponsePayload::Failure(ErrorPayload { code, message: Cow::Owned(message), data })
}

impl Wire {
    /// Ends the connection: whatever waits on it fails, and so does every call from now on.
    pub(crate) fn end(&self) {
        self.alive.store(false, Ordering::Relaxed);
        let mut state = lock(&self.node.0);
        let waiting = std::mem::take(&mut state.waiting);
        state.world.sockets.clear();
        state.world.gateway.forget_pushes();
        state.pushed = None;
        drop(state);
        for call in waiting {
            fill(&call.slot, Err(TransportErrorKind::backend_gone()));
        }
    }
}

/// The future of a call that waits.
struct Later(Arc<Mutex<Slot>>);

impl Future for Later {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let mut slot = lock(&self.0);
        match slot.answer.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Service<RequestPacket> for Wire {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        let request = match request {
            RequestPacket::Single(request) if self.alive.load(Ordering::Relaxed) => request,
            _ => return Box::pin(std::future::ready(Err(TransportErrorKind::backend_gone()))),
        };
        let params =
            request.params().map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap_or_default());
        let mut state = lock(&self.node.0);
        state.calls += 1;
        if state.slow || state.world.faults.half_open {
            let (number, slot) = (state.calls, Arc::new(Mutex::new(Slot::default())));
            let (id, method) = (request.id().clone(), request.method().to_owned());
            state.waiting.push_back(Waiting { number, id, method, params, slot: Arc::clone(&slot) });
            state.fresh.push(number);
            return Box::pin(Later(slot));
        }
        let answer = respond(&mut state, request.id().clone(), request.method(), &params);
        Box::pin(std::future::ready(Ok(answer)))
    }
}
