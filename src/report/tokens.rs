//! Tokens and what they are worth in shares.

use std::io::{self, Write};

use serde::Serialize;

use super::table::{self, Align, Table};
use super::{Form, ReportError, cell, line, until_closed};
use crate::units::{Shares, Symbol};

/// One token, as it is printed. The JSON names are stable.
#[derive(Debug, Serialize)]
pub struct TokenLine {
    /// The share.
    pub ticker: Option<Symbol>,
    /// The token's contract, lower-case.
    pub address: String,
    /// What it calls itself.
    pub symbol: Option<String>,
    /// Its decimals.
    pub decimals: Option<u8>,
    /// How its shares come about, in words.
    pub unit: Option<String>,
    /// Shares that one token is worth now.
    pub shares: Option<Shares>,
    /// When the ledger recorded that, RFC 3339.
    pub since: Option<String>,
    /// Why it is not known, or what changes soon.
    pub note: Option<String>,
}

/// What tokens are worth in shares, and for people the line that lists them.
///
/// # Errors
/// [`ReportError::Output`].
pub fn tokens(rows: &[TokenLine], form: Form, out: &mut dyn Write) -> Result<(), ReportError> {
    until_closed(match form {
        Form::Json => rows.iter().try_for_each(|row| line(out, row)),
        Form::Text => tokens_text(rows, out).map_err(ReportError::from),
    })
}

fn tokens_text(rows: &[TokenLine], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&[
        ("TICKER", Align::Left),
        ("TOKEN", Align::Left),
        ("SYMBOL", Align::Left),
        ("SHARES", Align::Right),
        ("HOW", Align::Left),
    ]);
    for row in rows {
        table.row(vec![
            cell(row.ticker.as_ref()),
            row.address.clone(),
            cell(row.symbol.as_ref()),
            row.shares.map_or_else(|| "not known".to_owned(), |shares| shares.to_string()),
            cell(row.unit.as_ref()),
        ]);
    }
    table.print(
        "No token is listed, and the ledger knows none: set EQUITIES, such as TSLA=0x… for each share.",
        out,
    )?;
    for note in rows.iter().filter_map(|row| row.note.as_ref()) {
        writeln!(out, "{}", table::plain(note))?;
    }
    let listed: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            // A ratio that a person gave is part of the line; what a contract says of itself is not.
            let ratio = row.unit.as_ref().and_then(|unit| unit.strip_suffix(" by EQUITIES"));
            let ratio = ratio.map_or_else(String::new, |ratio| format!("*{ratio}"));
            Some(format!("{}={}{ratio}", row.ticker.as_ref()?, row.address))
        })
        .collect();
    if listed.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nEQUITIES={}", listed.join(","))
}
