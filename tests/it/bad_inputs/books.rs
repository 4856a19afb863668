//! The built-in broker's book and its answers: every file that is refused, every order that is, and every reading that
//! says nothing of an order.

use std::fs;
use std::path::{Path, PathBuf};

use counterfill::broker::paper::{
    Outage, PaperBroker, PaperError, PaperOptions, PaperSessions, PlaceFault, Span, read_book,
};
use counterfill::broker::{Broker, Placed, Ticket};
use counterfill::units::{Millis, Shares, Side};

use super::assert_rows;

/// Monday 2026-11-23, 17:00:00 UTC: noon in New York.
const NOON: Millis = Millis(1_795_453_200_000);

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("paper.db")
    }

    /// With one order that has traded.
    fn used() -> Self {
        let desk = Self::new();
        let broker = PaperBroker::open(&desk.path(), PaperOptions::default(), NOON).unwrap();
        assert!(matches!(broker.place(&ticket(1, "5"), NOON), Placed::Accepted(_)));
        assert_eq!(broker.book(NOON.plus(5_000)).unwrap().len(), 1);
        desk
    }

    fn sql(&self, statements: &str) {
        let raw = rusqlite::Connection::open(self.path()).unwrap();
        raw.execute_batch("PRAGMA ignore_check_constraints = ON; DROP TRIGGER IF EXISTS executions_stand")
            .unwrap();
        raw.execute_batch(statements).unwrap();
    }

    fn told(&self, error: &PaperError) -> String {
        error.to_string().replace(&self.0.path().display().to_string(), "DIR")
    }
}

fn ticket(n: u32, quantity: &str) -> Ticket {
    Ticket {
        intent: format!("cf-test-{n}").parse().unwrap(),
        symbol: "TSLA".parse().unwrap(),
        side: Side::Buy,
        quantity: quantity.parse().unwrap(),
        reference: Some("150.25".parse().unwrap()),
        short: false,
    }
}

#[test]
fn a_file_that_is_not_this_accounts_book_is_refused() {
    type Change = fn(&Desk);
    let options = PaperOptions::default;
    let span = |least_ms, most_ms| Span { least_ms, most_ms };
    let same: Change = |_| {};
    let rows: Vec<(&str, Change, PaperOptions, &str)> = vec![
        ("its own", same, options(), "opened"),
        (
            "another account's",
            same,
            PaperOptions { account: "PAPER-0002".into(), ..options() },
            "the paper broker's book DIR/paper.db belongs to account PAPER-0001, not PAPER-0002; name the right file or account",
        ),
        (
            "an account without a name",
            same,
            PaperOptions { account: String::new(), ..options() },
            "paper broker: `` is not an account name (letters, digits, '-' and '_', at most 64)",
        ),
        (
            "a time below zero",
            same,
            PaperOptions { acknowledge: span(-1, 1), ..options() },
            "paper broker: the time to acknowledge must be a range within 0 to 86400000 ms, not -1 to 1",
        ),
        (
            "a time that ends before it begins",
            same,
            PaperOptions { fill: span(2, 1), ..options() },
            "paper broker: the time to fill must be a range within 0 to 86400000 ms, not 2 to 1",
        ),
        (
            "a time beyond a day",
            same,
            PaperOptions { fill: span(0, 86_400_001), ..options() },
            "paper broker: the time to fill must be a range within 0 to 86400000 ms, not 0 to 86400001",
        ),
        (
            "text",
            |desk| fs::write(desk.path(), "no database, but long enough for one; ".repeat(99)).unwrap(),
            options(),
            "DIR/paper.db is not a paper broker's book; move it away or name another file",
        ),
        (
            "another program's",
            |desk| {
                fs::remove_file(desk.path()).unwrap();
                desk.sql("CREATE TABLE t (x)");
            },
            options(),
            "DIR/paper.db is not a paper broker's book; move it away or name another file",
        ),
        (
            "signed by another program",
            |desk| desk.sql("PRAGMA application_id = 7"),
            options(),
            "DIR/paper.db is not a paper broker's book; move it away or name another file",
        ),
        (
            "of another schema",
            |desk| desk.sql("PRAGMA user_version = 2"),
            options(),
            "the paper broker's book DIR/paper.db has schema 2, this program knows 1; use the program that wrote it, or move the file away to begin a new book",
        ),
        (
            "without an account",
            |desk| desk.sql("DELETE FROM broker"),
            options(),
            "the paper broker's book is damaged: it names no account; move the file away to begin a new book",
        ),
        (
            "held by another program",
            |desk| {
                let raw = rusqlite::Connection::open(desk.path()).unwrap();
                raw.execute_batch(
                    "PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE; UPDATE broker SET one = one",
                )
                .unwrap();
                // Held until the test ends.
                Box::leak(Box::new(raw));
            },
            options(),
            "the paper broker's book DIR/paper.db can not be opened: database is locked; its folder must exist and be writable, and no other program may hold it",
        ),
        (
            "a folder",
            |desk| {
                fs::remove_file(desk.path()).unwrap();
                fs::create_dir(desk.path()).unwrap();
            },
            options(),
            "the paper broker's book DIR/paper.db can not be opened: unable to open database file: DIR/paper.db; its folder must exist and be writable, and no other program may hold it",
        ),
    ];
    let found = rows.into_iter().map(|(name, change, options, expected)| {
        let desk = Desk::used();
        change(&desk);
        let opened = PaperBroker::open(&desk.path(), options, NOON);
        (name, opened.map_or_else(|error| desk.told(&error), |_| "opened".to_owned()), expected)
    });
    assert_rows(found.collect());
    let desk = Desk::new();
    let absent = desk.told(&read_book(&desk.path()).unwrap_err());
    let nowhere = PaperBroker::open(Path::new("/nowhere/paper.db"), options(), NOON).unwrap_err().to_string();
    assert_rows(vec![
        (
            "no book to look at",
            absent,
            "the paper broker's book DIR/paper.db can not be opened: unable to open database file: DIR/paper.db; its folder must exist and be writable, and no other program may hold it",
        ),
        (
            "no folder for a book",
            nowhere,
            "the paper broker's book /nowhere/paper.db can not be opened: unable to open database file: /nowhere/paper.db; its folder must exist and be writable, and no other program may hold it",
        ),
    ]);
}

/// What the book says and this program could not have written. An order call on it is neither a yes nor a no.
#[test]
fn a_damaged_book_is_told_and_never_read_as_something_else() {
    let rows = vec![
        (
            "a ticker in small letters",
            "UPDATE orders SET symbol = 'tsla'",
            "the paper broker's book is damaged: `tsla` is not a ticker (1 to 12 capital letters, digits, '.', '-' or '/', beginning with a letter); move the file away to begin a new book",
        ),
        (
            "a third side",
            "UPDATE orders SET side = 'HOLD'",
            "the paper broker's book is damaged: `HOLD` is no side (BUY or SELL); move the file away to begin a new book",
        ),
        (
            "an execution beyond counting",
            "UPDATE executions SET quantity = 9223372036854775807, price_e4 = 9223372036854775807",
            "the paper broker's book is damaged: the executions of order 1004055538153 do not add up; move the file away to begin a new book",
        ),
        (
            "a step that is none",
            "INSERT INTO plan SELECT number, 9, 0, 'dance', NULL, NULL, '' FROM orders",
            "the paper broker's book is damaged: order 1004055538153 has a step `dance`; move the file away to begin a new book",
        ),
        (
            "a step without its figures",
            "INSERT INTO plan SELECT number, 9, 0, 'fill', NULL, NULL, '' FROM orders",
            "the paper broker's book: NOT NULL constraint failed: executions.quantity",
        ),
        ("a table that is gone", "DROP TABLE calls", "the paper broker's book: no such table: calls"),
    ];
    let found = rows.into_iter().map(|(name, damage, expected)| {
        let desk = Desk::used();
        desk.sql(damage);
        let broker = PaperBroker::open(&desk.path(), PaperOptions::default(), NOON).unwrap();
        (name, desk.told(&broker.book(NOON.plus(9_000)).unwrap_err()), expected)
    });
    assert_rows(found.collect());

    let desk = Desk::used();
    desk.sql("INSERT INTO plan SELECT number, 9, 0, 'dance', NULL, NULL, '' FROM orders");
    let broker = PaperBroker::open(&desk.path(), PaperOptions::default(), NOON).unwrap();
    let placed = format!("{:?}", broker.place(&ticket(2, "1"), NOON.plus(9_000)));
    let read = broker.positions(NOON.plus(9_000)).unwrap_err().to_string();
    assert_rows(vec![
        (
            "an order call",
            placed,
            "Unknown(\"the paper broker's book is damaged: order 1004055538153 has a step `dance`; move the file away to begin a new book\")",
        ),
        (
            "a reading",
            read,
            "the paper broker's book is damaged: order 1004055538153 has a step `dance`; move the file away to begin a new book",
        ),
    ]);
}

#[test]
fn an_order_that_is_not_taken_is_told_why_and_whether_it_may_exist() {
    type Before = fn(&PaperBroker);
    let none: Before = |_| {};
    let always = PaperOptions::default;
    let nyse = || PaperOptions { sessions: PaperSessions::Nyse, ..PaperOptions::default() };
    let beyond = Millis(4_102_444_800_000);
    let fault = |fault: PlaceFault| move |broker: &PaperBroker| broker.faults().next_place(fault.clone());
    let refuse: Box<dyn Fn(&PaperBroker)> = Box::new(fault(PlaceFault::Refuse("no".into())));
    let lose: Box<dyn Fn(&PaperBroker)> = Box::new(fault(PlaceFault::LoseBefore));
    let accept: Box<dyn Fn(&PaperBroker)> = Box::new(fault(PlaceFault::AcceptThenLose));
    let slow: Box<dyn Fn(&PaperBroker)> = Box::new(fault(PlaceFault::RateLimit(7_000)));
    let away: Box<dyn Fn(&PaperBroker)> = Box::new(|broker| broker.faults().outage(Some(Outage::NotSent)));
    let mute: Box<dyn Fn(&PaperBroker)> = Box::new(|broker| broker.faults().outage(Some(Outage::Unknown)));
    let twice: Box<dyn Fn(&PaperBroker)> = Box::new(|broker| {
        broker.place(&ticket(1, "1"), NOON);
    });
    let refuse_twice: Box<dyn Fn(&PaperBroker)> = Box::new(|broker| {
        broker.place(&ticket(1, "1"), NOON);
        broker.faults().next_place(PlaceFault::Refuse("no".into()));
    });
    let plain = || -> Box<dyn Fn(&PaperBroker)> { Box::new(none) };
    type Row = (&'static str, PaperOptions, Box<dyn Fn(&PaperBroker)>, &'static str, Millis, &'static str);
    let rows: Vec<Row> = vec![
        ("one share", always(), plain(), "1", NOON, "Accepted(1004055538153)"),
        (
            "half a share",
            always(),
            plain(),
            "0.5",
            NOON,
            "Refused { reason: \"Validation problem: quantity 0.5 is not a whole number from 1 to 1000000\", gate_ms: None }",
        ),
        (
            "nothing",
            always(),
            plain(),
            "0",
            NOON,
            "Refused { reason: \"Validation problem: quantity 0 is not a whole number from 1 to 1000000\", gate_ms: None }",
        ),
        (
            "less than nothing",
            always(),
            plain(),
            "-1",
            NOON,
            "Refused { reason: \"Validation problem: quantity -1 is not a whole number from 1 to 1000000\", gate_ms: None }",
        ),
        (
            "more than an order may be",
            always(),
            plain(),
            "1000001",
            NOON,
            "Refused { reason: \"Validation problem: quantity 1000001 is not a whole number from 1 to 1000000\", gate_ms: None }",
        ),
        (
            "beyond the calendar",
            nyse(),
            plain(),
            "1",
            beyond,
            "Refused { reason: \"the market calendar ends before the next session; update the program\", gate_ms: Some(60000) }",
        ),
        ("the same name again", always(), twice, "1", NOON, "Duplicate"),
        ("refused on purpose", always(), refuse, "1", NOON, "Refused { reason: \"no\", gate_ms: None }"),
        ("refused on purpose, but it is there", always(), refuse_twice, "1", NOON, "Duplicate"),
        (
            "too many calls",
            always(),
            slow,
            "1",
            NOON,
            "Refused { reason: \"Rate Limit Exceeded\", gate_ms: Some(7000) }",
        ),
        ("lost on its way", always(), lose, "1", NOON, "Unknown(\"no answer (a lost one was asked for)\")"),
        (
            "accepted, the answer lost",
            always(),
            accept,
            "1",
            NOON,
            "Unknown(\"no answer (a lost one was asked for)\")",
        ),
        (
            "nobody listens",
            always(),
            away,
            "1",
            NOON,
            "NotSent(\"connection refused (an outage was asked for)\")",
        ),
        ("no answer", always(), mute, "1", NOON, "Unknown(\"no answer (a lost one was asked for)\")"),
    ];
    let found = rows.into_iter().map(|(name, options, before, quantity, now, expected)| {
        let desk = Desk::new();
        let broker = PaperBroker::open(&desk.path(), options, NOON).unwrap();
        before(&broker);
        (name, format!("{:?}", broker.place(&ticket(1, quantity), now)), expected)
    });
    assert_rows(found.collect());
}

#[test]
fn a_reading_that_gives_nothing_says_nothing_of_an_order() {
    let desk = Desk::used();
    let broker = PaperBroker::open(&desk.path(), PaperOptions::default(), NOON).unwrap();
    let now = NOON.plus(9_000);
    for id in ["1", "01004055538153", "order", "-1", "99999999999999999999999"] {
        assert_eq!(broker.order(&id.parse().unwrap(), now), Ok(None), "{id}");
    }
    assert_eq!(broker.find(&"cf-test-9".parse().unwrap(), now), Ok(None));
    let known = "1004055538153".parse().unwrap();
    assert!(broker.order(&known, now).unwrap().is_some_and(|order| order.executed == Shares::whole(5)));
    broker.faults().outage(Some(Outage::Unknown));
    let why = "the paper broker is away (an outage was asked for)";
    let answers = [
        broker.order(&known, now).map(|_| ()),
        broker.find(&"cf-test-1".parse().unwrap(), now).map(|_| ()),
        broker.list(NOON, now).map(|_| ()),
        broker.positions(now).map(|_| ()),
        broker.session(now).map(|_| ()),
    ];
    for answer in answers {
        assert_eq!(answer.unwrap_err().to_string(), why);
    }
}
