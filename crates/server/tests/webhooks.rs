//! `/api/v1/webhooks`: as S0's and S1's clients use it, and what it refuses.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod receiver;
mod support;

use domain::access::Role;
use http::{Method, StatusCode};
use receiver::{Receiver, faults, paths};
use serde_json::{Value, json};
use support::TestServer;

/// S0's document, word for word.
const S0_CREATE: &str = r#"{
  "name": "My Webhook",
  "description": "Webhook for workflow completions",
  "targetUrl": "https://example.com/webhook",
  "events": ["workflow.completed", "agent.completed"],
  "headers": {
    "X-Custom-Header": "custom-value"
  },
  "isActive": true
}"#;

#[tokio::test]
async fn a_webhook_of_the_first_document_is_made_shown_changed_and_deleted() {
    let server = TestServer::local().await;
    let made = server
        .post("/api/v1/webhooks")
        .body("application/json", S0_CREATE)
        .send()
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    insta::assert_json_snapshot!("created", made.json());
    let record = made.json();
    let path = made.header("location").to_owned();
    assert_eq!(
        path,
        format!("/api/v1/webhooks/{}", record["id"].as_str().unwrap())
    );

    let mut shown = server.get(&path).send().await.json();
    assert_eq!(shown["secret"], Value::Null);
    let mut without_secret = record.clone();
    without_secret.as_object_mut().unwrap().remove("secret");
    assert_eq!(shown, without_secret);
    let listed = server.get("/api/v1/webhooks").send().await.json();
    assert_eq!(listed, json!({ "data": [shown], "nextCursor": null }));

    // PUT is partial, and takes a record that was read.
    shown["name"] = json!("Renamed");
    shown["targetUrl"] = json!("https://example.com/renamed");
    let put = server.call(Method::PUT, &path).json(&shown).send().await;
    assert_eq!(put.status, StatusCode::OK, "{}", put.text());
    assert_eq!(put.json()["name"], "Renamed");
    assert_eq!(put.json()["url"], "https://example.com/renamed");
    let put = server
        .call(Method::PUT, &path)
        .json(&json!({ "isActive": false }))
        .send()
        .await
        .json();
    assert_eq!(
        (&put["state"], &put["isActive"], &put["active"]),
        (&json!("inactive"), &json!(false), &json!(false))
    );
    assert_eq!(put["headers"], json!({ "X-Custom-Header": "custom-value" }));

    let deleted = server.call(Method::DELETE, &path).send().await;
    assert_eq!(deleted.status, StatusCode::OK);
    assert_eq!(
        deleted.json(),
        json!({ "id": record["id"], "deleted": true, "success": true, "message": "Webhook deleted" })
    );
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(
            server.call(method, &path).send().await.status,
            StatusCode::NOT_FOUND
        );
    }
    assert_eq!(
        server
            .call(Method::PATCH, &path)
            .json(&json!({}))
            .send()
            .await
            .status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn the_second_documents_names_and_methods_work_too() {
    let server = TestServer::local().await;
    let made = server
        .webhook(&json!({
            "name": "Agents", "url": "https://example.com/webhooks/agentfactory",
            "events": ["agent.created", "conversation.message"], "secret": "your_webhook_secret", "active": true,
            "format": "agent-factory",
        }))
        .await;
    assert_eq!(made["secret"], "your_webhook_secret");
    assert_eq!(made["url"], made["targetUrl"]);
    assert_eq!(
        (&made["schedule"], &made["timeoutMs"]),
        (&json!("agent-factory"), &json!(5_000))
    );
    let path = format!("/api/v1/webhooks/{}", made["id"].as_str().unwrap());
    let change = json!({ "active": false, "url": "https://example.com/new" });
    let patched = server
        .call(Method::PATCH, &path)
        .json(&change)
        .send()
        .await
        .json();
    assert_eq!(
        (&patched["isActive"], &patched["targetUrl"]),
        (&json!(false), &json!("https://example.com/new"))
    );
    assert_eq!(patched.get("secret"), None);
}

#[tokio::test]
async fn each_fault_is_named_with_its_path() {
    let server = TestServer::local().await;
    let refuse = async |body: Value| {
        let answer = server.post("/api/v1/webhooks").json(&body).send().await;
        assert_eq!(
            answer.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{}",
            answer.text()
        );
        format!("{}\n{}", answer.slug(), faults(&answer))
    };
    let url = "https://example.com/";
    let mut told = Vec::new();
    for body in [
        json!({}),
        json!({ "targetURL": url, "event": ["*"], "headers": {} }),
        json!({ "targetUrl": url, "events": ["workflow.complete", "*"] }),
        json!({ "targetUrl": "http://10.0.0.1/", "events": ["*"] }),
        json!({ "targetUrl": url, "events": ["*"], "headers": { "Host": "x", "X-Webhook-Signature": "x" } }),
        json!({ "targetUrl": url, "events": ["*"], "headers": { "X-Number": 1 } }),
        json!({ "targetUrl": url, "url": "https://example.org/", "events": ["*"], "isActive": true, "active": false }),
        json!({ "targetUrl": "ftp://x", "events": [], "timeoutMs": 10, "concurrency": 0, "ratePerSecond": 0, "schedule": ["1y"], "filter": { "$xor": [] }, "secret": "" }),
        json!({ "targetUrl": url, "events": ["*"], "format": "cloud-events" }),
        json!({ "targetUrl": url, "events": ["*"], "timeoutMs": "5s" }),
        json!([]),
    ] {
        told.push(refuse(body).await);
    }
    insta::assert_snapshot!(told.join("\n"));
    let broken = server
        .post("/api/v1/webhooks")
        .body("application/json", "{\"url\":")
        .send()
        .await;
    assert_eq!(
        (broken.status, broken.slug().as_str()),
        (StatusCode::BAD_REQUEST, "invalid-json")
    );
    assert_eq!(
        server.get("/api/v1/webhooks").send().await.json()["data"],
        json!([])
    );
}

#[tokio::test]
async fn credentials_in_headers_are_masked_and_survive_being_sent_back() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    let headers = json!({ "Authorization": "Bearer abc", "X-Team": "a" });
    let made = server
        .webhook(&json!({ "url": receiver.url, "events": ["*"], "headers": headers }))
        .await;
    assert_eq!(
        made["headers"],
        json!({ "Authorization": "***", "X-Team": "a" })
    );
    let path = format!("/api/v1/webhooks/{}", made["id"].as_str().unwrap());
    let mut record = server.get(&path).send().await.json();
    record["headers"]["X-Team"] = json!("b");
    assert_eq!(
        server
            .call(Method::PUT, &path)
            .json(&record)
            .send()
            .await
            .status,
        StatusCode::OK
    );
    server.post(&format!("{path}/test")).send().await;
    assert_eq!(receiver.only().header("authorization"), "Bearer abc");
    assert_eq!(receiver.only().header("x-team"), "b");
}

#[tokio::test]
async fn a_test_sends_at_once_and_says_what_came_of_it() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    let made = server
        .webhook(&json!({ "url": receiver.url, "events": ["agent.*"], "active": false }))
        .await;
    let path = format!("/api/v1/webhooks/{}/test", made["id"].as_str().unwrap());

    let plain = server.post(&path).send().await;
    assert_eq!(plain.status, StatusCode::OK);
    insta::assert_json_snapshot!("tested", receiver.shown(&plain));
    assert_eq!(receiver.only().json()["event"], "webhook.test");
    assert_eq!(receiver.only().json()["data"]["webhookId"], made["id"]);

    // As S1's document has it.
    receiver.answer(500, "no");
    let body = json!({ "event": "agent.created", "test_data": { "agent_id": "agent_123" } });
    let failed = server.post(&path).json(&body).send().await.json();
    assert_eq!(
        (&failed["success"], &failed["statusCode"], &failed["status"]),
        (&json!(false), &json!(500), &json!("sent"))
    );
    assert_eq!(
        failed["message"],
        "Webhook delivery failed: the receiver answered 500"
    );
    let second = &receiver.received()[1];
    assert_eq!(second.json()["data"], json!({ "agent_id": "agent_123" }));
    assert_eq!(second.json()["id"], failed["test_event_id"]);

    // It is logged as any delivery.
    let delivery = server
        .get(&format!(
            "/api/v1/deliveries/{}",
            failed["deliveryId"].as_str().unwrap()
        ))
        .send()
        .await
        .json();
    assert_eq!(
        (&delivery["state"], &delivery["attempts"][0]["status"]),
        (&json!("dead"), &json!(500))
    );

    let bad = server
        .post(&path)
        .json(&json!({ "event": "agent created", "test_data": 1 }))
        .send()
        .await;
    assert_eq!(paths(&bad), ["event"]);
    let nowhere = "/api/v1/webhooks/whk_00000000000000000000000000000000/test";
    assert_eq!(
        server.post(nowhere).send().await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_test_of_a_receiver_that_is_not_there_says_why() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    let made = server
        .webhook(&json!({ "url": receiver.url, "events": ["*"] }))
        .await;
    drop(receiver);
    tokio::task::yield_now().await;
    let path = format!("/api/v1/webhooks/{}/test", made["id"].as_str().unwrap());
    let answer = server.post(&path).send().await;
    assert_eq!(answer.status, StatusCode::OK);
    let result = answer.json();
    assert_eq!(
        (&result["success"], &result["statusCode"]),
        (&json!(false), &Value::Null)
    );
    assert!(
        ["connect", "reset"].contains(&result["error"].as_str().unwrap()),
        "{result}"
    );
    assert!(
        result["message"]
            .as_str()
            .unwrap()
            .starts_with("Webhook delivery failed (")
    );
}

#[tokio::test]
async fn a_rotated_secret_is_shown_and_both_sign_for_a_while() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    let made = server
        .webhook(&json!({ "url": receiver.url, "events": ["*"], "secret": "first-secret" }))
        .await;
    let path = format!("/api/v1/webhooks/{}", made["id"].as_str().unwrap());
    let rotate = format!("{path}/rotate-secret");

    let rotated = server
        .post(&rotate)
        .json(&json!({ "secret": "second-secret", "overlapSeconds": 60 }))
        .send()
        .await;
    assert_eq!(rotated.status, StatusCode::OK);
    assert_eq!(rotated.json()["secret"], "second-secret");
    server.post(&format!("{path}/test")).send().await;
    assert_eq!(
        receiver.received()[0]
            .header("webhook-signature")
            .split(' ')
            .count(),
        2
    );

    let made_here = server.post(&rotate).send().await.json();
    assert!(made_here["secret"].as_str().unwrap().starts_with("whsec_"));
    server.clock.advance(std::time::Duration::from_secs(61));
    server.post(&format!("{path}/test")).send().await;
    assert_eq!(
        receiver.received()[1]
            .header("webhook-signature")
            .split(' ')
            .count(),
        2,
        "the second still signs, the first does not"
    );

    let bad = server
        .post(&rotate)
        .json(&json!({ "overlapSeconds": 99_999_999, "secret": "whsec_!" }))
        .send()
        .await;
    assert_eq!(paths(&bad), ["overlapSeconds", "secret"]);
    let unknown = server
        .post(&rotate)
        .json(&json!({ "overlap": 1 }))
        .send()
        .await;
    assert_eq!(paths(&unknown), ["overlap"]);
}

#[tokio::test]
async fn stats_count_what_was_sent() {
    let server = TestServer::local().await;
    let receiver = Receiver::start().await;
    let made = server
        .webhook(&json!({ "url": receiver.url, "events": ["*"], "schedule": [] }))
        .await;
    let path = format!("/api/v1/webhooks/{}/stats", made["id"].as_str().unwrap());
    receiver.answer(500, "");
    for _ in 0..4 {
        server.publish(&json!({ "event": "webhook.test" })).await;
    }
    let mut stats = server.get(&path).send().await.json();
    for field in ["durationMsP50", "durationMsP95"] {
        assert!(stats[field].as_f64().unwrap() > 0.0, "{stats}");
        stats[field] = json!(0);
    }
    insta::assert_json_snapshot!("stats", stats);
    server.clock.advance(std::time::Duration::from_hours(1));
    let none = server
        .get(&format!("{path}?window=15m"))
        .send()
        .await
        .json();
    assert_eq!(
        (&none["attempts"], &none["successRate"], &none["since"]),
        (&json!(0), &Value::Null, &json!("2026-01-31T10:15:00.000Z"))
    );
    assert_eq!(
        paths(&server.get(&format!("{path}?window=soon")).send().await),
        ["window"]
    );
    assert_eq!(
        paths(
            &server
                .get(&format!("{path}?window=1h&since=2026-01-01T00:00:00Z"))
                .send()
                .await
        ),
        ["window"]
    );
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let server = TestServer::local().await;
    for number in 0..5 {
        server.webhook(&json!({ "name": number.to_string(), "url": "https://example.com/", "events": ["*"] })).await;
    }
    let mut names = Vec::new();
    let mut path = "/api/v1/webhooks?limit=2".to_owned();
    loop {
        let page = server.get(&path).send().await.json();
        names.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|webhook| webhook["name"].as_str().unwrap().to_owned()),
        );
        let Some(cursor) = page["nextCursor"].as_str() else {
            break;
        };
        path = format!("/api/v1/webhooks?limit=2&cursor={cursor}");
    }
    assert_eq!(names, ["0", "1", "2", "3", "4"]);
    assert_eq!(
        paths(&server.get("/api/v1/webhooks?limit=251").send().await),
        ["limit"]
    );
    assert_eq!(
        paths(&server.get("/api/v1/webhooks?cursor=x").send().await),
        ["cursor"]
    );
}

#[tokio::test]
async fn roles_and_workspaces_are_kept_apart() {
    let server = TestServer::owned().await;
    server.add_user("vic", Role::Viewer).await;
    server.add_user("pat", Role::Publisher).await;
    let (owner, viewer, publisher) = (
        server.token("ann").await,
        server.token("vic").await,
        server.token("pat").await,
    );
    let stranger = server.stranger().await;
    let body = json!({ "url": "https://example.com/", "events": ["*"] });
    let made = server
        .post("/api/v1/webhooks")
        .bearer(&owner)
        .json(&body)
        .send()
        .await;
    let path = format!("/api/v1/webhooks/{}", made.json()["id"].as_str().unwrap());
    assert_eq!(
        server.get(&path).bearer(&viewer).send().await.status,
        StatusCode::OK
    );
    assert_eq!(
        server.get(&path).bearer(&publisher).send().await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        server.get(&path).send().await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        server
            .post("/api/v1/webhooks")
            .bearer(&viewer)
            .json(&body)
            .send()
            .await
            .status,
        StatusCode::FORBIDDEN
    );
    for (method, below) in [
        (Method::GET, ""),
        (Method::PATCH, ""),
        (Method::DELETE, ""),
        (Method::POST, "/test"),
        (Method::POST, "/rotate-secret"),
        (Method::GET, "/deliveries"),
        (Method::GET, "/stats"),
        (Method::GET, "/replays"),
        (Method::POST, "/replay"),
    ] {
        let call = server
            .call(method.clone(), &format!("{path}{below}"))
            .bearer(&stranger);
        let call = if method == Method::GET {
            call
        } else {
            call.json(&json!({}))
        };
        assert_eq!(
            call.send().await.status,
            StatusCode::NOT_FOUND,
            "{method} {below}"
        );
    }
    assert_eq!(
        server
            .get("/api/v1/webhooks")
            .bearer(&stranger)
            .send()
            .await
            .json()["data"],
        json!([])
    );
}

#[tokio::test]
async fn a_repeated_create_with_its_key_makes_one_webhook() {
    let server = TestServer::local().await;
    let body = json!({ "url": "https://example.com/", "events": ["*"] });
    let first = server
        .post("/api/v1/webhooks")
        .header("idempotency-key", "k1")
        .json(&body)
        .send()
        .await;
    let again = server
        .post("/api/v1/webhooks")
        .header("idempotency-key", "k1")
        .json(&body)
        .send()
        .await;
    assert_eq!(
        (first.status, again.status),
        (StatusCode::CREATED, StatusCode::CREATED)
    );
    assert_eq!(first.json(), again.json());
    assert_eq!(
        server.get("/api/v1/webhooks").send().await.json()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
