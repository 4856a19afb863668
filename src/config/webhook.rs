//! Where alerts are posted and heartbeats sent: a web address whose path is the key to somebody's channel.
//!
//! Invariant: neither `Display` nor `Debug` nor an error of this module shows more of it than scheme, host and port; and
//! it never travels in clear to another machine.

use std::fmt;

use tokio_tungstenite::tungstenite::http::Uri;
use zeroize::Zeroizing;

use super::secret::is_this_machine;

/// An `https://` URL, or `http://` to this machine, that shows itself only as scheme and host.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    base: String,
    path: Zeroizing<String>,
}

/// Why a text is no such URL. Holds nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookUrlError {
    /// Not an absolute URL, or of another scheme.
    #[error("is not an https:// URL (http:// to this machine only)")]
    NotUrl,
    /// `http` to another machine.
    #[error("would carry its key in clear; use https://")]
    InClear,
    /// A user or a password before the host, or an `@` that could be the end of one.
    #[error("has an @ in it; a receiver's key stands in the path, and an @ there is written %40")]
    At,
}

impl WebhookUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// When it is no absolute `https` URL with a host and, if any, a numeric port (`http` to this machine only).
    pub fn new(text: &str) -> Result<Self, WebhookUrlError> {
        if text.contains('@') {
            return Err(WebhookUrlError::At);
        }
        let uri: Uri = text.parse().map_err(|_| WebhookUrlError::NotUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(WebhookUrlError::NotUrl);
        };
        let host = authority.host();
        let port = authority.as_str().strip_prefix(host).ok_or(WebhookUrlError::NotUrl)?;
        if host.is_empty() || !(port.is_empty() || authority.port_u16().is_some()) {
            return Err(WebhookUrlError::NotUrl);
        }
        match scheme {
            "https" => {}
            "http" if is_this_machine(host) => {}
            "http" => return Err(WebhookUrlError::InClear),
            _ => return Err(WebhookUrlError::NotUrl),
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { base: format!("{scheme}://{authority}"), path: Zeroizing::new(path.to_owned()) })
    }

    /// Scheme, host and port: all of it that may be shown.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Path and query, key included: only for the request that is sent there.
    #[must_use]
    pub fn expose_path(&self) -> &str {
        &self.path
    }
}

impl WebhookUrl {
    /// Words of others without its path: a receiver, or a proxy on the way, may repeat the address that it was asked for.
    #[must_use]
    pub fn without_key(&self, mut words: String) -> String {
        let path = self.expose_path();
        let parts = path.split(['/', '?', '&', '=', '#']).filter(|part| part.len() >= 4);
        for part in std::iter::once(path).filter(|path| path.len() >= 4).chain(parts) {
            words = words.replace(part, "…");
        }
        words
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.base)
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookUrl({})", self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scheme_host_and_port_are_shown() {
        let rows = [
            ("https://hooks.example.com/services/CANARY", "https://hooks.example.com", "/services/CANARY"),
            (
                "https://hooks.example.com:8443/x?key=CANARY",
                "https://hooks.example.com:8443",
                "/x?key=CANARY",
            ),
            ("https://hooks.example.com", "https://hooks.example.com", "/"),
            ("http://127.0.0.1:9000/CANARY", "http://127.0.0.1:9000", "/CANARY"),
            ("http://[::1]:9000/CANARY", "http://[::1]:9000", "/CANARY"),
            ("http://localhost/CANARY", "http://localhost", "/CANARY"),
        ];
        for (text, shown, path) in rows {
            let url = WebhookUrl::new(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.expose_path()), (shown, path));
            assert_eq!(format!("{url:?}"), format!("WebhookUrl({shown})"));
        }
    }

    #[test]
    fn what_is_not_such_a_url_is_refused() {
        use WebhookUrlError::{At, InClear, NotUrl};
        let rows = [
            ("hooks.example.com/CANARY", NotUrl),
            ("https://", NotUrl),
            ("https:///CANARY", NotUrl),
            ("https://host:port/CANARY", NotUrl),
            ("wss://hooks.example.com/CANARY", NotUrl),
            ("https://hooks.example.com/with space", NotUrl),
            ("http://hooks.example.com/CANARY", InClear),
            ("http://127.0.0.1.example.com/CANARY", InClear),
            ("https://user:CANARY@hooks.example.com/", At),
            ("https://hooks.example.com/a@b", At),
        ];
        for (text, error) in rows {
            assert_eq!(WebhookUrl::new(text).unwrap_err(), error, "{text}");
        }
    }
}
