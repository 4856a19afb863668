//! The desk: the double, a folder with a ledger's place in it, `auth` with something on its standard input, and all that
//! was ever said. What is secret is collected as it comes to be known.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use broker_doubles::schwab::{ACCOUNT, APP_KEY, APP_SECRET, CALLBACK, SchwabDouble};
use broker_doubles::tls::Authority;
use counterfill::broker::schwab::vault::{KEY_BYTES, Login, Vault};
use tempfile::TempDir;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

pub const AUTH: &str = env!("CARGO_BIN_EXE_auth");
pub const KEY: &str = "5eca4a95eca4a95eca4a95eca4a95eca4a95eca4a95eca4a95eca4a95eca4a95";
pub const NEXT_KEY: &str = "6fdb5ba6fdb5ba6fdb5ba6fdb5ba6fdb5ba6fdb5ba6fdb5ba6fdb5ba6fdb5ba6";

/// What a verb came to.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub struct Desk {
    pub double: Arc<SchwabDouble>,
    pub data: TempDir,
    pub settings: Vec<(&'static str, String)>,
    pub pem: String,
    said: Mutex<Vec<String>>,
    secrets: Mutex<Vec<String>>,
}

/// A key as the vault takes it.
pub fn key_bytes(hex: &str) -> [u8; KEY_BYTES] {
    std::array::from_fn(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
}

impl Desk {
    pub fn new() -> Self {
        let authority = Authority::new();
        let double = Arc::new(SchwabDouble::start_on(0, Some(&authority)).unwrap());
        let data = tempfile::tempdir().unwrap();
        let ca = data.path().join("ca.pem");
        std::fs::write(&ca, &authority.pem).unwrap();
        let settings = vec![
            ("BROKER", "schwab".to_owned()),
            ("APP_KEY", APP_KEY.to_owned()),
            ("APP_SECRET", APP_SECRET.to_owned()),
            ("REDIRECT_URI", CALLBACK.to_owned()),
            ("ENCRYPTION_KEY", KEY.to_owned()),
            ("LIVE_ACCOUNT", ACCOUNT[ACCOUNT.len() - 4..].to_owned()),
            ("BASE_URL", double.url()),
            ("SSL_CERT_FILE", ca.display().to_string()),
            ("DATABASE_URL", format!("sqlite:{}", data.path().join("bot.db").display())),
            ("RUST_LOG", "trace".to_owned()),
        ];
        let secrets = [APP_SECRET, KEY, NEXT_KEY].map(str::to_owned).to_vec();
        let numbers = double.book(|book| {
            book.accounts.iter().flat_map(|it| [it.number.clone(), it.hash.clone()]).collect::<Vec<_>>()
        });
        let secrets = secrets.into_iter().chain(numbers).collect();
        Self {
            double,
            data,
            settings,
            pem: authority.pem,
            said: Mutex::default(),
            secrets: Mutex::new(secrets),
        }
    }

    pub fn set(&mut self, name: &'static str, value: &str) {
        self.settings.retain(|(known, _)| *known != name);
        self.settings.push((name, value.to_owned()));
    }

    // ---- the program ----------------------------------------------------------------------------------------------

    pub fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env_clear().args(args).envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A verb without anything on its standard input.
    pub fn auth(&self, args: &[&str]) -> Said {
        let out = self.command(AUTH, args).stdin(Stdio::null()).output().unwrap();
        self.hear(out.status.code().unwrap(), out.stdout, out.stderr)
    }

    fn hear(&self, code: i32, out: Vec<u8>, err: Vec<u8>) -> Said {
        let said = Said { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() };
        self.note(&said.out);
        self.note(&said.err);
        said
    }

    /// `auth login`, begun, with the address that it prints.
    pub fn begin(&self, args: &[&str]) -> Begun {
        let mut command = self.command(AUTH, &[&["login"], args].concat());
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (mut said, mut address) = (String::new(), String::new());
        while address.is_empty() {
            let mut line = String::new();
            assert!(out.read_line(&mut line).unwrap() > 0, "it ended: {said}{:?}", child.wait_with_output());
            if line.starts_with(&self.double.url()) {
                address = line.trim().to_owned();
            }
            said.push_str(&line);
        }
        Begun { child, out, said, address }
    }

    /// The whole of a login, as it goes well.
    pub fn log_in(&self) -> Said {
        let mut begun = self.begin(&[]);
        let back = self.browse(&begun.address);
        begun.paste(&back);
        let said = begun.ends(self);
        self.learn_tokens();
        said
    }

    // ---- the browser ----------------------------------------------------------------------------------------------

    /// What a person does on the broker's pages; where they end.
    pub fn browse(&self, address: &str) -> String {
        let roots = self.pem.as_bytes();
        let roots = RootCerts::from([Certificate::from_pem(roots).unwrap()].into_iter());
        let tls = TlsConfig::builder().root_certs(roots).build();
        let config =
            ureq::Agent::config_builder().tls_config(tls).max_redirects(0).max_redirects_will_error(false);
        let answer = config.build().new_agent().get(address).call().unwrap();
        assert_eq!(answer.status().as_u16(), 302);
        let back = answer.headers()["location"].to_str().unwrap().to_owned();
        let code = back.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        let mut secrets = self.secrets.lock().unwrap();
        secrets.push(code.replace("%40", "@"));
        secrets.push(code);
        back
    }

    // ---- the vault ------------------------------------------------------------------------------------------------

    /// The tokens that are stored now are secrets from here on.
    pub fn learn_tokens(&self) {
        let path = self.data.path().join("login.db");
        for key in [KEY, NEXT_KEY] {
            if path.exists()
                && let Ok(mut vault) = Vault::open(&path, &key_bytes(key))
                && let Ok(Some(login)) = vault.load()
            {
                self.secrets.lock().unwrap().extend([login.access.to_string(), login.refresh.to_string()]);
            }
        }
    }

    /// What is stored, opened with this key.
    pub fn stored(&self, key: &str) -> Option<Login> {
        let path = self.data.path().join("login.db");
        self.learn_tokens();
        path.exists().then(|| Vault::open(&path, &key_bytes(key)).unwrap().load().unwrap())?
    }

    pub fn asked(&self, route: &str) -> usize {
        self.double.log().iter().filter(|entry| entry.route == route).count()
    }

    // ---- the verdict ----------------------------------------------------------------------------------------------

    /// Something was said: it will be looked through.
    pub fn note(&self, text: &str) {
        self.said.lock().unwrap().push(text.to_owned());
    }

    /// Nothing that is secret is in anything that was said, nor in a file beside the ledger.
    pub fn nothing_leaked(&self) {
        self.learn_tokens();
        let secrets = self.secrets.lock().unwrap();
        let said = self.said.lock().unwrap();
        assert!(said.iter().map(String::len).sum::<usize>() > 0, "nothing was said at all");
        for secret in secrets.iter() {
            assert!(secret.len() >= 8, "`{secret}` is too short to be looked for");
            for text in said.iter() {
                assert!(!text.contains(secret), "{secret} is in:\n{text}");
            }
            for entry in std::fs::read_dir(self.data.path()).unwrap() {
                let path = entry.unwrap().path();
                let Ok(bytes) = std::fs::read(&path) else { continue };
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{secret} is in {}", path.display());
            }
        }
    }
}

/// An `auth login` that waits for its answer.
pub struct Begun {
    pub child: Child,
    out: BufReader<ChildStdout>,
    said: String,
    pub address: String,
}

impl Begun {
    pub fn state(&self) -> &str {
        self.address.split("state=").nth(1).unwrap()
    }

    pub fn paste(&mut self, text: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{text}").unwrap();
    }

    /// Reads on until a line holds these words; that line.
    pub fn hears(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.out.read_line(&mut line).unwrap() > 0, "it ended without `{words}`: {}", self.said);
            self.said.push_str(&line);
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Closes the standard input and waits for the end.
    pub fn ends(mut self, desk: &Desk) -> Said {
        drop(self.child.stdin.take());
        std::io::Read::read_to_string(&mut self.out, &mut self.said).unwrap();
        let ended = self.child.wait_with_output().unwrap();
        let Said { code, err, .. } = desk.hear(ended.status.code().unwrap(), Vec::new(), ended.stderr);
        desk.note(&self.said);
        Said { code, out: self.said, err }
    }
}
