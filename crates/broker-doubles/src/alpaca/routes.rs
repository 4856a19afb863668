//! One request from its arrival to its answer: who asks, what goes wrong, what is answered, and the line in the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::book::Book;
use super::faults::{Fault, Kind};
use super::{control, orders, wire};
use crate::http::{Handler, Manner, Reply, Request};
use crate::queue::Faults;
use crate::{body, market};

/// Orders in one answer, where the client asks for no number and where it asks for too many.
const LIST_USUAL: usize = 50;
const LIST_MAX: usize = 500;

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
    /// Whether the keys were right; they themselves are kept nowhere.
    pub keys_right: bool,
    /// What kind of request: `place`, `order`, `find` …
    pub route: String,
    /// Body, as text.
    pub body: String,
    /// The client order id, of an order call or a question for one.
    pub client_order_id: Option<String>,
    /// The order that this request created.
    pub created: Option<String>,
    /// The fault it met, by its name.
    pub fault: Option<String>,
    /// What was answered: a status, or how the connection ended.
    pub answer: String,
}

/// Everything behind the lock.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) book: Book,
    pub(super) faults: Faults<Kind>,
    pub(super) log: Vec<Entry>,
}

/// The handler.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) state: Mutex<State>,
}

impl Handler for Routes {
    fn handle(&self, request: &Request) -> Reply {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(what) = request.path.strip_prefix("/__fake/") {
            return control::answer(&mut state, what, request);
        }
        state.answer(request)
    }
}

/// The kind of a request; none where there is no such path.
fn route(request: &Request) -> Option<&'static str> {
    let path: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
    Some(match (request.method.as_str(), path.as_slice()) {
        ("POST", ["v2", "orders"]) => "place",
        ("GET", ["v2", "orders"]) => "list",
        ("GET", ["v2", "orders:by_client_order_id"]) => "find",
        ("GET", ["v2", "orders", _]) => "order",
        ("DELETE", ["v2", "orders", _]) => "cancel",
        ("GET", ["v2", "positions"]) => "positions",
        ("GET", ["v2", "positions", _]) => "position",
        ("GET", ["v2", "account"]) => "account",
        ("GET", ["v2", "assets", _]) => "asset",
        ("GET", ["v2", "clock"]) => "clock",
        ("GET", ["v2", "calendar"]) => "calendar",
        ("GET", ["v2", "stocks", "quotes", "latest"]) => "quotes",
        ("GET", ["v2", "stocks", "trades", "latest"]) => "trades",
        _ => return None,
    })
}

impl State {
    pub(super) fn add_fault(&mut self, fault: Fault) {
        let kept = fault.kind.keeps(&self.book);
        self.faults.add(fault, kept);
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let kind = route(request);
        let account = &self.book.account;
        let keys_right = request.header("apca-api-key-id") == Some(account.key.as_str())
            && request.header("apca-api-secret-key") == Some(account.secret.as_str());
        let text = String::from_utf8_lossy(&request.body).into_owned();
        let named = orders::read(&request.body).ok().and_then(|asked| asked.client_order_id);
        self.log.push(Entry {
            n: self.log.len() + 1,
            at_ms: self.book.now_ms(),
            method: request.method.clone(),
            path: request.path.clone(),
            query: request.query.clone(),
            keys_right,
            route: kind.unwrap_or("none").to_owned(),
            body: text,
            client_order_id: named.or_else(|| request.parameter("client_order_id").map(str::to_owned)),
            created: None,
            fault: None,
            answer: String::new(),
        });
        let at = self.log.len() - 1;
        self.book.let_time_pass();
        let reply = match kind {
            _ if !keys_right => refuse(401, 40_110_000, "request is not authorized"),
            None => refuse(404, 40_410_000, "endpoint not found"),
            Some(kind) => self.meet(kind, request, at),
        };
        let reply = self.with_headers(reply);
        self.log[at].answer = match (reply.manner, reply.stall.as_millis()) {
            (Manner::Whole, 0) => reply.status.to_string(),
            (Manner::Whole, ms) => format!("{} after {ms} ms", reply.status),
            (manner, ms) => format!("{manner:?} after {ms} ms"),
        };
        reply
    }

    fn with_headers(&self, reply: Reply) -> Reply {
        let now = self.book.now_ms();
        let limit = self.book.account.rate_limit;
        reply
            .with("Date", &market::http_date(now))
            .with("X-Request-ID", &format!("double-{}", self.log.len()))
            .with("X-RateLimit-Limit", &limit.to_string())
            .with("X-RateLimit-Remaining", &limit.saturating_sub(1).to_string())
    }

    fn meet(&mut self, kind: &str, request: &Request, at: usize) -> Reply {
        let Some((fault, list)) = self.faults.take(kind) else { return self.usual(kind, request, at, None) };
        let name =
            serde_json::to_value(&fault).ok().and_then(|fault| fault["kind"].as_str().map(str::to_owned));
        self.log[at].fault = name;
        match &fault {
            Kind::StallThenDrop { ms } => {
                refuse(500, 0, "never read").leaving(Manner::Close).after(Duration::from_millis(*ms))
            }
            Kind::ServerErrorBefore => refuse(500, 50_010_000, "internal server error occurred"),
            Kind::Unavailable { html: false } => refuse(503, 50_310_000, "service unavailable"),
            Kind::Unavailable { html: true } => body::page(503, "503 Service Temporarily Unavailable"),
            Kind::AccessDenied => body::page(403, "Access Denied"),
            Kind::NoRoute => {
                body::plain(404, "404 Not Found: Requested route ('orders.example') does not exist.")
            }
            Kind::RateLimit { reset_s, retry_after_s } => {
                let mut reply = refuse(429, 42_910_000, "too many requests.");
                if let Some(seconds) = reset_s {
                    let reset = self.book.now_ms() / 1_000 + seconds;
                    reply = reply.with("X-RateLimit-Reset", &reset.to_string());
                }
                if let Some(seconds) = retry_after_s {
                    reply = reply.with("Retry-After", &seconds.to_string());
                }
                reply
            }
            Kind::Keys { status } => refuse(*status, 40_110_000, "access key verification failed"),
            Kind::Refuse { status, code, message } => refuse(*status, *code, message),
            Kind::ListStale => {
                list.map_or_else(|| refuse(500, 0, "no list was kept"), |list| Reply::json(200, &list))
            }
            _ => {
                let good = self.usual(kind, request, at, Some(&fault));
                self.spoil(good, &fault)
            }
        }
    }

    /// What is done to a good answer.
    fn spoil(&mut self, mut good: Reply, fault: &Kind) -> Reply {
        let mut change = |alter: fn(&mut Value)| {
            if let Ok(mut value) = serde_json::from_slice::<Value>(&good.body) {
                alter(&mut value);
                good.body = value.to_string().into_bytes();
            }
        };
        match fault {
            Kind::ExtraFields => change(wire::with_extra_fields),
            Kind::NullFields => change(wire::with_null_fields),
            Kind::Numbers => change(wire::with_numbers),
            _ => {}
        }
        match fault {
            Kind::AcceptThenClose => good.leaving(Manner::Close),
            Kind::AcceptThenReset => good.leaving(Manner::Reset),
            Kind::AcceptThenStall { ms } => good.after(Duration::from_millis(*ms)),
            Kind::AcceptHalfHeaders => good.leaving(Manner::HalfHeaders),
            Kind::TruncatedBody => good.leaving(Manner::HalfBody),
            Kind::AcceptNoId => Reply::json(200, &serde_json::json!({})),
            Kind::ServerErrorAfter => refuse(500, 50_010_000, "internal server error occurred"),
            Kind::RefuseButAccept { status, code } => {
                refuse(*status, *code, "request could not be processed")
            }
            Kind::BadJson => {
                good.body = good.body.iter().map(|b| if *b == b':' { b'=' } else { *b }).collect();
                good
            }
            Kind::Html => body::page(200, "Alpaca"),
            Kind::GzipBody => body::gzipped(good),
            Kind::GzipDamaged { damage } => body::damaged(good, *damage),
            _ => good,
        }
    }

    fn usual(&mut self, kind: &str, request: &Request, at: usize, fault: Option<&Kind>) -> Reply {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        match kind {
            "place" => self.place(request, at, fault),
            "order" => self.show(|order| order.id == last),
            "find" => {
                let name = request.parameter("client_order_id").unwrap_or_default().to_owned();
                self.show(|order| order.client_order_id == name)
            }
            "list" => self.list(request),
            "cancel" => self.cancel(last),
            "positions" => {
                let held = self.book.positions.iter().filter(|(_, shares)| shares.nanos() != 0);
                Reply::json(
                    200,
                    &held.map(|(symbol, shares)| wire::position(&self.book, symbol, *shares)).collect(),
                )
            }
            "position" => match self.book.position(last) {
                shares if shares.nanos() != 0 => Reply::json(200, &wire::position(&self.book, last, shares)),
                _ => refuse(404, 40_410_000, "position does not exist"),
            },
            "account" => Reply::json(200, &wire::account(&self.book)),
            "asset" if self.book.asset(last).exists => Reply::json(200, &wire::asset(&self.book, last)),
            "asset" => refuse(404, 40_410_000, &format!("asset not found for {last}")),
            "clock" => Reply::json(200, &wire::clock(&self.book)),
            "calendar" => {
                let today = market::today(self.book.now_ms());
                let start = request.parameter("start").unwrap_or(&today);
                let end = request.parameter("end").unwrap_or(start);
                Reply::json(200, &wire::days(&self.book.market.days(start, end)))
            }
            _ => self.data(kind, request.parameter("symbols").unwrap_or_default()),
        }
    }

    /// The data server: its refusals have no code, and one name that it does not take refuses the list.
    fn data(&self, kind: &str, symbols: &str) -> Reply {
        let wrong = symbols.split(',').find(|name| self.book.unquoted.iter().any(|wrong| wrong == name));
        match wrong {
            Some(name) => {
                let which = if self.book.names_unquoted { format!(": {name}") } else { String::new() };
                Reply::json(400, &serde_json::json!({ "message": format!("invalid symbol{which}") }))
            }
            None if kind == "trades" => Reply::json(200, &wire::trades(&self.book, symbols)),
            None => Reply::json(200, &wire::quotes(&self.book, symbols)),
        }
    }

    fn place(&mut self, request: &Request, at: usize, fault: Option<&Kind>) -> Reply {
        let received = orders::read(&request.body).and_then(|asked| orders::receive(&mut self.book, &asked));
        let created = match received {
            Ok(created) => created,
            Err((status, code, words)) => return refuse(status, code, &words),
        };
        let order = &mut self.book.orders[created];
        self.log[at].created = Some(order.id.clone());
        if let Some(life) = fault.and_then(Kind::life) {
            order.plan = life.into();
        }
        if let Some(Kind::Invisible { reads }) = fault {
            order.hidden_reads = *reads;
        }
        let answer = wire::order(order);
        if fault == Some(&Kind::TwinManualOrder) {
            let (symbol, buys, quantity) = (order.symbol.clone(), order.buys, order.quantity);
            orders::enter(&mut self.book, &symbol, buys, quantity, None, true);
        }
        Reply::json(200, &answer)
    }

    fn show(&mut self, wanted: impl Fn(&super::book::Order) -> bool) -> Reply {
        let found = self.book.orders.iter().position(wanted);
        match found {
            Some(at) if self.book.look(at) => Reply::json(200, &wire::order(&self.book.orders[at])),
            _ => refuse(404, 40_410_000, "order not found"),
        }
    }

    fn list(&mut self, request: &Request) -> Reply {
        let limit = match request.parameter("limit").map(str::parse::<usize>) {
            None => LIST_USUAL,
            Some(Ok(limit)) if (1..=LIST_MAX).contains(&limit) => limit,
            Some(_) => return refuse(422, 40_010_001, &format!("limit must be between 1 and {LIST_MAX}")),
        };
        let moment = |name: &str| match request.parameter(name).map(market::parse) {
            None => Ok(None),
            Some(Some(ms)) => Ok(Some(ms)),
            Some(None) => Err(refuse(422, 40_010_001, &format!("{name} is not a timestamp"))),
        };
        let (after, until) = match (moment("after"), moment("until")) {
            (Ok(after), Ok(until)) => (after, until),
            (Err(no), _) | (_, Err(no)) => return no,
        };
        let status = request.parameter("status").unwrap_or("open").to_owned();
        let mut shown = Vec::new();
        for at in 0..self.book.orders.len() {
            let order = &self.book.orders[at];
            // By submission; the end that is named is not in it.
            let within = after.is_none_or(|after| order.submitted_ms > after)
                && until.is_none_or(|until| order.submitted_ms < until);
            let wanted = match status.as_str() {
                "all" => true,
                "closed" => !order.is_open(),
                _ => order.is_open(),
            };
            if within && wanted && self.book.look(at) {
                shown.push(at);
            }
        }
        shown.sort_by_key(|at| self.book.orders[*at].submitted_ms);
        if request.parameter("direction") != Some("asc") {
            shown.reverse();
        }
        Reply::json(
            200,
            &shown.into_iter().take(limit).map(|at| wire::order(&self.book.orders[at])).collect(),
        )
    }

    fn cancel(&mut self, id: &str) -> Reply {
        let now = self.book.now_ms();
        match self.book.orders.iter_mut().find(|order| order.id == id) {
            None => refuse(404, 40_410_000, "order not found"),
            Some(order) if !order.is_open() => {
                refuse(422, 42_210_000, &format!("order is already in \"{}\" state", order.status))
            }
            Some(order) => {
                order.status = "canceled".into();
                order.updated_ms = now;
                order.plan.clear();
                Reply { body: Vec::new(), ..Reply::json(204, &Value::Null) }
            }
        }
    }
}

fn refuse(status: u16, code: u32, words: &str) -> Reply {
    Reply::json(status, &wire::error(code, words))
}
