//! What tests of workflows need: the example files, signatures as senders make them, and
//! executions as the API shows them.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName};
use ring::hmac;
use serde_json::{Value, json};

use super::api::Api;

/// A folder of what is shared between repositories, or `None` (which is said) where it is not here.
pub fn shared(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared")
        .join(folder);
    if !path.is_dir() {
        eprintln!("skipped: {folder} is not here");
        return None;
    }
    Some(path)
}

/// Registers a workflow file; its id.
pub async fn register(api: &Api, file: &str) -> String {
    let headers = headers(&[("content-type", "application/yaml")]);
    let answer = api
        .post_copy("/api/v1/workflows", &headers, file.to_owned())
        .await;
    let made = answer.expect(201);
    made["id"].as_str().expect("an id is text").to_owned()
}

/// Starts a workflow; the execution's id.
pub async fn start(api: &Api, workflow: &str, inputs: &Value) -> String {
    let path = format!("/api/v1/workflows/{workflow}/run");
    let begun = api.post(&path, &json!({ "inputs": inputs })).await;
    assert!(begun.status.is_success(), "{}", begun.text());
    begun.json()["id"]
        .as_str()
        .expect("an id is text")
        .to_owned()
}

/// Waits until an execution is in this state; what it is then.
pub async fn until_state(api: &Api, execution: &str, state: &str) -> Value {
    let path = format!("/api/v1/executions/{execution}");
    api.until(&path, |shown| shown["state"] == state).await
}

/// How many `workflow.completed` name this execution.
pub async fn completions_of(api: &Api, execution: &str) -> usize {
    let mut count = 0;
    for event in api.all("/api/v1/events").await {
        if event["event"] == "workflow.completed" {
            let id = event["id"].as_str().expect("an event has an id");
            let shown = api.get(&format!("/api/v1/events/{id}")).await;
            count += usize::from(shown.to_string().contains(execution));
        }
    }
    count
}

/// The hexadecimal HMAC-SHA256 of `content`.
pub fn hex256(secret: &str, content: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hex::encode(hmac::sign(&key, content))
}

/// Headers by name and value.
pub fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let header = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().expect("a test's header is valid");
        (name, value.parse().expect("a test's header is valid"))
    };
    pairs.iter().map(header).collect()
}

/// The time by this machine's clock, in seconds since 1970: senders sign it.
#[expect(
    clippy::disallowed_methods,
    reason = "the server under test has a real clock, and so must its senders"
)]
pub fn now_s() -> u64 {
    let since: Duration = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is later than 1970");
    since.as_secs()
}

/// How many executions of a workflow there are.
pub async fn executions_of(api: &Api, workflow: &str) -> usize {
    let all = api.all("/api/v1/executions").await;
    all.iter()
        .filter(|execution| execution["workflowId"] == workflow)
        .count()
}
