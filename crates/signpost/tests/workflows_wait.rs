//! Executions that wait for a person, for a callback and for an hour, on the real program, which
//! is killed with `kill -9` and started again while they do.

#[path = "samples/mod.rs"]
mod harness;

use serde_json::{Value, json};
use testkit::TestStore;

use harness::{
    api::Api,
    program::Program,
    workflows::{completions_of, register, start, until_state},
};

/// A workflow that waits for `what`, whose answer is of type `kind`, and then ends with it. An
/// approval's answer has fields of its own, so the field has the name of one of those.
fn waits(name: &str, what: &str, kind: &str) -> String {
    format!(
        r#"schema_version: "1.0"
flow: {{name: {name}}}
state:
  fields:
    word: {{type: str, required: true}}
    approved: {{type: {kind}, default: null}}
    end: {{type: object, default: null}}
nodes:
  - {{id: before, kind: transform, jq: "{{word: .state.word}}", outputs: [end]}}
  - {{id: pause, kind: wait, {what}, outputs: [approved]}}
  - {{id: after, kind: transform, jq: "{{word: .state.word, answer: .state.approved}}", outputs: [end]}}
edges:
  - {{from: START, to: before}}
  - {{from: before, to: pause}}
  - {{from: pause, to: after}}
  - {{from: after, to: END}}
"#
    )
}

fn pause(shown: &Value) -> &Value {
    let timeline = shown["timeline"].as_array().expect("it has a timeline");
    timeline
        .iter()
        .find(|step| step["node"] == "pause")
        .expect("it waits at its pause")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_survives_kills_and_goes_on_once() {
    let place = TestStore::chosen();
    let mut program = Program::start_in(&place, &[]);
    let api = Api::new(program.address());
    let mut executions = Vec::new();
    for (name, what, kind) in [
        ("person", r#"approval: "Go on?""#, "bool"),
        ("outside", "callback: true", "object"),
        ("hour", "duration: 1h", "object"),
    ] {
        let workflow = register(&api, &waits(name, what, kind)).await;
        executions.push(start(&api, &workflow, &json!({ "word": name })).await);
    }
    let mut before = Vec::new();
    for execution in &executions {
        before.push(until_state(&api, execution, "waiting").await);
    }

    for _ in 0..2 {
        program.kill();
        program = Program::start_in(&place, &[]);
        let api = Api::new(program.address());
        for (execution, before) in executions.iter().zip(&before) {
            let now = until_state(&api, execution, "waiting").await;
            assert_eq!(now["timeline"].as_array().map(Vec::len), Some(2), "{now:#}");
            assert_eq!(pause(&now)["until"], pause(before)["until"]);
            assert_eq!(pause(&now)["startedAt"], pause(before)["startedAt"]);
        }
    }

    let api = Api::new(program.address());
    let [person, outside, hour] = &executions[..] else {
        unreachable!("three were started")
    };
    let approve = format!("/api/v1/executions/{person}/approve");
    let word = json!({ "approved": true, "comment": "fine" });
    api.post(&approve, &word).await.expect(202);
    let ended = until_state(&api, person, "completed").await;
    let end = json!({ "word": "person", "answer": true });
    assert_eq!(ended["result"]["end"], end, "{ended:#}");
    api.post(&approve, &word).await.expect(409);

    // The address that was given before the first kill; the port is another by now.
    let url = pause(&before[1])["callbackUrl"]
        .as_str()
        .expect("it says where its answer goes");
    let path = &url[url.find("/callbacks/").expect("it is a callback's")..];
    let forged = format!("{}x", &path[..path.len() - 1]);
    api.post(&forged, &json!({ "paid": true }))
        .await
        .expect(404);
    api.post(path, &json!({ "paid": true })).await.expect(202);
    let ended = until_state(&api, outside, "completed").await;
    let end = json!({ "word": "outside", "answer": { "paid": true } });
    assert_eq!(ended["result"]["end"], end, "{ended:#}");
    api.post(path, &json!({ "paid": false })).await.expect(409);

    let still = until_state(&api, hour, "waiting").await;
    assert!(pause(&still)["until"].is_string(), "{still:#}");
    for execution in [person, outside] {
        assert_eq!(completions_of(&api, execution).await, 1);
    }
}
