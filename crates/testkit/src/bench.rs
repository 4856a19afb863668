//! The bench: a scripted node on a thread of its own, the real bot as a process before it, and eyes from outside:
//! HTTP, the reading verbs, the log, the broker's book.
//!
//! Nothing here waits for a time to pass: see [`until`].

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use alloy::primitives::B256;
use counterfill::sim::{SimChain, SimNode, Tx};
use counterfill::units::BlockRef;
use serde_json::Value;
use tempfile::TempDir;

use crate::node::{behind_a_provider, serve};
pub use crate::process::Ended;
use crate::process::{self, Process};
use crate::truth::{self, Deal, OWNER, Rows, SHARES, Truth, USDC, V4, V5, Verdict};
use crate::until::until;

pub const CHAIN_ID: u64 = 8453;
pub const FIRST: u64 = 1_000;
/// A chain that lives has a new block so often.
const BLOCK_TIME: Duration = Duration::from_millis(500);

/// A bot for which no chain stands still: it makes no connection of its own accord while a busy machine takes its time.
pub const UNHURRIED: &[(&str, &str)] = &[("HEAD_AGE_MAX", "10m")];

pub struct Bench {
    pub node: SimNode,
    pub truth: Truth,
    pub confirmations: u64,
    data: TempDir,
    settings: Vec<(&'static str, String)>,
    bot: Option<Process>,
    /// The node's runtime ends when this is dropped.
    _node_thread: mpsc::Sender<()>,
}

fn a_chain() -> SimChain {
    let mut chain = SimChain::new(CHAIN_ID, FIRST, 7);
    truth::lay_out(&mut chain);
    chain
}

impl Bench {
    /// A node behind a provider of Base with an empty chain, and no bot yet.
    #[expect(clippy::new_without_default, reason = "it starts a node")]
    pub fn new() -> Self {
        Self::on(true)
    }

    /// The same, of a node by itself beside a quiet chain: it takes every call, and a block's bloom tells what is in it.
    pub fn quiet() -> Self {
        Self::on(false)
    }

    /// Takes the node out from behind its provider, and the other programs off the chain.
    #[allow(dead_code)] // of two programs that share this file, one calls it
    pub fn leave_the_provider(&self) {
        behind_a_provider(&self.node, false);
    }

    fn on(of_base: bool) -> Self {
        let (node, keep) = serve(a_chain());
        behind_a_provider(&node, of_base);
        let equities: Vec<String> =
            SHARES.iter().map(|(ticker, _, asset, _)| format!("{ticker}={}", asset.address)).collect();
        let settings = vec![
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
        let data = tempfile::tempdir().unwrap();
        let truth = Truth::default();
        Self { node, truth, confirmations: 0, data, settings, bot: None, _node_thread: keep }
    }

    /// A node, and a bot before it that is ready.
    pub fn ready() -> Self {
        Self::ready_with(&[])
    }

    pub fn ready_with(settings: &[(&'static str, &str)]) -> Self {
        Self::new().made_ready(settings)
    }

    /// Starts the bot and waits until it is ready.
    pub fn made_ready(mut self, settings: &[(&'static str, &str)]) -> Self {
        self.set(settings);
        self.node.mine_empty(3);
        self.start();
        self.becomes_ready();
        self
    }

    pub fn set(&mut self, settings: &[(&'static str, &str)]) {
        for (name, value) in settings {
            self.settings.retain(|(known, _)| known != name);
            self.settings.push((name, (*value).to_owned()));
        }
    }

    pub fn data(&self) -> PathBuf {
        self.data.path().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        process::verb(&self.data.path().join("bot.db"), args)
    }

    // ---- the process ----------------------------------------------------------------------------------------------

    /// `bot run` with the bench's settings, not yet started.
    pub fn run_command(&self) -> Command {
        let mut command = self.command(&["run"]);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The running bot's process.
    pub fn pid(&self) -> u32 {
        self.bot.as_ref().unwrap().pid()
    }

    pub fn start(&mut self) {
        assert!(self.bot.is_none(), "one bot at a time");
        // What was mined while no bot ran is indexed by now: no block need follow it to be found.
        self.node.catch_up();
        self.bot = Some(Process::start(self.run_command()));
    }

    pub fn log(&self) -> String {
        self.bot.as_ref().map_or_else(String::new, Process::log)
    }

    /// It has logged these words. A line of the log comes after what it tells of, and by a pipe.
    pub fn logs(&self, words: &str) {
        self.until(words, || self.log().contains(words));
    }

    /// Whether the process has ended by itself; how, says [`Bench::ends`].
    pub fn has_ended(&mut self) -> bool {
        self.bot.as_mut().is_none_or(|bot| bot.has_ended().is_some())
    }

    pub fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        until(what, || format!("{:#?}\n{}", self.readyz(), self.log()), holds);
    }

    /// SIGTERM, as a service manager sends it.
    pub fn signal_stop(&self) {
        process::terminate(self.pid());
    }

    /// Waits until the bot has ended by itself.
    pub fn ends(&mut self) -> Ended {
        self.bot.take().unwrap().ends()
    }

    /// SIGTERM; it must exit 0.
    pub fn stop(&mut self) -> Ended {
        self.signal_stop();
        let ended = self.ends();
        assert_eq!(ended.code, 0, "{}", ended.log);
        ended
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        drop(self.bot.take());
    }

    // ---- eyes -----------------------------------------------------------------------------------------------------

    /// Where the bot listens, from its log.
    pub fn address(&self) -> Option<String> {
        self.bot.as_ref()?.address()
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        process::get(&self.address()?, path)
    }

    pub fn readyz(&self) -> Option<(u16, Value)> {
        let (code, body) = self.get("/readyz")?;
        Some((code, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    fn is_ready(&self, code: u16) -> bool {
        self.readyz().is_some_and(|(found, _)| found == code)
    }

    /// `/readyz` says 200 and `bot health` agrees. It mines, as a living chain does.
    pub fn becomes_ready(&self) {
        // Both or neither: between two looks the answer may change.
        self.until_while_the_chain_lives("ready", || self.is_ready(200) && self.health() == 0);
    }

    /// Mines meanwhile: by the clock, for a look takes as long as the machine is busy, and a chain that stood still for
    /// longer than `HEAD_AGE_MAX` would be the reason for what is looked at.
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

    /// `/readyz` says 503 because of this check, and `bot health` exits 1.
    pub fn becomes_unready(&self, check: &str) {
        self.until(&format!("unready for {check}"), || {
            let failing = |(code, body): (u16, Value)| {
                let checks = body["checks"].as_array().cloned().unwrap_or_default();
                // Before the engine has spoken, every check of it fails as unknown.
                let fails =
                    |row: &Value| row["name"] == check && row["ok"] == false && row["value"] != "unknown";
                code == 503 && checks.iter().any(fails)
            };
            self.readyz().is_some_and(failing) && self.health() == 1
        });
    }

    /// `bot health`'s exit code.
    pub fn health(&self) -> i32 {
        let address = self.address().unwrap();
        let out = self.command(&["health"]).env("LISTEN", address).output().unwrap();
        out.status.code().unwrap()
    }

    /// One number of `/metrics`; none before the first scrape succeeds.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let (_, body) = self.get("/metrics")?;
        let line = body.lines().find(|line| line.split(' ').next() == Some(name))?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// A count of `/metrics`, which a busy bot may be slow to tell.
    fn count(&self, name: &str) -> u64 {
        let mut count = None;
        self.until(name, || {
            count = self.metric(name);
            count.is_some()
        });
        count.unwrap()
    }

    pub fn reconnects(&self) -> u64 {
        self.count("counterfill_chain_reconnects_total")
    }

    pub fn forks(&self) -> u64 {
        self.count("counterfill_forks_total")
    }

    /// The cursor is the chain's tip.
    pub fn catches_up(&self) {
        self.until("the cursor at the tip", || {
            let tip = self.node.chain(SimChain::tip);
            let out = self.verb(&["status", "--json"]);
            let status: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
            status["engine"]["cursor"]["hash"].as_str() == Some(tip.hash.to_string().as_str())
        });
    }

    /// Runs another verb.
    pub fn verb(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs another verb until it has an answer: a busy bot may not have it in time. Only what may be said twice is.
    pub fn answers(&self, args: &[&str]) -> Output {
        let repeatable = !matches!(args, ["replay", ..]);
        let mut answer = None;
        self.until("an answer in time", || {
            let out = self.verb(args);
            let late = String::from_utf8_lossy(&out.stderr).contains("it may still do it");
            answer = Some(out);
            !(late && repeatable)
        });
        answer.unwrap()
    }

    /// Runs another verb, which must exit 0; what it prints.
    pub fn says(&self, args: &[&str]) -> String {
        process::printed(&self.answers(args))
    }

    /// What a reading verb prints. A bot that has just been started may not have made its ledger yet.
    fn rows_of(&self, verb: &str) -> Vec<Value> {
        if self.bot.is_some() {
            self.until("a ledger", || self.data.path().join("bot.db").exists());
        }
        process::rows(&self.answers(&[verb, "--json"]))
    }

    pub fn status(&self) -> Value {
        serde_json::from_str(&self.says(&["status", "--json"])).unwrap()
    }

    pub fn fills(&self) -> Vec<Value> {
        self.rows_of("fills")
    }

    pub fn hedges(&self) -> Vec<Value> {
        self.rows_of("hedges")
    }

    pub fn fill_states(&self) -> Vec<String> {
        self.fills().iter().map(|row| row["state"].as_str().unwrap().to_owned()).collect()
    }

    /// What the three reading verbs print.
    pub fn rows(&self) -> Rows {
        Rows { fills: self.fills(), positions: self.rows_of("positions"), hedges: self.hedges() }
    }

    pub fn orders(&self) -> usize {
        truth::book(self.data.path()).len()
    }

    // ---- the chain ------------------------------------------------------------------------------------------------

    /// A transaction with these trades of ours, not yet mined.
    pub fn tx(&mut self, deals: &[Deal]) -> Tx {
        let (mut logs, mut meant) = (Vec::new(), Vec::new());
        for deal in deals {
            let (more, named) = deal.logs();
            meant.push((logs.len() + named, *deal));
            logs.extend(more);
        }
        let tx = self.node.tx(logs);
        self.truth.meant.insert(tx.hash, meant);
        tx
    }

    /// A block of one transaction with these trades.
    pub fn mine(&mut self, deals: &[Deal]) -> (BlockRef, B256) {
        let tx = self.tx(deals);
        let hash = tx.hash;
        (self.node.mine(vec![tx]), hash)
    }

    // ---- the verdict ----------------------------------------------------------------------------------------------

    pub fn verdict(&self) -> Verdict {
        let (rows, book) = (self.rows(), truth::book(self.data.path()));
        self.node.chain(|chain| truth::verdict(&self.truth, chain, self.confirmations, &rows, &book))
    }

    /// The same on a chain that lives: what was not pushed is found with the next block at the latest.
    pub fn settles_while_the_chain_lives(&self) {
        self.until_while_the_chain_lives("a clean verdict", || self.is_settled());
    }

    fn is_settled(&self) -> bool {
        let open =
            |row: &Value| matches!(row["state"].as_str(), Some("Planned" | "Sent" | "Unknown" | "Working"));
        self.verdict().is_clean() && !self.hedges().iter().any(open)
    }

    /// Waits until the verdict is clean and nothing is under way.
    pub fn settles(&self) {
        let open =
            |row: &Value| matches!(row["state"].as_str(), Some("Planned" | "Sent" | "Unknown" | "Working"));
        let last = RefCell::new(String::new());
        until(
            "a clean verdict",
            || format!("{}\n{}", last.borrow(), self.log()),
            || {
                let verdict = self.verdict();
                *last.borrow_mut() = format!("{verdict:?}");
                verdict.is_clean() && !self.hedges().iter().any(open)
            },
        );
    }

    /// Comes to rest, is ready, stops with exit 0, and the verdict still holds; the number of orders.
    pub fn ends_clean(&mut self) -> usize {
        let verdict = self.ends_judged();
        assert!(verdict.is_clean(), "{verdict:?}");
        assert!(!self.truth.meant.is_empty() || verdict.orders == 0);
        verdict.orders
    }

    /// Comes to rest, is ready, and stops with exit 0; the verdict after that.
    pub fn ends_judged(&mut self) -> Verdict {
        self.settles();
        self.becomes_ready();
        self.settles();
        self.stop();
        self.verdict()
    }
}
