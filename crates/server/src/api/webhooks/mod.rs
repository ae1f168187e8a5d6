//! `/api/v1/webhooks`: where events are delivered to.
//!
//! The route is S0's and S1's at once: S0 changes with PUT (partial, as in its original), S1 with
//! PATCH; S1 calls `targetUrl` `url` and `isActive` `active` (see [`body`]). What a webhook looks
//! like is in [`view`]; tests, rotation and counts have a file each. Deliveries and replays of a
//! webhook are with their own resources.

pub mod body;
mod refusal;
mod rotate_secret;
mod stats;
mod test;
pub mod view;

use axum::{extract::State, response::IntoResponse};
use domain::{WebhookId, WorkspaceId, access::Scope, webhook::Webhook};
use http::{StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::fields;
use crate::{
    SharedApp,
    auth::Access,
    extract::{BodyBytes, Id, Json, List, PageQuery, Query},
    problem::Problem,
};
use body::{Present, WebhookBody};
pub use refusal::refused;
pub use stats::milliseconds;
pub use test::outcome_message;
use view::{WebhookView, WebhookWithSecret};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, replace, change, delete))
        .routes(routes!(test::test))
        .routes(routes!(rotate_secret::rotate_secret))
        .routes(routes!(stats::stats))
}

/// The webhook of that id in the workspace.
///
/// # Errors
/// 404 if there is none.
pub async fn find(
    app: &SharedApp,
    workspace: WorkspaceId,
    id: WebhookId,
) -> Result<Webhook, Problem> {
    app.store()
        .webhook(workspace, id)
        .await?
        .ok_or_else(|| Problem::not_found("webhook"))
}

/// List webhooks
///
/// Oldest first, without their secrets.
#[utoipa::path(
    get, path = "/api/v1/webhooks", tag = "Webhooks", operation_id = "listWebhooks",
    params(PageQuery),
    responses((status = 200, description = "A page of webhooks", body = List<WebhookView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<WebhookView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let page = page.page()?;
    let webhooks = app.store().webhooks(workspace, page).await?;
    Ok(Json(List::new(
        &page,
        webhooks,
        |webhook| webhook.id.to_string(),
        |webhook| WebhookView::new(&app, webhook),
    )))
}

/// Create a webhook
///
/// From now on it gets the events that it subscribes to. The signing secret (made here where none
/// is given) is in this answer and in that of a rotation, nowhere else: keep it now.
#[utoipa::path(
    post, path = "/api/v1/webhooks", tag = "Webhooks", operation_id = "createWebhook",
    request_body = WebhookBody,
    responses((status = 201, description = "The webhook, with its secret", body = WebhookWithSecret)),
)]
async fn create(
    State(app): State<SharedApp>,
    access: Access,
    BodyBytes(body): BodyBytes,
) -> Result<impl IntoResponse, Problem> {
    let workspace = access.require(Scope::Write)?;
    let input = fields::parse::<WebhookBody>(&body)?.into_input(None)?;
    let made = app.pipeline.create_webhook(workspace, input).await?;
    let location = format!("/api/v1/webhooks/{}", made.webhook.id);
    let body = WebhookWithSecret::new(&app, made);
    Ok((
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(body),
    ))
}

/// Show a webhook
#[utoipa::path(
    get, path = "/api/v1/webhooks/{id}", tag = "Webhooks", operation_id = "getWebhook",
    params(("id" = String, Path, description = "The webhook's id", example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The webhook, without its secret", body = WebhookView)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
) -> Result<Json<WebhookView>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let webhook = find(&app, workspace, id).await?;
    Ok(Json(WebhookView::new(&app, webhook)))
}

/// Change a webhook (PUT)
///
/// The same as PATCH: what is not named stays as it is.
#[utoipa::path(
    put, path = "/api/v1/webhooks/{id}", tag = "Webhooks", operation_id = "putWebhook",
    params(("id" = String, Path, description = "The webhook's id", example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = WebhookBody,
    responses((status = 200, description = "The webhook as it is now", body = WebhookView)),
)]
async fn replace(
    app: State<SharedApp>,
    access: Access,
    id: Id<WebhookId>,
    body: BodyBytes,
) -> Result<Json<WebhookView>, Problem> {
    change(app, access, id, body).await
}

/// Change a webhook
///
/// What is not named stays as it is. A new `secret` replaces the old one at once; to have both
/// sign for a while, rotate it. Switching a webhook on again also clears why it was disabled.
#[utoipa::path(
    patch, path = "/api/v1/webhooks/{id}", tag = "Webhooks", operation_id = "updateWebhook",
    params(("id" = String, Path, description = "The webhook's id", example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = WebhookBody,
    responses((status = 200, description = "The webhook as it is now", body = WebhookView)),
)]
async fn change(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
    BodyBytes(body): BodyBytes,
) -> Result<Json<WebhookView>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let webhook = find(&app, workspace, id).await?;
    let body: WebhookBody = fields::parse(&body)?;
    let present = Present {
        headers: view::custom_headers(&app, &webhook),
        is_active: webhook.is_active(),
        target_url: webhook.config.target_url,
    };
    let changed = app
        .pipeline
        .update_webhook(workspace, id, body.into_input(Some(&present))?)
        .await?;
    Ok(Json(WebhookView::new(&app, changed.webhook)))
}

/// That a webhook is gone.
#[derive(Serialize, ToSchema)]
struct DeletedWebhook {
    /// Its id.
    #[schema(value_type = String)]
    id: WebhookId,
    /// Always true (S1).
    deleted: bool,
    /// Always true (S0).
    success: bool,
    /// A sentence for people (S0).
    #[schema(example = "Webhook deleted")]
    message: &'static str,
}

/// Delete a webhook
///
/// Deliveries that still wait are given up. The log of past deliveries stays.
#[utoipa::path(
    delete, path = "/api/v1/webhooks/{id}", tag = "Webhooks", operation_id = "deleteWebhook",
    params(("id" = String, Path, description = "The webhook's id", example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "It is gone", body = DeletedWebhook)),
)]
async fn delete(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
) -> Result<Json<DeletedWebhook>, Problem> {
    let workspace = access.require(Scope::Write)?;
    app.pipeline.delete_webhook(workspace, id).await?;
    // S0's original answers `{success, message}`, S1's `{id, deleted}`: this is both.
    Ok(Json(DeletedWebhook {
        id,
        deleted: true,
        success: true,
        message: "Webhook deleted",
    }))
}
