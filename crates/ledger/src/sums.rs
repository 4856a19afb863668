//! Sums that are kept, so that a start does not walk every row that ever was.
//!
//! They follow from the fills, entries and executions, and change in the transaction that writes those. A digest over all
//! of them tells that they are as they were written; what they follow from is walked when the whole ledger is checked,
//! and must give the same ([`must_agree`]).
//!
//! Invariant: whoever reads a sum has compared the digest.

use std::collections::BTreeMap;
use std::path::Path;

use alloy::primitives::keccak256;
use rusqlite::{Connection, OptionalExtension};

use super::error::LedgerError;
use super::{held, row};
use crate::units::{Shares, Symbol};

/// The first schema that has them.
pub(super) const SCHEMA: i64 = 6;

/// What is summed of one ticker; none where there is no such row at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Signed shares of the fills that count.
    pub(super) fills: Option<Shares>,
    /// Of the executions that count, BUY positive.
    pub(super) executions: Option<Shares>,
    /// Of all executions, BUY positive.
    pub(super) account: Option<Shares>,
}

impl Sums {
    fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// How many rows there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) fills: i64,
    pub(super) reversals: i64,
    pub(super) dead: i64,
}

/// Everything that is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) tickers: BTreeMap<Symbol, Sums>,
    pub(super) counts: Counts,
}

impl Kept {
    /// One of the three, of the tickers that have it.
    pub(super) fn each(&self, which: impl Fn(&Sums) -> Option<Shares>) -> BTreeMap<Symbol, Shares> {
        self.tickers.iter().filter_map(|(symbol, sums)| Some((symbol.clone(), which(sums)?))).collect()
    }

    fn digest(&self) -> i64 {
        let tickers = self.tickers.iter().map(|(symbol, sums)| digest_of(symbol, *sums));
        tickers.fold(digest_of_counts(self.counts), i64::wrapping_add)
    }
}

/// A ticker's part of the digest, which is the wrapping sum of its parts: one can be exchanged without the others.
fn digest_of(symbol: &Symbol, sums: Sums) -> i64 {
    if sums.is_nothing() {
        return 0;
    }
    let [fills, executions, account] = [sums.fills, sums.executions, sums.account]
        .map(|sum| sum.map_or_else(|| "-".to_owned(), |sum| sum.to_string()));
    digest_of_text(&format!("{symbol} {fills} {executions} {account}"))
}

fn digest_of_counts(counts: Counts) -> i64 {
    digest_of_text(&format!("{} {} {}", counts.fills, counts.reversals, counts.dead))
}

fn digest_of_text(text: &str) -> i64 {
    let hash = keccak256(text);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    i64::from_be_bytes(first)
}

/// What a batch adds to everything that is kept.
#[derive(Debug, Default)]
pub(super) struct Changes {
    tickers: BTreeMap<Symbol, Sums>,
    pub(super) counts: Counts,
    /// A person took an order's executions out: those sums are reckoned anew, from the rows.
    pub(super) ignored: bool,
}

impl Changes {
    /// What is added to a ticker's sums: that there is a row, where it is zero.
    pub(super) fn of(&mut self, symbol: &Symbol) -> &mut Sums {
        self.tickers.entry(symbol.clone()).or_default()
    }

    fn is_empty(&self) -> bool {
        self.tickers.is_empty() && self.counts == Counts::default() && !self.ignored
    }

    /// Writes what changed. Nothing, where the sums were never reckoned or nothing changes them.
    pub(super) fn settle(&self, conn: &Connection) -> rusqlite::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let Some((counts, mut digest)) = totals(conn)? else { return Ok(()) };
        let anew = if self.ignored { Some(held::execution_sums(conn)?) } else { None };
        let mut tickers = self.tickers.clone();
        if let Some(anew) = &anew {
            let kept = read_rows(conn)?;
            for symbol in anew.keys().chain(kept.keys()) {
                tickers.entry(symbol.clone()).or_default();
            }
        }
        for (symbol, change) in &tickers {
            let before = read_row(conn, symbol)?;
            let mut after = Sums {
                fills: more(before.fills, change.fills)?,
                executions: more(before.executions, change.executions)?,
                account: more(before.account, change.account)?,
            };
            if let Some(anew) = &anew {
                after.executions = anew.get(symbol).copied();
            }
            write_row(conn, symbol, after)?;
            digest = digest.wrapping_sub(digest_of(symbol, before)).wrapping_add(digest_of(symbol, after));
        }
        let after = Counts {
            fills: counts.fills.saturating_add(self.counts.fills),
            reversals: counts.reversals.saturating_add(self.counts.reversals),
            dead: counts.dead.saturating_add(self.counts.dead),
        };
        digest = digest.wrapping_sub(digest_of_counts(counts)).wrapping_add(digest_of_counts(after));
        write_totals(conn, after, digest)
    }
}

/// Adds to a change.
pub(super) fn add(to: &mut Option<Shares>, change: Shares) -> rusqlite::Result<()> {
    *to = more(*to, Some(change))?;
    Ok(())
}

/// The digest of a ledger without a fill.
pub(super) fn digest_of_nothing() -> i64 {
    digest_of_counts(Counts::default())
}

/// `None` is "no row": it stays so until there is one.
fn more(before: Option<Shares>, change: Option<Shares>) -> rusqlite::Result<Option<Shares>> {
    match (before, change) {
        (before, None) => Ok(before),
        (before, Some(change)) => held::sum(before.unwrap_or_default(), change).map(Some),
    }
}

/// Counts and digest; none where they were never reckoned.
fn totals(conn: &Connection) -> rusqlite::Result<Option<(Counts, i64)>> {
    let found = conn
        .prepare_cached("SELECT fills, reversals, dead, digest FROM last_commit WHERE digest IS NOT NULL")?
        .query_row([], |r| {
            Ok((Counts { fills: r.get(0)?, reversals: r.get(1)?, dead: r.get(2)? }, r.get(3)?))
        });
    found.optional()
}

fn write_totals(conn: &Connection, counts: Counts, digest: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("UPDATE last_commit SET fills = ?1, reversals = ?2, dead = ?3, digest = ?4")?
        .execute((counts.fills, counts.reversals, counts.dead, digest))
        .map(drop)
}

const COLUMNS: &str = "SELECT fills, executions, account, symbol FROM sums";

fn sums(r: &rusqlite::Row<'_>) -> rusqlite::Result<Sums> {
    Ok(Sums {
        fills: row::parsed_or_none(r, 0)?,
        executions: row::parsed_or_none(r, 1)?,
        account: row::parsed_or_none(r, 2)?,
    })
}

fn read_row(conn: &Connection, symbol: &Symbol) -> rusqlite::Result<Sums> {
    let found = conn
        .prepare_cached(&format!("{COLUMNS} WHERE symbol = ?1"))?
        .query_row([symbol.as_str()], sums)
        .optional();
    Ok(found?.unwrap_or_default())
}

fn read_rows(conn: &Connection) -> rusqlite::Result<BTreeMap<Symbol, Sums>> {
    conn.prepare_cached(COLUMNS)?.query_map([], |r| Ok((row::parsed(r, 3)?, sums(r)?)))?.collect()
}

fn write_row(conn: &Connection, symbol: &Symbol, sums: Sums) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO sums (symbol, fills, executions, account) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (symbol) \
         DO UPDATE SET fills = excluded.fills, executions = excluded.executions, account = excluded.account",
    )?
    .execute((
        symbol.as_str(),
        row::text_or_none(sums.fills.as_ref()),
        row::text_or_none(sums.executions.as_ref()),
        row::text_or_none(sums.account.as_ref()),
    ))
    .map(drop)
}

/// What is kept, as it was written; in a ledger that was never written to, nothing.
///
/// # Errors
/// Where the digest is of something else: the file is damaged.
pub(super) fn read(conn: &Connection) -> rusqlite::Result<Kept> {
    let Some((counts, digest)) = totals(conn)? else { return walked(conn) };
    let kept = Kept { tickers: read_rows(conn)?, counts };
    if kept.digest() == digest { Ok(kept) } else { Err(row::damaged(3, Disagreement)) }
}

/// Why sums are not believed.
#[derive(Debug, thiserror::Error)]
#[error("the sums are not as they were written")]
struct Disagreement;

/// The same from the rows that it follows from: one pass over each table.
pub(super) fn walked(conn: &Connection) -> rusqlite::Result<Kept> {
    let mut tickers: BTreeMap<Symbol, Sums> = BTreeMap::new();
    let mut fills = BTreeMap::new();
    held::add_counting(conn, &mut fills)?;
    for (symbol, sum) in fills {
        tickers.entry(symbol).or_default().fills = Some(sum);
    }
    for (symbol, sum) in held::execution_sums(conn)? {
        tickers.entry(symbol).or_default().executions = Some(sum);
    }
    for (symbol, sum) in held::account_sums(conn)? {
        tickers.entry(symbol).or_default().account = Some(sum);
    }
    let count = |sql| conn.query_row(sql, [], |r| r.get(0));
    let counts = Counts {
        fills: count("SELECT count(*) FROM fills")?,
        reversals: count("SELECT count(*) FROM fill_entries WHERE sign = -1")?,
        dead: count("SELECT count(*) FROM dead_events")?,
    };
    Ok(Kept { tickers, counts })
}

/// Reckons the sums of a ledger that comes from an older schema, once.
///
/// # Errors
/// [`LedgerError::Damaged`] or [`LedgerError::Sql`]; the sums are then as they were.
pub(super) fn reckon(conn: &mut Connection, path: &Path) -> Result<(), LedgerError> {
    let failed = |error| LedgerError::sql(path, "reckoned its sums", error);
    let owing = "SELECT EXISTS (SELECT 1 FROM last_commit WHERE digest IS NULL)";
    if !conn.query_row(owing, [], |r| r.get::<_, bool>(0)).map_err(failed)? {
        return Ok(());
    }
    let tx = conn.transaction().map_err(failed)?;
    let write = |kept: &Kept| -> rusqlite::Result<()> {
        tx.execute("DELETE FROM sums", [])?;
        kept.tickers.iter().try_for_each(|(symbol, sums)| write_row(&tx, symbol, *sums))?;
        write_totals(&tx, kept.counts, kept.digest())
    };
    walked(&tx).and_then(|kept| write(&kept)).map_err(failed)?;
    tx.commit().map_err(failed)
}

/// Whether what is kept is what the rows give, and whether the indexes that a start reads by have every row.
///
/// # Errors
/// [`LedgerError::Damaged`] where it is not.
pub(super) fn must_agree(conn: &Connection, path: &Path) -> Result<(), LedgerError> {
    let failed = |error| LedgerError::sql(path, "compared its sums", error);
    // Of one moment: a bot may be writing.
    let moment = conn.unchecked_transaction().map_err(failed)?;
    if read(&moment).map_err(failed)? != walked(&moment).map_err(failed)? {
        return Err(LedgerError::damaged(path, "the sums are not those of its rows".to_owned()));
    }
    for (what, rows, kept) in PAIRS {
        let count = |sql: &str| moment.query_row(sql, [], |r| r.get::<_, i64>(0)).map_err(failed);
        let (rows, kept) = (count(rows)?, count(kept)?);
        if rows != kept {
            return Err(LedgerError::damaged(path, format!("{rows} {what}, and {kept} are listed")));
        }
    }
    Ok(())
}

/// What a start reads by an index or a list: how many rows there are, and how many are listed.
const PAIRS: [(&str, &str, &str); 4] = [
    (
        "fills wait to count",
        "SELECT count(*) FROM fill_entries e LEFT JOIN fill_counts c ON c.fill = e.fill AND c.n = e.n WHERE c.n IS NULL \
         AND e.sign = 1 AND e.n = (SELECT count(*) - 1 FROM fill_entries l WHERE l.fill = e.fill)",
        "SELECT count(*) FROM waiting_fills w JOIN fill_entries e ON e.fill = w.fill LEFT JOIN fill_counts c \
         ON c.fill = e.fill AND c.n = e.n WHERE c.n IS NULL AND e.sign = 1 \
         AND e.n = (SELECT count(*) - 1 FROM fill_entries l WHERE l.fill = e.fill)",
    ),
    (
        "intents are live",
        "SELECT count(*) FROM intents NOT INDEXED WHERE live = 1",
        "SELECT count(*) FROM intents INDEXED BY intents_live WHERE live = 1",
    ),
    (
        "intents have a moment",
        "SELECT count(*) FROM intents NOT INDEXED",
        "SELECT count(*) FROM intents INDEXED BY intents_by_moment \
         WHERE max(changed_at, coalesce(sent_at, changed_at)) IS NOT NULL",
    ),
    (
        "fills have a ticker",
        "SELECT count(*) FROM fills NOT INDEXED",
        "SELECT count(*) FROM fills INDEXED BY fills_by_symbol WHERE symbol > ''",
    ),
];
