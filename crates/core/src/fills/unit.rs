//! What one token is worth in shares: one, a ratio that a person lists, or what the chain says at each fill.
//!
//! A token's name says nothing of that. What it holds is asked of its contract once and kept ([`Unit`]); how much it holds
//! is asked again for each fill, at that fill's block ([`super::worth`]).
//!
//! Invariant: a unit has one text, and the text gives the same unit.

use std::fmt;
use std::str::FromStr;

use alloy::primitives::{Address, U512};

use crate::units::{ParseError, Shares};

/// The longest chain of tokens that hold one another.
pub const HOLDS_MAX: usize = 4;
/// Digits of either side of a ratio.
const RATIO_DIGITS_MAX: usize = 18;

/// Shares a token, exact and more than zero: `10`, `0.1`, `3/2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio {
    numerator: u64,
    denominator: u64,
}

impl Ratio {
    /// `amount` times this, cut toward zero at 1e-18; none where it does not fit.
    #[must_use]
    pub fn of(self, amount: Shares) -> Option<Shares> {
        let product = U512::from(amount.atoms().unsigned_abs()) * U512::from(self.numerator);
        let cut = u128::try_from(product / U512::from(self.denominator)).ok()?;
        let magnitude = Shares::from_atoms(i128::try_from(cut).ok()?);
        Some(if amount.atoms() < 0 { magnitude.negated() } else { magnitude })
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator {
            1 => write!(f, "{}", self.numerator),
            below => write!(f, "{}/{below}", self.numerator),
        }
    }
}

impl FromStr for Ratio {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parsed = match text.split_once('/') {
            Some((over, under)) => whole(over).zip(whole(under)),
            None => decimal(text),
        };
        let (numerator, denominator) = parsed
            .filter(|(over, under)| *over > 0 && *under > 0)
            .ok_or_else(|| ParseError::NotName(text.chars().take(64).collect(), "ratio (10, 0.1 or 3/2)"))?;
        let common = greatest_common_divisor(numerator, denominator);
        Ok(Self { numerator: numerator / common, denominator: denominator / common })
    }
}

fn whole(text: &str) -> Option<u64> {
    let plain = (1..=RATIO_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// `12.5` as 125 over 10.
fn decimal(text: &str) -> Option<(u64, u64)> {
    let (front, back) = text.split_once('.').unwrap_or((text, ""));
    if text.ends_with('.') || front.len() + back.len() > RATIO_DIGITS_MAX {
        return None;
    }
    let number = whole(&format!("{front}{back}")).filter(|_| !front.is_empty())?;
    Some((number, 10_u64.checked_pow(u32::try_from(back.len()).ok()?)?))
}

const fn greatest_common_divisor(left: u64, right: u64) -> u64 {
    if right == 0 { left } else { greatest_common_divisor(right, left % right) }
}

/// One step from a token to what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hold {
    /// A vault (ERC-4626): `convertToAssets` says how many base units of this asset some base units of it are.
    Vault(Address),
    /// A plain wrapper (`underlying()`): a base unit is a base unit of this token.
    Wrapper(Address),
}

impl Hold {
    /// The token that is held.
    #[must_use]
    pub const fn asset(self) -> Address {
        match self {
            Self::Vault(asset) | Self::Wrapper(asset) => asset,
        }
    }
}

/// How a listed token's base units become shares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// One token is one share: the contract answered none of the questions.
    One,
    /// As many shares a token as `EQUITIES` says.
    Listed(Ratio),
    /// What the chain says at each fill.
    Asked {
        /// What the token holds, and what that holds, down to the last one.
        holds: Vec<Hold>,
        /// Whether the last one has a multiplier (ERC-8056 `uiMultiplier()`, or `multiplier()`).
        multiplied: bool,
    },
    /// A ledger's word of before this was asked: a wrapped share, or one to one. Asked again before it counts.
    Unrecorded {
        /// Whether the token was converted by `convertToAssets`.
        wrapped: bool,
    },
}

impl Unit {
    /// Whether each fill's amount is asked of the chain.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        matches!(self, Self::Asked { .. })
    }

    /// Whether the token holds another one.
    #[must_use]
    pub const fn holds_another(&self) -> bool {
        match self {
            Self::Asked { holds, .. } => !holds.is_empty(),
            Self::Unrecorded { wrapped } => *wrapped,
            Self::One | Self::Listed(_) => false,
        }
    }

    /// The token whose multiplier counts for `token`, where there is one.
    #[must_use]
    pub fn multiplied(&self, token: Address) -> Option<Address> {
        match self {
            Self::Asked { holds, multiplied: true } => Some(holds.last().map_or(token, |hold| hold.asset())),
            _ => None,
        }
    }

    /// What it is, for a person: `one to one`, `10 shares by EQUITIES`, `vault over 0x…, with a multiplier`.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::One => "one to one".to_owned(),
            Self::Listed(ratio) => format!("{ratio} by EQUITIES"),
            Self::Asked { holds, multiplied } => {
                let mut words: Vec<String> = holds
                    .iter()
                    .map(|hold| match hold {
                        Hold::Vault(asset) => format!("vault over {asset}"),
                        Hold::Wrapper(asset) => format!("wrapper of {asset}"),
                    })
                    .collect();
                if *multiplied {
                    words.push("multiplier".to_owned());
                }
                words.join(", ")
            }
            Self::Unrecorded { .. } => "not asked yet".to_owned(),
        }
    }

    /// What the token holds, where that is known and not a person's word.
    fn holds(&self) -> Option<&[Hold]> {
        match self {
            Self::One | Self::Unrecorded { wrapped: false } => Some(&[]),
            Self::Asked { holds, .. } => Some(holds),
            Self::Listed(_) | Self::Unrecorded { wrapped: true } => None,
        }
    }

    /// Whether a token that was `known` may be this from now on, in one ledger: what was not recorded is recorded, as
    /// long as it was counted so, and a multiplier may come to a token that had none. (It begins at 1, at which all
    /// fills before it were counted.)
    #[must_use]
    pub fn may_follow(&self, known: &Self) -> bool {
        match (known, self) {
            (Self::Unrecorded { wrapped: false }, Self::One) => true,
            (Self::Unrecorded { wrapped: true }, Self::Asked { holds, .. }) => {
                matches!(holds.as_slice(), [Hold::Vault(_)])
            }
            (Self::Asked { multiplied: true, .. }, _) => false,
            (_, Self::Asked { holds, multiplied: true }) => known.holds() == Some(holds),
            _ => false,
        }
    }
}

/// The text in the ledger: `1`, `*3/2`, `vault:0x…,wrapper:0x…,multiplier`.
impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("1"),
            Self::Listed(ratio) => write!(f, "*{ratio}"),
            Self::Asked { holds, multiplied } => {
                let mut parts: Vec<String> = holds
                    .iter()
                    .map(|hold| match hold {
                        Hold::Vault(asset) => format!("vault:{asset:#x}"),
                        Hold::Wrapper(asset) => format!("wrapper:{asset:#x}"),
                    })
                    .collect();
                if *multiplied {
                    parts.push("multiplier".to_owned());
                }
                f.write_str(&parts.join(","))
            }
            Self::Unrecorded { wrapped: true } => f.write_str("not recorded, wrapped"),
            Self::Unrecorded { wrapped: false } => f.write_str("not recorded, one to one"),
        }
    }
}

impl FromStr for Unit {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::NotName(text.chars().take(64).collect(), "unit");
        if text == "1" {
            return Ok(Self::One);
        }
        if let Some(ratio) = text.strip_prefix('*') {
            return ratio.parse().map(Self::Listed);
        }
        let (mut holds, mut multiplied) = (Vec::new(), false);
        for part in text.split(',') {
            if multiplied {
                return Err(wrong());
            }
            match part.split_once(':') {
                Some(("vault", asset)) => holds.push(Hold::Vault(asset.parse().map_err(|_| wrong())?)),
                Some(("wrapper", asset)) => holds.push(Hold::Wrapper(asset.parse().map_err(|_| wrong())?)),
                None if part == "multiplier" => multiplied = true,
                _ => return Err(wrong()),
            }
        }
        Ok(Self::Asked { holds, multiplied })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(text: &str) -> Ratio {
        text.parse().unwrap()
    }

    #[test]
    fn a_ratio_is_exact_and_has_one_text() {
        let rows = [
            ("10", "10", "17", "170"),
            ("0.1", "1/10", "17", "1.7"),
            ("3/2", "3/2", "1.7", "2.55"),
            ("6/4", "3/2", "-1.7", "-2.55"),
            ("1/3", "1/3", "1", "0.333333333333333333"),
            ("1.50", "3/2", "2", "3"),
            ("1", "1", "0.000000000000000001", "0.000000000000000001"),
        ];
        for (text, shown, amount, shares) in rows {
            assert_eq!(ratio(text).to_string(), shown, "{text}");
            assert_eq!(ratio(shown), ratio(text), "{text}");
            assert_eq!(
                ratio(text).of(amount.parse().unwrap()),
                Some(shares.parse().unwrap()),
                "{text} x {amount}"
            );
        }
        for text in [
            "",
            "0",
            "0/1",
            "1/0",
            "-1",
            "+1",
            ".5",
            "1.",
            "1e3",
            "1/2/3",
            "ten",
            "1234567890123456789",
            " 1",
        ] {
            assert!(text.parse::<Ratio>().is_err(), "{text:?}");
        }
        assert_eq!(ratio("999999999999999999").of(Shares::from_atoms(i128::MAX)), None);
    }

    #[test]
    fn a_units_text_gives_the_unit() {
        let (a, b) = (Address::repeat_byte(0xa1), Address::repeat_byte(0xb2));
        let asked = |holds: &[Hold], multiplied| Unit::Asked { holds: holds.to_vec(), multiplied };
        let rows = [
            (Unit::One, "1".to_owned()),
            (Unit::Listed(ratio("0.1")), "*1/10".to_owned()),
            (asked(&[], true), "multiplier".to_owned()),
            (asked(&[Hold::Vault(a)], false), format!("vault:{a:#x}")),
            (
                asked(&[Hold::Vault(a), Hold::Wrapper(b)], true),
                format!("vault:{a:#x},wrapper:{b:#x},multiplier"),
            ),
        ];
        for (unit, text) in rows {
            assert_eq!(unit.to_string(), text);
            assert_eq!(text.parse(), Ok(unit));
        }
        for text in
            ["", "2", "*0", "vault:", "vault:0x12", "wrap", "multiplier,multiplier", "not recorded, wrapped"]
        {
            assert!(text.parse::<Unit>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_unit_changes_only_where_nothing_was_counted_otherwise() {
        let (a, b) = (Address::repeat_byte(0xa1), Address::repeat_byte(0xb2));
        let asked = |holds: &[Hold], multiplied| Unit::Asked { holds: holds.to_vec(), multiplied };
        let (plain, wrapped) = (Unit::Unrecorded { wrapped: false }, Unit::Unrecorded { wrapped: true });
        let rows = [
            (&plain, Unit::One, true),
            (&plain, Unit::Listed(ratio("10")), false),
            (&plain, asked(&[Hold::Vault(a)], false), false),
            (&plain, asked(&[], true), true),
            (&wrapped, asked(&[Hold::Vault(a)], false), true),
            (&wrapped, asked(&[Hold::Vault(a)], true), true),
            (&wrapped, asked(&[Hold::Vault(a), Hold::Vault(b)], false), false),
            (&wrapped, asked(&[Hold::Wrapper(a)], false), false),
            (&wrapped, Unit::One, false),
            (&Unit::One, asked(&[], true), true),
            (&Unit::One, asked(&[Hold::Vault(a)], true), false),
            (&Unit::One, Unit::Listed(ratio("2")), false),
            (&asked(&[Hold::Vault(a)], false), asked(&[Hold::Vault(a)], true), true),
            (&asked(&[Hold::Vault(a)], false), asked(&[Hold::Vault(b)], true), false),
            (&asked(&[Hold::Vault(a)], true), asked(&[Hold::Vault(a)], false), false),
            (&asked(&[], true), Unit::One, false),
        ];
        for (known, unit, may) in rows {
            assert_eq!(unit.may_follow(known), may, "{known} becomes {unit}");
        }
    }
}
