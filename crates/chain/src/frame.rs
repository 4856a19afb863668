//! What one text frame of a node holds: a response, a notification, a refusal that names no question, or mere words.
//!
//! What is well formed is alloy's to read. Nodes, and above all what stands before them, also send errors without a
//! code, with a code in quotes, with a null id, as a bare text, or beside `"result"` as a null; alloy rejects the whole
//! frame then, and with it every word of why. It refuses to know what was asked.
//!
//! Invariant: no error loses its words here, and nothing that is not a response is taken for a success.

use alloy::rpc::json_rpc::{ErrorPayload, Id, PubSubItem, Response, ResponsePayload};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

/// Where an error's own words stand, the best place first.
const MESSAGES: [&str; 6] = ["message", "error", "reason", "detail", "details", "description"];

/// A text frame.
#[derive(Debug)]
pub enum Frame {
    /// A response to a question, or a notification.
    Item(PubSubItem),
    /// An error that does not say which question it answers.
    Refusal(ErrorPayload),
    /// No JSON-RPC: the node's own words, whole.
    Words(String),
}

/// Reads a frame.
pub fn read(text: &str) -> Frame {
    match serde_json::from_str::<PubSubItem>(text) {
        Ok(PubSubItem::Response(Response { payload: ResponsePayload::Failure(_), .. })) | Err(_) => {
            // An error is read anew: beside the three fields that alloy keeps stands, with some, all that they say.
            let whole = serde_json::from_str::<Value>(text).ok();
            whole.and_then(loose).unwrap_or_else(|| Frame::Words(text.to_owned()))
        }
        Ok(item) => Frame::Item(item),
    }
}

fn loose(frame: Value) -> Option<Frame> {
    let Value::Object(mut fields) = frame else { return None };
    let id = fields.remove("id").map_or(Id::None, id_of);
    let error = fields.remove("error").filter(|error| !error.is_null());
    let payload = match (error, fields.remove("result")) {
        (Some(error), _) => ResponsePayload::Failure(error_of(error)),
        (None, Some(result)) => ResponsePayload::Success(to_raw_value(&result).ok()?),
        // Of a gateway that does not know JSON-RPC.
        (None, None) if fields.contains_key("message") && !fields.contains_key("params") => {
            ResponsePayload::Failure(error_of(Value::Object(fields)))
        }
        (None, None) => return None,
    };
    Some(match (id, payload) {
        (Id::None, ResponsePayload::Failure(error)) => Frame::Refusal(error),
        (Id::None, ResponsePayload::Success(_)) => return None,
        (id, payload) => Frame::Item(PubSubItem::Response(Response { id, payload })),
    })
}

fn id_of(id: Value) -> Id {
    match &id {
        Value::Number(number) => number.as_u64().map_or(Id::None, Id::Number),
        // Our ids are numbers; some gateways put them into quotes.
        Value::String(text) => text.parse().map_or_else(|_| Id::String(text.clone()), Id::Number),
        _ => Id::None,
    }
}

fn error_of(error: Value) -> ErrorPayload {
    match error {
        Value::Object(mut fields) => {
            let code = fields.remove("code").as_ref().and_then(whole).unwrap_or(0);
            let message = message_of(&mut fields);
            // What else it says is kept as its data.
            let data = (!fields.is_empty()).then(|| to_raw_value(&fields).ok()).flatten();
            payload(code, message, data)
        }
        Value::String(text) => payload(0, text, None),
        other => payload(0, other.to_string(), None),
    }
}

fn whole(code: &Value) -> Option<i64> {
    code.as_i64().or_else(|| code.as_str()?.trim().parse().ok())
}

fn payload(code: i64, message: String, data: Option<Box<RawValue>>) -> ErrorPayload {
    ErrorPayload { code, message: message.into(), data }
}

fn message_of(fields: &mut Map<String, Value>) -> String {
    let is_text = |name: &&&str| fields.get(**name).is_some_and(|field| field.is_string() && *field != "");
    let Some(name) = MESSAGES.iter().find(is_text) else { return String::new() };
    let text = fields.remove(*name);
    text.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// What the body of a refused upgrade, or a frame that is no JSON-RPC, says: the words of a JSON error, the title of a
/// page, or the text as it is.
pub(super) fn words_of(text: &str) -> String {
    if let Ok(body) = serde_json::from_str::<Value>(text) {
        let error = match body {
            Value::Object(mut fields) => match fields.remove("error") {
                Some(error) if !error.is_null() => error_of(error),
                _ => error_of(Value::Object(fields)),
            },
            other => error_of(other),
        };
        return error.message.into_owned();
    }
    let text = text.trim();
    if !text.starts_with('<') {
        return text.to_owned();
    }
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|start| {
        let start = start + "<title>".len();
        let end = start + lower.get(start..)?.find("</title>")?;
        text.get(start..end)
    });
    title.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let error = |error: ErrorPayload| format!("{} {}", error.code, error.message);
        match read(text) {
            Frame::Item(PubSubItem::Response(Response { id, payload })) => match payload {
                ResponsePayload::Success(result) => format!("{id}: {result}"),
                ResponsePayload::Failure(payload) => format!("{id}: {}", error(payload)),
            },
            Frame::Item(PubSubItem::Notification(notice)) => format!("pushed {}", notice.result),
            Frame::Refusal(payload) => format!("nobody's: {}", error(payload)),
            Frame::Words(words) => format!("words: {words}"),
        }
    }

    #[test]
    fn every_form_of_an_error_yields_its_words() {
        for (text, expected) in [
            (r#"{"jsonrpc":"2.0","id":7,"result":"0x1"}"#, r#"7: "0x1""#),
            (r#"{"jsonrpc":"2.0","id":7,"result":null}"#, "7: null"),
            (r#"{"jsonrpc":"2.0","id":7,"result":"0x1","error":null}"#, r#"7: "0x1""#),
            (r#"{"id":"7","result":"0x1","error":null}"#, r#"7: "0x1""#),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32005,"message":"no"}}"#, "7: -32005 no"),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"message":"no"}}"#, "7: 0 no"),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":"-32005","message":"no"}}"#, "7: -32005 no"),
            (r#"{"jsonrpc":"2.0","id":7,"error":{"code":"E_PLAN","reason":"no"}}"#, "7: 0 no"),
            (r#"{"jsonrpc":"2.0","id":7,"error":"no"}"#, "7: 0 no"),
            (r#"{"jsonrpc":"2.0","id":7,"error":false}"#, "7: 0 false"),
            (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"no"}}"#, "nobody's: -32005 no"),
            (r#"{"jsonrpc":"2.0","error":{"code":-32005,"message":"no"}}"#, "nobody's: -32005 no"),
            (r#"{"message":"no","code":429}"#, "nobody's: 429 no"),
            (r#"{"jsonrpc":"2.0","id":null,"result":"0x1"}"#, r#"null: "0x1""#),
            (r#"{"jsonrpc":"2.0","id":"x"}"#, r#"words: {"jsonrpc":"2.0","id":"x"}"#),
            (r#"{"method":"eth_subscription","params":{"subscription":"0x1","result":5}}"#, "pushed 5"),
            ("Too many connections.", "words: Too many connections."),
        ] {
            assert_eq!(told(text), expected);
        }
    }

    #[test]
    fn what_stands_beside_an_errors_message_is_its_data() {
        let Frame::Item(PubSubItem::Response(Response { payload: ResponsePayload::Failure(error), .. })) =
            read(
                r#"{"id":7,"error":{"code":402,"event":-33000,"message":"Payment Required","details":"You are over"}}"#,
            )
        else {
            panic!("a refusal")
        };
        assert!(error.data.unwrap().get().contains("You are over"));
    }

    #[test]
    fn a_body_is_shown_by_its_words() {
        for (body, words) in [
            (r#"{"error":"invalid project id"}"#, "invalid project id"),
            (r#"{"jsonrpc":"2.0","error":{"code":429,"message":"too many"}}"#, "too many"),
            (r#"{"message":"no key"}"#, "no key"),
            ("<html><head><TITLE>403 Forbidden</TITLE></head>", "403 Forbidden"),
            ("<html><body>nothing</body>", ""),
            (" plain \n", "plain"),
            ("", ""),
        ] {
            assert_eq!(words_of(body), words, "{body}");
        }
    }
}
