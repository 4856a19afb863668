//! Why an attempt to read a range has no result.

use super::ChainStop;
use super::error::RpcError;
use crate::units::BlockRef;

/// Why an attempt has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The node.
    #[error("{0}")]
    Rpc(RpcError),
    /// Answers that do not belong together: throw away, read again.
    #[error("{0}")]
    Disagree(String),
    /// The first block above the base has another parent: twice running, this is a fork.
    #[error("the block after {0} has another parent")]
    Unlinked(BlockRef),
    /// The process must end.
    #[error("{0}")]
    Stop(ChainStop),
}

impl Trouble {
    /// Whether the node refused one question or did not answer it: what other questions came to stands.
    pub(super) const fn is_of_one_question(&self) -> bool {
        matches!(self, Self::Rpc(error) if !matches!(error, RpcError::Gone(_)))
    }
}

impl From<RpcError> for Trouble {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::Malformed { .. } => Self::Disagree(error.to_string()),
            other => Self::Rpc(other),
        }
    }
}

/// Answers that do not belong together, for this reason.
pub(super) fn disagree(why: &str) -> Trouble {
    Trouble::Disagree(why.to_owned())
}
