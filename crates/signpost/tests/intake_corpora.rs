//! Recorded webhooks of GitHub, Stripe and Slack, each through its preset's source over HTTP:
//! signed as its provider signs, mapped to inputs, run by a small workflow to its end. Sent again
//! it starts nothing; with a broken signature it is refused.
//!
//! Needs the corpora: without them a test says so and passes.

#[path = "samples/mod.rs"]
mod harness;

use std::{
    fs,
    path::{Path, PathBuf},
};

use http::HeaderMap;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use harness::{
    api::Api,
    program::Installation,
    workflows::{executions_of, headers, hex256, now_s, register, shared},
};

const SECRET: &str = "a shared secret of the corpora's test";
/// How often one webhook is sent at once.
const AT_ONCE: usize = 50;
/// What the trigger makes of any payload.
const MAP: &str = r#"{kind: (.type // .action // "none"), fields: length}"#;
const WORKFLOW: &str = r#"schema_version: "1.0"
flow: {name: taken}
state:
  fields:
    kind: {type: str, required: true}
    fields: {type: int, required: true}
    seen: {type: object, default: null}
nodes:
  - id: see
    kind: transform
    jq: "{kind: .state.kind, twice: (.state.fields * 2)}"
    outputs: [seen]
edges:
  - {from: START, to: see}
  - {from: see, to: END}
"#;

/// A request as a provider makes it.
struct Sent {
    name: String,
    /// What its body says.
    payload: Value,
    content_type: &'static str,
    body: String,
    /// Its event's id, where there is one.
    id: Option<String>,
}

/// The JSON files below a folder of the corpora, in order; none (which is said) if it is missing.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = shared(&format!("corpora/{folder}")).into_iter().collect();
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(folder).expect("the corpora can be listed");
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("the corpora are text")
}

fn sent(path: &Path, body: String, id: Option<String>) -> Sent {
    Sent {
        name: path.display().to_string(),
        payload: serde_json::from_str(&body).expect("the corpora are JSON"),
        content_type: "application/json",
        body,
        id,
    }
}

fn github() -> Vec<Sent> {
    let named = |(number, path): (usize, &PathBuf)| {
        let id = format!("00000000-0000-4000-8000-{number:012}");
        sent(path, read(path), Some(id))
    };
    files("github-webhooks")
        .iter()
        .enumerate()
        .map(named)
        .collect()
}

/// Events as they are, under ids of their own, since the recorded ones are all alike; and resources
/// as the object of an event.
fn stripe() -> Vec<Sent> {
    let event = |(number, path): (usize, &PathBuf)| {
        let id = format!("evt_{number:014}");
        let body = read(path).replace("evt_00000000000000", &id);
        let payload: Value = serde_json::from_str(&body).expect("the corpora are JSON");
        let id = payload["id"].as_str().map(str::to_owned);
        sent(path, body, id)
    };
    let resource = |(number, path): (usize, &PathBuf)| {
        let id = format!("evt_resource{number}");
        let object = read(path);
        let body = format!(
            "{{\"id\":\"{id}\",\"object\":\"event\",\"type\":\"resource.updated\",\"data\":{{\"object\":{object}}}}}"
        );
        sent(path, body, Some(id))
    };
    let events = files("stripe/webhook-events");
    let resources = files("stripe/openapi-fixtures");
    let mut all: Vec<_> = events.iter().enumerate().map(event).collect();
    all.extend(resources.iter().enumerate().map(resource));
    all
}

/// Events as JSON, under ids of their own, since the recorded ones have none; what people do in
/// Slack as forms, as Slack sends it.
fn slack() -> Vec<Sent> {
    let event = |(number, path): (usize, &PathBuf)| {
        let id = format!("Ev{number:08}");
        let body = read(path).replace(r#""event_id": """#, &format!(r#""event_id": "{id}""#));
        let id = body.contains(&id).then_some(id);
        sent(path, body, id)
    };
    let form = |path: &PathBuf| {
        let text = read(path);
        let payload: Value = serde_json::from_str(&text).expect("the corpora are JSON");
        let is_command = payload.get("command").is_some();
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let payload = if is_command {
            // A command's fields are the form's, all texts.
            let fields = payload.as_object().expect("it is an object");
            let text = |value: &Value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            };
            form.extend_pairs(fields.iter().map(|(name, value)| (name, text(value))));
            let fields = fields.iter();
            fields
                .map(|(name, value)| (name.clone(), json!(text(value))))
                .collect()
        } else {
            form.append_pair("payload", &text);
            payload
        };
        Sent {
            name: path.display().to_string(),
            payload,
            content_type: "application/x-www-form-urlencoded",
            body: form.finish(),
            id: None,
        }
    };
    let mut all: Vec<_> = files("slack/events")
        .iter()
        .enumerate()
        .map(event)
        .collect();
    all.extend(files("slack/app-backend").iter().map(form));
    all
}

/// The headers with which a provider sends it. `tampered` breaks one character of the signature.
fn signed(preset: &str, sent: &Sent, tampered: bool) -> HeaderMap {
    let now = now_s();
    let body = &sent.body;
    let sign = |content: String| {
        let mut signature = hex256(SECRET, content.as_bytes());
        if tampered {
            let other = if signature.ends_with('0') { "1" } else { "0" };
            signature.replace_range(63.., other);
        }
        signature
    };
    let mut pairs = vec![("content-type", sent.content_type.to_owned())];
    match preset {
        "github" => {
            pairs.push((
                "x-hub-signature-256",
                format!("sha256={}", sign(body.clone())),
            ));
            pairs.push(("x-github-event", "any".to_owned()));
            pairs.push(("x-github-delivery", sent.id.clone().unwrap_or_default()));
        }
        "stripe" => {
            let signature = sign(format!("{now}.{body}"));
            pairs.push(("stripe-signature", format!("t={now},v1={signature},v0=00")));
        }
        _ => {
            let signature = sign(format!("v0:{now}:{body}"));
            pairs.push(("x-slack-signature", format!("v0={signature}")));
            pairs.push(("x-slack-request-timestamp", now.to_string()));
        }
    }
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    headers(&pairs)
}

/// What the workflow must make of a payload.
fn expected(payload: &Value) -> Value {
    let text = |name: &str| payload[name].as_str();
    let kind = text("type").or_else(|| text("action")).unwrap_or("none");
    let fields = payload.as_object().map_or(0, serde_json::Map::len);
    json!({ "kind": kind, "twice": fields * 2 })
}

/// A source of this preset that starts the workflow; the workflow's id.
async fn open(api: &Api, preset: &str, response: &Value) -> String {
    let body = json!({ "name": preset, "preset": preset, "secret": SECRET, "response": response });
    api.post("/api/v1/sources", &body).await.expect(201);
    let workflow = register(api, WORKFLOW).await;
    let trigger = json!({ "source": preset, "map": MAP });
    let path = format!("/api/v1/workflows/{workflow}/triggers");
    api.post(&path, &trigger).await.expect(201);
    workflow
}

/// Each payload is run to its end once, whatever is sent besides.
async fn all_run(preset: &str, payloads: Vec<Sent>) {
    if payloads.is_empty() {
        return;
    }
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let workflow = open(&api, preset, &json!({ "waitMs": 30_000 })).await;
    let path = format!("/webhooks/{preset}");
    let post = async |sent: &Sent, tampered: bool| {
        let headers = signed(preset, sent, tampered);
        api.post_copy(&path, &headers, sent.body.clone()).await
    };
    for sent in &payloads {
        let name = &sent.name;
        assert_eq!(post(sent, true).await.status, 401, "{name}");
        let taken = post(sent, false).await;
        assert_eq!(taken.status, 200, "{name}: {}", taken.text());
        let taken = taken.json();
        assert_eq!(taken["duplicate"], false, "{name}: {taken:#}");
        let result = &taken["results"][0];
        assert_eq!(result["state"], "completed", "{name}: {taken:#}");
        assert_eq!(result["result"]["seen"], expected(&sent.payload), "{name}");
        if sent.id.is_some() {
            let again = post(sent, false).await.expect(200);
            assert_eq!(again["duplicate"], true, "{name}: {again:#}");
            assert_eq!(again["executions"], taken["executions"], "{name}");
        }
    }
    assert_eq!(executions_of(&api, &workflow).await, payloads.len());
    eprintln!("{} payloads of {preset} ran", payloads.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_github_payload_runs_once() {
    all_run("github", github()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stripe_payload_runs_once() {
    all_run("stripe", stripe()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_slack_payload_runs_once() {
    all_run("slack", slack()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_webhook_fifty_times_at_once_is_one_execution() {
    for preset in ["github", "stripe", "slack"] {
        let program = Installation::start(&[]);
        let api = Api::new(program.address());
        let workflow = open(&api, preset, &json!({ "waitMs": 30_000 })).await;
        let payload = json!({ "id": "evt_fifty", "event_id": "Ev50", "type": "push" });
        let one = Sent {
            name: preset.to_owned(),
            body: payload.to_string(),
            payload,
            content_type: "application/json",
            id: Some("fifty".to_owned()),
        };
        let headers = signed(preset, &one, false);
        let mut sending = JoinSet::new();
        for _ in 0..AT_ONCE {
            let api = Api::new(program.address());
            let (headers, body) = (headers.clone(), one.body.clone());
            let path = format!("/webhooks/{preset}");
            sending.spawn(async move { api.post_copy(&path, &headers, body).await.expect(200) });
        }
        let answers = sending.join_all().await;
        let first: Vec<_> = answers
            .iter()
            .filter(|answer| answer["duplicate"] == false)
            .collect();
        assert_eq!(first.len(), 1, "{preset}: {answers:#?}");
        for answer in &answers {
            assert_eq!(answer["executions"], first[0]["executions"], "{preset}");
        }
        assert_eq!(executions_of(&api, &workflow).await, 1);
    }
}
