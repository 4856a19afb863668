//! `bot reconcile` on a ledger while no bot runs (`protocol.md` 3.5, 3.6): what waits for a person is listed with what
//! the ledger knows, and settled where that needs no list of the broker's.

use std::path::Path;

use counterfill::hedges::{HaltKind, Intent, IntentState, Snapshot};
use counterfill::ledger::{Ledger, Reader, Stamp, Write};
use counterfill::units::{Millis, Shares, Side};
use serde_json::Value;
use testkit::process;

fn stamp(broker: &str) -> Stamp {
    Stamp {
        chain_id: 1,
        orderbooks: vec![],
        owners: vec![],
        broker: broker.into(),
        account: "1234".into(),
        hedge_from_block: None,
        deployment_block: 1,
    }
}

fn intent(id: &str, ticker: &str, adopted: bool) -> Intent {
    Intent {
        id: id.parse().unwrap(),
        symbol: ticker.parse().unwrap(),
        side: Side::Buy,
        quantity: Shares::whole(2),
        state: IntentState::Sent,
        transitions: 0,
        created_at: Millis(1_000),
        sent_at: Some(Millis(1_000)),
        changed_at: Millis(1_000),
        order_id: adopted.then(|| "1001".parse().unwrap()),
        executed: Shares::ZERO,
        executions: 0,
        adopted,
        reference: None,
        snapshot: (!adopted).then(|| Snapshot {
            position: Some((Shares::whole(-7), Millis(900))),
            known: vec!["900".parse().unwrap(), "901".parse().unwrap()],
        }),
        ignored: false,
        counted: true,
        reason: "exposure reached a lot".into(),
    }
}

fn step(intent: &mut Intent, to: IntentState, reason: &str) -> Write {
    let from = intent.state;
    (intent.state, intent.transitions, intent.reason) = (to, intent.transitions + 1, reason.into());
    Write::Transition { from, intent: intent.clone() }
}

/// One order whose answer was lost, and one found that is nobody's, with an execution and a halt.
fn ledger(folder: &Path, broker: &str) {
    let mut ledger = Ledger::open(&folder.join("bot.db"), &stamp(broker), Millis(500)).unwrap();
    let (mut lost, mut found) = (intent("cf-a-000001", "TSLA", false), intent("cf-a-000002", "AAPL", true));
    found.state = IntentState::Stuck;
    let mut writes = vec![Write::Intent(lost.clone()), Write::Intent(found.clone())];
    writes.push(step(&mut lost, IntentState::Unknown, "timeout"));
    writes.push(Write::Execution {
        order_id: "1001".parse().unwrap(),
        n: 0,
        intent: found.id.clone(),
        quantity: Shares::whole(2),
        average_price: None,
    });
    writes.push(Write::Halt {
        symbol: Some("AAPL".parse().unwrap()),
        kind: HaltKind::Stuck,
        reason: "another instance".into(),
        who: "engine".into(),
    });
    ledger.commit(Millis(1_000), &writes).unwrap();
    ledger.close().unwrap();
}

/// A process that another test starts just now holds this one's open files for a moment, and with them the lock.
const ATTEMPTS: usize = 30;
/// "Try again": the ledger is in use.
const IN_USE: i32 = 75;

/// A verb, repeated while the ledger is in use.
fn bot(folder: &Path, args: &str) -> (i32, String, String) {
    let once = || {
        let args: Vec<&str> = args.split(' ').collect();
        let done = process::verb(&folder.join("bot.db"), &args).env("USER", "ann").output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
    };
    let mut attempts = (0..ATTEMPTS).map(|_| once());
    attempts.find(|done| done.0 != IN_USE).unwrap_or_else(once)
}

#[test]
fn what_waits_is_listed_with_what_the_ledger_knows() {
    let folder = tempfile::tempdir().unwrap();
    ledger(folder.path(), "schwab");
    let (code, text, _) = bot(folder.path(), "reconcile");
    assert_eq!(code, 0);
    for part in [
        "cf-a-000001  BUY 2 TSLA  Unknown",
        "timeout",
        "-7 before, unknown now",
        "900, 901 (there before)",
        "bot reconcile cf-a-000001 adopt ORDER --reason …",
        "cf-a-000002  BUY 2 AAPL  Stuck",
        "1001, executed 2",
        "bot reconcile cf-a-000002 ignore --reason …",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (_, lines, _) = bot(folder.path(), "reconcile --json");
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0]["intent_id"], &rows[0]["state"]), (&"cf-a-000001".into(), &"Unknown".into()));
    assert_eq!((&rows[0]["position_before"], &rows[1]["executed"]), (&"-7".into(), &"2".into()));
}

#[test]
fn a_decision_is_a_row_that_holds_from_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    ledger(folder.path(), "schwab");
    let path = folder.path().join("bot.db");
    let refused = [
        ("reconcile cf-a-000001 adopt 1002 --reason seen", "does not show order 1002"),
        ("reconcile cf-a-000001 ignore --reason mine", "own"),
        ("reconcile cf-a-000002 absent --reason gone", "book"),
        ("reconcile cf-a-000009 absent --reason gone", "lists those"),
    ];
    for (args, why) in refused {
        let (code, _, error) = bot(folder.path(), args);
        assert_eq!(code, 69, "{args}");
        assert!(error.contains(why), "{args}: {error}");
    }
    let aapl = |path: &Path| {
        let rows = Reader::open(path).unwrap().positions().unwrap();
        rows.into_iter().find(|row| row.symbol.as_str() == "AAPL").map(|row| (row.exposure, row.halts))
    };
    assert_eq!(aapl(&path), Some((Shares::whole(2), vec![HaltKind::Stuck])));
    let (code, said, _) = bot(folder.path(), "reconcile cf-a-000002 ignore --reason theirs");
    assert_eq!((code, said.contains("cf-a-000002 is Absent")), (0, true), "{said}");
    assert_eq!(aapl(&path), None, "no fill, no execution that counts, nothing live");
    assert_eq!(Reader::open(&path).unwrap().summary().unwrap().halts, []);
    let (code, said, _) = bot(folder.path(), "reconcile cf-a-000001 absent --reason phoned");
    assert_eq!((code, said.contains("cf-a-000001 is Absent")), (0, true), "{said}");
    assert_eq!(bot(folder.path(), "reconcile").1, "no intent waits for a person\n");

    let loaded = Ledger::open(&path, &stamp("schwab"), Millis(2_000)).unwrap().load().unwrap();
    assert_eq!(loaded.execution_sums, vec![]);
    assert_eq!(loaded.account_sums, vec![("AAPL".parse().unwrap(), Shares::whole(2))], "a fact stays");
    let raw = rusqlite::Connection::open(&path).unwrap();
    let words = |sql| raw.query_row(sql, [], |r| r.get::<_, String>(0)).unwrap();
    assert_eq!(
        words("SELECT group_concat(what || ' ' || reason || ' ' || who, ', ') FROM decisions"),
        "ignore theirs ann, absent phoned ann"
    );
}

#[test]
fn where_the_broker_knows_our_names_a_lost_answer_is_no_question_for_a_person() {
    let folder = tempfile::tempdir().unwrap();
    ledger(folder.path(), "paper");
    let (_, lines, _) = bot(folder.path(), "reconcile --json");
    assert_eq!(lines.lines().count(), 1, "{lines}");
    let (code, _, error) = bot(folder.path(), "reconcile cf-a-000001 absent --reason gone");
    assert_eq!((code, error.contains("by its name")), (69, true), "{error}");
}
