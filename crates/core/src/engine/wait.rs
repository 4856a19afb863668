//! Why an order that is wanted does not go out, and what a person can do about it.
//!
//! What holds back a single ticker is kept with it; what holds back all that are planned is kept once.

use std::collections::{BTreeMap, BTreeSet};

use crate::hedges::{HaltKind, Intent, IntentState};
use crate::units::Symbol;

/// What to type where a person must say what became of an order.
const RECONCILE: &str = "type `bot reconcile`, which lists what waits for a person";

/// Why an order that is wanted does not go out, and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) why: String,
    /// What to type or set; none if it ends by itself.
    pub(super) remedy: Option<String>,
}

impl Wait {
    pub(super) fn for_person(why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { why: why.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn of_halt(scope: Option<&Symbol>, kind: HaltKind, why: &str) -> Self {
        let remedy = match kind {
            HaltKind::Stuck => RECONCILE.to_owned(),
            kind => format!("type `{}`", kind.lifted_by(scope)),
        };
        Self::for_person(format!("halted ({}): {why}", kind.as_str()), remedy)
    }

    /// A market that says no, or nothing.
    pub(super) fn of_market(symbol: &Symbol, why: String) -> Self {
        Self::for_person(why, format!("type `bot doctor` to see what the broker says of {symbol}"))
    }

    /// An intent of which nobody knows whether it is at the broker; none for any other.
    pub(super) fn of_doubt(intent: &Intent, client_ids: bool) -> Option<Self> {
        let why = format!("{} is {}: {}", intent.id, intent.state, intent.reason);
        match intent.state {
            IntentState::Unknown if client_ids => Some(why.into()),
            IntentState::Unknown | IntentState::Stuck => Some(Self::for_person(why, RECONCILE)),
            _ => None,
        }
    }
}

/// Something that ends by itself.
impl From<String> for Wait {
    fn from(why: String) -> Self {
        Self { why, remedy: None }
    }
}

impl From<&str> for Wait {
    fn from(why: &str) -> Self {
        Self::from(why.to_owned())
    }
}

/// Why each order that is wanted does not go out, as the last step decided.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Tickers that a halt, a rest, a doubt or an order of nobody's holds back; looked at again when something changes.
    held: BTreeMap<Symbol, Wait>,
    /// Those of them that a rest holds back, which time alone ends.
    resting: BTreeSet<Symbol>,
    /// What the last step found when it would have sent.
    own: BTreeMap<Symbol, Wait>,
    /// What holds back every other plan.
    planned: Option<Wait>,
}

impl Waits {
    /// Nothing is decided.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A step decides anew; what holds single tickers back is looked at again with them.
    pub(super) fn begin(&mut self) {
        self.own.clear();
        self.planned = None;
    }

    /// The ticker is looked at: what held it back does not count any more.
    pub(super) fn look(&mut self, symbol: &Symbol) {
        self.held.remove(symbol);
        self.resting.remove(symbol);
    }

    pub(super) fn hold(&mut self, symbol: &Symbol, wait: Wait) {
        self.held.insert(symbol.clone(), wait);
    }

    pub(super) fn rest(&mut self, symbol: &Symbol, wait: Wait) {
        self.hold(symbol, wait);
        self.resting.insert(symbol.clone());
    }

    pub(super) fn note(&mut self, symbol: &Symbol, wait: Wait) {
        self.own.insert(symbol.clone(), wait);
    }

    pub(super) fn note_planned(&mut self, wait: Wait) {
        self.planned = Some(wait);
    }

    /// The tickers that are held back.
    pub(super) fn held(&self) -> impl Iterator<Item = &Symbol> {
        self.held.keys()
    }

    /// Those of them that rest.
    pub(super) fn resting(&self) -> impl Iterator<Item = &Symbol> {
        self.resting.iter()
    }

    /// Why a ticker waits; `planned` says whether it has a plan.
    pub(super) fn of(&self, symbol: &Symbol, planned: impl FnOnce() -> bool) -> Option<&Wait> {
        let own = self.own.get(symbol).or_else(|| self.held.get(symbol));
        own.or_else(|| self.planned.as_ref().filter(|_| planned()))
    }
}
