//! How a WebSocket to a node is made: by tokio-tungstenite with our own trust store, given to alloy, once.
//!
//! It refuses to know what is said over it. Invariant: no text that leaves this file holds more of the URL than scheme
//! and host, and no certificate is trusted that is not in the given file or else in the system's store.

use std::path::Path;
use std::sync::Arc;

use alloy::pubsub::{ConnectionHandle, PubSubConnect};
use alloy::transports::ws::{WebSocketConfig, WsConnect};
use alloy::transports::{TransportErrorKind, TransportResult};
use rustls::ClientConfig;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

use super::backend::{Backend, Peer};
use super::error::Lost;
use super::upgrade;
use crate::units::Millis;
use counterfill_trust as trust;

/// Largest message taken from a node: 10,000 logs of 3 kB, which is where the usual nodes cut, fit in it.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// One attempt to connect.
#[derive(Clone)]
pub(super) struct Socket {
    url: String,
    tls: Option<Arc<ClientConfig>>,
    peer: Arc<Peer>,
}

impl Socket {
    /// Reads the trust store, for `wss://` only.
    pub(super) fn new(url: &str, cert_file: Option<&Path>, peer: Arc<Peer>) -> Result<Self, String> {
        let url = url.trim().to_owned();
        let tls =
            url.to_ascii_lowercase().starts_with("wss:").then(|| trust::client(cert_file)).transpose()?;
        Ok(Self { url, tls, peer })
    }
}

impl PubSubConnect for Socket {
    fn is_local(&self) -> bool {
        // Only changes alloy's polling pace, which is not used.
        false
    }

    async fn connect(&self) -> TransportResult<ConnectionHandle> {
        // WsConnect is used for one thing: it moves a user and a password of the URL into the header.
        let request = WsConnect::new(self.url.clone())
            .into_client_request()
            .map_err(|error| TransportErrorKind::custom(no_socket(&error)))?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let connector = self.tls.clone().map_or(Connector::Plain, Connector::Rustls);
        let (socket, _) = connect_async_tls_with_config(request, Some(limits), true, Some(connector))
            .await
            .map_err(|error| TransportErrorKind::custom(no_socket(&error)))?;
        let (handle, interface) = ConnectionHandle::new();
        tokio::spawn(Backend { socket, interface, peer: Arc::clone(&self.peer) }.run());
        Ok(handle.with_max_retries(0))
    }

    async fn try_reconnect(&self) -> TransportResult<ConnectionHandle> {
        Err(TransportErrorKind::non_retryable_str("a lost connection ends here; the caller makes a new one"))
    }
}

/// Why there is no socket, without the URL: some of the library's own texts carry it.
fn no_socket(error: &SocketError) -> Lost {
    match error {
        SocketError::Io(error) => error.to_string().into(),
        SocketError::Tls(error) => error.to_string().into(),
        SocketError::Http(response) => upgrade::refused(response, Millis::now()),
        SocketError::Url(_) | SocketError::HttpFormat(_) => {
            "the URL is not a usable ws:// or wss:// URL".into()
        }
        SocketError::Protocol(error) => error.to_string().into(),
        _ => "the WebSocket handshake failed".into(),
    }
}
