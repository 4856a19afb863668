//! From a trade on the chain to the order at the broker: a pushed log of a node of ours, an Alpaca of ours that answers at
//! once, the ledger on a disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use broker_doubles::http::{Handler, Reply, Request, Server};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Size;
use crate::bot::{World, sale, ticker};
use crate::measure::{Row, Samples, Unit, timed};

/// Between two trades: 50 a second.
const PAUSE: Duration = Duration::from_millis(20);
/// Tickers that take turns.
const TICKERS_IN_TURN: usize = 5;

/// An account that takes every order and fills it at the first look.
struct Alpaca {
    orders: Mutex<(BTreeMap<String, Value>, BTreeMap<String, i64>)>,
    heard: Mutex<mpsc::Sender<Instant>>,
}

impl Alpaca {
    fn place(&self, request: &Request) -> Value {
        let _ = self.heard.lock().unwrap().send(Instant::now());
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        let mut orders = self.orders.lock().unwrap();
        let id = format!("order-{}", orders.0.len());
        let now = Timestamp::now().to_string();
        let order = json!({
            "id": id, "client_order_id": asked["client_order_id"], "created_at": now, "submitted_at": now,
            "symbol": asked["symbol"], "asset_class": "us_equity", "qty": asked["qty"], "filled_qty": asked["qty"],
            "filled_avg_price": "100", "side": asked["side"], "type": "market", "time_in_force": "day",
            "order_class": "", "extended_hours": false, "status": "filled",
        });
        let quantity: i64 = asked["qty"].as_str().unwrap().parse().unwrap();
        let signed = if asked["side"] == "buy" { quantity } else { -quantity };
        *orders.1.entry(asked["symbol"].as_str().unwrap().to_owned()).or_default() += signed;
        orders.0.insert(id, order.clone());
        order
    }

    fn read(&self, request: &Request) -> Value {
        let now = Timestamp::now();
        // New York's day, but for an hour a year.
        let day = (now - Duration::from_secs(5 * 3_600)).to_zoned(jiff::tz::TimeZone::UTC).date();
        let later = now + Duration::from_secs(6 * 3_600);
        match request.path.as_str() {
            "/v2/account" => json!({ "id": "a-1", "account_number": "PA0000001", "status": "ACTIVE" }),
            "/v2/clock" => json!({
                "timestamp": now.to_string(), "is_open": true, "next_open": later.to_string(),
                "next_close": later.to_string(),
            }),
            "/v2/calendar" => json!([{ "date": day.to_string(), "open": "00:00", "close": "23:59" }]),
            "/v2/positions" => self.orders.lock().unwrap().1.iter()
                .map(|(symbol, qty)| json!({ "symbol": symbol, "asset_class": "us_equity", "qty": qty.to_string() }))
                .collect(),
            "/v2/orders" => json!([]),
            "/v2/stocks/quotes/latest" => {
                let quote = json!({ "t": now.to_string(), "ap": 100.01, "as": 9, "bp": 99.99, "bs": 9 });
                let wanted = request.parameter("symbols").unwrap_or_default();
                let quotes: serde_json::Map<_, _> =
                    wanted.split(',').map(|symbol| (symbol.to_owned(), quote.clone())).collect();
                json!({ "quotes": quotes })
            }
            path => {
                let id = path.rsplit('/').next().unwrap();
                self.orders.lock().unwrap().0.get(id).cloned().unwrap_or(Value::Null)
            }
        }
    }
}

impl Handler for Alpaca {
    fn handle(&self, request: &Request) -> Reply {
        let answer = if request.method == "POST" { self.place(request) } else { self.read(request) };
        if answer.is_null() {
            return Reply::json(404, &json!({ "code": 40_410_000, "message": "order not found" }));
        }
        Reply::json(200, &answer).with("X-RateLimit-Limit", "1000000")
    }
}

/// The broker, what it hears, and a world whose bot trades there.
struct Desk {
    world: World,
    hears: mpsc::Receiver<Instant>,
    server: Server,
}

impl Desk {
    fn of(tickers: usize) -> Self {
        let (heard, hears) = mpsc::channel();
        let alpaca = Arc::new(Alpaca { orders: Mutex::default(), heard: Mutex::new(heard) });
        let server = Server::start(0, None, alpaca).unwrap();
        let mut world = World::of(tickers);
        for (name, value) in [
            ("BROKER", "alpaca"),
            ("ALPACA_API_KEY", "BENCH"),
            ("ALPACA_API_SECRET", "BENCH"),
            ("MARKET_HOURS", "broker"),
            ("ALLOW_SHORT", "true"),
            ("BASE_URL", &server.url()),
        ] {
            world.set(name, value);
        }
        Self { world, hears, server }
    }

    /// Trades a share of each ticker once, for the first trade of each waits for its quote.
    fn warm(&self, tickers: usize) {
        for n in 0..tickers {
            self.world.node.mine_logs(vec![sale(n)]);
        }
        for n in 0..tickers {
            assert!(self.heard().is_some(), "{} of {tickers} are ordered, {} is", n, ticker(n));
        }
        thread::sleep(Duration::from_secs(2));
    }

    fn heard(&self) -> Option<Instant> {
        self.hears.recv_timeout(Duration::from_secs(60)).ok()
    }
}

/// A trade mined → the order heard; the floor is one commit of SQLite to the same disk and one POST on a connection of
/// its own to the same broker. Beside it, how long the node itself takes to tell a bare client.
pub(crate) fn event_to_order(size: Size) -> Vec<Row> {
    let desk = Desk::of(TICKERS_IN_TURN);
    let bot = desk.world.start();
    desk.warm(TICKERS_IN_TURN);
    let (mut ours, mut floor, mut told) = (Vec::new(), Vec::new(), Vec::new());
    let mut least = Least::beside(&desk.world, &desk.server.url());
    let mut bare = Bare::before(&desk.world);
    // By turns, so that whatever else the machine does falls on all of them.
    for n in 0..(size.runs * 100) {
        let begun = Instant::now();
        desk.world.node.mine_logs(vec![sale(n % TICKERS_IN_TURN)]);
        ours.push(desk.heard().unwrap() - begun);
        bare.hears();
        thread::sleep(PAUSE.saturating_sub(begun.elapsed()));
        floor.push(least.once());
        assert!(desk.heard().is_some());
        told.push(
            timed(|| {
                desk.world.node.mine_empty(1);
                bare.hears();
            })
            .0,
        );
        thread::sleep(PAUSE / 4);
    }
    bot.stop();
    let row = |what: &str, ours: Vec<Duration>| Row {
        what: what.into(),
        unit: Unit::Micros,
        ours: Samples::of(ours),
        floor: (Samples::of(floor.clone()), "commit + fresh POST"),
    };
    vec![
        row("event → order, 50/s, ledger on disk", ours),
        row("(the node's own part: mined → told a bare client)", told),
    ]
}

/// One block with a trade of each of N tickers → the last order heard, an order; the floor is N times that of one.
pub(crate) fn tickers_in_a_block(size: Size) -> Vec<Row> {
    let tickers = if size.divisor == 1 { vec![10, 100] } else { vec![10] };
    let measure = |tickers: usize| {
        let desk = Desk::of(tickers);
        let bot = desk.world.start();
        desk.warm(tickers);
        let all: Vec<_> = (0..tickers).map(sale).collect();
        let each = u32::try_from(tickers).unwrap();
        let ours = Samples::repeat(size.runs, || {
            let begun = Instant::now();
            desk.world.node.mine_logs(all.clone());
            let last = (0..tickers).map(|_| desk.heard().unwrap()).max().unwrap();
            thread::sleep(Duration::from_secs(2));
            (last - begun) / each
        });
        bot.stop();
        let mut least = Least::beside(&desk.world, &desk.server.url());
        let floor = Samples::repeat(tickers, || least.once());
        Row {
            what: format!("a block with {tickers} tickers, per order"),
            unit: Unit::Micros,
            ours,
            floor: (floor, "commit + fresh POST"),
        }
    };
    tickers.into_iter().map(measure).collect()
}

/// A client that only listens to heads, without a library.
struct Bare(std::net::TcpStream);

impl Bare {
    fn before(world: &World) -> Self {
        use std::io::{Read, Write};
        let url = world.node.ws_url();
        let address = url.trim_start_matches("ws://").trim_end_matches('/');
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let upgrade = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 12);
        let call = br#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#;
        // A whole text frame, masked with zeros.
        let mut frame = vec![0x81, 0x80 | u8::try_from(call.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(call);
        stream.write_all(&frame).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 2);
        Self(stream)
    }

    /// Waits for what is told next.
    fn hears(&mut self) {
        use std::io::Read;
        assert!(self.0.read(&mut [0; 64 * 1024]).unwrap() > 2);
    }
}

/// One durable row and one order, and nothing else.
struct Least {
    conn: rusqlite::Connection,
    address: String,
}

impl Least {
    fn beside(world: &World, url: &str) -> Self {
        let conn = rusqlite::Connection::open(world.ledger().with_file_name("least.db")).unwrap();
        let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (n INTEGER PRIMARY KEY, x TEXT)";
        conn.execute_batch(setup).unwrap();
        Self { conn, address: url.trim_start_matches("http://").to_owned() }
    }

    fn once(&mut self) -> Duration {
        use std::io::{Read, Write};
        timed(|| {
            self.conn.execute("INSERT INTO t (x) VALUES ('sent')", []).unwrap();
            let body = r#"{"client_order_id":"least","symbol":"TAA","qty":"1","side":"buy"}"#;
            let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
            let head =
                format!("POST /v2/orders HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all([head, body.to_owned()].concat().as_bytes()).unwrap();
            assert!(stream.read(&mut [0; 512]).unwrap() > 0);
        })
        .0
    }
}
