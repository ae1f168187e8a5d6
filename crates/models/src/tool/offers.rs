//! What models are told of the tools: descriptions, and parameters as JSON Schema.

use serde_json::{Map, Value, json};

use super::Builtin;
use crate::provider::Offer;

pub(super) fn offer(name: &str, tool: Builtin) -> Offer {
    let (description, required, optional) = told(tool);
    let all = required.iter().chain(optional);
    let properties: Map<String, Value> = all
        .map(|(name, description)| ((*name).to_owned(), property(name, description)))
        .collect();
    let required: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    Offer {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters: json!({
            "type": "object",
            "properties": properties,
            "required": required,
        }),
    }
}

/// Most parameters are texts; those of these names are not.
fn property(name: &str, description: &str) -> Value {
    let mut schema = match name {
        "args" => json!({"type": "array", "items": {"type": "string"}}),
        "data" => json!({"type": "array", "items": {"type": "object"}}),
        "headers" => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        "append" => json!({"type": "boolean"}),
        "count" => json!({"type": "integer", "minimum": 1, "maximum": 20}),
        _ => json!({"type": "string"}),
    };
    schema["description"] = json!(description);
    schema
}

type Parameters = &'static [(&'static str, &'static str)];

/// What it does, what it must be given, what it may be given.
fn told(tool: Builtin) -> (&'static str, Parameters, Parameters) {
    const PATH: (&str, &str) = ("path", "The file, below an allowed folder.");
    match tool {
        Builtin::HttpClient => (
            "Makes an HTTP request and gives status and body. Redirects are not followed.",
            &[("url", "An http or https URL.")],
            &[
                (
                    "method",
                    "GET (the default), POST, PUT, PATCH, DELETE or HEAD.",
                ),
                ("headers", "Headers to send."),
                ("body", "The body to send."),
            ],
        ),
        Builtin::WebSearch | Builtin::SerperSearch => (
            "Searches the web and gives titles, URLs and snippets.",
            &[("query", "What to search for.")],
            &[("count", "How many results; 5 unless said.")],
        ),
        Builtin::WebScrape => (
            "Fetches a web page and gives its text.",
            &[("url", "The page's http or https URL.")],
            &[],
        ),
        Builtin::JsonParse => (
            "Parses a JSON text, and gives the value at a JSON pointer in it.",
            &[("text", "The JSON text.")],
            &[("pointer", "A JSON pointer such as /items/0/name.")],
        ),
        Builtin::YamlParse => (
            "Parses a YAML text and gives it as JSON.",
            &[("text", "The YAML text.")],
            &[],
        ),
        Builtin::DataframeToCsv => (
            "Writes a list of objects as CSV text, a row for each.",
            &[("data", "The rows.")],
            &[],
        ),
        Builtin::FileRead => ("Reads a text file.", &[PATH], &[]),
        Builtin::FileWrite => (
            "Writes a text file; a file that is there is replaced.",
            &[PATH, ("content", "The text.")],
            &[("append", "Whether to add to the file instead.")],
        ),
        Builtin::FileGlob => (
            "Finds files by a pattern: * within a name, ** for any folders, ? for one character.",
            &[("pattern", "The pattern, below an allowed folder.")],
            &[],
        ),
        Builtin::FileMove => (
            "Moves or renames a file; nothing is replaced.",
            &[
                ("from", "The file, below an allowed folder."),
                ("to", "Where to, below the same folder."),
            ],
            &[],
        ),
        Builtin::SqlQuery => (
            "Runs a SELECT over an SQLite database and gives its rows.",
            &[
                ("database", "The database's file, below an allowed folder."),
                ("query", "One SELECT statement."),
            ],
            &[],
        ),
        Builtin::EnvVars => (
            "Reads environment variables that the operator allows.",
            &[],
            &[(
                "pattern",
                "A name, or a beginning with * after it; all unless said.",
            )],
        ),
        Builtin::Shell => (
            "Runs one program that the operator allows, without a shell: no pipes, no variables.",
            &[(
                "command",
                "The program and its arguments, quoted as in a shell.",
            )],
            &[],
        ),
        Builtin::Process => (
            "Runs one program that the operator allows, and gives its output.",
            &[("program", "The program's name.")],
            &[("args", "Its arguments.")],
        ),
    }
}
