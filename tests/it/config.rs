//! The configuration as a whole: every row of the table is read, every error is told, no key is shown.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::Address;
use counterfill::config::settings::{self, Carries, Need};
use counterfill::config::{
    self, Config, LogFormat, MarketHours, Origin, PaperSessions, Sources, TradingMode, documents, listing,
};
use counterfill::units::{Cash, Shares};

const BOOK: &str = "0xe522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D";
const OWNER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const USDC: &str = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913";

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

/// Flags, environment and files, made up.
#[derive(Default)]
struct Given {
    flags: BTreeMap<String, String>,
    variables: BTreeMap<String, OsString>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    asked: RefCell<BTreeSet<String>>,
}

impl Given {
    /// The four that are required, and nothing else.
    fn complete() -> Self {
        Self::default()
            .variable("WS_RPC_URL", "wss://rpc.example.com/v2/KEY")
            .variable("ORDERBOOK", BOOK)
            .variable("ORDER_OWNER", OWNER)
            .variable("DEPLOYMENT_BLOCK", "100")
    }

    fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.insert(name.to_owned(), value.to_owned());
        self
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.into(), content.into());
        self
    }

    fn config(&self) -> Config {
        Config::from_sources(self).unwrap()
    }

    /// `(variable, what is wrong)` of every problem.
    fn problems(&self) -> Vec<(&'static str, String)> {
        let errors = Config::from_sources(self).expect_err("a configuration with errors");
        errors.problems().iter().map(|problem| (problem.name, problem.wrong.clone())).collect()
    }
}

impl Sources for Given {
    fn flag(&self, name: &str) -> Option<String> {
        self.flags.get(name).cloned()
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        self.asked.borrow_mut().insert(name.to_owned());
        self.variables.get(name).cloned()
    }

    fn variable_names(&self) -> Vec<String> {
        self.variables.keys().cloned().collect()
    }

    fn read_file(&self, path: &Path, _bytes_max: u64) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

#[test]
fn the_four_required_settings_are_enough() {
    let config = Given::complete().config();
    assert_eq!(config.ws_rpc_url.expose(), "wss://rpc.example.com/v2/KEY");
    assert_eq!(config.orderbooks, [address(BOOK)]);
    assert_eq!(config.owners, [address(OWNER)]);
    assert_eq!(config.deployment_block, 100);
    assert_eq!(config.chain_id, None);
    assert!(config.equities.is_empty());
    assert_eq!(config.cash, None);
    assert_eq!(config.confirmations, 0);
    assert_eq!(config.log_range_blocks, 1_000);
    assert_eq!(config.head_age_max, Duration::from_secs(30));
    assert_eq!(config.hedge_from_block, None);
    assert_eq!(config.symbols, None);
    assert_eq!(config.broker.as_str(), "paper");
    assert_eq!(config.paper_sessions, PaperSessions::Always);
    assert!(!config.allow_short);
    assert_eq!(config.limits.max_order_shares, Shares::whole(1_000));
    assert_eq!(config.limits.max_order_notional, Cash::whole(250_000));
    assert_eq!(config.limits.max_orders_per_minute, 60);
    assert_eq!(config.limits.max_orders_per_day, 4_000);
    assert_eq!(config.limits.max_daily_notional, Cash::whole(5_000_000));
    assert_eq!(config.database, Path::new("bot.db"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.log_filter, "info");
    assert_eq!(config.log_format, LogFormat::Auto);
    assert_eq!(config.ssl_cert_file, None);
}

#[test]
fn every_row_of_the_table_is_read_and_nothing_else() {
    let given = Given::complete();
    given.config();
    // Where a setting is read from no file, that nobody believes so.
    let files = settings::all().map(|setting| format!("{}_FILE", setting.name));
    let mut known: BTreeSet<String> =
        settings::all().map(|setting| setting.name.to_owned()).chain(files).collect();
    known.insert("CREDENTIALS_DIRECTORY".to_owned());
    assert_eq!(*given.asked.borrow(), known);
    assert_eq!(
        settings::all().map(|setting| setting.name).collect::<BTreeSet<_>>().len(),
        settings::all().count()
    );
}

#[test]
fn every_example_of_the_table_is_accepted() {
    let mut given =
        Given::default().file("/etc/ssl/certs/ca-certificates.crt", "-----BEGIN CERTIFICATE-----");
    for setting in settings::all() {
        given = given.variable(setting.name, setting.example);
    }
    let config = given.config();
    assert_eq!(config.chain_id, Some(8453));
    assert_eq!(config.equities.len(), 1);
    assert_eq!(config.cash, Some(address(USDC)));
    assert_eq!(config.symbols.unwrap().len(), 2);
    assert!(config.ssl_cert_file.is_some());
}

#[test]
fn nothing_given_names_all_four() {
    let missing: Vec<_> = Given::default().problems();
    let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["WS_RPC_URL", "ORDERBOOK", "ORDER_OWNER", "DEPLOYMENT_BLOCK"]);
    assert!(missing.iter().all(|(_, wrong)| wrong == "is missing"), "{missing:?}");
}

#[test]
fn an_empty_value_is_a_missing_one() {
    let mut given = Given::default();
    for setting in settings::all() {
        given = given.variable(setting.name, "").flag(setting.name, "");
    }
    given = given.variable("WS_RPC_URL_FILE", "").variable("CREDENTIALS_DIRECTORY", "");
    assert_eq!(given.problems(), Given::default().problems());
}

/// One wrong value each: variable, value, what is said of it.
const WRONG: &[(&str, &str, &str)] = &[
    (
        "WS_RPC_URL",
        "https://rpc.example.com/KEY",
        "its value begins with http; subscriptions need the node's ws:// or wss:// URL",
    ),
    ("WS_RPC_URL", "ftp://rpc.example.com/KEY", "its value has a scheme that is neither ws nor wss"),
    ("WS_RPC_URL", "rpc.example.com", "its value is not a ws:// or wss:// URL"),
    (
        "WS_RPC_URL",
        "\"wss://rpc.example.com\"",
        "its value is not a ws:// or wss:// URL; the quotes are read as part of the value: leave them out",
    ),
    ("WS_RPC_URL", "wss://:8080/", "its value is not a ws:// or wss:// URL"),
    ("WS_RPC_URL", "wss://node:port/", "its value is not a ws:// or wss:// URL"),
    (
        "WS_RPC_URL",
        "wss://user:12/34@node",
        "its value has an @ after its host; write a / in a user or password as %2F and an @ in a path as %40",
    ),
    ("ORDERBOOK", "0x1234", "`0x1234` is not an address (0x and 40 hex digits)"),
    (
        "ORDERBOOK",
        "0x123456781234567812345678123456781234567g",
        "`0x123456781234567812345678123456781234567g` is not an address (0x and 40 hex digits)",
    ),
    (
        "ORDERBOOK",
        "e522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D",
        "`e522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D` is not an address (0x and 40 hex digits)",
    ),
    (
        "ORDERBOOK",
        "0xE522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D",
        "`0xE522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D` fails its checksum: a character is mistyped, copy it again",
    ),
    (
        "ORDERBOOK",
        "0x0000000000000000000000000000000000000000",
        "`0x0000000000000000000000000000000000000000` is the zero address, which is nobody's",
    ),
    (
        "ORDER_OWNER",
        "0x1111111111111111111111111111111111111111,",
        "`0x1111111111111111111111111111111111111111,` has an empty entry beside a comma",
    ),
    (
        "ORDER_OWNER",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8,0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
        "`0x70997970c51812dc3a010c7d01b50e0d17dc79c8` is there twice",
    ),
    ("DEPLOYMENT_BLOCK", "0", "`0` is not a whole number, 1 or more"),
    ("DEPLOYMENT_BLOCK", "1_000", "`1_000` is not a whole number, 1 or more"),
    ("DEPLOYMENT_BLOCK", "+1", "`+1` is not a whole number, 1 or more"),
    ("DEPLOYMENT_BLOCK", "9223372036854775808", "`9223372036854775808` is not a whole number, 1 or more"),
    (
        "DEPLOYMENT_BLOCK",
        "99999999999999999999999",
        "`99999999999999999999999` is not a whole number, 1 or more",
    ),
    ("CHAIN_ID", "base", "`base` is not a whole number, 1 or more"),
    ("EQUITIES", "TSLA", "`TSLA` is not of the form TICKER=address or TICKER=address*ratio"),
    (
        "EQUITIES",
        "TSLA=0x1111111111111111111111111111111111111111*0",
        "`0` is no ratio of shares a token (10, 0.1 or 3/2)",
    ),
    ("UNIT_JUMP_MAX", "0", "`0` is not a whole number from 1 to 100000"),
    (
        "EQUITIES",
        "tsla=0x1111111111111111111111111111111111111111",
        "`tsla` is not a ticker (1 to 12 capital letters, digits, '.', '-' or '/', beginning with a letter)",
    ),
    ("EQUITIES", "TSLA=0x11", "`0x11` is not an address (0x and 40 hex digits)"),
    (
        "EQUITIES",
        "TSLA=0x1111111111111111111111111111111111111111,AAPL=0x1111111111111111111111111111111111111111",
        "`0x1111111111111111111111111111111111111111` is listed both as TSLA and as AAPL",
    ),
    ("CASH", "USDC", "`USDC` is not an address (0x and 40 hex digits)"),
    ("CONFIRMATIONS", "65", "`65` is not a whole number from 0 to 64"),
    ("CONFIRMATIONS", "-1", "`-1` is not a whole number from 0 to 64"),
    ("LOG_RANGE_BLOCKS", "0", "`0` is not a whole number from 1 to 1000000"),
    ("HEAD_AGE_MAX", "30", "`30` is not a time from 1s to 1h (such as 500ms, 30s or 2m)"),
    ("HEAD_AGE_MAX", "1d", "`1d` is not a time from 1s to 1h (such as 500ms, 30s or 2m)"),
    ("HEAD_AGE_MAX", "999ms", "`999ms` is not a time from 1s to 1h (such as 500ms, 30s or 2m)"),
    (
        "HEAD_AGE_MAX",
        "99999999999999999h",
        "`99999999999999999h` is not a time from 1s to 1h (such as 500ms, 30s or 2m)",
    ),
    ("HEDGE_FROM_BLOCK", "latest", "`latest` is not a whole number, 0 or more"),
    (
        "SYMBOLS",
        "TSLA,aapl",
        "`aapl` is not a ticker (1 to 12 capital letters, digits, '.', '-' or '/', beginning with a letter)",
    ),
    ("SYMBOLS", "TSLA,TSLA", "`TSLA` is there twice"),
    ("SYMBOLS", "BRK.B,BRK/B", "`BRK/B` is there twice"),
    ("BROKER", "Schwab", "`Schwab` is not a broker; use paper or alpaca or schwab"),
    ("BROKER", "Paper", "`Paper` is not a broker; use paper or alpaca or schwab"),
    ("ALPACA_API_KEY", "a key", "its value is not a key (printable, without spaces)"),
    ("ALPACA_API_SECRET", "a\u{e9}", "its value is not a key (printable, without spaces)"),
    ("ALPACA_TRADING_MODE", "real", "`real` is not paper or live"),
    ("ALPACA_FEED", "nasdaq", "`nasdaq` is not iex or sip or delayed_sip"),
    ("APP_KEY", "a key", "its value is not a key (printable, without spaces)"),
    ("APP_SECRET", "a\u{e9}", "its value is not a key (printable, without spaces)"),
    (
        "REDIRECT_URI",
        "http://127.0.0.1:8182",
        "`http://127.0.0.1:8182` is not an https:// URL of at most 255 characters, without a query",
    ),
    (
        "REDIRECT_URI",
        "https://127.0.0.1:8182/?code=x",
        "`https://127.0.0.1:8182/?code=x` is not an https:// URL of at most 255 characters, without a query",
    ),
    (
        "REDIRECT_URI",
        "https://127.0.0.1,https://127.0.0.1:8182",
        "`https://127.0.0.1,https://127.0.0.1:8182` holds a comma: of the callbacks that are registered name the one to be used",
    ),
    (
        "REDIRECT_URI",
        "https://a b",
        "`https://a b` is not an https:// URL of at most 255 characters, without a query",
    ),
    (
        "REDIRECT_URI",
        "https://me@127.0.0.1",
        "`https://me@127.0.0.1` is not an https:// URL of at most 255 characters, without a query",
    ),
    ("ENCRYPTION_KEY", "1234", "its value is not 64 hex digits"),
    (
        "ENCRYPTION_KEY",
        "0x00000000000000000000000000000000000000000000000000000000000000",
        "its value is not 64 hex digits",
    ),
    (
        "NEW_ENCRYPTION_KEY",
        "g000000000000000000000000000000000000000000000000000000000000000",
        "its value is not 64 hex digits",
    ),
    ("LIVE_ACCOUNT", "12345", "`12345` is not the last four characters of an account number"),
    ("LIVE_ACCOUNT", "12-4", "`12-4` is not the last four characters of an account number"),
    (
        "BASE_URL",
        "https://a b",
        "`https://a b` is not an https:// URL of scheme, host and port (http:// to this machine only)",
    ),
    (
        "BASE_URL",
        "paper-api.alpaca.markets",
        "`paper-api.alpaca.markets` is not an https:// URL of scheme, host and port (http:// to this machine only)",
    ),
    (
        "BASE_URL",
        "https://paper-api.alpaca.markets/v2",
        "`https://paper-api.alpaca.markets/v2` is not an https:// URL of scheme, host and port (http:// to this machine only)",
    ),
    (
        "BASE_URL",
        "https://user@paper-api.alpaca.markets",
        "`…@…` names a user or a password; the broker's keys have settings of their own",
    ),
    (
        "BASE_URL",
        "ftp://127.0.0.1",
        "`ftp://127.0.0.1` is not an https:// URL of scheme, host and port (http:// to this machine only)",
    ),
    (
        "BASE_URL",
        "http://10.0.0.1:8080",
        "`http://10.0.0.1:8080` would carry your keys in clear; use https://",
    ),
    ("LOT", "0", "`0` is not a number of shares above 0"),
    ("MARKET_HOURS", "always", "`always` is not agreed or broker"),
    ("PAPER_SESSIONS", "sometimes", "`sometimes` is not always or nyse"),
    ("ALLOW_SHORT", "yes", "`yes` is not true or false"),
    ("ABSENT_AFTER", "59s", "`59s` is not a time from 1m to 168h (such as 500ms, 30s or 2m)"),
    ("MAX_PRICE_DEVIATION_BPS", "0", "`0` is not a whole number from 1 to 100000"),
    ("APP_TAG", "a\tb", "`a\\tb` is not a tag of 1 to 64 printable characters"),
    ("ABSENT_AFTER", "5s", "`5s` is not a time from 1m to 168h (such as 500ms, 30s or 2m)"),
    ("MAX_PRICE_DEVIATION_BPS", "5%", "`5%` is not a whole number from 1 to 100000"),
    ("MAX_ORDER_SHARES", "0", "`0` is not a number of shares above 0"),
    ("MAX_ORDER_SHARES", "1e3", "`1e3` is not a number of shares above 0"),
    ("MAX_ORDER_NOTIONAL", "-5", "`-5` is not a number of dollars above 0"),
    ("MAX_ORDERS_PER_MINUTE", "0", "`0` is not a whole number from 1 to 100000"),
    ("MAX_ORDERS_PER_DAY", "1.5", "`1.5` is not a whole number from 1 to 1000000"),
    ("MAX_DAILY_NOTIONAL", "$5", "`$5` is not a number of dollars above 0"),
    ("UNHEDGED_ALERT_AFTER", "60", "`60` is not a time from 1s to 1h (such as 500ms, 30s or 2m)"),
    ("DATABASE_URL", ":memory:", "`:memory:` keeps nothing: the ledger must be a file"),
    ("DATABASE_URL", "sqlite::memory:", "`sqlite::memory:` keeps nothing: the ledger must be a file"),
    ("DATABASE_URL", "sqlite://:memory:", "`sqlite://:memory:` keeps nothing: the ledger must be a file"),
    (
        "DATABASE_URL",
        "postgres://db/bot",
        "`postgres://db/bot` is not a file: sqlite:PATH, sqlite:///ABSOLUTE/PATH or PATH",
    ),
    (
        "DATABASE_URL",
        "file:bot.db",
        "`file:bot.db` is not a file: sqlite:PATH, sqlite:///ABSOLUTE/PATH or PATH",
    ),
    (
        "DATABASE_URL",
        "sqlite:bot.db?mode=rwc",
        "`sqlite:bot.db?mode=rwc` has options behind a `?`; there are none, leave them out",
    ),
    ("DATABASE_URL", "sqlite:", "`sqlite:` names no file"),
    ("DATABASE_URL", "sqlite:///data/", "`sqlite:///data/` names no file"),
    ("LISTEN", "8080", "`8080` is not an IP address and a port"),
    ("LISTEN", "localhost:8080", "`localhost:8080` is not an IP address and a port"),
    (
        "RUST_LOG",
        "inof",
        "`inof` is not a level (off, error, warn, info, debug, trace) or a list of target=level",
    ),
    (
        "RUST_LOG",
        "counterfill=loud",
        "`counterfill=loud` is not a level (off, error, warn, info, debug, trace) or a list of target=level",
    ),
    ("LOG_FORMAT", "xml", "`xml` is not auto or text or json"),
    (
        "ALERT_WEBHOOK_URL",
        "http://hooks.example.com/KEY",
        "its value would carry its key in clear; use https://",
    ),
    (
        "ALERT_WEBHOOK_URL",
        "https://user:KEY@hooks.example.com/",
        "its value has an @ in it; a receiver's key stands in the path, and an @ there is written %40",
    ),
    (
        "ALERT_WEBHOOK_URL",
        "hooks.example.com/KEY",
        "its value is not an https:// URL (http:// to this machine only)",
    ),
    (
        "HEARTBEAT_URL",
        "http://heartbeat.example.com/KEY",
        "its value would carry its key in clear; use https://",
    ),
    ("SSL_CERT_FILE", "/absent.pem", "`/absent.pem` cannot be read: entity not found"),
    ("SSL_CERT_FILE", "/not.pem", "`/not.pem` holds no PEM certificate"),
];

#[test]
fn every_wrong_value_is_told_with_its_place_and_a_way_out() {
    // All at once, tab-separated: variable, value, what is said instead.
    let mut others = Vec::new();
    for (name, value, said) in WRONG {
        let setting = settings::named(name).unwrap();
        for by_flag in [false, true] {
            let flag = setting.flag();
            if by_flag && flag.is_none() {
                assert_eq!(setting.carries, Carries::Secret);
                continue;
            }
            let given = Given::complete().variable("BROKER", "paper").file("/not.pem", "nothing");
            let given = if by_flag { given.flag(name, value) } else { given.variable(name, value) };
            let errors = Config::from_sources(&given).expect_err(value);
            let [problem] = errors.problems() else { panic!("{name}={value}: {errors}") };
            assert_eq!(problem.name, *name);
            if problem.wrong != *said {
                others.push(format!("{name}\t{value}\t{}", problem.wrong));
            }
            if let Some(flag) = flag.filter(|_| by_flag) {
                assert_eq!(problem.hint, format!("--{flag}={}", setting.example));
                assert_eq!(problem.origin, Some(Origin::Flag(flag)));
            } else {
                assert_eq!(problem.hint, format!("{name}={}", setting.example));
                assert_eq!(problem.origin, Some(Origin::Environment));
            }
        }
    }
    assert!(others.is_empty(), "other words:\n{}", others.join("\n"));
    let untested: Vec<_> = settings::all().filter(|s| WRONG.iter().all(|row| row.0 != s.name)).collect();
    assert!(untested.is_empty(), "no wrong value is tried for {untested:?}");
}

#[test]
fn everything_wrong_is_told_at_once_in_the_order_of_the_table() {
    let mut given = Given::complete();
    for (name, value, _) in WRONG {
        given = given.variable(name, value);
    }
    let told: Vec<_> = given.problems().into_iter().map(|(name, _)| name).collect();
    let expected: Vec<_> = settings::all().map(|setting| setting.name).collect();
    assert_eq!(told, expected);

    let given = Given::complete().variable("ORDERBOOK", "0x1,0x2,0x3");
    assert_eq!(given.problems().len(), 3, "every wrong entry of a list");
}

fn alpaca(more: &[(&str, &str)]) -> Given {
    let mut given = Given::complete()
        .variable("BROKER", "alpaca")
        .variable("ALPACA_API_KEY", "PKCANARY")
        .variable("ALPACA_API_SECRET", "SECRETCANARY");
    for (name, value) in more {
        given = given.variable(name, value);
    }
    given
}

#[test]
fn alpaca_needs_its_keys_and_live_trading_its_account() {
    let config = alpaca(&[]).config().alpaca.unwrap();
    assert_eq!((config.mode, config.lot.to_string().as_str()), (TradingMode::Paper, "0.000000001"));
    assert_eq!((config.base_url, config.live_account, config.hours), (None, None, MarketHours::Agreed));
    assert_eq!(config.key.expose().as_str(), "PKCANARY");
    assert!(Given::complete().config().alpaca.is_none());

    let names = |given: Given| given.problems().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let bare = Given::complete().variable("BROKER", "alpaca");
    assert_eq!(names(bare), ["ALPACA_API_KEY", "ALPACA_API_SECRET"]);
    let other = [("ALPACA_TRADING_MODE", "live"), ("ALPACA_API_KEY", "AKCANARY")];
    assert_eq!(names(alpaca(&other)), ["LIVE_ACCOUNT"]);
    let live = |url| {
        let live =
            [("ALPACA_TRADING_MODE", "live"), ("LIVE_ACCOUNT", "4321"), ("ALPACA_API_KEY", "AKCANARY")];
        alpaca(&live).variable("BASE_URL", url)
    };
    for url in
        ["https://api.alpaca.markets", "https://api.alpaca.markets/", "http://127.0.0.1:9", "https://[::1]:9"]
    {
        assert_eq!(live(url).config().alpaca.unwrap().live_account.as_deref(), Some("4321"), "{url}");
    }
    for url in [
        "https://paper-api.alpaca.markets",
        "https://api.alpaca.markets.example",
        "https://localhost.example",
    ] {
        assert_eq!(names(live(url)), ["BASE_URL"], "{url}");
        assert!(alpaca(&[("BASE_URL", url)]).config().alpaca.is_some(), "paper keys may go there: {url}");
    }
}

/// A key of the other mode would be refused by Alpaca only when the first order leaves.
#[test]
fn a_key_of_the_other_mode_is_refused() {
    let told = |mode: &str, key: &str| {
        let given =
            alpaca(&[("ALPACA_TRADING_MODE", mode), ("LIVE_ACCOUNT", "4321"), ("ALPACA_API_KEY", key)]);
        Config::from_sources(&given).err().map(|errors| errors.to_string()).unwrap_or_default()
    };
    for (mode, key) in [("live", "PKCANARY"), ("paper", "AKCANARY")] {
        let told = told(mode, key);
        assert!(
            told.contains("ALPACA_API_KEY") && told.contains(&format!("ALPACA_TRADING_MODE is {mode}")),
            "{told}"
        );
        assert!(!told.contains("CANARY"), "{told}");
    }
    for (mode, key) in
        [("live", "AKCANARY"), ("paper", "PKCANARY"), ("live", "CKCANARY"), ("paper", "CANARY")]
    {
        assert_eq!(told(mode, key), "", "{mode} {key}");
    }
}

/// With `BROKR=alpaca` orders would stay at paper, with `MAX_ORDER_SHARE=5` up to 1,000 shares would leave.
#[test]
fn a_misspelt_setting_is_refused_with_the_name_that_was_meant() {
    let given = Given::complete()
        .variable("BROKER", "paper")
        .variable("BROKR", "alpaca")
        .variable("MAX_ORDER_SHARE", "5")
        .variable("DATABASE_UR", "")
        .variable("PATH", "/usr/bin");
    let names: Vec<&str> = given.problems().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["BROKER", "MAX_ORDER_SHARES"]);
    let told = Config::from_sources(&given).unwrap_err().to_string();
    assert!(told.contains("  BROKER is perhaps meant by BROKR, which the environment holds"), "{told}");
    assert!(told.contains("MAX_ORDER_SHARES=… in place of MAX_ORDER_SHARE=…"), "{told}");
    assert!(!told.contains("alpaca"), "a value may be a key: {told}");
}

#[test]
fn a_brokers_keys_without_broker_do_not_stay_at_paper() {
    let told = |more: &[(&str, &str)]| {
        let given = more.iter().fold(Given::complete(), |given, (name, value)| given.variable(name, value));
        Config::from_sources(&given).err().map(|errors| errors.to_string()).unwrap_or_default()
    };
    let alpaca = told(&[("ALPACA_API_KEY", "PKCANARY"), ("ALPACA_API_SECRET", "CANARY")]);
    assert!(alpaca.contains("BROKER is not set, and ALPACA_API_KEY, ALPACA_API_SECRET is"), "{alpaca}");
    assert!(alpaca.contains("BROKER=alpaca, or BROKER=paper") && !alpaca.contains("CANARY"), "{alpaca}");
    assert!(told(&[("ALPACA_TRADING_MODE", "live")]).contains("BROKER=alpaca"));
    assert!(told(&[("LIVE_ACCOUNT", "4321")]).contains("BROKER=alpaca or schwab"));
    assert!(told(&[("APP_SECRET", "x")]).contains("BROKER=schwab"));
    // Whoever says paper means it, and is reminded.
    let paper = Given::complete().variable("BROKER", "paper").variable("ALPACA_TRADING_MODE", "live");
    let warnings = paper.config().warnings(&paper);
    assert!(
        warnings.iter().any(|warning| warning.contains("ALPACA_TRADING_MODE is set and not used")),
        "{warnings:?}"
    );
}

/// Real tags are TA_, the letters of an e-mail address, and ten digits; nobody can guess one.
#[test]
fn a_tag_that_schwab_does_not_write_is_doubted() {
    let doubted = |tag: &str| {
        let given = schwab(&[("APP_TAG", tag)]);
        given.config().warnings(&given).iter().any(|warning| warning.starts_with("APP_TAG has not the shape"))
    };
    for tag in
        ["TA_MyHedgeBot", "TA_my-desk", "TA_1700000001", "janeexamplecom1700000001", "TA_jane170000000"]
    {
        assert!(doubted(tag), "{tag}");
    }
    for tag in ["TA_janeexamplecom1700000001", ""] {
        assert!(!doubted(tag), "{tag}");
    }
    assert!(!doubted(settings::named("APP_TAG").unwrap().example));
}

fn schwab(more: &[(&str, &str)]) -> Given {
    let mut given = Given::complete()
        .variable("BROKER", "schwab")
        .variable("APP_KEY", "APPKEYCANARY")
        .variable("APP_SECRET", "APPSECRETCANARY")
        .variable("ENCRYPTION_KEY", &"Ca".repeat(32))
        .variable("LIVE_ACCOUNT", "4321");
    for (name, value) in more {
        given = given.variable(name, value);
    }
    given
}

#[test]
fn schwab_is_always_live_and_needs_its_application_its_account_and_a_key() {
    let config = schwab(&[]).config();
    assert!(config.alpaca.is_none() && Given::complete().config().schwab.is_none());
    let ours = config.schwab.unwrap();
    assert_eq!((ours.live_account.as_str(), ours.hours), ("4321", MarketHours::Agreed));
    assert_eq!(ours.application.key.expose().as_str(), "APPKEYCANARY");
    assert_eq!((ours.application.base_url, ours.keys.next.is_none()), (None, true));
    assert_eq!(*ours.keys.key.expose(), [0xca; 32]);

    let names = |given: Given| given.problems().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let bare = Given::complete().variable("BROKER", "schwab");
    assert_eq!(names(bare), ["APP_KEY", "APP_SECRET", "ENCRYPTION_KEY", "LIVE_ACCOUNT"]);
    for url in ["https://api.schwabapi.com", "https://127.0.0.1:9", "http://localhost:9"] {
        assert!(schwab(&[("BASE_URL", url)]).config().schwab.is_some(), "{url}");
    }
    for url in ["https://api.schwabapi.com.example", "https://api.schwabapi.com:444", "https://10.0.0.1"] {
        assert_eq!(names(schwab(&[("BASE_URL", url)])), ["BASE_URL"], "{url}");
    }
    assert_eq!(names(schwab(&[("LOT", "0.5")])), ["LOT"]);
    assert!(schwab(&[("LOT", "1")]).config().schwab.is_some());
    let (same, other) = ("ca".repeat(32), "cb".repeat(32));
    assert_eq!(names(schwab(&[("NEW_ENCRYPTION_KEY", &same)])), ["NEW_ENCRYPTION_KEY"]);
    assert!(schwab(&[("NEW_ENCRYPTION_KEY", &other)]).config().schwab.unwrap().keys.next.is_some());
}

#[test]
fn each_verb_about_the_login_needs_only_what_it_uses() {
    use counterfill::config::schwab::{Needed, login, rekey, vault};
    let told = |errors: config::ConfigErrors| {
        errors.problems().iter().map(|problem| problem.name).collect::<Vec<_>>().join(" ")
    };
    let bare = Given::default().variable("BROKER", "schwab").variable("CONFIRMATIONS", "nonsense");
    assert_eq!(told(login(&bare).unwrap_err()), "APP_KEY APP_SECRET REDIRECT_URI ENCRYPTION_KEY");
    assert_eq!(told(vault(&bare).unwrap_err()), "ENCRYPTION_KEY");
    assert_eq!(told(rekey(&bare).unwrap_err()), "ENCRYPTION_KEY NEW_ENCRYPTION_KEY");
    let key = "01".repeat(32);
    let keyed = bare.variable("ENCRYPTION_KEY", &key).variable("DATABASE_URL", "sqlite:///data/bot.db");
    let Needed::This(kept) = vault(&keyed).unwrap() else { panic!("schwab has a login") };
    assert_eq!(kept.path, Path::new("/data/login.db"));
    let keyed = keyed.variable("APP_KEY", "A").variable("APP_SECRET", "B").variable("LIVE_ACCOUNT", "4321");
    let keyed = keyed.variable("REDIRECT_URI", "https://127.0.0.1:8182/");
    let Needed::This(asked) = login(&keyed).unwrap() else { panic!("schwab has a login") };
    assert_eq!(
        (asked.callback.as_str(), asked.live_account.as_deref()),
        ("https://127.0.0.1:8182/", Some("4321"))
    );
    let paper = Given::default();
    assert!(matches!(login(&paper), Ok(Needed::Nothing(broker)) if broker.as_str() == "paper"));
}

#[test]
fn a_lot_is_what_alpaca_counts_in() {
    let lot = |more: &[(&str, &str)]| alpaca(more).config().alpaca.unwrap().lot.to_string();
    assert_eq!(lot(&[("LOT", "0.01")]), "0.01");
    assert_eq!(lot(&[("ALLOW_SHORT", "true")]), "1");
    assert_eq!(lot(&[("ALLOW_SHORT", "true"), ("LOT", "5")]), "5");
    for more in [&[("LOT", "0.0000000001")][..], &[("LOT", "0.5"), ("ALLOW_SHORT", "true")]] {
        let problems = alpaca(more).problems();
        assert_eq!((problems.len(), problems[0].0), (1, "LOT"), "{problems:?}");
    }
}

#[test]
fn no_secret_is_shown_anywhere() {
    let given = alpaca(&[("LIVE_ACCOUNT", "4321")]);
    let shown =
        format!("{:?} {:?} {:?}", given.config(), listing::rows(&given), given.config().warnings(&given));
    assert!(!shown.contains("CANARY"), "{shown}");
    let wrong = alpaca(&[("ALPACA_API_SECRET", "SECRET CANARY"), ("ALPACA_API_KEY", "")]);
    assert!(!Config::from_sources(&wrong).unwrap_err().to_string().contains("CANARY"));
    let twice = alpaca(&[("ALPACA_API_SECRET_FILE", "/secret")]).file("/secret", "SECRETCANARY\n");
    assert!(!Config::from_sources(&twice).unwrap_err().to_string().contains("CANARY"));
    let from_file = Given::complete()
        .variable("BROKER", "alpaca")
        .variable("ALPACA_API_KEY_FILE", "/key")
        .variable("ALPACA_API_SECRET_FILE", "/secret")
        .file("/key", "PKCANARY\n")
        .file("/secret", "SECRETCANARY\n");
    assert_eq!(from_file.config().alpaca.unwrap().secret.expose().as_str(), "SECRETCANARY");
}

#[test]
fn no_secret_of_schwab_is_shown_anywhere() {
    let (key, next) = ("ca".repeat(32), "cb".repeat(32));
    let given = schwab(&[("NEW_ENCRYPTION_KEY", &next), ("REDIRECT_URI", "https://127.0.0.1")]);
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        given.config(),
        listing::rows(&given),
        given.config().warnings(&given),
        config::schwab::login(&given)
    );
    let twice = schwab(&[("ENCRYPTION_KEY_FILE", "/key")]).file("/key", "cacaca");
    let wrong = schwab(&[("ENCRYPTION_KEY", &key[1..]), ("NEW_ENCRYPTION_KEY", &next[1..])]);
    let mut shown = shown + &Config::from_sources(&twice).unwrap_err().to_string();
    shown += &Config::from_sources(&wrong).unwrap_err().to_string();
    for secret in ["CANARY", "caca", "CaCa", "cbcb", "202, 202"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[test]
fn a_list_has_a_longest_length() {
    let symbols = |count: usize| {
        let list: Vec<String> = (0..count).map(|n| format!("T{n}")).collect();
        Given::complete().variable("SYMBOLS", &list.join(","))
    };
    assert_eq!(symbols(1_000).config().symbols.unwrap().len(), 1_000);
    let problems = symbols(1_001).problems();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].1.ends_with(" has more than 1000 entries"), "{problems:?}");
}

#[test]
fn cash_is_no_equity() {
    let given = Given::complete().variable("CASH", USDC).variable("EQUITIES", &format!("TSLA={USDC}"));
    let problems = given.problems();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].0, "CASH");
    assert!(problems[0].1.contains("is listed in EQUITIES too, as TSLA"), "{problems:?}");
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_default() {
    let given = Given::complete();
    assert_eq!(given.config().confirmations, 0);
    let given = given.variable("CONFIRMATIONS", "3");
    assert_eq!(given.config().confirmations, 3);
    let given = given.flag("CONFIRMATIONS", "5");
    assert_eq!(given.config().confirmations, 5);
    // A name that only holds one of ours is somebody else's.
    let given = given.variable("CONFIRMATIONS_SEEN", "7").variable("BOT_CONFIRMATIONS", "9");
    assert_eq!(given.config().confirmations, 5);
}

#[test]
fn a_url_may_come_from_a_file_or_a_credential() {
    let url = |given: &Given| given.config().ws_rpc_url.expose().to_owned();
    for (content, read) in [
        ("wss://a.example/KEY", "wss://a.example/KEY"),
        ("wss://a.example/KEY\n", "wss://a.example/KEY"),
        ("wss://a.example/KEY\r\n", "wss://a.example/KEY"),
    ] {
        let given = Given::complete().variable("WS_RPC_URL", "").variable("WS_RPC_URL_FILE", "/run/url");
        assert_eq!(url(&given.file("/run/url", content)), read);
        let given =
            Given::complete().variable("WS_RPC_URL", "").variable("CREDENTIALS_DIRECTORY", "/run/cred");
        assert_eq!(url(&given.file("/run/cred/WS_RPC_URL", content)), read);
    }
    // A credentials directory that holds other things only is no matter.
    let given = Given::complete().variable("CREDENTIALS_DIRECTORY", "/run/cred");
    assert_eq!(url(&given), "wss://rpc.example.com/v2/KEY");
}

#[test]
fn files_that_do_not_serve_are_told() {
    let with = |content: &[u8]| {
        Given::complete()
            .variable("WS_RPC_URL", "")
            .variable("WS_RPC_URL_FILE", "/run/url")
            .file("/run/url", content)
    };
    let told = |given: &Given| {
        let errors = Config::from_sources(given).unwrap_err();
        assert_eq!(errors.problems().len(), 1, "{errors}");
        errors.to_string()
    };
    assert!(told(&with(b"")).contains("WS_RPC_URL (file /run/url): is empty"));
    assert!(told(&with(b"\n")).contains("is empty"));
    assert!(told(&with(b"wss://\xff")).contains("is not UTF-8 text"));
    assert!(told(&with(b"wss://a.example/KEY\n\n")).contains("its value is not a ws:// or wss:// URL"));
    assert!(
        told(&with(b"x").variable("WS_RPC_URL_FILE", "/other")).contains("(file /other): cannot be read")
    );
    let twice = with(b"wss://a.example").variable("WS_RPC_URL", "wss://b.example");
    assert!(told(&twice).contains("is given twice: as WS_RPC_URL and as WS_RPC_URL_FILE; keep one"));
    let twice = with(b"wss://a.example")
        .variable("CREDENTIALS_DIRECTORY", "/run/cred")
        .file("/run/cred/WS_RPC_URL", "wss://b.example");
    assert!(told(&twice).contains("and as the credential /run/cred/WS_RPC_URL; keep one"));
    // A flag settles it.
    assert_eq!(
        twice.flag("WS_RPC_URL", "ws://[::1]:8545").config().ws_rpc_url.to_string(),
        "ws://[::1]:8545"
    );
}

#[test]
fn a_file_for_what_is_read_from_no_file_is_refused_and_not_passed_over() {
    for setting in settings::all() {
        let name = format!("{}_FILE", setting.name);
        let told = match Config::from_sources(&Given::complete().variable(&name, "/run/value")) {
            Ok(_) => panic!("{name} is passed over"),
            Err(errors) => errors.to_string(),
        };
        let wanted = match setting.file_variable() {
            Some(_) => "/run/value".to_owned(),
            None => format!(
                "{} is not read from a file (only what carries a key is): {name} must not be set",
                setting.name
            ),
        };
        assert!(told.contains(&wanted), "{told}");
    }
}

#[test]
#[cfg(unix)]
fn a_variable_that_is_not_text_is_told() {
    use std::os::unix::ffi::OsStringExt;
    let mut given = Given::complete();
    given.variables.insert("ORDERBOOK".to_owned(), OsString::from_vec(vec![0xff]));
    assert_eq!(given.problems(), [("ORDERBOOK", "is not UTF-8 text".to_owned())]);
}

#[test]
fn lists_addresses_and_files_are_read_in_every_allowed_form() {
    let lower = BOOK.to_lowercase();
    let upper = format!("0x{}", BOOK[2..].to_uppercase());
    for book in [BOOK, &lower, &upper] {
        assert_eq!(Given::complete().variable("ORDERBOOK", book).config().orderbooks, [address(BOOK)]);
    }
    let given = Given::complete().variable("ORDER_OWNER", &format!("{OWNER} , {BOOK}"));
    assert_eq!(given.config().owners.len(), 2);
    let two =
        "TSLA=0x1111111111111111111111111111111111111111, TSLA=0x2222222222222222222222222222222222222222";
    assert_eq!(Given::complete().variable("EQUITIES", two).config().equities.len(), 2, "plain and wrapped");
    for (text, path) in [
        ("sqlite:bot.db", "bot.db"),
        ("sqlite://bot.db", "bot.db"),
        ("sqlite:///data/bot.db", "/data/bot.db"),
        ("sqlite:/data/bot.db", "/data/bot.db"),
        ("/data/bot.db", "/data/bot.db"),
        ("data/bot.db", "data/bot.db"),
    ] {
        let given = Given::default().variable("DATABASE_URL", text);
        assert_eq!(config::database(&given).unwrap(), Path::new(path), "{text}");
    }
    for (text, span) in [("1s", 1_000), ("1500ms", 1_500), ("2m", 120_000), ("1h", 3_600_000)] {
        let config = Given::complete().variable("HEAD_AGE_MAX", text).config();
        assert_eq!(config.head_age_max, Duration::from_millis(span), "{text}");
    }
    for filter in ["off", "INFO", "warn,counterfill=debug", "counterfill::chain=trace, info"] {
        assert_eq!(Given::complete().variable("RUST_LOG", filter).config().log_filter, filter);
    }
}

#[test]
fn reading_verbs_and_health_need_no_other_setting() {
    let given = Given::default().variable("CONFIRMATIONS", "nonsense").variable("BROKER", "nobody");
    assert_eq!(config::database(&given).unwrap(), Path::new("bot.db"));
    assert_eq!(config::listen(&given).unwrap().port(), 8080);
    let errors = config::listen(&given.variable("LISTEN", "nowhere")).unwrap_err();
    assert_eq!(errors.problems().len(), 1);
}

#[test]
fn the_template_is_a_valid_environment_but_for_its_blanks() {
    let mut given =
        Given::default().file("/etc/ssl/certs/ca-certificates.crt", "-----BEGIN CERTIFICATE-----");
    let mut commented = Vec::new();
    for line in documents::env_example().lines() {
        // `#NAME=value` is a setting to be uncommented, `# …` is prose.
        let setting = line.strip_prefix('#').unwrap_or(line);
        if let Some((name, value)) =
            setting.split_once('=').filter(|(name, _)| settings::named(name).is_some())
        {
            given = given.variable(name, value);
            commented.push(name.to_owned());
        }
    }
    assert_eq!(commented, settings::all().map(|s| s.name).collect::<Vec<_>>());
    let blanks: Vec<_> = given.problems().into_iter().map(|(name, _)| name).collect();
    let required: Vec<_> =
        settings::all().filter(|s| s.need == Need::Required).map(|setting| setting.name).collect();
    assert_eq!(blanks, required);
}

#[test]
fn the_committed_documents_are_what_the_table_says() {
    let committed = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path));
    let example = committed(".env.example").unwrap();
    assert!(example == documents::env_example(), "run: bot config template > .env.example");
    let reference = committed("docs/reference/configuration.md").unwrap();
    assert!(
        reference == documents::markdown(),
        "run: bot config template --markdown > docs/reference/configuration.md"
    );
}

#[test]
fn no_key_is_shown_anywhere() {
    // User, password, path, query; and the same in every shape that is refused.
    let good = ["wss://CANARY:CANARY@rpc.example.com/v2/CANARY?key=CANARY", "ws://CANARY@10.0.0.1:1/CANARY"];
    let bad = [
        "https://CANARY:CANARY@rpc.example.com/CANARY",
        "wss//CANARY",
        "CANARY",
        "\"wss://rpc.example.com/CANARY\"",
        "wss://CANARY:1/CANARY@rpc.example.com",
        "wss://rpc.example.com/CANARY CANARY",
        "CANARY://rpc.example.com",
    ];
    let mut shown = String::new();
    for url in good.iter().chain(&bad) {
        let ways = [
            Given::complete().variable("WS_RPC_URL", url),
            Given::complete().flag("WS_RPC_URL", url),
            Given::complete().variable("WS_RPC_URL", "").variable("WS_RPC_URL_FILE", "/f").file("/f", *url),
            Given::complete().variable("WS_RPC_URL_FILE", "/f").file("/f", *url).variable("WS_RPC_URL", url),
        ];
        for given in ways {
            shown += &format!("{:?}\n", listing::rows(&given));
            match Config::from_sources(&given) {
                Ok(config) => {
                    shown += &format!(
                        "{config:?} {config:#?} {:?} {}",
                        config.warnings(&given),
                        config.ws_rpc_url
                    );
                }
                Err(errors) => shown += &format!("{errors:?} {errors:#?} {errors}"),
            }
        }
    }
    assert!(!shown.contains("CANARY"), "{shown}");
    assert!(shown.contains("wss://rpc.example.com"), "the host is shown");
}

#[test]
fn what_is_allowed_but_doubtful_is_a_warning() {
    let listed = format!("TSLA={OWNER}");
    let quiet = Given::complete()
        .variable("CHAIN_ID", "8453")
        .variable("CASH", USDC)
        .variable("EQUITIES", &listed)
        .variable("SYMBOLS", "TSLA");
    assert_eq!(quiet.config().warnings(&quiet), Vec::<String>::new());
    // Spelled in two ways, and one ticker.
    let listed_otherwise = format!("BRK/B={OWNER}");
    let spelled = quiet.variable("EQUITIES", &listed_otherwise).variable("SYMBOLS", "BRK-B");
    assert_eq!(spelled.config().warnings(&spelled), Vec::<String>::new());
    let loud = Given::complete()
        .flag("WS_RPC_URL", "ws://rpc.example.com")
        .variable("MAX_ORDER_SHARES", "0.5")
        .variable("HEDGE_FROM_BLOCK", "100");
    let warnings = loud.config().warnings(&loud).join("\n");
    for name in ["a flag", "in clear", "CHAIN_ID", "EQUITIES", "CASH", "HEDGE_FROM_BLOCK", "MAX_ORDER_SHARES"]
    {
        assert!(warnings.contains(name), "{name}: {warnings}");
    }
    let known = settings::named("ENCRYPTION_KEY").unwrap().example;
    for (key, said) in [(known, true), (&"ca".repeat(32), false)] {
        let given = schwab(&[("ENCRYPTION_KEY", key)]);
        assert_eq!(given.config().warnings(&given).join("\n").contains("openssl rand -hex 32"), said);
    }
    let other = Given::complete().variable("EQUITIES", &listed).variable("SYMBOLS", "TSLA,GME");
    assert!(
        other
            .config()
            .warnings(&other)
            .contains(&"SYMBOLS holds GME, which EQUITIES does not list".to_owned())
    );
}

#[test]
fn what_carries_a_key_can_be_kept_out_of_the_environment() {
    for setting in settings::all() {
        assert_eq!(
            setting.file_variable().is_some(),
            setting.carries != Carries::Nothing,
            "{}",
            setting.name
        );
        assert_eq!(setting.flag().is_none(), setting.carries == Carries::Secret, "{}", setting.name);
        assert!(!setting.help.ends_with('.'), "{}", setting.name);
    }
}

#[test]
fn the_webhooks_key_is_shown_nowhere() {
    let urls = [
        "https://hooks.example.com/services/CANARY?x=CANARY",
        "http://127.0.0.1:9000/CANARY",
        "http://hooks.example.com/CANARY",
        "https://CANARY:CANARY@hooks.example.com/CANARY",
        "hooks.example.com/CANARY",
        "CANARY",
    ];
    let mut shown = String::new();
    for url in urls {
        for given in [
            Given::complete().variable("ALERT_WEBHOOK_URL", url),
            Given::complete().flag("ALERT_WEBHOOK_URL", url),
            Given::complete().variable("ALERT_WEBHOOK_URL_FILE", "/f").file("/f", url),
        ] {
            shown += &format!("{:?}\n", listing::rows(&given));
            match Config::from_sources(&given) {
                Ok(config) => shown += &format!("{config:?} {:?}\n", config.warnings(&given)),
                Err(errors) => shown += &format!("{errors:?} {errors}\n"),
            }
        }
    }
    assert!(!shown.contains("CANARY"), "{shown}");
    assert!(shown.contains("https://hooks.example.com"), "the host is shown");
    assert!(shown.contains("ALERT_WEBHOOK_URL is a flag: other users"), "{shown}");
    let url = Given::complete().variable("ALERT_WEBHOOK_URL", urls[0]).config().alert_webhook_url.unwrap();
    assert_eq!((url.base(), url.expose_path()), ("https://hooks.example.com", "/services/CANARY?x=CANARY"));
}
