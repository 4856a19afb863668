//! From an order book's logs to fills: pure, total, exact.
//!
//! A log goes in, an [`Event`] comes out: a fill, a fill that is skipped with a reason, or a dead event. Nothing here
//! fails and nothing here does IO; what must be asked of the chain (a token's symbol and decimals, a wrapped token's
//! ratio) is asked beforehand by `chain::tokens` and arrives as facts.
//!
//! Three steps: [`trades`] reads and pairs the logs, [`questions`] says what must be asked of the chain before they can
//! be weighed, [`event`] weighs one trade against the answers.
//!
//! Invariant: the same logs and facts give the same events, in any order of the logs.

pub mod abi;
mod float;
mod naming;
mod pairing;
mod unit;
mod weighing;
mod worth;

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, Bytes};
use serde::{Deserialize, Serialize};

pub use self::float::{FloatError, to_fixed};
pub use self::naming::{kind_of, ticker_of};
pub use self::pairing::{Trades, Unpaired, give_up, trades};
pub use self::unit::{HOLDS_MAX, Hold, Ratio, Unit};
pub use self::weighing::{Conversion, Questions, TokenFacts, event, questions};
pub use self::worth::{FillUnit, Jump, NotKnown, VaultReading, Worth};

use crate::units::{BlockRef, Cash, FillId, LogId, Millis, Price, Shares, Symbol};

/// Which logs are ours, and which of our trades count: the part of the configuration that this module needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The order books whose logs are read; logs of other addresses are ignored.
    pub orderbooks: BTreeSet<Address>,
    /// The owners whose orders are ours.
    pub owners: BTreeSet<Address>,
    /// Trades below this height are skipped (`HEDGE_FROM_BLOCK`).
    pub hedge_from_block: u64,
    /// The tickers of this shard (`SYMBOLS`); none: all of them.
    pub symbols: Option<BTreeSet<Symbol>>,
}

/// One of our orders was taken or cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// Its name. `id.side` is the owner's onchain side: BUY means shares came to the owner.
    pub id: FillId,
    /// Height of the block in `id.block_hash`.
    pub block_number: u64,
    /// The block's time in seconds since 1970, where the node said it.
    pub block_time: Option<u64>,
    /// The order book that emitted the log.
    pub orderbook: Address,
    /// The owner of the order: one of ours.
    pub owner: Address,
    /// The share.
    pub symbol: Symbol,
    /// How many shares changed hands; more than zero.
    pub shares: Shares,
    /// Dollars against them; zero or more (a taker can print one wei for nothing).
    pub cash: Cash,
    /// `cash / shares`; none where the cash is zero after the cut.
    pub price: Option<Price>,
    /// Where a token is not one share: what moved, and what the chain said that it was worth.
    pub unit: Option<Box<FillUnit>>,
}

impl Fill {
    /// What its shares may be short of the truth, because a vault cuts in its own favour; zero where a token is a share.
    #[must_use]
    pub fn slack(&self) -> Shares {
        self.unit.as_ref().map_or(Shares::ZERO, |unit| unit.slack(self.shares))
    }

    /// Where its log stands.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.id.log_at(self.block_number)
    }

    /// The change of the owner's position.
    #[must_use]
    pub fn signed_shares(&self) -> Shares {
        self.id.side.signed(self.shares)
    }

    /// When it was traded: its block's time where the node said it, else when it was first seen.
    #[must_use]
    pub fn traded_at(&self, seen: Millis) -> Millis {
        let told = self.block_time.and_then(|seconds| i64::try_from(seconds).ok()?.checked_mul(1_000));
        told.map_or(seen, |told| seen.min(Millis(told)))
    }
}

/// A trade of one of our orders that moves no exposure; kept with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name. Where the tokens give no direction (neither just one of them is cash, nor just one a share), `side`
    /// is SELL for a take and for alice, BUY for bob.
    pub id: FillId,
    /// Height of the block in `id.block_hash`.
    pub block_number: u64,
    /// The order book that emitted the log.
    pub orderbook: Address,
    /// The owner of the order: one of ours.
    pub owner: Address,
    /// The token that came to the owner.
    pub input_token: Address,
    /// The token that left the owner.
    pub output_token: Address,
    /// The share, where the pair has one.
    pub symbol: Option<Symbol>,
    /// Exact amount of shares, where the pair has a share; of an unlisted token against cash, the amount of that token.
    /// Zero where it is unknown: no direction, an amount beyond 18 decimals or range, or a wrapped share, whose ratio
    /// is not asked where no exposure hangs on it (a pruned node could not even answer for an old block).
    pub shares: Shares,
    /// Why it is skipped.
    pub reason: SkipReason,
}

impl Skipped {
    /// Where its log stands.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.id.log_at(self.block_number)
    }
}

/// Why a trade of ours moves no exposure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The share amount is zero after the cut to the token's decimals.
    ZeroShares,
    /// Not a listed share against the cash token.
    ForeignPair,
    /// Below `HEDGE_FROM_BLOCK`.
    BeforeHedging,
    /// The ticker belongs to another shard (`SYMBOLS`).
    OtherShard,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::ZeroShares, Self::ForeignPair, Self::BeforeHedging, Self::OtherShard];

    /// The stable text in ledger and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ZeroShares => "zero_shares",
            Self::ForeignPair => "foreign_pair",
            Self::BeforeHedging => "before_hedging",
            Self::OtherShard => "other_shard",
        }
    }
}

/// Which tokens and tickers a configuration lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// `SYMBOLS`: the tickers of this shard; all of them where none.
    pub symbols: Option<BTreeSet<Symbol>>,
    /// `EQUITIES`: which address is which share.
    pub equities: BTreeMap<Address, Symbol>,
    /// The cash tokens: `CASH`, and what the ledger knows as cash.
    pub cash: BTreeSet<Address>,
}

impl Listing {
    /// The ticker in which a trade that was passed over would be a fill today; none where it would be none.
    #[must_use]
    pub fn ticker_of(&self, trade: &Skipped) -> Option<Symbol> {
        let (came, left) = (trade.input_token, trade.output_token);
        let symbol = match trade.reason {
            SkipReason::OtherShard => trade.symbol.as_ref(),
            SkipReason::ForeignPair if self.cash.contains(&left) => self.equities.get(&came),
            SkipReason::ForeignPair if self.cash.contains(&came) => self.equities.get(&left),
            SkipReason::ForeignPair | SkipReason::ZeroShares | SkipReason::BeforeHedging => None,
        }?;
        self.symbols.as_ref().is_none_or(|symbols| symbols.contains(symbol)).then(|| symbol.clone())
    }
}

/// A trade of ours whose amount of shares the node does not tell: the state of its block is not there. It waits by itself,
/// and is asked for again (`protocol.md` 1.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingFill {
    /// Its name. Where it is not known which token is the share, `side` is SELL for a take and for alice, BUY for bob.
    pub id: FillId,
    /// Height of the block in `id.block_hash`.
    pub block_number: u64,
    /// The token that could not be asked about.
    pub token: Address,
    /// The share, where it is known.
    pub symbol: Option<Symbol>,
    /// What was refused, in the node's words.
    pub reason: String,
}

impl PendingFill {
    /// The ticker, or the token where no ticker is known.
    #[must_use]
    pub fn whom(&self) -> String {
        self.symbol.as_ref().map_or_else(|| format!("token {}", self.token), ToString::to_string)
    }

    /// Where its log stands.
    #[must_use]
    pub const fn log(&self) -> LogId {
        self.id.log_at(self.block_number)
    }
}

/// A log of ours, or one that may be ours, that could not be understood. Kept raw; a person looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadEvent {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Block that holds the log.
    pub block_number: u64,
    /// Its hash.
    pub block_hash: B256,
    /// Transaction that holds the log.
    pub tx_hash: B256,
    /// Index within the block.
    pub log_index: u64,
    /// Emitter.
    pub address: Address,
    /// The log's topics, in order.
    pub topics: Vec<B256>,
    /// The log's data.
    pub data: Bytes,
    /// What was wrong, in words.
    pub reason: String,
}

impl DeadEvent {
    /// Where it stands.
    #[must_use]
    pub const fn log(&self) -> LogId {
        let block = BlockRef { number: self.block_number, hash: self.block_hash };
        LogId { block, tx_hash: self.tx_hash, log_index: self.log_index }
    }
}

/// What one log, or one pair of logs, means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Counts.
    Fill(Fill),
    /// Does not count, for a reason.
    Skipped(Skipped),
    /// Counts, and nobody can say now how much.
    Pending(PendingFill),
    /// Not understood.
    Dead(DeadEvent),
}

/// What the chain says of one token, asked once and stored for ever (`protocol.md` 1.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFact {
    /// The token's contract.
    pub address: Address,
    /// `symbol()`, as the contract says it (at most 64 characters kept).
    pub symbol: String,
    /// `decimals()`; at most 18 for a share or cash.
    pub decimals: u8,
    /// What it is to us.
    pub kind: TokenKind,
}

impl TokenFact {
    /// Whether a token that was `known` may be this from now on, in one ledger: a stranger's may be listed as a share,
    /// and what a share is worth may be recorded ([`Unit::may_follow`]).
    #[must_use]
    pub fn may_follow(&self, known: &Self) -> bool {
        let means = match (&known.kind, &self.kind) {
            (TokenKind::Foreign, TokenKind::Share(..)) => true,
            (TokenKind::Share(was, known), TokenKind::Share(is, unit)) => was == is && unit.may_follow(known),
            _ => false,
        };
        means && known.decimals == self.decimals
    }
}

/// What a token is to us. Decided by address where `EQUITIES` and `CASH` say so, else by symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKind {
    /// The cash token, USDC.
    Cash,
    /// A share, and how many of them a token is.
    Share(Symbol, Unit),
    /// Neither.
    Foreign,
}

impl Event {
    /// Where its log stands; of a clear, the clear's.
    #[must_use]
    pub const fn log(&self) -> LogId {
        match self {
            Self::Fill(fill) => fill.log(),
            Self::Skipped(skipped) => skipped.log(),
            Self::Pending(pending) => pending.log(),
            Self::Dead(dead) => dead.log(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Side;

    const CASH: Address = Address::repeat_byte(0xca);
    const TSLA: Address = Address::repeat_byte(0x75);
    const STRANGE: Address = Address::repeat_byte(0x57);

    fn passed_over(reason: SkipReason, came: Address, left: Address, symbol: Option<&str>) -> Skipped {
        let (chain_id, block_hash, tx_hash) = (1, B256::ZERO, B256::ZERO);
        Skipped {
            id: FillId { chain_id, block_hash, tx_hash, log_index: 0, side: Side::Buy },
            block_number: 1,
            orderbook: Address::ZERO,
            owner: Address::ZERO,
            input_token: came,
            output_token: left,
            symbol: symbol.map(|symbol| symbol.parse().unwrap()),
            shares: Shares::ZERO,
            reason,
        }
    }

    #[test]
    fn a_trade_that_was_passed_over_is_of_a_ticker_that_is_listed_against_cash_or_was_another_shards() {
        use SkipReason::{BeforeHedging, ForeignPair, OtherShard, ZeroShares};
        let rows = [
            (ForeignPair, TSLA, CASH, None, Some("TSLA")),
            (ForeignPair, CASH, TSLA, None, Some("TSLA")),
            (ForeignPair, TSLA, STRANGE, None, None),
            (ForeignPair, STRANGE, TSLA, None, None),
            (ForeignPair, CASH, STRANGE, None, None),
            (OtherShard, TSLA, CASH, Some("TSLA"), Some("TSLA")),
            (OtherShard, STRANGE, CASH, Some("AAPL"), Some("AAPL")),
            (OtherShard, TSLA, CASH, Some("NVDA"), None),
            (ZeroShares, TSLA, CASH, Some("TSLA"), None),
            (BeforeHedging, TSLA, CASH, Some("TSLA"), None),
        ];
        let mut listing = Listing {
            symbols: Some(["TSLA", "AAPL"].map(|symbol| symbol.parse().unwrap()).into()),
            equities: [(TSLA, "TSLA".parse().unwrap())].into(),
            cash: [CASH].into(),
        };
        for (reason, came, left, symbol, ticker) in rows {
            let found = listing.ticker_of(&passed_over(reason, came, left, symbol));
            assert_eq!(found.as_ref().map(Symbol::as_str), ticker, "{reason:?} {came} {left} {symbol:?}");
        }
        // Without SYMBOLS every ticker is this bot's.
        listing.symbols = None;
        let found = listing.ticker_of(&passed_over(OtherShard, TSLA, CASH, Some("NVDA")));
        assert_eq!(found.as_ref().map(Symbol::as_str), Some("NVDA"));
    }

    #[test]
    fn only_a_strangers_token_may_become_a_share_and_only_with_the_same_decimals() {
        let share = TokenKind::Share("TSLA".parse().unwrap(), Unit::One);
        let other = TokenKind::Share("AAPL".parse().unwrap(), Unit::One);
        let unrecorded = TokenKind::Share("TSLA".parse().unwrap(), Unit::Unrecorded { wrapped: false });
        let rows = [
            (&share, &TokenKind::Foreign, 18, true),
            (&share, &TokenKind::Foreign, 6, false),
            (&TokenKind::Cash, &TokenKind::Foreign, 18, false),
            (&TokenKind::Foreign, &TokenKind::Foreign, 18, false),
            (&share, &TokenKind::Cash, 18, false),
            (&share, &other, 18, false),
            (&share, &unrecorded, 18, true),
            (&share, &unrecorded, 6, false),
            (&other, &unrecorded, 18, false),
            (&TokenKind::Foreign, &share, 18, false),
        ];
        for (kind, was, decimals, may) in rows {
            let fact = |kind: &TokenKind, decimals| TokenFact {
                address: TSLA,
                symbol: "tTSLA".into(),
                decimals,
                kind: kind.clone(),
            };
            assert_eq!(fact(kind, 18).may_follow(&fact(was, decimals)), may, "{was:?} becomes {kind:?}");
        }
    }
}
