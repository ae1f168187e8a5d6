//! `/api/v1/workspaces`: the separate worlds of one installation.

use axum::extract::State;
use domain::{
    Timestamp, WorkspaceId,
    access::{Role, Scope, Workspace},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    SharedApp,
    auth::{Access, Subject},
    extract::{Json, List},
    problem::Problem,
};

/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 100;
/// The most workspaces of one installation.
const WORKSPACES_MAX: usize = 1_000;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new().routes(routes!(list, create))
}

/// A workspace.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Workspace)]
struct WorkspaceView {
    /// Its id, for the `X-Workspace` header.
    #[schema(value_type = String, example = "wsp_1")]
    id: WorkspaceId,
    /// What people call it.
    name: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Workspace> for WorkspaceView {
    fn from(workspace: Workspace) -> Self {
        Self {
            id: workspace.id,
            name: workspace.name,
            created_at: workspace.created_at,
        }
    }
}

/// List workspaces
///
/// Those that the caller can act in, with the `X-Workspace` header.
#[utoipa::path(
    get, path = "/api/v1/workspaces", tag = "Access", operation_id = "listWorkspaces",
    responses((status = 200, description = "The workspaces, on one page", body = List<WorkspaceView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
) -> Result<Json<List<WorkspaceView>>, Problem> {
    let mut workspaces = app.store().workspaces().await?;
    match access.identity().subject {
        Subject::Local => {}
        Subject::Key { .. } => {
            workspaces.retain(|workspace| workspace.id == access.identity().workspace);
        }
        Subject::User { id, .. } => {
            let own = app.store().memberships(id).await?;
            workspaces
                .retain(|workspace| own.iter().any(|member| member.workspace == workspace.id));
        }
    }
    Ok(Json(List::whole(
        workspaces.into_iter().map(WorkspaceView::from).collect(),
    )))
}

/// What a new workspace is to be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewWorkspace {
    /// What people call it.
    #[schema(min_length = 1, max_length = 100, example = "staging")]
    name: String,
}

/// Create a workspace
///
/// For owners; whoever makes it is its first owner.
#[utoipa::path(
    post, path = "/api/v1/workspaces", tag = "Access", operation_id = "createWorkspace",
    request_body = NewWorkspace,
    responses((status = 201, description = "The workspace", body = WorkspaceView)),
)]
async fn create(
    State(app): State<SharedApp>,
    access: Access,
    Json(new): Json<NewWorkspace>,
) -> Result<(StatusCode, Json<WorkspaceView>), Problem> {
    access.require(Scope::Admin)?;
    let owner = match access.identity().subject {
        Subject::Local => None,
        Subject::User { id, .. } => Some(id),
        Subject::Key { .. } => {
            return Err(Problem::forbidden(
                "An API key belongs to one workspace and cannot make others.",
            ));
        }
    };
    let name = new.name.trim();
    if !(1..=NAME_CHARS_MAX).contains(&name.chars().count()) {
        return Err(Problem::field(
            "name",
            format!("must have 1 to {NAME_CHARS_MAX} characters"),
        ));
    }
    if app.store().workspaces().await?.len() >= WORKSPACES_MAX {
        return Err(Problem::conflict(
            "There are as many workspaces as an installation can have.",
        ));
    }
    let workspace = app.store().create_workspace(name, app.now()).await?;
    if let Some(owner) = owner {
        app.store()
            .set_role(owner, workspace.id, Some(Role::Owner))
            .await?;
        app.gatekeeper.forget_person(owner);
    }
    Ok((StatusCode::CREATED, Json(workspace.into())))
}
