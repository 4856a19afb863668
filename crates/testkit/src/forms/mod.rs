//! What must hold whatever bytes arrive: one function for each border of the program that strangers' bytes can reach.
//!
//! [`logs`]: what an order book emitted. [`frames`]: what a node sends over its socket. [`replies`]: what a broker
//! answers. [`settings`]: what an operator typed. [`ledger`]: what the disk gives back. Each takes any bytes, drives the
//! program's own code with them, and panics where a promise is broken. A coverage-guided fuzzer calls them
//! (`scripts/fuzz`, the targets under `fuzz/`), and so does every test run, with its committed corpus and with random
//! bytes from a fixed seed (`tests/it/fuzz_forms.rs`). Nothing of the bot itself calls them.
//!
//! They refuse to know what is usual. Invariant: each is a function of its bytes alone, so that an input that failed
//! once fails again.

mod bytes;
pub mod frames;
pub mod ledger;
pub mod logs;
pub mod replies;
pub mod settings;

use bytes::Bytes;

/// One border.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Its name: of the fuzz target and of the folder of its corpus.
    pub name: &'static str,
    /// Panics where a promise is broken.
    pub check: fn(&[u8]),
}

/// Every border.
pub const FORMS: [Form; 5] = [
    Form { name: "logs", check: logs::check },
    Form { name: "frames", check: frames::check },
    Form { name: "replies", check: replies::check },
    Form { name: "settings", check: settings::check },
    Form { name: "ledger", check: ledger::check },
];
