//! What the interface says of itself: an OpenAPI 3.1 document, and a page for people ([`page`]).
//!
//! Paths and bodies come from the handlers' annotations. What follows from a route's shape is
//! added here, so that it cannot be forgotten: credentials, the refusals that a route can answer,
//! the `Idempotency-Key` and `X-Workspace` headers. The `webhooks` section, which describes the
//! requests that Signpost itself sends, is made from the event catalogue.

pub mod errors;
mod example;
mod markdown;
pub mod page;

use domain::catalogue::{self, CatalogueEntry};
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, PartialSchema};

use crate::{
    front::is_message_path,
    problem::{FieldErrorView, Kind, MEDIA_TYPE, ProblemBody},
};

/// Where the document is served.
pub const DOCUMENT_PATH: &str = "/api/openapi.json";

/// The document's head: title, tags, credentials.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Signpost",
        description = "Signed POSTs, in and out, for AI agents: durable outgoing webhooks from one binary and one file.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "Events", description = "Publish events, and look up what was published."),
        (name = "Event types", description = "The catalogue, and types of your own."),
        (name = "Webhooks", description = "Where events are delivered to."),
        (name = "Deliveries", description = "What became of each event on its way to each webhook."),
        (name = "Replays", description = "Sending past events again."),
        (name = "Workflows", description = "What can be run, its versions, and what it shares."),
        (name = "Executions", description = "What runs and ran, step by step."),
        (name = "Sources", description = "Where signed webhooks of others come in."),
        (name = "Triggers", description = "What a request starts."),
        (name = "Receipts", description = "What came in, and what became of it."),
        (name = "Doors", description = "The addresses that others send to."),
        (name = "Access", description = "Users, API keys, workspaces."),
        (name = "Workflow orchestration clients", description = "The interface that clients of the Workflow Orchestration API know, unchanged."),
        (name = "Operations", description = "Health and metrics."),
    ),
    components(schemas(FieldErrorView)),
)]
struct Head;

/// The document before any path is in it.
pub fn preamble() -> utoipa::openapi::OpenApi {
    let mut head = Head::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut head.info.version);
    head
}

/// Completes the document that the handlers' annotations gave.
pub fn complete(document: utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).expect("the document is made of JSON values");
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token from `POST /api/v1/auth/login`, or an API key (`sp_…`). In local mode (bound to loopback, no users yet) none is needed.",
        },
    });
    document["components"]["schemas"]["Problem"] =
        serde_json::to_value(ProblemBody::schema()).expect("a schema is made of JSON values");
    document["components"]["schemas"]["Message"] = json!({
        "type": "object",
        "description": "A refusal, as clients of the Workflow Orchestration API read it.",
        "required": ["message"],
        "properties": { "message": { "type": "string", "description": "What was wrong and what would be right." } },
    });
    document["components"]["responses"] = responses();
    document["security"] = json!([{ "bearer": [] }]);
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                complete_operation(path, method, operation);
            }
        }
    }
    document["webhooks"] = webhooks();
    document
}

/// A reusable response for each status that a refusal can have, as a problem and as a message.
fn responses() -> Value {
    let mut all = Map::new();
    for kind in Kind::ALL {
        let status = kind.status().as_u16();
        let of_status: Vec<_> = Kind::ALL
            .iter()
            .filter(|other| other.status() == kind.status())
            .collect();
        let lines: Vec<_> = of_status
            .iter()
            .map(|kind| format!("`{}`: {}.", kind.slug(), kind.title()))
            .collect();
        let description = lines.join(" ");
        all.insert(
            format!("Problem{status}"),
            json!({
                "description": description,
                "content": { MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
            }),
        );
        all.insert(format!("Message{status}"), json!({
            "description": description,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Message" } } },
        }));
    }
    Value::Object(all)
}

fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    let is_open = operation.get("security").is_some();
    let has_body = operation.get("requestBody").is_some();
    let is_post = method == "post";
    let is_change = matches!(method, "post" | "put" | "patch" | "delete");
    if !is_open {
        add_parameter(
            operation,
            &json!({
                "name": "X-Workspace", "in": "header", "required": false,
                "description": "The workspace to act in; your first one where nothing is said.",
                "schema": { "type": "string", "pattern": "^wsp_[0-9]+$" }, "example": "wsp_1",
            }),
        );
    }
    if is_post && !is_open {
        add_parameter(
            operation,
            &json!({
                "name": "Idempotency-Key", "in": "header", "required": false,
                "description": "Any text of your own, new for each new request: the same request with the same key is done once and answered again.",
                "schema": { "type": "string", "minLength": 1, "maxLength": 255 },
            }),
        );
    }
    let parameters = operation["parameters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let has = |place: &str| parameters.iter().any(|parameter| parameter["in"] == place);
    let mut statuses = vec![500, 503];
    let mut add = |applies: bool, more: &[u16]| {
        if applies {
            statuses.extend_from_slice(more);
        }
    };
    add(path.starts_with("/api/"), &[403, 429]);
    add(
        path.starts_with("/webhooks/") || path.starts_with("/triggers/"),
        &[400, 401, 403, 404, 408, 413, 422, 429, 507],
    );
    // A callback works once.
    add(path.starts_with("/callbacks/"), &[409, 507]);
    add(!is_open, &[401, 404]);
    add(has("path"), &[404]);
    add(has("query") || is_post, &[422]);
    add(has_body, &[400, 401, 408, 413, 415, 422]);
    add(is_change && !is_open, &[409, 507]);
    let style = if is_message_path(path) {
        "Message"
    } else {
        "Problem"
    };
    let responses = &mut operation["responses"];
    for status in statuses {
        let known = responses.get(status.to_string()).is_some();
        if !known {
            responses[status.to_string()] =
                json!({ "$ref": format!("#/components/responses/{style}{status}") });
        }
    }
}

fn add_parameter(operation: &mut Value, parameter: &Value) {
    let parameters = &mut operation["parameters"];
    if parameters.is_null() {
        *parameters = json!([]);
    }
    let parameters = parameters.as_array_mut().expect("parameters are a list");
    let known = parameters.iter().any(|known| {
        known["in"] == parameter["in"]
            && known["name"]
                .as_str()
                .zip(parameter["name"].as_str())
                .is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
    });
    if !known {
        parameters.push(parameter.clone());
    }
}

/// The requests that Signpost sends: one for each event type of the catalogue.
fn webhooks() -> Value {
    catalogue::all()
        .iter()
        .map(|entry| (entry.name.to_owned(), webhook(entry)))
        .collect::<Map<_, _>>()
        .into()
}

fn webhook(entry: &CatalogueEntry) -> Value {
    let mut data = entry.schema.clone();
    if let Some(data) = data.as_object_mut() {
        data.remove("$schema");
    }
    let header = |name: &str, required: bool, description: &str| {
        json!({
            "name": name, "in": "header", "required": required, "description": description,
            "schema": { "type": "string" },
        })
    };
    json!({ "post": {
        "tags": [entry.group],
        "operationId": operation_id(entry.name),
        "summary": entry.name,
        "description": entry.description,
        "security": [],
        "parameters": [
            header("webhook-id", true, "The event's id, the same on every attempt: the key to deduplicate by (Standard Webhooks)."),
            header("webhook-timestamp", true, "When this attempt was made, in Unix seconds (Standard Webhooks)."),
            header("webhook-signature", true, "`v1,` and base64 HMAC-SHA256 of `id.timestamp.body`, one for each active secret (Standard Webhooks)."),
            header("X-Webhook-Event", false, "The event's type."),
            header("X-Webhook-Signature", false, "Hexadecimal HMAC-SHA256 of the body."),
        ],
        "requestBody": { "required": true, "content": { "application/json": {
            "schema": {
                "type": "object",
                "required": ["id", "event", "timestamp", "data"],
                "properties": {
                    "id": { "type": "string", "description": "The event's id." },
                    "event": { "const": entry.name },
                    "timestamp": { "type": "string", "format": "date-time" },
                    "data": data,
                },
            },
            "example": {
                "id": "evt_0190a0c2f1e87d0e9e0b7c1d2e3f4a5b",
                "event": entry.name,
                "timestamp": "2026-01-31T09:30:00.000Z",
                "data": entry.example,
            },
        } } },
        "responses": {
            "2XX": { "description": "Taken. Anything else, redirects included, is tried again later." },
            "410": { "description": "Gone: the webhook is switched off." },
        },
    } })
}

/// `workflow.execution.started` as `onWorkflowExecutionStarted`.
fn operation_id(event: &str) -> String {
    event
        .split(['.', '_', '-'])
        .fold("on".to_owned(), |mut id, part| {
            let mut chars = part.chars();
            id.extend(chars.next().map(|first| first.to_ascii_uppercase()));
            id.push_str(chars.as_str());
            id
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operation_ids_read_as_names() {
        assert_eq!(
            operation_id("workflow.execution.started"),
            "onWorkflowExecutionStarted"
        );
        assert_eq!(operation_id("webhook.test"), "onWebhookTest");
    }

    #[test]
    fn every_event_type_of_the_catalogue_is_a_webhook() {
        let webhooks = webhooks();
        for name in catalogue::names() {
            assert_eq!(webhooks[name]["post"]["summary"], name);
        }
    }
}
