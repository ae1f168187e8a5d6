//! Expressions in worker processes: every kind of overrun is an error, and the next one works.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use domain::jq::Expression;
use sandbox::{Sandbox, SandboxError, Settings};
use serde_json::{Value, json};

fn sandbox() -> Sandbox {
    Sandbox::new(Settings {
        program: env!("CARGO_BIN_EXE_sandbox-worker").into(),
        python: true,
    })
}

async fn run(sandbox: &Sandbox, text: &str, input: Value) -> Result<Vec<Value>, SandboxError> {
    sandbox.jq(&Expression::parse(text).unwrap(), input).await
}

#[tokio::test]
async fn what_ends_gives_its_outputs() {
    let sandbox = sandbox();
    for (text, outputs) in [
        (".a", vec![json!([1, 2])]),
        ("reduce .a[] as $x (0; . + $x)", vec![json!(3)]),
        ("range(3)", vec![json!(0), json!(1), json!(2)]),
        ("[.a[] as $x | $x * 2]", vec![json!([2, 4])]),
    ] {
        let given = run(&sandbox, text, json!({"a": [1, 2]})).await;
        assert_eq!(given, Ok(outputs), "{text}");
    }
    let large = json!({"text": "x".repeat(1 << 20)});
    assert_eq!(
        run(&sandbox, ".text | length", large).await,
        Ok(vec![json!(1 << 20)])
    );
    let failed = run(&sandbox, "limit(1; error(\"mine\"))", Value::Null).await;
    assert_eq!(failed, Err(SandboxError::Failed("mine".to_owned())));
}

#[tokio::test]
async fn every_overrun_is_an_error_and_the_next_evaluation_works() {
    let sandbox = sandbox();
    for text in [
        "def f: f; f",
        "def f: 1 + f; f",
        "def f: [f]; f",
        "[range(1e12)]",
        "reduce range(60) as $i (\"x\"; . + .)",
        "reduce range(1000000) as $i (0; [.])",
        "[repeat(1)]",
        "repeat(1)",
        "last(repeat(1))",
        "\"x\" * 1000000000",
        "[limit(100000000; repeat(\"x\"))]",
        "(\"a\" * 30) | test(\"(a{1,1000}){1,1000}{1,1000}b\")",
        "(\"a\" * 40) | test(\"^(a+)+$|(((a*)*)*)*c\") | until(false; .)",
    ] {
        let error = run(&sandbox, text, json!({})).await.unwrap_err();
        assert!(
            !matches!(error, SandboxError::Unavailable(_)),
            "{text}: {error}"
        );
        let next = run(&sandbox, "reduce range(4) as $x (0; . + $x)", json!({})).await;
        assert_eq!(next, Ok(vec![json!(6)]), "after {text}");
    }
}

#[tokio::test]
async fn a_missing_program_is_named_as_that() {
    let sandbox = Sandbox::new(Settings {
        program: "/nowhere/signpost".into(),
        python: true,
    });
    let error = run(&sandbox, "range(1)", Value::Null).await.unwrap_err();
    assert!(matches!(error, SandboxError::Unavailable(_)), "{error}");
}
