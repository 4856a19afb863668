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

use alloy::primitives::B256;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use clap_complete::Shell;

use crate::config::settings::{Form, GROUPS, Need, Setting};
use crate::config::{Process, span};
use crate::hedges::{Choice, Decision, HaltKind};
use crate::units::{IntentId, OrderId, ParseError, Symbol};
use crate::{exit, verbs};

pub use crate::verbs::terms::{
    AuthVerb, ConfigVerb, DemoTerms, Halting, Reading, Reconciling, SimTerms, Verb,
};

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
            sim(),
            reading("health", "Ask a running bot whether it is ready (exit 1: it is not)", &["LISTEN"]),
            reading("status", "Say where the ledger stands", LEDGER),
            reading("fills", "List the fills", LEDGER).arg(symbol()),
            reading("positions", "List the exposure of each ticker", LEDGER).arg(symbol()),
            reading("hedges", "List the hedges and what became of them", LEDGER).arg(symbol()),
            reading("tokens", "Say what each token is worth in shares, as its contract says it now", TOKENS),
            reading("trace", "Follow one transaction: its fills, positions, hedges", LEDGER).arg(tx()),
            settings_of(Command::new("replay"), LEDGER)
                .about("Have the running bot read one transaction again; nothing is hedged twice")
                .arg(tx()),
            halting("halt", "Send no more orders, for one ticker or for all", "Ticker to halt; all where absent"),
            halting("resume", "Lift a halt", "Ticker to resume; the halt of all where absent").arg(kind()).args(choices()),
            reconciling(),
            doctor(),
            configuration(),
            auth(),
            Command::new("version").about("Print version, revision, compiler and SQLite").arg(json()),
            completions(),
        ])
}

/// All that a verb needs that only looks into the ledger.
const LEDGER: &[&str] = &["DATABASE_URL"];

/// What a look at the tokens needs.
const TOKENS: &[&str] = &["WS_RPC_URL", "SSL_CERT_FILE", "EQUITIES", "CASH", "DATABASE_URL"];

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

fn sim() -> Command {
    let number = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).value_parser(value_parser!(u64))
    };
    Command::new("sim")
        .about("Let chain, broker, disk and clock break in thousands of simulated ways; exit 1 if money went wrong")
        .arg(number("seeds", "NUMBER", "How many trials [default: 2000]"))
        .arg(number("from", "SEED", "The first trial's seed").default_value("0"))
        .arg(number("seed", "SEED", "Only this trial; a failing one is made short").conflicts_with("seeds"))
        .arg(
            Arg::new("only")
                .long("only")
                .value_name("STEPS")
                .value_delimiter(',')
                .requires("seed")
                .help("Of that trial only these steps, as a failure names them")
                .value_parser(value_parser!(u64)),
        )
        .arg(switch("trace", "Print everything that happens in that trial").requires("seed"))
        .arg(number("jobs", "NUMBER", "Threads [default: one a core]").value_parser(value_parser!(u64).range(1..=1024)))
        .arg(
            Arg::new("for")
                .long("for")
                .value_name("TIME")
                .help("Begin no new trial when so much time was simulated, such as 1000h")
                .value_parser(|text: &str| span(text).ok_or("write a number and ms, s, m or h, such as 1000h")),
        )
        .arg(switch("faults", "Print how often each fault struck"))
        .arg(json())
}

fn doctor() -> Command {
    let test = Arg::new("test-alert").long("test-alert").action(ArgAction::SetTrue);
    every_setting(Command::new("doctor"))
        .about(
            "Try node, broker, ledger, disk and clock once, and say what to mend (exit 1); places no order",
        )
        .arg(test.help("Post one alert to ALERT_WEBHOOK_URL"))
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

/// What a verb needs that only looks into the login's file; the keys have no flags.
const VAULT: &[&str] = &["BROKER", "DATABASE_URL"];
/// What a login needs.
const LOGIN: &[&str] =
    &["BROKER", "DATABASE_URL", "REDIRECT_URI", "LIVE_ACCOUNT", "BASE_URL", "SSL_CERT_FILE"];

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn auth() -> Command {
    Command::new("auth")
        .about("Manage the broker's login")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            settings_of(Command::new("login"), LOGIN)
                .about(
                    "Log in at the broker: prints an address to open and reads the one the browser ends on",
                )
                .arg(switch("listen", "Wait for the browser at REDIRECT_URI, on this machine, instead"))
                .arg(switch("overwrite", "Log in over a login that ENCRYPTION_KEY does not open")),
            reading("status", "Say whether the login is good, and for how long (exit 1: it is not)", VAULT),
            settings_of(Command::new("rekey"), VAULT)
                .about("Seal the stored login with NEW_ENCRYPTION_KEY in place of ENCRYPTION_KEY"),
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

fn reason() -> Arg {
    let reason = |text: &str| match text.trim() {
        "" => Err("say why, in a few words".to_owned()),
        long if long.chars().count() > REASON_CHARS_MAX => {
            Err(format!("at most {REASON_CHARS_MAX} characters, please"))
        }
        text => Ok(text.to_owned()),
    };
    Arg::new("reason")
        .long("reason")
        .value_name("TEXT")
        .help("Why, for whoever reads the ledger later")
        .value_parser(reason)
}

/// What the ledger has of a halt, or its end, for which nobody said why: in an emergency nobody wants to.
const BY_HAND: &str = "by hand";

fn halting(name: &'static str, about: &'static str, ticker: &'static str) -> Command {
    settings_of(Command::new(name).about(about), LEDGER)
        .arg(Arg::new("symbol").value_name("TICKER").help(ticker).value_parser(typed_ticker))
        .arg(reason().default_value(BY_HAND))
}

/// A ticker as a person types it, in letters of any case.
fn typed_ticker(text: &str) -> Result<Symbol, ParseError> {
    text.to_ascii_uppercase().parse()
}

/// One flag per answer to what a halt asks; it names the halt too.
fn choices() -> Vec<Arg> {
    let help = |choice| match choice {
        Choice::AcceptBackfill => "Hedge what the first backfill left",
        Choice::CountSkipped => "Hedge the trades that were passed over before the ticker was listed",
        Choice::IgnoreSkipped => "Pass over the trades from before the ticker was listed for good",
        Choice::AdoptOrders => "An earlier ledger's orders are this one's",
        Choice::IgnoreOrders => "An earlier ledger's orders are not this one's",
        Choice::AcceptPosition => "The broker's position is right, after a manual trade or a split",
    };
    let flag = |choice: Choice| {
        let others = Choice::ALL.map(Choice::as_str).into_iter().filter(move |name| *name != choice.as_str());
        Arg::new(choice.as_str())
            .long(choice.as_str())
            .action(ArgAction::SetTrue)
            .conflicts_with_all(others.chain(["kind"]))
            .help(help(choice))
    };
    Choice::ALL.map(flag).to_vec()
}

fn reconciling() -> Command {
    let intent = Arg::new("intent").value_name("INTENT").value_parser(str::parse::<IntentId>);
    let decision = Arg::new("decision").value_name("DECISION").requires("reason");
    let order = Arg::new("order").value_name("ORDER").value_parser(str::parse::<OrderId>);
    settings_of(Command::new("reconcile"), LEDGER)
        .about("Say what became of an order that no list can tell; without an intent, list those that wait")
        .arg(intent.requires("decision").help("The intent, as the list names it"))
        .arg(
            decision
                .value_parser(PossibleValuesParser::new(["adopt", "absent", "book", "ignore"]))
                .help("It is ORDER; it never was; a found order is ours; a found order is not ours"),
        )
        .arg(order.required_if_eq("decision", "adopt").help("The broker's id of the order, for `adopt`"))
        .arg(reason())
        .arg(json().conflicts_with("intent"))
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
    symbol.help("Only this ticker").value_parser(typed_ticker)
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
        "sim" => Verb::Sim(SimTerms {
            seeds: matches.get_one("seeds").copied(),
            first: matches.get_one("from").copied().unwrap_or(0),
            seed: matches.get_one("seed").copied(),
            only: matches
                .get_many::<u64>("only")
                .map(|places| places.filter_map(|place| usize::try_from(*place).ok()).collect()),
            trace: matches.get_flag("trace"),
            jobs: matches.get_one::<u64>("jobs").and_then(|jobs| usize::try_from(*jobs).ok()),
            length: matches.get_one("for").copied(),
            json: json(),
            table: matches.get_flag("faults"),
        }),
        "health" => Verb::Health { json: json() },
        "status" => Verb::Status { json: json() },
        "fills" => Verb::Fills(reading()),
        "positions" => Verb::Positions(reading()),
        "tokens" => Verb::Tokens { json: json() },
        "hedges" => Verb::Hedges(reading()),
        "trace" => Verb::Trace { tx: tx(), json: json() },
        "replay" => Verb::Replay { tx: tx() },
        "halt" => Verb::Halt(halting()),
        "resume" => {
            let choice = Choice::ALL.into_iter().find(|choice| matches.get_flag(choice.as_str()));
            let kind = choice.map_or_else(|| halt_kind(matches), Choice::answers);
            Verb::Resume(halting(), kind, choice)
        }
        "reconcile" => Verb::Reconcile(asked_to_reconcile(matches)),
        "doctor" => Verb::Doctor { json: json(), test_alert: matches.get_flag("test-alert") },
        "config" => Verb::Config(config_verb(matches)),
        "auth" => Verb::Auth(auth_verb(matches)),
        "version" => Verb::Version { json: json() },
        "completions" => Verb::Completions(completion_script(matches)),
        other => unreachable!("`{other}` is in no list of verbs"),
    }
}

fn asked_to_reconcile(matches: &ArgMatches) -> Reconciling {
    let Some(target) = matches.get_one::<IntentId>("intent").cloned() else {
        return Reconciling::List { json: matches.get_flag("json") };
    };
    let decision = match (matches.get_one::<String>("decision").map(String::as_str), matches.get_one("order"))
    {
        (Some("adopt"), Some(order)) => Decision::Adopt(OrderId::clone(order)),
        (Some("absent"), _) => Decision::Absent,
        (Some("book"), _) => Decision::Book,
        (Some("ignore"), _) => Decision::Ignore,
        other => unreachable!("{other:?} is no decision"),
    };
    let reason = matches.get_one::<String>("reason").cloned().unwrap_or_default();
    Reconciling::Settle { target, decision, reason }
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
    match matches.subcommand() {
        Some(("login", matches)) => {
            AuthVerb::Login { listen: matches.get_flag("listen"), overwrite: matches.get_flag("overwrite") }
        }
        Some(("status", matches)) => AuthVerb::Status { json: matches.get_flag("json") },
        Some(("rekey", _)) => AuthVerb::Rekey,
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

    fn resume(args: &str) -> (HaltKind, Option<Choice>) {
        let words = format!("bot resume TSLA --reason x {args}");
        match parse(words.split_whitespace().map(OsString::from)) {
            Ok((Verb::Resume(halting, kind, choice), _)) if halting.symbol.is_some() => (kind, choice),
            other => panic!("{:?}", other.map(|(verb, _)| verb)),
        }
    }

    #[test]
    fn each_halt_is_lifted_by_its_own_name_and_the_operators_by_default() {
        assert_eq!(resume(""), (HaltKind::Operator, None));
        for kind in HaltKind::ALL {
            assert_eq!(resume(&format!("--kind {}", kind.as_str())), (kind, None));
        }
        for choice in Choice::ALL {
            assert_eq!(resume(&format!("--{}", choice.as_str())), (choice.answers(), Some(choice)));
            let kinds = choice.answers().choices();
            assert!(kinds.contains(&choice), "{choice:?} answers what asks for it");
        }
    }

    #[test]
    fn a_decision_names_its_intent_its_order_and_why() {
        let said = |words: &str| {
            let words = format!("bot reconcile {words}");
            parse(words.split_whitespace().map(OsString::from)).map(|(verb, _)| verb)
        };
        let settle = |decision| {
            let (target, reason) = ("cf-1-000001".parse().unwrap(), "seen".to_owned());
            Verb::Reconcile(Reconciling::Settle { target, decision, reason })
        };
        assert_eq!(said("").unwrap(), Verb::Reconcile(Reconciling::List { json: false }));
        assert_eq!(said("--json").unwrap(), Verb::Reconcile(Reconciling::List { json: true }));
        let order = "1004055538153".parse().unwrap();
        assert_eq!(
            said("cf-1-000001 adopt 1004055538153 --reason seen").unwrap(),
            settle(Decision::Adopt(order))
        );
        for (word, decision) in
            [("absent", Decision::Absent), ("book", Decision::Book), ("ignore", Decision::Ignore)]
        {
            assert_eq!(said(&format!("cf-1-000001 {word} --reason seen")).unwrap(), settle(decision));
        }
        for wrong in [
            "cf-1-000001",
            "cf-1-000001 absent",
            "cf-1-000001 adopt --reason x",
            "cf-1-000001 maybe --reason x",
        ] {
            assert!(said(wrong).is_err(), "{wrong}");
        }
    }
}
