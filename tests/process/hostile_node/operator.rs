//! The operator's verbs at the real process, while it runs and while it does not.

use counterfill::units::ONE;
use serde_json::Value;

use crate::bench::{Bench, FIRST};
use crate::truth::{self, buy, sell};

pub fn halts(bench: &Bench) -> Vec<(String, String)> {
    let status = bench.status();
    // A running bot's status has an engine; a ledger's own has not.
    let list = if status["engine"].is_null() { &status["halts"] } else { &status["engine"]["halts"] };
    let word = |row: &Value, field: &str| row[field].as_str().unwrap_or("all").to_owned();
    list.as_array().unwrap().iter().map(|row| (word(row, "symbol"), word(row, "kind"))).collect()
}

pub fn refused(bench: &Bench, args: &[&str], code: i32) -> String {
    let out = bench.answers(args);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {out:?}");
    String::from_utf8(out.stderr).unwrap()
}

#[test]
fn halt_and_resume_through_the_running_bot() {
    let mut bench = Bench::ready();
    assert_eq!(bench.says(&["halt", "TSLA", "--reason", "earnings"]), "TSLA halted\n");
    bench.becomes_unready("halts");
    bench.mine(&[sell(0, 2_000), sell(1, 3_000)]);
    bench.until("the other ticker is hedged", || bench.orders() == 1);
    bench.catches_up();
    // AAPL's order came from the same batch or a later one than TSLA's fill; TSLA has none.
    let tsla = |bench: &Bench| {
        let book = truth::book(&bench.data());
        book.iter().filter(|order| order.order.symbol.as_str() == "TSLA").count()
    };
    bench.mine(&[sell(0, 1_000), sell(1, 1_000)]);
    bench.until("the other ticker is hedged again", || bench.orders() == 2);
    assert_eq!(tsla(&bench), 0);
    let screen = bench.says(&["status"]);
    assert!(screen.contains("NOT READY") && screen.contains("halted (operator): earnings"), "{screen}");
    assert!(screen.contains("bot resume TSLA --reason"), "{screen}");
    // Another name, another ticker and another kind lift nothing.
    for args in [
        &["resume", "--reason", "x"][..],
        &["resume", "AAPL", "--reason", "x"],
        &["resume", "TSLA", "--kind", "rejects", "--reason", "x"],
    ] {
        assert!(refused(&bench, args, 69).contains("`bot status` lists halts"));
    }
    assert_eq!(halts(&bench), [("TSLA".to_owned(), "operator".to_owned())]);
    assert_eq!(bench.says(&["resume", "TSLA", "--reason", "over"]), "TSLA resumed\n");
    bench.settles();
    assert_eq!(tsla(&bench), 1);
    bench.logs("lifted by tester: over");
    assert_eq!(bench.ends_clean(), 3);
}

/// In an emergency nobody has a reason at hand, looks for the shift key, or reads twice what was typed.
#[test]
fn a_halt_needs_no_reason_and_no_capitals_and_holds_what_it_says() {
    let mut bench = Bench::ready();
    for running in [true, false] {
        let told = refused(&bench, &["halt", "TSLAA"], 69);
        assert!(told.contains("nothing was halted") && told.contains("did you mean TSLA?"), "{told}");
        let told = refused(&bench, &["halt", "GOOG"], 69);
        assert!(told.contains("it knows ") && told.contains("TSLA; `bot halt` without"), "{told}");
        assert_eq!(halts(&bench), []);
        assert!(bench.says(&["halt", "tsla"]).starts_with("TSLA halted"));
        assert!(bench.says(&["halt"]).starts_with("all tickers halted"));
        let mut both = halts(&bench);
        both.sort();
        assert_eq!(both, [("TSLA", "operator"), ("all", "operator")].map(owned));
        assert!(bench.says(&["status"]).contains("by hand"));
        let told = refused(&bench, &["resume", "aapl"], 69);
        assert!(told.contains("TSLA (operator)") && told.contains("all tickers (operator)"), "{told}");
        assert!(bench.says(&["resume"]).starts_with("all tickers resumed"));
        assert!(bench.says(&["resume", "tsla"]).starts_with("TSLA resumed"));
        assert_eq!(halts(&bench), []);
        if running {
            bench.mine(&[sell(0, 1_000)]);
            bench.settles();
            bench.stop();
        }
    }
    bench.start();
    assert_eq!(bench.ends_clean(), 1);
}

fn owned((symbol, kind): (&str, &str)) -> (String, String) {
    (symbol.to_owned(), kind.to_owned())
}

#[test]
fn halt_and_resume_while_no_bot_runs() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(1, 1_000)]);
    bench.settles();
    bench.stop();
    assert!(bench.says(&["halt", "--reason", "holiday"]).starts_with("all tickers halted (no bot runs"));
    assert_eq!(halts(&bench), [("all".to_owned(), "operator".to_owned())]);
    bench.mine(&[sell(0, 2_000)]);
    bench.start();
    bench.becomes_unready("halts");
    bench.until("the fill is seen", || bench.fills().len() == 2);
    bench.catches_up();
    assert_eq!(bench.orders(), 1);
    bench.stop();
    assert!(refused(&bench, &["resume", "TSLA", "--reason", "x"], 69).contains("no `operator` halt"));
    assert!(bench.says(&["resume", "--reason", "back"]).starts_with("all tickers resumed (no bot runs"));
    assert_eq!(halts(&bench), []);
    assert_eq!(bench.orders(), 1);
    bench.start();
    bench.becomes_ready();
    assert_eq!(bench.ends_clean(), 2);
}

/// A new ledger at an account that has orders of an earlier one: halted until the operator has spoken.
#[test]
fn a_new_ledger_before_an_old_book() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(0, 2_000)]);
    bench.ends_clean();
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(bench.data().join(format!("bot.db{suffix}")));
    }
    let first = bench.node.mine_empty(1).number + 1;
    assert!(first > FIRST);
    bench.set(&[("DEPLOYMENT_BLOCK", &first.to_string())]);
    bench.start();
    bench.becomes_unready("halts");
    bench.mine(&[sell(1, 3_000)]);
    bench.until("the fill is seen", || bench.fills().len() == 1);
    bench.catches_up();
    assert_eq!(bench.orders(), 1);
    let screen = bench.says(&["status"]);
    assert!(screen.contains("bot resume --adopt-orders|--ignore-orders --reason"), "{screen}");
    assert!(refused(&bench, &["resume", "--reason", "x"], 69).contains("no `operator` halt"));
    let told = bench.says(&["resume", "--ignore-orders", "--reason", "the old ones are closed"]);
    assert_eq!(told, "all tickers resumed\n");
    bench.until("the order", || bench.orders() == 2);
    bench.becomes_ready();
    // Restarted, it still takes the old order for nobody's.
    bench.stop();
    bench.start();
    bench.becomes_ready();
    bench.mine(&[buy(1, 1_000)]);
    bench.until("one more", || bench.orders() == 3);
    bench.until("all done", || bench.hedges().iter().all(|row| row["state"] == "Filled"));
    bench.stop();
    assert_eq!(bench.hedges().len(), 2);
    let sums: i128 = truth::book(&bench.data())
        .iter()
        .filter(|order| order.order.symbol.as_str() == "AAPL")
        .map(|order| order.order.side.signed(order.order.executed).atoms())
        .sum();
    assert_eq!(sums, 2 * ONE);
}

#[test]
fn replay_finds_what_the_node_denied() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(0, 1_000)]);
    bench.settles();
    // eth_getLogs denies a block as often as it is asked, there are no receipts, no push: it is believed.
    bench.node.set_faults(|faults| {
        faults.drop_pushes = counterfill::sim::DropPushes::Logs;
        faults.empty_logs = true.into();
        let methods = ["eth_getBlockReceipts", "eth_getTransactionReceipt"];
        faults.missing_methods.extend(methods.map(str::to_owned));
    });
    let (_, tx) = bench.mine(&[sell(1, 3_000), sell(2, 400)]);
    bench.catches_up();
    assert_eq!(bench.verdict().lost, 5);
    let tx = tx.to_string();
    assert_eq!(refused(&bench, &["trace", &tx], 69), "");
    bench.node.heal();
    let told = bench.says(&["replay", &tx]);
    assert!(told.contains("2 added"), "{told}");
    bench.settles();
    // Again, and again after a restart far away from it: nothing moves.
    assert!(bench.says(&["replay", &tx]).contains("0 added, 2 known already"));
    bench.node.mine_empty(100);
    bench.catches_up();
    bench.stop();
    bench.start();
    bench.becomes_ready();
    assert!(bench.says(&["replay", &tx]).contains("0 added, 2 known already"));
    let traced = bench.says(&["trace", &tx]);
    for word in ["AAPL", "NVDA", "SELL", "Filled", "BUY"] {
        assert!(traced.contains(word), "{word}: {traced}");
    }
    for line in bench.says(&["trace", &tx, "--json"]).lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    let nowhere = format!("0x{}", "ab".repeat(32));
    assert!(refused(&bench, &["replay", &nowhere], 69).contains("no transaction"));
    assert_eq!(bench.ends_clean(), 2);
    assert!(refused(&bench, &["replay", &tx], 69).contains("bot run"));
    // Reading needs no bot.
    assert_eq!(bench.says(&["trace", &tx]), traced);
}

#[test]
fn replay_of_what_left_the_chain() {
    let mut bench = Bench::ready();
    let (_, tx) = bench.mine(&[sell(1, 3_000)]);
    bench.settles();
    bench.node.reorg(1, vec![vec![], vec![]]).unwrap();
    bench.settles();
    let told = refused(&bench, &["replay", &tx.to_string()], 69);
    assert!(told.contains("no transaction") || told.contains("not on the chain"), "{told}");
    let traced = bench.says(&["trace", &tx.to_string()]);
    assert!(traced.contains("reversed"), "{traced}");
    assert_eq!(bench.ends_clean(), 2);
}
