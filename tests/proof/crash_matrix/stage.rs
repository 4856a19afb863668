//! One world: a chain, a broker's house, a data directory, and one process of the bot after the other.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use counterfill::crash::Point;
use counterfill::ledger::{self, Ledger, Stamp};
use counterfill::units::{Millis, ONE, Side};
use tempfile::TempDir;

use super::bot::{Bot, log_tail, verb};
use super::house::{Alpaca, House, Paper};
use super::tale::{At, Step, Tale};
use super::verdict;
use super::watch::Aim;
use super::world::{BOOK, CHAIN_ID, FIRST, OWNER, SHARES, World};
use super::{LOOK, PATIENCE};

/// How a process is ended at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    Kill,
    /// SIGTERM, and the thread that is at the point goes on.
    Term,
    /// SIGTERM, and the thread that is at the point never does: as an order call without an answer.
    TermHeld,
}

/// Where the next process is to be ended, and how.
#[derive(Debug, Clone)]
pub struct Kill {
    pub aim: Aim,
    pub with: Signal,
}

/// What became of a [`Kill`].
#[derive(Debug, Clone, Copy)]
pub struct Hit {
    pub point: Point,
    pub with: Signal,
}

pub struct Stage {
    pub world: World,
    pub house: Box<dyn House>,
    home: TempDir,
    settings: Vec<(&'static str, String)>,
    bot: Option<Bot>,
    /// A verb that a person typed and that may run still.
    typed: Option<Child>,
    kills: VecDeque<Kill>,
    pub hits: Vec<Hit>,
    /// What each process passed.
    pub passed: Vec<Vec<Point>>,
    halted: BTreeSet<&'static str>,
    pub wrongs: Vec<String>,
    /// The longest that a SIGTERM took to its exit.
    pub slowest_stop: Duration,
}

/// What can not go on: in words, with the log's end.
pub type Failure = String;

impl Stage {
    pub fn new(at: At, kills: impl IntoIterator<Item = Kill>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let world = World::new();
        let house: Box<dyn House> = match at {
            At::Paper => Box::new(Paper::beside(home.path())),
            At::Alpaca => Box::new(Alpaca::start()),
        };
        let mut settings = world.settings();
        settings.extend(house.settings());
        settings.extend([
            ("LISTEN", "127.0.0.1:0".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
            ("MAX_ORDERS_PER_MINUTE", "100000".to_owned()),
            ("MAX_ORDERS_PER_DAY", "100000".to_owned()),
            ("MAX_ORDER_SHARES", "5000000".to_owned()),
        ]);
        Self {
            world,
            house,
            home,
            settings,
            bot: None,
            typed: None,
            kills: kills.into_iter().collect(),
            hits: Vec::new(),
            passed: Vec::new(),
            halted: BTreeSet::new(),
            wrongs: Vec::new(),
            slowest_stop: Duration::ZERO,
        }
    }

    pub fn data(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// The ledger as the program before the newest migration left it.
    pub fn with_an_old_ledger(&self) {
        let stamp = Stamp {
            chain_id: CHAIN_ID,
            orderbooks: vec![BOOK.address],
            owners: vec![OWNER],
            broker: "paper".to_owned(),
            account: "PAPER-0001".to_owned(),
            hedge_from_block: None,
            deployment_block: FIRST + 1,
        };
        let migrations = ledger::migrations().unwrap();
        let (_, older) = migrations.split_last().unwrap();
        // Made elsewhere: a process that is being started on another thread holds this one's locks for a moment.
        let elsewhere = tempfile::tempdir().unwrap();
        let path = elsewhere.path().join("bot.db");
        Ledger::open_with(&path, &stamp, Millis::now(), older).unwrap().close().unwrap();
        verdict::copy_ledger(elsewhere.path(), self.home.path());
    }

    // ---- the process ----------------------------------------------------------------------------------------------

    pub fn start(&mut self) {
        let aim = self.kills.front().map_or(Aim::Never, |kill| kill.aim.clone());
        self.start_with(aim);
    }

    pub fn start_with(&mut self, aim: Aim) {
        assert!(self.bot.is_none(), "one bot at a time");
        // No block follows in these worlds, with which a log would be found that the dead process heard of alone.
        self.world.node.catch_up();
        self.bot = Some(Bot::start(self.home.path(), &self.settings, aim));
    }

    pub fn bot(&mut self) -> &mut Bot {
        self.bot.as_mut().unwrap()
    }

    fn take_bot(&mut self) -> Bot {
        let bot = self.bot.take().unwrap();
        self.passed.push(bot.watch().passes());
        bot
    }

    /// A thread is held at `point`: ends the process as the schedule says.
    fn strike(&mut self, point: Point, stopping: bool) {
        let Some(Kill { with, .. }) = self.kills.pop_front() else { return };
        let mut bot = self.take_bot();
        match with {
            Signal::Kill => bot.kill(),
            Signal::Term | Signal::TermHeld => {
                let begun = Instant::now();
                bot.terminate();
                if with == Signal::Term {
                    bot.watch().let_go(Aim::Never);
                }
                let code = bot.ended();
                self.slowest_stop = self.slowest_stop.max(begun.elapsed());
                // To a bot that is stopping already it is the second signal, which ends it at once.
                if code != 0 && !(stopping && code == 130) {
                    self.wrongs.push(format!("SIGTERM at {}: exit code {code}", point.name()));
                }
            }
        }
        self.hits.push(Hit { point, with });
        self.look_at_what_is_left(point.name());
    }

    /// Waits for the end of a verb whose bot has ended: it may go on by itself, and has the ledger then.
    fn wait_for_what_was_typed(&mut self) {
        let Some(mut child) = self.typed.take() else { return };
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "a verb does not end");
            std::thread::sleep(LOOK);
        }
    }

    /// What must hold after every end of a process, whatever it was.
    fn look_at_what_is_left(&mut self, place: &str) {
        self.wait_for_what_was_typed();
        let (ledger, mut wrongs) = verdict::inspect(self.home.path());
        wrongs.extend(verdict::durable(ledger.as_ref(), &self.house.book(), &self.house.called()));
        self.wrongs.extend(wrongs.into_iter().map(|wrong| format!("after {place}: {wrong}")));
    }

    /// SIGTERM, and its end; a kill on the way is taken. False where that came first.
    pub fn quit(&mut self) -> Result<bool, Failure> {
        self.bot().terminate();
        let begun = Instant::now();
        loop {
            if let Some(point) = self.bot().watch().held(LOOK) {
                self.strike(point, true);
                return Ok(false);
            }
            if let Some(code) = self.bot().has_ended() {
                drop(self.take_bot());
                if code != 0 {
                    self.wrongs.push(format!("SIGTERM: exit code {code}"));
                }
                self.look_at_what_is_left("a stop");
                return Ok(true);
            }
            self.in_time(begun, "the end of the bot")?;
        }
    }

    /// SIGKILL at no point in particular.
    pub fn kill(&mut self) {
        self.take_bot().kill();
        self.look_at_what_is_left("a kill");
    }

    fn in_time(&self, begun: Instant, what: &str) -> Result<(), Failure> {
        if begun.elapsed() < PATIENCE {
            return Ok(());
        }
        let (ledger, _) = verdict::inspect(self.home.path());
        Err(format!(
            "{what}: not within {PATIENCE:?}\n{ledger:?}\n{:?}\n{}",
            self.house.book(),
            log_tail(self.home.path())
        ))
    }

    // ---- the tale -------------------------------------------------------------------------------------------------

    /// Tells it to the end, kills included; the last process has stopped, and the verdict is in `wrongs`.
    pub fn play(&mut self, tale: &Tale) -> Result<(), Failure> {
        for deals in tale.before {
            self.world.mine(deals);
        }
        if tale.old_ledger {
            self.with_an_old_ledger();
        }
        self.start();
        self.settle()?;
        for step in tale.steps {
            self.act(*step)?;
            self.settle()?;
        }
        self.kills.clear();
        self.finish(false)
    }

    pub fn act(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Mine(deals) => self.world.mine(deals),
            Step::MineMany(blocks, deal) => {
                for _ in 0..blocks {
                    self.world.mine(&[deal]);
                    // Not faster than the bot can see them apart.
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            Step::Reorg(depth) => self.world.reorg(depth),
            Step::Return => self.world.return_to_first(),
            Step::Trouble(trouble) => self.house.trouble(trouble),
            Step::Halt(share) => self.operate("halt", SHARES[share].0)?,
            Step::Resume(share) => self.operate("resume", SHARES[share].0)?,
            Step::Restart => {
                self.quit()?;
                self.start();
            }
            Step::ByHand(share, shares) => {
                self.quit()?;
                let side = if shares > 0 { Side::Buy } else { Side::Sell };
                self.house.by_hand(SHARES[share].0, side, shares.abs());
                self.world.moves.entry(SHARES[share].0).or_default().add(i128::from(shares) * ONE);
                self.start();
            }
        }
        Ok(())
    }

    /// A person gives a command until the ledger shows that it holds.
    fn operate(&mut self, command: &str, ticker: &'static str) -> Result<(), Failure> {
        let wanted = command == "halt";
        if wanted {
            self.halted.insert(ticker)
        } else {
            self.halted.remove(ticker)
        };
        let begun = Instant::now();
        loop {
            self.catch()?;
            let halt = (Some(ticker.to_owned()), "operator".to_owned());
            if verdict::look(self.home.path()).is_some_and(|ledger| ledger.halts.contains(&halt) == wanted) {
                break;
            }
            if self.has_answered() {
                let args = [command, ticker, "--reason", "to see what comes of it"];
                self.typed = Some(verb(self.home.path(), &args).spawn().unwrap());
            }
            self.in_time(begun, command)?;
        }
        // Its answer may be lost with the process; then it says so by itself.
        while !self.has_answered() {
            self.catch()?;
            self.in_time(begun, "the answer to a command")?;
        }
        Ok(())
    }

    /// Whether what was typed has ended, or nothing was.
    fn has_answered(&mut self) -> bool {
        self.typed.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Ends and starts the process where it is held; waits a moment for that.
    fn catch(&mut self) -> Result<bool, Failure> {
        if let Some(point) = self.bot().watch().held(LOOK) {
            self.strike(point, false);
            self.start();
            return Ok(true);
        }
        match self.bot().has_ended() {
            None => Ok(false),
            Some(code) => {
                Err(format!("the bot ended by itself with exit code {code}\n{}", log_tail(self.home.path())))
            }
        }
    }

    /// Waits until everything on the chain is booked and hedged; whatever is to be killed on the way is.
    pub fn settle(&mut self) -> Result<(), Failure> {
        let mut begun = Instant::now();
        loop {
            if self.catch()? {
                begun = Instant::now();
            } else if self.rests() {
                match self.kills.front() {
                    // In a recovery there is nothing left to wait for: it dies at rest.
                    Some(kill) if !matches!(kill.aim, Aim::At(..)) => self.bot().watch().aim_at_next(),
                    _ => return Ok(()),
                }
            }
            self.in_time(begun, "rest")?;
        }
    }

    /// Waits until a thread is held.
    pub fn held(&mut self) -> Result<Point, Failure> {
        let begun = Instant::now();
        loop {
            if let Some(point) = self.bot().watch().held(LOOK) {
                return Ok(point);
            }
            self.in_time(begun, "a point")?;
        }
    }

    /// Like [`Stage::settle`], but ends as soon as a thread is held, which stays held.
    pub fn settle_or_held(&mut self) -> Result<Option<Point>, Failure> {
        let begun = Instant::now();
        loop {
            if let Some(point) = self.bot().watch().held(LOOK) {
                return Ok(Some(point));
            }
            if self.rests() {
                return Ok(None);
            }
            self.in_time(begun, "rest")?;
        }
    }

    fn rests(&mut self) -> bool {
        let compared = |point: &Point| *point == Point::ListAfter;
        if !self.bot().watch().passes().iter().any(compared) {
            return false;
        }
        let Some(ledger) = verdict::look(self.home.path()) else { return false };
        if ledger.cursor.as_ref() != Some(&self.world.tip()) {
            return false;
        }
        let book = self.house.book();
        if book.iter().any(|order| order.live) {
            return false;
        }
        let fills = self.world.fills();
        SHARES.iter().all(|(ticker, ..)| {
            let onchain: i128 = fills.iter().filter(|fill| fill.3 == *ticker).map(|fill| fill.4).sum();
            let done: i128 = book.iter().filter(|order| order.ticker == *ticker).map(|o| o.signed()).sum();
            let flat = (onchain + done).abs() < ONE;
            let is = |state: &str| ledger.intents.iter().any(|i| i.ticker == *ticker && i.state == state);
            let live = ledger.intents.iter().any(|intent| intent.ticker == *ticker && intent.live);
            match *ticker {
                halted if self.halted.contains(halted) => true,
                "BRK" => flat && !live || !flat && is("Planned"),
                // A second refusal is not the first (decision 0004): such an intent waits for a person.
                "NVDA" => flat && (!live || is("Unknown")) || is("Refused") || is("Unknown"),
                _ => flat && !live,
            }
        })
    }

    /// SIGTERM, exit code 0, and the verdict.
    pub fn finish(&mut self, adopting: bool) -> Result<(), Failure> {
        // What this stop passes is no part of the tale: no kill may be meant for it.
        let passed = self.bot().watch().passes();
        self.quit()?;
        self.passed.pop();
        self.passed.push(passed);
        let (ledger, wrongs) = verdict::inspect(self.home.path());
        self.wrongs.extend(wrongs);
        let ledger = ledger.ok_or("there is no ledger")?;
        let (fills, book) = (self.world.fills(), self.house.book());
        let found = verdict::shares(&fills, &book, &self.world.moves);
        if found != verdict::Found::default() {
            self.wrongs.push(format!("{found:?}: {book:?} for {fills:?}"));
        }
        self.wrongs.extend(verdict::books_agree(&ledger, &fills, &book, adopting));
        self.wrongs.extend(verdict::leftovers(self.home.path()));
        let by_us = self.halted.iter().map(|ticker| (Some((*ticker).to_owned()), "operator".to_owned()));
        if ledger.halts != by_us.collect() {
            self.wrongs.push(format!("halts: {:?}", ledger.halts));
        }
        Ok(())
    }

    pub fn log(&self) -> String {
        log_tail(self.home.path())
    }
}

/// The ledger's files in `data` are gone.
pub fn remove_ledger(data: &Path) {
    for name in ["bot.db", "bot.db-wal", "bot.db-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
}
