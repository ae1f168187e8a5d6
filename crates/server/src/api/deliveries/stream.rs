//! `GET /api/v1/deliveries/stream`: every attempt as it ends, as Server-Sent Events.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Extension,
    extract::State,
    response::{Response, sse::Event},
};
use delivery::AttemptNotice;
use domain::{
    DeliveryId, EventId, Timestamp, WebhookId, WorkspaceId, access::Scope, attempt::ErrorClass,
    delivery::Next, event::EventType,
};
use futures_util::{Stream, stream};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::{IntoParams, ToSchema};

use crate::{
    SharedApp,
    api::{
        sse::{self, Place, Places},
        webhooks::milliseconds,
    },
    auth::Access,
    extract::Query,
    problem::Problem,
};

/// Which attempts are told.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct StreamQuery {
    /// Only to this webhook.
    webhook_id: Option<String>,
    /// Only those that failed.
    #[serde(default)]
    #[param(required = false)]
    failed: bool,
}

/// An attempt that has ended, as the stream tells it (event `attempt`).
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct AttemptEvent<'a> {
    /// The delivery.
    #[schema(value_type = String)]
    delivery_id: DeliveryId,
    /// The webhook.
    #[schema(value_type = String)]
    webhook_id: WebhookId,
    /// The event's id.
    #[schema(value_type = String)]
    event_id: &'a EventId,
    /// The event's type.
    #[schema(value_type = String)]
    event: &'a EventType,
    /// 1 for the delivery's first.
    number: u32,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    /// How long it took, in milliseconds.
    duration_ms: f64,
    /// The receiver's status; null if it gave no answer.
    #[schema(required)]
    status: Option<u16>,
    /// Why there is no answer.
    #[schema(required, value_type = Option<String>)]
    error: Option<ErrorClass>,
    /// What follows: `delivered`, `retry` or `dead`.
    next: &'static str,
    /// When the retry is due.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
}

/// That attempts were missed (event `lagged`).
#[derive(Serialize, ToSchema)]
struct Lagged {
    /// How many.
    count: u64,
}

impl<'a> AttemptEvent<'a> {
    fn new(notice: &'a AttemptNotice) -> Self {
        let (next, next_attempt_at) = match notice.next {
            Next::Delivered => ("delivered", None),
            Next::RetryAt(at) => ("retry", Some(at)),
            Next::Dead => ("dead", None),
        };
        Self {
            delivery_id: notice.delivery,
            webhook_id: notice.webhook,
            event_id: &notice.event_id,
            event: &notice.event_type,
            number: notice.number,
            started_at: notice.started_at,
            duration_ms: milliseconds(notice.duration_us),
            status: notice.status,
            error: notice.error,
            next,
            next_attempt_at,
        }
    }
}

/// Follow attempts
///
/// A stream of Server-Sent Events: `attempt` for each attempt that ends from now on; `lagged`
/// with a `count` where the reader was too slow and some were left out. It ends when the server
/// stops.
#[utoipa::path(
    get, path = "/api/v1/deliveries/stream", tag = "Deliveries", operation_id = "followDeliveries",
    params(StreamQuery),
    responses((status = 200, description = "The stream", body = inline(AttemptEvent<'static>), content_type = "text/event-stream")),
)]
pub(super) async fn stream(
    State(app): State<SharedApp>,
    Extension(places): Extension<Places>,
    access: Access,
    headers: HeaderMap,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Problem> {
    let workspace = access.require(Scope::Read)?;
    let webhook = query.webhook_id.as_deref().map(str::parse).transpose();
    let webhook = webhook.map_err(|_| Problem::not_found("webhook"))?;
    let place = places.take()?;
    let wanted = Wanted {
        workspace,
        webhook,
        failed: query.failed,
    };
    let listener = sse::Listener { headers, workspace };
    Ok(sse::respond(
        &app,
        listener,
        attempts(app.pipeline.follow(), wanted, place),
    ))
}

struct Wanted {
    workspace: WorkspaceId,
    webhook: Option<WebhookId>,
    failed: bool,
}

impl Wanted {
    fn covers(&self, notice: &AttemptNotice) -> bool {
        self.workspace == notice.workspace
            && self.webhook.is_none_or(|webhook| webhook == notice.webhook)
            && !(self.failed && notice.next == Next::Delivered)
    }
}

fn attempts(
    notices: Receiver<Arc<AttemptNotice>>,
    wanted: Wanted,
    place: Place,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    stream::unfold(
        (notices, wanted, place),
        async |(mut notices, wanted, place)| {
            loop {
                let event = match notices.recv().await {
                    Ok(notice) if wanted.covers(&notice) => {
                        sse::event("attempt", &AttemptEvent::new(&notice))
                    }
                    Ok(_) => continue,
                    Err(RecvError::Lagged(count)) => sse::event("lagged", &Lagged { count }),
                    Err(RecvError::Closed) => return None,
                };
                return Some((Ok(event), (notices, wanted, place)));
            }
        },
    )
}
