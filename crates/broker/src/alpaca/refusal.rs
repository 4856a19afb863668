//! Whose an order's refusal is: the order's, or the account's.
//!
//! One code (40310000) means both, and one status (422) too, so the broker's words decide together with what it says of
//! the account (`protocol.md` 3.7). Nothing here decides whether the order exists.

use crate::units::Symbol;

/// What a refusal of one order speaks of, in lower case: then the account is fine, whoever else is named.
const OF_THE_ORDER: [&str; 11] = [
    "insufficient",
    "wash trade",
    "buying power",
    "qty",
    "quantity",
    "notional",
    "fraction",
    "short",
    "asset",
    "client_order_id",
    "position",
];
/// What a refusal of the account speaks of.
const OF_THE_ACCOUNT: [&str; 2] = ["account", "user request"];

/// Whose a refusal is, by its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Order,
    Account,
    /// The words do not say; another ticker's refusal in the same words may.
    Untold,
}

pub(super) fn whose(words: &str, symbol: &Symbol) -> Whose {
    let lower = words.to_lowercase();
    let has = |named: &&str| lower.contains(*named);
    let is_symbol = |word: &str| word.eq_ignore_ascii_case(symbol.as_str());
    let ticker = words.split(|c: char| !c.is_alphanumeric() && c != '.').any(is_symbol);
    if ticker || OF_THE_ORDER.iter().any(has) {
        Whose::Order
    } else if OF_THE_ACCOUNT.iter().any(has) {
        Whose::Account
    } else {
        Whose::Untold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_were_seen() {
        let rows = [
            ("new orders are rejected by user request", Whose::Account),
            ("us_equity orders not allowed for account", Whose::Account),
            ("account is not authorized to trade", Whose::Account),
            ("account is not allowed to trade", Whose::Account),
            ("account is restricted to liquidation only", Whose::Account),
            ("insufficient buying power", Whose::Order),
            ("insufficient qty available for order (requested: 2, available: 1)", Whose::Order),
            ("potential wash trade detected. use complex orders", Whose::Order),
            ("account is not allowed to short", Whose::Order),
            ("fractional orders cannot be sold short", Whose::Order),
            ("asset \"TSLA\" is not fractionable", Whose::Order),
            ("TSLA is not tradable", Whose::Order),
            ("trading is paused", Whose::Untold),
        ];
        for (words, expected) in rows {
            assert_eq!(whose(words, &"TSLA".parse().unwrap()), expected, "{words}");
        }
    }
}
