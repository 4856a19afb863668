//! Whether the fills' price is the market's (`protocol.md` 4).
//!
//! Any taker can print a fill at any price, and a pool that lost its mind fills at one that nobody pays. The quote is
//! read in the background and held against what the last hour's fills paid, weighted by shares; orders wait while the
//! two are too far apart, and after five minutes a person looks.

use super::{Engine, Out};
use crate::broker::{Quote, ReadError};
use crate::fills::Fill;
use crate::hedges::HaltKind;
use crate::units::{Cash, Millis, Price, Shares, Side, Symbol};

/// A quote older than this says nothing.
const QUOTE_MS_MAX: i64 = 30_000;
/// Fills older than this say nothing of a price.
const RECENT_MS: i64 = 3_600_000;
/// After so long a person looks.
const FAR_MS_MAX: i64 = 5 * 60_000;
/// 10,000 basis points are the whole.
const WHOLE_BPS: u32 = 10_000;

/// A fill as far as its price matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Traded {
    pub(super) symbol: Symbol,
    pub(super) at: Millis,
    pub(super) cash: Cash,
    pub(super) shares: Shares,
}

impl Engine {
    /// A quote says nothing of whether the broker's books answer, so it opens and closes no gate but its own.
    pub(super) fn read_quotes(&mut self, begun_at: Millis, answer: Result<Vec<Quote>, ReadError>) {
        if let Some(asked) = &mut self.asked_quotes {
            asked.returned();
        }
        for quote in answer.unwrap_or_default() {
            self.quotes.insert(quote.symbol.clone(), (begun_at, quote));
        }
    }

    /// What the market last said a share costs, however long ago: for what a fraction is about worth.
    pub(super) fn market_price(&self, symbol: &Symbol) -> Option<Price> {
        let (_, quote) = self.quotes.get(symbol)?;
        quote.last.or(quote.bid).or(quote.ask)
    }

    /// A fill came in, or came back.
    pub(super) fn note_traded(&mut self, fill: &Fill) {
        if !self.policy.profile.quotes || fill.cash < Cash::whole(1) {
            return;
        }
        let (symbol, at) = (fill.symbol.clone(), fill.traded_at(self.now));
        self.recent.insert(fill.id, Traded { symbol, at, cash: fill.cash, shares: fill.shares });
    }

    pub(super) fn prune_traded(&mut self) {
        let now = self.now;
        self.recent.retain(|_, traded| now.since(traded.at) <= RECENT_MS);
    }

    /// What the last hour's fills paid per share.
    fn paid(&self, symbol: &Symbol) -> Option<Price> {
        let of_last_hour =
            |traded: &&Traded| traded.symbol == *symbol && self.now.since(traded.at).abs() <= RECENT_MS;
        let (cash, shares) = self.recent.values().filter(of_last_hour).try_fold(
            (Cash::ZERO, Shares::ZERO),
            |(cash, shares), traded| {
                Some((cash.checked_add(traded.cash)?, shares.checked_add(traded.shares)?))
            },
        )?;
        Price::of(cash, shares)
    }

    /// Whether the ticker may be ordered at the market's price; if not, why.
    pub(super) fn priced(&mut self, symbol: &Symbol, side: Side, out: &mut Out) -> Result<(), String> {
        if !self.policy.profile.quotes {
            return Ok(());
        }
        let Some(paid) = self.paid(symbol) else {
            self.far_since.remove(symbol);
            return Ok(());
        };
        let fresh = |(begun_at, quote): &&(Millis, Quote)| {
            // By our clock, and by the broker's: it may be the last quote of yesterday.
            [self.now.since(*begun_at), self.now.since(quote.at)].iter().all(|age| age.abs() <= QUOTE_MS_MAX)
        };
        let Some((_, quote)) = self.quotes.get(symbol).filter(fresh) else {
            return Err("there is no quote that is younger than 30 s".into());
        };
        if !quote.tradable {
            return Err("the broker says that the share does not trade now".into());
        }
        let market = match side {
            Side::Buy => quote.ask.or(quote.last),
            Side::Sell => quote.bid.or(quote.last),
        };
        let Some(market) = market else { return Err("the quote has no price".into()) };
        if !is_far(market, paid, self.policy.max_price_deviation_bps) {
            self.far_since.remove(symbol);
            return Ok(());
        }
        let why = format!(
            "the market says {market} and the last hour's fills {paid}: more than MAX_PRICE_DEVIATION_BPS={} apart",
            self.policy.max_price_deviation_bps
        );
        let now = self.now;
        let since = match self.far_since.get(symbol) {
            Some(since) => *since,
            None => {
                out.effects.push(super::Effect::Alert(format!("{symbol} waits: {why}")));
                self.far_since.insert(symbol.clone(), now);
                now
            }
        };
        if now.since(since) >= FAR_MS_MAX {
            self.far_since.remove(symbol);
            self.halt(Some(symbol.clone()), HaltKind::Price, why.clone(), "engine".into(), out);
        }
        Err(why)
    }
}

/// Whether `market` is more than `bps` basis points of `paid` away from it. What leaves the range is far.
fn is_far(market: Price, paid: Price, bps: u32) -> bool {
    let apart = (market.atoms().checked_sub(paid.atoms())).map(i128::unsigned_abs);
    let apart = apart.and_then(|apart| apart.checked_mul(u128::from(WHOLE_BPS)));
    let allowed = paid.atoms().unsigned_abs().checked_mul(u128::from(bps));
    !matches!((apart, allowed), (Some(apart), Some(allowed)) if apart <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_is_more_than_the_basis_points_of_what_was_paid() {
        let rows =
            [("100", "105", false), ("100", "105.01", true), ("100", "95", false), ("100", "94.99", true)];
        for (paid, market, far) in rows {
            assert_eq!(is_far(market.parse().unwrap(), paid.parse().unwrap(), 500), far, "{paid} {market}");
        }
        assert!(is_far(Price::from_atoms(i128::MAX), Price::from_atoms(1), 500));
    }
}
