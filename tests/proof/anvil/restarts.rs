//! The bot is killed between a fill and its sweep, and the bot comes late.

use std::thread;
use std::time::Duration;

use super::bot::Bot;
use super::draws::Draws;
use super::verdict::judge;
use super::world::{ALICE, ATOMS, BOB, TSLA, V4, V5, Way, World};

#[test]
fn a_kill_between_a_fill_and_its_sweep_loses_and_doubles_nothing() {
    let mut world = World::new();
    let mut draws = Draws::of(3);
    let mut bot = Bot::of(&world);
    bot.start();
    bot.settled(&world);
    for round in 0..12 {
        let acts: Vec<_> = (0..4).map(|_| vec![world.some_fill(&mut draws)]).collect();
        world.emit(&acts);
        // From "nothing of it was seen" to "its orders are at the broker".
        thread::sleep(Duration::from_millis(round * 12));
        bot.kill();
        if round % 3 == 0 {
            // And some while nobody looks.
            world.emit_one(world.some_fill(&mut draws));
        }
        bot.start();
        if round % 4 == 1 {
            bot.settled(&world);
            judge(&world, &bot);
        }
    }
    bot.settled(&world);
    assert_eq!(judge(&world, &bot).fills, 12 * 4 + 4);
    bot.stop();
    judge(&world, &bot);
}

#[test]
fn a_bot_that_comes_late_reads_everything_from_the_deployment_block_on() {
    let mut world = World::new();
    let mut draws = Draws::of(4);
    // The very first block that is read holds a fill, and the one before it holds one that is none of the bot's.
    let before = world.take(V5, ALICE, Way::Sell, TSLA, 9 * ATOMS);
    let outside = world.emit_one(before);
    world.record.remove(outside);
    world.first_block = world.node.head().0 + 1;
    for count in 0..25 {
        let acts: Vec<_> = (0..4).map(|_| vec![world.some_fill(&mut draws)]).collect();
        world.emit(&acts);
        // Three times as far as a range that is read block by block.
        world.node.mine_many(if count % 5 == 0 { 40 } else { 1 });
    }
    let mut bot = Bot::of(&world);
    bot.set("LOG_RANGE_BLOCKS", 50).start();
    bot.settled(&world);
    assert_eq!(judge(&world, &bot).fills, 100);
    // From there on it is live.
    world.emit_one(world.take(V4, BOB, Way::Buy, TSLA, 2 * ATOMS));
    bot.settled(&world);
    assert_eq!(judge(&world, &bot).fills, 101);
    bot.stop();
    judge(&world, &bot);
}
