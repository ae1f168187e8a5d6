//! Workflow files: run here and now, and on a server.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::program::{Server, run};

const SUM: &str = "\
schema_version: '1.0'
flow: {name: sum}
state:
  fields:
    a: {type: int, required: true}
    total: {type: int}
nodes:
  - {id: add, kind: transform, jq: '.state.a + 1', outputs: [total]}
edges:
  - {from: START, to: add}
  - {from: add, to: END}
";

/// A file in a folder that lives as long as it is kept.
fn file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flow.yaml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn a_file_runs_without_a_server() {
    let (_folder, path) = file(SUM);
    let path = path.to_str().unwrap();
    let ended = run(["run", path, "-i", "a=4", "--json"]).expect(0);
    assert_eq!(ended.json()["result"]["total"], 5);
    let told = run(["run", path, "-i", "a=4"]).expect(0);
    assert!(told.stderr.contains("✓ add"), "{}", told.stderr);
    let misused = run(["run", path]).expect(2);
    assert!(misused.stderr.contains("inputs.a"), "{}", misused.stderr);
}

#[test]
fn what_fails_names_its_node_and_why() {
    let (_folder, path) = file(&SUM.replace("+ 1", "+ \"x\""));
    let failed = run(["run", path.to_str().unwrap(), "-i", "a=4"]).expect(1);
    assert!(failed.stderr.contains("add failed:"), "{}", failed.stderr);
    let (_folder, path) = file(&SUM.replace("to: add}", "to: ad}"));
    let refused = run(["run", path.to_str().unwrap()]).expect(1);
    assert!(
        refused.stderr.contains("flow.yaml:10"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_server_keeps_workflows_and_runs_them() {
    let (_folder, path) = file(SUM);
    let path = path.to_str().unwrap();
    let server = Server::start();
    let made = server.json(["workflows", "add", path]);
    assert_eq!(made["outcome"], "created");
    let again = server.json(["workflows", "add", path]);
    assert_eq!(again["outcome"], "unchanged");
    let ended = server.json(["workflows", "run", "sum", "-i", "a=1", "--wait", "30"]);
    assert_eq!(ended["result"]["total"], 2, "{ended}");
    let id = ended["id"].as_str().unwrap();
    let shown = server.run(["executions", "show", id]).expect(0);
    assert!(shown.stdout.contains("add"), "{}", shown.stdout);
    let followed = server.run(["executions", "follow", id]).expect(0);
    assert!(
        followed.stdout.contains("add completed"),
        "{}",
        followed.stdout
    );
    server.run(["executions", "stop", id]).expect(1);
    let pool = server.json(["pools", "put", "gpu", "2"]);
    assert_eq!(pool["free"], 2);
    server.run(["workflows", "remove", "sum"]).expect(0);
}
