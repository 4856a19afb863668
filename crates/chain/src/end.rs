//! How a connection to the node ends, and how long it is until the next one.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::error::{Lost, RpcError};
use super::refusal::LIMITED_PAUSE_S;
use super::{ChainFacts, ChainStop};

/// First pause before connecting again; doubles.
pub(super) const PAUSE_MS_MIN: Duration = Duration::from_millis(250);
/// Longest such pause.
const PAUSE_S_MAX: Duration = Duration::from_secs(15);

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum End {
    /// The node is away: connect again.
    Lost(Lost),
    /// The process must end.
    Stop(ChainStop),
}

impl From<RpcError> for End {
    fn from(error: RpcError) -> Self {
        Self::Lost(match error {
            RpcError::Gone(lost) => lost,
            // The next connection would only be refused the same.
            RpcError::Limited { pause, .. } => {
                Lost { why: error.to_string(), pause: pause.or(Some(LIMITED_PAUSE_S)) }
            }
            other => other.to_string().into(),
        })
    }
}

/// Publishes a change of the facts, if it is one.
pub(super) fn note(facts: &watch::Sender<ChainFacts>, change: impl FnOnce(&mut ChainFacts)) {
    facts.send_if_modified(|facts| {
        let before = facts.clone();
        change(facts);
        *facts != before
    });
}

/// Says why, waits at least as long as the node asks for, and makes the next pause longer.
pub(super) async fn wait(facts: &watch::Sender<ChainFacts>, lost: Lost, pause: &mut Duration) {
    let Lost { why, pause: told } = lost;
    let now = next_pause(*pause, told);
    log::warn!("the chain is away: {why}; connecting again in {} ms", now.as_millis());
    note(facts, |facts| facts.error = Some(why));
    sleep(now).await;
    *pause = (*pause * 2).min(PAUSE_S_MAX);
}

/// How long to wait before connecting again: never less than the node asked for.
fn next_pause(ours: Duration, told: Option<Duration>) -> Duration {
    let ours = jittered(ours);
    told.map_or(ours, |told| (told + ours / 4).max(ours))
}

/// Half to one and a half of `pause`, so that many bots do not come back at once.
pub(super) fn jittered(pause: Duration) -> Duration {
    let spread = RandomState::new().build_hasher().finish() % 1001;
    let spread = u32::try_from(spread).unwrap_or(500);
    pause / 2 + pause * spread / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_has_enough_of_us_is_left_alone_for_as_long_as_it_says() {
        let (ours, told) = (Duration::from_millis(250), Duration::from_secs(30));
        assert!(
            (0..50).map(|_| next_pause(ours, Some(told))).all(|pause| pause >= told && pause < told + ours)
        );
        assert!(
            (0..50)
                .map(|_| next_pause(PAUSE_S_MAX, Some(Duration::ZERO)))
                .all(|pause| pause >= PAUSE_S_MAX / 2)
        );
        assert!((0..50).map(|_| next_pause(ours, None)).all(|pause| pause <= ours * 2));
        let End::Lost(lost) = End::from(RpcError::Limited {
            method: "eth_chainId",
            code: 429,
            message: "no".into(),
            pause: None,
        }) else {
            panic!("lost")
        };
        assert_eq!(lost.pause, Some(LIMITED_PAUSE_S));
    }

    #[test]
    fn jitter_stays_between_half_and_one_and_a_half() {
        let pause = Duration::from_millis(1000);
        let many: Vec<Duration> = (0..200).map(|_| jittered(pause)).collect();
        assert!(many.iter().all(|p| *p >= pause / 2 && *p <= pause * 3 / 2));
        assert!(many.iter().any(|p| *p != many[0]));
    }
}
