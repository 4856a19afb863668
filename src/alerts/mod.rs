//! Alerts: what a person should know now, posted to one webhook; and the heartbeat, whose absence is one.
//!
//! Whoever raises one hands over a text and goes on; a thread of its own posts it. A receiver that is down, slow, says no
//! or never answers costs that thread time and nobody else anything: the line from fill to order never waits here.
//! `outbox` decides what is posted and when, without a clock; `post` does it. Delivery is at least once: where an
//! answer is lost, the same text comes again.
//!
//! Invariant: raising never blocks, whatever the receiver does; what is not posted is counted and logged.

mod heartbeat;
mod outbox;
mod post;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

pub use heartbeat::{Heartbeat, Watched, beat_now};
pub use outbox::Pace;
use outbox::{Outbox, Raised};
use post::{Outcome, Post};

use crate::config::WebhookUrl;
use crate::serve::metrics;

/// Texts that wait for the thread while it posts: far more than a bot raises in the half minute of one attempt.
const NOTES_MAX: usize = 256;
/// With nothing to do it looks again so often.
const IDLE: Duration = Duration::from_secs(3_600);

/// What an alert needs to be posted.
#[derive(Debug, Clone)]
pub struct Options {
    /// The receiver.
    pub url: WebhookUrl,
    /// Trusted certificates; the system's where none.
    pub cert_file: Option<PathBuf>,
    /// Who speaks: begins every text.
    pub label: String,
    /// Pauses and bounds.
    pub pace: Pace,
}

enum Note {
    Text(String),
    /// Posts what it has once more, then ends.
    Close(SyncSender<()>),
}

/// The raising end; clones raise to the same receiver. Without a receiver nothing is posted.
#[derive(Clone, Default)]
pub struct Alerts {
    notes: Option<SyncSender<Note>>,
    /// Raised and neither posted, repeated nor lost.
    waiting: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Alerts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.notes.is_some() { "Alerts" } else { "Alerts(none)" })
    }
}

impl Alerts {
    /// Nobody is told but the log.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Starts the thread that posts.
    ///
    /// # Errors
    /// In words, when TLS is needed and there is no certificate to trust, or no thread can be had.
    pub fn start(options: Options) -> Result<Self, String> {
        let post = Post::new(&options.url, options.cert_file.as_deref(), options.label)?;
        let (notes, noted) = sync_channel(NOTES_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let thread = Thread {
            post,
            outbox: Outbox::new(options.pace),
            begun: Instant::now(),
            waiting: Arc::clone(&waiting),
            silent_since: None,
        };
        thread::Builder::new()
            .name("alerts".into())
            .spawn(move || thread.run(&noted))
            .map_err(|error| format!("no thread for alerts: {error}"))?;
        Ok(Self { notes: Some(notes), waiting })
    }

    /// Hands a text over. Never waits.
    pub fn raise(&self, text: &str) {
        let Some(notes) = &self.notes else { return };
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = notes.try_send(Note::Text(text.to_owned())) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            metrics::record_alert(metrics::AlertOutcome::Lost);
            let why = match error {
                TrySendError::Full(_) => "more of them wait than can",
                TrySendError::Disconnected(_) => "their thread has ended, which is a bug in counterfill",
            };
            log::warn!("an alert is lost: {why}; it is in this log");
        }
    }

    /// Gives what is waiting one more chance, for `patience` at most; then says how many are left.
    pub fn close(&self, patience: Duration) {
        let Some(notes) = &self.notes else { return };
        if self.waiting.load(Ordering::SeqCst) > 0 {
            let (done, over) = sync_channel(1);
            let asked = notes.try_send(Note::Close(done)).is_ok();
            // An error is the end of the patience or of the thread; what is left says which alerts it was too late for.
            let _ = asked.then(|| over.recv_timeout(patience));
        }
        let left = self.waiting.load(Ordering::SeqCst);
        if left > 0 {
            log::warn!("{left} alert(s) could not be posted before the end; they are in this log");
        }
    }
}

/// The posting end.
struct Thread {
    post: Post,
    outbox: Outbox,
    begun: Instant,
    waiting: Arc<AtomicUsize>,
    /// Since when the receiver has taken nothing: it is told once.
    silent_since: Option<Duration>,
}

impl Thread {
    fn run(mut self, notes: &Receiver<Note>) {
        loop {
            // What was raised meanwhile comes first: a repetition of what waits costs nothing then. Not without end,
            // so that a flood does not keep the first of it from being posted.
            for _ in 0..NOTES_MAX {
                let Ok(note) = notes.try_recv() else { break };
                if self.heed(note) {
                    return;
                }
            }
            let now = self.begun.elapsed();
            let wait = self.outbox.next_at().map_or(IDLE, |at| at.saturating_sub(now).min(IDLE));
            if wait.is_zero() {
                self.post_one();
                continue;
            }
            let last = match notes.recv_timeout(wait) {
                Ok(note) => self.heed(note),
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => {
                    self.close();
                    true
                }
            };
            if last {
                return;
            }
        }
    }

    /// Whether it was the last one.
    fn heed(&mut self, note: Note) -> bool {
        match note {
            Note::Text(text) => {
                self.take(&text);
                false
            }
            Note::Close(done) => {
                self.close();
                // Whoever asked may have lost its patience.
                let _ = done.try_send(());
                true
            }
        }
    }

    fn take(&mut self, text: &str) {
        match self.outbox.raise(&post::plain(text), self.begun.elapsed()) {
            Raised::Queued => {}
            Raised::Repeated => {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                metrics::record_alert(metrics::AlertOutcome::Repeated);
            }
            Raised::Lost => {
                self.lose(1);
                log::warn!("an alert is lost: the receiver {} takes none and the queue is full", self.post);
            }
        }
    }

    fn post_one(&mut self) {
        let summaries = self.outbox.turn(self.begun.elapsed());
        self.waiting.fetch_add(summaries, Ordering::SeqCst);
        let Some(text) = self.outbox.due(self.begun.elapsed()).map(str::to_owned) else { return };
        let outcome = self.post.send(&text);
        let now = self.begun.elapsed();
        match outcome {
            Outcome::Taken => {
                self.outbox.taken(now);
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                metrics::record_alert(metrics::AlertOutcome::Sent);
                if let Some(since) = self.silent_since.take() {
                    log::info!("{} takes alerts again, after {} s", self.post, (now - since).as_secs());
                }
            }
            Outcome::Refused(why) => {
                self.outbox.drop_first(now);
                self.lose(1);
                log::warn!("an alert is lost: {} refuses it: {why}", self.post);
            }
            Outcome::Later(why, after) => {
                let lost = self.outbox.failed(now, after);
                if self.silent_since.is_none() {
                    self.silent_since = Some(now);
                    log::warn!(
                        "alerts wait: {} does not take them: {why}; tried again until it does",
                        self.post
                    );
                }
                if lost > 0 {
                    self.lose(lost);
                    log::warn!("{lost} alert(s) are lost: too old by now; {}: {why}", self.post);
                }
            }
        }
    }

    /// One attempt for each that waits, without the pauses; the first that fails ends it.
    fn close(&mut self) {
        while let Some(text) = self.outbox.first().map(str::to_owned) {
            match self.post.send(&text) {
                Outcome::Taken => {
                    self.outbox.taken(self.begun.elapsed());
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    metrics::record_alert(metrics::AlertOutcome::Sent);
                }
                Outcome::Refused(_) => {
                    self.outbox.drop_first(self.begun.elapsed());
                    metrics::record_alert(metrics::AlertOutcome::Lost);
                }
                Outcome::Later(..) => return,
            }
        }
    }

    fn lose(&self, count: usize) {
        self.waiting.fetch_sub(count, Ordering::SeqCst);
        for _ in 0..count {
            metrics::record_alert(metrics::AlertOutcome::Lost);
        }
    }
}

/// Posts one text now and says what became of it: for a person who wants to see it arrive.
///
/// # Errors
/// In words, without the address's key: why the receiver did not take it.
pub fn post_now(options: &Options, text: &str) -> Result<(), String> {
    let post = Post::new(&options.url, options.cert_file.as_deref(), options.label.clone())?;
    match post.send(&post::plain(text)) {
        Outcome::Taken => Ok(()),
        Outcome::Refused(why) | Outcome::Later(why, _) => Err(why),
    }
}
