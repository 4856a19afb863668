//! Whether the fills' price is the market's (`protocol.md` 4).
//!
//! Any taker can print a fill at any price, and a pool that lost its mind fills at one that nobody pays. The quote is
//! read in the background and held against what the last hour's fills paid, weighted by shares; orders wait while the
//! two are too far apart, and after five minutes a person looks.

use std::collections::{BTreeMap, BTreeSet};

use super::broker_link::Read;
use super::sums::{Entry, Within};
use super::{Engine, StepOutput};
use crate::fills::Fill;
use crate::hedges::HaltKind;
use crate::ports::broker::{Quote, ReadError};
use crate::ports::records::{RECENT_MS, RecentFill};
use crate::units::{Cash, FillId, Millis, Price, Shares, Side, Symbol};

/// A quote older than this says nothing.
const QUOTE_MS_MAX: i64 = 30_000;
/// After so long a person looks.
const FAR_MS_MAX: i64 = 5 * 60_000;
/// 10,000 basis points are the whole.
const WHOLE_BPS: u32 = 10_000;

/// The newest quotes, and what the last hour's fills paid.
#[derive(Debug, Default)]
pub(super) struct Market {
    /// The newest quotes, and when their reading began.
    quotes: BTreeMap<Symbol, (Millis, Quote)>,
    /// When the last reading of them that was answered began.
    quoted_at: Option<Millis>,
    /// How many tickers were asked for then; none is ever forgotten.
    asked_of: usize,
    /// Standing fills of the last hour: their tickers, and when they were traded.
    recent: BTreeMap<FillId, (Symbol, Millis)>,
    /// The same by time, and by ticker with their sums.
    by_time: BTreeSet<(Millis, FillId)>,
    paid: BTreeMap<Symbol, Within<FillId>>,
    /// Since when the market is too far from the fills.
    far_since: BTreeMap<Symbol, Millis>,
}

impl Market {
    /// From the ledger's fills of the last hour.
    pub(super) fn new(recent: Vec<RecentFill>) -> Self {
        let mut market = Self::default();
        for RecentFill { id, symbol, at, cash, shares } in recent {
            market.note_traded(id, &symbol, at, cash, shares);
        }
        market
    }

    /// Whether a ticker is new since the quotes were last asked for.
    pub(super) const fn lacks(&self, tickers: usize) -> bool {
        self.asked_of != tickers
    }

    /// The quotes of so many tickers are asked for.
    pub(super) const fn ask_of(&mut self, tickers: usize) {
        self.asked_of = tickers;
    }

    /// What the market last said a share costs, however long ago: for what a fraction is about worth.
    pub(super) fn price(&self, symbol: &Symbol) -> Option<Price> {
        let (_, quote) = self.quotes.get(symbol)?;
        quote.last.or(quote.bid).or(quote.ask)
    }

    /// A fill came in, or came back. One of less than a dollar says nothing of the price.
    fn note_traded(&mut self, id: FillId, symbol: &Symbol, at: Millis, cash: Cash, shares: Shares) {
        if cash < Cash::whole(1) {
            return;
        }
        self.forget_traded(id);
        self.recent.insert(id, (symbol.clone(), at));
        self.by_time.insert((at, id));
        let entry = Entry { amounts: [cash.atoms(), shares.atoms()], counts: true };
        let paid = self.paid.entry(symbol.clone()).or_insert_with(|| Within::new(RECENT_MS + 1));
        paid.insert(at, id, entry);
    }

    /// It left the chain, or is older than an hour.
    pub(super) fn forget_traded(&mut self, id: FillId) {
        let Some((symbol, at)) = self.recent.remove(&id) else { return };
        self.by_time.remove(&(at, id));
        if let Some(paid) = self.paid.get_mut(&symbol) {
            paid.remove(at, &id);
            if paid.is_empty() {
                self.paid.remove(&symbol);
            }
        }
    }

    /// Forgets what is older than an hour.
    pub(super) fn prune(&mut self, now: Millis) {
        while let Some((at, id)) = self.by_time.first().copied()
            && now.since(at) > RECENT_MS
        {
            self.forget_traded(id);
        }
    }

    /// What the last hour's fills paid per share.
    fn paid(&mut self, symbol: &Symbol, now: Millis) -> Option<Price> {
        let paid = self.paid.get_mut(symbol)?;
        paid.move_to(now);
        Price::of(Cash::from_atoms(paid.first()?), Shares::from_atoms(paid.second()?))
    }
}

impl Engine {
    /// A quote says nothing of whether the broker's books answer, so it opens and closes no gate but its own.
    pub(super) fn read_quotes(&mut self, begun_at: Millis, answer: Result<Vec<Quote>, ReadError>) {
        self.link.quotes.answered();
        let Some(quotes) = self.link.told(Read::Quotes, answer) else { return };
        self.market.quoted_at = Some(begun_at);
        for quote in quotes {
            self.market.quotes.insert(quote.symbol.clone(), (begun_at, quote));
        }
        // What a fraction is worth may have changed, of any ticker.
        self.agenda.look_at_all();
    }

    /// A fill came in, or came back.
    pub(super) fn note_traded(&mut self, fill: &Fill) {
        if self.policy.profile.quotes {
            let at = fill.traded_at(self.now);
            self.market.note_traded(fill.id, &fill.symbol, at, fill.cash, fill.shares);
        }
    }

    /// Whether the ticker may be ordered at the market's price; if not, why.
    pub(super) fn priced(&mut self, symbol: &Symbol, side: Side, out: &mut StepOutput) -> Result<(), String> {
        if !self.policy.profile.quotes {
            return Ok(());
        }
        let Some(paid) = self.market.paid(symbol, self.now) else {
            self.market.far_since.remove(symbol);
            return Ok(());
        };
        let fresh = |(begun_at, quote): &&(Millis, Quote)| {
            // By our clock, and by the broker's: it may be the last quote of yesterday.
            [self.now.since(*begun_at), self.now.since(quote.at)].iter().all(|age| age.abs() <= QUOTE_MS_MAX)
        };
        let Some((_, quote)) = self.market.quotes.get(symbol).filter(fresh) else {
            let answered = self.market.quoted_at.is_some_and(|at| self.now.since(at).abs() <= QUOTE_MS_MAX);
            let why = match (self.link.fails(Read::Quotes), answered, self.market.quotes.contains_key(symbol))
            {
                (false, true, false) => ": the broker sends none of it".to_owned(),
                _ => self.link.because(Read::Quotes),
            };
            return Err(format!("there is no quote that is younger than 30 s{why}"));
        };
        if let Some(why) = &quote.missing {
            return Err(format!("the broker does not quote it: {why}"));
        }
        if !quote.tradable {
            return Err("the broker says that the share does not trade now".into());
        }
        let feed = quote.partial_feed;
        let Some(market) = market(quote, side, paid, self.policy.max_price_deviation_bps) else {
            let wanted = if side == Side::Buy { "ask" } else { "bid" };
            return Err(match feed {
                Some(feed) => format!(
                    "the feed {feed} has no {wanted} and no trade of the last minute; it is not the whole market"
                ),
                None => format!("the quote has no {wanted}"),
            });
        };
        if !is_far(market, paid, self.policy.max_price_deviation_bps) {
            self.market.far_since.remove(symbol);
            return Ok(());
        }
        let who = feed.map_or_else(
            || "the market says".to_owned(),
            |feed| format!("the feed {feed}, which is not the whole market, says"),
        );
        let why = format!(
            "{who} {market} and the last hour's fills {paid}: more than MAX_PRICE_DEVIATION_BPS={} apart",
            self.policy.max_price_deviation_bps
        );
        let now = self.now;
        let since = match self.market.far_since.get(symbol) {
            Some(since) => *since,
            None => {
                out.effects.push(super::Effect::Alert(format!("{symbol} waits: {why}")));
                self.market.far_since.insert(symbol.clone(), now);
                now
            }
        };
        if now.since(since) >= FAR_MS_MAX {
            self.market.far_since.remove(symbol);
            self.halts.raise(Some(symbol.clone()), HaltKind::Price, why.clone(), "engine".into(), out);
        }
        Err(why)
    }
}

/// What an order would trade at, as far as the quote says. Of a part of the market a quote that lacks a side, or whose
/// sides are far apart, is not the best there is: there the last trade says more (`protocol.md` 4).
fn market(quote: &Quote, side: Side, paid: Price, bps: u32) -> Option<Price> {
    let own = match side {
        Side::Buy => quote.ask,
        Side::Sell => quote.bid,
    };
    let thin = match (quote.bid, quote.ask) {
        (Some(bid), Some(ask)) => is_far(ask, bid, bps),
        _ => true,
    };
    let doubtful = quote.partial_feed.is_some() && thin && own.is_none_or(|own| is_far(own, paid, bps));
    if doubtful { quote.last.or(own) } else { own.or(quote.last) }
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
    use alloy::primitives::{B256, U256};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_the_last_hour_paid_is_what_a_walk_over_its_fills_finds(
            changes in prop::collection::vec((0_u8..5, 0_u64..9, 0_u8..3, 0_i64..9_000_000, 0_i64..500), 1..60)
        ) {
            let mut market = Market::default();
            let mut all: BTreeMap<FillId, (Symbol, Millis, Cash, Shares)> = BTreeMap::new();
            let mut now = Millis(0);
            for (what, n, ticker, at, cash) in changes {
                let symbol: Symbol = format!("T{ticker}").parse().unwrap();
                let id = FillId {
                    chain_id: 1,
                    block_hash: B256::ZERO,
                    tx_hash: B256::from(U256::from(n)),
                    log_index: n,
                    side: Side::Buy,
                };
                match what {
                    0 | 1 => {
                        let (cash, shares) = (Cash::whole(cash), Shares::whole(1));
                        market.note_traded(id, &symbol, Millis(at), cash, shares);
                        if cash >= Cash::whole(1) {
                            all.insert(id, (symbol.clone(), Millis(at), cash, shares));
                        }
                    }
                    2 => {
                        market.forget_traded(id);
                        all.remove(&id);
                    }
                    3 => {
                        market.prune(Millis(at));
                        all.retain(|_, (_, traded, ..)| Millis(at).since(*traded) <= RECENT_MS);
                    }
                    _ => now = Millis(at),
                }
                let of_it = all.values().filter(|(of, at, ..)| *of == symbol && now.since(*at).abs() <= RECENT_MS);
                let (cash, shares) = of_it.fold((0, 0), |(cash, shares), (_, _, more, of)| {
                    (cash + more.atoms(), shares + of.atoms())
                });
                let walked = Price::of(Cash::from_atoms(cash), Shares::from_atoms(shares));
                prop_assert_eq!(market.paid(&symbol, now), walked);
            }
        }
    }

    #[test]
    fn a_thin_quote_of_a_part_of_the_market_gives_way_to_its_last_trade() {
        let price = |text: &str| (text != "-").then(|| text.parse::<Price>().unwrap());
        // Of the whole market, and of a part: bid, ask, last, and what a BUY and a SELL look at.
        let rows = [
            ("99.9", "100.1", "100", ["100.1", "99.9"], ["100.1", "99.9"]),
            ("96", "110", "100", ["110", "96"], ["100", "96"]),
            ("80", "110", "100", ["110", "80"], ["100", "100"]),
            ("80", "110", "-", ["110", "80"], ["110", "80"]),
            ("99.9", "-", "100.2", ["100.2", "99.9"], ["100.2", "99.9"]),
            ("-", "-", "-", ["-", "-"], ["-", "-"]),
            // Narrow and far is the market that moved.
            ("119.9", "120.1", "100", ["120.1", "119.9"], ["120.1", "119.9"]),
        ];
        for (bid, ask, last, whole, part) in rows {
            for (partial_feed, expected) in [(None, whole), (Some("iex"), part)] {
                let quote = Quote {
                    symbol: "TSLA".parse().unwrap(),
                    bid: price(bid),
                    ask: price(ask),
                    last: price(last),
                    at: Millis(0),
                    tradable: true,
                    partial_feed,
                    missing: None,
                };
                let told =
                    [Side::Buy, Side::Sell].map(|side| market(&quote, side, price("100").unwrap(), 500));
                assert_eq!(told, expected.map(price), "{bid} {ask} {last} {partial_feed:?}");
            }
        }
    }

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
