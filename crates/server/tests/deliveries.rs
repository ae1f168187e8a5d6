//! `/api/v1/deliveries`: the log, retries, and attempts as they end.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod receiver;
mod support;

use std::time::Duration;

use axum::body::Body;
use futures_util::StreamExt;
use http::{Request, StatusCode, header};
use receiver::{Receiver, paths};
use serde_json::{Value, json};
use support::{Answer, PEER, TestServer};

fn ids(answer: &Answer, field: &str) -> Vec<String> {
    let json = answer.json();
    let data = json["data"].as_array().unwrap_or_else(|| panic!("{json}"));
    data.iter()
        .map(|record| record[field].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_delivery_shows_what_was_sent_and_what_came_back() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    let headers = json!({ "Authorization": "Bearer abc" });
    server
        .webhook(
            &json!({ "url": receiver.url, "events": ["*"], "headers": headers, "secret": "s" }),
        )
        .await;
    receiver.answer(503, b"\xff\xfe".to_vec());
    server
        .publish(&json!({ "event": "webhook.test", "id": "one", "data": { "a": 1 } }))
        .await;
    let listed = server.get("/api/v1/deliveries").send().await;
    insta::assert_json_snapshot!("listed", receiver.shown(&listed));
    let path = format!("/api/v1/deliveries/{}", ids(&listed, "id")[0]);
    let shown = server.get(&path).send().await;
    insta::assert_json_snapshot!("shown", receiver.shown(&shown));

    server.clock.advance(Duration::from_secs(10));
    server.idle().await;
    let shown = server.get(&path).send().await.json();
    assert_eq!(
        (
            &shown["state"],
            &shown["attemptCount"],
            &shown["nextAttemptAt"]
        ),
        (&json!("delivered"), &json!(2), &Value::Null)
    );
    assert_eq!(shown["attempts"][1]["responseBody"], "ok");
    assert_eq!(shown["attempts"][1].get("responseBodyBase64"), None);
}

#[tokio::test]
async fn deliveries_are_found_by_webhook_event_state_and_time() {
    let server = TestServer::local().await;
    let (good, bad) = (Receiver::start().await, Receiver::start().await);
    let mut webhooks = Vec::new();
    for receiver in [&good, &bad] {
        let webhook = server
            .webhook(&json!({ "url": receiver.url, "events": ["*"], "schedule": [] }))
            .await;
        webhooks.push(webhook["id"].as_str().unwrap().to_owned());
    }
    bad.answer(500, "");
    server
        .publish(&json!({ "event": "webhook.test", "id": "one" }))
        .await;
    server.clock.advance(Duration::from_mins(1));
    server
        .publish(&json!({ "event": "webhook.test", "id": "two" }))
        .await;
    let events = async |query: &str| {
        ids(
            &server
                .get(&format!("/api/v1/deliveries{query}"))
                .send()
                .await,
            "eventId",
        )
        .join(",")
    };
    assert_eq!(events("").await, "two,two,one,one");
    assert_eq!(
        events(&format!("?webhookId={}", webhooks[0])).await,
        "two,one"
    );
    assert_eq!(events("?eventId=one").await, "one,one");
    assert_eq!(events("?state=dead").await, "one");
    assert_eq!(
        events("?since=2026-01-31T09:00:00Z&eventId=two").await,
        "two,two"
    );
    assert_eq!(events("?since=2026-01-31T09:32:00Z").await, "");
    assert_eq!(
        events(&format!(
            "?state=delivered&eventId=one&webhookId={}",
            webhooks[0]
        ))
        .await,
        "one"
    );
    assert_eq!(events("?eventId=never").await, "");
    assert_eq!(events("?webhookId=whk_1").await, "");
    let of_one = format!("/api/v1/webhooks/{}/deliveries", webhooks[1]);
    assert_eq!(
        ids(
            &server.get(&format!("{of_one}?state=dead")).send().await,
            "eventId"
        ),
        ["one"]
    );
    let first = server.get(&format!("{of_one}?limit=1")).send().await;
    let next = format!(
        "{of_one}?limit=1&cursor={}",
        first.json()["nextCursor"].as_str().unwrap()
    );
    assert_eq!(
        (
            ids(&first, "eventId"),
            ids(&server.get(&next).send().await, "eventId")
        ),
        (vec!["two".to_owned()], vec!["one".to_owned()])
    );
    assert_eq!(
        paths(&server.get("/api/v1/deliveries?state=lost").send().await),
        ["state"]
    );
    let nowhere = "/api/v1/webhooks/whk_00000000000000000000000000000000/deliveries";
    assert_eq!(
        server.get(nowhere).send().await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_retry_is_made_at_once_unless_it_cannot_be() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    let webhook = server
        .webhook(&json!({ "url": receiver.url, "events": ["*"] }))
        .await;
    receiver.answer(500, "");
    server.publish(&json!({ "event": "webhook.test" })).await;
    let id = ids(
        &server.get("/api/v1/deliveries?state=pending").send().await,
        "id",
    )
    .remove(0);
    let path = format!("/api/v1/deliveries/{id}");
    let retried = server.post(&format!("{path}/retry")).send().await;
    assert_eq!(retried.status, StatusCode::ACCEPTED, "{}", retried.text());
    server.idle().await;
    assert_eq!(server.get(&path).send().await.json()["state"], "delivered");
    assert_eq!(receiver.received().len(), 2);

    let webhook_path = format!("/api/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    server
        .call(http::Method::PATCH, &webhook_path)
        .json(&json!({ "active": false }))
        .send()
        .await;
    assert_eq!(
        server.post(&format!("{path}/retry")).send().await.status,
        StatusCode::CONFLICT
    );
    server
        .call(http::Method::DELETE, &webhook_path)
        .send()
        .await;
    assert_eq!(
        server.post(&format!("{path}/retry")).send().await.status,
        StatusCode::CONFLICT
    );
    let nowhere = "/api/v1/deliveries/dlv_00000000000000000000000000000000";
    assert_eq!(
        server.get(nowhere).send().await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        server.post(&format!("{nowhere}/retry")).send().await.status,
        StatusCode::NOT_FOUND
    );
}

/// The messages of a stream, as they come.
struct Messages {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Messages {
    async fn open(server: &TestServer, path: &str, token: Option<&str>) -> Self {
        let mut request = Request::get(path).header(header::HOST, "localhost:8000");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = server
            .front
            .handle(request.body(Body::empty()).unwrap(), PEER.into())
            .await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/event-stream"
        );
        Self {
            body: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// The next message: its event and its data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    message
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .unwrap()
                        .trim()
                        .to_owned()
                };
                let found = (
                    field("event:"),
                    serde_json::from_str(&field("data:")).unwrap(),
                );
                let end = self.text.len() - rest.len();
                self.text.drain(..end);
                return Some(found);
            }
            let chunk = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn attempts_are_told_as_they_end() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    let webhook = server
        .webhook(&json!({ "url": receiver.url, "events": ["*"] }))
        .await;
    let mut all = Messages::open(&server, "/api/v1/deliveries/stream", None).await;
    let one = format!(
        "/api/v1/deliveries/stream?failed=true&webhookId={}",
        webhook["id"].as_str().unwrap()
    );
    let mut failed = Messages::open(&server, &one, None).await;
    server
        .publish(&json!({ "event": "webhook.test", "id": "one" }))
        .await;
    receiver.answer(500, "");
    server
        .publish(&json!({ "event": "webhook.test", "id": "two" }))
        .await;
    let (name, mut first) = all.next().await.unwrap();
    assert_eq!(name, "attempt");
    assert!(first["durationMs"].as_f64().unwrap() > 0.0);
    first["durationMs"] = json!(0);
    insta::assert_json_snapshot!("attempt", first);
    assert_eq!(all.next().await.unwrap().1["eventId"], "two");
    let (_, attempt) = failed.next().await.unwrap();
    assert_eq!(
        (&attempt["eventId"], &attempt["next"], &attempt["status"]),
        (&json!("two"), &json!("retry"), &json!(500))
    );
    assert!(attempt["nextAttemptAt"].as_str().unwrap() > "2026-01-31T09:30:05");

    server.front.app().start_draining();
    assert_eq!(
        all.next().await,
        None,
        "a stream ends when the server goes down"
    );
}

#[tokio::test]
async fn a_stream_tells_only_of_its_workspace() {
    let server = TestServer::owned().await;
    let (owner, stranger) = (server.token("ann").await, server.stranger().await);
    let receiver = Receiver::start().await;
    for token in [&owner, &stranger] {
        let body = json!({ "url": receiver.url, "events": ["*"] });
        assert_eq!(
            server
                .post("/api/v1/webhooks")
                .bearer(token)
                .json(&body)
                .send()
                .await
                .status,
            StatusCode::CREATED
        );
    }
    let mut strangers = Messages::open(&server, "/api/v1/deliveries/stream", Some(&stranger)).await;
    for (token, id) in [(&owner, "mine"), (&stranger, "theirs")] {
        server
            .post("/api/v1/events")
            .bearer(token)
            .json(&json!({ "event": "webhook.test", "id": id }))
            .send()
            .await;
        server.idle().await;
    }
    assert_eq!(strangers.next().await.unwrap().1["eventId"], "theirs");
    let delivery = server
        .get("/api/v1/deliveries?eventId=mine")
        .bearer(&owner)
        .send()
        .await;
    let path = format!("/api/v1/deliveries/{}", ids(&delivery, "id")[0]);
    assert_eq!(
        server.get(&path).bearer(&stranger).send().await.status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        server
            .post(&format!("{path}/retry"))
            .bearer(&stranger)
            .send()
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        server.get("/api/v1/deliveries/stream").send().await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_told_how_much_it_missed() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    server
        .webhook(&json!({ "url": receiver.url, "events": ["*"], "concurrency": 100 }))
        .await;
    let mut messages = Messages::open(&server, "/api/v1/deliveries/stream", None).await;
    let batch = json!(vec![json!({ "event": "webhook.test" }); 1_000]);
    for _ in 0..2 {
        assert_eq!(
            server
                .post("/api/v1/events/batch")
                .json(&batch)
                .send()
                .await
                .status,
            StatusCode::ACCEPTED
        );
        server.idle().await;
    }
    let (name, lagged) = messages.next().await.unwrap();
    assert_eq!(
        (name.as_str(), &lagged["count"]),
        ("lagged", &json!(2_000 - 1_024))
    );
    assert_eq!(messages.next().await.unwrap().0, "attempt");
}

#[tokio::test]
async fn streams_are_bounded_in_number() {
    let server = TestServer::local().await;
    let mut open = Vec::new();
    for _ in 0..256 {
        open.push(Messages::open(&server, "/api/v1/deliveries/stream", None).await);
    }
    let refused = server.get("/api/v1/deliveries/stream").send().await;
    assert_eq!(
        (refused.status, refused.slug().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "overloaded")
    );
    assert_eq!(refused.header("retry-after"), "30");
    open.pop();
    Messages::open(&server, "/api/v1/deliveries/stream", None).await;
}
