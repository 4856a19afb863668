//! Where the login is kept: one sealed row in a file of its own beside the ledger.
//!
//! Not in the ledger: a ledger may be put back from a backup, and an old refresh token is worse than none; and `auth
//! login` must be able to write while the bot holds the ledger. AES-256-GCM, with everything the row says in the clear
//! as associated data, so that no column can be changed or taken from another row.
//!
//! It refuses to know what a token is good for. Invariant: what `store` has returned from is durable, and a refresh never
//! overwrites a login that came in between.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};
use zeroize::Zeroizing;

use super::grant::Secret;
use crate::units::Millis;

/// Its name beside the ledger.
pub const FILE: &str = "login.db";
/// Bytes of the key: 64 hex digits of `ENCRYPTION_KEY`.
pub const KEY_BYTES: usize = 32;
/// A statement waits so long for the other process.
const BUSY: Duration = Duration::from_secs(5);
/// A bot refreshes once in half an hour: twice running is a coincidence, so often is not.
const REKEYS_MAX: usize = 5;
/// The shape of the sealed text; part of the associated data.
const SHAPE: &str = "counterfill login 1";

const SCHEMA: &str = "
CREATE TABLE login (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL CHECK (generation > 0),
    logged_in_at INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    access_until INTEGER NOT NULL,
    nonce BLOB NOT NULL CHECK (length(nonce) = 12),
    sealed BLOB NOT NULL
) STRICT;
CREATE TABLE refusal (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    generation INTEGER NOT NULL,
    at INTEGER NOT NULL,
    why TEXT NOT NULL
) STRICT;
PRAGMA user_version = 1;";

/// What is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// Goes with every call.
    pub access: Secret,
    /// Gives the next access token.
    pub refresh: Secret,
    /// When a person logged in; the seven days count from here.
    pub logged_in_at: Millis,
    /// When the access token was asked for.
    pub issued_at: Millis,
    /// Until when the access token is good.
    pub access_until: Millis,
    /// Counts every change, so that two processes notice each other's.
    pub generation: i64,
}

/// That the broker did not take the login any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// When it last said so.
    pub at: Millis,
    /// In our own words.
    pub why: String,
}

/// Why the login can not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// Another key, or somebody changed the file.
    #[error("{} does not open with this ENCRYPTION_KEY; give the key it was sealed with, or type `auth login --overwrite`", .0.display())]
    Sealed(PathBuf),
    /// The file.
    #[error("{}: {reason}; look at its owner and mode, or move it away and type `auth login`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// In words.
        reason: String,
    },
    /// Another process is writing, for longer than anything there takes.
    #[error("{}: another process goes on writing to it; try again", .0.display())]
    Busy(PathBuf),
    /// The machine gives no randomness.
    #[error("no random numbers are to be had")]
    Random,
}

/// The file. Not shared between threads: whoever keeps it locks it.
pub struct Vault {
    conn: Connection,
    path: PathBuf,
    /// Which file it is: one that was moved away and made anew is another.
    identity: (u64, u64),
    /// It became another, and nobody has read that yet: numbers that are equal mean nothing.
    moved: bool,
    /// What is sealed is sealed with this.
    key: LessSafeKey,
    /// What a row may be sealed with as well, where a change of keys is under way.
    other: Option<LessSafeKey>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vault({})", self.path.display())
    }
}

fn sealing(key: &[u8; KEY_BYTES]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

impl Vault {
    /// Opens the file at `path`, or makes it, for its owner alone.
    ///
    /// # Errors
    /// [`VaultError::File`].
    pub fn open(path: &Path, key: &[u8; KEY_BYTES]) -> Result<Self, VaultError> {
        let key = sealing(key).ok_or(VaultError::Random)?;
        let (conn, identity) = Self::connect(path)?;
        Ok(Self { conn, path: path.to_owned(), identity, moved: false, key, other: None })
    }

    /// Opens rows that are sealed with `key` as well. What is written goes on to be sealed with the key that opened what
    /// was there last, so that a bot that knows both keys follows a change of keys by itself.
    ///
    /// # Errors
    /// [`VaultError::Random`].
    pub fn or_under(mut self, key: Option<&[u8; KEY_BYTES]>) -> Result<Self, VaultError> {
        self.other = key.map(|key| sealing(key).ok_or(VaultError::Random)).transpose()?;
        Ok(self)
    }

    fn connect(path: &Path) -> Result<(Connection, (u64, u64)), VaultError> {
        let file = |reason: String| VaultError::File { path: path.to_owned(), reason };
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        // Of the file that was there first: one that takes its place meanwhile is noticed at the next look. Closed before
        // SQLite opens it: to close it later would free SQLite's locks.
        let made = made.and_then(|file| file.metadata()).map_err(|error| file(error.to_string()))?;
        let identity = (made.dev(), made.ino());
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> rusqlite::Result<Connection> {
            let mut conn = Connection::open_with_flags(path, flags)?;
            conn.busy_timeout(BUSY)?;
            conn.pragma_update(None, "synchronous", "FULL")?;
            conn.pragma_update(None, "secure_delete", "ON")?;
            let version =
                |conn: &Connection| conn.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
            match version(&conn)? {
                0 => {
                    // Two processes may find an empty file: the second waits for the first and then has nothing to do.
                    let begun = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    if version(&begun)? == 0 {
                        begun.execute_batch(SCHEMA)?;
                    }
                    begun.commit()?;
                }
                1 => {}
                _ => return Err(rusqlite::Error::InvalidQuery),
            }
            Ok(conn)
        };
        let conn = open().map_err(|error| match error {
            rusqlite::Error::InvalidQuery => file("it was written by a newer version".into()),
            other => failure(path, &other),
        })?;
        Ok((conn, identity))
    }

    /// A file that was moved away under us is written to in vain: the one that has its name now counts.
    fn follow(&mut self) -> Result<(), VaultError> {
        let there = std::fs::metadata(&self.path).ok().map(|file| (file.dev(), file.ino()));
        if there != Some(self.identity) {
            (self.conn, self.identity) = Self::connect(&self.path)?;
            self.moved = true;
        }
        Ok(())
    }

    fn failed(&self, error: &rusqlite::Error) -> VaultError {
        failure(&self.path, error)
    }

    /// The number of the newest change; 0 where nobody has logged in, and -1 where the file became another one since it
    /// was last read. Cheap.
    ///
    /// # Errors
    /// [`VaultError::File`].
    pub fn generation(&mut self) -> Result<i64, VaultError> {
        self.follow()?;
        if self.moved {
            return Ok(-1);
        }
        let read = self.conn.query_row("SELECT generation FROM login", [], |row| row.get(0)).optional();
        read.map(Option::unwrap_or_default).map_err(|error| self.failed(&error))
    }

    /// The login; none where nobody has logged in.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn load(&mut self) -> Result<Option<Login>, VaultError> {
        self.follow()?;
        let query = "SELECT generation, logged_in_at, issued_at, access_until, nonce, sealed FROM login";
        let read = self.conn.query_row(query, [], |row| {
            let open = Open {
                generation: row.get(0)?,
                logged_in_at: row.get(1)?,
                issued_at: row.get(2)?,
                access_until: row.get(3)?,
            };
            Ok((open, row.get::<_, [u8; NONCE_LEN]>(4)?, row.get::<_, Vec<u8>>(5)?))
        });
        let read = read.optional().map_err(|error| self.failed(&error))?;
        self.moved = false;
        let Some((open, nonce, sealed)) = read else { return Ok(None) };
        let sealed = Zeroizing::new(sealed);
        let broken = || VaultError::Sealed(self.path.clone());
        let plain = match (unseal(&self.key, &open, nonce, &sealed), &self.other) {
            (Some(plain), _) => plain,
            (None, None) => return Err(broken()),
            (None, Some(other)) => {
                let plain = unseal(other, &open, nonce, &sealed).ok_or_else(broken)?;
                if let Some(other) = &mut self.other {
                    std::mem::swap(&mut self.key, other);
                }
                plain
            }
        };
        let broken = || VaultError::Sealed(self.path.clone());
        let (access, refresh) = plain.split_once('\n').ok_or_else(broken)?;
        Ok(Some(Login {
            access: Secret::from(access),
            refresh: Secret::from(refresh),
            logged_in_at: Millis(open.logged_in_at),
            issued_at: Millis(open.issued_at),
            access_until: Millis(open.access_until),
            generation: open.generation,
        }))
    }

    /// Keeps `login` if the newest change is still number `login.generation`, under the next number, which is returned.
    /// `None`: somebody else came first; load again.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn store(&mut self, login: &Login) -> Result<Option<i64>, VaultError> {
        let open = Open {
            generation: login.generation + 1,
            logged_in_at: login.logged_in_at.0,
            issued_at: login.issued_at.0,
            access_until: login.access_until.0,
        };
        self.follow()?;
        if self.moved {
            return Ok(None);
        }
        let (nonce, sealed) = seal(&self.key, &open, login)?;
        let path = self.path.clone();
        let failed = |error: rusqlite::Error| failure(&path, &error);
        let begun = self.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let newest: Option<i64> = begun
            .query_row("SELECT generation FROM login", [], |row| row.get(0))
            .optional()
            .map_err(failed)?;
        if newest.unwrap_or_default() != login.generation {
            return Ok(None);
        }
        let statement = "INSERT OR REPLACE INTO login VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)";
        let row = (open.generation, open.logged_in_at, open.issued_at, open.access_until, nonce, &*sealed);
        begun.execute(statement, row).map_err(failed)?;
        begun.commit().map_err(failed)?;
        Ok(Some(open.generation))
    }

    /// Keeps that the broker did not take the login of this generation, so that the next process, and `auth status`,
    /// need not ask.
    ///
    /// # Errors
    /// [`VaultError::File`].
    pub fn refuse(&self, generation: i64, refusal: &Refusal) -> Result<(), VaultError> {
        let statement = "INSERT OR REPLACE INTO refusal VALUES (1, ?1, ?2, ?3)";
        let done = self.conn.execute(statement, (generation, refusal.at.0, &refusal.why));
        done.map(drop).map_err(|error| self.failed(&error))
    }

    /// The newest refusal of the newest login, if any.
    ///
    /// # Errors
    /// [`VaultError::File`].
    pub fn refusal(&self) -> Result<Option<Refusal>, VaultError> {
        let query = "SELECT at, why FROM refusal JOIN login USING (generation)";
        let read = self
            .conn
            .query_row(query, [], |row| Ok(Refusal { at: Millis(row.get(0)?), why: row.get(1)? }))
            .optional();
        read.map_err(|error| self.failed(&error))
    }

    /// Seals what is there with another key. Whoever holds the old one must be started again with the new.
    ///
    /// # Errors
    /// [`VaultError`]; the row is then as it was.
    pub fn rekey(&mut self, key: &[u8; KEY_BYTES]) -> Result<bool, VaultError> {
        for _ in 0..REKEYS_MAX {
            let Some(login) = self.load()? else { return Ok(false) };
            let refusal = self.refusal()?;
            let old = std::mem::replace(&mut self.key, sealing(key).ok_or(VaultError::Random)?);
            let stored = self.store(&login);
            if let Ok(Some(generation)) = stored {
                // The broker's no was to the login, whatever seals it.
                refusal.map_or(Ok(()), |refusal| self.refuse(generation, &refusal))?;
                return Ok(true);
            }
            // A refresh came in between: it is sealed anew, on the newest row.
            self.key = old;
            stored?;
        }
        Err(VaultError::Busy(self.path.clone()))
    }
}

fn failure(path: &Path, error: &rusqlite::Error) -> VaultError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy) => VaultError::Busy(path.to_owned()),
        _ => VaultError::File { path: path.to_owned(), reason: error.to_string() },
    }
}

fn unseal(key: &LessSafeKey, open: &Open, nonce: [u8; NONCE_LEN], sealed: &[u8]) -> Option<Secret> {
    // A key that does not fit leaves rubbish behind: each try has a copy of its own.
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let plain = key.open_in_place(nonce, Aad::from(open.clear()), &mut sealed).ok()?;
    Some(Secret::from(std::str::from_utf8(plain).ok()?))
}

/// What the row says in the clear.
struct Open {
    generation: i64,
    logged_in_at: i64,
    issued_at: i64,
    access_until: i64,
}

impl Open {
    fn clear(&self) -> Vec<u8> {
        format!("{SHAPE}|{}|{}|{}|{}", self.generation, self.logged_in_at, self.issued_at, self.access_until)
            .into_bytes()
    }
}

fn seal(
    key: &LessSafeKey,
    open: &Open,
    login: &Login,
) -> Result<([u8; NONCE_LEN], Zeroizing<Vec<u8>>), VaultError> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| VaultError::Random)?;
    let mut sealed = Zeroizing::new(format!("{}\n{}", *login.access, *login.refresh).into_bytes());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(open.clear()), &mut *sealed)
        .map_err(|_| VaultError::Random)?;
    Ok((nonce, sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(generation: i64) -> Login {
        Login {
            access: "I0.access@".into(),
            refresh: "R0.refresh@".into(),
            logged_in_at: Millis(1_000),
            issued_at: Millis(2_000),
            access_until: Millis(3_000),
            generation,
        }
    }

    #[test]
    fn a_login_is_kept_sealed_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login.db");
        let mut vault = Vault::open(&path, &[7; KEY_BYTES]).unwrap();
        assert!(vault.load().unwrap().is_none());
        assert_eq!(vault.store(&login(0)).unwrap(), Some(1));
        let read = Vault::open(&path, &[7; KEY_BYTES]).unwrap().load().unwrap().unwrap();
        assert!(read == Login { generation: 1, ..login(0) });
        let bytes = std::fs::read(&path).unwrap();
        for secret in ["I0.access", "R0.refresh"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
        }
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn another_key_and_a_changed_row_open_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login.db");
        let mut vault = Vault::open(&path, &[7; KEY_BYTES]).unwrap();
        vault.store(&login(0)).unwrap();
        let mut other = Vault::open(&path, &[8; KEY_BYTES]).unwrap();
        assert!(matches!(other.load(), Err(VaultError::Sealed(_))));
        for column in ["generation", "logged_in_at", "issued_at", "access_until"] {
            let change = |by: i64| {
                let sql = format!("UPDATE login SET {column} = {column} + {by}");
                Connection::open(&path).unwrap().execute(&sql, []).unwrap();
            };
            change(1);
            assert!(matches!(vault.load(), Err(VaultError::Sealed(_))), "{column}");
            change(-1);
            assert!(vault.load().is_ok());
        }
    }

    #[test]
    fn a_refresh_does_not_overwrite_a_login_that_came_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login.db");
        let mut bot = Vault::open(&path, &[7; KEY_BYTES]).unwrap();
        bot.store(&login(0)).unwrap();
        let mut auth = Vault::open(&path, &[7; KEY_BYTES]).unwrap();
        assert_eq!(auth.store(&Login { refresh: "new".into(), ..login(1) }).unwrap(), Some(2));
        assert_eq!(bot.store(&login(1)).unwrap(), None);
        assert_eq!(*bot.load().unwrap().unwrap().refresh, "new");
        assert_eq!(bot.generation().unwrap(), 2);
    }

    #[test]
    fn a_bot_that_knows_both_keys_follows_a_change_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login.db");
        let both =
            |path| Vault::open(path, &[7; KEY_BYTES]).unwrap().or_under(Some(&[9; KEY_BYTES])).unwrap();
        let mut bot = both(&path);
        bot.store(&login(0)).unwrap();
        assert!(both(&path).rekey(&[9; KEY_BYTES]).unwrap());
        assert!(bot.load().unwrap().unwrap() == login(2));
        assert_eq!(bot.store(&login(2)).unwrap(), Some(3), "and goes on with the new one");
        assert!(Vault::open(&path, &[9; KEY_BYTES]).unwrap().load().unwrap().unwrap() == login(3));
        assert!(Vault::open(&path, &[7; KEY_BYTES]).unwrap().load().is_err());
        assert!(both(&path).load().unwrap().unwrap() == login(3));
    }

    #[test]
    fn a_file_that_was_moved_away_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login.db");
        let mut bot = Vault::open(&path, &[7; KEY_BYTES]).unwrap();
        bot.store(&login(0)).unwrap();
        std::fs::rename(&path, dir.path().join("aside.db")).unwrap();
        assert_eq!(bot.generation().unwrap(), -1);
        let mut auth = Vault::open(&path, &[7; KEY_BYTES]).unwrap();
        assert_eq!(bot.store(&login(1)).unwrap(), None);
        auth.store(&login(0)).unwrap();
        assert!(bot.load().unwrap().unwrap() == login(1));
        assert_eq!(bot.generation().unwrap(), 1);
    }

    #[test]
    fn a_file_that_took_its_place_with_the_same_number_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("login.db"), dir.path().join("other.db"));
        let mut bot = Vault::open(&path, &[7; KEY_BYTES]).unwrap();
        bot.store(&login(0)).unwrap();
        let theirs = Login { refresh: "theirs".into(), ..login(0) };
        Vault::open(&other, &[7; KEY_BYTES]).unwrap().store(&theirs).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_ne!(bot.generation().unwrap(), 1, "both count from one");
        assert_eq!(bot.store(&login(1)).unwrap(), None);
        assert_eq!(bot.load().unwrap().unwrap().refresh.as_str(), "theirs");
        assert_eq!(bot.store(&login(1)).unwrap(), Some(2), "it was read");
    }

    #[test]
    fn a_refusal_is_of_one_login_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let mut vault = Vault::open(&dir.path().join("login.db"), &[7; KEY_BYTES]).unwrap();
        let refusal = Refusal { at: Millis(5), why: "ended".into() };
        vault.refuse(0, &refusal).unwrap();
        assert_eq!(vault.refusal().unwrap(), None, "nobody is logged in");
        vault.store(&login(0)).unwrap();
        assert_eq!(vault.refusal().unwrap(), None);
        vault.refuse(1, &refusal).unwrap();
        assert_eq!(vault.refusal().unwrap(), Some(refusal.clone()));
        assert!(vault.rekey(&[9; KEY_BYTES]).unwrap());
        assert_eq!(vault.refusal().unwrap(), Some(refusal), "another key makes no other login");
        vault.store(&login(2)).unwrap();
        assert_eq!(vault.refusal().unwrap(), None, "the next login is another");
    }

    #[test]
    fn a_new_key_takes_the_old_ones_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("login.db");
        let mut vault = Vault::open(&path, &[7; KEY_BYTES]).unwrap();
        assert!(!vault.rekey(&[9; KEY_BYTES]).unwrap(), "nothing to seal");
        let mut vault2 = Vault::open(&path, &[7; KEY_BYTES]).unwrap();
        vault2.store(&login(0)).unwrap();
        assert!(vault2.rekey(&[9; KEY_BYTES]).unwrap());
        assert_eq!(
            *Vault::open(&path, &[9; KEY_BYTES]).unwrap().load().unwrap().unwrap().access,
            "I0.access@"
        );
        assert!(Vault::open(&path, &[7; KEY_BYTES]).unwrap().load().is_err());
    }
}
