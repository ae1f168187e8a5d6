//! `POST /api/v1/webhooks/receive` (S0): inbound, from Pipedream and the like, with credentials
//! of the API instead of a signature.

use ::intake::receive::Request;
use axum::extract::State;
use domain::{Timestamp, access::Scope};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::answer;
use crate::{
    SharedApp,
    auth::Access,
    extract::{BodyBytes, Json, parse_json},
    front::ClientAddress,
    idempotency,
    problem::Problem,
};

/// What the generic door takes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes a body that is read elsewhere")]
pub(super) struct GenericBody {
    /// The name of a registered workflow.
    #[schema(example = "slack_notification")]
    workflow_name: String,
    /// What it is started with.
    #[schema(value_type = Object)]
    inputs: Option<Value>,
    /// A second request with the same id starts nothing. `id` is taken for it.
    webhook_id: Option<String>,
}

/// What has happened, and what is to run.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReceiveInput)]
pub(super) struct ReceiveBody {
    /// What has happened; for the record.
    #[schema(example = "workflow.trigger")]
    event: Option<String>,
    /// The workflow to start: its id, or its name.
    #[schema(example = "wfl_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    workflow_id: Option<String>,
    /// The agent to run.
    agent_id: Option<String>,
    /// What the workflow gets: those of its inputs that are named here, and all of it as
    /// `payload`.
    #[serde(default)]
    #[schema(value_type = Object)]
    data: Value,
    /// A second request with the same id starts nothing.
    id: Option<String>,
}

/// That it was taken.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReceiveAnswer)]
pub(super) struct ReceiveAnswer {
    /// Always true.
    success: bool,
    /// A sentence for people.
    #[schema(example = "Webhook received")]
    message: &'static str,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// The receipt.
    #[schema(value_type = String)]
    receipt_id: domain::ReceiptId,
    /// What was started, by ids.
    executions: Vec<String>,
}

/// Receive a webhook
///
/// Starts the workflow that the body names (S0). The sender shows credentials of this API; who
/// can only sign sends to a source or to `/webhooks/generic`.
#[utoipa::path(
    post, path = "/api/v1/webhooks/receive", tag = "Doors", operation_id = "receiveWebhook",
    request_body = ReceiveBody,
    responses((status = 200, description = "It was taken, and the workflow started", body = ReceiveAnswer)),
)]
pub(super) async fn receive(
    State(app): State<SharedApp>,
    ClientAddress(peer): ClientAddress,
    access: Access,
    headers: HeaderMap,
    BodyBytes(body): BodyBytes,
) -> Result<Json<ReceiveAnswer>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let read: ReceiveBody = parse_json(&body)?;
    if read.event.as_deref().is_none_or(str::is_empty) {
        return Err(Problem::field("event", "is required: what has happened"));
    }
    let workflow = match (read.workflow_id, read.agent_id) {
        (Some(workflow), _) => workflow,
        (None, Some(_)) => return Err(Problem::not_found("agent")),
        (None, None) => {
            return Err(Problem::field(
                "workflowId",
                "is required (or `agentId`): what is to run",
            ));
        }
    };
    let key = headers.get(idempotency::HEADER);
    let key = key.and_then(|key| key.to_str().ok()).map(str::to_owned);
    let request = Request {
        method: "POST".to_owned(),
        url: String::new(),
        query: String::new(),
        headers: super::headers(&headers),
        body,
        peer: Some(peer.to_string()),
        respond_async: true,
        local: app.gatekeeper.is_local(),
    };
    let event_id = read.id.filter(|id| !id.is_empty()).or(key);
    let accepted = app
        .intake()?
        .receive_call(workspace, &request, &workflow, read.data, event_id)
        .await
        .map_err(answer::refused)?;
    Ok(Json(ReceiveAnswer {
        success: true,
        message: if accepted.duplicate {
            "Webhook received before"
        } else {
            "Webhook received"
        },
        timestamp: app.now(),
        receipt_id: accepted.receipt,
        executions: accepted
            .executions
            .iter()
            .map(|execution| execution.id.to_string())
            .collect(),
    }))
}
