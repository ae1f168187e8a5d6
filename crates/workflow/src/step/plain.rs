//! Nodes that talk to nobody outside: transform, emit, workflow, wait.

use std::{sync::Arc, time::Duration};

use domain::{
    Timestamp,
    event::EventType,
    execution::Cause,
    workflow::{
        definition::WaitFor,
        template::{Template, render_json},
    },
};
use sandbox::SandboxError;
use serde_json::{Map, Value, json};

use super::{Failure, Outcome, Seen};
use crate::{
    Shared,
    events::canonical,
    outbox::Occurrence,
    start::{DEPTH_MAX, StartError},
};

/// A jq expression over `{state, input, trigger}`.
pub(super) async fn transform(
    shared: &Arc<Shared>,
    seen: &Seen<'_>,
) -> Result<Outcome, Box<Failure>> {
    let job = seen.job;
    let Some(expression) = job.prepared.expression(job.number) else {
        return Err(Failure::new("jq_failed", "the node has no expression"));
    };
    let value = handed(seen, expression.reads());
    match shared.sandbox.jq(expression, value).await {
        Ok(mut outputs) if outputs.len() == 1 => Ok(Outcome::of(outputs.remove(0))),
        Ok(outputs) => Err(Failure::new(
            "jq_failed",
            format!(
                "the expression gave {} values, one is expected: wrap several in [ ]",
                outputs.len()
            ),
        )),
        Err(error @ SandboxError::Unavailable(_)) => {
            Err(Failure::passing("jq_failed", error.to_string()))
        }
        Err(error) => Err(Failure::new("jq_failed", error.to_string())),
    }
}

/// What a jq expression is handed: as much of `{state, input, trigger}` as it reads.
fn handed(seen: &Seen<'_>, reads: Option<&[Vec<String>]>) -> Value {
    let job = seen.job;
    let wants = |name: &str| {
        reads.is_none_or(|paths| {
            paths
                .iter()
                .any(|path| path.first().is_some_and(|key| key == name))
        })
    };
    let mut handed = Map::new();
    if wants("state") {
        let state = part(&job.state, "state", reads);
        handed.insert("state".to_owned(), Value::Object(state));
    }
    if wants("input") || wants("trigger") {
        let given: Value = serde_json::from_slice(&job.execution.input).unwrap_or(Value::Null);
        let trigger = json!({ "cause": job.execution.cause, "input": given });
        let input = if seen.inputs.is_empty() {
            given
        } else {
            Value::Object(seen.inputs.clone())
        };
        handed.insert("input".to_owned(), input);
        handed.insert("trigger".to_owned(), trigger);
    }
    Value::Object(handed)
}

/// Of an object that stands under `name`, the members that are read.
fn part(all: &Map<String, Value>, name: &str, reads: Option<&[Vec<String>]>) -> Map<String, Value> {
    let Some(reads) = reads else {
        return all.clone();
    };
    let mut keys = Vec::new();
    for path in reads.iter().filter(|path| path[0] == name) {
        match path.get(1) {
            Some(key) => keys.push(key.as_str()),
            None => return all.clone(),
        }
    }
    all.iter()
        .filter(|(key, _)| keys.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Publishes an event, in the transaction that records the step.
pub(super) fn emit(
    seen: &Seen<'_>,
    event: &str,
    data: Option<&Value>,
) -> Result<Outcome, Box<Failure>> {
    let name = seen.text(event)?;
    let event_type = EventType::parse(&name).map_err(|error| {
        Failure::new(
            "event_invalid",
            format!("`{name}` is no event type: {error}"),
        )
    })?;
    let data = match data {
        Some(data) => render_json(data, &seen.scope())?,
        None if seen.inputs.is_empty() => Value::Object((*seen.job.state).clone()),
        None => Value::Object(seen.inputs.clone()),
    };
    let occurrence = Occurrence {
        event_type,
        data: canonical(&data),
        hops: seen.job.execution.cause.hops(),
    };
    Ok(Outcome::Completed {
        output: json!({ "event": name }),
        usage: domain::execution::Usage::default(),
        detail: None,
        emits: vec![occurrence],
        child: None,
    })
}

/// Starts another workflow.
pub(super) async fn workflow(
    shared: &Arc<Shared>,
    seen: &Seen<'_>,
    named: &str,
    waits: bool,
) -> Result<Outcome, Box<Failure>> {
    let name = seen.text(named)?;
    let execution = &seen.job.execution;
    let depth = match &execution.cause {
        Cause::Execution { depth, .. } => depth + 1,
        _ => 1,
    };
    if depth > DEPTH_MAX {
        return Err(Failure::new(
            "too_deep",
            format!(
                "executions have started each other {DEPTH_MAX} times: workflows seem to form a loop"
            ),
        ));
    }
    let cause = Cause::Execution {
        parent: execution.id,
        node: seen.job.key.node.clone(),
        iteration: seen.job.key.iteration,
        item: seen.job.key.item,
        waits,
        depth,
        hops: execution.cause.hops(),
    };
    let request = Shared::request_for(execution, name.clone(), seen.inputs.clone(), cause);
    let prepared = shared
        .named(execution.workspace, &request.workflow, None)
        .await
        .map_err(|error| match error {
            StartError::Store(error) => Failure::passing("child_failed", error.to_string()),
            error => Failure::new("child_failed", error.to_string()),
        })?;
    if let Err(wrong) = prepared.program.initial_state(&request.input) {
        let wrong: Vec<String> = wrong
            .into_iter()
            .map(|(path, message)| format!("{path}: {message}"))
            .collect();
        return Err(Failure::new(
            "child_failed",
            format!("the inputs do not fit `{name}`: {}", wrong.join("; ")),
        ));
    }
    let detail = json!({ "workflow": name });
    Ok(if waits {
        Outcome::Waiting {
            until: None,
            detail: Some(detail),
            child: Some(request),
        }
    } else {
        Outcome::Completed {
            output: json!({ "started": name }),
            usage: domain::execution::Usage::default(),
            detail: Some(detail),
            emits: Vec::new(),
            child: Some(request),
        }
    })
}

/// Waits.
pub(super) fn wait(
    shared: &Arc<Shared>,
    seen: &Seen<'_>,
    wait: &WaitFor,
) -> Result<Outcome, Box<Failure>> {
    let now = shared.now();
    let after = |ms: &u64| now + Duration::from_millis(*ms);
    let (until, detail) = match wait {
        WaitFor::Duration { ms } => (Some(after(ms)), json!({ "for": "time" })),
        WaitFor::Until { time } => {
            let text = seen.text(time)?;
            let at = Timestamp::parse(text.trim())
                .map_err(|error| Failure::new("time_invalid", format!("`{text}`: {error}")))?;
            (Some(at), json!({ "for": "time" }))
        }
        WaitFor::Approval {
            message,
            timeout_ms,
            ..
        } => {
            let message = Template::parse(message)?.render(&seen.scope())?;
            let detail = json!({ "for": "approval", "message": message });
            (timeout_ms.as_ref().map(after), detail)
        }
        WaitFor::Callback { timeout_ms, .. } => {
            (timeout_ms.as_ref().map(after), json!({ "for": "callback" }))
        }
    };
    Ok(Outcome::Waiting {
        until,
        detail: Some(detail),
        child: None,
    })
}
