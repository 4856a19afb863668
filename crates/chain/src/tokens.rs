//! Asks the chain what the decoder needs to know of tokens, and lets the decoder weigh the trades with the answers.
//!
//! It refuses to know amounts. Identity comes from `EQUITIES` and `CASH` by address; where one of them is not set, from
//! the symbol, with a warning. What a contract does (a revert, a symbol that is no text) is an answer and is kept; what
//! a node does (no answer, an error of its own) is infrastructure, ends the attempt, and is asked again.
//!
//! Invariant: a fact is asked once and never replaced, but that of a token listed since; a conversion is asked at the trade's own block or not at all.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::{Address, B256, U256};
use alloy::sol_types::SolCall;
use futures_util::{StreamExt, stream};

use super::abi::Trade;
use super::abi::token::IToken::{assetCall, convertToAssetsCall, decimalsCall, symbolCall};
use super::rpc::{At, Rpc, RpcError, is_revert};
use super::{CALLS_IN_FLIGHT_MAX, ChainConfig};
use crate::fills::{self, Book, Conversion, Event, Questions, TokenFact, TokenFacts, TokenKind};
use crate::units::Symbol;

/// How much of a symbol is kept.
const SYMBOL_CHARS_MAX: usize = 64;
/// Rounds of question and answer: tokens, then the conversions that wrapped ones need, then nothing.
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
    cash: Option<Address>,
    known: BTreeMap<Address, TokenFact>,
    committed: BTreeSet<Address>,
    /// What the ledger knows as strangers' tokens, and is listed as shares now.
    strangers: BTreeMap<Address, TokenFact>,
    /// Decimals of what a wrapped token holds. A vault's asset never changes (ERC-4626).
    asset_decimals: BTreeMap<Address, u8>,
    /// How often in a row the node refused a question: a token's, in the state of a block or the newest.
    refused: BTreeMap<(Address, Option<B256>), u32>,
}

impl Tokens {
    /// Knows only what is listed.
    #[must_use]
    pub fn new(config: &ChainConfig) -> Self {
        Self::listing(config.equities.clone(), config.cash)
    }

    pub(super) const fn listing(equities: BTreeMap<Address, Symbol>, cash: Option<Address>) -> Self {
        Self {
            equities,
            cash,
            known: BTreeMap::new(),
            committed: BTreeSet::new(),
            strangers: BTreeMap::new(),
            asset_decimals: BTreeMap::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Takes over what the ledger has; its word goes before ours. What it knows as a stranger's token and is listed as a
    /// share now is asked again.
    pub fn learn(&mut self, committed: &[TokenFact]) {
        for fact in committed {
            if fact.kind == TokenKind::Foreign && self.equities.contains_key(&fact.address) {
                self.strangers.insert(fact.address, fact.clone());
                continue;
            }
            if self.committed.insert(fact.address) {
                self.known.insert(fact.address, fact.clone());
            }
        }
    }

    /// Weighs `trades`, after asking what they need. What a contract does not answer stays unknown, and the decoder
    /// makes a dead event of it. What the node refuses to answer for one token must not hold up the others: such a trade
    /// becomes [`Event::Pending`], at once where its block is at or below `old`, whose state a node may not keep, else
    /// after 8 attempts.
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
                let fact = match self.ask(rpc, token).await {
                    Ok(fact) => fact,
                    Err(error) if self.gives_up((token, None), &error, false) => {
                        let ticker = self.equities.get(&token).cloned();
                        facts.silent.insert(token, (ticker, error.to_string()));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                self.refused.remove(&(token, None));
                let Some(fact) = fact else { continue };
                self.warn_of_names(&fact);
                self.known.insert(token, fact.clone());
                facts.tokens.insert(token, fact);
            }
            for (conversion, answer) in self.convert(rpc, missing.conversions, &heights).await {
                let (token, block, _) = conversion;
                match answer {
                    Ok(assets) => {
                        self.refused.remove(&(token, Some(block)));
                        facts.assets.extend(assets.map(|assets| (conversion, assets)));
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

    /// Asks every known token again that is a share or cash, or that is listed now; the first that is not what the
    /// ledger says, in words. A stranger's token may rename itself as it likes.
    ///
    /// # Errors
    /// The node's trouble.
    pub async fn changed(&self, rpc: &Rpc) -> Result<Option<String>, RpcError> {
        for fact in self.known.values().chain(self.strangers.values()) {
            let address = fact.address;
            if fact.kind == TokenKind::Foreign && !self.is_listed(address) {
                continue;
            }
            let same = |now: &Option<TokenFact>| {
                now.as_ref().is_some_and(|now| {
                    (&now.kind, now.decimals) == (&fact.kind, fact.decimals)
                        || now.lists(&fact.kind, fact.decimals)
                })
            };
            // A second time, because stopping on one wrong answer would be worse than one more question.
            let now = match self.ask(rpc, address).await {
                Ok(now) if same(&now) => continue,
                Ok(_) => self.ask(rpc, address).await,
                refused => refused,
            };
            let now = match now {
                Ok(now) => now,
                Err(error @ (RpcError::Gone(_) | RpcError::Limited { .. } | RpcError::Timeout(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    // One token's trouble must not keep the others from being hedged.
                    log::warn!("whether token {address} is what the ledger says can not be asked: {error}");
                    continue;
                }
            };
            if !same(&now) {
                let now = now.map_or_else(|| "something that can not be read".to_owned(), |now| words(&now));
                return Ok(Some(format!(
                    "token {address} is {} in the ledger, but the chain, read with EQUITIES and CASH as they are set, \
                     says {now}; set EQUITIES and CASH as they were, or begin a new ledger (another DATABASE_URL)",
                    words(fact)
                )));
            }
        }
        Ok(None)
    }

    /// Whether a token that is not listed may still be a share or cash, by what it calls itself.
    fn names_decide(&self) -> bool {
        self.equities.is_empty() || self.cash.is_none()
    }

    fn is_listed(&self, address: Address) -> bool {
        self.equities.contains_key(&address) || self.cash == Some(address)
    }

    /// What the chain says of one token; none where it does not say what decides: a listed token's decimals, or the
    /// name of one that only its name can place. What is none is asked again at its next trade.
    async fn ask(&self, rpc: &Rpc, address: Address) -> Result<Option<TokenFact>, RpcError> {
        let symbol = read(rpc, address, &symbolCall {}, At::Latest).await?;
        let symbol = symbol.as_deref().and_then(sound).unwrap_or_default();
        let decimals = read(rpc, address, &decimalsCall {}, At::Latest).await?;
        let Some(decimals) = decimals else {
            if self.is_listed(address) {
                log::error!("token {address} is listed in EQUITIES or CASH but has no readable decimals()");
                return Ok(None);
            }
            if self.names_decide() {
                return Ok(None);
            }
            return Ok(Some(TokenFact { address, symbol, decimals: 0, kind: TokenKind::Foreign }));
        };
        if symbol.is_empty() && !self.is_listed(address) && self.names_decide() {
            // A node's bad moment must not make a share a stranger's token for ever.
            return Ok(None);
        }
        // A listed token without a symbol is told from a wrapped one by what only a vault can answer.
        let vault = symbol.is_empty()
            && self.equities.contains_key(&address)
            && read(rpc, address, &assetCall {}, At::Latest).await?.is_some();
        let kind = self.kind(address, &symbol, vault);
        Ok(Some(TokenFact { address, symbol, decimals, kind }))
    }

    /// What the token is to us: by its address where there is a list, else by its symbol.
    fn kind(&self, address: Address, symbol: &str, vault: bool) -> TokenKind {
        if self.cash == Some(address) {
            return TokenKind::Cash;
        }
        if let Some(ticker) = self.equities.get(&address) {
            let wrapped = vault || fills::ticker_of(symbol).is_some_and(|(_, wrapped)| wrapped);
            let kind = if wrapped { TokenKind::WrappedShare } else { TokenKind::Share };
            return kind(ticker.clone());
        }
        match fills::kind_of(symbol) {
            TokenKind::Cash if self.cash.is_none() => TokenKind::Cash,
            kind @ (TokenKind::Share(_) | TokenKind::WrappedShare(_)) if self.equities.is_empty() => kind,
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

    /// Each conversion's answer: base units of the asset with its decimals, none where the contract has none.
    async fn convert(
        &mut self,
        rpc: &Rpc,
        conversions: BTreeSet<Conversion>,
        heights: &BTreeMap<B256, u64>,
    ) -> Vec<(Conversion, Result<Option<(U256, u8)>, RpcError>)> {
        let mut troubles: BTreeMap<Address, RpcError> = BTreeMap::new();
        for (token, _, _) in &conversions {
            if self.asset_decimals.contains_key(token) || troubles.contains_key(token) {
                continue;
            }
            match asset_decimals(rpc, *token).await {
                Ok(decimals) => self.asset_decimals.extend(decimals.map(|decimals| (*token, decimals))),
                Err(error) => drop(troubles.insert(*token, error)),
            }
        }
        let calls: Vec<_> = conversions
            .iter()
            .map(|conversion| converted(rpc, *conversion, heights.get(&conversion.1).copied()))
            .collect();
        let assets: Vec<Result<Option<U256>, RpcError>> =
            stream::iter(calls).buffered(CALLS_IN_FLIGHT_MAX).collect().await;
        let answers = conversions.into_iter().zip(assets).map(|(conversion, assets)| {
            let decimals = self.asset_decimals.get(&conversion.0).copied();
            let answer = match troubles.get(&conversion.0) {
                Some(error) => Err(error.clone()),
                None => assets.map(|assets| assets.zip(decimals)),
            };
            (conversion, answer)
        });
        answers.collect()
    }
}

/// What a token calls itself, and which share that is; none where its name is no share's.
pub(super) async fn named(rpc: &Rpc, token: Address) -> Result<Option<(String, Symbol)>, RpcError> {
    let symbol = read(rpc, token, &symbolCall {}, At::Latest).await?;
    let symbol = symbol.as_deref().and_then(sound).unwrap_or_default();
    Ok(fills::ticker_of(&symbol).map(|(ticker, _)| (symbol, ticker)))
}

/// `convertToAssets(amount)` in the state of that block. Where the node takes no hash, its height is asked, and counts
/// while that block stands there.
async fn converted(
    rpc: &Rpc,
    (token, block, amount): (Address, B256, U256),
    height: Option<u64>,
) -> Result<Option<U256>, RpcError> {
    let call = convertToAssetsCall { shares: amount };
    let refused = match read(rpc, token, &call, At::Hash(block)).await {
        Err(error @ (RpcError::Refused { .. } | RpcError::Malformed { .. })) => error,
        answer => return answer,
    };
    let Some(height) = height else { return Err(refused) };
    let assets = read(rpc, token, &call, At::Number(height)).await.map_err(|_| refused.clone())?;
    let stands = rpc.header(height).await?.is_some_and(|header| header.hash == block);
    if stands { Ok(assets) } else { Err(refused) }
}

/// The decimals of what a vault holds.
async fn asset_decimals(rpc: &Rpc, vault: Address) -> Result<Option<u8>, RpcError> {
    match read(rpc, vault, &assetCall {}, At::Latest).await? {
        Some(asset) => read(rpc, asset, &decimalsCall {}, At::Latest).await,
        None => Ok(None),
    }
}

/// One view call; none where the contract reverts or answers something else. A node behind its peers may not know the
/// contract yet and answers nothing at all, so that "no" is asked a second time.
async fn read<C: SolCall>(rpc: &Rpc, to: Address, call: &C, at: At) -> Result<Option<C::Return>, RpcError> {
    let data = call.abi_encode();
    for _ in 0..2 {
        match rpc.eth_call(to, &data, at).await {
            Ok(bytes) => {
                if let Ok(answer) = C::abi_decode_returns_validate(&bytes) {
                    return Ok(Some(answer));
                }
            }
            Err(error) if is_revert(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A symbol as it is kept: text without control characters, cut.
fn sound(symbol: &str) -> Option<String> {
    (!symbol.chars().any(char::is_control)).then(|| symbol.chars().take(SYMBOL_CHARS_MAX).collect())
}

fn words(fact: &TokenFact) -> String {
    let decimals = fact.decimals;
    match &fact.kind {
        TokenKind::Cash => format!("cash with {decimals} decimals"),
        TokenKind::Share(ticker) => format!("the share {ticker} with {decimals} decimals"),
        TokenKind::WrappedShare(ticker) => format!("a wrapped share {ticker} with {decimals} decimals"),
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
        let tsla: Symbol = "TSLA".parse().unwrap();
        let (share, wrapped) = (TokenKind::Share(tsla.clone()), TokenKind::WrappedShare(tsla));
        let listed = tokens(&[(1, "TSLA")], Some(9));
        let named = tokens(&[], None);
        let rows = [
            (&listed, 1, "tTSLA", share.clone()),
            (&listed, 1, "anything", share.clone()),
            (&listed, 1, "wtTSLA", wrapped.clone()),
            (&listed, 2, "tTSLA", TokenKind::Foreign),
            (&listed, 9, "anything", TokenKind::Cash),
            (&listed, 2, "USDC", TokenKind::Foreign),
            (&named, 2, "tTSLA", share),
            (&named, 2, "wtTSLA", wrapped),
            (&named, 2, "USDC", TokenKind::Cash),
            (&named, 2, "TSLA", TokenKind::Foreign),
            (&named, 2, "", TokenKind::Foreign),
        ];
        for (tokens, address, symbol, kind) in rows {
            assert_eq!(tokens.kind(Address::repeat_byte(address), symbol, false), kind, "{address} {symbol}");
        }
    }

    #[test]
    fn a_symbol_is_text_and_short() {
        assert_eq!(sound("tTSLA").as_deref(), Some("tTSLA"));
        assert_eq!(sound("a\u{0}b"), None);
        assert_eq!(sound(&"x".repeat(100)).map(|s| s.len()), Some(SYMBOL_CHARS_MAX));
    }
}
