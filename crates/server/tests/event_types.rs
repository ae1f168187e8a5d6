//! `/api/v1/event-types`: the catalogue, and types of one's own.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod receiver;
mod support;

use domain::catalogue;
use http::{Method, StatusCode};
use receiver::{faults, paths};
use serde_json::json;
use support::TestServer;

#[tokio::test]
async fn the_whole_catalogue_is_on_one_page() {
    let server = TestServer::local().await;
    let listed = server.get("/api/v1/event-types").send().await.json();
    let names: Vec<_> = listed["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, catalogue::names().collect::<Vec<_>>());
    assert!(listed["nextCursor"].is_null());
    insta::assert_json_snapshot!(
        "workflow_completed",
        server
            .get("/api/v1/event-types/workflow.completed")
            .send()
            .await
            .json()
    );
}

#[tokio::test]
async fn a_type_of_ones_own_is_registered_replaced_and_removed() {
    let server = TestServer::local().await;
    let subscribe = json!({ "url": "https://example.com/", "events": ["invoice.paid"] });
    assert_eq!(
        server
            .post("/api/v1/webhooks")
            .json(&subscribe)
            .send()
            .await
            .slug(),
        "unknown-event-type"
    );
    let body = r#"{"name":"invoice.paid","description":"An invoice was paid.","schema":{"type":"object"},"example":{"b":1,"a":2}}"#;
    let made = server
        .post("/api/v1/event-types")
        .body("application/json", body)
        .send()
        .await;
    assert_eq!(
        (made.status, made.header("location")),
        (StatusCode::CREATED, "/api/v1/event-types/invoice.paid")
    );
    insta::assert_json_snapshot!("invoice_paid", made.json());
    assert_eq!(
        server
            .post("/api/v1/webhooks")
            .json(&subscribe)
            .send()
            .await
            .status,
        StatusCode::CREATED
    );
    assert_eq!(
        server
            .post("/api/v1/event-types")
            .body("application/json", body)
            .send()
            .await
            .status,
        StatusCode::CONFLICT
    );

    let path = "/api/v1/event-types/invoice.paid";
    assert_eq!(server.get(path).send().await.json(), made.json());
    let mut record = made.json();
    record["description"] = json!("Paid in full.");
    record["enforce"] = json!(true);
    let put = server.call(Method::PUT, path).json(&record).send().await;
    assert_eq!((put.status, put.json()), (StatusCode::OK, record));
    assert_eq!(
        server.get("/api/v1/event-types").send().await.json()["data"]
            .as_array()
            .unwrap()
            .last()
            .unwrap(),
        &put.json()
    );

    let deleted = server.call(Method::DELETE, path).send().await;
    assert_eq!(
        deleted.json(),
        json!({ "name": "invoice.paid", "deleted": true })
    );
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(
            server.call(method, path).send().await.status,
            StatusCode::NOT_FOUND
        );
    }
    assert_eq!(
        server
            .call(Method::PUT, path)
            .json(&json!({}))
            .send()
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn what_cannot_be_a_type_is_refused() {
    let server = TestServer::local().await;
    let mut told = String::new();
    for body in [
        json!({}),
        json!({ "name": "a b" }),
        json!({ "name": "a", "enforce": true }),
        json!({ "name": "a", "schema": { "type": "objct" } }),
        json!({ "name": "a", "schema": { "$ref": "https://example.com/schema" } }),
        json!({ "name": "a", "schema": { "type": "object" }, "example": 1 }),
        json!({ "name": "a", "schem": {} }),
        json!({ "name": "a", "description": "x".repeat(2_001) }),
    ] {
        let answer = server.post("/api/v1/event-types").json(&body).send().await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{}",
            answer.text()
        );
        told += &faults(&answer);
    }
    insta::assert_snapshot!(told);
    for (method, path) in [
        (Method::PUT, "/api/v1/event-types/webhook.test"),
        (Method::DELETE, "/api/v1/event-types/webhook.test"),
    ] {
        assert_eq!(
            server
                .call(method, path)
                .json(&json!({}))
                .send()
                .await
                .status,
            StatusCode::CONFLICT
        );
    }
    let taken = server
        .post("/api/v1/event-types")
        .json(&json!({ "name": "webhook.test" }))
        .send()
        .await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    server
        .post("/api/v1/event-types")
        .json(&json!({ "name": "own" }))
        .send()
        .await;
    let renamed = server
        .call(Method::PUT, "/api/v1/event-types/own")
        .json(&json!({ "name": "other" }))
        .send()
        .await;
    assert_eq!(paths(&renamed), ["name"]);
}

#[tokio::test]
async fn pages_and_workspaces() {
    let server = TestServer::owned().await;
    let (owner, stranger) = (server.token("ann").await, server.stranger().await);
    server
        .post("/api/v1/event-types")
        .bearer(&owner)
        .json(&json!({ "name": "own.type" }))
        .send()
        .await;
    let mut names = Vec::new();
    let mut path = "/api/v1/event-types?limit=20".to_owned();
    loop {
        let page = server.get(&path).bearer(&owner).send().await.json();
        names.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["name"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/event-types?limit=20&cursor={cursor}");
    }
    assert_eq!(names.len(), catalogue::all().len() + 1);
    assert_eq!(names.last().unwrap(), "own.type");
    assert_eq!(
        paths(
            &server
                .get("/api/v1/event-types?cursor=gone")
                .bearer(&owner)
                .send()
                .await
        ),
        ["cursor"]
    );
    assert_eq!(
        server
            .get("/api/v1/event-types/own.type")
            .bearer(&stranger)
            .send()
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        server
            .get("/api/v1/event-types/webhook.test")
            .bearer(&stranger)
            .send()
            .await
            .status,
        StatusCode::OK
    );
}
