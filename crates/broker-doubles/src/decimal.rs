//! Exact decimals with nine places: what a broker of fractions counts in.
//!
//! Written for the double alone, so that a mistake in the program's own arithmetic can not hide behind the same one
//! here. Invariant: a value that exists is exact.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Decimal places.
const PLACES: usize = 9;
/// One whole in the integer representation.
const ONE: i128 = 1_000_000_000;

/// A signed decimal with nine places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(i128);

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// A whole number.
    #[must_use]
    pub fn whole(number: i64) -> Self {
        Self(i128::from(number) * ONE)
    }

    /// In units of 1e-9.
    #[must_use]
    pub const fn nanos(self) -> i128 {
        self.0
    }

    /// From units of 1e-9.
    #[must_use]
    pub const fn from_nanos(nanos: i128) -> Self {
        Self(nanos)
    }

    /// Whether nothing stands behind the point.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.0 % ONE == 0
    }

    /// The sum.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The difference.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }

    /// The product, cut toward zero at the ninth place.
    #[must_use]
    pub const fn times(self, other: Self) -> Self {
        Self(self.0 * other.0 / ONE)
    }

    /// The quotient, cut toward zero at the ninth place; zero where the divisor is.
    #[must_use]
    pub const fn over(self, other: Self) -> Self {
        if other.0 == 0 { Self(0) } else { Self(self.0 * ONE / other.0) }
    }

    /// The other sign.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self(-self.0)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (magnitude, one) = (self.0.unsigned_abs(), ONE.unsigned_abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        let fraction = format!("{:09}", magnitude % one);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{fraction}", magnitude / one)
    }
}

impl FromStr for Decimal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a decimal with at most {PLACES} places");
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let cut = fraction.trim_end_matches('0');
        if whole.is_empty()
            || whole.len() > 20
            || !all_digits(whole)
            || !all_digits(fraction)
            || cut.len() > PLACES
        {
            return Err(wrong());
        }
        let nanos: i128 = format!("{whole}{cut:0<PLACES$}").parse().map_err(|_| wrong())?;
        Ok(Self(if negative { -nanos } else { nanos }))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A script is JSON written by a person: a number is as good as a text, and is read by its text.
        let text = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_read_and_print_exactly() {
        for text in ["0", "1", "-1.5", "0.000000001", "22.7299", "1234567890.123456789"] {
            assert_eq!(text.parse::<Decimal>().unwrap().to_string(), text);
        }
        for wrong in ["", ".5", "1e3", "0.0000000001", "1.x", "--1"] {
            assert!(wrong.parse::<Decimal>().is_err(), "{wrong}");
        }
        let (price, quantity): (Decimal, Decimal) = ("22.7299".parse().unwrap(), "3".parse().unwrap());
        assert_eq!(price.times(quantity).to_string(), "68.1897");
        assert_eq!(price.times(quantity).over(quantity), price);
    }
}
