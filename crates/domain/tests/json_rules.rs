//! The rules of the canonical form, one table each.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use domain::json::{
    JsonError, Kind, Limits, Numbers, append, canonicalize, is_canonical, snake_case_keys,
    write_integer, write_number, write_string,
};

fn canonical(input: &str, numbers: Numbers) -> Result<String, JsonError> {
    let canonical = canonicalize(input.as_bytes(), numbers, &Limits::default())?;
    Ok(canonical.as_str().to_owned())
}

fn assert_exact(cases: &[(&str, &str)]) {
    for (input, expected) in cases {
        let result = canonical(input, Numbers::Exact);
        assert_eq!(result.as_deref(), Ok(*expected), "{input}");
        assert!(is_canonical(expected.as_bytes()), "{expected}");
    }
}

#[test]
fn whitespace_goes() {
    assert_exact(&[
        (" \t\r\n{ } \n", "{}"),
        ("[ ]", "[]"),
        (
            "{ \"a\" : [ 1 , 2 ,{ } ] , \"b\" : null }",
            r#"{"a":[1,2,{}],"b":null}"#,
        ),
        ("[true ,false\t, null]", "[true,false,null]"),
        ("\n7\n", "7"),
    ]);
}

#[test]
fn array_indices_come_first_and_ascend() {
    assert_exact(&[
        (
            r#"{"b":1,"2":2,"a":3,"1":4}"#,
            r#"{"1":4,"2":2,"b":1,"a":3}"#,
        ),
        (r#"{"1":1,"2":2,"b":3}"#, r#"{"1":1,"2":2,"b":3}"#),
        (
            r#"{"4294967295":1,"4294967294":2}"#,
            r#"{"4294967294":2,"4294967295":1}"#,
        ),
        (
            r#"{"01":1,"-1":2,"1.0":3,"0":4}"#,
            r#"{"0":4,"01":1,"-1":2,"1.0":3}"#,
        ),
        (r#"{"b":1,"\u0031":2}"#, r#"{"1":2,"b":1}"#),
        (r#"{"99999999999":1,"3":2}"#, r#"{"3":2,"99999999999":1}"#),
        (
            r#"[{"z":{"y":1,"0":[]},"0":{"b":{"k":0,"7":1},"1":""}}]"#,
            r#"[{"0":{"1":"","b":{"7":1,"k":0}},"z":{"0":[],"y":1}}]"#,
        ),
        (r#"{"10":0,"9":0,"":0}"#, r#"{"9":0,"10":0,"":0}"#),
        (r#"{"":0,"9":0}"#, r#"{"9":0,"":0}"#),
    ]);
}

#[test]
fn a_repeated_key_keeps_its_place_and_takes_the_last_value() {
    assert_exact(&[
        (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
        (r#"{"a":1,"\u0061":2}"#, r#"{"a":2}"#),
        (r#"{"a":{"x":1},"a":{"y":2,"y":3},"a":[]}"#, r#"{"a":[]}"#),
        (
            r#"{"b":0,"1":1,"a":2,"1":3,"0":4}"#,
            r#"{"0":4,"1":3,"b":0,"a":2}"#,
        ),
        (
            r#"{"long key one":1,"long key two":2,"long key one":3}"#,
            r#"{"long key one":3,"long key two":2}"#,
        ),
        ("{\"\\ud800\":1,\"\\ud800\":2}", "{\"\\ud800\":2}"),
        (
            "{\"\\u00e9\":1,\"\u{e9}\":2,\"x\":3}",
            "{\"\u{e9}\":2,\"x\":3}",
        ),
        // As an own property: JSON.parse defines it and does not set the prototype.
        (
            r#"{"__proto__":1,"a":2,"__proto__":{"b":3}}"#,
            r#"{"__proto__":{"b":3},"a":2}"#,
        ),
        (
            r#"{"constructor":1,"toJSON":2}"#,
            r#"{"constructor":1,"toJSON":2}"#,
        ),
    ]);
}

/// Keys made to look alike to a cheap comparison: the same length, beginning and end.
#[test]
fn keys_that_differ_only_in_the_middle_are_different() {
    let key = |middle: usize| format!("\"beginning-{middle:08}-the-end\"");
    for count in [2, 10, 64, 65, 66, 1000] {
        let text = |range: std::ops::Range<usize>| {
            let members: Vec<String> = range.map(|i| format!("{}:{i}", key(i))).collect();
            members.join(",")
        };
        let distinct = format!("{{{}}}", text(0..count));
        assert_exact(&[(&distinct, &distinct)]);
        let repeated = format!("{{{},{}:true}}", text(0..count), key(count / 2));
        let position = format!("{}:{}", key(count / 2), count / 2);
        let expected = distinct.replace(&position, &format!("{}:true", key(count / 2)));
        assert_exact(&[(&repeated, &expected)]);
    }
}

#[test]
fn a_repeated_key_is_found_among_any_number() {
    for count in [1, 2, 62, 63, 64, 65, 66, 130] {
        for repeated in [0, count / 2, count - 1] {
            let text = |value: &dyn Fn(usize) -> String| {
                let members: Vec<String> = (0..count)
                    .map(|i| format!("\"k{i}\":{}", value(i)))
                    .collect();
                members.join(",")
            };
            let input = format!("{{{},\"k{repeated}\":true}}", text(&|i| i.to_string()));
            let once = |i: usize| {
                if i == repeated {
                    "true".to_owned()
                } else {
                    i.to_string()
                }
            };
            assert_exact(&[(&input, &format!("{{{}}}", text(&once)))]);
        }
    }
}

/// Quadratic work would be 10^10 steps here, and this test would not end.
#[test]
fn a_hundred_thousand_keys_are_put_in_order() {
    const COUNT: usize = 100_000;
    let limits = Limits {
        bytes_max: 1 << 24,
        ..Limits::default()
    };
    let object = |keys: &mut dyn Iterator<Item = String>| {
        let members: Vec<String> = keys.map(|key| format!("\"{key}\":0")).collect();
        format!("{{{}}}", members.join(","))
    };
    let exact = |input: &str| {
        let canonical = canonicalize(input.as_bytes(), Numbers::Exact, &limits).unwrap();
        canonical.as_str().to_owned()
    };
    let named = object(&mut (0..COUNT).map(|i| format!("same-beginning-{i:06}-same-end")));
    assert!(exact(&named) == named);
    let twice = object(&mut (0..2 * COUNT).map(|i| format!("key-{:06}", i % COUNT)));
    let once = object(&mut (0..COUNT).map(|i| format!("key-{i:06}")));
    assert!(exact(&twice) == once);
    let descending = object(&mut (0..COUNT).rev().map(|i| i.to_string()));
    let ascending = object(&mut (0..COUNT).map(|i| i.to_string()));
    assert!(exact(&descending) == ascending);
    let same = object(&mut (0..COUNT).map(|_| "k".to_owned()));
    assert!(exact(&same) == r#"{"k":0}"#);
}

#[test]
fn strings_escape_only_what_they_must() {
    assert_exact(&[
        (r#""\/\u002f/""#, r#""///""#),
        (
            r#""\u0008\u0009\u000A\u000C\u000D\u0022\u005C""#,
            r#""\b\t\n\f\r\"\\""#,
        ),
        (
            r#""\u0000\u001F\u007f\u001f""#,
            "\"\\u0000\\u001f\u{7f}\\u001f\"",
        ),
        (r#""\u00e9\u4F60\u2028""#, "\"\u{e9}\u{4f60}\u{2028}\""),
        (r#""\uD83D\uDE00""#, "\"\u{1f600}\""),
        (r#""\uD83D""#, r#""\ud83d""#),
        (r#""\uDE00\uD83D\u0041""#, r#""\ude00\ud83dA""#),
        (r#""\uD83D\uD83D\uDE00""#, "\"\\ud83d\u{1f600}\""),
        (r#""\uD83D\n\uDE00""#, r#""\ud83d\n\ude00""#),
        (r#""\uD83Dx""#, r#""\ud83dx""#),
        (
            r#"["a long plain string, then \u00e9 and more","b"]"#,
            "[\"a long plain string, then \u{e9} and more\",\"b\"]",
        ),
    ]);
}

/// Every byte at every place of the eight that are looked at together.
#[test]
fn the_end_of_plain_text_is_found_at_every_alignment() {
    for length in 0..20 {
        for at in 0..length {
            for byte in 0..=0x7f_u8 {
                let mut content = vec![b'x'; length];
                content[at] = byte;
                let input = [b"\"".as_slice(), &content, b"\""].concat();
                let result = canonicalize(&input, Numbers::Exact, &Limits::default());
                let plain = byte >= 0x20 && byte != b'"' && byte != b'\\';
                assert_eq!(result.is_ok() && is_canonical(&input), plain, "{input:?}");

                let mut written = Vec::new();
                write_string(std::str::from_utf8(&content).unwrap(), &mut written);
                assert_eq!(written == input, plain, "{input:?}");
                let read: String = serde_json::from_slice(&written).unwrap();
                assert_eq!(read.as_bytes(), content);
            }
        }
    }
}

#[test]
fn numbers_are_printed_as_javascript_does() {
    assert_exact(&[
        ("-0", "0"),
        ("-0.0", "0"),
        ("0.00000000000000000", "0"),
        ("-0e5", "0"),
        ("0e99999999999999999999", "0"),
        ("1.0", "1"),
        ("-1.50", "-1.5"),
        ("100", "100"),
        ("10.0", "10"),
        ("0.10", "0.1"),
        ("1E3", "1000"),
        ("0.000001", "0.000001"),
        ("0.0000010", "0.000001"),
        ("0.0000001", "1e-7"),
        ("0.00000012", "1.2e-7"),
        ("-0.0000001", "-1e-7"),
        ("1e21", "1e+21"),
        ("123e-20", "1.23e-18"),
        ("5e-324", "5e-324"),
        ("1e-400", "0"),
        ("-1e-400", "0"),
        ("0.1234567890123456789", "0.12345678901234568"),
        ("0.30000000000000004", "0.30000000000000004"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("9007199254740991", "9007199254740991"),
        ("-9007199254740992", "-9007199254740992"),
        ("9007199254740993.0", "9007199254740992"),
        ("100000000000000000000", "100000000000000000000"),
        ("1000000000000000000000", "1e+21"),
        ("35660868323851848", "35660868323851850"),
    ]);
}

#[test]
fn verbatim_keeps_every_digit_but_not_bad_syntax() {
    let cases = [
        ("[ 1.0, -0, 1E+5, 1e309 ]", "[1.0,-0,1E+5,1e309]"),
        (
            r#"{"b": 9007199254740993, "1": 0.10}"#,
            r#"{"1":0.10,"b":9007199254740993}"#,
        ),
    ];
    for (input, expected) in cases {
        let result = canonical(input, Numbers::Verbatim);
        assert_eq!(result.as_deref(), Ok(expected));
    }
    for input in [
        "01", "-", "1.", ".5", "+1", "1e", "0x1", "1e+", "-01", "NaN", "Infinity",
    ] {
        assert!(canonical(input, Numbers::Verbatim).is_err(), "{input}");
    }
}

#[test]
fn javascript_loses_what_javascript_loses() {
    let input = "[9007199254740993, 1e309, -1e309, -9007199254740993, 12345678901234567890]";
    assert_eq!(
        canonical(input, Numbers::JavaScript).unwrap(),
        "[9007199254740992,null,null,-9007199254740992,12345678901234567000]"
    );
}

#[test]
fn appending_leaves_what_was_there() {
    let limits = Limits::default();
    let mut out = br#"{"data":"#.to_vec();
    let kind = append(
        br#" {"b":1.0, "1":[ ]} "#,
        Numbers::Exact,
        &limits,
        &mut out,
    )
    .unwrap();
    assert_eq!(kind, Kind::Object);
    out.push(b'}');
    assert_eq!(out, br#"{"data":{"1":[],"b":1}}"#);
    for bad in ["[1 , 2", "{} 1", "[ 1.0, 1e999]"] {
        append(bad.as_bytes(), Numbers::Exact, &limits, &mut out).unwrap_err();
        assert_eq!(out, br#"{"data":{"1":[],"b":1}}"#);
    }
}

#[test]
fn canonical_text_knows_its_kind_and_hides_its_content() {
    let cases = [
        ("{}", Kind::Object),
        ("[]", Kind::Array),
        ("\"s\"", Kind::String),
        ("-1", Kind::Number),
        ("false", Kind::Boolean),
        ("null", Kind::Null),
    ];
    for (input, kind) in cases {
        let value = canonicalize(input.as_bytes(), Numbers::Exact, &Limits::default()).unwrap();
        assert_eq!(value.kind(), kind);
        assert_eq!(value.as_bytes(), input.as_bytes());
        let shown = format!("{value:?}");
        assert_eq!(shown, format!("Canonical({kind}, {} bytes)", input.len()));
        assert_eq!(value.into_bytes(), input.as_bytes());
    }
}

#[test]
fn keys_turn_to_snake_case_and_values_stay() {
    let cases = [
        (r#"{"agentId":"agentId"}"#, r#"{"agent_id":"agentId"}"#),
        (
            r#"{"HTTPStatus":1,"userID":2}"#,
            r#"{"http_status":1,"user_id":2}"#,
        ),
        (
            r#"{"AgentName":[{"isActive":true}]}"#,
            r#"{"agent_name":[{"is_active":true}]}"#,
        ),
        (
            r#"{"sha256Sum":1,"http2Server":2,"address1":3}"#,
            r#"{"sha256_sum":1,"http2_server":2,"address1":3}"#,
        ),
        (
            r#"{"agent_Id":1,"_privateKey":2}"#,
            r#"{"agent_id":1,"_private_key":2}"#,
        ),
        // Codes and foreign names are not camelCase.
        (
            r#"{"USD":1,"MAX_SIZE":2,"Content-Type":3,"a.bC":4,"1stItem":5}"#,
            r#"{"USD":1,"MAX_SIZE":2,"Content-Type":3,"a.bC":4,"1stItem":5}"#,
        ),
        (
            r#"{"größeXY":1,"\u0001aB":2}"#,
            r#"{"größeXY":1,"\u0001aB":2}"#,
        ),
        // A name that is taken, before or behind, by an own or by a new one.
        (r#"{"userId":1,"user_id":2}"#, r#"{"userId":1,"user_id":2}"#),
        (r#"{"user_id":1,"userId":2}"#, r#"{"user_id":1,"userId":2}"#),
        (r#"{"userId":1,"userID":2}"#, r#"{"user_id":1,"userID":2}"#),
        (
            r#"{"1":0,"zA":{"yB":{"xC":1e400}},"b":[]}"#,
            r#"{"1":0,"z_a":{"y_b":{"x_c":1e400}},"b":[]}"#,
        ),
        ("[]", "[]"),
        ("not JSON {\"aB\":1}", "not JSON {\"aB\":1}"),
    ];
    for (input, expected) in cases {
        let output = snake_case_keys(input.as_bytes());
        assert_eq!(String::from_utf8(output.clone()).unwrap(), expected);
        assert_eq!(snake_case_keys(&output), output, "{input}");
    }
    let canonical = canonicalize(br#"{"aB":1.0}"#, Numbers::Exact, &Limits::default()).unwrap();
    assert_eq!(canonical.snake_case().as_str(), r#"{"a_b":1}"#);
}

#[test]
fn our_own_numbers_and_strings_are_canonical() {
    let number = |number: f64| {
        let mut out = Vec::new();
        write_number(number, &mut out);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(number(-0.0), "0");
    assert_eq!(number(1e21), "1e+21");
    assert_eq!(number(0.1 + 0.2), "0.30000000000000004");
    assert_eq!(number(f64::NAN), "null");
    assert_eq!(number(f64::NEG_INFINITY), "null");

    let mut out = Vec::new();
    write_integer(-(1 << 53), &mut out);
    assert_eq!(out, b"-9007199254740992");
    out.clear();
    write_string("a\"\\/\n\u{1}\u{7f}\u{2028}é", &mut out);
    assert_eq!(out, "\"a\\\"\\\\/\\n\\u0001\u{7f}\u{2028}é\"".as_bytes());
}

#[test]
#[should_panic(expected = "beyond 2^53")]
fn an_integer_of_ours_that_javascript_would_change_is_a_bug() {
    write_integer((1 << 53) + 1, &mut Vec::new());
}
