//! What a node is like behind a provider's gateway without anything being broken: a plan that takes so many calls a
//! second, and an index and a state that come a moment after the head.
//!
//! None of it is a fault, so healing a node does not end it. Time is a number of milliseconds: real, or told by whoever
//! simulates. It does not know what a call asks beyond its method, nor how an answer is made.
//!
//! Invariant: nothing here is random. The same calls at the same times are taken and refused alike, and how long a block
//! is behind depends on its hash alone.

use std::collections::HashMap;
use std::time::Instant;

use alloy::primitives::B256;
use serde_json::json;

use super::chain::{SimBlock, SimChain};
use super::error::RpcError;

/// Thousandths of a unit, in which a bucket counts: what one unit a second adds in a millisecond.
const MILLI: u64 = 1_000;

/// The words and code with which a call beyond the plan is refused: those of providers, from public reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Words {
    /// −32007, the plan's figure in the text; no pause is named. (QuickNode)
    QuickNode,
    /// −32005, with the pause in `data.rate.backoff_seconds`, in whole seconds. (Infura)
    Infura,
    /// 429 inside of a good answer; no pause is named. (Alchemy)
    Alchemy,
    /// −32005 in words of a plan, with the pause in `data.try_again_in`, in milliseconds. (Chainstack)
    Chainstack,
    /// −32090, with the pause in the text, in whole seconds. (Polygon's public gateway)
    Polygon,
}

impl Words {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::QuickNode, Self::Infura, Self::Alchemy, Self::Chainstack, Self::Polygon];

    /// The refusal of a call that would have been taken `wait_ms` later.
    fn refusal(self, per_second: u64, wait_ms: u64) -> RpcError {
        let seconds = wait_ms.div_ceil(1_000).max(1);
        match self {
            Self::QuickNode => RpcError::new(
                -32007,
                format!(
                    "{per_second}/second request limit reached - reduce calls per second or upgrade your account"
                ),
            ),
            Self::Infura => RpcError::new(-32005, "project ID request rate exceeded").with_data(
                json!({ "rate": { "allowed_rps": per_second, "backoff_seconds": seconds, "current_rps": per_second } }),
            ),
            Self::Alchemy => RpcError::new(
                429,
                "Your app has exceeded its compute units per second capacity. If you have retries enabled, you can \
                 safely ignore this message.",
            ),
            Self::Chainstack => {
                RpcError::new(-32005, "You've exceeded the RPS limit available on the current plan.")
                    .with_data(json!({ "try_again_in": format!("{wait_ms}ms") }))
            }
            Self::Polygon => RpcError::new(
                -32090,
                format!("Too many requests, reason: call rate limit exhausted, retry in {seconds}s"),
            ),
        }
    }
}

/// What a call costs of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Each call is one.
    Calls,
    /// Compute units, by the method.
    ComputeUnits,
}

impl Weights {
    /// Units of one call.
    #[must_use]
    pub fn of(self, method: &str) -> u64 {
        match (self, method) {
            (Self::Calls, _) => 1,
            (Self::ComputeUnits, "eth_chainId" | "net_version") => 0,
            (Self::ComputeUnits, "eth_blockNumber" | "eth_subscribe" | "eth_unsubscribe") => 10,
            (Self::ComputeUnits, "eth_getBlockByNumber" | "eth_getBlockByHash") => 16,
            (Self::ComputeUnits, "eth_call") => 26,
            (Self::ComputeUnits, "eth_getLogs") => 75,
            (Self::ComputeUnits, "eth_getBlockReceipts") => 500,
            (Self::ComputeUnits, _) => 20,
        }
    }
}

/// A token bucket, for ever: so many units a second, so many at once, and the rest refused. A refused call costs
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Units that come back each second.
    pub per_second: u64,
    /// Units that the bucket holds; a call that costs more takes all of them.
    pub burst: u64,
    /// What a call costs.
    pub weights: Weights,
    /// How the rest is refused.
    pub words: Words,
}

impl Plan {
    /// So many calls a second, and as many at once.
    #[must_use]
    pub const fn calls(per_second: u64, words: Words) -> Self {
        Self { per_second, burst: per_second, weights: Weights::Calls, words }
    }

    /// So many compute units a second, and as many at once.
    #[must_use]
    pub const fn compute_units(per_second: u64, words: Words) -> Self {
        Self { per_second, burst: per_second, weights: Weights::ComputeUnits, words }
    }

    /// The same with another number of units at once.
    #[must_use]
    pub const fn with_burst(self, burst: u64) -> Self {
        Self { burst, ..self }
    }
}

/// When at the latest a block is no longer behind, whatever its milliseconds say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Its milliseconds alone count, over any number of blocks.
    Time,
    /// When a block stands on it: it is behind by one block time at most.
    NextBlock,
    /// The same, but for a block whose logs were all pushed to the client that is connected: there its milliseconds count.
    NextBlockUnlessPushed,
}

/// How long after a block was told something of it can not be asked yet. A block that was mined without a word, by
/// [`SimChain::mine`], is never behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// The shortest, in milliseconds.
    pub ms_min: u64,
    /// The longest, in milliseconds.
    pub ms_max: u64,
    /// What ends it earlier.
    pub until: Until,
}

impl Lag {
    /// Between these, in milliseconds, and over any number of blocks.
    #[must_use]
    pub const fn between(ms_min: u64, ms_max: u64) -> Self {
        Self { ms_min, ms_max, until: Until::Time }
    }

    /// The same, ended earlier by this.
    #[must_use]
    pub const fn until(self, until: Until) -> Self {
        Self { until, ..self }
    }

    /// Milliseconds of this block. Its hash decides; most blocks are nearer to the shortest.
    fn ms_of(self, hash: B256) -> u64 {
        let span = self.ms_max.saturating_sub(self.ms_min);
        let [a, b, ..] = hash.0;
        let draw = u64::from(u16::from_be_bytes([a, b]));
        self.ms_min.saturating_add(span.saturating_mul(draw).saturating_mul(draw) / (1 << 32))
    }
}

/// What the node behind a provider's address is like. Everything at once, without limits, by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Provider {
    /// Calls that it takes; all, where none.
    pub plan: Option<Plan>,
    /// `eth_getLogs` does not have a block's logs yet, and answers without them and without an error: by the block's
    /// hash and in a range.
    pub logs: Option<Lag>,
    /// `eth_call` in a block's state is refused: "header not found".
    pub state: Option<Lag>,
}

impl Provider {
    /// A provider of Base on a plan that a bot can live with, for tests that start many: a catch-up of a window's blocks
    /// is beyond it, and what a bot at the head asks is not. A block's logs come 50 ms to 1 s after it, and with the next
    /// block at the latest, for many of these tests break what was pushed; its state comes up to 300 ms after it.
    pub const BASE: Self = Self {
        plan: Some(Plan::calls(250, Words::Chainstack).with_burst(100)),
        logs: Some(Lag::between(50, 1_000).until(Until::NextBlock)),
        state: Some(Lag::between(0, 300)),
    };
}

/// Milliseconds from the node's start.
#[derive(Debug, Clone, Copy)]
enum Clock {
    Real(Instant),
    #[cfg(any(test, feature = "by-hand"))]
    Told(u64),
}

/// When a block was told, and whether all its logs that somebody had subscribed to went out with it.
#[derive(Debug, Clone, Copy)]
struct Told {
    at_ms: u64,
    pushed: bool,
}

/// The provider at work.
#[derive(Debug)]
pub struct Gateway {
    provider: Provider,
    clock: Clock,
    /// Thousandths of a unit in the bucket.
    have: u64,
    counted_at_ms: u64,
    told: HashMap<B256, Told>,
    /// Logs that answers left out because the index was behind.
    pub(super) left_out: u64,
    /// Calls refused because the state was behind.
    pub(super) stateless: u64,
    /// Calls beyond the plan.
    pub(super) refused: u64,
}

impl Default for Gateway {
    fn default() -> Self {
        let (provider, clock) = (Provider::default(), Clock::Real(Instant::now()));
        let told = HashMap::new();
        Self { provider, clock, have: 0, counted_at_ms: 0, told, left_out: 0, stateless: 0, refused: 0 }
    }
}

impl Gateway {
    fn now_ms(&self) -> u64 {
        match self.clock {
            Clock::Real(begun) => u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            #[cfg(any(test, feature = "by-hand"))]
            Clock::Told(now_ms) => now_ms,
        }
    }

    /// From now on time is what it is told.
    #[cfg(any(test, feature = "by-hand"))]
    pub const fn set_now_ms(&mut self, now_ms: u64) {
        self.clock = Clock::Told(now_ms);
    }

    /// What it is like.
    #[must_use]
    pub const fn provider(&self) -> Provider {
        self.provider
    }

    /// Another provider, with a full bucket.
    pub fn become_provider(&mut self, provider: Provider) {
        self.provider = provider;
        self.have = provider.plan.map_or(0, |plan| plan.burst.saturating_mul(MILLI));
        self.counted_at_ms = self.now_ms();
    }

    /// Takes a call, or refuses it.
    pub(super) fn admit(&mut self, method: &str) -> Result<(), RpcError> {
        let Some(plan) = self.provider.plan else { return Ok(()) };
        let now_ms = self.now_ms();
        let come_back = now_ms.saturating_sub(self.counted_at_ms).saturating_mul(plan.per_second);
        let full = plan.burst.saturating_mul(MILLI);
        self.have = self.have.saturating_add(come_back).min(full);
        self.counted_at_ms = now_ms;
        let cost = plan.weights.of(method).saturating_mul(MILLI).min(full);
        match self.have.checked_sub(cost) {
            Some(left) => {
                self.have = left;
                Ok(())
            }
            None => {
                self.refused += 1;
                let wait_ms = (cost - self.have).div_ceil(plan.per_second.max(1));
                Err(plan.words.refusal(plan.per_second, wait_ms))
            }
        }
    }

    /// A block is told now.
    pub(super) fn tell(&mut self, hash: B256, pushed: bool) {
        let at_ms = self.now_ms();
        self.told.insert(hash, Told { at_ms, pushed });
    }

    /// Whatever was told so far is indexed, and its state is there.
    pub fn catch_up(&mut self) {
        self.told.clear();
    }

    /// Whether all of a block's logs were pushed to the client that is connected.
    pub(super) fn was_pushed(&self, hash: B256) -> bool {
        self.told.get(&hash).is_some_and(|told| told.pushed)
    }

    /// Whoever heard the pushes so far is gone.
    #[cfg(any(test, feature = "by-hand"))]
    pub fn forget_pushes(&mut self) {
        self.told.values_mut().for_each(|told| told.pushed = false);
    }

    fn is_behind(&self, lag: Option<Lag>, chain: &SimChain, block: &SimBlock) -> bool {
        let (Some(lag), Some(told)) = (lag, self.told.get(&block.hash)) else { return false };
        if self.now_ms().saturating_sub(told.at_ms) >= lag.ms_of(block.hash) {
            return false;
        }
        let only_the_tip = match lag.until {
            Until::Time => false,
            Until::NextBlock => true,
            Until::NextBlockUnlessPushed => !told.pushed,
        };
        let next = chain.block_at(block.number.saturating_add(1));
        !(only_the_tip && next.is_some_and(|next| next.parent == block.hash))
    }

    /// Whether `eth_getLogs` has this block's logs.
    pub(super) fn has_logs(&self, chain: &SimChain, block: &SimBlock) -> bool {
        !self.is_behind(self.provider.logs, chain, block)
    }

    /// Whether `eth_call` has this block's state.
    pub(super) fn has_state(&self, chain: &SimChain, block: &SimBlock) -> bool {
        !self.is_behind(self.provider.state, chain, block)
    }
}

#[cfg(test)]
mod tests {
    use alloy::primitives::{Address, Bytes, Log, LogData};
    use serde_json::Value;
    use tokio::sync::mpsc;

    use super::super::chain::{Blooms, Token};
    use super::super::world::{Socket, World};
    use super::*;
    use counterfill_core::units::BlockRef;

    const TOKEN: Address = Address::repeat_byte(0x11);

    fn world(provider: Provider) -> World {
        let mut chain = SimChain::new(8453, 1_000, 7);
        chain.tokens.insert(TOKEN, Token::plain("tTSLA", 18));
        let mut world = World::new(chain);
        world.gateway.set_now_ms(0);
        world.gateway.become_provider(provider);
        world
    }

    fn mine(world: &mut World, logs: usize) -> BlockRef {
        let data = LogData::new_unchecked(vec![B256::repeat_byte(7)], Bytes::new());
        let tx = world.chain.tx(vec![Log { address: TOKEN, data }; logs]);
        let block = world.chain.mine(vec![tx]);
        world.announce(&[], &[block]);
        block
    }

    fn logs_by_hash(world: &mut World, block: BlockRef) -> usize {
        let answer = world.answer(None, "eth_getLogs", &json!([{ "blockHash": block.hash }])).unwrap();
        answer.as_array().unwrap().len()
    }

    fn logs_by_height(world: &mut World, block: BlockRef) -> usize {
        let number = format!("{:#x}", block.number);
        let filter = json!([{ "fromBlock": number, "toBlock": number }]);
        world.answer(None, "eth_getLogs", &filter).unwrap().as_array().unwrap().len()
    }

    fn takes(world: &mut World, method: &str, calls: u64) -> u64 {
        let taken = (0..calls).filter(|_| {
            // What a call without parameters comes to is another matter than whether it is taken.
            let answer = world.answer(None, method, &Value::Null);
            answer.is_ok_and(|value| value.is_string())
        });
        u64::try_from(taken.count()).unwrap()
    }

    #[test]
    fn a_plan_takes_so_many_calls_a_second_for_ever() {
        let plan = Some(Plan::calls(25, Words::QuickNode));
        let mut world = world(Provider { plan, ..Provider::default() });
        assert_eq!(takes(&mut world, "eth_blockNumber", 26), 25, "the 26th of a second is refused");
        let refused = world.answer(None, "eth_chainId", &Value::Null).unwrap_err();
        assert_eq!((refused.code, refused.data), (-32007, None));
        world.gateway.set_now_ms(39);
        assert_eq!(takes(&mut world, "eth_blockNumber", 1), 0);
        world.gateway.set_now_ms(40);
        assert_eq!(takes(&mut world, "eth_blockNumber", 2), 1, "one has come back");
        let mut taken = 0;
        for ms in 41..=20_040 {
            world.gateway.set_now_ms(ms);
            taken += takes(&mut world, "eth_blockNumber", 1);
        }
        assert_eq!(taken, 20 * 25, "who asks all the time gets as many as come back");
        world.gateway.set_now_ms(90_000);
        assert_eq!(takes(&mut world, "eth_blockNumber", 100), 25, "the bucket is not larger after a pause");
        assert_eq!(world.counters().calls_of("eth_blockNumber"), 26 + 3 + 20_000 + 100);
        assert_eq!(world.counters().beyond_the_plan, 1 + 1 + 1 + 1 + 19_500 + 75);
    }

    #[test]
    fn a_plan_of_compute_units_weighs_the_methods() {
        let plan = Plan::compute_units(500, Words::Alchemy);
        let mut gateway = Gateway::default();
        gateway.set_now_ms(0);
        gateway.become_provider(Provider { plan: Some(plan), ..Provider::default() });
        let mut admits = |method: &str| gateway.admit(method).map_err(|error| error.code);
        assert_eq!([(); 6].map(|()| admits("eth_getLogs")), [Ok(()); 6], "450 of 500");
        assert_eq!(admits("eth_getLogs"), Err(429), "75 more are not there");
        assert_eq!(admits("eth_call"), Ok(()), "but 26 are");
        assert_eq!(admits("eth_getBlockByNumber"), Ok(()), "and 16");
        assert_eq!(admits("eth_blockNumber"), Err(429), "and not 10 more");
        assert_eq!(admits("eth_chainId"), Ok(()), "this one costs nothing");
        gateway.set_now_ms(1_000);
        gateway.admit("eth_getBlockReceipts").unwrap();
        assert_eq!(gateway.admit("eth_blockNumber").unwrap_err().code, 429);
        let small = Some(plan.with_burst(100));
        gateway.become_provider(Provider { plan: small, ..Provider::default() });
        gateway.admit("eth_getBlockReceipts").unwrap();
        assert!(
            gateway.admit("eth_blockNumber").is_err(),
            "what costs more than the bucket holds empties it"
        );
    }

    #[test]
    fn each_provider_refuses_in_its_own_words_and_some_say_for_how_long() {
        let told = Words::ALL.map(|words| {
            let RpcError { code, message, data } = words.refusal(25, 1_040);
            (code, message.contains("25/second"), message.ends_with("retry in 2s"), data)
        });
        let infura = json!({ "rate": { "allowed_rps": 25, "backoff_seconds": 2, "current_rps": 25 } });
        assert_eq!(
            told,
            [
                (-32007, true, false, None),
                (-32005, false, false, Some(infura)),
                (429, false, false, None),
                (-32005, false, false, Some(json!({ "try_again_in": "1040ms" }))),
                (-32090, false, true, None),
            ]
        );
        let mut world =
            world(Provider { plan: Some(Plan::calls(1, Words::Chainstack)), ..Provider::default() });
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
        world.reply(None, call).unwrap();
        let said: Value = serde_json::from_str(&world.reply(None, call).unwrap()).unwrap();
        assert_eq!(said["error"]["data"]["try_again_in"], "1000ms", "the wire carries it: {said}");
    }

    #[test]
    fn a_full_bloom_has_every_bit_and_a_mixed_chain_has_both_kinds() {
        let bits = |blooms: Blooms| {
            let mut chain = SimChain::new(8453, 1_000, 7);
            chain.blooms = blooms;
            let blocks: Vec<BlockRef> = (0..40).map(|_| chain.mine(Vec::new())).collect();
            let ones = |block: &BlockRef| {
                chain.block(block.hash).unwrap().bloom.data().iter().map(|byte| byte.count_ones()).sum()
            };
            let mut bits: Vec<u32> = blocks.iter().map(ones).collect();
            bits.sort_unstable();
            bits.dedup();
            bits
        };
        assert_eq!(bits(Blooms::OfItsLogs), [0]);
        assert_eq!(bits(Blooms::Full), [2_048]);
        assert_eq!(bits(Blooms::Mixed), [0, 2_048]);
    }

    #[test]
    fn logs_come_after_the_head_and_no_error_says_so() {
        let mut world = world(Provider { logs: Some(Lag::between(300, 300)), ..Provider::default() });
        let silent = world.chain.mine(Vec::new());
        assert_eq!(logs_by_hash(&mut world, silent), 0);
        let first = mine(&mut world, 3);
        world.gateway.set_now_ms(299);
        assert_eq!((logs_by_hash(&mut world, first), logs_by_height(&mut world, first)), (0, 0));
        assert_eq!(world.counters().logs_left_out, 6);
        let second = mine(&mut world, 2);
        world.gateway.set_now_ms(300);
        assert_eq!((logs_by_hash(&mut world, first), logs_by_height(&mut world, first)), (3, 3));
        assert_eq!(logs_by_hash(&mut world, second), 0, "each block has its own time");
        world.gateway.set_now_ms(599);
        assert_eq!(logs_by_hash(&mut world, second), 2);
    }

    #[test]
    fn a_lag_of_a_block_ends_with_the_next_block_unless_its_logs_were_pushed() {
        for (until, pushed, whole) in [
            (Until::Time, false, false),
            (Until::NextBlock, true, true),
            (Until::NextBlockUnlessPushed, true, false),
            (Until::NextBlockUnlessPushed, false, true),
        ] {
            let logs = Some(Lag::between(9_000, 9_000).until(until));
            let mut world = world(Provider { logs, ..Provider::default() });
            if pushed {
                let (queue, _pushes) = mpsc::channel(16);
                world.sockets.insert(1, Socket::new(queue, None));
                world.answer(Some(1), "eth_subscribe", &json!(["logs", {}])).unwrap();
            }
            let block = mine(&mut world, 1);
            assert_eq!(logs_by_hash(&mut world, block), 0, "{until:?}");
            mine(&mut world, 0);
            assert_eq!(logs_by_hash(&mut world, block) == 1, whole, "{until:?} {pushed}");
            world.gateway.forget_pushes();
            assert_eq!(logs_by_hash(&mut world, block) == 1, until != Until::Time, "{until:?} forgotten");
            world.gateway.set_now_ms(9_000);
            assert_eq!(logs_by_hash(&mut world, block), 1, "{until:?}");
        }
    }

    #[test]
    fn a_lag_lies_between_its_ends_and_is_mostly_short() {
        let lag = Lag::between(50, 1_000);
        let mut drawn: Vec<u64> =
            (0..500_u64).map(|n| lag.ms_of(alloy::primitives::keccak256(n.to_be_bytes()))).collect();
        drawn.sort_unstable();
        assert!(drawn[0] < 60 && drawn[499] > 950 && drawn[499] <= 1_000, "{drawn:?}");
        assert!((200..400).contains(&drawn[250]), "{}", drawn[250]);
    }

    #[test]
    fn the_state_of_a_block_just_told_can_not_be_asked() {
        let mut world = world(Provider { state: Some(Lag::between(300, 300)), ..Provider::default() });
        let block = mine(&mut world, 1);
        // decimals()
        let call = json!({ "to": TOKEN, "input": "0x313ce567" });
        let ask = |world: &mut World, place: Value| world.answer(None, "eth_call", &json!([call, place]));
        let refused = ask(&mut world, json!({ "blockHash": block.hash })).unwrap_err();
        assert_eq!((refused.code, refused.message.as_str()), (-32000, "header not found"));
        assert!(ask(&mut world, json!(format!("{:#x}", block.number))).is_err());
        assert!(ask(&mut world, json!("latest")).is_ok(), "the newest state that it has");
        world.gateway.set_now_ms(300);
        assert!(ask(&mut world, json!({ "blockHash": block.hash })).is_ok());
        assert_eq!(world.counters().without_state, 2);
    }
}
