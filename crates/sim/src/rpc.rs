//! The node's answers: a method and its parameters in, a result or an error out. Pure but for the faults it uses up and
//! what it counts.
//!
//! It refuses to know sockets and subscriptions. Each answer is given from one `View`: the chain as this node, lying
//! or not, sees it for the length of one call.

use std::borrow::Cow;

use alloy::primitives::{Address, B256, Bytes, Log, U256};
use alloy::sol_types::{SolCall, SolValue};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use counterfill_core::fills::abi::token::IToken;

use super::chain::{FINALIZED_DEPTH_BLOCKS, SAFE_DEPTH_BLOCKS, SimBlock, SimChain, Token};
pub use super::error::RpcError;
use super::faults::{Faults, RpcFault};
use super::provider::Gateway;
use super::wire;

/// Which logs somebody wants: any of the addresses, and at each position any of the topics; empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFilter {
    addresses: Vec<Address>,
    topics: Vec<Vec<B256>>,
}

impl LogFilter {
    /// From the JSON of `eth_getLogs` and `eth_subscribe`: values, lists of values, or null.
    ///
    /// # Errors
    /// −32602 where it is something else.
    pub fn read(filter: &Value) -> Result<Self, RpcError> {
        let topics = match &filter["topics"] {
            Value::Null => Vec::new(),
            Value::Array(positions) => positions.iter().map(one_or_many).collect::<Result<_, _>>()?,
            _ => return Err(RpcError::invalid("topics is not a list")),
        };
        Ok(Self { addresses: one_or_many(&filter["address"])?, topics })
    }

    /// Whether it asks for this log.
    #[must_use]
    pub fn matches(&self, log: &Log) -> bool {
        let topic_fits = |(position, wanted): (usize, &Vec<B256>)| {
            wanted.is_empty() || log.topics().get(position).is_some_and(|topic| wanted.contains(topic))
        };
        (self.addresses.is_empty() || self.addresses.contains(&log.address))
            && self.topics.iter().enumerate().all(topic_fits)
    }
}

fn one_or_many<T: DeserializeOwned>(value: &Value) -> Result<Vec<T>, RpcError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items.iter().map(read).collect(),
        single => Ok(vec![read(single)?]),
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, RpcError> {
    serde_json::from_value(value.clone()).map_err(|error| RpcError::invalid(&error.to_string()))
}

/// The chain as one answer sees it.
struct View<'a> {
    chain: &'a SimChain,
    canonical: Cow<'a, [B256]>,
    forget_orphans: bool,
}

impl<'a> View<'a> {
    fn of(chain: &'a SimChain, faults: &mut Faults) -> Self {
        let mut canonical = Cow::Borrowed(chain.canonical());
        if let Some((tip, times)) = &mut faults.two_forks
            && times.strike()
        {
            if faults.other_fork_next
                && let Ok(branch) = chain.branch(*tip)
            {
                canonical = Cow::Owned(branch);
            }
            faults.other_fork_next = !faults.other_fork_next;
        }
        let lag = usize::try_from(faults.lagging_blocks).unwrap_or(usize::MAX);
        let seen = canonical.len().saturating_sub(lag).max(1).min(canonical.len());
        let canonical = match canonical {
            Cow::Borrowed(all) => Cow::Borrowed(&all[..seen]),
            Cow::Owned(mut all) => {
                all.truncate(seen);
                Cow::Owned(all)
            }
        };
        Self { chain, canonical, forget_orphans: faults.forget_orphans }
    }

    fn head(&self) -> u64 {
        let height = u64::try_from(self.canonical.len()).unwrap_or(u64::MAX);
        self.chain.first_number().saturating_add(height).saturating_sub(1)
    }

    fn by_number(&self, number: u64) -> Option<&'a SimBlock> {
        let index = usize::try_from(number.checked_sub(self.chain.first_number())?).ok()?;
        self.chain.block(*self.canonical.get(index)?)
    }

    fn by_hash(&self, hash: B256) -> Option<&'a SimBlock> {
        let block = self.chain.block(hash)?;
        let canonical = self.by_number(block.number).is_some_and(|at| at.hash == hash);
        // A lagging node has never heard of a block above its head; an orphan below it, it has.
        let heard_of = block.number <= self.head() && !self.forget_orphans;
        (canonical || heard_of).then_some(block)
    }

    /// The height that a tag or a number names.
    fn height(&self, tag: &Value) -> Result<u64, RpcError> {
        let floor = self.chain.first_number();
        match tag.as_str() {
            None if tag.is_null() => Ok(self.head()),
            Some("latest" | "pending") => Ok(self.head()),
            Some("safe") => Ok(self.head().saturating_sub(SAFE_DEPTH_BLOCKS).max(floor)),
            Some("finalized") => Ok(self.head().saturating_sub(FINALIZED_DEPTH_BLOCKS).max(floor)),
            Some("earliest") => Ok(floor),
            Some(text) => text
                .strip_prefix("0x")
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(|| RpcError::invalid("not a block number")),
            None => Err(RpcError::invalid("not a block number")),
        }
    }

    /// The block of a tag, a number, a hash, or an object with `blockHash` or `blockNumber`.
    fn block(&self, place: &Value) -> Result<Option<&'a SimBlock>, RpcError> {
        if place.is_object() {
            return match &place["blockHash"] {
                Value::Null => Ok(self.by_number(self.height(&place["blockNumber"])?)),
                hash => Ok(self.by_hash(read(hash)?)),
            };
        }
        if place.as_str().is_some_and(|text| text.len() == 66) {
            return Ok(self.by_hash(read(place)?));
        }
        Ok(self.by_number(self.height(place)?))
    }

    /// The canonical block that holds a transaction, and its index there.
    fn inclusion(&self, tx: B256) -> Option<(&'a SimBlock, usize)> {
        let blocks = self.chain.included_in(tx).iter().filter_map(|hash| self.chain.block(*hash));
        let block = blocks
            .into_iter()
            .find(|block| self.by_number(block.number).is_some_and(|at| at.hash == block.hash))?;
        Some((block, block.txs.iter().position(|held| held.hash == tx)?))
    }
}

/// The error that the faults make of this call, if they do.
pub(crate) fn refusal(faults: &mut Faults, method: &str) -> Option<RpcError> {
    if faults.missing_methods.iter().any(|missing| missing == method) {
        return Some(RpcError::no_method(method));
    }
    let (times, fault, only) = &mut faults.rpc_errors;
    let strikes = only.as_deref().is_none_or(|only| only == method) && times.strike();
    strikes.then(|| match fault {
        RpcFault::HeaderNotFound => RpcError::new(-32000, "header not found"),
        RpcFault::Internal => RpcError::new(-32603, "internal error"),
        RpcFault::RateLimited => RpcError::new(-32005, "rate limit exceeded"),
    })
}

/// One call's answer, of a node without a provider.
///
/// # Errors
/// What a real node says of it.
pub fn answer(
    chain: &SimChain,
    faults: &mut Faults,
    method: &str,
    params: &Value,
) -> Result<Value, RpcError> {
    answer_behind(chain, faults, &mut Gateway::default(), method, params)
}

/// One call's answer, of a node behind this gateway.
pub(super) fn answer_behind(
    chain: &SimChain,
    faults: &mut Faults,
    gateway: &mut Gateway,
    method: &str,
    params: &Value,
) -> Result<Value, RpcError> {
    let chain_id = faults.wrong_chain_id.unwrap_or(chain.chain_id());
    match method {
        "eth_chainId" => return Ok(json!(wire::quantity(chain_id))),
        "net_version" => return Ok(json!(chain_id.to_string())),
        "web3_clientVersion" => return Ok(json!(concat!("counterfill-sim/", env!("CARGO_PKG_VERSION")))),
        _ => {}
    }
    from_view(chain, faults, gateway, method, params)
}

fn from_view(
    chain: &SimChain,
    faults: &mut Faults,
    gateway: &mut Gateway,
    method: &str,
    params: &Value,
) -> Result<Value, RpcError> {
    // Only a method that reads the chain takes its turn of `two_forks`.
    const READS: [&str; 9] = [
        "eth_blockNumber",
        "eth_getBlockByNumber",
        "eth_getBlockByHash",
        "eth_getBlockReceipts",
        "eth_getTransactionReceipt",
        "eth_getTransactionByHash",
        "eth_getLogs",
        "eth_getCode",
        "eth_call",
    ];
    if !READS.contains(&method) {
        return Err(RpcError::no_method(method));
    }
    let view = View::of(chain, faults);
    let full = params[1].as_bool().unwrap_or(false);
    let block =
        |found: Option<&SimBlock>| found.map_or(Value::Null, |b| wire::block(b, full, chain.chain_id()));
    match method {
        "eth_blockNumber" => Ok(json!(wire::quantity(view.head()))),
        "eth_getBlockByNumber" => {
            let height = view.height(&params[0])?;
            let other = faults.other_block.as_mut().and_then(|(hash, times)| {
                let other = chain.block(*hash).filter(|other| other.number == height)?;
                times.strike().then_some(other)
            });
            Ok(block(other.or_else(|| view.by_number(height))))
        }
        "eth_getBlockByHash" => Ok(block(view.by_hash(read(&params[0])?))),
        "eth_getBlockReceipts" => Ok(view.block(&params[0])?.map_or(Value::Null, |found| {
            (0..found.txs.len()).map(|index| wire::receipt(found, index)).collect()
        })),
        "eth_getTransactionReceipt" => {
            Ok(view.inclusion(read(&params[0])?).map_or(Value::Null, |(at, index)| wire::receipt(at, index)))
        }
        "eth_getTransactionByHash" => Ok(view
            .inclusion(read(&params[0])?)
            .map_or(Value::Null, |(at, index)| wire::transaction(at, index, chain.chain_id()))),
        "eth_getLogs" => logs(&view, faults, gateway, &params[0]),
        "eth_getCode" => {
            let address: Address = read(&params[0])?;
            let bare = faults.no_code == Some(address) || !chain.has_code(address);
            // The first instructions of any Solidity contract.
            Ok(json!(if bare { "0x" } else { "0x6080604052600080fd" }))
        }
        "eth_call" => call(&view, faults, gateway, &params[0], &params[1]),
        _ => Err(RpcError::no_method(method)),
    }
}

/// The hash of the block at a tag or a number.
///
/// # Errors
/// Where it is neither.
#[cfg(feature = "by-hand")]
pub(crate) fn block_named(
    chain: &SimChain,
    faults: &mut Faults,
    place: &Value,
) -> Result<Option<B256>, RpcError> {
    let view = View::of(chain, faults);
    Ok(view.by_number(view.height(place)?).map(|block| block.hash))
}

fn logs(
    view: &View<'_>,
    faults: &mut Faults,
    gateway: &mut Gateway,
    filter: &Value,
) -> Result<Value, RpcError> {
    let wanted = LogFilter::read(filter)?;
    let blocks: Vec<&SimBlock> = match &filter["blockHash"] {
        Value::Null => {
            let (from, to) = (view.height(&filter["fromBlock"])?, view.height(&filter["toBlock"])?);
            if from > to {
                return Err(RpcError::new(-32602, "invalid block range params"));
            }
            if let Some(max) = faults.range_blocks_max
                && to - from >= max
            {
                return Err(RpcError::new(-32005, format!("query exceeds max block range {max}")));
            }
            (from..=to.min(view.head())).filter_map(|number| view.by_number(number)).collect()
        }
        _ if !filter["fromBlock"].is_null() || !filter["toBlock"].is_null() => {
            return Err(RpcError::invalid("cannot specify both blockHash and fromBlock/toBlock"));
        }
        hash => vec![view.by_hash(read(hash)?).ok_or_else(|| RpcError::new(-32000, "unknown block"))?],
    };
    let by_hash = !filter["blockHash"].is_null();
    let tellable = |block: &&SimBlock| !block.has_full_bloom() || gateway.was_pushed(block.hash);
    let honest = faults.only_tellable_gaps && !(by_hash && blocks.iter().all(tellable));
    let kept = faults.logs_pruned_below.unwrap_or(0);
    let mut found: Vec<Value> = Vec::new();
    for block in blocks.into_iter().filter(|block| block.number >= kept) {
        let placed = block.logs().filter(|placed| wanted.matches(placed.log));
        let logs = placed.map(|placed| wire::log(&placed, false));
        if gateway.has_logs(view.chain, block) {
            found.extend(logs);
        } else {
            gateway.left_out += u64::try_from(logs.count()).unwrap_or(0);
        }
    }
    if faults.range_logs_max.is_some_and(|max| found.len() > max) {
        return Err(RpcError::new(-32005, "query returned more than the allowed number of results"));
    }
    let topics = |log: &Value| log["topics"][0].clone();
    let last_is_one_of_many = found.len() > 1
        && found
            .last()
            .is_some_and(|last| found.iter().filter(|log| topics(log) == topics(last)).count() > 1);
    let part_honest = honest || (faults.only_tellable_gaps && last_is_one_of_many);
    if !found.is_empty() && !honest && faults.empty_logs.strike() {
        found.clear();
    }
    if !found.is_empty() && !part_honest && faults.partial_logs.strike() {
        found.pop();
    }
    Ok(Value::Array(found))
}

fn call(
    view: &View<'_>,
    faults: &Faults,
    gateway: &mut Gateway,
    request: &Value,
    place: &Value,
) -> Result<Value, RpcError> {
    let at = view.block(place)?.ok_or_else(|| RpcError::new(-32000, "header not found"))?;
    if faults.state_pruned_below.is_some_and(|kept| at.number < kept) {
        return Err(RpcError::new(-32000, "missing trie node"));
    }
    // The newest state that there is answers "latest"; a named block must be there.
    let named = place.is_object() || place.as_str().is_some_and(|place| place.starts_with("0x"));
    if named && !gateway.has_state(view.chain, at) {
        gateway.stateless += 1;
        return Err(RpcError::new(-32000, "header not found"));
    }
    let to: Address = read(&request["to"])?;
    let input = if request["input"].is_null() { &request["data"] } else { &request["input"] };
    let input: Bytes = if input.is_null() { Bytes::new() } else { read(input)? };
    if faults.no_code == Some(to) || !view.chain.has_code(to) {
        return Ok(json!("0x"));
    }
    let token = view.chain.tokens.get(&to);
    let returned = token.and_then(|token| returned(token, &input, at.number));
    returned.map(|bytes| json!(bytes)).ok_or_else(|| RpcError::new(3, "execution reverted"))
}

fn returned(token: &Token, input: &Bytes, number: u64) -> Option<Bytes> {
    let selector: [u8; 4] = input.get(..4)?.try_into().ok()?;
    let encoded = match selector {
        IToken::symbolCall::SELECTOR => token.symbol.abi_encode(),
        IToken::decimalsCall::SELECTOR => U256::from(token.decimals).abi_encode(),
        IToken::assetCall::SELECTOR => token.asset?.abi_encode(),
        IToken::convertToAssetsCall::SELECTOR => {
            let (_, ratio) = token.assets_per_1e18.range(..=number).next_back()?;
            let shares = IToken::convertToAssetsCall::abi_decode(input).ok()?.shares;
            (shares.checked_mul(*ratio)? / U256::from(counterfill_core::units::ONE.unsigned_abs()))
                .abi_encode()
        }
        IToken::underlyingCall::SELECTOR => token.underlying?.abi_encode(),
        IToken::uiMultiplierCall::SELECTOR => token.multipliers.range(..=number).next_back()?.1.abi_encode(),
        IToken::totalSupplyCall::SELECTOR => {
            token.supplies.range(..=number).next_back().map_or(U256::MAX, |(_, supply)| *supply).abi_encode()
        }
        _ => return None,
    };
    Some(encoded.into())
}
