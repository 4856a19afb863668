//! Receipts that a node refuses, for ever and in any words: the line goes on, with the proof where one way is left.

use counterfill::chain::ChainView;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::assert_rows;
use super::node::Reply;
use super::ranges::{Lie, a_chain, becomes, both, logs};
use Reply::{Refuses, Says};

/// Answers of `eth_getBlockReceipts` by hash and by number, and of `eth_getTransactionReceipt`; the truth where none.
fn receipts(by_hash: Option<Reply>, by_number: Option<Reply>, single: Option<Reply>) -> Lie {
    let told = move |method: &str, params: &Value, truth| {
        let is_hash = params[0].as_str().is_some_and(|text| text.len() == 66);
        let reply = match method {
            "eth_getBlockReceipts" if is_hash => &by_hash,
            "eth_getBlockReceipts" => &by_number,
            "eth_getTransactionReceipt" => &single,
            _ => &None,
        };
        reply.clone().unwrap_or(Says(truth))
    };
    // And the bloom says that eth_getLogs leaves out the take of block 1002.
    both(logs(1_002, Vec::clear), Box::new(told))
}

#[tokio::test]
async fn evidence_that_can_not_be_had_does_not_stop_the_line() {
    let never_heard = || Some(Refuses(-31_337, "not on a Tuesday"));
    let internal = || Some(Refuses(-32_603, "internal error"));
    let not_whitelisted = || Some(Refuses(-32_001, "rpc method is not whitelisted"));
    let number_only = || Some(Refuses(-32_602, "number too large to fit in target type"));
    let null = || Some(Says(Value::Null));
    let too_few = || Some(Says(json!([])));
    // The clear is told; the take needs a receipt. After a refusal the block is read alone, without the clear's.
    let (proved, believed) = ("a sweep of 2 events", "a sweep of 1 events");
    let alone = "a sweep of 0 events";
    let rows: Vec<(&str, Lie, &str)> = vec![
        ("by number", receipts(number_only(), None, never_heard()), proved),
        ("one by one", receipts(not_whitelisted(), not_whitelisted(), None), proved),
        ("one by one, for there are too few", receipts(too_few(), too_few(), None), proved),
        ("one by one, for they are pruned", receipts(null(), null(), None), proved),
        ("not at all, in no words we know", receipts(never_heard(), never_heard(), never_heard()), alone),
        ("not at all, by an error for ever", receipts(internal(), internal(), internal()), alone),
        ("not at all, for all are pruned", receipts(null(), null(), null()), believed),
        ("not at all, for there are too few", receipts(too_few(), too_few(), null()), believed),
    ];
    // The block in question is the first one: what is read before a refusal would be handed on alone.
    let found = join_all(rows.into_iter().map(async |(name, lie, expected)| {
        (name, becomes(a_chain(1), ChainView::default(), lie, 1_002, "-").await, expected)
    }));
    assert_rows(found.await);
}
