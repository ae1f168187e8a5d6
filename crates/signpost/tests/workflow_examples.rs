//! Every workflow file of Configurable Agents' examples, as it stands: it validates, and it runs
//! offline to its end, from the command line and over the API, or fails naming the key that a tool
//! of it needs.
//!
//! Needs the examples: without them a test says so and passes.

#[path = "samples/mod.rs"]
mod harness;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use testkit::TestStore;

use harness::{
    api::Api,
    program::{Program, without_settings},
    workflows::shared,
};

/// Those with a tool that needs a key, and the key.
const NEED_A_KEY: [(&str, &str); 4] = [
    ("04_with_tools.yaml", "SERPER_API_KEY"),
    ("article_writer.yaml", "SERPER_API_KEY"),
    ("multi_agent_collaboration.yaml", "SERPER_API_KEY"),
    ("tools_example.yaml", "SERPER_API_KEY"),
];

/// The example files, in order; none where they are not here.
fn examples() -> Vec<PathBuf> {
    let Some(folder) = shared("examples/configurable-agents") else {
        return Vec::new();
    };
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

fn name_of(file: &Path) -> &str {
    let name = file.file_name().and_then(|name| name.to_str());
    name.expect("example files have plain names")
}

fn needed_key(file: &Path) -> Option<&'static str> {
    let name = name_of(file);
    let found = NEED_A_KEY.iter().find(|(file, _)| *file == name);
    found.map(|(_, key)| *key)
}

/// Runs the program in an empty folder, without anybody's keys.
fn signpost(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signpost"));
    without_settings(&mut command);
    command
        .current_dir(folder)
        .args(arguments)
        .output()
        .expect("the program can be run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A value of a field's type, from the definition in its normal form.
fn made_up(field: &Value) -> Value {
    let kind = field["kind"].to_string();
    match kind.trim_matches('"') {
        "str" => json!(format!("a {}", field["name"].as_str().unwrap_or("text"))),
        "int" => json!(3),
        "float" => json!(0.5),
        "bool" => json!(true),
        kind if kind.contains("list") && kind.contains("int") => json!([1, 2, 3]),
        kind if kind.contains("list") => json!(["one", "two"]),
        _ => json!({}),
    }
}

/// Inputs for the fields that must be given.
fn inputs(definition: &Value) -> Map<String, Value> {
    let fields = definition["state"].as_array().expect("it has fields");
    let required = fields.iter().filter(|field| field["required"] == true);
    let input = |field: &Value| {
        let name = field["name"].as_str().expect("a field has a name");
        (name.to_owned(), made_up(field))
    };
    required.map(input).collect()
}

/// What an execution must have come to.
fn ended_well(file: &Path, ended: &Value) {
    assert_eq!(ended["offline"], true, "{}: {ended:#}", name_of(file));
    match needed_key(file) {
        None => assert_eq!(ended["state"], "completed", "{}: {ended:#}", name_of(file)),
        Some(key) => {
            assert_eq!(ended["state"], "failed", "{}: {ended:#}", name_of(file));
            let message = ended["error"]["message"].as_str().unwrap_or_default();
            assert!(message.contains(key), "{}: {message}", name_of(file));
        }
    }
}

#[test]
fn every_example_validates() {
    let folder = TempDir::new().expect("a temporary folder can be made");
    for file in examples() {
        let path = file.to_str().expect("example files have plain names");
        let told = signpost(folder.path(), &["validate", path]);
        assert!(told.status.success(), "{path}: {}", text(&told.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_runs_offline_or_names_the_key() {
    let examples = examples();
    let Some(first) = examples.first() else {
        return;
    };
    let originals: Vec<_> = examples.iter().map(fs::read).map(Result::ok).collect();
    let folder = first.parent().expect("a file is in a folder");
    let folder = folder
        .to_str()
        .expect("folders of examples have plain names");
    let place = TestStore::chosen();
    let program = Program::start_in(&place, &["--workflows-dir", folder]);
    let api = Api::new(program.address());
    let apart = TempDir::new().expect("a temporary folder can be made");
    for file in &examples {
        let name = name_of(file);
        let body = json!({ "name": name, "config_path": name });
        let made = api.post("/api/workflows", &body).await.expect(201);
        let id = made["id"].as_str().expect("an id is text");
        let shown = api.get(&format!("/api/v1/workflows/{id}")).await;
        let inputs = inputs(&shown["definition"]);

        let path = format!("/api/v1/workflows/{id}/run");
        let run = api
            .post(&path, &json!({ "inputs": inputs, "wait": 30 }))
            .await;
        ended_well(file, &run.expect(200));

        let given: Vec<_> = inputs
            .iter()
            .map(|(name, value)| format!("--input={name}={value}"))
            .collect();
        let mut arguments = vec!["run", "--offline", "--json"];
        arguments.push(file.to_str().expect("example files have plain names"));
        arguments.extend(given.iter().map(String::as_str));
        let told = signpost(apart.path(), &arguments);
        let ended: Value = serde_json::from_slice(&told.stdout)
            .unwrap_or_else(|_| panic!("{name}: {}", text(&told.stderr)));
        ended_well(file, &ended);
        assert_eq!(told.status.success(), needed_key(file).is_none());
    }
    let now: Vec<_> = examples.iter().map(fs::read).map(Result::ok).collect();
    assert_eq!(now, originals, "nothing writes to a workflow file");
}
