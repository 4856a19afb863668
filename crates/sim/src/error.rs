//! How the node says no.

use serde_json::Value;

/// An error as JSON-RPC says it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct RpcError {
    /// The code.
    pub code: i64,
    /// The words.
    pub message: String,
    /// What else the node says, in a form of its own.
    pub data: Option<Value>,
}

impl RpcError {
    /// An error of this code.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The same with more beside it.
    pub(super) fn with_data(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }

    /// Parameters that are none of the method's.
    pub(super) fn invalid(what: &str) -> Self {
        Self::new(-32602, format!("invalid argument: {what}"))
    }

    /// A method that nobody knows.
    pub(super) fn no_method(method: &str) -> Self {
        Self::new(-32601, format!("the method {method} does not exist/is not available"))
    }
}
