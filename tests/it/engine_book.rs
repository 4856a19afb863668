//! A new ledger before a broker's book that is not empty (`protocol.md` 5.2): it starts halted, and what the operator
//! says then holds. The orders of the earlier ledger are not taken for another instance's afterwards.

use crate::world;

use counterfill::broker::{BrokerOrder, OrderStatus};
use counterfill::engine::{Choice, Command, Effect, Engine, Input, StepOutput};
use counterfill::hedges::{Halt, HaltKind};
use counterfill::ledger::Write;
use counterfill::units::{Millis, Shares, Side};

const BORN: Millis = Millis(1_700_000_000_000);

fn order(id: &str, entered_at: Millis) -> BrokerOrder {
    BrokerOrder {
        id: id.parse().unwrap(),
        client_id: Some(format!("cf-000000000000-{id}")),
        tag: Some("ours".into()),
        symbol: world::symbol(0),
        side: Side::Buy,
        quantity: Shares::whole(1),
        filled: Shares::whole(1),
        executed: Shares::whole(1),
        average_price: None,
        status: OrderStatus::Filled,
        status_text: "FILLED".into(),
        entered_at,
        ordinary: true,
    }
}

fn listed(engine: &mut Engine, seconds: i64, orders: &[BrokerOrder]) -> StepOutput {
    let now = BORN.plus(seconds * 1_000);
    engine.step(now, [Input::List { begun_at: now, answer: Ok(orders.to_vec()) }]).unwrap()
}

#[test]
fn an_earlier_ledgers_orders_stay_ignored_and_a_second_instances_do_not() {
    let loaded = world::Shelf::default().load();
    let mut engine = Engine::new(world::policy(0, 0), loaded);
    let old = order("1", BORN.plus(-3_600_000));
    listed(&mut engine, 1, std::slice::from_ref(&old));
    let halts = engine.facts().halts;
    assert!(
        matches!(halts.as_slice(), [Halt { symbol: None, kind: HaltKind::EarlierOrders, reason }] if reason.contains("--ignore-orders"))
    );
    let command = Command::Resume {
        symbol: None,
        kind: HaltKind::EarlierOrders,
        choice: Some(Choice::IgnoreOrders),
        reason: "a new book".into(),
        who: "tester".into(),
    };
    let out = engine.step(BORN.plus(2_000), [Input::Command(command, 7)]).unwrap();
    assert!(out.effects.contains(&Effect::Reply(7, Ok("all tickers resumed".into()))), "{out:?}");
    for seconds in [61, 121, 181] {
        let out = listed(&mut engine, seconds, std::slice::from_ref(&old));
        assert!(out.writes.is_empty(), "{out:?}");
    }
    // An order with our tag from after our birth is another instance's: two lists, and the ticker halts.
    let theirs = order("2", BORN.plus(200_000));
    assert!(listed(&mut engine, 241, &[old.clone(), theirs.clone()]).writes.is_empty());
    let out = listed(&mut engine, 301, &[old, theirs]);
    assert!(
        out.writes.iter().any(|write| matches!(write, Write::Intent(intent) if intent.adopted)),
        "{out:?}"
    );
    assert!(matches!(engine.facts().halts.as_slice(), [Halt { symbol: Some(_), kind: HaltKind::Stuck, .. }]));
}

#[test]
fn an_earlier_ledgers_orders_are_adopted_also_where_our_clock_is_behind() {
    // By the broker's clock they were entered after this ledger was born by ours.
    let loaded = world::Shelf::default().load();
    let mut engine = Engine::new(world::policy(0, 0), loaded);
    let old = [order("1", BORN.plus(90_000)), order("2", BORN.plus(-90_000))];
    for seconds in [1, 61, 121] {
        listed(&mut engine, seconds, &old);
        let halts = engine.facts().halts;
        assert!(
            matches!(halts.as_slice(), [Halt { symbol: None, kind: HaltKind::EarlierOrders, .. }]),
            "{halts:?}"
        );
    }
    let command = Command::Resume {
        symbol: None,
        kind: HaltKind::EarlierOrders,
        choice: Some(Choice::AdoptOrders),
        reason: "the ledger is gone".into(),
        who: "tester".into(),
    };
    let out = engine.step(BORN.plus(122_000), [Input::Command(command, 7)]).unwrap();
    assert!(
        out.effects.contains(&Effect::Reply(7, Ok("all tickers resumed; 2 orders adopted".into()))),
        "{out:?}"
    );
}
