//! Whether a node is of the chain that everybody expects, and has code at the order books.

use super::end::End;
use super::error::RpcError;
use super::rpc::Rpc;
use super::secrets::shown;
use super::{ChainConfig, ChainStop};

/// The node's chain id, if it is the one that everybody expects.
pub(super) async fn check_chain(
    rpc: &Rpc,
    config: &ChainConfig,
    identified: Option<u64>,
) -> Result<u64, End> {
    let found = rpc.chain_id().await?;
    let expectations = [
        (config.chain_id, "CHAIN_ID says"),
        (config.stamped_chain_id, "the ledger is of"),
        (identified, "this run began on"),
    ];
    for (expected, says) in expectations {
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let node = shown(&config.ws_url);
            return Err(End::Stop(ChainStop::WrongChain { node, found, says, expected }));
        }
    }
    Ok(found)
}

/// The order book that has no code, if one has none. A node behind its peers may not know it yet, so "no" is asked twice.
pub(super) async fn check_code(rpc: &Rpc, config: &ChainConfig) -> Result<Option<ChainStop>, RpcError> {
    for address in config.orderbooks.iter().copied() {
        if rpc.code(address).await?.is_empty() && rpc.code(address).await?.is_empty() {
            let (chain_id, head) = (rpc.chain_id().await?, rpc.block_number().await?);
            return Ok(Some(ChainStop::NoCode { address, chain_id, head }));
        }
    }
    Ok(None)
}
