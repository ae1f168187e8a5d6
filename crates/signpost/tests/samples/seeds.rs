//! The code in the seed documents, taken out of them as it stands.

use std::{fs, path::PathBuf};

use serde_json::Value;

/// One document.
pub struct Seed(String);

/// A request as a document writes it (a block marked `http`).
#[derive(Debug)]
pub struct SampleRequest {
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// Its body, empty where there is none.
    pub body: String,
}

impl Seed {
    /// Document number `number`, or `None` (which is said) where the documents are not here.
    pub fn read(number: u32) -> Option<Self> {
        let folder = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/seeds"
        ));
        let prefix = format!("{number:03}_");
        let named = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&prefix);
        let found = fs::read_dir(folder)
            .ok()
            .and_then(|entries| entries.flatten().find(named));
        let Some(found) = found else {
            eprintln!("skipped: seed document {prefix}… is not here");
            return None;
        };
        Some(Self(
            fs::read_to_string(found.path()).expect("the document is readable text"),
        ))
    }

    /// The blocks marked as `language`, in their order.
    pub fn blocks(&self, language: &str) -> Vec<&str> {
        let mut blocks = Vec::new();
        let mut rest = self.0.as_str();
        while let Some((_, fenced)) = rest.split_once("\n```") {
            let (marked, after) = fenced.split_once('\n').expect("a fence ends with its line");
            let (block, after) = after.split_once("\n```").expect("a fenced block is closed");
            if marked.trim() == language {
                blocks.push(block);
            }
            rest = after;
        }
        blocks
    }

    /// The one block marked as `language` that has `text` in it.
    pub fn block(&self, language: &str, text: &str) -> &str {
        let found: Vec<_> = self
            .blocks(language)
            .into_iter()
            .filter(|block| block.contains(text))
            .collect();
        assert_eq!(found.len(), 1, "one {language} block has {text}");
        found[0]
    }

    /// The JSON blocks, without the comments that stand for what is left out.
    pub fn json(&self) -> Vec<Value> {
        let read = |block: &str| {
            let is_comment = |line: &&str| line.trim_start().starts_with("//");
            let bare: Vec<_> = block.lines().filter(|line| !is_comment(line)).collect();
            serde_json::from_str(&bare.join("\n")).expect("a document's JSON is JSON")
        };
        self.blocks("json").into_iter().map(read).collect()
    }

    /// The requests that it shows.
    pub fn requests(&self) -> Vec<SampleRequest> {
        let read = |block: &str| {
            let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
            let mut line = head.lines().next().unwrap_or_default().split(' ');
            let mut word = || {
                line.next()
                    .expect("a request begins with method and path")
                    .to_owned()
            };
            SampleRequest {
                method: word(),
                path: word(),
                body: body.to_owned(),
            }
        };
        self.blocks("http").into_iter().map(read).collect()
    }

    /// The one request that it shows of this method and path.
    pub fn request(&self, method: &str, path: &str) -> SampleRequest {
        let is_it = |request: &SampleRequest| request.method == method && request.path == path;
        self.requests()
            .into_iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("the document shows {method} {path}"))
    }
}
