//! How a broker is spoken to over HTTP: two agents, explicit limits, and what a failure proves.
//!
//! One keep-alive agent reads; the other sends orders: each on a connection of its own where an unclear answer is a
//! person's to settle, else on one that was used a moment ago ([`Orders`]). Neither follows redirects, uses a proxy or
//! asks twice, nor asks for answers to be packed; one that comes in gzip is unpacked. It refuses to know any broker:
//! paths, headers and the meaning of a status are the caller's.
//!
//! Invariant: a failure is [`Trouble::NotSent`] only where ureq proves that it lies before the request's first byte, which it
//! never does of a connection that was used before; and no text that leaves this file holds a header or more of an answer than its first [`WORDS_BYTES_MAX`] bytes.

use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::config::ConfigBuilder;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Timeout};

use super::addresses::Addresses;
use crate::units::Millis;
use counterfill_trust as trust;

/// Finding the host and shaking hands with it.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// From the request's last byte to the answer's headers, and from there to its end.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(8);
/// Writing a request that fits in one packet.
const SEND_TIME_MAX: Duration = Duration::from_secs(3);
/// Longest answer read, counted after it was unpacked: 500 orders of 2 kB are a tenth of it.
const ANSWER_BYTES_MAX: u64 = 10 << 20;
/// How long ago a connection was used, at most, that an order goes out on.
const ORDERS_IDLE_MAX: Duration = Duration::from_secs(5);
/// An answer's headers, at most. The library clears so much memory for each connection.
const HEADERS_BYTES_MAX: usize = 64 * 1024;
/// A request's headers and a body leave in pieces of this; an order is one.
const REQUEST_BYTES: usize = 16 * 1024;
/// What is kept of an answer that is not understood.
pub const WORDS_BYTES_MAX: usize = 500;

/// Headers that go with a request.
pub type Headers<'a> = &'a [(&'static str, &'a str)];

/// What a server answered.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body, unpacked; empty where it could not be read to its end.
    pub body: Vec<u8>,
    /// Whether the body was read: it ended where it should, came packed in a way that is known, and was not too long.
    pub whole: bool,
    headers: Vec<(String, String)>,
}

impl Answer {
    /// An answer without headers, for tests of what is made of one.
    #[must_use]
    pub fn of(status: u16, body: &str) -> Self {
        Self { status, body: body.as_bytes().to_vec(), whole: true, headers: Vec::new() }
    }

    /// The first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// By how many milliseconds the clock of its `Date` was ahead of one by which it was asked for at `asked` and had come
    /// at `answered`; negative: behind. A date is cut to seconds: what lies within that second, and the time the answer
    /// took, proves nothing and is zero. None where there is no date.
    fn ahead_ms(&self, asked: Millis, answered: Millis) -> Option<i64> {
        let told = self.header("date").and_then(http_date)?;
        let behind = asked.since(told.plus(999));
        Some(if behind > 0 { -behind } else { told.since(answered).max(0) })
    }

    /// The beginning of the body as text that fits in a log: printable, one line, [`WORDS_BYTES_MAX`] bytes at most.
    #[must_use]
    pub fn words(&self) -> String {
        words(&String::from_utf8_lossy(&self.body))
    }
}

/// A moment as HTTP's headers write it (RFC 9110, 5.6.7).
pub(super) fn http_date(text: &str) -> Option<Millis> {
    let moment = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Millis(moment.timestamp().as_millisecond()))
}

/// Our clock while a question is asked, and how the broker's stands to it.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// The question's `now`, and when that was.
    begun: Option<(Millis, Instant)>,
    ahead_ms: Option<i64>,
}

impl Clocks {
    /// Ours at this moment of the question that was begun at `now`, which may take several calls: it goes on from there,
    /// also where a person sets the clock meanwhile.
    pub(super) fn at(&mut self, now: Millis) -> Millis {
        match self.begun {
            Some((begun_at, begun)) if begun_at == now => {
                now.plus(i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX))
            }
            _ => {
                self.begun = Some((now, Instant::now()));
                now
            }
        }
    }

    /// Takes what an answer says that was asked for at `asked` of the question that was begun at `now`.
    pub(super) fn heed(&mut self, answer: &Answer, asked: Millis, now: Millis) {
        let answered = self.at(now);
        self.ahead_ms = answer.ahead_ms(asked, answered).or(self.ahead_ms);
    }

    /// By how much the broker's clock was ahead of ours in the last answer that told ([`Answer::ahead_ms`]).
    pub(super) fn ahead_ms(&self) -> Option<i64> {
        self.ahead_ms
    }
}

/// Text of others as it may stand in a log: printable, on one line, bounded.
#[must_use]
pub fn words(text: &str) -> String {
    one_line(text, WORDS_BYTES_MAX)
}

/// Text of others, printable, on one line, of so many bytes at most.
#[must_use]
pub fn one_line(text: &str, bytes_max: usize) -> String {
    let mut kept = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let room = bytes_max.saturating_sub(kept.len() + 1);
        if !kept.is_empty() && room > 0 {
            kept.push(' ');
        }
        let mut end = word.len().min(room);
        while !word.is_char_boundary(end) {
            end -= 1;
        }
        kept.push_str(&word[..end]);
        if end < word.len() {
            break;
        }
    }
    kept
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Proved to lie before the request left.
    NotSent(String),
    /// The server may have heard it.
    Unclear(String),
}

impl Trouble {
    /// In words.
    #[must_use]
    pub fn into_words(self) -> String {
        match self {
            Self::NotSent(words) | Self::Unclear(words) => words,
        }
    }
}

/// What orders are sent on. A connection that the server closes just as an order leaves makes its answer unclear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orders {
    /// A connection each.
    Alone,
    /// The last one's connection, if it was used `ORDERS_IDLE_MAX` ago at most: servers wait longer before they close one.
    Kept,
}

/// Both agents for one server.
#[derive(Debug)]
pub struct Http {
    reads: Agent,
    orders: Agent,
    addresses: Addresses,
    base: String,
}

impl Http {
    /// For the server at `base` (scheme, host and port), with the certificates of `cert_file` or the system's.
    ///
    /// # Errors
    /// In words, when TLS is needed and there is no certificate to trust.
    pub fn new(base: &str, cert_file: Option<&Path>, orders: Orders) -> Result<Self, String> {
        let base = base.trim_end_matches('/').to_owned();
        let mut tls = TlsConfig::builder();
        if base.starts_with("https://") {
            let certificates = trust::certificates(cert_file)?;
            let known = certificates.iter().map(|der| Certificate::from_der(der).to_owned());
            tls = tls.root_certs(RootCerts::from(known));
        }
        let tls = tls.build();
        let addresses = Addresses::default();
        let agent = |config: ConfigBuilder<AgentScope>| {
            Agent::with_parts(config.build(), DefaultConnector::new(), addresses.shared())
        };
        let reads = agent(config(&tls));
        let kept = if orders == Orders::Kept { 1 } else { 0 };
        let orders = config(&tls).max_idle_connections(kept).max_idle_connections_per_host(kept);
        let orders = agent(orders.max_idle_age(ORDERS_IDLE_MAX));
        Ok(Self { reads, orders, addresses, base })
    }

    /// Reads. May be asked again.
    ///
    /// # Errors
    /// When there is no answer; says nothing about what was asked for.
    pub fn read(&self, path: &str, query: &[(&str, &str)], headers: Headers<'_>) -> Result<Answer, Trouble> {
        let mut request = self.reads.get(format!("{}{path}", self.base));
        for (name, value) in query {
            request = request.query(*name, *value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().map(answered).map_err(|error| self.trouble(&error))
    }

    /// Sends a form that is no order, once.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn send_form(&self, path: &str, form: &str, headers: Headers<'_>) -> Result<Answer, Trouble> {
        self.post(path, form, "application/x-www-form-urlencoded", headers)
    }

    /// Sends JSON that is no order, once.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn send_message(&self, path: &str, body: &str) -> Result<Answer, Trouble> {
        self.post(path, body, "application/json", &[])
    }

    /// Sends an order, once.
    ///
    /// # Errors
    /// When there is no answer: what that proves is in [`Trouble`].
    pub fn send_order(&self, path: &str, body: &str, headers: Headers<'_>) -> Result<Answer, Trouble> {
        self.post(path, body, "application/json", headers)
    }

    fn post(&self, path: &str, body: &str, kind: &str, headers: Headers<'_>) -> Result<Answer, Trouble> {
        let mut request = self.orders.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.content_type(kind).send(body).map(answered).map_err(|error| self.trouble(&error))
    }

    fn trouble(&self, error: &ureq::Error) -> Trouble {
        self.addresses.forget();
        trouble(error)
    }
}

fn config(tls: &TlsConfig) -> ConfigBuilder<AgentScope> {
    Agent::config_builder()
        .tls_config(tls.clone())
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .user_agent(concat!("counterfill/", env!("CARGO_PKG_VERSION")))
        .accept("application/json")
        // What comes packed all the same is unpacked: a gateway between here and the broker may do as it likes.
        .accept_encoding("")
        .input_buffer_size(HEADERS_BYTES_MAX)
        .max_response_header_size(HEADERS_BYTES_MAX)
        .output_buffer_size(REQUEST_BYTES)
        .timeout_resolve(Some(CONNECT_TIME_MAX))
        .timeout_connect(Some(CONNECT_TIME_MAX))
        .timeout_send_request(Some(SEND_TIME_MAX))
        .timeout_send_body(Some(SEND_TIME_MAX))
        .timeout_recv_response(Some(ANSWER_TIME_MAX))
        .timeout_recv_body(Some(ANSWER_TIME_MAX))
}

/// The status counts, whatever becomes of the body.
fn answered(response: Response<Body>) -> Answer {
    let (head, mut body) = response.into_parts();
    let headers = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    let read = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let whole = read.is_ok();
    Answer { status: head.status.as_u16(), body: read.unwrap_or_default(), whole, headers }
}

fn trouble(error: &ureq::Error) -> Trouble {
    let words = words(&error.to_string());
    if lies_before_the_request(error) { Trouble::NotSent(words) } else { Trouble::Unclear(words) }
}

/// What ureq itself says before it has written anything. Whatever is not on this list may have been heard.
fn lies_before_the_request(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::BadUri(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        ureq::Error::Io(error) => error.kind() == ErrorKind::ConnectionRefused,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn only_what_is_proved_was_not_sent() {
        let io = |kind: ErrorKind| ureq::Error::Io(kind.into());
        let rows = [
            (ureq::Error::HostNotFound, true),
            (ureq::Error::BadUri("x".into()), true),
            (ureq::Error::ConnectionFailed, true),
            (ureq::Error::Timeout(Timeout::Resolve), true),
            (ureq::Error::Timeout(Timeout::Connect), true),
            (io(ErrorKind::ConnectionRefused), true),
            (ureq::Error::Timeout(Timeout::SendRequest), false),
            (ureq::Error::Timeout(Timeout::SendBody), false),
            (ureq::Error::Timeout(Timeout::RecvResponse), false),
            (ureq::Error::Timeout(Timeout::RecvBody), false),
            (ureq::Error::Timeout(Timeout::Global), false),
            (io(ErrorKind::ConnectionReset), false),
            (io(ErrorKind::BrokenPipe), false),
            (io(ErrorKind::UnexpectedEof), false),
            (io(ErrorKind::TimedOut), false),
            (ureq::Error::Tls("x"), false),
            (ureq::Error::TooManyRedirects, false),
        ];
        for (error, proved) in rows {
            assert_eq!(lies_before_the_request(&error), proved, "{error:?}");
        }
    }

    #[test]
    fn what_others_say_is_kept_short_and_on_one_line() {
        assert_eq!(words("<html>\r\n <b>Access\tDenied</b>\u{1b}[2J"), "<html> <b>Access Denied</b> [2J");
        let long = words(&"é".repeat(2_000));
        assert!(long.len() <= WORDS_BYTES_MAX && long.len() >= WORDS_BYTES_MAX - 2, "{}", long.len());
        let many = words(&"ab ".repeat(2_000));
        assert!(many.len() <= WORDS_BYTES_MAX, "{}", many.len());
    }

    /// Reads one request with a body; the length of its head is not looked at, it is short.
    fn heard(stream: &mut TcpStream) -> bool {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        while !bytes.ends_with(b"}") {
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return false,
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
            }
        }
        true
    }

    /// A server that answers so many orders on each connection, and closes it when it has heard the next one. What it
    /// heard on each.
    fn closing_after(answered: usize) -> (String, mpsc::Receiver<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut orders) = (stream.unwrap(), 0);
                while heard(&mut stream) {
                    orders += 1;
                    if orders > answered {
                        break;
                    }
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
                }
                drop(stream);
                if tell.send(orders).is_err() {
                    return;
                }
            }
        });
        (base, told)
    }

    #[test]
    fn an_order_on_a_connection_that_dies_is_unclear_and_never_sent_again() {
        let (base, told) = closing_after(2);
        let http = Http::new(&base, None, Orders::Kept).unwrap();
        let send = || http.send_order("/orders", "{}", &[]);
        assert_eq!(send().unwrap().status, 200);
        assert_eq!(send().unwrap().status, 200);
        let died = send().err();
        assert!(matches!(died, Some(Trouble::Unclear(_))), "{died:?}");
        assert_eq!(told.recv().unwrap(), 3, "all three on one connection, none of them twice");
        assert_eq!(send().unwrap().status, 200, "the next one has a new connection");
        drop(http);
        assert_eq!(told.recv().unwrap(), 1);
    }

    #[test]
    fn an_order_that_must_not_be_unclear_has_a_connection_of_its_own() {
        let (base, told) = closing_after(1);
        let http = Http::new(&base, None, Orders::Alone).unwrap();
        for _ in 0..3 {
            assert_eq!(http.send_order("/orders", "{}", &[]).unwrap().status, 200);
            assert_eq!(told.recv().unwrap(), 1);
        }
    }

    #[test]
    fn nobody_there_is_not_sent_also_after_a_connection_was_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let http =
            Http::new(&format!("http://{}", listener.local_addr().unwrap()), None, Orders::Kept).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(heard(&mut stream));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        });
        assert_eq!(http.send_order("/orders", "{}", &[]).unwrap().status, 200);
        // It closed the connection and listens no more, and both were noticed before the first byte of the next order.
        server.join().unwrap();
        let refused = http.send_order("/orders", "{}", &[]).err();
        assert!(matches!(refused, Some(Trouble::NotSent(_))), "{refused:?}");
    }
}
