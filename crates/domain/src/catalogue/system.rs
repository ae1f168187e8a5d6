//! What the server says of itself (S2), and tests.

use serde_json::json;

use super::{CatalogueEntry, object, text};

pub(super) fn entries() -> Vec<CatalogueEntry> {
    let entry = |name, description, code: &str, message: &str, details| CatalogueEntry {
        name,
        group: "System",
        description,
        schema: object(
            &["code", "message", "details"],
            &json!({
                "code": text("What happened, for a program: lower case with underscores."),
                "message": text("What happened, for a person."),
                "details": { "type": "object", "description": "What it is about; depends on the code." },
            }),
        ),
        example: json!({ "code": code, "message": message, "details": details }),
    };
    vec![
        entry(
            "system.error",
            "The server can't do part of its work.",
            "disk_full",
            "the disk is full: no event is accepted",
            json!({ "freeBytes": 0 }),
        ),
        entry(
            "system.warning",
            "The server saw something that a person should look at.",
            "webhook_disabled",
            "the webhook was disabled: its receiver answered 410 Gone",
            json!({ "webhookId": "whk_0197f1f0c0de7000a000000000000001", "reason": "gone" }),
        ),
        entry(
            "system.info",
            "The server did something worth knowing.",
            "node_joined",
            "another node shares the work",
            json!({ "node": "signpost-2" }),
        ),
        CatalogueEntry {
            name: "webhook.test",
            group: "Tests",
            description: "A test was sent to a webhook, at the request of a person.",
            schema: object(
                &["message", "webhookId"],
                &json!({
                    "message": text("A greeting."),
                    "webhookId": text("The webhook that is tested."),
                }),
            ),
            example: json!({
                "message": "This is a test from Signpost.",
                "webhookId": "whk_0197f1f0c0de7000a000000000000001",
            }),
        },
    ]
}
