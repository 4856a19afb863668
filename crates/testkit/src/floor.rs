//! The floor that a broker's tests stand on: a simulated node on a thread of its own, the real bot as a process before
//! it, and eyes for both. Nothing waits for a time to pass: see [`until`].
//!
//! It refuses to know which broker there is; whoever stands on it gives the broker's orders to [`Floor::wrongs`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use broker_doubles::tls::Authority;
use counterfill::sim::{SimChain, SimNode};
use counterfill::units::{Millis, Shares, Side};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::node::serve;
use crate::process::{self, Process};
use crate::truth::{self, Deal, OWNER, SHARES, USDC, V4, V5};
pub use crate::until::{PATIENCE, until};

const FIRST: u64 = 1_000;
/// A chain that lives has a new block so often.
const BLOCK_TIME: Duration = Duration::from_millis(500);

/// An order of the broker's own book.
#[derive(Debug, Clone)]
pub struct Order {
    pub id: String,
    /// The client order id, where the broker keeps one.
    pub name: Option<String>,
    pub ticker: &'static str,
    pub buys: bool,
    pub quantity: Shares,
    pub executed: Shares,
}

impl Order {
    fn signed(&self) -> i128 {
        if self.buys { self.executed.atoms() } else { -self.executed.atoms() }
    }
}

/// What the broker was asked lately, for whoever reads a failure.
pub type Told = Box<dyn Fn() -> String + Send>;

pub struct Floor {
    pub node: SimNode,
    data: PathBuf,
    /// Its folder, where nobody else brought one.
    _own: Option<TempDir>,
    settings: Vec<(&'static str, String)>,
    bot: Option<Process>,
    /// Everything the bot ever logged.
    pub logged: String,
    /// Net shares of the owner on the chain, by ticker.
    onchain: BTreeMap<&'static str, i128>,
    told: Told,
    /// The node's runtime ends when this is dropped.
    _node_thread: mpsc::Sender<()>,
}

fn a_chain() -> SimChain {
    // Of these minutes: the price of older fills is held against nothing.
    let now_s = u64::try_from(Millis::now().0 / 1_000).unwrap();
    let mut chain = SimChain::starting_at(8453, FIRST, 7, now_s - 600);
    truth::lay_out(&mut chain);
    chain
}

/// TLS in front of a plain server, on a thread of its own; its port.
fn in_front_of(behind: SocketAddr, authority: &Authority) -> u16 {
    let acceptor = TlsAcceptor::from(authority.server());
    let (told, port) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap().port()).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut tls) = acceptor.accept(socket).await else { return };
                    let Ok(mut inner) = tokio::net::TcpStream::connect(behind).await else { return };
                    let _ = copy_bidirectional(&mut tls, &mut inner).await;
                });
            }
        });
    });
    port.recv().unwrap()
}

impl Floor {
    /// A chain of three empty blocks, and no bot yet. `broker` leads to the broker.
    pub fn new(broker: impl IntoIterator<Item = (&'static str, String)>, told: Told) -> Self {
        let own = tempfile::tempdir().unwrap();
        let floor = Self::within(own.path(), broker, told);
        Self { _own: Some(own), ..floor }
    }

    /// The same with the ledger in a folder that somebody else keeps.
    pub fn within(
        folder: &Path,
        broker: impl IntoIterator<Item = (&'static str, String)>,
        told: Told,
    ) -> Self {
        let (node, keep) = serve(a_chain());
        node.mine_empty(3);
        let equities: Vec<String> =
            SHARES.iter().map(|(ticker, _, asset, _)| format!("{ticker}={}", asset.address)).collect();
        let mut settings = vec![
            ("WS_RPC_URL", node.ws_url()),
            ("ORDERBOOK", format!("{},{}", V5.address, V4.address)),
            ("ORDER_OWNER", OWNER.to_string()),
            ("DEPLOYMENT_BLOCK", (FIRST + 1).to_string()),
            ("EQUITIES", equities.join(",")),
            ("CASH", USDC.address.to_string()),
            ("LISTEN", "127.0.0.1:0".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
            ("MAX_ORDERS_PER_MINUTE", "100000".to_owned()),
            ("MAX_ORDERS_PER_DAY", "100000".to_owned()),
        ];
        settings.extend(broker);
        Self {
            node,
            data: folder.to_owned(),
            _own: None,
            settings,
            bot: None,
            logged: String::new(),
            onchain: BTreeMap::new(),
            told,
            _node_thread: keep,
        }
    }

    /// The node is reached over wss, and this authority is the only one that the bot trusts.
    pub fn over_tls(&mut self, authority: &Authority) {
        let node: SocketAddr =
            self.node.ws_url().trim_start_matches("ws://").trim_end_matches('/').parse().unwrap();
        self.set("WS_RPC_URL", &format!("wss://localhost:{}", in_front_of(node, authority)));
        self.trust(authority);
    }

    /// This authority is the only one that the bot trusts.
    pub fn trust(&mut self, authority: &Authority) {
        let file = self.data().join("authority.pem");
        std::fs::write(&file, &authority.pem).unwrap();
        self.set("SSL_CERT_FILE", file.to_str().unwrap());
    }

    pub fn set(&mut self, name: &'static str, value: &str) {
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_owned()));
    }

    /// Where the ledger lies.
    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    fn database(&self) -> PathBuf {
        self.data.join("bot.db")
    }

    fn command(&self, args: &[&str]) -> Command {
        process::verb(&self.database(), args)
    }

    /// A verb that is given the bot's own settings.
    pub fn configured(&self, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    // ---- the process ----------------------------------------------------------------------------------------------

    pub fn start(&mut self) {
        self.start_told(None);
    }

    /// A debug build tells its crash points to whoever listens at `socket`.
    pub fn start_told(&mut self, socket: Option<&Path>) {
        assert!(self.bot.is_none(), "one bot at a time");
        let mut command = self.configured(&["run"]);
        command.envs(socket.map(|socket| ("COUNTERFILL_CRASH_SOCKET", socket)));
        self.bot = Some(Process::start(command));
    }

    pub fn log(&self) -> String {
        self.bot.as_ref().map_or_else(String::new, Process::log)
    }

    /// It has logged these words. A line of the log comes after what it tells of, and by a pipe.
    pub fn logs(&self, words: &str) {
        self.until(words, || self.log().contains(words));
    }

    pub fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        let tell = || {
            let printed = |verb: &str| String::from_utf8_lossy(&self.verb(&[verb]).stdout).into_owned();
            format!("{}\n{}\n{}\n{}", printed("status"), printed("hedges"), self.log(), (self.told)())
        };
        until(what, tell, holds);
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let ended = self.bot.take().unwrap().kill();
        self.logged.push_str(&ended.log);
    }

    /// Waits until the bot has ended by itself; its exit code.
    pub fn ends(&mut self) -> i32 {
        let ended = self.bot.take().unwrap().ends();
        self.logged.push_str(&ended.log);
        ended.code
    }

    /// SIGTERM, and nothing is waited for.
    pub fn terminate(&self) {
        self.bot.as_ref().unwrap().terminate();
    }

    /// SIGTERM; it must exit 0.
    pub fn stop(&mut self) {
        self.terminate();
        assert_eq!(self.ends(), 0, "{}", self.logged);
    }

    /// What a backup holds; the bot must be stopped.
    pub fn copy_ledger(&self) -> Vec<u8> {
        assert!(self.bot.is_none());
        std::fs::read(self.database()).unwrap()
    }

    /// The ledger becomes this copy; the bot must be stopped.
    pub fn put_back(&self, copy: &[u8]) {
        assert!(self.bot.is_none());
        for rest in ["bot.db-wal", "bot.db-shm"] {
            let _ = std::fs::remove_file(self.data.join(rest));
        }
        std::fs::write(self.database(), copy).unwrap();
    }

    // ---- eyes -----------------------------------------------------------------------------------------------------

    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        process::get(&self.bot.as_ref()?.address()?, path)
    }

    pub fn becomes_ready(&self) {
        self.until_while_the_chain_lives("ready", || {
            self.get("/readyz").is_some_and(|(code, _)| code == 200)
        });
    }

    /// Mines meanwhile: by the clock, for a look takes as long as the machine is busy.
    pub fn until_while_the_chain_lives(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let mut mined = Instant::now();
        self.until(what, || {
            if mined.elapsed() >= BLOCK_TIME {
                self.node.mine_empty(1);
                mined = Instant::now();
            }
            holds()
        });
    }

    pub fn verb(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// What a reading verb prints. A bot that has just been started may not have made its ledger yet.
    pub fn rows_of(&self, verb: &str) -> Vec<Value> {
        if self.bot.is_some() {
            self.until("a ledger", || self.database().exists());
        }
        process::rows(&self.verb(&[verb, "--json"]))
    }

    pub fn hedges(&self) -> Vec<Value> {
        self.rows_of("hedges")
    }

    /// Whether a halt of that kind is in force, by the bot's own word, or by the ledger's where none runs.
    pub fn is_halted(&self, kind: &str) -> bool {
        let out = self.verb(&["status", "--json"]);
        let Ok(status) = serde_json::from_slice::<Value>(&out.stdout) else { return false };
        let halts = &status["engine"]["halts"];
        halts.as_array().is_some_and(|halts| halts.iter().any(|halt| halt["kind"] == kind))
    }

    /// What `bot positions` says of every ticker.
    pub fn exposures(&self) -> Vec<String> {
        self.rows_of("positions").iter().map(|row| row["exposure"].as_str().unwrap().to_owned()).collect()
    }

    // ---- the world ------------------------------------------------------------------------------------------------

    /// A block of one transaction with these trades.
    pub fn mine(&mut self, deals: &[Deal]) {
        let mut logs = Vec::new();
        for deal in deals {
            logs.extend(deal.logs().0);
            let signed = if deal.side == Side::Buy { deal.atoms() } else { -deal.atoms() };
            *self.onchain.entry(SHARES[deal.ticker].0).or_default() += signed;
        }
        let tx = self.node.tx(logs);
        self.node.mine(vec![tx]);
    }

    // ---- the verdict ----------------------------------------------------------------------------------------------

    /// What is wrong with ledger and chain for these orders of ours; empty where all is well. `dust` is how many atoms
    /// of a share may be left.
    pub fn wrongs(&self, ours: &[Order], dust: i128) -> Vec<String> {
        let mut wrongs = Vec::new();
        let (hedges, positions) = (self.hedges(), self.rows_of("positions"));
        let mut left = self.onchain.clone();
        for order in ours {
            *left.entry(order.ticker).or_default() += order.signed();
            let bound: Vec<_> =
                hedges.iter().filter(|row| row["broker_order_id"] == order.id.as_str()).collect();
            let same = |row: &&Value| {
                order.name.as_ref().is_none_or(|name| row["intent_id"] == name.as_str())
                    && row["symbol"] == order.ticker
                    && row["quantity"] == order.quantity.to_string()
                    && row["executed"] == order.executed.to_string()
                    && (row["side"] == "BUY") == order.buys
            };
            if bound.len() != 1 || !bound.iter().all(same) {
                wrongs.push(format!("{order:?}: bound to {bound:?}"));
            }
        }
        for (ticker, left) in &left {
            if left.abs() > dust {
                let onchain = self.onchain.get(ticker).copied().unwrap_or(0);
                let what = if (*left < 0) == (onchain < 0) { "lost" } else { "doubled" };
                wrongs.push(format!("{ticker}: {what} {} shares", Shares::from_atoms(left.abs())));
            }
            let told = positions.iter().find(|row| row["symbol"] == *ticker);
            let told =
                told.map_or_else(|| "0".to_owned(), |row| row["exposure"].as_str().unwrap().to_owned());
            if told != Shares::from_atoms(*left).to_string() {
                wrongs.push(format!("{ticker}: `bot positions` says {told}, chain and broker {left} atoms"));
            }
        }
        let is = |row: &Value, states: &[&str]| states.iter().any(|state| row["state"] == *state);
        let unsent = ["Planned", "Withdrawn", "Refused", "Absent"];
        let sent = hedges.iter().filter(|row| !is(row, &unsent)).count();
        if sent != ours.len() {
            wrongs.push(format!("{sent} hedges were sent, the broker has {} orders of ours", ours.len()));
        }
        let open = ["Planned", "Sent", "Unknown", "Working", "Stuck"];
        wrongs.extend(hedges.iter().filter(|row| is(row, &open)).map(|row| format!("open: {row}")));
        wrongs
    }

    /// Waits until nothing is wrong.
    pub fn settles(&self, mut wrongs: impl FnMut() -> Vec<String>) {
        let mut last = Vec::new();
        let begun = Instant::now();
        self.until("all hedged", || {
            last = wrongs();
            if begun.elapsed() + Duration::from_secs(2) > PATIENCE {
                assert!(last.is_empty(), "{last:#?}\n{}\n{}", self.log(), (self.told)());
            }
            last.is_empty()
        });
    }

    /// Nothing that must stay secret was ever logged.
    pub fn kept_secret(&self, secrets: &[&str]) {
        for secret in secrets {
            assert!(!self.logged.contains(secret), "{secret} was logged:\n{}", self.logged);
        }
    }
}
