//! Python under limits. Says so and passes where there is no `python3`.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use domain::workflow::definition::CodeNode;
use sandbox::{Sandbox, SandboxError, Settings};
use serde_json::{Value, json};

/// Runs each program with the inputs; none if there is no Python.
async fn run(code: &str, inputs: Value) -> Option<Result<Value, SandboxError>> {
    let sandbox = Sandbox::new(Settings {
        program: env!("CARGO_BIN_EXE_sandbox-worker").into(),
        python: true,
    });
    let node = CodeNode {
        code: code.to_owned(),
        output: None,
        network: false,
        memory_mib: 128,
        cpu_ms: 1_000,
    };
    match sandbox.python(&node, &inputs).await {
        Err(SandboxError::Unavailable(why)) if why.contains("python3") => {
            println!("skipped: {why}");
            None
        }
        other => Some(other),
    }
}

#[tokio::test]
async fn inputs_go_in_and_the_result_comes_out() {
    for (code, result) in [
        ("result = sum(inputs.get('numbers', []))", json!(6)),
        (
            "print('noise')\nresult = {'é': [x > 1 for x in inputs['numbers']]}",
            json!({"é": [false, true, true]}),
        ),
        (
            "import math, datetime, re, collections\nresult = math.floor(2.5)",
            json!(2),
        ),
        (
            "with open('own', 'w') as f:\n  f.write('x')\nresult = open('own').read()",
            json!("x"),
        ),
        (
            "import os\nresult = dict(os.environ) == {} or list(os.environ)",
            json!(true),
        ),
    ] {
        let Some(given) = run(code, json!({"numbers": [1, 2, 3]})).await else {
            return;
        };
        // C's locale may be set by the interpreter itself.
        let own = json!(["LC_CTYPE"]);
        assert!(given == Ok(result) || given == Ok(own), "{code}: {given:?}");
    }
}

#[tokio::test]
async fn what_the_code_does_wrong_is_told_with_its_line() {
    for (code, says) in [
        ("x = 1\nresult = x +", "line 2: SyntaxError"),
        ("\n\nresult = inputs['no']", "line 3: KeyError"),
        ("def f():\n  return 1 / 0\nf()", "line 2: ZeroDivisionError"),
        ("x = 1", "must assign `result`"),
        ("result = {1, 2}", "is no JSON"),
        ("result = float('nan')", "is no JSON"),
        (
            "import socket\nsocket.socket()",
            "line 2: PermissionError: this node may not use the network",
        ),
        ("import os\nos.fork()", "line 2: PermissionError"),
        ("import os\nos.system('true')", "line 2: PermissionError"),
        ("import subprocess", "line 1: PermissionError"),
        ("import ctypes", "line 1: PermissionError"),
        ("open('/etc/passwd')", "its own folder only"),
        ("open('../x', 'w')", "its own folder only"),
        ("import os\nos.listdir('/')", "its own folder only"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ] {
        let Some(given) = run(code, json!({})).await else {
            return;
        };
        match given {
            Err(SandboxError::Failed(said)) => assert!(said.contains(says), "{code}: {said}"),
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn overruns_are_stopped() {
    for code in [
        "while True: pass",
        "x = 'x' * (1 << 30)",
        "x = []\nwhile True: x.append('x' * 1000000)",
        "result = 'x' * (2 << 20)",
        "import time\ntime.sleep(1000)",
    ] {
        let Some(given) = run(code, json!({})).await else {
            return;
        };
        assert!(
            matches!(given, Err(SandboxError::Limit(_))),
            "{code}: {given:?}"
        );
    }
}
