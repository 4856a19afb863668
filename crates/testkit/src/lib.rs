//! What several test programs stand on, and the forms that fuzzing checks.
//!
//! Nothing here waits for a time to pass: whatever is waited for is looked for again and again ([`until`]), with a bound
//! that only a hang reaches. Invariant: no verdict asks the engine what is true.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a test may")]

use std::io::Write as _;

pub mod bench;
pub mod floor;
pub mod forms;
pub mod gross;
pub mod market;
pub mod node;
pub mod process;
pub mod sample;
pub mod side_by_side;
pub mod truth;
pub mod until;

/// Says something to whoever waits or reads the run, past the capture of the test harness.
pub fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
