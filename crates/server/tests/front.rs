//! What every request meets: refusals, idempotency, documents, headers. Over the real router.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use support::TestServer;

#[tokio::test]
async fn refusals_are_problems_whatever_they_are_about() {
    let server = TestServer::local().await;
    let long = json!({ "login": "x".repeat(2 << 20), "password": "p" }).to_string();
    let login =
        |media_type: &str, body: &str| server.post("/api/v1/auth/login").body(media_type, body);
    let answers = [
        ("no such path", server.get("/api/v1/nothing").send().await),
        (
            "no such method",
            server.call(Method::DELETE, "/api/v1/auth/me").send().await,
        ),
        (
            "not JSON",
            login("application/json", "{\"login\": }").send().await,
        ),
        (
            "text after the end",
            login("application/json", "{\"login\":\"a\",\"password\":\"b\"} x")
                .send()
                .await,
        ),
        (
            "wrong shape",
            login("application/json", "{\"login\": 1}").send().await,
        ),
        (
            "not an object",
            login("application/json", "[]").send().await,
        ),
        ("another type", login("text/plain", "{}").send().await),
        ("too large", login("application/json", &long).send().await),
        (
            "no id",
            server
                .call(Method::DELETE, "/api/v1/keys/nonsense")
                .send()
                .await,
        ),
        (
            "bytes that are no text",
            server.call(Method::DELETE, "/api/v1/keys/%ff").send().await,
        ),
        (
            "no such record",
            server
                .get("/api/v1/users/usr_00000000000000000000000000000000")
                .send()
                .await,
        ),
    ];
    let mut shown = Vec::new();
    for (what, answer) in &answers {
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{what}"
        );
        assert_eq!(answer.json()["status"], answer.status.as_u16(), "{what}");
        let body = serde_json::to_string_pretty(&answer.json()).unwrap();
        shown.push(format!("# {what}: {}\n{body}", answer.status));
    }
    insta::assert_snapshot!(shown.join("\n\n"));
    assert_eq!(answers[1].1.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn a_bodys_fields_are_named_where_they_are_wrong() {
    let server = TestServer::local().await;
    let new = json!({ "name": "k", "scopes": ["read", "everything"] });
    let answer = server.post("/api/v1/keys").json(&new).send().await.json();
    assert_eq!(answer["errors"][0]["path"], "scopes[1]");
    let new = json!({ "name": "k", "scopes": [1] });
    let answer = server.post("/api/v1/keys").json(&new).send().await.json();
    assert_eq!(answer["errors"][0]["path"], "scopes[0]");
}

#[tokio::test]
async fn every_answer_carries_the_same_headers() {
    let server = TestServer::local().await;
    for path in ["/api/v1/auth/me", "/api/v1/nothing", "/healthz"] {
        let answer = server.get(path).send().await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
}

fn new_key(name: &str) -> Value {
    json!({ "name": name, "scopes": ["read"] })
}

#[tokio::test]
async fn a_repeated_post_is_done_once_and_answered_again() {
    let server = TestServer::local().await;
    let post = async |name: &str, key: &str| {
        server
            .post("/api/v1/keys")
            .header("idempotency-key", key)
            .json(&new_key(name))
            .send()
            .await
    };
    let first = post("a", "one").await;
    let again = post("a", "one").await;
    assert_eq!(
        (first.status, again.status),
        (StatusCode::CREATED, StatusCode::CREATED)
    );
    assert_eq!(first.body, again.body);
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(
        (
            first.header("idempotency-replayed"),
            again.header("idempotency-replayed")
        ),
        ("", "true")
    );
    assert_eq!(again.header("content-type"), "application/json");

    let other = post("b", "one").await;
    assert_eq!(
        (other.status, other.slug().as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused")
    );
    assert_eq!(post("b", "two").await.status, StatusCode::CREATED);
    let keys = server.get("/api/v1/keys").send().await.json();
    assert_eq!(keys["data"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn requests_with_one_key_at_the_same_time_are_done_once() {
    let server = TestServer::local().await;
    let post = async || {
        server
            .post("/api/v1/keys")
            .header("idempotency-key", "k")
            .json(&new_key("a"))
            .send()
            .await
    };
    let (a, b, c) = tokio::join!(post(), post(), post());
    assert_eq!(a.body, b.body);
    assert_eq!(b.body, c.body);
    let keys = server.get("/api/v1/keys").send().await.json();
    assert_eq!(keys["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_refused_post_does_not_use_up_its_key_and_a_bad_key_is_refused() {
    let server = TestServer::local().await;
    let post = async |body: Value, key: &str| {
        server
            .post("/api/v1/keys")
            .header("idempotency-key", key)
            .json(&body)
            .send()
            .await
    };
    assert_eq!(
        post(json!({}), "k").await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(post(new_key("a"), "k").await.status, StatusCode::CREATED);
    for key in ["", &"x".repeat(256)] {
        let answer = post(new_key("b"), key).await;
        assert_eq!(answer.json()["errors"][0]["path"], "Idempotency-Key");
    }
}

#[tokio::test]
async fn one_callers_key_does_not_open_anothers_answer() {
    let server = TestServer::local().await;
    let make = async |name: &str| {
        let new = json!({ "name": name, "scopes": ["admin"] });
        server.post("/api/v1/keys").json(&new).send().await.json()["key"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (a, b) = (make("a").await, make("b").await);
    let post = async |credentials: &str| {
        let call = server
            .post("/api/v1/keys")
            .bearer(credentials)
            .header("idempotency-key", "k");
        call.json(&new_key("new")).send().await
    };
    let (of_a, of_b) = (post(&a).await, post(&b).await);
    assert_ne!(of_a.json()["key"], of_b.json()["key"]);
    assert_eq!(of_b.header("idempotency-replayed"), "");
}

#[tokio::test]
async fn readiness_ends_when_the_server_goes_down_and_health_does_not() {
    let server = TestServer::local().await;
    assert_eq!(server.get("/readyz").send().await.status, StatusCode::OK);
    server.front.app().start_draining();
    assert_eq!(
        server.get("/readyz").send().await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(server.get("/healthz").send().await.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_count_answers_by_route_and_status() {
    let server = TestServer::local().await;
    server.get("/api/v1/auth/me").send().await;
    server.get("/some/made/up/path").send().await;
    server
        .call(Method::DELETE, "/api/v1/keys/key_1")
        .send()
        .await;
    let metrics = server.get("/metrics").send().await;
    assert_eq!(
        metrics.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let text = metrics.text();
    for line in [
        r#"signpost_http_requests_total{method="GET",route="/api/v1/auth/me",status="200"} 1"#,
        r#"signpost_http_requests_total{method="GET",route="none",status="404"} 1"#,
        r#"signpost_http_requests_total{method="DELETE",route="/api/v1/keys/{id}",status="404"} 1"#,
        "signpost_queue_pending 0",
        "signpost_store_commit_seconds_count",
        "# EOF",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
}

#[tokio::test]
async fn documents_are_for_people_and_load_nothing_from_elsewhere() {
    let server = TestServer::local().await;
    let root = server.get("/").send().await;
    assert_eq!(
        (root.status, root.header("location")),
        (StatusCode::SEE_OTHER, "/api/docs")
    );
    for path in ["/api/docs", "/errors", "/errors/unsafe-target"] {
        let page = server.get(path).send().await;
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert!(
            page.header("content-security-policy")
                .starts_with("default-src 'none'")
        );
        let text = page.text();
        assert!(
            !text.contains("<script") && !text.contains("style=\""),
            "{path}"
        );
        assert!(
            !text.contains("src=\"http") && !text.contains("href=\"http"),
            "{path}"
        );
    }
    let docs = server.get("/api/docs").send().await.text();
    assert!(docs.contains("id=\"createApiKey\"") && docs.contains("curl -X POST"));
    assert_eq!(
        server.get("/errors/nonsense").send().await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        server
            .get("/api/docs/style.css")
            .send()
            .await
            .header("content-type"),
        "text/css; charset=utf-8"
    );
}

#[tokio::test]
async fn a_packed_body_is_refused_rather_than_misread() {
    let server = TestServer::local().await;
    let send = async |coding: &str| {
        let call = server
            .post("/api/v1/events")
            .header("content-encoding", coding);
        call.json(&json!({ "event": "system.info" })).send().await
    };
    for coding in ["gzip", "identity, br"] {
        assert_eq!(
            send(coding).await.slug(),
            "unsupported-media-type",
            "{coding}"
        );
    }
    assert_eq!(send("identity").await.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_a_workflow_sends_to_its_own_server_does_not_act_as_the_owner() {
    let server = TestServer::local().await;
    for (path, hops, status) in [
        ("/api/v1/keys", None, StatusCode::OK),
        ("/api/v1/keys", Some("1"), StatusCode::FORBIDDEN),
        ("/api/v1/webhooks", Some("1"), StatusCode::FORBIDDEN),
        ("/healthz", Some("1"), StatusCode::OK),
        ("/webhooks/generic", Some("1"), StatusCode::OK),
    ] {
        let mut call = server.get(path);
        if let Some(hops) = hops {
            call = call.header("x-signpost-hops", hops);
        }
        assert_eq!(call.send().await.status, status, "{path} {hops:?}");
    }
}
