//! Everything the engine starts from, read in one transaction.
//!
//! What it takes does not grow with the history: sums are kept ([`sums`]), whole fills are read only of the last blocks,
//! and of intents those that are live or young. The walks over everything are here too, for what checks the sums.

use std::collections::BTreeMap;

use alloy::primitives::B256;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::error::LedgerError;
use super::held::{add, halts, sum};
use super::open::Ledger;
use super::{FailedAttempts, FillState, Loaded, PassedOver, RecentFill, TokenRow, Traded, row, sums};
use crate::fills::{Fill, Listing, PendingFill, TokenFact, TokenKind};
use crate::hedges::{Intent, Snapshot};
use crate::ports::chain::ChainView;
use crate::ports::records::{ENDED_KEPT_MS, RECENT_MS};
use crate::positions::TRADED_SHARES_MAX;
use crate::units::{BlockRef, Cash, FillId, LogId, Millis, OrderId, Shares, Symbol};

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

    /// The trades that were passed over and would be fills by `listing`: those that nobody was asked about, and of those
    /// that a person ignored the ones that a fork may still move.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    pub fn passed_over(&self, listing: &Listing) -> Result<Vec<PassedOver>, LedgerError> {
        passed_over(&self.conn, listing)
            .map_err(|error| LedgerError::sql(&self.path, "read the trades that were passed over", error))
    }

    /// What the ledger holds of the fills of one transaction, ascending by log index.
    ///
    /// # Errors
    /// As [`Ledger::load`].
    pub fn fill_states(&self, tx_hash: B256) -> Result<Vec<FillState>, LedgerError> {
        let mut states = Vec::new();
        fold(&self.conn, Which::Transaction(tx_hash), |state| {
            states.push(state);
            Ok(())
        })
        .map_err(|error| LedgerError::sql(&self.path, "read the fills of a transaction", error))?;
        states.sort_by_key(|state| (state.fill.id.log_index, state.fill.id.side));
        Ok(states)
    }
}

/// See [`Ledger::passed_over`].
pub(super) fn passed_over(conn: &Connection, listing: &Listing) -> rusqlite::Result<Vec<PassedOver>> {
    let mut cash = listing.cash.clone();
    cash.extend(
        tokens(conn)?.into_iter().filter(|fact| fact.kind == TokenKind::Cash).map(|fact| fact.address),
    );
    let listing = Listing { cash, ..listing.clone() };
    let mut statement = conn.prepare(
        "SELECT s.chain_id, s.block_hash, s.tx_hash, s.log_index, s.side, s.block_number, s.orderbook, s.owner, \
         s.input_token, s.output_token, s.symbol, s.shares, s.reason, a.skipped IS NOT NULL FROM skipped_fills s \
         LEFT JOIN skipped_answers a USING (skipped) WHERE a.skipped IS NULL \
         OR a.counted = 0 AND s.block_number > (SELECT min(number) FROM window) ORDER BY s.skipped",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(r) = rows.next()? {
        let trade = row::skipped(r)?;
        if let Some(symbol) = listing.ticker_of(&trade) {
            found.push(PassedOver { trade, symbol, ignored: r.get(13)? });
        }
    }
    Ok(found)
}

/// Which fills are folded.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    /// Those of one transaction.
    Transaction(B256),
    /// Those that the engine keeps: above this block (all, where none), and older ones with an entry that has no count.
    InMemory(Option<u64>),
}

/// Folds the fills and hands each to `take`, in the order of birth.
pub(super) fn fold(
    conn: &Connection,
    which: Which,
    mut take: impl FnMut(FillState) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let (filter, value) = match which {
        Which::InMemory(None) => ("", None),
        Which::Transaction(tx_hash) => ("WHERE f.tx_hash = ?1", Some(Value::from(row::hash(&tx_hash)))),
        Which::InMemory(Some(floor)) => (
            "WHERE f.fill IN (SELECT fill FROM fills WHERE block_number > ?1 UNION SELECT fill FROM waiting_fills)",
            Some(Value::from(i64::try_from(floor).unwrap_or(i64::MAX))),
        ),
    };
    let sql = format!(
        "SELECT f.fill, {columns}, e.n, e.sign, c.n IS NOT NULL, {unit} FROM fills f JOIN fill_entries e USING (fill) \
         LEFT JOIN fill_counts c ON c.fill = e.fill AND c.n = e.n LEFT JOIN fill_units u ON u.fill = f.fill {filter} \
         ORDER BY f.fill, e.n",
        columns = row::FILL_COLUMNS,
        unit = row::UNIT_COLUMNS,
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(value))?;
    let mut current: Option<(i64, FillState)> = None;
    while let Some(r) = rows.next()? {
        let key: i64 = r.get(0)?;
        if current.as_ref().is_none_or(|(fill, _)| *fill != key) {
            if let Some((_, done)) = current.take() {
                take(done)?;
            }
            let fill = Fill { unit: row::unit(r, 17)?.map(Box::new), ..row::fill(r, 1)? };
            current = Some((key, FillState { fill, n: 0, standing: false, counted: false }));
        }
        if let Some((_, state)) = &mut current {
            state.n = r.get(14)?;
            state.standing = r.get::<_, i64>(15)? == 1;
            state.counted = r.get(16)?;
        }
    }
    current.map_or(Ok(()), |(_, last)| take(last))
}

/// Σ per ticker of what counting fills may be short of the truth. It reads the fills of tokens that are not one share.
fn slack(conn: &Connection) -> rusqlite::Result<BTreeMap<Symbol, Shares>> {
    let mut statement = conn.prepare(&format!(
        "SELECT f.symbol, f.shares, {unit} FROM fill_units u CROSS JOIN fills f USING (fill) \
         WHERE (SELECT sum(e.sign) FROM fill_counts c JOIN fill_entries e USING (fill, n) WHERE c.fill = u.fill) = 1",
        unit = row::UNIT_COLUMNS
    ))?;
    let mut rows = statement.query([])?;
    let mut sums = BTreeMap::new();
    while let Some(r) = rows.next()? {
        if let Some(unit) = row::unit(r, 2)? {
            add(&mut sums, &row::parsed(r, 0)?, unit.slack(row::parsed(r, 1)?))?;
        }
    }
    Ok(sums)
}

fn loaded(conn: &Connection) -> rusqlite::Result<Loaded> {
    let last_commit = last_commit(conn)?;
    let compared_at = moment(conn, "compared_at")?;
    let window = window(conn)?;
    let floor = window.first().map(|first| first.number);
    let mut fills = Vec::new();
    let mut standing = Vec::new();
    let kept = sums::read(conn)?;
    fold(conn, Which::InMemory(floor), |state| {
        let fill = &state.fill;
        let above = floor.is_none_or(|floor| fill.block_number > floor);
        if above && state.standing {
            standing.push((fill.block_number, fill.id));
        }
        if above || (state.standing && !state.counted) {
            fills.push(state);
        }
        Ok(())
    })?;
    let traded = traded(conn)?;
    let number =
        |count: i64| u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, count));
    Ok(Loaded {
        passed_over: Vec::new(),
        chain: ChainView {
            cursor: cursor(conn)?,
            window,
            standing,
            evidence: pushed(conn)?,
            tokens: tokens(conn)?,
            ..ChainView::default()
        },
        pending: pending(conn)?,
        fills,
        fill_sums: kept.each(|sums| sums.fills).into_iter().collect(),
        fill_slack: slack(conn)?.into_iter().collect(),
        execution_sums: kept.each(|sums| sums.executions).into_iter().collect(),
        account_sums: kept.each(|sums| sums.account).into_iter().collect(),
        baselines: baselines(conn)?.into_iter().collect(),
        tag: conn.query_row("SELECT app_tag FROM stamp", [], |r| r.get(0)).optional()?.flatten(),
        begun: moment(conn, "begun_at")?.is_some(),
        recent: recent(conn, last_commit)?,
        traded,
        intents: intents(conn, compared_at)?,
        failures: failures(conn)?,
        halts: halts(conn)?,
        fills_total: number(kept.counts.fills)?,
        reversals_total: number(kept.counts.reversals)?,
        dead_total: number(kept.counts.dead)?,
        first_compared_at: moment(conn, "first_compared_at")?,
        last_commit,
        compared_at,
    })
}

/// Per ticker the newest fills that make up [`TRADED_SHARES_MAX`], ascending. Each ticker's are walked from the newest
/// back, so that a swarm of dust fills can not push the real ones out.
fn traded(conn: &Connection) -> rusqlite::Result<Vec<Traded>> {
    let mut newest = Vec::new();
    let mut next = conn.prepare("SELECT min(symbol) FROM fills WHERE symbol > ?1")?;
    let mut back =
        conn.prepare("SELECT fill, cash, shares FROM fills WHERE symbol = ?1 ORDER BY fill DESC")?;
    let mut spelling = String::new();
    while let Some(found) = next.query_row([&spelling], |r| r.get::<_, Option<String>>(0))? {
        let symbol: Symbol = found.parse().map_err(|error| row::damaged(0, error))?;
        let mut sum = Shares::ZERO;
        let mut rows = back.query([&found])?;
        while sum < TRADED_SHARES_MAX
            && let Some(r) = rows.next()?
        {
            let shares = row::parsed(r, 2)?;
            sum = self::sum(sum, shares)?;
            newest.push((r.get::<_, i64>(0)?, symbol.clone(), row::parsed::<Cash>(r, 1)?, shares));
        }
        spelling = found;
    }
    newest.sort_unstable_by_key(|(fill, ..)| std::cmp::Reverse(*fill));
    // An older ledger may hold two spellings of one ticker.
    let mut sums: BTreeMap<Symbol, Shares> = BTreeMap::new();
    let mut traded = Vec::new();
    for (_, symbol, cash, shares) in newest {
        if sums.get(&symbol).is_none_or(|sum| *sum < TRADED_SHARES_MAX) {
            add(&mut sums, &symbol, shares)?;
            traded.push(Traded { symbol, cash, shares });
        }
    }
    traded.reverse();
    Ok(traded)
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

pub(super) fn block(r: &Row<'_>) -> rusqlite::Result<BlockRef> {
    Ok(BlockRef { number: row::number(r, 0)?, hash: row::parsed(r, 1)? })
}

pub(super) fn cursor(conn: &Connection) -> rusqlite::Result<Option<BlockRef>> {
    conn.query_row("SELECT number, hash FROM cursor", [], block).optional()
}

fn window(conn: &Connection) -> rusqlite::Result<Vec<BlockRef>> {
    conn.prepare("SELECT number, hash FROM window ORDER BY number")?.query_map([], block)?.collect()
}

fn pending(conn: &Connection) -> rusqlite::Result<Vec<PendingFill>> {
    conn.prepare(
        "SELECT chain_id, block_hash, tx_hash, log_index, side, block_number, token, symbol, reason \
         FROM pending_fills ORDER BY block_number, log_index, side",
    )?
    .query_map([], |r| {
        Ok(PendingFill {
            id: FillId {
                chain_id: row::number(r, 0)?,
                block_hash: row::parsed(r, 1)?,
                tx_hash: row::parsed(r, 2)?,
                log_index: row::number(r, 3)?,
                side: row::parsed(r, 4)?,
            },
            block_number: row::number(r, 5)?,
            token: row::parsed(r, 6)?,
            symbol: row::parsed_or_none(r, 7)?,
            reason: r.get(8)?,
        })
    })?
    .collect()
}

fn pushed(conn: &Connection) -> rusqlite::Result<Vec<LogId>> {
    conn.prepare(
        "SELECT block_number, block_hash, tx_hash, log_index FROM pushed_logs \
         ORDER BY block_number, block_hash, tx_hash, log_index",
    )?
    .query_map([], |r| {
        Ok(LogId { block: block(r)?, tx_hash: row::parsed(r, 2)?, log_index: row::number(r, 3)? })
    })?
    .collect()
}

/// Tokens, each with its last unit.
pub(super) const TOKENS: &str = "SELECT address, symbol, decimals, kind, ticker, (SELECT unit FROM token_units u \
                                 WHERE u.address = t.address ORDER BY n DESC LIMIT 1) FROM tokens t";

/// The tokens, each with when what it is worth was recorded.
pub(super) fn tokens_since(conn: &Connection) -> rusqlite::Result<Vec<TokenRow>> {
    let mut statement = conn.prepare("SELECT max(at) FROM token_units WHERE address = ?1")?;
    tokens(conn)?
        .into_iter()
        .map(|fact| {
            let since = statement.query_row([row::address(&fact.address)], |r| r.get::<_, Option<i64>>(0))?;
            Ok(TokenRow { fact, since: since.map(Millis) })
        })
        .collect()
}

fn tokens(conn: &Connection) -> rusqlite::Result<Vec<TokenFact>> {
    conn.prepare(&format!("{TOKENS} ORDER BY address"))?
        .query_map([], |r| {
            Ok(TokenFact {
                address: row::parsed(r, 0)?,
                symbol: r.get(1)?,
                decimals: r.get(2)?,
                kind: row::kind(r, 3)?,
            })
        })?
        .collect()
}

/// Σ per ticker of what the account holds beyond all executions.
fn baselines(conn: &Connection) -> rusqlite::Result<BTreeMap<Symbol, Shares>> {
    let mut statement = conn.prepare("SELECT symbol, change FROM baselines")?;
    let mut rows = statement.query([])?;
    let mut sums = BTreeMap::new();
    while let Some(r) = rows.next()? {
        let (symbol, change) = (row::parsed(r, 0)?, row::parsed(r, 1)?);
        add(&mut sums, &symbol, change)?;
    }
    Ok(sums)
}

/// Standing fills first seen in the last hour before the last write.
fn recent(conn: &Connection, last_commit: Option<Millis>) -> rusqlite::Result<Vec<RecentFill>> {
    let Some(last) = last_commit else { return Ok(Vec::new()) };
    // First entries are in the order of time, so the walk back from the newest fill is short; but for a clock that was
    // set back meanwhile, for which it goes on for another hour.
    let sql = format!(
        "SELECT {columns}, e.at, (SELECT sign FROM fill_entries l WHERE l.fill = f.fill ORDER BY n DESC LIMIT 1) \
         FROM fills f CROSS JOIN fill_entries e ON e.fill = f.fill AND e.n = 0 ORDER BY f.fill DESC",
        columns = row::FILL_COLUMNS
    );
    let (since, far) = (last.plus(-RECENT_MS), last.plus(-2 * RECENT_MS));
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut recent = Vec::new();
    while let Some(r) = rows.next()? {
        let seen = Millis(r.get(13)?);
        if seen < far {
            break;
        }
        if seen >= since && r.get::<_, i64>(14)? == 1 {
            let fill = row::fill(r, 0)?;
            let at = fill.traded_at(seen);
            recent.push(RecentFill {
                id: fill.id,
                symbol: fill.symbol,
                at,
                cash: fill.cash,
                shares: fill.shares,
            });
        }
    }
    recent.reverse();
    Ok(recent)
}

fn intents(conn: &Connection, compared_at: Option<Millis>) -> rusqlite::Result<Vec<Intent>> {
    let since = compared_at.map_or(i64::MIN, |at| at.plus(-ENDED_KEPT_MS).0);
    intents_where(conn, "live = 1 OR max(changed_at, coalesce(sent_at, changed_at)) >= ?1", [since])
}

/// The intents that fulfil `wanted`, in the order of birth.
pub(super) fn intents_where(
    conn: &Connection,
    wanted: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Intent>> {
    let sql = format!(
        "SELECT id, symbol, side, quantity, state, transitions, created_at, sent_at, changed_at, order_id, executed, \
         executions, adopted, reference, reason, (SELECT 1 FROM decisions d WHERE d.intent = i.intent \
         AND d.what = 'ignore') IS NOT NULL, s.position, s.position_at, s.known_orders, i.counted FROM intents i \
         LEFT JOIN intent_snapshots s ON s.intent = i.intent AND s.n = (SELECT max(n) FROM intent_snapshots \
         WHERE intent = i.intent) WHERE {wanted} ORDER BY i.intent"
    );
    conn.prepare(&sql)?
        .query_map(values, |r| {
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
                ignored: r.get(15)?,
                snapshot: snapshot(r, 16)?,
                counted: r.get(19)?,
            })
        })?
        .collect()
}

/// A snapshot in three columns from `at` on; none where there is none.
pub(super) fn snapshot(r: &Row<'_>, at: usize) -> rusqlite::Result<Option<Snapshot>> {
    let Some(known) = r.get::<_, Option<String>>(at + 2)? else { return Ok(None) };
    let position = row::parsed_or_none(r, at)?.zip(r.get::<_, Option<i64>>(at + 1)?.map(Millis));
    let known: Result<Vec<OrderId>, _> =
        known.split(',').filter(|id| !id.is_empty()).map(str::parse).collect();
    let known = known.map_err(|error| row::damaged(at + 2, error))?;
    Ok(Some(Snapshot { position, known }))
}

/// Attempts that ended without an execution since the last one that had one, or since a person lifted the halt that
/// they led to. What says something about us and
/// not about the order (login, rate, a request that never left) and a day that ended are not counted.
fn failures(conn: &Connection) -> rusqlite::Result<Vec<FailedAttempts>> {
    // What comes after an attempt is looked for from that moment on, and is found soon where the ticker trades again.
    let sql = format!(
        "SELECT symbol, changed_at FROM intents i INDEXED BY intents_without_execution \
         WHERE executed = '0' AND counted = 1 AND state IN ('Refused', 'Rejected', 'Canceled') \
         AND changed_at > coalesce((SELECT max(at) FROM halts h WHERE {lifted} = {ended} AND h.kind = 'rejects' \
         AND h.raised = 0), changed_at - 1) \
         AND NOT EXISTS (SELECT 1 FROM intents s WHERE max(s.changed_at, coalesce(s.sent_at, s.changed_at)) >= i.changed_at \
         AND {later} = {ended} AND s.executed <> '0' AND (s.changed_at, s.intent) > (i.changed_at, i.intent)) \
         ORDER BY changed_at, intent",
        lifted = row::ticker("h.symbol"),
        ended = row::ticker("i.symbol"),
        later = row::ticker("s.symbol"),
    );
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut failures: BTreeMap<Symbol, (u32, Millis)> = BTreeMap::new();
    while let Some(r) = rows.next()? {
        let ended = failures.entry(row::parsed(r, 0)?).or_default();
        *ended = (ended.0.saturating_add(1), Millis(r.get(1)?));
    }
    let failed = |(symbol, (count, ended_at))| FailedAttempts { symbol, count, ended_at };
    Ok(failures.into_iter().map(failed).collect())
}
