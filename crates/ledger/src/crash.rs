//! Crash points: numbered places at which a test may end this process, whatever it holds in its hands.
//!
//! A thread that passes a point of an armed process says so over a socket and waits for the word to go on. Whoever
//! listens lets it, or kills the process from outside, as a power cut would: nothing here unwinds, flushes or closes. Or
//! it has the thread panic, with whatever that holds, so that a test can read what a mistake would have printed.
//! Each thread has a connection of its own, so that one that is held at a point holds no other.
//!
//! It refuses to know what happens around a point, and nothing in the program may depend on it. It stands on the
//! standard library alone, so that a test can compile it by itself and see that an optimised build holds none of it
//! (decision 0026).
//!
//! Invariant: without `debug_assertions` passing a point is nothing at all, and with them it is a look at one
//! variable unless [`SOCKET_VARIABLE`] was set.

/// Arms a debug build: the path of a Unix socket where somebody listens. No setting, and in no release build.
#[cfg(debug_assertions)]
pub const SOCKET_VARIABLE: &str = "COUNTERFILL_CRASH_SOCKET";

/// Declares [`Point`] with its list, names and meanings in one place, so that no point can be missing in any of them.
macro_rules! points {
    ($($point:ident $name:literal $meaning:literal;)+) => {
        /// A place where the process may die. Its number is its place in [`Point::ALL`], from 1 on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Point {
            $(#[doc = $meaning] $point,)+
        }

        impl Point {
            /// Every point, in the order of a life.
            pub const ALL: &'static [Self] = &[$(Self::$point),+];

            /// The stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$point => $name),+ }
            }

            /// What has happened there, and what has not.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$point => $meaning),+ }
            }
        }
    };
}

points! {
    Locked "start.locked" "the lock is taken, the directory not yet tried";
    ProbeWritten "start.probe_written" "the directory is being tried, the probe lies in it";
    Tried "start.tried" "the directory was tried";

    AccountBefore "broker.account.before" "the broker is about to be asked whose account it is, before a birth";
    AccountAfter "broker.account.after" "it was asked";
    BirthBegins "birth.begins" "there is no ledger";
    BirthLeftover "birth.leftover" "one file of an earlier, unfinished birth was removed";
    BirthCreated "birth.created" "the unborn ledger is an empty file";
    BirthOpened "birth.opened" "the unborn ledger is an empty database";
    BirthMigrated "birth.migrated" "the unborn ledger has its tables";
    BirthStamped "birth.stamped" "and its stamp";
    BirthClosed "birth.closed" "and is closed";
    BirthSynced "birth.synced" "its bytes are durable";
    BirthRenamed "birth.renamed" "it has its name, which is not durable";
    BirthDone "birth.done" "its name is durable";

    OpenConnected "open.connected" "the ledger is open and unchecked";
    OpenChecked "open.checked" "it is whole and known";
    OpenStamped "open.stamped" "and ours";
    BackupLeftover "backup.leftover" "a half-made backup of an earlier start was removed";
    BackupCreated "backup.created" "the backup is an empty file";
    BackupCopied "backup.copied" "the backup has its pages";
    BackupClosed "backup.closed" "and is checked and closed";
    BackupSynced "backup.synced" "its bytes are durable";
    BackupRenamed "backup.renamed" "it has its name, which is not durable";
    BackupDone "backup.done" "its name is durable, nothing is migrated";
    MigrationStatement "migration.statement" "before one statement of the migrations, their BEGIN and COMMIT included";
    MigrationDone "migration.done" "the migrations are durable";
    Opened "open.done" "the ledger is ours, whole, and of this schema";
    Loaded "open.loaded" "the engine's memory is read";
    Listening "open.listening" "the control socket is bound, no input was taken";

    BatchTaken "batch.taken" "inputs were taken, nothing was decided";
    CursorWritten "commit.cursor.written" "a batch without money in it, most often a sweep without fills, is written, not committed";
    CursorDone "commit.cursor.done" "and committed";
    SweptWritten "commit.swept.written" "a swept fill is written, not committed";
    SweptDone "commit.swept.done" "and committed";
    PushedWritten "commit.pushed.written" "a pushed fill is written, not committed";
    PushedDone "commit.pushed.done" "and committed";
    ReversedWritten "commit.reversed.written" "a reversal is written, not committed";
    ReversedDone "commit.reversed.done" "and committed";
    ReinstatedWritten "commit.reinstated.written" "a fill that came back is written, not committed";
    ReinstatedDone "commit.reinstated.done" "and committed";
    ComparedWritten "commit.compared.written" "the comparison with the broker's book is written, not committed";
    ComparedDone "commit.compared.done" "and committed";
    AccountWritten "commit.account.written" "what the account holds beside us, or our tag, is written, not committed";
    AccountDone "commit.account.done" "and committed";
    AdoptedWritten "commit.adopted.written" "an order out of the broker's book is written, not committed";
    AdoptedDone "commit.adopted.done" "and committed";
    PlannedWritten "commit.planned.written" "an intent that must wait is written, not committed";
    PlannedDone "commit.planned.done" "and committed";
    WithdrawnWritten "commit.withdrawn.written" "an intent that is no longer wanted is written, not committed";
    WithdrawnDone "commit.withdrawn.done" "and committed";
    SentWritten "commit.sent.written" "a new intent is written, not committed";
    SentDone "commit.sent.done" "and committed; its order has not left";
    PlanSentWritten "commit.plan_sent.written" "a planned intent is written as sent, not committed";
    PlanSentDone "commit.plan_sent.done" "and committed; its order has not left";
    AgainWritten "commit.again.written" "an order that is to go out again is written, not committed";
    AgainDone "commit.again.done" "and committed; it has not left";
    UnknownWritten "commit.unknown.written" "an intent without an answer is written as unknown, not committed";
    UnknownDone "commit.unknown.done" "and committed";
    RefusedWritten "commit.refused.written" "a clear no is written, not committed";
    RefusedDone "commit.refused.done" "and committed";
    ClaimedWritten "commit.claimed.written" "the broker's order id is written, not committed";
    ClaimedDone "commit.claimed.done" "and committed";
    WorkingWritten "commit.working.written" "an order that was read is written, not committed";
    WorkingDone "commit.working.done" "and committed";
    ExecutedWritten "commit.executed.written" "an execution of a live order is written, not committed";
    ExecutedDone "commit.executed.done" "and committed";
    EndedWritten "commit.ended.written" "an order's end is written, not committed";
    EndedDone "commit.ended.done" "and committed";
    HaltWritten "commit.halt.written" "a halt is written, not committed";
    HaltDone "commit.halt.done" "and committed, the operator not answered";
    LiftWritten "commit.lift.written" "the end of a halt is written, not committed";
    LiftDone "commit.lift.done" "and committed, the operator not answered";
    CheckpointBegins "checkpoint.begins" "the write-ahead log is long and is about to be moved into the file";
    CheckpointDone "checkpoint.done" "it was moved";
    EffectPlace "effect.place" "the intent is durable, its order not handed to the desk";
    EffectAsk "effect.ask" "a question is not handed to the desk";
    EffectReply "effect.reply" "an operator's command is durable and not answered";

    PlaceBefore "broker.place.before" "the order's bytes have not left";
    PlaceAfter "broker.place.after" "the broker answered, nobody here knows it";
    OrderBefore "broker.order.before" "an order is about to be read";
    OrderAfter "broker.order.after" "it was read, nothing is written";
    FindBefore "broker.find.before" "an order is about to be asked for by name";
    FindAfter "broker.find.after" "it was asked for, nothing is written";
    ListBefore "broker.list.before" "the broker's book is about to be read";
    ListAfter "broker.list.after" "it was read, nothing is written";
    PositionsBefore "broker.positions.before" "the broker's positions are about to be read";
    PositionsAfter "broker.positions.after" "they were read, nothing is written";
    QuotesBefore "broker.quotes.before" "quotes are about to be read";
    QuotesAfter "broker.quotes.after" "they were read";
    SessionBefore "broker.session.before" "the session is about to be asked for";
    SessionAfter "broker.session.after" "it was asked for";

    StopTaken "stop.taken" "the stop was taken, the line still waits for what is on its way";
    StopCloses "stop.closes" "nothing is on its way, the log is not yet moved into the file";
    StopMoved "stop.moved" "the log is moved into the file, the ledger not closed";
    StopClosed "stop.closed" "the ledger is closed, the process not ended";
}

/// What a committed batch is about; of several things the first in this list, so that none is always hidden by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is explained at its two points")]
pub enum Batch {
    Halt,
    Lift,
    Reversed,
    Reinstated,
    Adopted,
    Again,
    PlanSent,
    Sent,
    Unknown,
    Refused,
    Ended,
    Executed,
    Working,
    Claimed,
    Planned,
    Withdrawn,
    // Both answers of a birth may come at once; a later start compares and writes nothing about the account.
    Account,
    Compared,
    Pushed,
    Swept,
    Cursor,
}

impl Batch {
    /// Before the commit.
    #[must_use]
    pub const fn written(self) -> Point {
        self.points().0
    }

    /// After it.
    #[must_use]
    pub const fn done(self) -> Point {
        self.points().1
    }

    const fn points(self) -> (Point, Point) {
        use Point as P;
        match self {
            Self::Reversed => (P::ReversedWritten, P::ReversedDone),
            Self::Reinstated => (P::ReinstatedWritten, P::ReinstatedDone),
            Self::Adopted => (P::AdoptedWritten, P::AdoptedDone),
            Self::Again => (P::AgainWritten, P::AgainDone),
            Self::PlanSent => (P::PlanSentWritten, P::PlanSentDone),
            Self::Sent => (P::SentWritten, P::SentDone),
            Self::Unknown => (P::UnknownWritten, P::UnknownDone),
            Self::Refused => (P::RefusedWritten, P::RefusedDone),
            Self::Ended => (P::EndedWritten, P::EndedDone),
            Self::Executed => (P::ExecutedWritten, P::ExecutedDone),
            Self::Working => (P::WorkingWritten, P::WorkingDone),
            Self::Claimed => (P::ClaimedWritten, P::ClaimedDone),
            Self::Planned => (P::PlannedWritten, P::PlannedDone),
            Self::Withdrawn => (P::WithdrawnWritten, P::WithdrawnDone),
            Self::Compared => (P::ComparedWritten, P::ComparedDone),
            Self::Account => (P::AccountWritten, P::AccountDone),
            Self::Halt => (P::HaltWritten, P::HaltDone),
            Self::Lift => (P::LiftWritten, P::LiftDone),
            Self::Pushed => (P::PushedWritten, P::PushedDone),
            Self::Swept => (P::SweptWritten, P::SweptDone),
            Self::Cursor => (P::CursorWritten, P::CursorDone),
        }
    }
}

/// Passes a point.
#[inline]
pub fn point(point: Point) {
    at(|| point);
}

/// Passes a point that takes a thought to name; without `debug_assertions` nobody thinks it.
#[inline]
#[cfg_attr(not(debug_assertions), allow(unused_variables))]
pub fn at(point: impl FnOnce() -> Point) {
    #[cfg(debug_assertions)]
    armed::pass(point);
}

#[cfg(debug_assertions)]
mod armed {
    use std::cell::RefCell;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::OnceLock;

    /// The word that this thread is to panic; any other lets it go on.
    const PANIC: u8 = b'!';

    /// Where somebody listens, if anybody does; looked up once.
    static SOCKET: OnceLock<Option<std::ffi::OsString>> = OnceLock::new();

    thread_local! {
        /// This thread's connection: none before its first point, and none any more once nobody listens.
        static WIRE: RefCell<Option<Option<UnixStream>>> = const { RefCell::new(None) };
    }

    pub(super) fn pass(point: impl FnOnce() -> super::Point) {
        let Some(socket) = SOCKET.get_or_init(|| std::env::var_os(super::SOCKET_VARIABLE)) else { return };
        WIRE.with_borrow_mut(|wire| {
            let wire = wire.get_or_insert_with(|| UnixStream::connect(socket).ok());
            let Some(stream) = wire else { return };
            let (point, mut word) = (point(), [0]);
            let told = stream.write_all(format!("{}\n", point.name()).as_bytes());
            if told.and_then(|()| stream.read_exact(&mut word)).is_err() {
                // Nobody listens any more: the process runs on by itself.
                *wire = None;
            }
            #[expect(clippy::panic, reason = "asked for, by a test, in a build for tests")]
            if word[0] == PANIC {
                panic!("a mistake was asked for at {}", point.name());
            }
        });
    }
}
