//! A look at the bot's own health once a second: a chain that is away is told to a person in time, and that it is back;
//! and the heartbeat hears whether the bot is ready.
//!
//! What else makes the bot unready has told a person where it came about. It stops nothing.
//!
//! Invariant: one sentence when the chain has been away for [`AWAY_MAX`], and one when it is back.

use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::alerts::{Alerts, Heartbeat};
use crate::serve::Site;
use crate::serve::health::Health;

/// How often health is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Shorter gaps mend themselves, several times a day.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// The rows of health that say whether fills can be seen.
const OF_CHAIN: [&str; 4] = ["chain_connected", "chain_answers", "chain_moves", "chain_swept"];

/// Looks until it is dropped.
pub(super) async fn watch(site: Site, alerts: Alerts, mut heartbeat: Heartbeat) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut chain = Outage::default();
    let begun = Instant::now();
    loop {
        looks.tick().await;
        let health = site.health();
        let now = begun.elapsed();
        heartbeat.tell(health.ready, now);
        if let Some(text) = chain.news(&health, now) {
            log::warn!("ALERT {text}");
            alerts.raise(&text);
        }
    }
}

/// The chain, as far as a person was told of it.
#[derive(Debug, Default)]
struct Outage {
    since: Option<Duration>,
    told: bool,
}

impl Outage {
    fn news(&mut self, health: &Health, now: Duration) -> Option<String> {
        let failing = health.checks.iter().find(|check| !check.ok && OF_CHAIN.contains(&check.name.as_str()));
        let Some(check) = failing else {
            let since = self.since.take()?;
            let lasted = now.saturating_sub(since).as_secs();
            return std::mem::take(&mut self.told).then(|| format!("the chain is back, after {lasted} s"));
        };
        let lasted = now.saturating_sub(*self.since.get_or_insert(now));
        if self.told || lasted < AWAY_MAX {
            return None;
        }
        self.told = true;
        let quote = check.quote.as_ref().map(|quote| format!(" [{quote}]")).unwrap_or_default();
        Some(format!(
            "the chain is away for {} s, and no fill is seen meanwhile: {}: {}{quote}",
            lasted.as_secs(),
            check.name,
            check.detail
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::ChainFacts;
    use crate::serve::health::{Limits, ProcessFacts, health};
    use crate::units::Millis;

    const NOW: Millis = Millis(1_800_000_000_000);

    fn good() -> ChainFacts {
        ChainFacts {
            connected: true,
            head: Some(10),
            head_moved_at: Some(NOW),
            answered_at: Some(NOW),
            ..ChainFacts::default()
        }
    }

    /// What is told at these seconds, with the chain as it is then.
    fn told(
        outage: &mut Outage,
        chain: &ChainFacts,
        seconds: std::ops::RangeInclusive<u64>,
    ) -> Vec<(u64, String)> {
        let verdict = health(None, chain, &ProcessFacts::default(), NOW, &Limits::default());
        let news = |at| outage.news(&verdict, Duration::from_secs(at)).map(|text| (at, text));
        seconds.filter_map(news).collect()
    }

    #[test]
    fn a_chain_that_is_away_is_told_after_half_a_minute_and_when_it_is_back() {
        type Away = (&'static str, fn(&mut ChainFacts));
        let away: [Away; 4] = [
            ("chain_connected: ", |chain| chain.connected = false),
            ("chain_answers: ", |chain| chain.answered_at = Some(NOW.plus(-7_000))),
            ("chain_moves: ", |chain| chain.head_moved_at = Some(NOW.plus(-31_000))),
            ("chain_swept: ", |chain| chain.unswept_since = Some(NOW.plus(-11_000))),
        ];
        for (words, change) in away {
            let mut bad = ChainFacts { error: Some("quota".into()), ..good() };
            change(&mut bad);
            let mut outage = Outage::default();
            assert_eq!(told(&mut outage, &good(), 0..=9), []);
            let news = told(&mut outage, &bad, 10..=99);
            let [(40, text)] = &news[..] else { panic!("{words}: {news:?}") };
            assert!(text.contains(words), "{text}");
            let back = (100, "the chain is back, after 90 s".to_owned());
            assert_eq!(told(&mut outage, &good(), 100..=200), [back]);
        }
    }

    #[test]
    fn a_short_gap_is_told_by_nobody_and_a_second_outage_anew() {
        let bad = ChainFacts { connected: false, error: Some("1008 quota".into()), ..good() };
        let mut outage = Outage::default();
        assert_eq!(told(&mut outage, &bad, 0..=29), []);
        assert_eq!(told(&mut outage, &good(), 30..=30), []);
        assert_eq!(told(&mut outage, &bad, 31..=60), []);
        let news = told(&mut outage, &bad, 61..=61);
        assert!(news[0].1.ends_with("[1008 quota]"), "{news:?}");
        assert_eq!(told(&mut outage, &good(), 62..=62).len(), 1);
        assert_eq!(told(&mut outage, &bad, 63..=93).len(), 1);
    }
}
