//! Files that are not this program's ledger, or no longer: every refusal, with its exit code and what to type.

use std::fs;

use counterfill::fills::Listing;
use counterfill::hedges::IntentState;
use counterfill::ledger::{Claim, Examined, Ledger, LedgerError, Reader, Stamp, Write, migrations};
use counterfill::units::{BlockRef, Side};
use refinery::Migration;

use super::assert_rows;
use crate::ledger::book::{BORN, Place, at, counting, execute, fill, hash, intent, stamp, step, token};

/// A ledger with a fill, a token, a cursor, an order with an execution, and a halt; closed.
fn used() -> Place {
    let place = Place::new();
    let mut ledger = place.open();
    let mut order = intent("cf-1-1", "TSLA", IntentState::Sent, 1);
    let mut writes = counting(&fill(1, "TSLA", Side::Buy, "2", "200"));
    writes.push(Write::Token(token()));
    writes.push(Write::Cursor {
        cursor: BlockRef { number: 101, hash: hash(1) },
        window: vec![BlockRef { number: 101, hash: hash(1) }],
    });
    writes.push(Write::Intent(order.clone()));
    order.order_id = Some("1004".parse().unwrap());
    writes.push(step(&mut order, IntentState::Working, 2, "verified"));
    writes.push(execute(&mut order, "1", "100"));
    ledger.commit(at(2), &writes).unwrap();
    ledger.close().unwrap();
    place
}

/// Past every trigger and check of ours.
fn sql(place: &Place, statements: &str) {
    let raw = place.raw();
    let triggers: Vec<String> = raw
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for name in triggers {
        raw.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    raw.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF").unwrap();
    raw.execute_batch(statements).unwrap();
}

/// An error as a person meets it, with the folder of this run left out.
/// The newest schema that this program knows.
fn newest() -> i32 {
    migrations().unwrap().iter().map(Migration::version).max().unwrap()
}

fn told(place: &Place, error: &LedgerError) -> String {
    let folder = place.path();
    let folder = folder.parent().unwrap().display().to_string();
    let text = format!("{}: {error}", error.exit_code()).replace(&folder, "DIR").replace('\n', " /");
    let text = ["knows", "reads"].iter().fold(text, |text, word| {
        text.replace(&format!("this program {word} {}", newest()), &format!("this program {word} NEWEST"))
    });
    // Owners and modes are the machine's.
    match (text.split_once("; it belongs to "), text.split_once(" with 0")) {
        (Some((before, _)), Some((_, after))) => {
            format!("{before}; OWNERS{}", after.get(3..).unwrap_or_default())
        }
        _ => text,
    }
}

/// A way to a ledger.
#[derive(Debug, Clone, Copy)]
enum Way {
    Open,
    OpenAsStamped,
    ChainId,
    Read,
}

fn gone(place: &Place, way: Way) -> String {
    let path = place.path();
    let result = match way {
        Way::Open => Ledger::open(&path, &stamp(), BORN).map(|_| ()),
        Way::OpenAsStamped => Ledger::open_as_stamped(&path, BORN).map(|_| ()),
        Way::ChainId => Ledger::stamped_chain_id(&path).map(|_| ()),
        Way::Read => Reader::open(&path).and_then(|reader| reader.summary()).map(|_| ()),
    };
    result.map_or_else(|error| told(place, &error), |()| "opened".to_owned())
}

#[test]
fn a_file_that_is_not_our_ledger_is_refused_at_every_way_to_it() {
    use Way::{ChainId, Open, OpenAsStamped, Read};
    type Damage = fn(&Place);
    let emptied: Damage = |place| fs::write(place.path(), "").unwrap();
    let removed: Damage = |place| fs::remove_file(place.path()).unwrap();
    let garbage: Damage = |place| fs::write(place.path(), [0xa5; 8_192]).unwrap();
    let foreign: Damage = |place| {
        fs::remove_file(place.path()).unwrap();
        place.raw().execute_batch("CREATE TABLE t (x)").unwrap();
    };
    let unstamped: Damage = |place| sql(place, "DELETE FROM stamp");
    let newer: Damage = |place| {
        sql(
            place,
            "INSERT INTO refinery_schema_history SELECT 99, 'moods', applied_on, checksum FROM refinery_schema_history LIMIT 1",
        )
    };
    let newer_with_backup: Damage = |place| {
        sql(
            place,
            "INSERT INTO refinery_schema_history SELECT 99, 'moods', applied_on, checksum FROM refinery_schema_history LIMIT 1",
        );
        fs::write(place.path().with_file_name("bot.db.backup-1-then"), "x").unwrap();
    };
    let no_history: Damage = |place| sql(place, "DELETE FROM refinery_schema_history");
    let checksum: Damage = |place| sql(place, "UPDATE refinery_schema_history SET checksum = '7'");
    let named: Damage = |place| sql(place, "UPDATE refinery_schema_history SET name = 'book'");
    let odd_version: Damage =
        |place| sql(place, "UPDATE refinery_schema_history SET version = 0 WHERE version = 1");
    let half: Damage = |place| {
        let whole = fs::read(place.path()).unwrap();
        fs::write(place.path(), &whole[..whole.len() / 2]).unwrap();
    };
    let folder: Damage = |place| {
        fs::remove_file(place.path()).unwrap();
        fs::create_dir(place.path()).unwrap();
    };
    let no_number: Damage =
        |place| sql(place, "UPDATE refinery_schema_history SET version = 'one' WHERE version = 1");
    let unborn: Damage = |place| {
        fs::remove_file(place.path()).unwrap();
        fs::create_dir(place.path().with_file_name("bot.db.birth")).unwrap();
    };
    let older: Damage = |place| sql(place, "DELETE FROM refinery_schema_history WHERE version > 1");
    let refused: Damage = |place| sql(place, "UPDATE fills SET side = 'HOLD'");
    let orphan: Damage = |place| {
        fs::remove_file(place.path()).unwrap();
        fs::write(place.path().with_file_name("bot.db-wal"), [0; 64]).unwrap();
    };
    let journal: Damage = |place| {
        fs::remove_file(place.path()).unwrap();
        fs::write(place.path().with_file_name("bot.db-journal"), [0; 64]).unwrap();
    };
    let rows: Vec<(&str, Damage, Way, &str)> = vec![
        ("whole", |_| {}, Open, "opened"),
        (
            "gone, read",
            removed,
            Read,
            "69: there is no ledger at DIR/bot.db yet. Type `bot run` to start one, or set DATABASE_URL to where it is, e.g. DATABASE_URL=sqlite:///data/bot.db",
        ),
        (
            "gone, by an operator's verb",
            removed,
            OpenAsStamped,
            "69: there is no ledger at DIR/bot.db yet. Type `bot run` to start one, or set DATABASE_URL to where it is, e.g. DATABASE_URL=sqlite:///data/bot.db",
        ),
        (
            "emptied",
            emptied,
            Open,
            "78: the ledger DIR/bot.db is damaged: it is empty. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "emptied, by an operator's verb",
            emptied,
            OpenAsStamped,
            "78: the ledger DIR/bot.db is damaged: it is empty. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "emptied, asked for its chain",
            emptied,
            ChainId,
            "78: the ledger DIR/bot.db is damaged: it is empty. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "emptied, read",
            emptied,
            Read,
            "78: the ledger DIR/bot.db is damaged: it is empty. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "garbage",
            garbage,
            Open,
            "78: the ledger DIR/bot.db is damaged: file is not a database (while it was opened). There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "garbage, asked for its chain",
            garbage,
            ChainId,
            "78: the ledger DIR/bot.db is damaged: file is not a database (while it read its stamp). There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "garbage, read",
            garbage,
            Read,
            "78: the ledger DIR/bot.db is damaged: file is not a database (while it read its stamp). There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "another database",
            foreign,
            Open,
            "78: the ledger DIR/bot.db is damaged: it is a database, but not a ledger of this program. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "another database, asked for its chain",
            foreign,
            ChainId,
            "78: the ledger DIR/bot.db is damaged: it is a database, but not a ledger of this program. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "another database, read",
            foreign,
            Read,
            "78: the ledger DIR/bot.db is damaged: it is a database, but not a ledger of this program. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "without its stamp",
            unstamped,
            Open,
            "78: the ledger DIR/bot.db is damaged: it carries no stamp. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "without its stamp, by an operator's verb",
            unstamped,
            OpenAsStamped,
            "78: the ledger DIR/bot.db is damaged: it carries no stamp. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "of next year's program",
            newer,
            Open,
            "78: the ledger DIR/bot.db has schema 99, this program knows NEWEST at most. Start the newer program again, or put back the backup that it made before migrating",
        ),
        (
            "of last year's program, read",
            older,
            Read,
            "78: the ledger DIR/bot.db has schema 1, this program reads NEWEST. Type `bot run` once: it makes a backup and migrates it",
        ),
        (
            "of next year's program, with a backup",
            newer_with_backup,
            Read,
            "78: the ledger DIR/bot.db has schema 99, this program knows NEWEST at most. Start the newer program again, or put back the backup that it made before migrating: DIR/bot.db.backup-1-then",
        ),
        (
            "without its history",
            no_history,
            Open,
            "78: the ledger DIR/bot.db is damaged: the history of its migrations is empty. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "without its history, read",
            no_history,
            Read,
            "78: the ledger DIR/bot.db is damaged: the history of its migrations is empty. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "another checksum in its history",
            checksum,
            Open,
            "78: the ledger DIR/bot.db was made by other migrations: V1__ledger with checksum 7 was applied, ours differs. This is not a release of the program that made it: start the release that did",
        ),
        (
            "another name in its history",
            named,
            Open,
            "78: the ledger DIR/bot.db was made by other migrations: V1__book with checksum 5128071963839243860 was applied, ours differs. This is not a release of the program that made it: start the release that did",
        ),
        (
            "a version that never was",
            odd_version,
            Open,
            "78: the ledger DIR/bot.db was made by other migrations: V0__ledger with checksum 5128071963839243860 was applied, ours differs. This is not a release of the program that made it: start the release that did",
        ),
        (
            "cut in half",
            half,
            Open,
            "78: the ledger DIR/bot.db is damaged: database disk image is malformed (while it was opened). There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "a folder, read",
            folder,
            Read,
            "78: the ledger DIR/bot.db failed while it was opened for reading: disk I/O error",
        ),
        (
            "a version that is no number",
            no_number,
            Read,
            "78: the ledger DIR/bot.db is damaged: Invalid column type Text at index: 0, name: version (while it read its schema). There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "a folder where it is to be born",
            unborn,
            Open,
            "78: DIR/bot.db.birth can not hold a ledger: Is a directory (os error 21); OWNERS. Set DATABASE_URL to a file in a directory, e.g. sqlite:///data/bot.db",
        ),
        (
            "a row that the schema refuses",
            refused,
            Open,
            "78: the ledger DIR/bot.db is damaged: CHECK constraint failed in fills. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "a log without its file",
            orphan,
            Open,
            "78: the ledger DIR/bot.db is damaged: it is gone, but its log DIR/bot.db-wal is still there. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
        (
            "a journal without its file",
            journal,
            Open,
            "78: the ledger DIR/bot.db is damaged: it is gone, but its log DIR/bot.db-journal is still there. There is no backup beside it. Move DIR/bot.db, DIR/bot.db-wal and DIR/bot.db-shm aside and copy your own backup to DIR/bot.db; what the chain and the broker did since is read again from them",
        ),
    ];
    let found = rows.into_iter().map(|(name, damage, way, expected)| {
        let place = used();
        damage(&place);
        (name, gone(&place, way), expected)
    });
    assert_rows(found.collect());
}

#[test]
fn a_row_in_another_form_is_damage_and_never_a_guess() {
    let rows: Vec<(&str, &str, &str)> = vec![
        (
            "an amount of two points",
            "UPDATE fills SET shares = '1.2.3'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 2, `1.2.3` is not a plain decimal number (while it was loaded)",
        ),
        (
            "an amount of 19 places",
            "UPDATE fills SET cash = '0.0000000000000000001'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 1, `0.0000000000000000001` has more than 18 decimal places (while it was loaded)",
        ),
        (
            "an amount beyond range",
            "UPDATE fills SET shares = '999999999999999999999'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 2, `999999999999999999999` is too large (while it was loaded)",
        ),
        (
            "a sum beyond range",
            "UPDATE fills SET shares = '170141183460469231731'; INSERT INTO fills SELECT 9, chain_id, \
         block_hash, tx_hash, 77, side, block_number, block_time, orderbook, owner, symbol, shares, cash, price FROM fills; \
         INSERT INTO fill_entries VALUES (9, 0, 1, 'sweep', 1); INSERT INTO fill_counts VALUES (9, 0, 1)",
            "78: the ledger DIR/bot.db is damaged: Integer 9223372036854775807 out of range at index 0 (while it compared its sums)",
        ),
        (
            "a price that is none",
            "UPDATE fills SET price = 'high'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 12, `high` is not a plain decimal number (while it was loaded)",
        ),
        (
            "half a hash",
            "UPDATE fills SET block_hash = '0x12'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 1, invalid string length (while it was loaded)",
        ),
        (
            "half an address",
            "UPDATE fills SET owner = '0x12'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 8, invalid string length (while it was loaded)",
        ),
        (
            "a third side",
            "UPDATE fills SET side = 'HOLD'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 4, `HOLD` is no side (BUY or SELL) (while it was loaded)",
        ),
        (
            "a ticker in small letters",
            "UPDATE fills SET symbol = 'tsla'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 0, `tsla` is not a ticker (1 to 12 capital letters, digits, '.', '-' or '/', beginning with a letter) (while it was loaded)",
        ),
        (
            "a log before the first",
            "UPDATE fills SET log_index = -1",
            "78: the ledger DIR/bot.db is damaged: Integer -1 out of range at index 3 (while it was loaded)",
        ),
        (
            "a time before 1970",
            "UPDATE fills SET block_time = -1",
            "78: the ledger DIR/bot.db is damaged: Integer -1 out of range at index 6 (while it was loaded)",
        ),
        (
            "a fifth kind of token",
            "UPDATE tokens SET kind = 'coin'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 3, `coin` is no token kind (while it was loaded)",
        ),
        (
            "a share without its ticker",
            "UPDATE tokens SET ticker = NULL",
            "78: the ledger DIR/bot.db is damaged: Invalid type (while it was loaded)",
        ),
        (
            "decimals beyond a byte",
            "UPDATE tokens SET decimals = 274",
            "78: the ledger DIR/bot.db is damaged: Integer 274 out of range at index 2 (while it was loaded)",
        ),
        (
            "a cursor below the chain",
            "UPDATE cursor SET number = -1",
            "78: the ledger DIR/bot.db is damaged: Integer -1 out of range at index 0 (while it was loaded)",
        ),
        (
            "a window without a hash",
            "UPDATE window SET hash = ''",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 1, invalid string length (while it was loaded)",
        ),
        (
            "a thirteenth state",
            "UPDATE intents SET state = 'Lost'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 4, `Lost` is no intent state (while it was loaded)",
        ),
        (
            "an intent without a name",
            "UPDATE intents SET id = ''",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 0, `` is no intent id (while it was loaded)",
        ),
        (
            "an order id with a blank",
            "UPDATE intents SET order_id = 'a b'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 9, `a b` is no broker order id (while it was loaded)",
        ),
        (
            "a reference that is none",
            "UPDATE intents SET reference = 'high'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 13, `high` is not a plain decimal number (while it was loaded)",
        ),
        (
            "an execution of nothing",
            "UPDATE executions SET quantity = 'all'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 2, `all` is not a plain decimal number (while it compared its sums)",
        ),
        (
            "a fifth reason to skip",
            "INSERT INTO skipped_fills VALUES (1, 8453, '0x1111111111111111111111111111111111111111111111111111111111111111', '0x1111111111111111111111111111111111111111111111111111111111111111', 1, 'BUY', 1, '0x1111111111111111111111111111111111111111', '0x1111111111111111111111111111111111111111', '0x1111111111111111111111111111111111111111', '0x1111111111111111111111111111111111111111', NULL, '0', 'mood', 1)",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 12, `mood` is no reason to skip (while it read the trades that were passed over)",
        ),
        (
            "a sixth kind of halt",
            "INSERT INTO halts VALUES (1, 'TSLA', 'mood', 1, '', '', 1)",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 1, `mood` is no halt kind (while it was loaded)",
        ),
        (
            "a halt of no ticker",
            "INSERT INTO halts VALUES (1, 'tsla', 'operator', 1, '', '', 1)",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 0, `tsla` is not a ticker (1 to 12 capital letters, digits, '.', '-' or '/', beginning with a letter) (while it was loaded)",
        ),
        (
            "a stamp below the chains",
            "UPDATE stamp SET chain_id = -1",
            "78: the ledger DIR/bot.db is damaged: Integer -1 out of range at index 0 (while it read its stamp)",
        ),
        (
            "a stamp of no order book",
            "UPDATE stamp SET orderbooks = '0x12'",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 1, invalid string length (while it read its stamp)",
        ),
        (
            "a stamp that hedges before the chain",
            "UPDATE stamp SET hedge_from_block = -1",
            "78: the ledger DIR/bot.db is damaged: Integer -1 out of range at index 5 (while it read its stamp)",
        ),
        (
            "a fill that counts twice",
            "INSERT INTO fill_entries VALUES (1, 2, 1, 'sweep', 0); INSERT INTO fill_counts VALUES (1, 2, 0)",
            "78: the ledger DIR/bot.db is damaged: Integer 2 out of range at index 3 (while it compared its sums)",
        ),
        (
            "an order that has no name, known when another was sent",
            "INSERT OR REPLACE INTO intent_snapshots VALUES (1, 0, NULL, NULL, 'a b')",
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 18, `a b` is no broker order id (while it was loaded)",
        ),
    ];
    let found = rows.into_iter().map(|(name, damage, expected)| {
        let place = used();
        // Damaged behind an open ledger's back; what a start finds by its own check is a row of the table above.
        let ledger = place.open();
        sql(&place, damage);
        let seen = ledger
            .load()
            .and_then(|_| ledger.passed_over(&Listing::default()))
            .and_then(|_| Reader::open(&place.path())?.summary())
            // What a start does not read is found by the check beside it.
            .and_then(|_| Examined::at(&place.path())?.expect("a ledger").must_be_whole());
        let found = seen.map_or_else(|error| told(&place, &error), |_| "read".to_owned());
        // Without the remedy, which is the same for all damage and stands in the table above.
        (name, found.split(". There is no backup").next().unwrap_or_default().to_owned(), expected)
    });
    assert_rows(found.collect());
}

#[test]
fn a_transactions_fills_and_a_ledger_that_is_not_there() {
    let place = used();
    let ledger = place.open();
    sql(&place, "UPDATE fills SET shares = 'x'");
    let tx = fill(1, "TSLA", Side::Buy, "2", "200").id.tx_hash;
    let fills =
        ledger.fill_states(tx).map_or_else(|error| told(&place, &error), |fills| format!("{fills:?}"));
    let nowhere = Place::new().path();
    assert_rows(vec![
        (
            "a transaction's fill of no amount",
            fills.split(". There is no backup").next().unwrap().to_owned(),
            "78: the ledger DIR/bot.db is damaged: Conversion error from type Text at index: 11, `x` is not a plain decimal number (while it read the fills of a transaction)",
        ),
        ("the chain of none", format!("{:?}", Ledger::stamped_chain_id(&nowhere).unwrap()), "None"),
    ]);
}

#[test]
fn another_configurations_ledger_is_refused_in_full() {
    let place = used();
    let rows: Vec<(&str, Stamp, &str)> = vec![
        ("its own", stamp(), "opened"),
        (
            "another chain",
            Stamp { chain_id: 1, ..stamp() },
            "78: the ledger DIR/bot.db belongs to another configuration /  CHAIN_ID: the ledger says 8453, the configuration says 1. Put these variables back to what the ledger says, or give this configuration a ledger of its own: DATABASE_URL=sqlite:/path/of/a/new.db",
        ),
        (
            "another order book",
            Stamp { orderbooks: vec![stamp().orderbooks[0]], ..stamp() },
            "78: the ledger DIR/bot.db belongs to another configuration /  ORDERBOOK: the ledger says 0xb1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1,0xb2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2, the configuration says 0xb2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2. Put these variables back to what the ledger says, or give this configuration a ledger of its own: DATABASE_URL=sqlite:/path/of/a/new.db",
        ),
        (
            "another owner",
            Stamp { owners: vec![stamp().orderbooks[0]], ..stamp() },
            "78: the ledger DIR/bot.db belongs to another configuration /  ORDER_OWNER: the ledger says 0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, the configuration says 0xb2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2. Put these variables back to what the ledger says, or give this configuration a ledger of its own: DATABASE_URL=sqlite:/path/of/a/new.db",
        ),
        (
            "another broker",
            Stamp { broker: "schwab".into(), ..stamp() },
            "78: the ledger DIR/bot.db belongs to another configuration /  BROKER: the ledger says paper, the configuration says schwab. Put these variables back to what the ledger says, or give this configuration a ledger of its own: DATABASE_URL=sqlite:/path/of/a/new.db",
        ),
        (
            "another account",
            Stamp { account: "1234".into(), ..stamp() },
            "78: the ledger DIR/bot.db belongs to another configuration /  account: the ledger says paper, the configuration says 1234. Put these variables back to what the ledger says, or give this configuration a ledger of its own: DATABASE_URL=sqlite:/path/of/a/new.db",
        ),
        (
            "another beginning",
            Stamp { hedge_from_block: Some(7), ..stamp() },
            "78: the ledger DIR/bot.db belongs to another configuration /  HEDGE_FROM_BLOCK: the ledger says none, the configuration says 7. Put these variables back to what the ledger says, or give this configuration a ledger of its own: DATABASE_URL=sqlite:/path/of/a/new.db",
        ),
        (
            "an earlier deployment",
            Stamp { deployment_block: 99, ..stamp() },
            "78: the ledger DIR/bot.db belongs to another configuration /  DEPLOYMENT_BLOCK: the ledger says 100 (the first sweep began there, and nothing older is ever read), the configuration says 99. Put these variables back to what the ledger says, or give this configuration a ledger of its own: DATABASE_URL=sqlite:/path/of/a/new.db",
        ),
    ];
    let found = rows.into_iter().map(|(name, stamp, expected)| {
        let opened = Ledger::open(&place.path(), &stamp, BORN);
        (name, opened.map_or_else(|error| told(&place, &error), |_| "opened".to_owned()), expected)
    });
    assert_rows(found.collect());
}

#[test]
fn a_place_that_can_not_hold_a_ledger_is_refused_in_full() {
    let place = Place::new();
    let path = place.path();
    fs::write(path.with_file_name("file"), "x").unwrap();
    for folder in ["directory", "tried.db.probe", "logged.db-wal"] {
        fs::create_dir(path.with_file_name(folder)).unwrap();
    }
    std::os::unix::fs::symlink("/nowhere/bot.db", path.with_file_name("link.db")).unwrap();
    let rows = vec![
        (
            "no such folder",
            "missing/bot.db",
            "78: DIR/missing can not hold a ledger: there is no such directory. Type `mkdir -p DIR/missing`, or set DATABASE_URL to another place",
        ),
        (
            "no folder of a folder",
            "missing/data/bot.db",
            "78: DIR/missing/data can not hold a ledger: there is no such directory. Type `mkdir -p DIR/missing/data`, or set DATABASE_URL to another place",
        ),
        (
            "a folder for the file that tries the place",
            "tried.db",
            "78: DIR can not hold a ledger: Is a directory (os error 21); OWNERS. Set DATABASE_URL to a file in a directory, e.g. sqlite:///data/bot.db",
        ),
        (
            "a folder for its log",
            "logged.db",
            "78: DIR/logged.db-wal can not hold a ledger: Is a directory (os error 21); OWNERS. Set DATABASE_URL to a file in a directory, e.g. sqlite:///data/bot.db",
        ),
        (
            "a file for a folder",
            "file/bot.db",
            "78: DIR/file can not hold a ledger: it is not a directory. Set DATABASE_URL to a file in a directory, e.g. sqlite:///data/bot.db",
        ),
        (
            "a file for a folder's folder",
            "file/data/bot.db",
            "78: DIR/file/data can not hold a ledger: Not a directory (os error 20); OWNERS. Set DATABASE_URL to a file in a directory, e.g. sqlite:///data/bot.db",
        ),
        (
            "a folder for a file",
            "directory",
            "78: DIR/directory can not hold a ledger: it is a directory. Set DATABASE_URL to a file in it, e.g. sqlite://DIR/directory/bot.db",
        ),
        (
            "a link that leads nowhere",
            "link.db",
            "78: DIR/link.db can not hold a ledger: it is a link that leads nowhere. Mount what it leads to, or remove the link to start a new ledger here",
        ),
    ];
    let found = rows.into_iter().map(|(name, file, expected)| {
        (name, told(&place, &Claim::on(&path.with_file_name(file), BORN).unwrap_err()), expected)
    });
    assert_rows(found.collect());
}

fn migration(sql: &str) -> Vec<Migration> {
    let mut list = migrations().unwrap();
    list.push(Migration::unapplied("V99__moods", sql).unwrap());
    list
}

/// What else can go wrong between an open ledger and its disk.
#[test]
fn what_is_in_the_way_is_named() {
    let mut found = Vec::new();
    let place = used();
    let first = place.open();
    let second = Ledger::open(&place.path(), &stamp(), BORN).unwrap_err();
    let text = told(&place, &second).replace(&format!("process {} on ", std::process::id()), "process P on ");
    let (before, after) = text.split_once(" on ").unwrap();
    found.push((
        "a second writer",
        format!("{before} … {}", after.split_once(" since ").unwrap().1),
        "75: the ledger DIR/bot.db is in use by process P … 2026-11-18T11:06:40.000Z. One ledger has one writer: stop that one first, or give this one another DATABASE_URL",
    ));
    let target = place.path().with_file_name("copy.db");
    fs::write(&target, "x").unwrap();
    found.push(("a backup over a file", told(&place, &first.back_up(&target).unwrap_err()), "78: DIR/copy.db can not hold a ledger: the backup of DIR/bot.db would replace a file. Move that file away, or name another one"));
    let nowhere = place.path().with_file_name("missing").join("copy.db");
    found.push(("a backup to no folder", told(&place, &first.back_up(&nowhere).unwrap_err()), "78: DIR/missing can not hold a ledger: there is no such directory. Type `mkdir -p DIR/missing`, or set DATABASE_URL to another place"));
    let earlier = place.path().with_file_name("bot.db.backup-9-then.partial");
    fs::create_dir(&earlier).unwrap();
    let late = place.path().with_file_name("late.db");
    found.push(("a folder for an earlier half", told(&place, &first.back_up(&late).unwrap_err()), "78: DIR/bot.db.backup-9-then.partial can not hold a ledger: Is a directory (os error 21); OWNERS. Set DATABASE_URL to a file in a directory, e.g. sqlite:///data/bot.db"));
    fs::remove_dir(&earlier).unwrap();
    fs::create_dir(place.path().with_file_name("taken.db.partial")).unwrap();
    let taken = place.path().with_file_name("taken.db");
    found.push(("a folder for half a backup", told(&place, &first.back_up(&taken).unwrap_err()), "78: DIR/taken.db.partial can not hold a ledger: Is a directory (os error 21); OWNERS. Set DATABASE_URL to a file in a directory, e.g. sqlite:///data/bot.db"));
    std::os::unix::fs::symlink("/nowhere", place.path().with_file_name("led.db.partial")).unwrap();
    let led = place.path().with_file_name("led.db");
    found.push(("a link for half a backup", told(&place, &first.back_up(&led).unwrap_err()), "78: DIR/led.db.partial can not be written: File exists (os error 17); OWNERS. Look after the volume (`dmesg`, `df -h`) and start again"));
    fs::write(place.path().with_file_name("good.db.partial"), "half").unwrap();
    first.back_up(&place.path().with_file_name("good.db")).unwrap();
    first.close().unwrap();

    let place = used();
    for (name, statements, expected) in [
        (
            "a migration that fails",
            "INSERT INTO nowhere VALUES (1);",
            "70: the ledger DIR/bot.db failed while it was migrated: no such table: nowhere",
        ),
        (
            "a migration that makes what is there",
            "CREATE TABLE stamp (x);",
            "70: the ledger DIR/bot.db failed while it was migrated: table stamp already exists",
        ),
        (
            "a migration that breaks the history",
            "DROP TABLE refinery_schema_history;",
            "70: the ledger DIR/bot.db failed while it was migrated: no such table: refinery_schema_history",
        ),
    ] {
        let error = Ledger::open_with(&place.path(), &stamp(), BORN, &migration(statements)).unwrap_err();
        found.push((name, told(&place, &error), expected));
        // Otherwise the second one meets the first one's backup.
        fs::remove_file(place.path().with_file_name(format!("bot.db.backup-{}-20261118T110640Z", newest())))
            .unwrap();
    }

    let mut ledger = place.open();
    let far = fill(2, "TSLA", Side::Buy, "1", "1");
    let beyond = counterfill::fills::Fill { block_number: u64::MAX, ..far };
    let error = ledger.commit(at(9), &[Write::Fill(beyond)]).unwrap_err();
    found.push(("a height that no column holds", told(&place, &error), "70: the ledger DIR/bot.db failed while it wrote a batch: out of range integral type conversion attempted"));
    drop(ledger);
    let raw = place.raw();
    raw.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; UPDATE last_commit SET at = at")
        .unwrap();
    let error = Ledger::open(&place.path(), &stamp(), BORN).unwrap_err();
    found.push(("another program in a transaction", told(&place, &error), "75: the ledger DIR/bot.db failed while it was opened: database is locked. Another program holds it open for writing (sqlite3?): end that one and start again"));
    assert_rows(found);
}
