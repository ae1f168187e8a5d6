//! `/api/v1/executions`: what runs and ran, step by step; live at [`stream`]; [`control`] stops
//! them, has them go on, and answers approvals. They are started at `/api/v1/workflows/{id}/run`.

mod control;
mod stream;
mod view;

use axum::extract::State;
use domain::{
    ExecutionId, Timestamp, WorkspaceId,
    access::Scope,
    execution::{Execution, ExecutionState},
};
use serde::Deserialize;
use store::ExecutionFilter;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::sse::Places;
use crate::{
    SharedApp,
    auth::Access,
    extract::{Id, Json, List, PageQuery, Query},
    problem::Problem,
};

pub use view::{ExecutionDetail, ExecutionView, waits_for};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    let followed = OpenApiRouter::new()
        .routes(routes!(stream::stream))
        .layer(axum::Extension(Places::default()));
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(control::stop))
        .routes(routes!(control::retry))
        .routes(routes!(control::approve))
        .merge(followed)
}

/// Which executions are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct ExecutionQuery {
    /// Only of this workflow.
    workflow_id: Option<String>,
    /// Only in this state: `pending`, `running`, `waiting`, `completed`, `failed` or `stopped`.
    #[param(value_type = Option<String>)]
    state: Option<ExecutionState>,
    /// Only asked for at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// List executions
///
/// Newest first, without what they were given and came to.
#[utoipa::path(
    get, path = "/api/v1/executions", tag = "Executions", operation_id = "listExecutions",
    params(ExecutionQuery, PageQuery),
    responses((status = 200, description = "A page of executions", body = List<ExecutionView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Query(query): Query<ExecutionQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<ExecutionView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let page = page.page::<ExecutionId>()?;
    let workflow = query.workflow_id.as_deref().map(str::parse).transpose();
    let filter = ExecutionFilter {
        workflow: workflow.map_err(|error: domain::id::IdError| {
            Problem::field("workflowId", error.to_string())
        })?,
        state: query.state,
        since: query.since,
    };
    let executions = app.store().executions(workspace, filter, page).await?;
    Ok(Json(List::new(
        &page,
        executions,
        |execution| execution.id.to_string(),
        ExecutionView::from,
    )))
}

/// Show an execution
///
/// With its steps in order, and what runs at this moment.
#[utoipa::path(
    get, path = "/api/v1/executions/{id}", tag = "Executions", operation_id = "getExecution",
    params(("id" = String, Path, description = "The execution's id", example = "exe_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The execution", body = ExecutionDetail)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<ExecutionId>,
) -> Result<Json<ExecutionDetail>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let execution = find(&app, workspace, id).await?;
    detail(&app, execution, access.require(Scope::Write).is_ok())
        .await
        .map(Json)
}

/// The execution, if it is one of the workspace.
pub async fn find(
    app: &SharedApp,
    workspace: WorkspaceId,
    id: ExecutionId,
) -> Result<Execution, Problem> {
    let found = app.store().execution(workspace, id).await?;
    found.ok_or_else(|| Problem::not_found("execution"))
}

/// An execution with its steps, as somebody sees it who may change things (`writes`) or not.
pub async fn detail(
    app: &SharedApp,
    execution: Execution,
    writes: bool,
) -> Result<ExecutionDetail, Problem> {
    let steps = app.store().steps(execution.workspace, execution.id).await?;
    // What cannot be found out is not shown: the rest is worth seeing all the more then.
    let running = app.engine.running(&execution, &steps).await;
    let running = running.unwrap_or_default();
    Ok(ExecutionDetail::new(app, execution, steps, running, writes))
}
