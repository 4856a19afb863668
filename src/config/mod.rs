//! From flags, environment and files to one validated [`Config`], or to every reason why there is none.
//!
//! [`settings`] is the table of what can be set, [`sources`] says where texts are found, `values` what they mean.
//! The rest of the program sees only [`Config`]; it never reads the environment.
//!
//! Invariant: a `Config` that exists is complete and within the bounds of the table; no error, no `Debug` and no
//! listing shows more of `WS_RPC_URL`, `ALERT_WEBHOOK_URL` and `HEARTBEAT_URL` than scheme and host.

mod alpaca;
pub mod documents;
pub mod listing;
mod problems;
mod reader;
mod real;
pub mod schwab;
mod secret;
pub mod settings;
pub mod shards;
pub mod sources;
mod strangers;
mod values;
mod webhook;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::Address;

pub use alpaca::AlpacaConfig;
pub use problems::{ConfigErrors, Problem};
pub use schwab::SchwabConfig;
pub use secret::{SealingKey, Secret, SecretUrl, SecretUrlError};
pub use sources::{Origin, Process, Sources};
pub use values::span;
pub use webhook::{WebhookUrl, WebhookUrlError};
pub use words::{BrokerKind, LogFormat, MarketHours, PaperSessions, QuoteFeed, TradingMode};

use crate::fills::{Listing, Ratio};
use crate::hedges::Limits;
use crate::units::{Shares, Symbol};
use reader::{Reader, Reported};
use real::Real;
use values::{Database, Equities, File, LogFilter, Tag};

/// Longest file of certificate authorities; the usual one has 230 kB.
const CERTIFICATES_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Everything `bot run` is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node.
    pub ws_rpc_url: SecretUrl,
    /// Order books to watch; at least one, none twice.
    pub orderbooks: Vec<Address>,
    /// Owners whose orders are hedged; at least one, none twice.
    pub owners: Vec<Address>,
    /// First block to read; 1 or more.
    pub deployment_block: u64,
    /// The chain the node must be on.
    pub chain_id: Option<u64>,
    /// Which token is which share; empty where symbols decide. Never holds `cash`.
    pub equities: BTreeMap<Address, Symbol>,
    /// `EQUITIES`: shares a token, where a person says so.
    pub ratios: BTreeMap<Address, Ratio>,
    /// `UNIT_JUMP_MAX`, in percent.
    pub unit_jump_max_percent: u32,
    /// The token that is the dollar; where none, the symbol decides.
    pub cash: Option<Address>,
    /// Blocks on top of a fill before it counts; 0 to 64.
    pub confirmations: u64,
    /// Blocks per request while catching up; 1 or more.
    pub log_range_blocks: u64,
    /// How long the head may stand still.
    pub head_age_max: Duration,
    /// Fills below it are stored as skipped.
    pub hedge_from_block: Option<u64>,
    /// The tickers of this shard; all where none.
    pub symbols: Option<BTreeSet<Symbol>>,
    /// Where the orders go.
    pub broker: BrokerKind,
    /// What Alpaca needs; there exactly if `broker` is Alpaca.
    pub alpaca: Option<AlpacaConfig>,
    /// What Schwab needs; there exactly if `broker` is Schwab.
    pub schwab: Option<SchwabConfig>,
    /// When the paper broker is open.
    pub paper_sessions: PaperSessions,
    /// Whether a SELL may go below zero.
    pub allow_short: bool,
    /// What the broker writes on our orders; learnt where none.
    pub app_tag: Option<String>,
    /// Complete lists without it for so many milliseconds make an `Unknown` order absent; never where none.
    pub absent_after_ms: Option<i64>,
    /// The furthest a quote may lie from the last hour's fills, in basis points.
    pub max_price_deviation_bps: u32,
    /// Caps on what is ordered.
    pub limits: Limits,
    /// How long a lot or more may be without an order at work before a person is told.
    pub unhedged_alert_after: Duration,
    /// The ledger's file.
    pub database: PathBuf,
    /// Where health and metrics are served.
    pub listen: SocketAddr,
    /// Where alerts are posted; only the log has them where none.
    pub alert_webhook_url: Option<WebhookUrl>,
    /// What is asked once a minute while the bot is ready; nothing where none.
    pub heartbeat_url: Option<WebhookUrl>,
    /// What is logged, in the words of `env_logger`.
    pub log_filter: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Trusted certificate authorities; the system's where none. Was readable when it was checked.
    pub ssl_cert_file: Option<PathBuf>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// In the words of `env_logger`.
    pub filter: String,
    /// Text or JSON.
    pub format: LogFormat,
}

impl Config {
    /// Reads and checks every setting.
    ///
    /// # Errors
    /// Everything that is missing or wrong, at once, in the order of the table.
    pub fn from_sources(sources: &dyn Sources) -> Result<Self, ConfigErrors> {
        Reader::of(sources, Self::read)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let ws_rpc_url = reader.value("WS_RPC_URL");
        let orderbooks = reader.value("ORDERBOOK");
        let owners = reader.value("ORDER_OWNER");
        let deployment_block = reader.value("DEPLOYMENT_BLOCK");
        let chain_id = reader.optional("CHAIN_ID");
        let equities = reader.optional::<Equities>("EQUITIES").map(Option::unwrap_or_default);
        let unit_jump_max_percent = reader.value("UNIT_JUMP_MAX");
        let cash = reader.optional("CASH");
        let confirmations = reader.value("CONFIRMATIONS");
        let log_range_blocks = reader.value("LOG_RANGE_BLOCKS");
        let head_age_max = reader.value("HEAD_AGE_MAX");
        let hedge_from_block = reader.optional("HEDGE_FROM_BLOCK");
        let symbols = reader.optional("SYMBOLS");
        let broker = reader.value("BROKER");
        let paper_sessions = reader.value("PAPER_SESSIONS");
        let allow_short = reader.value("ALLOW_SHORT");
        let real = Real::read(reader);
        let alpaca = AlpacaConfig::read(reader, broker.ok(), allow_short.ok(), &real);
        let schwab = SchwabConfig::read(reader, broker.ok(), &real);
        let app_tag = reader.optional::<Tag>("APP_TAG");
        let absent_after = reader.optional::<Duration>("ABSENT_AFTER");
        let max_price_deviation_bps = reader.value("MAX_PRICE_DEVIATION_BPS");
        let limits = limits(reader);
        let unhedged_alert_after = reader.value("UNHEDGED_ALERT_AFTER");
        let database = database_file(reader);
        let listen = reader.value("LISTEN");
        let alert_webhook_url = reader.optional("ALERT_WEBHOOK_URL");
        let heartbeat_url = reader.optional("HEARTBEAT_URL");
        let logs = Logs::read(reader);
        let ssl_cert_file = certificates(reader);
        reader.strangers();
        real::must_name_its_broker(reader);

        if let (Ok(equities), Ok(Some(cash))) = (&equities, &cash)
            && let Some(symbol) = equities.tickers.get(cash)
        {
            reader.refuse("CASH", &format!("is listed in EQUITIES too, as {symbol}"));
        }
        let logs = logs?;
        let equities = equities?;
        Ok(Self {
            ws_rpc_url: ws_rpc_url?,
            orderbooks: orderbooks?,
            owners: owners?,
            deployment_block: deployment_block?,
            chain_id: chain_id?,
            equities: equities.tickers,
            ratios: equities.ratios,
            unit_jump_max_percent: unit_jump_max_percent?,
            cash: cash?,
            confirmations: confirmations?,
            log_range_blocks: log_range_blocks?,
            head_age_max: head_age_max?,
            hedge_from_block: hedge_from_block?,
            symbols: symbols?,
            broker: broker?,
            alpaca: alpaca?,
            schwab: schwab?,
            paper_sessions: paper_sessions?,
            allow_short: allow_short?,
            app_tag: app_tag?.map(|tag| tag.0),
            absent_after_ms: absent_after?.map(milliseconds),
            max_price_deviation_bps: max_price_deviation_bps?,
            limits: limits?,
            unhedged_alert_after: unhedged_alert_after?,
            database: database?,
            listen: listen?,
            alert_webhook_url: alert_webhook_url?,
            heartbeat_url: heartbeat_url?,
            log_filter: logs.filter,
            log_format: logs.format,
            ssl_cert_file: ssl_cert_file?,
        })
    }

    /// What is allowed but worth a second look, a sentence each.
    #[must_use]
    pub fn warnings(&self, sources: &dyn Sources) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |when: bool, text: &str| {
            if when {
                warnings.push(text.to_owned());
            }
        };
        for name in ["WS_RPC_URL", "ALERT_WEBHOOK_URL", "HEARTBEAT_URL"] {
            let text = format!(
                "{name} is a flag: other users of this machine can read the command line; use {name}_FILE"
            );
            warn(sources.flag(name).is_some_and(|url| !url.is_empty()), &text);
        }
        warn(
            self.ws_rpc_url.is_readable_on_the_way(),
            "WS_RPC_URL is ws:// to another machine: its key travels in clear; use wss://",
        );
        warn(self.chain_id.is_none(), "CHAIN_ID is not set: a node on another chain is not noticed");
        warn(
            self.equities.is_empty(),
            "EQUITIES is not set: each token's own symbol() decides which share it is",
        );
        warn(self.cash.is_none(), "CASH is not set: a token whose symbol() is USDC is taken for the dollar");
        warn(
            self.hedge_from_block.is_some_and(|from| from <= self.deployment_block),
            "HEDGE_FROM_BLOCK is not above DEPLOYMENT_BLOCK: it skips nothing",
        );
        let lot = self.alpaca.as_ref().map_or(Shares::whole(1), |alpaca| alpaca.lot);
        warn(self.limits.max_order_shares < lot, "MAX_ORDER_SHARES is below one lot: no order ever fits");
        let hours = self.alpaca.as_ref().map(|alpaca| alpaca.hours);
        let hours = hours.or(self.schwab.as_ref().map(|schwab| schwab.hours));
        warn(
            hours == Some(MarketHours::Broker),
            "MARKET_HOURS=broker: the built-in calendar is not asked whether the market is open",
        );
        let example = settings::named("ENCRYPTION_KEY").and_then(|setting| SealingKey::new(setting.example));
        warn(
            self.schwab.as_ref().is_some_and(|schwab| Some(&schwab.keys.key) == example.as_ref()),
            "ENCRYPTION_KEY is the example's, which everybody knows: make one with `openssl rand -hex 32`",
        );
        if self.broker == BrokerKind::Paper {
            let unused = real::given(sources);
            warn(
                !unused.is_empty(),
                &format!("{} is set and not used: BROKER is paper, and no order leaves", unused.join(", ")),
            );
        }
        let strange = self.app_tag.as_deref().filter(|tag| self.schwab.is_some() && !schwab::writes(tag));
        warn(
            strange.is_some(),
            "APP_TAG has not the shape of what Schwab writes (TA_, the letters of an e-mail address, ten digits): leave \
             it unset, and the bot learns it from its first order",
        );
        let listed: BTreeSet<&Symbol> = self.equities.values().collect();
        for symbol in self.symbols.iter().flatten() {
            if !listed.is_empty() && !listed.contains(symbol) {
                warnings.push(format!("SYMBOLS holds {symbol}, which EQUITIES does not list"));
            }
        }
        warnings
    }
}

fn limits(reader: &mut Reader<'_>) -> Result<Limits, Reported> {
    let max_order_shares = reader.value("MAX_ORDER_SHARES");
    let max_order_notional = reader.value("MAX_ORDER_NOTIONAL");
    let max_orders_per_minute = reader.value("MAX_ORDERS_PER_MINUTE");
    let max_orders_per_day = reader.value("MAX_ORDERS_PER_DAY");
    let max_daily_notional = reader.value("MAX_DAILY_NOTIONAL");
    Ok(Limits {
        max_order_shares: max_order_shares?,
        max_order_notional: max_order_notional?,
        max_orders_per_minute: max_orders_per_minute?,
        max_orders_per_day: max_orders_per_day?,
        max_daily_notional: max_daily_notional?,
    })
}

impl Logs {
    /// Reads only `RUST_LOG` and `LOG_FORMAT`.
    ///
    /// # Errors
    /// When one of them is wrong.
    pub fn from_sources(sources: &dyn Sources) -> Result<Self, ConfigErrors> {
        Reader::of(sources, Self::read)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Reported> {
        let filter = reader.value::<LogFilter>("RUST_LOG");
        let format = reader.value("LOG_FORMAT");
        Ok(Self { filter: filter?.0, format: format? })
    }
}

/// A length of time as the engine counts it.
pub(crate) fn milliseconds(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Reads only `DATABASE_URL`: all that the reading verbs need.
///
/// # Errors
/// When it is wrong.
pub fn database(sources: &dyn Sources) -> Result<PathBuf, ConfigErrors> {
    Reader::of(sources, database_file)
}

/// What `SYMBOLS` and `EQUITIES` list, for a verb that must not fail because one of them is wrong: that lists nothing.
pub fn listed(sources: &dyn Sources) -> Listing {
    let symbols = Reader::of(sources, |reader| reader.optional("SYMBOLS"));
    let equities = Reader::of(sources, |reader| reader.optional::<Equities>("EQUITIES"));
    let equities = equities.unwrap_or_default().unwrap_or_default().tickers;
    Listing { symbols: symbols.unwrap_or_default(), equities, ..Listing::default() }
}

/// What a look at the tokens needs.
#[derive(Debug)]
pub struct TokenSettings {
    /// `WS_RPC_URL`.
    pub ws_rpc_url: SecretUrl,
    /// `SSL_CERT_FILE`.
    pub ssl_cert_file: Option<PathBuf>,
    /// `EQUITIES`.
    pub equities: BTreeMap<Address, Symbol>,
    /// `EQUITIES`: shares a token, where a person says so.
    pub ratios: BTreeMap<Address, Ratio>,
    /// `CASH`.
    pub cash: Option<Address>,
    /// `DATABASE_URL`, which may not be there yet.
    pub database: PathBuf,
}

/// Reads only what `bot tokens` needs.
///
/// # Errors
/// Everything of it that is missing or wrong.
pub fn token_settings(sources: &dyn Sources) -> Result<TokenSettings, ConfigErrors> {
    Reader::of(sources, |reader| {
        let ws_rpc_url = reader.value("WS_RPC_URL");
        let equities = reader.optional::<Equities>("EQUITIES").map(Option::unwrap_or_default);
        let cash = reader.optional("CASH");
        let database = database_file(reader);
        let ssl_cert_file = certificates(reader);
        let Equities { tickers, ratios } = equities?;
        Ok(TokenSettings {
            ws_rpc_url: ws_rpc_url?,
            ssl_cert_file: ssl_cert_file?,
            equities: tickers,
            ratios,
            cash: cash?,
            database: database?,
        })
    })
}

/// Reads only `LISTEN`: all that `bot health` needs.
///
/// # Errors
/// When it is wrong.
pub fn listen(sources: &dyn Sources) -> Result<SocketAddr, ConfigErrors> {
    Reader::of(sources, |reader| reader.value("LISTEN"))
}

fn database_file(reader: &mut Reader<'_>) -> Result<PathBuf, Reported> {
    reader.value::<Database>("DATABASE_URL").map(|database| database.0)
}

/// The file is looked into at once, so that `bot config check` finds a wrong path, and not the first TLS handshake.
fn certificates(reader: &mut Reader<'_>) -> Result<Option<PathBuf>, Reported> {
    let Some(File(path)) = reader.optional("SSL_CERT_FILE")? else { return Ok(None) };
    match certificates_in(reader.sources, &path) {
        Ok(()) => Ok(Some(path)),
        Err(why) => Err(reader.refuse("SSL_CERT_FILE", &why)),
    }
}

fn certificates_in(sources: &dyn Sources, path: &Path) -> Result<(), String> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let bytes = sources
        .read_file(path, CERTIFICATES_BYTES_MAX)
        .map_err(|error| format!("cannot be read: {error}"))?;
    let holds_one = bytes.windows(BEGIN.len()).any(|window| window == BEGIN);
    holds_one.then_some(()).ok_or_else(|| "holds no PEM certificate".to_owned())
}
