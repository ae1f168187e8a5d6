//! A YAML document as a tree that knows where each of its parts stands.

use serde_json::{Map, Number, Value};

use super::diagnostic::{Diagnostic, Span};

/// The deepest nesting.
pub const DEPTH_MAX: usize = 64;
/// The most values, keys included.
pub const VALUES_MAX: usize = 50_000;

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The value.
    pub node: Node,
    /// Where it stands.
    pub span: Span,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Node {
    /// A scalar: what it means in YAML 1.2, and how it was written.
    Scalar {
        /// What it means: null, a boolean, a number or a text.
        value: Value,
        /// How it was written, quotes apart.
        raw: String,
    },
    /// A list.
    Sequence(Vec<Tree>),
    /// A mapping, in the order of the file; no key twice.
    Mapping(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Tree,
}

impl Tree {
    /// The entry of a mapping.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.node {
            Node::Mapping(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The value under a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Tree> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The items of a list; of anything else, none.
    pub fn items(&self) -> &[Tree] {
        match &self.node {
            Node::Sequence(items) => items,
            _ => &[],
        }
    }

    /// How a scalar was written; nothing for null and what is no scalar.
    pub fn raw(&self) -> Option<&str> {
        match &self.node {
            Node::Scalar { value, raw } if !value.is_null() => Some(raw),
            _ => None,
        }
    }

    /// What it is, for a message.
    pub fn describe(&self) -> String {
        match &self.node {
            Node::Sequence(_) => "a list".to_owned(),
            Node::Mapping(_) => "a mapping".to_owned(),
            Node::Scalar { value, raw } => match value {
                Value::Null => "nothing".to_owned(),
                Value::String(_) => format!("the text `{}`", cut(raw)),
                Value::Bool(_) | Value::Number(_) => format!("`{}`", cut(raw)),
                _ => "a value".to_owned(),
            },
        }
    }

    /// The part at a path as [`super::path`] writes it, or the nearest one above; `key`: the key
    /// itself, where the last part of the path is one.
    pub fn span_of(&self, path: &[Step], key: bool) -> Span {
        let mut tree = self;
        for (index, step) in path.iter().enumerate() {
            let last = index + 1 == path.len();
            let next = match step {
                Step::Key(name) => {
                    let Some(entry) = tree.entry(name) else { break };
                    if last && key {
                        return entry.key_span;
                    }
                    Some(&entry.value)
                }
                Step::Index(index) => tree.items().get(*index),
            };
            let Some(next) = next else { break };
            tree = next;
        }
        tree.span
    }

    /// The same without places.
    pub fn to_value(&self) -> Value {
        match &self.node {
            Node::Scalar { value, .. } => value.clone(),
            Node::Sequence(items) => items.iter().map(Tree::to_value).collect(),
            Node::Mapping(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_value()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// A tree without places, of a JSON value.
    ///
    /// # Errors
    /// If it is too deep, or has too many values.
    pub fn of_value(value: &Value) -> Result<Tree, Diagnostic> {
        let mut left = VALUES_MAX;
        of_value(value, 0, &mut left)
    }
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Under this key.
    Key(String),
    /// The item of this number, the first is 0.
    Index(usize),
}

fn of_value(value: &Value, depth: usize, left: &mut usize) -> Result<Tree, Diagnostic> {
    if depth > DEPTH_MAX {
        return Err(too_deep());
    }
    *left = left.checked_sub(1).ok_or_else(too_many)?;
    let node = match value {
        Value::Array(items) => Node::Sequence(
            items
                .iter()
                .map(|item| of_value(item, depth + 1, left))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(object) => Node::Mapping(
            object
                .iter()
                .map(|(key, value)| {
                    Ok(Entry {
                        key: key.clone(),
                        key_span: Span::default(),
                        value: of_value(value, depth + 1, left)?,
                    })
                })
                .collect::<Result<_, _>>()?,
        ),
        scalar => Node::Scalar {
            value: scalar.clone(),
            raw: scalar
                .as_str()
                .map_or_else(|| scalar.to_string(), str::to_owned),
        },
    };
    Ok(Tree {
        node,
        span: Span::default(),
    })
}

pub(super) fn too_deep() -> Diagnostic {
    Diagnostic::error(
        "yaml.too_deep",
        format!("the file is nested deeper than {DEPTH_MAX} levels"),
    )
}

pub(super) fn too_many() -> Diagnostic {
    Diagnostic::error(
        "yaml.too_many_values",
        format!("the file has more than {VALUES_MAX} values"),
    )
}

/// The beginning of a text, for a message.
pub(super) fn cut(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short.replace('\n', " ")
}

/// What a plain scalar means in YAML 1.2's core schema: `null`, `~` and nothing; `true` and
/// `false`; numbers, with `0o17` and `0x1f`. Everything else is text: `no`, `on`, `12:30:45` and
/// `2026-02-04` too. `0755` is seven hundred and fifty-five.
pub(super) fn plain(raw: &str) -> Option<Value> {
    Some(match raw {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => return number(raw),
    })
}

fn number(raw: &str) -> Option<Value> {
    let radix = |digits: &str, radix| {
        digits
            .bytes()
            .all(|digit| digit.is_ascii_hexdigit())
            .then(|| u64::from_str_radix(digits, radix).ok())
            .flatten()
            .map(Value::from)
    };
    if let Some(digits) = raw.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if let Some(digits) = raw.strip_prefix("0x") {
        return radix(digits, 16);
    }
    let unsigned = raw.strip_prefix(['+', '-']).unwrap_or(raw);
    let is_number = unsigned
        .strip_prefix('.')
        .unwrap_or(unsigned)
        .starts_with(|first: char| first.is_ascii_digit())
        && unsigned
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    if !is_number {
        return None;
    }
    let text = raw.strip_prefix('+').unwrap_or(raw);
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        if let Ok(whole) = text.parse::<i64>() {
            return Some(whole.into());
        }
        if let Ok(whole) = text.parse::<u64>() {
            return Some(whole.into());
        }
    }
    text.parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number)
}
