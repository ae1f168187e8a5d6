//! The addresses at which outside systems answer nodes that wait for a callback.
//!
//! This crate only shows them to templates, as `callbacks.<node>`; who makes them also takes the
//! answers, and hands them on as [`domain::execution::Signal::Callback`].

use domain::{
    ExecutionId, WorkspaceId,
    execution::Execution,
    workflow::definition::{NodeKind, WaitFor},
};
use serde_json::{Map, Value};

use crate::programs::Prepared;

/// The name under which templates see them.
pub const NAME: &str = "callbacks";

/// Makes addresses for callbacks.
pub trait Callbacks: Send + Sync {
    /// Where the answer for this node of this execution is to be posted. The same each time, and
    /// not to be guessed.
    fn url(&self, workspace: WorkspaceId, execution: ExecutionId, node: &str) -> String;
}

/// Where there is no server that could take an answer: the addresses are empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCallbacks;

impl Callbacks for NoCallbacks {
    fn url(&self, _: WorkspaceId, _: ExecutionId, _: &str) -> String {
        String::new()
    }
}

/// The address of each node that waits for a callback; none if there is no such node.
pub(crate) fn all(
    callbacks: &dyn Callbacks,
    prepared: &Prepared,
    execution: &Execution,
) -> Option<Value> {
    let nodes = &prepared.definition().nodes;
    let urls: Map<String, Value> = nodes
        .iter()
        .filter(|node| matches!(node.kind, NodeKind::Wait(WaitFor::Callback { .. })))
        .map(|node| {
            let url = callbacks.url(execution.workspace, execution.id, &node.id);
            (node.id.clone(), Value::String(url))
        })
        .collect();
    (!urls.is_empty()).then_some(Value::Object(urls))
}
