//! What can be made to go wrong at the paper broker, on purpose: all off unless somebody asks.
//!
//! Faults live in memory and belong to the process that set them; what they do to an order is written with the order
//! and survives. They know nothing of the book.
//!
//! Invariant: a fault changes what a caller is told, or how a new order ends; never what has already happened.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the broker is away. Either way reads fail and no order is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Connections are refused: a call provably never left.
    NotSent,
    /// Calls leave and nothing comes back.
    Unknown,
}

/// What becomes of one order call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaceFault {
    /// The order is created and the answer is lost.
    AcceptThenLose,
    /// The call is lost on its way; no order. The caller can not tell it from [`PlaceFault::AcceptThenLose`].
    LoseBefore,
    /// A clear no, with this reason; no order. Where the client id is taken the answer is `Duplicate` all the same.
    Refuse(String),
    /// A no at the gateway, about us: too many calls, for this many milliseconds. This call created no order; whether
    /// an earlier one with the same client id did, the gateway does not know.
    RateLimit(i64),
}

/// What the next order that is created will carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OrderFaults {
    pub(super) hidden_reads: u32,
    pub(super) late_leg_reads: u32,
    pub(super) partial_then_cancel: bool,
    pub(super) reject: Option<String>,
}

#[derive(Debug, Default)]
struct Switches {
    outage: Option<Outage>,
    place: VecDeque<PlaceFault>,
    order: OrderFaults,
}

/// The switches; every method takes effect with the next call.
#[derive(Debug, Default)]
pub struct PaperFaults(Mutex<Switches>);

impl PaperFaults {
    /// The broker goes away, or comes back with `None`.
    pub fn outage(&self, outage: Option<Outage>) {
        self.switches().outage = outage;
    }

    /// Queues a fault for an order call: the first one queued meets the next call that finds no outage.
    pub fn next_place(&self, fault: PlaceFault) {
        self.switches().place.push_back(fault);
    }

    /// The next order created stays out of that many reads (`order`, `find` and `list` alike) before it shows.
    /// Its client id is taken at once, and positions include it.
    pub fn invisible(&self, reads: u32) {
        self.switches().order.hidden_reads = reads;
    }

    /// The next order created shows its cumulative figure before its last leg, for that many reads that find a fill.
    pub fn late_legs(&self, reads: u32) {
        self.switches().order.late_leg_reads = reads;
    }

    /// The next order created fills in part and is then canceled; a single share is canceled unfilled.
    pub fn partial_then_cancel(&self) {
        self.switches().order.partial_then_cancel = true;
    }

    /// The next order created is accepted and then rejected, with this reason.
    pub fn reject_next(&self, reason: &str) {
        self.switches().order.reject = Some(reason.to_owned());
    }

    pub(super) fn current_outage(&self) -> Option<Outage> {
        self.switches().outage
    }

    pub(super) fn take_place(&self) -> Option<PlaceFault> {
        self.switches().place.pop_front()
    }

    pub(super) fn take_order(&self) -> OrderFaults {
        std::mem::take(&mut self.switches().order)
    }

    fn switches(&self) -> MutexGuard<'_, Switches> {
        // A panic elsewhere can not leave these plain values half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
