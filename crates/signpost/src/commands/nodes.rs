//! `signpost nodes`: the processes that share a database.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use comfy_table::Color;
use serde_json::Value;

use super::connection::Connection;
use crate::{
    client::Client,
    output::{self, Out, cell, show, text},
};

/// The most that are shown.
const NODES_MAX: usize = 10_000;

/// List the nodes: the processes that share a database, and what each is doing
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  signpost nodes
  signpost nodes --json | jq -r '.data[] | select(.state == \"draining\") | .name'

Needs the scope admin in the default workspace. How to run several: docs/guides/several-nodes.md.")]
pub struct NodesArgs {
    #[command(flatten)]
    connection: Connection,
}

/// Runs `signpost nodes`.
pub async fn run(args: NodesArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let listing = client.list("/api/v1/nodes", &[], NODES_MAX).await?;
    if out.is_json() {
        out.document(&listing)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table([
        "NAME",
        "ROLE",
        "STATE",
        "ADDRESS",
        "IN FLIGHT",
        "VERSION",
        "STARTED",
        "SEEN",
        "ID",
    ]);
    for node in &listing.data {
        table.add_row(vec![
            cell(&name(node), None),
            cell(&show(node, "role"), None),
            cell(&show(node, "state"), Some(color(node))),
            cell(&show(node, "address"), None),
            cell(&show(node, "inFlight"), None),
            cell(&show(node, "version"), None),
            cell(&show(node, "startedAt"), None),
            cell(&show(node, "seenAt"), None),
            cell(&show(node, "id"), None),
        ]);
    }
    out.table(table, "no node says that it runs")?;
    Ok(ExitCode::SUCCESS)
}

/// The name, with a mark at the node that was asked.
fn name(node: &Value) -> String {
    let mark = if node["isSelf"] == true { " *" } else { "" };
    format!("{}{mark}", show(node, "name"))
}

fn color(node: &Value) -> Color {
    if text(node, "state") == Some("active") {
        Color::Green
    } else {
        Color::Yellow
    }
}
