//! The quantities and names everything else is written in.
//!
//! Amounts are integers of 1e-18 in an `i128`: exact, checked, never a float. The three kinds of amount are
//! different types, so that cash can not be handed over as shares (an earlier bot hedged 175 times too much that
//! way). Names of blocks, fills, intents and orders are values too: two things are the same exactly when their
//! names are equal.
//!
//! Invariant: every amount that exists is exact; an operation that could not stay exact returns `None` or an error.

mod amounts;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use alloy::primitives::B256;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use amounts::{AMOUNT_DECIMALS, Cash, ONE, Price, Shares};

/// Why a text is not an amount, a symbol or an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Not of the form `-?digits[.digits]`.
    #[error("`{0}` is not a plain decimal number")]
    NotDecimal(String),
    /// More than 18 decimal places would be needed.
    #[error("`{0}` has more than 18 decimal places")]
    TooPrecise(String),
    /// Outside the range of an `i128` of 1e-18.
    #[error("`{0}` is too large")]
    TooLarge(String),
    /// Not a ticker: 1 to 12 of `A-Z 0-9 . -`, beginning with a letter.
    #[error(
        "`{0}` is not a ticker (1 to 12 capital letters, digits, '.', '-' or '/', beginning with a letter)"
    )]
    NotTicker(String),
    /// A name that this ledger could not have written.
    #[error("`{0}` is no {1}")]
    NotName(String, &'static str),
}

/// The direction of a trade, from the point of view of whoever's account it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Side {
    /// Shares come in.
    Buy,
    /// Shares go out.
    Sell,
}

impl Side {
    /// `shares` (a magnitude) signed as a change of position.
    #[must_use]
    pub fn signed(self, shares: Shares) -> Shares {
        match self {
            Self::Buy => shares,
            Self::Sell => shares.negated(),
        }
    }

    /// The other direction.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// `BUY` or `SELL`, as the ledger and the brokers write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "BUY",
            Self::Sell => "SELL",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Side {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "BUY" => Ok(Self::Buy),
            "SELL" => Ok(Self::Sell),
            other => Err(ParseError::NotName(other.chars().take(32).collect(), "side (BUY or SELL)")),
        }
    }
}

/// A ticker, under its one name inside this program: 1 to 12 of `A-Z 0-9 .`, beginning with a letter.
///
/// A class of shares stands after a point (`BRK.B`). Brokers, lists and older ledgers also write `BRK/B` and `BRK-B`:
/// reading takes all three for the same share. A broker's own spelling is the business of its client.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(Arc<str>);

impl Symbol {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Symbol {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fits = (1..=12).contains(&text.len())
            && text.as_bytes()[0].is_ascii_uppercase()
            && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b".-/".contains(&b));
        if fits {
            Ok(Self(text.replace(['-', '/'], ".").into()))
        } else {
            Err(ParseError::NotTicker(text.chars().take(32).collect()))
        }
    }
}

impl Serialize for Symbol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A moment: milliseconds since 1970-01-01T00:00:00Z. Time is an input of the engine, never read inside it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub i64);

impl Millis {
    /// This moment `ms` milliseconds later (earlier when negative), saturating.
    #[must_use]
    pub const fn plus(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this moment; negative when the clock went back.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The wall clock. Only the IO ends call it: in this crate clippy refuses every call.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place, for those who do IO")]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// A block by number and hash: the only way this program names a place on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    /// Height.
    pub number: u64,
    /// Hash; another hash at the same height is another block.
    pub hash: B256,
}

impl fmt::Display for BlockRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number, self.hash)
    }
}

/// Where a log stands: the name of a log that a node pushed, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The block that holds it, as the node said.
    pub block: BlockRef,
    /// Hash of the transaction.
    pub tx_hash: B256,
    /// The log's index within its block, as the RPC says it.
    pub log_index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log {} in {} (block {})", self.log_index, self.tx_hash, self.block)
    }
}

/// A fill's name (`protocol.md` 1.4). Two fills with the same name are the same fill, with equal content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FillId {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hash of the block that holds the log.
    pub block_hash: B256,
    /// Hash of the transaction.
    pub tx_hash: B256,
    /// The log's index within its block, as the RPC says it.
    pub log_index: u64,
    /// The owner's onchain side; tells apart the two legs of a clear whose both owners are ours.
    pub side: Side,
}

impl FillId {
    /// Where the fill's log stands, in the block of this height.
    #[must_use]
    pub const fn log_at(&self, number: u64) -> LogId {
        let block = BlockRef { number, hash: self.block_hash };
        LogId { block, tx_hash: self.tx_hash, log_index: self.log_index }
    }
}

impl fmt::Display for FillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of log {} in {} (block {})", self.side, self.log_index, self.tx_hash, self.block_hash)
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                let fits = (1..=$max).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
                if fits {
                    Ok(Self(text.into()))
                } else {
                    Err(ParseError::NotName(text.chars().take(64).collect(), $what))
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// An intent's name: `cf-<start nonce>-<sequence>`. It is the client order id where the broker takes one
    /// (Alpaca: at most 48 characters, unique for ever), so the nonce is new at every start: a ledger put back to an
    /// older state can not use a name again.
    IntentId, "intent id", 48
);
name!(
    /// The broker's name of an order; opaque.
    OrderId, "broker order id", 64
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_side_turns_shares_round_and_has_two_names() {
        assert_eq!((Side::Buy.opposite(), Side::Sell.opposite()), (Side::Sell, Side::Buy));
        assert_eq!(
            (Side::Buy.signed(Shares::whole(2)), Side::Sell.signed(Shares::whole(2))),
            (Shares::whole(2), Shares::whole(-2))
        );
        assert_eq!(
            (Side::Buy.to_string(), format!("{:>5}", Side::Sell)),
            ("BUY".to_owned(), " SELL".to_owned())
        );
        assert_eq!(("BUY".parse(), "SELL".parse()), (Ok(Side::Buy), Ok(Side::Sell)));
        assert_eq!("buy".parse::<Side>().unwrap_err().to_string(), "`buy` is no side (BUY or SELL)");
    }

    #[test]
    fn what_is_written_as_json_is_read_again_and_nothing_else_is() {
        fn text(value: &impl Serialize) -> String {
            serde_json::to_string(value).unwrap()
        }
        assert_eq!(text(&Shares::whole(-2)), "\"-2\"");
        assert_eq!(text(&"TSLA".parse::<Symbol>().unwrap()), "\"TSLA\"");
        assert_eq!(text(&"cf-1".parse::<IntentId>().unwrap()), "\"cf-1\"");
        assert_eq!(serde_json::from_str::<Shares>("\"0.5\"").unwrap().atoms(), ONE / 2);
        assert_eq!(serde_json::from_str::<Symbol>("\"TSLA\"").unwrap().as_str(), "TSLA");
        assert_eq!(serde_json::from_str::<IntentId>("\"cf-1\"").unwrap().as_str(), "cf-1");
        for nonsense in ["\"\"", "\"a b\"", "1", "null", "0.5"] {
            assert!(serde_json::from_str::<Shares>(nonsense).is_err(), "{nonsense}");
            assert!(serde_json::from_str::<Symbol>(nonsense).is_err(), "{nonsense}");
            assert!(serde_json::from_str::<OrderId>(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn names_have_a_length_and_an_alphabet() {
        for good in ["c", "cf-1_A", &"x".repeat(48)] {
            let id: IntentId = good.parse().unwrap();
            assert_eq!(
                (id.as_str(), id.to_string(), format!("{id:?}")),
                (good, good.to_owned(), good.to_owned())
            );
        }
        for bad in ["", "a b", "a.b", "ä", &"x".repeat(49)] {
            let error = bad.parse::<IntentId>().unwrap_err();
            assert_eq!(error, ParseError::NotName(bad.to_owned(), "intent id"));
        }
        assert!("x".repeat(64).parse::<OrderId>().is_ok() && "x".repeat(65).parse::<OrderId>().is_err());
        assert_eq!(format!("{:>4}|", "a-1".parse::<OrderId>().unwrap()), " a-1|");
    }

    #[test]
    fn moments_and_places_print_as_people_read_them() {
        let moment = Millis(1_700_000_000_123);
        assert_eq!(moment.to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Millis(i64::MAX).to_string(), "9223372036854775807 ms");
        assert_eq!(
            (moment.plus(-123), moment.since(Millis(1_700_000_000_000))),
            (Millis(1_700_000_000_000), 123)
        );
        assert_eq!(
            (Millis(i64::MAX).plus(1), Millis(i64::MIN).since(Millis(1))),
            (Millis(i64::MAX), i64::MIN)
        );
        #[expect(clippy::disallowed_methods, reason = "it is what is tested")]
        let now = Millis::now();
        assert!(now > moment);
        let hash = B256::repeat_byte(0xab);
        assert_eq!(BlockRef { number: 7, hash }.to_string(), format!("7 ({hash})"));
        let id = FillId { chain_id: 1, block_hash: hash, tx_hash: B256::ZERO, log_index: 3, side: Side::Buy };
        assert_eq!(id.to_string(), format!("BUY of log 3 in {} (block {hash})", B256::ZERO));
    }

    #[test]
    fn tickers() {
        for good in ["A", "TSLA", "BRK.B", "BRK.PR.A", "X1"] {
            assert_eq!(good.parse::<Symbol>().unwrap().as_str(), good);
        }
        // One share, however a broker, a list or an older ledger spells it.
        for spelling in ["BRK.B", "BRK/B", "BRK-B"] {
            assert_eq!(spelling.parse::<Symbol>().unwrap().as_str(), "BRK.B", "{spelling}");
            let json = format!("\"{spelling}\"");
            assert_eq!(serde_json::from_str::<Symbol>(&json).unwrap().as_str(), "BRK.B", "{spelling}");
        }
        let longest = "ABCDEFGHIJKL".parse::<Symbol>().unwrap();
        assert_eq!(
            (format!("{longest:?}"), format!("{longest:>13}|")),
            ("ABCDEFGHIJKL".into(), " ABCDEFGHIJKL|".into())
        );
        for bad in ["", "tsla", "1A", "TOOLONGTICKER", "A B", "A_B", ".A", "/A"] {
            assert!(bad.parse::<Symbol>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Shares>();
            let _ = text.parse::<Symbol>();
            let _ = text.parse::<IntentId>();
        }
    }
}
