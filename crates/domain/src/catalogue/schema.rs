//! Schemas that users give for event types: checked when they are registered, applied when a
//! published event's type enforces its own.
//!
//! JSON Schema 2020-12 unless `$schema` names another draft. Everything is local: a reference to
//! anywhere else is refused, nothing is ever fetched. Work is bounded: patterns run in linear
//! time (so they have no look-around and no back-references), and references that multiply
//! ([`references`]) are refused.

mod references;

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

/// The longest schema, in bytes.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// The most violations that are told of one value.
pub const ERRORS_MAX: usize = 20;
/// The longest message of a violation, in characters.
const MESSAGE_CHARS_MAX: usize = 300;

/// A schema that is ready to be applied. Cheap to share behind an `Arc`, costly to make.
pub struct CompiledSchema(Validator);

impl fmt::Debug for CompiledSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompiledSchema")
    }
}

/// Why a schema is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// Too long.
    #[error("a schema has at most {SCHEMA_BYTES_MAX} bytes")]
    TooLong,
    /// Not JSON, or neither an object nor a boolean.
    #[error("a schema is a JSON object: {0}")]
    Json(String),
    /// Not what JSON Schema allows, or not what is taken of it here.
    #[error("{message} (at `{path}`)")]
    Invalid {
        /// Where, as a JSON Pointer.
        path: String,
        /// What is wrong.
        message: String,
    },
}

/// One way in which a value does not fit its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaViolation {
    /// Where in the value, as a JSON Pointer.
    pub path: String,
    /// What was expected there.
    pub message: String,
}

impl std::fmt::Display for SchemaViolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if !self.path.is_empty() {
            write!(f, "at {}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Checks and prepares a schema.
///
/// # Errors
/// If it is too long, no JSON Schema, or refers to anything outside itself.
pub fn check_schema(text: &str) -> Result<CompiledSchema, SchemaError> {
    if text.len() > SCHEMA_BYTES_MAX {
        return Err(SchemaError::TooLong);
    }
    let schema: Value =
        serde_json::from_str(text).map_err(|error| SchemaError::Json(error.to_string()))?;
    compile(&schema)
}

fn compile(schema: &Value) -> Result<CompiledSchema, SchemaError> {
    if !schema.is_object() {
        return Err(SchemaError::Json("expected `{`".into()));
    }
    references::check(schema)?;
    jsonschema::options()
        .offline()
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map(CompiledSchema)
        .map_err(|error| SchemaError::Invalid {
            path: error.instance_path().to_string(),
            message: cut(&error.to_string()),
        })
}

fn cut(message: &str) -> String {
    message.chars().take(MESSAGE_CHARS_MAX).collect()
}

impl CompiledSchema {
    /// The first [`ERRORS_MAX`] ways in which `value` does not fit; none: it fits.
    pub fn validate(&self, value: &Value) -> Vec<SchemaViolation> {
        self.0
            .iter_errors(value)
            .take(ERRORS_MAX)
            .map(|error| SchemaViolation {
                path: error.instance_path().to_string(),
                message: cut(&error.to_string()),
            })
            .collect()
    }
}
