//! The process: threads, signals, supervision.
//!
//! tokio (current thread) runs chain, HTTP and control socket; one thread owns engine and ledger (`line`), two speak to
//! the broker (`desk`). Nothing mutable is shared: they speak through channels. The first essential part that ends,
//! ends the process, with its exit code; the bot never ends because chain or broker is away.

mod calendar;
pub(crate) mod desk;
mod line;
mod login;
mod operator;
mod proof;
mod tale;
pub(crate) mod tickers;
pub(crate) mod vigil;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use alloy::primitives::Address;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::alerts::{Alerts, Heartbeat};
use crate::broker::{AccountError, Broker, Profile};
use crate::chain::{self, ChainConfig, ChainFacts, ChainStop, ChainView};
use crate::crash::{self, Point};
use crate::engine::{Engine, EngineSnapshot, Input, Policy, Stop};
use crate::exit;
use crate::fills::Listing;
use crate::hedges::Limits;
use crate::ledger::{Claim, Ledger, LedgerError, Loaded, Stamp, Turn, TurnError, WholeCheck, Write};
use crate::serve::health::{self, ProcessFacts};
use crate::serve::identity::{Identity, Mode};
use crate::serve::metrics::Meters;
use crate::serve::{self, Site, control};
use crate::units::{Millis, Shares, Symbol};
use desk::Desk;
use line::Line;
use operator::{Again, Operator};
pub use tale::said;
use whole::Beside;

/// Inputs that wait for the line at most; a full queue slows the chain side down, it loses nothing.
const INPUTS_MAX: usize = 4_096;
/// Operator's commands that wait at most; more are refused by the control socket's own bounds.
const COMMANDS_MAX: usize = 16;
/// The engine's clock: how often time itself is an input.
const TICK: Duration = Duration::from_millis(200);
/// How often the ledger's file is looked at.
const LEDGER_LOOK: Duration = Duration::from_secs(5);
/// Pause between two questions for the account of a ledger that is to be born.
const ACCOUNT_PAUSE: Duration = Duration::from_secs(2);
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
}

impl From<Stop> for Exit {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Bug(text) => Self::bug(&text),
            other => Self::because(other.exit_code(), &other),
        }
    }
}

impl From<TurnError> for Exit {
    fn from(error: TurnError) -> Self {
        match error {
            TurnError::Stop(stop) => stop.into(),
            TurnError::Ledger(error) => error.into(),
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
    /// `ABSENT_AFTER` in milliseconds; none: only a person declares an order absent.
    pub absent_after_ms: Option<i64>,
    /// `MAX_PRICE_DEVIATION_BPS`.
    pub max_price_deviation_bps: u32,
    /// `UNHEDGED_ALERT_AFTER` in milliseconds.
    pub unhedged_alert_ms: i64,
    /// Whether orders move real money.
    pub live: bool,
    /// The bound HTTP port.
    pub listener: Option<TcpListener>,
    /// Events counted in this process.
    pub meters: Meters,
    /// Told of every committed write.
    pub tell: Tell,
    /// Where alerts go beside the log.
    pub alerts: Alerts,
    /// The last four characters of the account's number, as far as a person said them.
    pub account_last4: Option<String>,
    /// Whether the broker keeps the exchange's hours.
    pub keeps_hours: bool,
    /// Who notices when the bot is not ready, or not there.
    pub heartbeat: Heartbeat,
}

/// What a running bot publishes; kept by whoever wants to look.
#[derive(Debug)]
pub struct Published {
    facts: watch::Sender<Option<EngineSnapshot>>,
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
    pub fn facts(&self) -> watch::Receiver<Option<EngineSnapshot>> {
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
    let mut windows = open_windows(&site, &mut parts, published);
    let profile = parts.broker.profile();
    let ours = stamp_of(&parts.chain, parts.chain.chain_id.unwrap_or(0), profile.name, &profile.account);
    let kept = Ledger::stamp_to_keep(&parts.database, &ours)?;
    let stamped = kept.as_ref().map(|(stamp, _)| stamp.chain_id);
    // An unused ledger may have been born with other keys.
    let stamped_account = kept.filter(|(_, unused)| !unused).map(|(stamp, _)| stamp.account);
    parts.chain.stamped_chain_id = stamped;
    let waits_for = |what| published.process.send_modify(|facts| facts.start_waits_for = what);
    let chain_id = match (parts.chain.chain_id, stamped) {
        // A known ledger is opened before the chain is reached: a second instance must not wait to be refused. A
        // CHAIN_ID that differs from the ledger's is refused by its stamp.
        (given, Some(stamped)) => given.unwrap_or(stamped),
        (_, None) => {
            waits_for(Some("the node"));
            tokio::select! {
                identified = chain::identify(&parts.chain, &published.chain) => identified?,
                () = asked_to_stop(stop) => return Ok(Exit::done()),
            }
        }
    };
    waits_for(Some("the broker"));
    let account = tokio::select! {
        known = account(&parts.broker, stamped_account) => known?,
        () = asked_to_stop(stop) => return Ok(Exit::done()),
    };
    // From here on the time that a start may take counts.
    published.process.send_modify(|facts| {
        (facts.start_waits_for, facts.opening_since) = (None, Some(Millis::now()));
        (facts.identity.chain_id, facts.identity.account) = (Some(chain_id), Some(account.clone()));
    });
    let profile = Profile { account, ..parts.broker.profile().clone() };
    let policy = Policy {
        confirmations: parts.confirmations,
        profile: profile.clone(),
        limits: parts.limits,
        nonce: nonce(),
        absent_after_ms: parts.absent_after_ms,
        max_price_deviation_bps: parts.max_price_deviation_bps,
        unhedged_alert_ms: parts.unhedged_alert_ms,
        live: parts.live,
    };
    let stamp = stamp_of(&parts.chain, chain_id, profile.name, &profile.account);
    let (ledger, check, engine) = open(parts.claim, stamp, policy, parts.chain.listing()).await?;
    let (mut check, clearance) = Beside::begin(check).map_err(|error| Exit::bug(&error.to_string()))?;
    let control = bind_control(&parts.database)?;
    crash::point(Point::Listening);

    let (inputs, received) = mpsc::channel(INPUTS_MAX);
    let (view, viewed) = watch::channel(engine.view());
    let (answers, answered) = mpsc::unbounded_channel();
    let bell = Arc::new(Notify::new());
    let desk =
        Desk::open(&parts.broker, &inputs, clearance).map_err(|error| Exit::bug(&error.to_string()))?;
    published.facts.send_replace(Some(engine.facts()));
    let line = Line {
        turn: Turn { engine, ledger },
        inputs: received,
        desk,
        view,
        facts: published.facts.clone(),
        bell: Arc::clone(&bell),
        answers: answers.clone(),
        tell: Arc::clone(&parts.tell),
        alerts: parts.alerts.clone(),
        shown_revision: None,
        shown_at: None,
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
    let again = Again {
        database: parts.database.clone(),
        chain: parts.chain.clone(),
        chain_id,
        view: viewed.clone(),
    };
    let operator = Operator { site, inputs: inputs.clone(), answers, again };
    let (stop_asked, mut stop_by_operator) = mpsc::channel(1);
    windows.spawn(async move {
        operator.serve(commanded, answered, stop_asked).await;
        Ok(())
    });

    let ended_first = tokio::select! {
        stopped = read_chain(parts.chain, chain_id, inputs.clone(), viewed, published.chain.clone(), bell, &parts.alerts) => {
            // The line's own reason counts, and it is about to say it.
            (stopped != ChainStop::EngineGone).then(|| ended_by_chain(&stopped, &parts.database))
        }
        never = tick(&inputs, &parts.database, &published.process) => match never {},
        ended = &mut line_ended => return Ok(ended.unwrap_or_else(|_| Exit::bug("the line panicked"))),
        Ok(damage) = &mut check.found => return Err(damage.into()),
        () = asked_to_stop(stop) => None,
        Some(()) = stop_by_operator.recv() => None,
    };
    // The intake is gone with its future; what is on its way is still booked.
    check.end().await;
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

/// Reads the chain, after a look at where reading begins. A first backfill waits for what that finds, for what it passes
/// over no later sweep reads; any other is told of it beside.
async fn read_chain(
    config: ChainConfig,
    chain_id: u64,
    inputs: mpsc::Sender<Input>,
    view: watch::Receiver<ChainView>,
    facts: watch::Sender<ChainFacts>,
    bell: Arc<Notify>,
    alerts: &Alerts,
) -> ChainStop {
    let cursor = view.borrow().cursor;
    let from = cursor.map_or(config.deployment_block, |cursor| cursor.number.saturating_add(1));
    let (looked_at, seen) = (config.clone(), facts.clone());
    let look = async {
        for text in chain::at_start(&looked_at, from, cursor.is_none(), &seen).await? {
            log::warn!("ALERT {text}");
            alerts.raise(&text);
        }
        Ok::<(), ChainStop>(())
    };
    let read = chain::run(config, chain_id, inputs, view, facts, bell);
    if cursor.is_none() {
        return match look.await {
            Ok(()) => read.await,
            Err(stop) => stop,
        };
    }
    tokio::select! {
        stopped = read => stopped,
        stop = async { match look.await { Err(stop) => stop, Ok(()) => std::future::pending().await } } => stop,
    }
}

/// The end that the chain side asked for. It knows no files; what to type at a ledger that must be put back is said here.
fn ended_by_chain(stop: &ChainStop, database: &Path) -> Exit {
    let Exit { code, message } = Exit::from(stop.clone());
    let message = message.map(|words| match stop {
        ChainStop::DeepReorg(_) => {
            let ledger = database.display();
            format!("{words}: move {ledger}, {ledger}-wal and {ledger}-shm aside, type `cp BACKUP {ledger}`, and start again")
        }
        _ => words,
    });
    Exit { code, message }
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
async fn open(
    claim: Claim,
    stamp: Stamp,
    policy: Policy,
    listing: Listing,
) -> Result<(Ledger, WholeCheck, Engine), Exit> {
    let symbols = listing.symbols.clone();
    let opened = tokio::task::spawn_blocking(move || -> Result<_, Exit> {
        let (ledger, check) = Ledger::open_claimed(claim, &stamp, Millis::now())?;
        let loaded = ledger.load().and_then(|loaded| {
            let passed_over = ledger.passed_over(&listing)?;
            Ok(Loaded { passed_over, ..loaded })
        });
        let loaded = loaded.map_err(|error| whole::reason(error, &check))?;
        crash::point(Point::Loaded);
        Ok((ledger, check, loaded))
    });
    let (ledger, check, loaded) = opened.await.map_err(|error| Exit::bug(&error.to_string()))??;
    must_keep_tickers(&loaded, symbols.as_ref())?;
    for warning in ledger.warnings() {
        log::warn!("{warning}");
    }
    Ok((ledger, check, Engine::new(policy, loaded)))
}

/// A ticker that SYMBOLS no longer lists while the ledger holds exposure in it would never be hedged again
/// (`protocol.md` 5.4).
fn must_keep_tickers(loaded: &Loaded, symbols: Option<&BTreeSet<Symbol>>) -> Result<(), Exit> {
    let Some(symbols) = symbols else { return Ok(()) };
    let mut sums: BTreeMap<&Symbol, Shares> = BTreeMap::new();
    for (symbol, change) in loaded.fill_sums.iter().chain(&loaded.execution_sums) {
        let sum = sums.entry(symbol).or_default();
        *sum = sum.checked_add(*change).ok_or_else(|| Exit::bug("a sum leaves the range"))?;
    }
    let dropped: Vec<String> = sums
        .into_iter()
        .filter(|(symbol, sum)| !sum.is_zero() && !symbols.contains(*symbol))
        .map(|(symbol, sum)| format!("{symbol} ({sum})"))
        .collect();
    if dropped.is_empty() {
        return Ok(());
    }
    let words = format!(
        "SYMBOLS no longer lists {}, and the ledger holds exposure there that nobody would hedge; put them back, or \
         move the exposure to another ledger first",
        dropped.join(", ")
    );
    Err(Exit::because(exit::CONFIGURATION, &words))
}

/// The account the ledger is or will be stamped with. A known ledger needs no broker to be opened: it says which account
/// the broker must confirm. One that is to be born waits for the broker, however long that takes.
async fn account(broker: &Arc<dyn Broker>, stamped: Option<String>) -> Result<String, Exit> {
    let known = broker.profile().account.clone();
    if !known.is_empty() {
        return Ok(known);
    }
    if let Some(stamped) = stamped {
        broker.expect_account(&stamped);
        return Ok(stamped);
    }
    let mut told = String::new();
    loop {
        let asked = Arc::clone(broker);
        let answer = tokio::task::spawn_blocking(move || {
            crash::point(Point::AccountBefore);
            let account = asked.account(Millis::now());
            crash::point(Point::AccountAfter);
            account
        })
        .await;
        match answer.map_err(|error| Exit::bug(&error.to_string()))? {
            Ok(account) => return Ok(account),
            Err(AccountError::Wrong(why)) => return Err(Exit::because(exit::CONFIGURATION, &why)),
            Err(AccountError::Away(why)) if why != told => {
                log::warn!("a new ledger waits for the broker to name the account: {why}");
                told = why;
            }
            Err(AccountError::Away(_)) => {}
        }
        tokio::time::sleep(ACCOUNT_PAUSE).await;
    }
}

/// The stamp of a ledger for this chain side, broker and account.
pub(crate) fn stamp_of(chain: &ChainConfig, chain_id: u64, broker: &str, account: &str) -> Stamp {
    Stamp {
        chain_id,
        orderbooks: chain.orderbooks.clone(),
        owners: chain.owners.clone(),
        broker: broker.to_owned(),
        account: account.to_owned(),
        hedge_from_block: chain.hedge_from_block,
        deployment_block: chain.deployment_block,
    }
}

/// What looks on beside the line: pages, and whoever tells a person what is not the engine's to tell.
fn open_windows(site: &Site, parts: &mut Parts, published: &Published) -> JoinSet<std::io::Result<()>> {
    let mut windows = JoinSet::new();
    if let Some(listener) = parts.listener.take() {
        windows.spawn(serve::serve(listener, site.clone()));
    }
    let (watched, told) = (Arc::clone(&parts.broker), published.process.clone());
    let alerts = parts.alerts.clone();
    windows.spawn(async move {
        login::watch(watched, told, alerts).await;
        Ok(())
    });
    let (chain_facts, alerts) = (published.chain(), parts.alerts.clone());
    windows.spawn(async move {
        proof::watch(chain_facts, alerts).await;
        Ok(())
    });
    let (looked_at, alerts) = (site.clone(), parts.alerts.clone());
    let heartbeat = std::mem::take(&mut parts.heartbeat);
    windows.spawn(async move {
        vigil::watch(looked_at, alerts, heartbeat).await;
        Ok(())
    });
    let (watched, told) = (Arc::clone(&parts.broker), published.process.clone());
    let alerts = parts.alerts.clone();
    windows.spawn(async move {
        calendar::watch(watched, told, alerts).await;
        Ok(())
    });
    let identity = identity(parts);
    published
        .process
        .send_modify(|facts| (facts.identity, facts.keeps_hours) = (identity, parts.keeps_hours));
    windows
}

/// Which bot this is, as far as its configuration says.
fn identity(parts: &Parts) -> Identity {
    let listed = |addresses: &[Address]| -> Vec<String> {
        addresses.iter().map(|address| format!("{address:#x}")).collect::<BTreeSet<_>>().into_iter().collect()
    };
    Identity {
        broker: Some(parts.broker.profile().name.to_owned()),
        mode: Some(if parts.live { Mode::Live } else { Mode::Paper }),
        account: None,
        account_last4: parts.account_last4.clone(),
        chain_id: parts.chain.chain_id,
        owners: listed(&parts.chain.owners),
        orderbooks: listed(&parts.chain.orderbooks),
        ledger: Some(parts.database.display().to_string()),
        pid: Some(std::process::id()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticker_with_exposure_can_not_be_dropped() {
        let (tsla, aapl): (Symbol, Symbol) = ("TSLA".parse().unwrap(), "AAPL".parse().unwrap());
        let loaded = Loaded {
            fill_sums: vec![(tsla.clone(), "2.5".parse().unwrap()), (aapl.clone(), Shares::whole(1))],
            execution_sums: vec![(tsla.clone(), Shares::whole(-2)), (aapl.clone(), Shares::whole(-1))],
            ..Loaded::default()
        };
        let only = |symbol: &Symbol| BTreeSet::from([symbol.clone()]);
        assert_eq!(must_keep_tickers(&loaded, None), Ok(()));
        assert_eq!(must_keep_tickers(&loaded, Some(&only(&tsla))), Ok(()), "AAPL is hedged to the last atom");
        let refused = must_keep_tickers(&loaded, Some(&only(&aapl))).unwrap_err();
        assert_eq!(refused.code, exit::CONFIGURATION);
        assert!(refused.message.unwrap().contains("TSLA (0.5)"));
    }
}
