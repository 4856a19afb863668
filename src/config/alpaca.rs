//! What `BROKER=alpaca` needs, and what of it does not go together.
//!
//! Invariant: no live configuration exists without the account it is for, and none whose keys would go to a stranger's
//! server or in clear.

use super::reader::{Reader, Reported};
use super::real::Real;
use super::secret::Secret;
use super::{BrokerKind, MarketHours, QuoteFeed, TradingMode};
use crate::broker::alpaca::{LIVE_URL, LOT};
use crate::units::Shares;

/// Everything for Alpaca.
#[derive(Debug, Clone)]
pub struct AlpacaConfig {
    /// Paper or live.
    pub mode: TradingMode,
    /// Key id.
    pub key: Secret,
    /// Its secret.
    pub secret: Secret,
    /// The server; the mode's own where none.
    pub base_url: Option<String>,
    /// The end of the account's number; always there in live mode.
    pub live_account: Option<String>,
    /// Smallest quantity.
    pub lot: Shares,
    /// Whose word opens a session.
    pub hours: MarketHours,
    /// Whose quotes are read.
    pub feed: QuoteFeed,
}

impl AlpacaConfig {
    /// Reads the settings of Alpaca; none where `broker` is not Alpaca. They are read and checked all the same.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        broker: Option<BrokerKind>,
        allow_short: Option<bool>,
        real: &Real,
    ) -> Result<Option<Self>, Reported> {
        let mode = reader.value("ALPACA_TRADING_MODE");
        let feed = reader.value("ALPACA_FEED");
        let key = reader.optional::<Secret>("ALPACA_API_KEY");
        let secret = reader.optional::<Secret>("ALPACA_API_SECRET");
        if broker != Some(BrokerKind::Alpaca) {
            let _: (TradingMode, QuoteFeed) = (mode?, feed?);
            let _ = (key?, secret?);
            return Ok(None);
        }
        let key = reader.needed("ALPACA_API_KEY", key);
        let key = key.and_then(|key| must_be_of(reader, mode.ok(), key));
        let secret = reader.needed("ALPACA_API_SECRET", secret);
        let live = mode.is_ok_and(|mode| mode == TradingMode::Live);
        let live_account = real.live_account.clone();
        let live_account =
            if live { reader.needed("LIVE_ACCOUNT", live_account).map(Some) } else { live_account };
        let base_url = if live { real.own_server(reader, LIVE_URL) } else { real.server() };
        let lot = real.lot.and_then(|lot| lot_of(reader, lot, allow_short.unwrap_or(false)));
        Ok(Some(Self {
            mode: mode?,
            key: key?,
            secret: secret?,
            base_url: base_url?,
            live_account: live_account?.map(|digits| digits.0),
            lot: lot?,
            hours: real.hours?,
            feed: feed?,
        }))
    }
}

/// Alpaca's own key ids say whose they are by their first letters: PK for paper, AK for live. Others are not judged.
/// Source: the keys' page of Alpaca's dashboard, and every capture of one.
fn must_be_of(reader: &mut Reader<'_>, mode: Option<TradingMode>, key: Secret) -> Result<Secret, Reported> {
    let (letters, whose, other) = match mode {
        Some(TradingMode::Live) => ("PK", "paper", "live"),
        Some(TradingMode::Paper) => ("AK", "live", "paper"),
        None => return Ok(key),
    };
    if !key.expose().as_str().starts_with(letters) {
        return Ok(key);
    }
    let why = format!(
        "begins with {letters}, as the keys of {whose} trading do, but ALPACA_TRADING_MODE is {other}: each has keys of its \
         own"
    );
    Err(reader.refuse("ALPACA_API_KEY", &why))
}

/// Alpaca counts in 1e-9 shares and takes no fraction of a share that is not there.
fn lot_of(reader: &mut Reader<'_>, lot: Option<Shares>, allow_short: bool) -> Result<Shares, Reported> {
    let whole = Shares::whole(1);
    let lot = match lot {
        Some(lot) => lot,
        None if allow_short => whole,
        None => LOT,
    };
    if lot.truncate_to(LOT) != lot {
        return Err(reader.refuse("LOT", "is finer than Alpaca counts: use a multiple of 0.000000001"));
    }
    if allow_short && lot.truncate_to(whole) != lot {
        return Err(reader
            .refuse("LOT", "is a fraction, which Alpaca does not sell short: with ALLOW_SHORT=true use 1"));
    }
    Ok(lot)
}
