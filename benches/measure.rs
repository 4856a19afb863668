//! What was measured: samples, and a row of the table with its floor beside it.

use std::time::{Duration, Instant};

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Microseconds; less is better.
    Micros,
    /// KiB of memory; less is better.
    Kib,
    /// So many a second; less is better.
    PerSecond,
}

/// Figures, ascending.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<u64>);

impl Samples {
    /// Of these durations.
    pub(crate) fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut micros: Vec<u64> =
            durations.into_iter().map(|d| u64::try_from(d.as_micros()).unwrap()).collect();
        micros.sort_unstable();
        Self(micros)
    }

    /// Of figures that are no times.
    pub(crate) fn of_counts(counts: impl IntoIterator<Item = u64>) -> Self {
        let mut counts: Vec<u64> = counts.into_iter().collect();
        counts.sort_unstable();
        Self(counts)
    }

    /// Of `times` runs of `run`, which says how long it took.
    pub(crate) fn repeat(times: usize, mut run: impl FnMut() -> Duration) -> Self {
        Self::of((0..times).map(|_| run()).collect::<Vec<_>>())
    }

    /// The sample below which so many thousandths lie.
    fn at(&self, thousandths: usize) -> u64 {
        self.0[((self.0.len() - 1) * thousandths).div_ceil(1_000)]
    }
}

/// How long a call took.
pub(crate) fn timed<T>(call: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let value = call();
    (begun.elapsed(), value)
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: String,
    /// What its figures count.
    pub(crate) unit: Unit,
    /// The program.
    pub(crate) ours: Samples,
    /// What the same run took for the least that could do it, and what that is.
    pub(crate) floor: (Samples, &'static str),
}

impl Row {
    /// The median over the floor's median, in hundredths.
    pub(crate) fn ratio_hundredths(&self) -> u64 {
        self.ours.at(500) * 100 / self.floor.0.at(500).max(1)
    }

    /// As a line of Markdown.
    pub(crate) fn line(&self) -> String {
        let cells: Vec<String> =
            [0, 500, 990, 1_000].map(|thousandths| shown(self.ours.at(thousandths), self.unit)).into();
        let ratio = self.ratio_hundredths();
        format!(
            "| {} | {} | {} {} | {}.{:02} |",
            self.what,
            cells.join(" | "),
            self.floor.1,
            shown(self.floor.0.at(500), self.unit),
            ratio / 100,
            ratio % 100
        )
    }
}

/// With as many places as say something.
fn shown(figure: u64, unit: Unit) -> String {
    match unit {
        Unit::Micros if figure >= 100_000 => format!("{} ms", figure / 1_000),
        Unit::Micros => format!("{}.{:02} ms", figure / 1_000, figure % 1_000 / 10),
        Unit::Kib => format!("{}.{} MiB", figure / 1_024, figure % 1_024 * 10 / 1_024),
        Unit::PerSecond => format!("{figure}/s"),
    }
}
