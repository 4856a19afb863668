//! From a trade to an event: which tokens, how many shares, and whether it counts.
//!
//! The event of the chain is the truth about amounts (`protocol.md` 1.7), the chain's own `decimals()` about their
//! scale, and the contracts' answers at the trade's block about what a token is worth (1.8). Nothing is assumed: a fact
//! that was not asked makes a dead event. Where the facts come from is `chain::tokens`' matter.
//!
//! Invariant: the same trade and facts give the same event, and shares are never more than moved.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, U256};

use super::abi::{Amount, Leg, Trade};
use super::float::{self, FloatError};
use super::pairing::dead;
use super::{
    Book, Event, Fill, FillUnit, NotKnown, PendingFill, SkipReason, Skipped, TokenFact, TokenKind, Unit,
    Worth,
};
use crate::units::{AMOUNT_DECIMALS, Cash, FillId, Price, Shares, Side, Symbol};

/// One amount whose worth the chain is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conversion {
    /// The token.
    pub token: Address,
    /// Hash of the block whose state answers.
    pub block: B256,
    /// Base units of the token.
    pub amount: U256,
}

/// What the chain answered about tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenFacts {
    /// Each token by its address.
    pub tokens: BTreeMap<Address, TokenFact>,
    /// What an amount was worth at its block.
    pub worths: BTreeMap<Conversion, Worth>,
    /// Why that is not known: the node refused, or the contracts' answers do not tell.
    pub unavailable: BTreeMap<Conversion, String>,
    /// Why a token could not be asked about, and its ticker where it is listed.
    pub silent: BTreeMap<Address, (Option<Symbol>, String)>,
}

/// What must be asked of the chain before some trades can be weighed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Tokens of which nothing is known. Ask again after they are: one that holds another leads to conversions.
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
        if !listed.unit.is_asked() || reason_to_skip(book, trade, listed.symbol).is_some() {
            continue;
        }
        if let Ok(Some(conversion)) = listed.conversion(trade) {
            missing.conversions.extend((!facts.worths.contains_key(&conversion)).then_some(conversion));
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
        Unclear::UnknownWorth(conversion) => {
            let reason = facts.unavailable.get(conversion)?.clone();
            let Ok(Pair::Listed(listed)) = pair(trade, facts) else { return None };
            (conversion.token, Some(listed.symbol.clone()), listed.side, reason)
        }
        Unclear::NotKnown { token, why } => {
            let Ok(Pair::Listed(listed)) = pair(trade, facts) else { return None };
            (*token, Some(listed.symbol.clone()), listed.side, why.to_string())
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
    #[error("what {} base units of token {} are worth at block {} was not asked", .0.amount, .0.token, .0.block)]
    UnknownWorth(Conversion),
    #[error("{why}")]
    NotKnown { token: Address, why: NotKnown },
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
    unit: &'a Unit,
    share: Half<'a>,
    cash: Half<'a>,
}

fn weigh(book: &Book, trade: &Trade, facts: &TokenFacts) -> Result<Event, Unclear> {
    let listed = match pair(trade, facts)? {
        Pair::Listed(listed) => listed,
        Pair::Foreign(direction) => return Ok(Event::Skipped(foreign(book, trade, direction))),
    };
    let reason = reason_to_skip(book, trade, listed.symbol);
    let (shares, unit) = match reason {
        Some(_) if listed.unit.is_asked() => (Shares::ZERO, None),
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
        unit: unit.map(Box::new),
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
    let (TokenKind::Share(symbol, unit), TokenKind::Cash) = (&share.fact.kind, &against.fact.kind) else {
        return Ok(Pair::Foreign(Some((side, share))));
    };
    Ok(Pair::Listed(Listed { side, symbol, unit, share, cash: against }))
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
    let is_share = |kind: &TokenKind| matches!(kind, TokenKind::Share(..));
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
    /// What must be asked about the shares of a token that holds something; none where there is nothing to convert.
    fn conversion(&self, trade: &Trade) -> Result<Option<Conversion>, Unclear> {
        let amount = self.share.units()?;
        let conversion = Conversion { token: self.share.fact.address, block: trade.log.block_hash, amount };
        Ok((!amount.is_zero()).then_some(conversion))
    }

    /// How many shares moved, and how that came of the token where it is not one share.
    fn shares(&self, trade: &Trade, facts: &TokenFacts) -> Result<(Shares, Option<FillUnit>), Unclear> {
        let TokenFact { address: token, decimals, .. } = *self.share.fact;
        match self.unit {
            Unit::One => Ok((Shares::from_atoms(self.share.atoms()?), None)),
            Unit::Listed(ratio) => {
                let amount = self.share.units()?;
                let shares = ratio.of(Shares::from_atoms(self.share.atoms()?));
                let shares = shares.ok_or(Unclear::TooLarge { token, units: amount })?;
                let worth = Worth { assets: amount, decimals, multiplier: None, jump: None };
                Ok((shares, Some(FillUnit { token, amount, decimals, worth })))
            }
            Unit::Asked { .. } => {
                let Some(conversion) = self.conversion(trade)? else { return Ok((Shares::ZERO, None)) };
                let worth =
                    facts.worths.get(&conversion).copied().ok_or(Unclear::UnknownWorth(conversion))?;
                let unit = FillUnit { token, amount: conversion.amount, decimals, worth };
                let shares = unit.shares().map_err(|why| Unclear::NotKnown { token, why })?;
                Ok((shares, Some(unit)))
            }
            Unit::Unrecorded { .. } => Err(Unclear::UnknownToken(token)),
        }
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
    let atoms = || half.atoms().ok().map(Shares::from_atoms);
    let (symbol, shares) = match &half.fact.kind {
        TokenKind::Share(symbol, Unit::One) => (Some(symbol.clone()), atoms()),
        TokenKind::Share(symbol, Unit::Listed(ratio)) => {
            (Some(symbol.clone()), atoms().and_then(|amount| ratio.of(amount)))
        }
        TokenKind::Share(symbol, Unit::Asked { .. } | Unit::Unrecorded { .. }) => {
            (Some(symbol.clone()), None)
        }
        TokenKind::Foreign | TokenKind::Cash => (None, atoms()),
    };
    let shares = shares.unwrap_or_default();
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
