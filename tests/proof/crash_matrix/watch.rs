//! The listener at the other end of the crash points: it counts what a process passes, lets it go on, or holds it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use counterfill::crash::Point;

/// Where a process is to be stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aim {
    /// Nowhere.
    Never,
    /// At this passing of this point, the first being 1.
    At(Point, usize),
    /// At the so many-th passing of any point since the start. Statements of a migration and ticks do not count: there
    /// are so many that nothing else would ever have its turn.
    Nth(usize),
    /// At the first of these that it passes.
    AnyOf(BTreeSet<Point>),
}

#[derive(Default)]
struct State {
    passes: Vec<Point>,
    aim: Option<Aim>,
    /// Where a thread is held.
    held: Option<Point>,
    /// How many were held so far, the one that is held now included.
    holds: u64,
    /// So many of them were let go: each waits for its own turn, for another may be held before it wakes.
    let_go: u64,
    /// The one that is let go next panics.
    panics: bool,
    gone: bool,
}

impl State {
    /// Notes a passing; whether it is the one to stop at.
    fn pass(&mut self, point: Point) -> bool {
        self.passes.push(point);
        let hit = match &self.aim {
            _ if self.held.is_some() => false,
            None | Some(Aim::Never) => false,
            Some(Aim::AnyOf(points)) => points.contains(&point),
            Some(Aim::At(aimed, times)) => {
                point == *aimed && self.passes.iter().filter(|passed| *passed == aimed).count() == *times
            }
            Some(Aim::Nth(times)) => {
                let counts = |point: &Point| !matches!(point, Point::MigrationStatement | Point::BatchTaken);
                counts(&point) && self.passes.iter().filter(|passed| counts(passed)).count() >= *times
            }
        };
        if hit {
            (self.held, self.aim, self.holds) = (Some(point), None, self.holds + 1);
        }
        hit
    }
}

/// What one process passes.
pub struct Watch {
    shared: Arc<(Mutex<State>, Condvar)>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.shared.0.lock().unwrap();
        (state.gone, state.let_go) = (true, state.holds);
        self.shared.1.notify_all();
    }
}

impl Watch {
    /// Listens at `socket`, anew.
    pub fn at(socket: &Path, aim: Aim) -> Self {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let state = State { aim: Some(aim), ..State::default() };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if accepting.0.lock().unwrap().gone {
                    return;
                }
                let serving = Arc::clone(&accepting);
                thread::spawn(move || serve(&stream, &serving));
            }
        });
        Self { shared }
    }

    /// Ends the accept loop, which sleeps until somebody comes.
    pub fn close(self, socket: &Path) {
        drop(self);
        let _ = UnixStream::connect(socket);
    }

    /// Waits so long at most for a thread to be held, and where.
    pub fn held(&self, patience: Duration) -> Option<Point> {
        let state = self.shared.0.lock().unwrap();
        let (state, _) =
            self.shared.1.wait_timeout_while(state, patience, |state| state.held.is_none()).unwrap();
        state.held
    }

    /// Lets the held thread go on, with another aim from here on.
    pub fn let_go(&self, aim: Aim) {
        let mut state = self.shared.0.lock().unwrap();
        (state.held, state.let_go, state.aim) = (None, state.holds, Some(aim));
        self.shared.1.notify_all();
    }

    /// The held thread panics there.
    #[allow(dead_code, reason = "asked for before Schwab, where there are secrets")]
    pub fn let_panic(&self) {
        let mut state = self.shared.0.lock().unwrap();
        (state.held, state.let_go, state.panics) = (None, state.holds, true);
        self.shared.1.notify_all();
    }

    /// The very next passing, whatever it is.
    pub fn aim_at_next(&self) {
        let mut state = self.shared.0.lock().unwrap();
        if state.held.is_none() {
            state.aim = Some(Aim::AnyOf(Point::ALL.iter().copied().collect()));
        }
    }

    /// Everything passed so far, in order.
    pub fn passes(&self) -> Vec<Point> {
        self.shared.0.lock().unwrap().passes.clone()
    }
}

fn serve(stream: &UnixStream, shared: &(Mutex<State>, Condvar)) {
    let lines = BufReader::new(stream).lines();
    for name in lines.map_while(Result::ok) {
        let point = Point::ALL.iter().find(|point| point.name() == name).copied().unwrap();
        let mut state = shared.0.lock().unwrap();
        let mut word = b".";
        if state.pass(point) {
            shared.1.notify_all();
            let turn = state.holds;
            state = shared.1.wait_while(state, |state| state.let_go < turn).unwrap();
            if std::mem::take(&mut state.panics) {
                word = b"!";
            }
        }
        let gone = state.gone;
        drop(state);
        if gone || (&*stream).write_all(word).is_err() {
            return;
        }
    }
}
