//! The chain changes its mind: `anvil_reorg` at every depth up to twelve, with the fill coming back and without.

use super::bot::{Bot, lines_with};
use super::node::text;
use super::verdict::judge;
use super::world::{AAPL, ALICE, ATOMS, BOB, TSLA, V4, V5, Way, World};

fn sides(bot: &Bot, world: &World, ticker: &str) -> (usize, usize) {
    let verdict = judge(world, bot);
    let of = |side: &str| verdict.sides.get(&(ticker.to_owned(), side.to_owned())).copied().unwrap_or(0);
    (of("BUY"), of("SELL"))
}

#[test]
fn a_fill_that_leaves_the_chain_is_reversed_and_hedged_back_at_every_depth() {
    let mut world = World::new();
    let mut bot = Bot::of(&world);
    bot.start();
    bot.settled(&world);
    // Something below every reorg.
    world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 3 * ATOMS));
    world.node.mine_many(12);
    for depth in 1..=12 {
        let comes_back = world.take(V5, ALICE, Way::Sell, TSLA, 2 * ATOMS);
        let stays_away = world.clear(V4, [BOB, ALICE], Way::Buy, AAPL, ATOMS);
        let never_back = world.take(V4, BOB, Way::Buy, AAPL, 3 * ATOMS);
        let first = world.emit(&[vec![comes_back], vec![stays_away], vec![never_back]]);
        world.node.mine_many(depth - 1);
        bot.settled(&world);
        let before = judge(&world, &bot);
        let (bought, sold) = sides(&bot, &world, "AAPL");

        // The first one comes back, higher up than it was: another block, another name.
        let returning = vec![(world.record[first].raw.clone(), depth / 2)];
        world.node.reorg(depth, &returning);
        bot.settled(&world);
        let after = judge(&world, &bot);
        assert_eq!(after.fills, before.fills - 3, "depth {depth}");
        assert_eq!(after.reversed, before.reversed + 4, "depth {depth}");
        let (bought_after, sold_after) = sides(&bot, &world, "AAPL");
        assert!(bought_after > bought && sold_after >= sold, "depth {depth}: nothing was hedged back");
        let back: Vec<u64> = world.in_last(depth).iter().map(|(_, place)| *place).collect();
        assert_eq!(back, [depth / 2], "depth {depth}");
    }
    assert!(lines_with(&bot.log(), "fork: our block") >= 12, "each reorg is a fork");
    bot.stop();
    judge(&world, &bot);
}

#[test]
fn what_left_the_chain_may_come_back_in_a_later_block() {
    let mut world = World::new();
    let mut bot = Bot::of(&world);
    bot.start();
    world.node.mine_many(12);
    let sent = world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 4 * ATOMS));
    bot.settled(&world);
    world.node.reorg(5, &[]);
    bot.settled(&world);
    assert_eq!((judge(&world, &bot).fills, judge(&world, &bot).reversed), (0, 1));
    // Its sender's nonce is free again, so the very same transaction is mined once more.
    world.node.send_raw(&world.record[sent].raw);
    world.node.mine();
    bot.settled(&world);
    let verdict = judge(&world, &bot);
    assert_eq!((verdict.fills, verdict.reversed, verdict.orders), (1, 1, 3));
    bot.stop();
}

#[test]
fn an_order_that_works_while_its_fill_leaves_runs_on_and_is_hedged_after() {
    let mut world = World::new();
    let mut bot = Bot::of(&world);
    bot.start();
    bot.settled(&world);
    world.node.mine_many(3);
    for _ in 0..5 {
        bot.hold_market();
        world.emit_one(world.take(V4, BOB, Way::Buy, AAPL, 40 * ATOMS));
        bot.until_order("Working");
        world.node.reorg(2, &[]);
        bot.release_market();
        bot.settled(&world);
    }
    let verdict = judge(&world, &bot);
    assert_eq!((verdict.fills, verdict.reversed, verdict.exposure["AAPL"]), (0, 5, 0));
    assert!(verdict.orders >= 10, "each was sold, and bought back: {verdict:?}");
    bot.stop();
}

#[test]
fn a_reorg_while_the_bot_is_away_is_found_at_the_next_start() {
    let mut world = World::new();
    let mut bot = Bot::of(&world);
    bot.start();
    world.node.mine_many(12);
    let kept = world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 2 * ATOMS));
    world.emit_one(world.clear(V5, [BOB, ALICE], Way::Sell, AAPL, 5 * ATOMS));
    world.emit_one(world.take(V4, BOB, Way::Buy, AAPL, 7 * ATOMS));
    bot.settled(&world);
    bot.kill();
    world.node.reorg(12, &[(world.record[kept].raw.clone(), 11)]);
    // The new chain has grown past the old cursor before anybody looks.
    world.node.mine_many(20);
    bot.start();
    bot.settled(&world);
    let verdict = judge(&world, &bot);
    // Of the four, one came back; of the two halves of the clear, both were ours.
    assert_eq!((verdict.fills, verdict.reversed), (1, 4));
    bot.stop();
}

#[test]
fn with_confirmations_a_fill_that_leaves_in_time_moves_nothing() {
    let mut world = World::new();
    let mut bot = Bot::of(&world);
    bot.set("CONFIRMATIONS", 3).start();
    world.node.mine_many(12);
    bot.settled(&world);
    world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 2 * ATOMS));
    world.node.mine_many(2);
    bot.settled(&world);
    let states: Vec<_> = bot.read("fills").iter().map(|fill| text(&fill["state"])).collect();
    assert_eq!(states, ["seen"]);
    world.node.reorg(3, &[]);
    // Its sender goes on as if nothing had been.
    world.emit_one(world.take(V5, ALICE, Way::Sell, AAPL, 2 * ATOMS));
    world.node.mine_many(3);
    bot.settled(&world);
    let verdict = judge(&world, &bot);
    assert_eq!((verdict.fills, verdict.reversed, verdict.orders), (1, 1, 1));
    assert_eq!(verdict.sides.keys().collect::<Vec<_>>(), [&("AAPL".to_owned(), "BUY".to_owned())]);
    bot.stop();
}
