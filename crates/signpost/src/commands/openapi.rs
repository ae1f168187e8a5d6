//! `signpost openapi`: the interface as a document, without a server.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::output::Out;

/// Print the OpenAPI 3.1 document of the HTTP interface, its webhooks included
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost openapi > openapi.json

A running server has the same at /api/openapi.json, and readable at /api/docs.")]
pub struct OpenapiArgs {}

/// Runs `signpost openapi`.
pub fn run(_: &OpenapiArgs, out: Out) -> Result<ExitCode> {
    out.line(serde_json::to_string_pretty(&server::api::document())?)?;
    Ok(ExitCode::SUCCESS)
}
