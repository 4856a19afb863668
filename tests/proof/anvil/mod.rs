//! The real bot against a real EVM node: `bot run` as a process of its own, anvil behind a wire that can be cut, and a
//! verdict that knows only what was emitted, what the chain holds now, and the broker's own book.
//!
//! anvil and the compiled contracts are put in place by `scripts/tools`; without them every test here fails and says so.

mod bot;
mod draws;
mod fills;
mod node;
mod refusals;
mod reorgs;
mod restarts;
mod stopping;
mod storm;
mod verdict;
mod wire;
mod world;

use std::time::{Duration, Instant};

/// Far longer than anything here takes on a busy machine; only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);

/// Waits until `look` finds something, and fails with what `last` then says otherwise.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) => assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}; {last}"),
        }
        std::thread::sleep(LOOK);
    }
}

/// Says something to whoever waits, past the capture of the test harness.
pub fn tell(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}
