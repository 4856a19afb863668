//! One process of `bot` or `auth`: its environment, its log, its signals, its end. Dropping it kills it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::until::{PATIENCE, until};

/// The program of that name, of the same build as the test: cargo lays it beside the folder of the tests.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let found = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(found.exists(), "{} is not built", found.display());
    found
}

/// `bot` on this ledger, with nothing else in its environment.
pub fn verb(ledger: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program("bot"));
    let database = format!("sqlite:{}", ledger.display());
    command.env_clear().args(args).env("DATABASE_URL", database).env("USER", "tester").stdin(Stdio::null());
    command
}

/// What a verb printed, which must have exited 0.
pub fn printed(out: &Output) -> String {
    let (told, complaint) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{:?}\n{told}\n{complaint}", out.status);
    told.into_owned()
}

/// The rows of a verb with `--json`, one a line.
pub fn rows(out: &Output) -> Vec<Value> {
    printed(out).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// SIGTERM, as a service manager sends it. By the shell's own `kill`: there is a shell everywhere, and no `kill` in some
/// images.
pub fn terminate(pid: u32) {
    let signal = format!("kill -TERM {pid}");
    assert!(Command::new("sh").args(["-c", &signal]).status().unwrap().success(), "no such process");
}

/// A GET: status and body; none where nobody answers.
pub fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some((answer.split(' ').nth(1)?.parse().ok()?, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// All it logged.
    pub log: String,
}

enum Log {
    /// Read as it is written, until the thread ends with the process.
    Read(Arc<Mutex<String>>, Option<thread::JoinHandle<()>>),
    /// In a file, behind what earlier processes wrote.
    File(PathBuf),
}

impl Log {
    fn text(&self) -> String {
        match self {
            Self::Read(text, _) => text.lock().unwrap().clone(),
            Self::File(path) => fs::read_to_string(path).unwrap_or_default(),
        }
    }
}

/// A running process.
pub struct Process {
    child: Child,
    log: Log,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts it, without input and output but for its log.
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, written) = (child.stderr.take().unwrap(), Arc::clone(&log));
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = written.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, log: Log::Read(log, Some(reader)) }
    }

    /// The same with its log at the end of a file, which outlives it.
    pub fn start_logging_to(file: &Path, mut command: Command) -> Self {
        let log = File::options().create(true).append(true).open(file).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self { child: command.spawn().unwrap(), log: Log::File(file.to_owned()) }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Where it serves health and metrics, from its log.
    pub fn address(&self) -> Option<String> {
        let log = self.log();
        let after = log.split("health and metrics on http://").nth(1)?;
        Some(after.lines().next()?.trim().to_owned())
    }

    /// SIGTERM; it goes on until [`Process::ends`].
    pub fn terminate(&self) {
        terminate(self.pid());
    }

    /// Its exit code, -1 where a signal ended it; none while it runs.
    pub fn has_ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// Waits until it has ended by itself.
    pub fn ends(mut self) -> Ended {
        let child = &mut self.child;
        until("the process ends", || self.log.text(), || child.try_wait().unwrap().is_some());
        self.over()
    }

    /// SIGKILL; all its threads are gone when this returns.
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.over()
    }

    fn over(&mut self) -> Ended {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        if let Log::Read(_, reader) = &mut self.log
            && let Some(reader) = reader.take()
        {
            reader.join().unwrap();
        }
        Ended { code, log: self.log() }
    }
}
