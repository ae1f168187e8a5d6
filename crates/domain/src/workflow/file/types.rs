//! Types of fields as files write them: `str`, `list[int]`, `dict[str, list[float]]`, `object` with
//! its fields; and JSON Schema's words for them in the loose dialect.

use serde_json::{Map, Value};

use crate::{nearest::nearest, workflow::definition::FieldType};

/// The words for types.
const WORDS: [&str; 7] = ["str", "int", "float", "bool", "list", "dict", "object"];
/// How deep types may be nested.
const DEPTH_MAX: usize = 16;

/// A type that is none: what is wrong, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub struct TypeError {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// Reads a type; `schema` are the fields of an `object`.
pub fn read(text: &str, schema: Option<&Map<String, Value>>) -> Result<FieldType, TypeError> {
    read_at(text, schema, 0)
}

fn read_at(
    text: &str,
    schema: Option<&Map<String, Value>>,
    depth: usize,
) -> Result<FieldType, TypeError> {
    if depth > DEPTH_MAX {
        return Err(TypeError {
            message: format!("a type is nested deeper than {DEPTH_MAX} levels"),
            help: None,
        });
    }
    let text = text.trim();
    if text == "object" {
        let fields = schema.into_iter().flatten();
        return fields
            .map(|(name, kind)| Ok((name.clone(), field(kind, depth + 1)?)))
            .collect::<Result<_, _>>()
            .map(FieldType::Object);
    }
    if let Some(item) = within(text, "list") {
        return Ok(FieldType::ListOf(Box::new(read_at(
            item,
            schema,
            depth + 1,
        )?)));
    }
    if let Some(both) = within(text, "dict") {
        let (key, value) = both.split_once(',').ok_or_else(|| TypeError {
            message: format!("`{text}` names one type, a dict has two"),
            help: Some(format!("write `dict[str, {both}]`")),
        })?;
        if key.trim() != "str" {
            return Err(TypeError {
                message: format!("the keys of a dict are `str`, not `{}`", key.trim()),
                help: Some(format!("write `dict[str, {}]`", value.trim())),
            });
        }
        return Ok(FieldType::DictOf(Box::new(read_at(
            value,
            schema,
            depth + 1,
        )?)));
    }
    Ok(match text {
        "str" => FieldType::Str,
        "int" => FieldType::Int,
        "float" => FieldType::Float,
        "bool" => FieldType::Bool,
        "list" => FieldType::List,
        "dict" => FieldType::Dict,
        _ => return Err(unknown(text)),
    })
}

/// A field of an object: a type, or a mapping that has one, or the fields of an object within.
fn field(kind: &Value, depth: usize) -> Result<FieldType, TypeError> {
    match kind {
        Value::String(text) => read_at(text, None, depth),
        Value::Object(map) => match map.get("type") {
            Some(Value::String(text)) => {
                let schema = map.get("schema").and_then(Value::as_object);
                read_at(text, schema, depth)
            }
            _ => read_at("object", Some(map), depth),
        },
        other => Err(TypeError {
            message: format!("a type is a text such as `str`, not `{other}`"),
            help: None,
        }),
    }
}

fn within<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.strip_prefix(word)?
        .strip_prefix('[')?
        .strip_suffix(']')
        .map(str::trim)
}

fn unknown(text: &str) -> TypeError {
    let other = match text.to_ascii_lowercase().as_str() {
        "string" | "text" => Some("str"),
        "integer" | "number" | "long" => Some("int` or `float"),
        "double" | "decimal" => Some("float"),
        "boolean" => Some("bool"),
        "array" | "set" | "tuple" => Some("list"),
        "map" | "json" | "any" => Some("dict"),
        lower => nearest(lower, WORDS),
    };
    TypeError {
        message: format!("there is no type `{}`", super::tree::cut(text)),
        help: Some(match other {
            Some(near) => format!("did you mean `{near}`?"),
            None => "types are `str`, `int`, `float`, `bool`, `list`, `list[T]`, `dict`, `dict[str, T]`, `object`".to_owned(),
        }),
    }
}

/// Reads a property of JSON Schema, as the loose dialect has them.
pub fn property(property: &Value) -> Result<FieldType, TypeError> {
    property_at(property, 0)
}

fn property_at(property: &Value, depth: usize) -> Result<FieldType, TypeError> {
    if depth > DEPTH_MAX {
        return read_at("str", None, depth);
    }
    let kind = match property["type"].as_str() {
        Some(kind) => kind,
        None if property["properties"].is_object() => "object",
        None if property["items"].is_object() => "array",
        None => {
            return Err(TypeError {
                message: "a property has no `type`".to_owned(),
                help: Some(
                    "write `type: string`, `number`, `integer`, `boolean`, `array` or `object`"
                        .to_owned(),
                ),
            });
        }
    };
    Ok(match kind {
        "string" => FieldType::Str,
        "integer" => FieldType::Int,
        "number" => FieldType::Float,
        "boolean" => FieldType::Bool,
        "array" => match &property["items"] {
            items @ Value::Object(_) => FieldType::ListOf(Box::new(property_at(items, depth + 1)?)),
            _ => FieldType::List,
        },
        "object" => match &property["properties"] {
            Value::Object(fields) => FieldType::Object(
                fields
                    .iter()
                    .map(|(name, field)| Ok((name.clone(), property_at(field, depth + 1)?)))
                    .collect::<Result<_, _>>()?,
            ),
            _ => FieldType::Dict,
        },
        other => read_at(other, None, depth)?,
    })
}

/// A type as files write it.
pub fn written(kind: &FieldType) -> String {
    match kind {
        FieldType::Str => "str".to_owned(),
        FieldType::Int => "int".to_owned(),
        FieldType::Float => "float".to_owned(),
        FieldType::Bool => "bool".to_owned(),
        FieldType::List => "list".to_owned(),
        FieldType::ListOf(item) => format!("list[{}]", written(item)),
        FieldType::Dict => "dict".to_owned(),
        FieldType::DictOf(value) => format!("dict[str, {}]", written(value)),
        FieldType::Object(_) => "object".to_owned(),
    }
}

/// Whether every value of the type `given` is one of the type `wanted`.
pub fn fits(given: &FieldType, wanted: &FieldType) -> bool {
    use FieldType::{Dict, DictOf, Float, Int, List, ListOf, Object};
    match (given, wanted) {
        (Int, Float) | (ListOf(_), List) | (DictOf(_) | Object(_), Dict) => true,
        (Object(_) | Dict | DictOf(_), Object(fields)) if fields.is_empty() => true,
        (ListOf(given), ListOf(wanted)) | (DictOf(given), DictOf(wanted)) => fits(given, wanted),
        (Object(given), DictOf(wanted)) => given.iter().all(|(_, kind)| fits(kind, wanted)),
        (Object(given), Object(wanted)) => wanted.iter().all(|(name, kind)| {
            given
                .iter()
                .any(|(other, given)| other == name && fits(given, kind))
        }),
        (given, wanted) => given == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_they_are_written() {
        for text in ["str", "list", "list[int]", "dict[str, list[float]]", "dict"] {
            assert_eq!(written(&read(text, None).unwrap()), text);
        }
        for (text, says) in [
            ("string", "did you mean `str`?"),
            ("lits", "did you mean `list`?"),
            ("dict[int, str]", "write `dict[str, str]`"),
            ("dict[str]", "write `dict[str, str]`"),
            ("list[strr]", "did you mean `str`?"),
            ("list[", "did you mean `list`?"),
            ("", "types are"),
        ] {
            let help = read(text, None).unwrap_err().help.unwrap();
            assert!(help.contains(says), "{text}: {help}");
        }
        assert!(
            read(
                &format!("{}int{}", "list[".repeat(40), "]".repeat(40)),
                None
            )
            .is_err()
        );
    }

    #[test]
    fn a_type_fits_a_wider_one_only() {
        for (given, wanted, ok) in [
            ("int", "float", true),
            ("float", "int", false),
            ("list[int]", "list", true),
            ("list", "list[int]", false),
            ("list[int]", "list[float]", true),
            ("dict[str, int]", "dict", true),
            ("str", "str", true),
            ("str", "int", false),
        ] {
            let read = |text| read(text, None).unwrap();
            assert_eq!(fits(&read(given), &read(wanted)), ok, "{given} {wanted}");
        }
    }
}
