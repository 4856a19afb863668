//! The bot as an operator has it: a process with an environment, signals, exit codes, a log, and its reading verbs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use counterfill::broker::paper;
use counterfill::serve::control::{self, ControlCommand, SOCKET_NAME};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;
use testkit::process::{self, Process};

use super::node::text;
use super::world::World;
use super::{PATIENCE, tell, until};
use crate::market;

/// What a failed test shows of the log.
const LOG_LINES_SHOWN: usize = 60;

pub struct Bot {
    /// Its log, and its data where it has a directory of its own.
    dir: TempDir,
    /// Where ledger, book and control socket are.
    home: PathBuf,
    pub env: BTreeMap<String, String>,
    pub starts: usize,
    process: Option<Process>,
}

impl Drop for Bot {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
            tell(&format!(
                "--- the bot's log, {} lines, the last:\n{}",
                lines.len(),
                lines[shown..].join("\n")
            ));
        }
    }
}

impl Bot {
    /// A bot for this world's orders, with a ledger that is not there yet; not started.
    pub fn of(world: &World) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut env = world.settings();
        env.insert("DATABASE_URL".into(), format!("sqlite:{}", dir.path().join("bot.db").display()));
        Self { home: dir.path().to_owned(), dir, env, starts: 0, process: None }
    }

    /// Another bot of the same description, on the same ledger; not started.
    pub fn beside(other: &Self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir, home: other.home.clone(), env: other.env.clone(), starts: 0, process: None }
    }

    pub fn set(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.env.insert(name.into(), value.to_string());
        self
    }

    pub fn ledger(&self) -> PathBuf {
        self.home.join("bot.db")
    }

    pub fn book(&self) -> PathBuf {
        self.home.join(paper::BOOK_FILE)
    }

    /// Everything all starts have logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = process::verb(&self.ledger(), arguments);
        command.envs(&self.env).current_dir(self.dir.path());
        command
    }

    pub fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log = self.dir.path().join("log");
        self.process = Some(Process::start_logging_to(&log, self.command(&["run"])));
        self.starts += 1;
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it does not run").pid()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it does not run");
        let early = process.has_ended();
        process.kill();
        if !std::thread::panicking() {
            assert_eq!(early, None, "the bot ended by itself");
        }
    }

    /// SIGTERM; it goes on until [`Bot::ended`].
    pub fn terminate(&self) {
        process::terminate(self.pid());
    }

    /// Waits for its end and gives the exit code.
    pub fn ended(&mut self) -> i32 {
        self.process.take().expect("it does not run").ends().code
    }

    /// SIGTERM, and exit code 0.
    pub fn stop(&mut self) {
        self.terminate();
        assert_eq!(self.ended(), 0, "after SIGTERM");
    }

    /// Whether it was started and its end was not seen yet.
    pub fn is_there(&self) -> bool {
        self.process.is_some()
    }

    /// Whether the process is there still.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.has_ended().is_none())
    }

    /// Starts it where it can not run: exit code and what it said. The log holds it too.
    pub fn refused(&mut self) -> (i32, String) {
        let before = self.log().len();
        self.start();
        let code = self.ended();
        (code, self.log()[before..].to_owned())
    }

    /// What it says of itself; an error where nobody answers.
    pub fn status(&self) -> Result<Value, String> {
        control::ask(&self.home.join(SOCKET_NAME), &ControlCommand::Status {})
            .map_err(|error| error.to_string())
    }

    /// Waits for a status that shows something.
    pub fn until(&mut self, what: &str, mut look: impl FnMut(&Value) -> bool) -> Value {
        until(what, || {
            assert!(self.runs(), "the bot ended while this was waited for: {what}");
            let status = self.status()?;
            if look(&status) { Ok(status) } else { Err(status.to_string()) }
        })
    }

    /// Waits until everything the chain holds is booked and hedged: the cursor is the head, block for block, and no
    /// intent is live.
    pub fn settled(&mut self, world: &World) -> Value {
        let head = world.node.head();
        self.until("a settled bot", |status| {
            let engine = &status["engine"];
            let cursor = &engine["cursor"];
            let at_head =
                (cursor["number"].as_u64(), cursor["hash"].as_str()) == (Some(head.0), Some(&head.1));
            let idle = |ticker: &Value| {
                ticker["live_intent"].is_null() && less_than_a_share(&text(&ticker["exposure"]))
            };
            let tickers = engine["tickers"].as_array();
            at_head && engine["deciding"] == true && tickers.is_some_and(|tickers| tickers.iter().all(idle))
        })
    }

    /// Waits until some intent is in this state: `Sent` is on its way to the broker, `Working` in its book and not done.
    pub fn until_order(&mut self, state: &str) {
        self.until(state, |status| {
            let tickers = status["engine"]["tickers"].as_array();
            tickers.is_some_and(|tickers| tickers.iter().any(|t| t["live_intent"]["state"] == state))
        });
    }

    /// Holds the market still, so that the next order works until [`Bot::release_market`].
    pub fn hold_market(&self) {
        market::put_off(&self.home);
    }

    /// The market goes on, also for orders that waited.
    pub fn release_market(&self) {
        market::go_on(&self.home);
    }

    /// Holds the broker's book, so that no call of the bot gets an answer before the connection is dropped.
    pub fn hang_broker(&self) -> Connection {
        let conn = Connection::open(self.book()).unwrap();
        conn.busy_timeout(PATIENCE).unwrap();
        conn.execute_batch("BEGIN IMMEDIATE").unwrap();
        conn
    }

    /// A reading verb, `--json`: its rows.
    pub fn read(&self, verb: &str) -> Vec<Value> {
        let words: Vec<&str> = verb.split(' ').chain(["--json"]).collect();
        process::rows(&self.command(&words).output().unwrap())
    }
}

fn less_than_a_share(exposure: &str) -> bool {
    exposure.trim_start_matches('-').split('.').next() == Some("0")
}

/// The number of lines of the log that hold this.
pub fn lines_with(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

/// Bytes of a file, to see that nobody touched it.
pub fn bytes(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}
