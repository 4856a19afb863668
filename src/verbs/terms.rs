//! What a verb is asked to do: one [`Verb`], with its terms, checked.
//!
//! The command line makes it, and the verbs take it; it knows neither clap nor what a verb does.

use std::path::PathBuf;
use std::time::Duration;

use alloy::primitives::B256;

use crate::hedges::{Choice, Decision, HaltKind};
use crate::units::{IntentId, Symbol};

/// What the program is asked to do, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Watch and hedge until stopped.
    Run,
    /// Show the bot at work on a simulated chain.
    Demo(DemoTerms),
    /// Let everything break, thousands of times, and look for lost or doubled money.
    Sim(SimTerms),
    /// Ask a running bot whether it is ready.
    Health {
        /// One JSON object.
        json: bool,
    },
    /// Where the ledger stands.
    Status {
        /// One JSON object.
        json: bool,
    },
    /// The fills in the ledger.
    Fills(Reading),
    /// Exposure per ticker.
    Positions(Reading),
    /// What each token is worth in shares.
    Tokens {
        /// One JSON object a line.
        json: bool,
    },
    /// Intents and what became of them.
    Hedges(Reading),
    /// Everything that one transaction led to.
    Trace {
        /// The transaction.
        tx: B256,
        /// One JSON object a line.
        json: bool,
    },
    /// Have a running bot read one transaction again.
    Replay {
        /// The transaction.
        tx: B256,
    },
    /// Stop orders.
    Halt(Halting),
    /// Lift one halt, with the answer to what it asks.
    Resume(Halting, HaltKind, Option<Choice>),
    /// Settle what only a person can settle, or list it.
    Reconcile(Reconciling),
    /// Try everything that a bot needs, once, and place no order.
    Doctor {
        /// One JSON object a line.
        json: bool,
        /// Post one alert.
        test_alert: bool,
    },
    /// About the configuration.
    Config(ConfigVerb),
    /// What this program is.
    Version {
        /// One JSON object.
        json: bool,
    },
    /// A shell's completion script, ready to print.
    Completions(Vec<u8>),
    /// The broker's login.
    Auth(AuthVerb),
}

/// How a demo goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DemoTerms {
    /// End by itself after this time; none: when the story is told.
    pub length: Option<Duration>,
    /// Only the verdict, as one JSON object.
    pub json: bool,
    /// Repeats a demo; none: another one each time.
    pub seed: Option<u64>,
}

/// Which trials, and how they are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SimTerms {
    /// How many seeds; none: 2,000.
    pub seeds: Option<u64>,
    /// The first of them.
    pub first: u64,
    /// Only this one, told.
    pub seed: Option<u64>,
    /// Of that one only the steps at these places of its schedule.
    pub only: Option<Vec<usize>>,
    /// Every line of that one.
    pub trace: bool,
    /// Threads; none: one a core.
    pub jobs: Option<usize>,
    /// No new trial begins when so much time was simulated.
    pub length: Option<Duration>,
    /// Only the verdict, as one JSON object.
    pub json: bool,
    /// How often each fault struck.
    pub table: bool,
}

/// Which rows a reading verb shows, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Only this ticker.
    pub symbol: Option<Symbol>,
    /// One JSON object a line, decimals as strings.
    pub json: bool,
}

/// Whom a halt, or its end, concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halting {
    /// This ticker; none: all of them.
    pub symbol: Option<Symbol>,
    /// Why; not empty.
    pub reason: String,
}

/// What only a person can settle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reconciling {
    /// Which intents wait for a person, and the evidence.
    List {
        /// One JSON object a line.
        json: bool,
    },
    /// What became of one.
    Settle {
        /// The intent.
        target: IntentId,
        /// What became of it.
        decision: Decision,
        /// How the person knows; not empty.
        reason: String,
    },
}

/// About the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigVerb {
    /// Is it complete?
    Check {
        /// Check this list of shards instead.
        shards: Option<PathBuf>,
    },
    /// Every setting, its value, and where it came from.
    Show {
        /// One JSON object a line.
        json: bool,
    },
    /// An `.env` file to fill in.
    Template {
        /// The reference page instead.
        markdown: bool,
    },
}

/// The broker's login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthVerb {
    /// Log in.
    Login {
        /// Wait for the browser at `REDIRECT_URI` in place of a pasted address.
        listen: bool,
        /// Over a login that this key does not open.
        overwrite: bool,
    },
    /// Is the login good, and for how long?
    Status {
        /// One JSON object.
        json: bool,
    },
    /// Encrypt the stored login with a new key.
    Rekey,
}
