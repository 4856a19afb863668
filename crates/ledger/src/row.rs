//! Columns and the values they stand for.
//!
//! Every value in the ledger is text or an integer with one canonical form; reading another form is damage, never a
//! guess. Tickers of older ledgers are the exception ([`ticker`]).

use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use alloy::primitives::{Address, B256};
use rusqlite::Row;
use rusqlite::types::Type;

use crate::fills::{Fill, FillUnit, SkipReason, Skipped, TokenKind, Unit, Worth};
use crate::units::{FillId, Side};

/// A ticker's column as it is compared: an older ledger may hold another spelling of a class of shares (`BRK-B`), which is
/// read as the same [`Symbol`](crate::units::Symbol) and never written anew.
pub(super) fn ticker(column: &str) -> String {
    format!("replace(replace({column}, '-', '.'), '/', '.')")
}

/// An unsigned number as SQLite's signed 64 bits.
pub(super) fn integer(number: u64) -> rusqlite::Result<i64> {
    i64::try_from(number).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// A 0x hash, lower-case.
pub(super) fn hash(hash: &B256) -> String {
    format!("{hash:#x}")
}

/// A 0x address, lower-case: no checksum capitals, so that equal is equal in SQL too.
pub(super) fn address(address: &Address) -> String {
    format!("{address:#x}")
}

/// Addresses as a set: ascending, once each, comma-separated.
pub(super) fn address_set(addresses: &[Address]) -> String {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.iter().map(address).collect::<Vec<_>>().join(",")
}

/// The text of an optional value.
pub(super) fn text_or_none<T: Display>(value: Option<&T>) -> Option<String> {
    value.map(ToString::to_string)
}

pub(super) fn damaged(column: usize, error: impl Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// A text column that must parse.
pub(super) fn parsed<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    row.get_ref(column)?.as_str()?.parse().map_err(|error| damaged(column, error))
}

/// A text column that must parse where it is not NULL.
pub(super) fn parsed_or_none<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
where
    T: FromStr,
    T::Err: Error + Send + Sync + 'static,
{
    match row.get_ref(column)?.as_str_or_null()? {
        Some(text) => text.parse().map(Some).map_err(|error| damaged(column, error)),
        None => Ok(None),
    }
}

/// An integer column that is never negative.
pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// An integer column that is never negative, where it is not NULL.
pub(super) fn number_or_none(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    value
        .map(|value| {
            u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
        })
        .transpose()
}

/// A comma-separated list of addresses.
pub(super) fn addresses(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<Address>> {
    let text = row.get_ref(column)?.as_str()?;
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_err(|error| damaged(column, error)))
        .collect()
}

/// The columns of a fill that [`fill`] reads, from its first one on.
pub(super) const FILL_COLUMNS: &str = "f.chain_id, f.block_hash, f.tx_hash, f.log_index, f.side, f.block_number, \
                                       f.block_time, f.orderbook, f.owner, f.symbol, f.shares, f.cash, f.price";

/// How a fill's shares came of its token, from the columns of `fill_units u` that stand here; none where it has no row.
pub(super) const UNIT_COLUMNS: &str =
    "u.token, u.amount, u.decimals, u.assets, u.asset_decimals, u.multiplier";

/// A fill's unit from [`UNIT_COLUMNS`], the first of which is column `at`.
pub(super) fn unit(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<FillUnit>> {
    let Some(token) = parsed_or_none(row, at)? else { return Ok(None) };
    let worth = Worth {
        assets: parsed(row, at + 3)?,
        decimals: row.get(at + 4)?,
        multiplier: parsed_or_none(row, at + 5)?,
        jump: None,
    };
    Ok(Some(FillUnit { token, amount: parsed(row, at + 1)?, decimals: row.get(at + 2)?, worth }))
}

/// A fill's content from [`FILL_COLUMNS`], the first of which is column `at`; without its unit.
pub(super) fn fill(row: &Row<'_>, at: usize) -> rusqlite::Result<Fill> {
    Ok(Fill {
        id: FillId {
            chain_id: number(row, at)?,
            block_hash: parsed(row, at + 1)?,
            tx_hash: parsed(row, at + 2)?,
            log_index: number(row, at + 3)?,
            side: parsed::<Side>(row, at + 4)?,
        },
        block_number: number(row, at + 5)?,
        block_time: number_or_none(row, at + 6)?,
        orderbook: parsed(row, at + 7)?,
        owner: parsed(row, at + 8)?,
        symbol: parsed(row, at + 9)?,
        shares: parsed(row, at + 10)?,
        cash: parsed(row, at + 11)?,
        price: parsed_or_none(row, at + 12)?,
        unit: None,
    })
}

/// A skipped trade from its thirteen columns, in the order of the table.
pub(super) fn skipped(row: &Row<'_>) -> rusqlite::Result<Skipped> {
    let reason = row.get_ref(12)?.as_str()?;
    Ok(Skipped {
        id: FillId {
            chain_id: number(row, 0)?,
            block_hash: parsed(row, 1)?,
            tx_hash: parsed(row, 2)?,
            log_index: number(row, 3)?,
            side: parsed::<Side>(row, 4)?,
        },
        block_number: number(row, 5)?,
        orderbook: parsed(row, 6)?,
        owner: parsed(row, 7)?,
        input_token: parsed(row, 8)?,
        output_token: parsed(row, 9)?,
        symbol: parsed_or_none(row, 10)?,
        shares: parsed(row, 11)?,
        reason: SkipReason::ALL.into_iter().find(|known| known.as_str() == reason).ok_or_else(|| {
            damaged(
                12,
                crate::units::ParseError::NotName(reason.chars().take(32).collect(), "reason to skip"),
            )
        })?,
    })
}

/// A token's kind and ticker columns.
pub(super) fn kind_text(kind: &TokenKind) -> (&'static str, Option<&str>) {
    match kind {
        TokenKind::Cash => ("cash", None),
        TokenKind::Share(ticker, unit) => {
            (if unit.holds_another() { "wrapped_share" } else { "share" }, Some(ticker.as_str()))
        }
        TokenKind::Foreign => ("foreign", None),
    }
}

/// A token's kind from its kind and ticker columns, and the unit beside them (NULL: of an earlier version).
pub(super) fn kind(row: &Row<'_>, at: usize) -> rusqlite::Result<TokenKind> {
    let share = |wrapped| {
        let unit = parsed_or_none(row, at + 2)?.unwrap_or(Unit::Unrecorded { wrapped });
        Ok(TokenKind::Share(parsed(row, at + 1)?, unit))
    };
    match row.get_ref(at)?.as_str()? {
        "cash" => Ok(TokenKind::Cash),
        "share" => share(false),
        "wrapped_share" => share(true),
        "foreign" => Ok(TokenKind::Foreign),
        other => Err(damaged(
            at,
            crate::units::ParseError::NotName(other.chars().take(32).collect(), "token kind"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::address;

    use crate::fills::SkipReason;
    use crate::hedges::{HaltKind, IntentState};

    #[test]
    fn addresses_are_a_set_in_lower_case() {
        let (a, b) = (
            address!("0xAbcdef0000000000000000000000000000000001"),
            address!("0x0000000000000000000000000000000000000002"),
        );
        assert_eq!(
            address_set(&[a, b, a]),
            "0x0000000000000000000000000000000000000002,0xabcdef0000000000000000000000000000000001"
        );
    }

    #[test]
    fn every_skip_reason_and_state_is_in_the_schema() {
        let schema = include_str!("../../../migrations/V1__ledger.sql");
        let newer = include_str!("../../../migrations/V7__units.sql");
        for kind in HaltKind::ALL {
            assert!(newer.contains(&format!("'{}'", kind.as_str())), "{kind:?}");
        }
        for reason in SkipReason::ALL {
            assert!(schema.contains(&format!("'{}'", reason.as_str())), "{reason:?}");
        }
        for state in IntentState::ALL {
            assert_eq!(
                schema.matches(&format!("'{state}'")).count(),
                if state.is_live() { 4 } else { 3 },
                "{state}"
            );
        }
    }
}
