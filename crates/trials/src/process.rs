//! One life of the bot in a trial: the real engine on the real ledger, and the real chain side over the trial's wire.
//!
//! What threads and sockets do in `run` is here a few fields: the inputs that wait for the line's turn, the one order
//! call and the one question that are on their way, the look at the chain that is under way. It decides nothing; the
//! world says when what happens.
//!
//! Invariant: it knows of the world only what came over the wire, from the broker or off the disk.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::node::Wire;
use counterfill_broker::Ticket;
use counterfill_chain::by_hand::{self, Ear, Eye, Ground, Looked, Remembered, Told};
use counterfill_chain::{ChainStop, ChainView, Push};
use counterfill_core::engine::{Input, Question};
use counterfill_core::units::{BlockRef, Millis};
use counterfill_ledger::Turn;

/// First pause after answers that do not belong together, as in `chain::sweep`; doubles.
const PAUSE_MS_MIN: i64 = 100;
/// Longest such pause.
const PAUSE_MS_MAX: i64 = 2_000;
/// A look at least so often while nothing happens.
const IDLE_MS: i64 = 15_000;
/// And so often while a block waits to be asked about again.
const AGAIN_MS: i64 = 3_000;
/// And so often while the node is behind.
const BEHIND_MS: i64 = 2_000;

type Opening = Pin<Box<dyn Future<Output = Opened>>>;
type Opened = Result<(Eye, Ear, BlockRef), (Remembered, Option<ChainStop>)>;
type Looking = Pin<Box<dyn Future<Output = (Eye, Looked)>>>;
type Hearing = Pin<Box<dyn Future<Output = (Ear, Told)>>>;

/// Where the connection to the node stands.
enum Line {
    Down(Box<Remembered>),
    Opening(Opening, Wire),
    Up(Box<Up>),
}

struct Up {
    wire: Wire,
    eye: Option<Eye>,
    looking: Option<(Looking, ChainView)>,
    ear: Option<Ear>,
    hearing: Option<Hearing>,
    heard: VecDeque<Box<RawValue>>,
    /// A range was handed over and its turn has not been.
    handed: bool,
    pause_ms: i64,
}

/// What the chain side wants of the world after it was driven.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// Inputs for the line.
    pub(crate) inputs: Vec<Input>,
    /// Look again at this moment at the latest.
    pub(crate) look_in_ms: Option<i64>,
    /// And not before it, whatever rings.
    pub(crate) rests: bool,
    /// The connection is over.
    pub(crate) lost: bool,
    /// The process must end.
    pub(crate) stop: Option<ChainStop>,
    /// A range begins below the cursor.
    pub(crate) fork: bool,
    /// Why a look came to nothing, in words.
    pub(crate) said: Option<String>,
}

/// One life.
pub(crate) struct Process {
    pub(crate) turn: Turn,
    /// Counts lives from 1.
    pub(crate) number: u32,
    pub(crate) inbox: Vec<Input>,
    pub(crate) turn_due: bool,
    /// The order call on its way.
    pub(crate) placing: Option<Ticket>,
    /// Questions; the first is on its way if `asking`.
    pub(crate) questions: VecDeque<Question>,
    pub(crate) asking: bool,
    pub(crate) bell: bool,
    /// When the next look begins: one at a time, as in `chain::sweep`.
    pub(crate) look_due: Option<i64>,
    /// No look begins before: the answers of the last one did not belong together, or were refused.
    pub(crate) rests_until: i64,
    ground: Arc<Ground>,
    line: Option<Line>,
}

/// Polls once; nobody needs to be woken, the world polls whatever it has answered.
fn poll<T>(future: &mut Pin<Box<dyn Future<Output = T>>>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

impl Process {
    pub(crate) fn new(turn: Turn, number: u32, ground: &Arc<Ground>) -> Self {
        Self {
            turn,
            number,
            inbox: Vec::new(),
            turn_due: false,
            placing: None,
            questions: VecDeque::new(),
            asking: false,
            bell: false,
            look_due: None,
            rests_until: 0,
            ground: Arc::clone(ground),
            line: Some(Line::Down(Box::new(Remembered::new(ground)))),
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.line, Some(Line::Up(_)))
    }

    pub(crate) const fn is_down(&self) -> bool {
        matches!(self.line, Some(Line::Down(_)))
    }

    /// Whether a look could begin: none is under way, and no range waits for its turn.
    pub(crate) fn may_look(&self) -> bool {
        matches!(&self.line, Some(Line::Up(up)) if up.eye.is_some() && !up.handed)
    }

    /// Whether a look is under way.
    pub(crate) fn is_looking(&self) -> bool {
        matches!(&self.line, Some(Line::Up(up)) if up.looking.is_some() || up.handed || up.hearing.is_some())
    }

    fn view(&self) -> ChainView {
        self.turn.engine.view()
    }

    /// Begins a connection over this wire.
    pub(crate) fn connect(&mut self, wire: Wire) {
        let Some(Line::Down(remembered)) = self.line.take() else { return };
        let known = self.view().tokens;
        let opening =
            by_hand::connect(Arc::clone(&self.ground), [wire.clone(), wire.clone()], *remembered, known);
        self.line = Some(Line::Opening(Box::pin(opening), wire));
    }

    /// Ends the connection; what is under way fails at once.
    pub(crate) fn cut(&mut self) -> Wish {
        match &self.line {
            Some(Line::Opening(_, wire)) => wire.end(),
            Some(Line::Up(up)) => up.wire.end(),
            _ => return Wish::default(),
        }
        let mut wish = self.drive();
        if let Some(Line::Up(up)) = self.line.take_if(|line| matches!(line, Line::Up(_))) {
            match up.eye {
                Some(eye) => self.line = Some(Line::Down(Box::new(eye.close()))),
                // A look that does not end when its connection does would be a bug of this file.
                None => self.line = Some(Line::Down(Box::new(Remembered::new(&self.ground)))),
            }
        }
        wish.lost = true;
        wish
    }

    /// What was pushed.
    pub(crate) fn hear(&mut self, log: &Value) {
        if let (Some(Line::Up(up)), Ok(raw)) = (&mut self.line, to_raw_value(log)) {
            up.heard.push_back(raw);
        }
    }

    /// The turn that took the handed range is over.
    pub(crate) fn swept(&mut self) {
        if let Some(Line::Up(up)) = &mut self.line {
            up.handed = false;
        }
    }

    /// Begins a look, unless one is under way.
    pub(crate) fn look(&mut self, now: Millis) {
        let view = self.view();
        if !self.may_look() {
            return;
        }
        let Some(Line::Up(up)) = &mut self.line else { return };
        if let Some(eye) = up.eye.take() {
            self.bell = false;
            up.looking = Some((Box::pin(eye.look(view.clone(), now)), view));
        }
    }

    /// Lets everything that is under way go as far as it can.
    pub(crate) fn drive(&mut self) -> Wish {
        let mut wish = Wish::default();
        match self.line.take() {
            Some(Line::Opening(mut opening, wire)) => match poll(&mut opening) {
                None => self.line = Some(Line::Opening(opening, wire)),
                Some(Ok((eye, ear, head))) => {
                    wish.inputs.push(Input::Connected { head });
                    wish.look_in_ms = Some(0);
                    self.line = Some(Line::Up(Box::new(Up {
                        wire,
                        eye: Some(eye),
                        looking: None,
                        ear: Some(ear),
                        hearing: None,
                        heard: VecDeque::new(),
                        handed: false,
                        pause_ms: PAUSE_MS_MIN,
                    })));
                }
                Some(Err((remembered, stop))) => {
                    wire.end();
                    (wish.lost, wish.stop) = (true, stop);
                    self.line = Some(Line::Down(Box::new(remembered)));
                }
            },
            Some(Line::Up(mut up)) => {
                self.listen(&mut up, &mut wish);
                self.watch(&mut up, &mut wish);
                self.line = Some(Line::Up(up));
            }
            other => self.line = other,
        }
        wish
    }

    fn listen(&mut self, up: &mut Up, wish: &mut Wish) {
        loop {
            if let Some(hearing) = &mut up.hearing {
                let Some((ear, told)) = poll(hearing) else { return };
                (up.ear, up.hearing) = (Some(ear), None);
                match told {
                    Told::Push(push) => wish.inputs.push(Input::Push(push)),
                    Told::Bell => self.bell = true,
                    Told::Lost => wish.lost = true,
                }
            }
            if up.heard.is_empty() {
                return;
            }
            let Some(mut ear) = up.ear.take() else { return };
            let logs: Vec<_> = std::mem::take(&mut up.heard).into();
            let (push, asking, rung) = ear.hear(&self.view().tokens, &logs);
            self.bell |= rung;
            if push != Push::default() {
                wish.inputs.push(Input::Push(push));
            }
            if asking.is_empty() {
                up.ear = Some(ear);
            } else {
                up.hearing = Some(Box::pin(ear.ask(asking)));
            }
        }
    }

    fn watch(&self, up: &mut Up, wish: &mut Wish) {
        let Some((looking, planned_on)) = &mut up.looking else { return };
        let Some((eye, looked)) = poll(looking) else { return };
        let planned_on = std::mem::take(planned_on);
        (up.eye, up.looking) = (Some(eye), None);
        let pause = match looked {
            Looked::Range(sweep) => {
                up.pause_ms = PAUSE_MS_MIN;
                let view = self.view();
                if by_hand::may_be_handed_over(&sweep, &planned_on, &view) {
                    wish.fork = view.cursor.is_some_and(|cursor| {
                        sweep.base.number < cursor.number
                            && sweep.canonical.get(&cursor.number) != Some(&cursor.hash)
                    });
                    up.handed = true;
                    wish.inputs.push(Input::Sweep(sweep));
                    return;
                }
                0
            }
            Looked::Idle { waiting } => {
                up.pause_ms = PAUSE_MS_MIN;
                if waiting { AGAIN_MS } else { IDLE_MS }
            }
            Looked::Told(push) => {
                up.pause_ms = PAUSE_MS_MIN;
                wish.inputs.push(Input::AskedAgain(push));
                IDLE_MS
            }
            Looked::Behind(why) => {
                wish.said = Some(why);
                up.pause_ms = PAUSE_MS_MIN;
                BEHIND_MS
            }
            Looked::TooLarge => 0,
            Looked::Again(why) => {
                wish.said = Some(why);
                let pause = up.pause_ms;
                up.pause_ms = (pause * 2).min(PAUSE_MS_MAX);
                wish.rests = true;
                pause
            }
            Looked::Lost(why) => {
                (wish.said, wish.lost) = (Some(why), true);
                return;
            }
            Looked::Stop(stop) => {
                wish.stop = Some(stop);
                return;
            }
        };
        wish.look_in_ms = Some(pause);
    }
}
