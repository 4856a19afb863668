//! The fault matrix: every fault of a node, a clock, a disk or a neighbour × what the bot is doing when it strikes.
//!
//! The real `bot` process before a scripted node on a socket. Each cell strikes, trades meanwhile, sees that the bot
//! does what it should (runs on, says 503 and why, or ends with the right code and words that say what to type), heals,
//! and ends with the verdict of `truth`, drawn from the node's canonical chain and the broker's own book: nothing lost,
//! nothing doubled, `/readyz` at 200, exit 0 after SIGTERM. The bench and the truth are the floor's.

mod clock;
mod faults;
mod moments;
mod volume;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::sample;
use crate::truth::Verdict;
use crate::until::until;
use faults::{Ending, FAULTS, Fault, VOLUME_FAULTS};
use moments::{Moment, Scene};

/// Cells at once: most of their time they wait for a bot that waits.
const AT_ONCE: usize = 12;
/// The test that plays the volumes' cells within a mount namespace.
const WITHIN: &str = "fault_matrix::the_volumes_within_a_namespace";
/// How it tells of a cell: this, fault, moment, and what became of it, by tabs.
const CELL: &str = "CELL";

/// What became of a cell.
struct Outcome {
    /// As the table has it: lost/doubled as they were counted, and the orders at the broker.
    told: String,
    /// What is wrong, in words; nothing where all is well.
    wrong: String,
}

impl Outcome {
    fn of(played: thread::Result<Verdict>) -> Self {
        match played {
            Ok(verdict) => {
                let told = format!("{}/{} {}", verdict.lost, verdict.doubled, verdict.orders);
                let wrong = if verdict.is_clean() { String::new() } else { format!("{verdict:?}") };
                Self { told, wrong }
            }
            Err(panic) => Self { told: "FAILED".to_owned(), wrong: format!("failed: {}", words_of(&*panic)) },
        }
    }
}

type Outcomes = BTreeMap<(String, String), Outcome>;

fn play(fault: &Fault, moment: Moment) -> Verdict {
    let mut scene = Scene::arrive(moment, fault.prepare);
    let reconnects = scene.bench.reconnects();
    (fault.strike)(&mut scene);
    match fault.ending {
        Ending::RunsOn => scene.books_every_trade(),
        Ending::Reconnects => {
            scene.bench.until("connected again", || scene.bench.reconnects() > reconnects);
            scene.books_every_trade();
        }
        Ending::Unready(check) => scene.bench.becomes_unready(check),
        Ending::Exits(code, words) => {
            exits(&mut scene, code, words);
            // Nothing has changed, so a supervisor that starts it again gets the same answer. A start may give a full
            // disk a little room back: the chain lives on, and uses it up.
            let bench = &mut scene.bench;
            bench.start();
            until("the bot ends again", String::new, || {
                bench.node.mine_empty(1);
                bench.has_ended()
            });
            exits(&mut scene, code, words);
        }
    }
    (fault.heal)(&mut scene);
    if matches!(fault.ending, Ending::Exits(..)) {
        scene.bench.start();
    }
    scene.ends_judged()
}

fn exits(scene: &mut Scene, code: i32, words: &[&str]) {
    let ended = scene.bench.ends();
    assert_eq!(ended.code, code, "{}", ended.log);
    let said = ended.log.lines().last().unwrap_or_default();
    words.iter().for_each(|word| assert!(said.contains(word), "{word}: {said}"));
}

/// The cells that are played: each fault at each moment; where not all are, each fault at one.
fn cells(matrix: &str, faults: &'static [Fault]) -> Vec<(&'static Fault, Moment)> {
    let cells = faults.iter().flat_map(|fault| Moment::ALL.map(|moment| (fault, moment)));
    sample::of(matrix, "cells", "fault", faults.len(), cells.collect())
}

/// Plays these, and hands on every outcome as it comes.
fn play_all(cells: Vec<(&'static Fault, Moment)>, tell: impl Fn(&Fault, Moment, Outcome) + Sync) {
    let queue: Mutex<VecDeque<(&'static Fault, Moment)>> = Mutex::new(cells.into());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((fault, moment)) = queue.lock().unwrap().pop_front() else { return };
                    // A thread of its own, so that one that fails is a cell of the table and not its end.
                    let played = thread::spawn(move || play(fault, moment)).join();
                    tell(fault, moment, Outcome::of(played));
                }
            });
        }
    });
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

fn name(fault: &Fault, moment: Moment) -> (String, String) {
    (fault.name.to_owned(), moment.words().to_owned())
}

/// The volumes' cells, played by this program started again in a mount namespace; why not, where that is refused.
fn play_volumes() -> Result<Outcomes, String> {
    let mut command = volume::namespace()?;
    let program = std::env::current_exe().unwrap();
    let out = command.arg(program).args(["--exact", WITHIN, "--ignored", "--nocapture"]).output().unwrap();
    let (told, complaint) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{told}\n{complaint}");
    let mut outcomes = Outcomes::new();
    for line in told.lines() {
        // The harness may have begun the line.
        let Some((_, cell)) = line.split_once(&format!("{CELL}\t")) else { continue };
        let fields: Vec<&str> = cell.splitn(4, '\t').collect();
        let outcome = Outcome { told: fields[2].to_owned(), wrong: fields[3].replace("\\n", "\n") };
        outcomes.insert((fields[0].to_owned(), fields[1].to_owned()), outcome);
    }
    Ok(outcomes)
}

/// A cell that is not of the sample is empty; one that is meant and was not played says so.
fn table(outcomes: &Outcomes, faults: &[&Fault], meant: &BTreeSet<(String, String)>) -> String {
    let mut text = format!("{:<33} {:<20}", "fault", "the bot meanwhile");
    Moment::ALL.iter().for_each(|moment| write!(text, " {:>15}", moment.words()).unwrap());
    text.push('\n');
    for fault in faults {
        write!(text, "{:<33} {:<20}", fault.name, fault.ending.words()).unwrap();
        for moment in Moment::ALL {
            let name = name(fault, moment);
            let without = if meant.contains(&name) { "NOT PLAYED" } else { "" };
            let cell = outcomes.get(&name).map_or(without, |outcome| &outcome.told);
            write!(text, " {cell:>15}").unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn every_fault_at_every_moment() {
    let begun = Instant::now();
    let outcomes = Mutex::new(Outcomes::new());
    let (played, of_volumes) = (cells("fault", &FAULTS), cells("fault, the volumes'", &VOLUME_FAULTS));
    let meant: BTreeSet<_> =
        played.iter().chain(&of_volumes).map(|(fault, moment)| name(fault, *moment)).collect();
    let volumes = thread::scope(|scope| {
        let volumes = scope.spawn(play_volumes);
        play_all(played, |fault, moment, outcome| {
            outcomes.lock().unwrap().insert(name(fault, moment), outcome);
        });
        volumes.join().unwrap()
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    let refused = match volumes {
        Ok(played) => {
            outcomes.extend(played);
            None
        }
        Err(why) => Some(format!(
            "*** {} CELLS WERE NOT PLAYED, the volumes' rows: no mount namespace: {why} ***",
            of_volumes.len()
        )),
    };
    let faults: Vec<&Fault> = FAULTS.iter().chain(&VOLUME_FAULTS).collect();
    let told = format!(
        "\nFault matrix: {} cells in {} s; a cell is lost/doubled and the orders at the broker; the columns are what \
         the bot was doing when the fault struck\n{}{}\n",
        outcomes.len(),
        begun.elapsed().as_secs(),
        table(&outcomes, &faults, &meant),
        refused.as_deref().unwrap_or_default()
    );
    // Past the harness, which would keep the table of a test that passes to itself.
    std::io::stdout().write_all(told.as_bytes()).unwrap();
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|(_, outcome)| !outcome.wrong.is_empty())
        .map(|(cell, outcome)| format!("{cell:?}: {}", outcome.wrong))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    let missing = meant.len() - outcomes.len();
    assert!(missing == 0 || refused.is_some(), "{missing} cells are missing");
    let in_ci = std::env::var_os("CI").is_some();
    assert!(refused.is_none() || !in_ci, "CI must play every cell");
}

#[test]
#[ignore = "every_fault_at_every_moment starts it in a mount namespace; it mounts over its own folders"]
fn the_volumes_within_a_namespace() {
    play_all(cells("fault, the volumes'", &VOLUME_FAULTS), |fault, moment, outcome| {
        let Outcome { told, wrong } = outcome;
        println!("{CELL}\t{}\t{}\t{told}\t{}", fault.name, moment.words(), wrong.replace('\n', "\\n"));
    });
}
