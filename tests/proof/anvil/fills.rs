//! Every kind of fill, end to end.

use alloy::primitives::{Bytes, Log, LogData};
use counterfill::sim::logs::{BookKind, OrderBook};

use super::bot::Bot;
use super::node::text;
use super::verdict::judge;
use super::world::{AAPL, ALICE, ATOMS, Act, BOB, NVDA, STRANGER, TSLA, V4, V5, Way, World};

/// Shares in thousandths.
const fn milli(shares: i128) -> i128 {
    shares * ATOMS / 1_000
}

/// Our order, a share against another share: recorded, and no exposure.
fn foreign_pair(world: &World, book: usize) -> Act {
    let mut leg = world.leg(ALICE, Way::Sell, TSLA, milli(4_000));
    leg.input = world.shares[AAPL].token;
    Act { book, logs: vec![world.books[book].take_only(&leg)], fills: Vec::new() }
}

/// A take of ours whose bytes end in the middle.
fn malformed(world: &World, book: usize) -> Act {
    let whole = world.books[book].take_only(&world.leg(ALICE, Way::Sell, TSLA, milli(5_000)));
    let cut = Bytes::copy_from_slice(&whole.data.data[..whole.data.data.len() / 2]);
    let data = LogData::new_unchecked(whole.topics().to_vec(), cut);
    Act { book, logs: vec![Log { address: whole.address, data }], fills: Vec::new() }
}

fn every_kind(world: &mut World) {
    for book in [V5, V4] {
        world.emit_one(world.take(book, ALICE, Way::Sell, TSLA, milli(2_500)));
        world.emit_one(world.take(book, BOB, Way::Buy, AAPL, milli(3_250)));
        world.emit_one(world.clear(book, [ALICE, STRANGER], Way::Sell, NVDA, milli(1_750)));
        world.emit_one(world.clear(book, [STRANGER, ALICE], Way::Sell, AAPL, milli(1_125)));
        // A dust of one base unit counts.
        world.emit_one(world.take(book, ALICE, Way::Buy, TSLA, 1));
        // Several in one transaction, with a stranger's clear between, whose amounts must not be taken for ours.
        world.emit(&[vec![
            world.take(book, ALICE, Way::Sell, NVDA, milli(700)),
            world.clear(book, [STRANGER, STRANGER], Way::Sell, TSLA, milli(50_000)),
            world.clear(book, [ALICE, STRANGER], Way::Buy, TSLA, milli(900)),
            world.clear(book, [STRANGER, BOB], Way::Buy, TSLA, milli(400)),
            world.take(book, STRANGER, Way::Sell, AAPL, milli(70_000)),
            world.take(book, BOB, Way::Sell, AAPL, milli(333)),
        ]]);
        // Both owners of one clear are ours: two fills of one log.
        world.emit_one(world.clear(book, [ALICE, BOB], Way::Buy, NVDA, milli(2_000)));
        world.emit_one(foreign_pair(world, book));
        world.emit_one(malformed(world, book));
    }
    // The other spelling of the V4 take.
    let mut spelt = world.take(V4, ALICE, Way::Buy, TSLA, milli(6_100));
    let other = OrderBook { kind: BookKind::V4Bytes32, ..world.books[V4] };
    spelt.logs[1] = other.take_only(&world.leg(ALICE, Way::Buy, TSLA, milli(6_100)));
    world.emit_one(spelt);
    // Both books in one block.
    let (one, other) = (
        world.take(V5, ALICE, Way::Sell, AAPL, milli(1_999)),
        world.take(V4, BOB, Way::Buy, NVDA, milli(5_001)),
    );
    world.emit(&[vec![one], vec![other]]);
}

/// Two books × (take, take, clear, clear, dust, four of one transaction, two of one clear), the other spelling, and two.
const EVERY_KIND: usize = 2 * (5 + 4 + 2) + 1 + 2;

fn skipped_and_dead(bot: &mut Bot) {
    let skipped: Vec<_> = bot.read("fills").into_iter().filter(|fill| fill["state"] == "skipped").collect();
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    assert!(skipped.iter().all(|fill| text(&fill["reason"]) == "foreign_pair"), "{skipped:?}");
    assert_eq!(bot.status().unwrap()["engine"]["dead_events"], 2);
}

#[test]
fn each_kind_of_fill_is_booked_and_hedged_as_it_happens() {
    let mut world = World::new();
    let mut bot = Bot::of(&world);
    bot.start();
    // Live: what comes is pushed.
    bot.settled(&world);
    every_kind(&mut world);
    bot.settled(&world);
    let verdict = judge(&world, &bot);
    assert_eq!(verdict.fills, EVERY_KIND);
    skipped_and_dead(&mut bot);
    // After the dead events the line moves on.
    world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, milli(7_000)));
    bot.settled(&world);
    assert_eq!(judge(&world, &bot).fills, EVERY_KIND + 1);
    bot.stop();
    // And the ledger of a bot that does not run says the same.
    judge(&world, &bot);
}

#[test]
fn tokens_are_known_by_their_own_names_where_there_is_no_list() {
    let mut world = World::new();
    let mut bot = Bot::of(&world);
    bot.env.remove("EQUITIES");
    bot.env.remove("CASH");
    bot.start();
    bot.settled(&world);
    every_kind(&mut world);
    bot.settled(&world);
    assert_eq!(judge(&world, &bot).fills, EVERY_KIND);
    skipped_and_dead(&mut bot);
    bot.stop();
}
