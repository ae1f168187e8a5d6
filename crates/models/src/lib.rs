//! Models and their tools: one turn at a time, over the providers' own HTTP APIs.

use std::time::Duration;

use domain::{
    execution::Usage,
    workflow::definition::{Llm, Output, Tool},
};
use serde_json::Value;

/// What a model is to do.
#[derive(Clone, Debug)]
pub struct Turn<'a> {
    /// The model and its settings.
    pub llm: &'a Llm,
    /// What it is asked, filled in.
    pub prompt: String,
    /// What it must answer; none: text.
    pub output: Option<&'a Output>,
    /// What it may call.
    pub tools: &'a [Tool],
    /// Whether the offline stand-in answers.
    pub offline: bool,
}

/// What a turn came to.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnEnd {
    /// The answer: a text, a value, or an object with the output's fields.
    pub output: Value,
    /// What it used, over all rounds.
    pub usage: Usage,
    /// What else is worth knowing, a JSON object: `provider`, `model`, `offline`, `rounds`,
    /// `toolCalls: [{name, ms, error?}]`, `repaired`.
    pub detail: Value,
}

/// Why a turn failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct TurnError {
    /// A stable type, such as `model_key_missing`.
    pub kind: &'static str,
    /// What happened, for a person; never a secret.
    pub message: String,
    /// Whether another attempt may fare better.
    pub retryable: bool,
    /// How long to wait before it, where the provider says so.
    pub retry_after: Option<Duration>,
    /// What was used up to then.
    pub usage: Usage,
}

/// What a turn tells while it runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// A piece of the answer's text.
    Text(String),
    /// A tool is called.
    Tool(String),
}

/// A handle that is cheap to clone.
#[derive(Clone)]
pub struct Models {}

impl Models {
    /// Takes a turn.
    ///
    /// # Errors
    /// See [`TurnError`].
    pub async fn turn(
        &self,
        turn: Turn<'_>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<TurnEnd, TurnError> {
        let _ = (turn, progress);
        Err(TurnError {
            kind: "unbuilt",
            message: "not built yet".to_owned(),
            retryable: false,
            retry_after: None,
            usage: Usage::default(),
        })
    }
}
