//! The ledger against real files: what is written is read back, and what must be refused is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "ledger/book.rs"]
mod book;
#[path = "ledger/commits.rs"]
mod commits;
#[path = "ledger/opening.rs"]
mod opening;
#[path = "ledger/reports.rs"]
mod reports;
