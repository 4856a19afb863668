//! `bot health`: one question to a running bot, one exit code. It opens no ledger and needs no configuration but
//! `LISTEN`, so that a container without a shell can be probed with it.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::health::Health;
use super::identity::Identity;
use super::reachable;

/// Less than the 5 s that a container's health check has.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
/// A report of some thousand tickers fits.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What is read of the answer beside its health.
#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    version: String,
    #[serde(default)]
    identity: Identity,
}

/// Asks the bot that listens there whether it is ready, prints a line per failing check (with `json`: the whole
/// answer), and returns the exit code: 0 ready, 1 not ready, not there, or not a bot.
pub fn ask_health(listen: SocketAddr, json: bool, out: &mut dyn Write) -> u8 {
    let (code, text) = match answer(listen) {
        Ok(body) => match (serde_json::from_str::<Health>(&body), serde_json::from_str(&body)) {
            (Ok(health), Ok(answered)) => {
                let text = if json { body.trim_end().to_owned() } else { lines(&health, &answered) };
                (u8::from(!health.ready), text)
            }
            _ => (
                1,
                complaint(
                    json,
                    format!("what answers at {} is no counterfill; LISTEN={listen}", reachable(listen)),
                ),
            ),
        },
        Err(error) => (1, complaint(json, error)),
    };
    // The exit code is the answer; a closed pipe does not change it.
    let _ = writeln!(out, "{text}");
    code
}

fn complaint(json: bool, error: String) -> String {
    if json { serde_json::json!({ "ready": false, "error": error }).to_string() } else { error }
}

fn answer(listen: SocketAddr) -> Result<String, String> {
    let address = reachable(listen);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(ANSWER_TIME_MAX))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let away = |error: ureq::Error| match error {
        ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
            format!("no bot answers at {address}; is it running? LISTEN={listen}")
        }
        ureq::Error::Timeout(_) => {
            format!("no answer from {address} within {} s; LISTEN={listen}", ANSWER_TIME_MAX.as_secs())
        }
        error => format!("no bot answers at {address} ({error}); is it running? LISTEN={listen}"),
    };
    let mut response = agent.get(format!("http://{address}/readyz")).call().map_err(away)?;
    response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(away)
}

/// The verdict and whose it is, then a line per failing check.
fn lines(health: &Health, Answered { version, identity }: &Answered) -> String {
    let verdict = if health.ready { "ready" } else { "not ready" };
    let who = identity.line();
    let who = if who.is_empty() { who } else { format!(": counterfill {version} · {who}") };
    let mut lines = vec![format!("{verdict}{who}")];
    for check in health.checks.iter().filter(|check| !check.ok) {
        let kind = if check.spoils_ready() { "failing" } else { "warning" };
        let quote = check.quote.as_ref().map(|quote| format!(" [{quote}]")).unwrap_or_default();
        lines.push(format!("{kind}: {}: {}{quote}", check.name, check.detail));
    }
    lines.join("\n")
}
