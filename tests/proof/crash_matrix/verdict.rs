//! The verdict: the chain and the broker's book against the ledger's own tables.
//!
//! Net: no ticker is left with a whole share. Gross: the broker never traded more than the chain moved, so that a share
//! hedged twice and put right again is seen too. Both need nothing from the bot. Then every order must be an intent,
//! every fill an entry, the ledger whole, and nothing of a half-made file left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use counterfill::units::{ONE, Shares};
use rusqlite::{Connection, OpenFlags};

use super::house::Order;
use super::world::{Fill, Moves};

#[derive(Debug, Clone)]
pub struct Intent {
    pub id: String,
    pub ticker: String,
    pub side: String,
    pub quantity: i128,
    pub state: String,
    pub live: bool,
    pub order: Option<String>,
    pub executed: i128,
    pub adopted: bool,
}

/// What the ledger's tables hold.
#[derive(Debug, Default)]
pub struct Ledger {
    pub cursor: Option<(u64, String)>,
    /// Fills whose last entry stands and counts.
    pub fills: Vec<Fill>,
    pub intents: Vec<Intent>,
    /// Halts in force: ticker (none: all) and kind.
    pub halts: BTreeSet<(Option<String>, String)>,
}

pub fn atoms(text: &str) -> i128 {
    text.parse::<Shares>().unwrap().atoms()
}

fn signed(side: &str, atoms: i128) -> i128 {
    if side == "BUY" { atoms } else { -atoms }
}

fn whole(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap())
}

pub fn read(conn: &Connection) -> rusqlite::Result<Ledger> {
    // One transaction, so that all of it is of one moment.
    let conn = conn.unchecked_transaction()?;
    let mut ledger = Ledger::default();
    let mut rows = conn.prepare("SELECT number, hash FROM cursor")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        ledger.cursor = Some((whole(row, 0)?, row.get(1)?));
    }
    let standing = "SELECT block_hash, tx_hash, log_index, symbol, side, shares FROM fills f WHERE EXISTS \
                    (SELECT 1 FROM fill_entries e JOIN fill_counts c ON c.fill = e.fill AND c.n = e.n \
                     WHERE e.fill = f.fill AND e.sign = 1 AND e.n = (SELECT max(n) FROM fill_entries WHERE fill = f.fill))";
    let mut rows = conn.prepare(standing)?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (side, shares): (String, String) = (row.get(4)?, row.get(5)?);
        let atoms = signed(&side, atoms(&shares));
        ledger.fills.push((row.get(0)?, row.get(1)?, whole(row, 2)?, row.get(3)?, atoms));
    }
    ledger.fills.sort();
    let intents = "SELECT id, symbol, side, quantity, state, live IS NOT NULL, order_id, \
                   (SELECT group_concat(quantity) FROM executions x WHERE x.intent = i.intent), adopted FROM intents i";
    let mut rows = conn.prepare(intents)?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (quantity, executed): (String, Option<String>) = (row.get(3)?, row.get(7)?);
        ledger.intents.push(Intent {
            id: row.get(0)?,
            ticker: row.get(1)?,
            side: row.get(2)?,
            quantity: atoms(&quantity),
            state: row.get(4)?,
            live: row.get(5)?,
            order: row.get(6)?,
            executed: executed.iter().flat_map(|rows| rows.split(',')).map(atoms).sum(),
            adopted: row.get(8)?,
        });
    }
    let halts = "SELECT symbol, kind FROM halts h WHERE raised = 1 AND halt = \
                 (SELECT max(halt) FROM halts WHERE kind = h.kind AND symbol IS h.symbol)";
    let mut rows = conn.prepare(halts)?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        ledger.halts.insert((row.get(0)?, row.get(1)?));
    }
    Ok(ledger)
}

/// Beside the running bot; none where there is no ledger yet, or nobody has it open.
pub fn look(data: &Path) -> Option<Ledger> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    read(&Connection::open_with_flags(data.join("bot.db"), flags).ok()?).ok()
}

/// Of a ledger that nobody has open: what it holds, and what is wrong with the file. A copy is looked at, so that the
/// next start finds everything as the kill left it.
pub fn inspect(data: &Path) -> (Option<Ledger>, Vec<String>) {
    if !data.join("bot.db").exists() {
        return (None, Vec::new());
    }
    let copy = tempfile::tempdir().unwrap();
    copy_ledger(data, copy.path());
    let conn = Connection::open(copy.path().join("bot.db")).unwrap();
    let mut wrongs = Vec::new();
    let whole = conn.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    if whole.as_deref() != Ok("ok") {
        wrongs.push(format!("the ledger is damaged: {whole:?}"));
    }
    if conn.prepare("PRAGMA foreign_key_check").and_then(|mut check| check.exists([])) != Ok(false) {
        wrongs.push("the ledger's references are broken".to_owned());
    }
    match read(&conn) {
        Ok(ledger) => (Some(ledger), wrongs),
        Err(error) => {
            wrongs.push(format!("the ledger can not be read: {error}"));
            (None, wrongs)
        }
    }
}

/// The ledger's files as they lie there, log included.
pub fn copy_ledger(from: &Path, to: &Path) {
    for name in ["bot.db", "bot.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// Right after a kill: no order without a durable intent, nothing booked that the broker does not have.
pub fn durable(ledger: Option<&Ledger>, book: &[Order], called: &[String]) -> Vec<String> {
    let none = Ledger::default();
    let ledger = ledger.unwrap_or(&none);
    let mut wrongs = Vec::new();
    for order in book.iter().filter(|order| order.name.is_some()) {
        let same = |intent: &&Intent| {
            (order.name.as_ref() == Some(&intent.id)
                || intent.adopted && intent.order.as_ref() == Some(&order.id))
                && (&order.ticker, &order.side) == (&intent.ticker, &intent.side)
                && order.quantity == intent.quantity
                && !matches!(intent.state.as_str(), "Planned" | "Withdrawn")
        };
        if ledger.intents.iter().filter(same).count() != 1 {
            wrongs.push(format!("the broker has {order:?}, and no intent for it was durable"));
        }
    }
    for name in called {
        // After a restore a forgotten order is bound under another name; that excuses the call that made it, and no other.
        let made: Vec<&String> =
            book.iter().filter(|order| order.name.as_ref() == Some(name)).map(|order| &order.id).collect();
        let known = |intent: &Intent| {
            intent.id == *name || intent.adopted && intent.order.as_ref().is_some_and(|id| made.contains(&id))
        };
        if !ledger.intents.iter().any(known) {
            wrongs.push(format!("an order call for {name} left, and no intent for it was durable"));
        }
    }
    for intent in ledger.intents.iter().filter(|intent| intent.executed != 0) {
        let order = book.iter().find(|order| Some(&order.id) == intent.order.as_ref());
        if order.is_none_or(|order| order.executed < intent.executed) {
            wrongs.push(format!("{intent:?} is booked, the broker has {order:?}"));
        }
    }
    wrongs
}

/// Whole shares left per ticker: what is not hedged, and what is hedged too much.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub lost: i128,
    pub doubled: i128,
}

/// Net and gross, from the chain and the broker alone.
pub fn shares(fills: &[Fill], book: &[Order], moves: &BTreeMap<&'static str, Moves>) -> Found {
    let (mut onchain, mut left) = (BTreeMap::<&str, i128>::new(), BTreeMap::<&str, i128>::new());
    for (_, _, _, ticker, atoms) in fills {
        *onchain.entry(ticker).or_default() += atoms;
        *left.entry(ticker).or_default() += atoms;
    }
    let mut traded = BTreeMap::<&str, Moves>::new();
    for order in book {
        *left.entry(&order.ticker).or_default() += order.signed();
        if order.name.is_some() {
            traded.entry(&order.ticker).or_default().add(order.signed());
        }
    }
    let mut found = Found::default();
    for (ticker, left) in left {
        let whole = (left / ONE).abs();
        let chain = onchain.get(ticker).copied().unwrap_or(0);
        if whole > 0 && (left < 0) == (chain < 0) { found.lost += whole } else { found.doubled += whole }
    }
    for (ticker, traded) in traded {
        let moved = moves.get(ticker).copied().unwrap_or_default();
        let beyond = (traded.up - moved.down).max(0) + (traded.down - moved.up).max(0);
        found.doubled += (beyond + ONE - 1) / ONE;
    }
    found
}

/// Orders against intents, fills against entries, one by one. `adopting`: after a restore an order of ours may be bound
/// to an intent under another name.
pub fn books_agree(ledger: &Ledger, fills: &[Fill], book: &[Order], adopting: bool) -> Vec<String> {
    let mut wrongs = Vec::new();
    if ledger.fills != *fills {
        wrongs.push(format!("fills: the chain has {fills:?}, the ledger counts {:?}", ledger.fills));
    }
    for order in book {
        let bound: Vec<&Intent> =
            ledger.intents.iter().filter(|i| i.order.as_ref() == Some(&order.id)).collect();
        let same = |intent: &&Intent| {
            (&order.ticker, &order.side) == (&intent.ticker, &intent.side)
                && (order.quantity, order.executed) == (intent.quantity, intent.executed)
                && (order.name.as_ref() == Some(&intent.id)
                    || intent.adopted && (adopting || order.name.is_none()))
        };
        if bound.len() != 1 || !bound.iter().all(same) {
            wrongs.push(format!("{order:?} is bound to {bound:?}"));
        }
        if order.name.is_some() && order.calls != 1 {
            wrongs.push(format!("{order:?} was sent {} times after it was there", order.calls));
        }
    }
    for intent in &ledger.intents {
        let there = book.iter().any(|order| Some(&order.id) == intent.order.as_ref());
        let never =
            matches!(intent.state.as_str(), "Planned" | "Withdrawn" | "Refused" | "Unknown" | "Absent");
        let none_expected = never && intent.order.is_none() && intent.executed == 0;
        if !there && !none_expected {
            wrongs.push(format!("the broker has no order for {intent:?}"));
        }
    }
    wrongs
}

/// Files that nobody will ever clean up.
pub fn leftovers(data: &Path) -> Vec<String> {
    let names = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let known = |name: &String| {
        let plain =
            ["bot.db", "bot.db-wal", "bot.db-shm", "bot.db.lock", "control.sock", "crash.sock", "log"];
        plain.contains(&name.as_str())
            || name.starts_with("paper.db")
            || name.starts_with("bot.db.backup-") && !name.ends_with(".partial")
    };
    names.filter(|name| !known(name)).map(|name| format!("{name} was left behind")).collect()
}

#[test]
fn an_adopted_order_excuses_its_own_call_and_no_other() {
    let order = Order {
        id: "7".to_owned(),
        name: Some("forgotten".to_owned()),
        ticker: "TSLA".to_owned(),
        side: "BUY".to_owned(),
        quantity: ONE,
        executed: 0,
        live: true,
        calls: 1,
    };
    let intent = Intent {
        id: "another".to_owned(),
        ticker: "TSLA".to_owned(),
        side: "BUY".to_owned(),
        quantity: ONE,
        state: "Working".to_owned(),
        live: true,
        order: Some("7".to_owned()),
        executed: 0,
        adopted: true,
    };
    let ledger = Ledger { intents: vec![intent], ..Ledger::default() };
    let found = |called: &[&str]| {
        let called: Vec<String> = called.iter().map(|name| (*name).to_owned()).collect();
        durable(Some(&ledger), std::slice::from_ref(&order), &called)
    };
    assert_eq!(found(&["another", "forgotten"]), Vec::<String>::new());
    assert_eq!(
        found(&["forgotten", "of nobody"]),
        ["an order call for of nobody left, and no intent for it was durable"]
    );
}
