//! What a person says, and what it changes: halts, their ends, and the fate of an order that no list can tell
//! (`protocol.md` 3.5, 3.6, 4).
//!
//! Every word of a person is a row with a reason and a name. Nothing here is decided by the program, and nothing that
//! a person says moves exposure but through orders: booked ones count, ignored ones do not.
//!
//! Invariant: a ticker with an `Unknown` or `Stuck` intent is resumed by nothing but the end of that intent.

use super::broker_link::CLOCKS_MS_MAX;
use super::halts::scope;
use super::{Command, Effect, Engine, StepOutput, Stop};
use crate::hedges::{Choice, Decision, HaltKind, Intent, IntentState, OrderEvent, Similar, Unsettled};
use crate::ports::broker::{BrokerOrder, OrderStatus};
use crate::ports::records::Write;
use crate::units::{IntentId, OrderId, Symbol};

/// Tickers named in one answer; more are counted.
const NAMED_MAX: usize = 20;

/// Why a person's word did nothing.
#[derive(Debug)]
pub(super) enum Declined {
    /// It can not be done, and nothing has changed; in words.
    No(String),
    /// The process must end.
    Stop(Stop),
}

impl From<Stop> for Declined {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<String> for Declined {
    fn from(why: String) -> Self {
        Self::No(why)
    }
}

impl From<&str> for Declined {
    fn from(why: &str) -> Self {
        Self::No(why.to_owned())
    }
}

impl Engine {
    pub(super) fn command(&mut self, command: Command, reply: u64, out: &mut StepOutput) -> Result<(), Stop> {
        let answer = match self.obey(command, out) {
            Ok(told) => Ok(told),
            Err(Declined::No(why)) => Err(why),
            Err(Declined::Stop(stop)) => return Err(stop),
        };
        out.effects.push(Effect::Reply(reply, answer));
        Ok(())
    }

    /// Does what a person says; what to answer.
    fn obey(&mut self, command: Command, out: &mut StepOutput) -> Result<String, Declined> {
        match command {
            Command::Halt { symbol, reason, who } => {
                let told = format!("{} halted", scope(symbol.as_ref()));
                self.halts.raise(symbol, HaltKind::Operator, reason, who, out);
                Ok(told)
            }
            Command::Resume { symbol, kind, choice, reason, who } => {
                self.resume(symbol, kind, choice, reason, who, out)
            }
            Command::CountSkipped { symbol, asked, push, known, reason, who } => {
                self.count_skipped(&symbol, &asked, (push, known), (reason, who), out)
            }
            Command::Reconcile { target, decision, reason, who } => {
                self.reconcile(&target, decision, &reason, &who, out)
            }
        }
    }

    fn resume(
        &mut self,
        symbol: Option<Symbol>,
        kind: HaltKind,
        choice: Option<Choice>,
        reason: String,
        who: String,
        out: &mut StepOutput,
    ) -> Result<String, Declined> {
        self.may_resume(symbol.as_ref(), kind)?;
        let asked = kind.choices();
        if choice.map_or(!asked.is_empty(), |choice| !asked.contains(&choice)) {
            return Err(format!("this halt is lifted by `{}`", kind.lifted_by(symbol.as_ref())).into());
        }
        let mut told = format!("{} resumed", scope(symbol.as_ref()));
        let named = || symbol.as_ref().ok_or_else(|| Declined::from("name the ticker"));
        match choice {
            None | Some(Choice::IgnoreOrders) => {}
            Some(Choice::AcceptBackfill) => {
                self.begun = true;
                out.writes.push(Write::Begun);
            }
            Some(Choice::IgnoreSkipped) => {
                let ignored = self.ignore_skipped(named()?, &reason, &who, out);
                told = format!("{told}; {ignored} trades stay passed over");
            }
            Some(Choice::CountSkipped) => {
                return Err("trades are counted by a bot that runs, for they are read from the chain".into());
            }
            Some(Choice::AdoptOrders) => {
                let adopted = self.adopt_earlier(&who, out)?;
                told = format!("{told}; {adopted} orders adopted");
            }
            Some(Choice::AcceptPosition) => self.accept_position(named()?, &reason, &who, out)?,
        }
        if let (HaltKind::Rejects, Some(symbol)) = (kind, &symbol) {
            self.attempts.forget(symbol);
        }
        self.halts.lift(symbol, kind, reason, who, out);
        Ok(told)
    }

    /// Whether there is such a halt, and no intent that must be settled first; in words why not.
    pub(super) fn may_resume(&self, symbol: Option<&Symbol>, kind: HaltKind) -> Result<(), String> {
        if let Some(intent) = symbol.and_then(|symbol| self.unsettled(symbol)) {
            return Err(format!(
                "{} has intent {} in {}; settle it first (`bot reconcile`)",
                intent.symbol, intent.id, intent.state
            ));
        }
        if self.halts.has(symbol, kind) {
            return Ok(());
        }
        let others: Vec<String> = self
            .halts
            .iter()
            .take(NAMED_MAX)
            .map(|(symbol, kind, _)| format!("{} ({})", scope(symbol), kind.as_str()))
            .collect();
        let others = match others.len() {
            0 => "none".to_owned(),
            _ => others.join(", "),
        };
        let (kind, whose) = (kind.as_str(), scope(symbol));
        Err(format!("no `{kind}` halt of {whose} is in force (in force: {others}); `bot status` lists halts"))
    }

    /// The intent that keeps a ticker from being resumed. It holds its ticker whatever halts there are, so that lifting
    /// the global one resumes the others only. An `Unknown` one that the broker said it does not have holds nothing:
    /// it goes out again under its name, and only a resumed ticker lets it.
    fn unsettled(&self, symbol: &Symbol) -> Option<&Intent> {
        self.orders.live_of(symbol).find(|intent| match intent.state {
            IntentState::Stuck => true,
            IntentState::Unknown => !(self.policy.profile.client_ids && self.watch.may_resend(&intent.id)),
            _ => false,
        })
    }

    /// A person says what became of an intent. On [`Declined::No`] nothing has changed.
    fn reconcile(
        &mut self,
        target: &IntentId,
        decision: Decision,
        reason: &str,
        who: &str,
        out: &mut StepOutput,
    ) -> Result<String, Declined> {
        let Some(intent) = self.orders.get(target).cloned() else {
            return Err(format!(
                "no intent {target} waits for a person; `bot reconcile` lists those that do"
            )
            .into());
        };
        if !matches!(intent.state, IntentState::Unknown | IntentState::Stuck) {
            return Err(format!("intent {target} is {}: there is nothing to settle", intent.state).into());
        }
        if self.policy.profile.client_ids && intent.state == IntentState::Unknown {
            return Err(format!(
                "the broker is asked for {target} by its name, and sends it again if it does not have it; there is \
                 nothing to decide"
            )
            .into());
        }
        self.may_decide(&intent, &decision)?;
        out.writes.push(Write::Decision {
            intent: target.clone(),
            decision: decision.clone(),
            reason: reason.to_owned(),
            who: who.to_owned(),
        });
        self.book.settle_by_hand(target);
        let settled = OrderEvent::Settled {
            decision: decision.clone(),
            who: who.to_owned(),
            reason: reason.to_owned(),
        };
        match decision {
            Decision::Adopt(order) => self.adopt_by_hand(&intent, &order, &settled, out)?,
            Decision::Absent => self.happen(target, &settled, out)?,
            Decision::Book => self.book_by_hand(&intent, &settled, out)?,
            Decision::Ignore => self.ignore(&intent, &settled, out)?,
        }
        let symbol = intent.symbol.clone();
        if !self.orders.live_of(&symbol).any(|other| other.state == IntentState::Stuck) {
            self.halts.lift(
                Some(symbol),
                HaltKind::Stuck,
                format!("{target}: {reason}"),
                who.to_owned(),
                out,
            );
        }
        let state = self.orders.get(target).map_or(intent.state, |intent| intent.state);
        Ok(format!("{target} is {state}"))
    }

    fn may_decide(&self, intent: &Intent, decision: &Decision) -> Result<(), String> {
        let id = &intent.id;
        let owned = || format!("{id} was found in the broker's book: say `book` or `ignore`");
        match decision {
            Decision::Adopt(_) | Decision::Absent if intent.adopted => Err(owned()),
            // Also where a trade and its taking back leave nothing: both are rows of that order.
            Decision::Adopt(_) | Decision::Absent if intent.executions > 0 => {
                Err(format!("{} of {id} are executed: say `book`", intent.executed))
            }
            Decision::Absent => Ok(()),
            Decision::Adopt(order) => self.may_adopt(intent, order),
            Decision::Book if intent.state != IntentState::Stuck || intent.order_id.is_none() => {
                Err(format!("{id} has no order yet: say `adopt ORDER` or `absent`"))
            }
            Decision::Book => self.may_book(intent),
            Decision::Ignore if !intent.adopted => {
                Err(format!("{id} is this bot's own: its order can not be ignored"))
            }
            Decision::Ignore => Ok(()),
        }
    }

    /// An order of another ticker or side can not be this intent's, whoever says so.
    fn may_book(&self, intent: &Intent) -> Result<(), String> {
        let found = intent.order_id.as_ref().and_then(|order| self.listed_order(order));
        match found {
            Some(found) if (&found.symbol, found.side) != (&intent.symbol, intent.side) => Err(format!(
                "order {} is {} {}, the intent is {} {}: say `adopt ORDER` or `absent`",
                found.id, found.side, found.symbol, intent.side, intent.symbol
            )),
            _ => Ok(()),
        }
    }

    fn may_adopt(&self, intent: &Intent, order: &OrderId) -> Result<(), String> {
        let Some(found) = self.listed_order(order) else {
            return Err(format!(
                "the broker's last list does not show order {order}; check the id, and type it again in a moment, \
                 while the bot runs"
            ));
        };
        if let Some(owner) = self.orders.owner(order).filter(|owner| **owner != intent.id) {
            return Err(format!("order {order} is bound to {owner} already"));
        }
        let same =
            (&found.symbol, found.side, found.quantity) == (&intent.symbol, intent.side, intent.quantity);
        if same {
            return Ok(());
        }
        Err(format!(
            "order {order} is {} {} {}, the intent is {} {} {}",
            found.side, found.quantity, found.symbol, intent.side, intent.quantity, intent.symbol
        ))
    }

    pub(super) fn listed_order(&self, id: &OrderId) -> Option<&BrokerOrder> {
        self.book.listed().iter().find(|order| order.id == *id)
    }

    fn adopt_by_hand(
        &mut self,
        intent: &Intent,
        order: &OrderId,
        settled: &OrderEvent,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        let Some(found) = self.listed_order(order).cloned() else {
            return Err(Stop::Bug(format!("order {order} was in the list a moment ago")));
        };
        if let Some(claimed) = &intent.order_id {
            self.orders.release(claimed);
        }
        self.book.unclaim(&intent.id);
        self.orders.bind(order.clone(), &intent.id);
        let bound = order.clone();
        self.happen_with(&intent.id, settled, out, |intent| intent.order_id = Some(bound))?;
        self.settle(&intent.id, &found, out)
    }

    /// Its executions are booked already, and go on being; from here on it comes to its normal end.
    fn book_by_hand(
        &mut self,
        intent: &Intent,
        settled: &OrderEvent,
        out: &mut StepOutput,
    ) -> Result<(), Stop> {
        self.happen(&intent.id, settled, out)?;
        let listed = intent.order_id.as_ref().and_then(|order| self.listed_order(order)).cloned();
        match listed {
            Some(order) if order.status != OrderStatus::Live => self.settle(&intent.id, &order, out),
            // Its own question reads it at once.
            _ => Ok(()),
        }
    }

    /// Its executions stay in the ledger, as facts about the account, and leave the exposure.
    fn ignore(&mut self, intent: &Intent, settled: &OrderEvent, out: &mut StepOutput) -> Result<(), Stop> {
        self.happen_with(&intent.id, settled, out, |intent| intent.ignored = true)?;
        let left =
            self.exposure.move_executions(&intent.symbol, intent.side.signed(intent.executed).negated());
        left.ok_or_else(|| Stop::Bug(format!("the executions of {} leave the range", intent.symbol)))
    }

    /// What only a person can settle, with the evidence.
    pub(super) fn unsettled_intents(&self) -> Vec<Unsettled> {
        let by_hand = |intent: &&Intent| match intent.state {
            IntentState::Stuck => true,
            IntentState::Unknown => !self.policy.profile.client_ids,
            _ => false,
        };
        let waiting = self.orders.live().filter(by_hand);
        waiting.map(|intent| self.evidence(intent)).collect()
    }

    fn evidence(&self, intent: &Intent) -> Unsettled {
        let replaced = self.is_replaced(intent);
        let similar = self.book.listed().iter().filter(|order| {
            intent.order_id.as_ref() == Some(&order.id)
                || (!intent.adopted && self.may_be(intent, order))
                || (replaced && self.may_follow(intent, order))
        });
        let mut unsettled = Unsettled::of(intent);
        if replaced && !intent.adopted {
            // What took its place may have traded: to book it as it stands would order that once more.
            unsettled.choices.sort_by_key(|choice| !choice.contains("adopt"));
        }
        Unsettled {
            position_now: self.account.reading().map(|reading| reading.of(&intent.symbol)),
            list_read_at: self.book.listed_at(),
            similar: similar
                .take(NAMED_MAX)
                .map(|order| Similar {
                    order_id: order.id.clone(),
                    entered_at: order.entered_at,
                    tag: order.tag.clone(),
                    status: order.status_text.clone(),
                    executed: order.executed,
                })
                .collect(),
            ..unsettled
        }
    }

    /// Whether its order ended because a person replaced it, and what took its place is not known.
    fn is_replaced(&self, intent: &Intent) -> bool {
        let own = intent.order_id.as_ref().and_then(|id| self.listed_order(id));
        intent.state == IntentState::Stuck && own.is_some_and(|own| own.status == OrderStatus::Replaced)
    }

    /// Whether an order may have taken its place: of its ticker and side, entered since, and nobody's. A person may have
    /// made it a limit order, or one of another size.
    fn may_follow(&self, intent: &Intent, order: &BrokerOrder) -> bool {
        let sent = intent.sent_at.unwrap_or(intent.created_at);
        (&order.symbol, order.side) == (&intent.symbol, intent.side)
            && order.entered_at >= sent.plus(-CLOCKS_MS_MAX)
            && self.orders.owner(&order.id).is_none()
            && self.named(order).is_none()
    }
}
