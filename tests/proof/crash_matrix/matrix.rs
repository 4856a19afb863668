//! The schedule: every point with both signals, then a point of the recovery, then rest and verdict.
//!
//! First each tale is told without a kill, to see which points it passes and how often. From that come the rows: a row
//! is a world of its own with two ends of its process, the second one while it recovers from the first. Rows run side by
//! side. A point that no row reached, a kill that did not happen, a world that did not converge: each fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use counterfill::crash::Point;

use super::stage::{Hit, Kill, Signal, Stage};
use super::tale::{At, TALES, Tale};
use super::watch::Aim;
use super::{side_by_side, tell};
use crate::sample;

/// Recoveries die at each of so many passings in turn.
const RECOVERY_PASSINGS: usize = 45;
/// How often the tales are told without a kill, at most.
const SURVEYS_MAX: usize = 3;
/// How often places that were passed over are tried again.
const ROUNDS_MAX: usize = 4;
/// A stop that takes longer hangs, on however busy a machine.
const STOP_MAX: Duration = Duration::from_secs(45);
/// What the matrix promises.
const KILLS_MIN: usize = 400;
/// So many worlds are played where not all are; the points are then still all looked for, in the tales without a kill.
const FEW: usize = 30;

/// A world to be: its tale and its kills.
struct Row {
    tale: &'static Tale,
    kills: Vec<Kill>,
}

/// What became of it.
struct Done {
    hits: Vec<Hit>,
    passed: Vec<Vec<Point>>,
    wrongs: Vec<String>,
    slowest_stop: Duration,
}

fn first_of(tale: &Tale) -> Option<Kill> {
    tale.first.map(|(point, times)| Kill { aim: Aim::At(point, times), with: Signal::Kill })
}

fn run(row: &Row) -> Done {
    let mut stage = Stage::new(row.tale.at, first_of(row.tale).into_iter().chain(row.kills.iter().cloned()));
    let failed = stage.play(row.tale).err();
    let mut wrongs = std::mem::take(&mut stage.wrongs);
    if !wrongs.is_empty() {
        wrongs.push(stage.log());
    }
    wrongs.extend(failed);
    let (hits, passed) = (std::mem::take(&mut stage.hits), std::mem::take(&mut stage.passed));
    Done { hits, passed, wrongs, slowest_stop: stage.slowest_stop }
}

/// How often each point is passed in one process of a tale, at most.
fn passings(tale: &Tale, done: &Done) -> BTreeMap<Point, usize> {
    let mut most = BTreeMap::new();
    for process in done.passed.iter().skip(usize::from(tale.first.is_some())) {
        let mut times: BTreeMap<Point, usize> = BTreeMap::new();
        process.iter().for_each(|point| *times.entry(*point).or_default() += 1);
        for (point, times) in times {
            let most = most.entry(point).or_insert(0);
            *most = times.max(*most);
        }
    }
    most
}

/// Where each point can be died at: in which tale, at which passing. Another tale is worth more than another time.
fn places(point: Point, tales: &[&'static Tale], surveyed: &[Done]) -> Vec<(usize, &'static Tale)> {
    let by_tale = tales.iter().zip(surveyed).filter_map(|(tale, done)| {
        let times = passings(tale, done).get(&point).copied()?;
        Some((1..=times).map(move |time| (time, *tale)))
    });
    let mut places: Vec<_> = by_tale.flatten().collect();
    places.sort_by_key(|(time, _)| *time);
    if point == Point::MigrationStatement {
        // Each statement is a place of its own, in a birth and in an old ledger.
        places.retain(|(_, tale)| tale.first.is_none() && (tale.name == "birth" || tale.old_ledger));
    }
    places
}

fn row(tale: &'static Tale, point: Point, time: usize, with: Signal) -> Row {
    Row { tale, kills: vec![Kill { aim: Aim::At(point, time), with }] }
}

/// Whether it lies where orders, fills and the ledger meet, or is passed with one broker only.
fn is_of_money(point: Point) -> bool {
    ["commit.", "effect.", "broker."].iter().any(|part| point.name().starts_with(part))
}

/// The first kill of every row.
fn rows(tales: &[&'static Tale], surveyed: &[Done]) -> Vec<Row> {
    let mut rows = Vec::new();
    for point in Point::ALL {
        let mut places = places(*point, tales, surveyed);
        if *point != Point::MigrationStatement {
            // One place with each broker; what has nothing to do with a broker, once.
            let mut seen = Vec::new();
            places.retain(|(_, tale)| {
                let fresh = !seen.contains(&tale.at) && (tale.at == At::Paper || is_of_money(*point));
                seen.push(tale.at);
                fresh
            });
        }
        for (time, tale) in places {
            rows.extend([Signal::Kill, Signal::Term].map(|with| row(tale, *point, time, with)));
            if matches!(point, Point::PlaceBefore | Point::PlaceAfter) {
                rows.push(row(tale, *point, time, Signal::TermHeld));
            }
        }
    }
    rows
}

/// How the row's own kill ended, where it came about.
fn struck(row: &Row, done: &Done) -> Option<Hit> {
    let hit = done.hits.get(usize::from(row.tale.first.is_some()))?;
    let meant = matches!(row.kills[0].aim, Aim::At(point, _) if point == hit.point);
    meant.then_some(*hit)
}

/// The points that nothing died at yet with one of the signals, at all their places.
fn missed_rows(tales: &[&'static Tale], surveyed: &[Done], rows: &[Row], done: &[Done]) -> Vec<Row> {
    let hits: Vec<Hit> = rows.iter().zip(done).filter_map(|(row, done)| struck(row, done)).collect();
    let mut more = Vec::new();
    for point in Point::ALL {
        for with in [Signal::Kill, Signal::Term] {
            if !hits.iter().any(|hit| hit.point == *point && hit.with == with) {
                let places = places(*point, tales, surveyed).into_iter().take(6);
                more.extend(places.map(|(time, tale)| row(tale, *point, time, with)));
            }
        }
    }
    more
}

/// Which points recoveries died at, shared by the rows that run.
#[derive(Default)]
struct Recoveries {
    died_at: BTreeSet<Point>,
}

/// The second kill: at a point where no recovery died yet, by turns with the next passing in the rotation.
fn again(index: usize, row: &Row, recoveries: &Mutex<Recoveries>) -> Row {
    let aim = if index.is_multiple_of(2) {
        let died_at = &recoveries.lock().unwrap().died_at;
        Aim::AnyOf(Point::ALL.iter().copied().filter(|point| !died_at.contains(point)).collect())
    } else {
        Aim::Nth(1 + index / 2 % RECOVERY_PASSINGS)
    };
    let with = if index.is_multiple_of(3) { Signal::Term } else { Signal::Kill };
    let mut kills = row.kills.clone();
    kills.push(Kill { aim, with });
    Row { tale: row.tale, kills }
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "an optimised build has no crash points")]
fn every_point_is_died_at_and_nothing_is_lost_or_doubled() {
    let begun = Instant::now();
    let (mut tales, mut surveyed): (Vec<&Tale>, Vec<Done>) = Default::default();
    // What one batch holds is a matter of moments: a point that every tale passed over is looked for again.
    while surveyed.len() < SURVEYS_MAX * TALES.len()
        && Point::ALL.iter().any(|point| places(*point, &tales, &surveyed).is_empty())
    {
        surveyed
            .extend(side_by_side(TALES.len(), |index| run(&Row { tale: &TALES[index], kills: Vec::new() })));
        tales.extend(TALES);
    }
    for (tale, done) in tales.iter().zip(&surveyed) {
        assert!(done.wrongs.is_empty(), "`{}` without a kill: {}", tale.name, done.wrongs.join("\n"));
    }
    let unreached: Vec<&str> = Point::ALL
        .iter()
        .filter(|point| places(**point, &tales, &surveyed).is_empty())
        .map(|point| point.name())
        .collect();
    assert!(unreached.is_empty(), "no tale passes {unreached:?}");
    let mut rows = sample::of("crash", "worlds", "crash", FEW, rows(&tales, &surveyed));
    let recoveries = Mutex::<Recoveries>::default();
    let mut done = Vec::new();
    let rounds = if sample::all() { ROUNDS_MAX } else { 1 };
    for _ in 0..rounds {
        let fresh = &rows[done.len()..];
        let more = side_by_side(fresh.len(), |index| {
            let done = run(&again(index, &fresh[index], &recoveries));
            if let Some(hit) = done.hits.get(1 + usize::from(fresh[index].tale.first.is_some())) {
                recoveries.lock().unwrap().died_at.insert(hit.point);
            }
            done
        });
        done.extend(more);
        // Two things may fall into one batch, and a place is passed over: those that nobody died at have another turn.
        if sample::all() {
            rows.extend(missed_rows(&tales, &surveyed, &rows, &done));
        }
        if rows.len() == done.len() {
            break;
        }
    }
    rows.truncate(done.len());
    report(&rows, &done, begun);
}

#[derive(Default)]
struct Count {
    kill: usize,
    term: usize,
    again: usize,
}

fn report(rows: &[Row], done: &[Done], begun: Instant) {
    let mut counts: BTreeMap<Point, Count> = BTreeMap::new();
    let (mut statements, mut kills, mut terms) = (0, 0, 0);
    let mut failures = Vec::new();
    for (row, done) in rows.iter().zip(done) {
        let meant = usize::from(row.tale.first.is_some());
        for (index, hit) in done.hits.iter().enumerate() {
            if hit.with == Signal::Kill {
                kills += 1
            } else {
                terms += 1
            }
            if index > meant {
                counts.entry(hit.point).or_default().again += 1;
            }
        }
        if let Some(hit) = struck(row, done) {
            let count = counts.entry(hit.point).or_default();
            if hit.with == Signal::Kill {
                count.kill += 1
            } else {
                count.term += 1
            }
            statements += usize::from(hit.point == Point::MigrationStatement && hit.with == Signal::Kill);
        }
        if !done.wrongs.is_empty() {
            let (hits, aim) = (&done.hits, &row.kills[0].aim);
            failures.push(format!(
                "`{}`, {aim:?}, died at {hits:?}:\n{}",
                row.tale.name,
                done.wrongs.join("\n")
            ));
        }
    }
    let points = Point::ALL.len() + statements - 1;
    let slowest = done.iter().map(|done| done.slowest_stop).max().unwrap_or_default();
    let recovered =
        Point::ALL.iter().filter(|point| counts.get(point).is_some_and(|count| count.again > 0)).count();
    tell(&format!(
        "\nCRASH MATRIX: {points} points ({statements} of them statements of migrations), {} worlds, {} kills \
         ({kills} KILL, {terms} TERM), {} worlds wrong; {:.0} s\nrecoveries died at {recovered} different points; the \
         slowest stop after SIGTERM took {slowest:.1?}",
        rows.len(),
        kills + terms,
        failures.len(),
        begun.elapsed().as_secs_f64()
    ));
    tell("  no  point                      KILL TERM again  what was so then");
    let mut missed = Vec::new();
    for (index, point) in Point::ALL.iter().enumerate() {
        let none = Count::default();
        let count = counts.get(point).unwrap_or(&none);
        if !sample::all() && count.kill + count.term + count.again == 0 {
            continue;
        }
        tell(&format!(
            " {:3}  {:26} {:4} {:4} {:5}  {}",
            index + 1,
            point.name(),
            count.kill,
            count.term,
            count.again,
            point.meaning()
        ));
        if count.kill == 0 || count.term == 0 {
            missed.push(point.name());
        }
    }
    assert!(failures.is_empty(), "{} of {} worlds:\n{}", failures.len(), rows.len(), failures.join("\n\n"));
    // The program's own bounds are 5 s for the order call and 8 s for the line; the rest is a busy machine.
    assert!(slowest < STOP_MAX, "a stop took {slowest:?}");
    if !sample::all() {
        // Two things may fall into one batch, so that a place is passed over now and then, and here not tried again.
        let struck = rows.iter().zip(done).filter(|(row, done)| struck(row, done).is_some()).count();
        assert!(struck * 2 > rows.len(), "{struck} of {} worlds died where they were meant to", rows.len());
        return;
    }
    assert!(missed.is_empty(), "nothing died there with both signals: {missed:?}");
    assert!(kills + terms >= KILLS_MIN, "{} kills", kills + terms);
    assert!(recovered >= 60, "recoveries died at too few points");
}
