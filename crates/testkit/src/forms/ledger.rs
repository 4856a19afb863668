//! Any history of inputs, over a disk that fails, with crashes between; and any damage to the files it left.
//!
//! The real engine steps on inputs that an input's bytes choose (`world`), the real ledger commits what it wants
//! written, on a disk in memory that refuses operations and loses power. What must hold: the ledger takes whatever
//! the engine writes, unless the disk failed; after every commit, and after every restart, an engine made of the ledger
//! knows exactly what the process knew; a commit that failed is there whole or not at all. Of `damage`: a ledger that
//! opens can be read and written or is refused with exit 78; a file without some of its pages is never taken for whole.

mod damage;
mod world;

use std::io;
use std::path::Path;

use faulty_disk::{Crash, Disk, Fault, Operation, Role, Rule, Snapshot};
use rusqlite::{Connection, OpenFlags};

use self::world::World;
use super::Bytes;
use counterfill::broker::Profile;
use counterfill::engine::{Engine, Policy, RestartState};
use counterfill::hedges::Limits;
use counterfill::ledger::{Ledger, LedgerError, Stamp, Volume, migrations};
use counterfill::units::{Millis, Shares};

/// The ledger's name on the disk.
const NAME: &str = "bot.db";
/// Steps of one history.
const STEPS_MAX: usize = 48;

/// # Panics
/// Where something that must hold does not.
pub fn check(input: &[u8]) {
    let mut bytes = Bytes::of(input);
    if bytes.byte() < 160 {
        drop(run(bytes, true));
    } else {
        damage::check(bytes);
    }
}

/// Lives the history that the bytes tell; what it leaves. Where `compared`, everything is held against the ledger.
fn run(mut bytes: Bytes<'_>, compared: bool) -> Bot {
    let mut bot = Bot::start(u64::from(bytes.byte()));
    for _ in 0..STEPS_MAX {
        if bytes.is_empty() {
            break;
        }
        match bytes.below(20) {
            0 => bot.restart(Crash::ProcessKilled),
            1 => bot.restart(Crash::PowerLoss),
            2 => bot.fail(&mut bytes),
            3 => bot.disk.power_off_after(u64::from(bytes.below(32))),
            4 => bot.disk.reseed(u64::from(bytes.byte())),
            other => bot.live(other, &mut bytes, compared),
        }
    }
    bot
}

/// A process: its engine, its ledger, and what the ledger may hold should it end now.
struct Bot {
    disk: Disk,
    /// None where the process has ended.
    ledger: Option<Ledger>,
    engine: Engine,
    world: World,
    starts: u32,
    /// What a restart may find: more than one thing only after a commit that failed.
    possible: Vec<RestartState>,
    /// Faults that have struck by the last good commit.
    struck: u64,
}

impl Bot {
    fn start(seed: u64) -> Self {
        let disk = Disk::from_snapshot(born(), seed);
        let ledger = open(&disk);
        assert!(ledger.is_ok(), "a ledger that was just born opens: {ledger:?}");
        let (engine, ledger) = engine_of(ledger.ok(), 0);
        let possible = vec![engine.restart_state()];
        Self { disk, ledger, engine, world: World::default(), starts: 0, possible, struck: 0 }
    }

    /// One input, chosen by `op` and the bytes that follow.
    fn live(&mut self, op: u8, bytes: &mut Bytes<'_>, compared: bool) {
        let Some(input) = self.world.input(op, bytes, &self.engine.view()) else { return };
        let now = self.world.now;
        let Ok(out) = self.engine.step(now, [input]) else {
            // The process ends by itself, and nothing of the step was written.
            return self.restart(Crash::ProcessKilled);
        };
        let Some(ledger) = &mut self.ledger else { return };
        let committed = ledger.commit(now, &out.writes);
        let after = self.engine.restart_state();
        let trouble = self.disk.is_off() || self.disk.struck() > self.struck;
        match committed {
            Ok(()) => {
                if !out.writes.is_empty() {
                    self.possible = vec![after];
                    self.struck = self.disk.struck();
                }
                if compared && !trouble && !out.writes.is_empty() {
                    must_know(ledger, self.starts, &self.possible);
                }
                self.world.perform(out.effects);
            }
            Err(error) => {
                assert!(trouble, "the ledger refuses what the engine writes: {error}");
                self.possible.push(after);
                self.restart(Crash::ProcessKilled);
            }
        }
    }

    /// An operation of the disk's fails soon.
    fn fail(&mut self, bytes: &mut Bytes<'_>) {
        let operation = match bytes.below(6) {
            0 | 1 => Operation::Write,
            2 | 3 => Operation::Sync,
            4 => Operation::Read,
            _ => Operation::ShmLock,
        };
        let fault = match bytes.below(4) {
            0 => Fault::Io,
            1 => Fault::Full,
            2 => Fault::Torn,
            _ => Fault::Busy,
        };
        let rule = Rule::once(operation, fault).after(u64::from(bytes.below(24)));
        self.disk.inject(if bytes.flag() { rule.of(Role::Wal) } else { rule });
    }

    /// The process is gone, or the machine, and another process takes the ledger.
    fn restart(&mut self, how: Crash) {
        self.disk.crash(how);
        self.ledger = None;
        self.starts += 1;
        // A start may meet the fault too: it says so, and the next one, without it, must do.
        let mut opened = open(&self.disk);
        if let Err(error) = &opened {
            assert!(self.disk.struck() > self.struck, "a ledger that nobody damaged is refused: {error}");
            must_be_clear(error);
            self.disk.clear_faults();
            opened = open(&self.disk);
        }
        self.disk.clear_faults();
        self.struck = self.disk.struck();
        assert!(opened.is_ok(), "a sound disk, and still {opened:?}");
        (self.engine, self.ledger) = engine_of(opened.ok(), self.starts);
        let found = self.engine.restart_state();
        assert!(
            self.possible.contains(&found),
            "a restart found {found:#?}, possible was {:#?}",
            self.possible
        );
        self.world.forget();
    }
}

/// An engine made of what the ledger holds.
fn engine_of(ledger: Option<Ledger>, starts: u32) -> (Engine, Option<Ledger>) {
    let loaded = ledger.as_ref().map(Ledger::load);
    assert!(matches!(loaded, Some(Ok(_))), "what was opened can be read: {loaded:?}");
    let loaded = loaded.and_then(Result::ok).unwrap_or_else(|| unreachable!("asserted above"));
    (Engine::new(policy(starts), loaded), ledger)
}

fn must_know(ledger: &Ledger, starts: u32, possible: &[RestartState]) {
    let loaded = ledger.load();
    assert!(loaded.is_ok(), "what was committed can be read: {loaded:?}");
    if let Ok(loaded) = loaded {
        let found = Engine::new(policy(starts), loaded).restart_state();
        assert!(possible.contains(&found), "the ledger says {found:#?}, the engine knows {possible:#?}");
    }
}

/// A refusal that a person can act on, with the exit code that tells a supervisor not to try again.
fn must_be_clear(error: &LedgerError) {
    let text = error.to_string();
    assert_eq!(error.exit_code(), 78, "{text}");
    assert!(text.contains(NAME) && !text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
}

fn open(disk: &Disk) -> Result<Ledger, LedgerError> {
    Ledger::open_on(&Place(disk), Path::new(NAME), &stamp(), Millis(1), &migrations()?)
}

/// A disk with a ledger without a commit. Made once: a birth is the same at every start.
fn born() -> &'static Snapshot {
    static BORN: std::sync::OnceLock<Snapshot> = std::sync::OnceLock::new();
    BORN.get_or_init(|| {
        let disk = Disk::new(0);
        let ledger = open(&disk);
        assert!(ledger.is_ok_and(|ledger| ledger.close().is_ok()), "a ledger is born");
        disk.snapshot()
    })
}

fn stamp() -> Stamp {
    Stamp {
        chain_id: world::CHAIN_ID,
        orderbooks: vec![],
        owners: vec![],
        broker: "paper".into(),
        account: "TEST".into(),
        hedge_from_block: None,
        deployment_block: world::FIRST_BLOCK,
    }
}

fn policy(starts: u32) -> Policy {
    Policy {
        confirmations: 0,
        profile: Profile {
            name: "paper",
            account: "TEST".into(),
            lot: Shares::whole(1),
            fraction_notional_min: None,
            client_ids: true,
            allow_short: true,
            crosses_zero: true,
            quotes: false,
            tag: Some("ours".into()),
            poll_ms: 100,
        },
        limits: Limits::default(),
        nonce: format!("{starts:08x}"),
        absent_after_ms: None,
        max_price_deviation_bps: 500,
        unhedged_alert_ms: 60_000,
        live: false,
    }
}

/// The disk as a place for the ledger.
struct Place<'a>(&'a Disk);

fn name(path: &Path) -> &str {
    path.to_str().unwrap_or(NAME)
}

impl Volume for Place<'_> {
    fn exists(&self, path: &Path) -> bool {
        self.0.exists(name(path))
    }

    fn connect(&self, path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
        self.0.connect(name(path), flags)
    }

    fn clear(&self, path: &Path) -> io::Result<()> {
        let mut files = self.0.files().into_iter().filter(|(file, _)| file.starts_with(name(path)));
        files.try_for_each(|(file, _)| self.0.remove(&file))
    }

    fn settle(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.sync(name(from))?;
        self.0.rename(name(from), name(to))?;
        self.0.sync_directory()
    }
}
