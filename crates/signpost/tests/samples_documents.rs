//! What the seed documents show of their APIs: requests sent as they show them are answered as they
//! say, and the payloads that they show, once published, arrive as shown.
//!
//! The documents' code is at work in `samples.rs`. Needs the documents: without them a test says so
//! and passes.

#[path = "samples/mod.rs"]
mod harness;

use http::Method;
use serde_json::{Value, json};
use testkit::Receiver;

use harness::{api::Api, program::Installation, seeds::Seed, subscriber::Subscriber};

#[tokio::test(flavor = "multi_thread")]
async fn s0_requests_are_answered_as_documented() {
    let Some(seed) = Seed::read(0) else { return };
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let is_request = |block: &Value| block.get("targetUrl").is_some();
    let request = seed
        .json()
        .into_iter()
        .find(is_request)
        .expect("the document shows how to create");
    let made = api.post("/api/v1/webhooks", &request).await.expect(201);
    for (field, value) in request.as_object().expect("it is an object") {
        if field != "headers" {
            assert_eq!(made[field], *value, "{field}");
        }
    }
    let header = |answer: &Value| {
        let headers = answer["headers"]
            .as_object()
            .expect("headers are an object")
            .clone();
        headers
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("X-Custom-Header"))
    };
    assert_eq!(header(&made).expect("the header is kept").1, "custom-value");
    assert!(
        made["secret"]
            .as_str()
            .is_some_and(|secret| secret.starts_with("whsec_")),
        "{made}"
    );

    let path = format!(
        "/api/v1/webhooks/{}",
        made["id"].as_str().expect("an id is text")
    );
    let listed = api.all("/api/v1/webhooks").await;
    assert_eq!(listed.len(), 1);
    let shown = api.get(&path).await;
    assert_eq!(shown["name"], request["name"]);
    assert_eq!(shown.get("secret"), None, "shown when it is made only");
    let changed = api
        .send(Method::PUT, &path, r#"{"isActive":false}"#)
        .await
        .expect(200);
    assert_eq!(
        (&changed["isActive"], &changed["events"]),
        (&json!(false), &request["events"])
    );

    let receiver = Receiver::ok().await;
    api.send(
        Method::PUT,
        &path,
        json!({"targetUrl": receiver.url()}).to_string(),
    )
    .await
    .expect(200);
    let tested = api
        .post(&format!("{path}/test"), &json!({}))
        .await
        .expect(200);
    assert_eq!(tested["success"], true, "{tested}");
    assert_eq!(
        receiver.wait_for(1).await[0].header("x-custom-header"),
        "custom-value"
    );

    assert!(
        api.send(Method::DELETE, &path, "")
            .await
            .status
            .is_success()
    );
    assert_eq!(api.send(Method::GET, &path, "").await.status, 404);
}

/// The payloads that a document shows, published, arrive as it shows them.
async fn arrives_as_shown(seed: &Seed, format: &str, data_field: &str) {
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let receiver = Receiver::ok().await;
    Subscriber::create(
        &api,
        &receiver.url(),
        &json!({"format": format, "concurrency": 1, "ordered": true}),
    )
    .await;
    let is_known = |block: &Value| {
        block["event"]
            .as_str()
            .is_some_and(|event| event != "event.name")
    };
    let is_payload = |block: &Value| is_known(block) && block.get("timestamp").is_some();
    let shown: Vec<_> = seed.json().into_iter().filter(is_payload).collect();
    assert!(!shown.is_empty(), "the document shows payloads");
    for (number, shown) in shown.iter().enumerate() {
        let mut published = shown.clone();
        if published.get("id").is_some() {
            // The document gives each of its examples the same id; an id stands for one event.
            published["id"] = json!(format!("webhook-event-id-{number}"));
        }
        let answer = api.post("/api/v1/events", &published).await.expect(202);
        let requests = receiver.wait_for(number + 1).await;
        let got: Value = serde_json::from_slice(&requests[number].body).expect("a body is JSON");
        assert_eq!(got["event"], shown["event"]);
        assert_eq!(
            got[data_field].to_string(),
            shown[data_field].to_string(),
            "same fields, same order"
        );
        let instant = |value: &Value| {
            value
                .as_str()
                .and_then(|text| text.parse::<jiff::Timestamp>().ok())
        };
        assert_eq!(
            instant(&got["timestamp"]).expect("it is RFC 3339"),
            instant(&shown["timestamp"]).expect("so is this")
        );
        let fields: Vec<_> = got
            .as_object()
            .expect("it is an object")
            .keys()
            .map(String::as_str)
            .collect();
        if format == "orchestration" {
            assert_eq!(fields, ["event", "timestamp", "payload"]);
            assert_eq!(
                got.to_string(),
                shown.to_string(),
                "byte for byte, white space apart"
            );
        } else {
            assert_eq!(fields, ["id", "event", "timestamp", "data"]);
            assert_eq!(got["id"], answer["id"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_payloads_arrive_as_shown() {
    let Some(seed) = Seed::read(0) else { return };
    arrives_as_shown(&seed, "default", "data").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_payloads_arrive_as_shown() {
    let Some(seed) = Seed::read(1) else { return };
    arrives_as_shown(&seed, "agent-factory", "data").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_payloads_arrive_as_shown() {
    let Some(seed) = Seed::read(2) else { return };
    arrives_as_shown(&seed, "orchestration", "payload").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_requests_are_answered_as_documented() {
    let Some(seed) = Seed::read(2) else { return };
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let create = seed.request("POST", "/api/webhooks");
    let made = api
        .send(Method::POST, &create.path, create.body)
        .await
        .expect(201);
    let is_answer = |block: &Value| block.get("createdAt").is_some();
    let mut shown = seed
        .json()
        .into_iter()
        .find(is_answer)
        .expect("the document shows the answer");
    for own in ["id", "createdAt"] {
        assert!(made[own].is_string(), "{own}: {made}");
        shown[own] = made[own].clone();
    }
    assert_eq!(
        made.to_string(),
        shown.to_string(),
        "exactly as documented, its own id and time apart"
    );

    let listed = api.send(Method::GET, "/api/webhooks", "").await.expect(200);
    assert_eq!(
        listed.as_array().expect("S2's list is an array").len(),
        1,
        "{listed}"
    );
    assert_eq!(listed[0]["id"], made["id"]);

    let path = |request: &str| request.replace("{id}", made["id"].as_str().expect("an id is text"));
    let update = seed.request("PUT", "/api/webhooks/{id}");
    let wanted: Value = serde_json::from_str(&update.body).expect("it is JSON");
    let changed = api
        .send(Method::PUT, &path(&update.path), update.body)
        .await
        .expect(200);
    for (field, value) in wanted.as_object().expect("it is an object") {
        assert_eq!(changed[field], *value, "{field}");
    }
    let delete = seed.request("DELETE", "/api/webhooks/{id}");
    assert!(
        api.send(Method::DELETE, &path(&delete.path), "")
            .await
            .status
            .is_success()
    );
    let listed = api.send(Method::GET, "/api/webhooks", "").await.expect(200);
    assert_eq!(listed, json!([]));
}
