//! `signpost schema`: the form of workflow files, for editors.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::output::Out;

/// Print the JSON Schema of workflow files
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost schema > workflow.schema.json

Editors complete and check workflow files with it: put this at the top of a file.
  # yaml-language-server: $schema=workflow.schema.json")]
pub struct SchemaArgs {}

/// Runs `signpost schema`.
pub fn run(_: &SchemaArgs, out: Out) -> Result<ExitCode> {
    let schema = domain::workflow::file::schema::schema();
    out.line(serde_json::to_string_pretty(schema)?)?;
    Ok(ExitCode::SUCCESS)
}
