//! Measured and printed, never asserted: how fast a pushed take is an order, and how fast a start is ready.

use std::time::Instant;

use counterfill::units::Millis;

use crate::bench::Bench;
use crate::truth::{self, sell};

#[test]
fn from_a_push_to_the_order_and_from_start_to_ready() {
    let mut bench = Bench::new();
    bench.node.mine_empty(3);
    let begun = Instant::now();
    bench.start();
    bench.until("ready", || bench.readyz().is_some_and(|(code, _)| code == 200));
    println!("start to /readyz 200: {} ms", begun.elapsed().as_millis());
    let mut took = Vec::new();
    for n in 1..=50 {
        let before = Millis::now();
        bench.mine(&[sell(n % 3, 1_000)]);
        bench.until("the order", || bench.orders() == n);
        let entered = truth::book(&bench.data()).iter().map(|order| order.order.entered_at).max().unwrap();
        took.push(entered.since(before));
        // The ticker's next order would wait for this one.
        bench.until("nothing is under way", || {
            let Some((_, body)) = bench.readyz() else { return false };
            let tickers = body["engine"]["tickers"].as_array().cloned().unwrap_or_default();
            tickers.iter().all(|ticker| ticker["live_intent"].is_null())
        });
    }
    took.sort_unstable();
    println!(
        "mine() to the order's row, of 50: p50 {} ms, p90 {} ms, max {} ms",
        took[25], took[45], took[49]
    );
    assert_eq!(bench.ends_clean(), 50);
}
