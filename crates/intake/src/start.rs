//! What intake asks of the engine: keep a request and start what it starts, in one transaction.
//!
//! The engine implements [`Starter`]; intake calls it with requests that were verified, filtered
//! and mapped. What is refused, ignored or a handshake never gets here.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::{
    ExecutionId, ReceiptId, WorkflowId,
    execution::{Cause, ExecutionError, ExecutionState},
    intake::Receipt,
    workflow::definition::Field,
};
use serde_json::{Map, Value};
use store::StoreError;

/// Starts executions for requests.
#[async_trait]
pub trait Starter: Send + Sync {
    /// Keeps `receipt` and starts `starts` in one transaction ([`store::Intake::receive`]), after
    /// checking all of their inputs. The receipt's `executions` are filled in here.
    ///
    /// With `wait`, answers as soon as every execution has ended, and after that time at the
    /// latest; without, as soon as the transaction is on disk. Of a duplicate, too, the first
    /// executions are waited for.
    ///
    /// # Errors
    /// See [`StartError`]; nothing was written then.
    async fn receive(
        &self,
        receipt: Receipt,
        starts: Vec<StartRequest>,
        wait: Option<Duration>,
    ) -> Result<StartOutcome, StartError>;
}

/// One execution to be started.
#[derive(Clone, Debug, PartialEq)]
pub struct StartRequest {
    /// What is run.
    pub workflow: WorkflowRef,
    /// What it is started with.
    pub inputs: Inputs,
    /// What starts it.
    pub cause: Cause,
}

/// How a workflow is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkflowRef {
    /// By its id.
    Id(WorkflowId),
    /// By its name, in the receipt's workspace.
    Name(String),
}

/// What an execution is started with.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Inputs that somebody made for the workflow: an undeclared one is an error.
    Given(Map<String, Value>),
    /// A sender's payload that no expression has mapped: the workflow takes what it declares
    /// ([`Inputs::for_fields`]).
    Payload(Value),
}

impl Inputs {
    /// The inputs of a workflow that declares `fields`. Given ones pass as they are. Of a payload
    /// that is an object, its members that are declared; and, where a field `payload` is declared
    /// that the payload itself does not have, the whole payload there.
    pub fn for_fields(self, fields: &[Field]) -> Map<String, Value> {
        let payload = match self {
            Self::Given(inputs) => return inputs,
            Self::Payload(payload) => payload,
        };
        let mut inputs = Map::new();
        for field in fields {
            match payload.get(&field.name) {
                Some(value) => {
                    inputs.insert(field.name.clone(), value.clone());
                }
                None if field.name == "payload" => {
                    inputs.insert(field.name.clone(), payload.clone());
                }
                None => {}
            }
        }
        inputs
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum StartOutcome {
    /// It is kept, and has started these.
    Started {
        /// The executions, in the order of the requests; one that was skipped (its workflow runs
        /// already, `on_conflict: skip`) is left out.
        executions: Vec<Standing>,
    },
    /// It repeats an earlier one; nothing was written.
    Duplicate {
        /// The earlier one.
        receipt: ReceiptId,
        /// What that one started. What retention has removed is left out.
        executions: Vec<Standing>,
    },
}

/// Where an execution stands at the time of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its id.
    pub id: ExecutionId,
    /// Its workflow's name.
    pub workflow: String,
    /// Where it stands.
    pub state: ExecutionState,
    /// What it came to, as JSON, once it has completed.
    pub result: Option<Bytes>,
    /// Why it failed.
    pub error: Option<ExecutionError>,
}

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No workflow has this name or id.
    #[error("there is no workflow `{asked}`{}", nearest_text(.nearest.as_deref()))]
    UnknownWorkflow {
        /// What was asked for.
        asked: String,
        /// The nearest name that there is.
        nearest: Option<String>,
    },
    /// Inputs do not fit the workflow.
    #[error("{} of the workflow's inputs cannot be used", .0.len())]
    Invalid(Vec<InputFault>),
    /// The server takes no more work at the moment.
    #[error("{0}")]
    Overloaded(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One input that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFault {
    /// Where, from the root of the inputs: `topic`, `items[2].name`.
    pub path: String,
    /// What is wrong, and what is expected.
    pub message: String,
}

fn nearest_text(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}
