//! When things go wrong: faults wait in the order they came, each for the requests of its route.
//!
//! It refuses to know what a fault does. Invariant: a request meets at most one fault, the first that waits for it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The login's routes: `any` does not mean them.
const LOGIN: [&str; 2] = ["token", "authorize"];

/// A fault, and where it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault<K> {
    /// One of the double's routes, or `any` but the login's.
    pub route: String,
    /// What.
    #[serde(flatten)]
    pub kind: K,
    /// Requests of the route that pass before it.
    #[serde(default)]
    pub skip: u32,
    /// How many requests meet it; all from then on where none.
    #[serde(default = "one")]
    pub count: Option<u32>,
}

#[allow(clippy::unnecessary_wraps)]
const fn one() -> Option<u32> {
    Some(1)
}

impl<K> Fault<K> {
    /// The next request of the route meets it.
    #[must_use]
    pub fn next(route: &str, kind: K) -> Self {
        Self::times(route, 1, kind)
    }

    /// So many meet it.
    #[must_use]
    pub fn times(route: &str, count: u32, kind: K) -> Self {
        Self { route: route.to_owned(), kind, skip: 0, count: Some(count) }
    }

    /// Every one does, until it is healed.
    #[must_use]
    pub fn always(route: &str, kind: K) -> Self {
        Self { route: route.to_owned(), kind, skip: 0, count: None }
    }
}

/// The faults that wait, each with what was kept for it.
#[derive(Debug)]
pub(crate) struct Faults<K> {
    waiting: Vec<(Fault<K>, Option<Value>)>,
}

impl<K> Default for Faults<K> {
    fn default() -> Self {
        Self { waiting: Vec::new() }
    }
}

impl<K: Clone> Faults<K> {
    /// `kept` is handed back when the fault is met: a list that was the newest once.
    pub(crate) fn add(&mut self, fault: Fault<K>, kept: Option<Value>) {
        self.waiting.push((fault, kept));
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The fault that this request meets, and what was kept for it.
    pub(crate) fn take(&mut self, route: &str) -> Option<(K, Option<Value>)> {
        let meant =
            |fault: &Fault<K>| fault.route == route || (fault.route == "any" && !LOGIN.contains(&route));
        let at = self.waiting.iter().position(|(fault, _)| meant(fault))?;
        let (fault, kept) = &mut self.waiting[at];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let met = (fault.kind.clone(), kept.clone());
        if let Some(count) = &mut fault.count {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.waiting.remove(at);
            }
        }
        Some(met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_met_in_turn_and_the_login_is_not_any() {
        let mut faults = Faults::default();
        faults.add(Fault { skip: 1, ..Fault::next("list", 'a') }, None);
        faults.add(Fault::always("any", 'b'), Some(Value::Null));
        let met = ["list", "list", "list", "place", "token", "authorize"]
            .map(|route| faults.take(route).map(|met| met.0));
        assert_eq!(met, [None, Some('a'), Some('b'), Some('b'), None, None]);
        faults.clear();
        assert_eq!(faults.take("list"), None);
    }
}
