//! One view call: what a contract says to one question.
//!
//! Invariant: only what decodes is an answer, and a node's trouble is none.

use std::collections::BTreeMap;

use alloy::primitives::{Address, Bytes};
use alloy::sol_types::SolCall;

use super::rpc::{At, Rpc, RpcError, is_revert};

/// What a contract said to one question whose answer is one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said<T> {
    /// 32 bytes that decode.
    Told(T),
    /// It reverted, or answered with success and nothing.
    Nothing,
    /// Something else.
    Unclear,
}

impl<T> Said<T> {
    pub(super) fn told(self) -> Option<T> {
        match self {
            Self::Told(value) => Some(value),
            Self::Nothing | Self::Unclear => None,
        }
    }
}

/// What was answered about one token so far. A node that limits calls may end an attempt in the middle, and the next one
/// must not begin anew: a token takes nine questions.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<(Address, Vec<u8>), Bytes>);

impl Answers {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    async fn bytes(&mut self, rpc: &Rpc, to: Address, data: Vec<u8>, at: At) -> Result<Bytes, RpcError> {
        if let Some(known) = self.0.get(&(to, data.clone())) {
            return Ok(known.clone());
        }
        let bytes = reply(rpc, to, &data, at).await?;
        self.0.insert((to, data), bytes.clone());
        Ok(bytes)
    }

    /// A question whose answer is one word.
    pub(super) async fn word<C: SolCall>(
        &mut self,
        rpc: &Rpc,
        to: Address,
        call: &C,
        at: At,
    ) -> Result<Said<C::Return>, RpcError> {
        self.bytes(rpc, to, call.abi_encode(), at).await.map(|bytes| word::<C>(&bytes))
    }

    /// A question of any answer; none where it does not decode.
    pub(super) async fn value<C: SolCall>(
        &mut self,
        rpc: &Rpc,
        to: Address,
        call: &C,
        at: At,
    ) -> Result<Option<C::Return>, RpcError> {
        let bytes = self.bytes(rpc, to, call.abi_encode(), at).await?;
        Ok(C::abi_decode_returns_validate(&bytes).ok())
    }
}

/// The bytes of one answer; none of them where the contract reverts. A node behind its peers may not know the contract yet
/// and answers nothing, so that is asked twice.
pub(super) async fn reply(rpc: &Rpc, to: Address, data: &[u8], at: At) -> Result<Bytes, RpcError> {
    let mut bytes = Bytes::new();
    for _ in 0..2 {
        match rpc.eth_call(to, data, at).await {
            Ok(answer) => bytes = answer,
            Err(error) if is_revert(&error) => {}
            Err(error) => return Err(error),
        }
        if !bytes.is_empty() {
            break;
        }
    }
    Ok(bytes)
}

/// What the bytes of an answer say, where it is one word.
pub(super) fn word<C: SolCall>(bytes: &[u8]) -> Said<C::Return> {
    match bytes.len() {
        0 => Said::Nothing,
        32 => C::abi_decode_returns_validate(bytes).map_or(Said::Unclear, Said::Told),
        _ => Said::Unclear,
    }
}

/// One question by itself, whose answer is one word.
pub(super) async fn ask<C: SolCall>(
    rpc: &Rpc,
    to: Address,
    call: &C,
    at: At,
) -> Result<Said<C::Return>, RpcError> {
    reply(rpc, to, &call.abi_encode(), at).await.map(|bytes| word::<C>(&bytes))
}
