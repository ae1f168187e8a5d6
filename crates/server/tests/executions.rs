//! Workflows and executions through the real router: registered, run, looked at, followed, told.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use domain::access::Role;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Answer, TestServer};

/// One node that needs nobody.
const SUM: &str = "\
schema_version: '1.0'
flow: {name: sum}
state:
  fields:
    a: {type: int, required: true}
    b: {type: int, default: 2}
    total: {type: int}
nodes:
  - {id: add, kind: transform, jq: '.state.a + .state.b', outputs: [total]}
edges:
  - {from: START, to: add}
  - {from: add, to: END}
";

fn waiting(kind: &str) -> Value {
    let (what, field, kind_of_field) = match kind {
        "approval" => (json!("may I?"), "approved", "bool"),
        _ => (json!(true), "answer", "dict"),
    };
    json!({
        "schema_version": "1.0",
        "flow": { "name": kind },
        "state": { "fields": { field: { "type": kind_of_field } } },
        "nodes": [{ "id": "ask", "kind": "wait", kind: what, "outputs": [field] }],
        "edges": [{ "from": "START", "to": "ask" }, { "from": "ask", "to": "END" }],
    })
}

async fn register(server: &TestServer, body: &Value) -> Answer {
    let answer = server.post("/api/v1/workflows").json(body).send().await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    answer
}

async fn run(server: &TestServer, name: &str, body: &Value) -> Answer {
    let path = format!("/api/v1/workflows/{name}/run");
    server.post(&path).json(body).send().await
}

/// Starts an execution and lets it go as far as it gets by itself.
async fn begun(server: &TestServer, name: &str) -> String {
    let answer = run(server, name, &json!({})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
    server.front.app().engine.run_until_idle().await.unwrap();
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn shown(server: &TestServer, id: &str) -> Value {
    server.front.app().engine.run_until_idle().await.unwrap();
    server
        .get(&format!("/api/v1/executions/{id}"))
        .send()
        .await
        .json()
}

#[tokio::test]
async fn a_workflow_is_registered_changed_and_removed() {
    let server = TestServer::local().await;
    let made = server
        .post("/api/v1/workflows")
        .body("application/yaml", SUM)
        .send()
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let workflow = made.json();
    assert_eq!(
        (
            &workflow["name"],
            &workflow["version"],
            &workflow["outcome"]
        ),
        (&json!("sum"), &json!(1), &json!("created"))
    );
    let path = made.header("location").to_owned();
    let taken = server
        .post("/api/v1/workflows")
        .json(&json!({ "source": SUM }))
        .send()
        .await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    let changed = SUM.replace("default: 2", "default: 3");
    let put = |text: String| {
        server
            .call(Method::PUT, &path)
            .json(&json!({ "source": text }))
            .send()
    };
    let changed = put(changed).await.json();
    assert_eq!(
        (&changed["version"], &changed["outcome"]),
        (&json!(2), &json!("updated"))
    );
    let versions = server.get(&format!("{path}/versions")).send().await.json();
    assert_eq!(versions["data"].as_array().unwrap().len(), 2);
    assert_eq!(versions["data"][0]["number"], 2);
    let first = server.get(&format!("{path}/versions/1")).send().await;
    assert_eq!(first.json()["source"], SUM);
    let by_name = server.get("/api/v1/workflows/sum").send().await.json();
    assert_eq!(by_name["id"], workflow["id"]);
    let listed = server.get("/api/v1/workflows").send().await.json();
    assert_eq!(listed["data"][0]["id"], workflow["id"]);
    let gone = server.call(Method::DELETE, &path).send().await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.text());
    assert_eq!(server.get(&path).send().await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_wrong_with_a_definition_is_told_with_its_place() {
    let server = TestServer::local().await;
    let text = SUM.replace("to: add}", "to: ad}");
    let refused = server
        .post("/api/v1/workflows")
        .body("application/yaml", text.clone())
        .send()
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let error = &refused.json()["errors"][0];
    assert!(error["path"].as_str().unwrap().starts_with("edges[0]"));
    assert_eq!(error["line"], 11, "{error}");
    assert!(error["column"].as_u64().is_some(), "{error}");
    for body in [
        json!({}),
        json!({ "name": "x" }),
        json!({ "config": {}, "source": "" }),
    ] {
        let refused = server.post("/api/v1/workflows").json(&body).send().await;
        assert_eq!(refused.slug(), "validation-failed", "{body}");
    }
}

#[tokio::test]
async fn an_execution_is_waited_for_and_shown_step_by_step() {
    let server = TestServer::local().await;
    register(&server, &json!({ "source": SUM })).await;
    let ended = run(
        &server,
        "sum",
        &json!({ "inputs": { "a": 40 }, "wait": 30 }),
    )
    .await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text());
    let execution = ended.json();
    assert_eq!(execution["state"], "completed", "{execution}");
    assert_eq!(execution["result"]["total"], 42, "{execution}");
    assert_eq!(execution["timeline"][0]["node"], "add");
    let id = execution["id"].as_str().unwrap();
    assert_eq!(ended.header("location"), format!("/api/v1/executions/{id}"));
    let listed = server
        .get("/api/v1/executions?state=completed")
        .send()
        .await
        .json();
    assert_eq!(listed["data"][0]["id"], id);
    let none = server.get("/api/v1/executions?state=failed").send().await;
    assert_eq!(none.json()["data"], json!([]));
    let stopped = server
        .post(&format!("/api/v1/executions/{id}/stop"))
        .send()
        .await;
    assert_eq!(stopped.status, StatusCode::CONFLICT);
    let retried = server
        .post(&format!("/api/v1/executions/{id}/retry"))
        .send()
        .await;
    assert_eq!(retried.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_run_that_cannot_be_is_refused() {
    let server = TestServer::local().await;
    register(&server, &json!({ "source": SUM })).await;
    let wrong = run(&server, "sum", &json!({ "inputs": {} })).await;
    assert_eq!(wrong.slug(), "validation-failed");
    assert_eq!(wrong.json()["errors"][0]["path"], "inputs.a");
    let wrong = run(
        &server,
        "sum",
        &json!({ "inputs": { "a": 1 }, "version": 9 }),
    )
    .await;
    assert_eq!(wrong.json()["errors"][0]["path"], "version");
    let wrong = run(&server, "sum", &json!({ "inputs": { "a": 1 }, "wait": 31 })).await;
    assert_eq!(wrong.json()["errors"][0]["path"], "wait");
    let unknown = run(&server, "summ", &json!({})).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_approval_is_answered_once() {
    let server = TestServer::local().await;
    register(&server, &json!({ "config": waiting("approval") })).await;
    let id = begun(&server, "approval").await;
    let execution = shown(&server, &id).await;
    assert_eq!(execution["state"], "waiting", "{execution}");
    assert_eq!(execution["timeline"][0]["detail"]["message"], "may I?");
    let path = format!("/api/v1/executions/{id}/approve");
    let wrong = server
        .post(&path)
        .json(&json!({ "step": 9, "approved": true }))
        .send()
        .await;
    assert_eq!(wrong.status, StatusCode::CONFLICT);
    let body = json!({ "approved": true, "comment": "fine" });
    let kept = server.post(&path).json(&body).send().await;
    assert_eq!(kept.status, StatusCode::ACCEPTED, "{}", kept.text());
    let execution = shown(&server, &id).await;
    assert_eq!(execution["state"], "completed", "{execution}");
    let again = server.post(&path).json(&body).send().await;
    assert_eq!(again.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn what_waits_can_be_stopped_and_made_to_go_on() {
    let server = TestServer::local().await;
    register(&server, &json!({ "config": waiting("approval") })).await;
    let id = begun(&server, "approval").await;
    let stopped = server
        .post(&format!("/api/v1/executions/{id}/stop"))
        .send()
        .await;
    assert_eq!(stopped.status, StatusCode::ACCEPTED, "{}", stopped.text());
    assert_eq!(shown(&server, &id).await["state"], "stopped");
    let retried = server
        .post(&format!("/api/v1/executions/{id}/retry"))
        .send()
        .await;
    assert_eq!(retried.status, StatusCode::ACCEPTED, "{}", retried.text());
    assert_eq!(shown(&server, &id).await["state"], "waiting");
}

#[tokio::test]
async fn a_callback_works_once_and_only_at_its_address() {
    let server = TestServer::owned().await;
    let token = server.token("ann").await;
    let made = server
        .post("/api/v1/workflows")
        .bearer(&token)
        .json(&json!({ "config": waiting("callback") }))
        .send()
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let started = server
        .post("/api/v1/workflows/callback/run")
        .bearer(&token)
        .json(&json!({}))
        .send()
        .await;
    server.front.app().engine.run_until_idle().await.unwrap();
    let path = started.header("location").to_owned();
    let execution = server.get(&path).bearer(&token).send().await.json();
    let url = execution["timeline"][0]["callbackUrl"].as_str().unwrap();
    let at = url.strip_prefix("http://localhost:8000").unwrap();
    let (base, signature) = at.rsplit_once('/').unwrap();
    let forged = signature.replace(|c: char| c.is_ascii_digit(), "0");
    for wrong in [format!("{base}/{forged}"), format!("{base}/x")] {
        let answer = server.post(&wrong).json(&json!({})).send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{wrong}");
    }
    let kept = server.post(at).json(&json!({ "paid": true })).send().await;
    assert_eq!(kept.status, StatusCode::ACCEPTED, "{}", kept.text());
    let again = server.post(at).json(&json!({ "paid": false })).send().await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text());
    server.front.app().engine.run_until_idle().await.unwrap();
    let execution = server.get(&path).bearer(&token).send().await.json();
    assert_eq!(execution["result"]["answer"], json!({ "paid": true }));
    let again = server.post(at).json(&json!({})).send().await;
    assert_eq!(again.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_stream_tells_the_past_and_ends_with_the_execution() {
    let server = TestServer::local().await;
    register(&server, &json!({ "source": SUM })).await;
    let ended = run(&server, "sum", &json!({ "inputs": { "a": 1 }, "wait": 30 })).await;
    let id = ended.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/executions/{id}/events");
    let stream = server.get(&path).send().await;
    assert_eq!(stream.header("content-type"), "text/event-stream");
    let text = stream.text();
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("event: "))
        .collect();
    assert_eq!(names, ["step", "state", "end"], "{text}");
    assert!(text.contains("id: 1"), "{text}");
    let rest = server.get(&path).header("last-event-id", "1").send().await;
    assert!(!rest.text().contains("event: step"), "{}", rest.text());
    assert!(rest.text().contains("event: end"));
}

#[tokio::test]
async fn what_is_another_workspaces_is_not_there() {
    let server = TestServer::owned().await;
    let token = server.token("ann").await;
    let made = server
        .post("/api/v1/workspaces")
        .bearer(&token)
        .json(&json!({ "name": "other" }))
        .send()
        .await;
    let other = made.json()["id"].as_str().unwrap().to_owned();
    let workflow = server
        .post("/api/v1/workflows")
        .bearer(&token)
        .json(&json!({ "config": waiting("approval") }))
        .send()
        .await;
    let workflow = workflow.header("location").to_owned();
    let started = server
        .post(&format!("{workflow}/run"))
        .bearer(&token)
        .json(&json!({}))
        .send()
        .await;
    server.front.app().engine.run_until_idle().await.unwrap();
    let execution = started.header("location").to_owned();
    let ask = async |method: Method, path: String, body: Value| {
        let call = server
            .call(method, &path)
            .bearer(&token)
            .header("x-workspace", &other)
            .json(&body);
        (call.send().await.status, path)
    };
    let config = json!({ "config": waiting("approval") });
    for (method, path, body) in [
        (Method::GET, workflow.clone(), json!({})),
        (Method::PUT, workflow.clone(), config),
        (Method::DELETE, workflow.clone(), json!({})),
        (Method::GET, format!("{workflow}/versions"), json!({})),
        (Method::GET, format!("{workflow}/versions/1"), json!({})),
        (Method::POST, format!("{workflow}/run"), json!({})),
        (Method::GET, execution.clone(), json!({})),
        (Method::GET, format!("{execution}/events"), json!({})),
        (Method::POST, format!("{execution}/stop"), json!({})),
        (Method::POST, format!("{execution}/retry"), json!({})),
        (
            Method::POST,
            format!("{execution}/approve"),
            json!({ "approved": true }),
        ),
    ] {
        let (status, path) = ask(method, path, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn who_may_only_read_changes_nothing() {
    let server = TestServer::owned().await;
    server.add_user("vic", Role::Viewer).await;
    let token = server.token("vic").await;
    for (method, path) in [
        (Method::POST, "/api/v1/workflows"),
        (Method::POST, "/api/workflows"),
        (Method::PUT, "/api/v1/pools/gpu"),
        (Method::POST, "/api/v1/workflows/x/run"),
    ] {
        let body = json!({ "units": 1, "source": SUM, "inputs": {} });
        let answer = server.call(method, path).bearer(&token).json(&body);
        let body_first = answer.send().await.status;
        assert!(
            matches!(
                body_first,
                StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY
            ),
            "{path}: {body_first}"
        );
    }
    let listed = server.get("/api/v1/executions").bearer(&token).send().await;
    assert_eq!(listed.status, StatusCode::OK);
}

#[tokio::test]
async fn pools_are_made_changed_and_removed() {
    let server = TestServer::local().await;
    let put = async |units: i64| {
        let body = json!({ "units": units });
        let call = server.call(Method::PUT, "/api/v1/pools/gpu").json(&body);
        call.send().await
    };
    assert_eq!(
        put(2).await.json(),
        json!({ "name": "gpu", "units": 2, "taken": 0, "free": 2 })
    );
    assert_eq!(put(5).await.json()["units"], 5);
    assert_eq!(put(-1).await.slug(), "validation-failed");
    let listed = server.get("/api/v1/pools").send().await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        let gone = server
            .call(Method::DELETE, "/api/v1/pools/gpu")
            .send()
            .await;
        assert_eq!(gone.status, status);
    }
}

#[tokio::test]
async fn the_third_interface_registers_by_path_or_definition() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sum.yaml"), SUM).unwrap();
    let server = TestServer::with(
        server::ServerConfig {
            workflows_dir: Some(folder.path().to_owned()),
            ..server::ServerConfig::default()
        },
        true,
        false,
    )
    .await;
    let body = json!({ "name": "mine", "config_path": "sum.yaml" });
    let made = server.post("/api/workflows").json(&body).send().await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let workflow = made.json();
    assert_eq!(
        (
            &workflow["name"],
            &workflow["version"],
            &workflow["warnings"]
        ),
        (&json!("mine"), &json!(1), &json!([]))
    );
    let ended = run(
        &server,
        "mine",
        &json!({ "inputs": { "a": 1 }, "wait": 30 }),
    )
    .await;
    assert_eq!(ended.json()["result"]["total"], 3);
    for path in ["../sum.yaml", "/etc/passwd", "none.yaml"] {
        let body = json!({ "name": "x", "config_path": path });
        let refused = server.post("/api/workflows").json(&body).send().await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
        assert!(refused.json()["message"].is_string());
    }
    let body = json!({ "name": "asks", "config": waiting("approval") });
    let made = server.post("/api/workflows").json(&body).send().await;
    assert_eq!(made.json()["name"], "asks", "{}", made.text());
    let listed = server.get("/api/workflows").send().await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn without_a_folder_only_local_mode_takes_paths() {
    let server = TestServer::owned().await;
    let token = server.token("ann").await;
    let body = json!({ "name": "x", "config_path": "sum.yaml" });
    let refused = server.post("/api/workflows").bearer(&token).json(&body);
    let refused = refused.send().await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.text().contains("--workflows-dir"),
        "{}",
        refused.text()
    );
}

#[tokio::test]
async fn the_webhooks_of_a_file_are_made_with_it_once() {
    let server = TestServer::local().await;
    let with = |webhooks: &str| format!("{SUM}webhooks:\n{webhooks}");
    let good =
        "  - {url: 'https://example.com/hook', events: [workflow.failed, workflow.completed]}\n";
    let bad = "  - {url: 'http://10.0.0.1/'}\n";
    let made = server
        .post("/api/v1/workflows")
        .body("application/yaml", with(&format!("{good}{good}{bad}")))
        .send()
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let made = made.json();
    let secret = made["webhooks"][0]["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{made}");
    assert_eq!(made["webhooks"].as_array().unwrap().len(), 1);
    assert_eq!(made["warnings"].as_array().unwrap().len(), 1, "{made}");
    assert_eq!(
        (&made["warnings"][0]["code"], &made["warnings"][0]["path"]),
        (&json!("webhook.not_made"), &json!("webhooks[2].url"))
    );
    let listed = server.get("/api/v1/webhooks").send().await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    assert_eq!(listed["data"][0]["id"], made["webhooks"][0]["id"]);
    assert_eq!(listed["data"][0]["targetUrl"], "https://example.com/hook");

    // The next version has the same one, its events in another order, and a second.
    let same =
        "  - {url: 'https://example.com/hook', events: [workflow.completed, workflow.failed]}\n";
    let other = "  - {url: 'https://example.com/hook', events: [task.execution.failed]}\n";
    let changed = server
        .call(Method::PUT, "/api/v1/workflows/sum")
        .body("application/yaml", with(&format!("{same}{other}")))
        .send()
        .await
        .json();
    assert_eq!(changed["version"], 2, "{changed}");
    assert_eq!(changed["webhooks"].as_array().unwrap().len(), 1);
    assert_eq!(changed["warnings"], json!([]));
    let listed = server.get("/api/v1/webhooks").send().await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 2);
}
