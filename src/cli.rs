//! The command line: verbs and flags in, one [`Verb`] out.
//!
//! A flag of a setting is kept as text under its variable's name; what it means is the configuration's business, so
//! that a wrong value is told the same way wherever it came from (exit 78). Everything else on the command line is
//! checked here (exit 64).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use alloy::primitives::B256;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use clap_complete::Shell;

use crate::config::settings::{Form, GROUPS, Need, Setting};
use crate::config::{Process, span};
use crate::hedges::HaltKind;
use crate::units::Symbol;
use crate::{exit, verbs};

/// What the program is asked to do, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Watch and hedge until stopped.
    Run,
    /// Show the bot at work on a simulated chain.
    Demo(DemoTerms),
    /// Ask a running bot whether it is ready.
    Health {
        /// One JSON object.
        json: bool,
    },
    /// Where the ledger stands.
    Status {
        /// One JSON object.
        json: bool,
    },
    /// The fills in the ledger.
    Fills(Reading),
    /// Exposure per ticker.
    Positions(Reading),
    /// Intents and what became of them.
    Hedges(Reading),
    /// Everything that one transaction led to.
    Trace {
        /// The transaction.
        tx: B256,
        /// One JSON object a line.
        json: bool,
    },
    /// Have a running bot read one transaction again.
    Replay {
        /// The transaction.
        tx: B256,
    },
    /// Stop orders.
    Halt(Halting),
    /// Lift one halt.
    Resume(Halting, HaltKind),
    /// About the configuration.
    Config(ConfigVerb),
    /// What this program is.
    Version {
        /// One JSON object.
        json: bool,
    },
    /// A shell's completion script, ready to print.
    Completions(Vec<u8>),
    /// The broker's login.
    Auth(AuthVerb),
}

/// How a demo goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DemoTerms {
    /// End by itself after this time; none: when the story is told.
    pub length: Option<Duration>,
    /// Only the verdict, as one JSON object.
    pub json: bool,
    /// Repeats a demo; none: another one each time.
    pub seed: Option<u64>,
}

/// Which rows a reading verb shows, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Only this ticker.
    pub symbol: Option<Symbol>,
    /// One JSON object a line, decimals as strings.
    pub json: bool,
}

/// Whom a halt, or its end, concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halting {
    /// This ticker; none: all of them.
    pub symbol: Option<Symbol>,
    /// Why; not empty.
    pub reason: String,
}

/// About the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigVerb {
    /// Is it complete?
    Check {
        /// Check this list of shards instead.
        shards: Option<PathBuf>,
    },
    /// Every setting, its value, and where it came from.
    Show {
        /// One JSON object a line.
        json: bool,
    },
    /// An `.env` file to fill in.
    Template {
        /// The reference page instead.
        markdown: bool,
    },
}

/// The broker's login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthVerb {
    /// Log in.
    Login,
    /// Is the login good, and for how long?
    Status,
    /// Encrypt the stored login with a new key.
    Rekey,
}

/// Runs the program: reads `args` (the first is the program's own name), does what they say, returns the exit code.
/// A program that is called `auth` behaves as `bot auth`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let done = catch_unwind(AssertUnwindSafe(|| match parse(args) {
        Ok((verb, flags)) => perform(&verb, flags),
        Err(error) => complain(error),
    }));
    // The panic hook has said what and where.
    done.unwrap_or(exit::BUG)
}

fn perform(verb: &Verb, flags: Flags) -> u8 {
    let mut out = io::stdout();
    let ended = verbs::perform(verb, &Process::new(flags), &mut out);
    let ended = ended.and_then(|code| out.flush().map(|()| code).map_err(verbs::Failure::from));
    ended.unwrap_or_else(|failure| {
        if failure.is_worth_saying() {
            // Where standard error is closed there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {failure}");
        }
        failure.code()
    })
}

fn complain(mut error: clap::Error) -> u8 {
    // A stray URL is most likely the node's, key included, and standard error most likely a log.
    if error.context().any(|(_, value)| value.to_string().contains("://")) {
        let words = "a URL stands where none is expected (the node's goes behind --ws-rpc-url)";
        error = bot().error(error.kind(), words);
    }
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => exit::DONE,
        _ => exit::USAGE,
    }
}

/// The flags of settings, by the name of their variable.
pub type Flags = BTreeMap<&'static str, String>;

/// Reads a command line; the first of `args` is the program's own name.
///
/// # Errors
/// What clap says: a usage error, or help or version to be printed.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Verb, Flags), clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    let called = args.first().and_then(|name| Path::new(name).file_stem());
    if called.is_some_and(|name| name == "auth") {
        let matches = auth().version(env!("CARGO_PKG_VERSION")).try_get_matches_from(args)?;
        return Ok((Verb::Auth(auth_verb(&matches)), flags(&matches)));
    }
    let matches = bot().try_get_matches_from(args)?;
    Ok((verb(&matches), flags(&matches)))
}

// ---- what can be said ----------------------------------------------------------------------------------------------

/// The whole command line of `bot`.
#[must_use]
pub fn bot() -> Command {
    let codes: String =
        exit::TABLE.iter().map(|(code, meaning)| format!("\n  {code:2}  {meaning}")).collect();
    Command::new("bot")
        .about("Answers every onchain fill of your Raindex orders with one opposite order at your broker")
        .after_help(format!(
            "New here? `bot demo` needs no key and no network; `bot config template` prints what to fill in.\n\
             `bot run --help` lists every setting: its flag beats its environment variable.\n\n\
             Exit codes:{codes}"
        ))
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .max_term_width(110)
        .subcommands([
            every_setting(Command::new("run").about("Watch the chain and hedge until stopped")),
            demo(),
            reading("health", "Ask a running bot whether it is ready (exit 1: it is not)", &["LISTEN"]),
            reading("status", "Say where the ledger stands", LEDGER),
            reading("fills", "List the fills", LEDGER).arg(symbol()),
            reading("positions", "List the exposure of each ticker", LEDGER).arg(symbol()),
            reading("hedges", "List the hedges and what became of them", LEDGER).arg(symbol()),
            reading("trace", "Follow one transaction: its fills, positions, hedges", LEDGER).arg(tx()),
            settings_of(Command::new("replay"), LEDGER)
                .about("Have the running bot read one transaction again; nothing is hedged twice")
                .arg(tx()),
            halting("halt", "Send no more orders, for one ticker or for all", "Ticker to halt; all where absent"),
            halting("resume", "Lift a halt", "Ticker to resume; the halt of all where absent").arg(kind()),
            configuration(),
            auth(),
            Command::new("version").about("Print version, revision, compiler and SQLite").arg(json()),
            completions(),
        ])
}

/// All that a verb needs that only looks into the ledger.
const LEDGER: &[&str] = &["DATABASE_URL"];

fn demo() -> Command {
    settings_of(Command::new("demo"), &["DATABASE_URL", "RUST_LOG", "LOG_FORMAT"])
        .about("Show the bot at work on a simulated chain: no key, no network, no money")
        .arg(
            Arg::new("for")
                .long("for")
                .value_name("TIME")
                .help("End after this time, 5s at least, such as 30s or 2m; without it after 40s")
                .value_parser(|text: &str| span(text).ok_or("write a number and ms, s, m or h, such as 30s")),
        )
        .arg(
            Arg::new("seed")
                .long("seed")
                .value_name("NUMBER")
                .help("Repeat the demo with this number")
                .value_parser(value_parser!(u64)),
        )
        .arg(json())
}

fn configuration() -> Command {
    let shards = Arg::new("shards").long("shards").value_name("FILE").value_hint(ValueHint::FilePath);
    let shards = shards
        .value_parser(value_parser!(PathBuf))
        .help("Prove instead that no ticker is in two of these shards (the SYMBOLS of one instance a line)");
    Command::new("config")
        .about("Check, show or begin a configuration")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            every_setting(Command::new("check"))
                .about("Name everything that is missing or wrong (exit 78), or say that it is complete")
                .arg(shards),
            every_setting(Command::new("show"))
                .about("Print every setting with its value and where it came from; keys are not shown")
                .arg(json()),
            Command::new("template").about("Print an .env file to fill in").arg(
                Arg::new("markdown")
                    .long("markdown")
                    .action(ArgAction::SetTrue)
                    .help("Print the reference page instead"),
            ),
        ])
}

fn auth() -> Command {
    Command::new("auth")
        .about("Manage the broker's login")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            settings_of(Command::new("login"), &["BROKER"]).about("Log in at the broker"),
            settings_of(Command::new("status"), &["BROKER"]).about("Say whether the login is good"),
            settings_of(Command::new("rekey"), &["BROKER"]).about("Encrypt the stored login with a new key"),
        ])
}

fn completions() -> Command {
    let shell = Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell));
    Command::new("completions")
        .about("Print a completion script")
        .arg(shell.help("The shell that reads it: source <(bot completions bash)"))
}

fn reading(name: &'static str, about: &'static str, settings: &[&str]) -> Command {
    settings_of(Command::new(name).about(about), settings).arg(json())
}

/// Longest reason of a halt; it is a sentence in a ledger, not a report.
const REASON_CHARS_MAX: usize = 500;

fn halting(name: &'static str, about: &'static str, ticker: &'static str) -> Command {
    let reason = |text: &str| match text.trim() {
        "" => Err("say why, in a few words".to_owned()),
        long if long.chars().count() > REASON_CHARS_MAX => {
            Err(format!("at most {REASON_CHARS_MAX} characters, please"))
        }
        text => Ok(text.to_owned()),
    };
    settings_of(Command::new(name).about(about), LEDGER)
        .arg(Arg::new("symbol").value_name("TICKER").help(ticker).value_parser(str::parse::<Symbol>))
        .arg(
            Arg::new("reason")
                .long("reason")
                .value_name("TEXT")
                .required(true)
                .help("Why, for whoever reads the ledger later")
                .value_parser(reason),
        )
}

fn kind() -> Arg {
    Arg::new("kind")
        .long("kind")
        .value_name("KIND")
        .default_value(HaltKind::Operator.as_str())
        .help("Which halt to lift, as `bot status` names it")
        .value_parser(PossibleValuesParser::new(HaltKind::ALL.map(HaltKind::as_str)))
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON, one object a line")
}

fn symbol() -> Arg {
    let symbol = Arg::new("symbol").long("symbol").value_name("TICKER");
    symbol.help("Only this ticker").value_parser(str::parse::<Symbol>)
}

fn tx() -> Arg {
    let hash = |text: &str| text.parse::<B256>().map_err(|_| "a transaction's hash is 0x and 64 hex digits");
    Arg::new("tx").value_name("TX").required(true).help("The transaction's hash").value_parser(hash)
}

fn every_setting(command: Command) -> Command {
    with_settings(command, |_| true)
}

fn settings_of(command: Command, names: &[&str]) -> Command {
    with_settings(command, |setting| names.contains(&setting.name))
}

/// Adds the flags of those settings, under their group's heading.
fn with_settings(mut command: Command, wanted: impl Fn(&Setting) -> bool) -> Command {
    for group in &GROUPS {
        let flags = group.settings.iter().filter(|setting| wanted(setting)).filter_map(flag);
        command = command.args(flags.map(|flag| flag.help_heading(group.title)));
    }
    command
}

fn flag(setting: &'static Setting) -> Option<Arg> {
    let default = match setting.need {
        Need::Default(default) => format!(" [default: {default}]"),
        Need::Required | Need::Optional => String::new(),
    };
    let (name, form) = (setting.name, setting.form);
    let flag = Arg::new(name)
        .long(setting.flag()?)
        .value_name(form.placeholder())
        .allow_negative_numbers(true)
        .help(format!("{} [value: {form}] [env: {name}]{default}", setting.help));
    Some(match form {
        Form::Switch => flag.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Form::File | Form::Database => flag.value_hint(ValueHint::FilePath),
        _ => flag,
    })
}

// ---- what was said -------------------------------------------------------------------------------------------------

/// The flags of settings that stand on the command line, of whichever verb.
fn flags(matches: &ArgMatches) -> Flags {
    let mut leaf = matches;
    while let Some((_, deeper)) = leaf.subcommand() {
        leaf = deeper;
    }
    let value = |name| leaf.try_get_one::<String>(name).ok().flatten().cloned();
    let settings = GROUPS.iter().flat_map(|group| group.settings);
    settings.filter_map(|setting| Some((setting.name, value(setting.name)?))).collect()
}

fn verb(matches: &ArgMatches) -> Verb {
    let Some((name, matches)) = matches.subcommand() else { unreachable!("clap requires a verb") };
    let json = || matches.get_flag("json");
    let symbol = || matches.get_one::<Symbol>("symbol").cloned();
    let tx = || matches.get_one::<B256>("tx").copied().unwrap_or_default();
    let reading = || Reading { symbol: symbol(), json: json() };
    let halting = || {
        let reason = matches.get_one::<String>("reason").cloned().unwrap_or_default();
        Halting { symbol: symbol(), reason }
    };
    match name {
        "run" => Verb::Run,
        "demo" => Verb::Demo(DemoTerms {
            length: matches.get_one("for").copied(),
            json: json(),
            seed: matches.get_one("seed").copied(),
        }),
        "health" => Verb::Health { json: json() },
        "status" => Verb::Status { json: json() },
        "fills" => Verb::Fills(reading()),
        "positions" => Verb::Positions(reading()),
        "hedges" => Verb::Hedges(reading()),
        "trace" => Verb::Trace { tx: tx(), json: json() },
        "replay" => Verb::Replay { tx: tx() },
        "halt" => Verb::Halt(halting()),
        "resume" => Verb::Resume(halting(), halt_kind(matches)),
        "config" => Verb::Config(config_verb(matches)),
        "auth" => Verb::Auth(auth_verb(matches)),
        "version" => Verb::Version { json: json() },
        "completions" => Verb::Completions(completion_script(matches)),
        other => unreachable!("`{other}` is in no list of verbs"),
    }
}

/// The parser took only words of the list.
fn halt_kind(matches: &ArgMatches) -> HaltKind {
    let word = matches.get_one::<String>("kind");
    word.and_then(|word| word.parse().ok()).unwrap_or(HaltKind::Operator)
}

fn config_verb(matches: &ArgMatches) -> ConfigVerb {
    match matches.subcommand() {
        Some(("check", matches)) => ConfigVerb::Check { shards: matches.get_one("shards").cloned() },
        Some(("show", matches)) => ConfigVerb::Show { json: matches.get_flag("json") },
        Some(("template", matches)) => ConfigVerb::Template { markdown: matches.get_flag("markdown") },
        other => unreachable!("{other:?} is in no list of config verbs"),
    }
}

fn auth_verb(matches: &ArgMatches) -> AuthVerb {
    match matches.subcommand_name() {
        Some("login") => AuthVerb::Login,
        Some("status") => AuthVerb::Status,
        Some("rekey") => AuthVerb::Rekey,
        other => unreachable!("{other:?} is in no list of auth verbs"),
    }
}

fn completion_script(matches: &ArgMatches) -> Vec<u8> {
    let mut script = Vec::new();
    if let Some(shell) = matches.get_one::<Shell>("shell") {
        clap_complete::generate(*shell, &mut bot(), "bot", &mut script);
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resume(args: &str) -> HaltKind {
        let words = format!("bot resume TSLA --reason x {args}");
        match parse(words.split_whitespace().map(OsString::from)) {
            Ok((Verb::Resume(halting, kind), _)) if halting.symbol.is_some() => kind,
            other => panic!("{:?}", other.map(|(verb, _)| verb)),
        }
    }

    #[test]
    fn each_halt_is_lifted_by_its_own_name_and_the_operators_by_default() {
        assert_eq!(resume(""), HaltKind::Operator);
        for kind in HaltKind::ALL {
            assert_eq!(resume(&format!("--kind {}", kind.as_str())), kind);
        }
    }
}
