//! What takes long: the matrices, the storm before a real EVM node, the soak. docs/proof.md says what each has shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod anvil;
mod anvil_replay;
#[path = "../floor/bench.rs"]
#[allow(dead_code, reason = "process uses the rest")]
mod bench;
mod crash_matrix;
mod fault_matrix;
#[path = "../floor/mod.rs"]
#[allow(dead_code, reason = "process uses the rest")]
mod floor;
#[path = "../floor/gross.rs"]
mod gross;
#[path = "../floor/market.rs"]
mod market;
#[path = "../floor/node.rs"]
mod node;
#[path = "../recorded/mod.rs"]
mod recorded;
mod reorg_matrix;
#[path = "../floor/sample.rs"]
mod sample;
mod schwab_matrix;
#[path = "../floor/side_by_side.rs"]
mod side_by_side;
mod soak;
#[path = "../floor/truth.rs"]
#[allow(dead_code, reason = "process uses the rest")]
mod truth;
#[path = "../floor/until.rs"]
mod until;
