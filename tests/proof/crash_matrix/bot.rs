//! One process of the bot: its environment, its signals, its end.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::process::{self, Process};

use super::watch::{Aim, Watch};

pub struct Bot {
    /// Taken only at the end.
    process: Option<Process>,
    pub watch: Option<Watch>,
    socket: PathBuf,
}

impl Drop for Bot {
    fn drop(&mut self) {
        drop(self.process.take());
        if let Some(watch) = self.watch.take() {
            watch.close(&self.socket);
        }
    }
}

impl Deref for Bot {
    type Target = Process;

    fn deref(&self) -> &Process {
        self.process.as_ref().unwrap()
    }
}

impl DerefMut for Bot {
    fn deref_mut(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }
}

/// A verb of the bot on the ledger in `data`.
pub fn verb(data: &Path, args: &[&str]) -> Command {
    let mut command = process::verb(&data.join("bot.db"), args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Bot {
    pub fn start(data: &Path, settings: &[(&'static str, String)], aim: Aim) -> Self {
        let socket = data.join("crash.sock");
        let watch = Watch::at(&socket, aim);
        let mut command = verb(data, &["run"]);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        command.env("COUNTERFILL_CRASH_SOCKET", &socket);
        let process = Process::start_logging_to(&data.join("log"), command);
        Self { process: Some(process), watch: Some(watch), socket }
    }

    pub fn watch(&self) -> &Watch {
        self.watch.as_ref().unwrap()
    }

    /// SIGKILL; all its threads are gone when this returns.
    pub fn kill(mut self) {
        self.process.take().unwrap().kill();
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> i32 {
        self.process.take().unwrap().ends().code
    }
}

/// The last lines of the log in `data`, for a person.
pub fn log_tail(data: &Path) -> String {
    let log = fs::read_to_string(data.join("log")).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
