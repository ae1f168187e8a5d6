//! The event catalogue: complete, and true to its own schemas.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::HashSet;

use domain::{
    catalogue::{
        self, ERRORS_MAX, SCHEMA_BYTES_MAX, SchemaError, all, check_schema, find, names,
        nearest_name,
    },
    event::EventType,
    json::is_canonical,
};
use serde_json::{Value, json};

/// The contract's names.
const NAMES: &str = "
    workflow.completed workflow.failed workflow.stopped
    workflow.definition.created workflow.definition.updated workflow.definition.deleted
    workflow.execution.started workflow.execution.completed workflow.execution.failed workflow.execution.cancelled
    task.execution.started task.execution.completed task.execution.failed task.execution.cancelled
    progress.updated blocker.detected blocker.resolved milestone.achieved
    resource.allocated resource.released resource.shortage
    synchronization.point.reached synchronization.point.completed synchronization.point.failed
    agent.completed agent.failed agent.stopped
    agent.created agent.updated agent.deleted agent.deployed agent.undeployed
    conversation.started conversation.message conversation.ended
    usage.threshold usage.limit error.occurred error.resolved
    system.error system.warning system.info webhook.test";

#[test]
fn every_name_of_the_contract_is_there_once() {
    let expected: HashSet<&str> = NAMES.split_whitespace().collect();
    let found: Vec<&str> = names().collect();
    assert_eq!(found.len(), expected.len());
    assert_eq!(found.iter().copied().collect::<HashSet<_>>(), expected);
    for name in found {
        assert!(EventType::parse(name).is_ok(), "{name}");
        assert_eq!(find(name).unwrap().name, name);
    }
    assert!(find("workflow").is_none());
    assert_eq!(
        nearest_name("workflow.execution.canceled"),
        Some("workflow.execution.cancelled")
    );
    assert_eq!(nearest_name("task.failed"), Some("task.execution.failed"));
    assert_eq!(nearest_name("invoice.paid"), None);
}

#[test]
fn every_example_satisfies_its_schema_and_no_field_is_unknown_to_it() {
    for entry in all() {
        let schema = check_schema(&entry.schema.to_string()).unwrap();
        assert_eq!(schema.validate(&entry.example), [], "{}", entry.name);
        assert!(
            !schema.validate(&json!({})).is_empty(),
            "{} demands nothing",
            entry.name
        );
        for field in entry.example.as_object().unwrap().keys() {
            assert!(
                entry.schema["properties"][field].is_object(),
                "{}: {field}",
                entry.name
            );
        }
        let example = entry.example.to_string();
        assert!(is_canonical(example.as_bytes()), "{}", entry.name);
        assert!(entry.description.ends_with('.') && !entry.group.is_empty());
    }
}

#[test]
fn shapes_are_those_of_the_seeds() {
    let keys = |name: &str| -> Vec<String> {
        find(name)
            .unwrap()
            .example
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(
        keys("workflow.completed"),
        ["workflowId", "executionId", "status", "result"]
    );
    assert_eq!(
        keys("agent.failed"),
        ["agentId", "executionId", "status", "error"]
    );
    assert_eq!(
        keys("workflow.execution.completed"),
        [
            "id",
            "workflowDefinitionId",
            "status",
            "startTime",
            "endTime"
        ]
    );
    assert_eq!(
        keys("agent.created"),
        ["agent_id", "agent_name", "user_id", "created_at"]
    );
    assert_eq!(
        keys("usage.threshold"),
        [
            "user_id",
            "usage_type",
            "current_usage",
            "threshold",
            "percentage"
        ]
    );
    assert_eq!(
        find("workflow.execution.failed").unwrap().example["status"],
        "FAILED"
    );
}

#[test]
fn a_value_that_does_not_fit_says_where() {
    let schema = check_schema(
        r#"{"type":"object","properties":{"items":{"type":"array","items":{"type":"integer"}}}}"#,
    )
    .unwrap();
    let violations = schema.validate(&json!({ "items": [1, "two"] }));
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].path, "/items/1");
    assert!(violations[0].message.contains("integer"));
    let many: Vec<Value> = vec![json!("x"); 100];
    assert_eq!(schema.validate(&json!({ "items": many })).len(), ERRORS_MAX);
}

/// So many definitions, each made from the number of the next.
fn definitions(count: usize, make: impl Fn(usize) -> String) -> String {
    let all: Vec<String> = (0..count)
        .map(|n| format!(r#""a{n}":{},"#, make(n + 1)))
        .collect();
    all.concat()
}

#[test]
fn schemas_that_reach_out_or_multiply_are_refused() {
    let doubling = definitions(40, |next| {
        format!(r##"{{"allOf":[{{"$ref":"#/$defs/a{next}"}},{{"$ref":"#/$defs/a{next}"}}]}}"##)
    });
    let chain = definitions(1000, |next| format!(r##"{{"$ref":"#/$defs/a{next}"}}"##));
    let end = r##""end":true},"$ref":"#/$defs/a0"}"##;
    for (schema, told) in [
        (
            r#"{"$ref":"https://example.com/schema.json"}"#,
            "refers to another document",
        ),
        (
            r#"{"properties":{"enum":{"$ref":"file:///etc/passwd"}}}"#,
            "refers to another document",
        ),
        (r##"{"$ref":"#/$defs/none"}"##, "leads nowhere"),
        (r##"{"$dynamicRef":"#node"}"##, "not taken here"),
        (r#"{"$defs":{"a":{"$id":"https://example.com/a"}}}"#, "$id"),
        (r#"{"$schema":"https://example.com/meta"}"#, "meta-schema"),
        (r#"{"type":"strin"}"#, "not valid"),
        (r#"{"pattern":"(?=a)b"}"#, "regex"),
        ("true", "object"),
        ("{", "object"),
        (
            &format!(r#"{{"$defs":{{{doubling}"a40":true,{end}"#),
            "multiply",
        ),
        (
            &format!(r#"{{"$defs":{{{chain}"a1000":true,{end}"#),
            "lie in each other",
        ),
    ] {
        let error = check_schema(schema).unwrap_err().to_string();
        assert!(error.contains(told), "{schema:.100}: {error}");
    }
    let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(SCHEMA_BYTES_MAX));
    assert_eq!(check_schema(&long).unwrap_err(), SchemaError::TooLong);
}

#[test]
fn local_references_recursion_and_older_drafts_are_taken() {
    for (schema, good, bad) in [
        (
            r##"{"$defs":{"a b":{"type":"string"}},"$ref":"#/$defs/a%20b"}"##,
            json!("x"),
            json!(1),
        ),
        (
            r##"{"$defs":{"s":{"$anchor":"s","type":"string"}},"$ref":"#s"}"##,
            json!("x"),
            json!(1),
        ),
        (
            r##"{"type":"object","properties":{"next":{"$ref":"#"}}}"##,
            json!({ "next": { "next": {} } }),
            json!({ "next": { "next": 1 } }),
        ),
        (r##"{"$ref":"#","type":"string"}"##, json!("x"), json!(1)),
        (
            r##"{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"n":{"type":"number"}},"items":[{"$ref":"#/definitions/n"}]}"##,
            json!([1]),
            json!(["x"]),
        ),
        (
            r#"{"const":{"$ref":"https://example.com/"}}"#,
            json!({ "$ref": "https://example.com/" }),
            json!(1),
        ),
    ] {
        let compiled = check_schema(schema).unwrap();
        assert_eq!(compiled.validate(&good), [], "{schema}");
        assert!(!compiled.validate(&bad).is_empty(), "{schema}");
    }
}

#[test]
fn the_catalogue_is_made_once() {
    assert!(std::ptr::eq(catalogue::all(), catalogue::all()));
}
