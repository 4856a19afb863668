//! The node: reached, on the right chain, at its head, and able to answer what a bot asks.
//!
//! One connection serves all of it. Where there is none, every further check says that it depends on it.

use std::time::{Duration, Instant};

use alloy::primitives::Address;
use tokio::time::{sleep, timeout};

use super::net::{self, Server};
use super::{Check, Finding, made, needs, trades};
use crate::chain::abi::TOPICS;
use crate::chain::rpc::{Rpc, RpcError};
use crate::chain::wire::Header;
use crate::chain::{ChainConfig, shown};
use crate::units::Millis;

/// One answer's own limit is 10 s, and a question may take two.
const LIMIT: Duration = Duration::from_secs(15);
/// A question that is refused for its rate is asked so often, with such a pause where the node names none.
const TRIES_MAX: u32 = 4;
const RATE_PAUSE: Duration = Duration::from_millis(500);
/// Blocks whose logs are asked for where the node does not give as many as a bot asks for: it halves its range then.
const FEW_BLOCKS: u64 = 10;

/// The node, looked over.
pub(super) struct Node {
    pub(super) checks: Vec<Check>,
    /// Where it answered.
    pub(super) chain_id: Option<u64>,
    /// By how many seconds the head's time is ahead of ours (negative: behind).
    pub(super) head_ahead_s: Option<i64>,
}

/// `standing`: the first block that is to be read, and whether the ledger has fills.
pub(super) fn examine(chain: &ChainConfig, standing: (u64, bool)) -> Node {
    let mut node = Node { checks: Vec::new(), chain_id: None, head_ahead_s: None };
    let servers = Vec::from_iter(Server::of(&chain.ws_url));
    node.checks.push(net::names("node dns", &servers, "WS_RPC_URL"));
    node.checks.push(net::handshakes("node tls", &servers, chain.cert_file.as_deref(), "WS_RPC_URL"));
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => {
            runtime.block_on(ask(chain, standing, &mut node));
            // A name whose look-up hangs is left behind.
            runtime.shutdown_background();
        }
        Err(error) => {
            let finding = Finding::failed(
                format!("no way to speak to it: {error}"),
                "Raise the limit of open files (`ulimit -n`)",
            );
            node.checks.push(made("node", begun, finding));
            not_reached(chain, &mut node, begun);
        }
    }
    node
}

async fn ask(chain: &ChainConfig, standing: (u64, bool), node: &mut Node) {
    let begun = Instant::now();
    // It keeps its own time.
    let rpc = match Rpc::connect(&chain.ws_url, chain.cert_file.as_deref()).await {
        Ok(rpc) => rpc,
        Err(error) => {
            let finding = Finding::failed(
                error.to_string(),
                "Look at WS_RPC_URL: a node's WebSocket address, with its key; the provider's page says whether the key \
                 is good",
            );
            node.checks.push(made("node", begun, finding));
            return not_reached(chain, node, begun);
        }
    };
    let words = format!("{} takes a WebSocket", shown(&chain.ws_url));
    node.checks.push(made("node", begun, Finding::ok(words)));

    let begun = Instant::now();
    let answer = within(|| rpc.chain_id()).await;
    node.chain_id = answer.as_ref().ok().copied();
    node.checks.push(made("chain id", begun, chain_id(answer, chain.chain_id)));

    let begun = Instant::now();
    let head = within(|| rpc.head()).await;
    let now_s = u64::try_from(Millis::now().0 / 1_000).unwrap_or(0);
    node.head_ahead_s = head.as_ref().ok().map(|head| signed(head.timestamp, now_s));
    let found = head.as_ref().map(|head| (head.number, signed(now_s, head.timestamp)));
    node.checks.push(made("head", begun, head_age(found, chain.head_age_max)));

    match &head {
        Err(_) => {
            let begun = Instant::now();
            node.checks.extend(OF_BLOCKS.map(|name| made(name, begun, Finding::after("head"))));
        }
        Ok(head) => of_blocks(&rpc, chain, head, standing, node).await,
    }
    let begun = Instant::now();
    let pushes = within(|| rpc.subscribe_logs(&chain.orderbooks, &TOPICS)).await.map(drop);
    node.checks.push(made("pushes", begun, pushed(pushes)));
    for book in &chain.orderbooks {
        let begun = Instant::now();
        let code = within(|| rpc.code(*book)).await.map(|code| code.len());
        node.checks.push(made("order book", begun, order_book(*book, code)));
    }
    // Last, for what it uses up nobody else needs.
    let begun = Instant::now();
    let found = match &head {
        Ok(head) => needs::calls(&rpc, chain, head).await,
        Err(_) => Finding::after("head"),
    };
    node.checks.push(made("calls", begun, found));
}

/// What is asked of blocks, and depends on a head.
const OF_BLOCKS: [&str; 8] =
    ["logs", "block logs", "receipts", "history", "old state", "trades", "tokens", "units"];

async fn of_blocks(
    rpc: &Rpc,
    chain: &ChainConfig,
    head: &Header,
    (from, has_fills): (u64, bool),
    node: &mut Node,
) {
    let mut told = |name, begun, finding| node.checks.push(made(name, begun, finding));
    let begun = Instant::now();
    let blocks = chain.log_range_blocks.max(1);
    let all = count_logs(rpc, chain, head.number, blocks).await;
    let few = match &all {
        Err(_) if blocks > FEW_BLOCKS => Some(count_logs(rpc, chain, head.number, FEW_BLOCKS).await),
        _ => None,
    };
    let range = match (&all, &few) {
        (Ok(_), _) => Some(blocks),
        (_, Some(Ok(_))) => Some(FEW_BLOCKS),
        _ => None,
    };
    told("logs", begun, logs_of(all, few, blocks, head.number));
    let begun = Instant::now();
    told("block logs", begun, needs::block_logs(rpc, chain, head).await);
    let begun = Instant::now();
    told("receipts", begun, needs::receipts(rpc, head).await);
    let begun = Instant::now();
    told("history", begun, needs::history(rpc, from, head).await);
    let begun = Instant::now();
    told("old state", begun, needs::old_state(rpc, &chain.equities, from, head).await);
    let begun = Instant::now();
    let found = match (range, node.chain_id.or(chain.chain_id)) {
        (None, _) => Finding::after("logs"),
        (_, None) => Finding::after("chain id"),
        (Some(blocks), Some(chain_id)) => {
            trades::look(rpc, chain, chain_id, (head.number, blocks), has_fills).await
        }
    };
    told("trades", begun, found);
    let begun = Instant::now();
    told("tokens", begun, needs::tokens(rpc, &chain.equities).await);
    let begun = Instant::now();
    told("units", begun, needs::units(rpc, chain).await);
}

/// Asks until there is an answer; a node that wants to be asked later is asked later, for its rate has a row of its own.
pub(super) async fn within<T, F: Future<Output = Result<T, RpcError>>>(
    ask: impl Fn() -> F,
) -> Result<T, RpcError> {
    timeout(LIMIT, async {
        for _ in 1..TRIES_MAX {
            match ask().await {
                Err(RpcError::Limited { pause, .. }) => sleep(pause.unwrap_or(RATE_PAUSE)).await,
                other => return other,
            }
        }
        ask().await
    })
    .await
    .unwrap_or(Err(RpcError::Timeout("the question")))
}

fn not_reached(chain: &ChainConfig, node: &mut Node, begun: Instant) {
    let books = chain.orderbooks.iter().map(|_| "order book");
    let names = ["chain id", "head"].into_iter().chain(OF_BLOCKS).chain(["pushes"]);
    for name in names.chain(books).chain(["calls"]) {
        node.checks.push(made(name, begun, Finding::after("node")));
    }
}

fn signed(later: u64, earlier: u64) -> i64 {
    i64::try_from(i128::from(later) - i128::from(earlier)).unwrap_or(i64::MAX)
}

pub(super) fn refused(error: &RpcError) -> Finding {
    Finding::failed(error.to_string(), "Ask the node's provider, or take another node for WS_RPC_URL")
}

fn chain_id(answer: Result<u64, RpcError>, wanted: Option<u64>) -> Finding {
    match (answer, wanted) {
        (Err(error), _) => refused(&error),
        (Ok(found), Some(wanted)) if found != wanted => Finding::failed(
            format!("the node is on chain {found}, CHAIN_ID is {wanted}"),
            "Set WS_RPC_URL to a node of the right chain, or CHAIN_ID to this one's",
        ),
        (Ok(found), Some(_)) => Finding::ok(format!("{found}, as CHAIN_ID says")),
        (Ok(found), None) => Finding::warning(
            format!("{found}, and CHAIN_ID is not set: a node on another chain would not be noticed"),
            format!("Set CHAIN_ID={found} if that is the chain you mean"),
        ),
    }
}

/// Height and age in seconds.
fn head_age(found: Result<(u64, i64), &RpcError>, age_max: Duration) -> Finding {
    match found {
        Err(error) => refused(error),
        Ok((number, age)) if u64::try_from(age).is_ok_and(|age| age > age_max.as_secs()) => Finding::failed(
            format!("block {number} is {age} s old, HEAD_AGE_MAX is {} s", age_max.as_secs()),
            "The node is behind, or the chain stands: compare with another node or a block explorer; a chain with slow \
             blocks needs a larger HEAD_AGE_MAX",
        ),
        Ok((number, age)) => Finding::ok(format!("block {number}, {age} s old")),
    }
}

/// How many logs of ours the last `blocks` up to `head` hold.
async fn count_logs(rpc: &Rpc, chain: &ChainConfig, head: u64, blocks: u64) -> Result<usize, RpcError> {
    let from = head.saturating_add(1).saturating_sub(blocks);
    within(|| rpc.logs_between(from, head, &chain.orderbooks, &TOPICS)).await.map(|logs| logs.len())
}

/// The answer to as many blocks as a bot asks for at once, and to a few where that is none.
fn logs_of(
    all: Result<usize, RpcError>,
    few: Option<Result<usize, RpcError>>,
    blocks: u64,
    head: u64,
) -> Finding {
    match (all, few) {
        (Ok(count), _) => {
            let from = head.saturating_add(1).saturating_sub(blocks);
            Finding::ok(format!("eth_getLogs answers for blocks {from} to {head}: {count} of the order book"))
        }
        (Err(error), Some(Ok(_))) => Finding::warning(
            format!(
                "not for {blocks} blocks at once, which is LOG_RANGE_BLOCKS: {error}; for {FEW_BLOCKS} it answers"
            ),
            "A bot halves its range until the node answers: set LOG_RANGE_BLOCKS to what the node's provider allows",
        ),
        (Err(error), _) => refused(&error),
    }
}

fn pushed(answer: Result<(), RpcError>) -> Finding {
    match answer {
        Ok(()) => Finding::ok("eth_subscribe takes our filter"),
        Err(error) => refused(&error),
    }
}

fn order_book(book: Address, code: Result<usize, RpcError>) -> Finding {
    match code {
        Err(error) => refused(&error),
        Ok(0) => Finding::failed(
            format!("there is no code at {book}"),
            "Look at ORDERBOOK: it is the address that your orders' transactions were sent to, on this chain",
        ),
        Ok(bytes) => Finding::ok(format!("{book} has {bytes} bytes of code")),
    }
}
