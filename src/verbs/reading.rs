//! The reading verbs: the ledger beside a running bot, or of one that is not running.

use std::io::Write;
use std::path::Path;

use alloy::primitives::B256;

use super::{Ended, Failure};
use crate::exit;
use crate::ledger::{Filter, LedgerError, Reader};
use crate::report::{self, Form, ReportError};
use crate::run::control_path;
use crate::serve::control::{self, ControlCommand, ControlError};
use crate::serve::status::StatusReport;
use crate::units::Millis;
use crate::verbs::terms::Reading;

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        Self::Because { code: error.exit_code(), words: error.to_string() }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        Self::Because { code: error.exit_code(), words: error.to_string() }
    }
}

const fn form(json: bool) -> Form {
    if json { Form::Json } else { Form::Text }
}

fn filter(reading: &Reading) -> Filter {
    Filter { symbol: reading.symbol.clone(), ..Filter::default() }
}

/// What a running bot says of itself; of one that is not running, what its ledger says.
pub(super) fn status(database: &Path, json: bool, out: &mut dyn Write) -> Ended {
    match control::ask(&control_path(database), &ControlCommand::Status {}) {
        Ok(value) if json => {
            // A ledger that can not be read beside its bot is no reason to keep the bot's own words back.
            let summary = Reader::open(database).and_then(|reader| reader.summary()).ok();
            writeln!(out, "{}", report::with_ledger(value, summary.as_ref()))?;
        }
        Ok(value) => {
            let report: StatusReport =
                serde_json::from_value(value).map_err(|error| Failure::bug(&error.to_string()))?;
            write!(out, "{report}")?;
            // A ledger that can not be read beside its bot is no reason to keep the bot's own words back.
            if let Ok(summary) = Reader::open(database).and_then(|reader| reader.summary()) {
                report::beside(&summary, out)?;
            }
        }
        Err(ControlError::NoBot { .. }) => {
            let reader = Reader::open(database)?;
            if !json {
                writeln!(out, "no bot runs on {}; this is what its ledger holds", database.display())?;
            }
            report::status(&reader, form(json), Millis::now(), out)?;
        }
        Err(error) => return Err(Failure::Because { code: exit::AWAY, words: error.to_string() }),
    }
    Ok(exit::DONE)
}

/// The fills in the ledger.
pub(super) fn fills(database: &Path, reading: &Reading, out: &mut dyn Write) -> Ended {
    report::fills(&Reader::open(database)?, &filter(reading), form(reading.json), out)?;
    Ok(exit::DONE)
}

/// Exposure per ticker.
pub(super) fn positions(database: &Path, reading: &Reading, out: &mut dyn Write) -> Ended {
    report::positions(&Reader::open(database)?, reading.symbol.as_ref(), form(reading.json), out)?;
    Ok(exit::DONE)
}

/// The intents and what became of them.
pub(super) fn hedges(database: &Path, reading: &Reading, out: &mut dyn Write) -> Ended {
    report::hedges(&Reader::open(database)?, &filter(reading), form(reading.json), out)?;
    Ok(exit::DONE)
}

/// Everything that one transaction led to; 69 where the ledger does not know it.
pub(super) fn trace(database: &Path, tx: B256, json: bool, out: &mut dyn Write) -> Ended {
    let known = report::trace(&Reader::open(database)?, tx, form(json), out)?;
    Ok(if known { exit::DONE } else { exit::AWAY })
}
