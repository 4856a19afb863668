//! What the chain said: tokens, fills with their entries and counts, what was skipped or waits, cursor and window.

use rusqlite::OptionalExtension;

use super::{Batch, COUNT, FillRow, Refusal, contradiction};
use crate::fills::{DeadEvent, Fill, FillUnit, PendingFill, Skipped, TokenFact, TokenKind};
use crate::units::{BlockRef, FillId, LogId, Shares, Side, Symbol};
use crate::{Source, load, row, sums};

impl Batch<'_> {
    pub(super) fn token(&self, fact: &TokenFact) -> Result<(), Refusal> {
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

    pub(super) fn fill(&mut self, fill: &Fill) -> Result<(), Refusal> {
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

    pub(super) fn fill_unit(&self, fill: i64, unit: &FillUnit) -> Result<(), Refusal> {
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

    pub(super) fn skipped(&self, skipped: &Skipped) -> Result<(), Refusal> {
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

    pub(super) fn answered(
        &self,
        id: &FillId,
        counted: bool,
        reason: &str,
        who: &str,
    ) -> Result<(), Refusal> {
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

    pub(super) fn dead(&mut self, dead: &DeadEvent) -> Result<(), Refusal> {
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
    pub(super) fn row_of(&mut self, id: &FillId) -> Result<FillRow, Refusal> {
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

    pub(super) fn has_counted(&self, fill: i64, n: u32) -> Result<bool, Refusal> {
        Ok(self.statement("SELECT 1 FROM fill_counts WHERE fill = ?1 AND n = ?2")?.exists((fill, n))?)
    }

    pub(super) fn entry(
        &mut self,
        id: &FillId,
        n: u32,
        standing: bool,
        source: Source,
    ) -> Result<(), Refusal> {
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

    pub(super) fn count(&mut self, id: &FillId, n: u32) -> Result<(), Refusal> {
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

    pub(super) fn pending(&self, fill: &PendingFill) -> Result<(), Refusal> {
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

    pub(super) fn pending_over(&self, id: &FillId) -> Result<(), Refusal> {
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

    pub(super) fn pushed(&self, log: &LogId) -> Result<(), Refusal> {
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

    pub(super) fn settled(&self, log: &LogId) -> Result<(), Refusal> {
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

    pub(super) fn cursor(&self, cursor: &BlockRef, window: &[BlockRef]) -> Result<(), Refusal> {
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
}
