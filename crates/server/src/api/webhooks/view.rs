//! What a webhook looks like.

use delivery::webhooks::WithSecret;
use domain::{
    Timestamp, WebhookId,
    filter::Filter,
    format::Format,
    header,
    pattern::EventPattern,
    schedule::RetrySchedule,
    webhook::{DisabledReason, Webhook, WebhookState},
};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::SharedApp;

/// A webhook, without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub struct WebhookView {
    /// Its id.
    #[schema(value_type = String, example = "whk_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b")]
    id: WebhookId,
    /// What people call it.
    #[schema(example = "My Webhook")]
    name: String,
    /// What it is for.
    #[schema(required)]
    description: Option<String>,
    /// Where deliveries are sent.
    #[schema(example = "https://example.com/webhook")]
    target_url: String,
    /// The same as `targetUrl`.
    #[schema(example = "https://example.com/webhook")]
    url: String,
    /// What it subscribes to: event types, `prefix.*`, or `*`.
    #[schema(value_type = Vec<String>, example = json!(["workflow.completed", "agent.*"]))]
    events: Vec<EventPattern>,
    /// Which bodies and headers it gets: `default`, `agent-factory`, `orchestration` or
    /// `cloudevents`.
    #[schema(value_type = String, example = "default")]
    format: Format,
    /// Conditions on the event; only events that meet them are delivered.
    #[schema(required, value_type = Option<Object>)]
    filter: Option<Filter>,
    /// Headers that each delivery carries beside Signpost's own. Values that may be credentials
    /// are shown as `***`.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    headers: Map<String, Value>,
    /// What stands before the hexadecimal signature in the format's own header.
    signature_prefix: String,
    /// When a failed delivery is tried again: a preset's name, or delays.
    #[schema(value_type = Value, example = "default")]
    schedule: RetrySchedule,
    /// How long a whole exchange may take, in milliseconds.
    #[schema(example = 10000)]
    timeout_ms: u64,
    /// How many attempts may be in flight at once.
    #[schema(example = 10)]
    concurrency: u32,
    /// Attempts per second; null for no limit.
    #[schema(required)]
    rate_per_second: Option<f64>,
    /// Whether deliveries go one at a time, in the order of acceptance.
    ordered: bool,
    /// Whether it is sent to.
    is_active: bool,
    /// The same as `isActive`.
    active: bool,
    /// `active`; `inactive`: a person switched it off; `disabled`: Signpost did.
    #[schema(example = "active")]
    state: &'static str,
    /// Why Signpost switched it off: `gone` (the receiver answered 410) or `failing` (nothing
    /// arrived for five days).
    #[schema(required, value_type = Option<String>)]
    disabled_reason: Option<DisabledReason>,
    /// When it did.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    disabled_at: Option<Timestamp>,
    /// Since when every attempt failed; null while the last one succeeded.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When a person last changed it.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A webhook whose secret was just made or set: the only time that it is shown.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    webhook: WebhookView,
    /// The signing secret.
    #[schema(
        required,
        example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwkR2p3X4Yz5E="
    )]
    secret: Option<String>,
}

/// Its custom headers in clear; none if they cannot be opened, which is logged.
pub fn custom_headers(app: &SharedApp, webhook: &Webhook) -> Vec<(String, String)> {
    app.pipeline
        .custom_headers(webhook)
        .unwrap_or_else(|error| {
            tracing::error!(webhook = %webhook.id, %error, "failed to open a webhook's headers");
            Vec::new()
        })
}

impl WebhookView {
    /// Renders a webhook.
    pub fn new(app: &SharedApp, webhook: Webhook) -> Self {
        let masked = |(name, value): (String, String)| {
            let shown = header::mask(&name, &value).into_owned();
            (name, Value::String(shown))
        };
        let headers = custom_headers(app, &webhook)
            .into_iter()
            .map(masked)
            .collect();
        let is_active = webhook.is_active();
        let (state, disabled) = match webhook.state {
            WebhookState::Active => ("active", None),
            WebhookState::Inactive => ("inactive", None),
            WebhookState::Disabled { reason, at } => ("disabled", Some((reason, at))),
        };
        let config = webhook.config;
        Self {
            id: webhook.id,
            name: config.name,
            description: config.description,
            url: config.target_url.clone(),
            target_url: config.target_url,
            events: config.events,
            format: config.format,
            filter: config.filter,
            headers,
            signature_prefix: config.signature_prefix,
            schedule: config.schedule,
            timeout_ms: config.timeout_ms,
            concurrency: config.concurrency,
            rate_per_second: config.rate_per_s,
            ordered: config.ordered,
            is_active,
            active: is_active,
            state,
            disabled_reason: disabled.map(|(reason, _)| reason),
            disabled_at: disabled.map(|(_, at)| at),
            failing_since: webhook.failing_since,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

impl WebhookWithSecret {
    /// Renders a webhook with its secret.
    pub fn new(app: &SharedApp, made: WithSecret) -> Self {
        let secret = made.secret.map(|secret| secret.expose().to_owned());
        Self {
            webhook: WebhookView::new(app, made.webhook),
            secret,
        }
    }
}
