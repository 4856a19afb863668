//! What is tested from outside: the real `bot` and `auth` as processes, before nodes and brokers that are ours.
//!
//! Most of the time they wait, so that more of them run at once than there are processors (`scripts/test`). Whatever is
//! waited for is looked for again and again (`until`), with a bound that only a hang reaches.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod alerts;
mod alpaca;
mod auth;
mod cli;
mod doctor;
mod hostile_node;
mod reconcile;

use testkit::{bench, floor, node, sample, truth, until};
