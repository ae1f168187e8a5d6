//! The bodies and headers of each format.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use domain::{
    EventId, EventKey, Timestamp, WorkspaceId,
    event::{Event, EventType},
    format::{Format, Outgoing, cloudevent, render, webhook_headers},
    json::{Limits, Numbers, canonicalize, is_canonical},
    signature::{Secret, Signer},
};
use proptest::prelude::*;
use uuid::Uuid;

fn event(data: &str) -> Event {
    let data = canonicalize(data.as_bytes(), Numbers::Exact, &Limits::default()).unwrap();
    Event {
        workspace: WorkspaceId::DEFAULT,
        key: EventKey::new(Uuid::from_u128(7)),
        id: EventId::parse("order-17").unwrap(),
        event_type: EventType::parse("workflow.completed").unwrap(),
        timestamp: Timestamp::from_ms(1_747_862_829_442),
        accepted_at: Timestamp::from_ms(1_747_862_829_500),
        data: data.into_bytes(),
        hops: 0,
    }
}

fn body(format: Format, event: &Event) -> String {
    String::from_utf8(render(format, event).to_vec()).unwrap()
}

#[test]
fn each_format_has_its_envelope() {
    let event =
        event(r#"{"workflowId": "w", "status": "completed", "result": {"totalCost": 1.50}}"#);
    let data = r#"{"workflowId":"w","status":"completed","result":{"totalCost":1.5}}"#;
    let snake = r#"{"workflow_id":"w","status":"completed","result":{"total_cost":1.5}}"#;
    let at = "2025-05-21T21:27:09.442Z";
    for (format, expected) in [
        (
            Format::Default,
            format!(
                r#"{{"id":"order-17","event":"workflow.completed","timestamp":"{at}","data":{data}}}"#
            ),
        ),
        (
            Format::AgentFactory,
            format!(
                r#"{{"id":"order-17","event":"workflow.completed","timestamp":"{at}","data":{snake}}}"#
            ),
        ),
        (
            Format::Orchestration,
            format!(r#"{{"event":"workflow.completed","timestamp":"{at}","payload":{data}}}"#),
        ),
        (
            Format::CloudEvents,
            format!(
                r#"{{"specversion":"1.0","id":"order-17","source":"/signpost","type":"workflow.completed","time":"{at}","datacontenttype":"application/json","data":{data}}}"#
            ),
        ),
    ] {
        assert_eq!(body(format, &event), expected, "{format:?}");
    }
}

#[test]
fn the_source_of_a_cloudevent_tells_workspaces_apart_and_can_be_given() {
    let mut other = event("{}");
    other.workspace = WorkspaceId::new(2);
    assert!(body(Format::CloudEvents, &other).contains(r#""source":"/signpost/wsp_2""#));
    let given = cloudevent(&other, "https://example.com/\"x\"");
    assert!(is_canonical(&given));
    assert!(String::from_utf8_lossy(&given).contains(r#""source":"https://example.com/\"x\"""#));
}

fn headers(
    format: Format,
    event: &Event,
    secrets: &[Secret],
    prefix: &str,
) -> Vec<(&'static str, String)> {
    let body = render(format, event);
    let signer = Signer::new(secrets);
    let outgoing = Outgoing {
        format,
        event,
        body: &body,
        attempt_unix_s: 1_747_862_900,
        signer: &signer,
        signature_prefix: prefix,
    };
    let mut list = Vec::new();
    webhook_headers(&outgoing, |name, value| list.push((name, value.to_owned())));
    list
}

#[test]
fn each_format_has_its_headers_and_the_standard_ones() {
    let event = event("{}");
    let secrets = [Secret::parse("your-webhook-secret").unwrap()];
    for format in Format::ALL {
        let body = render(format, &event);
        let signer = Signer::new(&secrets);
        let hex = signer.hex(&body).unwrap().as_str().to_owned();
        let standard = signer.standard("order-17", 1_747_862_900, &body).unwrap();
        let own: Vec<(&str, &str)> = match format {
            Format::Default => vec![
                ("x-webhook-id", "order-17"),
                ("x-webhook-event", "workflow.completed"),
                ("x-webhook-timestamp", "1747862829442"),
                ("x-webhook-signature", &hex),
            ],
            Format::AgentFactory => vec![("x-agentfactory-signature", &hex)],
            Format::Orchestration => vec![
                ("x-webhook-event", "workflow.completed"),
                ("x-webhook-timestamp", "1747862829442"),
                ("x-webhook-signature", &hex),
            ],
            Format::CloudEvents => vec![],
        };
        let shared = [
            ("webhook-id", "order-17"),
            ("webhook-timestamp", "1747862900"),
            ("webhook-signature", standard.as_str()),
            ("x-signpost-hops", "1"),
        ];
        let expected: Vec<(&str, String)> = own
            .into_iter()
            .chain(shared)
            .map(|(name, value)| (name, value.to_owned()))
            .collect();
        assert_eq!(
            headers(format, &event, &secrets, ""),
            expected,
            "{format:?}"
        );
    }
}

#[test]
fn the_prefix_is_a_setting_and_nothing_is_signed_without_a_secret() {
    let event = event("{}");
    let secrets = [Secret::parse("your-webhook-secret").unwrap()];
    let prefixed = headers(Format::AgentFactory, &event, &secrets, "sha256=");
    assert_eq!(prefixed[0].1.len(), 7 + 64);
    assert!(prefixed[0].1.starts_with("sha256="));
    assert!(prefixed.iter().any(|(_, value)| value.starts_with("v1,")));
    for format in Format::ALL {
        let unsigned = headers(format, &event, &[], "sha256=");
        assert!(
            unsigned.iter().all(|(name, _)| !name.contains("signature")),
            "{format:?}"
        );
    }
}

#[test]
fn formats_have_one_text_form() {
    for format in Format::ALL {
        assert_eq!(Format::parse(format.as_str()), Ok(format));
        assert_eq!(serde_json::to_value(format).unwrap(), format.as_str());
        assert_eq!(
            serde_json::from_value::<Format>(format.as_str().into()).unwrap(),
            format
        );
    }
    assert_eq!(Format::default(), Format::Default);
    let error = Format::parse("cloud-events").unwrap_err().to_string();
    assert!(error.contains("did you mean `cloudevents`"), "{error}");
    assert_eq!(
        Format::CloudEvents.content_type(),
        "application/cloudevents+json"
    );
}

proptest! {
    #[test]
    fn every_body_is_a_fixed_point_of_what_javascript_prints(
        keys in prop::collection::vec("[a-zA-Z0-9_äÖ\"\\\\]{0,12}", 0..6),
        number in any::<f64>().prop_filter("JSON has no others", |n| n.is_finite()),
        text in any::<String>(),
    ) {
        let mut data = serde_json::Map::new();
        for key in keys {
            data.insert(key, serde_json::json!([number, text]));
        }
        let event = event(&serde_json::Value::Object(data).to_string());
        for format in Format::ALL {
            prop_assert!(is_canonical(&render(format, &event)), "{:?}", format);
        }
    }
}
