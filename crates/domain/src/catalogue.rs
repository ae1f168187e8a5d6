//! The event catalogue: every event that Signpost itself emits, and what its `data` looks like.
//!
//! The names and shapes are the contract's (CONTRACTS: event catalogue), gathered from three
//! documents, so their styles differ on purpose: S0's and S2's fields are in `camelCase`, S1's in
//! `snake_case`, and S2's statuses in upper case. A schema binds what Signpost emits; published
//! events are checked only where their type was registered so ([`check_schema`]). Types that
//! users register live in the store, not here.

mod agents;
mod schema;
mod system;
mod workflows;

use std::{collections::HashMap, sync::LazyLock};

use serde_json::{Value, json};

pub use self::schema::{
    CompiledSchema, ERRORS_MAX, SCHEMA_BYTES_MAX, SchemaError, SchemaViolation, check_schema,
};
use crate::nearest;

/// A kind of event that Signpost emits.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueEntry {
    /// Its name.
    pub name: &'static str,
    /// The heading under which people find it.
    pub group: &'static str,
    /// When it is emitted, as one sentence.
    pub description: &'static str,
    /// The JSON Schema (2020-12) of its `data`.
    pub schema: Value,
    /// An example of its `data`.
    pub example: Value,
}

static ENTRIES: LazyLock<Vec<CatalogueEntry>> = LazyLock::new(|| {
    let mut entries = workflows::entries();
    entries.extend(agents::entries());
    entries.extend(system::entries());
    entries
});

static BY_NAME: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    ENTRIES
        .iter()
        .enumerate()
        .map(|(at, entry)| (entry.name, at))
        .collect()
});

/// All entries, grouped, in the order in which they are shown.
pub fn all() -> &'static [CatalogueEntry] {
    &ENTRIES
}

/// All names, in the same order.
pub fn names() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.name)
}

/// The entry of that name.
pub fn find(name: &str) -> Option<&'static CatalogueEntry> {
    BY_NAME.get(name).map(|at| &ENTRIES[*at])
}

/// The name in the catalogue that an unknown one may stand for: the nearest in spelling, else the
/// first that has all of its parts in their order (`task.execution.failed` for `task.failed`).
pub fn nearest_name(name: &str) -> Option<&'static str> {
    let has_all_parts = |known: &&str| {
        let mut parts = known.split('.');
        name.split('.')
            .all(|wanted| parts.any(|part| part == wanted))
    };
    nearest::nearest(name, names()).or_else(|| names().find(has_all_parts))
}

/// The schema of an object in which all of `required` must stand.
fn object(required: &[&str], properties: &Value) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": required,
        "properties": properties,
    })
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn time(description: &str) -> Value {
    json!({ "type": "string", "format": "date-time", "description": description })
}

fn count(description: &str) -> Value {
    json!({ "type": "integer", "minimum": 0, "description": description })
}

fn constant(value: &str) -> Value {
    json!({ "const": value })
}
