//! Alpaca, paper and live: Trading API v2 over HTTPS.
//!
//! The intent's id is the client order id, unique for ever at Alpaca, so a lost answer is found again by name and the
//! same order may go out again under the same name (`protocol.md` 3.5). Every word here was written against a contract
//! put together from documents and from our own double; it has never spoken to the real service.
//!
//! It refuses to know what an intent is for, and it decides nothing about time: gates and pauses that it must keep
//! (rate, keys) end by the clock it is given.
//!
//! Invariant: one call of [`Broker::place`] is at most one POST, and no other call is one. `Refused` is said only after
//! a look by name found nothing.

mod chain;
mod list;
mod quotes;
mod refusal;
pub mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use alloy::primitives::keccak256;
use jiff::civil::Date;

pub use super::session::Word;
pub use quotes::Feed;
pub use wire::TAG;

use self::refusal::Whose;
use self::wire::Linked;
use super::hours;
use super::http::{Answer, Clocks, Http, Orders, Trouble};
use super::pace::{self, Pace};
use super::secret::Secret;
use super::session::{self, Said};
use super::{AccountError, Broker, BrokerOrder, Placed, Profile, Quote, ReadError, Session, Ticket};
use crate::units::{Cash, IntentId, Millis, OrderId, Shares, Symbol};

/// Paper trading's server.
pub const PAPER_URL: &str = "https://paper-api.alpaca.markets";
/// The real one's.
pub const LIVE_URL: &str = "https://api.alpaca.markets";
/// Market data, for both.
pub const DATA_URL: &str = "https://data.alpaca.markets";
/// Smallest quantity where nothing else is configured: 1e-9 shares.
pub const LOT: Shares = Shares::from_atoms(1_000_000_000);
/// Alpaca takes no fraction below a dollar. It reckons at its own price and we at our fills', so a tenth is on top: an
/// order that is refused counts toward a halt, one that waits does not.
pub const FRACTION_NOTIONAL_MIN: Cash = Cash::from_atoms(1_100_000_000_000_000_000);
/// How often a live order is read. Reads share the account's limit with orders.
const POLL_MS: i64 = 1_000;
/// Longest client order id that every edition of the documents allows.
const CLIENT_ID_CHARS_MAX: usize = 48;
/// How long the gate stays shut when keys are refused: a person must act, and a storm helps nobody.
const KEYS_GATE_MS: i64 = 60_000;
/// The same for a rate limit that does not say when it ends.
const RATE_GATE_MS: i64 = 60_000;
/// No rate limit is believed to last longer.
const RATE_GATE_MS_MAX: i64 = 3_600_000;

const KEYS_REFUSED: u32 = 40_110_000;

/// Whose orders are paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Alpaca's own paper trading.
    Paper,
    /// Money.
    Live,
}

impl Mode {
    /// `paper` or `live`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Live => "live",
        }
    }
}

/// What the client is told once.
#[derive(Debug, Clone)]
pub struct Options {
    /// Paper or live.
    pub mode: Mode,
    /// The server; the mode's own where none.
    pub base_url: Option<String>,
    /// Key id.
    pub key: Secret,
    /// Secret.
    pub secret: Secret,
    /// The last digits that the account number must have; required in live mode by the configuration.
    pub live_account: Option<String>,
    /// Smallest quantity.
    pub lot: Shares,
    /// Whether a SELL may go below zero.
    pub allow_short: bool,
    /// Whose word opens a session.
    pub word: Word,
    /// Whose quotes are read.
    pub feed: Feed,
    /// Trusted certificates; the system's where none.
    pub cert_file: Option<PathBuf>,
}

/// What is learnt while it runs.
#[derive(Debug, Default)]
struct Learnt {
    /// The account the ledger is stamped with.
    expected: Option<String>,
    /// Whether the broker has said that the keys are that account's.
    confirmed: bool,
    pace: Pace,
    clocks: Clocks,
    /// The session of a day, by the broker's calendar; outer none: never answered.
    calendar: Option<(Date, Option<(Millis, Millis)>)>,
    /// Names that the data server does not take.
    refused_names: quotes::RefusedNames,
    /// What was last said of what went wrong, so that it is logged once.
    warned: BTreeMap<&'static str, String>,
}

/// Why a read gave nothing.
struct Refused {
    /// The answer's status; 0 where there was none.
    status: u16,
    error: ReadError,
}

/// Alpaca.
pub struct Alpaca {
    http: Http,
    /// Market data is another server's.
    data: Http,
    options: Options,
    profile: Profile,
    learnt: Mutex<Learnt>,
}

impl std::fmt::Debug for Alpaca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Alpaca({})", self.options.mode.as_str())
    }
}

impl Alpaca {
    /// Opens nothing and asks nothing yet.
    ///
    /// # Errors
    /// In words, when TLS is needed and there is no certificate to trust.
    pub fn new(options: Options) -> Result<Self, String> {
        let (trading, data) = servers(options.mode, options.base_url.as_deref());
        let cert_file = options.cert_file.as_deref();
        // An unclear answer is settled by the order's name here, and costs a question.
        let http = Http::new(trading, cert_file, Orders::Kept)?;
        let data = Http::new(data, cert_file, Orders::Alone)?;
        let profile = Profile {
            name: "alpaca",
            // Told by the broker, see `Broker::account`.
            account: String::new(),
            lot: options.lot,
            fraction_notional_min: Some(FRACTION_NOTIONAL_MIN),
            client_ids: true,
            allow_short: options.allow_short,
            crosses_zero: false,
            quotes: true,
            tag: Some(TAG.to_owned()),
            poll_ms: POLL_MS,
        };
        Ok(Self { http, data, options, profile, learnt: Mutex::default() })
    }

    fn learnt(&self) -> MutexGuard<'_, Learnt> {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> [(&'static str, &str); 2] {
        [("APCA-API-KEY-ID", &self.options.key), ("APCA-API-SECRET-KEY", &self.options.secret)]
    }

    /// Reads, within the account's limits. `None` is the broker's own "there is none"; any other page that is not
    /// found says nothing.
    fn get(&self, path: &str, query: &[(&str, &str)], now: Millis) -> Result<Option<Vec<u8>>, ReadError> {
        self.get_from(&self.http, path, query, now).map_err(|refused| refused.error)
    }

    fn get_from(
        &self,
        http: &Http,
        path: &str,
        query: &[(&str, &str)],
        now: Millis,
    ) -> Result<Option<Vec<u8>>, Refused> {
        let unasked = |why: String| Refused { status: 0, error: ReadError(why) };
        let wait = {
            let mut learnt = self.learnt();
            learnt.clocks.at(now);
            learnt.pace.may_read(now).map_err(unasked)?;
            learnt.pace.turn(Instant::now())
        };
        std::thread::sleep(wait);
        let what = path.trim_start_matches("/v2/").split('/').next().unwrap_or_default();
        let words = |why: String| ReadError(format!("alpaca {what}: {why}"));
        let asked = self.learnt().clocks.at(now);
        let answer = http
            .read(path, query, &self.keys())
            .map_err(|trouble| Refused { status: 0, error: words(trouble.into_words()) })?;
        let failed = |why: String| Refused { status: answer.status, error: words(why) };
        {
            let mut learnt = self.learnt();
            learnt.pace.heard(&answer);
            learnt.clocks.heed(&answer, asked, now);
        }
        let told = wire::error(&answer.body);
        match (answer.status, &told) {
            (200, _) if answer.whole => Ok(Some(answer.body.clone())),
            (200, _) => Err(failed("the answer broke off".into())),
            (404, Some((code, _))) if code / 100_000 == 404 => Ok(None),
            (429, _) => {
                let ms = rate_gate_ms(&answer, now);
                self.learnt().pace.rest(now, ms, "the broker's rate limit");
                Err(failed(in_words(&answer, told.as_ref())))
            }
            (401, _) | (403, Some((KEYS_REFUSED, _))) => {
                self.learnt().pace.rest(now, pace::KEYS_REST_MS, "the broker refuses the keys");
                let why =
                    "the keys are refused; check ALPACA_API_KEY, ALPACA_API_SECRET and ALPACA_TRADING_MODE";
                Err(failed(format!("{why} ({})", in_words(&answer, told.as_ref()))))
            }
            _ => Err(failed(in_words(&answer, told.as_ref()))),
        }
    }

    /// As [`Self::get`], where there must be something.
    fn get_some(&self, path: &str, query: &[(&str, &str)], now: Millis) -> Result<Vec<u8>, ReadError> {
        self.get(path, query, now)?.ok_or_else(|| ReadError(format!("alpaca has no {path}")))
    }

    /// Nothing is read and nothing is sent before the broker has said whose keys these are.
    fn confirm(&self, now: Millis) -> Result<(), ReadError> {
        if self.learnt().confirmed {
            return Ok(());
        }
        self.account(now).map(drop).map_err(|error| {
            if let AccountError::Wrong(_) = error {
                self.learnt().pace.rest(now, pace::KEYS_REST_MS, "the account is not the one it must be");
            }
            ReadError(error.to_string())
        })
    }

    fn read_account(&self, now: Millis) -> Result<wire::Account, ReadError> {
        let body = self.get_some("/v2/account", &[], now)?;
        wire::account(&body).map_err(ReadError)
    }

    /// A name for the account that tells it from any other and tells nobody which it is: what is stamped on a ledger
    /// turns up in error messages and in `bot status`.
    fn fingerprint(&self, account: &wire::Account) -> String {
        let mode = self.options.mode.as_str();
        let hash = keccak256(format!("alpaca {mode} {}", account.id));
        let hex: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("{mode}-{hex}")
    }

    fn find_by_name(&self, intent: &IntentId, now: Millis) -> Result<Option<Linked>, ReadError> {
        let query = [("client_order_id", intent.as_str())];
        let Some(body) = self.get("/v2/orders:by_client_order_id", &query, now)? else { return Ok(None) };
        let found = wire::linked(&body).map_err(ReadError)?;
        if found.order.client_id.as_deref() == Some(intent.as_str()) {
            Ok(Some(found))
        } else {
            Err(ReadError("alpaca answered with another order than the one asked for".into()))
        }
    }

    /// The order with whatever replaced it.
    fn followed(&self, found: Option<Linked>, now: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        let Some(first) = found else { return Ok(None) };
        let chain = self.chain_of(first, &BTreeMap::new(), now)?;
        chain::as_one(&chain)
            .map(Some)
            .ok_or_else(|| ReadError("alpaca: an order's sums leave the range".into()))
    }

    /// A no that may be about this order. There is one report of such a no though the order existed, so it is looked for
    /// before the no is believed; also a page that is not the broker's own says nothing of the order.
    fn refused(&self, ticket: &Ticket, reason: String, told: Option<&(u32, String)>, now: Millis) -> Placed {
        match self.find_by_name(&ticket.intent, now) {
            Ok(None) => self.whose(ticket, reason, told, now),
            Ok(Some(_)) => Placed::Duplicate,
            Err(error) => Placed::Unknown(format!("{reason}; and it could not be looked up: {error}")),
        }
    }

    /// Whether a no is the order's or the account's: by its words, and by what the account says of itself.
    fn whose(&self, ticket: &Ticket, reason: String, told: Option<&(u32, String)>, now: Millis) -> Placed {
        let Some((_, words)) = told else { return Placed::Barred(reason) };
        let by_words = refusal::whose(words, &ticket.symbol);
        if by_words == Whose::Order {
            return Placed::Refused { reason, gate_ms: None };
        }
        let troubles = self.read_account(now).map(|account| troubles_of(&account)).unwrap_or_else(|error| {
            log::warn!("after a refusal the account could not be read: {error}");
            Vec::new()
        });
        match (troubles.is_empty(), by_words) {
            (false, _) => Placed::Barred(format!("{reason}; {}", troubles.join("; "))),
            (true, Whose::Account) => Placed::Barred(reason),
            (true, _) => Placed::Refused { reason, gate_ms: None },
        }
    }

    fn outcome(&self, ticket: &Ticket, answer: &Answer, now: Millis) -> Placed {
        let told = wire::error(&answer.body);
        let reason = in_words(answer, told.as_ref());
        if answer.status >= 300 {
            log::info!("{}: {reason}", ticket.intent);
        }
        let gate = |ms| Placed::Refused { reason: reason.clone(), gate_ms: Some(ms) };
        match (answer.status, &told) {
            (200..=299, _) => match serde_json::from_slice::<wire::Yes>(&answer.body) {
                Ok(yes) if answer.whole && yes.client_order_id == ticket.intent.as_str() => {
                    Placed::Accepted(yes.id)
                }
                _ => Placed::Unknown(format!("a yes that names no order of ours: {reason}")),
            },
            (429, _) => {
                let ms = rate_gate_ms(answer, now);
                self.learnt().pace.rest(now, ms, "the broker's rate limit");
                gate(ms)
            }
            (401, _) | (403, Some((KEYS_REFUSED, _))) => gate(KEYS_GATE_MS),
            (408, _) => Placed::Unknown(reason),
            (400..=499, _) => {
                // Without the request's name, which is another each time: the same words of two tickers are one refusal.
                let words = format!("HTTP {}: {}", answer.status, said(answer, told.as_ref()));
                self.refused(ticket, words, told.as_ref(), now)
            }
            _ => Placed::Unknown(reason),
        }
    }

    /// Logs why something could not be read, once as long as the words stay.
    fn warn_once(&self, what: &'static str, why: Option<&String>) {
        let mut learnt = self.learnt();
        match why {
            None => drop(learnt.warned.remove(what)),
            Some(why) if learnt.warned.get(what) == Some(why) => {}
            Some(why) => {
                log::warn!("alpaca does not tell {what}: {why}");
                learnt.warned.insert(what, why.clone());
            }
        }
    }

    /// Today's session in the broker's calendar: asked once a day, and again as long as it does not answer.
    fn calendar(&self, now: Millis) -> Option<Option<(Millis, Millis)>> {
        let day = hours::date_of(now)?;
        if let Some((known, session)) = self.learnt().calendar
            && known == day
        {
            return Some(session);
        }
        let text = day.to_string();
        let query = [("start", text.as_str()), ("end", text.as_str())];
        let times = self.get_some("/v2/calendar", &query, now);
        let times = times.and_then(|body| wire::session_on(&body, day).map_err(ReadError));
        self.warn_once("its calendar", times.as_ref().err().map(|error| &error.0));
        let times = times.ok()?;
        let session = times.and_then(|(opens, closes)| {
            Some((hours::moment_of(day, opens)?, hours::moment_of(day, closes)?))
        });
        self.learnt().calendar = Some((day, session));
        Some(session)
    }
}

/// Where orders and accounts are, and where quotes are. A server that stands in for Alpaca stands in for all of it.
#[must_use]
pub fn servers(mode: Mode, base_url: Option<&str>) -> (&str, &str) {
    let own = match mode {
        Mode::Paper => PAPER_URL,
        Mode::Live => LIVE_URL,
    };
    (base_url.unwrap_or(own), base_url.filter(|base| *base != own).unwrap_or(DATA_URL))
}

/// Why the account may not trade.
fn troubles_of(account: &wire::Account) -> Vec<String> {
    let status = account.status.as_deref().filter(|status| *status != "ACTIVE");
    let status = status.map(|status| format!("the account is {}", super::http::words(status)));
    let blocked = [
        (account.trading_blocked, "the account is blocked from trading"),
        (account.account_blocked, "the account is blocked"),
        (
            account.trade_suspended_by_user,
            "trading is suspended by the account's own setting (trade_suspended_by_user)",
        ),
    ];
    let blocked = blocked.into_iter().filter(|(is, _)| *is == Some(true)).map(|(_, words)| words.to_owned());
    status.into_iter().chain(blocked).collect()
}

/// What an answer says in the broker's words, with its code.
fn said(answer: &Answer, told: Option<&(u32, String)>) -> String {
    told.map_or_else(|| answer.words(), |(code, message)| format!("{code} {message}"))
}

/// What an answer says, for people: status, code, the broker's words, and the name it has for the request.
fn in_words(answer: &Answer, told: Option<&(u32, String)>) -> String {
    let said = said(answer, told);
    let request = answer
        .header("x-request-id")
        .map_or_else(String::new, |id| format!(" (request {})", super::http::words(id)));
    format!("HTTP {}: {said}{request}", answer.status)
}

/// How long a rate limit says that it lasts.
fn rate_gate_ms(answer: &Answer, now: Millis) -> i64 {
    let number = |name: &str| answer.header(name).and_then(|text| text.trim().parse::<i64>().ok());
    let until_reset =
        number("x-ratelimit-reset").map(|reset| reset.saturating_mul(1_000).saturating_sub(now.0));
    let retry = number("retry-after").map(|seconds| seconds.saturating_mul(1_000));
    // A reset that is past already is no pause, and the broker did refuse.
    until_reset
        .into_iter()
        .chain(retry)
        .filter(|ms| *ms > 0)
        .max()
        .unwrap_or(RATE_GATE_MS)
        .min(RATE_GATE_MS_MAX)
}

impl Broker for Alpaca {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn account(&self, now: Millis) -> Result<String, AccountError> {
        let away = |error: ReadError| AccountError::Away(error.0);
        let account = self.read_account(now).map_err(away)?;
        if let Some(digits) = &self.options.live_account
            && !account.account_number.ends_with(digits.as_str())
        {
            let why = "LIVE_ACCOUNT is not the end of the account number that these keys belong to";
            return Err(AccountError::Wrong(why.into()));
        }
        let name = self.fingerprint(&account);
        let mut learnt = self.learnt();
        if learnt.expected.as_ref().is_some_and(|expected| *expected != name) {
            let why = "the keys belong to another account than the ledger's; give them back, or name another ledger";
            return Err(AccountError::Wrong(why.into()));
        }
        for trouble in troubles_of(&account) {
            log::warn!("alpaca: {trouble}; the account's own page says why");
        }
        learnt.confirmed = true;
        learnt.expected = Some(name.clone());
        Ok(name)
    }

    fn expect_account(&self, account: &str) {
        self.learnt().expected = Some(account.to_owned());
    }

    fn place(&self, ticket: &Ticket, now: Millis) -> Placed {
        if !self.learnt().confirmed {
            return Placed::NotSent("the broker has not confirmed the account yet".into());
        }
        let too_fine = ticket.quantity.truncate_to(LOT) != ticket.quantity;
        if too_fine || !ticket.quantity.is_positive() || ticket.intent.as_str().len() > CLIENT_ID_CHARS_MAX {
            let reason = format!("{} {} is no order that Alpaca takes", ticket.quantity, ticket.symbol);
            return Placed::Refused { reason, gate_ms: None };
        }
        let body = serde_json::json!({
            "symbol": ticket.symbol,
            "qty": ticket.quantity,
            "side": match ticket.side {
                crate::units::Side::Buy => "buy",
                crate::units::Side::Sell => "sell",
            },
            "type": "market",
            "time_in_force": "day",
            "extended_hours": false,
            "client_order_id": ticket.intent,
        });
        match self.http.send_order("/v2/orders", &body.to_string(), &self.keys()) {
            Ok(answer) => self.outcome(ticket, &answer, now),
            Err(Trouble::NotSent(words)) => Placed::NotSent(words),
            Err(Trouble::Unclear(words)) => Placed::Unknown(words),
        }
    }

    fn order(&self, id: &OrderId, now: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        self.confirm(now)?;
        let found = self.read_order(id, now)?;
        self.followed(found, now)
    }

    fn find(&self, intent: &IntentId, now: Millis) -> Result<Option<BrokerOrder>, ReadError> {
        self.confirm(now)?;
        let found = self.find_by_name(intent, now)?;
        self.followed(found, now)
    }

    fn list(&self, since: Millis, now: Millis) -> Result<Vec<BrokerOrder>, ReadError> {
        self.confirm(now)?;
        self.read_list(since, now)
    }

    fn positions(&self, now: Millis) -> Result<Vec<(Symbol, Shares)>, ReadError> {
        self.confirm(now)?;
        wire::positions(&self.get_some("/v2/positions", &[], now)?).map_err(ReadError)
    }

    fn session(&self, now: Millis) -> Result<Session, ReadError> {
        self.confirm(now)?;
        let clock =
            self.get_some("/v2/clock", &[], now).and_then(|body| wire::clock(&body).map_err(ReadError));
        let account = self.read_account(now);
        // The table may only stand in where the broker answers at all: this answer counts as a read of it.
        if let (Err(error), Err(_)) = (&clock, &account) {
            return Err(error.clone());
        }
        self.warn_once("its hours", clock.as_ref().err().map(|error| &error.0));
        self.warn_once("its account", account.as_ref().err().map(|error| &error.0));
        let troubles = account.map(|account| troubles_of(&account)).unwrap_or_default();
        if !troubles.is_empty() {
            return Ok(Session::Disputed { reason: format!("alpaca: {}", troubles.join("; ")) });
        }
        let clock = clock.map_err(|error| error.0);
        let calendar = match self.options.word {
            Word::Agreed => self.calendar(now),
            Word::Broker => None,
        };
        let table = hours::session_at(now);
        let said = Said { now, clock, calendar, table };
        Ok(session::judge(&said, self.options.word))
    }

    fn quotes(&self, symbols: &[Symbol], now: Millis) -> Result<Vec<Quote>, ReadError> {
        self.confirm(now)?;
        self.read_quotes(symbols, now)
    }

    fn calendar_ends(&self) -> Option<Millis> {
        hours::table_ends().filter(|_| self.options.word == Word::Agreed)
    }

    fn clock_ahead_ms(&self) -> Option<i64> {
        self.learnt().clocks.ahead_ms()
    }

    fn troubles(&self, now: Millis) -> Result<Vec<String>, ReadError> {
        self.read_account(now).map(|account| troubles_of(&account))
    }
}
