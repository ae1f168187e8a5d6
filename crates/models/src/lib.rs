//! Models and their tools: one turn at a time, over the providers' own HTTP APIs.
//!
//! Players, in the order of the flow:
//!
//! - [`Models::turn`]: what the engine calls. The offline stand-in (`offline`) answers, or the
//!   rounds with a real model begin (`rounds`).
//! - `provider`: an adapter for each provider, pure: a question becomes the JSON of a request,
//!   the JSON of an answer becomes a [`Reply`](provider::Reply). `provider::call` is the one place
//!   that sends, through `egress`.
//! - `tool`: what a model may call.
//! - `schema`, `answer`: the output's types as JSON Schema, and an answer checked against them.
//! - [`prices`]: what tokens cost.
//!
//! Deliberately absent: retries (the engine's business: [`TurnError::retryable`]), conversations
//! over several turns, and keys of its own: [`Keys`] is asked for each turn.

pub mod prices;

mod answer;
mod error;
mod offline;
mod provider;
mod rounds;
mod schema;
mod settings;
mod tool;

use std::{fmt, sync::Arc, time::Duration};

use domain::{
    execution::Usage,
    workflow::definition::{Llm, Output, Provider, Tool},
};
use egress::Egress;
use serde_json::Value;

pub use prices::{Price, Prices};
pub use settings::{Keys, NoKeys, Patience, SearchProvider, Secret, Settings, SqlReader};

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

/// Who hears of it.
type TurnProgress<'a> = dyn Fn(Progress) + Send + Sync + 'a;

/// A handle that is cheap to clone.
#[derive(Clone)]
pub struct Models {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    egress: Egress,
}

/// Without what it holds: there are keys behind it.
impl fmt::Debug for Models {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Models")
            .field("offline", &self.shared.settings.offline)
            .finish_non_exhaustive()
    }
}

impl Models {
    /// Asks nobody yet: keys are looked up and connections opened by the turns.
    pub fn new(settings: Settings, egress: Egress) -> Self {
        Self {
            shared: Arc::new(Shared { settings, egress }),
        }
    }

    /// Takes a turn.
    ///
    /// Dropping the future ends the turn: connections are closed, processes killed.
    ///
    /// # Errors
    /// See [`TurnError`]. The kinds: `model_key_missing`, `model_key_refused`,
    /// `model_rate_limited`, `model_overloaded`, `model_unreachable`, `model_timeout`,
    /// `model_unknown`, `model_request_refused`, `model_output_invalid`, `tool_unknown`,
    /// `tool_key_missing`, `tool_failed`.
    pub async fn turn(
        &self,
        turn: Turn<'_>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<TurnEnd, TurnError> {
        tool::check(turn.tools, &self.shared.settings)?;
        if turn.offline || self.shared.settings.offline {
            return Ok(offline::turn(&turn));
        }
        rounds::turn(&self.shared, &turn, progress).await
    }
}

/// As `detail` and messages write it.
const fn provider_name(provider: Provider) -> &'static str {
    match provider {
        Provider::Google => "google",
        Provider::Openai => "openai",
        Provider::Anthropic => "anthropic",
        Provider::Ollama => "ollama",
    }
}
