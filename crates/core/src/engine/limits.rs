//! How much of what is wanted may leave: the limits, and what the broker takes (`protocol.md` 2, 4).

use super::Engine;
use super::wait::Wait;
use crate::positions::Position;
use crate::units::{Cash, Price, Shares, Side, Symbol};

impl Engine {
    /// The order that a position wants and the broker would take.
    pub(super) fn wanted(&self, symbol: &Symbol, position: &Position) -> Option<(Side, Shares)> {
        let (side, shares) = position.want(self.policy.profile.lot)?;
        self.takes(symbol, shares, position.reference()).map(|shares| (side, shares))
    }

    /// The tickers that want an order, ascending.
    pub(super) fn all_wanted(&self) -> impl Iterator<Item = (&Symbol, Side, Shares)> {
        self.exposure.open().iter().filter_map(|symbol| {
            let (side, shares) = self.wanted(symbol, self.exposure.get(symbol)?)?;
            Some((symbol, side, shares))
        })
    }

    /// Where fills were so small that they say nothing of the price, the market does.
    pub(super) fn takes(&self, symbol: &Symbol, quantity: Shares, paid: Option<Price>) -> Option<Shares> {
        let price = paid.or_else(|| self.market.price(symbol));
        taken(quantity, price, self.policy.profile.fraction_notional_min)
    }

    /// Cuts to the caps, or says which one is used up. The orders that count are those of both sides of now: after the clock
    /// was set back, a minute is not as long as it was wrong.
    pub(super) fn cap(&self, shares: Shares, price: Option<Price>) -> Result<Shares, Wait> {
        let limits = &self.policy.limits;
        // Every attempt is one of the minute's; of the day's orders and dollars only what the broker may have.
        if self.orders.sent_this_minute() >= limits.max_orders_per_minute.into() {
            return Err(format!("MAX_ORDERS_PER_MINUTE={} is used up", limits.max_orders_per_minute).into());
        }
        if self.orders.sent_today() >= limits.max_orders_per_day.into() {
            let why = format!("MAX_ORDERS_PER_DAY={} is used up", limits.max_orders_per_day);
            return Err(Wait::for_person(why, "set MAX_ORDERS_PER_DAY higher and start the bot again"));
        }
        let mut quantity = shares.min(limits.max_order_shares);
        if let Some(price) = price {
            let spent = self.orders.spent_today();
            let spent = spent.ok_or_else(|| Wait::from("the day's notional leaves the range"))?;
            let left = limits.max_daily_notional.checked_sub(spent).unwrap_or(Cash::ZERO);
            quantity = quantity.min(affordable(limits.max_order_notional.min(left), price));
        }
        let quantity = quantity.truncate_to(self.policy.profile.lot);
        if quantity.is_positive() {
            Ok(quantity)
        } else {
            let why =
                "one lot is beyond MAX_ORDER_SHARES, MAX_ORDER_NOTIONAL or what MAX_DAILY_NOTIONAL leaves";
            Err(Wait::for_person(why, "set the limit that is used up higher and start the bot again"))
        }
    }
}

/// What of a quantity a broker takes in one order: a fraction that is worth less than `least` waits, and the whole
/// shares of it go. Without a price nobody knows what a fraction is worth, and it waits for one.
fn taken(quantity: Shares, price: Option<Price>, least: Option<Cash>) -> Option<Shares> {
    let whole = quantity.truncate_to(Shares::whole(1));
    let worth = price.and_then(|price| price.times(quantity));
    match (least, worth) {
        (Some(least), worth) if whole != quantity && worth.is_none_or(|worth| worth < least) => {
            Some(whole).filter(|whole| whole.is_positive())
        }
        _ => Some(quantity),
    }
}

/// How many shares `cash` buys at `price`; more than fit are as many as fit.
fn affordable(cash: Cash, price: Price) -> Shares {
    if !cash.is_positive() {
        return Shares::ZERO;
    }
    let most = Shares::from_atoms(i128::MAX);
    Price::of(cash, Shares::from_atoms(price.atoms())).map_or(most, |n| Shares::from_atoms(n.atoms()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_that_is_worth_too_little_waits() {
        let rows = [
            ("0.01", "100", Some("1.1"), None),
            ("0.011", "100", Some("1.1"), Some("0.011")),
            ("0.000000001", "100", Some("1.1"), None),
            ("3.004", "0.2", Some("1.1"), Some("3")),
            ("3", "0.2", Some("1.1"), Some("3")),
            ("0.01", "100", None, Some("0.01")),
        ];
        for (quantity, price, least, takes) in rows {
            let least = least.map(|least| least.parse().unwrap());
            let told = taken(quantity.parse().unwrap(), Some(price.parse().unwrap()), least);
            assert_eq!(told.map(|shares| shares.to_string()).as_deref(), takes, "{quantity} at {price}");
        }
        let unpriced = |quantity: &str| taken(quantity.parse().unwrap(), None, Some(Cash::whole(1)));
        assert_eq!(unpriced("0.01"), None, "nobody knows what it is worth");
        assert_eq!(unpriced("2.01"), Some(Shares::whole(2)));
    }

    #[test]
    fn cash_buys_whole_and_broken_shares() {
        let shares = affordable("250".parse().unwrap(), "100".parse().unwrap());
        assert_eq!(shares.to_string(), "2.5");
        assert_eq!(affordable(Cash::ZERO, "1".parse().unwrap()), Shares::ZERO);
        let nearly_free = affordable(Cash::whole(250_000), Price::from_atoms(1));
        assert!(nearly_free > Shares::whole(1_000_000), "a price of next to nothing is no cap");
    }
}
