//! A log that was pushed, before a node whose answers leave it out: full blooms prove nothing, so the push is the only
//! evidence, and no range may pass it unsettled (`protocol.md` 1.1).

use alloy::primitives::B256;
use counterfill::chain::ChainView;
use counterfill::units::{BlockRef, LogId};
use serde_json::{Value, json};

use super::assert_rows;
use super::node::Reply::Says;
use super::ranges::{Lie, a_chain, always, becomes, both, header, no_receipts};

/// A node whose every bloom is full, and whose `eth_getLogs` never has a log.
fn blind() -> Lie {
    let full = json!(format!("0x{}", "f".repeat(512)));
    both(
        Box::new(move |method, _, mut truth| {
            if method == "eth_getBlockByNumber" && truth.is_object() {
                truth["logsBloom"] = full.clone();
            }
            Says(truth)
        }),
        always("eth_getLogs", Says(json!([]))),
    )
}

#[tokio::test]
async fn no_range_passes_a_pushed_log_that_no_answer_has_settled() {
    let sample = a_chain(1);
    let at = |number: u64| sample.block_at(number).unwrap().reference();
    let tx = |number: u64| sample.block_at(number).unwrap().txs[0].hash;
    let log = |block: BlockRef, tx_hash: B256| LogId { block, tx_hash, log_index: 0 };
    let (taken, cleared) = (log(at(1_002), tx(1_002)), log(at(1_003), tx(1_003)));
    let another = |number: u64| BlockRef { number, hash: B256::repeat_byte(0x66) };
    let waits = |log: &LogId| {
        format!("block {} has transaction {}, but no receipt of it", at(log.block.number), log.tx_hash)
    };
    type Row = (&'static str, Vec<LogId>, Lie, String);
    let rows: Vec<Row> = vec![
        ("nothing was pushed", vec![], blind(), "a sweep of 0 events".into()),
        ("a take and a clear were", vec![taken, cleared], blind(), "a sweep of 2 events".into()),
        ("no receipt yet", vec![cleared], both(blind(), no_receipts()), waits(&cleared)),
        (
            "pushed before the block was sealed, under another hash",
            vec![log(another(1_002), tx(1_002)), log(another(1_003), tx(1_003))],
            blind(),
            "a sweep of 2 events".into(),
        ),
        (
            "the same, no receipt yet",
            vec![log(another(1_002), tx(1_002))],
            both(blind(), no_receipts()),
            waits(&taken),
        ),
        (
            "its block left the chain with its transaction",
            vec![log(another(1_002), B256::repeat_byte(0x65))],
            blind(),
            "a sweep of 0 events".into(),
        ),
        (
            "the receipt has no such log",
            vec![LogId { log_index: 99, ..taken }],
            blind(),
            "a sweep of 1 events".into(),
        ),
        (
            "nobody can say whether its transaction is there",
            vec![log(at(1_002), B256::repeat_byte(0x65))],
            both(both(blind(), header(1_002, "transactions", Value::Null)), no_receipts()),
            format!("block {} has transaction {}, but no receipt of it", at(1_002), B256::repeat_byte(0x65)),
        ),
    ];
    let told = rows.into_iter().map(|(name, evidence, lie, expected)| async move {
        let planned_on = ChainView { evidence, ..ChainView::default() };
        (name, becomes(a_chain(1), planned_on, lie, 1_001, &expected).await, expected)
    });
    assert_rows(futures_util::future::join_all(told).await);
}
