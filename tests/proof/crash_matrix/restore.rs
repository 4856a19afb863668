//! An old ledger is put back while the broker's book stays (`protocol.md` 5.2): nothing is lost and nothing doubled.
//!
//! The copy is made at rest, after a stop, or in the middle of an order while the process is held at a point, with
//! SQLite's backup or as plain files with their log. Then the bot goes on: more trades, a reorg that takes a fill of
//! before the copy with it. In most rows an hour lies between, which is made by setting every moment in ledger, copy and
//! broker's book back by one. Then the copy is all there is.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use counterfill::crash::Point;
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::house::an_hour_passes_in;
use super::stage::{Failure, Stage, remove_ledger};
use super::tale::{At, Step};
use super::verdict::{self, Ledger};
use super::watch::Aim;
use super::world::{AAPL, TSLA};
use super::{side_by_side, tell};
use crate::sample;

const PASSED_OVER: &str = "the order came to rest without passing";
const TRIES: usize = 4;
/// So many rows are played where not all are.
const FEW: usize = 5;

#[derive(Debug, Clone, Copy)]
enum Moment {
    Stopped,
    Rest,
    /// While an order is on its way: a thread is held here.
    At(Point),
}

#[derive(Debug, Clone, Copy)]
enum Way {
    /// SQLite's backup, beside the running bot.
    Backup,
    /// The file and its log, one after the other. Only while nothing is written: a copy of a file that changes is none.
    Files,
}

struct Row {
    at: At,
    moment: Moment,
    way: Way,
    hour: bool,
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |moment, way, hour| rows.push(Row { at: At::Paper, moment, way, hour });
    for hour in [true, false] {
        add(Moment::Stopped, Way::Files, hour);
        add(Moment::Rest, Way::Backup, hour);
    }
    add(Moment::Rest, Way::Files, true);
    // The line, which writes the ledger, is the one that is held: the files stand still.
    for point in [
        Point::SentWritten,
        Point::SentDone,
        Point::ClaimedWritten,
        Point::ClaimedDone,
        Point::EndedWritten,
        Point::EndedDone,
    ] {
        add(Moment::At(point), Way::Backup, true);
        add(Moment::At(point), Way::Files, true);
    }
    for point in [Point::PlaceBefore, Point::PlaceAfter, Point::OrderAfter] {
        add(Moment::At(point), Way::Backup, true);
    }
    add(Moment::At(Point::PlaceAfter), Way::Backup, false);
    for (moment, way) in [
        (Moment::Stopped, Way::Files),
        (Moment::At(Point::SentWritten), Way::Files),
        (Moment::At(Point::PlaceAfter), Way::Backup),
        (Moment::At(Point::ClaimedDone), Way::Backup),
    ] {
        rows.push(Row { at: At::Alpaca, moment, way, hour: true });
    }
    rows
}

/// What a row came to.
struct Told {
    orders: usize,
    /// Orders that the copy did not know.
    adopted: usize,
    /// Fills that the copy did not have, or had and that have left the chain.
    reread: usize,
    found: verdict::Found,
    wrongs: Vec<String>,
}

fn copy(data: &Path, shelf: &Path, way: Way) {
    match way {
        Way::Files => verdict::copy_ledger(data, shelf),
        Way::Backup => {
            let from =
                Connection::open_with_flags(data.join("bot.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
            let mut to = Connection::open(shelf.join("bot.db")).unwrap();
            let backup = Backup::new(&from, &mut to).unwrap();
            backup.run_to_completion(1_000, Duration::ZERO, None).unwrap();
        }
    }
}

fn play(row: &Row, index: usize) -> Result<Told, Failure> {
    let mut stage = Stage::new(row.at, []);
    let (data, shelf) = (stage.data(), tempfile::tempdir().unwrap());
    stage.world.mine(&[(TSLA, -1_200), (AAPL, -7_300)]);
    stage.start();
    stage.settle()?;

    // Up to the copy.
    let deals: &'static [_] = &[(TSLA, -4_900)];
    if let Moment::At(point) = row.moment {
        stage.bot().watch().let_go(Aim::AnyOf(BTreeSet::from([point])));
        stage.act(Step::Mine(deals))?;
        if stage.settle_or_held()?.is_none() {
            return Err(format!("{PASSED_OVER} {}", point.name()));
        }
    } else {
        stage.act(Step::Mine(deals))?;
        stage.settle()?;
    }
    if let Moment::Stopped = row.moment {
        stage.quit()?;
    }
    if let (Moment::Rest, Way::Files) = (row.moment, row.way) {
        // At rest, and it may write all the same: of the account, or its log into the file.
        stage.bot().watch().let_go(Aim::AnyOf(BTreeSet::from([Point::BatchTaken])));
        stage.held()?;
    }
    copy(&data, shelf.path(), row.way);
    match row.moment {
        Moment::Stopped => stage.start(),
        Moment::At(_) | Moment::Rest => stage.bot().watch().let_go(Aim::Never),
    }
    stage.settle()?;
    let (then, wrongs) = verdict::inspect(shelf.path());
    stage.wrongs.extend(wrongs.into_iter().map(|wrong| format!("in the copy: {wrong}")));
    let then = then.ok_or("there is no copy")?;

    // What the copy will not know.
    if row.hour {
        stage.quit()?;
        stage.house.an_hour_passes();
        an_hour_passes_in(&data.join("bot.db"));
        an_hour_passes_in(&shelf.path().join("bot.db"));
        stage.start();
        stage.settle()?;
    }
    for step in [
        Step::Mine(&[(TSLA, 3_100)]),
        Step::Mine(&[(AAPL, 2_000), (TSLA, -1_000)]),
        // Three blocks, and the one before the copy is one of them.
        Step::Reorg(3),
        Step::Mine(&[(AAPL, -2_500)]),
    ] {
        stage.act(step)?;
        stage.settle()?;
    }
    if index.is_multiple_of(2) {
        stage.quit()?;
    } else {
        stage.kill();
    }

    // It is put back.
    remove_ledger(&data);
    verdict::copy_ledger(shelf.path(), &data);
    stage.start();
    stage.settle()?;
    stage.finish(true)?;
    let (now, _) = verdict::inspect(&data);
    Ok(told(&mut stage, &then, &now.unwrap_or_default()))
}

/// Two things may fall into one commit, and a moment is passed over: then it is another world's turn.
fn tried(row: &Row, index: usize) -> Result<Told, Failure> {
    let mut result = play(row, index);
    for _ in 1..TRIES {
        match &result {
            Err(failure) if failure.starts_with(PASSED_OVER) => result = play(row, index),
            _ => break,
        }
    }
    result
}

fn told(stage: &mut Stage, then: &Ledger, now: &Ledger) -> Told {
    let (fills, book) = (stage.world.fills(), stage.house.book());
    let of_before: BTreeSet<_> = then.fills.iter().collect();
    let of_now: BTreeSet<_> = now.fills.iter().collect();
    let mut wrongs = std::mem::take(&mut stage.wrongs);
    if !wrongs.is_empty() {
        wrongs.push(stage.log());
    }
    Told {
        orders: book.len(),
        adopted: now.intents.iter().filter(|intent| intent.adopted).count(),
        reread: of_before.symmetric_difference(&of_now).count(),
        found: verdict::shares(&fills, &book, &stage.world.moves),
        wrongs,
    }
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "an optimised build can not be held at a point")]
fn an_old_ledger_that_is_put_back_loses_and_doubles_nothing() {
    let rows = sample::of("restore", "rows", "crash", FEW, rows());
    let told = side_by_side(rows.len(), |index| tried(&rows[index], index));
    tell("\nRESTORE: the ledger is put back, the broker's book stays");
    tell("  broker  copied                         by      hour  orders  adopted  re-read  lost  doubled");
    let mut failures = Vec::new();
    let mut adopted = 0;
    for (row, told) in rows.iter().zip(&told) {
        let moment = match row.moment {
            Moment::Stopped => "after a stop".to_owned(),
            Moment::Rest => "at rest".to_owned(),
            Moment::At(point) => format!("at {}", point.name()),
        };
        let (at, way) = (format!("{:?}", row.at), format!("{:?}", row.way));
        let name = format!("{at:7} {moment:30} {way:7} {:5}", if row.hour { "1 h" } else { "none" });
        match told {
            Ok(told) => {
                tell(&format!(
                    "  {name} {:6}  {:7}  {:7}  {:4}  {:7}",
                    told.orders, told.adopted, told.reread, told.found.lost, told.found.doubled
                ));
                adopted += told.adopted;
                if !told.wrongs.is_empty() {
                    failures.push(format!("{name}:\n{}", told.wrongs.join("\n")));
                }
                if told.adopted == 0 || told.reread == 0 {
                    failures
                        .push(format!("{name}: nothing was lost with the ledger, so that nothing was shown"));
                }
            }
            Err(failure) => failures.push(format!("{name}: {failure}")),
        }
    }
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n\n"));
    assert!(adopted > rows.len(), "{adopted} orders adopted");
}
