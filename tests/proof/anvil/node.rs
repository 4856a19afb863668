//! anvil, started for one test and killed with it, and the questions that tests put to it over HTTP.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use alloy::primitives::{Address, U256, hex};
use alloy::sol_types::SolValue;
use serde_json::{Value, json};

use super::until;

/// What the node says of itself, and what the bot is told to expect.
pub const CHAIN_ID: u64 = 8453;
/// Unlocked accounts. Each transaction of a block has a sender of its own, so that a reorg can drop one and keep the
/// next without a gap in somebody's nonces.
pub const SENDERS: usize = 30;
/// Enough for a handful of fills; fourteen transactions of it fit into a block.
const GAS: &str = "0x200000";

pub struct Node {
    process: Child,
    pub address: SocketAddr,
    agent: ureq::Agent,
    pub senders: Vec<String>,
    /// anvil writes the states of long chains, gigabytes of them, below its home, and leaves them there when it is killed.
    _home: tempfile::TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn contracts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts")
}

impl Node {
    /// A node that mines only when it is told to.
    pub fn start() -> Self {
        let program = contracts().join("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
        let home = tempfile::tempdir().unwrap();
        let mut process = Command::new(&program)
            .env("HOME", home.path())
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(["--chain-id", &CHAIN_ID.to_string(), "--accounts", &SENDERS.to_string(), "--no-mining"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("run scripts/tools: {}: {error}", program.display()));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| line.strip_prefix("Listening on ").map(|text| text.parse().unwrap()))
            .expect("anvil ended before it listened");
        // It goes on talking, and must neither fill the pipe nor find it broken.
        std::thread::spawn(move || lines.for_each(drop));
        let agent = ureq::Agent::config_builder().proxy(None).timeout_global(Some(super::PATIENCE)).build();
        let mut node = Self { process, address, agent: agent.into(), senders: Vec::new(), _home: home };
        node.senders = serde_json::from_value(node.ask("eth_accounts", json!([]))).unwrap();
        assert_eq!(node.senders.len(), SENDERS);
        node
    }

    pub fn ask(&self, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let url = format!("http://{}", self.address);
        let mut answer: Value =
            self.agent.post(&url).send_json(&request).unwrap().body_mut().read_json().unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Puts a transaction into the pool and gives its hash; the next block holds it.
    pub fn send(&self, sender: usize, to: Option<Address>, data: &[u8]) -> String {
        let mut transaction =
            json!({"from": self.senders[sender], "gas": GAS, "data": hex::encode_prefixed(data)});
        if let Some(to) = to {
            transaction["to"] = json!(to);
        }
        text(&self.ask("eth_sendTransaction", json!([transaction])))
    }

    /// Puts a transaction that was signed before into the pool again.
    pub fn send_raw(&self, raw: &str) {
        self.ask("eth_sendRawTransaction", json!([raw]));
    }

    /// How many transactions of this sender the chain holds.
    pub fn nonce(&self, sender: usize) -> u64 {
        number(&self.ask("eth_getTransactionCount", json!([self.senders[sender], "latest"])))
    }

    /// Mines one block with what is in the pool.
    pub fn mine(&self) {
        self.ask("evm_mine", json!([]));
    }

    /// Mines blocks without pause.
    pub fn mine_many(&self, blocks: u64) {
        self.ask("anvil_mine", json!([format!("{blocks:#x}")]));
    }

    /// Replaces the last `depth` blocks by as many others, which hold these transactions at these places (0 is the
    /// lowest replaced block).
    pub fn reorg(&self, depth: u64, returning: &[(String, u64)]) {
        let head = self.head();
        self.ask("anvil_reorg", json!([depth, returning]));
        let (number, hash) = self.head();
        assert!(number == head.0 && hash != head.1, "anvil_reorg replaced nothing");
    }

    /// The head's number and hash.
    pub fn head(&self) -> (u64, String) {
        let block = self.ask("eth_getBlockByNumber", json!(["latest", false]));
        (number(&block["number"]), text(&block["hash"]))
    }

    /// The transaction's receipt, if it is on the chain now.
    pub fn receipt(&self, hash: &str) -> Option<Value> {
        let receipt = self.ask("eth_getTransactionReceipt", json!([hash]));
        if receipt.is_null() {
            return None;
        }
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let block = self.ask("eth_getBlockByNumber", json!([receipt["blockNumber"], false]));
        assert_eq!(
            block["hash"], receipt["blockHash"],
            "the node gave a receipt of a block that left its chain"
        );
        Some(receipt)
    }

    pub fn deploy(&self, name: &str, arguments: &[u8]) -> Address {
        self.deploy_of(name, name, arguments)
    }

    /// A contract of a file that holds several.
    pub fn deploy_of(&self, file: &str, name: &str, arguments: &[u8]) -> Address {
        let path = contracts().join(format!("out/{file}.sol/{name}.json"));
        let artifact = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("run scripts/tools: {} can not be read: {error}", path.display()));
        let artifact: Value = serde_json::from_str(&artifact).unwrap();
        let mut code = hex::decode(artifact["bytecode"]["object"].as_str().unwrap()).unwrap();
        code.extend(arguments);
        let hash = self.send(0, None, &code);
        self.mine();
        let receipt = until("a deployment", || self.receipt(&hash).ok_or("no receipt".into()));
        text(&receipt["contractAddress"]).parse().unwrap()
    }

    pub fn token(&self, symbol: &str, decimals: u8) -> Address {
        self.deploy("Token", &(symbol.to_owned(), U256::from(decimals)).abi_encode_params())
    }
}

pub fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no quantity"));
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
