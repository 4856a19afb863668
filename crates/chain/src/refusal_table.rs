//! Every row of `refusal_table.txt`, read as it would be off the wire.

use alloy::rpc::json_rpc::{PubSubItem, Response, ResponsePayload};

use super::frame::{Frame, read};
use super::refusal::sorted;
use super::rpc::RpcError;

/// Rows below this number are a table that was cut.
const ROWS_MIN: usize = 70;

fn verdict(error: &str) -> &'static str {
    let frame = read(&format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#));
    let Frame::Item(PubSubItem::Response(Response { payload: ResponsePayload::Failure(error), .. })) = frame
    else {
        return "no error";
    };
    let data = error.data.map(|data| serde_json::from_str(data.get()).unwrap());
    match sorted("eth_getLogs", error.code, &error.message, data.as_ref()) {
        RpcError::RangeTooLarge(_) => "less",
        RpcError::Limited { .. } => "wait",
        RpcError::Behind { .. } => "behind",
        RpcError::Refused { .. } => "by behaviour",
        _ => "another",
    }
}

fn rows() -> Vec<[&'static str; 4]> {
    let lines = include_str!("refusal_table.txt").lines();
    let rows = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    rows.map(|row| row.splitn(4, " | ").collect::<Vec<_>>().try_into().expect(row)).collect()
}

#[test]
fn every_providers_words_are_taken_for_what_they_mean() {
    let rows = rows();
    assert!(rows.len() >= ROWS_MIN, "{} rows", rows.len());
    let found = rows.iter().map(|[wanted, who, source, error]| (wanted, verdict(error), who, source, error));
    let wrong: Vec<String> = found
        .filter(|(wanted, found, ..)| *wanted != found)
        .map(|(wanted, found, who, source, error)| {
            format!("{who} ({source}): {wanted}, not {found}: {error}")
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Of another call "less" would mean nothing.
#[test]
fn only_a_range_can_be_too_large() {
    for [_, who, _, error] in rows() {
        let error: serde_json::Value = serde_json::from_str(error).unwrap();
        let message = error["message"].as_str().unwrap_or_default();
        let found = sorted("eth_call", -32000, message, error.get("data"));
        assert!(!matches!(found, RpcError::RangeTooLarge(_)), "{who}");
    }
}
