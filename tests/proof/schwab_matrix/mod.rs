//! The real bot before a Schwab that does everything wrong: https and wss, with a certificate authority of its own. Each
//! world ends with the double's own log: no intent has two order calls, every order is exactly one intent's, nothing is
//! lost and nothing doubled; where the protocol asks for a person, the test is that person, with `bot reconcile`.
//!
//! Worlds run side by side, and each test prints one table of them with their verdicts.

#[cfg_attr(not(debug_assertions), allow(dead_code))]
mod again;
mod bench;
mod faults;
mod hours;
#[cfg_attr(not(debug_assertions), allow(dead_code))]
mod kills;
mod scenarios;
mod secrets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use testkit::tell;

use crate::sample;

/// Worlds at once for each processor.
const WORLDS_PER_CPU: usize = 4;

/// A world: what it is called, and what happens in it.
pub struct World {
    pub name: String,
    pub plays: Box<dyn Fn() + Send + Sync>,
}

pub fn world(name: impl Into<String>, plays: impl Fn() + Send + Sync + 'static) -> World {
    World { name: name.into(), plays: Box::new(plays) }
}

/// One of so many worlds is played where not all are.
const ONE_OF: usize = 8;

/// Plays them, prints the table, and fails where one did; whether it was all of them. `ONLY=words` plays those with these
/// words in their names.
pub fn play(title: &str, worlds: &[World]) -> bool {
    let all = worlds.len();
    let worlds: Vec<&World> = match std::env::var("ONLY") {
        Ok(only) => worlds.iter().filter(|world| world.name.contains(&only)).collect(),
        Err(_) => {
            let few = worlds.len().div_ceil(ONE_OF);
            sample::of(
                &format!("schwab, {}", title.to_lowercase()),
                "worlds",
                "schwab",
                few,
                worlds.iter().collect(),
            )
        }
    };
    let told = crate::side_by_side::side_by_side(worlds.len(), WORLDS_PER_CPU, |index| {
        let begun = Instant::now();
        let failed = catch_unwind(AssertUnwindSafe(|| (worlds[index].plays)())).err();
        let words = failed.map(|failed| {
            let text = failed.downcast_ref::<String>().cloned();
            text.or_else(|| failed.downcast_ref::<&str>().map(|text| (*text).to_owned()))
                .unwrap_or_else(|| "a panic without words".into())
        });
        (words, begun.elapsed())
    });
    tell(&format!("\n{title}: {} worlds", worlds.len()));
    for (n, (world, (failed, took))) in worlds.iter().zip(&told).enumerate() {
        let verdict = if failed.is_none() { "clean" } else { "WRONG" };
        tell(&format!(" {:3}  {verdict}  {:5.1} s  {}", n + 1, took.as_secs_f64(), world.name));
    }
    let failures: Vec<String> = worlds
        .iter()
        .zip(&told)
        .filter_map(|(world, (failed, _))| failed.as_ref().map(|words| format!("`{}`: {words}", world.name)))
        .collect();
    assert!(failures.is_empty(), "{} of {} worlds\n{}", failures.len(), worlds.len(), failures.join("\n\n"));
    worlds.len() == all
}
