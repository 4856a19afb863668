//! A bot that is 64 blocks behind, before a provider that takes so many calls a second, on a chain whose blooms are full:
//! how many calls and how much simulated time it takes to the head.

use super::runner::within_time;
use super::schedule::{self, Deal, Form};
use super::world::World;
use counterfill_core::units::Side;
use counterfill_sim::chain::{Blooms, SimChain};
use counterfill_sim::provider::{Plan, Provider, Words};

const BEHIND_BLOCKS: u64 = 64;
/// No catch-up here takes so many events.
const EVENTS_MAX: u32 = 20_000;

/// What a catch-up took.
#[derive(Debug, Clone, Copy)]
struct Took {
    ms: i64,
    /// Calls that the node took.
    calls: u64,
    refused: u64,
}

fn fills(world: &World) -> usize {
    world.process.as_ref().map_or(0, |process| process.turn.engine.facts().tickers.len())
}

fn at_the_head(world: &World) -> bool {
    let cursor = world.process.as_ref().and_then(|process| process.turn.engine.facts().cursor);
    cursor == Some(world.node.with(|node| node.chain.tip()))
}

fn until_at_the_head(world: &mut World) {
    for _ in 0..EVENTS_MAX {
        if at_the_head(world) {
            return;
        }
        assert!(world.go_on());
        assert_eq!(world.findings, []);
    }
    panic!("not at the head after {EVENTS_MAX} events, {} ms", world.now - world.terms.begins_ms);
}

/// Brings a bot to the head, then puts it behind: nobody tells it of the blocks, and one of them holds a trade.
fn catch_up(plan: Option<Plan>) -> Took {
    let (mut terms, _) = schedule::draw(1);
    (terms.provider, terms.blooms) = (Provider::default(), Blooms::Full);
    (terms.batch_ms, terms.busy_ms, terms.confirmations) = (0, 600_000, 0);
    let mut world = World::new(terms, Vec::new(), false);
    world.begin();
    until_at_the_head(&mut world);
    let known = fills(&world);
    let deal = Deal { ticker: 0, side: Side::Sell, picoshares: 2_500_000_000_000, form: Form::Alice };
    world.node.with(|node| {
        node.gateway.become_provider(Provider { plan, ..Provider::default() });
        let txs = world.market.transactions(&mut node.chain, &[deal], false);
        let mine = |chain: &mut SimChain, blocks| (0..blocks).for_each(|_| _ = chain.mine(Vec::new()));
        mine(&mut node.chain, BEHIND_BLOCKS / 2);
        node.chain.mine(txs);
        mine(&mut node.chain, BEHIND_BLOCKS - BEHIND_BLOCKS / 2 - 1);
    });
    let (begun, calls) = (world.now, world.node.calls());
    until_at_the_head(&mut world);
    let refused = world.node.with(|node| node.counters().beyond_the_plan);
    assert_eq!(fills(&world), known + 1, "the trade is in the ledger");
    Took { ms: world.now - begun, calls: world.node.calls() - calls - refused, refused }
}

/// Of what was read nothing is thrown away, so the provider's plan is all that it waits for. A trial's bot does not wait for
/// turns: it asks until it is refused, and some of what a look begins with is asked again by the next (docs/proof.md).
#[test]
fn a_bot_far_behind_reaches_the_head_on_every_plan() {
    within_time(|| {
        let free = catch_up(None);
        println!("without a limit: {free:?}");
        assert!((2 * BEHIND_BLOCKS..5 * BEHIND_BLOCKS).contains(&free.calls), "{free:?}");
        assert_eq!(free.refused, 0);
        for (plan, words) in
            [15, 25, 50, 100].into_iter().flat_map(|plan| Words::ALL.map(|words| (plan, words)))
        {
            let took = catch_up(Some(Plan::calls(plan, words)));
            println!("{plan} calls a second, {words:?}: {took:?}");
            assert!(took.refused > 0 && took.calls <= 5 * free.calls, "{plan}/s {words:?}: {took:?}");
            let its_calls_ms = i64::try_from(took.calls * 1_000 / plan).unwrap();
            assert!(took.ms <= its_calls_ms * 3 / 2, "{plan}/s {words:?}: {took:?}");
        }
    });
}
