//! The gross verdict: what was traded on the way, where `truth` looks at what is left at rest. A share that was hedged
//! twice and put right again leaves nothing at rest, and is found here.
//!
//! By the chain alone: the broker never traded more of a ticker, either way, than fills and the reversals of orphans
//! moved it the other way. That is exact where a ticker is traded one way only. By the ledger's moments as well: what
//! the ledger took for known when an order was sent, which must be fills that were mined, had that much left to hedge;
//! no order leads past zero. What is found in both ways counts in both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use alloy::primitives::B256;
use counterfill::broker::paper::BookOrder;
use counterfill::sim::SimChain;
use counterfill::units::{ONE, Shares, Side};
use rusqlite::Connection;

use crate::truth::{Name, SHARES, Truth, Verdict, side, ticker};

/// What an order traded, positive where it bought.
fn traded(order: &BookOrder) -> i128 {
    let standing = order.executions.iter().filter(|done| !done.busted);
    let done: i128 = standing.map(|done| done.quantity.atoms()).sum();
    if order.order.side == Side::Buy { done } else { -done }
}

/// Atoms as shares begun.
fn shares(atoms: i128) -> u64 {
    u64::try_from((atoms.max(0) + ONE - 1) / ONE).unwrap()
}

/// Every block that ever held a transaction of ours.
fn blocks_of_ours(truth: &Truth, chain: &SimChain) -> BTreeSet<B256> {
    truth.meant.keys().flat_map(|tx| chain.included_in(*tx)).copied().collect()
}

/// Adds to the verdict what was traded beyond everything that the chain moved.
pub fn by_the_chain(truth: &Truth, chain: &SimChain, book: &[BookOrder], verdict: &mut Verdict) {
    // Of each ticker what the owner bought and what it sold; an orphan is the one and then the other.
    let mut moved: BTreeMap<&str, [i128; 2]> = BTreeMap::new();
    for hash in blocks_of_ours(truth, chain) {
        let orphan = !chain.is_canonical(hash);
        for (_, _, _, side, ticker, atoms) in truth.names(chain.block(hash).unwrap()) {
            let both = moved.entry(ticker).or_default();
            let way = usize::from(side == "SELL");
            both[way] += atoms;
            both[1 - way] += if orphan { atoms } else { 0 };
        }
    }
    for (name, ..) in SHARES {
        let [bought, sold] = moved.get(name).copied().unwrap_or_default();
        let orders = book.iter().filter(|order| order.order.symbol.as_str() == name).map(traded);
        let (up, down): (Vec<i128>, Vec<i128>) = orders.partition(|done| *done > 0);
        for (way, done, allowed) in [("bought", up, sold), ("sold", down, bought)] {
            let done = done.iter().sum::<i128>().abs();
            if done > allowed {
                verdict.doubled += shares(done - allowed);
                verdict.wrongs.push(format!("{name}: {way} {done}, the chain moved {allowed} (atoms)"));
            }
        }
    }
}

/// A fill that began to count, or was taken back: when, of which ticker, signed.
struct Counted {
    at: i64,
    ticker: &'static str,
    atoms: i128,
}

/// What the ledger took for known, in order; a fill that was never mined, and one of the chain that was taken back
/// though no fork ever showed another, are wrong.
fn counted(ledger: &Connection, truth: &Truth, chain: &SimChain, verdict: &mut Verdict) -> Vec<Counted> {
    let blocks = blocks_of_ours(truth, chain);
    let mined: BTreeSet<Name> =
        blocks.iter().flat_map(|hash| truth.names(chain.block(*hash).unwrap())).collect();
    let sql = "SELECT c.at, f.block_hash, f.tx_hash, f.log_index, f.side, f.symbol, f.shares, e.sign \
               FROM fill_counts c JOIN fill_entries e ON e.fill = c.fill AND e.n = c.n \
               JOIN fills f ON f.fill = c.fill ORDER BY c.at, c.n, c.fill";
    let mut rows = ledger.prepare(sql).unwrap();
    let mut rows = rows.query([]).unwrap();
    let mut counted = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let text = |column| row.get::<_, String>(column).unwrap();
        let (ticker, side) = (ticker(&text(5)), side(&text(4)));
        let shares = text(6).parse::<Shares>().unwrap().atoms();
        let log = u64::try_from(row.get::<_, i64>(3).unwrap()).unwrap();
        let name: Name = (text(1), text(2), log, side, ticker, shares);
        let sign: i128 = row.get::<_, i64>(7).unwrap().into();
        if !mined.contains(&name) {
            verdict.wrongs.push(format!("{name:?} counted, and was never mined"));
        } else if sign < 0 && chain.is_canonical(name.0.parse().unwrap()) {
            verdict.wrongs.push(format!("{name:?} was taken back, and never left the chain"));
        }
        let signed = if side == "BUY" { shares } else { -shares };
        counted.push(Counted { at: row.get(0).unwrap(), ticker, atoms: sign * signed });
    }
    counted
}

/// When each intent was sent; more than once, where it was sent again under its name.
fn sendings(ledger: &Connection) -> BTreeMap<String, Vec<i64>> {
    let sql = "SELECT i.id, t.at FROM intents i JOIN intent_transitions t ON t.intent = i.intent \
               WHERE t.to_state = 'Sent'";
    let mut rows = ledger.prepare(sql).unwrap();
    let mut sent: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap() {
        let (id, at) = row.unwrap();
        sent.entry(id).or_default().push(at);
    }
    sent
}

/// Adds to the verdict every order that led past zero by what the ledger in `data` knew when it was sent. Its moments
/// must be in order: of no use where the clock was set back.
pub fn by_the_ledger(
    truth: &Truth,
    chain: &SimChain,
    data: &Path,
    book: &[BookOrder],
    verdict: &mut Verdict,
) {
    let ledger = Connection::open(data.join("bot.db")).unwrap();
    let counted = counted(&ledger, truth, chain, verdict);
    let sent = sendings(&ledger);
    for (name, ..) in SHARES {
        // The sums of what counted, each from its moment on.
        let mut known = vec![(i64::MIN, 0)];
        for Counted { at, atoms, .. } in counted.iter().filter(|counted| counted.ticker == name) {
            known.push((*at, known.last().unwrap().1 + atoms));
        }
        let mut done = 0;
        for order in book.iter().filter(|order| order.order.symbol.as_str() == name) {
            let traded = traded(order);
            let id = order.order.client_id.as_deref().unwrap_or_default();
            // What is left to hedge at a moment. Of its own millisecond it may have known a part.
            let left_at = |at: i64| {
                let first = known.partition_point(|(from, _)| *from < at) - 1;
                let beyond = known.partition_point(|(from, _)| *from <= at);
                known[first..beyond].iter().map(|(_, sum)| sum + done).collect::<Vec<i128>>()
            };
            let fits = |left: &i128| (*left < 0) == (traded > 0) && left.abs() >= traded.abs();
            let left: Vec<i128> = sent.get(id).into_iter().flatten().flat_map(|at| left_at(*at)).collect();
            if traded != 0 && !left.iter().any(fits) {
                let there = left.iter().map(|left| if traded > 0 { -left } else { *left }).max();
                verdict.doubled += shares(traded.abs() - there.unwrap_or(0).max(0));
                verdict
                    .wrongs
                    .push(format!("order {id} traded {traded} {name} where {left:?} was left (atoms)"));
            }
            done += traded;
        }
    }
}
