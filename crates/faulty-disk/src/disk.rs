//! The handle: what a test or a simulator does with a disk.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use crate::faults::{Counts, Rule};
use crate::image::{Crash, Snapshot};
use crate::vfs::Shared;

/// A disk in memory. It is registered with SQLite for as long as it lives; connections may outlive it, and hold its
/// content until they are closed.
///
/// Every method takes `&self`, from any thread. A name is any text without a NUL; there are no directories, and
/// `/data/bot.db` is a name like any other.
pub struct Disk {
    shared: Arc<Shared>,
}

impl Disk {
    /// An empty disk whose dice start at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { shared: Shared::register(seed) }
    }

    /// A disk with what another one had; its faults and counters are its own.
    #[must_use]
    pub fn from_snapshot(snapshot: &Snapshot, seed: u64) -> Self {
        let disk = Self::new(seed);
        disk.restore(snapshot);
        disk
    }

    /// Its name among SQLite's virtual file systems; no other living disk has it.
    #[must_use]
    pub fn vfs(&self) -> &str {
        self.shared.name()
    }

    /// Opens a database on it.
    ///
    /// # Errors
    /// As SQLite says, `SQLITE_CANTOPEN` where `name` is not there and `flags` do not say to make it.
    pub fn connect(&self, name: &str, flags: OpenFlags) -> rusqlite::Result<Connection> {
        Connection::open_with_flags_and_vfs(Path::new(name), flags, self.vfs())
    }

    // ---- faults

    /// Adds a fault; of several that match an operation the first added strikes, the others do not count it.
    pub fn inject(&self, rule: Rule) {
        self.shared.state().rules.push(rule);
    }

    /// Forgets all rules, used up or not. Size and power are as they were.
    pub fn clear_faults(&self) {
        self.shared.state().rules.clear();
    }

    /// Lets somebody look who is no part of the experiment: meanwhile no rule strikes, and none is used up.
    pub fn aside<T>(&self, look: impl FnOnce() -> T) -> T {
        let rules = std::mem::take(&mut self.shared.state().rules);
        let seen = look();
        self.shared.state().rules = rules;
        seen
    }

    /// How many operations failed by a rule, so that a test can tell that its fault has struck.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.shared.state().struck
    }

    /// How many bytes all files together may have; a write that does not fit is done as far as it does, and fails with
    /// `SQLITE_FULL`. `None` (as at the start) is without end.
    pub fn set_bytes_max(&self, bytes: Option<u64>) {
        self.shared.state().bytes_max = bytes;
    }

    /// A disk that lies: syncs succeed and make nothing durable. For the proof that a test would see it.
    pub fn ignore_syncs(&self, ignore: bool) {
        self.shared.state().ignore_syncs = ignore;
    }

    /// After `changes` more changes the next one is heard but not answered: a write is seen, whether it survives is for
    /// the dice of [`Disk::crash`]; a sync has made nothing durable. From then on every operation fails with an IO
    /// error until `crash` or `restore`.
    pub fn power_off_after(&self, changes: u64) {
        self.shared.state().changes_left = Some(changes);
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.shared.state().off
    }

    // ---- crash, snapshot

    /// The machine stops, and runs again with what is left. Every connection from before is dead (its operations fail,
    /// it can only be dropped), its locks are gone, the power is on. Rules, size and counters stay.
    pub fn crash(&self, how: Crash) {
        self.shared.state().crash(how);
    }

    /// The whole disk as it is now, with what is durable and what is not.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.shared.state().image.clone())
    }

    /// Puts back a whole disk, this one's or another's. For the rest as [`Disk::crash`].
    pub fn restore(&self, snapshot: &Snapshot) {
        self.shared.state().restore(snapshot.0.clone());
    }

    /// Lets the dice start again, at `seed`: for several outcomes of the same crash.
    pub fn reseed(&self, seed: u64) {
        self.shared.state().reseed(seed);
    }

    // ---- files, past SQLite; as `std::fs`, with its errors, and with the disk's faults (role `Owner`)

    /// Every name with its length in bytes, ascending.
    #[must_use]
    pub fn files(&self) -> Vec<(String, u64)> {
        self.shared.state().files()
    }

    /// Whether the name is there. Never fails and is not counted.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        self.shared.state().image.find(name).is_some()
    }

    /// A file's bytes as they are seen; `None` where it is not there. Never fails and is not counted.
    #[must_use]
    pub fn export(&self, name: &str) -> Option<Vec<u8>> {
        self.shared.state().export(name)
    }

    /// Makes or replaces a file, durably, its name too. Never fails and is not counted: it is for setting a stage.
    pub fn import(&self, name: &str, bytes: &[u8]) {
        self.shared.state().import(name, bytes);
    }

    /// Makes an empty file.
    ///
    /// # Errors
    /// `AlreadyExists`, or a fault.
    pub fn create(&self, name: &str) -> io::Result<()> {
        self.shared.state().create(name)
    }

    /// Makes a file's bytes durable.
    ///
    /// # Errors
    /// `NotFound`, or a fault.
    pub fn sync(&self, name: &str) -> io::Result<()> {
        self.shared.state().sync_named(name)
    }

    /// Gives a file another name; a file of that name is replaced.
    ///
    /// # Errors
    /// `NotFound`, or a fault.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.shared.state().rename(from, to)
    }

    /// Removes a name.
    ///
    /// # Errors
    /// `NotFound`, or a fault.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.shared.state().remove(name)
    }

    /// Makes all names durable as they are.
    ///
    /// # Errors
    /// A fault.
    pub fn sync_directory(&self) -> io::Result<()> {
        self.shared.state().sync_directory()
    }

    // ---- counters, time

    /// How often what was asked for, since the disk was made.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.state().counts
    }

    /// How many changes were done since the disk was made: what [`Disk::power_off_after`] counts.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.shared.state().changes
    }

    /// How many changes a power cut could take now.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.shared.state().image.unsynced()
    }

    /// What SQLite takes for the time of day: milliseconds since 1970. It moves only when SQLite sleeps.
    pub fn set_now_ms(&self, now: i64) {
        self.shared.state().now_us = now.saturating_mul(1000);
    }

    /// How long SQLite has slept (waiting for a lock), in microseconds; it took no time.
    #[must_use]
    pub fn slept_us(&self) -> u64 {
        self.shared.state().slept_us
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.unregister();
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("vfs", &self.vfs()).field("files", &self.files()).finish_non_exhaustive()
    }
}
