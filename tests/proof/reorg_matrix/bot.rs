//! The bot of the reorg matrix: all of `bot run` but its process. Chain, line, desk and control socket are the
//! program's own, on threads of their own; only the broker is handed in.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use counterfill::chain::ChainConfig;
use counterfill::engine::{EngineSnapshot, TickerSnapshot};
use counterfill::hedges::Limits;
use counterfill::ledger::Claim;
use counterfill::run::{Exit, Parts, Published, run};
use counterfill::serve::metrics::{Meters, recorder};
use counterfill::sim::SimChain;
use counterfill::units::Millis;
use serde_json::Value;
use testkit::process;
use tokio::sync::watch;

use super::gate::Gate;
use crate::truth::{OWNER, SHARES, USDC, V4, V5};
use crate::until::until;

pub struct Bot {
    stop: watch::Sender<bool>,
    facts: watch::Receiver<Option<EngineSnapshot>>,
    thread: Option<JoinHandle<Exit>>,
}

/// A test that fails must not leave a bot behind.
impl Drop for Bot {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn chain_config(ws_url: String, deployment_block: u64) -> ChainConfig {
    ChainConfig {
        ws_url,
        cert_file: None,
        chain_id: None,
        stamped_chain_id: None,
        orderbooks: vec![V5.address, V4.address],
        owners: vec![OWNER],
        deployment_block,
        hedge_from_block: None,
        symbols: None,
        equities: SHARES.iter().map(|share| (share.2.address, share.0.parse().unwrap())).collect(),
        ratios: std::collections::BTreeMap::new(),
        unit_jump_max_percent: counterfill::chain::tokens::UNIT_JUMP_MAX_PERCENT,
        cash: Some(USDC.address),
        log_range_blocks: 1_000,
        head_age_max: Duration::from_secs(300),
    }
}

impl Bot {
    pub fn start(ws_url: String, first_block: u64, database: PathBuf, broker: Arc<Gate>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let published = Published::default();
        let facts = published.facts();
        let mut claim = None;
        // A bot that ended in a hurry may still be letting go of its ledger; its process would have taken it along.
        until("the ledger is free", String::new, || {
            claim = Claim::on(&database, Millis::now()).ok();
            claim.is_some()
        });
        let claim = claim.unwrap();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let parts = Parts {
                chain: chain_config(ws_url, first_block),
                claim,
                database,
                broker,
                confirmations: 0,
                limits: Limits::default(),
                listener: None,
                meters: Meters::of(&recorder().unwrap()),
                absent_after_ms: None,
                max_price_deviation_bps: 500,
                unhedged_alert_ms: 60_000,
                live: false,
                alerts: counterfill::alerts::Alerts::none(),
                account_last4: None,
                keeps_hours: false,
                heartbeat: counterfill::alerts::Heartbeat::none(),
                tell: Arc::new(|_| {}),
            };
            runtime.block_on(run(parts, &published, stopped))
        });
        Self { stop, facts, thread: Some(thread) }
    }

    /// Waits until it has ended.
    pub fn ends(mut self) -> Exit {
        let thread = self.thread.take().unwrap();
        until("the bot ends", || "it runs".into(), || thread.is_finished());
        thread.join().unwrap()
    }

    /// Asks it to stop, and waits.
    pub fn stop(self) {
        self.stop.send_replace(true);
        let exit = self.ends();
        assert_eq!((exit.code, exit.message), (0, None));
    }

    /// Waits until what it publishes is as wanted.
    pub fn until(&self, what: &str, mut holds: impl FnMut(&EngineSnapshot) -> bool) {
        let tell = || format!("{:#?}", *self.facts.borrow());
        until(what, tell, || {
            let ended = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
            assert!(!ended, "{what}: the bot has ended");
            self.facts.borrow().as_ref().is_some_and(&mut holds)
        });
    }

    /// Its cursor is the chain's tip, and it decides.
    pub fn catches_up(&self, tip: impl Fn() -> counterfill::units::BlockRef) {
        self.until("the cursor at the tip", |facts| facts.deciding && facts.cursor == Some(tip()));
    }

    /// The ticker's own facts are as wanted.
    pub fn until_ticker(&self, ticker: &str, what: &str, holds: impl Fn(&TickerSnapshot) -> bool) {
        self.until(&format!("{ticker} {what}"), |facts| {
            facts.tickers.iter().any(|facts| facts.symbol.as_str() == ticker && holds(facts))
        });
    }
}

/// The canonical tip, as a closure wants it.
pub fn tip_of(node: &counterfill::sim::SimNode) -> impl Fn() -> counterfill::units::BlockRef {
    || node.chain(SimChain::tip)
}

/// Runs another verb on the ledger, whatever comes of it.
pub fn verb(database: &Path, args: &[&str]) -> Output {
    process::verb(database, args).output().unwrap()
}

/// The rows of a reading verb.
pub fn rows(database: &Path, verb: &str) -> Vec<Value> {
    process::rows(&self::verb(database, &[verb, "--json"]))
}
