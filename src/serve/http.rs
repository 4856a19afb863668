//! HTTP/1: accept, bound, route.
//!
//! hyper is driven directly because axum's own accept loop bounds neither the number of connections nor their time.
//! Invariant: a connection carries one request, lives at most [`CONNECTION_TIME_MAX`], and there are never more than
//! [`CONNECTIONS_MAX`] of them; the rest wait in the kernel's queue.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::health::CriticalFor;
use super::{Site, metrics};

/// Connections at a time: a few probes, scrapers and people.
pub const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's body: nothing here needs more than a sentence.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a request's line and headers together.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// From the first byte to the end of the headers.
const HEADER_TIME_MAX: Duration = Duration::from_secs(5);
/// From accept to close. Every answer here takes milliseconds; the rest is the network's.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);
/// Pause after a failed accept: the usual cause is that file descriptors ran out, and a connection that ends frees one.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// How often samples are folded into buckets ([`metrics::Meters::fold`]).
const FOLD_PERIOD: Duration = Duration::from_secs(10);

const HOME: &str = "counterfill

/livez    whether the engine's loop turns (200 or 503)
/readyz   whether the bot can do its job now (200 or 503), with every check and fact as JSON
/metrics  Prometheus text

On this machine: `bot status`, `bot health`.
";

/// What the routes know: the site, and whether `LISTEN` is loopback.
#[derive(Debug)]
struct Door {
    site: Site,
    loopback: bool,
}

/// Serves until it is dropped; connections under way end with it.
///
/// # Errors
/// When the listener has no address, which a bound one has.
pub async fn serve(listener: TcpListener, site: Site) -> std::io::Result<()> {
    let loopback = listener.local_addr()?.ip().is_loopback();
    let meters = site.meters.clone();
    let router = router(Arc::new(Door { site, loopback }));
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut fold = tokio::time::interval(FOLD_PERIOD);
    loop {
        tokio::select! {
            _ = fold.tick() => meters.fold(),
            Some(_) = connections.join_next() => {}
            (permit, stream) = next_connection(&listener, &slots) => {
                let router = router.clone();
                connections.spawn(async move {
                    attend(stream, router).await;
                    drop(permit);
                });
            }
        }
    }
}

/// The next connection, once there is room for it. May be cancelled at any await: nothing is lost.
async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (Option<tokio::sync::OwnedSemaphorePermit>, TcpStream) {
    // The semaphore is never closed, so there is always a permit.
    let permit = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (permit, stream),
            Err(error) => {
                log::warn!("LISTEN: a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, one request.
async fn attend(stream: TcpStream, router: Router) {
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME_MAX)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION_TIME_MAX, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::debug!("LISTEN: a connection ended early: {error}"),
        Err(_) => log::debug!("LISTEN: a connection was closed after {} s", CONNECTION_TIME_MAX.as_secs()),
    }
}

fn router(door: Arc<Door>) -> Router {
    Router::new()
        .route("/", get(async || (content("text/plain; charset=utf-8"), HOME)))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .fallback(async || problem(StatusCode::NOT_FOUND, "no such page; see / for what is here"))
        .method_not_allowed_fallback(async || {
            problem(StatusCode::METHOD_NOT_ALLOWED, "this page can only be read (GET or HEAD)")
        })
        .layer(middleware::from_fn(bounded))
        .with_state(door)
}

/// Reads the whole body within its bound before any route runs, and marks every answer as not to be stored.
async fn bounded(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let mut response = match to_bytes(body, BODY_BYTES_MAX).await {
        Ok(body) => next.run(Request::from_parts(head, Body::from(body))).await,
        Err(_) => problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            &format!("the request's body is larger than {BODY_BYTES_MAX} bytes, or was cut off"),
        ),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn livez(State(door): State<Arc<Door>>) -> Response {
    let mut report = door.site.status().redacted();
    report.checks.retain(|check| check.critical_for == CriticalFor::Live);
    let body = serde_json::json!({ "live": report.live, "checks": report.checks });
    json(verdict(report.live), &body)
}

async fn readyz(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    let report = door.report(&headers);
    json(verdict(report.ready), &report)
}

async fn metrics_text(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    let text = metrics::snapshot(&door.report(&headers)) + &door.site.meters.render();
    (content("text/plain; version=0.0.4; charset=utf-8"), text).into_response()
}

impl Door {
    /// The report, as much of it as whoever sent these headers may see.
    fn report(&self, headers: &HeaderMap) -> super::status::StatusReport {
        let report = self.site.status();
        if self.loopback && is_loopback_host(headers) { report.without_account() } else { report.redacted() }
    }
}

/// Whether the request names this machine by a loopback name. A missing `Host` does not.
fn is_loopback_host(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

const fn verdict(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

const fn content(kind: &'static str) -> [(header::HeaderName, &'static str); 1] {
    [(header::CONTENT_TYPE, kind)]
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(mut text) => {
            text.push(b'\n');
            (status, content("application/json"), Bytes::from(text)).into_response()
        }
        // Nothing here has a map with keys that are not text, the only thing JSON can not say.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn problem(status: StatusCode, error: &str) -> Response {
    json(status, &serde_json::json!({ "error": error }))
}
