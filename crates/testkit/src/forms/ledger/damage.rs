//! Damage to a ledger's files.
//!
//! SQLite keeps no checksum over its pages: a digit that was changed inside a row is believed, by it and by us. (The
//! write-ahead log has checksums; damage there costs the commits behind it.) So what must hold of any damage is only
//! that nothing panics and that a refusal is a clear one; what is believed can be read and written, or that is
//! refused as clearly. Damage that takes whole pages away is always found.

use std::sync::OnceLock;

use faulty_disk::{Crash, Disk, Snapshot};

use super::{Bytes, NAME, engine_of, must_be_clear, open, policy, run};
use counterfill::engine::Engine;
use counterfill::hedges::HaltKind;
use counterfill::ledger::Write;
use counterfill::units::Millis;

/// A page of the ledger.
const PAGE_BYTES: usize = 4096;
/// Changes to one file.
const CHANGES_MAX: usize = 16;
/// What the ledger that is damaged has lived: blocks with fills, orders that were filled, refused and left open, a halt.
const HISTORY: &[u8] = &[
    0, 9, 15, 2, 5, 0, 255, 16, 236, 19, 12, 0, 0, 12, 0, 0, 16, 236, 19, 15, 2, 5, 2, 0, 0, 5, 5, 1, 1, 3,
    5, 255, 16, 186, 19, 10, 0, 0, 16, 186, 19, 12, 0, 0, 3, 0, 3, 7, 16, 236, 19, 12, 0, 0, 0, 0, 3, 7, 12,
    0, 0, 0, 0, 3, 7, 16, 186, 19, 10, 3, 16, 74, 21, 10, 7, 0, 5, 3, 241, 0, 0, 225, 0, 3, 2, 1, 6, 3, 255,
    7, 2, 1, 0, 1, 3, 3, 18, 1, 1, 1, 16, 30, 20, 12, 0, 0, 9, 0, 3, 7, 16, 168, 97, 12, 0, 0, 1, 0, 3, 7, 5,
    1, 0, 0, 5, 5, 255, 10, 0, 0,
];

/// What was there before the damage.
struct Whole {
    /// Closed: everything is in the ledger's file.
    closed: Snapshot,
    /// Killed: the last commits are only in the write-ahead log.
    killed: Snapshot,
}

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let mut bot = run(Bytes::of(HISTORY), false);
        bot.restart(Crash::ProcessKilled);
        let knew = bot.engine.restart_state();
        assert!(
            knew.fills_total > 0 && !knew.positions.is_empty(),
            "a history in which something happened: {knew:?}"
        );
        let killed = bot.disk.snapshot();
        assert!(bot.ledger.take().is_some_and(|ledger| ledger.close().is_ok()));
        Whole { closed: bot.disk.snapshot(), killed }
    })
}

pub(super) fn check(mut bytes: Bytes<'_>) {
    let whole = whole();
    let way = bytes.byte();
    let in_log = way % 2 == 1;
    let disk = Disk::from_snapshot(if in_log { &whole.killed } else { &whole.closed }, 1);
    disk.crash(Crash::ProcessKilled);
    let file = if in_log && way % 4 == 1 { format!("{NAME}-wal") } else { NAME.to_owned() };
    let Some(before) = disk.export(&file) else { return };
    let after = damaged(before.clone(), way, bytes);
    let takes_pages = !in_log && way >= 192 && after != before;
    disk.import(&file, &after);
    match open(&disk) {
        Err(error) => must_be_clear(&error),
        Ok(mut ledger) => {
            let loaded = match ledger.load() {
                Ok(loaded) => loaded,
                Err(error) => return must_be_clear(&error),
            };
            let knows = Engine::new(policy(1), loaded).restart_state();
            assert!(!takes_pages, "damage was taken for a whole ledger: {knows:#?}");
            let (symbol, kind) = (None, HaltKind::Operator);
            let halt = Write::Halt { symbol, kind, reason: "after".into(), who: "fuzz".into() };
            if let Err(error) = ledger.commit(Millis(1_800_000_000_000), &[halt]) {
                return must_be_clear(&error);
            }
            drop(engine_of(Some(ledger), 2));
        }
    }
}

/// Bytes changed one by one; from 64 on the file replaced, from 128 on overwritten in one stretch, from 192 on cut or
/// blanked by the page.
fn damaged(mut content: Vec<u8>, way: u8, mut bytes: Bytes<'_>) -> Vec<u8> {
    let len = content.len().max(1);
    let pages = content.len().div_ceil(PAGE_BYTES).max(1);
    let place = |bytes: &mut Bytes<'_>| (usize::from(bytes.word()) * 256 + usize::from(bytes.byte())) % len;
    match way {
        0..=63 => {
            for _ in 0..CHANGES_MAX {
                if bytes.is_empty() {
                    break;
                }
                let at = place(&mut bytes);
                if let Some(byte) = content.get_mut(at) {
                    *byte ^= bytes.byte();
                }
            }
        }
        64..=127 => content = bytes.rest().to_vec(),
        128..=191 => {
            let at = place(&mut bytes);
            for (old, new) in content.iter_mut().skip(at).zip(bytes.rest()) {
                *old = *new;
            }
        }
        192..=223 => content.truncate(usize::from(bytes.word()) % pages * PAGE_BYTES),
        _ => {
            let page = usize::from(bytes.word()) % pages;
            content.iter_mut().skip(page * PAGE_BYTES).take(PAGE_BYTES).for_each(|byte| *byte = 0);
        }
    }
    content
}
