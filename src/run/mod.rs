//! The process: threads, signals, supervision.
//!
//! tokio (current thread) runs chain, HTTP and control socket; one thread owns engine and ledger (`line`), two speak to
//! the broker (`desk`). Nothing mutable is shared: they speak through channels. The first essential part that ends,
//! ends the process, with its exit code; the bot never ends because chain or broker is away.

mod desk;
mod line;
mod operator;
mod tale;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::broker::{Broker, Profile};
use crate::chain::{self, ChainConfig, ChainFacts, ChainStop};
use crate::engine::{Engine, Facts, Input, Policy, Stop};
use crate::exit;
use crate::hedges::Limits;
use crate::ledger::{Claim, Ledger, LedgerError, Stamp, Write, migrations};
use crate::serve::health::{self, ProcessFacts};
use crate::serve::metrics::Meters;
use crate::serve::{self, Site, control};
use crate::units::Millis;
use desk::Desk;
use line::Line;
use operator::Operator;
pub use tale::said;

/// Inputs that wait for the line at most; a full queue slows the chain side down, it loses nothing.
const INPUTS_MAX: usize = 4_096;
/// Operator's commands that wait at most; more are refused by the control socket's own bounds.
const COMMANDS_MAX: usize = 16;
/// The engine's clock: how often time itself is an input.
const TICK: Duration = Duration::from_millis(200);
/// How often the ledger's file is looked at.
const LEDGER_LOOK: Duration = Duration::from_secs(5);
/// A stop waits this long for the line: its own 5 s for the order in flight, and time for the last checkpoint.
const LINE_STOP_WAIT: Duration = Duration::from_secs(8);

/// How a bot ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// One of [`crate::exit`].
    pub code: u8,
    /// Why, for a person; none after a stop that was asked for.
    pub message: Option<String>,
}

impl Exit {
    /// Asked to stop, and did.
    #[must_use]
    pub const fn done() -> Self {
        Self { code: exit::DONE, message: None }
    }

    fn because(code: u8, message: &impl ToString) -> Self {
        Self { code, message: Some(message.to_string()) }
    }

    /// What can not be.
    fn bug(what: &str) -> Self {
        Self::because(exit::BUG, &format!("this is a bug in counterfill: {what}"))
    }

    fn from_stop(stop: &Stop) -> Self {
        match stop {
            Stop::DeepReorg(text) => Self::because(exit::DEEP_REORG, text),
            Stop::Bug(text) => Self::bug(text),
            Stop::Config(text) => Self::because(exit::CONFIGURATION, text),
        }
    }
}

impl From<LedgerError> for Exit {
    fn from(error: LedgerError) -> Self {
        Self::because(error.exit_code(), &error)
    }
}

impl From<ChainStop> for Exit {
    fn from(stop: ChainStop) -> Self {
        Self::because(stop.exit_code(), &stop)
    }
}

/// Told of every committed write, after it is durable.
pub type Tell = Arc<dyn Fn(&Write) + Send + Sync>;

/// What a bot is made of.
pub struct Parts {
    /// The chain side's configuration.
    pub chain: ChainConfig,
    /// The ledger's file; `control.sock` lies beside it.
    pub database: PathBuf,
    /// The right to write it.
    pub claim: Claim,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// `CONFIRMATIONS`.
    pub confirmations: u64,
    /// The caps.
    pub limits: Limits,
    /// The bound HTTP port.
    pub listener: Option<TcpListener>,
    /// Events counted in this process.
    pub meters: Meters,
    /// Told of every committed write.
    pub tell: Tell,
}

/// What a running bot publishes; kept by whoever wants to look.
#[derive(Debug)]
pub struct Published {
    facts: watch::Sender<Option<Facts>>,
    chain: watch::Sender<ChainFacts>,
    process: watch::Sender<ProcessFacts>,
}

impl Default for Published {
    fn default() -> Self {
        let started = ProcessFacts { started_at: Millis::now(), ..ProcessFacts::default() };
        Self {
            facts: watch::Sender::new(None),
            chain: watch::Sender::new(ChainFacts::default()),
            process: watch::Sender::new(started),
        }
    }
}

impl Published {
    /// The engine's facts after its newest step; none before the first.
    #[must_use]
    pub fn facts(&self) -> watch::Receiver<Option<Facts>> {
        self.facts.subscribe()
    }

    /// The chain's facts.
    #[must_use]
    pub fn chain(&self) -> watch::Receiver<ChainFacts> {
        self.chain.subscribe()
    }
}

/// Runs a bot until `stop` becomes true or it must end.
pub async fn run(parts: Parts, published: &Published, mut stop: watch::Receiver<bool>) -> Exit {
    match start(parts, published, &mut stop).await {
        Ok(exit) | Err(exit) => exit,
    }
}

async fn asked_to_stop(stop: &mut watch::Receiver<bool>) {
    // A dropped sender can not ask for a stop any more; the bot then runs on.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn start(
    mut parts: Parts,
    published: &Published,
    stop: &mut watch::Receiver<bool>,
) -> Result<Exit, Exit> {
    let site = Site {
        facts: published.facts(),
        chain: published.chain(),
        process: published.process.subscribe(),
        limits: health::Limits {
            head_age_max_ms: i64::try_from(parts.chain.head_age_max.as_millis()).unwrap_or(i64::MAX),
            ..health::Limits::default()
        },
        meters: parts.meters.clone(),
        clock: Millis::now,
    };
    // Dropped with this future, and what it runs ends with it.
    let mut windows = JoinSet::new();
    if let Some(listener) = parts.listener.take() {
        windows.spawn(serve::serve(listener, site.clone()));
    }
    let stamped = Ledger::stamped_chain_id(&parts.database)?;
    parts.chain.stamped_chain_id = stamped;
    let chain_id = match (parts.chain.chain_id, stamped) {
        // A known ledger is opened before the chain is reached: a second instance must not wait to be refused. A
        // CHAIN_ID that differs from the ledger's is refused by its stamp.
        (given, Some(stamped)) => given.unwrap_or(stamped),
        (_, None) => tokio::select! {
            identified = chain::identify(&parts.chain, &published.chain) => identified?,
            () = asked_to_stop(stop) => return Ok(Exit::done()),
        },
    };
    let profile = parts.broker.profile().clone();
    let policy = Policy {
        confirmations: parts.confirmations,
        profile: profile.clone(),
        limits: parts.limits,
        nonce: nonce(),
    };
    let (ledger, engine) = open(parts.claim, stamp(&parts.chain, chain_id, &profile), policy).await?;
    let control = bind_control(&parts.database)?;

    let (inputs, received) = mpsc::channel(INPUTS_MAX);
    let (view, viewed) = watch::channel(engine.view());
    let (answers, answered) = mpsc::unbounded_channel();
    let bell = Arc::new(Notify::new());
    let desk = Desk::open(&parts.broker, &inputs).map_err(|error| Exit::bug(&error.to_string()))?;
    published.facts.send_replace(Some(engine.facts()));
    let line = Line {
        engine,
        ledger,
        inputs: received,
        desk,
        view,
        facts: published.facts.clone(),
        bell: Arc::clone(&bell),
        answers,
        tell: Arc::clone(&parts.tell),
    };
    let (ended, mut line_ended) = oneshot::channel();
    let spawned = thread::Builder::new().name("line".into()).spawn(move || {
        // The process may be gone already; then nobody asks how the line ended.
        let _ = ended.send(line.run());
    });
    spawned.map_err(|error| Exit::bug(&error.to_string()))?;

    let (commands, commanded) = mpsc::channel(COMMANDS_MAX);
    windows.spawn(async move {
        control::control(control, commands).await;
        Ok(())
    });
    let operator =
        Operator { site, inputs: inputs.clone(), chain: parts.chain.clone(), chain_id, view: viewed.clone() };
    let (stop_asked, mut stop_by_operator) = mpsc::channel(1);
    windows.spawn(async move {
        operator.serve(commanded, answered, stop_asked).await;
        Ok(())
    });

    let ended_first = tokio::select! {
        stopped = chain::run(parts.chain, chain_id, inputs.clone(), viewed, published.chain.clone(), bell) => {
            // The line's own reason counts, and it is about to say it.
            (stopped != ChainStop::EngineGone).then(|| Exit::from(stopped))
        }
        never = tick(&inputs, &parts.database, &published.process) => match never {},
        ended = &mut line_ended => return Ok(ended.unwrap_or_else(|_| Exit::bug("the line panicked"))),
        () = asked_to_stop(stop) => None,
        Some(()) = stop_by_operator.recv() => None,
    };
    // The intake is gone with its future; what is on its way is still booked.
    let closed = timeout(LINE_STOP_WAIT, async {
        // The line may have ended in the meantime; then its exit is there to be read.
        let _ = inputs.send(Input::Stop).await;
        // The line sleeps between inputs; time itself must wake it when its patience with the broker is over.
        tokio::select! {
            exit = &mut line_ended => exit.unwrap_or_else(|_| Exit::bug("the line panicked")),
            never = tick(&inputs, &parts.database, &published.process) => match never {},
        }
    });
    let line_exit = closed.await.unwrap_or_else(|_| Exit::bug("the line did not stop in time"));
    Ok(ended_first.unwrap_or(line_exit))
}

/// Time as an input, and a look at the ledger's file now and then: one that was moved or deleted under a running bot is
/// still written to, but no start will find it.
async fn tick(
    inputs: &mpsc::Sender<Input>,
    database: &Path,
    process: &watch::Sender<ProcessFacts>,
) -> Infallible {
    let born = file_identity(database);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = interval(LEDGER_LOOK);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                // A full queue needs no tick: what is in it steps the engine.
                let _ = inputs.try_send(Input::Tick);
            }
            _ = looks.tick() => {
                let gone = (file_identity(database) != born)
                    .then(|| format!("{} was moved or deleted while the bot runs; stop it and put it back", database.display()));
                process.send_if_modified(|facts| {
                    let changed = facts.ledger_error != gone;
                    facts.ledger_error = gone;
                    changed
                });
            }
        }
    }
}

fn file_identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Opens the ledger, away from the tasks that answer health: a backup of a large file takes a while.
async fn open(claim: Claim, stamp: Stamp, policy: Policy) -> Result<(Ledger, Engine), Exit> {
    let opened = tokio::task::spawn_blocking(move || -> Result<_, LedgerError> {
        let ledger = Ledger::open_claimed(claim, &stamp, Millis::now(), &migrations()?)?;
        let loaded = ledger.load()?;
        Ok((ledger, loaded))
    });
    let (ledger, loaded) = opened.await.map_err(|error| Exit::bug(&error.to_string()))??;
    for warning in ledger.warnings() {
        log::warn!("{warning}");
    }
    Ok((ledger, Engine::new(policy, loaded)))
}

fn stamp(chain: &ChainConfig, chain_id: u64, profile: &Profile) -> Stamp {
    Stamp {
        chain_id,
        orderbooks: chain.orderbooks.clone(),
        owners: chain.owners.clone(),
        broker: profile.name.to_owned(),
        account: profile.account.clone(),
        hedge_from_block: chain.hedge_from_block,
        deployment_block: chain.deployment_block,
    }
}

fn bind_control(database: &Path) -> Result<UnixListener, Exit> {
    let path = control_path(database);
    control::bind(&path).map_err(|error| Exit::because(exit::CONFIGURATION, &error))
}

/// Where the control socket of the bot on this ledger is.
#[must_use]
pub fn control_path(database: &Path) -> PathBuf {
    database.with_file_name(control::SOCKET_NAME)
}

/// 12 hex digits that no other start has: time, and the operating system's randomness behind `RandomState`.
fn nonce() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(Millis::now().0);
    format!("{:012x}", random & 0xffff_ffff_ffff)
}
