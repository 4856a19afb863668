//! Any logs, in any order, and any answers about their tokens.
//!
//! What must hold: no panic; neither the order nor the repetition of the logs changes what they say; after two rounds of
//! questions nothing is left to ask; each trade is one event that carries the name of its log; a fill has shares, and
//! exactly as many as its log says.

use std::collections::BTreeSet;

use alloy::primitives::{Address, B256, U256};

use super::Bytes;
use counterfill::chain::abi::{Amount, RawLog, TOPICS, Trade};
use counterfill::fills::{self, Book, Event, Hold, TokenFact, TokenFacts, Trades, Unit, Worth};
use counterfill::units::{AMOUNT_DECIMALS, Shares, Side};

/// The order book whose logs count.
pub const BOOK: Address = Address::repeat_byte(0xb0);
/// Bytes that say what the chain answers about tokens.
pub const ANSWER_BYTES: usize = 8;
/// Logs per input: more say nothing new and cost time.
const LOGS_MAX: usize = 24;
/// The answer that says six decimals, of the first symbol.
const SIX_DECIMALS: u8 = 0x80;
/// Tokens' symbols that mean something to the naming rules, and some that should not.
const SYMBOLS: [&str; 8] =
    ["USDC", "tTSLA", "AAPLs1", "wtAAPL", "", "TSLA", "t\u{202e}TSLA", "wtttttttttttttttttttt"];

/// # Panics
/// Where something that must hold does not.
pub fn check(input: &[u8]) {
    let mut bytes = Bytes::of(input);
    let (owners, first_hedged) = (bytes.byte(), u64::from(bytes.byte() % 4));
    let answers = bytes.take(ANSWER_BYTES);
    let mut logs = Vec::new();
    while !bytes.is_empty() && logs.len() < LOGS_MAX {
        logs.push(log(&mut bytes));
    }
    let book = book(owners, first_hedged, &logs);
    let found = fills::trades(&book, &logs);
    must_not_depend_on_order(&book, &logs, &found);
    for unpaired in &found.unpaired {
        let dead = fills::give_up(&book, unpaired);
        assert_eq!(dead.tx_hash, unpaired.tx_hash);
    }
    let facts = facts(&book, &found, &mut Bytes::of(answers));
    let events: Vec<Event> = found.trades.iter().map(|trade| fills::event(&book, trade, &facts)).collect();
    for (trade, event) in found.trades.iter().zip(&events) {
        must_say_what_the_log_says(trade, event, &facts);
    }
    must_have_names_of_their_own(&found, &events);
}

/// An input that [`check`] reads as these logs of ours, about tokens of these symbols in ascending order of their
/// addresses: for a corpus made of real ones.
#[must_use]
pub fn encode(symbols: &[&str], logs: &[RawLog]) -> Vec<u8> {
    let choice = |symbol: &&str| match SYMBOLS
        .iter()
        .position(|known| known == symbol)
        .and_then(|at| u8::try_from(at).ok())
    {
        Some(0) => SIX_DECIMALS,
        Some(at) => at,
        None => u8::try_from(SYMBOLS.len()).map_or(0, |len| len - 1),
    };
    let mut answers: Vec<u8> = symbols.iter().map(choice).collect();
    answers.resize(ANSWER_BYTES, 0);
    let mut input = vec![0, 0];
    input.append(&mut answers);
    for log in logs {
        let topic = log.topics.first().and_then(|topic| TOPICS.iter().position(|known| known == topic));
        input.push(u8::try_from(topic.unwrap_or(TOPICS.len())).unwrap_or(u8::MAX));
        input.push(0);
        input.push(u8::try_from(log.log_index % 256).unwrap_or(0));
        input.extend(u16::try_from(log.data.len()).unwrap_or(u16::MAX).to_le_bytes());
        input.extend(log.data.iter());
    }
    input
}

fn log(bytes: &mut Bytes<'_>) -> RawLog {
    let (topic, place, log_index) = (bytes.byte(), bytes.byte(), bytes.byte());
    let mut topics = vec![TOPICS.get(usize::from(topic)).copied().unwrap_or(B256::repeat_byte(topic))];
    match place >> 6 {
        1 => topics.push(B256::repeat_byte(topic)),
        2 => topics.clear(),
        _ => {}
    }
    RawLog {
        address: if place & 32 == 0 { BOOK } else { Address::repeat_byte(0xee) },
        topics,
        data: bytes.stretch().to_vec().into(),
        block_number: u64::from(place & 3),
        block_hash: B256::repeat_byte(1 + (place & 7)),
        block_time: (place & 16 != 0).then(|| u64::from(log_index)),
        tx_hash: B256::repeat_byte(1 + ((place >> 3) & 1)),
        log_index: u64::from(log_index),
    }
}

/// Ours are owners found in the logs themselves: a fuzzer would not guess twenty bytes.
fn book(owners: u8, hedge_from_block: u64, logs: &[RawLog]) -> Book {
    let orderbooks = BTreeSet::from([BOOK]);
    let mut book = Book { chain_id: 1, orderbooks, owners: BTreeSet::new(), hedge_from_block, symbols: None };
    let words = logs.iter().flat_map(|log| log.data.chunks_exact(32));
    let addresses: BTreeSet<Address> = words
        .filter(|word| word[..12] == [0; 12] && word[12] != 0)
        .map(Address::from_slice_of_word)
        .collect();
    for (number, address) in addresses.into_iter().enumerate() {
        if owners == 0 || (number + usize::from(owners)) % 3 == 0 {
            book.owners.insert(address);
        }
    }
    if owners > 200 {
        book.symbols = Some("TSLA".parse().into_iter().collect());
    }
    book
}

/// An address out of a word of the ABI.
trait FromWord {
    fn from_slice_of_word(word: &[u8]) -> Self;
}

impl FromWord for Address {
    fn from_slice_of_word(word: &[u8]) -> Self {
        Self::from_slice(&word[word.len().saturating_sub(20)..])
    }
}

fn must_not_depend_on_order(book: &Book, logs: &[RawLog], found: &Trades) {
    let mut twice: Vec<RawLog> = logs.iter().rev().chain(logs).cloned().collect();
    assert_eq!(&fills::trades(book, &twice), found, "logs told backwards and twice say the same");
    let middle = twice.len() / 3;
    twice.rotate_left(middle);
    assert_eq!(&fills::trades(book, &twice), found, "logs told in another order say the same");
}

/// Answers every question, with whatever the bytes say. The second round is for what a wrapped token leads to.
fn facts(book: &Book, found: &Trades, bytes: &mut Bytes<'_>) -> TokenFacts {
    let mut facts = TokenFacts::default();
    for _ in 0..2 {
        let asked = fills::questions(book, &found.trades, &facts);
        for address in asked.tokens {
            let choice = bytes.byte();
            let symbol = SYMBOLS[usize::from(choice) % SYMBOLS.len()];
            let decimals = match choice >> 4 {
                0..=7 => 18,
                8..=11 => 6,
                12 => 0,
                13 => 19,
                _ => 255,
            };
            let unit = match bytes.below(4) {
                0 => Unit::One,
                1 => Unit::Asked { holds: Vec::new(), multiplied: true },
                2 => Unit::Asked { holds: vec![Hold::Vault(Address::ZERO)], multiplied: false },
                _ => "3/2".parse().map_or(Unit::One, Unit::Listed),
            };
            let kind = fills::kind_of(symbol, unit);
            facts.tokens.insert(address, TokenFact { address, symbol: symbol.to_owned(), decimals, kind });
        }
        for conversion in asked.conversions {
            let answer = match bytes.below(3) {
                // One for one.
                0 => (conversion.amount, 18),
                1 => (U256::from(bytes.byte()).wrapping_shl(usize::from(bytes.byte())), 18),
                _ => (U256::from(bytes.word()), bytes.byte()),
            };
            let multiplier = (bytes.below(2) == 0).then(|| U256::from(bytes.word()));
            let worth = Worth { assets: answer.0, decimals: answer.1, multiplier, jump: None };
            facts.worths.insert(conversion, worth);
        }
    }
    let left = fills::questions(book, &found.trades, &facts);
    assert!(left.is_empty(), "everything was answered, and still asked is {left:?}");
    facts
}

fn must_say_what_the_log_says(trade: &Trade, event: &Event, facts: &TokenFacts) {
    let place = (trade.log.block_hash, trade.log.tx_hash, trade.log.log_index);
    let fill = match event {
        Event::Fill(fill) => fill,
        Event::Skipped(skipped) => {
            assert_eq!((skipped.id.block_hash, skipped.id.tx_hash, skipped.id.log_index), place);
            assert!(!skipped.shares.is_negative());
            return;
        }
        // Answered, with a number that cannot be.
        Event::Pending(pending) => {
            assert!(facts.tokens.get(&pending.token).is_some_and(|fact| {
                matches!(&fact.kind, fills::TokenKind::Share(_, unit) if unit.is_asked())
            }));
            return;
        }
        Event::Dead(dead) => {
            assert_eq!((dead.block_hash, dead.tx_hash, dead.log_index), place);
            assert!(!dead.reason.is_empty());
            return;
        }
    };
    assert_eq!((fill.id.block_hash, fill.id.tx_hash, fill.id.log_index), place);
    assert!(fill.shares > Shares::ZERO && !fill.cash.is_negative(), "{fill:?}");
    assert_eq!(fill.price.is_none(), fill.price.is_none_or(|price| price.atoms() <= 0), "{fill:?}");
    let (token, amount) = match fill.id.side {
        Side::Buy => (trade.input_token, trade.input),
        Side::Sell => (trade.output_token, trade.output),
    };
    let Some(fact) = facts.tokens.get(&token) else { panic_on(event, "a fill of a token that nobody knows") };
    if let (Amount::Units(units), fills::TokenKind::Share(symbol, Unit::One)) = (amount, &fact.kind) {
        // Worked out again, in another way: a whole number of base units, scaled up and never cut.
        let scale = U256::from(10).pow(U256::from(AMOUNT_DECIMALS - u32::from(fact.decimals)));
        assert_eq!(U256::try_from(fill.shares.atoms()).ok(), units.checked_mul(scale), "{fill:?}");
        assert_eq!(&fill.symbol, symbol);
    }
}

#[allow(clippy::panic)] // this is what a broken promise looks like here
fn panic_on(event: &Event, why: &str) -> ! {
    panic!("{why}: {event:?}")
}

/// Two trades of one log differ in their side: the ledger tells fills apart by it.
fn must_have_names_of_their_own(found: &Trades, events: &[Event]) {
    let names = |event: &Event| match event {
        Event::Fill(fill) => Some(fill.id),
        Event::Skipped(skipped) => Some(skipped.id),
        Event::Pending(pending) => Some(pending.id),
        Event::Dead(_) => None,
    };
    let mut seen = BTreeSet::new();
    for id in events.iter().filter_map(names) {
        assert!(seen.insert(id), "two events have the name {id}");
    }
    let places: Vec<_> =
        found.dead.iter().map(|dead| (dead.block_hash, dead.log_index, &dead.reason)).collect();
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len(), "a log is dead once");
}
