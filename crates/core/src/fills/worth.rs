//! How many shares an amount of a token was, from what the chain answered in the state of its block.
//!
//! A block's hash names the state after its *last* transaction: a vault that was emptied after our trade, or that got a
//! gift, answers something that was not true for the trade. So the supply is asked too, and the state before the block.
//!
//! Invariant: a number that cannot be the truth is *not known*, never a guess: the fill waits (`protocol.md` 1.10).

use std::fmt;

use alloy::primitives::{Address, U256, U512};

use crate::units::{ONE, Shares};

/// A ratio beyond this, either way, is no answer: a gift before a vault's first deposit makes ratios of 1e20.
const RATIO_MAX: u64 = 10_000;
/// Less than a thousand-millionth of a token may be worth nothing.
const DUST_ATOMS: u64 = 1_000_000_000;
/// More decimals than this are no scale: 10^77 is the last power of ten below 2^256.
const DECIMALS_MAX: u8 = 77;

/// Why an amount's shares are not known, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotKnown {
    /// The contract did not answer.
    #[error("{call} of {token} is not answered in the state of the fill's block")]
    Unanswered {
        /// The contract that was asked.
        token: Address,
        /// The question.
        call: &'static str,
    },
    /// The vault was emptied later in the block, and of before the block there is no answer.
    #[error(
        "vault {vault} holds less at the end of the fill's block than the fill moved, and says nothing of the state before"
    )]
    Emptied {
        /// The vault.
        vault: Address,
    },
    /// Nothing for more than dust.
    #[error("{token} says that {amount} base units of it are worth nothing")]
    Nothing {
        /// The token of the fill.
        token: Address,
        /// What moved.
        amount: U256,
    },
    /// Too far from one to one, or out of any range.
    #[error(
        "{token} says that {amount} base units of it are {assets} base units of a share with {decimals} decimals, which cannot be"
    )]
    Absurd {
        /// The token of the fill.
        token: Address,
        /// What moved.
        amount: U256,
        /// What the last asset's count would be.
        assets: U256,
        /// That asset's decimals.
        decimals: u8,
    },
}

/// What a vault answered about `moved` base units of it. None: the contract reverted or answered nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultReading {
    /// The vault.
    pub vault: Address,
    /// Base units that the trade moved.
    pub moved: U256,
    /// `convertToAssets(moved)` at the fill's block.
    pub at_block: Option<U256>,
    /// `totalSupply()` at the fill's block.
    pub supply: Option<U256>,
    /// `convertToAssets(moved)` before the fill's block.
    pub before: Option<U256>,
}

/// One amount's worth before and after its block, further apart than `UNIT_JUMP_MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jump {
    /// The vault.
    pub vault: Address,
    /// Base units of its asset before the block.
    pub before: U256,
    /// At the block.
    pub after: U256,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { vault, before, after } = self;
        write!(
            f,
            "vault {vault} said {before} base units of its asset for what a fill moved before the fill's block, and \
             {after} in it (UNIT_JUMP_MAX); the fill is counted with the latter"
        )
    }
}

impl VaultReading {
    /// Base units of the vault's asset, and whether they are too far from what they were before the block.
    ///
    /// # Errors
    /// What the answers do not tell.
    pub fn settle(&self, jump_max_percent: u32) -> Result<(U256, Option<Jump>), NotKnown> {
        let Self { vault, moved, before, .. } = *self;
        if self.supply.is_some_and(|supply| supply < moved) {
            return before.map(|assets| (assets, None)).ok_or(NotKnown::Emptied { vault });
        }
        let unanswered = NotKnown::Unanswered { token: vault, call: "convertToAssets" };
        let after = self.at_block.ok_or(unanswered)?;
        let jump = before.filter(|before| jumped(*before, after, jump_max_percent));
        Ok((after, jump.map(|before| Jump { vault, before, after })))
    }
}

fn jumped(before: U256, after: U256, max_percent: u32) -> bool {
    let moved = U512::from(before.abs_diff(after)) * U512::from(100);
    !before.is_zero() && moved > U512::from(before) * U512::from(max_percent)
}

/// What an amount was worth: so many base units of the last token that it holds, under that token's multiplier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worth {
    /// Base units of the last token.
    pub assets: U256,
    /// That token's `decimals()` at the fill's block.
    pub decimals: u8,
    /// Its multiplier, 1e18 for one.
    pub multiplier: Option<U256>,
    /// A vault on the way that answered too differently before and after.
    pub jump: Option<Jump>,
}

/// An amount of a token that is not one share, and what it was worth. Kept with the fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FillUnit {
    /// The token.
    pub token: Address,
    /// Base units of it that moved.
    pub amount: U256,
    /// The token's own decimals.
    pub decimals: u8,
    /// What the chain said.
    pub worth: Worth,
}

impl FillUnit {
    /// Shares, cut toward zero at 1e-18. The multiplier comes last and nothing is cut before, in 512 bits.
    ///
    /// # Errors
    /// Nothing for more than dust, or a number that cannot be.
    pub fn shares(&self) -> Result<Shares, NotKnown> {
        let Self { token, amount, decimals, worth: Worth { assets, decimals: scale, .. } } = *self;
        let absurd = NotKnown::Absurd { token, amount, assets, decimals: scale };
        if scale > DECIMALS_MAX || decimals > DECIMALS_MAX {
            return Err(absurd);
        }
        let one = U512::from(ONE.unsigned_abs());
        let multiplier = self.worth.multiplier.map_or(one, U512::from);
        // assets / 10^scale tokens x multiplier / 1e18, in units of 1e-18.
        let shares = U512::from(assets) * multiplier / ten_to(scale);
        let tokens = U512::from(amount) * one / ten_to(decimals);
        if tokens < U512::from(DUST_ATOMS) {
            return atoms(shares).ok_or(absurd);
        }
        if shares.is_zero() {
            return Err(NotKnown::Nothing { token, amount });
        }
        let ratio = U512::from(RATIO_MAX);
        let within = shares / ratio <= tokens && tokens / ratio <= shares;
        atoms(shares).filter(|_| within).ok_or(absurd)
    }

    /// What `shares` of this fill may be short of the truth: vaults cut in their own favour, by one base unit of the
    /// token. (OpenZeppelin and solady say 16.999999999999999998 for 1.7 tokens of ten shares, solmate says 17.)
    #[must_use]
    pub fn slack(&self, shares: Shares) -> Shares {
        let unit = U256::from(shares.atoms().unsigned_abs()).div_ceil(self.amount.max(U256::from(1)));
        let of_asset = 10_u64.checked_pow(18_u32.saturating_sub(u32::from(self.worth.decimals))).unwrap_or(1);
        let atoms = unit.max(U256::from(of_asset));
        Shares::from_atoms(i128::try_from(atoms).unwrap_or(i128::MAX))
    }
}

fn ten_to(power: u8) -> U512 {
    U512::from(10).pow(U512::from(power))
}

fn atoms(number: U512) -> Option<Shares> {
    i128::try_from(u128::try_from(number).ok()?).ok().map(Shares::from_atoms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: Address = Address::repeat_byte(0xe1);
    const E18: u64 = 1_000_000_000_000_000_000;

    fn units(tokens: &str, decimals: u8) -> U256 {
        let atoms = tokens.parse::<Shares>().unwrap().atoms().unsigned_abs();
        U256::from(atoms) * U256::from(10).pow(U256::from(decimals)) / U256::from(E18)
    }

    fn fill(amount: &str, decimals: u8, assets: U256, scale: u8, multiplier: Option<u64>) -> FillUnit {
        let multiplier = multiplier.map(U256::from);
        let worth = Worth { assets, decimals: scale, multiplier, jump: None };
        FillUnit { token: VAULT, amount: units(amount, decimals), decimals, worth }
    }

    #[test]
    fn shares_are_exact_whatever_the_decimals_and_the_multiplier() {
        let rows = [
            ("a vault of ten", fill("1.7", 18, units("17", 18), 18, None), "17"),
            (
                "one unit short",
                fill("1.7", 18, units("17", 18) - U256::from(2), 18, None),
                "16.999999999999999998",
            ),
            ("four shares a token", fill("1.7", 18, units("1.7", 18), 18, Some(4 * E18)), "6.8"),
            ("a vault over a multiplied token", fill("2", 18, units("3", 18), 18, Some(E18 / 2)), "1.5"),
            ("the vault's own 24 decimals do not matter", fill("1.7", 24, units("17", 18), 18, None), "17"),
            ("the last asset's do", fill("1.7", 18, units("17", 6), 6, None), "17"),
            ("more than 18 are cut", fill("1", 18, units("1", 24) + U256::from(999_999), 24, None), "1"),
            ("dust may be nothing", fill("0.000000000000000001", 18, U256::ZERO, 18, None), "0"),
        ];
        for (name, fill, shares) in rows {
            assert_eq!(fill.shares(), Ok(shares.parse().unwrap()), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_is_not_known() {
        let nothing = fill("1.7", 18, U256::ZERO, 18, None);
        let amount = units("1.7", 18);
        assert_eq!(nothing.shares(), Err(NotKnown::Nothing { token: VAULT, amount }));
        let rows = [
            ("no multiplier", fill("1.7", 18, units("1.7", 18), 18, Some(0))),
            (
                "a gift before the first deposit",
                fill("1.7", 18, U256::from(10).pow(U256::from(38)), 18, None),
            ),
            ("all of it", fill("1.7", 18, U256::MAX, 0, Some(u64::MAX))),
            ("next to nothing", fill("1.7", 18, units("0.00001", 18), 18, None)),
            ("decimals beyond any scale", fill("1.7", 18, units("17", 18), 78, None)),
        ];
        for (name, fill) in rows {
            assert!(fill.shares().is_err(), "{name}");
        }
        let edge = fill("1", 18, units("10000", 18), 18, None);
        assert_eq!(edge.shares(), Ok(Shares::whole(10_000)));
    }

    #[test]
    fn a_vault_that_was_emptied_in_the_block_is_believed_of_before_it() {
        let (moved, ten, one) = (U256::from(17), Some(U256::from(170)), Some(U256::from(17)));
        let reading = |at_block, supply: Option<u64>, before| VaultReading {
            vault: VAULT,
            moved,
            at_block,
            supply: supply.map(U256::from),
            before,
        };
        let jump = |before: u64, after: u64| {
            Some(Jump { vault: VAULT, before: U256::from(before), after: U256::from(after) })
        };
        let rows = [
            ("quiet", reading(ten, Some(20), ten), Ok((170, None))),
            ("all of it moved", reading(ten, Some(17), ten), Ok((170, None))),
            ("emptied later", reading(one, Some(16), ten), Ok((170, None))),
            (
                "emptied, and none before",
                reading(one, Some(0), None),
                Err(NotKnown::Emptied { vault: VAULT }),
            ),
            ("emptied, no answer now", reading(None, Some(0), ten), Ok((170, None))),
            ("no supply told", reading(ten, None, ten), Ok((170, None))),
            ("first deposit", reading(ten, Some(20), None), Ok((170, None))),
            ("a fifth more is none", reading(Some(U256::from(204)), Some(20), ten), Ok((204, None))),
            ("more than that is", reading(Some(U256::from(205)), Some(20), ten), Ok((205, jump(170, 205)))),
            ("less too", reading(one, Some(20), ten), Ok((17, jump(170, 17)))),
        ];
        for (name, reading, expected) in rows {
            let expected = expected.map(|(assets, jump): (u64, _)| (U256::from(assets), jump));
            assert_eq!(reading.settle(20), expected, "{name}");
        }
        let unanswered = NotKnown::Unanswered { token: VAULT, call: "convertToAssets" };
        assert_eq!(reading(None, Some(20), ten).settle(20), Err(unanswered));
    }

    #[test]
    fn a_fill_may_be_short_by_one_base_unit_of_its_token() {
        let short = fill("1.7", 18, units("17", 18) - U256::from(2), 18, None);
        assert_eq!(short.slack(short.shares().unwrap()), Shares::from_atoms(10));
        let coarse = fill("1.7", 18, units("17", 6) - U256::from(1), 6, None);
        assert_eq!(coarse.slack(coarse.shares().unwrap()), "0.000001".parse().unwrap());
    }
}
