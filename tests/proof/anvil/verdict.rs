//! The verdict: chain against ledger against broker.
//!
//! It shares no code with the engine. The chain's fills are the test's own record, as far as the node still has their
//! receipts; the ledger's are what `bot fills --json` prints; the executions are those in the broker's own file. Amounts
//! are whole numbers of 1e-18, read here.

use std::collections::{BTreeMap, BTreeSet};

use counterfill::broker::paper;
use serde_json::Value;

use super::bot::Bot;
use super::node::{number, text};
use super::world::{ATOMS, Sent, World};

/// A fill on the chain or in the ledger: transaction, log, side, ticker, amount, block.
type Row = (String, u64, String, String, i128, String);

#[derive(Debug)]
pub struct Verdict {
    /// Fills the chain holds.
    pub fills: usize,
    /// Fills that were on the chain and left it, as the ledger has them.
    pub reversed: usize,
    /// Orders in the broker's book.
    pub orders: usize,
    /// Orders by ticker and side.
    pub sides: BTreeMap<(String, String), usize>,
    pub exposure: BTreeMap<String, i128>,
}

/// Judges a bot that has settled, running or not.
pub fn judge(world: &World, bot: &Bot) -> Verdict {
    let chain = on_chain(world);
    let ledger = bot.read("fills");
    let state = |wanted: &str| ledger.iter().filter(|row| row["state"] == wanted).collect::<Vec<_>>();
    assert_eq!(state("seen").len(), 0, "fills that never counted: {:?}", state("seen"));
    let counting: Vec<Row> = state("counting").into_iter().map(row).collect();
    same(&chain, &counting);
    let gone: Vec<Row> = state("reversed").into_iter().map(row).collect();
    let back: Vec<&Row> = gone.iter().filter(|row| chain.contains(row)).collect();
    assert!(back.is_empty(), "on the chain, but reversed in the ledger: {back:?}");

    let mut exposure: BTreeMap<String, i128> = BTreeMap::new();
    for (_, _, way, ticker, atoms, _) in &chain {
        *exposure.entry(ticker.clone()).or_default() += signed(way, *atoms);
    }
    let (orders, sides) = book(bot, &mut exposure);
    for (ticker, left) in &exposure {
        assert!(left.abs() < ATOMS, "{ticker} is left with {left}e-18: {exposure:?}");
    }
    let positions = bot.read("positions");
    for position in &positions {
        let told = atoms(&text(&position["exposure"]));
        let ticker = text(&position["symbol"]);
        // A ticker whose fills all left the chain before they counted is flat.
        let left = exposure.get(&ticker).copied().unwrap_or(0);
        assert_eq!(left, told, "bot positions says of {ticker}: {position}");
        assert_eq!(position["halts"], serde_json::json!([]), "{position}");
    }
    let told: BTreeSet<String> = positions.iter().map(|position| text(&position["symbol"])).collect();
    let unknown: Vec<&String> = exposure.keys().filter(|ticker| !told.contains(*ticker)).collect();
    assert!(unknown.is_empty(), "bot positions does not tell of {unknown:?}");
    Verdict { fills: chain.len(), reversed: gone.len(), orders, sides, exposure }
}

/// The record, as far as the chain has it now.
pub fn on_chain(world: &World) -> Vec<Row> {
    let rows = |sent: &Sent| {
        let Some(receipt) = world.node.receipt(&sent.hash) else { return Vec::new() };
        let logs = receipt["logs"].as_array().unwrap();
        assert_eq!(logs.len(), sent.logs.len(), "{receipt}");
        for (log, (topic0, data)) in logs.iter().zip(&sent.logs) {
            assert_eq!(text(&log["topics"][0]), topic0.to_string());
            assert_eq!(text(&log["data"]), data.to_string());
        }
        let block = text(&receipt["blockHash"]);
        let fill = |fill: &super::world::Expected| {
            let index = number(&logs[fill.at]["logIndex"]);
            let (way, ticker) = (fill.way.text().to_owned(), fill.ticker.to_owned());
            (sent.hash.clone(), index, way, ticker, fill.atoms, block.clone())
        };
        sent.fills.iter().map(fill).collect()
    };
    world.record.iter().flat_map(rows).collect()
}

fn row(row: &Value) -> Row {
    (
        text(&row["tx_hash"]),
        row["log_index"].as_u64().unwrap(),
        text(&row["side"]),
        text(&row["symbol"]),
        atoms(&text(&row["shares"])),
        text(&row["block_hash"]),
    )
}

/// As multisets; the differences are shown.
fn same(chain: &[Row], ledger: &[Row]) {
    let mut count: BTreeMap<&Row, i64> = BTreeMap::new();
    for row in chain {
        *count.entry(row).or_default() += 1;
    }
    for row in ledger {
        *count.entry(row).or_default() -= 1;
    }
    let wrong = |sign: i64| count.iter().filter(|(_, n)| n.signum() == sign).collect::<Vec<_>>();
    assert!(
        wrong(1).is_empty() && wrong(-1).is_empty(),
        "of {} fills on the chain and {} in the ledger:\nlost {:#?}\ntoo many {:#?}",
        chain.len(),
        ledger.len(),
        wrong(1),
        wrong(-1)
    );
}

/// Adds the broker's executions to the exposure, and holds every order against the one hedge it belongs to.
fn book(bot: &Bot, exposure: &mut BTreeMap<String, i128>) -> (usize, BTreeMap<(String, String), usize>) {
    let book = paper::read_book(&bot.book()).unwrap();
    let hedges = bot.read("hedges");
    let mut names = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    let mut sides = BTreeMap::new();
    for entry in &book {
        let order = &entry.order;
        let (ticker, side) = (order.symbol.to_string(), order.side.to_string());
        let name = order.client_id.clone().expect("an order without a client id");
        assert!(names.insert(name.clone()), "{name} has two orders");
        assert!(numbers.insert(order.id.to_string()), "{} is there twice", order.id);
        let bound: Vec<&Value> =
            hedges.iter().filter(|hedge| hedge["broker_order_id"] == order.id.as_str()).collect();
        assert_eq!(bound.len(), 1, "order {} is bound to {bound:?}", order.id);
        let hedge = bound[0];
        assert_eq!(text(&hedge["intent_id"]), name);
        assert_eq!(text(&hedge["symbol"]), ticker);
        assert_eq!(text(&hedge["side"]), side, "{hedge}");
        assert_eq!(atoms(&text(&hedge["quantity"])), order.quantity.atoms(), "{hedge}");
        let legs: i128 =
            entry.executions.iter().filter(|leg| !leg.busted).map(|leg| leg.quantity.atoms()).sum();
        assert_eq!(atoms(&text(&hedge["executed"])), legs, "{hedge}");
        assert_eq!(hedge["adopted"], false, "{hedge}");
        *exposure.entry(ticker.clone()).or_default() += signed(&side, legs);
        *sides.entry((ticker, side)).or_default() += 1;
    }
    for hedge in &hedges {
        let id = &hedge["broker_order_id"];
        let there = id.as_str().is_some_and(|id| numbers.contains(id));
        // Without an order, it must be one that was taken back before it was sent.
        assert!(there || (id.is_null() && hedge["state"] == "Withdrawn"), "no order at the broker: {hedge}");
    }
    (book.len(), sides)
}

fn signed(way: &str, atoms: i128) -> i128 {
    if way == "BUY" { atoms } else { -atoms }
}

/// A decimal as whole 1e-18.
pub fn atoms(decimal: &str) -> i128 {
    let (negative, digits) = decimal.strip_prefix('-').map_or((false, decimal), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    assert!(fraction.len() <= 18, "{decimal}");
    let atoms = whole.parse::<i128>().unwrap() * ATOMS + format!("{fraction:0<18}").parse::<i128>().unwrap();
    if negative { -atoms } else { atoms }
}
