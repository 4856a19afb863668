//! The chain's side of a test: two order books (one of V4, one of V5), a dollar and three shares on one node, and a
//! record of everything that was emitted, for the verdict.
//!
//! The bytes come from `counterfill::sim::logs`, which is written apart from the decoder; what each fill is worth is
//! written down here, from the order's side, before it is bytes.

use std::collections::BTreeMap;

use alloy::primitives::{Address, B256, Bytes, Log, U256};
use alloy::sol_types::SolCall;
use counterfill::sim::logs::{Asset, BookKind, Leg, OrderBook};
use serde_json::{Value, json};

use super::draws::Draws;
use super::node::{CHAIN_ID, Node, SENDERS, number, text};
use super::wire::Wire;

mod contracts {
    pub mod emitter {
        alloy::sol!("contracts/test/Emitter.sol");
    }
    pub mod token {
        alloy::sol!("contracts/test/Token.sol");
    }
}
use contracts::emitter::Emitter;
use contracts::token::Token;

pub const ALICE: Address = Address::repeat_byte(0xa1);
pub const BOB: Address = Address::repeat_byte(0xb0);
pub const STRANGER: Address = Address::repeat_byte(0x5e);

pub const ATOMS: i128 = 1_000_000_000_000_000_000;

/// Index into [`World::shares`].
pub const TSLA: usize = 0;
pub const AAPL: usize = 1;
pub const NVDA: usize = 2;
/// Index into [`World::books`].
pub const V5: usize = 0;
pub const V4: usize = 1;

/// wtNVDA: 21 shares are in 20 tokens.
const NVDA_RATIO: (i128, i128) = (21, 20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Buy,
    Sell,
}

impl Way {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Buy => "BUY",
            Self::Sell => "SELL",
        }
    }

    pub const fn turned(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub ticker: &'static str,
    pub token: Asset,
    /// Shares in so many tokens.
    pub ratio: (i128, i128),
}

/// What a fill must be in the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Which log of its act, then of its transaction.
    pub at: usize,
    pub way: Way,
    pub ticker: &'static str,
    pub atoms: i128,
}

/// Logs that belong together, and what they mean.
#[derive(Debug, Clone)]
pub struct Act {
    pub book: usize,
    pub logs: Vec<Log>,
    pub fills: Vec<Expected>,
}

/// A transaction that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub hash: String,
    pub raw: String,
    pub sender: usize,
    pub nonce: u64,
    pub logs: Vec<(B256, Bytes)>,
    pub fills: Vec<Expected>,
}

pub struct World {
    pub node: Node,
    pub wire: Wire,
    pub books: [OrderBook; 2],
    pub cash: Asset,
    pub shares: [Share; 3],
    pub first_block: u64,
    pub record: Vec<Sent>,
    next_sender: usize,
}

impl World {
    pub fn new() -> Self {
        let node = Node::start();
        let book = |kind| OrderBook { address: node.deploy("Emitter", &[]), kind };
        let books = [book(BookKind::V5), book(BookKind::V4)];
        let cash = Asset::new(node.token("USDC", 6), 6);
        let share =
            |ticker, symbol, ratio| Share { ticker, token: Asset::new(node.token(symbol, 18), 18), ratio };
        let shares = [
            share("TSLA", "tTSLA", (1, 1)),
            share("AAPL", "AAPLs1", (1, 1)),
            share("NVDA", "wtNVDA", NVDA_RATIO),
        ];
        let (numerator, denominator) = (U256::from(NVDA_RATIO.0), U256::from(NVDA_RATIO.1));
        let asset_ = node.token("tNVDA", 18);
        let wrap = Token::wrapCall { asset_, numerator, denominator };
        node.send(0, Some(shares[NVDA].token.address), &wrap.abi_encode());
        node.mine();
        let first_block = node.head().0 + 1;
        let wire = Wire::to(node.address);
        Self { wire, books, cash, shares, first_block, record: Vec::new(), next_sender: 0, node }
    }

    /// The environment of a bot that watches this world.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let list =
            |addresses: &[Address]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let equities: Vec<String> =
            self.shares.iter().map(|share| format!("{}={}", share.ticker, share.token.address)).collect();
        [
            ("WS_RPC_URL", self.wire.url()),
            ("ORDERBOOK", list(&self.books.map(|book| book.address))),
            ("ORDER_OWNER", list(&[ALICE, BOB])),
            ("DEPLOYMENT_BLOCK", self.first_block.to_string()),
            ("EQUITIES", equities.join(",")),
            ("CASH", self.cash.address.to_string()),
            ("CHAIN_ID", CHAIN_ID.to_string()),
            ("LISTEN", "127.0.0.1:0".into()),
            ("MAX_ORDERS_PER_MINUTE", "100000".into()),
            ("MAX_ORDERS_PER_DAY", "1000000".into()),
            ("MAX_DAILY_NOTIONAL", "1000000000".into()),
            // The chain stands still whenever the test does.
            ("HEAD_AGE_MAX", "1h".into()),
            ("RUST_LOG", "info".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// The order's side of a trade of `tokens` (in 1e-18) at about $100 each.
    pub fn leg(&self, owner: Address, way: Way, share: usize, tokens: i128) -> Leg {
        // Cut to what six decimals can hold, as the chain would.
        let dollars = tokens * 100 / 1_000_000_000_000 * 1_000_000_000_000;
        let token = self.shares[share].token;
        match way {
            Way::Buy => {
                Leg { owner, input: token, input_atoms: tokens, output: self.cash, output_atoms: dollars }
            }
            Way::Sell => {
                Leg { owner, input: self.cash, input_atoms: dollars, output: token, output_atoms: tokens }
            }
        }
    }

    fn expected(&self, at: usize, way: Way, share: usize, tokens: i128) -> Expected {
        let Share { ticker, ratio, .. } = self.shares[share];
        Expected { at, way, ticker, atoms: tokens * ratio.0 / ratio.1 }
    }

    /// One of our orders is taken.
    pub fn take(&self, book: usize, owner: Address, way: Way, share: usize, tokens: i128) -> Act {
        let logs = self.said(book, self.books[book].take(&self.leg(owner, way, share, tokens)));
        let at = 1;
        assert!(logs.len() == 2, "a context and the take");
        let ours = [ALICE, BOB].contains(&owner);
        let fills = ours.then(|| self.expected(at, way, share, tokens)).into_iter().collect();
        Act { book, logs, fills }
    }

    /// Two orders are cleared against each other: alice's goes `way`, bob gets and gives the same amounts.
    pub fn clear(&self, book: usize, owners: [Address; 2], way: Way, share: usize, tokens: i128) -> Act {
        let [alice, bob] = [(owners[0], way), (owners[1], way.turned())];
        let legs = [alice, bob].map(|(owner, way)| self.leg(owner, way, share, tokens));
        let logs = self.said(book, self.books[book].clear(&legs[0], &legs[1]));
        assert!(logs.len() == 4, "the clear, two contexts, the amounts");
        let fills = [alice, bob]
            .into_iter()
            .filter(|(owner, _)| [ALICE, BOB].contains(owner))
            .map(|(_, way)| self.expected(0, way, share, tokens))
            .collect();
        Act { book, logs, fills }
    }

    /// What the book itself says of an act; the transfers are said by the tokens, which here say nothing.
    fn said(&self, book: usize, logs: Vec<Log>) -> Vec<Log> {
        logs.into_iter().filter(|log| log.address == self.books[book].address).collect()
    }

    /// A fill of any kind, of 0.001 to 2.999… tokens, one in four ten times that, with all decimals in use.
    pub fn some_fill(&self, draws: &mut Draws) -> Act {
        let size = if draws.one_in(4) { 10 } else { 1 };
        let tokens = size * i128::from(draws.within(1_000_000_000_000_000, 2_999_999_999_999_999_999));
        let (book, share) = (draws.below(2), draws.below(3));
        let way = if draws.one_in(2) { Way::Buy } else { Way::Sell };
        let owner = if draws.one_in(2) { ALICE } else { BOB };
        match draws.below(4) {
            0 => self.clear(book, [owner, STRANGER], way, share, tokens),
            1 => self.clear(book, [STRANGER, owner], way, share, tokens),
            _ => self.take(book, owner, way, share, tokens),
        }
    }

    /// Puts each list of acts, all of one book, into the pool as one transaction, and records it.
    pub fn pool(&mut self, transactions: &[Vec<Act>]) -> usize {
        assert!(transactions.len() <= SENDERS, "a sender has one transaction in a block");
        for acts in transactions {
            let book = acts[0].book;
            let mut sent = Sent {
                hash: String::new(),
                raw: String::new(),
                sender: self.next_sender,
                nonce: 0,
                logs: Vec::new(),
                fills: Vec::new(),
            };
            self.next_sender = (self.next_sender + 1) % SENDERS;
            for act in acts {
                assert_eq!(act.book, book, "one transaction calls one book");
                let before = sent.logs.len();
                sent.fills
                    .extend(act.fills.iter().map(|fill| Expected { at: before + fill.at, ..fill.clone() }));
                sent.logs.extend(act.logs.iter().map(|log| (log.topics()[0], log.data.data.clone())));
            }
            let logs =
                sent.logs.iter().map(|(topic0, data)| Emitter::Log { topic0: *topic0, data: data.clone() });
            let call = Emitter::emitManyCall { logs: logs.collect() };
            sent.hash = self.node.send(sent.sender, Some(self.books[book].address), &call.abi_encode());
            let pooled = self.node.ask("eth_getTransactionByHash", json!([sent.hash]));
            sent.nonce = number(&pooled["nonce"]);
            sent.raw = text(&self.node.ask("eth_getRawTransactionByHash", json!([sent.hash])));
            self.record.push(sent);
        }
        self.record.len() - transactions.len()
    }

    /// One block with these transactions; the record's index of the first one.
    pub fn emit(&mut self, transactions: &[Vec<Act>]) -> usize {
        let first = self.pool(transactions);
        self.node.mine();
        for sent in &self.record[first..] {
            assert!(self.node.receipt(&sent.hash).is_some(), "{} is not in the block", sent.hash);
        }
        first
    }

    /// One block with one transaction with one act.
    pub fn emit_one(&mut self, act: Act) -> usize {
        self.emit(&[vec![act]])
    }

    /// Which transactions of the record are in the last `depth` blocks, each with its place from the lowest of them.
    pub fn in_last(&self, depth: u64) -> Vec<(usize, u64)> {
        let lowest = self.node.head().0 + 1 - depth;
        let place = |(index, sent): (usize, &Sent)| {
            let receipt: Value = self.node.receipt(&sent.hash)?;
            number(&receipt["blockNumber"]).checked_sub(lowest).map(|place| (index, place))
        };
        self.record.iter().enumerate().filter_map(place).collect()
    }
}
