//! The canonical form against recorded inputs and outputs. Each test is skipped, saying so, where
//! the corpora are not beside the project.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::{Path, PathBuf};

use domain::json::{
    JsonError, Limits, Numbers, Unsafe, canonicalize, is_canonical, members, write_string,
};
use serde_json::Value;

fn corpus(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/corpora"
    ))
    .join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: no corpus {name}");
    None
}

/// The members of interest of each line. Others may hold half a surrogate pair, which `serde_json`
/// cannot read, so the lines are split by the code under test.
fn lines(path: &Path, names: &[&str]) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    let read = |line: &str| {
        let members = members(line.as_bytes(), &Limits::default()).unwrap();
        let value = |name: &str| -> Value {
            serde_json::from_slice(members.get(name).unwrap_or(b"null")).unwrap()
        };
        names
            .iter()
            .map(|name| ((*name).to_owned(), value(name)))
            .collect()
    };
    let lines: Vec<Value> = text.lines().map(read).collect();
    assert!(lines.len() > 100, "{} is nearly empty", path.display());
    lines
}

fn canonical(input: &str, numbers: Numbers) -> Result<String, JsonError> {
    let canonical = canonicalize(input.as_bytes(), numbers, &Limits::default())?;
    Ok(canonical.as_str().to_owned())
}

fn exact(input: &str) -> Result<String, JsonError> {
    canonical(input, Numbers::Exact)
}

#[test]
fn every_vector_comes_out_as_node_prints_it() {
    let Some(path) = corpus("json-canonical/vectors.jsonl") else {
        return;
    };
    for vector in lines(&path, &["id", "in", "js"]) {
        let id = vector["id"].as_str().unwrap();
        let input = vector["in"].as_str().unwrap();
        let result = canonical(input, Numbers::JavaScript);
        let Some(js) = vector["js"].as_str() else {
            let syntax = matches!(result, Err(JsonError::Syntax { .. }));
            assert!(syntax, "{id}: {input} gave {result:?}");
            continue;
        };
        assert_eq!(result.as_deref(), Ok(js), "{id}: {input}");
        assert!(is_canonical(js.as_bytes()), "{id} is no fixed point");
        assert_eq!(is_canonical(input.as_bytes()), js == input, "{id}");
    }
}

#[test]
fn exactly_the_vectors_whose_numbers_are_lost_are_refused() {
    let Some(path) = corpus("json-canonical/vectors.jsonl") else {
        return;
    };
    let mut refused = 0;
    for vector in lines(&path, &["id", "in", "js", "lossy"]) {
        let id = vector["id"].as_str().unwrap();
        let input = vector["in"].as_str().unwrap();
        let Some(js) = vector["js"].as_str() else {
            continue;
        };
        let flags = vector["lossy"].as_array().unwrap();
        let lost = flags.iter().find_map(|flag| match flag.as_str() {
            Some("int>2^53") => Some(Unsafe::Integer),
            Some("overflow") => Some(Unsafe::Overflow),
            _ => None,
        });
        match (exact(input), lost) {
            (Err(JsonError::UnsafeNumber { why, .. }), Some(lost)) => {
                assert_eq!(why, lost, "{id}: {input}");
                refused += 1;
            }
            (result, None) => assert_eq!(result.as_deref(), Ok(js), "{id}: {input}"),
            (result, lost) => panic!("{id}: {input} is {lost:?} and gave {result:?}"),
        }
    }
    assert!(refused > 10);
}

#[test]
fn outgoing_bodies_are_what_a_javascript_receiver_signs() {
    let Some(path) = corpus("signatures/outbound-js.jsonl") else {
        return;
    };
    for line in lines(&path, &["payload", "wire_body"]) {
        let payload = line["payload"].as_str().unwrap();
        let wire_body = line["wire_body"].as_str().unwrap();
        assert_eq!(exact(payload).as_deref(), Ok(wire_body), "{payload}");
    }
}

#[test]
fn the_parsing_suite_is_accepted_and_refused_as_its_names_say() {
    let Some(path) = corpus("json-test-suite/parsing") else {
        return;
    };
    let mut seen = 0;
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let input = fs::read(&path).unwrap();
        let limits = Limits::default();
        let verbatim = canonicalize(&input, Numbers::Verbatim, &limits);
        let exact = canonicalize(&input, Numbers::Exact, &limits);
        match name.as_bytes()[0] {
            b'y' => {
                assert!(verbatim.is_ok(), "{name}: {verbatim:?}");
                let unsafe_number = matches!(exact, Err(JsonError::UnsafeNumber { .. }));
                assert!(exact.is_ok() || unsafe_number, "{name}: {exact:?}");
            }
            b'n' => {
                assert!(verbatim.is_err(), "{name}");
                assert!(exact.is_err(), "{name}");
            }
            _ => {}
        }
        seen += 1;
    }
    assert!(seen > 100, "the suite has {seen} files");
}

type Check = fn(&JsonError) -> bool;

/// What the suite leaves open, decided here: see each line.
#[test]
fn the_parsing_suite_s_open_cases_are_decided() {
    let Some(path) = corpus("json-test-suite/parsing") else {
        return;
    };
    let cases: [(&str, Check); 5] = [
        (
            "i_number_huge_exp.json",
            |error| matches!(error, JsonError::UnsafeNumber { why, .. } if *why == Unsafe::Overflow),
        ),
        (
            "i_number_too_big_neg_int.json",
            |error| matches!(error, JsonError::UnsafeNumber { why, .. } if *why == Unsafe::Integer),
        ),
        ("i_string_invalid_utf-8.json", |error| {
            matches!(error, JsonError::NotUtf8 { offset: 2 })
        }),
        ("i_string_UTF-16LE_with_BOM.json", |error| {
            matches!(error, JsonError::NotUtf8 { offset: 0 })
        }),
        ("i_string_overlong_sequence_2_bytes.json", |error| {
            matches!(error, JsonError::NotUtf8 { .. })
        }),
    ];
    for (name, expected) in cases {
        let input = fs::read(path.join(name)).unwrap();
        let error = canonicalize(&input, Numbers::Exact, &Limits::default()).unwrap_err();
        assert!(expected(&error), "{name}: {error:?}");
    }
    let underflow = fs::read(path.join("i_number_real_underflow.json")).unwrap();
    let canonical = canonicalize(&underflow, Numbers::Exact, &Limits::default()).unwrap();
    assert_eq!(canonical.as_str(), "[0]");
}

#[test]
fn the_transform_suite_comes_out_as_in_javascript() {
    let Some(path) = corpus("json-test-suite/transform") else {
        return;
    };
    let cases = [
        ("number_1.000000000000000005.json", r"[1]"),
        ("number_1e6.json", r"[1000000]"),
        (
            "object_key_nfc_nfd.json",
            "{\"\u{e9}\":\"NFC\",\"e\u{301}\":\"NFD\"}",
        ),
        ("object_same_key_unclear_values.json", r#"{"a":0}"#),
        ("string_with_escaped_NULL.json", r#"["A\u0000B"]"#),
        // 2^63 is a double, so it is carried; JavaScript prints its shortest digits.
        ("number_-9223372036854775808.json", "[-9223372036854776000]"),
    ];
    for (name, expected) in cases {
        let input = fs::read_to_string(path.join(name)).unwrap();
        assert_eq!(exact(&input).as_deref(), Ok(expected), "{name}");
    }
}

#[test]
fn naughty_strings_survive() {
    let Some(path) = corpus("naughty-strings/blns.json") else {
        return;
    };
    let text = fs::read_to_string(path).unwrap();
    let strings: Vec<String> = serde_json::from_str(&text).unwrap();
    assert!(strings.len() > 100);

    let whole = exact(&text).unwrap();
    assert_eq!(
        serde_json::from_str::<Vec<String>>(&whole).unwrap(),
        strings
    );
    for string in strings {
        let mut written = Vec::new();
        write_string(&string, &mut written);
        assert!(is_canonical(&written), "{string:?}");
        let read: String = serde_json::from_slice(&written).unwrap();
        assert_eq!(read, string);
        // As a key too.
        let object = [b"{".as_slice(), &written, b":1}"].concat();
        assert!(is_canonical(&object), "{string:?}");
    }
}
