//! The log: lines on standard error, as text or as JSON.
//!
//! Invariant: what other crates say below `info` is never logged, whatever `RUST_LOG` asks for. They print requests
//! whole, and the node's URL is its key.

use std::borrow::Cow;
use std::io::Write;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter, Log, Metadata, Record};
use serde_json::json;

use crate::config::{LogFormat, Logs};
use crate::units::Millis;

/// Starts logging; only the first call of a process has an effect.
pub fn start(logs: &Logs) {
    let mut builder = Builder::new();
    // The migrations' own notes say "schema history table is empty" of every new ledger; RUST_LOG can ask for them.
    builder.filter_module("refinery_core", LevelFilter::Warn);
    builder.parse_filters(&logs.filter).target(Target::Stderr);
    match logs.format {
        LogFormat::Json => {
            builder.format(|out, record| writeln!(out, "{}", json_line(record, Millis::now())));
        }
        LogFormat::Auto | LogFormat::Text => {
            builder.format_timestamp_millis();
        }
    }
    let logger = builder.build();
    let most = logger.filter();
    // An error says that a logger is there already.
    if log::set_boxed_logger(Box::new(Discreet(logger))).is_ok() {
        log::set_max_level(most);
    }
}

/// A logger that keeps what other crates print of our requests to itself.
struct Discreet(env_logger::Logger);

/// Our crates that log, without the program's name before theirs.
const PARTS: [&str; 3] = ["broker", "chain", "sim"];

/// What a person calls who speaks: `counterfill::chain` is a crate, and is filtered and shown as the module it was.
fn name(target: &str) -> Cow<'_, str> {
    let part = target.strip_prefix(concat!(env!("CARGO_CRATE_NAME"), "_"));
    match part {
        Some(part) if PARTS.contains(&part.split("::").next().unwrap_or(part)) => {
            format!("{}::{part}", env!("CARGO_CRATE_NAME")).into()
        }
        _ => target.into(),
    }
}

/// Whether it is ours, or worth it.
fn may_be_said(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    ours || metadata.level() <= Level::Info
}

impl Log for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let name = name(metadata.target());
        let metadata = Metadata::builder().level(metadata.level()).target(&name).build();
        may_be_said(&metadata) && self.0.enabled(&metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let name = name(record.target());
        let mut named = Record::builder();
        named.args(*record.args()).level(record.level()).target(&name);
        named.module_path(record.module_path()).file(record.file()).line(record.line());
        let record = named.build();
        if may_be_said(record.metadata()) {
            self.0.log(&record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// One record as one line of JSON; a newline in the message is escaped.
fn json_line(record: &Record<'_>, at: Millis) -> String {
    json!({
        "ts": at.to_string(),
        "level": record.level().as_str(),
        "target": record.target(),
        "msg": record.args().to_string(),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_we_may_say_more_than_info() {
        let rows = [
            ("counterfill::chain", Level::Trace, true),
            ("counterfill", Level::Debug, true),
            ("counterfill_chain::link", Level::Trace, true),
            ("counterfill_broker", Level::Debug, true),
            ("counterfill_other::chain", Level::Debug, false),
            ("counterfill_like::chain", Level::Debug, false),
            ("tungstenite::handshake::client", Level::Trace, false),
            ("ureq::run", Level::Debug, false),
            ("refinery_core::traits", Level::Info, true),
            ("tokio_tungstenite", Level::Error, true),
        ];
        let logger = Discreet(Builder::new().parse_filters("trace").target(Target::Stderr).build());
        for (target, level, said) in rows {
            let metadata = Metadata::builder().target(target).level(level).build();
            assert_eq!(logger.enabled(&metadata), said, "{target} {level}");
        }
    }

    #[test]
    fn a_crate_of_ours_has_the_name_of_a_module() {
        let filters = "counterfill=info,counterfill::chain=trace,counterfill::broker::http=off";
        let logger = Discreet(Builder::new().parse_filters(filters).target(Target::Stderr).build());
        let rows = [
            ("counterfill_chain::link", Level::Trace, true),
            ("counterfill_broker::paper", Level::Info, true),
            ("counterfill_broker::paper", Level::Debug, false),
            ("counterfill_broker::http", Level::Error, false),
            ("counterfill::run", Level::Debug, false),
        ];
        for (target, level, said) in rows {
            let metadata = Metadata::builder().target(target).level(level).build();
            assert_eq!(logger.enabled(&metadata), said, "{target} {level}");
        }
        assert_eq!(name("counterfill_chain::sweep"), "counterfill::chain::sweep");
        assert_eq!(name("counterfill_like::chain"), "counterfill_like::chain");
    }

    #[test]
    fn every_crate_of_ours_that_logs_is_named() {
        let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/crates");
        let mut logging: Vec<String> = std::fs::read_dir(crates)
            .unwrap()
            .filter_map(|folder| std::fs::read_to_string(folder.unwrap().path().join("Cargo.toml")).ok())
            .filter(|manifest| manifest.contains("\nlog = "))
            .filter_map(|manifest| {
                Some(manifest.split_once("\nname = \"counterfill-")?.1.split('"').next()?.into())
            })
            .collect();
        logging.sort();
        assert_eq!(logging, PARTS);
    }

    #[test]
    fn a_record_is_one_line_of_json() {
        let at = Millis(1_700_000_000_123);
        let line = json_line(
            &Record::builder()
                .args(format_args!("two\nlines, \"quoted\""))
                .level(Level::Warn)
                .target("counterfill::chain")
                .build(),
            at,
        );
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["ts"], "2023-11-14T22:13:20.123Z");
        assert_eq!(value["level"], "WARN");
        assert_eq!(value["target"], "counterfill::chain");
        assert_eq!(value["msg"], "two\nlines, \"quoted\"");
        assert_eq!(value.as_object().unwrap().len(), 4);
    }
}
