//! How the ledger's file is connected to: to write it, and to read it beside a running bot.

use std::ffi::c_int;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::error::LedgerError;

/// How long a statement waits for another program's lock (a backup tool, `sqlite3`) before it is an error.
const BUSY_MS: u64 = 5_000;
/// The write-ahead log is cut back to this after a checkpoint, so that one long reader does not fill the volume.
const WAL_BYTES_MAX: i64 = 64 * 1024 * 1024;
/// Statements kept prepared: more than the ledger has.
const STATEMENTS_MAX: usize = 64;

/// A reading connection beside a running bot; it can not write.
pub(super) fn connect_reading(path: &Path) -> Result<Connection, LedgerError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    reading(path, Connection::open_with_flags(path, flags))
}

/// A connection that was opened to read, set up for that and nothing else.
pub(super) fn reading(path: &Path, opened: rusqlite::Result<Connection>) -> Result<Connection, LedgerError> {
    let prepared = opened.and_then(|conn| {
        set_pragmas(&conn, &[("query_only", &"ON"), ("trusted_schema", &"OFF"), ("temp_store", &"MEMORY")])?;
        Ok(conn)
    });
    prepared.map_err(|error| LedgerError::sql(path, "was opened for reading", error))
}

pub(super) fn connect(path: &Path) -> Result<Connection, LedgerError> {
    let opened = |error| LedgerError::sql(path, "was opened", error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    prepared(Connection::open_with_flags(path, flags).map_err(opened)?, path)
}

/// A writing connection with everything set on it that this program's promises stand on.
pub(super) fn prepared(conn: Connection, path: &Path) -> Result<Connection, LedgerError> {
    let opened = |error| LedgerError::sql(path, "was opened", error);
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |r| r.get(0)).map_err(opened)?;
    if mode != "wal" {
        return Err(LedgerError::NoPlace {
            path: path.to_owned(),
            found: format!("SQLite can not keep a write-ahead log there (it said `{mode}`)"),
            remedy: "Put the ledger on a local volume, not on a network file system".to_owned(),
        });
    }
    set_pragmas(
        &conn,
        &[
            ("synchronous", &"FULL"),
            ("foreign_keys", &"ON"),
            // Makes REPLACE fire the triggers that keep rows for ever.
            ("recursive_triggers", &"ON"),
            ("trusted_schema", &"OFF"),
            // An image without /tmp has nowhere else to sort.
            ("temp_store", &"MEMORY"),
            ("journal_size_limit", &WAL_BYTES_MAX),
        ],
    )
    .map_err(opened)?;
    Ok(conn)
}

/// Has SQLite tell after each commit how many pages the log has, instead of moving it into the file there and then: a
/// commit is what an order waits for.
pub(super) fn keep_pages(conn: &mut Connection) -> rusqlite::Result<Arc<AtomicI32>> {
    let kept = Arc::new(AtomicI32::new(0));
    let told = Arc::clone(&kept);
    conn.wal_hook(Some(move |_: &mut Wal, pages: c_int| {
        told.store(pages, Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(kept)
}

fn set_pragmas(conn: &Connection, pragmas: &[(&str, &dyn rusqlite::ToSql)]) -> rusqlite::Result<()> {
    conn.busy_timeout(Duration::from_millis(BUSY_MS))?;
    // Some pragmas answer with their new value and some do not.
    pragmas.iter().try_for_each(|(name, value)| {
        conn.pragma_update_and_check(None, name, value, |_| Ok(())).optional().map(|_| ())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_is_as_safe_as_it_should_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bot.db");
        std::fs::File::create(&path).unwrap();
        let conn = connect(&path).unwrap();
        let pragmas = [
            ("synchronous", 2), // FULL
            ("foreign_keys", 1),
            ("recursive_triggers", 1),
            ("trusted_schema", 0),
            ("temp_store", 2), // MEMORY
            ("busy_timeout", 5_000),
        ];
        for (name, value) in pragmas {
            assert_eq!(conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0)), Ok(value), "{name}");
        }
        conn.execute_batch("CREATE TABLE t (x)").unwrap();
        let reading = connect_reading(&path).unwrap();
        assert_eq!(reading.pragma_query_value(None, "query_only", |r| r.get::<_, i64>(0)), Ok(1));
        assert!(reading.execute("INSERT INTO t VALUES (1)", []).is_err());
    }
}
