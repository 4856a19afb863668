//! The broker: reached, logged in, the right account, and each thing that a bot reads there.
//!
//! Every question is one of the trait's reads, so what holds for one broker holds for all of them. It refuses to know
//! which broker it is; [`super::BrokerEnd`] says what is different.
//!
//! Invariant: [`crate::broker::Broker::place`] is not called here, nor anywhere below `doctor`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::net::{self, Server};
use super::{BrokerEnd, Check, Client, Finding, within};
use crate::broker::hours::{self, Hours};
use crate::broker::session::UNTOLD;
use crate::broker::{AccountError, Broker, LoginFacts, Mend, ReadError, Session};
use crate::units::{Millis, Symbol};

/// A read is at most 30 s on its way, and a client may make three of them (account, token, question).
const LIMIT: Duration = Duration::from_secs(90);
/// Orders of so long ago are listed.
const LISTED_MS: i64 = 3_600_000;
/// A login that ends within a day is worth a word.
const LOGIN_WARN_MS: i64 = 24 * 3_600_000;
const HOUR_MS: i64 = 3_600_000;
/// Asked for where no ticker is configured: a share that every broker quotes.
const QUOTED: &str = "AAPL";

/// The broker, looked over.
pub(super) struct Known {
    pub(super) checks: Vec<Check>,
    /// As a ledger is stamped with it, where the broker told.
    pub(super) account: Option<String>,
    /// By how much its clock is ahead of ours.
    pub(super) ahead_ms: Option<i64>,
}

/// Those that need a broker that answers, in their order.
const ASKED: [&str; 5] = ["account", "positions", "orders", "quotes", "market hours"];

pub(super) fn examine(end: &BrokerEnd, symbols: &[Symbol], cert_file: Option<&Path>) -> Known {
    let mut known = Known { checks: Vec::new(), account: None, ahead_ms: None };
    match &end.client {
        Client::InProcess { keeps_hours, .. } => in_process(end.name, *keeps_hours, &mut known),
        Client::Missing { found, next } => {
            reach(end, cert_file, &mut known);
            let (found, next) = (found.clone(), next.clone());
            known.checks.push(within("login", LIMIT, move || Finding::failed(found, next)));
            known.checks.extend(ASKED.map(|name| within(name, LIMIT, || Finding::after("login"))));
        }
        Client::Remote(broker) => {
            reach(end, cert_file, &mut known);
            ask(broker, symbols, &mut known);
        }
    }
    known
}

/// The paper broker: there is nothing to reach, and each check says so.
fn in_process(name: &'static str, keeps_hours: bool, known: &mut Known) {
    let nothing = |check, what: &'static str| {
        within(check, LIMIT, move || Finding::ok(format!("the {name} broker is in this process: {what}")))
    };
    known.checks.push(nothing("broker dns", "it has no server"));
    known.checks.push(nothing("broker tls", "it has no server"));
    known.checks.push(nothing("login", "it needs none"));
    known.checks.push(nothing("account", "it has one of its own"));
    for check in ["positions", "orders", "quotes"] {
        known.checks.push(nothing(check, "its book is a file beside the ledger"));
    }
    known.checks.push(within("market hours", LIMIT, move || {
        if !keeps_hours {
            return Finding::ok("PAPER_SESSIONS=always: open around the clock");
        }
        match hours::session_at(Millis::now()) {
            Hours::BeyondTable => Finding::failed(
                "the built-in calendar does not cover today: always closed",
                "Install a newer version of counterfill",
            ),
            said => session(Ok(said.into())),
        }
    }));
}

fn reach(end: &BrokerEnd, cert_file: Option<&Path>, known: &mut Known) {
    let servers: Vec<Server> = end.servers.iter().filter_map(|url| Server::of(url)).collect();
    known.checks.push(net::names("broker dns", &servers, "BASE_URL"));
    known.checks.push(net::handshakes("broker tls", &servers, cert_file, "BASE_URL"));
}

fn ask(broker: &Arc<dyn Broker>, symbols: &[Symbol], known: &mut Known) {
    let asked = |name, question: fn(&dyn Broker) -> Finding| {
        let broker = Arc::clone(broker);
        within(name, LIMIT, move || question(&*broker))
    };
    // First, because with a login it is the question that finds out whether it is good.
    let (told, account) = std::sync::mpsc::channel();
    let of_account = {
        let broker = Arc::clone(broker);
        within("account", LIMIT, move || {
            let answer = broker.account(Millis::now());
            // The receiver is there for as long as this file works.
            let _ = told.send(answer.as_ref().ok().cloned());
            whose(&*broker, answer)
        })
    };
    known.account = account.try_recv().ok().flatten();
    // Some brokers tell their time with every answer, a refusal too.
    known.ahead_ms = broker.clock_ahead_ms();
    known.checks.push(asked("login", |broker| login(broker.login(), Millis::now())));
    known.checks.push(of_account);
    if known.account.is_none() {
        known
            .checks
            .extend(ASKED.into_iter().skip(1).map(|name| within(name, LIMIT, || Finding::after("account"))));
        return;
    }
    known.checks.push(asked("positions", |broker| {
        read(broker.positions(Millis::now()), |held| Finding::ok(format!("{} tickers are held", held.len())))
    }));
    known.checks.push(asked("orders", |broker| {
        let now = Millis::now();
        read(broker.list(now.plus(-LISTED_MS), now), |orders| {
            Finding::ok(format!("{} in the last hour", orders.len()))
        })
    }));
    let symbols = symbols.to_vec();
    let quoting = Arc::clone(broker);
    known.checks.push(within("quotes", LIMIT, move || quotes(&*quoting, symbols)));
    known.checks.push(asked("market hours", |broker| match broker.troubles(Millis::now()) {
        // It keeps the session closed, and `account` has said so.
        Ok(troubles) if !troubles.is_empty() => Finding::ok("closed to this account (see `account`)"),
        _ => session(broker.session(Millis::now())),
    }));
    known.ahead_ms = broker.clock_ahead_ms();
}

fn whose(broker: &dyn Broker, answer: Result<String, AccountError>) -> Finding {
    let name = match answer {
        Ok(name) => name,
        Err(AccountError::Wrong(why)) => {
            return Finding::failed(why, "Look at LIVE_ACCOUNT, and at whose keys or login these are");
        }
        Err(AccountError::Away(why)) => {
            let next = if broker.login().is_some_and(|facts| facts.trouble.is_some()) {
                "Mend `login` first"
            } else {
                remedy(&why).unwrap_or("Mend what it names; where it names nothing of yours, try again later")
            };
            return Finding::failed(why, next);
        }
    };
    match broker.troubles(Millis::now()) {
        Ok(troubles) if troubles.is_empty() => Finding::ok(format!("known to ledgers as {name}")),
        Ok(troubles) => {
            Finding::failed(troubles.join("; "), "Log in at the broker's own page: it says what it waits for")
        }
        Err(error) => {
            let next = remedy(&error.0).unwrap_or("Try again: the broker answered a moment ago");
            Finding::failed(error.0, next)
        }
    }
}

fn login(facts: Option<LoginFacts>, now: Millis) -> Finding {
    let again = || begun(Mend::LogIn.words());
    let Some(facts) = facts else { return Finding::ok("keys, which need no login") };
    if let Some(trouble) = facts.trouble {
        let next = facts.mend.map(|mend| begun(mend.words()));
        let next = next
            .unwrap_or_else(|| "Try again in a minute: it is not your login that is in the way".to_owned());
        return Finding::failed(trouble, next);
    }
    let Some((at, end)) = facts.logged_in_at.zip(facts.ends_at) else {
        return Finding::failed("nobody is logged in", again());
    };
    let (age, left) = (now.since(at) / HOUR_MS, end.since(now));
    let found = format!("{age} h old, ends {end}");
    match left {
        ..=0 => Finding::failed(format!("over since {end}"), again()),
        1..LOGIN_WARN_MS => Finding::warning(found, again()),
        _ => Finding::ok(found),
    }
}

/// Words as a sentence of their own begins.
fn begun(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn read<T>(answer: Result<T, ReadError>, well: impl FnOnce(T) -> Finding) -> Finding {
    match answer {
        Ok(told) => well(told),
        Err(error) => {
            let next = remedy(&error.0);
            let next = next.unwrap_or("Try again; where it stays so, look at what it names");
            Finding::failed(error.0, next)
        }
    }
}

/// What to do about a read that failed, by the status that both clients put into its words, before the broker's own; none
/// where it has none.
fn remedy(why: &str) -> Option<&'static str> {
    let status = why.split_once("HTTP ").and_then(|(_, rest)| rest.get(..3)?.parse::<u16>().ok());
    Some(match status {
        Some(401 | 403) => {
            "The broker answers and does not give this: look whether the account, its plan or its keys include it"
        }
        Some(429) => {
            "Wait as long as it says, else a minute, and look what else asks under the same key: a bot, another program"
        }
        Some(500..=599) => "It is the broker's own trouble: look at its status page, and try again later",
        Some(_) => return None,
        None if why.contains("rate limit") => "Wait until then: it was asked too often a moment ago",
        None if why.contains("timeout") => {
            "Try again; where it stays so, look at the network, and at the broker's status page"
        }
        None => return None,
    })
}

fn quotes(broker: &dyn Broker, mut symbols: Vec<Symbol>) -> Finding {
    if symbols.is_empty() {
        symbols.extend(QUOTED.parse::<Symbol>().ok());
    }
    read(broker.quotes(&symbols, Millis::now()), |quotes| {
        let without: Vec<&str> = symbols
            .iter()
            .filter(|symbol| !quotes.iter().any(|quote| quote.symbol == **symbol && quote.missing.is_none()))
            .map(Symbol::as_str)
            .collect();
        let words = quotes.iter().find_map(|quote| quote.missing.as_ref());
        let words = words.map_or_else(String::new, |words| format!(" ({words})"));
        let names: Vec<&str> = symbols.iter().map(Symbol::as_str).collect();
        if without.is_empty() {
            Finding::ok(format!("of {}", names.join(", ")))
        } else {
            Finding::failed(
                format!("none of {}: their orders would wait for a price{words}", without.join(", ")),
                "Look whether the broker trades them, and whether your market data plan includes them",
            )
        }
    })
}

fn session(answer: Result<Session, ReadError>) -> Finding {
    match answer {
        Ok(Session::Open { until: Some(until) }) => Finding::ok(format!("open until {until}")),
        Ok(Session::Open { until: None }) => Finding::ok("open"),
        Ok(Session::Disputed { reason }) if reason.starts_with(UNTOLD) => Finding::failed(
            format!("{reason}; and MARKET_HOURS=broker takes nobody else's word: no order leaves"),
            "Try again; where it stays so, take MARKET_HOURS away: then the built-in calendar stands in",
        ),
        Ok(Session::Closed { reason }) => Finding::ok(reason),
        Ok(Session::Disputed { reason }) => Finding::failed(
            reason,
            "Look at the exchange's own page. Orders wait until they agree; MARKET_HOURS=broker takes the broker's word",
        ),
        Err(error) => {
            let next = remedy(&error.0).unwrap_or("Try again; without the broker's hours no order leaves");
            Finding::failed(error.0, next)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_login_is_told_by_what_is_left_of_it() {
        let at = Millis(1_800_000_000_000);
        let facts = |trouble: Option<&str>, mend| LoginFacts {
            logged_in_at: Some(at),
            ends_at: Some(at.plus(168 * HOUR_MS)),
            trouble: trouble.map(str::to_owned),
            mend,
            denied: Vec::new(),
        };
        let after = |hours: i64| at.plus(hours * HOUR_MS);
        let rows = [
            (facts(None, None), 1, Verdict::Ok),
            (facts(None, None), 143, Verdict::Ok),
            (facts(None, None), 145, Verdict::Warning),
            (facts(None, None), 168, Verdict::Failed),
            (facts(Some("refused"), Some(Mend::SealingKey)), 1, Verdict::Failed),
            (facts(Some("away"), None), 1, Verdict::Failed),
            (LoginFacts { logged_in_at: None, ends_at: None, ..facts(None, None) }, 1, Verdict::Failed),
        ];
        for (facts, hours, verdict) in rows {
            assert_eq!(login(Some(facts.clone()), after(hours)).verdict, verdict, "{facts:?} {hours}");
        }
        assert_eq!(login(None, at).verdict, Verdict::Ok);
    }
}
