//! What happened in a trial, as lines for a person and as a figure for a comparison.
//!
//! Two runs of one seed must give the same figure: it takes in every event with its time, every write and every answer
//! of the broker's. The lines are kept only where somebody wants to read them.

use counterfill_core::units::Millis;

/// FNV-1a's offset and prime; the figure is a fingerprint, not a proof against an adversary.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The trace.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    keep: bool,
    hash: u64,
    begins_ms: i64,
    /// The lines, where they are kept.
    pub(crate) lines: Vec<String>,
}

impl Trace {
    pub(crate) const fn new(keep: bool, begins_ms: i64) -> Self {
        Self { keep, hash: OFFSET, begins_ms, lines: Vec::new() }
    }

    /// Takes in a figure.
    pub(crate) fn mix(&mut self, figure: u64) {
        for byte in figure.to_le_bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }

    /// Takes in a text.
    pub(crate) fn mix_text(&mut self, text: &str) {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }

    /// Something happened; the words are made only where they are kept.
    pub(crate) fn say(&mut self, now_ms: i64, what: u64, words: impl FnOnce() -> String) {
        self.mix(now_ms.unsigned_abs());
        self.mix(what);
        if self.keep {
            let since_ms = now_ms - self.begins_ms;
            let line =
                format!("{} +{}.{:03} {}", Millis(now_ms), since_ms / 1_000, since_ms % 1_000, words());
            self.lines.push(line);
        }
    }

    /// The figure so far.
    pub(crate) const fn figure(&self) -> u64 {
        self.hash
    }
}
