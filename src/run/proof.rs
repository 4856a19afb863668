//! Tells a person once that the node cannot prove what it answers. It refuses to know what is done about it.

use tokio::sync::watch;

use crate::alerts::Alerts;
use crate::chain::ChainFacts;

const WORDS: &str = "the node tells no block's receipts, by hash, by number or one by one: where a block's bloom or a push \
                     says that eth_getLogs left out something of ours, two answers are believed without proof. Hedging goes on. Set \
                     WS_RPC_URL to a node that answers eth_getBlockReceipts";

/// Waits for the first block that went without proof; ends after it was told.
pub(super) async fn watch(mut chain: watch::Receiver<ChainFacts>, alerts: Alerts) {
    if chain.wait_for(|facts| facts.unproven > 0).await.is_ok() {
        log::warn!("ALERT {WORDS}");
        alerts.raise(WORDS);
    }
}
