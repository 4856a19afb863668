//! Looking until something is so. No test waits for a time to pass: it looks again and again, with a bound that only a
//! hang reaches, also on a machine that is busy with other things.

use std::thread;
use std::time::{Duration, Instant};

/// Far longer than anything takes that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// Between two looks.
pub const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// Looks until `holds`; panics with what `tell` says where it never does.
pub fn until(what: &str, tell: impl Fn() -> String, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", tell());
        thread::sleep(LOOK_AGAIN);
    }
}

/// Looks until there is something; panics with what was there instead where it never is.
pub fn found<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) => assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}; {last}"),
        }
        thread::sleep(LOOK_AGAIN);
    }
}
