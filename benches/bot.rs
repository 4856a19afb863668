//! The program as a process, its node, and its ledger of any size.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use alloy::primitives::{Address, Log};
use counterfill::sim::logs::{Asset, BookKind, Leg, OrderBook};
use counterfill::sim::{SimChain, SimNode, Token};
use counterfill::units::{Cash, Millis, ONE, Shares, Side};
use tempfile::TempDir;

/// The program that is measured: what `scripts/bench` built for it, or the one beside this driver.
fn program() -> String {
    std::env::var("BENCH_BOT").unwrap_or_else(|_| env!("CARGO_BIN_EXE_bot").to_owned())
}

const CHAIN_ID: u64 = 8453;
/// Above the block of every fill that an older ledger holds.
const FIRST: u64 = 10_000_000;
const OWNER: Address = Address::repeat_byte(0x01);
const CASH: Asset = Asset::new(Address::repeat_byte(0x12), 6);
const BOOK: OrderBook = OrderBook { address: Address::repeat_byte(0x21), kind: BookKind::V5 };
/// Nothing that is waited for takes as long.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks at a process that starts: a hundredth of what is measured.
const LOOK_AGAIN: Duration = Duration::from_micros(500);
/// The tickers of a world that is not about their number.
pub(crate) const TICKERS: usize = 20;

/// The ticker of that number, below 10,000.
pub(crate) fn ticker(n: usize) -> String {
    let letter = |n: usize| char::from(b"ABCDEFGHIJ"[n % 10]);
    ["T".to_owned(), [n / 1_000, n / 100, n / 10, n].map(letter).iter().collect()].concat()
}

fn token(n: usize) -> Asset {
    let mut bytes = [0x40; 20];
    bytes[12..].copy_from_slice(&u64::try_from(n).unwrap().to_be_bytes());
    Asset::new(Address::from(bytes), 18)
}

/// A sale of a whole share by the owner, at 100 dollars.
pub(crate) fn sale(ticker: usize) -> Log {
    let leg = Leg::trade(
        OWNER,
        Side::Sell,
        token(ticker),
        Shares::from_atoms(ONE),
        CASH,
        Cash::from_atoms(ONE * 100),
    );
    BOOK.take_only(&leg)
}

/// A node on a thread of its own, and a directory for a ledger.
pub(crate) struct World {
    /// The node.
    pub(crate) node: SimNode,
    data: TempDir,
    settings: Vec<(String, String)>,
    _node_ends_with: mpsc::Sender<()>,
}

impl World {
    /// A chain of a few blocks with every token, and no ledger.
    pub(crate) fn new() -> Self {
        Self::of(TICKERS)
    }

    /// The same with so many tickers.
    pub(crate) fn of(tickers: usize) -> Self {
        let mut chain = SimChain::new(CHAIN_ID, FIRST, 7);
        chain.contracts.insert(BOOK.address);
        chain.tokens.insert(CASH.address, Token::plain("USDC", 6));
        for n in 0..tickers {
            chain.tokens.insert(token(n).address, Token::plain(&format!("t{}", ticker(n)), 18));
        }
        let (handle, handed) = mpsc::channel();
        let (keep, kept) = mpsc::channel::<()>();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                handle.send(SimNode::start(chain).await.unwrap()).unwrap();
                let _ = tokio::task::spawn_blocking(move || kept.recv()).await;
            });
        });
        let node = handed.recv().unwrap();
        node.mine_empty(70);
        let equities: Vec<String> =
            (0..tickers).map(|n| format!("{}={}", ticker(n), token(n).address)).collect();
        let settings = [
            ("WS_RPC_URL", node.ws_url()),
            ("ORDERBOOK", BOOK.address.to_string()),
            ("ORDER_OWNER", OWNER.to_string()),
            ("DEPLOYMENT_BLOCK", (FIRST + 1).to_string()),
            ("EQUITIES", equities.join(",")),
            ("CASH", CASH.address.to_string()),
            ("LOG_FORMAT", "text".to_owned()),
            ("MAX_ORDERS_PER_MINUTE", "100000".to_owned()),
            ("MAX_ORDERS_PER_DAY", "100000".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
        Self { node, data: tempfile::tempdir().unwrap(), settings, _node_ends_with: keep }
    }

    /// One more setting, or another value of one.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Where the ledger is.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.data.path().join("bot.db")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        let database = format!("sqlite:{}", self.ledger().display());
        command.env_clear().args(args).env("DATABASE_URL", database).stdin(Stdio::null());
        command
    }

    /// A ledger with so many fills, each hedged by an order that was filled, ending at the chain's head.
    pub(crate) fn with_fills(fills: u64) -> Self {
        let world = Self::new();
        // The program gives birth to it, whichever version is measured.
        world.start().stop();
        fill_up(&world, fills);
        // What the program makes of it at its first start is not what is measured.
        world.start().stop();
        world
    }

    /// Starts the bot and waits until it is ready.
    pub(crate) fn start(&self) -> Bot {
        let mut bot = self.spawn();
        bot.answers("/readyz");
        bot
    }

    /// Starts the bot, and waits for nothing.
    pub(crate) fn spawn(&self) -> Bot {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut command = self.command(&["run"]);
        command.envs(self.settings.iter().map(|(name, value)| (name, value))).env("LISTEN", &address);
        let log = std::fs::File::create(self.data.path().join("log")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Bot { child, address, log: self.data.path().join("log") }
    }

    /// Runs a verb, which must end well.
    pub(crate) fn says(&self, args: &[&str]) -> Output {
        let out = self.command(args).output().unwrap();
        assert!(out.status.success(), "bot {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        out
    }
}

/// A running bot; killed if nobody stops it.
pub(crate) struct Bot {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Drop for Bot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bot {
    /// Asks until this page says 200.
    pub(crate) fn answers(&mut self, page: &str) {
        let begun = Instant::now();
        while self.status_of(page) != Some(200) {
            assert!(self.child.try_wait().unwrap().is_none(), "{}", self.said());
            assert!(begun.elapsed() < PATIENCE, "{page} does not say 200\n{}", self.said());
            thread::sleep(LOOK_AGAIN);
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn status_of(&self, page: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
            .write_all(format!("GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        std::str::from_utf8(&head).ok()?.split(' ').nth(1)?.parse().ok()
    }

    /// A figure of `/proc/PID/status`, of the process or summed over its threads.
    pub(crate) fn figure(&self, name: &str, of_threads: bool) -> u64 {
        let folder = format!("/proc/{}", self.child.id());
        let mut files = vec![format!("{folder}/status")];
        if of_threads {
            let threads = std::fs::read_dir(format!("{folder}/task")).unwrap();
            files = threads.map(|entry| format!("{}/status", entry.unwrap().path().display())).collect();
        }
        let read = |file: &String| -> u64 {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        files.iter().map(read).sum()
    }

    /// SIGTERM; it must exit 0.
    pub(crate) fn stop(mut self) {
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success() && self.child.wait().unwrap().success());
    }
}

fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

/// Rows as the program writes them, by SQL alone: a million of them in half a minute.
fn fill_up(world: &World, fills: u64) {
    let conn = rusqlite::Connection::open(world.ledger()).unwrap();
    let tip = world.node.chain(SimChain::tip);
    let hashes: Vec<(u64, String)> = world.node.chain(|chain| {
        let first = tip.number - 64;
        let canonical = chain.canonical();
        let from = canonical.len() - 65;
        canonical[from..].iter().zip(first..).map(|(hash, number)| (number, hash.to_string())).collect()
    });
    let count = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)";
    let ticker = "'TAA' || char(65 + i % 20 / 10) || char(65 + i % 10)";
    let hash = "'0x' || lower(hex(randomblob(32)))";
    let at = "1760000000000 + i * 1000";
    let (book, owner) = (format!("'{:#x}'", BOOK.address), format!("'{OWNER:#x}'"));
    let now = Millis::now().0;
    let tx = conn.unchecked_transaction().unwrap();
    let run = |sql: &str| tx.execute(sql, [integer(fills)]).unwrap_or_else(|error| panic!("{sql}: {error}"));
    run(&format!(
        "{count} INSERT INTO fills (chain_id, block_hash, tx_hash, log_index, side, block_number, block_time, orderbook, \
         owner, symbol, shares, cash, price) SELECT {CHAIN_ID}, {hash}, {hash}, i % 300, 'SELL', i * 2, 1760000000 + i, \
         {book}, {owner}, {ticker}, '1', '100.25', '100.25' FROM n"
    ));
    run(&format!("{count} INSERT INTO fill_entries SELECT i, 0, 1, 'push', {at} FROM n"));
    run(&format!("{count} INSERT INTO fill_counts SELECT i, 0, {at} FROM n"));
    run(&format!(
        "{count} INSERT INTO intents (id, symbol, side, quantity, state, live, transitions, created_at, sent_at, changed_at, \
         order_id, executed, executions, adopted, reference, reason, counted) \
         SELECT printf('cf-%012x-%d', 7, i), {ticker}, 'BUY', '1', 'Filled', NULL, 3, {at}, {at}, {at} + 9, \
         printf('paper-%d', i), '1', 1, 0, '100.25', 'filled', 1 FROM n"
    ));
    for (n, from, to) in
        [(0, "NULL", "Sent"), (1, "'Sent'", "Sent"), (2, "'Sent'", "Working"), (3, "'Working'", "Filled")]
    {
        run(&format!(
            "{count} INSERT INTO intent_transitions SELECT i, {n}, {from}, '{to}', '1', printf('paper-%d', i), 'as it went', \
             {at} FROM n"
        ));
    }
    run(&format!(
        "{count} INSERT INTO executions SELECT printf('paper-%d', i), 0, i, '1', '100.25', {at} FROM n"
    ));
    tx.execute("DELETE FROM window", []).unwrap();
    for (number, hash) in &hashes {
        tx.execute("INSERT INTO window VALUES (?1, ?2)", (integer(*number), hash)).unwrap();
    }
    tx.execute(
        "INSERT OR REPLACE INTO cursor VALUES (1, ?1, ?2)",
        (integer(tip.number), tip.hash.to_string()),
    )
    .unwrap();
    tx.execute(
        "INSERT OR REPLACE INTO last_commit (one, at, commits, compared_at, first_compared_at) VALUES (1, ?1, ?2, ?1, 1759999000000)",
        (now, integer(fills) * 4 + 1),
    )
    .unwrap();
    tx.commit().unwrap();
}

/// Reads a whole file; how many bytes.
pub(crate) fn read_whole(path: &Path) -> usize {
    std::fs::read(path).unwrap().len()
}
