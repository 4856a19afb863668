//! The check of the whole ledger, beside the bot that has started on it.
//!
//! It ends the bot where the ledger is damaged, as a start that had waited for it would have. No order leaves before its
//! first half is over: until then what an order depends on may be damaged (`protocol.md` 6).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::InterruptHandle;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::Exit;
use crate::ledger::{LedgerError, WholeCheck};

/// Between two tries to break it off: SQLite forgets one that comes between two statements.
const TRY_AGAIN: Duration = Duration::from_millis(5);
/// Tries to break it off: a second's.
const TRIES_MAX: u32 = 200;

/// The check under way.
pub(super) struct Beside {
    thread: JoinHandle<()>,
    unwanted: Arc<AtomicBool>,
    interrupt: InterruptHandle,
    /// What it found; closed without a word where all is well.
    pub(super) found: oneshot::Receiver<LedgerError>,
}

impl Beside {
    /// Begins it, on a thread of its own. The receiver hears once that orders may leave, or is closed.
    pub(super) fn begin(check: WholeCheck) -> std::io::Result<(Self, Receiver<()>)> {
        let (cleared, clearance) = channel();
        let (find, found) = oneshot::channel();
        let unwanted = Arc::new(AtomicBool::new(false));
        let (interrupt, seen) = (check.interrupt_handle(), Arc::clone(&unwanted));
        let thread = thread::Builder::new().name("check".into()).spawn(move || {
            if let Err(error) = examine(&check, &cleared)
                && !seen.load(Ordering::SeqCst)
            {
                // Nobody hears it where the bot ends already.
                let _ = find.send(error);
            }
        })?;
        Ok((Self { thread, unwanted, interrupt, found }, clearance))
    }

    /// Breaks it off, so that nobody reads the ledger any more when it is closed.
    pub(super) async fn end(self) {
        self.unwanted.store(true, Ordering::SeqCst);
        for _ in 0..TRIES_MAX {
            if self.thread.is_finished() {
                return;
            }
            self.interrupt.interrupt();
            sleep(TRY_AGAIN).await;
        }
    }
}

fn examine(check: &WholeCheck, cleared: &Sender<()>) -> Result<(), LedgerError> {
    check.of_structure()?;
    // The desk may be gone with its bot.
    let _ = cleared.send(());
    check.of_rows()
}

/// What a start says of a ledger that it could not load: damage by its name, where that is the reason.
pub(super) fn reason(error: LedgerError, check: &WholeCheck) -> Exit {
    check.of_structure().err().unwrap_or(error).into()
}
