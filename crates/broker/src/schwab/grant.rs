//! The login's language: the address a person opens, the address they come back with, the calls to the token endpoint
//! and what their answers mean.
//!
//! Pure. It refuses to know where tokens are kept and when one is asked for. The endpoint nests one error in another and
//! does not always escape the inner one, so words are looked for, not fields.
//!
//! A yes is used if a token is in it, whatever else is odd about it: the refresh token before it may be dead already, and
//! a code is good once.
//!
//! Invariant: no error and no `Debug` of this file holds a code or a token; of the endpoint's own words none that looks
//! like one is kept.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Mend;
use crate::digits::Digits;
use crate::http::{Answer, one_line};
pub use crate::secret::Secret;

/// Where a person logs in.
pub const AUTHORIZE_PATH: &str = "/v1/oauth/authorize";
/// Where codes and refresh tokens are exchanged.
pub const TOKEN_PATH: &str = "/v1/oauth/token";

/// An access token lives so long where the endpoint does not say it, in seconds: half an hour, as documented.
const LIFE_USUAL_S: i64 = 1_800;
/// What is kept of the endpoint's words.
const SAID_BYTES_MAX: usize = 200;
/// A run of so many letters and digits may be a token, and no word has a digit in it.
const TOKEN_CHARS_MIN: usize = 16;

/// What the endpoint gave.
#[derive(Clone, PartialEq, Eq)]
pub struct Granted {
    /// Goes with every call, for half an hour.
    pub access: Secret,
    /// Gives the next access token; none where the endpoint did not say one: the old one is still good.
    pub refresh: Option<Secret>,
    /// Of the access token, in seconds.
    pub expires_in_s: i64,
}

/// What only a person can mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The application's key or secret.
    Application,
    /// What was to be exchanged: a code or a refresh token.
    Grant,
    /// The login's address.
    Callback,
}

impl End {
    const fn words(self) -> &'static str {
        match self {
            Self::Application => "the broker does not know this APP_KEY with this APP_SECRET",
            Self::Grant => {
                "the login has ended: seven days are over, or there was another login or a new password"
            }
            Self::Callback => {
                "the broker does not accept the login's address: REDIRECT_URI must be the registered one"
            }
        }
    }

    /// What a person must do about it, after a refresh.
    #[must_use]
    pub const fn mend(self) -> Mend {
        match self {
            Self::Application => Mend::Application,
            Self::Grant | Self::Callback => Mend::LogIn,
        }
    }

    /// In words with the endpoint's own and the remedy, after a refresh.
    #[must_use]
    pub fn of_refresh(self, said: &str) -> String {
        let remedy = match self {
            Self::Application => "set the right ones and start the bot again",
            Self::Grant | Self::Callback => "type `auth login`",
        };
        format!("{} ({said}); {remedy}", self.words())
    }

    /// Which end the words of [`End::of_refresh`] are of.
    #[must_use]
    pub fn told_by(words: &str) -> Option<Self> {
        let all = [Self::Application, Self::Grant, Self::Callback];
        all.into_iter().find(|end| words.starts_with(end.words()))
    }

    /// In words with the endpoint's own, after a code.
    #[must_use]
    pub fn of_code(self, said: &str) -> String {
        match self {
            Self::Grant => format!(
                "the broker did not take the code ({said}): it is good once, for 30 seconds, and REDIRECT_URI must be the \
                 registered one; open the address once more"
            ),
            other => format!("{} ({said})", other.words()),
        }
    }
}

/// What an answer of the token endpoint means. What it says itself is one line, without what looks like a token.
pub enum Meaning {
    /// Tokens.
    Granted(Granted),
    /// Only a person can help: a new login, or another key; and what the endpoint says.
    Dead(End, String),
    /// A refusal that was seen to pass by itself; what the endpoint says.
    Doubtful(String),
    /// No statement about the token at all; in words.
    Away(String),
}

impl Meaning {
    /// The same, without these texts in its words.
    #[must_use]
    pub fn without(self, secrets: &[&str]) -> Self {
        let hide = |said: String| {
            let secrets = secrets.iter().filter(|secret| !secret.is_empty());
            secrets.fold(said, |said, secret| said.replace(*secret, "…"))
        };
        match self {
            Self::Granted(granted) => Self::Granted(granted),
            Self::Dead(end, said) => Self::Dead(end, hide(said)),
            Self::Doubtful(said) => Self::Doubtful(hide(said)),
            Self::Away(words) => Self::Away(hide(words)),
        }
    }
}

/// Reads an answer of the token endpoint.
#[must_use]
pub fn meaning(answer: &Answer) -> Meaning {
    if (200..300).contains(&answer.status) {
        // Its words could be tokens.
        let unread = || Meaning::Away(format!("HTTP {}: a yes whose answer can not be read", answer.status));
        return granted(&answer.body).map_or_else(unread, Meaning::Granted);
    }
    let text = String::from_utf8_lossy(&answer.body);
    let says = |word: &str| text.contains(word);
    let by_the_endpoint = matches!(answer.status, 400 | 401) && text.trim_start().starts_with('{');
    let said = said(answer.status, &text);
    if !by_the_endpoint {
        return Meaning::Away(said);
    }
    if says("invalid_client") || says("unauthorized_client") {
        return Meaning::Dead(End::Application, said);
    }
    if says("invalid_grant") {
        return Meaning::Dead(End::Grant, said);
    }
    if says("unsupported_token_type") || says("refresh_token_authentication_error") {
        return Meaning::Doubtful(said);
    }
    if says("invalid_request") {
        return Meaning::Dead(End::Callback, said);
    }
    Meaning::Away(said)
}

/// The tokens in a yes; an odd field beside the access token costs that field alone.
fn granted(body: &[u8]) -> Option<Granted> {
    #[derive(Deserialize)]
    struct Wire<'a> {
        access_token: Secret,
        #[serde(borrow)]
        refresh_token: Option<&'a RawValue>,
        #[serde(borrow)]
        expires_in: Option<&'a RawValue>,
    }
    fn usual<'a, T: Deserialize<'a>>(odd: Option<&'a RawValue>) -> Option<T> {
        serde_json::from_str(odd?.get()).ok()
    }
    let wire: Wire<'_> = serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).ok()?;
    let seconds = usual::<Digits>(wire.expires_in).and_then(|digits| digits.signed_whole());
    Some(Granted {
        access: Some(wire.access_token).filter(|token| !token.is_empty())?,
        refresh: usual::<Secret>(wire.refresh_token).filter(|token| !token.is_empty()),
        expires_in_s: seconds.map_or(LIFE_USUAL_S, |seconds| seconds.clamp(0, 86_400)),
    })
}

/// What a refusal says: its status and its words, whatever form they come in, without what looks like a token.
fn said(status: u16, text: &str) -> String {
    // One error is nested in another, with and without escapes: what is left without quotes is fit to be read.
    let bare = text.replace('\\', "").replace("\":", ": ").replace("\",", ", ").replace(['{', '}', '"'], "");
    let words = one_line(&masked(&bare), SAID_BYTES_MAX);
    if words.is_empty() {
        format!("HTTP {status}, without a word")
    } else {
        format!("HTTP {status}: {words}")
    }
}

/// The text with a mark in place of every run of characters that may be a token.
#[must_use]
pub fn masked(text: &str) -> String {
    let of_token = |c: char| c.is_ascii_alphanumeric() || "+/_=.~@%-".contains(c);
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !of_token(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let may_be = run.len() >= TOKEN_CHARS_MIN && run.bytes().any(|byte| byte.is_ascii_digit());
        kept.push_str(if may_be { "…" } else { run });
        let next = after.find(of_token).unwrap_or(after.len());
        kept.push_str(&after[..next]);
        rest = &after[next..];
    }
    kept
}

/// The address a person opens in a browser.
#[must_use]
pub fn authorize_url(base: &str, key: &str, redirect: &str, state: &str) -> String {
    let base = base.trim_end_matches('/');
    format!(
        "{base}{AUTHORIZE_PATH}?response_type=code&client_id={}&redirect_uri={}&state={}",
        encode(key),
        encode(redirect),
        encode(state)
    )
}

/// A form for the token endpoint.
pub struct Form {
    /// As it is sent.
    pub body: Secret,
    /// The code or the token in it.
    pub secret: Secret,
}

/// Exchanges a code.
#[must_use]
pub fn exchange_form(code: &str, redirect: &str) -> Form {
    let body =
        format!("grant_type=authorization_code&code={}&redirect_uri={}", encode(code), encode(redirect));
    Form { body: Secret::from(body), secret: Secret::from(code) }
}

/// Asks for a new access token.
#[must_use]
pub fn refresh_form(token: &str) -> Form {
    let body = format!("grant_type=refresh_token&refresh_token={}", encode(token));
    Form { body: Secret::from(body), secret: Secret::from(token) }
}

/// Why what was pasted is no answer to the login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasteError {
    /// No code in it.
    #[error(
        "there is no code in it: paste the whole address that the browser ended on, beginning with https://"
    )]
    NoCode,
    /// The address says why.
    #[error("the broker's page said no: log in and allow access")]
    Refused,
    /// It does not say which login it belongs to.
    #[error(
        "it does not say which login it belongs to: log in without --listen and paste this page's address"
    )]
    NoState,
    /// From another attempt.
    #[error("it belongs to another login: open the address of this one once more")]
    OtherState,
}

/// The code in what a person pasted: the whole address, or the code alone, encoded or not.
///
/// # Errors
/// [`PasteError`].
pub fn code_in(pasted: &str, state: &str) -> Result<Secret, PasteError> {
    let pasted = pasted.trim();
    let Some((_, query)) = pasted.split_once('?') else {
        let is_code = !pasted.is_empty() && !pasted.contains(['/', '&', '=', ' ']) && pasted.contains('.');
        let code = if pasted.contains('%') { decode(pasted) } else { pasted.to_owned() };
        return if is_code { Ok(Secret::from(code)) } else { Err(PasteError::NoCode) };
    };
    let query = query.split('#').next().unwrap_or_default();
    // A person who pastes an address without a state has seen where it came from.
    if field(query, "state").is_some_and(|told| told != state) {
        return Err(PasteError::OtherState);
    }
    code_of(query)
}

/// The code in the query of a request that a browser made. Any page can make a browser do that, so without our `state`
/// it is nobody's.
///
/// # Errors
/// [`PasteError`].
pub fn code_in_answer(query: &str, state: &str) -> Result<Secret, PasteError> {
    match field(query, "state") {
        Some(told) if told == state => code_of(query),
        Some(_) => Err(PasteError::OtherState),
        None => Err(PasteError::NoState),
    }
}

fn code_of(query: &str) -> Result<Secret, PasteError> {
    if field(query, "error").is_some() {
        return Err(PasteError::Refused);
    }
    field(query, "code").filter(|code| !code.is_empty()).map(Secret::from).ok_or(PasteError::NoCode)
}

fn field(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| decode(value))
}

/// What a form and a query leave as it is: letters, digits and `-._~`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, ENCODED)
}

/// The opposite, once. A `%` that begins no pair of digits stays what it is.
fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, body: &str) -> String {
        match meaning(&Answer::of(status, body)) {
            Meaning::Granted(granted) => format!(
                "granted {} {} {}",
                *granted.access,
                granted.refresh.as_ref().map_or("-", |token| token.as_str()),
                granted.expires_in_s
            ),
            Meaning::Dead(end, _) => format!("dead {end:?}"),
            Meaning::Doubtful(_) => "doubtful".into(),
            Meaning::Away(_) => "away".into(),
        }
    }

    #[test]
    fn every_answer_of_the_endpoint_has_one_meaning() {
        let raw_dead = r#"{"error":"unsupported_token_type","error_description":"400 Bad Request: \"{"error_description":"Refresh token is invalid, expired or revoked","error":"invalid_grant"}\""}"#;
        let escaped_dead = r#"{"error":"unsupported_token_type","error_description":"400 Bad Request: \"{\"error_description\":\"Refresh token is invalid, expired or revoked\",\"error\":\"invalid_grant\"}\""}"#;
        let flaky = r#"{"error":"unsupported_token_type","error_description":"400 Bad Request: \"{\"error_description\":\"Exception while authenticating refresh token [tokenDigest=x]\",\"error\":\"refresh_token_authentication_error\"}\""}"#;
        let yes = r#"{"expires_in":1800,"token_type":"Bearer","scope":"api","refresh_token":"R@","access_token":"A@","id_token":"J","new":1}"#;
        let rows = [
            (200, yes, "granted A@ R@ 1800"),
            (200, r#"{"access_token":"A","expires_in":1800}"#, "granted A - 1800"),
            (200, r#"{"access_token":"","expires_in":1800}"#, "away"),
            (200, "{", "away"),
            // Odd, and usable: a code is used up by it, and a refresh token may be.
            (201, yes, "granted A@ R@ 1800"),
            (202, r#"{"access_token":"A","expires_in":"900","refresh_token":null}"#, "granted A - 900"),
            (200, r#"{"access_token":"A","expires_in":1799.0}"#, "granted A - 1799"),
            (200, r#"{"access_token":"A","expires_in":"soon","refresh_token":7}"#, "granted A - 1800"),
            (200, r#"{"token_type":"BEARER","access_token":"A","scope":["api"]}"#, "granted A - 1800"),
            (200, "\u{feff} {\"access_token\":\"A\",\"expires_in\":1}", "granted A - 1"),
            (200, r#"{"access_token":7,"expires_in":1800}"#, "away"),
            (302, yes, "away"),
            (400, raw_dead, "dead Grant"),
            (400, escaped_dead, "dead Grant"),
            (400, flaky, "doubtful"),
            (400, r#"{"error":"invalid_grant"}"#, "dead Grant"),
            (400, r#"{"error":"invalid_request"}"#, "dead Callback"),
            (401, r#"{"error":"invalid_client","error_description":"Unauthorized"}"#, "dead Application"),
            (401, r#"{"error":"unauthorized_client"}"#, "dead Application"),
            (400, "{}", "away"),
            (403, "<HTML><HEAD><TITLE>Access Denied</TITLE>", "away"),
            (400, "<HTML>invalid_grant</HTML>", "away"),
            (500, r#"{"message":"Internal Server Error"}"#, "away"),
            (503, r#"{"error":"invalid_grant"}"#, "away"),
            (429, r#"{"message":"Rate Limit Exceeded"}"#, "away"),
        ];
        for (status, body, meaning) in rows {
            assert_eq!(said(status, body), meaning, "{status} {body}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_endpoints_words_without_what_may_be_a_token() {
        let rows = [
            (
                400,
                r#"{"error":"unsupported_token_type","error_description":"400 Bad Request: \"{"error_description":"Exception while authenticating refresh token [tokenDigest=q83vEjRWeJA=, Exception=Failed]","error":"refresh_token_authentication_error"}\""}"#,
                "HTTP 400: error: unsupported_token_type, error_description: 400 Bad Request: error_description: Exception while authenticating refresh token […, Exception=Failed], error: refresh_token_authentication_error",
            ),
            (403, "<HTML><TITLE>Access Denied</TITLE>", "HTTP 403: <HTML><TITLE>Access Denied</TITLE>"),
            (
                400,
                r#"{"error":"invalid_grant","code":"C0.b2F1dGgyLmJkYw.x%40"}"#,
                "HTTP 400: error: invalid_grant, code: …",
            ),
            (503, "", "HTTP 503, without a word"),
        ];
        for (status, body, words) in rows {
            assert_eq!(super::said(status, body), words);
        }
        assert!(super::said(400, &"ab ".repeat(500)).len() <= SAID_BYTES_MAX + 10);
        let dead = Meaning::Dead(End::Grant, "HTTP 400: my-code and doubleCANARYsecr".into());
        let Meaning::Dead(_, said) = dead.without(&["my-code", "", "doubleCANARYsecr"]) else {
            panic!("dead")
        };
        assert_eq!(said, "HTTP 400: … and …");
        for end in [End::Application, End::Grant, End::Callback] {
            assert_eq!(End::told_by(&end.of_refresh("HTTP 400: x")), Some(end));
        }
        assert_eq!(End::told_by("the broker did not accept the refresh token"), None);
    }

    #[test]
    fn a_code_is_decoded_once_and_encoded_once() {
        let state = "s1";
        let rows = [
            ("https://127.0.0.1/?code=C0.b.c%40&session=x&state=s1", Ok("C0.b.c@")),
            ("https://127.0.0.1:8182/?state=s1&code=C0.b.c%40#", Ok("C0.b.c@")),
            ("  https://127.0.0.1/?code=C0.b.c%40&session=x \n", Ok("C0.b.c@")),
            ("C0.b.c@", Ok("C0.b.c@")),
            ("C0.b.c%40", Ok("C0.b.c@")),
            ("C0.b+c%40", Ok("C0.b+c@")),
            ("https://127.0.0.1/?code=C0.b.c%40&state=s2", Err(PasteError::OtherState)),
            ("https://127.0.0.1/?error=access_denied", Err(PasteError::Refused)),
            ("https://127.0.0.1/?session=x", Err(PasteError::NoCode)),
            ("https://127.0.0.1/", Err(PasteError::NoCode)),
            ("", Err(PasteError::NoCode)),
            ("yes", Err(PasteError::NoCode)),
        ];
        for (pasted, expected) in rows {
            let code = code_in(pasted, state);
            assert_eq!(code.as_ref().map(|code| code.as_str()), expected.as_ref().copied(), "{pasted}");
        }
        let Form { body, secret } = exchange_form("C0.b.c@", "https://127.0.0.1:8182");
        assert_eq!(*secret, "C0.b.c@");
        assert_eq!(
            *body,
            "grant_type=authorization_code&code=C0.b.c%40&redirect_uri=https%3A%2F%2F127.0.0.1%3A8182"
        );
        assert_eq!(*refresh_form("R0.x@").body, "grant_type=refresh_token&refresh_token=R0.x%40");
        assert_eq!(decode("100%"), "100%");
    }

    #[test]
    fn a_request_brings_a_code_only_with_our_state() {
        let rows = [
            ("code=C0.b.c%40&session=x&state=s1", Ok("C0.b.c@")),
            ("code=C0.b.c%40&session=x", Err(PasteError::NoState)),
            ("code=C0.b.c%40&state=s2&state=s1", Err(PasteError::OtherState)),
            ("error=access_denied&state=s1", Err(PasteError::Refused)),
            ("error=access_denied", Err(PasteError::NoState)),
            ("state=s1", Err(PasteError::NoCode)),
            ("", Err(PasteError::NoState)),
        ];
        for (query, expected) in rows {
            let code = code_in_answer(query, "s1");
            assert_eq!(code.as_ref().map(|code| code.as_str()), expected.as_ref().copied(), "{query}");
        }
    }

    #[test]
    fn the_address_to_open_holds_no_secret() {
        let url = authorize_url("https://api.schwabapi.com/", "KEY", "https://127.0.0.1", "s 1");
        assert_eq!(
            url,
            "https://api.schwabapi.com/v1/oauth/authorize?response_type=code&client_id=KEY&redirect_uri=https%3A%2F%2F127.0.0.1&state=s%201"
        );
    }
}
