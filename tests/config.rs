//! The configuration as a whole: every row of the table is read, every error is told, no key is shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::Address;
use counterfill::config::settings::{self, Carries, Need};
use counterfill::config::{self, Config, LogFormat, Origin, PaperSessions, Sources, documents, listing};
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
    let files = settings::all().filter_map(settings::Setting::file_variable);
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
    ("WS_RPC_URL", "https://rpc.example.com/KEY", "its value begins with http; subscriptions need"),
    ("WS_RPC_URL", "ftp://rpc.example.com/KEY", "its value has a scheme that is neither ws nor wss"),
    ("WS_RPC_URL", "rpc.example.com", "its value is not a ws:// or wss:// URL"),
    ("WS_RPC_URL", "\"wss://rpc.example.com\"", "its value is not a ws:// or wss:// URL; the quotes are"),
    ("ORDERBOOK", "0x1234", "`0x1234` is not an address"),
    ("ORDERBOOK", "e522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D", "is not an address"),
    ("ORDERBOOK", "0xE522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D", "fails its checksum"),
    ("ORDERBOOK", "0x0000000000000000000000000000000000000000", "is the zero address"),
    ("ORDER_OWNER", "0x1111111111111111111111111111111111111111,", "has an empty entry"),
    (
        "ORDER_OWNER",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8,0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
        "`0x70997970c51812dc3a010c7d01b50e0d17dc79c8` is there twice",
    ),
    ("DEPLOYMENT_BLOCK", "0", "`0` is not a whole number, 1 or more"),
    ("DEPLOYMENT_BLOCK", "1_000", "`1_000` is not a whole number"),
    ("DEPLOYMENT_BLOCK", "+1", "`+1` is not a whole number"),
    ("DEPLOYMENT_BLOCK", "9223372036854775808", "is not a whole number"),
    ("DEPLOYMENT_BLOCK", "99999999999999999999999", "is not a whole number"),
    ("CHAIN_ID", "base", "`base` is not a whole number, 1 or more"),
    ("EQUITIES", "TSLA", "`TSLA` is not of the form TICKER=address"),
    ("EQUITIES", "tsla=0x1111111111111111111111111111111111111111", "`tsla` is not a ticker"),
    ("EQUITIES", "TSLA=0x11", "`0x11` is not an address"),
    (
        "EQUITIES",
        "TSLA=0x1111111111111111111111111111111111111111,AAPL=0x1111111111111111111111111111111111111111",
        "is listed both as TSLA and as AAPL",
    ),
    ("CASH", "USDC", "`USDC` is not an address"),
    ("CONFIRMATIONS", "65", "`65` is not a whole number from 0 to 64"),
    ("CONFIRMATIONS", "-1", "`-1` is not a whole number from 0 to 64"),
    ("LOG_RANGE_BLOCKS", "0", "`0` is not a whole number from 1 to 1000000"),
    ("HEAD_AGE_MAX", "30", "`30` is not a time from 1s to 1h"),
    ("HEAD_AGE_MAX", "1d", "`1d` is not a time from 1s to 1h"),
    ("HEAD_AGE_MAX", "999ms", "`999ms` is not a time from 1s to 1h"),
    ("HEAD_AGE_MAX", "99999999999999999h", "is not a time"),
    ("HEDGE_FROM_BLOCK", "latest", "`latest` is not a whole number, 0 or more"),
    ("SYMBOLS", "TSLA,aapl", "`aapl` is not a ticker"),
    ("SYMBOLS", "TSLA,TSLA", "`TSLA` is there twice"),
    ("BROKER", "schwab", "`schwab` is not in this version yet; use paper"),
    ("BROKER", "alpaca", "`alpaca` is not in this version yet; use paper"),
    ("BROKER", "Paper", "`Paper` is not a broker; use paper"),
    ("PAPER_SESSIONS", "sometimes", "`sometimes` is not always or nyse"),
    ("ALLOW_SHORT", "yes", "`yes` is not true or false"),
    ("MAX_ORDER_SHARES", "0", "`0` is not a number of shares above 0"),
    ("MAX_ORDER_SHARES", "1e3", "`1e3` is not a number of shares above 0"),
    ("MAX_ORDER_NOTIONAL", "-5", "`-5` is not a number of dollars above 0"),
    ("MAX_ORDERS_PER_MINUTE", "0", "`0` is not a whole number from 1 to 100000"),
    ("MAX_ORDERS_PER_DAY", "1.5", "`1.5` is not a whole number from 1 to 1000000"),
    ("MAX_DAILY_NOTIONAL", "$5", "`$5` is not a number of dollars above 0"),
    ("DATABASE_URL", ":memory:", "keeps nothing"),
    ("DATABASE_URL", "sqlite::memory:", "keeps nothing"),
    ("DATABASE_URL", "sqlite://:memory:", "keeps nothing"),
    ("DATABASE_URL", "postgres://db/bot", "is not a file"),
    ("DATABASE_URL", "file:bot.db", "is not a file"),
    ("DATABASE_URL", "sqlite:bot.db?mode=rwc", "has options"),
    ("DATABASE_URL", "sqlite:", "names no file"),
    ("DATABASE_URL", "sqlite:///data/", "names no file"),
    ("LISTEN", "8080", "`8080` is not an IP address and a port"),
    ("LISTEN", "localhost:8080", "is not an IP address and a port"),
    ("RUST_LOG", "inof", "`inof` is not a level"),
    ("RUST_LOG", "counterfill=loud", "is not a level"),
    ("LOG_FORMAT", "xml", "`xml` is not auto or text or json"),
    ("SSL_CERT_FILE", "/absent.pem", "`/absent.pem` cannot be read"),
    ("SSL_CERT_FILE", "/not.pem", "`/not.pem` holds no PEM certificate"),
];

#[test]
fn every_wrong_value_is_told_with_its_place_and_a_way_out() {
    for (name, value, said) in WRONG {
        let setting = settings::named(name).unwrap();
        for by_flag in [false, true] {
            let given = Given::complete().file("/not.pem", "nothing");
            let given = if by_flag { given.flag(name, value) } else { given.variable(name, value) };
            let errors = Config::from_sources(&given).expect_err(value);
            let [problem] = errors.problems() else { panic!("{name}={value}: {errors}") };
            assert_eq!(problem.name, *name);
            assert!(problem.wrong.contains(said), "{name}={value}: {}", problem.wrong);
            let flag = setting.flag().unwrap();
            if by_flag {
                assert_eq!(problem.hint, format!("--{flag}={}", setting.example));
                assert_eq!(problem.origin, Some(Origin::Flag(flag)));
            } else {
                assert_eq!(problem.hint, format!("{name}={}", setting.example));
                assert_eq!(problem.origin, Some(Origin::Environment));
            }
        }
    }
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
    // Names that look like ours are somebody else's.
    let given = given.variable("CONFIRMATION", "7").variable("BOT_CONFIRMATIONS", "9");
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
    // What needs no hiding has no such forms.
    let given = Given::complete().variable("CHAIN_ID_FILE", "/absent");
    assert_eq!(given.config().chain_id, None);
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
    let loud = Given::complete()
        .flag("WS_RPC_URL", "ws://rpc.example.com")
        .variable("MAX_ORDER_SHARES", "0.5")
        .variable("HEDGE_FROM_BLOCK", "100");
    let warnings = loud.config().warnings(&loud).join("\n");
    for name in ["a flag", "in clear", "CHAIN_ID", "EQUITIES", "CASH", "HEDGE_FROM_BLOCK", "MAX_ORDER_SHARES"]
    {
        assert!(warnings.contains(name), "{name}: {warnings}");
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
