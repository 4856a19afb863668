//! Reading beside a running bot: what the reading verbs, the page and the API ask.
//!
//! A [`Reader`] can not write: its connection is read-only and `query_only`. Rows carry the stable JSON names of the
//! program, in their order; further fields follow after them. Amounts stay exact text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row};
use serde::{Serialize, Serializer};

use super::error::LedgerError;
use super::{PassedOver, Stamp, connect, file, held, load, place, row, stamp, sums};
use crate::fills::{Listing, TokenFact};
use crate::hedges::{Halt, HaltKind, IntentState, Unsettled};
use crate::units::{BlockRef, Cash, IntentId, Millis, OrderId, Price, Shares, Side, Symbol};

/// Which rows are wanted; everything where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this ticker only.
    pub symbol: Option<Symbol>,
    /// In this state only: a fill's (`seen`, `counting`, `reversed`, `skipped`) or a hedge's (`Working` …).
    pub state: Option<String>,
    /// Fills of this block and later ones.
    pub since_block: Option<u64>,
    /// The newest so many, oldest first.
    pub limit: Option<u32>,
}

impl Filter {
    /// The limit as SQLite takes it: a negative one is none.
    fn limit(&self) -> i64 {
        self.limit.map_or(-1, i64::from)
    }
}

/// A fill, or a trade of ours that was skipped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FillRow {
    /// Ticker; none where the pair has no share.
    pub symbol: Option<Symbol>,
    /// The owner's onchain side.
    pub side: Side,
    /// Shares, a magnitude.
    pub shares: Shares,
    /// Dollars; none where skipped.
    pub cash: Option<Cash>,
    /// Dollars per share, where there is one.
    pub price: Option<Price>,
    /// Height.
    pub block_number: u64,
    /// Hash of that block.
    pub block_hash: String,
    /// Transaction.
    pub tx_hash: String,
    /// Index within the block.
    pub log_index: u64,
    /// `seen`, `counting`, `reversed` or `skipped`.
    pub state: String,
    /// Why it is skipped.
    pub reason: Option<String>,
    /// The block's time, where the node said it.
    #[serde(serialize_with = "rfc3339_or_none")]
    pub block_time: Option<Millis>,
    /// When the ledger first had it.
    #[serde(serialize_with = "rfc3339")]
    pub seen_at: Millis,
    /// The order book.
    pub orderbook: String,
    /// The owner.
    pub owner: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
}

/// An intent and what the broker made of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HedgeRow {
    /// Its name.
    pub intent_id: IntentId,
    /// Ticker.
    pub symbol: Symbol,
    /// The broker's side.
    pub side: Side,
    /// Ordered quantity.
    pub quantity: Shares,
    /// Executed so far.
    pub executed: Shares,
    /// The order's average price at the last reading that changed it.
    pub average_price: Option<Price>,
    /// Where it stands.
    pub state: IntentState,
    /// The broker's name of the order.
    pub broker_order_id: Option<OrderId>,
    /// When it was last sent.
    #[serde(serialize_with = "rfc3339_or_none")]
    pub sent_at: Option<Millis>,
    /// When it was decided.
    #[serde(serialize_with = "rfc3339")]
    pub created_at: Millis,
    /// When it last changed its state.
    #[serde(serialize_with = "rfc3339")]
    pub changed_at: Millis,
    /// Found in the broker's book without an intent of ours.
    pub adopted: bool,
    /// The last transition's reason.
    pub reason: String,
}

/// One ticker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PositionRow {
    /// Ticker.
    pub symbol: Symbol,
    /// Signed: fills plus executions.
    pub exposure: Shares,
    /// The intent that blocks it.
    pub live_intent: Option<IntentId>,
    /// Where that one stands.
    pub live_state: Option<IntentState>,
    /// Σ over counting fills.
    pub fills: Shares,
    /// Σ over executions, BUY positive.
    pub executions: Shares,
    /// Halts in force on this ticker; those on all tickers are in [`Summary`].
    pub halts: Vec<HaltKind>,
}

/// A token that the ledger knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// What it is.
    pub fact: TokenFact,
    /// When what it is worth was recorded last; none of a token that is no share, or of an earlier version's.
    pub since: Option<Millis>,
}

/// A halt in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HaltRow {
    /// The ticker; all where none.
    pub symbol: Option<Symbol>,
    /// Why.
    pub kind: HaltKind,
    /// In words.
    pub reason: String,
}

/// The ledger's half of `bot status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Where it is.
    pub ledger: String,
    /// Schema version.
    pub schema: i64,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Order books, lower-case, ascending.
    pub orderbooks: Vec<String>,
    /// Owners, lower-case, ascending.
    pub owners: Vec<String>,
    /// Broker.
    pub broker: String,
    /// Account as the broker names it.
    pub account: String,
    /// Where the first sweep began.
    pub deployment_block: u64,
    /// Fills below it are skipped.
    pub hedge_from_block: Option<u64>,
    /// When the ledger was born.
    #[serde(serialize_with = "rfc3339")]
    pub born_at: Millis,
    /// The last block whose fills are all in the ledger.
    pub cursor: Option<BlockRef>,
    /// When it was last written.
    #[serde(serialize_with = "rfc3339_or_none")]
    pub last_commit: Option<Millis>,
    /// Fills ever stored.
    pub fills: u64,
    /// Reversals ever stored.
    pub reversals: u64,
    /// Skipped trades ever stored.
    pub skipped: u64,
    /// Dead events ever stored.
    pub dead: u64,
    /// Intents ever born.
    pub hedges: u64,
    /// Intents that are live.
    pub live: u64,
    /// Halts in force.
    pub halts: Vec<HaltRow>,
    /// The skipped trades by their reason; those that count after all are not among them.
    pub skipped_by: BTreeMap<String, u64>,
    /// What the broker writes on our orders, as it was learnt from the first one.
    pub app_tag: Option<String>,
}

/// A read-only connection.
#[derive(Debug)]
pub struct Reader {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    schema: i64,
}

impl Reader {
    /// Opens the ledger at `path` for reading; needs no lock.
    ///
    /// # Errors
    /// [`LedgerError::NotThere`], [`LedgerError::OlderSchema`], [`LedgerError::NewerSchema`],
    /// [`LedgerError::ChangedMigration`], [`LedgerError::Damaged`], [`LedgerError::Sql`].
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        match fs::metadata(path) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Err(LedgerError::NotThere { path: path.to_owned() });
            }
            Err(error) => return Err(place::refused(path, &error)),
        }
        file::must_not_be_empty(path)?;
        let conn = connect::connect_reading(path)?;
        let schema = file::must_be_readable(&conn, path)?;
        Ok(Self { conn, path: path.to_owned(), schema })
    }

    pub(super) fn failed(&self, error: rusqlite::Error) -> LedgerError {
        LedgerError::sql(&self.path, "was read", error)
    }

    /// Hands every fill and skipped trade to `take`, by height and log index.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`], [`LedgerError::Sql`], or what `take` returns.
    pub fn fills<E: From<LedgerError>>(
        &self,
        filter: &Filter,
        take: impl FnMut(FillRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let ticker = row::ticker("symbol");
        let wanted =
            format!("(?1 IS NULL OR {ticker} = ?1) AND (?2 IS NULL OR state = ?2) AND block_number >= ?3");
        let newest = fills_where(&wanted, "ORDER BY block_number DESC, log_index DESC, side DESC LIMIT ?4");
        let sql = match filter.limit {
            // The newest ones, turned round again.
            Some(_) => format!("SELECT * FROM ({newest}) ORDER BY block_number, log_index, side"),
            None => fills_where(&wanted, "ORDER BY block_number, log_index, side LIMIT ?4"),
        };
        let since = filter.since_block.map_or(0, |block| i64::try_from(block).unwrap_or(i64::MAX));
        let symbol = filter.symbol.as_ref().map(Symbol::as_str);
        self.each(&sql, (symbol, filter.state.as_deref(), since, filter.limit()), fill_row, take)
    }

    /// Hands every intent to `take`, in the order of birth.
    ///
    /// # Errors
    /// As [`Reader::fills`].
    pub fn hedges<E: From<LedgerError>>(
        &self,
        filter: &Filter,
        take: impl FnMut(HedgeRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let wanted = format!(
            "SELECT {HEDGE_COLUMNS}, i.intent AS born FROM intents i \
             WHERE (?1 IS NULL OR {ticker} = ?1) AND (?2 IS NULL OR state = ?2)",
            ticker = row::ticker("symbol"),
        );
        let sql = match filter.limit {
            // The newest ones, turned round again.
            Some(_) => format!("SELECT * FROM ({wanted} ORDER BY i.intent DESC LIMIT ?3) ORDER BY born"),
            None => format!("{wanted} ORDER BY i.intent LIMIT ?3"),
        };
        let symbol = filter.symbol.as_ref().map(Symbol::as_str);
        self.each(&sql, (symbol, filter.state.as_deref(), filter.limit()), hedge_row, take)
    }

    /// The intents that only a person can settle, as far as the ledger knows: at a broker that keeps the intents' names
    /// an `Unknown` one is asked for by the next start.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`], [`LedgerError::Sql`].
    pub fn unsettled(&self) -> Result<Vec<Unsettled>, LedgerError> {
        let by_name = "(SELECT broker IN ('paper', 'alpaca') FROM stamp)";
        let wanted = format!("live = 1 AND (state = 'Stuck' OR (state = 'Unknown' AND NOT {by_name}))");
        let found = load::intents_where(&self.conn, &wanted, []);
        Ok(found.map_err(|error| self.failed(error))?.iter().map(Unsettled::of).collect())
    }

    /// The tokens that the ledger knows, ascending by address.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn tokens(&self) -> Result<Vec<TokenRow>, LedgerError> {
        load::tokens_since(&self.conn).map_err(|error| self.failed(error))
    }

    /// The trades that were passed over and would be fills by `listing`, ignored ones within the window among them.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`], [`LedgerError::Sql`].
    pub fn passed_over(&self, listing: &Listing) -> Result<Vec<PassedOver>, LedgerError> {
        load::passed_over(&self.conn, listing).map_err(|error| self.failed(error))
    }

    /// Every ticker that has fills, executions or a live intent, ascending.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`], [`LedgerError::Sql`].
    pub fn positions(&self) -> Result<Vec<PositionRow>, LedgerError> {
        self.conn
            .unchecked_transaction()
            .and_then(|moment| positions(&moment))
            .map_err(|error| self.failed(error))
    }

    /// The same inside a transaction that is open already.
    pub(super) fn positions_within(&self) -> Result<Vec<PositionRow>, LedgerError> {
        positions(&self.conn).map_err(|error| self.failed(error))
    }

    /// The ledger's half of `bot status`.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`], [`LedgerError::Sql`].
    pub fn summary(&self) -> Result<Summary, LedgerError> {
        let moment = self.conn.unchecked_transaction().map_err(|error| self.failed(error))?;
        let stamp = stamp::read(&moment, &self.path)?;
        self.summarised(&moment, &stamp).map_err(|error| self.failed(error))
    }

    fn summarised(&self, conn: &Connection, stamp: &Stamp) -> rusqlite::Result<Summary> {
        let count = |sql| held::count(conn, sql);
        let kept = sums::read(conn)?.counts;
        let number =
            |count: i64| u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, count));
        Ok(Summary {
            ledger: self.path.display().to_string(),
            schema: self.schema,
            chain_id: stamp.chain_id,
            orderbooks: stamp.orderbooks.iter().map(row::address).collect(),
            owners: stamp.owners.iter().map(row::address).collect(),
            broker: stamp.broker.clone(),
            account: stamp.account.clone(),
            deployment_block: stamp.deployment_block,
            hedge_from_block: stamp.hedge_from_block,
            born_at: conn.query_row("SELECT born_at FROM stamp", [], |r| r.get(0).map(Millis))?,
            cursor: load::cursor(conn)?,
            last_commit: load::last_commit(conn)?,
            fills: number(kept.fills)?,
            reversals: number(kept.reversals)?,
            skipped: count(
                "SELECT (SELECT count(*) FROM skipped_fills) - (SELECT count(*) FROM skipped_answers \
                            WHERE counted = 1)",
            )?,
            dead: number(kept.dead)?,
            hedges: count("SELECT count(*) FROM intents")?,
            live: count("SELECT count(*) FROM intents WHERE live = 1")?,
            halts: held::halts(conn)?
                .into_iter()
                .map(|Halt { symbol, kind, reason }| HaltRow { symbol, kind, reason })
                .collect(),
            skipped_by: conn
                .prepare(
                    "SELECT reason, count(*) FROM skipped_fills s WHERE NOT EXISTS (SELECT 1 FROM skipped_answers a \
                     WHERE a.skipped = s.skipped AND a.counted = 1) GROUP BY reason",
                )?
                .query_map([], |r| Ok((r.get(0)?, row::number(r, 1)?)))?
                .collect::<rusqlite::Result<_>>()?,
            app_tag: conn.query_row("SELECT app_tag FROM stamp", [], |r| r.get(0))?,
        })
    }

    /// Streams the rows of a query.
    pub(super) fn each<R, E: From<LedgerError>>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<R>,
        mut take: impl FnMut(R) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error| E::from(self.failed(error));
        let mut statement = self.conn.prepare_cached(sql).map_err(failed)?;
        let rows = statement.query_map(values, |r| read(r)).map_err(failed)?;
        for found in rows {
            take(found.map_err(failed)?)?;
        }
        Ok(())
    }
}

fn positions(conn: &Connection) -> rusqlite::Result<Vec<PositionRow>> {
    let kept = sums::read(conn)?;
    let (fills, executions) = (kept.each(|sums| sums.fills), kept.each(|sums| sums.executions));
    // Where an adopted intent lives beside ours, ours is shown.
    let live: BTreeMap<Symbol, (IntentId, IntentState)> = conn
        .prepare("SELECT symbol, id, state FROM intents WHERE live = 1 ORDER BY adopted DESC, intent")?
        .query_map([], |r| Ok((row::parsed(r, 0)?, (row::parsed(r, 1)?, row::parsed(r, 2)?))))?
        .collect::<rusqlite::Result<_>>()?;
    let halts = held::halts(conn)?;
    let symbols: BTreeSet<&Symbol> = fills.keys().chain(executions.keys()).chain(live.keys()).collect();
    symbols
        .into_iter()
        .map(|symbol| {
            let of = |sums: &BTreeMap<Symbol, Shares>| sums.get(symbol).copied().unwrap_or_default();
            let intent = live.get(symbol);
            Ok(PositionRow {
                symbol: symbol.clone(),
                exposure: held::sum(of(&fills), of(&executions))?,
                live_intent: intent.map(|(id, _)| id.clone()),
                live_state: intent.map(|(_, state)| *state),
                fills: of(&fills),
                executions: of(&executions),
                halts: halts
                    .iter()
                    .filter(|halt| halt.symbol.as_ref() == Some(symbol))
                    .map(|halt| halt.kind)
                    .collect(),
            })
        })
        .collect()
}

/// Fills and skipped trades (but those that count after all) that fulfil `wanted`, under one set of column names that [`fill_row`] reads. Each half walks
/// its table in the order asked for, so that the newest few of a long history are found at once.
pub(super) fn fills_where(wanted: &str, order_and_limit: &str) -> String {
    format!(
        "SELECT f.symbol AS symbol, f.side AS side, f.shares AS shares, f.cash AS cash, f.price AS price, \
         f.block_number AS block_number, f.block_hash AS block_hash, f.tx_hash AS tx_hash, \
         f.log_index AS log_index, CASE WHEN e.sign = -1 THEN 'reversed' WHEN EXISTS (SELECT 1 FROM fill_counts c \
         WHERE c.fill = e.fill AND c.n = e.n) THEN 'counting' ELSE 'seen' END AS state, NULL AS reason, \
         f.block_time AS block_time, CASE e.n WHEN 0 THEN e.at ELSE (SELECT at FROM fill_entries WHERE fill = f.fill \
         AND n = 0) END AS seen_at, \
         f.orderbook AS orderbook, f.owner AS owner, f.chain_id AS chain_id, f.fill AS fill FROM fills f \
         LEFT JOIN fill_entries e ON e.fill = f.fill AND e.n = (SELECT max(n) FROM fill_entries WHERE fill = f.fill) \
         WHERE {wanted} \
         UNION ALL SELECT symbol, side, shares, NULL, NULL, block_number, block_hash, tx_hash, log_index, \
         'skipped' AS state, reason, NULL, at, orderbook, owner, chain_id, NULL FROM skipped_fills s WHERE {wanted} \
         AND NOT EXISTS (SELECT 1 FROM skipped_answers a WHERE a.skipped = s.skipped AND a.counted = 1) \
         {order_and_limit}"
    )
}

pub(super) fn fill_row(r: &Row<'_>) -> rusqlite::Result<FillRow> {
    Ok(FillRow {
        symbol: row::parsed_or_none(r, 0)?,
        side: row::parsed(r, 1)?,
        shares: row::parsed(r, 2)?,
        cash: row::parsed_or_none(r, 3)?,
        price: row::parsed_or_none(r, 4)?,
        block_number: row::number(r, 5)?,
        block_hash: r.get(6)?,
        tx_hash: r.get(7)?,
        log_index: row::number(r, 8)?,
        state: r.get(9)?,
        reason: r.get(10)?,
        block_time: r.get::<_, Option<i64>>(11)?.map(|seconds| Millis(seconds.saturating_mul(1000))),
        seen_at: Millis(r.get(12)?),
        orderbook: r.get(13)?,
        owner: r.get(14)?,
        chain_id: row::number(r, 15)?,
    })
}

/// The columns of an intent `i` that [`hedge_row`] reads.
pub(super) const HEDGE_COLUMNS: &str = "\
    i.id, i.symbol, i.side, i.quantity, i.executed, (SELECT x.average_price FROM executions x \
    WHERE x.intent = i.intent AND x.average_price IS NOT NULL ORDER BY x.at DESC, x.n DESC LIMIT 1), \
    i.state, i.order_id, i.sent_at, i.created_at, i.changed_at, i.adopted, i.reason";

pub(super) fn hedge_row(r: &Row<'_>) -> rusqlite::Result<HedgeRow> {
    Ok(HedgeRow {
        intent_id: row::parsed(r, 0)?,
        symbol: row::parsed(r, 1)?,
        side: row::parsed(r, 2)?,
        quantity: row::parsed(r, 3)?,
        executed: row::parsed(r, 4)?,
        average_price: row::parsed_or_none(r, 5)?,
        state: row::parsed(r, 6)?,
        broker_order_id: row::parsed_or_none(r, 7)?,
        sent_at: r.get::<_, Option<i64>>(8)?.map(Millis),
        created_at: Millis(r.get(9)?),
        changed_at: Millis(r.get(10)?),
        adopted: r.get(11)?,
        reason: r.get(12)?,
    })
}

/// A moment as RFC 3339 text.
pub(super) fn rfc3339<S: Serializer>(at: &Millis, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

/// A moment as RFC 3339 text, or null.
pub(super) fn rfc3339_or_none<S: Serializer>(at: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}
