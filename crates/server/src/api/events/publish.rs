//! `POST /api/v1/events`: one event in, on disk before it is answered.

use std::sync::Arc;

use axum::{
    Extension,
    body::Body,
    extract::{FromRequest, Request, State},
    response::Response,
};
use bytes::Bytes;
use delivery::accept::Receipt;
use domain::{
    EventId, Timestamp, WorkspaceId,
    access::Scope,
    event::EventType,
    format::HOPS_HEADER,
    json::{write_integer, write_string},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use store::{DeliveryFilter, Page};
use utoipa::ToSchema;

use super::{
    envelope::{self, Carried},
    refusal::not_accepted,
    warning::Warner,
};
use crate::{
    SharedApp,
    auth::Access,
    extract::{BodyBytes, PAGE_MAX},
    idempotency,
    problem::{Kind, Problem},
};

/// The longest `Idempotency-Key`, in bytes.
const KEY_BYTES_MAX: usize = 255;

/// An event as it is published.
#[derive(ToSchema)]
#[schema(as = PublishedEvent)]
#[expect(dead_code, reason = "documents what `envelope` reads")]
pub(super) struct EventBody {
    /// Its type. `type` is taken for it.
    #[schema(max_length = 128, example = "workflow.completed")]
    event: String,
    /// Its payload: any JSON, `{}` where there is none. `payload` is taken for it.
    #[schema(value_type = Option<serde_json::Value>, example = json!({"workflowId": "wf_1", "executionId": "exe_1", "status": "completed"}))]
    data: Option<String>,
    /// Your own id: the same id again is the same event, and is not sent twice.
    #[schema(max_length = 128, example = "order-17:paid")]
    id: Option<String>,
    /// When it happened (RFC 3339); now where nothing is said.
    #[schema(format = DateTime)]
    timestamp: Option<String>,
    /// `verbatim` keeps the digits of numbers that a JavaScript receiver would read as others;
    /// else they are refused.
    numbers: Option<String>,
}

/// That an event is on disk.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PublishReceipt)]
struct ReceiptView {
    /// Its id.
    #[schema(value_type = String, example = "evt_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: EventId,
    /// Its type.
    #[schema(value_type = String, example = "workflow.completed")]
    event: EventType,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// Whether it had been accepted before; then all of this is of the first one.
    duplicate: bool,
    /// To how many webhooks it goes.
    #[schema(example = 1)]
    deliveries: usize,
    /// What you should know of it all the same; not there if there is nothing.
    warnings: Option<Vec<String>>,
}

/// Publish an event
///
/// Every active webhook that subscribes to its type gets it. The answer comes once event and
/// deliveries are on disk. The same `id` (or the same `Idempotency-Key`) again is answered with
/// the first event, and sends nothing. A type that is not known is taken, with a warning.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "Events", operation_id = "publishEvent",
    request_body = EventBody,
    params(("X-Signpost-Hops" = Option<u8>, Header, description = "How many Signposts the event has passed through; past 8 it is refused as a loop")),
    responses(
        (status = 202, description = "It is on disk, and on its way", body = ReceiptView),
        (status = 200, description = "It had been accepted before", body = ReceiptView),
        (status = 508, description = "It goes round in a loop"),
    ),
)]
pub(super) async fn publish(
    State(app): State<SharedApp>,
    Extension(warner): Extension<Warner>,
    access: Access,
    request: Request,
) -> Result<Response, Problem> {
    let workspace = access.require(Scope::EventsWrite)?;
    let carried = carried(request.headers())?;
    let BodyBytes(body) = BodyBytes::from_request(request, &app).await?;
    let publish = envelope::one(&body, carried)?;
    drop(body);
    let event_type = publish.event_type.clone();
    let warnings = warner.warnings(&app, workspace, &event_type, publish.data.len());
    // Only a key's second use has to be told from its reuse for another event.
    let keyed = publish
        .idempotency_key
        .is_some()
        .then(|| publish.data.clone());
    let own_id = publish.id.clone();
    let receipt = app.pipeline.accept(workspace, publish).await;
    let receipt = receipt.map_err(|error| not_accepted(error, |_| String::new()))?;
    if receipt.duplicate {
        let again = Again {
            event_type,
            data: keyed.filter(|_| own_id.as_ref() != Some(&receipt.id)),
        };
        return duplicate(&app, workspace, receipt, again).await;
    }
    Ok(answer(
        StatusCode::ACCEPTED,
        render(&receipt, &event_type, &warnings),
    ))
}

/// What comes with the request.
///
/// # Errors
/// If a header is malformed.
pub(super) fn carried(headers: &HeaderMap) -> Result<Carried, Problem> {
    let hops = match headers.get(HOPS_HEADER) {
        None => 0,
        Some(value) => hops(value).ok_or_else(|| {
            Problem::field(
                "X-Signpost-Hops",
                "must be a number, as Signpost itself sends it",
            )
        })?,
    };
    let mut keys = headers.get_all(idempotency::HEADER).iter();
    let idempotency_key = keys.next().map(idempotency_key).transpose()?;
    if keys.next().is_some() {
        return Err(Problem::field("Idempotency-Key", "must be given once"));
    }
    Ok(Carried {
        hops,
        idempotency_key,
    })
}

fn hops(value: &HeaderValue) -> Option<u8> {
    let text = value.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u8::MAX))
}

fn idempotency_key(value: &HeaderValue) -> Result<String, Problem> {
    let bytes = value.as_bytes();
    let fits = (1..=KEY_BYTES_MAX).contains(&bytes.len())
        && bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
    match value.to_str() {
        Ok(text) if fits => Ok(text.to_owned()),
        _ => {
            let message = format!("must have 1 to {KEY_BYTES_MAX} printable ASCII characters");
            Err(Problem::field("Idempotency-Key", message))
        }
    }
}

/// What came under an id or a key that was used before.
struct Again {
    event_type: EventType,
    /// The data, if it was the key that was used before.
    data: Option<Bytes>,
}

/// Answers with the first event.
async fn duplicate(
    app: &SharedApp,
    workspace: WorkspaceId,
    mut receipt: Receipt,
    again: Again,
) -> Result<Response, Problem> {
    let mut event_type = again.event_type;
    if let Some(first) = app.store().event(workspace, receipt.key).await? {
        let differs = |data: &Bytes| {
            !first.data.is_empty() && (first.event_type != event_type || first.data != *data)
        };
        if again.data.as_ref().is_some_and(differs) {
            return Err(Problem::new(
                Kind::IdempotencyKeyReused,
                "This Idempotency-Key came with another event before: use a new one for a new event.",
            ));
        }
        event_type = first.event_type;
        receipt.timestamp = first.timestamp;
    }
    let filter = DeliveryFilter {
        event: Some(receipt.key),
        ..DeliveryFilter::default()
    };
    let page = Page {
        after: None,
        limit: PAGE_MAX,
    };
    receipt.deliveries = app.store().deliveries(workspace, filter, page).await?.len();
    Ok(answer(StatusCode::OK, render(&receipt, &event_type, &[])))
}

/// The answer's body, by hand: ids, types and times need no escapes.
fn render(receipt: &Receipt, event_type: &EventType, warnings: &[Arc<str>]) -> Vec<u8> {
    let mut json = Vec::with_capacity(224);
    json.extend_from_slice(br#"{"id":""#);
    json.extend_from_slice(receipt.id.as_str().as_bytes());
    json.extend_from_slice(br#"","event":""#);
    json.extend_from_slice(event_type.as_str().as_bytes());
    json.extend_from_slice(br#"","timestamp":""#);
    json.extend_from_slice(receipt.timestamp.to_string().as_bytes());
    json.push(b'"');
    outcome(receipt, warnings, &mut json);
    json.push(b'}');
    json
}

/// Appends the members that a receipt has alone and in a batch.
pub(super) fn outcome(receipt: &Receipt, warnings: &[Arc<str>], json: &mut Vec<u8>) {
    json.extend_from_slice(if receipt.duplicate {
        br#","duplicate":true"#
    } else {
        br#","duplicate":false"#
    });
    json.extend_from_slice(br#","deliveries":"#);
    write_integer(i64::try_from(receipt.deliveries).unwrap_or_default(), json);
    if !warnings.is_empty() {
        json.extend_from_slice(br#","warnings":["#);
        for (index, warning) in warnings.iter().enumerate() {
            if index > 0 {
                json.push(b',');
            }
            write_string(warning, json);
        }
        json.push(b']');
    }
}

/// An answer of JSON that is written already.
pub(super) fn answer(status: StatusCode, json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            HeaderValue::from_str(value).unwrap(),
        )])
    }

    #[test]
    fn hops_are_read_from_the_header_and_never_overflow() {
        let hops = |text| carried(&headers(HOPS_HEADER, text)).map(|carried| carried.hops);
        assert_eq!(carried(&HeaderMap::new()).unwrap().hops, 0);
        assert_eq!(hops("7").unwrap(), 7);
        assert_eq!(hops("999").unwrap(), 255);
        for bad in ["-1", "", "two", "+1"] {
            assert!(hops(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_idempotency_key_is_printable_and_bounded() {
        let key = |text: &str| {
            carried(&headers(idempotency::HEADER, text)).map(|carried| carried.idempotency_key)
        };
        assert_eq!(key("order 17").unwrap().as_deref(), Some("order 17"));
        assert!(key("").is_err());
        assert!(key(&"x".repeat(256)).is_err());
        let mut two = headers(idempotency::HEADER, "one");
        two.append(idempotency::HEADER, HeaderValue::from_static("two"));
        assert!(carried(&two).is_err());
    }
}
