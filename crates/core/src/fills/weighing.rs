//! From a trade to an event: which tokens, how many shares, and whether it counts.
//!
//! The event of the chain is the truth about amounts (`protocol.md` 1.7), the chain's own `decimals()` about their
//! scale, and `convertToAssets` at the trade's block about wrapped shares. Nothing is assumed: a fact that was not
//! asked makes a dead event. Where the facts come from is `chain::tokens`' matter.
//!
//! Invariant: the same trade and facts give the same event, and shares are never more than moved.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, U256};

use super::abi::{Amount, Leg, Trade};
use super::float::{self, FloatError};
use super::pairing::dead;
use super::{Book, Event, Fill, PendingFill, SkipReason, Skipped, TokenFact, TokenKind};
use crate::units::{AMOUNT_DECIMALS, Cash, FillId, Price, Shares, Side, Symbol};

/// Names one conversion: the wrapped token, the hash of the block whose state answers, and how many base units of the
/// wrapped token.
pub type Conversion = (Address, B256, U256);

/// What the chain answered about tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenFacts {
    /// Each token by its address.
    pub tokens: BTreeMap<Address, TokenFact>,
    /// `convertToAssets` at the block: base units of the asset, and the asset's decimals.
    pub assets: BTreeMap<Conversion, (U256, u8)>,
    /// Why a conversion could not be asked.
    pub unavailable: BTreeMap<Conversion, String>,
    /// Why a token could not be asked about, and its ticker where it is listed.
    pub silent: BTreeMap<Address, (Option<Symbol>, String)>,
}

/// What must be asked of the chain before some trades can be weighed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Tokens of which nothing is known. Ask again after they are: a wrapped one leads to conversions.
    pub tokens: BTreeSet<Address>,
    /// Conversions that are missing.
    pub conversions: BTreeSet<Conversion>,
}

impl Questions {
    /// Whether everything needed is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.conversions.is_empty()
    }
}

/// What `facts` lacks to weigh `trades`.
#[must_use]
pub fn questions(book: &Book, trades: &[Trade], facts: &TokenFacts) -> Questions {
    let mut missing = Questions::default();
    for trade in trades {
        let tokens = [trade.input_token, trade.output_token];
        missing.tokens.extend(tokens.into_iter().filter(|token| !facts.tokens.contains_key(token)));
        let Ok(Pair::Listed(listed)) = pair(trade, facts) else { continue };
        if !listed.wrapped || reason_to_skip(book, trade, listed.symbol).is_some() {
            continue;
        }
        if let Ok(Some(conversion)) = listed.conversion(trade) {
            missing.conversions.extend((!facts.assets.contains_key(&conversion)).then_some(conversion));
        }
    }
    missing
}

/// What `trade` means to us.
#[must_use]
pub fn event(book: &Book, trade: &Trade, facts: &TokenFacts) -> Event {
    weigh(book, trade, facts).unwrap_or_else(|unclear| match pending(book, trade, facts, &unclear) {
        Some(pending) => Event::Pending(pending),
        None => Event::Dead(dead(book, &trade.log, unclear.to_string())),
    })
}

/// The trade as one that waits, where what is unclear was refused by the node and not told by a contract.
fn pending(book: &Book, trade: &Trade, facts: &TokenFacts, unclear: &Unclear) -> Option<PendingFill> {
    let (token, symbol, side, reason) = match unclear {
        Unclear::UnknownToken(token) => {
            let (symbol, reason) = facts.silent.get(token)?.clone();
            (*token, symbol, side_without_direction(trade), reason)
        }
        Unclear::UnknownRatio { token, block, amount } => {
            let reason = facts.unavailable.get(&(*token, *block, *amount))?.clone();
            let Ok(Pair::Listed(listed)) = pair(trade, facts) else { return None };
            (*token, Some(listed.symbol.clone()), listed.side, reason)
        }
        Unclear::TooManyDecimals { .. } | Unclear::Amount { .. } | Unclear::TooLarge { .. } => return None,
    };
    let block_number = trade.log.block_number;
    Some(PendingFill { id: name(book, trade, side), block_number, token, symbol, reason })
}

const fn side_without_direction(trade: &Trade) -> Side {
    match trade.leg {
        Leg::Take | Leg::Alice => Side::Sell,
        Leg::Bob => Side::Buy,
    }
}

/// Why a trade of ours can not be weighed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Unclear {
    #[error("nothing is known of token {0}")]
    UnknownToken(Address),
    #[error("no convertToAssets({amount}) of wrapped token {token} is known at block {block}")]
    UnknownRatio { token: Address, block: B256, amount: U256 },
    #[error(
        "token {token} has {decimals} decimals, more than the {AMOUNT_DECIMALS} that can be counted exactly"
    )]
    TooManyDecimals { token: Address, decimals: u8 },
    #[error("of token {token}: {source}")]
    Amount { token: Address, source: FloatError },
    #[error("{units} base units of token {token} are more than can be counted")]
    TooLarge { token: Address, units: U256 },
}

/// One token of a trade and how much of it moved.
#[derive(Debug, Clone, Copy)]
struct Half<'a> {
    fact: &'a TokenFact,
    amount: Amount,
}

/// The two tokens of a trade, told apart.
enum Pair<'a> {
    /// A share against cash.
    Listed(Listed<'a>),
    /// Anything else. With a direction: the half that is a share, or the unlisted token against cash.
    Foreign(Option<(Side, Half<'a>)>),
}

struct Listed<'a> {
    side: Side,
    symbol: &'a Symbol,
    wrapped: bool,
    share: Half<'a>,
    cash: Half<'a>,
}

fn weigh(book: &Book, trade: &Trade, facts: &TokenFacts) -> Result<Event, Unclear> {
    let listed = match pair(trade, facts)? {
        Pair::Listed(listed) => listed,
        Pair::Foreign(direction) => return Ok(Event::Skipped(foreign(book, trade, direction))),
    };
    let reason = reason_to_skip(book, trade, listed.symbol);
    let shares = match reason {
        Some(_) if listed.wrapped => Shares::ZERO,
        _ => listed.shares(trade, facts)?,
    };
    if let Some(reason) = reason.or(shares.is_zero().then_some(SkipReason::ZeroShares)) {
        let symbol = Some(listed.symbol.clone());
        return Ok(Event::Skipped(skipped(book, trade, listed.side, symbol, shares, reason)));
    }
    let cash = Cash::from_atoms(listed.cash.atoms()?);
    Ok(Event::Fill(Fill {
        id: name(book, trade, listed.side),
        block_number: trade.log.block_number,
        block_time: trade.log.block_time,
        orderbook: trade.log.address,
        owner: trade.owner,
        symbol: listed.symbol.clone(),
        shares,
        cash,
        price: Price::of(cash, shares),
    }))
}

/// Tells the tokens apart, after the checks that hold for every pair: both known, no amount negative.
fn pair<'a>(trade: &Trade, facts: &'a TokenFacts) -> Result<Pair<'a>, Unclear> {
    let came = half(trade.input_token, trade.input, facts)?;
    let left = half(trade.output_token, trade.output, facts)?;
    let Some(side) = direction(&came.fact.kind, &left.fact.kind) else { return Ok(Pair::Foreign(None)) };
    let (share, against) = match side {
        Side::Buy => (came, left),
        Side::Sell => (left, came),
    };
    let (symbol, wrapped) = match (&share.fact.kind, &against.fact.kind) {
        (TokenKind::Share(symbol), TokenKind::Cash) => (symbol, false),
        (TokenKind::WrappedShare(symbol), TokenKind::Cash) => (symbol, true),
        _ => return Ok(Pair::Foreign(Some((side, share)))),
    };
    Ok(Pair::Listed(Listed { side, symbol, wrapped, share, cash: against }))
}

fn half(token: Address, amount: Amount, facts: &TokenFacts) -> Result<Half<'_>, Unclear> {
    let fact = facts.tokens.get(&token).ok_or(Unclear::UnknownToken(token))?;
    match amount {
        Amount::Float(word) if float::is_negative(word) => {
            Err(Unclear::Amount { token, source: FloatError::Negative })
        }
        Amount::Float(_) | Amount::Units(_) => Ok(Half { fact, amount }),
    }
}

/// The owner's side by what the tokens are: against cash, else by the only share. None where that says nothing.
fn direction(came: &TokenKind, left: &TokenKind) -> Option<Side> {
    let is_cash = |kind: &TokenKind| matches!(kind, TokenKind::Cash);
    let is_share = |kind: &TokenKind| matches!(kind, TokenKind::Share(_) | TokenKind::WrappedShare(_));
    let shares_came = match (is_cash(came), is_cash(left)) {
        (false, true) => true,
        (true, false) => false,
        _ if is_share(came) != is_share(left) => is_share(came),
        _ => return None,
    };
    Some(if shares_came { Side::Buy } else { Side::Sell })
}

fn reason_to_skip(book: &Book, trade: &Trade, symbol: &Symbol) -> Option<SkipReason> {
    if trade.log.block_number < book.hedge_from_block {
        return Some(SkipReason::BeforeHedging);
    }
    let ours = book.symbols.as_ref().is_none_or(|symbols| symbols.contains(symbol));
    (!ours).then_some(SkipReason::OtherShard)
}

impl Half<'_> {
    /// Base units, cut toward zero.
    fn units(&self) -> Result<U256, Unclear> {
        match self.amount {
            Amount::Units(units) => Ok(units),
            Amount::Float(word) => float::to_fixed(word, self.fact.decimals)
                .map(|(units, _)| units)
                .map_err(|source| Unclear::Amount { token: self.fact.address, source }),
        }
    }

    /// Units of 1e-18, cut toward zero at the token's decimals.
    fn atoms(&self) -> Result<i128, Unclear> {
        // Decimals first: they are the cause a person can act on.
        spare_decimals(self.fact.address, self.fact.decimals)?;
        atoms(self.fact.address, self.units()?, self.fact.decimals)
    }
}

impl Listed<'_> {
    /// The conversion that the shares of a wrapped token need; none where there is nothing to convert.
    fn conversion(&self, trade: &Trade) -> Result<Option<Conversion>, Unclear> {
        spare_decimals(self.share.fact.address, self.share.fact.decimals)?;
        let units = self.share.units()?;
        Ok((!units.is_zero()).then_some((self.share.fact.address, trade.log.block_hash, units)))
    }

    fn shares(&self, trade: &Trade, facts: &TokenFacts) -> Result<Shares, Unclear> {
        if !self.wrapped {
            return self.share.atoms().map(Shares::from_atoms);
        }
        let Some(conversion) = self.conversion(trade)? else { return Ok(Shares::ZERO) };
        let (token, block, amount) = conversion;
        let unknown = Unclear::UnknownRatio { token, block, amount };
        let (assets, decimals) = facts.assets.get(&conversion).copied().ok_or(unknown)?;
        atoms(token, assets, decimals).map(Shares::from_atoms)
    }
}

/// How many decimals are missing to 18.
fn spare_decimals(token: Address, decimals: u8) -> Result<u32, Unclear> {
    AMOUNT_DECIMALS.checked_sub(u32::from(decimals)).ok_or(Unclear::TooManyDecimals { token, decimals })
}

/// `units` of a token with `decimals`, as units of 1e-18.
fn atoms(token: Address, units: U256, decimals: u8) -> Result<i128, Unclear> {
    let scale = U256::from(10).pow(U256::from(spare_decimals(token, decimals)?));
    let too_large = Unclear::TooLarge { token, units };
    units.checked_mul(scale).and_then(|atoms| i128::try_from(atoms).ok()).ok_or(too_large)
}

fn name(book: &Book, trade: &Trade, side: Side) -> FillId {
    FillId {
        chain_id: book.chain_id,
        block_hash: trade.log.block_hash,
        tx_hash: trade.log.tx_hash,
        log_index: trade.log.log_index,
        side,
    }
}

fn foreign(book: &Book, trade: &Trade, direction: Option<(Side, Half<'_>)>) -> Skipped {
    let Some((side, half)) = direction else {
        let side = side_without_direction(trade);
        return skipped(book, trade, side, None, Shares::ZERO, SkipReason::ForeignPair);
    };
    let (symbol, shares) = match &half.fact.kind {
        TokenKind::WrappedShare(symbol) => (Some(symbol.clone()), None),
        TokenKind::Share(symbol) => (Some(symbol.clone()), half.atoms().ok()),
        TokenKind::Foreign | TokenKind::Cash => (None, half.atoms().ok()),
    };
    let shares = shares.map_or(Shares::ZERO, Shares::from_atoms);
    skipped(book, trade, side, symbol, shares, SkipReason::ForeignPair)
}

fn skipped(
    book: &Book,
    trade: &Trade,
    side: Side,
    symbol: Option<Symbol>,
    shares: Shares,
    reason: SkipReason,
) -> Skipped {
    Skipped {
        id: name(book, trade, side),
        block_number: trade.log.block_number,
        orderbook: trade.log.address,
        owner: trade.owner,
        input_token: trade.input_token,
        output_token: trade.output_token,
        symbol,
        shares,
        reason,
    }
}
