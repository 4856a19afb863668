//! How the paper broker behaves toward new orders.
//!
//! It knows nothing of the orders in the book: those keep the plan they were entered with, whatever the options say.
//!
//! Invariant: options that passed their check can not make a time or a product overflow.

use super::PaperError;
use crate::units::{Cash, OrderId};

/// A step of an order's life waits a day at most, so that times can not overflow.
const SPAN_MS_MAX: i64 = 86_400_000;

/// When the paper broker trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaperSessions {
    /// Day and night; orders never expire.
    Always,
    /// In the hours of the New York Stock Exchange; orders entered outside them wait for the opening.
    Nyse,
}

/// A range of waiting times, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Shortest wait in milliseconds, zero or more.
    pub least_ms: i64,
    /// Longest wait in milliseconds, at most a day.
    pub most_ms: i64,
}

impl Span {
    fn check(self, name: &str) -> Result<(), PaperError> {
        if 0 <= self.least_ms && self.least_ms <= self.most_ms && self.most_ms <= SPAN_MS_MAX {
            return Ok(());
        }
        Err(PaperError::Options(format!(
            "{name} must be a range within 0 to {SPAN_MS_MAX} ms, not {} to {}",
            self.least_ms, self.most_ms
        )))
    }
}

/// How the paper broker behaves toward new orders; those in the book keep the plan they were entered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaperOptions {
    /// When it trades.
    pub sessions: PaperSessions,
    /// Seed of order numbers, times, pieces and prices.
    pub seed: u64,
    /// The account's name, fixed when the book is created.
    pub account: String,
    /// From entry (or opening) to `WORKING`.
    pub acknowledge: Span,
    /// From there to the first piece, and from piece to piece.
    pub fill: Span,
    /// What a single order may cost (or bring, when selling); one above it is rejected after it was received.
    pub buying_power: Cash,
}

impl PaperOptions {
    pub(super) fn check(&self) -> Result<(), PaperError> {
        self.acknowledge.check("the time to acknowledge")?;
        self.fill.check("the time to fill")?;
        if self.account.parse::<OrderId>().is_err() {
            return Err(PaperError::Options(format!(
                "`{}` is not an account name (letters, digits, '-' and '_', at most 64)",
                self.account
            )));
        }
        Ok(())
    }
}

impl Default for PaperOptions {
    fn default() -> Self {
        Self {
            sessions: PaperSessions::Always,
            seed: 0,
            account: "PAPER-0001".to_owned(),
            acknowledge: Span { least_ms: 50, most_ms: 150 },
            fill: Span { least_ms: 50, most_ms: 200 },
            buying_power: Cash::whole(1_000_000),
        }
    }
}
