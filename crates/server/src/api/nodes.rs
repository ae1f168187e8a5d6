//! `/api/v1/nodes`: the processes that work on the database.
//!
//! They belong to the installation, not to a workspace: only who administers the default
//! workspace sees them, as whoever made the installation does.

use axum::extract::State;
use domain::{Timestamp, WorkspaceId, access::Scope};
use serde::Serialize;
use store::{Node, NodeRole};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    SharedApp,
    auth::Access,
    extract::{Json, List},
    problem::Problem,
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new().routes(routes!(list))
}

/// A process that works on the database.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Node)]
struct NodeView {
    /// Which installation of the program it is; the same after a restart.
    #[schema(value_type = String, example = "0190a0c2-f1e8-7d0e-9e0b-7c1d2e3f4a5b")]
    id: String,
    /// What people call it.
    #[schema(example = "signpost-1")]
    name: String,
    /// What it does: `all`, `api` (takes requests, delivers nothing) or `worker` (delivers, takes
    /// no requests).
    #[schema(value_type = String, example = "all")]
    role: &'static str,
    /// The program's version.
    #[schema(example = "0.1.0")]
    version: String,
    /// Where it listens; null if it has not said so yet.
    #[schema(required, example = "10.0.0.7:8000")]
    address: Option<String>,
    /// `active`, or `draining` while it goes down.
    #[schema(value_type = String, example = "active")]
    state: &'static str,
    /// Whether it is the one that answers.
    is_self: bool,
    /// When it joined.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// When it last renewed its lease.
    #[schema(value_type = String, format = DateTime)]
    seen_at: Timestamp,
    /// Attempts in flight.
    in_flight: u32,
}

impl From<Node> for NodeView {
    fn from(node: Node) -> Self {
        Self {
            id: node.id.to_string(),
            name: node.name,
            role: match node.role {
                NodeRole::All => "all",
                NodeRole::Api => "api",
                NodeRole::Worker => "worker",
            },
            version: node.version,
            address: node.about.address,
            state: if node.about.draining {
                "draining"
            } else {
                "active"
            },
            is_self: node.is_self,
            started_at: node.started_at,
            seen_at: node.seen_at,
            in_flight: node.about.in_flight,
        }
    }
}

/// List nodes
///
/// The processes that work on the database and whose lease runs, the oldest first: one, unless
/// several share a PostgreSQL database. Needs the scope `admin` in the default workspace.
#[utoipa::path(
    get, path = "/api/v1/nodes", tag = "Operations", operation_id = "listNodes",
    responses((status = 200, description = "The nodes, on one page", body = List<NodeView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
) -> Result<Json<List<NodeView>>, Problem> {
    if access.require(Scope::Admin)? != WorkspaceId::DEFAULT {
        return Err(Problem::forbidden(
            "Nodes belong to the installation: this needs the scope `admin` in the default workspace, wsp_1.",
        ));
    }
    let (shared, now) = (app.store().is_shared(), app.now());
    let nodes = app
        .pipeline
        .nodes()
        .await?
        .into_iter()
        .map(|node| NodeView {
            // A process that is alone has no lease to renew, and is here to answer.
            seen_at: if shared { node.seen_at } else { now },
            ..node.into()
        });
    Ok(Json(List::whole(nodes.collect())))
}
