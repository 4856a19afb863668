//! Where a setting's text comes from: flag > environment > file or credential > default.
//!
//! What the process environment, the flags and the files are is behind [`Sources`], so that a test needs none of
//! them. This file knows names and places, not what a value means. An empty text counts as not given; no `.env` file
//! is ever read, so that a stray one cannot beat the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::problems::{Wrong, escaped};
use super::settings::{Carries, Need, Setting};

/// Longest value read from a file; a key is some hundred bytes.
const VALUE_BYTES_MAX: u64 = 64 * 1024;

/// What the program is given from outside.
pub trait Sources {
    /// The value of the flag of the setting of that (variable's) name.
    fn flag(&self, name: &str) -> Option<String>;

    /// An environment variable.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// The names of all environment variables, as far as they are text.
    fn variable_names(&self) -> Vec<String>;

    /// A file's content.
    ///
    /// # Errors
    /// When it cannot be read, or is longer than `bytes_max`.
    fn read_file(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>>;
}

/// The real ones: the flags of this command line, the environment and the files of this process. Has no `Debug`: a
/// flag may carry a key.
#[derive(Default)]
pub struct Process {
    flags: BTreeMap<&'static str, String>,
}

impl Process {
    /// With these flags, by the name of their variable.
    #[must_use]
    pub const fn new(flags: BTreeMap<&'static str, String>) -> Self {
        Self { flags }
    }
}

impl Sources for Process {
    fn flag(&self, name: &str) -> Option<String> {
        self.flags.get(name).cloned()
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn variable_names(&self) -> Vec<String> {
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }

    fn read_file(&self, path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= bytes_max);
        let too_long =
            || io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {bytes_max} bytes"));
        fits.then_some(bytes).ok_or_else(too_long)
    }
}

/// Where a text was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On the command line; the flag without its dashes.
    Flag(String),
    /// In the environment, under the setting's own name.
    Environment,
    /// In the file that the environment names under `NAME_FILE`.
    File(PathBuf),
    /// In a file that systemd put into `$CREDENTIALS_DIRECTORY`.
    Credential(PathBuf),
    /// Nowhere: the table's default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Environment => f.write_str("environment"),
            Self::File(path) => write!(f, "file {}", escaped(&path.to_string_lossy())),
            Self::Credential(path) => write!(f, "credential {}", escaped(&path.to_string_lossy())),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A text and where it was found. Has no `Debug`: the text may be a secret.
pub struct Found {
    /// As given, but for one trailing newline of a file.
    pub text: String,
    /// Where.
    pub origin: Origin,
}

/// A setting that could not be looked up at all.
pub struct Lost {
    /// Why.
    pub wrong: Wrong,
    /// Where, as far as one place is to blame.
    pub origin: Option<Origin>,
}

/// Looks a setting up; `None` where it is given nowhere and has no default.
///
/// # Errors
/// When two places give it, a file that should hold it cannot be read or is given for a setting that is read from no
/// file, or it is not text.
pub fn find(setting: &Setting, sources: &dyn Sources) -> Result<Option<Found>, Lost> {
    if let Some(flag) = setting.flag()
        && let Some(text) = sources.flag(setting.name).filter(|text| !text.is_empty())
    {
        return Ok(Some(Found { text, origin: Origin::Flag(flag) }));
    }
    let mut found = from_environment(setting, sources)?;
    if setting.carries == Carries::Nothing {
        must_not_be_in_a_file(setting, sources)?;
    } else {
        for elsewhere in [from_file(setting, sources)?, from_credential(setting, sources)?] {
            found = one_of(setting, found, elsewhere)?;
        }
    }
    let default = match setting.need {
        Need::Default(text) => Some(Found { text: text.to_owned(), origin: Origin::Default }),
        Need::Required | Need::Optional => None,
    };
    Ok(found.or(default))
}

fn from_environment(setting: &Setting, sources: &dyn Sources) -> Result<Option<Found>, Lost> {
    let Some(value) = sources.variable(setting.name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    match value.into_string() {
        Ok(text) => Ok(Some(Found { text, origin: Origin::Environment })),
        Err(_) => Err(Lost { wrong: Wrong::whole("is not UTF-8 text"), origin: Some(Origin::Environment) }),
    }
}

fn from_file(setting: &Setting, sources: &dyn Sources) -> Result<Option<Found>, Lost> {
    let named = setting.file_variable().and_then(|name| sources.variable(&name));
    let Some(path) = named.filter(|value| !value.is_empty()).map(PathBuf::from) else {
        return Ok(None);
    };
    let bytes = sources.read_file(&path, VALUE_BYTES_MAX);
    content(bytes, Origin::File(path)).map(Some)
}

/// A limit that somebody believes to be set must not be passed over because it stands where nobody looks.
fn must_not_be_in_a_file(setting: &Setting, sources: &dyn Sources) -> Result<(), Lost> {
    let name = format!("{}_FILE", setting.name);
    if sources.variable(&name).is_none_or(|value| value.is_empty()) {
        return Ok(());
    }
    let why = format!("is not read from a file (only what carries a key is): {name} must not be set");
    Err(Lost { wrong: Wrong::whole(why), origin: None })
}

fn from_credential(setting: &Setting, sources: &dyn Sources) -> Result<Option<Found>, Lost> {
    let Some(directory) = sources.variable("CREDENTIALS_DIRECTORY").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(directory).join(setting.name);
    match sources.read_file(&path, VALUE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => content(bytes, Origin::Credential(path)).map(Some),
    }
}

/// The text of a file that was named on purpose: it must be there, and hold something.
fn content(bytes: io::Result<Vec<u8>>, origin: Origin) -> Result<Found, Lost> {
    let lost = |why: String| Lost { wrong: Wrong::whole(why), origin: Some(origin.clone()) };
    let bytes = bytes.map_err(|error| lost(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| lost("is not UTF-8 text".to_owned()))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(lost("is empty".to_owned()));
    }
    Ok(Found { text: text.to_owned(), origin })
}

fn one_of(setting: &Setting, one: Option<Found>, other: Option<Found>) -> Result<Option<Found>, Lost> {
    match (one, other) {
        (Some(one), Some(other)) => {
            let why = format!(
                "is given twice: as {} and as {}; keep one",
                place(setting, &one.origin),
                place(setting, &other.origin)
            );
            Err(Lost { wrong: Wrong::whole(why), origin: None })
        }
        (one, other) => Ok(one.or(other)),
    }
}

fn place(setting: &Setting, origin: &Origin) -> String {
    match origin {
        Origin::File(_) => format!("{}_FILE", setting.name),
        Origin::Credential(path) => format!("the credential {}", escaped(&path.to_string_lossy())),
        Origin::Flag(_) | Origin::Environment | Origin::Default => setting.name.to_owned(),
    }
}
