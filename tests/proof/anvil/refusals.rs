//! What `bot run` refuses: the exit code, whether the message says what to type, and that nothing is lost by it.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use alloy::primitives::Address;

use super::bot::{Bot, bytes};
use super::verdict::judge;
use super::world::{ALICE, ATOMS, STRANGER, TSLA, V5, Way, World};

fn refused(bot: &mut Bot, code: i32, words: &[&str]) {
    let (found, said) = bot.refused();
    assert_eq!(found, code, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A bot that has hedged one fill and was stopped.
fn with_a_past(world: &mut World) -> Bot {
    world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 2 * ATOMS));
    let mut bot = Bot::of(world);
    bot.start();
    bot.settled(world);
    bot.stop();
    bot
}

/// Mended, it goes on as if nothing had been.
fn goes_on(world: &mut World, bot: &mut Bot, fills: usize) {
    bot.start();
    bot.settled(world);
    world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 3 * ATOMS));
    bot.settled(world);
    assert_eq!(judge(world, bot).fills, fills);
    bot.stop();
}

#[test]
fn the_wrong_chain() {
    let mut world = World::new();
    let mut fresh = Bot::of(&world);
    fresh.set("CHAIN_ID", 1);
    refused(&mut fresh, 78, &["is on chain 8453", "CHAIN_ID says chain 1", "set WS_RPC_URL"]);
    assert!(!fresh.ledger().exists());

    let mut bot = with_a_past(&mut world);
    bot.set("CHAIN_ID", 1);
    refused(&mut bot, 78, &["CHAIN_ID", "the ledger says 8453, the configuration says 1", "DATABASE_URL="]);
    // Another node without CHAIN_ID: the ledger remembers.
    bot.env.remove("CHAIN_ID");
    world.node.ask("anvil_setChainId", serde_json::json!([5]));
    refused(&mut bot, 78, &["is on chain 5", "the ledger is of chain 8453", "set WS_RPC_URL"]);
    world.node.ask("anvil_setChainId", serde_json::json!([8453]));
    goes_on(&mut world, &mut bot, 2);
}

#[test]
fn an_order_book_without_code() {
    let world = World::new();
    let empty = Address::repeat_byte(0x77);
    let mut bot = Bot::of(&world);
    world.node.mine();
    bot.set("ORDERBOOK", format!("{},{empty}", world.books[V5].address));
    refused(&mut bot, 78, &["no contract at order book", &empty.to_string(), "check ORDERBOOK"]);
    assert!(!bot.ledger().exists());
}

#[test]
fn a_ledger_of_another_owner() {
    let mut world = World::new();
    let mut bot = with_a_past(&mut world);
    let right = bot.env["ORDER_OWNER"].clone();
    let before = bytes(&bot.ledger());
    bot.set("ORDER_OWNER", STRANGER);
    let owner = format!("{STRANGER:#x}");
    refused(
        &mut bot,
        78,
        &["belongs to another configuration", "ORDER_OWNER", &owner, "DATABASE_URL=sqlite:"],
    );
    assert_eq!(bytes(&bot.ledger()), before, "a refused ledger is not written to");
    bot.set("ORDER_OWNER", right);
    goes_on(&mut world, &mut bot, 2);
}

#[test]
fn a_second_instance() {
    let mut world = World::new();
    let mut first = Bot::of(&world);
    // Both are given the same port too, as two containers of one description would be.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    first.set("LISTEN", port).start();
    first.settled(&world);
    world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 2 * ATOMS));
    let mut second = Bot::beside(&first);
    let holder = format!("process {} ", first.pid());
    let words = ["is in use by", &holder, "stop that one first", "DATABASE_URL"];
    refused(&mut second, 75, &words);
    second.set("LISTEN", "127.0.0.1:0");
    refused(&mut second, 75, &words);
    // The first one goes on, and a reading verb beside it is no second instance.
    first.settled(&world);
    world.emit_one(world.take(V5, ALICE, Way::Sell, TSLA, 2 * ATOMS));
    first.settled(&world);
    assert_eq!(judge(&world, &second).fills, 2);
    // The lock goes with its holder, however it ends.
    first.kill();
    second.start();
    second.settled(&world);
    second.stop();
}

#[test]
fn two_that_start_at_once() {
    let mut world = World::new();
    let mut one = with_a_past(&mut world);
    let mut other = Bot::beside(&one);
    for _ in 0..10 {
        one.start();
        other.start();
        let mut codes = Vec::new();
        super::until("one of the two to be alone", || {
            for bot in [&mut one, &mut other] {
                if !bot.runs() && codes.len() < 2 && bot.is_there() {
                    codes.push(bot.ended());
                }
            }
            let alone = codes.len() == 2 || (codes.len() == 1 && one.status().is_ok());
            if alone { Ok(()) } else { Err(format!("{codes:?}")) }
        });
        assert!(codes.iter().all(|code| *code == 75), "{codes:?}\n{}\n{}", one.log(), other.log());
        for bot in [&mut one, &mut other] {
            if bot.is_there() {
                bot.stop();
            }
        }
    }
    goes_on(&mut world, &mut one, 2);
}

#[test]
fn a_database_that_can_not_be_read() {
    let mut world = World::new();
    // A directory in its place.
    let mut bot = Bot::of(&world);
    fs::create_dir(bot.ledger()).unwrap();
    refused(&mut bot, 78, &["it is a directory", "Set DATABASE_URL to a file"]);
    // Garbage, and a ledger that was emptied.
    for content in [&[0xA7; 8192][..], &[]] {
        let mut bot = Bot::of(&world);
        fs::write(bot.ledger(), content).unwrap();
        let path = bot.ledger().display().to_string();
        refused(&mut bot, 78, &[&path, "copy your own backup to"]);
        assert_eq!(bytes(&bot.ledger()), content, "it is kept for whoever looks at it");
    }
    // Damage in a ledger with a past; put back, it goes on.
    let mut bot = with_a_past(&mut world);
    let whole = bytes(&bot.ledger());
    let mut broken = whole.clone();
    let (from, to) = (broken.len() / 4, broken.len() * 3 / 4);
    broken[from..to].fill(0xA7);
    fs::write(bot.ledger(), &broken).unwrap();
    refused(&mut bot, 78, &["is damaged", "copy your own backup to"]);
    fs::write(bot.ledger(), &whole).unwrap();
    goes_on(&mut world, &mut bot, 2);
    // The broker's own book; what it last wrote may still lie in its log.
    let files = ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", bot.book().display())));
    let book = files.each_ref().map(|file| fs::read(file).ok());
    for file in &files {
        let _ = fs::remove_file(file);
    }
    fs::write(bot.book(), [0xA7; 8192]).unwrap();
    refused(&mut bot, 78, &["is not a paper broker's book", "move it away"]);
    for (file, content) in files.iter().zip(book) {
        let _ = fs::remove_file(file);
        if let Some(content) = content {
            fs::write(file, content).unwrap();
        }
    }
    goes_on(&mut world, &mut bot, 3);
}
