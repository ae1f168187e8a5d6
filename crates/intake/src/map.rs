//! What a trigger makes of a payload: whether it fires, and with which inputs.

use async_trait::async_trait;
use domain::jq::Expression;
use sandbox::{Sandbox, SandboxError};
use serde_json::Value;

use crate::{index::TriggerEntry, start::Inputs};

/// Runs jq expressions, within limits.
#[async_trait]
pub trait Jq: Send + Sync {
    /// All outputs of an expression.
    ///
    /// # Errors
    /// If it fails, or overruns a limit.
    async fn run(&self, expression: &Expression, input: Value) -> Result<Vec<Value>, SandboxError>;
}

#[async_trait]
impl Jq for Sandbox {
    async fn run(&self, expression: &Expression, input: Value) -> Result<Vec<Value>, SandboxError> {
        self.jq(expression, input).await
    }
}

/// Why an expression gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MapError {
    /// By its own fault, or the payload's.
    Failed(String),
    /// By ours; the same request may pass later.
    Unavailable(String),
}

impl From<SandboxError> for MapError {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Failed(message) | SandboxError::Limit(message) => Self::Failed(message),
            error @ SandboxError::Unavailable(_) => Self::Unavailable(error.to_string()),
        }
    }
}

/// The inputs that a trigger makes of a payload; `None` if its filter does not want it: it fires
/// if the filter's only output is `true`.
pub(crate) async fn inputs(
    jq: &dyn Jq,
    trigger: &TriggerEntry,
    payload: &Value,
) -> Result<Option<Inputs>, MapError> {
    let broken = |message: &String| MapError::Failed(message.clone());
    if let Some(filter) = trigger.filter.as_ref().map_err(broken)? {
        let outputs = jq.run(filter, payload.clone()).await?;
        if outputs != [Value::Bool(true)] {
            return Ok(None);
        }
    }
    let Some(map) = trigger.map.as_ref().map_err(broken)? else {
        return Ok(Some(Inputs::Payload(payload.clone())));
    };
    let mut outputs = jq.run(map, payload.clone()).await?;
    match (outputs.len(), outputs.pop()) {
        (1, Some(Value::Object(inputs))) => Ok(Some(Inputs::Given(inputs))),
        (count, _) => Err(MapError::Failed(format!(
            "the trigger's `map` must give one object, the inputs; it gave {count} value(s)"
        ))),
    }
}
