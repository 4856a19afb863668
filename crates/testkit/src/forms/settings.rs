//! Any configuration: what the environment, the command line and files could hold.
//!
//! What must hold: a configuration or its problems, never a panic; a configuration keeps the bounds it is documented
//! with; no word that is said about it holds a key or a secret, and none holds a character that a terminal would obey.
//!
//! An input is lines: `NAME=value` is a variable, `--NAME=value` a flag, `@path=content` a file. In the value of a setting
//! that carries a key or a secret, `{}` stands for a canary, which must then be seen nowhere.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use counterfill::config::settings::{self, Carries};
use counterfill::config::{self, Config, Sources, listing, shards};
use counterfill::units::{Cash, Shares};

/// Must appear nowhere.
const CANARY: &str = "Zq7canary7qZ";
/// Where the canary is put.
const HOLE: &[u8] = b"{}";
/// Longest content of a file; the table allows more only for certificates.
const LINES_MAX: usize = 200;

/// What the program is given, made up of an input.
#[derive(Default)]
struct Given {
    flags: BTreeMap<String, String>,
    variables: BTreeMap<String, OsString>,
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// Whether a canary stands where it may be seen: as the host of an address.
    may_be_seen: bool,
}

impl Sources for Given {
    fn flag(&self, name: &str) -> Option<String> {
        self.flags.get(name).cloned()
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn variable_names(&self) -> Vec<String> {
        self.variables.keys().cloned().collect()
    }

    fn read_file(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let content = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        let fits = u64::try_from(content.len()).is_ok_and(|length| length <= bytes_max);
        if fits { Ok(content.clone()) } else { Err(io::ErrorKind::FileTooLarge.into()) }
    }
}

/// # Panics
/// Where something that must hold does not.
pub fn check(input: &[u8]) {
    if input.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()) {
        // A fuzzer that watches comparisons learns the canary's own text; where it is typed in the open it may be seen.
        return;
    }
    let given = given(input);
    let mut said = Vec::new();
    match Config::from_sources(&given) {
        Ok(config) => {
            must_keep_its_bounds(&config);
            said.push(format!("{config:?}"));
            said.extend(config.warnings(&given));
        }
        Err(errors) => {
            assert!(!errors.problems().is_empty(), "no configuration, and nothing is wrong with it");
            let place = |name: &str| settings::all().position(|setting| setting.name == name);
            let places: Vec<_> = errors.problems().iter().map(|problem| place(problem.name)).collect();
            assert!(places.is_sorted() && places.iter().all(Option::is_some), "in the order of the table");
            said.extend([errors.to_string(), format!("{errors:?}")]);
        }
    }
    let rows = listing::rows(&given);
    assert_eq!(rows.len(), settings::all().count(), "every setting is listed");
    said.extend(rows.into_iter().flat_map(|row| [row.source, row.value.unwrap_or_default()]));
    let parts = [
        config::Logs::from_sources(&given).map(|logs| format!("{logs:?}")),
        config::database(&given).map(|path| format!("{path:?}")),
        config::listen(&given).map(|listen| listen.to_string()),
        config::schwab::login(&given).map(|login| format!("{login:?}")),
        config::schwab::vault(&given).map(|vault| format!("{vault:?}")),
        config::schwab::rekey(&given).map(|vault| format!("{vault:?}")),
    ];
    said.extend(parts.into_iter().map(|part| part.unwrap_or_else(|errors| errors.to_string())));
    if let Ok(text) = std::str::from_utf8(input) {
        said.extend(shards::disjoint(text).err().into_iter().flatten());
    }
    for text in said {
        must_be_fit_to_print(&text, given.may_be_seen);
    }
}

fn given(input: &[u8]) -> Given {
    let mut given = Given::default();
    for line in input.split(|byte| *byte == b'\n').take(LINES_MAX) {
        let Some(middle) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (&line[..middle], &line[middle + 1..]);
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if let Some(path) = name.strip_prefix('@') {
            // Whatever setting a file is for, it is one that is read from a file because it is a secret.
            let content = given.filled(value, true);
            given.files.insert(PathBuf::from(path), content);
        } else if let Some(flag) = name.strip_prefix("--") {
            let value = given.filled(value, carries(flag));
            given.flags.insert(flag.to_owned(), String::from_utf8_lossy(&value).into_owned());
        } else if !name.contains('\0') {
            let value = given.filled(value, carries(name));
            given.variables.insert(name.to_owned(), OsString::from_vec(value));
        }
    }
    given
}

fn carries(name: &str) -> bool {
    settings::named(name).is_some_and(|setting| setting.carries != Carries::Nothing)
}

impl Given {
    /// The value, with canaries in its holes if it is a secret.
    fn filled(&mut self, value: &[u8], secret: bool) -> Vec<u8> {
        let mut filled = Vec::with_capacity(value.len());
        let mut rest = value;
        while let Some(hole) = rest.windows(HOLE.len()).position(|window| window == HOLE).filter(|_| secret) {
            filled.extend_from_slice(&rest[..hole]);
            filled.extend_from_slice(CANARY.as_bytes());
            rest = &rest[hole + HOLE.len()..];
        }
        filled.extend_from_slice(rest);
        // The host of an address is no secret: between its scheme (or the last @ before its path) and its path.
        let text = String::from_utf8_lossy(&filled);
        let after_scheme = text.split_once("://").map_or("", |(_, rest)| rest);
        let authority = after_scheme.split(['/', '?', '#']).next().unwrap_or_default();
        self.may_be_seen |= authority.rsplit('@').next().is_some_and(|host| host.contains(CANARY));
        filled
    }
}

fn must_keep_its_bounds(config: &Config) {
    assert!(!config.orderbooks.is_empty() && !config.owners.is_empty());
    for list in [&config.orderbooks, &config.owners] {
        assert!(
            list.iter().enumerate().all(|(n, one)| !one.is_zero() && !list[..n].contains(one)),
            "{list:?}"
        );
    }
    assert!(config.deployment_block >= 1 && config.confirmations <= 64 && config.log_range_blocks >= 1);
    assert!(config.cash.is_none_or(|cash| !config.equities.contains_key(&cash)));
    let limits = &config.limits;
    assert!(limits.max_order_shares > Shares::ZERO && limits.max_order_notional > Cash::ZERO);
    assert!(limits.max_orders_per_minute > 0 && limits.max_orders_per_day > 0);
    assert!(limits.max_daily_notional > Cash::ZERO);
    assert!(!config.head_age_max.is_zero() && !config.database.as_os_str().is_empty());
}

fn must_be_fit_to_print(text: &str, may_be_seen: bool) {
    assert!(may_be_seen || !text.contains(CANARY), "a secret is shown: {text}");
    let obeyed = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(obeyed), "a terminal would obey: {text:?}");
}
