//! When the program's own market calendar ends, said in time.
//!
//! Where no session opens without the calendar's word, nothing is ordered after its last day, and only a newer version
//! reaches further. So it is said 60, 30, 14 and 7 days before and on each of the last days, and `/readyz` shows it all
//! that time; from the end on the session is disputed (`broker::hours`).
//!
//! Invariant: one sentence per stage in the life of a process.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::alerts::Alerts;
use crate::broker::Broker;
use crate::serve::health::ProcessFacts;
use crate::units::Millis;

/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 86_400_000;
/// Days before the end at which it is said.
const WARNINGS_DAYS: [i64; 7] = [60, 30, 14, 7, 3, 2, 1];

/// Publishes the calendar's end and says that it comes; never ends where the calendar counts.
pub(super) async fn watch(broker: Arc<dyn Broker>, process: watch::Sender<ProcessFacts>, alerts: Alerts) {
    let Some(end) = broker.calendar_ends() else { return };
    process.send_modify(|known| known.calendar_ends_at = Some(end));
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stages = 0;
    loop {
        looks.tick().await;
        if let Some(text) = news(&mut stages, end, Millis::now()) {
            log::warn!("ALERT {text}");
            alerts.raise(&text);
        }
    }
}

/// What is new at `now` of an end at `end`, where so many `stages` were said.
fn news(stages: &mut usize, end: Millis, now: Millis) -> Option<String> {
    let left = end.since(now);
    let passed = WARNINGS_DAYS.iter().filter(|days| left <= **days * DAY_MS).count();
    // After the end the session says it.
    if passed <= *stages || left <= 0 {
        return None;
    }
    *stages = passed;
    Some(format!(
        "the market calendar of this program ends in {} days, {end}; from then on nothing is ordered: install a newer version",
        left / DAY_MS
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_is_said_once() {
        let end = Millis(1_861_920_000_000);
        let mut stages = 0;
        let days = [200, 61, 60, 59, 31, 30, 13, 5, 3, 2, 1, 1, 0, -1, -400];
        let told: Vec<i64> = days
            .into_iter()
            .filter(|days| news(&mut stages, end, end.plus(-days * DAY_MS)).is_some())
            .collect();
        assert_eq!(told, [60, 30, 13, 5, 3, 2, 1]);
        let late = news(&mut 0, end, end.plus(-DAY_MS / 2)).unwrap();
        assert!(late.contains("in 0 days") && late.contains("newer version"), "{late}");
    }
}
