//! Batches: all of it or nothing, and nothing that contradicts what is there.

use counterfill::chain::ChainView;
use counterfill::fills::{Listing, SkipReason, TokenFact, TokenKind};
use counterfill::hedges::{Halt, HaltKind, IntentState};
use counterfill::ledger::{
    FailedAttempts, FillState, Ledger, LedgerError, Loaded, PassedOver, Reader, RecentFill, Source, Traded,
    Write,
};
use counterfill::units::{Millis, Shares, Side, Symbol};
use proptest::prelude::*;

use super::book::{
    Place, at, block, count, counting, dead, entry, execute, fill, hash, intent, skipped, step, symbol, token,
};

fn state(fill: &counterfill::fills::Fill, n: u32, counted: bool) -> FillState {
    FillState { fill: fill.clone(), n, standing: n.is_multiple_of(2), counted }
}

fn refused(ledger: &mut Ledger, writes: &[Write]) -> LedgerError {
    let before = ledger.load().unwrap();
    let error = ledger.commit(at(999), writes).unwrap_err();
    assert_eq!(ledger.load().unwrap(), before, "a refused batch left something: {error}");
    error
}

#[test]
fn every_write_is_read_back_also_after_a_restart() {
    let place = Place::new();
    let mut ledger = place.open();
    assert_eq!(ledger.load().unwrap().last_commit, None);

    let old = fill(1, "TSLA", Side::Buy, "2.000000000000000001", "400");
    let reversed = fill(2, "TSLA", Side::Sell, "0.5", "105");
    let seen = fill(3, "AAPL", Side::Buy, "1", "0");
    let reinstated = fill(4, "AAPL", Side::Sell, "3", "600");
    let mut writes = vec![Write::Token(token()), Write::Skipped(skipped()), Write::Dead(dead())];
    writes.extend(counting(&old));
    writes.extend(counting(&reversed));
    writes.extend([entry(&reversed, 1), count(&reversed, 1)]);
    writes.extend([Write::Fill(seen.clone()), entry(&seen, 0)]);
    writes.extend(counting(&reinstated));
    writes.extend([entry(&reinstated, 1), count(&reinstated, 1), entry(&reinstated, 2)]);
    let window = vec![block(101, 1), block(104, 4)];
    writes.push(Write::Cursor { cursor: block(104, 4), window: window.clone() });

    let mut sold = intent("cf-a-1", "TSLA", IntentState::Sent, 1);
    writes.push(Write::Intent(sold.clone()));
    sold.order_id = Some("1001".parse().unwrap());
    writes.push(step(&mut sold, IntentState::Working, 2, "read"));
    writes.push(execute(&mut sold, "1", "200"));
    writes.push(execute(&mut sold, "1", "201"));
    writes.push(step(&mut sold, IntentState::Filled, 3, "filled"));
    let planned = intent("cf-a-2", "TSLA", IntentState::Planned, 4);
    writes.push(Write::Intent(planned.clone()));
    let halt =
        |symbol, kind, reason: &str| Write::Halt { symbol, kind, reason: reason.into(), who: "ann".into() };
    let tsla = Some(symbol("TSLA"));
    writes.push(halt(None, HaltKind::Operator, "lunch"));
    writes.push(halt(tsla.clone(), HaltKind::Rejects, "five"));
    writes.push(halt(tsla.clone(), HaltKind::Operator, "news"));
    let (reason, who) = ("calm".to_owned(), "ann".to_owned());
    writes.push(Write::Lift { symbol: tsla.clone(), kind: HaltKind::Operator, reason, who });
    ledger.commit(at(5), &writes).unwrap();

    let expected = Loaded {
        passed_over: vec![],
        chain: ChainView {
            cursor: Some(block(104, 4)),
            window,
            standing: vec![(103, seen.id), (104, reinstated.id)],
            tokens: vec![token()],
            ..ChainView::default()
        },
        pending: vec![],
        fills: vec![state(&reversed, 1, true), state(&seen, 0, false), state(&reinstated, 2, false)],
        fill_sums: vec![
            (symbol("AAPL"), Shares::ZERO),
            (symbol("TSLA"), "2.000000000000000001".parse().unwrap()),
        ],
        fill_slack: vec![],
        execution_sums: vec![(symbol("TSLA"), Shares::whole(-2))],
        account_sums: vec![(symbol("TSLA"), Shares::whole(-2))],
        baselines: vec![],
        tag: None,
        begun: false,
        recent: [&old, &seen, &reinstated]
            .map(|fill| RecentFill {
                id: fill.id,
                symbol: fill.symbol.clone(),
                at: fill.traded_at(at(5)),
                cash: fill.cash,
                shares: fill.shares,
            })
            .to_vec(),
        traded: [&old, &reversed, &seen, &reinstated]
            .map(|fill| Traded { symbol: fill.symbol.clone(), cash: fill.cash, shares: fill.shares })
            .to_vec(),
        intents: vec![sold, planned],
        failures: vec![],
        halts: vec![
            Halt { symbol: None, kind: HaltKind::Operator, reason: "lunch".into() },
            Halt { symbol: tsla, kind: HaltKind::Rejects, reason: "five".into() },
        ],
        fills_total: 4,
        reversals_total: 2,
        dead_total: 1,
        first_compared_at: None,
        last_commit: Some(at(5)),
        compared_at: None,
    };
    assert_eq!(ledger.load().unwrap(), expected);
    assert_eq!(ledger.fill_states(reinstated.id.tx_hash).unwrap(), vec![state(&reinstated, 2, false)]);
    assert_eq!(ledger.fill_states(hash(0)).unwrap(), vec![]);
    ledger.close().unwrap();
    assert_eq!(place.open().load().unwrap(), expected);
}

#[test]
fn an_old_standing_fill_that_has_not_counted_is_loaded_and_a_counted_one_is_not() {
    let place = Place::new();
    let mut ledger = place.open();
    let (waiting, counted) = (fill(1, "TSLA", Side::Buy, "1", "1"), fill(2, "TSLA", Side::Buy, "1", "1"));
    let mut writes = vec![Write::Fill(waiting.clone()), entry(&waiting, 0)];
    writes.extend(counting(&counted));
    writes.push(Write::Cursor { cursor: block(300, 3), window: vec![block(236, 2), block(300, 3)] });
    ledger.commit(at(1), &writes).unwrap();
    let loaded = ledger.load().unwrap();
    assert_eq!(loaded.fills, vec![state(&waiting, 0, false)]);
    assert_eq!(loaded.chain.standing, vec![]);
    ledger.commit(at(2), &[count(&waiting, 0)]).unwrap();
    assert_eq!(ledger.load().unwrap().fills, vec![]);
    assert_eq!(ledger.load().unwrap().fill_sums, vec![(symbol("TSLA"), Shares::whole(2))]);
}

#[test]
fn the_reference_price_is_loaded_from_a_hundred_shares_and_dust_does_not_push_them_out() {
    let place = Place::new();
    let mut ledger = place.open();
    let mut writes = Vec::new();
    for (n, shares) in
        [(1, "70"), (2, "60"), (3, "60"), (4, "0.000000000000000001"), (5, "0.000000000000000001")]
    {
        writes.extend(counting(&fill(n, "TSLA", Side::Buy, shares, "1")));
    }
    ledger.commit(at(1), &writes).unwrap();
    let traded: Vec<String> =
        ledger.load().unwrap().traded.iter().map(|row| row.shares.to_string()).collect();
    assert_eq!(traded, ["60", "60", "0.000000000000000001", "0.000000000000000001"]);
}

#[test]
fn the_first_comparison_with_the_brokers_book_is_remembered_for_ever() {
    let place = Place::new();
    let mut ledger = place.open();
    assert_eq!(ledger.load().unwrap().first_compared_at, None);
    ledger.commit(at(1), &[Write::Token(token())]).unwrap();
    assert_eq!(ledger.load().unwrap().first_compared_at, None);
    ledger.commit(at(2), &[Write::Compared(at(2))]).unwrap();
    ledger.commit(at(3), &[Write::Compared(at(3))]).unwrap();
    ledger.commit(at(3), &[Write::Token(token())]).unwrap();
    ledger.close().unwrap();
    let loaded = place.open().load().unwrap();
    assert_eq!((loaded.first_compared_at, loaded.compared_at), (Some(at(2)), Some(at(3))));
}

#[test]
fn what_does_not_fit_the_entries_refuses_the_whole_batch() {
    let place = Place::new();
    let mut ledger = place.open();
    let (a, b) = (fill(1, "TSLA", Side::Buy, "1", "1"), fill(2, "TSLA", Side::Buy, "1", "1"));
    ledger.commit(at(1), &counting(&a)).unwrap();
    let with = |bad: Vec<Write>| counting(&b).into_iter().chain(bad).collect::<Vec<_>>();
    let contradictions: Vec<(&str, Vec<Write>)> = vec![
        ("a gap", with(vec![entry(&a, 2)])),
        ("an entry again", with(vec![entry(&a, 0)])),
        ("an entry of no fill", vec![entry(&b, 0)]),
        ("a count again after a reversal", with(vec![entry(&a, 1), count(&a, 0)])),
        ("a counted reversal of what did not count", {
            let c = fill(3, "TSLA", Side::Buy, "1", "1");
            with(vec![Write::Fill(c.clone()), entry(&c, 0), entry(&c, 1), count(&c, 1)])
        }),
        ("a reversal of a counted entry that does not count", with(vec![entry(&a, 1)])),
        ("a fill without an entry", vec![Write::Fill(b.clone())]),
        ("a count of no entry", with(vec![count(&a, 1)])),
    ];
    for (what, writes) in contradictions {
        let error = refused(&mut ledger, &writes);
        assert!(matches!(error, LedgerError::Contradiction(_)), "{what}: {error}");
        assert_eq!(error.exit_code(), 70, "{what}");
    }
    // What the constraints refuse is a database error, and refuses the batch as well.
    let wrong_sign = Write::Entry { id: a.id, n: 1, standing: true, source: Source::Push };
    let other_content = counterfill::fills::Fill { shares: Shares::whole(9), ..a.clone() };
    for writes in [with(vec![wrong_sign]), with(vec![Write::Fill(other_content)]), with(vec![count(&a, 0)])] {
        let error = refused(&mut ledger, &writes);
        assert!(matches!(error, LedgerError::Sql { .. }), "{error}");
        assert_eq!(error.exit_code(), 70);
    }
    // The connection is still good.
    ledger.commit(at(2), &counting(&b)).unwrap();
    assert_eq!(ledger.load().unwrap().fill_sums, vec![(symbol("TSLA"), Shares::whole(2))]);
}

#[test]
fn writing_a_known_token_skip_or_dead_event_again_is_nothing_but_another_token_fact_is_refused() {
    let place = Place::new();
    let mut ledger = place.open();
    let writes = [Write::Token(token()), Write::Skipped(skipped()), Write::Dead(dead())];
    ledger.commit(at(1), &writes).unwrap();
    ledger.commit(at(2), &writes).unwrap();
    assert_eq!(ledger.load().unwrap().dead_total, 1);
    assert_eq!(place.raw().query_row("SELECT count(*) FROM skipped_fills", [], |r| r.get(0)), Ok(1));
    let other = TokenFact { decimals: 6, ..token() };
    assert!(matches!(refused(&mut ledger, &[Write::Token(other)]), LedgerError::Contradiction(_)));
}

#[test]
fn a_trade_that_was_passed_over_has_one_answer_and_a_token_becomes_a_listed_share_once() {
    let place = Place::new();
    let mut ledger = place.open();
    let trade = skipped();
    let answered = |counted| {
        let (reason, who) = ("the other shard did".to_owned(), "operator".to_owned());
        Write::Answered { id: trade.id, counted, reason, who }
    };
    assert!(
        matches!(refused(&mut ledger, &[answered(true)]), LedgerError::Contradiction(_)),
        "no such trade"
    );
    let strangers = TokenFact { kind: TokenKind::Foreign, ..token() };
    let window = vec![block(trade.block_number - 1, 1), block(trade.block_number, 2)];
    let cursor = Write::Cursor { cursor: window[1], window };
    ledger.commit(at(1), &[Write::Token(strangers.clone()), Write::Skipped(trade.clone()), cursor]).unwrap();

    // It would be a fill where its tokens are listed, and nobody was asked.
    let mine: Symbol = "MINE".parse().unwrap();
    let listing = Listing {
        symbols: None,
        equities: [(trade.input_token, mine.clone())].into(),
        cash: [trade.output_token].into(),
    };
    let found = |ignored| PassedOver { trade: trade.clone(), symbol: mine.clone(), ignored };
    assert_eq!(trade.reason, SkipReason::ForeignPair);
    assert_eq!(ledger.passed_over(&Listing::default()).unwrap(), []);
    assert_eq!(ledger.passed_over(&Listing { symbols: Some([].into()), ..listing.clone() }).unwrap(), []);
    assert_eq!(ledger.passed_over(&listing).unwrap(), [found(false)]);
    ledger.commit(at(2), &[answered(false)]).unwrap();
    assert!(matches!(refused(&mut ledger, &[answered(true)]), LedgerError::Sql { .. }), "answered already");
    // A fork may still move it.
    assert_eq!(ledger.passed_over(&listing).unwrap(), [found(true)]);
    let window = vec![block(trade.block_number, 2), block(trade.block_number + 1, 3)];
    ledger.commit(at(3), &[Write::Cursor { cursor: window[1], window }]).unwrap();
    assert_eq!(ledger.passed_over(&listing).unwrap(), []);

    // What a stranger's token is may change to a listed share, with the same decimals, and never again.
    let other = TokenFact { decimals: 6, ..token() };
    assert!(matches!(refused(&mut ledger, &[Write::Token(other)]), LedgerError::Contradiction(_)));
    ledger.commit(at(4), &[Write::Token(token())]).unwrap();
    assert_eq!(ledger.load().unwrap().chain.tokens, [token()]);
    assert!(matches!(refused(&mut ledger, &[Write::Token(strangers)]), LedgerError::Contradiction(_)));
    let raw = place.raw();
    assert!(raw.execute("UPDATE tokens SET kind = 'foreign', ticker = NULL", []).is_err());
}

#[test]
fn an_intent_moves_only_from_where_it_is() {
    let place = Place::new();
    let mut ledger = place.open();
    let mut sent = intent("cf-a-1", "TSLA", IntentState::Sent, 1);
    ledger.commit(at(1), &[Write::Intent(sent.clone())]).unwrap();

    let mut from_elsewhere = counterfill::hedges::Intent { state: IntentState::Unknown, ..sent.clone() };
    let write = step(&mut from_elsewhere, IntentState::Stuck, 2, "");
    assert!(matches!(refused(&mut ledger, &[write]), LedgerError::WrongState { .. }));
    let mut no_arrow = sent.clone();
    let write = step(&mut no_arrow, IntentState::Filled, 2, "");
    assert!(matches!(refused(&mut ledger, &[write]), LedgerError::Contradiction(_)));
    let mut skips_one = counterfill::hedges::Intent { transitions: 1, ..sent.clone() };
    let write = step(&mut skips_one, IntentState::Working, 2, "");
    assert!(matches!(refused(&mut ledger, &[write]), LedgerError::WrongState { .. }));
    let mut unborn = intent("cf-a-9", "AAPL", IntentState::Sent, 1);
    let write = step(&mut unborn, IntentState::Working, 2, "");
    assert!(matches!(refused(&mut ledger, &[write]), LedgerError::WrongState { .. }));

    // The id of the order is claimed while the state stays.
    sent.order_id = Some("1001".parse().unwrap());
    let write = step(&mut sent, IntentState::Sent, 2, "claimed");
    ledger.commit(at(2), &[write]).unwrap();
    assert_eq!(ledger.load().unwrap().intents, vec![sent]);
}

#[test]
fn one_live_intent_of_ours_per_ticker_and_adopted_ones_beside_it() {
    let place = Place::new();
    let mut ledger = place.open();
    let mut first = intent("cf-a-1", "TSLA", IntentState::Sent, 1);
    ledger.commit(at(1), &[Write::Intent(first.clone())]).unwrap();
    let second = intent("cf-a-2", "TSLA", IntentState::Planned, 2);
    let error = refused(&mut ledger, &[Write::Intent(second.clone())]);
    assert!(error.to_string().contains("UNIQUE constraint failed: intents.symbol"), "{error}");
    let adopted =
        counterfill::hedges::Intent { adopted: true, ..intent("cf-x-1", "TSLA", IntentState::Stuck, 2) };
    let elsewhere = intent("cf-a-3", "AAPL", IntentState::Planned, 2);
    ledger.commit(at(2), &[Write::Intent(adopted), Write::Intent(elsewhere)]).unwrap();
    // The end of the first and the birth of the second fit into one batch.
    let end = step(&mut first, IntentState::Refused, 3, "no");
    ledger.commit(at(3), &[end, Write::Intent(second)]).unwrap();
    assert_eq!(ledger.load().unwrap().intents.len(), 4);
}

#[test]
fn executions_have_no_gap_and_the_engine_must_believe_their_sum() {
    let place = Place::new();
    let mut ledger = place.open();
    let mut sent = intent("cf-a-1", "TSLA", IntentState::Sent, 1);
    sent.order_id = Some("1001".parse().unwrap());
    ledger.commit(at(1), &[Write::Intent(sent.clone())]).unwrap();

    let mut gap = counterfill::hedges::Intent { executions: 1, ..sent.clone() };
    let write = execute(&mut gap, "1", "200");
    assert!(matches!(refused(&mut ledger, &[write]), LedgerError::Contradiction(_)));
    let mut negative = sent.clone();
    let write = execute(&mut negative, "-1", "200");
    assert!(matches!(refused(&mut ledger, &[write]), LedgerError::Contradiction(_)));
    let mut dreaming = counterfill::hedges::Intent { executed: Shares::whole(1), ..sent.clone() };
    let write = step(&mut dreaming, IntentState::Working, 2, "");
    assert!(matches!(refused(&mut ledger, &[write]), LedgerError::Contradiction(_)));

    // The execution may come after the transition that knows of it, or after one that does not.
    let mut knows = sent.clone();
    let execution = execute(&mut knows, "1.5", "200");
    let working = step(&mut knows, IntentState::Working, 2, "");
    ledger.commit(at(2), &[working, execution]).unwrap();
    let stays = step(&mut knows, IntentState::Working, 3, "again");
    let back = execute(&mut knows, "-0.5", "200");
    ledger.commit(at(3), &[stays, back]).unwrap();
    assert_eq!(ledger.load().unwrap().intents, vec![knows]);
    assert_eq!(ledger.load().unwrap().execution_sums, vec![(symbol("TSLA"), Shares::whole(-1))]);
}

#[test]
fn failures_are_counted_since_the_last_execution() {
    let place = Place::new();
    let mut ledger = place.open();
    let ends = [
        (IntentState::Refused, "margin", true, None, Some((1, 10))),
        (IntentState::Refused, "refused connection", false, None, Some((1, 10))),
        (IntentState::Refused, "429", false, None, Some((1, 10))),
        (IntentState::Expired, "", true, None, Some((1, 10))),
        (IntentState::Rejected, "halted", true, None, Some((2, 50))),
        (IntentState::Canceled, "by hand", true, Some("1"), None),
        (IntentState::Canceled, "by hand", true, None, Some((1, 70))),
        // The broker's own words, which decide nothing.
        (IntentState::Refused, "not sent to the exchange: margin", true, None, Some((2, 80))),
        (IntentState::Refused, "gate: closed for this asset", true, None, Some((3, 90))),
    ];
    for (number, (end, reason, counted, executed, expected)) in (1..).zip(ends) {
        let seconds = number * 10;
        let mut tried = intent(&format!("cf-a-{number}"), "TSLA", IntentState::Sent, seconds - 5);
        tried.order_id = Some(format!("100{number}").parse().unwrap());
        tried.counted = counted;
        let mut writes = vec![Write::Intent(tried.clone())];
        if end != IntentState::Refused {
            writes.push(step(&mut tried, IntentState::Working, seconds - 1, ""));
        }
        writes.extend(executed.map(|quantity| execute(&mut tried, quantity, "200")));
        writes.push(step(&mut tried, end, seconds, reason));
        ledger.commit(at(seconds), &writes).unwrap();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(count, ended)| FailedAttempts { symbol: symbol("TSLA"), count, ended_at: at(ended) })
            .collect();
        assert_eq!(ledger.load().unwrap().failures, expected, "after {end} {reason}");
    }
}

#[test]
fn terminal_intents_are_loaded_for_a_day() {
    let place = Place::new();
    let mut ledger = place.open();
    let mut done = intent("cf-a-1", "TSLA", IntentState::Planned, 0);
    let writes = [Write::Intent(done.clone()), step(&mut done, IntentState::Withdrawn, 0, "")];
    ledger.commit(at(0), &writes).unwrap();
    let day = 25 * 60 * 60;
    let tick = |byte| Write::Cursor { cursor: block(200, byte), window: vec![block(200, byte)] };
    // A process that has not compared the broker's book may write as it likes.
    ledger.commit(at(9 * day), &[tick(1)]).unwrap();
    assert_eq!(ledger.load().unwrap().compared_at, None);
    assert_eq!(ledger.load().unwrap().intents, vec![done.clone()]);
    ledger.commit(at(day), &[Write::Compared(at(day))]).unwrap();
    assert_eq!(ledger.load().unwrap().compared_at, Some(at(day)));
    assert_eq!(ledger.load().unwrap().intents, vec![done.clone()]);
    drop(ledger);
    let mut ledger = place.open();
    ledger.commit(at(9 * day), &[tick(2)]).unwrap();
    assert_eq!(ledger.load().unwrap().intents, vec![done]);
    ledger.commit(Millis(at(day).0 + 1), &[tick(3), Write::Compared(Millis(at(day).0 + 1))]).unwrap();
    assert_eq!(ledger.load().unwrap().intents, vec![]);
}

#[test]
fn an_empty_batch_is_no_commit_and_a_window_must_ascend_to_the_cursor() {
    let place = Place::new();
    let mut ledger = place.open();
    ledger.commit(at(1), &[]).unwrap();
    assert_eq!(ledger.load().unwrap().last_commit, None);
    for window in [vec![block(101, 1), block(100, 2)], vec![block(100, 2), block(102, 2)]] {
        let write = Write::Cursor { cursor: block(100, 2), window };
        assert!(matches!(refused(&mut ledger, &[write]), LedgerError::Contradiction(_)));
    }
}

#[test]
fn what_happened_can_not_be_changed_or_removed() {
    let place = Place::new();
    let mut ledger = place.open();
    let a = fill(1, "TSLA", Side::Buy, "1", "1");
    let mut sold = intent("cf-a-1", "TSLA", IntentState::Sent, 1);
    sold.order_id = Some("1001".parse().unwrap());
    let mut writes = vec![Write::Token(token()), Write::Skipped(skipped()), Write::Dead(dead())];
    writes.extend(counting(&a));
    writes.push(Write::Intent(sold.clone()));
    writes.push(execute(&mut sold, "1", "200"));
    let (reason, who) = ("lunch".to_owned(), "ann".to_owned());
    writes.push(Write::Halt {
        symbol: None,
        kind: HaltKind::Operator,
        reason: reason.clone(),
        who: who.clone(),
    });
    writes.push(Write::Answered { id: skipped().id, counted: true, reason, who });
    ledger.commit(at(1), &writes).unwrap();
    let raw = place.raw();
    let columns = [
        ("tokens", "decimals"),
        ("fills", "shares"),
        ("fill_entries", "at"),
        ("fill_counts", "at"),
        ("skipped_fills", "reason"),
        ("skipped_answers", "counted"),
        ("dead_events", "reason"),
        ("intent_transitions", "at"),
        ("executions", "quantity"),
        ("halts", "raised"),
        ("stamp", "account"),
    ];
    for (table, column) in columns {
        let rows: i64 = raw.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).unwrap();
        assert!(rows > 0, "{table}");
        for sql in [format!("UPDATE {table} SET {column} = {column}"), format!("DELETE FROM {table}")] {
            let error = raw.execute(&sql, []).unwrap_err().to_string();
            assert!(error.contains("append-only") || error.contains("never changes"), "{sql}: {error}");
        }
    }
    assert!(raw.execute("DELETE FROM intents", []).is_err());
    assert!(raw.execute("UPDATE intents SET side = 'BUY'", []).is_err());
    raw.execute("UPDATE stamp SET app_tag = 'ours'", []).unwrap();
    for sql in [
        "UPDATE intents SET state = 'Done'",
        "UPDATE intents SET live = NULL",
        "INSERT INTO halts (symbol, kind, raised, reason, who, at) VALUES (NULL, 'mood', 1, '', '', 0)",
        "INSERT INTO window (number, hash) VALUES (1, '0xAB')",
        "INSERT INTO executions VALUES ('1001', 1, 1, '1e3', NULL, 0)",
    ] {
        let error = raw.execute(sql, []).unwrap_err().to_string();
        assert!(error.contains("CHECK constraint failed"), "{sql}: {error}");
    }
}

/// What one fill is in a naive fold.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Naive {
    n: u32,
    counted: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_of_entries_and_counts_sums_as_a_naive_fold(
        steps in prop::collection::vec((0_u8..5, any::<bool>(), any::<bool>()), 1..60)
    ) {
        let sides = [Side::Buy, Side::Sell];
        let shares = ["0.000000000000000001", "1", "2.5", "100000000", "0.333333333333333333"];
        let fills: Vec<_> = (0_u8..5)
            .map(|i| fill(i, if i < 3 { "TSLA" } else { "AAPL" }, sides[usize::from(i % 2)], shares[usize::from(i)], "7"))
            .collect();
        let place = Place::new();
        let mut ledger = place.open();
        let mut naive: [Option<Naive>; 5] = [None; 5];
        let mut batch = Vec::new();
        for (index, counts, commit) in steps {
            let (fill, known) = (&fills[usize::from(index)], &mut naive[usize::from(index)]);
            match known {
                None => {
                    batch.extend([Write::Fill(fill.clone()), entry(fill, 0)]);
                    batch.extend(counts.then(|| count(fill, 0)));
                    *known = Some(Naive { n: 0, counted: counts });
                }
                Some(last) if last.n % 2 == 0 && !last.counted && counts => {
                    batch.push(count(fill, last.n));
                    last.counted = true;
                }
                Some(last) => {
                    let reversal = last.n % 2 == 0;
                    let counted = if reversal { last.counted } else { counts };
                    batch.push(entry(fill, last.n + 1));
                    batch.extend(counted.then(|| count(fill, last.n + 1)));
                    *last = Naive { n: last.n + 1, counted };
                }
            }
            if commit {
                ledger.commit(at(1), &std::mem::take(&mut batch)).unwrap();
            }
        }
        ledger.commit(at(2), &batch).unwrap();
        for ticker in ["AAPL", "TSLA"] {
            let expected = fills.iter().zip(&naive).filter(|(fill, _)| fill.symbol == symbol(ticker)).fold(
                Shares::ZERO,
                |sum, (fill, known)| match known {
                    Some(last) if last.n % 2 == 0 && last.counted => sum.checked_add(fill.signed_shares()).unwrap(),
                    _ => sum,
                },
            );
            let loaded = ledger.load().unwrap();
            let sum = loaded.fill_sums.iter().find(|(name, _)| *name == symbol(ticker));
            prop_assert_eq!(sum.map_or(Shares::ZERO, |(_, sum)| *sum), expected);
            let positions = Reader::open(&place.path()).unwrap().positions().unwrap();
            let position = positions.iter().find(|row| row.symbol == symbol(ticker));
            prop_assert_eq!(position.map_or(Shares::ZERO, |row| row.exposure), expected);
        }
        for (fill, known) in fills.iter().zip(&naive) {
            let expected: Vec<_> = known.iter().map(|last| state(fill, last.n, last.counted)).collect();
            prop_assert_eq!(ledger.fill_states(fill.id.tx_hash).unwrap(), expected);
        }
    }
}
