//! Health: a table of facts → verdict. Pure: no clock, no network, no file; `now` is an argument.
//!
//! *Live* means that the engine's loop turns; only a restart cures the opposite. *Ready* means that the bot can do its
//! job now: every fill that happens this second will be hedged. So a halt of any kind makes it unready (fills of that
//! ticker would stay open), and so does an order of which nobody knows whether it exists. A closed market does not:
//! waiting is then the job. Nor does it stay ready where a lot or more has been open for `UNHEDGED_ALERT_AFTER`,
//! whatever the reason (`protocol.md` 4.1). It refuses to know where the facts come from.
//!
//! Invariants: every check can come out both ways (`tests/it/health.rs` flips each one), no fact that is missing counts
//! as good news, and `name`s never change. A check's `detail` holds our own words only; the words of others (broker,
//! node, operator) stand in `quote`, which is not shown to strangers.

use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::broker::{Mend, Session};
use crate::chain::ChainFacts;
use crate::engine::{EngineSnapshot, LiveIntent, TickerSnapshot};
use crate::hedges::IntentState;
use crate::units::Millis;

/// No order leaves in the last 15 s of a session (`protocol.md` 4), so a gate shut by then is the session's.
const SESSION_TAIL_MS: i64 = 15_000;

const DAY_MS: i64 = 86_400_000;

/// The bounds that facts are held against. The default is right for every chain and broker except
/// [`Limits::head_age_max_ms`], which is `HEAD_AGE_MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `HEAD_AGE_MAX`: a head older than this means that the chain stands still, or our node does.
    pub head_age_max_ms: i64,
    /// The node is asked every 2 s and has 3 s to answer: 5 s between two good answers, and 1 s for a busy machine.
    pub answer_age_max_ms: i64,
    /// A sweep that is refused is tried again after 2 s at most: by now the node has refused several.
    pub sweep_age_max_ms: i64,
    /// The engine publishes at least once a second; ten times that is no longer a slow disk.
    pub engine_age_max_ms: i64,
    /// From the process's start to the engine's first facts: reading a large ledger and backing it up come before.
    pub start_max_ms: i64,
    /// Cursor and head may be this many blocks apart; a gap of more makes deciding wait as well (`protocol.md` 2).
    pub lag_blocks_max: u64,
    /// How far the facts may lie in the future: as much as our clock may differ from the broker's (`protocol.md` 4).
    pub clock_back_max_ms: i64,
    /// A sent order without a verdict: 8 s for the answer, then up to 60 s until it can be read (`protocol.md` 3.3).
    pub sent_age_max_ms: i64,
    /// A market order older than this in session is a reason to look (`protocol.md` 3.2).
    pub working_age_max_ms: i64,
    /// A broker login that ends sooner than this wants a person (two days: a weekend).
    pub login_left_min_ms: i64,
    /// A market calendar that ends sooner than this wants a newer version of the program (60 days).
    pub calendar_left_min_ms: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_age_max_ms: 30_000,
            answer_age_max_ms: 6_000,
            sweep_age_max_ms: 10_000,
            engine_age_max_ms: 10_000,
            start_max_ms: 120_000,
            lag_blocks_max: 64,
            clock_back_max_ms: 2_000,
            sent_age_max_ms: 90_000,
            working_age_max_ms: 300_000,
            login_left_min_ms: 48 * 3_600_000,
            calendar_left_min_ms: 60 * DAY_MS,
        }
    }
}

/// Where a detail sends its reader. The screen of `bot status`, being there already, leaves it out.
pub const SEE_STATUS: &str = " (see `bot status`)";

/// What is known of the process itself, beside engine and chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// When the process started.
    pub started_at: Millis,
    /// Why the ledger can not be written or read at this moment, if so.
    pub ledger_error: Option<String>,
    /// When the broker's login ends and a person must log in again; none where it never does.
    pub login_expires_at: Option<Millis>,
    /// Why no call to the broker is possible before a person does this, if so.
    pub login_error: Option<(Mend, String)>,
    /// When the program's market calendar ends, where no session opens without its word.
    pub calendar_ends_at: Option<Millis>,
    /// What a start waits for that may take as long as it likes: a ledger that is to be born needs to hear of its chain
    /// and its account first.
    pub start_waits_for: Option<&'static str>,
    /// Since when a start waits for nobody any more.
    pub opening_since: Option<Millis>,
    /// Which bot it is, as far as it is known yet.
    pub identity: Identity,
    /// Whether the broker keeps the exchange's hours.
    pub keeps_hours: bool,
}

/// What a failing check spoils.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CriticalFor {
    /// Neither live nor ready: only a restart helps.
    Live,
    /// Not ready.
    Ready,
    /// Nothing: a warning.
    None,
}

/// One row of the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its stable name.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// What it spoils when it does not hold.
    pub critical_for: CriticalFor,
    /// What was measured, with its unit.
    pub value: String,
    /// What is wrong and what to do, or a remark; our own words, fit for strangers. Empty when there is nothing to say.
    pub detail: String,
    /// The words of others on it: broker, node, operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
}

impl Check {
    /// Whether this row alone makes the bot unready.
    #[must_use]
    pub fn spoils_ready(&self) -> bool {
        !self.ok && self.critical_for != CriticalFor::None
    }
}

/// The verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The bot can do its job now.
    pub ready: bool,
    /// The engine's loop turns.
    pub live: bool,
    /// Every check, in the order of the table.
    pub checks: Vec<Check>,
}

/// The verdict on these facts at this moment. `facts` is none until the engine has published for the first time.
#[must_use]
pub fn health(
    facts: Option<&EngineSnapshot>,
    chain: &ChainFacts,
    process: &ProcessFacts,
    now: Millis,
    limits: &Limits,
) -> Health {
    let scene = Scene { facts, chain, process, now, limits };
    let checks: Vec<Check> = TABLE.iter().map(|row| row.check(&scene)).collect();
    let live = checks.iter().all(|check| check.ok || check.critical_for != CriticalFor::Live);
    let ready = !checks.iter().any(Check::spoils_ready);
    Health { ready, live, checks }
}

/// Everything a check may look at.
struct Scene<'a> {
    facts: Option<&'a EngineSnapshot>,
    chain: &'a ChainFacts,
    process: &'a ProcessFacts,
    now: Millis,
    limits: &'a Limits,
}

/// What a check found.
struct Finding {
    ok: bool,
    value: String,
    detail: String,
    quote: Option<String>,
}

impl Finding {
    /// `detail` is kept only where the check fails.
    fn of(ok: bool, value: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { ok, value: value.into(), detail: if ok { String::new() } else { detail.into() }, quote: None }
    }

    fn quoting(mut self, quote: Option<String>) -> Self {
        self.quote = quote.filter(|text| !text.is_empty());
        self
    }
}

/// How a row looks at the scene.
enum Look {
    /// At chain and process.
    Outside(fn(&Scene<'_>) -> Finding),
    /// At the engine's facts; before the first ones it fails.
    Engine(fn(&Scene<'_>, &EngineSnapshot) -> Finding),
}

struct Row {
    name: &'static str,
    critical_for: CriticalFor,
    look: Look,
}

impl Row {
    fn check(&self, scene: &Scene<'_>) -> Check {
        let Finding { ok, value, detail, quote } = match (&self.look, scene.facts) {
            (Look::Outside(look), _) => look(scene),
            (Look::Engine(look), Some(facts)) => look(scene, facts),
            (Look::Engine(_), None) => {
                Finding::of(false, "unknown", "the engine has not spoken yet; it is starting")
            }
        };
        Check { name: self.name.to_owned(), ok, critical_for: self.critical_for, value, detail, quote }
    }
}

const fn row(name: &'static str, critical_for: CriticalFor, look: Look) -> Row {
    Row { name, critical_for, look }
}

/// Every check there is. Names are stable: alerts and dashboards are built on them.
const TABLE: [Row; 20] = [
    row("engine_loop", CriticalFor::Live, Look::Outside(engine_loop)),
    row("clock", CriticalFor::Ready, Look::Engine(clock)),
    row("ledger", CriticalFor::Ready, Look::Outside(ledger)),
    row("chain_connected", CriticalFor::Ready, Look::Outside(chain_connected)),
    row("chain_answers", CriticalFor::Ready, Look::Outside(chain_answers)),
    row("chain_moves", CriticalFor::Ready, Look::Outside(chain_moves)),
    row("chain_swept", CriticalFor::Ready, Look::Outside(chain_swept)),
    row("caught_up", CriticalFor::Ready, Look::Engine(caught_up)),
    row("deciding", CriticalFor::Ready, Look::Engine(deciding)),
    row("broker_answers", CriticalFor::Ready, Look::Engine(broker_answers)),
    row("broker_gate", CriticalFor::Ready, Look::Engine(broker_gate)),
    row("broker_login", CriticalFor::Ready, Look::Outside(broker_login)),
    row("broker_login_lasts", CriticalFor::None, Look::Outside(broker_login_lasts)),
    row("market_calendar_lasts", CriticalFor::None, Look::Outside(market_calendar_lasts)),
    row("halts", CriticalFor::Ready, Look::Engine(halts)),
    row("intents_certain", CriticalFor::Ready, Look::Engine(intents_certain)),
    row("exposure_hedged", CriticalFor::Ready, Look::Engine(exposure_hedged)),
    row("amounts_known", CriticalFor::Ready, Look::Engine(amounts_known)),
    row("orders_finish", CriticalFor::None, Look::Engine(orders_finish)),
    row("dead_events", CriticalFor::None, Look::Engine(dead_events)),
];

/// Milliseconds as text in seconds, cut to tenths.
fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let tenths = ms.unsigned_abs() / 100;
    format!("{sign}{}.{} s", tenths / 10, tenths % 10)
}

/// A moment is fresh when it is at most `max_ms` old, and not from the future either: after the clock was set back an
/// old fact would look young for ever.
fn is_fresh(scene: &Scene<'_>, moment: Millis, max_ms: i64) -> bool {
    (-scene.limits.clock_back_max_ms..=max_ms).contains(&scene.now.since(moment))
}

fn engine_loop(scene: &Scene<'_>) -> Finding {
    let advice = "restart the bot (its supervisor does so on /livez) and look at the last lines of its log";
    let Some(facts) = scene.facts else {
        if let Some(what) = scene.process.start_waits_for {
            // A restart would not help, and would cut off a person who is logging in.
            let detail = format!("a new ledger waits for {what}");
            return Finding { ok: true, value: "starting".into(), detail, quote: None };
        }
        let age = scene.now.since(scene.process.opening_since.unwrap_or(scene.process.started_at));
        let ok = age <= scene.limits.start_max_ms;
        return Finding {
            ok,
            value: "starting".into(),
            detail: if ok {
                "the engine has not spoken yet".into()
            } else {
                format!("started {} ago and the engine has not spoken yet: {advice}", seconds(age))
            },
            quote: None,
        };
    };
    // A clock set back does not stop the loop: the magnitude counts, and `clock` tells the rest.
    let age = scene.now.since(facts.at);
    Finding::of(
        age.saturating_abs() <= scene.limits.engine_age_max_ms,
        seconds(age),
        format!("the engine last spoke {} ago: {advice}", seconds(age)),
    )
}

fn clock(scene: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    let ahead = facts.at.since(scene.now);
    Finding::of(
        ahead <= scene.limits.clock_back_max_ms,
        seconds(ahead.max(0)),
        format!("this machine's clock went back by {}: check its time service (NTP)", seconds(ahead)),
    )
}

fn ledger(scene: &Scene<'_>) -> Finding {
    let error = &scene.process.ledger_error;
    Finding::of(
        error.is_none(),
        if error.is_none() { "ok" } else { "error" },
        "the ledger's disk gives errors: check that it is not full and not read-only",
    )
    .quoting(error.clone())
}

fn chain_connected(scene: &Scene<'_>) -> Finding {
    let value = if scene.chain.connected { "connected" } else { "away" };
    Finding::of(
        scene.chain.connected,
        value,
        "no connection to the node; the bot keeps trying: check WS_RPC_URL and the node",
    )
    .quoting(if scene.chain.connected { None } else { scene.chain.error.clone() })
}

fn chain_answers(scene: &Scene<'_>) -> Finding {
    let Some(answered_at) = scene.chain.answered_at else {
        return Finding::of(false, "never", "the node has not answered yet: check WS_RPC_URL and the node");
    };
    let age = seconds(scene.now.since(answered_at));
    let ok = is_fresh(scene, answered_at, scene.limits.answer_age_max_ms);
    let detail = format!("the node last answered {age} ago (asked every 2 s): check the node");
    Finding::of(ok, age, detail)
}

fn chain_moves(scene: &Scene<'_>) -> Finding {
    let Some(moved_at) = scene.chain.head_moved_at else {
        return Finding::of(false, "never", "the node has told no block yet: check WS_RPC_URL and the node");
    };
    let age = seconds(scene.now.since(moved_at));
    let max = scene.limits.head_age_max_ms;
    let detail = format!(
        "the newest block is {age} old, more than HEAD_AGE_MAX ({}): the node or its chain stands still; on a slow \
         chain set HEAD_AGE_MAX higher",
        seconds(max)
    );
    Finding::of(is_fresh(scene, moved_at, max), age, detail)
}

fn chain_swept(scene: &Scene<'_>) -> Finding {
    let Some(since) = scene.chain.unswept_since else { return Finding::of(true, "at the head", "") };
    let age = seconds(scene.now.since(since));
    let max = scene.limits.sweep_age_max_ms;
    let detail = format!(
        "blocks are told and none could be read for {age} (at most {}): a fill in them is not seen; type `bot doctor`, \
         or use another node",
        seconds(max)
    );
    let ok = is_fresh(scene, since, max);
    Finding::of(ok, age, detail).quoting(if ok { None } else { scene.chain.error.clone() })
}

fn caught_up(scene: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    let (Some(head), Some(cursor)) = (scene.chain.head, facts.cursor) else {
        return Finding::of(false, "unknown", "nothing has been read from the chain yet");
    };
    let max = scene.limits.lag_blocks_max;
    if cursor.number > head {
        let behind = cursor.number - head;
        let detail =
            format!("the node is {behind} blocks behind our ledger: it is syncing, or of another chain");
        return Finding::of(behind <= max, format!("-{behind} blocks"), detail);
    }
    let lag = head - cursor.number;
    let detail = match scene.chain.backfill {
        Some(backfill) => {
            format!("{lag} blocks behind; a backfill is under way, about {} s left", backfill.eta_s)
        }
        None => format!("{lag} blocks behind the node's head (at most {max}): wait, or use a faster node"),
    };
    Finding::of(lag <= max, format!("{lag} blocks"), detail)
}

fn deciding(_: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    Finding::of(
        facts.deciding,
        if facts.deciding { "yes" } else { "no" },
        format!("no order is decided yet{SEE_STATUS}"),
    )
    .quoting((!facts.deciding).then(|| facts.waiting.join("; ")))
}

fn broker_answers(_: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    let (value, detail) = match facts.broker_answers {
        Some(true) => ("yes", ""),
        Some(false) => (
            "no",
            "the broker can not be read: check the network, the login (`auth status`) and its own status",
        ),
        None => ("never", "the broker has not been read yet"),
    };
    Finding::of(facts.broker_answers == Some(true), value, detail)
}

fn broker_gate(scene: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    let Some(gate) = &facts.gate else { return Finding::of(true, "open", "") };
    let of_session = match &facts.session {
        Some(Session::Closed { .. }) => true,
        Some(Session::Open { until: Some(until) }) => scene.now >= until.plus(-SESSION_TAIL_MS),
        Some(Session::Open { until: None } | Session::Disputed { .. }) | None => false,
    };
    let finding = if of_session {
        Finding {
            ok: true,
            value: "session closed".into(),
            detail: "the market is closed; orders wait for its opening".into(),
            quote: None,
        }
    } else {
        Finding::of(false, "shut", format!("no order may go to the broker{SEE_STATUS}"))
    };
    finding.quoting(Some(gate.clone()))
}

fn broker_login(scene: &Scene<'_>) -> Finding {
    if let Some((mend, error)) = &scene.process.login_error {
        let detail =
            format!("the broker's login is not good, and only a person can mend that: {}", mend.words());
        return Finding::of(false, "none", detail).quoting(Some(error.clone()));
    }
    let Some(left) = login_left(scene) else { return Finding::of(true, "no end", "") };
    Finding::of(left > 0, seconds(left), "the broker's login has ended: `auth login`")
}

fn broker_login_lasts(scene: &Scene<'_>) -> Finding {
    let Some(left) = login_left(scene) else { return Finding::of(true, "no end", "") };
    let detail = format!("the broker's login ends in {} h: `auth login` in time", left / 3_600_000);
    Finding::of(left >= scene.limits.login_left_min_ms, seconds(left), detail)
}

fn login_left(scene: &Scene<'_>) -> Option<i64> {
    scene.process.login_expires_at.map(|end| end.since(scene.now))
}

fn market_calendar_lasts(scene: &Scene<'_>) -> Finding {
    let Some(end) = scene.process.calendar_ends_at else { return Finding::of(true, "no end", "") };
    let left = end.since(scene.now);
    let days = left.div_euclid(DAY_MS);
    let detail = format!(
        "the program's market calendar ends in {days} days: install a newer version of counterfill in time"
    );
    Finding::of(left > scene.limits.calendar_left_min_ms, format!("{days} days"), detail)
}

fn halts(_: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    let text: Vec<String> = facts
        .halts
        .iter()
        .map(|halt| {
            let whom = halt.symbol.as_ref().map_or("all tickers", |symbol| symbol.as_str());
            format!("{whom} ({})", halt.kind.as_str())
        })
        .collect();
    let reasons: Vec<&str> = facts.halts.iter().map(|halt| halt.reason.as_str()).collect();
    let detail = format!("no order goes out for {}{SEE_STATUS}", text.join(", "));
    Finding::of(text.is_empty(), text.len().to_string(), detail).quoting(Some(reasons.join("; ")))
}

fn intents_certain(scene: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    named(
        facts,
        |ticker| match &ticker.live {
            Some(LiveIntent { state: IntentState::Unknown, .. }) => Some("Unknown".into()),
            Some(LiveIntent { state: IntentState::Stuck, .. }) => Some("Stuck".into()),
            Some(LiveIntent { state: IntentState::Sent, changed_at, .. }) => {
                let age = scene.now.since(*changed_at);
                (age > scene.limits.sent_age_max_ms).then(|| format!("Sent for {}", seconds(age)))
            }
            _ => None,
        },
        "of these orders nobody knows whether they are at the broker, and their tickers wait",
    )
}

/// The engine counts the time, for it knows the session; it tells a person at the same moment.
fn exposure_hedged(scene: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    let why: Vec<String> = facts
        .tickers
        .iter()
        .filter(|ticker| ticker.overdue)
        .filter_map(|ticker| ticker.waiting.as_ref().map(|why| format!("{}: {why}", ticker.symbol)))
        .collect();
    named(
        facts,
        |ticker| {
            let since = ticker.unhedged_since.unwrap_or(facts.at);
            ticker.overdue.then(|| format!("for {}", seconds(scene.now.since(since))))
        },
        "a lot or more is open and no order is at work for it",
    )
    .quoting(Some(why.join("; ")))
}

fn amounts_known(_: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    let named: Vec<&str> = facts.pending.iter().map(|(whom, _)| whom.as_str()).collect();
    let why: Vec<String> = facts.pending.iter().map(|(whom, why)| format!("{whom}: {why}")).collect();
    let detail = format!(
        "fills wait for their amount and are not hedged: {}; this needs an archive node (WS_RPC_URL){SEE_STATUS}",
        named.join(", ")
    );
    Finding::of(named.is_empty(), named.len().to_string(), detail).quoting(Some(why.join("; ")))
}

fn orders_finish(scene: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    named(
        facts,
        |ticker| match &ticker.live {
            Some(LiveIntent { state: IntentState::Working, changed_at, .. }) => {
                let age = scene.now.since(*changed_at);
                (age > scene.limits.working_age_max_ms).then(|| format!("for {}", seconds(age)))
            }
            _ => None,
        },
        "market orders that the broker has not finished: look at them in its own screen",
    )
}

/// One check over all tickers: those with something to tell are named in the detail.
fn named(facts: &EngineSnapshot, tell: impl Fn(&TickerSnapshot) -> Option<String>, advice: &str) -> Finding {
    let told: Vec<String> = facts
        .tickers
        .iter()
        .filter_map(|ticker| tell(ticker).map(|text| format!("{} ({text})", ticker.symbol)))
        .collect();
    let detail = format!("{}: {advice}{SEE_STATUS}", told.join(", "));
    Finding::of(told.is_empty(), told.len().to_string(), detail)
}

fn dead_events(_: &Scene<'_>, facts: &EngineSnapshot) -> Finding {
    let dead = facts.dead_total;
    let detail = format!(
        "{dead} logs could not be understood and moved nothing: the log says each, and the ledger keeps them raw"
    );
    Finding::of(dead == 0, dead.to_string(), detail)
}
