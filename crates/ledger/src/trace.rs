//! The story of one transaction: what it did to us, and what we did about it.

use alloy::primitives::B256;
use serde::Serialize;

use super::error::LedgerError;
use super::read::{
    FillRow, HEDGE_COLUMNS, HedgeRow, Reader, fill_row, fills_where, hedge_row, rfc3339, rfc3339_or_none,
};
use super::row;
use crate::hedges::IntentState;
use crate::units::{Millis, OrderId, Price, Shares, Symbol};

/// Hedges told per ticker: the fill of a month ago has nothing to do with today's.
const HEDGES_MAX: i64 = 20;

/// Everything the ledger knows of one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Story {
    /// The transaction.
    pub tx_hash: String,
    /// Its fills and skipped trades, by log index.
    pub fills: Vec<TracedFill>,
    /// Its logs that were not understood.
    pub dead: Vec<DeadRow>,
    /// The tickers it moved, ascending, and their hedges.
    pub tickers: Vec<TracedTicker>,
}

/// A fill with its entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedFill {
    /// The fill.
    #[serde(flatten)]
    pub fill: FillRow,
    /// What became of it; none where it was skipped.
    pub entries: Vec<EntryRow>,
    /// How its shares came of the token; none where a token is one share.
    pub unit: Option<UnitRow>,
}

/// How a fill's shares came of its token (`protocol.md` 1.8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitRow {
    /// The token.
    pub token: String,
    /// Base units of it that moved.
    pub amount: String,
    /// Its decimals.
    pub decimals: u8,
    /// Base units of the last token that it holds.
    pub assets: String,
    /// That token's decimals at the fill's block.
    pub asset_decimals: u8,
    /// That token's multiplier, 1e18 for one.
    pub multiplier: Option<String>,
}

/// One entry of a fill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntryRow {
    /// Its number.
    pub n: u32,
    /// +1 seen or reinstated, −1 reversed.
    pub sign: i8,
    /// `push`, `sweep` or `replay`.
    pub source: String,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: Millis,
    /// Since when it counts toward exposure.
    #[serde(serialize_with = "rfc3339_or_none")]
    pub counted_at: Option<Millis>,
}

/// A log that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeadRow {
    /// Height.
    pub block_number: u64,
    /// Hash of that block.
    pub block_hash: String,
    /// Index within the block.
    pub log_index: u64,
    /// Emitter.
    pub address: String,
    /// Topics, comma-separated.
    pub topics: String,
    /// Data.
    pub data: String,
    /// What was wrong.
    pub reason: String,
    /// When it was stored.
    #[serde(serialize_with = "rfc3339")]
    pub at: Millis,
}

/// A ticker that the transaction moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedTicker {
    /// Ticker.
    pub symbol: Symbol,
    /// Its exposure now, of all transactions.
    pub exposure: Shares,
    /// The hedges that changed at or after the transaction's first entry, oldest first.
    pub hedges: Vec<TracedHedge>,
    /// How many more there are after those.
    pub more: u64,
}

/// A hedge with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TracedHedge {
    /// The hedge.
    #[serde(flatten)]
    pub hedge: HedgeRow,
    /// Its transitions, birth first.
    pub transitions: Vec<TransitionRow>,
    /// Its executions.
    pub executions: Vec<ExecutionRow>,
}

/// One step of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransitionRow {
    /// Its number; the birth is 0.
    pub n: u32,
    /// The state it left; none at birth.
    pub from: Option<IntentState>,
    /// The state it reached.
    pub to: IntentState,
    /// The order bound by then.
    pub broker_order_id: Option<OrderId>,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(serialize_with = "rfc3339")]
    pub at: Millis,
}

/// One execution row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecutionRow {
    /// The order.
    pub broker_order_id: OrderId,
    /// Its number within the order.
    pub n: u32,
    /// Change of the cumulative quantity.
    pub quantity: Shares,
    /// The order's average price at that reading.
    pub average_price: Option<Price>,
    /// When it was booked.
    #[serde(serialize_with = "rfc3339")]
    pub at: Millis,
}

impl Reader {
    /// The story of one transaction; empty lists where the ledger does not know it.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`], [`LedgerError::Sql`].
    pub fn trace(&self, tx_hash: B256) -> Result<Story, LedgerError> {
        let moment = self.conn.unchecked_transaction().map_err(|error| self.failed(error))?;
        let tx_hash = row::hash(&tx_hash);
        let fills = self.traced_fills(&tx_hash)?;
        let dead = self.dead(&tx_hash)?;
        let mut tickers = Vec::new();
        for position in self.positions_within()? {
            let first = fills
                .iter()
                .filter(|traced| traced.fill.symbol.as_ref() == Some(&position.symbol))
                .map(|traced| traced.fill.seen_at)
                .min();
            if let Some(first) = first {
                tickers.push(self.traced_ticker(position.symbol, position.exposure, first)?);
            }
        }
        drop(moment);
        Ok(Story { tx_hash, fills, dead, tickers })
    }

    fn traced_fills(&self, tx_hash: &str) -> Result<Vec<TracedFill>, LedgerError> {
        let sql = fills_where("tx_hash = ?1", "ORDER BY block_number, log_index, side");
        let found = self.all(&sql, [tx_hash], |r| Ok((r.get::<_, Option<i64>>(16)?, fill_row(r)?)))?;
        found
            .into_iter()
            .map(|(key, fill)| Ok(TracedFill { fill, entries: self.entries(key)?, unit: self.unit(key)? }))
            .collect()
    }

    fn unit(&self, fill: Option<i64>) -> Result<Option<UnitRow>, LedgerError> {
        let sql = format!("SELECT {} FROM fill_units u WHERE u.fill = ?1", row::UNIT_COLUMNS);
        let found = self.all(&sql, [fill], |r| {
            Ok(UnitRow {
                token: r.get(0)?,
                amount: r.get(1)?,
                decimals: r.get(2)?,
                assets: r.get(3)?,
                asset_decimals: r.get(4)?,
                multiplier: r.get(5)?,
            })
        })?;
        Ok(found.into_iter().next())
    }

    fn entries(&self, fill: Option<i64>) -> Result<Vec<EntryRow>, LedgerError> {
        self.all(
            "SELECT e.n, e.sign, e.source, e.at, c.at FROM fill_entries e LEFT JOIN fill_counts c USING (fill, n) \
             WHERE e.fill = ?1 ORDER BY e.n",
            [fill],
            |r| {
                Ok(EntryRow {
                    n: r.get(0)?,
                    sign: r.get(1)?,
                    source: r.get(2)?,
                    at: Millis(r.get(3)?),
                    counted_at: r.get::<_, Option<i64>>(4)?.map(Millis),
                })
            },
        )
    }

    fn dead(&self, tx_hash: &str) -> Result<Vec<DeadRow>, LedgerError> {
        self.all(
            "SELECT block_number, block_hash, log_index, address, topics, data, reason, at FROM dead_events \
             WHERE tx_hash = ?1 ORDER BY block_number, log_index",
            [tx_hash],
            |r| {
                Ok(DeadRow {
                    block_number: row::number(r, 0)?,
                    block_hash: r.get(1)?,
                    log_index: row::number(r, 2)?,
                    address: r.get(3)?,
                    topics: r.get(4)?,
                    data: r.get(5)?,
                    reason: r.get(6)?,
                    at: Millis(r.get(7)?),
                })
            },
        )
    }

    fn traced_ticker(
        &self,
        symbol: Symbol,
        exposure: Shares,
        first: Millis,
    ) -> Result<TracedTicker, LedgerError> {
        let ticker = row::ticker("i.symbol");
        let sql = format!(
            "SELECT {HEDGE_COLUMNS}, i.intent FROM intents i WHERE {ticker} = ?1 AND i.changed_at >= ?2 \
             ORDER BY i.intent LIMIT ?3"
        );
        let found = self.all(&sql, (symbol.as_str(), first.0, HEDGES_MAX), |r| {
            Ok((r.get::<_, i64>(13)?, hedge_row(r)?))
        })?;
        let total = self.all(
            &format!("SELECT count(*) FROM intents i WHERE {ticker} = ?1 AND i.changed_at >= ?2"),
            (symbol.as_str(), first.0),
            |r| row::number(r, 0),
        )?;
        let told = u64::try_from(found.len()).unwrap_or(u64::MAX);
        let more = total.first().copied().unwrap_or_default().saturating_sub(told);
        let hedges =
            found.into_iter().map(|(key, hedge)| self.traced_hedge(key, hedge)).collect::<Result<_, _>>()?;
        Ok(TracedTicker { symbol, exposure, hedges, more })
    }

    fn traced_hedge(&self, intent: i64, hedge: HedgeRow) -> Result<TracedHedge, LedgerError> {
        let transitions = self.all(
            "SELECT n, from_state, to_state, order_id, reason, at FROM intent_transitions WHERE intent = ?1 ORDER BY n",
            [intent],
            |r| {
                Ok(TransitionRow {
                    n: r.get(0)?,
                    from: row::parsed_or_none(r, 1)?,
                    to: row::parsed(r, 2)?,
                    broker_order_id: row::parsed_or_none(r, 3)?,
                    reason: r.get(4)?,
                    at: Millis(r.get(5)?),
                })
            },
        )?;
        let executions = self.all(
            "SELECT order_id, n, quantity, average_price, at FROM executions WHERE intent = ?1 ORDER BY at, order_id, n",
            [intent],
            |r| {
                Ok(ExecutionRow {
                    broker_order_id: row::parsed(r, 0)?,
                    n: r.get(1)?,
                    quantity: row::parsed(r, 2)?,
                    average_price: row::parsed_or_none(r, 3)?,
                    at: Millis(r.get(4)?),
                })
            },
        )?;
        Ok(TracedHedge { hedge, transitions, executions })
    }

    /// All rows of a query that has few.
    fn all<R>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<R>,
    ) -> Result<Vec<R>, LedgerError> {
        let mut rows = Vec::new();
        self.each(sql, values, read, |found| {
            rows.push(found);
            Ok::<_, LedgerError>(())
        })?;
        Ok(rows)
    }
}
