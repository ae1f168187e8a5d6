//! What happened, as the events of the catalogue (CONTRACTS §1).
//!
//! How an execution ended is always told; what happens on the way only where somebody in the
//! workspace wants to hear of it at that moment: the steps on disk tell it all in any case.

use bytes::Bytes;
use domain::{
    Timestamp, WorkspaceId,
    event::EventType,
    execution::{Execution, ExecutionState, StepKey},
    json::{self, Limits, Numbers},
    workflow::run::Fact,
};
use serde_json::{Value, json};

use crate::outbox::{Occurrence, Outbox};

/// Collects events of one execution.
pub(crate) struct Events<'a> {
    outbox: &'a dyn Outbox,
    workspace: WorkspaceId,
    execution: String,
    hops: u8,
    /// What was collected.
    pub told: Vec<Occurrence>,
}

impl<'a> Events<'a> {
    pub fn new(outbox: &'a dyn Outbox, execution: &Execution) -> Self {
        Self {
            outbox,
            workspace: execution.workspace,
            execution: execution.id.to_string(),
            hops: execution.cause.hops(),
            told: Vec::new(),
        }
    }

    /// Adds an event if somebody wants it.
    fn tell(&mut self, name: &'static str, data: impl FnOnce(&str) -> Value) {
        let event_type = known(name);
        if self.outbox.wants(self.workspace, &event_type) {
            let data = canonical(&data(&self.execution));
            let hops = self.hops;
            self.told.push(Occurrence {
                event_type,
                data,
                hops,
            });
        }
    }

    /// That it has started.
    pub fn started(&mut self, execution: &Execution) {
        let (id, workflow) = (execution.id, execution.workflow);
        let at = execution.started_at.unwrap_or(execution.created_at);
        self.tell("workflow.execution.started", |_| {
            json!({ "id": id, "workflowDefinitionId": workflow, "status": "RUNNING", "startTime": at })
        });
    }

    /// How it has ended: S0's event always, S2's where it is wanted.
    pub fn ended(&mut self, execution: &Execution, result: Option<&Value>, ended_at: Timestamp) {
        let (name, alias, status) = match execution.state {
            ExecutionState::Completed => (
                "workflow.completed",
                "workflow.execution.completed",
                "COMPLETED",
            ),
            ExecutionState::Failed => ("workflow.failed", "workflow.execution.failed", "FAILED"),
            _ => (
                "workflow.stopped",
                "workflow.execution.cancelled",
                "CANCELLED",
            ),
        };
        let mut data = json!({
            "workflowId": execution.workflow,
            "executionId": execution.id,
            "status": execution.state.as_str(),
        });
        match execution.state {
            ExecutionState::Completed => {
                data["result"] = result.cloned().unwrap_or(Value::Null);
            }
            ExecutionState::Failed => {
                let error = execution.error.as_ref();
                data["error"] = json!(error.map_or("", |error| error.message.as_str()));
            }
            _ => {}
        }
        if execution.offline {
            data["offline"] = json!(true);
        }
        self.told.push(Occurrence {
            event_type: known(name),
            data: canonical(&data),
            hops: self.hops,
        });
        let started_at = execution.started_at.unwrap_or(execution.created_at);
        self.tell(alias, |_| {
            json!({
                "id": execution.id,
                "workflowDefinitionId": execution.workflow,
                "status": status,
                "startTime": started_at,
                "endTime": ended_at,
            })
        });
    }

    /// What happened by a step.
    pub fn facts(&mut self, facts: &[Fact]) {
        for fact in facts {
            self.fact(fact);
        }
    }

    fn fact(&mut self, fact: &Fact) {
        match fact {
            Fact::TaskStarted { key, attempt } => {
                self.task("task.execution.started", key, *attempt, "RUNNING", None);
            }
            Fact::TaskCompleted { key, attempt } => {
                self.task("task.execution.completed", key, *attempt, "COMPLETED", None);
            }
            Fact::TaskFailed {
                key,
                attempt,
                error,
            } => self.task(
                "task.execution.failed",
                key,
                *attempt,
                "FAILED",
                Some(error),
            ),
            Fact::TaskCancelled { key, attempt } => {
                self.task("task.execution.cancelled", key, *attempt, "CANCELLED", None);
            }
            Fact::Progress { ended, of } => self.tell("progress.updated", |execution| {
                json!({
                    "executionId": execution,
                    "completedTasks": ended,
                    "totalTasks": of,
                    "percentage": ended * 100 / (*of).max(1),
                })
            }),
            Fact::BlockerDetected {
                key,
                kind,
                description,
            } => self.blocker("blocker.detected", key, kind, description),
            Fact::BlockerResolved {
                key,
                kind,
                description,
            } => self.blocker("blocker.resolved", key, kind, description),
            Fact::Milestone { node, name } => self.tell(
                "milestone.achieved",
                |execution| json!({ "id": node, "executionId": execution, "name": name }),
            ),
            Fact::SyncReached {
                node,
                arrived,
                required,
            } => self.join("synchronization.point.reached", node, *arrived, *required),
            Fact::SyncCompleted {
                node,
                arrived,
                required,
            } => self.join("synchronization.point.completed", node, *arrived, *required),
            Fact::SyncFailed {
                node,
                arrived,
                required,
            } => self.join("synchronization.point.failed", node, *arrived, *required),
        }
    }

    fn task(
        &mut self,
        name: &'static str,
        key: &StepKey,
        attempt: u32,
        status: &str,
        error: Option<&str>,
    ) {
        self.tell(name, |execution| {
            let mut data = json!({
                "id": run_id(execution, key),
                "executionId": execution,
                "taskId": key.node,
                "status": status,
                "attempts": attempt,
            });
            if let Some(error) = error {
                data["error"] = json!(error);
            }
            data
        });
    }

    fn blocker(&mut self, name: &'static str, key: &StepKey, kind: &str, description: &str) {
        self.tell(name, |execution| {
            json!({
                "id": format!("{}/{kind}", run_id(execution, key)),
                "executionId": execution,
                "taskId": key.node,
                "kind": kind,
                "description": description,
            })
        });
    }

    fn join(&mut self, name: &'static str, node: &str, arrived: u32, required: u32) {
        self.tell(name, |execution| {
            json!({ "id": node, "executionId": execution, "arrived": arrived, "required": required })
        });
    }

    /// That units of a pool were taken, given back, or are too few.
    pub fn resource(
        &mut self,
        name: &'static str,
        key: &StepKey,
        pool: &str,
        units: u32,
        free: u32,
    ) {
        self.tell(name, |execution| {
            json!({
                "resource": pool,
                "units": units,
                "executionId": execution,
                "taskId": key.node,
                "available": free,
            })
        });
    }

    /// Whether somebody wants to hear of pools.
    pub fn wants_resources(&self) -> bool {
        [
            "resource.allocated",
            "resource.released",
            "resource.shortage",
        ]
        .into_iter()
        .any(|name| self.outbox.wants(self.workspace, &known(name)))
    }
}

/// One run of a node, for people and as idempotency key: `<execution>/<node>/<iteration>`, with
/// the item's number behind it in a map.
pub fn run_id(execution: &str, key: &StepKey) -> String {
    let StepKey {
        node,
        iteration,
        item,
    } = key;
    match item {
        Some(item) => format!("{execution}/{node}/{iteration}/{item}"),
        None => format!("{execution}/{node}/{iteration}"),
    }
}

/// A name of the catalogue.
fn known(name: &'static str) -> EventType {
    EventType::parse(name).expect("a name of the catalogue")
}

/// The payload as it is stored: what every JavaScript receiver reads and writes alike, or, where
/// a number is none of JavaScript's, digit for digit.
pub(crate) fn canonical(data: &Value) -> Bytes {
    let text = Bytes::from(data.to_string());
    let limits = Limits::default();
    json::canonicalize(&text, Numbers::Exact, &limits)
        .or_else(|_| json::canonicalize(&text, Numbers::Verbatim, &limits))
        .map_or(text, json::Canonical::into_bytes)
}
