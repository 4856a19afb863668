//! What a header's `logsBloom` proves about an answer of `eth_getLogs`.
//!
//! A bloom never denies what is there, so it can prove an answer complete; it can not prove one incomplete, only make
//! that probable. It refuses to know a node. Invariant: [`misses`] is false only if no log of ours can be missing of a
//! topic that the answer does not show at all.

use alloy::primitives::{Address, B256, Bloom, BloomInput};

use super::abi::RawLog;

/// Bits of a bloom.
const BITS: u32 = 2048;
/// Up to so many set bits a bloom is worth a costly question. Each address and topic sets three bits; with a quarter of
/// all bits set, a stranger's three are all set by chance with (1/4)^3 = 1/64, and a pair of one address and one of
/// seven topics with at most 7/4096 for each order book. Fuller blooms say "perhaps" about everything.
const INFORMATIVE_BITS_MAX: u32 = BITS / 4;

/// Whether, by the bloom, an order book of ours and a topic of ours may be inside of which `logs` shows nothing.
#[must_use]
pub fn misses(bloom: &Bloom, books: &[Address], topics: &[B256], logs: &[RawLog]) -> bool {
    let may_hold = |bytes: &[u8]| bloom.contains_input(BloomInput::Raw(bytes));
    let shown = |topic: &B256| logs.iter().any(|log| log.topics.first() == Some(topic));
    books.iter().any(|book| may_hold(book.as_slice()))
        && topics.iter().any(|topic| may_hold(topic.as_slice()) && !shown(topic))
}

/// Whether what this bloom says is worth asking for every receipt of the block.
#[must_use]
pub fn is_informative(bloom: &Bloom) -> bool {
    let bits: u32 = bloom.data().iter().map(|byte| byte.count_ones()).sum();
    bits <= INFORMATIVE_BITS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::Bytes;

    fn log(topic: B256) -> RawLog {
        RawLog {
            address: Address::repeat_byte(1),
            topics: vec![topic],
            data: Bytes::new(),
            block_number: 1,
            block_hash: B256::ZERO,
            block_time: None,
            tx_hash: B256::ZERO,
            log_index: 0,
        }
    }

    #[test]
    fn an_answer_is_complete_or_may_miss_something() {
        let (book, other) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let topics = [B256::repeat_byte(7), B256::repeat_byte(8)];
        let bloom = |address: Address, inside: &[B256]| {
            let mut bloom = Bloom::ZERO;
            inside.iter().for_each(|topic| bloom.accrue_raw_log(address, &[*topic]));
            bloom
        };
        let rows: [(Bloom, Vec<RawLog>, bool); 6] = [
            (Bloom::ZERO, vec![], false),
            (bloom(book, &[B256::repeat_byte(9)]), vec![], false),
            (bloom(other, &topics), vec![], false),
            (bloom(book, &topics[..1]), vec![], true),
            (bloom(book, &topics[..1]), vec![log(topics[0])], false),
            (bloom(book, &topics), vec![log(topics[0])], true),
        ];
        for (row, (bloom, logs, missing)) in rows.into_iter().enumerate() {
            assert_eq!(misses(&bloom, &[book], &topics, &logs), missing, "row {row}");
        }
    }

    #[test]
    fn a_full_bloom_says_nothing() {
        assert!(is_informative(&Bloom::ZERO));
        assert!(!is_informative(&Bloom::repeat_byte(0xff)));
        assert!(is_informative(&Bloom::repeat_byte(0b0100_0001)));
        assert!(!is_informative(&Bloom::repeat_byte(0b0100_0101)));
    }
}
