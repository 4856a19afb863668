//! The sweep: reads from the cursor to the head, again and again, and is the only one to move the cursor.
//!
//! It knows the ledger by [`ChainView`] alone, hands the engine one [`Sweep`] at a time, and plans the next one from what
//! the engine has committed then. What does not belong together is thrown away and read again, with a growing pause, so
//! that a confused node causes no storm. It refuses to know what a fill is worth.
//!
//! Invariant: a range begins after a block that the node called canonical in the same attempt, and every standing fill
//! in a canonical block of the range is in the range's events or refuted by its receipt.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{sleep, timeout};

use super::answers::{AGAIN_MS, Answers};
use super::end::{End, jittered, note};
use super::identity::check_code;
use super::needs::Needs;
use super::pace::Pace;
use super::progress::Progress;
use super::range_size::RangeSize;
use super::reading::{Reader, Reading};
use super::receipts::Ways;
use super::rpc::{Lost, Rpc, RpcError};
use super::tokens::Tokens;
use super::trouble::Trouble;
use super::window::{Reach, WINDOW_DEPTH_BLOCKS, reach};
use super::wire::Header;
use super::{ChainConfig, ChainFacts, ChainStop, ChainView, Sweep};
use crate::engine::Input;
use crate::fills::{Book, Event};
use crate::units::{BlockRef, FillId, Millis};

/// First pause after answers that did not belong together; doubles.
const PAUSE_MS_MIN: Duration = Duration::from_millis(100);
/// Longest such pause.
const PAUSE_MS_MAX: Duration = Duration::from_millis(2_000);
/// Looks at the head at least so often, bell or not.
const IDLE_S_MAX: Duration = Duration::from_secs(15);
/// Looks again at a node that is behind at least so often.
const BEHIND_S_MAX: Duration = Duration::from_secs(2);
/// The same while a block waits to be asked about again.
const AGAIN_MS_MAX: Duration = Duration::from_millis(AGAIN_MS.unsigned_abs());
/// Longest wait for the engine to commit a range, or to say that it dropped it, before it is planned anew.
const COMMIT_S_MAX: Duration = Duration::from_secs(10);
/// Longest wait for fills that a look back found, where the cursor does not move and so does not tell.
const LOOK_BACK_S_MAX: Duration = Duration::from_secs(1);
/// Blocks read one by one at once at least, however slow the node.
const PIECE_BLOCKS_MIN: u64 = 4;
/// Farther behind than this, what is due once more is asked for before anything new.
const FAR_BLOCKS: u64 = 16;
/// How often running an answer must speak for a fork that the hashes by height do not show, or for a fork beyond the
/// window: one confused answer must neither move nor stop anything.
const RUNNING: u32 = 2;

/// The call whose refusals may be about the size of a range.
const LOGS: &str = "eth_getLogs";

/// What outlives a connection.
#[derive(Debug)]
pub(super) struct Memory {
    /// Blocks asked for at once.
    range: RangeSize,
    /// The block that the next one did not link to, and how often running.
    unlinked: Option<(BlockRef, u32)>,
    /// How often running no ancestor was found.
    too_deep: u32,
    /// The highest block that was read when it was beyond the reach of a fork.
    settled: Option<u64>,
    /// Blocks read one by one at once: a window, halved when something of them cannot be had, doubled back when it can.
    piece_blocks: u64,
    progress: Progress,
    /// What was said of single blocks.
    answers: Answers,
    /// How often the node may be asked.
    pub(super) pace: Arc<Pace>,
    needs: Needs,
    /// How the node tells receipts.
    pub(super) ways: Ways,
    /// A step succeeded since this was last cleared: the connection is good.
    pub(super) healthy: bool,
    /// The ledger's tokens were asked again and are what they were; once a process.
    pub(super) tokens_checked: bool,
}

impl Memory {
    pub(super) fn new(config: &ChainConfig) -> Self {
        Self {
            range: RangeSize::new(config.log_range_blocks),
            unlinked: None,
            too_deep: 0,
            settled: None,
            piece_blocks: WINDOW_DEPTH_BLOCKS,
            progress: Progress::default(),
            answers: Answers::default(),
            pace: Arc::default(),
            needs: Needs::default(),
            ways: Ways::default(),
            healthy: false,
            tokens_checked: false,
        }
    }
}

impl Memory {
    /// Whether a block waits to be asked about again.
    pub(super) fn is_waiting(&self) -> bool {
        self.answers.is_waiting()
    }
}

/// Looks at the chain from the cursor on, one attempt at a time, on one connection. It hands nothing over and waits for
/// nothing but the node.
pub(super) struct Survey<'a> {
    pub(super) rpc: &'a Rpc,
    pub(super) config: &'a ChainConfig,
    pub(super) book: &'a Book,
    pub(super) facts: &'a watch::Sender<ChainFacts>,
    pub(super) memory: &'a mut Memory,
    pub(super) tokens: Tokens,
    /// Whether every order book was seen to have code.
    pub(super) code_seen: bool,
}

/// What one look at the chain came to.
#[derive(Debug)]
pub(super) enum Found {
    /// A range, read and checked.
    Range(Sweep),
    /// The cursor is the head.
    Idle,
    /// Nothing to read, for this reason.
    Behind(String),
}

/// The survey and the engine, which is handed one range after the other.
pub(super) struct Sweeper<'a> {
    pub(super) survey: Survey<'a>,
    pub(super) inputs: &'a mpsc::Sender<Input>,
    pub(super) view: watch::Receiver<ChainView>,
    pub(super) bell: &'a Notify,
}

/// Where a range begins.
enum Base {
    At(BlockRef),
    Behind(String),
}

impl Sweeper<'_> {
    /// Sweeps until the connection or the process must end.
    pub(super) async fn run(mut self) -> End {
        let mut pause = PAUSE_MS_MIN;
        let mut warned = false;
        loop {
            let view = self.view.borrow_and_update().clone();
            let why = match self.survey.attempt(&view, Millis::now()).await {
                Ok(found) => {
                    self.survey.memory.healthy = true;
                    pause = PAUSE_MS_MIN;
                    warned = false;
                    match self.go_on(found, &view).await {
                        Ok(()) => continue,
                        Err(Trouble::Stop(stop)) => return End::Stop(stop),
                        Err(Trouble::Rpc(error)) => return error.into(),
                        Err(trouble) => trouble.to_string(),
                    }
                }
                Err(Trouble::Stop(stop)) => return End::Stop(stop),
                Err(Trouble::Rpc(error @ RpcError::Gone(_))) => return error.into(),
                Err(Trouble::Rpc(RpcError::RangeTooLarge(_))) => continue,
                Err(trouble) => trouble.to_string(),
            };
            if pause >= PAUSE_MS_MAX && !warned {
                // By now it is no hiccup: a pruned node, for one, refuses for ever. Once, until a read succeeds.
                warned = true;
                log::warn!("the chain can not be read: {why}; asking again every {} s", pause.as_secs());
            } else {
                log::debug!("sweep: {why}; reading again");
            }
            note(self.survey.facts, |facts| facts.error = Some(why));
            sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_MS_MAX);
        }
    }

    async fn go_on(&mut self, found: Found, planned_on: &ChainView) -> Result<(), Trouble> {
        let (why, longest) = match found {
            Found::Range(sweep) => {
                let at_head = sweep.target.number == sweep.head;
                let committed = self.hand_over(sweep, planned_on).await.map_err(Trouble::Stop)?;
                let more = !(at_head && committed) || {
                    let cursor = self.view.borrow().cursor;
                    self.survey.ask_again(cursor, Millis::now()).await?
                };
                // A head that came meanwhile has rung.
                (None, (!more).then_some(IDLE_S_MAX))
            }
            Found::Idle => {
                note(self.survey.facts, |facts| facts.swept_all(Millis::now()));
                (None, Some(IDLE_S_MAX))
            }
            Found::Behind(why) => (Some(why), Some(BEHIND_S_MAX)),
        };
        note(self.survey.facts, |facts| facts.error = why);
        if let Some(longest) = longest {
            let longest = if self.survey.memory.is_waiting() { longest.min(AGAIN_MS_MAX) } else { longest };
            // Rung or not, it is time to look.
            let _ = timeout(longest, self.bell.notified()).await;
        }
        Ok(())
    }

    /// Sends one range and waits until it is the cursor. A fill that was pushed since `planned_on` and that this range
    /// does not account for makes it be read again: the cursor must not pass it. Says whether it was committed.
    async fn hand_over(&mut self, sweep: Sweep, planned_on: &ChainView) -> Result<bool, ChainStop> {
        let (target, cursor) = (sweep.target, planned_on.cursor);
        if !accounts_for(&sweep, planned_on, &self.view.borrow()) {
            return Ok(false);
        }
        let is_left = |cursor: &BlockRef| {
            sweep.base.number < cursor.number && sweep.canonical.get(&cursor.number) != Some(&cursor.hash)
        };
        if let Some(cursor) = cursor.filter(is_left) {
            let (base, cursor) = (sweep.base, cursor.number);
            log::warn!("fork: our block {cursor} left the chain; reading again after block {base}");
            note(self.survey.facts, |facts| facts.forks = facts.forks.saturating_add(1));
        }
        // A look back may end where the cursor is already; then what it found says that it is booked.
        let ends_there = cursor == Some(target);
        let found: Vec<FillId> =
            if ends_there { fills_of(&sweep).map(|(_, id)| id).collect() } else { Vec::new() };
        let patience = if ends_there { LOOK_BACK_S_MAX } else { COMMIT_S_MAX };
        self.inputs.send(Input::Sweep(sweep)).await.map_err(|_| ChainStop::EngineGone)?;
        let taken = self.view.wait_for(|view| {
            let is_booked = |id: &FillId| view.standing.iter().any(|(_, standing)| standing == id);
            is_done_with(view, planned_on, target)
                && (found.iter().all(is_booked) || view.dropped_sweeps != planned_on.dropped_sweeps)
        });
        let (committed, is_dropped) = match timeout(patience, taken).await {
            Ok(view) => {
                let view = view.map_err(|_| ChainStop::EngineGone)?;
                let is_dropped = view.dropped_sweeps != planned_on.dropped_sweeps;
                if !is_dropped {
                    let (now, number) = (Millis::now(), view.cursor.unwrap_or(target).number);
                    note(self.survey.facts, |facts| facts.swept_to(number, now));
                }
                (view.cursor == Some(target), is_dropped)
            }
            // Of what a look back found something is no fill that stands: it was passed over, or left the chain again.
            Err(_) if ends_there => (true, false),
            Err(_) => {
                log::warn!("the engine has not committed block {target} in {COMMIT_S_MAX:?}; planning anew");
                (false, false)
            }
        };
        if is_dropped {
            // What it did not fit is in the view by now. The pause is for the case that the next does not fit either.
            log::debug!(
                "the range up to block {target} did not fit what was pushed meanwhile; reading it again"
            );
            sleep(jittered(PAUSE_MS_MIN)).await;
        }
        Ok(committed && !is_dropped)
    }
}

impl Survey<'_> {
    /// One attempt: plan on what is committed, read, check. `now` is the wall clock.
    pub(super) async fn attempt(&mut self, view: &ChainView, now: Millis) -> Result<Found, Trouble> {
        self.memory.ways.another_attempt();
        let mut found = self.look(view, now).await;
        // Nothing is new: time for what is due once more. What that adds is read at once.
        if matches!(found, Ok(Found::Idle)) && self.ask_again(view.cursor, now).await? {
            found = self.look(view, now).await;
        }
        let thrown_away = matches!(found, Err(Trouble::Disagree(_) | Trouble::Unlinked(_)));
        let (unproven, calls_per_s) = (self.memory.ways.unproven(), self.memory.pace.calls_per_s());
        let needs_per_s = self.memory.needs.more_than(calls_per_s, now);
        note(self.facts, |facts| {
            facts.discarded = facts.discarded.saturating_add(u64::from(thrown_away));
            (facts.unproven, facts.calls_per_s, facts.needs_per_s) = (unproven, calls_per_s, needs_per_s);
        });
        found
    }

    async fn look(&mut self, view: &ChainView, now: Millis) -> Result<Found, Trouble> {
        self.tokens.learn(&view.tokens);
        let head = self.rpc.head().await?;
        note(self.facts, |facts| facts.see_head(head.number, now));
        self.memory.answers.begin(view, &head);
        self.memory.needs.see(&head, view.cursor, now);
        self.check_code_once(&head).await?;
        self.tokens.finish(self.rpc).await?;
        // Far behind, the window leaves what is due before there is nothing new to read.
        if view.cursor.is_some_and(|cursor| head.number.saturating_sub(cursor.number) > FAR_BLOCKS) {
            self.ask_again(view.cursor, now).await?;
        }
        let base = match self.base(view, &head).await? {
            Base::At(base) => base,
            Base::Behind(why) => return Ok(Found::Behind(why)),
        };
        let backfill = self.memory.progress.at(base.number, head.number);
        note(self.facts, |facts| facts.backfill = backfill);
        let settled = self.memory.settled.is_some_and(|settled| base.number <= settled);
        let range_blocks = self.memory.range.blocks();
        let stops = view.standing.iter().map(|(number, _)| *number);
        let stops: Vec<u64> = stops.chain(view.evidence.iter().map(|log| log.block.number)).collect();
        match reach(base.number, head.number, range_blocks, &stops, settled) {
            // A chain whose head is the block before `DEPLOYMENT_BLOCK`: the first cursor is an empty range.
            Reach::Nothing if view.cursor.is_none() && head.hash == base.hash => {
                Ok(Found::Range(Sweep::empty_at(base)))
            }
            Reach::Nothing => nothing(view, base, &head),
            Reach::Blocks { target } => {
                let target = target.min(base.number.saturating_add(self.piece_blocks()));
                let read = self.blocks(base, target, view, &head, now).await;
                self.fit_piece(target.saturating_sub(base.number), &read);
                read.map(Found::Range)
            }
            Reach::Range { target } => {
                let reading = self.range(base, target).await?;
                self.events(base, reading, view, &head).await.map(Found::Range)
            }
        }
    }

    /// Blocks read one by one.
    async fn blocks(
        &mut self,
        base: BlockRef,
        target: u64,
        view: &ChainView,
        head: &Header,
        now: Millis,
    ) -> Result<Sweep, Trouble> {
        let mut told = Vec::new();
        let read = self.reader().blocks(base, target, head, &mut told).await;
        told.into_iter().for_each(|answer| self.memory.answers.keep(answer, now));
        let reading = read.map_err(no_range).map_err(|trouble| self.remember(trouble))?;
        self.events(base, reading, view, head).await
    }

    /// What a reading comes to.
    async fn events(
        &mut self,
        base: BlockRef,
        mut reading: Reading,
        view: &ChainView,
        head: &Header,
    ) -> Result<Sweep, Trouble> {
        let refuted = self.reader().account_for(&mut reading, &view.standing).await?;
        let settled = self.reader().settle(&mut reading, &view.evidence).await?;
        let trades = self.reader().trades(&mut reading).await?;
        let old = head.number.saturating_sub(WINDOW_DEPTH_BLOCKS);
        let weighed = self.tokens.weigh(self.rpc, self.book, &trades.trades, old).await?;
        let mut events = weighed.events;
        events.extend(trades.dead.into_iter().map(Event::Dead));
        events.sort_by_key(|event| (event.log().block.number, event.log().log_index));
        let Reading { target, canonical, .. } = reading;
        self.memory.unlinked = None;
        self.memory.too_deep = 0;
        if head.number.saturating_sub(target.number) >= WINDOW_DEPTH_BLOCKS {
            self.memory.settled = self.memory.settled.max(Some(target.number));
        }
        let (tokens, head) = (weighed.tokens, head.number);
        let sweep = Sweep { base, target, canonical, events, refuted, settled, tokens, head };
        self.memory.answers.handed(base.number, fills_of(&sweep));
        Ok(sweep)
    }

    /// Asks about blocks below the cursor again that are due (`answers`). Whether that showed more than was known: the
    /// next look then begins below it. What the node refuses is asked again later.
    pub(super) async fn ask_again(&mut self, cursor: Option<BlockRef>, now: Millis) -> Result<bool, Trouble> {
        let due = self.memory.answers.due(cursor, now);
        match self.reader().again(&due).await {
            Ok(all) => due
                .into_iter()
                .zip(all)
                .try_for_each(|(block, logs)| self.memory.answers.told_again(block, logs))?,
            Err(gone @ Trouble::Rpc(RpcError::Gone(_))) => return Err(gone),
            Err(trouble) => log::debug!("{} blocks are asked about again later: {trouble}", due.len()),
        }
        Ok(self.memory.answers.look_back().is_some())
    }

    /// How many blocks are read one by one at once. Where the node takes so many calls a second, a few seconds' worth:
    /// the cursor then moves on meanwhile.
    fn piece_blocks(&self) -> u64 {
        let bearable = self.memory.pace.calls_per_s().unwrap_or(u64::MAX).max(PIECE_BLOCKS_MIN);
        self.memory.piece_blocks.min(bearable)
    }

    fn fit_piece(&mut self, blocks: u64, read: &Result<Sweep, Trouble>) {
        self.memory.piece_blocks = match read {
            Ok(_) => self.memory.piece_blocks.saturating_mul(2).min(WINDOW_DEPTH_BLOCKS),
            Err(Trouble::Rpc(error)) if !matches!(error, RpcError::Gone(_)) => (blocks / 2).max(1),
            Err(_) => self.memory.piece_blocks,
        };
    }

    fn reader(&self) -> Reader<'_> {
        Reader::new(self.rpc, self.book, &self.memory.ways, &self.memory.answers)
    }

    async fn check_code_once(&mut self, head: &Header) -> Result<(), Trouble> {
        if !self.code_seen && head.number >= self.config.deployment_block {
            check_code(self.rpc, self.config).await?.map_or(Ok(()), |stop| Err(Trouble::Stop(stop)))?;
            self.code_seen = true;
        }
        Ok(())
    }

    /// Where the next range begins: after the cursor if the node still has it, else after the highest window block
    /// that the node has, else after the block before `DEPLOYMENT_BLOCK`.
    async fn base(&mut self, view: &ChainView, head: &Header) -> Result<Base, Trouble> {
        let Some(cursor) = view.cursor else { return self.anchor(head).await };
        let excluded = match self.memory.unlinked {
            Some((block, times)) if times >= RUNNING => Some(block),
            _ => None,
        };
        // What is asked below the cursor; the cursor itself, where the head does not speak of it.
        let below = [view.late_from, self.memory.answers.look_back()].into_iter().flatten().min();
        let by_head = head.hash == cursor.hash
            || (head.parent_hash == cursor.hash && head.number.checked_sub(1) == Some(cursor.number));
        if by_head && excluded != Some(cursor) && below.is_none() {
            return Ok(Base::At(cursor));
        }
        let at_cursor = self.rpc.header(cursor.number).await?;
        let cursor_stands =
            at_cursor.as_ref().is_some_and(|header| header.hash == cursor.hash) && excluded != Some(cursor);
        if cursor_stands && below.is_none() {
            return Ok(Base::At(cursor));
        }
        if at_cursor.is_none() && head.number >= cursor.number {
            return Err(Trouble::Disagree(format!(
                "the node told of a higher head but has no block {cursor}"
            )));
        }
        let mut other_hash_at_lowest = false;
        let below = below.unwrap_or(cursor.number).min(cursor.number);
        for block in view.window.iter().rev().filter(|block| block.number < below) {
            let header = self.rpc.header(block.number).await?;
            let same = header.as_ref().is_some_and(|header| header.hash == block.hash);
            if same && excluded.is_none_or(|excluded| block.number < excluded.number) {
                return Ok(Base::At(*block));
            }
            other_hash_at_lowest = header.is_some() && !same;
        }
        if cursor_stands {
            return Err(Trouble::Disagree(
                "the cursor is on the node's chain, and the blocks below it are not".into(),
            ));
        }
        if excluded.is_some() {
            // Only answers that contradict each other led here; begin again with what the heights say.
            self.memory.unlinked = None;
            return Err(Trouble::Disagree("blocks that do not link, and no common block below them".into()));
        }
        let alone = view.window.iter().all(|block| block.number >= cursor.number);
        if other_hash_at_lowest || (alone && at_cursor.is_some()) {
            return self.too_deep(view, cursor);
        }
        Ok(Base::Behind(format!("the node's head {} is below everything we know; waiting", head.number)))
    }

    /// The first run's base: the block before `DEPLOYMENT_BLOCK`. With 0 it is block 0 itself, which can not hold a log.
    async fn anchor(&self, head: &Header) -> Result<Base, Trouble> {
        let number = self.config.deployment_block.saturating_sub(1);
        if head.number < number {
            let (head, block) = (head.number, self.config.deployment_block);
            return Ok(Base::Behind(format!(
                "the node's head {head} is below DEPLOYMENT_BLOCK {block}; waiting (is the node still syncing?)"
            )));
        }
        let header = self.reader().header(number).await?;
        Ok(Base::At(BlockRef { number: header.number, hash: header.hash }))
    }

    fn too_deep(&mut self, view: &ChainView, cursor: BlockRef) -> Result<Base, Trouble> {
        self.memory.too_deep = self.memory.too_deep.saturating_add(1);
        if self.memory.too_deep < RUNNING {
            return Err(Trouble::Disagree("no block of the window is on the node's chain".into()));
        }
        let lowest = view.window.first().map_or(cursor.number, |block| block.number);
        let depth = cursor.number.saturating_sub(lowest).saturating_add(1);
        Err(Trouble::Stop(ChainStop::DeepReorg(format!(
            "the node's chain leaves ours at block {lowest} or below: at least {depth} blocks deep, and the window is \
             {WINDOW_DEPTH_BLOCKS}; our cursor is block {cursor}. If WS_RPC_URL is the right node, stop the bot and put \
             back a backup of the ledger made before block {lowest} (README, Backups)"
        ))))
    }

    /// A read by height. What the node takes and what it refuses says how much is asked for next (decision 54).
    async fn range(&mut self, base: BlockRef, target: u64) -> Result<Reading, Trouble> {
        let blocks = target.saturating_sub(base.number);
        let read = self.reader().range(base, target).await;
        let range = &mut self.memory.range;
        let before = range.blocks();
        match &read {
            Ok(_) => range.answered(blocks),
            // A single block can not be halved: its refusal is the node's trouble.
            Err(Trouble::Rpc(RpcError::RangeTooLarge(_))) if blocks <= 1 => return read.map_err(no_range),
            Err(Trouble::Rpc(RpcError::RangeTooLarge(_) | RpcError::Timeout(LOGS))) => {
                range.too_large(blocks)
            }
            // An answer may be too long for a connection; one that has enough of us would end as well with less.
            Err(Trouble::Rpc(RpcError::Gone(Lost { pause: None, .. }))) => range.too_large(blocks),
            Err(Trouble::Rpc(RpcError::Refused { method: LOGS, .. })) => range.refused(blocks),
            // Too often, or too early: the same range is right, later.
            Err(_) => {}
        }
        if let Err(Trouble::Rpc(error)) = &read
            && before != range.blocks()
        {
            log::info!("{error}; now asking for {} blocks at once", range.blocks());
        }
        read
    }

    fn remember(&mut self, trouble: Trouble) -> Trouble {
        if let Trouble::Unlinked(base) = trouble {
            let times = match self.memory.unlinked {
                Some((block, times)) if block == base => times.saturating_add(1),
                _ => 1,
            };
            self.memory.unlinked = Some((base, times));
        }
        trouble
    }
}

/// Where one block is refused as too large nothing can be halved, and to ask again at once would help nobody.
fn no_range(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Rpc(RpcError::RangeTooLarge(words)) => {
            let message = format!("even one block is too large: {words}");
            RpcError::Refused { method: LOGS, code: 0, message }.into()
        }
        other => other,
    }
}

/// Why there is nothing to read above `base`.
fn nothing(view: &ChainView, base: BlockRef, head: &Header) -> Result<Found, Trouble> {
    Ok(match view.cursor {
        Some(cursor) if head.number < cursor.number => {
            let (head, cursor) = (head.number, cursor.number);
            Found::Behind(format!(
                "the node's head {head} is below our block {cursor}, on the same chain; waiting"
            ))
        }
        _ if head.number == base.number && head.hash != base.hash => {
            return Err(Trouble::Disagree(format!("two blocks at height {} in one breath", base.number)));
        }
        _ => Found::Idle,
    })
}

/// Whether the engine has taken the range up to `target` that was planned on `planned_on`, or has dropped it.
pub(super) fn is_done_with(view: &ChainView, planned_on: &ChainView, target: BlockRef) -> bool {
    // A look back for a late fill may end where the cursor is already.
    let looked_back = planned_on.late_from.is_none() || view.late_from != planned_on.late_from;
    (view.cursor == Some(target) && looked_back)
        || view.cursor != planned_on.cursor
        || view.dropped_sweeps != planned_on.dropped_sweeps
}

/// Whether every fill that stands in a canonical block of the range, and did not when it was planned, is in its events
/// or refuted, and every log that was pushed since then is settled. Of what was known already, the receipts have decided.
pub(super) fn accounts_for(sweep: &Sweep, planned_on: &ChainView, now: &ChainView) -> bool {
    let told: BTreeSet<FillId> = sweep
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Fill(fill) => Some(fill.id),
            Event::Pending(pending) => Some(pending.id),
            Event::Skipped(_) | Event::Dead(_) => None,
        })
        .chain(sweep.refuted.iter().copied())
        .collect();
    let range = sweep.base.number + 1..=sweep.target.number;
    let new =
        now.standing.iter().filter(|fill| range.contains(&fill.0) && !planned_on.standing.contains(fill));
    let pushed = now.evidence.iter().filter(|log| range.contains(&log.block.number));
    new.into_iter().all(|(number, id)| {
        told.contains(id) || sweep.canonical.get(number).is_some_and(|hash| *hash != id.block_hash)
    }) && pushed.into_iter().all(|log| sweep.settled.contains(log))
}

/// The fills of a range, with their blocks.
fn fills_of(sweep: &Sweep) -> impl Iterator<Item = (u64, FillId)> {
    sweep.events.iter().filter_map(|event| match event {
        Event::Fill(fill) => Some((fill.block_number, fill.id)),
        Event::Pending(_) | Event::Skipped(_) | Event::Dead(_) => None,
    })
}
