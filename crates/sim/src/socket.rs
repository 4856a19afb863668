//! The node's sockets: axum's WebSocket and HTTP POST, in front of one `World`.
//!
//! It knows no JSON-RPC. A frame comes in and is handed to the world, which queues the answer; what is queued goes
//! out in order. While the node is half open nothing is read and nothing is sent, so not even a ping is answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::world::{Frame, Socket, World};

/// Frames a client may leave unread before it is cut off.
const QUEUED_FRAMES_MAX: usize = 65_536;

/// What handle, sockets and accept loop share.
#[derive(Debug)]
pub(super) struct Node {
    world: Mutex<World>,
    /// Mirrors `faults.half_open`, so that sockets can wait for it.
    pub(super) half_open: watch::Sender<bool>,
}

impl Node {
    pub(super) fn new(world: World) -> Self {
        Self { world: Mutex::new(world), half_open: watch::Sender::new(false) }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        // The world is data without an invariant across fields that a panic elsewhere could break.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts for ever; ends when it is aborted.
pub(super) async fn serve(listener: TcpListener, node: Arc<Node>) {
    let answers = get(upgrade).post(call);
    let router = Router::new().route("/", answers.clone()).route("/{*path}", answers).with_state(node);
    // As nodes do: the second of two frames does not wait for the client to acknowledge the first.
    let listener = listener.tap_io(|socket| {
        // A socket that refuses is slow, and no worse.
        let _ = socket.set_nodelay(true);
    });
    if let Err(error) = axum::serve(listener, router).await {
        log::error!("the simulated node stopped accepting: {error}");
    }
}

/// Waits while the node is half open.
async fn awake(half_open: &mut watch::Receiver<bool>) {
    // The sender lives as long as the node; where it is gone nothing can be waited for.
    let _ = half_open.wait_for(|asleep| !*asleep).await;
}

/// Whether this connect is refused.
fn is_refused(node: &Node) -> bool {
    let mut world = node.world();
    let refused = world.faults.refuse.strike();
    if refused {
        world.refused();
    }
    refused
}

async fn upgrade(State(node): State<Arc<Node>>, upgrade: WebSocketUpgrade) -> Response {
    awake(&mut node.half_open.subscribe()).await;
    if is_refused(&node) {
        return (StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream").into_response();
    }
    upgrade.on_upgrade(|socket| async move { attach(&node, socket) })
}

async fn call(State(node): State<Arc<Node>>, body: String) -> Response {
    awake(&mut node.half_open.subscribe()).await;
    if is_refused(&node) {
        return (StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream").into_response();
    }
    let slow_ms = node.world().faults.slow_ms;
    if slow_ms > 0 {
        tokio::time::sleep(Duration::from_millis(slow_ms)).await;
    }
    let reply = node.world().reply(None, &body).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], reply).into_response()
}

/// Gives the socket a task of its own, which ends when the world lets go of it.
fn attach(node: &Arc<Node>, socket: WebSocket) {
    let (queue, queued) = mpsc::channel(QUEUED_FRAMES_MAX);
    let mut world = node.world();
    let id = world.connected();
    // The task can hand in nothing before the socket is registered: we hold the lock.
    let task = tokio::spawn(converse(Arc::clone(node), id, socket, queued)).abort_handle();
    world.sockets.insert(id, Socket::new(queue, Some(task)));
}

async fn converse(node: Arc<Node>, id: u64, mut socket: WebSocket, mut queued: mpsc::Receiver<Frame>) {
    let mut half_open = node.half_open.subscribe();
    loop {
        awake(&mut half_open).await;
        let going_on = tokio::select! {
            biased;
            _ = half_open.changed() => true,
            frame = queued.recv() => match frame {
                Some(Frame::Text(text)) => socket.send(Message::text(text)).await.is_ok(),
                Some(Frame::Binary(bytes)) => socket.send(Message::binary(bytes)).await.is_ok(),
                None => false,
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    hear(&node, id, text.as_str());
                    true
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => false,
                Some(Ok(_)) => true,
            },
        };
        if !going_on {
            break;
        }
    }
    node.world().sockets.remove(&id);
}

/// Hands a frame to the world, at once or, at a slow node, later; each frame waits for itself, not for those before.
fn hear(node: &Arc<Node>, id: u64, text: &str) {
    let slow_ms = node.world().faults.slow_ms;
    if slow_ms == 0 {
        reply(node, id, text);
        return;
    }
    let (node, text) = (Arc::clone(node), text.to_owned());
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(slow_ms)).await;
        reply(&node, id, &text);
    });
}

fn reply(node: &Node, id: u64, text: &str) {
    let mut world = node.world();
    if !world.sockets.contains_key(&id) {
        return;
    }
    let reply = world.reply(Some(id), text);
    if let (Some(reply), Some(socket)) = (reply, world.sockets.get(&id)) {
        // A client that left its whole queue unread gets no answer either.
        let _ = socket.queue.try_send(Frame::Text(reply));
    }
}
