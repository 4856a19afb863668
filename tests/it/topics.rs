//! Three sources of each topic agree: solc (the artifacts), `sol!` (what the program filters by) and the table in
//! `tests/data/raindex/topics.txt`, which was checked against logs of the real contracts. A fourth, the keccak hash of
//! the spelled-out signature, is computed here.
//!
//! And the same for what is asked of tokens: solc's selectors are `sol!`'s.

use std::collections::BTreeMap;
use std::path::Path;

use alloy::primitives::{B256, hex, keccak256};
use alloy::sol_types::{SolCall, SolEvent};
use counterfill::chain::abi::{self, token::IToken, v4, v5};
use serde_json::Value;

struct Row {
    file: String,
    interface: String,
    event: String,
    topic: B256,
    signature: String,
}

fn table() -> Vec<Row> {
    let row = |line: &str| {
        let [file, interface, event, topic, signature] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("not five columns: {line}")
        };
        Row {
            file: file.to_owned(),
            interface: interface.to_owned(),
            event: event.to_owned(),
            topic: topic.parse().unwrap(),
            signature: signature.to_owned(),
        }
    };
    include_str!("../data/raindex/topics.txt").lines().map(row).collect()
}

/// What solc made of one contract. Missing artifacts fail the test: a check that skips itself checks nothing.
fn artifact(file: &str, contract: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("contracts/out/{file}/{contract}.json"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("run scripts/tools: {} can not be read: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_table_is_the_hash_of_its_signatures() {
    for row in table() {
        assert_eq!(keccak256(&row.signature), row.topic, "{}", row.signature);
        assert!(row.signature.starts_with(&format!("{}(", row.event)));
    }
}

#[test]
fn the_program_filters_by_exactly_the_table() {
    let table: Vec<_> = table().into_iter().map(|row| (row.topic, row.signature)).collect();
    let ours = [
        (abi::TAKE_V4, v4::IOrderBookV4::TakeOrderV2::SIGNATURE),
        (abi::TAKE_V4_BYTES32, v4::IOrderBookV4Bytes32Context::TakeOrderV2::SIGNATURE),
        (abi::CLEAR_V4, v4::IOrderBookV4::ClearV2::SIGNATURE),
        (abi::AFTER_CLEAR_V4, v4::IOrderBookV4::AfterClear::SIGNATURE),
        (abi::TAKE_V5, v5::IOrderBookV5::TakeOrderV3::SIGNATURE),
        (abi::CLEAR_V5, v5::IOrderBookV5::ClearV3::SIGNATURE),
        (abi::AFTER_CLEAR_V5, v5::IOrderBookV5::AfterClearV2::SIGNATURE),
    ];
    assert_eq!(ours.map(|(topic, signature)| (topic, signature.to_owned())).to_vec(), table);
    assert_eq!(abi::TOPICS.to_vec(), table.iter().map(|(topic, _)| *topic).collect::<Vec<_>>());
}

#[test]
fn solc_hashes_the_interfaces_as_the_table_says() {
    let mut of_solc = BTreeMap::new();
    let contracts = [
        ("IOrderBookV4.sol", "IOrderBookV4"),
        ("IOrderBookV4.sol", "IOrderBookV4Bytes32Context"),
        ("IOrderBookV5.sol", "IOrderBookV5"),
    ];
    for (file, interface) in contracts {
        for (event, topic) in artifact(file, interface)["topics"].as_object().unwrap() {
            let name = (file.to_owned(), interface.to_owned(), event.clone());
            of_solc.insert(name, topic.as_str().unwrap().parse::<B256>().unwrap());
        }
    }
    let expected: BTreeMap<_, _> =
        table().into_iter().map(|row| ((row.file, row.interface, row.event), row.topic)).collect();
    assert_eq!(of_solc, expected);
}

/// What the test token answers; the vaults' tests have tokens that answer the others.
const ANSWERED: [&str; 4] = ["symbol", "decimals", "convertToAssets", "asset"];

#[test]
fn solc_selects_the_token_calls_as_we_do() {
    let of_solc: BTreeMap<String, String> =
        serde_json::from_value(artifact("IToken.sol", "IToken")["methodIdentifiers"].clone()).unwrap();
    let ours = BTreeMap::from([
        (IToken::symbolCall::SIGNATURE, hex::encode(IToken::symbolCall::SELECTOR)),
        (IToken::decimalsCall::SIGNATURE, hex::encode(IToken::decimalsCall::SELECTOR)),
        (IToken::convertToAssetsCall::SIGNATURE, hex::encode(IToken::convertToAssetsCall::SELECTOR)),
        (IToken::assetCall::SIGNATURE, hex::encode(IToken::assetCall::SELECTOR)),
        (IToken::totalSupplyCall::SIGNATURE, hex::encode(IToken::totalSupplyCall::SELECTOR)),
        (IToken::underlyingCall::SIGNATURE, hex::encode(IToken::underlyingCall::SELECTOR)),
        (IToken::uiMultiplierCall::SIGNATURE, hex::encode(IToken::uiMultiplierCall::SELECTOR)),
        (IToken::multiplierCall::SIGNATURE, hex::encode(IToken::multiplierCall::SELECTOR)),
        (IToken::newUIMultiplierCall::SIGNATURE, hex::encode(IToken::newUIMultiplierCall::SELECTOR)),
        (IToken::effectiveAtCall::SIGNATURE, hex::encode(IToken::effectiveAtCall::SELECTOR)),
    ]);
    // By the standards' own texts: ERC-4626, ERC-8056, and what plain wrappers and Base's B20 answer.
    for (name, id) in
        [("uiMultiplier()", "a60bf13d"), ("multiplier()", "1b3ed722"), ("underlying()", "6f307dc3")]
    {
        assert_eq!(ours[name], id, "{name}");
    }
    let ours: BTreeMap<String, String> = ours.into_iter().map(|(name, id)| (name.to_owned(), id)).collect();
    assert_eq!(of_solc, ours);
    let of_test_token: BTreeMap<String, String> =
        serde_json::from_value(artifact("Token.sol", "Token")["methodIdentifiers"].clone()).unwrap();
    for (name, id) in ours.iter().filter(|(name, _)| ANSWERED.iter().any(|known| name.starts_with(known))) {
        assert_eq!(of_test_token.get(name), Some(id), "the test token must answer {name}");
    }
}
