//! Payloads that are hard to sign: what publishers post, and what JavaScript makes of it.

use std::{fs, path::PathBuf};

use serde::{Deserialize, de::DeserializeOwned};

/// Each nth of the vectors of canonical JSON is taken: enough of every kind, soon done.
const STRIDE: usize = 5;

/// A payload as a publisher writes it.
pub struct Payload {
    /// Its text.
    pub text: String,
    /// Whether every reader with doubles keeps all of it: such a one must be taken.
    pub is_plain: bool,
}

/// A line of the recorded signatures.
#[derive(Deserialize)]
struct Signed {
    payload: String,
}

/// A line of the vectors of canonical JSON.
#[derive(Deserialize)]
struct Vector {
    #[serde(rename = "in")]
    text: String,
    /// What JavaScript makes of it; `None` if that refuses it.
    js: Option<String>,
    /// In which ways doubles lose something of it.
    #[serde(default)]
    lossy: Vec<String>,
}

/// The payloads; none (which is said) where the corpora are not here.
pub fn payloads() -> Vec<Payload> {
    let signed = lines::<Signed>("signatures/outbound-js.jsonl").into_iter();
    let mut payloads: Vec<_> = signed
        .map(|line| Payload {
            text: line.payload,
            is_plain: false,
        })
        .collect();
    let vectors = lines::<Vector>("json-canonical/vectors.jsonl").into_iter();
    let valid = vectors.filter(|vector| vector.js.is_some());
    payloads.extend(valid.step_by(STRIDE).map(|vector| Payload {
        is_plain: vector.lossy.is_empty(),
        text: vector.text,
    }));
    payloads
}

/// The lines of a file of the corpora; none (which is said) where it is not here.
///
/// Only the fields that are asked for are read: others hold lone surrogates, which no string of
/// Rust's can have.
pub fn lines<T: DeserializeOwned>(file: &str) -> Vec<T> {
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
        .map(|line| serde_json::from_str(line).expect("a corpus line has the fields asked for"))
        .collect()
}
