//! A simulated node as a process of its own, for tests that start the bot as another process (scripts/test-image).
//!
//! Prints one JSON object with its WebSocket address and what to configure; then mines a block a second, and obeys
//! lines on standard input: `fill SELL 1500` trades 1.5 shares in a block of its own, told from the order's side, and
//! prints its number. Ends with its standard input.

use std::error::Error;
use std::io::BufRead;
use std::time::Duration;

use alloy::primitives::Address;
use counterfill::sim::logs::{Asset, BookKind, Leg, OrderBook};
use counterfill::sim::{SimChain, SimNode, Token};
use counterfill::units::{Cash, ONE, Shares, Side};
use tokio::sync::mpsc;
use tokio::time::interval;

const CHAIN_ID: u64 = 8453;
const FIRST: u64 = 1_000;
/// The block before it must be there.
const DEPLOYMENT: u64 = FIRST + 1;
const OWNER: Address = Address::repeat_byte(0x01);
const SHARE: Asset = Asset::new(Address::repeat_byte(0x11), 18);
const CASH: Asset = Asset::new(Address::repeat_byte(0x12), 6);
const BOOK: OrderBook = OrderBook { address: Address::repeat_byte(0x21), kind: BookKind::V5 };
const BLOCK_TIME: Duration = Duration::from_secs(1);

fn chain() -> SimChain {
    let mut chain = SimChain::new(CHAIN_ID, FIRST, 7);
    chain.contracts.insert(BOOK.address);
    chain.tokens.insert(SHARE.address, Token::plain("tTSLA", 18));
    chain.tokens.insert(CASH.address, Token::plain("USDC", 6));
    chain
}

/// `fill SIDE MILLISHARES`, at $100 a share.
fn obey(node: &SimNode, line: &str) -> Result<u64, Box<dyn Error>> {
    let mut words = line.split_whitespace();
    let (Some("fill"), Some(side), Some(milli), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(format!("not understood: {line}").into());
    };
    let side = if side == "SELL" { Side::Sell } else { Side::Buy };
    let atoms = milli.parse::<i128>()? * ONE / 1_000;
    let leg = Leg::trade(OWNER, side, SHARE, Shares::from_atoms(atoms), CASH, Cash::from_atoms(atoms * 100));
    Ok(node.mine_logs(vec![BOOK.take_only(&leg)]).number)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let node = SimNode::start(chain()).await?;
    println!(
        r#"{{"url":"{}","ORDERBOOK":"{}","ORDER_OWNER":"{OWNER}","DEPLOYMENT_BLOCK":"{DEPLOYMENT}","CASH":"{}","EQUITIES":"TSLA={}"}}"#,
        node.ws_url(),
        BOOK.address,
        CASH.address,
        SHARE.address,
    );
    let (said, mut lines) = mpsc::channel(16);
    // A thread, because reading standard input can not be given up.
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if said.blocking_send(line).is_err() {
                break;
            }
        }
    });
    let mut beat = interval(BLOCK_TIME);
    loop {
        tokio::select! {
            _ = beat.tick() => { node.mine_empty(1); }
            line = lines.recv() => match line {
                Some(line) => println!("{}", obey(&node, &line)?),
                None => return Ok(()),
            },
        }
    }
}
