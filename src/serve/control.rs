//! `control.sock`: how a verb reaches the running bot. A Unix socket beside the ledger, for its owner only (0600).
//!
//! A request is one line of JSON, `{"command":"halt","symbol":"TSLA","reason":"…","who":"…"}`; its answer is one line,
//! `{"ok":…}` or `{"error":"…"}`; then the next request may follow. This file carries commands and decides nothing.
//!
//! Invariants: whoever binds holds the ledger's lock, so a socket that is already there belongs to a dead process and
//! is replaced; nothing depends on a socket having been removed. A line that makes no sense is answered, never fatal.
//!
//! A socket's path has room for about a hundred bytes. A data directory with a longer one is reached through its open
//! handle (`/proc/self/fd/N`); where the system has none, the error says what to shorten.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::B256;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::hedges::{Choice, Decision, HaltKind};
use crate::units::{IntentId, Symbol};

/// The socket's name in the data directory.
pub const SOCKET_NAME: &str = "control.sock";
/// Bytes of a request line, its newline included; a command is a sentence.
pub const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of an answer: a status with thousands of tickers fits.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Verbs at a time; more wait.
const CLIENTS_MAX: usize = 8;
/// Requests per connection, so that no client keeps its place for ever.
const REQUESTS_PER_CLIENT_MAX: usize = 64;
/// How long a client may take to say a line, or to read its answer.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the bot may take to carry out a command: a second less than the client waits, so that the client hears why.
const REPLY_TIME_MAX: Duration = Duration::from_secs(9);
/// How long a verb waits for everything together.
const ASK_TIME_MAX: Duration = Duration::from_secs(10);
/// Room in a socket address on every Unix (104 bytes on BSD and macOS, 108 on Linux), less the closing zero.
const PATH_BYTES_MAX: usize = 103;
/// Pause after a failed accept; see `http.rs`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What an operator's verb can ask of the running bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ControlCommand {
    /// The full report ([`super::status::StatusReport`]).
    Status {},
    /// Stop sending orders.
    Halt {
        /// The ticker; all where none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        symbol: Option<Symbol>,
        /// Why.
        reason: String,
        /// Who.
        who: String,
    },
    /// Lift one halt.
    Resume {
        /// The ticker; the global halt where none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        symbol: Option<Symbol>,
        /// Which halt; the operator's where none is named.
        #[serde(default = "operators_halt")]
        kind: HaltKind,
        /// The answer to what that halt asks, where it asks something.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        choice: Option<Choice>,
        /// Why.
        reason: String,
        /// Who.
        who: String,
    },
    /// The intents that only a person can settle ([`crate::hedges::Unsettled`]), with the evidence.
    Unsettled {},
    /// Settle an intent that only a person can settle.
    Reconcile {
        /// The intent.
        target: IntentId,
        /// What became of it.
        decision: Decision,
        /// How the operator knows.
        reason: String,
        /// Who.
        who: String,
    },
    /// Read one transaction again and fold what it holds.
    Replay {
        /// The transaction's hash.
        tx: B256,
    },
    /// End the process as SIGTERM does.
    Stop {},
}

const fn operators_halt() -> HaltKind {
    HaltKind::Operator
}

/// A command on its way to whoever carries it out.
#[derive(Debug)]
pub struct ControlRequest {
    /// What to do.
    pub command: ControlCommand,
    /// Where the answer goes: a JSON value, or in words why not.
    pub reply: oneshot::Sender<Result<Value, String>>,
}

/// Why a verb got no answer, or the bot no socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// No bot runs on this ledger: there is no socket, or nobody behind it. The verb may take the lock itself.
    #[error("no bot is running here ({})", .0.display())]
    NoBot(PathBuf),
    /// The bot heard the command and said no.
    #[error("{0}")]
    Refused(String),
    /// A bot is there and did not answer in time. The command may still be carried out.
    #[error("the bot did not answer within {} s; it may still do it: see `bot status`", ASK_TIME_MAX.as_secs())]
    NoAnswer,
    /// The answer was not what this version expects.
    #[error("the bot's answer makes no sense ({0}); is it of another version? See `bot version`")]
    Garbled(String),
    /// The socket's path is too long for the system.
    #[error(
        "{} has {bytes} bytes, and the path of a socket at most {PATH_BYTES_MAX}: move the data directory to a shorter path (DATABASE_URL)",
        path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// Something that is no socket has the socket's name.
    #[error("{} is there and is no socket: move it away", .0.display())]
    NotASocket(PathBuf),
    /// Not ours to open.
    #[error("{} is not open to this user: run the verb as the user that runs the bot", .0.display())]
    NotAllowed(PathBuf),
    /// The file system said no.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What it said.
        error: std::io::Error,
    },
}

impl ControlError {
    fn io(path: &Path, error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::PermissionDenied {
            return Self::NotAllowed(path.to_owned());
        }
        Self::Io { path: path.to_owned(), error }
    }
}

/// A path short enough for a socket address, and the open directory that keeps it valid.
struct Address {
    path: PathBuf,
    _directory: Option<File>,
}

impl Address {
    fn of(path: &Path) -> Result<Self, ControlError> {
        let bytes = path.as_os_str().len();
        if bytes <= PATH_BYTES_MAX {
            return Ok(Self { path: path.to_owned(), _directory: None });
        }
        let too_long = || ControlError::PathTooLong { path: path.to_owned(), bytes };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(too_long()) };
        let directory = match File::open(parent) {
            Ok(directory) => directory,
            Err(error) => return Err(ControlError::io(parent, error)),
        };
        let handle = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        let short = handle.join(name);
        if !handle.exists() || short.as_os_str().len() > PATH_BYTES_MAX {
            return Err(too_long());
        }
        Ok(Self { path: short, _directory: Some(directory) })
    }
}

/// Puts the socket at `path`, in place of one that a dead process left. The caller holds the ledger's lock.
///
/// The socket gets its mode under another name and then takes its own in one step, so that at no moment can another
/// user connect to `path`.
///
/// # Errors
/// When the path can not be had.
pub fn bind(path: &Path) -> Result<UnixListener, ControlError> {
    let io = |error| ControlError::io(path, error);
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ControlError::NotASocket(path.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(io(error)),
    }
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let address = Address::of(&new)?;
    let listener = UnixListener::bind(&address.path).map_err(io)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
    std::fs::rename(&new, path).map_err(io)?;
    Ok(listener)
}

/// Answers clients until it is dropped.
pub async fn control(listener: UnixListener, commands: mpsc::Sender<ControlRequest>) {
    let slots = Arc::new(Semaphore::new(CLIENTS_MAX));
    let mut clients = JoinSet::new();
    loop {
        // The semaphore is never closed, so there is always a permit.
        let permit = Arc::clone(&slots).acquire_owned().await.ok();
        match listener.accept().await {
            Ok((stream, _)) => {
                let commands = commands.clone();
                clients.spawn(async move {
                    if let Err(error) = attend(stream, &commands).await {
                        log::debug!("control.sock: a client went away: {error}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                log::warn!("control.sock: a client could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

/// One client, request by request.
async fn attend(stream: UnixStream, commands: &mpsc::Sender<ControlRequest>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = tokio::io::BufReader::new(read);
    for _ in 0..REQUESTS_PER_CLIENT_MAX {
        let mut line = Vec::new();
        let mut bounded = (&mut read).take(LINE_BYTES_MAX);
        timeout(CLIENT_TIME_MAX, bounded.read_until(b'\n', &mut line)).await??;
        if line.is_empty() {
            return Ok(());
        }
        let too_long =
            line.last() != Some(&b'\n') && u64::try_from(line.len()).is_ok_and(|n| n >= LINE_BYTES_MAX);
        let answer = if too_long {
            Err(format!("a request has at most {LINE_BYTES_MAX} bytes"))
        } else {
            carry_out(&line, commands).await
        };
        let answer = match answer {
            Ok(value) => serde_json::json!({ "ok": value }),
            Err(error) => serde_json::json!({ "error": error }),
        };
        timeout(CLIENT_TIME_MAX, write.write_all(format!("{answer}\n").as_bytes())).await??;
        if too_long {
            // Where the next request would begin is unknown.
            return Ok(());
        }
    }
    Ok(())
}

async fn carry_out(line: &[u8], commands: &mpsc::Sender<ControlRequest>) -> Result<Value, String> {
    let command: ControlCommand = serde_json::from_slice(line).map_err(|error| {
        format!("not a command this bot knows ({error}); is the verb of another version?")
    })?;
    let (reply, answer) = oneshot::channel();
    let stopping = || "the bot is stopping; try again".to_owned();
    let exchange = async {
        commands.send(ControlRequest { command, reply }).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    };
    timeout(REPLY_TIME_MAX, exchange).await.unwrap_or_else(|_| {
        Err(format!(
            "the bot has not done it within {} s; it may still do it: see `bot status`",
            REPLY_TIME_MAX.as_secs()
        ))
    })
}

/// Asks the bot behind this socket, and waits at most 10 s. For verbs: it blocks.
///
/// # Errors
/// [`ControlError::NoBot`] where no bot runs on this ledger, so that the verb can take the lock itself; the others
/// mean that one does.
pub fn ask(path: &Path, command: &ControlCommand) -> Result<Value, ControlError> {
    let line = serde_json::to_string(command).map_err(|error| ControlError::Garbled(error.to_string()))?;
    if u64::try_from(line.len()).map_or(true, |bytes| bytes >= LINE_BYTES_MAX) {
        return Err(ControlError::Refused(format!("a request has at most {LINE_BYTES_MAX} bytes: say less")));
    }
    let (send, receive) = std::sync::mpsc::channel();
    let owned = path.to_owned();
    // On a thread of its own, because connecting to a Unix socket whose queue is full waits without a limit.
    std::thread::spawn(move || send.send(exchange(&owned, &line)));
    let text = receive.recv_timeout(ASK_TIME_MAX).map_err(|_| ControlError::NoAnswer)??;
    let answer: Answer =
        serde_json::from_str(&text).map_err(|error| ControlError::Garbled(error.to_string()))?;
    match answer {
        Answer::Ok(value) => Ok(value),
        Answer::Error(error) => Err(ControlError::Refused(error)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Error(String),
}

fn exchange(path: &Path, line: &str) -> Result<String, ControlError> {
    let io = |error| ControlError::io(path, error);
    let connected = Address::of(path).and_then(|address| BlockingStream::connect(&address.path).map_err(io));
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(ControlError::Io { error, .. })
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            return Err(ControlError::NoBot(path.to_owned()));
        }
        Err(error) => return Err(error),
    };
    stream.write_all(line.as_bytes()).map_err(io)?;
    stream.write_all(b"\n").map_err(io)?;
    let mut answer = String::new();
    BufReader::new(stream).take(ANSWER_BYTES_MAX).read_line(&mut answer).map_err(io)?;
    if answer.is_empty() {
        return Err(ControlError::Garbled("it hung up without one".into()));
    }
    Ok(answer)
}
