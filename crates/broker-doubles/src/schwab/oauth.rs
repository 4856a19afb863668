//! The login: authorize, exchange, refresh; tokens that end, rotate, or are killed.
//!
//! The seven days count from the login, never from a refresh. A second login ends the refresh token of the first. Both
//! answers to the open question whether a refresh token changes at each refresh are one switch away.
//!
//! Invariant: at most one refresh token is good at any time.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::{Reply, Request};

/// The application's key, right unless a test changes it.
pub const APP_KEY: &str = "doubleappkey0000000000000000CANA";
/// Its secret.
pub const APP_SECRET: &str = "doubleCANARYsecr";
/// The callback that the application is registered with.
pub const CALLBACK: &str = "https://127.0.0.1:8182";

/// How long things live, and what the contract leaves open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OAuth {
    /// A refresh gives a new refresh token, and the old one dies at once.
    pub rotate_refresh: bool,
    /// Seven days.
    pub refresh_ttl_s: i64,
    /// Thirty minutes.
    pub access_ttl_s: i64,
    /// Thirty seconds.
    pub code_ttl_s: i64,
    /// The application's key.
    pub app_key: String,
    /// Its secret.
    pub app_secret: String,
    /// Callbacks that are registered.
    pub callbacks: Vec<String>,
    /// The dead refresh token's error has its inner quotes escaped.
    pub escaped_errors: bool,
}

impl Default for OAuth {
    fn default() -> Self {
        Self {
            rotate_refresh: false,
            refresh_ttl_s: 7 * 86_400,
            access_ttl_s: 1_800,
            code_ttl_s: 30,
            app_key: APP_KEY.into(),
            app_secret: APP_SECRET.into(),
            callbacks: vec![CALLBACK.into(), "https://127.0.0.1".into()],
            escaped_errors: false,
        }
    }
}

#[derive(Debug, Clone)]
struct Code {
    text: String,
    callback: String,
    issued_ms: i64,
    used: bool,
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    until_ms: i64,
}

/// Codes and tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk {
    /// How it behaves.
    pub(super) rules: OAuth,
    codes: Vec<Code>,
    access: Vec<Token>,
    refresh: Option<Token>,
    issued: u64,
}

/// What a token call came to, for the log.
pub(super) type Told = (Reply, &'static str);

impl Desk {
    fn name(&mut self, prefix: &str) -> String {
        self.issued += 1;
        // Like the real ones: a dot or two, and an @ at the end, which every form has to encode once.
        format!(
            "{prefix}.b0F1dGhDQU5BUlk{:04}.dG9rZW4tQ0FOQVJZ{:08x}@",
            self.issued,
            self.issued * 2_654_435_761 % 0xffff_ffff
        )
    }

    /// Whether an API call with this `Authorization` is let in.
    pub(super) fn lets_in(&self, request: &Request, now: i64) -> bool {
        let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        self.access.iter().any(|token| Some(token.text.as_str()) == bearer && now < token.until_ms)
    }

    /// Kills every access token.
    pub(super) fn revoke_access(&mut self) {
        self.access.clear();
    }

    /// Kills the refresh token: seven days are over, or somebody logged in elsewhere.
    pub(super) fn end_refresh(&mut self) {
        self.refresh = None;
    }

    /// Logs in without a browser: an access and a refresh token.
    pub(super) fn log_in(&mut self, now: i64) -> (String, String) {
        let access = self.issue_access(now);
        (access, self.issue_refresh(now))
    }

    fn issue_access(&mut self, now: i64) -> String {
        let text = self.name("I0");
        self.access.push(Token { text: text.clone(), until_ms: now + self.rules.access_ttl_s * 1_000 });
        text
    }

    fn issue_refresh(&mut self, now: i64) -> String {
        let text = self.name("R0");
        self.refresh = Some(Token { text: text.clone(), until_ms: now + self.rules.refresh_ttl_s * 1_000 });
        text
    }

    /// The browser's step: a person has said yes.
    pub(super) fn authorize(&mut self, request: &Request, now: i64) -> Reply {
        let callback = request.parameter("redirect_uri").unwrap_or_default().to_owned();
        if request.parameter("client_id") != Some(self.rules.app_key.as_str()) {
            return refuse(400, "invalid_client", "Invalid client identifier");
        }
        if !self.rules.callbacks.contains(&callback) {
            return refuse(400, "invalid_request", "redirect_uri is not registered");
        }
        let text = self.name("C0");
        let shown = text.replace('@', "%40");
        self.codes.push(Code { text, callback: callback.clone(), issued_ms: now, used: false });
        let session = format!("7d1b3a52-0000-4000-8000-{:012x}", self.issued);
        let state = request.parameter("state").map(|state| format!("&state={state}")).unwrap_or_default();
        let location = format!("{callback}/?code={shown}&session={session}{state}");
        let mut reply = Reply::json(302, &Value::Null).with("Location", &location);
        reply.body.clear();
        reply
    }

    /// `POST /v1/oauth/token`.
    pub(super) fn token(&mut self, request: &Request, now: i64, without_refresh: bool) -> Told {
        if !self.knows_application(request) {
            return (refuse(401, "invalid_client", "Unauthorized"), "wrong application");
        }
        let form = request.form();
        let field =
            |name: &str| form.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match field("grant_type") {
            Some("authorization_code") => {
                let (code, callback) = (field("code").unwrap_or_default(), field("redirect_uri"));
                self.exchange(code, callback, now, without_refresh)
            }
            Some("refresh_token") => {
                let given = field("refresh_token").unwrap_or_default().to_owned();
                self.refresh(&given, now, without_refresh)
            }
            _ => (refuse(400, "unsupported_grant_type", "grant_type"), "wrong grant"),
        }
    }

    fn exchange(&mut self, given: &str, callback: Option<&str>, now: i64, without_refresh: bool) -> Told {
        let ttl_ms = self.rules.code_ttl_s * 1_000;
        // A code that still has `%40` in it was encoded twice, and is no code.
        let good = self.codes.iter_mut().find(|code| code.text == given && !code.used);
        let Some(code) =
            good.filter(|code| now - code.issued_ms < ttl_ms && callback == Some(&code.callback))
        else {
            return (
                refuse(400, "invalid_grant", "The authorization code is invalid, expired or used"),
                "wrong code",
            );
        };
        code.used = true;
        let (access, refresh) = self.log_in(now);
        (self.tokens(&access, (!without_refresh).then_some(refresh.as_str())), "logged in")
    }

    fn refresh(&mut self, given: &str, now: i64, without_refresh: bool) -> Told {
        let Some(token) = self.refresh.clone().filter(|token| token.text == given && now < token.until_ms)
        else {
            return (self.dead(), "refresh refused");
        };
        let access = self.issue_access(now);
        let mut refresh = token.text.clone();
        if self.rules.rotate_refresh {
            refresh = self.name("R0");
            // The seven days do not begin anew.
            self.refresh = Some(Token { text: refresh.clone(), until_ms: token.until_ms });
        }
        (self.tokens(&access, (!without_refresh).then_some(refresh.as_str())), "refreshed")
    }

    fn tokens(&self, access: &str, refresh: Option<&str>) -> Reply {
        let mut body = json!({
            "expires_in": self.rules.access_ttl_s,
            "token_type": "Bearer",
            "scope": "api",
            "access_token": access,
            "id_token": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJDQU5BUlkifQ.",
        });
        if let Some(refresh) = refresh {
            body["refresh_token"] = json!(refresh);
        }
        Reply::json(200, &body)
    }

    /// What the real one says of a refresh token that is over. Its inner quotes are not always escaped, and then the
    /// body is no JSON.
    pub(super) fn dead(&self) -> Reply {
        let inner =
            r#"{"error_description":"Refresh token is invalid, expired or revoked","error":"invalid_grant"}"#;
        self.nested(inner)
    }

    /// What it says now and then of one that is good.
    pub(super) fn flaky(&self) -> Reply {
        let inner = r#"{"error_description":"Exception while authenticating refresh token [tokenDigest=q83vEjRWeJA=, Exception=Failed refresh token authentication [tokenDigest=q83vEjRWeJA=]]","error":"refresh_token_authentication_error"}"#;
        self.nested(inner)
    }

    fn nested(&self, inner: &str) -> Reply {
        let words = format!("400 Bad Request: \"{inner}\"");
        let body = json!({ "error": "unsupported_token_type", "error_description": words });
        let mut reply = Reply::json(400, &body);
        if !self.rules.escaped_errors {
            reply.body = format!(
                r#"{{"error":"unsupported_token_type","error_description":"400 Bad Request: \"{inner}\""}}"#
            )
            .into_bytes();
        }
        reply
    }

    fn knows_application(&self, request: &Request) -> bool {
        let expected = BASE64_STANDARD.encode(format!("{}:{}", self.rules.app_key, self.rules.app_secret));
        request.header("authorization") == Some(&format!("Basic {expected}"))
    }
}

fn refuse(status: u16, error: &str, words: &str) -> Reply {
    Reply::json(status, &json!({ "error": error, "error_description": words }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Request {
        let basic = BASE64_STANDARD.encode(format!("{APP_KEY}:{APP_SECRET}"));
        Request {
            method: "POST".into(),
            path: "/v1/oauth/token".into(),
            query: vec![],
            headers: vec![("authorization".into(), format!("Basic {basic}"))],
            body: body.as_bytes().to_vec(),
        }
    }

    fn authorize(desk: &mut Desk, now: i64) -> String {
        let request = Request {
            method: "GET".into(),
            path: "/v1/oauth/authorize".into(),
            query: vec![("client_id".into(), APP_KEY.into()), ("redirect_uri".into(), CALLBACK.into())],
            headers: vec![],
            body: vec![],
        };
        let reply = desk.authorize(&request, now);
        let location = reply.headers.iter().find(|(name, _)| name == "Location").unwrap().1.clone();
        assert!(location.starts_with("https://127.0.0.1:8182/?code=C0."), "{location}");
        location.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned()
    }

    #[test]
    fn a_code_is_good_once_for_thirty_seconds_and_not_when_it_was_encoded_twice() {
        let mut desk = Desk::default();
        let code = authorize(&mut desk, 0);
        assert!(code.ends_with("%40"));
        let ask = |code: &str| {
            format!("grant_type=authorization_code&code={code}&redirect_uri=https%3A%2F%2F127.0.0.1%3A8182")
        };
        let twice = code.replace('%', "%25");
        assert_eq!(desk.token(&form(&ask(&twice)), 1, false).0.status, 400);
        assert_eq!(desk.token(&form(&ask(&code)), 1, false).0.status, 200);
        assert_eq!(desk.token(&form(&ask(&code)), 2, false).0.status, 400, "used");
        let code = authorize(&mut desk, 100);
        assert_eq!(desk.token(&form(&ask(&code)), 30_100, false).0.status, 400, "too late");
        let other = ask(&authorize(&mut desk, 0)).replace("8182", "8183");
        assert_eq!(desk.token(&form(&other), 1, false).0.status, 400, "another callback");
    }

    #[test]
    fn a_refresh_rotates_or_not_and_never_begins_the_seven_days_anew() {
        for rotate in [false, true] {
            let mut desk = Desk::default();
            desk.rules.rotate_refresh = rotate;
            let (_, first) = desk.log_in(0);
            let ask = |token: &str| {
                form(&format!("grant_type=refresh_token&refresh_token={}", token.replace('@', "%40")))
            };
            let (reply, _) = desk.token(&ask(&first), 1_000, false);
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            let second = body["refresh_token"].as_str().unwrap().to_owned();
            assert_eq!(second == first, !rotate);
            assert_eq!(desk.token(&ask(&first), 2_000, false).0.status, if rotate { 400 } else { 200 });
            let week = 7 * 86_400_000;
            assert_eq!(desk.token(&ask(&second), week - 1, false).0.status, 200);
            let (dead, _) = desk.token(&ask(&second), week, false);
            assert_eq!(dead.status, 400);
            assert!(serde_json::from_slice::<Value>(&dead.body).is_err(), "the real one's is no JSON either");
            desk.rules.escaped_errors = true;
            let (dead, _) = desk.token(&ask(&second), week, false);
            let body: Value = serde_json::from_slice(&dead.body).unwrap();
            assert!(body["error_description"].as_str().unwrap().contains("\"invalid_grant\""));
        }
    }

    #[test]
    fn a_second_login_ends_the_first_ones_refresh() {
        let mut desk = Desk::default();
        let (access, first) = desk.log_in(0);
        desk.log_in(1);
        let ask = form(&format!("grant_type=refresh_token&refresh_token={}", first.replace('@', "%40")));
        assert_eq!(desk.token(&ask, 2, false).0.status, 400);
        let mut call = form("");
        call.headers = vec![("authorization".into(), format!("Bearer {access}"))];
        assert!(desk.lets_in(&call, 3), "the access token lives on");
        assert!(!desk.lets_in(&call, 1_800_000));
    }
}
