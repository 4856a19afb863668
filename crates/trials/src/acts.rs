//! How a step of the schedule is carried out.
//!
//! Each act does one thing to chain, node, broker, disk, clock or process, and notes the fault where it is one. It
//! refuses to know when the next step comes.

use std::collections::BTreeSet;

use super::operator;
use super::schedule::{Act, Death, NodeFault, Replay};
use super::world::{Event, World, symbol};
use counterfill_sim::chain::{SimBlock, Tx};
use counterfill_sim::faults::{DropPushes, Faults, RpcFault, Times};

/// A clock that was off by more can hide orders from a ledger that is put back: documented, and not tried here.
const CLOCK_OFF_MS_MAX: i64 = 200_000;
/// And a broker whose clock was off by more, where the first orders follow the ledger's birth within seconds.
const SKEW_MS_MAX: i64 = 1_000;
/// Delay of a call at a slow node; the world draws the real one.
const SLOW_MS: u64 = 1;

impl World {
    pub(super) fn step(&mut self, index: usize) {
        let Some(step) = self.steps.get(index).cloned() else { return };
        self.trace.say(self.now, 10, || format!("step {index}: {}", step.act));
        match step.act {
            Act::Trade { deals, together } => {
                let mut txs =
                    self.node.with(|world| self.market.transactions(&mut world.chain, &deals, together));
                if self.dice.chance(50) {
                    txs.extend(self.back_again());
                }
                self.mine(txs);
            }
            Act::Blocks(count) => self.blocks(count),
            Act::Fork { depth, longer, replay } => self.fork(depth, longer, replay),
            Act::Return => self.come_back(),
            Act::PushAgain(which) => self.push_again(which),
            Act::Phantom(deal) => {
                if let Some(log) = self.market.phantom(&deal) {
                    self.struck.note("chain: a phantom is pushed");
                    self.node.with(|world| world.push_phantom(log));
                    self.pump();
                }
            }
            Act::Node(fault, ms) => self.node_misbehaves(fault, ms),
            Act::Post(fault) => self.broker.book().next_post(fault),
            Act::Fate(fate) => self.broker.book().next_fate(fate),
            Act::Away(ms) => self.broker.book().away(ms),
            Act::ReadsFail(ms) => self.broker.book().reads_fail(ms),
            Act::StaleList(ms) => self.broker.book().stale(ms),
            Act::TokenDead(ms) => self.broker.book().token_dead(ms),
            Act::MarketUnavailable(ms) => self.broker.book().market_away(ms),
            Act::Quotes(fault, ms) => self.broker.book().quotes_go_wrong(fault, ms),
            Act::ManualOrder { twin, ticker } => self.broker.book().type_by_hand(twin, ticker),
            Act::ManualCancel => self.broker.book().cancel_by_hand(),
            Act::Bust => self.broker.book().bust(),
            Act::Disk(fault) => self.misbehave(fault),
            Act::Kill { when: Death::Now, power, down_ms } => self.die(power, down_ms),
            Act::Kill { when, power, down_ms } => {
                // A death in a commit is the power's.
                let power = power || matches!(when, Death::InCommit(_));
                self.kill = Some((when, power, down_ms));
            }
            Act::Restart { down_ms } => self.stop(down_ms),
            Act::Backup => self.back_up(),
            Act::Restore { down_ms } => self.restore(down_ms),
            Act::Clock(ms) => {
                self.struck.note("clock: the bot's jumps");
                self.bot_offset_ms += ms;
                self.bot_offset_ms_max = self.bot_offset_ms_max.max(self.bot_offset_ms.abs());
            }
            Act::Skew(ms) => {
                self.struck.note("clock: the broker's is off");
                if ms.abs() > SKEW_MS_MAX {
                    self.bot_offset_ms_max = i64::MAX;
                }
                self.broker.book().set_skew(ms);
            }
            Act::Halt(ticker) => operator::halt(self, ticker.and_then(symbol)),
        }
    }

    // ---- chain

    fn blocks(&mut self, count: u64) {
        if count < 50 {
            for _ in 0..count {
                self.mine(Vec::new());
            }
            return;
        }
        self.struck.note("chain: a gap beyond the window");
        let txs = self.back_again();
        self.node.with(|world| {
            world.chain.mine(txs);
            for _ in 1..count {
                world.chain.mine(Vec::new());
            }
        });
        self.mine(Vec::new());
    }

    /// Transactions that a fork dropped and that nobody has mined since, each once: a second fork may have dropped what
    /// the return of a branch had brought back.
    fn back_again(&mut self) -> Vec<Tx> {
        let mut dropped = std::mem::take(&mut self.dropped);
        let mut seen = BTreeSet::new();
        dropped.retain(|tx| seen.insert(tx.hash));
        self.node.with(|world| {
            let chain = &world.chain;
            let gone = |tx: &Tx| !chain.included_in(tx.hash).iter().any(|block| chain.is_canonical(*block));
            dropped.into_iter().filter(gone).collect()
        })
    }

    fn fork(&mut self, depth: u64, longer: i64, replay: Replay) {
        let room = self.fork_room();
        let (above, tip) = self.node.with(|world| (world.chain.canonical().len(), world.chain.tip().hash));
        let above = u64::try_from(above).unwrap_or(0).saturating_sub(2);
        let depth = depth.min(room).min(above);
        let Ok(take) = usize::try_from(depth) else { return };
        if take == 0 {
            return;
        }
        let old: Vec<Vec<Tx>> = self.node.with(|world| {
            let canonical = world.chain.canonical();
            let gone = &canonical[canonical.len() - take..];
            gone.iter().filter_map(|hash| world.chain.block(*hash)).map(|block| block.txs.clone()).collect()
        });
        let count = i64::try_from(depth).unwrap_or(1).saturating_add(longer).max(1);
        let mut blocks: Vec<Vec<Tx>> = vec![Vec::new(); usize::try_from(count).unwrap_or(1)];
        let last = blocks.len() - 1;
        for (at, txs) in old.into_iter().enumerate() {
            for tx in txs {
                let to = match replay {
                    Replay::Same => Some(at.min(last)),
                    Replay::Never => None,
                    Replay::Some => self.dice.chance(60).then(|| self.dice.index(last + 1)),
                    Replay::Later => Some(last),
                };
                match to.and_then(|to| blocks.get_mut(to)) {
                    // In front: another order, and so other log indexes.
                    Some(block) if replay == Replay::Some => block.insert(0, tx),
                    Some(block) => block.push(tx),
                    None => self.dropped.push(tx),
                }
            }
        }
        self.left.push(tip);
        self.forked();
        self.node.with(|world| {
            let before = world.chain.canonical().to_vec();
            if let Ok(fresh) = world.chain.reorg(depth, blocks) {
                let gone: Vec<_> =
                    before.into_iter().rev().filter(|hash| !world.chain.is_canonical(*hash)).collect();
                world.announce(&gone, &fresh);
            }
        });
        self.highest = self.highest.max(self.node.with(|world| world.chain.tip().number));
        self.pump();
    }

    fn forked(&mut self) {
        self.struck.note("chain: a fork");
        if self.process.as_ref().is_some_and(super::process::Process::is_looking) {
            self.struck.note("chain: a fork in the middle of a look");
        }
    }

    /// The branch left last becomes the chain again.
    fn come_back(&mut self) {
        let room = self.fork_room();
        let Some(tip) = self.left.pop() else { return };
        let now = self.node.with(|world| world.chain.tip().hash);
        let allowed = self.node.with(|world| {
            let Ok(branch) = world.chain.branch(tip) else { return false };
            let shared = branch.iter().zip(world.chain.canonical()).take_while(|(a, b)| a == b).count();
            let depth = world.chain.canonical().len().saturating_sub(shared);
            // Where the tip is an ancestor, the chain would only get shorter: a rollback is no fork.
            u64::try_from(depth).is_ok_and(|depth| depth <= room) && branch.len() > shared
        });
        if !allowed {
            return;
        }
        self.left.push(now);
        self.forked();
        self.struck.note("chain: a branch comes back");
        self.node.with(|world| {
            let before = world.chain.canonical().to_vec();
            if let Ok(fresh) = world.chain.return_to(tip) {
                let gone: Vec<_> =
                    before.into_iter().rev().filter(|hash| !world.chain.is_canonical(*hash)).collect();
                world.announce(&gone, &fresh);
            }
        });
        self.highest = self.highest.max(self.node.with(|world| world.chain.tip().number));
        self.pump();
    }

    fn push_again(&mut self, which: u64) {
        self.struck.note("chain: an old block is pushed again");
        let left = self.left.clone();
        self.node.with(|world| {
            let canonical = world.chain.canonical();
            let near = canonical.iter().rev().take(40).chain(&left);
            let with_logs: Vec<SimBlock> = near
                .filter_map(|hash| world.chain.block(*hash))
                .filter(|block| !block.txs.is_empty())
                .cloned()
                .collect();
            let count = u64::try_from(with_logs.len()).unwrap_or(0);
            let at = which.checked_rem(count).and_then(|at| usize::try_from(at).ok());
            if let Some(block) = at.and_then(|at| with_logs.get(at)) {
                let pushes = world.block_pushes(block);
                world.push(pushes);
            }
        });
        self.pump();
    }

    // ---- node

    fn node_misbehaves(&mut self, fault: NodeFault, ms: i64) {
        let other = self.left.last().copied();
        if left_over(fault, &Faults::default()).is_none() {
            self.struck.note(name(fault));
        }
        self.node.with(|world| {
            let faults = &mut world.faults;
            // A long backfill is not held against every bloom, and a bloom does not count: documented, and not tried here.
            faults.only_tellable_gaps = true;
            match fault {
                // Without receipts the bloom's warning can not be followed up: that is documented, and not tried here.
                NodeFault::EmptyLogs(_) | NodeFault::PartialLogs(_) if !faults.missing_methods.is_empty() => {
                }
                NodeFault::NoReceipts if faults.empty_logs.is_due() || faults.partial_logs.is_due() => {}
                NodeFault::EmptyLogs(times) => faults.empty_logs = Times::Count(times),
                NodeFault::PartialLogs(times) => faults.partial_logs = Times::Count(times),
                NodeFault::Lag(blocks) => faults.lagging_blocks = blocks,
                NodeFault::TwoForks(times) => {
                    faults.two_forks = other.map(|tip| (tip, Times::Count(times)));
                }
                NodeFault::LoseLogs => faults.drop_pushes = DropPushes::Logs,
                NodeFault::LosePushes => faults.drop_pushes = DropPushes::All,
                NodeFault::LoseAfterClear => faults.drop_pushes = DropPushes::AfterClear,
                NodeFault::Twice => faults.duplicate_pushes = true,
                NodeFault::Backwards => faults.reorder_pushes = true,
                NodeFault::Removed => faults.removed_pushes = true,
                NodeFault::NoBlock => faults.push_without_block_hash = true,
                NodeFault::HeaderNotFound(times) => {
                    faults.rpc_errors = (Times::Count(times), RpcFault::HeaderNotFound, None);
                }
                NodeFault::Internal(times) => {
                    faults.rpc_errors = (Times::Count(times), RpcFault::Internal, None);
                }
                NodeFault::RateLimited(times) => {
                    faults.rpc_errors = (Times::Count(times), RpcFault::RateLimited, None);
                }
                NodeFault::ShortRanges(blocks) => faults.range_blocks_max = Some(blocks),
                NodeFault::ForgetOrphans => faults.forget_orphans = true,
                NodeFault::NoReceipts => faults.missing_methods = vec!["eth_getBlockReceipts".into()],
                NodeFault::Slow => faults.slow_ms = SLOW_MS,
                NodeFault::HalfOpen => faults.half_open = true,
                NodeFault::Cut(times) => faults.refuse = Times::Count(times),
            }
        });
        if matches!(fault, NodeFault::Cut(_)) {
            self.cut();
        } else {
            self.soon(ms, Event::Heals(fault));
        }
    }

    pub(super) fn heal(&mut self, fault: NodeFault) {
        let (armed, left) = (armed(fault), self.node.with(|world| left_over(fault, &world.faults)));
        if left.is_some_and(|left| left < armed) {
            self.struck.note(name(fault));
        }
        self.node.with(|world| {
            let faults = &mut world.faults;
            match fault {
                NodeFault::EmptyLogs(_) => faults.empty_logs = Times::Never,
                NodeFault::PartialLogs(_) => faults.partial_logs = Times::Never,
                NodeFault::Lag(_) => faults.lagging_blocks = 0,
                NodeFault::TwoForks(_) => faults.two_forks = None,
                NodeFault::LoseLogs | NodeFault::LosePushes | NodeFault::LoseAfterClear => {
                    faults.drop_pushes = DropPushes::None;
                }
                NodeFault::Twice => faults.duplicate_pushes = false,
                NodeFault::Backwards => faults.reorder_pushes = false,
                NodeFault::Removed => faults.removed_pushes = false,
                NodeFault::NoBlock => faults.push_without_block_hash = false,
                NodeFault::HeaderNotFound(_) | NodeFault::Internal(_) | NodeFault::RateLimited(_) => {
                    faults.rpc_errors.0 = Times::Never;
                }
                NodeFault::ShortRanges(_) => faults.range_blocks_max = None,
                NodeFault::ForgetOrphans => faults.forget_orphans = false,
                NodeFault::NoReceipts => faults.missing_methods.clear(),
                NodeFault::Slow => faults.slow_ms = 0,
                NodeFault::HalfOpen => faults.half_open = false,
                NodeFault::Cut(_) => {}
            }
        });
    }

    // ---- ledger

    fn back_up(&mut self) {
        if self.process.is_some() {
            self.backups.push(self.disk.copy());
        }
    }

    fn restore(&mut self, down_ms: i64) {
        // What a ledger that is put back has forgotten is found by the broker's times and our clock (decision 11).
        if self.backups.is_empty() || self.bot_offset_ms_max > CLOCK_OFF_MS_MAX {
            return;
        }
        let which = self.dice.index(self.backups.len());
        if self.process.is_some() {
            self.die(false, down_ms);
        } else {
            // What would have started it waits for the person.
            self.queue.retain(|_, event| !matches!(event, Event::Start));
            self.soon(down_ms, Event::Start);
        }
        self.broker.book().show_all();
        if let Some(copy) = self.backups.get(which) {
            self.struck.note("restore: an older ledger");
            self.restored = true;
            self.disk.put_back(copy);
            self.trace.say(self.now, 11, || format!("ledger {which} is put back"));
        }
    }
}

/// How often a fault that counts down was to strike.
const fn armed(fault: NodeFault) -> u64 {
    match fault {
        NodeFault::EmptyLogs(times)
        | NodeFault::PartialLogs(times)
        | NodeFault::TwoForks(times)
        | NodeFault::HeaderNotFound(times)
        | NodeFault::Internal(times)
        | NodeFault::RateLimited(times) => times,
        _ => 0,
    }
}

/// How often a fault that counts down has still to strike; none where it only lasts.
fn left_over(fault: NodeFault, faults: &Faults) -> Option<u64> {
    let times = match fault {
        NodeFault::EmptyLogs(_) => faults.empty_logs,
        NodeFault::PartialLogs(_) => faults.partial_logs,
        NodeFault::TwoForks(_) => faults.two_forks.map_or(Times::Always, |(_, times)| times),
        NodeFault::HeaderNotFound(_) | NodeFault::Internal(_) | NodeFault::RateLimited(_) => {
            faults.rpc_errors.0
        }
        _ => return None,
    };
    Some(match times {
        Times::Never => 0,
        Times::Count(left) => left,
        Times::Always => u64::MAX,
    })
}

const fn name(fault: NodeFault) -> &'static str {
    match fault {
        NodeFault::EmptyLogs(_) => "node: empty logs",
        NodeFault::PartialLogs(_) => "node: partial logs",
        NodeFault::Lag(_) => "node: lags",
        NodeFault::TwoForks(_) => "node: two forks",
        NodeFault::LoseLogs => "node: logs are lost",
        NodeFault::LosePushes => "node: pushes are lost",
        NodeFault::LoseAfterClear => "node: the second half of a clear is lost",
        NodeFault::Twice => "node: pushes twice",
        NodeFault::Backwards => "node: pushes backwards",
        NodeFault::Removed => "node: removed logs",
        NodeFault::NoBlock => "node: pushes without a block",
        NodeFault::HeaderNotFound(_) => "node: a header is not found",
        NodeFault::Internal(_) => "node: an internal error",
        NodeFault::RateLimited(_) => "node: rate limit",
        NodeFault::ShortRanges(_) => "node: a range is too long",
        NodeFault::ForgetOrphans => "node: orphans are forgotten",
        NodeFault::NoReceipts => "node: no receipts of a block",
        NodeFault::Slow => "node: answers are slow",
        NodeFault::HalfOpen => "node: half open",
        NodeFault::Cut(_) => "node: the connection is cut",
    }
}
