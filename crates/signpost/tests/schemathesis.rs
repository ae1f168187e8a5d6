//! Schemathesis holds the running program to its own OpenAPI document.
//!
//! Bounded in examples and seeded, so that a finding repeats. Left out are streams, which never
//! end. Random requests alone would meet nothing but 404 and 422, so the program holds records
//! whose ids are mixed in with the random ones; afterwards its own metrics must show that each
//! operation was answered with a success at least once, or the run has proved nothing.
//!
//! Needs Python with schemathesis (`./test` installs it): without it the tests say so and pass.
//! `SIGNPOST_SCHEMATHESIS_EXAMPLES` (12) and `SIGNPOST_SCHEMATHESIS_SEED` (1) search longer or
//! elsewhere.

#[path = "samples/mod.rs"]
mod harness;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    process::Command,
};

use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Receiver;

use harness::{
    api::Api,
    peers::Runtimes,
    program::Installation,
    subscriber::{Subscriber, publish},
};

/// What each answer must be.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";
/// Streams: their answers never end.
const STREAMS: &str = "/(stream|listen)$|/executions/[^/]+/events$";
/// What a refused publisher may be told although it is a 5xx: 508, that its events go in a loop.
const LOOPS: &str =
    "[operations.checks.not_a_server_error]\nexpected-statuses = [\"2xx\", \"4xx\", 508]\n";
/// Operations that take events, each with [`LOOPS`].
const PUBLISHING: [&str; 2] = ["publishEvent", "publishEvents"];
/// What changes who may come in: the first user ends local mode.
const ACCESS: &str = "^/api/v1/(users|auth/(me|password))";
/// Wrong passwords, and after a few of them 429 for whatever comes from that address.
const LOGIN: &str = "/login$";
/// What takes a signature, a handshake or a whole definition.
const UNREACHED: [&str; 5] = [
    "GET /webhooks/{source}",
    "POST /api/v1/workflows",
    "POST /api/workflows",
    "POST /triggers/{id}",
    "PUT /api/v1/workflows/{id}",
];
/// The owner of the servers that have one.
const OWNER: (&str, &str) = ("owner@example.com", "correct horse battery staple");

/// A part of the interface, tried on a server of its own.
struct Area<'a> {
    /// Paths that are tried, if not all.
    include: Option<&'a str>,
    /// Paths that are not, beside streams.
    exclude: &'a [&'a str],
    /// Sent with each request.
    token: Option<String>,
    /// Operations and the values that are mixed into a parameter's random ones.
    known: Vec<Known>,
    /// Operations (`METHOD /path`) that no random request can be expected to do.
    unreached: &'a [&'a str],
}

/// Values that exist, for a parameter of the operations with these ids.
struct Known {
    operations: &'static [&'static str],
    parameter: &'static str,
    values: Vec<String>,
}

impl Known {
    fn new(
        operations: &'static [&'static str],
        parameter: &'static str,
        values: &[String],
    ) -> Self {
        Self {
            operations,
            parameter,
            values: values.to_vec(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_but_access_answers_as_documented_in_local_mode() {
    let Some(runtimes) = Runtimes::find() else {
        return;
    };
    let program = Installation::start(&[]);
    let receiver = Receiver::ok().await;
    let api = Api::new(program.address());
    let mut known = records(&api, &receiver).await;
    known.extend(workflows(&api).await);
    let area = Area {
        include: None,
        exclude: &[ACCESS, LOGIN],
        token: None,
        known,
        unreached: &UNREACHED,
    };
    area.holds(&runtimes, program.address()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_sessions_answer_as_documented() {
    let Some(runtimes) = Runtimes::find() else {
        return;
    };
    let program = owned();
    let api = Api::new(program.address());
    let body = json!({"login": OWNER.0, "password": OWNER.1});
    let session = api.post("/api/v1/auth/login", &body).await.expect(200);
    let token = session["token"]
        .as_str()
        .expect("a login gives a token")
        .to_owned();
    let api = api.with("authorization", &format!("Bearer {token}"));
    let mut users = Vec::new();
    for number in 0..8 {
        let body = json!({"login": format!("user-{number}@example.com"), "password": OWNER.1, "role": "viewer"});
        users.push(id(&api.post("/api/v1/users", &body).await.expect(201)));
    }
    let known = vec![
        Known::new(&["getUser", "updateUser"], "path.id", &users[..3]),
        Known::new(&["removeUser"], "path.id", &users[3..]),
    ];
    // A random password is never the present one.
    let unreached = &["PUT /api/v1/auth/password"];
    let area = Area {
        include: Some(ACCESS),
        exclude: &[],
        token: Some(token),
        known,
        unreached,
    };
    area.holds(&runtimes, program.address()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_answer_as_documented() {
    let Some(runtimes) = Runtimes::find() else {
        return;
    };
    let program = owned();
    let unreached = &["POST /api/v1/auth/login", "POST /api/auth/login"];
    let area = Area {
        include: Some(LOGIN),
        exclude: &[],
        token: None,
        known: Vec::new(),
        unreached,
    };
    area.holds(&runtimes, program.address()).await;
}

/// A server that has an owner.
fn owned() -> Installation {
    Installation::start(&["--admin-login", OWNER.0, "--admin-password", OWNER.1])
}

fn id(record: &Value) -> String {
    record["id"].as_str().expect("an id is text").to_owned()
}

/// Makes some of everything, and says where it goes.
async fn records(api: &Api, receiver: &Receiver) -> Vec<Known> {
    let (mut webhooks, mut orchestration, mut keys, mut types) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..10 {
        webhooks.push(
            Subscriber::create(api, &receiver.url(), &json!({"events": ["conformance.*"]}))
                .await
                .id,
        );
        let body =
            json!({"url": receiver.url(), "events": ["task.execution.failed"], "secret": "s3cret"});
        orchestration.push(id(&api.post("/api/webhooks", &body).await.expect(201)));
        let body = json!({"name": format!("key {number}"), "scopes": ["events:write"]});
        keys.push(id(&api.post("/api/v1/keys", &body).await.expect(201)));
        let name = format!("conformance.type{number}");
        api.post(
            "/api/v1/event-types",
            &json!({"name": name, "description": "Tried."}),
        )
        .await
        .expect(201);
        types.push(name);
    }
    assert!(publish(api, "conformance.type0", r#"{"a":1}"#).await);
    receiver.wait_for(webhooks.len()).await;
    let events: Vec<_> = api.all("/api/v1/events").await.iter().map(id).collect();
    let deliveries: Vec<_> = api.all("/api/v1/deliveries").await.iter().map(id).collect();
    let replay = format!("/api/v1/webhooks/{}/replay", webhooks[0]);
    let replay = api
        .send(
            Method::POST,
            &replay,
            json!({"eventId": events[0]}).to_string(),
        )
        .await
        .expect(202);
    let urls = [receiver.url()];
    let (kept, dropped) = webhooks.split_at(4);
    let (kept_types, dropped_types) = types.split_at(4);
    let (kept_orchestration, dropped_orchestration) = orchestration.split_at(4);
    vec![
        Known::new(
            &[
                "getWebhook",
                "putWebhook",
                "updateWebhook",
                "listWebhookDeliveries",
                "startReplay",
                "listReplays",
                "rotateWebhookSecret",
                "getWebhookStats",
                "testWebhook",
            ],
            "path.id",
            kept,
        ),
        Known::new(&["deleteWebhook"], "path.id", dropped),
        Known::new(
            &["orchestrationGetWebhook", "orchestrationUpdateWebhook"],
            "path.id",
            kept_orchestration,
        ),
        Known::new(
            &["orchestrationDeleteWebhook"],
            "path.id",
            dropped_orchestration,
        ),
        Known::new(&["getDelivery", "retryDelivery"], "path.id", &deliveries),
        Known::new(&["getEvent"], "path.id", &events),
        Known::new(&["getReplay"], "path.id", &[id(&replay)]),
        Known::new(&["startReplay"], "body.eventId", &events),
        Known::new(
            &["createApiKey"],
            "body.scopes[*]",
            &["read", "write"].map(str::to_owned),
        ),
        Known::new(&["revokeApiKey"], "path.id", &keys),
        Known::new(&["getEventType", "putEventType"], "path.name", kept_types),
        Known::new(&["deleteEventType"], "path.name", dropped_types),
        Known::new(
            &["createWebhook", "putWebhook", "updateWebhook"],
            "body.targetUrl",
            &urls,
        ),
        Known::new(
            &[
                "orchestrationCreateWebhook",
                "orchestrationUpdateWebhook",
                "orchestrationTestWebhook",
            ],
            "body.url",
            &urls,
        ),
    ]
}

/// Workflows, what starts them and what was started: by their parameters.
async fn workflows(api: &Api) -> Vec<Known> {
    let made = |name: String, config: Value| async move {
        let body = json!({"name": name, "config": config});
        id(&api.post("/api/v1/workflows", &body).await.expect(201))
    };
    let mut any = Vec::new();
    for number in 0..8 {
        // In the loose dialect it takes whatever it is given.
        any.push(
            made(
                format!("any{number}"),
                json!({"description": "Ends at once."}),
            )
            .await,
        );
    }
    let (kept, dropped) = any.split_at(4);
    let waiting = made("waiting".to_owned(), waits()).await;
    let failing = made("failing".to_owned(), fails()).await;
    let start = |workflow: String| async move {
        let path = format!("/api/v1/workflows/{workflow}/run");
        let answer = api.post(&path, &json!({"inputs": {}, "wait": 1})).await;
        id(&answer.json())
    };
    let (mut stopped, mut approved, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..4 {
        stopped.push(start(waiting.clone()).await);
        approved.push(start(waiting.clone()).await);
        failed.push(start(failing.clone()).await);
    }
    let called = start(waiting.clone()).await;
    let timeline = api.get(&format!("/api/v1/executions/{called}")).await;
    let url = timeline["timeline"]
        .as_array()
        .and_then(|steps| steps.iter().find_map(|step| step["callbackUrl"].as_str()))
        .expect("a node waits for a callback");
    let parts: Vec<String> = url.rsplit('/').take(3).map(str::to_owned).collect();
    let (mut sources, mut triggers) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let preset = if number < 2 { "none" } else { "github" };
        let body = json!({"name": format!("door{number}"), "preset": preset});
        sources.push(id(&api.post("/api/v1/sources", &body).await.expect(201)));
        let path = format!("/api/v1/workflows/{}/triggers", kept[0]);
        triggers.push(id(&api.post(&path, &json!({})).await.expect(201)));
    }
    let body = json!({"workflow_name": "any0", "inputs": {}});
    api.post("/webhooks/generic", &body).await.expect(200);
    let receipts: Vec<_> = api.all("/api/v1/receipts").await.iter().map(id).collect();
    let runs: Vec<String> = [stopped.clone(), failed.clone()].concat();
    let names = ["any0", "any1"].map(str::to_owned);
    let doors = ["door0", "door1"].map(str::to_owned);
    vec![
        Known::new(
            &[
                "getWorkflow",
                "putWorkflow",
                "runWorkflow",
                "listTriggersOfWorkflow",
                "createTrigger",
                "listWorkflowVersions",
                "getWorkflowVersion",
            ],
            "path.id",
            kept,
        ),
        Known::new(&["deleteWorkflow"], "path.id", dropped),
        Known::new(&["getWorkflowVersion"], "path.number", &["1".to_owned()]),
        Known::new(&["getExecution"], "path.id", &runs),
        Known::new(&["stopExecution"], "path.id", &stopped),
        Known::new(&["approveExecution"], "path.id", &approved),
        Known::new(&["retryExecution"], "path.id", &failed),
        Known::new(&["answerCallback"], "path.signature", &parts[..1]),
        Known::new(&["answerCallback"], "path.node", &parts[1..2]),
        Known::new(&["answerCallback"], "path.execution", &parts[2..]),
        Known::new(
            &["getSource", "updateSource", "rotateSourceSecret"],
            "path.id",
            &sources[2..5],
        ),
        Known::new(&["deleteSource"], "path.id", &sources[5..]),
        Known::new(&["receiveSource"], "path.source", &doors),
        Known::new(
            &["getTrigger", "updateTrigger", "rotateTriggerKey"],
            "path.id",
            &triggers[..4],
        ),
        Known::new(&["deleteTrigger"], "path.id", &triggers[4..]),
        Known::new(&["getReceipt", "replayReceipt"], "path.id", &receipts),
        Known::new(&["receiveWebhook"], "body.workflowId", &names),
        Known::new(&["receiveGeneric"], "body.workflow_name", &names),
    ]
}

/// A workflow that waits for a person and for a callback.
fn waits() -> Value {
    json!({
        "schema_version": "1.0",
        "flow": {"name": "waiting"},
        "state": {"fields": {"x": {"type": "int"}}},
        "nodes": [
            {"id": "ask", "kind": "wait", "approval": "Go on?"},
            {"id": "call", "kind": "wait", "callback": true},
        ],
        "edges": [
            {"from": "START", "to": ["ask", "call"]},
            {"from": "ask", "to": "END"},
            {"from": "call", "to": "END"},
        ],
    })
}

/// A workflow that fails.
fn fails() -> Value {
    json!({
        "schema_version": "1.0",
        "flow": {"name": "failing"},
        "state": {"fields": {"x": {"type": "int"}}},
        "nodes": [{"id": "fail", "kind": "transform", "jq": "error(\"no\")", "outputs": ["x"]}],
        "edges": [{"from": "START", "to": "fail"}, {"from": "fail", "to": "END"}],
    })
}

impl Area<'_> {
    /// Tries the area and asserts that there are no findings, and that each operation was reached.
    async fn holds(&self, runtimes: &Runtimes, address: &str) {
        let folder = TempDir::new().expect("a temporary folder can be made");
        fs::write(folder.path().join("schemathesis.toml"), self.config())
            .expect("it can be written");
        let before = successes(address).await;
        let set =
            |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let mut command = Command::new(runtimes.python());
        command
            .current_dir(folder.path())
            .args([
                "-m",
                "schemathesis.cli",
                "run",
                &format!("{address}/api/openapi.json"),
            ])
            .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
            .args([
                "--max-examples",
                &set("SIGNPOST_SCHEMATHESIS_EXAMPLES", "12"),
            ])
            .args([
                "--seed",
                &set("SIGNPOST_SCHEMATHESIS_SEED", "1"),
                "--generation-database",
                "none",
            ])
            .args(["--generation-with-security-parameters", "false"])
            // One: only then does a seed repeat; and Python 3.11, for one, fails now and then to
            // parse source in two threads at once (`AST constructor recursion depth mismatch`).
            .args(["--workers", "1", "--request-timeout", "30", "--no-shrink"])
            .args(["--continue-on-failure", "--no-color", "--warnings", "off"])
            .args([
                "--exclude-path-regex",
                &[&[STREAMS], self.exclude].concat().join("|"),
            ]);
        if let Some(include) = self.include {
            command.args(["--include-path-regex", include]);
        }
        if let Some(token) = &self.token {
            command.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
        let output = tokio::task::block_in_place(|| command.output()).expect("schemathesis starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let missed = self.missed(address, &before).await;
        let expected: BTreeSet<_> = self
            .unreached
            .iter()
            .map(|&operation| operation.to_owned())
            .collect();
        assert!(
            output.status.success() && missed == expected,
            "never answered with a success: {missed:?} (expected: {expected:?})\n\
             schemathesis ended with {}:\n{}\n{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
    }

    /// The area's operations that did not succeed more often than before.
    async fn missed(&self, address: &str, before: &BTreeMap<String, u64>) -> BTreeSet<String> {
        let after = successes(address).await;
        let document = Api::new(address).get("/api/openapi.json").await;
        let mut missed = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths are an object") {
            for method in item.as_object().expect("a path is an object").keys() {
                let operation = format!("{} {path}", method.to_uppercase());
                if after.get(&operation) == before.get(&operation) && self.covers(path) {
                    missed.insert(operation);
                }
            }
        }
        missed
    }

    /// Whether this area's paths have this one among them. The patterns are few and simple.
    fn covers(&self, path: &str) -> bool {
        let is_access = ["/api/v1/users", "/api/v1/auth/me", "/api/v1/auth/password"]
            .iter()
            .any(|at| path.starts_with(at));
        let is_login = path.ends_with("/login");
        let is_stream = path.ends_with("/stream")
            || path.ends_with("/listen")
            || path.ends_with("/executions/{id}/events");
        match self.include {
            Some(ACCESS) => is_access,
            Some(_) => is_login,
            None => !is_access && !is_login && !is_stream,
        }
    }

    /// What schemathesis mixes in. Now and then it still makes up a value of its own.
    fn config(&self) -> String {
        let mut config = String::from("[dictionaries.workspaces]\nvalues = [\"wsp_1\"]\n");
        for (number, known) in self.known.iter().enumerate() {
            let _ = writeln!(
                config,
                "[dictionaries.known{number}]\nvalues = {}",
                json!(known.values)
            );
        }
        let bound = |parameter: &str, dictionary: &str| {
            format!("\"{parameter}\" = {{ dictionary = \"{dictionary}\", probability = 0.8 }}\n")
        };
        config.push_str("[parameters]\n");
        config.push_str(&bound("header.X-Workspace", "workspaces"));
        let mut by_operation: BTreeMap<&str, String> = BTreeMap::new();
        for (number, known) in self.known.iter().enumerate() {
            for operation in known.operations {
                let parameters = by_operation.entry(operation).or_default();
                parameters.push_str(&bound(known.parameter, &format!("known{number}")));
            }
        }
        for (operation, parameters) in by_operation {
            let _ = write!(
                config,
                "[[operations]]\ninclude-operation-id = \"{operation}\"\n[operations.parameters]\n{}{parameters}",
                bound("header.X-Workspace", "workspaces")
            );
        }
        for operation in PUBLISHING {
            let _ = write!(
                config,
                "[[operations]]\ninclude-operation-id = \"{operation}\"\n{LOOPS}"
            );
        }
        config
    }
}

/// How often each operation (`METHOD /path`) was answered with a success, as the program counts.
async fn successes(address: &str) -> BTreeMap<String, u64> {
    let metrics = Api::new(address).send(Method::GET, "/metrics", "").await;
    let mut counts = BTreeMap::new();
    for line in metrics.text().lines() {
        let Some(labels) = line.strip_prefix("signpost_http_requests_total{") else {
            continue;
        };
        let (labels, count) = labels.rsplit_once("} ").expect("a sample has a value");
        let label = |name: &str| {
            let (_, rest) = labels
                .split_once(&format!("{name}=\""))
                .expect("the label is there");
            rest.split('"').next().unwrap_or_default()
        };
        if label("status").starts_with('2') {
            let operation = format!("{} {}", label("method"), label("route"));
            *counts.entry(operation).or_default() +=
                count.parse::<u64>().expect("a counter counts");
        }
    }
    counts
}
