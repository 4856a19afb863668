//! What the account holds, as the broker tells it: a check and a bound, never a second writer (`protocol.md` 3.9, 3.10).
//!
//! A reading is old the moment an order of ours moves, so each use says how fresh it must be. Exposure never follows a
//! reading; a difference halts the ticker and waits for a person.
//!
//! Invariant: a position is compared only while nothing of ours is under way in its ticker and nothing of ours has
//! moved there since the reading began.

use super::account::Reading;
use super::broker_link::Read;
use super::operator::Declined;
use super::wait::Wait;
use super::{Engine, StepOutput, Stop};
use crate::hedges::{HaltKind, IntentState};
use crate::ports::broker::ReadError;
use crate::units::{Millis, Shares, Side, Symbol};

/// A holding older than this bounds no order.
const HOLDING_MS_MAX: i64 = 30_000;
/// How far two equal readings must be apart to halt a ticker.
const DRIFT_MS: i64 = 60_000;

impl Engine {
    pub(super) fn read_positions(
        &mut self,
        begun_at: Millis,
        answer: Result<Vec<(Symbol, Shares)>, ReadError>,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let number = self.link.positions.answered();
        let Some(held) = self.link.heard(Read::Positions, number, answer) else { return Ok(()) };
        self.account.read(Reading::new(begun_at, number, held));
        if self.book.compared() {
            let symbols: Vec<Symbol> = self.exposure.iter().map(|(symbol, _)| symbol.clone()).collect();
            symbols.into_iter().try_for_each(|symbol| self.compare_position(&symbol, out))?;
        }
        Ok(())
    }

    fn is_quiet(&self, symbol: &Symbol) -> bool {
        self.orders.live_of(symbol).all(|intent| intent.state == IntentState::Planned)
    }

    fn compare_position(&mut self, symbol: &Symbol, out: &mut StepOutput) -> Result<(), Stop> {
        let clean = self.account.clean_position(symbol).filter(|_| self.is_quiet(symbol));
        let Some((held, begun_at)) = clean else {
            self.account.no_drift(symbol);
            return Ok(());
        };
        let Some(expected) = self.account.expected(symbol) else {
            let booked = self.account.executed(symbol);
            return self.rebase(symbol, held.checked_sub(booked), "the first reading", "engine", out);
        };
        if held == expected {
            self.account.no_drift(symbol);
            return Ok(());
        }
        let Some(since) = self.account.drifts_since(symbol, held, begun_at) else {
            self.account.note_drift(symbol, held, begun_at);
            return Ok(());
        };
        if begun_at.since(since) >= DRIFT_MS {
            let why = format!(
                "the broker holds {held} and our orders make it {expected}; somebody traded by hand, or the share was \
                 split"
            );
            self.halts.raise(Some(symbol.clone()), HaltKind::Drift, why, "engine".into(), out);
        }
        Ok(())
    }

    /// Moves what the account holds beyond our orders by `change`.
    pub(super) fn rebase(
        &mut self,
        symbol: &Symbol,
        change: Option<Shares>,
        reason: &str,
        who: &str,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let rebased = change.and_then(|change| self.account.rebase(symbol, change, reason, who, out));
        rebased.ok_or_else(|| Stop::Bug(format!("the position of {symbol} leaves the range")))
    }

    /// A person says that the broker's position is right.
    pub(super) fn accept_position(
        &mut self,
        symbol: &Symbol,
        reason: &str,
        who: &str,
        out: &mut StepOutput,
    ) -> Result<(), Declined> {
        let clean = self.account.clean_position(symbol).filter(|_| self.is_quiet(symbol));
        let (Some((held, _)), Some(expected)) = (clean, self.account.expected(symbol)) else {
            return Err(format!(
                "the position of {symbol} was not read since its last order moved; type it again in a moment, while \
                 the bot runs"
            )
            .into());
        };
        Ok(self.rebase(symbol, held.checked_sub(expected), reason, who, out)?)
    }

    /// An execution was booked: a reading that began before may not have it yet.
    pub(super) fn note_booked(&mut self, symbol: &Symbol, side: Side, change: Shares) {
        let questions = self.link.questions();
        self.account.note_moved(symbol, questions);
        if !self.policy.profile.crosses_zero {
            self.account.note_booked(symbol, questions, side.signed(change));
        }
    }

    /// Cuts an order to what is held, or to what is short, and says whether it opens or covers a short position: one
    /// order does not cross zero (`protocol.md` 3.9).
    pub(super) fn within_holdings(
        &self,
        symbol: &Symbol,
        side: Side,
        wanted: Shares,
    ) -> Result<(Shares, bool), Wait> {
        let profile = &self.policy.profile;
        if profile.crosses_zero {
            return Ok((wanted, false));
        }
        let age = self.account.reading().map(|reading| self.now.since(reading.begun_at));
        let fresh = age.is_some_and(|age| (0..=HOLDING_MS_MAX).contains(&age));
        let Some(reading) = self.account.reading().filter(|_| fresh) else {
            return Err(format!(
                "the account's positions were not read in the last 30 s{}",
                self.link.because(Read::Positions)
            )
            .into());
        };
        let held = reading.of(symbol);
        // What was booked since the reading began may or may not be in it: the truth lies between these two.
        let since = |bought: bool| {
            let sum = self.account.with_booked(symbol, held, bought);
            sum.ok_or_else(|| Wait::from("the executions since the last reading leave the range"))
        };
        let (least, most) = (since(false)?, since(true)?);
        let cut = |bound: Shares| {
            let whole = wanted.min(bound).truncate_to(profile.lot);
            if whole.is_positive() {
                Ok(whole)
            } else {
                Err(Wait::from(format!("{bound} are left, less than a lot")))
            }
        };
        match side {
            Side::Sell if least.is_positive() => Ok((cut(least)?, false)),
            Side::Sell if most.is_positive() => {
                Err("the positions must be read again after the last order".into())
            }
            Side::Sell if profile.allow_short => Ok((wanted, true)),
            Side::Sell => Err(Wait::for_person(
                format!("the account holds {held}, and ALLOW_SHORT is not set"),
                "set ALLOW_SHORT=true and start the bot again, if the account may sell short",
            )),
            Side::Buy if most.is_negative() => Ok((cut(most.magnitude())?, true)),
            Side::Buy if least.is_negative() => {
                Err("the positions must be read again after the last order".into())
            }
            Side::Buy => Ok((wanted, false)),
        }
    }
}
