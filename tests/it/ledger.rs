//! The ledger against real files: what is written is read back, and what must be refused is refused.

pub(crate) mod book;
mod commits;
mod opening;
mod reports;
mod sums;
