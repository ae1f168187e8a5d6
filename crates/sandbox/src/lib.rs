//! What runs outside this process, under limits: jq expressions that may not end by themselves, and
//! Python. Both are run by this very program, started anew with `sandbox` as its first argument.

use std::path::PathBuf;

use domain::{jq::Expression, workflow::definition::CodeNode};
use serde_json::Value;

/// How the program is started as a sandbox.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program: this one.
    pub program: PathBuf,
}

/// A handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Sandbox {
    settings: Settings,
}

/// Why nothing came of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// The expression or the program failed by itself.
    #[error("{0}")]
    Failed(String),
    /// It took too long, too much memory, or gave too much.
    #[error("{0}")]
    Limit(String),
    /// No process could be started.
    #[error("no sandbox could be started: {0}")]
    Unavailable(String),
}

impl Sandbox {
    /// Prepares; starts nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    /// Runs an expression; answers all its outputs. A plain one ([`Expression::is_plain`]) is run
    /// in this process, any other in a worker process.
    ///
    /// # Errors
    /// See [`SandboxError`].
    pub async fn jq(
        &self,
        expression: &Expression,
        input: Value,
    ) -> Result<Vec<Value>, SandboxError> {
        let _ = (&self.settings, expression, input);
        Err(SandboxError::Unavailable("not built yet".to_owned()))
    }

    /// Runs Python: `inputs` in, `result` out.
    ///
    /// # Errors
    /// See [`SandboxError`].
    pub async fn python(&self, code: &CodeNode, inputs: &Value) -> Result<Value, SandboxError> {
        let _ = (code, inputs);
        Err(SandboxError::Unavailable("not built yet".to_owned()))
    }
}
