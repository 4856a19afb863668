//! What must not grow: memory, descriptors, threads, the write-ahead log, and the time of a start; from `/proc` and the
//! file system, not from what the bot says.

use std::fs;
use std::time::Duration;

use counterfill::sim::SimChain;

use super::START_S_MAX;
use super::broker::Broker;
use super::traffic::Traffic;
use crate::bench::Bench;

/// Resident memory, now and at its peak, of a bot with 64 blocks of 50 fills in its window.
const MEMORY_KIB_MAX: u64 = 160 * 1024;
/// Ledger, its log and shared memory, the lock, one node, one broker, the listener, the control socket, the runtime's own.
const DESCRIPTORS_MAX: u64 = 48;
/// Main, line, orders, reads, and what the runtime starts for files and names.
const THREADS_MAX: u64 = 16;
/// SQLite writes its log back at 4 MiB, when no reader is in the way.
const LOG_KIB_MAX: u64 = 16 * 1024;

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    memory_kib: u64,
    peak_kib: u64,
    descriptors: u64,
    threads: u64,
    log_kib: u64,
    ledger_kib: u64,
}

#[derive(Debug, Default)]
pub struct Measures {
    most: Sample,
    starts: Vec<Duration>,
    samples: usize,
}

/// A number of `/proc/PID/status`.
fn status(pid: u32, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

impl Measures {
    pub const HEAD: &str =
        "     s   fills  orders   lag  memory KiB  peak KiB  descriptors  threads  log KiB  ledger KiB";

    pub fn started(&mut self, took: Duration) {
        self.starts.push(took);
    }

    /// A sample, as a line of the table.
    pub fn take(&mut self, bench: &Bench, traffic: &Traffic, broker: &Broker, now: Duration) -> String {
        let pid = bench.pid();
        let kib = |name: &str| fs::metadata(bench.data().join(name)).map_or(0, |file| file.len() / 1024);
        let sample = Sample {
            memory_kib: status(pid, "VmRSS:"),
            peak_kib: status(pid, "VmHWM:"),
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64,
            threads: status(pid, "Threads:"),
            log_kib: kib("bot.db-wal"),
            ledger_kib: kib("bot.db"),
        };
        let most = &mut self.most;
        most.memory_kib = most.memory_kib.max(sample.memory_kib);
        most.peak_kib = most.peak_kib.max(sample.peak_kib);
        most.descriptors = most.descriptors.max(sample.descriptors);
        most.threads = most.threads.max(sample.threads);
        most.log_kib = most.log_kib.max(sample.log_kib);
        most.ledger_kib = most.ledger_kib.max(sample.ledger_kib);
        self.samples += 1;
        let tip = bench.node.chain(SimChain::tip).number;
        let cursor = bench.readyz().and_then(|(_, body)| body["engine"]["cursor"]["number"].as_u64());
        let lag = cursor.map_or_else(|| "-".to_owned(), |cursor| tip.saturating_sub(cursor).to_string());
        format!(
            "{:>6} {:>7} {:>7} {lag:>5} {:>11} {:>9} {:>12} {:>8} {:>8} {:>11}",
            now.as_secs(),
            traffic.fills,
            broker.orders(),
            sample.memory_kib,
            sample.peak_kib,
            sample.descriptors,
            sample.threads,
            sample.log_kib,
            sample.ledger_kib
        )
    }

    pub fn summary(&self) -> String {
        let starts: Vec<String> = self.starts.iter().map(|took| took.as_millis().to_string()).collect();
        let Sample { memory_kib, peak_kib, descriptors, threads, log_kib, ledger_kib } = self.most;
        format!(
            "most of {} samples (bound): memory {memory_kib} KiB, at its peak {peak_kib} KiB \
             ({MEMORY_KIB_MAX}), descriptors {descriptors} ({DESCRIPTORS_MAX}), threads {threads} ({THREADS_MAX}), \
             log {log_kib} KiB ({LOG_KIB_MAX}); ledger {ledger_kib} KiB\n\
             starts, to the first decision, in ms ({START_S_MAX} s): {}",
            self.samples,
            starts.join(", ")
        )
    }

    pub fn must_be_bounded(&self) {
        let most = &self.most;
        assert!(self.samples > 0 && !self.starts.is_empty());
        assert!(most.memory_kib.max(most.peak_kib) <= MEMORY_KIB_MAX, "memory: {most:?}");
        assert!(most.descriptors <= DESCRIPTORS_MAX, "descriptors: {most:?}");
        assert!(most.threads <= THREADS_MAX, "threads: {most:?}");
        assert!(most.log_kib <= LOG_KIB_MAX, "the ledger's log: {most:?}");
        assert!(self.starts.iter().all(|took| took.as_secs() < START_S_MAX), "starts: {:?}", self.starts);
    }
}
