//! What people tell executions: stop, go on, this was approved.

use axum::extract::State;
use domain::{
    ExecutionId, WorkspaceId,
    access::Scope,
    execution::{Signal, Step},
};
use http::StatusCode;
use serde::Deserialize;
use store::Signalled;
use utoipa::ToSchema;

use super::{ExecutionView, find, waits_for};
use crate::{
    SharedApp,
    api::fields::{self, Fields},
    auth::{Access, Subject},
    extract::{BodyBytes, Id, Json},
    problem::Problem,
};

/// The longest comment, in characters.
const COMMENT_CHARS_MAX: usize = 2_000;

type Accepted = (StatusCode, Json<ExecutionView>);

/// Stop an execution
///
/// What runs is cut off, and nothing follows. It can be made to go on with a retry.
#[utoipa::path(
    post, path = "/api/v1/executions/{id}/stop", tag = "Executions", operation_id = "stopExecution",
    params(("id" = String, Path, description = "The execution's id", example = "exe_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 202, description = "It is told to stop", body = ExecutionView)),
)]
pub(super) async fn stop(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<ExecutionId>,
) -> Result<Accepted, Problem> {
    let workspace = access.require(Scope::Write)?;
    let by = by(&access);
    let signalled = app
        .engine
        .signal(workspace, id, Signal::Stop { by })
        .await?;
    accepted(&app, workspace, id, signalled, "has already ended").await
}

/// Retry an execution
///
/// One that failed or was stopped goes on where that happened: what has completed is not done
/// again.
#[utoipa::path(
    post, path = "/api/v1/executions/{id}/retry", tag = "Executions", operation_id = "retryExecution",
    params(("id" = String, Path, description = "The execution's id", example = "exe_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 202, description = "It goes on", body = ExecutionView)),
)]
pub(super) async fn retry(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<ExecutionId>,
) -> Result<Accepted, Problem> {
    let workspace = access.require(Scope::Write)?;
    let by = by(&access);
    let signalled = app
        .engine
        .signal(workspace, id, Signal::Retry { by })
        .await?;
    accepted(
        &app,
        workspace,
        id,
        signalled,
        "has neither failed nor been stopped",
    )
    .await
}

/// The answer to an approval.
#[derive(Deserialize, ToSchema)]
#[schema(as = ApprovalInput)]
pub(super) struct ApprovalBody {
    /// The number of the step that waits; not needed where only one does.
    step: Option<u32>,
    /// Whether it may go on.
    approved: bool,
    /// What there is to say about it, at most 2 000 characters.
    comment: Option<String>,
}

impl Fields for ApprovalBody {
    const KNOWN: &'static [&'static str] = &["step", "approved", "comment"];
}

/// Answer an approval
///
/// Counts once: the first answer holds.
#[utoipa::path(
    post, path = "/api/v1/executions/{id}/approve", tag = "Executions", operation_id = "approveExecution",
    params(("id" = String, Path, description = "The execution's id", example = "exe_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = ApprovalBody,
    responses((status = 202, description = "The answer is kept", body = ExecutionView)),
)]
pub(super) async fn approve(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<ExecutionId>,
    BodyBytes(body): BodyBytes,
) -> Result<Accepted, Problem> {
    let workspace = access.require(Scope::Write)?;
    let body: ApprovalBody = fields::parse(&body)?;
    let too_long = |comment: &String| comment.chars().count() > COMMENT_CHARS_MAX;
    if body.comment.as_ref().is_some_and(too_long) {
        let message = format!("has at most {COMMENT_CHARS_MAX} characters");
        return Err(Problem::field("comment", message));
    }
    find(&app, workspace, id).await?;
    let steps = app.store().steps(workspace, id).await?;
    let signal = Signal::Approval {
        step: waiting(&steps, body.step)?,
        approved: body.approved,
        by: by(&access),
        comment: body.comment,
    };
    let signalled = app.engine.signal(workspace, id, signal).await?;
    accepted(
        &app,
        workspace,
        id,
        signalled,
        "does not wait for this approval any more",
    )
    .await
}

/// The number of the step that is answered.
fn waiting(steps: &[Step], wanted: Option<u32>) -> Result<u32, Problem> {
    let open: Vec<u32> = steps
        .iter()
        .filter(|step| waits_for(step, "approval"))
        .map(|step| step.number)
        .collect();
    match (wanted, open.as_slice()) {
        (_, []) => Err(Problem::conflict("No step of it waits for an approval.")),
        (None, [one]) => Ok(*one),
        (Some(wanted), open) if open.contains(&wanted) => Ok(wanted),
        (Some(_), _) => Err(Problem::conflict(
            "That step does not wait for an approval. The timeline says which ones do.",
        )),
        (None, open) => {
            let numbers: Vec<String> = open.iter().map(ToString::to_string).collect();
            let numbers = numbers.join(", ");
            let message = format!("is needed, since several steps wait: one of {numbers}");
            Err(Problem::field("step", message))
        }
    }
}

/// Who asks, for people.
pub(super) fn by(access: &Access) -> String {
    match &access.identity().subject {
        Subject::Local => "local".to_owned(),
        Subject::User { login, .. } => login.to_string(),
        Subject::Key { id } => id.to_string(),
    }
}

/// The answer to a signal.
async fn accepted(
    app: &SharedApp,
    workspace: WorkspaceId,
    id: ExecutionId,
    signalled: Signalled,
    refused: &str,
) -> Result<Accepted, Problem> {
    match signalled {
        Signalled::Held { .. } | Signalled::Due => {
            let execution = find(app, workspace, id).await?;
            Ok((StatusCode::ACCEPTED, Json(execution.into())))
        }
        Signalled::Refused(state) => Err(Problem::conflict(format!(
            "The execution {refused}: it is {}.",
            state.as_str()
        ))),
        Signalled::Unknown => Err(Problem::not_found("execution")),
    }
}
