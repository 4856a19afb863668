//! Metrics: Prometheus text, version 0.0.4.
//!
//! What is a state (head, cursor, exposure) is drawn anew from the facts at every scrape, by [`snapshot`], so that no
//! series outlives what it speaks of. What is an event (a commit, an order call) is counted where it happens and kept
//! by [`Meters`]. It refuses to know who asks; the caller says whether exposure may be shown.
//!
//! Invariant: every family has its HELP and TYPE, and no label holds an account, an address or a secret.
//! This is the one place where a number may become binary floating point, because Prometheus has no other; it goes
//! there through its decimal text and never comes back.

use std::fmt::Display;
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::status::StatusReport;
use crate::broker::Placed;
use crate::hedges::IntentState;

const COMMITS: &str = "counterfill_ledger_commits_total";
const COMMIT_SECONDS: &str = "counterfill_ledger_commit_duration_seconds";
const ORDERS: &str = "counterfill_orders_total";
const ALERTS: &str = "counterfill_alerts_total";
const READS: &str = "counterfill_broker_reads_total";
const HEARTBEATS: &str = "counterfill_heartbeats_total";

/// What [`record_placed`] counts by.
const OUTCOMES: [&str; 5] = ["accepted", "refused", "duplicate", "not_sent", "unknown"];

/// What [`record_read`] and [`record_heartbeat`] count by.
const READ_OUTCOMES: [&str; 2] = ["answered", "failed"];

/// What became of an alert that was raised while there is a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertOutcome {
    /// Posted, and taken.
    Sent,
    /// The same as one that was posted: counted into a later post.
    Repeated,
    /// Given up.
    Lost,
}

impl AlertOutcome {
    const ALL: [Self; 3] = [Self::Sent, Self::Repeated, Self::Lost];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Repeated => "repeated",
            Self::Lost => "lost",
        }
    }
}

/// Why metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The exporter did not take its own configuration.
    #[error("metrics can not be set up: {0}")]
    Build(String),
    /// This process has a recorder already: a bug.
    #[error("metrics are set up twice in one process")]
    Twice,
}

/// What happened since the process began. A handle; clones show the same numbers.
#[derive(Clone)]
pub struct Meters {
    handle: PrometheusHandle,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

/// A recorder of its own, as a test holds one; [`Meters::install`] makes it the process's.
///
/// # Errors
/// When the exporter refuses the buckets.
pub fn recorder() -> Result<PrometheusRecorder, MetricsError> {
    // A commit is one fsync: under a millisecond on a good disk, and a whole second is a disk to look at.
    let buckets = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(COMMIT_SECONDS.to_owned()), buckets)
        .map_err(|error| MetricsError::Build(error.to_string()))?;
    let recorder = builder.build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe_counter!(COMMITS, "Transactions committed to the ledger since the process started.");
        describe_histogram!(COMMIT_SECONDS, "How long a commit to the ledger took, in seconds.");
        describe_counter!(
            ORDERS,
            "Order calls to the broker since the process started, by what became of them."
        );
        describe_counter!(
            READS,
            "Questions to the broker since the process started, by what became of them."
        );
        describe_counter!(
            ALERTS,
            "Alerts for the webhook since the process started, by what became of them."
        );
        describe_counter!(
            HEARTBEATS,
            "Heartbeats sent since the process started, by what became of them; none while the bot is not ready."
        );
        // Series that exist from the start can be told from a bot that is not scraped.
        counter!(COMMITS).absolute(0);
        for outcome in OUTCOMES {
            counter!(ORDERS, "outcome" => outcome).absolute(0);
        }
        for outcome in READ_OUTCOMES {
            counter!(READS, "outcome" => outcome).absolute(0);
        }
        for outcome in READ_OUTCOMES {
            counter!(HEARTBEATS, "outcome" => outcome).absolute(0);
        }
        for outcome in AlertOutcome::ALL {
            counter!(ALERTS, "outcome" => outcome.as_str()).absolute(0);
        }
    });
    Ok(recorder)
}

impl Meters {
    /// The meters behind this recorder.
    #[must_use]
    pub fn of(recorder: &PrometheusRecorder) -> Self {
        Self { handle: recorder.handle() }
    }

    /// Makes a recorder the process's own, so that [`record_commit`] and [`record_placed`] reach it from every thread.
    ///
    /// # Errors
    /// When the process has one already.
    pub fn install() -> Result<Self, MetricsError> {
        let recorder = recorder()?;
        let meters = Self::of(&recorder);
        metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Twice)?;
        Ok(meters)
    }

    /// The events, as Prometheus text.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds raw samples into buckets; without it they would pile up where nobody scrapes.
    pub fn fold(&self) {
        self.handle.run_upkeep();
    }
}

/// Counts a commit to the ledger and how long it took.
pub fn record_commit(duration: Duration) {
    counter!(COMMITS).increment(1);
    histogram!(COMMIT_SECONDS).record(duration);
}

/// Counts an order call by what became of it.
pub fn record_placed(placed: &Placed) {
    let outcome = match placed {
        Placed::Accepted(_) => "accepted",
        Placed::Refused { .. } | Placed::Barred(_) => "refused",
        Placed::Duplicate => "duplicate",
        Placed::NotSent(_) => "not_sent",
        Placed::Unknown(_) => "unknown",
    };
    counter!(ORDERS, "outcome" => outcome).increment(1);
}

/// Counts a question to the broker by whether it was answered.
pub fn record_read(answered: bool) {
    counter!(READS, "outcome" => READ_OUTCOMES[usize::from(!answered)]).increment(1);
}

/// Counts an alert by what became of it.
pub fn record_alert(outcome: AlertOutcome) {
    counter!(ALERTS, "outcome" => outcome.as_str()).increment(1);
}

/// Counts a heartbeat by whether it was taken.
pub fn record_heartbeat(answered: bool) {
    counter!(HEARTBEATS, "outcome" => READ_OUTCOMES[usize::from(!answered)]).increment(1);
}

/// The states, as Prometheus text. Exposure is shown as far as the report holds it.
#[must_use]
pub fn snapshot(report: &StatusReport) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        draw_process(report);
        draw_health(report);
        draw_login(report);
        draw_chain(report);
        draw_engine(report);
    });
    recorder.handle().render()
}

fn draw_process(report: &StatusReport) {
    describe_gauge!("counterfill_build_info", "Always 1; the label holds the program's version.");
    gauge!("counterfill_build_info", "version" => report.version.clone()).set(1);
    describe_gauge!("process_start_time_seconds", "When the process started, in seconds since 1970.");
    gauge!("process_start_time_seconds").set(seconds(report.started_at.unwrap_or_default().0));
}

fn draw_health(report: &StatusReport) {
    describe_gauge!("counterfill_live", "1 while the engine's loop turns, as /livez says.");
    gauge!("counterfill_live").set(flag(report.live));
    describe_gauge!("counterfill_ready", "1 while the bot can do its job now, as /readyz says.");
    gauge!("counterfill_ready").set(flag(report.ready));
    describe_gauge!("counterfill_check_ok", "1 while this check of /readyz holds.");
    for check in &report.checks {
        gauge!("counterfill_check_ok", "check" => check.name.clone()).set(flag(check.ok));
    }
}

fn draw_login(report: &StatusReport) {
    let Some(login) = &report.login else { return };
    describe_gauge!("counterfill_login_good", "1 while the broker's login can be used, as far as is known.");
    gauge!("counterfill_login_good").set(flag(login.good));
    describe_gauge!(
        "counterfill_login_left_seconds",
        "Time until a person must log in at the broker again, in seconds; 0 when that is now."
    );
    let left = login.ends_at.map_or(0, |end| end.since(report.at));
    gauge!("counterfill_login_left_seconds").set(seconds(left));
}

fn draw_chain(report: &StatusReport) {
    let chain = &report.chain;
    describe_gauge!("counterfill_chain_connected", "1 while a socket to the node is up and subscribed.");
    gauge!("counterfill_chain_connected").set(flag(chain.connected));
    if let Some(head) = chain.head {
        describe_gauge!("counterfill_head_block", "Number of the newest block the node told.");
        gauge!("counterfill_head_block").set(number(head));
    }
    if let Some(moved_at) = chain.head_moved_at {
        describe_gauge!("counterfill_head_age_seconds", "Time since the head last moved, in seconds.");
        gauge!("counterfill_head_age_seconds").set(seconds(report.at.since(moved_at).max(0)));
    }
    describe_counter!(
        "counterfill_chain_reconnects_total",
        "Connections to the node made after the first one."
    );
    counter!("counterfill_chain_reconnects_total").absolute(chain.reconnects);
    describe_counter!("counterfill_forks_total", "Forks found: ranges that had to start below the cursor.");
    counter!("counterfill_forks_total").absolute(chain.forks);
    describe_counter!(
        "counterfill_sweeps_discarded_total",
        "Answers of the node thrown away because they did not belong together."
    );
    counter!("counterfill_sweeps_discarded_total").absolute(chain.discarded);
    describe_counter!(
        "counterfill_unproven_blocks_total",
        "Blocks that may hold something of ours and whose receipts the node does not tell."
    );
    counter!("counterfill_unproven_blocks_total").absolute(chain.unproven);
    let left =
        chain.backfill.map_or(0, |backfill| backfill.total_blocks.saturating_sub(backfill.done_blocks));
    describe_gauge!("counterfill_backfill_blocks_left", "Blocks a backfill under way has yet to read.");
    gauge!("counterfill_backfill_blocks_left").set(number(left));
}

fn draw_engine(report: &StatusReport) {
    let Some(engine) = &report.engine else { return };
    if let Some(cursor) = engine.cursor {
        describe_gauge!("counterfill_cursor_block", "The last block whose fills are all in the ledger.");
        gauge!("counterfill_cursor_block").set(number(cursor.number));
    }
    describe_counter!("counterfill_fills_total", "Fills ever stored in the ledger.");
    counter!("counterfill_fills_total").absolute(engine.fills);
    describe_counter!("counterfill_reversals_total", "Reversals of fills ever stored in the ledger.");
    counter!("counterfill_reversals_total").absolute(engine.reversals);
    describe_counter!("counterfill_dead_events_total", "Logs ever stored that could not be understood.");
    counter!("counterfill_dead_events_total").absolute(engine.dead_events);
    describe_gauge!("counterfill_deciding", "1 while orders may be decided.");
    gauge!("counterfill_deciding").set(flag(engine.deciding));
    describe_gauge!("counterfill_broker_up", "1 while the last read of the broker succeeded.");
    gauge!("counterfill_broker_up").set(flag(engine.broker_answers == Some(true)));
    describe_gauge!("counterfill_gate_open", "1 while orders may go to the broker.");
    gauge!("counterfill_gate_open").set(flag(engine.gate.is_none()));
    describe_gauge!("counterfill_halts", "Halts in force.");
    gauge!("counterfill_halts").set(number(engine.halts.len()));
    describe_gauge!("counterfill_intents", "Live intents, by state.");
    for state in IntentState::ALL.into_iter().filter(|state| state.is_live()) {
        let count =
            engine.tickers.iter().filter_map(|t| t.live_intent.as_ref()).filter(|l| l.state == state).count();
        gauge!("counterfill_intents", "state" => state.as_str()).set(number(count));
    }
    for ticker in &engine.tickers {
        let Some(exposure) = ticker.exposure else { continue };
        describe_gauge!("counterfill_exposure_shares", "Shares held against no hedge; positive is long.");
        gauge!("counterfill_exposure_shares", "symbol" => ticker.symbol.to_string()).set(number(exposure));
    }
}

const fn flag(value: bool) -> u8 {
    if value { 1 } else { 0 }
}

/// A number as Prometheus needs it, by way of its decimal text.
#[allow(
    clippy::disallowed_types,
    reason = "Prometheus knows no other numbers; nothing is read back from them"
)]
fn number(value: impl Display) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

/// Milliseconds (zero or more) as seconds.
#[allow(
    clippy::disallowed_types,
    reason = "Prometheus knows no other numbers; nothing is read back from them"
)]
fn seconds(ms: i64) -> f64 {
    let ms = ms.max(0);
    number(format_args!("{}.{:03}", ms / 1000, ms % 1000))
}
