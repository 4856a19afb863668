//! What the doctor found, in a table for people.
//!
//! Invariant: every check has one row, and every row that is not `ok` has a line below it that says what to do.

use std::io::{self, Write};

use super::{Check, NAMES, Verdict};

/// Writes rows as they come and counts them.
#[derive(Debug, Default)]
pub struct Table {
    counts: [u32; 4],
}

const WORDS: [(Verdict, &str); 4] = [
    (Verdict::Ok, "ok"),
    (Verdict::Warning, "warning"),
    (Verdict::Failed, "failed"),
    (Verdict::NotDone, "not done"),
];

impl Table {
    /// One row.
    ///
    /// # Errors
    /// When `out` is closed.
    pub fn row(&mut self, check: &Check, out: &mut dyn Write) -> io::Result<()> {
        let names = NAMES.iter().map(|name| name.len()).max().unwrap_or(0);
        for (count, (verdict, word)) in self.counts.iter_mut().zip(WORDS) {
            if verdict == check.verdict {
                *count += 1;
                writeln!(out, "{:names$}  {word:8}  {}", check.name, check.found)?;
            }
        }
        if let Some(next) = &check.next {
            writeln!(out, "{:names$}  {:8}  → {next}", "", "")?;
        }
        out.flush()
    }

    /// The last line.
    ///
    /// # Errors
    /// When `out` is closed.
    pub fn end(&self, out: &mut dyn Write) -> io::Result<()> {
        let counted = self.counts.iter().zip(WORDS).filter(|(count, _)| **count > 0);
        let words: Vec<String> = counted.map(|(count, (_, word))| format!("{count} {word}")).collect();
        writeln!(out, "{}", words.join(", "))
    }
}
