//! The paper broker's book: one SQLite file, its schema, and every statement that touches it.
//!
//! It knows no faults and draws no numbers; it writes down an order with its plan, moves what is due from the plan to
//! the executions, and reads orders back. All functions run inside a transaction of the caller's.
//!
//! Invariant: an execution's quantity, price and time never change and no execution is ever deleted (triggers say so);
//! an order has no plan left exactly when its status is terminal.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, params};

use super::plan::{Happening, Step, price_of_e4};
use super::{BookExecution, BookOrder, PaperError};
use crate::units::{Cash, Millis, OrderId, ParseError, Price, Shares, Side, Symbol};
use crate::{BrokerOrder, OrderStatus};

/// `cfpb` in ASCII: tells a paper book from any other SQLite file.
const APPLICATION_ID: i32 = 0x6366_7062;
/// The account's orders are nobody else's to read.
const FILE_MODE: u32 = 0o600;
/// Version of the schema below.
const SCHEMA_VERSION: i32 = 1;
/// Another process may hold the file for the length of one commit; this is far above it.
const BUSY_MS_MAX: u64 = 5_000;

const SCHEMA: &str = "
CREATE TABLE broker (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    account       TEXT    NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE orders (
    number         INTEGER PRIMARY KEY,
    client_id      TEXT    UNIQUE,
    tag            TEXT,
    symbol         TEXT    NOT NULL,
    side           TEXT    NOT NULL CHECK (side IN ('BUY', 'SELL')),
    quantity       INTEGER NOT NULL CHECK (quantity > 0),
    entered_at_ms  INTEGER NOT NULL,
    status         TEXT    NOT NULL CHECK (status IN ('PENDING_ACTIVATION', 'PENDING_ACKNOWLEDGEMENT', 'WORKING',
                                                      'FILLED', 'CANCELED', 'REJECTED', 'EXPIRED')),
    reason         TEXT    NOT NULL,
    hidden_reads   INTEGER NOT NULL CHECK (hidden_reads >= 0),
    late_leg_reads INTEGER NOT NULL CHECK (late_leg_reads >= 0)
) STRICT;
CREATE INDEX orders_entered ON orders (entered_at_ms);

-- What is still to come.
CREATE TABLE plan (
    number   INTEGER NOT NULL REFERENCES orders (number),
    n        INTEGER NOT NULL CHECK (n >= 0),
    at_ms    INTEGER NOT NULL,
    what     TEXT    NOT NULL CHECK (what IN ('activate', 'acknowledge', 'fill', 'cancel', 'reject', 'expire')),
    quantity INTEGER CHECK (quantity > 0),
    price_e4 INTEGER CHECK (price_e4 > 0),
    reason   TEXT    NOT NULL,
    PRIMARY KEY (number, n),
    CHECK ((what = 'fill') = (quantity IS NOT NULL AND price_e4 IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX plan_due ON plan (at_ms);

-- What has happened.
CREATE TABLE executions (
    number   INTEGER NOT NULL REFERENCES orders (number),
    n        INTEGER NOT NULL CHECK (n >= 0),
    at_ms    INTEGER NOT NULL,
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    price_e4 INTEGER NOT NULL CHECK (price_e4 > 0),
    busted   INTEGER NOT NULL DEFAULT 0 CHECK (busted IN (0, 1)),
    PRIMARY KEY (number, n)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER executions_stand BEFORE UPDATE OF number, n, at_ms, quantity, price_e4 ON executions
    BEGIN SELECT RAISE(ABORT, 'an execution does not change'); END;
CREATE TRIGGER executions_stay BEFORE DELETE ON executions
    BEGIN SELECT RAISE(ABORT, 'an execution is not deleted'); END;

-- Where the walk of each ticker stands, and how often each client id was sent here.
CREATE TABLE prices (symbol TEXT PRIMARY KEY, mid_e4 INTEGER NOT NULL CHECK (mid_e4 > 0)) STRICT;
CREATE TABLE calls (client_id TEXT PRIMARY KEY, times INTEGER NOT NULL CHECK (times > 0)) STRICT;
";

/// Opens the book for its one writer; creates it for `account` where there is none.
pub(super) fn open(path: &Path, account: &str, now: Millis) -> Result<Connection, PaperError> {
    create_private(path);
    let mut conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    if application_id(&conn, path)? == 0 {
        create(&mut conn, path, account, now)?;
    }
    check(&conn, path)?;
    // WAL with FULL: a commit is on the disk when it returns. The pragmas belong to the connection, so every open says them.
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", "ON")?;
    let found: Option<String> =
        conn.query_row("SELECT account FROM broker", [], |row| row.get(0)).optional()?;
    let found = found.ok_or_else(|| PaperError::Damaged("it names no account".to_owned()))?;
    if found != account {
        return Err(PaperError::OtherAccount { path: path.into(), found, wanted: account.to_owned() });
    }
    Ok(conn)
}

/// Makes an empty file for its owner alone where there is none. SQLite would leave the mode to the umask; it takes an
/// empty file for a new database, and gives `-wal` and `-shm` the mode of the database.
fn create_private(path: &Path) {
    // Whatever goes wrong here, the open that follows meets it too, and says it in SQLite's words.
    let _ = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
}

/// Opens the book to look at it, also beside its writer.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, PaperError> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    check(&conn, path)?;
    Ok(conn)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, PaperError> {
    let opened = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .and_then(|conn| conn.busy_timeout(Duration::from_millis(BUSY_MS_MAX)).map(|()| conn));
    opened.map_err(|source| PaperError::Open { path: path.into(), source })
}

fn application_id(conn: &Connection, path: &Path) -> Result<i32, PaperError> {
    // The first read of the file: here SQLite says that it is no database, or that it can not be read.
    conn.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(|source| {
        if source.sqlite_error_code() == Some(ErrorCode::NotADatabase) {
            PaperError::Foreign { path: path.into() }
        } else {
            PaperError::Open { path: path.into(), source }
        }
    })
}

fn check(conn: &Connection, path: &Path) -> Result<(), PaperError> {
    if application_id(conn, path)? != APPLICATION_ID {
        return Err(PaperError::Foreign { path: path.into() });
    }
    let found: i32 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found != SCHEMA_VERSION {
        return Err(PaperError::Version { path: path.into(), found, known: SCHEMA_VERSION });
    }
    Ok(())
}

/// Schema, account and identification in one transaction: a kill in between leaves an empty file, which is created anew.
fn create(conn: &mut Connection, path: &Path, account: &str, now: Millis) -> Result<(), PaperError> {
    let tx = immediate(conn)?;
    let id: i32 = tx.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id != 0 {
        // Somebody else created it between our look and our transaction; the checks that follow judge it.
        return Ok(());
    }
    let tables: i64 = tx.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 {
        return Err(PaperError::Foreign { path: path.into() });
    }
    tx.execute_batch(SCHEMA)?;
    tx.execute("INSERT INTO broker VALUES (1, ?1, ?2)", params![account, now.0])?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(tx.commit()?)
}

/// A transaction that holds the write lock from its first statement, so that what it reads stays true until it commits.
pub(super) fn immediate(conn: &mut Connection) -> Result<Transaction<'_>, PaperError> {
    Ok(conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?)
}

/// An order as it is entered.
pub(super) struct NewOrder<'a> {
    pub(super) number: i64,
    pub(super) client_id: Option<&'a str>,
    pub(super) tag: Option<&'a str>,
    pub(super) symbol: &'a Symbol,
    pub(super) side: Side,
    pub(super) quantity: i64,
    pub(super) entered_at: Millis,
    pub(super) hidden_reads: u32,
    pub(super) late_leg_reads: u32,
}

/// Writes an order and its whole plan, and where the walk of its ticker goes on.
pub(super) fn enter(
    tx: &Transaction<'_>,
    order: &NewOrder<'_>,
    steps: &[Step],
    mid_e4: i64,
) -> Result<(), PaperError> {
    let waits = matches!(steps.first(), Some(Step { what: Happening::Activate, .. }));
    let status = if waits { "PENDING_ACTIVATION" } else { "PENDING_ACKNOWLEDGEMENT" };
    tx.prepare_cached(
        "INSERT INTO orders (number, client_id, tag, symbol, side, quantity, entered_at_ms, status, reason,
                             hidden_reads, late_leg_reads)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '', ?9, ?10)",
    )?
    .execute(params![
        order.number,
        order.client_id,
        order.tag,
        order.symbol.as_str(),
        order.side.as_str(),
        order.quantity,
        order.entered_at.0,
        status,
        order.hidden_reads,
        order.late_leg_reads,
    ])?;
    let mut insert = tx.prepare_cached("INSERT INTO plan VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
    for (n, step) in (0_i64..).zip(steps) {
        let (what, fill, reason) = match &step.what {
            Happening::Activate => ("activate", None, ""),
            Happening::Acknowledge => ("acknowledge", None, ""),
            Happening::Fill { quantity, price_e4 } => ("fill", Some((quantity, price_e4)), ""),
            Happening::Cancel => ("cancel", None, ""),
            Happening::Reject(reason) => ("reject", None, reason.as_str()),
            Happening::Expire => ("expire", None, ""),
        };
        let (quantity, price_e4) = fill.unzip();
        insert.execute(params![order.number, n, step.at.0, what, quantity, price_e4, reason])?;
    }
    tx.prepare_cached(
        "INSERT INTO prices VALUES (?1, ?2) ON CONFLICT (symbol) DO UPDATE SET mid_e4 = excluded.mid_e4",
    )?
    .execute(params![order.symbol.as_str(), mid_e4])?;
    Ok(())
}

/// Lets everything happen that is due at `now`. Costs no write where nothing is.
pub(super) fn advance(tx: &Transaction<'_>, now: Millis) -> Result<(), PaperError> {
    // Steps touch only their own order, so the order between orders does not matter; within one, `n` ascends with time.
    let mut due = tx.prepare_cached(
        "SELECT number, n, at_ms, what, quantity, price_e4, reason FROM plan WHERE at_ms <= ?1 ORDER BY number, n",
    )?;
    type Due = (i64, i64, i64, String, Option<i64>, Option<i64>, String);
    let rows: Vec<Due> = due
        .query_map([now.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?))
        })?
        .collect::<Result<_, _>>()?;
    for (number, n, at_ms, what, quantity, price_e4, reason) in rows {
        tx.prepare_cached("DELETE FROM plan WHERE number = ?1 AND n = ?2")?.execute([number, n])?;
        let status = match what.as_str() {
            "fill" => {
                execute(tx, number, at_ms, quantity, price_e4)?;
                if planned(tx, number)? { "WORKING" } else { "FILLED" }
            }
            "activate" => "PENDING_ACKNOWLEDGEMENT",
            "acknowledge" => "WORKING",
            "cancel" => "CANCELED",
            "reject" => "REJECTED",
            "expire" => "EXPIRED",
            other => return Err(PaperError::Damaged(format!("order {number} has a step `{other}`"))),
        };
        set_status(tx, number, status, &reason)?;
    }
    Ok(())
}

fn execute(
    tx: &Transaction<'_>,
    number: i64,
    at_ms: i64,
    quantity: Option<i64>,
    price_e4: Option<i64>,
) -> Result<(), PaperError> {
    tx.prepare_cached(
        "INSERT INTO executions (number, n, at_ms, quantity, price_e4)
         VALUES (?1, (SELECT count(*) FROM executions WHERE number = ?1), ?2, ?3, ?4)",
    )?
    .execute(params![number, at_ms, quantity, price_e4])?;
    Ok(())
}

fn planned(tx: &Transaction<'_>, number: i64) -> Result<bool, PaperError> {
    Ok(tx.prepare_cached("SELECT 1 FROM plan WHERE number = ?1")?.exists([number])?)
}

fn set_status(tx: &Transaction<'_>, number: i64, status: &str, reason: &str) -> Result<(), PaperError> {
    tx.prepare_cached("UPDATE orders SET status = ?2, reason = ?3 WHERE number = ?1")?
        .execute(params![number, status, reason])?;
    Ok(())
}

/// Cancels what is left of an order; false where nothing is left or there is no such order.
pub(super) fn cancel(tx: &Transaction<'_>, number: i64) -> Result<bool, PaperError> {
    if !planned(tx, number)? {
        return Ok(false);
    }
    tx.execute("DELETE FROM plan WHERE number = ?1", [number])?;
    set_status(tx, number, "CANCELED", "canceled by hand")?;
    Ok(true)
}

/// Marks the last standing execution of an order as busted; false where it has none.
pub(super) fn bust(tx: &Transaction<'_>, number: i64) -> Result<bool, PaperError> {
    let changed = tx.execute(
        "UPDATE executions SET busted = 1 WHERE number = ?1
         AND n = (SELECT max(n) FROM executions WHERE number = ?1 AND busted = 0)",
        [number],
    )?;
    Ok(changed > 0)
}

/// Counts one order call.
pub(super) fn count_call(tx: &Transaction<'_>, client_id: &str) -> Result<(), PaperError> {
    tx.prepare_cached(
        "INSERT INTO calls VALUES (?1, 1) ON CONFLICT (client_id) DO UPDATE SET times = times + 1",
    )?
    .execute([client_id])?;
    Ok(())
}

/// How often `client_id` was sent here.
pub(super) fn calls(conn: &Connection, client_id: &str) -> Result<u64, PaperError> {
    let times: Option<i64> = conn
        .prepare_cached("SELECT times FROM calls WHERE client_id = ?1")?
        .query_row([client_id], |row| row.get(0))
        .optional()?;
    Ok(times.map_or(0, i64::unsigned_abs))
}

/// The number of the order that holds `client_id`.
pub(super) fn number_of(conn: &Connection, client_id: &str) -> Result<Option<i64>, PaperError> {
    let mut query = conn.prepare_cached("SELECT number FROM orders WHERE client_id = ?1")?;
    Ok(query.query_row([client_id], |row| row.get(0)).optional()?)
}

/// The highest order number in the book.
pub(super) fn last_number(conn: &Connection) -> Result<Option<i64>, PaperError> {
    Ok(conn.query_row("SELECT max(number) FROM orders", [], |row| row.get(0))?)
}

/// Where the walk of a ticker stands.
pub(super) fn mid_e4(conn: &Connection, symbol: &Symbol) -> Result<Option<i64>, PaperError> {
    let mut query = conn.prepare_cached("SELECT mid_e4 FROM prices WHERE symbol = ?1")?;
    Ok(query.query_row([symbol.as_str()], |row| row.get(0)).optional()?)
}

/// Numbers of the orders entered at or after `since`, ascending.
pub(super) fn numbers(conn: &Connection, since: Millis) -> Result<Vec<i64>, PaperError> {
    let mut query =
        conn.prepare_cached("SELECT number FROM orders WHERE entered_at_ms >= ?1 ORDER BY number")?;
    Ok(query.query_map([since.0], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Σ standing executions per ticker, however an older book spells it, signed, flat ones left out.
pub(super) fn positions(conn: &Connection) -> Result<Vec<(Symbol, Shares)>, PaperError> {
    let mut query = conn.prepare_cached(
        "SELECT symbol, sum(CASE side WHEN 'BUY' THEN executions.quantity ELSE -executions.quantity END) AS net
         FROM executions JOIN orders USING (number) WHERE busted = 0
         GROUP BY replace(replace(symbol, '-', '.'), '/', '.') HAVING net <> 0 ORDER BY symbol",
    )?;
    let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    rows.map(|row| {
        let (symbol, net) = row?;
        Ok((named(&symbol)?, Shares::whole(net)))
    })
    .collect()
}

/// One order with its executions: the whole truth, with nothing hidden or late.
pub(super) fn order(conn: &Connection, number: i64) -> Result<Option<BookOrder>, PaperError> {
    type Row = (Option<String>, Option<String>, String, String, i64, i64, String, String);
    let row: Option<Row> = conn
        .prepare_cached(
            "SELECT client_id, tag, symbol, side, quantity, entered_at_ms, status, reason FROM orders
             WHERE number = ?1",
        )?
        .query_row([number], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
                row.get(6)?,
                row.get(7)?,
            ))
        })
        .optional()?;
    let Some((client_id, tag, symbol, side, quantity, entered_at_ms, status, reason)) = row else {
        return Ok(None);
    };
    let executions = executions(conn, number)?;
    let (executed, average_price) = sum(executions.iter().filter(|leg| !leg.busted))
        .ok_or_else(|| PaperError::Damaged(format!("the executions of order {number} do not add up")))?;
    let place_calls = client_id.as_deref().map_or(Ok(0), |id| calls(conn, id))?;
    let order = BrokerOrder {
        id: order_id(number)?,
        client_id,
        tag,
        symbol: named(&symbol)?,
        side: named(&side)?,
        quantity: Shares::whole(quantity),
        filled: executed,
        executed,
        average_price,
        status: meaning(&status),
        status_text: if reason.is_empty() { status } else { format!("{status}: {reason}") },
        entered_at: Millis(entered_at_ms),
        ordinary: true,
    };
    Ok(Some(BookOrder { order, executions, place_calls }))
}

fn executions(conn: &Connection, number: i64) -> Result<Vec<BookExecution>, PaperError> {
    let mut query = conn.prepare_cached(
        "SELECT quantity, price_e4, at_ms, busted FROM executions WHERE number = ?1 ORDER BY n",
    )?;
    let rows = query.query_map([number], |row| {
        Ok(BookExecution {
            quantity: Shares::whole(row.get(0)?),
            price: price_of_e4(row.get(1)?),
            at: Millis(row.get(2)?),
            busted: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Sum of the quantities and their share-weighted average price; `None` where it does not fit, which no book of ours does.
pub(super) fn sum<'a>(legs: impl Iterator<Item = &'a BookExecution>) -> Option<(Shares, Option<Price>)> {
    let mut shares = Shares::ZERO;
    let mut cash = Cash::ZERO;
    for leg in legs {
        shares = shares.checked_add(leg.quantity)?;
        cash = cash.checked_add(leg.price.times(leg.quantity)?)?;
    }
    Some((shares, Price::of(cash, shares)))
}

/// Whether this read is to pass over the order (`PaperFaults::invisible`); uses up one such read.
pub(super) fn use_up_hidden_read(tx: &Transaction<'_>, number: i64) -> Result<bool, PaperError> {
    let changed = tx
        .prepare_cached(
            "UPDATE orders SET hidden_reads = hidden_reads - 1 WHERE number = ?1 AND hidden_reads > 0",
        )?
        .execute([number])?;
    Ok(changed > 0)
}

/// Whether this read is to miss the last leg (`PaperFaults::late_legs`); uses up one such read.
pub(super) fn use_up_late_leg_read(tx: &Transaction<'_>, number: i64) -> Result<bool, PaperError> {
    let changed = tx
        .prepare_cached(
            "UPDATE orders SET late_leg_reads = late_leg_reads - 1 WHERE number = ?1 AND late_leg_reads > 0",
        )?
        .execute([number])?;
    Ok(changed > 0)
}

/// The broker's name of an order: its number in digits.
pub(super) fn order_id(number: i64) -> Result<OrderId, PaperError> {
    named(&number.to_string())
}

fn meaning(status: &str) -> OrderStatus {
    match status {
        "FILLED" => OrderStatus::Filled,
        "CANCELED" => OrderStatus::Canceled,
        "REJECTED" => OrderStatus::Rejected,
        "EXPIRED" => OrderStatus::Expired,
        _ => OrderStatus::Live,
    }
}

fn named<T: std::str::FromStr<Err = ParseError>>(text: &str) -> Result<T, PaperError> {
    text.parse().map_err(|error: ParseError| PaperError::Damaged(error.to_string()))
}
