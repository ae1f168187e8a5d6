//! `/api/v1/deliveries`: what became of each event on its way to each webhook, live at
//! [`stream`]; `/api/v1/webhooks/{id}/deliveries` is the same list for one webhook.

mod attempt;
mod retry;
mod stream;

use axum::extract::State;
use domain::{
    DeliveryId, EventId, ReplayId, Timestamp, WebhookId, WorkspaceId,
    access::Scope,
    attempt::ErrorClass,
    delivery::{Delivery, DeliveryState},
    event::EventType,
};
use serde::{Deserialize, Serialize};
use store::{DeliveryFilter, DeliveryRow};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{sse::Places, webhooks};
use crate::{
    SharedApp,
    auth::Access,
    extract::{Id, Json, List, PageQuery, Query},
    problem::Problem,
};
use attempt::AttemptView;

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    let followed = OpenApiRouter::new()
        .routes(routes!(stream::stream))
        .layer(axum::Extension(Places::default()));
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(list_of_webhook))
        .routes(routes!(show))
        .routes(routes!(retry::retry))
        .merge(followed)
}

/// Which deliveries are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct DeliveryQuery {
    /// Only to this webhook.
    webhook_id: Option<String>,
    /// Only of this event.
    event_id: Option<String>,
    /// Only in this state: `pending`, `delivered` or `dead`.
    #[param(value_type = Option<String>)]
    state: Option<DeliveryState>,
    /// Only made at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// Which deliveries of one webhook are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct WebhookDeliveryQuery {
    /// Only of this event.
    event_id: Option<String>,
    /// Only in this state: `pending`, `delivered` or `dead`.
    #[param(value_type = Option<String>)]
    state: Option<DeliveryState>,
    /// Only made at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// A delivery: one event on its way to one webhook.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
struct DeliveryView {
    /// Its id.
    #[schema(value_type = String, example = "dlv_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: DeliveryId,
    /// The event's id.
    #[schema(value_type = String)]
    event_id: EventId,
    /// The event's type.
    #[schema(value_type = String, example = "workflow.completed")]
    event: EventType,
    /// The webhook.
    #[schema(value_type = String)]
    webhook_id: WebhookId,
    /// `pending`: to be sent, now or at `nextAttemptAt`; `delivered`: the receiver answered 2xx;
    /// `dead`: given up.
    #[schema(value_type = String, example = "delivered")]
    state: DeliveryState,
    /// How many attempts were made.
    attempt_count: u32,
    /// When the next attempt may start; null once it is delivered or dead.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    /// The last attempt's status, if it got an answer.
    #[schema(required)]
    last_status: Option<u16>,
    /// Why the last attempt got no answer: `dns`, `connect`, `tls`, `timeout`, `reset`, `blocked`
    /// or `body`.
    #[schema(required, value_type = Option<String>)]
    last_error: Option<ErrorClass>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When it was delivered or given up.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// The replay that made it, if one did.
    #[schema(required, value_type = Option<String>)]
    replay_id: Option<ReplayId>,
}

/// A delivery with the log of its attempts.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct DeliveryDetail {
    /// The delivery.
    #[serde(flatten)]
    delivery: DeliveryView,
    /// Its attempts, first to last.
    attempts: Vec<AttemptView>,
}

impl From<DeliveryRow> for DeliveryView {
    fn from(row: DeliveryRow) -> Self {
        let DeliveryRow {
            delivery,
            event_id,
            event_type,
            last_status,
            last_error,
        } = row;
        Self {
            id: delivery.id,
            event_id,
            event: event_type,
            webhook_id: delivery.webhook,
            state: delivery.state,
            attempt_count: delivery.attempts,
            // A manual retry is due since for ever, so that it goes first: people see a time.
            next_attempt_at: delivery
                .next_attempt_at
                .map(|at| at.max(delivery.created_at)),
            last_status,
            last_error,
            created_at: delivery.created_at,
            finished_at: delivery.finished_at,
            replay_id: delivery.replay,
        }
    }
}

/// List deliveries
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/v1/deliveries", tag = "Deliveries", operation_id = "listDeliveries",
    params(DeliveryQuery, PageQuery),
    responses((status = 200, description = "A page of deliveries", body = List<DeliveryView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Query(query): Query<DeliveryQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<DeliveryView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let webhook = match query.webhook_id.as_deref().map(str::parse) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Ok(Json(List::whole(Vec::new()))),
    };
    let DeliveryQuery {
        event_id,
        state,
        since,
        ..
    } = query;
    let filter = DeliveryFilter {
        webhook,
        event: None,
        state,
        since,
    };
    page_of(&app, workspace, filter, event_id.as_deref(), &page).await
}

/// List a webhook's deliveries
///
/// Newest first.
#[utoipa::path(
    get, path = "/api/v1/webhooks/{id}/deliveries", tag = "Deliveries", operation_id = "listWebhookDeliveries",
    params(("id" = String, Path, description = "The webhook's id", example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b"), WebhookDeliveryQuery, PageQuery),
    responses((status = 200, description = "A page of deliveries", body = List<DeliveryView>)),
)]
async fn list_of_webhook(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
    Query(query): Query<WebhookDeliveryQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<DeliveryView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    webhooks::find(&app, workspace, id).await?;
    let filter = DeliveryFilter {
        webhook: Some(id),
        event: None,
        state: query.state,
        since: query.since,
    };
    page_of(&app, workspace, filter, query.event_id.as_deref(), &page).await
}

/// A page of the deliveries that pass; those of an event that is not there are none.
async fn page_of(
    app: &SharedApp,
    workspace: WorkspaceId,
    mut filter: DeliveryFilter,
    event: Option<&str>,
    page: &PageQuery,
) -> Result<Json<List<DeliveryView>>, Problem> {
    let page = page.page::<DeliveryId>()?;
    if let Some(id) = event {
        let Ok(id) = EventId::parse(id) else {
            return Ok(Json(List::whole(Vec::new())));
        };
        match app.store().event_by_id(workspace, &id).await? {
            Some(event) => filter.event = Some(event.key),
            None => return Ok(Json(List::whole(Vec::new()))),
        }
    }
    let rows = app.store().deliveries(workspace, filter, page).await?;
    Ok(Json(List::new(
        &page,
        rows,
        |row| row.delivery.id.to_string(),
        DeliveryView::from,
    )))
}

/// The delivery of that id in the workspace.
///
/// # Errors
/// 404 if there is none.
async fn find(
    app: &SharedApp,
    workspace: WorkspaceId,
    id: DeliveryId,
) -> Result<Delivery, Problem> {
    app.store()
        .delivery(workspace, id)
        .await?
        .ok_or_else(|| Problem::not_found("delivery"))
}

/// The delivery with its event's id and type, and its attempts.
async fn detail(
    app: &SharedApp,
    workspace: WorkspaceId,
    delivery: Delivery,
) -> Result<DeliveryDetail, Problem> {
    let attempts = app.store().attempts(workspace, delivery.id).await?;
    let event = app.store().event(workspace, delivery.event).await?;
    let event = event.ok_or_else(|| Problem::not_found("delivery"))?;
    let last = attempts.last();
    let row = DeliveryRow {
        event_id: event.id,
        event_type: event.event_type,
        last_status: last.and_then(|attempt| attempt.status),
        last_error: last.and_then(|attempt| attempt.error),
        delivery,
    };
    let attempts = attempts.into_iter().map(AttemptView::from).collect();
    Ok(DeliveryDetail {
        delivery: row.into(),
        attempts,
    })
}

/// Show a delivery
///
/// With the log of its attempts.
#[utoipa::path(
    get, path = "/api/v1/deliveries/{id}", tag = "Deliveries", operation_id = "getDelivery",
    params(("id" = String, Path, description = "The delivery's id", example = "dlv_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The delivery and its attempts", body = DeliveryDetail)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<DeliveryId>,
) -> Result<Json<DeliveryDetail>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let delivery = find(&app, workspace, id).await?;
    Ok(Json(detail(&app, workspace, delivery).await?))
}
