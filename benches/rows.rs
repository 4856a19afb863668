//! The rows of the table, one function each. Each measures the program and its floor in the same run.

mod lists;
mod live;
mod order;
mod start;

use crate::measure::Row;

/// How much is measured: all of it, or so little that it only proves that the driver works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Runs of each.
    pub(crate) runs: usize,
    /// What larger figures are divided by.
    pub(crate) divisor: u64,
}

/// A name to ask for it by, and what measures it.
pub(crate) type Measure = (&'static str, fn(Size) -> Vec<Row>);

/// Every row.
pub(crate) const ALL: &[Measure] = &[
    ("livez", start::livez),
    ("start", start::ready),
    ("lists", lists::lists),
    ("order", order::event_to_order),
    ("tickers", order::tickers_in_a_block),
    ("burst", live::burst),
    ("idle", live::idle),
];
