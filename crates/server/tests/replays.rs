//! Replays: what they take, and how far they are.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod receiver;
mod support;

use http::{Method, StatusCode};
use receiver::{Receiver, paths};
use serde_json::{Value, json};
use support::TestServer;

async fn with_a_dead_delivery() -> (TestServer, Receiver, String) {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    let webhook = server
        .webhook(&json!({ "url": receiver.url, "events": ["webhook.*"], "schedule": [] }))
        .await;
    receiver.answer(500, "");
    server
        .publish(&json!({ "event": "webhook.test", "id": "lost" }))
        .await;
    server
        .publish(&json!({ "event": "webhook.test", "id": "got" }))
        .await;
    server
        .publish(&json!({ "event": "agent.created", "id": "other" }))
        .await;
    assert_eq!(receiver.received().len(), 2);
    // An attempt ends as much later than it began as it really took.
    server.clock.advance(std::time::Duration::from_secs(1));
    let path = format!(
        "/api/v1/webhooks/{}/replay",
        webhook["id"].as_str().unwrap()
    );
    (server, receiver, path)
}

#[tokio::test]
async fn what_was_given_up_is_sent_again() {
    let (server, receiver, path) = with_a_dead_delivery().await;
    let started = server
        .post(&path)
        .json(&json!({ "failedSince": "2026-01-31T00:00:00Z" }))
        .send()
        .await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.text());
    insta::assert_json_snapshot!("started", started.json());
    server.idle().await;
    let ended = server.get(started.header("location")).send().await.json();
    insta::assert_json_snapshot!("ended", ended);
    assert_eq!(receiver.received()[2].header("webhook-id"), "lost");
    let deliveries = server
        .get("/api/v1/deliveries?eventId=lost&state=delivered")
        .send()
        .await
        .json();
    assert_eq!(deliveries["data"][0]["replayId"], ended["id"]);
    let listed = server.get(&format!("{path}s")).send().await.json();
    assert_eq!(listed, json!({ "data": [ended], "nextCursor": null }));
}

#[tokio::test]
async fn one_event_is_sent_whatever_is_subscribed_to_and_a_range_only_what_is() {
    let (server, receiver, path) = with_a_dead_delivery().await;
    let replay = async |body: Value| {
        let started = server.post(&path).json(&body).send().await;
        assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.text());
        let before = receiver.received().len();
        server.idle().await;
        let ids: Vec<_> = receiver.received()[before..]
            .iter()
            .map(|received| received.header("webhook-id").to_owned())
            .collect();
        ids.join(",")
    };
    assert_eq!(replay(json!({ "eventId": "other" })).await, "other");
    server.clock.advance(std::time::Duration::from_secs(1));
    let mut range: Vec<_> = replay(json!({ "since": "2026-01-31T09:00:00Z" }))
        .await
        .split(',')
        .map(str::to_owned)
        .collect();
    range.sort();
    assert_eq!(range, ["got", "lost"]);
    assert_eq!(
        replay(json!({ "since": "2026-01-31T08:00:00Z", "until": "2026-01-31T09:00:00Z" })).await,
        ""
    );
}

#[tokio::test]
async fn what_says_nothing_or_too_much_is_refused() {
    let (server, _receiver, path) = with_a_dead_delivery().await;
    let at = "2026-01-31T09:00:00Z";
    for (body, path_of_fault) in [
        (json!({}), ""),
        (json!({ "eventId": "lost", "since": at }), ""),
        (json!({ "until": at }), ""),
        (json!({ "since": "yesterday" }), "since"),
        (json!({ "since": at, "until": at }), "until"),
        (json!({ "event": "lost" }), "event"),
    ] {
        let answer = server.post(&path).json(&body).send().await;
        assert_eq!(
            (answer.status, paths(&answer)),
            (
                StatusCode::UNPROCESSABLE_ENTITY,
                vec![path_of_fault.to_owned()]
            ),
            "{body}"
        );
    }
    for id in ["never", "no id"] {
        assert_eq!(
            server
                .post(&path)
                .json(&json!({ "eventId": id }))
                .send()
                .await
                .status,
            StatusCode::NOT_FOUND
        );
    }
    let webhook = path.trim_end_matches("/replay");
    server
        .call(Method::PATCH, webhook)
        .json(&json!({ "isActive": false }))
        .send()
        .await;
    let off = server
        .post(&path)
        .json(&json!({ "since": at }))
        .send()
        .await;
    assert_eq!(off.status, StatusCode::CONFLICT);
    assert_eq!(
        server
            .get("/api/v1/replays/rpl_00000000000000000000000000000000")
            .send()
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}
