//! What will become of an order, decided whole when it is entered: pure, exact, the same for the same seed.
//!
//! It knows nothing of files, of other orders or of the clock. Prices are whole ten-thousandths of a dollar
//! (`price_e4`): cents from $1 up, four decimals below, as the exchanges quote.
//!
//! Invariant: the steps ascend in time, their fills never add up to more than was ordered, and the last one ends the
//! order.

use super::Span;
use crate::units::{Millis, Price, Shares, Side};

/// Atoms of a [`Price`] in one ten-thousandth of a dollar.
const ATOMS_PER_E4: i128 = 100_000_000_000_000;
/// $1.00: prices below it are quoted in four decimals, from it up in cents.
const DOLLAR_E4: i64 = 10_000;
/// $1,000,000.00. Any taker can print a wei at any price onchain; a quote must stay a number that can be multiplied.
const PRICE_MAX_E4: i64 = 10_000_000_000;
/// $100.00: where the walk of a ticker starts when nobody has named a price.
pub(super) const PRICE_START_E4: i64 = 100 * DOLLAR_E4;
/// Hundredths of a percent by which the walk moves between two fills, at most, up or down.
const WALK_BPS_MAX: i64 = 5;
/// Pieces in which an order fills, at most.
const PIECES_MAX: i64 = 4;

/// A stream of numbers that depends on nothing but its two seeds (the splitmix64 finaliser over a counter).
pub(super) struct Draws(u64);

impl Draws {
    /// The stream of one order.
    pub(super) fn of(seed: u64, number: i64) -> Self {
        // One draw mixes the seed, so that neighbouring seeds do not share a stream shifted by the number.
        let mixed = Self(seed).draw();
        Self(mixed ^ number.cast_unsigned())
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `least ..= most` (`least` where `most` is not above it).
    pub(super) fn within(&mut self, least: i64, most: i64) -> i64 {
        let width = most.saturating_sub(least).saturating_add(1).max(1);
        // The shift leaves 63 bits, so the value is not negative.
        least + (self.draw() >> 1).cast_signed() % width
    }
}

/// What happens to an order at a step of its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Happening {
    /// The session it waited for has begun.
    Activate,
    /// The exchange has it.
    Acknowledge,
    /// A part of it, or the rest, trades.
    Fill {
        /// Whole shares, more than zero.
        quantity: i64,
        /// Ten-thousandths of a dollar per share.
        price_e4: i64,
    },
    /// Somebody cancels what is left.
    Cancel,
    /// The broker's second thoughts, in its words.
    Reject(String),
    /// The day is over.
    Expire,
}

/// One step of an order's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// When it happens.
    pub(super) at: Millis,
    /// What happens.
    pub(super) what: Happening,
}

/// How an order is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// Whole, if its day is long enough.
    Fill,
    /// Refused after it was received, with this reason.
    Reject(String),
    /// Canceled before its last piece; a single share cancels unfilled.
    PartialThenCancel,
}

/// What the plan depends on.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The side decides between ask and bid.
    pub(super) side: Side,
    /// Whole shares, more than zero.
    pub(super) quantity: i64,
    /// Middle of the market when it was entered.
    pub(super) mid_e4: i64,
    /// When it was entered.
    pub(super) entered_at: Millis,
    /// The opening it waits for; none where the session is open.
    pub(super) opens: Option<Millis>,
    /// The end of the session in which it trades; none where it never ends.
    pub(super) closes: Option<Millis>,
    /// How it is to end.
    pub(super) fate: Fate,
}

/// An order's life, and the middle of the market after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// What will happen, ascending in time.
    pub(super) steps: Vec<Step>,
    /// Where the next order without a price of its own starts.
    pub(super) mid_e4: i64,
}

/// Decides the life of the order `number`.
pub(super) fn plan(seed: u64, number: i64, entry: &Entry, acknowledge: Span, fill: Span) -> Plan {
    let mut draws = Draws::of(seed, number);
    let mut steps = Vec::new();
    let mut at = entry.entered_at;
    if let Some(opens) = entry.opens {
        at = opens;
        steps.push(Step { at, what: Happening::Activate });
    }
    at = at.plus(draws.within(acknowledge.least_ms, acknowledge.most_ms));
    let mut mid_e4 = entry.mid_e4;
    if let Fate::Reject(reason) = &entry.fate {
        steps.push(Step { at, what: Happening::Reject(reason.clone()) });
    } else {
        steps.push(Step { at, what: Happening::Acknowledge });
        let mut left = entry.quantity;
        let mut pieces = draws.within(1, PIECES_MAX).min(left);
        if entry.fate == Fate::PartialThenCancel {
            pieces = pieces.max(2).min(left);
        }
        for after in (0..pieces).rev() {
            at = at.plus(draws.within(fill.least_ms, fill.most_ms));
            let quantity = if after == 0 { left } else { draws.within(1, left - after) };
            left -= quantity;
            let what = if after == 0 && entry.fate == Fate::PartialThenCancel {
                Happening::Cancel
            } else {
                Happening::Fill { quantity, price_e4: quote_e4(entry.side, mid_e4) }
            };
            steps.push(Step { at, what });
            mid_e4 = moved_e4(mid_e4, draws.within(-WALK_BPS_MAX, WALK_BPS_MAX));
        }
    }
    if let Some(closes) = entry.closes {
        let planned = steps.len();
        steps.retain(|step| step.at < closes);
        if steps.len() < planned {
            steps.push(Step { at: closes, what: Happening::Expire });
        }
    }
    Plan { steps, mid_e4 }
}

/// What a market order pays (ask) or receives (bid): a cent from the middle, a ten-thousandth below a dollar.
pub(super) fn quote_e4(side: Side, mid_e4: i64) -> i64 {
    let half_spread = if mid_e4 >= DOLLAR_E4 { 100 } else { 1 };
    match side {
        Side::Buy => mid_e4 + half_spread,
        Side::Sell => (mid_e4 - half_spread).max(1),
    }
}

fn moved_e4(mid_e4: i64, bps: i64) -> i64 {
    // At most 10^10 × 5, far from overflow.
    on_tick_e4(mid_e4 + mid_e4 * bps / 10_000)
}

/// The nearest price that can be quoted.
fn on_tick_e4(price_e4: i64) -> i64 {
    let inside = price_e4.clamp(1, PRICE_MAX_E4);
    if inside >= DOLLAR_E4 { (inside + 50) / 100 * 100 } else { inside }
}

/// The nearest quotable price to a fill's price.
pub(super) fn mid_of_e4(reference: Price) -> i64 {
    let e4 = reference.atoms().saturating_add(ATOMS_PER_E4 / 2) / ATOMS_PER_E4;
    on_tick_e4(i64::try_from(e4).unwrap_or(PRICE_MAX_E4))
}

/// The exact price.
pub(super) fn price_of_e4(price_e4: i64) -> Price {
    // |i64| × 10^14 < 2^127.
    Price::from_atoms(i128::from(price_e4) * ATOMS_PER_E4)
}

/// Whole shares, where the quantity is a positive whole number of them that fits.
pub(super) fn whole_shares(quantity: Shares) -> Option<i64> {
    let one = Shares::whole(1);
    let whole = quantity.truncate_to(one) == quantity && quantity.is_positive();
    whole.then(|| i64::try_from(quantity.atoms() / one.atoms()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ACKNOWLEDGE: Span = Span { least_ms: 50, most_ms: 150 };
    const FILL: Span = Span { least_ms: 50, most_ms: 200 };

    #[test]
    fn prices_stay_on_the_tick() {
        let rows = [
            ("150.25", 1_502_500),
            ("150.256", 1_502_600),
            ("0.12345", 1_235),
            ("0.99996", 10_000),
            ("0.000000000000000001", 1),
            ("99999999999999999", PRICE_MAX_E4),
        ];
        for (text, e4) in rows {
            assert_eq!(mid_of_e4(text.parse().unwrap()), e4, "{text}");
        }
        assert_eq!(mid_of_e4(Price::from_atoms(i128::MAX)), PRICE_MAX_E4);
        assert_eq!(price_of_e4(227_299).to_string(), "22.7299");
        assert_eq!((quote_e4(Side::Buy, 1_000_000), quote_e4(Side::Sell, 1_000_000)), (1_000_100, 999_900));
        assert_eq!((quote_e4(Side::Buy, 1), quote_e4(Side::Sell, 1)), (2, 1));
    }

    #[test]
    fn only_whole_positive_quantities_are_shares() {
        for (text, shares) in
            [("1", Some(1)), ("0", None), ("-1", None), ("0.5", None), ("1.000000000000000001", None)]
        {
            assert_eq!(whole_shares(text.parse().unwrap()), shares, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_plan_ascends_ends_and_fills_no_more_than_ordered(
            seed: u64,
            number in 0_i64..1 << 50,
            quantity in 1_i64..2_000,
            mid_e4 in 1..=PRICE_MAX_E4,
            sell: bool,
            fate in 0..3,
            waits in proptest::option::of(1_i64..100_000),
            day_ms in proptest::option::of(1_i64..1_500),
        ) {
            let fate = match fate {
                0 => Fate::Fill,
                1 => Fate::Reject("no".into()),
                _ => Fate::PartialThenCancel,
            };
            let entered_at = Millis(1_000_000);
            let opens = waits.map(|ms| entered_at.plus(ms));
            let closes = day_ms.map(|ms| opens.unwrap_or(entered_at).plus(ms));
            let side = if sell { Side::Sell } else { Side::Buy };
            let entry = Entry { side, quantity, mid_e4, entered_at, opens, closes, fate: fate.clone() };
            let plan = plan(seed, number, &entry, ACKNOWLEDGE, FILL);
            prop_assert_eq!(&plan, &super::plan(seed, number, &entry, ACKNOWLEDGE, FILL));
            let times: Vec<_> = plan.steps.iter().map(|step| step.at).collect();
            prop_assert!(times.is_sorted());
            let filled: i64 = plan.steps.iter().map(|step| match step.what {
                Happening::Fill { quantity, price_e4 } => {
                    assert!(quantity > 0 && price_e4 > 0);
                    quantity
                }
                _ => 0,
            }).sum();
            prop_assert!(filled <= quantity);
            let last = plan.steps.last().map(|step| &step.what);
            let ends_well = match (last, fate) {
                (Some(Happening::Expire), _) => closes == times.last().copied() && filled < quantity,
                (Some(Happening::Fill { .. }), Fate::Fill) => filled == quantity,
                (Some(Happening::Reject(_)), Fate::Reject(_)) => filled == 0,
                (Some(Happening::Cancel), Fate::PartialThenCancel) =>
                    filled < quantity && (quantity == 1 || filled > 0),
                _ => false,
            };
            prop_assert!(ends_well, "{:?}", plan.steps);
            prop_assert!(closes.is_some() || times.last().unwrap().since(opens.unwrap_or(entered_at)) <= 1_000);
        }
    }
}
