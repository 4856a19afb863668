//! Looking until something is so. No test waits for a time to pass: it looks again and again, with a bound that only a
//! hang reaches, also on a machine that is busy with other things.

use std::thread;
use std::time::{Duration, Instant};

/// Far longer than anything takes that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// Looks until `holds`; panics with what `tell` says where it never does.
pub(crate) fn until(what: &str, tell: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", tell());
        thread::sleep(LOOK_AGAIN);
    }
}
