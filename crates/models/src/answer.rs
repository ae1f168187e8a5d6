//! A model's answer, read with some leniency and checked against the output's types.

use domain::workflow::definition::{FieldType, Output};
use serde_json::{Map, Value};

use crate::schema::VALUE;

/// The most problems that are named: a model repairs its answer by them.
const PROBLEMS_MAX: usize = 8;

/// The output that an answer's text stands for.
///
/// JSON may stand in a fenced block or between other sentences. Numbers and truth values that
/// came as texts, and whole numbers that came with `.0`, are taken; fields that nobody asked for
/// are dropped.
///
/// # Errors
/// What does not fit, for the model to repair.
pub(crate) fn read(text: &str, output: Option<&Output>) -> Result<Value, String> {
    let output = match output {
        None | Some(Output::Value(FieldType::Str)) => return Ok(Value::from(text)),
        Some(output) => output,
    };
    let json = json_within(text).ok_or_else(|| "the answer holds no JSON".to_owned())?;
    let mut problems = Vec::new();
    let value = match output {
        Output::Value(kind) => single(json, kind, &mut problems),
        Output::Fields(fields) => {
            let fields = fields
                .iter()
                .map(|field| (&*field.name, &field.kind))
                .collect::<Vec<_>>();
            fields_of(json, &fields, "", &mut problems)
        }
    };
    if problems.is_empty() {
        return Ok(value);
    }
    problems.truncate(PROBLEMS_MAX);
    Err(problems.join("; "))
}

/// A single value may come wrapped, as it was asked for, or bare.
fn single(json: Value, kind: &FieldType, problems: &mut Vec<String>) -> Value {
    let wrapped = json
        .as_object()
        .filter(|object| object.len() == 1)
        .and_then(|object| object.get(VALUE));
    let value = wrapped.cloned().unwrap_or(json);
    fit(value, kind, VALUE, problems)
}

fn fields_of(
    json: Value,
    fields: &[(&str, &FieldType)],
    path: &str,
    problems: &mut Vec<String>,
) -> Value {
    let Value::Object(mut object) = json else {
        problems.push(mismatch(path, "an object", &json));
        return Value::Null;
    };
    let mut fitted = Map::new();
    for (name, kind) in fields {
        let path = if path.is_empty() {
            (*name).to_owned()
        } else {
            format!("{path}.{name}")
        };
        match object.remove(*name) {
            Some(value) => {
                let value = fit(value, kind, &path, problems);
                fitted.insert((*name).to_owned(), value);
            }
            None => problems.push(format!("`{path}` is missing")),
        }
    }
    Value::Object(fitted)
}

fn fit(value: Value, kind: &FieldType, path: &str, problems: &mut Vec<String>) -> Value {
    let fitted = match (kind, value) {
        (FieldType::Int, value) => whole(&value).ok_or((value, "a whole number")),
        (FieldType::Float, value) => number(&value).ok_or((value, "a number")),
        (FieldType::Bool, value) => truth(&value).ok_or((value, "true or false")),
        (FieldType::Str, value @ Value::String(_))
        | (FieldType::List, value @ Value::Array(_))
        | (FieldType::Dict, value @ Value::Object(_)) => Ok(value),
        (FieldType::ListOf(item), Value::Array(items)) => Ok(items
            .into_iter()
            .enumerate()
            .map(|(index, value)| fit(value, item, &format!("{path}[{index}]"), problems))
            .collect()),
        (FieldType::DictOf(item), Value::Object(entries)) => Ok(entries
            .into_iter()
            .map(|(key, value)| {
                let path = format!("{path}.{key}");
                let value = fit(value, item, &path, problems);
                (key, value)
            })
            .collect()),
        (FieldType::Object(fields), value @ Value::Object(_)) if fields.is_empty() => Ok(value),
        (FieldType::Object(fields), value @ Value::Object(_)) => {
            let fields: Vec<_> = fields.iter().map(|(name, kind)| (&**name, kind)).collect();
            Ok(fields_of(value, &fields, path, problems))
        }
        (FieldType::Str, value) => Err((value, "a text")),
        (FieldType::List | FieldType::ListOf(_), value) => Err((value, "a list")),
        (FieldType::Dict | FieldType::DictOf(_) | FieldType::Object(_), value) => {
            Err((value, "an object"))
        }
    };
    fitted.unwrap_or_else(|(value, expected)| {
        problems.push(mismatch(path, expected, &value));
        Value::Null
    })
}

fn mismatch(path: &str, expected: &str, got: &Value) -> String {
    let got = match got {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    if path.is_empty() {
        format!("expected {expected}, got {got}")
    } else {
        format!("`{path}` must be {expected}, not {got}")
    }
}

/// The largest whole number that every double up to it can hold.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

fn whole(value: &Value) -> Option<Value> {
    match value {
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(value.clone()),
        Value::Number(number) => {
            let float = number.as_f64()?;
            if float.fract() != 0.0 || float.abs() > EXACT_MAX {
                return None;
            }
            format!("{float:.0}").parse::<i64>().ok().map(Value::from)
        }
        Value::String(text) => text.trim().parse::<i64>().ok().map(Value::from),
        _ => None,
    }
}

fn number(value: &Value) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value.clone()),
        Value::String(text) => {
            let float = text.trim().parse::<f64>().ok()?;
            serde_json::Number::from_f64(float).map(Value::Number)
        }
        _ => None,
    }
}

fn truth(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(_) => Some(value.clone()),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

/// The JSON within a text: the whole of it, a fenced block's, or what begins with the first
/// bracket that a JSON value begins with.
fn json_within(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    fenced(text)
        .and_then(|block| serde_json::from_str(block.trim()).ok())
        .or_else(|| first_value(text))
}

fn fenced(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("```")?;
    let (_language, block) = after.split_once('\n')?;
    Some(block.rsplit_once("```").map_or(block, |(block, _)| block))
}

/// How many opening brackets are tried.
const STARTS_MAX: usize = 16;

fn first_value(text: &str) -> Option<Value> {
    text.char_indices()
        .filter(|(_, c)| matches!(c, '{' | '['))
        .take(STARTS_MAX)
        .find_map(|(at, _)| {
            serde_json::Deserializer::from_str(&text[at..])
                .into_iter::<Value>()
                .next()?
                .ok()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::workflow::definition::OutputField;
    use serde_json::json;

    fn fields(fields: &[(&str, FieldType)]) -> Output {
        Output::Fields(
            fields
                .iter()
                .map(|(name, kind)| OutputField {
                    name: (*name).to_owned(),
                    kind: kind.clone(),
                    description: String::new(),
                })
                .collect(),
        )
    }

    #[test]
    fn json_is_found_in_fences_and_between_sentences() {
        let output = fields(&[("a", FieldType::Int)]);
        for text in [
            r#"{"a": 1}"#,
            " {\"a\": 1.0, \"extra\": 2}\n",
            "```json\n{\"a\": 1}\n```",
            "Here it is:\n```\n{\"a\": \"1\"}\n```\nAnything else?",
            "Sure {ok}! {\"a\": 1} is what I found.",
        ] {
            assert_eq!(read(text, Some(&output)), Ok(json!({"a": 1})), "{text}");
        }
    }

    #[test]
    fn each_misfit_is_named_with_its_path() {
        let output = fields(&[
            ("a", FieldType::Int),
            ("b", FieldType::ListOf(Box::new(FieldType::Bool))),
            (
                "c",
                FieldType::Object(vec![("d".to_owned(), FieldType::Str)]),
            ),
            ("e", FieldType::Float),
        ]);
        assert_eq!(
            read(
                r#"{"a": 1.5, "b": [true, "no"], "c": {"d": 3}}"#,
                Some(&output)
            ),
            Err("`a` must be a whole number, not a number; \
                 `b[1]` must be true or false, not a text; \
                 `c.d` must be a text, not a number; `e` is missing"
                .to_owned())
        );
        assert_eq!(
            read("[1]", Some(&output)),
            Err("expected an object, got a list".to_owned())
        );
        assert_eq!(
            read("no", Some(&output)),
            Err("the answer holds no JSON".to_owned())
        );
    }

    #[test]
    fn a_single_value_comes_wrapped_or_bare() {
        let list = Output::Value(FieldType::ListOf(Box::new(FieldType::Str)));
        assert_eq!(read(r#"{"value": ["x"]}"#, Some(&list)), Ok(json!(["x"])));
        assert_eq!(read(r#"["x"]"#, Some(&list)), Ok(json!(["x"])));
        let text = Output::Value(FieldType::Str);
        assert_eq!(read("{\"a\"", Some(&text)), Ok(json!("{\"a\"")));
    }
}
