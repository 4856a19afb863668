//! The operator of a trial: a person who looks now and then at the bot's halts and the broker's true book.
//!
//! It does what `protocol.md` lets a person do, through the engine's own commands, and not at once. It refuses to know
//! the engine's mind: it reads what `bot status`, `bot hedges` and `bot reconcile` show, and it never guesses: what is not in the
//! broker's book, and not on its way there, is absent.

use super::checker;
use super::order::ticker_of;
use super::world::World;
use counterfill_core::engine::{Choice, Command, Decision, Input, Unsettled};
use counterfill_core::hedges::HaltKind;
use counterfill_core::units::Symbol;

/// A person waits so long before saying that the broker never had an order: longer than any order is on its way.
const ABSENT_MS_MIN: i64 = 60_000;

impl World {
    /// The person has a look.
    pub(super) fn operate(&mut self) {
        look(self);
    }
}

fn look(world: &mut World) {
    for (symbol, kind, since) in world.halts_seen() {
        if world.now - since >= world.terms.patience_ms {
            resume(world, symbol, kind);
        }
    }
    let unsettled = world.process.as_ref().map(|process| process.turn.engine.facts().unsettled);
    for intent in unsettled.unwrap_or_default() {
        let name = intent.intent_id.to_string();
        let since = *world.unsettled_seen.entry(name).or_insert(world.now);
        if world.now - since >= world.terms.patience_ms {
            settle(world, &intent, world.now - since);
        }
    }
}

fn number(world: &mut World) -> u64 {
    world.commands += 1;
    world.commands
}

fn words() -> (String, String) {
    ("looked at the broker's page".to_owned(), "operator".to_owned())
}

/// Whether `bot hedges` shows of a ticker what the broker's page shows: every order of ours, with what it traded. One that
/// the bot is looking for itself it finds when it may go on.
fn pages_agree(world: &World, symbol: Option<&Symbol>) -> bool {
    let Some(reader) = &world.reader else { return false };
    let pages = || (checker::bound(reader), checker::booked(reader), checker::looked_for(reader));
    let (Ok(bound), Ok(booked), Ok(looked_for)) = world.disk.aside(pages) else { return false };
    let ticker = symbol.and_then(ticker_of);
    world.broker.book().orders().iter().filter(|order| ticker.is_none_or(|t| t == order.ticker)).all(
        |order| {
            let known = booked.get(&order.id).copied().unwrap_or(0) == order.executed;
            let sought = order.intent.as_ref().is_some_and(|intent| looked_for.contains(intent));
            sought || !order.is_ours(&bound) || (bound.contains(&order.id) && known)
        },
    )
}

fn resume(world: &mut World, symbol: Option<Symbol>, kind: HaltKind) {
    let about_orders = matches!(kind, HaltKind::Drift | HaltKind::ExecutionChanged);
    if about_orders && !pages_agree(world, symbol.as_ref()) {
        return;
    }
    world.struck.note("operator: resumes");
    let (reason, who) = words();
    let choice = match kind {
        HaltKind::EarlierOrders => Some(Choice::AdoptOrders),
        HaltKind::Backfill => Some(Choice::AcceptBackfill),
        HaltKind::Drift => Some(Choice::AcceptPosition),
        _ => None,
    };
    let command = Command::Resume { symbol, kind, choice, reason, who };
    let number = number(world);
    world.input(Input::Command(command, number));
}

/// Says what became of an order, by the broker's own book.
fn settle(world: &mut World, intent: &Unsettled, known_for_ms: i64) {
    let name = intent.intent_id.as_str();
    let Some(Ok(taken)) = world.reader.as_ref().map(|reader| world.disk.aside(|| checker::bound(reader)))
    else {
        return;
    };
    let (bound, own, on_its_way) = {
        let book = world.broker.book();
        let bound = intent.broker_order_id.as_ref();
        let bound = bound.and_then(|id| book.orders().iter().find(|order| order.id == id.as_str()));
        // A ledger that was put back gives a name again; what went out under it before may be another intent's by now.
        let is_own = |id: &str| intent.broker_order_id.as_ref().is_some_and(|own| own.as_str() == id);
        let own = book.orders().iter().find(|order| {
            order.intent.as_deref() == Some(name) && (is_own(&order.id) || !taken.contains(&order.id))
        });
        (
            bound.map(|order| (order.id.clone(), order.intent.is_some())),
            own.map(|order| order.id.clone()),
            book.is_on_its_way(name),
        )
    };
    let (decision, note) = match (intent.adopted, bound, own) {
        (true, Some((_, true)), _) => (Decision::Book, "operator: says book"),
        (true, ..) => (Decision::Ignore, "operator: says ignore"),
        (false, Some((bound, _)), Some(own)) if bound == own => (Decision::Book, "operator: says book"),
        (false, _, Some(own)) => match own.parse() {
            Ok(order) => (Decision::Adopt(order), "operator: says adopt"),
            Err(_) => return,
        },
        (false, _, None) if on_its_way || known_for_ms < ABSENT_MS_MIN => return,
        (false, _, None) => (Decision::Absent, "operator: says absent"),
    };
    world.struck.note(note);
    let (reason, who) = words();
    let command = Command::Reconcile { target: intent.intent_id.clone(), decision, reason, who };
    let number = number(world);
    world.input(Input::Command(command, number));
}

/// A person stops a ticker, or all.
pub(super) fn halt(world: &mut World, symbol: Option<Symbol>) {
    if world.process.is_none() {
        return;
    }
    world.struck.note("operator: halts");
    let (reason, who) = words();
    let number = number(world);
    world.input(Input::Command(Command::Halt { symbol, reason, who }, number));
}
