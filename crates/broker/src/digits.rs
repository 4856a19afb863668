//! Numbers of others, by their text: `1.5`, `"1.5"` and `1.5e0` are the same amount, and none of them was ever binary
//! floating point.
//!
//! Invariant: what is read is exact, or it is not read.

use std::borrow::Cow;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::units::{Cash, ParseError, Price, Shares};

/// Largest power of ten taken: 1e-18 is the finest amount there is, 1e38 is beyond the range.
const EXPONENT_MAX: i32 = 40;

/// A number as it was written, whether as a number or as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digits(String);

impl Digits {
    /// As shares.
    ///
    /// # Errors
    /// When it is no exact amount.
    pub fn shares(&self) -> Result<Shares, ParseError> {
        self.amount()
    }

    /// As dollars a share.
    ///
    /// # Errors
    /// When it is no exact amount.
    pub fn price(&self) -> Result<Price, ParseError> {
        self.amount()
    }

    /// As dollars.
    ///
    /// # Errors
    /// When it is no exact amount.
    pub fn cash(&self) -> Result<Cash, ParseError> {
        self.amount()
    }

    /// The digits of a whole number that is not negative, as a name has them: `1004055538153` and `1004055538153.0`.
    #[must_use]
    pub fn whole(&self) -> Option<String> {
        let text = plain(&self.0)?;
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
        (digits && fraction.bytes().all(|byte| byte == b'0')).then(|| whole.to_owned())
    }

    /// A whole number of either sign, with or without a point: `1800`, `"1800"`, `1800.0`.
    #[must_use]
    pub fn signed_whole(&self) -> Option<i64> {
        let (sign, text) = self.0.strip_prefix('-').map_or((1, self.0.as_str()), |text| (-1, text));
        let number: i64 = Self(text.to_owned()).whole()?.parse().ok()?;
        Some(sign * number)
    }

    fn amount<T: FromStr<Err = ParseError>>(&self) -> Result<T, ParseError> {
        plain(&self.0).unwrap_or(Cow::Borrowed(&self.0)).parse()
    }
}

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?.get();
        let text = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
        let fits = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        if fits && !text.is_empty() {
            Ok(Self(text.to_owned()))
        } else {
            // What stands in a number's place may be a whole order, with the account's number in it.
            let shown = match text.as_bytes().first() {
                Some(b'{' | b'[') => "a list or an object".to_owned(),
                _ => format!("`{}`", text.chars().take(32).collect::<String>()),
            };
            Err(D::Error::custom(format!("{shown} is not a number")))
        }
    }
}

/// Without a power of ten; none where the text is not of that form.
fn plain(text: &str) -> Option<Cow<'_, str>> {
    let Some(at) = text.find(['e', 'E']) else { return Some(Cow::Borrowed(text)) };
    let (mantissa, power) = (&text[..at], &text[at + 1..]);
    let power: i32 = power.strip_prefix('+').unwrap_or(power).parse().ok()?;
    if power.abs() > EXPONENT_MAX {
        return None;
    }
    let (sign, digits) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    // Zeros are put behind what stands here: it must be a number, or nothing would become one, and `1.2.3` another.
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || digits.ends_with('.') || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + power;
    let shifted = match usize::try_from(point) {
        Ok(point) if point >= all.len() => format!("{all:0<point$}"),
        Ok(0) => format!("0.{all}"),
        Ok(point) => format!("{}.{}", &all[..point], &all[point..]),
        Err(_) => format!("0.{}{all}", "0".repeat(usize::try_from(-point).ok()?)),
    };
    Some(Cow::Owned(format!("{sign}{shifted}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_amount_in_many_forms() {
        let rows = [
            ("1.5", "1.5"),
            ("\"1.5\"", "1.5"),
            ("15e-1", "1.5"),
            ("1.5E+0", "1.5"),
            ("0.15e1", "1.5"),
            ("1e-9", "0.000000001"),
            ("\"-2e3\"", "-2000"),
            ("1.23e2", "123"),
            ("0", "0"),
            ("22.7299", "22.7299"),
        ];
        for (json, text) in rows {
            let digits: Digits = serde_json::from_str(json).unwrap();
            assert_eq!(digits.shares().unwrap().to_string(), text, "{json}");
        }
    }

    #[test]
    fn a_name_is_whole() {
        let rows = [
            ("1004055538153", Some("1004055538153")),
            ("1004055538153.0", Some("1004055538153")),
            ("\"1004055538153\"", Some("1004055538153")),
            ("1.004055538153e12", Some("1004055538153")),
            ("-5", None),
            ("1.5", None),
        ];
        for (json, name) in rows {
            assert_eq!(serde_json::from_str::<Digits>(json).unwrap().whole().as_deref(), name, "{json}");
        }
    }

    #[test]
    fn what_is_no_exact_amount_is_refused() {
        for json in ["true", "\"\"", "\"abc\"", "[1]", "{}", "\"1_000\"", "\"0x1\""] {
            assert!(serde_json::from_str::<Digits>(json).is_err(), "{json}");
        }
        for json in [
            "1e-19",
            "1e99",
            "1e",
            "\"1.2.3\"",
            "\"+5\"",
            "\"e5\"",
            "\".e5\"",
            "\"1.2.3e3\"",
            "\"1.e3\"",
            "\"--1e3\"",
            "1e30",
        ] {
            let read = serde_json::from_str::<Digits>(json);
            assert!(read.is_err() || read.unwrap().shares().is_err(), "{json}");
        }
        assert_eq!(serde_json::from_str::<Option<Digits>>("null").unwrap(), None);
    }
}
