//! Once per step: what to send to the broker, and why not (`protocol.md` 2 to 4).
//!
//! What may leave is decided from how things are now, whatever led there; which tickers are looked at is the agenda's.

use std::collections::BTreeSet;

use super::attempts::pause_ms;
use super::broker_link::Read;
use super::wait::Wait;
use super::{Effect, Engine, Resend, StepOutput, Stop};
use crate::hedges::{HaltKind, Intent, IntentState, OrderEvent};
use crate::ports::records::Write;
use crate::units::{IntentId, Millis, Price, Shares, Side, Symbol};

/// What holds back every plan while an order is on its way.
const ON_ITS_WAY: &str = "another order is on its way";

impl Engine {
    /// Why nothing may be decided yet; empty when it may (`protocol.md` 2).
    pub(super) fn not_deciding(&self) -> Vec<String> {
        let mut waits = Vec::new();
        if self.stopping {
            waits.push("nothing: the bot is stopping".into());
        }
        let unasked = self.watch.unasked().len();
        if unasked > 0 {
            let why = self.link.because(Read::Order);
            waits.push(format!("{unasked} intents whose fate the broker must tell first{why}"));
        }
        if !self.book.compared() {
            waits.push(format!(
                "the broker's book to be compared with the ledger{}",
                self.link.because(Read::List)
            ));
        }
        waits.extend(self.chain.awaited());
        waits
    }

    /// Looks at the tickers of the agenda, and while an order may leave at every plan.
    pub(super) fn decide(&mut self, out: &mut StepOutput) -> Result<(), Stop> {
        if !self.not_deciding().is_empty() {
            self.waits.clear();
            self.agenda.put_off();
            return Ok(());
        }
        self.waits.begin();
        self.prove_absence(out)?;
        self.begin(out);
        self.send_again(out)?;
        self.decide_tickers(out)?;
        if let Some(why) = self.link.gate_closed(self.now) {
            self.waits.note_planned(why.into());
        } else if self.orders.in_flight().is_some() {
            self.waits.note_planned(ON_ITS_WAY.into());
        }
        Ok(())
    }

    /// Those first whose plan has waited longest: what is scarce (the one call on its way, the orders of a minute) must not
    /// always go to the first of the alphabet.
    fn decide_tickers(&mut self, out: &mut StepOutput) -> Result<(), Stop> {
        let look = self.tickers_to_decide();
        let mut queue: Vec<(Millis, Symbol)> =
            look.iter().map(|symbol| (self.waits_since(symbol), symbol.clone())).collect();
        queue.sort_unstable();
        let mut queue = queue.into_iter().peekable();
        let mut last: Option<(Millis, Symbol)> = None;
        loop {
            // A plan that nothing has changed about is looked at only if it may leave now.
            let plan = if self.may_send() { self.plan_after(last.as_ref(), &look) } else { None };
            let next = match (queue.peek(), plan) {
                (Some(first), Some(plan)) if plan < *first => plan,
                (Some(_), _) => match queue.next() {
                    Some(first) => first,
                    None => return Ok(()),
                },
                (None, Some(plan)) => plan,
                (None, None) => return Ok(()),
            };
            self.decide_ticker(&next.1, out)?;
            last = Some(next);
        }
    }

    /// The tickers of which something has changed, and those that rest.
    fn tickers_to_decide(&mut self) -> BTreeSet<Symbol> {
        self.note_changes();
        let look = self.agenda.take_to_decide();
        let mut tickers = look.tickers;
        if look.all {
            tickers.extend(self.exposure.open().iter().cloned());
            tickers.extend(self.orders.planned().map(|(_, symbol)| symbol.clone()));
            tickers.extend(self.waits.held().cloned());
        }
        tickers.extend(self.waits.resting().cloned());
        tickers
    }

    /// Since when the ticker's plan waits; without one, since now.
    fn waits_since(&self, symbol: &Symbol) -> Millis {
        let plan = self.orders.live_of(symbol).filter(|intent| intent.state == IntentState::Planned).last();
        plan.map_or(self.now, |plan| plan.created_at)
    }

    fn plan_after(
        &self,
        last: Option<&(Millis, Symbol)>,
        look: &BTreeSet<Symbol>,
    ) -> Option<(Millis, Symbol)> {
        self.orders.planned_after(last).find(|(_, symbol)| !look.contains(symbol)).cloned()
    }

    /// Whether any order may leave now, as far as that is the same for all tickers.
    fn may_send(&self) -> bool {
        self.orders.in_flight().is_none()
            && !self.halts.all_stopped()
            && self.link.gate_closed(self.now).is_none()
    }

    /// The first backfill on real money is a person's to look at before it is hedged (`protocol.md` 5.3).
    fn begin(&mut self, out: &mut StepOutput) {
        if self.begun || !self.policy.live {
            return;
        }
        let mut wanted = self.all_wanted().peekable();
        if wanted.peek().is_none() {
            drop(wanted);
            self.begun = true;
            out.writes.push(Write::Begun);
            return;
        }
        if self.halts.has(None, HaltKind::Backfill) {
            return;
        }
        let wanted: Vec<String> =
            wanted.map(|(symbol, side, shares)| format!("{symbol} {side} {shares}")).collect();
        let why = format!(
            "the first backfill would order at once: {}; type `{}`, or start a new ledger with HEDGE_FROM_BLOCK",
            wanted.join(", "),
            HaltKind::Backfill.lifted_by(None)
        );
        self.halts.raise(None, HaltKind::Backfill, why, "engine".into(), out);
    }

    /// `protocol.md` 3.5: at a broker with client order ids, an intent it does not have goes out again
    /// under the same name, unchanged; if the first send arrives after all, one of the two is refused as a duplicate.
    fn send_again(&mut self, out: &mut StepOutput) -> Result<(), Stop> {
        let closed = self.orders.in_flight().is_some() || self.link.gate_closed(self.now).is_some();
        if !self.policy.profile.client_ids || closed {
            return Ok(());
        }
        let may_go = |(id, resend): &(&IntentId, &Resend)| {
            let halted = self.orders.get(id).is_none_or(|intent| self.halts.of(&intent.symbol).is_some());
            resend.ready && resend.pause.over(self.now) && !halted
        };
        let ready: Vec<IntentId> = self.watch.resends().filter(may_go).map(|(id, _)| id.clone()).collect();
        let mut next = None;
        for id in ready {
            let Some(intent) = self.orders.get(&id) else { continue };
            let (symbol, side) = (intent.symbol.clone(), intent.side);
            match self.priced(&symbol, side, out) {
                Ok(()) => {
                    next = Some(id);
                    break;
                }
                Err(reason) => self.waits.note(&symbol, Wait::of_market(&symbol, reason)),
            }
        }
        let Some(id) = next else { return Ok(()) };
        self.watch.send_again(&id, self.now, pause_ms);
        self.send(&id, &OrderEvent::SentAgain, None, false, out)
    }

    fn decide_ticker(&mut self, symbol: &Symbol, out: &mut StepOutput) -> Result<(), Stop> {
        let Some(position) = self.exposure.get(symbol).copied() else { return Ok(()) };
        self.waits.look(symbol);
        let want = self.wanted(symbol, &position);
        let reference = position.reference();
        let mut planned = None;
        let bound = self.orders.live_of(symbol).find(|intent| intent.state != IntentState::Planned);
        if let Some(intent) = bound {
            let doubt = Wait::of_doubt(intent, self.policy.profile.client_ids);
            if let Some(wait) = doubt.filter(|_| want.is_some()) {
                self.waits.hold(symbol, wait);
            }
            return Ok(());
        }
        if let Some(intent) = self.orders.live_of(symbol).next() {
            planned = Some((intent.id.clone(), intent.side));
        }
        if let Some((id, side)) = &planned
            && want.is_none_or(|(wanted, _)| wanted != *side)
        {
            self.happen(id, &OrderEvent::NoLongerWanted, out)?;
            planned = None;
        }
        let Some((side, shares)) = want else { return Ok(()) };
        if self.is_held(symbol) {
            return Ok(());
        }
        let allowed = self.allowed(symbol, side, shares, reference, out);
        match (allowed, planned) {
            (Ok((quantity, short)), Some((id, _))) => {
                self.send(&id, &OrderEvent::Sent, Some(quantity), short, out)
            }
            (Ok((quantity, short)), None) => {
                let id = self.create(symbol, side, quantity, reference, IntentState::Sent, out)?;
                self.launch(&id, short, out)
            }
            (Err(reason), planned) => {
                if planned.is_none() {
                    self.create(symbol, side, shares, reference, IntentState::Planned, out)?;
                }
                if let Some(reason) = reason {
                    self.waits.note(symbol, reason);
                }
                Ok(())
            }
        }
    }

    /// Whether something holds back this ticker and no other; it is noted.
    fn is_held(&mut self, symbol: &Symbol) -> bool {
        if let Some((scope, kind, why)) = self.halts.of(symbol) {
            let wait = Wait::of_halt(scope, kind, why);
            self.waits.hold(symbol, wait);
        } else if let Some(why) = self.attempts.pausing(symbol, self.now) {
            self.waits.rest(symbol, why.into());
        } else if let Some(wait) = self.unexplained(symbol) {
            self.waits.hold(symbol, wait);
        } else {
            return false;
        }
        true
    }

    /// What of the wanted shares may leave now, and whether it opens or covers a short position; if none, why, but for what
    /// holds back every plan.
    fn allowed(
        &mut self,
        symbol: &Symbol,
        side: Side,
        shares: Shares,
        reference: Option<Price>,
        out: &mut StepOutput,
    ) -> Result<(Shares, bool), Option<Wait>> {
        if self.orders.in_flight().is_some() || self.link.gate_closed(self.now).is_some() {
            return Err(None);
        }
        let capped = self.cap(shares, reference)?;
        let (quantity, short) = self.within_holdings(symbol, side, capped)?;
        let taken = self.takes(symbol, quantity, reference);
        let taken = taken.ok_or_else(|| {
            let why = format!("{quantity} are left, a fraction that is worth less than the broker takes");
            Wait::from(why)
        })?;
        self.priced(symbol, side, out).map_err(|why| Wait::of_market(symbol, why))?;
        Ok((taken, short))
    }

    /// An order with our tag in the last list that no intent knows: until it is somebody's (3.6), what it traded is in no
    /// exposure, and an order for the difference could be the same one again.
    fn unexplained(&self, symbol: &Symbol) -> Option<Wait> {
        let unknown = self.book.listed_of(symbol).find(|order| self.is_unexplained(order))?;
        let why =
            format!("order {} carries our tag and belongs to no intent; it is looked at again", unknown.id);
        Some(why.into())
    }

    /// Why the order that a ticker wants does not go out, as the last step decided.
    pub(super) fn waiting(&self, symbol: &Symbol) -> Option<&Wait> {
        self.waits.of(symbol, || self.orders.is_planned(symbol))
    }

    fn create(
        &mut self,
        symbol: &Symbol,
        side: Side,
        quantity: Shares,
        reference: Option<Price>,
        state: IntentState,
        out: &mut StepOutput,
    ) -> Result<IntentId, Stop> {
        let id = self.orders.next_id()?;
        let snapshot = (state == IntentState::Sent).then(|| self.snapshot(symbol, side));
        let intent = Intent {
            snapshot,
            ignored: false,
            counted: true,
            id: id.clone(),
            symbol: symbol.clone(),
            side,
            quantity,
            state,
            transitions: 0,
            created_at: self.now,
            sent_at: (state == IntentState::Sent).then_some(self.now),
            changed_at: self.now,
            order_id: None,
            executed: Shares::ZERO,
            executions: 0,
            adopted: false,
            reference,
            reason: "exposure reached a lot".into(),
        };
        out.writes.push(Write::Intent(intent.clone()));
        self.orders.insert(intent);
        Ok(id)
    }

    /// Planned or Unknown → Sent, with a new quantity where it was only planned.
    fn send(
        &mut self,
        id: &IntentId,
        event: &OrderEvent,
        quantity: Option<Shares>,
        short: bool,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let now = self.now;
        let snapshot = self.orders.get(id).map(|intent| self.snapshot(&intent.symbol, intent.side));
        self.happen_with(id, event, out, |intent| {
            intent.sent_at = Some(now);
            intent.snapshot = snapshot;
            intent.quantity = quantity.unwrap_or(intent.quantity);
        })?;
        self.launch(id, short, out)
    }

    fn launch(&mut self, id: &IntentId, short: bool, out: &mut StepOutput) -> Result<(), Stop> {
        let Some(intent) = self.orders.get(id) else {
            return Err(Stop::Bug(format!("no intent {id} to send")));
        };
        out.effects.push(Effect::Place(Self::ticket(intent, short)));
        self.orders.launch(id);
        Ok(())
    }
}
