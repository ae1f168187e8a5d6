//! `/api/v1/events`: what is published, and what was.
//!
//! Publishing is the hot path: [`publish`] takes one event, [`batch`] many, both through
//! [`envelope`], which reads the body in one pass and leaves `data` canonical. Nothing of a body
//! becomes a tree of values, and the answer is written by hand. [`refusal`] says how what is
//! wrong is told.

mod batch;
mod envelope;
mod publish;
mod refusal;
pub mod show;
mod warning;

use axum::extract::State;
use domain::{EventId, EventKey, Timestamp, access::Scope, event::EventType};
use serde::{Deserialize, Serialize};
use store::EventFilter;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    SharedApp,
    auth::Access,
    extract::{Json, List, PageQuery, Query},
    problem::Problem,
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    let publishing = OpenApiRouter::new()
        .routes(routes!(publish::publish))
        .routes(routes!(batch::publish_batch))
        .layer(axum::Extension(warning::Warner::default()));
    OpenApiRouter::new()
        .merge(publishing)
        .routes(routes!(list))
        .routes(routes!(show::show))
}

/// Which events are listed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EventQuery {
    /// Only of this type.
    #[serde(rename = "type")]
    #[param(rename = "type", example = "workflow.completed")]
    event_type: Option<String>,
    /// Only accepted at or after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only accepted before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
}

/// An event, without its data.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub struct EventView {
    /// Its id: the publisher's, else the one that was made here.
    #[schema(value_type = String, example = "evt_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: EventId,
    /// Its type.
    #[schema(value_type = String, example = "workflow.completed")]
    event: EventType,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
}

impl From<domain::event::Event> for EventView {
    fn from(event: domain::event::Event) -> Self {
        Self {
            id: event.id,
            event: event.event_type,
            timestamp: event.timestamp,
            accepted_at: event.accepted_at,
        }
    }
}

/// List events
///
/// Newest first, without their data.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "Events", operation_id = "listEvents",
    params(EventQuery, PageQuery),
    responses((status = 200, description = "A page of events", body = List<EventView>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
    Query(query): Query<EventQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<EventView>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let page = page.page::<EventKey>()?;
    let event_type = query
        .event_type
        .as_deref()
        .map(EventType::parse)
        .transpose();
    let filter = EventFilter {
        event_type: event_type.map_err(|error| Problem::field("type", error.to_string()))?,
        since: query.since,
        until: query.until,
    };
    let events = app.store().events(workspace, filter, page).await?;
    Ok(Json(List::new(
        &page,
        events,
        |event| event.key.to_string(),
        EventView::from,
    )))
}
