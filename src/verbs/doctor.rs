//! `bot doctor`: from a configuration to what is examined, and from what was found to a table or JSON lines.

use std::io::{self, Write};
use std::sync::Arc;

use super::{Ended, Failure, bot};
use crate::broker::{alpaca, paper, schwab};
use crate::config::{Config, Logs, PaperSessions};
use crate::doctor::table::Table;
use crate::doctor::{self, BrokerEnd, Check, Client, Subject, examine as look_at_all};
use crate::{exit, logs};

/// Examines everything. Exit code 1 where something failed or could not be looked at.
pub(super) fn examine(config: &Config, json: bool, test_alert: bool, out: &mut dyn Write) -> Ended {
    // What the clients themselves have to say goes to standard error, beside the table.
    logs::start(&Logs { filter: "warn".to_owned(), format: config.log_format });
    let subject = Subject {
        chain: bot::chain(config),
        database: config.database.clone(),
        broker: broker(config)?,
        alerts: bot::alert_options(config),
        heartbeat: bot::watched(config),
        test_alert,
    };
    let mut table = Table::default();
    let well = look_at_all(&subject, &mut |check| told(check, json, &mut table, out))?;
    if !json {
        table.end(out)?;
    }
    Ok(if well { exit::DONE } else { exit::NOT_CLEAN })
}

fn told(check: &Check, json: bool, table: &mut Table, out: &mut dyn Write) -> io::Result<()> {
    if !json {
        return table.row(check, out);
    }
    serde_json::to_writer(&mut *out, check).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()
}

/// What is different between the brokers: where they are, and whether asking one needs a login that is there.
fn broker(config: &Config) -> Result<BrokerEnd, Failure> {
    if let Some(alpaca) = &config.alpaca {
        let (trading, data) = alpaca::servers(bot::alpaca_mode(alpaca.mode), alpaca.base_url.as_deref());
        let mut servers = vec![trading.to_owned(), data.to_owned()];
        servers.dedup();
        let client = match bot::alpaca_broker(config, alpaca) {
            Ok(broker) => Client::Remote(broker),
            Err(failure) => no_client(&failure),
        };
        return Ok(BrokerEnd { name: "alpaca", servers, client });
    }
    if let Some(schwab) = &config.schwab {
        let base = schwab.application.base_url.clone();
        let servers = vec![base.unwrap_or_else(|| schwab::URL.to_owned())];
        let path = config.database.with_file_name(schwab::vault::FILE);
        // Opening a login's file makes it where there is none.
        let client = if path.exists() {
            match bot::schwab_broker(config, schwab) {
                Ok(broker) => {
                    // Two processes that renew one login at once take each other's tokens.
                    if doctor::a_bot_runs_on(&config.database) {
                        broker.leave_renewing_to("the bot that runs here");
                    }
                    Client::Remote(Arc::new(broker))
                }
                Err(failure) => no_client(&failure),
            }
        } else {
            Client::Missing {
                found: format!("nobody has logged in: there is no {}", path.display()),
                next: "Type `bot auth login`".to_owned(),
            }
        };
        return Ok(BrokerEnd { name: "schwab", servers, client });
    }
    let keeps_hours = config.paper_sessions == PaperSessions::Nyse;
    let client = Client::InProcess { account: paper::PaperOptions::default().account, keeps_hours };
    Ok(BrokerEnd { name: "paper", servers: Vec::new(), client })
}

fn no_client(failure: &Failure) -> Client {
    Client::Missing { found: failure.to_string(), next: "Mend what it names, then look again".to_owned() }
}
