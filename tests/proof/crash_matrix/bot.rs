//! One process of the bot: its environment, its signals, its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::watch::{Aim, Watch};
use super::{LOOK, PATIENCE};

const BOT: &str = env!("CARGO_BIN_EXE_bot");

pub struct Bot {
    child: Child,
    pub watch: Option<Watch>,
    socket: PathBuf,
}

impl Drop for Bot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(watch) = self.watch.take() {
            watch.close(&self.socket);
        }
    }
}

/// A verb of the bot on the ledger in `data`.
pub fn verb(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(BOT);
    command.env_clear().args(args).env("USER", "tester");
    command.env("DATABASE_URL", format!("sqlite:{}", data.join("bot.db").display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Bot {
    pub fn start(data: &Path, settings: &[(&'static str, String)], aim: Aim) -> Self {
        let socket = data.join("crash.sock");
        let watch = Watch::at(&socket, aim);
        let log = File::options().create(true).append(true).open(data.join("log")).unwrap();
        let mut command = verb(data, &["run"]);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        command.env("COUNTERFILL_CRASH_SOCKET", &socket).stderr(log);
        Self { child: command.spawn().unwrap(), watch: Some(watch), socket }
    }

    pub fn watch(&self) -> &Watch {
        self.watch.as_ref().unwrap()
    }

    /// SIGKILL; all its threads are gone when this returns.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; it goes on until [`Bot::ended`].
    pub fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "no such process");
    }

    /// Whether it has ended, and how.
    pub fn has_ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(code) = self.has_ended() {
                return code;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(LOOK);
        }
    }
}

/// The last lines of the log in `data`, for a person.
pub fn log_tail(data: &Path) -> String {
    let log = fs::read_to_string(data.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
