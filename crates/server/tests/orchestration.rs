//! `/api/webhooks`: what clients of the Workflow Orchestration API send and read, word for word.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod receiver;
mod support;

use http::{Method, StatusCode};
use receiver::Receiver;
use serde_json::{Value, json};
use support::{Answer, TestServer};

/// S2's document, word for word.
const CREATE: &str = r#"{
  "url": "https://example.com/webhook",
  "events": ["workflow.execution.completed", "task.execution.failed"],
  "secret": "your-webhook-secret"
}"#;
const UPDATE: &str = r#"{
  "url": "https://example.com/updated-webhook",
  "events": ["workflow.execution.completed", "workflow.execution.failed"],
  "active": true
}"#;
const TEST: &str = r#"{
  "url": "https://example.com/webhook",
  "event": "workflow.execution.completed",
  "payload": {
    "id": "1",
    "status": "COMPLETED"
  },
  "secret": "your-webhook-secret"
}"#;

async fn send(server: &TestServer, method: Method, path: &str, body: &str) -> Answer {
    server
        .call(method, path)
        .body("application/json", body)
        .send()
        .await
}

#[tokio::test]
async fn a_webhook_is_registered_listed_updated_and_deleted() {
    let server = TestServer::local().await;
    let made = send(&server, Method::POST, "/api/webhooks", CREATE).await;
    assert_eq!(made.status, StatusCode::CREATED);
    insta::assert_json_snapshot!("created", made.json());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/webhooks/{id}");
    let mut without_secret = made.json();
    without_secret.as_object_mut().unwrap().remove("secret");
    assert_eq!(server.get(&path).send().await.json(), without_secret);

    // What was made elsewhere in another format is not this client's.
    let other = server
        .webhook(&json!({ "url": "https://example.com/", "events": ["*"] }))
        .await;
    assert_eq!(
        server.get("/api/webhooks").send().await.json(),
        json!([without_secret])
    );
    let others = format!("/api/webhooks/{}", other["id"].as_str().unwrap());
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(
            server.call(method, &others).send().await.status,
            StatusCode::NOT_FOUND
        );
    }

    let updated = send(&server, Method::PUT, &path, UPDATE).await;
    assert_eq!(updated.status, StatusCode::OK);
    without_secret["url"] = json!("https://example.com/updated-webhook");
    without_secret["events"] = json!(["workflow.execution.completed", "workflow.execution.failed"]);
    assert_eq!(updated.json(), without_secret);
    let off = send(&server, Method::PUT, &path, r#"{"active":false}"#)
        .await
        .json();
    assert_eq!(
        (&off["active"], &off["url"]),
        (&json!(false), &without_secret["url"])
    );
    let seen = server
        .get(&format!("/api/v1/webhooks/{id}"))
        .send()
        .await
        .json();
    assert_eq!(
        (&seen["format"], &seen["state"]),
        (&json!("orchestration"), &json!("inactive"))
    );

    let deleted = server.call(Method::DELETE, &path).send().await;
    assert_eq!(
        (deleted.status, deleted.text().as_str()),
        (StatusCode::NO_CONTENT, "")
    );
    assert_eq!(server.get("/api/webhooks").send().await.json(), json!([]));
}

#[tokio::test]
async fn deliveries_look_as_the_document_says_and_are_signed_only_with_a_secret() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    for secret in [json!("your-webhook-secret"), Value::Null, json!("")] {
        let body = json!({ "url": receiver.url, "events": ["workflow.execution.completed"], "secret": secret });
        let made = send(&server, Method::POST, "/api/webhooks", &body.to_string())
            .await
            .json();
        assert_eq!(
            made.get("secret").is_some(),
            secret == "your-webhook-secret"
        );
        let payload = json!({ "id": "1", "status": "COMPLETED" });
        server
            .publish(&json!({ "event": "workflow.execution.completed", "payload": payload }))
            .await;
        server
            .call(
                Method::DELETE,
                &format!("/api/webhooks/{}", made["id"].as_str().unwrap()),
            )
            .send()
            .await;
    }
    let [signed, unsigned, empty] = <[_; 3]>::try_from(receiver.received()).unwrap();
    assert_eq!(
        signed.body,
        r#"{"event":"workflow.execution.completed","timestamp":"2026-01-31T09:30:00.000Z","payload":{"id":"1","status":"COMPLETED"}}"#
    );
    assert_eq!(
        signed.header("x-webhook-event"),
        "workflow.execution.completed"
    );
    assert_eq!(signed.header("x-webhook-timestamp"), "1769851800000");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"your-webhook-secret");
    assert_eq!(
        signed.header("x-webhook-signature"),
        hex::encode(ring::hmac::sign(&key, signed.body.as_bytes()))
    );
    assert_eq!(unsigned.headers.get("x-webhook-signature"), None);
    assert_eq!(empty.headers.get("x-webhook-signature"), None);
}

#[tokio::test]
async fn a_test_is_sent_to_any_url_and_answered_with_what_came_of_it() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    let body = TEST.replace("https://example.com/webhook", &receiver.url);
    let tested = send(&server, Method::POST, "/api/webhooks/test", &body).await;
    assert_eq!(tested.status, StatusCode::OK);
    assert_eq!(
        tested.json(),
        json!({ "success": true, "statusCode": 200, "message": "Webhook delivered successfully" })
    );
    assert_eq!(
        receiver.only().json()["payload"],
        json!({ "id": "1", "status": "COMPLETED" })
    );
    assert!(!receiver.only().header("x-webhook-signature").is_empty());
    receiver.answer(404, "");
    let failed = send(&server, Method::POST, "/api/webhooks/test", &body).await;
    assert_eq!(failed.status, StatusCode::OK);
    assert_eq!(
        failed.json(),
        json!({ "success": false, "statusCode": 404, "message": "Webhook delivery failed: the receiver answered 404" })
    );
    drop(receiver);
    tokio::task::yield_now().await;
    let nobody = send(&server, Method::POST, "/api/webhooks/test", &body)
        .await
        .json();
    assert_eq!(
        (&nobody["success"], &nobody["statusCode"]),
        (&json!(false), &Value::Null)
    );
}

#[tokio::test]
async fn refusals_are_messages() {
    let server = TestServer::local().await;
    let mut told = String::new();
    for (method, path, body) in [
        (Method::POST, "/api/webhooks", "{}"),
        (
            Method::POST,
            "/api/webhooks",
            r#"{"url":"http://192.168.0.1/","events":["*"]}"#,
        ),
        (
            Method::POST,
            "/api/webhooks",
            r#"{"url":"https://example.com/","events":["workflow.execution.complete"]}"#,
        ),
        (
            Method::POST,
            "/api/webhooks",
            r#"{"url":"https://example.com/","event":["*"]}"#,
        ),
        (Method::POST, "/api/webhooks", "nonsense"),
        (Method::PUT, "/api/webhooks/1", "{}"),
        (Method::POST, "/api/webhooks/test", r#"{"event":"a"}"#),
        (
            Method::POST,
            "/api/webhooks/test",
            r#"{"url":"http://10.0.0.1/","event":"a"}"#,
        ),
        (
            Method::POST,
            "/api/webhooks/test",
            r#"{"url":"https://example.com/","event":"a","payload":{"n":9007199254740993}}"#,
        ),
    ] {
        let answer = send(&server, method, path, body).await;
        let json = answer.json();
        let message = json["message"].as_str();
        let message = message.unwrap_or_else(|| panic!("{json}"));
        told.extend([answer.status.as_str(), " ", message, "\n"]);
    }
    insta::assert_snapshot!(told);
}
