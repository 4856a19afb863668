//! Charles Schwab: trader API and market data over HTTPS, with tokens that a person's login gives.
//!
//! Schwab keeps no name of ours with an order. So an order call whose answer is lost can only be looked for in the
//! account's list (`protocol.md` 3.5), and nothing here may ever send one twice. Every word was written against a
//! contract put together from documents, captures and our own double; it has never spoken to the real service.
//!
//! It refuses to know what an intent is for, and whose login it is: `tokens` keeps that. Account numbers, hashes and
//! tokens are in no text that leaves this folder.
//!
//! Invariant: one call of [`Broker::place`] is at most one POST, and no other call is one. Only a read is asked again,
//! once, with a new token.

pub mod grant;
mod routes;
pub mod tokens;
pub mod vault;
pub mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use alloy::primitives::keccak256;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jiff::civil::Date;

use self::grant::{Meaning, Secret};
use self::routes::{Route, Routes};
use self::tokens::{Endpoint, NoToken, Tokens};
use super::http::{Answer, Clocks, Http, Orders, Trouble, http_date};
use super::pace::Pace;
use super::session::{self, Clock, Said, Word};
use super::{
    AccountError, Broker, BrokerOrder, LoginFacts, Placed, Profile, Quote, ReadError, Session, Ticket, hours,
};
use crate::units::{IntentId, Millis, OrderId, Shares, Side, Symbol};

/// The real one's server.
pub const URL: &str = "https://api.schwabapi.com";
/// Whole shares; whether fractions are taken is not established.
pub const LOT: Shares = Shares::from_atoms(1_000_000_000_000_000_000);
/// Which accounts there are.
const ACCOUNTS_PATH: &str = "/trader/v1/accounts/accountNumbers";
/// The market's hours of a day.
const HOURS_PATH: &str = "/marketdata/v1/markets";
/// The market's prices.
const QUOTES_PATH: &str = "/marketdata/v1/quotes";
/// How often a live order is read.
const POLL_MS: i64 = 2_000;
/// Requests a minute that an application has for everything but orders.
const READS_A_MINUTE: u32 = 120;
/// Orders in one answer: the most that Schwab gives.
const LIST_ORDERS_MAX: usize = 3_000;
/// The list is asked for up to here from now: our clock may be hours behind its own. With what the engine looks back it is
/// within the 60 days that one list may hold.
const LIST_AHEAD_MS: i64 = 24 * 3_600_000;
/// What it says of a hash that stands for no account.
const ACCOUNT_UNKNOWN: &str = "Invalid account number";
/// A rate limit that does not say when it ends.
const RATE_GATE_MS: i64 = 60_000;
/// No rate limit is believed to last longer.
const RATE_GATE_MS_MAX: i64 = 3_600_000;
/// A token was not taken: the next attempt comes with another.
const TOKEN_GATE_MS: i64 = 2_000;
/// An order that had to wait longer for its token is not sent: no order leaves in the last 15 s of a session, and the call
/// itself may take a few.
const TOKEN_WAIT_MAX: Duration = Duration::from_secs(5);
/// The hours of a day are asked for again after so long.
const HOURS_MS: i64 = 300_000;
/// Once told they hold for so long where the next answer fails: longer would miss a closing that nobody planned.
const HOURS_KEPT_MS: i64 = 1_800_000;

/// What the client is told once.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server; the real one where none.
    pub base_url: Option<String>,
    /// The application's key.
    pub key: Secret,
    /// Its secret.
    pub secret: Secret,
    /// The last digits of the account's number.
    pub live_account: String,
    /// Whether a SELL may go below zero.
    pub allow_short: bool,
    /// What Schwab writes on our orders, where it is known beforehand.
    pub tag: Option<String>,
    /// Whose word opens a session.
    pub word: Word,
    /// Trusted certificates; the system's where none.
    pub cert_file: Option<PathBuf>,
}

/// A regular session, half-open.
type Regular = (Millis, Millis);

/// What is learnt while it runs.
#[derive(Default)]
struct Learnt {
    /// The account the ledger is stamped with.
    expected: Option<String>,
    /// What paths take in place of the account's number; none until the broker has named the account.
    hash: Option<String>,
    pace: Pace,
    clocks: Clocks,
    /// What a token that is good elsewhere does not open.
    routes: Routes,
    /// The regular sessions of a day by the broker, and when they were asked for.
    hours: Option<(Date, Millis, Vec<Regular>)>,
}

/// Charles Schwab.
pub struct Schwab {
    http: Arc<Http>,
    options: Options,
    profile: Profile,
    tokens: Tokens,
    learnt: Mutex<Learnt>,
}

impl std::fmt::Debug for Schwab {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Schwab")
    }
}

/// The token endpoint.
pub struct TokenEndpoint {
    http: Arc<Http>,
    basic: Secret,
    /// The application's key and secret: in no word of the endpoint's.
    pair: [Secret; 2],
}

impl TokenEndpoint {
    /// For this application.
    #[must_use]
    pub fn new(http: Arc<Http>, key: &str, secret: &str) -> Self {
        let pair = Secret::from(format!("{key}:{secret}"));
        let basic = Secret::from(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
        Self { http, basic, pair: [key, secret].map(Secret::from) }
    }

    /// Sends one form, once. The endpoint is asked again by whoever keeps the pauses.
    #[must_use]
    pub fn ask(&self, form: &grant::Form) -> Meaning {
        let meaning =
            match self.http.send_form(grant::TOKEN_PATH, &form.body, &[("Authorization", &self.basic)]) {
                Ok(answer) => grant::meaning(&answer),
                Err(trouble) => Meaning::Away(trouble.into_words()),
            };
        let meaning = match meaning {
            Meaning::Away(words) => Meaning::Away(format!("the token endpoint: {words}")),
            other => other,
        };
        let [key, secret] = &self.pair;
        meaning.without(&[key, secret, &form.secret])
    }
}

impl Endpoint for TokenEndpoint {
    fn refresh(&self, token: &Secret) -> Meaning {
        self.ask(&grant::refresh_form(token))
    }
}

/// The accounts that this access token opens; for a login, before any client is there.
///
/// # Errors
/// In words.
pub fn accounts(http: &Http, access: &Secret) -> Result<Vec<wire::AccountNumber>, String> {
    let bearer = Secret::from(format!("Bearer {}", **access));
    let failed = |words: String| format!("{}: {words}", Route::Accounts.name());
    let answer = http.read(ACCOUNTS_PATH, &[], &[("Authorization", &bearer)]);
    let answer = answer.map_err(|trouble| failed(trouble.into_words()))?;
    if answer.status == 200 && answer.whole {
        wire::account_numbers(&answer.body)
    } else {
        Err(failed(wire::refusal(&answer)))
    }
}

impl Schwab {
    /// Opens the login's file and asks nothing yet.
    ///
    /// # Errors
    /// In words, when TLS is needed and there is no certificate to trust.
    pub fn new(options: Options, vault: vault::Vault) -> Result<Self, String> {
        let base = options.base_url.as_deref().unwrap_or(URL);
        let http = Arc::new(Http::new(base, options.cert_file.as_deref(), Orders::Alone)?);
        let endpoint = TokenEndpoint::new(Arc::clone(&http), &options.key, &options.secret);
        let profile = Profile {
            name: "schwab",
            // Told by the broker, see `Broker::account`.
            account: String::new(),
            lot: LOT,
            client_ids: false,
            allow_short: options.allow_short,
            crosses_zero: false,
            quotes: true,
            tag: options.tag.clone(),
            poll_ms: POLL_MS,
            fraction_notional_min: None,
        };
        let learnt = Learnt { pace: Pace::of(READS_A_MINUTE), ..Learnt::default() };
        let tokens = Tokens::new(vault, Box::new(endpoint));
        Ok(Self { http, options, profile, tokens, learnt: Mutex::new(learnt) })
    }

    /// From now on no token is renewed here: another process does that.
    pub fn leave_renewing_to(&self, other: &'static str) {
        self.tokens.leave_renewing_to(other);
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads, within the application's limits and with a token that is taken. `None` is the broker's own "there is none".
    fn get(&self, path: &str, query: &[(&str, &str)], now: Millis) -> Result<Option<Vec<u8>>, ReadError> {
        let route = Route::of(path);
        let failed = |words: String| ReadError(format!("{}: {words}", route.name()));
        let mut refused = self.learnt().routes.may_ask(route, now).map_err(ReadError)?;
        for _ in 0..2 {
            let wait = {
                let mut learnt = self.learnt();
                learnt.clocks.at(now);
                learnt.pace.may_read(now).map_err(ReadError)?;
                learnt.pace.turn(Instant::now())
            };
            // The lock is not held while waiting: an order call must not wait for reads.
            std::thread::sleep(wait);
            let token = self.tokens.access_but(now, refused.as_ref()).map_err(|no| ReadError(no.words))?;
            let bearer = Secret::from(format!("Bearer {}", *token));
            let asked = self.learnt().clocks.at(now);
            let answer = self.http.read(path, query, &[("Authorization", &bearer)]);
            let answer = answer.map_err(|trouble| failed(trouble.into_words()))?;
            self.learnt().clocks.heed(&answer, asked, now);
            self.took(route, &token, &answer);
            if answer.status != 200 && wire::refusal(&answer).contains(ACCOUNT_UNKNOWN) {
                // It is looked for anew next time.
                self.learnt().hash = None;
                return Err(failed(wire::refusal(&answer)));
            }
            match answer.status {
                200 if answer.whole => return Ok(Some(answer.body)),
                200 => return Err(failed("an answer that ends before its end".into())),
                401 => {
                    let words = wire::refusal(&answer);
                    self.learnt().routes.refuse(route, &token, &words, now).map_err(ReadError)?;
                    refused = Some(token);
                }
                404 if serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok() => return Ok(None),
                429 => {
                    self.learnt().pace.rest(now, rate_gate_ms(&answer, now), "the broker's rate limit");
                    return Err(failed(wire::refusal(&answer)));
                }
                _ => return Err(failed(wire::refusal(&answer))),
            }
        }
        Err(ReadError("the broker does not take a token that it has just given".into()))
    }

    /// An answer behind the door shows that the token opens it.
    fn took(&self, route: Route, token: &Secret, answer: &Answer) {
        if matches!(answer.status, 200..=299 | 400 | 404 | 422) {
            self.learnt().routes.take(route, token);
        }
    }

    /// As [`Self::get`], where there must be something.
    fn get_some(&self, path: &str, query: &[(&str, &str)], now: Millis) -> Result<Vec<u8>, ReadError> {
        self.get(path, query, now)?.ok_or_else(|| ReadError("the broker says there is no such thing".into()))
    }

    /// What paths take in place of the account's number: found by number, never by place.
    fn hash(&self, now: Millis) -> Result<String, ReadError> {
        let known = self.learnt().hash.clone();
        match known {
            Some(hash) => Ok(hash),
            None => {
                self.account(now).map_err(|error| ReadError(error.to_string()))?;
                self.learnt().hash.clone().ok_or_else(|| ReadError("the account is not known".into()))
            }
        }
    }

    /// Reads below the account.
    fn get_of_account(
        &self,
        rest: &str,
        query: &[(&str, &str)],
        now: Millis,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let hash = self.hash(now)?;
        self.get(&format!("/trader/v1/accounts/{hash}{rest}"), query, now)
    }

    /// A name for the account that tells it from any other and tells nobody which it is.
    fn fingerprint(number: &str) -> String {
        let hash = keccak256(format!("schwab {number}"));
        hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    fn outcome(&self, answer: &Answer, token: &Secret, now: Millis) -> Placed {
        let reason = wire::refusal(answer);
        let gate = |reason: String, ms| Placed::Refused { reason, gate_ms: Some(ms) };
        match answer.status {
            201 => match answer.header("location").and_then(wire::order_in) {
                Some(order) => Placed::Accepted(order),
                None => Placed::Unknown("a yes that names no order".into()),
            },
            401 => match self.learnt().routes.refuse(Route::Orders, token, &reason, now) {
                Ok(()) => gate(reason, TOKEN_GATE_MS),
                Err(words) => gate(words, routes::REST_MS),
            },
            429 => {
                let ms = rate_gate_ms(answer, now);
                gate(reason, ms)
            }
            408 => Placed::Unknown(reason),
            // A page in place of the broker's own words: an edge or a gateway, and nothing behind it heard us. The engine
            // reads the list before the next order.
            400..=499 if !is_json(&answer.body) => Placed::Barred(wire::said(answer)),
            400..=499 if reason.contains(ACCOUNT_UNKNOWN) => {
                // It is looked for anew by the next read.
                self.learnt().hash = None;
                Placed::Barred(wire::said(answer))
            }
            400..=499 => Placed::Refused { reason: wire::said(answer), gate_ms: None },
            _ => Placed::Unknown(reason),
        }
    }

    /// A token that orders are not refused for.
    fn order_token(&self, now: Millis) -> Result<Secret, String> {
        let refused = self.learnt().routes.may_ask(Route::Orders, now)?;
        self.tokens.access_but(now, refused.as_ref()).map_err(|NoToken { words, .. }| words)
    }

    /// The regular sessions of today, by the broker; why there is none where it gave no answer.
    fn sessions(&self, now: Millis) -> Result<Vec<Regular>, String> {
        let day = hours::date_of(now).ok_or("this machine's clock shows no date")?;
        let known = self.learnt().hours.clone().filter(|(known, ..)| *known == day);
        let told_within = |ms| known.clone().filter(|(_, asked, _)| (0..ms).contains(&now.since(*asked)));
        if let Some((_, _, sessions)) = told_within(HOURS_MS) {
            return Ok(sessions);
        }
        let date = day.to_string();
        let query = [("markets", "equity"), ("date", date.as_str())];
        let sessions = match self.get(HOURS_PATH, &query, now) {
            Ok(Some(body)) => wire::hours(&body),
            Ok(None) => Err("the broker has no hours".into()),
            Err(ReadError(words)) => Err(words),
        };
        if let Err(why) = &sessions {
            log::warn!("the broker does not tell its hours: {why}");
            if let Some((_, _, sessions)) = told_within(HOURS_KEPT_MS) {
                return Ok(sessions);
            }
        }
        let sessions = sessions?;
        self.learnt().hours = Some((day, now, sessions.clone()));
        Ok(sessions)
    }

    /// How it stands with the login.
    #[must_use]
    pub fn login_facts(&self) -> LoginFacts {
        LoginFacts { denied: self.learnt().routes.denied(), ..self.tokens.facts() }
    }
}

/// Whether an answer is the broker's own and not a page.
fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body).is_ok()
}

/// How long a rate limit says that it lasts: seconds, or a date.
fn rate_gate_ms(answer: &Answer, now: Millis) -> i64 {
    let told = answer.header("retry-after").map(str::trim).unwrap_or_default();
    let seconds = told.parse::<i64>().ok().map(|seconds| seconds.saturating_mul(1_000));
    let until = http_date(told).map(|until| until.since(now));
    seconds.or(until).filter(|ms| *ms > 0).unwrap_or(RATE_GATE_MS).min(RATE_GATE_MS_MAX)
}

/// As the list wants a moment: UTC, milliseconds, a literal `Z`.
fn list_time(moment: Millis) -> String {
    Timestamp::from_millisecond(moment.0)
        .map_or_else(|_| String::new(), |it| it.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

const fn instruction(side: Side, short: bool) -> &'static str {
    match (side, short) {
        (Side::Buy, false) => "BUY",
        (Side::Buy, true) => "BUY_TO_COVER",
        (Side::Sell, false) => "SELL",
        (Side::Sell, true) => "SELL_SHORT",
    }
}

impl Broker for Schwab {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn account(&self, now: Millis) -> Result<String, AccountError> {
        let away = |error: ReadError| AccountError::Away(error.0);
        let body = self.get_some(ACCOUNTS_PATH, &[], now).map_err(away)?;
        let all = wire::account_numbers(&body).map_err(AccountError::Away)?;
        let mut ours =
            all.iter().filter(|account| account.account_number.ends_with(&self.options.live_account));
        let (Some(account), None) = (ours.next(), ours.next()) else {
            let why = "LIVE_ACCOUNT must be the end of exactly one account number that this login opens";
            return Err(AccountError::Wrong(why.into()));
        };
        let name = Self::fingerprint(&account.account_number);
        let mut learnt = self.learnt();
        if learnt.expected.as_ref().is_some_and(|expected| *expected != name) {
            let why =
                "the login opens another account than the ledger's; log in as before, or name another ledger";
            return Err(AccountError::Wrong(why.into()));
        }
        learnt.expected = Some(name.clone());
        learnt.hash = Some(account.hash_value.clone());
        Ok(name)
    }

    fn expect_account(&self, account: &str) {
        self.learnt().expected = Some(account.to_owned());
    }

    fn place(&self, ticket: &Ticket, now: Millis) -> Placed {
        let Some(hash) = self.learnt().hash.clone() else {
            return Placed::NotSent("the broker has not named the account yet".into());
        };
        if !ticket.quantity.is_positive() || ticket.quantity.truncate_to(LOT) != ticket.quantity {
            let reason = format!("{} {} is no order that Schwab takes", ticket.quantity, ticket.symbol);
            return Placed::Refused { reason, gate_ms: None };
        }
        let begun = Instant::now();
        let token = match self.order_token(now) {
            Ok(token) => token,
            Err(words) => return Placed::NotSent(words),
        };
        if begun.elapsed() > TOKEN_WAIT_MAX {
            // What allowed this order (the session, a quote, the position) was looked at before the wait.
            return Placed::NotSent("the login answered so late that the order is decided anew".into());
        }
        // Whole, and within 64 bits: `truncate_to` has seen to the first, the caps to the second.
        let Ok(quantity) = ticket.quantity.to_string().parse::<u64>() else {
            return Placed::Refused { reason: format!("{} shares", ticket.quantity), gate_ms: None };
        };
        let body = serde_json::json!({
            "orderType": "MARKET",
            "session": "NORMAL",
            "duration": "DAY",
            "orderStrategyType": "SINGLE",
            "orderLegCollection": [{
                "instruction": instruction(ticket.side, ticket.short),
                "quantity": quantity,
                "instrument": { "symbol": wire::spelled(&ticket.symbol), "assetType": "EQUITY" },
            }],
        });
        let bearer = Secret::from(format!("Bearer {}", *token));
        let path = format!("/trader/v1/accounts/{hash}/orders");
        match self.http.send_order(&path, &body.to_string(), &[("Authorization", &bearer)]) {
            Ok(answer) => {
                if let Some(number) = answer.header("schwab-client-correlid") {
                    log::info!(
                        "{}: HTTP {}, correlation {}",
                        ticket.intent,
                        answer.status,
                        super::http::words(number)
                    );
                }
                self.took(Route::Orders, &token, &answer);
                self.outcome(&answer, &token, now)
            }
            Err(Trouble::NotSent(words)) => Placed::NotSent(words),
            Err(Trouble::Unclear(words)) => Placed::Unknown(words),
        }
    }

    fn order(&self, id: &OrderId, now: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        let Some(body) = self.get_of_account(&format!("/orders/{id}"), &[], now)? else { return Ok(None) };
        wire::order(&body).map(Some).map_err(ReadError)
    }

    fn find(&self, _: &IntentId, _: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        Err(ReadError("this broker keeps no name of ours with an order".into()))
    }

    fn list(&self, since: Millis, now: Millis) -> Result<Vec<BrokerOrder>, ReadError> {
        // What it filters by is cut to seconds.
        let from = list_time(Millis(since.0.saturating_sub(since.0.rem_euclid(1_000))));
        let to = list_time(now.max(since).plus(LIST_AHEAD_MS));
        let limit = LIST_ORDERS_MAX.to_string();
        let query = [
            ("fromEnteredTime", from.as_str()),
            ("toEnteredTime", to.as_str()),
            ("maxResults", limit.as_str()),
        ];
        let body = self.get_of_account("/orders", &query, now)?;
        let body = body.ok_or_else(|| ReadError("the broker does not know the account".into()))?;
        let orders = wire::orders(&body).map_err(ReadError)?;
        if orders.len() >= LIST_ORDERS_MAX {
            return Err(ReadError(format!(
                "{LIST_ORDERS_MAX} orders or more since {since}: the list may not be whole"
            )));
        }
        Ok(orders)
    }

    fn positions(&self, now: Millis) -> Result<Vec<(Symbol, Shares)>, ReadError> {
        let body = self.get_of_account("", &[("fields", "positions")], now)?;
        let body = body.ok_or_else(|| ReadError("the broker does not know the account".into()))?;
        wire::positions(&body).map_err(ReadError)
    }

    fn session(&self, now: Millis) -> Result<Session, ReadError> {
        let clock = match self.sessions(now) {
            Ok(sessions) => {
                let at = now.plus(self.learnt().clocks.ahead_ms().unwrap_or(0));
                let within = sessions.iter().find(|(start, end)| *start <= at && at < *end);
                Ok(Clock {
                    at,
                    is_open: within.is_some(),
                    next_close: within.map(|(_, end)| *end),
                    next_open: sessions.iter().map(|(start, _)| *start).find(|start| *start > at),
                })
            }
            // The table may stand in only where the broker answers at all; with a dead login it does not.
            Err(why) => {
                self.get_some(ACCOUNTS_PATH, &[], now)?;
                Err(why)
            }
        };
        let said = Said { now, clock, calendar: None, table: hours::session_at(now) };
        Ok(session::judge(&said, self.options.word))
    }

    fn quotes(&self, symbols: &[Symbol], now: Millis) -> Result<Vec<Quote>, ReadError> {
        let all: Vec<String> = symbols.iter().map(wire::spelled).collect();
        let symbols = all.join(",");
        let query = [("symbols", symbols.as_str()), ("fields", "quote"), ("indicative", "false")];
        wire::quotes(&self.get_some(QUOTES_PATH, &query, now)?).map_err(ReadError)
    }

    fn calendar_ends(&self) -> Option<Millis> {
        hours::table_ends().filter(|_| self.options.word == Word::Agreed)
    }

    fn clock_ahead_ms(&self) -> Option<i64> {
        self.learnt().clocks.ahead_ms()
    }

    fn login(&self) -> Option<LoginFacts> {
        Some(self.login_facts())
    }
}
