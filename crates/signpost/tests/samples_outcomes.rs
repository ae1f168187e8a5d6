//! What a receiver answers, and what the API then says of the delivery: the recorded behaviours of
//! receivers (statuses, `Retry-After`, hints in the answer) through the whole program.
//!
//! How such answers are read off the wire, and the broken ones, are egress's own tests.

#[path = "samples/mod.rs"]
mod harness;

use jiff::Timestamp;
use serde_json::{Value, json};
use testkit::{Answer, Receiver};

use harness::{
    api::Api,
    corpora,
    program::Installation,
    subscriber::{Subscriber, publish},
};

/// The first retry of the webhooks in this test comes after so many seconds, and up to a fifth more.
const DELAY_S: f64 = 60.0;
/// A receiver can put a retry off by at most so many seconds.
const RETRY_AFTER_S_MAX: f64 = 86_400.0;
/// Times are told in milliseconds, and the attempt ends between two of them.
const ROUNDING_S: f64 = 0.01;

/// A behaviour that is a status and perhaps headers.
struct Behaviour {
    name: String,
    status: u16,
    headers: Vec<(String, String)>,
    expect: String,
}

fn behaviours() -> Vec<Behaviour> {
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    let read = |line: &Value| {
        let receiver = line["receiver"]
            .as_object()
            .expect("a receiver is an object");
        let is_simple = receiver
            .keys()
            .all(|key| key == "status" || key == "headers");
        let status = receiver.get("status")?.as_u64()?;
        let headers = receiver
            .get("headers")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let is_framing = headers
            .keys()
            .any(|name| name.starts_with("Content-") || name == "Transfer-Encoding");
        (is_simple && !is_framing).then(|| Behaviour {
            name: text(&line["name"]),
            status: status.try_into().expect("a status has three digits"),
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            expect: text(&line["expect"]),
        })
    };
    corpora::lines::<Value>("receiver-behaviours/behaviours.jsonl")
        .iter()
        .filter_map(read)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_tells_what_receivers_answered_and_when_they_are_asked_again() {
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let mut trials = Vec::new();
    for behaviour in behaviours() {
        let (status, headers) = (behaviour.status, behaviour.headers.clone());
        let receiver = Receiver::start(move |_, _| {
            headers
                .iter()
                .fold(Answer::status(status), |answer, (name, value)| {
                    answer.header(String::leak(name.to_ascii_lowercase()), value)
                })
        })
        .await;
        let settings = json!({"schedule": {"delays": ["60s", "1h"]}});
        let webhook = Subscriber::create(&api, &receiver.url(), &settings).await;
        trials.push((behaviour, receiver, webhook));
    }
    assert!(publish(&api, "outcome.checked", "{}").await);
    for (behaviour, receiver, webhook) in &trials {
        receiver.wait_for(1).await;
        let path = format!("/api/v1/deliveries?webhookId={}", webhook.id);
        let tried = |page: &Value| page["data"][0]["lastStatus"].is_number();
        let listed = api.until(&path, tried).await["data"][0].clone();
        let delivery = api
            .get(&format!(
                "/api/v1/deliveries/{}",
                listed["id"].as_str().expect("an id is text")
            ))
            .await;
        check(behaviour, &delivery);
        let received = receiver.received();
        assert_eq!(
            received.len(),
            1,
            "{}: asked once, redirects not followed",
            behaviour.name
        );
        assert_eq!(
            received[0].header("authorization"),
            "",
            "{}: no credentials",
            behaviour.name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_switched_off_at_once() {
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let receiver = Receiver::start(|_, _| Answer::status(410)).await;
    // Not to everything: the server's own warning of this is another test's business.
    let settings = json!({"schedule": {"delays": ["60s"]}, "events": ["outcome.*"]});
    let webhook = Subscriber::create(&api, &receiver.url(), &settings).await;
    assert!(publish(&api, "outcome.checked", "{}").await);
    let path = format!("/api/v1/webhooks/{}", webhook.id);
    let disabled = api
        .until(&path, |webhook| webhook["state"] == "disabled")
        .await;
    assert_eq!(disabled["disabledReason"], "gone");
    assert_eq!(disabled["isActive"], false);
    assert!(publish(&api, "outcome.checked", "{}").await);
    let deliveries = api
        .all(&format!("/api/v1/deliveries?webhookId={}", webhook.id))
        .await;
    assert_eq!(
        deliveries.len(),
        1,
        "it gets no further events: {deliveries:#?}"
    );
    assert_eq!(receiver.received().len(), 1);
}

/// Holds what the API says to what the behaviour expects.
fn check(behaviour: &Behaviour, delivery: &Value) {
    let Behaviour {
        name,
        status,
        expect,
        ..
    } = behaviour;
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["number"], 1, "{name}: {delivery:#}");
    assert_eq!(attempt["status"], *status, "{name}: {delivery:#}");
    let is_success = (200..300).contains(status);
    for (word, means_success) in [("success", true), ("failure", false)] {
        let said = expect.starts_with(word);
        assert!(
            !said || means_success == is_success,
            "{name}: the corpus says `{expect}`"
        );
    }
    if is_success {
        assert_eq!(delivery["state"], "delivered", "{name}: {delivery:#}");
        return;
    }
    assert_eq!(delivery["state"], "pending", "{name}: {delivery:#}");
    let waits = wait_s(delivery, attempt);
    let (least, most) = bounds(behaviour, attempt);
    assert!(
        (least - ROUNDING_S..=most + ROUNDING_S).contains(&waits),
        "{name}: waits {waits} s, not {least} to {most} s: {delivery:#}"
    );
}

/// Seconds from the attempt's end to the next one.
fn wait_s(delivery: &Value, attempt: &Value) -> f64 {
    let next = time(&delivery["nextAttemptAt"]);
    next.duration_since(ended(attempt)).as_secs_f64()
}

fn ended(attempt: &Value) -> Timestamp {
    let duration_ms = attempt["durationMs"]
        .as_f64()
        .expect("an attempt takes its time");
    time(&attempt["startedAt"]) + jiff::SignedDuration::from_secs_f64(duration_ms / 1000.0)
}

fn time(value: &Value) -> Timestamp {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{value} is a time"))
}

/// The least and most seconds to wait: the schedule's, unless `Retry-After` asks for more.
fn bounds(behaviour: &Behaviour, attempt: &Value) -> (f64, f64) {
    let header = behaviour
        .headers
        .iter()
        .find(|(name, _)| name == "Retry-After")
        .map(|(_, value)| value.as_str());
    let asked = match (behaviour.status, header) {
        (429 | 503, Some(value)) => asked_s(value, attempt),
        _ => 0.0,
    };
    let asked = asked.min(RETRY_AFTER_S_MAX);
    let least = DELAY_S.max(asked);
    (least, (DELAY_S * 1.2).max(asked * 1.2))
}

/// Seconds that a `Retry-After` asks for: a number, rounded up, or a date; 0 for what is neither.
fn asked_s(value: &str, attempt: &Value) -> f64 {
    let is_number = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number {
        return value.parse::<f64>().expect("digits are a number").ceil();
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(value);
    // Whole seconds: the date has no fraction, the attempt's end has.
    date.map_or(0.0, |date| {
        date.duration_since(ended(attempt))
            .as_secs_f64()
            .floor()
            .max(0.0)
    })
}
