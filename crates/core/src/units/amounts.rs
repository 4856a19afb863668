//! Shares, dollars and prices: integers of 1e-18, exact and checked, each a type of its own.

use std::fmt;
use std::str::FromStr;

use alloy::primitives::{U256, U512};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ParseError;

/// Decimal places of every amount in this program.
pub const AMOUNT_DECIMALS: u32 = 18;
/// One whole unit (share, dollar) in the integer representation: 10^18.
pub const ONE: i128 = 1_000_000_000_000_000_000;

fn parse_exact(text: &str) -> Result<i128, ParseError> {
    let not_decimal = || ParseError::NotDecimal(text.chars().take(64).collect());
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || digits.ends_with('.') {
        return Err(not_decimal());
    }
    if fraction.len() > 18 && fraction[18..].bytes().any(|b| b != b'0') {
        return Err(ParseError::TooPrecise(text.chars().take(64).collect()));
    }
    let too_large = || ParseError::TooLarge(text.chars().take(64).collect());
    let mut value: i128 = 0;
    let padded = fraction.bytes().chain(std::iter::repeat(b'0')).take(18);
    for byte in whole.bytes().chain(padded) {
        value = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(i128::from(byte - b'0')))
            .ok_or_else(too_large)?;
    }
    Ok(if negative { -value } else { value })
}

fn format_exact(value: i128, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let magnitude = value.unsigned_abs();
    let one = ONE.unsigned_abs();
    let (whole, fraction) = (magnitude / one, magnitude % one);
    let mut text = whole.to_string();
    if fraction != 0 {
        text.push('.');
        text.push_str(format!("{fraction:018}").trim_end_matches('0'));
    }
    f.pad_integral(value >= 0, "", &text)
}

macro_rules! amount {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i128);

        impl $name {
            /// Zero.
            pub const ZERO: Self = Self(0);

            /// From the integer representation (units of 1e-18).
            #[must_use]
            pub const fn from_atoms(atoms: i128) -> Self {
                Self(atoms)
            }

            /// From a whole number; `None` on overflow.
            #[must_use]
            pub fn whole(number: i64) -> Self {
                // |i64| * 10^18 < 2^127.
                Self(i128::from(number) * ONE)
            }

            /// The integer representation (units of 1e-18).
            #[must_use]
            pub const fn atoms(self) -> i128 {
                self.0
            }

            /// Sum; `None` on overflow.
            #[must_use]
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }

            /// Difference; `None` on overflow.
            #[must_use]
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }

            /// The same magnitude with the other sign. `i128::MIN` can not be parsed or decoded.
            #[must_use]
            pub const fn negated(self) -> Self {
                Self(self.0.saturating_neg())
            }

            /// The magnitude.
            #[must_use]
            pub const fn magnitude(self) -> Self {
                Self(self.0.saturating_abs())
            }

            /// Whether this is exactly zero.
            #[must_use]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// Whether this is more than zero.
            #[must_use]
            pub const fn is_positive(self) -> bool {
                self.0 > 0
            }

            /// Whether this is less than zero.
            #[must_use]
            pub const fn is_negative(self) -> bool {
                self.0 < 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                format_exact(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                parse_exact(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

amount!(
    /// A signed number of shares, in units of 1e-18 share. Positive is long.
    Shares
);
amount!(
    /// A signed amount of dollars (USDC), in units of 1e-18.
    Cash
);
amount!(
    /// Dollars per share, in units of 1e-18.
    Price
);

impl Shares {
    /// Cut toward zero to a multiple of `lot` (which must be positive; otherwise zero).
    #[must_use]
    pub fn truncate_to(self, lot: Self) -> Self {
        if lot.0 <= 0 { Self::ZERO } else { Self(self.0 - self.0 % lot.0) }
    }
}

impl Price {
    /// `cash / shares`, cut toward zero at 1e-18; `None` where either is not positive or the result does not fit.
    #[must_use]
    pub fn of(cash: Cash, shares: Shares) -> Option<Self> {
        if cash.0 <= 0 || shares.0 <= 0 {
            return None;
        }
        let scaled = U256::from(cash.0.unsigned_abs()) * U256::from(ONE.unsigned_abs());
        let quotient = scaled / U256::from(shares.0.unsigned_abs());
        i128::try_from(u128::try_from(quotient).ok()?).ok().filter(|p| *p > 0).map(Self)
    }

    /// `price × shares`, cut toward zero at 1e-18; `None` where it does not fit.
    #[must_use]
    pub fn times(self, shares: Shares) -> Option<Cash> {
        let product = U512::from(self.0.unsigned_abs()) * U512::from(shares.0.unsigned_abs());
        let cut = product / U512::from(ONE.unsigned_abs());
        let magnitude = i128::try_from(u128::try_from(cut).ok()?).ok()?;
        Some(Cash(if (self.0 < 0) == (shares.0 < 0) { magnitude } else { -magnitude }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_read_and_print_exactly() {
        let rows = [
            ("0", 0),
            ("1", ONE),
            ("-1", -ONE),
            ("0.333333333333333333", 333_333_333_333_333_333),
            ("1352.25", 1_352_250_000_000_000_000_000),
            ("0.000000000000000001", 1),
            ("-0.5", -ONE / 2),
        ];
        for (text, atoms) in rows {
            assert_eq!(text.parse::<Shares>().unwrap().atoms(), atoms, "{text}");
            assert_eq!(Shares::from_atoms(atoms).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["", ".", "1.", ".5", "+1", "1e3", "0x1", "1_000", " 1", "1 ", "--1", "٣", "NaN", "-"] {
            assert!(matches!(text.parse::<Shares>(), Err(ParseError::NotDecimal(_))), "{text:?}");
        }
        assert!(matches!("0.0000000000000000001".parse::<Shares>(), Err(ParseError::TooPrecise(_))));
        assert!("0.1000000000000000000000".parse::<Shares>().is_ok());
        let huge = "9".repeat(40);
        assert!(matches!(huge.parse::<Shares>(), Err(ParseError::TooLarge(_))));
    }

    #[test]
    fn lots_cut_toward_zero() {
        let lot = Shares::whole(1);
        for (text, cut) in [("1.9", "1"), ("-1.9", "-1"), ("0.99", "0"), ("-0.99", "0"), ("-3", "-3")] {
            let shares: Shares = text.parse().unwrap();
            assert_eq!(shares.truncate_to(lot).to_string(), cut);
        }
        assert_eq!(Shares::whole(5).truncate_to(Shares::ZERO), Shares::ZERO);
    }

    #[test]
    fn prices_divide_and_multiply() {
        let price = Price::of("1352.25".parse().unwrap(), "9".parse().unwrap()).unwrap();
        assert_eq!(price.to_string(), "150.25");
        assert_eq!(price.times("-9".parse().unwrap()).unwrap().to_string(), "-1352.25");
        assert_eq!(Price::of(Cash::ZERO, Shares::whole(1)), None);
        assert_eq!(Price::of(Cash::whole(-1), Shares::whole(1)), None);
        assert_eq!(Price::of(Cash::whole(1), Shares::whole(-1)), None);
        assert_eq!(Price::of(Cash::from_atoms(1), Shares::whole(2)), None, "nothing is left of it");
        assert_eq!(Price::of(Cash::from_atoms(i128::MAX), Shares::from_atoms(1)), None, "beyond range");
        for (price, shares, cash) in
            [("2", "3", "6"), ("-2", "3", "-6"), ("-2", "-3", "6"), ("0.5", "0.000000000000000001", "0")]
        {
            let product = price.parse::<Price>().unwrap().times(shares.parse().unwrap()).unwrap();
            assert_eq!(product.to_string(), cash, "{price} x {shares}");
        }
        assert_eq!(Price::of(Cash::whole(1), Shares::ZERO), None);
        assert_eq!(Price::from_atoms(i128::MAX).times(Shares::from_atoms(i128::MAX)), None);
    }

    #[test]
    fn sums_are_exact_or_none_and_signs_are_told_apart() {
        let atoms = Shares::from_atoms;
        let (max, min) = (i128::MAX, -i128::MAX);
        assert_eq!(atoms(3).checked_add(atoms(-5)), Some(atoms(-2)));
        assert_eq!(atoms(3).checked_sub(atoms(-5)), Some(atoms(8)));
        assert_eq!((atoms(max).checked_add(atoms(1)), atoms(min).checked_sub(atoms(2))), (None, None));
        assert_eq!((atoms(-7).negated(), atoms(7).negated()), (atoms(7), atoms(-7)));
        assert_eq!((atoms(-7).magnitude(), atoms(7).magnitude()), (atoms(7), atoms(7)));
        assert_eq!(Shares::whole(-3).atoms(), -3 * ONE);
        for (value, zero, positive, negative) in
            [(0, true, false, false), (1, false, true, false), (-1, false, false, true)]
        {
            let value = atoms(value);
            assert_eq!(
                (value.is_zero(), value.is_positive(), value.is_negative()),
                (zero, positive, negative),
                "{value}"
            );
        }
        assert_eq!(
            format!("{:?} {:>6}|{:<6}|", Shares::whole(-2), atoms(ONE / 2), Cash::whole(5)),
            "Shares(-2)    0.5|5     |"
        );
    }

    #[test]
    fn digits_beyond_the_eighteenth_must_be_zeros_and_the_range_ends_exactly() {
        assert_eq!("0.1234567890123456780".parse::<Shares>().unwrap().atoms(), 123_456_789_012_345_678);
        assert!(matches!("0.1234567890123456781".parse::<Shares>(), Err(ParseError::TooPrecise(_))));
        let largest = "170141183460469231731.687303715884105727";
        assert_eq!(largest.parse::<Shares>().unwrap().atoms(), i128::MAX);
        assert_eq!(format!("-{largest}").parse::<Shares>().unwrap().atoms(), -i128::MAX);
        let beyond = "170141183460469231731.687303715884105728".parse::<Shares>().unwrap_err();
        assert_eq!(beyond.to_string(), "`170141183460469231731.687303715884105728` is too large");
    }

    proptest! {
        #[test]
        fn every_amount_survives_its_text(atoms in (i128::MIN + 1)..=i128::MAX) {
            let shares = Shares::from_atoms(atoms);
            prop_assert_eq!(shares.to_string().parse::<Shares>().unwrap(), shares);
        }
    }
}
