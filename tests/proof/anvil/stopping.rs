//! SIGTERM in each phase: exit code 0, and the next start goes on where this one ended.

use std::time::Instant;

use rusqlite::Connection;

use super::bot::{Bot, lines_with};
use super::draws::Draws;
use super::until;
use super::verdict::judge;
use super::wire::Mood;
use super::world::{AAPL, ALICE, ATOMS, BOB, NVDA, TSLA, V4, V5, Way, World};

#[test]
fn while_it_connects_for_the_first_time_and_later() {
    let mut world = World::new();
    let mut bot = Bot::of(&world);
    // Nobody answers: refused, then taken and never answered. There is no ledger yet.
    for mood in [Mood::Refuse, Mood::Silent] {
        world.wire.set(mood);
        let tried = lines_with(&bot.log(), "the chain is away");
        bot.start();
        match mood {
            Mood::Silent => {
                until(
                    "a silent call",
                    || {
                        if world.wire.connections() > 0 { Ok(()) } else { Err("none".into()) }
                    },
                )
            }
            _ => until("a refused call", || {
                if lines_with(&bot.log(), "the chain is away") > tried { Ok(()) } else { Err(bot.log()) }
            }),
        }
        bot.stop();
        assert!(!bot.ledger().exists(), "which chain it would be is not known yet");
        world.wire.cut();
    }
    world.wire.set(Mood::Through);
    world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 2 * ATOMS));
    bot.start();
    bot.settled(&world);
    bot.stop();
    // And with a ledger.
    for mood in [Mood::Refuse, Mood::Silent] {
        world.wire.set(mood);
        world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 2 * ATOMS));
        bot.start();
        bot.until("a bot without a chain", |status| status["chain"]["connected"] == false);
        bot.stop();
        world.wire.cut();
    }
    world.wire.set(Mood::Through);
    bot.start();
    bot.settled(&world);
    assert_eq!(judge(&world, &bot).fills, 3);
    bot.stop();
}

#[test]
fn while_it_reads_a_long_past() {
    let mut world = World::new();
    let mut draws = Draws::of(5);
    for _ in 0..20 {
        // Of no wrapped token: anvil forgets the state of old blocks, and only that says what a wrapped one was worth.
        let share = draws.below(2);
        world.emit_one(world.take(V5, ALICE, Way::Sell, share, 3 * ATOMS / 2));
        world.node.mine_many(250);
    }
    let mut bot = Bot::of(&world);
    bot.set("LOG_RANGE_BLOCKS", 1);
    let mut reached = 0;
    for _ in 0..3 {
        bot.start();
        let status = bot.until("progress in a backfill", |status| {
            status["engine"]["cursor"]["number"].as_u64().is_some_and(|number| number > reached + 30)
                && status["chain"]["backfill"]["total_blocks"].as_u64().is_some_and(|blocks| blocks > 1_000)
        });
        let now = status["engine"]["cursor"]["number"].as_u64().unwrap();
        assert!(now > reached, "the second start begins where the first one ended");
        reached = now;
        bot.stop();
    }
    assert!(reached < world.node.head().0 - 1_000, "it was not in the middle any more");
    bot.set("LOG_RANGE_BLOCKS", 1_000).start();
    bot.settled(&world);
    assert_eq!(judge(&world, &bot).fills, 20);
    bot.stop();
    judge(&world, &bot);
}

#[test]
fn while_the_node_has_forgotten_what_it_must_say() {
    let mut world = World::new();
    world.emit_one(world.take(V5, ALICE, Way::Sell, NVDA, 3 * ATOMS));
    world.node.mine_many(5_000);
    let mut bot = Bot::of(&world);
    bot.start();
    // Not a dead event: another node may know. But a person must hear of it.
    until("a warning", || {
        if lines_with(&bot.log(), "ALERT a fill of NVDA waits and is not hedged") > 0 {
            Ok(())
        } else {
            Err(bot.log())
        }
    });
    let status = bot.status().unwrap();
    assert_eq!(status["ready"], false);
    assert_eq!(status["engine"]["dead_events"], 0);
    bot.stop();
}

#[test]
fn while_it_is_idle_while_an_order_works_and_in_the_middle_of_a_burst() {
    let mut world = World::new();
    let mut draws = Draws::of(6);
    let mut bot = Bot::of(&world);
    bot.start();
    bot.settled(&world);
    bot.stop();

    for round in 0..4 {
        bot.start();
        bot.settled(&world);
        let way = if round % 2 == 0 { Way::Sell } else { Way::Buy };
        bot.hold_market();
        world.emit_one(world.take(V4, BOB, way, AAPL, 30 * ATOMS));
        bot.until_order("Working");
        bot.stop();
        bot.release_market();
    }

    for round in 0..4 {
        bot.start();
        bot.until("a bot that decides", |status| status["engine"]["deciding"] == true);
        for block in 0..6 {
            let acts: Vec<_> = (0..5).map(|_| vec![world.some_fill(&mut draws)]).collect();
            world.emit(&acts);
            if block == round + 1 {
                bot.terminate();
            }
        }
        assert_eq!(bot.ended(), 0);
    }
    bot.start();
    bot.settled(&world);
    assert_eq!(judge(&world, &bot).fills, 4 + 4 * 6 * 5);
    bot.stop();
    judge(&world, &bot);
}

/// A bot with an order call on its way that gets no answer as long as the connection lives.
fn with_a_call_in_flight(world: &mut World, bot: &mut Bot) -> Connection {
    bot.start();
    bot.settled(world);
    let hanging = bot.hang_broker();
    world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 5 * ATOMS));
    bot.until_order("Sent");
    hanging
}

#[test]
fn while_an_order_call_has_no_answer() {
    let mut world = World::new();
    let mut bot = Bot::of(&world);
    let hanging = with_a_call_in_flight(&mut world, &mut bot);
    bot.stop();
    let hedges = bot.read("hedges");
    assert_eq!(hedges.len(), 1);
    assert!(["Sent", "Unknown"].iter().any(|state| hedges[0]["state"] == *state), "{hedges:?}");
    drop(hanging);
    // The next start asks the broker, and the same order goes out under the same name at most.
    bot.start();
    bot.settled(&world);
    let verdict = judge(&world, &bot);
    assert_eq!((verdict.fills, verdict.orders), (1, 1));
    bot.stop();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut world = World::new();
    let mut bot = Bot::of(&world);
    let hanging = with_a_call_in_flight(&mut world, &mut bot);
    bot.terminate();
    until("the first signal to be heard", || {
        if lines_with(&bot.log(), "a second signal ends the process at once") > 0 {
            Ok(())
        } else {
            Err(bot.log())
        }
    });
    assert!(bot.runs(), "it waits for the order call");
    let begun = Instant::now();
    bot.terminate();
    assert_eq!(bot.ended(), 130);
    super::tell(&format!("the second signal ended it after {:?}", begun.elapsed()));
    drop(hanging);
    bot.start();
    bot.settled(&world);
    let verdict = judge(&world, &bot);
    assert_eq!((verdict.fills, verdict.orders), (1, 1));
    bot.stop();
}
