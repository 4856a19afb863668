//! `auth login | status | rekey`: a person's end of the broker's login.
//!
//! A person logs in on the broker's own page and brings back the address they end on; the code in it is exchanged at
//! once, because it lives for 30 seconds. What comes of it is sealed into the file beside the ledger, which a running bot
//! looks at before every call: it needs no restart and is told nothing. These verbs never touch the ledger.
//!
//! Invariant: neither a code nor a token nor more of an account number than its end is in anything that is printed.

mod callback;

use std::io::{self, BufRead, Read as _, Write};
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Ended, Failure};
use crate::broker::http::{Http, Orders};
use crate::broker::schwab::grant::{self, End, Granted, Meaning, Secret};
use crate::broker::schwab::tokens::REFRESH_LIFE_MS;
use crate::broker::schwab::vault::{Login, Refusal, Vault, VaultError};
use crate::broker::schwab::{self, TokenEndpoint};
use crate::config::schwab::{LoginConfig, Needed, VaultConfig, login, rekey, vault};
use crate::config::{BrokerKind, Sources};
use crate::exit;
use crate::serve::status::duration;
use crate::units::Millis;
use crate::verbs::terms::AuthVerb;

/// Longest line that is read from standard input; a browser's address has some hundred bytes.
const PASTED_BYTES_MAX: u64 = 16 * 1024;
/// Bytes of the word that tells our login from somebody else's.
const STATE_BYTES: usize = 16;
/// A login is written over what a refresh wrote a moment ago; so often running is no coincidence.
const STORES_MAX: usize = 5;

/// Does what `verb` says, or says that the broker knows no login.
pub(super) fn perform(verb: AuthVerb, sources: &dyn Sources, out: &mut dyn Write) -> Ended {
    match verb {
        AuthVerb::Login { listen, overwrite } => match login(sources)? {
            Needed::This(config) => log_in(&config, listen, overwrite, out),
            Needed::Nothing(broker) => no_login(broker, out),
        },
        AuthVerb::Status { json } => match vault(sources)? {
            Needed::This(config) => status(&config, json, out),
            Needed::Nothing(broker) => no_login(broker, out),
        },
        AuthVerb::Rekey => match rekey(sources)? {
            Needed::This(config) => change_key(&config, out),
            Needed::Nothing(broker) => no_login(broker, out),
        },
    }
}

/// Paper knows no login, and Alpaca's keys need none.
fn no_login(broker: BrokerKind, out: &mut dyn Write) -> Ended {
    writeln!(out, "no broker login needed for {}", broker.as_str())?;
    Ok(exit::DONE)
}

fn failed(code: u8, words: impl Into<String>) -> Failure {
    Failure::Because { code, words: words.into() }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        let code = if matches!(error, VaultError::Busy(_)) { exit::TRY_LATER } else { exit::CONFIGURATION };
        failed(code, error.to_string())
    }
}

fn open(config: &VaultConfig) -> Result<Vault, VaultError> {
    let next = config.keys.next.as_ref().map(|next| next.expose());
    Vault::open(&config.path, config.keys.key.expose())?.or_under(next)
}

// ---- login ---------------------------------------------------------------------------------------------------------

fn log_in(config: &LoginConfig, listen: bool, overwrite: bool, out: &mut dyn Write) -> Ended {
    // Before a person is sent to a browser: a key that does not fit would be found out by a bot that stops trading.
    let mut vault = open(&config.vault)?;
    match vault.load() {
        Err(VaultError::Sealed(path)) if !overwrite => {
            let words = format!(
                "{} was sealed with another ENCRYPTION_KEY than this, and a bot that has that key would not open what \
                 is sealed with this one; give that key, or type `auth login --overwrite`",
                path.display()
            );
            return Err(failed(exit::CONFIGURATION, words));
        }
        Err(VaultError::Sealed(_)) | Ok(_) => {}
        Err(error) => return Err(error.into()),
    }
    let base = config.application.base_url.as_deref().unwrap_or(schwab::URL);
    let http = Http::new(base, config.ssl_cert_file.as_deref(), Orders::Alone);
    let http = Arc::new(http.map_err(|words| failed(exit::CONFIGURATION, words))?);
    let state = random_word()?;
    let key = config.application.key.expose();
    let address = grant::authorize_url(base, key, &config.callback, &state);
    let attempt = Attempt { config, endpoint: endpoint(config, &http), state };
    let granted = if listen {
        attempt.listened(&address, out)?
    } else {
        attempt.pasted(&address, &mut io::stdin().lock(), out)?
    };
    let logged_in_at = keep(&mut vault, &granted)?;
    writeln!(
        out,
        "logged in until {}; the login is sealed in {}, and a bot that runs takes it from there by itself",
        logged_in_at.plus(REFRESH_LIFE_MS),
        config.vault.path.display()
    )?;
    name_accounts(config, &http, &granted.access, out)
}

fn endpoint(config: &LoginConfig, http: &Arc<Http>) -> TokenEndpoint {
    let (key, secret) = (config.application.key.expose(), config.application.secret.expose());
    TokenEndpoint::new(Arc::clone(http), key, secret)
}

/// 32 hex digits that nobody can guess.
fn random_word() -> Result<String, Failure> {
    let mut bytes = [0; STATE_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| VaultError::Random)?;
    Ok(alloy::hex::encode(bytes))
}

/// One run of `auth login`: as many codes as a person brings, all for the same address.
struct Attempt<'a> {
    config: &'a LoginConfig,
    endpoint: TokenEndpoint,
    state: String,
}

impl Attempt<'_> {
    /// A person pastes what the browser ended on, once more where it did not do.
    fn pasted(
        &self,
        address: &str,
        input: &mut dyn BufRead,
        out: &mut dyn Write,
    ) -> Result<Granted, Failure> {
        writeln!(
            out,
            "1. Open this address in a browser, log in, choose the account and allow access:\n\n{address}\n\n\
             2. The browser ends on a page that it can not show. Copy its whole address (it begins with\n   \
             {} and holds code=) and paste it here, within 30 seconds:",
            self.config.callback
        )?;
        let mut last = failed(exit::USAGE, "nothing was pasted: nobody is logged in by this");
        loop {
            out.flush()?;
            let mut line = Zeroizing::new(String::new());
            let read = input.take(PASTED_BYTES_MAX).read_line(&mut line);
            if read.map_err(|error| failed(exit::USAGE, format!("standard input: {error}")))? == 0 {
                return Err(last);
            }
            if line.trim().is_empty() {
                continue;
            }
            let granted = match grant::code_in(&line, &self.state) {
                Ok(code) => self.exchange(&code),
                Err(error) => Err(failed(exit::USAGE, error.to_string())),
            };
            match granted {
                Ok(granted) => return Ok(granted),
                Err(failure) => {
                    writeln!(out, "{failure}")?;
                    last = failure;
                }
            }
        }
    }

    /// The browser itself brings the code, to a server on this machine.
    fn listened(&self, address: &str, out: &mut dyn Write) -> Result<Granted, Failure> {
        let door = callback::Door::open(&self.config.callback)
            .map_err(|words| failed(exit::CONFIGURATION, words))?;
        writeln!(
            out,
            "1. Open this address in a browser on this machine, log in, choose the account and allow access:\n\n\
             {address}\n\n\
             2. The browser then warns of a certificate that nobody vouches for: it is this program's own, made for\n   \
             this login. Go on only if its SHA-256 fingerprint is\n   {}\n\n\
             waiting at {} for {} minutes; Ctrl-C ends it",
            door.fingerprint(),
            self.config.callback,
            callback::WAIT.as_secs() / 60
        )?;
        out.flush()?;
        let runtime = super::runtime()?;
        runtime.block_on(door.wait(|query| {
            let code = grant::code_in_answer(query, &self.state);
            code.map_err(|error| failed(exit::USAGE, error.to_string())).and_then(|code| self.exchange(&code))
        }))
    }

    /// Once: a code is used up by it, whatever comes of it.
    fn exchange(&self, code: &Secret) -> Result<Granted, Failure> {
        match self.endpoint.ask(&grant::exchange_form(code, &self.config.callback)) {
            Meaning::Granted(granted) if granted.refresh.is_some() => Ok(granted),
            Meaning::Granted(_) => Err(failed(exit::AWAY, "the broker gave no refresh token; try once more")),
            Meaning::Dead(end @ End::Application, said) => {
                Err(failed(exit::CONFIGURATION, end.of_code(&said)))
            }
            Meaning::Dead(end, said) => Err(failed(exit::NOT_CLEAN, end.of_code(&said))),
            Meaning::Doubtful(said) => Err(failed(exit::AWAY, End::Grant.of_code(&said))),
            Meaning::Away(words) => {
                let words = format!("{words}; the code may be used up: open the address once more");
                Err(failed(exit::AWAY, words))
            }
        }
    }
}

/// A login wins over whatever a bot's refresh writes at the same time: at the broker it has won already.
fn keep(vault: &mut Vault, granted: &Granted) -> Result<Millis, Failure> {
    let now = Millis::now();
    let refresh = granted.refresh.clone().ok_or_else(|| Failure::bug("a login without a refresh token"))?;
    for _ in 0..STORES_MAX {
        let login = Login {
            access: granted.access.clone(),
            refresh: refresh.clone(),
            logged_in_at: now,
            issued_at: now,
            access_until: now.plus(granted.expires_in_s.saturating_mul(1_000)),
            // Read whole, for the key may have changed while a person was in the browser.
            generation: match vault.load() {
                Ok(there) => there.map_or(0, |there| there.generation),
                Err(VaultError::Sealed(_)) => vault.generation()?,
                Err(error) => return Err(error.into()),
            },
        };
        if vault.store(&login)?.is_some() {
            return Ok(now);
        }
    }
    Err(failed(
        exit::TRY_LATER,
        "another process goes on writing to the login's file; type `auth login` again",
    ))
}

/// Which accounts the login opens, by their ends, and whether the bot's is among them.
fn name_accounts(config: &LoginConfig, http: &Http, access: &Secret, out: &mut dyn Write) -> Ended {
    let accounts = match schwab::accounts(http, access) {
        Ok(accounts) => accounts,
        Err(words) => {
            writeln!(out, "which accounts it opens could not be asked: {words}")?;
            return Ok(exit::DONE);
        }
    };
    let ends: Vec<String> = accounts.iter().map(|account| format!("…{}", account.end())).collect();
    writeln!(out, "it opens {} account(s): {}", ends.len(), ends.join(", "))?;
    let Some(digits) = &config.live_account else {
        writeln!(out, "set LIVE_ACCOUNT to the last four characters of the one that the bot is to trade in")?;
        return Ok(exit::DONE);
    };
    let ours = accounts.iter().filter(|account| account.account_number.ends_with(digits.as_str())).count();
    if ours == 1 {
        writeln!(out, "LIVE_ACCOUNT is one of them")?;
        return Ok(exit::DONE);
    }
    let words = format!(
        "LIVE_ACCOUNT is the end of {ours} of them and must be the end of one: the login is kept, but the bot sends \
         nothing; log in and choose the account, or change LIVE_ACCOUNT"
    );
    Err(failed(exit::CONFIGURATION, words))
}

// ---- status --------------------------------------------------------------------------------------------------------

/// How it stands with the stored login. The names of the fields and the words of `state` are stable.
#[derive(Serialize)]
struct Standing {
    broker: &'static str,
    /// `good`, `refused` (by the broker), `ended` (seven days are over), `none` (nobody is logged in).
    state: &'static str,
    logged_in_at: Option<Millis>,
    ends_at: Option<Millis>,
    /// Seconds until `ends_at`; negative when it is past.
    left_s: Option<i64>,
    /// Until when the access token is good that was stored last.
    access_until: Option<Millis>,
    /// When the broker last said no.
    refused_at: Option<Millis>,
    reason: Option<String>,
}

fn status(config: &VaultConfig, json: bool, out: &mut dyn Write) -> Ended {
    // A look makes no file.
    let (login, refusal) = if config.path.exists() {
        let mut vault = open(config)?;
        (vault.load()?, vault.refusal()?)
    } else {
        (None, None)
    };
    let now = Millis::now();
    let standing = standing(login.as_ref(), refusal.as_ref(), now);
    if json {
        serde_json::to_writer(&mut *out, &standing).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write_standing(&standing, now, out)?;
    }
    Ok(if standing.state == "good" { exit::DONE } else { exit::NOT_CLEAN })
}

fn standing(login: Option<&Login>, refusal: Option<&Refusal>, now: Millis) -> Standing {
    let ends_at = login.map(|login| login.logged_in_at.plus(REFRESH_LIFE_MS));
    let state = match (login, refusal) {
        (None, _) => "none",
        (_, Some(_)) => "refused",
        _ if ends_at.is_some_and(|end| end <= now) => "ended",
        _ => "good",
    };
    Standing {
        broker: BrokerKind::Schwab.as_str(),
        state,
        logged_in_at: login.map(|login| login.logged_in_at),
        ends_at,
        left_s: ends_at.map(|end| end.since(now) / 1000),
        access_until: login.map(|login| login.access_until),
        refused_at: refusal.map(|refusal| refusal.at),
        reason: refusal.map(|refusal| refusal.why.clone()),
    }
}

fn write_standing(standing: &Standing, now: Millis, out: &mut dyn Write) -> io::Result<()> {
    let (Some(at), Some(end)) = (standing.logged_in_at, standing.ends_at) else {
        return writeln!(out, "nobody is logged in at {}: `auth login`", standing.broker);
    };
    let age = duration(now.since(at));
    writeln!(out, "logged in at {} since {at} ({age} ago)", standing.broker)?;
    match standing.state {
        "good" => writeln!(out, "good until {end}, another {}", duration(end.since(now))),
        "ended" => writeln!(out, "ended {end}, {} ago: `auth login`", duration(now.since(end))),
        _ => {
            let when = standing.refused_at.unwrap_or(now);
            writeln!(out, "refused by the broker, {when}: {}", standing.reason.as_deref().unwrap_or_default())
        }
    }
}

// ---- rekey ---------------------------------------------------------------------------------------------------------

fn change_key(config: &VaultConfig, out: &mut dyn Write) -> Ended {
    let next = config.keys.next.as_ref().ok_or_else(|| Failure::bug("rekey without a new key"))?;
    if !config.path.exists() || !open(config)?.rekey(next.expose())? {
        return Err(failed(
            exit::NOT_CLEAN,
            "nobody is logged in, so there is nothing to seal: set ENCRYPTION_KEY to the new key and type `auth login`",
        ));
    }
    writeln!(
        out,
        "the login is sealed with the new key; make it ENCRYPTION_KEY and take NEW_ENCRYPTION_KEY away before the next \
         start\na bot that was started with NEW_ENCRYPTION_KEY goes on by itself; any other sends nothing until it is \
         started with the new key"
    )?;
    Ok(exit::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(at: Millis) -> Login {
        Login {
            access: "A".into(),
            refresh: "R".into(),
            logged_in_at: at,
            issued_at: at,
            access_until: at.plus(1_800_000),
            generation: 1,
        }
    }

    #[test]
    fn a_login_is_good_until_its_end_or_the_brokers_no() {
        let at = Millis(1_800_000_000_000);
        let end = at.plus(REFRESH_LIFE_MS);
        let no = Refusal { at: at.plus(5), why: "gone; type `auth login`".into() };
        let text = |login: Option<&Login>, refusal: Option<&Refusal>, now: Millis| {
            let mut out = Vec::new();
            let standing = standing(login, refusal, now);
            write_standing(&standing, now, &mut out).unwrap();
            (standing.state, String::from_utf8(out).unwrap())
        };
        let ours = login(at);
        assert_eq!(text(None, None, at), ("none", "nobody is logged in at schwab: `auth login`\n".into()));
        let (state, words) = text(Some(&ours), None, end.plus(-90_000_000));
        assert_eq!(state, "good");
        assert!(words.ends_with("good until 2027-01-22T08:00:00.000Z, another 1 d 1 h\n"), "{words}");
        assert_eq!(text(Some(&ours), None, end.plus(-1)).0, "good");
        let (state, words) = text(Some(&ours), None, end.plus(3_660_000));
        assert_eq!((state, words.contains(", 1 h 1 m ago: `auth login`")), ("ended", true), "{words}");
        let (state, words) = text(Some(&ours), Some(&no), at.plus(10));
        assert_eq!((state, words.contains("gone; type `auth login`")), ("refused", true), "{words}");
    }
}
