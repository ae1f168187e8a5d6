//! `POST /api/v1/webhooks/{id}/test`: one delivery, made at once, whose result the caller sees.

use axum::extract::State;
use bytes::Bytes;
use delivery::test_send::Tested;
use domain::{
    DeliveryId, EventId, WebhookId,
    access::Scope,
    attempt::ErrorClass,
    event::EventType,
    json::{self, Limits, Numbers},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::stats::milliseconds;
use crate::{
    SharedApp,
    api::fields,
    auth::Access,
    extract::{BodyBytes, Id, Json},
    problem::Problem,
};

/// What is to be sent.
#[derive(ToSchema)]
#[schema(as = WebhookTest)]
#[expect(
    dead_code,
    reason = "documents what `read` takes: `data` must keep its text"
)]
pub(super) struct TestBody {
    /// The event type; `webhook.test` where nothing is said.
    #[schema(example = "workflow.completed")]
    event: Option<String>,
    /// The event's data.
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<String>,
    /// The same as `data`.
    #[schema(value_type = Option<serde_json::Value>)]
    test_data: Option<String>,
}

const KNOWN: &[&str] = &["event", "data", "test_data"];

/// What came of a test.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TestResult {
    /// Whether the receiver took it (2xx).
    success: bool,
    /// The receiver's status; null if it gave no answer.
    #[schema(required)]
    status_code: Option<u16>,
    /// How long it took, in milliseconds.
    duration_ms: f64,
    /// A sentence for people.
    #[schema(example = "Webhook delivered successfully")]
    message: String,
    /// Why there is no answer: `dns`, `connect`, `tls`, `timeout`, `reset`, `blocked` or `body`.
    #[schema(required, value_type = Option<String>)]
    error: Option<ErrorClass>,
    /// The event that was sent.
    #[schema(value_type = String)]
    event_id: EventId,
    /// The delivery, in whose log the attempt is found.
    #[schema(required, value_type = Option<String>)]
    delivery_id: Option<DeliveryId>,
    /// Always `sent` (S1).
    status: &'static str,
    /// The same as `eventId` (S1).
    #[serde(rename = "test_event_id")]
    #[schema(value_type = String)]
    test_event_id: EventId,
}

/// Test a webhook
///
/// Sends one event now, once, whether the webhook is active or not and whatever it subscribes
/// to. A receiver that refuses is a 200 with `success: false`. The body may be left out.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{id}/test", tag = "Webhooks", operation_id = "testWebhook",
    params(("id" = String, Path, description = "The webhook's id", example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")),
    request_body = Option<TestBody>,
    responses((status = 200, description = "What came of it", body = TestResult)),
)]
pub(super) async fn test(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
    BodyBytes(body): BodyBytes,
) -> Result<Json<TestResult>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let (event_type, data) = read(&body)?;
    let tested = app
        .pipeline
        .test_webhook(workspace, id, event_type, data)
        .await?;
    Ok(Json(TestResult {
        success: tested.is_success(),
        status_code: tested.attempt.status,
        duration_ms: milliseconds(tested.attempt.duration_us),
        message: outcome_message(&tested),
        error: tested.attempt.error,
        event_id: tested.event_id.clone(),
        delivery_id: tested.delivery,
        status: "sent",
        test_event_id: tested.event_id,
    }))
}

fn read(body: &[u8]) -> Result<(Option<EventType>, Option<Bytes>), Problem> {
    if body.trim_ascii().is_empty() {
        return Ok((None, None));
    }
    let members = json::members(body, &Limits::default())?;
    let unknown: Vec<_> = members
        .iter()
        .filter(|(name, _)| !KNOWN.contains(name))
        .map(|(name, _)| fields::unknown(name, KNOWN))
        .collect();
    if !unknown.is_empty() {
        return Err(Problem::fields(unknown));
    }
    let event_type = match members.get("event") {
        None | Some(b"null") => None,
        Some(text) => Some(event_type(text)?),
    };
    let given = ["data", "test_data"]
        .into_iter()
        .find_map(|name| Some((name, members.get(name)?)));
    let data = match given {
        None => None,
        Some((name, text)) => {
            let canonical = json::canonicalize(text, Numbers::Exact, &Limits::default());
            Some(canonical.map_err(|error| error.within(name))?.into_bytes())
        }
    };
    Ok((event_type, data))
}

fn event_type(text: &[u8]) -> Result<EventType, Problem> {
    let mut reader = json::Reader::new(text, &Limits::default())?;
    let name = reader.string().map_err(|error| error.within("event"))?;
    EventType::parse(&name).map_err(|error| Problem::field("event", error.to_string()))
}

/// What came of a test, as a sentence; that of a success is S2's.
pub fn outcome_message(tested: &Tested) -> String {
    let attempt = &tested.attempt;
    match (attempt.status, attempt.error) {
        (Some(200..=299), _) => "Webhook delivered successfully".to_owned(),
        (Some(status), _) => format!("Webhook delivery failed: the receiver answered {status}"),
        (None, Some(error)) => {
            let message = attempt.error_message.as_deref().unwrap_or("no answer came");
            format!("Webhook delivery failed ({}): {message}", error.as_str())
        }
        (None, None) => "Webhook delivery failed: no answer came".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_may_be_left_out_or_say_what_is_sent() {
        assert_eq!(read(b"").unwrap(), (None, None));
        assert_eq!(read(b"{}").unwrap(), (None, None));
        let (event, data) =
            read(br#"{"event":"agent.created","test_data":{"b":1.0,"1":2}}"#).unwrap();
        assert_eq!(event.unwrap().as_str(), "agent.created");
        assert_eq!(data.unwrap(), r#"{"1":2,"b":1}"#);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, path) in [
            (r#"{"event":7}"#, "event"),
            (r#"{"event":"a b"}"#, "event"),
            (r#"{"test_data":{"n":9007199254740993}}"#, "test_data.n"),
            (r#"{"testData":1}"#, "testData"),
        ] {
            assert_eq!(
                read(body.as_bytes()).unwrap_err().errors()[0].path,
                path,
                "{body}"
            );
        }
    }
}
