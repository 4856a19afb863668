//! Which ticker a token's `symbol()` stands for.
//!
//! Marks tell a token that stands for a share from everything else: the prefixes `wt` (wrapped, ERC-4626) and `t`, the
//! suffixes `0x` and `s1`. A bare `TSLA` is no share of ours: anybody may call a token so. Anybody may call one `tTSLA`
//! too, which is why `EQUITIES` (by address) goes before names; this file knows names only.
//!
//! Invariant: case decides. `tSLA` is the share SLA; `TSLA` is nothing.

use super::{TokenKind, Unit};
use crate::units::Symbol;

/// The cash token's symbol, exactly.
const CASH: &str = "USDC";

/// The ticker that `symbol` stands for, and whether the token is a wrapped share; `None` for every other token.
#[must_use]
pub fn ticker_of(symbol: &str) -> Option<(Symbol, bool)> {
    let (ticker, wrapped) = if let Some(ticker) = symbol.strip_prefix("wt") {
        (ticker, true)
    } else if let Some(ticker) = symbol.strip_prefix('t') {
        (ticker, false)
    } else {
        (symbol.strip_suffix("0x").or_else(|| symbol.strip_suffix("s1"))?, false)
    };
    // Dollars under a mark are still dollars, never a share that could be sold.
    if ticker == CASH {
        return None;
    }
    Some((ticker.parse().ok()?, wrapped))
}

/// What a token of that symbol is to us, where no list of addresses says otherwise. `unit`: what its contract says that
/// it holds.
#[must_use]
pub fn kind_of(symbol: &str, unit: Unit) -> TokenKind {
    match ticker_of(symbol) {
        _ if symbol == CASH => TokenKind::Cash,
        Some((ticker, _)) => TokenKind::Share(ticker, unit),
        None => TokenKind::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_they_stand_for() {
        let rows = [
            ("tTSLA", Some(("TSLA", false))),
            ("wtAAPL", Some(("AAPL", true))),
            ("TSLA0x", Some(("TSLA", false))),
            ("AAPLs1", Some(("AAPL", false))),
            ("tBRK.B", Some(("BRK.B", false))),
            ("wtBRK/B", Some(("BRK.B", true))),
            ("BRK-B0x", Some(("BRK.B", false))),
            ("tSLA", Some(("SLA", false))),
            ("tT", Some(("T", false))),
            ("wtT", Some(("T", true))),
            ("TSLA", None),
            ("t", None),
            ("wt", None),
            ("0x", None),
            ("s1", None),
            ("t0x", None),
            ("ts1", None),
            ("", None),
            ("tTSLA0x", None),
            ("AAPLS1", None),
            ("AAPL0X", None),
            ("0xTSLA", None),
            ("TTSLA", None),
            ("WTAAPL", None),
            ("ttsla", None),
            ("t TSLA", None),
            ("tTSLAé", None),
            ("tABCDEFGHIJKLM", None),
            ("USDC", None),
            ("tUSDC", None),
            ("USDCs1", None),
        ];
        for (symbol, expected) in rows {
            let expected = expected.map(|(ticker, wrapped)| (ticker.parse().unwrap(), wrapped));
            assert_eq!(ticker_of(symbol), expected, "{symbol:?}");
        }
    }

    #[test]
    fn only_exactly_usdc_is_cash() {
        assert_eq!(kind_of("USDC", Unit::One), TokenKind::Cash);
        for symbol in ["usdc", "USDC ", "USDC.e", "tUSDC", "USDCs1", "USDT", ""] {
            assert_eq!(kind_of(symbol, Unit::One), TokenKind::Foreign, "{symbol:?}");
        }
        let gme = TokenKind::Share("GME".parse().unwrap(), Unit::One);
        assert_eq!((kind_of("tGME", Unit::One), kind_of("wtGME", Unit::One)), (gme.clone(), gme));
    }
}
