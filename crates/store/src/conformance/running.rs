//! What the cases of workflows, executions and intake make their records of.

use bytes::Bytes;
use domain::{
    ExecutionId, ReceiptId, SourceId, TriggerId, WorkflowId, WorkspaceId,
    execution::{Cause, Execution, ExecutionState, Signal, Step, StepKey, StepState, Usage},
    intake::{Door, Outcome, Receipt, Source, SourceSecret, Trigger},
    seal::Sealed,
    workflow::definition::OnConflict,
};
use serde_json::json;

use super::{
    Backend,
    fixture::{Fixture, HOME},
};
use crate::{
    Accepted, ClaimedExecution, ExecutionChange, Limit, PutWorkflow, Receive, Record, Recorded,
    Start, Started, Take, Workflow, WorkflowVersion,
};

impl<B: Backend> Fixture<'_, B> {
    pub(super) fn workflow_id(&self) -> WorkflowId {
        WorkflowId::new(self.id())
    }

    /// A workflow's first version under this name, without triggers and events.
    pub(super) fn new_workflow(&self, workspace: WorkspaceId, name: &str) -> PutWorkflow {
        let id = self.workflow_id();
        PutWorkflow {
            workflow: Workflow {
                workspace,
                id,
                name: name.into(),
                description: "Takes an order.".into(),
                version: 1,
                label: "1.0".into(),
                created_at: self.now(),
                updated_at: self.now(),
            },
            expected: None,
            version: WorkflowVersion {
                workspace,
                workflow: id,
                number: 1,
                label: "1.0".into(),
                source: Bytes::from_static(b"# a file\nflow: {name: order}\n"),
                definition: Bytes::from_static(br#"{"name":"order"}"#),
                created_at: self.now(),
            },
            triggers: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The next version of a workflow as it stands in `put`.
    pub(super) fn next_version(&self, put: &PutWorkflow) -> PutWorkflow {
        let mut next = put.clone();
        next.expected = Some(put.workflow.version);
        next.workflow.version += 1;
        next.workflow.label = "next".into();
        next.workflow.updated_at = self.now();
        next.version.number += 1;
        next.version.label = "next".into();
        next.version.source = Bytes::from_static(b"# another file\n");
        next.version.created_at = self.now();
        next
    }

    /// A trigger that is not stored yet: active, of a person, never due.
    pub(super) fn trigger(&self, workflow: WorkflowId, name: &str) -> Trigger {
        Trigger {
            workspace: HOME,
            id: TriggerId::new(self.id()),
            workflow,
            source: None,
            next_at: None,
            config: json!({"name": name, "on": "schedule", "cron": "* * * * *"}),
            key: Some(Sealed(vec![9, 0, 255])),
            of_definition: false,
            active: true,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    /// A source that is not stored yet.
    pub(super) fn source(&self, workspace: WorkspaceId, name: &str) -> Source {
        Source {
            workspace,
            id: SourceId::new(self.id()),
            name: name.into(),
            config: json!({"preset": "github", "bodyBytesMax": 1_048_576}),
            secrets: vec![SourceSecret {
                sealed: Sealed(vec![1, 0, 255]),
                number: 1,
                created_at: self.now(),
                expires_at: Some(self.later(1_000)),
            }],
            active: true,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    /// A request that came in by `door` and started nothing.
    pub(super) fn receipt(&self, door: Door, event_id: Option<&str>) -> Receipt {
        Receipt {
            workspace: HOME,
            id: ReceiptId::new(self.id()),
            door,
            received_at: self.now(),
            peer: Some("192.0.2.7".into()),
            headers: r#"[["content-type","application/json"]]"#.into(),
            body: Bytes::from_static(&[0xff, 0, b'{']),
            outcome: Outcome::Ignored,
            event_id: event_id.map(str::to_owned),
            executions: Vec::new(),
            reason: None,
            replay_of: None,
        }
    }

    /// A request that starts one execution, which this process holds.
    pub(super) fn request(
        &self,
        door: Door,
        event_id: Option<&str>,
        workflow: WorkflowId,
    ) -> Receive {
        let mut receipt = self.receipt(door, event_id);
        let mut start = self.start_of(workflow);
        start.execution.cause = Cause::Webhook {
            receipt: receipt.id,
            trigger: None,
            hops: 0,
        };
        receipt.outcome = Outcome::Started;
        receipt.executions = vec![start.execution.id];
        Receive {
            receipt,
            starts: vec![start],
            events: Vec::new(),
        }
    }

    /// The start of an execution that this process holds.
    pub(super) fn start_of(&self, workflow: WorkflowId) -> Start {
        Start {
            execution: Execution {
                workspace: HOME,
                id: ExecutionId::new(self.id()),
                workflow,
                version: 1,
                state: ExecutionState::Running,
                input: Bytes::from_static(br#"{"order":17}"#),
                cause: Cause::Api,
                offline: false,
                result: None,
                error: None,
                created_at: self.now(),
                started_at: Some(self.now()),
                ended_at: None,
                due_at: None,
                steps: 0,
                usage: Usage::default(),
            },
            held: true,
            limit: None,
        }
    }

    /// The same of a workflow with so much concurrency.
    pub(super) fn limited(&self, workflow: WorkflowId, max: u32, on_conflict: OnConflict) -> Start {
        Start {
            limit: Some(Limit { max, on_conflict }),
            ..self.start_of(workflow)
        }
    }

    /// Starts it, without events.
    pub(super) async fn begin(&self, start: Start) -> (ExecutionId, Started) {
        let id = start.execution.id;
        let (started, accepted) = self.store.start(start, Vec::new()).await.expect("started");
        assert_eq!(accepted, []);
        (id, started)
    }

    /// An execution that this process holds.
    pub(super) async fn running(&self, workflow: WorkflowId) -> ExecutionId {
        let (id, started) = self.begin(self.start_of(workflow)).await;
        assert_eq!(started, Started::Running);
        id
    }

    /// An execution that waits for a signal, and nobody holds.
    pub(super) async fn waiting(&self, workflow: WorkflowId) -> ExecutionId {
        let id = self.running(workflow).await;
        self.wait_until(id, None).await;
        id
    }

    /// Has an execution that this process holds wait, held by nobody.
    pub(super) async fn wait_until(&self, id: ExecutionId, due_at: Option<domain::Timestamp>) {
        let mut record = self.found(id);
        record.change = Some(ExecutionChange {
            due_at,
            ..self.change(ExecutionState::Waiting)
        });
        self.written(record).await;
    }

    /// A record of an execution that this process holds, in which nothing stands yet.
    pub(super) fn found(&self, execution: ExecutionId) -> Record {
        Record {
            workspace: HOME,
            execution,
            lease: self.lease(),
            now: self.now(),
            steps: Vec::new(),
            change: None,
            signals: Vec::new(),
            takes: Vec::new(),
            gives: Vec::new(),
            waits_for: Vec::new(),
            starts: Vec::new(),
            tells: Vec::new(),
            limit: None,
            events: Vec::new(),
        }
    }

    /// A change to this state, held by nobody, due by a signal only.
    pub(super) fn change(&self, state: ExecutionState) -> ExecutionChange {
        ExecutionChange {
            state,
            held: false,
            due_at: None,
            started_at: None,
            ended_at: state.is_final().then(|| self.now()),
            result: None,
            error: None,
            steps: 0,
            usage: Usage::default(),
        }
    }

    /// The record of an execution's end.
    pub(super) fn ended(&self, execution: ExecutionId, state: ExecutionState) -> Record {
        let mut record = self.found(execution);
        record.change = Some(self.change(state));
        record
    }

    /// Writes a record that must be written.
    pub(super) async fn written(
        &self,
        record: Record,
    ) -> (Vec<Accepted>, Vec<Started>, Vec<(String, u32)>) {
        match self.store.record(record).await.expect("recorded") {
            Recorded::Written {
                accepted,
                started,
                free,
            } => (accepted, started, free),
            other => panic!("not written: {other:?}"),
        }
    }

    /// Claims executions that are due now.
    pub(super) async fn take_up(&self, limit: usize) -> Vec<ClaimedExecution> {
        self.store
            .claim_executions(self.now(), limit)
            .await
            .expect("claimed")
    }

    /// Ids of the executions that are claimed now.
    pub(super) async fn taken_up(&self) -> Vec<ExecutionId> {
        let claimed = self.take_up(100).await;
        claimed.iter().map(|claimed| claimed.execution.id).collect()
    }

    pub(super) async fn execution(&self, id: ExecutionId) -> Execution {
        self.store
            .execution(HOME, id)
            .await
            .expect("read")
            .expect("there is one")
    }

    /// A step of a node's first run, which has ended well or waits.
    pub(super) fn step_of(&self, number: u32, node: &str, state: StepState) -> Step {
        Step {
            number,
            key: key(node),
            attempt: 1,
            state,
            started_at: self.now(),
            ended_at: (state != StepState::Waiting).then(|| self.now()),
            until: None,
            output: None,
            error: None,
            usage: Usage::default(),
            detail: None,
        }
    }
}

/// A node's first run.
pub(super) fn key(node: &str) -> StepKey {
    StepKey {
        node: node.into(),
        iteration: 0,
        item: None,
    }
}

/// Units of a pool for a node's first run.
pub(super) fn take(pool: &str, units: u32, node: &str) -> Take {
    Take {
        pool: pool.into(),
        units,
        step: key(node),
    }
}

/// The wish that it stops.
pub(super) fn stop() -> Signal {
    Signal::Stop { by: "ada".into() }
}

/// A yes to the approval that this step waits for.
pub(super) fn approval(step: u32) -> Signal {
    Signal::Approval {
        step,
        approved: true,
        by: "ada".into(),
        comment: Some("fine".into()),
    }
}
