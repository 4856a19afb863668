//! The tickers that a halt can name: those that this bot may ever order.
//!
//! A halt of any other would be written, be told as done, and hold nothing: whoever mistypes a ticker in an emergency
//! must hear of it at once.

use std::collections::BTreeSet;

use crate::engine::EngineSnapshot;
use crate::fills::{Listing, TokenFact, TokenKind};
use crate::nearest::{SLIP_LETTERS_MAX, nearest};
use crate::units::Symbol;

/// Tickers that a refusal lists; more are counted.
const LISTED_MAX: usize = 12;

/// The tickers of this bot: what moved or is halted by the ledger, and what may move by the lists, else by the tokens.
pub(crate) fn known(
    facts: Option<&EngineSnapshot>,
    tokens: &[TokenFact],
    listing: &Listing,
) -> BTreeSet<Symbol> {
    let mut known = BTreeSet::new();
    if let Some(facts) = facts {
        known.extend(facts.tickers.iter().map(|ticker| ticker.symbol.clone()));
        known.extend(facts.halts.iter().filter_map(|halt| halt.symbol.clone()));
        known.extend(facts.unsettled.iter().map(|intent| intent.symbol.clone()));
    }
    if let Some(shard) = &listing.symbols {
        // A token's or EQUITIES' ticker outside the shard is another instance's.
        known.extend(shard.iter().cloned());
        return known;
    }
    known.extend(listing.equities.values().cloned());
    known.extend(tokens.iter().filter_map(|token| match &token.kind {
        TokenKind::Share(symbol, _) => Some(symbol.clone()),
        TokenKind::Cash | TokenKind::Foreign => None,
    }));
    known
}

/// Whether a halt of `symbol` can hold anything back.
///
/// # Errors
/// In words: that nothing was halted, and what to type instead.
pub(crate) fn must_be_known(symbol: &Symbol, known: &BTreeSet<Symbol>) -> Result<(), String> {
    if known.contains(symbol) {
        return Ok(());
    }
    let near = nearest(symbol.as_str(), known.iter().map(Symbol::as_str), SLIP_LETTERS_MAX);
    let listed: Vec<&str> = known.iter().take(LISTED_MAX).map(Symbol::as_str).collect();
    let more = known.len().saturating_sub(listed.len());
    let meant = match (near.is_empty(), listed.is_empty()) {
        (false, _) => format!("did you mean {}?", near.join(", ")),
        (true, false) if more == 0 => format!("it knows {};", listed.join(", ")),
        (true, false) => format!("it knows {} and {more} more;", listed.join(", ")),
        (true, true) => "it knows no ticker yet;".to_owned(),
    };
    Err(format!(
        "nothing was halted: this bot has no {symbol}, neither in its ledger nor in SYMBOLS or EQUITIES; {meant} \
         `bot halt` without a ticker halts all of them"
    ))
}

#[cfg(test)]
mod tests {
    use alloy::primitives::Address;

    use super::*;
    use crate::fills::Unit;

    fn symbol(text: &str) -> Symbol {
        text.parse().unwrap()
    }

    #[test]
    fn the_shard_counts_before_the_list_and_the_list_beside_the_tokens() {
        let token = |byte, kind| TokenFact {
            address: Address::repeat_byte(byte),
            symbol: String::new(),
            decimals: 18,
            kind,
        };
        let tokens = [token(1, TokenKind::Share(symbol("TSLA"), Unit::One)), token(2, TokenKind::Foreign)];
        let equities = [(Address::repeat_byte(3), symbol("AAPL"))].into();
        let mut listing = Listing { equities, ..Listing::default() };
        let names = |listing: &Listing| {
            known(None, &tokens, listing).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&listing), "AAPL TSLA");
        listing.symbols = Some([symbol("AAPL")].into());
        assert_eq!(names(&listing), "AAPL", "TSLA is another shard's");
    }

    #[test]
    fn an_unknown_ticker_is_refused_with_what_may_be_meant() {
        let known: BTreeSet<Symbol> = ["AAPL", "TSLA"].map(symbol).into();
        assert_eq!(must_be_known(&symbol("TSLA"), &known), Ok(()));
        let refused = |text, known: &BTreeSet<Symbol>| must_be_known(&symbol(text), known).unwrap_err();
        let words = refused("TSLAQ", &known);
        assert!(words.starts_with("nothing was halted") && words.contains("did you mean TSLA?"), "{words}");
        assert!(words.contains("`bot halt` without a ticker"), "{words}");
        assert!(refused("NVDA", &known).contains("it knows AAPL, TSLA"));
        assert!(refused("NVDA", &BTreeSet::new()).contains("it knows no ticker yet"));
        let many: BTreeSet<Symbol> = (0..20).map(|n| symbol(&format!("WIDGET{n:02}"))).collect();
        assert!(refused("NVDA", &many).contains(" and 8 more"));
    }
}
