//! Why a call has no answer, told apart by what a caller can do about it.

use std::time::Duration;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RpcError {
    /// No connection, or no longer: connect again.
    #[error("{0}")]
    Gone(Lost),
    /// No answer in time. The connection may still be good.
    #[error("no answer to {0} within its limit")]
    Timeout(&'static str),
    /// The node answered with an error that says neither of what follows.
    #[error("the node refuses {method}: {message}{}", coded(*.code))]
    Refused {
        /// What was asked.
        method: &'static str,
        /// JSON-RPC error code; 0 where the node gave none.
        code: i64,
        /// The node's words, those of `error.data` among them, cut.
        message: String,
    },
    /// The node says that it was asked too often, or that a plan is used up: the same question is right, later.
    #[error("the node limits {method}: {message}{}", coded(*.code))]
    Limited {
        /// What was asked.
        method: &'static str,
        /// JSON-RPC error code; 0 where the node gave none.
        code: i64,
        /// The node's words, cut.
        message: String,
        /// How long it asks to wait, at most 60 s; none where it does not say.
        pause: Option<Duration>,
    },
    /// The node does not have that block, or not yet: the same question is right, later.
    #[error("the node does not have that block ({method}): {message}")]
    Behind {
        /// What was asked.
        method: &'static str,
        /// The node's words, cut.
        message: String,
    },
    /// The node says outright that the range, or the answer to it, is too large: ask for less.
    #[error("the node refuses so large a range: {0}")]
    RangeTooLarge(String),
    /// The answer is not what the method answers.
    #[error("the answer to {method} makes no sense: {detail}")]
    Malformed {
        /// What was asked.
        method: &'static str,
        /// What was wrong, without the answer itself.
        detail: String,
    },
}

/// Why there is no connection, in words that may be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Lost {
    /// The reason.
    pub why: String,
    /// How long the node asks to be left alone, at most 60 s; none where it does not say.
    pub pause: Option<Duration>,
}

impl From<String> for Lost {
    fn from(why: String) -> Self {
        Self { why, pause: None }
    }
}

impl From<&str> for Lost {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

fn coded(code: i64) -> String {
    if code == 0 { String::new() } else { format!(" (code {code})") }
}

impl RpcError {
    /// Whether the node says that it does not know the method.
    #[must_use]
    pub fn is_method_missing(&self) -> bool {
        match self {
            Self::Refused { code, message, .. } => {
                let words = message.to_lowercase();
                *code == -32601
                    || words.contains("method not found")
                    || words.contains("not supported")
                    || words.contains("unsupported method")
                    || words.contains("does not exist/is not available")
            }
            _ => false,
        }
    }
}
