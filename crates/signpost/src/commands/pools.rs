//! `signpost pools`: resources of which there is only so much.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::json;

use super::{connection::Connection, events::path_part};
use crate::{
    client::Client,
    output::{self, Out, cell, show},
};

/// The most that are shown.
const POOLS_MAX: usize = 10_000;

/// Manage pools: resources of which there is only so much, which nodes take while they run
#[derive(Debug, Args)]
pub struct PoolsArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: PoolsCommand,
}

#[derive(Debug, Subcommand)]
enum PoolsCommand {
    List(ListArgs),
    Put(PutArgs),
    Delete(DeleteArgs),
}

/// List pools
#[derive(Debug, Args)]
struct ListArgs {}

/// Make a pool, or change how many units it has
#[derive(Debug, Args)]
struct PutArgs {
    /// The pool's name
    name: String,

    /// How many units it has
    units: u32,
}

/// Delete a pool
#[derive(Debug, Args)]
struct DeleteArgs {
    /// The pool's name
    name: String,
}

/// Runs `signpost pools`.
pub async fn run(args: PoolsArgs, out: Out) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    match args.command {
        PoolsCommand::List(ListArgs {}) => list(&client, out).await?,
        PoolsCommand::Put(args) => {
            let body = json!({ "units": args.units }).to_string();
            let path = path_of(&args.name);
            let pool = client.send(Method::PUT, &path, Some(body)).await?.body;
            if out.is_json() {
                out.document(&pool)?;
            } else {
                out.line(format_args!(
                    "{}: {} units, {} free",
                    show(&pool, "name"),
                    show(&pool, "units"),
                    show(&pool, "free")
                ))?;
            }
        }
        PoolsCommand::Delete(args) => {
            client
                .send(Method::DELETE, &path_of(&args.name), None)
                .await?;
            out.note("deleted");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path_of(name: &str) -> String {
    format!("/api/v1/pools/{}", path_part(name))
}

async fn list(client: &Client, out: Out) -> Result<()> {
    let listing = client.list("/api/v1/pools", &[], POOLS_MAX).await?;
    if out.is_json() {
        return out.document(&listing);
    }
    let mut table = output::table(["NAME", "UNITS", "TAKEN", "FREE"]);
    for pool in &listing.data {
        table.add_row(
            ["name", "units", "taken", "free"].map(|field| cell(&show(pool, field), None)),
        );
    }
    out.table(table, "no pools yet: signpost pools put NAME UNITS")
}
