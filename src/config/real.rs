//! The settings that real brokers share, read once for whichever of them it is.
//!
//! Invariant: live keys go to the broker's own server or to this machine, and nowhere else.

use super::reader::{Reader, Reported};
use super::sources::{Origin, Sources};
use super::values::{BaseUrl, LastDigits};
use super::{MarketHours, settings, sources};
use crate::units::Shares;

/// Settings that make sense at a real broker only, and the broker whose they are; none where it is any of them.
const OF_BROKERS: [(&str, Option<&str>); 6] = [
    ("ALPACA_API_KEY", Some("alpaca")),
    ("ALPACA_API_SECRET", Some("alpaca")),
    ("ALPACA_TRADING_MODE", Some("alpaca")),
    ("ALPACA_FEED", Some("alpaca")),
    ("APP_SECRET", Some("schwab")),
    ("LIVE_ACCOUNT", None),
];

/// Those of [`OF_BROKERS`] that somebody set.
pub(super) fn given(sources: &dyn Sources) -> Vec<&'static str> {
    let is_given = |name: &str| {
        let setting = settings::named(name)?;
        let found = sources::find(setting, sources).ok().flatten()?;
        (found.origin != Origin::Default).then_some(())
    };
    OF_BROKERS.iter().map(|(name, _)| *name).filter(|name| is_given(name).is_some()).collect()
}

/// Whoever hands over a broker's keys wants orders there: without BROKER they would stay at paper, and nobody would
/// notice. BROKER=paper says that they shall.
pub(super) fn must_name_its_broker(reader: &mut Reader<'_>) {
    let Some(setting) = settings::named("BROKER") else { return };
    if !matches!(sources::find(setting, reader.sources), Ok(Some(found)) if found.origin == Origin::Default) {
        return;
    }
    let given = given(reader.sources);
    let whose = OF_BROKERS.iter().find(|(name, whose)| given.contains(name) && whose.is_some());
    let wanted = whose.and_then(|(_, whose)| *whose).unwrap_or("alpaca or schwab");
    if !given.is_empty() {
        let why = format!(
            "is not set, and {} is: orders would stay at the paper broker. Set BROKER={wanted}, or BROKER=paper",
            given.join(", ")
        );
        reader.missing_beside("BROKER", why);
    }
}

/// What was read; wrong values are told whether the broker needs them or not.
pub(super) struct Real {
    pub(super) base_url: Result<Option<BaseUrl>, Reported>,
    pub(super) live_account: Result<Option<LastDigits>, Reported>,
    pub(super) lot: Result<Option<Shares>, Reported>,
    pub(super) hours: Result<MarketHours, Reported>,
}

impl Real {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            base_url: reader.optional("BASE_URL"),
            live_account: reader.optional("LIVE_ACCOUNT"),
            lot: reader.optional("LOT"),
            hours: reader.value("MARKET_HOURS"),
        }
    }

    /// Where paper's keys go: anywhere.
    pub(super) fn server(&self) -> Result<Option<String>, Reported> {
        self.base_url.clone().map(|url| url.map(|url| url.text))
    }

    /// Where live keys go.
    pub(super) fn own_server(&self, reader: &mut Reader<'_>, own: &str) -> Result<Option<String>, Reported> {
        match self.base_url.clone()? {
            Some(url) if !url.loopback && url.text != own => {
                let why = format!("is not {own}: live keys go to no other server than that or this machine");
                Err(reader.refuse("BASE_URL", &why))
            }
            url => Ok(url.map(|url| url.text)),
        }
    }
}
