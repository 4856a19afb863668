//! `bot run`: from a configuration to a bot, its signals, its end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Ended, Failure};
use crate::alerts::{self, Alerts, Heartbeat, Watched};
use crate::broker::Broker;
use crate::broker::alpaca::{self, Alpaca};
use crate::broker::paper::{self, PaperBroker, PaperOptions};
use crate::broker::schwab::vault::{self, Vault};
use crate::broker::schwab::{self, Schwab};
use crate::broker::session::Word;
use crate::chain::ChainConfig;
use crate::config::{
    AlpacaConfig, Config, Logs, MarketHours, PaperSessions, QuoteFeed, SchwabConfig, TradingMode,
    milliseconds,
};
use crate::ledger::{Claim, LedgerError};
use crate::run::{Parts, Published, Tell, run, said};
use crate::serve::{self, metrics::Meters};
use crate::units::{Millis, Symbol};
use crate::{exit, logs, version};

/// What a shell reports of a program that a second Ctrl-C ended.
const INTERRUPTED: i32 = 130;
/// How long the end of the process waits for alerts that are not posted yet.
const ALERTS_CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Tickers of a shard that an alert names.
const TICKERS_NAMED: usize = 3;
/// A verb that holds the ledger's lock is waited for so long.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Watches and hedges until it is stopped.
pub(super) fn watch_and_hedge(config: &Config, warnings: &[String]) -> Ended {
    logs::start(&Logs { filter: config.log_filter.clone(), format: config.log_format });
    let alerts = alerts(config)?;
    let ended = super::runtime()?.block_on(async {
        let stop = stop_on_signal()?;
        log::info!(
            "counterfill {} watches {} for {} order book(s), {} owner(s); broker {}, ledger {}",
            version::version().version,
            config.ws_rpc_url,
            config.orderbooks.len(),
            config.owners.len(),
            config.broker.as_str(),
            config.database.display()
        );
        for warning in warnings {
            log::warn!("{warning}");
        }
        // Before a port is taken or anything is written beside the ledger: the message names the remedy.
        let claim = claim(&config.database, LOCK_PATIENCE).await?;
        let listener = serve::bind(config.listen).await.map_err(|error| because(&error))?;
        // Not what was asked for but what was given: port 0 asks for any free one.
        let bound = listener.local_addr().unwrap_or(config.listen);
        log::info!("health and metrics on http://{bound}");
        let meters = Meters::install().map_err(|error| Failure::bug(&error.to_string()))?;
        let parts = Parts {
            alerts: alerts.clone(),
            account_last4: last4(config),
            keeps_hours: keeps_hours(config),
            heartbeat: heartbeat(config)?,
            broker: broker(config)?,
            confirmations: config.confirmations,
            limits: config.limits,
            absent_after_ms: config.absent_after_ms,
            max_price_deviation_bps: config.max_price_deviation_bps,
            unhedged_alert_ms: milliseconds(config.unhedged_alert_after),
            live: config.schwab.is_some()
                || config.alpaca.as_ref().is_some_and(|alpaca| alpaca.mode == TradingMode::Live),
            listener: Some(listener),
            meters,
            tell: tell(),
            database: config.database.clone(),
            claim,
            chain: chain(config),
        };
        Ok(run(parts, &Published::default(), stop).await)
    });
    let ended = ended.and_then(super::end);
    if let Err(why) = &ended {
        alerts.raise(&format!("the bot ended with exit code {}: {why}", why.code()));
    }
    alerts.close(ALERTS_CLOSE_WAIT);
    ended
}

/// The webhook, where one is set.
fn alerts(config: &Config) -> Result<Alerts, Failure> {
    match alert_options(config) {
        Some(options) => {
            log::info!("alerts go to {}", options.url);
            Alerts::start(options).map_err(|error| because(&error))
        }
        None => Ok(Alerts::none()),
    }
}

/// What the broker must confirm of the account's number; only with real money is it always set.
fn last4(config: &Config) -> Option<String> {
    let schwab = config.schwab.as_ref().map(|schwab| schwab.live_account.clone());
    schwab.or_else(|| config.alpaca.as_ref().and_then(|alpaca| alpaca.live_account.clone()))
}

/// Real brokers keep the exchange's hours, the paper broker if it is told to.
fn keeps_hours(config: &Config) -> bool {
    config.schwab.is_some() || config.alpaca.is_some() || config.paper_sessions == PaperSessions::Nyse
}

/// What is asked while the bot is ready, where one is set.
fn heartbeat(config: &Config) -> Result<Heartbeat, Failure> {
    match watched(config) {
        Some(watched) => {
            log::info!("heartbeats go to {}", watched.url);
            Heartbeat::start(&watched).map_err(|error| because(&error))
        }
        None => Ok(Heartbeat::none()),
    }
}

/// Who waits for heartbeats.
pub(super) fn watched(config: &Config) -> Option<Watched> {
    let cert_file = config.ssl_cert_file.clone();
    config.heartbeat_url.clone().map(|url| Watched { url, cert_file })
}

/// Who speaks in a channel that several bots may share.
pub(super) fn alert_options(config: &Config) -> Option<alerts::Options> {
    let shard = config.symbols.as_ref().map_or_else(String::new, |symbols| {
        let named: Vec<&str> = symbols.iter().map(Symbol::as_str).take(TICKERS_NAMED).collect();
        let rest = if symbols.len() > TICKERS_NAMED { ", …" } else { "" };
        format!(", {}{rest}", named.join(", "))
    });
    config.alert_webhook_url.clone().map(|url| alerts::Options {
        url,
        cert_file: config.ssl_cert_file.clone(),
        label: format!("counterfill ({}{shard})", config.broker.as_str()),
        pace: alerts::Pace::default(),
    })
}

/// The ledger's lock. `bot halt` and its like hold it for a moment where no bot answers, another bot for good.
async fn claim(database: &Path, patience: Duration) -> Result<Claim, LedgerError> {
    let begun = Instant::now();
    loop {
        match Claim::on(database, Millis::now()) {
            Err(LedgerError::Locked { .. }) if begun.elapsed() < patience => sleep(LOCK_PAUSE).await,
            done => return done,
        }
    }
}

fn because(error: &impl std::fmt::Display) -> Failure {
    Failure::Because { code: exit::CONFIGURATION, words: error.to_string() }
}

fn broker(config: &Config) -> Result<Arc<dyn Broker>, Failure> {
    if let Some(alpaca) = &config.alpaca {
        return alpaca_broker(config, alpaca);
    }
    if let Some(schwab) = &config.schwab {
        return Ok(Arc::new(schwab_broker(config, schwab)?));
    }
    let sessions = match config.paper_sessions {
        PaperSessions::Always => paper::PaperSessions::Always,
        PaperSessions::Nyse => paper::PaperSessions::Nyse,
    };
    let options = PaperOptions { sessions, ..PaperOptions::default() };
    let path = config.database.with_file_name(paper::BOOK_FILE);
    let broker = PaperBroker::open(&path, options, Millis::now()).map_err(|error| because(&error))?;
    Ok(Arc::new(broker))
}

pub(super) fn alpaca_broker(config: &Config, alpaca: &AlpacaConfig) -> Result<Arc<dyn Broker>, Failure> {
    let options = alpaca::Options {
        mode: alpaca_mode(alpaca.mode),
        base_url: alpaca.base_url.clone(),
        key: alpaca.key.expose().clone(),
        secret: alpaca.secret.expose().clone(),
        live_account: alpaca.live_account.clone(),
        lot: alpaca.lot,
        allow_short: config.allow_short,
        word: word(alpaca.hours),
        feed: alpaca_feed(alpaca.feed),
        cert_file: config.ssl_cert_file.clone(),
    };
    let (mode, feed) = (options.mode.as_str(), options.feed.as_str());
    log::info!("alpaca: {mode} trading, lots of {} shares, quotes of {feed}", options.lot);
    let broker = Alpaca::new(options).map_err(|error| because(&error))?;
    Ok(Arc::new(broker))
}

pub(super) fn schwab_broker(config: &Config, schwab: &SchwabConfig) -> Result<Schwab, Failure> {
    let options = schwab::Options {
        base_url: schwab.application.base_url.clone(),
        key: schwab.application.key.expose().clone(),
        secret: schwab.application.secret.expose().clone(),
        live_account: schwab.live_account.clone(),
        allow_short: config.allow_short,
        tag: config.app_tag.clone(),
        word: word(schwab.hours),
        cert_file: config.ssl_cert_file.clone(),
    };
    let path = config.database.with_file_name(vault::FILE);
    let next = schwab.keys.next.as_ref().map(|next| next.expose());
    let vault = Vault::open(&path, schwab.keys.key.expose()).and_then(|vault| vault.or_under(next));
    let vault = vault.map_err(|error| because(&error))?;
    log::info!("schwab: live trading, whole shares; the login is kept in {}", path.display());
    Schwab::new(options, vault).map_err(|error| because(&error))
}

const fn alpaca_feed(feed: QuoteFeed) -> alpaca::Feed {
    match feed {
        QuoteFeed::Iex => alpaca::Feed::Iex,
        QuoteFeed::Sip => alpaca::Feed::Sip,
        QuoteFeed::DelayedSip => alpaca::Feed::DelayedSip,
    }
}

pub(super) const fn alpaca_mode(mode: TradingMode) -> alpaca::Mode {
    match mode {
        TradingMode::Paper => alpaca::Mode::Paper,
        TradingMode::Live => alpaca::Mode::Live,
    }
}

const fn word(hours: MarketHours) -> Word {
    match hours {
        MarketHours::Agreed => Word::Agreed,
        MarketHours::Broker => Word::Broker,
    }
}

pub(super) fn chain(config: &Config) -> ChainConfig {
    ChainConfig {
        ws_url: config.ws_rpc_url.expose().to_owned(),
        cert_file: config.ssl_cert_file.clone(),
        chain_id: config.chain_id,
        stamped_chain_id: None,
        orderbooks: config.orderbooks.clone(),
        owners: config.owners.clone(),
        deployment_block: config.deployment_block,
        hedge_from_block: config.hedge_from_block,
        symbols: config.symbols.clone(),
        equities: config.equities.clone(),
        ratios: config.ratios.clone(),
        unit_jump_max_percent: config.unit_jump_max_percent,
        cash: config.cash,
        log_range_blocks: config.log_range_blocks,
        head_age_max: config.head_age_max,
    }
}

fn tell() -> Tell {
    Arc::new(|write| {
        if let Some((level, text)) = said(write) {
            log::log!(level, "{text}");
        }
    })
}

/// True after the first SIGTERM or SIGINT; the second ends the process at once.
pub(super) fn stop_on_signal() -> Result<watch::Receiver<bool>, Failure> {
    let failed = |error: std::io::Error| Failure::bug(&format!("signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if first {
                log::info!("stopping; a second signal ends the process at once");
                stop.send_replace(true);
            }
        }
        std::process::exit(INTERRUPTED);
    });
    Ok(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_held_for_a_moment_is_waited_for_and_one_for_good_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("bot.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let held = Claim::on(&database, Millis(1)).unwrap();
        let verb = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(held);
        });
        let claim = runtime.block_on(claim(&database, Duration::from_secs(180))).unwrap();
        verb.join().unwrap();
        let refused = runtime.block_on(super::claim(&database, LOCK_PAUSE)).unwrap_err();
        assert!(matches!(refused, LedgerError::Locked { .. }), "{refused}");
        drop(claim);
    }
}
