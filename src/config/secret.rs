//! What must not be shown: the node's address, which holds a key in its path, its query, its user or its password; and
//! keys themselves.
//!
//! Invariant: neither `Display` nor `Debug` nor an error of this module shows more of an address than scheme, host and
//! port, and anything of a key.

use std::fmt;

use alloy::hex;
use tokio_tungstenite::tungstenite::http::Uri;
use zeroize::Zeroizing;

use crate::broker::schwab::vault::KEY_BYTES;
use crate::broker::secret as broker;

/// A `ws://` or `wss://` URL that shows itself only as scheme and host.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl {
    whole: Zeroizing<String>,
    shown: String,
    host: String,
}

/// Why a text is no such URL. Holds nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretUrlError {
    /// Not an absolute URL.
    #[error("is not a ws:// or wss:// URL")]
    NotUrl,
    /// An `http` one: no subscriptions there.
    #[error("begins with http; subscriptions need the node's ws:// or wss:// URL")]
    Http,
    /// Another scheme.
    #[error("has a scheme that is neither ws nor wss")]
    Scheme,
    /// An `@` after the host: most likely a `/` in the password, and then what looks like the host is a secret.
    #[error("has an @ after its host; write a / in a user or password as %2F and an @ in a path as %40")]
    LateAt,
}

/// Whether the host of a URL is this machine, with or without the brackets of an IPv6 address.
pub(super) fn is_this_machine(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host.parse::<std::net::IpAddr>().map_or(host == "localhost", |ip| ip.is_loopback())
}

impl SecretUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it is not an absolute `ws` or `wss` URL with a host and, if any, a numeric port.
    pub fn new(text: &str) -> Result<Self, SecretUrlError> {
        let uri: Uri = text.parse().map_err(|_| SecretUrlError::NotUrl)?;
        let scheme = uri.scheme_str().ok_or(SecretUrlError::NotUrl)?;
        match scheme {
            "ws" | "wss" => {}
            "http" | "https" => return Err(SecretUrlError::Http),
            _ => return Err(SecretUrlError::Scheme),
        }
        let authority = uri.authority().ok_or(SecretUrlError::NotUrl)?;
        let after_host = text.split_once("://").map_or("", |(_, rest)| rest);
        let after_host = after_host.strip_prefix(authority.as_str()).unwrap_or("@");
        if after_host.contains('@') {
            return Err(SecretUrlError::LateAt);
        }
        let host = authority.host();
        let named = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, rest)| rest);
        let port = named.strip_prefix(host).ok_or(SecretUrlError::NotUrl)?;
        if host.is_empty() || !(port.is_empty() || authority.port_u16().is_some()) {
            return Err(SecretUrlError::NotUrl);
        }
        let shown = format!("{scheme}://{host}{port}");
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self { whole: Zeroizing::new(text.to_owned()), shown, host })
    }

    /// The whole URL, key included: only for the socket that is opened with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.whole
    }

    /// Whether somebody between here and the node could read the key: `ws://` to another machine.
    #[must_use]
    pub fn is_readable_on_the_way(&self) -> bool {
        self.shown.starts_with("ws://") && !is_this_machine(&self.host)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.shown)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretUrl({})", self.shown)
    }
}

/// Longest key taken.
const SECRET_BYTES_MAX: usize = 512;

/// A key: printable, without spaces, and shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(broker::Secret);

impl Secret {
    /// Reads a key; `None` where it is none.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=SECRET_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    /// The key: only for the request that carries it.
    #[must_use]
    pub const fn expose(&self) -> &broker::Secret {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A key to seal with, typed as hex digits, shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey(Zeroizing<[u8; KEY_BYTES]>);

impl SealingKey {
    /// Reads 64 hex digits; `None` where it is anything else.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        // Only digits: the decoder would take a `0x` before them too.
        let digits = text.len() == 2 * KEY_BYTES && text.bytes().all(|b| b.is_ascii_hexdigit());
        (digits && hex::decode_to_slice(text, &mut *key).is_ok()).then(|| Self(key))
    }

    /// The key: only for the vault that it opens.
    #[must_use]
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_are_shown() {
        let rows = [
            ("wss://rpc.example.com/v2/CANARY", "wss://rpc.example.com"),
            ("wss://CANARY:CANARY@rpc.example.com:444/?key=CANARY#CANARY", "wss://rpc.example.com:444"),
            ("wss://CANARY@rpc.example.com", "wss://rpc.example.com"),
            ("ws://[::1]:8545/CANARY", "ws://[::1]:8545"),
            ("ws://127.0.0.1:8545?CANARY", "ws://127.0.0.1:8545"),
        ];
        for (text, shown) in rows {
            let url = SecretUrl::new(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?} {url:#?}"), format!("SecretUrl({shown}) SecretUrl({shown})"));
            assert_eq!(url.expose(), text);
        }
    }

    #[test]
    fn what_is_not_such_a_url_is_refused() {
        use SecretUrlError::{Http, LateAt, NotUrl, Scheme};
        let rows = [
            ("rpc.example.com", NotUrl),
            ("wss:rpc.example.com", NotUrl),
            ("wss://", NotUrl),
            ("wss:///CANARY", NotUrl),
            ("wss://rpc.example.com:port/", NotUrl),
            ("wss://rpc.example.com/with space", NotUrl),
            ("https://rpc.example.com", Http),
            ("ftp://rpc.example.com", Scheme),
            ("wss://user:12/34@rpc.example.com", LateAt),
        ];
        for (text, error) in rows {
            assert_eq!(SecretUrl::new(text).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn plain_ws_to_another_machine_is_noticed() {
        for (text, readable) in [
            ("ws://rpc.example.com", true),
            ("ws://10.0.0.1", true),
            ("ws://127.0.0.1:8545", false),
            ("ws://[::1]:8545", false),
            ("ws://localhost:8545", false),
            ("wss://rpc.example.com", false),
        ] {
            assert_eq!(SecretUrl::new(text).unwrap().is_readable_on_the_way(), readable, "{text}");
        }
    }
}
