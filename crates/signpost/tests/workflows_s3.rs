//! S3 from top to bottom: its command lines, its curl lines, its Python, taken from the document
//! when the test runs, against the real program on a fresh folder. Only the server's address
//! (and where its secret file lies) is replaced.
//!
//! Needs the document, the example file, curl and Python with its packages: without them a test
//! says so and passes.

#[path = "samples/mod.rs"]
mod harness;

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Receiver;

use harness::{
    api::Api,
    peers::{Extracted, Runtimes},
    program::{Program, spawn, without_settings},
    seeds::Seed,
    subscriber::{Subscriber, publish},
    workflows::{executions_of, headers, shared},
};

/// Where the document says that the server is.
const DOCUMENTED: &str = "http://localhost:8000";

/// A folder as S3's reader has it: the example, and the program under the name it knows.
struct Reader {
    seed: Seed,
    folder: TempDir,
}

impl Reader {
    fn new() -> Option<Self> {
        let seed = Seed::read(3)?;
        let example = shared("examples/configurable-agents")?.join("webhook_integration.yaml");
        let folder = TempDir::new().expect("a temporary folder can be made");
        fs::copy(example, folder.path().join("webhook_integration.yaml"))
            .expect("the example can be copied");
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).expect("a folder can be made");
        symlink(
            env!("CARGO_BIN_EXE_signpost"),
            bin.join("configurable-agents"),
        )
        .expect("a link can be made");
        Some(Self { seed, folder })
    }

    /// A shell in that folder, which finds `configurable-agents`.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        without_settings(&mut command);
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.folder.path().join("bin");
        command
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", bin.display()))
            .args(["-c", script]);
        command
    }

    /// Starts the server by the document's own line, on a free port.
    fn dashboard(&self, secret: Option<&str>) -> Program {
        let line = self.seed.block("bash", "configurable-agents dashboard");
        let line = line.replace("--port 8000", "--port 0");
        let mut command = self.shell(&format!("exec {line}"));
        command
            .env("SIGNPOST_OFFLINE", "true")
            .env("SIGNPOST_JSON", "true")
            .env("SIGNPOST_DATA_DIR", self.folder.path().join("data"));
        if let Some(secret) = secret {
            command.env("WEBHOOK_SECRET", secret);
        }
        Program::started_by(&mut command)
    }

    /// Runs a block of the document against the server at `address`; what it prints.
    fn run(&self, address: &str, block: &str) -> String {
        let told = self
            .shell(&block.replace(DOCUMENTED, address))
            .output()
            .expect("bash can be run");
        let error = String::from_utf8_lossy(&told.stderr);
        assert!(told.status.success(), "{block}\n{error}");
        String::from_utf8(told.stdout).expect("answers are text")
    }

    /// The same, for a block that prints JSON.
    fn json(&self, address: &str, block: &str) -> Value {
        let told = self.run(address, block);
        serde_json::from_str(&told).unwrap_or_else(|_| panic!("{block}\nprints no JSON: {told}"))
    }

    /// `test_webhook.sh`, which the document names and does not show: its manual test as a file.
    fn write_test_webhook(&self, address: &str) {
        let manual = self.seed.block("bash", "WEBHOOK_URL=");
        let script = format!(
            "#!/usr/bin/env bash\n{}\n",
            manual.replace(DOCUMENTED, address)
        );
        let path = self.folder.path().join("test_webhook.sh");
        fs::write(&path, script).expect("a script can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .expect("a script can be made executable");
    }
}

/// Runs blocks of the document's Python; what each of its requests was answered.
fn python(runtimes: &Runtimes, task: &Value) -> Vec<(u64, Value)> {
    let files = Extracted::new();
    let task = files.file("task.json", &task.to_string());
    let sender = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples/s3_sender.py");
    let told = Command::new(runtimes.python())
        .args([sender, &task])
        .output()
        .expect("Python can be run");
    let error = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "the sender failed: {error}");
    serde_json::from_slice(&told.stdout).expect("the sender prints what it was answered")
}

/// What the generic door answers when `slack_notification` has run, and the execution's id.
fn is_success(answer: &Value) -> &str {
    assert_eq!(answer["status"], "success", "{answer:#}");
    assert_eq!(answer["workflow_name"], "slack_notification", "{answer:#}");
    let text = answer["result"].as_str().expect("its result is a text");
    assert!(!text.is_empty());
    answer["execution_id"].as_str().expect("it has an id")
}

fn registered(reader: &Reader, program: &Program) -> (Api, String) {
    let block = reader
        .seed
        .block("bash", "curl -X POST http://localhost:8000/api/workflows");
    let made = reader.json(program.address(), block);
    assert_eq!(made["name"], "slack_notification", "{made:#}");
    let id = made["id"].as_str().expect("it has an id").to_owned();
    (Api::new(program.address()), id)
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_from_top_to_bottom() {
    let Some(reader) = Reader::new() else {
        return;
    };
    let program = reader.dashboard(None);
    let address = program.address();
    let (api, workflow) = registered(&reader, &program);

    // 3. Its test script, named twice.
    reader.write_test_webhook(address);
    let blocks = reader.seed.blocks("bash");
    let named: Vec<_> = blocks
        .iter()
        .filter(|block| block.trim() == "./test_webhook.sh")
        .collect();
    assert_eq!(named.len(), 2);
    let mut executions = Vec::new();
    for block in named {
        executions.push(is_success(&reader.json(address, block)).to_owned());
    }
    // By hand.
    let manual = reader.json(address, reader.seed.block("bash", "WEBHOOK_URL="));
    executions.push(is_success(&manual).to_owned());
    // Its payload.
    let payload = &reader.seed.json()[0];
    let answer = api.post("/webhooks/generic", payload).await.expect(200);
    executions.push(is_success(&answer).to_owned());

    // 4. The expected output: the event is logged, then a notification is formatted.
    for execution in &executions {
        let shown = api.get(&format!("/api/v1/executions/{execution}")).await;
        let timeline = shown["timeline"].as_array().expect("it has a timeline");
        let nodes: Vec<_> = timeline.iter().map(|step| &step["node"]).collect();
        assert_eq!(nodes, ["log_event", "format_notification"], "{shown:#}");
        assert_eq!(
            (&shown["state"], &shown["offline"]),
            (&json!("completed"), &json!(true))
        );
    }
    assert_eq!(executions_of(&api, &workflow).await, executions.len());

    // Troubleshooting.
    let list = reader
        .seed
        .block("bash", "curl http://localhost:8000/api/workflows");
    let listed = reader.json(address, list);
    assert_eq!(listed[0]["name"], "slack_notification", "{listed:#}");
    let usage = reader
        .seed
        .block("bash", "curl http://localhost:8000/webhooks/generic");
    assert_eq!(reader.json(address, usage)["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_logs_follow_what_happens() {
    let Some(reader) = Reader::new() else {
        return;
    };
    let program = reader.dashboard(None);
    let (api, _) = registered(&reader, &program);
    let receiver = Receiver::ok().await;
    Subscriber::create(&api, &receiver.url(), &json!({})).await;
    let line = reader
        .seed
        .block("bash", "configurable-agents logs --follow");
    let mut command = reader.shell(&format!("exec {line}"));
    command.env("SIGNPOST_URL", program.address());
    let (mut logs, _first, log) = spawn(&mut command);
    let shown = async {
        // It says nothing until something happens, so it is told until it has heard.
        while !log.text().contains("workflow.completed") {
            assert!(publish(&api, "samples.payload", "{}").await);
            let sent = api.post("/webhooks/generic", &reader.seed.json()[0]).await;
            is_success(&sent.expect(200));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_mins(1), shown).await;
    let _ = logs.kill();
    let _ = logs.wait();
    assert!(seen.is_ok(), "it printed {}", log.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_python_sender_is_verified_retries_and_unsigned_is_refused() {
    let (Some(reader), Some(runtimes)) = (Reader::new(), Runtimes::find()) else {
        return;
    };
    let Some(secret) = made_secret(&reader) else {
        return;
    };
    let program = reader.dashboard(Some(&secret));
    let (api, workflow) = registered(&reader, &program);
    let files = Extracted::new();
    let sender = files.file("sender.py", reader.seed.block("python", "def send_webhook"));
    let retry = files.file("retry.py", reader.seed.block("python", "HTTPAdapter"));
    let door = format!("{}/webhooks/generic", program.address());
    let payload = &reader.seed.json()[0];
    let mut hard = payload.clone();
    hard["inputs"]["message"] = json!("Ünïcode ☃ 🦀 \"quotes\"\n");
    let send = |payload: &Value, secret: &str| json!({ "url": door, "payload": payload, "secret": secret });
    let task = json!({
        "blocks": [sender, retry],
        "names": {},
        "sends": [send(payload, &secret), send(&hard, &secret), send(payload, "another")],
        "gets": [door],
    });
    let answers = python(&runtimes, &task);
    let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 401, 200], "{answers:?}");
    is_success(&answers[0].1);
    is_success(&answers[1].1);
    assert_eq!(answers[3].1["signature"], "required");

    // Unsigned: the document's own curl line. Tampered: a true signature, another body.
    let refused = reader.json(program.address(), reader.seed.block("bash", "WEBHOOK_URL="));
    assert_eq!(refused["status"], 401, "{refused:#}");
    let body = payload.to_string();
    let signature = harness::workflows::hex256(&secret, body.as_bytes());
    let signed = headers(&[
        ("content-type", "application/json"),
        ("x-webhook-signature", &signature),
    ]);
    let tampered = body.replace("#alerts", "#secret");
    assert_ne!(body, tampered);
    let answer = api.post_copy("/webhooks/generic", &signed, tampered).await;
    answer.expect(401);
    api.post_copy("/webhooks/generic", &signed, body)
        .await
        .expect(200);
    assert_eq!(executions_of(&api, &workflow).await, 3);
    assert!(!program.log().contains(&secret), "the secret is in the log");
}

/// The document's way of making a secret, its file elsewhere; `None` (which is said) where its
/// tool is not installed.
fn made_secret(reader: &Reader) -> Option<String> {
    let has_openssl = Path::new("/usr/bin/openssl").exists();
    if !has_openssl {
        eprintln!("skipped: openssl is not here");
        return None;
    }
    let block = reader.seed.block("bash", "openssl rand -hex 32");
    let block = block.replace("/etc/webhook-secret", "./webhook-secret");
    let secret = reader.run("", &format!("{block}\nprintf %s \"$WEBHOOK_SECRET\""));
    assert_eq!(secret.len(), 64);
    Some(secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_chains_one_workflow_to_the_next() {
    let (Some(reader), Some(runtimes)) = (Reader::new(), Runtimes::find()) else {
        return;
    };
    let program = reader.dashboard(None);
    let api = Api::new(program.address());
    let first = reader.seed.block("yaml", "first_workflow.yaml");
    fs::write(reader.folder.path().join("first_workflow.yaml"), first)
        .expect("a file can be written");
    let body = json!({ "name": "first_workflow", "config_path": "first_workflow.yaml" });
    api.post("/api/workflows", &body).await.expect(201);
    let second = json!({ "name": "second_workflow", "config": {
        "state": { "type": "object", "properties": { "data": { "type": "string" } } },
        "nodes": [{ "name": "use", "prompt": "Continue with {data}" }],
    }});
    api.post("/api/workflows", &second).await.expect(201);

    let body = json!({ "workflow_name": "first_workflow", "inputs": {} });
    let ended = api.post("/webhooks/generic", &body).await.expect(200);
    let result = &ended["result"];
    assert!(result.is_string(), "{ended:#}");
    let files = Extracted::new();
    let chain = files.file("chain.py", reader.seed.block("python", "second_workflow"));
    let door = format!("{}/webhooks/generic", program.address());
    let task = json!({
        "blocks": [chain],
        "names": { "WEBHOOK_URL": door, "result": result },
        "sends": [], "gets": [],
    });
    let answers = python(&runtimes, &task);
    let (status, answer) = &answers[0];
    assert_eq!(
        (*status, &answer["status"]),
        (200, &json!("success")),
        "{answer:#}"
    );
    let execution = answer["execution_id"].as_str().expect("it has an id");
    let shown = api.get(&format!("/api/v1/executions/{execution}")).await;
    assert_eq!(&shown["input"]["data"], result, "{shown:#}");
}
