//! The way to a server: its name, its port, its certificate.
//!
//! It refuses to know what is said behind the handshake. Invariant: of an address only scheme, host and port are shown.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tokio_tungstenite::tungstenite::http::Uri;

use super::{Check, Finding, within};
use crate::trust;

/// For one address to take a connection, and for each step of a handshake.
const STEP: Duration = Duration::from_secs(5);
/// For a name: resolvers wait five seconds for each server, and there may be three.
const NAME_LIMIT: Duration = Duration::from_secs(20);
/// For connection and handshake, with more than one address.
const TLS_LIMIT: Duration = Duration::from_secs(30);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    host: String,
    port: u16,
    tls: bool,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Server {
    /// Out of a URL; none where it has no host.
    pub(super) fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.trim().parse().ok()?;
        let tls = matches!(uri.scheme_str()?, "https" | "wss");
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        Some(Self { host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }), tls })
    }

    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

/// Whether each name leads to an address.
pub(super) fn names(name: &'static str, servers: &[Server], setting: &'static str) -> Check {
    let servers = servers.to_vec();
    within(name, NAME_LIMIT, move || {
        let mut found = Vec::new();
        for server in &servers {
            match server.addresses() {
                Ok(addresses) if addresses.is_empty() => return no_address(server, "no address", setting),
                Ok(addresses) => found.push(format!("{} is {}", server.host, first(&addresses))),
                Err(error) => return no_address(server, &error.to_string(), setting),
            }
        }
        Finding::ok(found.join(", "))
    })
}

fn first(addresses: &[SocketAddr]) -> String {
    let rest = addresses.len().saturating_sub(1);
    let first = addresses.first().map(|address| address.ip().to_string()).unwrap_or_default();
    if rest == 0 { first } else { format!("{first} and {rest} more") }
}

fn no_address(server: &Server, why: &str, setting: &str) -> Finding {
    Finding::failed(
        format!("{} can not be resolved: {why}", server.host),
        format!("Look at {setting} and at this machine's resolver (`getent hosts {}`)", server.host),
    )
}

/// Whether each server takes a connection and shows a certificate that is trusted.
pub(super) fn handshakes(
    name: &'static str,
    servers: &[Server],
    cert_file: Option<&Path>,
    setting: &'static str,
) -> Check {
    let (servers, cert_file) = (servers.to_vec(), cert_file.map(Path::to_path_buf));
    within(name, TLS_LIMIT, move || {
        let mut found = Vec::new();
        for server in &servers {
            match handshake(server, cert_file.as_ref()) {
                Ok(words) => found.push(words),
                Err(Unmet::Unreachable(why)) => {
                    return Finding::failed(
                        format!("{server} takes no connection: {why}"),
                        format!(
                            "Look at {setting}, and whether a firewall or the container's network lets it out"
                        ),
                    );
                }
                Err(Unmet::Untrusted(why)) => {
                    return Finding::failed(
                        format!("no TLS with {server}: {why}"),
                        "Set SSL_CERT_FILE to a PEM file with the authority that signed its certificate, and look at \
                         this machine's clock",
                    );
                }
            }
        }
        Finding::ok(found.join(", "))
    })
}

enum Unmet {
    Unreachable(String),
    Untrusted(String),
}

fn handshake(server: &Server, cert_file: Option<&PathBuf>) -> Result<String, Unmet> {
    let unreachable = |error: io::Error| Unmet::Unreachable(error.to_string());
    let mut last = Unmet::Unreachable("its name leads nowhere".into());
    for address in server.addresses().map_err(unreachable)?.into_iter().take(ADDRESSES_MAX) {
        let socket = match TcpStream::connect_timeout(&address, STEP) {
            Ok(socket) => socket,
            Err(error) => {
                last = unreachable(error);
                continue;
            }
        };
        if !server.tls {
            return Ok(format!("{server} takes connections, without TLS"));
        }
        socket
            .set_read_timeout(Some(STEP))
            .and_then(|()| socket.set_write_timeout(Some(STEP)))
            .map_err(unreachable)?;
        return shake(server, socket, cert_file.map(PathBuf::as_path)).map_err(Unmet::Untrusted);
    }
    Err(last)
}

fn shake(server: &Server, socket: TcpStream, cert_file: Option<&Path>) -> Result<String, String> {
    let config = trust::client(cert_file)?;
    let name = ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?;
    let connection = ClientConnection::new(Arc::clone(&config), name).map_err(|error| error.to_string())?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.conn.complete_io(&mut stream.sock).map_err(|error| error.to_string())?;
    let version = stream.conn.protocol_version().and_then(|version| version.as_str());
    Ok(format!("{server} is trusted ({})", version.unwrap_or("TLS")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_out_of_its_url_without_the_rest() {
        let rows = [
            ("wss://user:KEY@rpc.example.com/v2/KEY?k=KEY", "rpc.example.com:443", true),
            ("ws://127.0.0.1:8545", "127.0.0.1:8545", false),
            ("https://[::1]:8443/KEY", "::1:8443", true),
            ("http://localhost", "localhost:80", false),
        ];
        for (url, shown, tls) in rows {
            let server = Server::of(url).unwrap();
            assert_eq!((server.to_string().as_str(), server.tls), (shown, tls), "{url}");
        }
        assert_eq!(Server::of("no url"), None);
    }
}
