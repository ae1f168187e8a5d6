//! `POST /api/v1/events/batch`: many events in one transaction, all or none.

use axum::{
    Extension,
    body::Body,
    extract::{FromRequest, Request, State},
    response::Response,
};
use bytes::Bytes;
use domain::{EventId, access::Scope};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    envelope::{self, Batch},
    publish::{EventBody, answer, carried, outcome},
    refusal::not_accepted,
    warning::Warner,
};
use crate::{
    SharedApp,
    auth::Access,
    extract::{BodyBytes, read_body},
    problem::Problem,
};

/// The largest batch, in bytes.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Many events.
#[derive(ToSchema)]
#[schema(as = PublishedBatch)]
#[expect(dead_code, reason = "documents what `envelope` reads")]
struct BatchBody {
    /// The events, in order.
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<EventBody>,
}

/// That an event of a batch is on disk.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct BatchReceipt {
    /// Its id.
    #[schema(value_type = String, example = "evt_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: EventId,
    /// Whether it had been accepted before; nothing is sent then.
    duplicate: bool,
    /// To how many webhooks it goes.
    deliveries: usize,
    /// What you should know of it all the same; not there if there is nothing.
    warnings: Option<Vec<String>>,
}

/// What became of a batch.
#[derive(Serialize, ToSchema)]
struct BatchAnswer {
    /// One for each event, in order.
    data: Vec<BatchReceipt>,
}

/// Publish many events
///
/// Up to 1,000 events and 8 MiB in one transaction: if one is refused, none is stored. A bare
/// array of events is taken as well. An `Idempotency-Key` covers the batch.
#[utoipa::path(
    post, path = "/api/v1/events/batch", tag = "Events", operation_id = "publishEvents",
    request_body = BatchBody,
    params(("X-Signpost-Hops" = Option<u8>, Header, description = "How many Signposts the events have passed through; past 8 they are refused as a loop")),
    responses(
        (status = 202, description = "All of them are on disk", body = BatchAnswer),
        (status = 200, description = "All of them had been accepted before", body = BatchAnswer),
        (status = 508, description = "They go round in a loop"),
    ),
)]
pub(super) async fn publish_batch(
    State(app): State<SharedApp>,
    Extension(warner): Extension<Warner>,
    access: Access,
    request: Request,
) -> Result<Response, Problem> {
    let workspace = access.require(Scope::EventsWrite)?;
    let carried = carried(request.headers())?;
    let body = body(&app, request).await?;
    let Batch { events, prefix } = envelope::many(&body, &carried)?;
    drop(body);
    let warnings: Vec<_> = events
        .iter()
        .map(|event| warner.warnings(&app, workspace, &event.event_type, event.data.len()))
        .collect();
    let receipts = app.pipeline.accept_batch(workspace, events).await;
    let receipts =
        receipts.map_err(|error| not_accepted(error, |index| format!("{prefix}[{index}]")))?;
    let status = if receipts.iter().all(|receipt| receipt.duplicate) {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let mut json = Vec::with_capacity(16 + receipts.len() * 96);
    json.extend_from_slice(br#"{"data":["#);
    for (index, (receipt, warnings)) in receipts.iter().zip(&warnings).enumerate() {
        if index > 0 {
            json.push(b',');
        }
        json.extend_from_slice(br#"{"id":""#);
        json.extend_from_slice(receipt.id.as_str().as_bytes());
        json.push(b'"');
        outcome(receipt, warnings, &mut json);
        json.push(b'}');
    }
    json.extend_from_slice(b"]}");
    Ok(answer(status, json))
}

/// The body, which may be larger than that of other requests but has the same media type.
async fn body(app: &SharedApp, request: Request) -> Result<Bytes, Problem> {
    let (head, body) = request.into_parts();
    BodyBytes::from_request(Request::from_parts(head, Body::empty()), app).await?;
    read_body(
        Request::new(body),
        BODY_BYTES_MAX.max(app.config.limits.body_bytes_max),
    )
    .await
}
