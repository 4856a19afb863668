//! What is tested from outside: the real `bot` and `auth` as processes, before nodes and brokers that are ours.
//!
//! Most of the time they wait, so that more of them run at once than there are processors (`scripts/test`). Whatever is
//! waited for is looked for again and again (`until`), with a bound that only a hang reaches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod alerts;
mod alpaca;
mod auth;
#[path = "../floor/bench.rs"]
#[allow(dead_code, reason = "proof uses the rest")]
mod bench;
mod cli;
mod doctor;
#[path = "../floor/mod.rs"]
#[allow(dead_code, reason = "proof uses the rest")]
mod floor;
mod hostile_node;
#[path = "../floor/node.rs"]
mod node;
mod reconcile;
#[path = "../floor/sample.rs"]
mod sample;
#[path = "../floor/truth.rs"]
#[allow(dead_code, reason = "proof uses the rest")]
mod truth;
#[path = "../floor/until.rs"]
mod until;
