//! How fast the program is, each figure beside the least that could do it, measured in the same run.
//!
//! `scripts/bench` writes `benches/RESULTS.md`; `scripts/bench --check` measures again and says what got worse by more than
//! 15 % against it. The program is started as a process, as it is shipped; the node and the broker are of this crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod bot;
mod measure;
mod rows;

use std::fs;
use std::process::{Command, ExitCode};

use measure::Row;
use rows::{ALL, Size};

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md");
/// A ratio may be so much larger than the one that is written down, in percent.
const WORSE_PERCENT_MAX: u64 = 15;
const HEAD: &str = "| what | min | p50 | p99 | max | floor, p50 | ratio |\n|---|---|---|---|---|---|---|\n";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    let names: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let size = if has("--quick") { Size { runs: 1, divisor: 100 } } else { Size { runs: 5, divisor: 1 } };
    let mut table = Vec::new();
    for (name, measure) in ALL {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            for row in measure(size) {
                println!("{}", row.line());
                table.push(row);
            }
        }
    }
    if has("--check") {
        return check(&table);
    }
    if names.is_empty() && !has("--quick") {
        fs::write(RESULTS, page(&table)).unwrap();
    }
    ExitCode::SUCCESS
}

/// What is worse than what is written down; a row that is not there is new.
fn check(table: &[Row]) -> ExitCode {
    let written = fs::read_to_string(RESULTS).unwrap_or_default();
    let mut worse = false;
    for row in table {
        let before = written.lines().find(|line| line.starts_with(&format!("| {} |", row.what)));
        let ratio =
            before.and_then(|line| line.trim_end_matches([' ', '|']).rsplit(' ').next()?.parse().ok());
        let Some(before) = ratio.map(|Hundredths(ratio)| ratio) else { continue };
        if row.ratio_hundredths() * 100 > before * (100 + WORSE_PERCENT_MAX) {
            println!("worse: {}: {} hundredths, was {before}", row.what, row.ratio_hundredths());
            worse = true;
        }
    }
    if worse { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

struct Hundredths(u64);

impl std::str::FromStr for Hundredths {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.replace('.', "").parse().map(Self)
    }
}

fn page(table: &[Row]) -> String {
    let told = |program: &str, args: &[&str]| {
        let out = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
    };
    let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        model.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1)).unwrap_or("?");
    let lines: Vec<String> = table.iter().map(Row::line).collect();
    format!(
        "# Measured\n\n`scripts/bench` on {} cores of {}, commit {}, profile `{}`. Each row's floor is the least that could do \
         the same, measured in the same run; the ratio is between the two medians.\n\n{HEAD}{}\n",
        std::thread::available_parallelism().map_or(0, usize::from),
        model.trim(),
        told("git", &["describe", "--always", "--dirty"]),
        std::env::var("BENCH_PROFILE").unwrap_or_else(|_| "proof".into()),
        lines.join("\n"),
    )
}
