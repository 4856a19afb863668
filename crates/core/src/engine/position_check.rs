//! What the account holds, as the broker tells it: a check and a bound, never a second writer (`protocol.md` 3.9, 3.10).
//!
//! A reading is old the moment an order of ours moves, so each use says how fresh it must be. Exposure never follows a
//! reading; a difference halts the ticker and waits for a person.
//!
//! What came before what is told by the numbers of questions, not by clocks, which may be set.
//!
//! Invariant: a position is compared only while nothing of ours is under way in its ticker and nothing of ours has
//! moved there since the reading began.

use std::collections::BTreeMap;

use super::unhedged::Wait;
use super::{Asked, Engine, Out, Read, Stop};
use crate::hedges::{HaltKind, IntentState};
use crate::ports::broker::ReadError;
use crate::ports::records::Write;
use crate::units::{Millis, Shares, Side, Symbol};

/// A holding older than this bounds no order.
const HOLDING_MS_MAX: i64 = 30_000;
/// How far two equal readings must be apart to halt a ticker.
const DRIFT_MS: i64 = 60_000;

/// The positions as last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reading {
    /// When the reading began.
    pub(super) begun_at: Millis,
    /// The number of its question.
    pub(super) number: u64,
    held: BTreeMap<Symbol, Shares>,
}

impl Reading {
    /// Signed; a ticker that the broker does not list is flat.
    pub(super) fn of(&self, symbol: &Symbol) -> Shares {
        self.held.get(symbol).copied().unwrap_or_default()
    }
}

impl Engine {
    pub(super) fn read_positions(
        &mut self,
        begun_at: Millis,
        answer: Result<Vec<(Symbol, Shares)>, ReadError>,
        out: &mut Out,
    ) -> Result<(), Stop> {
        let number = self.asked_positions.as_mut().map_or(0, Asked::returned);
        let Some(held) = self.heard(Read::Positions, number, answer) else { return Ok(()) };
        self.reading = Some(Reading { begun_at, number, held: held.into_iter().collect() });
        self.booked_since.retain(|(after, ..)| *after >= number);
        if self.compared {
            let symbols: Vec<Symbol> = self.positions.keys().cloned().collect();
            symbols.into_iter().try_for_each(|symbol| self.compare_position(&symbol, out))?;
        }
        Ok(())
    }

    /// The ticker's position, if nothing of ours has moved since its reading began.
    pub(super) fn clean_position(&self, symbol: &Symbol) -> Option<(Shares, Millis)> {
        let reading = self.reading.as_ref()?;
        let clean = self.moved.get(symbol).is_none_or(|moved| *moved < reading.number);
        clean.then(|| (reading.of(symbol), reading.begun_at))
    }

    fn is_quiet(&self, symbol: &Symbol) -> bool {
        self.live_of(symbol).all(|intent| intent.state == IntentState::Planned)
    }

    /// The position as it should be: what the account held beyond our orders, and what they did.
    pub(super) fn expected_position(&self, symbol: &Symbol) -> Option<Shares> {
        let base = self.baselines.get(symbol)?;
        base.checked_add(self.account.get(symbol).copied().unwrap_or_default())
    }

    fn compare_position(&mut self, symbol: &Symbol, out: &mut Out) -> Result<(), Stop> {
        let clean = self.clean_position(symbol).filter(|_| self.is_quiet(symbol));
        let Some((held, begun_at)) = clean else {
            self.drifting.remove(symbol);
            return Ok(());
        };
        let Some(expected) = self.expected_position(symbol) else {
            let booked = self.account.get(symbol).copied().unwrap_or_default();
            return self.rebase(symbol, held.checked_sub(booked), "the first reading", "engine", out);
        };
        if held == expected {
            self.drifting.remove(symbol);
            return Ok(());
        }
        match self.drifting.get(symbol) {
            Some((first, same)) if *same == held && begun_at >= *first => {
                if begun_at.since(*first) >= DRIFT_MS {
                    let why = format!(
                        "the broker holds {held} and our orders make it {expected}; somebody traded by hand, or the \
                         share was split"
                    );
                    self.halt(Some(symbol.clone()), HaltKind::Drift, why, "engine".into(), out);
                }
            }
            _ => {
                self.drifting.insert(symbol.clone(), (begun_at, held));
            }
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
        out: &mut Out,
    ) -> Result<(), Stop> {
        let before = self.baselines.get(symbol).copied().unwrap_or_default();
        let after = change.and_then(|change| before.checked_add(change));
        let (Some(change), Some(after)) = (change, after) else {
            return Err(Stop::Bug(format!("the position of {symbol} leaves the range")));
        };
        self.baselines.insert(symbol.clone(), after);
        self.drifting.remove(symbol);
        out.writes.push(Write::Baseline {
            symbol: symbol.clone(),
            change,
            reason: reason.to_owned(),
            who: who.to_owned(),
        });
        Ok(())
    }

    /// A person says that the broker's position is right.
    pub(super) fn accept_position(
        &mut self,
        symbol: &Symbol,
        reason: &str,
        who: &str,
        out: &mut Out,
    ) -> Result<Result<(), String>, Stop> {
        let clean = self.clean_position(symbol).filter(|_| self.is_quiet(symbol));
        let (Some((held, _)), Some(expected)) = (clean, self.expected_position(symbol)) else {
            return Ok(Err(format!(
                "the position of {symbol} was not read since its last order moved; type it again in a moment, while \
                 the bot runs"
            )));
        };
        self.rebase(symbol, held.checked_sub(expected), reason, who, out)?;
        Ok(Ok(()))
    }

    /// An execution was booked: a reading that began before may not have it yet.
    pub(super) fn note_booked(&mut self, symbol: &Symbol, side: Side, change: Shares) {
        self.moved.insert(symbol.clone(), self.questions);
        if !self.policy.profile.crosses_zero {
            self.booked_since.push((self.questions, symbol.clone(), side.signed(change)));
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
        let age = self.reading.as_ref().map(|reading| self.now.since(reading.begun_at));
        let fresh = age.is_some_and(|age| (0..=HOLDING_MS_MAX).contains(&age));
        let Some(reading) = self.reading.as_ref().filter(|_| fresh) else {
            return Err(format!(
                "the account's positions were not read in the last 30 s{}",
                self.because(Read::Positions)
            )
            .into());
        };
        let held = reading.of(symbol);
        // What was booked since the reading began may or may not be in it: the truth lies between these two.
        let since = |bought: bool| {
            self.booked_since
                .iter()
                .filter(|(_, of, change)| of == symbol && change.is_positive() == bought)
                .try_fold(held, |sum, (_, _, change)| sum.checked_add(*change))
                .ok_or_else(|| Wait::from("the executions since the last reading leave the range"))
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
