//! Workflow files: YAML or JSON → [`Definition`], or all that is wrong with it at once.
//!
//! The way of a file: [`yaml`] makes a [`tree`] that knows where each part stands; [`shape`] holds
//! it to the schema that is made of the types in [`model`]; [`build`](self) reads names, types, nodes
//! and edges into the one normal form, from either dialect; [`check`](self) looks at what only the
//! whole shows: references, names in templates, ways that lead nowhere. Each step goes on after an
//! error with what it could read, so that one reading finds as much as it can.
//!
//! YAML is that of version 1.2: `no` and `12:30` are texts, `0o755` is a number in octal and `0755`
//! is seven hundred and fifty-five. Aliases, merge keys and tags are refused.
//!
//! A file is in the *loose dialect* if it has neither `schema_version` nor `flow`.

mod build;
mod check;
pub mod diagnostic;
mod edges;
mod kinds;
mod llm;
pub mod model;
mod nodes;
mod reader;
pub mod schema;
mod shape;
mod span_of_time;
mod tree;
mod triggers;
mod types;
mod yaml;

use std::fmt::Write as _;

use serde_json::Value;

pub use self::diagnostic::{Diagnostic, Severity, Span};
use self::{
    reader::Reader,
    tree::{Step, Tree},
};
use super::definition::{Definition, FILE_BYTES_MAX};

/// A file that was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub definition: Definition,
    /// What in it does not do what it seems to.
    pub warnings: Vec<Diagnostic>,
    /// Whether its author calls this version something; else it is called 1.0.0.
    pub is_labelled: bool,
}

/// Reads a workflow file.
///
/// # Errors
/// All that is wrong with it, warnings included, in the order of the file; at least one is an error.
pub fn read(text: &[u8]) -> Result<Loaded, Vec<Diagnostic>> {
    let text = yaml::text(text).map_err(|one| vec![one])?;
    let tree = yaml::parse(text).map_err(diagnostic::tidy)?;
    read_tree(&tree, text, None)
}

/// Reads a workflow file. Its name is `name`, whatever it calls itself.
///
/// # Errors
/// As [`read`].
pub fn read_as(name: &str, text: &[u8]) -> Result<Loaded, Vec<Diagnostic>> {
    let text = yaml::text(text).map_err(|one| vec![one])?;
    let tree = yaml::parse(text).map_err(diagnostic::tidy)?;
    read_tree(&tree, text, Some(name))
}

/// Reads a workflow that came as JSON, in the form of a file. Its name is `name`, whatever it calls
/// itself. Diagnostics have paths and no places.
///
/// # Errors
/// As [`read`].
pub fn read_json(name: &str, config: &Value) -> Result<Loaded, Vec<Diagnostic>> {
    let size = serde_json::to_vec(config).map_or(usize::MAX, |text| text.len());
    if size > FILE_BYTES_MAX {
        let message = format!("the definition has {size} bytes; it has at most {FILE_BYTES_MAX}");
        return Err(vec![Diagnostic::error("file.too_large", message)]);
    }
    let tree = Tree::of_value(config).map_err(|one| vec![one])?;
    read_tree(&tree, "", Some(name))
}

fn read_tree(tree: &Tree, text: &str, name: Option<&str>) -> Result<Loaded, Vec<Diagnostic>> {
    let mut reader = Reader::new(tree, text);
    let definition = reader.definition(name);
    let found = diagnostic::tidy(reader.found);
    match definition {
        Some(definition) if !found.iter().any(Diagnostic::is_error) => Ok(Loaded {
            definition,
            warnings: found,
            is_labelled: [&["version"][..], &["flow", "version"]].iter().any(|path| {
                path.iter()
                    .try_fold(tree, |tree, key| tree.get(key))
                    .is_some()
            }),
        }),
        _ => Err(found),
    }
}

/// A path as people write it: `nodes[2].outputs[0]`.
fn write_path(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(key);
            }
            Step::Index(index) => {
                write!(text, "[{index}]").expect("writing to a String cannot fail");
            }
        }
    }
    text
}
