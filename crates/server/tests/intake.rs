//! The doors, and the resources behind them, through the whole router; the store and the engine
//! are those of intake's own tests.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;
#[path = "../../intake/tests/support/mod.rs"]
mod world;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use server::ServerConfig;
use support::{Answer, TestServer};
use world::{World, hex256};

async fn local() -> (TestServer, World) {
    let world = World::new().await;
    let server = TestServer::local().await;
    server.front.app().set_intake(world.intake.clone());
    (server, world)
}

async fn create(server: &TestServer, path: &str, body: Value) -> Value {
    let answer = server.post(path).json(&body).send().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer.json()
}

fn triggers_of(world: &World) -> String {
    format!("/api/v1/workflows/{}/triggers", world.workflow)
}

#[tokio::test]
async fn the_generic_door_answers_as_its_document_says() {
    let (server, world) = local().await;
    let usage = server.get("/webhooks/generic").send().await;
    assert_eq!(usage.status, StatusCode::OK);
    assert!(usage.json()["body"]["workflow_name"].is_string());

    let send = async |body: Value| {
        let answer = server.post("/webhooks/generic").json(&body).send().await;
        (answer.status.as_u16(), answer)
    };
    let body = json!({"workflow_name": "slack_notification", "inputs": {"message": "hi"}, "webhook_id": "w1"});
    let (status, first) = send(body.clone()).await;
    assert_eq!(status, 200);
    let first = first.json();
    assert_eq!(first["status"], "success");
    assert_eq!(first["workflow_name"], "slack_notification");
    assert_eq!(first["result"], json!({"text": "hi"}));
    let (status, again) = send(body).await;
    assert_eq!(status, 200);
    assert_eq!(again.json()["execution_id"], first["execution_id"]);
    assert_eq!(world.starts().len(), 1);

    let (status, failed) = send(json!({"workflow_name": "broken"})).await;
    assert_eq!((status, &failed.json()["status"]), (500, &json!("error")));
    assert_eq!(failed.json()["error"], "GOOGLE_API_KEY is not set");
    let (status, unknown) = send(json!({"workflow_name": "nobody"})).await;
    assert_eq!((status, unknown.slug().as_str()), (404, "not-found"));
    assert!(unknown.text().contains("did you mean `somebody`?"));
    let (status, shapeless) = send(json!({"inputs": {}})).await;
    assert_eq!((status, shapeless.slug().as_str()), (400, "bad-request"));
    assert_eq!(shapeless.json()["errors"][0]["path"], "workflow_name");

    let later = server
        .post("/webhooks/generic")
        .header("prefer", "wait=1, respond-async")
        .json(&json!({"workflow_name": "slack_notification"}))
        .send()
        .await;
    assert_eq!(later.status, StatusCode::ACCEPTED);
    assert_eq!(later.json()["status"], "accepted");
    assert!(
        later
            .header("location")
            .starts_with("/api/v1/executions/exe_")
    );
}

#[tokio::test]
async fn an_open_door_of_local_mode_stays_closed_to_web_pages() {
    let (server, _) = local().await;
    let body = json!({"workflow_name": "slack_notification"});
    let foreign = |path: &str| {
        server
            .post(path)
            .header("origin", "https://evil.example")
            .json(&body)
    };
    let refused = foreign("/webhooks/generic").send().await;
    assert_eq!(refused.slug(), "foreign-origin");
    // A signed source is for strangers: its signature is what lets them in.
    create(
        &server,
        "/api/v1/sources",
        json!({"name": "gh", "preset": "github", "secret": "s"}),
    )
    .await;
    let refused = foreign("/webhooks/gh").send().await;
    assert_eq!(refused.slug(), "signature-refused");
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    create(
        &server,
        "/api/v1/sources",
        json!({"name": "open", "preset": "none"}),
    )
    .await;
    assert_eq!(
        foreign("/webhooks/open").send().await.slug(),
        "foreign-origin"
    );
}

#[tokio::test]
async fn a_source_is_made_used_rotated_and_removed() {
    let (server, world) = local().await;
    let made = create(
        &server,
        "/api/v1/sources",
        json!({"name": "gh", "preset": "github"}),
    )
    .await;
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 64);
    assert_eq!(made["url"], "/webhooks/gh");
    let id = made["id"].as_str().unwrap();
    let path = format!("/api/v1/sources/{id}");
    create(&server, &triggers_of(&world), json!({"source": "gh"})).await;

    let send = async |secret: &str, delivery: &str| -> Answer {
        let body = json!({"action": "opened"});
        let text = body.to_string();
        server
            .post("/webhooks/gh")
            .header(
                "x-hub-signature-256",
                &format!("sha256={}", hex256(secret, &text)),
            )
            .header("x-github-delivery", delivery)
            .json(&body)
            .send()
            .await
    };
    let taken = send(secret, "d1").await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{}", taken.text());
    assert_eq!(taken.json()["executions"].as_array().unwrap().len(), 1);
    let again = send(secret, "d1").await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.json()["receiptId"], taken.json()["receiptId"]);
    assert_eq!(again.json()["duplicate"], true);

    for shown in [
        server.get(&path).send().await,
        server.get("/api/v1/sources").send().await,
    ] {
        assert!(!shown.text().contains(secret), "{}", shown.text());
    }
    let rotated = server
        .post(&format!("{path}/rotate-secret"))
        .send()
        .await
        .json();
    let new = rotated["secret"].as_str().unwrap();
    assert_eq!(rotated["secrets"].as_array().unwrap().len(), 2);
    assert_eq!(send(new, "d2").await.status, StatusCode::ACCEPTED);
    assert_eq!(send(secret, "d3").await.status, StatusCode::ACCEPTED);

    let change = json!({"limits": {"bodyBytesMax": 5}, "active": true});
    let changed = server.call(Method::PATCH, &path).json(&change).send().await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    assert_eq!(changed.json()["preset"], "github");
    assert_eq!(send(new, "d4").await.slug(), "body-too-large");
    let off = json!({"active": false});
    server.call(Method::PATCH, &path).json(&off).send().await;
    assert_eq!(send(new, "d5").await.status, StatusCode::NOT_FOUND);
    let gone = server.call(Method::DELETE, &path).send().await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(server.get(&path).send().await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_source_takes_more_than_the_api_does_if_it_is_set_so() {
    let (server, _) = local().await;
    let limit = ServerConfig::default().limits.body_bytes_max;
    create(
        &server,
        "/api/v1/sources",
        json!({"name": "gh", "preset": "github", "secret": "s"}),
    )
    .await;
    let body = json!({"text": "x".repeat(limit + 1)});
    let signature = format!("sha256={}", hex256("s", &body.to_string()));
    let call = server
        .post("/webhooks/gh")
        .header("x-hub-signature-256", &signature);
    let taken = call.json(&body).send().await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{}", taken.text());
}

#[tokio::test]
async fn settings_that_cannot_work_are_named() {
    let (server, _) = local().await;
    for (body, path) in [
        (json!({}), "name"),
        (json!({"name": "generic"}), "name"),
        (json!({"name": "a", "preset": "gitub"}), "preset"),
        (json!({"name": "a", "preset": "hmac"}), "hmac"),
        (
            json!({"name": "a", "preset": "hmac", "hmac": {"header": "X", "algorithm": "md5"}}),
            "hmac.algorithm",
        ),
        (
            json!({"name": "a", "limits": {"bodyBytesMax": 0}}),
            "limits.bodyBytesMax",
        ),
        (json!({"name": "a", "presett": "github"}), "presett"),
    ] {
        let answer = server.post("/api/v1/sources").json(&body).send().await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(
            answer.json()["errors"][0]["path"],
            path,
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn a_trigger_s_key_file_is_what_its_sender_signs_with() {
    let (server, world) = local().await;
    let made = create(&server, &triggers_of(&world), json!({})).await;
    let key = &made["key"];
    let fields: Vec<&String> = key.as_object().unwrap().keys().collect();
    let expected = [
        "triggerId",
        "endpoint",
        "privateKey",
        "algorithm",
        "header",
        "createdAt",
    ];
    assert_eq!(fields, expected);
    let send = async |key: &str, body: &Value, signed: &str| {
        let endpoint = made["key"]["endpoint"].as_str().unwrap();
        let call = server
            .post(endpoint)
            .header("x-signature", &hex256(key, signed));
        call.json(body).send().await
    };
    let private = key["privateKey"].as_str().unwrap();
    let body = json!({"documentId": "d-1"});
    let taken = send(private, &body, &body.to_string()).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{}", taken.text());
    let tampered = send(private, &json!({"documentId": "d-2"}), &body.to_string()).await;
    assert_eq!(tampered.slug(), "signature-refused");
    let id = made["id"].as_str().unwrap();
    let shown = server.get(&format!("/api/v1/triggers/{id}")).send().await;
    assert!(!shown.text().contains(private));
    let rotated = server
        .post(&format!("/api/v1/triggers/{id}/rotate-key"))
        .send()
        .await
        .json();
    assert_ne!(rotated["privateKey"], key["privateKey"]);
    let late = send(private, &body, &body.to_string()).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn receipts_are_listed_shown_and_replayed() {
    let (server, world) = local().await;
    create(
        &server,
        "/api/v1/sources",
        json!({"name": "open", "preset": "none"}),
    )
    .await;
    let trigger = json!({"source": "open", "filter": "error"});
    let trigger = create(&server, &triggers_of(&world), trigger).await;
    let body = json!({"id": "e1", "n": 1});
    let failed = server
        .post("/webhooks/open")
        .header("authorization", "Bearer sp_x")
        .json(&body)
        .send()
        .await;
    assert_eq!(failed.slug(), "not-mapped");
    let list = server
        .get("/api/v1/receipts?outcome=failed")
        .send()
        .await
        .json();
    let id = list["data"][0]["id"].as_str().unwrap();
    let shown = server.get(&format!("/api/v1/receipts/{id}")).send().await;
    assert_eq!(shown.json()["body"], body.to_string());
    assert!(!shown.text().contains("sp_x"), "{}", shown.text());
    let path = format!("/api/v1/triggers/{}", trigger["id"].as_str().unwrap());
    let change = json!({"filter": null});
    let changed = server.call(Method::PATCH, &path).json(&change).send().await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    let replayed = server
        .post(&format!("/api/v1/receipts/{id}/replay"))
        .send()
        .await;
    assert_eq!(replayed.status, StatusCode::ACCEPTED, "{}", replayed.text());
    assert_eq!(replayed.json()["executions"].as_array().unwrap().len(), 1);
    let bad = server.get("/api/v1/receipts?outcome=lost").send().await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_provider_s_credentials_are_none_of_ours() {
    let world = World::new().await;
    let server = TestServer::owned().await;
    server.front.app().set_intake(world.intake.clone());
    let token = server.token("ann").await;
    let source = json!({"name": "legacy", "preset": "basic", "secret": "bob:pw"});
    let made = server
        .post("/api/v1/sources")
        .bearer(&token)
        .json(&source)
        .send()
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let send = async |credentials: &str| {
        let value = format!("Basic {}", STANDARD.encode(credentials));
        let call = server
            .post("/webhooks/legacy")
            .header("authorization", &value);
        call.json(&json!({})).send().await
    };
    assert_eq!(send("bob:pw").await.status, StatusCode::ACCEPTED);
    assert_eq!(send("bob:pq").await.slug(), "signature-refused");
    // With users there is no local mode: the generic door wants a secret of the server.
    let body = json!({"workflow_name": "slack_notification"});
    let refused = server.post("/webhooks/generic").json(&body).send().await;
    assert_eq!(refused.slug(), "signature-refused");
}

#[tokio::test]
async fn a_call_with_credentials_starts_a_workflow() {
    let (server, world) = local().await;
    let send = async |body: Value| {
        server
            .post("/api/v1/webhooks/receive")
            .json(&body)
            .send()
            .await
    };
    let body = json!({"event": "workflow.trigger", "workflowId": world.workflow, "data": {"a": 1}});
    let taken = send(body).await;
    assert_eq!(taken.status, StatusCode::OK, "{}", taken.text());
    assert_eq!(taken.json()["success"], true);
    assert!(taken.json()["timestamp"].is_string());
    assert_eq!(world.starts().len(), 1);
    let agent = send(json!({"event": "x", "agentId": "a"})).await;
    assert_eq!(agent.status, StatusCode::NOT_FOUND);
    assert_eq!(
        send(json!({"event": "x"})).await.json()["errors"][0]["path"],
        "workflowId"
    );
    assert_eq!(
        send(json!({"workflowId": "x"})).await.json()["errors"][0]["path"],
        "event"
    );
}

#[tokio::test]
async fn a_handshake_is_answered_as_its_provider_wants() {
    let (server, _) = local().await;
    let source =
        json!({"name": "meta", "preset": "whatsapp", "secret": "app", "verifyToken": "tok"});
    let made = create(&server, "/api/v1/sources", source).await;
    assert!(made.get("verifyTokenHash").is_none());
    let ask = async |token: &str| {
        let path = format!(
            "/webhooks/meta?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158201444"
        );
        server.get(&path).send().await
    };
    let answer = ask("tok").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (StatusCode::OK, "1158201444")
    );
    assert_eq!(ask("app").await.status, StatusCode::UNAUTHORIZED);
    let get = server.get("/webhooks/meta").send().await;
    assert_eq!(get.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        server.get("/webhooks/nobody").send().await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn until_the_doors_are_open_senders_are_told_to_come_again() {
    let server = TestServer::local().await;
    for path in [
        "/webhooks/generic",
        "/webhooks/x",
        "/api/v1/webhooks/receive",
    ] {
        let body = json!({"event": "x", "workflowId": "y"});
        let answer = server.post(path).json(&body).send().await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.header("retry-after"), "1");
    }
}
