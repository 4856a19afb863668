//! What the broker of a trial is like: one of the three that the program knows, with what it takes and what it does not.
//!
//! It refuses to know orders. Invariant: [`Venue::profile`] says to the engine what the real client of that broker says.

use super::dice::Dice;
use counterfill_broker::alpaca::FRACTION_NOTIONAL_MIN;
use counterfill_broker::{Profile, alpaca};
use counterfill_core::units::{ONE, Shares};

/// What the broker writes on our orders.
pub(crate) const TAG: &str = "TA_trial";
/// What a fraction is worth at least: a dollar, of shares that cost a hundred in every deal of a trial.
const FRACTION_MIN: i128 = ONE / 100;
const WHOLE: Shares = Shares::from_atoms(ONE);

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum House {
    /// Knows orders by our names; one order may cross zero.
    Paper,
    /// Knows no names of ours.
    Schwab,
    /// Knows orders by our names, and takes fractions of a share, though none that is short.
    Alpaca,
}

/// The broker's rules.
#[derive(Debug, Clone)]
pub(crate) struct Venue {
    pub(crate) house: House,
    /// `LOT`.
    pub(crate) lot: Shares,
    /// `ALLOW_SHORT`.
    pub(crate) allow_short: bool,
}

impl Venue {
    pub(crate) const PAPER: Self = Self { house: House::Paper, lot: WHOLE, allow_short: true };
    pub(crate) const SCHWAB: Self = Self { house: House::Schwab, lot: WHOLE, allow_short: true };

    /// Alpaca with the finest lot, without short sales.
    pub(crate) const ALPACA: Self = Self { house: House::Alpaca, lot: alpaca::LOT, allow_short: false };

    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let venues = [(20, Self::PAPER.house), (45, Self::SCHWAB.house), (35, Self::ALPACA.house)];
        match dice.weighted(&venues).unwrap_or(House::Paper) {
            House::Paper => Self::PAPER,
            House::Schwab => Self { allow_short: dice.chance(75), ..Self::SCHWAB },
            // Short sales are of whole shares.
            House::Alpaca if dice.chance(40) => Self { lot: WHOLE, allow_short: true, ..Self::ALPACA },
            House::Alpaca => {
                let atoms = dice.one_of(&[alpaca::LOT.atoms(), ONE / 1_000, ONE / 4, ONE]).unwrap_or(ONE);
                Self { lot: Shares::from_atoms(atoms), ..Self::ALPACA }
            }
        }
    }

    /// Whether it knows orders by our names, and refuses a second one.
    pub(crate) fn client_ids(&self) -> bool {
        self.house != House::Schwab
    }

    /// Whether one order may take a position from long to short or back.
    pub(crate) fn crosses_zero(&self) -> bool {
        self.house == House::Paper
    }

    /// The smallest order that it takes, in 1e-18.
    pub(crate) fn order_min(&self) -> i128 {
        if self.lot.atoms() < ONE { self.lot.atoms().max(FRACTION_MIN) } else { self.lot.atoms() }
    }

    /// What is left of a ticker at rest is less than this, in 1e-18: a lot, and where that is a fraction, the lots that are
    /// worth what the client asks for, with a thousandth for a price that was rounded.
    pub(crate) fn left_max(&self) -> i128 {
        let lot = self.lot.atoms();
        if lot < ONE {
            let worth = FRACTION_NOTIONAL_MIN.atoms() / 100;
            let lots = (worth + worth / 1_000 + lot - 1) / lot;
            lots * lot
        } else {
            lot
        }
    }

    /// Whether nothing can be sold though something should be: it would be short.
    pub(crate) fn lacks_shares(&self, left: i128, held: i128) -> bool {
        !self.allow_short && left > 0 && held < self.left_max()
    }

    /// What the engine is told.
    pub(crate) fn profile(&self, poll_ms: i64) -> Profile {
        Profile {
            name: match self.house {
                House::Paper => "paper",
                House::Schwab => "schwab",
                House::Alpaca => "alpaca",
            },
            account: "TRIAL".into(),
            lot: self.lot,
            fraction_notional_min: (self.house == House::Alpaca).then_some(FRACTION_NOTIONAL_MIN),
            client_ids: self.client_ids(),
            allow_short: self.allow_short,
            crosses_zero: self.crosses_zero(),
            quotes: self.house != House::Paper,
            tag: Some(TAG.into()),
            poll_ms,
        }
    }
}
