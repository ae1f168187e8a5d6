//! The receivers and functions that a guide shows take genuine events and refuse forged ones.
//!
//! The receivers of frameworks need what `./test` installs; without it their tests say so and pass.

use std::{
    ffi::OsString,
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Running, Server, blocks, free_port, is_installed, read, signpost};

/// What signs in the tests of receivers.
const SECRET: &str = "whsec_c2lnbnBvc3QgZ3VpZGVzLCBub3Qgc2VjcmV0";
/// The guide whose code these tests run.
const RECEIVING: &str = "docs/guides/receiving-and-verifying.md";

/// Writes the files that a document shows into `folder`.
fn write_files(document: &str, folder: &Path, port: u16) {
    for (block, _) in blocks(&read(document)) {
        if let Some(file) = block.file() {
            let text = block
                .text
                .replace("listen(3000)", &format!("listen({port})"))
                .replace("port=3000", &format!("port={port}"));
            fs::write(folder.join(file), text).expect("the folder takes files");
        }
    }
}

/// What `./test` names, if it is installed.
fn installed(name: &str) -> Option<OsString> {
    let path = std::env::var_os(name).filter(|path| Path::new(path).exists());
    if path.is_none() {
        eprintln!("skipped: {name} names nothing; ./test installs what it should name");
    }
    path
}

/// Creates a webhook with [`SECRET`] and one with another secret, and tests both: the receiver
/// has to take the first one's event and to refuse the second one's.
fn receiver_is_right(mut receiver: Command) {
    let (folder, port) = (TempDir::new().expect("a folder can be made"), free_port());
    write_files(RECEIVING, folder.path(), port);
    receiver
        .current_dir(folder.path())
        .env("WEBHOOK_SECRET", SECRET)
        .stdout(Stdio::null());
    let mut receiver = Running(receiver.spawn().expect("the receiver starts"));
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = receiver.0.try_wait().expect("it can be asked");
        assert!(ended.is_none(), "the receiver ended: {ended:?}");
        thread::sleep(Duration::from_millis(5));
    }
    let server = Server::start(folder.path());
    let url = format!("http://127.0.0.1:{port}/hook");
    for (secret, code) in [
        (SECRET, 0),
        ("whsec_b3RoZXIgc2VjcmV0IG9mIHRoZSBndWlkZXM=", 1),
    ] {
        let run = |args: &[&str]| {
            signpost(folder.path())
                .args(args)
                .args(["--json", "--server", &server.address])
                .output()
                .expect("the program starts")
        };
        let made = run(&[
            "webhooks", "create", &url, "--events", "*", "--secret", secret,
        ]);
        let made: Value = serde_json::from_slice(&made.stdout).expect("it prints JSON");
        let tested = run(&[
            "webhooks",
            "test",
            made["id"].as_str().expect("it has an id"),
        ]);
        assert_eq!(
            tested.status.code(),
            Some(code),
            "{}",
            String::from_utf8_lossy(&tested.stdout)
        );
        let tested: Value = serde_json::from_slice(&tested.stdout).expect("it prints JSON");
        assert_eq!(tested["statusCode"], if code == 0 { 204 } else { 401 });
    }
}

#[test]
fn the_express_receiver_takes_what_is_genuine_and_nothing_else() {
    if let Some(modules) = installed("SIGNPOST_TEST_NODE_MODULES") {
        let mut node = Command::new("node");
        node.arg("express.js").env("NODE_PATH", modules);
        receiver_is_right(node);
    }
}

#[test]
fn the_flask_receiver_takes_what_is_genuine_and_nothing_else() {
    if let Some(python) = installed("SIGNPOST_TEST_PYTHON") {
        let mut python = Command::new(python);
        python.arg("flask_app.py").stderr(Stdio::null());
        receiver_is_right(python);
    }
}

/// A body, the headers that sign it, and whether the shown functions take it.
fn signed() -> Value {
    let body = r#"{"id":"e1","event":"order.paid","timestamp":"2026-01-31T09:30:00Z","data":{}}"#;
    let output = signpost(Path::new("."))
        .args(["sign", "--json", "--secret", SECRET, "--body", body])
        .output()
        .expect("the program starts");
    let mut signed: Value = serde_json::from_slice(&output.stdout).expect("it prints JSON");
    signed["body"] = body.into();
    signed["secret"] = SECRET.into();
    signed
}

/// Runs `program` with a script's text and [`signed`] as arguments; it has to print this.
fn prints(program: &str, flag: &str, script: &str, expected: &str) {
    if !is_installed(program) {
        eprintln!("skipped: there is no {program}");
        return;
    }
    let folder = TempDir::new().expect("a folder can be made");
    write_files(RECEIVING, folder.path(), 0);
    let output = Command::new(program)
        .args([flag, script, &signed().to_string()])
        .current_dir(folder.path())
        .output()
        .expect("it was there before");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        printed.trim(),
        expected,
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_functions_in_plain_javascript_tell_genuine_from_forged() {
    prints(
        "node",
        "-e",
        r"
const load = (file) => eval(require('node:fs').readFileSync(file, 'utf8') + '; isGenuine');
const { secret, headers, body } = JSON.parse(process.argv[1]);
const [standard, hex] = [load('standard.js'), load('hex.js')];
const [bytes, forged] = [Buffer.from(body), Buffer.from(body + ' ')];
console.log(
  standard(secret, headers, bytes),
  standard(secret, headers, forged),
  standard('whsec_b3RoZXI=', headers, bytes),
  standard(secret, { ...headers, 'webhook-timestamp': '1' }, bytes),
  hex(secret, headers['x-webhook-signature'], bytes),
  hex(secret, headers['x-webhook-signature'], forged),
  hex(secret, undefined, bytes),
);",
        "true false false false true false false",
    );
}

#[test]
fn the_function_in_plain_python_tells_genuine_from_forged() {
    prints(
        "python3",
        "-c",
        r#"
import json, sys
sys.path.insert(0, "")
from hex_check import is_genuine
signed = json.loads(sys.argv[1])
given, body = signed["headers"]["x-webhook-signature"], signed["body"].encode()
print(is_genuine(signed["secret"], given, body), is_genuine(signed["secret"], given, body + b" "))"#,
        "True False",
    );
}
