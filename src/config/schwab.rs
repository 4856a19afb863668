//! What `BROKER=schwab` needs, for the bot and for `auth`.
//!
//! Schwab has no paper trading, so everything here is live. It refuses to know what a login looks like; where it is kept
//! and what it is sealed with are settings.
//!
//! Invariant: no configuration for Schwab exists without the account that it is for.

use std::path::PathBuf;

use super::reader::{Reader, Reported};
use super::real::Real;
use super::secret::{SealingKey, Secret};
use super::sources::Sources;
use super::values::{Callback, LastDigits};
use super::{BrokerKind, ConfigErrors, MarketHours, certificates, database_file};
use crate::broker::schwab::{LOT, URL, vault};

/// Digits at the end of a tag of Schwab's: seconds since 1970, as two captured orders of 2025 and 2026 have them.
const TAG_DIGITS: usize = 10;

/// Whether a tag has the shape of those that Schwab writes on orders.
pub(super) fn writes(tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix("TA_").filter(|rest| rest.len() > TAG_DIGITS) else { return false };
    let digits = rest.bytes().rev().take_while(u8::is_ascii_digit).count();
    digits >= TAG_DIGITS
}

/// The application that is registered at Schwab.
#[derive(Debug, Clone)]
pub struct Application {
    /// Its key.
    pub key: Secret,
    /// Its secret.
    pub secret: Secret,
    /// The server; Schwab's own where none.
    pub base_url: Option<String>,
}

/// What the stored login opens under.
#[derive(Debug, Clone)]
pub struct SealingKeys {
    /// `ENCRYPTION_KEY`.
    pub key: SealingKey,
    /// `NEW_ENCRYPTION_KEY`, where a change of keys is under way.
    pub next: Option<SealingKey>,
}

/// Everything for Schwab.
#[derive(Debug, Clone)]
pub struct SchwabConfig {
    /// Whose calls they are.
    pub application: Application,
    /// What the login opens under.
    pub keys: SealingKeys,
    /// The end of the account's number.
    pub live_account: String,
    /// Whose word opens a session.
    pub hours: MarketHours,
}

impl SchwabConfig {
    /// Reads the settings of Schwab; none where `broker` is another. They are read and checked all the same.
    pub(super) fn read(
        reader: &mut Reader<'_>,
        broker: Option<BrokerKind>,
        real: &Real,
    ) -> Result<Option<Self>, Reported> {
        let key = reader.optional::<Secret>("APP_KEY");
        let secret = reader.optional::<Secret>("APP_SECRET");
        let callback = reader.optional::<Callback>("REDIRECT_URI");
        let sealing = reader.optional::<SealingKey>("ENCRYPTION_KEY");
        let next = reader.optional::<SealingKey>("NEW_ENCRYPTION_KEY");
        if broker != Some(BrokerKind::Schwab) {
            let _ = (key?, secret?, callback?, sealing?, next?);
            return Ok(None);
        }
        let key = reader.needed("APP_KEY", key);
        let secret = reader.needed("APP_SECRET", secret);
        let keys = sealing_keys(reader, sealing, next);
        let live_account = reader.needed("LIVE_ACCOUNT", real.live_account.clone());
        let base_url = real.own_server(reader, URL);
        let lot = real.lot.and_then(|lot| match lot {
            Some(lot) if lot != LOT => {
                Err(reader.refuse("LOT", "is not 1: at Schwab this program orders whole shares, one or more"))
            }
            _ => Ok(()),
        });
        let _ = (lot?, callback?);
        Ok(Some(Self {
            application: Application { key: key?, secret: secret?, base_url: base_url? },
            keys: keys?,
            live_account: live_account?.0,
            hours: real.hours?,
        }))
    }
}

fn sealing_keys(
    reader: &mut Reader<'_>,
    key: Result<Option<SealingKey>, Reported>,
    next: Result<Option<SealingKey>, Reported>,
) -> Result<SealingKeys, Reported> {
    let key = reader.needed("ENCRYPTION_KEY", key);
    match (&key, &next) {
        (Ok(key), Ok(Some(next))) if key == next => {
            Err(reader
                .refuse("NEW_ENCRYPTION_KEY", "is ENCRYPTION_KEY itself; leave it out, or make another"))
        }
        _ => Ok(SealingKeys { key: key?, next: next? }),
    }
}

/// Where the login is kept, and what it opens under: all that `auth status` needs.
#[derive(Debug, Clone)]
pub struct VaultConfig {
    /// The file beside the ledger.
    pub path: PathBuf,
    /// What it opens under.
    pub keys: SealingKeys,
}

/// All that `auth login` needs.
#[derive(Debug, Clone)]
pub struct LoginConfig {
    /// Whose login it becomes.
    pub application: Application,
    /// Where the browser is sent.
    pub callback: String,
    /// Where the login is kept.
    pub vault: VaultConfig,
    /// The end of the account's number, where it is known already.
    pub live_account: Option<String>,
    /// Trusted certificate authorities; the system's where none.
    pub ssl_cert_file: Option<PathBuf>,
}

/// What a verb about the login needs.
#[derive(Debug, Clone)]
pub enum Needed<T> {
    /// The broker has a login, and this is needed for it.
    This(T),
    /// This broker has none.
    Nothing(BrokerKind),
}

/// Reads what `auth login` needs.
///
/// # Errors
/// Everything of it that is missing or wrong, at once.
pub fn login(sources: &dyn Sources) -> Result<Needed<LoginConfig>, ConfigErrors> {
    of_schwab(sources, |reader| {
        let key = reader.value("APP_KEY");
        let secret = reader.value("APP_SECRET");
        let callback = reader.value::<Callback>("REDIRECT_URI");
        let vault = vault_of(reader, false);
        let real = Real::read(reader);
        let base_url = real.own_server(reader, URL);
        let ssl_cert_file = certificates(reader);
        Ok(LoginConfig {
            application: Application { key: key?, secret: secret?, base_url: base_url? },
            callback: callback?.0,
            vault: vault?,
            live_account: real.live_account?.map(|LastDigits(digits)| digits),
            ssl_cert_file: ssl_cert_file?,
        })
    })
}

/// Reads what `auth status` needs.
///
/// # Errors
/// Everything of it that is missing or wrong, at once.
pub fn vault(sources: &dyn Sources) -> Result<Needed<VaultConfig>, ConfigErrors> {
    of_schwab(sources, |reader| vault_of(reader, false))
}

/// Reads what `auth rekey` needs: as [`vault()`], and the new key is there.
///
/// # Errors
/// Everything of it that is missing or wrong, at once.
pub fn rekey(sources: &dyn Sources) -> Result<Needed<VaultConfig>, ConfigErrors> {
    of_schwab(sources, |reader| vault_of(reader, true))
}

fn of_schwab<T>(
    sources: &dyn Sources,
    read: impl FnOnce(&mut Reader<'_>) -> Result<T, Reported>,
) -> Result<Needed<T>, ConfigErrors> {
    Reader::of(sources, |reader| match reader.value("BROKER")? {
        BrokerKind::Schwab => read(reader).map(Needed::This),
        other => Ok(Needed::Nothing(other)),
    })
}

fn vault_of(reader: &mut Reader<'_>, with_next: bool) -> Result<VaultConfig, Reported> {
    let (key, mut next) = (reader.optional("ENCRYPTION_KEY"), reader.optional("NEW_ENCRYPTION_KEY"));
    if with_next {
        next = reader.needed("NEW_ENCRYPTION_KEY", next).map(Some);
    }
    let keys = sealing_keys(reader, key, next);
    let database = database_file(reader);
    Ok(VaultConfig { path: database?.with_file_name(vault::FILE), keys: keys? })
}
