//! The door that a browser comes back to: an https server on this machine, for one login.
//!
//! Its certificate is made for this login and vouched for by nobody, so its fingerprint is printed. It takes a code only
//! from a request that carries our own `state`, because any page in that browser can send a request here. It refuses to
//! know what a code is good for.
//!
//! Invariant: the door is on a loopback address, open for [`WAIT`] at most, and no answer of its holds what was sent to it.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rcgen::{CertificateParams, KeyPair};
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::broker::schwab::grant::Granted;
use crate::exit;
use crate::serve::ACCEPT_PAUSE;
use crate::verbs::Failure;

/// How long a person may take on the broker's pages.
pub(super) const WAIT: Duration = Duration::from_secs(15 * 60);
/// From accept to close; a browser opens connections that it never uses.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(30);
const HEADER_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request's line and headers together.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Connections at a time: one browser's.
const CONNECTIONS_MAX: usize = 32;

/// A query that somebody brought, and where the words for their page go.
type Brought = (String, oneshot::Sender<Result<(), String>>);

/// A bound address and a certificate for it.
pub(super) struct Door {
    listener: std::net::TcpListener,
    tls: Arc<ServerConfig>,
    fingerprint: String,
    path: String,
}

impl Door {
    /// Takes the port that the callback names, on this machine only.
    ///
    /// # Errors
    /// In words with the remedy.
    pub(super) fn open(callback: &str) -> Result<Self, String> {
        let elsewhere =
            "REDIRECT_URI is not on this machine (127.0.0.1): log in without --listen and paste the address";
        let uri: Uri = callback.parse().map_err(|_| elsewhere.to_owned())?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let ip = match host.as_str() {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.parse().map_err(|_| elsewhere.to_owned())?,
        };
        if !ip.is_loopback() {
            return Err(elsewhere.into());
        }
        let at = SocketAddr::new(ip, uri.port_u16().unwrap_or(443));
        let listener = std::net::TcpListener::bind(at).map_err(|error| {
            format!(
                "{at} can not be listened on ({error}): free that port, or log in without --listen and paste"
            )
        })?;
        let (tls, fingerprint) = certificate(&host)?;
        Ok(Self { listener, tls, fingerprint, path: uri.path().to_owned() })
    }

    /// What a person compares: SHA-256 of the certificate.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Waits until `exchange` makes something of what a browser brings. It may block: nothing else runs meanwhile.
    ///
    /// # Errors
    /// When the time is over, or the port is lost.
    pub(super) async fn wait(
        self,
        exchange: impl Fn(&str) -> Result<Granted, Failure>,
    ) -> Result<Granted, Failure> {
        let lost = |error: std::io::Error| Failure::Because {
            code: exit::AWAY,
            words: format!("the callback can not be listened on: {error}"),
        };
        self.listener.set_nonblocking(true).map_err(lost)?;
        let listener = TcpListener::from_std(self.listener).map_err(lost)?;
        let (brings, mut brought) = mpsc::channel::<Brought>(1);
        let acceptor = TlsAcceptor::from(self.tls);
        let path: Arc<str> = self.path.into();
        let mut connections = JoinSet::new();
        let served = async {
            loop {
                tokio::select! {
                    Some(_) = connections.join_next() => {}
                    accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                        let Ok((stream, _)) = accepted else {
                            sleep(ACCEPT_PAUSE).await;
                            continue;
                        };
                        let attended = attend(stream, acceptor.clone(), Arc::clone(&path), brings.clone());
                        connections.spawn(attended);
                    }
                    Some((query, page)) = brought.recv() => {
                        match exchange(&query) {
                            Ok(granted) => {
                                // The browser may have gone; the login counts all the same.
                                let _ = page.send(Ok(()));
                                break granted;
                            }
                            Err(failure) => drop(page.send(Err(failure.to_string()))),
                        }
                    }
                }
            }
        };
        let granted = timeout(WAIT, served).await.map_err(|_| Failure::Because {
            code: exit::AWAY,
            words: "nobody came back from the broker's page in time; type `auth login` again".into(),
        })?;
        // The page that says so is still on its way.
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(Duration::from_secs(2), all).await;
        Ok(granted)
    }
}

fn certificate(host: &str) -> Result<(Arc<ServerConfig>, String), String> {
    let failed = |error: &dyn std::fmt::Display| format!("no certificate could be made: {error}");
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let params = CertificateParams::new(vec![host.to_owned()]).map_err(|error| failed(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| failed(&error))?;
    let der = certificate.der().clone();
    let hash: Vec<String> = digest(&SHA256, &der).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![der], private))
        .map_err(|error| failed(&error))?;
    Ok((Arc::new(tls), hash.join(":")))
}

async fn attend(stream: TcpStream, acceptor: TlsAcceptor, path: Arc<str>, brings: mpsc::Sender<Brought>) {
    let served = async {
        // A browser that does not like the certificate hangs up, and comes again once a person has said yes.
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let service = service_fn(|request: Request<Incoming>| {
            let (path, brings) = (Arc::clone(&path), brings.clone());
            async move { Ok::<_, Infallible>(answer(&request, &path, &brings).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // What a browser breaks off is no matter of ours.
        let _ = connection.await;
    };
    let _ = timeout(CONNECTION_TIME_MAX, served).await;
}

/// Registered without a slash at its end, the callback is asked for with one.
fn is_callback(asked: &str, path: &str) -> bool {
    asked.trim_end_matches('/') == path.trim_end_matches('/')
}

async fn answer<T>(request: &Request<T>, path: &str, brings: &mpsc::Sender<Brought>) -> Response<Body> {
    let query = request.uri().query();
    let (Some(query), true) = (query, is_callback(request.uri().path(), path)) else {
        return page(StatusCode::NOT_FOUND, "This door is for a login's answer only.");
    };
    if request.method() != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, "This door is for a login's answer only.");
    }
    let (tell, told) = oneshot::channel();
    if brings.send((query.to_owned(), tell)).await.is_err() {
        return page(StatusCode::GONE, "The login is over.");
    }
    match told.await {
        Ok(Ok(())) => page(StatusCode::OK, "Logged in. This page can be closed; the terminal says the rest."),
        Ok(Err(words)) => page(StatusCode::BAD_REQUEST, &words),
        Err(_) => page(StatusCode::GONE, "The login is over."),
    }
}

/// Words of ours, as text that a browser shows and keeps nowhere; the address it has holds a code, which goes no further.
fn page(status: StatusCode, words: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{words}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_opens_on_this_machine_only() {
        let open = |callback: &str| Door::open(callback).map(drop);
        for elsewhere in
            ["https://example.com/", "https://10.0.0.1:8182", "https://0.0.0.0:8182", "https://[::]:1"]
        {
            assert!(open(elsewhere).unwrap_err().contains("paste"), "{elsewhere}");
        }
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(open(&format!("https://127.0.0.1:{port}")).unwrap_err().contains("can not be listened on"));
        drop(taken);
        let door = Door::open(&format!("https://127.0.0.1:{port}/back")).unwrap();
        assert_eq!((door.path.as_str(), door.fingerprint().len()), ("/back", 95));
    }

    #[test]
    fn only_the_callback_itself_brings_something() {
        for (asked, path, is) in [
            ("/", "", true),
            ("/", "/", true),
            ("/back/", "/back", true),
            ("/favicon.ico", "/", false),
            ("/", "/back", false),
        ] {
            assert_eq!(is_callback(asked, path), is, "{asked} {path}");
        }
    }
}
