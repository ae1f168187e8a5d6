//! Payloads that are hard to sign: what publishers post, and what JavaScript makes of it.

use std::{fs, path::PathBuf};

use serde_json::Value;

/// Each nth of the vectors of canonical JSON is taken: enough of every kind, soon done.
const STRIDE: usize = 5;

/// A payload as a publisher writes it.
pub struct Payload {
    /// Its text.
    pub text: String,
    /// Whether every reader with doubles keeps all of it: such a one must be taken.
    pub is_plain: bool,
}

/// The payloads; none (which is said) where the corpora are not here.
pub fn payloads() -> Vec<Payload> {
    let mut payloads: Vec<_> = lines("signatures/outbound-js.jsonl")
        .iter()
        .map(|line| Payload {
            text: text(line, "payload"),
            is_plain: false,
        })
        .collect();
    let vectors = lines("json-canonical/vectors.jsonl");
    let valid = vectors.iter().filter(|line| line["js"].is_string());
    payloads.extend(valid.step_by(STRIDE).map(|line| Payload {
        text: text(line, "in"),
        is_plain: line["lossy"].as_array().is_some_and(Vec::is_empty),
    }));
    payloads
}

/// The lines of a file of the corpora; none (which is said) where it is not here.
pub fn lines(file: &str) -> Vec<Value> {
    let path = PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/corpora"
    ))
    .join(file);
    let Ok(text) = fs::read_to_string(path) else {
        eprintln!("not tested: corpus {file} is not here");
        return Vec::new();
    };
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a corpus line is JSON"))
        .collect()
}

fn text(line: &Value, field: &str) -> String {
    line[field]
        .as_str()
        .unwrap_or_else(|| panic!("a line has {field}: {line}"))
        .to_owned()
}
