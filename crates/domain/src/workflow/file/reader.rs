//! What every part of the reading shares: the tree, what was found, and where things stand.

use std::collections::HashSet;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    diagnostic::{Diagnostic, Severity, Span},
    model::{Duration, WorkflowFile},
    schema, shape, span_of_time,
    tree::{Node, Step, Tree, cut},
    write_path,
};
use crate::{
    nearest::nearest,
    workflow::{
        condition::Condition,
        definition::{Field, FieldType},
        template::Template,
    },
};

/// The longest name of anything that a file names.
pub const NAME_CHARS_MAX: usize = 128;

/// A place in the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// The whole file.
    pub fn root() -> Self {
        Self::default()
    }

    /// Under a key.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Key(key.to_owned()));
        path
    }

    /// An item.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Index(index));
        path
    }
}

/// Reads one file.
pub struct Reader<'a> {
    pub(super) tree: &'a Tree,
    lines: Vec<&'a str>,
    pub(super) found: Vec<Diagnostic>,
    pub(super) loose: bool,
    /// Whether every node and edge could be read: only then can the whole be judged.
    pub(super) whole: bool,
    /// The fields of the state.
    pub(super) state: Vec<Field>,
    /// Fields of the state whose type could not be read.
    pub(super) untyped: HashSet<String>,
    /// Whether the names of the state's fields are all known.
    pub(super) state_known: bool,
}

/// What a template or condition may name, beside the state.
pub struct Names<'a> {
    /// The names of inputs.
    pub inputs: Vec<&'a str>,
}

impl<'a> Reader<'a> {
    pub fn new(tree: &'a Tree, text: &'a str) -> Self {
        Self {
            tree,
            lines: text.lines().collect(),
            found: Vec::new(),
            loose: tree.get("schema_version").is_none() && tree.get("flow").is_none(),
            whole: true,
            state: Vec::new(),
            untyped: HashSet::new(),
            state_known: true,
        }
    }

    /// The file as far as its shape is right: what is wrong is reported and taken out.
    pub fn file(&mut self) -> Option<WorkflowFile> {
        if !matches!(self.tree.node, Node::Mapping(_)) {
            let message = format!("a workflow file is a mapping, not {}", self.tree.describe());
            self.found.push(
                Diagnostic::error("shape.type", message)
                    .help("it begins with `schema_version`, `flow` and `nodes`")
                    .at("", self.tree.span),
            );
            return None;
        }
        let shape = shape::check(self.tree, schema::schema());
        self.found.extend(shape.diagnostics);
        let mut value = self.tree.to_value();
        for path in &shape.broken {
            take_out(&mut value, path);
            // Of a field that lost a part, the name is still known.
            if let [Step::Key(key), rest @ ..] = path.as_slice() {
                self.state_known &= key != "state" || rest.len() > 2;
            }
        }
        self.parse(value, &Path::root())
    }

    /// A part of the file as its type. What is no such thing was reported already; if it was not,
    /// it is here.
    pub fn parse<T: DeserializeOwned>(&mut self, value: Value, path: &Path) -> Option<T> {
        match serde_json::from_value(value) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.whole = false;
                if !self.found.iter().any(Diagnostic::is_error) {
                    self.error("shape.type", error.to_string(), path);
                }
                None
            }
        }
    }

    /// Where a path is.
    pub fn span(&self, path: &Path) -> Span {
        self.tree.span_of(&path.0, false)
    }

    fn push(&mut self, diagnostic: Diagnostic, path: &Path) -> &mut Diagnostic {
        let mut span = self.span(path);
        // A mapping is long: its key, or its first line, says as much.
        if span.end_line > span.line {
            span = self.tree.span_of(&path.0, true);
        }
        self.found.push(diagnostic.at(write_path(&path.0), span));
        self.found.last_mut().expect("it was just pushed")
    }

    /// Reports an error.
    pub fn error(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        path: &Path,
    ) -> &mut Diagnostic {
        self.push(Diagnostic::error(code, message), path)
    }

    /// Reports a warning.
    pub fn warning(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        path: &Path,
    ) -> &mut Diagnostic {
        self.push(Diagnostic::warning(code, message), path)
    }

    /// Reports a name that there is none of; `what` says what it should be the name of.
    pub fn unknown<'n>(
        &mut self,
        code: &'static str,
        what: &str,
        name: &str,
        known: impl Iterator<Item = &'n str>,
        path: &Path,
    ) {
        let near = nearest(name, known).map(|near| format!("did you mean `{near}`?"));
        let message = format!("there is no {what} `{}`", cut(name));
        self.error(code, message, path).help = near;
    }

    /// Milliseconds of a span of time.
    pub fn span_of_time(&mut self, duration: Option<&Duration>, path: &Path) -> Option<u64> {
        match span_of_time::milliseconds(duration?) {
            Ok(ms) => Some(ms),
            Err(message) => {
                self.error("value.duration", message, path);
                None
            }
        }
    }

    /// A text of people's: as it is written, not empty, not too long.
    pub fn short(&mut self, text: &str, path: &Path) -> Option<String> {
        let text = text.trim();
        let message = if text.is_empty() {
            "a name is expected here".to_owned()
        } else if text.chars().count() > NAME_CHARS_MAX {
            format!("a name has at most {NAME_CHARS_MAX} characters")
        } else if text.chars().any(char::is_control) {
            "a name has no control characters".to_owned()
        } else {
            return Some(text.to_owned());
        };
        self.error("value.name", message, path);
        None
    }

    /// Whether a name can be used in templates and conditions.
    pub fn identifier(&mut self, name: &str, path: &Path) -> bool {
        let mut letters = name.chars();
        let well_formed = name.len() <= NAME_CHARS_MAX
            && letters
                .next()
                .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        if !well_formed {
            let message = format!(
                "`{}` is no name: letters, digits and `_`, the first no digit",
                cut(name)
            );
            let proposal = identifier_of(name);
            let proposal = (!proposal.is_empty()).then(|| format!("write `{proposal}`"));
            self.error("name.invalid", message, path).help = proposal;
        }
        well_formed
    }

    /// The same for a key; says so at the key.
    pub fn identifier_key(&mut self, name: &str, path: &Path) -> bool {
        let is_one = self.identifier(name, path);
        if !is_one {
            let span = self.tree.span_of(&path.0, true);
            if let Some(last) = self.found.last_mut() {
                last.span = span;
            }
        }
        is_one
    }

    /// Checks a template and what it names.
    pub fn template(&mut self, text: &str, names: &Names<'_>, path: &Path) {
        match Template::parse(text) {
            Ok(template) => {
                for (_, name) in template.names() {
                    self.name(&name, names, path, '{');
                }
            }
            Err(error) => {
                let message = format!("this is no template: {}", error.message);
                self.error("template.syntax", message, path);
            }
        }
    }

    /// Checks the templates within a JSON value.
    pub fn templates(&mut self, value: &Value, names: &Names<'_>, path: &Path) {
        match value {
            Value::String(text) => self.template(text, names, path),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.templates(item, names, &path.index(index));
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    self.templates(field, names, &path.key(key));
                }
            }
            _ => {}
        }
    }

    /// Checks a condition and what it names.
    pub fn condition(&mut self, text: &str, path: &Path) {
        match Condition::parse(text) {
            Ok(condition) => {
                let names = Names { inputs: Vec::new() };
                for (_, name) in condition.names() {
                    self.name(&name, &names, path, '\0');
                }
            }
            Err(error) => {
                let message = format!("this is no condition: {}", error.message);
                let help = "write such as `state.score >= 8 and not state.done`";
                self.error("condition.syntax", message, path).help = Some(help.to_owned());
            }
        }
    }

    fn name(&mut self, name: &[String], names: &Names<'_>, path: &Path, opening: char) {
        let Some(first) = name.first() else { return };
        if names.inputs.contains(&first.as_str()) {
            return;
        }
        let own = self.state.iter().any(|field| field.name == *first);
        let (field, rest) = match name.get(1) {
            Some(field) if first == "state" && !own => (field, &name[2..]),
            None if first == "state" && !own => return,
            _ => (first, &name[1..]),
        };
        let written = name.join(".");
        if let Some(kind) = self
            .state
            .iter()
            .find(|known| known.name == *field)
            .map(|known| known.kind.clone())
        {
            if self.untyped.contains(field) {
                return;
            }
            if let Some((at, missing)) = missing_part(&kind, rest) {
                let message = format!("`{written}`: there is no `{missing}` in `{at}`");
                self.error("name.unknown", message, path);
            }
            return;
        }
        if !self.state_known {
            return;
        }
        // Where a node that waits is to be answered: known once it runs.
        if written.starts_with("callbacks.") {
            return;
        }
        let near = {
            let fields = self.state.iter().map(|field| field.name.as_str());
            nearest(field, fields.chain(names.inputs.iter().copied()))
                .map(|near| format!("did you mean `{near}`?"))
        };
        let place = self.locate(&written, opening, path);
        let diagnostic = if self.loose {
            let message =
                format!("`{written}` is declared nowhere: it stands for the last node's output");
            self.warning("name.undeclared", message, path)
        } else {
            let message = format!("`{written}` is neither an input of the node nor in the state");
            self.error("name.unknown", message, path)
        };
        diagnostic.help = near;
        if let Some(place) = place {
            diagnostic.span = place;
        }
    }

    /// Where a name stands within a text that may go over several lines.
    fn locate(&self, name: &str, opening: char, path: &Path) -> Option<Span> {
        let whole = self.span(path);
        if whole.line == 0 {
            return None;
        }
        let wanted = if opening == '{' {
            format!("{{{name}}}")
        } else {
            name.to_owned()
        };
        (whole.line..=whole.end_line.max(whole.line)).find_map(|line| {
            let text = self.lines.get(line as usize - 1)?;
            let at = text.find(&wanted)?;
            let column = u32::try_from(text[..at].chars().count()).ok()? + 1;
            let width = u32::try_from(wanted.chars().count()).ok()?;
            Some(Span {
                line,
                column,
                end_line: line,
                end_column: column + width,
            })
        })
    }

    /// How a scalar was written.
    pub fn raw(&self, path: &[&str]) -> Option<&'a str> {
        let mut tree = self.tree;
        for key in path {
            tree = tree.get(key)?;
        }
        tree.raw()
    }

    /// Whether anything was refused so far.
    pub fn refused(&self) -> bool {
        self.found.iter().any(|one| one.severity == Severity::Error)
    }
}

/// The part of a path that an object does not have, and where.
fn missing_part(kind: &FieldType, rest: &[String]) -> Option<(String, String)> {
    let (part, further) = rest.split_first()?;
    match kind {
        FieldType::Object(fields) if !fields.is_empty() => {
            match fields.iter().find(|(name, _)| name == part) {
                Some((_, kind)) => missing_part(kind, further),
                None => Some(("the object".to_owned(), part.clone())),
            }
        }
        FieldType::Str | FieldType::Int | FieldType::Float | FieldType::Bool => {
            Some((super::types::written(kind), part.clone()))
        }
        _ => None,
    }
}

/// A name made of another: what is no letter, digit or `_` becomes `_`.
pub fn identifier_of(name: &str) -> String {
    let mut made = String::new();
    for letter in name.chars().take(NAME_CHARS_MAX) {
        if letter.is_ascii_alphanumeric() || letter == '_' {
            made.push(letter.to_ascii_lowercase());
        } else if !made.ends_with('_') && !made.is_empty() {
            made.push('_');
        }
    }
    let made = made.trim_end_matches('_').to_owned();
    if made.starts_with(|first: char| first.is_ascii_digit()) {
        format!("n{made}")
    } else {
        made
    }
}

/// Takes a part out of a value: a key goes, an item becomes null.
fn take_out(value: &mut Value, path: &[Step]) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut part = value;
    for step in parents {
        let next = match step {
            Step::Key(key) => part.get_mut(key.as_str()),
            Step::Index(index) => part.get_mut(*index),
        };
        let Some(next) = next else { return };
        part = next;
    }
    match last {
        Step::Key(key) => {
            if let Some(map) = part.as_object_mut() {
                map.shift_remove(key);
            }
        }
        Step::Index(index) => {
            if let Some(item) = part.get_mut(*index) {
                *item = Value::Null;
            }
        }
    }
}

/// The text of a value that a template may stand in: scalars as they are written.
pub fn template_text(tree: Option<&Tree>, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(
            tree.and_then(Tree::raw)
                .map_or_else(|| value.to_string(), str::to_owned),
        ),
        _ => None,
    }
}

/// The entries of an optional mapping.
pub fn entries(map: Option<Map<String, Value>>) -> impl Iterator<Item = (String, Value)> {
    map.into_iter().flatten()
}
