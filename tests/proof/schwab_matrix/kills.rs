//! SIGKILL at each durable step of an order's life, for each way in which its answer can be lost (scenario 3).
//!
//! The debug build says over a socket which of its crash points it is about to pass (`counterfill::crash`). Each world
//! has one fault and goes through all steps, one order after the other: the process dies there and the next one must
//! find out what became of the order, from the broker's list alone; where there is none to be found, a person says so.

use std::collections::BTreeSet;
use std::time::Duration;

use broker_doubles::decimal::Decimal;
use broker_doubles::schwab::{Fill, Kind, Step};
use counterfill::crash::Point::{self, *};

use super::bench::Bench;
use super::{World, play, world};
use crate::crash_matrix::watch::{Aim, Watch};
use crate::sample;
use crate::truth::{Deal, buy, sell};

/// What is passed on the way, and where the process dies.
pub type Way = &'static [Point];

const BEFORE: [Way; 5] = [&[SentWritten], &[SentDone], &[EffectPlace], &[PlaceBefore], &[PlaceAfter]];
const UNCLEAR: [Way; 4] =
    [&[UnknownWritten], &[UnknownDone], &[UnknownDone, ListBefore], &[UnknownDone, ListAfter]];
const CLAIMED: [Way; 4] =
    [&[ClaimedWritten], &[ClaimedDone], &[ClaimedDone, OrderBefore], &[ClaimedDone, OrderAfter]];
const FOUND: [Way; 6] =
    [&[WorkingWritten], &[WorkingDone], &[ExecutedWritten], &[ExecutedDone], &[EndedWritten], &[EndedDone]];
/// Passed by every start, order or none.
const STARTING: [Way; 10] = [
    &[AccountBefore],
    &[AccountAfter],
    &[SessionBefore],
    &[SessionAfter],
    &[ListBefore],
    &[ListAfter],
    &[PositionsBefore],
    &[PositionsAfter],
    &[QuotesBefore],
    &[QuotesAfter],
];
/// So many of the steps are played where not all are.
const FEW: usize = 4;
/// Two things may fall into one commit, and a step is passed over; then it is tried again.
pub const TRIES_MAX: usize = 4;
/// After so many lists an order that is not there waits for a person, and the step was passed over.
const LISTS_IN_VAIN: usize = 6;

/// An order's worth, in a quantity that no other has.
pub const fn deal(shares: i64) -> Deal {
    if shares % 2 == 0 { sell(0, shares * 1_000) } else { buy(0, shares * 1_000) }
}

/// An order that had to wait for a quote comes to the same step as a plan that is sent.
pub fn aim(point: Point) -> Aim {
    Aim::AnyOf(match point {
        SentWritten => BTreeSet::from([SentWritten, PlanSentWritten]),
        SentDone => BTreeSet::from([SentDone, PlanSentDone]),
        point => BTreeSet::from([point]),
    })
}

/// How the process ends there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Kill,
    /// SIGTERM, and the thread that is at the point goes on; it must exit 0.
    Term,
    /// SIGTERM, and the thread that is at the point never goes on, as a call without an answer.
    TermHeld,
}

impl Signal {
    pub fn strike(self, bench: &mut Bench, watch: &Watch) {
        match self {
            Self::Kill => bench.kill(),
            Self::Term => {
                bench.terminate();
                watch.let_go(Aim::Never);
                assert_eq!(bench.ends(), 0, "{}", bench.logged);
            }
            Self::TermHeld => {
                bench.terminate();
                assert_eq!(bench.ends(), 0, "{}", bench.logged);
            }
        }
        bench.has_an_intent_for_every_call();
    }
}

/// Mines one order's worth and ends the process at the end of the way; false where it was never there.
pub fn dies_on(bench: &mut Bench, way: Way, with: Signal, shares: i64) -> bool {
    let socket = bench.data().join("crash.sock");
    let watch = Watch::at(&socket, Aim::Never);
    let quotes = bench.asked("quotes");
    bench.start_told(Some(&socket));
    bench.becomes_ready();
    // Without a quote an order is planned first.
    bench.until("quotes are read", || bench.asked("quotes") > quotes);
    let lists = bench.asked("list");
    watch.let_go(aim(way[0]));
    bench.mine(&[deal(shares)]);
    let came = way.iter().enumerate().all(|(n, point)| {
        if n > 0 {
            watch.let_go(aim(*point));
        }
        bench.is_held_before_it_rests(&watch, lists)
    });
    if came {
        with.strike(bench, &watch)
    } else {
        bench.kill()
    }
    watch.close(&socket);
    came
}

impl Bench {
    /// A ledger with one order in it, and no bot; quotes are read of tickers that were traded. Orders are seen in three
    /// looks from here on: working, in part, whole.
    pub fn has_traded(&mut self) {
        let part = Step::trades(Fill::Shares(Decimal::whole(1)), "WORKING");
        let life = vec![Step::called("WORKING"), part, Step::trades(Fill::Rest, "FILLED")];
        self.double.book(|book| book.life = Some(life));
        self.start();
        self.becomes_ready();
        self.mine(&[deal(2)]);
        self.settles();
        self.stop();
    }

    /// Whether an intent waits for what nobody will tell by itself.
    pub fn is_lost(&self) -> bool {
        self.hedges().iter().any(|row| row["state"] == "Unknown")
    }

    /// Waits for a thread to be held; false where everything came to rest without.
    fn is_held_before_it_rests(&self, watch: &Watch, lists: usize) -> bool {
        let batches = || watch.passes().iter().filter(|point| **point == BatchTaken).count();
        let mut at_rest = None;
        self.until("held, or at rest", || {
            let held = watch.held(Duration::from_millis(10)).is_some();
            let rests = || {
                let in_vain = self.asked("list") > lists + LISTS_IN_VAIN;
                if self.is_lost() { in_vain } else { self.wrongs().is_empty() }
            };
            if at_rest.is_none() && !held && rests() {
                at_rest = Some(batches());
            }
            // The last step of all is passed just after everything is well, and before the line takes another batch.
            held || at_rest.is_some_and(|then| batches() > then)
        });
        watch.held(Duration::ZERO).is_some()
    }

    /// Whatever ended the process: of every order call that the broker heard of there is an intent in the ledger.
    fn has_an_intent_for_every_call(&self) {
        if self.data().join("bot.db").exists() {
            assert_eq!(self.calls_beyond_intents(&self.double.log()), Vec::<String>::new());
        }
    }
}

fn ended_everywhere(name: &str, kind: Kind, with: Signal, ways: Vec<Way>) -> World {
    let what = kind.clone();
    let title = format!("{name}: {with:?} at {} steps", ways.len());
    world(title.clone(), move || {
        let ways = sample::of(&format!("schwab, {title}"), "steps", "schwab", FEW, ways.clone());
        let mut bench = Bench::new();
        bench.has_traded();
        let mut shares = 3;
        for way in &ways {
            let died = (0..TRIES_MAX).any(|_| {
                bench.double.heal();
                bench.fault("place", what.clone());
                let died = dies_on(&mut bench, way, with, shares);
                shares += 1;
                bench.start();
                bench.settles_with_a_person();
                bench.stop();
                died
            });
            assert!(died, "the process never came to {way:?}");
        }
        assert_eq!(bench.wrongs(), Vec::<String>::new());
        bench.start();
        bench.ends_clean();
        nothing_was_forgotten(&bench);
    })
}

/// Ended at each call of a start, the first of which is to bring the ledger into being.
fn ended_while_it_starts(with: Signal) -> World {
    world(format!("starts: {with:?} at {} steps", STARTING.len()), move || {
        let mut bench = Bench::new();
        let socket = bench.data().join("crash.sock");
        let mut shares = 2;
        for way in STARTING {
            let watch = Watch::at(&socket, aim(way[0]));
            bench.start_told(Some(&socket));
            bench.until("held", || watch.held(Duration::from_millis(10)).is_some());
            with.strike(&mut bench, &watch);
            watch.close(&socket);
            match way[0] {
                AccountBefore => {}
                // Born and begun; from here on a fill waits for each start.
                AccountAfter => {
                    bench.start();
                    bench.becomes_ready();
                    bench.stop();
                }
                _ => {
                    bench.mine(&[deal(shares)]);
                    shares += 1;
                }
            }
        }
        bench.start();
        bench.settles_with_a_person();
        bench.ends_clean();
        nothing_was_forgotten(&bench);
    })
}

/// A start takes in what the broker's book has under our tag and no intent knows (`protocol.md` 5.2). That is for ledgers
/// that were put back; a process that dies must leave an intent for every order, or a lost one would be hidden by it.
pub fn nothing_was_forgotten(bench: &Bench) {
    let adopted: Vec<_> = bench.hedges().into_iter().filter(|row| row["adopted"] == true).collect();
    assert!(adopted.is_empty(), "orders without an intent: {adopted:?}");
}

fn unclear() -> Vec<Way> {
    [&BEFORE[..], &UNCLEAR[..], &FOUND[..]].concat()
}

fn claimed() -> Vec<Way> {
    [&BEFORE[..], &CLAIMED[..], &FOUND[..]].concat()
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "an optimised build has no crash points")]
fn killed_at_every_durable_step_of_a_lost_answer() {
    let nothing = [&BEFORE[..], &UNCLEAR[..]].concat();
    let killed = |name: &str, kind, ways| ended_everywhere(&format!("3 {name}"), kind, Signal::Kill, ways);
    // Longer than the client waits on any machine. It waits for its patience at each step, so that two worlds share them.
    let stall = || Kind::AcceptThenStall { ms: 60_000 };
    let worlds = [
        killed("accept_then_stall", stall(), nothing.clone()),
        killed("accept_then_stall, when it was found", stall(), FOUND.to_vec()),
        killed("accept_then_close", Kind::AcceptThenClose, unclear()),
        killed("accept_then_reset", Kind::AcceptThenReset, unclear()),
        killed("accept_half_headers", Kind::AcceptHalfHeaders, unclear()),
        killed("accept_no_location", Kind::AcceptNoLocation, unclear()),
        killed("location_garbage", Kind::LocationGarbage, unclear()),
        killed("server_error_after", Kind::ServerErrorAfter, unclear()),
        killed("request_timeout", Kind::RequestTimeout { accepted: true }, unclear()),
        killed("stall_then_drop", Kind::StallThenDrop { ms: 100 }, nothing),
    ];
    play("KILLED AT EVERY DURABLE STEP", &worlds);
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "an optimised build has no crash points")]
fn ended_around_every_call() {
    let lost = || Kind::AcceptThenReset;
    let yes = || Kind::LocationRelative;
    let worlds = [
        ended_everywhere("a lost answer", lost(), Signal::Term, unclear()),
        ended_everywhere("a clear yes", yes(), Signal::Term, claimed()),
        ended_everywhere("a clear yes", yes(), Signal::Kill, claimed()),
        ended_everywhere("invisible at first", Kind::Invisible { reads: 2, ms: 0 }, Signal::Kill, claimed()),
        ended_everywhere("no answer", yes(), Signal::TermHeld, vec![&[PlaceBefore], &[PlaceAfter]]),
        ended_while_it_starts(Signal::Kill),
        ended_while_it_starts(Signal::Term),
    ];
    play("ENDED AROUND EVERY CALL", &worlds);
}
