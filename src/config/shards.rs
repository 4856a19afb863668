//! `bot config check --shards FILE`: proves that no ticker is in two shards (`protocol.md` 5.5).
//!
//! The file holds the `SYMBOLS` of one instance a line; empty lines and lines that begin with `#` say nothing. Two
//! instances with one ticker would both hedge it, and no lock reaches across their volumes.

use std::collections::{BTreeMap, BTreeSet};

use super::settings::Form;
use super::values::Value;
use crate::units::Symbol;

/// Disjoint shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards {
    /// How many.
    pub shards: usize,
    /// Tickers in all of them.
    pub tickers: usize,
}

/// Reads the lines.
///
/// # Errors
/// Every line that is no list of tickers, and every ticker that an earlier line has too; a sentence each.
pub fn disjoint(text: &str) -> Result<Shards, Vec<String>> {
    let (mut first_line_of, mut wrongs, mut shards) = (BTreeMap::<Symbol, usize>::new(), Vec::new(), 0);
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        shards += 1;
        let list = line.strip_prefix("SYMBOLS=").unwrap_or(line);
        match BTreeSet::<Symbol>::read(list, Form::Tickers) {
            Err(found) => {
                wrongs.extend(found.iter().map(|wrong| format!("line {number}: {}", wrong.of(list))))
            }
            Ok(symbols) => {
                for symbol in symbols {
                    let first = *first_line_of.entry(symbol.clone()).or_insert(number);
                    if first != number {
                        wrongs.push(format!("line {number}: {symbol} is in line {first} too"));
                    }
                }
            }
        }
    }
    if shards == 0 {
        wrongs.push("no shard in it: write the SYMBOLS of one instance a line, such as TSLA,AAPL".to_owned());
    }
    if wrongs.is_empty() { Ok(Shards { shards, tickers: first_line_of.len() }) } else { Err(wrongs) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_disjoint_or_every_reason_is_told() {
        let good = "# two shards\nTSLA,AAPL\n\nSYMBOLS=NVDA\n";
        assert_eq!(disjoint(good), Ok(Shards { shards: 2, tickers: 3 }));
        let wrongs = disjoint("TSLA,AAPL\nNVDA,tsla\nAAPL,AAPL\nGME,AAPL").unwrap_err();
        assert_eq!(wrongs.len(), 3, "{wrongs:?}");
        assert!(wrongs[0].starts_with("line 2: `tsla` is not a ticker"));
        assert_eq!(wrongs[1], "line 3: `AAPL` is there twice");
        assert_eq!(wrongs[2], "line 4: AAPL is in line 1 too");
        assert_eq!(disjoint("# nothing\n").unwrap_err().len(), 1);
    }
}
