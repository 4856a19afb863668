//! The stamp: whose ledger it is, compared with who asks.
//!
//! A ledger read with another chain, owner or account would hedge one book's fills in another book's name, so a
//! difference is refused, all of them at once (`protocol.md` 5.1).

use std::path::Path;

use alloy::primitives::Address;
use rusqlite::Connection;

use super::error::{Difference, LedgerError};
use super::{Stamp, row};
use crate::units::Millis;

/// Reading the stamp failed: a database without one is not ours.
pub(super) fn missing(path: &Path, error: rusqlite::Error) -> LedgerError {
    if error.to_string().contains("no such table") {
        LedgerError::damaged(path, "it is a database, but not a ledger of this program".to_owned())
    } else {
        LedgerError::sql(path, "read its stamp", error)
    }
}

/// Stamps a ledger that is being born.
pub(super) fn write(conn: &Connection, stamp: &Stamp, now: Millis) -> rusqlite::Result<()> {
    conn.execute(
        "INSERT INTO stamp (one, chain_id, orderbooks, owners, broker, account, hedge_from_block, deployment_block, \
         born_at) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            row::integer(stamp.chain_id)?,
            row::address_set(&stamp.orderbooks),
            row::address_set(&stamp.owners),
            &stamp.broker,
            &stamp.account,
            stamp.hedge_from_block.map(row::integer).transpose()?,
            row::integer(stamp.deployment_block)?,
            now.0,
        ),
    )
    .map(|_| ())
}

/// The stamp that a ledger carries.
pub(super) fn read(conn: &Connection, path: &Path) -> Result<Stamp, LedgerError> {
    let sql =
        "SELECT chain_id, orderbooks, owners, broker, account, hedge_from_block, deployment_block FROM stamp";
    let stamp = conn.query_row(sql, [], |r| {
        Ok(Stamp {
            chain_id: row::number(r, 0)?,
            orderbooks: row::addresses(r, 1)?,
            owners: row::addresses(r, 2)?,
            broker: r.get(3)?,
            account: r.get(4)?,
            hedge_from_block: row::number_or_none(r, 5)?,
            deployment_block: row::number(r, 6)?,
        })
    });
    match stamp {
        Err(rusqlite::Error::QueryReturnedNoRows) => {
            Err(LedgerError::damaged(path, "it carries no stamp".to_owned()))
        }
        other => other.map_err(|error| missing(path, error)),
    }
}

/// Compares the stamp with the configuration; what comes back is worth a warning.
pub(super) fn must_be_ours(conn: &Connection, path: &Path, ours: &Stamp) -> Result<Vec<String>, LedgerError> {
    let born = read(conn, path)?;
    let block = |block: Option<u64>| block.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let set = |addresses: &[Address]| row::address_set(addresses);
    let mut differences: Vec<Difference> = [
        ("CHAIN_ID", born.chain_id.to_string(), ours.chain_id.to_string()),
        ("ORDERBOOK", set(&born.orderbooks), set(&ours.orderbooks)),
        ("ORDER_OWNER", set(&born.owners), set(&ours.owners)),
        ("BROKER", born.broker, ours.broker.clone()),
        ("account", born.account, ours.account.clone()),
        ("HEDGE_FROM_BLOCK", block(born.hedge_from_block), block(ours.hedge_from_block)),
    ]
    .into_iter()
    .filter(|(_, ledger, configuration)| ledger != configuration)
    .map(|(field, ledger, configuration)| Difference { field, ledger, configuration })
    .collect();
    if ours.deployment_block < born.deployment_block {
        // Fills below the first sweep would never be read.
        differences.push(Difference {
            field: "DEPLOYMENT_BLOCK",
            ledger: format!(
                "{} (the first sweep began there, and nothing older is ever read)",
                born.deployment_block
            ),
            configuration: ours.deployment_block.to_string(),
        });
    }
    if !differences.is_empty() {
        let remedy =
            "Put these variables back to what the ledger says, or give this configuration a ledger of its \
                      own: DATABASE_URL=sqlite:/path/of/a/new.db"
                .to_owned();
        return Err(LedgerError::ForeignStamp { path: path.to_owned(), differences, remedy });
    }
    if ours.deployment_block > born.deployment_block {
        return Ok(vec![format!(
            "DEPLOYMENT_BLOCK={} has no effect: this ledger has read the chain from block {} on",
            ours.deployment_block, born.deployment_block
        )]);
    }
    Ok(Vec::new())
}
