//! What the bot says of itself: one shape for `/readyz`, `bot status --json` and the screen of `bot status`.
//!
//! The names here are stable and are promised to scripts; the engine's own [`EngineSnapshot`] may change beneath them. The
//! report a stranger may see is made by [`StatusReport::redacted`]: no exposure, no order, no words of others.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use super::health::{Check, Health, ProcessFacts, SEE_STATUS};
use super::identity::{Identity, SessionStatus};
use crate::chain::ChainFacts;
use crate::engine::EngineSnapshot;
use crate::hedges::{HaltKind, IntentState};
use crate::units::{BlockRef, IntentId, Millis, Shares, Symbol};

/// Everything the bot tells of its state at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The program's version.
    pub version: String,
    /// The moment of this report, in milliseconds since 1970.
    pub at: Millis,
    /// Whether a bot runs and says this of itself; else it is what its ledger holds.
    #[serde(default)]
    pub running: bool,
    /// Which bot it is.
    #[serde(default)]
    pub identity: Identity,
    /// When the process started; none where none runs.
    pub started_at: Option<Millis>,
    /// How long it has been running, in seconds.
    pub uptime_s: Option<i64>,
    /// The exchange's session.
    #[serde(default)]
    pub session: SessionStatus,
    /// The verdict ([`Health::ready`]).
    pub ready: bool,
    /// The verdict ([`Health::live`]).
    pub live: bool,
    /// Every check behind the verdict.
    pub checks: Vec<Check>,
    /// The broker's login; none where the broker knows none that ends.
    #[serde(default)]
    pub login: Option<LoginStatus>,
    /// The engine; none until it has spoken.
    pub engine: Option<EngineStatus>,
    /// The chain.
    pub chain: ChainFacts,
}

/// How it stands with a login that ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginStatus {
    /// When only a new one will do; none where nobody is logged in.
    pub ends_at: Option<Millis>,
    /// Whether the broker can be called with it, as far as is known.
    pub good: bool,
}

impl LoginStatus {
    fn of(process: &ProcessFacts) -> Option<Self> {
        let status = Self { ends_at: process.login_expires_at, good: process.login_error.is_none() };
        (status.ends_at.is_some() || !status.good).then_some(status)
    }
}

/// [`EngineSnapshot`] under their stable names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// When this was true: the engine's last step, or the ledger's last write.
    pub at: Option<Millis>,
    /// Whether orders may be decided.
    pub deciding: bool,
    /// What deciding waits for.
    pub waiting: Vec<String>,
    /// The last block whose fills are all in the ledger.
    pub cursor: Option<BlockRef>,
    /// Fills ever stored.
    pub fills: u64,
    /// Reversals ever stored.
    pub reversals: u64,
    /// Dead events ever stored.
    pub dead_events: u64,
    /// Why no order may go out for any ticker; none when it may.
    pub gate: Option<String>,
    /// Whether the last broker read succeeded; none before the first.
    pub broker_answers: Option<bool>,
    /// One row per ticker, ascending.
    pub tickers: Vec<TickerStatus>,
    /// Halts in force.
    pub halts: Vec<HaltStatus>,
}

/// One ticker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickerStatus {
    /// Ticker.
    pub symbol: Symbol,
    /// Signed; none where it is kept private.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<Shares>,
    /// The live intent, if any.
    pub live_intent: Option<LiveIntent>,
    /// Since when a lot or more has had no order at work.
    pub unhedged_since: Option<Millis>,
    /// Whether that has lasted so long in an open session that a person was told.
    #[serde(default)]
    pub overdue: bool,
    /// Why an order that is wanted does not go out.
    pub waiting: Option<String>,
    /// What a person can do about it.
    #[serde(default)]
    pub remedy: Option<String>,
}

/// An intent that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveIntent {
    /// Its name; none where it is kept private.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent_id: Option<IntentId>,
    /// Where it stands.
    pub state: IntentState,
    /// When it last changed; none where no bot runs.
    pub changed_at: Option<Millis>,
}

/// A halt in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HaltStatus {
    /// The ticker; all where none.
    pub symbol: Option<Symbol>,
    /// Why.
    pub kind: HaltKind,
    /// In words; none where they are kept private.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl From<&EngineSnapshot> for EngineStatus {
    fn from(facts: &EngineSnapshot) -> Self {
        let tickers = facts.tickers.iter().map(|ticker| TickerStatus {
            symbol: ticker.symbol.clone(),
            exposure: Some(ticker.exposure),
            live_intent: ticker.live.as_ref().map(|live| LiveIntent {
                intent_id: Some(live.id.clone()),
                state: live.state,
                changed_at: Some(live.changed_at),
            }),
            unhedged_since: ticker.unhedged_since,
            overdue: ticker.overdue,
            waiting: ticker.waiting.clone(),
            remedy: ticker.remedy.clone(),
        });
        let halts = facts.halts.iter().map(|halt| HaltStatus {
            symbol: halt.symbol.clone(),
            kind: halt.kind,
            reason: Some(halt.reason.clone()),
        });
        Self {
            at: Some(facts.at),
            deciding: facts.deciding,
            waiting: facts.waiting.clone(),
            cursor: facts.cursor,
            fills: facts.fills_total,
            reversals: facts.reversals_total,
            dead_events: facts.dead_total,
            gate: facts.gate.clone(),
            broker_answers: facts.broker_answers,
            tickers: tickers.collect(),
            halts: halts.collect(),
        }
    }
}

impl StatusReport {
    /// The report at `now`, with the verdict that was reached on the same facts.
    #[must_use]
    pub fn new(
        health: Health,
        facts: Option<&EngineSnapshot>,
        chain: &ChainFacts,
        process: &ProcessFacts,
        now: Millis,
    ) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: now,
            running: true,
            identity: process.identity.clone(),
            started_at: Some(process.started_at),
            uptime_s: Some(now.since(process.started_at).max(0) / 1000),
            session: SessionStatus::of(
                facts.and_then(|facts| facts.session.as_ref()),
                process.keeps_hours,
                now,
            ),
            ready: health.ready,
            live: health.live,
            checks: health.checks,
            login: LoginStatus::of(process),
            engine: facts.map(EngineStatus::from),
            chain: chain.clone(),
        }
    }

    /// As HTTP shows it on this machine: no account and no address.
    #[must_use]
    pub fn without_account(mut self) -> Self {
        self.identity.without_account();
        self
    }

    /// What a stranger may see: no account, no address, no file, no exposure, no name of an order, and no text that somebody else wrote (a broker's
    /// refusal may name an account).
    #[must_use]
    pub fn redacted(mut self) -> Self {
        const KEPT_PRIVATE: &str = "not shown here";
        self.identity.without_account();
        self.identity.ledger = None;
        self.chain.error = self.chain.error.map(|_| KEPT_PRIVATE.to_owned());
        for check in &mut self.checks {
            check.quote = None;
        }
        if let Some(engine) = &mut self.engine {
            engine.waiting.clear();
            engine.gate = engine.gate.take().map(|_| KEPT_PRIVATE.to_owned());
            for ticker in &mut engine.tickers {
                ticker.exposure = None;
                ticker.waiting = ticker.waiting.take().map(|_| KEPT_PRIVATE.to_owned());
                ticker.remedy = None;
                if let Some(live) = &mut ticker.live_intent {
                    live.intent_id = None;
                }
            }
            for halt in &mut engine.halts {
                halt.reason = None;
            }
        }
        self
    }

    fn verdict(&self) -> &'static str {
        match (self.live, self.ready) {
            (false, _) => "NOT LIVE",
            (true, false) => "NOT READY",
            (true, true) => "ready",
        }
    }

    fn write_identity(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = &self.identity;
        let line = identity.line();
        if !line.is_empty() {
            writeln!(f, "bot      {line}")?;
        }
        if let Some(chain_id) = identity.chain_id {
            write!(f, "watches  chain {chain_id} · owner {}", identity.owners.join(", "))?;
            writeln!(f, " · order book {}", identity.orderbooks.join(", "))?;
        }
        match self.session.words() {
            Some(session) => writeln!(f, "session  {session}"),
            None => Ok(()),
        }
    }

    fn write_engine(&self, f: &mut fmt::Formatter<'_>, engine: &EngineStatus) -> fmt::Result {
        let broker = match engine.broker_answers {
            Some(true) => "answers",
            Some(false) => "does not answer",
            None => "not asked yet",
        };
        match &engine.gate {
            Some(gate) => writeln!(f, "broker   {broker} · no order may go out: {gate}")?,
            None => writeln!(f, "broker   {broker}")?,
        }
        match (engine.deciding, engine.waiting.is_empty()) {
            (true, _) if engine.gate.is_some() => writeln!(f, "orders   decided, and wait for the broker")?,
            (true, _) if engine.halts.iter().any(|halt| halt.symbol.is_none()) => {
                writeln!(f, "orders   none: all tickers are halted")?;
            }
            (true, _) if !engine.halts.is_empty() => {
                writeln!(f, "orders   go out at once but for halted tickers")?;
            }
            (true, _) => writeln!(f, "orders   go out at once")?,
            (false, true) => writeln!(f, "orders   not decided yet")?,
            (false, false) => writeln!(f, "orders   not decided yet: {}", engine.waiting.join("; "))?,
        }
        writeln!(
            f,
            "ledger   fills {} · reversals {} · not understood {}",
            engine.fills, engine.reversals, engine.dead_events
        )?;
        if !engine.tickers.is_empty() {
            writeln!(
                f,
                "\n{:<12} {:>24}  {:<10} {:>9}  INTENT / WAITING",
                "TICKER", "EXPOSURE", "STATE", "SINCE"
            )?;
        }
        for ticker in &engine.tickers {
            self.write_ticker(f, ticker)?;
        }
        if !engine.halts.is_empty() {
            writeln!(f, "\nhalts")?;
        }
        for halt in &engine.halts {
            let symbol = halt.symbol.as_ref().map_or("all tickers", Symbol::as_str);
            let reason = halt.reason.as_deref().unwrap_or_default();
            let lifted_by = halt.kind.lifted_by(halt.symbol.as_ref());
            writeln!(f, "  {symbol:<12} {}: {reason}", halt.kind.as_str())?;
            writeln!(f, "  {:<12} lift it: {lifted_by}", "")?;
        }
        Ok(())
    }

    fn write_ticker(&self, f: &mut fmt::Formatter<'_>, ticker: &TickerStatus) -> fmt::Result {
        let exposure = ticker.exposure.map_or_else(|| "-".to_owned(), |shares| shares.to_string());
        let (state, since) = match (&ticker.live_intent, ticker.unhedged_since) {
            (Some(live), _) => {
                let since = live.changed_at.map(|at| duration(self.at.since(at)));
                (live.state.as_str(), since.unwrap_or_default())
            }
            (None, Some(since)) => ("unhedged", duration(self.at.since(since))),
            (None, None) => ("-", String::new()),
        };
        let mut rest = String::new();
        if let Some(id) = ticker.live_intent.as_ref().and_then(|live| live.intent_id.as_ref()) {
            write!(rest, "{id}")?;
        }
        if let Some(waiting) = &ticker.waiting {
            write!(rest, "{}{waiting}", if rest.is_empty() { "" } else { " · " })?;
        }
        if let Some(remedy) = &ticker.remedy {
            write!(rest, " → {remedy}")?;
        }
        let line = format!("{:<12} {exposure:>24}  {state:<10} {since:>9}  {rest}", ticker.symbol);
        writeln!(f, "{}", line.trim_end())
    }

    fn write_chain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = &self.chain;
        let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let cursor = self.engine.as_ref().and_then(|engine| engine.cursor).map(|cursor| cursor.number);
        write!(f, "chain    {}", if chain.connected { "connected" } else { "away" })?;
        write!(f, " · head {}", number(chain.head))?;
        if let Some(moved_at) = chain.head_moved_at {
            write!(f, " ({} old)", duration(self.at.since(moved_at)))?;
        }
        write!(f, " · cursor {}", number(cursor))?;
        if let (Some(head), Some(cursor)) = (chain.head, cursor) {
            write!(f, " ({} behind)", head.saturating_sub(cursor))?;
        }
        writeln!(f, " · reconnects {} · forks {}", chain.reconnects, chain.forks)?;
        if let Some(calls) = chain.calls_per_s {
            write!(f, "         the node takes about {calls} calls a second")?;
            match chain.needs_per_s {
                Some(needed) => {
                    writeln!(f, ", and this chain needs about {needed}: a larger plan or another node")?;
                }
                None => writeln!(f)?,
            }
        }
        if let Some(backfill) = chain.backfill {
            writeln!(
                f,
                "         backfill: {} of {} blocks, {} a second, {} left",
                backfill.done_blocks,
                backfill.total_blocks,
                backfill.rate_blocks_per_s,
                duration(i64::try_from(backfill.eta_s).unwrap_or(i64::MAX).saturating_mul(1000))
            )?;
        }
        match &chain.error {
            Some(error) => writeln!(f, "         last error: {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for StatusReport {
    /// The screen of `bot status`, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uptime = duration(self.uptime_s.unwrap_or_default().saturating_mul(1000));
        writeln!(f, "counterfill {} · up {uptime} · {}", self.version, self.verdict())?;
        self.write_identity(f)?;
        self.write_chain(f)?;
        match &self.engine {
            Some(engine) => self.write_engine(f, engine)?,
            None => writeln!(f, "engine   starting; it has not spoken yet")?,
        }
        let failing: Vec<_> = self.checks.iter().filter(|check| !check.ok).collect();
        if !failing.is_empty() {
            writeln!(f, "\nto look at")?;
        }
        for check in failing {
            let mark = if check.spoils_ready() { "✗" } else { "!" };
            let detail = check.detail.trim_end_matches(SEE_STATUS);
            write!(f, "  {mark} {}: {detail}", check.name)?;
            match &check.quote {
                Some(quote) => writeln!(f, " [{quote}]")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// Milliseconds as the two largest units a person needs.
pub(crate) fn duration(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} m {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} m", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}
