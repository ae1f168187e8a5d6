//! Requests on their way through intake, over a store and an engine of the test's own.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::time::Duration;

use domain::{
    WorkspaceId,
    intake::{Outcome, Preset, SourceConfig, config::LimitsConfig},
};
use intake::{
    receive::{Accepted, Address, ReceiveError, Reply},
    sources::SourceInput,
    start::{Inputs, WorkflowRef},
    triggers::TriggerInput,
};
use serde_json::{Value, json};
use support::{World, hex256, post};
use zeroize::Zeroizing;

const HOME: WorkspaceId = WorkspaceId::DEFAULT;

async fn source(world: &World, name: &str, config: SourceConfig, secret: Option<&str>) {
    let input = SourceInput {
        name: Some(name.to_owned()),
        config: Some(config),
        secret: secret.map(|text| Zeroizing::new(text.to_owned())),
        active: None,
    };
    world.intake.create_source(HOME, input).await.unwrap();
}

async fn trigger(
    world: &World,
    source: Option<&str>,
    filter: Option<&str>,
    map: Option<&str>,
) -> intake::triggers::WithKey {
    let input = TriggerInput {
        source: source.map(str::to_owned),
        filter: Some(filter.map(str::to_owned)),
        map: Some(map.map(str::to_owned)),
        active: None,
    };
    let workflow = world.workflow;
    world
        .intake
        .create_trigger(HOME, workflow, input)
        .await
        .unwrap()
}

fn preset(preset: Preset) -> SourceConfig {
    SourceConfig {
        preset,
        ..SourceConfig::default()
    }
}

async fn send(
    world: &World,
    address: Address<'_>,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Accepted, ReceiveError> {
    let opened = world.intake.open(address)?;
    match world.intake.receive(&opened, post(headers, body)).await? {
        Reply::Accepted(accepted) => Ok(accepted),
        Reply::Challenge(answer) => panic!("a challenge: {answer:?}"),
    }
}

#[tokio::test]
async fn a_signed_request_starts_what_its_triggers_say() {
    let world = World::new().await;
    source(&world, "gh", preset(Preset::Github), Some("s")).await;
    trigger(&world, Some("gh"), None, None).await;
    trigger(&world, Some("gh"), Some("false"), None).await;
    trigger(&world, Some("gh"), Some("true"), Some("{\"a\":1}")).await;
    let body = r#"{"action":"opened"}"#;
    let signature = format!("sha256={}", hex256("s", body));
    let headers = [
        ("X-Hub-Signature-256", signature.as_str()),
        ("X-GitHub-Delivery", "d1"),
        ("Content-Type", "application/json"),
        ("Authorization", "Bearer hunter2"),
    ];
    let accepted = send(&world, Address::Source("gh"), &headers, body)
        .await
        .unwrap();
    assert_eq!(accepted.executions.len(), 2);
    let starts = world.starts();
    assert_eq!(starts[0].workflow, WorkflowRef::Id(world.workflow));
    assert_eq!(
        starts[0].inputs,
        Inputs::Payload(json!({"action": "opened"}))
    );
    let given = json!({"a": 1}).as_object().unwrap().clone();
    assert_eq!(starts[1].inputs, Inputs::Given(given));
    let [receipt] = world.receipts().try_into().unwrap();
    assert_eq!(receipt.outcome, Outcome::Started);
    assert_eq!(receipt.event_id.as_deref(), Some("d1"));
    assert_eq!(receipt.body, body);
    assert!(!receipt.headers.contains("hunter2"));
    assert!(!receipt.headers.contains(&signature[10..]));
    assert!(receipt.headers.contains("\"d1\""));

    let again = send(&world, Address::Source("gh"), &headers, body)
        .await
        .unwrap();
    assert!(again.duplicate);
    assert_eq!(again.receipt, accepted.receipt);
    assert_eq!(world.starts().len(), 2);
}

#[tokio::test]
async fn what_is_not_genuine_is_kept_and_never_runs() {
    let world = World::new().await;
    source(&world, "gh", preset(Preset::Github), Some("s")).await;
    trigger(&world, Some("gh"), None, None).await;
    let large = "x".repeat(100_000);
    for number in 0..20 {
        let headers = [
            ("X-Hub-Signature-256", "sha256=00"),
            ("X-GitHub-Delivery", "d1"),
        ];
        let refused = send(
            &world,
            Address::Source("gh"),
            &headers[usize::from(number == 0)..],
            &large,
        )
        .await;
        assert!(
            matches!(refused, Err(ReceiveError::Refused(_))),
            "{refused:?}"
        );
    }
    assert_eq!(world.starts(), []);
    let receipts = world.receipts();
    assert_eq!(receipts.len(), 5);
    assert!(
        receipts
            .iter()
            .all(|receipt| receipt.outcome == Outcome::Refused && receipt.body.len() == 16 << 10)
    );
    // A refused one must not use up the event id: deduplication comes after verification.
    let signature = format!("sha256={}", hex256("s", "{}"));
    let headers = [
        ("X-Hub-Signature-256", signature.as_str()),
        ("X-GitHub-Delivery", "d1"),
    ];
    let accepted = send(&world, Address::Source("gh"), &headers, "{}")
        .await
        .unwrap();
    assert!(!accepted.duplicate);
    assert!(matches!(
        world.intake.replay(HOME, receipts[0].id).await,
        Err(ReceiveError::NotReplayable(Outcome::Refused))
    ));
}

#[tokio::test]
async fn a_body_alone_never_makes_a_duplicate() {
    let world = World::new().await;
    source(&world, "plain", preset(Preset::Generic), Some("s")).await;
    trigger(&world, Some("plain"), None, None).await;
    let body = r#"{"amount":5}"#;
    let signature = hex256("s", body);
    for _ in 0..3 {
        let headers = [("X-Signature", signature.as_str())];
        let accepted = send(&world, Address::Source("plain"), &headers, body)
            .await
            .unwrap();
        assert!(!accepted.duplicate);
    }
    assert_eq!(world.starts().len(), 3);
}

#[tokio::test]
async fn an_array_and_other_bytes_are_payloads_too() {
    let world = World::new().await;
    source(&world, "open", preset(Preset::None), None).await;
    trigger(&world, Some("open"), None, None).await;
    for (body, value) in [("[1,2]", json!([1, 2])), ("hello", json!("hello"))] {
        send(&world, Address::Source("open"), &[], body)
            .await
            .unwrap();
        assert_eq!(
            world.starts().last().unwrap().inputs,
            Inputs::Payload(value)
        );
    }
}

#[tokio::test]
async fn an_expression_that_fails_fails_closed_and_can_be_replayed() {
    let world = World::new().await;
    source(&world, "open", preset(Preset::None), None).await;
    trigger(&world, Some("open"), Some("error"), None).await;
    let failed = send(&world, Address::Source("open"), &[], r#"{"id":"1"}"#).await;
    assert!(matches!(failed, Err(ReceiveError::Map(_))), "{failed:?}");
    assert_eq!(world.starts(), []);
    let [receipt] = world.receipts().try_into().unwrap();
    assert_eq!(receipt.outcome, Outcome::Failed);
    trigger(&world, Some("open"), None, None).await;
    // The other trigger's failure does not hold this one up, and is told.
    let replayed = world.intake.replay(HOME, receipt.id).await.unwrap();
    assert_eq!(replayed.executions.len(), 1);
    let made = world.receipts().pop().unwrap();
    assert_eq!(made.replay_of, Some(receipt.id));
    assert!(made.reason.unwrap().contains("it failed"));
    // The failed request did not use up its event id.
    let sent = send(&world, Address::Source("open"), &[], r#"{"id":"1"}"#)
        .await
        .unwrap();
    assert!(!sent.duplicate);
}

#[tokio::test]
async fn old_and_new_secrets_count_during_a_rotation() {
    let world = World::new().await;
    source(&world, "plain", preset(Preset::Generic), Some("old")).await;
    let id = world.sources()[0].id;
    let rotated = world
        .intake
        .rotate_source_secret(HOME, id, None, Some(Duration::from_mins(1)))
        .await
        .unwrap();
    let new = rotated.secret.unwrap();
    let fits = async |secret: &str| {
        let signature = hex256(secret, "{}");
        let headers = [("X-Webhook-Signature", signature.as_str())];
        send(&world, Address::Source("plain"), &headers, "{}")
            .await
            .is_ok()
    };
    assert!(fits("old").await && fits(&new).await && !fits("").await);
    world.clock.advance(Duration::from_mins(1));
    assert!(!fits("old").await && fits(&new).await);
}

#[tokio::test]
async fn a_source_without_its_secret_takes_nothing() {
    let world = World::new().await;
    source(&world, "stripe", preset(Preset::Stripe), None).await;
    let refused = send(&world, Address::Source("stripe"), &[], "{}").await;
    assert!(matches!(refused, Err(ReceiveError::Refused(refusal)) if refusal.kind == "no_secret"));
}

#[tokio::test]
async fn limits_hold_before_the_body_is_read() {
    let world = World::new().await;
    let config = SourceConfig {
        limits: LimitsConfig {
            body_bytes_max: Some(10),
            concurrency: Some(1),
            rate_per_second: None,
        },
        ..preset(Preset::None)
    };
    source(&world, "small", config, None).await;
    let opened = world.intake.open(Address::Source("small")).unwrap();
    assert_eq!(opened.body_bytes_max, 10);
    // Another one may read its body meanwhile: only what is being taken counts.
    assert!(world.intake.open(Address::Source("small")).is_ok());
    let nobody = world.intake.open(Address::Source("nobody")).err();
    assert!(matches!(nobody, Some(ReceiveError::Unknown)));
}

#[tokio::test]
async fn a_trigger_s_own_url_takes_what_a_javascript_sender_signs() {
    let world = World::new().await;
    let made = trigger(&world, None, None, None).await;
    let key = made.key.unwrap();
    let address = Address::Trigger(made.trigger.id);
    let canonical = r#"{"documentId":"d-1","pages":1}"#;
    let sent = "{ \"documentId\": \"d-1\", \"pages\": 1.0 }";
    let signature = hex256(&key, canonical);
    let headers = [("x-signature", signature.as_str())];
    send(&world, address, &headers, sent).await.unwrap();
    let inputs = Inputs::Payload(json!({"documentId": "d-1", "pages": 1}));
    assert_eq!(world.starts()[0].inputs, inputs);
    let tampered = sent.replace("d-1", "d-2");
    assert!(matches!(
        send(&world, address, &headers, &tampered).await,
        Err(ReceiveError::Refused(_))
    ));
    let rotated = world
        .intake
        .rotate_trigger_key(HOME, made.trigger.id)
        .await
        .unwrap();
    assert_ne!(*rotated.key.unwrap(), *key);
    assert!(send(&world, address, &headers, sent).await.is_err());
}

#[tokio::test]
async fn the_generic_door_names_its_workflow() {
    let open = World::new().await;
    let body =
        r#"{"workflow_name":"slack_notification","inputs":{"message":"hi"},"webhook_id":"w1"}"#;
    let accepted = send(&open, Address::Generic, &[], body).await.unwrap();
    assert!(accepted.waited && accepted.executions.len() == 1);
    assert_eq!(
        open.starts()[0].workflow,
        WorkflowRef::Name("slack_notification".to_owned())
    );
    assert!(
        send(&open, Address::Generic, &[], body)
            .await
            .unwrap()
            .duplicate
    );
    for (body, path) in [
        ("[]", ""),
        ("{}", "workflow_name"),
        (r#"{"workflow_name":"x","inputs":[]}"#, "inputs"),
    ] {
        match send(&open, Address::Generic, &[], body).await {
            Err(ReceiveError::Shape(faults)) => assert_eq!(faults[0].path, path),
            other => panic!("{other:?}"),
        }
    }
    let opened = open.intake.open(Address::Generic).unwrap();
    let mut from_afar = post(&[], body);
    from_afar.local = false;
    assert!(matches!(
        open.intake.receive(&opened, from_afar).await,
        Err(ReceiveError::Refused(refusal)) if refusal.kind == "no_secret"
    ));
}

#[tokio::test]
async fn a_handshake_is_answered_and_kept() {
    let world = World::new().await;
    source(&world, "meta", preset(Preset::Whatsapp), Some("tok")).await;
    let opened = world.intake.open(Address::Source("meta")).unwrap();
    let mut request = post(&[], "");
    request.method = "GET".to_owned();
    request.query = "hub.mode=subscribe&hub.verify_token=tok&hub.challenge=42".to_owned();
    let reply = world
        .intake
        .receive(&opened, request.clone())
        .await
        .unwrap();
    assert!(matches!(reply, Reply::Challenge(answer) if answer.body == "42"));
    assert_eq!(world.receipts()[0].outcome, Outcome::Challenge);
    request.query = String::new();
    let refused = world.intake.receive(&opened, request).await;
    assert!(matches!(refused, Err(ReceiveError::Method)));
}

#[tokio::test]
async fn nothing_that_wants_it_is_an_ignored_request() {
    let world = World::new().await;
    source(&world, "open", preset(Preset::None), None).await;
    let first = send(&world, Address::Source("open"), &[], r#"{"id":7}"#)
        .await
        .unwrap();
    let second = send(&world, Address::Source("open"), &[], r#"{"id":7}"#)
        .await
        .unwrap();
    assert!(!first.duplicate && second.duplicate);
    assert_eq!(first.receipt, second.receipt);
    assert_eq!(world.receipts()[0].outcome, Outcome::Ignored);
}

#[tokio::test]
async fn fields_that_cannot_work_are_named() {
    let world = World::new().await;
    let refused = async |name: &str, config: Value, secret: Option<&str>| {
        let input = SourceInput {
            name: Some(name.to_owned()),
            config: Some(serde_json::from_value(config).unwrap()),
            secret: secret.map(|text| Zeroizing::new(text.to_owned())),
            active: None,
        };
        match world.intake.create_source(HOME, input).await {
            Err(intake::sources::ManageError::Invalid(faults)) => faults[0].path.clone(),
            Err(other) => other.to_string(),
            Ok(_) => "ok".to_owned(),
        }
    };
    assert_eq!(refused("generic", json!({}), None).await, "name");
    assert_eq!(refused("A b", json!({}), None).await, "name");
    assert_eq!(refused("a", json!({"preset": "hmac"}), None).await, "hmac");
    assert_eq!(
        refused("a", json!({"preset": "basic"}), Some("x")).await,
        "secret"
    );
    assert_eq!(
        refused("a", json!({"preset": "none"}), Some("x")).await,
        "secret"
    );
    assert_eq!(refused("a", json!({}), Some("")).await, "secret");
    assert_eq!(refused("a", json!({}), None).await, "ok");
    assert!(refused("a", json!({}), None).await.contains("taken"));
}
