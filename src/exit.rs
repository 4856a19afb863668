//! How the program ends: one number for each thing a supervisor can do differently.

/// Done.
pub const DONE: u8 = 0;
/// A verdict that is not clean (`demo`, `sim`, `doctor`, `health`, `auth`).
pub const NOT_CLEAN: u8 = 1;
/// The command line was not understood.
pub const USAGE: u8 = 64;
/// A reorg went deeper than the window of blocks that is kept.
pub const DEEP_REORG: u8 = 65;
/// Something that a one-shot verb needs is away.
pub const AWAY: u8 = 69;
/// An assertion failed.
pub const BUG: u8 = 70;
/// Try later: another instance holds the lock.
pub const TRY_LATER: u8 = 75;
/// The configuration, the ledger or the data directory must be mended first; a restart alone changes nothing.
pub const CONFIGURATION: u8 = 78;

/// Every code with its meaning, for `bot --help` and the documentation.
pub const TABLE: [(u8, &str); 8] = [
    (DONE, "done"),
    (NOT_CLEAN, "a verdict that is not clean (demo, sim, doctor, health, auth)"),
    (USAGE, "the command line was not understood"),
    (DEEP_REORG, "a reorg beyond the window of blocks that is kept"),
    (AWAY, "something needed is away (one-shot verbs only)"),
    (BUG, "a bug: an assertion failed"),
    (TRY_LATER, "try later: another instance holds the lock"),
    (CONFIGURATION, "the configuration, the ledger or the data directory must be mended first"),
];
