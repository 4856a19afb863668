//! A batch of writes: one transaction, or nothing.
//!
//! Each write is checked against the ledger by the statement that writes it: an entry must be the next one, a
//! transition must leave the state that is in the table. What is left open by one write and must be closed by another
//! of the same batch is [`Owed`]. Whatever does not fit fails the whole batch: the engine's memory is then wrong, and a
//! restart reads the truth again.

mod chain;
mod orders;

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{CachedStatement, Params, Transaction, TransactionBehavior};

use super::error::LedgerError;
use super::open::Ledger;
use super::sums::{self, Changes};
use super::{Source, Write};
use crate::crash;
use crate::hedges::IntentState;
use crate::units::{FillId, IntentId, Millis, Shares, Symbol};

/// An entry counts if it is the fill's last. `count(*) - 1` is its number, for they have no gaps; `max(n)` held against a value
/// that is bound would make SQLite compile the statement anew for each fill (built with STAT4, as bundled).
const COUNT: &str = "INSERT INTO fill_counts (fill, n, at) SELECT ?1, ?2, ?3 \
                     WHERE ?2 = (SELECT count(*) - 1 FROM fill_entries WHERE fill = ?1) \
                     AND (?2 % 2 = 0 OR EXISTS (SELECT 1 FROM fill_counts WHERE fill = ?1 AND n = ?2 - 1))";

impl Ledger {
    /// Commits a batch at the moment `at`; an empty batch writes nothing.
    ///
    /// # Errors
    /// [`LedgerError::Contradiction`] and [`LedgerError::WrongState`] where a write does not fit the ledger, else
    /// [`LedgerError::Sql`]. After any error nothing of the batch is in the ledger.
    pub fn commit(&mut self, at: Millis, writes: &[Write]) -> Result<(), LedgerError> {
        if writes.is_empty() {
            return Ok(());
        }
        let path = self.path.clone();
        let compared = self.compared || writes.iter().any(|write| matches!(write, Write::Compared(_)));
        let failed = |error| match error {
            Refusal::Says(error) => error,
            Refusal::Sql(error) => LedgerError::sql(&path, "wrote a batch", error),
        };
        let done = self
            .conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(Refusal::from)
            .and_then(|tx| {
                let owed = Owed::default();
                let mut batch = Batch {
                    tx: &tx,
                    at,
                    owed,
                    changes: Changes::default(),
                    rows: BTreeMap::new(),
                    first_compared_at: None,
                    begun: false,
                };
                writes.iter().try_for_each(|write| batch.apply(write))?;
                batch.settle(compared)?;
                crash::at(|| landmark(writes).written());
                tx.commit().map_err(Refusal::from)
            })
            .map_err(failed);
        if done.is_ok() {
            crash::at(|| landmark(writes).done());
            self.compared = compared;
        }
        done
    }
}

/// Why a write did not happen.
enum Refusal {
    Says(LedgerError),
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

fn contradiction<T>(what: String) -> Result<T, Refusal> {
    Err(Refusal::Says(LedgerError::Contradiction(what)))
}

/// What the writes so far still need before the batch may be committed.
#[derive(Default)]
struct Owed {
    /// Fills without an entry yet.
    entries: BTreeSet<i64>,
    /// Fills with a new entry or count, and whether they wait to count after it.
    waiting: BTreeMap<i64, bool>,
    /// Reversals of entries that counted: without a count of their own the exposure would keep the fill.
    counts: BTreeSet<(i64, u32)>,
    /// Executed quantity and number of execution rows that the engine believes an intent has at the end of the batch,
    /// whether it wrote the intent before or after the executions.
    executed: BTreeMap<IntentId, (Shares, u32)>,
}

/// What the sums need of a fill that is in the ledger.
#[derive(Debug, Clone)]
struct FillRow {
    fill: i64,
    symbol: Symbol,
    signed: Shares,
}

struct Batch<'a> {
    tx: &'a Transaction<'a>,
    at: Millis,
    owed: Owed,
    changes: Changes,
    /// The fills of this batch: each is written by two or three writes in a row.
    rows: BTreeMap<FillId, FillRow>,
    first_compared_at: Option<i64>,
    begun: bool,
}

impl Batch<'_> {
    fn apply(&mut self, write: &Write) -> Result<(), Refusal> {
        match write {
            Write::Token(fact) => self.token(fact),
            Write::Fill(fill) => self.fill(fill),
            Write::Skipped(skipped) => self.skipped(skipped),
            Write::Answered { id, counted, reason, who } => self.answered(id, *counted, reason, who),
            Write::Dead(dead) => self.dead(dead),
            Write::Entry { id, n, standing, source } => self.entry(id, *n, *standing, *source),
            Write::Count { id, n } => self.count(id, *n),
            Write::Pending(fill) => self.pending(fill),
            Write::PendingOver(id) => self.pending_over(id),
            Write::Pushed(log) => self.pushed(log),
            Write::Settled(log) => self.settled(log),
            Write::Cursor { cursor, window } => self.cursor(cursor, window),
            Write::Intent(intent) => self.intent(intent),
            Write::Transition { from, intent } => self.transition(*from, intent),
            Write::Execution { order_id, n, intent, quantity, average_price } => {
                self.execution(order_id, *n, intent, *quantity, *average_price)
            }
            Write::Compared(then) => {
                self.first_compared_at = Some(then.0);
                Ok(())
            }
            Write::Tag(tag) => self.tag(tag),
            Write::Decision { intent, decision, reason, who } => self.decision(intent, decision, reason, who),
            Write::Baseline { symbol, change, reason, who } => self.baseline(symbol, *change, reason, who),
            Write::Begun => {
                self.begun = true;
                Ok(())
            }
            Write::Halt { symbol, kind, reason, who } => self.halt(symbol.as_ref(), *kind, true, reason, who),
            Write::Lift { symbol, kind, reason, who } => {
                self.halt(symbol.as_ref(), *kind, false, reason, who)
            }
        }
    }

    fn statement(&self, sql: &str) -> Result<CachedStatement<'_>, Refusal> {
        Ok(self.tx.prepare_cached(sql)?)
    }

    /// Runs a statement that changes some rows; how many.
    fn run(&self, sql: &str, values: impl Params) -> Result<usize, Refusal> {
        Ok(self.statement(sql)?.execute(values)?)
    }

    /// Writes which fills of this batch wait to count, and that others wait no more. Nearly all count in the batch that
    /// brings them, and then there is nothing to write.
    fn settle_waiting(&self) -> Result<(), Refusal> {
        for (fill, waits) in &self.owed.waiting {
            let known = self.statement("SELECT 1 FROM waiting_fills WHERE fill = ?1")?.exists([fill])?;
            match (known, *waits) {
                (false, true) => drop(self.run("INSERT INTO waiting_fills (fill) VALUES (?1)", [fill])?),
                (true, false) => drop(self.run("DELETE FROM waiting_fills WHERE fill = ?1", [fill])?),
                (true, true) | (false, false) => {}
            }
        }
        Ok(())
    }

    /// Checks that nothing is owed, and notes the commit.
    fn settle(&self, compared: bool) -> Result<(), Refusal> {
        if let Some(fill) = self.owed.entries.first() {
            return contradiction(format!("fill in row {fill} came without an entry"));
        }
        if let Some((fill, n)) = self.owed.counts.first() {
            return contradiction(format!(
                "entry {n} of the fill in row {fill} undoes a counted one and must count"
            ));
        }
        for (id, believed) in &self.owed.executed {
            let (executed, rows) = self.executed(id)?;
            if (executed, rows) != *believed {
                return contradiction(format!(
                    "intent {id} has {executed} executed in {rows} rows, the engine believes {} in {}",
                    believed.0, believed.1
                ));
            }
        }
        self.run(
            "INSERT INTO last_commit (one, at, commits, compared_at, first_compared_at, begun_at, fills, reversals, dead, \
             digest) VALUES (1, ?1, 1, ?2, ?3, ?4, 0, 0, 0, ?5) \
             ON CONFLICT (one) DO UPDATE SET at = excluded.at, commits = commits + 1, \
             compared_at = coalesce(excluded.compared_at, compared_at), \
             first_compared_at = coalesce(first_compared_at, excluded.first_compared_at), \
             begun_at = coalesce(begun_at, excluded.begun_at)",
            (
                self.at.0,
                compared.then_some(self.at.0),
                self.first_compared_at,
                self.begun.then_some(self.at.0),
                sums::digest_of_nothing(),
            ),
        )?;
        self.settle_waiting()?;
        Ok(self.changes.settle(self.tx)?)
    }
}

/// What a batch is about, for the tests that end the process around its commit.
fn landmark(writes: &[Write]) -> crash::Batch {
    use IntentState as S;
    use crash::Batch;
    let of = |write: &Write| match write {
        Write::Entry { standing: false, .. } => Batch::Reversed,
        Write::Entry { n: 1.., .. } => Batch::Reinstated,
        Write::Entry { source: Source::Push, .. } => Batch::Pushed,
        Write::Entry { .. } => Batch::Swept,
        Write::Intent(intent) if intent.adopted => Batch::Adopted,
        Write::Intent(intent) if intent.state == S::Planned => Batch::Planned,
        Write::Intent(_) => Batch::Sent,
        Write::Transition { from, intent } => match (*from, intent.state) {
            (S::Planned, S::Sent) => Batch::PlanSent,
            (S::Unknown, S::Sent) => Batch::Again,
            (_, S::Sent) => Batch::Claimed,
            (_, S::Unknown | S::Stuck) => Batch::Unknown,
            (_, S::Refused | S::Absent) => Batch::Refused,
            (_, S::Withdrawn) => Batch::Withdrawn,
            (_, S::Working | S::Planned) => Batch::Working,
            (_, S::Filled | S::Canceled | S::Rejected | S::Expired) => Batch::Ended,
        },
        Write::Execution { .. } => Batch::Executed,
        Write::Compared(_) => Batch::Compared,
        Write::Tag(_) | Write::Baseline { .. } | Write::Begun | Write::Answered { .. } => Batch::Account,
        Write::Halt { .. } => Batch::Halt,
        Write::Lift { .. } => Batch::Lift,
        _ => Batch::Cursor,
    };
    writes.iter().map(of).min().unwrap_or(Batch::Cursor)
}

const fn live(state: IntentState) -> Option<i64> {
    if state.is_live() { Some(1) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Stamp;
    use crate::hedges::HaltKind;

    #[test]
    fn what_counts_is_not_compiled_anew_for_each_fill() {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        let tables = "CREATE TABLE fill_entries (fill INTEGER, n INTEGER, PRIMARY KEY (fill, n)) WITHOUT ROWID; \
                      CREATE TABLE fill_counts (fill INTEGER, n INTEGER, at INTEGER, PRIMARY KEY (fill, n)) WITHOUT ROWID;";
        conn.execute_batch(tables).unwrap();
        let mut statement = conn.prepare(COUNT).unwrap();
        for fill in 0..10 {
            conn.execute("INSERT INTO fill_entries VALUES (?1, 0)", [fill]).unwrap();
            assert_eq!(statement.execute((fill, 0, 0)).unwrap(), 1);
        }
        assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }

    #[test]
    fn a_full_disk_in_the_middle_of_a_batch_leaves_nothing_of_it_and_the_next_one_works() {
        let dir = tempfile::tempdir().unwrap();
        let stamp = Stamp {
            chain_id: 1,
            orderbooks: vec![],
            owners: vec![],
            broker: "paper".into(),
            account: "paper".into(),
            hedge_from_block: None,
            deployment_block: 0,
        };
        let mut ledger = Ledger::open(&dir.path().join("bot.db"), &stamp, Millis(0)).unwrap();
        let halt = |reason: String| Write::Halt {
            symbol: None,
            kind: HaltKind::Operator,
            reason,
            who: "ann".into(),
        };
        ledger.commit(Millis(1), &[halt("first".into())]).unwrap();
        let pages: i64 = ledger.conn.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap();
        ledger.conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        let error =
            ledger.commit(Millis(2), &[halt("second".into()), halt("x".repeat(100_000))]).unwrap_err();
        assert!(matches!(error, LedgerError::Sql { .. }), "{error:?}");
        assert_eq!(error.exit_code(), 78);
        assert!(error.to_string().contains("Make room"), "{error}");
        let halts = ledger.load().unwrap().halts;
        let first =
            crate::hedges::Halt { symbol: None, kind: HaltKind::Operator, reason: "first".to_owned() };
        assert_eq!(halts, vec![first]);
        ledger.commit(Millis(3), &[halt("third".into())]).unwrap();
        assert_eq!(ledger.load().unwrap().last_commit, Some(Millis(3)));
    }
}
