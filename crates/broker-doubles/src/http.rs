//! HTTP/1.1 down to the byte: a server that answers well, badly, by half, late or not at all.
//!
//! Threads and blocking sockets, one thread per connection, so that a stalled answer holds up nobody else and a test
//! needs no runtime. It refuses to know what is asked. It reads requests with `Content-Length` bodies, which is all that
//! the clients under test send.
//!
//! Invariant: a request reaches the handler whole, exactly once, before a byte of its answer is written.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};
use socket2::SockRef;

use crate::tls::Authority;

/// Longest request taken.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// A connection on which nothing is asked for so long is closed.
const IDLE: Duration = Duration::from_secs(120);
/// How often a stalled answer looks whether the server is still wanted.
const STALL_LOOK: Duration = Duration::from_millis(20);

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Behind the `?`, decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name (lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as the fields of a form, each decoded once.
    #[must_use]
    pub fn form(&self) -> Vec<(String, String)> {
        decode_query(&String::from_utf8_lossy(&self.body))
    }

    /// The first parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// How an answer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Whole.
    Whole,
    /// The connection is closed within the headers.
    HalfHeaders,
    /// All of the headers and half of the body they promise, then closed.
    HalfBody,
    /// Closed without a byte.
    Close,
    /// Reset without a byte.
    Reset,
}

/// What is answered, and how.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Beside `Content-Length` and `Connection`.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// How it leaves.
    pub manner: Manner,
    /// How long it is held back.
    pub stall: Duration,
}

impl Reply {
    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, value: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".into(), "application/json; charset=UTF-8".into())],
            body: value.to_string().into_bytes(),
            manner: Manner::Whole,
            stall: Duration::ZERO,
        }
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Another manner.
    #[must_use]
    pub const fn leaving(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    /// Held back.
    #[must_use]
    pub const fn after(mut self, stall: Duration) -> Self {
        self.stall = stall;
        self
    }
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Called once per request, from any thread.
    fn handle(&self, request: &Request) -> Reply;
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    tls: bool,
    over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on this port of 127.0.0.1 (0: any) and answers with `handler`, over TLS where there is an authority.
    ///
    /// # Errors
    /// When the port can not be had.
    pub fn start(port: u16, authority: Option<&Authority>, handler: Arc<dyn Handler>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let tls = authority.map(|authority| Arc::clone(&authority.server));
        let mut server = Self { address, tls: tls.is_some(), over: Arc::clone(&over), accepting: None };
        server.accepting = Some(thread::spawn(move || {
            for socket in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(socket) = socket else { continue };
                let (handler, over, tls) = (Arc::clone(&handler), Arc::clone(&over), tls.clone());
                thread::spawn(move || {
                    // A client that goes away is what this server is for.
                    let _ = match tls {
                        None => {
                            socket.try_clone().and_then(|stream| serve(stream, &socket, &*handler, &over))
                        }
                        Some(config) => socket.try_clone().and_then(|raw| {
                            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                            serve(StreamOwned::new(connection, raw), &socket, &*handler, &over)
                        }),
                    };
                });
            }
        }));
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.address.port())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread. Who connects after this call is refused: it waits until nobody listens any more, but
        // not for the threads of connections. Where the call fails there is nobody to wake, or no way to.
        if TcpStream::connect(self.address).is_ok()
            && let Some(accepting) = self.accepting.take()
        {
            let _ = accepting.join();
        }
    }
}

fn serve(
    mut stream: impl Read + Write,
    socket: &TcpStream,
    handler: &dyn Handler,
    over: &AtomicBool,
) -> io::Result<()> {
    socket.set_read_timeout(Some(IDLE))?;
    socket.set_nodelay(true)?;
    let mut unread = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut unread)? {
        if over.load(Ordering::SeqCst) {
            // A server that has ended answers on no connection, also not on one that was kept.
            return socket.shutdown(Shutdown::Both);
        }
        let reply = handler.handle(&request);
        let until = Instant::now() + reply.stall;
        while Instant::now() < until && !over.load(Ordering::SeqCst) {
            thread::sleep(STALL_LOOK.min(until.saturating_duration_since(Instant::now())));
        }
        let goes_on = reply.manner == Manner::Whole
            && !request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut head = format!("HTTP/1.1 {} {}\r\n", reply.status, reason(reply.status));
        for (name, value) in &reply.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !goes_on {
            head.push_str("Connection: close\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.body.len()));
        match reply.manner {
            Manner::Whole => stream.write_all(&[head.as_bytes(), &reply.body].concat())?,
            Manner::HalfHeaders => stream.write_all(&head.as_bytes()[..head.len() / 2])?,
            Manner::HalfBody => {
                stream.write_all(&[head.as_bytes(), &reply.body[..reply.body.len() / 2]].concat())?;
            }
            Manner::Close => {}
            Manner::Reset => {
                SockRef::from(socket).set_linger(Some(Duration::ZERO))?;
                // Every handle of the socket must be gone for the reset to leave; the caller drops its own now.
                return Ok(());
            }
        }
        stream.flush()?;
        if !goes_on {
            return socket.shutdown(Shutdown::Both);
        }
    }
    Ok(())
}

/// Reads one request; none where the client has closed between two. What was read beyond it stays in `unread`.
fn read_request(stream: &mut impl Read, unread: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut parsed = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(head) =
            parsed.parse(unread).map_err(|error| wrong(error.to_string()))?
        {
            let headers: Vec<(String, String)> = parsed
                .headers
                .iter()
                .map(|header| {
                    (header.name.to_lowercase(), String::from_utf8_lossy(header.value).into_owned())
                })
                .collect();
            let length: usize = headers
                .iter()
                .find(|(name, _)| name == "content-length")
                .map_or(Ok(0), |(_, value)| value.parse())
                .map_err(|_| wrong("Content-Length is no number".into()))?;
            if length > REQUEST_BYTES_MAX {
                return Err(wrong(format!("a body of {length} bytes")));
            }
            if unread.len() >= head + length {
                let target = parsed.path.unwrap_or("/").to_owned();
                let method = parsed.method.unwrap_or("GET").to_owned();
                let body = unread[head..head + length].to_vec();
                unread.drain(..head + length);
                let (path, query) = target.split_once('?').unwrap_or((&target, ""));
                return Ok(Some(Request {
                    method,
                    path: path.to_owned(),
                    query: decode_query(query),
                    headers,
                    body,
                }));
            }
        }
        if unread.len() > 2 * REQUEST_BYTES_MAX {
            return Err(wrong("a request without an end".into()));
        }
        let mut more = [0; 16 * 1024];
        match stream.read(&mut more)? {
            0 => return Ok(None),
            read => unread.extend_from_slice(&more[..read]),
        }
    }
}

fn decode_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// As forms have it: a plus is a blank.
fn decode(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_encoding::percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Something",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let pairs = decode_query("after=2026-11-23T00%3A00%3A00Z&status=all&x=a+b&odd=%zz&none");
        let shown: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["after=2026-11-23T00:00:00Z", "status=all", "x=a b", "odd=%zz", "none="]);
    }
}
