//! `bot sim`: thousands of trials in which everything breaks, and whether money was lost or moved twice in any.
//!
//! The trials are `counterfill_trials`'; here they are counted, shown while they run, and told when one fails: the shortest
//! schedule that fails the same way, and the one command that plays it again.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use counterfill_trials::{self as trials, Tally, Told};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Ended;
use crate::exit;

use crate::units::Shares;
use crate::verbs::terms::SimTerms;

/// Seeds tried where nobody says how many.
const SEEDS: u64 = 2_000;
/// Failing seeds told in full; of the others only the first finding.
const TOLD_MAX: usize = 1;
/// Failing seeds named.
const NAMED_MAX: usize = 20;

/// The last line. The first seven names are those of the demo's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Verdict {
    fills: u64,
    hedges: u64,
    reorgs: u64,
    reconnects: u64,
    lost: u64,
    doubled: u64,
    /// Per ticker, the most that was left at rest.
    exposure: BTreeMap<&'static str, Shares>,
    findings: u64,
    seeds: u64,
    first_seed: u64,
    failed_seeds: Vec<u64>,
    lives: u64,
    simulated_s: i64,
    elapsed_ms: u128,
    seeds_per_s: u128,
    simulated_s_per_s: i128,
}

/// Runs the trials, or tells one.
pub(super) fn try_everything(terms: &SimTerms, out: &mut dyn Write) -> Ended {
    if let Some(seed) = terms.seed {
        return tell_one(seed, terms, out);
    }
    let jobs = terms.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into));
    let seeds = terms.seeds.unwrap_or(SEEDS);
    let bar = bar(seeds);
    let mut elapsed = Duration::ZERO;
    let tally = trials::run(terms.first, seeds, jobs, |tally, so_far| {
        elapsed = so_far;
        bar.set_position(tally.seeds);
        terms.length.is_none_or(|length| Duration::from_millis(tally.lived_ms.unsigned_abs()) < length)
    });
    bar.finish_and_clear();
    let verdict = verdict(&tally, terms.first, elapsed);
    if terms.json {
        serde_json::to_writer(&mut *out, &verdict).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        report(&tally, &verdict, terms.table, out)?;
    }
    Ok(if tally.is_clean() { exit::DONE } else { exit::NOT_CLEAN })
}

fn bar(seeds: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(seeds);
    // A template that can not be read leaves the default one.
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn verdict(tally: &Tally, first_seed: u64, elapsed: Duration) -> Verdict {
    let elapsed_ms = elapsed.as_millis().max(1);
    let lived_ms = i128::from(tally.lived_ms);
    Verdict {
        fills: tally.fills,
        hedges: tally.hedges,
        reorgs: tally.reorgs,
        reconnects: tally.reconnects,
        lost: tally.lost,
        doubled: tally.doubled,
        exposure: tally.exposure.clone(),
        findings: tally.findings,
        seeds: tally.seeds,
        first_seed,
        failed_seeds: tally.failed.keys().copied().take(NAMED_MAX).collect(),
        lives: tally.lives,
        simulated_s: tally.lived_ms / 1_000,
        elapsed_ms,
        seeds_per_s: u128::from(tally.seeds) * 1_000 / elapsed_ms,
        simulated_s_per_s: lived_ms / i128::try_from(elapsed_ms).unwrap_or(i128::MAX),
    }
}

fn report(tally: &Tally, verdict: &Verdict, table: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if table {
        for (fault, times) in tally.struck.table() {
            writeln!(out, "{times:>9}  {fault}")?;
        }
        writeln!(out)?;
    }
    for (seed, finding) in tally.failed.iter().take(NAMED_MAX) {
        writeln!(out, "seed {seed}: {}: {}", finding.fault, finding.what)?;
    }
    for seed in tally.failed.keys().take(TOLD_MAX) {
        writeln!(out, "\nseed {seed}, made as short as it goes:")?;
        explain(*seed, &trials::shortest(*seed), out)?;
    }
    writeln!(
        out,
        "{} seeds, {} lives, {} s simulated in {}.{:01} s ({} seeds/s, {} simulated seconds a second)",
        verdict.seeds,
        verdict.lives,
        verdict.simulated_s,
        verdict.elapsed_ms / 1_000,
        verdict.elapsed_ms % 1_000 / 100,
        verdict.seeds_per_s,
        verdict.simulated_s_per_s
    )?;
    writeln!(
        out,
        "{} fills, {} hedges, {} reorgs, {} reconnects: lost {}, doubled {}, other findings {}",
        verdict.fills,
        verdict.hedges,
        verdict.reorgs,
        verdict.reconnects,
        verdict.lost,
        verdict.doubled,
        verdict.findings.saturating_sub(verdict.lost + verdict.doubled)
    )
}

fn tell_one(seed: u64, terms: &SimTerms, out: &mut dyn Write) -> Ended {
    let told = trials::tell(seed, terms.only.clone());
    if terms.trace {
        for line in &told.lines {
            writeln!(out, "{line}")?;
        }
    }
    let clean = told.findings.is_empty();
    if clean {
        writeln!(out, "seed {seed}: nothing lost, nothing doubled; trace {:016x}", told.figure)?;
        return Ok(exit::DONE);
    }
    let told = if terms.only.is_none() { trials::shortest(seed) } else { told };
    explain(seed, &told, out)?;
    Ok(exit::NOT_CLEAN)
}

fn explain(seed: u64, told: &Told, out: &mut dyn Write) -> std::io::Result<()> {
    for step in &told.steps {
        writeln!(out, "  {step}")?;
    }
    for finding in &told.findings {
        writeln!(out, "  → {}: {}", finding.fault, finding.what)?;
    }
    let places: Vec<String> = told.places.iter().map(ToString::to_string).collect();
    writeln!(out, "bot sim --seed {seed} --only {} --trace\n", places.join(","))
}
