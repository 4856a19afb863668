//! The order book of a trial: deals become logs, and what each transaction means is written down when it is made.
//!
//! What stands on the chain at the end is that list, read along the canonical chain. It shares no code with the
//! decoder, so the two can be held against each other. It refuses to know the bot.

use std::collections::BTreeMap;
use std::time::Duration;

use alloy::primitives::{Address, B256, Bytes, Log, LogData, U256, keccak256};

use super::schedule::{Deal, Form, TICKERS};
use counterfill_chain::ChainConfig;
use counterfill_chain::abi::TOPICS;
use counterfill_core::units::{Cash, ONE, Shares, Side};
use counterfill_sim::chain::{SimChain, Token, Tx};
use counterfill_sim::logs::{Asset, BookKind, Leg, OrderBook};

/// The chain id of trials: none that exists.
pub(crate) const CHAIN_ID: u64 = 31_337_002;
/// The first block.
const FIRST_BLOCK: u64 = 1_000;
/// Atoms (1e-18) in a picoshare (1e-12).
const PICO: i128 = 1_000_000;
/// The ticker of [`TICKERS`], the last one, whose token is a vault's.
const WRAPPED: &str = "NVDA";
/// Dollars that a share costs in every deal.
const PRICE: i128 = 100;

/// What a transaction means to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meaning {
    /// A fill: ticker, bought or sold onchain, how many 1e-18 shares.
    Fill {
        /// Index into [`TICKERS`].
        ticker: usize,
        /// The owner's side.
        buy: bool,
        /// A magnitude.
        atoms: i128,
    },
    /// A log of ours that nobody can read.
    Dead,
}

/// The order books, the tokens, and what was dealt.
#[derive(Debug)]
pub(crate) struct Market {
    books: [OrderBook; 2],
    shares: [Asset; 3],
    cash: Asset,
    foreign: Asset,
    /// What the vault holds.
    inside: Asset,
    owner: Address,
    stranger: Address,
    meant: BTreeMap<B256, Vec<Meaning>>,
    deals: u64,
}

fn address(tag: u8) -> Address {
    Address::from_word(keccak256([b"counterfill trial ".as_slice(), &[tag]].concat()))
}

impl Market {
    pub(crate) fn new() -> Self {
        Self {
            books: [
                OrderBook { address: address(2), kind: BookKind::V5 },
                OrderBook { address: address(4), kind: BookKind::V4 },
            ],
            // Of one ticker the token has fewer places, so that amounts of its logs are scaled.
            shares: [Asset::new(address(10), 18), Asset::new(address(11), 12), Asset::new(address(12), 18)],
            cash: Asset::new(address(1), 6),
            foreign: Asset::new(address(9), 18),
            inside: Asset::new(address(13), 18),
            owner: address(3),
            stranger: address(5),
            meant: BTreeMap::new(),
            deals: 0,
        }
    }

    /// The chain on which it stands.
    pub(crate) fn chain(&self, seed: u64, begins_ms: i64) -> SimChain {
        let first_time_s = u64::try_from(begins_ms / 1_000).unwrap_or(0);
        let mut chain = SimChain::starting_at(CHAIN_ID, FIRST_BLOCK, seed, first_time_s);
        chain.contracts.extend(self.books.iter().map(|book| book.address));
        chain.tokens.insert(self.cash.address, Token::plain("USDC", 6));
        chain.tokens.insert(self.foreign.address, Token::plain("MEME", 18));
        for (share, ticker) in self.shares.iter().zip(TICKERS) {
            chain.tokens.insert(share.address, Token::plain(&format!("t{ticker}"), share.decimals));
        }
        // One is a vault's, at par: what it is worth is asked in the state of each trade's block.
        let [.., wrapped] = &self.shares;
        let inside = Token::plain(&format!("t{WRAPPED}"), 18);
        chain.tokens.insert(self.inside.address, inside);
        let vault =
            Token::wrapped(&format!("wt{WRAPPED}"), 18, self.inside.address, U256::from(ONE.unsigned_abs()));
        chain.tokens.insert(wrapped.address, vault);
        chain
    }

    /// What a bot on this chain is told.
    pub(crate) fn config(&self) -> ChainConfig {
        let symbols = TICKERS.iter().filter_map(|ticker| ticker.parse().ok());
        ChainConfig {
            ws_url: "ws://trial".into(),
            cert_file: None,
            chain_id: Some(CHAIN_ID),
            stamped_chain_id: None,
            orderbooks: self.addresses(),
            owners: vec![self.owner],
            deployment_block: FIRST_BLOCK + 1,
            hedge_from_block: None,
            symbols: None,
            equities: self.shares.iter().map(|share| share.address).zip(symbols).collect(),
            ratios: BTreeMap::new(),
            unit_jump_max_percent: counterfill_chain::tokens::UNIT_JUMP_MAX_PERCENT,
            cash: Some(self.cash.address),
            log_range_blocks: 50,
            head_age_max: Duration::from_secs(30),
        }
    }

    /// The order books' addresses.
    pub(crate) fn addresses(&self) -> Vec<Address> {
        self.books.iter().map(|book| book.address).collect()
    }

    /// The logs of a deal, and what they mean.
    fn logs(&mut self, deal: &Deal) -> (Vec<Log>, Option<Meaning>) {
        self.deals += 1;
        let book = self.books[usize::from(self.deals.is_multiple_of(3))];
        let Some(share) = self.shares.get(deal.ticker).copied() else { return (Vec::new(), None) };
        let atoms = i128::from(deal.picoshares) * PICO;
        let (shares, paid) = (Shares::from_atoms(atoms), Cash::from_atoms(atoms * PRICE));
        let ours = Leg::trade(self.owner, deal.side, share, shares, self.cash, paid);
        let theirs = Leg::trade(self.stranger, deal.side.opposite(), share, shares, self.cash, paid);
        let buy = deal.side == Side::Buy;
        let fill = Meaning::Fill { ticker: deal.ticker, buy, atoms };
        match deal.form {
            Form::Take => (book.take(&ours), Some(fill)),
            Form::Alice => (book.clear(&ours, &theirs), Some(fill)),
            Form::Bob => (book.clear(&theirs, &ours), Some(fill)),
            Form::Stranger => (book.take(&theirs), None),
            Form::ForeignPair => {
                let leg = Leg::trade(self.owner, deal.side, self.foreign, shares, self.cash, paid);
                (book.take(&leg), None)
            }
            Form::Broken => {
                let topic = TOPICS[usize::try_from(self.deals).unwrap_or(0) % TOPICS.len()];
                let data = LogData::new_unchecked(vec![topic], Bytes::from_static(&[0xff; 40]));
                (vec![Log { address: book.address, data }], Some(Meaning::Dead))
            }
        }
    }

    /// Makes transactions of deals: one each, or one of all.
    pub(crate) fn transactions(&mut self, chain: &mut SimChain, deals: &[Deal], together: bool) -> Vec<Tx> {
        let mut parts: Vec<(Vec<Log>, Vec<Meaning>)> = Vec::new();
        for deal in deals {
            let (logs, meaning) = self.logs(deal);
            match parts.last_mut() {
                // A clear's two halves are told apart by their order; a broken half among them would be another story.
                Some(last) if together && deal.form != Form::Broken && !last.1.contains(&Meaning::Dead) => {
                    last.0.extend(logs);
                    last.1.extend(meaning);
                }
                _ => parts.push((logs, meaning.into_iter().collect())),
            }
        }
        let mut made = Vec::new();
        for (logs, meanings) in parts {
            let tx = chain.tx(logs);
            self.meant.insert(tx.hash, meanings);
            made.push(tx);
        }
        made
    }

    /// A log for a push of something that is on no chain.
    pub(crate) fn phantom(&mut self, deal: &Deal) -> Option<Log> {
        let (logs, _) = self.logs(&Deal { form: Form::Take, ..*deal });
        // The take stands behind its context.
        logs.into_iter().nth(1)
    }

    /// What a transaction means.
    pub(crate) fn meaning(&self, tx: B256) -> &[Meaning] {
        self.meant.get(&tx).map_or(&[], Vec::as_slice)
    }
}
