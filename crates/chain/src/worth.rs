//! Asks contracts what they hold, and what an amount was worth at a fill's block (`protocol.md` 1.8).
//!
//! Nothing is guessed: only 32 bytes that decode are an answer. A contract with a fallback answers everything with success
//! and nothing, which is no answer; anything else is unclear, and its fills wait. What the answers mean is
//! `fills::VaultReading`'s and `fills::FillUnit`'s matter.
//!
//! Invariant: an amount's worth depends on the state of its own block and the one before, never on the newest.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use alloy::primitives::{Address, B256, Bytes, U256};
use alloy::sol_types::SolCall;

use super::abi::token::IToken::{
    assetCall, convertToAssetsCall, decimalsCall, effectiveAtCall, multiplierCall, newUIMultiplierCall,
    totalSupplyCall, uiMultiplierCall, underlyingCall,
};
use super::rpc::{At, Rpc, RpcError};
use super::views::{Answers, Said, ask, reply, word};
use crate::fills::{Conversion, HOLDS_MAX, Hold, Jump, NotKnown, Unit, VaultReading, Worth};

/// One, as ERC-8056 writes it.
const ONE_E18: u64 = 1_000_000_000_000_000_000;

/// What `token` holds down to the last one, in the state `at`; or what is unclear about it, in words. (A zero address is
/// no asset: bridged tokens answer so to `underlying()` where they hold none.)
pub(super) async fn unit(
    answers: &mut Answers,
    rpc: &Rpc,
    token: Address,
    at: At,
) -> Result<Result<Unit, String>, RpcError> {
    let (mut holds, mut seen) = (Vec::new(), vec![token]);
    let last = loop {
        let holder = seen.last().copied().unwrap_or(token);
        let (hold, question) = match answers.word(rpc, holder, &assetCall {}, at).await? {
            Said::Nothing | Said::Told(Address::ZERO) => {
                (answers.word(rpc, holder, &underlyingCall {}, at).await?, "underlying()")
            }
            said => (said, "asset()"),
        };
        let asset = match hold {
            Said::Told(asset) if !asset.is_zero() => asset,
            Said::Told(_) | Said::Nothing => break holder,
            Said::Unclear => {
                return Ok(Err(format!("{holder} answers {question} with something that is no address")));
            }
        };
        // What a holder says of itself besides would be counted twice.
        let own = answers.word(rpc, holder, &uiMultiplierCall {}, at).await?;
        if own.told().is_some_and(|multiplier| multiplier != U256::from(ONE_E18)) {
            return Ok(Err(format!(
                "{holder} holds {asset} and has a multiplier too, and nothing says which counts"
            )));
        }
        if seen.contains(&asset) || holds.len() >= HOLDS_MAX {
            return Ok(Err(format!("what {token} holds never ends: {holder} holds {asset}")));
        }
        holds.push(if question == "asset()" { Hold::Vault(asset) } else { Hold::Wrapper(asset) });
        seen.push(asset);
    };
    let multiplied = match multiplier(answers, rpc, last, at).await? {
        Said::Told(_) => true,
        Said::Nothing => false,
        Said::Unclear => {
            return Ok(Err(format!(
                "{last} answers uiMultiplier() or multiplier() with something that is no number"
            )));
        }
    };
    Ok(Ok(if holds.is_empty() && !multiplied { Unit::One } else { Unit::Asked { holds, multiplied } }))
}

/// `uiMultiplier()`, else `multiplier()`: Base's B20 has only the latter until a later fork.
async fn multiplier(
    answers: &mut Answers,
    rpc: &Rpc,
    token: Address,
    at: At,
) -> Result<Said<U256>, RpcError> {
    match answers.word(rpc, token, &uiMultiplierCall {}, at).await? {
        Said::Nothing => answers.word(rpc, token, &multiplierCall {}, at).await,
        said => Ok(said),
    }
}

/// What was told of blocks, by their hashes. An attempt that a limit ends goes on from here: many fills of a vault in one
/// block are more questions than a small plan has.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<OfBlocks>);

#[derive(Debug, Default)]
struct OfBlocks {
    /// Answers of contracts that are not empty, by contract, question and block.
    answers: BTreeMap<(Address, Vec<u8>, B256), Bytes>,
    /// The hash of the block before each.
    parents: BTreeMap<B256, B256>,
}

/// Answers and parents that are kept; beyond, all of them are asked anew.
const TOLD_MAX: usize = 8_192;

impl Told {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(OfBlocks { answers: BTreeMap::new(), parents: BTreeMap::new() }))
    }

    fn of<T>(&self, look: impl FnOnce(&mut OfBlocks) -> T) -> T {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.answers.len() + told.parents.len() > TOLD_MAX {
            *told = OfBlocks::default();
        }
        look(&mut told)
    }
}

/// The state of one block, and the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct State<'a> {
    told: &'a Told,
    block: B256,
    height: Option<u64>,
    parent: Option<B256>,
}

impl<'a> State<'a> {
    /// Of the block `block`, which is at `height`. Without its parent where the chain does not have the block any more.
    pub(super) async fn of(
        told: &'a Told,
        rpc: &Rpc,
        block: B256,
        height: Option<u64>,
    ) -> Result<Self, RpcError> {
        let known = told.of(|told| told.parents.get(&block).copied());
        let parent = match (known, height) {
            (None, Some(height)) => {
                let header = match rpc.header(height).await {
                    Err(error @ (RpcError::Gone(_) | RpcError::Limited { .. })) => return Err(error),
                    // Without it an amount is not held against the state before, unless that decides.
                    Err(_) => None,
                    Ok(header) => header.filter(|header| header.hash == block),
                };
                header.map(|header| header.parent_hash)
            }
            (known, _) => known,
        };
        told.of(|told| told.parents.extend(parent.map(|parent| (block, parent))));
        Ok(Self { told, block, height, parent })
    }

    /// In the state of the block. Where the node takes no hash, its height is asked, and counts while that block stands
    /// there.
    async fn ask<C: SolCall>(&self, rpc: &Rpc, to: Address, call: &C) -> Result<Said<C::Return>, RpcError> {
        self.ask_at(rpc, to, call, self.block, self.height).await
    }

    /// In the state before the block; nothing where that is not to be had.
    async fn ask_before<C: SolCall>(
        &self,
        rpc: &Rpc,
        to: Address,
        call: &C,
    ) -> Result<Said<C::Return>, RpcError> {
        let Some(parent) = self.parent else { return Ok(Said::Nothing) };
        let height = self.height.and_then(|height| height.checked_sub(1));
        self.ask_at(rpc, to, call, parent, height).await
    }

    async fn ask_at<C: SolCall>(
        &self,
        rpc: &Rpc,
        to: Address,
        call: &C,
        block: B256,
        height: Option<u64>,
    ) -> Result<Said<C::Return>, RpcError> {
        let question = (to, call.abi_encode(), block);
        let bytes = match self.told.of(|told| told.answers.get(&question).cloned()) {
            Some(known) => known,
            None => {
                let bytes = self.reply(rpc, to, &question.1, block, height).await?;
                if !bytes.is_empty() {
                    self.told.of(|told| told.answers.insert(question, bytes.clone()));
                }
                bytes
            }
        };
        Ok(word::<C>(&bytes))
    }

    async fn reply(
        &self,
        rpc: &Rpc,
        to: Address,
        data: &[u8],
        block: B256,
        height: Option<u64>,
    ) -> Result<Bytes, RpcError> {
        let refused = match reply(rpc, to, data, At::Hash(block)).await {
            Err(error @ (RpcError::Refused { .. } | RpcError::Malformed { .. })) => error,
            answer => return answer,
        };
        let (Some(height), Some(own)) = (height, self.height) else { return Err(refused) };
        let bytes = reply(rpc, to, data, At::Number(height)).await.map_err(|_| refused.clone())?;
        let stands = rpc.header(own).await?.is_some_and(|header| header.hash == self.block);
        if stands { Ok(bytes) } else { Err(refused) }
    }
}

/// What the amount was worth, or why that is not known.
pub(super) async fn worth(
    rpc: &Rpc,
    unit: &Unit,
    conversion: &Conversion,
    state: &State<'_>,
    jump_max_percent: u32,
) -> Result<Result<Worth, NotKnown>, RpcError> {
    let (mut token, mut assets) = (conversion.token, conversion.amount);
    let mut first_jump: Option<Jump> = None;
    let Unit::Asked { holds, multiplied } = unit else {
        return Ok(Err(NotKnown::Unanswered { token, call: "what it holds" }));
    };
    for hold in holds {
        if let Hold::Vault(_) = hold {
            let reading = vault(rpc, token, assets, state).await?;
            let (held, jump) = match reading.settle(jump_max_percent) {
                Ok(settled) => settled,
                Err(why) => return Ok(Err(why)),
            };
            assets = held;
            first_jump = first_jump.or(jump);
        }
        token = hold.asset();
    }
    let Some(decimals) = state.ask(rpc, token, &decimalsCall {}).await?.told() else {
        return Ok(Err(NotKnown::Unanswered { token, call: "decimals()" }));
    };
    let multiplier = if *multiplied {
        let told = match state.ask(rpc, token, &uiMultiplierCall {}).await? {
            Said::Nothing => state.ask(rpc, token, &multiplierCall {}).await?,
            said => said,
        };
        let Some(multiplier) = told.told() else {
            return Ok(Err(NotKnown::Unanswered { token, call: "uiMultiplier()" }));
        };
        Some(multiplier)
    } else {
        None
    };
    Ok(Ok(Worth { assets, decimals, multiplier, jump: first_jump }))
}

/// A vault's three answers. What the node refuses of the state before the block is missing, unless it decides.
async fn vault(rpc: &Rpc, vault: Address, moved: U256, state: &State<'_>) -> Result<VaultReading, RpcError> {
    let convert = convertToAssetsCall { shares: moved };
    let (at_block, supply, before) = tokio::join!(
        state.ask(rpc, vault, &convert),
        state.ask(rpc, vault, &totalSupplyCall {}),
        state.ask_before(rpc, vault, &convert),
    );
    let (at_block, supply) = (at_block?.told(), supply?.told());
    let emptied = supply.is_some_and(|supply| supply < moved);
    let before = match before {
        Ok(said) => said.told(),
        Err(error @ (RpcError::Gone(_) | RpcError::Limited { .. })) => return Err(error),
        Err(error) if emptied => return Err(error),
        Err(_) => None,
    };
    Ok(VaultReading { vault, moved, at_block, supply, before })
}

/// A change of a token's multiplier that is announced and not yet in force, in words; none where there is none.
pub(super) async fn announced(rpc: &Rpc, token: Address) -> Result<Option<String>, RpcError> {
    let head = rpc.head().await?;
    let at = At::Hash(head.hash);
    let Some(now) = multiplier(&mut Answers::default(), rpc, token, at).await?.told() else {
        return Ok(None);
    };
    let next = ask(rpc, token, &newUIMultiplierCall {}, at).await?.told();
    let when = ask(rpc, token, &effectiveAtCall {}, at).await?.told();
    let (Some(next), Some(when)) = (next, when) else { return Ok(None) };
    // ERC-8056: a change is announced while it lies ahead of the block and says something new.
    let ahead = when > U256::from(head.timestamp) && !next.is_zero() && next != now;
    let seconds = i64::try_from(when).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let when = seconds.map_or_else(|| when.to_string(), |when| when.to_string());
    Ok(ahead.then(|| format!("token {token} announces that its multiplier {now} becomes {next} at {when}")))
}
