//! The recorded logs, said again by a contract on a real EVM node, decode to the same trades; and the test contracts
//! under `contracts/test` do what other tests use them for.

use crate::recorded;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use alloy::primitives::{Address, B256, Bytes, U256, hex};
use alloy::sol_types::{SolCall, SolValue};
use counterfill::chain::abi::{Amount, Leg, RawLog, token::IToken};
use counterfill::fills;
use serde_json::{Value, json};

mod emitter {
    alloy::sol!("contracts/test/Emitter.sol");
}
mod token {
    alloy::sol!("contracts/test/Token.sol");
}
use emitter::Emitter;
use token::Token;

/// How long the node may take to start or to mine; far beyond what it needs (40 ms), reached only when it hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// The first of anvil's unlocked accounts.
const SENDER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
/// Enough for all recorded logs in one transaction, below anvil's block limit.
const GAS: &str = "0x1c00000";

struct Anvil {
    process: Child,
    url: String,
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn contracts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts")
}

impl Anvil {
    fn start() -> Self {
        let program = contracts().join("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
        let mut process = Command::new(&program)
            .args(["--host", "127.0.0.1", "--port", "0", "--chain-id", "8453"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("run scripts/tools: {}: {error}", program.display()));
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned))
            .expect("anvil ended before it listened");
        // It goes on talking, and must neither fill the pipe nor find it broken.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url: format!("http://{address}") }
    }

    fn ask(&self, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let mut answer: Value =
            ureq::post(&self.url).send_json(&request).unwrap().body_mut().read_json().unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Sends from the unlocked account and gives the receipt.
    fn send(&self, to: Option<Address>, data: &[u8]) -> Value {
        let mut transaction = json!({"from": SENDER, "gas": GAS, "data": hex::encode_prefixed(data)});
        if let Some(to) = to {
            transaction["to"] = json!(to);
        }
        let hash = self.ask("eth_sendTransaction", json!([transaction]));
        let begun = Instant::now();
        loop {
            let receipt = self.ask("eth_getTransactionReceipt", json!([hash]));
            if !receipt.is_null() {
                assert_eq!(receipt["status"], "0x1", "{receipt}");
                return receipt;
            }
            assert!(begun.elapsed() < PATIENCE, "no receipt of {hash}");
        }
    }

    fn deploy(&self, name: &str, arguments: &[u8]) -> Address {
        let path = contracts().join(format!("out/{name}.sol/{name}.json"));
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("run scripts/tools: {} can not be read: {error}", path.display()));
        let artifact: Value = serde_json::from_str(&text).unwrap();
        let mut code = hex::decode(artifact["bytecode"]["object"].as_str().unwrap()).unwrap();
        code.extend(arguments);
        recorded::address(&self.send(None, &code)["contractAddress"])
    }

    fn token(&self, symbol: &str, decimals: u8) -> Address {
        self.deploy("Token", &(symbol.to_owned(), U256::from(decimals)).abi_encode_params())
    }

    fn call<C: SolCall>(&self, to: Address, call: &C) -> C::Return {
        let request = json!({"to": to, "data": hex::encode_prefixed(call.abi_encode())});
        let answer: Bytes = serde_json::from_value(self.ask("eth_call", json!([request, "latest"]))).unwrap();
        C::abi_decode_returns(&answer).unwrap()
    }
}

/// What must be the same on another chain: everything but the place.
type Essence = (Leg, Address, Address, Amount, Address, Amount);

fn trades(book: &fills::Book, logs: &[RawLog]) -> Vec<Essence> {
    let found = fills::trades(book, logs);
    assert_eq!((found.dead, found.unpaired), (vec![], vec![]));
    let essence = |t: &counterfill::chain::abi::Trade| {
        (t.leg, t.owner, t.input_token, t.input, t.output_token, t.output)
    };
    found.trades.iter().map(essence).collect()
}

#[test]
fn recorded_logs_said_again_are_the_same_bytes_and_the_same_trades() {
    let anvil = Anvil::start();
    let emitter = anvil.deploy("Emitter", &[]);
    let mut everything = (Vec::new(), Vec::new());
    let mut book_here = recorded::v4().book;
    book_here.orderbooks = [emitter].into();
    let replay = |said: &[RawLog], expected: &[Essence], name: &str| {
        let list =
            said.iter().map(|log| Emitter::Log { topic0: log.topics[0], data: log.data.clone() }).collect();
        let receipt = anvil.send(Some(emitter), &Emitter::emitManyCall { logs: list }.abi_encode());
        let logs: Vec<_> = receipt["logs"].as_array().unwrap().iter().map(recorded::log).collect();
        let bytes = |logs: &[RawLog]| -> Vec<(Vec<B256>, Bytes)> {
            logs.iter().map(|log| (log.topics.clone(), log.data.clone())).collect()
        };
        assert_eq!(bytes(&logs), bytes(said), "{name}");
        assert_eq!(trades(&book_here, &logs), expected, "{name}");
    };
    for recording in [recorded::v4(), recorded::v6()] {
        for scenario in &recording.scenarios {
            let said: Vec<_> = scenario.logs.iter().filter(|log| log.topics.len() == 1).cloned().collect();
            let expected = trades(&recording.book, &said);
            replay(&said, &expected, &scenario.name);
            everything.0.extend(said);
            everything.1.extend(expected);
        }
    }
    // All takes and clears of both versions in one transaction: each clear still gets its own amounts.
    assert_eq!(everything.1.len(), 16);
    replay(&everything.0, &everything.1, "all in one transaction");
}

#[test]
fn the_test_token_answers_as_a_share_and_as_a_vault() {
    let anvil = Anvil::start();
    let share = anvil.token("tAAPL", 18);
    let vault = anvil.token("wtAAPL", 6);
    assert_eq!(anvil.call(share, &IToken::symbolCall {}), "tAAPL");
    assert_eq!(anvil.call(share, &IToken::decimalsCall {}), 18);
    assert_eq!(anvil.call(vault, &IToken::decimalsCall {}), 6);
    let ratio = Token::wrapCall { asset_: share, numerator: U256::from(3), denominator: U256::from(2) };
    anvil.send(Some(vault), &ratio.abi_encode());
    assert_eq!(anvil.call(vault, &IToken::assetCall {}), share);
    let assets = anvil.call(vault, &IToken::convertToAssetsCall { shares: U256::from(5) });
    assert_eq!(assets, U256::from(7));
}
