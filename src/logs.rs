//! The log: lines on standard error, as text or as JSON.

use std::io::Write;

use env_logger::{Builder, Target};
use log::{LevelFilter, Record};
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
    // An error says that a logger is there already.
    let _ = builder.try_init();
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
    fn a_record_is_one_line_of_json() {
        let at = Millis(1_700_000_000_123);
        let line = json_line(
            &Record::builder()
                .args(format_args!("two\nlines, \"quoted\""))
                .level(log::Level::Warn)
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
