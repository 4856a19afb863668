//! Golden vectors: what the real order books emitted decodes to what really moved.

use crate::recorded;

use std::collections::BTreeMap;

use alloy::primitives::{Address, U256, b256};
use counterfill::chain::abi::{Amount, RawLog};
use counterfill::fills::{self, Conversion, Event, TokenKind, Unit, Worth};
use counterfill::units::{Cash, Shares, Side};
use recorded::{Recording, Scenario};
use serde_json::Value;

/// What each scenario comes to, written by hand from the recordings' raw integers.
const EXPECTED: [(&str, &[&str]); 16] = [
    ("v4 take_sell_owner_gives_equity", &["SELL 9 AAPL for 1352.25 at 150.25, log 1"]),
    ("v4 take_buy_owner_gives_usdc", &["BUY 4 AAPL for 500 at 125, log 1"]),
    ("v4 take_buy_third_rounds_up", &["BUY 0.333333333333333333 AAPL for 1 at 3.000000000000000003, log 1"]),
    (
        "v4 take_multi_two_of_owner_one_of_other",
        &["SELL 2 AAPL for 320 at 160, log 1", "SELL 1 AAPL for 150.25 at 150.25, log 5"],
    ),
    ("v4 clear_owner_is_alice_sell_bounty", &["SELL 3 AAPL for 525 at 175, log 0"]),
    ("v4 clear_owner_is_bob_sell_bounty", &["SELL 3 AAPL for 525 at 175, log 0"]),
    ("v4 clear_between_strangers", &[]),
    ("v6 take_sell_owner_gives_equity", &["SELL 9 AAPL for 1352.25 at 150.25, log 1"]),
    ("v6 take_buy_owner_gives_usdc", &["BUY 4 AAPL for 500 at 125, log 1"]),
    ("v6 take_buy_repeating_third", &["BUY 0.333333333333333333 AAPL for 1 at 3.000000000000000003, log 1"]),
    (
        "v6 take_multi_two_fills_of_owner_and_one_of_other",
        &["SELL 2 AAPL for 320 at 160, log 1", "SELL 1 AAPL for 150.25 at 150.25, log 5"],
    ),
    ("v6 clear_owner_is_alice_sell_with_bounty", &["SELL 3 AAPL for 525 at 175, log 0"]),
    ("v6 clear_owner_is_bob_sell", &["SELL 3 AAPL for 525 at 175, log 0"]),
    ("v6 clear_between_strangers", &[]),
    ("v6 take_owner_equity_for_equity", &["skipped foreign_pair, log 1"]),
    ("v6 take_dust_one_wei_equity", &["SELL 0.000000000000000001 AAPL for 0 at nothing, log 1"]),
];

fn recordings() -> [(&'static str, Recording); 2] {
    let (v4, mut v6) = (recorded::v4(), recorded::v6());
    v6.wrapped_one_for_one();
    [("v4", v4), ("v6", v6)]
}

fn events(recording: &Recording, logs: &[RawLog]) -> Vec<Event> {
    let found = fills::trades(&recording.book, logs);
    assert_eq!(found.dead, []);
    assert_eq!(found.unpaired, []);
    found.trades.iter().map(|trade| fills::event(&recording.book, trade, &recording.facts)).collect()
}

fn line(event: &Event) -> String {
    match event {
        Event::Fill(fill) => {
            let price = fill.price.map_or("nothing".to_owned(), |price| price.to_string());
            let (side, index) = (fill.id.side, fill.id.log_index);
            format!("{side} {} {} for {} at {price}, log {index}", fill.shares, fill.symbol, fill.cash)
        }
        Event::Skipped(skipped) => {
            format!("skipped {}, log {}", skipped.reason.as_str(), skipped.id.log_index)
        }
        Event::Pending(pending) => format!("waits: {}", pending.reason),
        Event::Dead(dead) => format!("dead: {}", dead.reason),
    }
}

fn scenarios(recordings: &[(&'static str, Recording)], check: impl Fn(&Recording, &Scenario, &str)) {
    for (version, recording) in recordings {
        for scenario in &recording.scenarios {
            check(recording, scenario, &format!("{version} {}", scenario.name));
        }
    }
}

#[test]
fn every_scenario_comes_to_what_was_written_by_hand() {
    let recordings = recordings();
    let mut expected = BTreeMap::from(EXPECTED);
    for (version, recording) in &recordings {
        for scenario in &recording.scenarios {
            let name = format!("{version} {}", scenario.name);
            let lines: Vec<_> = events(recording, &scenario.logs).iter().map(line).collect();
            assert_eq!(lines, expected.remove(name.as_str()).expect(&name), "{name}");
        }
    }
    assert!(expected.is_empty(), "without a recording: {expected:?}");
}

/// The recorder's own expectations, as far as it wrote them down.
#[test]
fn every_scenario_agrees_with_its_recorder() {
    scenarios(&recordings(), |recording, scenario, name| {
        let events = events(recording, &scenario.logs);
        let fills: Vec<_> =
            events.iter().filter_map(|e| if let Event::Fill(f) = e { Some(f) } else { None }).collect();
        let expect = &scenario.expect;
        let rows = match &expect["fills"] {
            Value::Array(rows) => rows.clone(),
            Value::Number(none) => return assert_eq!(none.as_u64(), Some(fills.len() as u64), "{name}"),
            _ => vec![expect.clone()],
        };
        assert_eq!(fills.len(), rows.len(), "{name}");
        for (fill, row) in fills.iter().zip(&rows) {
            let says = |key: &str, ours: String| {
                if let Some(text) = row[key].as_str() {
                    assert_eq!(ours, text, "{name}: {key}");
                }
            };
            says("side", fill.id.side.to_string());
            says("symbol", fill.symbol.to_string());
            says("qty", fill.shares.to_string());
            says("usdc", fill.cash.to_string());
            says("price", fill.price.map_or(String::new(), |price| price.to_string()));
        }
    });
}

/// The exact amounts, from the integers another decoder read: a take's are the taker's, a clear's the order's.
#[test]
fn every_trade_carries_the_exact_integers_of_its_event() {
    scenarios(&recordings(), |recording, scenario, name| {
        let owner = *recording.book.owners.first().unwrap();
        let trades = fills::trades(&recording.book, &scenario.logs).trades;
        let mut expected: Vec<(Amount, Amount)> = Vec::new();
        for log in &scenario.decoded {
            let amount = |key: &str| recorded::amount(&log[key]);
            match log["event"].as_str().unwrap() {
                "TakeOrderV2" | "TakeOrderV3" if recorded::address(&log["owner"]) == owner => {
                    expected.push((amount("output"), amount("input")));
                }
                "AfterClear" | "AfterClearV2" if name.contains("is_alice") => {
                    expected.push((amount("aliceInput"), amount("aliceOutput")));
                }
                "AfterClear" | "AfterClearV2" if name.contains("is_bob") => {
                    expected.push((amount("bobInput"), amount("bobOutput")));
                }
                _ => {}
            }
        }
        let ours: Vec<_> = trades.iter().map(|trade| (trade.input, trade.output)).collect();
        assert_eq!(ours, expected, "{name}");
        for trade in &trades {
            assert_eq!(trade.owner, owner, "{name}");
        }
    });
}

/// Digits of `coefficient × 10^exponent`, cut after `decimals` places: a second way, by text alone.
fn cut(amount: Amount, decimals: usize) -> String {
    let (digits, exponent) = match amount {
        Amount::Units(units) => (units.to_string(), -i64::try_from(decimals).unwrap()),
        Amount::Float(word) => {
            let exponent = i32::from_be_bytes(word[..4].try_into().unwrap());
            (U256::from_be_slice(&word[4..]).to_string(), i64::from(exponent))
        }
    };
    let places = usize::try_from(-exponent.min(0)).unwrap();
    let zeros = usize::try_from(exponent.max(0)).unwrap();
    let digits = format!("{digits}{}", "0".repeat(zeros));
    let padded = format!("{digits:0>width$}", width = places + 1);
    let (whole, fraction) = padded.split_at(padded.len() - places);
    let fraction = &fraction[..fraction.len().min(decimals)];
    format!("{whole}.{fraction}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[test]
fn every_fill_is_its_amounts_cut_at_the_tokens_decimals() {
    scenarios(&recordings(), |recording, scenario, name| {
        for trade in fills::trades(&recording.book, &scenario.logs).trades {
            let Event::Fill(fill) = fills::event(&recording.book, &trade, &recording.facts) else { continue };
            let (share, cash) = match fill.id.side {
                Side::Buy => (trade.input, trade.output),
                Side::Sell => (trade.output, trade.input),
            };
            assert_eq!(fill.shares, cut(share, 18).parse::<Shares>().unwrap(), "{name}");
            assert_eq!(fill.cash, cut(cash, 6).parse::<Cash>().unwrap(), "{name}");
            // The owner's position, by the sides as they are written.
            let sign = if fill.id.side == Side::Buy { "" } else { "-" };
            assert_eq!(fill.signed_shares().to_string(), format!("{sign}{}", fill.shares), "{name}");
        }
    });
}

/// The transfers of a take are other contracts' words for the same thing: what left the order book is what our order
/// gave. An own misreading of the event can not agree with them (a V6 taker pays rounded up, hence one base unit).
#[test]
fn the_tokens_moved_as_the_fill_says() {
    let transfer_topic = b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");
    let mut checked = 0;
    for (version, recording) in recordings() {
        let orderbook = *recording.book.orderbooks.first().unwrap();
        let word = |address: Address| address.into_word();
        for scenario in recording.scenarios.iter().filter(|scenario| scenario.name.starts_with("take_")) {
            let transfers: Vec<_> =
                scenario.logs.iter().filter(|log| log.topics[0] == transfer_topic).collect();
            let trades = fills::trades(&recording.book, &scenario.logs).trades;
            if scenario.name.contains("multi") {
                continue; // Its transfers are sums with a stranger's.
            }
            let [trade] = trades.as_slice() else { panic!("{}: {} trades", scenario.name, trades.len()) };
            for (token, amount, place) in
                [(trade.output_token, trade.output, 1), (trade.input_token, trade.input, 2)]
            {
                let transfer = transfers.iter().find(|log| log.address == token).unwrap();
                assert_eq!(transfer.topics[place], word(orderbook), "{version} {}", scenario.name);
                let decimals = recording.facts.tokens[&token].decimals;
                let units = match amount {
                    Amount::Units(units) => units,
                    Amount::Float(word) => fills::to_fixed(word, decimals).unwrap().0,
                };
                let moved = U256::from_be_slice(&transfer.data);
                assert!(
                    moved.abs_diff(units) <= U256::from(1),
                    "{version} {}: {moved} {units}",
                    scenario.name
                );
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 16);
}

#[test]
fn a_wrapped_share_without_its_ratio_is_dead_and_with_it_is_that_many_shares() {
    let mut recording = recorded::v6();
    let logs = recording.scenarios[0].logs.clone();
    let trade = fills::trades(&recording.book, &logs).trades.remove(0);
    let Event::Dead(dead) = fills::event(&recording.book, &trade, &recording.facts) else {
        panic!("not dead")
    };
    assert!(dead.reason.contains("what 9000000000000000000 base units of token"), "{}", dead.reason);
    assert_eq!((dead.log_index, &dead.data), (trade.log.log_index, &trade.log.data));

    let asked = fills::questions(&recording.book, std::slice::from_ref(&trade), &recording.facts);
    assert!(asked.tokens.is_empty());
    let conversion = asked.conversions.first().copied().unwrap();
    assert_eq!(
        conversion,
        Conversion {
            token: trade.output_token,
            block: trade.log.block_hash,
            amount: U256::from(9_000_000_000_000_000_000_u64)
        }
    );

    // 9.27 of an asset with 6 decimals: the ratio has moved to 1.03.
    let worth = Worth { assets: U256::from(9_270_000), decimals: 6, multiplier: None, jump: None };
    recording.facts.worths.insert(conversion, worth);
    assert!(fills::questions(&recording.book, std::slice::from_ref(&trade), &recording.facts).is_empty());
    let Event::Fill(fill) = fills::event(&recording.book, &trade, &recording.facts) else {
        panic!("no fill")
    };
    assert_eq!((fill.shares.to_string(), fill.cash.to_string()), ("9.27".to_owned(), "1352.25".to_owned()));
}

#[test]
fn what_is_unknown_is_asked_and_until_then_dead() {
    let mut recording = recorded::v6();
    let trade = fills::trades(&recording.book, &recording.scenarios[0].logs).trades.remove(0);
    let tokens = std::mem::take(&mut recording.facts.tokens);
    let asked = fills::questions(&recording.book, std::slice::from_ref(&trade), &recording.facts);
    assert!(!asked.is_empty(), "tokens are a question");
    assert_eq!(asked.tokens, [trade.input_token, trade.output_token].into());
    assert!(asked.conversions.is_empty());
    let Event::Dead(dead) = fills::event(&recording.book, &trade, &recording.facts) else {
        panic!("not dead")
    };
    assert!(dead.reason.contains("nothing is known of token"), "{}", dead.reason);
    recording.facts.tokens = tokens;
    let asked = fills::questions(&recording.book, std::slice::from_ref(&trade), &recording.facts);
    assert_eq!(asked.conversions.len(), 1);
    assert!(!asked.is_empty(), "a conversion is one too");
}

#[test]
fn other_books_and_other_owners_are_nothing() {
    for (_, mut recording) in recordings() {
        let logs = recording.logs();
        let owners = std::mem::take(&mut recording.book.owners);
        assert_eq!(fills::trades(&recording.book, &logs), fills::Trades::default());
        recording.book.owners = owners;
        recording.book.orderbooks = [Address::ZERO].into();
        assert_eq!(fills::trades(&recording.book, &logs), fills::Trades::default());
    }
}

#[test]
fn the_recordings_hold_the_kinds_of_token_that_matter() {
    let kinds: Vec<_> = recordings()
        .iter()
        .flat_map(|(_, recording)| recording.facts.tokens.values())
        .map(|fact| (fact.symbol.clone(), fact.kind.clone()))
        .collect();
    let share = |ticker: &str| TokenKind::Share(ticker.parse().unwrap(), Unit::One);
    for (symbol, kind) in [
        ("AAPLs1", share("AAPL")),
        ("TSLA0x", share("TSLA")),
        ("tGME", share("GME")),
        ("wtAAPL", TokenKind::Share("AAPL".parse().unwrap(), recorded::unit("wtAAPL"))),
        ("USDC", TokenKind::Cash),
    ] {
        assert!(kinds.contains(&(symbol.to_owned(), kind)), "{symbol}");
    }
}
