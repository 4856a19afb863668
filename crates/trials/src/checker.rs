//! Decides whether money was lost or moved twice, from the world's own truth and the ledger's rows.
//!
//! It shares no code with the engine, the ledger's reading or the decoder: it has the canonical chain with what was
//! dealt in it, the broker's true book, and SQL of its own; its numbers are integers of 1e-18.
//!
//! # Doubled, at any time
//!
//! When an order becomes durable, no other of ours may live in its ticker, it must be of whole lots, of an amount that the
//! broker takes, and it must be justified by what is known then. Take the ledger's counting fills of its ticker (which are
//! held against the chain at rest), add everything the broker has of ours: of a done order what it traded, of a live one
//! and of one on its way the whole quantity. The order must bring that sum nearer to zero and not past it. The one order
//! that may be out of date is the same one again under its own name (`protocol.md` 3.5); then the name must be one the broker refuses twice. Of a trade that was taken back the ledger's own figure counts
//! until it is booked: nobody can know of it before.
//!
//! # At rest
//!
//! Every fill on the canonical chain counts once and no other does; every order of ours belongs to one intent with its
//! ticker, side and quantity; every execution is booked; no intent is open; what is left of chain and broker together is
//! less than an order, but for what could only be sold short where that is not allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use alloy::primitives::B256;
use rusqlite::{Connection, OptionalExtension};

use super::broker::Book;
use super::market::{Market, Meaning};
use super::order::Order;
use super::schedule::TICKERS;
use super::venue::Venue;
use counterfill_core::units::{ONE, Side};
use counterfill_sim::chain::SimChain;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A fill of the canonical chain does not count, or a share is left without its hedge.
    Lost,
    /// A fill counts that is not on the chain, or more was ordered than the fills ask for.
    Doubled,
    /// An order or a fill has the wrong side.
    WrongSide,
    /// An order or a fill has the wrong quantity.
    WrongQuantity,
    /// The broker has an order of ours without an intent of ours.
    OrderWithoutIntent,
    /// An order left while another one of ours was live, or on its way, in that ticker.
    TwoLiveIntents,
    /// A lot or more is left at rest.
    ExposureAtRest,
    /// An order left while its ticker was halted.
    MovedWhileHalted,
    /// An execution is not in the ledger, or another one is.
    ExecutionUnbooked,
    /// A log that nobody can read left no trace.
    DeadEventDropped,
    /// An order call was repeated where the broker does not know it by name.
    Repeated,
    /// An order left outside of the session.
    OutsideSession,
    /// An order left that a limit of the configuration forbids.
    BeyondLimit,
    /// The bot ended and should not have, or can not start.
    Ended,
    /// The world does not come to rest.
    NoRest,
    /// The checker itself could not read the ledger.
    Unchecked,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::WrongSide => "wrong side",
            Self::WrongQuantity => "wrong quantity",
            Self::OrderWithoutIntent => "order without intent",
            Self::TwoLiveIntents => "two live intents",
            Self::ExposureAtRest => "exposure at rest",
            Self::MovedWhileHalted => "money moved while halted",
            Self::ExecutionUnbooked => "execution unbooked",
            Self::DeadEventDropped => "dead event dropped",
            Self::Repeated => "order call repeated",
            Self::OutsideSession => "order outside of the session",
            Self::BeyondLimit => "order beyond a limit",
            Self::Ended => "the bot ended",
            Self::NoRest => "no rest",
            Self::Unchecked => "unchecked",
        })
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which kind.
    pub fault: Fault,
    /// What exactly.
    pub what: String,
}

impl Finding {
    pub(crate) fn new(fault: Fault, what: impl Into<String>) -> Self {
        Self { fault, what: what.into() }
    }
}

/// An order as it was given away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) intent: String,
    pub(crate) ticker: usize,
    pub(crate) buy: bool,
    pub(crate) atoms: i128,
}

/// A decimal text in 1e-18.
fn atoms(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let padded = format!("{whole}{fraction:0<18}");
    let magnitude: i128 = padded.parse().ok().filter(|_| fraction.len() <= 18)?;
    Some(if negative { -magnitude } else { magnitude })
}

fn shown(atoms: i128) -> String {
    let (sign, magnitude) = if atoms < 0 { ("-", -atoms) } else { ("", atoms) };
    format!("{sign}{}.{:018}", magnitude / ONE, magnitude % ONE)
}

fn text(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<i128> {
    let text: String = row.get(at)?;
    atoms(&text).ok_or(rusqlite::Error::InvalidColumnName(text))
}

/// Signed sums of the ledger's counting fills, per ticker.
fn fill_sums(ledger: &Connection) -> rusqlite::Result<BTreeMap<String, i128>> {
    let mut statement = ledger.prepare_cached(
        "SELECT f.symbol, f.side, f.shares, e.sign FROM fill_counts c JOIN fill_entries e ON e.fill = c.fill \
         AND e.n = c.n JOIN fills f ON f.fill = c.fill",
    )?;
    let mut rows = statement.query([])?;
    let mut sums = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (symbol, side, sign): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(3)?);
        let shares = text(row, 2)? * i128::from(sign);
        *sums.entry(symbol).or_insert(0) += if side == "BUY" { shares } else { -shares };
    }
    Ok(sums)
}

/// Signed sums of the executions in the ledger, per order.
pub(super) fn booked(ledger: &Connection) -> rusqlite::Result<BTreeMap<String, i128>> {
    let mut statement = ledger.prepare_cached("SELECT order_id, quantity FROM executions")?;
    let mut rows = statement.query([])?;
    let mut sums = BTreeMap::new();
    while let Some(row) = rows.next()? {
        *sums.entry(row.get(0)?).or_insert(0) += text(row, 1)?;
    }
    Ok(sums)
}

/// Orders that are bound to an intent and count as ours: nobody can tell an order with our tag from ours, whoever typed
/// it, and a person has not said otherwise.
pub(super) fn bound(ledger: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let sql = "SELECT order_id FROM intents WHERE state <> 'Absent' AND order_id IS NOT NULL";
    let mut statement = ledger.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Intents whose order the bot is looking for.
pub(super) fn looked_for(ledger: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let mut statement = ledger.prepare_cached("SELECT id FROM intents WHERE state = 'Unknown'")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Looks at an order in the moment in which its intent has become durable and nothing has left yet.
pub(crate) fn may_leave(
    ledger: &Connection,
    given: &Given,
    book: &Book,
    venue: &Venue,
) -> rusqlite::Result<Option<Finding>> {
    let ticker = TICKERS.get(given.ticker).copied().unwrap_or("?");
    let halt: Option<String> = ledger
        .prepare_cached(
            "SELECT kind FROM halts WHERE raised = 1 AND (symbol IS NULL OR symbol = ?1) \
             AND halt IN (SELECT max(halt) FROM halts GROUP BY symbol, kind)",
        )?
        .query_row([ticker], |row| row.get(0))
        .optional()?;
    if let Some(kind) = halt {
        let what = format!("{} leaves for {ticker}, which is halted ({kind})", given.intent);
        return Ok(Some(Finding::new(Fault::MovedWhileHalted, what)));
    }
    let row: Option<(i64, String, String, String)> = ledger
        .prepare_cached("SELECT intent, state, side, quantity FROM intents WHERE id = ?1")?
        .query_row([&given.intent], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((intent, state, side, quantity)) = row else {
        let what = format!("{} leaves and is not in the ledger", given.intent);
        return Ok(Some(Finding::new(Fault::OrderWithoutIntent, what)));
    };
    if state != "Sent" || (side == "BUY") != given.buy || atoms(&quantity) != Some(given.atoms) {
        let what = format!(
            "{} leaves as {} {}, the ledger says {state} {side} {quantity}",
            given.intent,
            if given.buy { "BUY" } else { "SELL" },
            shown(given.atoms)
        );
        return Ok(Some(Finding::new(Fault::OrderWithoutIntent, what)));
    }
    let times: i64 = ledger
        .prepare_cached("SELECT count(*) FROM intent_transitions WHERE intent = ?1 AND to_state = 'Sent' AND order_id IS NULL")?
        .query_row([intent], |row| row.get(0))?;
    if times > 1 {
        let what = format!("{} leaves for the {times}th time", given.intent);
        return Ok((!venue.client_ids()).then(|| Finding::new(Fault::Repeated, what)));
    }
    if given.atoms < venue.order_min() || given.atoms % venue.lot.atoms() != 0 {
        let what = format!("{} leaves with {}, which no broker takes", given.intent, shown(given.atoms));
        return Ok(Some(Finding::new(Fault::WrongQuantity, what)));
    }
    if let Some(other) = book.live_beside(given.ticker, &given.intent) {
        let what = format!("{} leaves for {ticker} while {other} lives", given.intent);
        return Ok(Some(Finding::new(Fault::TwoLiveIntents, what)));
    }
    let fills = fill_sums(ledger)?.get(ticker).copied().unwrap_or(0);
    let known = booked(ledger)?;
    let mut committed = book.on_the_way(given.ticker, &given.intent);
    let bound = bound(ledger)?;
    let ours = |order: &&Order| order.is_ours(&bound);
    for order in book.orders().iter().filter(ours).filter(|order| order.ticker == given.ticker) {
        committed += if order.busted && !order.live {
            let sum = known.get(&order.id).copied().unwrap_or(0);
            if order.side == Side::Buy { sum } else { -sum }
        } else {
            order.committed()
        };
    }
    let before = fills + committed;
    let after = before + if given.buy { given.atoms } else { -given.atoms };
    let nearer = after.abs() < before.abs() && (after == 0 || (after > 0) == (before > 0));
    let what = || {
        format!(
            "{} moves {ticker} from {} to {} (fills {}, at the broker or on the way {})",
            given.intent,
            shown(before),
            shown(after),
            shown(fills),
            shown(committed)
        )
    };
    Ok((!nearer).then(|| Finding::new(Fault::Doubled, what())))
}

/// What a world looked like at rest, in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    pub(crate) fills: u64,
    pub(crate) hedges: u64,
    /// What is left, per ticker, in 1e-18; but for what could only be sold short, where that is not allowed.
    pub(crate) exposure: BTreeMap<usize, i128>,
}

/// The truth and the ledger, held against each other when the world has come to rest.
pub(crate) struct Judge<'a> {
    pub(crate) chain: &'a SimChain,
    pub(crate) market: &'a Market,
    pub(crate) book: &'a Book,
    pub(crate) ledger: &'a Connection,
    pub(crate) venue: &'a Venue,
    /// Whether an older ledger was put back: only then may an intent be adopted.
    pub(crate) restored: bool,
}

type Name = (B256, B256);

impl Judge<'_> {
    /// Everything that is wrong.
    pub(crate) fn verdict(&self) -> rusqlite::Result<(Rest, Vec<Finding>)> {
        let mut findings = Vec::new();
        let mut rest = Rest::default();
        self.fills(&mut rest, &mut findings)?;
        self.dead(&mut findings)?;
        self.orders(&mut rest, &mut findings)?;
        self.intents(&mut findings)?;
        // What could only be sold short, where that is not allowed, waits until the account holds it.
        rest.exposure.retain(|ticker, left| !self.venue.lacks_shares(*left, self.book.held(*ticker)));
        for (ticker, left) in &rest.exposure {
            if left.abs() >= self.venue.left_max() {
                let name = TICKERS.get(*ticker).copied().unwrap_or("?");
                findings.push(Finding::new(
                    Fault::ExposureAtRest,
                    format!("{} of {name} are left", shown(*left)),
                ));
            }
        }
        Ok((rest, findings))
    }

    fn canonical(&self) -> impl Iterator<Item = (Name, Meaning)> + '_ {
        let blocks = self.chain.canonical().iter().skip(1).filter_map(|hash| self.chain.block(*hash));
        blocks.flat_map(move |block| {
            block.txs.iter().flat_map(move |tx| {
                self.market.meaning(tx.hash).iter().map(move |meaning| ((block.hash, tx.hash), *meaning))
            })
        })
    }

    /// The chain's fills against those that count in the ledger.
    fn fills(&self, rest: &mut Rest, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
        let mut open: BTreeMap<Name, Vec<(usize, bool, i128)>> = BTreeMap::new();
        for (name, meaning) in self.canonical() {
            let Meaning::Fill { ticker, buy, atoms } = meaning else { continue };
            open.entry(name).or_default().push((ticker, buy, atoms));
            rest.fills += 1;
            *rest.exposure.entry(ticker).or_default() += if buy { atoms } else { -atoms };
        }
        let mut statement = self.ledger.prepare(
            "SELECT f.block_hash, f.tx_hash, f.symbol, f.side, f.shares, (SELECT sum(e.sign) FROM fill_counts c \
             JOIN fill_entries e ON e.fill = c.fill AND e.n = c.n WHERE c.fill = f.fill) FROM fills f",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (block, tx): (String, String) = (row.get(0)?, row.get(1)?);
            let (symbol, side): (String, String) = (row.get(2)?, row.get(3)?);
            let (shares, counts) = (text(row, 4)?, row.get::<_, Option<i64>>(5)?.unwrap_or(0));
            let place = format!("{symbol} {side} {} of {tx} in {block}", shown(shares));
            if counts == 0 {
                continue;
            }
            if counts != 1 {
                findings.push(Finding::new(Fault::Doubled, format!("{place} counts {counts} times")));
                continue;
            }
            let name = (block.parse().unwrap_or_default(), tx.parse().unwrap_or_default());
            let mine = (TICKERS.iter().position(|ticker| *ticker == symbol), side == "BUY");
            let left = open.entry(name).or_default();
            let exact = left.iter().position(|(t, b, a)| (Some(*t), *b) == mine && *a == shares);
            let amount = left.iter().position(|(t, b, _)| (Some(*t), *b) == mine);
            let side = left.iter().position(|(t, _, a)| Some(*t) == mine.0 && *a == shares);
            match (exact, amount, side) {
                (Some(at), ..) => drop(left.remove(at)),
                (None, Some(at), _) => {
                    left.remove(at);
                    findings.push(Finding::new(Fault::WrongQuantity, place));
                }
                (None, None, Some(at)) => {
                    left.remove(at);
                    findings.push(Finding::new(Fault::WrongSide, place));
                }
                (None, None, None) => {
                    findings.push(Finding::new(
                        Fault::Doubled,
                        format!("{place} counts and is not on the chain"),
                    ));
                }
            }
        }
        for ((block, tx), left) in open {
            for (ticker, buy, atoms) in left {
                let (name, side) = (TICKERS.get(ticker).unwrap_or(&"?"), if buy { "BUY" } else { "SELL" });
                let what = format!("{name} {side} {} of {tx} in {block} does not count", shown(atoms));
                findings.push(Finding::new(Fault::Lost, what));
            }
        }
        Ok(())
    }

    fn dead(&self, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
        let mut statement =
            self.ledger.prepare("SELECT 1 FROM dead_events WHERE block_hash = ?1 AND tx_hash = ?2")?;
        for ((block, tx), meaning) in self.canonical() {
            if meaning == Meaning::Dead && !statement.exists((format!("{block:#x}"), format!("{tx:#x}")))? {
                findings.push(Finding::new(Fault::DeadEventDropped, format!("{tx} in {block}")));
            }
        }
        Ok(())
    }

    /// The broker's orders against the intents, and what they traded against what is booked.
    fn orders(&self, rest: &mut Rest, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
        let mut statement = self
            .ledger
            .prepare("SELECT id, symbol, side, quantity, adopted FROM intents WHERE order_id = ?1")?;
        let known = booked(self.ledger)?;
        let bound = bound(self.ledger)?;
        let ours = |order: &&Order| order.is_ours(&bound);
        for order in self.book.orders().iter().filter(ours) {
            rest.hedges += 1;
            *rest.exposure.entry(order.ticker).or_default() += order.signed();
            let found = statement
                .query_row([&order.id], |row| {
                    let adopted: bool = row.get(4)?;
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, String>(2)?,
                        text(row, 3)?,
                        adopted,
                    ))
                })
                .optional()?;
            let buy = order.side == Side::Buy;
            let Some((id, symbol, side, quantity, adopted)) = found else {
                let what = format!("order {} ({})", order.id, order.intent.as_deref().unwrap_or("?"));
                findings.push(Finding::new(Fault::OrderWithoutIntent, what));
                continue;
            };
            if adopted && !self.restored && order.intent.is_some() {
                let what = format!("order {} was adopted as {id}, though no ledger was put back", order.id);
                findings.push(Finding::new(Fault::OrderWithoutIntent, what));
            }
            if TICKERS.get(order.ticker) != Some(&symbol.as_str()) || (side == "BUY") != buy {
                findings.push(Finding::new(Fault::WrongSide, format!("order {} is bound to {id}", order.id)));
            }
            if quantity != order.quantity {
                findings
                    .push(Finding::new(Fault::WrongQuantity, format!("order {} is bound to {id}", order.id)));
            }
            let own = |other: &&Order| other.intent.as_deref() == Some(id.as_str());
            if let (None, Some(own)) = (&order.intent, self.book.orders().iter().find(own)) {
                let what =
                    format!("order {}, typed by a hand, is bound to {id}, whose own is {}", order.id, own.id);
                findings.push(Finding::new(Fault::OrderWithoutIntent, what));
            }
            let sum = known.get(&order.id).copied().unwrap_or(0);
            if sum != order.executed {
                let what =
                    format!("order {}: {} booked, {} traded", order.id, shown(sum), shown(order.executed));
                findings.push(Finding::new(Fault::ExecutionUnbooked, what));
            }
        }
        for (id, sum) in known {
            let is_there = self.book.orders().iter().any(|order| order.id == id && order.executed == sum);
            if !is_there && sum != 0 {
                findings.push(Finding::new(
                    Fault::ExecutionUnbooked,
                    format!("{} booked of order {id}, which is not ours", shown(sum)),
                ));
            }
        }
        Ok(())
    }

    fn intents(&self, findings: &mut Vec<Finding>) -> rusqlite::Result<()> {
        let mut statement = self.ledger.prepare(
            "SELECT id, state FROM intents WHERE state IN ('Sent', 'Unknown', 'Working', 'Stuck')",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let what = format!("{} is {} at rest", row.get::<_, String>(0)?, row.get::<_, String>(1)?);
            findings.push(Finding::new(Fault::NoRest, what));
        }
        Ok(())
    }
}

/// Whole shares of what is wrong: lost and doubled, for the figures of a verdict.
pub(crate) fn figures(findings: &[Finding]) -> (u64, u64) {
    let count = |faults: &[Fault]| {
        u64::try_from(findings.iter().filter(|found| faults.contains(&found.fault)).count())
            .unwrap_or(u64::MAX)
    };
    (
        count(&[Fault::Lost, Fault::ExposureAtRest, Fault::DeadEventDropped, Fault::ExecutionUnbooked]),
        count(&[Fault::Doubled, Fault::Repeated, Fault::OrderWithoutIntent]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, expected) in [
            ("1", Some(ONE)),
            ("-2.5", Some(-5 * ONE / 2)),
            ("0.000000000000000001", Some(1)),
            ("0.0000000000000000001", None),
            ("x", None),
            ("170", Some(170 * ONE)),
        ] {
            assert_eq!(atoms(text), expected, "{text}");
        }
        assert_eq!(shown(-5 * ONE / 2), "-2.500000000000000000");
    }
}
