//! Executions and steps as they are shown.

use bytes::Bytes;
use domain::{
    ExecutionId, Timestamp, WorkflowId,
    execution::{Cause, Execution, ExecutionError, ExecutionState, Step, StepState, Usage},
};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use workflow::{Callbacks as _, present::Running};

use crate::SharedApp;

/// Billionths in one.
const NANOS: f64 = 1e9;

/// What model calls used.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Usage)]
pub struct UsageView {
    /// Tokens sent.
    tokens_in: u64,
    /// Tokens received.
    tokens_out: u64,
    /// Cost in US dollars.
    #[schema(example = 0.0123)]
    cost_usd: f64,
}

impl From<Usage> for UsageView {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a cost is shown, not reckoned with"
    )]
    fn from(usage: Usage) -> Self {
        Self {
            tokens_in: usage.tokens_in,
            tokens_out: usage.tokens_out,
            cost_usd: usage.cost_nanos as f64 / NANOS,
        }
    }
}

/// Why an execution or a step failed.
#[derive(Serialize, ToSchema)]
#[schema(as = ExecutionFailure)]
pub struct FailureView {
    /// A stable type.
    #[schema(example = "model_key_missing")]
    kind: String,
    /// What happened.
    message: String,
    /// The node that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
}

impl From<ExecutionError> for FailureView {
    fn from(error: ExecutionError) -> Self {
        Self {
            kind: error.kind,
            message: error.message,
            node: error.node,
        }
    }
}

/// An execution.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Execution)]
pub struct ExecutionView {
    /// Its id.
    #[schema(value_type = String, example = "exe_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    pub id: ExecutionId,
    /// What it runs.
    #[schema(value_type = String)]
    pub workflow_id: WorkflowId,
    /// Which version of it.
    version: u32,
    /// `pending` waits for its turn; `running`; `waiting` for a time, an approval, a callback, a
    /// resource, another execution; `completed`, `failed` and `stopped` have ended.
    #[schema(value_type = String, example = "running")]
    pub state: ExecutionState,
    /// What started it: `by` is `api`, `webhook`, `schedule`, `event` or `execution`.
    #[schema(value_type = Object, example = json!({ "by": "api" }))]
    cause: Cause,
    /// Whether its models are the offline stand-in.
    offline: bool,
    /// Why it failed.
    #[schema(required)]
    error: Option<FailureView>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it began to run.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// How long it has taken, from its begin to its end, in milliseconds.
    #[schema(required)]
    duration_ms: Option<u64>,
    /// How many steps were recorded.
    steps: u32,
    /// What its model calls used.
    usage: UsageView,
}

impl From<Execution> for ExecutionView {
    fn from(execution: Execution) -> Self {
        let duration = execution
            .ended_at
            .zip(execution.started_at)
            .map(|(end, start)| end.since(start));
        Self {
            id: execution.id,
            workflow_id: execution.workflow,
            version: execution.version,
            state: execution.state,
            cause: execution.cause,
            offline: execution.offline,
            error: execution.error.map(Into::into),
            created_at: execution.created_at,
            started_at: execution.started_at,
            ended_at: execution.ended_at,
            duration_ms: duration.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
            steps: execution.steps,
            usage: execution.usage.into(),
        }
    }
}

/// An execution with what it was given, what it came to, and how it got there.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionDetail {
    /// The execution.
    #[serde(flatten)]
    pub execution: ExecutionView,
    /// What it was started with.
    #[schema(value_type = Object)]
    input: Value,
    /// What it came to, once it has completed.
    #[schema(required)]
    result: Option<Value>,
    /// Its steps, in order.
    timeline: Vec<StepView>,
    /// What runs at this moment.
    running: Vec<RunningView>,
}

impl ExecutionDetail {
    /// Puts the record together with its steps.
    pub fn new(
        app: &SharedApp,
        mut execution: Execution,
        steps: Vec<Step>,
        running: Vec<Running>,
        writes: bool,
    ) -> Self {
        let input = value(&std::mem::take(&mut execution.input));
        let result = execution.result.take().as_ref().map(value);
        let timeline = steps
            .into_iter()
            .map(|step| StepView::new(app, &execution, step, writes))
            .collect();
        Self {
            execution: execution.into(),
            input,
            result,
            timeline,
            running: running.into_iter().map(Into::into).collect(),
        }
    }
}

/// An attempt that runs.
#[derive(Serialize, ToSchema)]
#[schema(as = RunningStep)]
pub struct RunningView {
    /// The node.
    pub node: String,
    /// How often the node had begun before (loops).
    pub iteration: u32,
    /// Which item, where it runs once for each of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
    /// Which attempt, 1 for the first.
    pub attempt: u32,
}

impl From<Running> for RunningView {
    fn from(running: Running) -> Self {
        Self {
            node: running.key.node,
            iteration: running.key.iteration,
            item: running.key.item,
            attempt: running.attempt,
        }
    }
}

/// A step: one attempt at one run of a node that has ended or waits, or a mark.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Step)]
pub struct StepView {
    /// Its number in the execution, 1 for the first.
    number: u32,
    /// The node.
    node: String,
    /// How often the node had begun before (loops).
    iteration: u32,
    /// Which item, where it runs once for each of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<u32>,
    /// Which attempt, 1 for the first.
    attempt: u32,
    /// `waiting`, `blocked` (waits for units of a pool), `completed`, `failed`, `cancelled`,
    /// `skipped`; `resumed` and `retried` are marks.
    #[schema(value_type = String, example = "completed")]
    state: StepState,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it ended; null while it waits.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// Until when it waits, or when it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// What it came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Value>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<FailureView>,
    /// What its model calls used.
    usage: UsageView,
    /// What else is worth knowing: model, tool calls, status, what it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    detail: Option<Value>,
    /// Where the answer that it waits for is to be posted.
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<String>,
}

impl StepView {
    /// Shows a step of an execution; where its callback is to be posted only to whoever may
    /// change things: knowing it is enough to answer.
    pub fn new(app: &SharedApp, execution: &Execution, step: Step, writes: bool) -> Self {
        let shown = writes && waits_for(&step, "callback");
        let callback_url = shown.then(|| {
            app.callbacks
                .url(execution.workspace, execution.id, &step.key.node)
        });
        Self {
            number: step.number,
            node: step.key.node,
            iteration: step.key.iteration,
            item: step.key.item,
            attempt: step.attempt,
            state: step.state,
            started_at: step.started_at,
            ended_at: step.ended_at,
            until: step.until,
            output: step.output.as_ref().map(value),
            error: step.error.map(Into::into),
            usage: step.usage.into(),
            detail: step.detail.as_ref().map(value),
            callback_url,
        }
    }
}

/// Whether a step still waits for `what`: `approval` or `callback`.
pub fn waits_for(step: &Step, what: &str) -> bool {
    let told = || step.detail.as_ref().map(value);
    step.state == StepState::Waiting
        && step.ended_at.is_none()
        && told().is_some_and(|detail| detail["for"] == what)
}

/// What is stored as JSON; null if it is none.
fn value(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}
