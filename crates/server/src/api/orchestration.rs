//! `/api/webhooks`: webhooks as clients of the Workflow Orchestration API (S2) know them.
//!
//! Bodies and answers are those of its document: bare objects and arrays, `id url events secret
//! active createdAt`, refusals as `{"message"}` (which [`crate::front`] sees to). Webhooks made
//! here have the format `orchestration`, and without a secret they are unsigned. Only webhooks of
//! that format are seen here: a client that removes what it does not know from its list must not
//! reach those that were made elsewhere.
//!
//! Decided where the document is silent: the secret is shown on create only, as everywhere else
//! (the document shows no answer of GET); a test whose receiver fails is a 200 with `success:
//! false`; DELETE answers 204, as this API does for its other resources.

use axum::extract::State;
use delivery::webhooks::{SecretChoice, WebhookError, WebhookInput};
use domain::{
    Timestamp, WebhookId, WorkspaceId,
    access::Scope,
    event::EventType,
    format::Format,
    json::{self, Limits, Numbers},
    pattern::EventPattern,
    webhook::Webhook,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store::Page;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    fields::{self, Fields, given},
    webhooks::{find as find_any, outcome_message, refused},
};
use crate::{
    SharedApp,
    auth::Access,
    extract::{BodyBytes, Id, Json, PAGE_MAX},
    problem::Problem,
};

/// The routes.
pub fn routes() -> OpenApiRouter<SharedApp> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, delete))
        .routes(routes!(test))
}

/// What is set of a webhook.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
struct OrchestrationWebhookInput {
    /// Where deliveries are sent. Needed to create.
    #[schema(example = "https://example.com/webhook")]
    url: Option<String>,
    /// The event types that it subscribes to. Needed to create.
    #[schema(example = json!(["workflow.execution.completed", "task.execution.failed"]))]
    events: Option<Vec<String>>,
    /// What signs the bodies; without one they are not signed.
    #[serde(deserialize_with = "given")]
    #[schema(value_type = Option<String>, example = "your-webhook-secret")]
    #[expect(
        clippy::option_option,
        reason = "tells `null` from a field that is not there"
    )]
    secret: Option<Option<String>>,
    /// Whether it is sent to.
    active: Option<bool>,
}

impl Fields for OrchestrationWebhookInput {
    const KNOWN: &'static [&'static str] = &["url", "events", "secret", "active"];
    const IGNORED: &'static [&'static str] = &["id", "createdAt"];
}

impl OrchestrationWebhookInput {
    /// `unsaid` is what no `secret` means.
    fn into_input(self, unsaid: SecretChoice) -> WebhookInput {
        WebhookInput {
            target_url: self.url,
            events: self.events,
            secret: match self.secret {
                None => unsaid,
                Some(Some(secret)) if !secret.is_empty() => SecretChoice::Given(secret),
                Some(_) => SecretChoice::Unsigned,
            },
            active: self.active,
            ..WebhookInput::default()
        }
    }
}

/// A webhook.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OrchestrationWebhook {
    /// Its id.
    #[schema(value_type = String, example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: WebhookId,
    /// Where deliveries are sent.
    url: String,
    /// The event types that it subscribes to.
    #[schema(value_type = Vec<String>)]
    events: Vec<EventPattern>,
    /// What signs the bodies; only when it was just set.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    /// Whether it is sent to.
    active: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl OrchestrationWebhook {
    fn new(webhook: Webhook, secret: Option<String>) -> Self {
        Self {
            active: webhook.is_active(),
            id: webhook.id,
            url: webhook.config.target_url,
            events: webhook.config.events,
            secret,
            created_at: webhook.created_at,
        }
    }
}

/// The webhook, if it is one of this interface.
async fn find(app: &SharedApp, workspace: WorkspaceId, id: WebhookId) -> Result<Webhook, Problem> {
    let webhook = find_any(app, workspace, id).await?;
    let known = webhook.config.format == Format::Orchestration;
    known
        .then_some(webhook)
        .ok_or_else(|| Problem::not_found("webhook"))
}

/// The pipeline's refusal in the words of this interface, which calls the target `url`.
fn in_its_words(error: WebhookError) -> Problem {
    match error {
        WebhookError::Invalid(mut errors) => {
            for error in &mut errors {
                if error.path == "targetUrl" {
                    "url".clone_into(&mut error.path);
                }
            }
            refused(errors)
        }
        other => other.into(),
    }
}

/// List webhooks (orchestration)
///
/// All of them, without their secrets.
#[utoipa::path(
    get, path = "/api/webhooks", tag = "Workflow orchestration clients", operation_id = "orchestrationListWebhooks",
    responses((status = 200, description = "The webhooks", body = Vec<OrchestrationWebhook>)),
)]
async fn list(
    State(app): State<SharedApp>,
    access: Access,
) -> Result<Json<Vec<OrchestrationWebhook>>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = app
            .store()
            .webhooks(
                workspace,
                Page {
                    after,
                    limit: PAGE_MAX,
                },
            )
            .await?;
        after = page.last().map(|webhook| webhook.id);
        let last = page.len() < PAGE_MAX;
        let own = page
            .into_iter()
            .filter(|webhook| webhook.config.format == Format::Orchestration);
        listed.extend(own.map(|webhook| OrchestrationWebhook::new(webhook, None)));
        if last {
            return Ok(Json(listed));
        }
    }
}

/// Register a webhook (orchestration)
#[utoipa::path(
    post, path = "/api/webhooks", tag = "Workflow orchestration clients", operation_id = "orchestrationCreateWebhook",
    request_body = OrchestrationWebhookInput,
    responses((status = 201, description = "The webhook", body = OrchestrationWebhook)),
)]
async fn create(
    State(app): State<SharedApp>,
    access: Access,
    BodyBytes(body): BodyBytes,
) -> Result<(StatusCode, Json<OrchestrationWebhook>), Problem> {
    let workspace = access.require(Scope::Write)?;
    let body: OrchestrationWebhookInput = fields::parse(&body)?;
    let input = WebhookInput {
        format: Some(Format::Orchestration),
        ..body.into_input(SecretChoice::Unsigned)
    };
    let made = app
        .pipeline
        .create_webhook(workspace, input)
        .await
        .map_err(in_its_words)?;
    let secret = made.secret.map(|secret| secret.expose().to_owned());
    Ok((
        StatusCode::CREATED,
        Json(OrchestrationWebhook::new(made.webhook, secret)),
    ))
}

/// Show a webhook (orchestration)
#[utoipa::path(
    get, path = "/api/webhooks/{id}", tag = "Workflow orchestration clients", operation_id = "orchestrationGetWebhook",
    params(("id" = String, Path, description = "The webhook's id")),
    responses((status = 200, description = "The webhook, without its secret", body = OrchestrationWebhook)),
)]
async fn show(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
) -> Result<Json<OrchestrationWebhook>, Problem> {
    let workspace = access.require(Scope::Read)?;
    let webhook = find(&app, workspace, id).await?;
    Ok(Json(OrchestrationWebhook::new(webhook, None)))
}

/// Update a webhook (orchestration)
///
/// What is not named stays as it is.
#[utoipa::path(
    put, path = "/api/webhooks/{id}", tag = "Workflow orchestration clients", operation_id = "orchestrationUpdateWebhook",
    params(("id" = String, Path, description = "The webhook's id")),
    request_body = OrchestrationWebhookInput,
    responses((status = 200, description = "The webhook as it is now", body = OrchestrationWebhook)),
)]
async fn update(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
    BodyBytes(body): BodyBytes,
) -> Result<Json<OrchestrationWebhook>, Problem> {
    let workspace = access.require(Scope::Write)?;
    find(&app, workspace, id).await?;
    let body: OrchestrationWebhookInput = fields::parse(&body)?;
    let input = body.into_input(SecretChoice::Unsaid);
    let changed = app
        .pipeline
        .update_webhook(workspace, id, input)
        .await
        .map_err(in_its_words)?;
    let secret = changed.secret.map(|secret| secret.expose().to_owned());
    Ok(Json(OrchestrationWebhook::new(changed.webhook, secret)))
}

/// Delete a webhook (orchestration)
#[utoipa::path(
    delete, path = "/api/webhooks/{id}", tag = "Workflow orchestration clients", operation_id = "orchestrationDeleteWebhook",
    params(("id" = String, Path, description = "The webhook's id")),
    responses((status = 204, description = "It is gone")),
)]
async fn delete(
    State(app): State<SharedApp>,
    access: Access,
    Id(id): Id<WebhookId>,
) -> Result<StatusCode, Problem> {
    let workspace = access.require(Scope::Write)?;
    find(&app, workspace, id).await?;
    app.pipeline.delete_webhook(workspace, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What is to be sent, and where.
#[derive(Deserialize, ToSchema)]
struct OrchestrationTest {
    /// Where to. It need not be a webhook.
    #[schema(required, example = "https://example.com/webhook")]
    url: Option<String>,
    /// The event type.
    #[schema(required, example = "workflow.execution.completed")]
    event: Option<String>,
    /// The payload; `{}` where there is none.
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<Box<RawValue>>,
    /// What signs it; without one it is not signed.
    #[schema(example = "your-webhook-secret")]
    secret: Option<String>,
}

impl Fields for OrchestrationTest {
    const KNOWN: &'static [&'static str] = &["url", "event", "payload", "secret"];
}

/// What came of a test.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OrchestrationTestResult {
    /// Whether the receiver took it (2xx).
    success: bool,
    /// The receiver's status; null if it gave no answer.
    #[schema(required, example = 200)]
    status_code: Option<u16>,
    /// A sentence for people.
    #[schema(example = "Webhook delivered successfully")]
    message: String,
}

/// Test a URL (orchestration)
///
/// Sends one event to it now, once. A receiver that refuses is a 200 with `success: false`.
#[utoipa::path(
    post, path = "/api/webhooks/test", tag = "Workflow orchestration clients", operation_id = "orchestrationTestWebhook",
    request_body = OrchestrationTest,
    responses((status = 200, description = "What came of it", body = OrchestrationTestResult)),
)]
async fn test(
    State(app): State<SharedApp>,
    access: Access,
    BodyBytes(body): BodyBytes,
) -> Result<Json<OrchestrationTestResult>, Problem> {
    let workspace = access.require(Scope::Write)?;
    let body: OrchestrationTest = fields::parse(&body)?;
    let url = body
        .url
        .ok_or_else(|| Problem::field("url", "is required: where the test is sent"))?;
    let event = body
        .event
        .ok_or_else(|| Problem::field("event", "is required: the event type to simulate"))?;
    let event =
        EventType::parse(&event).map_err(|error| Problem::field("event", error.to_string()))?;
    let payload = body.payload.as_ref().map_or("{}", |payload| payload.get());
    let payload = json::canonicalize(payload.as_bytes(), Numbers::Exact, &Limits::default());
    let payload = payload
        .map_err(|error| error.within("payload"))?
        .into_bytes();
    let secret = body.secret.as_deref().filter(|secret| !secret.is_empty());
    let tested = app
        .pipeline
        .test_url(
            workspace,
            &url,
            secret,
            Format::Orchestration,
            event,
            payload,
        )
        .await;
    let tested = tested.map_err(in_its_words)?;
    Ok(Json(OrchestrationTestResult {
        success: tested.is_success(),
        status_code: tested.attempt.status,
        message: outcome_message(&tested),
    }))
}
