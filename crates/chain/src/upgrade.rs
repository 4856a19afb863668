//! What a server says that answers the handshake with something else than a WebSocket.
//!
//! It refuses to know the URL that was asked for. Invariant: of a redirect's target only scheme and host are told.

use std::time::Duration;

use tokio_tungstenite::tungstenite::http::{Response, StatusCode, header};

use super::error::Lost;
use super::frame::words_of;
use super::refusal::{self, LIMITED_PAUSE_S, PAUSE_TOLD_S_MAX};
use super::secrets::shown;
use crate::units::Millis;

/// Of a body, so much is looked at.
const BODY_BYTES_MAX: usize = 4_096;

/// Why there is no WebSocket, and when to come back. Of the body there is what came with the headers.
pub(super) fn refused(response: &Response<Option<Vec<u8>>>, now: Millis) -> Lost {
    let status = response.status();
    let text = |name: header::HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
    let mut why = format!("the server answered HTTP {}", status.as_u16());
    if let Some(reason) = status.canonical_reason() {
        why += &format!(" {reason}");
    }
    let body = response.body().as_deref().unwrap_or_default();
    let body = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]).into_owned();
    let words = words_of(&body);
    if !words.is_empty() {
        why += &format!(": {words}");
    }
    if let Some(advice) = advice(status, text(header::LOCATION)) {
        why += &format!("; {advice}");
    }
    let told = text(header::RETRY_AFTER).and_then(|told| retry_after(told, now));
    let limited = matches!(status.as_u16(), 402 | 429) || refusal::is_rate(&words.to_lowercase());
    let pause = told.or_else(|| refusal::pause_told(&words.to_lowercase(), None));
    Lost { why, pause: pause.or(limited.then_some(LIMITED_PAUSE_S)) }
}

fn advice(status: StatusCode, location: Option<&str>) -> Option<String> {
    Some(match (status.as_u16(), location) {
        (301 | 302 | 303 | 307 | 308, Some(to)) if to.contains("://") => {
            format!("it sends to {}: set WS_RPC_URL to the address there", shown(to))
        }
        (300..=399, _) => "it sends elsewhere: check WS_RPC_URL".to_owned(),
        (401 | 403, _) => "check the key in WS_RPC_URL, and what it is allowed".to_owned(),
        (402, _) => "check the plan at the provider".to_owned(),
        (404 | 410, _) => "check the path of WS_RPC_URL".to_owned(),
        (200 | 400 | 405 | 426, _) => "is WS_RPC_URL the WebSocket address?".to_owned(),
        _ => return None,
    })
}

/// `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
fn retry_after(told: &str, now: Millis) -> Option<Duration> {
    let told = told.trim();
    let pause = match told.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(told).ok()?.timestamp().as_millisecond();
            Duration::from_millis(u64::try_from(Millis(at).since(now)).unwrap_or(0))
        }
    };
    Some(pause.min(PAUSE_TOLD_S_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, headers: &[(&str, &str)], body: &str) -> (String, Option<u64>) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let lost = refused(&response.body(Some(body.into())).unwrap(), Millis(1_764_547_200_000));
        (lost.why, lost.pause.map(|pause| pause.as_secs()))
    }

    #[test]
    fn a_refused_upgrade_says_what_the_server_said_and_what_to_check() {
        let server = |words: &str| format!("the server answered HTTP {words}");
        for (status, headers, body, why, pause) in [
            (
                429,
                &[("Retry-After", "30")][..],
                r#"{"jsonrpc":"2.0","error":{"code":429,"message":"too many connections"}}"#,
                "429 Too Many Requests: too many connections",
                Some(30),
            ),
            (429, &[], "", "429 Too Many Requests", Some(5)),
            (
                503,
                &[("Retry-After", "Mon, 01 Dec 2025 00:00:20 GMT")],
                "",
                "503 Service Unavailable",
                Some(20),
            ),
            (
                503,
                &[("Retry-After", "Sun, 30 Nov 2025 00:00:20 GMT")],
                "",
                "503 Service Unavailable",
                Some(0),
            ),
            (503, &[("Retry-After", "86400")], "", "503 Service Unavailable", Some(60)),
            (503, &[("Retry-After", "soon")], "", "503 Service Unavailable", None),
            (
                401,
                &[],
                r#"{"error":"invalid project id"}"#,
                "401 Unauthorized: invalid project id; check the key in WS_RPC_URL, and what it is allowed",
                None,
            ),
            (
                403,
                &[],
                "<html><title>403 Forbidden</title></html>",
                "403 Forbidden: 403 Forbidden; check the key in WS_RPC_URL, and what it is allowed",
                None,
            ),
            (
                403,
                &[],
                "daily quota exceeded",
                "403 Forbidden: daily quota exceeded; check the key in WS_RPC_URL, and what it is allowed",
                Some(5),
            ),
            (402, &[], "", "402 Payment Required; check the plan at the provider", Some(5)),
            (404, &[], "", "404 Not Found; check the path of WS_RPC_URL", None),
            (
                301,
                &[("Location", "wss://joe:x@other.example/v3/KEY")],
                "",
                "301 Moved Permanently; it sends to wss://other.example: set WS_RPC_URL to the address there",
                None,
            ),
            (
                302,
                &[("Location", "/login?key=KEY")],
                "",
                "302 Found; it sends elsewhere: check WS_RPC_URL",
                None,
            ),
            (200, &[], "", "200 OK; is WS_RPC_URL the WebSocket address?", None),
        ] {
            assert_eq!(told(status, headers, body), (server(why), pause), "{status} {body}");
        }
    }
}
