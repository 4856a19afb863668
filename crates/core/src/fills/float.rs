//! Rain's Float, read exactly.
//!
//! A Float is one 32-byte word: a signed 32-bit exponent, then a signed 224-bit coefficient, both big-endian; its value
//! is `coefficient × 10^exponent`. It is not canonical: many words are the same number, so words are never compared
//! and never used as keys. This file knows nothing of tokens but their decimals.
//!
//! Invariant: the result is the exact value cut down at `decimals`, and `lossless` says whether anything was cut.

use alloy::primitives::{B256, U256};

/// The largest power of ten below 2^256: 10^77.
const POWER_MAX: i64 = 77;
/// Exponent bytes at the front of the word.
const EXPONENT_BYTES: usize = 4;

/// Why a Float is not an amount of base units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FloatError {
    /// The coefficient is below zero.
    #[error("the amount is negative")]
    Negative,
    /// More base units than fit 256 bits.
    #[error("the amount does not fit 256 bits")]
    TooLarge,
}

/// The Float `word` as base units of a token with `decimals`, cut toward zero, and whether nothing was cut.
///
/// # Errors
/// A negative number, or one that does not fit 256 bits.
pub fn to_fixed(word: B256, decimals: u8) -> Result<(U256, bool), FloatError> {
    let (coefficient, exponent) = parts(word)?;
    if coefficient.is_zero() {
        return Ok((U256::ZERO, true));
    }
    let power = i64::from(exponent) + i64::from(decimals);
    if power < -POWER_MAX {
        // The coefficient is below 2^223, which is less than 10^77: nothing is left of it.
        return Ok((U256::ZERO, false));
    }
    if power > POWER_MAX {
        return Err(FloatError::TooLarge);
    }
    let scale = U256::from(10).pow(U256::from(power.unsigned_abs()));
    if power < 0 {
        let (quotient, rest) = coefficient.div_rem(scale);
        return Ok((quotient, rest.is_zero()));
    }
    coefficient.checked_mul(scale).map(|units| (units, true)).ok_or(FloatError::TooLarge)
}

/// Whether the Float is below zero, at any number of decimals.
pub(super) fn is_negative(word: B256) -> bool {
    parts(word).is_err()
}

/// Coefficient and exponent; a negative coefficient is an error.
fn parts(word: B256) -> Result<(U256, i32), FloatError> {
    let (front, back) = word.split_at(EXPONENT_BYTES);
    let mut exponent = [0; EXPONENT_BYTES];
    exponent.copy_from_slice(front);
    // The coefficient's sign is its first bit; without it the rest is the magnitude.
    if back.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Err(FloatError::Negative);
    }
    Ok((U256::from_be_slice(back), i32::from_be_bytes(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(coefficient: U256, exponent: i32) -> B256 {
        let mut bytes: [u8; 32] = coefficient.to_be_bytes();
        bytes[..EXPONENT_BYTES].copy_from_slice(&exponent.to_be_bytes());
        B256::from(bytes)
    }

    #[test]
    fn every_recorded_float_reads_as_the_contract_reads_it() {
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../../../tests/data/raindex/float.json")).unwrap();
        assert_eq!(rows.len(), 12);
        for row in rows {
            let word: B256 = row["word"].as_str().unwrap().parse().unwrap();
            for (decimals, column) in [(18, "fixed18"), (6, "fixed6")] {
                let expected = row[column].as_object().map(|fixed| {
                    let value: U256 = fixed["value"].as_str().unwrap().parse().unwrap();
                    (value, fixed["lossless"].as_bool().unwrap())
                });
                assert_eq!(to_fixed(word, decimals).ok(), expected, "{} at {decimals}", row["name"]);
            }
        }
    }

    #[test]
    fn the_edges_of_the_range() {
        let largest = (U256::from(1) << 223) - U256::from(1);
        let one = U256::from(1);
        let ten = U256::from(10);
        let rows = [
            ("zero with any exponent is zero", word(U256::ZERO, i32::MAX), 255, Ok((U256::ZERO, true))),
            ("least exponent", word(largest, i32::MIN), 0, Ok((U256::ZERO, false))),
            ("largest exponent", word(one, i32::MAX), 255, Err(FloatError::TooLarge)),
            ("10^77 fits", word(one, 77), 0, Ok((ten.pow(U256::from(77)), true))),
            ("10^78 does not", word(one, 60), 18, Err(FloatError::TooLarge)),
            ("2 x 10^77 does not", word(U256::from(2), 77), 0, Err(FloatError::TooLarge)),
            ("all of 10^-77 is cut", word(largest, -77), 0, Ok((U256::ZERO, false))),
            ("one below it too", word(largest, -78), 0, Ok((U256::ZERO, false))),
            ("the largest coefficient as it is", word(largest, 0), 0, Ok((largest, true))),
        ];
        for (name, word, decimals, expected) in rows {
            assert_eq!(to_fixed(word, decimals), expected, "{name}");
        }
    }

    #[test]
    fn negative_is_an_error_at_any_exponent() {
        for exponent in [i32::MIN, -18, 0, 5, i32::MAX] {
            let negative = word(U256::MAX, exponent);
            assert_eq!(to_fixed(negative, 18), Err(FloatError::Negative));
            assert!(is_negative(negative));
        }
        assert!(!is_negative(word(U256::from(1), i32::MIN)));
    }
}
