//! The OpenAPI document: complete, consistent, and the same as the one in `docs/`.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::{collections::HashSet, path::Path};

use serde_json::Value;
use server::{api, problem::Kind};
use support::TestServer;

const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

#[test]
fn the_snapshot_in_docs_is_up_to_date() {
    let text = serde_json::to_string_pretty(&api::document()).unwrap() + "\n";
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(SNAPSHOT, &text).unwrap();
    }
    let kept = std::fs::read_to_string(Path::new(SNAPSHOT)).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi.json is not up to date: run the tests with UPDATE_SNAPSHOTS=1"
    );
}

/// Calls `visit` for every operation.
fn operations(document: &Value, mut visit: impl FnMut(&str, &str, &Value)) {
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            visit(path, method, operation);
        }
    }
}

#[test]
fn every_operation_is_named_grouped_and_described() {
    let document = api::document();
    let mut ids = HashSet::new();
    operations(&document, |path, method, operation| {
        let id = operation["operationId"].as_str().unwrap();
        assert!(ids.insert(id.to_owned()), "{id} twice");
        assert!(!id.contains('_'), "{method} {path}: {id}");
        assert!(operation["summary"].is_string(), "{id} has no summary");
        let tag = &operation["tags"][0];
        let known = document["tags"]
            .as_array()
            .unwrap()
            .iter()
            .any(|known| known["name"] == *tag);
        assert!(known, "{id} has the tag {tag}, which is not described");
        let answers = operation["responses"].as_object().unwrap();
        assert!(
            answers
                .keys()
                .any(|status| status.starts_with('2') || status.starts_with('3')),
            "{id} never succeeds"
        );
    });
}

#[test]
fn every_reference_leads_somewhere() {
    let document = api::document();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(target) = value["$ref"].as_str() {
                    let pointer = target.strip_prefix('#').unwrap();
                    assert!(
                        document.pointer(pointer).is_some(),
                        "{target} leads nowhere"
                    );
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

#[test]
fn every_status_that_a_problem_can_have_is_a_response() {
    let document = api::document();
    for kind in Kind::ALL {
        let name = format!("Problem{}", kind.status().as_u16());
        let described = document["components"]["responses"][&name]["description"]
            .as_str()
            .unwrap();
        assert!(described.contains(kind.slug()), "{kind:?}");
    }
}

#[tokio::test]
async fn the_document_is_served_as_it_is() {
    let server = TestServer::local().await;
    let document = server.get("/api/openapi.json").send().await;
    assert_eq!(document.header("content-type"), "application/json");
    assert_eq!(document.json(), api::document());
    assert_eq!(document.json()["openapi"], "3.1.0");
}
