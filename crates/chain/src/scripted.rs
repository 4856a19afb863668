//! A node that answers as a test says, at once and without a socket.

use std::borrow::Cow;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use alloy::rpc::client::RpcClient;
use alloy::rpc::json_rpc::{ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload};
use alloy::transports::{TransportError, TransportFut};
use serde_json::Value;
use serde_json::value::to_raw_value;
use tower_service::Service;

use super::rpc::Rpc;

/// An answer, or an error's code and words.
pub(super) type Said = Result<Value, (i64, &'static str)>;

type Script = Arc<Mutex<dyn FnMut(&str, &Value) -> Said + Send>>;

#[derive(Clone)]
struct Node(Script);

/// A connection to a node that answers every method and its parameters with `script`.
pub(super) fn node(script: impl FnMut(&str, &Value) -> Said + Send + 'static) -> Rpc {
    Rpc::over(RpcClient::new(Node(Arc::new(Mutex::new(script))), true))
}

impl Service<RequestPacket> for Node {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let RequestPacket::Single(request) = packet else { panic!("no batches") };
        let params =
            request.params().map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap_or_default());
        let payload = match self.0.lock().unwrap()(request.method(), &params) {
            Ok(value) => ResponsePayload::Success(to_raw_value(&value).unwrap()),
            Err((code, words)) => {
                ResponsePayload::Failure(ErrorPayload { code, message: Cow::Borrowed(words), data: None })
            }
        };
        let response = Response { id: request.id().clone(), payload };
        Box::pin(ready(Ok(ResponsePacket::Single(response))))
    }
}
