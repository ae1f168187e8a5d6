//! What runs outside this process, under limits: jq expressions that may not end by themselves, and
//! Python. Both are run by this very program, started anew with `sandbox` as its first argument.
//!
//! [`pool`] keeps the few worker processes for jq, [`python`] starts one process for each program;
//! [`child`] is what happens on the other side: it sets its own limits, and then becomes what was
//! asked for. A process that overruns is killed, with its group; the next request gets a new one.

mod child;
mod pool;
mod python;

use std::{path::PathBuf, sync::Arc};

use domain::{jq::Expression, workflow::definition::CodeNode};
use serde_json::Value;

pub use child::run_if_asked;

/// The largest input that a plain expression is given in this process, in bytes, about as JSON.
pub const PLAIN_INPUT_BYTES_MAX: usize = 256 << 10;

/// How the program is started as a sandbox.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program: this one. It calls [`run_if_asked`] before anything else.
    pub program: PathBuf,
    /// Whether Python may be run. Its hook keeps honest code in its place, and is no wall: whoever
    /// may write programs can reach what this process's account can.
    pub python: bool,
}

/// A handle that is cheap to clone.
#[derive(Clone, Debug)]
pub struct Sandbox {
    pool: Arc<pool::Pool>,
    python: Arc<python::Python>,
    allows_python: bool,
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
        Self {
            pool: Arc::new(pool::Pool::new(settings.program.clone())),
            python: Arc::new(python::Python::new(settings.program)),
            allows_python: settings.python,
        }
    }

    /// Runs an expression; answers all its outputs. A plain one ([`Expression::is_plain`]) is run
    /// in this process if its input is no larger than [`PLAIN_INPUT_BYTES_MAX`], any other in a
    /// worker process, for a second at most.
    ///
    /// # Errors
    /// See [`SandboxError`].
    pub async fn jq(
        &self,
        expression: &Expression,
        input: Value,
    ) -> Result<Vec<Value>, SandboxError> {
        if expression.is_plain() && is_small(&input, &mut { PLAIN_INPUT_BYTES_MAX }) {
            let outputs = expression.run(input);
            return outputs.map_err(|error| SandboxError::Failed(error.to_string()));
        }
        self.pool.run(expression.as_str(), &input).await
    }

    /// Runs Python: `inputs` in, `result` out. Its processor time and memory are those of `code`;
    /// how long it may take is twice its processor time and some seconds. It is killed when the
    /// caller gives up.
    ///
    /// # Errors
    /// See [`SandboxError`].
    pub async fn python(&self, code: &CodeNode, inputs: &Value) -> Result<Value, SandboxError> {
        if !self.allows_python {
            return Err(SandboxError::Failed(
                "this server runs no code: start it with --allow-code if all who may write workflows may also use \
                 the account that it runs under"
                    .to_owned(),
            ));
        }
        self.python.run(code, inputs).await
    }
}

/// Whether a value is within `budget` bytes, about as JSON; looks no further than that.
fn is_small(value: &Value, budget: &mut usize) -> bool {
    let own = match value {
        Value::String(text) => text.len() + 2,
        _ => 2,
    };
    let Some(left) = budget.checked_sub(own) else {
        return false;
    };
    *budget = left;
    match value {
        Value::Array(list) => list.iter().all(|item| is_small(item, budget)),
        Value::Object(object) => object.iter().all(|(key, value)| {
            *budget = budget.saturating_sub(key.len());
            is_small(value, budget)
        }),
        _ => true,
    }
}
