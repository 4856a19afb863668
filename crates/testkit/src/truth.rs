//! What is true, and the verdict: drawn from what the test mined, what the chain calls canonical, what the ledger's
//! reading verbs print, and the broker's own book. It shares no code with the engine.

use std::collections::BTreeMap;
use std::path::Path;

use alloy::primitives::{Address, B256, U256};
use counterfill::broker::paper::{self, BookOrder};
use counterfill::sim::logs::{Asset, BookKind, Leg, OrderBook};
use counterfill::sim::{SimBlock, SimChain, Token};
use counterfill::units::{Cash, ONE, Shares, Side};
use serde_json::Value;

pub const OWNER: Address = Address::repeat_byte(0x01);
const STRANGER: Address = Address::repeat_byte(0x02);
pub const USDC: Asset = Asset::new(Address::repeat_byte(0x12), 6);
pub const V5: OrderBook = OrderBook { address: Address::repeat_byte(0x21), kind: BookKind::V5 };
pub const V4: OrderBook = OrderBook { address: Address::repeat_byte(0x22), kind: BookKind::V4 };
/// Ticker, the token's symbol, its contract, dollars per share.
pub const SHARES: [(&str, &str, Asset, i64); 5] = [
    ("TSLA", "tTSLA", Asset::new(Address::repeat_byte(0x31), 18), 100),
    ("AAPL", "tAAPL", Asset::new(Address::repeat_byte(0x32), 18), 50),
    ("NVDA", "tNVDA", Asset::new(Address::repeat_byte(0x33), 18), 10),
    ("MSFT", "wtMSFT", Asset::new(Address::repeat_byte(0x34), 18), 40),
    ("AMZN", "tAMZN", Asset::new(Address::repeat_byte(0x35), 18), 20),
];

/// The one of [`SHARES`] whose token is a vault's, at par: what it is worth is asked in the state of the trade's block.
pub const WRAPPED: usize = 3;
const IN_THE_VAULT: Address = Address::repeat_byte(0x44);

/// The order books and every token, on a chain.
pub fn lay_out(chain: &mut SimChain) {
    chain.contracts.extend([V5.address, V4.address]);
    chain.tokens.insert(USDC.address, Token::plain("USDC", 6));
    chain.tokens.insert(IN_THE_VAULT, Token::plain("tMSFT", 18));
    for (ticker, (_, symbol, asset, _)) in SHARES.into_iter().enumerate() {
        let token = if ticker == WRAPPED {
            Token::wrapped(symbol, 18, IN_THE_VAULT, U256::from(ONE.unsigned_abs()))
        } else {
            Token::plain(symbol, 18)
        };
        chain.tokens.insert(asset.address, token);
    }
}

/// How a trade of ours happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Take,
    /// A take at the old order book.
    OldTake,
    Clear,
}

/// A trade of our owner, in thousandths of a share.
#[derive(Debug, Clone, Copy)]
pub struct Deal {
    pub ticker: usize,
    pub side: Side,
    pub milli_shares: i64,
    pub form: Form,
}

pub const fn sell(ticker: usize, milli_shares: i64) -> Deal {
    Deal { ticker, side: Side::Sell, milli_shares, form: Form::Take }
}

pub const fn buy(ticker: usize, milli_shares: i64) -> Deal {
    Deal { ticker, side: Side::Buy, milli_shares, form: Form::Take }
}

impl Deal {
    pub const fn by(self, form: Form) -> Self {
        Self { form, ..self }
    }

    pub fn atoms(self) -> i128 {
        i128::from(self.milli_shares) * ONE / 1_000
    }

    /// The logs, and at which of them the fill is named.
    pub fn logs(self) -> (Vec<alloy::primitives::Log>, usize) {
        let (_, _, share, price) = SHARES[self.ticker];
        let paid = Cash::from_atoms(self.atoms() * i128::from(price));
        let shares = Shares::from_atoms(self.atoms());
        let ours = Leg::trade(OWNER, self.side, share, shares, USDC, paid);
        let other = match self.side {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        };
        let theirs = Leg::trade(STRANGER, other, share, shares, USDC, paid);
        match self.form {
            Form::Take => (V5.take(&ours), 1),
            Form::OldTake => (V4.take(&ours), 1),
            Form::Clear => (V5.clear(&ours, &theirs), 0),
        }
    }
}

/// A fill by what tells it from every other: block, transaction, log, side, ticker, atoms.
pub type Name = (String, String, u64, &'static str, &'static str, i128);

/// What every transaction of ours means: the fill's log within the transaction, and the deal.
#[derive(Debug, Default)]
pub struct Truth {
    pub meant: BTreeMap<B256, Vec<(usize, Deal)>>,
}

impl Truth {
    /// The fills in a block, canonical or not.
    pub fn names(&self, block: &SimBlock) -> Vec<Name> {
        let (mut names, mut first_log) = (Vec::new(), 0);
        for tx in &block.txs {
            for (log, deal) in self.meant.get(&tx.hash).into_iter().flatten() {
                names.push((
                    block.hash.to_string(),
                    tx.hash.to_string(),
                    u64::try_from(first_log + log).unwrap(),
                    deal.side.as_str(),
                    SHARES[deal.ticker].0,
                    deal.atoms(),
                ));
            }
            first_log += tx.logs.len();
        }
        names
    }

    /// The fills on the chain that have at least `confirmations` blocks above them.
    pub fn canonical(&self, chain: &SimChain, confirmations: u64) -> BTreeMap<Name, u64> {
        let mut names = BTreeMap::new();
        let blocks = chain.canonical().iter().filter_map(|hash| chain.block(*hash));
        for block in blocks.filter(|block| block.number + confirmations <= chain.tip().number) {
            self.names(block).into_iter().for_each(|name| *names.entry(name).or_default() += 1);
        }
        names
    }
}

/// What the ledger and the broker make of it, against the truth. Empty where all is well.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Canonical fills that do not count, and whole shares without a hedge.
    pub lost: u64,
    /// Counting fills that are not canonical, and whole shares hedged too much.
    pub doubled: u64,
    /// Everything else that is not as it must be, in words.
    pub wrongs: Vec<String>,
    /// Orders in the broker's book.
    pub orders: usize,
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.wrongs.is_empty()
    }
}

/// The rows that the reading verbs print.
#[derive(Debug)]
pub struct Rows {
    pub fills: Vec<Value>,
    pub positions: Vec<Value>,
    pub hedges: Vec<Value>,
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {row}"))
}

fn atoms(row: &Value, field: &str) -> i128 {
    text(row, field).parse::<Shares>().unwrap().atoms()
}

pub fn ticker(name: &str) -> &'static str {
    SHARES.iter().map(|share| share.0).find(|known| *known == name).unwrap_or_else(|| panic!("{name}?"))
}

pub fn side(name: &str) -> &'static str {
    if name == "BUY" { "BUY" } else { "SELL" }
}

/// The broker's whole book; empty before it was born.
pub fn book(data: &Path) -> Vec<BookOrder> {
    let path = data.join(paper::BOOK_FILE);
    if path.exists() { paper::read_book(&path).unwrap() } else { Vec::new() }
}

/// The verdict on a bot that came to rest.
pub fn verdict(
    truth: &Truth,
    chain: &SimChain,
    confirmations: u64,
    rows: &Rows,
    book: &[BookOrder],
) -> Verdict {
    let mut verdict = Verdict { orders: book.len(), ..Verdict::default() };
    let canonical = truth.canonical(chain, confirmations);
    judge_fills(&canonical, rows, &mut verdict);
    let mut onchain: BTreeMap<&'static str, i128> = BTreeMap::new();
    for ((_, _, _, side, ticker, atoms), count) in &canonical {
        let signed = if *side == "BUY" { *atoms } else { -atoms };
        *onchain.entry(ticker).or_default() += signed * i128::from(*count);
    }
    judge_shares(&onchain, rows, book, &mut verdict);
    judge_orders(rows, book, &mut verdict);
    verdict
}

fn judge_fills(canonical: &BTreeMap<Name, u64>, rows: &Rows, verdict: &mut Verdict) {
    let mut counting: BTreeMap<Name, u64> = BTreeMap::new();
    for row in rows.fills.iter().filter(|row| text(row, "state") == "counting") {
        let name = (
            text(row, "block_hash").to_owned(),
            text(row, "tx_hash").to_owned(),
            row["log_index"].as_u64().unwrap(),
            side(text(row, "side")),
            ticker(text(row, "symbol")),
            atoms(row, "shares"),
        );
        *counting.entry(name).or_default() += 1;
    }
    let missing = |from: &BTreeMap<Name, u64>, of: &BTreeMap<Name, u64>| {
        of.iter().map(|(name, n)| n.saturating_sub(from.get(name).copied().unwrap_or(0))).sum::<u64>()
    };
    verdict.lost += missing(&counting, canonical);
    verdict.doubled += missing(canonical, &counting);
}

fn judge_shares(
    onchain: &BTreeMap<&'static str, i128>,
    rows: &Rows,
    book: &[BookOrder],
    verdict: &mut Verdict,
) {
    let mut left = onchain.clone();
    for order in book {
        let done: i128 =
            order.executions.iter().filter(|done| !done.busted).map(|done| done.quantity.atoms()).sum();
        let signed = if order.order.side == Side::Buy { done } else { -done };
        *left.entry(ticker(order.order.symbol.as_str())).or_default() += signed;
    }
    for (name, left) in &left {
        let whole = u64::try_from((left / ONE).unsigned_abs()).unwrap();
        let chain = onchain.get(name).copied().unwrap_or(0);
        if whole > 0 && (*left < 0) == (chain < 0) {
            verdict.lost += whole;
        } else {
            verdict.doubled += whole;
        }
        let row = rows.positions.iter().find(|row| text(row, "symbol") == *name);
        let told = row.map_or(0, |row| atoms(row, "exposure"));
        if told != *left {
            verdict
                .wrongs
                .push(format!("{name}: `bot positions` says {told}, chain and broker {left} (atoms)"));
        }
    }
}

fn judge_orders(rows: &Rows, book: &[BookOrder], verdict: &mut Verdict) {
    for BookOrder { order, place_calls, executions } in book {
        let bound: Vec<&Value> = rows
            .hedges
            .iter()
            .filter(|row| row["broker_order_id"].as_str() == Some(order.id.as_str()))
            .collect();
        let done: i128 =
            executions.iter().filter(|done| !done.busted).map(|done| done.quantity.atoms()).sum();
        let same = |row: &&Value| {
            text(row, "symbol") == order.symbol.as_str()
                && text(row, "side") == order.side.as_str()
                && atoms(row, "quantity") == order.quantity.atoms()
                && atoms(row, "executed") == done
                && order.client_id.as_deref() == Some(text(row, "intent_id"))
        };
        if bound.len() != 1 || !bound.iter().all(same) {
            verdict.wrongs.push(format!("order {} is bound to {bound:?}", order.id));
        }
        if *place_calls != 1 {
            verdict.wrongs.push(format!("order {} was sent {place_calls} times", order.id));
        }
    }
    let sent = |row: &&Value| !matches!(text(row, "state"), "Planned" | "Withdrawn" | "Refused");
    let hedges = rows.hedges.iter().filter(sent).count();
    if hedges != book.len() {
        verdict.wrongs.push(format!("{hedges} hedges were sent, the broker has {} orders", book.len()));
    }
}
