//! Which processes work on the database, and what a node serves that does only a part.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use domain::access::Role;
use http::StatusCode;
use serde_json::json;
use server::{
    ServerConfig,
    config::{DatabaseUrl, NodeConfig},
};
use store::NodeRole;
use support::TestServer;
use testkit::store::Kind;

#[tokio::test]
async fn a_process_that_is_alone_is_the_only_node() {
    let server = TestServer::local().await;
    let pipeline = &server.front.app().pipeline;
    pipeline.set_address("127.0.0.1:8000".to_owned());
    let answer = server.get("/api/v1/nodes").send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let mut list = answer.json();
    list["data"][0]["version"] = "…".into();
    if Kind::chosen() == Kind::Postgresql {
        // Its clock is the database's.
        for name in ["startedAt", "seenAt"] {
            list["data"][0][name] = "2026-01-31T09:30:00.000Z".into();
        }
    }
    assert_eq!(
        list,
        json!({
            "data": [{
                "id": "00000000-0000-0000-0000-000000000000",
                "name": "signpost",
                "role": "all",
                "version": "…",
                "address": "127.0.0.1:8000",
                "state": "active",
                "isSelf": true,
                "startedAt": "2026-01-31T09:30:00.000Z",
                "seenAt": "2026-01-31T09:30:00.000Z",
                "inFlight": 0,
            }],
            "nextCursor": null,
        })
    );
}

#[tokio::test]
async fn nodes_are_shown_to_who_administers_the_installation() {
    let server = TestServer::owned().await;
    server.add_user("ed", Role::Editor).await;
    let list = async |token: &str, workspace: &str| {
        let call = server.get("/api/v1/nodes").bearer(token);
        call.header("x-workspace", workspace).send().await
    };
    let ann = server.token("ann").await;
    assert_eq!(list(&ann, "wsp_1").await.status, StatusCode::OK);
    let ed = server.token("ed").await;
    let answer = list(&ed, "wsp_1").await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    let made = server
        .post("/api/v1/workspaces")
        .bearer(&ann)
        .json(&json!({ "name": "other" }))
        .send()
        .await;
    let other = made.json()["id"].as_str().unwrap().to_owned();
    let answer = list(&ann, &other).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
    let answer = server.get("/api/v1/nodes").send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_worker_tells_of_its_health_and_no_more() {
    let config = ServerConfig {
        database_url: Some("postgres://127.0.0.1/x".parse::<DatabaseUrl>().unwrap()),
        node: NodeConfig {
            role: NodeRole::Worker,
            ..NodeConfig::default()
        },
        ..ServerConfig::default()
    };
    let server = TestServer::with(config, true, false).await;
    for path in ["/healthz", "/readyz", "/metrics"] {
        let answer = server.get(path).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    for path in ["/api/v1/webhooks", "/api/docs", "/api/openapi.json", "/"] {
        let answer = server.get(path).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.slug(), "not-found");
        assert!(answer.text().contains("--only worker"), "{}", answer.text());
    }
    let answer = server.post("/api/webhooks").json(&json!({})).send().await;
    assert!(answer.text().contains("--only worker"), "{}", answer.text());
}

#[tokio::test]
async fn a_node_that_goes_down_is_not_ready_and_lives() {
    let server = TestServer::local().await;
    server.front.app().start_draining();
    let answer = server.get("/readyz").send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(server.get("/healthz").send().await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_ready() {
    let server = TestServer::local().await;
    server.front.app().store().close().await;
    let answer = server.get("/readyz").send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.get("/healthz").send().await.status, StatusCode::OK);
    let metrics = server.get("/metrics").send().await.text();
    assert!(metrics.contains("\nsignpost_store_up 0\n"), "{metrics}");
}

#[tokio::test]
async fn who_was_made_elsewhere_ends_local_mode() {
    let server = TestServer::local().await;
    let app = server.front.app().clone();
    server::auth::watch::access_changed(&app).await.unwrap();
    assert!(app.gatekeeper.is_local());
    server.add_user("ann", Role::Owner).await;
    assert_eq!(
        server.get("/api/v1/keys").send().await.status,
        StatusCode::OK
    );
    server::auth::watch::access_changed(&app).await.unwrap();
    let answer = server.get("/api/v1/keys").send().await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_was_taken_from_somebody_elsewhere_is_gone_here() {
    let server = TestServer::owned().await;
    let id = server.add_user("ed", Role::Owner).await;
    let token = server.token("ed").await;
    let ask = async || {
        server
            .get("/api/v1/users")
            .bearer(&token)
            .send()
            .await
            .status
    };
    assert_eq!(ask().await, StatusCode::OK);
    let app = server.front.app().clone();
    app.store()
        .set_role(id, domain::WorkspaceId::DEFAULT, Some(Role::Viewer))
        .await
        .unwrap();
    assert_eq!(ask().await, StatusCode::OK, "it is remembered");
    server::auth::watch::access_changed(&app).await.unwrap();
    assert_eq!(ask().await, StatusCode::FORBIDDEN);
}
