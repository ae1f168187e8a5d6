//! `/api/v1/pools`: resources of which there is only so much, which nodes of workflows take while
//! they run.

use axum::extract::State;
use domain::access::Scope;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::Pool;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::fields::{self, Fields};
use crate::{
    SharedApp,
    auth::Access,
    extract::{BodyBytes, Json, List, Path},
    problem::Problem,
};

/// The longest name, in characters.
const NAME_CHARS_MAX: usize = 100;
/// The most units of a pool.
const UNITS_MAX: u32 = 1_000_000;
/// The most pools of a workspace.
const POOLS_MAX: usize = 1_000;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(put, delete))
}

/// A pool's size.
#[derive(Deserialize, ToSchema)]
#[schema(as = PoolInput)]
struct PoolBody {
    /// How many units it has, 0 to 1 000 000.
    #[schema(example = 4)]
    units: u32,
}

impl Fields for PoolBody {
    const KNOWN: &'static [&'static str] = &["units"];
    const IGNORED: &'static [&'static str] = &["name", "taken", "free"];
}

/// A pool of resources.
#[derive(Serialize, ToSchema)]
#[schema(as = Pool)]
struct PoolView {
    /// Its name.
    #[schema(example = "gpu")]
    name: String,
    /// How many units it has.
    units: u32,
    /// How many of them are taken; more than there are, if it was made smaller meanwhile.
    taken: u32,
    /// How many are free.
    free: u32,
}

impl From<Pool> for PoolView {
    fn from(pool: Pool) -> Self {
        Self {
            free: pool.units.saturating_sub(pool.taken),
            name: pool.name,
            units: pool.units,
            taken: pool.taken,
        }
    }
}

/// List pools
///
/// By name.
#[utoipa::path(
    get, path = "/api/v1/pools", tag = "Workflows", operation_id = "listPools",
    responses((status = 200, description = "The pools, on one page", body = List<PoolView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
) -> Result<Json<List<PoolView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let pools = app.store().pools(workspace).await?;
    Ok(Json(List::whole(
        pools.into_iter().map(Into::into).collect(),
    )))
}

/// Make a pool, or change its size
///
/// What is taken stays taken.
#[utoipa::path(
    put, path = "/api/v1/pools/{name}", tag = "Workflows", operation_id = "putPool",
    params(("name" = String, Path, description = "The pool's name, 1 to 100 characters", example = "gpu")),
    request_body = PoolBody,
    responses((status = 200, description = "The pool as it is now", body = PoolView)),
)]
async fn put(
    State(app): State<SharedApp>,
    access: Access,
    Path(name): Path<String>,
    BodyBytes(body): BodyBytes,
) -> Result<Json<PoolView>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let PoolBody { units } = fields::parse(&body)?;
    if units > UNITS_MAX {
        return Err(Problem::field("units", format!("must be 0 to {UNITS_MAX}")));
    }
    let well_formed =
        (1..=NAME_CHARS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if !well_formed {
        let message = format!("has 1 to {NAME_CHARS_MAX} characters, no control characters");
        return Err(Problem::field("name", message));
    }
    let pools = app.store().pools(workspace).await?;
    if pools.len() >= POOLS_MAX && !pools.iter().any(|pool| pool.name == name) {
        return Err(Problem::conflict(format!(
            "There are {POOLS_MAX} pools already: remove one first."
        )));
    }
    app.store().put_pool(workspace, &name, units).await?;
    app.engine.look();
    let pools = app.store().pools(workspace).await?;
    let pool = pools.into_iter().find(|pool| pool.name == name);
    pool.map(|pool| Json(pool.into()))
        .ok_or_else(|| Problem::conflict("Somebody else has removed the pool meanwhile."))
}

/// Delete a pool
///
/// Nodes that want units of it wait until there is one of its name again, or their execution is
/// stopped.
#[utoipa::path(
    delete, path = "/api/v1/pools/{name}", tag = "Workflows", operation_id = "deletePool",
    params(("name" = String, Path, description = "The pool's name", example = "gpu")),
    responses((status = 204, description = "It is gone")),
)]
async fn delete(
    State(app): State<SharedApp>,
    access: Access,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let workspace = access.require(Scope::Write)?;
    if !app.store().delete_pool(workspace, &name, app.now()).await? {
        return Err(Problem::not_found("pool"));
    }
    app.engine.look();
    Ok(StatusCode::NO_CONTENT)
}
