//! Examples made from schemas: a body for each operation and the `curl` line that sends it.

use serde_json::{Map, Value, json};

use super::{markdown::push, page::resolve};

/// How deep an example is made.
const DEPTH_MAX: usize = 6;

/// A value that fits `schema`: its own example where it has one.
pub fn example_of(document: &Value, schema: &Value) -> Value {
    of_depth(document, schema, 0)
}

fn of_depth(document: &Value, schema: &Value, depth: usize) -> Value {
    let schema = resolve(document, schema);
    let given = schema
        .get("example")
        .or_else(|| schema["examples"].get(0))
        .or_else(|| schema.get("default"));
    if let Some(given) = given
        .or_else(|| schema["enum"].get(0))
        .or_else(|| schema.get("const"))
    {
        return given.clone();
    }
    if depth >= DEPTH_MAX {
        return Value::Null;
    }
    for key in ["oneOf", "anyOf"] {
        let mut options = schema[key].as_array().into_iter().flatten();
        if let Some(option) = options.find(|option| option["type"] != "null") {
            return of_depth(document, option, depth + 1);
        }
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let merged = parts
            .iter()
            .filter_map(|part| match of_depth(document, part, depth + 1) {
                Value::Object(fields) => Some(fields),
                _ => None,
            });
        return Value::Object(merged.flatten().collect());
    }
    let kind = match &schema["type"] {
        Value::Array(names) => names
            .iter()
            .find(|name| *name != "null")
            .and_then(Value::as_str),
        name => name.as_str(),
    };
    match kind {
        Some("object") => object(document, schema, depth),
        Some("array") => json!([of_depth(document, &schema["items"], depth + 1)]),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(true),
        Some("string") => json!(match schema["format"].as_str() {
            Some("date-time") => "2026-01-31T09:30:00.000Z",
            Some("uri") => "https://example.com/webhook",
            Some("password") => "correct horse battery",
            _ => "text",
        }),
        _ => Value::Null,
    }
}

/// Only the required fields and those with an example of their own: enough to begin with.
fn object(document: &Value, schema: &Value, depth: usize) -> Value {
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    let fields = schema["properties"].as_object().into_iter().flatten();
    let shown = fields.filter(|(name, field)| {
        required.iter().any(|known| known == name)
            || resolve(document, field).get("example").is_some()
    });
    shown
        .map(|(name, field)| (name.clone(), of_depth(document, field, depth + 1)))
        .collect::<Map<_, _>>()
        .into()
}

/// The `curl` line that calls an operation.
pub fn curl(document: &Value, method: &str, path: &str, operation: &Value) -> String {
    let mut path = path.to_owned();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "path" {
            let name = parameter["name"].as_str().unwrap_or_default();
            let example = parameter["example"]
                .as_str()
                .or(parameter["schema"]["example"].as_str());
            path = path.replace(&format!("{{{name}}}"), example.unwrap_or(name));
        }
    }
    let mut line = "curl".to_owned();
    if method != "get" {
        push(&mut line, format_args!(" -X {}", method.to_uppercase()));
    }
    push(&mut line, format_args!(" \"$SIGNPOST_URL{path}\""));
    let is_open = operation["security"].as_array().is_some();
    if !is_open {
        line += " \\\n  -H \"Authorization: Bearer $SIGNPOST_TOKEN\"";
    }
    let body = &operation["requestBody"]["content"]["application/json"];
    if body.is_object() {
        let example = body
            .get("example")
            .cloned()
            .unwrap_or_else(|| example_of(document, &body["schema"]));
        let text = serde_json::to_string_pretty(&example).unwrap_or_default();
        let text = text.replace('\'', "'\\''");
        push(
            &mut line,
            format_args!(" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{text}'"),
        );
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curl_line_has_ids_credentials_and_a_body() {
        let document = json!({ "components": { "schemas": { "New": {
            "type": "object", "required": ["name", "at"],
            "properties": {
                "name": { "type": "string", "example": "it's" },
                "at": { "type": ["string", "null"], "format": "date-time" },
                "more": { "type": "integer" },
            },
        } } } });
        let operation = json!({
            "parameters": [{ "in": "path", "name": "id", "example": "whk_1" }],
            "requestBody": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/New" } } } },
        });
        assert_eq!(
            curl(&document, "post", "/webhooks/{id}/test", &operation),
            "curl -X POST \"$SIGNPOST_URL/webhooks/whk_1/test\" \\\n  -H \"Authorization: Bearer $SIGNPOST_TOKEN\" \\\n  \
             -H \"Content-Type: application/json\" \\\n  -d '{\n  \"name\": \"it'\\''s\",\n  \
             \"at\": \"2026-01-31T09:30:00.000Z\"\n}'"
        );
    }
}
