//! Refusals that are the account's, and not the order's (`protocol.md` 3.7).
//!
//! A broker that takes no order of an account says so in an answer to one order, in words that nobody can list. Counted
//! against the tickers, each would be halted for a person. So the same refusal of two tickers, and one of which the
//! broker's client knows that it is the account's, bars the account instead: one order at a time tries again, after a
//! pause. An order that is taken ends it, and shows that whoever was refused meanwhile was refused for its own sake.
//!
//! Invariant: nothing here says whether an order exists. What is barred was refused clearly.

use std::collections::BTreeMap;

use super::poller::{Pause, doubled};
use super::{Engine, StepOutput};
use crate::units::{Millis, Symbol};

/// First pause after a refusal that is the account's, doubling to [`BAR_MS_MAX`].
const BAR_MS_FIRST: i64 = 15_000;
/// Longest pause before the next order tries: one call a minute is no storm.
const BAR_MS_MAX: i64 = 60_000;
/// Without an order that tries again, the account is not known to be barred any more.
const BARRED_MS: i64 = 10 * 60_000;

/// What an order of a ticker was last refused for, since the last one that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    words: String,
    /// An order of another ticker was taken after it: it was this ticker's own.
    own: bool,
}

/// The account takes no orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bar {
    why: String,
    /// Refusals since it began.
    count: u32,
    /// The last of them.
    last: Millis,
    /// The list must be read by a later question than this one before another order leaves: where no order has a name of
    /// ours, only the list can contradict a refusal that the broker did not write itself.
    listed_after: Option<u64>,
}

/// What was refused, and whether the account is barred.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// What each ticker was last refused for.
    refused: BTreeMap<Symbol, Refusal>,
    /// The account takes no orders.
    bar: Option<Bar>,
    /// The number of the last list that was read.
    listed_number: u64,
}

impl Refusals {
    /// Whether this refusal is the account's. `told` is what the broker's client makes of it.
    pub(super) fn is_the_accounts(&mut self, symbol: &Symbol, words: &str, told: bool) -> bool {
        let same = |refusal: &&Refusal| refusal.words == words;
        let own = self.refused.get(symbol).filter(same).is_some_and(|refusal| refusal.own);
        let mut others =
            self.refused.iter().filter(|(other, _)| *other != symbol).map(|(_, refusal)| refusal);
        // Two that were both refused for their own sake, in the same words, say nothing of the account.
        let shared = others.any(|other| same(&other) && !(own && other.own));
        let is = shared || (told && !own);
        let refusal = Refusal { words: words.to_owned(), own: own && !is };
        self.refused.insert(symbol.clone(), refusal);
        is
    }

    /// An order of this ticker was taken: the account is not barred, and who was refused is so for its own sake.
    fn taken(&mut self, symbol: &Symbol) -> bool {
        self.refused.remove(symbol);
        self.refused.values_mut().for_each(|refusal| refusal.own = true);
        self.bar.take().is_some()
    }

    /// A list was read, of a question of this number.
    pub(super) const fn note_listed(&mut self, number: u64) {
        self.listed_number = number;
    }

    /// Whether the last that was heard is that the account takes no orders.
    fn barred(&self, now: Millis) -> Option<&Bar> {
        self.bar.as_ref().filter(|bar| !Pause { since: bar.last, ms: BARRED_MS }.over(now))
    }

    /// Why it is not ready although the next order may try.
    pub(super) fn bar_words(&self, now: Millis) -> Option<String> {
        self.barred(now)
            .map(|bar| format!("the broker took no order of this account: {}; the next one tries", bar.why))
    }

    /// Whether the list must be read before the next order may try.
    pub(super) fn needs_list(&self) -> bool {
        self.bar.as_ref().and_then(|bar| bar.listed_after).is_some_and(|after| self.listed_number <= after)
    }
}

impl Engine {
    /// The account was refused: nothing leaves for a while, and then one order tries again.
    pub(super) fn bar(&mut self, why: &str, out: &mut StepOutput) {
        let count = self.link.refusals.barred(self.now).map_or(1, |bar| bar.count.saturating_add(1));
        if count == 1 {
            let text = format!(
                "no order leaves: the broker takes none of this account: {why}; it is tried again by itself"
            );
            out.effects.push(super::Effect::Alert(text));
        }
        let ms = doubled(BAR_MS_FIRST, count.saturating_sub(1), BAR_MS_MAX);
        self.link.close_gate(self.now, ms, why.to_owned());
        let listed_after = (!self.policy.profile.client_ids).then_some(self.link.questions());
        self.link.refusals.bar = Some(Bar { why: why.to_owned(), count, last: self.now, listed_after });
    }

    /// An order of this ticker was taken.
    pub(super) fn taken(&mut self, symbol: &Symbol, out: &mut StepOutput) {
        if self.link.refusals.taken(symbol) {
            out.effects.push(super::Effect::Alert("the broker takes orders of this account again".into()));
        }
    }
}
