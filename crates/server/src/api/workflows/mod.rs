//! `/api/v1/workflows`: what can be run, with its versions; [`run`] starts executions. [`plain`]
//! is the same as S3's clients know it.

mod body;
mod plain;
mod run;
mod view;
mod webhooks;

use axum::extract::{FromRequestParts, State};
use domain::{WorkflowId, WorkspaceId, access::Scope};
use http::{StatusCode, header, request::Parts};
use store::{Page, Workflow};
use utoipa_axum::{router::OpenApiRouter, routes};
use workflow::registry::{Outcome, RegisterError, Target};

use crate::{
    SharedApp,
    auth::Access,
    extract::{Json, List, PageQuery, Path, Query},
    problem::{Kind, Problem},
};
use body::{Definition, WorkflowBody, refused};
use view::{RegisteredView, VersionDetail, VersionView, WorkflowDetail, WorkflowView};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, delete))
        .routes(routes!(versions))
        .routes(routes!(version))
        .routes(routes!(run::run))
        .routes(routes!(plain::list, plain::create))
}

/// The `{id}` of a path: a workflow's id, or its name.
#[derive(Clone, Debug)]
struct Named(String);

impl FromRequestParts<SharedApp> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedApp) -> Result<Self, Problem> {
        let params =
            Path::<std::collections::BTreeMap<String, String>>::from_request_parts(parts, app);
        let Path(mut params) = params.await?;
        params
            .remove("id")
            .map(Self)
            .ok_or_else(|| Problem::not_found("workflow"))
    }
}

impl Named {
    async fn find(&self, app: &SharedApp, workspace: WorkspaceId) -> Result<Workflow, Problem> {
        let store = app.store();
        let found = match self.0.parse::<WorkflowId>() {
            Ok(id) => store.workflow(workspace, id).await?,
            Err(_) => store.workflow_by_name(workspace, &self.0).await?,
        };
        found.ok_or_else(|| Problem::not_found("workflow"))
    }
}

/// List workflows
///
/// Oldest first.
#[utoipa::path(
    get, path = "/api/v1/workflows", tag = "Workflows", operation_id = "listWorkflows",
    params(PageQuery),
    responses((status = 200, description = "A page of workflows", body = List<WorkflowView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<WorkflowView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let page = page.page::<WorkflowId>()?;
    let workflows = app.store().workflows(workspace, page).await?;
    Ok(Json(List::new(
        &page,
        workflows,
        |workflow| workflow.id.to_string(),
        WorkflowView::from,
    )))
}

/// Register a workflow
///
/// As JSON (`config`, in the form of a file) or as the text of a workflow file (`source`, or the
/// body itself as `application/yaml`). What is wrong with it is told all at once, with paths, and
/// with lines and columns where it was a text; `warnings` name what in it does not do what it seems
/// to. Its name must be free. The `webhooks` that it names are made with it, unless there are such
/// already; their secrets are in this answer and in that of a rotation, nowhere else.
#[utoipa::path(
    post, path = "/api/v1/workflows", tag = "Workflows", operation_id = "createWorkflow",
    request_body(content((WorkflowBody = "application/json"), (String = "application/yaml"))),
    responses((status = 201, description = "The workflow", body = RegisteredView)),
)]
async fn create(
    State(app): State<SharedApp>,
    access: Access,
    definition: Definition,
) -> Result<
    (
        StatusCode,
        [(header::HeaderName, String); 1],
        Json<RegisteredView>,
    ),
    Problem,
> {
    let workspace = access.require(Scope::Write)?;
    let registered = register(&app, workspace, Target::New, definition, None).await?;
    let location = format!("/api/v1/workflows/{}", registered.workflow.id);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(registered),
    ))
}

/// Show a workflow
///
/// With the file of its newest version, and that in its normal form.
#[utoipa::path(
    get, path = "/api/v1/workflows/{id}", tag = "Workflows", operation_id = "getWorkflow",
    params(("id" = String, Path, description = "The workflow's id or name", example = "wfl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The workflow", body = WorkflowDetail)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    named: Named,
) -> Result<Json<WorkflowDetail>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let workflow = named.find(&app, workspace).await?;
    let version = app
        .store()
        .workflow_version(workspace, workflow.id, workflow.version)
        .await?
        .ok_or_else(|| Problem::not_found("version"))?;
    Ok(Json(WorkflowDetail::new(workflow, &version)))
}

/// Change a workflow
///
/// Stores its next version; executions that run go on with theirs. What is the same as the newest
/// version makes none. Without a `name` it keeps its own, unless the file says another.
#[utoipa::path(
    put, path = "/api/v1/workflows/{id}", tag = "Workflows", operation_id = "putWorkflow",
    params(("id" = String, Path, description = "The workflow's id or name", example = "wfl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body(content((WorkflowBody = "application/json"), (String = "application/yaml"))),
    responses((status = 200, description = "The workflow as it is now", body = RegisteredView)),
)]
async fn update(
    State(app): State<SharedApp>,
    access: Access,
    named: Named,
    definition: Definition,
) -> Result<Json<RegisteredView>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let workflow = named.find(&app, workspace).await?;
    let target = Target::Existing(workflow.id);
    let registered = register(&app, workspace, target, definition, Some(workflow.name)).await?;
    Ok(Json(registered))
}

/// Delete a workflow
///
/// With its triggers. Executions that run go on; past ones stay, with their versions.
#[utoipa::path(
    delete, path = "/api/v1/workflows/{id}", tag = "Workflows", operation_id = "deleteWorkflow",
    params(("id" = String, Path, description = "The workflow's id or name", example = "wfl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 204, description = "It is gone")),
)]
async fn delete(
    State(app): State<SharedApp>,
    access: Access,
    named: Named,
) -> Result<StatusCode, Problem> {
    let workspace = access.require(Scope::Write)?;
    let workflow = named.find(&app, workspace).await?;
    app.engine
        .unregister(workspace, workflow.id)
        .await
        .map_err(not_registered)?;
    app.reload_intake().await;
    Ok(StatusCode::NO_CONTENT)
}

/// List a workflow's versions
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/v1/workflows/{id}/versions", tag = "Workflows", operation_id = "listWorkflowVersions",
    params(("id" = String, Path, description = "The workflow's id or name", example = "wfl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b"), PageQuery),
    responses((status = 200, description = "A page of versions", body = List<VersionView>)),
)]
async fn versions(
    State(app): State<SharedApp>,
    access: Access,
    named: Named,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<VersionView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let page: Page<u32> = page.page()?;
    let workflow = named.find(&app, workspace).await?;
    let versions = app
        .store()
        .workflow_versions(workspace, workflow.id, page)
        .await?;
    Ok(Json(List::new(
        &page,
        versions,
        |version| version.number.to_string(),
        |version| VersionView::from(&version),
    )))
}

/// Show a version of a workflow
#[utoipa::path(
    get, path = "/api/v1/workflows/{id}/versions/{number}", tag = "Workflows", operation_id = "getWorkflowVersion",
    params(
        ("id" = String, Path, description = "The workflow's id or name", example = "wfl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b"),
        ("number" = u32, Path, description = "The version's number", example = 1),
    ),
    responses((status = 200, description = "The version", body = VersionDetail)),
)]
async fn version(
    State(app): State<SharedApp>,
    access: Access,
    Path((id, number)): Path<(String, u32)>,
) -> Result<Json<VersionDetail>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let workflow = Named(id).find(&app, workspace).await?;
    let version = app
        .store()
        .workflow_version(workspace, workflow.id, number)
        .await?
        .ok_or_else(|| Problem::not_found("version"))?;
    Ok(Json(VersionDetail::new(&version)))
}

/// Registers what a body says. `kept` is the name where neither body nor definition says one.
async fn register(
    app: &SharedApp,
    workspace: WorkspaceId,
    target: Target,
    definition: Definition,
    kept: Option<String>,
) -> Result<RegisteredView, Problem> {
    let source = definition.into_source(kept)?;
    let registered = app.engine.register(workspace, target, source).await;
    let mut registered = registered.map_err(not_registered)?;
    app.reload_intake().await;
    let made = webhooks::bring(app, workspace, &mut registered).await;
    Ok(RegisteredView::new(registered, made))
}

/// The registry's refusal.
fn not_registered(error: RegisterError) -> Problem {
    match error {
        RegisterError::Invalid(found) => refused(found),
        RegisterError::NameTaken(name) => Problem::conflict(format!(
            "Another workflow is called `{name}`: change that one, or use another name."
        )),
        RegisterError::Unknown => Problem::not_found("workflow"),
        RegisterError::Busy => Problem::new(
            Kind::Overloaded,
            "The workflow is being changed by others. Try again.",
        ),
        RegisterError::Store(error) => error.into(),
    }
}

/// What became of a workflow, in a word.
const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Created => "created",
        Outcome::Updated => "updated",
        Outcome::Unchanged => "unchanged",
    }
}
