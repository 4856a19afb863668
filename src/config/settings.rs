//! The table of settings: every name the program reads, once.
//!
//! From it come the flags and `--help`, `.env.example`, `docs/reference/configuration.md`, `bot config show` and the
//! hints in error messages. It knows what a value looks like ([`Form`]) but not how to read one: that is
//! `values`. A setting that nothing reads yet does not belong here.
//!
//! Invariant: the order of this table is the order of every list that is made from it, the list of errors included.

use std::fmt;
use std::time::Duration;

use super::{BrokerKind, LogFormat, MarketHours, PaperSessions, QuoteFeed, TradingMode};

/// The highest block number and chain id taken: SQLite keeps signed 64-bit integers.
pub const NUMBER_MAX: u64 = i64::MAX.unsigned_abs();

/// Blocks are final to us after the window of 64; waiting for more would only be slower.
const CONFIRMATIONS_BLOCKS_MAX: u64 = 64;

/// No public node answers `eth_getLogs` for more.
const LOG_RANGE_BLOCKS_MAX: u64 = 1_000_000;

/// Every setting, by group, in the order in which they are shown.
pub static GROUPS: [Group; 4] = [
    Group {
        title: "Required",
        settings: &[
            required(
                "WS_RPC_URL",
                Form::Url,
                "wss://rpc.example.com/v2/KEY",
                "The node's WebSocket address, key included; shown only as scheme and host",
            )
            .carrying(Carries::Key),
            required(
                "ORDERBOOK",
                Form::Addresses,
                "0xe522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D",
                "The Raindex order books to watch",
            ),
            required(
                "ORDER_OWNER",
                Form::Addresses,
                "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
                "The owners whose orders are hedged",
            ),
            required(
                "DEPLOYMENT_BLOCK",
                Form::Whole { min: 1, max: NUMBER_MAX },
                "41686926",
                "The first block to read; no order of yours was taken before it",
            ),
        ],
    },
    Group {
        title: "Chain",
        settings: &[
            optional(
                "CHAIN_ID",
                Form::Whole { min: 1, max: NUMBER_MAX },
                "8453",
                "The chain the node must be on; not checked where absent",
            ),
            optional(
                "EQUITIES",
                Form::Listing,
                "TSLA=0x1111111111111111111111111111111111111111",
                "Which token is which share, with *10 where a token is ten and its contract does not say so; without it each token's own symbol() decides",
            ),
            defaulted(
                "UNIT_JUMP_MAX",
                "20",
                Form::Whole { min: 1, max: 100_000 },
                "How far a vault's answers before and after a fill's block may differ, in percent; beyond it the ticker halts",
            ),
            optional(
                "CASH",
                Form::Address,
                "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
                "The token that is the dollar; without it the token whose symbol() is USDC",
            ),
            defaulted(
                "CONFIRMATIONS",
                "0",
                Form::Whole { min: 0, max: CONFIRMATIONS_BLOCKS_MAX },
                "Blocks on top of a fill before it is hedged; 0 hedges at once and undoes after a reorg",
            ),
            defaulted(
                "LOG_RANGE_BLOCKS",
                "1000",
                Form::Whole { min: 1, max: LOG_RANGE_BLOCKS_MAX },
                "Blocks per request while catching up; halved by itself where the node refuses",
            ),
            defaulted(
                "HEAD_AGE_MAX",
                "30s",
                Form::Span { min: Duration::from_secs(1), max: Duration::from_secs(3600) },
                "How long the chain's head may stand still before /readyz says so",
            ),
            optional(
                "HEDGE_FROM_BLOCK",
                Form::Whole { min: 0, max: NUMBER_MAX },
                "41700000",
                "Fills below this block are stored but not hedged; fixed at the ledger's birth",
            ),
            optional("SYMBOLS", Form::Tickers, "TSLA,AAPL", "The tickers of this shard; all where absent"),
        ],
    },
    Group {
        title: "Broker",
        settings: &[
            defaulted("BROKER", "paper", Form::Words(BrokerKind::WORDS), "Where the orders go"),
            optional(
                "ALPACA_API_KEY",
                Form::Secret,
                "PKXXXXXXXXXXXXXXXXXX",
                "The key id; needed for BROKER=alpaca",
            )
            .carrying(Carries::Secret),
            optional(
                "ALPACA_API_SECRET",
                Form::Secret,
                "SECRET",
                "The secret of that key; needed for BROKER=alpaca",
            )
            .carrying(Carries::Secret),
            defaulted(
                "ALPACA_TRADING_MODE",
                "paper",
                Form::Words(TradingMode::WORDS),
                "Alpaca's own paper trading, or live: money; each has keys of its own",
            ),
            defaulted(
                "ALPACA_FEED",
                "iex",
                Form::Words(QuoteFeed::WORDS),
                "Whose quotes Alpaca gives: iex is one exchange's and free, sip all exchanges' with a subscription, \
                 delayed_sip theirs of a quarter of an hour ago",
            ),
            optional(
                "APP_KEY",
                Form::Secret,
                "YOURAPPKEY",
                "The key of your application at Schwab; needed for BROKER=schwab",
            )
            .carrying(Carries::Secret),
            optional(
                "APP_SECRET",
                Form::Secret,
                "YOURAPPSECRET",
                "The secret of that application; needed for BROKER=schwab",
            )
            .carrying(Carries::Secret),
            optional(
                "REDIRECT_URI",
                Form::Callback,
                "https://127.0.0.1:8182",
                "The application's callback, byte for byte as it is registered; needed for auth login",
            ),
            optional(
                "ENCRYPTION_KEY",
                Form::EncryptionKey,
                "0000000000000000000000000000000000000000000000000000000000000000",
                "What the stored login is sealed with (openssl rand -hex 32); needed for BROKER=schwab",
            )
            .carrying(Carries::Secret),
            optional(
                "NEW_ENCRYPTION_KEY",
                Form::EncryptionKey,
                "1111111111111111111111111111111111111111111111111111111111111111",
                "The key that auth rekey seals with; a bot that was given it opens the login under either",
            )
            .carrying(Carries::Secret),
            optional(
                "LIVE_ACCOUNT",
                Form::LastDigits,
                "4321",
                "The last four characters of the account number; needed for live trading, and the broker must confirm them",
            ),
            optional(
                "BASE_URL",
                Form::HttpUrl,
                "https://paper-api.alpaca.markets",
                "The broker's server; its own where absent, and in live mode its own or this machine only",
            ),
            optional(
                "LOT",
                Form::Amount("shares"),
                "0.000000001",
                "Smallest quantity ordered at Alpaca; 1 with ALLOW_SHORT, else 0.000000001; paper and Schwab trade whole shares",
            ),
            defaulted(
                "MARKET_HOURS",
                "agreed",
                Form::Words(MarketHours::WORDS),
                "What opens a session of a real broker: agreed is its word and the built-in calendar's, broker its word alone",
            ),
            defaulted(
                "PAPER_SESSIONS",
                "always",
                Form::Words(PaperSessions::WORDS),
                "When the paper broker is open: around the clock or in the hours of the exchange",
            ),
            defaulted(
                "ALLOW_SHORT",
                "false",
                Form::Switch,
                "Whether a SELL may go below zero; always allowed at paper",
            ),
            optional(
                "APP_TAG",
                Form::Tag,
                "TA_janeexamplecom1700000001",
                "What the broker writes on orders of this application: best left unset, for it is learnt from the first order; at Schwab TA_, the letters of an e-mail address and ten digits, not the application's name",
            ),
            optional(
                "ABSENT_AFTER",
                Form::Span { min: Duration::from_secs(60), max: Duration::from_secs(7 * 24 * 3600) },
                "10m",
                "How long the broker's lists must lack a lost order before it counts as never placed; never where absent",
            ),
            defaulted(
                "MAX_PRICE_DEVIATION_BPS",
                "500",
                Form::Whole { min: 1, max: 100_000 },
                "How far a quote may lie from the fills, in hundredths of a percent; beyond it orders wait",
            ),
            defaulted(
                "MAX_ORDER_SHARES",
                "1000",
                Form::Amount("shares"),
                "Largest order in shares; a larger one is cut and the rest follows",
            ),
            defaulted(
                "MAX_ORDER_NOTIONAL",
                "250000",
                Form::Amount("dollars"),
                "Largest order in dollars; a larger one is cut and the rest follows",
            ),
            defaulted(
                "MAX_ORDERS_PER_MINUTE",
                "60",
                Form::Whole { min: 1, max: 100_000 },
                "Orders in any minute; more wait",
            ),
            defaulted(
                "MAX_ORDERS_PER_DAY",
                "4000",
                Form::Whole { min: 1, max: 1_000_000 },
                "Orders in any day; more wait",
            ),
            defaulted(
                "MAX_DAILY_NOTIONAL",
                "5000000",
                Form::Amount("dollars"),
                "Dollars ordered in any day; more wait",
            ),
            defaulted(
                "UNHEDGED_ALERT_AFTER",
                "60s",
                Form::Span { min: Duration::from_secs(1), max: Duration::from_secs(3600) },
                "How long a lot or more may be without an order at work in an open session before /readyz and an alert say so",
            ),
        ],
    },
    Group {
        title: "Process",
        settings: &[
            defaulted(
                "DATABASE_URL",
                "sqlite:bot.db",
                Form::Database,
                "The ledger's file; bot run makes it when it is not there",
            ),
            defaulted("LISTEN", "127.0.0.1:8080", Form::Socket, "Where health and metrics are served"),
            optional(
                "ALERT_WEBHOOK_URL",
                Form::Webhook,
                "https://hooks.example.com/services/KEY",
                "Where alerts are posted as JSON ({\"text\": …}, as Slack takes them); shown only as scheme and host",
            )
            .carrying(Carries::Key),
            optional(
                "HEARTBEAT_URL",
                Form::Webhook,
                "https://heartbeat.example.com/ping/KEY",
                "An address asked (GET) once a minute while the bot is ready; shown only as scheme and host",
            )
            .carrying(Carries::Key),
            defaulted("RUST_LOG", "info", Form::Filter, "What is logged"),
            defaulted(
                "LOG_FORMAT",
                "auto",
                Form::Words(LogFormat::WORDS),
                "How it is logged: auto is text, json is one object a line",
            ),
            optional(
                "SSL_CERT_FILE",
                Form::File,
                "/etc/ssl/certs/ca-certificates.crt",
                "Trusted certificate authorities (PEM) for every TLS connection; the system's where absent",
            ),
        ],
    },
];

/// Settings that belong together.
#[derive(Debug)]
pub struct Group {
    /// Heading.
    pub title: &'static str,
    /// In the order in which they are shown.
    pub settings: &'static [Setting],
}

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// Whether it must be given.
    pub need: Need,
    /// What a value looks like.
    pub form: Form,
    /// A value of that form; the default where there is one.
    pub example: &'static str,
    /// One sentence, without a full stop.
    pub help: &'static str,
    /// How its value may be shown.
    pub carries: Carries,
}

/// Whether a setting must be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// `bot run` refuses to start without it.
    Required,
    /// Without it this holds.
    Default(&'static str),
    /// Without it there is none.
    Optional,
}

/// How a value may be shown, and where it may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Nothing to hide.
    Nothing,
    /// A key inside a URL: shown as scheme and host; also as `NAME_FILE` or a systemd credential.
    Key,
    /// A secret: never shown, no flag; also as `NAME_FILE` or a systemd credential.
    Secret,
}

/// What a value looks like. Its `Display` completes the sentence "… is not …".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The address of a WebSocket.
    Url,
    /// The address of a web server.
    HttpUrl,
    /// The address of one page of a web server.
    Webhook,
    /// A key.
    Secret,
    /// A key to seal with.
    EncryptionKey,
    /// Where a browser is sent after a login.
    Callback,
    /// The end of an account number.
    LastDigits,
    /// One address on the chain.
    Address,
    /// Several.
    Addresses,
    /// Tickers with the addresses of their tokens.
    Listing,
    /// Tickers.
    Tickers,
    /// A whole number, both ends included; a `max` of [`NUMBER_MAX`] is not worth saying.
    Whole {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A length of time, both ends included.
    Span {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// A decimal number above zero, of this unit.
    Amount(&'static str),
    /// One of these words.
    Words(&'static [&'static str]),
    /// Yes or no.
    Switch,
    /// A name that a broker writes on orders.
    Tag,
    /// Where to listen.
    Socket,
    /// A SQLite file.
    Database,
    /// Any other file.
    File,
    /// What `env_logger` takes.
    Filter,
}

impl Form {
    /// The word for a value in usage lines.
    #[must_use]
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Url | Self::HttpUrl | Self::Webhook | Self::Callback => "URL",
            Self::Secret | Self::EncryptionKey => "KEY",
            Self::LastDigits => "DIGITS",
            Self::Address => "ADDRESS",
            Self::Addresses => "ADDRESSES",
            Self::Listing => "TICKER=ADDRESS",
            Self::Tickers => "TICKERS",
            Self::Whole { .. } | Self::Amount(_) => "NUMBER",
            Self::Span { .. } => "TIME",
            Self::Words(_) => "WORD",
            Self::Tag => "TAG",
            Self::Switch => "BOOL",
            Self::Socket => "IP:PORT",
            Self::Database | Self::File => "FILE",
            Self::Filter => "FILTER",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => f.write_str("a ws:// or wss:// URL"),
            Self::HttpUrl => {
                f.write_str("an https:// URL of scheme, host and port (http:// to this machine only)")
            }
            Self::Webhook => f.write_str("an https:// URL (http:// to this machine only)"),
            Self::Secret => f.write_str("a key (printable, without spaces)"),
            Self::EncryptionKey => f.write_str("64 hex digits"),
            Self::Callback => f.write_str("an https:// URL of at most 255 characters, without a query"),
            Self::LastDigits => f.write_str("the last four characters of an account number"),
            Self::Address => f.write_str("an address (0x and 40 hex digits)"),
            Self::Addresses => f.write_str("a comma-separated list of addresses"),
            Self::Listing => f.write_str("a comma-separated list of TICKER=address[*ratio]"),
            Self::Tickers => f.write_str("a comma-separated list of tickers"),
            Self::Whole { min, max: NUMBER_MAX } => write!(f, "a whole number, {min} or more"),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Span { min, max } => {
                write!(f, "a time from {} to {} (such as 500ms, 30s or 2m)", Span(*min), Span(*max))
            }
            Self::Amount(unit) => write!(f, "a number of {unit} above 0"),
            Self::Words(words) => f.write_str(&words.join(" or ")),
            Self::Tag => f.write_str("a tag of 1 to 64 printable characters"),
            Self::Switch => f.write_str("true or false"),
            Self::Socket => f.write_str("an IP address and a port"),
            Self::Database => f.write_str("a file: sqlite:PATH, sqlite:///ABSOLUTE/PATH or PATH"),
            Self::File => f.write_str("a file's path"),
            Self::Filter => {
                f.write_str("a level (off, error, warn, info, debug, trace) or a list of target=level")
            }
        }
    }
}

/// A time in the largest unit that keeps it whole, as it is typed.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_millis() {
            ms if ms % 3_600_000 == 0 => write!(f, "{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => write!(f, "{}m", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{ms}ms"),
        }
    }
}

impl Setting {
    /// The same name as a flag, without the dashes: `WS_RPC_URL` is `ws-rpc-url`. Secrets have none.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        match self.carries {
            Carries::Secret => None,
            Carries::Nothing | Carries::Key => Some(self.name.to_lowercase().replace('_', "-")),
        }
    }

    /// The variable that names a file with the value, for what should not stand in an environment.
    #[must_use]
    pub fn file_variable(&self) -> Option<String> {
        match self.carries {
            Carries::Nothing => None,
            Carries::Key | Carries::Secret => Some(format!("{}_FILE", self.name)),
        }
    }

    const fn carrying(mut self, carries: Carries) -> Self {
        self.carries = carries;
        self
    }
}

/// Every setting, in the table's order.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}

/// The setting of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

const fn required(name: &'static str, form: Form, example: &'static str, help: &'static str) -> Setting {
    Setting { name, need: Need::Required, form, example, help, carries: Carries::Nothing }
}

const fn defaulted(name: &'static str, default: &'static str, form: Form, help: &'static str) -> Setting {
    Setting { name, need: Need::Default(default), form, example: default, help, carries: Carries::Nothing }
}

const fn optional(name: &'static str, form: Form, example: &'static str, help: &'static str) -> Setting {
    Setting { name, need: Need::Optional, form, example, help, carries: Carries::Nothing }
}
