//! A recovery is ended too. At every point around a call to the broker the process is ended with KILL and with TERM; the
//! next one, which has to find out what became of its order, is ended in the middle of that; then it must all come right.
//!
//! What the second end aims at is the crash matrix's rule: by turns a point at which no recovery has ended yet, and the
//! next passing in a rotation. A recovery that comes to rest before is ended at rest. The verdict is the double's book, as
//! everywhere here, and after each end of a process every call that the double heard of must have an intent.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker_doubles::schwab::Kind;
use counterfill::crash::Point::{self, *};

use super::bench::Bench;
use super::kills::{Signal, TRIES_MAX, Way, aim, deal, dies_on, nothing_was_forgotten};
use super::{World, play, world};
use crate::crash_matrix::watch::{Aim, Watch};

/// Before a ledger is born; its fills come when it was.
const BIRTH: [Point; 2] = [AccountBefore, AccountAfter];
/// In a start that finds a fill waiting.
const START: [Point; 8] = [
    SessionBefore,
    SessionAfter,
    ListBefore,
    ListAfter,
    PositionsBefore,
    PositionsAfter,
    QuotesBefore,
    QuotesAfter,
];
/// On the way of an order whose answer is lost.
const LOST: [Way; 4] = [&[PlaceBefore], &[PlaceAfter], &[UnknownDone, ListBefore], &[UnknownDone, ListAfter]];
/// On the way of an order that the broker confirms.
const CONFIRMED: [Way; 4] =
    [&[PlaceBefore], &[PlaceAfter], &[ClaimedDone, OrderBefore], &[ClaimedDone, OrderAfter]];
const SIGNALS: [Signal; 2] = [Signal::Kill, Signal::Term];
/// Ends of recoveries: one for each signal at each place.
const RECOVERIES: usize = SIGNALS.len() * (BIRTH.len() + START.len() + LOST.len() + CONFIRMED.len());

/// The ends of recoveries, of all worlds.
#[derive(Default)]
struct Recoveries {
    begun: AtomicUsize,
    ended_at: Mutex<BTreeSet<Point>>,
}

impl Recoveries {
    fn fresh(&self) -> Aim {
        let ended_at = self.ended_at.lock().unwrap();
        Aim::AnyOf(Point::ALL.iter().copied().filter(|point| !ended_at.contains(point)).collect())
    }

    /// Starts the bot and ends it somewhere on its way to rest.
    fn end_one(&self, bench: &mut Bench) {
        let index = self.begun.fetch_add(1, Ordering::Relaxed);
        let wants_fresh = index.is_multiple_of(2);
        let with = SIGNALS[usize::from(index.is_multiple_of(3))];
        let socket = bench.data().join("crash.sock");
        let watch = Watch::at(&socket, if wants_fresh { self.fresh() } else { Aim::Nth(1 + index) });
        bench.start_told(Some(&socket));
        loop {
            let (point, rested) = held_or_at_rest(bench, &watch);
            // Another world may have ended there in the meantime.
            if self.ended_at.lock().unwrap().insert(point) || rested || !wants_fresh {
                break;
            }
            watch.let_go(self.fresh());
        }
        with.strike(bench, &watch);
        watch.close(&socket);
    }
}

/// Where a thread is held; at rest, or when all waits for a person, the next passing will do.
fn held_or_at_rest(bench: &Bench, watch: &Watch) -> (Point, bool) {
    let (mut held, mut rested) = (None, false);
    let lists = bench.asked("list");
    bench.until("the recovery is held", || {
        held = watch.held(Duration::from_millis(10));
        if held.is_none() && !rested && bench.data().join("bot.db").exists() {
            let waits = bench.is_lost() && bench.asked("list") > lists + 1;
            // A start that has asked nobody yet finds the ledger as it left it.
            rested = waits || bench.asked("list") > lists && bench.wrongs().is_empty();
        } else if held.is_none() && rested {
            watch.aim_at_next();
        }
        held.is_some()
    });
    (held.unwrap(), rested)
}

/// The start is ended when it comes to this point.
fn start_dies_at(bench: &mut Bench, point: Point, with: Signal) {
    let socket = bench.data().join("crash.sock");
    let watch = Watch::at(&socket, aim(point));
    bench.start_told(Some(&socket));
    bench.until("held", || watch.held(Duration::from_millis(10)).is_some());
    with.strike(bench, &watch);
    watch.close(&socket);
}

fn comes_right(bench: &mut Bench) {
    bench.start();
    bench.settles_with_a_person();
    bench.stop();
    assert_eq!(bench.wrongs(), Vec::<String>::new());
}

fn ends_well(mut bench: Bench) {
    bench.start();
    bench.ends_clean();
    nothing_was_forgotten(&bench);
}

fn at_birth(point: Point, recoveries: &Arc<Recoveries>) -> World {
    let recoveries = Arc::clone(recoveries);
    world(format!("at {}, before a birth", point.name()), move || {
        for with in SIGNALS {
            let mut bench = Bench::new();
            start_dies_at(&mut bench, point, with);
            recoveries.end_one(&mut bench);
            bench.start();
            bench.becomes_ready();
            bench.mine(&[deal(2)]);
            bench.settles();
            bench.stop();
            ends_well(bench);
        }
    })
}

fn in_a_start(point: Point, recoveries: &Arc<Recoveries>) -> World {
    let recoveries = Arc::clone(recoveries);
    world(format!("at {}, in a start", point.name()), move || {
        let mut bench = Bench::new();
        bench.has_traded();
        for (with, shares) in SIGNALS.into_iter().zip(3..) {
            bench.mine(&[deal(shares)]);
            start_dies_at(&mut bench, point, with);
            recoveries.end_one(&mut bench);
            comes_right(&mut bench);
        }
        ends_well(bench);
    })
}

fn with_an_order(what: &str, kind: Kind, way: Way, recoveries: &Arc<Recoveries>) -> World {
    let recoveries = Arc::clone(recoveries);
    let point = way[way.len() - 1];
    world(format!("at {}, {what}", point.name()), move || {
        let mut bench = Bench::new();
        bench.has_traded();
        let mut shares = 3;
        for with in SIGNALS {
            let died = (0..TRIES_MAX).any(|_| {
                bench.double.heal();
                bench.fault("place", kind.clone());
                let died = dies_on(&mut bench, way, with, shares);
                shares += 1;
                if died {
                    recoveries.end_one(&mut bench);
                }
                comes_right(&mut bench);
                died
            });
            assert!(died, "the process never came to {way:?}");
        }
        ends_well(bench);
    })
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "an optimised build has no crash points")]
fn ended_around_every_call_and_again_in_the_recovery() {
    let recoveries = Arc::<Recoveries>::default();
    let mut worlds = Vec::new();
    worlds.extend(LOST.map(|way| with_an_order("answer lost", Kind::AcceptThenReset, way, &recoveries)));
    worlds.extend(CONFIRMED.map(|way| with_an_order("confirmed", Kind::LocationRelative, way, &recoveries)));
    worlds.extend(START.map(|point| in_a_start(point, &recoveries)));
    worlds.extend(BIRTH.map(|point| at_birth(point, &recoveries)));
    let whole = play("ENDED AROUND EVERY CALL, AND AGAIN IN THE RECOVERY", &worlds);
    let ended_at = recoveries.ended_at.lock().unwrap();
    let names: Vec<&str> = ended_at.iter().map(|point| point.name()).collect();
    let begun = recoveries.begun.load(Ordering::Relaxed);
    testkit::tell(&format!(
        "{begun} recoveries ended, at {} different points: {}",
        names.len(),
        names.join(", ")
    ));
    if whole {
        assert_eq!(begun, RECOVERIES);
        assert!(names.len() >= RECOVERIES / 2, "{names:?}");
    }
}
