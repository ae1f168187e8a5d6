//! `/api/v1/events`: what is taken, what is refused, and that nothing is altered on its way.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod receiver;
mod support;

use domain::access::Role;
use http::StatusCode;
use receiver::{Receiver, faults, paths};
use serde_json::{Value, json};
use support::{Answer, TestServer};

async fn publish(server: &TestServer, body: &str) -> Answer {
    server
        .post("/api/v1/events")
        .body("application/json", body)
        .send()
        .await
}

#[tokio::test]
async fn a_published_event_is_accepted_and_delivered_as_published() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    server
        .webhook(&json!({ "url": receiver.url, "events": ["workflow.*"] }))
        .await;
    let accepted = publish(
        &server,
        r#" {"event":"workflow.completed", "data":{"b":1.50,"a":"\u00fc\/","2":[],"1":{}}} "#,
    )
    .await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    assert_eq!(accepted.header("content-type"), "application/json");
    insta::assert_json_snapshot!("accepted", accepted.json());
    server.idle().await;
    assert!(
        receiver
            .only()
            .body
            .ends_with(r#","data":{"1":{},"2":[],"b":1.5,"a":"ü/"}}"#),
        "{}",
        receiver.only().body
    );

    let shown = server
        .get(&format!(
            "/api/v1/events/{}",
            accepted.json()["id"].as_str().unwrap()
        ))
        .send()
        .await;
    insta::assert_json_snapshot!("shown", shown.json());
    assert!(
        shown
            .text()
            .contains(r#""data":{"1":{},"2":[],"b":1.5,"a":"ü/"}"#),
        "{}",
        shown.text()
    );
}

#[tokio::test]
async fn the_second_names_are_taken_and_data_may_be_anything() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    server
        .webhook(&json!({ "url": receiver.url, "events": ["*"] }))
        .await;
    for (body, data) in [
        (r#"{"event":"webhook.test"}"#, "{}"),
        (r#"{"type":"webhook.test","payload":[1]}"#, "[1]"),
        (
            r#"{"event":"webhook.test","type":"webhook.test","data":null}"#,
            "null",
        ),
        (
            r#"{"event":"webhook.test","data":{"a":1},"payload":{ "a" : 1.0 }}"#,
            r#"{"a":1}"#,
        ),
        (
            r#"{"event":"webhook.test","data":"text","id":null,"timestamp":null}"#,
            "\"text\"",
        ),
        // Of a repeated key the last value counts, as in JavaScript.
        (
            r#"{"event":"agent.failed","data":1,"event":"webhook.test","data":2}"#,
            "2",
        ),
    ] {
        let accepted = publish(&server, body).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{}", accepted.text());
        assert_eq!(
            (&accepted.json()["event"], &accepted.json()["deliveries"]),
            (&json!("webhook.test"), &json!(1))
        );
        server.idle().await;
        let last = receiver.received().pop().unwrap();
        assert!(
            last.body.ends_with(&format!("\"data\":{data}}}")),
            "{}",
            last.body
        );
    }
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_place() {
    let server = TestServer::local().await;
    let mut told = String::new();
    for body in [
        "",
        "{\"event\":\"a\",\n \"data\":}",
        r#"{"event":"a"} x"#,
        "[]",
        "{}",
        r#"{"event":7,"id":"a b","timestamp":"yesterday","numbers":"verbatm","dat":1}"#,
        r#"{"event":"a b","type":"a.b"}"#,
        r#"{"event":"a","type":"b","data":1,"payload":2}"#,
        r#"{"event":"a","data":{"list":[1,{"n":9007199254740993}]}}"#,
        r#"{"event":"a","data":{"n":1e309},"id":"x.y"}"#,
        r#"{"event":"\ud800"}"#,
    ] {
        let answer = publish(&server, body).await;
        let json = answer.json();
        let lines = if json["errors"].is_null() {
            format!("{}\n", json["detail"].as_str().unwrap())
        } else {
            faults(&answer)
        };
        told.extend([
            body,
            "\n",
            answer.status.as_str(),
            " ",
            &answer.slug(),
            "\n",
            &lines,
            "\n",
        ]);
    }
    insta::assert_snapshot!(told);
    let deep = format!(
        r#"{{"event":"a","data":{}{}}}"#,
        "[".repeat(200),
        "]".repeat(200)
    );
    let answer = publish(&server, &deep).await;
    assert_eq!(
        answer.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "{}",
        answer.text()
    );
    assert!(paths(&answer)[0].starts_with("data[0][0]"));
    let latin = server
        .post("/api/v1/events")
        .body("application/json", b"{\"event\":\"\xe4\"}".to_vec())
        .send()
        .await;
    assert_eq!(
        (latin.status, latin.slug().as_str()),
        (StatusCode::BAD_REQUEST, "invalid-json")
    );
    let form = server
        .post("/api/v1/events")
        .body("application/x-www-form-urlencoded", "event=a")
        .send()
        .await;
    assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = format!(r#"{{"event":"a","data":"{}"}}"#, "x".repeat(1 << 20));
    let answer = publish(&server, &large).await;
    assert_eq!(
        (answer.status, answer.slug().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large")
    );
    assert_eq!(
        server.get("/api/v1/events").send().await.json()["data"],
        json!([]),
        "nothing was stored"
    );
}

#[tokio::test]
async fn numbers_keep_their_digits_where_that_is_asked_for() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    server
        .webhook(&json!({ "url": receiver.url, "events": ["*"] }))
        .await;
    for body in [
        r#"{"event":"webhook.test","data":{"n":9007199254740993,"d":1.0},"numbers":"verbatim"}"#,
        r#"{"numbers":"verbatim","event":"webhook.test","data":{"n":9007199254740993,"d":1.0}}"#,
    ] {
        assert_eq!(publish(&server, body).await.status, StatusCode::ACCEPTED);
        server.idle().await;
        let last = receiver.received().pop().unwrap();
        assert!(
            last.body
                .ends_with(r#""data":{"n":9007199254740993,"d":1.0}}"#),
            "{}",
            last.body
        );
    }
    let batch = r#"[{"event":"webhook.test","data":1.0},{"event":"webhook.test","data":1.0,"numbers":"verbatim"}]"#;
    let answer = server
        .post("/api/v1/events/batch")
        .body("application/json", batch)
        .send()
        .await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    server.idle().await;
    let bodies: Vec<_> = receiver.received()[2..]
        .iter()
        .map(|received| received.body.clone())
        .collect();
    assert_eq!(
        bodies
            .iter()
            .filter(|body| body.ends_with(r#""data":1}"#))
            .count(),
        1,
        "{bodies:?}"
    );
    assert_eq!(
        bodies
            .iter()
            .filter(|body| body.ends_with(r#""data":1.0}"#))
            .count(),
        1,
        "{bodies:?}"
    );
}

#[tokio::test]
async fn a_repeated_id_is_answered_with_the_first_event() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    server
        .webhook(&json!({ "url": receiver.url, "events": ["*"] }))
        .await;
    let first = json!({ "id": "order-17:paid", "event": "workflow.completed", "timestamp": "2026-01-01T00:00:00+01:00", "data": { "n": 1 } });
    let accepted = server.publish(&first).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    assert_eq!(accepted.json()["timestamp"], "2025-12-31T23:00:00.000Z");
    let again = server
        .publish(&json!({ "id": "order-17:paid", "event": "workflow.failed" }))
        .await;
    assert_eq!(again.status, StatusCode::OK);
    let mut expected = accepted.json();
    expected["duplicate"] = json!(true);
    assert_eq!(again.json(), expected);
    assert_eq!(receiver.only().header("webhook-id"), "order-17:paid");
    let shown = server
        .get("/api/v1/events/order-17:paid")
        .send()
        .await
        .json();
    assert_eq!(
        (&shown["data"], &shown["deliveries"]["delivered"]),
        (&json!({ "n": 1 }), &json!(1))
    );
}

#[tokio::test]
async fn an_idempotency_key_makes_one_event_and_is_refused_for_another() {
    let server = TestServer::local().await;
    let send = async |body: Value| {
        server
            .post("/api/v1/events")
            .header("idempotency-key", "k")
            .json(&body)
            .send()
            .await
    };
    let first = send(json!({ "event": "webhook.test", "data": 1 })).await;
    let again = send(json!({ "event": "webhook.test", "data": 1.0 })).await;
    assert_eq!(
        (first.status, again.status),
        (StatusCode::ACCEPTED, StatusCode::OK)
    );
    assert_eq!(first.json()["id"], again.json()["id"]);
    let other = send(json!({ "event": "webhook.test", "data": 2 })).await;
    assert_eq!(
        (other.status, other.slug().as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused")
    );

    let batch = json!([{ "event": "webhook.test" }, { "event": "webhook.test" }]);
    let send = async || {
        server
            .post("/api/v1/events/batch")
            .header("idempotency-key", "k")
            .json(&batch)
            .send()
            .await
    };
    let first = send().await;
    let again = send().await;
    assert_eq!(
        (first.status, again.status),
        (StatusCode::ACCEPTED, StatusCode::OK)
    );
    for (first, again) in first.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .zip(again.json()["data"].as_array().unwrap())
    {
        assert_eq!(
            (&first["id"], &first["duplicate"], &again["duplicate"]),
            (&again["id"], &json!(false), &json!(true))
        );
    }
    let long = server
        .post("/api/v1/events")
        .header("idempotency-key", &"k".repeat(256))
        .json(&json!({ "event": "a" }))
        .send()
        .await;
    assert_eq!(paths(&long), ["Idempotency-Key"]);
}

#[tokio::test]
async fn what_should_be_known_is_said_in_warnings() {
    let server = TestServer::local().await;
    let typo = publish(&server, r#"{"event":"workflow.complete"}"#).await;
    assert_eq!(typo.status, StatusCode::ACCEPTED);
    assert_eq!(
        typo.json()["warnings"],
        json!([
            "`workflow.complete` is not a known event type; did you mean `workflow.completed`?"
        ])
    );
    let own = publish(&server, r#"{"event":"invoice.paid"}"#).await;
    assert_eq!(
        own.json()["warnings"],
        json!(["`invoice.paid` is not a known event type"])
    );
    let large = publish(
        &server,
        &format!(
            r#"{{"event":"webhook.test","data":"{}"}}"#,
            "x".repeat(110_000)
        ),
    )
    .await;
    assert_eq!(
        large.json()["warnings"],
        json!(["the data has 110002 bytes; many receivers refuse bodies above 100 KB"])
    );
    assert_eq!(
        publish(&server, r#"{"event":"webhook.test"}"#)
            .await
            .json()
            .get("warnings"),
        None
    );
}

#[tokio::test]
async fn a_loop_ends_after_eight_hops() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    server
        .webhook(&json!({ "url": receiver.url, "events": ["*"] }))
        .await;
    let send = async |hops: &str| {
        server
            .post("/api/v1/events")
            .header("x-signpost-hops", hops)
            .json(&json!({ "event": "webhook.test" }))
            .send()
            .await
    };
    assert_eq!(send("8").await.status, StatusCode::ACCEPTED);
    server.idle().await;
    assert_eq!(receiver.only().header("x-signpost-hops"), "9");
    let ended = send("9").await;
    assert_eq!(
        (ended.status, ended.slug().as_str()),
        (StatusCode::LOOP_DETECTED, "loop-detected")
    );
    assert_eq!(paths(&send("many").await), ["X-Signpost-Hops"]);
}

#[tokio::test]
async fn a_batch_is_taken_whole_or_not_at_all() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    server
        .webhook(&json!({ "url": receiver.url, "events": ["agent.*"] }))
        .await;
    let send = async |body: Value| server.post("/api/v1/events/batch").json(&body).send().await;
    let events = json!([{ "event": "agent.created", "id": "a" }, { "event": "agnt.created" }, { "event": "agent.created", "id": "a" }]);
    let answer = send(json!({ "events": events })).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    insta::assert_json_snapshot!("batch", answer.json());
    server.idle().await;
    assert_eq!(receiver.only().header("webhook-id"), "a");

    let bad = json!([{ "event": "agent.created" }, { "event": "agent.created", "data": { "n": 1, "id": [] }, "ID": 1 }, 7, {}]);
    assert_eq!(
        faults(&send(json!({ "events": bad })).await),
        "\
events[1].ID: is not a field that is known here (did you mean `id`?)
events[2]: must be an object, not a number
events[3].event: is required: the event's type, such as `workflow.completed`\n"
    );
    assert_eq!(paths(&send(bad).await), ["[1].ID", "[2]", "[3].event"]);
    let number = r#"{"events":[{"event":"a"},{"event":"a","data":{"x":9007199254740993}}]}"#;
    let answer = server
        .post("/api/v1/events/batch")
        .body("application/json", number)
        .send()
        .await;
    assert_eq!(
        (answer.slug().as_str(), paths(&answer)),
        ("unsafe-number", vec!["events[1].data.x".to_owned()])
    );
    for (body, path) in [
        (json!([]), ""),
        (json!({}), "events"),
        (json!({ "events": 1 }), "events"),
        (
            json!({ "events": vec![json!({ "event": "webhook.test" }); 1_001] }),
            "events",
        ),
        (
            json!({ "events": [{ "event": "webhook.test" }], "event": 1 }),
            "event",
        ),
    ] {
        let answer = send(body).await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{}",
            answer.text()
        );
        assert_eq!(paths(&answer)[0], path);
    }
    let listed = server.get("/api/v1/events").send().await.json();
    assert_eq!(
        listed["data"].as_array().unwrap().len(),
        2,
        "of what was refused nothing was stored"
    );
    let thousand = send(json!(vec![
        json!({ "event": "webhook.test", "data": "x".repeat(2_000) });
        1_000
    ]))
    .await;
    assert_eq!(
        thousand.status,
        StatusCode::ACCEPTED,
        "2 MB are fine in a batch"
    );
}

#[tokio::test]
async fn an_enforced_schema_is_enforced() {
    let server = TestServer::local().await;
    let schema = json!({ "type": "object", "required": ["amount"], "properties": { "amount": { "type": "number" }, "items": { "type": "array", "items": { "type": "string" } } } });
    let body = json!({ "name": "invoice.paid", "schema": schema, "enforce": true });
    assert_eq!(
        server
            .post("/api/v1/event-types")
            .json(&body)
            .send()
            .await
            .status,
        StatusCode::CREATED
    );
    let good = publish(&server, r#"{"event":"invoice.paid","data":{"amount":1}}"#).await;
    assert_eq!(good.status, StatusCode::ACCEPTED);
    assert_eq!(good.json().get("warnings"), None);
    let bad = publish(
        &server,
        r#"{"event":"invoice.paid","data":{"amount":"1","items":["a",2]}}"#,
    )
    .await;
    assert_eq!(
        (bad.status, paths(&bad)),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["data.amount".to_owned(), "data.items[1]".to_owned()]
        )
    );
    let batch = json!({ "events": [{ "event": "webhook.test" }, { "event": "invoice.paid" }] });
    let bad = server
        .post("/api/v1/events/batch")
        .json(&batch)
        .send()
        .await;
    assert_eq!(paths(&bad), ["events[1].data"]);
}

#[tokio::test]
async fn events_are_listed_newest_first_and_by_what_is_asked() {
    let server = TestServer::local().await;
    for (number, event) in ["webhook.test", "agent.created", "webhook.test"]
        .into_iter()
        .enumerate()
    {
        publish(
            &server,
            &format!(r#"{{"id":"e{number}","event":"{event}"}}"#),
        )
        .await;
        server.clock.advance(std::time::Duration::from_mins(1));
    }
    let ids = async |query: &str| {
        let answer = server.get(&format!("/api/v1/events{query}")).send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let json = answer.json();
        let ids: Vec<_> = json["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned())
            .collect();
        (
            ids.join(","),
            json["nextCursor"].as_str().map(str::to_owned),
        )
    };
    assert_eq!(ids("").await, ("e2,e1,e0".to_owned(), None));
    assert_eq!(ids("?type=webhook.test").await.0, "e2,e0");
    assert_eq!(
        ids("?since=2026-01-31T09:00:00Z&until=2026-01-31T09:32:00Z")
            .await
            .0,
        "e1,e0"
    );
    assert_eq!(ids("?since=2026-01-31T09:33:00Z").await.0, "");
    let (page, cursor) = ids("?limit=2").await;
    assert_eq!(page, "e2,e1");
    assert_eq!(
        ids(&format!("?limit=2&cursor={}", cursor.unwrap())).await,
        ("e0".to_owned(), None)
    );
    for (query, path) in [
        ("?type=a b", "type"),
        ("?since=now", "since"),
        ("?limit=0", "limit"),
        ("?cursor=e1", "cursor"),
    ] {
        let answer = server
            .get(&format!("/api/v1/events{}", query.replace(' ', "%20")))
            .send()
            .await;
        assert_eq!(paths(&answer), [path]);
    }
}

#[tokio::test]
async fn publishers_only_publish_and_workspaces_are_kept_apart() {
    let server = TestServer::owned().await;
    server.add_user("pat", Role::Publisher).await;
    server.add_user("vic", Role::Viewer).await;
    let (publisher, viewer) = (server.token("pat").await, server.token("vic").await);
    let stranger = server.stranger().await;
    let body = json!({ "event": "webhook.test", "id": "one" });
    let send = async |token: &str| {
        server
            .post("/api/v1/events")
            .bearer(token)
            .json(&body)
            .send()
            .await
            .status
    };
    assert_eq!(send(&publisher).await, StatusCode::ACCEPTED);
    assert_eq!(send(&viewer).await, StatusCode::FORBIDDEN);
    assert_eq!(
        server
            .get("/api/v1/events/one")
            .bearer(&publisher)
            .send()
            .await
            .status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        server
            .get("/api/v1/events/one")
            .bearer(&viewer)
            .send()
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        server
            .get("/api/v1/events/one")
            .bearer(&stranger)
            .send()
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        send(&stranger).await,
        StatusCode::ACCEPTED,
        "ids are each workspace's own"
    );
    for id in [
        "two",
        "a%20b",
        "evt_00000000000000000000000000000000",
        "%FF",
    ] {
        let answer = server
            .get(&format!("/api/v1/events/{id}"))
            .bearer(&viewer)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{id}");
    }
}

#[tokio::test]
async fn other_events_under_a_batchs_key_are_not_taken_for_the_first_ones() {
    let server = TestServer::local().await;
    let send = async |numbers: &[u32]| {
        let event = |n: &u32| json!({ "event": "system.info", "data": { "n": n } });
        let events: Vec<_> = numbers.iter().map(event).collect();
        let call = server.post("/api/v1/events/batch");
        let call = call.header("idempotency-key", "batch 17");
        let answer = call.json(&json!({ "events": events })).send().await;
        let duplicates: Vec<bool> = answer.json()["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|receipt| receipt["duplicate"] == true)
            .collect();
        (answer.status.as_u16(), duplicates)
    };
    assert_eq!(send(&[1, 2]).await, (202, vec![false, false]));
    assert_eq!(send(&[1, 2]).await, (200, vec![true, true]));
    assert_eq!(send(&[3, 2]).await, (202, vec![false, true]));
}
