//! A batch of writes: one transaction, or nothing.
//!
//! Each write is checked against the ledger by the statement that writes it: an entry must be the next one, a
//! transition must leave the state that is in the table. What is left open by one write and must be closed by another
//! of the same batch is [`Owed`]. Whatever does not fit fails the whole batch: the engine's memory is then wrong, and a
//! restart reads the truth again.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{CachedStatement, OptionalExtension, Params, Transaction, TransactionBehavior};

use super::error::LedgerError;
use super::open::Ledger;
use super::sums::{self, Changes};
use super::{Source, Write, load, row};
use crate::crash;
use crate::fills::{DeadEvent, Fill, FillUnit, PendingFill, Skipped, TokenFact, TokenKind};
use crate::hedges::{Decision, HaltKind, Intent, IntentState};
use crate::units::{BlockRef, FillId, IntentId, LogId, Millis, OrderId, Price, Shares, Side, Symbol};

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

    fn token(&self, fact: &TokenFact) -> Result<(), Refusal> {
        let address = row::address(&fact.address);
        let known = self
            .statement(&format!("{} WHERE address = ?1", load::TOKENS))?
            .query_row([&address], |r| {
                let (symbol, decimals, kind) = (r.get(1)?, r.get(2)?, row::kind(r, 3)?);
                Ok(TokenFact { address: fact.address, symbol, decimals, kind })
            })
            .optional()?;
        let (kind, ticker) = row::kind_text(&fact.kind);
        match known {
            Some(known) if known == *fact => return Ok(()),
            Some(known) if !fact.may_follow(&known) => {
                return contradiction(format!("token {address} was {known:?} and is now {fact:?}"));
            }
            Some(known) if known.kind == TokenKind::Foreign => self.run(
                "UPDATE tokens SET symbol = ?2, kind = ?3, ticker = ?4 WHERE address = ?1",
                (&address, &fact.symbol, kind, ticker),
            )?,
            Some(_) => 0,
            None => self.run(
                "INSERT INTO tokens (address, symbol, decimals, kind, ticker, seen_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                (&address, &fact.symbol, fact.decimals, kind, ticker, self.at.0),
            )?,
        };
        if let TokenKind::Share(_, unit) = &fact.kind {
            self.run(
                "INSERT INTO token_units (address, n, unit, at) \
                 SELECT ?1, (SELECT count(*) FROM token_units WHERE address = ?1), ?2, ?3",
                (&address, unit.to_string(), self.at.0),
            )?;
        }
        Ok(())
    }

    fn fill(&mut self, fill: &Fill) -> Result<(), Refusal> {
        self.run(
            "INSERT INTO fills (chain_id, block_hash, tx_hash, log_index, side, block_number, block_time, orderbook, \
             owner, symbol, shares, cash, price) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            (
                row::integer(fill.id.chain_id)?,
                row::hash(&fill.id.block_hash),
                row::hash(&fill.id.tx_hash),
                row::integer(fill.id.log_index)?,
                fill.id.side.as_str(),
                row::integer(fill.block_number)?,
                fill.block_time.map(row::integer).transpose()?,
                row::address(&fill.orderbook),
                row::address(&fill.owner),
                fill.symbol.as_str(),
                fill.shares.to_string(),
                fill.cash.to_string(),
                row::text_or_none(fill.price.as_ref()),
            ),
        )?;
        let row = FillRow {
            fill: self.tx.last_insert_rowid(),
            symbol: fill.symbol.clone(),
            signed: fill.id.side.signed(fill.shares),
        };
        self.owed.entries.insert(row.fill);
        self.changes.counts.fills += 1;
        sums::add(&mut self.changes.of(&row.symbol).fills, Shares::ZERO)?;
        if let Some(unit) = &fill.unit {
            self.fill_unit(row.fill, unit)?;
        }
        self.rows.insert(fill.id, row);
        Ok(())
    }

    fn fill_unit(&self, fill: i64, unit: &FillUnit) -> Result<(), Refusal> {
        self.run(
            "INSERT INTO fill_units (fill, token, amount, decimals, assets, asset_decimals, multiplier) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (
                fill,
                row::address(&unit.token),
                unit.amount.to_string(),
                unit.decimals,
                unit.worth.assets.to_string(),
                unit.worth.decimals,
                row::text_or_none(unit.worth.multiplier.as_ref()),
            ),
        )?;
        Ok(())
    }

    fn skipped(&self, skipped: &Skipped) -> Result<(), Refusal> {
        self.run(
            "INSERT INTO skipped_fills (chain_id, block_hash, tx_hash, log_index, side, block_number, orderbook, \
             owner, input_token, output_token, symbol, shares, reason, at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
             ON CONFLICT (tx_hash, log_index, side, block_hash, chain_id) DO NOTHING",
            (
                row::integer(skipped.id.chain_id)?,
                row::hash(&skipped.id.block_hash),
                row::hash(&skipped.id.tx_hash),
                row::integer(skipped.id.log_index)?,
                skipped.id.side.as_str(),
                row::integer(skipped.block_number)?,
                row::address(&skipped.orderbook),
                row::address(&skipped.owner),
                row::address(&skipped.input_token),
                row::address(&skipped.output_token),
                skipped.symbol.as_ref().map(Symbol::as_str),
                skipped.shares.to_string(),
                skipped.reason.as_str(),
                self.at.0,
            ),
        )?;
        Ok(())
    }

    fn answered(&self, id: &FillId, counted: bool, reason: &str, who: &str) -> Result<(), Refusal> {
        let written = self.run(
            "INSERT INTO skipped_answers (skipped, counted, reason, who, at) SELECT skipped, ?6, ?7, ?8, ?9 \
             FROM skipped_fills WHERE tx_hash = ?1 AND log_index = ?2 AND side = ?3 AND block_hash = ?4 \
             AND chain_id = ?5",
            (
                row::hash(&id.tx_hash),
                row::integer(id.log_index)?,
                id.side.as_str(),
                row::hash(&id.block_hash),
                row::integer(id.chain_id)?,
                counted,
                reason,
                who,
                self.at.0,
            ),
        )?;
        if written == 1 { Ok(()) } else { contradiction(format!("no trade was passed over as {id}")) }
    }

    fn dead(&mut self, dead: &DeadEvent) -> Result<(), Refusal> {
        let topics: Vec<String> = dead.topics.iter().map(row::hash).collect();
        let written = self.run(
            "INSERT INTO dead_events (chain_id, block_hash, tx_hash, log_index, block_number, address, topics, data, \
             reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
             ON CONFLICT (tx_hash, log_index, block_hash, chain_id) DO NOTHING",
            (
                row::integer(dead.chain_id)?,
                row::hash(&dead.block_hash),
                row::hash(&dead.tx_hash),
                row::integer(dead.log_index)?,
                row::integer(dead.block_number)?,
                row::address(&dead.address),
                topics.join(","),
                format!("{:#x}", dead.data),
                &dead.reason,
                self.at.0,
            ),
        )?;
        // One that is known already is not written again.
        if written == 1 {
            self.changes.counts.dead += 1;
        }
        Ok(())
    }

    /// The row of a fill that is in the ledger.
    fn row_of(&mut self, id: &FillId) -> Result<FillRow, Refusal> {
        if let Some(row) = self.rows.get(id) {
            return Ok(row.clone());
        }
        let found = self
            .statement(
                "SELECT fill, symbol, side, shares FROM fills WHERE tx_hash = ?1 AND log_index = ?2 AND side = ?3 \
                 AND block_hash = ?4 AND chain_id = ?5",
            )?
            .query_row(
                (
                    row::hash(&id.tx_hash),
                    row::integer(id.log_index)?,
                    id.side.as_str(),
                    row::hash(&id.block_hash),
                    row::integer(id.chain_id)?,
                ),
                |r| {
                    let signed = row::parsed::<Side>(r, 2)?.signed(row::parsed(r, 3)?);
                    Ok(FillRow { fill: r.get(0)?, symbol: row::parsed(r, 1)?, signed })
                },
            )
            .optional()?;
        let Some(found) = found else { return contradiction(format!("there is no fill {id}")) };
        self.rows.insert(*id, found.clone());
        Ok(found)
    }

    fn has_counted(&self, fill: i64, n: u32) -> Result<bool, Refusal> {
        Ok(self.statement("SELECT 1 FROM fill_counts WHERE fill = ?1 AND n = ?2")?.exists((fill, n))?)
    }

    fn entry(&mut self, id: &FillId, n: u32, standing: bool, source: Source) -> Result<(), Refusal> {
        let fill = self.row_of(id)?.fill;
        let written = self.run(
            "INSERT INTO fill_entries (fill, n, sign, source, at) SELECT ?1, ?2, ?3, ?4, ?5 \
             WHERE ?2 = (SELECT count(*) FROM fill_entries WHERE fill = ?1)",
            (fill, n, if standing { 1 } else { -1 }, source.as_str(), self.at.0),
        )?;
        if written != 1 {
            return contradiction(format!("entry {n} is not the next one of fill {id}"));
        }
        self.owed.entries.remove(&fill);
        self.owed.waiting.insert(fill, standing);
        if !standing {
            self.changes.counts.reversals += 1;
        }
        if let (false, Some(undone)) = (standing, n.checked_sub(1))
            && self.has_counted(fill, undone)?
        {
            self.owed.counts.insert((fill, n));
        }
        Ok(())
    }

    fn count(&mut self, id: &FillId, n: u32) -> Result<(), Refusal> {
        let FillRow { fill, symbol, signed } = self.row_of(id)?;
        // Only the last entry counts: a fill reversed before it counted moves nothing. A reversal counts exactly when
        // the entry before it did.
        let written = self.run(COUNT, (fill, n, self.at.0))?;
        if written != 1 {
            return contradiction(format!("entry {n} of fill {id} may not count"));
        }
        self.owed.counts.remove(&(fill, n));
        self.owed.waiting.insert(fill, false);
        let change = if n.is_multiple_of(2) { signed } else { signed.negated() };
        Ok(sums::add(&mut self.changes.of(&symbol).fills, change)?)
    }

    fn pending(&self, fill: &PendingFill) -> Result<(), Refusal> {
        self.run(
            "INSERT INTO pending_fills (chain_id, block_hash, tx_hash, log_index, side, block_number, token, symbol, \
             reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            (
                row::integer(fill.id.chain_id)?,
                row::hash(&fill.id.block_hash),
                row::hash(&fill.id.tx_hash),
                row::integer(fill.id.log_index)?,
                fill.id.side.as_str(),
                row::integer(fill.block_number)?,
                row::address(&fill.token),
                fill.symbol.as_ref().map(Symbol::as_str),
                &fill.reason,
                self.at.0,
            ),
        )?;
        Ok(())
    }

    fn pending_over(&self, id: &FillId) -> Result<(), Refusal> {
        let removed = self.run(
            "DELETE FROM pending_fills WHERE tx_hash = ?1 AND log_index = ?2 AND side = ?3 AND block_hash = ?4 \
             AND chain_id = ?5",
            (
                row::hash(&id.tx_hash),
                row::integer(id.log_index)?,
                id.side.as_str(),
                row::hash(&id.block_hash),
                row::integer(id.chain_id)?,
            ),
        )?;
        if removed == 1 { Ok(()) } else { contradiction(format!("{id} did not wait")) }
    }

    fn pushed(&self, log: &LogId) -> Result<(), Refusal> {
        let LogId { block, tx_hash, log_index } = log;
        self.run(
            "INSERT INTO pushed_logs (block_number, block_hash, tx_hash, log_index, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                row::integer(block.number)?,
                row::hash(&block.hash),
                row::hash(tx_hash),
                row::integer(*log_index)?,
                self.at.0,
            ),
        )?;
        Ok(())
    }

    fn settled(&self, log: &LogId) -> Result<(), Refusal> {
        let removed = self.run(
            "DELETE FROM pushed_logs WHERE block_number = ?1 AND block_hash = ?2 AND tx_hash = ?3 AND log_index = ?4",
            (
                row::integer(log.block.number)?,
                row::hash(&log.block.hash),
                row::hash(&log.tx_hash),
                row::integer(log.log_index)?,
            ),
        )?;
        if removed == 1 { Ok(()) } else { contradiction(format!("{log} was not kept as pushed")) }
    }

    fn cursor(&self, cursor: &BlockRef, window: &[BlockRef]) -> Result<(), Refusal> {
        let ascending = window.windows(2).all(|pair| pair[0].number < pair[1].number);
        if !ascending || window.last().is_some_and(|last| last != cursor) {
            return contradiction(format!("the window does not ascend to the cursor {cursor}"));
        }
        self.run(
            "INSERT INTO cursor (one, number, hash) VALUES (1, ?1, ?2) \
             ON CONFLICT (one) DO UPDATE SET number = excluded.number, hash = excluded.hash",
            (row::integer(cursor.number)?, row::hash(&cursor.hash)),
        )?;
        // Of its 65 rows one leaves and one comes at each block.
        let before: Vec<BlockRef> = self
            .statement("SELECT number, hash FROM window ORDER BY number")?
            .query_map((), load::block)?
            .collect::<rusqlite::Result<_>>()?;
        for gone in before.iter().filter(|block| !window.contains(block)) {
            self.run("DELETE FROM window WHERE number = ?1", [row::integer(gone.number)?])?;
        }
        for block in window.iter().filter(|block| !before.contains(block)) {
            self.run(
                "INSERT INTO window (number, hash) VALUES (?1, ?2)",
                (row::integer(block.number)?, row::hash(&block.hash)),
            )?;
        }
        Ok(())
    }

    fn intent(&mut self, intent: &Intent) -> Result<(), Refusal> {
        if intent.transitions != 0 {
            return contradiction(format!("intent {} is born with transitions", intent.id));
        }
        self.run(
            "INSERT INTO intents (id, symbol, side, quantity, state, live, transitions, created_at, sent_at, \
             changed_at, order_id, executed, executions, adopted, reference, reason, counted) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, ?9, ?10, '0', 0, ?11, ?12, ?13, ?14)",
            (
                intent.id.as_str(),
                intent.symbol.as_str(),
                intent.side.as_str(),
                intent.quantity.to_string(),
                intent.state.as_str(),
                live(intent.state),
                intent.created_at.0,
                intent.sent_at.map(|at| at.0),
                intent.changed_at.0,
                intent.order_id.as_ref().map(OrderId::as_str),
                intent.adopted,
                row::text_or_none(intent.reference.as_ref()),
                &intent.reason,
                intent.counted,
            ),
        )?;
        self.owed.executed.insert(intent.id.clone(), (intent.executed, intent.executions));
        self.step_of(None, intent)
    }

    fn transition(&mut self, from: IntentState, intent: &Intent) -> Result<(), Refusal> {
        // A transition may keep the state: the order id is claimed while it stays `Sent`, a reason changes.
        if from != intent.state && !from.may_become(intent.state) {
            return contradiction(format!("intent {} may not go from {from} to {}", intent.id, intent.state));
        }
        let sql = format!(
            "UPDATE intents SET quantity = ?1, state = ?2, live = ?3, transitions = ?4, sent_at = ?5, changed_at = ?6, \
             order_id = ?7, reference = ?8, reason = ?9, counted = ?14 \
             WHERE id = ?10 AND state = ?11 AND transitions = ?4 - 1 AND {ticker} = ?12 AND side = ?13",
            ticker = row::ticker("symbol"),
        );
        let changed = self.run(
            &sql,
            (
                intent.quantity.to_string(),
                intent.state.as_str(),
                live(intent.state),
                intent.transitions,
                intent.sent_at.map(|at| at.0),
                intent.changed_at.0,
                intent.order_id.as_ref().map(OrderId::as_str),
                row::text_or_none(intent.reference.as_ref()),
                &intent.reason,
                intent.id.as_str(),
                from.as_str(),
                intent.symbol.as_str(),
                intent.side.as_str(),
                intent.counted,
            ),
        )?;
        if changed != 1 {
            let (id, transitions) = (intent.id.to_string(), intent.transitions.saturating_sub(1));
            return Err(Refusal::Says(LedgerError::WrongState { id, from, transitions }));
        }
        self.owed.executed.insert(intent.id.clone(), (intent.executed, intent.executions));
        self.step_of(Some(from), intent)
    }

    /// What was known of the account, beside the transition that made the intent `Sent`. A claim (Sent → Sent) sends
    /// nothing and has none.
    fn snapshot(&self, from: Option<IntentState>, intent: &Intent) -> Result<(), Refusal> {
        let sends = intent.state == IntentState::Sent && from != Some(IntentState::Sent);
        let Some(snapshot) = intent.snapshot.as_ref().filter(|_| sends) else { return Ok(()) };
        let known: Vec<&str> = snapshot.known.iter().map(OrderId::as_str).collect();
        if known.iter().any(|id| id.contains(',')) {
            return contradiction(format!("a comma in an order id: {known:?}"));
        }
        self.run(
            "INSERT INTO intent_snapshots (intent, n, position, position_at, known_orders) \
             SELECT intent, ?2, ?3, ?4, ?5 FROM intents WHERE id = ?1",
            (
                intent.id.as_str(),
                intent.transitions,
                snapshot.position.map(|(shares, _)| shares.to_string()),
                snapshot.position.map(|(_, at)| at.0),
                known.join(","),
            ),
        )?;
        Ok(())
    }

    /// Learnt once; the same again is nothing, another one is refused.
    fn tag(&self, tag: &str) -> Result<(), Refusal> {
        let changed =
            self.run("UPDATE stamp SET app_tag = ?1 WHERE app_tag IS NULL OR app_tag = ?1", [tag])?;
        if changed == 1 { Ok(()) } else { contradiction(format!("another tag than {tag} was learnt before")) }
    }

    fn decision(&mut self, id: &IntentId, what: &Decision, reason: &str, who: &str) -> Result<(), Refusal> {
        let order = match what {
            Decision::Adopt(order) => Some(order.as_str()),
            Decision::Absent | Decision::Book | Decision::Ignore => None,
        };
        let written = self.run(
            "INSERT INTO decisions (intent, what, order_id, reason, who, at) \
             SELECT intent, ?2, ?3, ?4, ?5, ?6 FROM intents WHERE id = ?1",
            (id.as_str(), what.as_str(), order, reason, who, self.at.0),
        )?;
        self.changes.ignored |= *what == Decision::Ignore;
        if written == 1 { Ok(()) } else { contradiction(format!("there is no intent {id}")) }
    }

    fn baseline(&self, symbol: &Symbol, change: Shares, reason: &str, who: &str) -> Result<(), Refusal> {
        self.run(
            "INSERT INTO baselines (symbol, change, reason, who, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            (symbol.as_str(), change.to_string(), reason, who, self.at.0),
        )?;
        Ok(())
    }

    fn step_of(&self, from: Option<IntentState>, intent: &Intent) -> Result<(), Refusal> {
        self.run(
            "INSERT INTO intent_transitions (intent, n, from_state, to_state, quantity, order_id, reason, at) \
             SELECT intent, ?2, ?3, ?4, ?5, ?6, ?7, ?8 FROM intents WHERE id = ?1",
            (
                intent.id.as_str(),
                intent.transitions,
                from.map(IntentState::as_str),
                intent.state.as_str(),
                intent.quantity.to_string(),
                intent.order_id.as_ref().map(OrderId::as_str),
                &intent.reason,
                self.at.0,
            ),
        )?;
        self.snapshot(from, intent)
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

    /// Adds an execution to the sums of its ticker.
    fn add_execution(&mut self, id: &IntentId, quantity: Shares) -> Result<(), Refusal> {
        let (symbol, side, ignored): (Symbol, Side, bool) = self
            .statement(
                "SELECT symbol, side, EXISTS (SELECT 1 FROM decisions d WHERE d.intent = i.intent AND d.what = 'ignore') \
                 FROM intents i WHERE id = ?1",
            )?
            .query_row([id.as_str()], |r| Ok((row::parsed(r, 0)?, row::parsed(r, 1)?, r.get(2)?)))?;
        let signed = side.signed(quantity);
        let change = self.changes.of(&symbol);
        sums::add(&mut change.account, signed)?;
        if !ignored {
            sums::add(&mut change.executions, signed)?;
        }
        Ok(())
    }

    /// Executed quantity and number of execution rows of an intent, as the ledger has them.
    fn executed(&self, id: &IntentId) -> Result<(Shares, u32), Refusal> {
        let found = self
            .statement("SELECT executed, executions FROM intents WHERE id = ?1")?
            .query_row([id.as_str()], |r| Ok((row::parsed(r, 0)?, r.get(1)?)))
            .optional()?;
        match found {
            Some(executed) => Ok(executed),
            None => contradiction(format!("there is no intent {id}")),
        }
    }

    fn execution(
        &mut self,
        order_id: &OrderId,
        n: u32,
        id: &IntentId,
        quantity: Shares,
        average_price: Option<Price>,
    ) -> Result<(), Refusal> {
        let (before, rows_before) = self.executed(id)?;
        let after = match before.checked_add(quantity) {
            Some(after) if !after.is_negative() => after,
            _ => return contradiction(format!("{quantity} more than {before} executed of intent {id}")),
        };
        let written = self.run(
            "INSERT INTO executions (order_id, n, intent, quantity, average_price, at) \
             SELECT ?1, ?2, intent, ?4, ?5, ?6 FROM intents WHERE id = ?3 \
             AND ?2 = (SELECT count(*) FROM executions WHERE order_id = ?1)",
            (
                order_id.as_str(),
                n,
                id.as_str(),
                quantity.to_string(),
                row::text_or_none(average_price.as_ref()),
                self.at.0,
            ),
        )?;
        if written != 1 {
            return contradiction(format!("execution {n} is not the next one of order {order_id}"));
        }
        self.add_execution(id, quantity)?;
        let rows = rows_before.saturating_add(1);
        self.run(
            "UPDATE intents SET executed = ?1, executions = ?2 WHERE id = ?3",
            (after.to_string(), rows, id.as_str()),
        )?;
        if let Some(believed) = self.owed.executed.get_mut(id)
            && *believed == (before, rows_before)
        {
            *believed = (after, rows);
        }
        Ok(())
    }

    fn halt(
        &self,
        symbol: Option<&Symbol>,
        kind: HaltKind,
        raised: bool,
        reason: &str,
        who: &str,
    ) -> Result<(), Refusal> {
        self.run(
            "INSERT INTO halts (symbol, kind, raised, reason, who, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (symbol.map(Symbol::as_str), kind.as_str(), raised, reason, who, self.at.0),
        )?;
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
