//! The bench: the double of Schwab behind TLS beside the floor's node and bot, a login that is sealed in the vault, and
//! the verdict that the double's log gives.
//!
//! Schwab keeps no name of ours. So that a second order call of one intent shows, the calls are counted by ticker, side
//! and quantity and held against the intents that were ever sent; tests give each deal a quantity of its own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::ops::{Deref, DerefMut};
use std::process::Stdio;
use std::sync::Arc;

use broker_doubles::decimal::Decimal;
use broker_doubles::schwab::{ACCOUNT, APP_KEY, APP_SECRET, Fault, Kind, Price, SchwabDouble, TAG};
use broker_doubles::tls::Authority;
use counterfill::broker::schwab::vault::{self, Login, Vault};
use counterfill::units::{Millis, Shares};
use serde_json::Value;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::floor::{Floor, Order};
use crate::truth::SHARES;

/// What the account holds of each ticker at first, so that a SELL is never short.
const HELD: &str = "1000";
/// What the login is sealed with.
const SEALING_KEY: [u8; 32] = [0xca; 32];

pub struct Bench {
    pub double: Arc<SchwabDouble>,
    pub authority: Authority,
    floor: Floor,
    /// The bot's first access token, for whoever plays another program of the same person.
    pub access: String,
}

impl Deref for Bench {
    type Target = Floor;
    fn deref(&self) -> &Floor {
        &self.floor
    }
}

impl DerefMut for Bench {
    fn deref_mut(&mut self) -> &mut Floor {
        &mut self.floor
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn shares(decimal: Decimal) -> Shares {
    decimal.to_string().parse().unwrap()
}

impl Bench {
    /// A chain and a broker, both behind TLS, somebody logged in, and no bot yet.
    pub fn new() -> Self {
        let authority = Authority::new();
        let double = Arc::new(SchwabDouble::start_on(0, Some(&authority)).unwrap());
        for (ticker, _, _, dollars) in SHARES {
            let of = |text: String| text.parse().unwrap();
            let (bid, ask) = (of(format!("{}.99", dollars - 1)), of(format!("{dollars}.01")));
            let price = Price { bid, ask, last: Decimal::whole(dollars), ..Price::default() };
            double.book(|book| book.prices.insert(ticker.into(), price));
            double.hold(ticker, HELD);
        }
        let settings = [
            ("BROKER", "schwab".to_owned()),
            ("APP_KEY", APP_KEY.to_owned()),
            ("APP_SECRET", APP_SECRET.to_owned()),
            ("APP_TAG", TAG.to_owned()),
            ("ENCRYPTION_KEY", hex(&SEALING_KEY)),
            ("LIVE_ACCOUNT", ACCOUNT[ACCOUNT.len() - 4..].to_owned()),
            ("BASE_URL", double.url()),
            ("MARKET_HOURS", "broker".to_owned()),
        ];
        let asked = Arc::clone(&double);
        let told = move || {
            let log = asked.log();
            let calls = log.iter().rev().take(25);
            calls.map(|e| format!("{} {} {:?} {}\n", e.n, e.route, e.fault, e.answer)).collect()
        };
        let mut floor = Floor::new(settings, Box::new(told));
        floor.over_tls(&authority);
        let mut bench = Self { double, authority, floor, access: String::new() };
        bench.log_in(1_800_000);
        bench
    }

    /// With a bot that is ready.
    pub fn ready() -> Self {
        let mut bench = Self::new();
        bench.start();
        bench.becomes_ready();
        bench
    }

    /// What `auth login` leaves behind: the bot believes in the access token for so long.
    pub fn log_in(&mut self, access_ms: i64) {
        let (access, refresh) = self.double.log_in();
        self.access.clone_from(&access);
        let mut vault = Vault::open(&self.data().join(vault::FILE), &SEALING_KEY).unwrap();
        let now = Millis::now();
        // The bot may renew the old login in this very moment.
        for _ in 0..100 {
            let login = Login {
                access: access.clone().into(),
                refresh: refresh.clone().into(),
                logged_in_at: now,
                issued_at: now,
                access_until: now.plus(access_ms),
                generation: vault.generation().unwrap(),
            };
            if vault.store(&login).unwrap().is_some() {
                return;
            }
        }
        panic!("the login is not taken");
    }

    /// A client that is not the bot's, which follows no redirect.
    pub fn browser(&self) -> ureq::Agent {
        let trusted = Certificate::from_pem(self.authority.pem.as_bytes()).unwrap();
        let tls = TlsConfig::builder().root_certs(RootCerts::from([trusted])).build();
        let config = ureq::Agent::config_builder().tls_config(tls).max_redirects(0);
        config.max_redirects_will_error(false).build().new_agent()
    }

    /// `bot auth login`, beside the bot that runs: a person opens the address and pastes where the browser ended.
    pub fn auth_login(&self) {
        let mut command = self.configured(&["auth", "login"]);
        command.env("REDIRECT_URI", "https://127.0.0.1");
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut login = piped.spawn().unwrap();
        let out = BufReader::new(login.stdout.take().unwrap());
        let mut lines = out.lines().map_while(Result::ok);
        let address = lines.find(|line| line.starts_with(&self.double.url())).unwrap();
        let answer = self.browser().get(address.trim()).call().unwrap();
        let back = answer.headers()["location"].to_str().unwrap().to_owned();
        writeln!(login.stdin.as_mut().unwrap(), "{back}").unwrap();
        assert!(login.wait().unwrap().success(), "{:?}", lines.collect::<Vec<_>>());
    }

    /// How often the double was asked this.
    pub fn asked(&self, route: &str) -> usize {
        self.double.log().iter().filter(|entry| entry.route == route).count()
    }

    /// Whether a call of this route has met a fault.
    pub fn has_met(&self, route: &str) -> bool {
        self.double.log().iter().any(|entry| entry.route == route && entry.fault.is_some())
    }

    /// Waits until so many fills are in the ledger.
    pub fn books(&self, fills: usize) {
        self.until(&format!("{fills} fills are booked"), || self.rows_of("fills").len() == fills);
    }

    pub fn fault(&self, route: &str, kind: Kind) {
        self.double.fault(Fault::next(route, kind));
    }

    pub fn is_unready(&self, because: &str) -> bool {
        self.get("/readyz").is_some_and(|(code, body)| code == 503 && body.contains(because))
    }

    // ---- a person -------------------------------------------------------------------------------------------------

    /// What only a person can settle: the running bot's word, which has to be had from it in time.
    pub fn unsettled(&self) -> Vec<Value> {
        let mut told = String::new();
        self.until("`bot reconcile` answers", || {
            let out = self.verb(&["reconcile", "--json"]);
            told = String::from_utf8(out.stdout).unwrap();
            out.status.success()
        });
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until one intent waits for a person, and has been looked for.
    pub fn waits_for_a_person(&self, state: &str) -> Value {
        let mut found = Vec::new();
        self.until(&format!("an intent is {state} for a person"), || {
            found = self.unsettled();
            found.retain(|row| row["state"] == state && !row["list_read_at"].is_null());
            !found.is_empty()
        });
        found.remove(0)
    }

    /// The same for an order of nobody's, which only the second list that shows it makes one: that may be two minutes, so
    /// each list is waited for by itself.
    pub fn waits_for_a_person_about_a_stranger(&self) -> Value {
        for _ in 0..2 {
            let lists = self.asked("list");
            self.until("another list is read, or none is needed", || {
                self.asked("list") > lists || self.unsettled().iter().any(|row| row["state"] == "Stuck")
            });
        }
        self.waits_for_a_person("Stuck")
    }

    /// A person says what became of the intent of that row.
    pub fn reconcile(&self, row: &Value, words: &[&str]) {
        let intent = row["intent_id"].as_str().unwrap();
        let args = [&["reconcile", intent], words, &["--reason", "looked at the broker's page"]].concat();
        let mut last = String::new();
        // What the broker's newest list does not show can not be chosen yet.
        self.until("the decision is taken", || {
            let out = self.verb(&args);
            last = String::from_utf8_lossy(&out.stderr).into_owned();
            out.status.success()
        });
    }

    /// A person does what the halt asks for.
    pub fn resume(&self, words: &[&str]) {
        let args = [&["resume"], words, &["--reason", "looked at it"]].concat();
        self.until("resumed", || self.verb(&args).status.success());
    }

    /// An order of nobody's moves the position, and may be seen there before the list has shown it: a person lifts that
    /// whenever it comes, until all is ready.
    pub fn becomes_ready_but_for_drift(&self) {
        self.until_while_the_chain_lives("ready but for drift", || {
            if self.is_halted("drift") {
                self.resume(&["TSLA", "--accept-position"]);
            }
            self.get("/readyz").is_some_and(|(code, _)| code == 200)
        });
    }

    /// A person looks at the account, and says of every intent that waits for that what is so.
    pub fn a_person_settles(&self) {
        for row in self.unsettled() {
            let similar = row["similar"].as_array().cloned().unwrap_or_default();
            let created = self.double.log().into_iter().filter_map(|entry| entry.created);
            let created: Vec<String> = created.map(|id| id.to_string()).collect();
            let bound: Vec<Value> =
                self.hedges().into_iter().map(|row| row["broker_order_id"].clone()).collect();
            let free = |id: &&Value| created.iter().any(|c| *id == c.as_str()) && !bound.contains(id);
            let ours = similar.iter().map(|order| &order["order_id"]).find(free);
            let args = match ours.and_then(Value::as_str) {
                _ if row["adopted"] == true => vec!["ignore"],
                Some(order) => vec!["adopt", order],
                None if self.is_missing(&row) => vec!["absent"],
                None => continue,
            };
            let intent = row["intent_id"].as_str().unwrap();
            // What is said too early is refused, and said again.
            self.verb(&[&["reconcile", intent], args.as_slice(), &["--reason", "looked"]].concat());
        }
    }

    /// Whether the broker's own book holds no order that could be the one of this row: the truth, not what the bot read.
    fn is_missing(&self, row: &Value) -> bool {
        let bound: Vec<Value> = self.hedges().into_iter().map(|row| row["broker_order_id"].clone()).collect();
        let free = self.orders().into_iter().filter(|order| !bound.contains(&order.id.as_str().into()));
        free.filter(|order| {
            row["symbol"] == order.ticker
                && (row["side"] == "BUY") == order.buys
                && row["quantity"] == order.quantity.to_string()
        })
        .count()
            == 0
    }

    // ---- the verdict ----------------------------------------------------------------------------------------------

    /// The orders that an order call created; nobody's else.
    pub fn orders(&self) -> Vec<Order> {
        let log = self.double.log();
        let ours = |order: &broker_doubles::schwab::Order| log.iter().any(|e| e.created == Some(order.id));
        let told = |order: broker_doubles::schwab::Order| Order {
            id: order.id.to_string(),
            name: None,
            ticker: SHARES.iter().map(|share| share.0).find(|known| *known == order.symbol).unwrap(),
            buys: order.instruction.buys(),
            quantity: shares(order.quantity),
            executed: shares(order.filled()),
        };
        self.double.orders().into_iter().filter(ours).map(told).collect()
    }

    /// What is wrong; empty where all is well.
    pub fn wrongs(&self) -> Vec<String> {
        let log = self.double.log();
        let mut wrongs = Vec::new();
        for order in self.double.orders() {
            let created = log.iter().filter(|entry| entry.created == Some(order.id)).count();
            if created > 1 {
                wrongs.push(format!("{order:?}: created {created} times"));
            }
        }
        wrongs.extend(self.calls_beyond_intents(&log));
        wrongs.extend(self.floor.wrongs(&self.orders(), 0));
        wrongs
    }

    /// Order calls for which there is no intent.
    pub fn calls_beyond_intents(&self, log: &[broker_doubles::schwab::Entry]) -> Vec<String> {
        let mut calls: BTreeMap<(String, bool, String), i64> = BTreeMap::new();
        for entry in log.iter().filter(|entry| entry.route == "place") {
            let body: Value = serde_json::from_str(&entry.body).unwrap();
            let leg = &body["orderLegCollection"][0];
            let buys = leg["instruction"].as_str().unwrap().starts_with("BUY");
            let symbol = leg["instrument"]["symbol"].as_str().unwrap().to_owned();
            *calls.entry((symbol, buys, leg["quantity"].to_string())).or_default() += 1;
        }
        for row in self.hedges() {
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            let adopted = row["adopted"] == true;
            let never = matches!(text("state").as_str(), "Planned" | "Withdrawn");
            if !adopted && !never && !text("reason").starts_with("not sent") {
                *calls.entry((text("symbol"), row["side"] == "BUY", text("quantity"))).or_default() -= 1;
            }
        }
        let beyond = calls.into_iter().filter(|(_, count)| *count > 0);
        beyond.map(|(order, count)| format!("{order:?}: {count} order calls beyond its intents")).collect()
    }

    /// Waits until nothing is wrong, without a person.
    pub fn settles(&self) {
        self.floor.settles(|| self.wrongs());
    }

    /// Waits until nothing is wrong; a person settles what only a person can.
    pub fn settles_with_a_person(&self) {
        let mut looks = 0_u32;
        self.floor.settles(|| {
            let wrongs = self.wrongs();
            looks += 1;
            if !wrongs.is_empty() && looks.is_multiple_of(10) {
                self.a_person_settles();
            }
            wrongs
        });
    }

    /// Comes to rest, is ready, stops with exit 0, and all of it still holds. No secret was logged on the way.
    pub fn ends_clean(&mut self) {
        self.settles();
        self.becomes_ready();
        self.ends_as_it_is();
    }

    /// Stops with exit 0, and all is well.
    pub fn ends_as_it_is(&mut self) {
        self.stop();
        assert_eq!(self.wrongs(), Vec::<String>::new(), "{}", self.logged);
        for secret in self.secrets() {
            self.kept_secret(&[&secret]);
        }
    }

    /// What nobody may read anywhere.
    pub fn secrets(&self) -> Vec<String> {
        let hashes =
            self.double.book(|book| book.accounts.iter().map(|it| it.hash.clone()).collect::<Vec<_>>());
        // The tokens and codes hold CANARY in base64, at two of its three offsets.
        let known = [ACCOUNT, APP_KEY, APP_SECRET, &hex(&SEALING_KEY), "CANARY", "Q0FOQVJZ", "DQU5BUlk"];
        known.into_iter().map(str::to_owned).chain(hashes).collect()
    }
}
