//! Does what a node does, once. Decides nothing but how that ended: whether it is tried again, and
//! what follows, is the run's.

mod http;
mod plain;

use std::{sync::Arc, time::Duration};

use domain::{
    ExecutionId, Timestamp,
    execution::{Execution, ExecutionError, StepKey, Usage},
    workflow::{
        definition::{CodeNode, LlmNode, Node, NodeKind},
        scope::Scope,
        template::{Template, TemplateError},
    },
};
use models::{Progress, Turn};
use serde_json::{Map, Value, json};

use crate::{
    Shared, callbacks,
    drive::{Attempt, Live},
    follow::What,
    outbox::Occurrence,
    programs::Prepared,
    start::Request,
};

/// How an attempt ended.
pub(crate) struct Done {
    pub key: StepKey,
    pub attempt: u32,
    pub started_at: Timestamp,
    pub outcome: Outcome,
}

/// How it ended.
pub(crate) enum Outcome {
    Completed {
        output: Value,
        usage: Usage,
        detail: Option<Value>,
        /// Events that it publishes.
        emits: Vec<Occurrence>,
        /// An execution that it starts and does not wait for.
        child: Option<Request>,
    },
    Failed(Box<Failure>),
    /// It waits; nothing runs meanwhile.
    Waiting {
        until: Option<Timestamp>,
        detail: Option<Value>,
        /// An execution that it starts, and waits for.
        child: Option<Request>,
    },
}

impl Outcome {
    /// It is done, and this came of it.
    pub fn of(output: Value) -> Self {
        Self::Completed {
            output,
            usage: Usage::default(),
            detail: None,
            emits: Vec::new(),
            child: None,
        }
    }
}

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: ExecutionError,
    /// Whether another attempt may fare better.
    pub retryable: bool,
    /// How long to wait before it at least.
    pub retry_after: Option<Duration>,
    pub usage: Usage,
    pub detail: Option<Value>,
}

impl Failure {
    /// It failed; trying again would not help.
    pub fn new(kind: &str, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            error: ExecutionError {
                kind: kind.to_owned(),
                message: message.into(),
                node: None,
            },
            retryable: false,
            retry_after: None,
            usage: Usage::default(),
            detail: None,
        })
    }

    /// It failed; another attempt may fare better.
    pub fn passing(kind: &str, message: impl Into<String>) -> Box<Self> {
        let mut failure = Self::new(kind, message);
        failure.retryable = true;
        failure
    }
}

impl From<TemplateError> for Box<Failure> {
    fn from(error: TemplateError) -> Self {
        Failure::new("template_failed", error.message)
    }
}

/// An attempt, with all it needs to know.
pub(crate) struct Job {
    pub key: StepKey,
    pub attempt: u32,
    started_at: Timestamp,
    prepared: Arc<Prepared>,
    /// The node's number.
    number: usize,
    pub execution: Execution,
    state: Arc<Map<String, Value>>,
    last: Option<Arc<Value>>,
    item: Option<Value>,
}

impl Job {
    pub fn new(live: &Live, attempt: Attempt, now: Timestamp) -> Self {
        let Attempt { key, attempt } = attempt;
        let item = live.run.item(&key).cloned();
        let (state, last) = live.run.seen();
        Self {
            number: live
                .prepared
                .program
                .number(&key.node)
                .unwrap_or(usize::MAX),
            prepared: Arc::clone(&live.prepared),
            execution: live.execution.clone(),
            state,
            last,
            started_at: now,
            item,
            key,
            attempt,
        }
    }

    fn node(&self) -> &Node {
        self.prepared.program.node(self.number)
    }

    /// What the node's inputs come to; their templates see `callbacks`, if there are any.
    fn inputs(&self, callbacks: Option<&Value>) -> Result<Map<String, Value>, Box<Failure>> {
        let mut inputs = Map::new();
        if let (Some(item), Some(index)) = (&self.item, self.key.item) {
            inputs.insert("item".to_owned(), item.clone());
            inputs.insert("index".to_owned(), json!(index));
        }
        let own = &self.node().inputs;
        if own.is_empty() {
            return Ok(inputs);
        }
        let mut seen = inputs.clone();
        if let Some(callbacks) = callbacks {
            seen.insert(callbacks::NAME.to_owned(), callbacks.clone());
        }
        let scope = Scope {
            inputs: &seen,
            state: &self.state,
            last: self.last.as_deref(),
        };
        for (name, template) in own {
            let value = Template::parse(template)?.render_value(&scope)?;
            inputs.insert(name.clone(), value);
        }
        Ok(inputs)
    }
}

/// A node's inputs beside the state: what templates see.
pub(crate) struct Seen<'j> {
    pub job: &'j Job,
    pub inputs: Map<String, Value>,
    /// The inputs and, beside them, what only templates see; none: just the inputs.
    shown: Option<Map<String, Value>>,
}

impl<'j> Seen<'j> {
    fn new(shared: &Shared, job: &'j Job) -> Result<Self, Box<Failure>> {
        let callbacks = callbacks::all(&*shared.callbacks, &job.prepared, &job.execution);
        let inputs = job.inputs(callbacks.as_ref())?;
        let shown = callbacks
            .filter(|_| !inputs.contains_key(callbacks::NAME))
            .map(|callbacks| {
                let mut shown = inputs.clone();
                shown.insert(callbacks::NAME.to_owned(), callbacks);
                shown
            });
        Ok(Self { job, inputs, shown })
    }

    pub fn scope(&self) -> Scope<'_> {
        Scope {
            inputs: self.shown.as_ref().unwrap_or(&self.inputs),
            state: &self.job.state,
            last: self.job.last.as_deref(),
        }
    }

    pub fn text(&self, template: &str) -> Result<String, Box<Failure>> {
        Ok(Template::parse(template)?.render(&self.scope())?)
    }
}

/// Runs an attempt.
pub(crate) async fn run(shared: Arc<Shared>, job: Job) -> Done {
    let outcome = if job.number == usize::MAX {
        let message = format!("there is no node `{}`", job.key.node);
        Outcome::Failed(Failure::new("node_unknown", message))
    } else {
        within_time(&shared, &job).await
    };
    let outcome = name_node(outcome, &job.key);
    Done {
        key: job.key,
        attempt: job.attempt,
        started_at: job.started_at,
        outcome,
    }
}

/// Runs it for as long as it may.
async fn within_time(shared: &Arc<Shared>, job: &Job) -> Outcome {
    let node = job.node();
    if is_plain(&node.kind) {
        return attempt(shared, job).await.unwrap_or_else(Outcome::Failed);
    }
    // The semaphore is never closed.
    let _place = shared.steps.acquire().await;
    let most = Duration::from_millis(node.timeout_ms);
    match tokio::time::timeout(most, attempt(shared, job)).await {
        Ok(outcome) => outcome.unwrap_or_else(Outcome::Failed),
        Err(_) => Outcome::Failed(Failure::passing(
            "step_timeout",
            format!("took longer than {} s", most.as_secs_f64()),
        )),
    }
}

/// Whether a node talks to nobody, and so needs neither a place nor a deadline of its own.
fn is_plain(kind: &NodeKind) -> bool {
    matches!(
        kind,
        NodeKind::Transform { .. }
            | NodeKind::Emit { .. }
            | NodeKind::Wait(_)
            | NodeKind::Join { .. }
            | NodeKind::Workflow { .. }
    )
}

fn name_node(mut outcome: Outcome, key: &StepKey) -> Outcome {
    if let Outcome::Failed(failure) = &mut outcome {
        failure.error.node = Some(key.node.clone());
    }
    outcome
}

async fn attempt(shared: &Arc<Shared>, job: &Job) -> Result<Outcome, Box<Failure>> {
    let seen = Seen::new(shared, job)?;
    match &job.node().kind {
        NodeKind::Llm(llm) => turn(shared, &seen, llm).await,
        NodeKind::Code(code) => python(shared, &seen, code).await,
        NodeKind::Http(http) => http::run(shared, &seen, http).await,
        NodeKind::Transform { .. } => plain::transform(shared, &seen).await,
        NodeKind::Emit { event, data } => plain::emit(&seen, event, data.as_ref()),
        NodeKind::Workflow { workflow, wait } => {
            plain::workflow(shared, &seen, workflow, *wait).await
        }
        NodeKind::Wait(wait) => plain::wait(shared, &seen, wait),
        NodeKind::Join { .. } => Ok(Outcome::of(Value::Null)),
        NodeKind::Agent { agent, .. } => Err(Failure::new(
            "agent_unknown",
            format!("there is no agent `{agent}`"),
        )),
    }
}

async fn turn(
    shared: &Arc<Shared>,
    seen: &Seen<'_>,
    llm: &LlmNode,
) -> Result<Outcome, Box<Failure>> {
    let prompt = seen.text(&llm.prompt)?;
    let (workspace, execution) = (seen.job.execution.workspace, seen.job.execution.id);
    let progress = |progress: Progress| {
        let key = seen.job.key.clone();
        let what = match progress {
            Progress::Text(text) => What::Text { key, text },
            Progress::Tool(tool) => What::Tool { key, tool },
        };
        shared.tell(workspace, execution, what);
    };
    let turn = Turn {
        llm: &llm.llm,
        prompt,
        output: llm.output.as_ref(),
        tools: &llm.tools,
        offline: seen.job.execution.offline,
    };
    match shared.models.turn(turn, &progress).await {
        Ok(end) => Ok(Outcome::Completed {
            output: end.output,
            usage: end.usage,
            detail: Some(end.detail),
            emits: Vec::new(),
            child: None,
        }),
        Err(error) => {
            let mut failure = Failure::new(error.kind, error.message);
            failure.retryable = error.retryable;
            failure.retry_after = error.retry_after;
            failure.usage = error.usage;
            Err(failure)
        }
    }
}

async fn python(
    shared: &Arc<Shared>,
    seen: &Seen<'_>,
    code: &CodeNode,
) -> Result<Outcome, Box<Failure>> {
    let inputs = Value::Object(seen.inputs.clone());
    match shared.sandbox.python(code, &inputs).await {
        Ok(result) => {
            let named = match (&code.output, seen.job.node().outputs.as_slice()) {
                // `result` may be the value of the one field that is declared.
                (Some(domain::workflow::definition::Output::Fields(fields)), [one])
                    if fields.len() == 1 && result.get(one).is_none() =>
                {
                    json!({ one: result })
                }
                _ => result,
            };
            Ok(Outcome::of(named))
        }
        Err(error) => Err(Failure::new("code_failed", error.to_string())),
    }
}

/// What an outside server can tell an attempt by, the same after a crash.
pub(crate) fn idempotency_key(execution: ExecutionId, key: &StepKey) -> String {
    crate::events::run_id(&execution.to_string(), key)
}
