//! `bot demo`: the bot's own path, end to end, against a simulated chain on a real local WebSocket and the paper
//! broker. No key, no network, no other program.
//!
//! The story plays the chain (`sim::story`), this file plays the broker's bad day, and at the end a verdict is drawn
//! from the story's own truth and the broker's own book; the bot is asked for nothing but its ledger.

mod screen;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep, timeout};

use super::{Ended, Failure};
use crate::alerts::{Alerts, Heartbeat};
use crate::broker::paper::{self, BookOrder, Outage, PaperBroker, PaperFaults, PaperOptions, PlaceFault};
use crate::chain::ChainConfig;
use crate::config::Logs;
use crate::hedges::Limits;
use crate::ledger::{self, Claim, FillRow, Filter, LedgerError, Reader};
use crate::run::{Exit, Parts, Published, Tell, run};
use crate::serve::{self, metrics::Meters};
use crate::sim::Story;
use crate::units::{Millis, Shares, Symbol};
use crate::verbs::terms::DemoTerms;
use crate::{exit, logs};
use screen::{Memory, Screen};

/// How long a demo lasts without `--for`.
const LENGTH: Duration = Duration::from_secs(40);
/// The shortest demo: the told part needs its beats.
const LENGTH_MIN: Duration = Duration::from_secs(5);
/// The demo's bot is ready in well under a second; this long only where something is broken.
const READY_MAX: Duration = Duration::from_secs(60);
/// After the last beat the bot has this long to come to rest; a verdict is drawn then, clean or not.
const REST_MAX: Duration = Duration::from_secs(60);
/// Beats, counted from 1, at which the broker has its bad day: away, then back; then one order's answer is lost.
const OUTAGE_BEATS: std::ops::Range<u64> = 9..12;
const LOST_ANSWER_BEAT: u64 = 16;
const LOST_REQUEST_BEAT: u64 = 22;

/// The demo's last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Verdict {
    fills: u64,
    hedges: u64,
    reorgs: u64,
    reconnects: u64,
    /// Whole shares without a hedge, and canonical fills the ledger does not count.
    lost: u64,
    /// Whole shares hedged beyond the exposure, and fills counted that are not canonical.
    doubled: u64,
    /// Signed shares per ticker, chain and broker together; below one share is what can not be hedged.
    exposure: BTreeMap<Symbol, Shares>,
    seed: u64,
    ready_ms: u64,
    settled: bool,
    /// Where the demo's ledger and the broker's book are left, for whoever wants to look.
    folder: String,
}

/// Shows the bot at work. `database` names the data directory, for the demo's own folder where the temporary directory
/// is not writable.
pub(super) fn show(
    terms: &DemoTerms,
    database: &Path,
    listen: SocketAddr,
    logs: &Logs,
    out: &mut dyn Write,
) -> Ended {
    // The screen tells the story; the log only what goes wrong, unless RUST_LOG asks for another filter than the usual.
    let filter = if logs.filter == "info" { "off" } else { &logs.filter };
    logs::start(&Logs { filter: filter.to_owned(), format: logs.format });
    let begun = Instant::now();
    let seed = terms.seed.unwrap_or_else(|| Millis::now().0.unsigned_abs() % 1_000_000);
    let folder = folder(database)?;
    let mut screen = Screen { out, begun, json: terms.json, memory: Memory::default() };
    let stage = Stage { seed, length: terms.length.unwrap_or(LENGTH).max(LENGTH_MIN), folder, listen };
    let verdict = super::runtime()?.block_on(play(&stage, &mut screen))?;
    screen.verdict(&verdict)?;
    let clean = verdict.lost == 0 && verdict.doubled == 0 && verdict.settled;
    Ok(if clean { exit::DONE } else { exit::NOT_CLEAN })
}

struct Stage {
    seed: u64,
    length: Duration,
    folder: PathBuf,
    listen: SocketAddr,
}

/// A new folder under the temporary directory, or else under the data directory.
fn folder(database: &Path) -> Result<PathBuf, Failure> {
    let data =
        database.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let name = format!("counterfill-demo-{}-{}", Millis::now().0, std::process::id());
    let mut refused = Vec::new();
    for parent in [std::env::temp_dir(), data.to_owned()] {
        let folder = parent.join(&name);
        match std::fs::create_dir_all(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) => refused.push(format!("{}: {error}", folder.display())),
        }
    }
    Err(Failure::Because {
        code: exit::CONFIGURATION,
        words: format!("the demo needs a folder for its ledger; {}. Set TMPDIR to one", refused.join("; ")),
    })
}

async fn play(stage: &Stage, screen: &mut Screen<'_>) -> Result<Verdict, Failure> {
    let now = Millis::now();
    let mut story =
        Story::start(stage.seed, now.0.unsigned_abs() / 1000).await.map_err(|error| bug(&error))?;
    let database = stage.folder.join("bot.db");
    let book = stage.folder.join(paper::BOOK_FILE);
    let options = PaperOptions { seed: stage.seed, ..PaperOptions::default() };
    let broker = Arc::new(PaperBroker::open(&book, options, now).map_err(|error| bug(&error))?);
    screen.say("demo", &format!("SIMULATED chain and paper broker, seed {}", stage.seed))?;
    screen.say("demo", "exposure = shares from the chain + shares at the broker; whole ones are hedged")?;

    let (told, mut tales) = mpsc::unbounded_channel();
    let tell: Tell = Arc::new(move |write| {
        // The screen may be closed already; the bot works on.
        let _ = told.send(write.clone());
    });
    // In a container the health check asks the demo too; elsewhere another bot may have the port.
    let listener = serve::bind(stage.listen).await.ok();
    let parts = Parts {
        chain: chain(&story),
        claim: Claim::on(&database, now).map_err(|error| bug(&error))?,
        database: database.clone(),
        broker: broker.clone(),
        confirmations: 0,
        limits: Limits { max_orders_per_minute: 100_000, ..Limits::default() },
        absent_after_ms: None,
        max_price_deviation_bps: 500,
        unhedged_alert_ms: 60_000,
        live: false,
        listener,
        meters: Meters::install().map_err(|error| bug(&error))?,
        tell,
        alerts: Alerts::none(),
        account_last4: None,
        keeps_hours: false,
        heartbeat: Heartbeat::none(),
    };
    let published = Published::default();
    let signals = super::bot::stop_on_signal()?;
    let (stop, stopped) = watch::channel(false);
    let bot = run(parts, &published, stopped);
    tokio::pin!(bot);

    let mut director = Director { published: &published, broker: &broker, signals, length: stage.length };
    let (ready_ms, settled) = {
        let show = director.direct(&mut story, screen, &mut tales);
        tokio::select! {
            ended = &mut bot => return Err(ended_early(ended)),
            shown = show => shown?,
        }
    };
    let (reorgs, reconnects) = {
        let chain = published.chain();
        let facts = chain.borrow();
        (facts.forks, facts.reconnects)
    };
    stop.send_replace(true);
    let ended = bot.await;
    if ended.code != exit::DONE {
        return Err(ended_early(ended));
    }
    let orders = broker.book(Millis::now()).map_err(|error| bug(&error))?;
    let mut verdict = judge(&story, &database, &orders)?;
    (verdict.reorgs, verdict.reconnects) = (reorgs, reconnects);
    (verdict.seed, verdict.ready_ms, verdict.settled) = (stage.seed, ready_ms, settled);
    verdict.folder = stage.folder.display().to_string();
    Ok(verdict)
}

fn bug(error: &impl std::fmt::Display) -> Failure {
    Failure::bug(&error.to_string())
}

fn ended_early(exit: Exit) -> Failure {
    let words = exit.message.unwrap_or_else(|| "the bot stopped in the middle of the demo".to_owned());
    Failure::Because { code: exit.code.max(exit::NOT_CLEAN), words }
}

fn chain(story: &Story) -> ChainConfig {
    ChainConfig {
        ws_url: story.node().ws_url(),
        cert_file: None,
        chain_id: None,
        stamped_chain_id: None,
        orderbooks: vec![story.orderbook()],
        owners: vec![story.owner()],
        deployment_block: story.deployment_block(),
        hedge_from_block: None,
        symbols: None,
        equities: story.equities().into_iter().map(|(symbol, token)| (token, symbol)).collect(),
        ratios: BTreeMap::new(),
        unit_jump_max_percent: crate::chain::tokens::UNIT_JUMP_MAX_PERCENT,
        cash: Some(story.cash()),
        log_range_blocks: 1_000,
        head_age_max: Duration::from_secs(30),
    }
}

struct Director<'a> {
    published: &'a Published,
    broker: &'a PaperBroker,
    signals: watch::Receiver<bool>,
    length: Duration,
}

impl Director<'_> {
    /// Plays the story to its end or to a signal, then waits for rest. Returns the time to ready, and whether rest came.
    async fn direct(
        &mut self,
        story: &mut Story,
        screen: &mut Screen<'_>,
        tales: &mut mpsc::UnboundedReceiver<ledger::Write>,
    ) -> Result<(u64, bool), Failure> {
        let mut facts = self.published.facts();
        let ready = facts.wait_for(|facts| facts.as_ref().is_some_and(|facts| facts.deciding));
        if !matches!(timeout(READY_MAX, ready).await, Ok(Ok(_))) {
            return Err(Failure::bug(&format!(
                "the demo's bot was not ready within {} s",
                READY_MAX.as_secs()
            )));
        }
        let ready_ms = u64::try_from(screen.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        screen.say("bot", &format!("ready after {ready_ms} ms"))?;

        let told = u32::try_from(story.told_beats()).unwrap_or(u32::MAX).saturating_add(3);
        let pace = (self.length / told).min(Duration::from_secs(1));
        let mut beats = interval(pace.max(Duration::from_millis(50)));
        let end = sleep(self.length.saturating_sub(screen.begun.elapsed()));
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                Ok(_) = self.signals.wait_for(|stop| *stop) => break,
                Some(write) = tales.recv() => screen.tell(&write)?,
                _ = beats.tick() => {
                    let beat = story.step().map_err(|error| bug(&error))?;
                    screen.say("chain", &beat.said)?;
                    if let Some(trouble) = trouble(self.broker.faults(), beat.number) {
                        screen.say("broker", trouble)?;
                    }
                }
            }
        }
        self.broker.faults().outage(None);
        let tip = story.finish();
        screen.say("demo", "the story is told; waiting for the last orders")?;
        let rest = async {
            let mut looks = interval(Duration::from_millis(100));
            loop {
                tokio::select! {
                    Some(write) = tales.recv() => screen.tell(&write)?,
                    _ = looks.tick() => {
                        if self.rests(tip.number) {
                            return Ok::<(), std::io::Error>(());
                        }
                    }
                }
            }
        };
        match timeout(REST_MAX, rest).await {
            Ok(done) => done?,
            Err(_) => return Ok((ready_ms, false)),
        }
        Ok((ready_ms, true))
    }

    fn rests(&self, tip: u64) -> bool {
        let facts = self.published.facts();
        let facts = facts.borrow();
        facts.as_ref().is_some_and(|facts| {
            let idle = |ticker: &crate::engine::TickerSnapshot| {
                ticker.live.is_none() && ticker.exposure.truncate_to(Shares::whole(1)).is_zero()
            };
            facts.cursor.is_some_and(|cursor| cursor.number >= tip) && facts.tickers.iter().all(idle)
        })
    }
}

/// The broker's bad day, beat by beat.
fn trouble(faults: &PaperFaults, beat: u64) -> Option<&'static str> {
    if beat == OUTAGE_BEATS.start {
        faults.outage(Some(Outage::Unknown));
        Some("is away: calls leave and nothing comes back")
    } else if beat == OUTAGE_BEATS.end {
        faults.outage(None);
        Some("is back")
    } else if beat == LOST_ANSWER_BEAT {
        faults.next_place(PlaceFault::AcceptThenLose);
        Some("will take the next order and lose its answer")
    } else if beat == LOST_REQUEST_BEAT {
        faults.next_place(PlaceFault::LoseBefore);
        Some("will never see the next order")
    } else {
        None
    }
}

/// Holds the story's truth and the broker's book against each other, and the ledger's fills against the story's.
fn judge(story: &Story, database: &Path, orders: &[BookOrder]) -> Result<Verdict, Failure> {
    let mut exposure = story.exposure_on_chain();
    let onchain = exposure.clone();
    for order in orders {
        let executed = order.order.side.signed(order.order.executed);
        let sum = exposure.entry(order.order.symbol.clone()).or_default();
        *sum = sum.checked_add(executed).ok_or_else(|| Failure::bug("the book's sum leaves the range"))?;
    }
    let whole =
        |shares: Shares| u64::try_from(shares.magnitude().atoms() / crate::units::ONE).unwrap_or(u64::MAX);
    let (mut lost, mut doubled) = (0_u64, 0_u64);
    for (symbol, left) in &exposure {
        let chain = onchain.get(symbol).copied().unwrap_or_default();
        if left.is_negative() == chain.is_negative() {
            lost += whole(*left);
        } else {
            doubled += whole(*left);
        }
    }
    let mut truth: BTreeMap<(String, &'static str, Symbol, Shares), i64> = BTreeMap::new();
    let canonical = story.canonical_fills();
    for fill in &canonical {
        *truth
            .entry((fill.tx_hash.to_string(), fill.side.as_str(), fill.symbol.clone(), fill.shares))
            .or_default() += 1;
    }
    let reader = Reader::open(database)?;
    let count = |row: FillRow| -> Result<(), LedgerError> {
        if let (true, Some(symbol)) = (row.state == "counting", row.symbol) {
            *truth.entry((row.tx_hash.to_string(), row.side.as_str(), symbol, row.shares)).or_default() -= 1;
        }
        Ok(())
    };
    reader.fills(&Filter::default(), count)?;
    for difference in truth.values() {
        let count = difference.unsigned_abs();
        if *difference > 0 { lost += count } else { doubled += count }
    }
    Ok(Verdict {
        fills: u64::try_from(canonical.len()).unwrap_or(u64::MAX),
        hedges: u64::try_from(orders.len()).unwrap_or(u64::MAX),
        reorgs: 0,
        reconnects: 0,
        lost,
        doubled,
        exposure,
        seed: 0,
        ready_ms: 0,
        settled: false,
        folder: String::new(),
    })
}
