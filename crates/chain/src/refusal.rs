//! What a node's refusal means: ask for less, wait, or neither is said.
//!
//! Providers agree on no code and on no words, and one code (-32005) stands for ranges, results, rates and quotas alike.
//! So only words that can not be mistaken decide here; every other refusal is [`RpcError::Refused`], and who asked finds
//! out by what it does next (`range_size`). It refuses to know what was asked for beyond the method's name.
//!
//! Invariant: a contract's own answer (a revert) is never read as the node's words, and no pause is longer than 60 s.

use std::time::Duration;

use serde_json::Value;

use super::error::RpcError;

/// JSON-RPC's code for a method that the node does not have, or not on this plan: whatever its words, later is no help.
const METHOD_NOT_FOUND: i64 = -32_601;
/// How much of a node's own words is kept.
const MESSAGE_CHARS_MAX: usize = 200;
/// How deep `error.data` is looked into.
const DATA_DEPTH_MAX: usize = 6;
/// How many texts of `error.data` are kept.
const DATA_TEXTS_MAX: usize = 3;
/// Longest pause that a node may ask for: whoever hedges looks again after a minute, whatever he was told.
pub(super) const PAUSE_TOLD_S_MAX: Duration = Duration::from_secs(60);

/// The least pause before connecting again where a node has enough of us and does not say for how long.
pub(super) const LIMITED_PAUSE_S: Duration = Duration::from_secs(5);

/// Too many calls: the same question is right, later.
const RATE: [&str; 30] = [
    "rate limit",
    "rate-limit",
    "ratelimit",
    "rate exceeded",
    "request rate",
    "call rate",
    "rate of requests",
    "too many requests",
    "too many connections",
    "too many concurrent",
    "concurrent request",
    "concurrency limit",
    "per second",
    "/second",
    "/sec",
    "per minute",
    "rps limit",
    " rps",
    "requests limit",
    "request limit",
    "request count",
    "compute unit",
    "throughput",
    "throttl",
    "quota",
    "credits",
    "daily limit",
    "monthly",
    "capacity exceeded",
    "payment required",
];
/// What a plan allows, and that it is used up: a plan's name alone stands in words about ranges and timeouts too.
const ALLOWANCE: [&str; 8] =
    ["plan", "tier", "subscription", "usage", "allowance", "balance", "daily", "request"];
const USED_UP: [&str; 6] =
    ["used up", "exhausted", "usage limit", "limit exceeded", "limit reached", "exceeded the limit"];
/// A block that the node does not have yet, in the words of nodes and of what stands before them.
const HEAD: [&str; 10] = [
    "header not found",
    "unknown block",
    "blockoutofrange",
    "block out of range",
    "beyond head",
    "beyond the head",
    "unfinalized data",
    "into the future",
    "in the future",
    "future block",
];
/// The same, in two parts: that a height lies over another, and that the other is the node's highest.
const OVER: [&str; 8] =
    ["beyond", "exceeds", "exceed", "greater than", "higher than", "larger than", "above", "after"];
const TOP: [&str; 7] =
    ["current head", "chain head", "head block", "latest", "last accepted", "best block", "current block"];
/// Less is wanted, said outright.
const LESS: [&str; 28] = [
    "query returned more than",
    "returned more than",
    "max results",
    "too many results",
    "too many logs",
    "too many blocks",
    "too many events",
    "logs matched",
    "response size",
    "response is too big",
    "response is too large",
    "response too large",
    "response too big",
    "result too large",
    "result set too large",
    "result is too large",
    "entity too large",
    "number of blocks",
    "number of requested blocks",
    "limit the query to",
    "narrow your filter",
    "narrow down",
    "query more than",
    "blocks per request",
    "blocks per query",
    "reduce your block",
    "blocks distance",
    "must be smaller than",
];
/// Beside "range", what says that it is the range that is too large.
const TOO_LARGE: [&str; 16] = [
    "limit",
    "exceed",
    "large",
    "big",
    "wide",
    "high",
    "max",
    "up to",
    "more than",
    "over",
    "greater",
    "too",
    "allowed",
    "reduc",
    "smaller",
    "retry with",
];

/// Sorts a refusal. `code` is 0 where the node gave none.
pub(super) fn sorted(method: &'static str, code: i64, message: &str, data: Option<&Value>) -> RpcError {
    let all = all_words(message, data);
    let message = cut(&all);
    let words = all.to_lowercase();
    let any = |list: &[&str]| list.iter().any(|word| words.contains(word));
    if code == METHOD_NOT_FOUND || (method == "eth_call" && is_revert_told(code, &words)) {
        return RpcError::Refused { method, code, message };
    }
    if is_of_head(&words) {
        return RpcError::Behind { method, message };
    }
    let about_range = method == "eth_getLogs"
        && (code == 413 || any(&LESS) || (words.contains("range") && any(&TOO_LARGE)));
    let about_rate = matches!(code, 429 | 402) || any(&RATE);
    if about_range && !about_rate {
        return RpcError::RangeTooLarge(message);
    }
    // Words of both are words that we do not understand.
    if !about_range && (about_rate || is_rate(&words)) {
        return RpcError::Limited { method, code, message, pause: pause_told(&words, data) };
    }
    RpcError::Refused { method, code, message }
}

/// Whether words, in lower case, say that the node does not have a block. Of a method they say the same.
fn is_of_head(words: &str) -> bool {
    let any = |list: &[&str]| list.iter().any(|word| words.contains(word));
    let of_a_method = any(&["method", "eth_"]);
    let of_a_block = words.contains("could not be found")
        || (any(&["block", "header"]) && any(&["not found", "cannot be found", "could not get header"]));
    let over_the_top = |over: &&str| {
        let over_it = |top: &&str| {
            words.contains(&format!("{over} {top}")) || words.contains(&format!("{over} the {top}"))
        };
        TOP.iter().any(over_it)
    };
    any(&HEAD) || OVER.iter().any(over_the_top) || (of_a_block && !of_a_method)
}

/// Whether words, in lower case, are of rate, quota or plan.
pub(super) fn is_rate(words: &str) -> bool {
    let any = |list: &[&str]| list.iter().any(|word| words.contains(word));
    any(&RATE) || (any(&USED_UP) && any(&ALLOWANCE))
}

/// Whether a refused `eth_call` is the contract's answer. Nodes agree on code 3, and on words where they use another.
pub(super) fn is_revert_told(code: i64, words: &str) -> bool {
    let told =
        ["revert", "invalid opcode", "stack underflow", "out of gas", "invalid jump", "vm execution error"];
    code == 3 || told.iter().any(|word| words.contains(word))
}

/// The message with the texts of `error.data`, where some providers put all that they have to say.
fn all_words(message: &str, data: Option<&Value>) -> String {
    let mut texts = vec![message.trim().to_owned()];
    if let Some(data) = data {
        gather(data, DATA_DEPTH_MAX, &mut texts);
    }
    texts.retain(|text| !text.is_empty());
    texts.join(": ")
}

/// Collects the texts of `data`. Ids, addresses and bytes are one word; a text has two.
fn gather(data: &Value, depth: usize, texts: &mut Vec<String>) {
    if depth == 0 || texts.len() > DATA_TEXTS_MAX {
        return;
    }
    match data {
        Value::String(text) => {
            let text = text.trim();
            let is_new = !texts.iter().any(|known| known.contains(text));
            if text.contains(' ') && is_new {
                texts.push(text.to_owned());
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, depth - 1, texts)),
        Value::Object(fields) => fields.values().for_each(|field| gather(field, depth - 1, texts)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A node's words as they may be shown: without what a terminal would obey, cut.
pub(super) fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect()
}

/// How long a refusal asks to wait, by its words ("try again in 10 s") or a field of its data (`backoff_seconds`).
pub(super) fn pause_told(words: &str, data: Option<&Value>) -> Option<Duration> {
    let told = data.and_then(|data| in_data(data, DATA_DEPTH_MAX)).or_else(|| in_words(words));
    told.map(|pause| pause.min(PAUSE_TOLD_S_MAX))
}

fn in_data(data: &Value, depth: usize) -> Option<Duration> {
    let depth = depth.checked_sub(1)?;
    match data {
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            let name = name.to_lowercase();
            let asks = ["backoff", "retry", "wait", "again"].iter().any(|cue| name.contains(cue));
            let here = match field {
                Value::Number(_) | Value::String(_) if asks => {
                    let text = field.as_str().map_or_else(|| field.to_string(), str::to_lowercase);
                    let unit = if name.ends_with("ms") || name.contains("milli") { "ms" } else { "s" };
                    length(&text, Some(unit))
                }
                _ => None,
            };
            here.or_else(|| in_data(field, depth))
        }),
        Value::Array(items) => items.iter().find_map(|item| in_data(item, depth)),
        _ => None,
    }
}

/// "… again in 10 s", "retry in 10m0s", "retry after 5 seconds", "wait 30s".
fn in_words(words: &str) -> Option<Duration> {
    let mut parts =
        words.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | ':' | '(' | ')' | '"'));
    let cues = ["in", "after", "wait", "retry-after", "retry_after", "backoff"];
    let hints = ["again", "retry", "wait", "back off", "backoff", "reset"];
    if !hints.iter().any(|hint| words.contains(hint)) {
        return None;
    }
    while let Some(part) = parts.next() {
        if !cues.contains(&part) {
            continue;
        }
        let mut ahead = parts.clone().filter(|part| !part.is_empty());
        let number = ahead.next()?;
        let unit = ahead.next();
        if let Some(pause) = length(number.trim_end_matches('.'), unit.or(Some("s"))) {
            return Some(pause);
        }
    }
    None
}

/// A length of time: `10m0s`, `250ms`, or a number whose unit stands beside it.
fn length(text: &str, unit: Option<&str>) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    if !rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (whole, after) = rest.split_at(digits);
        let mut number: u64 = whole.parse().ok()?;
        let mut after = after;
        if let Some(fraction) = after.strip_prefix('.') {
            // A started unit counts whole.
            let digits = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
            number = number.saturating_add(u64::from(fraction[..digits].bytes().any(|b| b != b'0')));
            after = &fraction[digits..];
        }
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (named, next) = after.split_at(letters);
        let named = if named.is_empty() { unit? } else { named };
        sum = sum.saturating_add(of_unit(number, named)?);
        if letters == 0 && !next.is_empty() {
            return None;
        }
        rest = next;
    }
    Some(sum)
}

fn of_unit(number: u64, unit: &str) -> Option<Duration> {
    Some(match unit.trim_end_matches(|c: char| !c.is_ascii_alphabetic()) {
        "ms" | "msec" | "millis" | "milliseconds" | "millisecond" => Duration::from_millis(number),
        "s" | "sec" | "secs" | "second" | "seconds" => Duration::from_secs(number),
        "m" | "min" | "mins" | "minute" | "minutes" => Duration::from_secs(number.saturating_mul(60)),
        "h" | "hour" | "hours" => Duration::from_secs(number.saturating_mul(3_600)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(error: &RpcError) -> &'static str {
        match error {
            RpcError::Limited { .. } => "wait",
            RpcError::Behind { .. } => "behind",
            RpcError::RangeTooLarge(_) => "less",
            RpcError::Refused { .. } => "unknown",
            _ => "another",
        }
    }

    #[test]
    fn words_alone_tell_a_range_a_rate_and_a_node_behind() {
        for (code, message, wanted) in [
            (-32005, "query returned more than 10000 results", "less"),
            (-32600, "eth_getLogs is limited to a 10,000 range", "less"),
            (-32000, "block range is too wide: exceed maximum block range", "less"),
            (-32005, "daily request count exceeded, request rate limited", "wait"),
            (-32005, "You've exceeded the RPS limit available on the current plan.", "wait"),
            (429, "no", "wait"),
            (-32000, "header not found", "behind"),
            (-32602, "BlockOutOfRangeError: block height is 101 but requested was 4096", "behind"),
            (30, "Request timeout on the free tier, please upgrade your tier to the paid one", "unknown"),
            (-32005, "limit", "unknown"),
        ] {
            assert_eq!(verdict(&sorted("eth_getLogs", code, message, None)), wanted, "{message}");
        }
    }

    #[test]
    fn a_contracts_own_words_are_not_the_nodes() {
        for words in ["execution reverted: rate limit exceeded", "execution reverted: header not found"] {
            assert_eq!(verdict(&sorted("eth_call", 3, words, None)), "unknown");
            assert_eq!(verdict(&sorted("eth_call", -32000, words, None)), "unknown");
        }
    }

    #[test]
    fn data_speaks_where_the_message_does_not() {
        let data = json!({ "error_id": "4ed94073-0317", "payload": "range 9009594 is bigger than range limit 2000" });
        let RpcError::RangeTooLarge(words) = sorted("eth_getLogs", -32602, "invalid params", Some(&data))
        else {
            panic!("less")
        };
        assert_eq!(words, "invalid params: range 9009594 is bigger than range limit 2000");
        let bytes = json!("0x08c379a0");
        let error = sorted("eth_call", 3, "execution reverted", Some(&bytes));
        assert_eq!(error.to_string(), "the node refuses eth_call: execution reverted (code 3)");
    }

    #[test]
    fn a_pause_is_read_from_words_and_data_and_bounded() {
        let s = Duration::from_secs;
        for (words, data, pause) in [
            ("try again in 10 s", json!(null), Some(s(10))),
            ("call rate limit exhausted, retry in 10m0s", json!(null), Some(s(60))),
            ("retry after 250ms", json!(null), Some(Duration::from_millis(250))),
            ("please wait 2 minutes.", json!(null), Some(s(60))),
            ("retry in 1.5s", json!(null), Some(s(2))),
            ("retry after 7", json!(null), Some(s(7))),
            ("slow down", json!({ "rate": { "backoff_seconds": 30, "allowed_rps": 1 } }), Some(s(30))),
            ("slow down", json!({ "retry_after_ms": 1500 }), Some(Duration::from_millis(1_500))),
            ("slow down", json!({ "try_again_in": "743.4ms" }), Some(Duration::from_millis(744))),
            ("slow down", json!({ "see": "https://node.example" }), None),
            ("more than 10 requests in 5 seconds", json!(null), None),
            ("retry in a while", json!(null), None),
            ("retry in 99999999999999999999 h", json!(null), None),
            ("retry in 9999999999999 h", json!(null), Some(s(60))),
        ] {
            assert_eq!(pause_told(words, Some(&data)), pause, "{words} {data}");
        }
    }
}
