//! Agents: the ends of their runs (S0), and their records, conversations and usage (S1).

use serde_json::{Value, json};

use super::{CatalogueEntry, constant, count, object, text, time};

const AT: &str = "2024-01-15T10:30:00Z";

pub(super) fn entries() -> Vec<CatalogueEntry> {
    [ended(), records(), conversations(), usage(), errors()].concat()
}

/// S0: the end of an agent execution.
fn ended() -> Vec<CatalogueEntry> {
    let entry = |name, description, status: &str, outcome: Option<(&str, Value, Value)>| {
        let mut required = vec!["agentId", "executionId", "status"];
        let mut properties = json!({
            "agentId": text("The agent."),
            "executionId": text("The execution that ended."),
            "status": constant(status),
        });
        let mut example = json!({
            "agentId": "agent-id",
            "executionId": "execution-id",
            "status": status,
        });
        if let Some((field, schema, value)) = outcome {
            required.push(field);
            properties[field] = schema;
            example[field] = value;
        }
        CatalogueEntry {
            name,
            group: "Agent executions",
            description,
            schema: object(&required, &properties),
            example,
        }
    };
    let result = json!({ "description": "What the agent returned: any JSON." });
    vec![
        entry(
            "agent.completed",
            "An agent execution completed successfully.",
            "completed",
            Some((
                "result",
                result,
                json!({ "output": "The ticket is answered." }),
            )),
        ),
        entry(
            "agent.failed",
            "An agent execution failed.",
            "failed",
            Some(("error", text("Why, for a person."), json!("Error message"))),
        ),
        entry(
            "agent.stopped",
            "An agent execution was stopped by hand.",
            "stopped",
            None,
        ),
    ]
}

/// S1: an agent's record changes.
fn records() -> Vec<CatalogueEntry> {
    [
        ("agent.created", "An agent was created.", None),
        ("agent.updated", "An agent was changed.", Some("updated_at")),
        ("agent.deleted", "An agent was deleted.", Some("deleted_at")),
        (
            "agent.deployed",
            "An agent was deployed.",
            Some("deployed_at"),
        ),
        (
            "agent.undeployed",
            "An agent was taken out of service.",
            Some("undeployed_at"),
        ),
    ]
    .into_iter()
    .map(|(name, description, stamp)| {
        let mut required = vec!["agent_id", "agent_name", "user_id", "created_at"];
        let mut properties = json!({
            "agent_id": text("The agent."),
            "agent_name": text("What people call it."),
            "user_id": text("Whose it is."),
            "created_at": time("When it was created."),
        });
        let mut example = json!({
            "agent_id": "agent_123",
            "agent_name": "Customer Support Bot",
            "user_id": "user_456",
            "created_at": AT,
        });
        if let Some(stamp) = stamp {
            required.push(stamp);
            properties[stamp] = time("When this happened.");
            example[stamp] = json!("2024-01-15T11:00:00Z");
        }
        CatalogueEntry {
            name,
            group: "Agents",
            description,
            schema: object(&required, &properties),
            example,
        }
    })
    .collect()
}

/// S1: conversations.
fn conversations() -> Vec<CatalogueEntry> {
    let entry = |name, description, has_message: bool| {
        let mut required = vec!["conversation_id", "agent_id", "user_id", "timestamp"];
        let mut properties = json!({
            "conversation_id": text("The conversation."),
            "agent_id": text("The agent."),
            "message_id": text("The message."),
            "message": text("Its text."),
            "role": { "enum": ["user", "assistant"], "description": "Who wrote it." },
            "user_id": text("With whom the agent talks."),
            "timestamp": time("When this happened."),
        });
        let mut example = json!({
            "conversation_id": "conv_789",
            "agent_id": "agent_123",
            "message_id": "msg_101",
            "message": "Hello, how can I help you?",
            "role": "assistant",
            "user_id": "user_456",
            "timestamp": "2024-01-15T10:35:00Z",
        });
        if has_message {
            required.extend(["message_id", "message", "role"]);
        } else {
            for value in [&mut properties, &mut example] {
                let fields = value.as_object_mut().expect("it was just made an object");
                fields.retain(|field, _| {
                    !matches!(field.as_str(), "message_id" | "message" | "role")
                });
            }
        }
        CatalogueEntry {
            name,
            group: "Conversations",
            description,
            schema: object(&required, &properties),
            example,
        }
    };
    vec![
        entry("conversation.started", "A conversation was opened.", false),
        entry(
            "conversation.message",
            "A conversation got a message, the user's or the agent's.",
            true,
        ),
        entry("conversation.ended", "A conversation was closed.", false),
    ]
}

/// S1: metered usage.
fn usage() -> Vec<CatalogueEntry> {
    [
        ("usage.threshold", "Metered usage crossed a threshold of its limit.", 8_000, 80),
        ("usage.limit", "Metered usage reached its limit.", 10_000, 100),
    ]
    .into_iter()
    .map(|(name, description, current, percentage)| CatalogueEntry {
        name,
        group: "Usage",
        description,
        schema: object(
            &["user_id", "usage_type", "current_usage", "threshold", "percentage"],
            &json!({
                "user_id": text("Whose usage."),
                "usage_type": {
                    "enum": ["executions", "tokens", "cost", "deliveries", "api_calls"],
                    "description": "What is metered.",
                },
                "current_usage": { "type": "number", "minimum": 0, "description": "Used so far." },
                "threshold": { "type": "number", "minimum": 0, "description": "What was crossed." },
                "percentage": { "type": "number", "minimum": 0, "description": "Used, of the limit." },
            }),
        ),
        example: json!({
            "user_id": "user_456",
            "usage_type": "api_calls",
            "current_usage": current,
            "threshold": current,
            "percentage": percentage,
        }),
    })
    .collect()
}

/// S1: errors, gathered by fingerprint.
fn errors() -> Vec<CatalogueEntry> {
    [
        ("error.occurred", "An error of a new kind appeared."),
        (
            "error.resolved",
            "An error was resolved, by the next success or by a person.",
        ),
    ]
    .into_iter()
    .map(|(name, description)| {
        let mut properties = json!({
            "error_id": text("The error: the same when it occurs and when it is resolved."),
            "kind": text("What kind of error."),
            "message": text("What happened, for a person."),
            "count": count("How often it was seen."),
            "first_seen": time("When it was first seen."),
            "last_seen": time("When it was last seen."),
        });
        let mut example = json!({
            "error_id": "err_42",
            "kind": "delivery.timeout",
            "message": "the receiver did not answer within 10 s",
            "count": 1,
            "first_seen": AT,
            "last_seen": AT,
        });
        if name == "error.resolved" {
            properties["resolved_at"] = time("When it was resolved.");
            example["resolved_at"] = json!("2024-01-15T10:40:00Z");
        }
        CatalogueEntry {
            name,
            group: "Errors",
            description,
            schema: object(
                &[
                    "error_id",
                    "kind",
                    "message",
                    "count",
                    "first_seen",
                    "last_seen",
                ],
                &properties,
            ),
            example,
        }
    })
    .collect()
}
