//! A node that answers as a row says: a WebSocket server that knows nothing but one function.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy::primitives::Address;
use counterfill::sim::{self, Faults, SimChain};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// What comes back for a call.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// A result.
    Says(Value),
    /// An error of JSON-RPC.
    Refuses(i64, &'static str),
    /// This frame, whatever it is.
    Frame(&'static str),
    /// This binary frame.
    Bytes(&'static [u8]),
    /// A subscription's id, and at once so many heads under it.
    Heads(u64),
    /// A close frame with this code and reason.
    Closes(u16, &'static str),
    /// Nothing, and the socket stays.
    Silence,
    /// The socket ends.
    HangsUp,
}

/// A node at the URL returned; `answer` is asked for every call, with its method and its parameters.
pub(crate) async fn node(answer: impl FnMut(&str, &Value) -> Reply + Send + 'static) -> String {
    let answer = Arc::new(Mutex::new(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(socket).await else { return };
                while let Some(Ok(frame)) = socket.next().await {
                    let Ok(call) = serde_json::from_slice::<Value>(&frame.into_data()) else { continue };
                    let said = answer.lock().unwrap()(call["method"].as_str().unwrap(), &call["params"]);
                    let id = &call["id"];
                    let text = match said {
                        Reply::Says(result) => {
                            json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string()
                        }
                        Reply::Refuses(code, message) => {
                            let error = json!({ "code": code, "message": message });
                            json!({ "jsonrpc": "2.0", "id": id, "error": error }).to_string()
                        }
                        Reply::Frame(text) => text.to_owned(),
                        Reply::Bytes(bytes) => {
                            let _ = socket.send(Message::binary(bytes)).await;
                            continue;
                        }
                        Reply::Heads(count) => {
                            let opened = json!({ "jsonrpc": "2.0", "id": id, "result": "0x1" });
                            let _ = socket.send(Message::text(opened.to_string())).await;
                            for number in 0..count {
                                let head = json!({ "subscription": "0x1", "result": { "number": format!("{number:#x}") } });
                                let push =
                                    json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": head });
                                let _ = socket.send(Message::text(push.to_string())).await;
                            }
                            continue;
                        }
                        Reply::Closes(code, reason) => {
                            let frame = CloseFrame { code: code.into(), reason: reason.into() };
                            let _ = socket.close(Some(frame)).await;
                            return;
                        }
                        Reply::Silence => continue,
                        Reply::HangsUp => return,
                    };
                    if socket.send(Message::text(text)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// What an honest node of this chain answers.
pub(crate) fn honest(chain: &SimChain, method: &str, params: &Value) -> Reply {
    match method {
        "eth_subscribe" => Reply::Says(json!(if params[0] == "logs" { "0x1" } else { "0x2" })),
        _ => match sim::rpc::answer(chain, &mut Faults::default(), method, params) {
            Ok(answer) => Reply::Says(answer),
            // A contract's answer, and no refusal of the node's.
            Err(error) if error.code == 3 => Reply::Refuses(3, "execution reverted"),
            Err(error) => panic!("an honest node refuses {method} {params}: {error:?}"),
        },
    }
}

/// A listener that takes connections and says nothing, or says this once.
pub(crate) async fn listener(says: &'static str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4_096];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(says.as_bytes()).await;
            if says.is_empty() {
                held.push(socket);
            }
        }
    });
    url
}

/// Far longer than anything here takes; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// `eth_call`'s contract and the four bytes that say what it is asked.
pub(crate) fn called(params: &Value) -> (Address, String) {
    let call = &params[0];
    let data = call["data"].as_str().or_else(|| call["input"].as_str()).unwrap();
    (call["to"].as_str().unwrap().parse().unwrap(), data[..10].to_owned())
}
