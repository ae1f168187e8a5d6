//! What is refused, and what the errors say.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use domain::json::{JsonError, Limits, Numbers, Unsafe, canonicalize};

fn canonical(input: &str, numbers: Numbers) -> Result<String, JsonError> {
    let canonical = canonicalize(input.as_bytes(), numbers, &Limits::default())?;
    Ok(canonical.as_str().to_owned())
}

fn refusal(input: &str) -> JsonError {
    canonical(input, Numbers::Exact).unwrap_err()
}

#[test]
fn a_number_that_a_double_cannot_carry_is_refused_by_its_path() {
    let many_digits = "123456789".repeat(30);
    let cases = [
        ("9007199254740993", "", Unsafe::Integer),
        ("[1,-9007199254740993]", "[1]", Unsafe::Integer),
        ("[12345678901234567890]", "[0]", Unsafe::Integer),
        (&many_digits, "", Unsafe::Integer),
        (
            r#"{"a":{"b":[0,[],{"c":1e309}]}}"#,
            "a.b[2].c",
            Unsafe::Overflow,
        ),
        (r#"[{"x":1},{"id":-1e400}]"#, "[1].id", Unsafe::Overflow),
        (
            r#" { "a,b" : [ "[{,", { "c\"d" : 1 , "\u00e9" : 1E999 } ] }"#,
            "[\"a,b\"][1][\"\u{e9}\"]",
            Unsafe::Overflow,
        ),
        (
            r#"{"":{"x-y_$9":1e309}}"#,
            r#"[""].x-y_$9"#,
            Unsafe::Overflow,
        ),
        (
            r#"{"a":[{"k":[]},{"k":{}}],"b":9007199254740993}"#,
            "b",
            Unsafe::Integer,
        ),
    ];
    for (input, expected, expected_why) in cases {
        let JsonError::UnsafeNumber { path, why, .. } = refusal(input) else {
            panic!("{input}");
        };
        assert_eq!((path.as_str(), why), (expected, expected_why), "{input}");
        assert!(canonical(input, Numbers::Verbatim).is_ok(), "{input}");
    }
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", "not JSON at line 1, column 1: expected a value"),
        (
            "\u{feff}1",
            "not JSON at line 1, column 1: expected a value",
        ),
        (
            "[1,\n  2,]",
            "not JSON at line 2, column 5: expected a value",
        ),
        (
            "{\"\u{e9}\u{e9}\":tru}",
            "not JSON at line 1, column 7: expected a value",
        ),
        ("{,}", "not JSON at line 1, column 2: expected a key or `}`"),
        (
            r#"{"a":1,}"#,
            "not JSON at line 1, column 8: expected a key",
        ),
        (r#"{"a" 1}"#, "not JSON at line 1, column 6: expected `:`"),
        (
            r#"{"a":1 "b"}"#,
            "not JSON at line 1, column 8: expected `,` or `}`",
        ),
        ("[1 2]", "not JSON at line 1, column 4: expected `,` or `]`"),
        ("[1", "not JSON at line 1, column 3: expected `,` or `]`"),
        (
            "\"ab",
            "not JSON at line 1, column 4: expected `\"` at the end of the string",
        ),
        (
            "\"a\tb\"",
            "not JSON at line 1, column 3: expected no unescaped control character in a string",
        ),
        (
            r#""\x""#,
            "not JSON at line 1, column 2: expected an escape (one of `\"\\/bfnrtu` after `\\`)",
        ),
        (
            r#""\u12g4""#,
            "not JSON at line 1, column 2: expected four hex digits after `\\u`",
        ),
        (
            "[01]",
            "not JSON at line 1, column 3: expected no digit after a leading 0",
        ),
        ("-", "not JSON at line 1, column 2: expected a digit"),
        (
            "{} x",
            "something follows the end of the JSON value at byte 3",
        ),
        (
            "1 2",
            "something follows the end of the JSON value at byte 2",
        ),
        (
            r#"{"data":{"id":9007199254740993}}"#,
            "data.id is 9007199254740993, an integer that a double cannot hold exactly",
        ),
        (
            "1e999",
            "the outermost value is 1e999, beyond the largest double",
        ),
    ];
    for (input, expected) in cases {
        assert_eq!(refusal(input).to_string(), expected, "{input}");
    }
    let long = refusal(&"7".repeat(100)).to_string();
    assert!(long.contains(&format!("is {}…,", "7".repeat(40))), "{long}");
}

#[test]
fn a_path_continues_that_of_the_part_it_is_in() {
    let within = |input: &str, prefix: &str| {
        let error = refusal(input).within(prefix);
        error.path().unwrap().to_owned()
    };
    assert_eq!(within(r#"{"a":1e999}"#, "data"), "data.a");
    assert_eq!(
        within("[[1e999]]", "events[12].data"),
        "events[12].data[0][0]"
    );
    assert_eq!(within("1e999", "data"), "data");
    assert_eq!(within(r#"{"a":1e999}"#, ""), "a");
    let syntax = refusal("[").within("data");
    assert_eq!(syntax.path(), None);
    assert_eq!(syntax, refusal("["));
}

#[test]
fn limits_hold() {
    let limits = Limits {
        depth_max: 3,
        bytes_max: 20,
    };
    let run = |input: &str| canonicalize(input.as_bytes(), Numbers::Exact, &limits);
    assert!(run(r#"[{"a":[1]}]"#).is_ok());
    assert_eq!(
        run(r#"[0,{"a":[1,[]]}]"#).unwrap_err(),
        JsonError::TooDeep {
            path: "[1].a[1]".to_owned(),
            depth_max: 3
        }
    );
    assert!(
        run(&" ".repeat(20))
            .unwrap_err()
            .to_string()
            .contains("column 21")
    );
    assert_eq!(
        run(&" ".repeat(21)).unwrap_err(),
        JsonError::TooLarge {
            bytes: 21,
            bytes_max: 20
        }
    );
    let scalars_only = Limits {
        depth_max: 0,
        bytes_max: 20,
    };
    assert!(canonicalize(b"1", Numbers::Exact, &scalars_only).is_ok());
    assert!(canonicalize(b"[]", Numbers::Exact, &scalars_only).is_err());
}

#[test]
fn no_depth_overflows_the_stack() {
    let limits = Limits {
        depth_max: usize::MAX,
        bytes_max: usize::MAX,
    };
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let run = |input: &str| canonicalize(input.as_bytes(), Numbers::Exact, &limits);
    assert!(run(&nested(1024)).is_ok());
    assert!(matches!(
        run(&nested(1025)),
        Err(JsonError::TooDeep {
            depth_max: 1024,
            ..
        })
    ));
    assert!(matches!(
        run(&"[".repeat(1_000_000)),
        Err(JsonError::TooDeep { .. })
    ));
    let objects = r#"{"b":0,"1":"#.repeat(1000) + "1" + &"}".repeat(1000);
    let expected = r#"{"1":"#.repeat(1000) + "1" + &r#","b":0}"#.repeat(1000);
    assert_eq!(run(&objects).unwrap().as_str(), expected);
}
