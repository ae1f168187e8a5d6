//! `POST /api/v1/workflows/{id}/run`: an execution, and its result where it is waited for.

use std::time::Duration;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{access::Scope, execution::Cause};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use store::Started;
use utoipa::ToSchema;
use workflow::start::{Request, StartError, WorkflowRef};

use super::Named;
use crate::{
    SharedApp,
    api::{
        executions::{self, ExecutionDetail},
        fields::{self, Fields},
    },
    auth::Access,
    extract::{BodyBytes, Json},
    problem::{FieldError, Problem},
};

/// The longest wait for an end, in seconds.
const WAIT_S_MAX: u64 = 30;

/// What an execution is started with.
#[derive(Deserialize, ToSchema)]
#[schema(as = RunInput)]
pub(super) struct RunBody {
    /// Its inputs.
    #[serde(default)]
    #[schema(value_type = Object, example = json!({ "topic": "webhooks" }))]
    inputs: Map<String, Value>,
    /// Which version; the newest where nothing is said.
    version: Option<u32>,
    /// Whether its models are the offline stand-in.
    #[serde(default)]
    offline: bool,
    /// How many seconds to wait for its end, 0 to 30; also `Prefer: wait=10`.
    wait: Option<u64>,
}

impl Fields for RunBody {
    const KNOWN: &'static [&'static str] = &["inputs", "version", "offline", "wait"];
}

/// Run a workflow
///
/// 202 once it is on disk; with `wait`, 200 with its end if that comes in time. Follow it at the
/// answer's `Location`.
#[utoipa::path(
    post, path = "/api/v1/workflows/{id}/run", tag = "Workflows", operation_id = "runWorkflow",
    params(
        ("id" = String, Path, description = "The workflow's id or name", example = "wfl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>` waits for the end; `respond-async` does not, whatever the body says."),
    ),
    request_body = RunBody,
    responses(
        (status = 200, description = "It has ended", body = ExecutionDetail),
        (status = 202, description = "It has begun", body = ExecutionDetail),
    ),
)]
pub(super) async fn run(
    State(app): State<SharedApp>,
    access: Access,
    named: Named,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Response, Problem> {
    let workspace = access.require(Scope::Write)?;
    let body: RunBody = fields::parse_or_empty(&body)?;
    let wait = patience(&headers, body.wait)?;
    let workflow = named.find(&app, workspace).await?;
    if let Some(number) = body.version {
        let id = workflow.id;
        let known = app.store().workflow_version(workspace, id, number).await?;
        known.ok_or_else(|| Problem::field("version", "is none of this workflow"))?;
    }
    let request = Request {
        workspace,
        workflow: WorkflowRef::Id(workflow.id),
        version: body.version,
        input: body.inputs,
        cause: Cause::Api,
        offline: body.offline,
    };
    let begun = app.engine.start(request).await.map_err(not_started)?;
    if begun.started == Started::Skipped {
        return Err(Problem::conflict(
            "The workflow runs as often as it may at once, and leaves out what comes beyond.",
        ));
    }
    let id = begun.id;
    if !wait.is_zero() {
        app.engine.wait(begun, wait).await?;
    }
    let execution = executions::find(&app, workspace, id).await?;
    let status = if execution.state.is_final() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let location = format!("/api/v1/executions/{id}");
    let detail = executions::detail(&app, execution, true).await?;
    Ok((status, [(header::LOCATION, location)], Json(detail)).into_response())
}

/// Why an execution was not started.
fn not_started(error: StartError) -> Problem {
    match error {
        StartError::Inputs(wrong) if !wrong.is_empty() => {
            let errors = wrong
                .into_iter()
                .map(|(path, message)| FieldError { path, message });
            Problem::fields(errors.collect())
        }
        StartError::Inputs(_) => Problem::field("inputs", "do not fit the workflow"),
        StartError::UnknownWorkflow { .. } => Problem::not_found("workflow"),
        StartError::Definition(why) => {
            Problem::conflict(format!("The workflow cannot be run: {why}."))
        }
        StartError::Store(error) => error.into(),
    }
}

/// How long the end is waited for.
fn patience(headers: &HeaderMap, said: Option<u64>) -> Result<Duration, Problem> {
    let preferences: Vec<&str> = headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let is = |preference: &&str| preference.eq_ignore_ascii_case("respond-async");
    if said.is_some_and(|seconds| seconds > WAIT_S_MAX) {
        return Err(Problem::field("wait", format!("must be 0 to {WAIT_S_MAX}")));
    }
    if preferences.iter().any(is) {
        return Ok(Duration::ZERO);
    }
    // A preference that cannot be met is no error (RFC 7240).
    let preferred = preferences.iter().find_map(|preference| {
        let (name, seconds) = preference.split_once('=')?;
        let seconds: u64 = seconds.trim().parse().ok()?;
        name.trim()
            .eq_ignore_ascii_case("wait")
            .then_some(seconds.min(WAIT_S_MAX))
    });
    Ok(Duration::from_secs(said.or(preferred).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_said_by_body_or_header() {
        let seconds = |prefer: &'static str, said| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", prefer.parse().unwrap());
            patience(&headers, said).ok().map(|wait| wait.as_secs())
        };
        assert_eq!(seconds("x", None), Some(0));
        assert_eq!(seconds("wait=5", None), Some(5));
        assert_eq!(seconds("Wait=500", None), Some(30));
        assert_eq!(seconds("wait=5", Some(7)), Some(7));
        assert_eq!(seconds("respond-async, wait=5", Some(7)), Some(0));
        assert_eq!(seconds("wait=5", Some(31)), None);
    }
}
