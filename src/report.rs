//! The reading verbs: what the ledger says, as a table for people or as one JSON object a line for programs.
//!
//! This decides nothing and computes nothing but layout; the rows, their order and their stable JSON names are the
//! ledger's. Decimals are text in JSON too, and no row is left out unless a limit was asked for. A reader that has
//! seen enough (`| head`) is no error.

mod at_rest;
mod story;
mod table;
mod tokens;

use std::io::{self, BufWriter, ErrorKind, Write};

use alloy::primitives::B256;
use serde::Serialize;

pub use at_rest::with_ledger;

use crate::hedges::Unsettled;
use crate::ledger::{FillRow, Filter, HaltRow, HedgeRow, LedgerError, PositionRow, Reader, Summary};
use crate::serve::identity::Mode;
use crate::units::{Millis, OrderId, Shares, Symbol};
use table::{Align, Table};
pub use tokens::{TokenLine, tokens};

/// What is written at once of a long report.
const PIECE_BYTES: usize = 64 * 1024;

/// For whom a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// People: an aligned table, or a sentence where there is nothing.
    Text,
    /// Programs: one JSON object a line, nothing where there is nothing.
    Json,
}

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The ledger could not be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The output could not be written.
    #[error("the report could not be written: {0}")]
    Output(#[from] io::Error),
}

impl ReportError {
    /// The process's exit code for it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Ledger(error) => error.exit_code(),
            // Something needed, the output, is away.
            Self::Output(_) => 69,
        }
    }
}

/// `bot fills`.
///
/// # Errors
/// [`ReportError`]; a closed pipe is none.
pub fn fills(reader: &Reader, filter: &Filter, form: Form, out: &mut dyn Write) -> Result<(), ReportError> {
    buffered(out, |out| match form {
        Form::Json => reader.fills(filter, |fill| line(out, &fill)),
        Form::Text => fills_text(reader, filter, out),
    })
}

/// `bot hedges`.
///
/// # Errors
/// [`ReportError`]; a closed pipe is none.
pub fn hedges(reader: &Reader, filter: &Filter, form: Form, out: &mut dyn Write) -> Result<(), ReportError> {
    buffered(out, |out| match form {
        Form::Json => reader.hedges(filter, |hedge| line(out, &hedge)),
        Form::Text => hedges_text(reader, filter, out),
    })
}

/// `bot positions`.
///
/// # Errors
/// [`ReportError`]; a closed pipe is none.
pub fn positions(
    reader: &Reader,
    symbol: Option<&Symbol>,
    form: Form,
    out: &mut dyn Write,
) -> Result<(), ReportError> {
    let mut rows = reader.positions()?;
    rows.retain(|row| symbol.is_none_or(|wanted| &row.symbol == wanted));
    until_closed(match form {
        Form::Json => rows.iter().try_for_each(|row| line(out, row)),
        Form::Text => positions_text(&rows, out),
    })
}

/// `bot trace TX`; whether the ledger knows the transaction.
///
/// # Errors
/// [`ReportError`]; a closed pipe is none.
pub fn trace(reader: &Reader, tx_hash: B256, form: Form, out: &mut dyn Write) -> Result<bool, ReportError> {
    let told = reader.trace(tx_hash)?;
    until_closed(match form {
        Form::Json => line(out, &told),
        Form::Text => story::tell(&told, out).map_err(ReportError::from),
    })?;
    Ok(!told.fills.is_empty() || !told.dead.is_empty())
}

/// `bot status` where no bot runs: in JSON the shape of a running one, with what the ledger knows.
///
/// # Errors
/// [`ReportError`]; a closed pipe is none.
pub fn status(reader: &Reader, form: Form, now: Millis, out: &mut dyn Write) -> Result<(), ReportError> {
    let summary = reader.summary()?;
    until_closed(match form {
        Form::Json => at_rest::report(reader, &summary, now)
            .and_then(|report| Ok(serde_json::to_value(report).map_err(io::Error::from)?))
            .and_then(|report| line(out, &with_ledger(report, Some(&summary)))),
        Form::Text => status_text(&summary, out).map_err(ReportError::from),
    })
}

/// `bot reconcile` without an intent: what waits for a person, and what there is to judge it by.
///
/// # Errors
/// [`ReportError`]; a closed pipe is none.
pub fn unsettled(rows: &[Unsettled], form: Form, out: &mut dyn Write) -> Result<(), ReportError> {
    until_closed(match form {
        Form::Json => rows.iter().try_for_each(|row| line(out, row)),
        Form::Text => unsettled_text(rows, out).map_err(ReportError::from),
    })
}

fn unsettled_text(rows: &[Unsettled], out: &mut dyn Write) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "no intent waits for a person");
    }
    let known =
        |shares: Option<Shares>| shares.map_or_else(|| "unknown".to_owned(), |shares| shares.to_string());
    for row in rows {
        let sent = row.sent_at.map_or_else(String::new, |at| format!(", sent {at}"));
        writeln!(
            out,
            "{}  {} {} {}  {}{sent}",
            row.intent_id, row.side, row.quantity, row.symbol, row.state
        )?;
        writeln!(out, "  why       {}", row.reason)?;
        if let Some(order) = &row.broker_order_id {
            writeln!(out, "  order     {order}, executed {}", row.executed)?;
        }
        writeln!(out, "  position  {} before, {} now", known(row.position_before), known(row.position_now))?;
        if !row.known.is_empty() {
            let known: Vec<&str> = row.known.iter().map(OrderId::as_str).collect();
            writeln!(out, "  not it    {} (there before)", known.join(", "))?;
        }
        match row.list_read_at {
            Some(at) => writeln!(out, "  list      read {at}; orders that may be it: {}", row.similar.len())?,
            None => writeln!(out, "  list      the broker's was not read yet; `bot run` reads it")?,
        }
        for order in &row.similar {
            let tag = order.tag.as_deref().unwrap_or("none");
            writeln!(
                out,
                "    {}  entered {}  tag {tag}  {}  executed {}",
                order.order_id, order.entered_at, order.status, order.executed
            )?;
        }
        for choice in &row.choices {
            writeln!(out, "  type      {choice}")?;
        }
    }
    Ok(())
}

/// Writes a long report in large pieces: standard output would be written to at each line.
fn buffered(
    out: &mut dyn Write,
    report: impl FnOnce(&mut dyn Write) -> Result<(), ReportError>,
) -> Result<(), ReportError> {
    let mut pieces = BufWriter::with_capacity(PIECE_BYTES, out);
    until_closed(report(&mut pieces).and_then(|()| Ok(pieces.flush()?)))
}

/// A pipe that was closed at the other end ends a report, well.
fn until_closed(written: Result<(), ReportError>) -> Result<(), ReportError> {
    match written {
        Err(ReportError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn line<T: Serialize>(out: &mut dyn Write, row: &T) -> Result<(), ReportError> {
    serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
    Ok(out.write_all(b"\n")?)
}

/// An optional value as a cell.
fn cell<T: ToString>(value: Option<&T>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}

fn fills_text(reader: &Reader, filter: &Filter, out: &mut dyn Write) -> Result<(), ReportError> {
    let mut table = Table::new(&[
        ("BLOCK", Align::Right),
        ("TIME", Align::Left),
        ("TICKER", Align::Left),
        ("SIDE", Align::Left),
        ("SHARES", Align::Right),
        ("CASH", Align::Right),
        ("PRICE", Align::Right),
        ("STATE", Align::Left),
        ("TRANSACTION", Align::Left),
    ]);
    reader.fills(filter, |fill: FillRow| {
        let state = match &fill.reason {
            Some(reason) => format!("{} ({reason})", fill.state),
            None => fill.state.clone(),
        };
        table.row(vec![
            fill.block_number.to_string(),
            fill.block_time.unwrap_or(fill.seen_at).to_string(),
            cell(fill.symbol.as_ref()),
            fill.side.to_string(),
            fill.shares.to_string(),
            cell(fill.cash.as_ref()),
            cell(fill.price.as_ref()),
            state,
            fill.tx_hash,
        ]);
        Ok::<_, ReportError>(())
    })?;
    let nothing = if filter == &Filter::default() {
        "No fills yet. They appear here as soon as one of your orders is taken or cleared; `bot status` shows how far \
         the chain has been read."
    } else {
        "No fills match. Leave out the filters to see all of them: `bot fills`."
    };
    Ok(table.print(nothing, out)?)
}

fn hedges_text(reader: &Reader, filter: &Filter, out: &mut dyn Write) -> Result<(), ReportError> {
    let mut table = Table::new(&[
        ("DECIDED", Align::Left),
        ("TICKER", Align::Left),
        ("SIDE", Align::Left),
        ("QUANTITY", Align::Right),
        ("EXECUTED", Align::Right),
        ("AVERAGE", Align::Right),
        ("STATE", Align::Left),
        ("ORDER", Align::Left),
        ("INTENT", Align::Left),
        ("REASON", Align::Left),
    ]);
    reader.hedges(filter, |hedge: HedgeRow| {
        table.row(vec![
            hedge.created_at.to_string(),
            hedge.symbol.to_string(),
            hedge.side.to_string(),
            hedge.quantity.to_string(),
            hedge.executed.to_string(),
            cell(hedge.average_price.as_ref()),
            hedge.state.to_string(),
            cell(hedge.broker_order_id.as_ref()),
            hedge.intent_id.to_string(),
            hedge.reason,
        ]);
        Ok::<_, ReportError>(())
    })?;
    let nothing = if filter == &Filter::default() {
        "No hedges yet. The first one goes out when the fills of a ticker add up to a whole lot; `bot positions` shows \
         how far they are."
    } else {
        "No hedges match. Leave out the filters to see all of them: `bot hedges`."
    };
    Ok(table.print(nothing, out)?)
}

fn positions_text(rows: &[PositionRow], out: &mut dyn Write) -> Result<(), ReportError> {
    let mut table = Table::new(&[
        ("TICKER", Align::Left),
        ("EXPOSURE", Align::Right),
        ("FILLS", Align::Right),
        ("EXECUTIONS", Align::Right),
        ("LIVE", Align::Left),
        ("INTENT", Align::Left),
        ("HALTS", Align::Left),
    ]);
    for row in rows {
        let halts: Vec<&str> = row.halts.iter().map(|kind| kind.as_str()).collect();
        table.row(vec![
            row.symbol.to_string(),
            row.exposure.to_string(),
            row.fills.to_string(),
            row.executions.to_string(),
            cell(row.live_state.as_ref()),
            cell(row.live_intent.as_ref()),
            if halts.is_empty() { "-".to_owned() } else { halts.join(", ") },
        ]);
    }
    let nothing = "No positions yet. A ticker appears here with its first fill; `bot status` shows how far the chain \
                   has been read.";
    Ok(table.print(nothing, out)?)
}

fn status_text(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let cursor = match &summary.cursor {
        Some(cursor) => cursor.to_string(),
        None => format!("nothing read yet; begins at block {}", summary.deployment_block),
    };
    let rows = [
        ("ledger", format!("{} (schema {}, born {})", summary.ledger, summary.schema, summary.born_at)),
        ("chain", summary.chain_id.to_string()),
        ("order books", summary.orderbooks.join(", ")),
        ("owners", summary.owners.join(", ")),
        ("broker", broker(summary)),
        ("read up to", cursor),
        ("last commit", cell(summary.last_commit.as_ref())),
        ("fills", format!("{} ({} reversals)", summary.fills, summary.reversals)),
        ("skipped", skipped(summary)),
        ("not understood", summary.dead.to_string()),
        ("hedges", format!("{} ({} live)", summary.hedges, summary.live)),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<15} {}", table::plain(&value))?;
    }
    if let Some(tag) = &summary.app_tag {
        writeln!(out, "{:<15} {} (the broker writes it on our orders)", "tag", table::plain(tag))?;
    }
    match summary.halts.as_slice() {
        [] => writeln!(out, "{:<15} none", "halts"),
        halts => halts.iter().try_for_each(|halt| halt_line(halt, out)),
    }
}

fn broker(summary: &Summary) -> String {
    let mode = Mode::of_stamp(&summary.broker, &summary.account).as_str();
    let mode = if mode == summary.broker { String::new() } else { format!(" {mode}") };
    format!("{}{mode}, account {}", summary.broker, summary.account)
}

/// How many trades of ours are no fills, and why.
fn skipped(summary: &Summary) -> String {
    let reasons: Vec<String> =
        summary.skipped_by.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    match reasons.as_slice() {
        [] => summary.skipped.to_string(),
        reasons => format!("{} ({})", summary.skipped, reasons.join(", ")),
    }
}

/// What the ledger adds to what a running bot says of itself, for its screen.
///
/// # Errors
/// When `out` is closed.
pub fn beside(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nskipped  {}", table::plain(&skipped(summary)))?;
    match &summary.app_tag {
        Some(tag) => writeln!(out, "tag      {} (the broker writes it on our orders)", table::plain(tag)),
        None => Ok(()),
    }
}

fn halt_line(halt: &HaltRow, out: &mut dyn Write) -> io::Result<()> {
    let whom = halt.symbol.as_ref().map_or("all tickers", Symbol::as_str);
    writeln!(out, "{:<15} {whom}, {}: {}", "HALTED", halt.kind.as_str(), table::plain(&halt.reason))?;
    writeln!(out, "{:<15} lift it: {}", "", halt.kind.lifted_by(halt.symbol.as_ref()))
}
