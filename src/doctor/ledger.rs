//! The ledger: whether it opens, is whole, and is this configuration's; and whether a bot runs on it.

use std::path::Path;
use std::time::Duration;

use super::{Check, Client, Finding, Subject, within};
use crate::ledger::{Examined, LedgerError, Stamp};
use crate::run::{control_path, stamp_of};
use crate::serve::control::{self, ControlCommand};

/// SQLite's check reads every page.
const LIMIT: Duration = Duration::from_secs(120);
const CHAIN: &str = "chain";
const ACCOUNT: &str = "account";
const RESTORE: &str =
    "Stop the bot, put a backup in its place, and start again (README, \"Files, and backups for now\")";

pub(super) fn examine(subject: &Subject, chain_id: Option<u64>, account: Option<&str>) -> Check {
    let account = match (&subject.broker.client, account) {
        (Client::InProcess { account, .. }, _) => Some(account.clone()),
        (_, known) => known.map(str::to_owned),
    };
    let chain_id = subject.chain.chain_id.or(chain_id);
    let stamp = stamp_of(
        &subject.chain,
        chain_id.unwrap_or_default(),
        subject.broker.name,
        account.as_deref().unwrap_or_default(),
    );
    // What the check does not know itself is not compared, and said so.
    let unknown: Vec<&str> = [chain_id.is_none().then_some(CHAIN), account.is_none().then_some(ACCOUNT)]
        .into_iter()
        .flatten()
        .collect();
    let database = subject.database.clone();
    within("ledger", LIMIT, move || {
        look(&database, stamp, &unknown).unwrap_or_else(|error| told(&error, RESTORE))
    })
}

/// Where reading goes on, and whether there are fills; as for a new ledger where none can be read.
pub(super) fn standing(path: &Path, deployment_block: u64) -> (u64, bool) {
    let examined = Examined::at(path).ok().flatten();
    let cursor = examined.as_ref().and_then(|ledger| ledger.cursor().ok().flatten());
    let from = cursor.map_or(deployment_block, |cursor| cursor.number.saturating_add(1));
    (from, examined.is_some_and(|ledger| ledger.has_fills().unwrap_or(false)))
}

/// Whether a bot answers beside this ledger. One that still waits to open it does not.
#[must_use]
pub fn a_bot_runs_on(ledger: &Path) -> bool {
    control::ask(&control_path(ledger), &ControlCommand::Status {}).is_ok()
}

fn look(path: &Path, mut ours: Stamp, unknown: &[&str]) -> Result<Finding, LedgerError> {
    let shown = path.display();
    let Some(examined) = Examined::at(path)? else {
        return Ok(Finding::ok(format!("none at {shown} yet; `bot run` makes it")));
    };
    if unknown.contains(&CHAIN) {
        ours.chain_id = examined.stamp.chain_id;
    }
    if unknown.contains(&ACCOUNT) {
        ours.account.clone_from(&examined.stamp.account);
    }
    let warnings = match examined.must_be_ours(&ours) {
        Err(LedgerError::ForeignStamp { .. }) if examined.is_unused()? => {
            return Ok(Finding::warning(
                format!("{shown} belongs to another configuration, and holds no fill and no hedge"),
                "Nothing must be done if the settings are right now: `bot run` keeps a backup and stamps it anew",
            ));
        }
        compared => compared?,
    };
    examined.must_be_whole()?;
    let running = if a_bot_runs_on(path) { "a bot runs on it" } else { "no bot runs on it" };
    let schema = examined.schema;
    let found = format!("{shown}, schema {schema}, is whole and this configuration's; {running}");
    if !unknown.is_empty() {
        let unknown = unknown.join(" and ");
        return Ok(Finding::warning(
            format!("{found}; but its {unknown} could not be compared"),
            "Mend what keeps the doctor from reading that, and look again",
        ));
    }
    Ok(match warnings.first() {
        Some(warning) => {
            Finding::warning(warning.clone(), "Nothing must be done; leave the setting as it was")
        }
        None => Finding::ok(found),
    })
}

/// The ledger's own words hold the remedy behind the first full stop; else it is this one.
pub(super) fn told(error: &LedgerError, otherwise: &str) -> Finding {
    // A difference in the stamp has a line of its own there; here everything is one.
    let words = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let (found, next) = words.split_once(". ").unwrap_or((words.as_str(), otherwise));
    Finding::failed(found, next)
}
