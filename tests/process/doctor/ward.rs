//! A world in which all is well, and a doctor as a process in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;

use alloy::primitives::{Address, address};
use broker_doubles::alpaca::{AlpacaDouble, KEY, SECRET};
use broker_doubles::tls::Authority;
use counterfill::broker::paper::PaperOptions;
use counterfill::doctor::NAMES;
use counterfill::hedges::HaltKind;
use counterfill::ledger::{Ledger, Stamp, Write};
use counterfill::sim::{SimChain, SimNode};
use counterfill::units::Millis;
use serde_json::Value;
use testkit::process::{self, Process};

use crate::node::serve;

pub const BOOK: Address = address!("e522cB4a5fCb2eb31a52Ff41a4653d85A4fd7C9D");
pub const OWNER: Address = address!("70997970C51812dc3A010C7d01b50e0d17dc79C8");
pub const CHAIN_ID: u64 = 8453;

/// A world in which all is well, and a doctor.
pub struct Ward {
    pub node: SimNode,
    pub double: AlpacaDouble,
    pub folder: tempfile::TempDir,
    pub settings: BTreeMap<&'static str, String>,
    _node_thread: mpsc::Sender<()>,
}

/// What the doctor said.
pub struct Told {
    pub code: i32,
    pub text: String,
    pub rows: Vec<Value>,
}

impl Told {
    pub fn row(&self, name: &str) -> (&str, &str, &str) {
        let row = self.rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}"));
        let text = |key: &str| row[key].as_str().unwrap_or_default();
        (text("verdict"), text("found"), text("next"))
    }

    /// Names of the rows that are not well.
    pub fn ill(&self) -> BTreeSet<&str> {
        let ill =
            self.rows.iter().filter(|row| !["ok", "warning"].contains(&row["verdict"].as_str().unwrap()));
        ill.map(|row| row["name"].as_str().unwrap()).collect()
    }
}

impl Ward {
    pub fn new() -> Self {
        let mut chain = SimChain::starting_at(CHAIN_ID, 1_000, 7, now_s() - 3);
        chain.contracts.insert(BOOK);
        let (node, keep) = serve(chain);
        node.mine_empty(1);
        let authority = Authority::new();
        let double = AlpacaDouble::start_on(0, Some(&authority)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pem = folder.path().join("ca.pem");
        std::fs::write(&pem, &authority.pem).unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let settings = BTreeMap::from([
            ("WS_RPC_URL", node.ws_url()),
            ("ORDERBOOK", BOOK.to_string()),
            ("ORDER_OWNER", OWNER.to_string()),
            ("DEPLOYMENT_BLOCK", "1001".to_owned()),
            ("CHAIN_ID", CHAIN_ID.to_string()),
            ("HEAD_AGE_MAX", "1h".to_owned()),
            ("BROKER", "alpaca".to_owned()),
            ("ALPACA_API_KEY", KEY.to_owned()),
            ("ALPACA_API_SECRET", SECRET.to_owned()),
            ("BASE_URL", double.url()),
            ("MARKET_HOURS", "broker".to_owned()),
            ("SSL_CERT_FILE", pem.display().to_string()),
            ("DATABASE_URL", format!("sqlite:{}", data.join("bot.db").display())),
        ]);
        Self { node, double, folder, settings, _node_thread: keep }
    }

    pub fn paper() -> Self {
        let mut ward = Self::new();
        ward.set("BROKER", "paper");
        ward
    }

    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.settings.insert(name, value.into());
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = process::verb(&self.data().join("bot.db"), args);
        command.env_remove("USER").envs(&self.settings);
        command
    }

    /// A bot that runs with the same settings.
    pub fn bot(&self) -> Process {
        Process::start(self.command(&["run"]))
    }

    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        let out = self.command(&[&["doctor"], args].concat()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (out.status.code().unwrap_or(-1), text(out.stdout), text(out.stderr))
    }

    /// Examines with `--json`; what must hold of every examination is checked here.
    pub fn examine(&self, args: &[&str]) -> Told {
        let before = self.files();
        let told = self.examine_and_renew(args);
        assert_eq!(self.files(), before, "nothing is written");
        told
    }

    /// The same, where a broker's login may have to be renewed.
    pub fn examine_and_renew(&self, args: &[&str]) -> Told {
        let (code, text, errors) = self.run(&[&["--json"], args].concat());
        assert!(self.double.orders().is_empty(), "no order was placed");
        for entry in self.double.log() {
            assert_eq!(entry.method, "GET", "{entry:?}");
        }
        for secret in [KEY, SECRET, "CANARY"] {
            assert!(!text.contains(secret) && !errors.contains(secret), "{secret}: {text}{errors}");
        }
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let names: BTreeSet<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), NAMES.len(), "every check is there whatever fails: {names:?} {errors}");
        for row in &rows {
            assert_eq!(row["verdict"] == "ok", row["next"].is_null(), "a remedy where it is needed: {row}");
        }
        let told = Told { code, text, rows };
        assert_eq!(told.code, i32::from(!told.ill().is_empty()), "{}", told.text);
        told
    }

    /// Every file's name and content.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(self.data()).into_iter().flatten().map(Result::unwrap);
        let mut files: Vec<_> =
            entries.map(|entry| (entry.path(), std::fs::read(entry.path()).unwrap_or_default())).collect();
        files.sort();
        files
    }

    /// Examines, and this check alone is ill, with these words.
    pub fn only(&self, name: &str, verdict: &str, found: &str, next: &str) {
        let told = self.examine(&[]);
        assert_eq!(told.row(name), (verdict, found, next), "{}", told.text);
        assert_eq!(told.ill(), BTreeSet::from([name]), "{}", told.text);
    }

    /// The operator's word, in a ledger that has nothing else.
    pub fn halt(&self) {
        let mut ledger = Ledger::open_as_stamped(&self.data().join("bot.db"), Millis::now()).unwrap();
        let halt =
            Write::Halt { symbol: None, kind: HaltKind::Operator, reason: "x".into(), who: "me".into() };
        ledger.commit(Millis::now(), &[halt]).unwrap();
        ledger.close().unwrap();
    }

    pub fn give_birth(&self, change: impl FnOnce(&mut Stamp)) {
        let mut stamp = Stamp {
            chain_id: CHAIN_ID,
            orderbooks: vec![BOOK],
            owners: vec![OWNER],
            broker: "paper".into(),
            account: PaperOptions::default().account,
            hedge_from_block: None,
            deployment_block: 1_001,
        };
        change(&mut stamp);
        Ledger::open(&self.data().join("bot.db"), &stamp, Millis::now()).unwrap().close().unwrap();
    }
}

pub fn now_s() -> u64 {
    u64::try_from(Millis::now().0 / 1_000).unwrap()
}
