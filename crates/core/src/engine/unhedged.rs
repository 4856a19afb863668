//! Exposure of a lot or more that no order is at work for: since when, why, and who was told (`protocol.md` 4.1).
//!
//! A person is told once when it has lasted for `UNHEDGED_ALERT_AFTER` while orders could have gone, again in the next
//! session if it still lasts, and when it is over. What is carried into a closed session is one line at the close.
//!
//! Invariant: it decides nothing; it looks at what the step has decided.

use std::collections::{BTreeMap, BTreeSet};

use super::broker_link::CLOSING_MS;
use super::wait::Wait;
use super::{Effect, Engine, StepOutput};
use crate::hedges::IntentState;
use crate::ports::broker::Session;
use crate::positions::Position;
use crate::units::{Cash, Millis, ONE, Price, Shares, Symbol};

/// Tickers named in one line; more are counted.
const NAMED_MAX: usize = 20;
/// One ticker without the order it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    since: Millis,
    /// When a person was last told.
    told_at: Option<Millis>,
}

/// What is open, and since when that counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unhedged {
    tickers: BTreeMap<Symbol, Open>,
    /// Since when orders could have gone; none while the session is closed or the exposure is not known.
    counted_since: Option<Millis>,
    /// The last session that was read is closed, or in its last seconds.
    closed: bool,
    /// A session was seen open and not yet seen over.
    in_session: bool,
    /// When the first ticker of which a person is not told becomes overdue; none if none does by itself.
    due: Option<Millis>,
    looked_at: Millis,
}

impl Unhedged {
    pub(super) fn since(&self, symbol: &Symbol) -> Option<Millis> {
        self.tickers.get(symbol).map(|open| open.since)
    }

    /// Whether a ticker has been open for `after_ms` in which orders could have gone.
    pub(super) fn overdue(&self, symbol: &Symbol, now: Millis, after_ms: i64) -> bool {
        let (Some(open), Some(counted)) = (self.tickers.get(symbol), self.counted_since) else {
            return false;
        };
        now.since(open.since.max(counted)) >= after_ms
    }

    /// The ticker is open and becomes overdue some time.
    fn note_due(&mut self, symbol: &Symbol, after_ms: i64) {
        if let (Some(open), Some(counted)) = (self.tickers.get(symbol), self.counted_since) {
            let due = open.since.max(counted).plus(after_ms);
            self.due = Some(self.due.map_or(due, |first| first.min(due)));
        }
    }
}

impl Engine {
    /// Notes which tickers are without the order they want, whatever holds it back, and tells a person in time.
    pub(super) fn watch_unhedged(&mut self, out: &mut StepOutput) {
        self.watch_session(out);
        // Before the sweep has come to the head, what the ledger holds is not what is open; the chain's checks say so.
        let known = self.chain.is_caught_up() && !self.stopping;
        let now = self.now;
        let counted = self.unhedged.counted_since.filter(|since| *since <= now).unwrap_or(now);
        let counted_before = self.unhedged.counted_since;
        self.unhedged.counted_since = (known && !self.unhedged.closed).then_some(counted);
        let symbols = self.tickers_to_watch(counted_before);
        let symbols = symbols.into_iter().filter(|symbol| {
            let wants = |position| self.wanted(symbol, position).is_some();
            self.unhedged.tickers.contains_key(symbol) || self.exposure.get(symbol).is_some_and(wants)
        });
        let symbols: Vec<Symbol> = symbols.collect();
        // What one reason holds back at once is one line.
        let mut overdue: Vec<(Wait, Vec<Symbol>)> = Vec::new();
        for symbol in symbols {
            let Some(wait) = self.watch_ticker(&symbol, out) else { continue };
            match overdue.iter_mut().find(|(known, _)| *known == wait) {
                Some((_, symbols)) => symbols.push(symbol),
                None => overdue.push((wait, vec![symbol])),
            }
        }
        for (wait, symbols) in overdue {
            self.tell_of_open(wait, &symbols, out);
        }
    }

    /// The tickers to look at: those of the agenda, and every one that is open when time alone may have changed something.
    fn tickers_to_watch(&mut self, counted_before: Option<Millis>) -> BTreeSet<Symbol> {
        self.note_changes();
        let look = self.agenda.take_to_watch();
        let mut symbols = look.tickers;
        let went_back = self.now < self.unhedged.looked_at;
        let is_due = self.unhedged.due.is_some_and(|due| self.now >= due);
        self.unhedged.looked_at = self.now;
        if look.all || went_back || is_due || counted_before != self.unhedged.counted_since {
            self.unhedged.due = None;
            symbols.extend(self.unhedged.tickers.keys().cloned());
            symbols.extend(self.exposure.open().iter().cloned());
        }
        symbols
    }

    /// A session that can not be read is the one that it was; at a start, an open one.
    fn watch_session(&mut self, out: &mut StepOutput) {
        let (closed, over) = match self.link.session() {
            None => return,
            Some(Session::Closed { .. }) => (true, true),
            Some(Session::Open { until: Some(until) }) => {
                (until.since(self.now) <= CLOSING_MS, self.now >= *until)
            }
            Some(Session::Open { until: None } | Session::Disputed { .. }) => (false, false),
        };
        self.unhedged.closed = closed;
        if over && std::mem::take(&mut self.unhedged.in_session) {
            self.tell_of_night(out);
        }
        self.unhedged.in_session |= !over && matches!(self.link.session(), Some(Session::Open { .. }));
    }

    fn tell_of_night(&self, out: &mut StepOutput) {
        let open = self.all_wanted().filter_map(|(symbol, ..)| {
            Some(format!("{symbol} {}", self.worth(self.exposure.get(symbol)?, symbol)))
        });
        let open = named(open);
        if !open.is_empty() {
            out.effects.push(Effect::Alert(format!("overnight: {open}")));
        }
    }

    /// Why the ticker waits, if a person is to be told now.
    fn watch_ticker(&mut self, symbol: &Symbol, out: &mut StepOutput) -> Option<Wait> {
        let position = self.exposure.get(symbol).copied()?;
        let now = self.now;
        let order = self.orders.live_of(symbol).find(|intent| intent.state == IntentState::Working);
        let at_work = order.map(|intent| intent.id.clone());
        let on_its_way = self.orders.live_of(symbol).any(|intent| intent.state == IntentState::Sent);
        let wanted = self.wanted(symbol, &position).is_some();
        if !wanted || at_work.is_some() {
            let open = self.unhedged.tickers.remove(symbol).filter(|open| open.told_at.is_some())?;
            let how = at_work.map_or("no lot is open any more".to_owned(), |id| format!("{id} is at work"));
            let text = format!("{symbol} is hedged again, after {}: {how}", lasted(now.since(open.since)));
            out.effects.push(Effect::Alert(text));
            return None;
        }
        // An order on its way is no end of what was open before it, and no beginning.
        if !on_its_way {
            self.unhedged.tickers.entry(symbol.clone()).or_insert(Open { since: now, told_at: None });
        }
        let open = self.unhedged.tickers.get_mut(symbol)?;
        // After the clock was set back it begins anew.
        open.since = open.since.min(now);
        let told_at = open.told_at;
        let told = told_at.is_some_and(|told| Some(told) >= self.unhedged.counted_since);
        if told {
            return None;
        }
        if !self.unhedged.overdue(symbol, now, self.policy.unhedged_alert_ms) {
            self.unhedged.note_due(symbol, self.policy.unhedged_alert_ms);
            return None;
        }
        if let Some(open) = self.unhedged.tickers.get_mut(symbol) {
            open.told_at = Some(now);
        }
        Some(self.waits_for(symbol))
    }

    fn tell_of_open(&self, Wait { why, remedy }: Wait, symbols: &[Symbol], out: &mut StepOutput) {
        let since = symbols.iter().filter_map(|symbol| self.unhedged.since(symbol)).min().unwrap_or(self.now);
        let worth = |symbol: &Symbol| self.exposure.get(symbol).map(|position| self.worth(position, symbol));
        let what = match symbols {
            [symbol] => format!("{symbol} is not hedged: {}", worth(symbol).unwrap_or_default()),
            many => {
                let open =
                    many.iter().map(|symbol| format!("{symbol} {}", worth(symbol).unwrap_or_default()));
                format!("{} tickers are not hedged: {}", many.len(), named(open))
            }
        };
        let remedy = remedy.map_or_else(
            || {
                "nothing is to be typed: it goes on by itself when that is over; `bot doctor` looks further"
                    .into()
            },
            |remedy| format!("to do: {remedy}"),
        );
        let lasted = lasted(self.now.since(since));
        out.effects
            .push(Effect::Alert(format!("{what}, and no order at work for {lasted}: {why}; {remedy}")));
    }

    /// What a ticker's row says: why the last step held its order back, and of one that is overdue always something.
    pub(super) fn shown_wait(&self, symbol: &Symbol) -> Option<Wait> {
        let overdue = self.unhedged.overdue(symbol, self.now, self.policy.unhedged_alert_ms);
        let open = || self.waiting(symbol).cloned().or_else(|| overdue.then(|| self.waits_for(symbol)));
        self.pending.wait(symbol).or_else(open)
    }

    /// Why the order that a ticker wants is not at work.
    fn waits_for(&self, symbol: &Symbol) -> Wait {
        if let Some(wait) = self.waiting(symbol) {
            return wait.clone();
        }
        if let Some(sent) = self.orders.live_of(symbol).find(|intent| intent.state == IntentState::Sent) {
            return format!("{} is sent, and the broker has not confirmed it yet", sent.id).into();
        }
        let nothing_decided = self.not_deciding();
        if !nothing_decided.is_empty() {
            return format!("no order is decided yet, waiting for {}", nothing_decided.join("; ")).into();
        }
        "nothing that has a name, which is a bug in counterfill".into()
    }

    /// A ticker's exposure, and about what it is worth in whole dollars where a price is known.
    fn worth(&self, position: &Position, symbol: &Symbol) -> String {
        let exposure = position.exposure().unwrap_or_default();
        let price = position.reference().or_else(|| self.market.price(symbol));
        match price.and_then(|price| dollars(exposure, price)) {
            Some(dollars) => format!("{exposure}, about ${dollars}"),
            None => exposure.to_string(),
        }
    }
}

/// The first of them, and how many more there are.
fn named(mut texts: impl Iterator<Item = String>) -> String {
    let first: Vec<String> = texts.by_ref().take(NAMED_MAX).collect();
    let more = texts.count();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{more}", first.join("; "))
}

/// What shares are worth, to the next whole dollar.
fn dollars(shares: Shares, price: Price) -> Option<i128> {
    let cash: Cash = price.times(shares.magnitude())?;
    Some(cash.atoms().checked_add(ONE / 2)? / ONE)
}

fn lasted(ms: i64) -> String {
    let s = ms.max(0) / 1_000;
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        _ => format!("{} h", s / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_twenty_and_counts_the_rest() {
        let named = |count: usize| named((0..count).map(|n| n.to_string()));
        assert_eq!((named(0), named(1), named(2)), (String::new(), "0".into(), "0; 1".into()));
        assert!(named(23).ends_with("; 19; and 3 more"), "{}", named(23));
    }

    #[test]
    fn dollars_are_whole_and_rounded() {
        let rows = [("-3.2", "250.6", 802), ("3", "0.1", 0), ("0.5", "1", 1), ("-1", "0.49", 0)];
        for (shares, price, worth) in rows {
            assert_eq!(dollars(shares.parse().unwrap(), price.parse().unwrap()), Some(worth), "{shares}");
        }
        assert_eq!(dollars(Shares::from_atoms(i128::MAX), Price::from_atoms(i128::MAX)), None);
    }
}
