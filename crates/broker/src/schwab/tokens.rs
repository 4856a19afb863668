//! The tokens: who needs one asks here, and one at a time goes out for a new one.
//!
//! A token is refreshed before it ends, measured from before it was asked for by a clock that nobody sets. What the
//! endpoint gives is kept durably before it is used. A refusal that only a person can mend is asked about again once a
//! minute at most; a new login, written by another process, is seen at the next question. It refuses to know what tokens
//! are used for.
//!
//! Invariant: at most one refresh is under way in the process, and a dead refresh token causes at most one a minute.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::grant::{End, Granted, Meaning, Secret};
use super::vault::{Login, Refusal, Vault, VaultError};
use crate::units::Millis;
use crate::{LoginFacts, Mend};

/// An access token is renewed so long before its end.
const LEEWAY: Duration = Duration::from_secs(120);
/// A refusal that only a person can mend is asked about again after this.
const DEAD_PAUSE: Duration = Duration::from_secs(60);
/// First pause after an endpoint that gave no answer; doubles to [`DEAD_PAUSE`].
const AWAY_PAUSE: Duration = Duration::from_secs(2);
/// A doubtful refusal counts as dead after so many running.
const DOUBTS_MAX: u32 = 3;
/// Tokens in a row, less than [`DEAD_PAUSE`] apart, that a broker may not take; then the next one waits.
const RENEWALS_MAX: u32 = 3;
/// A refresh token lives so long from the login.
pub const REFRESH_LIFE_MS: i64 = 7 * 86_400_000;

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct NoToken {
    /// In words.
    pub words: String,
    /// What a person must do about it; none where it may pass by itself.
    pub mend: Option<Mend>,
}

/// Goes out for a new token: what the endpoint's answer to this refresh token means.
pub trait Endpoint: Send + Sync {
    /// One call; may take seconds.
    fn refresh(&self, token: &Secret) -> Meaning;
}

/// No endpoint: who renews, in words.
struct Elsewhere(&'static str);

impl Endpoint for Elsewhere {
    fn refresh(&self, _: &Secret) -> Meaning {
        Meaning::Away(format!("the access token is over, and {} renews it", self.0))
    }
}

/// Keeps the login.
pub struct Tokens {
    state: Mutex<State>,
    /// What [`Tokens::facts`] tells. Apart, because the state is held while the endpoint is asked, which takes seconds.
    facts: Mutex<LoginFacts>,
}

struct State {
    vault: Vault,
    endpoint: Box<dyn Endpoint>,
    login: Option<Login>,
    /// Until when the access token is good by the clock that nobody sets; none after a start: then the wall's decides.
    fresh_until: Option<Instant>,
    trouble: Option<NoToken>,
    next_try: Option<Instant>,
    doubts: u32,
    misses: u32,
    /// What the endpoint gave and the vault did not take yet: the refresh token before it may be dead already.
    unsaved: Option<Renewal>,
    /// When the endpoint last gave a token, and how many it gave less than [`DEAD_PAUSE`] apart.
    renewed: Option<Instant>,
    renewals: u32,
}

/// A login before and after a refresh.
struct Renewal {
    old: Login,
    new: Login,
    /// Until when the new access token is good.
    fresh_until: Instant,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(vault: Vault, endpoint: Box<dyn Endpoint>) -> Self {
        let state = State {
            vault,
            endpoint,
            login: None,
            fresh_until: None,
            trouble: None,
            next_try: None,
            doubts: 0,
            misses: 0,
            unsaved: None,
            renewed: None,
            renewals: 0,
        };
        Self { state: Mutex::new(state), facts: Mutex::default() }
    }

    /// From now on no token is renewed here: another process does that, and two at once would take each other's.
    pub fn leave_renewing_to(&self, other: &'static str) {
        self.state().endpoint = Box::new(Elsewhere(other));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An access token that should be good. May go out for one; whoever asks meanwhile waits and gets the same.
    ///
    /// # Errors
    /// [`NoToken`].
    pub fn access(&self, now: Millis) -> Result<Secret, NoToken> {
        self.access_but(now, None)
    }

    /// As [`Tokens::access`], but not `refused`, which the broker did not take where it was needed: goes out for another
    /// one, unless that has happened already. It stays good for everybody else.
    ///
    /// # Errors
    /// [`NoToken`].
    pub fn access_but(&self, now: Millis, refused: Option<&Secret>) -> Result<Secret, NoToken> {
        let mut state = self.state();
        let access = state.access(now, refused);
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = state.facts(access.as_ref().err());
        access
    }

    /// How it stood when a token was last asked for.
    #[must_use]
    pub fn facts(&self) -> LoginFacts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl State {
    fn facts(&self, none: Option<&NoToken>) -> LoginFacts {
        let logged_in_at = self.login.as_ref().map(|login| login.logged_in_at);
        let trouble = none.or(self.trouble.as_ref());
        LoginFacts {
            logged_in_at,
            ends_at: logged_in_at.map(|at| at.plus(REFRESH_LIFE_MS)),
            trouble: trouble.map(|trouble| trouble.words.clone()),
            mend: trouble.and_then(|trouble| trouble.mend),
            denied: Vec::new(),
        }
    }

    fn access(&mut self, now: Millis, refused: Option<&Secret>) -> Result<Secret, NoToken> {
        if let Some(renewal) = self.unsaved.take() {
            self.keep(renewal)?;
        }
        self.look_for_a_new_login(now).map_err(|error| unreadable(&error))?;
        let Some(login) = self.login.clone() else {
            let words = "nobody is logged in to the broker; type `auth login`".to_owned();
            return Err(NoToken { words, mend: Some(Mend::LogIn) });
        };
        let refused = refused == Some(&login.access);
        if !refused && self.is_fresh(&login, now) {
            return Ok(login.access);
        }
        let waits = self.next_try.and_then(|at| at.checked_duration_since(Instant::now()));
        if let Some((_, trouble)) = waits.filter(|wait| !wait.is_zero()).zip(self.trouble.clone()) {
            return self.or_still(&login, refused, now, trouble);
        }
        let just_given = self.renewed.and_then(|at| DEAD_PAUSE.checked_sub(at.elapsed()));
        if just_given.is_some() && refused && self.renewals >= RENEWALS_MAX {
            let words = "the broker does not take a token that it has just given".to_owned();
            return Err(NoToken { words, mend: None });
        }
        let dead_already = self.trouble.clone().filter(|trouble| trouble.mend.is_some());
        let asked = Instant::now();
        match self.endpoint.refresh(&login.refresh) {
            Meaning::Granted(granted) => self.keep(Renewal::of(login, granted, asked, now)),
            Meaning::Dead(end, said) => {
                self.dead(&login, end.mend(), &end.of_refresh(&said), now);
                self.failed(&login, refused, now)
            }
            // Of a login that is dead neither says anything new.
            Meaning::Doubtful(_) | Meaning::Away(_) if dead_already.is_some() => {
                self.next_try = Some(Instant::now() + DEAD_PAUSE);
                self.failed(&login, refused, now)
            }
            Meaning::Doubtful(said) => {
                let words = format!("the broker did not accept the refresh token ({said})");
                self.doubts += 1;
                if self.doubts >= DOUBTS_MAX {
                    self.dead(&login, Mend::LogIn, &format!("{words}; type `auth login`"), now);
                } else {
                    self.note(AWAY_PAUSE * self.doubts, words, None);
                }
                self.failed(&login, refused, now)
            }
            Meaning::Away(words) => {
                let pause = (AWAY_PAUSE * 2_u32.pow(self.misses.min(8))).min(DEAD_PAUSE);
                self.misses += 1;
                self.note(pause, words, None);
                self.failed(&login, refused, now)
            }
        }
    }

    /// Another process may have written a login, or this one's is the first look.
    fn look_for_a_new_login(&mut self, now: Millis) -> Result<(), VaultError> {
        let known = self.login.as_ref().map_or(0, |login| login.generation);
        if self.vault.generation()? == known {
            return Ok(());
        }
        self.login = self.vault.load()?;
        self.fresh_until = None;
        self.renewed = None;
        self.trouble = None;
        self.next_try = None;
        self.doubts = 0;
        self.misses = 0;
        // Another process may have had its no a moment ago: a bot that is started again and again storms nobody.
        if let Some(Refusal { at, why }) = self.vault.refusal()? {
            let rest = millis(DEAD_PAUSE).saturating_sub(now.since(at));
            if let Ok(rest @ 1..) = u64::try_from(rest.min(millis(DEAD_PAUSE)))
                && now >= at
            {
                // The file keeps the sentence alone.
                let mend = End::told_by(&why).map_or(Mend::LogIn, End::mend);
                self.note(Duration::from_millis(rest), why, Some(mend));
            }
        }
        Ok(())
    }

    fn dead(&mut self, login: &Login, mend: Mend, why: &str, now: Millis) {
        // What can not be kept is only asked once more by the next process.
        if let Err(error) = self.vault.refuse(login.generation, &Refusal { at: now, why: why.to_owned() }) {
            log::warn!("{error}");
        }
        self.note(DEAD_PAUSE, why.to_owned(), Some(mend));
    }

    fn is_fresh(&self, login: &Login, now: Millis) -> bool {
        match self.fresh_until {
            Some(until) => Instant::now() + LEEWAY < until,
            // A clock that is behind the moment of issue says nothing about the token.
            None => now >= login.issued_at && now.plus(millis(LEEWAY)) < login.access_until,
        }
    }

    /// Durable first: a token that rotated and was lost would be a login lost. What the file does not take now is tried
    /// again before anything else is asked.
    fn keep(&mut self, renewal: Renewal) -> Result<Secret, NoToken> {
        let stored = match self.store(&renewal.old, &renewal.new) {
            Ok(stored) => stored,
            Err(error) => {
                self.unsaved = Some(renewal);
                return Err(unreadable(&error));
            }
        };
        let soon = self.renewed.is_some_and(|at| at.elapsed() < DEAD_PAUSE);
        self.renewals = if soon { self.renewals + 1 } else { 1 };
        self.renewed = Some(Instant::now());
        self.trouble = None;
        self.next_try = None;
        self.doubts = 0;
        self.misses = 0;
        // Where somebody logged in while we asked, theirs counts, and ours is good until it is not.
        if let Some(generation) = stored {
            self.login = Some(Login { generation, ..renewal.new.clone() });
            self.fresh_until = Some(renewal.fresh_until);
        }
        Ok(renewal.new.access)
    }

    /// As [`Vault::store`]; but where the same login was only sealed with another key meanwhile, the new tokens follow it:
    /// the old refresh token may be dead already.
    fn store(&mut self, old: &Login, new: &Login) -> Result<Option<i64>, VaultError> {
        if let Some(generation) = self.vault.store(new)? {
            return Ok(Some(generation));
        }
        match self.vault.load()? {
            Some(newest) if newest.refresh == old.refresh => {
                self.vault.store(&Login { generation: newest.generation, ..new.clone() })
            }
            _ => Ok(None),
        }
    }

    fn note(&mut self, pause: Duration, words: String, mend: Option<Mend>) {
        self.next_try = Some(Instant::now() + pause);
        self.trouble = Some(NoToken { words, mend });
    }

    fn failed(&self, login: &Login, refused: bool, now: Millis) -> Result<Secret, NoToken> {
        let none = || NoToken { words: "no token".into(), mend: None };
        self.or_still(login, refused, now, self.trouble.clone().unwrap_or_else(none))
    }

    /// A token in its last two minutes is better than none.
    fn or_still(&self, login: &Login, refused: bool, now: Millis, why: NoToken) -> Result<Secret, NoToken> {
        let lives = match self.fresh_until {
            Some(until) => Instant::now() < until,
            None => now >= login.issued_at && now < login.access_until,
        };
        if lives && !refused { Ok(login.access.clone()) } else { Err(why) }
    }
}

impl Renewal {
    fn of(old: Login, granted: Granted, asked: Instant, now: Millis) -> Self {
        let life = Duration::from_secs(u64::try_from(granted.expires_in_s).unwrap_or(0));
        let new = Login {
            access: granted.access,
            refresh: granted.refresh.unwrap_or_else(|| old.refresh.clone()),
            issued_at: now,
            access_until: now.plus(millis(life)),
            ..old.clone()
        };
        Self { old, new, fresh_until: asked + life }
    }
}

fn unreadable(error: &VaultError) -> NoToken {
    let mend = match error {
        VaultError::Sealed(_) => Some(Mend::SealingKey),
        VaultError::Busy(_) => None,
        VaultError::File { .. } | VaultError::Random => Some(Mend::File),
    };
    NoToken { words: error.to_string(), mend }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::schwab::grant::End;
    use crate::schwab::vault::KEY_BYTES;

    const NOW: Millis = Millis(1_800_000_000_000);

    type Answer = fn() -> Meaning;

    /// Answers in turn; the last answer for ever.
    #[derive(Clone)]
    struct Script(Arc<(AtomicUsize, Vec<Answer>)>);

    impl Endpoint for Script {
        fn refresh(&self, _: &Secret) -> Meaning {
            let n = self.0.0.fetch_add(1, Ordering::SeqCst);
            self.0.1[n.min(self.0.1.len() - 1)]()
        }
    }

    impl Script {
        fn calls(&self) -> usize {
            self.0.0.load(Ordering::SeqCst)
        }
    }

    fn granted() -> Meaning {
        let text = |text: &str| Secret::from(text);
        Meaning::Granted(Granted { access: text("new"), refresh: Some(text("rotated")), expires_in_s: 1_800 })
    }

    fn bench(access_until: Millis, script: Vec<Answer>) -> (Tokens, Script, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let mut vault = Vault::open(&dir.path().join("login.db"), &[1; KEY_BYTES]).unwrap();
        let login = Login {
            access: "old".into(),
            refresh: "first".into(),
            logged_in_at: NOW.plus(-1_000),
            issued_at: NOW.plus(-1_000),
            access_until,
            generation: 0,
        };
        vault.store(&login).unwrap();
        let script = Script(Arc::new((AtomicUsize::new(0), script)));
        (Tokens::new(vault, Box::new(script.clone())), script, dir)
    }

    #[test]
    fn a_good_token_costs_no_call_and_an_ending_one_is_renewed_and_kept() {
        let (tokens, script, dir) = bench(NOW.plus(121_000), vec![granted]);
        assert_eq!(*tokens.access(NOW).unwrap(), "old");
        assert_eq!(*tokens.access(NOW.plus(2_000)).unwrap(), "new");
        assert_eq!(*tokens.access(NOW.plus(3_000)).unwrap(), "new");
        assert_eq!(script.calls(), 1);
        let kept =
            Vault::open(&dir.path().join("login.db"), &[1; KEY_BYTES]).unwrap().load().unwrap().unwrap();
        assert_eq!(
            (kept.refresh.as_str(), kept.logged_in_at),
            ("rotated", NOW.plus(-1_000)),
            "the seven days go on"
        );
    }

    #[test]
    fn ten_that_ask_at_once_cause_one_refresh() {
        let (tokens, script, _dir) = bench(NOW, vec![granted]);
        std::thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| assert_eq!(*tokens.access(NOW).unwrap(), "new"));
            }
        });
        assert_eq!(script.calls(), 1);
    }

    #[test]
    fn a_token_that_the_broker_did_not_take_is_renewed_once() {
        let (tokens, script, _dir) = bench(NOW.plus(1_800_000), vec![granted]);
        let old = tokens.access(NOW).unwrap();
        assert_eq!(*tokens.access_but(NOW, Some(&old)).unwrap(), "new");
        // A second thread comes late with the same complaint.
        assert_eq!(*tokens.access_but(NOW, Some(&old)).unwrap(), "new");
        assert_eq!(*tokens.access(NOW).unwrap(), "new");
        assert_eq!(script.calls(), 1);
    }

    #[test]
    fn a_token_that_one_road_refuses_stays_good_for_the_others_while_no_other_is_to_be_had() {
        let (tokens, script, _dir) = bench(NOW.plus(1_800_000), vec![|| Meaning::Away("HTTP 503".into())]);
        let old = tokens.access(NOW).unwrap();
        assert!(tokens.access_but(NOW, Some(&old)).is_err());
        assert_eq!(*tokens.access(NOW).unwrap(), "old");
        assert_eq!(script.calls(), 1);
    }

    #[test]
    fn a_dead_login_is_asked_about_once_a_minute_and_a_new_one_is_seen_at_once() {
        let dead = || Meaning::Dead(End::Grant, "HTTP 400: invalid_grant".into());
        let (tokens, script, dir) = bench(NOW, vec![dead]);
        for _ in 0..100 {
            let no = tokens.access(NOW).unwrap_err();
            assert!(no.mend == Some(Mend::LogIn) && no.words.contains("auth login"), "{no:?}");
        }
        assert_eq!(script.calls(), 1);
        assert_eq!(tokens.facts().mend, Some(Mend::LogIn));
        let mut auth = Vault::open(&dir.path().join("login.db"), &[1; KEY_BYTES]).unwrap();
        let login = auth.load().unwrap().unwrap();
        auth.store(&Login { access: "fresh".into(), access_until: NOW.plus(1_800_000), ..login }).unwrap();
        assert_eq!(*tokens.access(NOW).unwrap(), "fresh");
        assert_eq!((script.calls(), tokens.facts().trouble), (1, None));
    }

    #[test]
    fn a_process_that_is_started_again_does_not_ask_again_at_once() {
        let dead = || Meaning::Dead(End::Grant, "HTTP 400: invalid_grant".into());
        let (tokens, script, dir) = bench(NOW, vec![dead]);
        tokens.access(NOW).unwrap_err();
        let again = |at: Millis| {
            let vault = Vault::open(&dir.path().join("login.db"), &[1; KEY_BYTES]).unwrap();
            let tokens = Tokens::new(vault, Box::new(script.clone()));
            let no = tokens.access(at).unwrap_err();
            assert!(no.mend == Some(Mend::LogIn) && no.words.contains("auth login"), "{no:?}");
            script.calls()
        };
        assert_eq!(again(NOW.plus(59_000)), 1);
        assert_eq!(again(NOW.plus(-2_000)), 2, "a clock that went back proves nothing");
        assert_eq!(again(NOW.plus(61_000)), 3);
    }

    #[test]
    fn tokens_that_rotated_while_the_key_changed_are_kept() {
        // The script has no state, so the change of keys happens in the answer itself, by way of the path.
        static PATH: std::sync::OnceLock<std::path::PathBuf> = std::sync::OnceLock::new();
        let during = || {
            let mut auth = Vault::open(PATH.get().unwrap(), &[1; KEY_BYTES]).unwrap();
            assert!(auth.rekey(&[2; KEY_BYTES]).unwrap());
            granted()
        };
        let (tokens, script, dir) = bench(NOW, vec![during]);
        let path = dir.path().join("login.db");
        PATH.set(path.clone()).unwrap();
        let vault = Vault::open(&path, &[1; KEY_BYTES]).unwrap().or_under(Some(&[2; KEY_BYTES])).unwrap();
        drop(tokens);
        let tokens = Tokens::new(vault, Box::new(script.clone()));
        assert_eq!(*tokens.access(NOW).unwrap(), "new");
        let kept = Vault::open(&path, &[2; KEY_BYTES]).unwrap().load().unwrap().unwrap();
        assert_eq!(kept.refresh.as_str(), "rotated");
        assert_eq!((tokens.access(NOW).unwrap().as_str(), script.calls()), ("new", 1));
    }

    #[test]
    fn tokens_that_could_not_be_kept_are_kept_before_anything_is_asked() {
        let (tokens, script, dir) = bench(NOW, vec![granted]);
        let path = dir.path().join("login.db");
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let no = tokens.access(NOW).unwrap_err();
        assert!(no.mend.is_none() && no.words.contains("another process"), "{no:?}");
        assert!(tokens.access(NOW).is_err());
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(*tokens.access(NOW).unwrap(), "new");
        assert_eq!(script.calls(), 1, "the endpoint is not asked for what it gave already");
        let kept = Vault::open(&path, &[1; KEY_BYTES]).unwrap().load().unwrap().unwrap();
        assert_eq!(kept.refresh.as_str(), "rotated");
    }

    /// Nothing is asked before so many seconds have passed.
    fn waits_s(tokens: &Tokens) -> u64 {
        tokens.state().next_try.unwrap().duration_since(Instant::now()).as_secs()
    }

    #[test]
    fn a_dead_login_stays_dead_while_the_endpoint_is_away() {
        let dead = || Meaning::Dead(End::Grant, "HTTP 400: invalid_grant".into());
        let away = || Meaning::Away("HTTP 503".into());
        let (tokens, script, _dir) = bench(NOW, vec![dead, away, || Meaning::Doubtful("?".into()), dead]);
        for calls in 1..=4 {
            tokens.state().next_try = None;
            let no = tokens.access(NOW).unwrap_err();
            assert!(no.mend.is_some() && no.words.contains("auth login") && waits_s(&tokens) > 50, "{no:?}");
            assert!(tokens.facts().mend.is_some(), "one sentence, and not again after each 503");
            assert_eq!(script.calls(), calls);
        }
    }

    #[test]
    fn a_broker_that_takes_no_token_does_not_storm_the_endpoint() {
        let (tokens, script, _dir) = bench(NOW.plus(1_800_000), vec![granted]);
        let mut refused = tokens.access(NOW).unwrap();
        for _ in 0..20 {
            refused = tokens.access_but(NOW, Some(&refused)).unwrap_or(refused);
        }
        let no = tokens.access_but(NOW, Some(&refused)).unwrap_err();
        assert!(no.mend.is_none() && no.words.contains("just given"), "{no:?}");
        assert_eq!(script.calls(), 3);
    }

    #[test]
    fn while_the_endpoint_is_away_a_token_serves_to_its_last_second() {
        let away = || Meaning::Away("HTTP 503".into());
        let (tokens, script, _dir) = bench(NOW.plus(60_000), vec![away]);
        assert_eq!(*tokens.access(NOW).unwrap(), "old");
        // However slow this machine is, the pause after the miss is not over.
        tokens.state().next_try = Some(Instant::now() + DEAD_PAUSE);
        assert_eq!(*tokens.access(NOW.plus(59_999)).unwrap(), "old");
        let no = tokens.access(NOW.plus(60_000)).unwrap_err();
        assert_eq!(no.mend, None);
        assert_eq!(script.calls(), 1, "and it is not stormed");
    }

    #[test]
    fn a_doubtful_refusal_is_believed_the_third_time() {
        let (tokens, script, _dir) = bench(NOW, vec![|| Meaning::Doubtful("not accepted".into()), granted]);
        assert_eq!(tokens.access(NOW).unwrap_err().mend, None);
        let doubts = |tokens: &Tokens| {
            tokens.state().next_try = None;
            tokens.access(NOW)
        };
        assert_eq!(*doubts(&tokens).unwrap(), "new", "it passed by itself");
        assert_eq!(script.calls(), 2);
        let (tokens, _, _dir) = bench(NOW, vec![|| Meaning::Doubtful("not accepted".into())]);
        let told: Vec<bool> = (0..4).map(|_| doubts(&tokens).unwrap_err().mend.is_some()).collect();
        assert_eq!(told, [false, false, true, true]);
    }

    #[test]
    fn nobody_logged_in_is_said_with_what_to_type() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(&dir.path().join("login.db"), &[1; KEY_BYTES]).unwrap();
        let tokens = Tokens::new(vault, Box::new(Script(Arc::new((AtomicUsize::new(0), vec![granted])))));
        assert!(tokens.access(NOW).unwrap_err().words.contains("auth login"));
        assert_eq!(tokens.facts().logged_in_at, None);
    }

    #[test]
    fn a_clock_that_is_behind_the_issue_does_not_make_a_token_good() {
        let (tokens, script, _dir) = bench(NOW.plus(1_800_000), vec![granted]);
        assert_eq!(*tokens.access(NOW.plus(-60_000)).unwrap(), "new");
        assert_eq!(script.calls(), 1);
    }
}
