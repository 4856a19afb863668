//! The settings that real brokers share, read once for whichever of them it is.
//!
//! Invariant: live keys go to the broker's own server or to this machine, and nowhere else.

use super::MarketHours;
use super::reader::{Reader, Reported};
use super::values::{BaseUrl, LastDigits};
use crate::units::Shares;

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
