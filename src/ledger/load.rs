//! Everything the engine starts from, read in one transaction.
//!
//! Sums are folded here, exactly, from rows that are never changed; nothing stored is trusted as a sum. The fold over
//! fills is one pass in the order of their birth, so memory holds the result and not the history.

use std::collections::BTreeMap;

use alloy::primitives::B256;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::LedgerError;
use super::open::Ledger;
use super::{FillState, Loaded, row};
use crate::chain::ChainView;
use crate::fills::TokenFact;
use crate::hedges::{HaltKind, Intent, IntentState};
use crate::positions::TRADED_SHARES_MAX;
use crate::units::{BlockRef, Cash, Millis, Shares, Side, Symbol};

/// Terminal intents younger than this before the ledger last knew the broker's orders are read too: the list at start
/// begins there, terminal orders are asked again for a day, and an hour is for clocks that differ.
const TERMINAL_MS: i64 = 25 * 60 * 60 * 1000;

impl Ledger {
    /// Reads what the engine starts from.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] where a row can not be read, [`LedgerError::Sql`].
    pub fn load(&self) -> Result<Loaded, LedgerError> {
        // A transaction, so that all of it is of one moment; dropping it ends it.
        let failed = |error| LedgerError::sql(&self.path, "was loaded", error);
        let moment = self.conn.unchecked_transaction().map_err(failed)?;
        loaded(&moment).map_err(failed)
    }

    /// What the ledger holds of the fills of one transaction, ascending by log index.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    pub fn fill_states(&self, tx_hash: B256) -> Result<Vec<FillState>, LedgerError> {
        let mut states = Vec::new();
        fold(&self.conn, Some(tx_hash), |folded| {
            states.push(folded.state);
            Ok(())
        })
        .map_err(|error| LedgerError::sql(&self.path, "read the fills of a transaction", error))?;
        states.sort_by_key(|state| (state.fill.id.log_index, state.fill.id.side));
        Ok(states)
    }
}

/// A fill after its entries, and what they add up to.
pub(super) struct Folded {
    pub(super) state: FillState,
    /// What its counted entries leave of it: nothing, or its signed shares.
    pub(super) counting: Shares,
}

/// Folds every fill (of one transaction, where it is named) and hands each to `take`, in the order of birth.
pub(super) fn fold(
    conn: &Connection,
    tx_hash: Option<B256>,
    mut take: impl FnMut(Folded) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT f.fill, {columns}, e.n, e.sign, c.n IS NOT NULL FROM fills f JOIN fill_entries e USING (fill) \
         LEFT JOIN fill_counts c ON c.fill = e.fill AND c.n = e.n {filter} ORDER BY f.fill, e.n",
        columns = row::FILL_COLUMNS,
        filter = if tx_hash.is_some() { "WHERE f.tx_hash = ?1" } else { "" }
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = match tx_hash {
        Some(tx_hash) => statement.query([row::hash(&tx_hash)])?,
        None => statement.query([])?,
    };
    let mut current: Option<(i64, Folded)> = None;
    while let Some(r) = rows.next()? {
        let key: i64 = r.get(0)?;
        if current.as_ref().is_none_or(|(fill, _)| *fill != key) {
            if let Some((_, done)) = current.take() {
                take(done)?;
            }
            let fill = row::fill(r, 1)?;
            let state = FillState { fill, n: 0, standing: false, counted: false };
            current = Some((key, Folded { state, counting: Shares::ZERO }));
        }
        if let Some((_, folded)) = &mut current {
            add_entry(folded, r, 14)?;
        }
    }
    current.map_or(Ok(()), |(_, last)| take(last))
}

fn add_entry(folded: &mut Folded, r: &Row<'_>, at: usize) -> rusqlite::Result<()> {
    let state = &mut folded.state;
    state.n = r.get(at)?;
    state.standing = r.get::<_, i64>(at + 1)? == 1;
    state.counted = r.get(at + 2)?;
    if state.counted {
        let signed = state.fill.signed_shares();
        let change = if state.standing { signed } else { signed.negated() };
        folded.counting = sum(folded.counting, change)?;
    }
    Ok(())
}

/// Exact sum; a sum beyond 1.7e20 shares can not be the truth.
pub(super) fn sum(left: Shares, right: Shares) -> rusqlite::Result<Shares> {
    left.checked_add(right).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))
}

fn loaded(conn: &Connection) -> rusqlite::Result<Loaded> {
    let last_commit = last_commit(conn)?;
    let compared_at = moment(conn, "compared_at")?;
    let window = window(conn)?;
    let floor = window.first().map(|first| first.number);
    let mut fills = Vec::new();
    let mut standing = Vec::new();
    let mut fill_sums = BTreeMap::new();
    fold(conn, None, |Folded { state, counting }| {
        let fill = &state.fill;
        add(&mut fill_sums, &fill.symbol, counting)?;
        let above = floor.is_none_or(|floor| fill.block_number > floor);
        if above && state.standing {
            standing.push((fill.block_number, fill.id));
        }
        if above || (state.standing && !state.counted) {
            fills.push(state);
        }
        Ok(())
    })?;
    Ok(Loaded {
        chain: ChainView { cursor: cursor(conn)?, window, standing, late_from: None, tokens: tokens(conn)? },
        fills,
        fill_sums: fill_sums.into_iter().collect(),
        execution_sums: execution_sums(conn)?.into_iter().collect(),
        traded: traded(conn)?,
        intents: intents(conn, compared_at)?,
        failures: failures(conn)?,
        halts: halts(conn)?,
        fills_total: count(conn, "SELECT count(*) FROM fills")?,
        reversals_total: count(conn, "SELECT count(*) FROM fill_entries WHERE sign = -1")?,
        dead_total: count(conn, "SELECT count(*) FROM dead_events")?,
        first_compared_at: moment(conn, "first_compared_at")?,
        last_commit,
        compared_at,
    })
}

/// Per ticker the newest fills that make up [`TRADED_SHARES_MAX`], ascending. Walked from the newest back, so that a
/// swarm of dust fills can not push the real ones out.
fn traded(conn: &Connection) -> rusqlite::Result<Vec<(Symbol, Cash, Shares)>> {
    let mut sums: BTreeMap<Symbol, Shares> = BTreeMap::new();
    let mut newest = Vec::new();
    let mut statement = conn.prepare("SELECT symbol, cash, shares FROM fills ORDER BY fill DESC")?;
    let mut rows = statement.query([])?;
    while let Some(r) = rows.next()? {
        let (symbol, cash, shares) = (row::parsed(r, 0)?, row::parsed(r, 1)?, row::parsed(r, 2)?);
        if sums.get(&symbol).is_none_or(|sum| *sum < TRADED_SHARES_MAX) {
            add(&mut sums, &symbol, shares)?;
            newest.push((symbol, cash, shares));
        }
    }
    newest.reverse();
    Ok(newest)
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

pub(super) fn count(conn: &Connection, sql: &str) -> rusqlite::Result<u64> {
    conn.query_row(sql, [], |r| row::number(r, 0))
}

pub(super) fn last_commit(conn: &Connection) -> rusqlite::Result<Option<Millis>> {
    conn.query_row("SELECT at FROM last_commit", [], |r| r.get(0).map(Millis)).optional()
}

/// A moment of `last_commit` that may not have come yet.
fn moment(conn: &Connection, column: &str) -> rusqlite::Result<Option<Millis>> {
    let sql = format!("SELECT {column} FROM last_commit");
    let found = conn.query_row(&sql, [], |r| r.get::<_, Option<i64>>(0));
    Ok(found.optional()?.flatten().map(Millis))
}

fn block(r: &Row<'_>) -> rusqlite::Result<BlockRef> {
    Ok(BlockRef { number: row::number(r, 0)?, hash: row::parsed(r, 1)? })
}

pub(super) fn cursor(conn: &Connection) -> rusqlite::Result<Option<BlockRef>> {
    conn.query_row("SELECT number, hash FROM cursor", [], block).optional()
}

fn window(conn: &Connection) -> rusqlite::Result<Vec<BlockRef>> {
    conn.prepare("SELECT number, hash FROM window ORDER BY number")?.query_map([], block)?.collect()
}

fn tokens(conn: &Connection) -> rusqlite::Result<Vec<TokenFact>> {
    conn.prepare("SELECT address, symbol, decimals, kind, ticker FROM tokens ORDER BY address")?
        .query_map([], |r| {
            Ok(TokenFact {
                address: row::parsed(r, 0)?,
                symbol: r.get(1)?,
                decimals: r.get(2)?,
                kind: row::kind(r, 3, 4)?,
            })
        })?
        .collect()
}

/// Σ over executions per ticker, BUY positive.
pub(super) fn execution_sums(conn: &Connection) -> rusqlite::Result<BTreeMap<Symbol, Shares>> {
    let mut statement =
        conn.prepare("SELECT i.symbol, i.side, x.quantity FROM executions x JOIN intents i USING (intent)")?;
    let mut rows = statement.query([])?;
    let mut sums = BTreeMap::new();
    while let Some(r) = rows.next()? {
        let (symbol, side, quantity): (Symbol, Side, Shares) =
            (row::parsed(r, 0)?, row::parsed(r, 1)?, row::parsed(r, 2)?);
        add(&mut sums, &symbol, side.signed(quantity))?;
    }
    Ok(sums)
}

fn intents(conn: &Connection, compared_at: Option<Millis>) -> rusqlite::Result<Vec<Intent>> {
    let since = compared_at.map_or(i64::MIN, |at| at.plus(-TERMINAL_MS).0);
    conn.prepare(
        "SELECT id, symbol, side, quantity, state, transitions, created_at, sent_at, changed_at, order_id, executed, \
         executions, adopted, reference, reason FROM intents WHERE live = 1 OR changed_at >= ?1 OR sent_at >= ?1 ORDER BY intent",
    )?
    .query_map([since], |r| {
        Ok(Intent {
            id: row::parsed(r, 0)?,
            symbol: row::parsed(r, 1)?,
            side: row::parsed(r, 2)?,
            quantity: row::parsed(r, 3)?,
            state: row::parsed(r, 4)?,
            transitions: r.get(5)?,
            created_at: Millis(r.get(6)?),
            sent_at: r.get::<_, Option<i64>>(7)?.map(Millis),
            changed_at: Millis(r.get(8)?),
            order_id: row::parsed_or_none(r, 9)?,
            executed: row::parsed(r, 10)?,
            executions: r.get(11)?,
            adopted: r.get(12)?,
            reference: row::parsed_or_none(r, 13)?,
            reason: r.get(14)?,
        })
    })?
    .collect()
}

/// Attempts that ended without an execution since the last one that had one, or since a person lifted the halt that
/// they led to. What says something about us and
/// not about the order (login, rate, a request that never left) and a day that ended are not counted.
fn failures(conn: &Connection) -> rusqlite::Result<Vec<(Symbol, u32, Millis)>> {
    let mut statement = conn.prepare(
        "SELECT symbol, state, executed, changed_at, reason FROM intents i \
         WHERE changed_at > coalesce((SELECT max(at) FROM halts h WHERE h.symbol = i.symbol AND h.kind = 'rejects' \
         AND h.raised = 0), changed_at - 1) ORDER BY changed_at, intent",
    )?;
    let mut rows = statement.query([])?;
    let mut failures: BTreeMap<Symbol, (u32, Millis)> = BTreeMap::new();
    while let Some(r) = rows.next()? {
        let symbol: Symbol = row::parsed(r, 0)?;
        let (executed, reason): (Shares, String) = (row::parsed(r, 2)?, r.get(4)?);
        let counted = match row::parsed(r, 1)? {
            IntentState::Refused => !reason.starts_with("not sent") && !reason.starts_with("gate:"),
            IntentState::Rejected | IntentState::Canceled => true,
            _ => false,
        };
        if !executed.is_zero() {
            failures.remove(&symbol);
        } else if counted {
            let ended = failures.entry(symbol).or_default();
            *ended = (ended.0.saturating_add(1), Millis(r.get(3)?));
        }
    }
    Ok(failures.into_iter().map(|(symbol, (number, ended))| (symbol, number, ended)).collect())
}

/// Halts in force: those whose last row raises them.
pub(super) fn halts(conn: &Connection) -> rusqlite::Result<Vec<(Option<Symbol>, HaltKind, String)>> {
    conn.prepare(
        "SELECT symbol, kind, reason FROM halts WHERE raised = 1 \
         AND halt IN (SELECT max(halt) FROM halts GROUP BY symbol, kind) ORDER BY halt",
    )?
    .query_map([], |r| Ok((row::parsed_or_none(r, 0)?, row::parsed(r, 1)?, r.get(2)?)))?
    .collect()
}
