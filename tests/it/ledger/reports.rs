//! What people and programs read. Field names and their order are a promise: they stand here as text.

use std::io;

use counterfill::chain::ChainFacts;
use counterfill::engine::{EngineSnapshot, LiveIntent, TickerSnapshot};
use counterfill::hedges::{Halt, HaltKind, Intent, IntentState};
use counterfill::ledger::{Filter, Reader, Write};
use counterfill::report::{self, Form};
use counterfill::serve::health::{Limits, ProcessFacts, health};
use counterfill::serve::status::StatusReport;
use counterfill::units::{Shares, Side};
use serde_json::{Value, json};

use super::book::{
    Place, at, block, count, counting, dead, entry, execute, fill, hash, intent, skipped, step, symbol,
};

/// Two fills of TSLA (one reversed), one seen of AAPL, a skipped one, and a hedge of TSLA.
fn traded() -> (Place, Intent) {
    let place = Place::new();
    let mut ledger = place.open();
    let bought = fill(1, "TSLA", Side::Buy, "2.5", "500");
    let undone = fill(2, "TSLA", Side::Sell, "0.5", "105");
    let seen = fill(3, "AAPL", Side::Buy, "1", "0");
    let mut writes = counting(&bought);
    writes.extend(counting(&undone));
    writes.extend([
        Write::Fill(seen.clone()),
        entry(&seen, 0),
        Write::Skipped(skipped()),
        Write::Dead(dead()),
    ]);
    let mut sold = intent("cf-a-1", "TSLA", IntentState::Sent, 1);
    writes.push(Write::Intent(sold.clone()));
    writes.push(Write::Cursor { cursor: block(109, 9), window: vec![block(109, 9)] });
    ledger.commit(at(1), &writes).unwrap();
    ledger.commit(at(2), &[entry(&undone, 1), count(&undone, 1)]).unwrap();
    sold.order_id = Some("1001".parse().unwrap());
    let writes = [step(&mut sold, IntentState::Working, 3, "read"), execute(&mut sold, "0.5", "200.1")];
    ledger.commit(at(3), &writes).unwrap();
    let (reason, who) = ("broker said\u{7} no".to_owned(), "engine".to_owned());
    let halt = Write::Halt { symbol: Some(symbol("TSLA")), kind: HaltKind::Rejects, reason, who };
    let writes =
        [execute(&mut sold, "1.5", "200.25"), step(&mut sold, IntentState::Filled, 4, "filled"), halt];
    ledger.commit(at(4), &writes).unwrap();
    (place, sold)
}

fn text(write: impl FnOnce(&mut dyn io::Write) -> Result<(), report::ReportError>) -> String {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn long(digits: &str) -> String {
    format!("0x{}", digits.repeat(32))
}

#[test]
fn fills_as_json_keep_their_names() {
    let (place, _) = traded();
    let reader = Reader::open(&place.path()).unwrap();
    let out = text(|out| report::fills(&reader, &Filter::default(), Form::Json, out));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4);
    let (book, owner) = (format!("0x{}", "b1".repeat(20)), format!("0x{}", "aa".repeat(20)));
    assert_eq!(
        lines[0],
        format!(
            r#"{{"symbol":"TSLA","side":"BUY","shares":"2.5","cash":"500","price":"200","block_number":101,"block_hash":"{}","tx_hash":"{}","log_index":1,"state":"counting","reason":null,"block_time":"2026-11-18T11:06:41.000Z","seen_at":"2026-11-18T11:06:41.000Z","orderbook":"{book}","owner":"{owner}","chain_id":8453}}"#,
            long("01"),
            long("81")
        )
    );
    assert_eq!(
        lines[3],
        format!(
            r#"{{"symbol":null,"side":"SELL","shares":"0","cash":null,"price":null,"block_number":109,"block_hash":"{}","tx_hash":"{}","log_index":9,"state":"skipped","reason":"foreign_pair","block_time":null,"seen_at":"2026-11-18T11:06:41.000Z","orderbook":"{book}","owner":"{owner}","chain_id":8453}}"#,
            long("09"),
            long("89")
        )
    );
    let states: Vec<bool> = ["counting", "reversed", "seen", "skipped"]
        .iter()
        .zip(&lines)
        .map(|(state, line)| line.contains(&format!(r#""state":"{state}""#)))
        .collect();
    assert_eq!(states, [true; 4]);
}

#[test]
fn hedges_and_positions_as_json_keep_their_names() {
    let (place, sold) = traded();
    let reader = Reader::open(&place.path()).unwrap();
    assert_eq!(
        text(|out| report::hedges(&reader, &Filter::default(), Form::Json, out)),
        concat!(
            r#"{"intent_id":"cf-a-1","symbol":"TSLA","side":"SELL","quantity":"2","executed":"2","average_price":"200.25","#,
            r#""state":"Filled","broker_order_id":"1001","sent_at":"2026-11-18T11:06:41.000Z","#,
            r#""created_at":"2026-11-18T11:06:41.000Z","changed_at":"2026-11-18T11:06:44.000Z","adopted":false,"reason":"filled"}"#,
            "\n"
        )
    );
    assert_eq!(
        text(|out| report::positions(&reader, None, Form::Json, out)),
        concat!(
            r#"{"symbol":"AAPL","exposure":"0","live_intent":null,"live_state":null,"fills":"0","executions":"0","halts":[]}"#,
            "\n",
            r#"{"symbol":"TSLA","exposure":"0.5","live_intent":null,"live_state":null,"fills":"2.5","executions":"-2","halts":["rejects"]}"#,
            "\n"
        )
    );
    drop(reader);
    let mut ledger = place.open();
    let next = intent("cf-a-2", "AAPL", IntentState::Planned, 9);
    ledger.commit(at(9), &[Write::Intent(next)]).unwrap();
    assert_eq!(sold.executions, 2);
    let reader = Reader::open(&place.path()).unwrap();
    let out = text(|out| report::positions(&reader, Some(&symbol("AAPL")), Form::Json, out));
    assert!(
        out.contains(r#""live_intent":"cf-a-2","live_state":"Planned""#) && out.lines().count() == 1,
        "{out}"
    );
}

#[test]
fn filters_narrow_and_a_limit_keeps_the_newest_oldest_first() {
    let (place, _) = traded();
    let reader = Reader::open(&place.path()).unwrap();
    let blocks = |filter: Filter| -> Vec<u64> {
        let mut blocks = Vec::new();
        reader
            .fills(&filter, |row| {
                blocks.push(row.block_number);
                Ok::<_, counterfill::ledger::LedgerError>(())
            })
            .unwrap();
        blocks
    };
    assert_eq!(blocks(Filter::default()), [101, 102, 103, 109]);
    assert_eq!(blocks(Filter { limit: Some(2), ..Filter::default() }), [103, 109]);
    assert_eq!(blocks(Filter { symbol: Some(symbol("TSLA")), ..Filter::default() }), [101, 102]);
    assert_eq!(blocks(Filter { state: Some("reversed".into()), ..Filter::default() }), [102]);
    assert_eq!(blocks(Filter { since_block: Some(103), limit: Some(1), ..Filter::default() }), [109]);
    let filter = Filter { state: Some("Working".into()), ..Filter::default() };
    let out = text(|out| report::hedges(&reader, &filter, Form::Text, out));
    assert!(out.starts_with("No hedges match."), "{out}");
}

#[test]
fn tables_align_and_empty_ones_say_what_to_do() {
    let (place, _) = traded();
    let reader = Reader::open(&place.path()).unwrap();
    let out = text(|out| report::positions(&reader, None, Form::Text, out));
    let expected = "\
TICKER  EXPOSURE  FILLS  EXECUTIONS  LIVE  INTENT  HALTS
AAPL           0      0           0  -     -       -
TSLA         0.5    2.5          -2  -     -       rejects
";
    assert_eq!(out, expected);
    let out = text(|out| report::fills(&reader, &Filter::default(), Form::Text, out));
    assert_eq!(out.lines().count(), 5);
    assert!(out.contains("skipped (foreign_pair)") && out.contains(&long("81")), "{out}");
    let out = text(|out| report::status(&reader, Form::Text, at(9), out));
    assert!(out.contains("HALTED          TSLA, rejects: broker said  no\n"), "{out}");
    assert!(out.contains("fills           3 (1 reversals)\n"), "{out}");

    let empty = Place::new();
    let ledger = empty.open();
    let reader = Reader::open(&empty.path()).unwrap();
    let nothing = Filter::default();
    assert!(text(|out| report::fills(&reader, &nothing, Form::Text, out)).starts_with("No fills yet. "));
    assert!(text(|out| report::hedges(&reader, &nothing, Form::Text, out)).starts_with("No hedges yet. "));
    assert!(text(|out| report::positions(&reader, None, Form::Text, out)).starts_with("No positions yet. "));
    assert_eq!(text(|out| report::fills(&reader, &nothing, Form::Json, out)), "");
    drop(ledger);
}

#[test]
fn status_as_json() {
    let (place, _) = traded();
    let reader = Reader::open(&place.path()).unwrap();
    let out = text(|out| report::status(&reader, Form::Json, at(9), out));
    assert_eq!(out.lines().count(), 1);
    let told: Value = serde_json::from_str(&out).unwrap();
    let ledger = json!({
        "ledger": place.path(), "schema": told["ledger"]["schema"], "chain_id": 8453,
        "orderbooks": [format!("0x{}", "b1".repeat(20)), format!("0x{}", "b2".repeat(20))],
        "owners": [format!("0x{}", "aa".repeat(20))], "broker": "paper", "account": "paper", "deployment_block": 100,
        "hedge_from_block": null, "born_at": "2026-11-18T11:06:40.000Z",
        "cursor": { "number": 109, "hash": long("09") }, "last_commit": "2026-11-18T11:06:44.000Z",
        "fills": 3, "reversals": 1, "skipped": 1, "dead": 1, "hedges": 1, "live": 0,
        "halts": [{ "symbol": "TSLA", "kind": "rejects", "reason": "broker said\u{7} no" }],
        "skipped_by": { "foreign_pair": 1 }, "app_tag": null,
    });
    assert_eq!(told["ledger"], ledger);
    let identity = json!({
        "broker": "paper", "mode": "paper", "account": "paper", "account_last4": null, "chain_id": 8453,
        "owners": ledger["owners"], "orderbooks": ledger["orderbooks"], "ledger": place.path(), "pid": null,
    });
    assert_eq!(told["identity"], identity);
    let nothing = json!([false, false, false, null, null, []]);
    let process =
        ["running", "ready", "live", "started_at", "uptime_s", "checks"].map(|key| told[key].clone());
    assert_eq!(json!(process), nothing);
    let engine = &told["engine"];
    assert_eq!((&engine["cursor"], &engine["halts"]), (&ledger["cursor"], &ledger["halts"]));
    assert_eq!((&engine["fills"], &engine["deciding"]), (&json!(3), &json!(false)));
    let exposures: Vec<_> =
        engine["tickers"].as_array().unwrap().iter().map(|t| (&t["symbol"], &t["exposure"])).collect();
    assert_eq!(exposures, [(&json!("AAPL"), &json!("0")), (&json!("TSLA"), &json!("0.5"))]);
}

/// That two answers have the same keys; null stands for anything.
fn same_shape(one: &Value, other: &Value, place: &str) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>(), "{place}");
            for (key, value) in one {
                same_shape(value, &other[key], &format!("{place}.{key}"));
            }
        }
        (Value::Array(one), Value::Array(other)) => {
            if let (Some(one), Some(other)) = (one.first(), other.first()) {
                same_shape(one, other, &format!("{place}[]"));
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        _ => assert_eq!(std::mem::discriminant(one), std::mem::discriminant(other), "{place}"),
    }
}

#[test]
fn status_has_one_shape_with_and_without_a_bot() {
    let (place, _) = traded();
    let reader = Reader::open(&place.path()).unwrap();
    let at_rest: Value =
        serde_json::from_str(&text(|out| report::status(&reader, Form::Json, at(9), out))).unwrap();
    let facts = EngineSnapshot {
        at: at(8),
        deciding: true,
        waiting: vec![],
        cursor: None,
        fills_total: 3,
        reversals_total: 1,
        dead_total: 1,
        tickers: vec![TickerSnapshot {
            symbol: symbol("AAPL"),
            exposure: Shares::whole(1),
            live: Some(LiveIntent {
                id: "cf-a-1".parse().unwrap(),
                state: IntentState::Working,
                changed_at: at(7),
            }),
            unhedged_since: None,
            overdue: false,
            waiting: None,
            remedy: None,
        }],
        halts: vec![Halt { symbol: None, kind: HaltKind::Operator, reason: "lunch".into() }],
        gate: None,
        broker_answers: Some(true),
        session: None,
        pending: vec![],
        unsettled: vec![],
    };
    let (chain, process) = (ChainFacts::default(), ProcessFacts::default());
    let verdict = health(Some(&facts), &chain, &process, at(9), &Limits::default());
    let running = StatusReport::new(verdict, Some(&facts), &chain, &process, at(9));
    let summary = reader.summary().unwrap();
    let running = report::with_ledger(serde_json::to_value(running).unwrap(), Some(&summary));
    assert_eq!((&running["running"], &at_rest["running"]), (&json!(true), &json!(false)));
    same_shape(&running, &at_rest, "");
    // A ledger that can not be read takes no key away.
    let unread = report::with_ledger(running.clone(), None);
    assert_eq!(unread["ledger"], Value::Null);
    same_shape(&running, &unread, "");
}

#[test]
fn a_trace_tells_the_story_in_order() {
    let (place, _) = traded();
    let reader = Reader::open(&place.path()).unwrap();
    let mut out = Vec::new();
    assert!(report::trace(&reader, hash(0x82), Form::Text, &mut out).unwrap());
    let expected = format!(
        "\
transaction {}

SELL 0.5 TSLA for $105 ($210 a share): reversed
  log 2 in block 102 ({})
  2026-11-18T11:06:42.000Z  traded on the chain
  2026-11-18T11:06:41.000Z  seen (sweep)
  2026-11-18T11:06:41.000Z  counts toward exposure
  2026-11-18T11:06:42.000Z  reversed: its block left the chain (sweep)
  2026-11-18T11:06:42.000Z  no longer counts toward exposure

TSLA has an exposure of 0.5 now, of all its fills and hedges

  hedge cf-a-1: SELL 2 TSLA, Filled, 2 executed
    2026-11-18T11:06:41.000Z  decided -> Sent: exposure 2
    2026-11-18T11:06:43.000Z  Sent -> Working, order 1001: read
    2026-11-18T11:06:43.000Z  executed 0.5 of order 1001, average $200.1
    2026-11-18T11:06:44.000Z  executed 1.5 of order 1001, average $200.25
    2026-11-18T11:06:44.000Z  Working -> Filled, order 1001: filled
",
        long("82"),
        long("02")
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);

    let mut out = Vec::new();
    assert!(!report::trace(&reader, hash(0), Form::Text, &mut out).unwrap());
    assert!(String::from_utf8(out).unwrap().contains("Unknown to this ledger"));
    let mut out = Vec::new();
    assert!(report::trace(&reader, hash(0x87), Form::Text, &mut out).unwrap());
    assert!(String::from_utf8(out).unwrap().contains("log 3 in block 107 was not understood: no such topic"));
}

#[test]
fn a_trace_as_json_keeps_its_names() {
    let (place, _) = traded();
    let reader = Reader::open(&place.path()).unwrap();
    let out = text(|out| report::trace(&reader, hash(0x82), Form::Json, out).map(|_| ()));
    assert_eq!(out.lines().count(), 1);
    for part in [
        r#""entries":[{"n":0,"sign":1,"source":"sweep","at":"2026-11-18T11:06:41.000Z","counted_at":"2026-11-18T11:06:41.000Z"},{"n":1,"sign":-1,"#,
        r#""tickers":[{"symbol":"TSLA","exposure":"0.5","hedges":[{"intent_id":"cf-a-1","#,
        r#""transitions":[{"n":0,"from":null,"to":"Sent","broker_order_id":null,"reason":"exposure 2","at":"2026-11-18T11:06:41.000Z"},"#,
        r#""executions":[{"broker_order_id":"1001","n":0,"quantity":"0.5","average_price":"200.1","at":"2026-11-18T11:06:43.000Z"},"#,
        r#""dead":[],"#,
        r#""more":0}"#,
    ] {
        assert!(out.contains(part), "{part}\nis not in\n{out}");
    }
}

/// An output whose other end is closed.
struct Closed;

impl io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let (place, _) = traded();
    let reader = Reader::open(&place.path()).unwrap();
    for form in [Form::Text, Form::Json] {
        report::fills(&reader, &Filter::default(), form, &mut Closed).unwrap();
        report::hedges(&reader, &Filter::default(), form, &mut Closed).unwrap();
        report::positions(&reader, None, form, &mut Closed).unwrap();
        report::status(&reader, form, at(9), &mut Closed).unwrap();
        report::trace(&reader, hash(0x82), form, &mut Closed).unwrap();
    }
}
