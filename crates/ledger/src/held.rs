//! What a ledger holds, in one number or one list: for those who open it, who check it and who read it.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::row;
use crate::hedges::Halt;
use crate::units::{Shares, Side, Symbol};

/// The one number that this statement asks for.
pub(super) fn count(conn: &Connection, sql: &str) -> rusqlite::Result<u64> {
    conn.query_row(sql, [], |r| row::number(r, 0))
}

/// Halts in force: those whose last row raises them.
pub(super) fn halts(conn: &Connection) -> rusqlite::Result<Vec<Halt>> {
    let sql = format!(
        "SELECT symbol, kind, reason FROM halts WHERE raised = 1 \
         AND halt IN (SELECT max(halt) FROM halts GROUP BY {ticker}, kind) ORDER BY halt",
        ticker = row::ticker("symbol"),
    );
    conn.prepare(&sql)?
        .query_map([], |r| {
            let (symbol, kind) = (row::parsed_or_none(r, 0)?, row::parsed(r, 1)?);
            Ok(Halt { symbol, kind, reason: r.get(2)? })
        })?
        .collect()
}

/// Adds what the counted entries leave of each fill to its ticker's sum: nothing, or its signed shares. It reads ticker,
/// side and shares and no more: a ledger of years holds millions of fills, and this walk is the one that meets them all.
pub(super) fn add_counting(conn: &Connection, sums: &mut BTreeMap<Symbol, Shares>) -> rusqlite::Result<()> {
    let mut statement = conn.prepare(
        "SELECT f.symbol, f.side, f.shares, coalesce(sum(e.sign), 0) FROM fills f \
         LEFT JOIN fill_counts c ON c.fill = f.fill LEFT JOIN fill_entries e ON e.fill = c.fill AND e.n = c.n \
         GROUP BY f.fill",
    )?;
    let mut rows = statement.query([])?;
    while let Some(r) = rows.next()? {
        let symbol: Symbol = row::parsed(r, 0)?;
        let counting = match r.get::<_, i64>(3)? {
            0 => Shares::ZERO,
            1 => row::parsed::<Side>(r, 1)?.signed(row::parsed(r, 2)?),
            // Entries alternate, so what is left of a fill is all of it or nothing.
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(3, other)),
        };
        add(sums, &symbol, counting)?;
    }
    Ok(())
}

/// Exact sum; a sum beyond 1.7e20 shares can not be the truth.
pub(super) fn sum(left: Shares, right: Shares) -> rusqlite::Result<Shares> {
    left.checked_add(right).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))
}

/// Adds `change` to the ticker's sum; a ticker that was met once stays, at zero.
pub(super) fn add(
    sums: &mut BTreeMap<Symbol, Shares>,
    symbol: &Symbol,
    change: Shares,
) -> rusqlite::Result<()> {
    match sums.get_mut(symbol) {
        Some(total) => *total = sum(*total, change)?,
        None => drop(sums.insert(symbol.clone(), change)),
    }
    Ok(())
}

/// What the executions did to the account.
const ALL_EXECUTIONS: &str =
    "SELECT i.symbol, i.side, x.quantity FROM executions x JOIN intents i USING (intent)";
/// What of that is ours: a person may have said that an order is not.
const COUNTING_EXECUTIONS: &str = "SELECT i.symbol, i.side, x.quantity FROM executions x \
    JOIN intents i USING (intent) WHERE NOT EXISTS (SELECT 1 FROM decisions d WHERE d.intent = x.intent \
    AND d.what = 'ignore')";

/// Σ over the executions that count per ticker, BUY positive.
pub(super) fn execution_sums(conn: &Connection) -> rusqlite::Result<BTreeMap<Symbol, Shares>> {
    sums_of(conn, COUNTING_EXECUTIONS)
}

/// Σ over all executions per ticker, those of ignored orders too, BUY positive.
pub(super) fn account_sums(conn: &Connection) -> rusqlite::Result<BTreeMap<Symbol, Shares>> {
    sums_of(conn, ALL_EXECUTIONS)
}

fn sums_of(conn: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<Symbol, Shares>> {
    let mut statement = conn.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut sums = BTreeMap::new();
    while let Some(r) = rows.next()? {
        let (symbol, side, quantity): (Symbol, Side, Shares) =
            (row::parsed(r, 0)?, row::parsed(r, 1)?, row::parsed(r, 2)?);
        add(&mut sums, &symbol, side.signed(quantity))?;
    }
    Ok(sums)
}
