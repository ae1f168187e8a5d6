//! `GET /api/v1/events/{id}`: one event with its data and what became of it.

use axum::extract::{Path, State};
use bytes::Bytes;
use domain::{
    EventId, EventKey, WorkspaceId, access::Scope, delivery::DeliveryState, event::Event,
};
use serde::Serialize;
use serde_json::value::RawValue;
use store::{DeliveryFilter, Page};
use utoipa::ToSchema;

use super::EventView;
use crate::{
    SharedApp,
    auth::Access,
    extract::{Json, PAGE_MAX},
    problem::Problem,
};

/// Deliveries are counted up to this many pages.
const PAGES_MAX: usize = 40;

/// An event with its data.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventDetail {
    /// The event.
    #[serde(flatten)]
    event: EventView,
    /// Its data, as receivers get it; null once it was pruned.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    /// Whether retention has removed its data.
    data_pruned: bool,
    /// How many deliveries it has, replays included, and where they stand.
    deliveries: DeliveryCounts,
}

/// Deliveries of an event by where they stand.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct DeliveryCounts {
    /// All of them.
    total: u64,
    /// To be sent, now or at their due time.
    pending: u64,
    /// Arrived.
    delivered: u64,
    /// Given up.
    dead: u64,
}

/// The event that is known by `id`, the publisher's or the one that was made here.
///
/// # Errors
/// 404 if there is none in the workspace.
pub async fn find(app: &SharedApp, workspace: WorkspaceId, id: &str) -> Result<Event, Problem> {
    let id = EventId::parse(id).map_err(|_| Problem::not_found("event"))?;
    app.store()
        .event_by_id(workspace, &id)
        .await?
        .ok_or_else(|| Problem::not_found("event"))
}

/// Show an event
///
/// By its id: yours, if you gave one. With its data and the counts of its deliveries.
#[utoipa::path(
    get, path = "/api/v1/events/{id}", tag = "Events", operation_id = "getEvent",
    params(("id" = String, Path, description = "The event's id", example = "evt_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    responses((status = 200, description = "The event", body = EventDetail)),
)]
pub(super) async fn show(
    State(app): State<SharedApp>,
    access: Access,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Json<EventDetail>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let Ok(Path(id)) = path else {
        return Err(Problem::not_found("event"));
    };
    let event = find(&app, workspace, &id).await?;
    let deliveries = count(&app, workspace, event.key).await?;
    let data_pruned = event.data.is_empty();
    let data = raw(if data_pruned {
        Bytes::from_static(b"null")
    } else {
        event.data.clone()
    })?;
    Ok(Json(EventDetail {
        event: event.into(),
        data,
        data_pruned,
        deliveries,
    }))
}

async fn count(
    app: &SharedApp,
    workspace: WorkspaceId,
    event: EventKey,
) -> Result<DeliveryCounts, Problem> {
    let filter = DeliveryFilter {
        event: Some(event),
        ..DeliveryFilter::default()
    };
    let mut counts = DeliveryCounts::default();
    let mut after = None;
    for _ in 0..PAGES_MAX {
        let rows = app
            .store()
            .deliveries(
                workspace,
                filter,
                Page {
                    after,
                    limit: PAGE_MAX,
                },
            )
            .await?;
        for row in &rows {
            counts.total += 1;
            match row.delivery.state {
                DeliveryState::Pending => counts.pending += 1,
                DeliveryState::Delivered => counts.delivered += 1,
                DeliveryState::Dead => counts.dead += 1,
            }
        }
        after = rows.last().map(|row| row.delivery.id);
        if rows.len() < PAGE_MAX {
            break;
        }
    }
    Ok(counts)
}

/// JSON text that is stored, to be written as it is.
fn raw(text: Bytes) -> Result<Box<RawValue>, Problem> {
    let text = String::from_utf8(text.into()).map_err(|error| Problem::internal(&error))?;
    RawValue::from_string(text).map_err(|error| Problem::internal(&error))
}
