//! Every log of a block, from its receipts, by whichever way the node has.
//!
//! Receipts are the proof where a block's bloom says that `eth_getLogs` left something out. Nodes and the gateways before
//! them refuse them in many words, for ever or for a moment, and no list of words tells the two apart. So what decides is
//! what happens: a way that fails [`FAILURES_MAX`] times in a row is closed until the next connection, and where every way
//! is closed a block goes without proof, is counted, and is told to a person once (`protocol.md` 1.2, decision 0053).
//!
//! Invariant: what comes back is as many receipts as the header has transactions, all of that block by its hash.

use std::sync::{Mutex, MutexGuard, PoisonError};

use alloy::primitives::B256;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::CALLS_IN_FLIGHT_MAX;
use super::rpc::{Rpc, RpcError};
use super::trouble::{Trouble, disagree};
use super::wire::{Header, Receipt};

/// Failures in a row that close a way. Each of the first ones puts the block off, with a pause that doubles from 100 ms:
/// together 3 s, in which a backend that is behind or a bucket that is empty comes round.
const FAILURES_MAX: u32 = 5;
/// Transactions of a block whose receipts are worth one call each: at 25 calls a second, less than two seconds.
const SINGLE_RECEIPTS_MAX: usize = 40;

/// How a block's receipts can be asked for, the best one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `eth_getBlockReceipts` with the block's hash.
    ByHash,
    /// The same with its number; the answer says the hash.
    ByNumber,
    /// `eth_getTransactionReceipt`, once for each of the header's transactions.
    Singly,
}

impl Way {
    const ALL: [Self; 3] = [Self::ByHash, Self::ByNumber, Self::Singly];

    const fn words(self) -> &'static str {
        match self {
            Self::ByHash => "by a block's hash",
            Self::ByNumber => "by a block's number",
            Self::Singly => "one by one",
        }
    }
}

/// What is known of one way.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Attempts in a row in which it failed.
    failures: u32,
    /// The last one of these. Many blocks of one attempt fail for one reason.
    failed_in: u64,
}

#[derive(Debug, Default)]
struct State {
    ways: [Known; 3],
    attempt: u64,
    unproven: u64,
    /// The last of these: one block may be asked for once for each of its transactions.
    unproven_last: Option<B256>,
}

impl State {
    fn way(&mut self, way: Way) -> &mut Known {
        let [by_hash, by_number, singly] = &mut self.ways;
        match way {
            Way::ByHash => by_hash,
            Way::ByNumber => by_number,
            Way::Singly => singly,
        }
    }
}

/// What is known of the ways. It outlives a connection.
#[derive(Debug, Default)]
pub(super) struct Ways(Mutex<State>);

impl Ways {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another attempt to read begins.
    pub(super) fn another_attempt(&self) {
        self.state().attempt += 1;
    }

    /// Each closed way gets one more chance: another connection may lead to another node.
    pub(super) fn another_connection(&self) {
        for known in &mut self.state().ways {
            known.failures = known.failures.min(FAILURES_MAX - 1);
        }
    }

    /// Blocks that went without proof in this process.
    pub(super) fn unproven(&self) -> u64 {
        self.state().unproven
    }

    fn is_open(&self, way: Way) -> bool {
        self.state().way(way).failures < FAILURES_MAX
    }

    fn succeeded(&self, way: Way) {
        self.state().way(way).failures = 0;
    }

    /// Counts a failure; one that says that there is no such method closes the way at once.
    fn failed(&self, way: Way, trouble: &Trouble) {
        let mut state = self.state();
        let attempt = state.attempt;
        let known = state.way(way);
        let was_open = known.failures < FAILURES_MAX;
        if matches!(trouble, Trouble::Rpc(error) if error.is_method_missing()) {
            known.failures = FAILURES_MAX;
        } else if known.failed_in != attempt || known.failures == 0 {
            known.failures += 1;
        }
        known.failed_in = attempt;
        if was_open && known.failures >= FAILURES_MAX {
            log::warn!("receipts are not asked for {} any more on this connection: {trouble}", way.words());
        }
    }

    /// Every receipt of a block; none where the node has no way left to tell them.
    ///
    /// # Errors
    /// A failure that may pass: ask again after a pause.
    pub(super) async fn receipts(&self, rpc: &Rpc, header: &Header) -> Result<Option<Vec<Receipt>>, Trouble> {
        let mut put_off = None;
        for way in Way::ALL {
            if !self.is_open(way) {
                continue;
            }
            match asked(rpc, way, header).await {
                Ok(Some(receipts)) => {
                    self.succeeded(way);
                    return Ok(Some(receipts));
                }
                Ok(None) => {}
                Err(gone @ Trouble::Rpc(RpcError::Gone(_))) => return Err(gone),
                Err(trouble) => {
                    self.failed(way, &trouble);
                    if self.is_open(way) {
                        put_off.get_or_insert(trouble);
                    }
                }
            }
        }
        if let Some(trouble) = put_off {
            return Err(trouble);
        }
        let mut state = self.state();
        if state.unproven_last.replace(header.hash) != Some(header.hash) {
            state.unproven += 1;
        }
        Ok(None)
    }
}

/// Asks one way; none where it is not worth its calls.
async fn asked(rpc: &Rpc, way: Way, header: &Header) -> Result<Option<Vec<Receipt>>, Trouble> {
    let receipts = match way {
        Way::ByHash => rpc.block_receipts(header.hash).await?,
        Way::ByNumber => rpc.block_receipts_at(header.number).await?,
        Way::Singly => {
            let Some(inside) = header.transactions.as_ref().filter(|t| t.len() <= SINGLE_RECEIPTS_MAX) else {
                return Ok(None);
            };
            let calls: Vec<_> = inside.iter().map(|tx_hash| rpc.receipt(*tx_hash)).collect();
            let all: Vec<Option<Receipt>> =
                stream::iter(calls).buffered(CALLS_IN_FLIGHT_MAX).try_collect().await?;
            all.into_iter().collect()
        }
    };
    let receipts = receipts.ok_or_else(|| disagree("the node has a block's header but not its receipts"))?;
    let expected = header.transactions.as_ref().map(Vec::len);
    if expected.is_some_and(|expected| expected != receipts.len()) {
        return Err(disagree("a block's receipts are not as many as its transactions"));
    }
    // An empty list by number says nothing of which block it is.
    let nameless = receipts.is_empty() && expected.is_none() && way == Way::ByNumber;
    if nameless || receipts.iter().any(|receipt| receipt.block_hash != header.hash) {
        return Err(disagree("asked for a block's receipts, got another's"));
    }
    Ok(Some(receipts))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use alloy::primitives::Bloom;
    use serde_json::{Value, json};

    use super::super::scripted::{Said, node};
    use super::*;

    const BLOCK: B256 = B256::repeat_byte(0xaa);
    const OTHER: B256 = B256::repeat_byte(0xbb);
    /// Words that no list holds.
    const NEVER_HEARD: Said = Err((-31_337, "not on a Tuesday"));

    fn header(transactions: Option<usize>) -> Header {
        let transactions =
            transactions.map(|n| (0..n).map(|n| B256::with_last_byte(n.try_into().unwrap())).collect());
        Header {
            number: 5,
            hash: BLOCK,
            parent_hash: B256::ZERO,
            timestamp: 1,
            logs_bloom: Bloom::ZERO,
            transactions,
        }
    }

    fn receipt(tx_hash: &Value, block: B256) -> Value {
        json!({ "transactionHash": tx_hash, "blockNumber": "0x5", "blockHash": block, "logs": [] })
    }

    fn list(count: u8, block: B256) -> Said {
        Ok((0..count).map(|n| receipt(&json!(B256::with_last_byte(n)), block)).collect())
    }

    /// What a node says: by hash, by number, of one transaction.
    type Script = [fn() -> Said; 3];

    /// A node by its script, and the ways it was asked: `h`, `n`, `t` for each call.
    fn scripted([by_hash, by_number, single]: Script) -> (Rpc, Arc<Mutex<String>>) {
        let asked = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&asked);
        let rpc = node(move |method, params| {
            let by = match (method, params[0].as_str().unwrap().len()) {
                ("eth_getBlockReceipts", 66) => 'h',
                ("eth_getBlockReceipts", _) => 'n',
                _ => 't',
            };
            kept.lock().unwrap().push(by);
            match by {
                'h' => by_hash(),
                'n' => by_number(),
                _ => single().map(|said| if said.is_null() { said } else { receipt(&params[0], BLOCK) }),
            }
        });
        (rpc, asked)
    }

    /// One attempt: how many receipts, `-` where there is no way, or why it is put off.
    async fn attempt(ways: &Ways, rpc: &Rpc, header: &Header) -> String {
        ways.another_attempt();
        match ways.receipts(rpc, header).await {
            Ok(Some(receipts)) => receipts.len().to_string(),
            Ok(None) => "-".to_owned(),
            Err(trouble) => trouble.to_string(),
        }
    }

    #[tokio::test]
    async fn each_way_is_followed_by_the_next() {
        let rows: [(&str, Script, Option<usize>, &str, &str); 9] = [
            ("by hash", [|| list(2, BLOCK), || NEVER_HEARD, || NEVER_HEARD], Some(2), "2", "h"),
            ("a number only", [|| NEVER_HEARD, || list(2, BLOCK), || NEVER_HEARD], Some(2), "2", "hn"),
            ("one by one", [|| NEVER_HEARD, || NEVER_HEARD, || Ok(json!(1))], Some(2), "2", "hntt"),
            (
                "no such method",
                [|| Err((-32_601, "x")), || NEVER_HEARD, || Ok(json!(1))],
                Some(1),
                "1",
                "hnt",
            ),
            ("another block's", [|| list(2, OTHER), || list(2, BLOCK), || NEVER_HEARD], Some(2), "2", "hn"),
            ("too few", [|| list(1, BLOCK), || Ok(Value::Null), || Ok(json!(1))], Some(2), "2", "hntt"),
            ("not a list", [|| Ok(json!("?")), || list(2, BLOCK), || NEVER_HEARD], None, "2", "hn"),
            (
                "an empty list of no block",
                [|| NEVER_HEARD, || list(0, BLOCK), || Ok(json!(1))],
                None,
                "the node refuses eth_getBlockReceipts: not on a Tuesday (code -31337)",
                "hn",
            ),
            (
                "one of them missing",
                [|| Ok(Value::Null), || NEVER_HEARD, || Ok(Value::Null)],
                Some(1),
                "the node has a block's header but not its receipts",
                "hnt",
            ),
        ];
        for (name, script, transactions, expected, by) in rows {
            let (rpc, asked) = scripted(script);
            assert_eq!(attempt(&Ways::default(), &rpc, &header(transactions)).await, expected, "{name}");
            assert_eq!(*asked.lock().unwrap(), by, "{name}");
        }
    }

    #[tokio::test]
    async fn what_fails_for_ever_is_put_off_a_few_times_and_then_passed() {
        for refusal in [NEVER_HEARD, Err((-32_603, "internal error")), Ok(Value::Null)] {
            let ways = Ways::default();
            let said = refusal.clone();
            let rpc = node(move |_, _| said.clone());
            let mut put_off = 0;
            while attempt(&ways, &rpc, &header(Some(1))).await != "-" {
                put_off += 1;
                assert!(put_off < FAILURES_MAX, "{refusal:?}");
            }
            assert_eq!((put_off, ways.unproven()), (FAILURES_MAX - 1, 1));
            // From now on at once, and the next connection asks once more.
            assert_eq!(attempt(&ways, &rpc, &header(Some(1))).await, "-");
            ways.another_connection();
            let (honest, asked) = scripted([|| list(1, BLOCK), || NEVER_HEARD, || NEVER_HEARD]);
            assert_eq!(attempt(&ways, &honest, &header(Some(1))).await, "1");
            assert_eq!((asked.lock().unwrap().as_str(), ways.unproven()), ("h", 1));
        }
    }

    #[tokio::test]
    async fn many_blocks_that_fail_in_one_attempt_close_nothing() {
        let ways = Ways::default();
        let (rpc, _) = scripted([|| NEVER_HEARD, || NEVER_HEARD, || NEVER_HEARD]);
        ways.another_attempt();
        for _ in 0..3 * FAILURES_MAX {
            assert!(ways.receipts(&rpc, &header(Some(1))).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_large_block_is_not_asked_for_one_by_one() {
        let (rpc, asked) = scripted([|| Err((-32_601, "x")), || Err((-32_601, "x")), || Ok(json!(1))]);
        let (few, many) = (SINGLE_RECEIPTS_MAX, SINGLE_RECEIPTS_MAX + 1);
        let ways = Ways::default();
        assert_eq!(attempt(&ways, &rpc, &header(Some(few))).await, few.to_string());
        asked.lock().unwrap().clear();
        assert_eq!(attempt(&ways, &rpc, &header(Some(many))).await, "-");
        assert_eq!((asked.lock().unwrap().as_str(), ways.unproven()), ("", 1));
    }
}
