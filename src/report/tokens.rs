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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ticker: &str, last: char, shares: Option<&str>, unit: &str, note: Option<&str>) -> TokenLine {
        TokenLine {
            ticker: Some(ticker.parse().unwrap()),
            address: format!("0x{}", last.to_string().repeat(40)),
            symbol: Some(format!("t{ticker}")),
            decimals: Some(18),
            unit: Some(unit.to_owned()),
            shares: shares.map(|shares| shares.parse().unwrap()),
            since: None,
            note: note.map(str::to_owned),
        }
    }

    #[test]
    fn the_line_for_equities_has_the_ratios_that_a_person_gave_and_no_others() {
        let rows = [
            row("TSLA", '1', Some("1"), "one to one", None),
            row("AAPL", '2', Some("10"), "vault over 0x33", None),
            row("NVDA", '4', Some("1.5"), "3/2 by EQUITIES", None),
            row("GME", '5', None, "multiplier", Some("GME's multiplier is nothing\u{7}")),
        ];
        let mut out = Vec::new();
        tokens(&rows, Form::Text, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (one, two, four, five) = ("1".repeat(40), "2".repeat(40), "4".repeat(40), "5".repeat(40));
        let line = format!("EQUITIES=TSLA=0x{one},AAPL=0x{two},NVDA=0x{four}*3/2,GME=0x{five}");
        assert!(text.ends_with(&format!("\n{line}\n")), "{text}");
        assert!(text.contains("not known") && !text.contains('\u{7}'), "{text}");
    }

    #[test]
    fn no_token_says_what_to_set() {
        let mut out = Vec::new();
        tokens(&[], Form::Text, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("set EQUITIES"));
        let mut out = Vec::new();
        tokens(&[], Form::Json, &mut out).unwrap();
        assert!(out.is_empty());
    }
}
