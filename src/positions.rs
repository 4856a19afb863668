//! Exposure: what the chain gave us less what the broker took off us, per ticker.
//!
//! Pure and derived: nothing here is ever "restored" or "reduced", it is a sum of rows that are only appended.
//! Invariant: `exposure = Σ counting fills + Σ executions`, exact; `want` is the whole lots of its opposite.

use crate::units::{Price, Shares, Side};

/// One ticker's sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Σ over counting fills, signed.
    pub fills: Shares,
    /// Σ over the broker's executions, BUY positive.
    pub executions: Shares,
    /// Price of the newest fill, for limits and the paper walk.
    pub last_price: Option<Price>,
}

impl Position {
    /// Signed exposure; `None` where the sum leaves the range (about 1.7e20 shares), which is a bug or a lie.
    #[must_use]
    pub fn exposure(&self) -> Option<Shares> {
        self.fills.checked_add(self.executions)
    }

    /// The order that would bring the exposure below one lot: `truncate_toward_zero(-exposure / lot) × lot`.
    #[must_use]
    pub fn want(&self, lot: Shares) -> Option<(Side, Shares)> {
        let want = self.exposure()?.negated().truncate_to(lot);
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
        Position { fills: fills.parse().unwrap(), executions: executions.parse().unwrap(), last_price: None }
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
    fn a_sum_out_of_range_wants_nothing() {
        let huge =
            Position { fills: Shares::from_atoms(i128::MAX), executions: Shares::whole(1), last_price: None };
        assert_eq!(huge.exposure(), None);
        assert_eq!(huge.want(Shares::whole(1)), None);
    }

    proptest! {
        #[test]
        fn hedging_the_want_leaves_less_than_a_lot(fills in -1_000_000_000_000_000_000_000_i128..1_000_000_000_000_000_000_000,
                                                   executions in -1_000_i64..1_000) {
            let lot = Shares::whole(1);
            let mut position = Position {
                fills: Shares::from_atoms(fills),
                executions: Shares::whole(executions),
                last_price: None,
            };
            if let Some((side, quantity)) = position.want(lot) {
                position.executions = position.executions.checked_add(side.signed(quantity)).unwrap();
            }
            prop_assert!(position.exposure().unwrap().magnitude() < lot);
            prop_assert_eq!(position.want(lot), None);
        }
    }
}
