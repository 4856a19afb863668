//! One request from its arrival to its answer: who asks, what goes wrong, what is answered, and the line in the log.
//!
//! Invariant: an order exists exactly if one entry of the log says it was created, or it was typed by hand.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::book::Book;
use super::faults::{Fault, Kind};
use super::oauth::Desk;
use super::{control, orders, wire};
use crate::http::{Handler, Manner, Reply, Request};
use crate::queue::Faults;
use crate::{body, market};

/// Orders in one answer, where the client asks for no number.
const LIST_USUAL: usize = 3_000;
/// Longest window of a list.
const WINDOW_MS_MAX: i64 = 60 * 86_400_000;

/// One request, as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// From 1.
    pub n: usize,
    /// On the double's clock.
    pub at_ms: i64,
    /// Method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Query, decoded.
    pub query: Vec<(String, String)>,
    /// What kind of request: `place`, `order`, `list` …
    pub route: String,
    /// A mark of the `Authorization` header, the same for the same header; the header itself is kept nowhere.
    pub authorization: Option<String>,
    /// Body, as text; a login's is not kept.
    pub body: String,
    /// The order that this request created.
    pub created: Option<u64>,
    /// The fault it met, by its name.
    pub fault: Option<String>,
    /// What was answered: a status, or how the connection ended.
    pub answer: String,
    /// Of a login call, what came of it.
    pub login: Option<String>,
}

/// Everything behind the lock.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) book: Book,
    pub(super) desk: Desk,
    pub(super) faults: Faults<Kind>,
    pub(super) log: Vec<Entry>,
}

/// The handler.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) state: Mutex<State>,
    pub(super) base: std::sync::OnceLock<String>,
}

impl Handler for Routes {
    fn handle(&self, request: &Request) -> Reply {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(what) = request.path.strip_prefix("/__fake/") {
            return control::answer(&mut state, what, request);
        }
        state.answer(request, self.base.get().map_or("", String::as_str))
    }
}

/// The kind of a request, with the account and the order it names; none where there is no such path.
fn route(request: &Request) -> Option<(&'static str, Option<&str>, Option<&str>)> {
    let path: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
    Some(match (request.method.as_str(), path.as_slice()) {
        ("GET", ["v1", "oauth", "authorize"]) => ("authorize", None, None),
        ("POST", ["v1", "oauth", "token"]) => ("token", None, None),
        ("GET", ["trader", "v1", "accounts", "accountNumbers"]) => ("numbers", None, None),
        ("GET", ["trader", "v1", "accounts"]) => ("accounts", None, None),
        ("GET", ["trader", "v1", "accounts", hash]) => ("account", Some(hash), None),
        ("POST", ["trader", "v1", "accounts", hash, "orders"]) => ("place", Some(hash), None),
        ("GET", ["trader", "v1", "accounts", hash, "orders"]) => ("list", Some(hash), None),
        ("GET", ["trader", "v1", "accounts", hash, "orders", id]) => ("order", Some(hash), Some(id)),
        ("DELETE", ["trader", "v1", "accounts", hash, "orders", id]) => ("cancel", Some(hash), Some(id)),
        ("PUT", ["trader", "v1", "accounts", hash, "orders", id]) => ("replace", Some(hash), Some(id)),
        ("POST", ["trader", "v1", "accounts", hash, "previewOrder"]) => ("preview", Some(hash), None),
        ("GET", ["trader", "v1", "orders"]) => ("all", None, None),
        (
            "GET",
            ["marketdata", "v1", "markets" | "markets/equity"] | ["marketdata", "v1", "markets", "equity"],
        ) => ("markets", None, None),
        ("GET", ["marketdata", "v1", "quotes"]) => ("quotes", None, None),
        ("GET", ["marketdata", "v1", symbol, "quotes"]) => ("quotes", None, Some(symbol)),
        _ => return None,
    })
}

/// FNV-1a: enough to tell one header from another, and no way back.
fn mark(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

impl State {
    pub(super) fn add_fault(&mut self, fault: Fault) {
        let kept = fault.kind.keeps(&self.book);
        self.faults.add(fault, kept);
    }

    fn answer(&mut self, request: &Request, base: &str) -> Reply {
        let found = route(request);
        let kind = found.map_or("none", |(kind, _, _)| kind);
        let login = matches!(kind, "token" | "authorize");
        self.log.push(Entry {
            n: self.log.len() + 1,
            at_ms: self.book.now_ms(),
            method: request.method.clone(),
            path: request.path.clone(),
            query: if login { Vec::new() } else { request.query.clone() },
            route: kind.to_owned(),
            authorization: request.header("authorization").map(mark),
            body: if login { String::new() } else { String::from_utf8_lossy(&request.body).into_owned() },
            created: None,
            fault: None,
            answer: String::new(),
            login: None,
        });
        let at = self.log.len() - 1;
        self.book.let_time_pass();
        let now = self.book.now_ms();
        let reply = match found {
            None => orders::refuse(404, "Not Found", &[]),
            Some(_) if !login && !self.desk.lets_in(request, now) => self.unauthorized(),
            Some((kind, hash, id)) => self.meet(kind, hash, id, request, at, base),
        };
        let reply = self.with_headers(reply, request);
        self.log[at].answer = match (reply.manner, reply.stall.as_millis()) {
            (Manner::Whole, 0) => reply.status.to_string(),
            (Manner::Whole, ms) => format!("{} after {ms} ms", reply.status),
            (manner, ms) => format!("{manner:?} after {ms} ms"),
        };
        reply
    }

    fn unauthorized(&self) -> Reply {
        Reply::json(401, &wire::unauthorized(self.log.len()))
    }

    fn with_headers(&self, mut reply: Reply, request: &Request) -> Reply {
        let takes_gzip = request.header("accept-encoding").is_some_and(|value| value.contains("gzip"));
        let zipped = reply.headers.iter().any(|(name, _)| name == "Content-Encoding");
        if self.book.switches.gzip && takes_gzip && !zipped && !reply.body.is_empty() {
            reply = body::gzipped(reply);
        }
        reply
            .with("Date", &market::http_date(self.book.now_ms()))
            .with("Schwab-Client-CorrelId", &format!("5f3c2d10-0000-4000-8000-{:012x}", self.log.len()))
            .with("Schwab-Resource-Version", "1")
    }

    fn meet(
        &mut self,
        kind: &str,
        hash: Option<&str>,
        id: Option<&str>,
        request: &Request,
        at: usize,
        base: &str,
    ) -> Reply {
        let met = self.faults.take(kind);
        self.log[at].fault = met.as_ref().and_then(|(fault, _)| fault.name());
        let Some((fault, list)) = met else { return self.usual(kind, hash, id, request, at, None, base) };
        if let Some(reply) = self.instead(&fault, list) {
            return reply;
        }
        let good = self.usual(kind, hash, id, request, at, Some(&fault), base);
        spoil(good, &fault)
    }

    /// What is answered in place of doing anything.
    fn instead(&mut self, fault: &Kind, list: Option<Value>) -> Option<Reply> {
        Some(match fault {
            Kind::AccessRevokedEarly => {
                self.desk.revoke_access();
                self.unauthorized()
            }
            Kind::NotAuthorized => self.unauthorized(),
            Kind::RefreshExpired | Kind::OtherLogin => {
                self.desk.end_refresh();
                self.desk.dead()
            }
            Kind::RefreshFlaky => self.desk.flaky(),
            Kind::RefreshHtml => body::page(403, "Access Denied"),
            Kind::RateLimit { retry_after } => {
                let reply = orders::refuse(429, "Rate Limit Exceeded", &[]);
                match retry_after {
                    Some(seconds) => reply.with("Retry-After", &seconds.to_string()),
                    None => reply,
                }
            }
            Kind::ServerErrorBefore => orders::refuse(500, "Internal Server Error", &[]),
            Kind::Unavailable { html: false } => orders::refuse(503, "Service Unavailable", &[]),
            Kind::Unavailable { html: true } => body::page(500, "Whitelabel Error Page"),
            Kind::GatewayFault => Reply::json(
                500,
                &json!({ "fault": {
                    "faultstring": "Body buffer overflow",
                    "detail": { "errorcode": "protocol.http.TooBigBody" },
                } }),
            ),
            Kind::RequestTimeout { accepted: false } => orders::refuse(408, "Request Timeout", &[]),
            Kind::Refuse { status, message } => orders::refuse(*status, message, &[]),
            Kind::StallThenDrop { ms } => orders::refuse(500, "never read", &[])
                .leaving(Manner::Close)
                .after(Duration::from_millis(*ms)),
            Kind::ListStale => Reply::json(200, &list?),
            _ => return None,
        })
    }

    #[allow(clippy::too_many_arguments)] // a request, taken apart once
    fn usual(
        &mut self,
        kind: &str,
        hash: Option<&str>,
        id: Option<&str>,
        request: &Request,
        at: usize,
        fault: Option<&Kind>,
        base: &str,
    ) -> Reply {
        let now = self.book.now_ms();
        let account = match hash {
            Some(hash) => match self.book.accounts.iter().position(|account| account.hash == hash) {
                Some(account) => account,
                None => {
                    let status = if self.book.switches.unknown_account_400 { 400 } else { 404 };
                    return orders::refuse(status, "Invalid account number", &[]);
                }
            },
            None => 0,
        };
        match kind {
            "authorize" => self.desk.authorize(request, now),
            "token" => {
                let (reply, told) =
                    self.desk.token(request, now, fault == Some(&Kind::RefreshNoRefreshToken));
                self.log[at].login = Some(told.to_owned());
                reply
            }
            "numbers" => self.numbers(),
            "accounts" => {
                let all = self
                    .book
                    .accounts
                    .iter()
                    .map(|it| wire::account(&self.book, it, asks_positions(request)));
                Reply::json(200, &all.collect())
            }
            "account" => {
                let account = &self.book.accounts[account];
                Reply::json(200, &wire::account(&self.book, account, asks_positions(request)))
            }
            "place" => self.place(account, request, at, fault, base),
            "order" => self.show(account, id),
            "list" => self.list(Some(account), request),
            "all" => self.list(None, request),
            "cancel" => self.cancel(account, id, fault),
            "replace" => self.replace(account, id, request, at, base),
            "preview" => match orders::read(&request.body, true) {
                Ok(asked) => Reply::json(200, &wire::preview(&self.book, &asked.symbol, asked.quantity)),
                Err(no) => no,
            },
            "markets" => {
                let today = market::today(now);
                let date = request.parameter("date").unwrap_or(&today);
                Reply::json(200, &wire::hours(&self.book.market, date))
            }
            _ => {
                let symbols = id.or_else(|| request.parameter("symbols")).unwrap_or_default();
                Reply::json(200, &wire::quotes(&self.book, symbols))
            }
        }
    }

    fn numbers(&self) -> Reply {
        let mut all: Vec<Value> = self
            .book
            .accounts
            .iter()
            .map(|account| json!({ "accountNumber": account.number, "hashValue": account.hash }))
            .collect();
        if self.book.switches.accounts_swapped {
            all.reverse();
        }
        Reply::json(200, &Value::Array(all))
    }

    fn place(
        &mut self,
        account: usize,
        request: &Request,
        at: usize,
        fault: Option<&Kind>,
        base: &str,
    ) -> Reply {
        let asked = match orders::read(&request.body, self.book.switches.fractions) {
            Ok(asked) => asked,
            Err(no) => return no,
        };
        let now = self.book.now_ms();
        let tag = self.book.tag.clone();
        let entered = orders::enter(&mut self.book, account, &asked, &tag);
        let order = &mut self.book.orders[entered];
        self.log[at].created = Some(order.id);
        if let Some(life) = fault.and_then(Kind::life) {
            order.plan = life.into();
        }
        if let Some(Kind::Invisible { reads, ms }) = fault {
            order.hidden_reads = *reads;
            order.hidden_until_ms = (*ms > 0).then_some(now + ms);
        }
        let (id, hash) = (order.id, self.book.accounts[account].hash.clone());
        if fault == Some(&Kind::TwinManualOrder) {
            self.type_by_hand(&asked.symbol, asked.instruction, asked.quantity, &tag);
        }
        let path = format!("/trader/v1/accounts/{hash}/orders/");
        let location = match fault {
            Some(Kind::AcceptNoLocation) => None,
            Some(Kind::LocationRelative) => Some(format!("{path}{id}")),
            Some(Kind::LocationGarbage) => Some(path),
            _ => Some(format!("{base}{path}{id}")),
        };
        let mut reply = Reply::json(201, &Value::Null);
        reply.body.clear();
        match location {
            Some(location) => reply.with("Location", &location),
            None => reply,
        }
    }

    fn find(&self, account: usize, id: Option<&str>) -> Option<usize> {
        let id: u64 = id?.parse().ok()?;
        self.book.orders.iter().position(|order| order.id == id && order.account == account)
    }

    fn show(&mut self, account: usize, id: Option<&str>) -> Reply {
        match self.find(account, id) {
            Some(at) if self.book.look(at) => {
                Reply::json(200, &wire::order(&self.book, &self.book.orders[at]))
            }
            _ => orders::refuse(404, "Order not found", &[]),
        }
    }

    fn list(&mut self, account: Option<usize>, request: &Request) -> Reply {
        let moment = |name: &str| {
            let text = request.parameter(name)?;
            // Milliseconds and a literal Z, as the specification has them.
            (text.len() == 24 && text.ends_with('Z')).then(|| market::parse(text)).flatten()
        };
        let (Some(from), Some(to)) = (moment("fromEnteredTime"), moment("toEnteredTime")) else {
            let words = "fromEnteredTime and toEnteredTime are required, as yyyy-MM-dd'T'HH:mm:ss.SSSZ";
            return orders::refuse(400, words, &[]);
        };
        if to < from || to - from > WINDOW_MS_MAX {
            return orders::refuse(
                400,
                "The range of fromEnteredTime and toEnteredTime is at most 60 days",
                &[],
            );
        }
        let limit = request.parameter("maxResults").map_or(Some(LIST_USUAL), |text| text.parse().ok());
        let Some(limit) = limit else { return orders::refuse(400, "maxResults is no number", &[]) };
        let status = request.parameter("status");
        let mut shown = Vec::new();
        for at in 0..self.book.orders.len() {
            let order = &self.book.orders[at];
            // The filter looks at what it shows: whole seconds.
            let entered = order.entered_ms - order.entered_ms.rem_euclid(1_000);
            let wanted =
                account.is_none_or(|account| order.account == account) && (from..=to).contains(&entered);
            if wanted && self.book.look(at) {
                shown.push(at);
            }
        }
        shown.retain(|at| status.is_none_or(|status| self.book.orders[*at].status == status));
        // The order of the real one's array is not documented, so it is none here.
        let seed = self.book.seed;
        let scramble = |at: &usize| {
            u64::try_from(*at).unwrap_or(0).wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        };
        shown.sort_by_key(scramble);
        let all = shown.into_iter().take(limit).map(|at| wire::order(&self.book, &self.book.orders[at]));
        Reply::json(200, &all.collect())
    }

    fn cancel(&mut self, account: usize, id: Option<&str>, fault: Option<&Kind>) -> Reply {
        use super::book::{Fill, Step};
        let Some(at) = self.find(account, id) else { return orders::refuse(404, "Order not found", &[]) };
        let order = &mut self.book.orders[at];
        if !order.is_open() {
            return orders::refuse(400, "Order cannot be canceled", &[]);
        }
        order.status = "PENDING_CANCEL".into();
        order.plan = match fault {
            Some(Kind::FillDuringCancel) => [Step::trades(Fill::Rest, "FILLED")].into(),
            _ => [Step::called("CANCELED")].into(),
        };
        let mut reply = Reply::json(200, &Value::Null);
        reply.body.clear();
        reply
    }

    /// The old order does not name its successor.
    fn replace(
        &mut self,
        account: usize,
        id: Option<&str>,
        request: &Request,
        at: usize,
        base: &str,
    ) -> Reply {
        let Some(old) = self.find(account, id) else { return orders::refuse(404, "Order not found", &[]) };
        if !self.book.orders[old].is_open() {
            return orders::refuse(400, "Order cannot be replaced", &[]);
        }
        let reply = self.place(account, request, at, None, base);
        if reply.status == 201 {
            let now = self.book.now_ms();
            self.book.orders[old].end("CANCELED", now, None);
            self.book.orders[old].status = "REPLACED".into();
        }
        reply
    }
}

fn asks_positions(request: &Request) -> bool {
    request.parameter("fields").is_some_and(|fields| fields.split(',').any(|field| field == "positions"))
}

/// What is done to a good answer.
fn spoil(mut good: Reply, fault: &Kind) -> Reply {
    let mut change = |alter: fn(&mut Value)| {
        if let Ok(mut value) = serde_json::from_slice::<Value>(&good.body) {
            alter(&mut value);
            good.body = value.to_string().into_bytes();
        }
    };
    match fault {
        Kind::ExtraFields => change(wire::with_extra_fields),
        Kind::NullFields => change(wire::with_null_fields),
        Kind::StringNumbers | Kind::OddYes => change(wire::with_string_numbers),
        _ => {}
    }
    match fault {
        Kind::AcceptThenClose => good.leaving(Manner::Close),
        Kind::AcceptThenReset => good.leaving(Manner::Reset),
        Kind::AcceptThenStall { ms } => good.after(Duration::from_millis(*ms)),
        Kind::AcceptHalfHeaders => good.leaving(Manner::HalfHeaders),
        Kind::TruncatedBody => good.leaving(Manner::HalfBody),
        Kind::ServerErrorAfter => orders::refuse(500, "Internal Server Error", &[]),
        Kind::RequestTimeout { accepted: true } => orders::refuse(408, "Request Timeout", &[]),
        Kind::BadJson => {
            good.body.iter_mut().filter(|byte| **byte == b':').for_each(|byte| *byte = b'=');
            good
        }
        Kind::OddYes => {
            good.status = 201;
            good.headers.retain(|(name, _)| name != "Content-Type");
            let body = String::from_utf8_lossy(&good.body).replace("\"Bearer\"", "\"BEARER\"");
            good.body = format!("\u{feff}{body}\n").into_bytes();
            good.with("Content-Type", "text/plain")
        }
        Kind::GzipBody => body::gzipped(good),
        Kind::GzipDamaged { damage } => body::damaged(good, *damage),
        _ => good,
    }
}
