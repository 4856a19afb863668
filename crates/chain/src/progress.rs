//! How far a long backfill is: a bar on a terminal, a line every 10 s elsewhere, a fact for health.
//!
//! It refuses to know what is read. Invariant: nothing is shown of fewer than 257 blocks.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Backfill;

/// Fewer blocks than this behind are no backfill.
const BACKFILL_BLOCKS_MIN: u64 = 257;
/// Pause between two lines where there is no terminal.
const LINE_S: Duration = Duration::from_secs(10);

/// Progress of the backfill under way, if one is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    first: u64,
    end: u64,
    began: Instant,
    said: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// The cursor is at `cursor` and the node's head at `head`: begins, goes on or ends.
    pub(super) fn at(&mut self, cursor: u64, head: u64) -> Option<Backfill> {
        if cursor >= head {
            self.end(cursor);
            return None;
        }
        if self.run.is_none() && head - cursor < BACKFILL_BLOCKS_MIN {
            return None;
        }
        let now = Instant::now();
        let run = self.run.get_or_insert_with(|| Run::begin(cursor, head, now));
        run.end = head;
        let backfill = run.backfill(cursor, now);
        run.say(cursor, &backfill, now);
        Some(backfill)
    }

    fn end(&mut self, cursor: u64) {
        let Some(run) = self.run.take() else { return };
        if let Some(bar) = run.bar {
            bar.finish_and_clear();
        }
        log::info!("backfill done: {} blocks up to block {cursor}", cursor.saturating_sub(run.first));
    }
}

impl Run {
    fn begin(first: u64, end: u64, now: Instant) -> Self {
        log::info!("{} blocks behind: reading blocks {} to {end}", end - first, first + 1);
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(end - first);
            // A template that can not be read leaves the default one.
            if let Ok(style) =
                ProgressStyle::with_template("backfill {wide_bar} {pos}/{len} blocks, {eta} left")
            {
                bar.set_style(style);
            }
            bar
        });
        Self { first, end, began: now, said: now, bar }
    }

    fn backfill(&self, cursor: u64, now: Instant) -> Backfill {
        let done_blocks = cursor.saturating_sub(self.first);
        let total_blocks = self.end.saturating_sub(self.first);
        let elapsed_ms = u64::try_from(now.duration_since(self.began).as_millis()).unwrap_or(u64::MAX).max(1);
        let rate_blocks_per_s = done_blocks.saturating_mul(1000) / elapsed_ms;
        let eta_s = total_blocks.saturating_sub(done_blocks) / rate_blocks_per_s.max(1);
        Backfill { done_blocks, total_blocks, rate_blocks_per_s, eta_s }
    }

    fn say(&mut self, cursor: u64, backfill: &Backfill, now: Instant) {
        if let Some(bar) = &self.bar {
            bar.set_length(backfill.total_blocks);
            bar.set_position(backfill.done_blocks);
        } else if now.duration_since(self.said) >= LINE_S {
            self.said = now;
            log::info!(
                "backfill: block {cursor}, {} of {} blocks, {} blocks/s, {} s left",
                backfill.done_blocks,
                backfill.total_blocks,
                backfill.rate_blocks_per_s,
                backfill.eta_s
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backfill_begins_above_256_blocks_and_ends_at_the_head() {
        let mut progress = Progress::default();
        assert_eq!(progress.at(0, 256), None);
        assert_eq!(progress.at(0, 257).map(|b| (b.done_blocks, b.total_blocks)), Some((0, 257)));
        assert_eq!(progress.at(200, 300).map(|b| (b.done_blocks, b.total_blocks)), Some((200, 300)));
        assert_eq!(progress.at(300, 300), None);
        assert_eq!(progress.at(300, 310), None);
        // A fork may set the cursor below where the backfill began.
        assert!(progress.at(300, 600).is_some());
        assert_eq!(progress.at(290, 600).map(|b| b.done_blocks), Some(0));
    }
}
