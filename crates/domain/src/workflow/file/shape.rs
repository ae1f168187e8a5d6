//! The shape of a file: keys, types, ranges, held to the schema of [`super::schema`].
//!
//! Understands what schemars makes of the types in [`super::model`], no more of JSON Schema; a test
//! holds both to each other. All that is wrong is found in one walk, each with its place; a key
//! that has `x-ignored` is a warning.

use serde_json::Value;

use super::{
    diagnostic::Diagnostic,
    tree::{Node, Step, Tree},
    write_path,
};
use crate::nearest::nearest;

/// What the walk finds.
#[derive(Default)]
pub struct Found {
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
    /// The parts of the file that cannot be read for it.
    pub broken: Vec<Vec<Step>>,
}

/// Checks a tree.
pub fn check(tree: &Tree, schema: &Value) -> Found {
    check_at(tree, schema, &[])
}

/// Checks a part of a file, whose path is given.
pub fn check_at(tree: &Tree, schema: &Value, path: &[Step]) -> Found {
    let mut walk = Walk {
        root: schema,
        path: path.to_vec(),
        found: Found::default(),
    };
    walk.value(tree, schema);
    walk.found
}

struct Walk<'a> {
    root: &'a Value,
    path: Vec<Step>,
    found: Found,
}

impl<'a> Walk<'a> {
    fn resolve(&self, mut schema: &'a Value) -> &'a Value {
        while let Some(name) = schema["$ref"].as_str() {
            let Some(target) = name
                .strip_prefix('#')
                .and_then(|pointer| self.root.pointer(pointer))
            else {
                break;
            };
            schema = target;
        }
        schema
    }

    fn report(&mut self, diagnostic: Diagnostic, tree: &Tree) {
        let diagnostic = diagnostic.at(write_path(&self.path), tree.span);
        self.found.diagnostics.push(diagnostic);
        self.found.broken.push(self.path.clone());
    }

    fn value(&mut self, tree: &Tree, schema: &'a Value) {
        let schema = self.resolve(schema);
        let branches = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
        if let Some(branches) = branches {
            return self.branches(tree, schema, branches);
        }
        if let Some(words) = words(schema) {
            return self.word(tree, &words);
        }
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|kind| is_of(tree, kind)) {
            return self.wrong_type(tree, &types);
        }
        match &tree.node {
            Node::Mapping(_) => self.mapping(tree, schema),
            Node::Sequence(_) => self.sequence(tree, schema),
            Node::Scalar { value, .. } => self.range(tree, value, schema),
        }
    }

    /// One of several: the one that says the least against the value.
    fn branches(&mut self, tree: &Tree, schema: &'a Value, branches: &'a [Value]) {
        if let Some(words) = words(schema) {
            return self.word(tree, &words);
        }
        let fitting: Vec<&'a Value> = branches
            .iter()
            .filter(|branch| {
                let branch = self.resolve(branch);
                let types = types(branch);
                types.is_empty() || types.iter().any(|kind| is_of(tree, kind))
            })
            .collect();
        let mut best: Option<Found> = None;
        for branch in fitting {
            let mut walk = Walk {
                root: self.root,
                path: self.path.clone(),
                found: Found::default(),
            };
            walk.value(tree, branch);
            let count = |found: &Found| found.broken.len();
            if best
                .as_ref()
                .is_none_or(|best| count(&walk.found) < count(best))
            {
                best = Some(walk.found);
            }
        }
        if let Some(best) = best {
            self.found.diagnostics.extend(best.diagnostics);
            self.found.broken.extend(best.broken);
            return;
        }
        let mut types: Vec<&str> = Vec::new();
        for branch in branches {
            for kind in self::types(self.resolve(branch)) {
                if !types.contains(&kind) {
                    types.push(kind);
                }
            }
        }
        self.wrong_type(tree, &types);
    }

    fn wrong_type(&mut self, tree: &Tree, types: &[&str]) {
        let mut expected: Vec<&str> = types
            .iter()
            .filter(|kind| **kind != "null")
            .map(|kind| type_name(kind))
            .collect();
        if expected.is_empty() {
            expected.push("nothing");
        }
        let expected = expected.join(" or ");
        let mut diagnostic = Diagnostic::error(
            "shape.type",
            format!("{} is {expected}, not {}", self.subject(), tree.describe()),
        );
        let is_quotable = matches!(&tree.node, Node::Scalar { value, .. } if value.is_number() || value.is_boolean());
        if is_quotable && types.contains(&"string") {
            diagnostic = diagnostic.help("put it in quotes to make it a text");
        }
        self.report(diagnostic, tree);
    }

    /// What a message is about: the key, or the item.
    fn subject(&self) -> String {
        match self.path.last() {
            None => "a workflow file".to_owned(),
            Some(Step::Key(key)) => format!("`{key}`"),
            Some(Step::Index(index)) => match self.path.iter().rev().nth(1) {
                Some(Step::Key(key)) => format!("`{key}[{index}]`"),
                _ => format!("item {}", index + 1),
            },
        }
    }

    fn word(&mut self, tree: &Tree, words: &[&str]) {
        let given = match &tree.node {
            Node::Scalar {
                value: Value::String(text),
                ..
            } => Some(text.as_str()),
            _ => None,
        };
        if given.is_some_and(|given| words.contains(&given)) {
            return;
        }
        let listed: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        let mut diagnostic = Diagnostic::error(
            "shape.word",
            format!(
                "{} is one of {}, not {}",
                self.subject(),
                listed.join(", "),
                tree.describe()
            ),
        );
        if let Some(near) = given.and_then(|given| nearest(given, words.iter().copied())) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        self.report(diagnostic, tree);
    }

    fn mapping(&mut self, tree: &Tree, schema: &'a Value) {
        let Node::Mapping(entries) = &tree.node else {
            return;
        };
        let properties = schema["properties"].as_object();
        let others = &schema["additionalProperties"];
        for entry in entries {
            self.path.push(Step::Key(entry.key.clone()));
            match properties.and_then(|properties| properties.get(&entry.key)) {
                Some(property) => {
                    if let Some(why) = property["x-ignored"].as_str() {
                        let message = format!("`{}` has no effect: {why}", entry.key);
                        self.found.diagnostics.push(
                            Diagnostic::warning("key.ignored", message)
                                .at(write_path(&self.path), entry.key_span),
                        );
                    } else {
                        self.value(&entry.value, property);
                    }
                }
                None if others == &Value::Bool(false) => {
                    let known = properties.into_iter().flat_map(|all| all.keys());
                    let mut diagnostic = Diagnostic::error(
                        "key.unknown",
                        format!("there is no key `{}` here", super::tree::cut(&entry.key)),
                    );
                    if let Some(help) = known_elsewhere(&entry.key) {
                        diagnostic = diagnostic.help(help);
                    } else if let Some(near) = nearest(&entry.key, known.map(String::as_str)) {
                        diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
                    }
                    self.found
                        .diagnostics
                        .push(diagnostic.at(write_path(&self.path), entry.key_span));
                    self.found.broken.push(self.path.clone());
                }
                None if others.is_object() => self.value(&entry.value, others),
                None => {}
            }
            self.path.pop();
        }
        let required = schema["required"].as_array();
        for key in required.into_iter().flatten().filter_map(Value::as_str) {
            let given = tree.get(key).is_some_and(
                |value| !matches!(&value.node, Node::Scalar { value, .. } if value.is_null()),
            );
            if !given && tree.get(key).is_none() {
                let of = match self.path.last() {
                    None => "the file".to_owned(),
                    Some(_) => self.subject(),
                };
                let diagnostic = Diagnostic::error("key.missing", format!("{of} has no `{key}`"));
                let at = first_line(tree);
                let diagnostic = diagnostic.at(write_path(&self.path), at);
                self.found.diagnostics.push(diagnostic);
                self.found.broken.push(self.path.clone());
            }
        }
    }

    fn sequence(&mut self, tree: &Tree, schema: &'a Value) {
        for (index, item) in tree.items().iter().enumerate() {
            self.path.push(Step::Index(index));
            self.value(item, &schema["items"]);
            self.path.pop();
        }
    }

    fn range(&mut self, tree: &Tree, value: &Value, schema: &Value) {
        let Some(number) = value.as_f64() else { return };
        let (min, max) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        if min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max) {
            return;
        }
        let range = match (min, max) {
            (Some(min), Some(max)) => format!("between {min} and {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => return,
        };
        let message = format!("{} is {range}, not {}", self.subject(), tree.describe());
        self.report(Diagnostic::error("shape.range", message), tree);
    }
}

/// The place of a mapping for a message: its first key, since the whole may be long.
fn first_line(tree: &Tree) -> super::diagnostic::Span {
    match &tree.node {
        Node::Mapping(entries) => entries.first().map_or(tree.span, |entry| entry.key_span),
        _ => tree.span,
    }
}

/// Help for keys that belong elsewhere.
fn known_elsewhere(key: &str) -> Option<&'static str> {
    Some(match key {
        "api_key" | "apiKey" => {
            "keys of models come from the environment (such as `GOOGLE_API_KEY`) or the secret store, never from a file"
        }
        "depends_on" | "dependsOn" => "write `needs`, or edges",
        "cron" => "write `triggers: [{schedule: \"…\"}]`",
        "http" => "write `kind: http` and put `url`, `method`, `headers`, `body` beside it",
        "steps" | "tasks" => "write `nodes` and `edges`",
        _ => return None,
    })
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ if !schema["enum"].is_null() || schema["const"].is_string() => vec!["string"],
        _ => match schema["oneOf"].as_array() {
            Some(branches) if branches.iter().all(|branch| branch["const"].is_string()) => {
                vec!["string"]
            }
            _ => Vec::new(),
        },
    }
}

/// The words that an enumeration allows.
fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(Value::as_str).collect();
    }
    if let Some(word) = schema["const"].as_str() {
        return Some(vec![word]);
    }
    let branches = schema["oneOf"].as_array()?;
    let mut all = Vec::new();
    for branch in branches {
        all.extend(words(branch)?);
    }
    Some(all)
}

fn is_of(tree: &Tree, kind: &str) -> bool {
    match &tree.node {
        Node::Mapping(_) => kind == "object",
        Node::Sequence(_) => kind == "array",
        Node::Scalar { value, .. } => match value {
            Value::Null => kind == "null",
            Value::Bool(_) => kind == "boolean",
            Value::String(_) => kind == "string",
            Value::Number(number) => kind == "number" || (kind == "integer" && !number.is_f64()),
            _ => false,
        },
    }
}

fn type_name(kind: &str) -> &str {
    match kind {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        other => other,
    }
}
