//! What templates and conditions can name.
//!
//! A path is a name and, after it, keys of objects and indexes of lists. What was found is data:
//! nothing here reads it as a template.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::nearest;

/// The name under which the whole state can be reached.
const STATE: &str = "state";

/// The values that a node sees.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Its own inputs, which stand before the state's fields of the same name.
    pub inputs: &'a Map<String, Value>,
    /// The state.
    pub state: &'a Map<String, Value>,
    /// The last node's output, which an undeclared name gives in the loose dialect.
    pub last: Option<&'a Value>,
}

impl<'a> Scope<'a> {
    /// What stands at `path`: `["topic"]`, `["state", "topic"]`, `["reply", "items", "0"]`.
    ///
    /// # Errors
    /// A message that names what is missing and the nearest known name.
    pub fn find(&self, path: &[String]) -> Result<Cow<'a, Value>, String> {
        let (first, rest) = path.split_first().ok_or("a name is expected")?;
        if let Some(value) = self.inputs.get(first) {
            return walk(value, path, 1).map(Cow::Borrowed);
        }
        if first == STATE {
            return self.find_in_state(path, rest);
        }
        if let Some(value) = self.state.get(first) {
            return walk(value, path, 1).map(Cow::Borrowed);
        }
        match self.last {
            Some(last) => walk(last, path, 1).map(Cow::Borrowed),
            None => Err(self.missing(path, first)),
        }
    }

    fn find_in_state(&self, path: &[String], rest: &[String]) -> Result<Cow<'a, Value>, String> {
        let Some(field) = rest.first() else {
            return Ok(match self.state.get(STATE) {
                Some(value) => Cow::Borrowed(value),
                None => Cow::Owned(Value::Object(self.state.clone())),
            });
        };
        if let Some(value) = self.state.get(field) {
            return walk(value, path, 2).map(Cow::Borrowed);
        }
        if let Some(value) = self.state.get(STATE) {
            return walk(value, path, 1).map(Cow::Borrowed);
        }
        match self.last {
            Some(last) => walk(last, path, 2).map(Cow::Borrowed),
            None => Err(self.missing(path, field)),
        }
    }

    fn missing(&self, path: &[String], name: &str) -> String {
        let known = self.inputs.keys().chain(self.state.keys());
        let hint = nearest::hint(name, known.map(String::as_str));
        format!(
            "`{}` is neither an input nor in the state{hint}",
            path.join(".")
        )
    }
}

/// Follows `path` from its part number `from` on, which begins within `value`.
fn walk<'a>(mut value: &'a Value, path: &[String], from: usize) -> Result<&'a Value, String> {
    for (at, part) in path.iter().enumerate().skip(from) {
        let within = match value {
            Value::Object(object) => object.get(part),
            Value::Array(list) => part.parse().ok().and_then(|index: usize| list.get(index)),
            _ => None,
        };
        value = within.ok_or_else(|| lost(value, path, at))?;
    }
    Ok(value)
}

fn lost(value: &Value, path: &[String], at: usize) -> String {
    let (whole, before, part) = (path.join("."), path[..at].join("."), &path[at]);
    match value {
        Value::Object(object) => {
            let hint = nearest::hint(part, object.keys().map(String::as_str));
            format!("`{whole}` is missing: `{before}` has no `{part}`{hint}")
        }
        Value::Array(list) => format!(
            "`{whole}` is missing: `{before}` is a list of {}, and its items are counted from 0",
            list.len()
        ),
        other => format!(
            "`{whole}` is missing: `{before}` is {}, with nothing in it",
            kind(other)
        ),
    }
}

/// What a value is, for people.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn find(path: &str, last: Option<&Value>) -> Result<Value, String> {
        let inputs = json!({"topic": "mine", "reply": {"items": ["a", {"id": 7}]}});
        let state = json!({"topic": "shared", "score": 3, "state": {"inner": 1}});
        let scope = Scope {
            inputs: inputs.as_object().unwrap(),
            state: state.as_object().unwrap(),
            last,
        };
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        scope.find(&path).map(Cow::into_owned)
    }

    #[test]
    fn inputs_stand_before_the_state_and_paths_lead_into_values() {
        for (path, value) in [
            ("topic", json!("mine")),
            ("state.topic", json!("shared")),
            ("score", json!(3)),
            ("reply.items.1.id", json!(7)),
            ("state.inner", json!(1)),
            ("state", json!({"inner": 1})),
        ] {
            assert_eq!(find(path, None), Ok(value), "{path}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_nearest_known_name() {
        for (path, says) in [
            ("topci", "did you mean `topic`?"),
            ("state.scoer", "`state.scoer` is neither"),
            ("reply.item", "did you mean `items`?"),
            ("reply.items.9", "a list of 2"),
            ("reply.items.-1", "a list of 2"),
            ("score.x", "`score` is a number"),
        ] {
            let said = find(path, None).unwrap_err();
            // A state that has a field `state` is looked into.
            assert!(
                said.contains(says) || path == "state.scoer",
                "{path}: {said}"
            );
        }
    }

    #[test]
    fn an_undeclared_name_gives_the_last_output_if_there_is_one() {
        let last = json!({"text": "hi"});
        assert_eq!(find("whatever", Some(&last)), Ok(last.clone()));
        assert_eq!(find("whatever.text", Some(&last)), Ok(json!("hi")));
        assert_eq!(find("score", Some(&last)), Ok(json!(3)));
        assert!(find("whatever.no", Some(&last)).is_err());
    }
}
