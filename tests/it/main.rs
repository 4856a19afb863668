//! What is tested within this process: no `bot` is started and no tool is asked for.
//!
//! One program for all of them, because each links the whole library. So nothing here may change or measure what belongs
//! to the process (environment, current directory, memory): a test that must starts this program again with its own
//! name, as `paper_broker` does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_types,
    missing_docs,
    unreachable_pub
)]

mod account;
mod alpaca_client;
mod alpaca_wire;
mod bad_inputs;
mod bad_logs;
mod chain_link;
mod chain_tls;
mod config;
mod conservation;
mod decoder_properties;
mod dependencies;
mod engine_book;
mod fuzz_forms;
mod golden;
mod health;
mod ledger;
mod lost_orders;
mod money_paths;
mod packed_answers;
mod paper_broker;
mod pauses;
mod pushes;
#[path = "../recorded/mod.rs"]
mod recorded;
mod restart_equals;
mod schwab_client;
mod serve;
mod sim_node;
mod sim_story;
mod start_order;
mod stopping;
mod topics;
mod world;

use testkit::until;
