//! How it stands with the broker's login, said in time.
//!
//! A login ends seven days after a person made it, and only a person can make the next one. So it is said 48, 24 and 6
//! hours before, once each, and once when the broker does not take it any more; `/readyz` and the metrics say it all the
//! time. It refuses to know what a login is made of, and it stops nothing: orders wait because no token is to be had.
//!
//! Invariant: one sentence per stage of a login in the life of a process, however long it lasts.

use std::sync::Arc;
use std::time::Duration;

use log::Level;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::alerts::Alerts;
use crate::broker::{Broker, LoginFacts};
use crate::serve::health::ProcessFacts;
use crate::units::Millis;

/// How often the login's facts are looked at; they are there already.
const LOOK: Duration = Duration::from_secs(1);
const HOUR_MS: i64 = 3_600_000;
/// Hours before the end at which it is said.
const WARNINGS_HOURS: [i64; 3] = [48, 24, 6];

/// Publishes how it stands with the login and says what is new; never ends where there is a login.
pub(super) async fn watch(broker: Arc<dyn Broker>, process: watch::Sender<ProcessFacts>, alerts: Alerts) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Told::default();
    while let Some(facts) = broker.login() {
        looks.tick().await;
        let error = facts.mend.zip(facts.trouble.clone());
        process.send_if_modified(|known| {
            let changed = (known.login_expires_at, &known.login_error) != (facts.ends_at, &error);
            (known.login_expires_at, known.login_error) = (facts.ends_at, error);
            changed
        });
        for (level, text) in told.news(&facts, Millis::now()) {
            if level == Level::Warn {
                log::warn!("ALERT {text}");
                alerts.raise(&text);
            } else {
                log::log!(level, "{text}");
            }
        }
    }
}

/// What was said of the newest login.
#[derive(Debug, Default)]
struct Told {
    logged_in_at: Option<Millis>,
    /// How many of the stages before and at the end.
    stages: usize,
    needs_person: bool,
    /// What the broker does not open to it.
    denied: Vec<&'static str>,
}

impl Told {
    fn news(&mut self, facts: &LoginFacts, now: Millis) -> Vec<(Level, String)> {
        let mut news = Vec::new();
        if let Some((at, end)) = facts.logged_in_at.zip(facts.ends_at) {
            if self.logged_in_at != Some(at) {
                *self = Self { logged_in_at: Some(at), ..Self::default() };
                news.push((Level::Info, format!("the broker's login is of {at} and ends {end}")));
            }
            let left = end.since(now);
            let passed = WARNINGS_HOURS.iter().filter(|hours| left <= **hours * HOUR_MS).count();
            let stages = passed + usize::from(left <= 0);
            if stages > self.stages {
                self.stages = stages;
                let text = if left <= 0 {
                    format!("the broker's login is over since {end}: `auth login`")
                } else {
                    format!("the broker's login ends in {} h, {end}: `auth login` in time", left / HOUR_MS)
                };
                news.push((Level::Warn, text));
            }
        }
        if facts.mend.is_some() && !self.needs_person {
            let why = facts.trouble.as_deref().unwrap_or_default();
            news.push((Level::Warn, format!("no order leaves and none is read until a person acts: {why}")));
        }
        self.needs_person = facts.mend.is_some();
        let denied: Vec<&'static str> = facts.denied.iter().map(|denied| denied.what).collect();
        for new in facts.denied.iter().filter(|denied| !self.denied.contains(&denied.what)) {
            news.push((Level::Warn, format!("the broker keeps from us {}", new.words)));
        }
        for what in self.denied.iter().filter(|what| !denied.contains(*what)) {
            news.push((Level::Warn, format!("the broker opens {what} to us again")));
        }
        self.denied = denied;
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Denied, Mend};

    const AT: Millis = Millis(1_800_000_000_000);
    const END: Millis = AT.plus(7 * 24 * HOUR_MS);

    fn facts(trouble: Option<&str>) -> LoginFacts {
        LoginFacts {
            logged_in_at: Some(AT),
            ends_at: Some(END),
            trouble: trouble.map(str::to_owned),
            mend: trouble.map(|_| Mend::LogIn),
            denied: Vec::new(),
        }
    }

    /// What is said at these hours before the end, first words only.
    fn said(told: &mut Told, facts: &LoginFacts, hours_left: &[i64]) -> Vec<String> {
        let at = |hours: &i64| END.plus(-hours * HOUR_MS);
        let news = hours_left.iter().flat_map(|hours| told.news(facts, at(hours)).into_iter());
        news.map(|(level, text)| format!("{level} {}", text.split([',', ':']).next().unwrap_or_default()))
            .collect()
    }

    #[test]
    fn each_stage_is_said_once() {
        let mut told = Told::default();
        let hours = [168, 100, 49, 48, 47, 25, 24, 12, 6, 5, 1, 0, -1, -100];
        let all = said(&mut told, &facts(None), &hours);
        assert_eq!(
            all[1..],
            [
                "WARN the broker's login ends in 48 h",
                "WARN the broker's login ends in 24 h",
                "WARN the broker's login ends in 6 h",
                "WARN the broker's login is over since 2027-01-22T08",
            ]
        );
        assert!(all[0].starts_with("INFO the broker's login is of 2027-01-15T08"), "{all:?}");
    }

    #[test]
    fn a_start_near_the_end_says_the_last_stage_only() {
        let all = said(&mut Told::default(), &facts(None), &[5, 5, 4]);
        assert_eq!(all[1..], ["WARN the broker's login ends in 5 h"]);
    }

    #[test]
    fn what_a_good_login_does_not_open_is_said_once_and_so_is_its_end() {
        let mut told = Told::default();
        let quotes = Denied { what: "quotes", words: "quotes, refused: HTTP 401".into() };
        let denied = LoginFacts { denied: vec![quotes], ..facts(None) };
        assert_eq!(said(&mut told, &denied, &[100, 99, 98])[1..], ["WARN the broker keeps from us quotes"]);
        assert_eq!(said(&mut told, &facts(None), &[97, 96]), ["WARN the broker opens quotes to us again"]);
        assert_eq!(said(&mut told, &denied, &[95, 94]).len(), 1);
    }

    #[test]
    fn a_dead_login_is_said_once_and_a_new_one_begins_anew() {
        let mut told = Told::default();
        let dead = facts(Some("ended; type `auth login`"));
        let all = said(&mut told, &dead, &[100, 100, 99]);
        assert_eq!(all[1..], ["WARN no order leaves and none is read until a person acts"]);
        assert_eq!(said(&mut told, &facts(None), &[98]), [""; 0]);
        assert_eq!(said(&mut told, &dead, &[97, 96]).len(), 1, "another trouble is another sentence");
        let new = LoginFacts { logged_in_at: Some(AT.plus(HOUR_MS)), ..facts(None) };
        assert_eq!(said(&mut told, &new, &[30]).len(), 2);
        let nobody =
            LoginFacts { trouble: Some("nobody".into()), mend: Some(Mend::LogIn), ..LoginFacts::default() };
        assert_eq!(said(&mut Told::default(), &nobody, &[1, 1]).len(), 1);
    }
}
