//! What others may know of the engine: the chain side, people and health, and whoever starts again.
//!
//! Nothing here is needed to decide; each is built when somebody asks for it.

use std::collections::BTreeSet;

use super::{Engine, EngineSnapshot, LiveIntent, TickerSnapshot};
use crate::hedges::{Halt, Intent};
use crate::ports::chain::ChainView;
use crate::ports::records::FillState;
use crate::positions::Position;
use crate::units::{FillId, LogId, Shares, Symbol};

/// What the ledger alone decides of an engine: a restart must find again exactly what the process knew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartState {
    /// What the chain side is told.
    pub view: ChainView,
    /// Every fill in memory.
    pub fills: Vec<FillState>,
    /// Fills ever stored.
    pub fills_total: u64,
    /// Reversals ever stored.
    pub reversals_total: u64,
    /// Dead events ever stored.
    pub dead_total: u64,
    /// The tickers that ever moved.
    pub positions: Vec<MovedTicker>,
    /// Every live intent.
    pub live: Vec<Intent>,
    /// Halts in force.
    pub halts: Vec<Halt>,
    /// Per ticker: attempts in a row without an execution.
    pub failures: Vec<(Symbol, u32)>,
    /// What the account holds, by ticker.
    pub account: Vec<HeldTicker>,
    /// What our orders carry, as learnt.
    pub tag: Option<String>,
    /// Whether the first backfill on real money is over.
    pub begun: bool,
    /// Trades that were passed over before their ticker was listed, and whether a person said that they stay so.
    pub passed_over: Vec<(FillId, bool)>,
}

/// A ticker's sums, as the ledger alone decides them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedTicker {
    /// Ticker.
    pub symbol: Symbol,
    /// Σ over counting fills, signed.
    pub fills: Shares,
    /// Σ over executions, BUY positive.
    pub executions: Shares,
}

/// What an account holds of a ticker, as the ledger alone decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldTicker {
    /// Ticker.
    pub symbol: Symbol,
    /// What it holds beyond our orders; none where it was never read.
    pub baseline: Option<Shares>,
    /// What they did to it.
    pub executed: Shares,
}

impl Engine {
    /// Grows whenever [`Engine::view`] may have changed.
    #[must_use]
    pub const fn chain_revision(&self) -> u64 {
        self.chain_inputs
    }

    /// What the chain side may know of the ledger; valid once the step that led to it is committed.
    #[must_use]
    pub fn view(&self) -> ChainView {
        let floor = self.chain.base().map_or(0, |block| block.number);
        let standing = self.fills.iter().filter(|state| state.standing && state.fill.block_number > floor);
        let late = [self.fills.late_from(), self.evidence.late_from(&self.chain)];
        ChainView {
            cursor: self.chain.cursor(),
            window: self.chain.window().to_vec(),
            standing: standing.map(|state| (state.fill.block_number, state.fill.id)).collect(),
            late_from: late.into_iter().flatten().min(),
            evidence: self.to_settle(floor),
            pending: self.pending.logs(),
            tokens: self.chain.tokens().cloned().collect(),
            dropped_sweeps: self.chain.dropped_sweeps(),
        }
    }

    /// What the sweep must settle where it comes by: pushed logs, the fills that wait, and what left the chain: if its block
    /// is back, so is it, for a hash names one content.
    fn to_settle(&self, floor: u64) -> Vec<LogId> {
        let reversed = self.fills.iter().filter(|state| !state.standing).map(|state| state.fill.log());
        let known = self.pending.logs().into_iter().chain(reversed).chain(self.evidence.left());
        let known = known.filter(|log| log.block.number > floor);
        self.evidence.pushed().chain(known).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What a restart must find again.
    #[must_use]
    pub fn restart_state(&self) -> RestartState {
        let moved = |(_, position): &(&Symbol, &Position)| {
            !position.fills.is_zero() || !position.executions.is_zero()
        };
        let positions = self.exposure.iter().filter(moved);
        let account = self.account.tickers().into_iter();
        RestartState {
            // Which fills the sweep must look for again: after a start, all that it could still find.
            view: ChainView {
                late_from: None,
                dropped_sweeps: 0,
                evidence: self.evidence.pushed().collect(),
                ..self.view()
            },
            fills: self.fills.iter().cloned().collect(),
            fills_total: self.fills.fills_total(),
            reversals_total: self.fills.reversals_total(),
            dead_total: self.chain.dead_total(),
            positions: positions
                .map(|(symbol, position)| MovedTicker {
                    symbol: symbol.clone(),
                    fills: position.fills,
                    executions: position.executions,
                })
                .collect(),
            live: self.orders.live().cloned().collect(),
            halts: self.halts.told(),
            failures: self.attempts.failures().map(|(symbol, count)| (symbol.clone(), count)).collect(),
            account: account
                .map(|symbol| HeldTicker {
                    symbol: symbol.clone(),
                    baseline: self.account.baseline(symbol),
                    executed: self.account.executed(symbol),
                })
                .collect(),
            tag: self.book.learnt_tag().cloned(),
            begun: self.begun,
            passed_over: self.backlog.iter().map(|(trade, ignored)| (trade.id, *ignored)).collect(),
        }
    }

    /// What health, metrics and `bot status` may know.
    #[must_use]
    pub fn facts(&self) -> EngineSnapshot {
        let waiting = self.not_deciding();
        EngineSnapshot {
            at: self.now,
            deciding: waiting.is_empty(),
            waiting,
            cursor: self.chain.cursor(),
            fills_total: self.fills.fills_total(),
            reversals_total: self.fills.reversals_total(),
            dead_total: self.chain.dead_total(),
            tickers: self.exposure.iter().map(|(symbol, position)| self.ticker(symbol, position)).collect(),
            halts: self.halts.told(),
            gate: self.link.gate_closed(self.now).or_else(|| self.link.refusals.bar_words(self.now)),
            broker_answers: self.link.answers(),
            session: self.link.session().cloned(),
            pending: self.pending.told(),
            unsettled: self.unsettled_intents(),
        }
    }

    fn ticker(&self, symbol: &Symbol, position: &Position) -> TickerSnapshot {
        let wait = self.shown_wait(symbol);
        let live = self.orders.live_of(symbol).next();
        TickerSnapshot {
            symbol: symbol.clone(),
            exposure: position.exposure().unwrap_or_default(),
            live: live.map(|intent| LiveIntent {
                id: intent.id.clone(),
                state: intent.state,
                changed_at: intent.changed_at,
            }),
            unhedged_since: self.unhedged.since(symbol),
            overdue: self.unhedged.overdue(symbol, self.now, self.policy.unhedged_alert_ms),
            waiting: wait.as_ref().map(|wait| wait.why.clone()),
            remedy: wait.and_then(|wait| wait.remedy),
        }
    }
}
