//! The rows: each fault as data. How it strikes, what the bot must do meanwhile, how it is healed.

use std::process::Command;
use std::time::Duration;

use counterfill::sim::{DropPushes, Lag, Plan, Provider, RpcFault, Times, Until, Words};

use super::clock;
use super::moments::{BOUGHT, Moment, SOLD, Scene};
use super::volume;
use crate::bench::Bench;
use crate::truth::{V4, WRAPPED, buy, sell};
use crate::until::until;

/// What must be seen of the bot while the fault lasts.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    /// It goes on and books every trade while the fault lasts; nobody need do anything.
    RunsOn,
    /// It makes another connection by itself, and books every trade.
    Reconnects,
    /// `/readyz` is 503 for this check, and `bot health` exits 1.
    Unready(&'static str),
    /// It ends with this code, its last words hold these, and so it does when it is started again.
    Exits(i32, &'static [&'static str]),
}

impl Ending {
    pub fn words(self) -> String {
        match self {
            Self::RunsOn => "runs on".to_owned(),
            Self::Reconnects => "connects again".to_owned(),
            Self::Unready(check) => format!("503 {check}"),
            Self::Exits(code, _) => format!("exit {code}"),
        }
    }
}

/// A row.
pub struct Fault {
    pub name: &'static str,
    pub ending: Ending,
    /// Done to the bench before the bot's first start.
    pub prepare: fn(&mut Bench),
    /// Begins the fault, with trades under it.
    pub strike: fn(&mut Scene),
    /// Ends it.
    pub heal: fn(&mut Scene),
}

fn nothing(_: &mut Bench) {}

/// A quiet chain, whose blooms tell what is in a block.
fn quiet(bench: &mut Bench) {
    bench.leave_the_provider();
}

/// Short enough for a test, and longer than a look takes on a busy machine; the chain must then be mined on, or it stands
/// still.
fn impatient(bench: &mut Bench) {
    bench.set(&[("HEAD_AGE_MAX", "8s")]);
}

fn heal(scene: &mut Scene) {
    scene.bench.node.heal();
    scene.bench.node.become_provider(Provider::BASE);
}

fn heal_and_cut(scene: &mut Scene) {
    heal(scene);
    scene.bench.node.cut();
}

const fn fault(name: &'static str, ending: Ending, strike: fn(&mut Scene)) -> Fault {
    Fault { name, ending, prepare: nothing, strike, heal }
}

/// Faults of node, clock and process, and each part of a provider alone; every other row is before a provider of Base and
/// full blooms. Where an answer leaves something out: within 64 blocks of the head a push, a second answer or, on a quiet
/// chain, a bloom shows it, however often the node lies; what no push and no bloom can show (one of several logs of
/// a kind) and what lies far below the head is found where the node lies once (decision 0028).
pub const FAULTS: [Fault; 26] = [
    Fault {
        prepare: impatient,
        ..fault("half-open socket", Ending::Unready("chain_connected"), |scene| {
            scene.bench.node.half_open(true);
            scene.trade();
        })
    },
    fault("socket cut in a burst", Ending::Reconnects, cut_in_a_burst),
    fault("connects refused", Ending::Unready("chain_connected"), |scene| {
        scene.bench.node.refuse(true);
        scene.bench.node.cut();
        scene.trade();
    }),
    fault("AfterClear lost from the push", Ending::RunsOn, |scene| {
        scene.bench.node.drop_pushes(DropPushes::AfterClear);
        scene.trade();
    }),
    fault("every push lost", Ending::RunsOn, |scene| {
        scene.bench.node.drop_pushes(DropPushes::All);
        scene.trade();
    }),
    fault("lagging node", Ending::RunsOn, |scene| {
        scene.bench.node.lagging_head(5);
        scene.trade();
    }),
    Fault {
        prepare: quiet,
        ..fault("empty getLogs, no push", Ending::RunsOn, |scene| {
            let times = if scene.moment == Moment::Backfill { Times::Count(1) } else { Times::Always };
            scene.bench.node.set_faults(|faults| {
                (faults.empty_logs, faults.drop_pushes) = (times, DropPushes::Logs);
            });
            scene.trade();
        })
    },
    fault("partial getLogs, no push", Ending::RunsOn, |scene| {
        scene.bench.node.set_faults(|faults| {
            (faults.partial_logs, faults.drop_pushes) = (Times::Count(1), DropPushes::Logs);
        });
        scene.trade();
    }),
    fault("partial getLogs", Ending::RunsOn, |scene| {
        let times = if scene.moment == Moment::Backfill { Times::Count(1) } else { Times::Always };
        scene.bench.node.partial_logs(times);
        scene.trade();
    }),
    fault("two forks answered in turn", Ending::RunsOn, two_forks),
    fault("too-large range", Ending::RunsOn, too_large_range),
    fault("60 calls a second", Ending::RunsOn, |scene| {
        beyond_the_plan(scene, Plan::calls(60, Words::QuickNode));
    }),
    fault("2,000 compute units a second", Ending::RunsOn, |scene| {
        beyond_the_plan(scene, Plan::compute_units(2_000, Words::Alchemy));
    }),
    fault("getLogs late, pushed", Ending::RunsOn, |scene| {
        late(scene, |provider| provider.logs = Some(Lag::between(200, 450)));
    }),
    fault("getLogs late by blocks, pushed", Ending::RunsOn, |scene| {
        // Longer than two blocks of a chain that lives here.
        late(scene, |provider| provider.logs = Some(Lag::between(1_200, 1_500)));
    }),
    fault("getLogs late by a block, no push", Ending::RunsOn, |scene| {
        scene.bench.node.drop_pushes(DropPushes::Logs);
        late(scene, |provider| provider.logs = Some(Lag::between(60_000, 60_000).until(Until::NextBlock)));
    }),
    fault("a push before its state", Ending::RunsOn, |scene| {
        late(scene, |provider| provider.state = Some(Lag::between(500, 1_000)));
        scene.bench.mine(&[sell(WRAPPED, 1_300), buy(1, 500)]);
        let node = scene.bench.node.clone();
        scene
            .bench
            .until_while_the_chain_lives("the state was not there", || node.counters().without_state > 0);
    }),
    fault("garbage frames", Ending::RunsOn, |scene| {
        for _ in 0..4 {
            scene.bench.node.garbage_frames(20);
            scene.trade();
        }
    }),
    fault("calls that fail", Ending::RunsOn, |scene| {
        scene.bench.node.rpc_errors(RpcFault::Internal, 12);
        scene.trade();
    }),
    Fault {
        heal: heal_and_cut,
        ..fault("answers that come too late", Ending::Unready("chain_answers"), |scene| {
            scene.bench.node.slow(60_000);
            scene.trade();
        })
    },
    fault("another chain behind the address", Ending::Exits(78, &["chain 1,", "set WS_RPC_URL"]), |scene| {
        scene.bench.node.wrong_chain_id(Some(1));
        scene.bench.node.cut();
        scene.trade();
    }),
    fault("order book without code", Ending::Exits(78, &["no contract", "check ORDERBOOK"]), |scene| {
        scene.bench.node.no_code(Some(V4.address));
        scene.bench.node.cut();
        scene.trade();
    }),
    Fault {
        prepare: clock::make_settable,
        ..fault("clock set an hour ahead and back", Ending::RunsOn, |scene| clock_jumps(scene, 3_600))
    },
    Fault {
        prepare: clock::make_settable,
        ..fault("clock set an hour back", Ending::RunsOn, |scene| clock_jumps(scene, -3_600))
    },
    Fault {
        prepare: impatient,
        ..fault("process suspended for 10 s", Ending::RunsOn, |scene| {
            signal(scene, "STOP");
            scene.trade();
            // Longer than HEAD_AGE_MAX; nothing is waited for but that this time passes.
            std::thread::sleep(Duration::from_secs(10));
            signal(scene, "CONT");
        })
    },
    fault("second instance", Ending::RunsOn, second_instance),
];

/// Faults of the volume that the ledger lies on; they need a mount namespace of their own.
pub const VOLUME_FAULTS: [Fault; 3] = [
    Fault {
        name: "disk full",
        ending: Ending::Exits(78, &["Make room there", "`df -h /"]),
        prepare: volume::mount,
        strike: |scene| {
            volume::fill(&scene.bench);
            scene.trade();
            // What is allocated already lasts for a while. It ends by itself, and is looked at again when it has.
            let bench = &mut scene.bench;
            until("no room for the next block", String::new, || {
                bench.node.mine_empty(1);
                bench.has_ended()
            });
        },
        heal: |scene| volume::make_room(&scene.bench),
    },
    Fault {
        name: "read-only volume",
        ending: Ending::Exits(78, &["read-only file system", "Mount the volume writable"]),
        prepare: volume::mount,
        strike: |scene| {
            // No kernel lets go of a volume with files open for writing: the bot is killed and finds it at its start.
            scene.bench.kill();
            volume::remount(&scene.bench, "ro");
            scene.trade();
            scene.bench.start();
        },
        heal: |scene| volume::remount(&scene.bench, "rw"),
    },
    Fault {
        name: "ledger moved away",
        ending: Ending::Unready("ledger"),
        prepare: volume::mount,
        strike: |scene| {
            let ledger = scene.bench.data().join("bot.db");
            std::fs::rename(&ledger, ledger.with_extension("moved")).unwrap();
            scene.trade();
        },
        heal: |scene| {
            let ledger = scene.bench.data().join("bot.db");
            std::fs::rename(ledger.with_extension("moved"), &ledger).unwrap();
        },
    },
];

/// One part of a provider alone, for as long as the fault lasts.
fn late(scene: &mut Scene, change: fn(&mut Provider)) {
    let mut provider = Provider::default();
    change(&mut provider);
    scene.bench.node.become_provider(provider);
    scene.trade();
}

/// More than the plan takes at once must be caught up with: nobody was told of these blocks, and some hold trades.
fn beyond_the_plan(scene: &mut Scene, plan: Plan) {
    let node = scene.bench.node.clone();
    node.become_provider(Provider { plan: Some(plan), ..Provider::default() });
    // As fast as it catches up: a bot that has learnt its pace is refused nothing more.
    for n in 0..40 {
        node.chain_mut(|chain| (0..16).for_each(|_| _ = chain.mine(vec![])));
        scene.bench.mine(&[sell(SOLD[n % 3], 400)]);
        if n >= 2 && node.counters().beyond_the_plan > 0 {
            break;
        }
    }
    scene.trade();
    scene.bench.until("a call is refused", || node.counters().beyond_the_plan > 0);
}

fn cut_in_a_burst(scene: &mut Scene) {
    for n in 0..8 {
        scene.bench.mine(&[sell(SOLD[n % 3], 600), buy(BOUGHT[n % 2], 250)]);
        if n == 3 {
            scene.bench.node.cut();
        }
    }
}

fn two_forks(scene: &mut Scene) {
    let (orphan, _) = scene.bench.mine(&[sell(2, 3_000)]);
    scene.bench.node.reorg(1, vec![vec![]]).unwrap();
    scene.bench.node.two_forks(orphan.hash, 60);
    scene.trade();
    scene.bench.until("the turns are used up", || {
        scene.bench.node.mine_empty(1);
        scene.bench.node.faults().two_forks.is_none_or(|(_, times)| !times.is_due())
    });
}

/// A gap that can only be read in ranges, and a node that allows five blocks.
fn too_large_range(scene: &mut Scene) {
    let bench = &mut scene.bench;
    bench.node.refuse(true);
    bench.node.cut();
    for n in 0..15 {
        bench.node.chain_mut(|chain| (0..9).for_each(|_| _ = chain.mine(vec![])));
        bench.mine(&[sell(SOLD[n % 3], 400)]);
    }
    bench.node.set_faults(|faults| (faults.refuse, faults.range_blocks_max) = (Times::Never, Some(5)));
    scene.trade();
    scene.bench.until("a range is refused", || scene.bench.log().contains("now asking for"));
}

fn clock_jumps(scene: &mut Scene, seconds: i64) {
    clock::set(&scene.bench, seconds);
    scene.trade();
    scene.bench.becomes_ready();
    if seconds > 0 {
        clock::set(&scene.bench, 0);
        scene.trade();
    }
}

fn signal(scene: &Scene, name: &str) {
    let typed = format!("kill -{name} {}", scene.bench.pid());
    assert!(Command::new("sh").args(["-c", &typed]).status().unwrap().success(), "{typed}");
}

fn second_instance(scene: &mut Scene) {
    let second = scene.bench.run_command().output().unwrap();
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(75), "{words}");
    let holder = format!("is in use by process {}", scene.bench.pid());
    for word in [holder.as_str(), "stop that one first", "another DATABASE_URL"] {
        assert!(words.contains(word), "{word}: {words}");
    }
    scene.trade();
}
