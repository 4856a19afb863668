//! Whatever the logs are, decoding ends with an answer, and neither their order nor their repetition changes it.
//! 100,000 cases in all.

use crate::recorded;

use std::sync::LazyLock;

use alloy::primitives::{Address, B256, U256};
use counterfill::chain::abi::{self, RawLog};
use counterfill::fills::{self, Book, Event, TokenFacts, Trades};
use proptest::prelude::*;

/// Cases of bytes out of nothing.
const ARBITRARY_CASES: u32 = 39_500;
/// Cases of real logs with a few changes.
const MUTATED_CASES: u32 = 60_000;
/// Cases of all real logs in another order.
const ORDER_CASES: u32 = 500;

/// Both recordings as one book: about a hundred real logs.
struct World {
    book: Book,
    facts: TokenFacts,
    logs: Vec<RawLog>,
    /// Of `logs`, those a mutation can matter to.
    ours: Vec<RawLog>,
    found: Trades,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let (v4, mut v6) = (recorded::v4(), recorded::v6());
    v6.wrapped_one_for_one();
    let mut book = v4.book.clone();
    book.orderbooks.extend(&v6.book.orderbooks);
    let mut facts = v6.facts.clone();
    facts.tokens.extend(v4.facts.tokens.clone());
    let logs = [v4.logs(), v6.logs()].concat();
    let ours = logs.iter().filter(|log| log.kind().is_some()).cloned().collect();
    let found = fills::trades(&book, &logs);
    assert_eq!((found.trades.len(), found.dead.len(), found.unpaired.len()), (16, 0, 0));
    World { book, facts, logs, ours, found }
});

/// Reads and weighs `logs`, checks what must hold of any answer, and gives the number of answers.
fn answer(logs: &[RawLog]) -> Result<usize, TestCaseError> {
    let World { book, facts, .. } = &*WORLD;
    let found = fills::trades(book, logs);
    let _ = fills::questions(book, &found.trades, facts);
    for trade in &found.trades {
        prop_assert!(book.owners.contains(&trade.owner));
        prop_assert!(logs.iter().any(|log| log == &trade.log), "a trade of a log that was not given");
        match fills::event(book, trade, facts) {
            Event::Fill(fill) => {
                prop_assert!(fill.shares.is_positive() && !fill.cash.is_negative());
                prop_assert!(fill.price.is_none() || fill.cash.is_positive());
            }
            Event::Skipped(skipped) => prop_assert!(!skipped.shares.is_negative()),
            Event::Pending(pending) => prop_assert!(false, "everything was answered: {pending:?}"),
            Event::Dead(dead) => prop_assert!(!dead.reason.is_empty()),
        }
    }
    for unpaired in &found.unpaired {
        let _ = fills::give_up(book, unpaired);
    }
    Ok(found.trades.len() + found.dead.len() + found.unpaired.len())
}

/// A word that leads a decoder somewhere: an offset, a length, an address of ours, an edge.
fn word() -> impl Strategy<Value = B256> {
    let owner = WORLD.book.owners.first().unwrap().into_word();
    let token = WORLD.facts.tokens.keys().next().unwrap().into_word();
    prop_oneof![
        6 => (0_u64..24).prop_map(|words| B256::from(U256::from(words * 32))),
        4 => (0_u64..8).prop_map(|small| B256::from(U256::from(small))),
        2 => prop_oneof![Just(owner), Just(token), Just(B256::ZERO), Just(B256::repeat_byte(0xff))],
        1 => (0_usize..256).prop_map(|bit| B256::from(U256::from(1) << bit)),
        1 => any::<[u8; 32]>().prop_map(B256::from),
    ]
}

/// A few changes to one real log's data.
#[derive(Debug, Clone)]
enum Change {
    Byte(prop::sample::Index, u8),
    Word(prop::sample::Index, B256),
    Cut(prop::sample::Index),
    Repeat,
    Topic(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        4 => (any::<prop::sample::Index>(), word()).prop_map(|(at, word)| Change::Word(at, word)),
        1 => any::<prop::sample::Index>().prop_map(Change::Cut),
        1 => Just(Change::Repeat),
        1 => (0_usize..abi::TOPICS.len()).prop_map(Change::Topic),
    ]
}

fn apply(log: &mut RawLog, change: &Change) {
    let mut data = log.data.to_vec();
    match change {
        Change::Byte(at, byte) if !data.is_empty() => {
            let place = at.index(data.len());
            data[place] = *byte;
        }
        Change::Word(at, word) if data.len() >= 32 => {
            let start = at.index(data.len() / 32) * 32;
            data[start..start + 32].copy_from_slice(word.as_slice());
        }
        Change::Cut(at) => data.truncate(at.index(data.len() + 1)),
        Change::Repeat => data.extend_from_within(..),
        Change::Topic(topic) => log.topics = vec![abi::TOPICS[*topic]],
        Change::Byte(..) | Change::Word(..) => {}
    }
    log.data = data.into();
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(ARBITRARY_CASES))]
    #[test]
    fn bytes_out_of_nothing_get_an_answer(
        topic in 0_usize..abi::TOPICS.len(),
        words in prop::collection::vec(word(), 0..40),
        rest in 0_usize..32,
    ) {
        let mut data = words.concat();
        data.truncate(data.len().saturating_sub(rest));
        let log = RawLog {
            address: *WORLD.book.orderbooks.first().unwrap(),
            topics: vec![abi::TOPICS[topic]],
            data: data.into(),
            ..WORLD.logs[0].clone()
        };
        answer(&[log])?;
    }
}

proptest! {
    #![proptest_config(config(MUTATED_CASES))]
    #[test]
    fn real_logs_with_a_few_changes_get_an_answer(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let original = which.get(&WORLD.ours);
        let mut log = original.clone();
        changes.iter().for_each(|change| apply(&mut log, change));
        // Its neighbours in the transaction, so that the amounts of a clear are changed beside the clear.
        let same_transaction = |other: &&RawLog| other.tx_hash == original.tx_hash && *other != original;
        let mut logs: Vec<_> = WORLD.ours.iter().filter(same_transaction).cloned().collect();
        logs.push(log);
        let answers = answer(&logs)?;
        prop_assert!(answers <= 2 * logs.len());
    }
}

proptest! {
    #![proptest_config(config(ORDER_CASES))]
    #[test]
    fn neither_order_nor_repetition_matters(
        shuffled in Just(WORLD.logs.clone()).prop_shuffle(),
        again in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        without_time in any::<bool>(),
    ) {
        let mut logs = shuffled;
        for index in again {
            let mut log = index.get(&WORLD.logs).clone();
            if without_time {
                log.block_time = None;
            }
            logs.insert(index.index(logs.len() + 1), log);
        }
        prop_assert_eq!(&fills::trades(&WORLD.book, &logs), &WORLD.found);
    }
}

#[test]
fn a_stranger_who_writes_our_bytes_is_nothing() {
    let strangers: Vec<_> =
        WORLD.ours.iter().map(|log| RawLog { address: Address::repeat_byte(1), ..log.clone() }).collect();
    assert_eq!(fills::trades(&WORLD.book, &strangers), Trades::default());
}
