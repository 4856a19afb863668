//! From exec to an answer, and to ready on a ledger of so many fills.

use super::Size;
use crate::bot::{World, read_whole};
use crate::measure::{Row, Samples, Unit, timed};

/// exec → `/livez`; the floor is exec → the end of `bot --version`.
pub(crate) fn livez(size: Size) -> Vec<Row> {
    let world = World::new();
    world.start().stop();
    let ours = Samples::repeat(size.runs * 5, || {
        let (took, mut bot) = timed(|| {
            let mut bot = world.spawn();
            bot.answers("/livez");
            bot
        });
        bot.answers("/readyz");
        bot.stop();
        took
    });
    let floor = Samples::repeat(size.runs * 5, || timed(|| world.says(&["--version"])).0);
    vec![Row { what: "exec → livez".into(), unit: Unit::Micros, ours, floor: (floor, "`bot --version`") }]
}

/// exec → `/readyz` says 200; the floor is reading the ledger's file.
pub(crate) fn ready(size: Size) -> Vec<Row> {
    [0, 10_000, 100_000, 1_000_000]
        .into_iter()
        .map(|fills| {
            let world = World::with_fills(fills / size.divisor);
            let ours = Samples::repeat(size.runs, || {
                let (took, bot) = timed(|| world.start());
                bot.stop();
                took
            });
            let floor = Samples::repeat(size.runs, || timed(|| read_whole(&world.ledger())).0);
            let what = format!("start to ready, {} fills", fills / size.divisor);
            Row { what, unit: Unit::Micros, ours, floor: (floor, "reading the file") }
        })
        .collect()
}
