//! `/api/workflows`: workflows as S3's clients register and list them: `{name, config_path}` or
//! `{name, config}`. Refusals are `{"message"}`, as everywhere under `/api/` but `/api/v1`; what
//! is wrong with a definition is told in the message, the first error first.

use std::path::PathBuf;

use axum::extract::State;
use domain::{WorkflowId, access::Scope};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use workflow::{
    files::Files,
    registry::{Source, Target},
};

use super::{
    body::named_in,
    not_registered,
    view::{DiagnosticView, WorkflowView},
    webhooks::{self, BroughtWebhook},
};
use crate::{
    SharedApp,
    api::fields::{self, Fields},
    auth::Access,
    extract::{BodyBytes, Json, PageQuery, Query},
    problem::Problem,
};

/// A workflow to be registered.
#[derive(Deserialize, ToSchema)]
#[schema(as = PlainWorkflowInput)]
pub(super) struct PlainBody {
    /// Its name, whatever the definition says.
    #[schema(example = "slack_notification")]
    name: Option<String>,
    /// A workflow file on the server, relative to its folder of workflows.
    #[schema(example = "webhook_integration.yaml")]
    config_path: Option<String>,
    /// The definition as JSON, in the form of a workflow file.
    #[schema(value_type = Option<Object>)]
    config: Option<Value>,
}

impl Fields for PlainBody {
    const KNOWN: &'static [&'static str] = &["name", "config_path", "config"];
}

/// A workflow that was registered.
#[derive(Serialize, ToSchema)]
#[schema(as = PlainWorkflow)]
pub(super) struct PlainRegistered {
    /// Its id.
    #[schema(value_type = String)]
    id: WorkflowId,
    /// Its name.
    name: String,
    /// Its newest version: 1 for the first.
    version: u32,
    /// What in it does not do what it seems to.
    warnings: Vec<DiagnosticView>,
    /// The webhooks that were made with it.
    webhooks: Vec<BroughtWebhook>,
}

/// List workflows (S3)
///
/// Oldest first, as a bare array of one page.
#[utoipa::path(
    get, path = "/api/workflows", tag = "Workflows", operation_id = "listPlainWorkflows",
    params(PageQuery),
    responses((status = 200, description = "The workflows", body = Vec<WorkflowView>)),
)]
pub(super) async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Query(page): Query<PageQuery>,
) -> Result<Json<Vec<WorkflowView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let mut page = page.page::<WorkflowId>()?;
    page.limit -= 1;
    let workflows = app.store().workflows(workspace, page).await?;
    Ok(Json(workflows.into_iter().map(Into::into).collect()))
}

/// Register a workflow (S3)
///
/// By a file on the server (`config_path`) or by the definition itself (`config`). A workflow of
/// that name gets a new version.
#[utoipa::path(
    post, path = "/api/workflows", tag = "Workflows", operation_id = "registerPlainWorkflow",
    request_body = PlainBody,
    responses((status = 201, description = "The workflow", body = PlainRegistered)),
)]
pub(super) async fn create(
    State(app): State<SharedApp>,
    access: Access,
    BodyBytes(body): BodyBytes,
) -> Result<
    (
        StatusCode,
        [(header::HeaderName, String); 1],
        Json<PlainRegistered>,
    ),
    Problem,
> {
    let workspace = access.require(Scope::Write)?;
    let source = match fields::parse(&body)? {
        PlainBody {
            name,
            config_path: Some(path),
            config: None,
        } => from_file(&app, name, path).await?,
        PlainBody {
            name,
            config_path: None,
            config: Some(config),
        } => {
            let name = name.or_else(|| named_in(&config));
            let name = name.ok_or_else(|| Problem::field("name", "is required"))?;
            Source::Json { name, config }
        }
        _ => {
            return Err(Problem::field(
                "",
                "Give one of `config_path` (a file on the server) or `config` (the definition as JSON).",
            ));
        }
    };
    let registered = app.engine.register(workspace, Target::ByName, source).await;
    let mut registered = registered.map_err(not_registered)?;
    app.reload_intake().await;
    let webhooks = webhooks::bring(&app, workspace, &mut registered).await;
    let workflow = registered.workflow;
    let location = format!("/api/v1/workflows/{}", workflow.id);
    let answer = PlainRegistered {
        id: workflow.id,
        name: workflow.name,
        version: workflow.version,
        warnings: registered.warnings.into_iter().map(Into::into).collect(),
        webhooks,
    };
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(answer),
    ))
}

async fn from_file(app: &SharedApp, name: Option<String>, path: String) -> Result<Source, Problem> {
    let files = Files::below(root(app)?);
    let read = tokio::task::spawn_blocking(move || files.read(&path)).await;
    let read = read.map_err(|error| Problem::internal(&error))?;
    let text = read.map_err(|error| Problem::field("config_path", error.to_string()))?;
    Ok(match name {
        Some(name) => Source::NamedFile { name, text },
        None => Source::File(text),
    })
}

/// The folder that files are read from: the one that was set, or in local mode the working one.
fn root(app: &SharedApp) -> Result<PathBuf, Problem> {
    if let Some(folder) = &app.config.workflows_dir {
        return Ok(folder.clone());
    }
    if app.gatekeeper.is_local() {
        return Ok(PathBuf::from("."));
    }
    Err(Problem::field(
        "config_path",
        "is not taken by this server: it was started without --workflows-dir. Send the definition as `config`",
    ))
}
