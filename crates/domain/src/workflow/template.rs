//! Templates: texts with `{name}`, `{state.name}` and `{a.b}` in them.
//!
//! `{{` and `}}` are literal braces. What only looks like a placeholder, such as the JSON
//! `{"a": {"b": 1}}` in a prompt, stays as it is: a placeholder is a name directly between
//! braces. A template is read once; what is filled in is data and never read again, so that it
//! grows by no more than the values that it names.

use std::borrow::Cow;

use serde_json::Value;

use super::{python, scope::Scope};

/// The longest text that a template is filled in to, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// The largest value that [`render_json`] makes, in bytes, about as JSON.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// The longest template, in bytes.
pub const LEN_MAX: usize = 512 << 10;
/// How deep a value may be nested.
const DEPTH_MAX: usize = 128;
/// The most parts of a placeholder's path.
const PARTS_MAX: usize = 16;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Name { offset: usize, path: Vec<String> },
}

/// Why a template cannot be read or filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Where in the text, in bytes.
    pub offset: usize,
    /// What is wrong, and what is expected.
    pub message: String,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// If it is longer than [`LEN_MAX`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > LEN_MAX {
            return Err(TemplateError {
                offset: LEN_MAX,
                message: format!(
                    "a template may have {LEN_MAX} bytes, this has {}",
                    text.len()
                ),
            });
        }
        Ok(Self {
            parts: Reader::new(text).read(),
        })
    }

    /// The names that it uses, as paths (`["state", "topic"]`), with their offsets.
    pub fn names(&self) -> Vec<(usize, Vec<String>)> {
        let names = self.parts.iter().filter_map(|part| match part {
            Part::Name { offset, path } => Some((*offset, path.clone())),
            Part::Text(_) => None,
        });
        names.collect()
    }

    /// Fills it in. Values appear as Python's `str()` writes them; what was filled in is data and
    /// never read as a template again.
    ///
    /// # Errors
    /// If a name is missing, or more than [`OUTPUT_BYTES_MAX`] come of it.
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, TemplateError> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) if text.len() + literal.len() <= OUTPUT_BYTES_MAX => {
                    text.push_str(literal);
                }
                Part::Text(_) => return Err(too_long(0)),
                Part::Name { offset, path } => {
                    let value = find(scope, *offset, path)?;
                    python::write_str(&value, &mut text, OUTPUT_BYTES_MAX)
                        .map_err(|python::TooLong| too_long(*offset))?;
                }
            }
        }
        Ok(text)
    }

    /// Fills it in; one that is nothing but a single placeholder gives the value itself.
    ///
    /// # Errors
    /// If a name is missing, or too much comes of it.
    pub fn render_value(&self, scope: &Scope<'_>) -> Result<Value, TemplateError> {
        self.render_within(scope, &mut { VALUE_BYTES_MAX })
    }

    /// As [`Self::render_value`], of no more than `budget` bytes, which it takes from it.
    fn render_within(&self, scope: &Scope<'_>, budget: &mut usize) -> Result<Value, TemplateError> {
        let [Part::Name { offset, path }] = self.parts.as_slice() else {
            let text = self.render(scope)?;
            spend(budget, text.len(), 0)?;
            return Ok(Value::String(text));
        };
        let value = find(scope, *offset, path)?;
        take_size(&value, budget, *offset, 0)?;
        Ok(value.into_owned())
    }
}

/// Fills in every text within a JSON value ([`Template::render_value`]); keys stay as they are.
///
/// # Errors
/// If a name is missing, or more than [`VALUE_BYTES_MAX`] come of it.
pub fn render_json(value: &Value, scope: &Scope<'_>) -> Result<Value, TemplateError> {
    render_nested(value, scope, &mut { VALUE_BYTES_MAX }, 0)
}

fn render_nested(
    value: &Value,
    scope: &Scope<'_>,
    budget: &mut usize,
    depth: usize,
) -> Result<Value, TemplateError> {
    if depth > DEPTH_MAX {
        return Err(too_deep(0));
    }
    Ok(match value {
        Value::String(text) => Template::parse(text)?.render_within(scope, budget)?,
        Value::Array(list) => list
            .iter()
            .map(|item| render_nested(item, scope, budget, depth + 1))
            .collect::<Result<_, _>>()?,
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| {
                spend(budget, key.len(), 0)?;
                let value = render_nested(value, scope, budget, depth + 1)?;
                Ok((key.clone(), value))
            })
            .collect::<Result<_, _>>()?,
        other => other.clone(),
    })
}

fn find<'a>(
    scope: &Scope<'a>,
    offset: usize,
    path: &[String],
) -> Result<Cow<'a, Value>, TemplateError> {
    scope
        .find(path)
        .map_err(|message| TemplateError { offset, message })
}

fn too_long(offset: usize) -> TemplateError {
    TemplateError {
        offset,
        message: format!("more than {OUTPUT_BYTES_MAX} bytes come of this template"),
    }
}

fn too_deep(offset: usize) -> TemplateError {
    TemplateError {
        offset,
        message: format!("a value may be nested {DEPTH_MAX} deep"),
    }
}

fn spend(budget: &mut usize, bytes: usize, offset: usize) -> Result<(), TemplateError> {
    *budget = budget.checked_sub(bytes).ok_or_else(|| TemplateError {
        offset,
        message: format!("more than {VALUE_BYTES_MAX} bytes come of these templates"),
    })?;
    Ok(())
}

/// Takes a value's size, about as JSON, from the budget.
fn take_size(
    value: &Value,
    budget: &mut usize,
    offset: usize,
    depth: usize,
) -> Result<(), TemplateError> {
    if depth > DEPTH_MAX {
        return Err(too_deep(offset));
    }
    match value {
        Value::String(text) => spend(budget, text.len() + 2, offset),
        Value::Array(list) => list.iter().try_for_each(|item| {
            spend(budget, 1, offset)?;
            take_size(item, budget, offset, depth + 1)
        }),
        Value::Object(object) => object.iter().try_for_each(|(key, value)| {
            spend(budget, key.len() + 4, offset)?;
            take_size(value, budget, offset, depth + 1)
        }),
        _ => spend(budget, 4, offset),
    }
}

/// What an opening brace in the text was, until it is closed.
enum Open {
    /// `{{`, which `}}` closes.
    Doubled,
    /// A literal `{`, which `}` closes: so that JSON's `}}` stays two braces.
    Single,
}

struct Reader<'t> {
    text: &'t str,
    parts: Vec<Part>,
    literal: String,
    open: Vec<Open>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            parts: Vec::new(),
            literal: String::new(),
            open: Vec::new(),
        }
    }

    fn read(mut self) -> Vec<Part> {
        let mut at = 0;
        while let Some(brace) = self.text[at..].find(['{', '}']) {
            self.literal.push_str(&self.text[at..at + brace]);
            at += brace;
            at += if self.text[at..].starts_with('{') {
                self.opening(at)
            } else {
                self.closing(at)
            };
        }
        self.literal.push_str(&self.text[at..]);
        self.end_literal();
        self.parts
    }

    /// Reads on from an opening brace at `at`; answers how many bytes it took.
    fn opening(&mut self, at: usize) -> usize {
        let rest = &self.text[at..];
        if let Some(path) = placeholder(rest) {
            let length = path.len() + 2;
            self.end_literal();
            self.parts.push(Part::Name {
                offset: at,
                path: path.split('.').map(str::to_owned).collect(),
            });
            return length;
        }
        self.literal.push('{');
        let doubled = rest.starts_with("{{");
        self.open
            .push(if doubled { Open::Doubled } else { Open::Single });
        1 + usize::from(doubled)
    }

    fn closing(&mut self, at: usize) -> usize {
        self.literal.push('}');
        let doubled = self.text[at..].starts_with("}}");
        match self.open.last() {
            Some(Open::Single) => {
                self.open.pop();
                1
            }
            Some(Open::Doubled) if doubled => {
                self.open.pop();
                2
            }
            None if doubled => 2,
            _ => 1,
        }
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            let text = std::mem::take(&mut self.literal);
            self.parts.push(Part::Text(text));
        }
    }
}

/// The path of the placeholder that the text begins with, if it does.
fn placeholder(text: &str) -> Option<&str> {
    let path = text.strip_prefix('{')?;
    let end = path.find(|c: char| !(is_name(c) || c == '.' || c == '-'))?;
    let (path, after) = path.split_at(end);
    let mut parts = path.split('.');
    let first = parts.next()?;
    let named = first.starts_with(|c: char| is_name(c) && !c.is_numeric())
        && !first.contains('-')
        && parts.all(|part| !part.is_empty())
        && path.split('.').count() <= PARTS_MAX;
    (named && after.starts_with('}')).then_some(path)
}

/// Whether names are made of this.
pub(super) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;

    fn state() -> Map<String, Value> {
        let state = json!({
            "topic": "Rust", "n": 3, "yes": true, "none": null, "list": ["a", 1.0],
            "deep": {"items": [{"id": "x{topic}"}], "content-type": "text"},
        });
        state.as_object().unwrap().clone()
    }

    fn render_with(
        text: &str,
        inputs: &Map<String, Value>,
        state: &Map<String, Value>,
    ) -> Result<String, TemplateError> {
        let scope = Scope {
            inputs,
            state,
            last: None,
        };
        Template::parse(text)?.render(&scope)
    }

    #[test]
    fn placeholders_are_filled_in_and_all_else_stays() {
        let mut inputs = Map::new();
        inputs.insert("n".to_owned(), json!("mine"));
        for (template, text) in [
            ("about {topic}.", "about Rust."),
            ("{state.topic}{topic}", "RustRust"),
            ("{n} {state.n}", "mine 3"),
            ("{yes} {none} {list}", "True None ['a', 1.0]"),
            ("{deep.items.0.id}", "x{topic}"),
            ("{deep.items}", "[{'id': 'x{topic}'}]"),
            ("{deep.content-type}", "text"),
            ("{{topic}}", "{topic}"),
            ("{{{topic}}}", "{Rust}"),
            ("{{\"a\": {{\"b\": {n}}}}}", "{\"a\": {\"b\": mine}}"),
            (r#"{"a": 1}"#, r#"{"a": 1}"#),
            (r#"{"a": {"b": {}}}"#, r#"{"a": {"b": {}}}"#),
            (r#"{"a": {topic}}"#, r#"{"a": Rust}"#),
            ("{ } {} { topic } {1} {a b}", "{ } {} { topic } {1} {a b}"),
            ("{.a} {a.} {a..b} {-a}", "{.a} {a.} {a..b} {-a}"),
            ("} }} {", "} } {"),
            ("{", "{"),
            ("x{2,3}", "x{2,3}"),
            ("", ""),
        ] {
            let rendered = render_with(template, &inputs, &state());
            assert_eq!(rendered.as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn a_missing_name_is_an_error_that_says_where() {
        let error = render_with("about {topci}", &Map::new(), &state()).unwrap_err();
        assert_eq!(error.offset, 6);
        assert!(error.message.contains("did you mean `topic`?"), "{error}");
    }

    #[test]
    fn names_are_told_with_their_offsets() {
        let template = Template::parse("a {b} {{c}} {state.d}").unwrap();
        let path = |path: &[&str]| path.iter().map(|part| (*part).to_owned()).collect();
        assert_eq!(
            template.names(),
            vec![(2, path(&["b"])), (12, path(&["state", "d"]))]
        );
    }

    #[test]
    fn a_single_placeholder_gives_the_value_itself() {
        let (state, inputs) = (state(), Map::new());
        let scope = Scope {
            inputs: &inputs,
            state: &state,
            last: None,
        };
        let body = json!({"n": "{n}", "{n}": ["{list}", " {n}", 4], "deep": "{deep.items.0}"});
        let rendered = render_json(&body, &scope).unwrap();
        assert_eq!(
            rendered,
            json!({"n": 3, "{n}": [["a", 1.0], " 3", 4], "deep": {"id": "x{topic}"}})
        );
    }

    #[test]
    fn a_template_bomb_is_refused() {
        let mut state = Map::new();
        state.insert("x".to_owned(), json!("y".repeat(1 << 19)));
        let inputs = Map::new();
        let error = render_with("{x}{x}{x}", &inputs, &state).unwrap_err();
        assert!(error.message.contains("1048576 bytes"), "{error}");
        let scope = Scope {
            inputs: &inputs,
            state: &state,
            last: None,
        };
        let many = Value::Array(vec![json!("{x}"); 9]);
        assert!(render_json(&many, &scope).is_err());
        assert!(Template::parse(&" ".repeat(LEN_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[{}a.b_0 \"é-]{0,40}|\\PC*") {
            let (inputs, state) = (Map::new(), state());
            let _ = render_with(&text, &inputs, &state);
        }

        #[test]
        fn text_without_braces_stays(text in "[^{}]*") {
            prop_assert_eq!(render_with(&text, &Map::new(), &Map::new()), Ok(text));
        }
    }
}
