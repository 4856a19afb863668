//! Birth, opening again, and every reason to refuse.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use alloy::primitives::Address;
use counterfill::fills::Fill;
use counterfill::hedges::{Halt, HaltKind, IntentState};
use counterfill::ledger::{
    Closed, FailedAttempts, Filter, Ledger, LedgerError, Reader, Stamp, Write, migrations,
};
use counterfill::units::{Millis, Shares, Side};
use refinery::Migration;

use super::book::{
    BORN, Place, at, block, counting, dead, fill, intent, skipped, stamp, step, symbol, token,
};

fn one_fill() -> Fill {
    fill(1, "TSLA", Side::Buy, "1", "1")
}

/// A ledger with one fill, closed.
fn used() -> Place {
    let place = Place::new();
    let mut ledger = place.open();
    ledger.commit(at(1), &counting(&one_fill())).unwrap();
    ledger.close().unwrap();
    place
}

fn refusal(path: &Path, stamp: &Stamp) -> LedgerError {
    Ledger::open(path, stamp, BORN).unwrap_err()
}

/// The newest schema that this program knows.
fn newest() -> i32 {
    migrations().unwrap().iter().map(Migration::version).max().unwrap()
}

fn next_year() -> Vec<Migration> {
    let mut list = migrations().unwrap();
    list.push(Migration::unapplied("V99__moods", "CREATE TABLE moods (mood TEXT NOT NULL) STRICT;").unwrap());
    list
}

#[test]
fn a_new_ledger_is_private_stamped_and_whole() {
    let place = Place::new();
    assert_eq!(Ledger::stamped_chain_id(&place.path()).unwrap(), None);
    let ledger = place.open();
    assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(Ledger::stamped_chain_id(&place.path()).unwrap(), Some(8453));
    assert_eq!(ledger.warnings(), [""; 0]);
    let raw = place.raw();
    let mode: String = raw.query_row("PRAGMA journal_mode", [], |r| r.get(0)).unwrap();
    assert_eq!(mode, "wal");
    let loose: i64 = raw
        .query_row(
            "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0 \
                    AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'refinery%'",
            [],
            |r| r.get(0),
        )
        .unwrap();
    assert_eq!(loose, 0, "every table is STRICT");
    drop(raw);
    ledger.close().unwrap();
    assert_eq!(place.names(), ["bot.db", "bot.db.lock"], "nothing is left beside it");
}

#[test]
fn the_second_writer_is_told_who_the_first_is() {
    let place = Place::new();
    let first = place.open();
    let error = refusal(&place.path(), &stamp());
    let me = format!("process {} on ", std::process::id());
    assert!(matches!(&error, LedgerError::Locked { holder, .. } if holder.starts_with(&me)), "{error}");
    assert!(error.to_string().contains(&format!("since {BORN}")), "{error}");
    assert_eq!(error.exit_code(), 75);
    // Another name of the same file has the same lock.
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("linked.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    assert!(matches!(refusal(&link, &stamp()), LedgerError::Locked { .. }));
    drop(first);
    place.open();
}

#[test]
fn a_place_that_can_not_hold_a_ledger_is_refused_with_what_to_type() {
    let place = Place::new();
    let file = place.path().with_file_name("file");
    fs::write(&file, "x").unwrap();
    let directory = place.path().with_file_name("directory");
    fs::create_dir(&directory).unwrap();
    let dangling = place.path().with_file_name("link.db");
    std::os::unix::fs::symlink("/nowhere/bot.db", &dangling).unwrap();
    let rows = [
        (file.join("bot.db"), "DATABASE_URL"),
        (place.path().with_file_name("missing").join("bot.db"), "mkdir -p"),
        (directory, "DATABASE_URL"),
        (dangling, "remove the link"),
    ];
    for (path, remedy) in rows {
        let error = refusal(&path, &stamp());
        assert!(matches!(error, LedgerError::NoPlace { .. }), "{}: {error:?}", path.display());
        assert!(error.to_string().contains(remedy), "{error}");
        assert_eq!(error.exit_code(), 78);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_directory_that_takes_no_file_is_refused_with_its_owner() {
    // sysfs refuses new files to root as well; a build sandbox may have none.
    if !Path::new("/sys/kernel").exists() {
        eprintln!("not tried: there is no /sys/kernel here");
        return;
    }
    let error = refusal(Path::new("/sys/kernel/bot.db"), &stamp());
    assert!(matches!(error, LedgerError::NotWritable { .. } | LedgerError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().contains("it belongs to 0:0 with mode 0755"), "{error}");
    assert_eq!(error.exit_code(), 78);
}

#[test]
fn another_configuration_is_refused_field_by_field() {
    let place = used();
    let other = Stamp {
        chain_id: 1,
        orderbooks: vec![stamp().orderbooks[0]],
        account: "1234".into(),
        hedge_from_block: Some(5),
        deployment_block: 99,
        ..stamp()
    };
    let error = refusal(&place.path(), &other);
    let LedgerError::ForeignStamp { differences, .. } = &error else { panic!("{error:?}") };
    let fields: Vec<&str> = differences.iter().map(|difference| difference.field).collect();
    assert_eq!(fields, ["CHAIN_ID", "ORDERBOOK", "account", "HEDGE_FROM_BLOCK", "DEPLOYMENT_BLOCK"]);
    assert!(
        error.to_string().contains("CHAIN_ID: the ledger says 8453, the configuration says 1"),
        "{error}"
    );
    assert_eq!(error.exit_code(), 78);
}

/// Another owner, broker, account, chain and beginning than [`stamp`].
fn other() -> Stamp {
    Stamp {
        chain_id: 1,
        owners: vec![Address::repeat_byte(0xbb)],
        broker: "alpaca".into(),
        account: "alpaca-live-1234".into(),
        hedge_from_block: Some(5),
        deployment_block: 9,
        ..stamp()
    }
}

/// Whoever corrects a wrong setting before the first fill has nothing that could be hedged in another book's name.
#[test]
fn a_ledger_that_holds_nothing_is_stamped_anew() {
    let place = Place::new();
    let mut ledger = place.open();
    // All of this is read again from the chain, or is of the account that is left.
    ledger
        .commit(
            at(1),
            &[
                Write::Token(token()),
                Write::Skipped(skipped()),
                Write::Dead(dead()),
                Write::Cursor { cursor: block(107, 7), window: vec![block(107, 7)] },
                Write::Compared(at(1)),
            ],
        )
        .unwrap();
    ledger.close().unwrap();
    let reading = Reader::open(&place.path()).unwrap();
    assert_eq!(reading.summary().unwrap().skipped, 1);
    assert_eq!(Ledger::stamp_to_keep(&place.path(), &other()).unwrap(), None);

    let ledger = Ledger::open(&place.path(), &other(), at(2)).unwrap();
    assert!(
        ledger.warnings()[0].contains("was stamped anew (CHAIN_ID was 8453, ORDER_OWNER was 0xaa"),
        "{:?}",
        ledger.warnings()
    );
    let summary = Reader::open(&place.path()).unwrap().summary().unwrap();
    assert_eq!((summary.chain_id, summary.broker.as_str(), summary.deployment_block), (1, "alpaca", 9));
    assert_eq!((summary.cursor, summary.skipped, summary.dead, summary.born_at), (None, 0, 0, at(2)));
    assert!(ledger.load().unwrap().chain.tokens.is_empty());
    assert_eq!(reading.summary().unwrap(), summary, "who had it open reads the same file");
    ledger.close().unwrap();
    drop(reading);
    // What it was is kept, and nothing else is left.
    let names = place.names();
    let backup = names.iter().find(|name| name.starts_with("bot.db.backup-")).expect("a backup");
    let kept = Reader::open(&place.path().with_file_name(backup)).unwrap().summary().unwrap();
    assert_eq!((kept.chain_id, kept.skipped), (8453, 1));
    assert!(!names.iter().any(|name| name.contains(".anew") || name.contains(".birth")), "{names:?}");
    // It is an ordinary ledger from then on.
    let mut ledger = Ledger::open(&place.path(), &other(), at(3)).unwrap();
    assert_eq!(ledger.warnings(), [""; 0]);
    ledger.commit(at(4), &counting(&one_fill())).unwrap();
    ledger.close().unwrap();
    assert!(matches!(refusal(&place.path(), &stamp()), LedgerError::ForeignStamp { .. }));
}

#[test]
fn a_ledger_that_holds_anything_keeps_its_stamp() {
    let halt = Write::Halt { symbol: None, kind: HaltKind::Operator, reason: "x".into(), who: "me".into() };
    let answered = Write::Answered { id: skipped().id, counted: false, reason: "x".into(), who: "me".into() };
    for writes in [counting(&one_fill()), vec![halt], vec![Write::Skipped(skipped()), answered]] {
        let place = Place::new();
        let mut ledger = place.open();
        ledger.commit(at(1), &writes).unwrap();
        ledger.close().unwrap();
        assert!(matches!(refusal(&place.path(), &other()), LedgerError::ForeignStamp { .. }), "{writes:?}");
        let (kept, unused) = Ledger::stamp_to_keep(&place.path(), &other()).unwrap().expect("a stamp");
        assert_eq!((kept.chain_id, unused), (8453, false));
        assert!(!place.names().iter().any(|name| name.contains("backup")), "{:?}", place.names());
    }
}

#[test]
fn sets_have_no_order_and_a_higher_deployment_block_is_only_a_warning() {
    let place = used();
    let mut same = Stamp { deployment_block: 200, ..stamp() };
    same.orderbooks.reverse();
    same.owners.push(same.owners[0]);
    let ledger = Ledger::open(&place.path(), &same, BORN).unwrap();
    let warnings = ledger.warnings();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("DEPLOYMENT_BLOCK=200 has no effect"), "{warnings:?}");
}

#[test]
fn a_migration_is_preceded_by_a_backup_that_is_a_ledger() {
    let place = used();
    let later = Ledger::open_with(&place.path(), &stamp(), BORN, &next_year()).unwrap();
    assert_eq!(later.load().unwrap().fills_total, 1);
    drop(later);
    assert!(place.raw().execute("INSERT INTO moods VALUES ('fine')", []).is_ok());
    let names = place.names();
    assert_eq!(names, ["bot.db", &format!("bot.db.backup-{}-20261118T110640Z", newest()), "bot.db.lock"]);
    let backup = place.path().with_file_name(&names[1]);
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);

    // This year's program refuses it and names the backup, from which it goes on.
    for error in [refusal(&place.path(), &stamp()), Reader::open(&place.path()).unwrap_err()] {
        assert!(
            matches!(error, LedgerError::NewerSchema { found: 99, known, .. } if i64::from(newest()) == known),
            "{error:?}"
        );
        assert!(error.to_string().contains(&names[1]), "{error}");
        assert_eq!(error.exit_code(), 78);
    }
    fs::rename(&backup, place.path()).unwrap();
    assert_eq!(place.open().load().unwrap().fill_sums, vec![(symbol("TSLA"), Shares::whole(1))]);
    assert_eq!(place.names(), ["bot.db", "bot.db.lock"], "nothing to migrate, no backup");
}

/// A supervisor starts it again at once; every start makes its own backup, and removes what an earlier one left half made.
#[test]
fn a_start_that_died_in_its_migration_is_followed_by_others_in_the_same_second() {
    let place = used();
    let mut broken = migrations().unwrap();
    broken.push(Migration::unapplied("V99__moods", "INSERT INTO nowhere VALUES (1);").unwrap());
    for _ in 0..2 {
        let error = Ledger::open_with(&place.path(), &stamp(), BORN, &broken).unwrap_err();
        assert!(error.to_string().contains("no such table"), "{error}");
        for half in
            ["bot.db.backup-1-20261118T110639Z.partial", "bot.db.backup-1-20261118T110639Z.partial-journal"]
        {
            fs::write(place.path().with_file_name(half), b"half").unwrap();
        }
    }
    let later = Ledger::open_with(&place.path(), &stamp(), BORN, &next_year()).unwrap();
    assert_eq!(later.load().unwrap().fills_total, 1);
    drop(later);
    let backups = ["", "-2", "-3"].map(|more| format!("bot.db.backup-{}-20261118T110640Z{more}", newest()));
    let mut names = vec!["bot.db".to_owned()];
    names.extend(backups);
    names.push("bot.db.lock".to_owned());
    assert_eq!(place.names(), names);
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    // The second one breaks the line in the history that follows it: both are one transaction.
    for breaks in ["INSERT INTO nowhere VALUES (1);", "DROP TABLE refinery_schema_history;"] {
        let place = used();
        let mut list = migrations().unwrap();
        let sql = format!("CREATE TABLE moods (mood TEXT) STRICT; {breaks}");
        list.push(Migration::unapplied("V99__moods", &sql).unwrap());
        let error = Ledger::open_with(&place.path(), &stamp(), BORN, &list).unwrap_err();
        assert!(error.to_string().contains("no such table"), "{error}");
        assert_eq!(place.open().load().unwrap().fills_total, 1);
        assert!(place.raw().execute("INSERT INTO moods VALUES ('fine')", []).is_err(), "{breaks}");
    }
}

#[test]
fn the_first_ledgers_are_migrated_with_every_row_they_hold() {
    let place = Place::new();
    let first = &migrations().unwrap()[..1];
    Ledger::open_with(&place.path(), &stamp(), BORN, first).unwrap().close().unwrap();
    let raw = place.raw();
    raw.execute_batch(
        "INSERT INTO halts VALUES (1, 'TSLA', 'rejects', 1, 'five', 'engine', 5), (2, 'TSLA', 'rejects', 0, 'ok', 'ann', 6), \
         (3, NULL, 'foreign_order', 1, 'old', 'engine', 7); INSERT INTO last_commit VALUES (1, 7, 1, 6, 5);
         WITH refused (n, reason) AS (VALUES (1, 'margin'), (2, 'not sent: refused connection'), (3, 'gate: 429'), (4, 'no'))
         INSERT INTO intents SELECT n, 'cf-a-' || n, 'AAPL', 'BUY', '1', 'Refused', NULL, 1, n, n, n, NULL, '0', 0, 0, NULL,
         reason FROM refused;",
    )
    .unwrap();
    drop(raw);
    let ledger = place.open();
    let loaded = ledger.load().unwrap();
    let old = Halt { symbol: None, kind: HaltKind::ForeignOrder, reason: "old".to_owned() };
    assert_eq!(loaded.halts, [old]);
    assert_eq!((loaded.begun, loaded.tag, loaded.compared_at), (false, None, Some(Millis(6))));
    // What the prose of older rows said counts as it did.
    let failed = FailedAttempts { symbol: "AAPL".parse().unwrap(), count: 2, ended_at: Millis(4) };
    assert_eq!(loaded.failures, [failed]);
    drop(ledger);
    let raw = place.raw();
    let rows: i64 = raw.query_row("SELECT count(*) FROM halts", [], |r| r.get(0)).unwrap();
    assert_eq!(rows, 3);
    for refused in [
        "UPDATE halts SET raised = 0",
        "DELETE FROM halts",
        "INSERT INTO halts VALUES (4, NULL, 'mood', 1, '', '', 1)",
    ] {
        assert!(raw.execute(refused, []).is_err(), "{refused}");
    }
    raw.execute("INSERT INTO halts VALUES (4, 'TSLA', 'drift', 1, '', '', 1)", []).unwrap();
    raw.execute("UPDATE stamp SET app_tag = 'TA_x'", []).unwrap();
    assert!(raw.execute("UPDATE stamp SET app_tag = 'TA_y'", []).is_err(), "a tag is learnt once");
}

#[test]
fn a_changed_migration_is_refused() {
    let place = used();
    let sql = format!("{}\n-- one line more", include_str!("../../../migrations/V1__ledger.sql"));
    let mut list = migrations().unwrap();
    list[0] = Migration::unapplied("V1__ledger", &sql).unwrap();
    let error = Ledger::open_with(&place.path(), &stamp(), BORN, &list).unwrap_err();
    assert!(matches!(error, LedgerError::ChangedMigration { .. }), "{error:?}");
    assert_eq!(error.exit_code(), 78);
}

#[test]
fn damage_is_refused_and_the_newest_backup_is_named() {
    let garbage = |path: &Path| fs::write(path, [0xa5; 8192]).unwrap();
    let truncated = |path: &Path| {
        let whole = fs::read(path).unwrap();
        fs::write(path, &whole[..whole.len() / 2]).unwrap();
    };
    let emptied = |path: &Path| fs::write(path, "").unwrap();
    let foreign = |path: &Path| {
        fs::remove_file(path).unwrap();
        rusqlite::Connection::open(path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    };
    let unreadable = |path: &Path| {
        let raw = rusqlite::Connection::open(path).unwrap();
        raw.execute("UPDATE refinery_schema_history SET checksum = 'none'", []).unwrap();
    };
    let gone = |path: &Path| {
        fs::remove_file(path).unwrap();
        fs::write(path.with_file_name("bot.db-wal"), [0; 64]).unwrap();
    };
    type Damage<'a> = &'a dyn Fn(&Path);
    let rows: [(&str, Damage<'_>, Option<&str>); 6] = [
        ("garbage", &garbage, Some("not a database")),
        ("truncated", &truncated, Some("malformed")),
        ("emptied", &emptied, Some("it is empty")),
        ("another database", &foreign, Some("not a ledger of this program")),
        ("a log without its file", &gone, Some("bot.db-wal is still there")),
        ("an unreadable history", &unreadable, None),
    ];
    for (what, damage, found) in rows {
        let place = used();
        let ledger = place.open();
        ledger.back_up(&place.path().with_file_name("bot.db.backup-1-now")).unwrap();
        assert!(ledger.back_up(&place.path().with_file_name("bot.db.backup-1-now")).is_err());
        ledger.close().unwrap();
        damage(&place.path());
        let error = refusal(&place.path(), &stamp());
        assert_eq!(error.exit_code(), 78, "{what}: {error}");
        if let Some(found) = found {
            assert!(matches!(error, LedgerError::Damaged { .. }), "{what}: {error:?}");
            assert!(error.to_string().contains(found), "{what}: {error}");
            assert!(error.to_string().contains("bot.db.backup-1-now"), "{what}: {error}");
        }
    }
}

#[test]
fn a_row_that_can_not_be_read_is_damage_and_not_a_guess() {
    let place = used();
    let raw = place.raw();
    raw.execute_batch("DROP TRIGGER fills_are_final; UPDATE fills SET shares = '1.2.3'").unwrap();
    drop(raw);
    let error = refusal(&place.path(), &stamp());
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error:?}");
}

/// A ledger from when a ticker was kept as it was typed goes on under the one name there is now: its sums, its live
/// intent, its halts, what people ask of it.
#[test]
fn a_ledger_with_another_spelling_of_a_class_share_goes_on() {
    let place = Place::new();
    let mut ledger = place.open();
    let mut sold = intent("cf-a-1", "BRK.B", IntentState::Sent, 1);
    sold.order_id = Some("1001".parse().unwrap());
    let mut refused = intent("cf-a-2", "BRK.B", IntentState::Sent, 2);
    refused.adopted = true;
    let mut writes = vec![Write::Intent(sold.clone()), Write::Intent(refused.clone())];
    writes.push(step(&mut refused, IntentState::Refused, 3, "no such ticker"));
    writes.extend(counting(&fill(1, "BRK.B", Side::Buy, "2", "900")));
    let brk = Some(symbol("BRK.B"));
    let (reason, who) = ("rejected".to_owned(), "engine".to_owned());
    let (kind, lifted) = (HaltKind::Rejects, (reason.clone(), who.clone()));
    writes.push(Write::Halt { symbol: brk.clone(), kind, reason, who });
    ledger.commit(at(4), &writes).unwrap();
    ledger.close().unwrap();
    place
        .raw()
        .execute_batch(
            "DROP TRIGGER fills_are_final; DROP TRIGGER intents_keep_their_names; DROP TRIGGER halts_are_final; \
             UPDATE fills SET symbol = 'BRK-B'; UPDATE intents SET symbol = 'BRK-B'; \
             UPDATE halts SET symbol = 'BRK-B';",
        )
        .unwrap();

    let mut ledger = place.open();
    let loaded = ledger.load().unwrap();
    assert_eq!(loaded.fill_sums, [(symbol("BRK.B"), Shares::whole(2))]);
    let failed = FailedAttempts { symbol: symbol("BRK.B"), count: 1, ended_at: at(3) };
    assert_eq!(loaded.failures, [failed]);
    assert_eq!(loaded.halts, [Halt { symbol: brk.clone(), kind, reason: "rejected".to_owned() }]);
    let lift = Write::Lift { symbol: brk.clone(), kind, reason: lifted.0, who: lifted.1 };
    let mut writes = vec![lift, step(&mut sold, IntentState::Working, 5, "read")];
    writes.extend(counting(&fill(2, "BRK.B", Side::Buy, "3", "900")));
    ledger.commit(at(5), &writes).unwrap();
    let loaded = ledger.load().unwrap();
    assert_eq!(loaded.fill_sums, [(symbol("BRK.B"), Shares::whole(5))]);
    assert_eq!((loaded.failures, loaded.halts), (vec![], vec![]), "the halt is lifted, and what led to it");
    assert_eq!(loaded.intents[0].state, IntentState::Working);

    let reader = Reader::open(&place.path()).unwrap();
    let wanted = Filter { symbol: brk, ..Filter::default() };
    let (mut fills, mut hedges) = (0, 0);
    let count = |n: &mut u32| {
        *n += 1;
        Ok::<_, LedgerError>(())
    };
    reader.fills(&wanted, |_| count(&mut fills)).unwrap();
    reader.hedges(&wanted, |_| count(&mut hedges)).unwrap();
    assert_eq!((fills, hedges), (2, 2));
    let positions = reader.positions().unwrap();
    assert_eq!(positions.iter().map(|row| row.symbol.as_str()).collect::<Vec<_>>(), ["BRK.B"]);
}

#[test]
fn a_birth_that_was_cut_short_is_begun_again() {
    let place = Place::new();
    fs::write(place.path().with_file_name("bot.db.birth"), "half").unwrap();
    fs::write(place.path().with_file_name("bot.db.birth-wal"), "half").unwrap();
    place.open().close().unwrap();
    assert_eq!(place.names(), ["bot.db", "bot.db.lock"]);
}

#[test]
fn readers_look_on_while_the_writer_writes_and_can_not_write() {
    let place = Place::new();
    let absent = Reader::open(&place.path()).unwrap_err();
    assert!(matches!(absent, LedgerError::NotThere { .. }), "{absent:?}");
    assert_eq!(absent.exit_code(), 69);
    let mut ledger = place.open();
    let reader = Reader::open(&place.path()).unwrap();
    assert_eq!(reader.positions().unwrap(), []);
    ledger.commit(at(1), &counting(&one_fill())).unwrap();
    assert_eq!(reader.positions().unwrap().len(), 1);
    ledger.close().unwrap();
    // Also without a bot.
    drop(reader);
    assert_eq!(Reader::open(&place.path()).unwrap().positions().unwrap().len(), 1);
}

#[test]
fn every_file_of_migrations_is_applied() {
    let folder = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let mut files: Vec<String> =
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort_unstable();
    let applied: Vec<String> = migrations()
        .unwrap()
        .iter()
        .map(|migration| format!("V{}__{}.sql", migration.version(), migration.name()))
        .collect();
    assert_eq!(files, applied);
}

/// Fills in a copy of the ledger, with or without its log; in words why it can not be read.
fn copied(place: &Place, with_log: bool) -> Result<i64, String> {
    let copy = tempfile::tempdir().unwrap();
    let (from, to) = (place.path(), copy.path().join("bot.db"));
    fs::copy(&from, &to).unwrap();
    if with_log {
        fs::copy(from.with_extension("db-wal"), copy.path().join("bot.db-wal")).unwrap();
    }
    let conn = rusqlite::Connection::open(to).unwrap();
    let whole = conn.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    match whole {
        Ok(ok) if ok == "ok" => {}
        Ok(words) => return Err(words),
        Err(error) => return Err(error.to_string()),
    }
    let fills = conn.query_row("SELECT count(*) FROM fills", [], |row| row.get(0));
    fills.map_err(|error| error.to_string())
}

fn commit_fills(ledger: &mut Ledger, numbers: std::ops::Range<u8>) {
    let writes: Vec<_> = numbers.flat_map(|n| counting(&fill(n, "TSLA", Side::Buy, "1", "1"))).collect();
    ledger.commit(at(1), &writes).unwrap();
}

fn read_in(place: &Place) -> rusqlite::Connection {
    let reader = place.raw();
    reader.execute_batch("BEGIN; SELECT count(*) FROM fills;").unwrap();
    reader
}

#[test]
fn a_close_says_what_a_copy_must_hold() {
    // Nobody beside it, and somebody who reads what is newest.
    for newest in [false, true] {
        let place = Place::new();
        let mut ledger = place.open();
        commit_fills(&mut ledger, 0..150);
        let reader = newest.then(|| read_in(&place));
        let closed = ledger.close().unwrap();
        assert_eq!((&closed, closed.words()), (&Closed::Whole, None));
        assert_eq!(copied(&place, false), Ok(150), "newest read: {newest}");
        drop(reader);
    }
    // Somebody who reads an older state of it.
    let place = Place::new();
    let mut ledger = place.open();
    commit_fills(&mut ledger, 0..75);
    let reader = read_in(&place);
    commit_fills(&mut ledger, 75..150);
    let closed = ledger.close().unwrap();
    let (path, log) = (place.path(), place.path().with_extension("db-wal"));
    assert_eq!(closed, Closed::LogBeside { path, log });
    let words = closed.words().unwrap();
    assert!(words.contains("bot.db-wal: a copy of") && words.contains("then copy both"), "{words}");
    assert_ne!(copied(&place, false), Ok(150));
    assert_eq!(copied(&place, true), Ok(150));
    drop(reader);
    // A copy that was put back with its log is a ledger like any other.
    let mut ledger = place.open();
    commit_fills(&mut ledger, 150..151);
    assert_eq!(ledger.close().unwrap(), Closed::Whole);
    assert_eq!(copied(&place, false), Ok(151));
}

#[test]
fn a_close_waits_for_a_reader_that_ends() {
    let place = Place::new();
    let mut ledger = place.open();
    commit_fills(&mut ledger, 0..10);
    let reader = read_in(&place);
    commit_fills(&mut ledger, 10..20);
    let ends = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(reader);
    });
    assert_eq!(ledger.close().unwrap(), Closed::Whole);
    ends.join().unwrap();
    assert_eq!(copied(&place, false), Ok(20));
}
