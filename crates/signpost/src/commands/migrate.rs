//! `signpost migrate`: brings the database to this program's schema.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use crate::{
    local::{self, DataDir},
    output::{GOOD, Out, styled},
};

/// Bring the database to this version's schema, and say which it has
///
/// `serve` does the same when it starts; this is for doing it beforehand, after a backup.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    data_dir: DataDir,
}

/// Runs `signpost migrate`.
pub async fn run(args: MigrateArgs, out: Out) -> Result<ExitCode> {
    let store = local::open(&args.data_dir, local::IfMissing::Create).await?;
    let facts = store.facts().await;
    store.close().await;
    let facts = facts?;
    if out.is_json() {
        out.document(&json!({
            "kind": facts.kind,
            "version": facts.version,
            "schemaVersion": facts.schema_version,
            "sizeBytes": facts.size_bytes,
        }))?;
    } else {
        let (kind, version, schema) = (facts.kind, &facts.version, facts.schema_version);
        out.line(format_args!(
            "{} schema version {schema} ({kind} {version})",
            styled(GOOD, "✓")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
