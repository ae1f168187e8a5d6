//! The published JSON Schema of workflow files, made of the types in [`super::model`].

use std::sync::LazyLock;

use serde_json::Value;

use super::model::{ToolSettings, WorkflowFile};

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(WorkflowFile).to_value());

static TOOL: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(ToolSettings).to_value());

/// The JSON Schema (2020-12) of workflow files.
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// That of a tool's settings, which the file's own leaves open: a tool may also be a mapping of
/// its name to them.
pub(super) fn tool() -> &'static Value {
    &TOOL
}
