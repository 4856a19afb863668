//! What a bot is: where its orders go and what it watches, for `bot status` and for whoever asks which bot answered.
//!
//! It holds an account as the ledger names it (a fingerprint, or paper's own name) and the last four characters that a
//! person set; a whole account number and a key are not known here.

use serde::{Deserialize, Serialize};

use crate::broker::{Session, hours};
use crate::units::Millis;

/// Whether orders move real money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They do not.
    Paper,
    /// They do.
    Live,
}

impl Mode {
    /// By what a ledger is stamped with: an account that says it is paper, and the broker that is nothing else.
    #[must_use]
    pub fn of_stamp(broker: &str, account: &str) -> Self {
        if broker == "paper" || account.starts_with("paper-") { Self::Paper } else { Self::Live }
    }

    /// For people: real money stands out.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Live => "LIVE",
        }
    }
}

/// Which bot it is. What is not known, or not shown to whoever asks, is none or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `paper`, `schwab` or `alpaca`.
    pub broker: Option<String>,
    /// Whether orders move real money.
    pub mode: Option<Mode>,
    /// The account, as the ledger is stamped with it.
    pub account: Option<String>,
    /// The last four characters of the account's number, as `LIVE_ACCOUNT` says them and the broker must confirm them.
    pub account_last4: Option<String>,
    /// EIP-155 chain id.
    pub chain_id: Option<u64>,
    /// Owners whose orders are hedged, lower-case, ascending.
    pub owners: Vec<String>,
    /// Order books that are watched, lower-case, ascending.
    pub orderbooks: Vec<String>,
    /// The ledger's file.
    pub ledger: Option<String>,
    /// The process; none where no bot runs.
    pub pid: Option<u32>,
}

impl Identity {
    /// As HTTP shows it on this machine: no account and no address.
    pub(super) fn without_account(&mut self) {
        (self.account, self.account_last4) = (None, None);
        self.owners.clear();
        self.orderbooks.clear();
    }

    /// Broker, mode, ledger and process in a line; empty where nothing is known.
    #[must_use]
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        if let Some(broker) = &self.broker {
            let mode = self.mode.filter(|mode| mode.as_str() != broker);
            parts.push(mode.map_or_else(|| broker.clone(), |mode| format!("{broker} {}", mode.as_str())));
        }
        parts.extend(self.account_last4.as_ref().map(|last| format!("account …{last}")));
        parts.extend(self.account.as_ref().map(|account| format!("account {account}")));
        parts.extend(self.ledger.as_ref().map(|ledger| format!("ledger {ledger}")));
        parts.extend(self.pid.map(|pid| format!("process {pid}")));
        parts.join(" · ")
    }
}

/// The exchange's session, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// `open`, `closed` or `disputed`; none where it was not read.
    pub state: Option<String>,
    /// When an open one ends; none where it never does.
    pub ends_at: Option<Millis>,
    /// When the next one opens, by the built-in calendar; none while one is open, and where the broker keeps no hours.
    pub next_open: Option<Millis>,
}

impl SessionStatus {
    /// What is known at `now`.
    #[must_use]
    pub fn of(session: Option<&Session>, keeps_hours: bool, now: Millis) -> Self {
        let (state, ends_at) = match session {
            None => (None, None),
            Some(Session::Open { until }) => (Some("open"), *until),
            Some(Session::Closed { .. }) => (Some("closed"), None),
            Some(Session::Disputed { .. }) => (Some("disputed"), None),
        };
        let next_open = match hours::session_at(now) {
            hours::Hours::Closed { next, .. } if keeps_hours => next.map(|next| next.opens),
            _ => None,
        };
        Self { state: state.map(str::to_owned), ends_at, next_open }
    }

    /// In a sentence; none where nothing is known.
    pub(super) fn words(&self) -> Option<String> {
        let state = self.state.as_deref()?;
        let ends = self.ends_at.map(|end| format!(", ends {end}"));
        let opens = self.next_open.filter(|_| state != "open").map(|next| format!(", opens {next}"));
        Some([Some(state.to_owned()), ends, opens].into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_what_is_known_and_says_live_aloud() {
        assert_eq!(Identity::default().line(), "");
        let mut identity = Identity {
            broker: Some("alpaca".into()),
            mode: Some(Mode::Live),
            account: Some("live-0123456789ab".into()),
            account_last4: Some("4321".into()),
            owners: vec!["0xaa".into()],
            ledger: Some("/data/bot.db".into()),
            pid: Some(7),
            ..Identity::default()
        };
        let line =
            "alpaca LIVE · account …4321 · account live-0123456789ab · ledger /data/bot.db · process 7";
        assert_eq!(identity.line(), line);
        identity.without_account();
        assert_eq!(identity.line(), "alpaca LIVE · ledger /data/bot.db · process 7");
        let paper = Identity { broker: Some("paper".into()), mode: Some(Mode::Paper), ..Identity::default() };
        assert_eq!(paper.line(), "paper");
    }

    #[test]
    fn a_stamp_says_whether_it_is_money() {
        let rows = [
            ("paper", "paper", Mode::Paper),
            ("alpaca", "paper-0123456789ab", Mode::Paper),
            ("alpaca", "live-0123456789ab", Mode::Live),
            ("schwab", "live-0123456789ab", Mode::Live),
        ];
        for (broker, account, mode) in rows {
            assert_eq!(Mode::of_stamp(broker, account), mode, "{broker} {account}");
        }
    }

    #[test]
    fn a_closed_session_says_when_the_next_one_opens() {
        // Saturday 2026-12-05, noon in New York; the exchange opens on Monday at 9:30.
        let saturday: Millis = Millis(1_796_490_000_000);
        let closed = Session::Closed { reason: "weekend".into() };
        let known = SessionStatus::of(Some(&closed), true, saturday);
        assert_eq!(known.words().unwrap(), "closed, opens 2026-12-07T14:30:00.000Z");
        assert_eq!(SessionStatus::of(Some(&closed), false, saturday).next_open, None);
        let open = SessionStatus::of(Some(&Session::Open { until: None }), true, saturday);
        assert_eq!(open.words().unwrap(), "open");
        assert_eq!(SessionStatus::of(None, true, saturday).words(), None);
    }
}
