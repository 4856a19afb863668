//! Bad inputs as data: what a node, a ledger's file and a broker's book can say that is wrong, one row for each branch
//! that rejects it, each with its exact outcome. Logs are in `bad_logs.rs`, settings in `config.rs`.
//!
//! `scripts/coverage` holds that no branch that rejects is without a row.

mod alpaca;
mod answers;
#[allow(dead_code)]
mod books;
mod clients;
mod ledgers;
mod node;
mod pushed;
mod ranges;
mod receipts;
mod schwab;
mod sockets;
mod tokens;

/// Compares every row at once, so that one run shows all that differ.
fn assert_rows<E: AsRef<str>>(rows: Vec<(&str, String, E)>) {
    let wrong: Vec<_> = rows
        .iter()
        .filter(|(_, found, expected)| found != expected.as_ref())
        .map(|(name, found, expected)| {
            format!("{name}\n    found    {found}\n    expected {}", expected.as_ref())
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
