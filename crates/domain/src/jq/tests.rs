//! What expressions give, which are plain, and which are refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn run_on(text: &str, input: Value) -> Result<Vec<Value>, JqError> {
    Expression::parse(text)?.run(input)
}

#[test]
fn expressions_are_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Expression>();
}

#[test]
fn outputs_keep_order_and_numbers() {
    let input = json!({
        "z": 1, "a": [u64::MAX, i64::MIN, 1.5, 1.0, "é"], "action": "opened", "n": "42",
        "commits": [{"id": "x", "message": "m"}], "head_commit": null,
    });
    for (text, outputs) in [
        (".", vec![input.clone()]),
        (
            ".a[]",
            vec![
                json!(u64::MAX),
                json!(i64::MIN),
                json!(1.5),
                json!(1.0),
                json!("é"),
            ],
        ),
        (
            "{event_type: .action, message: .head_commit.message, n: (.commits | length)}",
            vec![json!({"event_type": "opened", "message": null, "n": 1})],
        ),
        (
            "[.commits[] | {id, m: .message}]",
            vec![json!([{"id": "x", "m": "m"}])],
        ),
        (".action == \"opened\"", vec![json!(true)]),
        (".n | tonumber", vec![json!(42)]),
        ("empty", vec![]),
        ("1, 2", vec![json!(1), json!(2)]),
        (".action | test(\"^op\")", vec![json!(true)]),
        ("0 / 0", vec![json!(null)]),
    ] {
        let given = run_on(text, input.clone()).unwrap();
        assert_eq!(
            serde_json::to_string(&given).unwrap(),
            serde_json::to_string(&outputs).unwrap(),
            "{text}"
        );
    }
}

#[test]
fn what_is_not_offered_is_refused_where_it_stands() {
    for (text, offset, says) in [
        (".a | halt", 5, "not offered"),
        ("halt_error", 0, "not offered"),
        ("$ENV", 0, "not offered"),
        ("env.HOME", 0, "not offered"),
        ("input", 0, "not offered"),
        ("[inputs]", 1, "not offered"),
        ("debug", 0, "not offered"),
        ("debug(1)", 0, "not offered"),
        ("stderr", 0, "not offered"),
        ("now", 0, "not offered"),
        ("localtime", 0, "not offered"),
        ("strflocaltime(\"\")", 0, "not offered"),
        ("input_filename", 0, "not offered"),
        ("$__loc__", 0, "not offered"),
        ("lenght", 0, "did you mean `length`"),
        (".a | (", 6, "expected"),
        ("", 0, "expected"),
    ] {
        let error = Expression::parse(text).unwrap_err();
        assert_eq!(error.offset, Some(offset), "{text}: {error}");
        assert!(error.message.contains(says), "{text}: {error}");
    }
    assert!(Expression::parse("import \"x\" as x; .").is_err());
    for text in [
        "[",
        "(",
        "{a:",
        "-",
        "if . then ",
        "try ",
        "\"\\(",
        "def f: ",
    ] {
        let many = text.repeat(Expression::LEN_MAX / text.len());
        assert!(Expression::parse(&many).is_err(), "{text}");
    }
    assert!(Expression::parse(&" ".repeat(Expression::LEN_MAX + 1)).is_err());
    let long = format!("[{}1]", "1,".repeat(4_000));
    assert!(Expression::parse(&long).is_ok());
}

#[test]
fn what_is_plain() {
    for text in [
        ".",
        "{event_type: .action, message: .head_commit.message, n: (.commits | length)}",
        ".type == \"charge.succeeded\"",
        "[.commits[] | {id, m: .message}]",
        ".commits | map({id, m: .message})",
        "{topic: .state.topic, reply: .input.text, who: .trigger.name}",
        "{state, input}",
        ".a // \"none\"",
        ".amount / 100",
        ".amount * 100",
        ".a - 1",
        "\"\\(.a) of \\(.b)\"",
        "if .a then .b elif .c then 1 else empty end",
        ".event | startswith(\"x\") and (.b | not)",
        ".a? // .b[0] // .c[-1] // .d[1:3]",
        ".text | ascii_downcase | contains(\"x\")",
        "[.a[] | select(.b > 3) | .c]",
        "try error catch .",
        ".items | length > 3",
        "@base64 \"\\(.a)\"",
    ] {
        assert!(Expression::parse(text).unwrap().is_plain(), "{text}");
    }
    let doubled = ["[., .]"; 11].join(" | ");
    let added = [". + ."; 11].join(" | ");
    for text in [
        "def f: f; f",
        "range(10)",
        "[range(1e12)]",
        "reduce .[] as $x (0; . + $x)",
        "foreach .[] as $x (0; .)",
        "repeat(1)",
        "limit(1; .[])",
        "..",
        "walk(.)",
        "[paths]",
        ".a * 2000",
        ".a * .b",
        ".a - .b",
        ".[] + .[]",
        "{a: .[], b: .[]}",
        ". as $x | .[] | $x",
        ".a |= 1",
        "test(\"(a*)*b\")",
        ".[.key]",
        "fromjson",
        doubled.as_str(),
        added.as_str(),
    ] {
        assert!(!Expression::parse(text).unwrap().is_plain(), "{text}");
    }
}

#[test]
fn what_an_expression_reads() {
    let reads = |text: &str| {
        let expression = Expression::parse(text).unwrap();
        let reads = expression.reads()?.iter().map(|keys| keys.join("."));
        Some(reads.collect::<Vec<_>>().join(" "))
    };
    for (text, expected) in [
        (".state.a.b + 1", Some("state.a")),
        ("{x: .state.a, y: (.input | length)}", Some("input state.a")),
        (
            "if .state.go then .trigger.input.a else null end",
            Some("state.go trigger.input"),
        ),
        ("[.state[]]", Some("state")),
        ("{state}", Some("state")),
        ("\"\\(.state.a)!\"", Some("state.a")),
        ("1", Some("")),
        (".", None),
        ("keys", None),
        ("length > 1", None),
        ("if .state then 1 end", None),
        (".[0]", None),
        ("reduce .state[] as $x (0; . + $x)", None),
    ] {
        assert_eq!(reads(text).as_deref(), expected, "{text}");
    }
}

#[test]
fn outputs_are_capped() {
    let error = run_on("range(2000)", Value::Null).unwrap_err();
    assert!(error.message.contains("1000 outputs"), "{error}");
    let error = run_on("\"x\" * 5000000", Value::Null).unwrap_err();
    assert!(error.message.contains("4 MiB"), "{error}");
    let error = run_on("{(0 | tostring): 1} | error", Value::Null).unwrap_err();
    assert!(error.message.contains('0'), "{error}");
    let error = run_on(".a | error", json!({"a": "x".repeat(10_000)})).unwrap_err();
    assert!(error.message.len() < 400);
}

#[test]
#[ignore = "a measurement: prints microseconds"]
fn how_long_a_plain_expression_takes() {
    let text = "{event_type: .action, message: .head_commit.message, n: (.commits | length)}";
    let expression = Expression::parse(text).unwrap();
    let input = json!({
        "action": "opened", "head_commit": {"message": "m"}, "commits": [1, 2],
        "repository": {"name": "r", "owner": {"login": "l", "id": 7}},
    });
    let began = std::time::Instant::now();
    for _ in 0..100_000 {
        std::hint::black_box(expression.run(input.clone()).unwrap());
    }
    println!("{} ns each", began.elapsed().as_nanos() / 100_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_text_is_read_without_panic(text in "[.a-c0-9 ()'\"!<>=&|\\[\\]{}:,$@-]{0,40}|\\PC*") {
        if let Ok(expression) = Expression::parse(&text) && expression.is_plain() {
            let _ = expression.run(json!({"a": [1, "b"], "b": {"c": null}}));
        }
    }
}
