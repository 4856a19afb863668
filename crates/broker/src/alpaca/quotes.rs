//! Quotes: of which feed, and what becomes of names that the data server does not take.
//!
//! It answers a list of names with one refusal when it does not take one of them, so the list is asked for again without
//! that one. The free feed is one exchange's: where its quote lacks a side or is wide, its last trade is asked for too
//! (`protocol.md` 4).
//!
//! Invariant: each ticker that was asked for has at most one quote, and one that is refused has none but the reason.

use std::collections::BTreeMap;

use super::{Alpaca, Refused, wire};
use crate::units::{Millis, Symbol};
use crate::{Quote, ReadError};

/// Tickers in one question for quotes.
const QUOTES_MAX: usize = 100;
/// Questions for one reading of all quotes; what is left then is asked for with the next one.
const ASKED_MAX: u32 = 24;
/// A name that was refused is left out of the lists for so long.
const REFUSED_MS: i64 = 5 * 60_000;
/// One part in so many of the bid: a spread above it is a wide one.
const WIDE_PARTS: i128 = 100;
/// Where the newest quotes are.
const QUOTES_PATH: &str = "/v2/stocks/quotes/latest";
const TRADES_PATH: &str = "/v2/stocks/trades/latest";

/// Whose quotes are read (`ALPACA_FEED`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Feed {
    /// One exchange's, free.
    #[default]
    Iex,
    /// All exchanges', of this moment; needs a subscription.
    Sip,
    /// All exchanges', a quarter of an hour late.
    DelayedSip,
}

impl Feed {
    /// As the data server calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Iex => "iex",
            Self::Sip => "sip",
            Self::DelayedSip => "delayed_sip",
        }
    }

    /// How late its prices are.
    pub(super) const fn late_ms(self) -> i64 {
        match self {
            Self::Iex | Self::Sip => 0,
            Self::DelayedSip => 15 * 60_000,
        }
    }

    /// Its name, where it is less than the whole market now.
    pub(super) const fn partial(self) -> Option<&'static str> {
        match self {
            Self::Sip => None,
            feed => Some(feed.as_str()),
        }
    }
}

/// Names that the data server refused: when, and in which words.
pub(super) type RefusedNames = BTreeMap<Symbol, (Millis, String)>;

impl Alpaca {
    /// The newest quotes of `symbols`; of one that is refused, the reason.
    pub(super) fn read_quotes(&self, symbols: &[Symbol], now: Millis) -> Result<Vec<Quote>, ReadError> {
        let rested = |(at, _): &(Millis, String)| !(0..REFUSED_MS).contains(&now.since(*at));
        self.learnt().refused_names.retain(|_, refused| !rested(refused));
        let known = self.learnt().refused_names.clone();
        let names: Vec<&Symbol> = symbols.iter().filter(|symbol| !known.contains_key(symbol)).collect();
        let (mut quotes, mut asked) = (Vec::with_capacity(symbols.len()), 0);
        for some in names.chunks(QUOTES_MAX) {
            self.ask_of(some, &mut asked, &mut quotes, now)?;
        }
        self.add_last_trades(&mut quotes, now);
        let refused = self.learnt().refused_names.clone();
        let told = refused.into_iter().filter(|(symbol, _)| symbols.contains(symbol));
        quotes.extend(told.map(|(symbol, (_, why))| Quote::missing(symbol, now, why)));
        Ok(quotes)
    }

    /// Asks for these names, and where they are refused, for fewer of them.
    fn ask_of(
        &self,
        names: &[&Symbol],
        asked: &mut u32,
        quotes: &mut Vec<Quote>,
        now: Millis,
    ) -> Result<(), ReadError> {
        if names.is_empty() || *asked >= ASKED_MAX {
            return Ok(());
        }
        *asked += 1;
        let why = match self.ask_once(QUOTES_PATH, names, now)? {
            Ok(body) => {
                quotes.extend(wire::quotes(&body, self.options.feed, now).map_err(ReadError)?);
                return Ok(());
            }
            Err(why) => why,
        };
        let named = |symbol: &&&Symbol| names_it(&why, symbol);
        if let [only] = names {
            self.refuse_name(only, &why, now);
            Ok(())
        } else if names.iter().any(|symbol| named(&symbol)) {
            names.iter().filter(named).for_each(|symbol| self.refuse_name(symbol, &why, now));
            let rest: Vec<&Symbol> = names.iter().filter(|symbol| !named(symbol)).copied().collect();
            self.ask_of(&rest, asked, quotes, now)
        } else {
            let (some, others) = names.split_at(names.len() / 2);
            self.ask_of(some, asked, quotes, now)?;
            self.ask_of(others, asked, quotes, now)
        }
    }

    fn refuse_name(&self, symbol: &Symbol, why: &str, now: Millis) {
        log::warn!("alpaca does not quote {symbol}: {why}");
        self.learnt().refused_names.insert(symbol.clone(), (now, why.to_owned()));
    }

    /// One question; the inner error is a no to the list of names itself.
    fn ask_once(
        &self,
        path: &str,
        names: &[&Symbol],
        now: Millis,
    ) -> Result<Result<Vec<u8>, String>, ReadError> {
        let list = names.iter().map(|symbol| symbol.as_str()).collect::<Vec<_>>().join(",");
        let query = [("symbols", list.as_str()), ("feed", self.options.feed.as_str())];
        match self.get_from(&self.data, path, &query, now) {
            Ok(Some(body)) => Ok(Ok(body)),
            Ok(None) => Err(ReadError("alpaca has no quotes".into())),
            Err(Refused { status: 400 | 422, error }) => Ok(Err(error.0)),
            Err(Refused { error, .. }) => Err(error),
        }
    }

    /// The last trade of those whose quote says little. Without an answer the quote stands alone.
    fn add_last_trades(&self, quotes: &mut [Quote], now: Millis) {
        let thin: Vec<Symbol> =
            quotes.iter().filter(|quote| is_thin(quote)).map(|quote| quote.symbol.clone()).collect();
        if self.options.feed.partial().is_none() || thin.is_empty() {
            return;
        }
        let names: Vec<&Symbol> = thin.iter().take(QUOTES_MAX).collect();
        let read = self.ask_once(TRADES_PATH, &names, now).map_err(|error| error.0);
        let trades = read.and_then(|body| wire::trades(&body?, self.options.feed, now));
        self.warn_once("last trades", trades.as_ref().err());
        for (symbol, price) in trades.unwrap_or_default() {
            if let Some(quote) = quotes.iter_mut().find(|quote| quote.symbol == symbol) {
                quote.last = Some(price);
            }
        }
    }
}

/// Whether a refusal names this ticker.
fn names_it(why: &str, symbol: &Symbol) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/');
    why.split(|c| !of_name(c)).any(|word| word.trim_end_matches('.') == symbol.as_str())
}

/// Whether a quote lacks a side, or its sides are more than a hundredth apart.
fn is_thin(quote: &Quote) -> bool {
    match (quote.bid, quote.ask) {
        (Some(bid), Some(ask)) => ask.atoms().saturating_sub(bid.atoms()) > bid.atoms() / WIDE_PARTS,
        _ => true,
    }
}
