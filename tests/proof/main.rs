//! What takes long: the matrices, the storm before a real EVM node, the soak. docs/proof.md says what each has shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod anvil;
mod anvil_replay;
mod crash_matrix;
mod fault_matrix;
#[path = "../recorded/mod.rs"]
mod recorded;
mod reorg_matrix;
mod schwab_matrix;
mod soak;

use testkit::{bench, floor, gross, market, node, sample, side_by_side, truth, until};
