//! S4's JavaScript sender, taken from the document, run in Node, against a trigger of the real
//! program.
//!
//! Needs the document and Node: without them the test says so and passes.

#[path = "samples/mod.rs"]
mod harness;

use std::process::Command;

use serde_json::{Value, json};

use harness::{
    api::Api,
    peers::{Extracted, Runtimes},
    program::Installation,
    seeds::Seed,
    workflows::{executions_of, register, until_state},
};

const WORKFLOW: &str = r#"schema_version: "1.0"
flow: {name: documents}
state:
  fields:
    documentId: {type: str, required: true}
    pages: {type: int, default: 0}
    seen: {type: object, default: null}
nodes:
  - id: look
    kind: transform
    jq: "{documentId: .state.documentId, pages: .state.pages}"
    outputs: [seen]
edges:
  - {from: START, to: look}
  - {from: look, to: END}
"#;

/// Runs the document's function in Node: what each body was answered.
fn send(seed: &Seed, key: &Value, address: &str, bodies: &Value) -> Vec<(u64, Value)> {
    let files = Extracted::new();
    let code = seed.block("javascript", "function createSignature");
    // The document's code, with its function made visible to the sender.
    let module = files.file(
        "s4.mjs",
        &format!("{code}\nexport {{ createSignature }};\n"),
    );
    let key = files.file("key.json", &key.to_string());
    let bodies = files.file("bodies.json", &bodies.to_string());
    let sender = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/s4_sender.mjs");
    let told = Command::new("node")
        .args([sender, &module, &key, address, &bodies])
        .output()
        .expect("Node can be run");
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "the sender failed: {error}");
    serde_json::from_slice(&told.stdout).expect("the sender prints what it was answered")
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_sender_starts_a_workflow_and_tampered_bodies_do_not() {
    let (Some(seed), Some(_)) = (Seed::read(4), Runtimes::find()) else {
        return;
    };
    let program = Installation::start(&[]);
    let api = Api::new(program.address());
    let workflow = register(&api, WORKFLOW).await;
    let triggers = format!("/api/v1/workflows/{workflow}/triggers");
    let made = api.post(&triggers, &json!({})).await.expect(201);
    let key = &made["key"];
    assert_eq!(key["header"], "x-signature");
    assert!(made["endpoint"].is_string(), "{made:#}");

    let document = |id: &str| json!({ "documentId": id, "pages": 12 });
    let hard = json!({ "documentId": "Ünï\u{2028}☃ 🦀 \"quoted\"\nline", "pages": 3 });
    let pretty = serde_json::to_string_pretty(&document("pretty")).expect("it is JSON");
    let mut bodies = vec![
        (document("plain"), document("plain").to_string()),
        (hard.clone(), hard.to_string()),
        // What is signed is what `JSON.stringify` makes of the object; these are other bytes.
        (document("pretty"), pretty.clone()),
        (
            document("pretty"),
            format!("{}\n", pretty.replace('\n', "\r\n")),
        ),
    ];
    let good = bodies.len();
    bodies.extend([
        (document("signed"), document("sent").to_string()),
        (
            document("plain"),
            r#"{"documentId":"plain","pages":13}"#.to_owned(),
        ),
        (
            document("plain"),
            r#"{"documentId":"plain","pages":12"#.to_owned(),
        ),
    ]);
    let count = bodies.len();
    let bodies = bodies
        .into_iter()
        .map(|(signed, sent)| json!({ "signed": signed, "sent": sent }))
        .collect();
    let answers = send(&seed, key, program.address(), &bodies);
    assert_eq!(answers.len(), count);
    let inputs = [
        document("plain"),
        hard,
        document("pretty"),
        document("pretty"),
    ];
    for ((status, answer), input) in answers[..good].iter().zip(&inputs) {
        assert_eq!(*status, 202, "{input}: {answer}");
        let execution = answer["executions"][0].as_str().expect("one was started");
        let ended = until_state(&api, execution, "completed").await;
        assert_eq!(&ended["result"]["seen"], input, "{ended:#}");
    }
    for (status, answer) in &answers[good..] {
        assert_eq!(*status, 401, "{answer}");
    }
    // Signed with another key, and with none.
    let mut stolen = key.clone();
    stolen["privateKey"] = json!("0".repeat(64));
    let one = json!([{ "signed": document("x"), "sent": document("x").to_string() }]);
    assert_eq!(send(&seed, &stolen, program.address(), &one)[0].0, 401);
    let path = made["endpoint"].as_str().expect("it is text");
    api.post(path, &document("unsigned")).await.expect(401);
    assert_eq!(executions_of(&api, &workflow).await, good);
}
