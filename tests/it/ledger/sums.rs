//! The sums that a start reads: they follow every write, and whoever reads them knows that they are whole.

use counterfill::hedges::{Decision, IntentState};
use counterfill::ledger::{Claim, Ledger, LedgerError, WholeCheck, Write, migrations};
use counterfill::units::{Shares, Side};

use super::book::{
    BORN, Place, at, block, count, counting, dead, entry, execute, fill, intent, stamp, step, symbol,
};

/// Opened as a bot does, its check not done.
fn beside(place: &Place) -> (Ledger, WholeCheck) {
    Ledger::open_claimed(Claim::on(&place.path(), BORN).unwrap(), &stamp(), BORN).unwrap()
}

/// A ledger with two fills, one of which waits to count, and an execution.
fn used() -> Place {
    let place = Place::new();
    let mut ledger = place.open();
    let (counted, waiting) = (fill(1, "TSLA", Side::Buy, "3", "1"), fill(2, "TSLA", Side::Buy, "1", "1"));
    let mut sold = intent("cf-a-1", "TSLA", IntentState::Sent, 1);
    sold.order_id = Some("1001".parse().unwrap());
    let mut writes = counting(&counted);
    writes.extend([Write::Fill(waiting.clone()), entry(&waiting, 0), Write::Intent(sold.clone())]);
    writes.push(execute(&mut sold, "1", "200"));
    ledger.commit(at(1), &writes).unwrap();
    ledger.close().unwrap();
    place
}

/// Changes rows as nobody may.
fn tamper(place: &Place, sql: &str) {
    let raw = place.raw();
    raw.execute_batch("PRAGMA ignore_check_constraints = ON; DROP TRIGGER fills_are_final").unwrap();
    raw.execute_batch(sql).unwrap();
}

#[test]
fn the_sums_are_those_of_the_rows_after_every_kind_of_write() {
    let place = Place::new();
    let (a, b) = (fill(1, "TSLA", Side::Buy, "2.5", "1"), fill(2, "AAPL", Side::Sell, "1", "1"));
    let mut sold = intent("cf-a-1", "TSLA", IntentState::Sent, 1);
    sold.order_id = Some("1001".parse().unwrap());
    let ignore = Write::Decision {
        intent: sold.id.clone(),
        decision: Decision::Ignore,
        reason: "another's".into(),
        who: "ann".into(),
    };
    let tsla = |shares: &str| vec![(symbol("TSLA"), shares.parse::<Shares>().unwrap())];
    let batches = [
        (counting(&a), tsla("2.5"), vec![]),
        (
            vec![Write::Fill(b.clone()), entry(&b, 0), Write::Dead(dead()), Write::Dead(dead())],
            tsla("2.5"),
            vec![],
        ),
        (vec![entry(&a, 1), count(&a, 1)], tsla("0"), vec![]),
        (vec![entry(&a, 2), entry(&b, 1)], tsla("0"), vec![]),
        (vec![count(&a, 2)], tsla("2.5"), vec![]),
        (vec![Write::Intent(sold.clone()), execute(&mut sold, "1", "200")], tsla("2.5"), tsla("-1")),
        (vec![ignore], tsla("2.5"), vec![]),
        (vec![execute(&mut sold, "1", "201")], tsla("2.5"), vec![]),
        (
            vec![step(&mut sold, IntentState::Stuck, 9, "why"), execute(&mut sold, "-1", "201")],
            tsla("2.5"),
            vec![],
        ),
    ];
    for (n, (writes, fills, executions)) in (1..).zip(batches) {
        // Opening it compares every sum with the rows.
        let mut ledger = place.open();
        ledger.commit(at(n), &writes).unwrap();
        ledger.close().unwrap();
        let loaded = place.open().load().unwrap();
        let with_aapl: Vec<_> = [(symbol("AAPL"), Shares::ZERO)].into_iter().chain(fills.clone()).collect();
        assert_eq!(loaded.fill_sums, if n > 1 { with_aapl } else { fills }, "after batch {n}");
        assert_eq!(loaded.execution_sums, executions, "after batch {n}");
    }
    let loaded = place.open().load().unwrap();
    assert_eq!((loaded.fills_total, loaded.reversals_total, loaded.dead_total), (2, 2, 1));
    assert_eq!(loaded.account_sums, tsla("-1"), "what the account did stays a fact");
}

#[test]
fn a_batch_that_is_refused_leaves_the_sums_alone() {
    let place = used();
    let mut ledger = place.open();
    let before = ledger.load().unwrap();
    let mut writes = counting(&fill(5, "TSLA", Side::Buy, "7", "1"));
    writes.push(count(&fill(6, "TSLA", Side::Buy, "1", "1"), 0));
    assert!(ledger.commit(at(2), &writes).is_err());
    assert_eq!(ledger.load().unwrap(), before);
    ledger.close().unwrap();
    assert_eq!(place.open().load().unwrap(), before);
}

#[test]
fn a_sum_that_is_not_as_it_was_written_is_never_read() {
    for sql in [
        "UPDATE sums SET fills = '4'",
        "UPDATE sums SET executions = NULL",
        "DELETE FROM sums",
        "UPDATE last_commit SET fills = fills + 1",
    ] {
        let place = used();
        tamper(&place, sql);
        let (ledger, _check) = beside(&place);
        let error = ledger.load().unwrap_err();
        assert!(matches!(error, LedgerError::Damaged { .. }), "{sql}: {error:?}");
        assert!(error.to_string().contains("not as they were written"), "{sql}: {error}");
    }
}

#[test]
fn what_the_sums_follow_from_is_checked_beside() {
    let rows = [
        ("UPDATE fills SET shares = '5' WHERE fill = 1", "the sums are not those of its rows"),
        ("DELETE FROM waiting_fills", "1 fills wait to count, and 0 are listed"),
    ];
    for (sql, found) in rows {
        let place = used();
        tamper(&place, sql);
        let (ledger, check) = beside(&place);
        assert!(ledger.load().is_ok(), "{sql}: a start reads none of it");
        let error = check.of_structure().unwrap_err();
        assert!(error.to_string().contains(found), "{sql}: {error}");
        assert_eq!(error.exit_code(), 78);
        drop((ledger, check));
        let error = Ledger::open(&place.path(), &stamp(), BORN).unwrap_err();
        assert!(error.to_string().contains(found), "{sql}: whoever waits for it is refused: {error}");
    }
}

#[test]
fn a_row_against_the_schemas_checks_is_found_by_the_other_half() {
    let place = used();
    tamper(&place, "UPDATE fills SET owner = 'nobody' WHERE fill = 1");
    let (ledger, check) = beside(&place);
    check.of_structure().unwrap();
    let error = check.of_rows().unwrap_err();
    assert!(error.to_string().contains("CHECK constraint failed in fills"), "{error}");
    drop((ledger, check));
    assert!(Ledger::open(&place.path(), &stamp(), BORN).is_err());
}

#[test]
fn an_older_ledger_gets_its_sums_and_lists_once() {
    let place = Place::new();
    let older: Vec<_> = migrations().unwrap().into_iter().take_while(|one| one.name() != "sums").collect();
    Ledger::open_with(&place.path(), &stamp(), BORN, &older).unwrap().close().unwrap();
    // What it holds was written by the program of today into today's schema, but for what that one adds.
    let source = used();
    let raw = place.raw();
    raw.execute_batch(&format!("ATTACH '{}' AS today", source.path().display())).unwrap();
    for table in ["fills", "fill_entries", "fill_counts", "intents", "intent_transitions", "executions"] {
        raw.execute_batch(&format!("INSERT INTO {table} SELECT * FROM today.{table}")).unwrap();
    }
    raw.execute(
        "INSERT INTO last_commit (one, at, commits) SELECT one, at, commits FROM today.last_commit",
        [],
    )
    .unwrap();
    drop(raw);
    let expected = source.open().load().unwrap();
    let ledger = place.open();
    assert_eq!(ledger.load().unwrap(), expected);
    assert_eq!(expected.fills.len(), 2);
    drop(ledger);
    tamper(&place, "UPDATE fills SET shares = '5' WHERE fill = 1");
    assert!(
        Ledger::open(&place.path(), &stamp(), BORN).is_err(),
        "they are reckoned once, not at every start"
    );
    // One that is above the window has no need to be listed; the other is loaded because it waits.
    let mut again = source.open();
    again
        .commit(at(3), &[Write::Cursor { cursor: block(300, 3), window: vec![block(236, 2), block(300, 3)] }])
        .unwrap();
    assert_eq!(again.load().unwrap().fills.len(), 1);
}
