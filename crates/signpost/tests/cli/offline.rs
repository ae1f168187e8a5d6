//! What works without a server: signing, verifying, help, completions, and how misuse ends.

use std::process::Stdio;

use serde_json::Value;

use crate::program::{self, command, finish, run};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const BODY: &str = r#"{"id":"evt_1","event":"workflow.completed","data":{"n":1}}"#;

/// The headers that `sign` prints, as `-H` flags.
fn signed(body: &str, at: &str, format: &str) -> Vec<String> {
    let ended = run([
        "sign", "--secret", SECRET, "--body", body, "--at", at, "--format", format, "--json",
    ])
    .expect(0);
    let Value::Object(headers) = ended.json()["headers"].clone() else {
        panic!("no headers")
    };
    headers
        .iter()
        .flat_map(|(name, value)| {
            [
                "-H".to_owned(),
                format!("{name}: {}", value.as_str().unwrap()),
            ]
        })
        .collect()
}

fn verify(body: &str, headers: &[String], more: &[&str]) -> program::Ended {
    let mut command = command();
    command
        .args(["verify", "--secret", SECRET, "--body", body])
        .args(headers)
        .args(more);
    finish(&mut command, "")
}

#[test]
fn what_is_signed_verifies_in_every_format() {
    for format in ["default", "agent-factory", "orchestration", "cloudevents"] {
        let ended = verify(BODY, &signed(BODY, "2s", format), &["--json"]).expect(0);
        assert_eq!(ended.json()["genuine"], true, "{format}: {}", ended.stdout);
        for check in ended.json()["checks"].as_array().unwrap() {
            assert_eq!(check["matches"], true, "{format}: {check}");
        }
    }
}

#[test]
fn a_tampered_body_is_refused_and_so_is_another_secret() {
    let headers = signed(BODY, "2s", "default");
    let ended = verify(&BODY.replace(":1", ":2"), &headers, &[]).expect(1);
    assert!(ended.stdout.contains("not accepted"), "{}", ended.stdout);
    let mut other = command();
    other
        .args(["verify", "--secret", "another-secret", "--body", BODY])
        .args(&headers);
    finish(&mut other, "").expect(1);
}

#[test]
fn an_old_message_is_refused_and_can_be_looked_at_as_of_then() {
    let headers = signed(BODY, "2026-01-31T12:00:00Z", "default");
    let ended = verify(BODY, &headers, &["--now", "2026-01-31T13:00:00Z"]).expect(1);
    insta::assert_snapshot!(ended.stdout, @r"
    ✗ Standard Webhooks (webhook-signature): it was signed 1 h 0 m ago: too old (at most 5 m 0 s are accepted); the signature itself is right
    ✓ hex HMAC-SHA256 (x-webhook-signature): matches
    not accepted
    ");
    verify(BODY, &headers, &["--now", "2026-01-31T12:04:00Z"]).expect(0);
}

#[test]
fn a_signature_is_printed_with_a_line_that_sends_it() {
    let ended = run([
        "sign",
        "--secret",
        SECRET,
        "--body",
        BODY,
        "--at",
        "2026-01-31T12:00:00Z",
        "--url",
        "https://example.com/hook",
    ])
    .expect(0);
    insta::assert_snapshot!(ended.stdout);
}

#[test]
fn secret_and_body_come_from_files_and_standard_input_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let headers = signed(BODY, "2s", "default");
    let mut from_file = command();
    from_file
        .args(["verify", "--body", "-", "--secret-file"])
        .arg(&file)
        .args(&headers);
    finish(&mut from_file, BODY).expect(0);
    let mut from_environment = command();
    from_environment
        .env("SIGNPOST_SECRET", SECRET)
        .args(["verify", "--body", BODY])
        .args(&headers);
    finish(&mut from_environment, "").expect(0);
}

#[test]
fn misuse_ends_with_2_and_says_what_to_do() {
    for args in [
        &["no-such-command"][..],
        &["sign", "--body", "x"],
        &["sign", "--secret", "whsec_!!!!", "--body", "x"],
        &[
            "verify", "--secret", SECRET, "--body", "x", "-H", "no colon",
        ],
        &[
            "verify",
            "--secret",
            SECRET,
            "--body",
            "x",
            "-H",
            "content-type: text/plain",
        ],
        &["events", "send", "a.b", "-d", "{not json"],
        &["events", "list", "--since", "yesterday"],
        &["webhooks", "update", "whk_1"],
        &["replay", "--webhook", "whk_1"],
        &["serve", "--host", "not an address"],
        &["serve", "--log", "a=b=c"],
        &["users", "add", "x", "--server", "nonsense"],
    ] {
        let ended = run(args).expect(2);
        assert!(ended.stdout.is_empty(), "{args:?}: {}", ended.stdout);
        assert!(
            ended.stderr.starts_with("error:"),
            "{args:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn no_server_says_how_to_start_one() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let server = format!("http://127.0.0.1:{port}");
    let ended = run(["webhooks", "list", "--server", &server]).expect(1);
    let text = ended.stderr.replace(&port.to_string(), "PORT");
    insta::assert_snapshot!(text);
    let ended = run(["webhooks", "list", "--server", &server, "--json"]).expect(1);
    let error: Value = serde_json::from_str(&ended.stderr).unwrap();
    assert!(
        error["error"]["try"]
            .as_str()
            .unwrap()
            .contains("signpost serve")
    );
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ended = run(["completions", shell]).expect(0);
        assert!(ended.stdout.contains("rotate-secret"), "{shell}");
    }
}

#[test]
fn the_interface_is_described_without_a_server() {
    let document = run(["openapi"]).expect(0).json();
    assert_eq!(
        document["openapi"].as_str().unwrap().split('.').next(),
        Some("3")
    );
    assert!(document["paths"]["/api/v1/keys"].is_object());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = command()
        .arg("openapi")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn colours_stay_away_from_files() {
    let headers = signed(BODY, "2s", "default");
    let ended = verify(BODY, &headers, &[]).expect(0);
    assert!(!ended.stdout.contains('\u{1b}'), "{:?}", ended.stdout);
}

#[test]
fn version_and_help_are_no_errors() {
    let ended = run(["--version"]).expect(0);
    assert_eq!(
        ended.stdout,
        concat!("signpost ", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert!(
        run(["events", "send", "--help"])
            .expect(0)
            .stdout
            .contains("Examples:")
    );
}

#[cfg(unix)]
#[test]
fn under_its_other_name_it_takes_the_same_lines() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("configurable-agents");
    std::os::unix::fs::symlink(program::PROGRAM, &link).unwrap();
    let mut help = std::process::Command::new(&link);
    let ended = finish(help.env_clear().args(["dashboard", "--help"]), "").expect(0);
    assert!(
        ended.stdout.contains("Usage: configurable-agents serve"),
        "{}",
        ended.stdout
    );
    let mut webhooks = std::process::Command::new(&link);
    let ended = finish(
        webhooks
            .env_clear()
            .args(["webhooks", "--host", "not an address"]),
        "",
    )
    .expect(2);
    assert!(ended.stderr.contains("--host"), "{}", ended.stderr);
}

#[test]
fn a_workflow_file_is_validated_and_its_faults_are_told_with_their_places() {
    let good = "name: w\nnodes: [{name: a, prompt: hello}]\n";
    let ended = finish(command().args(["validate", "-v", "-"]), good).expect(0);
    assert!(
        ended.stdout.contains("node a (llm), line 2"),
        "{}",
        ended.stdout
    );
    let bad = "name: w\nnods: []\n";
    let ended = finish(command().args(["validate", "-"]), bad).expect(1);
    insta::assert_snapshot!(ended.stdout, @r"
    <input>:2:1: error[key.unknown]: there is no key `nods` here
      |
    2 | nods: []
      | ^^^^
      = help: did you mean `nodes`?

    ✗ <input>: 1 error
    ");
    let ended = finish(command().args(["validate", "-", "--json"]), bad).expect(1);
    let found = &ended.json()["files"][0]["diagnostics"][0];
    assert_eq!(
        (&found["line"], &found["code"]),
        (&2.into(), &"key.unknown".into())
    );
    run(["validate", "/nowhere.yaml"]).expect(2);
    let schema = run(["schema"]).expect(0).json();
    assert!(schema["properties"]["nodes"].is_object());
}
