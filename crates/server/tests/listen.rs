//! `/api/v1/listen`: events as a webhook would get them, without a URL.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod receiver;
mod support;

use axum::body::Body;
use domain::signature::{Secret, Signer};
use futures_util::StreamExt;
use http::{Method, Request, StatusCode, header};
use receiver::paths;
use serde_json::{Value, json};
use support::{PEER, TestServer};

async fn open(server: &TestServer, path: &str) -> (StatusCode, axum::body::BodyDataStream) {
    open_as(server, path, None).await
}

async fn open_as(
    server: &TestServer,
    path: &str,
    credentials: Option<&str>,
) -> (StatusCode, axum::body::BodyDataStream) {
    let mut request = Request::get(path).header(header::HOST, "localhost:8000");
    if let Some(credentials) = credentials {
        request = request.header(header::AUTHORIZATION, format!("Bearer {credentials}"));
    }
    let request = request.body(Body::empty()).unwrap();
    let response = server.front.handle(request, PEER.into()).await;
    (response.status(), response.into_body().into_data_stream())
}

async fn next(stream: &mut axum::body::BodyDataStream) -> (String, Value) {
    let chunk = stream.next().await.unwrap().unwrap();
    let text = String::from_utf8(chunk.to_vec()).unwrap();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    (
        field("event:"),
        serde_json::from_str(&field("data:")).unwrap(),
    )
}

#[tokio::test]
async fn a_listener_hears_signed_deliveries_of_what_it_asked_for() {
    let server = TestServer::local().await;
    let (status, mut stream) = open(
        &server,
        "/api/v1/listen?events=agent.*,workflow.completed&format=default",
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    let (name, ready) = next(&mut stream).await;
    assert_eq!(name, "ready");
    let secret = Secret::parse(ready["secret"].as_str().unwrap()).unwrap();
    for (id, event) in [("one", "workflow.failed"), ("two", "agent.created")] {
        server
            .publish(&json!({ "event": event, "id": id, "data": { "a": "\n" } }))
            .await;
    }
    let (name, delivery) = next(&mut stream).await;
    assert_eq!(name, "delivery");
    insta::assert_json_snapshot!("delivery", delivery);
    let body = delivery["body"].as_str().unwrap();
    let signer = Signer::new(&[secret]);
    let expected = signer
        .standard("two", 1_769_851_800, body.as_bytes())
        .unwrap();
    assert_eq!(delivery["headers"]["webhook-signature"], expected);
}

#[tokio::test]
async fn what_is_listened_for_is_checked_and_listeners_are_bounded() {
    let server = TestServer::local().await;
    for (query, path) in [
        ("?events=a..b", "events[0]"),
        ("?events=,", "events"),
        ("?format=xml", "format"),
    ] {
        assert_eq!(
            paths(&server.get(&format!("/api/v1/listen{query}")).send().await),
            [path]
        );
    }
    let mut all = Vec::new();
    loop {
        let (status, stream) = open(&server, "/api/v1/listen").await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        assert_eq!(status, StatusCode::OK);
        all.push(stream);
    }
    assert_eq!(all.len(), 64);
    all.pop();
    assert_eq!(
        open(&server, "/api/v1/listen").await.0,
        StatusCode::OK,
        "a place that was given up is free"
    );
}

#[tokio::test]
async fn a_stream_ends_when_its_key_is_revoked() {
    let server = TestServer::owned().await;
    let ann = server.token("ann").await;
    let new = json!({ "name": "terminal", "scopes": ["read"] });
    let made = server.post("/api/v1/keys").bearer(&ann).json(&new).send();
    let made = made.await.json();
    let key = made["key"].as_str().unwrap();
    for path in ["/api/v1/listen", "/api/v1/deliveries/stream"] {
        let (status, _) = open_as(&server, path, Some(key)).await;
        assert_eq!(status, StatusCode::OK);
    }
    let (_, mut heard) = open_as(&server, "/api/v1/listen", Some(key)).await;
    let (_, mut followed) = open_as(&server, "/api/v1/deliveries/stream", Some(key)).await;
    let (_, mut anns) = open_as(&server, "/api/v1/listen", Some(&ann)).await;
    next(&mut heard).await;
    next(&mut anns).await;

    let path = format!("/api/v1/keys/{}", made["id"].as_str().unwrap());
    let revoked = server.call(Method::DELETE, &path).bearer(&ann).send().await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    tokio::time::pause();
    // Only comments, that keep the connection, may come before the end.
    while let Some(comment) = heard.next().await {
        assert!(comment.unwrap().starts_with(b":"));
    }
    while let Some(comment) = followed.next().await {
        assert!(comment.unwrap().starts_with(b":"));
    }
    assert!(anns.next().await.unwrap().unwrap().starts_with(b":"));
}
