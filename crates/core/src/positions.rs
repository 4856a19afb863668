//! Exposure: what the chain gave us less what the broker took off us, per ticker.
//!
//! Pure and derived: nothing here is ever "restored" or "reduced", it is a sum of rows that are only appended.
//! Invariant: `exposure = Σ counting fills + Σ executions`, exact; `want` is the whole lots of its opposite.

use crate::units::{Cash, Price, Shares, Side};

/// Beyond this many shares the traded sums are halved, so that old prices fade.
pub const TRADED_SHARES_MAX: Shares = Shares::from_atoms(100 * crate::units::ONE);
/// Fills of less than a thousandth of a share say nothing of the price: where there is nothing else yet, a dollar
/// against one wei would be 1e18 dollars a share.
const TRADED_SHARES_MIN: Shares = Shares::from_atoms(crate::units::ONE / 1_000);

/// The slack is at most this part of a lot, however many fills there were.
const SLACK_PART: i128 = 1_000;

/// One ticker's sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Σ over counting fills, signed.
    pub fills: Shares,
    /// Σ over the broker's executions, BUY positive.
    pub executions: Shares,
    /// Σ over counting fills of what each may be short of the truth (`Fill::slack`); zero or more.
    pub slack: Shares,
    /// Dollars of the newest fills, against `traded_shares`.
    pub traded_cash: Cash,
    /// Shares of the newest fills.
    pub traded_shares: Shares,
}

impl Position {
    /// Signed exposure; `None` where the sum leaves the range (about 1.7e20 shares), which is a bug or a lie.
    #[must_use]
    pub fn exposure(&self) -> Option<Shares> {
        self.fills.checked_add(self.executions)
    }

    /// Takes a fill into the reference price. Any taker can print one wei at any price, so a single fill is no
    /// reference: weighted by shares, moving the price costs the taker as much as it moves.
    pub fn traded(&mut self, cash: Cash, shares: Shares) {
        if shares < TRADED_SHARES_MIN {
            return;
        }
        let sums = (self.traded_cash.checked_add(cash), self.traded_shares.checked_add(shares));
        if let (Some(cash), Some(shares)) = sums {
            (self.traded_cash, self.traded_shares) = (cash, shares);
        }
        while self.traded_shares > TRADED_SHARES_MAX {
            self.traded_cash = Cash::from_atoms(self.traded_cash.atoms() / 2);
            self.traded_shares = Shares::from_atoms(self.traded_shares.atoms() / 2);
        }
    }

    /// The share-weighted price of the newest fills, for the limits and the paper walk.
    #[must_use]
    pub fn reference(&self) -> Option<Price> {
        Price::of(self.traded_cash, self.traded_shares)
    }

    /// The order that would bring the exposure below one lot: `truncate_toward_zero(-exposure / lot) × lot`. A lot
    /// that lacks no more than the slack is full; the rest stays in the exposure.
    #[must_use]
    pub fn want(&self, lot: Shares) -> Option<(Side, Shares)> {
        let wanted = self.exposure()?.negated();
        let slack = self.slack.min(Shares::from_atoms(lot.atoms() / SLACK_PART));
        let slack = if wanted.is_positive() { slack } else { slack.negated() };
        let want = wanted.checked_add(slack)?.truncate_to(lot);
        match want {
            zero if zero.is_zero() => None,
            buy if buy.is_positive() => Some((Side::Buy, buy)),
            sell => Some((Side::Sell, sell.magnitude())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(fills: &str, executions: &str) -> Position {
        Position {
            fills: fills.parse().unwrap(),
            executions: executions.parse().unwrap(),
            ..Position::default()
        }
    }

    #[test]
    fn whole_lots_of_the_opposite() {
        let lot = Shares::whole(1);
        let rows = [
            ("0", "0", None),
            ("0.999999999999999999", "0", None),
            ("1", "0", Some((Side::Sell, "1"))),
            ("2.7", "-1", Some((Side::Sell, "1"))),
            ("-1.21", "0", Some((Side::Buy, "1"))),
            ("-3.5", "3", None),
            ("1", "-3", Some((Side::Buy, "2"))),
        ];
        for (fills, executions, want) in rows {
            let want = want.map(|(side, shares): (Side, &str)| (side, shares.parse().unwrap()));
            assert_eq!(position(fills, executions).want(lot), want, "{fills} {executions}");
        }
    }

    #[test]
    fn a_lot_that_lacks_no_more_than_the_slack_is_full() {
        let (lot, sell, buy) = (Shares::whole(1), Some(Side::Sell), Some(Side::Buy));
        let rows = [
            ("16.999999999999999998", 10, sell, "17"),
            ("16.999999999999999998", 2, sell, "17"),
            ("16.999999999999999998", 1, sell, "16"),
            ("-16.999999999999999998", 2, buy, "17"),
            ("17", 10, sell, "17"),
            ("0", 10, None, "0"),
            ("-0.000000000000000002", 10, None, "0"),
            // Never more than a thousandth of a lot.
            ("0.999", i128::MAX, sell, "1"),
            ("0.998", i128::MAX, None, "0"),
        ];
        for (fills, slack, side, shares) in rows {
            let position = Position { slack: Shares::from_atoms(slack), ..position(fills, "0") };
            let want = side.map(|side| (side, shares.parse().unwrap()));
            assert_eq!(position.want(lot), want, "{fills} with {slack}");
        }
    }

    #[test]
    fn a_sum_out_of_range_wants_nothing() {
        let huge = Position {
            fills: Shares::from_atoms(i128::MAX),
            executions: Shares::whole(1),
            ..Position::default()
        };
        assert_eq!(huge.exposure(), None);
        assert_eq!(huge.want(Shares::whole(1)), None);
    }

    #[test]
    fn one_wei_at_any_price_hardly_moves_the_reference() {
        let mut position = Position::default();
        position.traded("400".parse().unwrap(), "2".parse().unwrap());
        position.traded("1".parse().unwrap(), Shares::from_atoms(1));
        assert_eq!(position.reference().unwrap().to_string(), "200");
        position.traded("1".parse().unwrap(), "0.001".parse().unwrap());
        assert!(position.reference().unwrap() < "201".parse().unwrap());
        for _ in 0..10_000 {
            position.traded("300".parse().unwrap(), "1".parse().unwrap());
        }
        assert!(position.reference().unwrap() > "299".parse().unwrap());
        assert!(position.traded_shares <= TRADED_SHARES_MAX);
    }

    #[test]
    fn the_reference_takes_a_thousandth_of_a_share_and_fades_beyond_a_hundred() {
        let traded = |deals: &[(&str, &str)]| {
            let mut position = Position::default();
            for (cash, shares) in deals {
                position.traded(cash.parse().unwrap(), shares.parse().unwrap());
            }
            (position.traded_cash.to_string(), position.traded_shares.to_string())
        };
        let sums = |cash: &str, shares: &str| (cash.to_owned(), shares.to_owned());
        assert_eq!(traded(&[("1", "0.000999999999999999")]), sums("0", "0"));
        assert_eq!(traded(&[("1", "0.001")]), sums("1", "0.001"));
        assert_eq!(traded(&[("5000", "100")]), sums("5000", "100"), "exactly a hundred is kept");
        assert_eq!(traded(&[("5000", "100"), ("1", "1")]), sums("2500.5", "50.5"));
        assert_eq!(traded(&[("1000", "401")]), sums("125", "50.125"), "halved until it fits");
    }

    proptest! {
        #[test]
        fn hedging_the_want_leaves_less_than_a_lot(fills in -1_000_000_000_000_000_000_000_i128..1_000_000_000_000_000_000_000,
                                                   executions in -1_000_i64..1_000) {
            let lot = Shares::whole(1);
            let mut position = Position {
                fills: Shares::from_atoms(fills),
                executions: Shares::whole(executions),
                ..Position::default()
            };
            if let Some((side, quantity)) = position.want(lot) {
                position.executions = position.executions.checked_add(side.signed(quantity)).unwrap();
            }
            prop_assert!(position.exposure().unwrap().magnitude() < lot);
            prop_assert_eq!(position.want(lot), None);
        }
    }
}
