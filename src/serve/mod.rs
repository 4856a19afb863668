//! The bot's window to the outside: `/livez`, `/readyz`, `/metrics` over HTTP, and `control.sock`.
//!
//! It shows what engine and chain have published and decides nothing. It refuses to know the ledger, the broker and
//! every secret; what HTTP shows holds no account and no address, and exposure only where both `LISTEN` and the
//! request's `Host` are loopback (a page of a stranger's that names itself 127.0.0.1 is refused by the second).
//!
//! Invariant: nobody who connects can cost more than a bounded amount of memory and time; one connection is one
//! request, so that no idle client keeps a probe out.

pub mod control;
pub mod health;
mod http;
pub mod identity;
pub(crate) use http::ACCEPT_PAUSE;
pub mod metrics;
mod probe;
pub mod status;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::chain::ChainFacts;
use crate::engine::EngineSnapshot;
use crate::units::Millis;

pub use http::{BODY_BYTES_MAX, CONNECTIONS_MAX, serve};
pub use probe::ask_health;

/// Why the bot can not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Another program has the port.
    #[error(
        "LISTEN={0} is in use by another program (another bot?): stop it, or set LISTEN to a free port, such as \
         LISTEN={ip}:{port}", ip = display_ip(.0), port = .0.port().checked_add(1).unwrap_or(8080)
    )]
    InUse(SocketAddr),
    /// The system does not let this user have the port.
    #[error(
        "LISTEN={0} is not allowed for this user (ports below 1024 are root's): set LISTEN to a higher port"
    )]
    NotAllowed(SocketAddr),
    /// The address is of another machine.
    #[error(
        "LISTEN={0} is no address of this machine: set LISTEN to 127.0.0.1:8080, or 0.0.0.0:8080 in a container"
    )]
    NotHere(SocketAddr),
    /// Anything else.
    #[error("LISTEN={0} can not be listened on: {1}")]
    Other(SocketAddr, std::io::Error),
}

impl ServeError {
    /// Each is a wrong `LISTEN`: 78, configuration.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        78
    }
}

fn display_ip(listen: &SocketAddr) -> String {
    if listen.is_ipv6() { format!("[{}]", listen.ip()) } else { listen.ip().to_string() }
}

/// Takes the port that `LISTEN` names.
///
/// # Errors
/// When it can not be had; the message names the variable and what to type.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, ServeError> {
    use std::io::ErrorKind;
    TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => ServeError::InUse(listen),
        ErrorKind::PermissionDenied => ServeError::NotAllowed(listen),
        ErrorKind::AddrNotAvailable => ServeError::NotHere(listen),
        _ => ServeError::Other(listen, error),
    })
}

/// Where this machine reaches what listens there: the unspecified address stands for every one, loopback included.
#[must_use]
pub fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Everything the window shows, as its owners publish it.
#[derive(Debug, Clone)]
pub struct Site {
    /// The engine's facts; none until the first.
    pub facts: watch::Receiver<Option<EngineSnapshot>>,
    /// The chain's facts.
    pub chain: watch::Receiver<ChainFacts>,
    /// The process's facts.
    pub process: watch::Receiver<health::ProcessFacts>,
    /// What they are held against.
    pub limits: health::Limits,
    /// Events counted so far.
    pub meters: metrics::Meters,
    /// The clock; [`Millis::now`] outside tests.
    pub clock: fn() -> Millis,
}

impl Site {
    /// The verdict at this moment.
    #[must_use]
    pub fn health(&self) -> health::Health {
        let facts = self.facts.borrow().clone();
        let chain = self.chain.borrow().clone();
        let process = self.process.borrow().clone();
        health::health(facts.as_ref(), &chain, &process, (self.clock)(), &self.limits)
    }

    /// The full report at this moment: verdict and facts of the same instant. It holds exposure, account and addresses:
    /// only for the operator's eyes (`control.sock`); HTTP shows [`status::StatusReport::without_account`] on loopback, and
    /// else [`status::StatusReport::redacted`].
    #[must_use]
    pub fn status(&self) -> status::StatusReport {
        // Cloned, because a borrow would keep the publishers waiting.
        let facts = self.facts.borrow().clone();
        let chain = self.chain.borrow().clone();
        let process = self.process.borrow().clone();
        let now = (self.clock)();
        let verdict = health::health(facts.as_ref(), &chain, &process, now, &self.limits);
        status::StatusReport::new(verdict, facts.as_ref(), &chain, &process, now)
    }
}
