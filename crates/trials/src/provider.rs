//! What a trial's node is like from its beginning to its end: its provider's plan and lags, and the chain's blooms.
//!
//! It plays only what the bot promises to bear (decision 0056): a log is pushed to the bot that is connected, or told with
//! the next block at the latest.

use super::dice::Dice;
use counterfill_sim::chain::Blooms;
use counterfill_sim::provider::{Lag, Plan, Provider, Until, Words};

/// So many trials of a hundred are before a node as it is without a provider, on a quiet chain.
const OWN_NODES_PERCENT: u64 = 15;
/// Calls that a plan takes at once at least. A trial's bot asks without waiting for turns, and a walk down a deep fork
/// (60 headers), or a new connection with its tokens, is made in one go.
const PLAN_BURST_MIN: u64 = 80;

/// Most bots live before a provider of Base. Some have a node of their own beside a quiet chain: it takes everything, and
/// its small blooms tell.
pub(super) fn draw(dice: &mut Dice) -> (Provider, Blooms) {
    if dice.chance(OWN_NODES_PERCENT) {
        return (Provider::default(), Blooms::OfItsLogs);
    }
    let words = dice.one_of(&Words::ALL).unwrap_or(Words::QuickNode);
    let (calls, units) = (dice.below(61) + 40, dice.below(2_001) + 2_000);
    let plan = match dice.below(10) {
        0 => None,
        1..7 => Some(Plan::calls(calls, words).with_burst(calls.max(PLAN_BURST_MIN))),
        _ => Some(Plan::compute_units(units, words)),
    };
    let logs = match dice.below(10) {
        0 => None,
        1..5 => Some(Lag::between(50, 1_000).until(Until::NextBlock)),
        // Over several blocks, where the push is there to tell of it.
        _ => Some(Lag::between(50, 8_000).until(Until::NextBlockUnlessPushed)),
    };
    let state = dice.chance(50).then(|| Lag::between(0, 1_000));
    let blooms = dice.weighted(&[(7, Blooms::Full), (2, Blooms::Mixed), (1, Blooms::OfItsLogs)]);
    (Provider { plan, logs, state }, blooms.unwrap_or(Blooms::Full))
}
