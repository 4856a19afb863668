//! The changing verbs: through `control.sock` when the bot runs, under the ledger's lock when it does not.

use std::io::Write;
use std::path::Path;

use alloy::primitives::B256;

use super::{Ended, Failure};
use crate::broker::Profile;
use crate::engine::{Command, Effect, Engine, Input, Policy};
use crate::exit;
use crate::fills::Listing;
use crate::hedges::{Choice, HaltKind, Limits, Unsettled};
use crate::ledger::{Ledger, Reader};
use crate::report::{self, Form};
use crate::run::{control_path, tickers};
use crate::serve::control::{self, ControlCommand, ControlError};
use crate::units::{Millis, Shares};
use crate::verbs::terms::{Halting, Reconciling};

/// Stops orders.
///
/// `listing` is what the environment of the verb lists, where no bot runs that knows better.
pub(super) fn halt(database: &Path, halting: &Halting, listing: &Listing, out: &mut dyn Write) -> Ended {
    let (symbol, reason, who) = (halting.symbol.clone(), halting.reason.clone(), who());
    let command = ControlCommand::Halt { symbol: symbol.clone(), reason: reason.clone(), who: who.clone() };
    operate(database, &command, Command::Halt { symbol, reason, who }, listing, out)
}

/// Lifts the halt of this kind, and no other.
pub(super) fn resume(
    database: &Path,
    halting: &Halting,
    kind: HaltKind,
    choice: Option<Choice>,
    out: &mut dyn Write,
) -> Ended {
    let (symbol, reason, who) = (halting.symbol.clone(), halting.reason.clone(), who());
    let command = ControlCommand::Resume {
        symbol: symbol.clone(),
        kind,
        choice,
        reason: reason.clone(),
        who: who.clone(),
    };
    if kind == HaltKind::Skipped {
        // Which trades they are follows from what is listed, and what they are worth from the chain: the bot has both.
        return only_running(database, &command, out);
    }
    let same = Command::Resume { symbol, kind, choice, reason, who };
    operate(database, &command, same, &Listing::default(), out)
}

/// Lists what waits for a person, or carries out what a person says of it.
pub(super) fn reconcile(database: &Path, asked: &Reconciling, out: &mut dyn Write) -> Ended {
    match asked {
        Reconciling::List { json } => unsettled(database, *json, out),
        Reconciling::Settle { target, decision, reason } => {
            let (target, decision, reason, who) = (target.clone(), decision.clone(), reason.clone(), who());
            let command = ControlCommand::Reconcile {
                target: target.clone(),
                decision: decision.clone(),
                reason: reason.clone(),
                who: who.clone(),
            };
            let same = Command::Reconcile { target, decision, reason, who };
            operate(database, &command, same, &Listing::default(), out)
        }
    }
}

fn unsettled(database: &Path, json: bool, out: &mut dyn Write) -> Ended {
    let rows: Vec<Unsettled> = match control::ask(&control_path(database), &ControlCommand::Unsettled {}) {
        Ok(value) => serde_json::from_value(value).map_err(|error| Failure::bug(&error.to_string()))?,
        Err(ControlError::NoBot { .. }) => Reader::open(database)?.unsettled()?,
        Err(error) => return Err(away(&error)),
    };
    report::unsettled(&rows, if json { Form::Json } else { Form::Text }, out)?;
    Ok(exit::DONE)
}

/// Has the running bot read one transaction again and fold what it holds.
pub(super) fn replay(database: &Path, tx: B256, out: &mut dyn Write) -> Ended {
    only_running(database, &ControlCommand::Replay { tx }, out)
}

/// What nobody but a running bot can do.
fn only_running(database: &Path, command: &ControlCommand, out: &mut dyn Write) -> Ended {
    match control::ask(&control_path(database), command) {
        Ok(value) => answer(&value, out),
        Err(ControlError::NoBot { .. }) => Err(Failure::Because {
            code: exit::AWAY,
            words: format!(
                "no bot runs on {}; start it with `bot run` and type this again, for it needs its chain",
                database.display()
            ),
        }),
        Err(error) => Err(away(&error)),
    }
}

fn operate(
    database: &Path,
    command: &ControlCommand,
    same: Command,
    listing: &Listing,
    out: &mut dyn Write,
) -> Ended {
    match control::ask(&control_path(database), command) {
        Ok(value) => answer(&value, out),
        Err(ControlError::NoBot { .. }) => {
            let told = alone(database, same, listing)?;
            writeln!(out, "{told} (no bot runs; it holds from the next start)")?;
            Ok(exit::DONE)
        }
        Err(error) => Err(away(&error)),
    }
}

fn answer(value: &serde_json::Value, out: &mut dyn Write) -> Ended {
    match value.as_str() {
        Some(text) => writeln!(out, "{text}")?,
        None => writeln!(out, "{value}")?,
    }
    Ok(exit::DONE)
}

fn away(error: &ControlError) -> Failure {
    Failure::Because { code: exit::AWAY, words: error.to_string() }
}

/// The engine's own answer, on a ledger that nobody else writes. It is told to stop at once, so that it decides nothing.
fn alone(database: &Path, command: Command, listing: &Listing) -> Result<String, Failure> {
    let now = Millis::now();
    let mut ledger = Ledger::open_as_stamped(database, now)?;
    let profile = Profile {
        name: "none",
        account: String::new(),
        lot: Shares::whole(1),
        fraction_notional_min: None,
        // Where orders are known by their names, nobody need say what became of one.
        client_ids: ledger.broker()? != "schwab",
        allow_short: false,
        crosses_zero: false,
        quotes: false,
        tag: None,
        poll_ms: 1_000,
    };
    let policy = Policy {
        confirmations: 0,
        profile,
        limits: Limits::default(),
        nonce: "operator".into(),
        absent_after_ms: None,
        max_price_deviation_bps: 500,
        unhedged_alert_ms: 60_000,
        live: false,
    };
    let mut engine = Engine::new(policy, ledger.load()?);
    if let Command::Halt { symbol: Some(symbol), .. } = &command {
        let known = tickers::known(Some(&engine.facts()), &engine.view().tokens, listing);
        tickers::must_be_known(symbol, &known)
            .map_err(|words| Failure::Because { code: exit::AWAY, words })?;
    }
    let stepped = engine.step(now, [Input::Stop, Input::Command(command, 0)]);
    let stepped = stepped.map_err(|stop| Failure::bug(&stop.to_string()))?;
    ledger.commit(now, &stepped.writes)?;
    ledger.close()?;
    let told = stepped.effects.into_iter().find_map(|effect| match effect {
        Effect::Reply(_, answer) => Some(answer),
        _ => None,
    });
    told.unwrap_or_else(|| Err("no answer".into()))
        .map_err(|words| Failure::Because { code: exit::AWAY, words })
}

/// Who gave the command, for the ledger: the login name where the environment has one.
fn who() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .ok()
        .filter(|name| !name.trim().is_empty())
        .unwrap_or_else(|| "operator".to_owned())
}
