//! `bot run`: from a configuration to a bot, its signals, its end.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{Ended, Failure};
use crate::broker::Broker;
use crate::broker::paper::{self, PaperBroker, PaperOptions};
use crate::chain::ChainConfig;
use crate::config::{Config, Logs, PaperSessions};
use crate::ledger::Claim;
use crate::run::{Parts, Published, Tell, run, said};
use crate::serve::{self, metrics::Meters};
use crate::units::Millis;
use crate::{exit, logs, version};

/// What a shell reports of a program that a second Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Watches and hedges until it is stopped.
pub(super) fn watch_and_hedge(config: &Config, warnings: &[String]) -> Ended {
    logs::start(&Logs { filter: config.log_filter.clone(), format: config.log_format });
    let stopped_by_signal = super::runtime()?.block_on(async {
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
        let claim = Claim::on(&config.database, Millis::now())?;
        let listener = serve::bind(config.listen).await.map_err(|error| because(&error))?;
        // Not what was asked for but what was given: port 0 asks for any free one.
        let bound = listener.local_addr().unwrap_or(config.listen);
        log::info!("health and metrics on http://{bound}");
        let parts = Parts {
            broker: broker(config)?,
            confirmations: config.confirmations,
            limits: config.limits,
            listener: Some(listener),
            meters: Meters::install().map_err(|error| Failure::bug(&error.to_string()))?,
            tell: tell(),
            database: config.database.clone(),
            claim,
            chain: chain(config),
        };
        Ok::<_, Failure>(run(parts, &Published::default(), stop).await)
    })?;
    super::end(stopped_by_signal)
}

fn because(error: &impl std::fmt::Display) -> Failure {
    Failure::Because { code: exit::CONFIGURATION, words: error.to_string() }
}

fn broker(config: &Config) -> Result<Arc<dyn Broker>, Failure> {
    let sessions = match config.paper_sessions {
        PaperSessions::Always => paper::PaperSessions::Always,
        PaperSessions::Nyse => paper::PaperSessions::Nyse,
    };
    let options = PaperOptions { sessions, ..PaperOptions::default() };
    let path = config.database.with_file_name(paper::BOOK_FILE);
    let broker = PaperBroker::open(&path, options, Millis::now()).map_err(|error| because(&error))?;
    Ok(Arc::new(broker))
}

fn chain(config: &Config) -> ChainConfig {
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
