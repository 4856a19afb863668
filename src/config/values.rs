//! How a text becomes a value: one reading per type, each total and without IO.
//!
//! The reader is chosen by the type of the field in [`super::Config`] that the value goes to; its bounds come from the
//! table. Nothing here knows names or places.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::Address;
use tokio_tungstenite::tungstenite::http::Uri;

use super::problems::Wrong;
use super::secret::{SealingKey, Secret, SecretUrl, is_this_machine};
use super::settings::Form;
use super::webhook::WebhookUrl;
use super::{BrokerKind, LogFormat, MarketHours, PaperSessions, QuoteFeed, TradingMode};
use crate::broker::LIVE_ACCOUNT_DIGITS;
use crate::fills::Ratio;
use crate::units::{Cash, Shares, Symbol};

/// Longest list: a node takes that many addresses in one filter, and no shop lists more shares.
const LIST_ENTRIES_MAX: usize = 1_000;

const NOT_ADDRESS: &str = "is not an address (0x and 40 hex digits)";
const NOT_RATIO: &str = "is no ratio of shares a token (10, 0.1 or 3/2)";
const NOT_TICKER: &str =
    "is not a ticker (1 to 12 capital letters, digits, '.', '-' or '/', beginning with a letter)";

/// All that is wrong with one text.
pub(super) type Wrongs = Vec<Wrong>;

/// A type that a setting can have.
pub(super) trait Value: Sized {
    /// Reads a text that should have this form.
    fn read(text: &str, form: Form) -> Result<Self, Wrongs>;
}

fn not(form: Form) -> Wrongs {
    vec![Wrong::whole(format!("is not {form}"))]
}

impl Value for SecretUrl {
    fn read(text: &str, _: Form) -> Result<Self, Wrongs> {
        Self::new(text).map_err(|error| vec![Wrong::whole(error.to_string())])
    }
}

impl Value for WebhookUrl {
    fn read(text: &str, _: Form) -> Result<Self, Wrongs> {
        Self::new(text).map_err(|error| vec![Wrong::whole(error.to_string())])
    }
}

fn address(text: &str) -> Result<Address, &'static str> {
    let digits = text.strip_prefix("0x").ok_or(NOT_ADDRESS)?;
    if digits.len() != 40 {
        return Err(NOT_ADDRESS);
    }
    let address: Address = text.parse().map_err(|_| NOT_ADDRESS)?;
    let mixed =
        digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase());
    if mixed && address.to_checksum(None) != text {
        return Err("fails its checksum: a character is mistyped, copy it again");
    }
    if address.is_zero() {
        return Err("is the zero address, which is nobody's");
    }
    Ok(address)
}

impl Value for Address {
    fn read(text: &str, _: Form) -> Result<Self, Wrongs> {
        address(text).map_err(|why| vec![Wrong::whole(why)])
    }
}

/// Reads a comma-separated list entry by entry; all the wrong ones are told, and those that are there twice.
fn list<T: Ord + Clone>(text: &str, entry: impl Fn(&str) -> Result<T, Wrong>) -> Result<Vec<T>, Wrongs> {
    let (mut entries, mut seen, mut wrongs) = (Vec::new(), BTreeSet::new(), Vec::new());
    for part in text.split(',').map(str::trim) {
        match entry(part) {
            _ if part.is_empty() => wrongs.push(Wrong::whole("has an empty entry beside a comma")),
            Ok(value) if seen.insert(value.clone()) => entries.push(value),
            Ok(_) => wrongs.push(Wrong::part(part, "is there twice")),
            Err(wrong) => wrongs.push(wrong),
        }
    }
    if entries.len() > LIST_ENTRIES_MAX {
        wrongs.push(Wrong::whole(format!("has more than {LIST_ENTRIES_MAX} entries")));
    }
    if wrongs.is_empty() { Ok(entries) } else { Err(wrongs) }
}

impl Value for Vec<Address> {
    fn read(text: &str, _: Form) -> Result<Self, Wrongs> {
        list(text, |part| address(part).map_err(|why| Wrong::part(part, why)))
    }
}

impl Value for BTreeSet<Symbol> {
    fn read(text: &str, _: Form) -> Result<Self, Wrongs> {
        let symbols = list(text, |part| part.parse().map_err(|_| Wrong::part(part, NOT_TICKER)))?;
        Ok(symbols.into_iter().collect())
    }
}

/// `EQUITIES`: which token is which share, and how many of them where a person says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Equities {
    /// Each listed token's share. Several tokens may stand for one share; a token stands for one share only.
    pub(super) tickers: BTreeMap<Address, Symbol>,
    /// Shares a token, of those that are listed with a ratio.
    pub(super) ratios: BTreeMap<Address, Ratio>,
}

impl Value for Equities {
    fn read(text: &str, _: Form) -> Result<Self, Wrongs> {
        let listed = list(text, |part| {
            let (ticker, token) = part.split_once('=').ok_or_else(|| {
                Wrong::part(part, "is not of the form TICKER=address or TICKER=address*ratio")
            })?;
            let symbol: Symbol = ticker.trim().parse().map_err(|_| Wrong::part(ticker, NOT_TICKER))?;
            let (token, ratio) =
                token.split_once('*').map_or((token, None), |(token, ratio)| (token, Some(ratio)));
            let token = token.trim();
            let address = address(token).map_err(|why| Wrong::part(token, why))?;
            let ratio = ratio
                .map(str::trim)
                .map(|ratio| ratio.parse::<Ratio>().map_err(|_| Wrong::part(ratio, NOT_RATIO)));
            Ok((address, symbol, ratio.transpose()?))
        })?;
        let (mut equities, mut wrongs) = (Self::default(), Vec::new());
        for (address, symbol, ratio) in listed {
            if let Some(other) = equities.tickers.insert(address, symbol.clone()) {
                let why = format!("is listed both as {other} and as {symbol}");
                wrongs.push(Wrong::part(&address.to_string(), why));
            }
            equities.ratios.extend(ratio.map(|ratio| (address, ratio)));
        }
        if wrongs.is_empty() { Ok(equities) } else { Err(wrongs) }
    }
}

impl Value for u64 {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        let Form::Whole { min, max } = form else { return Err(not(form)) };
        let plain = text.bytes().all(|b| b.is_ascii_digit());
        let number = plain.then(|| text.parse().ok()).flatten();
        number.filter(|number| (min..=max).contains(number)).ok_or_else(|| not(form))
    }
}

impl Value for u32 {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        u64::read(text, form)?.try_into().map_err(|_| not(form))
    }
}

/// Reads digits and a unit: `500ms`, `30s`, `2m`, `1h`.
#[must_use]
pub fn span(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(unit_at);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let count: u64 = digits.parse().ok()?;
    count.checked_mul(unit_ms).map(Duration::from_millis)
}

impl Value for Duration {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        let Form::Span { min, max } = form else { return Err(not(form)) };
        span(text).filter(|span| (min..=max).contains(span)).ok_or_else(|| not(form))
    }
}

impl Value for Shares {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        text.parse().ok().filter(|shares: &Self| shares.is_positive()).ok_or_else(|| not(form))
    }
}

impl Value for Cash {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        text.parse().ok().filter(|cash: &Self| cash.is_positive()).ok_or_else(|| not(form))
    }
}

impl Value for bool {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        text.parse().map_err(|_| not(form))
    }
}

impl Value for BrokerKind {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        Self::from_word(text).ok_or_else(|| vec![Wrong::whole(format!("is not a broker; use {form}"))])
    }
}

impl Value for TradingMode {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        Self::from_word(text).ok_or_else(|| not(form))
    }
}

impl Value for QuoteFeed {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        Self::from_word(text).ok_or_else(|| not(form))
    }
}

impl Value for MarketHours {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        Self::from_word(text).ok_or_else(|| not(form))
    }
}

impl Value for Secret {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        Self::new(text).ok_or_else(|| not(form))
    }
}

impl Value for SealingKey {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        Self::new(text).ok_or_else(|| not(form))
    }
}

/// Longest callback that can be registered.
const CALLBACK_CHARS_MAX: usize = 255;

/// Where a browser is sent after a login, byte for byte as it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Callback(pub(super) String);

impl Value for Callback {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        if text.contains(',') {
            let why = "holds a comma: of the callbacks that are registered name the one to be used";
            return Err(vec![Wrong::whole(why)]);
        }
        let uri: Uri = text.parse().map_err(|_| not(form))?;
        let plain = uri.scheme_str() == Some("https") && uri.host().is_some_and(|host| !host.is_empty());
        let plain = plain && !text.contains(['?', '#', '@']) && text.len() <= CALLBACK_CHARS_MAX;
        if plain { Ok(Self(text.to_owned())) } else { Err(not(form)) }
    }
}

/// The end of an account number: enough to know it by, too little to use it.
#[derive(Debug, Clone)]
pub(super) struct LastDigits(pub(super) String);

impl Value for LastDigits {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        let fits = text.len() == LIVE_ACCOUNT_DIGITS && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if fits { Ok(Self(text.to_owned())) } else { Err(not(form)) }
    }
}

/// A broker's server: scheme, host and port. Keys go there, so it is https, or this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BaseUrl {
    /// Without a slash at its end.
    pub(super) text: String,
    /// Whether it is on this machine.
    pub(super) loopback: bool,
}

impl Value for BaseUrl {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        let text = text.trim_end_matches('/');
        if text.contains('@') {
            // What stands before it may be a password, and a refusal shows what it refuses.
            let why = "names a user or a password; the broker's keys have settings of their own";
            return Err(vec![Wrong::part("…@…", why)]);
        }
        let uri: Uri = text.parse().map_err(|_| not(form))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(not(form));
        };
        let plain = format!("{scheme}://{authority}") == text;
        let loopback = is_this_machine(authority.host());
        match scheme {
            "https" if plain => Ok(Self { text: text.to_owned(), loopback }),
            "http" if plain && loopback => Ok(Self { text: text.to_owned(), loopback }),
            "http" if plain => Err(vec![Wrong::whole("would carry your keys in clear; use https://")]),
            _ => Err(not(form)),
        }
    }
}

impl Value for PaperSessions {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        Self::from_word(text).ok_or_else(|| not(form))
    }
}

impl Value for LogFormat {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        Self::from_word(text).ok_or_else(|| not(form))
    }
}

impl Value for SocketAddr {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        text.parse().map_err(|_| not(form))
    }
}

/// What a broker writes on our orders.
pub(super) struct Tag(pub(super) String);

impl Value for Tag {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        let printable = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        if (1..=64).contains(&text.len()) && printable { Ok(Self(text.to_owned())) } else { Err(not(form)) }
    }
}

/// Any file but the ledger.
pub(super) struct File(pub(super) PathBuf);

impl Value for File {
    fn read(text: &str, _: Form) -> Result<Self, Wrongs> {
        Ok(Self(text.into()))
    }
}

/// The ledger's file.
pub(super) struct Database(pub(super) PathBuf);

impl Value for Database {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        let path = match text.strip_prefix("sqlite:") {
            Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
            None => text,
        };
        let wrong = |why: &str| Err(vec![Wrong::whole(why)]);
        if path.contains(":memory:") {
            return wrong("keeps nothing: the ledger must be a file");
        }
        if path.contains("://") || path.starts_with("file:") {
            return Err(not(form));
        }
        if path.contains('?') {
            return wrong("has options behind a `?`; there are none, leave them out");
        }
        if path.is_empty() || path.ends_with(['/', '.']) {
            return wrong("names no file");
        }
        Ok(Self(path.into()))
    }
}

/// What `env_logger` takes, but stricter: a bare word must be a level. `env_logger` takes a misspelt level for the
/// name of a target and then logs next to nothing.
pub(super) struct LogFilter(pub(super) String);

impl Value for LogFilter {
    fn read(text: &str, form: Form) -> Result<Self, Wrongs> {
        let is_level = |word: &str| word.parse::<log::LevelFilter>().is_ok();
        let fits = |directive: &str| match directive.split_once('=') {
            Some((target, level)) => !target.is_empty() && is_level(level),
            None => is_level(directive),
        };
        if text.split(',').map(str::trim).all(fits) { Ok(Self(text.to_owned())) } else { Err(not(form)) }
    }
}
