//! Faults of the socket: it drops, it is refused, it is up and says nothing, it speaks garbage, it leads elsewhere.
//!
//! Throughout each of them `/readyz` says 503 and why, `bot health` exits 1, and both turn back when it is healed.

use counterfill::sim::RpcFault;

use crate::bench::Bench;
use crate::truth::{V4, V5, buy, sell};

/// Short enough for a test, and longer than a look takes on a busy machine; the chain must then be mined on, or it stands
/// still.
const IMPATIENT: &[(&str, &str)] = &[("HEAD_AGE_MAX", "8s")];

#[test]
fn a_connection_that_drops_in_a_burst() {
    let mut bench = Bench::ready();
    for round in 0..5 {
        let reconnects = bench.reconnects();
        for n in 0..8 {
            bench.mine(&[sell(n % 3, 600), buy((n + 1) % 3, 250)]);
            if n == 3 {
                bench.node.cut();
            }
        }
        bench.until("connected again", || bench.reconnects() > reconnects);
        bench.settles();
        assert!(bench.reconnects() > round);
    }
    assert!(bench.ends_clean() >= 5);
}

#[test]
fn a_node_that_refuses_for_a_while() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(0, 1_200)]);
    bench.settles();
    bench.node.refuse(true);
    bench.node.cut();
    bench.becomes_unready("chain_connected");
    bench.mine(&[sell(0, 1_800), buy(1, 2_000)]);
    bench.until("it tries again", || bench.node.counters().refused >= 3);
    assert_eq!(bench.orders(), 1);
    bench.node.heal();
    bench.becomes_ready();
    // Those that were refused do not count; on a busy machine a second one may be cut again for being late.
    let (reconnects, accepted) = (bench.reconnects(), bench.node.counters().connections);
    assert!((1..accepted).contains(&reconnects), "{reconnects} of {accepted}");
    assert_eq!(bench.ends_clean(), 3);
}

/// The socket is up and nothing comes: only the bot's own watch can find out.
#[test]
fn a_socket_that_is_half_open() {
    let mut bench = Bench::ready_with(IMPATIENT);
    bench.mine(&[sell(0, 1_200)]);
    bench.settles();
    bench.node.half_open(true);
    bench.mine(&[sell(0, 1_800)]);
    bench.becomes_unready("chain_connected");
    bench.becomes_unready("chain_moves");
    bench.node.heal();
    bench.becomes_ready();
    assert!(bench.reconnects() >= 1);
    assert_eq!(bench.ends_clean(), 2);
}

#[test]
fn a_chain_that_stands_still() {
    let mut bench = Bench::ready_with(IMPATIENT);
    bench.mine(&[sell(0, 1_200)]);
    bench.settles();
    bench.becomes_unready("chain_moves");
    bench.until("another connection is tried", || bench.reconnects() >= 1);
    bench.mine(&[sell(0, 1_800)]);
    bench.becomes_ready();
    assert_eq!(bench.ends_clean(), 2);
}

#[test]
fn garbage_frames() {
    let mut bench = Bench::ready();
    for n in 0..6 {
        bench.mine(&[sell(n % 3, 1_100)]);
        bench.node.garbage_frames(20);
        bench.mine(&[buy(n % 3, 300)]);
    }
    bench.settles();
    assert!(bench.ends_clean() >= 3);
}

#[test]
fn another_chain_behind_the_same_address() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(0, 2_000)]);
    bench.settles();
    bench.node.wrong_chain_id(Some(1));
    bench.node.cut();
    let ended = bench.ends();
    assert_eq!(ended.code, 78, "{}", ended.log);
    let said = ended.log.lines().last().unwrap();
    for word in ["chain 1,", "chain 8453", "WS_RPC_URL"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    bench.node.heal();
    bench.start();
    assert_eq!(bench.ends_clean(), 1);
}

#[test]
fn an_order_book_without_code() {
    for at_start in [true, false] {
        let mut bench = Bench::new();
        bench.node.mine_empty(3);
        if !at_start {
            bench.start();
            bench.becomes_ready();
            bench.mine(&[sell(0, 2_000)]);
            bench.settles();
        }
        bench.node.no_code(Some(V4.address));
        if at_start {
            bench.start()
        } else {
            bench.node.cut()
        }
        let ended = bench.ends();
        assert_eq!(ended.code, 78, "{}", ended.log);
        let said = ended.log.lines().last().unwrap();
        for word in ["no contract", &V4.address.to_string(), "ORDERBOOK"] {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains(&V5.address.to_string()));
        bench.node.heal();
        bench.start();
        bench.becomes_ready();
        bench.mine(&[sell(0, 1_000)]);
        bench.ends_clean();
    }
}

#[test]
fn slow_answers() {
    let mut bench = Bench::ready();
    bench.node.slow(300);
    bench.mine(&[sell(0, 1_200), buy(1, 2_000)]);
    bench.mine(&[sell(0, 1_800)]);
    bench.settles();
    assert!(bench.ends_clean() >= 2);
}

/// A node that answers nothing in time is away, even though its socket is up and heads come.
#[test]
fn answers_that_come_too_late() {
    let mut bench = Bench::ready();
    bench.mine(&[sell(0, 1_200)]);
    bench.settles();
    bench.node.slow(60_000);
    bench.mine(&[sell(0, 1_800)]);
    bench.becomes_unready("chain_answers");
    bench.node.heal();
    bench.node.cut();
    bench.becomes_ready();
    assert_eq!(bench.ends_clean(), 2);
}

#[test]
fn calls_that_fail() {
    for fault in [RpcFault::HeaderNotFound, RpcFault::Internal, RpcFault::RateLimited] {
        let mut bench = Bench::ready();
        bench.node.rpc_errors(fault, 8);
        bench.mine(&[sell(0, 1_200), buy(1, 2_000)]);
        bench.mine(&[sell(0, 1_800)]);
        bench.settles();
        bench.node.heal();
        assert!(bench.ends_clean() >= 2);
    }
}
