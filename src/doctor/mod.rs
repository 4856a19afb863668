//! `bot doctor`: everything that a bot needs, tried once, before or beside a running one.
//!
//! Each check has a time limit of its own, most have a thread of their own, and the next one runs whatever became of it. A
//! check that can not be made says so and why: it is never left out. The groups (`net`, `node`, `broker`, `ledger`, `disk`)
//! know how to look; this file knows only in which order, and what may depend on what.
//!
//! Invariant: no order is sent, and nothing is written but a broker's login that had to be renewed to read
//! (decision 0042). No text holds more of an address than scheme and host.

mod alerting;
mod broker;
mod disk;
mod hours;
mod ledger;
mod needs;
mod net;
mod node;
pub mod table;
mod trades;

pub use ledger::a_bot_runs_on;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::alerts;
use crate::broker::Broker;
use crate::chain::ChainConfig;
use crate::engine::CLOCKS_MS_MAX;
use crate::units::Symbol;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Well, or not needed here.
    Ok,
    /// A bot works with it, and a person should know.
    Warning,
    /// A bot can not do its job with it.
    Failed,
    /// It could not be looked at.
    NotDone,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How it ended.
    pub verdict: Verdict,
    /// What was found, in one sentence.
    pub found: String,
    /// What to do next; there where all is not well.
    pub next: Option<String>,
}

impl Finding {
    fn ok(found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, found: found.into(), next: None }
    }

    fn warning(found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, found: found.into(), next: Some(next.into()) }
    }

    fn failed(found: impl Into<String>, next: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, found: found.into(), next: Some(next.into()) }
    }

    /// It depends on the check of that name.
    fn after(cause: &str) -> Self {
        Self {
            verdict: Verdict::NotDone,
            found: format!("not looked at, because `{cause}` failed"),
            next: Some(format!("Mend `{cause}` first")),
        }
    }
}

/// One row of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at; one of [`NAMES`].
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found, in one sentence.
    pub found: String,
    /// What to do next; null where all is well.
    pub next: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Every check, in the order of the answer. Those of `order book` come once for each.
pub const NAMES: [&str; 30] = [
    "disk",
    "ledger",
    "time zone",
    "node dns",
    "node tls",
    "node",
    "chain id",
    "head",
    "logs",
    "block logs",
    "receipts",
    "history",
    "old state",
    "trades",
    "tokens",
    "units",
    "pushes",
    "order book",
    "calls",
    "broker dns",
    "broker tls",
    "login",
    "account",
    "positions",
    "orders",
    "quotes",
    "market hours",
    "clock",
    "alerts",
    "heartbeat",
];

/// What is examined.
pub struct Subject {
    /// The chain side's configuration.
    pub chain: ChainConfig,
    /// The ledger's file.
    pub database: PathBuf,
    /// The broker's end.
    pub broker: BrokerEnd,
    /// The webhook, where one is set.
    pub alerts: Option<alerts::Options>,
    /// Who waits for heartbeats, where one is set.
    pub heartbeat: Option<alerts::Watched>,
    /// Whether one alert is posted there.
    pub test_alert: bool,
}

/// The broker, as far as it can be examined. Whoever adds a broker fills this in and nothing else.
pub struct BrokerEnd {
    /// As the ledger is stamped.
    pub name: &'static str,
    /// Servers that must be reached, by their base URL; none where the broker is in this process.
    pub servers: Vec<String>,
    /// What is asked.
    pub client: Client,
}

/// What is asked at a broker.
pub enum Client {
    /// Nothing: the broker is in this process, and opening it would write its book. The words say when it is open.
    InProcess {
        /// Its account, for the ledger's stamp.
        account: String,
        /// Whether it keeps the exchange's hours.
        keeps_hours: bool,
    },
    /// This client. Only its reads are called.
    Remote(Arc<dyn Broker>),
    /// There is none: nobody has logged in, or its files can not be opened.
    Missing {
        /// Why.
        found: String,
        /// The remedy.
        next: String,
    },
}

/// Runs every check and hands each to `tell`, in the order of [`NAMES`]. Returns whether all is well: no check failed, and none
/// could not be made.
///
/// # Errors
/// What `tell` returns; the rest is not examined then.
pub fn examine<E>(subject: &Subject, tell: &mut dyn FnMut(&Check) -> Result<(), E>) -> Result<bool, E> {
    let mut well = true;
    let mut told = |check: Check| {
        well &= matches!(check.verdict, Verdict::Ok | Verdict::Warning);
        tell(&check)
    };
    let database = subject.database.clone();
    told(within("disk", Duration::from_secs(10), move || disk::look(&database)))?;
    let node =
        node::examine(&subject.chain, ledger::standing(&subject.database, subject.chain.deployment_block));
    let known = broker::examine(&subject.broker, &quoted(&subject.chain), subject.chain.cert_file.as_deref());
    told(ledger::examine(subject, node.chain_id, known.account.as_deref()))?;
    told(within("time zone", Duration::from_secs(5), hours::zone))?;
    node.checks.into_iter().try_for_each(&mut told)?;
    known.checks.into_iter().try_for_each(&mut told)?;
    let without_clock = matches!(subject.broker.client, Client::InProcess { .. });
    told(clock(known.ahead_ms, node.head_ahead_s, without_clock))?;
    told(alerting::examine(subject.alerts.as_ref(), subject.test_alert))?;
    told(alerting::heartbeat(subject.heartbeat.as_ref()))?;
    Ok(well)
}

/// Tickers that quotes are asked for: some of those that will be hedged.
fn quoted(chain: &ChainConfig) -> Vec<Symbol> {
    const QUOTED_MAX: usize = 5;
    let mut symbols: Vec<Symbol> = match &chain.symbols {
        Some(symbols) => symbols.iter().cloned().collect(),
        None => chain.equities.values().cloned().collect(),
    };
    symbols.sort();
    symbols.dedup();
    symbols.truncate(QUOTED_MAX);
    symbols
}

/// Worth a look before that.
const CLOCK_AHEAD_MS_GOOD: i64 = 1_000;
/// A chain's clock is its own, and coarse: no block is from so far in the future.
const HEAD_AHEAD_S_MAX: i64 = 30;

fn clock(broker_ahead_ms: Option<i64>, head_ahead_s: Option<i64>, without_clock: bool) -> Check {
    const SET: &str = "Set this machine's clock and keep it set: `timedatectl set-ntp true`, or chrony";
    within("clock", Duration::from_secs(5), move || {
        let head = head_ahead_s.map_or_else(
            || "the chain's head was not read".to_owned(),
            |ahead| format!("the chain's head is of {} s ago", -ahead),
        );
        if let Some(ahead) = head_ahead_s.filter(|ahead| *ahead > HEAD_AHEAD_S_MAX) {
            return Finding::failed(
                format!("the chain's head is {ahead} s ahead of this machine's clock"),
                SET,
            );
        }
        match broker_ahead_ms {
            Some(ms) if ms.saturating_abs() > CLOCKS_MS_MAX => Finding::failed(
                format!("the broker's clock is {} than this machine's: no order leaves", by(ms)),
                SET,
            ),
            Some(ms) if ms.saturating_abs() > CLOCK_AHEAD_MS_GOOD => Finding::warning(
                format!("the broker's clock is {} than this machine's; beyond 2 s no order leaves", by(ms)),
                SET,
            ),
            Some(ms) => Finding::ok(format!("within {} ms of the broker's; {head}", ms.saturating_abs())),
            None if head_ahead_s.is_some() && without_clock => {
                Finding::ok(format!("no broker's clock to hold it against; {head}"))
            }
            None if head_ahead_s.is_some() => Finding {
                verdict: Verdict::NotDone,
                found: format!("the broker told no time to hold it against; {head}"),
                next: Some("Mend what keeps the broker from answering, and look again".into()),
            },
            None => Finding {
                verdict: Verdict::NotDone,
                found: "neither the broker nor the chain told a time to hold it against".into(),
                next: Some("Mend `node` first".into()),
            },
        }
    })
}

fn by(ms: i64) -> String {
    format!("{} ms {}", ms.saturating_abs(), if ms > 0 { "later" } else { "earlier" })
}

/// Makes one check on a thread of its own and waits `limit` for it. A check that takes longer is left behind: the
/// process is about to end.
fn within(name: &'static str, limit: Duration, look: impl FnOnce() -> Finding + Send + 'static) -> Check {
    let begun = Instant::now();
    let (done, found) = channel();
    let spawned = thread::Builder::new().name(name.into()).spawn(move || {
        // Nobody waits any more where the limit has passed.
        let _ = done.send(look());
    });
    let finding = match spawned.map(|_| found.recv_timeout(limit)) {
        Ok(Ok(finding)) => finding,
        Ok(Err(RecvTimeoutError::Timeout)) => Finding::failed(
            format!("nothing within {} s", limit.as_secs()),
            "Try again; where it stays so, look at what it waits for (network, disk)",
        ),
        Ok(Err(RecvTimeoutError::Disconnected)) => Finding {
            verdict: Verdict::NotDone,
            found: "the check itself broke down: this is a bug in counterfill".into(),
            next: Some("Report it with the lines above this one on standard error".into()),
        },
        Err(error) => Finding {
            verdict: Verdict::NotDone,
            found: format!("no thread can be had for it ({error})"),
            next: Some("Raise the limit of processes (`ulimit -u`, or the container's pids)".into()),
        },
    };
    made(name, begun, finding)
}

fn made(name: &'static str, begun: Instant, finding: Finding) -> Check {
    debug_assert!(NAMES.contains(&name), "{name} is in no list");
    Check {
        name,
        verdict: finding.verdict,
        found: finding.found,
        next: finding.next,
        took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_takes_too_long_or_breaks_down_is_told() {
        let slow = within("disk", Duration::from_millis(20), || {
            thread::sleep(Duration::from_secs(60));
            Finding::ok("never said")
        });
        assert_eq!((slow.verdict, slow.found.as_str()), (Verdict::Failed, "nothing within 0 s"));
        let broken = within("disk", Duration::from_secs(60), || panic!("on purpose"));
        assert_eq!(broken.verdict, Verdict::NotDone);
        assert!(broken.next.is_some());
    }

    #[test]
    fn a_clock_is_held_against_broker_and_chain() {
        use Verdict::{Failed, NotDone, Ok, Warning};
        let rows = [
            (Some(0), Some(-3), false, Ok),
            (Some(-1_000), Some(-3), false, Ok),
            (Some(1_001), Some(-3), false, Warning),
            (Some(-2_000), None, false, Warning),
            (Some(2_001), Some(-3), false, Failed),
            (Some(-2_001), None, false, Failed),
            (Some(0), Some(31), false, Failed),
            (None, Some(-3), true, Ok),
            (None, Some(-3), false, NotDone),
            (None, Some(31), true, Failed),
            (None, Some(31), false, Failed),
            (None, None, true, NotDone),
        ];
        for (broker, head, without_clock, verdict) in rows {
            let found = clock(broker, head, without_clock);
            assert_eq!(found.verdict, verdict, "{broker:?} {head:?} {without_clock}");
        }
    }
}
