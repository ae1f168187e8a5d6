//! jq expressions: parsed here; run here if they are plain, else in a process of their own.

use serde_json::Value;

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Expression {
    text: std::sync::Arc<str>,
}

/// Why an expression cannot be used, or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JqError {
    /// Where in the text, in bytes, if that is known.
    pub offset: Option<usize>,
    /// What is wrong, and what is expected.
    pub message: String,
}

impl Expression {
    /// The longest expression, in bytes.
    pub const LEN_MAX: usize = 8 << 10;

    /// Reads an expression.
    ///
    /// # Errors
    /// If it is no jq, or uses what is not offered here.
    pub fn parse(text: &str) -> Result<Self, JqError> {
        Ok(Self { text: text.into() })
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it certainly ends, soon, with an output no larger than a small multiple of its
    /// input: then it may run in this process.
    pub fn is_plain(&self) -> bool {
        false
    }

    /// Runs it here, without limits: for plain expressions, and for the worker process.
    ///
    /// # Errors
    /// If it fails by itself.
    pub fn run(&self, input: Value) -> Result<Vec<Value>, JqError> {
        let _ = input;
        Err(JqError {
            offset: None,
            message: "not built yet".to_owned(),
        })
    }
}
