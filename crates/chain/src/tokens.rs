//! Asks the chain what the decoder needs to know of tokens, and lets the decoder weigh the trades with the answers.
//!
//! It refuses to know amounts. Identity comes from `EQUITIES` and `CASH` by address; where one of them is not set, from
//! the symbol, with a warning. What a contract does (a revert, a symbol that is no text) is an answer and is kept; what
//! a node does (no answer, an error of its own) is infrastructure, ends the attempt, and is asked again.
//!
//! Invariant: a fact is asked once and never replaced but by one that may follow it; what an amount is worth is asked at
//! the trade's own block or not at all.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256};
use futures_util::{StreamExt, stream};

use super::abi::Trade;
use super::abi::token::IToken::{decimalsCall, symbolCall};
use super::rpc::{At, Rpc, RpcError};
use super::views::Answers;
use super::worth::Told;
use super::{CALLS_IN_FLIGHT_MAX, ChainConfig, worth};
use crate::fills::{
    self, Book, Conversion, Event, NotKnown, Questions, Ratio, TokenFact, TokenFacts, TokenKind, Unit, Worth,
};
use crate::units::Symbol;

/// `UNIT_JUMP_MAX`, where it is not set.
pub const UNIT_JUMP_MAX_PERCENT: u32 = 20;

/// How much of a symbol is kept.
const SYMBOL_CHARS_MAX: usize = 64;
/// Rounds of question and answer: tokens, then the amounts of those that are not one share, then nothing.
const ROUNDS_MAX: u32 = 3;

/// Refusals of one question in a row after which its trade waits by itself: with pauses that double from 0.1 s to 2 s,
/// about 7 s.
const REFUSALS_MAX: u32 = 8;
/// Questions whose refusals are counted.
const REFUSED_MAX: usize = 1_024;

/// Trades as events, with the facts that the ledger does not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighed {
    /// One event a trade, in the order of the trades.
    pub events: Vec<Event>,
    /// Facts of tokens of these trades that are not committed.
    pub tokens: Vec<TokenFact>,
}

/// What is known of tokens, and which of them are listed.
#[derive(Debug)]
pub struct Tokens {
    equities: BTreeMap<Address, Symbol>,
    ratios: BTreeMap<Address, Ratio>,
    cash: Option<Address>,
    pub(super) jump_max_percent: u32,
    known: BTreeMap<Address, TokenFact>,
    committed: BTreeSet<Address>,
    /// What the ledger knows and must be asked again: strangers' tokens that are listed as shares now, and shares of
    /// which an earlier version did not record what they hold.
    outdated: BTreeMap<Address, TokenFact>,
    /// How often in a row the node refused a question: a token's, in the state of a block or the newest.
    refused: BTreeMap<(Address, Option<B256>), u32>,
    /// The token that was asked about last, where that did not come to an end, the block it was asked at, and what was
    /// answered before.
    unfinished: Option<(Address, Option<B256>)>,
    answers: Answers,
    pub(super) told: Told,
}

impl Tokens {
    /// Knows only what is listed.
    #[must_use]
    pub fn new(config: &ChainConfig) -> Self {
        Self {
            ratios: config.ratios.clone(),
            jump_max_percent: config.unit_jump_max_percent,
            ..Self::listing(config.equities.clone(), config.cash)
        }
    }

    /// Knows only this listing: for a look at tokens without a bot.
    #[must_use]
    pub fn listed(
        equities: BTreeMap<Address, Symbol>,
        ratios: BTreeMap<Address, Ratio>,
        cash: Option<Address>,
    ) -> Self {
        Self { ratios, ..Self::listing(equities, cash) }
    }

    pub(super) const fn listing(equities: BTreeMap<Address, Symbol>, cash: Option<Address>) -> Self {
        Self {
            equities,
            ratios: BTreeMap::new(),
            cash,
            jump_max_percent: UNIT_JUMP_MAX_PERCENT,
            known: BTreeMap::new(),
            committed: BTreeSet::new(),
            outdated: BTreeMap::new(),
            refused: BTreeMap::new(),
            unfinished: None,
            answers: Answers::new(),
            told: Told::new(),
        }
    }

    /// Takes over what the ledger has; its word goes before ours.
    pub fn learn(&mut self, committed: &[TokenFact]) {
        for fact in committed {
            let outdated = match &fact.kind {
                TokenKind::Foreign => self.equities.contains_key(&fact.address),
                TokenKind::Share(_, unit) => matches!(unit, Unit::Unrecorded { .. }),
                TokenKind::Cash => false,
            };
            if outdated {
                self.outdated.insert(fact.address, fact.clone());
            } else if self.committed.insert(fact.address) || self.known.get(&fact.address) != Some(fact) {
                self.known.insert(fact.address, fact.clone());
                self.outdated.remove(&fact.address);
            }
        }
    }

    /// Weighs `trades`, after asking what they need. A token that does not say its decimals or its name makes a dead event.
    /// A trade becomes [`Event::Pending`] at once where the contracts do not tell what it was worth. What the node refuses to
    /// answer for one token must not hold up the others: such a trade is pending too, at once where its block is at or below
    /// `old`, whose state a node may not keep, else after 8 attempts.
    ///
    /// # Errors
    /// The node's trouble, never the contract's.
    pub async fn weigh(
        &mut self,
        rpc: &Rpc,
        book: &Book,
        trades: &[Trade],
        old: u64,
    ) -> Result<Weighed, RpcError> {
        let mut facts = TokenFacts { tokens: self.known.clone(), ..TokenFacts::default() };
        let heights: BTreeMap<B256, u64> =
            trades.iter().map(|trade| (trade.log.block_hash, trade.log.block_number)).collect();
        let mut asked = Questions::default();
        for _ in 0..ROUNDS_MAX {
            let mut missing = fills::questions(book, trades, &facts);
            missing.tokens.retain(|token| asked.tokens.insert(*token));
            missing.conversions.retain(|conversion| asked.conversions.insert(*conversion));
            if missing.is_empty() {
                break;
            }
            for token in missing.tokens {
                // What was answered before a refusal is not asked again.
                let mut answers = std::mem::take(&mut self.answers);
                let of_it = |trade: &&Trade| [trade.input_token, trade.output_token].contains(&token);
                let block = trades.iter().find(of_it).map(|trade| trade.log.block_hash);
                let asked = self.ask(&mut answers, rpc, token, block).await;
                if asked.is_err() {
                    (self.answers, self.unfinished) = (answers, Some((token, block)));
                }
                let fact = match asked {
                    Ok(Asked::Fact(fact)) => fact,
                    Ok(Asked::Unclear(why)) => {
                        facts.silent.insert(token, (self.equities.get(&token).cloned(), why));
                        continue;
                    }
                    Ok(Asked::Unsaid) => {
                        self.refused.remove(&(token, None));
                        continue;
                    }
                    Err(error) if self.gives_up((token, None), &error, false) => {
                        let ticker = self.equities.get(&token).cloned();
                        facts.silent.insert(token, (ticker, error.to_string()));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                self.refused.remove(&(token, None));
                self.warn_of_names(&fact);
                self.known.insert(token, fact.clone());
                facts.tokens.insert(token, fact);
            }
            for (conversion, answer) in self.convert(rpc, &facts, missing.conversions, &heights).await {
                let Conversion { token, block, .. } = conversion;
                match answer {
                    Ok(worth) => {
                        self.refused.remove(&(token, Some(block)));
                        match worth {
                            Ok(worth) => drop(facts.worths.insert(conversion, worth)),
                            Err(why) => drop(facts.unavailable.insert(conversion, why.to_string())),
                        }
                    }
                    Err(error) => {
                        let is_old = heights.get(&block).is_some_and(|height| *height <= old);
                        if !self.gives_up((token, Some(block)), &error, is_old) {
                            return Err(error);
                        }
                        facts.unavailable.insert(conversion, error.to_string());
                    }
                }
            }
        }
        let tokens: BTreeSet<Address> =
            trades.iter().flat_map(|trade| [trade.input_token, trade.output_token]).collect();
        let new = tokens.iter().filter(|token| !self.committed.contains(*token));
        Ok(Weighed {
            events: trades.iter().map(|trade| fills::event(book, trade, &facts)).collect(),
            tokens: new.filter_map(|token| self.known.get(token).cloned()).collect(),
        })
    }

    /// Goes on with the token that the last attempt did not come to the end of, before anything else is asked: on a small
    /// plan there would never be calls left for it after a range.
    ///
    /// # Errors
    /// A lost connection or a limit; what else the node refuses is for the next weighing.
    pub(super) async fn finish(&mut self, rpc: &Rpc) -> Result<(), RpcError> {
        let Some((token, block)) = self.unfinished.take() else { return Ok(()) };
        let mut answers = std::mem::take(&mut self.answers);
        match self.ask(&mut answers, rpc, token, block).await {
            Ok(Asked::Fact(fact)) => {
                self.warn_of_names(&fact);
                self.known.insert(token, fact);
            }
            Ok(Asked::Unclear(_) | Asked::Unsaid) => {}
            Err(error @ (RpcError::Gone(_) | RpcError::Limited { .. })) => {
                (self.answers, self.unfinished) = (answers, Some((token, block)));
                return Err(error);
            }
            Err(_) => self.answers = answers,
        }
        Ok(())
    }

    /// Whether a question that failed is given up for now, so that only its own trade waits. A lost connection and a limit
    /// are not about the question.
    fn gives_up(&mut self, question: (Address, Option<B256>), error: &RpcError, is_old: bool) -> bool {
        if matches!(error, RpcError::Gone(_) | RpcError::Limited { .. }) {
            return false;
        }
        if self.refused.len() >= REFUSED_MAX {
            self.refused.clear();
        }
        let times = self.refused.entry(question).or_default();
        *times = times.saturating_add(1);
        *times >= REFUSALS_MAX || (is_old && !matches!(error, RpcError::Timeout(_)))
    }

    /// The event of one trade, where nothing has to be asked for it and all it needs is in the ledger.
    #[must_use]
    pub fn weigh_known(&self, book: &Book, trade: &Trade) -> Option<Event> {
        let tokens = [trade.input_token, trade.output_token];
        if !tokens.iter().all(|token| self.committed.contains(token)) {
            return None;
        }
        let known = tokens.iter().filter_map(|token| Some((*token, self.known.get(token)?.clone())));
        let facts = TokenFacts { tokens: known.collect(), ..TokenFacts::default() };
        let trades = std::slice::from_ref(trade);
        fills::questions(book, trades, &facts).is_empty().then(|| fills::event(book, trade, &facts))
    }

    /// Asks every known token again that is a share or cash, or that is listed now: what it calls itself, and `units`: what
    /// it is worth too, in the state of that block. What is new about them and may be so is for the ledger; the first that
    /// is not what the ledger says ends it, in words. A stranger's token may rename itself as it likes.
    ///
    /// # Errors
    /// The node's trouble.
    pub async fn changed(
        &self,
        rpc: &Rpc,
        units: Option<B256>,
    ) -> Result<Result<Vec<TokenFact>, String>, RpcError> {
        let mut learnt = Vec::new();
        for fact in self.known.values().chain(self.outdated.values()) {
            let address = fact.address;
            if fact.kind == TokenKind::Foreign && !self.is_listed(address) {
                continue;
            }
            let same = |now: &TokenFact| (&now.kind, now.decimals) == (&fact.kind, fact.decimals);
            let fits = |now: &TokenFact| same(now) || now.may_follow(fact);
            // A second time, because stopping on one wrong answer would be worse than one more question.
            let ask = || self.asked_again(rpc, fact, units);
            let now = match ask().await {
                Ok(Asked::Fact(now)) if fits(&now) => Ok(Asked::Fact(now)),
                Ok(_) => ask().await,
                refused => refused,
            };
            let now = match now {
                Ok(Asked::Fact(now)) if same(&now) => continue,
                // A fill of it says more, and until then it waits (a stranger's token becomes a share with its first).
                Ok(Asked::Fact(now)) if now.may_follow(fact) => {
                    if fact.kind != TokenKind::Foreign {
                        learnt.push(now);
                    }
                    continue;
                }
                Ok(Asked::Unclear(why)) => {
                    log::warn!("what token {address} is worth is not clear, and its fills wait: {why}");
                    continue;
                }
                Ok(Asked::Fact(now)) => Some(now),
                Ok(Asked::Unsaid) => None,
                Err(error @ (RpcError::Gone(_) | RpcError::Limited { .. } | RpcError::Timeout(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    // One token's trouble must not keep the others from being hedged.
                    log::warn!("whether token {address} is what the ledger says can not be asked: {error}");
                    continue;
                }
            };
            let now = now.map_or_else(|| "something that can not be read".to_owned(), |now| words(&now));
            return Ok(Err(format!(
                "token {address} is {} in the ledger, but the chain, read with EQUITIES and CASH as they are set, \
                 says {now}; set EQUITIES and CASH as they were, or begin a new ledger (another DATABASE_URL)",
                words(fact)
            )));
        }
        Ok(Ok(learnt))
    }

    /// Whether a token that is not listed may still be a share or cash, by what it calls itself.
    fn names_decide(&self) -> bool {
        self.equities.is_empty() || self.cash.is_none()
    }

    fn is_listed(&self, address: Address) -> bool {
        self.equities.contains_key(&address) || self.cash == Some(address)
    }

    /// What the chain says of a token that is known already; without `units` what it was worth is left as it was.
    async fn asked_again(
        &self,
        rpc: &Rpc,
        known: &TokenFact,
        units: Option<B256>,
    ) -> Result<Asked, RpcError> {
        let mut answers = Answers::default();
        match (&known.kind, units) {
            (TokenKind::Share(_, unit), None) => self.named(&mut answers, rpc, known.address, unit).await,
            (_, None) => self.named(&mut answers, rpc, known.address, &Unit::One).await,
            (_, Some(block)) => self.ask(&mut answers, rpc, known.address, Some(block)).await,
        }
    }

    /// What the chain says of one token, and what it is worth in the state of `block`; in the newest where none is told.
    pub(super) async fn ask(
        &self,
        answers: &mut Answers,
        rpc: &Rpc,
        address: Address,
        block: Option<B256>,
    ) -> Result<Asked, RpcError> {
        let mut fact = match self.named(answers, rpc, address, &Unit::One).await? {
            Asked::Fact(fact) => fact,
            other => return Ok(other),
        };
        if let TokenKind::Share(_, unit) = &mut fact.kind {
            match self.unit(answers, rpc, address, &fact.symbol, block).await? {
                Ok(told) => *unit = told,
                Err(why) => return Ok(Asked::Unclear(why)),
            }
        }
        Ok(Asked::Fact(fact))
    }

    /// What the chain calls one token, taken to be worth `unit` where it is a share. What it does not say is asked again at
    /// the token's next trade.
    async fn named(
        &self,
        answers: &mut Answers,
        rpc: &Rpc,
        address: Address,
        unit: &Unit,
    ) -> Result<Asked, RpcError> {
        let symbol = answers.value(rpc, address, &symbolCall {}, At::Latest).await?;
        let symbol = symbol.as_deref().and_then(sound).unwrap_or_default();
        let decimals = answers.value(rpc, address, &decimalsCall {}, At::Latest).await?;
        let Some(decimals) = decimals else {
            if self.is_listed(address) {
                log::error!("token {address} is listed in EQUITIES or CASH but has no readable decimals()");
                return Ok(Asked::Unsaid);
            }
            if self.names_decide() {
                return Ok(Asked::Unsaid);
            }
            return Ok(Asked::Fact(TokenFact { address, symbol, decimals: 0, kind: TokenKind::Foreign }));
        };
        if symbol.is_empty() && !self.is_listed(address) && self.names_decide() {
            // A node's bad moment must not make a share a stranger's token for ever.
            return Ok(Asked::Unsaid);
        }
        let kind = self.kind(address, &symbol, unit.clone());
        Ok(Asked::Fact(TokenFact { address, symbol, decimals, kind }))
    }

    /// What a token that is a share is worth, by what its contract says, else by `EQUITIES`; or what is unclear about it.
    /// Asked in the state of a block by its hash, for a backend that does not know the contract yet answers "nothing"; in the
    /// newest where the node has no such state: what a token holds does not change.
    async fn unit(
        &self,
        answers: &mut Answers,
        rpc: &Rpc,
        address: Address,
        symbol: &str,
        block: Option<B256>,
    ) -> Result<Result<Unit, String>, RpcError> {
        let refused = |error: &RpcError| {
            matches!(error, RpcError::Refused { .. } | RpcError::Malformed { .. } | RpcError::Behind { .. })
        };
        let at = block.map_or(At::Latest, At::Hash);
        let told = match worth::unit(answers, rpc, address, at).await {
            Err(error) if refused(&error) => worth::unit(answers, rpc, address, At::Latest).await?,
            told => told?,
        };
        let wrapped = fills::ticker_of(symbol).is_some_and(|(_, wrapped)| wrapped);
        Ok(match (told, self.ratios.get(&address)) {
            (Ok(Unit::One), Some(ratio)) => Ok(Unit::Listed(*ratio)),
            (Ok(unit), Some(_)) if unit.is_asked() => Err(format!(
                "{address} says itself what it is worth ({unit}), and EQUITIES gives it a ratio too: leave that out"
            )),
            (Ok(Unit::One), None) if wrapped => Err(format!(
                "{address} calls itself {symbol}, a wrapped share, and does not say what it holds"
            )),
            (told, _) => told,
        })
    }

    /// What the token is to us: by its address where there is a list, else by its symbol.
    fn kind(&self, address: Address, symbol: &str, unit: Unit) -> TokenKind {
        if self.cash == Some(address) {
            return TokenKind::Cash;
        }
        if let Some(ticker) = self.equities.get(&address) {
            return TokenKind::Share(ticker.clone(), unit);
        }
        match fills::kind_of(symbol, unit) {
            TokenKind::Cash if self.cash.is_none() => TokenKind::Cash,
            kind @ TokenKind::Share(..) if self.equities.is_empty() => kind,
            _ => TokenKind::Foreign,
        }
    }

    fn warn_of_names(&self, fact: &TokenFact) {
        let (address, symbol) = (fact.address, &fact.symbol);
        if fact.kind == TokenKind::Foreign || self.is_listed(address) {
            return;
        }
        let variable = if fact.kind == TokenKind::Cash { "CASH" } else { "EQUITIES" };
        log::warn!(
            "token {address} is taken for {} because it calls itself {symbol:?}; anybody can: set {variable}",
            words(fact)
        );
    }

    /// What each amount was worth at its block, or why that is not known.
    async fn convert(
        &self,
        rpc: &Rpc,
        facts: &TokenFacts,
        conversions: BTreeSet<Conversion>,
        heights: &BTreeMap<B256, u64>,
    ) -> Vec<(Conversion, Result<Result<Worth, NotKnown>, RpcError>)> {
        let calls = conversions.into_iter().map(|conversion| async move {
            let unit = match facts.tokens.get(&conversion.token).map(|fact| &fact.kind) {
                Some(TokenKind::Share(_, unit)) => unit,
                _ => &Unit::One,
            };
            let height = heights.get(&conversion.block).copied();
            let worth = match worth::State::of(&self.told, rpc, conversion.block, height).await {
                Ok(state) => worth::worth(rpc, unit, &conversion, &state, self.jump_max_percent).await,
                Err(error) => Err(error),
            };
            (conversion, worth)
        });
        stream::iter(calls).buffered(CALLS_IN_FLIGHT_MAX).collect().await
    }
}

/// What the chain says of one token.
pub(super) enum Asked {
    Fact(TokenFact),
    /// Not what decides: a listed token's decimals, or the name of one that only its name can place.
    Unsaid,
    /// What it is worth is not clear, in words: its fills wait.
    Unclear(String),
}

/// What a token calls itself, and which share that is; none where its name is no share's.
pub(super) async fn named(rpc: &Rpc, token: Address) -> Result<Option<(String, Symbol)>, RpcError> {
    let symbol = Answers::default().value(rpc, token, &symbolCall {}, At::Latest).await?;
    let symbol = symbol.as_deref().and_then(sound).unwrap_or_default();
    Ok(fills::ticker_of(&symbol).map(|(ticker, _)| (symbol, ticker)))
}

/// A symbol as it is kept: text without control characters, cut.
fn sound(symbol: &str) -> Option<String> {
    (!symbol.chars().any(char::is_control)).then(|| symbol.chars().take(SYMBOL_CHARS_MAX).collect())
}

fn words(fact: &TokenFact) -> String {
    let decimals = fact.decimals;
    match &fact.kind {
        TokenKind::Cash => format!("cash with {decimals} decimals"),
        TokenKind::Share(ticker, Unit::One | Unit::Unrecorded { wrapped: false }) => {
            format!("the share {ticker} with {decimals} decimals")
        }
        TokenKind::Share(ticker, Unit::Unrecorded { wrapped: true }) => {
            format!("a wrapped share {ticker} with {decimals} decimals")
        }
        TokenKind::Share(ticker, Unit::Listed(ratio)) => {
            format!("{ratio} shares of {ticker} a token with {decimals} decimals")
        }
        TokenKind::Share(ticker, unit) => format!("a share of {ticker} by {unit} with {decimals} decimals"),
        TokenKind::Foreign => format!("neither a share nor cash ({decimals} decimals)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(equities: &[(u8, &str)], cash: Option<u8>) -> Tokens {
        let equities = equities.iter().map(|(n, s)| (Address::repeat_byte(*n), s.parse().unwrap()));
        Tokens::listing(equities.collect(), cash.map(Address::repeat_byte))
    }

    #[test]
    fn addresses_go_before_names() {
        let share = TokenKind::Share("TSLA".parse().unwrap(), Unit::One);
        let listed = tokens(&[(1, "TSLA")], Some(9));
        let named = tokens(&[], None);
        let rows = [
            (&listed, 1, "tTSLA", share.clone()),
            (&listed, 1, "anything", share.clone()),
            (&listed, 1, "wtTSLA", share.clone()),
            (&listed, 2, "tTSLA", TokenKind::Foreign),
            (&listed, 9, "anything", TokenKind::Cash),
            (&listed, 2, "USDC", TokenKind::Foreign),
            (&named, 2, "tTSLA", share.clone()),
            (&named, 2, "wtTSLA", share),
            (&named, 2, "USDC", TokenKind::Cash),
            (&named, 2, "TSLA", TokenKind::Foreign),
            (&named, 2, "", TokenKind::Foreign),
        ];
        for (tokens, address, symbol, kind) in rows {
            assert_eq!(
                tokens.kind(Address::repeat_byte(address), symbol, Unit::One),
                kind,
                "{address} {symbol}"
            );
        }
    }

    #[test]
    fn a_symbol_is_text_and_short() {
        assert_eq!(sound("tTSLA").as_deref(), Some("tTSLA"));
        assert_eq!(sound("a\u{0}b"), None);
        assert_eq!(sound(&"x".repeat(100)).map(|s| s.len()), Some(SYMBOL_CHARS_MAX));
    }
}
