//! The heartbeat: one address that is asked once a minute while the bot is ready, so that somebody else notices when
//! nobody here can speak any more: a machine without power, a process that hangs, a bot that is not ready.
//!
//! A thread of its own asks; whoever says that the bot is ready never waits for it. What it asks holds nothing of the bot.
//!
//! Invariant: no text that leaves this file holds the path of the address.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::broker::http::{Http, Orders};
use crate::config::WebhookUrl;
use crate::serve::metrics;

/// Between two heartbeats: the shortest that the services which wait for them are built for.
const PERIOD: Duration = Duration::from_secs(60);

/// What a heartbeat needs.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What is asked.
    pub url: WebhookUrl,
    /// Trusted certificates; the system's where none.
    pub cert_file: Option<PathBuf>,
}

/// The end that is told whether the bot is ready.
#[derive(Debug, Default)]
pub struct Heartbeat {
    beats: Option<SyncSender<()>>,
    last: Option<Duration>,
}

impl Heartbeat {
    /// Nobody is asked.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Starts the thread that asks.
    ///
    /// # Errors
    /// In words, when TLS is needed and there is no certificate to trust, or no thread can be had.
    pub fn start(watched: &Watched) -> Result<Self, String> {
        let beat = Beat::new(watched)?;
        // One: a heartbeat that finds the thread still asking says nothing more than that one does.
        let (beats, beaten) = sync_channel(1);
        thread::Builder::new()
            .name("heartbeat".into())
            .spawn(move || beat.run(&beaten))
            .map_err(|error| format!("no thread for heartbeats: {error}"))?;
        Ok(Self { beats: Some(beats), last: None })
    }

    /// Says whether the bot is ready, `now` after any fixed moment. At most one heartbeat a minute goes out, and none
    /// while it is not ready. Never waits.
    pub fn tell(&mut self, ready: bool, now: Duration) {
        let Some(beats) = &self.beats else { return };
        let due = self.last.is_none_or(|last| now.saturating_sub(last) >= PERIOD);
        if ready && due {
            self.last = Some(now);
            // Full where the last one is still under way; it stands for this one too.
            let _ = beats.try_send(());
        }
    }
}

/// The asking end.
struct Beat {
    http: Http,
    url: WebhookUrl,
}

impl Beat {
    fn new(watched: &Watched) -> Result<Self, String> {
        Ok(Self {
            http: Http::new(watched.url.base(), watched.cert_file.as_deref(), Orders::Alone)?,
            url: watched.url.clone(),
        })
    }

    fn run(self, beaten: &Receiver<()>) {
        let mut missed: u64 = 0;
        while beaten.recv().is_ok() {
            let asked = self.ask();
            metrics::record_heartbeat(asked.is_ok());
            match asked {
                Ok(()) if missed > 0 => {
                    log::info!("{} takes heartbeats again, after {missed} that it did not", self.url);
                    missed = 0;
                }
                Ok(()) => {}
                Err(why) => {
                    if missed == 0 {
                        log::warn!("a heartbeat is lost: {} does not take it: {why}", self.url);
                    }
                    missed += 1;
                }
            }
        }
    }

    /// Asks once, within the limits of [`Http`]: redirects are not followed, nothing is repeated.
    fn ask(&self) -> Result<(), String> {
        let answer = self.http.read(self.url.expose_path(), &[], &[]);
        let answer = answer.map_err(|trouble| self.url.without_key(trouble.into_words()))?;
        match (answer.status, self.url.without_key(answer.words())) {
            (200..=299, _) => Ok(()),
            (status, said) if said.is_empty() => Err(format!("HTTP {status}")),
            (status, said) => Err(format!("HTTP {status}: {said}")),
        }
    }
}

/// Asks once now and says what became of it: for a person who wants to see it arrive.
///
/// # Errors
/// In words, without the address's key: why it was not taken.
pub fn beat_now(url: &WebhookUrl, cert_file: Option<&Path>) -> Result<(), String> {
    Beat::new(&Watched { url: url.clone(), cert_file: cert_file.map(Path::to_owned) })?.ask()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_minute_goes_out_and_none_while_not_ready() {
        let (beats, beaten) = sync_channel(1);
        let mut heartbeat = Heartbeat { beats: Some(beats), last: None };
        let told = [
            (0, false, 0),
            (1, true, 1),
            (2, true, 0),
            (60, true, 0),
            (61, true, 1),
            (62, false, 0),
            (200, false, 0),
            (201, true, 1),
        ];
        for (at, ready, beat) in told {
            heartbeat.tell(ready, Duration::from_secs(at));
            assert_eq!(beaten.try_iter().count(), beat, "at {at} s");
        }
        // Nobody asks: nobody waits.
        for at in 5..10 {
            heartbeat.tell(true, Duration::from_secs(at * 100));
        }
        assert_eq!(beaten.try_iter().count(), 1);
    }
}
