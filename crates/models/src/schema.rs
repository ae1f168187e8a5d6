//! The output's types as JSON Schema, in the subset that all providers take.

use domain::workflow::definition::{FieldType, Output};
use serde_json::{Map, Value, json};

/// The name under which a single value travels: providers want an object at the root.
pub(crate) const VALUE: &str = "value";

/// What a model is to answer: none for plain text, else the schema of an object.
pub(crate) fn of_output(output: Option<&Output>) -> Option<Value> {
    match output? {
        Output::Value(FieldType::Str) => None,
        Output::Value(kind) => Some(object(std::iter::once((VALUE, "", kind)))),
        Output::Fields(fields) => {
            Some(object(fields.iter().map(|field| {
                (&*field.name, &*field.description, &field.kind)
            })))
        }
    }
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str, &'a FieldType)>) -> Value {
    let mut properties = Map::new();
    for (name, description, kind) in fields {
        let mut schema = of_type(kind);
        if !description.is_empty() {
            schema["description"] = Value::from(description);
        }
        properties.insert(name.to_owned(), schema);
    }
    let required: Vec<_> = properties.keys().cloned().collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn of_type(kind: &FieldType) -> Value {
    match kind {
        FieldType::Str => json!({"type": "string"}),
        FieldType::Int => json!({"type": "integer"}),
        FieldType::Float => json!({"type": "number"}),
        FieldType::Bool => json!({"type": "boolean"}),
        FieldType::List => json!({"type": "array", "items": {}}),
        FieldType::ListOf(item) => json!({"type": "array", "items": of_type(item)}),
        FieldType::Dict => json!({"type": "object", "additionalProperties": true}),
        FieldType::DictOf(value) => {
            json!({"type": "object", "additionalProperties": of_type(value)})
        }
        FieldType::Object(fields) if fields.is_empty() => of_type(&FieldType::Dict),
        FieldType::Object(fields) => object(fields.iter().map(|(name, kind)| (&**name, "", kind))),
    }
}

/// Whether every object of the output lists its fields and every list its items: what `OpenAI`
/// asks of a schema that it is to enforce.
pub(crate) fn is_closed(output: &Output) -> bool {
    fn closed(kind: &FieldType) -> bool {
        match kind {
            FieldType::Str | FieldType::Int | FieldType::Float | FieldType::Bool => true,
            FieldType::List | FieldType::Dict | FieldType::DictOf(_) => false,
            FieldType::ListOf(item) => closed(item),
            FieldType::Object(fields) => {
                !fields.is_empty() && fields.iter().all(|(_, kind)| closed(kind))
            }
        }
    }
    match output {
        Output::Value(kind) => closed(kind),
        Output::Fields(fields) => fields.iter().all(|field| closed(&field.kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::workflow::definition::OutputField;

    #[test]
    fn fields_become_required_properties_with_their_descriptions() {
        let output = Output::Fields(vec![
            OutputField {
                name: "title".to_owned(),
                kind: FieldType::Str,
                description: "a short one".to_owned(),
            },
            OutputField {
                name: "scores".to_owned(),
                kind: FieldType::ListOf(Box::new(FieldType::Object(vec![(
                    "n".to_owned(),
                    FieldType::Int,
                )]))),
                description: String::new(),
            },
        ]);
        assert_eq!(
            of_output(Some(&output)).unwrap(),
            json!({
                "type": "object",
                "properties": {
                    "title": {"type": "string", "description": "a short one"},
                    "scores": {"type": "array", "items": {
                        "type": "object",
                        "properties": {"n": {"type": "integer"}},
                        "required": ["n"],
                        "additionalProperties": false,
                    }},
                },
                "required": ["title", "scores"],
                "additionalProperties": false,
            })
        );
        assert!(is_closed(&output));
    }

    #[test]
    fn a_text_needs_no_schema_and_another_value_is_wrapped() {
        assert_eq!(of_output(None), None);
        assert_eq!(of_output(Some(&Output::Value(FieldType::Str))), None);
        let int = of_output(Some(&Output::Value(FieldType::Int))).unwrap();
        assert_eq!(int["properties"]["value"], json!({"type": "integer"}));
        assert!(!is_closed(&Output::Value(FieldType::Dict)));
    }
}
